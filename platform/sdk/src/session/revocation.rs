//! The revocation list: made here, whole in every epoch, and brought to every lock until it says that it has it.
//!
//! A list names keys, not grants: a key that is lost is lost at every door. Locks take the pages of the next epoch
//! unasked, page by page, and those of any later one in answer to a question of theirs. So a list is pushed from its
//! page 0; a lock that missed an epoch asks. That a lock has a list is known from its status alone, inside OSCORE: what
//! a gateway says of a delivery only moves on to the next page.
//!
//! **Epochs.** Each list has one more than the one before. A state that was put back from a backup does not know what
//! came after: then the next list takes the time, in Unix seconds, which is above whatever one list a second can have
//! reached, and locks ask for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry};

use cardea_credentials::{
    MAX_PAGE_LEN, MAX_PAGES, PAGE_THUMBPRINTS, Page, Question, SITE_MESSAGE_OVERHEAD, SiteKind, SiteMessage,
};
use cardea_envelope::{DownlinkResult, MessageId, ResultState};
use cardea_framing::{Class, Kind, LockId};

use super::{Core, Now, lock::Lock};
use crate::{Ask, Error, GrantRow, KeyStore, KnownListRow, ListRow, PlatformEvent, RevokedRow, Stage, State};

/// Keys that a list can name.
const MAX_KEYS: usize = MAX_PAGES as usize * PAGE_THUMBPRINTS;
/// How long a key stays on the list after its last grant has ended, seconds: more than a lock's clock can be wrong.
const AFTERLIFE_S: u32 = 86_400;
/// How long a page may wait at the gateway of a lock that listens, milliseconds, and of one that sleeps.
const PAGE_MS: u64 = 60_000;
const SLEEPY_PAGE_MS: u64 = 3_600_000;
/// After the last page, before the lock is asked what it has.
const CHECK_AFTER_MS: u64 = 2_000;
/// How long that question may take.
const CHECK_MS: u64 = 600_000;
/// First pause before a page is sent again; doubled up to the other one.
const PAUSE_MS: u64 = 15_000;
const LONGEST_PAUSE_MS: u64 = 6 * 3_600_000;
/// A lock that is heard is tried again, if the last try was this long ago.
const HEARD_MS: u64 = 60_000;
/// Questions of one lock that are answered within a minute; it verifies no more than four signatures in that time.
const ANSWERS: usize = 6;
const ANSWERS_MS: u64 = 60_000;
/// The life of a lock's nonce: an older question is not waited for any more.
const QUESTION_MS: u64 = 600_000;

/// The list in force.
#[derive(Default)]
pub(super) struct List {
    row: ListRow,
    /// Ascending.
    keys: Vec<RevokedRow>,
    /// Pages that were signed since it is in force.
    signed: BTreeMap<u8, Vec<u8>>,
}

impl List {
    pub(super) fn names(&self, key: &[u8; 32]) -> bool {
        self.keys.binary_search_by(|row| row.thumbprint.cmp(key)).is_ok()
    }

    pub(super) fn epoch(&self) -> u32 {
        self.row.epoch
    }

    pub(super) fn is_restored(&self) -> bool {
        self.row.restored
    }

    fn pages(&self) -> u8 {
        u8::try_from(self.keys.len().div_ceil(PAGE_THUMBPRINTS).max(1)).unwrap_or(MAX_PAGES)
    }
}

/// What comes next for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Page(u8),
    /// All pages were delivered: ask it.
    Check,
}

/// When it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// The lock has the list, or cannot take it.
    Never,
    /// No gateway reaches it.
    Held,
    /// Monotonic milliseconds.
    At(u64),
}

/// How far a lock is with the list.
pub(super) struct Push {
    step: Step,
    due: Due,
    /// The page that is on its way.
    out: Option<MessageId>,
    tries: u32,
    tried: u64,
    /// What it said it has.
    known: Option<KnownListRow>,
    /// When its last questions were answered.
    answered: VecDeque<u64>,
}

