//! A whole session of our own host with the dongle, for Wireshark to read.

use std::time::Duration;

use bytes::Bytes;
use cardea_radio::Clock;
use cardea_simulator::zigbee::{Dongle, SealedLock};
use cardea_zigbee::coordinator::{
    Answer, Coordinator, CoordinatorEnd, Event, Frame, Order, Outcome, Plan, Question, State,
};
use cardea_zigbee::descriptors::{Clusters, SimpleDescriptor};
use cardea_zigbee::tunnel::Tunnel;
use cardea_zigbee::zboss::{HostConfig, ZbossNcp};
use cardea_zigbee::{Eui64, Key};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::{CHANNEL, EXTENDED_PAN, KEY, PAN, POLL, SEED};

const LIMIT: Duration = Duration::from_secs(30);

struct Gateway {
    orders: mpsc::Sender<Order>,
    events: mpsc::Receiver<Event>,
}

impl Gateway {
    async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let mut seen = Vec::new();
        loop {
            let Ok(Some(event)) = timeout(LIMIT, self.events.recv()).await else {
                panic!("{what}: only {seen:?}")
            };
            match wanted(&event) {
                Some(found) => return found,
                None => seen.push(event),
            }
        }
    }

    async fn order(&self, order: Order) {
        self.orders.send(order).await.unwrap();
    }

    async fn ask(&mut self, handle: u64, eui: Eui64, question: Question) -> Answer {
        self.order(Order::Ask { handle, eui, question }).await;
        let answer = |event: &Event| match event {
            Event::Answer { handle: of, answer } if *of == handle => Some(answer.clone()),
            _ => None,
        };
        self.until("an answer", answer).await.unwrap()
    }
}

/// Forms, admits a sealed lock by its install code, has frames both ways, asks it everything, resumes after a reset, and
/// sends it away.
pub async fn run(dongle: &Dongle) {
    let (orders, order_queue) = mpsc::channel(8);
    let (event_queue, events) = mpsc::channel(64);
    let clock = Clock::start();
    let clusters = Clusters { servers: vec![0x000A], clients: vec![Tunnel::TEST.cluster] };
    let endpoint = SimpleDescriptor { endpoint: 1, profile: 0x0104, device: 0x0005, version: 0, clusters };
    let config = HostConfig { endpoint, manufacturer: 0xFFF1, max_children: 32 };
    let end = CoordinatorEnd { orders: order_queue, events: event_queue, clock, expected: None };
    let device = dongle.port().to_owned();
    let task = tokio::spawn(ZbossNcp { device, baud: 115_200, config }.run(end));
    let mut gateway = Gateway { orders, events };
    let is = |state: State| move |event: &Event| (*event == Event::State(state.clone())).then_some(());
    gateway.until("unformed", is(State::Unformed)).await;
    let plan =
        Plan { channels: 1 << CHANNEL, extended_pan: Eui64(EXTENDED_PAN), pan: Some(PAN), key: Key(KEY) };
    gateway.order(Order::Form { plan, replace: false }).await;
    let up = |event: &Event| if let Event::State(State::Up(network)) = event { Some(*network) } else { None };
    let network = gateway.until("up", up).await;

    let lock = SealedLock::start(SEED, 0, POLL, dongle).unwrap();
    let (eui, code) = (lock.label().eui, lock.label().code.clone());
    gateway.order(Order::Admit { eui, code, seconds: 60 }).await;
    gateway.until("joined", |event| matches!(event, Event::Joined { .. }).then_some(())).await;
    gateway.until("a frame", |event| matches!(event, Event::Received(_)).then_some(())).await;
    for (handle, length) in [(1, 1), (2, 60)] {
        let payload = Tunnel::TEST.to_lock(1, &vec![0xEE; length]).unwrap();
        gateway
            .order(Order::Send(Frame {
                handle,
                eui,
                profile: 0x0104,
                cluster: Tunnel::TEST.cluster,
                dst_endpoint: 1,
                src_endpoint: 1,
                payload: Bytes::from(payload),
                deadline: clock.now() + 20_000,
                acknowledge: true,
                urgent: false,
            }))
            .await;
        let acknowledged = Event::Outcome { handle, outcome: Outcome::Acknowledged };
        gateway.until("its end", |event| (*event == acknowledged).then_some(())).await;
    }
    assert!(matches!(gateway.ask(3, eui, Question::Node).await, Answer::Node(node) if node.is_sleepy()));
    assert_eq!(gateway.ask(4, eui, Question::Endpoints).await, Answer::Endpoints(vec![1]));
    assert!(matches!(gateway.ask(5, eui, Question::Endpoint(1)).await, Answer::Endpoint(_)));
    let bind = Question::Bind { endpoint: 1, cluster: Tunnel::TEST.cluster, to_endpoint: 1 };
    assert_eq!(gateway.ask(6, eui, bind).await, Answer::Done);
    let neighbours = gateway.ask(7, network.coordinator, Question::Neighbours { start: 0 }).await;
    assert!(matches!(neighbours, Answer::Neighbours { total: 1, .. }), "{neighbours:?}");
    dongle.reset();
    gateway.until("up again", up).await;
    assert_eq!(gateway.ask(8, eui, Question::Leave).await, Answer::Done);
    gateway.until("left", |event| matches!(event, Event::Left { .. }).then_some(())).await;
    gateway.order(Order::Stop).await;
    task.await.unwrap();
}
