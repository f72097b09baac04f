//! PIN slots as people see them: wanted, reported, and why the two differ.

use cardea_framing::LockId;
use serde::Serialize;

use crate::{PinBook, PinRow, PinStop, PinWish, event::lock_hex};

/// How a slot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PinState {
    /// The lock has the PIN that is wanted.
    InForce,
    /// The lock has none, as is wanted.
    Empty,
    /// The lock has still to be told. That has no time limit.
    Waiting,
    /// Wanted and reported differ, and only a new wish mends it.
    Conflict,
}

/// One slot of a lock. Never says which PIN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PinSlot {
    /// Which.
    pub slot: u8,
    /// `set`, `clear`, or `nothing` where the lock reported what nobody asked for here.
    pub wanted: &'static str,
    /// The PIN that is wanted is for duress.
    pub duress: bool,
    /// Unix seconds before which it is refused.
    pub not_before: Option<u32>,
    /// Unix seconds after which it is refused.
    pub not_after: Option<u32>,
    /// When it was wanted, Unix milliseconds.
    pub asked: Option<u64>,
    /// Whether the lock has a PIN there, as it said last; `None`: it has not spoken of the slot.
    pub reported: Option<bool>,
    /// When the lock said so, Unix milliseconds.
    pub reported_at: Option<u64>,
    /// See [`PinState`].
    pub state: PinState,
    /// What is waited for, or what differs.
    pub why: Option<&'static str>,
}

/// The PIN slots of one lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PinReport {
    /// Which lock.
    #[serde(serialize_with = "lock_hex")]
    pub lock: LockId,
    /// How many slots it has, once it said so.
    pub capacity: Option<u8>,
    /// When it last listed them, Unix milliseconds.
    pub listed: Option<u64>,
    /// Every slot of which anything is known, ascending.
    pub slots: Vec<PinSlot>,
}

impl PinReport {
    /// `obstacle`: what keeps the lock from being told anything now.
    pub(crate) fn new(lock: LockId, book: &PinBook, rows: &[PinRow], obstacle: Option<&'static str>) -> Self {
        let slots = rows.iter().map(|row| PinSlot::new(row, obstacle)).collect();
        Self { lock, capacity: book.capacity, listed: book.listed, slots }
    }
}

impl PinSlot {
    fn new(row: &PinRow, obstacle: Option<&'static str>) -> Self {
        let (state, why) = judge(row);
        let why = match state {
            PinState::Waiting => Some(obstacle.unwrap_or(match row.revision {
                Some(_) => "sent, and not answered yet",
                None => "another request to the lock goes first",
            })),
            _ => why,
        };
        let (wanted, terms) = match row.wish {
            PinWish::Nothing => ("nothing", None),
            PinWish::Set(terms) => ("set", Some(terms)),
            PinWish::Clear => ("clear", None),
        };
        Self {
            slot: row.slot,
            wanted,
            duress: terms.is_some_and(|terms| terms.duress),
            not_before: terms.and_then(|terms| terms.not_before),
            not_after: terms.and_then(|terms| terms.not_after),
            asked: (row.wish != PinWish::Nothing).then_some(row.asked),
            reported: row.reported_at.map(|_| row.reported.is_some()),
            reported_at: row.reported_at,
            state,
            why,
        }
    }
}

/// What a row comes to, and what is wrong with it.
pub(crate) fn judge(row: &PinRow) -> (PinState, Option<&'static str>) {
    if let Some(stop) = row.stopped {
        return (
            PinState::Conflict,
            Some(match stop {
                PinStop::Taken => "another slot of the lock has this PIN; choose another one",
                PinStop::Exhausted => "the lock has used up its revisions; only an owner reset helps",
                PinStop::NoSuchSlot => "the lock has no such slot",
                PinStop::Restored => {
                    "it waited when the backup was made that has been put back, and what came after is not known; ask again"
                }
            }),
        );
    }
    if row.waits() {
        return (PinState::Waiting, None);
    }
    let differs = |why| (PinState::Conflict, Some(why));
    match (row.wish, row.reported) {
        (PinWish::Set(_), Some(reported)) if row.revision == Some(reported) => (PinState::InForce, None),
        (PinWish::Set(_), Some(_)) => differs("the lock has another PIN there, which was not set from here"),
        (PinWish::Set(_), None) => differs("the lock does not have it any more; set it again"),
        (PinWish::Nothing | PinWish::Clear, None) => (PinState::Empty, None),
        (PinWish::Nothing | PinWish::Clear, Some(_)) => {
            differs("the lock has a PIN there that was not set from here; clear it, or set another one")
        }
    }
}
