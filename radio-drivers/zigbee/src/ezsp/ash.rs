//! ASH version 2, the frames below EZSP on a serial port (Silicon Labs UG101): a control byte, data, CRC-16, a flag at the end.
//!
//! ```text
//! control    0nnn rkkk  DATA: number n, r sent again, next expected k
//!            100x skkk  ACK: next expected k, s not ready
//!            101x skkk  NAK: send again from k
//!            C0 RST · C1 RSTACK · C2 ERROR
//! data       3–220 bytes of EZSP in DATA, exclusive-or'ed with a fixed sequence; version and code in RSTACK and ERROR
//! crc        CRC-16/IBM-3740 over control and data, high byte first
//! 7E         flag
//! ```
//! Six byte values mean something to the line: in a frame they are 7D and the byte with bit 5 changed.

use cardea_radio::Millis;
use crc::{CRC_16_IBM_3740, Crc};
use zeroize::Zeroizing;

use crate::wire::secret_buffer;

/// Shortest data of a DATA frame, bytes.
pub const MIN_DATA: usize = 3;
/// Longest data of a DATA frame, bytes: the longest frame of EZSP.
pub const MAX_DATA: usize = 220;
/// Longest frame between its flags, unstuffed, bytes.
const MAX_FRAME: usize = 1 + MAX_DATA + 2;
/// The version that RSTACK and ERROR name.
const VERSION: u8 = 2;

const FLAG: u8 = 0x7E;
const ESCAPE: u8 = 0x7D;
const XON: u8 = 0x11;
const XOFF: u8 = 0x13;
const SUBSTITUTE: u8 = 0x18;
const CANCEL: u8 = 0x1A;
const FLIP: u8 = 0x20;

const RST: u8 = 0xC0;
const RSTACK: u8 = 0xC1;
const ERROR: u8 = 0xC2;
const AGAIN: u8 = 0x08;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_3740);

/// How long the line must be quiet after damage before what stands behind a flag counts again.
///
/// Payloads come from the air and the sequence that they are mixed with is known: whoever is in the network can put a whole
/// frame with a right CRC inside one. A bit error that makes a flag right before it would let it speak for the NCP.
/// So the piece behind a damaged one is not believed either, unless the line was quiet between them; what was right
/// in it is asked for again.
pub const RESYNC_QUIET_MS: Millis = 20;

/// One frame.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// EZSP in it.
    Data(Data),
    /// The other side has all frames before this one.
    Ack {
        /// The next one expected, 0–7.
        next: u8,
    },
    /// The other side missed this frame.
    Nak {
        /// The next one expected, 0–7.
        next: u8,
    },
    /// Host to NCP: restart.
    Reset,
    /// NCP to host: it has restarted.
    ResetAck {
        /// Why: 0x02 power, 0x03 watchdog, 0x06 assertion, 0x0B software.
        code: u8,
    },
    /// NCP to host: it is out of order until it is reset.
    Error {
        /// Why: 0x51 too many frames were not acknowledged.
        code: u8,
    },
}

/// One DATA frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Data {
    /// 0–7.
    pub number: u8,
    /// It was sent before.
    pub again: bool,
    /// The next frame expected from the other side, 0–7.
    pub next: u8,
    /// [`MIN_DATA`] to [`MAX_DATA`] bytes. May hold keys.
    pub data: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Data(Data { number, again, next, data }) => {
                write!(f, "Data({number}, again {again}, next {next}, {} bytes)", data.len())
            }
            Self::Ack { next } => write!(f, "Ack({next})"),
            Self::Nak { next } => write!(f, "Nak({next})"),
            Self::Reset => write!(f, "Reset"),
            Self::ResetAck { code } => write!(f, "ResetAck({code:#04x})"),
            Self::Error { code } => write!(f, "Error({code:#04x})"),
        }
    }
}

