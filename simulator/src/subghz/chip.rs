//! One CC1101 as its registers and its SPI show it. What it hears and says is [`air`](super::air)'s.

use std::collections::VecDeque;

use crate::Random;

/// A FIFO, bytes.
pub(super) const FIFO: usize = 64;
/// Leaving idle with calibration, nanoseconds (SWRS061 table 34, 26 MHz).
const CALIBRATION_NS: u64 = 724_000;
/// Leaving idle without, or after it.
const SETTLE_NS: u64 = 75_000;
/// Between transmit and receive.
const SWITCH_NS: u64 = 31_000;
/// After a reset until the SPI means anything.
const RESET_NS: u64 = 150_000;

/// What a module is made with.
#[derive(Debug, Clone, Copy)]
pub struct ChipConfig {
    /// PARTNUM.
    pub part: u8,
    /// VERSION: 0x04 and 0x14 are TI's, 0x03, 0x07 and 0x17 are met in clones.
    pub version: u8,
    /// How far its crystal is off, parts per million.
    pub ppm: f64,
    /// Whether the errata are there.
    pub errata: bool,
}

impl Default for ChipConfig {
    fn default() -> Self {
        Self { part: 0x00, version: 0x14, ppm: 0.0, errata: true }
    }
}

/// What can be wrong with a module, at any time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The SPI answers nothing but this byte.
    pub dead_spi: Option<u8>,
    /// Strobes but a reset do nothing, and time does not either.
    pub stuck: bool,
    /// It hears nothing until it is reset.
    pub deaf: bool,
    /// BUSY of an SX126x stays like this; of a CC1101, what is at that wire.
    pub busy: Option<bool>,
    /// Its edges reach nobody.
    pub mute_lines: bool,
    /// This register loses this bit whenever it is written.
    pub bad_bit: Option<(u8, u8)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    /// On the way to receive (false) or transmit (true).
    Calibrating(bool),
    Settling(bool),
    ToRx,
    ToTx,
    Rx,
    Tx,
    Overflow,
    Underflow,
}

impl State {
    fn marc(self) -> u8 {
        match self {
            Self::Idle => 0x01,
            Self::Calibrating(_) => 0x08,
            Self::Settling(_) => 0x0A,
            Self::ToRx => 0x10,
            Self::ToTx => 0x15,
            Self::Rx => 0x0D,
            Self::Tx => 0x13,
            Self::Overflow => 0x11,
            Self::Underflow => 0x16,
        }
    }

    /// Bits 6 to 4 of the status byte.
    fn short(self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::Rx => 1,
            Self::Tx => 2,
            Self::Calibrating(_) => 4,
            Self::Settling(_) | Self::ToRx | Self::ToTx => 5,
            Self::Overflow => 6,
            Self::Underflow => 7,
        }
    }
}

/// Where an SPI access is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Access {
    #[default]
    Header,
    One(u8, bool),
    Burst(u8, bool),
}

/// What the air tells a chip that is asked for it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    /// RSSI register.
    pub(super) rssi: u8,
    pub(super) carrier: bool,
    pub(super) dbm: f64,
}

/// Values after a reset (SWRS061 section 29).
#[rustfmt::skip]
const RESET: [u8; 0x2F] = [
    0x29, 0x2E, 0x3F, 0x07, 0xD3, 0x91, 0xFF, 0x04, 0x45, 0x00, 0x00, 0x0F, 0x00, 0x1E, 0xC4, 0xEC,
    0x8C, 0x22, 0x02, 0x22, 0xF8, 0x47, 0x07, 0x30, 0x04, 0x36, 0x6C, 0x03, 0x40, 0x91, 0x87, 0x6B,
    0xF8, 0x56, 0x10, 0xA9, 0x0A, 0x20, 0x0D, 0x41, 0x00, 0x59, 0x7F, 0x3F, 0x88, 0x31, 0x0B,
];

pub(super) struct Chip {
    pub(super) config: ChipConfig,
    pub(super) faults: Faults,
    registers: [u8; 0x2F],
    pub(super) patable: [u8; 8],
    pub(super) state: State,
    /// When the state changes by itself.
    pub(super) due: Option<u64>,
    ready: u64,
    pub(super) rx: VecDeque<u8>,
    pub(super) tx: VecDeque<u8>,
    pub(super) overflow: bool,
    /// From sync word to the end, in or out.
    pub(super) packet: bool,
    pub(super) freqest: i8,
    /// Errata: the byte that comes twice.
    twice: Option<u8>,
    access: Access,
    power_at: usize,
}

