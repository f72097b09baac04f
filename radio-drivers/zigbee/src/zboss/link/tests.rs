//! The link against scripts, and against another link over a line that loses, damages and adds bytes.

use super::*;
use crate::zboss::ll::RESYNC_QUIET_MS;

fn packet(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.to_vec())
}

fn numbered(number: u32, len: usize) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(number.to_le_bytes().into_iter().cycle().take(len.max(4)).collect())
}

fn data(seq: u8, retransmit: bool, first: bool, last: bool, body: &[u8]) -> Vec<u8> {
    Frame::Data(Data { seq, retransmit, first, last, body: packet(body) }).encode().to_vec()
}

fn ack(seq: u8) -> Vec<u8> {
    Frame::Ack { seq }.encode().to_vec()
}

/// Everything the link wants on the line now.
fn line(link: &mut Link, now: Millis) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| link.poll_transmit(now)).map(|bytes| bytes.to_vec()).collect()
}

fn taken(link: &mut Link) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| link.poll_packet()).map(|packet| packet.to_vec()).collect()
}

#[test]
fn sequence_numbers_are_0_then_1_2_3_and_each_waits_for_its_acknowledgement() {
    let mut link = Link::default();
    for seq in [0, 1, 2, 3, 1, 2, 3, 1] {
        link.send(packet(b"ab")).unwrap();
        link.send(packet(b"cd")).unwrap();
        assert_eq!(line(&mut link, 0), vec![data(seq, false, true, true, b"ab")]);
        link.handle_bytes(0, &ack((seq + 1) % 4));
        assert_eq!(line(&mut link, 0), Vec::<Vec<u8>>::new(), "another frame's acknowledgement");
        link.handle_bytes(0, &ack(seq));
        let next = if seq == 3 { 1 } else { seq + 1 };
        assert_eq!(line(&mut link, 0), vec![data(next, false, true, true, b"cd")]);
        link.handle_bytes(0, &ack(next));
        // Back to where the loop expects it.
        for _ in 0..2 {
            link.send(packet(b"ef")).unwrap();
            line(&mut link, 0);
            let outstanding = link.next_seq;
            link.handle_bytes(0, &ack(outstanding));
        }
        let expected = if seq == 3 { 1 } else { seq + 1 };
        assert_eq!(link.next_seq, expected);
    }
}

#[test]
fn an_unacknowledged_frame_is_sent_three_times_with_the_flag_and_then_the_link_is_dead() {
    let mut link = Link::default();
    link.send(packet(b"ab")).unwrap();
    assert_eq!(line(&mut link, 0), vec![data(0, false, true, true, b"ab")]);
    for again in 1..=2u64 {
        assert_eq!(link.poll_timeout(), Some(again * ACK_TIMEOUT_MS));
        link.handle_timeout(again * ACK_TIMEOUT_MS - 1);
        assert_eq!(line(&mut link, 0), Vec::<Vec<u8>>::new());
        link.handle_timeout(again * ACK_TIMEOUT_MS);
        assert_eq!(line(&mut link, again * ACK_TIMEOUT_MS), vec![data(0, true, true, true, b"ab")]);
    }
    link.handle_timeout(3 * ACK_TIMEOUT_MS);
    assert!(link.is_dead());
    assert_eq!(link.send(packet(b"cd")), Err(LinkError::Dead));
    link.restart();
    link.send(packet(b"cd")).unwrap();
    assert_eq!(line(&mut link, 9_000), vec![data(0, false, true, true, b"cd")]);
}

#[test]
fn a_repetition_is_acknowledged_and_dropped_but_a_restarted_ncp_is_heard() {
    let mut link = Link::default();
    link.handle_bytes(0, &data(0, false, true, true, b"reset"));
    link.handle_bytes(0, &data(0, true, true, true, b"reset"));
    assert_eq!((taken(&mut link), line(&mut link, 0)), (vec![b"reset".to_vec()], vec![ack(0), ack(0)]));
    // Its first frame after a restart has the number 0 again, and no flag; or the flag and another content.
    link.handle_bytes(0, &data(0, false, true, true, b"reset"));
    link.handle_bytes(0, &data(0, true, true, true, b"other"));
    assert_eq!(taken(&mut link), vec![b"reset".to_vec(), b"other".to_vec()]);
}

/// A packet of 300 bytes as another host cuts it: 53 bytes and then 247.
#[test]
fn fragments_have_the_remainder_first_and_each_its_own_number() {
    let mut link = Link::default();
    let whole: Vec<u8> = (0..=255).chain(0..44).collect();
    link.send(packet(&whole)).unwrap();
    assert_eq!(line(&mut link, 0), vec![data(0, false, true, false, &whole[..53])]);
    link.handle_bytes(0, &ack(0));
    assert_eq!(line(&mut link, 0), vec![data(1, false, false, true, &whole[53..])]);
    link.handle_bytes(0, &ack(1));
    assert!(link.is_idle());
    // What divides without remainder has no empty fragment.
    let sizes = |len: usize| cut(&vec![7; len]).iter().map(|f| f.body.len()).collect::<Vec<_>>();
    assert_eq!((sizes(247), sizes(494), sizes(495)), (vec![247], vec![247, 247], vec![1, 247, 247]));
}

