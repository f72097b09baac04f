//! A virtual packet forwarder: Semtech UDP protocol version 2, and the habits of `lora_pkt_fwd` 2.1.0.
//!
//! What that program was measured to do is done here: two sockets, refusals without a word, TOO_EARLY for what
//! is late, COLLISION_PACKET for a full queue, a warning that is no failure, and the end of the process on
//! base64url.

mod jit;
mod packet;

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    sync::broadcast,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::air::{Air, Transmission};
use jit::{Job, Queue, TX_JIT_DELAY};
use packet::{Downlink, Refusal};

/// Who the forwarder is and where it sends.
#[derive(Debug, Clone, Copy)]
pub struct ForwarderConfig {
    /// The gateway's UDP address.
    pub server: SocketAddr,
    /// Most significant byte first.
    pub eui: [u8; 8],
    /// Reading of the concentrator's µs counter at the start; near 2^32 it wraps soon.
    pub counter: u32,
    /// Frequencies the transmitter accepts, Hz.
    pub transmits: (u32, u32),
    /// Time between PULL_DATA; `lora_pkt_fwd` has 10 s.
    pub keepalive: Duration,
}

impl ForwarderConfig {
    /// An EU868 forwarder.
    #[must_use]
    pub const fn eu868(server: SocketAddr, eui: [u8; 8]) -> Self {
        let transmits = (863_000_000, 870_000_000);
        Self { server, eui, counter: 0, transmits, keepalive: Duration::from_secs(5) }
    }

    /// A US915 forwarder.
    #[must_use]
    pub const fn us915(server: SocketAddr, eui: [u8; 8]) -> Self {
        Self { transmits: (923_000_000, 928_000_000), ..Self::eu868(server, eui) }
    }
}

/// What a forwarder has counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// Uplinks reported.
    pub received: AtomicU64,
    /// Uplinks missed: lost on the air, or while transmitting.
    pub missed: AtomicU64,
    /// Downlinks put on the air.
    pub transmitted: AtomicU64,
    /// Downlinks refused with an error in TX_ACK.
    pub refused: AtomicU64,
    /// Downlinks dropped without a word.
    pub ignored: AtomicU64,
    /// PULL_ACKs: the gateway is there.
    pub pull_acks: AtomicU64,
}

/// A running forwarder; it stops when dropped.
pub struct Forwarder {
    task: JoinHandle<Result<(), ForwarderError>>,
    counters: Arc<Counters>,
}

/// How a forwarder ended.
#[derive(Debug)]
pub enum ForwarderError {
    /// A socket failed.
    Io(io::Error),
    /// `txpk.data` was not of the standard base64 alphabet; the real program exits.
    Base64,
}

impl From<io::Error> for ForwarderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Forwarder {
    /// Starts a forwarder on this air.
    ///
    /// # Errors
    /// The UDP sockets cannot be opened.
    pub async fn start(config: ForwarderConfig, air: Arc<Air>) -> io::Result<Self> {
        let local = SocketAddr::new(config.server.ip(), 0);
        let (up, down) = (UdpSocket::bind(local).await?, UdpSocket::bind(local).await?);
        up.connect(config.server).await?;
        down.connect(config.server).await?;
        let counters = Arc::new(Counters::default());
        let heard = air.listen();
        let state = State {
            config,
            air,
            up,
            down,
            zero: Instant::now(),
            queue: Queue::default(),
            receiving: VecDeque::new(),
            backhaul: Vec::new(),
            deaf: Vec::new(),
            token: 0,
            counters: counters.clone(),
        };
        Ok(Self { task: tokio::spawn(state.run(heard)), counters })
    }

    /// What it has counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// True once it has ended by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct State {
    config: ForwarderConfig,
    air: Arc<Air>,
    up: UdpSocket,
    down: UdpSocket,
    /// When the counter read `config.counter`.
    zero: Instant,
    queue: Queue,
    /// Transmissions of devices, in order of their ends.
    receiving: VecDeque<Arc<Transmission>>,
    /// Datagrams to the gateway that are still under way.
    backhaul: Vec<(Instant, Socket, Vec<u8>)>,
    /// When this forwarder transmitted lately.
    deaf: Vec<(Instant, Instant)>,
    token: u16,
    counters: Arc<Counters>,
}

#[derive(Clone, Copy)]
enum Socket {
    Up,
    Down,
}

