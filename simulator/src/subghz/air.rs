//! The clock, the chips on it, and what they hear of each other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::chip::{Chip, ChipConfig, Faults, Heard, State};
use super::spi::Spi;
use crate::Random;

const CRYSTAL_HZ: f64 = 26e6;
/// What is weaker is not heard, dBm.
const SENSITIVITY: f64 = -100.0;
/// What is stronger is a carrier, dBm.
const CARRIER: f64 = -90.0;
/// How much stronger than everything else a packet must be to be read, dB.
const CAPTURE: f64 = 6.0;
/// Noise floor as RSSI shows it, dBm.
const FLOOR: f64 = -110.0;

/// What the air does to what is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Between any two antennas, dB.
    pub path_loss: f64,
    /// That a receiver does not notice a packet at all, 0.0 to 1.0.
    pub loss: f64,
    /// That a bit arrives wrong, 0.0 to 1.0.
    pub bit_errors: f64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self { path_loss: 70.0, loss: 0.0, bit_errors: 0.0 }
    }
}

/// Somebody who sends noise on every channel.
#[derive(Debug, Clone, Copy)]
pub struct Jammer {
    /// As every receiver hears it, dBm.
    pub dbm: f64,
}

/// One transmission, as it was on the air.
#[derive(Debug, Clone)]
pub struct Burst {
    /// Which chip.
    pub sender: usize,
    /// First bit, nanoseconds of the virtual clock.
    pub start_ns: u64,
    /// Length of a byte, nanoseconds.
    pub byte_ns: u64,
    /// Carrier with the crystal's error, Hz.
    pub carrier_hz: f64,
    /// Deviation, Hz: a 1 is above the carrier.
    pub deviation_hz: f64,
    /// MDMCFG2's modulation is GFSK, not 2-FSK.
    pub gaussian: bool,
    /// Power at the antenna, dBm.
    pub dbm: f64,
    /// Preamble, sync words, length, frame, CRC: most significant bits first.
    pub bytes: Vec<u8>,
    /// How many of them are preamble.
    pub preamble: usize,
    on: bool,
}

/// An edge of a chip's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// When, nanoseconds.
    pub at_ns: u64,
    /// 0 or 2: GDO0 or GDO2.
    pub gdo: u8,
    /// Its level since.
    pub high: bool,
}

/// How far a sender is.
struct Sending {
    burst: usize,
    /// What comes after the byte that is on the air.
    prefix: VecDeque<u8>,
    left: Option<usize>,
    crc: u16,
    whitening: Pn9,
    tail: VecDeque<u8>,
    next: u64,
}

/// How far a receiver is.
struct Receiving {
    burst: usize,
    sync: u32,
    left: Option<usize>,
    crc: u16,
    whitening: Pn9,
    tail: Vec<u8>,
    errors: u32,
}

struct Node {
    chip: Chip,
    sending: Option<Sending>,
    receiving: Option<Receiving>,
    lines: [bool; 2],
    edges: VecDeque<Edge>,
}

pub(super) struct World {
    now: u64,
    nodes: Vec<Node>,
    bursts: Vec<Burst>,
    conditions: Conditions,
    jammer: Option<Jammer>,
    chance: Random,
}

/// The virtual air. Clones are the same air.
#[derive(Clone)]
pub struct Air(Arc<Mutex<World>>);

