//! Frames to devices and from them.

use std::collections::BTreeSet;

use bytes::Bytes;
use cardea_radio::Millis;

use super::{ANSWER_MS, APS_MS, Host, Purpose};
use crate::coordinator::{Event, Failure, Frame, MAX_ASDU, Outcome, Received, UNFRAGMENTED_ASDU};
use crate::queue::{FrameQueue, Unnamed};
use crate::types::{Eui64, NwkAddr};
use crate::zboss::call::{ApsAddress, ApsIndication, ApsRequest, Request, Response, tx};
use crate::zboss::hl::Status;

/// The layer that speaks of transmissions.
const APS: u8 = 4;

#[derive(Debug, Default)]
pub(super) struct Traffic {
    queue: FrameQueue,
    /// Devices for which the NCP has a frame: one each, which keeps their order.
    in_flight: BTreeSet<Eui64>,
    unnamed: Unnamed<ApsIndication>,
}

impl Traffic {
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        self.queue.poll_timeout()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.unnamed.count()
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
    }

    /// Gives frames to the NCP, one for each device, while the link is idle: what waits for the link cannot expire.
    pub(super) fn traffic_progress(&mut self, now: Millis) {
        self.traffic_timeout(now);
        self.ask_for_sender(now);
        while self.is_up() && self.link.is_idle() {
            let in_flight = &self.traffic.in_flight;
            let next = self.traffic.queue.first_free(in_flight.len(), |eui| in_flight.contains(&eui));
            let Some(at) = next else { return };
            let Some(frame) = self.traffic.queue.remove(at) else { return };
            let (handle, to) = (frame.handle, frame.eui);
            let request = Request::ApsdeDataReq { frame: aps(&frame) };
            if self.request(now, &request, APS_MS, Purpose::Send { handle, to }) {
                self.traffic.in_flight.insert(to);
            } else {
                self.traffic.queue.put_back(at, frame);
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
            return self.traffic.unnamed.dropped(1);
        }
        match self.addresses.eui(frame.src) {
            // What came before stays before.
            Some(eui) if !self.traffic.unnamed.waits(frame.src) => self.hand_over(eui, frame),
            _ => self.traffic.unnamed.push(frame.src, frame),
        }
    }

    fn hand_over(&mut self, eui: Eui64, frame: ApsIndication) {
        let ApsIndication { profile, cluster, src_endpoint, dst_endpoint, lqi, rssi, payload, .. } = frame;
        let payload = Bytes::from(payload);
        let received = Received { eui, profile, cluster, src_endpoint, dst_endpoint, lqi, rssi, payload };
        self.event(Event::Received(received));
    }

    /// One at a time: strangers must not keep the link from those who are waited for.
    fn ask_for_sender(&mut self, now: Millis) {
        let Some(nwk) = self.traffic.unnamed.first() else { return };
        if self.is_up() && !self.asked_for(|purpose| matches!(purpose, Purpose::WhoIs(_))) {
            self.request(now, &Request::NwkGetIeeeByShort { nwk }, ANSWER_MS, Purpose::WhoIs(nwk));
        }
    }

    /// The NCP restarted: nobody's frames wait any more.
    pub(super) fn traffic_interrupted(&mut self) {
        self.traffic.unnamed.drop_all();
    }

    /// The NCP said whose address it is, or does not know.
    pub(super) fn resolved(&mut self, nwk: NwkAddr, answer: Option<Response>) {
        if let Some(Response::NwkGetIeeeByShort { eui }) = answer {
            self.addresses.learn(eui, nwk);
        }
        // It may have told its address itself meanwhile.
        match self.addresses.eui(nwk) {
            Some(eui) => self.traffic.unnamed.take(nwk).for_each(|frame| self.hand_over(eui, frame)),
            None => self.traffic.unnamed.drop_from(nwk),
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
