use crate::board::{Slot, StorageFault};

/// Why an agent cannot start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The medium failed.
    #[error("storage failed")]
    Storage,
    /// A record that only this agent writes makes no sense: the medium is damaged, or holds another product's data.
    #[error("the record in {0:?} is damaged")]
    Damaged(Slot),
    /// The identity key refused to sign, or the random source failed.
    #[error("key or random source unavailable")]
    Key,
}

impl From<StorageFault> for Error {
    fn from(_: StorageFault) -> Self {
        Self::Storage
    }
}
