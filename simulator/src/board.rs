//! The parts of a virtual lock that outlive its resets.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use cardea_agent::{Actuator, ActuatorFault, Board, Clock, Slot, Storage, StorageFault};
use cardea_credentials::{Error, SoftAgreement, SoftSigner};
use cardea_resources::{Bolt, Op};
use tokio::{sync::watch, time::Instant};

use crate::Random;

/// The types of a virtual lock.
pub(crate) struct VirtualBoard;

impl Board for VirtualBoard {
    type Storage = Nvm;
    type Clock = Crystal;
    type Random = Entropy;
    type Identity = SoftSigner;
    type Dh = SoftAgreement;
    type Actuator = Motor;
}

/// A lock's memory, for whoever holds a clone: it survives a simulated reset, and dies with the process.
#[derive(Clone, Default)]
pub struct Nvm(Arc<Mutex<BTreeMap<Slot, Vec<u8>>>>);

impl Nvm {
    /// The record in this slot.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<Vec<u8>> {
        self.with(|records| records.get(&slot).cloned())
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<Slot, Vec<u8>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Storage for Nvm {
    fn read(&mut self, slot: Slot, out: &mut [u8]) -> Result<Option<usize>, StorageFault> {
        self.with(|records| {
            let Some(record) = records.get(&slot) else { return Ok(None) };
            out.get_mut(..record.len()).ok_or(StorageFault)?.copy_from_slice(record);
            Ok(Some(record.len()))
        })
    }

    fn write(&mut self, slot: Slot, record: &[u8]) -> Result<(), StorageFault> {
        self.with(|records| records.insert(slot, record.to_vec()));
        Ok(())
    }

    fn erase(&mut self, slot: Slot) -> Result<(), StorageFault> {
        self.with(|records| records.remove(&slot));
        Ok(())
    }
}

/// Time since a boot, and since the lock was made.
#[derive(Clone, Copy)]
pub(crate) struct Crystal {
    pub(crate) made: Instant,
    pub(crate) booted: Instant,
}

impl Crystal {
    /// The moment at which [`Clock::millis`] will read this.
    pub(crate) fn instant(self, millis: u64) -> Instant {
        self.booted + std::time::Duration::from_millis(millis)
    }
}

impl Clock for Crystal {
    fn millis(&mut self) -> u64 {
        u64::try_from(self.booted.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn rtc(&mut self) -> Option<u64> {
        u64::try_from(self.made.elapsed().as_millis()).ok()
    }
}

/// Reproducible, and therefore no secret: for simulations only.
#[derive(Clone)]
pub(crate) struct Entropy(pub(crate) Arc<Random>);

impl cardea_credentials::Random for Entropy {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        self.0.fill(out);
        Ok(())
    }
}

/// A bolt that goes where it is driven; the world watches it.
#[derive(Clone)]
pub(crate) struct Motor {
    pub(crate) bolt: watch::Sender<Bolt>,
    pub(crate) battery: u8,
}

impl Actuator for Motor {
    fn drive(&mut self, op: Op) -> Result<Bolt, ActuatorFault> {
        let bolt = match op {
            Op::Lock => Bolt::Locked,
            Op::Unlock => Bolt::Unlocked,
        };
        self.bolt.send_replace(bolt);
        Ok(bolt)
    }

    fn bolt(&mut self) -> Bolt {
        *self.bolt.borrow()
    }

    fn battery(&mut self) -> u8 {
        self.battery
    }
}
