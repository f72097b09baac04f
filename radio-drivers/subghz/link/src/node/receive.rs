use heapless::Vec;

use super::send::What;
use super::{Joined, Node, NodeEvent, Reply};
use crate::body::{Accept, Beacon, Body, Wake};
use crate::codec::{BROADCAST, Header, Kind, Packet, UNASSIGNED};
use crate::counter::Verdict;
use crate::mic::Nonces;
use crate::phy::guard;
use crate::session::Session;
use crate::{Micros, Outcome, Quality};

/// Events that must not be lost have room for themselves and one outcome.
const ROOM: usize = 6;
/// No burst announces data later than this.
const LONGEST_COUNTDOWN_MS: u16 = 10_000;
/// A gateway whose counter is below our floor is told at most so often.
const HELLO_PAUSE: Micros = 60_000_000;

impl Node {
    /// A frame was received; `now` is its end. `air` is LEN, whitened bytes and CRC.
    pub fn handle_received(&mut self, now: Micros, air: &[u8], quality: Quality) {
        self.clock = now;
        self.refill(now);
        let worth = Packet::parse(air).is_ok_and(|packet| self.take(now, &packet, quality));
        // One frame, and the burst that it belongs to is not for us, not authentic or not new: asleep again.
        if let Some((since, _)) = self.sniff.take()
            && !worth
        {
            self.waste(now, now.saturating_sub(since));
        }
    }

    /// True if it is authentic and was worth being awake for.
    fn take(&mut self, now: Micros, packet: &Packet, quality: Quality) -> bool {
        let header = *packet.header();
        if header.up {
            return false;
        }
        match (header.address, header.kind) {
            (BROADCAST, Kind::Beacon) => self.take_beacon(now, packet),
            (UNASSIGNED, Kind::Accept) => self.take_accept(now, packet),
            (address, kind)
                if self
                    .joined
                    .as_ref()
                    .is_some_and(|j| j.address == address && j.network == header.network) =>
            {
                let worth = match kind {
                    Kind::Data => self.take_data(now, packet, quality),
                    Kind::Wake => self.take_wake(now, packet),
                    Kind::Ack | Kind::Floor => self.take_answer(now, packet),
                    _ => None,
                };
                if worth.is_none() {
                    self.stats.forged = self.stats.forged.saturating_add(1);
                }
                worth.unwrap_or(false)
            }
            _ => false,
        }
    }

    /// `None` if the code is wrong.
    fn take_data(&mut self, now: Micros, packet: &Packet, quality: Quality) -> Option<bool> {
        let joined = self.joined.as_mut()?;
        let rx = &mut joined.session.rx;
        let counter = rx.whole(packet.header().counter);
        if !packet.verify(&joined.session.keys.down, counter) {
            return None;
        }
        rx.saw(counter);
        match rx.judge(counter) {
            Verdict::New if self.events.len() < ROOM => {
                rx.accept(counter);
                if let Ok(frame) = Vec::from_slice(packet.body())
                    && !frame.is_empty()
                {
                    self.tell(NodeEvent::Received { frame, quality });
                }
                self.acknowledge(now, packet.header(), counter, quality);
                return Some(true);
            }
            Verdict::Repeat if rx.repeat() => {
                self.acknowledge(now, packet.header(), counter, quality);
                return Some(true);
            }
            Verdict::BelowFloor => {
                if self.last_floor.is_none_or(|last| now >= last + HELLO_PAUSE) {
                    self.last_floor = Some(now);
                    self.hello_at = Some(now + self.chance.below(1_000_000));
                }
                self.stats.replayed = self.stats.replayed.saturating_add(1);
            }
            Verdict::Old | Verdict::Repeat => self.stats.replayed = self.stats.replayed.saturating_add(1),
            Verdict::New | Verdict::NotReserved => {}
        }
        Some(false)
    }

    fn acknowledge(&mut self, now: Micros, header: &Header, counter: u32, quality: Quality) {
        let pending = header.pending;
        let profile = self.config.profile;
        let header = Header { kind: Kind::Ack, up: true, ack: false, ..*header };
        self.reply = Some(Reply { header, counter, quality, at: now + profile.ack_earliest() });
        // What the other end had to say is here.
        self.yields_until = 0;
        let stay = if pending { profile.awake() } else { 2 * profile.ack_wait() };
        self.stay(now, stay); // should our acknowledgement be lost
    }

