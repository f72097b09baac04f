use super::{Failure, LinkConfig, LinkEvent};
use crate::{
    Buffer, CRC_LEN, Class, Error, FRAGMENT_OVERHEAD, FragmentHeader, Header, crc32, fragment::Bitmap,
    fragments_needed, id,
};

/// The one datagram on its way to the other side.
#[derive(Default)]
pub(super) struct Outgoing<B> {
    bytes: B,
    active: Option<Active>,
    next_tag: u8,
}

struct Active {
    handle: u64,
    class: Class,
    cut: Option<Cut>,
    /// Rounds sent since the last sign of progress.
    attempts: u8,
    phase: Phase,
}

/// How the datagram is cut into fragments.
struct Cut {
    tag: u8,
    chunk: usize,
    last: u8,
    crc: [u8; CRC_LEN],
    /// What the other side said it has.
    acked: Bitmap,
    /// The most it ever said it has.
    best: u32,
    /// Where this round goes on.
    next: u8,
    /// The latest round was one fragment, sent to hear what the other side has.
    asking: bool,
}

#[derive(Clone, Copy)]
enum Phase {
    /// A frame is due.
    Ready,
    /// A round is out; the other side has until then.
    Waiting { until: u64 },
}

impl<B: Buffer> Outgoing<B> {
    pub(super) fn start(&mut self, datagram: &[u8], class: Class, handle: u64) -> Result<(), Error> {
        if !self.bytes.resize(datagram.len()) {
            return Err(Error::TooBig);
        }
        self.bytes.bytes_mut().copy_from_slice(datagram);
        self.active = Some(Active { handle, class, cut: None, attempts: 0, phase: Phase::Ready });
        Ok(())
    }

    pub(super) fn abandon(&mut self, handle: u64) -> bool {
        let is_it = self.active.as_ref().is_some_and(|active| active.handle == handle);
        if is_it {
            self.end();
        }
        is_it
    }

    /// The next frame, at most as long as `out`, and what it means for the datagram.
    pub(super) fn poll(
        &mut self,
        now: u64,
        config: &LinkConfig,
        out: &mut [u8],
    ) -> (Option<usize>, Option<LinkEvent>) {
        let Some(active) = self.active.as_mut() else { return (None, None) };
        if !matches!(active.phase, Phase::Ready) {
            return (None, None);
        }
        let waiting = Phase::Waiting { until: now.saturating_add(u64::from(config.retry_ms)) };
        let (handle, datagram) = (active.handle, self.bytes.bytes());
        if active.cut.is_none()
            && let Some(place) = out.get_mut(..datagram.len())
        {
            place.copy_from_slice(datagram);
            let len = datagram.len();
            active.attempts = active.attempts.saturating_add(1);
            active.phase = waiting;
            let event = (!active.class.has_receipt()).then(|| {
                self.end();
                LinkEvent::Sent { handle }
            });
            return (Some(len), event);
        }
        if active.cut.as_ref().is_none_or(|cut| cut.frame_len() > out.len()) {
            if out.len() <= FRAGMENT_OVERHEAD {
                return (None, None);
            }
            // Cut smaller again and again is not progress.
            if active.attempts >= config.max_attempts.max(1) {
                return (None, self.fail(Failure::Unanswered));
            }
            let Some(cut) = Cut::new(self.next_tag, datagram, out.len()) else {
                return (None, self.fail(Failure::TooBig));
            };
            self.next_tag = self.next_tag.wrapping_add(1) & 0x0f;
            active.cut = Some(cut);
            active.attempts = active.attempts.saturating_add(1);
        }
        let Some(cut) = active.cut.as_mut() else { return (None, None) };
        let len = cut.next_frame(datagram, out);
        if cut.acked.next_missing(cut.next, cut.last).is_none() {
            active.phase = waiting;
        }
        (len, None)
    }

    pub(super) fn handle_timeout(&mut self, now: u64, config: &LinkConfig) -> Option<LinkEvent> {
        let active = self.active.as_mut()?;
        match active.phase {
            Phase::Waiting { until } if until <= now => {}
            _ => return None,
        }
        if active.attempts >= config.max_attempts.max(1) {
            return self.fail(Failure::Unanswered);
        }
        active.phase = Phase::Ready;
        if let Some(cut) = &mut active.cut {
            // One fragment is enough to make the other side say what it has.
            cut.next = cut.acked.last_missing(cut.last).unwrap_or(cut.last);
            cut.asking = true;
            active.attempts = active.attempts.saturating_add(1);
        }
        None
    }

