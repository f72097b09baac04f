//! The dongle: an NCP on a pseudo-terminal, and the hand that pulls it out.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cardea_radio::{Clock, Millis};
use cardea_zigbee::Eui64;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::pty::{Heard, Pty};
use super::{Capture, Damage, DeviceConfig, Direction, Downlink, Faults, Line, Ncp, Uplink};

/// A host that takes nothing for so long loses it.
const SAY: Duration = Duration::from_secs(1);
/// How long it takes to plug in another dongle.
const SWAP: Duration = Duration::from_millis(500);
/// The shortest frame with a packet in it: an acknowledgement has 7 bytes, or 4.
const DATA_FRAME: usize = 10;

/// How a dongle is plugged in.
#[derive(Debug, Clone)]
pub struct DongleConfig {
    /// The name that stays, a symbolic link: the host opens this.
    pub port: PathBuf,
    /// Of the faults on its wire; print it.
    pub seed: u64,
    /// The port goes away with every reset, as USB of the NCP's own chip does; otherwise it stays, as a UART bridge's does.
    pub usb: bool,
    /// Where everything on the wire is written for Wireshark.
    pub capture: Option<PathBuf>,
}

/// A running dongle. It is pulled out for good when dropped.
pub struct Dongle {
    shared: Arc<Shared>,
    uplinks: mpsc::UnboundedSender<(Eui64, Uplink)>,
    clock: Clock,
    port: PathBuf,
    task: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    /// Something was done to the state from outside.
    changed: Notify,
}

struct State {
    ncp: Ncp,
    line: Line,
    capture: Option<Capture>,
    applications: BTreeMap<Eui64, mpsc::UnboundedSender<Downlink>>,
    /// Out of its socket until this time.
    unplugged_until: Option<Millis>,
    /// Says and hears nothing until this time.
    stalled_until: Millis,
    /// Loses power in the middle of its next packet.
    blackout: bool,
    /// How often a host opened the port.
    opened: u32,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The radio of one device, for its application.
pub struct Mailbox {
    eui: Eui64,
    up: mpsc::UnboundedSender<(Eui64, Uplink)>,
    down: mpsc::UnboundedReceiver<Downlink>,
}

impl Mailbox {
    /// Gives the radio something.
    pub fn send(&self, uplink: Uplink) {
        // Without a dongle there is no air.
        let _ = self.up.send((self.eui, uplink));
    }

    /// What the radio gives next; `None`: there is no air any more.
    pub async fn receive(&mut self) -> Option<Downlink> {
        self.down.recv().await
    }
}

impl Dongle {
    /// Plugs it in.
    ///
    /// # Errors
    /// No pseudo-terminal can be had, or the link or the capture cannot be written.
    pub fn plug_in(mut ncp: Ncp, config: DongleConfig) -> io::Result<Self> {
        let clock = Clock::start();
        ncp.restart(clock.now(), 0);
        let capture = config.capture.as_deref().map(Capture::create).transpose()?;
        let state = State {
            ncp,
            line: Line::new(config.seed),
            capture,
            applications: BTreeMap::new(),
            unplugged_until: None,
            stalled_until: 0,
            blackout: false,
            opened: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() });
        let (uplinks, heard) = mpsc::unbounded_channel();
        let pty = Pty::open(&config.port)?;
        let port = config.port.clone();
        let task = tokio::spawn(run(shared.clone(), heard, clock, config, pty));
        Ok(Self { shared, uplinks, clock, port, task })
    }

    /// The name under which hosts find it.
    #[must_use]
    pub fn port(&self) -> &Path {
        &self.port
    }

    /// Puts a device into its air; the application gets its radio.
    #[must_use]
    pub fn add(&self, device: DeviceConfig) -> Mailbox {
        let (down, received) = mpsc::unbounded_channel();
        let eui = device.eui;
        let mut state = self.shared.lock();
        state.ncp.add(device);
        state.applications.insert(eui, down);
        Mailbox { eui, up: self.uplinks.clone(), down: received }
    }

