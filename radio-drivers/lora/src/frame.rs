//! LoRaWAN 1.0.x frames: parsing, MIC, encryption; all cryptography is `lrwn`'s.

use lrwn::{
    AES128Key, CFList, DLSettings, DevAddr, EUI64, FCtrl, FHDR, FRMPayload, FType, JoinAcceptPayload,
    JoinType, MACCommand, MACCommandSet, MACPayload, MACVersion, MHDR, Major, NetID, Payload, PhyPayload,
    encrypt_frm_payload, keys,
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// An AES-128 key of ours; wiped when dropped, never printed.
pub(crate) type Key = Zeroizing<[u8; 16]>;

/// What a device may send us.
pub(crate) enum Uplink {
    Join(JoinRequest),
    Data(Data),
}

/// A join-request that is not authenticated yet.
pub(crate) struct JoinRequest {
    pub(crate) join_eui: [u8; 8],
    pub(crate) dev_eui: [u8; 8],
    pub(crate) dev_nonce: u16,
    phy: PhyPayload,
}

/// A data frame that is not authenticated yet.
pub(crate) struct Data {
    pub(crate) dev_addr: u32,
    pub(crate) confirmed: bool,
    pub(crate) adr: bool,
    pub(crate) adr_ack_req: bool,
    /// Low 16 bits of the counter.
    pub(crate) counter: u16,
    pub(crate) f_opts: Vec<u8>,
    pub(crate) port: Option<u8>,
    pub(crate) mic: [u8; 4],
    encrypted: Vec<u8>,
    phy: PhyPayload,
}

/// Parses an uplink. `None` for anything a LoRaWAN 1.0.x device does not send, and for frames with reserved bits set:
/// the MIC is computed over the frame as written anew, so reserved bits would not be covered by it.
pub(crate) fn parse(bytes: &[u8]) -> Option<Uplink> {
    let phy = PhyPayload::from_slice(bytes).ok()?;
    if phy.to_vec().ok()? != bytes {
        return None;
    }
    match &phy.payload {
        Payload::JoinRequest(join) => Some(Uplink::Join(JoinRequest {
            join_eui: join.join_eui.to_be_bytes(),
            dev_eui: join.dev_eui.to_be_bytes(),
            dev_nonce: join.dev_nonce,
            phy,
        })),
        Payload::MACPayload(mac) => {
            let confirmed = match phy.mhdr.f_type {
                FType::UnconfirmedDataUp => false,
                FType::ConfirmedDataUp => true,
                _ => return None,
            };
            Some(Uplink::Data(Data {
                dev_addr: u32::from_be_bytes(mac.fhdr.devaddr.to_be_bytes()),
                confirmed,
                adr: mac.fhdr.f_ctrl.adr,
                adr_ack_req: mac.fhdr.f_ctrl.adr_ack_req,
                counter: u16::try_from(mac.fhdr.f_cnt & 0xffff).ok()?,
                f_opts: mac.fhdr.f_opts.to_vec().ok()?,
                port: mac.f_port,
                mic: phy.mic?,
                encrypted: match &mac.frm_payload {
                    Some(FRMPayload::Raw(bytes)) => bytes.clone(),
                    _ => Vec::new(),
                },
                phy,
            }))
        }
        _ => None,
    }
}

impl JoinRequest {
    /// Whether the device with this AppKey made it.
    pub(crate) fn verify(mut self, app_key: &Key) -> bool {
        let received = self.phy.mic.take();
        let made = self.phy.set_join_request_mic(&AES128Key::from_bytes(**app_key));
        made.is_ok() && same_mic(received, self.phy.mic)
    }
}

impl Data {
    /// Whether the holder of this network session key made it under this counter.
    pub(crate) fn verify(&mut self, network_key: &Key, counter: u32) -> bool {
        if let Payload::MACPayload(mac) = &mut self.phy.payload {
            mac.fhdr.f_cnt = counter;
        }
        let key = AES128Key::from_bytes(**network_key);
        let made = self.phy.set_uplink_data_mic(MACVersion::LoRaWAN1_0, 0, 0, 0, &key, &key);
        made.is_ok() && same_mic(Some(self.mic), self.phy.mic)
    }

    /// FRMPayload in the clear; empty when there is none.
    pub(crate) fn decrypt(&self, key: &Key, counter: u32) -> Vec<u8> {
        if self.encrypted.is_empty() {
            return Vec::new();
        }
        let dev_addr = DevAddr::from_be_bytes(self.dev_addr.to_be_bytes());
        encrypt_frm_payload(&AES128Key::from_bytes(**key), true, &dev_addr, counter, &self.encrypted)
            .unwrap_or_default()
    }
}

fn same_mic(received: Option<[u8; 4]>, made: Option<[u8; 4]>) -> bool {
    match (received, made) {
        (Some(received), Some(made)) => received.ct_eq(&made).into(),
        _ => false,
    }
}

/// What a downlink says.
pub(crate) struct Downlink<'a> {
    pub(crate) dev_addr: u32,
    /// All 32 bits; never used twice with the same keys.
    pub(crate) counter: u32,
    pub(crate) ack: bool,
    pub(crate) adr: bool,
    /// At most 15 bytes.
    pub(crate) f_opts: &'a [u8],
    /// Port and FRMPayload.
    pub(crate) payload: Option<(u8, &'a [u8])>,
}

impl Downlink<'_> {
    /// The PHYPayload, unconfirmed: what must arrive is confirmed end to end.
    pub(crate) fn encode(&self, network_key: &Key, application_key: &Key) -> Option<Vec<u8>> {
        let f_opts =
            if self.f_opts.is_empty() { vec![] } else { vec![MACCommand::Raw(self.f_opts.to_vec())] };
        let f_ctrl = FCtrl { ack: self.ack, adr: self.adr, ..FCtrl::default() };
        let mut phy = PhyPayload {
            mhdr: MHDR { f_type: FType::UnconfirmedDataDown, major: Major::LoRaWANR1 },
            payload: Payload::MACPayload(MACPayload {
                fhdr: FHDR {
                    devaddr: DevAddr::from_be_bytes(self.dev_addr.to_be_bytes()),
                    f_ctrl,
                    f_cnt: self.counter,
                    f_opts: MACCommandSet::new(f_opts),
                },
                f_port: self.payload.map(|(port, _)| port),
                frm_payload: self.payload.map(|(_, bytes)| FRMPayload::Raw(bytes.to_vec())),
            }),
            mic: None,
        };
        phy.encrypt_frm_payload(&AES128Key::from_bytes(**application_key)).ok()?;
        phy.set_downlink_data_mic(MACVersion::LoRaWAN1_0, 0, &AES128Key::from_bytes(**network_key)).ok()?;
        phy.to_vec().ok()
    }
}

