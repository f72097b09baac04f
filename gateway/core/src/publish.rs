//! What goes to the broker, in which order, and what its word means.

use cardea_envelope::{EventKind, Topic, Uplink, VERSION};
use cardea_framing::{Datagram, Kind, LockId};

use crate::{
    Relay,
    ctx::{Ctx, Flying, Outgoing},
    lock::Lock,
    queue::{Item, Next},
    records::{Change, Gap, StoreOp},
    report::{clock, quality},
};

/// Rows read at once for one lock.
pub(crate) const PAGE: usize = 64;

/// Pages that may be read at the same time.
const PAGES: usize = 8;

impl Relay {
    /// Fills the publish window: results, gaps and events, rows by class and age, reports.
    pub(crate) fn publish(&mut self) {
        self.read_ahead();
        while self.ctx.connected && self.ctx.flights.len() < self.ctx.config.publish_window {
            let more = self.publish_presence()
                || (!self.ctx.told_last && self.publish_result())
                || self.publish_gap()
                || self.publish_event()
                || self.publish_row()
                || self.publish_result()
                || self.publish_document()
                || self.publish_link();
            if !more {
                break;
            }
        }
    }

    fn publish_result(&mut self) -> bool {
        let Some(result) = self.ctx.results.pop() else { return false };
        self.ctx.told_last = true;
        let topic = self.ctx.config.topics.name(&Topic::Result(result.lock));
        let payload = self.ctx.config.encoding.encode(&result).into();
        self.ctx.publish(topic, payload, false, Flying::Result(result));
        true
    }

    fn publish_gap(&mut self) -> bool {
        let Some(key) = self.ctx.gaps_ready.pop_first() else { return false };
        let Some(open) = self.ctx.gaps.get(&key) else { return true };
        let Gap { id, lock, class, frames, first, last } = open.gap.clone();
        let what = EventKind::Gap { lock, id, frames, class, first, last };
        let event = cardea_envelope::GatewayEvent { v: VERSION, at: self.ctx.wall.unix_ms, what };
        let topic = self.ctx.config.topics.name(&Topic::Event);
        let payload = self.ctx.config.encoding.encode(&event).into();
        self.ctx.publish(topic, payload, false, Flying::Gap(lock, class, frames));
        true
    }

    fn publish_event(&mut self) -> bool {
        let Some(event) = self.ctx.events.pop_front() else { return false };
        let Outgoing { topic, payload } = event.clone();
        self.ctx.publish(topic, payload, false, Flying::Event(event));
        true
    }

    /// The next row of the lock with the most urgent class, and among those of the one that waits longest.
    fn publish_row(&mut self) -> bool {
        let Some((_, _, lock)) = self.ctx.ready.first().copied() else { return false };
        let Some(entry) = self.locks.get_mut(&lock) else {
            self.ctx.ready.pop_first();
            return true;
        };
        if let Next::Row(row) = entry.queue.as_ref().map_or(Next::Nothing, |q| q.next()) {
            entry.publish_row(&mut self.ctx, row);
            self.ctx.told_last = false;
        }
        entry.reindex(&mut self.ctx);
        true
    }

    /// Asks for rows of the locks whose turn comes next, as far as memory allows; nobody waits for them.
    fn read_ahead(&mut self) {
        if self.ctx.connected && !self.ctx.to_read.is_empty() && self.ctx.room_for_pages() == 0 {
            self.find_room(true);
        }
        while self.ctx.connected
            && let Some((_, _, lock)) = self.ctx.to_read.first().copied()
        {
            let Some(entry) = self.locks.get_mut(&lock) else {
                self.ctx.to_read.pop_first();
                continue;
            };
            if let Next::Disk { after, through } = entry.queue.as_ref().map_or(Next::Nothing, |q| q.next())
                && !entry.read_page(&mut self.ctx, after, through)
            {
                return;
            }
            entry.reindex(&mut self.ctx);
        }
    }

    /// The broker is there.
    pub(crate) fn connected(&mut self) {
        if self.ctx.connected {
            self.disconnected();
        }
        self.ctx.connected = true;
        self.documents.all_changed();
        self.ctx.gaps_ready.extend(self.ctx.gaps.keys().copied());
        for lock in self.locks.values().filter(|l| l.joined) {
            self.ctx.links_ready.insert(lock.id);
        }
    }

