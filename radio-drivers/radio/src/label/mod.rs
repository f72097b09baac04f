//! The text on a lock's radio label: which lock it is, and the secret that lets it into the radio network.
//!
//! ```text
//! cardea:1/lorawan/<lock id>/<DevEUI>/<JoinEUI>/<AppKey>/<A|C>/<check>
//! cardea:1/zigbee/<lock id>/<EUI-64>/<install code>/<check>
//! cardea:1/subghz/<lock id>/<link address>/<secret>/<check>
//! cardea:1/loopback/<lock id>/<check>
//! ```
//! Ids, EUIs and keys are hexadecimal, most significant byte first, of exactly 16 (AppKey, secret: 32) digits; a link
//! address has two and is 00, which leaves it to the gateway. An install code is
//! written as on any Zigbee label, its own CRC-16/X-25 behind it: 16, 20, 28 or 36 digits. `check`
//! is four hexadecimal digits: CRC-16/IBM-3740 over the lower-case text before the last `/`, so that a mistyped
//! digit or two swapped ones are found before a wrong lock is admitted. Case does not matter when reading: a
//! label in capitals fits the denser alphanumeric mode of a QR code.
//!
//! The label admits to the radio network and never opens a door; the owner code is on another label.

mod standard;

use crc::{CRC_16_IBM_3740, CRC_16_IBM_SDLC, Crc};
use zeroize::Zeroizing;

use cardea_framing::LockId;

use crate::{Admission, AdmissionSecret, LorawanClass};

pub use standard::Standard;

/// Longer than any label of any version; more is not looked at.
pub const MAX_LABEL: usize = 256;

const CHECK: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_3740);
/// Of install codes (BDB 3.0.1 §10.1), which call it X-25.
const CODE_CHECK: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_SDLC);

/// What is wrong with a label, in the installer's terms. Never quotes the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// It does not start with `cardea:`.
    #[error("this is not a Cardea radio label: it must start with \"cardea:\"")]
    NotALabel,
    /// It has another version than 1.
    #[error("this label has a version this gateway does not know; update the gateway")]
    Version,
    /// The radio named is not one of ours.
    #[error("this label names a radio that this gateway does not know")]
    Radio,
    /// A part is missing or there are too many.
    #[error("this label has {found} parts between slashes where {expected} are expected")]
    Parts {
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A part is not hexadecimal of the right length.
    #[error("{field} must be {digits} hexadecimal digits")]
    Hex {
        /// Which part.
        field: &'static str,
        /// How many digits it must have.
        digits: usize,
    },
    /// The device class is neither `A` nor `C`.
    #[error("the device class must be A or C")]
    Class,
    /// The install code has an impossible length, or its own CRC does not match.
    #[error("the install code must be 16, 20, 28 or 36 hexadecimal digits that end with its CRC")]
    InstallCode,
    /// A link address that somebody has chosen.
    #[error("the link address must be 00: the gateway chooses it")]
    Address,
    /// The check digits do not match: a digit was misread.
    #[error("the check digits do not match: one or more characters were misread")]
    Check,
    /// A LoRaWAN label of the LoRa Alliance's scheme, which holds no key.
    #[error("a label of this kind holds no AppKey: it has to be given beside it")]
    NoAppKey,
    /// Longer than [`MAX_LABEL`], or with a character that no label has.
    #[error("this label is too long or has characters that no label has")]
    Characters,
}

