//! Bytes out.

use std::collections::VecDeque;

use super::meaning::{Pn9, byte_ns, crc16, deviation, power, tuned};
use super::{Burst, Sending, State, World};

impl World {
    pub(super) fn begin(&mut self, at: usize) {
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
        });
        self.on_air.push(start);
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
    pub(super) fn byte_out(&mut self, at: usize) {
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
                node.sending = None;
                node.chip.transmitted(now);
                self.over(burst);
            }
        }
    }
}
