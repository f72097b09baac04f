//! EDHOC (RFC 9528): two parties who know each other's credentials, or carry them along, agree on keys in three
//! messages and confirm them in a fourth. [`Initiator`] and [`Responder`] are the two ends.
//!
//! Always there: cipher suite 2, method 3 (static Diffie-Hellman on both sides), credentials by `kid`, CCS, CWT and
//! X.509 (`x5t`, `x5chain`), message_4, EAD with critical items, error messages, EDHOC_Exporter, EDHOC_KeyUpdate,
//! the connection identifiers' prefixes of RFC 9528 A.2 ([`correlation`]), and a limit on new handshakes
//! ([`Admission`]). By feature, so that a lock pays flash for what it uses: `signatures` (methods 0 to 2), `suite4`,
//! `suite5`. Suites 0, 1 and 3 exist only under `vector-suites`, for other people's vectors; no product of ours
//! offers them. The private-use and FIPS suites (24, 25, 6) are left out.
//!
//! What it does not do: no input or output, no clock, no random numbers (an ephemeral key is passed in), no
//! retransmission and no lookup of credentials. The caller finds the credential that a peer names and decides
//! whether it is welcome; that the peer holds its key is decided here. A peer that presents the caller's own
//! credential must be refused by that lookup (RFC 9528 §9.2).
//!
//! `no_std`, no allocator. Decoders accept deterministic CBOR only, refuse trailing bytes and read no length that is
//! not there. When a message of the peer fails, the session is over and its keys are erased, as the RFC demands; a
//! call out of order or into a buffer that is too small changes nothing.
#![no_std]

#[cfg(test)]
extern crate std;

mod admission;
mod auth;
pub mod correlation;
mod ead;
mod error_message;
mod ident;
mod initiator;
mod messages;
mod responder;
mod schedule;
mod session;
mod suite;
#[cfg(test)]
mod tests;

pub use admission::{Admission, AdmissionConfig, Refused};
pub use auth::{AuthKey, EphemeralKey, PeerKey};
pub use ead::{EAD_PADDING, Ead, Eads, MAX_EADS};
pub use error_message::ErrorMessage;
pub use ident::{ConnId, IdCred, MAX_CONN_ID, X5chain};
pub use initiator::{Initiator, InitiatorConfig};
pub use messages::Peer;
pub use responder::{Message1, Responder, ResponderConfig};
pub use session::OscoreKeys;
pub use suite::{Method, Suite};

/// A buffer of this size holds every message and every plaintext that a host meets: the longest is a message with a
/// chain of two X.509 certificates, a signature and EAD items. Buffers are the callers'; a lock that speaks `kid` and
/// CWT needs 300 bytes.
pub const MAX_MESSAGE: usize = 1_536;

/// Everything that can go wrong here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The peer's message is not the CBOR that was expected, or bytes follow it.
    #[error("malformed message")]
    Malformed,
    /// The peer's CBOR is valid but not deterministic.
    #[error("non-deterministic CBOR")]
    NonDeterministic,
    /// A message, plaintext or list beyond our bounds.
    #[error("message too long")]
    TooLong,
    /// The peer's METHOD is unknown or not allowed.
    #[error("unsupported method")]
    UnsupportedMethod,
    /// The peer selected a suite that we do not accept, or not the first of its list that we accept.
    #[error("wrong selected cipher suite")]
    WrongSuite,
    /// The peer's ephemeral key has the wrong length or is no point on the curve.
    #[error("invalid public key")]
    InvalidKey,
    /// A connection or credential identifier that is not in its only allowed form.
    #[error("bad identifier")]
    BadIdentifier,
    /// C_I and C_R are equal, which OSCORE cannot use (RFC 9528 A.1).
    #[error("both connection identifiers are the same")]
    SameIdentifier,
    /// The peer sent a critical EAD item that the application does not know.
    #[error("unknown critical EAD item")]
    CriticalEad,
    /// The peer names its credential in a way that we do not support.
    #[error("unsupported credential type")]
    UnsupportedCredential,
    /// No credential fits the peer's `ID_CRED`. Never returned here: callers use it for [`ErrorMessage::answering`].
    #[error("unknown credential")]
    UnknownCredential,
    /// The MAC is wrong: the peer does not hold the key of its credential, or saw another transcript.
    #[error("authentication failed")]
    Authentication,
    /// The AEAD refused the ciphertext.
    #[error("decryption failed")]
    Decryption,
    /// The peer sent an error message with this ERR_CODE; [`ErrorMessage::decode`] reads all of it.
    #[error("peer sent error {0}")]
    PeerError(i32),
    /// The call does not fit the state: a duplicate, a message too early, or a session that is over.
    #[error("message out of order")]
    WrongOrder,
    /// The caller's output buffer is too small.
    #[error("output buffer too small")]
    BufferTooSmall,
    /// The caller's own key does not do what METHOD and suite ask of it: sign or agree, on that curve.
    #[error("own key does not fit method or suite")]
    WrongKey,
    /// The holder of the authentication key refused or is gone.
    #[error("private key unavailable")]
    KeyUnavailable,
    /// The source of random bytes failed.
    #[error("random source unavailable")]
    RandomUnavailable,
}

impl Error {
    /// Whether the session ends with this error: everything that the peer caused except a message out of order.
    #[must_use]
    pub const fn ends_session(&self) -> bool {
        !matches!(
            self,
            Self::WrongOrder
                | Self::BufferTooSmall
                | Self::WrongKey
                | Self::KeyUnavailable
                | Self::RandomUnavailable
        )
    }
}

impl From<cardea_credentials::cbor::Error> for Error {
    fn from(error: cardea_credentials::cbor::Error) -> Self {
        cardea_credentials::Error::from(error).into()
    }
}

impl From<cardea_credentials::Error> for Error {
    fn from(error: cardea_credentials::Error) -> Self {
        use cardea_credentials::Error as Of;
        match error {
            Of::NonDeterministic => Self::NonDeterministic,
            Of::TooLong => Self::TooLong,
            Of::InvalidKey => Self::InvalidKey,
            Of::UnsupportedKey => Self::UnsupportedCredential,
            Of::BufferTooSmall => Self::BufferTooSmall,
            Of::KeyUnavailable => Self::KeyUnavailable,
            Of::RandomUnavailable => Self::RandomUnavailable,
            _ => Self::Malformed,
        }
    }
}
