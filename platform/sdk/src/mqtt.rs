//! A small MQTT 3.1.1 client on rumqttc, which is used for one connection at a time and never as a store: its
//! session bookkeeping loses messages silently (see `docs/platform.md`), so each connection gets a new event
//! loop, and what was not acknowledged is published again by us.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rumqttc::{
    AsyncClient, ConnectionError, Event, Incoming, Outgoing, Publish, QoS, SubscribeFilter,
    SubscribeReasonCode,
};
use tokio::sync::mpsc;

use crate::{Broker, Error, session::Output};

/// Publications under way at once; below rumqttc's own limit, so that packet ids never collide.
const IN_FLIGHT: usize = 64;
/// Publications that may wait for the broker. The oldest give way: everything here is repeated by someone.
const QUEUE: usize = 10_000;
/// How long a broker may take to answer SUBSCRIBE or to finish a connection.
const PATIENCE: Duration = Duration::from_secs(20);
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MOST: Duration = Duration::from_secs(30);

/// From the core to the broker.
pub(crate) enum ToBroker {
    Publish(Output),
    Ack(Delivery),
    /// Something was not stored: a new connection makes the broker deliver it again.
    Reconnect,
}

/// What the broker handed over and wants acknowledged, on the connection it came by.
pub(crate) struct Delivery {
    connection: u64,
    publish: Publish,
}

/// From the broker to the core.
pub(crate) enum FromBroker {
    /// Connected and subscribed.
    Up,
    /// Disconnected, with the reason for people.
    Down(String),
    Message {
        topic: String,
        payload: Vec<u8>,
        retain: bool,
        delivery: Option<Delivery>,
    },
}

/// Runs until `deliver` says that nobody listens any more.
pub(crate) async fn run<F, D>(
    broker: Broker,
    mut outbox: mpsc::UnboundedReceiver<ToBroker>,
    mut deliver: F,
) -> Result<(), Error>
where
    F: FnMut(FromBroker) -> D,
    D: Future<Output = bool>,
{
    let filters = crate::session::filters(&broker.prefix)?;
    let mut queue = VecDeque::new();
    let mut pause = RETRY_FIRST;
    let mut connection = 0;
    loop {
        connection += 1;
        let since = Instant::now();
        let end = match broker.options() {
            Ok(options) => {
                // Room for every publication, acknowledgement and the one SUBSCRIBE: `try_` never finds it full.
                let (client, eventloop) = AsyncClient::new(options, 4 * QUEUE);
                let (forward, events) = mpsc::channel(256);
                let pump = tokio::spawn(pump(eventloop, forward));
                let mut link = Link {
                    client,
                    connection,
                    up: false,
                    queue: &mut queue,
                    unnamed: VecDeque::new(),
                    in_flight: BTreeMap::new(),
                };
                let end = link.serve(&filters, events, &mut outbox, &mut deliver).await;
                link.put_back();
                pump.abort();
                end
            }
            Err(error) => End::Lost(error.to_string()),
        };
        match end {
            End::Stopped => return Err(Error::Stopped),
            End::Lost(reason) => {
                tracing::warn!(reason, "no broker");
                if !deliver(FromBroker::Down(reason)).await {
                    return Err(Error::Stopped);
                }
            }
        }
        if since.elapsed() > RETRY_MOST {
            pause = RETRY_FIRST;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MOST);
    }
}

/// Why a connection ended.
enum End {
    Lost(String),
    Stopped,
}

/// `EventLoop::poll` must not be cancelled half-way through a write, so it has a task of its own.
async fn pump(mut eventloop: rumqttc::EventLoop, forward: mpsc::Sender<Result<Event, ConnectionError>>) {
    loop {
        let event = eventloop.poll().await;
        let last = event.is_err();
        if forward.send(event).await.is_err() || last {
            return;
        }
    }
}

/// Whether nobody needs it any more.
fn is_stale(output: &Output) -> bool {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    output.not_after.is_some_and(|at| at < now)
}

/// One connection.
struct Link<'q> {
    client: AsyncClient,
    connection: u64,
    up: bool,
    queue: &'q mut VecDeque<Output>,
    /// Handed to rumqttc, in order, until it tells the packet id.
    unnamed: VecDeque<Output>,
    /// By packet id, until PUBACK; the number keeps the order of sending.
    in_flight: BTreeMap<u16, (u64, Output)>,
}

