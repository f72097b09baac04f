//! What is said of a 433 MHz module: three kinds, each with keys that mean nothing to the others.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::sections::Subghz;
use crate::values::string_value;

/// What a 433 MHz module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubghzChip {
    /// TI's CC1101 on SPI.
    Cc1101,
    /// Semtech's SX1261, SX1262 or SX1268 on SPI.
    Sx126x,
    /// A module that passes bytes of a UART through.
    Serial,
}

impl SubghzChip {
    fn name(self) -> &'static str {
        match self {
            Self::Cc1101 => "cc1101",
            Self::Sx126x => "sx126x",
            Self::Serial => "serial",
        }
    }
}

/// Which SX126x it is: they differ in their amplifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubghzModel {
    /// SX1261.
    Sx1261,
    /// SX1262.
    Sx1262,
    /// SX1268.
    Sx1268,
}

/// What feeds an SX126x's oscillator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SubghzTcxo {
    /// It is a crystal.
    #[serde(rename = "none")]
    None,
    /// DIO3, with 1.6 V.
    #[serde(rename = "1.6V")]
    V1_6,
    /// DIO3, with 1.7 V.
    #[serde(rename = "1.7V")]
    V1_7,
    /// DIO3, with 1.8 V.
    #[serde(rename = "1.8V")]
    V1_8,
    /// DIO3, with 2.2 V.
    #[serde(rename = "2.2V")]
    V2_2,
    /// DIO3, with 2.4 V.
    #[serde(rename = "2.4V")]
    V2_4,
    /// DIO3, with 2.7 V.
    #[serde(rename = "2.7V")]
    V2_7,
    /// DIO3, with 3.0 V.
    #[serde(rename = "3.0V")]
    V3_0,
    /// DIO3, with 3.3 V.
    #[serde(rename = "3.3V")]
    V3_3,
}

/// Where a 433 MHz module is: an SPI device or a TTY by its absolute path, or `unix:` and the absolute path of a virtual module's socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SubghzDevice {
    /// An SPI device or a TTY.
    Local(PathBuf),
    /// A socket.
    Socket(PathBuf),
}

impl FromStr for SubghzDevice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (path, made): (_, fn(PathBuf) -> Self) = match text.strip_prefix("unix:") {
            Some(path) => (path, Self::Socket),
            None => (text, Self::Local),
        };
        let fits = path.starts_with('/') && path.len() <= 255 && !path.chars().any(char::is_control);
        if fits {
            Ok(made(path.into()))
        } else {
            Err(format!("{text:?} is not an absolute path, nor `unix:` and one"))
        }
    }
}

impl fmt::Display for SubghzDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

string_value!(
    SubghzDevice,
    "^(unix:)?/.*$",
    "/dev/spidev…, /dev/tty…, or unix: and the path of a virtual module's socket"
);

/// Rules of the 433 MHz band.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubghzRegion {
    /// Europe.
    Eu,
    /// China.
    Cn,
}

/// Modulation of a 433 MHz network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubghzProfile {
    /// 4.8 kbit/s.
    Slow,
    /// 38.4 kbit/s.
    Standard,
    /// 100 kbit/s.
    Fast,
}

/// A module with all that is said of it; what is not said is as it is usually wired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubghzModule {
    /// A CC1101.
    Cc1101 {
        /// GDO0.
        gdo0: u32,
        /// SPI and GPIO.
        bus: SubghzBus,
    },
    /// An SX126x.
    Sx126x {
        /// SPI and GPIO.
        bus: SubghzBus,
        /// DIO1.
        dio1: u32,
        /// BUSY.
        busy: u32,
        /// NRESET.
        nreset: u32,
        /// Which it is.
        model: SubghzModel,
        /// What feeds its oscillator.
        tcxo: SubghzTcxo,
        /// What that takes to start, ms.
        tcxo_start_ms: u8,
        /// DIO2 switches the antenna.
        dio2_switch: bool,
        /// The board has the coil of the DC-DC converter.
        dcdc: bool,
    },
    /// A serial module.
    Serial {
        /// Of the UART.
        baud: u32,
        /// On the air, bits per second.
        air_bps: u32,
        /// Bytes in one packet of the module's.
        packet_bytes: u16,
        /// What a packet costs beside its bytes, ms.
        overhead_ms: u16,
        /// From the last byte at the module until it begins, ms.
        hold_ms: u16,
    },
}

/// How a chip is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubghzBus {
    /// Clock of the SPI, Hz.
    pub spi_hz: u32,
    /// Whose lines they are.
    pub gpio_chip: PathBuf,
}

/// Keys of a serial module that nobody can guess: who guesses is late, or longer on the air than allowed.
const NEEDED: [&str; 5] = ["power", "air_bps", "packet_bytes", "overhead_ms", "hold_ms"];

