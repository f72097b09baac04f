//! What anybody with a 433 MHz transmitter may send.

#![allow(clippy::indexing_slicing, reason = "by three bits, in arrays of eight; by two, in one of four")]

use cardea_subghz_link::codec::{Header, Kind, seal};
use cardea_subghz_link::mic::{Key, Secret};
use cardea_subghz_link::{
    Body, Gateway, GatewayConfig, GatewayEvent, Node, NodeConfig, NodeEvent, Packet, Profile, Quality, Region,
};

/// Bytes after a sync word. A packet is written to the same bytes but for its code and CRC, its body to the same bytes.
pub fn subghz_frame(data: &[u8]) {
    let Ok(packet) = Packet::parse(data) else { return };
    let key = Key([0; 16]);
    let sealed = seal(*packet.header(), u32::from(packet.header().counter), packet.body(), &key);
    let again = sealed.map(|frame| Packet::parse(frame.as_bytes()));
    let Some(Ok(again)) = again else { unreachable!("a packet that is none when written again") };
    assert_eq!((again.header(), again.body()), (packet.header(), packet.body()));
    if let Ok(body) = Body::decode(packet.header().kind, packet.body()) {
        assert_eq!(body.encode(), packet.body());
    }
}

/// Both machines, with a lock in the network, get frames under the right keys, the lock's, or none: what (2 bits whose key, 3 bits
/// kind, 1 direction, 2 how long after), a counter, a length, a body. Nobody without a key is listened to.
pub fn subghz_machines(mut data: &[u8]) {
    let secret = || Secret([7; 16]);
    let config =
        GatewayConfig { profile: Profile::Standard, region: Region::Eu433, network: 1, channels: 3, seed: 1 };
    let Ok(mut gateway) = Gateway::<4>::new(config, Key([1; 16]), [], 0) else { return };
    let config = NodeConfig {
        lock: [1; 8],
        profile: Profile::Standard,
        region: Region::Eu433,
        interval_ms: 500,
        linger_ms: 100,
        seed: 2,
    };
    let Ok(mut node) = Node::new(config, secret(), None, 0) else { return };
    let _ = gateway.admit([1; 8], secret());
    gateway.open_join(0, u64::MAX);
    node.join(0);
    let mut now = 0;
    let keys = secret().session(&[1; 8], cardea_subghz_link::mic::Nonces { node: 1, gateway: 0 });
    while let [what, counter, length, rest @ ..] = data {
        let (body, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        data = rest;
        now += [50, 5_000, 300_000, 20_000_000][usize::from(what >> 6)];
        let kinds = [
            Kind::Data,
            Kind::Ack,
            Kind::Wake,
            Kind::Beacon,
            Kind::Join,
            Kind::Accept,
            Kind::Hello,
            Kind::Floor,
        ];
        let (kind, up) = (kinds[usize::from(what >> 2 & 7)], what & 32 != 0);
        let address = match kind {
            Kind::Beacon => 0,
            Kind::Join | Kind::Accept => 0xFE,
            _ => 1,
        };
        let key = match what & 3 {
            0 => Key([0; 16]),
            1 if kind == Kind::Beacon => Key([1; 16]),
            1 if address == 0xFE => secret().join_key(),
            1 if up => keys.up.clone(),
            1 => keys.down.clone(),
            _ => Key([9; 16]),
        };
        let header = Header { address, network: 1, kind, up, ack: true, pending: false, counter: 0 };
        let sealed = seal(header, u32::from(*counter), body, &key);
        let air = sealed.as_ref().map_or(body, |frame| frame.as_bytes());
        let authentic = what & 3 == 1;
        let quality = Quality::default();
        node.handle_timeout(now);
        gateway.handle_timeout(now);
        node.handle_received(now, air, quality);
        gateway.handle_received(now, air, quality);
        let _ = node.send(now, 1, b"up", now + 1_000_000);
        let _ = gateway.send(now, 1, &[1; 8], b"down", now + 1_000_000);
        for _ in 0..4 {
            if node.poll_store().is_some() {
                node.handle_stored(counter & 1 == 0);
            }
            if gateway.poll_store().is_some() {
                gateway.handle_stored(now, counter & 1 == 0);
            }
        }
        // Frames between the two: the lock's reach the gateway and the other way round, while the counter is even.
        if let Some(transmit) = node.poll_transmit(now) {
            if counter & 1 == 0 {
                node.handle_sent(now)
            } else {
                node.handle_busy(now)
            }
            gateway.handle_received(now, transmit.frame.as_bytes(), quality);
        }
        if let Some(transmit) = gateway.poll_transmit(now) {
            if counter & 1 == 0 {
                gateway.handle_sent(now)
            } else {
                gateway.handle_busy(now)
            }
            node.handle_received(now, transmit.frame.as_bytes(), quality);
        }
        while let Some(event) = node.poll_event() {
            if let NodeEvent::Received { frame, .. } = event {
                assert!(frame == b"down"[..] || authentic);
            }
        }
        while let Some(event) = gateway.poll_event() {
            if let GatewayEvent::Up { frame, .. } = event {
                assert!(frame == b"up"[..] || authentic);
            }
        }
        let _ =
            (node.poll_timeout(), gateway.poll_timeout(now), node.poll_listen(now), gateway.poll_listen());
    }
}
