//! What is fixed about the air: profiles, channels, air times, regions, and the times that all ends agree on.

use crate::Micros;
use crate::codec::{HEADER_LEN, MIC_LEN};

/// The sync word, sent twice (`c9 56 c9 56`, most significant bit first). No shift of it against the preamble comes nearer
/// than 10 of 32 bits, and it is no chip's default.
pub const SYNC: [u8; 2] = [0xC9, 0x56];

/// Modulation, one for a whole network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// 4.8 kbit/s, deviation 25.4 kHz: reach.
    Slow,
    /// 38.4 kbit/s, deviation 20.6 kHz: the default.
    Standard,
    /// 100 kbit/s, deviation 47.6 kHz: many locks, near.
    Fast,
}

impl Profile {
    /// Bits per second.
    #[must_use]
    pub const fn bit_rate(self) -> u32 {
        match self {
            Self::Slow => 4_800,
            Self::Standard => 38_400,
            Self::Fast => 100_000,
        }
    }

    /// Bytes of `aa` before the sync word.
    #[must_use]
    pub const fn preamble(self) -> u8 {
        match self {
            Self::Slow | Self::Standard => 4,
            Self::Fast => 8,
        }
    }

    /// Time on the air of a frame whose LEN byte is `len`, rounded up.
    #[must_use]
    pub const fn air_time(self, len: usize) -> Micros {
        let bytes = self.preamble() as u64 + 4 + 1 + len as u64 + 2;
        (bytes * 8 * 1_000_000).div_ceil(self.bit_rate() as u64)
    }

    /// Air time of a frame with a body of so many bytes.
    #[must_use]
    pub const fn air_time_of_body(self, body: usize) -> Micros {
        self.air_time(HEADER_LEN + body + MIC_LEN)
    }

    /// Centre frequencies in Hz by channel number; channel 0 is home. All lie inside 433.05 to 434.79 MHz with their sides.
    #[must_use]
    pub const fn channels(self) -> &'static [u32] {
        match self {
            Self::Slow | Self::Standard => {
                &[433_920_000, 433_320_000, 434_320_000, 433_520_000, 434_520_000, 433_720_000]
            }
            Self::Fast => &[433_920_000, 433_320_000, 434_520_000],
        }
    }

    /// How often a sleepy lock listens unless its maker chose otherwise, ms.
    #[must_use]
    pub const fn interval_ms(self) -> u16 {
        match self {
            Self::Slow => 2_000,
            Self::Standard | Self::Fast => 500,
        }
    }

    /// How long a lock listens for a strobe: two strobes and the pauses around them, so that one is heard whole.
    #[must_use]
    pub const fn sniff(self) -> Micros {
        2 * self.air_time_of_body(3) + 2 * STROBE_GAP
    }

    /// From the end of a frame to the end of its acknowledgement, at the latest.
    #[must_use]
    pub const fn ack_wait(self) -> Micros {
        ACK_LATEST + GUARD + self.air_time_of_body(2)
    }

    /// How long a lock stays awake for data: three frames of full length with their acknowledgements and backoffs.
    #[must_use]
    pub const fn awake(self) -> Micros {
        3 * (self.air_time_of_body(crate::MTU) + self.ack_wait() + 4 * SLOT)
    }
}

/// The rules of a band, as far as this layer keeps them. What counsel must confirm is in `docs/433-link.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// 433.05–434.79 MHz, 10 mW e.r.p., duty cycle 10 % (ERC/REC 70-03).
    Eu433,
    /// 433.00–434.79 MHz, 10 mW e.r.p. The 1 % is our own caution, no rule that we have read.
    Cn433,
}

impl Region {
    /// Microseconds on the air in any 3,600 s.
    #[must_use]
    pub const fn budget(self) -> Micros {
        match self {
            Self::Eu433 => 360_000_000,
            Self::Cn433 => 36_000_000,
        }
    }
}

/// An acknowledgement starts no sooner after the end of the frame: both ends turn around.
pub const ACK_EARLIEST: Micros = 1_000;
/// And no later: what a process on Linux needs at worst.
pub const ACK_LATEST: Micros = 30_000;
/// What lies between the two.
pub const ACK_SPREAD: Micros = ACK_LATEST - ACK_EARLIEST;
/// The longest pause between two strobes of a burst.
pub const STROBE_GAP: Micros = 1_500;
/// How long a channel must be clear before it is used.
pub const CLEAR: Micros = 5_000;
/// One slot of the backoff.
pub const SLOT: Micros = 10_000;
/// Two crystals of ±40 ppm.
pub const DRIFT_PPM: u64 = 80;
/// Guard time without drift: rounding, interrupt latency.
pub const GUARD: Micros = 2_000;
/// From one beacon to the next.
pub const BEACON_PERIOD: Micros = 10_000_000;
/// From the end of a beacon to the listen window that it announces, ms.
pub const WINDOW_COUNTDOWN_MS: u16 = 20;
/// Length of the listen window: the gateway starts nothing of its own in it.
pub const WINDOW: Micros = 200_000;
/// Sendings of one frame with a request for acknowledgement.
pub const TRIES: u8 = 4;
/// Busy channels in a row before a frame is given up.
pub const BUSY_TRIES: u8 = 16;

/// Uncertainty about another end's clock after `age`.
#[must_use]
pub const fn guard(age: Micros) -> Micros {
    GUARD + age / 1_000_000 * DRIFT_PPM + DRIFT_PPM
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn air_times_are_those_of_the_specification() {
        let times = |profile: Profile| [2, 3, 24, 32, 48].map(|body| profile.air_time_of_body(body));
        assert_eq!(times(Profile::Slow), [43_334, 45_000, 80_000, 93_334, 120_000]);
        assert_eq!(times(Profile::Standard), [5_417, 5_625, 10_000, 11_667, 15_000]);
        assert_eq!(times(Profile::Fast), [2_400, 2_480, 4_160, 4_800, 6_080]);
    }

    #[test]
    fn budgets_are_a_tenth_and_a_hundredth_of_an_hour() {
        assert_eq!([Region::Eu433, Region::Cn433].map(Region::budget), [360_000_000, 36_000_000]);
    }

    #[test]
    fn channels_stay_inside_the_band() {
        for (profile, half) in
            [(Profile::Slow, 101_500), (Profile::Standard, 101_500), (Profile::Fast, 270_000)]
        {
            for hz in profile.channels() {
                assert!(hz - half >= 433_050_000 && hz + half <= 434_790_000, "{hz}");
            }
        }
    }
}