impl Subghz {
    /// The module that is configured, with what is usual where nothing is said. Of a serial module that does not say what it must, which
    /// the rules refuse, the worst is assumed.
    #[must_use]
    pub fn module(&self) -> SubghzModule {
        let bus = SubghzBus {
            spi_hz: self.spi_hz.unwrap_or(4_000_000),
            gpio_chip: self.gpio_chip.clone().unwrap_or_else(|| "/dev/gpiochip0".into()),
        };
        match self.chip {
            SubghzChip::Cc1101 => SubghzModule::Cc1101 { bus, gdo0: self.gdo0.unwrap_or(25) },
            SubghzChip::Sx126x => SubghzModule::Sx126x {
                bus,
                dio1: self.dio1.unwrap_or(25),
                busy: self.busy.unwrap_or(24),
                nreset: self.nreset.unwrap_or(23),
                model: self.model.unwrap_or(SubghzModel::Sx1262),
                tcxo: self.tcxo.unwrap_or(SubghzTcxo::None),
                tcxo_start_ms: self.tcxo_start_ms.unwrap_or(5),
                dio2_switch: self.dio2_switch.unwrap_or(true),
                dcdc: self.dcdc.unwrap_or(false),
            },
            SubghzChip::Serial => SubghzModule::Serial {
                baud: self.baud.unwrap_or(9_600),
                air_bps: self.air_bps.unwrap_or(1),
                packet_bytes: self.packet_bytes.unwrap_or(1),
                overhead_ms: self.overhead_ms.unwrap_or(u16::MAX),
                hold_ms: self.hold_ms.unwrap_or(u16::MAX),
            },
        }
    }

    /// Output power, dBm; of a serial module what its maker's tool set it to.
    #[must_use]
    pub fn power_dbm(&self) -> i8 {
        self.power.unwrap_or(10)
    }

    /// Modulation of the network.
    #[must_use]
    pub fn profile(&self) -> SubghzProfile {
        self.profile.unwrap_or(SubghzProfile::Standard)
    }

    /// Channels besides 0.
    #[must_use]
    pub fn channels(&self) -> &[u8] {
        match (&self.channels, self.chip) {
            (Some(channels), _) => channels,
            (None, SubghzChip::Serial) => &[],
            (None, _) => &[1, 2],
        }
    }

    /// What is said although it means nothing to the chip, and what is not said although it must be.
    fn strangers(&self) -> Vec<(&'static str, String)> {
        use SubghzChip::{Cc1101, Serial, Sx126x};
        let said: [(&str, bool, &[SubghzChip]); 18] = [
            ("spi_hz", self.spi_hz.is_some(), &[Cc1101, Sx126x]),
            ("gpio_chip", self.gpio_chip.is_some(), &[Cc1101, Sx126x]),
            ("profile", self.profile.is_some(), &[Cc1101, Sx126x]),
            ("channels", self.channels.is_some(), &[Cc1101, Sx126x]),
            ("gdo0", self.gdo0.is_some(), &[Cc1101]),
            ("dio1", self.dio1.is_some(), &[Sx126x]),
            ("busy", self.busy.is_some(), &[Sx126x]),
            ("nreset", self.nreset.is_some(), &[Sx126x]),
            ("model", self.model.is_some(), &[Sx126x]),
            ("tcxo", self.tcxo.is_some(), &[Sx126x]),
            ("tcxo_start_ms", self.tcxo_start_ms.is_some(), &[Sx126x]),
            ("dio2_switch", self.dio2_switch.is_some(), &[Sx126x]),
            ("dcdc", self.dcdc.is_some(), &[Sx126x]),
            ("baud", self.baud.is_some(), &[Serial]),
            ("air_bps", self.air_bps.is_some(), &[Serial]),
            ("packet_bytes", self.packet_bytes.is_some(), &[Serial]),
            ("overhead_ms", self.overhead_ms.is_some(), &[Serial]),
            ("hold_ms", self.hold_ms.is_some(), &[Serial]),
        ];
        let mut found = Vec::new();
        for (key, is_said, chips) in said {
            if is_said && !chips.contains(&self.chip) {
                let theirs: Vec<_> = chips.iter().map(|chip| format!("\"{}\"", chip.name())).collect();
                let (theirs, ours) = (theirs.join(" and "), self.chip.name());
                let message = format!(
                    "belongs to `chip` {theirs}, and `subghz.chip` is \"{ours}\": take the line out, or name the chip that is there"
                );
                found.push((key, message));
            }
        }
        let needed = NEEDED.into_iter().filter(|key| match *key {
            "power" => self.power.is_none(),
            key => said.iter().any(|(name, is_said, _)| *name == key && !is_said),
        });
        if self.enabled && self.chip == Serial {
            found.extend(needed.map(|key| (key, needs(key).to_owned())));
        }
        found
    }

