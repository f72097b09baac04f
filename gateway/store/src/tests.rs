use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use bytes::Bytes;
use cardea_core::{
    AddressRecord, Change, DownRecord, FailureKind, Gap, LockRecord, Row, RowMeta, Shed, Snapshot, StoreOp,
    StoreReply,
};
use cardea_envelope::{MessageId, ResultState};
use cardea_framing::{Class, LockId};
use cardea_radio::Quality;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;

const LOCK: LockId = LockId([1; 8]);
const OTHER: LockId = LockId([2; 8]);

struct Bench {
    dir: TempDir,
    replies: UnboundedReceiver<StoreReply>,
    store: Store,
    snapshot: Snapshot,
    ticket: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::open(dir, change).unwrap()
    }

    fn open(dir: TempDir, change: impl FnOnce(&mut Options)) -> Result<Self, Error> {
        let mut options = Options::new(dir.path().join("cardea.db"));
        change(&mut options);
        let (to, replies) = unbounded_channel();
        let (store, snapshot) = Store::open(&options, to)?;
        Ok(Self { dir, replies, store, snapshot, ticket: 0 })
    }

    /// As after a clean stop.
    fn reopen(self) -> Self {
        let Self { dir, store, .. } = self;
        drop(store);
        Self::open(dir, |_| {}).unwrap()
    }

    fn write(&mut self, changes: Vec<Change>) -> StoreReply {
        self.ticket += 1;
        let ticket = self.ticket;
        self.store.submit(StoreOp::Write { ticket, urgent: true, changes });
        let reply = self.replies.blocking_recv().unwrap();
        match &reply {
            StoreReply::Committed { tickets, .. } | StoreReply::Failed { tickets, .. } => {
                assert_eq!(tickets, &[ticket]);
            }
            StoreReply::Page { .. } => panic!("no page was asked for"),
        }
        reply
    }

    fn must(&mut self, changes: Vec<Change>) -> (Vec<Shed>, Vec<Gap>) {
        match self.write(changes) {
            StoreReply::Committed { shed, gaps, .. } => (shed, gaps),
            other => panic!("{other:?}"),
        }
    }

    fn page(&mut self, lock: LockId, after: u64, through: u64, limit: u32) -> Vec<u64> {
        self.store.submit(StoreOp::Page { lock, after, through, limit });
        match self.replies.blocking_recv().unwrap() {
            StoreReply::Page { rows: Ok(rows), .. } => rows.into_iter().map(|r| r.row).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("cardea.db")
    }
}

fn row(row: u64, lock: LockId, class: Class, len: usize) -> Row {
    let quality = Quality { rssi: Some(-80), snr: Some(-55), lqi: None };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&row.to_be_bytes());
    Row {
        row,
        lock,
        class,
        id: MessageId(id),
        data: Bytes::from(vec![0x5a; len]),
        meta: RowMeta { radio: "lora".into(), quality, at: 1_000 + row, synced: true },
    }
}

fn insert(n: u64, lock: LockId, class: Class) -> Change {
    Change::InsertRow(row(n, lock, class, 36))
}

fn down(state: ResultState, not_after: u64) -> DownRecord {
    DownRecord {
        id: MessageId([9; 16]),
        lock: LOCK,
        not_after,
        state,
        reason: Some("clock".into()),
        at: 5,
        data: Bytes::from_static(b"sealed"),
        told: false,
    }
}

