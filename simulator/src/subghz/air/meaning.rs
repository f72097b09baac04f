//! What registers mean, and what the chip makes of bytes.

use super::super::chip::Chip;
use super::super::model::Model;
use super::super::sx126x::Sx126x;
use super::Burst;

pub(super) const CRYSTAL_HZ: f64 = 26e6;

pub(super) fn rssi(dbm: f64) -> u8 {
    (((dbm + 74.0) * 2.0).round() as i8).to_le_bytes()[0]
}

fn byte_ns(chip: &Chip) -> u64 {
    let rate = (256.0 + f64::from(chip.get(0x11))) * f64::from(1_u32 << (chip.get(0x10) & 15)) * CRYSTAL_HZ
        / f64::from(1_u32 << 28);
    (8e9 / rate).round() as u64
}

fn deviation(chip: &Chip) -> f64 {
    let register = chip.get(0x15);
    CRYSTAL_HZ / 131_072.0 * f64::from(8 + (register & 7)) * f64::from(1_u32 << (register >> 4 & 7))
}

fn bandwidth(chip: &Chip) -> f64 {
    let register = chip.get(0x10);
    CRYSTAL_HZ / (8.0 * f64::from(4 + (register >> 4 & 3)) * f64::from(1_u32 << (register >> 6)))
}

fn tuned(chip: &Chip) -> f64 {
    let word = u32::from_be_bytes([0, chip.get(0x0D), chip.get(0x0E), chip.get(0x0F)]);
    let offset = f64::from(i8::from_le_bytes([chip.get(0x0C)])) * CRYSTAL_HZ / 16_384.0;
    (f64::from(word) * CRYSTAL_HZ / 65_536.0 + offset) * (1.0 + chip.config.ppm * 1e-6)
}

/// The table for 433 MHz that the data sheet has; what is not in it is taken for 0 dBm.
fn power(chip: &Chip) -> f64 {
    let index = usize::from(chip.get(0x22) & 7);
    match chip.patable.get(index) {
        Some(0x12) => -30.0,
        Some(0x0E) => -20.0,
        Some(0x34) => -10.0,
        Some(0x84) => 5.0,
        Some(0xC8) => 7.0,
        Some(0xC0) => 10.0,
        _ => 0.0,
    }
}

/// What a chip of either kind is set to, as far as the air is concerned.
pub(super) struct Modem {
    pub(super) carrier_hz: f64,
    pub(super) byte_ns: u64,
    pub(super) deviation_hz: f64,
    bandwidth_hz: f64,
    pub(super) gaussian: bool,
    pub(super) dbm: f64,
    pub(super) preamble: usize,
    /// The CC1101's once or twice.
    pub(super) sync: Vec<u8>,
    pub(super) whitening: bool,
    /// Start and polynomial.
    pub(super) crc: Option<(u16, u16)>,
    /// What is longer is not taken.
    pub(super) longest: u8,
}

impl Modem {
    pub(super) fn of(model: &Model) -> Self {
        match model {
            Model::Cc1101(chip) => Self::of_cc1101(chip),
            Model::Sx126x(chip) => Self::of_sx126x(chip),
        }
    }

    fn of_cc1101(chip: &Chip) -> Self {
        let lengths = [2, 3, 4, 6, 8, 12, 16, 24];
        let sync = [chip.get(0x04), chip.get(0x05)];
        Self {
            carrier_hz: tuned(chip),
            byte_ns: byte_ns(chip),
            deviation_hz: deviation(chip),
            bandwidth_hz: bandwidth(chip),
            gaussian: chip.get(0x12) >> 4 & 7 == 1,
            dbm: power(chip),
            preamble: lengths.get(usize::from(chip.get(0x13) >> 4 & 7)).copied().unwrap_or(4),
            sync: if chip.get(0x12) & 3 == 3 { [sync, sync].concat() } else { sync.to_vec() },
            whitening: chip.get(0x08) & 0x40 != 0,
            crc: (chip.get(0x08) & 0x04 != 0).then_some((0xFFFF, 0x8005)),
            longest: chip.get(0x06),
        }
    }

