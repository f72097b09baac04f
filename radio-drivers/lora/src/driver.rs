//! The tokio shell around [`Network`]: a socket, a clock, a store and two channels. It decides nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cardea_radio::{Clock, Command, DriverEnd, NetworkStore, NetworkStoreError};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use crate::config::LoraConfig;
use crate::network::{Counters, Network, NetworkError, Wall};

/// Why the driver ended.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    /// The network cannot start.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The network store cannot be read.
    #[error(transparent)]
    Store(#[from] NetworkStoreError),
    /// The UDP socket cannot be opened.
    #[error("LoRaWAN: cannot listen on {address} for a packet forwarder: {error}")]
    Bind {
        /// [`LoraConfig::bind`].
        address: std::net::SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The UDP socket failed.
    #[error("LoRaWAN: packet-forwarder socket: {0}")]
    Socket(#[from] io::Error),
}

/// Where the driver learns the time of day, and whether it is right.
pub type WallClock = Arc<dyn Fn() -> Wall + Send + Sync>;

/// How long [`Command::Stop`] waits for the last counters to be stored.
const LAST_COMMIT: Duration = Duration::from_secs(3);

/// Runs a LoRaWAN network until [`Command::Stop`], or until the gateway drops its end.
///
/// Devices that ask for the time (DeviceTimeReq) get no answer; see [`run_on`] for a daemon that knows its clock.
///
/// # Errors
/// When it cannot start, or its socket fails. The supervisor opens it again.
pub async fn run(config: LoraConfig, end: DriverEnd) -> Result<(), LoraError> {
    let address = config.bind;
    let socket = UdpSocket::bind(address).await.map_err(|error| LoraError::Bind { address, error })?;
    run_on(socket, config, end, Arc::new(Wall::default)).await
}

/// [`run`] on a socket that is already bound, with a clock for DeviceTimeAns.
///
/// # Errors
/// As [`run`].
pub async fn run_on(
    socket: UdpSocket,
    config: LoraConfig,
    end: DriverEnd,
    wall: WallClock,
) -> Result<(), LoraError> {
    run_counted(socket, config, end, wall, watch::Sender::new(Counters::default())).await
}

/// [`run_on`], and what was ignored is told in `counters` as it is counted, from zero at each start.
///
/// # Errors
/// As [`run`].
pub async fn run_counted(
    socket: UdpSocket,
    config: LoraConfig,
    end: DriverEnd,
    wall: WallClock,
    counters: watch::Sender<Counters>,
) -> Result<(), LoraError> {
    let DriverEnd { mut commands, events, clock, store } = end;
    let records = {
        let store = store.clone();
        tokio::task::spawn_blocking(move || store.load())
            .await
            .map_err(|e| NetworkStoreError(e.to_string()))??
    };
    let mut network = Network::new(config, records)?;
    let (stored_tx, mut stored_rx) = mpsc::unbounded_channel();
    let mut buffer = vec![0; 65_536];
    // An event that did not find room in the channel yet.
    let mut waiting = None;
    loop {
        // Before anything else: whoever floods the socket must not keep the timers from their turn.
        let now = clock.now();
        if network.poll_timeout().is_some_and(|at| at <= now) {
            network.handle_timeout(now);
        }
        flush(&mut network, &socket, &store, &stored_tx).await;
        counters.send_if_modified(|told| std::mem::replace(told, network.counters_at(clock.now())) != *told);
        waiting = waiting.or_else(|| network.poll_event());
        let timeout = network.poll_timeout().map(|at| clock.instant(at));
        tokio::select! {
            biased;
            Some((commit, result)) = stored_rx.recv() => network.handle_stored(clock.now(), commit, result),
            permit = events.reserve(), if waiting.is_some() => {
                let Ok(permit) = permit else { return stop(network, &store, clock).await };
                if let Some(event) = waiting.take() {
                    permit.send(event);
                }
            }
            command = commands.recv() => match command {
                Some(Command::Stop) | None => return stop(network, &store, clock).await,
                Some(command) => network.handle_command(clock.now(), command),
            },
            received = socket.recv_from(&mut buffer) => match received {
                Ok((len, from)) => {
                    let datagram = buffer.get(..len).unwrap_or_default();
                    network.handle_datagram(clock.now(), wall(), from, datagram);
                }
                // The forwarder's port was closed when we answered it: it restarts, the socket is fine.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.into()),
            },
            () = sleep_until(timeout) => network.handle_timeout(clock.now()),
        }
    }
}

/// Carries out what the network wants done, except for events.
async fn flush(
    network: &mut Network,
    socket: &UdpSocket,
    store: &Arc<dyn NetworkStore>,
    stored: &mpsc::UnboundedSender<(u64, Result<(), NetworkStoreError>)>,
) {
    while let Some((address, datagram)) = network.poll_transmit() {
        if let Err(error) = socket.send_to(&datagram, address).await {
            // The missing TX_ACK tells the network; a missing PUSH_ACK costs the forwarder a statistic.
            tracing::warn!(%address, %error, "to the packet forwarder");
        }
    }
    while let Some((commit, batch)) = network.poll_commit() {
        let (done, stored) = (store.commit(batch), stored.clone());
        tokio::spawn(async move {
            let result = done.await.unwrap_or_else(|_| Err(NetworkStoreError("the writer is gone".into())));
            // Nobody listens any more once the driver has stopped.
            let _ = stored.send((commit, result));
        });
    }
}

/// Stores the counters that were not due yet.
async fn stop(mut network: Network, store: &Arc<dyn NetworkStore>, clock: Clock) -> Result<(), LoraError> {
    network.handle_command(clock.now(), Command::Stop);
    while let Some((_, batch)) = network.poll_commit() {
        match tokio::time::timeout(LAST_COMMIT, store.commit(batch)).await {
            Ok(Ok(Ok(()))) => {}
            // The jump at the next start covers the downlink counters; uplink counters go back by 32 at most.
            _ => tracing::warn!("the last LoRaWAN counters could not be stored"),
        }
    }
    Ok(())
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
