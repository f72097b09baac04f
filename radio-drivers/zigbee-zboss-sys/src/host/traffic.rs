//! Frames to devices and from them.

use std::collections::BTreeMap;

use cardea_radio::Millis;
use cardea_zigbee::Eui64;
use cardea_zigbee::coordinator::{Event, Failure, Frame, Outcome, Received};
use cardea_zigbee::queue::FrameQueue;

use super::{Host, Indication, MAX_PAYLOAD, Stack};

/// Wait for the end of a transmission: four tries of 10 s at a device that sleeps, and some.
const APS_MS: Millis = 45_000;
/// What the library calls a frame without an APS acknowledgement.
const NO_APS_ACK: i32 = 0xBE;

struct Flight {
    handle: u64,
    to: Eui64,
    until: Millis,
}

#[derive(Default)]
pub(super) struct Traffic {
    queue: FrameQueue,
    /// By the library's number; one for each device, which keeps their order.
    flights: BTreeMap<u8, Flight>,
}

impl<S: Stack> Host<S> {
    pub(super) fn send(&mut self, now: Millis, frame: Frame) {
        let down = self.down();
        let end = self.traffic.queue.push(frame, MAX_PAYLOAD, down);
        self.events(end);
        self.traffic_timeout(now);
    }

    pub(super) fn cancel(&mut self, handle: u64) {
        let end = self.traffic.queue.cancel(handle);
        self.events(end);
    }

    pub(super) fn traffic_timeout(&mut self, now: Millis) {
        let late = self.traffic.queue.expired(now);
        self.events(late);
        let lost = self.traffic.flights.extract_if(.., |_, flight| flight.until <= now).collect::<Vec<_>>();
        for (_, flight) in lost {
            self.ended(flight.handle, Outcome::Failed(Failure::Unknown));
        }
    }

    pub(super) fn traffic_progress(&mut self, now: Millis) {
        self.traffic_timeout(now);
        loop {
            let flights = &self.traffic.flights;
            let busy = |eui| flights.values().any(|flight| flight.to == eui);
            let Some(at) = self.traffic.queue.first_free(flights.len(), busy) else { return };
            let Some(frame) = self.traffic.queue.remove(at) else { return };
            match self.stack.send(&frame) {
                Ok(buffer) => {
                    let (handle, to) = (frame.handle, frame.eui);
                    let flight = Flight { handle, to, until: now.saturating_add(APS_MS) };
                    // A number that is given again means that its frame has ended, and nobody was told how.
                    if let Some(before) = self.traffic.flights.insert(buffer, flight) {
                        self.ended(before.handle, Outcome::Failed(Failure::Unknown));
                    }
                }
                Err(Failure::Busy) => return self.traffic.queue.put_back(at, frame),
                Err(failure) => self.ended(frame.handle, Outcome::Failed(failure)),
            }
        }
    }

    /// The transmission ended.
    pub(super) fn sent(&mut self, buffer: u8, status: i32) {
        let Some(flight) = self.traffic.flights.remove(&buffer) else { return };
        let outcome = match status {
            0 => Outcome::Acknowledged,
            NO_APS_ACK => Outcome::Failed(Failure::NoAnswer),
            other => Outcome::Failed(Failure::Refused(format!("status {other} of the library"))),
        };
        self.ended(flight.handle, outcome);
    }

    pub(super) fn received(&mut self, frame: Indication) {
        let Some(eui) = self.stack.eui(frame.src).filter(|_| self.is_up()) else {
            self.dropped = self.dropped.saturating_add(1);
            return;
        };
        let Indication { profile, cluster, src_endpoint, dst_endpoint, lqi, rssi, payload, .. } = frame;
        let received = Received { eui, profile, cluster, src_endpoint, dst_endpoint, lqi, rssi, payload };
        self.event(Event::Received(received));
    }

    pub(super) fn traffic_interrupted(&mut self) {
        let waiting = self.traffic.queue.interrupted();
        self.events(waiting);
        for flight in std::mem::take(&mut self.traffic.flights).into_values() {
            self.ended(flight.handle, Outcome::Failed(Failure::Unknown));
        }
    }

    fn events(&mut self, ends: impl IntoIterator<Item = Event>) {
        ends.into_iter().for_each(|end| self.event(end));
    }

    fn ended(&mut self, handle: u64, outcome: Outcome) {
        self.event(Event::Outcome { handle, outcome });
    }
}
