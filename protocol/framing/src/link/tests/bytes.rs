//! Literal frames, and one rule each.

use std::vec;

use super::*;

#[test]
fn a_frame_that_fits_costs_one_byte_and_is_answered_by_its_digest() {
    let (mut lock, mut gateway) = (lock(), gateway());
    let sealed = [0x08, 0xde, 0xad];
    lock.send(0, &sealed, 7).unwrap();
    assert_eq!(lock.send(0, &sealed, 8), Err(Error::Busy));
    assert_eq!(frame(&mut lock, 0, 51).unwrap(), sealed);
    assert_eq!(frame(&mut lock, 0, 51), None);

    let (got, token) = take(&mut gateway, 5, &sealed).unwrap();
    assert_eq!(got, sealed);
    assert!(take(&mut gateway, 5, &sealed).is_none(), "repeated because the receipt takes its time");
    assert!(!gateway.has_pending(5), "no receipt before custody");
    gateway.custody(6, token.unwrap());
    // `printf '\x08\xde\xad' | sha256sum` starts with 8d5a.
    let receipt = frame(&mut gateway, 6, 51).unwrap();
    assert_eq!(receipt, [0x28, 0x8d, 0x5a]);
    assert_eq!(lock.handle_frame(9, &receipt).map(|incoming| incoming.is_none()), Ok(true));
    assert_eq!(lock.poll_event(), Some(LinkEvent::Delivered { handle: 7 }));
    assert!(lock.can_send() && lock.poll_timeout().is_none());
}

#[test]
fn telemetry_that_fits_expects_nothing() {
    let (mut lock, mut gateway) = (lock(), gateway());
    let sealed = datagram(Class::Telemetry, 20);
    lock.send(0, &sealed, 1).unwrap();
    assert_eq!(frames(&mut lock, 0, 51), core::slice::from_ref(&sealed));
    assert!(!lock.can_send(), "its event has not been collected");
    assert_eq!(lock.poll_event(), Some(LinkEvent::Sent { handle: 1 }));
    assert!(lock.can_send());
    let (got, token) = take(&mut gateway, 0, &sealed).unwrap();
    assert_eq!((got, token), (sealed.clone(), None));
    assert!(take(&mut gateway, 0, &sealed).is_none(), "a copy made by the network");
    assert!(!gateway.has_pending(0));
}

#[test]
fn literal_fragments() {
    let (mut lock, mut gateway) = (lock(), gateway());
    let sealed = [0x21, b'1', b'2', b'3', b'4', b'5', b'6', b'7', b'8', b'9'];
    lock.send(0, &sealed, 1).unwrap();
    // zlib.crc32(b"\x21123456789") = 0x6ee82d10
    let crc = [0x10, 0x2d, 0xe8, 0x6e];
    let sent = frames(&mut lock, 0, 8);
    // header with `more`; tag 0, index 0–2, last 2; five bytes of stream each; CRC of the datagram with more = 0.
    assert_eq!(sent[0], [0x25, 0x00, 0x02, b'1', b'2', b'3', b'4', b'5']);
    assert_eq!(sent[1], [0x25, 0x00, 0x42, b'6', b'7', b'8', b'9', crc[0]]);
    assert_eq!(sent[2], [0x25, 0x00, 0x82, crc[1], crc[2], crc[3]]);
    assert_eq!(sent.len(), 3);

    assert!(take(&mut gateway, 0, &sent[2]).is_none());
    assert_eq!(frame(&mut gateway, 0, 51).unwrap(), [0x2d, 0x00, 0b100], "none above is missing: ask");
    assert!(take(&mut gateway, 0, &sent[0]).is_none());
    assert!(gateway.is_receiving());
    let (got, token) = take(&mut gateway, 0, &sent[1]).unwrap();
    assert_eq!(got, sealed);
    assert!(!gateway.is_receiving());
    assert!(take(&mut gateway, 1, &sent[1]).is_none());
    assert_eq!(frame(&mut gateway, 1, 51), None, "complete, not in custody: silence");
    gateway.custody(2, token.unwrap());
    assert_eq!(frame(&mut gateway, 2, 51).unwrap(), [0x2d, 0x00, 0b111]);
    assert!(take(&mut gateway, 3, &sent[0]).is_none());
    assert_eq!(frame(&mut gateway, 3, 51).unwrap(), [0x2d, 0x00, 0b111], "in custody: the answer again");
    assert!(lock.handle_frame(4, &[0x2d, 0x00, 0b111]).unwrap().is_none());
    assert_eq!(lock.poll_event(), Some(LinkEvent::Delivered { handle: 1 }));
}

