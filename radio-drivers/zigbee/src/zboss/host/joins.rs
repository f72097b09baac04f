//! Joins, as ZBOSS tells of them: an update when one begins, an authorisation when it ends.

use cardea_radio::Millis;

use super::start::permit;
use super::{ANSWER_MS, DEVICE_MS, Host, Purpose};
use crate::coordinator::{Event, JoinFailure};
use crate::joins::Want;
use crate::types::{Eui64, NwkAddr};
use crate::zboss::call::Request;

impl Host {
    pub(super) fn dismiss(&mut self, now: Millis, eui: Eui64) {
        if !self.joins.dismiss(eui) && self.is_up() {
            // The code of a device that has joined is still there, and would let it in again.
            self.request(now, &Request::SecurDelIc { eui }, ANSWER_MS, Purpose::Nothing);
        }
    }

    /// A device begins to join, comes back, or left.
    pub(super) fn updated(&mut self, now: Millis, eui: Eui64, nwk: NwkAddr, status: u8) {
        match status {
            1 => {
                self.addresses.learn(eui, nwk);
                self.joins.began(now, eui);
            }
            2 => self.left(eui),
            0 | 3 => {
                self.addresses.learn(eui, nwk);
                self.event(Event::Rejoined { eui, nwk });
            }
            _ => {}
        }
    }

    pub(super) fn announced(&mut self, eui: Eui64, nwk: NwkAddr) {
        self.addresses.learn(eui, nwk);
    }

    pub(super) fn left(&mut self, eui: Eui64) {
        self.addresses.forget(eui);
        self.event(Event::Left { eui });
    }

    pub(super) fn authorised(&mut self, now: Millis, eui: Eui64, nwk: NwkAddr, kind: u8, status: u8) {
        match (kind, status) {
            (0, _) => {
                let leave = Request::MgmtLeaveReq { dst: nwk, eui, flags: 0 };
                self.request(now, &leave, DEVICE_MS, Purpose::Nothing);
                self.joins.refused(eui, JoinFailure::NoUniqueKey);
            }
            (_, 0) => {
                self.addresses.learn(eui, nwk);
                // Its code stays: by it, it comes back when it has lost its keys.
                self.joins.joined(eui, false);
                self.event(Event::Joined { eui, nwk });
            }
            _ => self.joins.refused(eui, JoinFailure::Keys),
        }
    }

    pub(super) fn joins_progress(&mut self, now: Millis) {
        if self.is_up() {
            self.joins.give_up(now);
            self.joins.progress(now);
            while let Some(want) = self.joins.want() {
                let (request, purpose) = match &want {
                    Want::AddCode(eui, code) => {
                        (Request::SecurAddIc { eui: *eui, code: code.clone() }, Purpose::AddCode(*eui))
                    }
                    Want::ForgetCode(eui) => (Request::SecurDelIc { eui: *eui }, Purpose::Nothing),
                    Want::Permit(seconds) => (permit(NwkAddr::COORDINATOR, *seconds), Purpose::Nothing),
                };
                // Tried until the link takes it: a network that should be closed must not stay open because much was said.
                if !self.request(now, &request, ANSWER_MS, purpose) {
                    break;
                }
                self.joins.told(now, &want);
            }
            if let Some(seconds) = self.joins.routers(now, &mut self.bucket)
                && self.request(now, &permit(NwkAddr::ROUTERS, seconds), ANSWER_MS, Purpose::Nothing)
            {
                self.joins.routers_told();
            }
        }
        while let Some(event) = self.joins.poll_event() {
            self.event(event);
        }
    }
}