impl Chip {
    pub(super) fn new(config: ChipConfig) -> Self {
        Self {
            config,
            faults: Faults::default(),
            registers: RESET,
            patable: [0xC6, 0, 0, 0, 0, 0, 0, 0],
            state: State::Idle,
            due: None,
            ready: 0,
            rx: VecDeque::new(),
            tx: VecDeque::new(),
            overflow: false,
            packet: false,
            freqest: 0,
            twice: None,
            access: Access::Header,
            power_at: 0,
        }
    }

    pub(super) fn get(&self, register: u8) -> u8 {
        self.registers.get(usize::from(register)).copied().unwrap_or(0)
    }

    /// As after the supply was away: registers are those of a reset, and it is idle.
    pub(super) fn reset(&mut self, now: u64) {
        let faults = Faults { stuck: false, deaf: false, ..self.faults };
        *self = Self { faults, ready: now + RESET_NS, ..Self::new(self.config) };
    }

    // ------------------------------------------------------------------------------------- SPI

    pub(super) fn select(&mut self) {
        (self.access, self.power_at) = (Access::Header, 0);
    }

    /// One byte in, one byte out.
    pub(super) fn exchange(&mut self, now: u64, byte: u8, heard: Heard, chance: &Random) -> u8 {
        if let Some(dead) = self.faults.dead_spi {
            return dead;
        }
        match self.access {
            Access::Header => {
                let (read, burst, address) = (byte & 0x80 != 0, byte & 0x40 != 0, byte & 0x3F);
                let status = self.status_byte(now, read);
                if now >= self.ready {
                    match address {
                        0x30..=0x3D if !burst => self.strobe(now, address, heard),
                        _ if burst => self.access = Access::Burst(address, read),
                        _ => self.access = Access::One(address, read),
                    }
                }
                status
            }
            Access::One(address, read) => {
                self.access = Access::Header;
                self.data(now, address, read, byte, heard, chance)
            }
            Access::Burst(address, read) => {
                self.access = match address {
                    0x30..=0x3D => Access::Header, // status registers have no burst
                    0x3E.. => self.access,
                    _ => Access::Burst(address + 1, read),
                };
                self.data(now, address, read, byte, heard, chance)
            }
        }
    }

    fn status_byte(&self, now: u64, read: bool) -> u8 {
        let fifo = if read { self.rx.len() } else { FIFO - self.tx.len() };
        u8::from(now < self.ready) << 7 | self.state.short() << 4 | fifo.min(15) as u8
    }

    fn data(&mut self, now: u64, address: u8, read: bool, byte: u8, heard: Heard, chance: &Random) -> u8 {
        match (address, read) {
            (0x30..=0x3D, true) => self.status(address, heard, chance),
            (0x3E, _) => {
                let at = self.power_at % self.patable.len();
                self.power_at += 1;
                let Some(place) = self.patable.get_mut(at) else { return 0 };
                if read {
                    return *place;
                }
                *place = byte;
                self.status_byte(now, false)
            }
            (0x3F, true) => self.fetch(),
            (0x3F, false) => {
                let status = self.status_byte(now, false);
                // A full FIFO takes nothing more.
                if self.tx.len() < FIFO {
                    self.tx.push_back(byte);
                }
                status
            }
            (_, true) => self.get(address),
            (_, false) => {
                let lost = self.faults.bad_bit.filter(|(bad, _)| *bad == address).map_or(0, |(_, bit)| bit);
                if let Some(place) = self.registers.get_mut(usize::from(address)) {
                    *place = byte & !lost;
                }
                self.status_byte(now, false)
            }
        }
    }

    fn fetch(&mut self) -> u8 {
        let byte = self.rx.pop_front().unwrap_or(0);
        if self.config.errata && self.rx.is_empty() && self.packet && self.state == State::Rx {
            self.twice = Some(byte);
        }
        byte
    }

    fn status(&self, address: u8, heard: Heard, chance: &Random) -> u8 {
        let value = match address {
            0x30 => self.config.part,
            0x31 => self.config.version,
            0x32 => self.freqest.to_le_bytes()[0],
            0x34 => heard.rssi,
            0x35 => self.state.marc(),
            0x38 => {
                let bit = |on: bool, at: u8| u8::from(on) << at;
                let clear = !heard.carrier && !self.packet;
                bit(self.line(2, heard), 0) // GDO0 is IOCFG0, at address 2
                    | bit(self.line(0, heard), 2)
                    | bit(self.packet, 3)
                    | bit(clear, 4)
                    | bit(heard.carrier, 6)
            }
            0x3A => u8::from(self.state == State::Underflow) << 7 | self.tx.len() as u8,
            0x3B => u8::from(self.overflow) << 7 | self.rx.len() as u8,
            _ => 0,
        };
        let moving = matches!(address, 0x32 | 0x35 | 0x3A | 0x3B) && self.state != State::Idle;
        if self.config.errata && moving && chance.below(40) == 0 {
            return chance.next_u64() as u8; // errata: read while it changed
        }
        value
    }

