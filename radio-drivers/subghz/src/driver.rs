//! The shell around [`Network`]: a thread that owns network and chip, and a task that brings it the gateway's words and the
//! store's. It decides nothing.
//!
//! The link layer is on the chip's thread, since a lock waits 30 ms for an acknowledgement and 1.5 ms for the next strobe, and the
//! daemon's own threads may be busy for longer.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use cardea_radio::{Change, Command, DriverEnd, Event, NetworkStore, NetworkStoreError};
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use crate::Micros;
use crate::device::{self, Module, Opened, Setting};
use crate::engine::{self, counters, turn};
use crate::network::{Counters, Epoch, Network, NetworkConfig, RecordError, Seeds};
use crate::port::Port;

/// Events that wait between the thread and the task.
const CHANNEL: usize = 256;
/// The longest that the thread sleeps.
const LONGEST: Duration = Duration::from_millis(500);
/// Between two attempts to open the device: from, to.
const REOPEN_US: (Micros, Micros) = (500_000, 10_000_000);
/// A chip that hears nothing for so long is reset to be sure that it is not deaf.
const SILENCE_US: Micros = 900_000_000;
/// Between two publications of the counters.
const COUNT_US: Micros = 500_000;
/// How long [`Command::Stop`] waits for the thread.
const STOP: Duration = Duration::from_secs(3);

/// Why the driver ended.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The network store cannot be read.
    #[error(transparent)]
    Store(#[from] NetworkStoreError),
    /// The system has no thread, or nothing to wake it by, or no random bytes.
    #[error("433 MHz: {0}")]
    System(io::Error),
    /// The thread ended, which it never should.
    #[error("the 433 MHz radio's thread ended")]
    Thread,
}

/// What the operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverConfig {
    /// What module there is, and where.
    pub module: Module,
    /// The network.
    pub network: NetworkConfig,
}

/// What the thread is told.
enum Order {
    Command(Command),
    Stored(u64, Result<(), NetworkStoreError>),
}

/// Tells the thread, and wakes it.
#[derive(Clone)]
struct Orders {
    orders: std_mpsc::Sender<Order>,
    wake: Arc<OwnedFd>,
}

impl Orders {
    fn give(&self, order: Order) {
        // A thread that is gone is noticed by its silence.
        let _ = self.orders.send(order);
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

/// Runs a 433 MHz network on a module until [`Command::Stop`], or until the gateway drops its end. What was not carried is told in
/// `told` as it is counted, from zero at each start.
///
/// # Errors
/// When it cannot start, or its thread ends. An absent module is neither: it is waited for.
pub async fn run(
    config: DriverConfig,
    end: DriverEnd,
    told: watch::Sender<Counters>,
) -> Result<(), DriverError> {
    let DriverEnd { mut commands, events, clock, store } = end;
    let records = {
        let store = store.clone();
        tokio::task::spawn_blocking(move || store.load())
            .await
            .map_err(|error| NetworkStoreError(error.to_string()))??
    };
    let epoch = Epoch { us: device::now(), ms: clock.now() };
    let network = Network::new(config.network, &seeds()?, records, epoch, device::now())?;
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|error| DriverError::System(error.into()))?;
    let wake = Arc::new(wake);
    let (order, orders) = std_mpsc::channel();
    let give = Orders { orders: order, wake: wake.clone() };
    let (tell, mut hear) = mpsc::channel(CHANNEL);
    let (commit, mut commits) = mpsc::unbounded_channel();
    let radio = Radio { config, network, orders, wake, tell, commit, told };
    let thread = std::thread::Builder::new()
        .name("subghz".into())
        .spawn(move || {
            crate::urgency::hurry();
            radio.run();
        })
        .map_err(DriverError::System)?;
    // An event that did not find room in the channel yet.
    let mut waiting = None;
    loop {
        tokio::select! {
            biased;
            permit = events.reserve(), if waiting.is_some() => {
                let Ok(permit) = permit else { break };
                if let Some(event) = waiting.take() {
                    permit.send(event);
                }
            }
            heard = commits.recv() => match heard {
                Some((id, batch)) => commit_on(&store, id, batch, give.clone()),
                None => return Err(DriverError::Thread),
            },
            heard = hear.recv(), if waiting.is_none() => match heard {
                Some(event) => waiting = Some(event),
                None => return Err(DriverError::Thread),
            },
            command = commands.recv() => match command {
                Some(Command::Stop) | None => break,
                Some(command) => give.give(Order::Command(command)),
            },
        }
    }
    // Without orders it ends; it has stored what must survive.
    let wake = give.wake.clone();
    drop(give);
    let _ = rustix::io::write(&*wake, &1_u64.to_ne_bytes());
    let joined = tokio::task::spawn_blocking(move || thread.join());
    if tokio::time::timeout(STOP, joined).await.is_err() {
        tracing::warn!("the 433 MHz radio took too long to stop");
    }
    Ok(())
}

fn commit_on(store: &Arc<dyn NetworkStore>, id: u64, batch: Vec<Change>, give: Orders) {
    let done = store.commit(batch);
    tokio::spawn(async move {
        let gone = || Err(NetworkStoreError("the writer is gone".into()));
        give.give(Order::Stored(id, done.await.unwrap_or_else(|_| gone())));
    });
}

fn seeds() -> Result<Seeds, DriverError> {
    let (mut seeds, mut rest) = (Seeds { key: [0; 16], id: 0, backoff: 0 }, [0; 5]);
    let no_random = |error: getrandom::Error| DriverError::System(io::Error::other(error.to_string()));
    getrandom::fill(&mut seeds.key).map_err(no_random)?;
    getrandom::fill(&mut rest).map_err(no_random)?;
    let [id, backoff @ ..] = rest;
    // 0 and 255 are nobody's.
    (seeds.id, seeds.backoff) = (1 + id % 254, u32::from_be_bytes(backoff));
    Ok(seeds)
}

/// What the thread owns.
struct Radio {
    config: DriverConfig,
    network: Network,
    orders: std_mpsc::Receiver<Order>,
    wake: Arc<OwnedFd>,
    tell: mpsc::Sender<Event>,
    commit: mpsc::UnboundedSender<(u64, Vec<Change>)>,
    told: watch::Sender<Counters>,
}

/// The gateway is gone, or has said stop.
struct Over;

impl Radio {
    fn run(mut self) {
        let mut backoff = REOPEN_US.0;
        let NetworkConfig { profile, region, .. } = self.config.network;
        let setting = Setting { profile, region, silence_us: SILENCE_US };
        loop {
            let opened = device::now();
            let error = match device::open(&self.config.module, setting) {
                Ok(opened) => match self.session(opened) {
                    Ok(Over) => return,
                    Err(error) => format!("{}: {error}", self.config.module.named().place),
                },
                Err(error) => error.to_string(),
            };
            if device::now() - opened > REOPEN_US.1 {
                backoff = REOPEN_US.0;
            }
            tracing::warn!(error, retry_ms = backoff / 1_000, "the 433 MHz radio is not there");
            let detail = format!("{error}: look at the module, and whether this user may open it");
            self.network.handle_radio(Err(detail));
            if self.without(device::now() + backoff).is_err() {
                return;
            }
            backoff = (backoff * 2).min(REOPEN_US.1);
        }
    }