impl Default for Push {
    fn default() -> Self {
        Self {
            step: Step::Page(0),
            due: Due::Never,
            out: None,
            tries: 0,
            tried: 0,
            known: None,
            answered: VecDeque::new(),
        }
    }
}

impl Push {
    pub(super) fn due(&self) -> Option<u64> {
        match self.due {
            Due::At(at) => Some(at),
            Due::Never | Due::Held => None,
        }
    }

    /// The lock has spoken: it may be a moment at which it also hears.
    pub(super) fn heard(&mut self, now: u64) {
        if matches!(self.due, Due::At(_)) && now >= self.tried.saturating_add(HEARD_MS) {
            self.due = Due::At(now);
        }
    }

    /// It knows of the list, or never will: the pages that waited for that can go.
    pub(super) fn told(&mut self, now: u64) {
        if self.step == Step::Page(0) && self.tries == 0 && matches!(self.due, Due::At(_)) {
            self.due = Due::At(now);
        }
    }

    /// Whether it takes lists at all is asked before the first page.
    pub(super) fn ask_first(&mut self, now: u64) {
        if self.step == Step::Page(0) && self.tries == 0 && matches!(self.due, Due::At(_)) {
            (self.step, self.due) = (Step::Check, Due::At(now));
        }
    }

    pub(super) fn begin(&mut self) {
        (self.step, self.due, self.out, self.tries) = (Step::Page(0), Due::At(0), None, 0);
    }

    fn pause(&mut self) -> u64 {
        let pause =
            PAUSE_MS.checked_shl(self.tries.min(20)).unwrap_or(LONGEST_PAUSE_MS).min(LONGEST_PAUSE_MS);
        self.tries = self.tries.saturating_add(1);
        pause
    }
}

impl Lock {
    /// Whether this lock should have another list than it said it has.
    fn wants(&self, epoch: u32) -> bool {
        let known = self.push.known.filter(|known| known.activation == self.record.activation);
        let takes = self.record.stage == Stage::Owned && !self.told.no_lists;
        takes && epoch > 0 && known.is_none_or(|known| known.epoch < epoch)
    }
}

/// The list in force, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocations {
    /// Its number and its time.
    pub list: ListRow,
    /// The keys on it.
    pub keys: Vec<RevokedRow>,
    /// Locks that are ours, and the epoch that each said it has.
    pub locks: Vec<(LockId, Option<u32>)>,
}

impl Revocations {
    /// Locks that have said that they have this list or a later one.
    pub fn confirmed(&self) -> impl Iterator<Item = LockId> + '_ {
        self.locks
            .iter()
            .filter(|(_, has)| has.is_some_and(|has| has >= self.list.epoch))
            .map(|(lock, _)| *lock)
    }

    /// Locks that have not, yet.
    pub fn waiting(&self) -> impl Iterator<Item = LockId> + '_ {
        self.locks
            .iter()
            .filter(|(_, has)| has.is_none_or(|has| has < self.list.epoch))
            .map(|(lock, _)| *lock)
    }
}

impl<K: KeyStore, S: State> Core<K, S> {
    /// Reads the list, and which locks are behind it.
    pub(super) fn load_list(
        state: &mut S,
        locks: &mut BTreeMap<LockId, Lock>,
        timers: &mut BTreeSet<(u64, LockId)>,
    ) -> Result<List, Error> {
        let list = List { row: state.list()?, keys: state.revoked()?, signed: BTreeMap::new() };
        for known in state.known_lists()? {
            if let Some(lock) = locks.get_mut(&known.lock) {
                lock.push.known = Some(known);
            }
        }
        for (id, lock) in locks.iter_mut().filter(|(_, lock)| lock.wants(list.row.epoch)) {
            lock.push.begin();
            lock.timer = Some(0);
            timers.insert((0, *id));
        }
        Ok(list)
    }

