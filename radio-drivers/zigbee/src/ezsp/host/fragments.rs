//! APS fragmentation, which on EZSP is the host's: messages are cut into blocks, and blocks put together.
//!
//! ```text
//! options   8000: a block of a longer message; such a block is always to be acknowledged (0040)
//! group     low byte: which block, from 0; high byte: in block 0, how many there are
//! sequence  what the stack gave block 0; the others have it too
//! ```
//! The stack repeats each block of ours until it is acknowledged. A block that comes is acknowledged by the host alone, whatever
//! is decided on replies ([`Command::SendReply`](crate::ezsp::call::Command::SendReply)), with the fields that it came with and
//! in `group` the first block of the window (low byte) and which of the window came (high byte; what is beyond it is 1).
//!
//! The window is one block both ways, as Zigbee PRO's is and Silicon Labs' own host has it by default: a block is sent when the one
//! before was acknowledged. So blocks come in order, and what comes out of it is refused: not acknowledged, and counted.

use cardea_radio::Millis;
use zeroize::Zeroizing;

use crate::coordinator::{MAX_ASDU, PARENT_HOLD_MS, UNFRAGMENTED_ASDU};
use crate::ezsp::call::{ApsFrame, Incoming};
use crate::types::NwkAddr;
use crate::wire::secret_buffer;

/// Longest payload that is sent whole, bytes: what fits a frame without a source route.
pub(super) const WHOLE: usize = 82;
/// Longest block, bytes: a frame that surely fits, less the block's own two bytes in the APS header (Zigbee, extended header).
const BLOCK: usize = UNFRAGMENTED_ASDU - 2;
/// Blocks of the longest message.
const _: () = assert!(MAX_ASDU.div_ceil(BLOCK) <= u8::MAX as usize);

/// A message of ours that is sent in blocks.
#[derive(Debug)]
pub(super) struct Cut {
    count: u8,
    next: u8,
    /// What the stack gave the first block.
    sequence: u8,
    /// The next block is to be given to the NCP.
    pub(super) ready: bool,
}

impl Cut {
    /// `None`: it is sent whole, or too long.
    pub(super) fn of(length: usize) -> Option<Self> {
        (length > BLOCK)
            .then(|| length.div_ceil(BLOCK))
            .and_then(|count| u8::try_from(count).ok())
            .map(|count| Self { count, next: 0, sequence: 0, ready: true })
    }

    /// The `group` and `sequence` of the next block, and what is in it.
    pub(super) fn block<'a>(&self, payload: &'a [u8]) -> (u16, u8, &'a [u8]) {
        let group = u16::from_be_bytes([self.count, self.next]);
        (group, self.sequence, payload.chunks(BLOCK).nth(self.next.into()).unwrap_or(&[]))
    }

    /// The NCP took the block.
    pub(super) fn taken(&mut self, sequence: u8) {
        if self.next == 0 {
            self.sequence = sequence;
        }
    }

    /// The block was acknowledged. True if there is another one.
    pub(super) fn acknowledged(&mut self) -> bool {
        self.next = self.next.saturating_add(1);
        self.ready = self.next < self.count;
        self.ready
    }
}

/// Messages that are put together at once, one of each sender; with those that are complete and whose last block may come again.
const MAX_MESSAGES: usize = 8;
/// How long the next block may take: three repetitions, each after an acknowledgement that took all its time (1.6 s) and was kept
/// for a sender that sleeps.
const BLOCK_MS: Millis = 3 * (1_600 + PARENT_HOLD_MS);
/// How long all of them may take together.
const MESSAGE_MS: Millis = 120_000;

/// Messages to us of which some blocks are missing.
#[derive(Debug, Default)]
pub(super) struct Reassembly(Vec<Message>);

#[derive(Debug)]
struct Message {
    sender: NwkAddr,
    head: [u16; 4],
    sequence: u8,
    count: u8,
    /// The block that is missing; as many as there are once it is complete.
    next: u8,
    payload: Zeroizing<Vec<u8>>,
    /// When it is given up, whatever comes.
    over: Millis,
    until: Millis,
}

/// What a block is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// One that nobody waits for, or has no room. It is not acknowledged.
    Refused,
    /// To be acknowledged.
    Taken,
    /// The last one, to be acknowledged: this is the message.
    Whole(Zeroizing<Vec<u8>>),
}

