//! Frames to devices and from them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use cardea_radio::Millis;

use super::{Host, Purpose};
use crate::coordinator::{Event, Failure, Frame, Outcome, Received};
use crate::ezsp::call::{Answer, ApsFrame, Bytes8, Command, Incoming, Status, Tag, aps};
use crate::ezsp::zdo;
use crate::types::{Eui64, NwkAddr};

/// Frames that may wait for the NCP.
const MAX_QUEUED: usize = 64;
/// Frames that the NCP may have: it has few buffers, and a device that sleeps keeps one for seconds.
const MAX_IN_FLIGHT: usize = 8;
/// Frames of senders that nobody knows yet.
const MAX_UNKNOWN: usize = 32;
/// How long a sender may take to say who it is.
const WHO_MS: Millis = 10_000;
/// Wait for the end of a transmission: a few tries of 10 s at a device that sleeps, and some.
const APS_MS: Millis = 45_000;
/// Longest payload, bytes: one frame. On EZSP fragments are the host's, and this one makes none.
const MAX_PAYLOAD: usize = 82;
/// Devices that the NCP was told of that they sleep.
const MAX_SLEEPERS: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Traffic {
    queue: VecDeque<Frame>,
    /// By tag. One for each device, which keeps their order.
    in_flight: BTreeMap<u8, InFlight>,
    next_tag: u8,
    /// Whom the NCP was told to wait longer for, since its last start.
    sleepers: BTreeSet<Eui64>,
    unknown: VecDeque<Incoming>,
    /// Whose address is asked for, and until when.
    asked: Option<(NwkAddr, Millis)>,
    dropped: u64,
}

#[derive(Debug)]
struct InFlight {
    handle: u64,
    to: Eui64,
    until: Millis,
}

