//! Frames to devices, whole or in blocks.

use std::collections::{BTreeMap, BTreeSet};

use cardea_radio::Millis;

use super::fragments::{Cut, WHOLE};
use super::{Host, Purpose};
use crate::coordinator::{Event, Failure, Frame, MAX_ASDU, Outcome};
use crate::ezsp::call::{Answer, ApsFrame, Bytes8, Command, Sent, Status, Tag, aps};
use crate::queue::{FrameQueue, has_room};
use crate::types::Eui64;

/// Wait for the end of a transmission: a few tries of 10 s at a device that sleeps, and some. Of each block.
const APS_MS: Millis = 45_000;
/// Devices that the NCP was told of that they sleep.
const MAX_SLEEPERS: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Traffic {
    queue: FrameQueue,
    /// By tag. One for each device, which keeps their order.
    in_flight: BTreeMap<u8, InFlight>,
    next_tag: u8,
    /// Whom the NCP was told to wait longer for, since its last start.
    sleepers: BTreeSet<Eui64>,
}

#[derive(Debug)]
struct InFlight {
    frame: Frame,
    /// How it is cut, if it is.
    cut: Option<Cut>,
    until: Millis,
}

impl InFlight {
    /// The next block waits to be given to the NCP, for which it has until the frame's deadline.
    fn is_ready(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| cut.ready)
    }

    fn ends_at(&self) -> Millis {
        if self.is_ready() { self.frame.deadline } else { self.until }
    }

    /// What the NCP is given: all of it, or the next block.
    fn message(&self) -> (ApsFrame, Bytes8) {
        let Frame { profile, cluster, src_endpoint, dst_endpoint, acknowledge, payload, .. } = &self.frame;
        let (block, (group, sequence, bytes)) = match &self.cut {
            // A block that is not acknowledged would be none.
            Some(cut) => (aps::FRAGMENT | aps::RETRY, cut.block(payload)),
            None => (0, (0, 0, &payload[..])),
        };
        let retry = if *acknowledge { aps::RETRY } else { 0 };
        let frame = ApsFrame {
            profile: *profile,
            cluster: *cluster,
            src_endpoint: *src_endpoint,
            dst_endpoint: *dst_endpoint,
            options: aps::ROUTE | retry | block,
            group,
            sequence,
        };
        (frame, Bytes8::from(bytes))
    }
}

impl Traffic {
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        self.in_flight.values().map(InFlight::ends_at).chain(self.queue.poll_timeout()).min()
    }
}

impl Host {
    pub(super) fn send(&mut self, now: Millis, frame: Frame) {
        let down = self.down();
        let end = self.traffic.queue.push(frame, MAX_ASDU, down);
        self.events.extend(end);
        self.traffic_timeout(now);
    }

    pub(super) fn cancel(&mut self, handle: u64) {
        let end = self.traffic.queue.cancel(handle);
        self.events.extend(end);
    }

    /// Expires what waited too long; also while there is no NCP.
    pub(super) fn traffic_timeout(&mut self, now: Millis) {
        let late = self.traffic.queue.expired(now);
        self.events.extend(late);
        let over = |in_flight: &InFlight| in_flight.ends_at() <= now;
        let lost: Vec<(u8, bool)> = self
            .traffic
            .in_flight
            .iter()
            .filter(|(_, frame)| over(frame))
            .map(|(tag, frame)| (*tag, frame.is_ready()))
            .collect();
        for (tag, waited) in lost {
            // Without its last block it is nothing to its receiver.
            self.ended(tag, if waited { Outcome::Expired } else { Outcome::Failed(Failure::Unknown) });
        }
    }

    /// Gives frames to the NCP, one for each device, while it has nothing else to answer: what waits for it cannot expire.
    pub(super) fn traffic_progress(&mut self, now: Millis) {
        self.traffic_timeout(now);
        self.ask_for_sender(now);
        let mut sought = BTreeSet::new();
        let mut at = 0;
        while self.is_up() && self.is_idle() {
            // What has begun is finished first.
            let ready = self.traffic.in_flight.iter().find(|(_, in_flight)| in_flight.is_ready());
            if let Some(tag) = ready.map(|(tag, _)| *tag) {
                self.give(now, tag);
                continue;
            }
            let Some(frame) = self.traffic.queue.get(at) else { break };
            if !has_room(frame, self.traffic.in_flight.len()) {
                at = at.saturating_add(1);
                continue;
            }
            let (to, handle) = (frame.eui, frame.handle);
            let busy = self.traffic.in_flight.values().any(|in_flight| in_flight.frame.eui == to);
            let nwk = if busy || sought.contains(&to) { Ok(None) } else { self.seek(to) };
            match nwk {
                Ok(None) => {
                    sought.insert(to);
                    at = at.saturating_add(1);
                }
                Err(failure) => {
                    self.traffic.queue.remove(at);
                    self.event(Event::Outcome { handle, outcome: Outcome::Failed(failure) });
                }
                Ok(Some(_)) if !self.traffic.sleepers.contains(&to) => {
                    if self.traffic.sleepers.len() >= MAX_SLEEPERS {
                        self.traffic.sleepers.clear();
                    }
                    self.traffic.sleepers.insert(to);
                    self.tell(Command::SetExtendedTimeout { eui: to, extended: 1 }, Purpose::Nothing);
                    self.pump(now);
                }
                Ok(Some(_)) => {
                    if let Some(frame) = self.traffic.queue.remove(at) {
                        let cut =
                            Some(frame.payload.len()).filter(|length| *length > WHOLE).and_then(Cut::of);
                        let tag = self.free_tag();
                        self.traffic.in_flight.insert(tag, InFlight { frame, cut, until: now });
                        self.give(now, tag);
                    }
                }
            }
        }
        self.seekers_progress(now);
        self.pump(now);
    }

