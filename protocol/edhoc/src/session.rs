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
    /// The Master Secret.
    pub secret: [u8; 16],
    /// The Master Salt.
    pub salt: [u8; 8],
    /// Our Sender ID: the identifier that the peer chose.
    #[zeroize(skip)]
    pub sender_id: ConnId,
    /// Our Recipient ID: the identifier that we chose.
    #[zeroize(skip)]
    pub recipient_id: ConnId,
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
        let prk_out = derive(suite, &prk_4e3m, label::PRK_OUT, &th_4)?;
        let prk_exporter = derive(suite, &prk_out, label::PRK_EXPORTER, &[])?;
        Ok(Self { suite, prk_4e3m, th_4, prk_out, prk_exporter })
    }

    pub(crate) fn aead_4(&self) -> Result<Aead, Error> {
        Aead::new(self.suite, &self.prk_4e3m, label::K_4, label::IV_4, &self.th_4)
    }

    pub(crate) fn export(&self, label: u32, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        kdf(self.suite, &self.prk_exporter, label, &[context], out)
    }

    pub(crate) fn oscore(&self, sender_id: ConnId, recipient_id: ConnId) -> Result<OscoreKeys, Error> {
        let mut keys = OscoreKeys { secret: [0; 16], salt: [0; 8], sender_id, recipient_id };
        self.export(EXPORT_OSCORE_SECRET, &[], &mut keys.secret)?;
        self.export(EXPORT_OSCORE_SALT, &[], &mut keys.salt)?;
        Ok(keys)
    }

    pub(crate) fn key_update(&mut self, context: &[u8]) -> Result<(), Error> {
        let mut prk_out = Zeroizing::new([0; 32]);
        kdf(self.suite, &self.prk_out, label::KEY_UPDATE, &[context], prk_out.as_mut())?;
        self.prk_exporter = derive(self.suite, &prk_out, label::PRK_EXPORTER, &[])?;
        self.prk_out = prk_out;
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn prks(&self) -> (&Hash, &Hash) {
        (&self.prk_out, &self.prk_exporter)
    }
}