/// Reads a label; white space around it is ignored.
///
/// # Errors
/// The first fault found, see [`LabelError`]; the check digits are looked at before any field, so that a typing
/// error is called one.
pub fn parse(text: &str) -> Result<Admission, LabelError> {
    let text = text.trim();
    if text.len() > MAX_LABEL || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(LabelError::Characters);
    }
    // Lower case is the form that the check digits cover.
    let text = Zeroizing::new(text.to_ascii_lowercase());
    let rest = text.strip_prefix("cardea:").ok_or(LabelError::NotALabel)?;
    let rest = rest.strip_prefix("1/").ok_or(LabelError::Version)?;
    let radio = rest.split('/').next().unwrap_or_default();
    let expected = match radio {
        "lorawan" => 7,
        "zigbee" | "subghz" => 5,
        "loopback" => 3,
        _ => return Err(LabelError::Radio),
    };
    let found = rest.split('/').count();
    if found != expected {
        return Err(LabelError::Parts { found, expected });
    }
    let (covered, check) = text.rsplit_once('/').ok_or(LabelError::Check)?;
    if u16::from_be_bytes(hex_field(check, "the check")?) != CHECK.checksum(covered.as_bytes()) {
        return Err(LabelError::Check);
    }
    let mut parts = rest.split('/').skip(1);
    let mut next = || parts.next().unwrap_or_default();
    let lock = LockId(hex_field(next(), "the lock id")?);
    let secret = match radio {
        "lorawan" => AdmissionSecret::Lorawan {
            dev_eui: hex_field(next(), "the DevEUI")?,
            join_eui: hex_field(next(), "the JoinEUI")?,
            app_key: Zeroizing::new(hex_field(next(), "the AppKey")?),
            class: match next() {
                "a" => LorawanClass::A,
                "c" => LorawanClass::C,
                _ => return Err(LabelError::Class),
            },
        },
        "zigbee" => AdmissionSecret::Zigbee {
            eui: hex_field(next(), "the EUI-64")?,
            install_code: install_code(next()).ok_or(LabelError::InstallCode)?,
        },
        "subghz" => {
            let [0] = hex_field(next(), "the link address")? else { return Err(LabelError::Address) };
            AdmissionSecret::Subghz { secret: Zeroizing::new(hex_field(next(), "the secret")?) }
        }
        _ => AdmissionSecret::Loopback,
    };
    Ok(Admission { lock, secret })
}

/// Writes the label of an admission, for label printers and simulated locks.
///
/// An explicit call and not `Display`, because the text holds the admission secret: it must never end up in a
/// log line by way of a `{}`.
#[must_use]
pub fn reveal(admission: &Admission) -> Zeroizing<String> {
    let lock = hex::encode(admission.lock.0);
    let mut text = match &admission.secret {
        AdmissionSecret::Lorawan { dev_eui, join_eui, app_key, class } => {
            let key = Zeroizing::new(hex::encode(app_key.as_slice()));
            let class = match class {
                LorawanClass::A => "A",
                LorawanClass::C => "C",
            };
            Zeroizing::new(format!(
                "cardea:1/lorawan/{lock}/{}/{}/{}/{class}",
                hex::encode(dev_eui),
                hex::encode(join_eui),
                key.as_str()
            ))
        }
        AdmissionSecret::Zigbee { eui, install_code } => {
            let code = Zeroizing::new(hex::encode(install_code.as_slice()));
            Zeroizing::new(format!("cardea:1/zigbee/{lock}/{}/{}", hex::encode(eui), code.as_str()))
        }
        AdmissionSecret::Subghz { secret } => {
            let secret = Zeroizing::new(hex::encode(secret.as_slice()));
            Zeroizing::new(format!("cardea:1/subghz/{lock}/00/{}", secret.as_str()))
        }
        AdmissionSecret::Loopback => Zeroizing::new(format!("cardea:1/loopback/{lock}")),
    };
    push_check(&mut text);
    text
}

/// A label's text with the check digits that it lacks; for those who print labels. What it says is not looked at.
#[must_use]
pub fn checked(text: &str) -> Zeroizing<String> {
    // With room for the digits: a text that moves leaves its secret behind.
    let mut checked = Zeroizing::new(String::with_capacity(text.len() + 5));
    checked.push_str(text.trim());
    push_check(&mut checked);
    checked
}

fn push_check(text: &mut String) {
    let covered = Zeroizing::new(text.to_ascii_lowercase());
    text.push('/');
    text.push_str(&hex::encode(CHECK.checksum(covered.as_bytes()).to_be_bytes()));
}