    fn of_sx126x(chip: &Sx126x) -> Self {
        const STEP_HZ: f64 = 32e6 / 33_554_432.0;
        let [r2, r1, r0, shape, filter, d2, d1, d0] = chip.modulation;
        let [p1, p0, _, sync_bits, _, _, longest, crc, whitening] = chip.packet;
        let wide = |[a, b, c]: [u8; 3]| f64::from(u32::from_be_bytes([0, a, b, c]));
        let word = |at: u16| u16::from_be_bytes([chip.register(at), chip.register(at + 1)]);
        let sync = (0..u16::from(sync_bits / 8)).map(|at| chip.register(0x06C0 + at)).collect();
        #[rustfmt::skip]
        let filters = [
            (0x1F, 4.8), (0x17, 5.8), (0x0F, 7.3), (0x1E, 9.7), (0x16, 11.7), (0x0E, 14.6), (0x1D, 19.5),
            (0x15, 23.4), (0x0D, 29.3), (0x1C, 39.0), (0x14, 46.9), (0x0C, 58.6), (0x1B, 78.2), (0x13, 93.8),
            (0x0B, 117.3), (0x1A, 156.2), (0x12, 187.2), (0x0A, 234.3), (0x19, 312.0), (0x11, 373.6),
            (0x09, 467.0),
        ];
        let filter = filters.iter().find(|(code, _)| *code == filter).map_or(0.0, |(_, khz)| khz * 1e3);
        Self {
            carrier_hz: f64::from(chip.frequency) * STEP_HZ * (1.0 + chip.config.ppm * 1e-6),
            byte_ns: (wide([r2, r1, r0]) / (32.0 * 32e6) * 8e9).round() as u64,
            deviation_hz: wide([d2, d1, d0]) * STEP_HZ,
            // LoRa hears and says nothing here.
            bandwidth_hz: if chip.kind == 0 { filter } else { 0.0 },
            gaussian: (0x08..=0x0B).contains(&shape),
            dbm: f64::from(chip.dbm),
            preamble: usize::from(u16::from_be_bytes([p1, p0]) / 8),
            sync,
            whitening: whitening != 0,
            // Two bytes, not inverted; others are not here.
            crc: (crc == 0x02).then(|| (word(0x06BC), word(0x06BE))),
            longest,
        }
    }

    /// Within the receiver's filter.
    pub(super) fn near(&self, burst: &Burst) -> bool {
        (burst.carrier_hz - self.carrier_hz).abs() <= self.bandwidth_hz / 2.0
    }

    /// Whether a receiver with these settings can read such a burst.
    pub(super) fn fits(&self, burst: &Burst) -> bool {
        let carson = 2.0 * burst.deviation_hz + 8e9 / burst.byte_ns as f64;
        (burst.carrier_hz - self.carrier_hz).abs() <= (self.bandwidth_hz - carson) / 2.0
            && (burst.byte_ns as f64 / self.byte_ns as f64 - 1.0).abs() < 0.02
            && (burst.deviation_hz / self.deviation_hz - 1.0).abs() < 0.3
    }
}

/// CRC-16 with a polynomial, most significant bit first.
pub(super) fn crc16(polynomial: u16, crc: u16, byte: u8) -> u16 {
    (0..8).fold(
        crc ^ u16::from(byte) << 8,
        |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ polynomial },
    )
}

/// Whitening of the chip: x^9 + x^5 + 1 from all ones.
pub(super) struct Pn9(Option<u16>);

impl Pn9 {
    pub(super) fn new(on: bool) -> Self {
        Self(on.then_some(0x1FF))
    }

    pub(super) fn mix(&mut self, byte: u8) -> u8 {
        let Some(register) = self.0.as_mut() else { return byte };
        let mask = *register as u8;
        for _ in 0..8 {
            *register = *register >> 1 | (*register & 1 ^ *register >> 5 & 1) << 8;
        }
        byte ^ mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitening_and_checksum_are_the_published_ones() {
        let mut pn9 = Pn9::new(true);
        let stream: Vec<u8> = (0..16).map(|_| pn9.mix(0)).collect();
        assert_eq!(hex::encode(stream), "ffe11d9aed853324ea7ad2397097570a");
        assert_eq!(b"123456789".iter().fold(0xFFFF, |crc, byte| crc16(0x8005, crc, *byte)), 0xAEE7);
    }
}