    /// Puts keys on the list, by their thumbprints; those that are on it already change nothing. The new list goes to
    /// every lock. Belongs into a batch.
    ///
    /// # Errors
    /// [`Error::ListFull`]: nothing is revoked, and the batch goes on; [`Error::State`].
    pub fn revoke(&mut self, now: Now, keys: &[[u8; 32]]) -> Result<Revocations, Error> {
        let new: BTreeSet<[u8; 32]> = keys.iter().filter(|key| !self.list.names(key)).copied().collect();
        if !new.is_empty() {
            let second = u32::try_from(now.unix / 1000).unwrap_or(u32::MAX);
            let grants = self.state.grants(None)?;
            let ends = |key| grants.iter().filter(|g| g.holder == key).map(|g| g.expires).max();
            // Grants that nobody here knows of may outlive those that are known.
            let restored = self.list.row.restored;
            let mut rows: Vec<RevokedRow> = self.list.keys.clone();
            rows.retain(|row| row.until.is_none_or(|until| until.saturating_add(AFTERLIFE_S) > second));
            rows.extend(new.into_iter().map(|thumbprint| RevokedRow {
                thumbprint,
                since: now.unix,
                until: if restored { None } else { ends(thumbprint) },
            }));
            rows.sort_unstable_by_key(|row| row.thumbprint);
            if rows.len() > MAX_KEYS {
                return Err(Error::ListFull);
            }
            let row = next(&self.list.row, second)?;
            self.state.put_list(&row, &rows)?;
            self.list = List { row, keys: rows, signed: BTreeMap::new() };
            let locks: Vec<LockId> = self.locks.keys().copied().collect();
            for id in locks {
                if let Some(lock) = self.locks.get_mut(&id) {
                    lock.push.begin();
                }
                self.tell_anew(id)?;
                self.advance(now, id)?;
            }
        }
        Ok(self.revocations())
    }

    /// Revokes the key of one grant. A list names keys, so the key must have no other grant that still holds.
    ///
    /// # Errors
    /// [`Error::NoGrant`], [`Error::OtherGrants`], and as [`Self::revoke`].
    pub fn revoke_grant(&mut self, now: Now, id: [u8; 8]) -> Result<(GrantRow, Revocations), Error> {
        let grant = self.state.grant(id)?.ok_or_else(|| Error::NoGrant(hex::encode(id)))?;
        let alive = |g: &GrantRow| u64::from(g.expires) > now.unix / 1000;
        let others: Vec<String> = self
            .state
            .grants(None)?
            .iter()
            .filter(|g| g.holder == grant.holder && g.id != id && alive(g))
            .map(|g| format!("{} at {}", hex::encode(g.id), g.lock))
            .collect();
        if !others.is_empty() && !self.list.names(&grant.holder) {
            return Err(Error::OtherGrants { holder: hex::encode(grant.holder), others: others.join(", ") });
        }
        let list = self.revoke(now, &[grant.holder])?;
        Ok((grant, list))
    }

