//! From a lock's frame to the outbox, and from safety back to the lock's receipt.

use std::collections::VecDeque;

use bytes::Bytes;
use cardea_envelope::MessageId;
use cardea_framing::{Class, Datagram, ReceiptToken, uplink_id};
use cardea_radio::Up;

use crate::{
    ctx::{Ctx, Purpose},
    lock::Lock,
    peers::FromLock,
    queue::{Flight, Forgotten, Item, Next, Stored},
    records::{Change, Failure, FailureKind, Gap, Row, RowMeta},
};

/// Uplink ids remembered for each lock, to know a datagram that is sent again.
const RECENT: usize = 16;

/// What a commit may take before a sleepy lock's window closes, milliseconds.
const COMMIT_MS: u64 = 50;

/// A write that failed is made again after this, milliseconds.
pub(crate) const RETRY_MS: u64 = 1_000;

/// Bytes in the buffers of all links; beyond, the lock that is being heard loses its fragments.
const HELD: u64 = 4 << 20;

/// The newest uplink ids of one lock and their rows.
#[derive(Debug, Default)]
pub(crate) struct Recent(VecDeque<(MessageId, u64)>);

impl Recent {
    pub(crate) fn remember(&mut self, id: MessageId, row: u64) {
        if self.0.len() >= RECENT {
            self.0.pop_front();
        }
        self.0.push_back((id, row));
    }

    fn forget(&mut self, id: &MessageId) {
        self.0.retain(|(known, _)| known != id);
    }

    fn row(&self, id: &MessageId) -> Option<u64> {
        self.0.iter().find_map(|(known, row)| (known == id).then_some(*row))
    }
}

impl Lock {
    /// Takes a frame from the air.
    pub(crate) fn hear(&mut self, ctx: &mut Ctx, up: &Up) {
        self.heard = Some((ctx.wall.unix_ms, up.quality));
        self.history.get_or_insert_default().heard(ctx.wall.unix_ms, up.quality);
        if let Some(closes) = up.window {
            self.down().open(closes);
        }
        let link = self.link(ctx);
        let complete = match link.handle_frame(ctx.now, &up.frame) {
            Ok(Some(incoming)) => Some((Bytes::copy_from_slice(incoming.datagram()), incoming.receipt)),
            Ok(None) => None,
            Err(_) => {
                ctx.metrics.malformed_frames += 1;
                None
            }
        };
        self.weigh_link(ctx);
        if ctx.held > HELD {
            self.link(ctx).shed();
            self.weigh_link(ctx);
        }
        if let Some((datagram, receipt)) = complete {
            ctx.metrics.datagrams_up += 1;
            self.accept(ctx, datagram, receipt, up);
        }
    }

    fn accept(&mut self, ctx: &mut Ctx, data: Bytes, receipt: Option<ReceiptToken>, up: &Up) {
        let Ok(Datagram { kind, class, .. }) = Datagram::parse(&data) else { return };
        if kind.is_peer() {
            ctx.from_locks.push(FromLock { lock: self.id, data, receipt });
            return;
        }
        let id = MessageId(uplink_id(self.id, &data));
        if let Some(row) = self.recent.as_ref().and_then(|r| r.row(&id)) {
            self.hear_again(ctx, row, receipt);
            return;
        }
        let (at, synced) = (ctx.unix_ms(up.at.min(ctx.now)), ctx.wall.synced);
        if ctx.is_crowded() {
            ctx.metrics.not_accepted += 1;
            self.release(receipt);
            if receipt.is_none() {
                // The lock will not send it again.
                ctx.lose(Gap { id, lock: self.id, class, frames: 1, first: at, last: at });
            }
            return;
        }
        let meta = RowMeta { radio: ctx.radio_name(self.radio), quality: up.quality, at, synced };
        let row = Row { row: ctx.next_row, lock: self.id, class, id, data, meta };
        ctx.next_row += 1;
        ctx.ram_rows += 1;
        self.recent.get_or_insert_default().remember(id, row.row);

        let mut hold_ms = ctx.hold_ms();
        if ctx.ram_rows > ctx.config.ram_rows / 2 {
            hold_ms = 0; // The disk takes what memory is getting too small for.
        }
        if self.sleepy()
            && let Some(closes) = up.window
        {
            let spare = u64::from(ctx.config.window_edge_ms).saturating_add(COMMIT_MS);
            hold_ms = hold_ms.min(closes.saturating_sub(ctx.now).saturating_sub(spare));
        }
        let queue = self.queue();
        if matches!(queue.next(), Next::Disk { .. }) {
            hold_ms = 0; // What is before it must be read first: it cannot be acknowledged in time.
        }
        let hold_at = ctx.now.saturating_add(hold_ms);
        queue.hold_at = Some(queue.hold_at.map_or(hold_at, |at| at.min(hold_at)));
        queue.uncommitted.push(row.row);
        queue.push(Item {
            row,
            seq: 0,
            stored: Stored::No,
            flight: Flight::Waiting,
            receipt,
            safe: false,
            paged: false,
        });
    }