impl Traffic {
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        let waiting = self.queue.iter().map(|frame| frame.deadline);
        let in_flight = self.in_flight.values().map(|in_flight| in_flight.until);
        waiting.chain(in_flight).chain(self.asked.map(|(_, until)| until)).min()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn drop_some(&mut self, count: usize) {
        self.dropped = self.dropped.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

impl Host {
    pub(super) fn send(&mut self, now: Millis, frame: Frame) {
        let failure = if frame.payload.len() > MAX_PAYLOAD {
            Some(Failure::TooBig)
        } else if self.traffic.queue.len() >= MAX_QUEUED {
            Some(Failure::Busy)
        } else {
            self.down()
        };
        if let Some(failure) = failure {
            let outcome = Outcome::Failed(failure);
            return self.event(Event::Outcome { handle: frame.handle, outcome });
        }
        self.traffic.queue.push_back(frame);
        self.traffic_timeout(now);
    }

    pub(super) fn cancel(&mut self, handle: u64) {
        let waiting = self.traffic.queue.len();
        self.traffic.queue.retain(|frame| frame.handle != handle);
        if self.traffic.queue.len() != waiting {
            let outcome = Outcome::Failed(Failure::Cancelled);
            self.event(Event::Outcome { handle, outcome });
        }
    }

    /// Expires what waited too long; also while there is no NCP.
    pub(super) fn traffic_timeout(&mut self, now: Millis) {
        let (late, waiting) = std::mem::take(&mut self.traffic.queue)
            .into_iter()
            .partition::<VecDeque<_>, _>(|frame| frame.deadline <= now);
        self.traffic.queue = waiting;
        for frame in late {
            self.event(Event::Outcome { handle: frame.handle, outcome: Outcome::Expired });
        }
        let over = |in_flight: &InFlight| in_flight.until <= now;
        let lost: Vec<u8> =
            self.traffic.in_flight.iter().filter(|(_, frame)| over(frame)).map(|(tag, _)| *tag).collect();
        for tag in lost {
            self.ended(tag, Outcome::Failed(Failure::Unknown));
        }
        if let Some((nwk, _)) = self.traffic.asked.take_if(|(_, until)| *until <= now) {
            self.strangers_unknown(nwk);
        }
    }

    /// Gives frames to the NCP, one for each device, while it has nothing else to answer: what waits for it cannot expire.
    pub(super) fn traffic_progress(&mut self, now: Millis) {
        self.traffic_timeout(now);
        self.ask_for_sender(now);
        let mut sought = BTreeSet::new();
        let mut at = 0;
        while self.is_up() && self.is_idle() && self.traffic.in_flight.len() < MAX_IN_FLIGHT {
            let Some(frame) = self.traffic.queue.get(at) else { break };
            let (to, handle) = (frame.eui, frame.handle);
            let busy = self.traffic.in_flight.values().any(|in_flight| in_flight.to == to);
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
                Ok(Some(nwk)) => {
                    if let Some(frame) = self.traffic.queue.remove(at) {
                        self.give(now, nwk, &frame);
                    }
                }
            }
        }
        self.seekers_progress(now);
        self.pump(now);
    }

    fn give(&mut self, now: Millis, destination: NwkAddr, frame: &Frame) {
        let tag = self.free_tag();
        let aps = ApsFrame {
            profile: frame.profile,
            cluster: frame.cluster,
            src_endpoint: frame.src_endpoint,
            dst_endpoint: frame.dst_endpoint,
            options: if frame.acknowledge { aps::RETRY | aps::ROUTE } else { aps::ROUTE },
            group: 0,
            sequence: 0,
        };
        let payload = Bytes8::from(&frame.payload[..]);
        let command = Command::SendUnicast { kind: 0, destination, aps, tag: Tag(tag.into()), payload };
        let until = now.saturating_add(APS_MS);
        self.traffic.in_flight.insert(tag, InFlight { handle: frame.handle, to: frame.eui, until });
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
        if let Err((status, why)) = taken {
            let failure = status.and_then(failure).unwrap_or(Failure::Refused(why));
            self.ended(tag, Outcome::Failed(failure));
        }
    }

    pub(super) fn message_sent(&mut self, tag: Tag, status: Status) {
        let Ok(tag) = u8::try_from(tag.0) else { return };
        let outcome = if status.is_ok() {
            Outcome::Acknowledged
        } else {
            // Perhaps it has another address now: the next frame is for the one that it tells.
            if let Some(to) = self.traffic.in_flight.get(&tag).map(|in_flight| in_flight.to)
                && status == Status::DELIVERY_FAILED
            {
                self.addresses.forget(to);
            }
            Outcome::Failed(failure(status).unwrap_or_else(|| Failure::Refused(status.to_string())))
        };
        self.ended(tag, outcome);
    }

    fn ended(&mut self, tag: u8, outcome: Outcome) {
        if let Some(InFlight { handle, .. }) = self.traffic.in_flight.remove(&tag) {
            self.event(Event::Outcome { handle, outcome });
        }
    }

    /// Nobody answered the call for it.
    pub(super) fn traffic_unreachable(&mut self, eui: Eui64) {
        let (lost, others) = std::mem::take(&mut self.traffic.queue)
            .into_iter()
            .partition::<VecDeque<_>, _>(|frame| frame.eui == eui);
        self.traffic.queue = others;
        for frame in lost {
            let outcome = Outcome::Failed(Failure::NoAddress);
            self.event(Event::Outcome { handle: frame.handle, outcome });
        }
    }

    pub(super) fn received(&mut self, incoming: Incoming) {
        // Parts of a longer one: the sender was told that we take none.
        if !self.is_up() || incoming.aps.options & aps::FRAGMENT != 0 {
            return self.traffic.drop_some(1);
        }
        // What came before stays before.
        let waits = self.traffic.unknown.iter().any(|waiting| waiting.sender == incoming.sender);
        match self.addresses.eui(incoming.sender) {
            Some(eui) if !waits => self.hand_over(eui, &incoming),
            _ if self.traffic.unknown.len() >= MAX_UNKNOWN || !incoming.sender.is_unicast() => {
                self.traffic.drop_some(1);
            }
            _ => self.traffic.unknown.push_back(incoming),
        }
    }

    fn hand_over(&mut self, eui: Eui64, incoming: &Incoming) {
        let ApsFrame { profile, cluster, src_endpoint, dst_endpoint, .. } = incoming.aps;
        let payload = Bytes::copy_from_slice(&incoming.payload.0);
        let (lqi, rssi) = (incoming.lqi, incoming.rssi);
        let received = Received { eui, profile, cluster, src_endpoint, dst_endpoint, lqi, rssi, payload };
        self.event(Event::Received(received));
    }

    /// One at a time: strangers must not keep the NCP from those who are waited for.
    fn ask_for_sender(&mut self, now: Millis) {
        let Some(nwk) = self.traffic.unknown.front().map(|frame| frame.sender) else { return };
        if self.is_up()
            && self.traffic.asked.is_none()
            && self.tell(Command::LookupEui64ByNodeId { nwk }, Purpose::WhoIs(nwk))
        {
            self.traffic.asked = Some((nwk, now.saturating_add(WHO_MS)));
            self.pump(now);
        }
    }

    /// The NCP said whose address it is; if it does not know, the device does.
    pub(super) fn identified(&mut self, nwk: NwkAddr, answer: Option<Answer>) {
        match answer {
            Some(Answer::LookupEui64ByNodeId { status, eui })
                if status.is_ok() && ![[0; 8], [0xFF; 8]].contains(&eui.0) =>
            {
                self.learn(eui, nwk);
            }
            _ => {
                let asdu = zdo::ieee_address(self.zdo_sequence(), nwk);
                self.zdo_unicast(nwk, zdo::IEEE_ADDRESS, &asdu, Purpose::Nothing);
            }
        }
    }

    /// It is known whose address it is: what came from there is handed over.
    pub(super) fn strangers_known(&mut self, nwk: NwkAddr) {
        self.traffic.asked.take_if(|(asked, _)| *asked == nwk);
        let Some(eui) = self.addresses.eui(nwk) else { return };
        for frame in self.strangers(nwk) {
            self.hand_over(eui, &frame);
        }
    }

    fn strangers_unknown(&mut self, nwk: NwkAddr) {
        let dropped = self.strangers(nwk).len();
        self.traffic.drop_some(dropped);
    }

    fn strangers(&mut self, nwk: NwkAddr) -> VecDeque<Incoming> {
        let (theirs, others) = std::mem::take(&mut self.traffic.unknown)
            .into_iter()
            .partition::<VecDeque<_>, _>(|frame| frame.sender == nwk);
        self.traffic.unknown = others;
        theirs
    }

    /// The NCP restarted: what it had is nobody's, and it was told of nobody that it sleeps.
    pub(super) fn traffic_interrupted(&mut self) {
        let unknown = std::mem::take(&mut self.traffic.unknown).len();
        self.traffic.drop_some(unknown);
        self.traffic.asked = None;
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