/// An install code whose own CRC fits.
fn install_code(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if !matches!(text.len(), 16 | 20 | 28 | 36) {
        return None;
    }
    let bytes = Zeroizing::new(hex::decode(text).ok()?);
    let (code, crc) = bytes.split_last_chunk()?;
    (CODE_CHECK.checksum(code) == u16::from_le_bytes(*crc)).then(|| bytes.clone())
}

fn hex_field<const N: usize>(text: &str, field: &'static str) -> Result<[u8; N], LabelError> {
    let mut out = [0; N];
    hex::decode_to_slice(text, &mut out).map_err(|_| LabelError::Hex { field, digits: 2 * N })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "cardea:1/lorawan/00112233445566ff/0004a30b001c0530/70b3d57ed0000001/2b7e151628aed2a6abf7158809cf4f3c/C/";

    fn label() -> String {
        let covered = LABEL.trim_end_matches('/').to_ascii_lowercase();
        format!("{LABEL}{:04x}", CHECK.checksum(covered.as_bytes()))
    }

    #[test]
    fn reads_what_it_writes_in_any_case() {
        for text in [label(), label().to_uppercase(), format!("  {}\n", label())] {
            let admission = parse(&text).unwrap();
            assert_eq!(admission.lock, LockId([0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0xff]));
            let AdmissionSecret::Lorawan { dev_eui, app_key, class, .. } = &admission.secret else {
                panic!("not a LoRaWAN label")
            };
            assert_eq!(*dev_eui, [0x00, 0x04, 0xa3, 0x0b, 0x00, 0x1c, 0x05, 0x30]);
            assert_eq!(app_key[0], 0x2b);
            assert_eq!(*class, LorawanClass::C);
            assert_eq!(*reveal(&admission), label());
        }
        let loopback = Admission { lock: LockId([7; 8]), secret: AdmissionSecret::Loopback };
        assert_eq!(parse(&reveal(&loopback)).unwrap().lock, LockId([7; 8]));
    }

    /// The code of the Zigbee base device specification's example, with its CRC.
    const ZIGBEE: &str =
        "cardea:1/zigbee/00112233445566ff/00124b0001020304/83fed3407a939723a5c639b26916d505c3b5";

    #[test]
    fn a_zigbee_label_has_an_eui_and_an_install_code_of_any_length() {
        for code in [
            "83fed3407a939723a5c639b26916d505c3b5",
            "83fed3407a932b70",
            "83fed3407a93972397fc",
            "83fed3407a939723a5c639ff4c12",
        ] {
            let text = checked(&format!("cardea:1/zigbee/00112233445566ff/00124b0001020304/{code}"));
            for text in [text.to_string(), text.to_uppercase()] {
                let admission = parse(&text).unwrap();
                let AdmissionSecret::Zigbee { eui, install_code } = &admission.secret else {
                    panic!("not a Zigbee label")
                };
                assert_eq!(*eui, [0, 0x12, 0x4b, 0, 1, 2, 3, 4]);
                assert_eq!(hex::encode(install_code.as_slice()), code);
                assert!(reveal(&admission).eq_ignore_ascii_case(&text));
                assert_eq!(format!("{:?}", admission.secret), "Zigbee(..)");
            }
        }
    }

    #[test]
    fn a_433_mhz_label_has_a_secret_and_leaves_the_address_to_the_gateway() {
        let text = checked("cardea:1/subghz/00112233445566ff/00/2b7e151628aed2a6abf7158809cf4f3c");
        for text in [text.to_string(), text.to_uppercase()] {
            let admission = parse(&text).unwrap();
            let AdmissionSecret::Subghz { secret } = &admission.secret else { panic!("not a 433 MHz label") };
            assert_eq!(hex::encode(secret.as_slice()), "2b7e151628aed2a6abf7158809cf4f3c");
            assert!(reveal(&admission).eq_ignore_ascii_case(&text));
            assert_eq!(format!("{:?}", admission.secret), "Subghz(..)");
        }
        let refused = |text: &str| parse(&checked(text)).unwrap_err();
        let label = "cardea:1/subghz/00112233445566ff/00/2b7e151628aed2a6abf7158809cf4f3c";
        assert_eq!(refused(&label.replace("/00/", "/05/")), LabelError::Address);
        assert_eq!(
            refused(&label.replace("/00/", "/0/")),
            LabelError::Hex { field: "the link address", digits: 2 }
        );
        assert_eq!(
            refused(&label.replace("4f3c", "4f")),
            LabelError::Hex { field: "the secret", digits: 32 }
        );
        assert_eq!(refused(&label.replace("/00/", "/")), LabelError::Parts { found: 4, expected: 5 });
    }

    /// The label's check may be right: it was printed over a wrong code.
    #[test]
    fn an_install_code_that_its_own_crc_does_not_fit_is_refused() {
        for code in [
            "83fed3407a939723a5c639b26916d505c3b6",
            "83fed3407a939723a5c639b26916d505",
            "",
            "83fed3407a932b7z",
        ] {
            let text = checked(&format!("cardea:1/zigbee/00112233445566ff/00124b0001020304/{code}"));
            assert_eq!(parse(&text).unwrap_err(), LabelError::InstallCode, "{code}");
        }
        let error = parse(&checked(&ZIGBEE.replace("00124b", "0012"))).unwrap_err();
        assert_eq!(error, LabelError::Hex { field: "the EUI-64", digits: 16 });
        assert_eq!(
            parse(&checked(&format!("{ZIGBEE}/a"))).unwrap_err(),
            LabelError::Parts { found: 6, expected: 5 }
        );
    }

    #[test]
    fn the_check_is_crc_16_ibm_3740() {
        // The catalogue's check value for "123456789".
        assert_eq!(CHECK.checksum(b"123456789"), 0x29b1);
        let loopback = Admission { lock: LockId([0; 8]), secret: AdmissionSecret::Loopback };
        assert_eq!(
            *reveal(&loopback),
            format!(
                "cardea:1/loopback/0000000000000000/{:04x}",
                CHECK.checksum(b"cardea:1/loopback/0000000000000000")
            )
        );
    }

    #[test]
    fn every_single_misread_digit_is_found() {
        let good = label();
        for (at, byte) in good.bytes().enumerate().filter(|(_, b)| b.is_ascii_hexdigit()) {
            let mut bad = good.clone().into_bytes();
            bad[at] = if byte == b'0' { b'1' } else { b'0' };
            assert!(parse(std::str::from_utf8(&bad).unwrap()).is_err(), "digit {at}");
        }
    }

    #[test]
    fn faults_are_named() {
        let refused = |text: &str| parse(text).unwrap_err();
        assert_eq!(refused("https://example.org"), LabelError::NotALabel);
        assert_eq!(refused(&label().replace("cardea:1", "cardea:2")), LabelError::Version);
        assert_eq!(refused(&label().replace("lorawan", "zigzag")), LabelError::Radio);
        assert_eq!(refused("cardea:1/lorawan/0011"), LabelError::Parts { found: 2, expected: 7 });
        assert_eq!(refused(&label().replace("2b7e", "2b7f")), LabelError::Check);
        assert_eq!(refused(&"x".repeat(300)), LabelError::Characters);
        assert_eq!(refused("cardea:1/\u{e9}"), LabelError::Characters);
        let with_check =
            |text: &str| format!("{text}/{:04x}", CHECK.checksum(text.to_lowercase().as_bytes()));
        assert_eq!(
            refused(&with_check("cardea:1/loopback/0011")),
            LabelError::Hex { field: "the lock id", digits: 16 }
        );
        assert_eq!(refused(&with_check(&LABEL.replace("/C/", "/B"))), LabelError::Class);
    }

    #[test]
    fn errors_and_debug_never_show_the_key() {
        let admission = parse(&label()).unwrap();
        assert!(!format!("{admission:?}").contains("2b7e"));
        let error = parse(&label().replace("2b7e", "2b7f")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("2b7f"));
    }
}
