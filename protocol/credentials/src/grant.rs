//! Grants: a key may do something at one lock for some time, signed by the lock's platform.
//!
//! A grant is an untagged CWT, so its bytes serve as CRED_I of EDHOC (`kcwt`): the key in `cnf` is the holder's
//! static Diffie-Hellman key. That somebody sent a grant means nothing; [`verify_grant`] makes a [`Grant`] of it, and
//! [`Grant::permits`] still wants the key that EDHOC proved, the right that is needed, the time, and the revocation
//! lists. No id, address, `kid` or subject occurs in that decision. `docs/protocol.md` has the layout.
//!
//! A grant may name a second key of its holder, with which he may pass on part of it. Signing and key agreement have
//! separate keys; a holder whose grant names none can delegate nothing.

use sha2::{Digest, Sha256};

use crate::cbor::{Reader, Writer};
use crate::ccs::{CNF, read_cnf};
use crate::cwt::{full_key, write_cnf};
use crate::key::once;
use crate::signed::{self, Bound, Thumbprint};
use crate::{Error, Moment, PublicKey, Scope, Sign1, Signer, Weekly};

/// First item of the external_aad of a grant by the platform; the lock's thumbprint is the second.
pub const AAD_GRANT: &str = "cardea/grant";
/// First item of the external_aad of a grant by a holder; the lock's thumbprint and the SHA-256 of the claims of the
/// grant above it are the others.
pub const AAD_DELEGATED_GRANT: &str = "cardea/delegated-grant";

/// Private claim: the key with which the holder may delegate (33 bytes, SEC1 compressed).
pub const CLAIM_DELEGATE: i64 = -65539;

/// The greatest length of a grant that cannot be delegated.
pub const MAX_GRANT_LEN: usize = 160;
/// The greatest length of a grant that can: it names a second key.
pub const MAX_DELEGABLE_GRANT_LEN: usize = 200;
/// The longest chain: a grant by the platform and two delegations.
pub const MAX_GRANT_CHAIN: usize = 3;

/// Label of the EAD_3 item with the grants above a delegated one, critical: a CBOR sequence (RFC 8742) of one or two,
/// the platform's first.
pub const EAD_GRANTS_ABOVE: i32 = -65539;
/// The greatest length of such a sequence.
pub const MAX_GRANTS_ABOVE_LEN: usize = (MAX_GRANT_CHAIN - 1) * MAX_DELEGABLE_GRANT_LEN;

pub(crate) const AUD: i64 = 3;
pub(crate) const EXP: i64 = 4;
const NBF: i64 = 5;
const CTI: i64 = 7;
const SCOPE: i64 = 9;

const SINGLE_USE: u8 = 1;
const WEEKLY: u8 = 1 << 1;

/// What is granted: every dimension that a chain may only narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Thumbprint of the identity key of the one lock that this is for.
    pub lock: Thumbprint,
    /// The static Diffie-Hellman key that this is for.
    pub holder: PublicKey,
    /// The rights.
    pub scope: Scope,
    /// The first second in which they hold, Unix time.
    pub not_before: u32,
    /// The first second in which they do not hold any more, Unix time.
    pub expires: u32,
    /// Whether they can be used once only.
    pub single_use: bool,
    /// The hours of the week in which they hold; all of them without.
    pub window: Option<Weekly>,
    /// The signing key with which the holder may pass on part of this; none without. Never the key `holder`.
    pub delegate: Option<PublicKey>,
}

impl Terms {
    /// A grant says something, or it is a mistake: a right, a time, two keys for two purposes, and one use is the
    /// holder's own.
    fn check(&self) -> Result<(), Error> {
        let sound = !self.scope.is_empty()
            && self.not_before < self.expires
            && self.delegate != Some(self.holder)
            && !(self.single_use && self.delegate.is_some());
        if sound { Ok(()) } else { Err(Error::Malformed) }
    }
}

/// The terms of `child` where a holder of `parent` may grant them: the one place that says what narrowing is.
///
/// # Errors
/// [`Error::Widens`] where `parent` may not be delegated, or `child` is for another lock, has another right, begins
/// earlier, ends later, or holds at another hour.
pub fn narrow(parent: &Terms, child: &Terms) -> Result<Terms, Error> {
    let may_delegate = parent.delegate.is_some() && !parent.single_use;
    let same_lock = child.lock == parent.lock;
    let rights = child.scope.is_within(parent.scope);
    let life = child.not_before >= parent.not_before && child.expires <= parent.expires;
    let hours = match (parent.window, child.window) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(parent), Some(child)) => child.is_within(parent),
    };
    if may_delegate && same_lock && rights && life && hours { Ok(*child) } else { Err(Error::Widens) }
}

