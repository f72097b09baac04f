//! The loop behind the handle: one thread that owns core and state.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cardea_framing::LockId;
use tokio::sync::{broadcast, mpsc};

use super::request::{Reply, Request, not_stored, owe, split};
use crate::{
    Error, KeyStore, Outcome, PlatformEvent, State,
    mqtt::{self, FromBroker, ToBroker},
    session::{Core, Now},
};

/// Messages that share one durable commit.
const BATCH: usize = 256;
/// After a batch that failed, before timers alone open another.
const AFTER_FAILURE_MS: u64 = 1_000;

/// Commands are awaited by lock and id: ids are drawn for each lock alone.
type CommandKey = (LockId, [u8; 4]);

/// What a batch owes to others, once it is known whether it became durable.
#[derive(Default)]
struct Owed {
    acks: Vec<mqtt::Delivery>,
    replies: Vec<Box<dyn FnOnce(bool)>>,
    asked: Vec<(CommandKey, Reply<Outcome>)>,
}

/// The thread that owns the core. SQLite blocks it for a commit, and nobody else.
pub(super) struct Worker<S> {
    core: Core<Box<dyn KeyStore>, S>,
    events: broadcast::Sender<PlatformEvent>,
    /// Who waits for the end of a command.
    waiting: BTreeMap<CommandKey, Reply<Outcome>>,
    broker: Option<mpsc::UnboundedSender<ToBroker>>,
    started: Instant,
    /// The last batch was given up, or cannot be settled yet: timers wait a little before they try again.
    failed: bool,
    /// Acknowledgements of a batch that is durable and not settled.
    owed: Vec<mqtt::Delivery>,
    _guard: fs::File,
}

