//! One lock at a time is woken and spoken to.

use super::{Flight, Gateway, GatewayEvent};
use crate::body::{Body, Wake};
use crate::codec::{Header, Kind, seal};
use crate::phy::{BUSY_TRIES, STROBE_GAP, TRIES};
use crate::{Micros, Outcome, Transmit};

/// Bursts for one frame: the second takes the whole interval.
const BURSTS: u8 = 2;

pub(super) struct Exchange {
    pub(super) address: u8,
    pub(super) stage: Stage,
    /// Sendings of data since the lock was woken.
    tries: u8,
    /// The strobes go where the lock was last heard.
    channel: u8,
}

pub(super) enum Stage {
    /// Counter of the burst, its end, whether it has begun.
    Strobes { counter: u32, end: Micros, begun: bool },
    /// Not before this moment.
    Data(Micros),
    /// An acknowledgement, until then.
    Await(Micros),
}

impl Exchange {
    pub(super) fn listens_on(&self, network: u8) -> u8 {
        if matches!(self.stage, Stage::Strobes { .. }) { self.channel } else { network }
    }

    pub(super) fn timeout(&self) -> Micros {
        match self.stage {
            Stage::Strobes { .. } => 0,
            Stage::Data(at) | Stage::Await(at) => at,
        }
    }
}

impl<const PEERS: usize> Gateway<PEERS> {
    /// The next moment at which an exchange begins.
    pub(super) fn next_exchange(&mut self, now: Micros) -> Option<(Micros, Micros, u8)> {
        let profile = self.config.profile;
        let free = if now < self.window.1 { Some(self.window) } else { None };
        let plans = self.peers.iter_mut().filter(|peer| peer.current.is_some()).filter_map(|peer| {
            let (start, end) = peer.plan(now, profile)?;
            // What cannot be in time any more is due now, to be told.
            let last = peer.down.as_ref()?.deadline;
            Some(if end > last { (now, end, peer.address) } else { (start, end, peer.address) })
        });
        let (start, end, address) = plans.min_by_key(|&(start, ..)| start)?;
        // Who speaks in the window hears a frame to somebody who listens begin, unless nobody can.
        let clashes = start != end || !profile.carrier_sense();
        let held = free.is_some_and(|(from, until)| start < until && end.max(start + 1) > from && clashes);
        let start = if held { start.max(self.window.1) } else { start };
        Some((start.max(self.yields_until), end, address))
    }

