//! spidev. What is here was compiled, and never opened a device.

use std::path::Path;

use embedded_hal::spi::{ErrorType, Operation, SpiDevice};
use spidev::{SpiModeFlags, Spidev, SpidevOptions, SpidevTransfer};

use super::{BusError, OpenError};

/// spidev; each transaction of the drivers is one transfer in place.
pub(super) struct SpidevChip(Spidev);

pub(super) fn open(path: &Path, speed_hz: u32) -> Result<SpidevChip, OpenError> {
    let error = |error| OpenError::Device(path.to_owned(), error);
    let mut spi = Spidev::open(path).map_err(error)?;
    let mut options = SpidevOptions::new();
    options.bits_per_word(8).max_speed_hz(speed_hz).mode(SpiModeFlags::SPI_MODE_0);
    spi.configure(&options).map_err(error)?;
    Ok(SpidevChip(spi))
}

impl ErrorType for SpidevChip {
    type Error = BusError;
}

impl SpiDevice for SpidevChip {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), BusError> {
        let mut transfers = Vec::with_capacity(operations.len());
        for operation in operations {
            transfers.push(match operation {
                Operation::Read(read) => SpidevTransfer::read(read),
                Operation::Write(write) => SpidevTransfer::write(write),
                Operation::TransferInPlace(bytes) => SpidevTransfer::read_write_in_place(bytes),
                Operation::Transfer(read, write) if read.len() == write.len() => {
                    SpidevTransfer::read_write(write, read)
                }
                // The drivers have neither.
                Operation::Transfer(..) | Operation::DelayNs(_) => return Err(BusError),
            });
        }
        self.0.transfer_multiple(&mut transfers).map_err(|_| BusError)
    }
}
