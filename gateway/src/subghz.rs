//! The 433 MHz section of the configuration in the driver's words.

use cardea_config::{Config, Subghz, SubghzBus, SubghzDevice, SubghzModel, SubghzModule, SubghzTcxo};
use cardea_subghz::cc1101::Power;
use cardea_subghz::device::{Module, Place, cc1101, serial, sx126x};
use cardea_subghz::driver::DriverConfig;
use cardea_subghz::network::NetworkConfig;
use cardea_subghz::sx126x::{Amplifier, Tcxo};

pub(crate) fn settings(config: &Config) -> DriverConfig {
    let section = &config.subghz;
    let module = module(section);
    let network = NetworkConfig {
        profile: match (&module, section.profile()) {
            // It has a modulation and times of its own.
            (Module::Serial(module), _) => cardea_subghz::Profile::Serial(module.uart),
            (_, cardea_config::SubghzProfile::Slow) => cardea_subghz::Profile::Slow,
            (_, cardea_config::SubghzProfile::Standard) => cardea_subghz::Profile::Standard,
            (_, cardea_config::SubghzProfile::Fast) => cardea_subghz::Profile::Fast,
        },
        region: match section.region {
            cardea_config::SubghzRegion::Eu => cardea_subghz::Region::Eu433,
            cardea_config::SubghzRegion::Cn => cardea_subghz::Region::Cn433,
        },
        id: section.network,
        channels: section.channels().iter().fold(1, |mask, channel| mask | 1_u8 << (channel & 7)),
        max_locks: usize::try_from(config.limits.locks).unwrap_or(usize::MAX),
    };
    DriverConfig { module, network }
}

fn module(section: &Subghz) -> Module {
    match section.module() {
        SubghzModule::Cc1101 { bus, gdo0 } => Module::Cc1101(cc1101::Module {
            place: place(&section.device, bus, cc1101::Wiring { gdo0 }),
            power: power(section.power_dbm()),
        }),
        SubghzModule::Sx126x { bus, dio1, busy, nreset, model, tcxo, tcxo_start_ms, dio2_switch, dcdc } => {
            Module::Sx126x(sx126x::Module {
                place: place(&section.device, bus, sx126x::Wiring { dio1, busy, nreset }),
                power_dbm: section.power_dbm(),
                amplifier: match model {
                    SubghzModel::Sx1261 => Amplifier::Low,
                    SubghzModel::Sx1262 | SubghzModel::Sx1268 => Amplifier::High,
                },
                tcxo: voltage(tcxo)
                    .map(|voltage| Tcxo { voltage, start_us: u16::from(tcxo_start_ms) * 1_000 }),
                dio2_switch,
                dcdc,
            })
        }
        SubghzModule::Serial { baud, air_bps, packet_bytes, overhead_ms, hold_ms } => {
            let (SubghzDevice::Local(tty) | SubghzDevice::Socket(tty)) = section.device.clone();
            Module::Serial(serial::Module {
                tty,
                uart: cardea_subghz::UartModule {
                    baud,
                    air_bps,
                    packet: packet_bytes,
                    overhead_us: u32::from(overhead_ms) * 1_000,
                    hold_us: u32::from(hold_ms) * 1_000,
                },
            })
        }
    }
}

fn place<W>(device: &SubghzDevice, SubghzBus { spi_hz, gpio_chip }: SubghzBus, lines: W) -> Place<W> {
    match device.clone() {
        SubghzDevice::Socket(path) => Place::Socket(path),
        SubghzDevice::Local(spi) => Place::Spidev { spi, speed_hz: spi_hz, gpio: gpio_chip, lines },
    }
}

/// What a CC1101 has, never more than is asked for.
fn power(dbm: i8) -> Power {
    match dbm {
        ..=-21 => Power::Minus30,
        -20..=-11 => Power::Minus20,
        -10..=-1 => Power::Minus10,
        0..=4 => Power::Zero,
        5..=6 => Power::Plus5,
        7..=9 => Power::Plus7,
        10.. => Power::Plus10,
    }
}

/// The chip's number for it.
fn voltage(tcxo: SubghzTcxo) -> Option<u8> {
    Some(match tcxo {
        SubghzTcxo::None => return None,
        SubghzTcxo::V1_6 => 0,
        SubghzTcxo::V1_7 => 1,
        SubghzTcxo::V1_8 => 2,
        SubghzTcxo::V2_2 => 3,
        SubghzTcxo::V2_4 => 4,
        SubghzTcxo::V2_7 => 5,
        SubghzTcxo::V3_0 => 6,
        SubghzTcxo::V3_3 => 7,
    })
}
