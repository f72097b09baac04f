//! Sealed datagrams that wait for the link, and the padding that makes interactive ones look alike.

use cardea_framing::{Class, Header, Kind, elide};
use cardea_resources::Padder;
use heapless::{Deque, Vec};

use crate::serve::PAYLOAD_MAX;

/// Longest datagram with a reply or event.
pub(crate) const SEALED_MAX: usize = PAYLOAD_MAX + 64;
/// Longest datagram with an EDHOC message: message_3 with the lock's CWT by value and EAD_3 takes about 230.
pub(crate) const HANDSHAKE_MAX: usize = 320;
/// Replies that wait at once; the oldest gives way, and the platform asks again under the same command id.
const REPLIES: usize = 3;
#[cfg(feature = "peers")]
const PEER_REPLIES: usize = 2;

pub(crate) type Sealed = Vec<u8, SEALED_MAX>;

/// What is to be sent and is not an event: events are sealed only when the link is free, so that their challenge is
/// young.
#[derive(Default)]
pub(crate) struct Outbox {
    replies: Deque<Sealed, REPLIES>,
    #[cfg(feature = "peers")]
    /// For peers; they never push the platform's out.
    peers: Deque<Sealed, PEER_REPLIES>,
    /// Empty when none waits.
    pub(crate) handshake: Vec<u8, HANDSHAKE_MAX>,
}

impl Outbox {
    /// Has `write` make a reply where it waits. `None`: there is none.
    pub(crate) fn push_reply(&mut self, write: impl FnOnce(&mut Sealed) -> Option<()>) -> Option<()> {
        push(&mut self.replies, write)
    }

    #[cfg(feature = "peers")]
    pub(crate) fn push_peer(&mut self, write: impl FnOnce(&mut Sealed) -> Option<()>) -> Option<()> {
        push(&mut self.peers, write)
    }

    pub(crate) fn next_reply(&mut self) -> Option<Sealed> {
        let reply = self.replies.pop_front();
        #[cfg(feature = "peers")]
        let reply = reply.or_else(|| self.peers.pop_front());
        reply
    }
}

/// In place, as [`write`] does; the oldest gives way.
fn push<const N: usize>(
    queue: &mut Deque<Sealed, N>,
    write: impl FnOnce(&mut Sealed) -> Option<()>,
) -> Option<()> {
    if queue.is_full() {
        queue.pop_front();
    }
    queue.push_back(Sealed::new()).ok()?;
    let written = write(queue.back_mut()?);
    if written.is_none() {
        queue.pop_back();
    }
    written
}

/// Whom a datagram is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum To {
    Platform,
    /// A peer of the site, by its address there.
    #[cfg(feature = "peers")]
    Peer(u16),
}

impl To {
    /// Header byte and, for a peer, its address.
    pub(crate) const fn head_len(self) -> usize {
        match self {
            Self::Platform => 1,
            #[cfg(feature = "peers")]
            Self::Peer(_) => 3,
        }
    }
}

/// Makes `out` a datagram with this OSCORE message.
pub(crate) fn sealed(to: To, class: Class, oscore: &[u8], out: &mut Sealed) -> Option<()> {
    let kind = match to {
        To::Platform => Kind::PlatformOscore,
        #[cfg(feature = "peers")]
        To::Peer(_) => Kind::PeerOscore,
    };
    write(out, to, kind, class, |body| elide(oscore, body).ok())
}

/// Makes `out` a datagram of this kind, whose body `body` writes; empty, if it cannot. In place, because a datagram moved
/// is a datagram more on the stack.
pub(crate) fn write<const N: usize>(
    out: &mut Vec<u8, N>,
    to: To,
    kind: Kind,
    class: Class,
    body: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Option<()> {
    out.clear();
    out.resize_default(N).ok()?;
    let mut head = Vec::<u8, 3>::new();
    head.push(Header { kind, more: false, class }.encode()).ok()?;
    match to {
        To::Platform => {}
        #[cfg(feature = "peers")]
        To::Peer(peer) => head.extend_from_slice(&peer.to_be_bytes()).ok()?,
    }
    let (room, rest) = out.split_at_mut_checked(head.len())?;
    room.copy_from_slice(&head);
    let len = body(rest).map_or(0, |len| head.len() + len);
    out.truncate(len);
    (len > 0).then_some(())
}

/// Zero bytes to append to a payload so that the frame around an inner CoAP message gets one of the standard sizes.
///
/// `overhead` is everything of the frame but the inner message: header byte, elided option, token, tag. `inner` is the
/// inner message as OSCORE encrypts it, without payload.
pub(crate) fn padding(overhead: usize, inner: usize, payload: usize, mtu: usize) -> usize {
    Padder { mtu }.padding(overhead + inner + 1 + payload)
}

/// Bytes of a Partial IV in the OSCORE option (RFC 8613 §5: no leading zero bytes, at least one).
pub(crate) fn partial_iv_len(partial_iv: u64) -> usize {
    (8 - partial_iv.leading_zeros() as usize / 8).max(1)
}
