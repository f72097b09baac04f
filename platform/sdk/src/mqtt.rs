//! The core's side of a broker link. [`cardea_broker`] keeps nothing across a connection; what the core wants
//! published is kept here until the broker has acknowledged it, and published again on the next connection.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use cardea_broker::{Event, Handle, Hearing, Mqtt, Publish};
use tokio::sync::mpsc;

use crate::{Broker, Error, session::Output};

/// Publications that may wait for the broker. The oldest give way: everything here is repeated by someone.
const QUEUE: usize = 10_000;

/// From the core to the broker.
pub(crate) enum ToBroker {
    Publish(Output),
    Ack(Delivery),
    /// Something was not stored: a new connection makes the broker deliver it again.
    Reconnect,
}

/// What the broker handed over and wants acknowledged, on the connection it came by.
#[derive(Debug)]
pub(crate) struct Delivery(u64);

/// From the broker to the core.
#[derive(Debug)]
pub(crate) enum FromBroker {
    /// Connected and subscribed.
    Up,
    /// Not connected, or not subscribed, with the reason for people.
    Down(String),
    Message {
        topic: String,
        payload: Bytes,
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
    let config = broker.mqtt()?;
    let mut backoff = config.backoff.clone();
    let mut queue = Queue::default();
    loop {
        let (handle, port) = cardea_broker::link();
        tokio::spawn(Mqtt::new(config.clone()).run(port));
        match (Link { handle, up: false, queue: &mut queue }).serve(&mut outbox, &mut deliver).await {
            End::Stopped => return Err(Error::Stopped),
            // Only by a panic: its handle is held.
            End::Died => tracing::error!("the broker link crashed"),
        }
        queue.put_back();
        if !deliver(FromBroker::Down("the broker link crashed".into())).await {
            return Err(Error::Stopped);
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// Why a link ended.
enum End {
    Stopped,
    Died,
}

/// One link, over all its connections.
struct Link<'q> {
    handle: Handle,
    /// Connected, and hears all there is to hear.
    up: bool,
    queue: &'q mut Queue,
}

impl Link<'_> {
    async fn serve<F, D>(&mut self, outbox: &mut mpsc::UnboundedReceiver<ToBroker>, deliver: &mut F) -> End
    where
        F: FnMut(FromBroker) -> D,
        D: Future<Output = bool>,
    {
        loop {
            self.fill();
            tokio::select! {
                event = self.handle.recv() => {
                    let Some(event) = event else { return End::Died };
                    if let Some(news) = self.event(event)
                        && !deliver(news).await
                    {
                        return End::Stopped;
                    }
                }
                message = outbox.recv() => match message {
                    None => return End::Stopped,
                    Some(ToBroker::Publish(output)) => self.queue.push(output),
                    // Of an earlier connection it means nothing; that message comes again.
                    Some(ToBroker::Ack(delivery)) => self.handle.ack(delivery.0),
                    Some(ToBroker::Reconnect) => self.handle.reconnect("a batch was not stored"),
                },
            }
        }
    }

    /// Hands waiting publications to the link, as many as may be under way.
    fn fill(&mut self) {
        while self.up
            && let Some(publish) = self.queue.next(SystemTime::now())
        {
            self.handle.publish(publish);
        }
    }

    /// What the core is told of it.
    fn event(&mut self, event: Event) -> Option<FromBroker> {
        match event {
            Event::Connected(Hearing::All) => {
                self.up = true;
                Some(FromBroker::Up)
            }
            // A platform that does not hear is not connected. The rules may be mended by the next attempt; why this
            // one ends comes as `Down`.
            Event::Connected(Hearing::Refused(why)) => {
                self.handle.reconnect(why);
                None
            }
            Event::Connected(Hearing::Deaf(why)) => Some(FromBroker::Down(why)),
            Event::Disconnected => {
                self.up = false;
                self.queue.put_back();
                None
            }
            Event::Down(why) => Some(FromBroker::Down(why)),
            Event::Acked { token } => {
                self.queue.take(token);
                None
            }
            Event::Refused { token, reason } => {
                if let Some(publish) = self.queue.take(token)
                    && !is_late(&publish, SystemTime::now())
                {
                    tracing::error!(topic = publish.topic, reason, "a publication is refused and dropped");
                }
                None
            }
            Event::Message { ack, topic, payload, retain, dup: _ } => {
                Some(FromBroker::Message { topic, payload, retain, delivery: Some(Delivery(ack)) })
            }
            Event::Rtt { .. } => None,
        }
    }
}

/// What waits for the broker, and what the broker was given and has not acknowledged.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Publish>,
    /// By token; tokens rise in the order of sending.
    in_flight: BTreeMap<u64, Publish>,
    last_token: u64,
}

impl Queue {
    fn push(&mut self, output: Output) {
        let Output { topic, payload, not_after } = output;
        // A moment that no clock can show is as good as none.
        let not_after = not_after.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
        let publish = Publish { token: 0, topic, payload: payload.into(), retain: false, not_after };
        self.waiting.push_back(publish);
        if self.waiting.len() > QUEUE {
            self.waiting.pop_front();
        }
    }

    /// The next to send, if the window has room; what is too late is forgotten.
    fn next(&mut self, now: SystemTime) -> Option<Publish> {
        if self.in_flight.len() >= usize::from(Broker::IN_FLIGHT) {
            return None;
        }
        loop {
            let mut publish = self.waiting.pop_front()?;
            if is_late(&publish, now) {
                continue;
            }
            self.last_token += 1;
            publish.token = self.last_token;
            self.in_flight.insert(publish.token, publish.clone());
            return Some(publish);
        }
    }

    /// The broker has it, or will never take it.
    fn take(&mut self, token: u64) -> Option<Publish> {
        self.in_flight.remove(&token)
    }

    /// What the broker did not acknowledge goes out again first, in its old order.
    fn put_back(&mut self) {
        for publish in std::mem::take(&mut self.in_flight).into_values().rev() {
            self.waiting.push_front(publish);
        }
    }
}

/// Whether nobody needs it any more.
fn is_late(publish: &Publish, now: SystemTime) -> bool {
    publish.not_after.is_some_and(|at| at < now)
}
