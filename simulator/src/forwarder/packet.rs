//! The datagrams of the Semtech UDP protocol, as one real forwarder writes and reads them.

use base64::{Engine as _, alphabet, engine::DecodePaddingMode, engine::general_purpose};
use serde_json::{Value, json};

use crate::air::{Modulation, Transmission};

const VERSION: u8 = 2;
const PUSH_DATA: u8 = 0;
const PULL_DATA: u8 = 2;
pub(super) const PULL_RESP: u8 = 3;
pub(super) const PULL_ACK: u8 = 4;
const TX_ACK: u8 = 5;
/// The receive buffer of the real program.
const LONGEST: usize = 1000;
/// What the transmitter's table of powers has, dBm.
const POWERS: std::ops::RangeInclusive<i64> = 12..=27;

/// A PULL_RESP that can be sent.
pub(super) struct Downlink {
    /// Counter value; `None` means at once.
    pub(super) at: Option<u32>,
    pub(super) modulation: Modulation,
    pub(super) payload: Vec<u8>,
    /// The power it will have, where that is not the one asked for.
    pub(super) warning: Option<i64>,
}

/// Why a PULL_RESP is not sent.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// With this error in TX_ACK.
    Named(&'static str),
    /// Without a TX_ACK.
    Silent(&'static str),
    /// The program ends.
    Fatal,
}

pub(super) fn pull_data(token: [u8; 2], eui: [u8; 8]) -> Vec<u8> {
    head(token, PULL_DATA, eui)
}

pub(super) fn tx_ack(token: [u8; 2], eui: [u8; 8], json: &str) -> Vec<u8> {
    let mut datagram = head(token, TX_ACK, eui);
    datagram.extend(json.as_bytes());
    datagram
}

pub(super) fn push_data(token: [u8; 2], eui: [u8; 8], tmst: u32, heard: &Transmission) -> Vec<u8> {
    let modulation = heard.modulation;
    let rxpk = json!({
        "jver": 1,
        "tmst": tmst,
        "chan": 1,
        "rfch": 0,
        "freq": f64::from(modulation.frequency) / 1e6,
        "mid": 0,
        "stat": 1,
        "modu": "LORA",
        "datr": format!("SF{}BW{}", modulation.spreading_factor, modulation.bandwidth / 1000),
        "codr": "4/5",
        "rssis": -61,
        "lsnr": 7.5,
        "foff": 0,
        "rssi": -60,
        "size": heard.payload.len(),
        "data": general_purpose::STANDARD.encode(&heard.payload),
    });
    let mut datagram = head(token, PUSH_DATA, eui);
    datagram.extend(json!({ "rxpk": [rxpk] }).to_string().bytes());
    datagram
}

/// Reads the JSON of a PULL_RESP that came in a datagram of `len` bytes.
pub(super) fn parse_txpk(json: &[u8], len: usize, transmits: (u32, u32)) -> Result<Downlink, Refusal> {
    if len > LONGEST {
        return Err(Refusal::Silent("datagram too long"));
    }
    let silent = |what| Refusal::Silent(what);
    let json: Value = serde_json::from_slice(json).map_err(|_| silent("no JSON"))?;
    let txpk = json.get("txpk").ok_or(silent("no txpk"))?;
    let text = |key: &'static str| txpk.get(key).and_then(Value::as_str).ok_or(silent(key));
    let number = |key: &'static str| txpk.get(key).and_then(Value::as_f64).ok_or(silent(key));

    let at = if txpk.get("imme").and_then(Value::as_bool) == Some(true) {
        None
    } else if let Some(tmst) = txpk.get("tmst").and_then(Value::as_f64) {
        Some(tmst as u32)
    } else if txpk.get("tmms").is_some() {
        return Err(Refusal::Named("GPS_UNLOCKED"));
    } else {
        return Err(silent("no time"));
    };
    let frequency = (number("freq")? * 1e6).round() as u32;
    if number("rfch")? != 0.0 {
        return Err(silent("rfch cannot transmit"));
    }
    if text("modu")? != "LORA" {
        return Err(silent("modu"));
    }
    let (spreading_factor, bandwidth) = parse_datr(text("datr")?).ok_or(silent("datr"))?;
    text("codr")?;
    number("size")?;
    let payload = decode(text("data")?)?;
    if !(transmits.0..=transmits.1).contains(&frequency) {
        return Err(Refusal::Named("TX_FREQ"));
    }
    let power = txpk.get("powe").and_then(Value::as_i64);
    let warning = match power {
        Some(power) if POWERS.contains(&power) => None,
        Some(power) => Some(power.clamp(*POWERS.start(), *POWERS.end())),
        None => Some(*POWERS.start()),
    };
    let inverted = txpk.get("ipol").and_then(Value::as_bool).unwrap_or(false);
    let modulation = Modulation { frequency, spreading_factor, bandwidth, inverted };
    Ok(Downlink { at, modulation, payload, warning })
}

fn parse_datr(datr: &str) -> Option<(u8, u32)> {
    let (factor, bandwidth) = datr.strip_prefix("SF")?.split_once("BW")?;
    let (factor, bandwidth) = (factor.parse().ok()?, bandwidth.parse::<u32>().ok()?);
    ((5..=12).contains(&factor) && [125, 250, 500].contains(&bandwidth)).then(|| (factor, bandwidth * 1000))
}

/// Padded or not, but of the standard alphabet: the real program exits on any other byte.
fn decode(data: &str) -> Result<Vec<u8>, Refusal> {
    let lenient = general_purpose::GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    general_purpose::GeneralPurpose::new(&alphabet::STANDARD, lenient)
        .decode(data)
        .map_err(|_| Refusal::Fatal)
}

fn head(token: [u8; 2], kind: u8, eui: [u8; 8]) -> Vec<u8> {
    let mut datagram = vec![VERSION];
    datagram.extend(token);
    datagram.push(kind);
    datagram.extend(eui);
    datagram
}

#[cfg(test)]
mod tests {
    use super::*;

    const EU: (u32, u32) = (863_000_000, 870_000_000);

    fn good() -> Value {
        json!({"txpk":{"imme":false,"tmst":4294967295_u32,"rfch":0,"powe":14,"freq":867.7,"modu":"LORA","datr":"SF7BW125",
            "codr":"4/5","ipol":true,"size":3,"data":"AQID"}})
    }

    fn parse(txpk: &Value) -> Result<Downlink, Refusal> {
        parse_txpk(txpk.to_string().as_bytes(), 300, EU)
    }

    #[test]
    fn a_good_one() {
        let downlink = parse(&good()).ok().unwrap();
        assert_eq!((downlink.at, downlink.payload, downlink.warning), (Some(u32::MAX), vec![1, 2, 3], None));
        assert_eq!(downlink.modulation.frequency, 867_700_000);
    }

    #[test]
    fn refusals_as_measured() {
        let refusal = |key: &str, value: Value| {
            let mut txpk = good();
            txpk["txpk"][key] = value;
            parse(&txpk).err()
        };
        for key in ["freq", "rfch", "modu", "datr", "codr", "size", "data", "tmst"] {
            assert!(matches!(refusal(key, Value::Null), Some(Refusal::Silent(_))), "{key}");
        }
        assert_eq!(refusal("freq", json!(923.3)), Some(Refusal::Named("TX_FREQ")));
        assert_eq!(refusal("data", json!("-DS4CGaDCdG-")), Some(Refusal::Fatal));
        assert!(refusal("data", json!("AQI")).is_none(), "unpadded is fine");
        assert!(matches!(parse_txpk(b"{}", 1001, EU).err(), Some(Refusal::Silent(_))));

        let mut loud = good();
        loud["txpk"]["powe"] = json!(33);
        assert_eq!(parse(&loud).ok().unwrap().warning, Some(27));
        let mut gps = good();
        gps["txpk"]["tmst"] = Value::Null;
        gps["txpk"]["tmms"] = json!(1_000_000);
        assert_eq!(parse(&gps).err(), Some(Refusal::Named("GPS_UNLOCKED")));
    }
}
