//! One end of one radio link, both directions, without IO.

mod outgoing;
mod reassembly;
mod recent;
#[cfg(test)]
mod tests;

use heapless::Deque;

use crate::{Buffer, Class, Datagram, Error, Header, Kind, fragment::Bitmap, id};
use outgoing::Outgoing;
use reassembly::{Arrival, Reassembly};
use recent::{Known, Recent};

/// Receipts that wait for air; when there are more, the oldest is dropped and its datagram repeated.
const RECEIPTS: usize = 4;

/// A lock's end: everything in place, one datagram of [`LOCK_DATAGRAM`](crate::LOCK_DATAGRAM) bytes each way.
pub type LockLink = Link<heapless::Vec<u8, { crate::LOCK_DATAGRAM + crate::CRC_LEN }>, 1>;

/// A gateway's end: two reassemblies, buffers on the heap only while they are needed.
#[cfg(feature = "alloc")]
pub type GatewayLink = Link<alloc::vec::Vec<u8>, 2>;

/// How one end of a link behaves.
#[derive(Clone, Copy, Debug)]
pub struct LinkConfig {
    /// How long to wait for a receipt before sending again, and for missing fragments before asking, ms.
    pub retry_ms: u32,
    /// How often a datagram, or the next part of it, is tried without an answer. At least 1 is meant.
    pub max_attempts: u8,
    /// How long an unfinished reassembly is kept, and how long a datagram is known as a repeat, ms.
    ///
    /// Longer than the other side may take between two attempts, or the memory is lost in between.
    pub reassembly_ms: u32,
    /// Longest datagram this end sends or takes, header byte included, bytes. At most the buffer's size less 4.
    pub max_datagram: usize,
}

/// What became of a datagram given to [`Link::send`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkEvent {
    /// It went out whole, and nothing more will be heard of it (telemetry and bulk).
    Sent {
        /// As given to [`Link::send`].
        handle: u64,
    },
    /// The other side's receipt came.
    Delivered {
        /// As given to [`Link::send`].
        handle: u64,
    },
    /// Given up. The other side may have it nevertheless: the last receipt can be what got lost.
    Failed {
        /// As given to [`Link::send`].
        handle: u64,
        /// Why.
        reason: Failure,
    },
}

/// Why a datagram was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// No receipt after all attempts.
    Unanswered,
    /// It takes more than 64 fragments at the link's mtu.
    TooBig,
}

/// A whole datagram from the other side.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Present if a receipt is due: give it to [`Link::custody`] when the datagram is safe, or to
    /// [`Link::release`] when it cannot be kept. Absent for unfragmented telemetry and bulk.
    pub receipt: Option<ReceiptToken>,
    datagram: &'a [u8],
}

impl<'a> Incoming<'a> {
    /// The datagram, header byte with `more` = 0; it has been through [`Datagram::parse`].
    #[must_use]
    pub const fn datagram(&self) -> &'a [u8] {
        self.datagram
    }
}

/// Names a datagram whose receipt is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiptToken {
    digest: [u8; 8],
    receipt: Receipt,
}

/// A receipt as it will be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Receipt {
    class: Class,
    body: ReceiptBody,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ReceiptBody {
    Digest(u16),
    Bitmap { tag: u8, last: u8, bits: Bitmap },
}

/// One end of one radio link.
///
/// At most one datagram is outstanding; the frames of both directions come from [`poll_transmit`]. After
/// every call that takes `now`, [`poll_event`] may have something to say, and [`poll_timeout`] may differ.
///
/// A datagram is its bytes: the same bytes within `reassembly_ms` are the same datagram, repeated by the other
/// end because a receipt got lost. They are answered, not delivered again. Whoever has something to say twice
/// says it in different bytes, as OSCORE's sequence numbers and EDHOC's ephemeral keys do by themselves.
///
/// `B` holds one datagram and [`CRC_LEN`](crate::CRC_LEN) bytes; `SLOTS` is how many datagrams may be in
/// reassembly at once. `O` holds the datagram that is on its way out, where that can be shorter.
///
/// [`poll_transmit`]: Self::poll_transmit
/// [`poll_event`]: Self::poll_event
/// [`poll_timeout`]: Self::poll_timeout
pub struct Link<B, const SLOTS: usize = 1, O = B> {
    config: LinkConfig,
    outgoing: Outgoing<O>,
    reassembly: Reassembly<B, SLOTS>,
    recent: Recent,
    receipts: Deque<Receipt, RECEIPTS>,
    event: Option<LinkEvent>,
}

impl<B: Buffer, const SLOTS: usize, O: Buffer> Link<B, SLOTS, O> {
    /// An idle link.
    #[must_use]
    pub fn new(config: LinkConfig) -> Self {
        Self {
            config,
            outgoing: Outgoing::default(),
            reassembly: Reassembly::default(),
            recent: Recent::default(),
            receipts: Deque::new(),
            event: None,
        }
    }

