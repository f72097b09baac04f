//! Messages from the broker: downlinks, the platform's `seen`, questions. Everything here is hostile until it
//! has passed.

use bytes::Bytes;
use cardea_credentials::ActivationStatus;
use cardea_envelope::{Downlink, MessageId, ResultState, Seen, Topic, VERSION};
use cardea_framing::{Class, Datagram, Kind, LOCK_DATAGRAM, LockId, fragments_needed};

use crate::{
    Action, Relay,
    activation::Attempts,
    ctx::Purpose,
    down::{Waiting, reason},
    inbox::Known,
    records::Change,
};

/// Why a downlink is not taken, and whether its id is remembered.
type Refusal = &'static str;

/// Whom a downlink that has passed is for.
enum For {
    Lock(Class),
    /// The page on which the lock is paired.
    Page(ActivationStatus),
}

impl Relay {
    pub(crate) fn message(&mut self, ack: u64, topic: &str, payload: &[u8], retain: bool) {
        match self.ctx.config.topics.parse(topic) {
            Some(Topic::Down(lock)) => {
                self.downlink(ack, lock, payload, retain);
                return; // Acknowledged when it is safe.
            }
            // A retained `seen` or question would be answered at every reconnect; `seen` is harmless so.
            Some(Topic::Seen(lock)) => self.seen(lock, payload),
            Some(Topic::Request(verb)) if !retain => self.request(&verb, payload),
            _ => self.ctx.metrics.malformed_messages += 1,
        }
        self.ctx.actions.push_back(Action::Ack(ack));
    }

    fn seen(&mut self, lock: LockId, payload: &[u8]) {
        match self.ctx.config.encoding.decode::<Seen>(payload) {
            Ok(seen) if seen.v == VERSION => {
                // An older epoch speaks of numbers that are not ours any more: those rows went out again.
                if seen.epoch.0 == self.ctx.epoch {
                    self.with_lock(lock, |l, ctx| l.seen(ctx, seen.seq));
                }
            }
            _ => self.ctx.metrics.malformed_messages += 1,
        }
    }

    fn downlink(&mut self, ack: u64, topic_lock: LockId, payload: &[u8], retain: bool) {
        let Ok(down) = self.ctx.config.encoding.decode::<Downlink>(payload) else {
            self.ctx.metrics.malformed_messages += 1;
            self.ctx.actions.push_back(Action::Ack(ack));
            return;
        };
        let id = down.id;
        if let Some(known) = self.ctx.inbox.get(&id) {
            self.ctx.metrics.downlinks_repeated += 1;
            // What is not durable yet is told, and acknowledged, when it is.
            if known.durable {
                let result = known.result(id);
                self.ctx.tell(result);
                self.ctx.actions.push_back(Action::Ack(ack));
            } else {
                self.await_commit(id, ack);
            }
            return;
        }
        match self.check(&down, topic_lock, retain) {
            Ok(For::Lock(class)) => self.take(ack, down, class),
            Ok(For::Page(status)) => self.show(ack, &down, &status),
            Err(why) => self.refuse(ack, topic_lock, &down, why),
        }
    }

    /// Acknowledges a known downlink when what is known of it is durable: by the same answer as the first.
    pub(crate) fn await_commit(&mut self, id: MessageId, ack: u64) {
        if self.ctx.inbox.get(&id).is_none_or(|known| known.durable) {
            self.ctx.actions.push_back(Action::Ack(ack));
            return;
        }
        let waiting = self.ctx.tickets.values_mut().find_map(|purpose| match purpose {
            Purpose::Down(down, acks) | Purpose::DownDone(down, acks) if *down == id => Some(acks),
            _ => None,
        });
        let untold = &mut self.ctx.untold;
        // Neither on its way nor to be tried again is nothing that is not durable; were it, it comes once more.
        let waiting =
            waiting.or_else(|| untold.iter_mut().find_map(|(down, acks)| (*down == id).then_some(acks)));
        if let Some(acks) = waiting {
            acks.push(ack);
        }
    }

    fn check(&self, down: &Downlink, topic_lock: LockId, retain: bool) -> Result<For, Refusal> {
        if retain {
            return Err(reason::RETAINED);
        }
        if down.v != VERSION || down.lock != topic_lock {
            return Err(reason::MALFORMED);
        }
        let lock = self.locks.get(&down.lock).filter(|l| l.admitted).ok_or(reason::UNKNOWN_LOCK)?;
        let Datagram { kind, class, body, .. } =
            Datagram::parse(&down.data.0).map_err(|_| reason::MALFORMED)?;
        if kind != down.kind || class != down.class || kind == Kind::Receipt {
            return Err(reason::MALFORMED);
        }
        if kind.is_peer() {
            return Err(reason::PEER);
        }
        // Of the public messages of a site, those for a lock begin with their type, also types of later versions: a lock drops
        // what it does not know. The others are an array, signed for the page that shows an activation's outcome: a lock asked
        // for none and would drop it, so it takes no air from what the lock waits for.
        match body.first() {
            _ if kind != Kind::Site => {}
            Some(0..=23) => {}
            Some(0x80..=0x9f) => {
                let attempts = lock.attempts.as_deref();
                return Attempts::judge(attempts, &self.ctx.config, lock.id, body).map(For::Page);
            }
            _ => return Err(reason::MALFORMED),
        }
        let len = down.data.0.len();
        let mtu = lock.air.map_or(usize::MAX, |air| usize::from(air.mtu));
        if len > LOCK_DATAGRAM || (len > mtu && fragments_needed(len, mtu).is_none()) {
            return Err(reason::TOO_BIG);
        }
        let wall = self.ctx.wall;
        if wall.synced {
            // An expired one is accepted here and expires at once, so that it has that state for good.
            if down.not_after > wall.unix_ms.saturating_add(self.ctx.config.not_after_max_ms) {
                return Err(reason::TOO_FAR);
            }
        } else if class == Class::Interactive {
            return Err(reason::CLOCK);
        }
        if lock.down.as_ref().is_some_and(|d| d.len() >= self.ctx.config.lock_downlinks) {
            return Err(reason::BUSY);
        }
        Ok(For::Lock(class))
    }

