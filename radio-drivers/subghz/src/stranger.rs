//! Whether the chip at an SPI is of the other kind. For a driver that does not recognise its own: what it asks here means something else,
//! or nothing, to every other chip, so all that is set must be set again afterwards.

use embedded_hal::spi::SpiDevice;

/// VERSION of TI's chips and of the clones that were met.
pub(crate) const CC1101_VERSIONS: [u8; 5] = [0x04, 0x14, 0x03, 0x07, 0x17];

/// By PARTNUM and VERSION.
pub(crate) fn is_cc1101<S: SpiDevice>(spi: &mut S) -> bool {
    let (mut part, mut version) = ([0xF0, 0xFF], [0xF1, 0xFF]);
    let asked = spi.transfer_in_place(&mut part).is_ok() && spi.transfer_in_place(&mut version).is_ok();
    // The first byte is its status; bit 7 is low when its crystal runs.
    asked && matches!((part, version), ([..0x80, 0x00], [..0x80, id]) if CC1101_VERSIONS.contains(&id))
}

/// By the name that is behind register 0x0320, as other drivers read it: "SX1261 V2D 2D02", for all three; an LLCC68 says so.
pub(crate) fn is_sx126x<S: SpiDevice>(spi: &mut S) -> bool {
    let mut bytes = [0; 4 + 16];
    bytes[..3].copy_from_slice(&[0x1D, 0x03, 0x20]);
    spi.transfer_in_place(&mut bytes).is_ok() && is_name(&bytes[4..])
}

/// Whether that is what is there.
pub(crate) fn is_name(name: &[u8]) -> bool {
    name.starts_with(b"SX126") || name.starts_with(b"LLCC68")
}
