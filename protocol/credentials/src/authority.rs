//! The chain of keys that a lock believes: owner root, platform, site authority; and that versions never fall.

use crate::cbor::{Reader, Writer};
use crate::ccs::{CNF, read_cnf};
use crate::cwt::{self, full_key, write_cnf};
use crate::grant::AUD;
use crate::key::once;
use crate::signed::{self, Bound, Thumbprint};
use crate::{CLAIM_PLATFORM_VERSION, Error, PlatformIdentity, PublicKey, Sign1, Signer};

/// First item of the external_aad of a site authority's certificate; the owner root's thumbprint is the second.
pub const AAD_AUTHORITY: &str = "cardea/authority";
/// The greatest length of a site authority's certificate.
pub const MAX_AUTHORITY_LEN: usize = 140;
/// Bytes of a [`Trust`] in storage.
pub const TRUST_LEN: usize = 1 + 33 + (33 + 33 + 4) + 8 + (1 + 33 + 4);

const TRUST_FORMAT: u8 = 1;

/// The doors that one owner runs in one place. What is said to a site is bound to the owner too, so equal ids of two
/// owners are two sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Thumbprint of the owner root.
    pub root: Thumbprint,
    /// What the platform calls the site; on the wire.
    pub id: [u8; 8],
}

/// A site authority: the gateway's key that may say "member of this site", revoke, and tell the time, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its signing key.
    pub key: PublicKey,
    /// Rises with every new key of the site.
    pub version: u32,
}

/// Writes the certificate of a site authority, signed by the platform. Returns the length, at most
/// [`MAX_AUTHORITY_LEN`].
///
/// # Errors
/// [`Error::BufferTooSmall`] or the signer's.
pub fn issue_authority(
    site: &Site,
    authority: &Authority,
    platform: &dyn Signer,
    out: &mut [u8],
) -> Result<usize, Error> {
    let mut buffer = [0; 80];
    let mut claims = Writer::new(&mut buffer);
    claims.map(3)?.int(AUD)?.bytes(&site.id)?;
    write_cnf(&mut claims, &authority.key)?;
    claims.int(CLAIM_PLATFORM_VERSION)?.int(i64::from(authority.version))?;
    let aad = Bound::to(AAD_AUTHORITY, &[&site.root])?;
    Sign1::encode(platform, None, aad.as_slice(), claims.as_slice(), out)
}

/// Verifies the certificate of the authority of `site` by the platform's signing key. Whether its version may be
/// accepted is for [`Trust`] to say.
///
/// # Errors
/// [`Error::WrongCredential`] for another site or claim, [`Error::BadSignature`], and the decoders' errors.
pub fn verify_authority(cwt: &[u8], site: &Site, platform: &PublicKey) -> Result<Authority, Error> {
    let aad = Bound::to(AAD_AUTHORITY, &[&site.root])?;
    let sign1 = signed::decode(cwt, MAX_AUTHORITY_LEN)?;
    let mut claims = Reader::new(sign1.verify(platform, aad.as_slice())?);
    let (mut aud, mut key, mut version) = (None, None, None);
    for _ in 0..claims.map()? {
        match claims.int()? {
            AUD => once(&mut aud, claims.bytes_exact::<8>()?)?,
            CNF => once(&mut key, full_key(&read_cnf(&mut claims)?)?)?,
            CLAIM_PLATFORM_VERSION => once(&mut version, claims.u32()?)?,
            _ => return Err(Error::WrongCredential),
        }
    }
    claims.finish()?;
    match (aud, key, version) {
        (Some(aud), Some(key), Some(version)) if aud == site.id => Ok(Authority { key, version }),
        _ => Err(Error::WrongCredential),
    }
}

/// Whom a lock believes. Everything that changes it was signed one step further up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    platform: PlatformIdentity,
    site: [u8; 8],
    authority: Option<Authority>,
}

/// Whether a certificate said anything new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Accepted {
    /// What was known already.
    Known,
    /// A higher version: store the [`Trust`] before anything rests on it.
    Newer,
}

impl Trust {
    /// What activation pinned: the platform, and through it the root.
    #[must_use]
    pub const fn new(platform: PlatformIdentity) -> Self {
        Self { platform, site: [0; 8], authority: None }
    }

