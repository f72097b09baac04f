//! Factory identities: which makers vouch for a lock before it is enrolled, and whether one must.
//!
//! A maker's certificate says that a key belongs to a lock of that maker, nothing about who owns it: activation still
//! needs the owner code. What the certificate adds is the full key, so that no other key can be activated under
//! its id, and that it is no stranger's device.

use cardea_credentials::OwnerCode;
use cardea_framing::LockId;
use cardea_x509::Makers;

use super::{Core, Now};
use crate::{Error, KeyStore, LockName, State};

/// What a platform asks of makers.
#[derive(Default)]
pub(super) struct MakerPolicy {
    makers: Makers,
    required: bool,
}

impl<K: KeyStore, S: State> Core<K, S> {
    /// The makers whose certificates are accepted; with `required`, locks are enrolled by certificate only. Locks that
    /// are enrolled already stay. Nothing of it is stored: the policy is the configuration's.
    pub fn set_makers(&mut self, makers: Makers, required: bool) {
        self.policy = MakerPolicy { makers, required };
    }

    /// As [`Self::enroll`], for the lock of a maker's certificate: a PEM file with the lock's certificate first and,
    /// where there is one, its maker's CA. The lock must then present exactly the certified identity key. Belongs
    /// into a batch.
    ///
    /// # Errors
    /// [`Error::Certificate`]; [`Error::SecondKey`], [`Error::State`].
    pub fn enroll_certified(&mut self, now: Now, chain: &str, code: &OwnerCode) -> Result<LockId, Error> {
        let device = self.policy.makers.verify_pem(chain, now.unix / 1_000)?;
        let name = LockName::Thumbprint(device.thumbprint());
        self.enroll_named(name, code)?;
        Ok(name.id())
    }

    /// Whether this name alone may be enrolled.
    pub(super) fn check_uncertified(&self, name: LockName) -> Result<(), Error> {
        if self.policy.required { Err(Error::Uncertified(name.id())) } else { Ok(()) }
    }
}
