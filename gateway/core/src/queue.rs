//! One lock's outbox: what is in memory, what is only on disk, and in which order it goes up.
//!
//! The queue is a list of segments in row order. Rows in memory carry their state; rows that are only on disk
//! are a range, read in pages when their turn comes. What has been published is always a prefix.

use std::collections::VecDeque;

use cardea_framing::{Class, ReceiptToken};

use crate::records::Row;

/// Whether a row is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    No,
    Asked,
    Yes,
}

/// How far a row in memory has come on its way up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flight {
    /// Not published on this connection.
    Waiting,
    /// Published, no word from the broker.
    Published,
    /// The broker has it; platform custody still waits for `seen`.
    Acked,
    /// In better hands: may be forgotten.
    Done,
}

/// A row in memory.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) row: Row,
    /// 0 until it is published in this epoch.
    pub(crate) seq: u64,
    pub(crate) stored: Stored,
    pub(crate) flight: Flight,
    /// Present while the lock waits for our word.
    pub(crate) receipt: Option<ReceiptToken>,
    /// The lock was told, or need not be: someone durable has it.
    pub(crate) safe: bool,
    /// It came from the disk, and counts among those.
    pub(crate) paged: bool,
}

impl Item {
    /// The disk holds all that this item says, but for its number.
    fn is_only_a_copy(&self) -> bool {
        self.stored == Stored::Yes && self.flight == Flight::Waiting && self.receipt.is_none()
    }
}

/// Rows that left memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Freed {
    pub(crate) rows: usize,
    /// Those among them that had come from the disk.
    pub(crate) paged: usize,
}

impl Freed {
    pub(crate) fn add(&mut self, item: &Item) {
        self.rows += 1;
        self.paged += usize::from(item.paged);
    }
}

/// A row that the broker acknowledged and the platform has not seen; its data is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parked {
    pub(crate) row: u64,
    pub(crate) seq: u64,
    pub(crate) class: Class,
    pub(crate) weight: u64,
}

#[derive(Debug)]
enum Segment {
    Ram(VecDeque<Item>),
    /// Rows with `after < row <= through`.
    Disk {
        after: u64,
        through: u64,
    },
}

/// What comes next in a queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This row, in memory.
    Row(u64),
    /// Rows that must be read first.
    Disk { after: u64, through: u64 },
    /// Nothing is waiting.
    Nothing,
}

/// What a [`Queue::forget`] gave up.
#[derive(Debug)]
pub(crate) enum Forgotten {
    Item(Box<Item>),
    Parked,
    Disk,
    Unknown,
}

/// One lock's outbox.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    segments: VecDeque<Segment>,
    parked: VecDeque<Parked>,
    /// Rows that wait to be published, by class; those on disk included.
    waiting: [u32; 4],
    /// Sum of the weights of rows that are on disk or on their way there.
    pub(crate) stored_weight: u64,
    /// Bytes that the store was asked to shed.
    pub(crate) shedding: u64,
    /// A page is being read.
    pub(crate) paging: bool,
    /// A page could not be read; when to ask again.
    pub(crate) page_again: Option<u64>,
    /// Rows in memory that were not given to the store, oldest first.
    pub(crate) uncommitted: Vec<u64>,
    /// When the oldest uncommitted row must be committed.
    pub(crate) hold_at: Option<u64>,
    /// When unseen rows are sent again, and the patience before the next time.
    pub(crate) resend: Option<(u64, u32)>,
}

impl Queue {
    /// A queue that found `rows` (by class) on disk.
    pub(crate) fn on_disk(rows: [u32; 4], weight: u64, last: u64) -> Self {
        let mut queue = Self { waiting: rows, stored_weight: weight, ..Self::default() };
        queue.segments.push_back(Segment::Disk { after: 0, through: last });
        queue
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.parked.is_empty()
    }

    /// The most urgent class that waits.
    pub(crate) fn best_waiting(&self) -> Option<Class> {
        Class::ALL.into_iter().zip(self.waiting).find_map(|(class, rows)| (rows > 0).then_some(class))
    }

    /// Rows that wait for the broker or the platform; short of those in flight out of order.
    pub(crate) fn rows(&self) -> u64 {
        let waiting: u64 = self.waiting.iter().map(|n| u64::from(*n)).sum();
        waiting.saturating_add(u64::try_from(self.published()).unwrap_or(u64::MAX))
    }

