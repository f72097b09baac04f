//! What a platform must remember, and the trait behind which it does.
//!
//! Everything here is needed for correctness, not for speed: a sequence number used twice breaks OSCORE, a
//! forgotten replay executes an event twice, a cursor ahead of the log loses entries. The session core
//! therefore writes first and speaks after [`State::commit`].

pub(crate) mod grants;
mod pins;
mod site;
mod sqlite;
mod standing;

use cardea_framing::LockId;
use zeroize::Zeroizing;

pub use grants::{GrantRow, GrantState, KnownListRow, ListRow, RevokedRow};
pub use pins::{PinBook, PinRow, PinStop, PinStore, PinTerms, PinWish};
pub use site::{AuthorityRow, NO_SITE, SiteRow, SiteStore, ToldRow};
pub use sqlite::SqliteState;
pub use standing::{LogGap, Standing, StandingStore};

/// How far a lock's ownership has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The owner code is known; the lock has not proved itself yet.
    Enrolled,
    /// Both proved the code; it stays valid for the same key until the lock's first OSCORE message.
    Activated,
    /// The lock has spoken under OSCORE; the code is burnt.
    Owned,
}

/// One lock of the registry.
#[derive(Clone)]
pub struct LockRecord {
    /// Routing id; never authorises.
    pub lock: LockId,
    /// SHA-256 thumbprint (RFC 9679) of the identity key, once it is known.
    pub thumbprint: Option<[u8; 32]>,
    /// The lock's credential (CWT bytes) as proved at activation; CRED_I of every later handshake.
    pub credential: Option<Vec<u8>>,
    /// The owner code while it is valid. Boxed: where records are moved, nothing of it stays behind.
    pub code: Option<Box<Zeroizing<[u8; 16]>>>,
    /// See [`Stage`].
    pub stage: Stage,
    /// Counts activations; log indices belong to one of them.
    pub activation: u32,
    /// Highest log index up to which every entry is stored here; `None` before the first.
    pub cursor: Option<u32>,
}

/// Where an OSCORE context stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Derived, but the lock has not used it yet: it may have missed message_4.
    Unconfirmed,
    /// The lock uses it; commands go out on it.
    Active,
    /// A newer one is active. Receive-only, for frames that still wait in outboxes.
    Old,
}

/// One OSCORE security context with a lock.
#[derive(Clone)]
pub struct ContextRecord {
    /// Row number, given by [`State::add_context`].
    pub id: i64,
    /// Whose.
    pub lock: LockId,
    /// COSE algorithm number (10 or 24).
    pub algorithm: i32,
    /// OSCORE master secret.
    pub secret: Zeroizing<Vec<u8>>,
    /// OSCORE master salt.
    pub salt: Vec<u8>,
    /// Our sender id (C_I: the lock chose it).
    pub own_id: Vec<u8>,
    /// The lock's sender id (C_R: we chose it).
    pub peer_id: Vec<u8>,
    /// See [`Phase`].
    pub phase: Phase,
    /// Sender sequence numbers below this are given out or lost.
    pub reserved: u64,
    /// Frames whose tag failed, for the cap of 2^16.
    pub failed_tags: u32,
    /// Unix milliseconds of the handshake.
    pub created: u64,
    /// Unix milliseconds since when it is [`Phase::Old`].
    pub retired: Option<u64>,
}

/// One event of a lock, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LogRow {
    /// Activation the index belongs to.
    pub activation: u32,
    /// The lock's log index; `None` for what it does not log.
    pub index: Option<u32>,
    /// What happened (`boot`, `touch`, `bolt`, …).
    pub kind: String,
    /// Meaning depends on the kind.
    pub value: Option<i64>,
    /// When, by the lock's clock, Unix seconds.
    pub at: Option<u32>,
    /// When it came here, Unix milliseconds.
    pub received: u64,
    /// Through which gateway.
    pub gateway: String,
}

/// One command, from the caller to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRow {
    /// The 4-byte id that stays the same over repeats.
    pub id: [u8; 4],
    /// For whom.
    pub lock: LockId,
    /// What was asked: see [`crate::Ask`].
    pub ask: u8,
    /// Unix milliseconds when it was asked.
    pub asked: u64,
    /// Unix milliseconds after which nothing is sent any more.
    pub deadline: u64,
    /// (context row, sequence number) of every request sent for it: what an answer may be bound to.
    pub sent: Vec<(i64, u64)>,
    /// The outcome as JSON; `None` while it is open.
    pub outcome: Option<String>,
}

/// Cumulative reception of one lock through one gateway run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenRow {
    /// The gateway run.
    pub epoch: [u8; 8],
    /// Everything up to this number is stored here.
    pub seq: u64,
    /// When this gateway last brought something of the lock, to the hour, Unix milliseconds.
    pub at: u64,
}

/// Gateways whose reception of one lock is remembered. The one that has been silent for longest gives way to a
/// new one: names are the broker clients' choice, and a refused newcomer would never be acknowledged.
pub const MAX_SEEN_GATEWAYS: usize = 16;
/// Numbers ahead of a hole that are remembered, for each gateway and lock. A gateway leaves at most 256 frames
/// unacknowledged; what a lock sends beside them (telemetry) takes the rest.
pub const MAX_AHEAD: usize = 1024;
/// Entries of one lock that contradict its log and are kept.
pub const MAX_FORKS: usize = 64;

/// What [`State::prune`] deletes: everything older than these, Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// Ended commands, by when they were asked.
    pub commands: u64,
    /// Events, by when they came.
    pub log: u64,
    /// Receptions, by when the gateway last brought something of the lock.
    pub seen: u64,
}