#[test]
fn fragments_are_joined_and_a_new_first_one_discards_what_is_incomplete() {
    let mut link = Link::default();
    for bytes in [
        data(0, false, false, true, b"an end without a beginning"),
        data(1, false, true, false, b"begun and left"),
        data(2, false, true, false, b"D"),
        data(3, false, false, false, b"oo"),
        data(3, true, false, false, b"oo"),
        data(1, false, false, true, b"r"),
    ] {
        link.handle_bytes(0, &bytes);
    }
    assert_eq!(taken(&mut link), vec![b"Door".to_vec()]);
    assert_eq!(line(&mut link, 0), [0, 1, 2, 3, 3, 1].map(ack).to_vec(), "each is acknowledged");
}

#[test]
fn memory_is_bounded_in_every_direction() {
    let mut link = Link::default();
    assert_eq!(link.send(packet(&[0; MAX_PACKET + 1])), Err(LinkError::Size));
    for _ in 0..MAX_QUEUED {
        link.send(packet(&[0; MAX_PACKET])).unwrap();
    }
    assert_eq!(link.send(packet(b"a")), Err(LinkError::Full));
    // A packet without an end is given up.
    let seqs = [1, 2, 3].into_iter().cycle();
    for (number, seq) in (0..40u8).zip(seqs) {
        link.handle_bytes(0, &data(seq, false, number == 0, false, &[number; MAX_BODY]));
        assert!(link.assembly.as_ref().is_none_or(|assembly| assembly.len() <= MAX_PACKET));
        line(&mut link, 0);
    }
    assert!(link.assembly.is_none());
    // Nobody takes the packets: the NCP is left waiting, and what it then repeats is not lost.
    for (number, seq) in (0..MAX_RECEIVED as u8).zip([1, 2, 3].into_iter().cycle()) {
        link.handle_bytes(0, &data(seq, false, true, true, &[number]));
        assert_eq!(line(&mut link, 0), vec![ack(seq)]);
    }
    link.handle_bytes(0, &data(2, false, true, true, b"more"));
    assert_eq!(line(&mut link, 0), Vec::<Vec<u8>>::new());
    assert_eq!(taken(&mut link).len(), MAX_RECEIVED);
    link.handle_bytes(0, &data(2, true, true, true, b"more"));
    assert_eq!((taken(&mut link), line(&mut link, 0)), (vec![b"more".to_vec()], vec![ack(2)]));
}

/// SplitMix64: a failure is reproduced by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }
}

/// A line that spoils one frame in `spoil`: gone, one bit wrong, one byte missing, noise before it, or cut in half.
fn carry(random: &mut Random, spoil: u64, mut bytes: Vec<u8>) -> Vec<u8> {
    if !random.one_in(spoil) {
        return bytes;
    }
    let at = random.next() as usize % bytes.len();
    match random.next() % 5 {
        0 => bytes.clear(),
        1 => bytes[at] ^= 1 << (random.next() % 8),
        2 => drop(bytes.remove(at)),
        3 => bytes.splice(..0, [0x55; 3]).for_each(drop),
        _ => bytes.truncate(at),
    }
    bytes
}

/// Packets of each end.
type Both = [Vec<Vec<u8>>; 2];

/// Both ends send packets of all sizes; returns what each sent, what of it arrived, and whether a link died.
fn conversation(seed: u64, spoil: u64) -> (Both, Both, bool) {
    let mut random = Random(seed);
    let mut ends = [Link::default(), Link::default()];
    let (mut sent, mut got) = (Both::default(), Both::default());
    let mut now = 0;
    for number in 0..40u32 {
        for from in 0..2 {
            let len = [5, 30, 247, 248, 600][random.next() as usize % 5];
            let packet = numbered(number * 2 + from as u32, len);
            if ends[from].send(packet.clone()).is_ok() {
                sent[from].push(packet.to_vec());
            }
        }
        // More than three sends and their quiet need.
        for _ in 0..300 {
            now += RESYNC_QUIET_MS;
            for from in 0..2 {
                ends[from].handle_timeout(now);
                for bytes in line(&mut ends[from], now) {
                    let bytes = carry(&mut random, spoil, bytes);
                    ends[1 - from].handle_bytes(now, &bytes);
                    let arrived = taken(&mut ends[1 - from]);
                    got[from].extend(arrived);
                }
            }
            if ends.iter().any(Link::is_dead) {
                return (sent, got, true);
            }
        }
    }
    (sent, got, false)
}

#[test]
fn on_a_bad_line_nothing_is_lost_doubled_or_reordered_while_the_link_lives() {
    let mut died = 0;
    for seed in 0..150 {
        let (sent, got, dead) = conversation(seed, 20);
        died += u32::from(dead);
        for (sent, got) in sent.iter().zip(&got) {
            assert!(sent.starts_with(got), "seed {seed}: a prefix in order, each once");
            assert!(dead || sent.len() == got.len(), "seed {seed}: {} of {}", got.len(), sent.len());
        }
    }
    println!("{died} of 150 links died of three losses in a row");
    assert!(died < 40, "most live through it");
}

#[test]
fn on_a_good_line_everything_arrives_at_once() {
    let (sent, got, dead) = conversation(1, u64::MAX);
    assert!(!dead);
    assert_eq!(sent, got);
}
