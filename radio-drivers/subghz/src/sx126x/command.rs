//! Commands as bytes, and what three profiles set.
//!
//! Opcodes, bits and register addresses were compared with those of RadioLib, the units of rate, deviation and frequency with Semtech's
//! driver, times with ST's manual of the same radio. `docs/433-radio.md` has the list.

use cardea_subghz_link::Profile;

/// Of the crystal or TCXO, Hz.
pub const CRYSTAL_HZ: u64 = 32_000_000;

/// Interrupt bits.
pub mod irq {
    /// The last bit is out.
    pub const TX_DONE: u16 = 1 << 0;
    /// A packet is in the buffer, right or wrong.
    pub const RX_DONE: u16 = 1 << 1;
    /// A preamble.
    pub const PREAMBLE: u16 = 1 << 2;
    /// The sync word.
    pub const SYNC: u16 = 1 << 3;
    /// The checksum was wrong; also for what says that it is longer than the longest packet.
    pub const CRC_ERR: u16 = 1 << 6;
    /// The order's own timeout.
    pub const TIMEOUT: u16 = 1 << 9;
    /// Those that exist.
    pub const ALL: u16 = 0x43FF;
}

/// Of what failed.
pub mod error {
    /// The oscillator did not start.
    pub const OSCILLATOR: u16 = 1 << 5;
}

/// Modes in the status byte, bits 6 to 4.
pub mod mode {
    /// Standby on the RC oscillator: after a reset.
    pub const STANDBY_RC: u8 = 2;
    /// Standby on the crystal.
    pub const STANDBY_XOSC: u8 = 3;
    /// Receiving, or looking for a sync word.
    pub const RX: u8 = 5;
    /// Transmitting.
    pub const TX: u8 = 6;
}

/// Registers that are written by address.
pub mod register {
    /// Its name, 16 bytes.
    pub const NAME: u16 = 0x0320;
    /// Start of the checksum, two bytes; then its polynomial, two bytes; then the sync word, up to eight.
    pub const CRC_INITIAL: u16 = 0x06BC;
    /// Sync word.
    pub const SYNC: u16 = 0x06C0;
    /// Gain of the receiver: 0x96 for sensitivity, 0x94 for current.
    pub const RX_GAIN: u16 = 0x08AC;
    /// Clamping of the amplifier; the maker says to set bits 4 to 1 on those for high power.
    pub const TX_CLAMP: u16 = 0x08D8;
}

/// Questions: the chip answers a status byte and so many others.
pub mod query {
    /// Packet type.
    pub const PACKET_TYPE: u8 = 0x11;
    /// Interrupts, two bytes.
    pub const IRQ: u8 = 0x12;
    /// Length and place of the packet received.
    pub const RX_BUFFER: u8 = 0x13;
    /// Status, strength at the sync word, mean strength.
    pub const PACKET: u8 = 0x14;
    /// Strength now.
    pub const RSSI: u8 = 0x15;
    /// What failed, two bytes.
    pub const ERRORS: u8 = 0x17;
    /// Register: address, one more byte, values.
    pub const REGISTER: u8 = 0x1D;
    /// Buffer: offset, one more byte, bytes.
    pub const BUFFER: u8 = 0x1E;
    /// Nothing but the status byte.
    pub const STATUS: u8 = 0xC0;
}

/// Orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Standby, on the crystal or on the RC oscillator.
    Standby {
        /// On the crystal.
        crystal: bool,
    },
    /// One packet, without an end in time.
    Receive,
    /// What is in the buffer, for at most so many microseconds.
    Transmit {
        /// Then it stops by itself.
        timeout_us: u64,
    },
    /// DC-DC converter instead of the LDO.
    Regulator {
        /// The board has its coil.
        dcdc: bool,
    },
    /// All blocks.
    Calibrate,
    /// Image rejection, 430 to 440 MHz.
    CalibrateImage,
    /// Which amplifier, how far.
    Pa(Amplifier),
    /// dBm at the pin; a ramp of 40 µs.
    Power(i8),
    /// Standby on the crystal after a packet, in or out.
    Fallback,
    /// Consecutive registers.
    WriteRegister(u16, &'a [u8]),
    /// From the start of the buffer.
    WriteBuffer(&'a [u8]),
    /// Which interrupts there are, and which of them move DIO1.
    Interrupts {
        /// Latched.
        mask: u16,
        /// On the line.
        dio1: u16,
    },
    /// Interrupts that are done with.
    ClearInterrupts(u16),
    /// DIO2 switches the antenna.
    Dio2Switch(bool),
    /// DIO3 feeds the TCXO.
    Dio3Tcxo(Tcxo),
    /// Carrier.
    Frequency(u32),
    /// GFSK, not LoRa.
    Gfsk,
    /// Rate, shape, filter, deviation.
    Modulation(Profile),
    /// Preamble, sync word of 32 bits, variable length, CRC of two bytes, no whitening.
    Packet {
        /// For its preamble.
        profile: Profile,
        /// What is sent, or the longest that is received.
        len: u8,
    },
    /// Both buffers at 0: only one is used at a time.
    BufferBase,
    /// What failed is done with.
    ClearErrors,
}

impl Command<'_> {
    /// As the SPI has it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let bytes = |opcode: u8, rest: &[u8]| [&[opcode], rest].concat();
        match *self {
            Self::Standby { crystal } => vec![0x80, u8::from(crystal)],
            Self::Receive => vec![0x82, 0, 0, 0],
            Self::Transmit { timeout_us } => bytes(0x83, &u24(timeout_us.saturating_mul(64) / 1_000)),
            Self::Regulator { dcdc } => vec![0x96, u8::from(dcdc)],
            Self::Calibrate => vec![0x89, 0x7F],
            Self::CalibrateImage => vec![0x98, 0x6B, 0x6F],
            Self::Pa(Amplifier::High) => vec![0x95, 0x04, 0x07, 0x00, 0x01],
            Self::Pa(Amplifier::Low) => vec![0x95, 0x04, 0x00, 0x01, 0x01],
            Self::Power(dbm) => vec![0x8E, dbm.to_le_bytes()[0], 0x02],
            Self::Fallback => vec![0x93, 0x30],
            Self::WriteRegister(address, values) => [&[0x0D][..], &address.to_be_bytes(), values].concat(),
            Self::WriteBuffer(values) => [&[0x0E, 0x00][..], values].concat(),
            Self::Interrupts { mask, dio1 } => {
                [&[0x08][..], &mask.to_be_bytes(), &dio1.to_be_bytes(), &[0; 4]].concat()
            }
            Self::ClearInterrupts(which) => bytes(0x02, &which.to_be_bytes()),
            Self::Dio2Switch(on) => vec![0x9D, u8::from(on)],
            Self::Dio3Tcxo(Tcxo { voltage, start_us }) => {
                [&[0x97, voltage][..], &u24(u64::from(start_us) * 64 / 1_000)].concat()
            }
            Self::Frequency(hz) => {
                let [.., a, b, c, d] = steps(hz).to_be_bytes();
                vec![0x86, a, b, c, d]
            }
            Self::Gfsk => vec![0x8A, 0x00],
            Self::Modulation(profile) => {
                let Modem { rate, filter, deviation_hz } = modem(profile);
                let [rate, deviation] = [u24(rate.into()), u24(steps(deviation_hz))];
                [&[0x8B][..], &rate, &[0x09, filter], &deviation].concat()
            }
            Self::Packet { profile, len } => {
                let preamble = u16::from(profile.preamble()) * 8;
                // 16 bits of preamble are looked for, 32 of sync word; no address; variable; CRC of 2 bytes as it is; no whitening.
                let rest = [0x05, 32, 0x00, 0x01, len, 0x02, 0x00];
                [&[0x8C][..], &preamble.to_be_bytes(), &rest].concat()
            }
            Self::BufferBase => vec![0x8F, 0, 0],
            Self::ClearErrors => vec![0x07, 0, 0],
        }
    }
}