impl<S: State> Worker<S> {
    /// `guard` is let go with the loop: the state is this process's until then.
    pub(super) fn new(
        core: Core<Box<dyn KeyStore>, S>,
        events: broadcast::Sender<PlatformEvent>,
        guard: fs::File,
    ) -> Self {
        Self {
            core,
            events,
            waiting: BTreeMap::new(),
            broker: None,
            started: Instant::now(),
            failed: false,
            owed: Vec::new(),
            _guard: guard,
        }
    }

    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the platform's thread cannot start");
                return;
            }
        };
        runtime.block_on(async move {
            let mut batch = Vec::new();
            loop {
                let now = self.now();
                let pause = self.core.poll_timeout().map_or(3_600_000, |at| at.saturating_sub(now.mono));
                let pause = if self.failed { pause.max(AFTER_FAILURE_MS) } else { pause };
                match tokio::time::timeout(Duration::from_millis(pause), inbox.recv_many(&mut batch, BATCH))
                    .await
                {
                    Ok(0) => return,
                    Ok(_) | Err(_) => self.turn(std::mem::take(&mut batch)),
                }
            }
        });
    }

    fn now(&self) -> Now {
        Now {
            mono: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            unix: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// One batch: everything in it becomes durable together, then its outputs and acknowledgements leave.
    fn turn(&mut self, batch: Vec<Request>) {
        if let Err(error) = self.core.settle() {
            // What is stored must be able to leave before more is stored. The broker keeps its messages, and people
            // hear that nothing was done, rather than being obeyed when nobody expects it any more.
            tracing::error!(%error, "nothing is taken until the batch before can leave");
            self.failed = true;
            if batch.iter().any(Request::comes_again) {
                self.send(ToBroker::Reconnect);
            }
            for request in batch {
                match request {
                    Request::Locks(reply) => drop(reply.send(self.core.summaries())),
                    other => other.refuse(),
                }
            }
            return;
        }
        self.release();
        let now = self.now();
        let mut owed = Owed::default();
        let mut batch = batch.into_iter();
        let outcome = self.core.begin().and_then(|()| {
            for request in batch.by_ref() {
                self.handle(now, request, &mut owed)?;
            }
            self.core.handle_timeout(now)?;
            self.core.commit()
        });
        let committed = outcome.is_ok();
        batch.for_each(Request::refuse);
        if let Err(error) = outcome {
            tracing::error!(%error, "the batch was given up; the broker will deliver it again");
            if let Err(error) = self.core.reload() {
                tracing::error!(%error, "the state cannot be read");
            }
            self.send(ToBroker::Reconnect);
        }
        for reply in owed.replies {
            reply(committed);
        }
        for (key, caller) in owed.asked {
            if committed {
                self.waiting.insert(key, caller);
            } else {
                let _ = caller.send(Err(not_stored()));
            }
        }
        if committed {
            self.owed = owed.acks;
        }
        self.failed = !committed || !self.core.is_settled();
        self.release();
    }

    /// Lets go what rests on durable and settled state; nothing otherwise.
    fn release(&mut self) {
        if !self.core.is_settled() {
            return;
        }
        while let Some(output) = self.core.poll_output() {
            self.send(ToBroker::Publish(output));
        }
        for ack in std::mem::take(&mut self.owed) {
            self.send(ToBroker::Ack(ack));
        }
        while let Some(event) = self.core.poll_event() {
            if let PlatformEvent::Ended { lock, command, outcome, .. } = &event {
                let mut id = [0; 4];
                if hex::decode_to_slice(command, &mut id).is_ok()
                    && let Some(waiting) = self.waiting.remove(&(*lock, id))
                {
                    let _ = waiting.send(Ok(outcome.clone()));
                }
            }
            let _ = self.events.send(event); // nobody listens: fine
        }
    }

    fn send(&self, message: ToBroker) {
        if let Some(broker) = &self.broker {
            let _ = broker.send(message); // a link that ended is replaced by the next `run`
        }
    }

    /// An `Err` gives the whole batch up; what only the caller did wrong goes to the caller.
    fn handle(&mut self, now: Now, request: Request, owed: &mut Owed) -> Result<(), Error> {
        match request {
            Request::Enroll(name, code, reply) => {
                owe(&mut owed.replies, reply, self.core.enroll(name, &code))?
            }
            Request::Change(change, reply) => {
                owe(&mut owed.replies, reply, change.apply(&mut self.core, now))?
            }
            Request::EnrollCertified(chain, code, reply) => {
                owe(&mut owed.replies, reply, self.core.enroll_certified(now, &chain, &code))?
            }
            Request::Pins(lock, reply) => drop(reply.send(self.core.pins(lock))),
            Request::Gaps(lock, reply) => drop(reply.send(self.core.log_gaps(lock))),
            Request::Makers(makers, required, reply) => {
                self.core.set_makers(makers, required);
                let _ = reply.send(());
            }
            Request::Command(lock, ask, timeout, reply) => {
                let life = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                let (result, fatal) = split(self.core.command(now, lock, ask, life));
                match result {
                    Ok(id) => owed.asked.push(((lock, id), reply)),
                    Err(error) => drop(reply.send(Err(error))),
                }
                fatal?;
            }
            Request::Log(lock, limit, reply) => drop(reply.send(self.core.log(lock, limit))),
            Request::Locks(reply) => drop(reply.send(self.core.summaries())),
            Request::Grants(ask) => ask.answer(&mut self.core, now, &mut owed.replies)?,
            Request::Sites(ask) => ask.answer(&mut self.core, now, &mut owed.replies)?,
            Request::Attach(sender, broker, reply) => {
                let result =
                    broker.topics().map(|topics| self.core.set_topics(topics, broker.encoding.into()));
                if result.is_ok() {
                    self.broker = Some(sender);
                }
                let _ = reply.send(result);
            }
            Request::Broker(FromBroker::Up) => self.core.handle_connected(now)?,
            Request::Broker(FromBroker::Down(reason)) => self.core.handle_disconnected(now, reason),
            Request::Broker(FromBroker::Message { topic, payload, retain, delivery }) => {
                self.core.handle_message(now, &topic, &payload, retain)?;
                owed.acks.extend(delivery);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
