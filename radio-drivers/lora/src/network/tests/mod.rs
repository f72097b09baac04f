//! A site in one test: the network, a packet forwarder, a store and devices made with `lrwn`, on a clock that the test
//! moves.

mod counters;
mod device_stack;
mod downlink;
mod driver;
mod health;
mod hostile;
mod join;
mod mac;

use std::net::SocketAddr;

use bytes::Bytes;
use cardea_framing::LockId;
use cardea_radio::{
    Admission, AdmissionSecret, Command, Event, Health, LorawanClass, MemoryStore, Millis, NetworkStore,
    Outcome, Send, Up,
};
use lrwn::{
    AES128Key, CFList, DevAddr, EUI64, FCtrl, FHDR, FRMPayload, FType, JoinAcceptPayload, JoinRequestPayload,
    JoinType, MACCommand, MACCommandSet, MACPayload, MACVersion, MHDR, Major, NetID, Payload, PhyPayload,
    keys,
};

use super::{Network, Wall};
use crate::config::{Eui, LoraConfig, Region};
use crate::frame::Key;
use crate::semtech::{Packet, Received, Transmit};

const EUI: Eui = Eui([0xaa, 0x55, 0x5a, 0, 0, 0, 1, 1]);
const WALL: Wall = Wall { unix_ms: 1_700_000_000_000, synced: true };

