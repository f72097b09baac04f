//! Frames down and up the tunnel.
//!
//! A command must not be on the air after its deadline, and the driver's last word on that is the moment at which the
//! dongle is given it. What follows has a longest time: the serial line may have to repeat it ([`HAND_OVER_MS`]), a parent
//! keeps a frame for a child that sleeps ([`PARENT_HOLD_MS`]), a dongle that waits for an acknowledgement repeats it
//! ([`REPEATS_MS`]). All of that is taken off the deadline. For a child that sleeps the dongle would repeat for four times 10 s, longer than any command lives, so it is not asked to:
//! framing repeats by itself, and each of its copies is judged anew.

use cardea_framing::{Class, Header, Kind};
use cardea_radio::{Event, Failure, Millis, Outcome, Quality, Refusal, Send, Up};

use super::device::{Endpoint, Interview, PROFILE};
use super::{Driver, ENDPOINT, MAX_EVENTS};
use crate::coordinator::{self, Frame, HAND_OVER_MS, Order, PARENT_HOLD_MS, REPEATS_MS, Received};
use crate::driver::store::RecordKey;
use crate::tunnel::MAX_FRAME;

/// A coordinator that says nothing of a frame for so long after its deadline has lost it, milliseconds. More than the
/// longest wait of any.
const LOST_MS: Millis = 60_000;

/// A frame that the coordinator has.
pub(super) struct Flight {
    pub(super) lock: cardea_framing::LockId,
    until: Millis,
}

impl Driver {
    pub(super) fn send(&mut self, now: Millis, send: Send) {
        if self.flights.contains_key(&send.handle) {
            // One outcome is on its way, and there must not be two.
            tracing::warn!("the gateway gave a Zigbee frame twice");
            return;
        }
        match self.frame(now, &send) {
            Ok(frame) => {
                let Send { handle, lock, deadline, .. } = send;
                self.orders.push_back(Order::Send(frame));
                self.flights.insert(handle, Flight { lock, until: deadline.saturating_add(LOST_MS) });
                if let Some(device) = self.devices.get_mut(&lock) {
                    device.flight = Some(handle);
                }
            }
            Err(outcome) => self.events.push_back(Event::Outcome { handle: send.handle, outcome }),
        }
    }

    fn frame(&mut self, now: Millis, send: &Send) -> Result<Frame, Outcome> {
        let not_joined = Outcome::Refused(Refusal::NotJoined);
        let device = self.devices.get(&send.lock).filter(|device| device.joined).ok_or(not_joined)?;
        let Endpoint { number, sleepy } = device.endpoint.ok_or(not_joined)?;
        if send.frame.len() > MAX_FRAME {
            return Err(Outcome::Refused(Refusal::TooBig));
        }
        if !self.is_up() {
            return Err(Outcome::Failed(Failure::NoRadio));
        }
        if device.flight.is_some() {
            return Err(Outcome::Refused(Refusal::Busy));
        }
        let (deadline, acknowledge) = hand_over(now, send.deadline, sleepy).ok_or(Outcome::Expired)?;
        let eui = device.identity.eui;
        self.sequence = self.sequence.wrapping_add(1);
        let tunnel = self.config.tunnel;
        let payload =
            tunnel.to_lock(self.sequence, &send.frame).map_err(|_| Outcome::Refused(Refusal::TooBig))?;
        Ok(Frame {
            handle: send.handle,
            eui,
            profile: PROFILE,
            cluster: tunnel.cluster,
            dst_endpoint: number,
            src_endpoint: ENDPOINT,
            payload: payload.into(),
            deadline,
            acknowledge,
            urgent: is_urgent(&send.frame),
        })
    }

    pub(super) fn cancel(&mut self, handle: u64) {
        if self.flights.contains_key(&handle) {
            self.orders.push_back(Order::Cancel { handle });
        }
    }

    pub(super) fn outcome(&mut self, handle: u64, outcome: coordinator::Outcome) {
        let outcome = match outcome {
            coordinator::Outcome::Acknowledged => Outcome::Sent,
            coordinator::Outcome::Expired => Outcome::Expired,
            coordinator::Outcome::Failed(failure) => match failure {
                coordinator::Failure::Down => Outcome::Failed(Failure::NoRadio),
                coordinator::Failure::Cancelled => Outcome::Failed(Failure::Cancelled),
                coordinator::Failure::Busy => Outcome::Refused(Refusal::Busy),
                coordinator::Failure::TooBig => Outcome::Refused(Refusal::TooBig),
                coordinator::Failure::NoAddress => Outcome::Refused(Refusal::NotJoined),
                coordinator::Failure::NoAnswer
                | coordinator::Failure::Unknown
                | coordinator::Failure::Refused(_) => Outcome::Failed(Failure::Modem),
            },
        };
        self.landed(handle, outcome);
    }

    /// The one end of a frame; whatever is said of it later is not told.
    fn landed(&mut self, handle: u64, outcome: Outcome) {
        let Some(flight) = self.flights.remove(&handle) else { return };
        if let Some(device) = self.devices.get_mut(&flight.lock) {
            device.flight.take_if(|flying| *flying == handle);
        }
        self.events.push_back(Event::Outcome { handle, outcome });
    }

