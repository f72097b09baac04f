//! `CKA_EC_POINT` and `CKA_EC_PARAMS` of P-256 (PKCS#11 3.0 §2.3).

use cardea_credentials::PublicKey;

/// DER of the object identifier 1.2.840.10045.3.1.7, secp256r1.
pub(crate) const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// Reads a point: SEC1 inside a DER OCTET STRING as the standard has it, or bare as some modules do. The two cannot be
/// confused: they differ in length.
pub(crate) fn decode(point: &[u8]) -> Option<PublicKey> {
    let sec1 = match point {
        [4, 65, sec1 @ ..] if sec1.len() == 65 => sec1,
        [4, 33, sec1 @ ..] if sec1.len() == 33 => sec1,
        bare => bare,
    };
    PublicKey::from_sec1(sec1).ok()
}

/// SEC1, uncompressed and bare: what `CK_ECDH1_DERIVE_PARAMS` must accept since PKCS#11 2.40.
pub(crate) fn encode(key: &PublicKey) -> Vec<u8> {
    [&[4][..], &key.x(), &key.y()].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use cardea_credentials::{Signer as _, SoftSigner};
    use proptest::prelude::*;

    // The generator of P-256 (SEC 2 §2.4.2), as `pkcs11-tool --read-object` prints a public key's point.
    const G: &str = "0441046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                     4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

    #[test]
    fn a_point_is_read_from_an_octet_string_or_bare() {
        let der = hex::decode(G).unwrap();
        let g = decode(&der).unwrap();
        let mut one = [0; 32];
        *one.last_mut().unwrap() = 1;
        assert_eq!(g, SoftSigner::from_bytes(&one).unwrap().public());
        assert_eq!(decode(der.get(2..).unwrap()), Some(g), "bare");
        let compressed = [&[4, 33][..], &g.to_compressed()].concat();
        assert_eq!(decode(&compressed), Some(g));
        assert_eq!(decode(compressed.get(2..).unwrap()), Some(g));
        assert_eq!(Some(encode(&g).as_slice()), der.get(2..));
    }

    #[test]
    fn a_point_off_the_curve_or_of_another_length_is_none() {
        let mut der = hex::decode(G).unwrap();
        *der.last_mut().unwrap() ^= 1;
        assert_eq!(decode(&der), None);
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[4, 65]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&bytes);
        }
    }
}
