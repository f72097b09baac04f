//! What the store keeps for the relay, and the words between the two.

use bytes::Bytes;
use cardea_envelope::{MessageId, ResultState};
use cardea_framing::{Class, LockId};
use cardea_radio::Quality;

/// One admitted lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRecord {
    /// Routing id.
    pub lock: LockId,
    /// Name of its radio.
    pub radio: String,
}

/// A site address, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRecord {
    /// 1 to 0xEFFF.
    pub address: u16,
    /// The lock that has it; `None`: nobody any more.
    pub lock: Option<LockId>,
    /// Since when nobody has it, Unix milliseconds; 0 where that is not known, or somebody has it.
    pub freed: u64,
}

/// One datagram on its way up.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Place in the outbox; rises over all locks, so it is also the order of each lock.
    pub row: u64,
    /// Who sent it.
    pub lock: LockId,
    /// Queueing class from its header byte.
    pub class: Class,
    /// Uplink id.
    pub id: MessageId,
    /// The datagram, header byte included.
    pub data: Bytes,
    /// Where, when and how well it was heard.
    pub meta: RowMeta,
}

/// Reception of a [`Row`].
#[derive(Debug, Clone, PartialEq)]
pub struct RowMeta {
    /// Name of the radio.
    pub radio: String,
    /// Link quality.
    pub quality: Quality,
    /// Unix milliseconds.
    pub at: u64,
    /// Whether that clock could be believed.
    pub synced: bool,
}

/// What a row counts against the outbox bounds beside its data, bytes.
pub(crate) const ROW_OVERHEAD: u64 = 64;

impl Row {
    /// What this row counts against the outbox bounds, bytes.
    #[must_use]
    pub fn weight(&self) -> u64 {
        Self::weight_of(self.data.len())
    }

    /// What a row with so much data counts against the outbox bounds, bytes.
    #[must_use]
    pub fn weight_of(data: usize) -> u64 {
        ROW_OVERHEAD.saturating_add(u64::try_from(data).unwrap_or(u64::MAX))
    }
}

/// Frames of one lock and class that had to be dropped and of which the platform must learn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Identifies this gap over repeats: taken from the first dropped row.
    pub id: MessageId,
    /// Whose frames.
    pub lock: LockId,
    /// Of which class.
    pub class: Class,
    /// How many.
    pub frames: u64,
    /// Reception of the first, Unix milliseconds.
    pub first: u64,
    /// Reception of the last, Unix milliseconds.
    pub last: u64,
}

impl Gap {
    /// Counts another gap of the same lock and class into this one, which keeps its id.
    pub fn merge(&mut self, other: &Self) {
        self.frames = self.frames.saturating_add(other.frames);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// One downlink that was accepted or refused; its id is remembered until `not_after` and until the broker
/// has its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownRecord {
    /// The downlink's id.
    pub id: MessageId,
    /// Receiver.
    pub lock: LockId,
    /// Unix milliseconds after which it must not go on the air.
    pub not_after: u64,
    /// How far it came when last written: `Queued` or its last state, which is a terminal one or, where the lock
    /// gives no receipt, `Sent`.
    pub state: ResultState,
    /// Why, for `Refused` and `Failed`.
    pub reason: Option<String>,
    /// Unix milliseconds of that state.
    pub at: u64,
    /// The datagram, header byte included; empty once the state is the last.
    pub data: Bytes,
    /// The broker has the last state.
    pub told: bool,
}

/// One durable change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Keep a datagram.
    InsertRow(Row),
    /// Forget a datagram: it is in better hands.
    DeleteRow(u64),
    /// Drop a datagram that the broker will never take, and remember the gap.
    DropRow(u64),
    /// Drop the oldest rows of the lowest class, of one lock or of all, until `bytes` (by [`Row::weight`])
    /// are free or nothing is left, and remember the gaps. Answered in [`StoreReply::Committed`]'s `shed`.
    Shed {
        /// `None` is every lock.
        lock: Option<LockId>,
        /// How much to free.
        bytes: u64,
        /// How much more to free at the same time, but of the last class that had to be touched only.
        spare: u64,
    },
    /// Remember a gap of frames that never reached the store; merged with one of the same lock and class.
    InsertGap(Gap),
    /// The broker has this gap, if it has not grown since.
    DeleteGap(Gap),
    /// Keep an admitted lock.
    PutLock(LockRecord),
    /// Forget a lock.
    DeleteLock(LockId),
    /// Keep whose an address is.
    PutAddress(AddressRecord),
    /// Keep a downlink, or its last state.
    PutDown(DownRecord),
    /// Forget a downlink.
    DeleteDown(MessageId),
}

/// What the relay asks of the store.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreOp {
    /// Make all changes durable, all or none. Answered by `Committed` or `Failed` with the ticket; writes are
    /// applied in the order in which they are given.
    Write {
        /// Returned in the answer.
        ticket: u64,
        /// False: nobody waits for it, so it may be grouped for longer.
        urgent: bool,
        /// The changes.
        changes: Vec<Change>,
    },
    /// Read rows of one lock, in order, with `after < row <= through`. Answered by [`StoreReply::Page`].
    Page {
        /// Whose rows.
        lock: LockId,
        /// Exclusive lower bound.
        after: u64,
        /// Inclusive upper bound.
        through: u64,
        /// At most so many.
        limit: u32,
    },
}

/// Rows that a [`Change::Shed`] or [`Change::DropRow`] dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shed {
    /// Which row.
    pub row: u64,
    /// Whose.
    pub lock: LockId,
    /// Of which class.
    pub class: Class,
    /// Its [`Row::weight`].
    pub weight: u64,
}

/// What the store answers.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreReply {
    /// These writes are durable.
    Committed {
        /// Their tickets.
        tickets: Vec<u64>,
        /// What was dropped on the way.
        shed: Vec<Shed>,
        /// The gaps that grew by it, as they now are.
        gaps: Vec<Gap>,
    },
    /// These writes did not happen.
    Failed {
        /// Their tickets.
        tickets: Vec<u64>,
        /// Why.
        failure: Failure,
    },
    /// The answer to [`StoreOp::Page`].
    Page {
        /// Whose rows.
        lock: LockId,
        /// As asked.
        after: u64,
        /// As asked. What is behind it was not looked for.
        through: u64,
        /// As asked; fewer rows than this means that there are no more up to `through`.
        limit: u32,
        /// `Err`: they could not be read.
        rows: Result<Vec<Row>, Failure>,
    },
}

/// Why the store could not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What to do about it.
    pub kind: FailureKind,
    /// For the operator.
    pub detail: String,
}

/// What kind of trouble the store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No space is left.
    Full,
    /// The disk does not obey.
    Io,
    /// The database file is damaged.
    Corrupt,
    /// The store is behind; the same write may succeed later.
    Busy,
}

/// What the store held when it was opened.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// The registry.
    pub locks: Vec<LockRecord>,
    /// Site addresses.
    pub addresses: Vec<AddressRecord>,
    /// Locks with rows in the outbox.
    pub backlog: Vec<Backlog>,
    /// Gaps that the broker has not acknowledged.
    pub gaps: Vec<Gap>,
    /// Downlinks and their states.
    pub downs: Vec<DownRecord>,
}

/// One lock's rows at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// Whose.
    pub lock: LockId,
    /// Rows of each class, by the class's number.
    pub rows: [u32; 4],
    /// Sum of [`Row::weight`].
    pub weight: u64,
    /// Highest row.
    pub last: u64,
    /// Uplink ids of its newest rows (at most 8), newest last: datagrams that the lock may send again.
    pub recent: Vec<MessageId>,
}