    pub(super) fn flights_timeout(&mut self, now: Millis) {
        let lost: Vec<u64> = self
            .flights
            .iter()
            .filter(|(_, flight)| flight.until <= now)
            .map(|(handle, _)| *handle)
            .collect();
        for handle in lost {
            self.orders.push_back(Order::Cancel { handle });
            self.landed(handle, Outcome::Failed(Failure::Modem));
        }
    }

    pub(super) fn flights_due(&self) -> Option<Millis> {
        self.flights.values().map(|flight| flight.until).min()
    }

    pub(super) fn received(&mut self, now: Millis, received: Received) {
        let Received { eui, profile, cluster, src_endpoint, dst_endpoint, lqi, rssi, payload } = received;
        let Some(lock) = self.by_eui.get(&eui).copied() else {
            self.counters.strangers = self.counters.strangers.saturating_add(1);
            if self.leaving.contains_key(&eui) {
                self.send_away(eui);
            }
            return;
        };
        let Some(device) = self.devices.get(&lock) else { return };
        let (waits, known) = (matches!(device.interview, Interview::Waiting { .. }), device.endpoint);
        if waits {
            // It is awake now.
            self.interview(now, lock);
        }
        let tunnel = self.config.tunnel;
        let ours = profile == PROFILE && cluster == tunnel.cluster && dst_endpoint == ENDPOINT;
        let frame = match tunnel.parse_from_lock(&payload) {
            Ok(frame) if ours && known.is_none_or(|endpoint| endpoint.number == src_endpoint) => frame,
            _ => {
                self.counters.foreign = self.counters.foreign.saturating_add(1);
                return;
            }
        };
        self.is_there(now, lock);
        if self.events.len() >= MAX_EVENTS {
            // The lock has no receipt and says it again.
            self.counters.shed = self.counters.shed.saturating_add(1);
            return;
        }
        let quality = Quality { rssi: Some(rssi.into()), snr: None, lqi: Some(lqi) };
        let frame = payload.slice_ref(frame);
        self.events.push_back(Event::Up(Up { lock, frame, quality, at: now, window: None }));
    }

    /// A device that is in the network: it may have come back while nobody listened.
    pub(super) fn is_there(&mut self, now: Millis, lock: cardea_framing::LockId) {
        self.joins.is_in(lock);
        let Some(device) = self.devices.get_mut(&lock) else { return };
        if !device.joined {
            device.joined = true;
            self.events.push_back(Event::Joined(lock));
            self.events.extend(device.link(lock));
            self.writer.mark(RecordKey::Device(lock));
        }
        if device.endpoint.is_none() && matches!(device.interview, Interview::Idle) {
            self.interview(now, lock);
        }
    }
}

/// Whether somebody waits for a frame, by its first byte, which is not sealed. A receipt is waited for by a lock, which says again
/// what it has none for.
fn is_urgent(frame: &[u8]) -> bool {
    let header = frame.first().and_then(|first| Header::decode(*first).ok());
    header.is_some_and(|header| header.class == Class::Interactive || header.kind == Kind::Receipt)
}

/// Until when the coordinator may give a frame to its dongle, and whether it is to be acknowledged; `None`: it is too late.
pub(super) fn hand_over(now: Millis, deadline: Millis, sleepy: bool) -> Option<(Millis, bool)> {
    let by = |after: Millis| deadline.checked_sub(after).filter(|by| *by > now);
    if sleepy {
        return by(PARENT_HOLD_MS + HAND_OVER_MS).map(|by| (by, false));
    }
    // Acknowledged while there is time for all repetitions, else once.
    by(REPEATS_MS + HAND_OVER_MS).map(|by| (by, true)).or_else(|| by(HAND_OVER_MS).map(|by| (by, false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_handshakes_and_receipts_are_waited_for_and_lists_are_not() {
        let byte = |kind, class| Header { kind, more: false, class }.encode();
        for kind in [Kind::PlatformEdhoc, Kind::PlatformOscore, Kind::PeerOscore] {
            assert!(is_urgent(&[byte(kind, Class::Interactive), 0]), "{kind:?}");
        }
        assert!(is_urgent(&[byte(Kind::Receipt, Class::Log)]));
        assert!(
            !is_urgent(&[byte(Kind::Site, Class::Log)])
                && !is_urgent(&[byte(Kind::PlatformOscore, Class::Bulk)])
        );
        assert!(!is_urgent(&[]) && !is_urgent(&[0xFF]));
    }

    /// Whatever is chosen: hand-over at the last moment, and the longest that can follow, end at the deadline.
    #[test]
    fn no_hand_over_can_end_after_the_deadline() {
        for sleepy in [false, true] {
            for left in (0..30_000).step_by(10) {
                let (now, deadline) = (5_000, 5_000 + left);
                let Some((by, acknowledge)) = hand_over(now, deadline, sleepy) else {
                    assert!(left <= if sleepy { 10_180 } else { 2_500 }, "{left}");
                    continue;
                };
                let hold = match (sleepy, acknowledge) {
                    (true, true) => panic!("its dongle would repeat for 40 s"),
                    (true, false) => 7_680,
                    (false, true) => 6_400,
                    (false, false) => 0,
                };
                assert!(by > now && by + hold + HAND_OVER_MS <= deadline, "{left} {sleepy} {acknowledge}");
            }
        }
        assert_eq!(hand_over(5_000, 4_000, false), None);
        assert_eq!(hand_over(5_000, 0, true), None);
    }
}