    /// How long to wait for a receipt from now on, ms; timers already running keep their time.
    pub const fn set_retry_ms(&mut self, retry_ms: u32) {
        self.config.retry_ms = retry_ms;
    }

    /// True when [`send`](Self::send) takes a datagram: none is outstanding and no event waits.
    #[must_use]
    pub const fn can_send(&self) -> bool {
        self.outgoing.is_idle() && self.event.is_none()
    }

    /// Takes a datagram to be sent; `handle` comes back in its one [`LinkEvent`].
    ///
    /// # Errors
    /// [`Error::Busy`] unless [`can_send`](Self::can_send); [`Error::TooBig`] beyond `max_datagram`; the errors
    /// of [`Datagram::parse`]. Whether it fits the link is known at the first [`poll_transmit`](Self::poll_transmit).
    pub fn send(&mut self, now: u64, datagram: &[u8], handle: u64) -> Result<(), Error> {
        let _ = now; // Its first frame is due at once.
        if !self.can_send() {
            return Err(Error::Busy);
        }
        if datagram.len() > self.config.max_datagram {
            return Err(Error::TooBig);
        }
        let class = Datagram::parse(datagram)?.class;
        self.outgoing.start(datagram, class, handle)
    }

    /// Drops the outstanding datagram if it has this handle, without an event; false if it has not.
    pub fn abandon(&mut self, handle: u64) -> bool {
        self.outgoing.abandon(handle)
    }

    /// Takes a frame from the other side; gives the datagram that it completes.
    ///
    /// # Errors
    /// The frame is to be dropped and counted; the link has not changed, except that after [`Error::Crc`] and
    /// [`Error::TooBig`] the fragments so far are gone.
    pub fn handle_frame<'a>(&'a mut self, now: u64, frame: &'a [u8]) -> Result<Option<Incoming<'a>>, Error> {
        let (&first, rest) = frame.split_first().ok_or(Error::Truncated)?;
        let header = Header::decode(first)?;
        match (header.kind, header.more) {
            (Kind::Receipt, false) => self.handle_digest(rest).map(|()| None),
            (Kind::Receipt, true) => self.handle_bitmap(now, rest).map(|()| None),
            (_, true) => self.handle_fragment(now, header, rest),
            (_, false) => self.handle_whole(now, frame),
        }
    }

    /// The datagram is safe: its receipt goes out next. May be called more than once.
    pub fn custody(&mut self, now: u64, token: ReceiptToken) {
        self.recent.custody(now, self.config.reassembly_ms, token.digest);
        self.queue(token.receipt);
    }

    /// The datagram could not be kept: it is forgotten, and a repeat of it is delivered again.
    pub fn release(&mut self, token: ReceiptToken) {
        self.recent.forget(token.digest);
        self.reassembly.forget(token.digest);
    }

    /// The next frame for the other side, and its length. `None` if nothing is due, or if it does not fit: a
    /// frame is never longer than `mtu`, nor than `out`.
    ///
    /// Receipts come first, but for one case: an interactive datagram that fits and was not sent yet. Where each
    /// frame waits for a window of its own, as on LoRaWAN, somebody stands at the door while the receipt can wait.
    ///
    /// Fragments keep the size they were cut to; at a smaller `mtu` the datagram starts again under a new tag.
    /// The wait for a receipt starts when the last frame of a round is given out here.
    pub fn poll_transmit(&mut self, now: u64, mtu: usize, out: &mut [u8]) -> Option<usize> {
        self.handle_timeout(now);
        let room = mtu.min(out.len());
        let out = out.get_mut(..room)?;
        if let Some(receipt) = self.receipts.front()
            && !self.outgoing.is_urgent(room)
        {
            let len = receipt.encode(out)?;
            self.receipts.pop_front();
            return Some(len);
        }
        let (len, event) = self.outgoing.poll(now, &self.config, out);
        self.event = self.event.or(event);
        len
    }

    /// Lets timers that are due do their work: retries become pending, stale reassemblies go, attempts run out.
    /// [`poll_transmit`](Self::poll_transmit) does so too.
    pub fn handle_timeout(&mut self, now: u64) {
        self.event = self.event.or(self.outgoing.handle_timeout(now, &self.config));
        for receipt in self.reassembly.handle_timeout(now, &self.config).into_iter().flatten() {
            self.queue(receipt);
        }
    }

