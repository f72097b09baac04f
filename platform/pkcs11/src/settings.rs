//! Which token, and where its PIN is: from the configuration, the command line or `pkcs11.toml`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::Error;

/// The environment variable with the platform token's PIN, for those who name no PIN file.
pub const PLATFORM_PIN: &str = "CARDEA_PLATFORM_PIN";
/// The environment variable with the PIN of the owner root's token, where that is another one.
pub const ROOT_PIN: &str = "CARDEA_ROOT_PIN";

/// Which token holds the keys. Nothing in it is secret; the PIN is in a file or in the environment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// The module: absolute path of a shared library, which is loaded into this process.
    pub module: PathBuf,
    /// CKA label of the token, without the padding.
    pub token_label: String,
    /// Serial number, where labels do not tell tokens apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_serial: Option<String>,
    /// File with the PIN, mode 0600; read at every login, never kept. Without it: [`PLATFORM_PIN`], [`ROOT_PIN`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin_file: Option<PathBuf>,
    /// What the labels of the keys begin with; `cardea` unless several platforms share a token.
    #[serde(default = "prefix")]
    pub key_prefix: String,
}

fn prefix() -> String {
    "cardea".into()
}

impl TokenSettings {
    /// A token by module and label; PIN from the environment.
    #[must_use]
    pub fn new(module: impl Into<PathBuf>, token_label: impl Into<String>) -> Self {
        Self {
            module: module.into(),
            token_label: token_label.into(),
            token_serial: None,
            pin_file: None,
            key_prefix: prefix(),
        }
    }

    /// Reads `pkcs11.toml`.
    ///
    /// # Errors
    /// [`Error::Settings`] for a file that others may write (they could have their library loaded here), or that
    /// is damaged.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let wrong = |why: String| Error::Settings { path: path.into(), why };
        let mode = fs::metadata(path).map_err(|e| wrong(e.to_string()))?.permissions().mode();
        if mode & 0o022 != 0 {
            return Err(wrong(format!(
                "mode {:04o} lets others name the library that is loaded here; `chmod 600` it",
                mode & 0o7777
            )));
        }
        let text = fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?;
        toml::from_str(&text).map_err(|e| wrong(e.to_string()))
    }

    pub(crate) fn to_toml(&self) -> Result<String, Error> {
        toml::to_string(self).map_err(|e| Error::Settings { path: "pkcs11.toml".into(), why: e.to_string() })
    }

    /// For people.
    pub(crate) fn name(&self) -> String {
        match &self.token_serial {
            Some(serial) => format!("label `{}` and serial `{serial}`", self.token_label),
            None => format!("label `{}`", self.token_label),
        }
    }
}
