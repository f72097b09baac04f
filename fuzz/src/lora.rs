//! What anybody who reaches the packet-forwarder socket, transmits on a LoRa channel, or prints a label may send.

use std::net::{Ipv4Addr, SocketAddr};

use cardea_framing::LockId;
use cardea_lora::network::{Network, Wall};
use cardea_lora::semtech::{Packet, Received};
use cardea_lora::{Eui, LoraConfig};
use cardea_radio::{Admission, AdmissionSecret, Command, Event, LorawanClass, Send, label};
use zeroize::Zeroizing;

const FORWARDER: Eui = Eui([0xaa, 0x55, 0x5a, 0, 0, 0, 1, 1]);
/// A join-request and the first uplink of the session that it opens, as hexadecimal lines; a test of cardea-lora keeps
/// them true.
const PRELUDE: &str = include_str!("lora_prelude.txt");

/// A datagram of the packet-forwarder protocol; what it says of packets survives being written and read again.
pub fn lora_semtech(data: &[u8]) {
    match Packet::parse(data) {
        Ok(Packet::PushData { token, eui, received, .. }) => {
            let packet = Packet::PushData { token, eui, received, unreadable: 0 };
            assert_eq!(Packet::parse(&packet.encode()), Ok(packet));
        }
        Ok(packet @ Packet::PullResp { .. }) => assert_eq!(Packet::parse(&packet.encode()), Ok(packet)),
        _ => {}
    }
}

/// A network with one joined device. The bytes are steps: what, how many bytes, those bytes. 0: a datagram; 1: a frame
/// that the concentrator hears; 2: time passes; 3: the gateway sends. The top bit makes the store fail meanwhile.
pub fn lora_network(mut data: &[u8]) {
    let Ok(network) = Network::new(LoraConfig::default(), Vec::new()) else { return };
    let mut site = Site { network, now: 1_000, sends: 0, outcomes: 0 };
    site.datagram(&Packet::PullData { token: 0, eui: FORWARDER }.encode(), true);
    let app_key = Zeroizing::new([0x5b; 16]);
    let (dev_eui, join_eui) = ([1, 2, 3, 4, 5, 6, 7, 8], [0x70, 0xb3, 0xd5, 0x7e, 0xd0, 0, 0, 1]);
    let secret = AdmissionSecret::Lorawan { dev_eui, join_eui, app_key, class: LorawanClass::A };
    let lock = LockId([1; 8]);
    site.network.handle_command(site.now, Command::Admit(Admission { lock, secret }));
    site.settle(true);
    for line in PRELUDE.lines() {
        site.hear(hex::decode(line).unwrap_or_default(), true);
        site.pass(8_000, true);
    }
    while let [what, len, rest @ ..] = data {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        data = rest;
        let store = what & 0x80 == 0;
        match what & 3 {
            0 => site.datagram(bytes, store),
            1 => site.hear(bytes.to_vec(), store),
            2 => site.pass(bytes.iter().map(|byte| u64::from(*byte) * 50).sum(), store),
            _ => {
                site.sends += 1;
                let deadline = site.now + u64::from(*len) * 100;
                let send = Send { handle: site.sends, lock, frame: bytes.to_vec().into(), deadline };
                site.network.handle_command(site.now, Command::Send(send));
                site.settle(store);
            }
        }
    }
    for _ in 0..20 {
        site.pass(3_000, true);
    }
    assert_eq!(site.outcomes, site.sends, "each send has one outcome");
}

/// What a damaged or foreign store may hold: records (kind, lock, length, bytes) that a network starts from. It starts or
/// names the record; one that starts serves a forwarder, and what it writes at its end is read again.
pub fn lora_records(mut data: &[u8]) {
    let mut records = Vec::new();
    while let [kind, lock, len, rest @ ..] = data {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        data = rest;
        let key = match kind & 3 {
            0 => b"lorawan/j".to_vec(),
            1 => [&b"lorawan/d"[..], &[*lock; 8]].concat(),
            2 => [&b"lorawan/a"[..], &[*lock; 8]].concat(),
            _ => [&b"lorawan/p"[..], &[*lock; 8]].concat(),
        };
        // A store has one record of a name.
        records.retain(|(known, _)| *known != key);
        records.push((key, bytes.to_vec()));
    }
    let Ok(network) = Network::new(LoraConfig::default(), records.clone()) else { return };
    let mut site = Site { network, now: 1_000, sends: 0, outcomes: 0 };
    site.datagram(&Packet::PullData { token: 0, eui: FORWARDER }.encode(), true);
    for line in PRELUDE.lines() {
        site.hear(hex::decode(line).unwrap_or_default(), true);
        site.pass(8_000, true);
    }
    site.network.handle_command(site.now, Command::Stop);
    while let Some((id, batch)) = site.network.poll_commit() {
        for change in batch {
            records.retain(|(known, _)| *known != change.key);
            records.extend(change.value.map(|value| (change.key, value)));
        }
        site.network.handle_stored(site.now, id, Ok(()));
    }
    assert!(
        Network::new(LoraConfig::default(), records).is_ok(),
        "it does not start from what it wrote itself"
    );
}

/// A datagram of the loopback radio: nothing is lost of it.
pub fn loopback_datagram(data: &[u8]) {
    match cardea_radio::loopback::split(data) {
        Some((lock, frame)) => assert_eq!([&lock.0[..], frame].concat(), data),
        None => assert!(data.len() < 8),
    }
}

struct Site {
    network: Network,
    now: u64,
    sends: u64,
    outcomes: u64,
}

impl Site {
    fn datagram(&mut self, bytes: &[u8], store: bool) {
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let wall = Wall { unix_ms: 1_700_000_000_000, synced: true };
        self.network.handle_datagram(self.now, wall, from, bytes);
        self.settle(store);
    }

    fn hear(&mut self, data: Vec<u8>, store: bool) {
        let tmst = u32::try_from(self.now * 1000 % (1 << 32)).unwrap_or(0);
        let received = Received { tmst, frequency: 868_100_000, sf: 7, bw: 125, rssi: -80, snr: 55, data };
        let push = Packet::PushData { token: 0, eui: FORWARDER, received: vec![received], unreadable: 0 };
        self.datagram(&push.encode(), store);
    }

    fn pass(&mut self, millis: u64, store: bool) {
        self.now += millis;
        self.network.handle_timeout(self.now);
        self.settle(store);
    }

    fn settle(&mut self, store: bool) {
        while let Some((id, _)) = self.network.poll_commit() {
            let result =
                if store { Ok(()) } else { Err(cardea_radio::NetworkStoreError("told to fail".into())) };
            self.network.handle_stored(self.now, id, result);
        }
        while self.network.poll_transmit().is_some() {}
        while let Some(event) = self.network.poll_event() {
            self.outcomes += u64::from(matches!(event, Event::Outcome { .. }));
        }
    }
}

/// A radio label, of ours or another scheme; what reads as one of ours is written the same, but for case and white space.
pub fn radio_label(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(admission) = label::parse(text) {
        assert!(label::reveal(&admission).eq_ignore_ascii_case(text.trim()));
    }
    if let Ok(read) = label::Standard::parse(text) {
        let lorawan = Some((Zeroizing::new([7; 16]), LorawanClass::C));
        let admission = read.admission(LockId([1; 8]), lorawan);
        assert!(admission.is_ok_and(|admission| label::parse(&label::reveal(&admission)).is_ok()));
    }
}