    fn take_wake(&mut self, now: Micros, packet: &Packet) -> Option<bool> {
        let joined = self.joined.as_mut()?;
        let session = &mut joined.session;
        let counter = session.rx.whole(packet.header().counter);
        let Ok(Body::Wake(Wake { countdown_ms, channel })) = Body::decode(Kind::Wake, packet.body()) else {
            return None;
        };
        if !packet.verify(&session.keys.down, counter) {
            return None;
        }
        session.rx.saw(counter);
        let fresh = counter >= session.next_wake.max(session.rx.floor()) && counter < session.rx.limit();
        if !fresh || usize::from(channel) >= self.config.profile.channels().len() {
            self.stats.replayed = self.stats.replayed.saturating_add(1);
            return Some(false); // costs what any foreign carrier costs
        }
        session.next_wake = counter.saturating_add(1);
        self.channel = channel;
        let countdown = Micros::from(countdown_ms.min(LONGEST_COUNTDOWN_MS)) * 1_000;
        let from = now + countdown.saturating_sub(guard(countdown));
        self.sniff = None;
        self.awake = Some((from, now + countdown + self.config.profile.awake()));
        Some(true)
    }

    /// An acknowledgement or a floor for the frame under way; for any other it is nothing.
    fn take_answer(&mut self, now: Micros, packet: &Packet) -> Option<bool> {
        let joined = self.joined.as_mut()?;
        let Some(out) = self.out.as_mut().filter(|out| out.what != What::Join) else { return Some(false) };
        let counter = out.counter.filter(|&counter| packet.verify(&joined.session.keys.down, counter))?;
        match Body::decode(packet.header().kind, packet.body()) {
            Ok(Body::Ack(_)) => {}
            Ok(Body::Floor(floor)) => {
                joined.session.tx.jump(floor);
                if floor > counter {
                    out.counter = None;
                    out.awaiting = None;
                    out.not_before = now + self.chance.backoff(0, self.config.profile);
                }
                return Some(true);
            }
            _ => return None,
        }
        let what = out.what;
        self.finish(now, Outcome::Heard);
        if what == What::Hello && core::mem::take(&mut self.unconfirmed) {
            self.tell(NodeEvent::Joined);
        }
        self.search.found();
        self.anchor(now);
        let linger = Micros::from(self.config.linger_ms) * 1_000;
        let pending = packet.header().pending;
        if pending {
            self.yields_until = now + self.config.profile.defers();
        }
        let stay = if pending { self.config.profile.awake().max(linger) } else { linger };
        self.stay(now, stay);
        Some(true)
    }

    fn take_beacon(&mut self, now: Micros, packet: &Packet) -> bool {
        let Ok(Body::Beacon(beacon)) = Body::decode(Kind::Beacon, packet.body()) else { return false };
        let known = usize::from(beacon.channel) < self.config.profile.channels().len();
        if self.join_wanted && beacon.join_open && known && self.search.channel().is_some() {
            // Not authentic to a lock without keys: it says where to ask, and the answer will be.
            self.join_network = packet.header().network;
            self.channel = beacon.channel;
            self.search.found();
            let at = self.in_window(now, beacon.countdown_ms);
            self.send_join(now, at);
            return true;
        }
        self.take_own_beacon(now, packet, beacon, known)
    }

    fn take_own_beacon(&mut self, now: Micros, packet: &Packet, beacon: Beacon, known: bool) -> bool {
        let Some(joined) = &mut self.joined else { return false };
        let ours = packet.header().network == joined.network && packet.verify(&joined.key, beacon.counter);
        if !ours || !known || beacon.counter < joined.next_beacon {
            return false;
        }
        joined.next_beacon = beacon.counter.saturating_add(1);
        joined.channels = beacon.channels;
        self.yields_until = 0; // the gateway is silent now, whatever it said that it has
        self.channel = beacon.channel;
        if self.search.channel().is_some() && !self.join_wanted {
            self.search.found();
            self.unheard = 0;
            self.hello_at = Some(self.in_window(now, beacon.countdown_ms));
        }
        true
    }

    fn take_accept(&mut self, now: Micros, packet: &Packet) -> bool {
        if !self.join_wanted || !packet.verify(&self.secret.join_key(), self.join_nonce) {
            return false;
        }
        let Ok(Body::Accept(accept)) = Body::decode(Kind::Accept, packet.body()) else { return false };
        let Accept { lock, node_nonce, gateway_nonce, address, channels, .. } = accept;
        if lock != self.config.lock || node_nonce != self.join_nonce {
            return false;
        }
        let nonces = Nonces { node: node_nonce, gateway: gateway_nonce };
        self.joined = Some(Joined {
            session: Session::new(&self.secret, &lock, nonces),
            address,
            network: packet.header().network,
            channels,
            key: self.secret.wrap(&lock, nonces, &accept.wrapped_key()),
            next_beacon: gateway_nonce,
        });
        self.join_wanted = false;
        self.unconfirmed = true;
        self.store.must();
        if self.out.as_ref().is_some_and(|out| out.what == What::Join) {
            self.finish(now, Outcome::Heard);
        }
        if let Some(out) = &mut self.out {
            out.counter = None;
        }
        self.hello_at =
            Some(now + self.config.profile.ack_earliest() + self.chance.below(self.config.profile.slot()));
        self.next_sniff = now;
        true
    }
}