    fn hear_again(&mut self, ctx: &mut Ctx, row: u64, receipt: Option<ReceiptToken>) {
        ctx.metrics.duplicates += 1;
        let Some(receipt) = receipt else { return };
        if let Some(item) = self.queue.as_mut().and_then(|q| q.item(row)).filter(|item| !item.safe) {
            item.receipt = Some(receipt);
            return;
        }
        let dropped = ctx.tickets.values_mut().find_map(|purpose| match purpose {
            Purpose::Gap { row: dropped, receipt, .. } if *dropped == row && row != 0 => Some(receipt),
            _ => None,
        });
        match dropped {
            Some(waiting) => *waiting = Some(receipt),
            None => self.promise(ctx, receipt),
        }
    }

    pub(crate) fn release(&mut self, receipt: Option<ReceiptToken>) {
        if let (Some(link), Some(receipt)) = (&mut self.link, receipt) {
            link.release(receipt);
        }
    }

    /// Commits everything of this lock that nobody durable has yet.
    pub(crate) fn commit(&mut self, ctx: &mut Ctx) {
        let Some(queue) = &mut self.queue else { return };
        queue.hold_at = None;
        let mut rows = Vec::new();
        let mut changes = Vec::new();
        for number in std::mem::take(&mut queue.uncommitted) {
            let Some(item) = queue.item(number) else { continue };
            if item.safe || item.stored != Stored::No {
                continue;
            }
            item.stored = Stored::Asked;
            let row = item.row.clone();
            let weight = row.weight();
            rows.push(number);
            changes.push(Change::InsertRow(row));
            queue.stored_weight = queue.stored_weight.saturating_add(weight);
            ctx.stored_weight = ctx.stored_weight.saturating_add(weight);
        }
        if rows.is_empty() {
            return;
        }
        ctx.write(changes, Purpose::Rows(self.id, rows));

        // Room is made in pieces worth a search, but no class pays for the convenience of a lower one.
        let over = |stored: u64, shedding: u64, most: u64| {
            let bytes = stored.saturating_sub(shedding).saturating_sub(most);
            (bytes > 0).then_some((bytes, most / 64))
        };
        if let Some((bytes, spare)) = over(queue.stored_weight, queue.shedding, ctx.config.lock_bytes) {
            let all = bytes.saturating_add(spare);
            queue.shedding = queue.shedding.saturating_add(all);
            ctx.shedding = ctx.shedding.saturating_add(all);
            let lock = Some(self.id);
            ctx.write(vec![Change::Shed { lock, bytes, spare }], Purpose::Shed(lock, all));
        }
        if let Some((bytes, spare)) = over(ctx.stored_weight, ctx.shedding, ctx.config.outbox_bytes) {
            let all = bytes.saturating_add(spare);
            ctx.shedding = ctx.shedding.saturating_add(all);
            ctx.write(vec![Change::Shed { lock: None, bytes, spare }], Purpose::Shed(None, all));
        }
    }

    /// These rows are on disk.
    pub(crate) fn stored(&mut self, ctx: &mut Ctx, rows: &[u64]) {
        ctx.metrics.rows_committed += u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let mut receipts = Vec::new();
        if let Some(queue) = &mut self.queue {
            for row in rows {
                if let Some(item) = queue.item(*row) {
                    item.stored = Stored::Yes;
                    item.safe = true;
                    receipts.extend(item.receipt.take());
                }
            }
        }
        for receipt in receipts {
            self.promise(ctx, receipt);
        }
        self.make_room(ctx);
    }