#[test]
fn only_what_is_missing_is_sent_again_under_the_same_tag() {
    let (mut lock, mut gateway) = (lock(), gateway());
    lock.send(0, &datagram(Class::Bulk, 200), 1).unwrap();
    let sent = frames(&mut lock, 0, 51);
    assert_eq!(sent.len(), 5);
    for index in [0, 2, 4] {
        assert!(take(&mut gateway, 0, &sent[index]).is_none());
    }
    let receipt = frame(&mut gateway, 0, 51).unwrap();
    assert_eq!(receipt, [0x2f, 0x00, 0b10101]);
    lock.handle_frame(0, &receipt).unwrap();
    assert_eq!(frames(&mut lock, 0, 51), [sent[1].clone(), sent[3].clone()]);
    // The same receipt once more, made by the network, starts nothing.
    lock.handle_frame(0, &receipt).unwrap();
    assert_eq!(frames(&mut lock, 0, 51).len(), 0);
}

#[test]
fn without_an_answer_one_fragment_asks_and_attempts_run_out() {
    let mut lock = lock();
    lock.send(0, &datagram(Class::Log, 100), 1).unwrap();
    let sent = frames(&mut lock, 0, 51);
    assert_eq!((sent.len(), lock.poll_timeout()), (3, Some(1_000)));
    assert!(!lock.has_pending(999) && lock.has_pending(1_000));
    assert_eq!(frames(&mut lock, 1_000, 51), [sent[2].clone()]);
    assert_eq!(frames(&mut lock, 2_000, 51), [sent[2].clone()]);
    assert!(!lock.has_pending(3_000));
    lock.handle_timeout(3_000);
    assert_eq!(lock.poll_event(), Some(LinkEvent::Failed { handle: 1, reason: Failure::Unanswered }));
    assert_eq!((lock.poll_timeout(), lock.held()), (None, 0));
}

#[test]
fn a_due_retry_waits_for_air_without_a_timer() {
    let mut lock = lock();
    lock.send(0, &[0x08, 1], 1).unwrap();
    assert_eq!(frames(&mut lock, 0, 51).len(), 1);
    lock.handle_timeout(5_000);
    assert_eq!((lock.poll_timeout(), lock.has_pending(5_000)), (None, true));
    assert_eq!(frame(&mut lock, 9_000, 51).unwrap(), [0x08, 1]);
    assert_eq!(lock.poll_timeout(), Some(10_000));
}

#[test]
fn a_smaller_mtu_starts_again_under_a_new_tag_and_a_larger_one_changes_nothing() {
    let mut lock = lock();
    lock.send(0, &datagram(Class::Log, 100), 1).unwrap();
    assert_eq!(frame(&mut lock, 0, 51).unwrap()[..3], [0x0d, 0x00, 0x02]);
    assert_eq!(frame(&mut lock, 0, 40).unwrap()[..3], [0x0d, 0x10, 0x02]);
    let rest = frames(&mut lock, 0, 115);
    assert_eq!(rest.iter().map(|frame| frame.len()).collect::<Vec<_>>(), [40, 32]);
    assert_eq!(rest[1][..3], [0x0d, 0x10, 0x82]);
    // Four more would be the fourth round of three.
    assert!(frame(&mut lock, 0, 39).is_none(), "everything is out; the wait has begun");
    lock.handle_timeout(1_000);
    assert!(frame(&mut lock, 1_000, 39).is_none());
    assert_eq!(lock.poll_event(), Some(LinkEvent::Failed { handle: 1, reason: Failure::Unanswered }));
}

