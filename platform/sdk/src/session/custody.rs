//! What each gateway may forget: the cumulative `seen`, and holes in a gateway's numbering.
//!
//! A gateway in platform custody keeps a frame of class interactive or log until a `seen` covers its number, and
//! sends what is not covered again: after 20 s, then after twice as long each time, up to 21 minutes, oldest first.
//! So not to acknowledge is always safe and costs air at worst, while to acknowledge too much loses a frame for good:
//!
//! - **Only locks that are enrolled here** are noted and acknowledged. Another platform at the same broker owns the
//!   others, and our word would make its frames vanish. What a lock said before it was enrolled is still at its
//!   gateway, comes with the next repeat, and is acknowledged then.
//! - **What is forgotten is as if it had never come.** A number beyond the notes, a gateway that gave way to others, or
//!   one that was silent for three months only costs repeats. The frame itself is handled each time it comes, once:
//!   the replay set and the log know it, the notes are not asked.
//! - **A hole is given up** when the lowest frame behind it has been repeated [`PATIENCE`] times. Only a note that is
//!   there can tell a repeat; a frame that was not noted never counts as one, so full notes give no hole up early,
//!   and as the lowest numbers are the ones that are kept, they give it up in the end.

use cardea_envelope::{Epoch, Seen, Topic, Uplink, VERSION};

use super::{Core, Now, Output};
use crate::{Error, KeyStore, Noted, PlatformEvent, SeenRow, State};

/// A hole in a gateway's numbering is given up after so many repeats of the frame behind it: the gateway sends
/// what it still keeps oldest first, so what lies before that frame is not kept any more.
const PATIENCE: u8 = 3;
/// [`SeenRow::at`] is written this often where nothing else changes.
const TOUCH_MS: u64 = 3_600_000;

/// The lowest number behind a hole that was repeated, and how often.
///
/// A rewind repeats every row behind the hole, so only the lowest tells how many there were.
#[derive(Clone, Copy)]
pub(super) struct Stuck {
    epoch: [u8; 8],
    seq: u64,
    repeats: u8,
}

impl Stuck {
    /// After one more repeat of `seq`.
    fn again(known: Option<Self>, epoch: [u8; 8], seq: u64) -> Self {
        match known.filter(|stuck| stuck.epoch == epoch && stuck.seq <= seq) {
            Some(stuck) if stuck.seq == seq => Self { repeats: stuck.repeats.saturating_add(1), ..stuck },
            Some(lower) => lower,
            None => Self { epoch, seq, repeats: 1 },
        }
    }
}

impl<K: KeyStore, S: State> Core<K, S> {
    /// Notes that this uplink is stored here, and that its gateway may know.
    pub(super) fn mark_seen(&mut self, now: Now, gateway: &str, uplink: &Uplink) -> Result<(), Error> {
        let (lock, epoch, seq) = (uplink.lock, uplink.epoch.0, uplink.seq);
        if !self.locks.contains_key(&lock) || seq == 0 || i64::try_from(seq).is_err() {
            return Ok(());
        }
        let key = (gateway.to_owned(), lock);
        let known = self.state.seen(gateway, lock)?.filter(|row| row.epoch == epoch);
        let before = known.map_or(0, |row| row.seq);
        let mut upto = before;
        let mut given_up = false;
        if seq == before.saturating_add(1) {
            upto = seq;
        } else if seq > before {
            match self.state.note_ahead(gateway, lock, epoch, seq)? {
                Noted::New => {}
                Noted::Full => self.counters.unnoted += 1,
                Noted::Known => {
                    let stuck = Stuck::again(self.route.stuck.get(&key).copied(), epoch, seq);
                    given_up = stuck.seq == seq && stuck.repeats >= PATIENCE;
                    if given_up {
                        upto = seq;
                    } else {
                        self.route.stuck.insert(key.clone(), stuck);
                    }
                }
            }
        }
        if upto != before {
            self.route.stuck.remove(&key);
            let taken = self.state.take_ahead(gateway, lock, epoch, upto)?;
            if given_up {
                let frames = seq.saturating_sub(before).saturating_sub(1).saturating_sub(taken.below);
                self.event(PlatformEvent::Site {
                    gateway: gateway.into(),
                    what: "gap".into(),
                    lock: Some(lock),
                    detail: format!("{frames} frame(s) of {lock} did not arrive and are not kept any more"),
                });
            }
            upto = taken.upto;
        }
        let at = now.unix;
        if upto != before || known.is_none_or(|row| at >= row.at.saturating_add(TOUCH_MS)) {
            self.state.put_seen(gateway, lock, &SeenRow { epoch, seq: upto, at })?;
        }
        self.route.dirty.insert(key);
        Ok(())
    }

    /// Adds one `seen` for every lock that this batch moved or repeated.
    pub(super) fn publish_seen(&mut self) -> Result<(), Error> {
        for (gateway, lock) in std::mem::take(&mut self.route.dirty) {
            let Some(known) = self.route.gateways.get(&gateway).filter(|g| g.wants_seen) else { continue };
            let Some(row) = self.state.seen(&gateway, lock)?.filter(|row| row.seq > 0) else { continue };
            let seen = Seen { v: VERSION, epoch: Epoch(row.epoch), seq: row.seq };
            self.staged.push(Output {
                topic: known.topics.name(&Topic::Seen(lock)),
                payload: self.route.encoding.encode(&seen),
                not_after: None,
            });
        }
        Ok(())
    }
}