    pub(crate) fn parked(&self) -> &VecDeque<Parked> {
        &self.parked
    }

    /// Rows that were published and are not settled, parked ones included; short of a scan, at most this many.
    pub(crate) fn published(&self) -> usize {
        let prefix = match self.segments.front() {
            Some(Segment::Ram(items)) => first_waiting(items),
            _ => 0,
        };
        self.parked_before_segments().saturating_add(prefix)
    }

    /// Parked rows that are not to be sent again, so that no segment covers them.
    pub(crate) fn parked_before_segments(&self) -> usize {
        let start = match self.segments.front() {
            Some(Segment::Ram(items)) => items.front().map_or(u64::MAX, |i| i.row.row),
            Some(Segment::Disk { after, .. }) => after.saturating_add(1),
            None => u64::MAX,
        };
        self.parked.partition_point(|p| p.row < start)
    }

    fn on_disk_range(&self, row: u64) -> bool {
        self.segments
            .iter()
            .any(|s| matches!(s, Segment::Disk { after, through } if row > *after && row <= *through))
    }

    /// Appends a new row.
    pub(crate) fn push(&mut self, item: Item) {
        self.count(item.row.class, 1);
        match self.segments.back_mut() {
            Some(Segment::Ram(items)) => items.push_back(item),
            _ => self.segments.push_back(Segment::Ram(VecDeque::from([item]))),
        }
    }

    /// What is to be published next.
    pub(crate) fn next(&self) -> Next {
        for segment in &self.segments {
            match segment {
                Segment::Ram(items) => {
                    if let Some(item) = items.get(first_waiting(items)) {
                        return Next::Row(item.row.row);
                    }
                }
                Segment::Disk { after, through } => return Next::Disk { after: *after, through: *through },
            }
        }
        Next::Nothing
    }

    /// The row's item, if it is in memory.
    pub(crate) fn item(&mut self, row: u64) -> Option<&mut Item> {
        self.segments.iter_mut().find_map(|segment| match segment {
            Segment::Ram(items) => {
                let place = items.binary_search_by_key(&row, |item| item.row.row).ok()?;
                items.get_mut(place)
            }
            Segment::Disk { .. } => None,
        })
    }

    /// Marks the row that [`Self::next`] named as published.
    pub(crate) fn publish(&mut self, row: u64, next_seq: &mut u64) -> Option<&mut Item> {
        let class = self.item(row)?.row.class;
        self.count(class, -1);
        let item = self.item(row)?;
        item.flight = Flight::Published;
        if item.seq == 0 {
            item.seq = *next_seq;
            *next_seq = next_seq.saturating_add(1);
        }
        Some(item)
    }

    /// Puts a page that was read behind the first and up to the second row of `asked` in its place. `full`: there
    /// may be more of these. Gives how many rows came into memory. A page whose range is no longer there counts
    /// for nothing; one whose range has grown since says nothing of what was added.
    pub(crate) fn page(&mut self, asked: (u64, u64), rows: Vec<Row>, full: bool) -> usize {
        let (read_after, read_through) = asked;
        self.paging = false;
        let place = self
            .segments
            .iter()
            .position(|s| matches!(s, Segment::Disk { after, .. } if *after == read_after));
        let Some(place) = place else { return 0 };
        let Some(Segment::Disk { after, through }) = self.segments.get_mut(place) else { return 0 };
        let mut items = VecDeque::with_capacity(rows.len());
        for row in rows {
            if row.row <= *after || row.row > read_through.min(*through) {
                continue;
            }
            *after = row.row;
            let seq = self
                .parked
                .binary_search_by_key(&row.row, |p| p.row)
                .ok()
                .and_then(|at| self.parked.get(at))
                .map_or(0, |p| p.seq);
            items.push_back(Item {
                row,
                seq,
                stored: Stored::Yes,
                flight: Flight::Waiting,
                receipt: None,
                safe: true,
                paged: true,
            });
        }
        // A row has one place: from here on these are in memory, not parked.
        if let Some(last) = items.back().map(|i| i.row.row) {
            let from = items.front().map_or(last, |i| i.row.row);
            self.parked.retain(|p| p.row < from || p.row > last);
        }
        let gained = items.len();
        if !full {
            *after = read_through.min(*through).max(*after);
        }
        if *after >= *through {
            self.segments.remove(place);
        }
        self.segments.insert(place, Segment::Ram(items));
        self.join();
        if !self.segments.iter().any(|s| matches!(s, Segment::Disk { .. })) {
            self.recount();
        }
        gained
    }