/// A grant whose signatures, all the way up to the platform's, were verified. It still decides nothing before
/// [`Self::permits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    terms: Terms,
    id: [u8; 8],
    origin: [u8; 8],
    use_id: [u8; 8],
    claims_digest: [u8; 32],
    /// Thumbprints of all keys that this rests on, the holder's first.
    keys: [Thumbprint; 2 * MAX_GRANT_CHAIN],
    keys_len: usize,
    links: usize,
}

/// What [`Grant::permits`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Permit {
    /// Go on.
    Granted,
    /// Go on once `use_id` is durably noted as used, and not at all where it was noted before. The note may be
    /// forgotten when `until` (Unix seconds) has passed.
    Once {
        /// Names this grant among those that can be used once.
        use_id: [u8; 8],
        /// When the grant expires.
        until: u32,
    },
}

impl Grant {
    /// What is granted.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The `cti`. Whoever issued the grant chose it, a holder that of one he passes on too.
    #[must_use]
    pub const fn id(&self) -> [u8; 8] {
        self.id
    }

    /// The `cti` of the platform's grant that this is, or that this was passed on from: names it in logs. A holder who
    /// passes on cannot choose it, and so cannot have a log name somebody else.
    #[must_use]
    pub const fn origin(&self) -> [u8; 8] {
        self.origin
    }

    /// How many grants the chain has, this one included: 1 to [`MAX_GRANT_CHAIN`].
    #[must_use]
    pub const fn links(&self) -> usize {
        self.links
    }

    /// The thumbprints of all keys that this rests on below the platform's: the holder's, and those of the holders
    /// before him. If one of them is revoked, the grant is void.
    pub fn keys(&self) -> impl Iterator<Item = &Thumbprint> {
        self.keys.iter().take(self.keys_len)
    }

    /// Whether whoever proved to hold the key `peer` may now do what needs the right `needed`. `revoked` is asked
    /// for every key of the chain; let it look in the platform's list and in the site's.
    ///
    /// # Errors
    /// [`Error::WrongHolder`], [`Error::OutOfScope`], [`Error::NotYetValid`], [`Error::Expired`],
    /// [`Error::OutsideHours`], [`Error::Revoked`]; a time that is not surely inside counts as outside.
    pub fn permits(
        &self,
        peer: &PublicKey,
        needed: Scope,
        now: Moment,
        mut revoked: impl FnMut(&Thumbprint) -> bool,
    ) -> Result<Permit, Error> {
        if *peer != self.terms.holder {
            return Err(Error::WrongHolder);
        }
        let permit = self.rights().permit(needed, now)?;
        if self.keys().any(&mut revoked) {
            return Err(Error::Revoked);
        }
        Ok(permit)
    }

    /// What is left to judge for each request once the holder's key is proved: for those who keep a session and not
    /// the grant. Revocation is still theirs to ask, for all [`Self::keys`].
    #[must_use]
    pub const fn rights(&self) -> Rights {
        let Terms { scope, not_before, expires, single_use, window, .. } = self.terms;
        let use_id = if single_use { Some(self.use_id) } else { None };
        Rights { scope, not_before, expires, window, use_id }
    }
}

/// What a grant allows its holder, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    scope: Scope,
    not_before: u32,
    expires: u32,
    window: Option<Weekly>,
    use_id: Option<[u8; 8]>,
}

impl Rights {
    /// The rights, at some time.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether they hold now for what needs the right `needed`.
    ///
    /// # Errors
    /// [`Error::OutOfScope`], [`Error::NotYetValid`], [`Error::Expired`], [`Error::OutsideHours`]; a time that is not
    /// surely inside counts as outside.
    pub fn permit(&self, needed: Scope, now: Moment) -> Result<Permit, Error> {
        if !self.scope.allows(needed) {
            return Err(Error::OutOfScope);
        }
        if now.earliest() < self.not_before {
            return Err(Error::NotYetValid);
        }
        if now.latest() >= self.expires {
            return Err(Error::Expired);
        }
        if self.window.is_some_and(|window| !now.is_within(window)) {
            return Err(Error::OutsideHours);
        }
        let until = self.expires;
        Ok(self.use_id.map_or(Permit::Granted, |use_id| Permit::Once { use_id, until }))
    }
}

/// Writes a grant by the platform. `id` becomes the `cti`; a platform gives each grant another one. Returns the
/// length: at most [`MAX_GRANT_LEN`], or [`MAX_DELEGABLE_GRANT_LEN`] where it may be delegated.
///
/// # Errors
/// [`Error::Malformed`] for terms without a right or a time, for a delegate key that is the holder's, and for a single
/// use that could be delegated; [`Error::BufferTooSmall`] or the signer's.
pub fn issue_grant(
    terms: &Terms,
    id: &[u8; 8],
    platform: &dyn Signer,
    out: &mut [u8],
) -> Result<usize, Error> {
    sign(terms, id, platform, &Bound::to(AAD_GRANT, &[&terms.lock])?, out)
}