impl Reassembly {
    pub(super) fn take(&mut self, now: Millis, block: &Incoming) -> Block {
        let [count, number] = block.aps.group.to_be_bytes();
        let (head, sequence) = (head(&block.aps), block.aps.sequence);
        // 0 and 1: to us alone, or an answer to us.
        if block.kind > 1 || block.payload.0.is_empty() {
            return Block::Refused;
        }
        let ours = |message: &Message| {
            (message.sender, message.sequence, message.head) == (block.sender, sequence, head)
        };
        let place = match self.0.iter().position(ours) {
            Some(place) => place,
            None if number != 0 => return Block::Refused,
            None => match self.begin(now, block, count) {
                Some(place) => place,
                None => return Block::Refused,
            },
        };
        let Some(message) = self.0.get_mut(place) else { return Block::Refused };
        if number == 0 && message.next > 1 {
            // Its sender began anew, and counts from where it did before.
            message.restart(now, count);
        }
        if number.checked_add(1) == Some(message.next) {
            // Our acknowledgement was lost.
            return Block::Taken;
        }
        if number != message.next || message.is_complete() {
            return Block::Refused;
        }
        if message.payload.len().saturating_add(block.payload.0.len()) > MAX_ASDU {
            self.0.swap_remove(place);
            return Block::Refused;
        }
        message.payload.extend_from_slice(&block.payload.0);
        message.next = message.next.saturating_add(1);
        message.until = now.saturating_add(BLOCK_MS).min(message.over);
        if message.is_complete() { Block::Whole(std::mem::take(&mut message.payload)) } else { Block::Taken }
    }

    /// Room for a message whose first block came. A sender has one: what it began before, it gave up.
    fn begin(&mut self, now: Millis, block: &Incoming, count: u8) -> Option<usize> {
        if count == 0 {
            return None;
        }
        self.0.retain(|message| message.sender != block.sender);
        if self.0.len() >= MAX_MESSAGES {
            let complete = self.0.iter().enumerate().filter(|(_, message)| message.is_complete());
            let (oldest, _) = complete.min_by_key(|(_, message)| message.until)?;
            self.0.swap_remove(oldest);
        }
        let mut message = Message {
            sender: block.sender,
            head: head(&block.aps),
            sequence: block.aps.sequence,
            count,
            next: 0,
            payload: Zeroizing::default(),
            over: now,
            until: now,
        };
        message.restart(now, count);
        self.0.push(message);
        self.0.len().checked_sub(1)
    }

    /// Gives up what takes too long. How many messages that were not complete.
    pub(super) fn handle_timeout(&mut self, now: Millis) -> usize {
        let over = self.0.extract_if(.., |message| message.until <= now);
        over.filter(|message| !message.is_complete()).count()
    }

    /// The NCP restarted: nobody sends what is missing. How many messages were not complete.
    pub(super) fn interrupted(&mut self) -> usize {
        std::mem::take(&mut self.0).iter().filter(|message| !message.is_complete()).count()
    }

    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        self.0.iter().map(|message| message.until).min()
    }
}

impl Message {
    fn is_complete(&self) -> bool {
        self.next == self.count
    }

    fn restart(&mut self, now: Millis, count: u8) {
        (self.count, self.next) = (count, 0);
        self.payload = secret_buffer(MAX_ASDU);
        self.over = now.saturating_add(MESSAGE_MS);
        self.until = now.saturating_add(BLOCK_MS);
    }
}

/// What all blocks of a message have in common, beside the sender and its counter.
fn head(aps: &ApsFrame) -> [u16; 4] {
    [aps.profile, aps.cluster, aps.src_endpoint.into(), aps.dst_endpoint.into()]
}

