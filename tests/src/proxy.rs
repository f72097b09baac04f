//! A network between a client and its broker that misbehaves when told to.

use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What a [`Proxy`] does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes both ways.
    Pass,
    /// Keeps the connection and passes nothing: a half-open link.
    Blackhole,
    /// Passes what the client says and nothing the broker says.
    DeafClient,
    /// Closes what there is and refuses what comes.
    Refuse,
}

/// A TCP proxy in front of a broker.
pub struct Proxy {
    pub port: u16,
    mode: watch::Sender<Mode>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn new(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, modes) = watch::channel(Mode::Pass);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if *modes.borrow() == Mode::Refuse {
                    continue;
                }
                let modes = modes.clone();
                tokio::spawn(async move {
                    let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)).await else {
                        return;
                    };
                    let (client_rx, client_tx) = client.into_split();
                    let (broker_rx, broker_tx) = broker.into_split();
                    tokio::select! {
                        () = pipe(client_rx, broker_tx, modes.clone(), true) => {}
                        () = pipe(broker_rx, client_tx, modes, false) => {}
                    }
                });
            }
        });
        Self { port, mode, task }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pipe(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    modes: watch::Receiver<Mode>,
    from_client: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut refused = modes.clone();
    let mut dropped = false;
    loop {
        let read = tokio::select! {
            () = until_refused(&mut refused) => return,
            read = from.read(&mut buffer) => read,
        };
        let mode = *modes.borrow();
        let Ok(len @ 1..) = read else {
            // A half-open link does not tell that the other side is gone either.
            if mode == Mode::Blackhole {
                until_refused(&mut refused).await;
            }
            return;
        };
        let pass = match mode {
            Mode::Pass => true,
            Mode::DeafClient => from_client,
            Mode::Blackhole => false,
            Mode::Refuse => return,
        };
        // A stream with a hole in it must not go on: no network does that.
        dropped |= !pass;
        if !dropped && to.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}

async fn until_refused(modes: &mut watch::Receiver<Mode>) {
    let _ = modes.wait_for(|m| *m == Mode::Refuse).await;
}
