//! For tests of one end alone, without an air: keys, frames of the other end, and the clock of the duty cycle.

use std::collections::VecDeque;

use crate::codec::{Header, seal};
use crate::mic::{Nonces, Secret, SessionKeys};
use crate::{AirFrame, Body, Key, Kind, LockId, Micros, Region};

pub(crate) const LOCK: LockId = [7; 8];
pub(crate) const NETWORK: u8 = 3;
pub(crate) const ADDRESS: u8 = 1;
pub(crate) const NONCES: Nonces = Nonces { node: 1, gateway: 0 };
pub(crate) const HOUR: Micros = 3_600_000_000;

pub(crate) fn secret() -> Secret {
    Secret([5; 16])
}

pub(crate) fn network_key() -> Key {
    Key([9; 16])
}

pub(crate) fn keys() -> SessionKeys {
    secret().session(&LOCK, NONCES)
}

pub(crate) fn header(kind: Kind, up: bool, address: u8) -> Header {
    Header { address, network: NETWORK, kind, up, ack: false, pending: false, counter: 0 }
}

/// What the lock says.
pub(crate) fn up(kind: Kind, counter: u32, body: &[u8]) -> AirFrame {
    seal(header(kind, true, ADDRESS), counter, body, &keys().up).unwrap()
}

/// What the gateway says to it.
pub(crate) fn down(kind: Kind, counter: u32, body: &[u8]) -> AirFrame {
    seal(header(kind, false, ADDRESS), counter, body, &keys().down).unwrap()
}

pub(crate) fn down_body(body: &Body, counter: u32) -> AirFrame {
    down(body.kind(), counter, &body.encode())
}

/// Everything that an end puts on the air, looked at as it is put there: the first frame too many ends the test.
pub(crate) struct HourOfAir {
    budget: Micros,
    last: VecDeque<(Micros, Micros)>,
    pub(crate) spent: Micros,
    pub(crate) most: Micros,
}

impl HourOfAir {
    pub(crate) fn new(region: Region) -> Self {
        Self { budget: region.budget(), last: VecDeque::new(), spent: 0, most: 0 }
    }

    /// A frame begins at `from`.
    pub(crate) fn put(&mut self, from: Micros, air: Micros) {
        self.last.push_back((from, air));
        self.spent += air;
        while let Some((at, old)) = self.last.front().copied().filter(|(at, old)| at + old + HOUR <= from) {
            debug_assert!(at < from);
            self.last.pop_front();
            self.spent -= old;
        }
        self.most = self.most.max(self.spent);
        assert!(
            self.spent <= self.budget,
            "the hour's budget of {} ms is exceeded: {} ms in the hour before {from}",
            self.budget / 1_000,
            self.spent / 1_000
        );
    }
}
