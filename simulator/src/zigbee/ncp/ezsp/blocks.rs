//! APS fragmentation as far as it is the firmware's: each block is repeated and acknowledged by it, and what they are blocks of is
//! the host's matter. The devices of this air have stacks of their own for that.

use std::collections::BTreeMap;

use cardea_radio::Millis;
use cardea_zigbee::NwkAddr;
use cardea_zigbee::ezsp::call::{ApsFrame, Bytes8, Callback, Incoming, Status, aps, config};

use super::commands::INVALID_PARAMETER;
use super::{Ezsp, UNICAST};
use crate::zigbee::air::{Air, Asdu, LQI, RSSI};

/// Longest block, bytes: what fits a frame, less its two bytes in the header.
const MAX_BLOCK: usize = 80;
/// Bytes in a block of a device.
const DEVICE_BLOCK: usize = 64;
/// Until a device sends a block again that was not acknowledged, and how often it sends it.
const ACK_MS: Millis = 1_600;
const TRIES: u8 = 4;
/// Messages that are under way to devices, and messages of devices, at once.
const MAX_MESSAGES: usize = 8;

/// What is under way in blocks.
#[derive(Default)]
pub(super) struct Blocks {
    /// By receiver: our counter, how many blocks there are, and what the device has.
    down: BTreeMap<NwkAddr, (u8, u8, Vec<Vec<u8>>)>,
    up: Vec<Uplink>,
}

/// A message of a device, as far as its host has not acknowledged it.
struct Uplink {
    sender: Incoming,
    payload: Vec<u8>,
    number: u8,
    tries: u8,
    at: Millis,
}

impl Uplink {
    /// The block that is to be acknowledged next.
    fn block(&self) -> Incoming {
        let count = u8::try_from(self.payload.len().div_ceil(DEVICE_BLOCK)).unwrap_or(u8::MAX);
        // The number of blocks is said with the first.
        let high = if self.number == 0 { count } else { 0 };
        let payload = self.payload.chunks(DEVICE_BLOCK).nth(self.number.into()).unwrap_or(&[]);
        let aps = ApsFrame { group: u16::from_be_bytes([high, self.number]), ..self.sender.aps.clone() };
        Incoming { aps, payload: payload.into(), ..self.sender.clone() }
    }

    fn is_last(&self) -> bool {
        (usize::from(self.number) + 1) * DEVICE_BLOCK >= self.payload.len()
    }
}

impl Blocks {
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        self.up.iter().map(|uplink| uplink.at).min()
    }
}

/// What a host's block is to its receiver.
pub(super) enum Given {
    /// One of several; its number, which all of them have.
    Part(u8),
    /// The last one, and all of them.
    Last(u8, Vec<u8>),
}

impl Ezsp {
    /// The host sends a block. Only the first gets a number.
    pub(super) fn block_down(
        &mut self,
        destination: NwkAddr,
        aps: &ApsFrame,
        payload: &Bytes8,
    ) -> Result<Given, Status> {
        let [count, number] = aps.group.to_be_bytes();
        if self.settings.size(config::FRAGMENT_WINDOW) == Some(0) {
            return Err(Status::INVALID_STATE);
        }
        if payload.0.len() > MAX_BLOCK {
            return Err(Status::TOO_LONG);
        }
        if aps.options & aps::RETRY == 0 || !destination.is_unicast() {
            return Err(INVALID_PARAMETER);
        }
        let down = &mut self.settings.blocks.down;
        if number == 0 {
            if down.len() >= MAX_MESSAGES {
                down.pop_first();
            }
            self.settings.counter = self.settings.counter.wrapping_add(1);
            down.insert(destination, (self.settings.counter, count, Vec::new()));
        }
        let message = down.get_mut(&destination);
        let Some((sequence, count, parts)) = message.filter(|(sequence, _, parts)| {
            parts.len() == usize::from(number) && (number == 0 || *sequence == aps.sequence)
        }) else {
            return Err(INVALID_PARAMETER);
        };
        parts.push(payload.0.to_vec());
        let (sequence, last) = (*sequence, parts.len() >= usize::from(*count));
        if !last {
            return Ok(Given::Part(sequence));
        }
        let whole = parts.concat();
        down.remove(&destination);
        Ok(Given::Last(sequence, whole))
    }

    /// A device sends more than fits a frame.
    pub(super) fn blocks_up(&mut self, air: &mut Air, sender: NwkAddr, sequence: u8, asdu: Asdu) {
        let Asdu { profile, cluster, src_endpoint, dst_endpoint, payload } = asdu;
        if self.settings.blocks.up.len() >= MAX_MESSAGES {
            air.traffic.dropped += 1;
            return;
        }
        let options = aps::FRAGMENT | aps::RETRY | aps::ROUTE;
        let aps = ApsFrame { profile, cluster, src_endpoint, dst_endpoint, options, group: 0, sequence };
        let eui = air.member_at(sender);
        let empty = Bytes8::from(&[][..]);
        let sender = Incoming { kind: UNICAST, aps, sender, eui, lqi: LQI, rssi: RSSI, payload: empty };
        self.settings.blocks.up.push(Uplink { sender, payload, number: 0, tries: 0, at: 0 });
    }

    /// Blocks that are to be said, for the first time or again.
    pub(super) fn blocks_timeout(&mut self, air: &mut Air, now: Millis) {
        let up = &mut self.settings.blocks.up;
        let before = up.len();
        up.retain(|uplink| uplink.at > now || uplink.tries < TRIES);
        air.traffic.dropped += u32::try_from(before - up.len()).unwrap_or(u32::MAX);
        let mut due = Vec::new();
        for uplink in up.iter_mut().filter(|uplink| uplink.at <= now) {
            (uplink.tries, uplink.at) = (uplink.tries + 1, now.saturating_add(ACK_MS));
            due.push(uplink.block());
        }
        for incoming in due {
            self.call(air, &Callback::IncomingMessage { incoming });
        }
    }

    /// The host acknowledges a block: a window that begins with it, in which it came. That hosts differ in whose endpoint
    /// comes first changes nothing here.
    pub(super) fn block_acknowledged(&mut self, sender: NwkAddr, aps: &ApsFrame) {
        let [came, number] = aps.group.to_be_bytes();
        let up = &mut self.settings.blocks.up;
        let awaited = up.iter().position(|uplink| {
            let of = &uplink.sender;
            (of.sender, of.aps.sequence, uplink.number) == (sender, aps.sequence, number) && uplink.tries > 0
        });
        let Some(at) = awaited.filter(|_| came & 1 != 0) else { return };
        let Some(uplink) = up.get_mut(at) else { return };
        if uplink.is_last() {
            up.remove(at);
        } else {
            (uplink.number, uplink.tries, uplink.at) = (number + 1, 0, 0);
        }
    }
}