    /// These rows could not be written: no receipt, and another try later. The broker may still take them.
    pub(crate) fn not_stored(&mut self, ctx: &mut Ctx, rows: &[u64], failure: &Failure) {
        let Some(queue) = &mut self.queue else { return };
        let mut needed = 0_u64;
        for row in rows {
            let Some(item) = queue.item(*row) else { continue };
            item.stored = Stored::No;
            let weight = item.row.weight();
            if item.row.class.has_receipt() {
                needed = needed.saturating_add(weight);
            }
            queue.stored_weight = queue.stored_weight.saturating_sub(weight);
            ctx.stored_weight = ctx.stored_weight.saturating_sub(weight);
            queue.uncommitted.push(*row);
        }
        queue.uncommitted.sort_unstable();
        let again = ctx.now.saturating_add(RETRY_MS);
        queue.hold_at = Some(queue.hold_at.map_or(again, |at| at.min(again)));
        // The disk is smaller than its bound: what matters least makes room for what a lock waits for.
        if failure.kind == FailureKind::Full && needed > 0 && ctx.shedding == 0 {
            let spare = needed;
            let all = needed.saturating_add(spare);
            ctx.shedding = ctx.shedding.saturating_add(all);
            ctx.write(vec![Change::Shed { lock: None, bytes: needed, spare }], Purpose::Shed(None, all));
        }
    }

    /// The broker has this row.
    pub(crate) fn acked(&mut self, ctx: &mut Ctx, row: u64) {
        let seen = self.seen;
        let Some(item) = self.queue.as_mut().and_then(|q| q.item(row)) else { return };
        if item.flight != Flight::Published {
            return;
        }
        if Self::until_seen(ctx, item.row.class) && item.seq > seen {
            item.flight = Flight::Acked;
            return;
        }
        item.flight = Flight::Done;
        item.safe = true;
        let receipt = item.receipt.take();
        if let Some(receipt) = receipt {
            self.promise(ctx, receipt);
        }
    }

    /// The broker will never take this row: it goes, and the platform learns of it.
    pub(crate) fn poisoned(&mut self, ctx: &mut Ctx, row: u64) {
        let Some(queue) = &mut self.queue else { return };
        let Some(item) = queue.item(row).filter(|i| i.flight == Flight::Published) else { return };
        item.flight = Flight::Done;
        item.safe = true;
        let receipt = item.receipt.take();
        if item.stored == Stored::Yes {
            ctx.lazily(Change::DropRow(row));
            return;
        }
        // Sending it again would not help the lock; but what it may forget must be durable as a gap.
        let (id, at) = (item.row.id, item.row.meta.at);
        ctx.metrics.rows_dropped += 1;
        let gap = Gap { id, lock: self.id, class: item.row.class, frames: 1, first: at, last: at };
        let changes = vec![Change::DeleteRow(row), Change::InsertGap(gap.clone())];
        ctx.write(changes, Purpose::Gap { row, gap, receipt });
    }

    /// The gap of a dropped row could not be written: a lock that waits for its receipt keeps the frame, and
    /// may send it again.
    pub(crate) fn gap_not_stored(&mut self, ctx: &mut Ctx, gap: Gap, receipt: Option<ReceiptToken>) {
        if receipt.is_none() {
            ctx.lose(gap);
            return;
        }
        if let Some(recent) = &mut self.recent {
            recent.forget(&gap.id);
        }
        self.release(receipt);
    }

    /// Rows that the store dropped to make room.
    pub(crate) fn shed(&mut self, ctx: &mut Ctx, row: u64, class: Class, weight: u64) {
        let Some(queue) = &mut self.queue else { return };
        let found = queue.forget(row, class);
        if matches!(found, Forgotten::Unknown) {
            return; // It was settled meanwhile.
        }
        queue.stored_weight = queue.stored_weight.saturating_sub(weight);
        ctx.stored_weight = ctx.stored_weight.saturating_sub(weight);
        if let Forgotten::Item(item) = found {
            ctx.left_memory(&item);
            if let Some(receipt) = item.receipt {
                self.promise(ctx, receipt); // It was stored, and the gap will say what became of it.
            }
        }
    }

    /// Gives the lock its receipt: now, or at the edge of a sleepy lock's window, where a command goes first.
    pub(crate) fn promise(&mut self, ctx: &mut Ctx, receipt: ReceiptToken) {
        ctx.metrics.receipts += 1;
        let now = ctx.now;
        if self.sleepy() {
            self.down().promise(receipt);
        } else {
            self.link(ctx).custody(now, receipt);
        }
    }
}
