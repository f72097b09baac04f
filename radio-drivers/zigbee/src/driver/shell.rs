//! The tokio shell around [`Driver`]: a coordinator's task, a clock, a store and channels. It decides nothing.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cardea_radio::{Command, DriverEnd, NetworkStore, NetworkStoreError};
use serial2_tokio::{SerialPort, Settings};
use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::ordinary::{Errand, Notice, OrdinaryEnd};
use super::{
    Counters, Driver, DriverConfig, ENDPOINT, Kept, NetworkDone, NetworkOrder, RecordError, WallSource,
};
use crate::coordinator::{Coordinator, CoordinatorEnd, HostConfig, Order};
use crate::descriptors::{Clusters, SimpleDescriptor};
use crate::external::{External, Program};
use crate::tunnel::Tunnel;
use crate::zcl::id;
use crate::{ezsp, zboss};

pub use serial2_tokio::FlowControl;

/// Orders and events between driver and coordinator.
const CHANNEL: usize = 64;
/// What may wait for gateway and coordinator before nothing more is read: the gateway is behind.
const MAX_BACKLOG: usize = 2_048;
/// How long [`Command::Stop`] waits for the last records and for the port.
const STOP: Duration = Duration::from_secs(3);
/// End devices that may be children of the dongle itself.
const MAX_CHILDREN: u8 = 32;

/// Why the driver ended.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The network store cannot be read.
    #[error(transparent)]
    Store(#[from] NetworkStoreError),
    /// The coordinator's task ended, which it never should.
    #[error("the Zigbee coordinator ended: {0}")]
    Coordinator(String),
}

/// A serial port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serial {
    /// By a name that stays: `/dev/serial/by-id/…`.
    pub device: PathBuf,
    /// Baud; means nothing on USB.
    pub baud: u32,
    /// What both ends do when one is behind.
    pub flow: FlowControl,
}

impl Serial {
    /// Opens it: eight bits, no parity, one stop bit.
    ///
    /// # Errors
    /// The system's.
    pub fn open(&self) -> io::Result<SerialPort> {
        SerialPort::open(&self.device, |mut settings: Settings| {
            settings.set_raw();
            settings.set_baud_rate(self.baud)?;
            settings.set_flow_control(self.flow);
            Ok(settings)
        })
    }
}

/// Whose firmware a dongle has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Family {
    /// ZBOSS NCP.
    Zboss,
    /// Silicon Labs EmberZNet NCP.
    Ezsp,
    /// ZBOSS NCP, by the vendor's host library in a program of its own.
    ZbossHost(Program),
}

/// A dongle of any family on a serial port.
#[derive(Debug, Clone)]
pub struct Dongle {
    /// Where it is.
    pub serial: Serial,
    /// What it speaks.
    pub family: Family,
    /// What devices find when they look for us.
    pub host: HostConfig,
}

impl Dongle {
    /// A dongle whose endpoint is the client of this tunnel; and of what ordinary locks have, and the server of what they ask, if
    /// there may be any.
    #[must_use]
    pub fn new(serial: Serial, family: Family, tunnel: Tunnel, ordinary: bool) -> Self {
        let mut clients = vec![tunnel.cluster];
        if ordinary {
            clients.extend([id::BASIC, id::POWER, id::ALARMS, id::DOOR_LOCK]);
        }
        let servers = if ordinary { vec![id::TIME, id::OTA] } else { Vec::new() };
        let clusters = Clusters { servers, clients };
        // 0x0005: a configuration tool, the nearest that home automation has to a gateway without appliances.
        let endpoint =
            SimpleDescriptor { endpoint: ENDPOINT, profile: 0x0104, device: 0x0005, version: 0, clusters };
        let host = HostConfig { endpoint, manufacturer: tunnel.manufacturer, max_children: MAX_CHILDREN };
        Self { serial, family, host }
    }
}

impl Coordinator for Dongle {
    async fn run(self, end: CoordinatorEnd) {
        let Self { serial, family, host } = self;
        match family {
            Family::Zboss => zboss::drive(|| serial.open(), host, end).await,
            Family::Ezsp => ezsp::drive(|| serial.open(), host, end).await,
            // The library opens the port itself, and has its own mind about baud and flow control.
            Family::ZbossHost(program) => External { program, device: serial.device, host }.run(end).await,
        }
    }
}

