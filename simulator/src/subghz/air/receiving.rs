//! Bytes in, as one receiver hears them.

use super::meaning::{CRYSTAL_HZ, Modem, Pn9, crc16, rssi};
use super::{CAPTURE, CARRIER, FLOOR, Heard, Receiving, SENSITIVITY, State, World};

impl World {
    /// The last byte of a burst, at one receiver.
    pub(super) fn deliver(&mut self, at: usize, number: usize) {
        let Some(burst) = self.bursts.get(number) else { return };
        let Some(node) = self.nodes.get(at) else { return };
        if node.chip.state() != State::Rx || node.chip.faults().deaf {
            return;
        }
        let (place, modem) = (burst.bytes.len(), Modem::of(&node.chip));
        let strength = burst.dbm - self.conditions.path_loss;
        if node.receiving.is_none() {
            // Bit clock and gain want two bytes of preamble before the sync word.
            let early = place < burst.preamble.saturating_sub(1);
            if early && modem.fits(burst) && strength >= SENSITIVITY {
                let lost = place == 1 && self.chance.chance(self.conditions.loss);
                // One draw a packet: who missed its first byte misses it all.
                if !lost && place == 1 || place > 1 && self.conditions.loss == 0.0 {
                    let whitening = Pn9::new(modem.whitening);
                    let (tail, left) = (Vec::new(), None);
                    let receiving = Receiving {
                        burst: number,
                        sync: 0,
                        left,
                        crc: modem.crc,
                        whitening,
                        tail,
                        errors: 0,
                    };
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
        let (preamble, off) = (burst.preamble, burst.carrier_hz - modem.carrier_hz);
        let Some(node) = self.nodes.get_mut(at) else { return };
        let Some(receiving) = node.receiving.as_mut() else { return };
        receiving.errors += (byte ^ sent).count_ones();
        if place <= preamble {
            return;
        }
        if place <= preamble + 4 {
            receiving.sync = receiving.sync << 8 | u32::from(byte);
            if place == preamble + 4 {
                let sync = modem.sync.first_chunk().map_or(0, |sync| u32::from_be_bytes(*sync));
                if (receiving.sync ^ sync).count_ones() > 2 {
                    node.receiving = None;
                } else {
                    node.chip.synced((off / (CRYSTAL_HZ / 16_384.0)).round() as i8);
                }
            }
            return;
        }
        let plain = receiving.whitening.mix(byte);
        let kept = match receiving.left {
            None if plain > modem.longest => {
                node.chip.too_long(strength);
                node.receiving = None;
                return;
            }
            None => {
                receiving.left = Some(usize::from(plain));
                receiving.crc = receiving.crc.map(|(crc, by)| (crc16(by, crc, plain), by));
                node.chip.put(plain)
            }
            Some(left @ 1..) => {
                receiving.left = Some(left - 1);
                receiving.crc = receiving.crc.map(|(crc, by)| (crc16(by, crc, plain), by));
                node.chip.put(plain)
            }
            Some(0) => {
                receiving.tail.push(plain);
                if receiving.tail.len() < 2 {
                    return;
                }
                let right = receiving.crc.is_some_and(|(crc, _)| receiving.tail == crc.to_be_bytes());
                let lqi = (receiving.errors.min(60) * 2) as u8 + 4;
                node.receiving = None;
                node.chip.finish(right, strength, rssi(strength), lqi)
            }
        };
        if !kept {
            node.receiving = None;
            node.chip.overflowed();
        }
    }

    /// The strongest that a receiver hears beside this burst, dBm.
    fn interference(&self, at: usize, beside: usize) -> f64 {
        let listener = self.nodes.get(at).filter(|_| !self.on_air.is_empty());
        let modem = listener.map(|node| Modem::of(&node.chip));
        self.on_air
            .iter()
            .filter(|number| **number != beside)
            .filter_map(|number| self.bursts.get(*number))
            .filter(|burst| burst.sender != at && modem.as_ref().is_some_and(|modem| modem.near(burst)))
            .map(|burst| burst.dbm - self.conditions.path_loss)
            .chain(self.jammer.map(|jammer| jammer.dbm))
            .fold(FLOOR, f64::max)
    }

    pub(super) fn heard(&self, at: usize) -> Heard {
        let receives =
            self.nodes.get(at).is_some_and(|node| node.chip.state() == State::Rx && !node.chip.faults().deaf);
        let strength = if receives { self.interference(at, usize::MAX) } else { FLOOR };
        Heard { rssi: rssi(strength), carrier: strength >= CARRIER, dbm: strength }
    }
}
