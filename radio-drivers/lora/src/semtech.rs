//! The Semtech UDP packet-forwarder protocol, version 2, both sides of it.
//!
//! Byte 0 is the version, bytes 1–2 a token that answers echo, byte 3 the kind; PUSH_DATA, PULL_DATA and TX_ACK carry
//! the forwarder's EUI next; PUSH_DATA, PULL_RESP and TX_ACK end in JSON. Reading is tolerant where forwarders
//! differ (unknown members, unpadded base64, `rsig`, numbers as floats) and gives up on nothing but the one packet
//! that makes no sense. Writing is strict: some forwarders exit on base64url and drop silently what lacks a member.
//!
//! The protocol has neither authentication nor encryption.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde_json::{Value, json};

use crate::config::Eui;
use crate::plan::Modulation;

const VERSION: u8 = 2;
const PUSH_DATA: u8 = 0;
const PUSH_ACK: u8 = 1;
const PULL_DATA: u8 = 2;
const PULL_RESP: u8 = 3;
const PULL_ACK: u8 = 4;
const TX_ACK: u8 = 5;

/// More received packets than this in one datagram are ignored: a concentrator hands over at most 8 or 16 at a time.
const MAX_RXPK: usize = 64;

/// One datagram.
#[derive(Debug, Clone, PartialEq)]
pub enum Packet {
    /// Forwarder: received packets, or status, or both.
    PushData {
        /// Echoed in the answer.
        token: u16,
        /// Who.
        eui: Eui,
        /// What could be read of the `rxpk` array.
        received: Vec<Received>,
        /// Entries of `rxpk` that made no sense.
        unreadable: usize,
    },
    /// Answer to [`PushData`](Self::PushData).
    PushAck {
        /// Of the PUSH_DATA.
        token: u16,
    },
    /// Forwarder: keeps the way back open.
    PullData {
        /// Echoed in the answer.
        token: u16,
        /// Who.
        eui: Eui,
    },
    /// Answer to [`PullData`](Self::PullData).
    PullAck {
        /// Of the PULL_DATA.
        token: u16,
    },
    /// Server: transmit this.
    PullResp {
        /// Returned in the TX_ACK.
        token: u16,
        /// What and when.
        transmit: Transmit,
    },
    /// Forwarder: what became of a PULL_RESP.
    TxAck {
        /// Of the PULL_RESP.
        token: u16,
        /// Who.
        eui: Eui,
        /// `None`: queued for transmission. Otherwise the forwarder's word for why not.
        error: Option<String>,
    },
}

/// One packet that the concentrator received (`rxpk`).
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The concentrator's clock at the end of the packet, microseconds, wraps every 71.6 minutes.
    pub tmst: u32,
    /// Hz.
    pub frequency: u32,
    /// Spreading factor, 7–12.
    pub sf: u8,
    /// Bandwidth, kHz.
    pub bw: u16,
    /// dBm.
    pub rssi: i16,
    /// Tenths of a dB.
    pub snr: i16,
    /// The PHYPayload.
    pub data: Vec<u8>,
}

/// One packet to transmit (`txpk`).
#[derive(Debug, Clone, PartialEq)]
pub struct Transmit {
    /// When the preamble starts, on the concentrator's clock; `None`: at once.
    pub tmst: Option<u32>,
    /// Hz.
    pub frequency: u32,
    /// dBm EIRP; the forwarder subtracts its antenna gain.
    pub power: i8,
    /// Spreading factor, 7–12.
    pub sf: u8,
    /// Bandwidth, kHz.
    pub bw: u16,
    /// The PHYPayload.
    pub data: Vec<u8>,
}

/// Why a datagram is not of this protocol. Always the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SemtechError {
    /// Shorter than its kind needs.
    #[error("packet-forwarder datagram too short")]
    Short,
    /// Another protocol version than 2.
    #[error("packet-forwarder protocol version {0}, 2 is expected")]
    Version(u8),
    /// No such kind.
    #[error("packet-forwarder datagram of unknown kind {0}")]
    Kind(u8),
    /// Its JSON is not JSON, or lacks what it is for.
    #[error("packet-forwarder datagram with unusable JSON")]
    Json,
}

