//! Joins, as the library tells of them: an update when one begins, an authorisation when it ends. Who may join, and when the
//! network is open, is decided as for every family of dongles.

use cardea_radio::Millis;
use cardea_zigbee::bucket::Bucket;
use cardea_zigbee::coordinator::{Event, JoinFailure, Question};
use cardea_zigbee::joins::{Joins, Want};
use cardea_zigbee::{Eui64, InstallCode, NwkAddr};

use super::{Host, Stack};

/// How long the library may take to store an install code.
const CODE_MS: Millis = 5_000;

/// Who may join, and what the library is being told of it.
pub(super) struct Door {
    joins: Joins,
    bucket: Bucket,
    /// Whose code it is told, and until when it may take. It does not say which one it answers for.
    telling: Option<(Eui64, Millis)>,
    /// It was not told yet that nobody may join, as it is after each start.
    close: bool,
}

impl Default for Door {
    fn default() -> Self {
        Self { joins: Joins::one_by_one(), bucket: Bucket::default(), telling: None, close: false }
    }
}

impl<S: Stack> Host<S> {
    pub(super) fn admit(&mut self, now: Millis, eui: Eui64, code: InstallCode, seconds: u8) {
        let up = self.is_up();
        self.door.joins.admit(now, up, eui, code, seconds);
    }

    pub(super) fn dismiss(&mut self, eui: Eui64) {
        if !self.door.joins.dismiss(eui) && self.is_up() {
            // The code of a device that has joined is still there, and would let it in again.
            self.stack.remove_code(eui);
        }
    }

    pub(super) fn code_added(&mut self, well: bool) {
        if let Some((eui, _)) = self.door.telling.take() {
            let refused = (!well).then(|| "the library does not take it".into());
            self.door.joins.code_added(eui, refused);
        }
    }

    /// A device begins to join, comes back, or left.
    pub(super) fn updated(&mut self, now: Millis, eui: Eui64, nwk: NwkAddr, status: u8) {
        if !self.is_up() {
            return;
        }
        match status {
            1 => self.door.joins.began(now, eui),
            2 => self.left(eui),
            0 | 3 => self.event(Event::Rejoined { eui, nwk }),
            _ => {}
        }
    }

    pub(super) fn left(&mut self, eui: Eui64) {
        if self.is_up() {
            self.event(Event::Left { eui });
        }
    }

    pub(super) fn authorised(&mut self, eui: Eui64, nwk: NwkAddr, kind: u8, status: u8) {
        if !self.is_up() {
            return;
        }
        match (kind, status) {
            (0, _) => {
                // Whether it went is seen by what it says next.
                let _ = self.stack.ask(nwk, eui, &Question::Leave);
                self.door.joins.refused(eui, JoinFailure::NoUniqueKey);
            }
            (_, 0) => {
                // Its code stays: by it, it comes back when it has lost its keys.
                self.door.joins.joined(eui, false);
                self.event(Event::Joined { eui, nwk });
            }
            _ => self.door.joins.refused(eui, JoinFailure::Keys),
        }
    }

    pub(super) fn joins_progress(&mut self, now: Millis) {
        if self.is_up() {
            if let Some((eui, _)) = self.door.telling.take_if(|(_, until)| *until <= now) {
                self.door.joins.code_unanswered(eui);
            }
            self.door.joins.give_up(now);
            self.door.joins.progress(now);
            self.tell_library(now);
        }
        while let Some(event) = self.door.joins.poll_event() {
            self.event(event);
        }
    }

    /// Tried until the library takes it: a network that should be closed must not stay open because much was said.
    fn tell_library(&mut self, now: Millis) {
        if self.door.close && !self.stack.permit(NwkAddr::COORDINATOR, 0) {
            return;
        }
        self.door.close = false;
        while let Some(want) = self.door.joins.want() {
            match &want {
                Want::AddCode(..) if self.door.telling.is_some() => break,
                Want::AddCode(eui, code) => {
                    // It may answer before this returns.
                    self.door.telling = Some((*eui, now.saturating_add(CODE_MS)));
                    self.stack.add_code(*eui, code);
                }
                Want::ForgetCode(eui) => self.stack.remove_code(*eui),
                Want::Permit(seconds) if !self.stack.permit(NwkAddr::COORDINATOR, *seconds) => break,
                Want::Permit(_) => {}
            }
            self.door.joins.told(now, &want);
        }
        let Door { joins, bucket, .. } = &mut self.door;
        if let Some(seconds) = joins.routers(now, bucket)
            && self.stack.permit(NwkAddr::ROUTERS, seconds)
        {
            self.door.joins.routers_told();
        }
    }

    pub(super) fn joins_interrupted(&mut self) {
        self.door.joins.interrupted();
        (self.door.telling, self.door.close) = (None, false);
        while let Some(event) = self.door.joins.poll_event() {
            self.event(event);
        }
    }

    /// As after each start: nobody may join.
    pub(super) fn close_network(&mut self) {
        self.door.close = true;
    }
}
