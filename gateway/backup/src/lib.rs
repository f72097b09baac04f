//! Backup files of a gateway: encrypted with age, written whole or not at all.
//!
//! [`seal`] encrypts to [`To`] recipients or a passphrase, [`open`] decrypts; the format is age-encryption.org/v1, so `age`
//! and `rage` read and write the same files. [`write()`] and [`read`] are the file, [`Passphrase`] is where one comes from.
//! What is inside is the caller's matter.
//!
//! It belongs into a command that an operator runs and not into the daemon: a passphrase is stretched by scrypt, which takes
//! 64 MiB here, and 256 for a file that `age` wrote. What it does not do: plugins, SSH keys, post-quantum recipients.

mod envelope;
mod file;
mod passphrase;

use std::io;
use std::path::PathBuf;

pub use envelope::{
    Identities, Recipient, To, With, is_encrypted, open, open_within, seal, wants_passphrase,
};
pub use file::{read, write};
pub use passphrase::Passphrase;

/// Why there is no file, or nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system's.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// There is a file of that name already.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The file, or what is in it, is longer than the caller wants.
    #[error("more than {0} bytes")]
    TooLong(usize),
    /// Not the text of a recipient.
    #[error("{0:?} is not a recipient: `age1` and 58 characters, as `age-keygen` prints it")]
    Recipient(String),
    /// A file without recipients could be read by nobody.
    #[error("there is no recipient")]
    NoRecipient,
    /// Not a file of identities; its text is not repeated.
    #[error("not a file of identities: lines that begin with AGE-SECRET-KEY-1, as `age-keygen` writes them")]
    Identity,
    /// Whoever has the file may try passphrases for as long as they like.
    #[error("a passphrase has at least {} characters", passphrase::SHORTEST)]
    Short,
    /// The two that were typed differ.
    #[error("that was not the same passphrase twice")]
    Differ,
    /// Whoever was asked pressed the interrupt key.
    #[error("interrupted")]
    Interrupted,
    /// Not an age file.
    #[error("this is no age file, or it is damaged")]
    Form,
    /// The file is encrypted to recipients.
    #[error("the file is encrypted to recipients, and wants the identity of one of them")]
    WantsIdentity,
    /// The file is encrypted with a passphrase.
    #[error("the file is encrypted with a passphrase")]
    WantsPassphrase,
    /// Another passphrase or identity.
    #[error("the file does not open with this passphrase or identity")]
    WrongKey,
    /// Its passphrase is stretched for longer than a gateway has memory for.
    #[error(
        "the passphrase of this file is stretched by scrypt with 2^{0}, more than is done here (2^18): decrypt it with `age` \
         elsewhere"
    )]
    ExcessiveWork(u8),
    /// No random bytes.
    #[error("the system's random source: {0}")]
    Random(String),
}
