//! The one task that owns the relay: everything that happens goes in, everything to be done goes out.
//!
//! Nothing here waits: drivers have bounded channels that are only tried, the broker link and the store take
//! what they are given at once, and the relay itself bounds what it gives. So a slow disk, an absent broker or a
//! driver that hangs holds up nobody else.

mod asks;
mod guests;
mod networks;
mod report;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use cardea_api::{Reply, Request};
use cardea_core::{Action, Admin, Input, RadioId, Relay, StoreReply, UpstreamEvent};
use cardea_radio::{Clock, Command, Event, Failure, GatewayEnd, Health, Outcome, Refusal};
use cardea_store::Store;
use cardea_upstream::Handle;
use cardea_zigbee::driver::{Kept, NetworkOrders};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::WallClock;
use crate::desk::Desk;
use crate::metrics::Vitals;
use crate::service;
use crate::supervisor::Part;
use crate::unsealed::Bridge;

pub(crate) use guests::{Attached, GuestAsk};

/// How long the broker and the store may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long drivers may take to stop.
const STOP: Duration = Duration::from_secs(5);

/// What is asked of the loop.
pub(crate) enum Ask {
    /// Over the control socket.
    Request(Request, oneshot::Sender<Result<Reply, String>>),
    /// A phone over the control socket.
    Guest(GuestAsk),
    /// Over `/metrics`.
    Vitals(oneshot::Sender<Vitals>),
}

/// What the loop is told once.
pub(crate) struct Facts {
    pub(crate) gateway: String,
    pub(crate) broker_url: String,
    /// Names of the radios, by [`RadioId`].
    pub(crate) radios: Vec<&'static str>,
    pub(crate) max_locks: usize,
    /// How many keys of the platform are pinned.
    pub(crate) platform_keys: u64,
    /// Where the Zigbee radio takes an operator's orders; `None` while that radio is off.
    pub(crate) zigbee: Option<NetworkOrders>,
    /// The backup that the Zigbee radio keeps by itself.
    pub(crate) zigbee_kept: watch::Receiver<Option<Kept>>,
    /// The bridge of ordinary locks, apart from everything here; `None` while it is off.
    pub(crate) unsealed: Option<Bridge>,
    /// True once somebody has claimed the local page, and where there is none: locks are let in.
    pub(crate) claimed: watch::Receiver<bool>,
    /// True from when on there is a link to the broker.
    pub(crate) owned: watch::Receiver<bool>,
    /// What the radios say of themselves; `None` while they are off.
    pub(crate) lora_counters: Option<watch::Receiver<cardea_lora::network::Counters>>,
    pub(crate) zigbee_counters: Option<watch::Receiver<cardea_zigbee::driver::Counters>>,
    pub(crate) subghz_counters: Option<watch::Receiver<cardea_subghz::network::Counters>>,
    /// Answers what is none of the relay's business.
    pub(crate) desk: Arc<Desk>,
}

/// What reaches the loop.
pub(crate) struct Inputs {
    pub(crate) parts: mpsc::Receiver<Part>,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) replies: mpsc::UnboundedReceiver<StoreReply>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The writer of the database is gone; without it nothing may be promised to any lock.
    #[error("the store's writer has died")]
    Store,
}

pub(crate) struct RelayLoop {
    relay: Relay,
    facts: Facts,
    clock: Clock,
    wall: WallClock,
    store: Store,
    radios: Vec<Radio>,
    upstream: Option<Handle>,
    /// The link's state, kept when the link has died.
    upstream_status: watch::Receiver<cardea_upstream::Status>,
    upstream_connected: bool,
    waiting: BTreeMap<u64, Waiting>,
    guests: guests::Guests,
    next_token: u64,
    /// Which radio is polled first, so that none starves the others.
    first: usize,
}

/// One driver's place.
struct Radio {
    end: Option<GatewayEnd>,
    /// Commands that must not be lost and found no room.
    late: VecDeque<Command>,
    starts: u64,
}

/// Who waits for an admin verb.
enum Waiting {
    Operator(oneshot::Sender<Result<Reply, String>>, Reply),
    Shutdown,
}

/// Something happened.
enum Happening {
    Radio(RadioId, Option<Event>),
    Upstream(Option<UpstreamEvent>),
    Stored(StoreReply),
    Part(Part),
    Ask(Ask),
    Timer,
    Tick,
    Stop,
}

impl RelayLoop {
    pub(crate) fn new(relay: Relay, facts: Facts, clock: Clock, wall: WallClock, store: Store) -> Self {
        let radios =
            facts.radios.iter().map(|_| Radio { end: None, late: VecDeque::new(), starts: 0 }).collect();
        let (_, upstream_status) = watch::channel(cardea_upstream::Status::default());
        Self {
            relay,
            facts,
            clock,
            wall,
            store,
            radios,
            upstream: None,
            upstream_status,
            upstream_connected: false,
            waiting: BTreeMap::new(),
            guests: guests::Guests::default(),
            next_token: 0,
            first: 0,
        }
    }

