use std::path::PathBuf;

use cryptoki::error::{Error as Binding, RvError};

/// What went wrong with a token; the variant names who is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The module is not there or is no PKCS#11 module.
    #[error(
        "PKCS#11 module {path}: {why}; name the library of the token's maker by its absolute path, \
         for SoftHSM on Debian /usr/lib/softhsm/libsofthsm2.so"
    )]
    Module {
        /// The library.
        path: PathBuf,
        /// What the loader or the module said.
        why: String,
    },
    /// The module shows no token of this label.
    #[error(
        "no token with {wanted} is present (the module shows: {found}); plug it in, or correct its label"
    )]
    TokenAbsent {
        /// Label and serial number.
        wanted: String,
        /// Labels that are present.
        found: String,
    },
    /// Two tokens have this label.
    #[error("more than one token is labelled `{0}`; give token_serial as well")]
    TokenAmbiguous(String),
    /// The PIN could not be read; the token was not asked.
    #[error("PIN: {0}")]
    Pin(String),
    /// The token refused the PIN.
    #[error(
        "the token refuses the PIN, which is not tried again: correct the PIN, then remove {marker} \
         (a PIN file written anew is enough)"
    )]
    PinWrong {
        /// The file that stops further attempts.
        marker: PathBuf,
    },
    /// The PIN is locked.
    #[error(
        "the token's PIN is locked after too many wrong attempts; unlock it with its SO PIN (`pkcs11-tool --init-pin`)"
    )]
    PinLocked,
    /// One more wrong PIN would lock the token, and this program will not be the one.
    #[error(
        "the token has one attempt left; show that the PIN is right by logging in by hand \
         (`pkcs11-tool --login --list-objects`), then start again"
    )]
    PinLastTry,
    /// A key that `platform.cwt` needs is not in the token.
    #[error(
        "token `{token}` holds no private key labelled `{label}`; it is another token, or the key was deleted"
    )]
    KeyMissing {
        /// Its label.
        label: String,
        /// Where it was looked for.
        token: String,
    },
    /// Two keys have one label.
    #[error(
        "the token holds more than one private key labelled `{0}`; rename or delete the one that is not ours"
    )]
    KeyAmbiguous(String),
    /// A new key would have the label of an old one.
    #[error(
        "the token already holds a key labelled `{0}`; choose another key_prefix, or delete what is no longer needed"
    )]
    KeyExists(String),
    /// The key could be, or once could have been, copied out of the token; or it is of no use here.
    #[error(
        "key `{label}`: {why}; it is not used. Make keys that never left a token: `cardea-platform init` does"
    )]
    KeyPolicy {
        /// Its label.
        label: String,
        /// Which attribute is wrong.
        why: &'static str,
    },
    /// The key is not the certified one.
    #[error("key `{label}` is not the one that platform.cwt certifies{why}")]
    KeyMismatch {
        /// Its label.
        label: String,
        /// More about it.
        why: &'static str,
    },
    /// The token cannot do what we need.
    #[error("the token cannot {what} ({why}); docs/platform.md lists what it must support")]
    Unsupported {
        /// The operation.
        what: &'static str,
        /// PKCS#11's return value.
        why: String,
    },
    /// The session ended, or the token went away.
    #[error("the token is gone ({0})")]
    Lost(String),
    /// Any other refusal of the token.
    #[error("the token: {0}")]
    Token(String),
    /// `pkcs11.toml` or another setting is wrong.
    #[error("{path}: {why}")]
    Settings {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file of the state directory, or what was made from it.
    #[error(transparent)]
    Sdk(#[from] cardea_sdk::Error),
}

impl Error {
    /// Whether the same PIN must not be tried again by this process.
    pub(crate) const fn is_about_the_pin(&self) -> bool {
        matches!(self, Self::PinWrong { .. } | Self::PinLocked | Self::PinLastTry)
    }
}

impl From<Binding> for Error {
    fn from(error: Binding) -> Self {
        let Binding::Pkcs11(rv, function) = &error else { return Self::Token(error.to_string()) };
        let text = format!("{function}: {rv:?}");
        match rv {
            RvError::PinLocked => Self::PinLocked,
            // Each can only mean that what we held is no more. The general ones are among them because modules give
            // them for a lost connection; a session that is opened anew tells.
            RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::DeviceRemoved
            | RvError::DeviceError
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::SlotIdInvalid
            | RvError::CryptokiNotInitialized
            | RvError::UserNotLoggedIn
            | RvError::KeyHandleInvalid
            | RvError::ObjectHandleInvalid
            | RvError::OperationActive
            | RvError::GeneralError
            | RvError::FunctionFailed => Self::Lost(text),
            _ => Self::Token(text),
        }
    }
}