type Waiting = oneshot::Sender<Result<NetworkDone, String>>;

/// Where an operator gives orders to a driver. Copies give to the same one, however often it is started.
#[derive(Clone)]
pub struct NetworkOrders(mpsc::Sender<(NetworkOrder, Waiting)>);

/// The other end of [`NetworkOrders`]; one driver at a time reads it.
#[derive(Clone)]
pub struct Desk(Arc<Mutex<mpsc::Receiver<(NetworkOrder, Waiting)>>>);

/// Makes both.
#[must_use]
pub fn network_orders() -> (NetworkOrders, Desk) {
    let (give, take) = mpsc::channel(1);
    (NetworkOrders(give), Desk(Arc::new(Mutex::new(take))))
}

impl NetworkOrders {
    /// Gives an order and waits for what becomes of it: a minute or two.
    ///
    /// # Errors
    /// Words for the operator.
    pub async fn give(&self, order: NetworkOrder) -> Result<NetworkDone, String> {
        let (waiting, answer) = oneshot::channel();
        self.0
            .try_send((order, waiting))
            .map_err(|_| "the radio is busy or not running, see `cardea status`")?;
        answer.await.map_err(|_| "the radio ended meanwhile, see `cardea status`")?
    }
}

/// What the gateway has the other ends of, beside the radio contract. Copies are of the same.
#[derive(Clone)]
pub struct Ends {
    /// Where an operator's orders arrive.
    pub desk: Desk,
    /// What was not carried, as it is counted; from zero at each start.
    pub counters: watch::Sender<Counters>,
    /// The backup that is kept, as it changes.
    pub kept: watch::Sender<Option<Kept>>,
    /// Errands for ordinary locks, and words about them, if there may be any.
    pub ordinary: Option<OrdinaryEnd>,
    /// What time of day it is.
    pub wall: WallSource,
}

/// Runs a Zigbee network on a coordinator until [`Command::Stop`], or until the gateway drops its end.
///
/// # Errors
/// When it cannot start, or the coordinator's task ends. An absent dongle is neither: the coordinator waits for it.
pub async fn run<C: Coordinator>(
    coordinator: C,
    config: DriverConfig,
    end: DriverEnd,
    ends: Ends,
) -> Result<(), DriverError> {
    let DriverEnd { mut commands, events, clock, store } = end;
    let Ends { desk, counters, kept, ordinary, wall } = ends;
    let records = {
        let store = store.clone();
        tokio::task::spawn_blocking(move || store.load())
            .await
            .map_err(|error| NetworkStoreError(error.to_string()))??
    };
    let mut driver = Driver::new(config, records)?;
    let mut desk = desk.0.lock().await;
    let mut errands = errands(ordinary.as_ref()).await;
    let (orders, order_queue) = mpsc::channel(CHANNEL);
    let (event_queue, mut coordinator_events) = mpsc::channel(CHANNEL);
    let coordinator_end =
        CoordinatorEnd { orders: order_queue, events: event_queue, clock, expected: driver.expected() };
    // Dropped with this future, and with it the port.
    let mut task = JoinSet::new();
    task.spawn(coordinator.run(coordinator_end));
    let (stored_tx, mut stored_rx) = mpsc::unbounded_channel();
    let mut operators = BTreeMap::new();
    let mut next_token = 0_u64;
    // An event that did not find room in the channel yet, and a word of ordinary locks.
    let (mut waiting, mut notice) = (None, ordinary.as_ref().map(|_| Notice::Started));
    loop {
        let now = clock.now();
        if driver.poll_timeout().is_some_and(|at| at <= now) {
            driver.handle_timeout(now);
        }
        while let Some((commit, batch)) = driver.poll_commit() {
            let (done, stored) = (store.commit(batch), stored_tx.clone());
            tokio::spawn(async move {
                let gone = || Err(NetworkStoreError("the writer is gone".into()));
                // Nobody listens any more once the driver has stopped.
                let _ = stored.send((commit, done.await.unwrap_or_else(|_| gone())));
            });
        }
        while let Some((token, reply)) = driver.poll_reply() {
            if let Some(operator) = operators.remove(&token) {
                // The operator may have gone.
                let _: Result<(), _> = Waiting::send(operator, reply);
            }
        }
        counters.send_if_modified(|told| std::mem::replace(told, driver.counters()) != *told);
        kept.send_if_modified(|told| std::mem::replace(told, driver.kept()) != *told);
        waiting = waiting.or_else(|| driver.poll_event());
        notice = notice.or_else(|| driver.poll_notice());
        let behind = driver.backlog() >= MAX_BACKLOG;
        let timeout = driver.poll_timeout().map(|at| clock.instant(at));
        tokio::select! {
            biased;
            Some((commit, result)) = stored_rx.recv() => driver.handle_stored(clock.now(), commit, result),
            permit = events.reserve(), if waiting.is_some() => {
                let Ok(permit) = permit else { break };
                if let Some(event) = waiting.take() {
                    permit.send(event);
                }
            }
            Some(permit) = room(ordinary.as_ref()), if notice.is_some() => {
                if let Some(notice) = notice.take() {
                    permit.send(notice);
                }
            }
            permit = orders.reserve(), if driver.has_orders() => {
                let Ok(permit) = permit else { return Err(ended(&mut task).await) };
                if let Some(order) = driver.poll_order() {
                    permit.send(order);
                }
            }
            command = commands.recv(), if !behind => match command {
                Some(Command::Stop) | None => break,
                Some(command) => driver.handle_command(clock.now(), command),
            },
            Some((order, operator)) = desk.recv(), if !behind => {
                next_token += 1;
                operators.insert(next_token, operator);
                driver.handle_order(clock.now(), next_token, order);
            }
            Some(errand) = next_errand(&mut errands), if !behind => driver.handle_errand(clock.now(), errand),
            event = coordinator_events.recv(), if !behind => match event {
                Some(event) => {
                    driver.handle_wall(wall());
                    driver.handle_event(clock.now(), event);
                }
                None => return Err(ended(&mut task).await),
            },
            () = sleep_until(timeout) => driver.handle_timeout(clock.now()),
        }
    }
    let last = async {
        store_rest(&mut driver, &store, &mut stored_rx, || clock.now()).await;
        // The port is released in good order, so that the dongle is not left in the middle of a frame. A coordinator that
        // waits for us to take an event must not wait for that.
        drop(coordinator_events);
        if orders.send(Order::Stop).await.is_ok() {
            task.join_next().await;
        }
    };
    if tokio::time::timeout(STOP, last).await.is_err() {
        tracing::warn!("the Zigbee radio took too long to stop");
    }
    Ok(())
}