    /// True if [`poll_transmit`](Self::poll_transmit) has a frame to give now, at a large enough mtu.
    #[must_use]
    pub fn has_pending(&self, now: u64) -> bool {
        !self.receipts.is_empty()
            || self.outgoing.has_pending(now, &self.config)
            || self.reassembly.has_pending(now)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) or [`poll_transmit`](Self::poll_transmit) next.
    ///
    /// After such a call at or past that time, it lies in the future or is `None`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        [self.outgoing.timeout(), self.reassembly.timeout()].into_iter().flatten().min()
    }

    /// What became of the outstanding datagram, once.
    pub const fn poll_event(&mut self) -> Option<LinkEvent> {
        self.event.take()
    }

    /// True while fragments of a datagram are missing: more is on its way, so a sleepy device keeps listening.
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        self.reassembly.is_receiving()
    }

    /// Bytes held in buffers, for the owner's cap over all links.
    #[must_use]
    pub fn held(&self) -> usize {
        self.outgoing.held().saturating_add(self.reassembly.held())
    }

    /// Gives up everything in reassembly, to stay under a cap over all links; the other side repeats it.
    pub fn shed(&mut self) {
        self.reassembly.clear();
    }

    fn handle_digest(&mut self, body: &[u8]) -> Result<(), Error> {
        let digest = u16::from_be_bytes(body.try_into().map_err(|_| Error::Receipt)?);
        self.event = self.event.or(self.outgoing.handle_digest(digest));
        Ok(())
    }

    fn handle_bitmap(&mut self, now: u64, body: &[u8]) -> Result<(), Error> {
        let (&tag, bitmap) = body.split_first().ok_or(Error::Receipt)?;
        if tag > 0x0f || bitmap.is_empty() || bitmap.len() > 8 {
            return Err(Error::Receipt);
        }
        let event = self.outgoing.handle_bitmap(now, &self.config, tag, bitmap)?;
        self.event = self.event.or(event);
        Ok(())
    }

    fn handle_whole<'a>(&mut self, now: u64, frame: &'a [u8]) -> Result<Option<Incoming<'a>>, Error> {
        let class = Datagram::parse(frame)?.class;
        if frame.len() > self.config.max_datagram {
            return Err(Error::TooBig);
        }
        let digest = id::digest(frame);
        let receipt = Receipt { class, body: ReceiptBody::Digest(id::receipt_digest(frame)) };
        let known = self.recent.meet(now, self.config.reassembly_ms, digest, !class.has_receipt());
        if known == Known::InCustody && class.has_receipt() {
            self.queue(receipt);
        }
        let token = class.has_receipt().then_some(ReceiptToken { digest, receipt });
        Ok((known == Known::New).then_some(Incoming { receipt: token, datagram: frame }))
    }

    fn handle_fragment(
        &mut self,
        now: u64,
        header: Header,
        rest: &[u8],
    ) -> Result<Option<Incoming<'_>>, Error> {
        let arrival = match self.reassembly.handle(now, &self.config, header, rest) {
            Ok(arrival) => arrival,
            Err((error, answer)) => {
                answer.into_iter().for_each(|receipt| self.queue(receipt));
                return Err(error);
            }
        };
        match arrival {
            Arrival::Quiet => Ok(None),
            Arrival::Answer(receipt) => {
                self.queue(receipt);
                Ok(None)
            }
            Arrival::Repeat { digest, receipt } => {
                if self.recent.is_in_custody(now, self.config.reassembly_ms, digest) {
                    self.queue(receipt);
                }
                Ok(None)
            }
            Arrival::Complete { slot, digest, receipt } => {
                match self.recent.meet(now, self.config.reassembly_ms, digest, false) {
                    Known::InCustody => {
                        self.queue(receipt);
                        Ok(None)
                    }
                    Known::Pending => Ok(None),
                    Known::New => {
                        let datagram = self.reassembly.datagram(slot);
                        Ok(Some(Incoming { receipt: Some(ReceiptToken { digest, receipt }), datagram }))
                    }
                }
            }
        }
    }

    /// One receipt per datagram waits for air; the newest says most.
    fn queue(&mut self, receipt: Receipt) {
        if let Some(same) = self.receipts.iter_mut().find(|other| other.is_about_the_same(&receipt)) {
            *same = receipt;
            return;
        }
        if self.receipts.is_full() {
            self.receipts.pop_front();
        }
        let _ = self.receipts.push_back(receipt); // There is room: one was taken out.
    }
}

impl Receipt {
    fn is_about_the_same(&self, other: &Self) -> bool {
        match (self.body, other.body) {
            (ReceiptBody::Digest(one), ReceiptBody::Digest(two)) => one == two,
            (ReceiptBody::Bitmap { tag: one, .. }, ReceiptBody::Bitmap { tag: two, .. }) => one == two,
            _ => false,
        }
    }

    fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let (first, rest) = out.split_first_mut()?;
        let more = matches!(self.body, ReceiptBody::Bitmap { .. });
        *first = Header { kind: Kind::Receipt, more, class: self.class }.encode();
        match self.body {
            ReceiptBody::Digest(digest) => {
                *rest.first_chunk_mut()? = digest.to_be_bytes();
                Some(3)
            }
            ReceiptBody::Bitmap { tag, last, bits } => {
                let (place, rest) = rest.split_first_mut()?;
                *place = tag;
                bits.encode(last, rest)?.checked_add(2)
            }
        }
    }
}