struct Modem {
    /// 32 × crystal / rate.
    rate: u32,
    filter: u8,
    deviation_hz: u32,
}

/// Deviations and rates of the CC1101's nearest settings, so that both kinds of chip are alike; the filter is the next wider one.
fn modem(profile: Profile) -> Modem {
    match profile {
        // 4.798 kbit/s, 117.3 kHz.
        Profile::Slow => Modem { rate: 213_425, filter: 0x0B, deviation_hz: 25_391 },
        // 38.384 kbit/s, 234.3 kHz. The last is of serial modules alone, and does not come here.
        Profile::Standard | Profile::Serial(_) => Modem { rate: 26_678, filter: 0x0A, deviation_hz: 20_630 },
        // 99.975 kbit/s, 373.6 kHz.
        Profile::Fast => Modem { rate: 10_243, filter: 0x11, deviation_hz: 47_607 },
    }
}

/// In steps of crystal / 2^25.
fn steps(hz: u32) -> u64 {
    (u64::from(hz) << 25) / CRYSTAL_HZ
}

/// Three bytes; what does not fit is the most that does and is not 0xFFFFFF, which has meanings of its own.
fn u24(value: u64) -> [u8; 3] {
    let [.., a, b, c] = value.min(0x00FF_FFFE).to_be_bytes();
    [a, b, c]
}

/// Which amplifier the chip has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amplifier {
    /// SX1262, SX1268.
    High,
    /// SX1261.
    Low,
}

/// A TCXO fed by DIO3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcxo {
    /// 0 to 7: 1.6, 1.7, 1.8, 2.2, 2.4, 2.7, 3.0, 3.3 V.
    pub voltage: u8,
    /// What it takes to start, microseconds, at most 10 000.
    pub start_us: u16,
}

/// What a chip is set to, and how its module is wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Rate and bandwidth.
    pub profile: Profile,
    /// Carrier, Hz, 430 to 440 MHz.
    pub frequency_hz: u32,
    /// dBm at the pin, −9 to 10: what is beyond is cut, since 10 mW are allowed.
    pub power_dbm: i8,
    /// By the chip's name.
    pub amplifier: Amplifier,
    /// Sent twice before each frame, and waited for.
    pub sync: [u8; 2],
    /// Longest frame, 1 to 255 bytes.
    pub max_frame: u8,
    /// Fed by DIO3; `None`: a crystal.
    pub tcxo: Option<Tcxo>,
    /// DIO2 switches the antenna, as on most modules.
    pub dio2_switch: bool,
    /// The board has the DC-DC converter's coil.
    pub dcdc: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profile: Profile::Standard,
            frequency_hz: 433_920_000,
            power_dbm: 10,
            amplifier: Amplifier::High,
            sync: [0xC9, 0x56],
            max_frame: 61,
            tcxo: None,
            dio2_switch: true,
            dcdc: false,
        }
    }
}

/// CRC-16/CMS: 0xFFFF, 0x8005.
const CRC: [u8; 4] = [0xFF, 0xFF, 0x80, 0x05];

