//! Accesses to the chip, each one SPI transaction behind a bounded look at BUSY.

use embedded_hal::digital::{InputPin, OutputPin};
use embedded_hal::spi::SpiDevice;

use super::command::{Command, Config, RX_GAIN, mode, query, register};
use crate::{Kind, MAX_FRAME, Problem, stranger};

/// Looks at BUSY before an access. After most orders it is high for some microseconds, and a look through a kernel takes about one.
pub const BUSY_LOOKS: usize = 64;

/// Why an access gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// BUSY is high: nothing was done.
    Busy,
    Is(Problem),
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Is(problem)
    }
}

/// A packet that the chip has.
pub(super) struct Found {
    pub(super) frame: Vec<u8>,
    pub(super) rssi: u8,
}

pub(super) struct Chip<S, B, R> {
    spi: S,
    busy: B,
    reset: R,
}

impl<S: SpiDevice, B: InputPin, R: OutputPin> Chip<S, B, R> {
    pub(super) fn new(spi: S, busy: B, reset: R) -> Self {
        Self { spi, busy, reset }
    }

    /// NRESET low or high.
    pub(super) fn hold(&mut self, held: bool) -> Result<(), Trouble> {
        let result = if held { self.reset.set_low() } else { self.reset.set_high() };
        result.map_err(|_| Problem::NoChip.into())
    }

    pub(super) fn order(&mut self, command: Command<'_>) -> Result<(), Trouble> {
        self.write(&command.encode())
    }

    pub(super) fn write(&mut self, command: &[u8]) -> Result<(), Trouble> {
        self.transfer(&mut command.to_vec())
    }

    /// Mode, from the status byte. What is no mode is a dead line.
    pub(super) fn mode(&mut self) -> Result<u8, Trouble> {
        let mut bytes = [query::STATUS, 0];
        self.transfer(&mut bytes)?;
        alive(bytes[1])
    }

    /// Whether it is one. Who has no name may be a clone.
    pub(super) fn recognise(&mut self) -> Result<(), Trouble> {
        self.mode()?;
        let name: [u8; 8] = self.registers(register::NAME)?;
        if stranger::is_name(&name) {
            Ok(())
        } else {
            self.stranger().map_or(Ok(()), |other| Err(other.into()))
        }
    }

    /// What is there instead, whatever BUSY says: on another chip's pin it means something else.
    pub(super) fn stranger(&mut self) -> Option<Problem> {
        stranger::is_cc1101(&mut self.spi).then_some(Problem::Other(Kind::Cc1101))
    }

    pub(super) fn irq(&mut self) -> Result<u16, Trouble> {
        Ok(u16::from_be_bytes(self.ask(query::IRQ)?))
    }

    pub(super) fn errors(&mut self) -> Result<u16, Trouble> {
        Ok(u16::from_be_bytes(self.ask(query::ERRORS)?))
    }

    pub(super) fn rssi(&mut self) -> Result<u8, Trouble> {
        let [rssi] = self.ask(query::RSSI)?;
        Ok(rssi)
    }

    /// The packet, right or wrong; at most [`MAX_FRAME`] bytes, which one byte of length cannot exceed.
    pub(super) fn found(&mut self) -> Result<Found, Trouble> {
        let [len, start] = self.ask(query::RX_BUFFER)?;
        let [_, rssi, _] = self.ask(query::PACKET)?;
        let mut bytes = [0; 3 + MAX_FRAME];
        let used = bytes.get_mut(..3 + usize::from(len)).ok_or(Problem::Stuck)?;
        if let [opcode, offset, ..] = used {
            (*opcode, *offset) = (query::BUFFER, start);
        }
        self.transfer(used)?;
        Ok(Found { frame: used.get(3..).unwrap_or_default().to_vec(), rssi })
    }

    /// Whether it holds what was written, as far as it can be read.
    pub(super) fn holds(&mut self, config: &Config) -> Result<bool, Trouble> {
        let held: [u8; 8] = self.registers(register::CRC_INITIAL)?;
        let [gain] = self.registers(register::RX_GAIN)?;
        let [kind] = self.ask(query::PACKET_TYPE)?;
        Ok(held == config.held() && gain == RX_GAIN && kind == 0)
    }

    pub(super) fn registers<const N: usize>(&mut self, address: u16) -> Result<[u8; N], Trouble> {
        let mut bytes = [0; 12];
        let [high, low] = address.to_be_bytes();
        let used = bytes.get_mut(..4 + N).ok_or(Problem::Stuck)?;
        if let [opcode, first, second, ..] = used {
            (*opcode, *first, *second) = (query::REGISTER, high, low);
        }
        self.transfer(used)?;
        used.last_chunk().copied().ok_or_else(|| Problem::Stuck.into())
    }

    /// A question without arguments: its answer behind a status byte, which is looked at.
    fn ask<const N: usize>(&mut self, opcode: u8) -> Result<[u8; N], Trouble> {
        let mut bytes = [0; 6];
        let used = bytes.get_mut(..2 + N).ok_or(Problem::Stuck)?;
        if let Some(first) = used.first_mut() {
            *first = opcode;
        }
        self.transfer(used)?;
        alive(used.get(1).copied().unwrap_or(0))?;
        used.last_chunk().copied().ok_or_else(|| Problem::Stuck.into())
    }

    fn transfer(&mut self, bytes: &mut [u8]) -> Result<(), Trouble> {
        for _ in 0..BUSY_LOOKS {
            if !self.busy.is_high().map_err(|_| Problem::NoChip)? {
                return self.spi.transfer_in_place(bytes).map_err(|_| Problem::NoChip.into());
            }
        }
        Err(Trouble::Busy)
    }
}

/// The mode of a status byte; bit 7 is met both ways. A line that is stuck says 0 or 7, which are none.
fn alive(status: u8) -> Result<u8, Trouble> {
    match status >> 4 & 7 {
        known @ mode::STANDBY_RC..=mode::TX => Ok(known),
        _ => Err(Problem::NoChip.into()),
    }
}
