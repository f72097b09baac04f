//! A town of serial modules in real time, and the gateway's behind a pseudo-terminal.
//!
//! As with [`Ether`](super::Ether) one thread owns the air, and its clock follows the machine's. What the gateway's process writes counts
//! from when the thread has read it.

mod modules;
mod radio;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use cardea_subghz::device::{self, wait};
use cardea_subghz_link::{LockId, Micros, Module};
use rustix::io::Errno;
use tokio::sync::mpsc as async_mpsc;

use super::mailbox::{Act, LIFE, Mailbox};
use super::orders::{Hand, Households, Order};
use super::{RadioConfig, RadioEvent};
pub use modules::{Modules, SerialConditions};
pub use radio::{SerialRadio, Uart};

/// The shortest sleep.
const FINEST: Duration = Duration::from_micros(500);
/// The longest, and how often it is looked whether somebody has opened the terminal.
const LONGEST: Duration = Duration::from_millis(10);

/// Where and how.
#[derive(Debug, Clone)]
pub struct SerialEtherConfig {
    /// Path of the terminal: a gateway's `device`.
    pub link: PathBuf,
    /// What kind of module all have.
    pub module: Module,
    /// Of all chance.
    pub seed: u64,
    /// Weather.
    pub conditions: SerialConditions,
}

/// Who is on the air. The gateway's module is number 0.
pub struct SerialTown {
    /// The modules.
    pub modules: Rc<RefCell<Modules>>,
    /// The radios of locks.
    pub locks: Vec<SerialRadio>,
}

impl SerialTown {
    /// The gateway's module alone.
    #[must_use]
    pub fn new(module: Module, conditions: SerialConditions, seed: u64) -> Self {
        let mut modules = Modules::new(module, conditions, seed);
        modules.add();
        Self { modules: Rc::new(RefCell::new(modules)), locks: Vec::new() }
    }

    /// Another lock's radio.
    ///
    /// # Errors
    /// None that can happen without a record.
    pub fn add(&mut self, config: RadioConfig, module: Module) -> Result<(), cardea_subghz_link::Error> {
        self.locks.push(SerialRadio::new(config, module, &self.modules)?);
        Ok(())
    }

    /// When something happens next by itself.
    #[must_use]
    pub fn due(&self) -> Micros {
        let locks = self.locks.iter().map(SerialRadio::due);
        locks.chain(self.modules.borrow().due()).min().unwrap_or(Micros::MAX)
    }

    /// Lets everything happen up to then, in its order and at its time; but not beyond the moment at which bytes for the gateway are there.
    pub fn advance(&mut self, until: Micros) {
        // A host that does not read what is there holds nobody up.
        let ignores = self.modules.borrow().is_ready(0);
        loop {
            let now = self.modules.borrow().now();
            for lock in &mut self.locks {
                let is_ready = self.modules.borrow().is_ready(lock.end());
                if is_ready {
                    lock.ready(now);
                }
                if is_ready || lock.due() <= now {
                    lock.turn(now);
                }
            }
            // Its host is somebody else, who may have something to do now.
            let is_ready = self.modules.borrow().is_ready(0);
            if now >= until || is_ready && !ignores {
                return;
            }
            let next = self.due();
            self.modules.borrow_mut().advance(next.clamp(now + 1, until));
        }
    }
}

impl Households for SerialTown {
    fn act(&mut self, lock: LockId, act: Act) {
        let now = self.modules.borrow().now();
        if let Some(radio) = self.locks.iter_mut().find(|radio| radio.lock() == lock) {
            match act {
                Act::Join => radio.join(now),
                Act::Reboot => radio.reboot(now),
                Act::Send(frame) => drop(radio.send(now, &frame, now + LIFE)),
            }
        }
    }
}

/// A town in real time. It ends when dropped.
pub struct SerialEther {
    hand: Hand<SerialTown>,
    config: SerialEtherConfig,
}

impl SerialEther {
    /// Starts the thread, with the gateway's module alone.
    ///
    /// # Errors
    /// There is no terminal, or no thread.
    pub fn start(config: SerialEtherConfig) -> io::Result<Self> {
        let (master, _) = crate::pty::open(&config.link)?;
        let settings = config.clone();
        let hand = Hand::start("serial-ether", move |orders, wake| {
            Thread::new(settings, master, orders, wake).run()
        })?;
        Ok(Self { hand, config })
    }