/// What became of a number that came before its predecessors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// Remembered. It may have been here before and been forgotten since.
    New,
    /// Remembered already: certainly a repeat.
    Known,
    /// Not remembered, because as many lower ones are. Says nothing about whether it was here before.
    Full,
}

/// What lay ahead of a hole that is closed, or given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The last number that follows without another hole.
    pub upto: u64,
    /// How many remembered numbers lay below the one that was asked for.
    pub below: u64,
}

/// What became of an event that was to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// It is new.
    New,
    /// The same is there.
    Repeat,
    /// Something else is there under its index, and stays: a lock never uses an index twice, so there are two locks
    /// with one identity, or its memory was put back. Boxed, because it is rare.
    Differs(Box<LogRow>),
}

/// The platform's memory. Synchronous; between [`State::begin`] and [`State::commit`] all changes belong
/// together, and after a commit they survive a power cut. Written so that a relational database fits:
/// every method is one or two statements, and one platform instance owns a lock at a time.
///
/// # Errors
/// Every method gives [`crate::Error::State`]; after one, the batch must be given up ([`State::rollback`]).
#[allow(missing_docs)]
#[allow(clippy::missing_errors_doc)] // one rule for all, above
pub trait State: GrantState + PinStore + SiteStore + StandingStore + Send {
    /// Opens a batch.
    fn begin(&mut self) -> Result<(), crate::Error>;
    /// Makes the batch durable. An error means that it is not.
    fn commit(&mut self) -> Result<(), crate::Error>;
    /// After a commit: makes sure that a copy of the state from before it would be noticed. Nothing may be sent
    /// before this has succeeded, because that copy would use the same sequence numbers again. Can be repeated;
    /// an error undoes nothing. Stores that cannot be put back need not do anything.
    fn settle(&mut self) -> Result<(), crate::Error> {
        Ok(())
    }
    /// Forgets the batch.
    fn rollback(&mut self) -> Result<(), crate::Error>;

    /// Every lock.
    fn locks(&mut self) -> Result<Vec<LockRecord>, crate::Error>;
    /// Inserts or replaces one lock.
    fn put_lock(&mut self, lock: &LockRecord) -> Result<(), crate::Error>;

    /// Every context.
    fn contexts(&mut self) -> Result<Vec<ContextRecord>, crate::Error>;
    /// Inserts a context; returns its row number, never used before.
    fn add_context(&mut self, context: &ContextRecord) -> Result<i64, crate::Error>;
    /// Stores phase, reservation, failed tags and retirement of a context.
    fn update_context(&mut self, context: &ContextRecord) -> Result<(), crate::Error>;
    /// Deletes a context with its replay set.
    fn remove_context(&mut self, id: i64) -> Result<(), crate::Error>;
    /// Adds `piv` to the exact replay set; false if it was in it.
    fn remember(&mut self, context: i64, piv: u64) -> Result<bool, crate::Error>;
    /// Whether `piv` is in the replay set.
    fn remembers(&mut self, context: i64, piv: u64) -> Result<bool, crate::Error>;

    /// Appends an event. What is there under its (activation, index) is never overwritten; at most [`MAX_FORKS`]
    /// different entries are kept beside it. An entry that is kept so already is a repeat.
    fn add_log(&mut self, lock: LockId, row: &LogRow) -> Result<Stored, crate::Error>;
    /// Entries of this lock that contradict its log, oldest first.
    fn forks(&mut self, lock: LockId) -> Result<Vec<LogRow>, crate::Error>;
    /// Whether this log index is there.
    fn has_log(&mut self, lock: LockId, activation: u32, index: u32) -> Result<bool, crate::Error>;
    /// The newest `limit` events, oldest first.
    fn log(&mut self, lock: LockId, limit: u32) -> Result<Vec<LogRow>, crate::Error>;

    /// Inserts or replaces a command.
    fn put_command(&mut self, command: &CommandRow) -> Result<(), crate::Error>;
    /// Commands without an outcome, oldest first.
    fn open_commands(&mut self) -> Result<Vec<CommandRow>, crate::Error>;

    /// What is held of `lock` through `gateway`.
    fn seen(&mut self, gateway: &str, lock: LockId) -> Result<Option<SeenRow>, crate::Error>;
    /// Stores it, and forgets the notes of earlier gateway runs. Keeps the [`MAX_SEEN_GATEWAYS`] gateways of this
    /// lock that were heard last, this one among them, and forgets the notes of the others.
    fn put_seen(&mut self, gateway: &str, lock: LockId, seen: &SeenRow) -> Result<(), crate::Error>;
    /// Notes a number that came before its predecessors. The lowest [`MAX_AHEAD`] are kept.
    fn note_ahead(
        &mut self,
        gateway: &str,
        lock: LockId,
        epoch: [u8; 8],
        seq: u64,
    ) -> Result<Noted, crate::Error>;
    /// Takes everything up to `seq` off the notes, and what follows it without a hole.
    fn take_ahead(
        &mut self,
        gateway: &str,
        lock: LockId,
        epoch: [u8; 8],
        seq: u64,
    ) -> Result<Taken, crate::Error>;

    /// Deletes every context and replay set: the state was restored from a backup, and its counters may lie
    /// behind what was already sent. Locks start a new handshake by themselves. Open commands end, as
    /// [`crate::Outcome::Unanswered`]: what became of them is not known any more. Wishes for PINs that wait are stopped
    /// ([`PinStop::Restored`]), and every lock must list its PINs before the next.
    fn discard_contexts(&mut self) -> Result<u64, crate::Error>;
    /// Deletes closed commands, events and receptions older than these, Unix milliseconds.
    fn prune(&mut self, before: Before) -> Result<(), crate::Error>;
}
