//! One signing key of a maker in a token: a root or a CA of factory identities (`cardea-x509`). It is used for minutes,
//! by a person who waits, so it has a session of its own and no keeper.

use std::path::Path;

use cardea_credentials::{Error as KeyError, PublicKey, Random as _, Signer, verify};
use cardea_sdk::OsRandom;
use cryptoki::object::ObjectHandle;
use sha2::{Digest as _, Sha256};

use crate::{
    Error, TokenSettings,
    pin::PinSource,
    token::{Token, Use},
};

/// The environment variable with the PIN of a maker's token, for those who name no PIN file.
pub const MAKER_PIN: &str = "CARDEA_MAKER_PIN";
const PIN_REFUSED: &str = "maker-pin-refused";

/// A P-256 key in a token that signs certificates and can neither be read nor copied.
pub struct MakerKey {
    token: Token,
    public: PublicKey,
    private: ObjectHandle,
}

impl MakerKey {
    /// Makes a key `{key_prefix}-{name}` in the token. `dir` is where it is remembered that the token refused a PIN.
    ///
    /// # Errors
    /// What the token or its settings are at fault for; [`Error::KeyExists`].
    pub fn make(dir: &Path, settings: &TokenSettings, name: &str) -> Result<Self, Error> {
        let token = open(dir, settings, true)?;
        let label = label(settings, name);
        let made = token.generate(&label, Use::Sign)?;
        match token.private_key(&label, Use::Sign) {
            Ok(private) => Ok(Self { public: made.public, private, token }),
            Err(error) => {
                token.discard(&made);
                Err(error)
            }
        }
    }

    /// The key of that name, which must be the one that is `certified`.
    ///
    /// # Errors
    /// What the token or its settings are at fault for; [`Error::KeyMissing`], [`Error::KeyPolicy`],
    /// [`Error::KeyMismatch`].
    pub fn open(
        dir: &Path,
        settings: &TokenSettings,
        name: &str,
        certified: PublicKey,
    ) -> Result<Self, Error> {
        let token = open(dir, settings, false)?;
        let label = label(settings, name);
        let private = token.private_key(&label, Use::Sign)?;
        let key = Self { token, public: certified, private };
        let mut challenge = [0; 32];
        OsRandom.fill(&mut challenge).map_err(|_| cardea_sdk::Error::Random)?;
        let signature = key.token.sign(private, &Sha256::digest(challenge).into())?;
        if verify(&certified, &challenge, &signature).is_err() {
            return Err(Error::KeyMismatch { label, why: "" });
        }
        Ok(key)
    }
}

impl Signer for MakerKey {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        self.token.sign(self.private, &Sha256::digest(message).into()).map_err(|error| {
            tracing::error!(%error, "the maker's key does not sign");
            KeyError::KeyUnavailable
        })
    }
}

fn open(dir: &Path, settings: &TokenSettings, writable: bool) -> Result<Token, Error> {
    Token::open(settings, &PinSource::new(settings, MAKER_PIN, dir.join(PIN_REFUSED)), writable)
}

fn label(settings: &TokenSettings, name: &str) -> String {
    format!("{}-{name}", settings.key_prefix)
}
