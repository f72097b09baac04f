//! A town in real time, and its gateway's chip behind a Unix socket.
//!
//! One thread owns the air. Its clock follows the machine's: whenever the thread runs, everything that should have happened since
//! happens in its order and at its time, so locks answer in time however busy the machine is; only the gateway, which is another
//! process, can be late, as a real one can.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use cardea_subghz::Line;
use cardea_subghz::device::{self, wait};
use cardea_subghz::wire::{Decoder, Message};
use cardea_subghz_link::{LockId, Micros};
use embedded_hal::digital::{InputPin as _, OutputPin as _};
use embedded_hal::spi::SpiDevice as _;
use tokio::sync::mpsc as async_mpsc;

use super::mailbox::Mailbox;
use super::orders::{Hand, Order};
use super::{
    Air, BusyPin, ChipConfig, Conditions, LockRadio, RadioConfig, RadioEvent, ResetPin, Spi, Stranger,
    Sx126xConfig, Town,
};

/// While bytes are on the air the thread looks this often; edges have their exact times all the same.
const FINEST: Duration = Duration::from_micros(300);
/// The longest sleep.
const LONGEST: Duration = Duration::from_millis(200);

/// What the gateway has.
#[derive(Debug, Clone, Copy, Default)]
pub enum GatewayChip {
    /// A CC1101: `chip = "cc1101"`.
    #[default]
    Cc1101,
    /// An SX126x: `chip = "sx126x"`.
    Sx126x(Sx126xConfig),
}

/// Where and how.
#[derive(Debug, Clone)]
pub struct EtherConfig {
    /// Path of the socket: a gateway's `device = "unix:…"`.
    pub socket: PathBuf,
    /// What is at the gateway's end of it. The locks have CC1101s.
    pub chip: GatewayChip,
    /// Of all chance.
    pub seed: u64,
    /// Weather.
    pub conditions: Conditions,
    /// What was on the air is kept, for as long as the air is there.
    pub records: bool,
}

/// A town in real time. It ends when dropped.
pub struct Ether {
    hand: Hand<Town>,
    config: EtherConfig,
}

impl Ether {
    /// Starts the thread, with an air on which the gateway's chip alone is.
    ///
    /// # Errors
    /// The socket cannot be made, or the thread.
    pub fn start(config: EtherConfig) -> io::Result<Self> {
        let listener = UnixListener::bind(&config.socket)?;
        let air = Air::new(config.seed, config.conditions);
        if !config.records {
            air.forget();
        }
        let module = Module::new(&air, config.chip);
        let town = Town::new(air, module.spi.chip());
        let socket = config.socket.clone();
        let hand = Hand::start("ether", move |orders, wake| {
            let thread = Thread {
                town,
                module,
                boxes: BTreeMap::new(),
                origin: device::now(),
                orders,
                wake,
                socket,
                listener: Some(listener),
                host: None,
                back: None,
            };
            thread.run()
        })?;
        Ok(Self { hand, config })
    }

    /// Where the gateway's chip is.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.config.socket
    }

    /// Another lock's radio.
    pub(super) fn add(&self, config: RadioConfig) -> Option<Mailbox> {
        self.hand.add(config)
    }

    /// Does something to the town, on its thread, and waits for what it gives.
    ///
    /// # Errors
    /// Why the thread has ended.
    pub fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Town) -> T + Send + 'static,
    ) -> io::Result<T> {
        self.hand.with(work)
    }

    /// The module is pulled out of the gateway for so long.
    pub fn unplug(&self, time: Duration) {
        self.hand.unplug(time);
    }

    /// One who belongs to nobody comes to town, unless he is there.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn stranger<T: Send + 'static>(
        &self,
        profile: cardea_subghz_link::Profile,
        work: impl FnOnce(&mut Stranger) -> T + Send + 'static,
    ) -> io::Result<T> {
        self.with(move |town| {
            let air = town.air.clone();
            work(town.stranger.get_or_insert_with(|| Stranger::new(profile, &air)))
        })
    }
}

impl Drop for Ether {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config.socket);
    }
}

struct Thread {
    town: Town,
    module: Module,
    boxes: BTreeMap<LockId, async_mpsc::UnboundedSender<RadioEvent>>,
    /// The machine's clock at the air's zero.
    origin: Micros,
    orders: mpsc::Receiver<Order<Town>>,
    wake: Arc<OwnedFd>,
    socket: PathBuf,
    listener: Option<UnixListener>,
    host: Option<Host>,
    /// When the module is plugged in again.
    back: Option<Micros>,
}

struct Host {
    stream: UnixStream,
    decoder: Decoder,
}

/// The gateway's chip as it is wired.
struct Module {
    spi: Spi,
    busy: BusyPin,
    reset: ResetPin,
    /// What line 0 is.
    line: Line,
}

impl Module {
    fn new(air: &Air, chip: GatewayChip) -> Self {
        let (spi, line) = match chip {
            GatewayChip::Cc1101 => (air.chip(ChipConfig::default()), Line::Packet),
            GatewayChip::Sx126x(config) => (air.sx126x(config).0, Line::Done),
        };
        let (busy, reset) = spi.pins();
        Self { spi, busy, reset, line }
    }