    /// Drops waiting items from the end of the memory that the disk holds as well. Newer ones that are still on
    /// their way to the disk stay, behind the range that is only there. Numbers that were given are kept.
    pub(crate) fn evict(&mut self) -> Freed {
        let mut freed = Freed::default();
        let Some(Segment::Ram(items)) = self.segments.back_mut() else { return freed };
        let newer = items.iter().rev().take_while(|i| !i.is_only_a_copy()).count();
        let mut tail = items.split_off(items.len().saturating_sub(newer));
        let mut range: Option<(u64, u64)> = None;
        while items.back().is_some_and(Item::is_only_a_copy) {
            let Some(item) = items.pop_back() else { break };
            let row = item.row.row;
            range = Some((row.saturating_sub(1), range.map_or(row, |(_, through)| through)));
            freed.add(&item);
            keep_number(&mut self.parked, &item);
        }
        match range {
            Some((after, through)) => {
                self.segments.push_back(Segment::Disk { after, through });
                self.segments.push_back(Segment::Ram(tail));
                self.join();
            }
            None => items.append(&mut tail),
        }
        freed
    }

    /// Moves rows of a RAM segment that follows a range on disk into that range once they are on disk
    /// themselves.
    pub(crate) fn sink(&mut self) -> Freed {
        let mut freed = Freed::default();
        let mut disk = None;
        for place in 0..self.segments.len() {
            let end = match self.segments.get_mut(place) {
                Some(Segment::Disk { .. }) => {
                    disk = Some(place);
                    continue;
                }
                Some(Segment::Ram(items)) if disk.is_some() => {
                    let mut end = None;
                    while items.front().is_some_and(Item::is_only_a_copy) {
                        let Some(item) = items.pop_front() else { break };
                        end = Some(item.row.row);
                        freed.add(&item);
                        keep_number(&mut self.parked, &item);
                    }
                    end
                }
                _ => None,
            };
            if let (Some(end), Some(Segment::Disk { through, .. })) =
                (end, disk.and_then(|place| self.segments.get_mut(place)))
            {
                *through = end;
            }
            disk = None;
        }
        if freed.rows > 0 {
            self.join();
        }
        freed
    }

    /// Takes what is finished off the front: done items, and (with `park`) acknowledged ones that wait for
    /// `seen` and are on disk. Calls `gone` for every item that left memory.
    pub(crate) fn settle(&mut self, park: impl Fn(Class) -> bool, mut gone: impl FnMut(Item)) {
        while let Some(Segment::Ram(items)) = self.segments.front_mut() {
            let Some(front) = items.front() else {
                self.segments.pop_front();
                continue;
            };
            let parks = front.flight == Flight::Acked && front.stored == Stored::Yes && park(front.row.class);
            if front.flight != Flight::Done && !parks {
                break;
            }
            let Some(item) = items.pop_front() else { break };
            if parks {
                keep_number(&mut self.parked, &item);
            }
            gone(item);
        }
    }

    /// The platform has everything up to `seq`. Calls `gone` for every parked row that is over; items in
    /// memory become [`Flight::Done`].
    pub(crate) fn seen(&mut self, seq: u64, mut gone: impl FnMut(Parked), mut done: impl FnMut(&mut Item)) {
        while let Some(parked) = self.parked.front().copied().filter(|p| p.seq <= seq) {
            self.parked.pop_front();
            if self.on_disk_range(parked.row) {
                self.count(parked.class, -1);
            }
            gone(parked);
        }
        let mut waiting = [0_u32; 4];
        for segment in &mut self.segments {
            let Segment::Ram(items) = segment else { continue };
            for item in items.iter_mut() {
                if item.seq == 0 || item.seq > seq {
                    break;
                }
                if item.flight == Flight::Waiting
                    && let Some(count) = waiting.get_mut(usize::from(u8::from(item.row.class)))
                {
                    *count += 1;
                }
                if item.flight != Flight::Done {
                    item.flight = Flight::Done;
                    done(item);
                }
            }
        }
        for (count, gone) in self.waiting.iter_mut().zip(waiting) {
            *count = count.saturating_sub(gone);
        }
    }