/// Writes a grant by the holder of `parent`, signed with the delegate key that `parent` names. Returns the length.
///
/// # Errors
/// As [`issue_grant`]; [`Error::Widens`] as [`narrow`]; [`Error::WrongHolder`] where `delegate` is not that key;
/// [`Error::TooLong`] where the chain would be longer than [`MAX_GRANT_CHAIN`].
pub fn delegate_grant(
    parent: &Grant,
    terms: &Terms,
    id: &[u8; 8],
    delegate: &dyn Signer,
    out: &mut [u8],
) -> Result<usize, Error> {
    if parent.links >= MAX_GRANT_CHAIN {
        return Err(Error::TooLong);
    }
    let terms = narrow(&parent.terms, terms)?;
    if parent.terms.delegate != Some(delegate.public()) {
        return Err(Error::WrongHolder);
    }
    sign(&terms, id, delegate, &delegation(parent)?, out)
}

/// Verifies a grant for the lock with the thumbprint `lock`, by the signing key of its platform.
///
/// # Errors
/// [`Error::WrongCredential`] for another lock's or another kind of CWT, [`Error::BadSignature`] also for another
/// type of message, [`Error::TooLong`], and the decoders' errors.
#[inline(never)]
pub fn verify_grant(cwt: &[u8], lock: &Thumbprint, platform: &PublicKey) -> Result<Grant, Error> {
    let claims = Claims::verified(cwt, lock, platform, &Bound::to(AAD_GRANT, &[lock])?)?;
    Ok(claims.into_grant(platform, None))
}

/// Verifies a grant that the holder of `parent` has signed.
///
/// # Errors
/// As [`verify_grant`]; [`Error::Widens`] as [`narrow`]; [`Error::TooLong`] where the chain would be longer than
/// [`MAX_GRANT_CHAIN`].
pub fn verify_delegated_grant(cwt: &[u8], parent: &Grant) -> Result<Grant, Error> {
    if parent.links >= MAX_GRANT_CHAIN {
        return Err(Error::TooLong);
    }
    let delegate = parent.terms.delegate.ok_or(Error::Widens)?;
    let mut claims = Claims::verified(cwt, &parent.terms.lock, &delegate, &delegation(parent)?)?;
    claims.terms = narrow(&parent.terms, &claims.terms)?;
    Ok(claims.into_grant(&delegate, Some(parent)))
}

/// Verifies a grant and the grants `above` it, a CBOR sequence with the platform's first; an empty one where the grant
/// is the platform's own. `admit` is asked before each verification but the last, so that a chain that somebody made up
/// costs no more than it may: from the top down, nothing is verified below a link that is not genuine.
///
/// # Errors
/// As [`verify_grant`] and [`verify_delegated_grant`]; [`Error::TooLong`] for more than [`MAX_GRANTS_ABOVE_LEN`] bytes;
/// what `admit` gave.
pub fn verify_grant_chain(
    cwt: &[u8],
    above: &[u8],
    lock: &Thumbprint,
    platform: &PublicKey,
    mut admit: impl FnMut() -> Result<(), Error>,
) -> Result<Grant, Error> {
    if above.len() > MAX_GRANTS_ABOVE_LEN {
        return Err(Error::TooLong);
    }
    let mut above = Reader::new(above);
    let mut parent: Option<Grant> = None;
    let link = |cwt: &[u8], parent: Option<Grant>| match parent {
        None => verify_grant(cwt, lock, platform),
        Some(parent) => verify_delegated_grant(cwt, &parent),
    };
    while !above.is_empty() {
        let cwt = above.item()?;
        if parent.is_some_and(|parent| parent.links + 1 >= MAX_GRANT_CHAIN) {
            return Err(Error::TooLong);
        }
        admit()?;
        parent = Some(link(cwt, parent)?);
    }
    link(cwt, parent)
}

/// Signed for one parent: what it says, not its bytes, whose signature and unprotected header others could change.
fn delegation(parent: &Grant) -> Result<Bound, Error> {
    Bound::to(AAD_DELEGATED_GRANT, &[&parent.terms.lock, &parent.claims_digest])
}

