//! An SX126x: SPI, DIO1 and BUSY as inputs, NRESET as an output.

use super::remote::Remote;
use super::{OpenError, Opened, Place, Setting, gpio, now, spi};
use crate::Line;
use crate::sx126x::{Amplifier, Config, Sx126x, Tcxo};

/// Offsets of its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wiring {
    /// DIO1, an input.
    pub dio1: u32,
    /// BUSY, an input.
    pub busy: u32,
    /// NRESET, an output: low is a reset.
    pub nreset: u32,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Where.
    pub place: Place<Wiring>,
    /// dBm at the pin.
    pub power_dbm: i8,
    /// By the chip's name.
    pub amplifier: Amplifier,
    /// Fed by DIO3; `None`: a crystal.
    pub tcxo: Option<Tcxo>,
    /// DIO2 switches the antenna.
    pub dio2_switch: bool,
    /// The board has the DC-DC converter's coil.
    pub dcdc: bool,
}

pub(super) fn open(module: &Module, setting: Setting) -> Result<Opened, OpenError> {
    let Module { power_dbm, amplifier, tcxo, dio2_switch, dcdc, .. } = *module;
    let config = Config {
        profile: setting.profile,
        frequency_hz: setting.frequency_hz(),
        power_dbm,
        amplifier,
        tcxo,
        dio2_switch,
        dcdc,
        ..Config::default()
    };
    match &module.place {
        Place::Spidev { spi, speed_hz, gpio, lines } => {
            let dio1 = gpio::Edges::open(gpio, lines.dio1, Line::Done)?;
            let busy = gpio::Input::open(gpio, lines.busy)?;
            let nreset = gpio::Output::open(gpio, lines.nreset)?;
            let spi = spi::open(spi, *speed_hz)?;
            let radio = Sx126x::new(spi, busy, nreset, config, now(), setting.silence_us);
            Ok(Opened { radio: Box::new(radio), lines: Box::new(dio1) })
        }
        Place::Socket(path) => {
            let remote = Remote::open(path)?;
            let (busy, nreset) = (remote.clone(), remote.clone());
            let radio = Sx126x::new(remote.clone(), busy, nreset, config, now(), setting.silence_us);
            Ok(Opened { radio: Box::new(radio), lines: Box::new(remote) })
        }
    }
}
