//! Accesses to the chip, each one SPI transaction.

use embedded_hal::spi::SpiDevice;

use super::registers::{COUNT, FIFO, Register, STABLE, Status, Strobe, access, port, state};
use crate::{Kind, Problem, stranger};

/// Reads of a register that changes meanwhile, until two in a row agree (errata: a read may meet the change). Many: on a model that gives
/// one wrong read in forty, eight were too few twice in some minutes of a busy channel, and a chip in order was reset.
const READS: usize = 24;
/// Looks at the state after an order to be idle, which takes the chip a microsecond or none.
const IDLE_LOOKS: usize = 16;

/// A byte that waits in front of a full receive FIFO, and is counted by RXBYTES.
const IN_FRONT: usize = 1;

pub(super) struct Chip<S> {
    spi: S,
}

impl<S: SpiDevice> Chip<S> {
    pub(super) fn new(spi: S) -> Self {
        Self { spi }
    }

    /// VERSION, of a CC1101 or of what may be a clone of one.
    pub(super) fn version(&mut self) -> Result<u8, Problem> {
        let version = self.steady(Status::Version)?;
        if !stranger::CC1101_VERSIONS.contains(&version) && stranger::is_sx126x(&mut self.spi) {
            return Err(Problem::Other(Kind::Sx126x));
        }
        if matches!(version, 0x00 | 0xFF) || self.strobe(Strobe::Snop)? & 0x80 != 0 {
            return Err(Problem::NoChip);
        }
        Ok(version)
    }

    /// The status byte that the chip answers.
    pub(super) fn strobe(&mut self, strobe: Strobe) -> Result<u8, Problem> {
        let mut bytes = [strobe as u8];
        self.transfer(&mut bytes)?;
        Ok(bytes[0])
    }

    pub(super) fn status(&mut self, status: Status) -> Result<u8, Problem> {
        let mut bytes = [status as u8 | access::READ | access::BURST, 0];
        self.transfer(&mut bytes)?;
        Ok(bytes[1])
    }

    /// A status register that may change while it is read.
    pub(super) fn steady(&mut self, status: Status) -> Result<u8, Problem> {
        let mut last = self.status(status)?;
        for _ in 0..READS {
            let this = self.status(status)?;
            if this == last {
                return Ok(this);
            }
            last = this;
        }
        Err(Problem::Stuck)
    }

    /// MARCSTATE. Nothing sleeps here, so what is no state, or asleep, is a dead line.
    pub(super) fn state(&mut self) -> Result<u8, Problem> {
        match self.steady(Status::MarcState)? {
            0x00 | 0x17.. => Err(Problem::NoChip),
            state => Ok(state),
        }
    }

    pub(super) fn write(&mut self, register: Register, value: u8) -> Result<(), Problem> {
        self.transfer(&mut [register as u8, value])
    }

    pub(super) fn configure(&mut self, registers: &[u8; COUNT], power: u8) -> Result<(), Problem> {
        let mut bytes = [access::BURST; 1 + COUNT];
        for (place, value) in bytes.iter_mut().skip(1).zip(registers) {
            *place = *value;
        }
        self.transfer(&mut bytes)?;
        self.transfer(&mut [port::PATABLE, power])
    }

    /// Whether the chip holds these, as far as it leaves them alone.
    pub(super) fn holds(&mut self, registers: &[u8; COUNT], power: u8) -> Result<bool, Problem> {
        let mut bytes = [0; 1 + STABLE];
        bytes[0] = access::READ | access::BURST;
        self.transfer(&mut bytes)?;
        let mut table = [port::PATABLE | access::READ, 0];
        self.transfer(&mut table)?;
        Ok(bytes.iter().skip(1).zip(registers).all(|(is, should)| is == should) && table[1] == power)
    }

    /// The first `n` bytes of the receive FIFO, behind what is in `into`.
    pub(super) fn read_fifo(&mut self, n: usize, into: &mut Vec<u8>) -> Result<(), Problem> {
        let mut bytes = [0; 1 + FIFO + IN_FRONT];
        bytes[0] = port::FIFO | access::READ | access::BURST;
        let Some(used) = bytes.get_mut(..=n) else { return Err(Problem::Stuck) };
        if n > 0 {
            self.transfer(used)?;
            into.extend(used.iter().skip(1));
        }
        Ok(())
    }

    /// As much of `bytes` as `room` allows; how much that was.
    pub(super) fn write_fifo(&mut self, bytes: &[u8], room: usize) -> Result<usize, Problem> {
        let n = bytes.len().min(room).min(FIFO);
        let mut burst = [0; 1 + FIFO];
        burst[0] = port::FIFO | access::BURST;
        for (place, value) in burst.iter_mut().skip(1).zip(bytes) {
            *place = *value;
        }
        match burst.get_mut(..=n) {
            Some(used) if n > 0 => self.transfer(used)?,
            _ => {}
        }
        Ok(n)
    }

    /// Idle, whatever it was doing.
    pub(super) fn idle(&mut self) -> Result<(), Problem> {
        self.strobe(Strobe::Sidle)?;
        for _ in 0..IDLE_LOOKS {
            match self.state()? {
                state::IDLE => return Ok(()),
                // Out of these only emptying the FIFO leads.
                state::RX_OVERFLOW => self.strobe(Strobe::Sfrx)?,
                state::TX_UNDERFLOW => self.strobe(Strobe::Sftx)?,
                _ => continue,
            };
        }
        Err(Problem::Stuck)
    }

    fn transfer(&mut self, bytes: &mut [u8]) -> Result<(), Problem> {
        self.spi.transfer_in_place(bytes).map_err(|_| Problem::NoChip)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use embedded_hal::spi::{ErrorType, Operation};

    use super::*;

    /// A register of which each second read is wrong until so many are over.
    struct Trembling {
        reads: usize,
        until: usize,
    }

    impl ErrorType for Trembling {
        type Error = Infallible;
    }

    impl SpiDevice for Trembling {
        fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
            for operation in operations {
                if let Operation::TransferInPlace([_, value]) = operation {
                    let wrong = self.reads < self.until && self.reads % 2 == 1;
                    *value = if wrong { 0x80 | self.reads as u8 } else { 0x0D };
                    self.reads += 1;
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_register_that_is_read_wrong_ten_times_running_is_no_chip_that_is_stuck() {
        let steady = |until| Chip::new(Trembling { reads: 0, until }).steady(Status::MarcState);
        assert_eq!(steady(20), Ok(0x0D));
        assert_eq!(
            steady(usize::MAX),
            Err(Problem::Stuck),
            "and one that is read wrong for ever is given up"
        );
    }
}
