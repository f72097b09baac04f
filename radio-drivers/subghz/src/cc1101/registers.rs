//! Registers of the CC1101 (TI SWRS061): addresses, strobes, states, and what three profiles write.

/// Of the crystal on the modules, Hz.
pub const CRYSTAL_HZ: f64 = 26e6;
/// One step of FREQEST and FSCTRL0, Hz: the crystal divided by 2^14.
pub const OFFSET_STEP_HZ: i32 = 1_587;
/// Size of each FIFO, bytes.
pub const FIFO: usize = 64;
/// Longest frame that fits a receive FIFO whole, bytes: a length before it, two bytes of status behind.
pub const FITS_FIFO: u8 = 61;

/// Header bits of an SPI access.
pub mod access {
    /// Read; without it, write.
    pub const READ: u8 = 0x80;
    /// Consecutive registers; on 0x30 to 0x3D it makes a status register of a strobe.
    pub const BURST: u8 = 0x40;
}

/// Orders of one byte (SWRS061 table 42).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Strobe {
    /// Reset.
    Sres = 0x30,
    /// Receive.
    Srx = 0x34,
    /// Transmit; from receive only if the channel is clear, as MCSM1 says.
    Stx = 0x35,
    /// Be idle.
    Sidle = 0x36,
    /// Sleep once the chip is deselected; from idle only. The next selection wakes it.
    Spwd = 0x39,
    /// Empty the receive FIFO; in idle or after an overflow only.
    Sfrx = 0x3A,
    /// Empty the transmit FIFO; in idle or after an underflow only.
    Sftx = 0x3B,
    /// Nothing, for the status byte.
    Snop = 0x3D,
}

/// Registers that can only be read, with their burst bit left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Always 0.
    PartNum = 0x30,
    /// 0x04 or 0x14 from TI; clones have others.
    Version = 0x31,
    /// Frequency offset that the demodulator estimates, in steps of [`OFFSET_STEP_HZ`], signed.
    FreqEst = 0x32,
    /// State of the radio.
    MarcState = 0x35,
    /// GDO pins, carrier sense, clear channel, checksum.
    PktStatus = 0x38,
    /// Bit 7: underflow; below: bytes in the transmit FIFO.
    TxBytes = 0x3A,
    /// Bit 7: overflow; below: bytes in the receive FIFO.
    RxBytes = 0x3B,
}

/// Power table and FIFOs.
pub mod port {
    /// Output power, up to 8 bytes.
    pub const PATABLE: u8 = 0x3E;
    /// Transmit FIFO when written, receive FIFO when read.
    pub const FIFO: u8 = 0x3F;
}

/// States in MARCSTATE that a driver must know (SWRS061 table for register 0x35).
pub mod state {
    /// Idle.
    pub const IDLE: u8 = 0x01;
    /// Receiving, or looking for a sync word.
    pub const RX: u8 = 0x0D;
    /// From transmitting to receiving.
    pub const TXRX_SWITCH: u8 = 0x10;
    /// From receiving to transmitting.
    pub const RXTX_SWITCH: u8 = 0x15;
    /// More came than the FIFO holds.
    pub const RX_OVERFLOW: u8 = 0x11;
    /// Transmitting.
    pub const TX: u8 = 0x13;
    /// The FIFO ran empty before the packet's end.
    pub const TX_UNDERFLOW: u8 = 0x16;
}

/// Configuration registers by name; the value is the address.
#[allow(missing_docs)] // the data sheet's names, in its order
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[rustfmt::skip]
pub enum Register {
    IocFg2, IocFg1, IocFg0, FifoThr, Sync1, Sync0, PktLen, PktCtrl1, PktCtrl0, Addr, ChanNr,
    FsCtrl1, FsCtrl0, Freq2, Freq1, Freq0, MdmCfg4, MdmCfg3, MdmCfg2, MdmCfg1, MdmCfg0, DeviatN,
    Mcsm2, Mcsm1, Mcsm0, FocCfg, BsCfg, AgcCtrl2, AgcCtrl1, AgcCtrl0,
    WorEvt1, WorEvt0, WorCtrl, FrEnd1, FrEnd0, FsCal3, FsCal2, FsCal1, FsCal0,
    RcCtrl1, RcCtrl0, FsTest, PTest, AgcTest, Test2, Test1, Test0,
}

