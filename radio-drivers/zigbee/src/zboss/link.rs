//! Packets over the port: cut into frames, one frame outstanding each way, each acknowledged, sent again when it is not.

use std::collections::VecDeque;

use cardea_radio::Millis;
use zeroize::Zeroizing;

use super::ll::{Data, Decoder, Frame, MAX_BODY};
use crate::wire::secret_buffer;

/// Longest packet, bytes: the link keys of 255 devices, as a backup reads and a restore writes them.
pub const MAX_PACKET: usize = 8_192;
/// Packets that may wait to be sent.
pub const MAX_QUEUED: usize = 16;
/// Packets that may wait to be taken; more are not acknowledged, so that the NCP waits.
pub const MAX_RECEIVED: usize = 64;
/// Wait for an acknowledgement, milliseconds.
pub const ACK_TIMEOUT_MS: Millis = 1_000;
/// Times that one frame is sent before the link counts as dead.
pub const MAX_SENDS: u8 = 3;

/// Why a packet is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Empty, or longer than [`MAX_PACKET`].
    #[error("a packet has 1 to {MAX_PACKET} bytes")]
    Size,
    /// [`MAX_QUEUED`] packets wait.
    #[error("too many packets wait for the NCP")]
    Full,
    /// The link is dead until it is [restarted](Link::restart).
    #[error("the NCP does not acknowledge")]
    Dead,
}

/// The link to an NCP, or a virtual NCP's to its host: both ends are alike. Time is an argument; the shell reads and writes
/// the port.
#[derive(Default)]
pub struct Link {
    decoder: Decoder,
    // Out.
    packets: VecDeque<Zeroizing<Vec<u8>>>,
    /// Fragments of the packet that is being sent; the first of them is outstanding or next.
    fragments: VecDeque<Data>,
    outstanding: Option<Outstanding>,
    /// Of the next new frame.
    next_seq: u8,
    acks: VecDeque<u8>,
    dead: bool,
    // In.
    assembly: Option<Zeroizing<Vec<u8>>>,
    received: VecDeque<Zeroizing<Vec<u8>>>,
    /// Sequence number and digest of the last frame taken.
    last: Option<(u8, u16)>,
    duplicates: u64,
}

struct Outstanding {
    sends: u8,
    /// `None`: to be sent (again) now.
    until: Option<Millis>,
}