    fn strobe(&mut self, now: u64, strobe: u8, heard: Heard) {
        if self.faults.stuck && strobe != 0x30 {
            return;
        }
        let calibrates = self.get(0x18) >> 4 & 3 == 1;
        let start = |transmit| {
            if calibrates {
                (State::Calibrating(transmit), Some(now + CALIBRATION_NS))
            } else {
                (State::Settling(transmit), Some(now + SETTLE_NS))
            }
        };
        match (strobe, self.state) {
            (0x30, _) => self.reset(now),
            (0x34, State::Idle) => (self.state, self.due) = start(false),
            (0x34, State::Tx) => (self.state, self.due) = (State::ToRx, Some(now + SWITCH_NS)),
            (0x35, State::Idle) => (self.state, self.due) = start(true),
            (0x35, State::Rx) => {
                let mode = self.get(0x17) >> 4 & 3;
                let clear = (mode & 1 == 0 || !heard.carrier) && (mode & 2 == 0 || !self.packet);
                if clear {
                    self.packet = false;
                    (self.state, self.due) = (State::ToTx, Some(now + SWITCH_NS));
                }
            }
            (0x36, State::Overflow | State::Underflow) => {}
            (0x36, _) => self.halt(),
            (0x3A, State::Idle | State::Overflow) => {
                self.rx.clear();
                (self.overflow, self.twice) = (false, None);
                self.halt();
            }
            (0x3B, State::Idle | State::Underflow) => {
                self.tx.clear();
                self.halt();
            }
            _ => {}
        }
    }

    fn halt(&mut self) {
        (self.state, self.due, self.packet) = (State::Idle, None, false);
    }

    /// The state that a timer led to; true when it begins to transmit.
    pub(super) fn settled(&mut self, now: u64) -> bool {
        if self.faults.stuck {
            self.due = None;
            return false;
        }
        (self.state, self.due) = match self.state {
            State::Calibrating(transmit) => {
                // Calibration leaves its results.
                for (at, value) in [(0x23, 0xEF), (0x24, 0x2C), (0x25, 0x15)] {
                    if let Some(place) = self.registers.get_mut(at) {
                        *place = value;
                    }
                }
                (State::Settling(transmit), Some(now + SETTLE_NS))
            }
            State::Settling(false) | State::ToRx => (State::Rx, None),
            State::Settling(true) | State::ToTx => (State::Tx, None),
            other => (other, None),
        };
        self.state == State::Tx
    }

    // ------------------------------------------------------------------------------------- packets

    /// A byte of a packet comes in; false when it has no room.
    pub(super) fn put(&mut self, byte: u8) -> bool {
        for byte in self.twice.take().into_iter().chain([byte]) {
            if self.rx.len() >= FIFO {
                return false;
            }
            self.rx.push_back(byte);
        }
        true
    }

    pub(super) fn overflowed(&mut self, chance: &Random) {
        (self.overflow, self.packet) = (true, false);
        // Errata: the state may stay receive.
        if !self.config.errata || chance.below(2) == 0 {
            self.state = State::Overflow;
        }
    }

    pub(super) fn received(&mut self) {
        self.packet = false;
        if self.get(0x17) >> 2 & 3 != 3 {
            self.halt();
        }
    }

    pub(super) fn transmitted(&mut self, now: u64) {
        self.packet = false;
        match self.get(0x17) & 3 {
            3 => (self.state, self.due) = (State::ToRx, Some(now + SWITCH_NS)),
            _ => self.halt(),
        }
    }

    /// Level of the pin whose IOCFG register this is.
    pub(super) fn line(&self, iocfg: u8, heard: Heard) -> bool {
        let step = usize::from(self.get(0x03) & 0x0F);
        let config = self.get(iocfg);
        let high = match config & 0x3F {
            0x00 => self.rx.len() >= 4 * (step + 1),
            0x01 => self.rx.len() >= 4 * (step + 1) || (!self.packet && !self.rx.is_empty()),
            0x02 => self.tx.len() >= 61 - 4 * step,
            0x06 => self.packet,
            0x09 => !heard.carrier && !self.packet,
            0x0E => heard.carrier,
            _ => false,
        };
        high != (config & 0x40 != 0)
    }
}
