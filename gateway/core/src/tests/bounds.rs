//! What memory, tables and disk may hold, and that nothing is lost or stuck at the edges.

use super::*;

fn row(lock: LockId, number: u64) -> Row {
    let quality = Quality { rssi: None, snr: None, lqi: None };
    let mut id = [lock.0[0]; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    Row {
        row: number,
        lock,
        class: Class::Log,
        id: MessageId(id),
        data: datagram(Class::Log, u8::try_from(number & 0xff).unwrap(), 30).into(),
        meta: RowMeta { radio: "lora".into(), quality, at: DAWN, synced: true },
    }
}

/// A store that holds the rows 1 to `last` of [`LOCK`].
fn backlog(last: u32) -> Snapshot {
    let lock = |lock| LockRecord { lock, radio: "lora".into() };
    let rows = Backlog {
        lock: LOCK,
        rows: [0, last, 0, 0],
        weight: u64::from(last) * 94,
        last: u64::from(last),
        recent: Vec::new(),
    };
    Snapshot { locks: vec![lock(LOCK), lock(OTHER)], backlog: vec![rows], ..Snapshot::default() }
}

impl Bench {
    /// Answers the pages that were asked for from rows 1 to `last` of [`LOCK`]; gives how many rows that were.
    fn read(&mut self, last: u64) -> usize {
        self.feed(Input::Timer);
        let mut read = 0;
        for (lock, after, through, limit) in std::mem::take(&mut self.pages) {
            let rows: Vec<Row> =
                (after + 1..=through.min(last)).take(limit as usize).map(|n| row(lock, n)).collect();
            read += rows.len();
            self.feed(Input::Stored(StoreReply::Page { lock, after, through, limit, rows: Ok(rows) }));
        }
        read
    }
}

#[test]
fn a_row_that_sinks_while_a_page_is_read_is_read_next() {
    let mut bench = Bench::over(|c| c.ram_rows = 8, backlog(1));
    assert_eq!(bench.pages.len(), 1);
    // New rows are committed, and leave memory for the range that is being read.
    for number in 2..=6 {
        bench.up(LOCK, Class::Log, number);
        bench.pass(1);
    }
    let metrics = bench.relay.metrics();
    assert_eq!((metrics.rows_committed, metrics.rows_in_memory, metrics.not_accepted), (5, 1, 0));
    let mut got = Vec::new();
    for _ in 0..6 {
        bench.read(6);
        let all = bench.ack_all();
        got.extend(all.iter().filter(|p| p.topic.ends_with("/up")).map(|p| {
            let up: Uplink = Encoding::Json.decode(&p.payload).unwrap();
            up.seq
        }));
    }
    assert_eq!(got, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_drains_from_the_disk_leaves_room_for_what_is_heard() {
    let mut bench = Bench::over(|c| (c.ram_rows, c.publish_window) = (64, 1), backlog(1_000));
    let mut paged = 0;
    for _ in 0..8 {
        paged += bench.read(1_000);
    }
    assert_eq!((paged, bench.relay.metrics().rows_in_memory), (32, 32));
    for number in 0..20 {
        bench.up(OTHER, Class::Log, number);
    }
    assert_eq!(bench.relay.metrics().not_accepted, 0);
}

#[test]
fn a_silent_locks_rows_leave_memory_for_a_busy_one() {
    let mut bench = Bench::with(|c| (c.ram_rows, c.publish_window) = (256, 1));
    for number in 0..120 {
        bench.up(OTHER, Class::Log, number);
    }
    bench.pass(500);
    assert_eq!(bench.relay.metrics().rows_in_memory, 120, "few enough to stay, and committed");
    bench.commits = false;
    for number in 0..150 {
        bench.up(LOCK, Class::Log, number);
    }
    assert_eq!(bench.relay.metrics().not_accepted, 0);
    for number in 150..255 {
        bench.up(LOCK, Class::Log, number);
    }
    assert!(bench.relay.metrics().not_accepted > 0, "what is not on disk cannot leave");
    assert!(bench.relay.metrics().rows_in_memory < 256, "room for a page is left");
}

#[test]
fn a_row_keeps_its_number_over_a_stay_on_the_disk() {
    let mut bench = Bench::with(|c| c.ram_rows = 8);
    let data: Vec<Vec<u8>> = (1..=3).map(|n| bench.up(LOCK, Class::Log, n)).collect();
    let first = bench.uplinks();
    bench.pass(500);
    bench.feed(Input::Upstream(UpstreamEvent::Disconnected));
    bench.up(LOCK, Class::Log, 4);
    bench.up(LOCK, Class::Log, 5);
    assert_eq!(bench.relay.metrics().rows_in_memory, 1, "numbers are no reason to stay");
    bench.feed(Input::Upstream(UpstreamEvent::Connected));
    bench.published.clear();
    assert_eq!(bench.pages[0].0, LOCK);
    let mut again = Vec::new();
    for _ in 0..4 {
        bench.feed(Input::Timer);
        for (lock, after, through, limit) in std::mem::take(&mut bench.pages) {
            let rows: Vec<Row> = (after + 1..=through)
                .take(limit as usize)
                .map(|n| Row {
                    data: data.get(usize::try_from(n - 1).unwrap()).cloned().unwrap_or_default().into(),
                    ..row(lock, n)
                })
                .collect();
            bench.feed(Input::Stored(StoreReply::Page { lock, after, through, limit, rows: Ok(rows) }));
        }
        again.extend(bench.uplinks());
    }
    let numbers = |all: &[Uplink]| all.iter().map(|u| u.seq).collect::<Vec<_>>();
    assert_eq!(numbers(&first), [1, 2, 3]);
    assert_eq!(numbers(&again), [1, 2, 3, 4, 5]);
    assert_eq!(again[2].data, first[2].data);
}

#[test]
fn the_reassembly_cap_forgets_fragments_that_are_gone() {
    let mut bench = Bench::new();
    let mut link = LockLink::new(LinkConfig {
        retry_ms: 1_000,
        max_attempts: 1,
        reassembly_ms: 1_000,
        max_datagram: 1_024,
    });
    link.send(0, &datagram(Class::Log, 1, 300), 1).unwrap();
    let mut frame = [0; 64];
    let len = link.poll_transmit(0, 51, &mut frame).unwrap();
    bench.hear(LOCK, &frame[..len], None);
    assert!(bench.relay.ctx.held > 0);
    bench.pass(200_000);
    assert_eq!(bench.relay.ctx.held, 0);
}

#[test]
fn a_downlink_without_receipt_ends_with_sent_and_is_forgotten_in_time() {
    let mut bench = Bench::new();
    bench.commits = false;
    let down = command(1, Class::Telemetry, 10_000);
    bench.down(&down);
    bench.commit();
    let handle = bench.sends[0].handle;
    bench.outcome(handle, Outcome::Sent);
    let changes = bench.commit();
    let [Change::PutDown(record)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((record.state, record.data.len()), (ResultState::Sent, 0));
    assert_eq!(bench.results(), [(ResultState::Queued, None), (ResultState::Sent, None)]);
    bench.pass(20);
    assert!(matches!(&bench.commit()[..], [Change::PutDown(told)] if told.told));
    bench.commits = true;
    bench.pass(3_700_000);
    assert_eq!(bench.relay.metrics().inbox_ids, 0);
    // A run that finds it on disk tells it, if that is still to be done, and sends nothing.
    let locks = vec![LockRecord { lock: LOCK, radio: "lora".into() }];
    let downs = vec![record.clone()];
    let mut bench = Bench::over(|_| {}, Snapshot { locks, downs, ..Snapshot::default() });
    assert!(bench.sends.is_empty());
    bench.down(&down);
    assert_eq!(bench.results(), [(ResultState::Sent, None)]);
    assert!(bench.sends.is_empty());
}

#[test]
fn a_gap_that_the_broker_refuses_stays_and_is_told_again() {
    let gap = Gap { id: MessageId([3; 16]), lock: LOCK, class: Class::Log, frames: 1, first: 5, last: 5 };
    let mut bench = Bench::new();
    bench.feed(Input::Upstream(UpstreamEvent::Disconnected));
    bench.feed(Input::Stored(StoreReply::Committed {
        tickets: vec![],
        shed: vec![],
        gaps: vec![gap.clone()],
    }));
    bench.published.clear();
    bench.feed(Input::Upstream(UpstreamEvent::Connected));
    let told = |bench: &Bench| bench.published.iter().find(|p| p.topic.ends_with("/event")).map(|p| p.token);
    let token = told(&bench).unwrap();
    bench.commits = false;
    bench.feed(Input::Upstream(UpstreamEvent::Refused { token, reason: "no".into() }));
    bench.pass(50);
    assert!(bench.commit().is_empty(), "it was forgotten");
    bench.feed(Input::Upstream(UpstreamEvent::Disconnected));
    bench.published.clear();
    bench.feed(Input::Upstream(UpstreamEvent::Connected));
    let token = told(&bench).unwrap();
    bench.feed(Input::Upstream(UpstreamEvent::Acked { token }));
    bench.pass(50);
    assert_eq!(bench.commit(), [Change::DeleteGap(gap)]);
}

#[test]
fn a_row_whose_gap_cannot_be_kept_stays_with_the_lock() {
    let mut bench = Bench::new();
    let datagram = bench.up(LOCK, Class::Log, 1);
    let token = bench.published[0].token;
    bench.commits = false;
    bench.feed(Input::Upstream(UpstreamEvent::Refused { token, reason: "too large".into() }));
    bench.hear(LOCK, &datagram, None);
    assert!(bench.sends.is_empty(), "a repeat hurries nothing");
    bench.fail();
    assert!(bench.sends.is_empty());
    bench.published.clear();
    bench.hear(LOCK, &datagram, None);
    assert_eq!(bench.uplinks().len(), 1, "sent again, it is a new frame");
    assert!(bench.sends.is_empty());
}

#[test]
fn a_repeat_is_not_acknowledged_before_its_end_is_durable() {
    let mut bench = Bench::new();
    bench.commits = false;
    let down = command(1, Class::Interactive, 10_000);
    let first = bench.down(&down);
    bench.fail();
    let second = bench.down(&down);
    assert!(bench.acks.is_empty(), "its end waits to be written again");
    bench.pass(1_000);
    bench.commit();
    assert_eq!(bench.acks, [first, second]);
}

#[test]
fn a_downlink_that_ended_before_its_failed_write_is_acknowledged_after_all() {
    let mut bench = Bench::new();
    bench.commits = false;
    let ack = bench.down(&command(1, Class::Interactive, 1_000));
    let (ticket, _) = bench.writes.remove(0);
    bench.pass(1_500); // Expired: the end is on its way.
    let failure = Failure { kind: FailureKind::Io, detail: "no luck".into() };
    bench.feed(Input::Stored(StoreReply::Failed { tickets: vec![ticket], failure }));
    assert!(bench.acks.is_empty());
    bench.commit();
    assert_eq!(bench.acks, [ack]);
}

#[test]
fn without_a_clock_no_id_is_kept_for_ever() {
    let mut bench = Bench::new();
    bench.synced = false;
    bench.commits = false;
    bench.down(&Downlink { not_after: u64::MAX >> 1, ..command(1, Class::Telemetry, 0) });
    let changes = bench.commit();
    let Some(Change::PutDown(record)) = changes.first() else { panic!("{changes:?}") };
    assert!(record.not_after <= DAWN + bench.now + 24 * 3_600_000);
}

#[test]
fn results_that_wait_are_bounded_and_leave_rows_their_turn() {
    let mut bench = Bench::with(|c| (c.inbox_ids, c.publish_window) = (4, 1));
    bench.up(OTHER, Class::Log, 0); // Takes the window.
    let known = command(1, Class::Telemetry, 10_000);
    for _ in 0..100 {
        bench.down(&known);
    }
    assert!(bench.relay.ctx.results.len() <= 1);
    for number in 0..3_000_u64 {
        let mut id = [9; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        bench.down(&Downlink { id: MessageId(id), not_after: u64::MAX, ..known.clone() });
    }
    assert!(bench.relay.ctx.results.len() <= 1_100);
    bench.up(LOCK, Class::Log, 1);
    let order = bench.ack_all();
    let place = order.iter().rposition(|p| p.topic.ends_with("/up")).unwrap();
    assert!(place <= 3, "{place} results before a row");
}

#[test]
fn a_restart_without_a_clock_waits_for_it() {
    let record = DownRecord {
        id: MessageId([1; 16]),
        lock: LOCK,
        not_after: DAWN + 90_000,
        state: ResultState::Queued,
        reason: None,
        at: DAWN,
        data: datagram(Class::Interactive, 1, 40).into(),
        told: false,
    };
    let snapshot = |record| Snapshot {
        locks: vec![LockRecord { lock: LOCK, radio: "lora".into() }],
        downs: vec![record],
        ..Snapshot::default()
    };
    let start = || {
        let mut bench = Bench::unsynced(snapshot(record.clone()));
        bench.pass(10_000);
        assert_eq!(bench.results(), []);
        bench
    };
    let mut bench = start();
    bench.synced = true;
    bench.feed(Input::Timer);
    assert_eq!(bench.sends.len(), 1);
    let mut bench = start();
    bench.pass(51_000);
    assert_eq!(bench.results(), [(ResultState::Failed, Some("clock".into()))]);
}

#[test]
fn a_full_disk_makes_room_once_for_what_a_lock_waits_for() {
    let mut bench = Bench::new();
    bench.commits = false;
    bench.feed(Input::Upstream(UpstreamEvent::Disconnected));
    bench.up(LOCK, Class::Telemetry, 1);
    bench.fail_as(FailureKind::Full);
    assert!(bench.writes.is_empty(), "telemetry displaces nothing");
    bench.up(LOCK, Class::Log, 2);
    bench.up(OTHER, Class::Log, 3);
    bench.fail_as(FailureKind::Full);
    let changes: Vec<Change> = bench.writes.iter().flat_map(|(_, c)| c.clone()).collect();
    assert_eq!(changes, [Change::Shed { lock: None, bytes: 94, spare: 94 }]);
}
