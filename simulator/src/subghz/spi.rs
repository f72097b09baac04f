use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use embedded_hal::spi::{ErrorType, Operation, SpiDevice};

use super::air::World;

/// A chip as an `embedded-hal` SPI device. A byte takes 2 µs of the air's clock, 4 MHz.
pub struct Spi {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) chip: usize,
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
                    read.iter_mut().for_each(|byte| *byte = world.exchange(self.chip, 0));
                }
                Operation::Write(write) => {
                    write.iter().for_each(|byte| _ = world.exchange(self.chip, *byte));
                }
                Operation::Transfer(read, write) => {
                    let mut write = write.iter();
                    for place in read.iter_mut() {
                        *place = world.exchange(self.chip, write.next().copied().unwrap_or(0));
                    }
                    write.for_each(|byte| _ = world.exchange(self.chip, *byte));
                }
                Operation::TransferInPlace(bytes) => {
                    bytes.iter_mut().for_each(|byte| *byte = world.exchange(self.chip, *byte));
                }
                Operation::DelayNs(ns) => world.advance_by(u64::from(*ns)),
            }
        }
        Ok(())
    }
}
