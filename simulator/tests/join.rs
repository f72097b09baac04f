//! A virtual lock joins through the virtual forwarder at a server of sixty lines, made with `lrwn`.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cardea_framing::{Header, Kind, receipt_digest};
use cardea_radio::{Admission, AdmissionSecret, LorawanClass};
use cardea_simulator::{
    Air, Forwarder, ForwarderConfig, Happening, LockConfig, Region, VirtualLock, Weather,
};
use lrwn::{
    AES128Key, DLSettings, DevAddr, EUI64, FCtrl, FHDR, FRMPayload, FType, JoinAcceptPayload, JoinType,
    MACPayload, MHDR, Major, NetID, Payload, PhyPayload, keys,
};
use serde_json::{Value, json};
use tokio::{net::UdpSocket, time::timeout};

const SEED: u64 = 1;
const ADDRESS: [u8; 4] = [1, 2, 3, 4];

/// What a network and join server needs of one device.
struct Server {
    socket: Arc<UdpSocket>,
    app_key: AES128Key,
    join_eui: EUI64,
    dev_eui: EUI64,
    keys: Option<(AES128Key, AES128Key)>,
    f_cnt_down: u32,
}

impl Server {
    fn new(socket: Arc<UdpSocket>, admission: &Admission) -> Self {
        let AdmissionSecret::Lorawan { dev_eui, join_eui, app_key, .. } = &admission.secret else { panic!() };
        Self {
            socket,
            app_key: AES128Key::from_slice(&app_key[..]).unwrap(),
            join_eui: EUI64::from_be_bytes(*join_eui),
            dev_eui: EUI64::from_be_bytes(*dev_eui),
            keys: None,
            f_cnt_down: 0,
        }
    }

    /// Answers everything; every frame of the lock with its receipt, in RX1.
    async fn run(mut self) {
        let (mut datagram, mut downlinks) = ([0; 2048], None);
        loop {
            let (len, from) = self.socket.recv_from(&mut datagram).await.unwrap();
            let [2, high, low, kind, ..] = datagram else { panic!() };
            match kind {
                0 => {
                    self.socket.send_to(&[2, high, low, 1], from).await.unwrap();
                    let json: Value = serde_json::from_slice(&datagram[12..len]).unwrap();
                    for rxpk in json["rxpk"].as_array().unwrap() {
                        if let Some((phy, delay_us)) = self.uplink(rxpk) {
                            let to = downlinks.unwrap();
                            self.socket.send_to(&pull_resp(rxpk, &phy, delay_us), to).await.unwrap();
                        }
                    }
                }
                2 => {
                    downlinks = Some(from);
                    self.socket.send_to(&[2, high, low, 4], from).await.unwrap();
                }
                5 => assert_eq!(len, 12, "{}", String::from_utf8_lossy(&datagram[12..len])),
                _ => panic!("{kind}"),
            }
        }
    }

    fn uplink(&mut self, rxpk: &Value) -> Option<(Vec<u8>, u32)> {
        let data = STANDARD.decode(rxpk["data"].as_str().unwrap()).unwrap();
        let mut phy = PhyPayload::from_slice(&data).unwrap();
        match &phy.payload {
            Payload::JoinRequest(request) => {
                assert_eq!((request.dev_eui, request.join_eui), (self.dev_eui, self.join_eui));
                assert!(phy.validate_join_request_mic(&self.app_key).unwrap());
                Some((self.accept(request.dev_nonce), 5_000_000))
            }
            Payload::MACPayload(_) => {
                let (nwk, app) = self.keys.unwrap();
                phy.decrypt_frm_payload(&app).unwrap();
                let Payload::MACPayload(mac) = &phy.payload else { panic!() };
                assert_eq!(mac.f_port, Some(10));
                let Some(FRMPayload::Raw(frame)) = &mac.frm_payload else { return None };
                let header = Header::decode(frame[0]).unwrap();
                assert_eq!(header.kind, Kind::PlatformEdhoc);
                let receipt = Header { kind: Kind::Receipt, ..header }.encode();
                let [high, low] = receipt_digest(frame).to_be_bytes();
                Some((self.data(&nwk, &app, vec![receipt, high, low]), 1_000_000))
            }
            other => panic!("{other:?}"),
        }
    }