/// What a join-accept says.
pub(crate) struct JoinAccept {
    pub(crate) join_nonce: u32,
    pub(crate) net_id: [u8; 3],
    pub(crate) dev_addr: u32,
    pub(crate) rx1_offset: u8,
    pub(crate) rx2_dr: u8,
    pub(crate) rx_delay: u8,
    pub(crate) cf_list: Option<CFList>,
}

impl JoinAccept {
    /// The encrypted PHYPayload.
    pub(crate) fn encode(self, join_eui: &[u8; 8], dev_nonce: u16, app_key: &Key) -> Option<Vec<u8>> {
        let key = AES128Key::from_bytes(**app_key);
        let mut phy = PhyPayload {
            mhdr: MHDR { f_type: FType::JoinAccept, major: Major::LoRaWANR1 },
            payload: Payload::JoinAccept(JoinAcceptPayload {
                join_nonce: self.join_nonce,
                home_netid: NetID::from_be_bytes(self.net_id),
                devaddr: DevAddr::from_be_bytes(self.dev_addr.to_be_bytes()),
                dl_settings: DLSettings {
                    opt_neg: false,
                    rx2_dr: self.rx2_dr,
                    rx1_dr_offset: self.rx1_offset,
                },
                rx_delay: self.rx_delay,
                cflist: self.cf_list,
            }),
            mic: None,
        };
        phy.set_join_accept_mic(JoinType::Join, &EUI64::from_be_bytes(*join_eui), dev_nonce, &key).ok()?;
        phy.encrypt_join_accept_payload(&key).ok()?;
        phy.to_vec().ok()
    }
}

/// NwkSKey and AppSKey of a new session.
pub(crate) fn session_keys(
    app_key: &Key,
    net_id: [u8; 3],
    join_eui: &[u8; 8],
    join_nonce: u32,
    dev_nonce: u16,
) -> Option<(Key, Key)> {
    let app_key = AES128Key::from_bytes(**app_key);
    let (net_id, join_eui) = (NetID::from_be_bytes(net_id), EUI64::from_be_bytes(*join_eui));
    let network =
        keys::get_f_nwk_s_int_key(false, &app_key, &net_id, &join_eui, join_nonce, dev_nonce).ok()?;
    let application = keys::get_app_s_key(false, &app_key, &net_id, &join_eui, join_nonce, dev_nonce).ok()?;
    Some((Key::new(network.to_bytes()), Key::new(application.to_bytes())))
}

