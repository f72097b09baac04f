//! A lock's log: entries come as events or in pages, in any order and more than once, and are kept once under their
//! index. What is missing is fetched; what the lock has lost is a gap, and what contradicts is a fork, both told aloud.

use cardea_framing::LockId;
use cardea_resources::{Event, EventKind, LogPage};

use super::{Core, Now, lock::Challenge};
use crate::{
    Ask, Entry, Error, KeyStore, LogGap, LogRow, PlatformEvent, State, Stored,
    event::{call, entry_words, kind_name},
};

impl<K: KeyStore, S: State> Core<K, S> {
    #[allow(clippy::too_many_arguments)] // one call, and a struct for it would only rename the arguments
    pub(super) fn handle_event(
        &mut self,
        now: Now,
        gateway: &str,
        id: LockId,
        row: i64,
        old: bool,
        age: u64,
        event: &Event,
    ) -> Result<(), Error> {
        let life = self.config.challenge_ms.saturating_sub(self.config.challenge_margin_ms);
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        let until = now.mono.saturating_add(life.saturating_sub(age));
        if !old && age < life {
            lock.challenge = Some(Challenge { value: event.challenge, context: row, until });
            lock.awake_until = until;
            lock.pins.heard();
            lock.told.heard();
        }
        lock.push.heard(now.mono);
        let kind = kind_name(event.kind);
        let entry = LogRow {
            activation: lock.record.activation,
            index: event.log,
            kind: kind.clone(),
            value: event.value.map(i64::from),
            at: event.at,
            received: now.unix,
            gateway: gateway.into(),
        };
        let keeps = event.log.is_some() || !matches!(event.kind, EventKind::Heartbeat | EventKind::Touch);
        let fresh = !keeps || self.store(now, id, &entry)?;
        let hole = match event.log {
            Some(index) => self.advance_cursor(id, index)?,
            // What is logged otherwise found no room: the log is full, and only fetching it makes room.
            None => !matches!(event.kind, EventKind::Boot | EventKind::Touch | EventKind::Heartbeat),
        };
        // A lock repeats an entry until it sees the cursor; its owner hears of it once.
        if fresh {
            let value = self.said(id, event.kind, event.value)?;
            self.event(PlatformEvent::Lock {
                lock: id,
                gateway: gateway.into(),
                kind,
                value,
                log: event.log,
                at: event.at,
                received: now.unix,
            });
            let entry = Entry { log: event.log, at: event.at, received: now.unix };
            self.staged_events.extend(call(id, event.kind, event.value, entry));
        }
        if hole {
            self.fetch_log(now, id)?;
        }
        // Commands that waited for the lock to wake go before the answer to what woke it.
        self.advance(now, id)
    }

    /// Stores an entry; true if it is new. The lock itself speaks here, so whatever contradicts the log is told
    /// aloud: a copied lock, or one whose memory was put back, counts its entries anew.
    fn store(&mut self, now: Now, id: LockId, row: &LogRow) -> Result<bool, Error> {
        let kept = match self.state.add_log(id, row)? {
            Stored::New => return Ok(true),
            Stored::Repeat => return Ok(false),
            Stored::Differs(kept) => kept,
        };
        self.counters.forks += 1;
        tracing::error!(lock = %id, index = row.index, kept = kept.kind, came = row.kind, "two entries under one log index");
        self.event(PlatformEvent::Forked {
            lock: id,
            gateway: row.gateway.clone(),
            log: row.index,
            kept: entry_words(&kept),
            came: entry_words(row),
        });
        self.fence(now, id)?;
        Ok(false)
    }