    /// The line that an edge is of.
    fn line(&self, gdo: u8) -> Line {
        if gdo == 0 { self.line } else { Line::Fifo }
    }

    /// `None`: that is nothing to ask a chip.
    fn answer(&mut self, question: Message) -> Option<Message> {
        let result = match question {
            Message::Transfer(mut bytes) => {
                self.spi.transfer_in_place(&mut bytes).map(|()| Message::Transfer(bytes))
            }
            Message::AskBusy => self.busy.is_high().map(|high| Message::Busy { high }),
            Message::Reset { low } => {
                let held = if low { self.reset.set_low() } else { self.reset.set_high() };
                held.map(|()| Message::Reset { low })
            }
            Message::Edge { .. } | Message::Busy { .. } => return None,
        };
        match result {
            Ok(answer) => Some(answer),
            Err(never) => match never {},
        }
    }
}

impl Thread {
    fn run(mut self) -> io::Result<()> {
        loop {
            if !self.take_orders()? {
                return Ok(());
            }
            self.catch_up();
            self.plug_in()?;
            self.serve();
            self.tell();
            let (now, due) = (self.now(), self.town.due());
            let pause = Duration::from_micros(due.saturating_sub(now)).clamp(FINEST, LONGEST);
            match (&self.host, &self.listener) {
                (Some(host), _) => wait([host.stream.as_fd(), self.wake.as_fd()], pause)?,
                (None, Some(listener)) => wait([listener.as_fd(), self.wake.as_fd()], pause)?,
                (None, None) => wait([self.wake.as_fd()], pause)?,
            }
            let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        }
    }

    /// The air's time as it should be.
    fn now(&self) -> Micros {
        device::now().saturating_sub(self.origin)
    }

    /// Lets everything happen that should have.
    fn catch_up(&mut self) {
        loop {
            let now = self.now();
            self.town.advance(now);
            while let Some(edge) = self.town.edge() {
                let at = edge.at_ns / 1_000 + self.origin;
                let line = self.module.line(edge.gdo);
                self.say(&Message::Edge { line, high: edge.high, at });
            }
            if self.town.air.now() >= now {
                return;
            }
        }
    }

    /// False when there is nobody left to give any.
    fn take_orders(&mut self) -> io::Result<bool> {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Add(config, tell)) => {
                    self.catch_up();
                    self.boxes.insert(config.lock, tell);
                    let radio = LockRadio::new(*config, &self.town.air).map_err(io::Error::other)?;
                    self.town.locks.push(radio);
                }
                Ok(Order::Work(work)) => {
                    self.catch_up();
                    work(&mut self.town);
                    let air = self.town.air.clone();
                    for lock in &mut self.town.locks {
                        lock.turn(&mut || air.now());
                    }
                }
                Ok(Order::Unplug(time)) => {
                    (self.host, self.listener) = (None, None);
                    std::fs::remove_file(&self.socket)?;
                    self.back = Some(self.now() + u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
                }
                Err(mpsc::TryRecvError::Empty) => return Ok(true),
                Err(mpsc::TryRecvError::Disconnected) => return Ok(false),
            }
        }
    }

    fn plug_in(&mut self) -> io::Result<()> {
        let now = self.now();
        if self.back.take_if(|back| now >= *back).is_some() {
            // It was without power.
            self.town.air.brown_out(self.module.spi.chip());
            self.listener = Some(UnixListener::bind(&self.socket)?);
        }
        if let (None, Some(listener)) = (&self.host, &self.listener) {
            listener.set_nonblocking(true)?;
            if let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true)?;
                self.host = Some(Host { stream, decoder: Decoder::default() });
            }
        }
        Ok(())
    }

    /// What the gateway's driver asks of its chip.
    fn serve(&mut self) {
        let mut chunk = [0; 1_024];
        while let Some(host) = &mut self.host {
            match host.decoder.poll() {
                Ok(Some(question)) => {
                    self.catch_up();
                    match self.module.answer(question) {
                        Some(answer) => self.say(&answer),
                        None => self.host = None,
                    }
                    continue;
                }
                Ok(None) => {}
                Err(_) => {
                    self.host = None;
                    return;
                }
            }
            match host.stream.read(&mut chunk) {
                Ok(read @ 1..) => host.decoder.push(chunk.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(0) | Err(_) => self.host = None,
            }
        }
    }

    fn say(&mut self, message: &Message) {
        // A host that does not read is gone.
        if self.host.as_mut().is_some_and(|host| host.stream.write_all(&message.encode()).is_err()) {
            self.host = None;
        }
    }

    fn tell(&mut self) {
        for radio in &mut self.town.locks {
            let events = radio.events();
            if let Some(told) = self.boxes.get(&radio.lock()) {
                // The lock may be gone.
                events.into_iter().for_each(|event| drop(told.send(event)));
            }
        }
    }
}