impl Frame {
    /// The bytes on the line. A reset has a byte before it that ends whatever the line holds.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut frame = secret_buffer(MAX_FRAME);
        match self {
            Self::Data(Data { number, again, next, data }) => {
                let again = if *again { AGAIN } else { 0 };
                frame.push((number & 7) << 4 | again | next & 7);
                frame.extend(
                    data.iter().take(MAX_DATA).zip(Sequence::default()).map(|(byte, mask)| byte ^ mask),
                );
            }
            Self::Ack { next } => frame.push(0x80 | next & 7),
            Self::Nak { next } => frame.push(0xA0 | next & 7),
            Self::Reset => frame.push(RST),
            Self::ResetAck { code } => frame.extend_from_slice(&[RSTACK, VERSION, *code]),
            Self::Error { code } => frame.extend_from_slice(&[ERROR, VERSION, *code]),
        }
        let crc = CRC.checksum(&frame);
        frame.extend_from_slice(&crc.to_be_bytes());
        let mut line = secret_buffer(2 + 2 * MAX_FRAME);
        if matches!(self, Self::Reset) {
            line.push(CANCEL);
        }
        for byte in frame.iter() {
            match *byte {
                FLAG | ESCAPE | XON | XOFF | SUBSTITUTE | CANCEL => {
                    line.extend_from_slice(&[ESCAPE, byte ^ FLIP])
                }
                byte => line.push(byte),
            }
        }
        line.push(FLAG);
        line
    }

    /// `None`: damaged, or nothing that ASH knows.
    fn parse(frame: &[u8]) -> Option<Self> {
        let (body, crc) = frame.split_last_chunk()?;
        if CRC.checksum(body) != u16::from_be_bytes(*crc) {
            return None;
        }
        Some(match *body {
            [control, ref data @ ..] if control & 0x80 == 0 => {
                if !(MIN_DATA..=MAX_DATA).contains(&data.len()) {
                    return None;
                }
                let mut plain = secret_buffer(MAX_DATA);
                plain.extend(data.iter().zip(Sequence::default()).map(|(byte, mask)| byte ^ mask));
                let again = control & AGAIN != 0;
                Self::Data(Data { number: control >> 4, again, next: control & 7, data: plain })
            }
            [control] if control & 0xE0 == 0x80 => Self::Ack { next: control & 7 },
            [control] if control & 0xE0 == 0xA0 => Self::Nak { next: control & 7 },
            [RST] => Self::Reset,
            [RSTACK, VERSION, code] => Self::ResetAck { code },
            [ERROR, VERSION, code] => Self::Error { code },
            _ => return None,
        })
    }
}

/// What data is mixed with, so that it seldom holds a byte that must be escaped.
struct Sequence(u8);

impl Default for Sequence {
    fn default() -> Self {
        Self(0x42)
    }
}

impl Iterator for Sequence {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let this = self.0;
        self.0 = this >> 1 ^ if this & 1 == 0 { 0 } else { 0xB8 };
        Some(this)
    }
}

/// Finds frames in what the port gives.
pub struct Decoder {
    /// Since the last flag, unstuffed.
    partial: Zeroizing<Vec<u8>>,
    escaped: bool,
    /// What is before the next flag is no frame.
    broken: bool,
    /// What was before the last flag was none.
    distrust: bool,
    heard: Option<Millis>,
    damaged: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        let partial = secret_buffer(MAX_FRAME);
        Self { partial, escaped: false, broken: false, distrust: false, heard: None, damaged: 0 }
    }
}

impl Decoder {
    /// Takes what the port gave, and hands each frame to `found`; `None` for each that was damaged.
    pub fn push(&mut self, now: Millis, bytes: &[u8], mut found: impl FnMut(Option<Frame>)) {
        if bytes.is_empty() {
            return;
        }
        let quiet = self.heard.map_or(Millis::MAX, |heard| now.saturating_sub(heard));
        self.heard = Some(now);
        if quiet >= RESYNC_QUIET_MS && self.partial.is_empty() && !self.broken {
            self.distrust = false;
        }
        for byte in bytes {
            match *byte {
                FLAG => self.flag(&mut found),
                CANCEL => {
                    self.forget();
                }
                SUBSTITUTE => self.broken = true,
                XON | XOFF => {}
                ESCAPE => self.escaped = true,
                byte => {
                    let byte = if std::mem::take(&mut self.escaped) { byte ^ FLIP } else { byte };
                    if self.partial.len() >= MAX_FRAME {
                        self.broken = true;
                    } else {
                        self.partial.push(byte);
                    }
                }
            }
        }
    }

