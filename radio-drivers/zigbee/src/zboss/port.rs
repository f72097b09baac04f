//! The task that owns the port: it reads and writes, keeps the time, and opens the port again when it is gone.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use cardea_radio::Millis;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::host::{Host, HostConfig};
use crate::coordinator::{Coordinator, CoordinatorEnd, Order};

/// Milliseconds between two tries to open the port: a dongle on USB needs some to come back.
const REOPEN_MS: Millis = 1_000;
/// A port that takes nothing for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Events that may wait before neither port nor orders are read: the gateway is behind.
const MAX_BACKLOG: usize = 128;

/// A dongle with ZBOSS NCP firmware.
#[derive(Debug, Clone)]
pub struct ZbossNcp {
    /// Its port, by a name that stays: `/dev/serial/by-id/…`.
    pub device: PathBuf,
    /// Baud; means nothing on USB.
    pub baud: u32,
    /// What is the same for its whole life.
    pub config: HostConfig,
}

impl Coordinator for ZbossNcp {
    async fn run(self, end: CoordinatorEnd) {
        let Self { device, baud, config } = self;
        drive(|| serial2_tokio::SerialPort::open(&device, baud), config, end).await;
    }
}

/// What [`ZbossNcp`] does, on any port: runs until the orders end. `open` is called again a second after each failure.
pub async fn drive<P>(mut open: impl FnMut() -> io::Result<P>, config: HostConfig, end: CoordinatorEnd)
where
    P: AsyncRead + AsyncWrite + Unpin,
{
    let CoordinatorEnd { mut orders, events, clock, expected } = end;
    let mut host = Host::new(config, expected);
    let mut port: Option<P> = None;
    let mut open_at = clock.now();
    // Answers may hold keys.
    let mut buffer = Zeroizing::new([0; 1_024]);
    loop {
        if port.is_none() && open_at <= clock.now() {
            match open() {
                Ok(opened) => {
                    port = Some(opened);
                    host.handle_open(clock.now());
                }
                Err(error) => {
                    host.handle_close(&format!("the port cannot be opened: {error}"));
                    open_at = clock.now().saturating_add(REOPEN_MS);
                }
            }
        }
        let mut gone = match &mut port {
            Some(port) => write(port, &mut host, || clock.now()).await.err(),
            None => None,
        };
        if host.wants_reopen() {
            gone = Some(io::Error::other("the dongle does not answer"));
        }
        if gone.is_none() {
            let wake = [host.poll_timeout(), port.is_none().then_some(open_at)].into_iter().flatten().min();
            let behind = host.backlog() >= MAX_BACKLOG;
            tokio::select! {
                permit = events.reserve(), if host.backlog() > 0 => {
                    let Ok(permit) = permit else { return };
                    if let Some(event) = host.poll_event() {
                        permit.send(event);
                    }
                }
                order = orders.recv(), if !behind => match order {
                    None | Some(Order::Stop) => return,
                    Some(order) => host.handle_order(clock.now(), order),
                },
                read = read(port.as_mut(), buffer.as_mut_slice()), if !behind => match read {
                    Ok(0) => gone = Some(io::ErrorKind::UnexpectedEof.into()),
                    Ok(count) => host.handle_bytes(clock.now(), buffer.get(..count).unwrap_or(&[])),
                    Err(error) => gone = Some(error),
                },
                () = sleep(wake.map(|at| clock.instant(at))) => host.handle_timeout(clock.now()),
            }
        }
        if let Some(error) = gone {
            tracing::warn!(%error, "the Zigbee dongle's port is closed");
            port = None;
            host.handle_close(&format!("the port is gone: {error}"));
            open_at = clock.now().saturating_add(REOPEN_MS);
        }
    }
}

async fn read<P: AsyncRead + Unpin>(port: Option<&mut P>, buffer: &mut [u8]) -> io::Result<usize> {
    match port {
        Some(port) => port.read(buffer).await,
        None => std::future::pending().await,
    }
}

async fn write<P: AsyncWrite + Unpin>(
    port: &mut P,
    host: &mut Host,
    now: impl Fn() -> Millis,
) -> io::Result<()> {
    while let Some(bytes) = host.poll_transmit(now()) {
        tokio::time::timeout(WRITE_TIMEOUT, port.write_all(&bytes)).await??;
    }
    Ok(())
}

async fn sleep(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