/// A DevAddr of this network: the prefix of its NetID, and 25 (or fewer) bits of `seed`.
pub(crate) fn dev_addr(net_id: [u8; 3], seed: u32) -> u32 {
    let mut address = DevAddr::from_be_bytes(seed.to_be_bytes());
    address.set_dev_addr_prefix(NetID::from_be_bytes(net_id).dev_addr_prefix());
    u32::from_be_bytes(address.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const VECTORS: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/lorawan.json"));

    fn bytes(v: &Value, name: &str) -> Vec<u8> {
        hex::decode(v[name].as_str().unwrap()).unwrap()
    }

    fn key(v: &Value, name: &str) -> Key {
        Key::new(bytes(v, name).try_into().unwrap())
    }

    fn array<const N: usize>(v: &Value, name: &str) -> [u8; N] {
        bytes(v, name).try_into().unwrap()
    }

    /// Every vector of lora-packet, through the code that the network runs.
    #[test]
    fn agrees_with_lora_packet() {
        let file: Value = serde_json::from_str(VECTORS).unwrap();
        let (mut requests, mut accepts, mut ups, mut downs) = (0, 0, 0, 0);
        for v in file["vectors"].as_array().unwrap() {
            let name = v["name"].as_str().unwrap();
            let phy = bytes(v, "phy");
            match v["kind"].as_str().unwrap() {
                "join_request" => {
                    let Some(Uplink::Join(join)) = parse(&phy) else { panic!("{name}") };
                    assert_eq!(join.join_eui, array(v, "join_eui"));
                    assert_eq!(join.dev_eui, array(v, "dev_eui"));
                    assert_eq!(u64::from(join.dev_nonce), v["dev_nonce"]);
                    assert!(join.verify(&key(v, "app_key")), "{name}");
                    let Some(Uplink::Join(join)) = parse(&phy) else { panic!("{name}") };
                    assert!(!join.verify(&Key::new([0; 16])), "{name}");
                    requests += 1;
                }
                "join_accept" => {
                    let accept = JoinAccept {
                        join_nonce: v["join_nonce"].as_u64().unwrap() as u32,
                        net_id: array(v, "net_id"),
                        dev_addr: u32::from_be_bytes(array(v, "dev_addr")),
                        rx1_offset: (v["dl_settings"].as_u64().unwrap() >> 4) as u8,
                        rx2_dr: (v["dl_settings"].as_u64().unwrap() & 15) as u8,
                        rx_delay: v["rx_delay"].as_u64().unwrap() as u8,
                        cf_list: v["cflist"].as_str().map(|list| {
                            CFList::from_bytes(hex::decode(list).unwrap().try_into().unwrap()).unwrap()
                        }),
                    };
                    let (app_key, dev_nonce) = (key(v, "app_key"), v["dev_nonce"].as_u64().unwrap() as u16);
                    // The JoinEUI is that of the join-request vector; 1.0 neither signs nor derives with it.
                    let made = accept.encode(&[0; 8], dev_nonce, &app_key).unwrap();
                    assert_eq!(hex::encode(made), v["phy"].as_str().unwrap(), "{name}");
                    let (network, application) = session_keys(
                        &app_key,
                        array(v, "net_id"),
                        &[0; 8],
                        v["join_nonce"].as_u64().unwrap() as u32,
                        dev_nonce,
                    )
                    .unwrap();
                    assert!(network == key(v, "nwk_s_key") && application == key(v, "app_s_key"), "{name}");
                    accepts += 1;
                }
                _ => {
                    let counter = v["fcnt32"].as_u64().unwrap() as u32;
                    let (network, application) = (key(v, "nwk_s_key"), key(v, "app_s_key"));
                    let port = v["fport"].as_u64().map(|port| port as u8);
                    let (f_opts, payload) = (bytes(v, "fopts"), bytes(v, "payload"));
                    let flag = |name: &str| v["fctrl"][name].as_bool().unwrap_or(false);
                    if let Some(Uplink::Data(mut data)) = parse(&phy) {
                        assert_eq!(data.dev_addr, u32::from_be_bytes(array(v, "dev_addr")));
                        assert_eq!(
                            (data.port, &data.f_opts, data.adr),
                            (port, &f_opts, flag("ADR")),
                            "{name}"
                        );
                        assert_eq!(data.confirmed, v["mtype"] == "Confirmed Data Up");
                        assert!(data.verify(&network, counter), "{name}");
                        assert!(!data.verify(&network, counter ^ 0x1_0000), "{name}: the high bits count");
                        let key = if port == Some(0) { &network } else { &application };
                        assert_eq!(data.decrypt(key, counter), payload, "{name}");
                        ups += 1;
                    } else if v["mtype"] == "Unconfirmed Data Down" {
                        let down = Downlink {
                            dev_addr: u32::from_be_bytes(array(v, "dev_addr")),
                            counter,
                            ack: flag("ACK"),
                            adr: flag("ADR"),
                            f_opts: &f_opts,
                            payload: port.map(|port| (port, &payload[..])),
                        };
                        assert_eq!(
                            hex::encode(down.encode(&network, &application).unwrap()),
                            hex::encode(&phy),
                            "{name}"
                        );
                        downs += 1;
                    }
                }
            }
        }
        assert_eq!((requests, accepts, ups), (1, 2, 8));
        assert!(downs >= 3, "{downs}");
    }

    #[test]
    fn reserved_bits_are_refused() {
        let mut phy = hex::decode("40da1b012600ffff029bac55b25e").unwrap();
        assert!(matches!(parse(&phy), Some(Uplink::Data(_))));
        phy[0] |= 0x04;
        assert!(parse(&phy).is_none(), "MHDR RFU");
        assert!(parse(&[]).is_none());
        assert!(parse(&[0xe0, 1, 2, 3]).is_none(), "proprietary");
        assert!(
            parse(&hex::decode("60da1b012620000002f06f5eb50f6f81e137770c37fad3cb").unwrap()).is_none(),
            "downlink"
        );
    }
}