    /// The broker is gone, and with it what was in flight: all of that goes again, in order.
    pub(crate) fn disconnected(&mut self) {
        if !std::mem::take(&mut self.ctx.connected) {
            return;
        }
        self.ctx.metrics.disconnects += 1;
        let mut results = Vec::new();
        let mut events = Vec::new();
        for flying in std::mem::take(&mut self.ctx.flights).into_values() {
            match flying {
                Flying::Result(result) => results.push(result),
                Flying::Event(event) => events.push(event),
                Flying::Gap(lock, class, _) => {
                    self.ctx.gaps_ready.insert((lock, class));
                }
                Flying::Row(..) | Flying::Document | Flying::Goodbye => {}
            }
        }
        for result in results {
            // A newer one that waits says more.
            if !self.ctx.results.holds(&result.id) {
                self.ctx.tell(result);
            }
        }
        events.into_iter().rev().for_each(|e| self.ctx.events.push_front(e));
        let locks: Vec<LockId> = self.locks.values().filter(|l| l.queue.is_some()).map(|l| l.id).collect();
        for lock in locks {
            self.with_lock(lock, |l, ctx| {
                if let Some(queue) = &mut l.queue {
                    queue.rewind();
                }
                // Nobody will take it soon: custody is the disk's.
                l.commit(ctx);
            });
        }
    }

    pub(crate) fn acked(&mut self, token: u64) {
        let Some(flying) = self.ctx.flights.remove(&token) else { return };
        self.ctx.metrics.acknowledged += 1;
        match flying {
            Flying::Row(lock, row) => {
                self.with_lock(lock, |l, ctx| l.acked(ctx, row));
            }
            Flying::Result(result) => {
                let id = result.id;
                if let Some(known) = self.ctx.inbox.get(&id).filter(|k| k.over && k.state == result.state) {
                    let mut record = known.record(id, bytes::Bytes::new());
                    record.told = true;
                    self.ctx.lazily(Change::PutDown(record));
                }
            }
            Flying::Gap(lock, class, frames) => self.gap_told(lock, class, frames),
            Flying::Event(_) | Flying::Document | Flying::Goodbye => {}
        }
    }

    pub(crate) fn refused(&mut self, token: u64) {
        let Some(flying) = self.ctx.flights.remove(&token) else { return };
        self.ctx.metrics.refused_by_broker += 1;
        // A gap stays durable, and is told again over the next connection.
        if let Flying::Row(lock, row) = flying {
            self.with_lock(lock, |l, ctx| l.poisoned(ctx, row));
        }
    }

    fn gap_told(&mut self, lock: LockId, class: cardea_framing::Class, frames: u64) {
        let key = (lock, class);
        let Some(open) = self.ctx.gaps.get(&key) else { return };
        if open.gap.frames != frames {
            return; // It grew meanwhile, and waits to be told again.
        }
        if let Some(open) = self.ctx.gaps.remove(&key)
            && open.durable
        {
            self.ctx.lazily(Change::DeleteGap(open.gap));
        }
    }
}

impl Lock {
    fn publish_row(&mut self, ctx: &mut Ctx, row: u64) {
        let Some(item) = self.queue.as_mut().and_then(|q| q.publish(row, &mut self.next_seq)) else { return };
        let uplink = uplink(ctx, item);
        // Noted here and not when it was heard: what waited on the disk over a restart is answered, too.
        if uplink.kind == Kind::PlatformEdhoc && !ctx.config.platform_keys.is_empty() {
            self.attempts.get_or_insert_default().note(uplink.id);
        }
        let payload = ctx.config.encoding.encode(&uplink).into();
        let topic = ctx.config.topics.name(&Topic::Up(self.id));
        ctx.publish(topic, payload, false, Flying::Row(self.id, row));
    }

    /// Asks for the next rows of this lock; false if memory or reader have to be waited for.
    fn read_page(&mut self, ctx: &mut Ctx, after: u64, through: u64) -> bool {
        let limit = PAGE.min(ctx.room_for_pages());
        if limit == 0 || ctx.page_rows >= PAGE * PAGES {
            return false;
        }
        ctx.page_rows += limit;
        self.queue().paging = true;
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        ctx.actions.push_back(crate::Action::Store(StoreOp::Page { lock: self.id, after, through, limit }));
        true
    }
}

fn uplink(ctx: &Ctx, item: &Item) -> Uplink {
    let (kind, class) =
        Datagram::parse(&item.row.data).map_or((Kind::PlatformOscore, item.row.class), |d| (d.kind, d.class));
    let meta = &item.row.meta;
    let (rssi, snr, lqi) = quality(&meta.quality);
    let (at, synced) = ctx.received(item.row.row, meta.at, meta.synced);
    Uplink {
        v: VERSION,
        id: item.row.id,
        lock: item.row.lock,
        kind,
        class,
        data: cardea_envelope::Data(item.row.data.to_vec()),
        radio: meta.radio.clone(),
        rssi,
        snr,
        lqi,
        at,
        clock: clock(synced),
        epoch: cardea_envelope::Epoch(ctx.epoch),
        seq: item.seq,
    }
}