    /// Runs until the daemon is told to stop, then says goodbye to everyone.
    pub(crate) async fn run(mut self, mut inputs: Inputs) -> Result<(), Ended> {
        let mut tick = tokio::time::interval(service::watchdog_interval().unwrap_or(Duration::from_secs(10)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Every part announces itself when it is first started. What an operator asks waits for that: a radio that is
        // about to run would be called one that does not.
        for _ in 0..=self.radios.len() {
            let Some(part) = inputs.parts.recv().await else { break };
            self.part(part);
        }
        loop {
            match self.next(&mut inputs, &mut tick).await {
                Happening::Stop => return self.goodbye(inputs, tick).await,
                other => self.take(other)?,
            };
        }
    }

    async fn next(&mut self, inputs: &mut Inputs, tick: &mut tokio::time::Interval) -> Happening {
        let due = self.relay.poll_timeout().map(|at| self.clock.instant(at));
        let first = self.first;
        self.first = self.first.wrapping_add(1);
        let (radios, upstream) = (&mut self.radios, &mut self.upstream);
        tokio::select! {
            (id, event) = std::future::poll_fn(|cx| poll_radios(radios, first, cx)) => Happening::Radio(id, event),
            event = from_upstream(upstream) => Happening::Upstream(event),
            Some(reply) = inputs.replies.recv() => Happening::Stored(reply),
            Some(part) = inputs.parts.recv() => Happening::Part(part),
            Some(ask) = inputs.asks.recv() => Happening::Ask(ask),
            () = sleep_until(due) => Happening::Timer,
            _ = tick.tick() => Happening::Tick,
            Ok(_) = inputs.stop.wait_for(|stop| *stop) => Happening::Stop,
        }
    }

    /// Takes what happened; true when the goodbye is done.
    fn take(&mut self, happening: Happening) -> Result<bool, Ended> {
        let mut done = false;
        match happening {
            Happening::Radio(radio, Some(event)) => done |= self.input(Input::Radio { radio, event }),
            Happening::Radio(radio, None) => self.detach(radio, None),
            Happening::Upstream(Some(event)) => done |= self.upstream(event),
            Happening::Upstream(None) => {
                self.upstream = None;
                if self.upstream_connected {
                    done |= self.upstream(UpstreamEvent::Disconnected);
                }
            }
            Happening::Stored(reply) => done |= self.input(Input::Stored(reply)),
            Happening::Part(part) => self.part(part),
            Happening::Ask(ask) => self.ask(ask),
            Happening::Timer => done |= self.input(Input::Timer),
            Happening::Tick => {
                if !self.store.is_alive() {
                    return Err(Ended::Store);
                }
                service::turned(self.store.busy_for(), &self.one_line());
                self.retry_late();
            }
            Happening::Stop => {}
        }
        Ok(done)
    }

    fn upstream(&mut self, event: UpstreamEvent) -> bool {
        match &event {
            UpstreamEvent::Connected => self.upstream_connected = true,
            UpstreamEvent::Disconnected => self.upstream_connected = false,
            UpstreamEvent::Refused { reason, .. } => {
                tracing::warn!(reason, "the broker will not take a message")
            }
            _ => {}
        }
        self.input(Input::Upstream(event))
    }

    /// Gives the relay an input and does what it wants; true when the goodbye is done.
    fn input(&mut self, input: Input) -> bool {
        let mut done = false;
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.relay.handle(self.clock.now(), self.wall.now(), input);
            while let Some(action) = self.relay.poll_action() {
                match action {
                    Action::Radio { radio, command } => {
                        inputs
                            .extend(self.command(radio, command).map(|event| Input::Radio { radio, event }));
                    }
                    Action::Publish(publish) => {
                        if let Some(upstream) = &self.upstream {
                            upstream.publish(publish);
                        }
                    }
                    Action::Ack(ack) => {
                        if let Some(upstream) = &self.upstream {
                            upstream.ack(ack);
                        }
                    }
                    Action::Store(op) => self.store.submit(op),
                    Action::Peer(action) => self.guests.tell(action),
                    Action::Admin(reply) => match self.waiting.remove(&reply.token) {
                        Some(Waiting::Operator(operator, good)) => {
                            let _ = operator.send(reply.result.map(|()| good));
                        }
                        Some(Waiting::Shutdown) => done = true,
                        None => {}
                    },
                }
            }
        }
        done
    }

    /// Gives a driver a command. What it cannot take is answered in its stead.
    fn command(&mut self, id: RadioId, command: Command) -> Option<Event> {
        self.retry_late();
        let radio = self.radios.get_mut(usize::from(id.0))?;
        let Some(end) = &radio.end else {
            return radio.keep_or_answer(
                command,
                Failure::NoRadio.into_outcome(),
                "this radio is not running",
            );
        };
        if !radio.late.is_empty() {
            return radio.keep_or_answer(command, Outcome::Refused(Refusal::Busy), "this radio is busy");
        }
        match end.commands.try_send(command) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(command)) => {
                radio.keep_or_answer(command, Outcome::Refused(Refusal::Busy), "this radio is busy")
            }
            Err(mpsc::error::TrySendError::Closed(command)) => {
                radio.keep_or_answer(command, Failure::NoRadio.into_outcome(), "this radio is not running")
            }
        }
    }

    fn retry_late(&mut self) {
        for radio in &mut self.radios {
            let Some(end) = &radio.end else { continue };
            while let Some(command) = radio.late.pop_front() {
                if let Err(error) = end.commands.try_send(command) {
                    radio.late.push_front(error.into_inner());
                    break;
                }
            }
        }
    }

    fn part(&mut self, part: Part) {
        match part {
            Part::Radio(id, end) => {
                self.detach(id, None);
                if let Some(radio) = self.radios.get_mut(usize::from(id.0)) {
                    radio.end = Some(end);
                    radio.starts += 1;
                }
                self.retry_late();
            }
            Part::RadioLost(id, why) => self.detach(id, Some(why)),
            Part::Upstream(handle) => {
                self.upstream_status = handle.status();
                self.upstream = Some(handle);
            }
        }
    }

    /// A driver is gone: takes what it still said, and says that it is down.
    fn detach(&mut self, id: RadioId, why: Option<String>) {
        let end = self.radios.get_mut(usize::from(id.0)).and_then(|r| r.end.take());
        if let Some(mut end) = end {
            while let Ok(event) = end.events.try_recv() {
                self.input(Input::Radio { radio: id, event });
            }
        } else if why.is_none() {
            return;
        }
        let detail = why.unwrap_or_else(|| "the driver ended".into());
        self.input(Input::Radio { radio: id, event: Event::Health(Health { up: false, detail }) });
    }

    /// Leaves in good order: `offline` is published, what was held is committed, radios persist their counters.
    async fn goodbye(mut self, mut inputs: Inputs, mut tick: tokio::time::Interval) -> Result<(), Ended> {
        service::stopping();
        tracing::info!("stopping");
        inputs.asks.close();
        let (_never, stop) = watch::channel(false);
        inputs.stop = stop;
        let end = Instant::now() + GOODBYE;
        let mut done = self.admin(Admin::Shutdown, Waiting::Shutdown);
        while !done {
            match tokio::time::timeout_at(end, self.next(&mut inputs, &mut tick)).await {
                Ok(happening) => done = self.take(happening)?,
                Err(_) => {
                    tracing::warn!("the broker or the disk took too long to say goodbye");
                    break;
                }
            }
        }
        // The link says DISCONNECT when its handle goes, so that the last will stays unspoken.
        self.upstream = None;
        let stops = self.radios.iter_mut().filter_map(|radio| radio.end.take()).map(stop_driver);
        for stopped in stops.map(tokio::spawn).collect::<Vec<_>>() {
            let _ = stopped.await;
        }
        Ok(())
    }
}

