//! The CC1101 driver on an SPI that answers anything.

use std::convert::Infallible;

use cardea_subghz::cc1101::{Cc1101, Config, WATCH_US};
use cardea_subghz::{Event, Line, MAX_FRAME, Transceiver};
use embedded_hal::spi::{ErrorType, Operation, SpiDevice};

/// Registers that hold what was written, status registers and a FIFO that say what the fuzzer likes.
struct Hostile<'a> {
    bytes: std::slice::Iter<'a, u8>,
    registers: [u8; 64],
    accesses: u32,
}

impl ErrorType for Hostile<'_> {
    type Error = Infallible;
}

impl SpiDevice for Hostile<'_> {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
        self.accesses = self.accesses.saturating_add(1);
        for operation in operations {
            let Operation::TransferInPlace(bytes) = operation else { continue };
            let Some((header, rest)) = bytes.split_first_mut() else { continue };
            let address = usize::from(*header & 0x3F);
            let held = address < 0x2F || address == 0x3E;
            match (held, *header & 0x80 != 0) {
                (true, true) => {
                    for (place, held) in rest.iter_mut().zip(self.registers.iter().skip(address)) {
                        *place = *held;
                    }
                }
                (true, false) => {
                    for (held, value) in self.registers.iter_mut().skip(address).zip(rest.iter()) {
                        *held = *value;
                    }
                }
                // So that chips come up at all: a version, and two reads of a register mostly agree.
                (false, true) if address == 0x31 => rest.fill(0x14),
                (false, true) if address < 0x3E => {
                    let last = self.registers.get(address).copied().unwrap_or(0);
                    let value = match self.bytes.next() {
                        Some(next) if self.accesses.is_multiple_of(2) => *next,
                        _ => last,
                    };
                    if let Some(held) = self.registers.get_mut(address) {
                        *held = value;
                    }
                    rest.fill(value);
                }
                (false, _) => {
                    for place in rest {
                        *place = self.bytes.next().copied().unwrap_or(0);
                    }
                }
            }
            *header = 0x0F;
        }
        Ok(())
    }
}

/// No answer of the SPI makes the driver panic, look without end, or give a frame that cannot be one.
pub fn subghz_cc1101(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let spi = Hostile { bytes: data.iter(), registers: [0; 64], accesses: 0 };
    let max_frame = if choice & 1 == 0 { 61 } else { 255 };
    let mut radio = Cc1101::new(spi, Config { max_frame, ..Config::default() }, 0, 60 * WATCH_US);
    let mut now = 0;
    for turn in 0..200_u32 {
        match turn % 4 {
            0 => radio.handle_edge(now, Line::Packet, true),
            1 => radio.handle_edge(now, Line::Fifo, true),
            2 => radio.handle_edge(now, Line::Packet, false),
            _ => _ = radio.send(now, &[0x5A; 61], choice & 2 != 0),
        }
        now = radio.poll_timeout().clamp(now + 1, now + WATCH_US);
        radio.handle_timeout(now);
        while let Some(event) = radio.poll_event() {
            if let Event::Received(received) = event {
                assert!((1..=MAX_FRAME).contains(&received.frame.len()));
                assert!(received.frame.len() <= usize::from(max_frame));
            }
        }
    }
}
