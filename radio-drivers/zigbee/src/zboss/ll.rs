//! The link layer's frames: `DE AD`, length, type, flags, CRC-8 over these, and a body behind its own CRC-16.
//!
//! ```text
//! 0  DE AD    signature, in this order on the wire
//! 2  length   u16, from here to the end: 5 for an acknowledgement, 7 + body otherwise
//! 4  06       type
//! 5  flags    0 acknowledgement · 1 sent again · 2–3 sequence · 4–5 acknowledged sequence · 6 first · 7 last fragment
//! 6  crc8     CRC-8/KOOP over bytes 2–5
//! 7  crc16    CRC-16/KERMIT over the body of this frame
//! 9  body     1–247 bytes
//! ```

use crc::{Algorithm, CRC_16_KERMIT, Crc};
use zeroize::Zeroizing;

use crate::wire::secret_buffer;
use cardea_radio::Millis;

/// Longest body of one frame, bytes.
pub const MAX_BODY: usize = 247;
/// Longest frame, bytes.
pub const MAX_FRAME: usize = 9 + MAX_BODY;

const SIGNATURE: [u8; 2] = [0xDE, 0xAD];
/// ZBOSS_NCP_API_HL, the only type there is.
const TYPE: u8 = 6;
const IS_ACK: u8 = 0x01;
const RETRANSMIT: u8 = 0x02;
const FIRST: u8 = 0x40;
const LAST: u8 = 0x80;

const KOOP: Algorithm<u8> = Algorithm {
    width: 8,
    poly: 0x4D,
    init: 0xFF,
    refin: true,
    refout: true,
    xorout: 0xFF,
    check: 0xD8,
    residue: 0x00,
};
const CRC8: Crc<u8> = Crc::<u8>::new(&KOOP);
const CRC16: Crc<u16> = Crc::<u16>::new(&CRC_16_KERMIT);

/// How long the line must be quiet after damage before a signature counts again.
///
/// Payloads come from the air: whoever is in the network can put a whole frame with right CRCs inside one. Were the next
/// signature believed at once, one damaged byte of the real header would let that inner frame speak for the NCP. The
/// NCP waits for an acknowledgement after each frame, so quiet comes soon, and what was lost is sent again.
pub const RESYNC_QUIET_MS: Millis = 20;
/// A frame that is not complete by then never will be.
pub const PARTIAL_MS: Millis = 250;

/// One frame.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// The other side has the frame with this sequence number.
    Ack {
        /// 0–3.
        seq: u8,
    },
    /// A fragment of a packet.
    Data(Data),
}

/// A fragment of a packet.
#[derive(Clone, PartialEq, Eq)]
pub struct Data {
    /// 0–3.
    pub seq: u8,
    /// Sent before, under the same sequence number.
    pub retransmit: bool,
    /// A packet begins.
    pub first: bool,
    /// A packet ends.
    pub last: bool,
    /// 1–[`MAX_BODY`] bytes.
    pub body: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ack { seq } => write!(f, "Ack({seq})"),
            Self::Data(data) => data.fmt(f),
        }
    }
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seq, retransmit, first, last, body } = self;
        write!(f, "Data(seq {seq}, again {retransmit}, first {first}, last {last}, {} bytes)", body.len())
    }
}

impl Data {
    /// What tells two frames of the same sequence number apart.
    pub(super) fn digest(&self) -> u16 {
        CRC16.checksum(&self.body)
    }
}

impl Frame {
    /// The bytes for the port. A body beyond [`MAX_BODY`] is cut; [`Link`](super::Link) never makes one.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = secret_buffer(MAX_FRAME);
        let (flags, body) = match self {
            Self::Ack { seq } => (IS_ACK | (seq & 3) << 4, None),
            Self::Data(data) => {
                let flag = |set: bool, flag: u8| if set { flag } else { 0 };
                let flags = (data.seq & 3) << 2
                    | flag(data.retransmit, RETRANSMIT)
                    | flag(data.first, FIRST)
                    | flag(data.last, LAST);
                (flags, Some(data.body.get(..MAX_BODY).unwrap_or(&data.body)))
            }
        };
        let length = body.map_or(5, |body| 7 + u16::try_from(body.len()).unwrap_or(0));
        let [low, high] = length.to_le_bytes();
        let header = [low, high, TYPE, flags];
        out.extend_from_slice(&SIGNATURE);
        out.extend_from_slice(&header);
        out.push(CRC8.checksum(&header));
        if let Some(body) = body {
            out.extend_from_slice(&CRC16.checksum(body).to_le_bytes());
            out.extend_from_slice(body);
        }
        out
    }
}