impl Radio {
    /// Keeps a command that must not be lost, or answers one that has an answer for being too late.
    fn keep_or_answer(&mut self, command: Command, outcome: Outcome, why: &str) -> Option<Event> {
        match command {
            Command::Send(send) => Some(Event::Outcome { handle: send.handle, outcome }),
            Command::Admit(admission) => {
                Some(Event::Admitted { lock: admission.lock, result: Err(why.into()) })
            }
            // Nothing is waiting in a driver that is not there or takes nothing.
            Command::Cancel { .. } => None,
            Command::Remove(_) | Command::Stop => {
                self.late.push_back(command);
                None
            }
        }
    }
}

trait IntoOutcome {
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for Failure {
    fn into_outcome(self) -> Outcome {
        Outcome::Failed(self)
    }
}

/// Tells a driver to stop and listens until it has.
async fn stop_driver(mut end: GatewayEnd) {
    let stopped = async {
        if end.commands.send(Command::Stop).await.is_ok() {
            while end.events.recv().await.is_some() {}
        }
    };
    if tokio::time::timeout(STOP, stopped).await.is_err() {
        tracing::warn!("a radio took too long to stop");
    }
}

fn poll_radios(radios: &mut [Radio], first: usize, cx: &mut Context<'_>) -> Poll<(RadioId, Option<Event>)> {
    let count = radios.len();
    for step in 0..count {
        let place = first.wrapping_add(step) % count;
        let Some(end) = radios.get_mut(place).and_then(|radio| radio.end.as_mut()) else { continue };
        if let Poll::Ready(event) = end.events.poll_recv(cx) {
            return Poll::Ready((RadioId(u16::try_from(place).unwrap_or(u16::MAX)), event));
        }
    }
    Poll::Pending
}

async fn from_upstream(upstream: &mut Option<Handle>) -> Option<UpstreamEvent> {
    match upstream {
        Some(handle) => handle.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