#[test]
fn more_than_64_fragments_are_refused() {
    let mut gateway = gateway();
    gateway.send(0, &datagram(Class::Bulk, 64 * 17 + 1 - 4), 1).unwrap();
    assert_eq!(frames(&mut gateway, 0, 20).len(), 64);
    assert!(gateway.abandon(1));
    gateway.send(0, &datagram(Class::Bulk, 64 * 17 + 2 - 4), 2).unwrap();
    assert_eq!(frames(&mut gateway, 0, 20).len(), 0);
    assert_eq!(gateway.poll_event(), Some(LinkEvent::Failed { handle: 2, reason: Failure::TooBig }));
    assert_eq!(gateway.send(0, &vec![0x08; GATEWAY_DATAGRAM + 1], 3), Err(Error::TooBig));
}

#[test]
fn a_lock_takes_1024_bytes_and_no_more() {
    let (mut lock, mut gateway) = (lock(), gateway());
    for (len, fits) in [(LOCK_DATAGRAM, true), (LOCK_DATAGRAM + 1, false)] {
        gateway.send(0, &datagram(Class::Bulk, len), 1).unwrap();
        let sent = frames(&mut gateway, 0, 115);
        for first in [0, sent.len() - 1] {
            let mut lock = Link::<heapless::Vec<u8, { LOCK_DATAGRAM + 4 }>>::new(CONFIG);
            let mut order: Vec<_> = sent.clone();
            order.swap(0, first);
            let results: Vec<_> =
                order.iter().map(|frame| lock.handle_frame(0, frame).map(|i| i.is_some())).collect();
            assert_eq!(results.contains(&Ok(true)), fits, "{len} from {first}");
            assert_eq!(results.contains(&Err(Error::TooBig)), !fits, "{len} from {first}");
        }
        gateway.abandon(1);
    }
    assert_eq!(lock.handle_frame(0, &[0x08; LOCK_DATAGRAM + 1]).unwrap_err(), Error::TooBig);
}

#[test]
fn missing_fragments_are_asked_for_three_times_then_forgotten() {
    let (mut lock, mut gateway) = (lock(), gateway());
    lock.send(0, &datagram(Class::Log, 100), 1).unwrap();
    let sent = frames(&mut lock, 0, 51);
    assert!(take(&mut gateway, 0, &sent[0]).is_none());
    for at in [1_000, 2_000, 3_000] {
        assert_eq!(gateway.poll_timeout(), Some(at));
        assert!(gateway.has_pending(at));
        assert_eq!(frames(&mut gateway, at, 51), [[0x2d, 0x00, 0b001]]);
    }
    assert_eq!(gateway.poll_timeout(), Some(60_000));
    assert!(gateway.held() > 0);
    gateway.handle_timeout(60_000);
    assert_eq!((gateway.poll_timeout(), gateway.held()), (None, 0));
}

#[test]
fn a_reused_tag_is_no_repeat() {
    let mut gateway = gateway();
    // Each of these locks starts with tag 0, as one does after a reset.
    for round in 0..3_u8 {
        let mut lock = lock();
        let mut sealed = datagram(Class::Log, 100);
        sealed[60] = round;
        lock.send(0, &sealed, 1).unwrap();
        let got = frames(&mut lock, 0, 51).iter().filter_map(|frame| take(&mut gateway, 0, frame)).last();
        let (got, token) = got.unwrap_or_else(|| {
            // What the two have in common looked like repeats; the answer says what is missing.
            let answers = frames(&mut gateway, 0, 51);
            answers.iter().for_each(|answer| assert!(lock.handle_frame(0, answer).unwrap().is_none()));
            frames(&mut lock, 0, 51).iter().filter_map(|frame| take(&mut gateway, 0, frame)).last().unwrap()
        });
        assert_eq!(got, sealed);
        gateway.custody(0, token.unwrap());
        assert!(frames(&mut gateway, 0, 51).contains(&vec![0x2d, 0x00, 0b111]));
    }
}

