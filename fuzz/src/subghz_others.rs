//! The 433 MHz drivers beside the CC1101's: an SX126x on an SPI that answers anything, a serial module that says anything.

use std::convert::Infallible;

use cardea_subghz::serial::{self, Bytes, Gone, MAX_FRAME, Serial, cobs};
use cardea_subghz::sx126x::{self, Sx126x, WATCH_US};
use cardea_subghz::{Event, Line, Transceiver};
use embedded_hal::digital::{self, InputPin, OutputPin};
use embedded_hal::spi::{ErrorType, Operation, SpiDevice};

// ------------------------------------------------------------------------------------------ SX126x

/// What was written is read back, so that it comes up at all; everything else is what the fuzzer likes.
struct Hostile<'a> {
    bytes: std::slice::Iter<'a, u8>,
    registers: [u8; 256],
}

impl ErrorType for Hostile<'_> {
    type Error = Infallible;
}

impl SpiDevice for Hostile<'_> {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), Infallible> {
        for operation in operations {
            let Operation::TransferInPlace(bytes) = operation else { continue };
            match bytes {
                [0x0D, _, low, values @ ..] => {
                    let places = self.registers.iter_mut().skip(usize::from(*low));
                    places.zip(values).for_each(|(place, value)| *place = *value);
                }
                [0x1D, _, low, _, values @ ..] => {
                    let places = self.registers.iter().skip(usize::from(*low));
                    values.iter_mut().zip(places).for_each(|(value, place)| *value = *place);
                }
                [0x11 | 0x17, status, values @ ..] => {
                    *status = 0x32;
                    values.fill(0);
                }
                [_, rest @ ..] => {
                    rest.iter_mut().for_each(|place| *place = self.bytes.next().copied().unwrap_or(0x52));
                }
                [] => {}
            }
        }
        Ok(())
    }
}

/// BUSY as the fuzzer likes, then low.
struct Busy<'a>(std::slice::Iter<'a, u8>);

impl digital::ErrorType for Busy<'_> {
    type Error = Infallible;
}

impl InputPin for Busy<'_> {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.next().is_some_and(|byte| byte & 1 == 1))
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        self.is_high().map(|high| !high)
    }
}

struct Reset;

impl digital::ErrorType for Reset {
    type Error = Infallible;
}

impl OutputPin for Reset {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// No answer of the SPI and no BUSY makes the driver panic, look without end, or give a frame that cannot be one.
pub fn subghz_sx126x(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let (busy, data) = data.split_at(data.len() / 4);
    let spi = Hostile { bytes: data.iter(), registers: [0; 256] };
    let max_frame = if choice & 1 == 0 { 61 } else { 255 };
    let config = sx126x::Config { max_frame, ..sx126x::Config::default() };
    let mut radio = Sx126x::new(spi, Busy(busy.iter()), Reset, config, 0, 60 * WATCH_US);
    let mut now = 0;
    for turn in 0..200_u32 {
        match turn % 8 {
            0 => radio.handle_edge(now, Line::Done, true),
            1 => radio.handle_edge(now, Line::Done, false),
            2 => radio.abort(now),
            3 => radio.tune(now, 433_000_000 + turn),
            4 => _ = radio.carrier(now),
            _ => _ = radio.send(now, &[0x5A; 61], choice & 2 != 0),
        }
        now = radio.poll_timeout().clamp(now + 1, now + WATCH_US);
        radio.handle_timeout(now);
        while let Some(event) = radio.poll_event() {
            if let Event::Received(received) = event {
                assert!((1..=usize::from(max_frame)).contains(&received.frame.len()));
            }
        }
    }
}

// ------------------------------------------------------------------------------------------ serial

/// Gives the fuzzer's bytes some at a time, and takes some at a time.
struct Port<'a> {
    bytes: &'a [u8],
    chunk: usize,
}

impl Bytes for Port<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Gone> {
        let (now, later) = self.bytes.split_at(self.bytes.len().min(into.len()).min(self.chunk));
        into.iter_mut().zip(now).for_each(|(place, byte)| *place = *byte);
        self.bytes = later;
        Ok(now.len())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Gone> {
        if self.chunk == 13 { Err(Gone) } else { Ok(bytes.len().min(self.chunk)) }
    }

    fn open(&mut self) -> Result<(), Gone> {
        Ok(())
    }
}

/// No byte makes the decoder panic or keep more than it may; what it gives encodes to what came; and what the driver makes of it is a
/// frame with a right checksum.
pub fn subghz_serial(data: &[u8]) {
    let mut decoder = cobs::Decoder::<40>::default();
    for byte in data {
        if let Some(Ok(packet)) = decoder.push(*byte) {
            assert!(packet.len() < 40);
            let again = cobs::encode(packet);
            assert!(!again.contains(&0));
            let mut second = cobs::Decoder::<41>::default();
            assert!(again.iter().all(|byte| second.push(*byte).is_none()));
            assert_eq!(second.push(0), Some(Ok(packet)));
        }
    }
    let stuffed = cobs::encode(data);
    assert!(!stuffed.contains(&0) && stuffed.len() <= cobs::encoded(data.len()));

    let Some((choice, bytes)) = data.split_first() else { return };
    let config = serial::Config {
        module: cardea_subghz_link::Module {
            baud: 9_600,
            air_bps: 5_000,
            packet: 58,
            overhead_us: 10_000,
            hold_us: 10_000,
        },
        budget_us: 36_000_000,
        silence_us: 10_000_000,
    };
    let mut radio = Serial::new(Port { bytes, chunk: usize::from(*choice % 64) }, config, 0);
    let mut now = 0;
    for turn in 0..200_u32 {
        match turn % 8 {
            0 => radio.abort(now),
            1 => _ = radio.send(now, &[0; MAX_FRAME as usize], true),
            _ => {}
        }
        now = radio.poll_timeout().max(now + 1);
        radio.handle_timeout(now);
        while let Some(event) = radio.poll_event() {
            if let Event::Received(received) = event {
                assert!((1..=usize::from(MAX_FRAME)).contains(&received.frame.len()));
            }
        }
    }
}
