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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings_of(text: &str) -> DriverConfig {
        settings(&cardea_config::parse(&format!("[subghz]\nenabled = true\n{text}"), &[]).unwrap())
    }

    #[test]
    fn each_chip_is_what_it_is_in_the_file() {
        let place = Place::Spidev {
            spi: "/dev/spidev0.0".into(),
            speed_hz: 4_000_000,
            gpio: "/dev/gpiochip0".into(),
            lines: cc1101::Wiring { gdo0: 25 },
        };
        let cc1101 = cc1101::Module { place, power: Power::Plus10 };
        assert_eq!(settings_of("").module, Module::Cc1101(cc1101));
        let place = Place::Spidev {
            spi: "/dev/spidev0.1".into(),
            speed_hz: 8_000_000,
            gpio: "/dev/gpiochip4".into(),
            lines: sx126x::Wiring { dio1: 5, busy: 6, nreset: 7 },
        };
        let sx126x = sx126x::Module {
            place,
            power_dbm: -3,
            amplifier: Amplifier::Low,
            tcxo: Some(Tcxo { voltage: 3, start_us: 7_000 }),
            dio2_switch: false,
            dcdc: true,
        };
        let text = "chip = \"sx126x\"\ndevice = \"/dev/spidev0.1\"\nspi_hz = 8000000\ngpio_chip = \"/dev/gpiochip4\"\n\
                    dio1 = 5\nbusy = 6\nnreset = 7\npower = -3\nmodel = \"sx1261\"\ntcxo = \"2.2V\"\ntcxo_start_ms = 7\n\
                    dio2_switch = false\ndcdc = true\n";
        assert_eq!(settings_of(text).module, Module::Sx126x(sx126x.clone()));
        let socket = settings_of("chip = \"sx126x\"\ndevice = \"unix:/run/module\"\n").module;
        let usual = sx126x::Module {
            place: Place::Socket("/run/module".into()),
            power_dbm: 10,
            amplifier: Amplifier::High,
            tcxo: None,
            dio2_switch: true,
            dcdc: false,
        };
        assert_eq!(socket, Module::Sx126x(usual));
        let uart = cardea_subghz::UartModule {
            baud: 19_200,
            air_bps: 5_000,
            packet: 58,
            overhead_us: 20_000,
            hold_us: 10_000,
        };
        let serial = serial::Module { tty: "/dev/ttyAMA0".into(), uart };
        let text = "chip = \"serial\"\ndevice = \"/dev/ttyAMA0\"\nbaud = 19200\npower = 8\nair_bps = 5000\npacket_bytes = 58\n\
                    overhead_ms = 20\nhold_ms = 10\n";
        let settings = settings_of(text);
        assert_eq!(settings.module, Module::Serial(serial));
        assert_eq!(
            settings.network.profile,
            cardea_subghz::Profile::Serial(uart),
            "its times are the link's"
        );
        // A module with one channel has no other to move to.
        assert_eq!((settings_of(text).network.channels, settings_of("").network.channels), (1, 0b111));
    }

    /// By the chip's table of voltages, in rising order.
    #[test]
    fn every_voltage_and_power_is_the_chips_own_and_never_more_than_asked_for() {
        let names = ["1.6V", "1.7V", "1.8V", "2.2V", "2.4V", "2.7V", "3.0V", "3.3V"];
        for (number, name) in (0..).zip(names) {
            let Module::Sx126x(module) =
                settings_of(&format!("chip = \"sx126x\"\ntcxo = \"{name}\"\n")).module
            else {
                panic!("another module")
            };
            assert_eq!(module.tcxo, Some(Tcxo { voltage: number, start_us: 5_000 }), "{name}");
        }
        let known = [
            (-30, Power::Minus30),
            (-20, Power::Minus20),
            (-10, Power::Minus10),
            (0, Power::Zero),
            (5, Power::Plus5),
            (7, Power::Plus7),
            (10, Power::Plus10),
        ];
        for (dbm, expected) in known {
            assert_eq!(power(dbm), expected);
            let above = power(dbm + 1);
            assert!(above == expected || known.contains(&(dbm + 1, above)), "{dbm}");
        }
    }
}
