//! What is fixed about the air: profiles, channels, air times, regions, and the times that all ends agree on.

mod serial;

use crate::Micros;
use crate::codec::{HEADER_LEN, MIC_LEN};
pub use serial::{Module, PORT};

/// The sync word, sent twice (`c9 56 c9 56`, most significant bit first). No shift of it against the preamble comes nearer
/// than 10 of 32 bits, and it is no chip's default.
pub const SYNC: [u8; 2] = [0xC9, 0x56];

/// Modulation and times, one for a whole network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// 4.8 kbit/s, deviation 25.4 kHz: reach.
    Slow,
    /// 38.4 kbit/s, deviation 20.6 kHz: the default.
    Standard,
    /// 100 kbit/s, deviation 47.6 kHz: many locks, near.
    Fast,
    /// A transparent serial module's own: no carrier sense, one channel, always listening, and later by its latency.
    Serial(Module),
}

impl Profile {
    /// Bits per second.
    #[must_use]
    pub const fn bit_rate(self) -> u32 {
        match self {
            Self::Slow => 4_800,
            Self::Standard => 38_400,
            Self::Fast => 100_000,
            Self::Serial(module) => module.air_bps,
        }
    }

    /// Whether a radio of this profile hears that somebody else is on the air.
    #[must_use]
    pub const fn carrier_sense(self) -> bool {
        self.module().is_none()
    }

    /// Whether locks may sleep, and are woken by strobes. Else they always listen, whatever they say.
    #[must_use]
    pub const fn sleeps(self) -> bool {
        self.module().is_none()
    }

    const fn module(self) -> Option<Module> {
        if let Self::Serial(module) = self { Some(module) } else { None }
    }

    /// Bytes of `aa` before the sync word; a serial module has its own.
    #[must_use]
    pub const fn preamble(self) -> u8 {
        match self {
            Self::Slow | Self::Standard => 4,
            Self::Fast => 8,
            Self::Serial(_) => 0,
        }
    }

    /// Time on the air of a frame whose LEN byte is `len`, rounded up.
    #[must_use]
    pub const fn air_time(self, len: usize) -> Micros {
        if let Self::Serial(module) = self {
            return module.air_us(Module::stream(len));
        }
        let bytes = self.preamble() as u64 + 4 + 1 + len as u64 + 2;
        (bytes * 8 * 1_000_000).div_ceil(self.bit_rate() as u64)
    }

    /// Air time of a frame with a body of so many bytes.
    #[must_use]
    pub const fn air_time_of_body(self, body: usize) -> Micros {
        self.air_time(HEADER_LEN + body + MIC_LEN)
    }

