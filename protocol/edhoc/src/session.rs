//! What a finished handshake leaves behind (RFC 9528 §4.2, appendices A.1 and H).

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::schedule::{Aead, derive, kdf, label};
use crate::suite::{Hash, Prk, Suite};
use crate::{ConnId, Error};

/// Labels of EDHOC_Exporter for OSCORE.
const EXPORT_OSCORE_SECRET: u32 = 0;
const EXPORT_OSCORE_SALT: u32 = 1;

/// Input for an OSCORE security context. Erased when dropped, no `Debug`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct OscoreKeys {
    /// The Master Secret, of which [`Self::secret`] gives as much as the suite makes.
    secret: [u8; 32],
    /// The Master Salt.
    pub salt: [u8; 8],
    /// Our Sender ID: the identifier that the peer chose.
    #[zeroize(skip)]
    pub sender_id: ConnId,
    /// Our Recipient ID: the identifier that we chose.
    #[zeroize(skip)]
    pub recipient_id: ConnId,
    #[zeroize(skip)]
    suite: Suite,
}

impl OscoreKeys {
    /// The Master Secret: 16 bytes for AES-CCM-16-64-128, 32 for ChaCha20/Poly1305.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        self.secret.get(..self.suite.application_key_len()).unwrap_or(&[])
    }

    /// The AEAD algorithm of the context by its COSE number; see [`Suite::application_aead`].
    #[must_use]
    pub const fn aead(&self) -> u8 {
        self.suite.application_aead()
    }
}

pub(crate) struct Session {
    pub(crate) suite: Suite,
    pub(crate) prk_4e3m: Prk,
    pub(crate) th_4: Hash,
    prk_out: Prk,
    prk_exporter: Prk,
}

impl Session {
    pub(crate) fn new(suite: Suite, prk_4e3m: Prk, th_4: Hash) -> Result<Self, Error> {
        let prk_out = derive(&prk_4e3m, label::PRK_OUT, &th_4)?;
        let prk_exporter = derive(&prk_out, label::PRK_EXPORTER, &[])?;
        Ok(Self { suite, prk_4e3m, th_4, prk_out, prk_exporter })
    }

    pub(crate) fn aead_4(&self) -> Result<Aead, Error> {
        Aead::new(self.suite, &self.prk_4e3m, label::K_4, label::IV_4, &self.th_4)
    }

    pub(crate) fn export(&self, label: u32, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        kdf(&self.prk_exporter, label, &[context], out)
    }

    pub(crate) fn oscore(&self, sender_id: ConnId, recipient_id: ConnId) -> Result<OscoreKeys, Error> {
        let suite = self.suite;
        let mut keys = OscoreKeys { secret: [0; 32], salt: [0; 8], sender_id, recipient_id, suite };
        let secret = keys.secret.get_mut(..suite.application_key_len()).ok_or(Error::TooLong)?;
        self.export(EXPORT_OSCORE_SECRET, &[], secret)?;
        self.export(EXPORT_OSCORE_SALT, &[], &mut keys.salt)?;
        Ok(keys)
    }

    pub(crate) fn key_update(&mut self, context: &[u8]) -> Result<(), Error> {
        let mut prk_out = Zeroizing::new([0; 32]);
        kdf(&self.prk_out, label::KEY_UPDATE, &[context], prk_out.as_mut())?;
        self.prk_exporter = derive(&prk_out, label::PRK_EXPORTER, &[])?;
        self.prk_out = prk_out;
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn prks(&self) -> (&Hash, &Hash) {
        (&self.prk_out, &self.prk_exporter)
    }
}