impl Packet {
    /// Reads a datagram.
    ///
    /// # Errors
    /// See [`SemtechError`].
    pub fn parse(datagram: &[u8]) -> Result<Self, SemtechError> {
        let (&[version, t0, t1, kind], rest) = datagram.split_first_chunk().ok_or(SemtechError::Short)?;
        if version != VERSION {
            return Err(SemtechError::Version(version));
        }
        let token = u16::from_be_bytes([t0, t1]);
        let with_eui = || {
            let (eui, json) = rest.split_first_chunk().ok_or(SemtechError::Short)?;
            Ok::<_, SemtechError>((Eui(*eui), json))
        };
        Ok(match kind {
            PUSH_DATA => {
                let (eui, json) = with_eui()?;
                let json: Value = serde_json::from_slice(json).map_err(|_| SemtechError::Json)?;
                let entries = json.get("rxpk").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                let entries = entries.get(..MAX_RXPK).unwrap_or(entries);
                let received: Vec<_> = entries.iter().filter_map(Received::from_json).collect();
                let unreadable = entries.len().saturating_sub(received.len());
                Self::PushData { token, eui, received, unreadable }
            }
            PUSH_ACK => Self::PushAck { token },
            PULL_DATA => Self::PullData { token, eui: with_eui()?.0 },
            PULL_RESP => {
                let json: Value = serde_json::from_slice(rest).map_err(|_| SemtechError::Json)?;
                let transmit = json.get("txpk").and_then(Transmit::from_json).ok_or(SemtechError::Json)?;
                Self::PullResp { token, transmit }
            }
            PULL_ACK => Self::PullAck { token },
            TX_ACK => {
                let (eui, json) = with_eui()?;
                Self::TxAck { token, eui, error: tx_error(json)? }
            }
            kind => return Err(SemtechError::Kind(kind)),
        })
    }

    /// Writes the datagram.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (token, kind) = match self {
            Self::PushData { token, .. } => (token, PUSH_DATA),
            Self::PushAck { token } => (token, PUSH_ACK),
            Self::PullData { token, .. } => (token, PULL_DATA),
            Self::PullAck { token } => (token, PULL_ACK),
            Self::PullResp { token, .. } => (token, PULL_RESP),
            Self::TxAck { token, .. } => (token, TX_ACK),
        };
        let [t0, t1] = token.to_be_bytes();
        let mut out = vec![VERSION, t0, t1, kind];
        match self {
            Self::PushAck { .. } | Self::PullAck { .. } => {}
            Self::PullData { eui, .. } => out.extend_from_slice(&eui.0),
            Self::PushData { eui, received, .. } => {
                out.extend_from_slice(&eui.0);
                let rxpk: Vec<Value> = received.iter().map(Received::to_json).collect();
                out.extend_from_slice(json!({ "rxpk": rxpk }).to_string().as_bytes());
            }
            Self::PullResp { transmit, .. } => {
                out.extend_from_slice(json!({ "txpk": transmit.to_json() }).to_string().as_bytes());
            }
            Self::TxAck { eui, error, .. } => {
                out.extend_from_slice(&eui.0);
                if let Some(error) = error {
                    out.extend_from_slice(json!({ "txpk_ack": { "error": error } }).to_string().as_bytes());
                }
            }
        }
        out
    }
}

impl Received {
    /// `None` for what is not a good LoRa packet: failed CRC, FSK, members missing or impossible.
    fn from_json(rxpk: &Value) -> Option<Self> {
        // 1: CRC right, 0: no CRC (not a LoRaWAN uplink), -1: CRC wrong. Absent in some forwarders.
        if rxpk.get("stat").is_some_and(|stat| stat.as_i64() != Some(1)) {
            return None;
        }
        if rxpk.get("modu").and_then(Value::as_str) != Some("LORA") {
            return None;
        }
        let (sf, bw) = modulation(rxpk.get("datr")?.as_str()?)?;
        // Forwarders with antenna arrays give one signal report per antenna: the first is the strongest.
        let signal = rxpk.get("rsig").and_then(|rsig| rsig.get(0));
        let number = |name: &str| {
            let here = rxpk.get(name).and_then(Value::as_f64);
            here.or_else(|| signal?.get(name).or_else(|| signal?.get("rssic"))?.as_f64())
        };
        Some(Self {
            tmst: unsigned(rxpk.get("tmst")?)?,
            frequency: hertz(rxpk.get("freq")?)?,
            sf,
            bw,
            // No receiver reports more; whoever claims it must not get at the arithmetic on it.
            rssi: number("rssi").map_or(0, |v| v.round().clamp(-300.0, 100.0) as i16),
            snr: number("lsnr").map_or(0, |v| (v * 10.0).round().clamp(-1000.0, 1000.0) as i16),
            data: payload(rxpk.get("data")?)?,
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "tmst": self.tmst, "chan": 0, "rfch": 0, "freq": megahertz(self.frequency), "stat": 1, "modu": "LORA",
            "datr": format!("SF{}BW{}", self.sf, self.bw), "codr": "4/5", "rssi": self.rssi,
            "lsnr": f64::from(self.snr) / 10.0, "size": self.data.len(), "data": STANDARD.encode(&self.data),
        })
    }
}