/// What the forwarder answers to a PULL_RESP.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Accepts,
    Refuses(&'static str),
    /// The next one only.
    RefusesOnce(&'static str),
    Silent,
}

struct Site {
    network: Network,
    store: MemoryStore,
    now: Millis,
    /// The concentrator's clock at `now` = 0.
    tmst: u32,
    mood: Mood,
    next_poll: Millis,
    /// Where [`hear`](Self::hear) hears.
    frequency: u32,
    /// While true, commits wait in `held`.
    hold: bool,
    held: Vec<(u64, Vec<cardea_radio::Change>)>,
    wall: Wall,
    /// When each transmit request came out, and what it says.
    sent: Vec<(Millis, Transmit)>,
    /// Those that the forwarder accepted: when each begins on the air, and its PHYPayload.
    on_air: Vec<(Millis, Vec<u8>)>,
    events: Vec<Event>,
}

impl Site {
    fn new(config: LoraConfig) -> Self {
        Self::restart(config, MemoryStore::new(), 1_000)
    }

    /// A network that starts with what the store has, and a forwarder that polls.
    fn restart(config: LoraConfig, store: MemoryStore, now: Millis) -> Self {
        let frequency = match config.region {
            Region::Eu868 => 868_100_000,
            Region::Us915 => 903_900_000,
        };
        let network = Network::new(config, store.load().unwrap()).unwrap();
        let mut site = Self {
            network,
            store,
            now,
            tmst: 7_000_000,
            mood: Mood::Accepts,
            next_poll: 0,
            frequency,
            hold: false,
            held: Vec::new(),
            wall: WALL,
            sent: Vec::new(),
            on_air: Vec::new(),
            events: Vec::new(),
        };
        site.poll();
        site
    }

    fn datagram(&mut self, packet: &Packet) {
        let from: SocketAddr = match packet {
            Packet::PushData { .. } => "127.0.0.1:40001".parse().unwrap(),
            _ => "127.0.0.1:40002".parse().unwrap(),
        };
        self.network.handle_datagram(self.now, self.wall, from, &packet.encode());
        self.pump();
    }

    fn poll(&mut self) {
        self.next_poll = self.now + 10_000;
        self.datagram(&Packet::PullData { token: 1, eui: EUI });
    }

    fn pump(&mut self) {
        loop {
            let mut idle = true;
            while let Some((id, batch)) = self.network.poll_commit() {
                idle = false;
                if self.hold {
                    self.held.push((id, batch));
                } else {
                    let result = self.store.commit_now(batch);
                    self.network.handle_stored(self.now, id, result);
                }
            }
            while let Some((to, datagram)) = self.network.poll_transmit() {
                idle = false;
                if let Packet::PullResp { token, transmit } = Packet::parse(&datagram).unwrap() {
                    assert_eq!(to, "127.0.0.1:40002".parse().unwrap(), "where the last PULL_DATA came from");
                    if self.mood == Mood::Accepts {
                        let start = match transmit.tmst {
                            Some(tmst) => u64::from(tmst.wrapping_sub(self.tmst)) / 1000,
                            None => self.now + 80, // As lora_pkt_fwd schedules it.
                        };
                        self.on_air.push((start, transmit.data.clone()));
                    }
                    self.sent.push((self.now, transmit));
                    let error = match self.mood {
                        Mood::Accepts => None,
                        Mood::Refuses(error) => Some(error.to_owned()),
                        Mood::RefusesOnce(error) => {
                            self.mood = Mood::Accepts;
                            Some(error.to_owned())
                        }
                        Mood::Silent => continue,
                    };
                    let ack = Packet::TxAck { token, eui: EUI, error };
                    self.network.handle_datagram(self.now, self.wall, to, &ack.encode());
                }
            }
            while let Some(event) = self.network.poll_event() {
                idle = false;
                self.events.push(event);
            }
            if idle {
                return;
            }
        }
    }

    /// Lets the store answer what it held back.
    fn release(&mut self) {
        self.hold = false;
        for (id, batch) in std::mem::take(&mut self.held) {
            let result = self.store.commit_now(batch);
            self.network.handle_stored(self.now, id, result);
        }
        self.pump();
    }

    fn command(&mut self, command: Command) {
        self.network.handle_command(self.now, command);
        self.pump();
    }

    /// Time passes; the forwarder polls every ten seconds.
    fn pass(&mut self, millis: Millis) {
        let end = self.now + millis;
        loop {
            let timeout = self.network.poll_timeout().unwrap_or(Millis::MAX).max(self.now);
            let at = timeout.min(self.next_poll.max(self.now)).min(end);
            self.now = at;
            if at >= self.next_poll {
                self.poll();
            }
            self.network.handle_timeout(at);
            self.pump();
            if at == end {
                return;
            }
        }
    }

    fn admit(&mut self, lock: &Lock) {
        self.command(Command::Admit(lock.admission()));
        assert!(
            self.take(|e| matches!(e, Event::Admitted { result: Ok(()), .. })).is_some(),
            "{:?}",
            self.events
        );
    }

    fn tmst_now(&self) -> u32 {
        self.tmst.wrapping_add((self.now as u32).wrapping_mul(1000))
    }

    /// The forwarder hears a frame that ended right now. Returns its time stamp.
    fn hear_on(&mut self, frequency: u32, sf: u8, bw: u16, data: Vec<u8>) -> u32 {
        let tmst = self.tmst_now();
        let received = vec![Received { tmst, frequency, sf, bw, rssi: -80, snr: 55, data }];
        self.datagram(&Packet::PushData { token: 9, eui: EUI, received, unreadable: 0 });
        tmst
    }

    /// At the fastest data rate of 125 kHz.
    fn hear(&mut self, data: Vec<u8>) -> u32 {
        self.hear_on(self.frequency, 7, 125, data)
    }

    /// Takes the first event that fits.
    fn take(&mut self, fits: impl Fn(&Event) -> bool) -> Option<Event> {
        let at = self.events.iter().position(fits)?;
        Some(self.events.remove(at))
    }

    fn take_up(&mut self) -> Option<Up> {
        match self.take(|e| matches!(e, Event::Up(_)))? {
            Event::Up(up) => Some(up),
            _ => None,
        }
    }

    fn take_window(&mut self) -> Option<Millis> {
        match self.take(|e| matches!(e, Event::Window { .. }))? {
            Event::Window { closes, .. } => Some(closes),
            _ => None,
        }
    }

    fn take_outcome(&mut self, of: u64) -> Option<Outcome> {
        match self.take(|e| matches!(e, Event::Outcome { handle, .. } if *handle == of))? {
            Event::Outcome { outcome, .. } => Some(outcome),
            _ => None,
        }
    }

    fn take_health(&mut self) -> Option<Health> {
        match self.take(|e| matches!(e, Event::Health(_)))? {
            Event::Health(health) => Some(health),
            _ => None,
        }
    }

    fn send(&mut self, lock: &Lock, handle: u64, frame: &[u8], life: Millis) {
        let deadline = self.now + life;
        self.command(Command::Send(Send {
            handle,
            lock: lock.id,
            frame: Bytes::copy_from_slice(frame),
            deadline,
        }));
    }

    /// Joins and confirms the session with a poll.
    fn join(&mut self, lock: &mut Lock) {
        let request = lock.join_request();
        self.hear(request);
        let (_, accept) = self.sent.pop().expect("a join-accept");
        lock.accept(&accept.data);
        self.pass(6_000);
        let poll = lock.up(Vec::new());
        self.hear(poll);
        assert!(self.take(|e| matches!(e, Event::Joined(_))).is_some(), "{:?}", self.events);
        self.pass(8_000);
        self.events.clear();
        self.sent.clear();
    }
}

/// A joined lock on EU868.
fn joined(class: LorawanClass) -> (Site, Lock) {
    joined_with(LoraConfig::default(), class)
}

fn joined_with(config: LoraConfig, class: LorawanClass) -> (Site, Lock) {
    let mut site = Site::new(config);
    let mut lock = Lock::new(1, class);
    site.admit(&lock);
    site.join(&mut lock);
    (site, lock)
}

/// A device, made with `lrwn`.
struct Lock {
    id: LockId,
    class: LorawanClass,
    dev_eui: [u8; 8],
    join_eui: [u8; 8],
    app_key: [u8; 16],
    dev_nonce: u16,
    join_nonce: u32,
    dev_addr: [u8; 4],
    network_key: AES128Key,
    application_key: AES128Key,
    rx_delay: u8,
    cf_list: Option<CFList>,
    counter: u32,
    down: Vec<u32>,
}

/// A downlink as its device reads it.
#[derive(Debug, PartialEq)]
struct Down {
    counter: u32,
    ack: bool,
    adr: bool,
    f_opts: Vec<u8>,
    port: Option<u8>,
    payload: Vec<u8>,
}

impl Lock {
    fn new(n: u8, class: LorawanClass) -> Self {
        Self {
            id: LockId([n; 8]),
            class,
            dev_eui: [n, 2, 3, 4, 5, 6, 7, 8],
            join_eui: [0x70, 0xb3, 0xd5, 0x7e, 0xd0, 0, 0, 1],
            app_key: [n ^ 0x5a; 16],
            dev_nonce: 0,
            join_nonce: 0,
            dev_addr: [0; 4],
            network_key: AES128Key::null(),
            application_key: AES128Key::null(),
            rx_delay: 0,
            cf_list: None,
            counter: 0,
            down: Vec::new(),
        }
    }

    fn admission(&self) -> Admission {
        let secret = AdmissionSecret::Lorawan {
            dev_eui: self.dev_eui,
            join_eui: self.join_eui,
            app_key: Key::new(self.app_key),
            class: self.class,
        };
        Admission { lock: self.id, secret }
    }

    fn join_request(&mut self) -> Vec<u8> {
        self.dev_nonce += 1;
        let mut phy = PhyPayload {
            mhdr: MHDR { f_type: FType::JoinRequest, major: Major::LoRaWANR1 },
            payload: Payload::JoinRequest(JoinRequestPayload {
                join_eui: EUI64::from_be_bytes(self.join_eui),
                dev_eui: EUI64::from_be_bytes(self.dev_eui),
                dev_nonce: self.dev_nonce,
            }),
            mic: None,
        };
        phy.set_join_request_mic(&AES128Key::from_bytes(self.app_key)).unwrap();
        phy.to_vec().unwrap()
    }

    fn accept(&mut self, bytes: &[u8]) -> JoinAcceptPayload {
        let key = AES128Key::from_bytes(self.app_key);
        let join_eui = EUI64::from_be_bytes(self.join_eui);
        let mut phy = PhyPayload::from_slice(bytes).unwrap();
        phy.decrypt_join_accept_payload(&key).unwrap();
        assert!(phy.validate_join_accept_mic(JoinType::Join, &join_eui, self.dev_nonce, &key).unwrap());
        let Payload::JoinAccept(accept) = phy.payload else { panic!("not a join-accept") };
        let (net_id, nonce) = (NetID::from_be_bytes([0; 3]), accept.join_nonce);
        self.network_key =
            keys::get_f_nwk_s_int_key(false, &key, &net_id, &join_eui, nonce, self.dev_nonce).unwrap();
        self.application_key =
            keys::get_app_s_key(false, &key, &net_id, &join_eui, nonce, self.dev_nonce).unwrap();
        self.dev_addr = accept.devaddr.to_be_bytes();
        (self.join_nonce, self.rx_delay, self.cf_list) = (nonce, accept.rx_delay, accept.cflist.clone());
        self.counter = 0;
        self.down.clear();
        accept
    }

    /// The next unconfirmed uplink on port 10; empty is a poll.
    fn up(&mut self, payload: Vec<u8>) -> Vec<u8> {
        self.up_with(FType::UnconfirmedDataUp, FCtrl::default(), Vec::new(), Some(10), payload)
    }

    fn confirmed(&mut self, payload: Vec<u8>) -> Vec<u8> {
        self.up_with(FType::ConfirmedDataUp, FCtrl::default(), Vec::new(), Some(10), payload)
    }

    /// With these MAC commands in FOpts.
    fn up_mac(&mut self, commands: Vec<MACCommand>) -> Vec<u8> {
        self.up_with(FType::UnconfirmedDataUp, FCtrl::default(), commands, None, Vec::new())
    }

    fn up_with(
        &mut self,
        f_type: FType,
        f_ctrl: FCtrl,
        f_opts: Vec<MACCommand>,
        f_port: Option<u8>,
        payload: Vec<u8>,
    ) -> Vec<u8> {
        let f_cnt = self.counter;
        self.counter += 1;
        let payload = (!payload.is_empty()).then_some(FRMPayload::Raw(payload));
        let mut phy = PhyPayload {
            mhdr: MHDR { f_type, major: Major::LoRaWANR1 },
            payload: Payload::MACPayload(MACPayload {
                fhdr: FHDR {
                    devaddr: DevAddr::from_be_bytes(self.dev_addr),
                    f_ctrl,
                    f_cnt,
                    f_opts: MACCommandSet::new(f_opts),
                },
                f_port: f_port.filter(|port| *port != 10 || payload.is_some()),
                frm_payload: payload,
            }),
            mic: None,
        };
        let key = if f_port == Some(0) { &self.network_key } else { &self.application_key };
        phy.encrypt_frm_payload(key).unwrap();
        phy.set_uplink_data_mic(MACVersion::LoRaWAN1_0, 0, 0, 0, &self.network_key, &self.network_key)
            .unwrap();
        phy.to_vec().unwrap()
    }

    /// Reads a downlink as a careful device does: MIC under a counter that only rises.
    fn open(&mut self, bytes: &[u8]) -> Down {
        let mut phy = PhyPayload::from_slice(bytes).unwrap();
        let Payload::MACPayload(mac) = &mut phy.payload else { panic!("not data") };
        let floor = self.down.last().map_or(0, |last| last + 1);
        mac.fhdr.f_cnt = floor + ((mac.fhdr.f_cnt.wrapping_sub(floor)) & 0xffff);
        let counter = mac.fhdr.f_cnt;
        assert!(phy.validate_downlink_data_mic(MACVersion::LoRaWAN1_0, 0, &self.network_key).unwrap(), "MIC");
        self.down.push(counter);
        phy.decrypt_frm_payload(&self.application_key).unwrap();
        let Payload::MACPayload(mac) = phy.payload else { panic!("not data") };
        Down {
            counter,
            ack: mac.fhdr.f_ctrl.ack,
            adr: mac.fhdr.f_ctrl.adr,
            f_opts: mac.fhdr.f_opts.to_vec().unwrap(),
            port: mac.f_port,
            payload: mac.frm_payload.map_or(Vec::new(), |payload| payload.to_vec().unwrap()),
        }
    }
}
