//! Keys and what is said about them: COSE keys and thumbprints (RFC 9052, RFC 9679), unsigned claim sets (CCS) and
//! signed ones (CWT, RFC 8392) on P-256, the owner code that activates a lock, grants and what narrows them, and the
//! signed messages of a site: membership, revocation, time, records, remote verbs. Each type is signed with a label and
//! an audience of its own.
//!
//! What it does not do: it holds no session keys, draws no random numbers and reads no clock (both are passed in),
//! speaks no X.509 and keeps nothing: lists and used grants are stored by the caller. It is `no_std` without an
//! allocator, and every decoder is bounded, refuses trailing bytes and accepts deterministic CBOR only.
//!
//! Start at [`PublicKey`]; [`Signer`] and [`Agreement`] are the private halves. [`verify_grant_chain`], [`Intake`] and
//! [`Trust`] are what a lock decides with.
#![no_std]

#[cfg(test)]
extern crate std;

mod authority;
mod ccs;
mod cwt;
mod es256;
mod gate;
mod grant;
mod intake;
mod key;
mod membership;
#[cfg(feature = "okp")]
pub mod okp;
mod owner_code;
mod record;
mod revocation;
mod scope;
mod sign1;
mod signed;
mod signer;
mod site;
mod site_message;
mod successor;
mod time_token;
mod verb;

pub use authority::{
    AAD_AUTHORITY, Accepted, Authority, MAX_AUTHORITY_LEN, Site, TRUST_LEN, Trust, issue_authority,
    verify_authority,
};
pub use ccs::{Ccs, decode_ccs, encode_ccs};
pub use cwt::{
    CLAIM_PLATFORM_SIGNING, CLAIM_PLATFORM_VERSION, LOCK_CWT_LEN, LockIdentity, MAX_PLATFORM_CWT_LEN,
    PlatformIdentity, issue_lock_identity, issue_platform, verify_lock_identity, verify_platform,
};
pub use gate::{ASK_LIFE_MS, GATE_PERIOD_MS, GATE_UNASKED, GATE_VERIFICATIONS, Gate};
pub use grant::{
    AAD_DELEGATED_GRANT, AAD_GRANT, CLAIM_DELEGATE, EAD_GRANTS_ABOVE, Grant, MAX_DELEGABLE_GRANT_LEN,
    MAX_GRANT_CHAIN, MAX_GRANT_LEN, MAX_GRANTS_ABOVE_LEN, Permit, Rights, Terms, delegate_grant, issue_grant,
    narrow, verify_delegated_grant, verify_grant, verify_grant_chain,
};
pub use intake::{Intake, LISTS_LEN, Lists, Progress};
pub use key::{CoseKey, PublicKey, YForm};
pub use membership::{
    AAD_MEMBERSHIP, CLAIM_ADDRESS, MAX_MEMBERSHIP_LEN, Membership, issue_membership, verify_membership,
};
pub use owner_code::{
    ACTIVATION_MAC_LEN, EAD_ACTIVATION_3, EAD_ACTIVATION_4, OwnerCode, RevealedCode, activation_mac,
    verify_activation_mac,
};
pub use record::{
    AAD_ACTIVATION_RECORD, AAD_RELEASE_RECORD, ActivationRecord, MAX_ACTIVATION_RECORD_LEN,
    MAX_RELEASE_RECORD_LEN, Release, Releaser, Witness,
};
pub use revocation::{
    AAD_REVOCATIONS, AAD_SITE_REVOCATIONS, Addition, MAX_PAGE_LEN, MAX_PAGES, PAGE_THUMBPRINTS, Page,
};
pub use scope::{Moment, Scope, Weekly};
pub use sign1::{MAX_SIG_STRUCTURE, Sign1};
pub use signed::Thumbprint;
pub use signer::{
    Agreement, MAX_GATHERED, SharedSecret, Signer, SoftAgreement, SoftSigner, verify, verify_parts,
};
pub use site::{
    AAD_ACTIVATION_STATUS, Activation, ActivationStatus, MAX_ACTIVATION_STATUS_LEN, MAX_AUDIENCE,
};
pub use site_message::{MAX_QUESTION_LEN, Question, SITE_MESSAGE_OVERHEAD, SiteKind, SiteMessage};
pub use successor::Successor;
pub use time_token::{AAD_TIME, MAX_TIME_TOKEN_LEN, issue_time_token, verify_time_token};
pub use verb::{AAD_VERB, MAX_VERB, MAX_VERB_AHEAD_S, MAX_VERB_LEN, VERB_WINDOW, Verb, VerbWindow};