#[test]
fn a_late_copy_does_not_push_out_the_next_datagram() {
    let (mut lock, mut gateway) = (lock(), gateway());
    let cut = |gateway: &mut Heap, first: u8| {
        let mut sealed = datagram(Class::Log, 100);
        sealed[1] = first;
        gateway.send(0, &sealed, 1).unwrap();
        let sent = frames(gateway, 0, 51);
        gateway.abandon(1);
        sent
    };
    let (older, newer) = (cut(&mut gateway, 1), cut(&mut gateway, 2));
    assert!(take(&mut lock, 0, &newer[0]).is_none());
    assert!(take(&mut lock, 0, &newer[1]).is_none());
    assert!(take(&mut lock, 999, &older[0]).is_none());
    assert!(take(&mut lock, 999, &newer[2]).is_some());
    // Nothing new for a retry time: then the older tag is a newer datagram, of a device that was reset.
    let (older, newer) = (cut(&mut gateway, 3), cut(&mut gateway, 4));
    assert!(take(&mut lock, 2_000, &newer[0]).is_none());
    let got = older.iter().filter_map(|frame| take(&mut lock, 3_000, frame)).last();
    assert!(got.is_some());
}

#[test]
fn a_wrong_crc_starts_over() {
    let (mut lock, mut gateway) = (lock(), gateway());
    lock.send(0, &datagram(Class::Log, 100), 1).unwrap();
    let mut sent = frames(&mut lock, 0, 51);
    sent[1][10] ^= 1;
    assert!(take(&mut gateway, 0, &sent[0]).is_none());
    assert!(take(&mut gateway, 0, &sent[1]).is_none());
    assert_eq!(gateway.handle_frame(0, &sent[2]).unwrap_err(), Error::Crc);
    let answer = frame(&mut gateway, 0, 51).unwrap();
    assert_eq!(answer, [0x2d, 0x00, 0]);
    // The lock had been told of nothing yet, so this says nothing new, and its timer asks.
    lock.handle_frame(0, &answer).unwrap();
    let probe = frames(&mut lock, 1_000, 51);
    assert!(take(&mut gateway, 1_000, &probe[0]).is_none());
    lock.handle_frame(1_000, &frame(&mut gateway, 1_000, 51).unwrap()).unwrap();
    let got = frames(&mut lock, 1_000, 51).iter().filter_map(|frame| take(&mut gateway, 1_000, frame)).last();
    assert_eq!(got.unwrap().0, datagram(Class::Log, 100));
}

#[test]
fn released_is_delivered_again_and_custody_survives_eviction() {
    let (mut lock, mut gateway) = (lock(), gateway());
    let sealed = datagram(Class::Log, 100);
    lock.send(0, &sealed, 1).unwrap();
    let sent = frames(&mut lock, 0, 51);
    for _ in 0..2 {
        let (got, token) = sent.iter().filter_map(|frame| take(&mut gateway, 0, frame)).last().unwrap();
        assert_eq!(got, sealed);
        gateway.release(token.unwrap());
    }
    let (_, token) = sent.iter().filter_map(|frame| take(&mut gateway, 0, frame)).last().unwrap();
    // Many others come before the disk is done with it.
    for i in 0..20 {
        assert!(take(&mut gateway, 1, &[0x08, i, i]).is_some());
    }
    gateway.custody(2, token.unwrap());
    assert_eq!(frames(&mut gateway, 2, 51), [[0x2d, 0x00, 0b111]]);
    gateway.shed();
    assert!(sent.iter().all(|frame| take(&mut gateway, 3, frame).is_none()), "known again by its custody");
    assert_eq!(frames(&mut gateway, 3, 51), [[0x2d, 0x00, 0b111]]);
}

#[test]
fn complete_again_before_custody_is_silence() {
    let (mut lock, mut gateway) = (lock(), gateway());
    lock.send(0, &datagram(Class::Log, 100), 1).unwrap();
    let sent = frames(&mut lock, 0, 51);
    assert!(sent.iter().filter_map(|frame| take(&mut gateway, 0, frame)).last().is_some());
    gateway.shed();
    assert!(sent.iter().all(|frame| take(&mut gateway, 1, frame).is_none()));
    assert_eq!(frames(&mut gateway, 1, 51).len(), 0);
}

