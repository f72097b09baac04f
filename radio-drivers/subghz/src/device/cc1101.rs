//! A CC1101: SPI and GDO0.

use super::remote::Remote;
use super::{OpenError, Opened, Place, Setting, gpio, now, spi};
use crate::Line;
use crate::cc1101::{Cc1101, Config, Power, Profile};

/// Offsets of its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wiring {
    /// GDO0, an input.
    pub gdo0: u32,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Where.
    pub place: Place<Wiring>,
    /// Output power.
    pub power: Power,
}

pub(super) fn open(module: &Module, setting: Setting) -> Result<Opened, OpenError> {
    let config = Config {
        profile: profile(setting.profile),
        frequency_hz: setting.frequency_hz(),
        power: module.power,
        ..Config::default()
    };
    match &module.place {
        Place::Spidev { spi, speed_hz, gpio, lines } => {
            let lines = gpio::Edges::open(gpio, lines.gdo0, Line::Packet)?;
            let radio = Cc1101::new(spi::open(spi, *speed_hz)?, config, now(), setting.silence_us);
            Ok(Opened { radio: Box::new(radio), lines: Box::new(lines) })
        }
        Place::Socket(path) => {
            let remote = Remote::open(path)?;
            let radio = Cc1101::new(remote.clone(), config, now(), setting.silence_us);
            Ok(Opened { radio: Box::new(radio), lines: Box::new(remote) })
        }
    }
}

/// The link layer's words in the chip's.
fn profile(profile: crate::Profile) -> Profile {
    match profile {
        crate::Profile::Slow => Profile::Slow,
        // Of serial modules alone: `open` refuses it.
        crate::Profile::Standard | crate::Profile::Serial(_) => Profile::Standard,
        crate::Profile::Fast => Profile::Fast,
    }
}
