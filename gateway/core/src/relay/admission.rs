//! Which lock is on which radio: what operators ask, and what drivers say of it.

use cardea_envelope::EventKind;
use cardea_framing::LockId;
use cardea_radio::{Command, Event};

use super::{Arrival, Relay};
use crate::{
    Action, Admin, AdminReply, RadioId,
    ctx::Purpose,
    lock::{Air, Lock},
    records::{Change, LockRecord},
};

impl Relay {
    pub(super) fn admin(&mut self, token: u64, verb: Admin) {
        match verb {
            Admin::Admit { radio, admission } => {
                if usize::from(radio.0) >= self.radios.len() {
                    self.answer(token, Err("no such radio".into()));
                } else if self.locks.get(&admission.lock).is_some_and(|l| l.admitted && l.radio != radio) {
                    self.answer(
                        token,
                        Err("this lock is admitted on another radio: remove it there first".into()),
                    );
                } else {
                    let waiting = self.admitting.entry(admission.lock).or_insert((radio, Vec::new()));
                    waiting.1.push(token);
                    self.ctx.radio(radio, Command::Admit(admission));
                }
            }
            Admin::Remove(lock) => {
                let Some(radio) = self.locks.get(&lock).filter(|l| l.admitted).map(|l| l.radio) else {
                    self.answer(token, Err("no such lock is admitted".into()));
                    return;
                };
                self.ctx.radio(radio, Command::Remove(lock));
                let mut changes = vec![Change::DeleteLock(lock)];
                changes.extend(self.peers.addresses.free(lock, self.ctx.wall));
                self.ctx.write(changes, Purpose::Remove(token));
                self.with_lock(lock, |l, ctx| {
                    l.drop_downlinks(ctx);
                    l.set_joined(ctx, false);
                    l.admitted = false;
                });
                self.documents.locks_changed();
                let radio = self.ctx.radio_name(radio);
                self.ctx.event(EventKind::Left { lock, radio });
            }
            Admin::Alarm { cause, detail } => {
                self.ctx.alarm(&cause, detail);
                self.answer(token, Ok(()));
            }
            Admin::Shutdown => {
                let locks: Vec<LockId> =
                    self.locks.values().filter(|l| l.queue.is_some()).map(|l| l.id).collect();
                for lock in locks {
                    self.with_lock(lock, |l, ctx| l.commit(ctx));
                }
                self.ctx.flush_lazy();
                self.shutdown = Some(token);
                self.say_goodbye();
                self.finish_shutdown();
            }
        }
    }

    pub(super) fn answer(&mut self, token: u64, result: Result<(), String>) {
        self.ctx.actions.push_back(Action::Admin(AdminReply { token, result }));
    }

    /// A driver stored an admission, or refused it.
    pub(super) fn admitted(&mut self, radio: RadioId, lock: LockId, result: Result<(), String>) {
        let Some((_, tokens)) = self.admitting.remove(&lock) else { return };
        match result {
            Ok(()) => {
                self.arriving.insert(lock, Arrival { radio, air: None, joined: false });
                let record = LockRecord { lock, radio: self.ctx.radio_name(radio) };
                let (_, addresses) = self.peers.addresses.allocate(lock, self.ctx.wall);
                let changes = std::iter::once(Change::PutLock(record)).chain(addresses).collect();
                self.ctx.write(changes, Purpose::Admit(lock, radio, tokens));
            }
            Err(why) => tokens.into_iter().for_each(|token| self.answer(token, Err(why.clone()))),
        }
    }

    pub(super) fn admission_durable(&mut self, lock: LockId, radio: RadioId, tokens: &[u64]) {
        let numbers = self.ctx.numbers.remove(&lock);
        let entry = self.locks.entry(lock).or_insert_with(|| Lock::new(lock, radio));
        if let Some((next_seq, seen)) = numbers {
            (entry.next_seq, entry.seen) = (next_seq, seen);
        }
        entry.admitted = true;
        entry.radio = radio;
        self.documents.locks_changed();
        if let Some(Arrival { radio, air, joined }) = self.arriving.remove(&lock) {
            // What the driver said meanwhile, in the order in which it says it.
            if joined {
                self.radio(radio, Event::Joined(lock));
            }
            if let Some(Air { mtu: mtu_down, sleepy, retry_ms, life_ms }) = air {
                self.radio(radio, Event::Link { lock, mtu_down, sleepy, retry_ms, life_ms });
            }
        }
        for token in tokens {
            self.answer(*token, Ok(()));
        }
    }

    /// A driver has started and says whom it lets in. It may have been away when a lock was removed, or have failed to
    /// store the removal: a stolen lock must not stay in the radio network for that.
    pub(super) fn reconcile(&mut self, radio: RadioId, locks: &[LockId]) {
        for lock in locks {
            let arriving = self.admitting.contains_key(lock) || self.arriving.contains_key(lock);
            if !arriving && !self.is_here(*lock, radio) {
                self.ctx.radio(radio, Command::Remove(*lock));
            }
        }
    }

    pub(super) fn is_here(&self, lock: LockId, radio: RadioId) -> bool {
        self.locks.get(&lock).is_some_and(|l| l.admitted && l.radio == radio)
    }

    pub(super) fn arrival(&mut self, lock: LockId, radio: RadioId) -> Option<&mut Arrival> {
        self.arriving.get_mut(&lock).filter(|arrival| arrival.radio == radio)
    }
}