pub use cardea_cbor as cbor;

/// Where random bytes come from: the caller knows whether that is a chip, an OS or a test's seed.
pub trait Random {
    /// Fills `out` with bytes that nobody can predict.
    ///
    /// # Errors
    /// [`Error::RandomUnavailable`]; then nothing may be made from `out`.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error>;
}

/// Everything that can go wrong here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not the CBOR structure that was expected, or bytes follow it.
    #[error("malformed credential")]
    Malformed,
    /// CBOR that is valid but not deterministic (RFC 8949 §4.2.1).
    #[error("non-deterministic CBOR")]
    NonDeterministic,
    /// More than this profile allows for.
    #[error("credential too long")]
    TooLong,
    /// Not a point on the curve, or one of small order, or not a scalar below the group order.
    #[error("invalid key")]
    InvalidKey,
    /// A COSE_Key or `cnf` of a type, curve or form that we do not use.
    #[error("unsupported key type")]
    UnsupportedKey,
    /// The protected header names no algorithm or another one than ES256.
    #[error("unsupported signature algorithm")]
    UnsupportedAlgorithm,
    /// A COSE header parameter that we do not know.
    #[error("unsupported header parameter")]
    UnsupportedHeader,
    /// The signature does not fit the key, the content or the audience.
    #[error("bad signature")]
    BadSignature,
    /// A sound CWT of another kind.
    #[error("credential of the wrong kind")]
    WrongCredential,
    /// A platform certified by another root than the pinned one.
    #[error("certified by another root")]
    UntrustedRoot,
    /// A delegated grant that says more than the one above it.
    #[error("grant exceeds the one it rests on")]
    Widens,
    /// A grant for another key than the one that was proved.
    #[error("grant for another holder")]
    WrongHolder,
    /// A grant that does not include the right that is needed.
    #[error("right not granted")]
    OutOfScope,
    /// A grant whose time has not surely begun.
    #[error("not valid yet")]
    NotYetValid,
    /// A grant or membership whose time is perhaps over.
    #[error("expired")]
    Expired,
    /// A grant that holds at other hours.
    #[error("outside the hours of the grant")]
    OutsideHours,
    /// A key that a revocation list names.
    #[error("revoked")]
    Revoked,
    /// A version, epoch or counter that was passed already, or comes a second time.
    #[error("older than what is known")]
    RolledBack,
    /// Nobody asked for this, and it is not the next either.
    #[error("not asked for")]
    NotAsked,
    /// Nobody is known who could have signed this.
    #[error("no authority known")]
    Untrusted,
    /// More than is looked at in this time.
    #[error("too much at once")]
    Busy,
    /// The caller does not know the time well enough to decide.
    #[error("time not known")]
    TimeUnknown,
    /// The activation MAC does not fit the owner code.
    #[error("wrong owner code")]
    WrongCode,
    /// The typed owner code has a foreign or missing character, or fails its check.
    #[error("owner code mistyped")]
    CodeMistyped,
    /// The caller's output buffer is too small.
    #[error("output buffer too small")]
    BufferTooSmall,
    /// The holder of a private key refused or is gone.
    #[error("private key unavailable")]
    KeyUnavailable,
    /// The source of random bytes failed.
    #[error("random source unavailable")]
    RandomUnavailable,
}

impl From<cardea_cbor::Error> for Error {
    fn from(error: cardea_cbor::Error) -> Self {
        use cardea_cbor::Error as Of;
        match error {
            Of::Truncated | Of::Malformed => Self::Malformed,
            Of::NonDeterministic => Self::NonDeterministic,
            Of::BufferTooSmall => Self::BufferTooSmall,
        }
    }
}
