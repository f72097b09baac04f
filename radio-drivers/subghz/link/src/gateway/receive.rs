use heapless::Vec;

use super::peer::Peer;
use super::{Answer, Flight, Gateway, GatewayEvent, Reply};
use crate::body::{Ack, Body, Hello};
use crate::codec::{Header, Kind, MTU, Packet, UNASSIGNED};
use crate::counter::Verdict;
use crate::mic::Key;
use crate::session::Session;
use crate::{LockId, Micros, Outcome, Quality};

/// Frames are taken while so many events still have room beside them.
const ROOM: usize = 28;
/// A lock's old counter is answered at most so often.
const FLOOR_PAUSE: Micros = 1_000_000;

impl<const PEERS: usize> Gateway<PEERS> {
    /// A frame was received; `now` is its end. `air` is LEN, whitened bytes and CRC. True if a lock of ours has sent it.
    pub fn handle_received(&mut self, now: Micros, air: &[u8], quality: Quality) -> bool {
        let Ok(packet) = Packet::parse(air) else {
            self.stats.noise += 1;
            return false;
        };
        let header = *packet.header();
        if !header.up || header.network != self.config.network {
            return false; // another gateway's, or for one
        }
        match (header.address, header.kind) {
            (UNASSIGNED, Kind::Join) => self.take_join(now, &packet),
            (_, Kind::Ack) => self.take_ack(now, &packet),
            (_, Kind::Data | Kind::Hello) => self.take_up(now, &packet, quality),
            _ => {
                self.stats.forged += 1;
                false
            }
        }
    }

    fn take_ack(&mut self, now: Micros, packet: &Packet) -> bool {
        let address = packet.header().address;
        let channel = self.channel;
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.address == address) else { return false };
        // A serial module may be out, and its frame answered, before it must be.
        let flies = self.flight.is_some_and(|(flight, ..)| flight == Flight::Data)
            && self.exchange.as_ref().is_some_and(|exchange| exchange.address == address);
        let counter = peer.down.as_ref().filter(|down| down.tries > 0 || flies).and_then(|down| down.counter);
        let (Some(session), Some(counter)) = (&peer.current, counter) else { return false };
        if !packet.verify(&session.keys.up, counter) {
            self.stats.forged += 1;
            return false;
        }
        peer.heard(now, channel, 0);
        self.finish(now, address, Outcome::Heard);
        if packet.header().pending {
            self.yields_until = now + self.config.profile.defers();
        }
        true
    }

    fn take_up(&mut self, now: Micros, packet: &Packet, quality: Quality) -> bool {
        let header = *packet.header();
        let room = self.events.len() < ROOM;
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.address == header.address) else {
            self.stats.forged += 1;
            return false;
        };
        let Some((counter, promoted)) = peer.authenticate(packet) else {
            self.stats.forged += 1;
            return false;
        };
        let (lock, Some(session)) = (peer.lock, &mut peer.current) else { return false };
        session.rx.saw(counter);
        let verdict = session.rx.judge(counter);
        match verdict {
            Verdict::New if room => session.rx.accept(counter),
            Verdict::Repeat if session.rx.repeat() => {}
            Verdict::BelowFloor => {
                let floor = session.rx.floor();
                if peer.last_floor.is_none_or(|last| now >= last + FLOOR_PAUSE) {
                    peer.last_floor = Some(now);
                    let key = session.keys.down.clone();
                    self.answer(now, &header, counter, Body::Floor(floor), key, None);
                }
                self.joined(promoted, lock);
                return true;
            }
            Verdict::Old | Verdict::Repeat => {
                self.stats.replayed += 1;
                return false; // whoever plays it again is not the lock
            }
            Verdict::New | Verdict::NotReserved => return true, // not acknowledged: it comes again
        }
        let key = session.keys.down.clone();
        self.joined(promoted, lock);
        if verdict == Verdict::New {
            self.deliver(now, packet, quality, header.address);
        }
        self.yields_until = 0; // what was waited for, or whoever was waited for is not heard beside this one
        let body = Body::Ack(Ack { quality });
        self.answer(now, &header, counter, body, key, Some(header.address));
        true
    }

    fn joined(&mut self, promoted: bool, lock: LockId) {
        if promoted {
            self.tell(GatewayEvent::Joined(lock));
        }
    }

    fn deliver(&mut self, now: Micros, packet: &Packet, quality: Quality, address: u8) {
        let (sleeps, ack_earliest) = (self.config.profile.sleeps(), self.config.profile.ack_earliest());
        let ack_air = self.config.profile.air_time_of_body(2);
        let Some(peer) = self.peer(address) else { return };
        let lock = peer.lock;
        let mut times = None;
        if let Ok(Body::Hello(hello)) = Body::decode(packet.header().kind, packet.body()) {
            let Hello { floor, interval_ms, linger_ms } = hello;
            let interval_ms = if sleeps { interval_ms } else { 0 };
            if (peer.interval_ms, peer.linger_ms) != (interval_ms, linger_ms) {
                (peer.interval_ms, peer.linger_ms) = (interval_ms, linger_ms);
                peer.dirty = true;
            }
            if let Some(session) = &mut peer.current {
                session.tx.jump(floor);
            }
            // A counter from before the lock's restart would be refused. The last one below its floor it may have accepted.
            if let Some(down) = &mut peer.down {
                down.counter = down.counter.filter(|&counter| counter.saturating_add(1) >= floor);
            }
            times = Some(GatewayEvent::Times { lock, interval_ms });
        }
        let window = now + ack_earliest + ack_air + Micros::from(peer.linger_ms) * 1_000;
        if let Some(times) = times {
            self.tell(times);
        }
        if packet.header().kind == Kind::Data
            && let Ok(frame) = Vec::<u8, MTU>::from_slice(packet.body())
            && !frame.is_empty()
        {
            self.tell(GatewayEvent::Up { lock, frame, quality, window });
        }
    }

    fn answer(
        &mut self,
        now: Micros,
        header: &Header,
        counter: u32,
        body: Body,
        key: Key,
        anchors: Option<u8>,
    ) {
        let header = Header { kind: body.kind(), up: false, ack: false, pending: false, ..*header };
        self.reply(now, Answer { header, counter, body, key }, anchors);
    }

    /// `anchors`: the address of whose frame is acknowledged.
    pub(super) fn reply(&mut self, now: Micros, answer: Answer, anchors: Option<u8>) {
        let (channel, at) = (self.channel, now + self.config.profile.ack_earliest());
        let _ = self.replies.push_back(Reply { answer, at, channel, anchors }); // full: as if it were lost on the air
    }
}

impl Peer {
    /// The whole counter, and whether the pending session proved itself and is the current one now.
    fn authenticate(&mut self, packet: &Packet) -> Option<(u32, bool)> {
        let right = |session: &Option<Session>| {
            let session = session.as_ref()?;
            let counter = session.rx.whole(packet.header().counter);
            packet.verify(&session.keys.up, counter).then_some(counter)
        };
        if let Some(counter) = right(&self.current) {
            return Some((counter, false));
        }
        let counter = right(&self.pending)?;
        self.current = self.pending.take();
        if let Some(down) = &mut self.down {
            down.counter = None;
        }
        self.dirty = true;
        Some((counter, true))
    }
}