impl Transmit {
    fn from_json(txpk: &Value) -> Option<Self> {
        let (sf, bw) = modulation(txpk.get("datr")?.as_str()?)?;
        let imme = txpk.get("imme").and_then(Value::as_bool).unwrap_or(false);
        Some(Self {
            tmst: if imme { None } else { Some(unsigned(txpk.get("tmst")?)?) },
            frequency: hertz(txpk.get("freq")?)?,
            power: i8::try_from(txpk.get("powe").and_then(Value::as_i64).unwrap_or(14)).ok()?,
            sf,
            bw,
            data: payload(txpk.get("data")?)?,
        })
    }

    /// Every member that any forwarder insists on; LoRaWAN downlinks are inverted and carry no payload CRC.
    fn to_json(&self) -> Value {
        let mut txpk = json!({
            "imme": self.tmst.is_none(), "rfch": 0, "powe": self.power, "freq": megahertz(self.frequency),
            "modu": "LORA", "datr": format!("SF{}BW{}", self.sf, self.bw), "codr": "4/5", "ipol": true, "prea": 8,
            "ncrc": true, "size": self.data.len(), "data": STANDARD.encode(&self.data),
        });
        if let (Some(tmst), Some(members)) = (self.tmst, txpk.as_object_mut()) {
            members.insert("tmst".into(), tmst.into());
        }
        txpk
    }

    pub(crate) fn new(
        tmst: Option<u32>,
        frequency: u32,
        power: i8,
        modulation: Modulation,
        data: Vec<u8>,
    ) -> Self {
        Self { tmst, frequency, power, sf: modulation.sf, bw: modulation.bw, data }
    }
}

/// Success is no JSON at all, or an error of `NONE`; a warning (power not available) is not a failure.
fn tx_error(json: &[u8]) -> Result<Option<String>, SemtechError> {
    if json.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0) {
        return Ok(None);
    }
    let json: Value = serde_json::from_slice(json).map_err(|_| SemtechError::Json)?;
    let error = json.get("txpk_ack").and_then(|ack| ack.get("error")).and_then(Value::as_str).unwrap_or("");
    Ok(match error {
        "" | "NONE" => None,
        // A forwarder's word ends up in logs: keep it short and printable.
        error => Some(error.chars().filter(char::is_ascii_graphic).take(32).collect()),
    })
}

fn modulation(datr: &str) -> Option<(u8, u16)> {
    let (sf, bw) = datr.strip_prefix("SF")?.split_once("BW")?;
    let (sf, bw) = (sf.parse().ok()?, bw.parse().ok()?);
    (matches!(sf, 7..=12) && matches!(bw, 125 | 250 | 500)).then_some((sf, bw))
}

/// An unsigned 32-bit number, also when a JSON library wrote it as a double.
fn unsigned(value: &Value) -> Option<u32> {
    if let Some(number) = value.as_u64() {
        return u32::try_from(number).ok();
    }
    let number = value.as_f64()?;
    (number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number)).then_some(number as u32)
}

fn hertz(megahertz: &Value) -> Option<u32> {
    let hertz = (megahertz.as_f64()? * 1e6).round();
    (1.0..=f64::from(u32::MAX)).contains(&hertz).then_some(hertz as u32)
}

/// Exact to a hertz: 867.7 and not 867.700012.
fn megahertz(hertz: u32) -> f64 {
    f64::from(hertz) / 1e6
}

