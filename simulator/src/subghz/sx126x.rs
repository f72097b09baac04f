//! One SX126x in GFSK, as its SPI, BUSY and DIO1 show it. What it hears and says is [`air`](super::air)'s.
//!
//! From memory and from other open drivers, like the CC1101's; times of states are those that ST gives of the same radio (RM0453 table 33). There are packets of variable length with a
//! sync word of 32 bits, and of reception the single kind; not LoRa, sleep, fixed length, whitening, address filter, listening in turns.

use super::chip::{Faults, Heard, State};

/// To standby, on the crystal.
const STANDBY_NS: u64 = 31_000;
/// After any other order.
const ORDER_NS: u64 = 1_000;
/// All blocks, without a TCXO.
const CALIBRATE_NS: u64 = 3_500_000;
/// After NRESET, until BUSY falls: as from sleep without retention.
const BOOT_NS: u64 = 3_500_000;

const TX_DONE: u16 = 1 << 0;
const RX_DONE: u16 = 1 << 1;
const SYNC: u16 = 1 << 3;
const CRC_ERR: u16 = 1 << 6;
const TIMEOUT: u16 = 1 << 9;

/// What a module is made with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sx126xConfig {
    /// How far its crystal is off, parts per million.
    pub ppm: f64,
    /// It has a TCXO at DIO3, and without feeding that no oscillator; without, feeding one gives none.
    pub tcxo: bool,
}

pub(super) struct Sx126x {
    pub(super) config: Sx126xConfig,
    pub(super) faults: Faults,
    pub(super) state: State,
    pub(super) due: Option<u64>,
    busy_until: u64,
    /// NRESET is low.
    held: bool,
    /// In standby: on the crystal.
    crystal: bool,
    registers: Vec<u8>,
    buffer: [u8; 256],
    irq: u16,
    mask: u16,
    dio1: u16,
    errors: u16,
    pub(super) kind: u8,
    fallback: u8,
    pub(super) frequency: u32,
    pub(super) modulation: [u8; 8],
    pub(super) packet: [u8; 9],
    pub(super) dbm: i8,
    tcxo_ns: Option<u64>,
    /// What is being told; `None` after it was told something while busy.
    command: Option<Vec<u8>>,
    /// Orders that came while it was busy, which a real chip may take for anything.
    violations: u64,
    /// Next byte of the buffer that goes out; `None`: the length does.
    out: Option<u8>,
    tx_end: Option<u64>,
    /// Length of what comes in, and how much of it is here.
    incoming: Option<(u8, u8)>,
    found: (u8, u8),
}

impl Sx126x {
    pub(super) fn new(config: Sx126xConfig) -> Self {
        let mut registers = vec![0; 0x1000];
        let reset = [
            (0x0320, &b"SX1261 V2D 2D02\0"[..]),
            (0x06BC, &[0x1D, 0x0F, 0x10, 0x21]),
            (0x06C0, &[0x97, 0x23, 0x52, 0x25, 0x56, 0x53, 0x65, 0x64]),
            (0x08AC, &[0x94]),
            (0x08D8, &[0xC8]),
        ];
        for (at, values) in reset {
            for (place, value) in registers.iter_mut().skip(at).zip(values) {
                *place = *value;
            }
        }
        Self {
            config,
            faults: Faults::default(),
            state: State::Idle,
            due: None,
            busy_until: 0,
            held: false,
            crystal: false,
            registers,
            buffer: [0; 256],
            irq: 0,
            mask: 0,
            dio1: 0,
            // The oscillator did not start, for want of a feed.
            errors: if config.tcxo { 1 << 5 } else { 0 },
            kind: 0xFF,
            fallback: 0x20,
            frequency: 0,
            modulation: [0; 8],
            packet: [0; 9],
            dbm: 0,
            tcxo_ns: None,
            command: None,
            violations: 0,
            out: None,
            tx_end: None,
            incoming: None,
            found: (0, 0),
        }
    }

    pub(super) fn register(&self, at: u16) -> u8 {
        self.registers.get(usize::from(at)).copied().unwrap_or(0)
    }

    pub(super) fn violations(&self) -> u64 {
        self.violations
    }

    pub(super) fn reset(&mut self, now: u64) {
        let faults = Faults { stuck: false, deaf: false, ..self.faults };
        let (violations, held) = (self.violations, self.held);
        *self = Self { faults, violations, held, busy_until: now + BOOT_NS, ..Self::new(self.config) };
    }

