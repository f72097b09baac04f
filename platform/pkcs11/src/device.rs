//! The platform's two keys in their token, proven to be the certified ones.

use std::path::PathBuf;

use cardea_credentials::{
    Agreement as _, PlatformIdentity, PublicKey, Random as _, SharedSecret, SoftAgreement, verify,
};
use cardea_sdk::OsRandom;
use cryptoki::object::ObjectHandle;
use sha2::{Digest as _, Sha256};

use crate::{
    Error, TokenSettings,
    keeper::{Device, Link},
    pin::PinSource,
    token::{self, Token, Use},
};

/// Labels of the keys of one platform: they name the certificate's version, so that a rotation leaves the old ones.
pub(crate) struct Labels {
    pub(crate) root: String,
    pub(crate) agreement: String,
    pub(crate) signing: String,
}

impl Labels {
    pub(crate) fn new(prefix: &str, version: u32) -> Self {
        Self {
            root: format!("{prefix}-owner-root"),
            agreement: format!("{prefix}-platform-dh-{version}"),
            signing: format!("{prefix}-platform-sign-{version}"),
        }
    }
}

/// Where the keys of a certificate are.
pub(crate) struct PlatformToken {
    pub(crate) settings: TokenSettings,
    pub(crate) pin: PinSource,
    pub(crate) named: PlatformIdentity,
}

impl PlatformToken {
    /// The module, for errors and restarts.
    fn module(&self) -> &PathBuf {
        &self.settings.module
    }
}

impl Device for PlatformToken {
    type Link = PlatformKeys;

    fn connect(&mut self, anew: bool) -> Result<PlatformKeys, Error> {
        if anew {
            token::restart(self.module());
        }
        let labels = Labels::new(&self.settings.key_prefix, self.named.version);
        let token = Token::open(&self.settings, &self.pin, false)?;
        let keys = PlatformKeys {
            signing: token.private_key(&labels.signing, Use::Sign)?,
            agreement: token.private_key(&labels.agreement, Use::Agree)?,
            token,
        };
        keys.prove(&self.named, &labels)?;
        Ok(keys)
    }
}

/// A session, and handles that live as long as it does.
pub(crate) struct PlatformKeys {
    token: Token,
    signing: ObjectHandle,
    agreement: ObjectHandle,
}

impl PlatformKeys {
    /// Uses both keys once: a label proves nothing, and what a token cannot do is better known now than at the first
    /// handshake.
    fn prove(&self, named: &PlatformIdentity, labels: &Labels) -> Result<(), Error> {
        let mismatch = |label: &str, why| Error::KeyMismatch { label: label.into(), why };
        let mut challenge = [0; 32];
        OsRandom.fill(&mut challenge).map_err(|_| cardea_sdk::Error::Random)?;
        let signature = self.sign(&Sha256::digest(challenge).into())?;
        verify(&named.signing, &challenge, &signature).map_err(|_| mismatch(&labels.signing, ""))?;
        let peer = SoftAgreement::generate(&mut OsRandom).map_err(|_| cardea_sdk::Error::Random)?;
        let expected = peer.agree(&named.dh).map_err(|_| mismatch(&labels.agreement, ""))?;
        // Both are fresh and end here; how long comparing takes helps nobody.
        if self.agree(&peer.public())?.as_bytes() != expected.as_bytes() {
            return Err(mismatch(
                &labels.agreement,
                ", or the token's CKD_NULL is not the plain x coordinate",
            ));
        }
        Ok(())
    }
}

impl Link for PlatformKeys {
    fn sign(&self, digest: &[u8; 32]) -> Result<[u8; 64], Error> {
        self.token.sign(self.signing, digest)
    }

    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, Error> {
        self.token.agree(self.agreement, peer)
    }
}