impl State {
    async fn run(mut self, mut heard: broadcast::Receiver<Arc<Transmission>>) -> Result<(), ForwarderError> {
        let mut keepalive = tokio::time::interval(self.config.keepalive);
        let (mut ack, mut response) = ([0; 64], [0; 2048]);
        loop {
            let wake = self.wakes().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                // A refused datagram (no gateway there) shows up as an error on connected sockets: carry on.
                _ = self.up.recv(&mut ack) => {}
                got = self.down.recv(&mut response) => if let Ok(len) = got {
                    self.answer(response.get(..len).unwrap_or_default())?;
                },
                heard = heard.recv() => match heard {
                    Ok(transmission) => self.hear(transmission),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                },
                _ = keepalive.tick() => {
                    let pull = packet::pull_data(self.next_token(), self.config.eui);
                    self.throw(Socket::Down, pull);
                }
                () = sleep_until(wake) => {}
            }
            self.turn().await;
        }
    }

    fn wakes(&self) -> Option<Instant> {
        let emit = self.queue.next().map(|job| job.start - TX_JIT_DELAY);
        let report = self.receiving.iter().map(|heard| heard.end).min();
        let send = self.backhaul.iter().map(|(at, ..)| *at).min();
        [emit, report, send].into_iter().flatten().min()
    }

    /// Everything whose time has come.
    async fn turn(&mut self) {
        let now = Instant::now();
        while let Some(job) = self.queue.take_due(now) {
            self.emit(job);
        }
        while let Some(at) = self.receiving.iter().position(|heard| heard.end <= now) {
            if let Some(heard) = self.receiving.remove(at) {
                self.report(&heard);
            }
        }
        let (due, later) = std::mem::take(&mut self.backhaul).into_iter().partition(|(at, ..)| *at <= now);
        self.backhaul = later;
        let due: Vec<(Instant, Socket, Vec<u8>)> = due;
        for (_, socket, datagram) in due {
            let socket = match socket {
                Socket::Up => &self.up,
                Socket::Down => &self.down,
            };
            if let Err(error) = socket.send(&datagram).await {
                tracing::debug!(%error, "the gateway does not take datagrams");
            }
        }
    }

    fn hear(&mut self, transmission: Arc<Transmission>) {
        if transmission.modulation.inverted {
            return;
        }
        if self.air.is_heard() {
            self.receiving.push_back(transmission);
        } else {
            self.counters.missed.fetch_add(1, Relaxed);
        }
    }

    fn report(&mut self, heard: &Transmission) {
        let now = Instant::now();
        self.deaf.retain(|(_, end)| *end + Duration::from_secs(10) > now);
        if self.deaf.iter().any(|(start, end)| *start < heard.end && heard.start < *end) {
            self.counters.missed.fetch_add(1, Relaxed);
            return;
        }
        self.counters.received.fetch_add(1, Relaxed);
        let datagram =
            packet::push_data(self.next_token(), self.config.eui, self.counter_at(heard.end), heard);
        self.throw(Socket::Up, datagram);
    }

    fn answer(&mut self, datagram: &[u8]) -> Result<(), ForwarderError> {
        let (token, json) = match datagram {
            [2, high, low, packet::PULL_RESP, json @ ..] => ([*high, *low], json),
            [2, _, _, packet::PULL_ACK] => {
                self.counters.pull_acks.fetch_add(1, Relaxed);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let outcome = match packet::parse_txpk(json, datagram.len(), self.config.transmits) {
            Ok(downlink) => {
                let warning = downlink.warning;
                self.schedule(downlink).map(|()| warning)
            }
            Err(refusal) => Err(refusal),
        };
        let json = match outcome {
            Ok(None) => String::new(),
            Ok(Some(power)) => format!(r#"{{"txpk_ack":{{"warn":"TX_POWER","value":{power}}}}}"#),
            Err(Refusal::Named(name)) => {
                self.counters.refused.fetch_add(1, Relaxed);
                tracing::debug!(name, "downlink refused");
                format!(r#"{{"txpk_ack":{{"error":"{name}"}}}}"#)
            }
            Err(Refusal::Silent(why)) => {
                self.counters.ignored.fetch_add(1, Relaxed);
                tracing::debug!(why, "downlink ignored");
                return Ok(());
            }
            Err(Refusal::Fatal) => return Err(ForwarderError::Base64),
        };
        let ack = packet::tx_ack(token, self.config.eui, &json);
        self.throw(Socket::Down, ack);
        Ok(())
    }

    fn schedule(&mut self, downlink: Downlink) -> Result<(), Refusal> {
        let now = Instant::now();
        let start = downlink.at.map(|at| {
            // The counter is 32 bits wide: what lies behind is nearly 72 minutes ahead.
            let ahead = at.wrapping_sub(self.counter_at(now));
            now + Duration::from_micros(u64::from(ahead))
        });
        let airtime = downlink.modulation.airtime(downlink.payload.len());
        self.queue.admit(now, start, airtime, downlink.modulation, downlink.payload).map_err(Refusal::Named)
    }

    fn emit(&mut self, job: Job) {
        self.counters.transmitted.fetch_add(1, Relaxed);
        let end = self.air.transmit(job.start, job.modulation, job.payload);
        self.deaf.push((job.start, end));
    }

    /// What the counter reads at this time; it started with the forwarder.
    fn counter_at(&self, at: Instant) -> u32 {
        let elapsed = at.saturating_duration_since(self.zero).as_micros();
        // Cut to 32 bits on purpose: that is how it wraps.
        self.config.counter.wrapping_add(elapsed as u32)
    }

    fn throw(&mut self, socket: Socket, datagram: Vec<u8>) {
        let now = Instant::now();
        self.backhaul.extend(self.air.backhaul().map(|delay| (now + delay, socket, datagram.clone())));
    }

    fn next_token(&mut self) -> [u8; 2] {
        self.token = self.token.wrapping_add(1);
        self.token.to_be_bytes()
    }
}