/// Waits for what is being stored, and stores what is not.
async fn store_rest(
    driver: &mut Driver,
    store: &Arc<dyn NetworkStore>,
    stored: &mut mpsc::UnboundedReceiver<(u64, Result<(), NetworkStoreError>)>,
    now: impl Fn() -> cardea_radio::Millis,
) {
    while driver.has_commits() {
        let (commit, result) = match driver.poll_commit() {
            Some((commit, batch)) => {
                let gone = || Err(NetworkStoreError("the writer is gone".into()));
                (commit, store.commit(batch).await.unwrap_or_else(|_| gone()))
            }
            None => match stored.recv().await {
                Some(answer) => answer,
                None => return,
            },
        };
        let failed = result.is_err();
        driver.handle_stored(now(), commit, result);
        if failed {
            tracing::warn!("the last records of the Zigbee network could not be stored");
            return;
        }
    }
}

type Errands<'a> = MutexGuard<'a, mpsc::Receiver<Errand>>;

/// The errands for ordinary locks, while this driver has them. What was wanted before it was there is not done any more: nobody
/// knows how long it has waited.
async fn errands(end: Option<&OrdinaryEnd>) -> Option<Errands<'_>> {
    let mut errands = end?.errands.lock().await;
    while errands.try_recv().is_ok() {}
    Some(errands)
}

async fn next_errand(errands: &mut Option<Errands<'_>>) -> Option<Errand> {
    match errands {
        Some(errands) => errands.recv().await,
        None => None,
    }
}

async fn room(end: Option<&OrdinaryEnd>) -> Option<mpsc::Permit<'_, Notice>> {
    match end {
        Some(end) => end.notices.reserve().await.ok(),
        None => None,
    }
}

async fn ended(task: &mut JoinSet<()>) -> DriverError {
    DriverError::Coordinator(match task.join_next().await {
        Some(Err(error)) => error.to_string(),
        Some(Ok(())) | None => "without a word".into(),
    })
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
