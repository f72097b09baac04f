//! PINs: a wish for a slot is kept until the lock has confirmed it, and sent whenever the lock can hear.
//!
//! One change of a lock is out at a time, under a revision above every earlier one of any of its slots; its repeats
//! keep the revision, because the lock takes another one for another change. Where ours may lie below the lock's (new
//! activation, state from a backup, a change that was refused) the lock lists its PINs first.

use cardea_framing::LockId;
use cardea_oscore::coap::Code;
use cardea_resources::{Pin, PinChange, PinList, PinSetting};
use zeroize::Zeroizing;

use super::{Core, Now};
use crate::{
    Ask, Error, KeyStore, Outcome, PinBook, PinReport, PinRow, PinStop, PinTerms, PinWish, PlatformEvent,
    State, pins::judge,
};

/// What one attempt may take; the next is made when the lock is heard, or after [`RETRY_MS`].
const ATTEMPT_MS: u64 = 25_000;
/// Pause after an attempt on a lock that should listen, doubled with each up to five hours.
const RETRY_MS: u64 = 300_000;
const MAX_DOUBLINGS: u32 = 6;

/// What is in memory of a lock's PINs.
#[derive(Default)]
pub(super) struct Pins {
    /// A wish may wait.
    pub(super) waiting: bool,
    /// No attempt before then, monotonic.
    pub(super) next: u64,
    /// Attempts in a row that came to nothing.
    failures: u32,
    /// The last attempt came to nothing, and `next` does not say so yet.
    failed: bool,
    /// Slot and revision of a change that the lock refused; its next list tells why.
    refused: Option<(u8, u32)>,
    /// When [`Core::drive_pins`] needs to look again, if nothing else does.
    pub(super) timer: Option<u64>,
}

impl Pins {
    /// The lock is there: whatever was tried before, now it can be told.
    pub(super) fn heard(&mut self) {
        self.next = 0;
        self.failures = 0;
    }

    /// A request of ours ended without success. A change that was refused is followed by the list at once, unless the
    /// lock goes on refusing.
    pub(super) fn ended(&mut self, ask: Ask) {
        self.failed |= match ask {
            Ask::PinChange => self.refused.is_none() || self.failures > 2,
            Ask::Pins => true,
            _ => false,
        };
    }

    fn settle_failure(&mut self, now: Now) {
        if std::mem::take(&mut self.failed) {
            self.next = now.mono.saturating_add(RETRY_MS << self.failures.min(MAX_DOUBLINGS));
            self.failures = self.failures.saturating_add(1);
        }
    }
}

impl<K: KeyStore, S: State> Core<K, S> {
    /// Wants a PIN in a slot; replaces whatever was wanted of it. It is sent when the lock can hear, however late.
    /// Belongs into a batch.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::Released`], [`Error::Pin`], [`Error::State`].
    pub fn set_pin(&mut self, now: Now, id: LockId, slot: u8, setting: &PinSetting) -> Result<(), Error> {
        let PinSetting { duress, not_before, not_after, .. } = *setting;
        if not_before.zip(not_after).is_some_and(|(from, until)| from >= until) {
            return Err(Error::Pin("its time ends before it begins"));
        }
        if not_after.is_some_and(|until| u64::from(until) <= now.unix / 1000) {
            return Err(Error::Pin("its time is over already"));
        }
        let wish = PinWish::Set(PinTerms { duress, not_before, not_after });
        self.wish(now, id, slot, wish, Some(setting.pin.clone()))
    }

    /// Wants a slot empty. As [`Self::set_pin`].
    ///
    /// # Errors
    /// As [`Self::set_pin`].
    pub fn clear_pin(&mut self, now: Now, id: LockId, slot: u8) -> Result<(), Error> {
        self.wish(now, id, slot, PinWish::Clear, None)
    }