/// The `group` of the acknowledgement of a block: a window of one block, which came.
pub(super) fn acknowledgement(aps: &ApsFrame) -> ApsFrame {
    ApsFrame { group: aps.group | 0xFF00, ..aps.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ezsp::call::aps;

    fn block(sender: u16, sequence: u8, group: u16, payload: &[u8]) -> Incoming {
        let options = aps::RETRY | aps::FRAGMENT;
        let aps = ApsFrame {
            profile: 0x0104,
            cluster: 0x0101,
            src_endpoint: 1,
            dst_endpoint: 1,
            options,
            group,
            sequence,
        };
        let (sender, payload) = (NwkAddr(sender), payload.into());
        Incoming { kind: 0, aps, sender, eui: None, lqi: 0, rssi: 0, payload }
    }

    fn whole(payload: &[u8]) -> Block {
        Block::Whole(Zeroizing::new(payload.to_vec()))
    }

    #[test]
    fn the_longest_message_is_cut_into_blocks_that_fit_and_the_shortest_is_not() {
        assert!(Cut::of(BLOCK).is_none() && Cut::of(BLOCK * 256).is_none());
        let message: Vec<u8> = (0..1_500u16).map(|n| n.to_le_bytes()[0]).collect();
        let mut cut = Cut::of(message.len()).unwrap();
        let (mut groups, mut sent) = (Vec::new(), Vec::new());
        loop {
            let (group, sequence, bytes) = cut.block(&message);
            assert_eq!(sequence, if groups.is_empty() { 0 } else { 9 });
            assert!((1..=72).contains(&bytes.len()));
            groups.push(group);
            sent.extend(bytes);
            cut.taken(if groups.len() == 1 { 9 } else { 10 });
            if !cut.acknowledged() {
                break;
            }
        }
        assert_eq!((groups[0], groups[20], groups.len(), sent), (0x1500, 0x1514, 21, message));
    }

    #[test]
    fn blocks_in_order_become_the_message_once_and_one_that_comes_again_is_acknowledged_again() {
        let mut all = Reassembly::default();
        assert_eq!(all.take(0, &block(1, 5, 0x0300, b"one ")), Block::Taken);
        assert_eq!(all.take(1, &block(1, 5, 0x0300, b"one ")), Block::Taken);
        // Only the first says how many there are.
        assert_eq!(all.take(2, &block(1, 5, 0x0001, b"two ")), Block::Taken);
        assert_eq!(all.take(3, &block(1, 5, 0x0002, b"three")), whole(b"one two three"));
        assert_eq!(all.take(4, &block(1, 5, 0x0002, b"three")), Block::Taken, "not handed over twice");
        assert_eq!(all.handle_timeout(100_000), 0, "it was complete");
        assert_eq!(all.take(100_000, &block(1, 5, 0x0002, b"three")), Block::Refused);
    }

    #[test]
    fn blocks_out_of_order_of_another_message_or_for_many_are_refused() {
        let mut all = Reassembly::default();
        assert_eq!(all.take(0, &block(1, 5, 0x0001, b"two")), Block::Refused, "without a first");
        assert_eq!(all.take(0, &block(1, 5, 0x0000, b"one")), Block::Refused, "none at all");
        assert_eq!(all.take(0, &block(1, 5, 0x0300, b"")), Block::Refused, "nothing in it");
        assert_eq!(all.take(0, &Incoming { kind: 4, ..block(1, 5, 0x0300, b"one") }), Block::Refused);
        assert_eq!(all.take(0, &block(1, 5, 0x0300, b"one")), Block::Taken);
        for group in [0x0002, 0x00FF, 0xFF02] {
            assert_eq!(all.take(0, &block(1, 5, group, b"x")), Block::Refused);
        }
        let mut other = block(1, 5, 0x0001, b"two");
        other.aps.cluster = 0xFC7C;
        for other in [other, block(2, 5, 0x0001, b"two"), block(1, 6, 0x0001, b"two")] {
            assert_eq!(all.take(0, &other), Block::Refused);
        }
        assert_eq!(all.take(0, &block(1, 5, 0x0001, b"two")), Block::Taken);
    }

    #[test]
    fn a_sender_has_one_message_at_a_time_and_may_begin_it_anew() {
        let mut all = Reassembly::default();
        for (sequence, group, block_is) in [
            (5, 0x0300, Block::Taken),
            (5, 0x0001, Block::Taken),
            (5, 0x0200, Block::Taken),
            (6, 0x0200, Block::Taken),
        ] {
            assert_eq!(all.take(0, &block(1, sequence, group, b"x")), block_is);
        }
        assert_eq!(all.0.len(), 1);
        assert_eq!(all.take(0, &block(1, 5, 0x0001, b"y")), Block::Refused, "that one was given up");
        assert_eq!(all.take(0, &block(1, 6, 0x0001, b"y")), whole(b"xy"));
    }

    #[test]
    fn what_many_senders_begin_is_bounded_in_number_size_and_time() {
        let mut all = Reassembly::default();
        for sender in 1..=100 {
            let room = sender <= 8;
            let taken = all.take(u64::from(sender), &block(sender, 5, 0xFF00, &[0; 82]));
            assert_eq!(taken == Block::Taken, room, "{sender}");
        }
        // The eighth goes on until it is too long, in time for each block.
        let mut taken = 1;
        let mut now = 100;
        while all.take(now, &block(8, 5, taken, &[0; 82])) == Block::Taken {
            (taken, now) = (taken + 1, now + 1_000);
        }
        assert_eq!((taken, all.0.len()), (18, 7), "1,476 bytes; with 82 more it is none");
        // One that sends a byte now and then is given up, too.
        assert_eq!(all.handle_timeout(30_000), 7);
        let (mut number, mut now) = (0, 30_000);
        while all.take(now, &block(9, 5, 0xFF00 + number, b"x")) == Block::Taken {
            (number, now) = (number + 1, now + 20_000);
            all.handle_timeout(now);
        }
        assert_eq!((number, all.poll_timeout()), (6, None));
    }

    #[test]
    fn a_complete_message_makes_room_before_an_incomplete_one() {
        let mut all = Reassembly::default();
        assert_eq!(all.take(0, &block(1, 5, 0x0100, b"short")), whole(b"short"));
        for sender in 2..=8 {
            assert_eq!(all.take(0, &block(sender, 5, 0x0200, b"x")), Block::Taken);
        }
        assert_eq!(all.take(0, &block(9, 5, 0x0200, b"x")), Block::Taken);
        assert_eq!(all.take(0, &block(10, 5, 0x0200, b"x")), Block::Refused);
        assert_eq!(all.interrupted(), 8);
    }
}
