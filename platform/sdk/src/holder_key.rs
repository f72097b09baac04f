//! A holder's key in a file: for trials, and for holders that are programs. A phone keeps its key where the phone keeps
//! keys.

use std::{fs, io::Read as _, os::unix::fs::PermissionsExt as _, path::Path};

use cardea_credentials::{Agreement as _, PublicKey, SoftSigner};

pub use cardea_credentials::SoftAgreement;
use zeroize::Zeroizing;

use crate::{Error, OsRandom, key_dir, keys::READ_AHEAD};

/// A private key's file: 32 raw bytes, mode 0600.
pub struct HolderKey(SoftAgreement);

impl HolderKey {
    /// Makes a key in a new file.
    ///
    /// # Errors
    /// [`Error::Random`]; [`Error::Io`], also where the file exists.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let key = SoftAgreement::generate(&mut OsRandom).map_err(|_| Error::Random)?;
        key_dir::write(path, &*key.to_bytes())?;
        Ok(Self(key))
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Key`] for a file that others may read, or that is no private key.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.into(), source };
        let wrong = |why: String| Error::Key { path: path.into(), why };
        let mode = fs::metadata(path).map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(wrong(format!("mode {:04o} lets others read it; `chmod 600` it", mode & 0o7777)));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(64 + READ_AHEAD)); // grown, it would leave a copy behind
        fs::File::open(path).and_then(|file| file.take(64).read_to_end(&mut bytes)).map_err(io)?;
        let scalar = <&[u8; 32]>::try_from(bytes.as_slice());
        let key = scalar.ok().and_then(|scalar| SoftAgreement::from_bytes(scalar).ok());
        key.map(Self).ok_or_else(|| wrong("not a private key of 32 bytes".into()))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.0.public()
    }

    /// The key, for a [`Holder`](crate::holder::Holder).
    #[must_use]
    pub fn into_agreement(self) -> SoftAgreement {
        self.0
    }

    /// The key, to sign grants with that are passed on. A key serves one of the two purposes: a grant that names the
    /// same key for both is not issued.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`], which no key of the curve gives.
    pub fn into_signer(self) -> Result<SoftSigner, Error> {
        SoftSigner::from_bytes(&self.0.to_bytes()).map_err(|_| Error::KeyUnavailable)
    }
}

/// A public key in hexadecimal: SEC1, 33 or 65 bytes.
#[must_use]
pub fn parse_public(text: &str) -> Option<PublicKey> {
    let bytes = hex::decode(text.trim()).ok().filter(|bytes| matches!(bytes.len(), 33 | 65))?;
    PublicKey::from_sec1(&bytes).ok()
}

/// The public key out of a file that holds it in hexadecimal, or that [`HolderKey::create`] made.
///
/// # Errors
/// As [`HolderKey::open`].
pub fn read_public(path: &Path) -> Result<PublicKey, Error> {
    let mut text = Zeroizing::new(Vec::new());
    fs::File::open(path)
        .and_then(|file| file.take(256).read_to_end(&mut text))
        .map_err(|source| Error::Io { path: path.into(), source })?;
    if text.len() != 32
        && let Some(key) = std::str::from_utf8(&text).ok().and_then(parse_public)
    {
        return Ok(key);
    }
    HolderKey::open(path).map(|key| key.public())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_read_back_and_not_read_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("phone.key");
        let public = HolderKey::create(&path).unwrap().public();
        assert!(matches!(HolderKey::create(&path), Err(Error::Io { .. })));
        assert_eq!(HolderKey::open(&path).unwrap().into_agreement().public(), public);
        assert_eq!(read_public(&path).unwrap(), public);
        let text = dir.path().join("phone.pub");
        fs::write(&text, format!("{}\n", hex::encode(public.to_compressed()))).unwrap();
        assert_eq!(read_public(&text).unwrap(), public);
        assert_eq!(parse_public("00"), None);
        fs::write(&text, [7; 31]).unwrap();
        assert!(read_public(&text).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(HolderKey::open(&path), Err(Error::Key { .. })));
    }
}