    /// Moves the cursor over what is stored without a hole; true if there is one before `index`.
    fn advance_cursor(&mut self, id: LockId, index: u32) -> Result<bool, Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(false) };
        let before = lock.record.cursor.unwrap_or(0);
        let mut cursor = before;
        while cursor <= index && self.state.has_log(id, lock.record.activation, cursor)? {
            cursor = cursor.saturating_add(1);
        }
        // Entries that came ahead of a hole may continue behind it.
        while cursor > index && self.state.has_log(id, lock.record.activation, cursor)? {
            cursor = cursor.saturating_add(1);
        }
        if cursor != before {
            lock.record.cursor = Some(cursor);
            self.state.put_lock(&lock.record)?;
        }
        Ok(cursor <= index)
    }

    /// Stores a page of the lock's own log. The lock is the authority: what lies between the cursor and the end of
    /// its page and is not on it, it has lost. Returns how many entries were new, and whether to ask for the next page.
    pub(super) fn store_page(
        &mut self,
        now: Now,
        id: LockId,
        page: &LogPage<'_>,
    ) -> Result<(u32, bool), Error> {
        let mut new = 0_u32;
        let mut last = None;
        let mut events = Vec::new();
        let Some(activation) = self.locks.get(&id).map(|lock| lock.record.activation) else {
            return Ok((0, false));
        };
        for entry in page.entries() {
            last = Some(entry.index);
            let kind = kind_name(entry.kind);
            let row = LogRow {
                activation,
                index: Some(entry.index),
                kind: kind.clone(),
                value: entry.value.map(i64::from),
                at: entry.at,
                received: now.unix,
                gateway: String::new(),
            };
            if self.store(now, id, &row)? {
                new = new.saturating_add(1);
                let value = self.said(id, entry.kind, entry.value)?;
                events.push(PlatformEvent::Lock {
                    lock: id,
                    gateway: String::new(),
                    kind,
                    value,
                    log: Some(entry.index),
                    at: entry.at,
                    received: now.unix,
                });
                let place = Entry { log: Some(entry.index), at: entry.at, received: now.unix };
                events.extend(call(id, entry.kind, entry.value, place));
            }
        }
        self.staged_events.extend(events);
        let Some(lock) = self.locks.get(&id) else { return Ok((0, false)) };
        if lock.standing.fenced.is_some() {
            // Two logs under one count: no cursor fits both.
            return Ok((new, false));
        }
        let upto = last.map_or(page.end, |index| index.saturating_add(1));
        let before = lock.record.cursor.unwrap_or(0);
        if page.end < before {
            return self.fork_of_counts(now, id, page.end, before).map(|()| (new, false));
        }
        let mut cursor = before.max(upto);
        while self.state.has_log(id, activation, cursor)? {
            cursor = cursor.saturating_add(1);
        }
        if cursor != before {
            self.note_gaps(now, id, activation, before, cursor)?;
            let Some(lock) = self.locks.get_mut(&id) else { return Ok((new, false)) };
            lock.record.cursor = Some(cursor);
            self.state.put_lock(&lock.record)?;
        }
        // A page that moved nothing would come again.
        Ok((new, cursor < page.end && cursor > before))
    }

    /// What the cursor is moved over and is not stored will not come any more.
    fn note_gaps(
        &mut self,
        now: Now,
        id: LockId,
        activation: u32,
        from: u32,
        upto: u32,
    ) -> Result<(), Error> {
        let mut at = from;
        while at < upto {
            // A lock's count rises by a few thousand a year; a lock that claims more ends the search, not the platform.
            let stored = self.state.next_log(id, activation, at)?.unwrap_or(upto).min(upto);
            if stored > at {
                let gap = LogGap { activation, first: at, last: stored.saturating_sub(1), noticed: now.unix };
                self.state.add_log_gap(id, &gap)?;
                self.event(PlatformEvent::LogGap { lock: id, first: gap.first, last: gap.last });
            }
            at = stored;
            while at < upto && self.state.has_log(id, activation, at)? {
                at = at.saturating_add(1);
            }
        }
        Ok(())
    }

    /// The lock's log ends before what it has said already.
    fn fork_of_counts(&mut self, now: Now, id: LockId, end: u32, before: u32) -> Result<(), Error> {
        self.counters.forks += 1;
        tracing::error!(lock = %id, end, before, "a log that ends before entries that are stored");
        self.event(PlatformEvent::Forked {
            lock: id,
            gateway: String::new(),
            log: Some(end),
            kept: format!("entries below {before}"),
            came: format!("a log that ends before entry {end}"),
        });
        self.fence(now, id)
    }

    /// Asks the lock for entries that are missing here, now and then.
    pub(super) fn fetch_log(&mut self, now: Now, id: LockId) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        if now.mono < lock.next_fetch || lock.commands.iter().any(|c| c.ask() == Ask::Log) {
            return Ok(());
        }
        lock.next_fetch = now.mono.saturating_add(10_000);
        match self.start_command(now, id, Ask::Log, 60_000) {
            // A full queue is the caller's doing; the next event will ask again.
            Ok(_) | Err(Error::TooMany(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