impl Link {
    /// Takes a packet to send. Packets go out in order.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub fn send(&mut self, packet: Zeroizing<Vec<u8>>) -> Result<(), LinkError> {
        if self.dead {
            return Err(LinkError::Dead);
        }
        if packet.is_empty() || packet.len() > MAX_PACKET {
            return Err(LinkError::Size);
        }
        if self.packets.len() >= MAX_QUEUED {
            return Err(LinkError::Full);
        }
        self.packets.push_back(packet);
        Ok(())
    }

    /// True when nothing waits to be sent or acknowledged: what is given now goes out at once.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.packets.is_empty() && self.fragments.is_empty() && !self.dead
    }

    /// Takes what the port gave.
    pub fn handle_bytes(&mut self, now: Millis, bytes: &[u8]) {
        let mut decoder = std::mem::take(&mut self.decoder);
        decoder.push(now, bytes, |frame| match frame {
            Frame::Ack { seq } => self.acknowledged(seq),
            Frame::Data(data) => self.take(&data),
        });
        self.decoder = decoder;
    }

    /// Bytes for the port.
    pub fn poll_transmit(&mut self, now: Millis) -> Option<Zeroizing<Vec<u8>>> {
        if let Some(seq) = self.acks.pop_front() {
            return Some(Frame::Ack { seq }.encode());
        }
        if self.dead {
            return None;
        }
        if self.fragments.is_empty() {
            self.fragments = cut(&self.packets.pop_front()?);
        }
        let fragment = self.fragments.front_mut()?;
        let outstanding = self.outstanding.get_or_insert(Outstanding { sends: 0, until: None });
        if outstanding.until.is_some() {
            return None;
        }
        fragment.seq = self.next_seq;
        fragment.retransmit = outstanding.sends > 0;
        outstanding.sends = outstanding.sends.saturating_add(1);
        outstanding.until = Some(now.saturating_add(ACK_TIMEOUT_MS));
        Some(Frame::Data(fragment.clone()).encode())
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        self.outstanding.as_ref()?.until
    }

    /// Marks the outstanding frame to be sent again, or the link dead.
    pub fn handle_timeout(&mut self, now: Millis) {
        let Some(outstanding) = &mut self.outstanding else { return };
        if outstanding.until.is_some_and(|until| until <= now) {
            outstanding.until = None;
            if outstanding.sends >= MAX_SENDS {
                self.dead = true;
                self.outstanding = None;
                self.fragments.clear();
                self.packets.clear();
            }
        }
    }

    /// The next packet from the NCP, whole.
    pub fn poll_packet(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.received.pop_front()
    }

    /// True once a frame was sent [`MAX_SENDS`] times without an acknowledgement.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// The NCP restarted: sequence numbers begin anew, what waited to be sent is gone. What was received stays known, so
    /// that the repetition of the packet which told of the restart is not taken for another one.
    pub fn restart(&mut self) {
        self.packets.clear();
        self.fragments.clear();
        self.outstanding = None;
        self.next_seq = 0;
        self.dead = false;
        self.assembly = None;
    }

    /// The port was opened anew.
    pub fn reopen(&mut self) {
        let (mut decoder, duplicates) = (std::mem::take(&mut self.decoder), self.duplicates);
        decoder.restart();
        *self = Self { decoder, duplicates, ..Self::default() };
    }

    /// Frames that came twice, and damage on the line, since the start.
    #[must_use]
    pub fn counters(&self) -> (u64, u64) {
        (self.duplicates, self.decoder.damaged())
    }

    fn acknowledged(&mut self, seq: u8) {
        let waiting = self.outstanding.as_ref().is_some_and(|outstanding| outstanding.sends > 0);
        if !waiting || seq != self.next_seq {
            return;
        }
        self.outstanding = None;
        self.fragments.pop_front();
        // 0, then 1, 2, 3, 1, 2, 3: zero is said once after each start.
        self.next_seq = if self.next_seq >= 3 { 1 } else { self.next_seq.saturating_add(1) };
    }

    fn take(&mut self, data: &Data) {
        let this = (data.seq, data.digest());
        // The same number without the flag is another frame, of an NCP that restarted meanwhile.
        if data.retransmit && self.last == Some(this) {
            self.duplicates = self.duplicates.saturating_add(1);
            self.acknowledge(data.seq);
            return;
        }
        if data.last && self.received.len() >= MAX_RECEIVED {
            return;
        }
        self.last = Some(this);
        self.acknowledge(data.seq);
        if data.first {
            self.assembly = Some(secret_buffer(if data.last { MAX_BODY } else { MAX_PACKET }));
        }
        let Some(assembly) = &mut self.assembly else { return };
        if assembly.len().saturating_add(data.body.len()) > MAX_PACKET {
            self.assembly = None;
            return;
        }
        assembly.extend_from_slice(&data.body);
        if data.last {
            self.received.extend(self.assembly.take());
        }
    }

    fn acknowledge(&mut self, seq: u8) {
        // The other side has one frame outstanding: more than a few can only be an attack on memory.
        if self.acks.len() < 8 {
            self.acks.push_back(seq);
        }
    }
}

/// The remainder goes first, then full fragments, as NCPs do it.
fn cut(packet: &[u8]) -> VecDeque<Data> {
    let remainder = packet.len() % MAX_BODY;
    let (head, tail) = packet.split_at(remainder);
    let bodies = std::iter::once(head).filter(|head| !head.is_empty()).chain(tail.chunks(MAX_BODY));
    let mut fragments: VecDeque<Data> = bodies
        .map(|body| Data {
            seq: 0,
            retransmit: false,
            first: false,
            last: false,
            body: Zeroizing::new(body.to_vec()),
        })
        .collect();
    if let Some(first) = fragments.front_mut() {
        first.first = true;
    }
    if let Some(last) = fragments.back_mut() {
        last.last = true;
    }
    fragments
}

#[cfg(test)]
mod tests;
