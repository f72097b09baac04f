//! The typed configuration of a Cardea gateway.
//!
//! [`Config`] is the whole of it: what a key is called, what it means, its default and its range are written
//! once, in `sections.rs`, and everything else is made from there: the parser, the commented
//! [`template`], the JSON [`schema`] and the list that an unknown key is compared with.
//!
//! ```
//! let config = cardea_config::parse("[mqtt]\nurl = \"mqtts://broker.example:8883\"\n", &[])?;
//! assert!(config.mqtt.url.tls);
//! # Ok::<(), cardea_config::Error>(())
//! ```
//!
//! What this crate does not do: it opens no secret (those are named by path and read by whoever uses them, each
//! time they are used), and it starts nothing. There is no key that switches certificate validation off.

mod environment;
mod rules;
mod sections;
mod subghz;
mod template;
mod toml_file;
mod values;

use std::path::{Path, PathBuf};

pub use sections::{
    Api, Config, Gateway, Limits, Log, Loopback, Lora, Metrics, Mqtt, Platform, Subghz, Unsealed, Web, Zigbee,
};
pub use subghz::{
    SubghzBus, SubghzChip, SubghzDevice, SubghzModel, SubghzModule, SubghzProfile, SubghzRegion, SubghzTcxo,
};
pub use template::{redacted, schema, template};
pub use values::{
    BrokerUrl, ClockSource, Custody, DevNonce, Encoding, Eui64, FlowControl, GatewayName, GpioButton,
    LogFormat, NetId, PlatformKey, Region, UnsealedDevice, ZigbeeFamily, ZigbeeId,
};

/// Where the configuration is looked for when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/cardea/cardea.toml";

/// Prefix of the environment variables that override the file: `CARDEA_MQTT__URL` is `url` of `[mqtt]`.
pub const ENV_PREFIX: &str = "CARDEA_";

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Everything that is wrong with it, in the order of the file.
    #[error("{}", Problem::list(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// The key concerned, as `section.key`; empty when the file is not TOML at all.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Where a problem is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On this line of the file, counted from 1.
    Line(usize),
    /// In this environment variable.
    Variable(String),
    /// Nowhere in particular: a default, or two keys that do not go together.
    Whole,
}

impl Problem {
    fn list(problems: &[Self]) -> String {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Line(line) => write!(f, "line {line}: ")?,
            Place::Variable(name) => write!(f, "environment variable {name}: ")?,
            Place::Whole => {}
        }
        if self.key.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "`{}`: {}", self.key, self.message)
        }
    }
}

/// Reads a file, lays the process environment over it and checks the result.
///
/// # Errors
/// [`Error::Unreadable`], or [`Error::Invalid`] with every problem found.
pub fn load(path: &Path) -> Result<Config, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    // A variable whose name is not UTF-8 cannot be ours; one whose value is not is reported as unusable.
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect();
    parse(&text, &variables)
}

/// The same from text and given variables (names that do not begin with [`ENV_PREFIX`] are ignored).
///
/// # Errors
/// [`Error::Invalid`] with every problem found.
pub fn parse(text: &str, variables: &[(String, String)]) -> Result<Config, Error> {
    let file = toml_file::read(text).map_err(Error::Invalid)?;
    let config = environment::overlay(file.table, variables).map_err(Error::Invalid)?;
    let mut problems = config.problems();
    for problem in &mut problems {
        problem.place = environment::place(&problem.key, variables)
            .or_else(|| file.lines.get(&problem.key).map(|line| Place::Line(*line)))
            .unwrap_or(Place::Whole);
    }
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    if problems.is_empty() { Ok(config) } else { Err(Error::Invalid(problems)) }
}