    fn flag(&mut self, found: &mut impl FnMut(Option<Frame>)) {
        // Flags may follow each other.
        if self.partial.is_empty() && !self.broken {
            return;
        }
        let frame = if self.broken || self.escaped { None } else { Frame::parse(&self.partial) };
        self.forget();
        let believed = !std::mem::replace(&mut self.distrust, frame.is_none());
        if frame.is_none() {
            self.damaged = self.damaged.saturating_add(1);
        }
        found(frame.filter(|_| believed));
    }

    /// How often something was on the line that is no frame.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The port was opened anew.
    pub fn restart(&mut self) {
        self.forget();
        (self.distrust, self.heard) = (false, None);
    }

    fn forget(&mut self) {
        self.partial.fill(0);
        self.partial.clear();
        (self.escaped, self.broken) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex).unwrap()
    }

    fn decode(decoder: &mut Decoder, now: Millis, bytes: &[u8]) -> Vec<Option<Frame>> {
        let mut frames = Vec::new();
        decoder.push(now, bytes, |frame| frames.push(frame));
        frames
    }

    fn data(number: u8, data: &[u8]) -> Frame {
        Frame::Data(Data { number, again: false, next: 0, data: data.to_vec().into() })
    }

    #[test]
    fn frames_are_these_bytes() {
        for (hex, frame) in [
            ("1ac038bc7e", Frame::Reset),
            ("c1020b0a527e", Frame::ResetAck { code: 0x0B }),
            ("8160597e", Frame::Ack { next: 1 }),
        ] {
            assert_eq!(hex::encode(frame.encode()), hex);
            assert_eq!(decode(&mut Decoder::default(), 0, &bytes(hex)), vec![Some(frame)]);
        }
        // A byte that ends what the line holds may come before any frame.
        assert_eq!(
            decode(&mut Decoder::default(), 0, &bytes("ffff1ac1020b0a527e")),
            vec![Some(Frame::ResetAck { code: 0x0B })]
        );
    }

    /// `tests/vectors/ezsp-bellows.json`: frames as bellows 1.2.1 writes them, all byte values among their data.
    #[test]
    fn frames_of_bellows_are_read_and_written_to_the_same_bytes() {
        let vectors: serde_json::Value =
            serde_json::from_slice(include_bytes!("../../../../tests/vectors/ezsp-bellows.json")).unwrap();
        let number = |vector: &serde_json::Value, name: &str| vector[name].as_u64().unwrap() as u8;
        let mut kinds = std::collections::BTreeSet::new();
        for vector in vectors["ash"].as_array().unwrap() {
            let what = vector["what"].as_str().unwrap();
            let frame = match what {
                "RST" => Frame::Reset,
                "RSTACK" => Frame::ResetAck { code: number(vector, "code") },
                "ERROR" => Frame::Error { code: number(vector, "code") },
                "ACK" => Frame::Ack { next: number(vector, "ack") },
                "NAK" => Frame::Nak { next: number(vector, "ack") },
                _ => Frame::Data(Data {
                    number: number(vector, "number"),
                    again: vector["again"].as_bool().unwrap(),
                    next: number(vector, "ack"),
                    data: bytes(vector["data"].as_str().unwrap()).into(),
                }),
            };
            let line = bytes(vector["wire"].as_str().unwrap());
            assert_eq!(decode(&mut Decoder::default(), 0, &line), vec![Some(frame.clone())], "{vector}");
            let ours = frame.encode();
            let ours = if what == "RST" { &ours[1..] } else { &ours[..] };
            assert_eq!(hex::encode(ours), hex::encode(&line), "{vector}");
            kinds.insert(what);
        }
        assert_eq!(kinds.len(), 6);
    }

    #[test]
    fn a_frame_may_come_byte_by_byte_and_two_may_come_at_once() {
        let one = data(3, b"\x7e\x7d\x11\x13\x18\x1a").encode();
        let mut decoder = Decoder::default();
        let found: Vec<_> = one.iter().flat_map(|byte| decode(&mut decoder, 0, &[*byte])).collect();
        assert_eq!(found.len(), 1);
        let two = [&one[..], &Frame::Ack { next: 2 }.encode(), b"\x7e\x7e", &one].concat();
        assert_eq!(
            decode(&mut decoder, 0, &two),
            vec![found[0].clone(), Some(Frame::Ack { next: 2 }), found[0].clone()]
        );
        assert_eq!(decoder.damaged(), 0);
    }

    #[test]
    fn any_single_bit_error_is_seen() {
        let frame = data(1, b"\x01\x02\x03\x04").encode();
        for bit in 0..frame.len() * 8 {
            let mut line = frame.clone();
            line[bit / 8] ^= 1 << (bit % 8);
            let found = decode(&mut Decoder::default(), 0, &line);
            assert!(found.iter().all(|frame| frame.is_none()), "bit {bit}: {found:?}");
        }
    }

    /// A lock that is in the network sends a whole frame as its payload, mixed beforehand so that the NCP's mixing undoes it;
    /// and a bit error makes a flag right before it.
    #[test]
    fn a_frame_inside_a_damaged_frame_is_not_believed() {
        let inner = Frame::ResetAck { code: 0x0B }.encode();
        let before = 12;
        let payload: Vec<u8> = Sequence::default()
            .zip(std::iter::repeat_n(0xAA, before).chain(inner.iter().copied()))
            .map(|(mask, byte)| mask ^ byte)
            .collect();
        let outer = data(1, &payload).encode();
        let at =
            outer.windows(inner.len() - 1).position(|window| *window == inner[..inner.len() - 1]).unwrap();
        // The flag in the middle is escaped, so only what the real frame's end completes can be read. Make one anyway.
        let mut line = outer.to_vec();
        line[at - 1] = FLAG;
        line.truncate(at + inner.len() - 1);
        line.push(FLAG);
        for piece in 1..=line.len() {
            let mut decoder = Decoder::default();
            let found: Vec<_> = line.chunks(piece).flat_map(|piece| decode(&mut decoder, 0, piece)).collect();
            assert_eq!(found, vec![None, None], "pieces of {piece}");
            assert_eq!(decode(&mut decoder, RESYNC_QUIET_MS, &data(2, b"abc").encode()).len(), 1);
            assert_eq!(
                decode(&mut decoder, RESYNC_QUIET_MS, &data(2, b"abc").encode()),
                vec![Some(data(2, b"abc"))]
            );
        }
    }

    #[test]
    fn what_has_no_flag_is_damage_and_not_memory() {
        let mut decoder = Decoder::default();
        assert_eq!(decode(&mut decoder, 0, &[0x55; 10_000]), vec![]);
        assert_eq!(decoder.partial.capacity(), MAX_FRAME);
        assert_eq!(decode(&mut decoder, 0, &[FLAG]), vec![None]);
        // A substituted byte spoils the frame that it stands in.
        let mut line = data(2, b"abcdef").encode();
        line.insert(4, SUBSTITUTE);
        assert_eq!(decode(&mut decoder, 100, &line), vec![None]);
    }

    #[test]
    fn data_too_short_or_too_long_is_no_frame() {
        for len in [0, 2, MAX_DATA + 1] {
            let mut frame = vec![0x10];
            frame.extend(std::iter::repeat_n(0x55, len));
            frame.extend_from_slice(&CRC.checksum(&frame).to_be_bytes());
            assert_eq!(Frame::parse(&frame), None);
        }
    }
}