impl Air {
    /// An empty one; prints nothing, so that who makes the seed prints it.
    #[must_use]
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self(Arc::new(Mutex::new(World {
            now: 0,
            nodes: Vec::new(),
            bursts: Vec::new(),
            conditions,
            jammer: None,
            chance: Random::new(seed, 433),
        })))
    }

    /// Another chip; its number counts from 0.
    #[must_use]
    pub fn chip(&self, config: ChipConfig) -> Spi {
        let mut world = self.world();
        let chip = world.nodes.len();
        let lines = [false; 2];
        world.nodes.push(Node {
            chip: Chip::new(config),
            sending: None,
            receiving: None,
            lines,
            edges: VecDeque::new(),
        });
        Spi { world: Arc::clone(&self.0), chip }
    }

    /// Microseconds since the start.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.world().now / 1_000
    }

    /// Lets time pass up to then (microseconds), but not beyond the next edge of any line.
    pub fn advance(&self, until: u64) {
        self.world().advance_to(until.saturating_mul(1_000), true);
    }

    /// The next edge of a chip's lines that nobody took yet.
    #[must_use]
    pub fn edge(&self, chip: usize) -> Option<Edge> {
        self.world().nodes.get_mut(chip)?.edges.pop_front()
    }

    /// All that was on the air.
    #[must_use]
    pub fn bursts(&self) -> Vec<Burst> {
        self.world().bursts.clone()
    }

    /// Other weather, from now on.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.world().conditions = conditions;
    }

    /// A jammer comes or goes.
    pub fn jam(&self, jammer: Option<Jammer>) {
        self.world().jammer = jammer;
    }

    /// What is wrong with a chip from now on.
    pub fn set_faults(&self, chip: usize, faults: Faults) {
        if let Some(node) = self.world().nodes.get_mut(chip) {
            node.chip.faults = faults;
        }
    }

    /// The chip's supply was away for a moment.
    pub fn brown_out(&self, chip: usize) {
        let mut world = self.world();
        let now = world.now;
        if let Some(node) = world.nodes.get_mut(chip) {
            node.chip.reset(now);
        }
        world.tidy();
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    pub(super) fn select(&mut self, chip: usize) {
        if let Some(node) = self.nodes.get_mut(chip) {
            node.chip.select();
        }
    }

    pub(super) fn exchange(&mut self, chip: usize, byte: u8) -> u8 {
        self.advance_by(2_000);
        let heard = self.heard(chip);
        let now = self.now;
        let out = match self.nodes.get_mut(chip) {
            Some(node) => node.chip.exchange(now, byte, heard, &self.chance),
            None => 0,
        };
        self.tidy();
        out
    }

    pub(super) fn advance_by(&mut self, ns: u64) {
        self.advance_to(self.now + ns, false);
    }

    fn advance_to(&mut self, until: u64, stop_at_edges: bool) {
        loop {
            if stop_at_edges && self.nodes.iter().any(|node| !node.edges.is_empty()) {
                return;
            }
            let next = self
                .nodes
                .iter()
                .enumerate()
                .filter_map(|(at, node)| {
                    let sending = node.sending.as_ref().map(|sending| sending.next);
                    node.chip.due.into_iter().chain(sending).min().map(|due| (due, at))
                })
                .min();
            match next {
                Some((due, at)) if due <= until => {
                    self.now = self.now.max(due);
                    self.turn(at, due);
                    self.tidy();
                }
                _ => break,
            }
        }
        self.now = self.now.max(until);
    }

    /// What is due for one chip.
    fn turn(&mut self, at: usize, due: u64) {
        let Some(node) = self.nodes.get_mut(at) else { return };
        if node.chip.due.is_some_and(|settled| settled <= due) {
            if node.chip.settled(due) {
                self.begin(at);
            }
        } else {
            self.byte_out(at);
        }
    }

    /// Ends what a chip's state does not allow any more, and notes its lines.
    fn tidy(&mut self) {
        for at in 0..self.nodes.len() {
            let heard = self.heard(at);
            let Some(node) = self.nodes.get_mut(at) else { continue };
            if node.chip.state != State::Tx
                && let Some(sending) = node.sending.take()
                && let Some(burst) = self.bursts.get_mut(sending.burst)
            {
                burst.on = false;
            }
            if node.chip.state != State::Rx {
                node.receiving = None;
            }
            for (line, (iocfg, gdo)) in node.lines.iter_mut().zip([(2, 0), (0, 2)]) {
                let high = node.chip.line(iocfg, heard);
                if high != *line {
                    *line = high;
                    if !node.chip.faults.mute_lines {
                        node.edges.push_back(Edge { at_ns: self.now, gdo, high });
                    }
                }
            }
        }
    }

    // ------------------------------------------------------------------------------------- sending

    fn begin(&mut self, at: usize) {
        let (now, start) = (self.now, self.bursts.len());
        let Some(node) = self.nodes.get_mut(at) else { return };
        let chip = &node.chip;
        let lengths = [2, 3, 4, 6, 8, 12, 16, 24];
        let preamble = lengths.get(usize::from(chip.get(0x13) >> 4 & 7)).copied().unwrap_or(4);
        let sync = [chip.get(0x04), chip.get(0x05)];
        let mut prefix = VecDeque::from(vec![0xAA; preamble]);
        prefix.extend(sync);
        if chip.get(0x12) & 3 == 3 {
            prefix.extend(sync);
        }
        let byte_ns = byte_ns(chip);
        self.bursts.push(Burst {
            sender: at,
            start_ns: now,
            byte_ns,
            carrier_hz: tuned(chip),
            deviation_hz: deviation(chip),
            gaussian: chip.get(0x12) >> 4 & 7 == 1,
            dbm: power(chip),
            bytes: prefix.pop_front().into_iter().collect(),
            preamble,
            on: true,
        });
        node.sending = Some(Sending {
            burst: start,
            prefix,
            left: None,
            crc: 0xFFFF,
            whitening: Pn9::new(chip.get(0x08) & 0x40 != 0),
            tail: VecDeque::new(),
            next: now + byte_ns,
        });
    }

    /// The byte on the air is out: receivers have it, and the next one begins.
    fn byte_out(&mut self, at: usize) {
        let Some((burst, next)) = self
            .nodes
            .get(at)
            .and_then(|node| node.sending.as_ref())
            .map(|sending| (sending.burst, sending.next))
        else {
            return;
        };
        for receiver in (0..self.nodes.len()).filter(|receiver| *receiver != at) {
            self.deliver(receiver, burst);
        }
        let now = self.now;
        let (Some(node), Some(on_air)) = (self.nodes.get_mut(at), self.bursts.get_mut(burst)) else { return };
        let Some(sending) = node.sending.as_mut() else { return };
        sending.next = next + on_air.byte_ns;
        if let Some(byte) = sending.prefix.pop_front() {
            on_air.bytes.push(byte);
            return;
        }
        node.chip.packet = true;
        let byte = match sending.left {
            Some(0) => sending.tail.pop_front(),
            _ => match node.chip.tx.pop_front() {
                Some(byte) => {
                    let (white, left) = (sending.whitening.mix(byte), sending.left);
                    sending.crc = crc16(sending.crc, byte);
                    let left = left.map_or(usize::from(byte), |left| left - 1);
                    sending.left = Some(left);
                    if left == 0 && node.chip.get(0x08) & 0x04 != 0 {
                        let [high, low] = sending.crc.to_be_bytes();
                        let high = sending.whitening.mix(high);
                        sending.tail = VecDeque::from([high, sending.whitening.mix(low)]);
                    }
                    Some(white)
                }
                None => {
                    node.chip.state = State::Underflow;
                    node.chip.packet = false;
                    return;
                }
            },
        };
        match byte {
            Some(byte) => on_air.bytes.push(byte),
            None => {
                on_air.on = false;
                node.sending = None;
                node.chip.transmitted(now);
            }
        }
    }

    // ------------------------------------------------------------------------------------- receiving

    /// The last byte of a burst, at one receiver.
    fn deliver(&mut self, at: usize, number: usize) {
        let Some(burst) = self.bursts.get(number) else { return };
        let Some(node) = self.nodes.get(at) else { return };
        if node.chip.state != State::Rx || node.chip.faults.deaf {
            return;
        }
        let place = burst.bytes.len();
        let strength = burst.dbm - self.conditions.path_loss;
        if node.receiving.is_none() {
            // Bit clock and gain want two bytes of preamble before the sync word.
            let early = place < burst.preamble.saturating_sub(1);
            if early && fits(&node.chip, burst) && strength >= SENSITIVITY {
                let lost = place == 1 && self.chance.chance(self.conditions.loss);
                // One draw a packet: who missed its first byte misses it all.
                if !lost && place == 1 || place > 1 && self.conditions.loss == 0.0 {
                    let whitening = Pn9::new(node.chip.get(0x08) & 0x40 != 0);
                    let (tail, left) = (Vec::new(), None);
                    let receiving =
                        Receiving { burst: number, sync: 0, left, crc: 0xFFFF, whitening, tail, errors: 0 };
                    if let Some(node) = self.nodes.get_mut(at) {
                        node.receiving = Some(receiving);
                    }
                }
            }
            return;
        }
        if node.receiving.as_ref().is_none_or(|receiving| receiving.burst != number) {
            return;
        }
        let mut byte = burst.bytes.last().copied().unwrap_or(0);
        let sent = byte;
        if strength - self.interference(at, number) < CAPTURE {
            byte = self.chance.next_u64() as u8;
        } else if self.conditions.bit_errors > 0.0 {
            for bit in 0..8 {
                byte ^= u8::from(self.chance.chance(self.conditions.bit_errors)) << bit;
            }
        }
        let (preamble, off) = (burst.preamble, burst.carrier_hz - tuned(&node.chip));
        let rssi = rssi(strength);
        let Some(node) = self.nodes.get_mut(at) else { return };
        let Some(receiving) = node.receiving.as_mut() else { return };
        receiving.errors += (byte ^ sent).count_ones();
        if place <= preamble {
            return;
        }
        if place <= preamble + 4 {
            receiving.sync = receiving.sync << 8 | u32::from(byte);
            if place == preamble + 4 {
                let [high, low] = [node.chip.get(0x04), node.chip.get(0x05)];
                if (receiving.sync ^ u32::from_be_bytes([high, low, high, low])).count_ones() > 2 {
                    node.receiving = None;
                } else {
                    node.chip.packet = true;
                    node.chip.freqest = (off / (CRYSTAL_HZ / 16_384.0)).round() as i8;
                }
            }
            return;
        }
        let plain = receiving.whitening.mix(byte);
        let kept = match receiving.left {
            None if plain > node.chip.get(0x06) => {
                // Longer than PKTLEN: dropped, and the search goes on.
                node.chip.packet = false;
                node.receiving = None;
                return;
            }
            None => {
                receiving.left = Some(usize::from(plain));
                receiving.crc = crc16(receiving.crc, plain);
                node.chip.put(plain)
            }
            Some(left @ 1..) => {
                receiving.left = Some(left - 1);
                receiving.crc = crc16(receiving.crc, plain);
                node.chip.put(plain)
            }
            Some(0) => {
                receiving.tail.push(plain);
                if receiving.tail.len() < 2 {
                    return;
                }
                let right = receiving.tail == receiving.crc.to_be_bytes();
                let lqi = (receiving.errors.min(60) * 2) as u8 + 4;
                node.receiving = None;
                let kept = node.chip.put(rssi) && node.chip.put(u8::from(right) << 7 | lqi);
                if kept {
                    node.chip.received();
                }
                kept
            }
        };
        if !kept {
            node.receiving = None;
            node.chip.overflowed(&self.chance);
        }
    }

    /// The strongest that a receiver hears beside this burst, dBm.
    fn interference(&self, at: usize, beside: usize) -> f64 {
        let chip = self.nodes.get(at).map(|node| &node.chip);
        self.bursts
            .iter()
            .enumerate()
            .rev()
            .take(self.nodes.len() * 2)
            .filter(|(number, burst)| {
                *number != beside
                    && burst.on
                    && burst.sender != at
                    && chip.is_some_and(|chip| near(chip, burst))
            })
            .map(|(_, burst)| burst.dbm - self.conditions.path_loss)
            .chain(self.jammer.map(|jammer| jammer.dbm))
            .fold(FLOOR, f64::max)
    }

    fn heard(&self, at: usize) -> Heard {
        let receives =
            self.nodes.get(at).is_some_and(|node| node.chip.state == State::Rx && !node.chip.faults.deaf);
        let strength = if receives { self.interference(at, usize::MAX) } else { FLOOR };
        Heard { rssi: rssi(strength), carrier: strength >= CARRIER }
    }
}