    /// While there is no radio, until then.
    fn without(&mut self, until: Micros) -> Result<(), Over> {
        loop {
            self.take_orders()?;
            let now = device::now();
            self.network.handle_timeout(now);
            let counted = self.network.counters(now);
            self.give(counted);
            if now >= until {
                return Ok(());
            }
            let next = self.network.poll_timeout(now).unwrap_or(Micros::MAX).min(until);
            // Nothing but commands come, and a wait that fails must not spin.
            if device::wait([self.wake.as_fd()], pause(next.max(now + 1_000), now)).is_err() {
                std::thread::sleep(Duration::from_millis(10));
            }
            self.woken();
        }
    }

    /// With a radio, until it is gone.
    fn session(&mut self, Opened { radio, mut lines }: Opened) -> io::Result<Over> {
        let named = self.config.module.named();
        let mut port = Port::new(radio, self.config.network.profile, device::now());
        let mut count_at = 0;
        loop {
            if self.take_orders().is_err() {
                return Ok(Over);
            }
            turn(&mut self.network, &mut port, &named, &mut device::now);
            let now = device::now();
            let counted = if now >= count_at {
                count_at = now + COUNT_US;
                Some(counters(&mut self.network, &port, now))
            } else {
                None
            };
            self.give_all(counted);
            let next = engine::due(&mut self.network, &port, now);
            lines.wait(self.wake.as_fd(), pause(next, now))?;
            self.woken();
            for edge in lines.edges()? {
                port.handle_edge(edge.at, edge.line, edge.high);
            }
        }
    }

    fn take_orders(&mut self) -> Result<(), Over> {
        loop {
            let now = device::now();
            match self.orders.try_recv() {
                Ok(Order::Command(command)) => self.network.handle_command(now, command),
                Ok(Order::Stored(commit, result)) => self.network.handle_stored(now, commit, result),
                Err(std_mpsc::TryRecvError::Empty) => return Ok(()),
                Err(std_mpsc::TryRecvError::Disconnected) => return Err(Over),
            }
        }
    }

    fn give(&mut self, counters: Counters) {
        self.give_all(Some(counters));
    }

    fn give_all(&mut self, counters: Option<Counters>) {
        while let Some(commit) = self.network.poll_commit() {
            // The task is gone: so is this thread, in a moment.
            let _ = self.commit.send(commit);
        }
        while let Some(event) = self.network.poll_event() {
            match self.tell.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event) | TrySendError::Closed(event)) => {
                    self.network.unpoll_event(event);
                    break;
                }
            }
        }
        if let Some(counters) = counters {
            self.told.send_if_modified(|told| std::mem::replace(told, counters) != counters);
        }
    }

    fn woken(&self) {
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
    }
}

fn pause(next: Micros, now: Micros) -> Duration {
    Duration::from_micros(next.saturating_sub(now)).min(LONGEST)
}