    fn accept(&mut self, dev_nonce: u16) -> Vec<u8> {
        let net_id = NetID::from_be_bytes([0, 0, 0]);
        let make = |key| match key {
            0 => keys::get_f_nwk_s_int_key(false, &self.app_key, &net_id, &self.join_eui, 1, dev_nonce)
                .unwrap(),
            _ => keys::get_app_s_key(false, &self.app_key, &net_id, &self.join_eui, 1, dev_nonce).unwrap(),
        };
        self.keys = Some((make(0), make(1)));
        let mut phy = PhyPayload {
            mhdr: MHDR { f_type: FType::JoinAccept, major: Major::LoRaWANR1 },
            payload: Payload::JoinAccept(JoinAcceptPayload {
                join_nonce: 1,
                home_netid: net_id,
                devaddr: DevAddr::from_be_bytes(ADDRESS),
                dl_settings: DLSettings { opt_neg: false, rx2_dr: 0, rx1_dr_offset: 0 },
                rx_delay: 1,
                cflist: None,
            }),
            mic: None,
        };
        phy.set_join_accept_mic(JoinType::Join, &self.join_eui, dev_nonce, &self.app_key).unwrap();
        phy.encrypt_join_accept_payload(&self.app_key).unwrap();
        phy.to_vec().unwrap()
    }

    fn data(&mut self, nwk: &AES128Key, app: &AES128Key, frame: Vec<u8>) -> Vec<u8> {
        let fhdr = FHDR {
            devaddr: DevAddr::from_be_bytes(ADDRESS),
            f_ctrl: FCtrl::default(),
            f_cnt: self.f_cnt_down,
            ..FHDR::default()
        };
        self.f_cnt_down += 1;
        let mut phy = PhyPayload {
            mhdr: MHDR { f_type: FType::UnconfirmedDataDown, major: Major::LoRaWANR1 },
            payload: Payload::MACPayload(MACPayload {
                fhdr,
                f_port: Some(10),
                frm_payload: Some(FRMPayload::Raw(frame)),
            }),
            mic: None,
        };
        phy.encrypt_frm_payload(app).unwrap();
        phy.set_downlink_data_mic(lrwn::MACVersion::LoRaWAN1_0, 0, nwk).unwrap();
        phy.to_vec().unwrap()
    }
}

fn pull_resp(rxpk: &Value, phy: &[u8], delay_us: u32) -> Vec<u8> {
    let tmst = (rxpk["tmst"].as_u64().unwrap() as u32).wrapping_add(delay_us);
    let txpk = json!({"txpk": {"imme": false, "tmst": tmst, "rfch": 0, "powe": 14, "freq": rxpk["freq"],
        "modu": "LORA", "datr": rxpk["datr"], "codr": "4/5", "ipol": true, "size": phy.len(),
        "data": STANDARD.encode(phy)}});
    [&[2, 0, 0, 3][..], txpk.to_string().as_bytes()].concat()
}

/// The counter wraps between the join request and its accept.
#[tokio::test]
async fn a_lock_joins_and_talks_in_eu868() {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let air = Air::new(SEED, Weather::default());
    let config = ForwarderConfig {
        counter: u32::MAX - 2_000_000,
        ..ForwarderConfig::eu868(socket.local_addr().unwrap(), [0xaa; 8])
    };
    let forwarder = Forwarder::start(config, air.clone()).await.unwrap();
    let lock = LockConfig { number: 7, class: LorawanClass::A, region: Region::Eu868 };
    let mut lock = VirtualLock::new(SEED, lock, &air).unwrap();
    lock.switch_on();
    let server = tokio::spawn(Server::new(socket, lock.admission()).run());

    let story = async {
        let mut story = Vec::new();
        while let Some((_, happening)) = lock.happened().await {
            story.push(happening);
            if let Happening::Heard(_) = happening {
                break;
            }
        }
        story
    };
    let story = timeout(Duration::from_secs(60), story).await.expect("nothing heard");
    assert!(!server.is_finished() && !forwarder.has_ended());
    assert_eq!(story[0], Happening::Joined, "{story:?}");
    // message_1 went up, and the server's receipt came down in RX1.
    assert!(matches!(story[1], Happening::Sent(len) if len > 37), "{story:?}");
    assert_eq!(story.last(), Some(&Happening::Heard(3)), "{story:?}");
}
