use std::path::PathBuf;

use cardea_framing::LockId;

/// What went wrong on the owner's side; the variant names who is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the state directory could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// No platform lives in this directory yet.
    #[error("{0} holds no platform; `cardea-platform init` makes one")]
    NotInitialised(PathBuf),
    /// A platform already lives in this directory; a second `init` would orphan every lock.
    #[error(
        "{0} already holds a platform; its owner root is what every lock has pinned, so it is not replaced"
    )]
    AlreadyInitialised(PathBuf),
    /// A key file is damaged, readable by others, or does not belong to the certificate beside it.
    #[error("key store: {path}: {why}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The holder of the platform's keys refused or is gone; what needed them was let go, not the platform.
    #[error("the platform's keys do not answer; the key store's own log line says why")]
    KeyUnavailable,
    /// Key material, an owner code or a credential was refused by the cryptography.
    #[error("cryptography: {0}")]
    Crypto(&'static str),
    /// The state database failed; nothing of the batch it belonged to happened.
    #[error("state: {0}")]
    State(String),
    /// Another process has this platform open.
    #[error("{0} is in use by another process; talk to it, or stop it first")]
    InUse(PathBuf),
    /// The broker settings cannot work.
    #[error("broker settings: {0}")]
    Config(String),
    /// The name is neither an 8-byte lock id nor a 32-byte thumbprint in hexadecimal.
    #[error("`{0}` is not a lock: give 16 hexadecimal digits (lock id) or 64 (full thumbprint)")]
    LockName(String),
    /// The lock was never enrolled here.
    #[error("lock {0} is not enrolled here; `enroll` it with its owner code first")]
    UnknownLock(LockId),
    /// Another key is already known under this id. Ids route; the first full key keeps the name.
    #[error("lock {0} is known by another key; a second key under the same id is refused")]
    SecondKey(LockId),
    /// A maker's certificate that is not accepted.
    #[error("the lock's certificate is refused: {0}")]
    Certificate(#[from] cardea_x509::Error),
    /// This platform enrolls locks by their maker's certificate only.
    #[error("lock {0} has no maker's certificate here; this platform enrolls with `--certificate` only")]
    Uncertified(LockId),
    /// The caller already waits for as many commands of this lock as are kept.
    #[error("too many commands wait for lock {0}")]
    TooMany(LockId),
    /// The lock's keys are not known before it has activated itself, and a grant names them.
    #[error("lock {0} has not activated itself yet; a grant can be issued afterwards")]
    NotActivated(LockId),
    /// The grant that is asked for makes no sense.
    #[error("{0}")]
    Terms(String),
    /// The key is on the revocation list: a grant for it would open nothing.
    #[error("the key {0} is revoked; its holder needs a new one")]
    KeyRevoked(String),
    /// No such grant was issued here.
    #[error("no grant {0} was issued here; `grant list` names them")]
    NoGrant(String),
    /// No such holder has a grant.
    #[error("no grant names the holder `{0}`; give the name or the key as `grant list` has them")]
    NoHolder(String),
    /// Several keys have this name.
    #[error("several keys are named `{name}`: {keys}; give the key")]
    ManyHolders {
        /// The name.
        name: String,
        /// Their thumbprints.
        keys: String,
    },
    /// Revoking names the key, and the key has more grants than the one that is meant.
    #[error(
        "revoking ends every grant of the key {holder}, and it has others: {others}; `holder revoke {holder}` ends them all"
    )]
    OtherGrants {
        /// Thumbprint of the key.
        holder: String,
        /// The other grants.
        others: String,
    },
    /// As many keys are revoked as a list can name.
    #[error("the revocation list is full (1,536 keys); keys leave it a day after their last grant has ended")]
    ListFull,
    /// A bundle is damaged, or its parts do not belong together.
    #[error("bundle: {0}")]
    Bundle(String),
    /// What was asked about a PIN cannot be. Never says which PIN.
    #[error("PIN: {0}")]
    Pin(&'static str),
    /// What was asked about a site cannot be.
    #[error("site: {0}")]
    Site(&'static str),
    /// The lock's log contradicted itself; see [`crate::Standing::fenced`].
    #[error("lock {0} is fenced: it is a copy, or its memory was put back; look at it, then `readmit` it")]
    Fenced(LockId),
    /// The lock was let go.
    #[error("lock {0} was released; `enroll` it again, or `readmit` it if it never took the release")]
    Released(LockId),
    /// A release that does not let this lock go.
    #[error("release: {0}")]
    Release(&'static str),
    /// Random numbers are not to be had; nothing is sent without them.
    #[error("the operating system gives no random numbers")]
    Random,
    /// The platform's task has ended.
    #[error("the platform has stopped")]
    Stopped,
}
