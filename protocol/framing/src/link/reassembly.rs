use super::{LinkConfig, Receipt, ReceiptBody};
use crate::{Buffer, CRC_LEN, Datagram, Error, FragmentHeader, Header, crc32, fragment::Bitmap, id};

/// How often missing fragments are asked for without any new one coming.
const ASKS: u8 = 3;

/// The datagrams being put together.
pub(super) struct Reassembly<B, const SLOTS: usize> {
    slots: [Slot<B>; SLOTS],
}

impl<B: Buffer, const SLOTS: usize> Default for Reassembly<B, SLOTS> {
    fn default() -> Self {
        Self { slots: core::array::from_fn(|_| Slot::default()) }
    }
}

#[derive(Default)]
struct Slot<B> {
    assembly: Option<Assembly>,
    /// While fragments are missing: header byte, stream from the front, and its last fragment at the very end,
    /// because where that belongs is only known once another one told the size. Complete: the datagram.
    bytes: B,
}

struct Assembly {
    header: Header,
    tag: u8,
    last: u8,
    /// Length of every fragment but the last.
    chunk: Option<usize>,
    /// Length of the last fragment.
    tail: Option<usize>,
    received: Bitmap,
    /// When to forget it: `reassembly_ms` after its latest fragment.
    expires: u64,
    /// When to ask for what is missing.
    ask_at: Option<u64>,
    asks: u8,
    /// Digest of the complete datagram.
    complete: Option<[u8; 8]>,
}

/// What a fragment meant.
pub(super) enum Arrival {
    /// Nothing to do yet.
    Quiet,
    /// Fragments are missing, and no further one is to be expected by itself.
    Answer(Receipt),
    /// A fragment of a datagram that is complete.
    Repeat { digest: [u8; 8], receipt: Receipt },
    /// The last missing one.
    Complete { slot: usize, digest: [u8; 8], receipt: Receipt },
}

impl<B: Buffer, const SLOTS: usize> Reassembly<B, SLOTS> {
    /// Takes what follows the header byte of a fragment. An error may come with a receipt to send.
    pub(super) fn handle(
        &mut self,
        now: u64,
        config: &LinkConfig,
        header: Header,
        rest: &[u8],
    ) -> Result<Arrival, (Error, Option<Receipt>)> {
        let quietly = |error| (error, None);
        let (fragment, content) = rest.split_first_chunk().ok_or(quietly(Error::Truncated))?;
        let fragment = FragmentHeader::decode(*fragment).map_err(quietly)?;
        if content.is_empty() {
            return Err(quietly(Error::Truncated));
        }
        let header = Header { more: false, ..header };
        let known =
            self.slots.iter().position(|slot| slot.assembly.as_ref().is_some_and(|a| a.is(header, fragment)));
        let index = known.unwrap_or_else(|| self.replaceable());
        let slot = self.slots.get_mut(index).ok_or(quietly(Error::TooBig))?;
        if known.is_none() && slot.is_newer_and_alive(now, config, fragment.tag) {
            return Ok(Arrival::Quiet); // A late copy: the other side has gone on to the next datagram.
        }
        // The same tag with other content is another datagram, and the newer one is the one still being sent.
        if known.is_none() || !slot.agrees(fragment, content) {
            slot.begin(now, config, header, fragment).map_err(quietly)?;
        }
        slot.take(now, config, index, fragment, content)
    }

    pub(super) fn datagram(&self, slot: usize) -> &[u8] {
        self.slots.get(slot).map_or(&[], |slot| slot.bytes.bytes())
    }

    pub(super) fn handle_timeout(&mut self, now: u64, config: &LinkConfig) -> [Option<Receipt>; SLOTS] {
        core::array::from_fn(|index| self.slots.get_mut(index)?.handle_timeout(now, config))
    }

    pub(super) fn has_pending(&self, now: u64) -> bool {
        self.assemblies().any(|assembly| assembly.ask_at.is_some_and(|at| at <= now))
    }

    pub(super) fn timeout(&self) -> Option<u64> {
        self.slots.iter().filter_map(Slot::timeout).min()
    }

    pub(super) fn is_receiving(&self) -> bool {
        self.assemblies().any(|assembly| assembly.complete.is_none())
    }

    pub(super) fn held(&self) -> usize {
        self.slots.iter().map(|slot| slot.bytes.bytes().len()).fold(0, usize::saturating_add)
    }