/// Registers from 0 on that are written, one burst.
pub const COUNT: usize = Register::Test0 as usize + 1;
/// Registers from 0 on that the chip leaves alone: those behind are changed by its own calibration.
pub const STABLE: usize = Register::FsCal3 as usize;

/// How fast and how wide. All are GFSK around one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// 4.8 kbit/s, ±25.4 kHz, a filter of 102 kHz: range.
    Slow,
    /// 38.4 kbit/s, ±20.6 kHz, a filter of 203 kHz: the default.
    Standard,
    /// 100 kbit/s, ±47.6 kHz, a filter of 325 kHz: short air time.
    Fast,
}

impl Profile {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Slow, Self::Standard, Self::Fast];

    /// Bytes of 0xAA before the sync word.
    #[must_use]
    pub fn preamble(self) -> u64 {
        if self == Self::Fast { 8 } else { 4 }
    }

    /// One byte on the air, nanoseconds.
    #[must_use]
    pub fn byte_ns(self) -> u64 {
        match self {
            Self::Slow => 1_667_383,
            Self::Standard => 208_423,
            Self::Fast => 80_020,
        }
    }

    /// A frame of this many bytes on the air, microseconds: preamble, sync word twice, length, frame, CRC.
    #[must_use]
    pub fn air_us(self, frame: usize) -> u64 {
        let bytes = self.preamble().saturating_add(4 + 1 + 2).saturating_add(frame as u64);
        bytes.saturating_mul(self.byte_ns()).div_ceil(1_000)
    }
}

/// Output power at the antenna pin, as the data sheet's table for 433 MHz has it. Antenna and module come on top of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Power {
    /// −30 dBm.
    Minus30,
    /// −20 dBm.
    Minus20,
    /// −10 dBm.
    Minus10,
    /// 0 dBm.
    Zero,
    /// 5 dBm.
    Plus5,
    /// 7 dBm.
    Plus7,
    /// 10 dBm: all there is.
    Plus10,
}

impl Power {
    /// Its byte in PATABLE.
    #[must_use]
    pub fn patable(self) -> u8 {
        match self {
            Self::Minus30 => 0x12,
            Self::Minus20 => 0x0E,
            Self::Minus10 => 0x34,
            Self::Zero => 0x60,
            Self::Plus5 => 0x84,
            Self::Plus7 => 0xC8,
            Self::Plus10 => 0xC0,
        }
    }
}

/// What a chip is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Rate and bandwidth.
    pub profile: Profile,
    /// Carrier, Hz, 387 to 464 MHz.
    pub frequency_hz: u32,
    /// Output power.
    pub power: Power,
    /// Sent twice before each frame, and waited for.
    pub sync: [u8; 2],
    /// Longest frame, 1 to 255 bytes. Beyond [`FITS_FIFO`] the host must be quick enough to keep up with the air, and GDO2 should be
    /// wired. The chip drops what says that it is longer.
    pub max_frame: u8,
    /// What was learned of the crystal, in steps of [`OFFSET_STEP_HZ`]; 0 at first.
    pub offset: i8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profile: Profile::Standard,
            frequency_hz: 433_920_000,
            power: Power::Plus10,
            sync: [0xC9, 0x56],
            max_frame: FITS_FIFO,
            offset: 0,
        }
    }
}

impl Config {
    /// FREQ2..0: the carrier in steps of crystal / 2^16, rounded down as the makers' tools do.
    fn frequency_word(&self) -> [u8; 3] {
        let word = (u64::from(self.frequency_hz) << 16) / CRYSTAL_HZ as u64;
        let [.., high, middle, low] = word.to_be_bytes();
        [high, middle, low]
    }

