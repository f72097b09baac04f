//! The shell: tokio, channels, and a coordinator that is a task.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cardea_radio::{Clock, GatewayEnd, channel};
use tokio::sync::{mpsc, watch};

use super::*;
use crate::coordinator::{Coordinator, CoordinatorEnd};

/// A coordinator whose ends the test holds.
struct Puppet(mpsc::Sender<CoordinatorEnd>);

impl Coordinator for Puppet {
    async fn run(self, end: CoordinatorEnd) {
        self.0.send(end).await.unwrap();
        // The test has the ends now; dropping them is the end of it.
        self.0.closed().await;
    }
}

struct Running {
    gateway: GatewayEnd,
    orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<Said>,
    expected: Option<Network>,
    operator: NetworkOrders,
    task: tokio::task::JoinHandle<Result<(), DriverError>>,
    _strings: mpsc::Receiver<CoordinatorEnd>,
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it takes too long")
}

async fn start(store: &MemoryStore) -> Running {
    let (gateway, end) = channel(8, Clock::start(), Arc::new(store.clone()));
    let (strings, mut hands) = mpsc::channel(1);
    let (operator, desk) = network_orders();
    let ends = Ends {
        desk,
        counters: watch::Sender::default(),
        kept: watch::Sender::default(),
        ordinary: None,
        wall: Arc::new(Wall::default),
    };
    let task = tokio::spawn(run(Puppet(strings), config(), end, ends));
    let CoordinatorEnd { orders, events, expected, .. } = soon(hands.recv()).await.unwrap();
    Running { gateway, orders, events, expected, operator, task, _strings: hands }
}

impl Running {
    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = soon(self.gateway.events.recv()).await.expect("it runs");
            if wanted(&event) {
                return event;
            }
        }
    }
}

#[tokio::test]
async fn an_operator_forms_a_lock_joins_frames_go_both_ways_and_a_restart_resumes() {
    let store = MemoryStore::new();
    let mut running = start(&store).await;
    assert_eq!(running.expected, None);
    running.events.send(Said::State(State::Unformed)).await.unwrap();
    running
        .until(|event| matches!(event, Event::Health(health) if health.detail.contains("radio form")))
        .await;
    let operator = running.operator.clone();
    let formed = tokio::spawn(async move {
        operator.give(NetworkOrder::Form { replace: false, pan: [1; 8], key: Key([2; 16]) }).await
    });
    let Some(Order::Form { plan, replace: false }) = soon(running.orders.recv()).await else { panic!() };
    let network = Network { extended_pan: plan.extended_pan, ..OURS };
    running.events.send(Said::Formed(Ok(network))).await.unwrap();
    running.events.send(Said::State(State::Up(network))).await.unwrap();
    assert_eq!(soon(formed).await.unwrap(), Ok(NetworkDone::Network(network)));
    running.gateway.commands.send(Command::Admit(label(1))).await.unwrap();
    assert!(matches!(soon(running.orders.recv()).await, Some(Order::Admit { .. })));
    running.events.send(Said::Joined { eui: eui(1), nwk: NwkAddr(5) }).await.unwrap();
    for answer in [node(false), Answer::Endpoints(vec![11]), endpoint(11, &[0xFC7C])] {
        let Some(Order::Ask { handle, .. }) = soon(running.orders.recv()).await else { panic!() };
        running.events.send(Said::Answer { handle, answer: Ok(answer) }).await.unwrap();
    }
    running.until(|event| matches!(event, Event::Link { .. })).await;
    running.events.send(heard(1, b"up")).await.unwrap();
    running.until(|event| matches!(event, Event::Up(up) if &up.frame[..] == b"up")).await;
    let send = Send { handle: 3, lock: lock(1), frame: Bytes::from_static(b"down"), deadline: u64::MAX };
    running.gateway.commands.send(Command::Send(send)).await.unwrap();
    let Some(Order::Send(frame)) = soon(running.orders.recv()).await else { panic!() };
    assert_eq!(Tunnel::TEST.parse_to_lock(&frame.payload), Ok(&b"down"[..]));
    running.gateway.commands.send(Command::Stop).await.unwrap();
    while let Some(order) = soon(running.orders.recv()).await {
        if matches!(order, Order::Stop) {
            break;
        }
    }
    drop((running.orders, running.events, running._strings));
    soon(running.task).await.unwrap().unwrap();

    let mut running = start(&store).await;
    assert_eq!(running.expected, Some(network));
    let event = running.until(|event| matches!(event, Event::Link { .. })).await;
    assert!(matches!(event, Event::Link { lock: who, .. } if who == lock(1)));
}

#[tokio::test]
async fn a_coordinator_that_ends_ends_the_driver_and_an_order_to_it_is_answered() {
    let running = start(&MemoryStore::new()).await;
    let refused = running.operator.give(NetworkOrder::Adopt).await;
    assert!(refused.unwrap_err().contains("not ready"));
    drop((running.orders, running.events, running._strings));
    let error = soon(running.task).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("coordinator ended"), "{error}");
}

/// Nobody reads events, and the coordinator takes no orders; a driver that is behind stops when it is told to.
#[tokio::test]
async fn a_gateway_and_a_coordinator_that_are_behind_do_not_stop_each_other() {
    let mut running = start(&MemoryStore::new()).await;
    for handle in 0..1_000 {
        let send = Send { handle, lock: lock(1), frame: Bytes::from_static(b"x"), deadline: u64::MAX };
        soon(running.gateway.commands.send(Command::Send(send))).await.unwrap();
    }
    for handle in 0..1_000 {
        let event = running.until(|event| matches!(event, Event::Outcome { .. })).await;
        assert!(matches!(event, Event::Outcome { handle: told, .. } if told == handle));
    }
    drop(running.gateway);
    assert!(matches!(soon(running.orders.recv()).await, Some(Order::Stop)));
}
