//! From outside to the thread of an air in real time, whichever kind of town is on it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use cardea_subghz_link::LockId;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc as async_mpsc;

use super::mailbox::{Act, Mailbox};
use super::{RadioConfig, RadioEvent};

/// Where locks live.
pub(super) trait Households {
    /// What a lock wants of its radio.
    fn act(&mut self, lock: LockId, act: Act);
}

pub(super) enum Order<T> {
    Add(Box<RadioConfig>, async_mpsc::UnboundedSender<RadioEvent>),
    Work(Box<dyn FnOnce(&mut T) + Send>),
    Unplug(Duration),
}

/// What the thread is told, and by what it is woken.
struct Orders<T> {
    orders: mpsc::Sender<Order<T>>,
    wake: Arc<OwnedFd>,
}

impl<T> Clone for Orders<T> {
    fn clone(&self) -> Self {
        Self { orders: self.orders.clone(), wake: self.wake.clone() }
    }
}

impl<T> Orders<T> {
    fn give(&self, order: Order<T>) {
        // A thread that is gone leaves a world in which nothing happens, which a test notices.
        let _ = self.orders.send(order);
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

/// The outside's hand on the thread, which ends when it is dropped; locks may hold more of it, and then with the last of them, or
/// with the process.
pub(super) struct Hand<T> {
    orders: Option<Orders<T>>,
    failure: Arc<Mutex<Option<String>>>,
}

impl<T: Households + 'static> Hand<T> {
    /// Starts a thread that obeys the orders and is woken by the descriptor.
    pub(super) fn start(
        name: &str,
        run: impl FnOnce(mpsc::Receiver<Order<T>>, Arc<OwnedFd>) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (give, orders) = mpsc::channel();
        let failure = Arc::new(Mutex::new(None));
        let (told, woken) = (failure.clone(), wake.clone());
        std::thread::Builder::new().name(name.into()).spawn(move || {
            if let Err(error) = run(orders, woken) {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
        })?;
        Ok(Self { orders: Some(Orders { orders: give, wake }), failure })
    }

    /// Another lock's radio.
    pub(super) fn add(&self, config: RadioConfig) -> Option<Mailbox> {
        let orders = self.orders.clone()?;
        let (tell, events) = async_mpsc::unbounded_channel();
        let lock = config.lock;
        orders.give(Order::Add(Box::new(config), tell));
        let act = move |act| orders.give(Order::Work(Box::new(move |town: &mut T| town.act(lock, act))));
        Some(Mailbox::new(act, events))
    }

    /// Does something to the town, on its thread, and waits for what it gives.
    pub(super) fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> io::Result<R> {
        let (tell, told) = mpsc::channel();
        if let Some(orders) = &self.orders {
            orders.give(Order::Work(Box::new(move |town| drop(tell.send(work(town))))));
        }
        told.recv().map_err(|_| {
            let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
            io::Error::other(failure.unwrap_or_else(|| "the air's thread has ended".into()))
        })
    }

    /// The module is pulled out of the gateway for so long.
    pub(super) fn unplug(&self, time: Duration) {
        if let Some(orders) = &self.orders {
            orders.give(Order::Unplug(time));
        }
    }
}

impl<T> Drop for Hand<T> {
    fn drop(&mut self) {
        if let Some(Orders { orders, wake }) = self.orders.take() {
            drop(orders);
            let _ = rustix::io::write(&*wake, &1_u64.to_ne_bytes());
        }
    }
}