    /// All registers from address 0 on.
    #[must_use]
    pub fn registers(&self) -> [u8; COUNT] {
        use Register as R;
        // Rate, bandwidth, deviation and what follows from them, per profile.
        let [fsctrl1, mdmcfg4, mdmcfg3, mdmcfg1, deviatn, foccfg, bscfg] = match self.profile {
            Profile::Slow => [0x06, 0xC7, 0x83, 0x22, 0x40, 0x16, 0x6C],
            // 203 kHz: two ends at ±71 ppm are heard, where 102 kHz allows ±12.6 and modules are off by 37 to 115.
            Profile::Standard => [0x06, 0x8A, 0x83, 0x22, 0x35, 0x16, 0x6C],
            Profile::Fast => [0x08, 0x5B, 0xF8, 0x42, 0x47, 0x1D, 0x1C],
        };
        let [agcctrl2, agcctrl1, agcctrl0, frend1, fscal3] = match self.profile {
            Profile::Slow | Profile::Standard => [0x43, 0x40, 0x91, 0x56, 0xE9],
            Profile::Fast => [0xC7, 0x00, 0xB2, 0xB6, 0xEA],
        };
        let [freq2, freq1, freq0] = self.frequency_word();
        let long = self.max_frame > FITS_FIFO;
        let mut registers = [0; COUNT];
        let mut set = |register: R, value| {
            if let Some(place) = registers.get_mut(register as usize) {
                *place = value;
            }
        };
        // High impedance, or high while the receive FIFO is at its threshold.
        set(R::IocFg2, if long { IOCFG_RX_THRESHOLD } else { 0x2E });
        set(R::IocFg1, 0x2E);
        set(R::IocFg0, 0x06); // from the sync word to the packet's end
        set(R::FifoThr, 0x47); // receive 32, transmit 33
        set(R::Sync1, self.sync[0]);
        set(R::Sync0, self.sync[1]);
        set(R::PktLen, self.max_frame);
        set(R::PktCtrl1, 0x04); // status behind the frame; what has a wrong checksum is ours to count
        set(R::PktCtrl0, 0x05); // no whitening, CRC, length byte
        set(R::FsCtrl1, fsctrl1);
        set(R::FsCtrl0, self.offset.to_le_bytes()[0]);
        set(R::Freq2, freq2);
        set(R::Freq1, freq1);
        set(R::Freq0, freq0);
        set(R::MdmCfg4, mdmcfg4);
        set(R::MdmCfg3, mdmcfg3);
        set(R::MdmCfg2, 0x13); // GFSK, 30 of 32 bits of the sync word
        set(R::MdmCfg1, mdmcfg1);
        set(R::MdmCfg0, 0xF8);
        set(R::DeviatN, deviatn);
        set(R::Mcsm2, 0x07);
        set(R::Mcsm1, MCSM1_LISTEN);
        set(R::Mcsm0, 0x18); // calibrate on leaving idle
        set(R::FocCfg, foccfg);
        set(R::BsCfg, bscfg);
        set(R::AgcCtrl2, agcctrl2);
        set(R::AgcCtrl1, agcctrl1);
        set(R::AgcCtrl0, agcctrl0);
        // Wake on radio and factory tests are not used: their values after a reset.
        set(R::WorEvt1, 0x87);
        set(R::WorEvt0, 0x6B);
        set(R::WorCtrl, 0xFB);
        set(R::FrEnd1, frend1);
        set(R::FrEnd0, 0x10);
        set(R::FsCal3, fscal3);
        set(R::FsCal2, 0x2A);
        set(R::FsCal1, 0x00);
        set(R::FsCal0, 0x1F);
        set(R::RcCtrl1, 0x41);
        set(R::FsTest, 0x59);
        set(R::PTest, 0x7F);
        set(R::AgcTest, 0x3F);
        set(R::Test2, 0x81);
        set(R::Test1, 0x35);
        set(R::Test0, 0x09);
        registers
    }
}