    pub(super) fn handle_digest(&mut self, digest: u16) -> Option<LinkEvent> {
        let active = self.active.as_ref()?;
        let is_it = active.attempts > 0 && id::receipt_digest(self.bytes.bytes()) == digest;
        let handle = active.handle;
        is_it.then(|| {
            self.end();
            LinkEvent::Delivered { handle }
        })
    }

    pub(super) fn handle_bitmap(
        &mut self,
        now: u64,
        config: &LinkConfig,
        tag: u8,
        bitmap: &[u8],
    ) -> Result<Option<LinkEvent>, Error> {
        let Some(active) = self.active.as_mut() else { return Ok(None) };
        let Some(cut) = active.cut.as_mut().filter(|cut| cut.tag == tag) else { return Ok(None) };
        let bits = Bitmap::decode(bitmap, cut.last).ok_or(Error::Receipt)?;
        if bits == Bitmap::all(cut.last) {
            let handle = active.handle;
            self.end();
            return Ok(Some(LinkEvent::Delivered { handle }));
        }
        let count = bits.0.count_ones();
        // Less than was known is an older receipt that was overtaken, unless the other side was asked: then it has
        // forgotten.
        if count <= cut.acked.0.count_ones() && !cut.asking {
            return Ok(None);
        }
        cut.acked = bits;
        cut.asking = false;
        if count > cut.best {
            cut.best = count;
            active.attempts = u8::from(matches!(active.phase, Phase::Ready));
        }
        let goes_on =
            matches!(active.phase, Phase::Ready) && cut.acked.next_missing(cut.next, cut.last).is_some();
        if goes_on {
            return Ok(None); // The round in progress leaves out what is there.
        }
        if active.attempts < config.max_attempts.max(1) {
            cut.next = 0;
            active.attempts = active.attempts.saturating_add(1);
            active.phase = Phase::Ready;
        } else if matches!(active.phase, Phase::Ready) {
            active.phase = Phase::Waiting { until: now.saturating_add(u64::from(config.retry_ms)) };
        }
        Ok(None)
    }

    /// An interactive datagram that was not sent yet and goes out whole.
    pub(super) fn is_urgent(&self, room: usize) -> bool {
        self.active.as_ref().is_some_and(|active| {
            active.class == Class::Interactive && active.attempts == 0 && self.bytes.bytes().len() <= room
        })
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.active.is_none()
    }

    pub(super) fn has_pending(&self, now: u64, config: &LinkConfig) -> bool {
        self.active.as_ref().is_some_and(|active| match active.phase {
            Phase::Ready => true,
            Phase::Waiting { until } => until <= now && active.attempts < config.max_attempts.max(1),
        })
    }

    pub(super) fn timeout(&self) -> Option<u64> {
        match self.active.as_ref()?.phase {
            Phase::Ready => None,
            Phase::Waiting { until } => Some(until),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.bytes.bytes().len()
    }

    fn fail(&mut self, reason: Failure) -> Option<LinkEvent> {
        let handle = self.active.as_ref()?.handle;
        self.end();
        Some(LinkEvent::Failed { handle, reason })
    }

    fn end(&mut self) {
        self.active = None;
        self.bytes.release();
    }
}

impl Cut {
    fn new(tag: u8, datagram: &[u8], mtu: usize) -> Option<Self> {
        let count = fragments_needed(datagram.len(), mtu).filter(|count| *count > 1)?;
        Some(Self {
            tag,
            chunk: mtu.checked_sub(FRAGMENT_OVERHEAD)?,
            last: u8::try_from(count.checked_sub(1)?).ok()?,
            crc: crc32(datagram).to_le_bytes(),
            acked: Bitmap::default(),
            best: 0,
            next: 0,
            asking: false,
        })
    }

    /// The longest frame of this cut.
    const fn frame_len(&self) -> usize {
        self.chunk.saturating_add(FRAGMENT_OVERHEAD)
    }

    /// Writes the next missing fragment of this round.
    fn next_frame(&mut self, datagram: &[u8], out: &mut [u8]) -> Option<usize> {
        let index = self.acked.next_missing(self.next, self.last)?;
        let (&header, body) = datagram.split_first()?;
        let header = Header { more: true, ..Header::decode(header).ok()? };
        let fragment = FragmentHeader { tag: self.tag, index, last: self.last };
        let stream = body.iter().chain(&self.crc);
        let content = stream.skip(self.chunk.saturating_mul(usize::from(index))).take(self.chunk);
        let (head, rest) = out.split_first_chunk_mut::<FRAGMENT_OVERHEAD>()?;
        let [high, low] = fragment.encode();
        *head = [header.encode(), high, low];
        let len = rest.iter_mut().zip(content).map(|(to, from)| *to = *from).count();
        self.next = index.saturating_add(1);
        len.checked_add(FRAGMENT_OVERHEAD)
    }
}
