//! Revocation: the platform's list, which is whole in every epoch and overrides every issuer, and the site's, which only
//! adds. `intake.rs` has the rules by which a lock takes them.

use crate::cbor::{Reader, Writer};
use crate::key::once;
use crate::signed::{self, Bound, Thumbprint};
use crate::{Error, PublicKey, Sign1, Signer, Site};

/// First item of the external_aad of a page of the platform's list; the owner root's thumbprint is the second.
pub const AAD_REVOCATIONS: &str = "cardea/revocations";
/// First item of the external_aad of a site's addition; the owner root's thumbprint and the site id are the others.
pub const AAD_SITE_REVOCATIONS: &str = "cardea/site-revocations";
/// Thumbprints on a page.
pub const PAGE_THUMBPRINTS: usize = 24;
/// Pages of a list, at most.
pub const MAX_PAGES: u8 = 64;
/// The greatest length of a page or an addition.
pub const MAX_PAGE_LEN: usize = 866;

const EPOCH: i64 = 1;
const AT: i64 = 2;
const PAGE: i64 = 3;
const PAGES: i64 = 4;
const KEYS: i64 = 5;
const VERSION: i64 = 6;
const COUNTER: i64 = 7;

const MAX_KEYS: usize = PAGE_THUMBPRINTS * 32;
const MAX_PAYLOAD: usize = 800;
/// `Sig_structure` of the longest page.
const SCRATCH: usize = 912;

/// One page of the platform's list. The list of an epoch names every revoked key, in ascending order; all pages but the
/// last are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// Rises by one with every list.
    pub epoch: u32,
    /// When the list was made, in Unix seconds by the platform's clock; the same on all its pages.
    pub at: u32,
    /// Which page, from 0.
    pub page: u8,
    /// How many pages the list has: 1 to [`MAX_PAGES`].
    pub pages: u8,
    keys: &'a [u8],
}

/// What the authority of a site adds to the site's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addition<'a> {
    /// The version of the authority, as the platform signed it.
    pub version: u32,
    /// Rises by one with every addition under one version, from 1.
    pub counter: u32,
    keys: &'a [u8],
}

impl<'a> Page<'a> {
    /// Signs one page. Of a list that is longer than [`PAGE_THUMBPRINTS`] the caller gives that many a page, sorted.
    /// Returns the length, at most [`MAX_PAGE_LEN`].
    ///
    /// # Errors
    /// [`Error::Malformed`] for thumbprints that do not ascend, a page beyond `pages`, one that is not full before the
    /// last, or an empty one that is not the only one; [`Error::BufferTooSmall`] or the signer's.
    pub fn sign(
        (epoch, at): (u32, u32),
        (page, pages): (u8, u8),
        thumbprints: &[Thumbprint],
        root: &Thumbprint,
        platform: &dyn Signer,
        out: &mut [u8],
    ) -> Result<usize, Error> {
        Page { epoch, at, page, pages, keys: thumbprints.as_flattened() }.check()?;
        let mut buffer = [0; MAX_PAYLOAD];
        let mut payload = Writer::new(&mut buffer);
        payload.map(5)?.int(EPOCH)?.int(i64::from(epoch))?.int(AT)?.int(i64::from(at))?;
        payload.int(PAGE)?.int(i64::from(page))?.int(PAGES)?.int(i64::from(pages))?;
        payload.int(KEYS)?.bytes(thumbprints.as_flattened())?;
        let aad = Bound::to(AAD_REVOCATIONS, &[root])?;
        Sign1::encode_in(&mut [0; SCRATCH], platform, None, aad.as_slice(), payload.as_slice(), out)
    }

    /// Verifies a page by the signing key of the platform of the owner root `root`.
    ///
    /// # Errors
    /// [`Error::BadSignature`], [`Error::TooLong`], and the decoders' errors.
    pub fn verify(message: &'a [u8], root: &Thumbprint, platform: &PublicKey) -> Result<Self, Error> {
        let (page, sign1) = Self::unverified(message)?;
        Self::check_signature(&sign1, root, platform)?;
        Ok(page)
    }

    /// What a page claims, for the cheap checks before its signature.
    pub(crate) fn unverified(message: &'a [u8]) -> Result<(Self, Sign1<'a>), Error> {
        let sign1 = signed::decode(message, MAX_PAGE_LEN)?;
        let mut payload = Reader::new(sign1.unverified_payload());
        let (mut epoch, mut at, mut page, mut pages, mut keys) = (None, None, None, None, None);
        for _ in 0..payload.map()? {
            match payload.int()? {
                EPOCH => once(&mut epoch, payload.u32()?)?,
                AT => once(&mut at, payload.u32()?)?,
                PAGE => once(&mut page, small(&mut payload)?)?,
                PAGES => once(&mut pages, small(&mut payload)?)?,
                KEYS => once(&mut keys, payload.bytes()?)?,
                _ => return Err(Error::Malformed),
            }
        }
        payload.finish()?;
        let (Some(epoch), Some(at), Some(page), Some(pages), Some(keys)) = (epoch, at, page, pages, keys)
        else {
            return Err(Error::Malformed);
        };
        let page = Self { epoch, at, page, pages, keys };
        page.check()?;
        Ok((page, sign1))
    }