    /// Looks into the NCP, or does something to it.
    pub fn with<R>(&self, act: impl FnOnce(&mut Ncp, Millis) -> R) -> R {
        let result = act(&mut self.shared.lock().ncp, self.clock.now());
        self.shared.changed.notify_one();
        result
    }

    /// From now on its wire is as bad as this.
    pub fn set_faults(&self, faults: Faults) {
        self.change(|state, _| state.line.set_faults(faults));
    }

    /// The next frames in this direction are lost.
    pub fn lose(&self, direction: Direction, frames: u32) {
        self.change(|state, _| state.line.lose(direction, frames));
    }

    /// One bit of each of the next frames in this direction is turned.
    pub fn turn_bit(&self, direction: Direction, frames: u32) {
        self.change(|state, _| state.line.turn_bit(direction, frames));
    }

    /// It hangs for so long: bytes for it are lost, and it says nothing.
    pub fn stall(&self, time: Duration) {
        self.change(|state, now| state.stalled_until = now.saturating_add(millis(time)));
    }

    /// Its reset pin is pulled.
    pub fn reset(&self) {
        self.change(|state, now| state.ncp.restart(now, 2));
    }

    /// Its power fails in the middle of the next packet that it says: half a frame, and it starts anew.
    pub fn black_out(&self) {
        self.change(|state, _| state.blackout = true);
    }

    /// It is pulled out and plugged in again after this time, behind the same name; the terminal is another one.
    pub fn unplug(&self, time: Duration) {
        self.change(|state, now| {
            state.unplugged_until = Some(now.saturating_add(millis(time)));
            // From now on nobody is in its network; it gets power again when it is plugged in.
            state.ncp.restart(now, 0);
        });
    }

    /// Another dongle is plugged in instead, behind the same name: it has what it remembers, and the devices of this air,
    /// who remember the one before. The NCP that was pulled out is lost; clone its [`Nvram`](super::Nvram) to keep it.
    pub fn replace(&self, ncp: Ncp) {
        self.change(|state, now| {
            state.ncp.succeeded_by(ncp);
            state.ncp.restart(now, 0);
            state.unplugged_until = Some(now.saturating_add(millis(SWAP)));
        });
    }

    /// How often a host opened its port.
    #[must_use]
    pub fn opened(&self) -> u32 {
        self.shared.lock().opened
    }

    /// What its wire did to frames so far.
    #[must_use]
    pub fn damage(&self) -> Damage {
        self.shared.lock().line.damage()
    }

    fn change(&self, act: impl FnOnce(&mut State, Millis)) {
        act(&mut self.shared.lock(), self.clock.now());
        self.shared.changed.notify_one();
    }
}

impl Drop for Dongle {
    fn drop(&mut self) {
        self.task.abort();
        // The name goes with it, as udev's does.
        let _ = std::fs::remove_file(&self.port);
    }
}

fn millis(time: Duration) -> Millis {
    u64::try_from(time.as_millis()).unwrap_or(Millis::MAX)
}

/// What is to be done with the port.
enum Port {
    Stay,
    /// Out of the socket, until this time.
    Out(Millis),
    /// Its USB is away while it starts.
    Away,
}

