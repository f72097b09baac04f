//! What registers mean, and what the chip makes of bytes.

use super::{Burst, Chip};

pub(super) const CRYSTAL_HZ: f64 = 26e6;

pub(super) fn rssi(dbm: f64) -> u8 {
    (((dbm + 74.0) * 2.0).round() as i8).to_le_bytes()[0]
}

pub(super) fn byte_ns(chip: &Chip) -> u64 {
    let rate = (256.0 + f64::from(chip.get(0x11))) * f64::from(1_u32 << (chip.get(0x10) & 15)) * CRYSTAL_HZ
        / f64::from(1_u32 << 28);
    (8e9 / rate).round() as u64
}

pub(super) fn deviation(chip: &Chip) -> f64 {
    let register = chip.get(0x15);
    CRYSTAL_HZ / 131_072.0 * f64::from(8 + (register & 7)) * f64::from(1_u32 << (register >> 4 & 7))
}

pub(super) fn bandwidth(chip: &Chip) -> f64 {
    let register = chip.get(0x10);
    CRYSTAL_HZ / (8.0 * f64::from(4 + (register >> 4 & 3)) * f64::from(1_u32 << (register >> 6)))
}

pub(super) fn tuned(chip: &Chip) -> f64 {
    let word = u32::from_be_bytes([0, chip.get(0x0D), chip.get(0x0E), chip.get(0x0F)]);
    let offset = f64::from(i8::from_le_bytes([chip.get(0x0C)])) * CRYSTAL_HZ / 16_384.0;
    (f64::from(word) * CRYSTAL_HZ / 65_536.0 + offset) * (1.0 + chip.config.ppm * 1e-6)
}

/// The table for 433 MHz that the data sheet has; what is not in it is taken for 0 dBm.
pub(super) fn power(chip: &Chip) -> f64 {
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

/// Within the receiver's filter.
pub(super) fn near(chip: &Chip, burst: &Burst) -> bool {
    (burst.carrier_hz - tuned(chip)).abs() <= bandwidth(chip) / 2.0
}

/// Whether a receiver with these settings can read such a burst.
pub(super) fn fits(chip: &Chip, burst: &Burst) -> bool {
    let carson = 2.0 * burst.deviation_hz + 8e9 / burst.byte_ns as f64;
    let ours = byte_ns(chip) as f64;
    (burst.carrier_hz - tuned(chip)).abs() <= (bandwidth(chip) - carson) / 2.0
        && (burst.byte_ns as f64 / ours - 1.0).abs() < 0.02
        && (burst.deviation_hz / deviation(chip) - 1.0).abs() < 0.3
}

/// CRC-16 of the chip: polynomial 0x8005, from 0xFFFF, most significant bit first.
pub(super) fn crc16(crc: u16, byte: u8) -> u16 {
    (0..8).fold(
        crc ^ u16::from(byte) << 8,
        |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x8005 },
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
        assert_eq!(b"123456789".iter().fold(0xFFFF, |crc, byte| crc16(crc, *byte)), 0xAEE7);
    }
}
