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
    /// Random numbers are not to be had; nothing is sent without them.
    #[error("the operating system gives no random numbers")]
    Random,
    /// The platform's task has ended.
    #[error("the platform has stopped")]
    Stopped,
}
