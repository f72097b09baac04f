use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use embedded_hal::digital;
use embedded_hal::spi::{ErrorType, Operation, SpiDevice};

use super::air::World;

/// A byte takes so long: 4 MHz.
const BYTE_NS: u64 = 2_000;

/// A chip as an `embedded-hal` SPI device. A byte takes 2 µs of the air's clock, unless it is [`at_once`](Self::at_once).
pub struct Spi {
    pub(super) byte_ns: u64,
    pub(super) world: Arc<Mutex<World>>,
    pub(super) chip: usize,
}

impl Spi {
    pub(super) fn new(world: Arc<Mutex<World>>, chip: usize) -> Self {
        Self { byte_ns: BYTE_NS, world, chip }
    }

    /// Takes no time. For many on one air: their hosts work at the same time, and the air has one clock.
    #[must_use]
    pub fn at_once(self) -> Self {
        Self { byte_ns: 0, ..self }
    }

    /// BUSY and NRESET of an SX126x. On a CC1101 they are wires that end nowhere: BUSY is low, and NRESET does nothing.
    #[must_use]
    pub fn pins(&self) -> (BusyPin, ResetPin) {
        (BusyPin(Arc::clone(&self.world), self.chip), ResetPin(Arc::clone(&self.world), self.chip))
    }

    /// Which chip of the air it is.
    #[must_use]
    pub fn chip(&self) -> usize {
        self.chip
    }
}

impl ErrorType for Spi {
    type Error = Infallible;
}

impl SpiDevice for Spi {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.select(self.chip);
        for operation in operations {
            match operation {
                Operation::Read(read) => {
                    read.iter_mut().for_each(|byte| *byte = world.exchange(self.chip, self.byte_ns, 0));
                }
                Operation::Write(write) => {
                    write.iter().for_each(|byte| _ = world.exchange(self.chip, self.byte_ns, *byte));
                }
                Operation::Transfer(read, write) => {
                    let mut write = write.iter();
                    for place in read.iter_mut() {
                        *place = world.exchange(self.chip, self.byte_ns, write.next().copied().unwrap_or(0));
                    }
                    write.for_each(|byte| _ = world.exchange(self.chip, self.byte_ns, *byte));
                }
                Operation::TransferInPlace(bytes) => {
                    bytes.iter_mut().for_each(|byte| *byte = world.exchange(self.chip, self.byte_ns, *byte));
                }
                Operation::DelayNs(ns) => world.advance_by(u64::from(*ns)),
            }
        }
        Ok(())
    }
}

/// BUSY of an SX126x. A look takes a microsecond of the air's clock.
pub struct BusyPin(Arc<Mutex<World>>, usize);

impl digital::ErrorType for BusyPin {
    type Error = Infallible;
}

impl digital::InputPin for BusyPin {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).busy(self.1))
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        self.is_high().map(|high| !high)
    }
}

/// NRESET of an SX126x.
pub struct ResetPin(Arc<Mutex<World>>, usize);

impl ResetPin {
    fn hold(&self, low: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hold(self.1, low);
    }
}

impl digital::ErrorType for ResetPin {
    type Error = Infallible;
}

impl digital::OutputPin for ResetPin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.hold(true);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.hold(false);
        Ok(())
    }
}