    /// The list in force, and who has it.
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        let ours = self.locks.values().filter(|lock| lock.record.stage == Stage::Owned);
        let has = |lock: &Lock| {
            lock.push.known.filter(|k| k.activation == lock.record.activation).map(|known| known.epoch)
        };
        Revocations {
            list: self.list.row,
            keys: self.list.keys.clone(),
            locks: ours.map(|lock| (lock.record.lock, has(lock))).collect(),
        }
    }

    /// Brings the list to a lock that is behind.
    pub(super) fn advance_list(&mut self, now: Now, id: LockId) -> Result<(), Error> {
        let epoch = self.list.row.epoch;
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        if !lock.wants(epoch) {
            lock.push.due = Due::Never;
            return Ok(());
        }
        match lock.push.due {
            Due::At(at) if at > now.mono => return Ok(()),
            Due::Never => lock.push.begin(),
            Due::At(_) | Due::Held => {}
        }
        let Some((gateway, link)) = self.route.best(id).map(|(gateway, link)| (gateway.to_owned(), link))
        else {
            lock.push.due = Due::Held;
            return Ok(());
        };
        if let (Step::Page(0), Some(until)) = (lock.push.step, lock.pages_wait(now.mono)) {
            lock.push.due = Due::At(until);
            return Ok(());
        }
        match lock.push.step {
            Step::Page(page) => {
                let life = if link.sleepy { SLEEPY_PAGE_MS } else { PAGE_MS }.max(link.life_ms);
                let out = match self.page(page, None)? {
                    Some(body) => {
                        let end = now.unix.saturating_add(life);
                        Some(self.send_down(&gateway, id, Kind::Site, Class::Log, &body, end)?)
                    }
                    None => None,
                };
                let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
                let wait = if out.is_some() { life } else { 0 };
                let pause = lock.push.pause();
                (lock.push.out, lock.push.tried) = (out, now.mono);
                lock.push.due = Due::At(now.mono.saturating_add(wait).saturating_add(pause));
            }
            Step::Check => {
                let pause = lock.push.pause();
                (lock.push.step, lock.push.tried) = (Step::Page(0), now.mono);
                lock.push.due = Due::At(now.mono.saturating_add(pause));
                // Both tell the epoch; a lock that knows its site tells whether grants hold, too.
                let ask = if lock.tells_site() { Ask::Site } else { Ask::Status };
                match self.start_command(now, id, ask, CHECK_MS) {
                    // A full queue is the caller's doing; the list comes again and asks again.
                    Ok(_) | Err(Error::TooMany(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// What a gateway says about a page; false if it is about something else. It hurries or delays, and decides nothing.
    pub(super) fn list_result(
        &mut self,
        now: Now,
        id: LockId,
        result: &DownlinkResult,
    ) -> Result<bool, Error> {
        let pages = self.list.pages();
        let Some(lock) = self.locks.get_mut(&id).filter(|lock| lock.push.out == Some(result.id)) else {
            return Ok(false);
        };
        let push = &mut lock.push;
        match (result.state, push.step) {
            (ResultState::Delivered, Step::Page(page)) => {
                push.out = None;
                let next = page.saturating_add(1);
                if next < pages {
                    (push.step, push.due) = (Step::Page(next), Due::At(now.mono));
                } else {
                    (push.step, push.due) = (Step::Check, Due::At(now.mono.saturating_add(CHECK_AFTER_MS)));
                }
            }
            (ResultState::Expired | ResultState::Refused | ResultState::Failed, _) => {
                push.out = None;
                let pause = push.pause();
                push.due = Due::At(now.mono.saturating_add(pause));
            }
            _ => {}
        }
        self.advance(now, id)?;
        Ok(true)
    }

    /// A lock says, inside OSCORE, which list it has.
    pub(super) fn note_list(&mut self, now: Now, id: LockId, epoch: u32) -> Result<(), Error> {
        let ours = self.list.row.epoch;
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        let known = KnownListRow { lock: id, activation: lock.record.activation, epoch, at: now.unix };
        let before = lock.push.known.replace(known);
        if before.is_some_and(|b| (b.activation, b.epoch) == (known.activation, epoch)) {
            return Ok(());
        }
        self.state.put_known_list(&known)?;
        if epoch > ours {
            // Somebody made that list with our key: ourselves, before the state was put back.
            tracing::error!(lock = %id, epoch, ours, "a lock has a later revocation list than this platform");
            self.list.row.unsure = true;
            self.state.doubt_list()?;
            self.event(PlatformEvent::ListLost { lock: id, epoch, ours });
        } else if epoch == ours && ours > 0 {
            self.event(PlatformEvent::ListConfirmed { lock: id, epoch });
        }
        Ok(())
    }

    /// A question of a lock to its site. Anybody can send one, so there are few answers. `age`: how long ago the gateway
    /// heard it, milliseconds.
    pub(super) fn handle_question(
        &mut self,
        now: Now,
        gateway: &str,
        id: LockId,
        age: u64,
        body: &[u8],
    ) -> Result<(), Error> {
        let (epoch, pages) = (self.list.row.epoch, self.list.pages());
        let Some(lock) = self.locks.get_mut(&id) else {
            self.counters.strangers += 1;
            return Ok(());
        };
        let Ok(question) = Question::decode(body) else {
            self.counters.malformed += 1;
            return Ok(());
        };
        if question.kind == SiteKind::Release && question.number == 0 {
            self.release_asked(gateway, id, question.nonce);
            return Ok(());
        }
        let answered = &mut lock.push.answered;
        answered.retain(|at| at.saturating_add(ANSWERS_MS) > now.mono);
        let page = u8::try_from(question.number).ok().filter(|page| *page < pages);
        let (SiteKind::Revocations, Some(page)) = (question.kind, page.filter(|_| epoch > 0)) else {
            self.counters.unanswered += 1;
            return Ok(());
        };
        if age > QUESTION_MS || answered.len() >= ANSWERS {
            self.counters.unanswered += 1;
            return Ok(());
        }
        answered.push_back(now.mono);
        let last = page.saturating_add(1) == pages;
        // Its own pace now; and once it has all of it, it is asked.
        let push = &mut lock.push;
        if last && !matches!(push.due, Due::Never) {
            (push.step, push.due) = (Step::Check, Due::At(now.mono.saturating_add(CHECK_AFTER_MS)));
        } else if matches!(push.due, Due::At(_)) {
            push.due = Due::At(now.mono.saturating_add(PAGE_MS));
        }
        push.out = None;
        let life = self.downlink_life(id).max(PAGE_MS);
        let Some(body) = self.page(page, Some(question.nonce))? else { return Ok(()) };
        let end = now.unix.saturating_add(life);
        self.send_down(gateway, id, Kind::Site, Class::Log, &body, end)?;
        self.rearm(id);
        Ok(())
    }

    /// The body of a site message with a page of the list; `None` while the signing key does not answer.
    fn page(&mut self, page: u8, nonce: Option<[u8; 8]>) -> Result<Option<Vec<u8>>, Error> {
        let List { row, keys, signed } = &mut self.list;
        let pages = u8::try_from(keys.len().div_ceil(PAGE_THUMBPRINTS).max(1)).unwrap_or(MAX_PAGES);
        let signed = match signed.entry(page) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let from = usize::from(page).saturating_mul(PAGE_THUMBPRINTS);
                let on_it: Vec<[u8; 32]> =
                    keys.iter().skip(from).take(PAGE_THUMBPRINTS).map(|row| row.thumbprint).collect();
                let mut out = vec![0; MAX_PAGE_LEN];
                let (list, place_of) = ((row.epoch, row.at), (page, pages));
                let root = self.keys.root().thumbprint();
                match Page::sign(list, place_of, &on_it, &root, self.keys.signer(), &mut out) {
                    Ok(length) => out.truncate(length),
                    Err(error) => {
                        tracing::warn!(%error, "a page of the revocation list is not signed; it is tried again");
                        return Ok(None);
                    }
                }
                place.insert(out)
            }
        };
        let mut body = vec![0; signed.len().saturating_add(SITE_MESSAGE_OVERHEAD)];
        let length = SiteMessage { kind: SiteKind::Revocations, nonce, signed }
            .encode(&mut body)
            .map_err(|_| Error::Crypto("a page does not fit"))?;
        body.truncate(length);
        Ok(Some(body))
    }
}

/// The number and time of the list after `row`.
fn next(row: &ListRow, second: u32) -> Result<ListRow, Error> {
    let after = row.epoch.checked_add(1).ok_or(Error::Crypto("no epoch is left for another list"))?;
    let epoch = if row.unsure { after.max(second) } else { after };
    Ok(ListRow { epoch, at: second, unsure: false, restored: row.restored })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LockRecord;

    #[test]
    fn a_lock_that_takes_no_lists_wants_no_pages() {
        let mut lock = Lock::new(LockRecord {
            lock: LockId([1; 8]),
            thumbprint: None,
            credential: None,
            code: None,
            stage: Stage::Owned,
            activation: 1,
            cursor: None,
        });
        assert!(lock.wants(1) && !lock.wants(0));
        lock.told.no_lists = true;
        assert!(!lock.wants(1));
    }
}