fn sign(
    terms: &Terms,
    id: &[u8; 8],
    signer: &dyn Signer,
    aad: &Bound,
    out: &mut [u8],
) -> Result<usize, Error> {
    terms.check()?;
    let mut buffer = [0; 144];
    let mut claims = Writer::new(&mut buffer);
    claims.map(6 + usize::from(terms.delegate.is_some()))?;
    claims.int(AUD)?.bytes(&signed::short(&terms.lock))?;
    claims.int(EXP)?.int(i64::from(terms.expires))?;
    claims.int(NBF)?.int(i64::from(terms.not_before))?;
    claims.int(CTI)?.bytes(id)?;
    write_cnf(&mut claims, &terms.holder)?;
    let [high, low] = terms.scope.bits().to_be_bytes();
    let single = if terms.single_use { SINGLE_USE } else { 0 };
    claims.int(SCOPE)?;
    match terms.window.map(Weekly::to_bytes) {
        None => claims.bytes(&[high, low, single])?,
        Some([days, from, quarters]) => claims.bytes(&[high, low, single | WEEKLY, days, from, quarters])?,
    };
    if let Some(delegate) = terms.delegate {
        claims.int(CLAIM_DELEGATE)?.bytes(&delegate.to_compressed())?;
    }
    Sign1::encode(signer, None, aad.as_slice(), claims.as_slice(), out)
}

/// One link, whose signature was verified.
struct Claims {
    terms: Terms,
    id: [u8; 8],
    digest: [u8; 32],
}

impl Claims {
    fn verified(cwt: &[u8], lock: &Thumbprint, issuer: &PublicKey, aad: &Bound) -> Result<Self, Error> {
        let sign1 = signed::decode(cwt, MAX_DELEGABLE_GRANT_LEN)?;
        let payload = sign1.verify(issuer, aad.as_slice())?;
        let mut claims = Reader::new(payload);
        let (mut aud, mut exp, mut nbf, mut cti) = (None, None, None, None);
        let (mut holder, mut scope, mut delegate) = (None, None, None);
        for _ in 0..claims.map()? {
            match claims.int()? {
                AUD => once(&mut aud, claims.bytes_exact()?)?,
                EXP => once(&mut exp, claims.u32()?)?,
                NBF => once(&mut nbf, claims.u32()?)?,
                CTI => once(&mut cti, claims.bytes_exact()?)?,
                CNF => once(&mut holder, full_key(&read_cnf(&mut claims)?)?)?,
                SCOPE => once(&mut scope, read_scope(claims.bytes()?)?)?,
                CLAIM_DELEGATE => once(&mut delegate, PublicKey::from_sec1(claims.bytes()?)?)?,
                _ => return Err(Error::WrongCredential), // it may be a restriction, or a name
            }
        }
        claims.finish()?;
        let (Some(aud), Some(expires), Some(not_before)) = (aud, exp, nbf) else {
            return Err(Error::WrongCredential);
        };
        let (Some(id), Some(holder), Some((scope, single_use, window))) = (cti, holder, scope) else {
            return Err(Error::WrongCredential);
        };
        if aud != signed::short(lock) {
            return Err(Error::WrongCredential);
        }
        let lock = *lock;
        let terms = Terms { lock, holder, scope, not_before, expires, single_use, window, delegate };
        terms.check()?;
        Ok(Self { terms, id, digest: Sha256::digest(payload).into() })
    }

    fn into_grant(self, issuer: &PublicKey, parent: Option<&Grant>) -> Grant {
        let own = [Some(self.terms.holder), self.terms.delegate];
        let own = own.iter().flatten().map(PublicKey::thumbprint);
        let mut keys = [[0; 32]; 2 * MAX_GRANT_CHAIN];
        let mut keys_len = 0;
        for (slot, key) in keys.iter_mut().zip(own.chain(parent.into_iter().flat_map(Grant::keys).copied())) {
            *slot = key;
            keys_len += 1;
        }
        // Others choose their ids too; with the issuer's key in it, nobody uses up a grant that he did not issue.
        let use_id = Sha256::new().chain_update(issuer.thumbprint()).chain_update(self.id).finalize();
        let use_id = signed::short(&use_id.into());
        let origin = parent.map_or(self.id, |parent| parent.origin);
        let links = parent.map_or(1, |parent| parent.links + 1);
        let claims_digest = self.digest;
        Grant { terms: self.terms, id: self.id, origin, use_id, claims_digest, keys, keys_len, links }
    }
}

/// Rights, then what restricts them. A restriction that we do not know refuses the grant.
fn read_scope(bytes: &[u8]) -> Result<(Scope, bool, Option<Weekly>), Error> {
    let (high, low, conditions, window) = match *bytes {
        [high, low, conditions] if conditions & !SINGLE_USE == 0 => (high, low, conditions, None),
        [high, low, conditions, days, from, quarters] if conditions & !SINGLE_USE == WEEKLY => {
            (high, low, conditions, Some(Weekly::new(days, from, quarters)?))
        }
        _ => return Err(Error::Malformed),
    };
    Ok((Scope::from_bits(u16::from_be_bytes([high, low])), conditions & SINGLE_USE != 0, window))
}
