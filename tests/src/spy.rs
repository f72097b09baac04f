//! An MQTT client that remembers everything it sees, in order.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime},
};

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

/// One message as the broker delivered it.
#[derive(Debug, Clone)]
pub struct Message {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Retain flag.
    pub retain: bool,
    /// When it came.
    pub at: SystemTime,
}

/// Subscribed to everything; reconnects by itself.
pub struct Spy {
    client: Client,
    seen: Arc<Mutex<Vec<Message>>>,
    connected: Arc<Mutex<bool>>,
}

impl Spy {
    /// Connects to a broker on loopback and subscribes to `#`.
    pub fn start(port: u16) -> Self {
        let name = format!("spy-{}-{port}", std::process::id());
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(5)).set_max_packet_size(1 << 20, 1 << 20);
        options.set_clean_session(false);
        let (client, mut connection) = Client::new(options, 1_000);
        // A small message behind another one would wait for the acknowledgement of the first, 40 ms.
        connection.eventloop.network_options.set_tcp_nodelay(true);
        let (seen, connected) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(false)));
        let (seen2, connected2, client2) = (seen.clone(), connected.clone(), client.clone());
        thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        drop(client2.try_subscribe("#", QoS::AtLeastOnce))
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => *connected2.lock().unwrap() = true,
                    Ok(Event::Incoming(Packet::Publish(p))) => {
                        let (topic, payload, at) = (p.topic, p.payload.to_vec(), SystemTime::now());
                        let message = Message { topic, payload, retain: p.retain, at };
                        seen2.lock().unwrap().push(message);
                    }
                    Ok(_) => {}
                    Err(rumqttc::ConnectionError::RequestsDone) => return,
                    Err(_) => {
                        *connected2.lock().unwrap() = false;
                        thread::sleep(Duration::from_millis(50));
                    }
                }
            }
        });
        let spy = Self { client, seen, connected };
        spy.wait_connected();
        spy
    }

    /// Waits for the subscription.
    pub fn wait_connected(&self) {
        crate::eventually("spy subscribed", Duration::from_secs(30), || {
            self.connected.lock().unwrap().then_some(())
        });
    }

    /// Publishes at QoS 1.
    pub fn publish(&self, topic: &str, payload: &[u8], retain: bool) {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).unwrap();
    }

    /// All messages so far whose topic ends with `end`.
    pub fn ending(&self, end: &str) -> Vec<Message> {
        self.seen.lock().unwrap().iter().filter(|m| m.topic.ends_with(end)).cloned().collect()
    }

    /// How many messages so far have a topic that ends with `end`.
    pub fn count(&self, end: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|m| m.topic.ends_with(end)).count()
    }

    /// All messages so far.
    pub fn all(&self) -> Vec<Message> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits for a message whose topic ends with `end` and which `wanted` accepts.
    pub fn wait<T>(&self, end: &str, mut wanted: impl FnMut(&Message) -> Option<T>) -> T {
        crate::eventually(&format!("a message on …{end}"), Duration::from_secs(60), || {
            self.seen.lock().unwrap().iter().filter(|m| m.topic.ends_with(end)).find_map(&mut wanted)
        })
    }
}

impl Drop for Spy {
    fn drop(&mut self) {
        let _ = self.client.try_disconnect();
    }
}