async fn run(
    shared: Arc<Shared>,
    mut uplinks: mpsc::UnboundedReceiver<(Eui64, Uplink)>,
    clock: Clock,
    config: DongleConfig,
    pty: Pty,
) {
    let mut pty = Some(pty);
    let mut open = false;
    let mut buffer = [0; 1_024];
    loop {
        let now = clock.now();
        let port = shared.lock().turn(now, config.usb && pty.is_some());
        match port {
            Port::Out(_) | Port::Away if pty.is_some() => {
                pty = None;
                open = false;
                let _ = std::fs::remove_file(&config.port);
                shared.lock().ncp.handle_close();
            }
            Port::Stay if pty.is_none() => match Pty::open(&config.port) {
                Ok(again) => {
                    tracing::debug!(path = %again.path().display(), "the dongle is plugged in");
                    pty = Some(again);
                }
                Err(error) => return tracing::error!(%error, "the virtual dongle has no terminal any more"),
            },
            _ => {}
        }
        if let Some(pty) = &pty
            && open
        {
            while let Some(bytes) = next_bytes(&shared, clock.now()) {
                // Whoever does not read loses it, as on a wire.
                let _ = timeout(SAY, pty.say(&bytes)).await;
            }
        }
        let wake = wake(&shared.lock(), &port);
        tokio::select! {
            () = shared.changed.notified() => {}
            uplink = uplinks.recv() => match uplink {
                Some((eui, uplink)) => shared.lock().ncp.handle_radio(clock.now(), eui, uplink),
                None => return,
            },
            heard = hear(pty.as_mut(), &mut buffer) => match heard {
                Ok(Heard::Bytes(count)) => {
                    if !open {
                        shared.lock().opened += 1;
                    }
                    open = true;
                    shared.lock().hear(clock.now(), buffer.get(..count).unwrap_or(&[]));
                }
                Ok(Heard::Open) => {
                    open = true;
                    shared.lock().opened += 1;
                }
                Ok(Heard::Closed) => {
                    open = false;
                    shared.lock().ncp.handle_close();
                }
                Err(error) => return tracing::error!(%error, "the virtual dongle's terminal is broken"),
            },
            () = wait(wake.map(|at| clock.instant(at))) => {}
        }
    }
}

impl State {
    /// Time has passed; the air is served, and the port's fate decided.
    fn turn(&mut self, now: Millis, usb: bool) -> Port {
        if let Some(until) = self.unplugged_until {
            if now < until {
                return Port::Out(until);
            }
            self.unplugged_until = None;
            self.ncp.restart(now, 0);
        }
        if now >= self.stalled_until {
            self.ncp.handle_timeout(now);
        }
        while let Some((eui, downlink)) = self.ncp.poll_radio() {
            if let Some(application) = self.applications.get(&eui) {
                // An application that has stopped hears nothing.
                let _ = application.send(downlink);
            }
        }
        if usb && self.ncp.is_starting() { Port::Away } else { Port::Stay }
    }

    fn hear(&mut self, now: Millis, bytes: &[u8]) {
        if now < self.stalled_until {
            return;
        }
        self.record(Direction::ToNcp, bytes);
        let arrived = self.line.carry(Direction::ToNcp, bytes);
        self.ncp.handle_bytes(now, &arrived);
    }

    fn record(&mut self, direction: Direction, bytes: &[u8]) {
        if let Some(capture) = &mut self.capture
            && let Err(error) = capture.add(direction, bytes)
        {
            tracing::error!(%error, "nothing is captured any more");
            self.capture = None;
        }
    }
}

fn next_bytes(shared: &Shared, now: Millis) -> Option<Vec<u8>> {
    let mut state = shared.lock();
    if now < state.stalled_until {
        return None;
    }
    let frame = state.ncp.poll_transmit(now)?;
    if state.blackout && frame.len() >= DATA_FRAME {
        state.blackout = false;
        state.ncp.restart(now, 3);
        return Some(frame.get(..frame.len() / 2).unwrap_or(&frame).to_vec());
    }
    state.record(Direction::ToHost, &frame);
    Some(state.line.carry(Direction::ToHost, &frame))
}

fn wake(state: &State, port: &Port) -> Option<Millis> {
    match port {
        Port::Out(until) => Some(*until),
        Port::Stay | Port::Away => state.ncp.poll_timeout().map(|at| at.max(state.stalled_until)),
    }
}

async fn hear(pty: Option<&mut Pty>, buffer: &mut [u8]) -> io::Result<Heard> {
    match pty {
        Some(pty) => pty.hear(buffer).await,
        None => std::future::pending().await,
    }
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
