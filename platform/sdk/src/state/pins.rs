//! PIN slots: what is wanted of each, and what its lock said last.

use cardea_framing::LockId;
use cardea_resources::Pin;

use crate::Error;

/// Everything about a PIN but the PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PinTerms {
    /// Whoever enters it does so under duress.
    pub duress: bool,
    /// Unix seconds before which the lock refuses it.
    pub not_before: Option<u32>,
    /// Unix seconds after which the lock refuses it.
    pub not_after: Option<u32>,
}

/// What is wanted of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinWish {
    /// Nothing was asked here; the lock reported the slot.
    Nothing,
    /// A PIN.
    Set(PinTerms),
    /// No PIN.
    Clear,
}

/// Why a wish is not sent (any more). Only a new one for the slot goes on from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinStop {
    /// Another slot of the lock has this PIN.
    Taken = 1,
    /// The lock has no such slot.
    NoSuchSlot = 2,
    /// It waited when a backup was made that has been put back since: what came after it is not known any more, and an
    /// old wish must not undo it.
    Restored = 3,
    /// The lock has taken the highest revision there is.
    Exhausted = 4,
}

/// One slot. No `Debug`: it may hold a PIN.
#[derive(Clone)]
pub struct PinRow {
    /// Which.
    pub slot: u8,
    /// See [`PinWish`].
    pub wish: PinWish,
    /// Unix milliseconds of the wish.
    pub asked: u64,
    /// Given to the wish when it is first sent; its repeats keep it.
    pub revision: Option<u32>,
    /// The digits, until the lock has confirmed them or the wish is stopped.
    pub pin: Option<Pin>,
    /// Unix milliseconds when the lock confirmed the wish.
    pub confirmed: Option<u64>,
    /// See [`PinStop`].
    pub stopped: Option<PinStop>,
    /// The revision of the PIN in the lock, as it said last; `None`: the slot is empty.
    pub reported: Option<u32>,
    /// Unix milliseconds when the lock said so; `None`: it never spoke of this slot.
    pub reported_at: Option<u64>,
}

impl PinRow {
    /// Whether the lock has still to be told.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.wish != PinWish::Nothing && self.confirmed.is_none() && self.stopped.is_none()
    }
}

/// What concerns all slots of one lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PinBook {
    /// How many slots the lock has, once it said so.
    pub capacity: Option<u8>,
    /// The highest revision that was given out here or reported by the lock.
    pub highest: u32,
    /// Unix milliseconds of the lock's last list. `None`: it must say its highest revision before the next change, as
    /// ours may lie below: a new activation, a state from a backup, a change that the lock refused.
    pub listed: Option<u64>,
}

/// The part of [`State`](crate::State) that knows of PINs; its rules hold here, too.
///
/// A PIN lies in the store in the clear from the moment it is asked for until the lock has confirmed it; it must be
/// overwritten there when it goes.
#[allow(clippy::missing_errors_doc)] // one rule for all
pub trait PinStore {
    /// Every slot of this lock of which anything is known, ascending.
    fn pins(&mut self, lock: LockId) -> Result<Vec<PinRow>, Error>;
    /// Inserts or replaces one slot.
    fn put_pin(&mut self, lock: LockId, row: &PinRow) -> Result<(), Error>;
    /// Forgets one slot.
    fn remove_pin(&mut self, lock: LockId, slot: u8) -> Result<(), Error>;
    /// What concerns all slots; the default where nothing is stored.
    fn pin_book(&mut self, lock: LockId) -> Result<PinBook, Error>;
    /// Stores it.
    fn put_pin_book(&mut self, lock: LockId, book: &PinBook) -> Result<(), Error>;
    /// Locks with a wish that [waits](PinRow::waits), and those whose stored book is not [listed](PinBook::listed).
    fn pins_waiting(&mut self) -> Result<Vec<LockId>, Error>;
}