    /// The platform, and the root above it.
    #[must_use]
    pub const fn platform(&self) -> &PlatformIdentity {
        &self.platform
    }

    /// The site that the lock is in.
    #[must_use]
    pub fn site(&self) -> Site {
        Site { root: self.platform.root.thumbprint(), id: self.site }
    }

    /// The authority of that site, once there is one.
    #[must_use]
    pub const fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// The platform, inside OSCORE, put the lock into `site`. Another site has other authorities and versions.
    pub fn join(&mut self, site: [u8; 8]) {
        if site != self.site {
            (self.site, self.authority) = (site, None);
        }
    }

    /// Takes a platform certificate by the pinned root.
    ///
    /// # Errors
    /// [`Error::RolledBack`] for a version below the known one, or the same with other keys; as
    /// [`verify_platform`](crate::verify_platform).
    pub fn accept_platform(&mut self, cwt: &[u8]) -> Result<Accepted, Error> {
        let offered = cwt::verify_platform(cwt, Some(&self.platform.root))?;
        let known = (self.platform == offered, self.platform.version);
        let accepted = rising(known, offered.version)?;
        self.platform = offered;
        Ok(accepted)
    }

    /// Takes a certificate of the site's authority by the platform.
    ///
    /// # Errors
    /// [`Error::RolledBack`] for a version below the known one, or the same with another key; as
    /// [`verify_authority`].
    pub fn accept_authority(&mut self, cwt: &[u8]) -> Result<Accepted, Error> {
        let offered = verify_authority(cwt, &self.site(), &self.platform.signing)?;
        let accepted = match self.authority {
            Some(known) => rising((known == offered, known.version), offered.version)?,
            None => Accepted::Newer,
        };
        self.authority = Some(offered);
        Ok(accepted)
    }

    /// As it is stored: 1 byte of format, root, platform's signing and DH key (33 bytes each), version, site, whether
    /// there is an authority, its key and version.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; TRUST_LEN] {
        let mut out = [0; TRUST_LEN];
        let mut writer = Writer::new(&mut out);
        let authority = self.authority.unwrap_or(Authority { key: self.platform.root, version: 0 });
        // The buffer is exactly as long as these are, so no step fails.
        let _ = [
            &[TRUST_FORMAT][..],
            &self.platform.root.to_compressed(),
            &self.platform.signing.to_compressed(),
            &self.platform.dh.to_compressed(),
            &self.platform.version.to_be_bytes(),
            &self.site,
            &[u8::from(self.authority.is_some())],
            &authority.key.to_compressed(),
            &authority.version.to_be_bytes(),
        ]
        .iter()
        .try_for_each(|part| writer.raw(part).map(drop));
        out
    }

    /// From storage.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::InvalidKey`]: the storage is damaged.
    pub fn from_bytes(bytes: &[u8; TRUST_LEN]) -> Result<Self, Error> {
        let mut rest = &bytes[..];
        let format = take::<1>(&mut rest)?;
        let [root, signing, dh] = [key(&mut rest)?, key(&mut rest)?, key(&mut rest)?];
        let version = u32::from_be_bytes(take(&mut rest)?);
        let site = take(&mut rest)?;
        let present = take::<1>(&mut rest)?;
        let authority = Authority { key: key(&mut rest)?, version: u32::from_be_bytes(take(&mut rest)?) };
        let authority = match (format, present) {
            ([TRUST_FORMAT], [0]) => None,
            ([TRUST_FORMAT], [1]) => Some(authority),
            _ => return Err(Error::Malformed),
        };
        Ok(Self { platform: PlatformIdentity { root, dh, signing, version }, site, authority })
    }
}

/// One version is one set of keys, and none comes back.
const fn rising((same, known): (bool, u32), offered: u32) -> Result<Accepted, Error> {
    if same {
        Ok(Accepted::Known)
    } else if offered > known {
        Ok(Accepted::Newer)
    } else {
        Err(Error::RolledBack)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (head, tail) = rest.split_first_chunk().ok_or(Error::Malformed)?;
    *rest = tail;
    Ok(*head)
}

fn key(rest: &mut &[u8]) -> Result<PublicKey, Error> {
    PublicKey::from_sec1(&take::<33>(rest)?)
}
