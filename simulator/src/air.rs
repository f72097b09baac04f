use std::{sync::Arc, time::Duration};

use tokio::{sync::broadcast, time::Instant};

use crate::Random;

/// How bad the world is. All choices come from the seed given to [`Air::new`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Weather {
    /// Probability that a receiver misses a transmission, either direction.
    pub loss: f64,
    /// Longest time a UDP datagram between forwarder and gateway takes, uniformly from 0; overtaking follows.
    pub delay: Duration,
    /// Probability that such a datagram arrives twice.
    pub duplicates: f64,
}

/// A LoRa channel and how it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modulation {
    /// Hz.
    pub frequency: u32,
    /// 5 to 12.
    pub spreading_factor: u8,
    /// Hz.
    pub bandwidth: u32,
    /// Gateways invert, so that they do not hear each other nor devices each other.
    pub inverted: bool,
}

impl Modulation {
    /// Time on air of `len` bytes: 8 symbols of preamble, explicit header, coding rate 4/5 (SX1276 datasheet 4.1.1.7).
    #[must_use]
    pub fn airtime(&self, len: usize) -> Duration {
        let sf = i64::from(self.spreading_factor.clamp(5, 12));
        let symbol_ns = (1_i64 << sf) * 1_000_000_000 / i64::from(self.bandwidth.max(1));
        let low_rate = i64::from(symbol_ns >= 16_000_000);
        // Uplinks carry a CRC, downlinks none.
        let crc = if self.inverted { 0 } else { 16 };
        let bits = 8 * i64::try_from(len).unwrap_or(255) - 4 * sf + 28 + crc;
        let blocks = (bits.max(0) + 4 * (sf - 2 * low_rate) - 1) / (4 * (sf - 2 * low_rate));
        let quarter_symbols = 4 * (8 + blocks * 5) + 49;
        Duration::from_nanos(u64::try_from(quarter_symbols * symbol_ns / 4).unwrap_or(0))
    }
}

/// One transmission, known to all from its start.
#[derive(Debug)]
pub struct Transmission {
    /// First symbol of the preamble.
    pub start: Instant,
    /// Last symbol.
    pub end: Instant,
    /// On which channel.
    pub modulation: Modulation,
    /// PHYPayload.
    pub payload: Vec<u8>,
}

/// The medium all radios of a simulation share.
///
/// Every receiver that listens on the channel hears a transmission, unless chance has it lost. Transmissions do
/// not disturb each other; a forwarder is deaf while it transmits.
pub struct Air {
    weather: Weather,
    random: Random,
    channel: broadcast::Sender<Arc<Transmission>>,
}

impl Air {
    /// A medium with this weather; print the seed.
    #[must_use]
    pub fn new(seed: u64, weather: Weather) -> Arc<Self> {
        Arc::new(Self { weather, random: Random::new(seed, 0), channel: broadcast::channel(1024).0 })
    }

    /// Puts a payload on the air at `start`, which may lie a little ahead; gives the end of the transmission.
    pub fn transmit(&self, start: Instant, modulation: Modulation, payload: Vec<u8>) -> Instant {
        let end = start + modulation.airtime(payload.len());
        // Nobody listening is no error.
        let _ = self.channel.send(Arc::new(Transmission { start, end, modulation, payload }));
        end
    }

    /// All transmissions from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Arc<Transmission>> {
        self.channel.subscribe()
    }

    /// Draws whether one receiver hears one transmission.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        !self.random.chance(self.weather.loss)
    }

    /// Draws when the copies of one UDP datagram arrive, from now.
    pub(crate) fn backhaul(&self) -> impl Iterator<Item = Duration> + '_ {
        let copies = 1 + usize::from(self.random.chance(self.weather.duplicates));
        let longest = u64::try_from(self.weather.delay.as_micros()).unwrap_or(u64::MAX);
        (0..copies).map(move |_| Duration::from_micros(self.random.below(longest.saturating_add(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Semtech's calculator: 12 bytes up at SF7, SF9, SF12; 33 bytes down.
    #[test]
    fn airtime() {
        let time = |spreading_factor, inverted, len| {
            Modulation { frequency: 868_100_000, spreading_factor, bandwidth: 125_000, inverted }
                .airtime(len)
                .as_micros()
        };
        assert_eq!(time(7, false, 12), 41_216);
        assert_eq!(time(9, false, 12), 144_384);
        assert_eq!(time(12, false, 12), 1_155_072);
        assert_eq!(time(12, false, 38), 1_974_272);
        assert_eq!(time(7, false, 64), 118_016);
    }

    #[test]
    fn the_same_seed_has_the_same_weather() {
        let weather = Weather { loss: 0.3, ..Weather::default() };
        let draw = |seed| {
            let air = Air::new(seed, weather);
            (0..1000).map(|_| air.is_heard()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let lost = draw(7).iter().filter(|heard| !**heard).count();
        assert!((250..350).contains(&lost), "{lost}");
    }
}