    /// Gives the NCP a frame, or its next block.
    fn give(&mut self, now: Millis, tag: u8) {
        let Some(in_flight) = self.traffic.in_flight.get_mut(&tag) else { return };
        // Between two blocks it may have got another address, or have gone.
        let Some(destination) = self.addresses.nwk(in_flight.frame.eui) else {
            return self.ended(tag, Outcome::Failed(Failure::NoAddress));
        };
        let (aps, payload) = in_flight.message();
        in_flight.until = now.saturating_add(APS_MS);
        if let Some(cut) = &mut in_flight.cut {
            cut.ready = false;
        }
        let command = Command::SendUnicast { kind: 0, destination, aps, tag: Tag(tag.into()), payload };
        // The queue is empty: there is room.
        self.tell(command, Purpose::Send(tag));
        self.pump(now);
    }

    /// A tag that no frame has. There are 255 for 8 frames.
    fn free_tag(&mut self) -> u8 {
        loop {
            self.traffic.next_tag = self.traffic.next_tag.checked_add(1).unwrap_or(1);
            if !self.traffic.in_flight.contains_key(&self.traffic.next_tag) {
                return self.traffic.next_tag;
            }
        }
    }

    /// The NCP took the frame, or did not; its end comes later.
    pub(super) fn taken(&mut self, tag: u8, taken: Result<Answer, (Option<Status>, String)>) {
        let Some(in_flight) = self.traffic.in_flight.get_mut(&tag) else { return };
        match taken {
            Ok(Answer::SendUnicast { sequence, .. }) => {
                if let Some(cut) = &mut in_flight.cut {
                    cut.taken(sequence);
                }
            }
            Ok(_) => {}
            // The way there takes room in the frame: two blocks do fit.
            Err((Some(Status::TOO_LONG), _)) if in_flight.cut.is_none() => {
                in_flight.cut = Cut::of(in_flight.frame.payload.len());
                if in_flight.cut.is_none() {
                    self.ended(tag, Outcome::Failed(Failure::TooBig));
                }
            }
            Err((status, why)) => {
                let failure = status.and_then(failure).unwrap_or(Failure::Refused(why));
                self.ended(tag, Outcome::Failed(failure));
            }
        }
    }

    pub(super) fn message_sent(&mut self, Sent { tag, status, .. }: &Sent) {
        let Ok(tag) = u8::try_from(tag.0) else { return };
        let Some(in_flight) = self.traffic.in_flight.get_mut(&tag).filter(|frame| !frame.is_ready()) else {
            return;
        };
        let outcome = if status.is_ok() {
            if in_flight.cut.as_mut().is_some_and(Cut::acknowledged) {
                return;
            }
            Outcome::Acknowledged
        } else {
            // Perhaps it has another address now: the next frame is for the one that it tells.
            if *status == Status::DELIVERY_FAILED {
                self.addresses.forget(in_flight.frame.eui);
            }
            Outcome::Failed(failure(*status).unwrap_or_else(|| Failure::Refused(status.to_string())))
        };
        self.ended(tag, outcome);
    }

    fn ended(&mut self, tag: u8, outcome: Outcome) {
        if let Some(InFlight { frame, .. }) = self.traffic.in_flight.remove(&tag) {
            self.event(Event::Outcome { handle: frame.handle, outcome });
        }
    }

    /// Nobody answered the call for it.
    pub(super) fn traffic_unreachable(&mut self, eui: Eui64) {
        let lost = self.traffic.queue.unreachable(eui);
        self.events.extend(lost);
    }

    /// The NCP restarted: what it had is nobody's, and it was told of nobody that it sleeps.
    pub(super) fn traffic_interrupted(&mut self) {
        self.traffic.sleepers.clear();
        for tag in self.traffic.in_flight.keys().copied().collect::<Vec<_>>() {
            self.ended(tag, Outcome::Failed(Failure::Unknown));
        }
    }
}

/// What a status says of a frame.
fn failure(status: Status) -> Option<Failure> {
    match status {
        Status::DELIVERY_FAILED => Some(Failure::NoAnswer),
        Status::NO_BUFFERS | Status::TOO_MANY => Some(Failure::Busy),
        Status::TOO_LONG => Some(Failure::TooBig),
        _ => None,
    }
}
