//! The site's authority, whom the platform certifies: what a lock believes of it, and that versions never fall.

use crate::cbor::{Reader, Writer};
use crate::ccs::{CNF, read_cnf};
use crate::cwt::{full_key, write_cnf};
use crate::grant::AUD;
use crate::key::once;
use crate::signed::{self, Bound, Thumbprint};
use crate::{CLAIM_PLATFORM_VERSION, Error, Gate, PublicKey, Sign1, Signer};

/// First item of the external_aad of a site authority's certificate; the owner root's thumbprint is the second.
pub const AAD_AUTHORITY: &str = "cardea/authority";
/// The greatest length of a site authority's certificate.
pub const MAX_AUTHORITY_LEN: usize = 140;
/// Bytes of a [`Trust`] in storage.
pub const TRUST_LEN: usize = 1 + 32 + 8 + 4 + (1 + 33 + 4);

const TRUST_FORMAT: u8 = 2;
const NO_SITE: [u8; 8] = [0; 8];

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
    Sign1::encode(platform, None, audience(site)?.as_slice(), claims.as_slice(), out)
}

/// Verifies the certificate of the authority of `site` by the platform's signing key. Whether its version may be
/// accepted is for [`Trust`] to say.
///
/// # Errors
/// [`Error::WrongCredential`] for another site or claim, [`Error::BadSignature`], and the decoders' errors.
pub fn verify_authority(cwt: &[u8], site: &Site, platform: &PublicKey) -> Result<Authority, Error> {
    let sign1 = signed::decode(cwt, MAX_AUTHORITY_LEN)?;
    read(sign1.verify(platform, audience(site)?.as_slice())?, site)
}

fn audience(site: &Site) -> Result<Bound, Error> {
    Bound::to(AAD_AUTHORITY, &[&site.root])
}

fn read(claims: &[u8], site: &Site) -> Result<Authority, Error> {
    let mut claims = Reader::new(claims);
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

/// What a lock knows of its site beside its owner: which one it is, and whose word counts there. The platform's keys are
/// the caller's, who has them from the platform's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    site: Site,
    least: u32,
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
    /// In no site yet, under the owner root with this thumbprint.
    #[must_use]
    pub const fn new(root: Thumbprint) -> Self {
        Self { site: Site { root, id: NO_SITE }, least: 0, authority: None }
    }

    /// The owner root, and the site that the lock is in.
    #[must_use]
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// Whether the platform has put the lock into a site.
    #[must_use]
    pub fn is_in_site(&self) -> bool {
        self.site.id != NO_SITE
    }

    /// The authority of that site, once there is one.
    #[must_use]
    pub const fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// The version of the authority, or the least that one must have, whichever is higher.
    #[must_use]
    pub const fn version(&self) -> u32 {
        match &self.authority {
            Some(authority) if authority.version > self.least => authority.version,
            _ => self.least,
        }
    }

    /// The platform, inside OSCORE, says that the lock is in the site `id`, where no authority below `version` counts.
    /// Another site has other authorities and versions; eight zeros are no site.
    pub fn join(&mut self, id: [u8; 8], version: u32) {
        if id != self.site.id {
            (self.site.id, self.least, self.authority) = (id, 0, None);
        }
        self.least = self.least.max(version);
        if self.authority.is_some_and(|authority| authority.version < self.least) {
            self.authority = None;
        }
    }

    /// Takes a certificate of the site's authority by `platform`, the platform's signing key, that came with `nonce` or
    /// with none, `now` milliseconds by the lock's timer.
    ///
    /// It is looked at where it is the next version, or any higher one if the lock asked. The certificate that is known
    /// is known again without a verification.
    ///
    /// # Errors
    /// Before the signature: [`Error::RolledBack`] for a version below the known one, or the same with another key;
    /// [`Error::NotAsked`] for one that is further ahead, [`Error::WrongCredential`] for another site or claim,
    /// [`Error::Busy`] above the limit. Then [`Error::BadSignature`], and the decoders' errors. Nothing has changed.
    pub fn accept_authority(
        &mut self,
        cwt: &[u8],
        nonce: Option<&[u8; 8]>,
        platform: &PublicKey,
        gate: &mut Gate,
        now: u64,
    ) -> Result<Accepted, Error> {
        let sign1 = signed::decode(cwt, MAX_AUTHORITY_LEN)?;
        let offered = read(sign1.unverified_payload(), &self.site)?;
        let asked = gate.answers(nonce, now);
        if self.authority == Some(offered) {
            return Ok(Accepted::Known);
        }
        // Without an authority, one of the least version is the next.
        let next =
            if self.authority.is_some() { self.version().checked_add(1) } else { Some(self.least.max(1)) };
        if next.is_none_or(|next| offered.version < next) {
            return Err(Error::RolledBack);
        }
        if !asked && next != Some(offered.version) {
            return Err(Error::NotAsked);
        }
        gate.admit(asked, now)?;
        sign1.verify(platform, audience(&self.site)?.as_slice())?;
        if asked {
            gate.close();
        }
        self.authority = Some(offered);
        Ok(Accepted::Newer)
    }

    /// As it is stored: 1 byte of format, the root's thumbprint, site, least version, whether there is an authority, its
    /// key (33 bytes) and version; without one these are zeros.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; TRUST_LEN] {
        let mut out = [0; TRUST_LEN];
        let mut writer = Writer::new(&mut out);
        let key = self.authority.map_or([0; 33], |authority| authority.key.to_compressed());
        let version = self.authority.map_or(0, |authority| authority.version);
        // The buffer is exactly as long as these are, so no step fails.
        let _ = [
            &[TRUST_FORMAT][..],
            &self.site.root,
            &self.site.id,
            &self.least.to_be_bytes(),
            &[u8::from(self.authority.is_some())],
            &key,
            &version.to_be_bytes(),
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
        let site = Site { root: take(&mut rest)?, id: take(&mut rest)? };
        let least = u32::from_be_bytes(take(&mut rest)?);
        let present = take::<1>(&mut rest)?;
        let (key, version) = (take::<33>(&mut rest)?, u32::from_be_bytes(take(&mut rest)?));
        let authority = match (format, present) {
            ([TRUST_FORMAT], [0]) => None,
            ([TRUST_FORMAT], [1]) => Some(Authority { key: PublicKey::from_sec1(&key)?, version }),
            _ => return Err(Error::Malformed),
        };
        Ok(Self { site, least, authority })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (head, tail) = rest.split_first_chunk().ok_or(Error::Malformed)?;
    *rest = tail;
    Ok(*head)
}