    pub(super) fn forget(&mut self, digest: [u8; 8]) {
        for slot in &mut self.slots {
            if slot.assembly.as_ref().is_some_and(|assembly| assembly.complete == Some(digest)) {
                slot.clear();
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.slots.iter_mut().for_each(Slot::clear);
    }

    fn assemblies(&self) -> impl Iterator<Item = &Assembly> {
        self.slots.iter().filter_map(|slot| slot.assembly.as_ref())
    }

    /// A free slot, else the oldest complete one, else the oldest.
    fn replaceable(&self) -> usize {
        let age = |slot: &Slot<B>| slot.assembly.as_ref().map(|a| (a.complete.is_none(), a.expires));
        (0..SLOTS).min_by_key(|index| self.slots.get(*index).and_then(age)).unwrap_or(0)
    }
}

impl<B: Buffer> Slot<B> {
    fn begin(
        &mut self,
        now: u64,
        config: &LinkConfig,
        header: Header,
        fragment: FragmentHeader,
    ) -> Result<(), Error> {
        self.clear();
        if !self.bytes.resize(config.max_datagram.saturating_add(CRC_LEN)) {
            return Err(Error::TooBig);
        }
        if let Some(first) = self.bytes.bytes_mut().first_mut() {
            *first = header.encode();
        }
        self.assembly = Some(Assembly {
            header,
            tag: fragment.tag,
            last: fragment.last,
            chunk: None,
            tail: None,
            received: Bitmap::default(),
            expires: now.saturating_add(u64::from(config.reassembly_ms)),
            ask_at: None,
            asks: 0,
            complete: None,
        });
        Ok(())
    }

    /// True if what is being put together here has a later tag than this one, and was still coming a moment ago.
    fn is_newer_and_alive(&self, now: u64, config: &LinkConfig, tag: u8) -> bool {
        self.assembly.as_ref().is_some_and(|assembly| {
            let ahead = assembly.tag.wrapping_sub(tag) & 0x0f;
            let idle = u64::from(config.reassembly_ms).saturating_sub(assembly.expires.saturating_sub(now));
            assembly.complete.is_none() && (1..8).contains(&ahead) && idle < u64::from(config.retry_ms)
        })
    }

    /// True unless the fragment contradicts what is here.
    fn agrees(&self, fragment: FragmentHeader, content: &[u8]) -> bool {
        let Some(assembly) = &self.assembly else { return false };
        let (chunk, tail) = assembly.lengths_with(fragment, content.len());
        let fits = match (chunk, tail) {
            (Some(chunk), Some(tail)) => tail <= chunk,
            _ => true,
        };
        let same_length = match fragment.index == assembly.last {
            true => assembly.tail.is_none_or(|tail| tail == content.len()),
            false => assembly.chunk.is_none_or(|chunk| chunk == content.len()),
        };
        fits && same_length && (!assembly.received.has(fragment.index) || self.holds(fragment, content))
    }

    /// True if this fragment's place already has this content.
    fn holds(&self, fragment: FragmentHeader, content: &[u8]) -> bool {
        let Some(assembly) = &self.assembly else { return false };
        let bytes = self.bytes.bytes();
        let Some(chunk) = assembly.chunk.filter(|_| assembly.complete.is_some()) else {
            return assembly
                .place(fragment, content.len(), bytes.len())
                .is_some_and(|(start, end)| bytes.get(start..end) == Some(content));
        };
        // Complete: the CRC has been cut off, and with it perhaps all of a fragment.
        let start = chunk.saturating_mul(usize::from(fragment.index)).saturating_add(1);
        let crc = crc32(bytes).to_le_bytes();
        let there = bytes.iter().chain(&crc).skip(start);
        there.take(content.len()).eq(content)
    }

    fn take(
        &mut self,
        now: u64,
        config: &LinkConfig,
        index: usize,
        fragment: FragmentHeader,
        content: &[u8],
    ) -> Result<Arrival, (Error, Option<Receipt>)> {
        let Some(assembly) = &mut self.assembly else { return Ok(Arrival::Quiet) };
        assembly.touch(now, config);
        if let Some(digest) = assembly.complete {
            return Ok(Arrival::Repeat { digest, receipt: assembly.receipt() });
        }
        if assembly.received.has(fragment.index) {
            assembly.ask_later(now, config);
            return Ok(Arrival::Answer(assembly.receipt()));
        }
        let place = assembly.place(fragment, content.len(), self.bytes.bytes().len());
        let Some(place) = place.and_then(|(start, end)| self.bytes.bytes_mut().get_mut(start..end)) else {
            self.clear();
            return Err((Error::TooBig, None));
        };
        place.copy_from_slice(content);
        (assembly.chunk, assembly.tail) = assembly.lengths_with(fragment, content.len());
        assembly.received = assembly.received.with(fragment.index);
        assembly.asks = 0;
        assembly.ask_later(now, config);
        if assembly.received == Bitmap::all(assembly.last) {
            return self.complete(index);
        }
        // A round of sending ends with the highest missing fragment: with none missing above, ask at once.
        if assembly.received.next_missing(fragment.index, assembly.last).is_none() {
            return Ok(Arrival::Answer(assembly.receipt()));
        }
        Ok(Arrival::Quiet)
    }

    /// All fragments are there: puts the last one in its place and checks the CRC.
    fn complete(&mut self, index: usize) -> Result<Arrival, (Error, Option<Receipt>)> {
        let Some(assembly) = &mut self.assembly else { return Ok(Arrival::Quiet) };
        let receipt = assembly.receipt();
        let nothing = Receipt {
            body: ReceiptBody::Bitmap { tag: assembly.tag, last: assembly.last, bits: Bitmap::default() },
            ..receipt
        };
        let (chunk, tail) = (assembly.chunk.unwrap_or(0), assembly.tail.unwrap_or(0));
        let start = chunk.saturating_mul(usize::from(assembly.last)).saturating_add(1);
        let all = self.bytes.bytes().len();
        let len = start.saturating_add(tail).saturating_sub(CRC_LEN);
        let sound = start.saturating_add(tail) <= all && {
            self.bytes.bytes_mut().copy_within(all.saturating_sub(tail).., start);
            let (datagram, rest) = self.bytes.bytes().split_at_checked(len).unwrap_or_default();
            rest.first_chunk() == Some(&crc32(datagram).to_le_bytes()) && Datagram::parse(datagram).is_ok()
        };
        if !sound || !self.bytes.resize(len) {
            self.clear();
            // Tells the other side at once to start over.
            return Err((Error::Crc, Some(nothing)));
        }
        let digest = id::digest(self.bytes.bytes());
        assembly.complete = Some(digest);
        assembly.ask_at = None;
        Ok(Arrival::Complete { slot: index, digest, receipt })
    }

    fn handle_timeout(&mut self, now: u64, config: &LinkConfig) -> Option<Receipt> {
        let assembly = self.assembly.as_mut()?;
        if assembly.expires <= now {
            self.clear();
            return None;
        }
        if assembly.ask_at.is_none_or(|at| at > now) {
            return None;
        }
        assembly.asks = assembly.asks.saturating_add(1);
        assembly.ask_later(now, config);
        Some(assembly.receipt())
    }

    fn timeout(&self) -> Option<u64> {
        let assembly = self.assembly.as_ref()?;
        Some(assembly.ask_at.map_or(assembly.expires, |at| at.min(assembly.expires)))
    }

    fn clear(&mut self) {
        self.assembly = None;
        self.bytes.release();
    }
}

impl Assembly {
    fn is(&self, header: Header, fragment: FragmentHeader) -> bool {
        self.header == header && self.tag == fragment.tag && self.last == fragment.last
    }

    /// What the fragments' lengths are with this one.
    fn lengths_with(&self, fragment: FragmentHeader, len: usize) -> (Option<usize>, Option<usize>) {
        if fragment.index == self.last { (self.chunk, Some(len)) } else { (Some(len), self.tail) }
    }

    /// Where this fragment goes in a buffer of `all` bytes; `None` if the datagram would not fit.
    fn place(&self, fragment: FragmentHeader, len: usize, all: usize) -> Option<(usize, usize)> {
        let (chunk, tail) = self.lengths_with(fragment, len);
        let front = chunk.unwrap_or(0).checked_mul(usize::from(self.last))?.checked_add(1)?;
        if front.checked_add(tail.unwrap_or(1))? > all {
            return None;
        }
        let start = match fragment.index == self.last {
            true => all.checked_sub(len)?,
            false => len.checked_mul(usize::from(fragment.index))?.checked_add(1)?,
        };
        Some((start, start.checked_add(len)?))
    }

    fn receipt(&self) -> Receipt {
        let body = ReceiptBody::Bitmap { tag: self.tag, last: self.last, bits: self.received };
        Receipt { class: self.header.class, body }
    }

    fn touch(&mut self, now: u64, config: &LinkConfig) {
        self.expires = now.saturating_add(u64::from(config.reassembly_ms));
    }

    fn ask_later(&mut self, now: u64, config: &LinkConfig) {
        self.ask_at = (self.asks < ASKS).then(|| now.saturating_add(u64::from(config.retry_ms)));
    }
}
