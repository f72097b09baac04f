//! Labels of other schemes: what a lock's maker may print because its radio's standard says so.
//!
//! ```text
//! Z:<EUI-64>$I:<install code>                         Zigbee, as most makers write it, with more around it
//! <EUI-64>|<install code>                             Zigbee, other makers
//! G$M:<model>$A:<EUI-64>$I:<install code>             Zigbee, other makers
//! LW:D0:<JoinEUI>:<DevEUI>:<profile>[:<letter>…]*     LoRaWAN, LoRa Alliance TR005
//! ```
//! None of them names the lock (its id follows from a key that its maker's program does not know of), and TR005 holds no
//! AppKey: whoever reads such a label has to be told the rest. In TR005 a field `C` is the CRC-16/MODBUS of the text before
//! `:C`; Zigbee install codes carry their own CRC-16/X-25. Both are checked.

use crc::{CRC_16_MODBUS, Crc};
use zeroize::Zeroizing;

use cardea_framing::LockId;

use super::{LabelError, MAX_LABEL, hex_field, install_code};
use crate::{Admission, AdmissionSecret, LorawanClass};

const TR005_CHECK: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);

/// What a label of another scheme says.
#[derive(Clone, PartialEq, Eq)]
pub enum Standard {
    /// A Zigbee label.
    Zigbee {
        /// EUI-64, most significant byte first.
        eui: [u8; 8],
        /// With its CRC.
        install_code: Zeroizing<Vec<u8>>,
    },
    /// A LoRaWAN label.
    Lorawan {
        /// Most significant byte first.
        join_eui: [u8; 8],
        /// Most significant byte first.
        dev_eui: [u8; 8],
    },
}

impl std::fmt::Debug for Standard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Zigbee { .. } => f.write_str("Zigbee(..)"),
            Self::Lorawan { dev_eui, .. } => write!(f, "Lorawan({})", hex::encode(dev_eui)),
        }
    }
}

impl Standard {
    /// Reads a label of another scheme; white space around it is ignored.
    ///
    /// # Errors
    /// [`LabelError::NotALabel`] when it is of none that is known here, else what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        let text = text.trim();
        if text.len() > MAX_LABEL || !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err(LabelError::Characters);
        }
        if let Some(rest) = text.strip_prefix("LW:") {
            return tr005(text, rest);
        }
        let (eui, code) = zigbee(text).ok_or(LabelError::NotALabel)?;
        let code = Zeroizing::new(code.to_ascii_lowercase());
        Ok(Self::Zigbee {
            eui: hex_field(eui, "the EUI-64")?,
            install_code: install_code(&code).ok_or(LabelError::InstallCode)?,
        })
    }

    /// The admission, with what the label does not say.
    ///
    /// # Errors
    /// [`LabelError::NoAppKey`] when a LoRaWAN label comes without one.
    pub fn admission(
        self,
        lock: LockId,
        lorawan: Option<(Zeroizing<[u8; 16]>, LorawanClass)>,
    ) -> Result<Admission, LabelError> {
        let secret = match self {
            Self::Zigbee { eui, install_code } => AdmissionSecret::Zigbee { eui, install_code },
            Self::Lorawan { join_eui, dev_eui } => {
                let (app_key, class) = lorawan.ok_or(LabelError::NoAppKey)?;
                AdmissionSecret::Lorawan { dev_eui, join_eui, app_key, class }
            }
        };
        Ok(Admission { lock, secret })
    }
}

/// The parts of a TR005 label, version D0. What else stands in it (owner token, serial number, maker's own) is not ours.
fn tr005(text: &str, rest: &str) -> Result<Standard, LabelError> {
    let rest = rest.strip_prefix("D0:").ok_or(LabelError::Version)?;
    let mut fields = rest.split(':');
    let mut next = || fields.next().unwrap_or_default();
    let (join_eui, dev_eui) = (hex_field(next(), "the JoinEUI")?, hex_field(next(), "the DevEUI")?);
    let _profile: [u8; 4] = hex_field(next(), "the profile")?;
    if let Some((covered, check)) = text.rsplit_once(":C")
        && u16::from_be_bytes(hex_field(check, "the check")?) != TR005_CHECK.checksum(covered.as_bytes())
    {
        return Err(LabelError::Check);
    }
    Ok(Standard::Lorawan { join_eui, dev_eui })
}