#[test]
fn receipts_of_other_datagrams_change_nothing() {
    let mut lock = lock();
    lock.send(0, &[0x08, 1], 1).unwrap();
    lock.handle_frame(0, &[0x28, 0x00, 0x00]).unwrap();
    let [high, low] = crate::receipt_digest(&[0x08, 1]).to_be_bytes();
    lock.handle_frame(0, &[0x28, high, low]).unwrap();
    assert_eq!(lock.poll_event(), None, "it has not even been sent");
    assert_eq!(frames(&mut lock, 0, 51).len(), 1);
    lock.handle_frame(0, &[0x2c, 0x00, 0x01]).unwrap();
    lock.handle_frame(0, &[0x28, high, low ^ 1]).unwrap();
    assert_eq!(lock.poll_event(), None);
    lock.handle_frame(0, &[0x28, high, low]).unwrap();
    assert_eq!(lock.poll_event(), Some(LinkEvent::Delivered { handle: 1 }));
    for wrong in [
        &[0x28_u8, 1][..],
        &[0x28, 1, 2, 3],
        &[0x2c],
        &[0x2c, 0],
        &[0x2c, 0x10, 1],
        &[0x2c, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    ] {
        assert_eq!(lock.handle_frame(0, wrong).unwrap_err(), Error::Receipt, "{wrong:02x?}");
    }
}

#[test]
fn a_flood_of_receipts_does_not_make_a_lock_send_forever() {
    let mut lock = lock();
    lock.send(0, &datagram(Class::Log, 500), 1).unwrap();
    let mut sent = frames(&mut lock, 0, 51).len();
    for round in 0..1_000_u64 {
        // Never more fragments than before, never the same ones.
        lock.handle_frame(0, &[0x2d, 0x00, 1 << (round % 8), 0]).unwrap();
        sent += frames(&mut lock, 0, 51).len();
    }
    assert!(sent <= 4 * 11, "{sent}");
}

#[test]
fn only_what_somebody_waits_for_goes_before_a_receipt() {
    for (class, len, first) in
        [(Class::Interactive, 40, 0x08), (Class::Log, 40, 0x28), (Class::Interactive, 100, 0x28)]
    {
        let mut gateway = gateway();
        let (_, token) = take(&mut gateway, 0, &[0x08, 1]).unwrap();
        gateway.custody(0, token.unwrap());
        gateway.send(0, &datagram(class, len), 1).unwrap();
        assert_eq!(frame(&mut gateway, 0, 51).unwrap()[0], first, "{class} {len}");
    }
    // Its repetition waits for the receipt.
    let mut gateway = gateway();
    gateway.send(0, &datagram(Class::Interactive, 40), 1).unwrap();
    assert!(frame(&mut gateway, 0, 51).is_some());
    let (_, token) = take(&mut gateway, 0, &[0x08, 1]).unwrap();
    gateway.custody(0, token.unwrap());
    assert_eq!(frame(&mut gateway, 1_000, 51).unwrap()[0], 0x28);
}

#[test]
fn abandoned_is_silent() {
    let mut lock = lock();
    lock.send(0, &[0x08, 1], 1).unwrap();
    assert!(!lock.abandon(2) && lock.abandon(1) && !lock.abandon(1));
    assert_eq!(frames(&mut lock, 0, 51).len(), 0);
    assert_eq!((lock.poll_event(), lock.can_send()), (None, true));
}

#[test]
fn hostile_frames_are_named() {
    let mut lock = lock();
    let mut error = |frame: &[u8]| lock.handle_frame(0, frame).unwrap_err();
    assert_eq!(error(&[]), Error::Truncated);
    assert_eq!(error(&[0x08]), Error::Truncated);
    assert_eq!(error(&[0x80, 1]), Error::Version);
    assert_eq!(error(&[0x3c, 1]), Error::Kind);
    assert_eq!(error(&[0x0c, 0x00]), Error::Truncated);
    assert_eq!(error(&[0x0c, 0x00, 0x01]), Error::Truncated);
    assert_eq!(error(&[0x0c, 0x00, 0x00, 1]), Error::Fragment);
    assert_eq!(error(&[0x0c, 0x00, 0x81, 1]), Error::Fragment);
}

#[test]
fn an_idle_gateway_link_is_small() {
    assert!(size_of::<Heap>() <= 1024, "{}", size_of::<Heap>());
    assert!(size_of::<LockLink>() <= 2 * (LOCK_DATAGRAM + 4) + 768, "{}", size_of::<LockLink>());
    assert_eq!(gateway().held(), 0);
}
