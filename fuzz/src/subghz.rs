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

/// What comes over the socket of a virtual module, in pieces (first byte: how long each). What is understood is written to the same bytes.
pub fn subghz_wire(data: &[u8]) {
    use cardea_subghz::wire::{Decoder, MAX_MESSAGE};
    let Some((piece, data)) = data.split_first() else { return };
    let (mut decoder, mut again) = (Decoder::default(), Vec::new());
    for bytes in data.chunks(usize::from(*piece).max(1)) {
        decoder.push(bytes);
        loop {
            match decoder.poll() {
                Ok(Some(message)) => {
                    let bytes = message.encode();
                    assert!(bytes.len() <= MAX_MESSAGE);
                    again.extend(bytes);
                }
                Ok(None) => break,
                Err(_) => return assert!(data.starts_with(&again)),
            }
        }
    }
    assert!(data.starts_with(&again));
}

/// Records of a store (1 byte which, 1 byte length, content), then frames from the air (0 in place of which). Whatever was stored is
/// understood or refused, and nobody without a key moves anything.
pub fn subghz_network(mut data: &[u8]) {
    use cardea_radio::Event;
    use cardea_subghz::network::{Epoch, Network, NetworkConfig, Seeds};
    let (mut records, mut frames) = (Vec::new(), Vec::new());
    while let [what, length, rest @ ..] = data {
        let (body, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        data = rest;
        match what {
            0 => frames.push(body.to_vec()),
            1 => records.push((b"433/settings".to_vec(), body.to_vec())),
            2 => records.push((b"433/network".to_vec(), body.to_vec())),
            n => records.push(([b"433/lock/".as_slice(), &[*n]].concat(), body.to_vec())),
        }
    }
    let config = NetworkConfig {
        profile: Profile::Standard,
        region: Region::Eu433,
        id: None,
        channels: 3,
        max_locks: 10,
    };
    let seeds = Seeds { key: [1; 16], id: 5, backoff: 9 };
    let Ok(mut network) = Network::new(config, &seeds, records, Epoch { us: 0, ms: 0 }, 0) else { return };
    network.handle_radio(Ok(()));
    let mut now = 0;
    for frame in frames {
        now += 700_000;
        network.handle_timeout(now);
        if let Some(frame) = cardea_subghz_link::AirFrame::from_payload(&frame) {
            network.handle_received(now, &frame, Quality::default());
        }
        if network.poll_transmit(now).is_some() {
            network.handle_sent(now + 5_000);
        }
        while let Some((commit, _)) = network.poll_commit() {
            network.handle_stored(now, commit, Ok(()));
        }
        let _ = network.poll_timeout(now);
    }
    while let Some(event) = network.poll_event() {
        assert!(!matches!(event, Event::Joined(_) | Event::Admitted { .. }));
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
