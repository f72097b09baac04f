//! A TCP listener that nobody can wear out: few connections, none of them for long.

use std::collections::VecDeque;
use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// Connections at once. The next one takes the place of the oldest: whoever only holds connections open keeps nobody
/// out, and the daemon's other files and sockets do not run short.
const CONNECTIONS: usize = 16;

/// A connection's whole life. A scrape takes milliseconds, a head that comes a byte at a time takes for ever.
const LIFE: Duration = Duration::from_secs(10);

/// The listener.
pub(crate) struct Bounded {
    listener: TcpListener,
    /// Of the connections that are open, oldest first. Dropping one of these ends its connection.
    open: VecDeque<oneshot::Sender<()>>,
}

impl Bounded {
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, open: VecDeque::new() })
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        self.open.retain(|connection| !connection.is_closed());
        while self.open.len() >= CONNECTIONS {
            self.open.pop_front();
        }
        let (place, displaced) = oneshot::channel();
        self.open.push_back(place);
        (Connection { stream, displaced, end: Box::pin(tokio::time::sleep(LIFE)), over: None }, peer)
    }

    fn local_addr(&self) -> Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when its time is over or its place is needed.
pub(crate) struct Connection {
    stream: TcpStream,
    displaced: oneshot::Receiver<()>,
    end: Pin<Box<Sleep>>,
    /// Why it is over. Whoever serves it may still flush and write after a read has failed, and what has said that it is
    /// ready must not be asked again.
    over: Option<ErrorKind>,
}

impl Connection {
    /// The stream, while there is time.
    fn stream(&mut self, cx: &mut Context<'_>) -> Result<Pin<&mut TcpStream>> {
        if self.over.is_none() {
            if Pin::new(&mut self.displaced).poll(cx).is_ready() {
                self.over = Some(ErrorKind::ConnectionAborted); // its place was needed
            } else if self.end.as_mut().poll(cx).is_ready() {
                self.over = Some(ErrorKind::TimedOut);
            }
        }
        match self.over {
            Some(kind) => Err(kind.into()),
            None => Ok(Pin::new(&mut self.stream)),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.get_mut().stream(cx)?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.get_mut().stream(cx)?.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.get_mut().stream(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        // Closing is always allowed.
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
