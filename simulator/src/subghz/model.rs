//! A chip of either kind, as the air needs it.

use super::chip::{Chip, Faults, Heard, State};
use super::sx126x::Sx126x;
use crate::Random;

pub(super) enum Model {
    Cc1101(Box<Chip>),
    Sx126x(Box<Sx126x>),
}

impl Model {
    pub(super) fn state(&self) -> State {
        match self {
            Self::Cc1101(chip) => chip.state,
            Self::Sx126x(chip) => chip.state,
        }
    }

    pub(super) fn faults(&self) -> Faults {
        match self {
            Self::Cc1101(chip) => chip.faults,
            Self::Sx126x(chip) => chip.faults,
        }
    }

    pub(super) fn set_faults(&mut self, faults: Faults) {
        match self {
            Self::Cc1101(chip) => chip.faults = faults,
            Self::Sx126x(chip) => chip.faults = faults,
        }
    }

    pub(super) fn due(&self) -> Option<u64> {
        match self {
            Self::Cc1101(chip) => chip.due,
            Self::Sx126x(chip) => chip.due,
        }
    }

    pub(super) fn settled(&mut self, now: u64) -> bool {
        match self {
            Self::Cc1101(chip) => chip.settled(now),
            Self::Sx126x(chip) => chip.settled(now),
        }
    }

    pub(super) fn reset(&mut self, now: u64) {
        match self {
            Self::Cc1101(chip) => chip.reset(now),
            Self::Sx126x(chip) => chip.reset(now),
        }
    }

    /// What is at the wire of BUSY; a CC1101 has no such pin, but something may be wired there.
    pub(super) fn busy(&self, now: u64) -> bool {
        match self {
            Self::Cc1101(chip) => chip.faults.busy.unwrap_or(false),
            Self::Sx126x(chip) => chip.busy(now),
        }
    }

    pub(super) fn select(&mut self, now: u64) {
        match self {
            Self::Cc1101(chip) => chip.select(now),
            Self::Sx126x(chip) => chip.select(now),
        }
    }

    pub(super) fn exchange(&mut self, now: u64, byte: u8, heard: Heard, chance: &Random) -> u8 {
        match self {
            Self::Cc1101(chip) => chip.exchange(now, byte, heard, chance),
            Self::Sx126x(chip) => chip.exchange(now, byte, heard),
        }
    }

    /// GDO0 or GDO2; DIO1 is line 0 of the other kind.
    pub(super) fn line(&self, gdo: u8, heard: Heard) -> bool {
        match self {
            Self::Cc1101(chip) => chip.line(2 - gdo, heard),
            Self::Sx126x(chip) => gdo == 0 && chip.line(),
        }
    }

    // ------------------------------------------------------------------------------------- out

    /// After a transmission that was cut off, the first byte of the next one is there twice (SWRZ020E, "extra byte"); that it always
    /// happens is worse than a chip.
    pub(super) fn begins_twice(&self) -> bool {
        matches!(self, Self::Cc1101(chip) if chip.config.errata)
    }

    /// Behind the sync word.
    pub(super) fn sends(&mut self) {
        if let Self::Cc1101(chip) = self {
            chip.packet = true;
        }
    }

    /// Length, then bytes; `None`: it ran out of them.
    pub(super) fn take(&mut self) -> Option<u8> {
        match self {
            Self::Cc1101(chip) => chip.tx.pop_front(),
            Self::Sx126x(chip) => chip.take(),
        }
    }

    pub(super) fn ran_out(&mut self) {
        if let Self::Cc1101(chip) = self {
            chip.state = State::Underflow;
            chip.packet = false;
        }
    }

    pub(super) fn transmitted(&mut self, now: u64) {
        match self {
            Self::Cc1101(chip) => chip.transmitted(now),
            Self::Sx126x(chip) => chip.transmitted(now),
        }
    }

    // ------------------------------------------------------------------------------------- in

    /// The sync word of a sender that is so many steps of a CC1101 off.
    pub(super) fn synced(&mut self, steps: i8) {
        match self {
            Self::Cc1101(chip) => (chip.packet, chip.freqest) = (true, steps),
            Self::Sx126x(chip) => chip.synced(),
        }
    }

    /// Longer than it takes. A CC1101 goes on looking for packets; an SX126x gives it as one with a wrong checksum.
    pub(super) fn too_long(&mut self, dbm: f64) {
        match self {
            Self::Cc1101(chip) => chip.packet = false,
            Self::Sx126x(chip) => chip.finish(false, dbm),
        }
    }

    /// False when it has no room.
    pub(super) fn put(&mut self, byte: u8) -> bool {
        match self {
            Self::Cc1101(chip) => chip.put(byte),
            Self::Sx126x(chip) => {
                chip.put(byte);
                true
            }
        }
    }

    /// The packet is whole. False when there is no room for what is appended.
    pub(super) fn finish(&mut self, right: bool, dbm: f64, rssi: u8, lqi: u8) -> bool {
        match self {
            Self::Cc1101(chip) => {
                let kept = chip.put(rssi) && chip.put(u8::from(right) << 7 | lqi);
                if kept {
                    chip.received();
                }
                kept
            }
            Self::Sx126x(chip) => {
                chip.finish(right, dbm);
                true
            }
        }
    }

    pub(super) fn overflowed(&mut self) {
        if let Self::Cc1101(chip) = self {
            chip.overflowed();
        }
    }
}