    /// Nothing that was published counts any more: all of it is to be sent again, in order. With parked rows,
    /// they are read from the disk first.
    pub(crate) fn rewind(&mut self) {
        let mut again = [0_i64; 4];
        for segment in &mut self.segments {
            let Segment::Ram(items) = segment else { continue };
            for item in items.iter_mut() {
                if matches!(item.flight, Flight::Published | Flight::Acked) {
                    item.flight = Flight::Waiting;
                    if let Some(n) = again.get_mut(usize::from(u8::from(item.row.class))) {
                        *n += 1;
                    }
                }
            }
        }
        // Parked rows that are already on their way back in need no second range.
        let idle = self.parked_before_segments();
        let mut range: Option<(u64, u64)> = None;
        for parked in self.parked.iter().take(idle) {
            range = Some((range.map_or(parked.row.saturating_sub(1), |(after, _)| after), parked.row));
            if let Some(n) = again.get_mut(usize::from(u8::from(parked.class))) {
                *n += 1;
            }
        }
        if let Some((after, through)) = range {
            self.segments.push_front(Segment::Disk { after, through });
        }
        for (class, n) in Class::ALL.into_iter().zip(again) {
            self.count(class, n);
        }
    }

    /// The store dropped this row.
    pub(crate) fn forget(&mut self, row: u64, class: Class) -> Forgotten {
        if let Ok(at) = self.parked.binary_search_by_key(&row, |p| p.row) {
            self.parked.remove(at);
            if self.on_disk_range(row) {
                self.count(class, -1);
            }
            return Forgotten::Parked;
        }
        let mut found = Forgotten::Unknown;
        for segment in &mut self.segments {
            match segment {
                Segment::Ram(items) => {
                    if let Ok(at) = items.binary_search_by_key(&row, |i| i.row.row)
                        && let Some(item) = items.remove(at)
                    {
                        found = Forgotten::Item(Box::new(item));
                        break;
                    }
                }
                Segment::Disk { after, through } => {
                    if row > *after && row <= *through {
                        found = Forgotten::Disk;
                        break;
                    }
                }
            }
        }
        let was_waiting = match &found {
            Forgotten::Item(item) => item.flight == Flight::Waiting,
            Forgotten::Disk => true,
            Forgotten::Parked | Forgotten::Unknown => false,
        };
        if was_waiting {
            self.count(class, -1);
        }
        self.join();
        found
    }

    fn count(&mut self, class: Class, by: i64) {
        if let Some(count) = self.waiting.get_mut(usize::from(u8::from(class))) {
            *count = u32::try_from(i64::from(*count).saturating_add(by).max(0)).unwrap_or(u32::MAX);
        }
    }

    /// Counts again what waits; right once nothing is only on disk.
    fn recount(&mut self) {
        let mut waiting = [0_u32; 4];
        for segment in &self.segments {
            let Segment::Ram(items) = segment else { continue };
            for item in items.iter().filter(|i| i.flight == Flight::Waiting) {
                if let Some(n) = waiting.get_mut(usize::from(u8::from(item.row.class))) {
                    *n += 1;
                }
            }
        }
        self.waiting = waiting;
    }

    /// Removes empty memory segments and joins neighbours of the same sort.
    fn join(&mut self) {
        let mut joined: VecDeque<Segment> = VecDeque::with_capacity(self.segments.len());
        for segment in self.segments.drain(..) {
            match (joined.back_mut(), segment) {
                (_, Segment::Ram(items)) if items.is_empty() => {}
                (Some(Segment::Ram(left)), Segment::Ram(right)) => left.extend(right),
                (Some(Segment::Disk { through, .. }), Segment::Disk { through: end, .. }) => {
                    *through = end.max(*through);
                }
                (_, segment) => joined.push_back(segment),
            }
        }
        self.segments = joined;
    }
}

/// Keeps the number of a row that leaves memory for the disk, if it has one.
fn keep_number(parked: &mut VecDeque<Parked>, item: &Item) {
    if item.seq != 0 {
        let row = item.row.row;
        let place = parked.partition_point(|p| p.row < row);
        parked.insert(place, Parked { row, seq: item.seq, class: item.row.class, weight: item.row.weight() });
    }
}

/// Published items are a prefix.
fn first_waiting(items: &VecDeque<Item>) -> usize {
    items.partition_point(|item| item.flight != Flight::Waiting)
}
