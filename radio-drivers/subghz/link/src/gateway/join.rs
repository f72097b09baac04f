use super::{Answer, Gateway};
use crate::body::{Accept, Body, Join};
use crate::codec::{Header, Kind, Packet, UNASSIGNED};
use crate::mic::Nonces;
use crate::session::Session;
use crate::{LockId, Micros};

/// Between two ACCEPTs: whoever repeats JOINs spends no more of our air than this.
const PAUSE: Micros = 100_000;

impl<const PEERS: usize> Gateway<PEERS> {
    pub(super) fn take_join(&mut self, now: Micros, packet: &Packet) -> bool {
        let Ok(Body::Join(Join { lock, nonce })) = Body::decode(Kind::Join, packet.body()) else {
            self.stats.forged += 1;
            return false;
        };
        let open = now < self.join_until;
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.lock == lock).filter(|_| open) else {
            self.stats.strangers += 1;
            return false;
        };
        if !packet.verify(&peer.secret.join_key(), nonce) {
            self.stats.forged += 1;
            return false;
        }
        let again = peer.pending.as_ref().is_some_and(|pending| pending.nonces.node == nonce);
        if again {
            peer.accept_wanted = true;
        } else if peer.last_nonce.is_none_or(|last| nonce > last) {
            let Some(gateway) = self.counter.take() else { return true }; // storage is asked for more
            peer.last_nonce = Some(nonce);
            peer.pending = Some(Session::new(&peer.secret, &lock, Nonces { node: nonce, gateway }));
            peer.dirty = true;
            peer.accept_wanted = true;
        } else {
            self.stats.replayed += 1;
            return false;
        }
        self.accept(now, &lock);
        true
    }

    /// Answers, once the session is stored.
    pub(super) fn accept(&mut self, now: Micros, lock: &LockId) {
        let (network, channels, key) = (self.config.network, self.config.channels, self.key.clone());
        let written = self.writing.as_ref().is_some_and(|writing| writing.is_of(lock));
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.lock == *lock) else { return };
        if !peer.accept_wanted || peer.dirty || written {
            return;
        }
        peer.accept_wanted = false;
        let Some(pending) = &peer.pending else { return };
        if now < self.last_accept + PAUSE && self.last_accept != 0 {
            return; // the lock asks again
        }
        let nonces = pending.nonces;
        let accept = Body::Accept(Accept {
            lock: *lock,
            node_nonce: nonces.node,
            gateway_nonce: nonces.gateway,
            address: peer.address,
            channels,
            wrapped: peer.secret.wrap(lock, nonces, &key).0,
        });
        let header = Header {
            address: UNASSIGNED,
            network,
            kind: Kind::Accept,
            up: false,
            ack: false,
            pending: false,
            counter: 0,
        };
        let key = peer.secret.join_key();
        self.last_accept = now;
        self.reply(now, Answer { header, counter: nonces.node, body: accept, key }, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::seal;
    use crate::mic::{Key, Secret};
    use crate::{GatewayConfig, Profile, Quality, Region};

    const LOCK: LockId = [7; 8];

    fn join(nonce: u32) -> crate::AirFrame {
        let header = Header {
            address: UNASSIGNED,
            network: 3,
            kind: Kind::Join,
            up: true,
            ack: false,
            pending: false,
            counter: 0,
        };
        let body = Body::Join(Join { lock: LOCK, nonce });
        seal(header, nonce, &body.encode(), &Secret([5; 16]).join_key()).unwrap()
    }

    /// A lock asks only where a beacon says that it may; whoever has its secret need not keep to that.
    #[test]
    fn a_join_at_a_closed_window_is_not_answered_however_right_it_is() {
        let config = GatewayConfig {
            profile: Profile::Standard,
            region: Region::Eu433,
            network: 3,
            channels: 1,
            seed: 1,
        };
        let mut gateway = Gateway::<4>::new(config, Key([9; 16]), [], 0).unwrap();
        gateway.admit(LOCK, Secret([5; 16])).unwrap();
        let mut asks = |at, nonce| {
            gateway.handle_received(at, join(nonce).as_bytes(), Quality { rssi: Some(-50), lqi: Some(200) })
        };
        assert!(!asks(1_000, 1), "it was never open");
        gateway.open_join(2_000, 10_000);
        let mut asks = |at, nonce| {
            gateway.handle_received(at, join(nonce).as_bytes(), Quality { rssi: Some(-50), lqi: Some(200) })
        };
        assert!(asks(9_999, 2) && !asks(10_000, 3));
        assert_eq!(gateway.stats().strangers, 2);
    }
}