// ------------------------------------------------------------------------------------- what registers mean

fn rssi(dbm: f64) -> u8 {
    (((dbm + 74.0) * 2.0).round() as i8).to_le_bytes()[0]
}

fn byte_ns(chip: &Chip) -> u64 {
    let rate = (256.0 + f64::from(chip.get(0x11))) * f64::from(1_u32 << (chip.get(0x10) & 15)) * CRYSTAL_HZ
        / f64::from(1_u32 << 28);
    (8e9 / rate).round() as u64
}

fn deviation(chip: &Chip) -> f64 {
    let register = chip.get(0x15);
    CRYSTAL_HZ / 131_072.0 * f64::from(8 + (register & 7)) * f64::from(1_u32 << (register >> 4 & 7))
}

fn bandwidth(chip: &Chip) -> f64 {
    let register = chip.get(0x10);
    CRYSTAL_HZ / (8.0 * f64::from(4 + (register >> 4 & 3)) * f64::from(1_u32 << (register >> 6)))
}

fn tuned(chip: &Chip) -> f64 {
    let word = u32::from_be_bytes([0, chip.get(0x0D), chip.get(0x0E), chip.get(0x0F)]);
    let offset = f64::from(i8::from_le_bytes([chip.get(0x0C)])) * CRYSTAL_HZ / 16_384.0;
    (f64::from(word) * CRYSTAL_HZ / 65_536.0 + offset) * (1.0 + chip.config.ppm * 1e-6)
}