    pub(super) fn begin_exchange(&mut self, now: Micros) {
        let Some((start, end, address)) = self.next_exchange(now) else { return };
        if start > now {
            return;
        }
        let profile = self.config.profile;
        let network_channel = self.channel;
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.address == address) else { return };
        let (Some(session), Some(down)) = (&mut peer.current, &mut peer.down) else { return };
        let air = profile.air_time_of_body(down.body.len());
        let sleeps = end > start;
        if end.max(now).saturating_add(profile.start() + air) > down.deadline {
            let outcome = if down.tries > 0 { Outcome::Unheard } else { Outcome::Expired };
            return self.finish(now, address, outcome);
        }
        if !self.duty.allows(now, end - start + air, true) {
            return self.finish(now, address, Outcome::NoAirtime);
        }
        let stage = if sleeps {
            let Some(counter) = session.tx.take() else {
                down.not_before = now + profile.slot(); // storage is asked for more
                return;
            };
            Stage::Strobes { counter, end, begun: false }
        } else {
            Stage::Data(now)
        };
        let channel = if sleeps { peer.channel } else { network_channel };
        self.exchange = Some(Exchange { address, stage, tries: 0, channel });
    }

    pub(super) fn poll_exchange(&mut self, now: Micros) -> Option<Transmit> {
        match self.exchange.as_ref()?.stage {
            Stage::Strobes { counter, end, begun } => {
                let air = self.config.profile.air_time_of_body(3);
                if now + air <= end {
                    return self.strobe(now, counter, end, begun);
                }
                self.exchange.as_mut()?.stage = Stage::Data(end);
                None
            }
            Stage::Data(at) if now >= at => self.data(now),
            Stage::Data(_) | Stage::Await(_) => None,
        }
    }

    fn strobe(&mut self, now: Micros, counter: u32, end: Micros, begun: bool) -> Option<Transmit> {
        let profile = self.config.profile;
        let (network, wake_channel) = (self.config.network, self.channel);
        let exchange = self.exchange.as_ref()?;
        let (address, channel) = (exchange.address, exchange.channel);
        let air = profile.air_time_of_body(3);
        if !self.duty.allows(now, air, true) {
            self.give_up(now, Outcome::NoAirtime);
            return None;
        }
        let countdown_ms = u16::try_from((end - now - air) / 1_000).unwrap_or(u16::MAX);
        let body = Body::Wake(Wake { countdown_ms, channel: wake_channel }).encode();
        let header =
            Header { address, network, kind: Kind::Wake, up: false, ack: false, pending: false, counter: 0 };
        let session = self.peer(address)?.current.as_ref()?;
        let frame = seal(header, counter, &body, &session.keys.down)?;
        // Only the first may wait for a clear channel; the others follow it without a pause.
        let start_by = if begun { now + STROBE_GAP } else { now + profile.slot() };
        Some(self.put(now, frame, Flight::Strobe, channel, !begun, start_by))
    }

    fn data(&mut self, now: Micros) -> Option<Transmit> {
        let profile = self.config.profile;
        let (network, channel) = (self.config.network, self.channel);
        let exchange = self.exchange.as_ref()?;
        let address = exchange.address;
        let peer = self.peers.iter_mut().find(|peer| peer.address == address)?;
        let (session, down) = (peer.current.as_mut()?, peer.down.as_mut()?);
        let air = profile.air_time_of_body(down.body.len());
        if now + profile.start() + air > down.deadline {
            let outcome = if down.tries > 0 { Outcome::Unheard } else { Outcome::Expired };
            self.give_up(now, outcome);
            return None;
        }
        if !self.duty.allows(now, air, true) {
            self.give_up(now, Outcome::NoAirtime);
            return None;
        }
        if down.counter.is_none() {
            down.counter = session.tx.take();
        }
        let Some(counter) = down.counter else {
            down.not_before = now + profile.slot();
            self.exchange = None;
            return None;
        };
        let header =
            Header { address, network, kind: Kind::Data, up: false, ack: true, pending: false, counter: 0 };
        let frame = seal(header, counter, &down.body, &session.keys.down)?;
        let start_by = (down.deadline - air).min(now + profile.start() + 2 * profile.slot());
        Some(self.put(now, frame, Flight::Data, channel, true, start_by))
    }

    pub(super) fn exchange_sent(&mut self, now: Micros, flight: Flight) {
        let wait = self.config.profile.ack_wait();
        let Some(exchange) = &mut self.exchange else { return };
        if flight == Flight::Strobe {
            if let Stage::Strobes { begun, .. } = &mut exchange.stage {
                *begun = true;
            }
            return;
        }
        exchange.tries += 1;
        exchange.stage = Stage::Await(now + wait);
        let address = exchange.address;
        if let Some(down) = self.peer(address).and_then(|peer| peer.down.as_mut()) {
            down.tries = down.tries.saturating_add(1);
            down.busy = 0;
        }
    }

    pub(super) fn exchange_busy(&mut self, now: Micros) {
        let slot = self.config.profile.slot();
        let pause = self.chance.backoff(0, self.config.profile);
        let Some(exchange) = &mut self.exchange else { return };
        let address = exchange.address;
        let woken = matches!(exchange.stage, Stage::Data(_) | Stage::Strobes { begun: true, .. });
        if woken && let Stage::Data(at) = &mut exchange.stage {
            *at = now + pause.min(2 * slot);
        }
        let Some(down) = self.peer(address).and_then(|peer| peer.down.as_mut()) else { return };
        down.busy += 1;
        let busy = down.busy;
        if busy >= BUSY_TRIES {
            return self.give_up(now, Outcome::Busy);
        }
        if !woken {
            down.planned = None;
            self.exchange = None;
            let pause = self.chance.backoff(busy, self.config.profile);
            if let Some(down) = self.peer(address).and_then(|peer| peer.down.as_mut()) {
                down.not_before = now + pause;
            }
        }
    }

    /// No acknowledgement came.
    pub(super) fn check_exchange(&mut self, now: Micros) {
        let Some(exchange) = &mut self.exchange else { return };
        let Stage::Await(until) = exchange.stage else { return };
        if now < until {
            return;
        }
        let (address, tries) = (exchange.address, exchange.tries);
        let (slot, hears) = (self.config.profile.slot(), self.config.profile.carrier_sense());
        // Two that did not hear each other would meet again.
        let pause =
            if hears { self.chance.below(2) * slot } else { self.chance.backoff(tries, self.config.profile) };
        if tries < TRIES - 1 {
            exchange.stage = Stage::Data(now + pause);
            return;
        }
        self.exchange = None;
        let pause = self.chance.backoff(1, self.config.profile);
        let Some(peer) = self.peer(address) else { return };
        peer.awake_until = now;
        let Some(down) = &mut peer.down else { return };
        down.bursts += 1;
        down.planned = None;
        down.not_before = now + pause;
        if down.bursts >= BURSTS {
            self.finish(now, address, Outcome::Unheard);
        }
    }

    fn give_up(&mut self, now: Micros, outcome: Outcome) {
        if let Some(exchange) = self.exchange.take() {
            self.finish(now, exchange.address, outcome);
        }
    }

    pub(super) fn finish(&mut self, _now: Micros, address: u8, outcome: Outcome) {
        if self.exchange.as_ref().is_some_and(|exchange| exchange.address == address) {
            self.exchange = None;
        }
        if let Some(down) = self.peer(address).and_then(|peer| peer.down.take()) {
            self.tell(GatewayEvent::Outcome { handle: down.handle, outcome });
        }
    }
}
