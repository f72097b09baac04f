//! The driver itself: real UDP sockets, real tokio, the contract of cardea-radio.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use cardea_radio::{Clock, GatewayEnd, channel};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::*;
use crate::{LoraError, run, run_on};

struct Daemon {
    gateway: GatewayEnd,
    task: JoinHandle<Result<(), LoraError>>,
    up: UdpSocket,
    down: UdpSocket,
}

async fn start(store: &MemoryStore) -> Daemon {
    let (gateway, end) = channel(8, Clock::start(), Arc::new(store.clone()));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = socket.local_addr().unwrap();
    let task = tokio::spawn(run_on(socket, LoraConfig::default(), end, Arc::new(|| WALL)));
    let up = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let down = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    up.connect(server).await.unwrap();
    down.connect(server).await.unwrap();
    let mut daemon = Daemon { gateway, task, up, down };
    daemon.down.send(&Packet::PullData { token: 7, eui: EUI }.encode()).await.unwrap();
    assert_eq!(receive(&daemon.down).await, Packet::PullAck { token: 7 });
    while !matches!(daemon.event().await, Event::Health(Health { up: true, .. })) {}
    daemon
}

async fn receive(socket: &UdpSocket) -> Packet {
    let mut buffer = [0; 4096];
    let len = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut buffer)).await.unwrap().unwrap();
    Packet::parse(&buffer[..len]).unwrap()
}

impl Daemon {
    async fn event(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(10), self.gateway.events.recv()).await.unwrap().unwrap()
    }

    /// The forwarder hears this, and is thanked for it.
    async fn hear(&self, data: Vec<u8>) {
        let received =
            Received { tmst: 1_000_000, frequency: 868_100_000, sf: 7, bw: 125, rssi: -80, snr: 55, data };
        let push = Packet::PushData { token: 3, eui: EUI, received: vec![received], unreadable: 0 };
        self.up.send(&push.encode()).await.unwrap();
        assert_eq!(receive(&self.up).await, Packet::PushAck { token: 3 });
    }

    async fn transmits(&self) -> Transmit {
        let Packet::PullResp { token, transmit } = receive(&self.down).await else {
            panic!("not a PULL_RESP")
        };
        self.down.send(&Packet::TxAck { token, eui: EUI, error: None }.encode()).await.unwrap();
        transmit
    }
}

#[tokio::test]
async fn join_uplink_downlink_stop_and_restart_over_udp() {
    let store = MemoryStore::new();
    let mut lock = Lock::new(1, LorawanClass::A);
    let mut daemon = start(&store).await;
    daemon.gateway.commands.send(Command::Admit(lock.admission())).await.unwrap();
    assert!(matches!(daemon.event().await, Event::Admitted { result: Ok(()), .. }));
    let request = lock.join_request();
    daemon.hear(request).await;
    let accept = daemon.transmits().await;
    assert_eq!(accept.tmst, Some(6_000_000));
    lock.accept(&accept.data);
    let up = lock.up(b"hello".to_vec());
    daemon.hear(up).await;
    assert!(matches!(daemon.event().await, Event::Joined(_)));
    assert!(matches!(daemon.event().await, Event::Link { mtu_down: 242, .. }));
    let Event::Up(up) = daemon.event().await else { panic!("not an uplink") };
    assert_eq!(&up.frame[..], b"hello");
    let send = Send { handle: 5, lock: lock.id, frame: Bytes::from_static(b"welcome"), deadline: 30_000 };
    daemon.gateway.commands.send(Command::Send(send)).await.unwrap();
    let transmit = daemon.transmits().await;
    assert_eq!(lock.open(&transmit.data).payload, b"welcome");
    assert!(matches!(daemon.event().await, Event::Outcome { handle: 5, outcome: Outcome::Sent }));
    let up = lock.up(b"last words".to_vec());
    daemon.hear(up.clone()).await;
    assert!(matches!(daemon.event().await, Event::Up(_)));
    daemon.gateway.commands.send(Command::Stop).await.unwrap();
    daemon.task.await.unwrap().unwrap();

    let mut daemon = start(&store).await;
    daemon.hear(up).await;
    let new = lock.up(b"new".to_vec());
    daemon.hear(new).await;
    loop {
        match daemon.event().await {
            Event::Up(up) => {
                break assert_eq!(&up.frame[..], b"new", "the counter of the last words was stored");
            }
            Event::Link { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_gateway_that_is_behind_does_not_stop_the_radio() {
    let store = MemoryStore::new();
    let daemon = start(&store).await;
    // Nobody reads events; sends to nobody make more of them than the channel holds.
    for handle in 0..100 {
        let send = Send { handle, lock: LockId([1; 8]), frame: Bytes::new(), deadline: 30_000 };
        daemon.gateway.commands.send(Command::Send(send)).await.unwrap();
    }
    daemon.hear(vec![1, 2, 3]).await;
    drop(daemon.gateway);
    daemon.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let (_gateway, end) = channel(8, Clock::start(), Arc::new(MemoryStore::new()));
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let config = LoraConfig { bind: taken.local_addr().unwrap(), ..LoraConfig::default() };
    let error = run(config, end).await.unwrap_err();
    assert!(matches!(error, LoraError::Bind { .. }), "{error}");
    let (_gateway, end) = channel(8, Clock::start(), Arc::new(MemoryStore::new()));
    let error =
        run(LoraConfig { rx1_delay: 99, bind: "127.0.0.1:0".parse().unwrap(), ..LoraConfig::default() }, end);
    assert!(matches!(error.await, Err(LoraError::Network(_))));
}