    /// The rules that types cannot say, by key.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = self.strangers();
        let mut need = |holds: bool, key: &'static str, message: &str| {
            if !holds {
                found.push((key, message.to_owned()));
            }
        };
        if self.enabled {
            self.check_device(&mut need);
        }
        let (fastest, text) = match self.chip {
            SubghzChip::Cc1101 => (6_500_000, "must be 100000 to 6500000: a CC1101 takes bursts no faster"),
            _ => (16_000_000, "must be 100000 to 16000000: an SX126x takes no more"),
        };
        need(self.spi_hz.is_none_or(|hz| (100_000..=fastest).contains(&hz)), "spi_hz", text);
        let power = self.power_dbm();
        match self.chip {
            SubghzChip::Cc1101 => need(
                matches!(power, -30 | -20 | -10 | 0 | 5 | 7 | 10),
                "power",
                "must be one of -30, -20, -10, 0, 5, 7 and 10 dBm: a CC1101 has no others",
            ),
            SubghzChip::Sx126x => {
                need((-9..=10).contains(&power), "power", "must be -9 to 10 dBm with an SX126x");
            }
            SubghzChip::Serial => {}
        }
        need(
            i16::from(power) + i16::from(self.antenna_gain) <= 10,
            if self.antenna_gain > 0 { "antenna_gain" } else { "power" },
            "with `subghz.power` makes more than the 10 mW e.r.p. (10 dBm) of the band: take less power",
        );
        if let SubghzModule::Sx126x { dio1, busy, nreset, .. } = self.module() {
            need(
                dio1 != busy && busy != nreset && nreset != dio1,
                ["nreset", "busy", "dio1"].into_iter().find(|key| self.is_line_said(key)).unwrap_or("chip"),
                "must be another line than the other two: DIO1, BUSY and NRESET are three",
            );
        }
        need(self.tcxo_start_ms.is_none_or(|ms| (1..=10).contains(&ms)), "tcxo_start_ms", "must be 1 to 10");
        need(
            self.tcxo_start_ms.is_none() || self.tcxo.is_some_and(|tcxo| tcxo != SubghzTcxo::None),
            "tcxo_start_ms",
            "says how long the oscillator at DIO3 takes to start: name its voltage in `subghz.tcxo`, too",
        );
        need(
            self.baud.is_none_or(|baud| (1_200..=921_600).contains(&baud)),
            "baud",
            "must be 1200 to 921600",
        );
        need(
            self.air_bps.is_none_or(|bps| (100..=1_000_000).contains(&bps)),
            "air_bps",
            "must be 100 to 1000000 bits per second",
        );
        need(
            self.packet_bytes.is_none_or(|bytes| (1..=1_024).contains(&bytes)),
            "packet_bytes",
            "must be 1 to 1024",
        );
        need(self.overhead_ms.is_none_or(|ms| ms <= 1_000), "overhead_ms", "must be 0 to 1000");
        need(self.hold_ms.is_none_or(|ms| ms <= 1_000), "hold_ms", "must be 0 to 1000");
        let most = if self.profile() == SubghzProfile::Fast { 2 } else { 5 };
        need(
            self.channels().iter().all(|channel| *channel <= most),
            "channels",
            "must be 0 to 5, with profile \"fast\" 0 to 2",
        );
        need(self.network.is_none_or(|id| (1..=254).contains(&id)), "network", "must be 1 to 254");
        found
    }

    /// A path that belongs to the other kind of bus is a `chip` that was forgotten.
    fn check_device(&self, need: &mut impl FnMut(bool, &'static str, &str)) {
        let (serial, local) =
            (self.chip == SubghzChip::Serial, matches!(self.device, SubghzDevice::Local(_)));
        let path = self.device.to_string();
        need(
            !serial || local,
            "device",
            "must be a TTY: a virtual serial module is at the path of a pseudo-terminal, not behind a socket",
        );
        need(
            !serial || !path.starts_with("/dev/spidev"),
            "device",
            "is an SPI device, and a serial module is at a TTY, such as /dev/ttyAMA0 or one in /dev/serial/by-id",
        );
        need(
            serial || !(path.starts_with("/dev/tty") || path.starts_with("/dev/serial")),
            "device",
            "is a TTY, and this chip is at an SPI device, such as /dev/spidev0.0; for a serial module say `chip = \"serial\"`",
        );
    }

    fn is_line_said(&self, key: &str) -> bool {
        match key {
            "nreset" => self.nreset.is_some(),
            "busy" => self.busy.is_some(),
            _ => self.dio1.is_some(),
        }
    }
}

fn needs(key: &str) -> &'static str {
    match key {
        "power" => {
            "must be said with a serial module: the dBm that its maker's tool set it to, which the gateway can neither set nor read"
        }
        "air_bps" => "must be said with a serial module: its rate on the air, bits per second, as it is set",
        "packet_bytes" => {
            "must be said with a serial module: how many bytes it puts into one packet on the air"
        }
        "overhead_ms" => {
            "must be said with a serial module: how long a packet of no bytes is on the air, as its manual has it, rounded up"
        }
        _ => {
            "must be said with a serial module: how long it waits behind the last byte before it sends, at the most, as its manual has it"
        }
    }
}
