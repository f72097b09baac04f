//! Times of reception from before the clock could be believed.

use cardea_envelope::ClockState;

use super::*;

#[test]
fn what_was_heard_before_the_clock_was_set_has_its_true_time_once_it_is() {
    let quality = Quality { rssi: None, snr: None, lqi: None };
    let old = Row {
        row: 1,
        lock: LOCK,
        class: Class::Log,
        id: MessageId([1; 16]),
        data: datagram(Class::Log, 1, 30).into(),
        meta: RowMeta { radio: "lora".into(), quality, at: 77, synced: false },
    };
    let rows = Backlog { lock: LOCK, rows: [0, 1, 0, 0], weight: 94, last: 1, recent: Vec::new() };
    let locks = [LOCK, OTHER].map(|lock| LockRecord { lock, radio: "lora".into() }).into();
    let mut bench = Bench::unsynced(Snapshot { locks, backlog: vec![rows], ..Snapshot::default() });
    bench.feed(Input::Upstream(UpstreamEvent::Disconnected));
    // Somebody sets it wrong before it is set right: one guess holds for all that is stamped meanwhile.
    bench.dawn = 5_000;
    bench.now = 1_000;
    bench.up(OTHER, Class::Log, 1);
    bench.dawn = DAWN + 7_000_000;
    bench.synced = true;
    bench.now = 61_000;
    bench.up(OTHER, Class::Log, 2);
    bench.feed(Input::Upstream(UpstreamEvent::Connected));
    let (lock, after, through, limit) = bench.pages[0];
    let page = StoreReply::Page { lock, after, through, limit, rows: Ok(vec![old]) };
    bench.feed(Input::Stored(page));

    let mut uplinks = bench.uplinks();
    uplinks.sort_by_key(|up| (up.lock, up.seq));
    let times: Vec<_> = uplinks.iter().map(|up| (up.at, up.clock)).collect();
    let zero = DAWN + 7_000_000;
    assert_eq!(
        times,
        [
            (77, ClockState::Unsynced), // Of the run before: how wrong its clock was is not known.
            (zero + 1_000, ClockState::Synced),
            (zero + 61_000, ClockState::Synced),
        ]
    );
}

#[test]
fn a_time_that_is_told_before_the_clock_is_set_says_so() {
    let mut bench = Bench::unsynced(Snapshot {
        locks: vec![LockRecord { lock: LOCK, radio: "lora".into() }],
        ..Snapshot::default()
    });
    bench.now = 3_000;
    bench.up(LOCK, Class::Log, 1);
    let up = bench.uplinks().remove(0);
    assert_eq!((up.at, up.clock), (DAWN + 3_000, ClockState::Unsynced));
}
