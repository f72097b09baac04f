use crate::{AirFrame, Micros, Profile};

/// Put this on the air. The driver answers with `handle_sent` at the end of the frame, or with `handle_busy` if the channel was not
/// clear, or it did not start by [`start_by`](Self::start_by).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// LEN, whitened bytes, CRC: what follows the sync word.
    pub frame: AirFrame,
    /// Channel number of the profile.
    pub channel: u8,
    /// Bytes of `aa` before the sync word.
    pub preamble: u8,
    /// Only if the channel is clear: below -90 dBm for 5 ms. If it is not, `handle_busy` at once, and no waiting for its end: all who
    /// waited would begin together. Otherwise at once.
    pub cca: bool,
    /// Not a microsecond later may the preamble begin: the frame would be on the air after its deadline.
    pub start_by: Micros,
}

/// What the receiver is to do while nothing is transmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Off; the radio sleeps.
    Off,
    /// On this channel, until something else is asked for.
    On {
        /// Channel number of the profile.
        channel: u8,
    },
    /// On this channel, but off again (`handle_silence`) if there is no carrier within 2 ms (longer than the
    /// pause between two strobes).
    Sniff {
        /// Channel number of the profile.
        channel: u8,
    },
}

/// How well a frame was heard, as far as the radio tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// dBm; -128 to 126.
    pub rssi: Option<i8>,
    /// 1 to 255, higher is better.
    pub lqi: Option<u8>,
}

impl Quality {
    /// What stands for a strength that is not known: no receiver hears +127 dBm.
    const NO_RSSI: i8 = i8::MAX;
    /// What stands for a quality that is not known.
    const NO_LQI: u8 = 0;

    /// As an acknowledgement says it: `rssi lqi`.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 2] {
        [self.rssi.unwrap_or(Self::NO_RSSI).cast_unsigned(), self.lqi.unwrap_or(Self::NO_LQI)]
    }

    /// From an acknowledgement.
    #[must_use]
    pub fn from_bytes([rssi, lqi]: [u8; 2]) -> Self {
        let rssi = rssi.cast_signed();
        Self { rssi: (rssi != Self::NO_RSSI).then_some(rssi), lqi: (lqi != Self::NO_LQI).then_some(lqi) }
    }
}

/// What became of a frame that was handed over. None of it is success: only framing's receipt promises custody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other end's radio acknowledged it.
    Heard,
    /// It was on the air, and nobody acknowledged it. It may have arrived nevertheless.
    Unheard,
    /// It could not be on the air before its deadline, and was not.
    Expired,
    /// The duty cycle does not allow it.
    NoAirtime,
    /// The channel was never clear.
    Busy,
    /// It was taken back, or its receiver removed, before it was on the air.
    Cancelled,
}

/// Why a frame is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such lock, or it has not joined.
    #[error("not joined")]
    NotJoined,
    /// Empty, or longer than [`MTU`](crate::MTU).
    #[error("too big")]
    Size,
    /// Another one is under way.
    #[error("busy")]
    Busy,
    /// No address or memory is left for another lock.
    #[error("full")]
    Full,
}

/// Chance for backoffs and slots, where nothing secret depends on it.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u32);

impl Chance {
    pub(crate) fn new(seed: u32) -> Self {
        // Seeds are serial numbers as often as not, and a register with few ones in it says little for its first words.
        let mut word = seed ^ 0x9E37_79B9;
        word = (word ^ word >> 16).wrapping_mul(0x85EB_CA6B);
        word = (word ^ word >> 13).wrapping_mul(0xC2B2_AE35);
        Self((word ^ word >> 16).max(1))
    }

    /// 0 to `below` - 1.
    pub(crate) fn below(&mut self, below: Micros) -> Micros {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (Micros::from(self.0) * below.max(1)) >> 32
    }

    /// Binary exponential backoff: one slot and up to four more after the first failure, at most 32 more. To the microsecond where ends
    /// hear each other: two that drew the same whole slot would meet for certain, and any difference is heard. Where they do not, in
    /// whole slots: those who have just met count from the same moment, and half a frame of difference saves neither.
    pub(crate) fn backoff(&mut self, failures: u8, profile: Profile) -> Micros {
        let (slot, slots) = (profile.slot(), 2 << failures.min(4));
        if profile.carrier_sense() { slot + self.below(slots * slot) } else { (1 + self.below(slots)) * slot }
    }
}
