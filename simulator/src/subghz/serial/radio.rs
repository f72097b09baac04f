//! A lock's radio on a serial module: the link layer's other end, which always listens.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use cardea_subghz::Line;
use cardea_subghz::port::{Port, PortEvent};
use cardea_subghz::serial::{Bytes, Config, Gone, Serial};
use cardea_subghz_link::{LockId, Micros, Module, Node, Outcome, Refusal, Region};

use super::super::radio::{node, told};
use super::super::{RadioConfig, RadioEvent};
use super::Modules;

/// Most locks hear nothing for hours.
const NEVER: Micros = u64::MAX / 2;
/// What is done at once, at most.
const STEPS: usize = 64;

/// The UART of a module.
pub struct Uart {
    modules: Rc<RefCell<Modules>>,
    end: usize,
    /// Read and not taken.
    rest: Vec<u8>,
    /// Pulled out: it can be neither read nor written.
    gone: Rc<Cell<bool>>,
}

impl Uart {
    /// Of this one.
    #[must_use]
    pub fn new(modules: Rc<RefCell<Modules>>, end: usize) -> Self {
        Self { modules, end, rest: Vec::new(), gone: Rc::default() }
    }

    /// What pulls it out, and puts it back.
    #[must_use]
    pub fn plug(&self) -> Rc<Cell<bool>> {
        self.gone.clone()
    }

    fn there(&self) -> Result<(), Gone> {
        if self.gone.get() { Err(Gone) } else { Ok(()) }
    }
}

impl Bytes for Uart {
    const TELLS: bool = true;

    fn read(&mut self, into: &mut [u8]) -> Result<usize, Gone> {
        self.there()?;
        self.rest.extend(self.modules.borrow_mut().read(self.end));
        let count = self.rest.len().min(into.len());
        into.iter_mut().zip(self.rest.drain(..count)).for_each(|(place, byte)| *place = byte);
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Gone> {
        self.there()?;
        self.modules.borrow_mut().write(self.end, bytes);
        Ok(bytes.len())
    }

    fn open(&mut self) -> Result<(), Gone> {
        self.there()
    }
}

/// A lock's radio.
pub struct SerialRadio {
    config: RadioConfig,
    node: Node,
    port: Port<Serial<Uart>>,
    end: usize,
    /// What survives a power cut.
    record: Option<Vec<u8>>,
    events: Vec<RadioEvent>,
}

impl SerialRadio {
    pub(super) fn new(
        config: RadioConfig,
        module: Module,
        modules: &Rc<RefCell<Modules>>,
    ) -> Result<Self, cardea_subghz_link::Error> {
        let end = modules.borrow_mut().add();
        let now = modules.borrow().now();
        let uart = Uart::new(modules.clone(), end);
        let serial = Config { module, budget_us: Region::Eu433.budget(), silence_us: NEVER };
        let port = Port::new(Serial::new(uart, serial, now), config.profile, now);
        Ok(Self { node: node(&config, None, now)?, port, config, end, record: None, events: Vec::new() })
    }

    /// Which module it has.
    #[must_use]
    pub fn end(&self) -> usize {
        self.end
    }

    /// Whose it is.
    #[must_use]
    pub fn lock(&self) -> LockId {
        self.config.lock
    }

    /// Whether it is in a network.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.node.is_joined()
    }

    /// Asks to be let in.
    pub fn join(&mut self, now: Micros) {
        self.node.join(now);
    }

    /// Sends a frame, which is not on the air after `deadline`. Ends in one [`RadioEvent::Outcome`].
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn send(&mut self, now: Micros, frame: &[u8], deadline: Micros) -> Result<(), Refusal> {
        let sent = self.node.send(now, 0, frame, deadline);
        if sent.is_err() {
            self.events.push(RadioEvent::Outcome(Outcome::Cancelled));
        }
        sent
    }

    /// The battery was out: only what was stored is left.
    pub(super) fn reboot(&mut self, now: Micros) {
        if let Ok(again) = node(&self.config, self.record.as_deref(), now) {
            self.node = again;
        }
    }

    /// What happened since the last call.
    pub fn events(&mut self) -> Vec<RadioEvent> {
        std::mem::take(&mut self.events)
    }

    /// Bytes came.
    pub(super) fn ready(&mut self, now: Micros) {
        self.port.handle_edge(now, Line::Done, true);
    }

    pub(super) fn due(&self) -> Micros {
        let node = if self.port.is_sending() { None } else { self.node.poll_timeout() };
        self.port.poll_timeout().min(node.unwrap_or(NEVER))
    }

    pub(super) fn turn(&mut self, now: Micros) {
        for _ in 0..STEPS {
            self.port.handle_timeout(&mut || now);
            let mut moved = false;
            while let Some(event) = self.port.poll_event() {
                match event {
                    PortEvent::Received { frame, quality, at, .. } => {
                        self.node.handle_received(at, frame.as_bytes(), quality);
                    }
                    PortEvent::Sent { at } => self.node.handle_sent(at),
                    PortEvent::NotSent => self.node.handle_busy(now),
                    PortEvent::Cut { .. } | PortEvent::Carrier(_) | PortEvent::Health(_) => {}
                }
                moved = true;
            }
            self.node.handle_timeout(now);
            while let Some(record) = self.node.poll_store() {
                self.record = Some(record.to_vec());
                self.node.handle_stored(true);
                moved = true;
            }
            while let Some(event) = self.node.poll_event() {
                self.events.extend(told(event));
                moved = true;
            }
            if !self.port.is_sending()
                && let Some(transmit) = self.node.poll_transmit(now)
            {
                self.port.transmit(&mut || now, transmit);
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }
}
