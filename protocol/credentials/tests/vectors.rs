//! COSE keys, claim sets and signatures that other programs made, RFC 8392's example among them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a panic here is a verdict

use cardea_credentials::cbor::{Kind, Reader, Writer};
use cardea_credentials::{
    CoseKey, Error, PublicKey, Sign1, Signer, SoftSigner, YForm, decode_ccs, encode_ccs,
    verify_lock_identity, verify_platform,
};
use serde_json::Value;

fn vectors() -> Value {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/cose-cwt.json"));
    serde_json::from_str(text).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn named<'v>(list: &'v Value, name: &str) -> &'v Value {
    list.as_array().unwrap().iter().find(|item| item["name"] == name).unwrap()
}

fn read_key(bytes: &[u8]) -> Result<CoseKey<'_>, Error> {
    let mut reader = Reader::new(bytes);
    let key = CoseKey::read(&mut reader)?;
    reader.finish()?;
    Ok(key)
}

fn signer_key(all: &Value) -> PublicKey {
    let signer = &all["_about"]["signer"]["es256"];
    let key =
        PublicKey::from_xy(bytes(&signer["x"]).try_into().unwrap(), bytes(&signer["y"]).try_into().unwrap());
    let private = SoftSigner::from_bytes(&bytes(&signer["d"]).try_into().unwrap()).unwrap();
    assert_eq!(Ok(private.public()), key);
    key.unwrap()
}

#[test]
fn cose_keys_and_thumbprints() {
    let all = vectors();
    let key_bytes = |name| bytes(&named(&all["cose_keys"], name)["cose_key"]);
    let private_bytes = key_bytes("ec2_private");
    assert_eq!(read_key(&private_bytes), Err(Error::UnsupportedKey), "a private key is not taken");

    let full_bytes = key_bytes("ec2_public");
    let full = read_key(&full_bytes).unwrap();
    let value = named(&all["cose_keys"], "ec2_public");
    assert_eq!(full.key.thumbprint().to_vec(), bytes(&value["thumbprint_sha256_rfc9679"]));
    assert_eq!(full.kid, Some(&[0x2b][..]));
    let signer = SoftSigner::from_bytes(&bytes(&value["sk"]).try_into().unwrap()).unwrap();
    assert_eq!(signer.public(), full.key);

    let compressed_bytes = key_bytes("ec2_public_compressed_bool");
    assert_eq!(read_key(&compressed_bytes).unwrap().key, full.key, "the sign bit gives the same point");
    let mut out = [0; 96];
    let mut writer = Writer::new(&mut out);
    CoseKey::write(&full.key, None, YForm::Sign, &mut writer).unwrap();
    assert_eq!(writer.as_slice(), compressed_bytes);

    let private = named(&all["cose_keys"], "ec2_private");
    let key = SoftSigner::from_bytes(&bytes(&private["sk"]).try_into().unwrap()).unwrap().public();
    assert_eq!(key.thumbprint().to_vec(), bytes(&private["thumbprint_sha256_rfc9679"]));

    // A label twice: which of the two would others have read?
    let twice = [&[0xa6][..], &full_bytes[1..], &[0x02, 0x41, 0x2c]].concat();
    assert_eq!(read_key(&twice), Err(Error::Malformed));

    for foreign in ["okp_ed25519", "okp_x25519"] {
        assert_eq!(read_key(&key_bytes(foreign)), Err(Error::UnsupportedKey), "{foreign}");
    }
}

/// RFC 9679 §6 prints this key and its thumbprint.
#[test]
fn the_thumbprint_of_rfc_9679() {
    let x = "65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d";
    let y = "1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c";
    let array = |text| <[u8; 32]>::try_from(hex::decode(text).unwrap()).unwrap();
    let key = PublicKey::from_xy(array(x), array(y)).unwrap();
    let expected = "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec";
    assert_eq!(hex::encode(key.thumbprint()), expected);
}

#[test]
fn claim_sets() {
    let all = vectors();
    let ccs = bytes(&named(&all["ccs"], "ccs-p256")["ccs"]);
    let read = decode_ccs(&ccs).unwrap();
    assert_eq!(read.subject, Some("lock-0001"));
    assert!(!read.cose_key.x_only);
    for (name, error) in [("ccs-x25519", Error::UnsupportedKey), ("ccs-kid-only", Error::UnsupportedKey)] {
        let foreign = bytes(&named(&all["ccs"], name)["ccs"]);
        assert_eq!(decode_ccs(&foreign), Err(error), "{name}");
    }
    // RFC 8747 §3.2: other claims are skipped.
    let claims = bytes(&named(&all["rfc_examples"], "rfc8747-3.2-cnf-cose-key")["claims"]);
    assert_eq!(decode_ccs(&claims).unwrap().subject, None);

    // The CRED_R of RFC 9529 §3, byte for byte.
    let cred = concat!(
        "a2026b6578616d706c652e65647508a101a501020241322001215820bbc34960526ea4d32e940cad2a234148ddc21791a1",
        "2afbcbac93622046dd44f02258204519e257236b2a0ce2023f0931f1f386ca7afda64fcde0108c224c51eabf6072"
    );
    let cred = hex::decode(cred).unwrap();
    let key = decode_ccs(&cred).unwrap().cose_key;
    let mut out = [0; 128];
    let len = encode_ccs(Some("example.edu"), &key.key, key.kid, &mut out).unwrap();
    assert_eq!(out[..len], cred);
}