fn payload(data: &Value) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let data = LENIENT.decode(data.as_str()?).ok()?;
    (1..=255).contains(&data.len()).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EUI: Eui = Eui([0xaa, 0x55, 0x5a, 0, 0, 0, 1, 1]);

    fn push(json: &str) -> Packet {
        Packet::parse(&[&[2, 0x12, 0x34, 0][..], &EUI.0, json.as_bytes()].concat()).unwrap()
    }

    /// What lora_pkt_fwd of sx1302_hal 2.1.0 really sends.
    #[test]
    fn reads_a_real_push_data() {
        let json = r#"{"rxpk":[{"jver":1,"tmst":4291080954,"chan":1,"rfch":0,"freq":868.100000,"mid":0,"stat":1,
            "modu":"LORA","datr":"SF12BW125","codr":"4/5","rssis":-61,"lsnr":7.5,"foff":0,"rssi":-60,"size":4,
            "data":"QNobAQ=="}],"stat":{"time":"2026-01-01 00:00:00 GMT","rxnb":1}}"#;
        let Packet::PushData { token, eui, received, unreadable } = push(json) else { panic!() };
        assert_eq!((token, eui, unreadable), (0x1234, EUI, 0));
        let expected = Received {
            tmst: 4_291_080_954,
            frequency: 868_100_000,
            sf: 12,
            bw: 125,
            rssi: -60,
            snr: 75,
            data: vec![0x40, 0xda, 0x1b, 0x01],
        };
        assert_eq!(received, vec![expected]);
    }

    #[test]
    fn odd_forwarders_are_understood_and_bad_packets_left_out() {
        let json = r#"{"rxpk":[
            {"tmst":1000.0,"freq":923.3,"modu":"LORA","datr":"SF8BW500","data":"AQ","rsig":[{"rssic":-42,"lsnr":-3.25}]},
            {"tmst":1,"freq":868.1,"stat":-1,"modu":"LORA","datr":"SF7BW125","data":"AQ=="},
            {"tmst":1,"freq":868.1,"modu":"FSK","datr":50000,"data":"AQ=="},
            {"tmst":-1,"freq":868.1,"modu":"LORA","datr":"SF7BW125","data":"AQ=="},
            {"tmst":1,"freq":868.1,"modu":"LORA","datr":"SF99BW125","data":"AQ=="},
            {"tmst":1,"freq":868.1,"modu":"LORA","datr":"SF7BW125","data":"_-=="},
            7]}"#;
        let Packet::PushData { received, unreadable, .. } = push(json) else { panic!() };
        assert_eq!((received.len(), unreadable), (1, 6));
        assert_eq!((received[0].tmst, received[0].rssi, received[0].snr), (1000, -42, -33));
    }

    #[test]
    fn writes_what_every_forwarder_accepts() {
        let transmit = Transmit {
            tmst: Some(u32::MAX),
            frequency: 867_700_000,
            power: 14,
            sf: 9,
            bw: 125,
            data: vec![0xfb, 0xff, 0xbf],
        };
        let packet = Packet::PullResp { token: 0x0102, transmit };
        let bytes = packet.encode();
        assert_eq!(bytes[..4], [2, 1, 2, 3]);
        let text = std::str::from_utf8(&bytes[4..]).unwrap();
        for part in [
            r#""imme":false"#,
            r#""tmst":4294967295"#,
            r#""freq":867.7,"#,
            r#""data":"+/+/""#,
            r#""size":3"#,
            r#""rfch":0"#,
            r#""powe":14"#,
            r#""modu":"LORA""#,
            r#""datr":"SF9BW125""#,
            r#""codr":"4/5""#,
            r#""ipol":true"#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(Packet::parse(&bytes), Ok(packet));
    }

    #[test]
    fn every_form_of_tx_ack() {
        let ack = |json: &str| {
            let bytes = [&[2, 0, 1, 5][..], &EUI.0, json.as_bytes()].concat();
            Packet::parse(&bytes).map(|packet| match packet {
                Packet::TxAck { error, .. } => error,
                _ => panic!("not a TX_ACK"),
            })
        };
        assert_eq!(ack(""), Ok(None));
        assert_eq!(ack("\0"), Ok(None));
        assert_eq!(ack(r#"{"txpk_ack":{"error":"NONE"}}"#), Ok(None));
        assert_eq!(ack(r#"{"txpk_ack":{"warn":"TX_POWER","value":27}}"#), Ok(None));
        assert_eq!(ack(r#"{"txpk_ack":{"error":"TOO_EARLY"}}"#), Ok(Some("TOO_EARLY".into())));
        assert_eq!(ack("{"), Err(SemtechError::Json));
    }

    #[test]
    fn refuses_what_is_not_the_protocol() {
        assert_eq!(Packet::parse(b""), Err(SemtechError::Short));
        assert_eq!(Packet::parse(&[1, 0, 0, 0]), Err(SemtechError::Version(1)));
        assert_eq!(Packet::parse(&[2, 0, 0, 9]), Err(SemtechError::Kind(9)));
        assert_eq!(Packet::parse(&[2, 0, 0, 2, 1, 2]), Err(SemtechError::Short));
        assert_eq!(Packet::parse(&[&[2, 0, 0, 0][..], &EUI.0, b"[[[["].concat()), Err(SemtechError::Json));
    }

    #[test]
    fn round_trips() {
        let received = Received {
            tmst: 7,
            frequency: 904_300_000,
            sf: 10,
            bw: 125,
            rssi: -110,
            snr: -75,
            data: vec![1, 2, 3],
        };
        for packet in [
            Packet::PushData { token: 1, eui: EUI, received: vec![received], unreadable: 0 },
            Packet::PushAck { token: 2 },
            Packet::PullData { token: 3, eui: EUI },
            Packet::PullAck { token: 4 },
            Packet::TxAck { token: 5, eui: EUI, error: None },
            Packet::TxAck { token: 6, eui: EUI, error: Some("COLLISION_PACKET".into()) },
        ] {
            assert_eq!(Packet::parse(&packet.encode()), Ok(packet));
        }
    }
}
