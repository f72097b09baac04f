//! What any radio, broker or neighbour may throw at framing.

use cardea_framing::{Datagram, Header, LinkConfig, LockLink, elide, restore};

/// Header and datagram: what parses, encodes to the same bytes.
pub fn framing_datagram(data: &[u8]) {
    if let Some(&first) = data.first()
        && let Ok(header) = Header::decode(first)
    {
        assert_eq!(header.encode(), first);
    }
    if let Ok(datagram) = Datagram::parse(data) {
        let mut out = vec![0; data.len()];
        assert_eq!(datagram.encode(&mut out), Ok(data.len()));
        assert_eq!(out, data);
    }
}

/// Elision: everything comes back as it was; what restores, elides without loss.
pub fn framing_elision(data: &[u8]) {
    let round_trip = |message: &[u8]| {
        let mut short = vec![0; message.len() + 1];
        let len = elide(message, &mut short);
        short.truncate(len.unwrap_or(0));
        let mut whole = vec![0; short.len() + 9];
        assert_eq!(restore(&short, &mut whole), Ok(message.len()));
        assert_eq!(whole.get(..message.len()), Some(message));
    };
    round_trip(data);
    let mut message = vec![0; data.len() + 9];
    if let Ok(len) = restore(data, &mut message) {
        message.truncate(len);
        round_trip(&message);
    }
}

/// A link with a datagram outstanding gets frames: one length byte, one byte of elapsed tenths, the frame, again.
pub fn framing_link(mut data: &[u8]) {
    let config = LinkConfig { retry_ms: 500, max_attempts: 3, reassembly_ms: 5_000, max_datagram: 1024 };
    let mut link = LockLink::new(config);
    let mut now = 0;
    let (mut sent, mut heard) = (0, 0);
    let mut out = [0; 64];
    assert_eq!(link.send(now, &[0x09; 200], 1), Ok(()));
    while let [len, tenths, rest @ ..] = data {
        let (frame, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        data = rest;
        now += u64::from(*tenths) * 100;
        if let Ok(Some(incoming)) = link.handle_frame(now, frame) {
            assert!(Datagram::parse(incoming.datagram()).is_ok());
            if let Some(token) = incoming.receipt {
                link.custody(now, token);
            }
        }
        while let Some(len) = link.poll_transmit(now, 51, &mut out) {
            assert!(len <= 51);
            sent += 1;
        }
        assert!(link.poll_timeout().is_none_or(|at| at > now));
        let _ = link.poll_event();
        heard += 1;
    }
    // A frame in causes at most two receipts, and the datagram out at most its rounds, however often it progresses.
    assert!(sent <= 2 * heard + 5 * 5 * 4, "{sent} frames out for {heard} in");
}