#[test]
fn a_claim_set_that_lies_about_its_shape_is_refused() {
    let all = vectors();
    let ccs = bytes(&named(&all["ccs"], "ccs-p256")["ccs"]);
    for end in 0..ccs.len() {
        assert!(decode_ccs(&ccs[..end]).is_err(), "cut at {end}");
    }
    let longer = [&ccs[..], &[0]].concat();
    assert_eq!(decode_ccs(&longer), Err(Error::Malformed));
    // The same claim twice, known or unknown.
    let twice = [&[0xa3][..], &ccs[1..11], &ccs[1..]].concat();
    assert_eq!(decode_ccs(&twice), Err(Error::Malformed));
    let twice = [&[0xa4, 0x04, 0x01, 0x04, 0x02][..], &ccs[1..]].concat();
    assert_eq!(decode_ccs(&twice), Err(Error::Malformed));
    // A point off the curve: the last byte of y.
    let mut off = ccs.clone();
    let y = ccs.len() - 4; // kid follows: 02 41 2b
    off[y] ^= 1;
    assert_eq!(decode_ccs(&off), Err(Error::InvalidKey));
}

#[test]
fn signatures_of_others_verify() {
    let all = vectors();
    let key = signer_key(&all);
    let mut verified = 0;
    for item in all["cose_sign1"].as_array().unwrap() {
        let name = item["name"].as_str().unwrap();
        let forms = ["cose_sign1_tagged", "cose_sign1_untagged", "cwt_tagged_61"];
        let external_aad = bytes(&item["external_aad"]);
        for message in forms.iter().filter_map(|form| item[form].as_str()) {
            let message = hex::decode(message).unwrap();
            if item["alg"] == -8 {
                assert_eq!(Sign1::decode(&message).unwrap_err(), Error::UnsupportedAlgorithm, "{name}");
                continue;
            }
            let sign1 = Sign1::decode(&message).unwrap();
            assert_eq!(sign1.unprotected_kid(), Some(&bytes(&item["kid"])[..]));
            // The list of 50 revocations is longer than anything that we sign or verify in one piece.
            if name == "revocation-50"
                && bytes(&item["sig_structure"]).len() > cardea_credentials::MAX_SIG_STRUCTURE
            {
                assert_eq!(sign1.verify(&key, &external_aad), Err(Error::TooLong));
                continue;
            }
            assert_eq!(
                sign1.verify(&key, &external_aad).map(<[u8]>::to_vec),
                Ok(bytes(&item["payload"])),
                "{name}"
            );
            assert_eq!(sign1.verify(&key, b"other"), Err(Error::BadSignature), "{name}");
            verified += 1;
        }
        let tampered = bytes(&item["tampered_must_fail"]);
        let result = Sign1::decode(&tampered).and_then(|sign1| sign1.verify(&key, &external_aad).map(drop));
        assert!(result.is_err(), "{name}");
    }
    assert!(verified >= 15, "{verified}");
}

#[test]
fn the_signed_cwt_of_rfc_8392() {
    let all = vectors();
    let example = named(&all["rfc_examples"], "rfc8392-a3-signed-cwt");
    let coordinate = |name: &str| bytes(&example["key_a23"][name]).try_into().unwrap();
    let key = PublicKey::from_xy(coordinate("x"), coordinate("y")).unwrap();
    let cwt = bytes(&example["signed_cwt"]);
    let payload = Sign1::decode(&cwt).unwrap().verify(&key, &[]).unwrap();
    assert_eq!(payload, bytes(&example["claims_a1"]));
}

#[test]
fn negatives_are_refused() {
    let all = vectors();
    let key = signer_key(&all);
    let mut seen = Vec::new();
    for case in all["negative"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let input = bytes(&case["input"]);
        assert!(verify_lock_identity(&input).is_err() && verify_platform(&input, None).is_err(), "{name}");
        match Sign1::decode(&input).and_then(|sign1| sign1.verify(&key, &[]).map(<[u8]>::to_vec)) {
            Err(error) => seen.push(format!("{name}: {error:?}")),
            // A genuine signature on a certificate: not ours to refuse here; the kinds of CWT above do.
            Ok(_) => assert_eq!(name, "cert-as-grant"),
        }
    }
    assert_eq!(
        seen,
        [
            "alg-none: UnsupportedAlgorithm",
            "alg-in-unprotected: UnsupportedAlgorithm",
            "alg-es384: UnsupportedAlgorithm",
            "sig-der: BadSignature",
            "sig-zero: BadSignature",
            "sig-63: BadSignature",
            "payload-nil: Malformed",
            "crit-unknown: UnsupportedHeader",
            "tag-mac0: Malformed",
            "trailing: Malformed",
            "payload-swap: BadSignature",
        ]
    );
}

#[test]
fn kinds_are_told_apart_without_reading() {
    for (byte, kind) in
        [(0x17, Kind::Int), (0x37, Kind::Int), (0x40, Kind::Bytes), (0xa0, Kind::Map), (0xf5, Kind::Simple)]
    {
        assert_eq!(Reader::new(&[byte]).peek(), Ok(kind));
    }
    assert_eq!(Reader::new(&[]).peek(), Err(cardea_credentials::cbor::Error::Truncated));
}
