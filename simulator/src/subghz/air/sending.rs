//! Bytes out.

use std::collections::VecDeque;

use super::meaning::{Modem, Pn9, crc16};
use super::{Burst, Sending, World};

impl World {
    pub(super) fn begin(&mut self, at: usize) {
        let (now, start) = (self.now, self.bursts.len());
        let Some(node) = self.nodes.get_mut(at) else { return };
        let modem = Modem::of(&node.chip);
        let byte_ns = modem.byte_ns;
        let preamble = modem.preamble + usize::from(std::mem::take(&mut node.cut));
        let mut prefix = VecDeque::from(vec![0xAA; preamble]);
        prefix.extend(modem.sync);
        self.bursts.push(Burst {
            sender: at,
            start_ns: now,
            byte_ns,
            carrier_hz: modem.carrier_hz,
            deviation_hz: modem.deviation_hz,
            gaussian: modem.gaussian,
            dbm: modem.dbm,
            bytes: prefix.pop_front().into_iter().collect(),
            preamble,
        });
        self.on_air.push(start);
        node.sending = Some(Sending {
            burst: start,
            prefix,
            left: None,
            crc: modem.crc,
            whitening: Pn9::new(modem.whitening),
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
        node.chip.sends();
        let byte = match sending.left {
            Some(0) => sending.tail.pop_front(),
            _ => match node.chip.take() {
                Some(byte) => {
                    let (white, left) = (sending.whitening.mix(byte), sending.left);
                    sending.crc = sending.crc.map(|(crc, by)| (crc16(by, crc, byte), by));
                    let left = left.map_or(usize::from(byte), |left| left - 1);
                    sending.left = Some(left);
                    if let (0, Some((crc, _))) = (left, sending.crc) {
                        let [high, low] = crc.to_be_bytes();
                        let high = sending.whitening.mix(high);
                        sending.tail = VecDeque::from([high, sending.whitening.mix(low)]);
                    }
                    Some(white)
                }
                None => {
                    node.chip.ran_out();
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