    pub(crate) fn check_signature(
        sign1: &Sign1<'_>,
        root: &Thumbprint,
        platform: &PublicKey,
    ) -> Result<(), Error> {
        let aad = Bound::to(AAD_REVOCATIONS, &[root])?;
        sign1.verify_within(SCRATCH, platform, aad.as_slice()).map(drop)
    }

    /// The thumbprints, ascending.
    pub fn thumbprints(&self) -> impl Iterator<Item = &'a Thumbprint> + use<'a> {
        self.keys.as_chunks().0.iter()
    }

    /// Whether no page follows.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.page + 1 == self.pages // `check` has bounded both
    }

    fn check(&self) -> Result<(), Error> {
        check_keys(self.keys)?;
        let place = self.pages >= 1 && self.pages <= MAX_PAGES && self.page < self.pages;
        let full = self.keys.len() == MAX_KEYS;
        let filled = if place && self.is_last() { !self.keys.is_empty() || self.pages == 1 } else { full };
        if place && filled { Ok(()) } else { Err(Error::Malformed) }
    }
}

impl<'a> Addition<'a> {
    /// Signs an addition of 1 to [`PAGE_THUMBPRINTS`] thumbprints, sorted. Returns the length, at most
    /// [`MAX_PAGE_LEN`].
    ///
    /// # Errors
    /// [`Error::Malformed`] for none, for thumbprints that do not ascend, and for counter 0;
    /// [`Error::BufferTooSmall`] or the signer's.
    pub fn sign(
        (version, counter): (u32, u32),
        thumbprints: &[Thumbprint],
        site: &Site,
        authority: &dyn Signer,
        out: &mut [u8],
    ) -> Result<usize, Error> {
        Addition { version, counter, keys: thumbprints.as_flattened() }.check()?;
        let mut buffer = [0; MAX_PAYLOAD];
        let mut payload = Writer::new(&mut buffer);
        payload.map(3)?.int(KEYS)?.bytes(thumbprints.as_flattened())?;
        payload.int(VERSION)?.int(i64::from(version))?.int(COUNTER)?.int(i64::from(counter))?;
        let aad = Bound::to(AAD_SITE_REVOCATIONS, &[&site.root, &site.id])?;
        Sign1::encode_in(&mut [0; SCRATCH], authority, None, aad.as_slice(), payload.as_slice(), out)
    }

    /// Verifies an addition by the key of the authority of `site`.
    ///
    /// # Errors
    /// [`Error::BadSignature`], [`Error::TooLong`], and the decoders' errors.
    pub fn verify(message: &'a [u8], site: &Site, authority: &PublicKey) -> Result<Self, Error> {
        let (addition, sign1) = Self::unverified(message)?;
        Self::check_signature(&sign1, site, authority)?;
        Ok(addition)
    }

    pub(crate) fn unverified(message: &'a [u8]) -> Result<(Self, Sign1<'a>), Error> {
        let sign1 = signed::decode(message, MAX_PAGE_LEN)?;
        let mut payload = Reader::new(sign1.unverified_payload());
        let (mut version, mut counter, mut keys) = (None, None, None);
        for _ in 0..payload.map()? {
            match payload.int()? {
                KEYS => once(&mut keys, payload.bytes()?)?,
                VERSION => once(&mut version, payload.u32()?)?,
                COUNTER => once(&mut counter, payload.u32()?)?,
                _ => return Err(Error::Malformed),
            }
        }
        payload.finish()?;
        let (Some(version), Some(counter), Some(keys)) = (version, counter, keys) else {
            return Err(Error::Malformed);
        };
        let addition = Self { version, counter, keys };
        addition.check()?;
        Ok((addition, sign1))
    }

    pub(crate) fn check_signature(
        sign1: &Sign1<'_>,
        site: &Site,
        authority: &PublicKey,
    ) -> Result<(), Error> {
        let aad = Bound::to(AAD_SITE_REVOCATIONS, &[&site.root, &site.id])?;
        sign1.verify_within(SCRATCH, authority, aad.as_slice()).map(drop)
    }

    /// The thumbprints, ascending.
    pub fn thumbprints(&self) -> impl Iterator<Item = &'a Thumbprint> + use<'a> {
        self.keys.as_chunks().0.iter()
    }

    fn check(&self) -> Result<(), Error> {
        check_keys(self.keys)?;
        if self.keys.is_empty() || self.counter == 0 { Err(Error::Malformed) } else { Ok(()) }
    }
}

fn check_keys(keys: &[u8]) -> Result<(), Error> {
    let (thumbprints, rest) = keys.as_chunks::<32>();
    let sound = rest.is_empty() && keys.len() <= MAX_KEYS && thumbprints.is_sorted_by(|a, b| a < b);
    if sound { Ok(()) } else { Err(Error::Malformed) }
}

fn small(reader: &mut Reader<'_>) -> Result<u8, Error> {
    u8::try_from(reader.int()?).map_err(|_| Error::Malformed)
}