#[test]
fn what_was_committed_is_there_after_a_stop() {
    let mut bench = Bench::new();
    assert_eq!(bench.snapshot, Snapshot::default());
    let record = LockRecord { lock: LOCK, radio: "lora".into() };
    // A hostile `not_after` uses all 64 bits.
    let put = down(ResultState::Refused, u64::MAX);
    let address = |address, lock, freed| AddressRecord { address, lock, freed };
    let addresses = [address(1, Some(LOCK), 0), address(2, None, u64::MAX)];
    bench.must(vec![
        Change::PutLock(record.clone()),
        Change::PutAddress(address(2, Some(OTHER), 0)),
        Change::PutAddress(addresses[0].clone()),
        Change::PutAddress(addresses[1].clone()),
        insert(1, LOCK, Class::Log),
        insert(2, OTHER, Class::Telemetry),
        insert(3, LOCK, Class::Interactive),
        Change::PutDown(put.clone()),
    ]);
    let bench = bench.reopen();
    assert_eq!(bench.snapshot.locks, [record]);
    assert_eq!(bench.snapshot.addresses, addresses);
    assert_eq!(bench.snapshot.downs, [put]);
    let backlog = &bench.snapshot.backlog[0];
    assert_eq!((backlog.lock, backlog.rows, backlog.last), (LOCK, [1, 1, 0, 0], 3));
    assert_eq!(backlog.weight, 2 * row(1, LOCK, Class::Log, 36).weight());
    assert_eq!(backlog.recent, [row(1, LOCK, Class::Log, 0).id, row(3, LOCK, Class::Log, 0).id]);
    let mut bench = bench;
    bench.must(vec![Change::DeleteRow(1), Change::DeleteLock(LOCK), Change::DeleteDown(MessageId([9; 16]))]);
    let bench = bench.reopen();
    assert!(bench.snapshot.locks.is_empty() && bench.snapshot.downs.is_empty());
    assert_eq!(bench.snapshot.backlog[0].rows, [1, 0, 0, 0]);
}

#[test]
fn what_was_answered_survives_without_a_stop() {
    let mut bench = Bench::new();
    bench.must(vec![insert(1, LOCK, Class::Log)]);
    // The files as a power cut leaves them: the store is never told.
    let after = tempfile::tempdir().unwrap();
    for name in ["cardea.db", "cardea.db-wal", "cardea.db.key"] {
        fs::copy(bench.dir.path().join(name), after.path().join(name)).unwrap();
    }
    let after = Bench::open(after, |_| {}).unwrap();
    assert_eq!(after.snapshot.backlog[0].rows, [0, 1, 0, 0]);
}

