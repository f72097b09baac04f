//! The task that owns the port: it reads and writes, keeps the time, and opens the port again when it is gone.

use std::io;
use std::time::Duration;

use cardea_radio::Millis;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::coordinator::{CoordinatorEnd, Event, Order};

/// Milliseconds between two tries to open the port: a dongle on USB needs some to come back.
const REOPEN_MS: Millis = 1_000;
/// A port that takes nothing for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Events that may wait before neither port nor orders are read: the gateway is behind.
const MAX_BACKLOG: usize = 128;

/// What a family's state machine is to the task: it has neither port, clock nor task.
pub(crate) trait Machine: Send {
    /// The port is open.
    fn handle_open(&mut self, now: Millis);
    /// The port is gone; the text is for the operator.
    fn handle_close(&mut self, why: &str);
    /// The port gave these bytes.
    fn handle_bytes(&mut self, now: Millis, bytes: &[u8]);
    /// The driver wants this.
    fn handle_order(&mut self, now: Millis, order: Order);
    /// Time has passed.
    fn handle_timeout(&mut self, now: Millis);
    /// When it wants to be told that.
    fn poll_timeout(&self) -> Option<Millis>;
    /// Bytes for the port.
    fn poll_transmit(&mut self, now: Millis) -> Option<Zeroizing<Vec<u8>>>;
    /// What happened.
    fn poll_event(&mut self) -> Option<Event>;
    /// Events that wait to be taken.
    fn backlog(&self) -> usize;
    /// The port must be closed and opened again.
    fn wants_reopen(&self) -> bool;
}

/// A family's machine is told as its own methods say.
macro_rules! machine {
    ($host:ty) => {
        impl crate::port::Machine for $host {
            fn handle_open(&mut self, now: cardea_radio::Millis) {
                Self::handle_open(self, now);
            }
            fn handle_close(&mut self, why: &str) {
                Self::handle_close(self, why);
            }
            fn handle_bytes(&mut self, now: cardea_radio::Millis, bytes: &[u8]) {
                Self::handle_bytes(self, now, bytes);
            }
            fn handle_order(&mut self, now: cardea_radio::Millis, order: crate::coordinator::Order) {
                Self::handle_order(self, now, order);
            }
            fn handle_timeout(&mut self, now: cardea_radio::Millis) {
                Self::handle_timeout(self, now);
            }
            fn poll_timeout(&self) -> Option<cardea_radio::Millis> {
                Self::poll_timeout(self)
            }
            fn poll_transmit(&mut self, now: cardea_radio::Millis) -> Option<zeroize::Zeroizing<Vec<u8>>> {
                Self::poll_transmit(self, now)
            }
            fn poll_event(&mut self) -> Option<crate::coordinator::Event> {
                Self::poll_event(self)
            }
            fn backlog(&self) -> usize {
                Self::backlog(self)
            }
            fn wants_reopen(&self) -> bool {
                Self::wants_reopen(self)
            }
        }
    };
}
pub(crate) use machine;

/// Runs until the orders end. `open` is called again a second after each failure.
pub(crate) async fn drive<P>(
    mut open: impl FnMut() -> io::Result<P>,
    mut host: impl Machine,
    end: CoordinatorEnd,
) where
    P: AsyncRead + AsyncWrite + Unpin,
{
    let CoordinatorEnd { mut orders, events, clock, expected: _ } = end;
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
    host: &mut impl Machine,
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