    /// Keeps the platform's word for those who look: with that it is where it was to go.
    fn show(&mut self, ack: u64, down: &Downlink, status: &ActivationStatus) {
        let wall = self.ctx.wall;
        if wall.synced && down.not_after <= wall.unix_ms {
            self.ctx.metrics.downlinks_expired += 1;
            self.close(ack, down.lock, down, ResultState::Expired, None);
            return;
        }
        if let Some(attempts) = self.locks.get_mut(&down.lock).and_then(|lock| lock.attempts.as_mut()) {
            attempts.keep(status, wall.unix_ms);
        }
        self.ctx.metrics.downlinks_delivered += 1;
        self.close(ack, down.lock, down, ResultState::Delivered, None);
    }

    fn take(&mut self, ack: u64, down: Downlink, class: Class) {
        let wall = self.ctx.wall;
        if wall.synced && down.not_after <= wall.unix_ms {
            self.ctx.metrics.downlinks_expired += 1;
            self.close(ack, down.lock, &down, ResultState::Expired, None);
            return;
        }
        let Downlink { id, lock, data, not_after, .. } = down;
        let not_after = self.remembered_until(not_after);
        if !self.make_room() {
            let known = Known {
                lock,
                not_after,
                state: ResultState::Refused,
                reason: Some(reason::BUSY.into()),
                at: wall.unix_ms,
                over: true,
                durable: true,
            };
            self.ctx.metrics.downlinks_refused += 1;
            self.ctx.tell(known.result(id));
            self.ctx.actions.push_back(Action::Ack(ack));
            return;
        }
        self.ctx.metrics.downlinks += 1;
        let data = Bytes::from(data.0);
        let left = if wall.synced {
            not_after.saturating_sub(wall.unix_ms)
        } else {
            u64::from(
                self.locks.get(&lock).and_then(|l| l.air).map_or(self.ctx.config.life_ms, |a| a.life_ms),
            )
        };
        let deadline = self.ctx.now.saturating_add(left);
        let known = Known {
            lock,
            not_after,
            state: ResultState::Queued,
            reason: None,
            at: wall.unix_ms,
            over: false,
            durable: false,
        };
        let record = known.record(id, data.clone());
        self.ctx.inbox.insert(id, known);
        self.ctx.write(vec![Change::PutDown(record)], Purpose::Down(id, vec![ack]));
        self.with_lock(lock, |l, _| {
            l.down().push(Waiting { id: Some(id), from: None, class, data, deadline, ready: false })
        });
    }

    fn refuse(&mut self, ack: u64, topic_lock: LockId, down: &Downlink, why: Refusal) {
        self.ctx.metrics.downlinks_refused += 1;
        self.close(ack, topic_lock, down, ResultState::Refused, Some(why));
    }

    /// A downlink that is over before it began. Its state is remembered as that of any other, if there is
    /// room: refusals must not push out ids that were accepted.
    fn close(&mut self, ack: u64, lock: LockId, down: &Downlink, state: ResultState, why: Option<&str>) {
        let Downlink { id, not_after, .. } = *down;
        let not_after = self.remembered_until(not_after);
        let at = self.ctx.wall.unix_ms;
        let mut known =
            Known { lock, not_after, state, reason: why.map(Into::into), at, over: true, durable: false };
        let ahead = self.ctx.wall.unix_ms.saturating_add(self.ctx.config.not_after_max_ms);
        let worth = !self.ctx.wall.synced || (not_after > at && not_after <= ahead);
        if worth && self.make_room() {
            self.ctx.inbox.insert(id, known);
            self.ctx.conclude(id, vec![ack]);
        } else {
            known.durable = true;
            self.ctx.tell(known.result(id));
            self.ctx.actions.push_back(Action::Ack(ack));
        }
    }

    /// How long an id is remembered: without a clock that can be believed a `not_after` was not checked, and
    /// must not keep its place for ever.
    fn remembered_until(&self, not_after: u64) -> u64 {
        let wall = self.ctx.wall;
        let most = wall.unix_ms.saturating_add(self.ctx.config.not_after_max_ms);
        if wall.synced { not_after } else { not_after.min(most) }
    }

    fn make_room(&mut self) -> bool {
        if self.ctx.inbox.len() < self.ctx.config.inbox_ids {
            return true;
        }
        match self.ctx.inbox.make_room(self.ctx.wall.unix_ms) {
            Some(id) => {
                self.ctx.lazily(Change::DeleteDown(id));
                true
            }
            None => false,
        }
    }
}
