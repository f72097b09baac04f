//! What the gateway says.

use cardea_framing::LockId;
use cardea_radio::{Command, Event, Failure, Outcome, Refusal, Send};
use cardea_subghz_link as link;

use super::Network;
use crate::Micros;

impl Network {
    /// A command of the gateway.
    pub fn handle_command(&mut self, now: Micros, command: Command) {
        match command {
            Command::Admit(admission) => self.admit(admission),
            Command::Remove(lock) => self.remove(lock),
            Command::Send(send) => self.send(now, &send),
            Command::Cancel { handle } => self.link.cancel(handle),
            // What must survive is stored before it is used.
            Command::Stop => {}
        }
        self.take_events(now);
    }

    fn send(&mut self, now: Micros, send: &Send) {
        let Send { handle, lock, frame, deadline } = send;
        if self.flights.contains_key(handle) {
            // One outcome is on its way, and there must not be two.
            tracing::warn!("the gateway gave a 433 MHz frame twice");
            return;
        }
        let refused = if self.radio.is_err() {
            Outcome::Failed(Failure::NoRadio)
        } else {
            match self.link.send(now, *handle, &lock.0, frame, self.epoch.micros(*deadline)) {
                Ok(()) => {
                    self.flights.insert(*handle, *lock);
                    return;
                }
                Err(link::Refusal::NotJoined) => Outcome::Refused(Refusal::NotJoined),
                Err(link::Refusal::Size) => Outcome::Refused(Refusal::TooBig),
                Err(link::Refusal::Busy | link::Refusal::Full) => Outcome::Refused(Refusal::Busy),
            }
        };
        self.events.push_back(Event::Outcome { handle: *handle, outcome: refused });
    }

    /// Whatever the radio had will not be answered.
    pub(super) fn radio_lost(&mut self) {
        self.link.radio_lost();
        for handle in std::mem::take(&mut self.flights).into_keys() {
            self.events.push_back(Event::Outcome { handle, outcome: Outcome::Failed(Failure::NoRadio) });
        }
    }

    /// The link layer forgets a removed lock's frame with an event; this is for those it was never given.
    pub(super) fn cancel_all(&mut self, lock: LockId) {
        let handles: Vec<u64> =
            self.flights.iter().filter(|(_, whose)| **whose == lock).map(|(handle, _)| *handle).collect();
        for handle in handles {
            self.flights.remove(&handle);
            self.events.push_back(Event::Outcome { handle, outcome: Outcome::Failed(Failure::Cancelled) });
        }
    }
}

/// In the contract's words. An acknowledgement of the link is worth no more than that the frame was on the air.
pub(super) fn outcome(outcome: link::Outcome) -> Outcome {
    match outcome {
        link::Outcome::Heard | link::Outcome::Unheard => Outcome::Sent,
        link::Outcome::Expired => Outcome::Expired,
        link::Outcome::NoAirtime => Outcome::Refused(Refusal::Airtime),
        link::Outcome::Busy => Outcome::Failed(Failure::Modem),
        link::Outcome::Cancelled => Outcome::Failed(Failure::Cancelled),
    }
}
