//! A broker that can be told what to answer.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::BytesMut;
use packets::{ConnAck, ConnectReturnCode, Packet, PubAck, SubAck, SubscribeReasonCode};
pub use rumqttc::{QoS, mqttbytes::v4 as packets};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

/// What a [`FakeBroker`] answers.
pub enum Answer {
    Send(Vec<Packet>),
    Close,
}

/// A broker whose answers are a function of what it hears; `connection` counts from 0.
pub struct FakeBroker {
    pub port: u16,
    pub connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl FakeBroker {
    pub async fn new(answer: impl FnMut(u64, &Packet) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicU64::new(0));
        let count = connections.clone();
        let task = tokio::spawn(async move {
            let mut answer = answer;
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let connection = count.fetch_add(1, Ordering::Relaxed);
                let mut buffer = BytesMut::new();
                'connection: loop {
                    while let Ok(packet) = Packet::read(&mut buffer, 1 << 20) {
                        let Answer::Send(packets) = answer(connection, &packet) else { break 'connection };
                        let mut out = BytesMut::new();
                        for packet in packets {
                            packet.write(&mut out, 1 << 20).unwrap();
                        }
                        if socket.write_all(&out).await.is_err() {
                            break 'connection;
                        }
                    }
                    if !matches!(socket.read_buf(&mut buffer).await, Ok(1..)) {
                        break;
                    }
                }
            }
        });
        Self { port, connections, task }
    }
}

impl Drop for FakeBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a well-behaved broker answers.
pub fn usual(packet: &Packet) -> Answer {
    Answer::Send(match packet {
        Packet::Connect(_) => {
            vec![Packet::ConnAck(ConnAck { session_present: true, code: ConnectReturnCode::Success })]
        }
        Packet::Subscribe(s) => {
            let codes = s.filters.iter().map(|_| SubscribeReasonCode::Success(QoS::AtLeastOnce)).collect();
            vec![Packet::SubAck(SubAck::new(s.pkid, codes))]
        }
        Packet::Publish(p) => vec![Packet::PubAck(PubAck::new(p.pkid))],
        Packet::PingReq => vec![Packet::PingResp],
        Packet::Disconnect => return Answer::Close,
        _ => Vec::new(),
    })
}
