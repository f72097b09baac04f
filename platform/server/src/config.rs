//! The configuration file, overridden by the command line.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use cardea_pkcs11::TokenSettings;
use cardea_sdk::Broker;
use serde::Deserialize;

/// Where the state lives unless told otherwise.
pub(crate) const DEFAULT_DIR: &str = "/var/lib/cardea-platform";
/// Read when it exists and no other file was named.
const DEFAULT_FILE: &str = "/etc/cardea/platform.toml";

/// `platform.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// State directory.
    dir: Option<PathBuf>,
    /// The broker.
    broker: Option<Broker>,
    /// The token that holds the platform's keys, where they are in one.
    pkcs11: Option<TokenSettings>,
    /// The makers of locks whose certificates count.
    #[serde(default)]
    makers: Makers,
}

/// `[makers]`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Makers {
    /// PEM files with their root certificates.
    #[serde(default)]
    pub(crate) roots: Vec<PathBuf>,
    /// Whether locks are enrolled by certificate only.
    #[serde(default)]
    pub(crate) required: bool,
}

impl File {
    /// The toml crate's message names line, column and the members that are known.
    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

/// Whatever an editor left in the file gives settings or words about them.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(text: &str) {
    if let Err(error) = File::parse(text) {
        assert!(!error.to_string().is_empty(), "an error without words");
    }
}

/// What every command needs to know.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) dir: PathBuf,
    pub(crate) broker: Option<Broker>,
    pub(crate) pkcs11: Option<TokenSettings>,
    pub(crate) makers: Makers,
}

impl Config {
    pub(crate) fn load(file: Option<&Path>, dir: Option<PathBuf>, broker: Option<String>) -> Result<Self> {
        let path = match file {
            Some(path) => Some(path.to_owned()),
            None => Some(PathBuf::from(DEFAULT_FILE)).filter(|p| p.exists()),
        };
        let mut read = File::default();
        if let Some(path) = path {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            read = File::parse(&text).with_context(|| format!("in {}", path.display()))?;
        }
        let broker = match (broker, read.broker) {
            (Some(url), Some(file)) => Some(Broker { url, ..file }),
            (Some(url), None) => Some(Broker::at(&url)),
            (None, file) => file,
        };
        let dir = dir.or(read.dir).unwrap_or_else(|| DEFAULT_DIR.into());
        Ok(Self { dir, broker, pkcs11: read.pkcs11, makers: read.makers })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("platform.toml");
        fs::write(&path, text)?;
        Config::load(Some(&path), None, None)
    }

    #[test]
    fn a_whole_file() {
        let config = load(
            "dir = \"/srv/doors\"\n[broker]\nurl = \"mqtts://b.example\"\nclient_id = \"p1\"\nencoding = \"cbor\"\n",
        )
        .unwrap();
        assert_eq!(config.dir, Path::new("/srv/doors"));
        assert_eq!(config.socket(), Path::new("/srv/doors/socket"));
        assert_eq!(config.broker.unwrap().client_id, "p1");
    }

    #[test]
    fn a_token_is_named_and_its_pin_is_not() {
        let token = "[pkcs11]\nmodule = \"/m.so\"\ntoken_label = \"doors\"\npin_file = \"/p\"\n";
        assert_eq!(load(token).unwrap().pkcs11.unwrap().token_label, "doors");
        let error = format!("{:#}", load(&format!("{token}pin = \"1234\"\n")).unwrap_err());
        assert!(error.contains("line 5") && error.contains("pin_file"), "{error}");
    }

    #[test]
    fn a_wrong_key_is_named_with_its_line() {
        let error = format!("{:#}", load("[broker]\nurl = \"mqtt://b\"\ninsecure = true\n").unwrap_err());
        assert!(
            error.contains("line 3") && error.contains("insecure") && error.contains("ca_file"),
            "{error}"
        );
    }
}
