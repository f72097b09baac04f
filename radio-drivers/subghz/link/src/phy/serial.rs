//! What a transparent serial module costs: bytes on two UARTs, packets of its own on the air, and the time for which it keeps them.

use crate::Micros;

/// What a port may be late with taking bytes, or with giving them.
pub const PORT: Micros = 5_000;
/// LEN, frame and checksum are stuffed, which costs a byte, and stand between two zeros.
const AROUND: u64 = 1 + 2 + 1 + 2;
/// LEN of the longest frame.
const LONGEST: usize = 61;

/// A transparent serial module (HC-12, E32 and their like), as its maker describes it and as it is set up. Both ends of a link have the same
/// numbers: what one may take, the other waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    /// Of the UART, the slower one where the two ends differ; ten bits a byte.
    pub baud: u32,
    /// On the air, bits per second.
    pub air_bps: u32,
    /// Bytes that the module puts into one packet of its own.
    pub packet: u16,
    /// What a packet of its own costs beside its bytes: preamble, header, checksum, turning round.
    pub overhead_us: u32,
    /// From the last byte at the module until it begins, and from the end of the air until the first byte leaves it, at the most.
    pub hold_us: u32,
}

impl Module {
    /// HC-12 in its mode FU3 at 9 600 baud, which is how it is delivered: its manual (V2.4) has 15 kbit/s on the air and 4 to 80 ms of delay for
    /// a byte. How it cuts the stream and what a packet costs it does not say: one packet for each frame, and 10 ms, are our guess.
    pub const HC12: Self =
        Self { baud: 9_600, air_bps: 15_000, packet: 80, overhead_us: 10_000, hold_us: 80_000 };

    /// E32 (SX1278) at 9 600 baud and 2.4 kbit/s on the air, which is how it is delivered; it cuts the stream every 58 bytes. What a LoRa packet
    /// costs and how long it waits for more bytes are our guess.
    pub const E32: Self =
        Self { baud: 9_600, air_bps: 2_400, packet: 58, overhead_us: 70_000, hold_us: 30_000 };

    /// So many bytes on the UART.
    #[must_use]
    pub const fn wire_us(&self, bytes: usize) -> Micros {
        let baud = if self.baud == 0 { 1 } else { self.baud as u64 };
        (bytes as u64 * 10_000_000).div_ceil(baud)
    }

    /// So many bytes on the air, in packets of the module's.
    #[must_use]
    pub const fn air_us(&self, bytes: usize) -> Micros {
        let packet = if self.packet == 0 { 1 } else { self.packet as u64 };
        let rate = if self.air_bps == 0 { 1 } else { self.air_bps as u64 };
        let packets = (bytes as u64).div_ceil(packet);
        packets * self.overhead_us as u64 + (bytes as u64 * 8_000_000).div_ceil(rate)
    }

    /// Bytes of the stream for a frame whose LEN byte is `len`.
    #[must_use]
    pub const fn stream(len: usize) -> usize {
        len + AROUND as usize
    }

    /// How much later than it is handed over the first bit of a frame may leave: all bytes of the longest on the UART, the port, and the
    /// module's own time.
    #[must_use]
    pub const fn start_us(&self) -> Micros {
        self.wire_us(Self::stream(LONGEST)) + PORT + self.hold_us as u64
    }

    /// From the end of the air until a frame of this LEN is out of the other module's UART and was read, at the most.
    #[must_use]
    pub const fn deliver_us(&self, len: usize) -> Micros {
        self.hold_us as u64 + self.wire_us(Self::stream(len)) + PORT
    }
}
