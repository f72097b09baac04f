//! A plain client that sees everything a broker carries, for tests on tokio.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bytes::Bytes;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::soon;

/// What an observer saw: topic, payload, retain flag.
pub type Seen = (String, Bytes, bool);

/// A plain client that sees everything a broker carries.
pub struct Observer {
    pub client: AsyncClient,
    pub seen: mpsc::UnboundedReceiver<Seen>,
    task: JoinHandle<()>,
}

impl Observer {
    pub async fn new(port: u16) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("observer-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_max_packet_size(32 << 20, 32 << 20);
        let (client, mut eventloop) = AsyncClient::new(options, 100);
        let (tx, seen) = mpsc::unbounded_channel();
        let (ready_tx, mut ready) = watch::channel(false);
        let subscriber = client.clone();
        let task = tokio::spawn(async move {
            loop {
                match eventloop.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        subscriber.try_subscribe("#", QoS::AtLeastOnce).unwrap();
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready_tx.send(true)),
                    Ok(Event::Incoming(Packet::Publish(p))) => drop(tx.send((p.topic, p.payload, p.retain))),
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        soon("the observer is subscribed", ready.wait_for(|r| *r)).await.unwrap();
        Self { client, seen, task }
    }

    pub async fn publish(&self, topic: &str, retain: bool, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).await.unwrap();
    }

    /// The next message on this topic.
    pub async fn next(&mut self, topic: &str) -> Seen {
        soon(topic, async {
            loop {
                let seen = self.seen.recv().await.unwrap();
                if seen.0 == topic {
                    return seen;
                }
            }
        })
        .await
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