#[test]
fn pages_are_in_order_and_bounded() {
    let mut bench = Bench::new();
    bench.must((1..=9).map(|n| insert(n, if n % 3 == 0 { OTHER } else { LOCK }, Class::Log)).collect());
    assert_eq!(bench.page(LOCK, 0, 100, 3), [1, 2, 4]);
    assert_eq!(bench.page(LOCK, 4, 7, 100), [5, 7]);
    assert_eq!(bench.page(OTHER, 9, 100, 100), [0; 0]);
    bench.store.submit(StoreOp::Page { lock: LOCK, after: 0, through: 1, limit: 1 });
    match bench.replies.blocking_recv().unwrap() {
        StoreReply::Page { rows: Ok(rows), .. } => assert_eq!(rows, [row(1, LOCK, Class::Log, 36)]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn room_is_made_from_the_oldest_of_the_lowest_class() {
    let mut bench = Bench::new();
    let weight = row(1, LOCK, Class::Log, 36).weight();
    bench.must(vec![
        insert(1, LOCK, Class::Interactive),
        insert(2, LOCK, Class::Telemetry),
        insert(3, OTHER, Class::Bulk),
        insert(4, LOCK, Class::Telemetry),
        insert(5, LOCK, Class::Log),
    ]);
    // Two rows' worth: the bulk one, then the older telemetry.
    let (shed, gaps) = bench.must(vec![Change::Shed { lock: None, bytes: weight + 1, spare: 0 }]);
    assert_eq!(shed.iter().map(|s| s.row).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(gaps.len(), 2);
    let gap = |frames, first, last| Gap {
        id: row(2, LOCK, Class::Log, 0).id,
        lock: LOCK,
        class: Class::Telemetry,
        frames,
        first,
        last,
    };
    assert_eq!(gaps[1], gap(1, 1_002, 1_002));
    // The next drop widens the same gap, which keeps its id; another lock's rows are not touched.
    bench.must(vec![insert(6, OTHER, Class::Bulk)]);
    let (shed, gaps) = bench.must(vec![Change::Shed { lock: Some(LOCK), bytes: 1, spare: 999 }]);
    assert_eq!((shed[0].row, shed.len()), (4, 1));
    assert_eq!(gaps, [gap(2, 1_002, 1_004)]);
    // A gap that grew meanwhile is not deleted by the acknowledgement of what it was.
    bench.must(vec![Change::DeleteGap(gap(1, 1_002, 1_002))]);
    let mut bench = bench.reopen();
    assert!(bench.snapshot.gaps.contains(&gap(2, 1_002, 1_004)));
    bench.must(vec![Change::DeleteGap(gap(2, 1_002, 1_004))]);
    assert_eq!(bench.reopen().snapshot.gaps.len(), 1);
}

#[test]
fn a_refused_row_leaves_a_gap() {
    let mut bench = Bench::new();
    bench.must(vec![insert(1, LOCK, Class::Log)]);
    let (shed, gaps) = bench.must(vec![Change::DropRow(1), Change::DropRow(77)]);
    assert_eq!((shed.len(), gaps.len(), gaps[0].frames), (1, 1, 1));
    assert_eq!(bench.page(LOCK, 0, 9, 9), [0; 0]);
}

#[test]
fn operations_share_a_flush() {
    let mut bench = Bench::new();
    for ticket in 1..=500 {
        bench.store.submit(StoreOp::Write {
            ticket,
            urgent: true,
            changes: vec![insert(ticket, LOCK, Class::Log)],
        });
    }
    let mut answered = Vec::new();
    while answered.len() < 500 {
        match bench.replies.blocking_recv().unwrap() {
            StoreReply::Committed { tickets, .. } => {
                assert!(tickets.len() <= 256);
                answered.extend(tickets);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(answered, (1..=500).collect::<Vec<_>>());
    let stats = bench.store.stats();
    assert_eq!(stats.operations, 500);
    assert!(stats.commits < 250, "{stats:?}");
}

#[test]
fn a_full_disk_fails_what_does_not_fit_and_nothing_else() {
    let mut bench = Bench::with(|o| o.max_bytes = Some(160 * 1024));
    let mut n = 0;
    let failure = loop {
        n += 1;
        assert!(n < 1_000, "160 KiB do not hold 1,000 rows of 2 KB");
        match bench.write(vec![Change::InsertRow(row(n, LOCK, Class::Log, 2_000))]) {
            StoreReply::Committed { .. } => {}
            StoreReply::Failed { failure, .. } => break failure,
            StoreReply::Page { .. } => panic!("no page was asked for"),
        }
    };
    assert_eq!(failure.kind, FailureKind::Full);
    assert!(n > 10);
    assert_eq!(bench.page(LOCK, 0, u64::MAX >> 1, 1_000).len() as u64, n - 1);
    // In one group, what makes room succeeds though its neighbour fails.
    bench.store.submit(StoreOp::Write {
        ticket: 10_000,
        urgent: false,
        changes: vec![Change::InsertRow(row(n, LOCK, Class::Log, 60_000))],
    });
    bench.store.submit(StoreOp::Write {
        ticket: 10_001,
        urgent: true,
        changes: (1..=5).map(Change::DeleteRow).collect(),
    });
    let mut committed = Vec::new();
    let mut failed = Vec::new();
    while committed.len() + failed.len() < 2 {
        match bench.replies.blocking_recv().unwrap() {
            StoreReply::Committed { tickets, .. } => committed.extend(tickets),
            StoreReply::Failed { tickets, .. } => failed.extend(tickets),
            StoreReply::Page { .. } => panic!("no page was asked for"),
        }
    }
    assert_eq!((committed, failed), (vec![10_001], vec![10_000]));
    bench.must(vec![Change::InsertRow(row(n, LOCK, Class::Log, 2_000))]);
}

#[test]
fn a_queue_that_is_full_says_so() {
    let mut bench = Bench::with(|o| o.queue = 1);
    for ticket in 0..200 {
        bench.store.submit(StoreOp::Write {
            ticket,
            urgent: true,
            changes: vec![insert(ticket, LOCK, Class::Log)],
        });
    }
    let (mut done, mut busy) = (0, 0);
    while done + busy < 200 {
        match bench.replies.blocking_recv().unwrap() {
            StoreReply::Committed { tickets, .. } => done += tickets.len(),
            StoreReply::Failed { tickets, failure } => {
                assert_eq!(failure.kind, FailureKind::Busy);
                busy += tickets.len();
            }
            StoreReply::Page { .. } => panic!("no page was asked for"),
        }
    }
    assert!(done > 0 && busy > 0);
}

fn closed() -> TempDir {
    let mut bench = Bench::new();
    bench.must((1..=200).map(|n| insert(n, LOCK, Class::Log)).collect());
    let network = bench.store.network("lora");
    network
        .commit(vec![cardea_radio::Change { key: b"k".to_vec(), value: Some(b"v".to_vec()) }])
        .blocking_recv()
        .unwrap()
        .unwrap();
    drop(network);
    let Bench { dir, store, .. } = bench;
    drop(store);
    dir
}

fn refusal(dir: TempDir) -> (Error, TempDir) {
    let (to, _replies) = unbounded_channel();
    let error = Store::open(&Options::new(dir.path().join("cardea.db")), to).unwrap_err();
    let path = dir.path().to_str().unwrap();
    assert!(error.to_string().contains(path), "{error} does not name the file");
    (error, dir)
}

#[test]
fn a_damaged_file_is_named_and_left_alone() {
    // Not a database at all.
    let dir = closed();
    let file = dir.path().join("cardea.db");
    fs::write(&file, b"these are not the pages you are looking for").unwrap();
    let before = fs::read(&file).unwrap();
    let (error, dir) = refusal(dir);
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert_eq!(fs::read(dir.path().join("cardea.db")).unwrap(), before);

    // An index that no query of the start reads.
    let dir = closed();
    let file = dir.path().join("cardea.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    let root: i64 = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'outbox_low'", [], |r| r.get(0))
        .unwrap();
    drop(connection);
    let mut bytes = fs::read(&file).unwrap();
    let page = usize::try_from(root - 1).unwrap() * 4096;
    bytes[page..page + 4096].fill(0xff);
    fs::write(&file, &bytes).unwrap();
    let (error, _dir) = refusal(dir);
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");

    // A page in the middle lost.
    let dir = closed();
    let file = dir.path().join("cardea.db");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xff);
    fs::write(&file, &bytes).unwrap();
    let (error, dir) = refusal(dir);
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert_eq!(fs::read(dir.path().join("cardea.db")).unwrap(), bytes);
}

#[test]
fn a_newer_or_foreign_database_is_refused() {
    let dir = closed();
    let connection = rusqlite::Connection::open(dir.path().join("cardea.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let (error, dir) = refusal(dir);
    assert!(matches!(error, Error::Newer { found: 99, known: 2, .. }), "{error:?}");

    let connection = rusqlite::Connection::open(dir.path().join("cardea.db")).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection.pragma_update(None, "application_id", 7).unwrap();
    drop(connection);
    let (error, _dir) = refusal(dir);
    assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
}

#[test]
fn the_key_file_is_private_and_goes_with_its_database() {
    let dir = closed();
    let key = dir.path().join("cardea.db.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(dir.path().join("cardea.db")).unwrap().permissions().mode() & 0o7777, 0o600);

    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let (error, dir) = refusal(dir);
    assert!(matches!(error, Error::KeyPermissions { mode: 0o640, .. }), "{error:?}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

    let bytes = fs::read(&key).unwrap();
    fs::write(&key, &bytes[..31]).unwrap();
    let (error, dir) = refusal(dir);
    assert!(matches!(error, Error::KeyFile { length: 31, .. }), "{error:?}");

    fs::remove_file(&key).unwrap();
    let (error, dir) = refusal(dir);
    assert!(matches!(error, Error::KeyMissing { .. }), "{error:?}");
    assert!(!key.exists());

    fs::write(&key, &bytes).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(dir.path().join("cardea.db")).unwrap();
    let (error, dir) = refusal(dir);
    assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    let file = dir.path().join("cardea.db");
    assert!(!file.exists());

    fs::write(&file, []).unwrap();
    let (error, _dir) = refusal(dir);
    assert!(matches!(&error, Error::Corrupt { detail, .. } if detail.contains("empty")), "{error:?}");
    assert_eq!(fs::metadata(&file).unwrap().len(), 0, "nothing was made in its place");
}

#[test]
fn a_second_daemon_is_kept_out() {
    let bench = Bench::new();
    let (to, _replies) = unbounded_channel();
    let error = Store::open(&Options::new(bench.file()), to).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error:?}");
}

#[test]
fn radio_keys_are_kept_and_never_in_the_clear() {
    const SECRET: &[u8] = b"NwkSKey-marker-0123456789";
    let bench = Bench::new();
    let network = bench.store.network("lora");
    assert_eq!(network.load().unwrap(), []);
    let put = |key: &[u8], value: Option<&[u8]>| cardea_radio::Change {
        key: key.to_vec(),
        value: value.map(<[u8]>::to_vec),
    };
    let batch = vec![put(b"b", Some(SECRET)), put(b"a", Some(b"")), put(b"c", Some(b"x"))];
    network.commit(batch).blocking_recv().unwrap().unwrap();
    network.commit(vec![put(b"c", None)]).blocking_recv().unwrap().unwrap();
    let expected = [(b"a".to_vec(), vec![]), (b"b".to_vec(), SECRET.to_vec())];
    assert_eq!(network.load().unwrap(), expected);
    assert_eq!(bench.store.network("zigbee").load().unwrap(), []);
    drop(network);

    let bench = bench.reopen();
    assert_eq!(bench.store.network("lora").load().unwrap(), expected);
    for file in fs::read_dir(bench.dir.path()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|w| w == SECRET));
    }
    // A record moved to another name does not open there.
    let Bench { dir, store, .. } = bench;
    drop(store);
    let connection = rusqlite::Connection::open(dir.path().join("cardea.db")).unwrap();
    connection.execute("UPDATE network SET key = x'7a' WHERE key = x'62'", []).unwrap();
    drop(connection);
    let bench = Bench::open(dir, |_| {}).unwrap();
    assert!(bench.store.network("lora").load().is_err());
}

#[test]
fn a_driver_that_outlives_the_store_is_told() {
    let bench = Bench::new();
    let network = bench.store.network("lora");
    drop(bench.store);
    let change = cardea_radio::Change { key: vec![1], value: None };
    assert!(!matches!(network.commit(vec![change]).blocking_recv(), Ok(Ok(()))));
}

#[test]
fn making_room_uses_the_index() {
    let bench = Bench::new();
    let connection = schema::open_reader(&bench.file()).unwrap();
    let explain = format!("EXPLAIN QUERY PLAN {}", outbox::oldest_of_all(3));
    let plan: String = connection.query_row(&explain, [], |r| r.get(3)).unwrap();
    assert!(plan.contains("outbox_low"), "{plan}");
}

#[test]
fn a_file_of_version_1_gets_the_table_of_addresses_and_keeps_its_locks() {
    let mut bench = Bench::new();
    let record = LockRecord { lock: LOCK, radio: "lora".into() };
    bench.must(vec![Change::PutLock(record.clone())]);
    let Bench { dir, store, .. } = bench;
    drop(store);
    let old = rusqlite::Connection::open(dir.path().join("cardea.db")).unwrap();
    old.execute_batch("DROP TABLE address; PRAGMA user_version=1;").unwrap();
    drop(old);
    let bench = Bench::open(dir, |_| {}).unwrap();
    assert_eq!((&bench.snapshot.locks[..], &bench.snapshot.addresses[..]), (&[record][..], &[][..]));
}
