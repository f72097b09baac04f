//! Frames to devices and from them.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use cardea_radio::Millis;

use super::{ANSWER_MS, APS_MS, Host, Purpose};
use crate::coordinator::{Event, Failure, Frame, MAX_ASDU, Outcome, Received, UNFRAGMENTED_ASDU};
use crate::types::{Eui64, NwkAddr};
use crate::zboss::call::{ApsAddress, ApsIndication, ApsRequest, Request, Response, tx};
use crate::zboss::hl::Status;

/// Frames that may wait for the NCP.
const MAX_QUEUED: usize = 64;
/// Frames that the NCP may have: it has few buffers, and a device that sleeps keeps one for seconds.
const MAX_IN_FLIGHT: usize = 8;
/// Frames of senders that nobody knows yet.
const MAX_UNKNOWN: usize = 32;
/// The layer that speaks of transmissions.
const APS: u8 = 4;

#[derive(Debug, Default)]
pub(super) struct Traffic {
    queue: VecDeque<Frame>,
    /// Devices for which the NCP has a frame: one each, which keeps their order.
    in_flight: BTreeSet<Eui64>,
    unknown: VecDeque<ApsIndication>,
    dropped: u64,
}

impl Traffic {
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        self.queue.iter().map(|frame| frame.deadline).min()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Host {
    pub(super) fn send(&mut self, now: Millis, frame: Frame) {
        let failure = if frame.payload.len() > MAX_ASDU {
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
    }

    /// Gives frames to the NCP, one for each device, while the link is idle: what waits for the link cannot expire.
    pub(super) fn traffic_progress(&mut self, now: Millis) {
        self.traffic_timeout(now);
        self.ask_for_sender(now);
        while self.is_up() && self.link.is_idle() && self.traffic.in_flight.len() < MAX_IN_FLIGHT {
            let in_flight = &self.traffic.in_flight;
            let Some(at) = self.traffic.queue.iter().position(|frame| !in_flight.contains(&frame.eui)) else {
                return;
            };
            let Some(frame) = self.traffic.queue.remove(at) else { return };
            let (handle, to) = (frame.handle, frame.eui);
            let request = Request::ApsdeDataReq { frame: aps(&frame) };
            if self.request(now, &request, APS_MS, Purpose::Send { handle, to }) {
                self.traffic.in_flight.insert(to);
            } else {
                self.traffic.queue.insert(at, frame);
                return;
            }
        }
    }

    /// The transmission ended; `None`: well.
    pub(super) fn sent(&mut self, handle: u64, to: Eui64, status: Option<Option<Status>>) {
        let outcome = match status {
            // What it said when all went well may be unreadable; that it went well was readable.
            None | Some(None) => Outcome::Acknowledged,
            Some(Some(Status { category: APS, code: 0xA7 })) => Outcome::Failed(Failure::NoAnswer),
            Some(Some(Status { category: APS, code: 0xA9 })) => Outcome::Failed(Failure::NoAddress),
            Some(Some(Status { category: APS, code: 0xAE })) => Outcome::Failed(Failure::Busy),
            Some(Some(status)) => Outcome::Failed(Failure::Refused(status.to_string())),
        };
        self.ended(handle, to, outcome);
    }

    pub(super) fn ended(&mut self, handle: u64, to: Eui64, outcome: Outcome) {
        self.traffic.in_flight.remove(&to);
        self.event(Event::Outcome { handle, outcome });
    }

    pub(super) fn received(&mut self, frame: ApsIndication) {
        if !self.is_up() {
            self.traffic.dropped = self.traffic.dropped.saturating_add(1);
            return;
        }
        // What came before stays before.
        let waits = self.traffic.unknown.iter().any(|waiting| waiting.src == frame.src);
        match self.addresses.eui(frame.src) {
            Some(eui) if !waits => self.hand_over(eui, frame),
            _ => self.find_sender(frame),
        }
    }

    fn hand_over(&mut self, eui: Eui64, frame: ApsIndication) {
        let ApsIndication { profile, cluster, src_endpoint, dst_endpoint, lqi, rssi, payload, .. } = frame;
        let payload = Bytes::from(payload);
        let received = Received { eui, profile, cluster, src_endpoint, dst_endpoint, lqi, rssi, payload };
        self.event(Event::Received(received));
    }

    fn find_sender(&mut self, frame: ApsIndication) {
        if self.traffic.unknown.len() >= MAX_UNKNOWN || !frame.src.is_unicast() {
            self.traffic.dropped = self.traffic.dropped.saturating_add(1);
            return;
        }
        self.traffic.unknown.push_back(frame);
    }

    /// One at a time: strangers must not keep the link from those who are waited for.
    fn ask_for_sender(&mut self, now: Millis) {
        let Some(nwk) = self.traffic.unknown.front().map(|frame| frame.src) else { return };
        if self.is_up() && !self.asked_for(|purpose| matches!(purpose, Purpose::WhoIs(_))) {
            self.request(now, &Request::NwkGetIeeeByShort { nwk }, ANSWER_MS, Purpose::WhoIs(nwk));
        }
    }

    /// The NCP restarted: nobody's frames wait any more.
    pub(super) fn traffic_interrupted(&mut self) {
        let dropped = u64::try_from(self.traffic.unknown.len()).unwrap_or(u64::MAX);
        self.traffic.dropped = self.traffic.dropped.saturating_add(dropped);
        self.traffic.unknown.clear();
    }

    /// The NCP said whose address it is, or does not know.
    pub(super) fn resolved(&mut self, nwk: NwkAddr, answer: Option<Response>) {
        let (known, others) = std::mem::take(&mut self.traffic.unknown)
            .into_iter()
            .partition::<VecDeque<_>, _>(|frame| frame.src == nwk);
        self.traffic.unknown = others;
        if let Some(Response::NwkGetIeeeByShort { eui }) = answer {
            self.addresses.learn(eui, nwk);
        }
        // It may have told its address itself meanwhile.
        if let Some(eui) = self.addresses.eui(nwk) {
            known.into_iter().for_each(|frame| self.hand_over(eui, frame));
        } else {
            let dropped = u64::try_from(known.len()).unwrap_or(u64::MAX);
            self.traffic.dropped = self.traffic.dropped.saturating_add(dropped);
        }
    }
}

/// To the device and not to an address: one that changed in between would bring the frame to another device.
fn aps(frame: &Frame) -> ApsRequest {
    // APS fragments are acknowledged or are none.
    let fragment = if frame.payload.len() > UNFRAGMENTED_ASDU { tx::FRAGMENT } else { 0 };
    let acknowledge = if frame.acknowledge || fragment != 0 { tx::ACK } else { 0 };
    ApsRequest {
        to: ApsAddress::Ieee(frame.eui),
        profile: frame.profile,
        cluster: frame.cluster,
        dst_endpoint: frame.dst_endpoint,
        src_endpoint: frame.src_endpoint,
        radius: 0,
        options: acknowledge | fragment,
        alias: (0, 0, 0),
        payload: frame.payload.to_vec(),
    }
}