    /// Wanted and reported PINs of a lock.
    ///
    /// # Errors
    /// [`Error::UnknownLock`], [`Error::State`].
    pub fn pins(&mut self, id: LockId) -> Result<PinReport, Error> {
        let obstacle = self.pin_obstacle(id)?;
        let (book, rows) = (self.state.pin_book(id)?, self.state.pins(id)?);
        Ok(PinReport::new(id, &book, &rows, obstacle))
    }

    fn pin_obstacle(&self, id: LockId) -> Result<Option<&'static str>, Error> {
        let Some(lock) = self.locks.get(&id) else { return Err(Error::UnknownLock(id)) };
        Ok(match self.route.best(id) {
            _ if lock.standing.fenced.is_some() => Some("the lock is fenced"),
            _ if lock.sending().is_none() => Some("there are no session keys with the lock yet"),
            None => Some("no gateway that is online reaches the lock"),
            Some((_, link)) if link.sleepy => Some("the lock sleeps; it is told when it next speaks"),
            Some(_) if lock.pins.failures > 0 => {
                Some("the lock does not answer; it is told when it next speaks")
            }
            Some(_) => None,
        })
    }

    fn wish(&mut self, now: Now, id: LockId, slot: u8, wish: PinWish, pin: Option<Pin>) -> Result<(), Error> {
        let Some(lock) = self.locks.get(&id) else { return Err(Error::UnknownLock(id)) };
        if lock.standing.released.is_some() {
            return Err(Error::Released(id));
        }
        let capacity = self.state.pin_book(id)?.capacity.map_or(PinList::MAX_SLOTS, usize::from);
        if usize::from(slot) >= capacity {
            return Err(Error::Pin("the lock has no such slot"));
        }
        // An answer to what is out would speak of the wish before.
        let open = lock.commands.iter().position(|c| c.pin().is_some_and(|(other, _)| other == slot));
        if let Some(place) = open {
            self.end_unanswered(id, place)?;
        }
        let rows = self.state.pins(id)?;
        let before = rows.iter().find(|row| row.slot == slot);
        let row = PinRow {
            slot,
            wish,
            asked: now.unix,
            revision: None,
            pin,
            confirmed: None,
            stopped: None,
            reported: before.and_then(|row| row.reported),
            reported_at: before.and_then(|row| row.reported_at),
        };
        self.state.put_pin(id, &row)?;
        if let Some(lock) = self.locks.get_mut(&id) {
            lock.pins.waiting = true;
            lock.pins.failed = false;
            lock.pins.heard();
        }
        self.advance(now, id)
    }

    /// Starts what is due for this lock's PINs, if it can hear.
    pub(super) fn drive_pins(&mut self, now: Now, id: LockId) -> Result<(), Error> {
        let hears = self.hears(now, id);
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        lock.pins.settle_failure(now);
        lock.pins.timer = None;
        let busy = lock.commands.iter().any(|c| matches!(c.ask(), Ask::Pins | Ask::PinChange));
        if !lock.pins.waiting || busy || !hears || lock.sending().is_none() || !lock.obeyed() {
            return Ok(());
        }
        if lock.pins.next > now.mono {
            lock.pins.timer = Some(lock.pins.next);
            return Ok(());
        }
        let book = self.state.pin_book(id)?;
        // Looked at where they are: rows that are moved leave their PINs behind.
        let rows = self.state.pins(id)?;
        // What was sent first: after a later change its revision would be too low.
        let first = |row: &&PinRow| (row.revision.is_none(), row.asked, row.slot);
        let due = rows.iter().filter(|row| row.waits()).min_by_key(first).cloned();
        let started = match (book.listed, due) {
            (None, _) => self.start_command(now, id, Ask::Pins, ATTEMPT_MS).map(drop),
            (Some(_), Some(row)) => self.start_pin_change(now, id, book, row),
            (Some(_), None) => {
                if let Some(lock) = self.locks.get_mut(&id) {
                    lock.pins.waiting = false;
                }
                return Ok(());
            }
        };
        match started {
            // A full queue is the caller's doing; its end brings us here again.
            Err(Error::TooMany(_)) => Ok(()),
            other => other,
        }
    }

    fn start_pin_change(
        &mut self,
        now: Now,
        id: LockId,
        mut book: PinBook,
        mut row: PinRow,
    ) -> Result<(), Error> {
        let revision = match row.revision {
            Some(revision) => revision,
            None => {
                let Some(next) = book.highest.checked_add(1) else {
                    // By what the lock says of itself; it must not cost anything but its PINs.
                    let stopped = PinRow { stopped: Some(PinStop::Exhausted), pin: None, ..row.clone() };
                    return self.update_pin(id, &row, &stopped);
                };
                book.highest = next;
                row.revision = Some(next);
                self.state.put_pin_book(id, &book)?;
                self.state.put_pin(id, &row)?;
                next
            }
        };
        let command = self.start_command(now, id, Ask::PinChange, ATTEMPT_MS)?;
        let lock = self.locks.get_mut(&id);
        if let Some(pending) = lock.and_then(|lock| lock.commands.iter_mut().find(|c| c.id() == command)) {
            pending.set_pin(row.slot, revision);
        }
        Ok(())
    }

    /// The payload of a change that is out.
    pub(super) fn compose_pin(
        &mut self,
        id: LockId,
        (slot, revision): (u8, u32),
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let gone = Error::Crypto("a PIN change that is not wanted any more");
        let rows = self.state.pins(id)?;
        let Some(row) = rows.iter().find(|row| row.slot == slot && row.revision == Some(revision)) else {
            return Err(gone);
        };
        let setting = match (row.wish, row.pin.clone()) {
            (PinWish::Set(terms), Some(pin)) => Some(PinSetting {
                pin,
                duress: terms.duress,
                not_before: terms.not_before,
                not_after: terms.not_after,
            }),
            (PinWish::Clear, _) => None,
            _ => return Err(gone),
        };
        let mut payload = Zeroizing::new(vec![0; PinChange::MAX_LEN]);
        let length = PinChange { slot, revision, setting }
            .encode(&mut payload)
            .map_err(|_| Error::Crypto("a PIN change does not fit"))?;
        payload.truncate(length);
        Ok(payload)
    }

    /// The lock answered a change.
    pub(super) fn pin_answered(
        &mut self,
        now: Now,
        id: LockId,
        (slot, revision): (u8, u32),
        code: Code,
    ) -> Result<(), Error> {
        let rows = self.state.pins(id)?;
        let Some(before) = rows.iter().find(|row| row.slot == slot && row.revision == Some(revision)) else {
            return Ok(());
        };
        let mut row = before.clone();
        match code {
            Code::CHANGED => {
                row.confirmed = Some(now.unix);
                row.reported = matches!(row.wish, PinWish::Set(_)).then_some(revision);
                row.reported_at = Some(now.unix);
                row.pin = None;
            }
            Code::CONFLICT => {
                // Too low, or a PIN that another slot has: only the list tells.
                let book = self.state.pin_book(id)?;
                self.state.put_pin_book(id, &PinBook { listed: None, ..book })?;
                if let Some(lock) = self.locks.get_mut(&id) {
                    lock.pins.refused = Some((slot, revision));
                    lock.pins.failures = lock.pins.failures.saturating_add(1);
                }
                return Ok(());
            }
            Code::BAD_REQUEST => {
                row.stopped = Some(PinStop::NoSuchSlot);
                row.pin = None;
            }
            _ => return Ok(()), // tried again
        }
        self.update_pin(id, before, &row)
    }

    /// The lock listed its PINs.
    pub(super) fn take_pin_list(&mut self, now: Now, id: LockId, list: &PinList<'_>) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        let refused = lock.pins.refused.take();
        let book = self.state.pin_book(id)?;
        let book = PinBook {
            capacity: Some(list.capacity),
            highest: book.highest.max(list.highest),
            listed: Some(now.unix),
        };
        self.state.put_pin_book(id, &book)?;
        let rows = self.state.pins(id)?;
        for before in &rows {
            let mut row = before.clone();
            row.reported = list.entries().find(|entry| entry.slot == row.slot).map(|entry| entry.revision);
            row.reported_at = Some(now.unix);
            if row.waits()
                && let Some(revision) = row.revision
            {
                let there = match row.wish {
                    PinWish::Set(_) => row.reported == Some(revision),
                    // Empty, by this change or by a later one.
                    _ => row.reported.is_none() && list.highest >= revision,
                };
                if there {
                    row.confirmed = Some(now.unix);
                    row.pin = None;
                } else if list.highest >= revision {
                    row.revision = None; // once more, above
                } else if refused == Some((row.slot, revision)) {
                    row.stopped = Some(PinStop::Taken);
                    row.pin = None;
                }
            }
            self.update_pin(id, before, &row)?;
        }
        for entry in list.entries().filter(|entry| rows.iter().all(|row| row.slot != entry.slot)) {
            let before = PinRow {
                slot: entry.slot,
                wish: PinWish::Nothing,
                asked: 0,
                revision: None,
                pin: None,
                confirmed: None,
                stopped: None,
                reported: None,
                reported_at: None,
            };
            let row =
                PinRow { reported: Some(entry.revision), reported_at: Some(now.unix), ..before.clone() };
            self.update_pin(id, &before, &row)?;
        }
        Ok(())
    }

    /// Stores a row, and tells its owner when it stands otherwise than before.
    fn update_pin(&mut self, id: LockId, before: &PinRow, row: &PinRow) -> Result<(), Error> {
        if row.wish == PinWish::Nothing && row.reported.is_none() {
            self.state.remove_pin(id, row.slot)?;
        } else {
            self.state.put_pin(id, row)?;
        }
        if before.waits()
            && !row.waits()
            && let Some(lock) = self.locks.get_mut(&id)
        {
            lock.pins.failures = 0;
        }
        let (state, why) = judge(row);
        if (state, why) != judge(before) {
            self.event(PlatformEvent::Pin { lock: id, slot: row.slot, state, why });
        }
        Ok(())
    }

    /// Another activation, or a lock whose memory was put back: what it holds is not known any more.
    pub(super) fn pins_unknown(&mut self, id: LockId) -> Result<(), Error> {
        let book = self.state.pin_book(id)?;
        if book == PinBook::default() {
            return Ok(()); // nothing was known
        }
        self.pins_unlisted(id, book)
    }

    /// A lock that was ours before a backup was put back may open to PINs that nobody here knows of.
    pub(super) fn pins_recovered(&mut self, id: LockId) -> Result<(), Error> {
        let book = self.state.pin_book(id)?;
        self.pins_unlisted(id, book)
    }

    fn pins_unlisted(&mut self, id: LockId, book: PinBook) -> Result<(), Error> {
        self.state.put_pin_book(id, &PinBook { listed: None, ..book })?;
        if let Some(lock) = self.locks.get_mut(&id) {
            lock.pins.waiting = true;
        }
        Ok(())
    }

    /// The lock is somebody else's: nothing of its PINs stays.
    pub(super) fn forget_pins(&mut self, id: LockId) -> Result<(), Error> {
        for row in self.state.pins(id)? {
            self.state.remove_pin(id, row.slot)?;
        }
        let book = self.state.pin_book(id)?;
        if book != PinBook::default() {
            // Listed, so that nobody asks; an activation makes it unknown again.
            self.state.put_pin_book(id, &PinBook { listed: Some(0), ..book })?;
        }
        Ok(())
    }
}

/// How a PIN request ended, for [`PlatformEvent::Ended`].
pub(super) fn listed(list: &PinList<'_>, ms: u64) -> Outcome {
    let used = u8::try_from(list.entries().count()).unwrap_or(u8::MAX);
    Outcome::Pins { capacity: list.capacity, used, ms }
}