/// The table for 433 MHz that the data sheet has; what is not in it is taken for 0 dBm.
fn power(chip: &Chip) -> f64 {
    let index = usize::from(chip.get(0x22) & 7);
    match chip.patable.get(index) {
        Some(0x12) => -30.0,
        Some(0x0E) => -20.0,
        Some(0x34) => -10.0,
        Some(0x84) => 5.0,
        Some(0xC8) => 7.0,
        Some(0xC0) => 10.0,
        _ => 0.0,
    }
}

/// Within the receiver's filter.
fn near(chip: &Chip, burst: &Burst) -> bool {
    (burst.carrier_hz - tuned(chip)).abs() <= bandwidth(chip) / 2.0
}

/// Whether a receiver with these settings can read such a burst.
fn fits(chip: &Chip, burst: &Burst) -> bool {
    let carson = 2.0 * burst.deviation_hz + 8e9 / burst.byte_ns as f64;
    let ours = byte_ns(chip) as f64;
    (burst.carrier_hz - tuned(chip)).abs() <= (bandwidth(chip) - carson) / 2.0
        && (burst.byte_ns as f64 / ours - 1.0).abs() < 0.02
        && (burst.deviation_hz / deviation(chip) - 1.0).abs() < 0.3
}

/// CRC-16 of the chip: polynomial 0x8005, from 0xFFFF, most significant bit first.
fn crc16(crc: u16, byte: u8) -> u16 {
    (0..8).fold(
        crc ^ u16::from(byte) << 8,
        |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x8005 },
    )
}

/// Whitening of the chip: x^9 + x^5 + 1 from all ones.
struct Pn9(Option<u16>);

impl Pn9 {
    fn new(on: bool) -> Self {
        Self(on.then_some(0x1FF))
    }

    fn mix(&mut self, byte: u8) -> u8 {
        let Some(register) = self.0.as_mut() else { return byte };
        let mask = *register as u8;
        for _ in 0..8 {
            *register = *register >> 1 | (*register & 1 ^ *register >> 5 & 1) << 8;
        }
        byte ^ mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitening_and_checksum_are_the_published_ones() {
        let mut pn9 = Pn9::new(true);
        let stream: Vec<u8> = (0..16).map(|_| pn9.mix(0)).collect();
        assert_eq!(hex::encode(stream), "ffe11d9aed853324ea7ad2397097570a");
        assert_eq!(b"123456789".iter().fold(0xFFFF, |crc, byte| crc16(crc, *byte)), 0xAEE7);
    }
}