/// What the decoder makes of the bytes so far.
enum Step {
    Frame(Frame, usize),
    /// It may become a frame.
    More,
    Damaged,
}

/// Finds frames in a stream of bytes.
pub struct Decoder {
    /// What may become a frame; never longer than one.
    partial: Zeroizing<Vec<u8>>,
    /// When the last bytes came.
    heard: Option<Millis>,
    /// Nothing is believed until the line has been quiet.
    lost: bool,
    damaged: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { partial: secret_buffer(MAX_FRAME), heard: None, lost: false, damaged: 0 }
    }
}

impl Decoder {
    /// Takes what the port gave, and hands each frame to `found`.
    pub fn push(&mut self, now: Millis, mut bytes: &[u8], mut found: impl FnMut(Frame)) {
        if bytes.is_empty() {
            return;
        }
        let quiet = self.heard.map_or(Millis::MAX, |heard| now.saturating_sub(heard));
        self.heard = Some(now);
        if quiet >= RESYNC_QUIET_MS {
            self.lost = false;
        }
        if quiet >= PARTIAL_MS && !self.partial.is_empty() {
            self.damaged = self.damaged.saturating_add(1);
            self.forget();
        }
        while !self.lost && !bytes.is_empty() {
            let room = MAX_FRAME.saturating_sub(self.partial.len());
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.partial.extend_from_slice(now);
            bytes = later;
            loop {
                match step(&self.partial) {
                    Step::Frame(frame, used) => {
                        found(frame);
                        let rest = self.partial.len().saturating_sub(used);
                        self.partial.copy_within(used.., 0);
                        self.partial.truncate(rest);
                    }
                    Step::More => break,
                    Step::Damaged => {
                        self.damaged = self.damaged.saturating_add(1);
                        self.lost = true;
                        self.forget();
                        break;
                    }
                }
            }
        }
    }

    /// How often something was on the line that is no frame.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The port was opened anew.
    pub fn restart(&mut self) {
        self.forget();
        self.lost = false;
        self.heard = None;
    }

    fn forget(&mut self) {
        self.partial.fill(0);
        self.partial.clear();
    }
}

