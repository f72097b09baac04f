//! X.509 (RFC 5280) for the identity that a lock gets in the factory: its maker's certificate over its identity key.
//! Whoever buys locks can check with ordinary X.509 tools that a key belongs to a lock of that maker, and
//! [`Makers::verify`] does it for a platform.
//!
//! The profile is small: P-256, ECDSA with SHA-256, a device under a maker's CA under a maker's root, or a device
//! straight under the root. The device's subject has one serialNumber, the lock id in hexadecimal, which must fit the
//! key; what binds is the key and its COSE thumbprint (RFC 9679). Longer chains, other curves, unknown critical
//! extensions and certificates without their usages are refused.
//!
//! What it does not do: no revocation (an owner revokes by thumbprint, a maker by not answering for a key), no clock
//! (the time is passed in), no files, and nothing for a lock or a phone: they trust an owner root, never a maker, so none
//! of them needs a DER parser. That is why this is a crate of the platform's side, with an allocator.
//!
//! [`Issuer`] makes certificates with any [`Signer`], [`Makers`] verifies them.

mod certificate;
mod issue;
mod key;
mod verify;

pub use cardea_credentials::{PublicKey, Signer, SoftSigner};
pub use certificate::{MAX_CERTIFICATE, from_pem, to_pem};
pub use issue::{Issuer, Validity, make_root};
pub use key::{lock_key, private_key_from_pem, private_key_to_pem, request_key};
pub use verify::{Device, MAX_CHAIN, Makers};

/// What can go wrong with factory identities. The first group is the certificate's fault, the second the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a certificate, request or key in DER or PEM, or bytes follow it.
    #[error("not a sound DER or PEM object")]
    Malformed,
    /// A certificate, file or chain beyond our bounds.
    #[error("certificate or chain too long")]
    TooLong,
    /// A key that is not a point on P-256.
    #[error("the key is not one on P-256")]
    UnsupportedKey,
    /// Signed by another algorithm than ECDSA with SHA-256.
    #[error("not signed with ECDSA and SHA-256")]
    UnsupportedSignature,
    /// Not version 3, or an extension that occurs twice or is critical and unknown.
    #[error("a certificate of another profile, or with an unknown critical extension")]
    Profile,
    /// The issuer is no CA, or may not sign certificates.
    #[error("the issuer is not allowed to issue certificates")]
    NotAnAuthority,
    /// More CAs than the issuer's pathLenConstraint allows.
    #[error("the chain is longer than its issuer allows")]
    PathTooLong,
    /// The device's certificate is a CA's, or its key may not sign.
    #[error("not the certificate of a device")]
    NotADevice,
    /// notBefore of some certificate of the chain is ahead.
    #[error("not valid yet")]
    NotYetValid,
    /// notAfter of some certificate of the chain has passed.
    #[error("expired")]
    Expired,
    /// The next certificate, or every root that is known, has another name or key than the issuer that is named.
    #[error("issued by somebody who is not trusted here")]
    UnknownIssuer,
    /// The signature does not fit the issuer's key.
    #[error("bad signature")]
    BadSignature,
    /// The subject's serialNumber is not the lock id of the certified key.
    #[error("the name in the certificate is not the lock id of its key")]
    WrongName,

    /// An empty or long name, or one with characters that a distinguished name must escape.
    #[error("give a name of 1 to 64 letters, digits, spaces and .-_/() characters")]
    BadName,
    /// A validity that ends before it begins or that the format cannot express.
    #[error("give a validity that begins before it ends, between 1970 and 9999")]
    BadValidity,
    /// The private key is not the one that the issuer's certificate names.
    #[error("the key is not the one of the issuer's certificate")]
    WrongIssuerKey,
    /// The holder of the issuer's key refused or is gone.
    #[error("the issuer's key does not answer")]
    KeyUnavailable,
    /// The source of random bytes failed.
    #[error("random source unavailable")]
    RandomUnavailable,
}
