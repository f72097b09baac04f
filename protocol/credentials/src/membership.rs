//! "This key is a member of this site", signed by the site's authority, and nothing more: no right follows from it.

use crate::cbor::{Reader, Writer};
use crate::ccs::{CNF, read_cnf};
use crate::cwt::{full_key, write_cnf};
use crate::grant::{AUD, EXP};
use crate::key::once;
use crate::signed::{self, Bound, Thumbprint};
use crate::{Error, Moment, PublicKey, Sign1, Signer, Site};

/// First item of the external_aad of a membership; the owner root's thumbprint and the site id are the others.
pub const AAD_MEMBERSHIP: &str = "cardea/membership";
/// Private claim: the member's address in the site, 1 to 0xFFEF.
pub const CLAIM_ADDRESS: i64 = -65540;
/// The greatest length of a membership.
pub const MAX_MEMBERSHIP_LEN: usize = 144;

const LAST_ADDRESS: u16 = 0xffef;

/// A membership whose signature was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    member: PublicKey,
    address: u16,
    expires: u32,
    authority: Thumbprint,
}

impl Membership {
    /// The member's static Diffie-Hellman key.
    #[must_use]
    pub const fn member(&self) -> &PublicKey {
        &self.member
    }

    /// Where frames for the member go. It routes and authorises nothing.
    #[must_use]
    pub const fn address(&self) -> u16 {
        self.address
    }

    /// The first second in which it does not hold any more, Unix time.
    #[must_use]
    pub const fn expires(&self) -> u32 {
        self.expires
    }

    /// Whether whoever proved to hold the key `peer` is a member now. `revoked` is asked for the member's key and
    /// for the authority's. That he may do anything needs a grant or a policy of the platform.
    ///
    /// # Errors
    /// [`Error::WrongHolder`], [`Error::Expired`], [`Error::Revoked`].
    pub fn holds(
        &self,
        peer: &PublicKey,
        now: Moment,
        mut revoked: impl FnMut(&Thumbprint) -> bool,
    ) -> Result<(), Error> {
        if *peer != self.member {
            return Err(Error::WrongHolder);
        }
        if now.latest() >= self.expires {
            return Err(Error::Expired);
        }
        if revoked(&self.member.thumbprint()) || revoked(&self.authority) {
            return Err(Error::Revoked);
        }
        Ok(())
    }
}

/// Writes a membership until `expires` (Unix seconds), signed by the authority of `site`. Returns the length, at most
/// [`MAX_MEMBERSHIP_LEN`].
///
/// # Errors
/// [`Error::Malformed`] for an address that no member can have, [`Error::BufferTooSmall`] or the signer's.
pub fn issue_membership(
    site: &Site,
    member: &PublicKey,
    address: u16,
    expires: u32,
    authority: &dyn Signer,
    out: &mut [u8],
) -> Result<usize, Error> {
    check_address(address)?;
    let mut buffer = [0; 80];
    let mut claims = Writer::new(&mut buffer);
    claims.map(4)?.int(AUD)?.bytes(&site.id)?.int(EXP)?.int(i64::from(expires))?;
    write_cnf(&mut claims, member)?;
    claims.int(CLAIM_ADDRESS)?.int(i64::from(address))?;
    Sign1::encode(authority, None, audience(site)?.as_slice(), claims.as_slice(), out)
}

/// Verifies a membership of `site` by the key of its authority.
///
/// # Errors
/// [`Error::WrongCredential`] for another site or kind, [`Error::BadSignature`], [`Error::TooLong`], and the
/// decoders' errors.
pub fn verify_membership(cwt: &[u8], site: &Site, authority: &PublicKey) -> Result<Membership, Error> {
    let sign1 = signed::decode(cwt, MAX_MEMBERSHIP_LEN)?;
    let mut claims = Reader::new(sign1.verify(authority, audience(site)?.as_slice())?);
    let (mut aud, mut exp, mut member, mut address) = (None, None, None, None);
    for _ in 0..claims.map()? {
        match claims.int()? {
            AUD => once(&mut aud, claims.bytes_exact::<8>()?)?,
            EXP => once(&mut exp, claims.u32()?)?,
            CNF => once(&mut member, full_key(&read_cnf(&mut claims)?)?)?,
            CLAIM_ADDRESS => {
                let number = u16::try_from(claims.int()?).map_err(|_| Error::Malformed)?;
                once(&mut address, number)?;
            }
            _ => return Err(Error::WrongCredential),
        }
    }
    claims.finish()?;
    let (Some(aud), Some(expires), Some(member), Some(address)) = (aud, exp, member, address) else {
        return Err(Error::WrongCredential);
    };
    check_address(address)?;
    if aud != site.id {
        return Err(Error::WrongCredential);
    }
    Ok(Membership { member, address, expires, authority: authority.thumbprint() })
}

fn audience(site: &Site) -> Result<Bound, Error> {
    Bound::to(AAD_MEMBERSHIP, &[&site.root, &site.id])
}

const fn check_address(address: u16) -> Result<(), Error> {
    if address == 0 || address > LAST_ADDRESS { Err(Error::Malformed) } else { Ok(()) }
}