    /// Centre frequencies in Hz by channel number; channel 0 is home. All lie inside 433.05 to 434.79 MHz with their sides. A serial
    /// module has one, and does not tell which: 0.
    #[must_use]
    pub const fn channels(self) -> &'static [u32] {
        match self {
            Self::Slow | Self::Standard => {
                &[433_920_000, 433_320_000, 434_320_000, 433_520_000, 434_520_000, 433_720_000]
            }
            Self::Fast => &[433_920_000, 433_320_000, 434_520_000],
            Self::Serial(_) => &[0],
        }
    }

    /// How often a sleepy lock listens unless its maker chose otherwise, ms; 0: always.
    #[must_use]
    pub const fn interval_ms(self) -> u16 {
        match self {
            Self::Slow => 2_000,
            Self::Standard | Self::Fast => 500,
            Self::Serial(_) => 0,
        }
    }

    /// How long a lock listens for a strobe: three strobes and the pauses around them, so that two are heard whole. Of one alone a
    /// tenth is lost where a tenth of all frames is, and a lock that sleeps on costs three sendings and a second, long burst.
    #[must_use]
    pub const fn sniff(self) -> Micros {
        3 * (self.air_time_of_body(3) + STROBE_GAP)
    }

    /// How much later than it is handed over a frame's first bit may leave: what has a last moment to begin is handed over so much sooner.
    #[must_use]
    pub const fn start(self) -> Micros {
        match self.module() {
            Some(module) => module.start_us(),
            None => 0,
        }
    }

    /// How much later than its last bit left a frame of full length may be received.
    #[must_use]
    pub const fn deliver(self) -> Micros {
        match self.module() {
            Some(module) => module.deliver_us(HEADER_LEN + crate::MTU + MIC_LEN),
            None => 0,
        }
    }

    /// An acknowledgement starts no sooner after the end of the frame: both ends turn around. Where nobody hears whether the channel is free
    /// the firmware shall have its answer by then, so that `pending` says so.
    #[must_use]
    pub const fn ack_earliest(self) -> Micros {
        if self.carrier_sense() { ACK_EARLIEST } else { 20_000 }
    }

    /// And no later: the host, and what its module takes.
    #[must_use]
    pub const fn ack_latest(self) -> Micros {
        if self.carrier_sense() { ACK_LATEST } else { self.ack_earliest() + ACK_LATEST + self.start() }
    }

    /// What lies between the two.
    #[must_use]
    pub const fn ack_spread(self) -> Micros {
        self.ack_latest() - self.ack_earliest()
    }

    /// From the end of a frame to the end of its acknowledgement, at the latest.
    #[must_use]
    pub const fn ack_wait(self) -> Micros {
        let ack = match self.module() {
            // The frame out of the other module, and the acknowledgement out of ours.
            Some(module) => self.deliver() + module.deliver_us(HEADER_LEN + 2 + MIC_LEN),
            None => 0,
        };
        self.ack_latest() + GUARD + self.air_time_of_body(2) + ack
    }

    /// One slot of the backoff. Twenty that speak at once must all have had their turn before the last is given up, so frames that take
    /// longer have longer slots. Who cannot hear others keeps out of their way by a whole frame.
    #[must_use]
    pub const fn slot(self) -> Micros {
        let frame = self.air_time_of_body(crate::MTU);
        match self {
            Self::Slow => 4 * SLOT,
            Self::Serial(_) if frame > SLOT => frame,
            Self::Standard | Self::Fast | Self::Serial(_) => SLOT,
        }
    }

    /// For how long the next frame of one's own waits after an acknowledgement that says that the other end has one (`pending`), where
    /// neither hears the other begin: until that frame is here.
    #[must_use]
    pub const fn defers(self) -> Micros {
        match self.module() {
            Some(module) => {
                let begins = module.hold_us as Micros + ACK_LATEST + self.start();
                begins + self.air_time_of_body(crate::MTU) + self.deliver()
            }
            None => 0,
        }
    }

    /// From one beacon to the next, whole seconds. Beacons of a slow module are fewer, so that they take no more than 0.5 % of the time.
    #[must_use]
    pub const fn beacon_period(self) -> Micros {
        if self.carrier_sense() {
            return BEACON_PERIOD;
        }
        let seconds = (self.air_time_of_body(10) * 200).div_ceil(1_000_000);
        let seconds = if seconds > 255 { 255 } else { seconds };
        if seconds * 1_000_000 < BEACON_PERIOD { BEACON_PERIOD } else { seconds * 1_000_000 }
    }

    /// Length of the listen window after a beacon: whoever has searched speaks at a moment of it.
    #[must_use]
    pub const fn window(self) -> Micros {
        if self.carrier_sense() || 4 * self.slot() < WINDOW { WINDOW } else { 4 * self.slot() }
    }

    /// For so long after the window has begun the gateway starts nothing of its own: what was said at its end is still on its way.
    #[must_use]
    pub const fn quiet(self) -> Micros {
        self.window() + self.deliver() + self.start()
    }

    /// Until ACCEPT, which is said once it is stored.
    #[must_use]
    pub const fn accept_wait(self) -> Micros {
        let late = match self.module() {
            Some(_) => self.ack_wait() + self.air_time_of_body(crate::MTU) + self.deliver(),
            None => 0,
        };
        ACCEPT_WAIT + late
    }

    /// How long a lock stays awake for data: three frames of full length with their acknowledgements and backoffs.
    #[must_use]
    pub const fn awake(self) -> Micros {
        3 * (self.air_time_of_body(crate::MTU) + self.ack_wait() + 4 * self.slot() + self.start())
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

/// An acknowledgement of a chip starts no sooner after the end of the frame: both ends turn around.
const ACK_EARLIEST: Micros = 1_000;
/// And no later: what a process on Linux needs at worst.
pub(crate) const ACK_LATEST: Micros = 30_000;
/// A JOIN is answered once the gateway has stored it.
const ACCEPT_WAIT: Micros = 1_000_000;
/// The longest pause between two strobes of a burst.
pub const STROBE_GAP: Micros = 1_500;
/// How long a channel must be clear before it is used.
pub const CLEAR: Micros = 5_000;
/// One slot of a chip's backoff.
const SLOT: Micros = 10_000;
/// Two crystals of ±40 ppm.
pub const DRIFT_PPM: u64 = 80;
/// Guard time without drift: rounding, interrupt latency.
pub const GUARD: Micros = 2_000;
/// From one beacon of a chip to the next.
const BEACON_PERIOD: Micros = 10_000_000;
/// From the end of a beacon to the listen window that it announces, ms.
pub const WINDOW_COUNTDOWN_MS: u16 = 20;
/// Length of a chip's listen window: the gateway starts nothing of its own in it.
const WINDOW: Micros = 200_000;
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
        assert_eq!(times(Profile::Serial(Module::HC12)), [21_200, 21_734, 32_934, 37_200, 45_734]);
        assert_eq!(times(Profile::Serial(Module::E32)), [140_000, 143_334, 213_334, 240_000, 363_334]);
    }

    /// As docs/433-link.md has them.
    #[test]
    fn times_of_a_serial_module_are_those_of_the_specification() {
        let times = |module| {
            let profile = Profile::Serial(module);
            [
                profile.start(),
                profile.deliver(),
                profile.ack_earliest(),
                profile.ack_latest(),
                profile.ack_wait(),
                profile.slot(),
                profile.defers(),
                profile.window(),
                profile.accept_wait(),
                profile.beacon_period(),
            ]
        };
        assert_eq!(
            times(Module::HC12),
            [154_792, 154_792, 20_000, 204_792, 489_659, 45_734, 465_318, 200_000, 1_690_185, 10_000_000]
        );
        assert_eq!(
            times(Module::E32),
            [104_792, 104_792, 20_000, 154_792, 458_459, 363_334, 632_918, 1_453_336, 1_926_585, 34_000_000]
        );
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