    /// NRESET.
    pub(super) fn hold(&mut self, now: u64, low: bool) {
        self.held = low;
        self.reset(now);
    }

    pub(super) fn busy(&self, now: u64) -> bool {
        self.faults.busy.unwrap_or(self.held || now < self.busy_until)
    }

    // ------------------------------------------------------------------------------------- SPI

    pub(super) fn select(&mut self, now: u64) {
        if self.held || now < self.busy_until {
            self.violations += 1;
            self.command = None;
        } else {
            self.command = Some(Vec::new());
        }
    }

    /// One byte in, one byte out.
    pub(super) fn exchange(&mut self, now: u64, byte: u8, heard: Heard) -> u8 {
        if let Some(dead) = self.faults.dead_spi {
            return dead;
        }
        let Some(mut command) = self.command.take() else { return 0 };
        command.push(byte);
        let answer = self.answer(&command, heard);
        self.write(now, &command);
        let whole = length(command.first().copied().unwrap_or(0)) == Some(command.len());
        if whole {
            self.order(now, &command);
        }
        self.command = Some(command);
        answer
    }

    fn status(&self) -> u8 {
        let mode = match self.state {
            State::Rx => 5,
            State::Tx => 6,
            State::Idle if self.crystal => 3,
            State::Idle => 2,
            _ => 4,
        };
        mode << 4 | 1 << 1
    }

    fn answer(&self, command: &[u8], heard: Heard) -> u8 {
        let at = command.len() - 1;
        let place = |first: usize| -> u8 {
            let Some([address @ .., _]) = command.get(1..first) else { return 0 };
            let base = address.iter().fold(0, |base, byte| base << 8 | usize::from(*byte));
            if first == 4 {
                self.registers.get(base + at - first).copied().unwrap_or(0)
            } else {
                self.buffer.get((base + at - first) % 256).copied().unwrap_or(0)
            }
        };
        match (command.first(), at) {
            (Some(0x1D), 4..) => place(4),
            (Some(0x1E), 3..) => place(3),
            (Some(0x11), 2) => self.kind,
            (Some(0x12), 2) => self.irq.to_be_bytes()[0],
            (Some(0x12), 3) => self.irq.to_be_bytes()[1],
            (Some(0x13), 2) => self.found.0,
            (Some(0x14), 3 | 4) => self.found.1,
            (Some(0x15), 2) => strength(heard.dbm),
            (Some(0x17), 2) => self.errors.to_be_bytes()[0],
            (Some(0x17), 3) => self.errors.to_be_bytes()[1],
            (Some(0x13 | 0x14 | 0x1D), 2..) => 0,
            _ => self.status(),
        }
    }

    /// Registers and buffer take their bytes one by one.
    fn write(&mut self, now: u64, command: &[u8]) {
        match *command {
            [0x0D, high, low, .., byte] if command.len() > 3 => {
                let at = usize::from(u16::from_be_bytes([high, low])) + command.len() - 4;
                let bad = self.faults.bad_bit.filter(|(bad, _)| usize::from(*bad) == at & 0xFF);
                if let Some(place) = self.registers.get_mut(at) {
                    *place = byte & !bad.map_or(0, |(_, bit)| bit);
                }
            }
            [0x0E, offset, .., byte] if command.len() > 2 => {
                if let Some(place) = self.buffer.get_mut((usize::from(offset) + command.len() - 3) % 256) {
                    *place = byte;
                }
            }
            _ => return,
        }
        self.busy_until = now + ORDER_NS;
    }