impl Link<'_> {
    async fn serve<F, D>(
        &mut self,
        filters: &[String],
        mut events: mpsc::Receiver<Result<Event, ConnectionError>>,
        outbox: &mut mpsc::UnboundedReceiver<ToBroker>,
        deliver: &mut F,
    ) -> End
    where
        F: FnMut(FromBroker) -> D,
        D: Future<Output = bool>,
    {
        let mut sent: u64 = 0;
        let opened = tokio::time::Instant::now();
        loop {
            self.fill();
            tokio::select! {
                event = events.recv() => match event {
                    None => return End::Lost("the connection ended".into()),
                    Some(Err(error)) => return End::Lost(error.to_string()),
                    Some(Ok(Event::Incoming(Incoming::ConnAck(_)))) => {
                        // At every connection: the broker may have forgotten us, whatever it says.
                        let filters = filters.iter().map(|f| SubscribeFilter::new(f.clone(), QoS::AtLeastOnce));
                        if let Err(error) = self.client.try_subscribe_many(filters) {
                            return End::Lost(error.to_string());
                        }
                    }
                    Some(Ok(Event::Incoming(Incoming::SubAck(ack)))) => {
                        if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                            return End::Lost("the broker refuses our subscriptions; check its ACL".into());
                        }
                        self.up = true;
                        if !deliver(FromBroker::Up).await {
                            return End::Stopped;
                        }
                    }
                    Some(Ok(Event::Incoming(Incoming::Publish(publish)))) => {
                        let message = FromBroker::Message {
                            topic: publish.topic.clone(),
                            payload: publish.payload.to_vec(),
                            retain: publish.retain,
                            delivery: (publish.qos != QoS::AtMostOnce)
                                .then_some(Delivery { connection: self.connection, publish }),
                        };
                        if !deliver(message).await {
                            return End::Stopped;
                        }
                    }
                    Some(Ok(Event::Incoming(Incoming::PubAck(ack)))) => {
                        self.in_flight.remove(&ack.pkid);
                    }
                    Some(Ok(Event::Outgoing(Outgoing::Publish(pkid)))) => {
                        if let Some(output) = self.unnamed.pop_front() {
                            sent += 1;
                            self.in_flight.insert(pkid, (sent, output));
                        }
                    }
                    Some(Ok(_)) => {}
                },
                message = outbox.recv() => match message {
                    None => {
                        let _ = self.client.try_disconnect();
                        return End::Stopped;
                    }
                    Some(ToBroker::Publish(output)) => {
                        self.queue.push_back(output);
                        if self.queue.len() > QUEUE {
                            self.queue.pop_front();
                        }
                    }
                    // An acknowledgement of an earlier connection means nothing here; that message comes again.
                    Some(ToBroker::Ack(delivery)) if delivery.connection == self.connection => {
                        if let Err(error) = self.client.try_ack(&delivery.publish) {
                            return End::Lost(error.to_string());
                        }
                    }
                    Some(ToBroker::Ack(_)) => {}
                    Some(ToBroker::Reconnect) => return End::Lost("a batch was not stored".into()),
                },
                () = tokio::time::sleep_until(opened + PATIENCE), if !self.up => {
                    return End::Lost("the broker does not answer".into());
                }
            }
        }
    }

    /// Hands waiting publications to rumqttc, as many as may be under way.
    fn fill(&mut self) {
        while self.up && self.unnamed.len() + self.in_flight.len() < IN_FLIGHT {
            let Some(output) = self.queue.pop_front() else { return };
            if is_stale(&output) {
                continue;
            }
            match self.client.try_publish(&output.topic, QoS::AtLeastOnce, false, output.payload.clone()) {
                Ok(()) => self.unnamed.push_back(output),
                Err(error) => {
                    tracing::error!(%error, "a publication was refused by the client and is dropped");
                }
            }
        }
    }

    /// What the broker did not acknowledge goes out again first, in its old order.
    fn put_back(&mut self) {
        for output in std::mem::take(&mut self.unnamed).into_iter().rev() {
            self.queue.push_front(output);
        }
        let mut named: Vec<_> = std::mem::take(&mut self.in_flight).into_values().collect();
        named.sort_by_key(|(order, _)| *order);
        for (_, output) in named.into_iter().rev() {
            self.queue.push_front(output);
        }
    }
}