/// MCSM1: transmits only into a clear channel, by strength and packet; idle after a frame in, receive after one out.
pub const MCSM1_LISTEN: u8 = 0x33;
/// The same, but transmits at once.
pub const MCSM1_AT_ONCE: u8 = 0x03;
/// IOCFG: low.
pub const IOCFG_LOW: u8 = 0x2F;
/// IOCFG: high while the receive FIFO holds its threshold or more.
pub const IOCFG_RX_THRESHOLD: u8 = 0x00;
/// IOCFG: high while the transmit FIFO holds its threshold or more.
pub const IOCFG_TX_THRESHOLD: u8 = 0x02;

/// dBm of a byte that the chip appends or has in RSSI.
#[must_use]
pub fn dbm(rssi: u8) -> i16 {
    i16::from(i8::from_le_bytes([rssi])) / 2 - 74
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; COUNT] = [
        "IOCFG2", "IOCFG1", "IOCFG0", "FIFOTHR", "SYNC1", "SYNC0", "PKTLEN", "PKTCTRL1", "PKTCTRL0", "ADDR",
        "CHANNR", "FSCTRL1", "FSCTRL0", "FREQ2", "FREQ1", "FREQ0", "MDMCFG4", "MDMCFG3", "MDMCFG2",
        "MDMCFG1", "MDMCFG0", "DEVIATN", "MCSM2", "MCSM1", "MCSM0", "FOCCFG", "BSCFG", "AGCCTRL2",
        "AGCCTRL1", "AGCCTRL0", "WOREVT1", "WOREVT0", "WORCTRL", "FREND1", "FREND0", "FSCAL3", "FSCAL2",
        "FSCAL1", "FSCAL0", "RCCTRL1", "RCCTRL0", "FSTEST", "PTEST", "AGCTEST", "TEST2", "TEST1", "TEST0",
    ];

    /// Every difference has its reason in docs/433-radio.md.
    const CHANGES: [(&str, &str, u8); 5] = [
        ("", "SYNC1", 0xC9),
        ("", "SYNC0", 0x56),
        ("", "PKTCTRL0", 0x05),
        ("", "MCSM1", 0x33),
        ("std_38k4", "MDMCFG4", 0x8A),
    ];

    #[test]
    fn registers_are_those_of_the_vectors_but_for_the_changes_that_are_explained() {
        let vectors: serde_json::Value =
            serde_json::from_slice(include_bytes!("../../../../tests/vectors/cc1101-registers.json"))
                .unwrap();
        let profiles = vectors["profiles"].as_object().unwrap();
        assert_eq!(profiles.len(), 3);
        for (name, profile) in
            [("slow_4k8", Profile::Slow), ("std_38k4", Profile::Standard), ("fast_100k", Profile::Fast)]
        {
            let ours = Config { profile, ..Config::default() }.registers();
            let theirs = profiles[name]["regs"].as_object().unwrap();
            assert_eq!(theirs.len(), 40);
            for (register, value) in theirs {
                let at = NAMES.iter().position(|known| known == register).unwrap();
                let theirs = u8::from_str_radix(&value.as_str().unwrap()[2..], 16).unwrap();
                let change = CHANGES
                    .iter()
                    .find(|(only, changed, _)| changed == register && (only.is_empty() || *only == name));
                let expected = change.map_or(theirs, |change| change.2);
                assert_eq!(ours[at], expected, "{name} {register}");
                assert!(change.is_none() || expected != theirs, "{name} {register} is no change");
            }
            let power = profiles[name]["patable"][0].as_str().unwrap();
            assert_eq!(format!("0x{:02X}", Power::Plus10.patable()), power);
            let rate = profiles[name]["rate_bps"].as_f64().unwrap();
            assert!((profile.byte_ns() as f64 - 8e9 / rate).abs() < 2.0, "{name}");
        }
    }

    #[test]
    fn strength_is_half_decibels_below_an_offset_of_74() {
        assert_eq!((dbm(0), dbm(127), dbm(128), dbm(0xF6)), (-74, -11, -138, -79));
    }
}