    /// The gateway's terminal.
    #[must_use]
    pub fn link(&self) -> &Path {
        &self.config.link
    }

    /// What kind of module all have.
    #[must_use]
    pub fn module(&self) -> Module {
        self.config.module
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
        work: impl FnOnce(&mut SerialTown) -> T + Send + 'static,
    ) -> io::Result<T> {
        self.hand.with(work)
    }

    /// The module is pulled out of the gateway for so long, and is then at the same name in another place.
    pub fn unplug(&self, time: Duration) {
        self.hand.unplug(time);
    }
}

impl Drop for SerialEther {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.config.link);
    }
}

struct Thread {
    config: SerialEtherConfig,
    town: SerialTown,
    boxes: BTreeMap<LockId, async_mpsc::UnboundedSender<RadioEvent>>,
    /// The machine's clock at the air's zero.
    origin: Micros,
    orders: mpsc::Receiver<Order<SerialTown>>,
    wake: Arc<OwnedFd>,
    /// Our end of the terminal, while it is plugged in.
    master: Option<OwnedFd>,
    /// Somebody has the other end open.
    is_open: bool,
    /// When the module is plugged in again.
    back: Option<Micros>,
}

impl Thread {
    fn new(
        config: SerialEtherConfig,
        master: OwnedFd,
        orders: mpsc::Receiver<Order<SerialTown>>,
        wake: Arc<OwnedFd>,
    ) -> Self {
        let town = SerialTown::new(config.module, config.conditions, config.seed);
        Self {
            config,
            town,
            boxes: BTreeMap::new(),
            origin: device::now(),
            orders,
            wake,
            master: Some(master),
            is_open: false,
            back: None,
        }
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            if !self.take_orders()? {
                return Ok(());
            }
            let now = self.now();
            self.town.advance(now);
            if self.back.take_if(|back| now >= *back).is_some() {
                self.master = Some(crate::pty::open(&self.config.link)?.0);
            }
            self.serve();
            self.tell();
            let pause =
                Duration::from_micros(self.town.due().saturating_sub(self.now())).clamp(FINEST, LONGEST);
            match self.master.as_ref().filter(|_| self.is_open) {
                Some(master) => wait([master.as_fd(), self.wake.as_fd()], pause)?,
                None => wait([self.wake.as_fd()], pause)?,
            }
            let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        }
    }

    /// The air's time as it should be.
    fn now(&self) -> Micros {
        device::now().saturating_sub(self.origin)
    }

    /// False when there is nobody left to give any.
    fn take_orders(&mut self) -> io::Result<bool> {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Add(config, tell)) => {
                    self.boxes.insert(config.lock, tell);
                    self.town.add(*config, self.config.module).map_err(io::Error::other)?;
                }
                Ok(Order::Work(work)) => {
                    self.town.advance(self.now());
                    work(&mut self.town);
                    let now = self.town.modules.borrow().now();
                    self.town.locks.iter_mut().for_each(|lock| lock.turn(now));
                }
                Ok(Order::Unplug(time)) => {
                    (self.master, self.is_open) = (None, false);
                    self.town.modules.borrow_mut().reset(0);
                    std::fs::remove_file(&self.config.link)?;
                    self.back = Some(self.now() + u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
                }
                Err(mpsc::TryRecvError::Empty) => return Ok(true),
                Err(mpsc::TryRecvError::Disconnected) => return Ok(false),
            }
        }
    }

    /// Bytes between the gateway's process and its module.
    fn serve(&mut self) {
        let bytes = self.town.modules.borrow_mut().read(0);
        let Some(master) = &self.master else { return };
        let mut chunk = [0; 256];
        loop {
            match rustix::io::read(master, &mut chunk) {
                Ok(count @ 1..) => {
                    self.is_open = true;
                    self.town.modules.borrow_mut().write(0, chunk.get(..count).unwrap_or_default());
                }
                Err(Errno::AGAIN | Errno::INTR) => {
                    self.is_open = true;
                    break;
                }
                // Nobody has it open.
                Ok(0) | Err(_) => {
                    self.is_open = false;
                    break;
                }
            }
        }
        if self.is_open && !bytes.is_empty() {
            // A host that does not read loses what does not fit, as with a UART.
            let _ = rustix::io::write(master, &bytes);
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