impl Config {
    /// Everything after a reset, in its order, but for what must be read first.
    #[must_use]
    pub fn script(&self) -> Vec<Vec<u8>> {
        let packet = Command::Packet { profile: self.profile, len: self.max_frame };
        let mask = irq::TX_DONE | irq::RX_DONE | irq::PREAMBLE | irq::SYNC | irq::CRC_ERR | irq::TIMEOUT;
        // A line that is high from the preamble on would hide the end.
        let dio1 = irq::TX_DONE | irq::RX_DONE | irq::TIMEOUT;
        let [high, low] = self.sync;
        let mut script = vec![Command::Standby { crystal: false }];
        script.extend(self.tcxo.map(Command::Dio3Tcxo));
        script.extend([
            // A TCXO that had no feed until now is an error of the start, and none.
            Command::ClearErrors,
            Command::Calibrate,
            Command::Regulator { dcdc: self.dcdc },
            Command::CalibrateImage,
            Command::Dio2Switch(self.dio2_switch),
            Command::Gfsk,
            Command::Fallback,
            Command::Frequency(self.frequency_hz),
            Command::Modulation(self.profile),
            packet,
            Command::BufferBase,
            Command::Pa(self.amplifier),
            Command::Power(self.power_dbm.clamp(-9, 10)),
            Command::Interrupts { mask, dio1 },
        ]);
        let mut script: Vec<Vec<u8>> = script.iter().map(Command::encode).collect();
        script.push(Command::WriteRegister(register::CRC_INITIAL, &CRC).encode());
        script.push(Command::WriteRegister(register::SYNC, &[high, low, high, low]).encode());
        script.push(Command::WriteRegister(register::RX_GAIN, &[RX_GAIN]).encode());
        script
    }

    /// What is read from [`register::CRC_INITIAL`] on when all is well.
    #[must_use]
    pub fn held(&self) -> [u8; 8] {
        let ([a, b, c, d], [high, low]) = (CRC, self.sync);
        [a, b, c, d, high, low, high, low]
    }
}

/// Sensitivity before current: a gateway has a supply.
pub const RX_GAIN: u8 = 0x96;

/// dBm of a strength byte.
#[must_use]
pub fn dbm(rssi: u8) -> i16 {
    -i16::from(rssi) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_these_bytes() {
        let hex = |command: Command<'_>| hex::encode(command.encode());
        // 433.92 MHz × 2^25 / 32 MHz = 0x1B1EB851.
        assert_eq!(hex(Command::Frequency(433_920_000)), "861b1eb851");
        assert_eq!(hex(Command::Receive), "82000000");
        assert_eq!(hex(Command::Transmit { timeout_us: 20_000 }), "83000500");
        assert_eq!(hex(Command::Transmit { timeout_us: u64::MAX }), "83fffffe");
        assert_eq!(hex(Command::Power(-9)), "8ef702");
        assert_eq!(hex(Command::WriteRegister(0x06C0, &[0xC9, 0x56])), "0d06c0c956");
        assert_eq!(hex(Command::WriteBuffer(&[1, 2])), "0e000102");
        assert_eq!(hex(Command::Interrupts { mask: 0x024F, dio1: 0x0203 }), "08024f020300000000");
        assert_eq!(hex(Command::Dio3Tcxo(Tcxo { voltage: 2, start_us: 5_000 })), "9702000140");
        let packet = |profile| hex(Command::Packet { profile, len: 61 });
        assert_eq!(packet(Profile::Standard), "8c0020052000013d0200");
        assert_eq!(packet(Profile::Fast), "8c0040052000013d0200");
    }

    /// Rate and deviation of the CC1101's registers in all profiles, from its data sheet's formulas.
    #[test]
    fn rate_and_deviation_are_within_a_thousandth_of_the_other_chip() {
        use crate::cc1101;
        let profiles = [
            (Profile::Slow, cc1101::Profile::Slow, 25_390.625),
            (Profile::Standard, cc1101::Profile::Standard, 20_629.882_8),
            (Profile::Fast, cc1101::Profile::Fast, 47_607.421_9),
        ];
        for (ours, theirs, deviation) in profiles {
            let modem = modem(ours);
            let byte_ns = f64::from(modem.rate) / 32.0 / 32e6 * 8e9;
            assert!((byte_ns / theirs.byte_ns() as f64 - 1.0).abs() < 1e-3, "{ours:?}");
            assert!((f64::from(modem.deviation_hz) / deviation - 1.0).abs() < 1e-3, "{ours:?}");
        }
    }

    #[test]
    fn no_more_power_than_is_allowed_is_ordered() {
        let loud = Config { power_dbm: 22, ..Config::default() };
        assert!(loud.script().contains(&Command::Power(10).encode()));
        assert!(!loud.script().contains(&Command::Power(22).encode()));
    }
}