/// EUI-64 and install code, wherever makers put them.
fn zigbee(text: &str) -> Option<(&str, &str)> {
    if let Some((eui, code)) = text.split_once('|') {
        return Some((eui.trim(), code.trim()));
    }
    let marked = ["Z:", "$A:"].into_iter().find_map(|mark| text.split_once(mark));
    let (eui, code) = marked?.1.split_once("$I:")?;
    // Behind the code another field may follow.
    let end = code.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(code.len());
    Some((eui, code.get(..end)?))
}

#[cfg(test)]
mod tests {
    use super::super::{parse, reveal};
    use super::*;

    const EUI: [u8; 8] = [0, 0x12, 0x4b, 0, 1, 2, 3, 4];
    /// The code of the Zigbee base device specification's example, with its CRC.
    const CODE: &str = "83FED3407A939723A5C639B26916D505C3B5";
    /// The example of TR005.
    const TR005: &str =
        "LW:D0:1122334455667788:AABBCCDDEEFF0011:AABB1122:OAABBCCDDEEFF:SYYWWNNNNNN:PFOOBAR:CAF2C";
    const LOCK: LockId = LockId([7; 8]);

    /// It is one that a label of ours could have brought.
    fn as_ours(admission: &Admission) {
        let text = reveal(admission);
        assert_eq!(reveal(&parse(&text).unwrap()), text);
    }

    #[test]
    fn zigbee_labels_of_all_makers_say_who_and_the_code() {
        for text in [
            format!("Z:00124B0001020304$I:{CODE}"),
            format!(" Z:00124b0001020304$I:{}$D:AABB ", CODE.to_lowercase()),
            format!("Z:00124B0001020304$I:{CODE}%M:FFFE$D:AABBCCDD"),
            format!("00124B0001020304|{CODE}"),
            format!("00124B0001020304 | {CODE}"),
            format!("G$M:69775$S:680S$D:0001%Z$A:00124B0001020304$I:{CODE}"),
        ] {
            let read = Standard::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let Standard::Zigbee { eui, install_code } = &read else { panic!("{text}") };
            assert_eq!((*eui, hex::encode_upper(install_code.as_slice())), (EUI, CODE.to_owned()), "{text}");
            let admission = read.admission(LOCK, None).unwrap();
            as_ours(&admission);
        }
    }

    #[test]
    fn a_tr005_label_says_who_and_wants_the_app_key() {
        for text in [TR005, "LW:D0:1122334455667788:AABBCCDDEEFF0011:AABB1122"] {
            let read = Standard::parse(text).unwrap();
            assert_eq!(
                read,
                Standard::Lorawan {
                    join_eui: [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88],
                    dev_eui: [0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00, 0x11]
                }
            );
            assert_eq!(read.clone().admission(LOCK, None).unwrap_err(), LabelError::NoAppKey);
            let key = Zeroizing::new([9; 16]);
            let admission = read.admission(LOCK, Some((key, LorawanClass::A))).unwrap();
            as_ours(&admission);
        }
    }

    #[test]
    fn what_is_misread_is_refused() {
        let refused = |text: &str| Standard::parse(text).unwrap_err();
        assert_eq!(refused(&TR005.replace("YYWW", "YYVW")), LabelError::Check);
        assert_eq!(refused(&TR005.replace("D0", "D1")), LabelError::Version);
        assert!(matches!(refused(&TR005.replace("1122334455667788", "11")), LabelError::Hex { .. }));
        assert_eq!(
            refused(&format!("Z:00124B0001020304$I:{}", CODE.replace("83", "84"))),
            LabelError::InstallCode
        );
        assert!(matches!(refused(&format!("Z:00124B00010203$I:{CODE}")), LabelError::Hex { .. }));
        for text in ["", "Z:", "$I:", "|", "G$M:", "LW:", "https://example.org", "cardea:1/loopback/00"] {
            let _ = refused(text);
        }
        assert_eq!(refused(&"Z".repeat(300)), LabelError::Characters);
        assert_eq!(refused("Z:\u{e9}"), LabelError::Characters);
    }

    #[test]
    fn debug_shows_no_code() {
        let read = Standard::parse(&format!("Z:00124B0001020304$I:{CODE}")).unwrap();
        assert_eq!(format!("{read:?}"), "Zigbee(..)");
    }
}
