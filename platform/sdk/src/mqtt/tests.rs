use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use cardea_tests::{
    broker::Broker as Mosquitto,
    fake_broker::{Answer, FakeBroker, QoS, packets, usual},
    observer::Observer,
    soon,
};
use packets::{Packet, SubAck, SubscribeReasonCode};
use tokio::task::JoinHandle;

use super::*;

/// What the link has in place of a core.
struct Core {
    outbox: mpsc::UnboundedSender<ToBroker>,
    news: mpsc::UnboundedReceiver<FromBroker>,
    task: JoinHandle<Result<(), Error>>,
}

impl Core {
    fn start(port: u16) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut broker = Broker::at(&format!("mqtt://127.0.0.1:{port}"));
        broker.client_id = format!("platform-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        broker.keepalive_s = 5;
        let (outbox, to_broker) = mpsc::unbounded_channel();
        let (tx, news) = mpsc::unbounded_channel();
        let deliver = move |message| {
            let sent = tx.send(message).is_ok();
            async move { sent }
        };
        Self { outbox, news, task: tokio::spawn(run(broker, to_broker, deliver)) }
    }

    /// Publishes something that stays worth sending for so long.
    fn publish(&self, text: &str, life: Option<Duration>) {
        let at = |life: Duration| {
            u64::try_from((SystemTime::now() + life).duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
        };
        let output = Output { topic: "t/down".into(), payload: text.into(), not_after: life.map(at) };
        self.outbox.send(ToBroker::Publish(output)).unwrap();
    }

    async fn next(&mut self, what: &str) -> FromBroker {
        soon(what, self.news.recv()).await.expect("the link lives")
    }

    async fn up(&mut self) {
        let news = self.next("up").await;
        assert!(matches!(news, FromBroker::Up), "{news:?}");
    }

    async fn down(&mut self) -> String {
        match self.next("down").await {
            FromBroker::Down(why) => why,
            other => panic!("{other:?}"),
        }
    }

    async fn message(&mut self, text: &str) -> Delivery {
        match self.next(text).await {
            FromBroker::Message { payload, delivery: Some(delivery), .. } if payload == text => delivery,
            other => panic!("{text}: {other:?}"),
        }
    }
}

/// Payloads of the publishes that reached a broker, by connection.
type Taken = Arc<Mutex<Vec<(u64, String)>>>;

fn note(taken: &Taken, connection: u64, publish: &packets::Publish) {
    taken.lock().unwrap().push((connection, String::from_utf8(publish.payload.to_vec()).unwrap()));
}

fn of(taken: &Taken, connection: u64) -> Vec<String> {
    taken.lock().unwrap().iter().filter(|(c, _)| *c == connection).map(|(_, text)| text.clone()).collect()
}

fn output(text: &str, not_after: Option<u64>) -> Output {
    Output { topic: "t".into(), payload: text.into(), not_after }
}

fn text(publish: &Publish) -> &str {
    std::str::from_utf8(&publish.payload).unwrap()
}

#[test]
fn what_was_not_acknowledged_goes_again_first_in_its_old_order_and_what_is_too_late_never() {
    let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
    let mut queue = Queue::default();
    for (text, not_after) in [("a", None), ("b", Some(100)), ("c", None), ("d", Some(100)), ("e", Some(300))]
    {
        queue.push(output(text, not_after));
    }
    let given: Vec<_> = (0..3).map(|_| queue.next(at(50)).unwrap()).collect();
    assert_eq!(given.iter().map(text).collect::<Vec<_>>(), ["a", "b", "c"]);
    queue.take(given[0].token);
    queue.put_back();
    queue.push(output("f", None));
    // The moment itself is still in time.
    assert_eq!(text(&queue.next(at(100)).unwrap()), "b");
    queue.put_back();
    let rest: Vec<_> = std::iter::from_fn(|| queue.next(at(101))).collect();
    assert_eq!(rest.iter().map(text).collect::<Vec<_>>(), ["c", "e", "f"]);
    assert!(queue.take(given[2].token).is_none(), "an answer of an earlier connection is for nobody");
}

#[test]
fn ten_thousand_wait_and_the_oldest_give_way() {
    let mut queue = Queue::default();
    for n in 0..QUEUE + 5 {
        queue.push(output(&n.to_string(), None));
    }
    assert_eq!(queue.waiting.len(), QUEUE);
    assert_eq!(text(&queue.next(SystemTime::now()).unwrap()), "5");
    for _ in 1..Broker::IN_FLIGHT {
        queue.next(SystemTime::now()).unwrap();
    }
    assert!(queue.next(SystemTime::now()).is_none(), "the window is full");
}

#[tokio::test]
async fn a_broker_that_answers_pings_and_acknowledges_nothing_is_left_and_nothing_is_lost() {
    let taken = Taken::default();
    let notes = taken.clone();
    let broker = FakeBroker::new(move |connection, packet| {
        if let Packet::Publish(p) = packet {
            note(&notes, connection, p);
            if connection == 0 {
                return Answer::Send(Vec::new());
            }
        }
        usual(packet)
    })
    .await;
    let mut core = Core::start(broker.port);
    core.up().await;
    let all: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    all.iter().for_each(|text| core.publish(text, None));
    let since = Instant::now();
    assert_eq!(core.down().await, "the broker no longer acknowledges");
    let patience = since.elapsed();
    assert!(patience > Duration::from_secs(8) && patience < Duration::from_secs(15), "{patience:?}");
    core.up().await;
    soon("all again", async {
        while of(&taken, 1).len() < all.len() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(of(&taken, 1), all, "in their old order, those behind the window after them");
    assert_eq!(of(&taken, 0), all[..usize::from(Broker::IN_FLIGHT)]);
}

#[tokio::test]
async fn nothing_stale_goes_out_after_a_reconnect() {
    let taken = Taken::default();
    let notes = taken.clone();
    // Three attempts fail, with more than a second of waiting between them.
    let broker = FakeBroker::new(move |connection, packet| match packet {
        Packet::Connect(_) if (1..=3).contains(&connection) => Answer::Close,
        Packet::Publish(p) => {
            note(&notes, connection, p);
            match (connection, &p.payload[..]) {
                (0, b"last") => Answer::Close,
                (0, _) => Answer::Send(Vec::new()),
                _ => usual(packet),
            }
        }
        other => usual(other),
    })
    .await;
    let mut core = Core::start(broker.port);
    core.up().await;
    let short = Some(Duration::from_secs(1));
    let long = Some(Duration::from_secs(60));
    core.publish("unlock, in flight", short);
    core.publish("seen, in flight", None);
    core.publish("last", long);
    core.down().await;
    core.publish("unlock, waiting", short);
    core.publish("status, waiting", long);
    for _ in 1..=3 {
        core.down().await;
    }
    core.up().await;
    core.publish("new", short);
    soon("the new one", async {
        while !of(&taken, 4).contains(&"new".to_owned()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(of(&taken, 0), ["unlock, in flight", "seen, in flight", "last"]);
    assert_eq!(of(&taken, 4), ["seen, in flight", "last", "status, waiting", "new"]);
}

#[tokio::test]
async fn the_broker_keeps_a_message_until_it_is_stored_and_delivers_it_again_when_it_was_not() {
    let broker = Mosquitto::open();
    let observer = Observer::new(broker.port).await;
    let mut core = Core::start(broker.port);
    core.up().await;
    let topic = "cardea/v1/g/lock/0123456789abcdef/up";
    observer.publish(topic, false, "first").await;
    let lost = core.message("first").await;
    core.outbox.send(ToBroker::Reconnect).unwrap();
    assert_eq!(core.down().await, "a batch was not stored");
    core.up().await;
    // Stored at last, but in a batch of the connection that is gone: not this delivery.
    core.outbox.send(ToBroker::Ack(lost)).unwrap();
    let stored = core.message("first").await;
    core.outbox.send(ToBroker::Ack(stored)).unwrap();
    observer.publish(topic, false, "second").await;
    let _unstored = core.message("second").await;
    core.outbox.send(ToBroker::Reconnect).unwrap();
    core.down().await;
    core.up().await;
    core.message("second").await;
}

#[tokio::test]
async fn a_refused_subscription_is_told_and_there_is_no_link_until_it_is_granted() {
    let published = Arc::new(AtomicUsize::new(0));
    let count = published.clone();
    let broker = FakeBroker::new(move |connection, packet| match packet {
        Packet::Subscribe(s) if connection < 2 => {
            let mut codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); s.filters.len()];
            codes[2] = SubscribeReasonCode::Failure;
            Answer::Send(vec![Packet::SubAck(SubAck::new(s.pkid, codes))])
        }
        Packet::Publish(_) => {
            count.fetch_add(1, Ordering::Relaxed);
            assert_eq!(connection, 2, "nothing is published where no answer would be heard");
            usual(packet)
        }
        other => usual(other),
    })
    .await;
    let mut core = Core::start(broker.port);
    core.publish("waits", None);
    for _ in 0..2 {
        let why = core.down().await;
        assert!(why.contains("refuses the subscription to cardea/v1/+/"), "{why}");
        assert!(why.contains("uplinks do not arrive"), "{why}");
    }
    core.up().await;
    soon("it goes", async {
        while published.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_retained_message_too_large_to_read_is_told_and_is_no_endless_reconnect() {
    let broker = Mosquitto::open();
    let mut observer = Observer::new(broker.port).await;
    observer.publish("cardea/v1/g/state", true, vec![b'x'; 17 << 20]).await;
    observer.next("cardea/v1/g/state").await;
    let mut core = Core::start(broker.port);
    core.up().await;
    let mut told = Vec::new();
    while told.last().is_none_or(|why: &String| !why.contains("uplinks do not arrive")) {
        match core.next("what is the matter").await {
            FromBroker::Down(why) => {
                told.push(why);
                assert!(told.len() <= 4, "again and again: {told:?}");
            }
            FromBroker::Up => {}
            FromBroker::Message { .. } => panic!("nothing of that size"),
        }
    }
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[0].contains("16777216 can be read") && told[2].contains("16777216 can be read"), "{told:?}");
    assert!(told[1].contains("queued for this platform was thrown away"), "{told:?}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(core.news.try_recv().is_err(), "and then it is quiet");
}

#[tokio::test]
async fn it_ends_with_its_core() {
    let broker = Mosquitto::open();
    let mut core = Core::start(broker.port);
    core.up().await;
    drop(core.outbox);
    assert!(matches!(soon("end", core.task).await.unwrap(), Err(Error::Stopped)));

    let mut core = Core::start(broker.port);
    core.up().await;
    core.news.close();
    core.outbox.send(ToBroker::Reconnect).unwrap(); // The next news finds nobody.
    assert!(matches!(soon("end", core.task).await.unwrap(), Err(Error::Stopped)));
}