fn step(bytes: &[u8]) -> Step {
    match bytes {
        [] => return Step::More,
        [first, ..] if *first != SIGNATURE[0] => return Step::Damaged,
        [_, second, ..] if *second != SIGNATURE[1] => return Step::Damaged,
        _ => {}
    }
    let Some((&[_, _, low, high, kind, flags, crc], rest)) = bytes.split_first_chunk() else {
        return Step::More;
    };
    let length = usize::from(u16::from_le_bytes([low, high]));
    let ack = flags & IS_ACK != 0;
    let sane = if ack { length == 5 } else { (8..=7 + MAX_BODY).contains(&length) };
    if kind != TYPE || !sane || CRC8.checksum(&[low, high, kind, flags]) != crc {
        return Step::Damaged;
    }
    if ack {
        return Step::Frame(Frame::Ack { seq: flags >> 4 & 3 }, 7);
    }
    let Some(body) = rest.get(..length.saturating_sub(5)) else { return Step::More };
    let Some((crc, body)) = body.split_first_chunk() else { return Step::Damaged };
    if CRC16.checksum(body) != u16::from_le_bytes(*crc) {
        return Step::Damaged;
    }
    let data = Data {
        seq: flags >> 2 & 3,
        retransmit: flags & RETRANSMIT != 0,
        first: flags & FIRST != 0,
        last: flags & LAST != 0,
        body: Zeroizing::new(body.to_vec()),
    };
    Step::Frame(Frame::Data(data), length.saturating_add(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex).unwrap()
    }

    fn decode(decoder: &mut Decoder, now: Millis, bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        decoder.push(now, bytes, |frame| frames.push(frame));
        frames
    }

    fn get_joined(retransmit: bool) -> Frame {
        let body = Zeroizing::new(bytes("0000140001"));
        Frame::Data(Data { seq: 0, retransmit, first: true, last: true, body })
    }

    #[test]
    fn the_checksums_are_koop_and_kermit() {
        assert_eq!((CRC8.checksum(b"123456789"), CRC8.checksum(b"")), (0xD8, 0x00));
        assert_eq!(CRC16.checksum(b"123456789"), 0x2189);
    }

    #[test]
    fn frames_are_these_bytes() {
        for (seq, hex) in
            ["dead050006018f", "dead05000611c0", "dead0500062111", "dead050006315e"].iter().enumerate()
        {
            let ack = Frame::Ack { seq: seq as u8 };
            assert_eq!(hex::encode(ack.encode()), *hex);
            assert_eq!(decode(&mut Decoder::default(), 0, &bytes(hex)), vec![ack]);
        }
        assert_eq!(hex::encode(get_joined(false).encode()), "dead0c0006c07c7df70000140001");
        // Sent again: one flag, another CRC-8, the rest as it was.
        assert_eq!(hex::encode(get_joined(true).encode()), "dead0c0006c2007df70000140001");
    }

    #[test]
    fn a_frame_may_come_byte_by_byte_and_two_may_come_at_once() {
        let one = get_joined(false).encode();
        let mut decoder = Decoder::default();
        let found: Vec<_> = one.iter().flat_map(|byte| decode(&mut decoder, 0, &[*byte])).collect();
        assert_eq!(found, vec![get_joined(false)]);
        let two = [&one[..], &Frame::Ack { seq: 2 }.encode(), &one].concat();
        let expected = vec![get_joined(false), Frame::Ack { seq: 2 }, get_joined(false)];
        assert_eq!(decode(&mut decoder, 0, &two), expected);
    }

    #[test]
    fn after_garbage_frames_count_again_once_the_line_was_quiet() {
        let mut decoder = Decoder::default();
        assert_eq!(decode(&mut decoder, 0, b"rst:0x1 (POWERON)\r\n"), vec![]);
        assert_eq!(decode(&mut decoder, RESYNC_QUIET_MS - 1, &get_joined(false).encode()), vec![]);
        let later = 2 * RESYNC_QUIET_MS;
        assert_eq!(decode(&mut decoder, later, &get_joined(true).encode()), vec![get_joined(true)]);
        assert_eq!(decoder.damaged(), 1);
    }

    /// A lock that is in the network sends a whole frame as its payload, and the real frame's header is damaged; however the
    /// port cuts what it hears into pieces.
    #[test]
    fn a_frame_inside_a_damaged_frame_is_not_believed() {
        let inner = Frame::Data(Data {
            seq: 1,
            retransmit: false,
            first: true,
            last: true,
            body: bytes("00").into(),
        });
        let outer = Data { seq: 1, retransmit: false, first: true, last: true, body: inner.encode() };
        for damaged in 0..9 {
            let mut line = Frame::Data(outer.clone()).encode();
            line[damaged] ^= 0x04;
            let in_pieces = |line: &[u8], piece: usize| {
                let mut decoder = Decoder::default();
                line.chunks(piece).flat_map(|piece| decode(&mut decoder, 0, piece)).collect::<Vec<_>>()
            };
            for piece in 1..=line.len() {
                assert_eq!(in_pieces(&line, piece), vec![], "byte {damaged}, pieces of {piece}");
                let mut shorter = line.clone();
                shorter.remove(damaged);
                assert_eq!(in_pieces(&shorter, piece), vec![], "byte {damaged} lost, pieces of {piece}");
            }
        }
    }

    #[test]
    fn any_single_bit_error_is_seen() {
        let frame = get_joined(false).encode();
        for bit in 0..frame.len() * 8 {
            let mut line = frame.clone();
            line[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&mut Decoder::default(), 0, &line), vec![], "bit {bit}");
        }
    }

    #[test]
    fn half_a_frame_is_forgotten_in_time() {
        let frame = get_joined(false).encode();
        let mut decoder = Decoder::default();
        assert_eq!(decode(&mut decoder, 0, &frame[..9]), vec![]);
        assert_eq!(decode(&mut decoder, PARTIAL_MS, &frame), vec![get_joined(false)]);
    }

    #[test]
    fn a_length_beyond_one_frame_is_damage_and_not_memory() {
        let header = [0xFF, 0xFF, TYPE, 0xC0];
        let line = [&SIGNATURE[..], &header, &[CRC8.checksum(&header)]].concat();
        let mut decoder = Decoder::default();
        decode(&mut decoder, 0, &line);
        assert_eq!((decoder.damaged(), decoder.partial.len()), (1, 0));
    }
}