    fn order(&mut self, now: u64, command: &[u8]) {
        let word = |from: usize| {
            let [high, low] =
                [command.get(from), command.get(from + 1)].map(|byte| byte.copied().unwrap_or(0));
            u16::from_be_bytes([high, low])
        };
        let mut takes = ORDER_NS;
        match *command {
            [0x80 | 0x82 | 0x83, ..] if self.faults.stuck => {}
            [0x80, crystal] => {
                self.rest();
                self.crystal = crystal == 1;
                takes = STANDBY_NS;
            }
            [0x82, ..] => {
                self.rest();
                takes = self.settle_ns(false);
                (self.state, self.due) = (State::Settling(false), Some(now + takes));
            }
            [0x83, a, b, c] => {
                self.rest();
                let timeout = u64::from(u32::from_be_bytes([0, a, b, c])) * 15_625;
                self.tx_end = (timeout > 0).then_some(now + timeout);
                takes = self.settle_ns(true);
                (self.state, self.due) = (State::Settling(true), Some(now + takes));
            }
            [0x89, _] => {
                takes = CALIBRATE_NS + self.tcxo_ns.unwrap_or(0);
                // A TCXO without its feed, or a crystal that is taken for a TCXO.
                if self.config.tcxo != self.tcxo_ns.is_some() {
                    self.errors |= 1 << 5;
                }
            }
            [0x97, _, a, b, c] => self.tcxo_ns = Some(u64::from(u32::from_be_bytes([0, a, b, c])) * 15_625),
            [0x93, fallback] => self.fallback = fallback,
            [0x08, ..] => (self.mask, self.dio1) = (word(1), word(3)),
            [0x02, ..] => self.irq &= !word(1),
            [0x86, a, b, c, d] => self.frequency = u32::from_be_bytes([a, b, c, d]),
            [0x8A, kind] => self.kind = kind,
            [0x8B, ref rest @ ..] => copy(&mut self.modulation, rest),
            [0x8C, ref rest @ ..] => copy(&mut self.packet, rest),
            [0x8E, power, _] => self.dbm = i8::from_le_bytes([power]),
            [0x07, ..] => self.errors = 0,
            _ => {}
        }
        self.busy_until = now + takes;
    }

    /// From standby to receive or transmit, nanoseconds, BUSY all the while.
    fn settle_ns(&self, transmit: bool) -> u64 {
        match (self.crystal, transmit) {
            (false, false) => 83_000,
            (false, true) => 126_000,
            (true, false) => 62_000,
            (true, true) => 105_000,
        }
    }

    fn rest(&mut self) {
        (self.state, self.due, self.out, self.tx_end, self.incoming) = (State::Idle, None, None, None, None);
    }

    fn fall_back(&mut self) {
        self.rest();
        self.crystal = self.fallback == 0x30;
    }

    fn interrupt(&mut self, which: u16) {
        self.irq |= which & self.mask;
    }

    /// The state that a timer led to; true when it begins to transmit.
    pub(super) fn settled(&mut self, _now: u64) -> bool {
        self.due = None;
        self.state = match self.state {
            State::Settling(false) => State::Rx,
            State::Settling(true) => State::Tx,
            other => other,
        };
        self.state == State::Tx
    }

    pub(super) fn line(&self) -> bool {
        self.irq & self.dio1 != 0
    }

    // ------------------------------------------------------------------------------------- packets

    /// What goes out next.
    pub(super) fn take(&mut self) -> Option<u8> {
        let at = self.out;
        self.out = Some(at.map_or(0, |at| at.wrapping_add(1)));
        match at {
            None => self.packet.get(6).copied(),
            Some(at) => self.buffer.get(usize::from(at)).copied(),
        }
    }

    pub(super) fn transmitted(&mut self, now: u64) {
        let late = self.tx_end.is_some_and(|end| now > end);
        self.interrupt(if late { TIMEOUT } else { TX_DONE });
        self.fall_back();
    }

    pub(super) fn synced(&mut self) {
        self.interrupt(SYNC);
    }

    pub(super) fn put(&mut self, byte: u8) {
        match &mut self.incoming {
            None => self.incoming = Some((byte, 0)),
            Some((_, at)) => {
                if let Some(place) = self.buffer.get_mut(usize::from(*at)) {
                    *place = byte;
                }
                *at = at.wrapping_add(1);
            }
        }
    }

    pub(super) fn finish(&mut self, right: bool, dbm: f64) {
        self.found = (self.incoming.map_or(0, |(len, _)| len), strength(dbm));
        self.interrupt(RX_DONE | if right { 0 } else { CRC_ERR });
        self.fall_back();
    }
}

fn strength(dbm: f64) -> u8 {
    (-2.0 * dbm).round().clamp(0.0, 255.0) as u8
}

fn copy(to: &mut [u8], from: &[u8]) {
    for (place, value) in to.iter_mut().zip(from) {
        *place = *value;
    }
}

/// Bytes of an order with its opcode.
fn length(opcode: u8) -> Option<usize> {
    Some(match opcode {
        0x80 | 0x89 | 0x8A | 0x93 | 0x96 | 0x9D => 2,
        0x02 | 0x07 | 0x8E | 0x8F | 0x98 => 3,
        0x82 | 0x83 => 4,
        0x86 | 0x95 | 0x97 => 5,
        0x08 | 0x8B => 9,
        0x8C => 10,
        _ => return None,
    })
}
