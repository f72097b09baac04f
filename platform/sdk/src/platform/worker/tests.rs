//! The thread that owns the core, with a state that fails when it is told to.

#[path = "../../../tests/common/faulty.rs"]
#[allow(dead_code, unreachable_pub, missing_docs)]
mod faulty;

use cardea_credentials::OwnerCode;
use cardea_envelope::{ClockState, Data, Encoding, Epoch, MessageId, Topic, Topics, Uplink, VERSION};
use cardea_framing::{Class, Datagram, Kind, uplink_id};
use faulty::{Faults, Faulty};
use tokio::sync::oneshot;

use super::*;
use crate::{Ask, FileKeys, OsRandom, SqliteState, platform::exclusive, session::Config};

const LOCK: LockId = LockId([7; 8]);

struct Bench {
    worker: Worker<Faulty>,
    faults: Faults,
    out: mpsc::UnboundedReceiver<ToBroker>,
    events: broadcast::Receiver<PlatformEvent>,
    seq: u64,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// A platform with one enrolled lock and a broker.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys: Box<dyn KeyStore> = Box::new(FileKeys::init(dir.path()).unwrap());
        let faults = Faults::default();
        let state = Faulty { inner: SqliteState::in_memory().unwrap(), faults: faults.clone() };
        let core = Core::open(keys, state, Box::new(OsRandom), Config::default()).unwrap();
        let (to_broker, out) = mpsc::unbounded_channel();
        let (told, events) = broadcast::channel(64);
        let mut worker = Worker::new(core, told, exclusive(dir.path()).unwrap());
        worker.broker = Some(to_broker);
        let mut bench = Self { worker, faults, out, events, seq: 0, _dir: dir };
        let (reply, mut answer) = oneshot::channel();
        bench.worker.turn(vec![Request::Enroll(LOCK.into(), OwnerCode::from_bytes([7; 16]), reply)]);
        answer.try_recv().unwrap().unwrap();
        bench
    }

    /// A frame of the lock, as the broker delivers it.
    fn frame(&mut self) -> Request {
        self.seq += 1;
        let mut data = [0; 16];
        let body = self.seq.to_be_bytes();
        let length = Datagram { kind: Kind::PlatformOscore, class: Class::Log, peer: None, body: &body }
            .encode(&mut data)
            .unwrap();
        let uplink = Uplink {
            v: VERSION,
            id: MessageId(uplink_id(LOCK, &data[..length])),
            lock: LOCK,
            kind: Kind::PlatformOscore,
            class: Class::Log,
            data: Data(data[..length].to_vec()),
            radio: "r".into(),
            rssi: None,
            snr: None,
            lqi: None,
            at: 1,
            clock: ClockState::Unsynced,
            epoch: Epoch([1; 8]),
            seq: self.seq,
        };
        Request::Broker(FromBroker::Message {
            topic: Topics::new("cardea/v1", "g").unwrap().name(&Topic::Up(LOCK)),
            payload: Encoding::Json.encode(&uplink).into(),
            retain: false,
            delivery: None,
        })
    }

    /// What left for the broker: the number up to which its gateway may forget, or `reconnect`.
    fn left(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Ok(message) = self.out.try_recv() {
            all.push(match message {
                ToBroker::Publish(output) => {
                    let seen: cardea_envelope::Seen = Encoding::Json.decode(&output.payload).unwrap();
                    format!("seen {}", seen.seq)
                }
                ToBroker::Reconnect => "reconnect".into(),
                ToBroker::Ack(_) => "ack".into(),
            });
        }
        all
    }
}

#[test]
fn a_batch_that_is_not_settled_is_neither_sent_nor_told_and_nothing_more_is_taken() {
    let mut bench = Bench::new();
    bench.faults.settle(true);
    let first = bench.frame();
    bench.worker.turn(vec![first, Request::Broker(FromBroker::Up)]);
    assert_eq!(bench.left(), [""; 0]);
    assert!(bench.events.try_recv().is_err());
    assert!(bench.worker.failed, "timers wait before they try again");

    // Others hear at once that nothing was done; the broker's messages come again by a new connection.
    let (command, mut commanded) = oneshot::channel();
    let (list, mut listed) = oneshot::channel();
    let second = bench.frame();
    let ask = Request::Command(LOCK, Ask::Unlock, Duration::from_secs(60), command);
    bench.worker.turn(vec![second, ask, Request::Locks(list)]);
    assert!(matches!(commanded.try_recv().unwrap(), Err(Error::State(_))));
    assert_eq!(listed.try_recv().unwrap().len(), 1);
    bench.worker.turn(Vec::new());
    assert_eq!(bench.left(), ["reconnect"]);

    bench.faults.settle(false);
    bench.worker.turn(Vec::new());
    assert_eq!(bench.left(), ["seen 1"]);
    assert!(matches!(bench.events.try_recv(), Ok(PlatformEvent::BrokerUp)));
    assert!(!bench.worker.failed);
    bench.seq -= 1;
    let again = bench.frame();
    bench.worker.turn(vec![again]);
    assert_eq!(bench.left(), ["seen 2"]);
    assert!(bench.worker.waiting.is_empty(), "the unlock was never taken");
}

#[test]
fn a_batch_that_is_given_up_is_delivered_again_and_its_callers_hear_of_it() {
    let mut bench = Bench::new();
    for step in 0.. {
        let (command, mut commanded) = oneshot::channel();
        let ask = Request::Command(LOCK, Ask::Unlock, Duration::from_secs(60), command);
        let frame = bench.frame();
        bench.faults.step(step);
        bench.worker.turn(vec![frame, ask]);
        if !bench.faults.met() {
            assert!(step > 5, "only {step} steps");
            break;
        }
        let waits = bench.worker.waiting.len();
        if bench.worker.core.is_settled() && bench.worker.failed {
            assert!(matches!(commanded.try_recv().unwrap(), Err(Error::State(_))), "{step}");
            assert_eq!(bench.left(), ["reconnect"], "{step}");
            bench.seq -= 1; // it comes again
        } else {
            // Stored; at most the fence failed, and does not the second time.
            bench.worker.turn(Vec::new());
            assert_eq!(bench.left(), [format!("seen {}", bench.seq)], "{step}");
            assert_eq!((commanded.try_recv().is_err(), waits), (true, 1), "{step}: still open");
            bench.worker.waiting.clear();
        }
    }
}
