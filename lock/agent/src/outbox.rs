//! Sealed datagrams that wait for the link, and the padding that makes interactive ones look alike.

use cardea_framing::{Class, Header, Kind, elide};
use cardea_resources::Padder;
use heapless::{Deque, Vec};

/// Longest datagram with a reply or event.
pub(crate) const SEALED_MAX: usize = 288;
/// Longest datagram with an EDHOC message: message_3 with the lock's CWT by value and EAD_3 takes about 230.
pub(crate) const HANDSHAKE_MAX: usize = 320;
/// Replies that wait at once; the oldest gives way, and the platform asks again under the same command id.
const REPLIES: usize = 3;

pub(crate) type Sealed = Vec<u8, SEALED_MAX>;

/// What is to be sent and is not an event: events are sealed only when the link is free, so that their challenge is
/// young.
#[derive(Default)]
pub(crate) struct Outbox {
    replies: Deque<Sealed, REPLIES>,
    pub(crate) handshake: Option<Vec<u8, HANDSHAKE_MAX>>,
}

impl Outbox {
    pub(crate) fn push_reply(&mut self, reply: Sealed) {
        if self.replies.is_full() {
            self.replies.pop_front();
        }
        let _ = self.replies.push_back(reply); // room was made
    }

    pub(crate) fn next_reply(&mut self) -> Option<Sealed> {
        self.replies.pop_front()
    }
}

/// A platform datagram with this OSCORE message.
pub(crate) fn sealed(class: Class, oscore: &[u8]) -> Option<Sealed> {
    let mut out = Sealed::new();
    out.resize_default(SEALED_MAX).ok()?;
    let (header, body) = out.split_first_mut()?;
    *header = Header { kind: Kind::PlatformOscore, more: false, class }.encode();
    let len = elide(oscore, body).ok()?;
    out.truncate(1 + len);
    Some(out)
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
