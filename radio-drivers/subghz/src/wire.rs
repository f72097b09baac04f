//! How a chip is spoken to over a stream socket, for models of it: SPI transactions, edges of its lines, and its pins.
//!
//! ```text
//! kind:1 length:1 body
//! 1 transfer   both ways   1 to 255 bytes: what is clocked out to the chip, and as many that it clocks back
//! 2 edge       to us       line:1 (0 packet, 1 FIFO, 2 done)  high:1  at:8, big-endian microseconds of CLOCK_MONOTONIC
//! 3 busy       to it       no body: what level BUSY has
//!              to us       high:1
//! 4 reset      both ways   low:1: NRESET is to be at this level, and is
//! ```
//! A chip without such a pin says that BUSY is low, and NRESET does nothing to it, as on a module without the wire. One question is
//! under way at a time; edges come whenever they happen, also before an answer. Anything else ends the connection. There is no
//! authentication: whoever may connect to the socket is the chip's host, or the host's chip. There is no version: what one end does
//! not know it refuses, and both come from one tree.

use crate::{Line, Micros};

/// The longest message.
pub const MAX_MESSAGE: usize = 2 + 255;

const TRANSFER: u8 = 1;
const EDGE: u8 = 2;
const BUSY: u8 = 3;
const RESET: u8 = 4;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Bytes of one SPI transaction.
    Transfer(Vec<u8>),
    /// A line changed.
    Edge {
        /// Which.
        line: Line,
        /// Its level since.
        high: bool,
        /// When.
        at: Micros,
    },
    /// What level has BUSY?
    AskBusy,
    /// This one.
    Busy {
        /// It takes nothing.
        high: bool,
    },
    /// The level of NRESET.
    Reset {
        /// Reset.
        low: bool,
    },
}

/// What is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what came over the socket is no message of a transceiver")]
pub struct WireError;

impl Message {
    /// A transfer of so many bytes; `None` if they are none or too many.
    #[must_use]
    pub fn transfer(bytes: &[u8]) -> Option<Self> {
        (1..=255).contains(&bytes.len()).then(|| Self::Transfer(bytes.to_vec()))
    }

    /// Whether this question may have that answer.
    #[must_use]
    pub fn is_answered_by(&self, answer: &Self) -> bool {
        match (self, answer) {
            (Self::Transfer(bytes), Self::Transfer(back)) => bytes.len() == back.len(),
            (Self::Reset { low }, Self::Reset { low: now }) => low == now,
            (Self::AskBusy, Self::Busy { .. }) => true,
            _ => false,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Transfer(bytes) => {
                let len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
                let mut message = vec![TRANSFER, len];
                message.extend(bytes.iter().take(usize::from(len)));
                message
            }
            Self::Edge { line, high, at } => {
                let line = match line {
                    Line::Packet => 0,
                    Line::Fifo => 1,
                    Line::Done => 2,
                };
                let mut message = vec![EDGE, 10, line, u8::from(*high)];
                message.extend(at.to_be_bytes());
                message
            }
            Self::AskBusy => vec![BUSY, 0],
            Self::Busy { high } => vec![BUSY, 1, u8::from(*high)],
            Self::Reset { low } => vec![RESET, 1, u8::from(*low)],
        }
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, WireError> {
        match (kind, body) {
            (TRANSFER, [_, ..]) => Ok(Self::Transfer(body.to_vec())),
            (EDGE, [line, high @ 0..=1, at @ ..]) => {
                let line = match line {
                    0 => Line::Packet,
                    1 => Line::Fifo,
                    2 => Line::Done,
                    _ => return Err(WireError),
                };
                let at = at.try_into().map(u64::from_be_bytes).map_err(|_| WireError)?;
                Ok(Self::Edge { line, high: *high == 1, at })
            }
            (BUSY, []) => Ok(Self::AskBusy),
            (BUSY, [high @ 0..=1]) => Ok(Self::Busy { high: *high == 1 }),
            (RESET, [low @ 0..=1]) => Ok(Self::Reset { low: *low == 1 }),
            _ => Err(WireError),
        }
    }
}

/// Makes messages of a stream. It holds what it was given until it is polled, and after an error nothing more.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: std::collections::VecDeque<u8>,
    failed: bool,
}

impl Decoder {
    /// What was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.failed {
            self.bytes.extend(bytes);
        }
    }

    /// The next whole message.
    ///
    /// # Errors
    /// [`WireError`], for ever: there is no finding back into a stream.
    pub fn poll(&mut self) -> Result<Option<Message>, WireError> {
        if self.failed {
            return Err(WireError);
        }
        let (Some(&kind), Some(&len)) = (self.bytes.front(), self.bytes.get(1)) else { return Ok(None) };
        let end = 2 + usize::from(len);
        let known = matches!((kind, len), (TRANSFER, 1..) | (EDGE, 10) | (BUSY, 0..=1) | (RESET, 1));
        if known && self.bytes.len() < end {
            return Ok(None);
        }
        let message: Vec<u8> = self.bytes.drain(..end.min(self.bytes.len())).collect();
        let message = Message::decode(kind, message.get(2..).unwrap_or_default());
        if message.is_err() || !known {
            (self.failed, self.bytes) = (true, std::collections::VecDeque::new());
            return Err(WireError);
        }
        message.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_these_bytes_and_come_back_in_any_pieces() {
        let messages = [
            (Message::Transfer(vec![0xF5, 0]), "0102f500"),
            (Message::Edge { line: Line::Packet, high: false, at: 0x0102 }, "020a00000000000000000102"),
            (Message::Edge { line: Line::Fifo, high: true, at: 7 }, "020a01010000000000000007"),
            (Message::Edge { line: Line::Done, high: true, at: 8 }, "020a02010000000000000008"),
            (Message::AskBusy, "0300"),
            (Message::Busy { high: true }, "030101"),
            (Message::Reset { low: true }, "040101"),
            (Message::Reset { low: false }, "040100"),
        ];
        let stream: Vec<u8> = messages
            .iter()
            .flat_map(|(message, bytes)| {
                assert_eq!(hex::encode(message.encode()), *bytes);
                message.encode()
            })
            .collect();
        for piece in 1..stream.len() {
            let (mut decoder, mut got) = (Decoder::default(), Vec::new());
            for bytes in stream.chunks(piece) {
                decoder.push(bytes);
                while let Some(message) = decoder.poll().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, messages.clone().map(|(message, _)| message));
        }
    }

    #[test]
    fn what_is_no_message_ends_the_stream() {
        for bad in [
            "0100",
            "0001aa",
            "0301aa",
            "0302",
            "0400",
            "040102",
            "0501aa",
            "020a03000000000000000001",
            "020a00020000000000000001",
            "0209",
        ] {
            let mut decoder = Decoder::default();
            decoder.push(&hex::decode(bad).unwrap());
            assert_eq!(decoder.poll(), Err(WireError), "{bad}");
            decoder.push(&Message::Transfer(vec![1]).encode());
            assert_eq!(decoder.poll(), Err(WireError), "{bad}");
        }
        assert!(Message::transfer(&[]).is_none() && Message::transfer(&[0; 256]).is_none());
    }
}
