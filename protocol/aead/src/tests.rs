use proptest::prelude::*;
use std::vec::Vec;

use super::*;

/// The `ccm` crate over the `aes` crate's own AES-128, several blocks at a time where it can.
type Wide = ccm::Ccm<aes::Aes128, U8, U13>;

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).unwrap()
}

fn with_room(text: &[u8], tag: usize) -> Vec<u8> {
    let mut buffer = text.to_vec();
    buffer.resize(text.len() + tag, 0);
    buffer
}

/// RFC 3610 §8, packet vectors 1 to 3: M = 8, L = 2. Total packet, with the first 8 bytes authenticated only.
const RFC_3610: [(&str, &str, &str); 3] = [
    (
        "00000003020100a0a1a2a3a4a5",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e",
        "588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0",
    ),
    (
        "00000004030201a0a1a2a3a4a5",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "72c91a36e135f8cf291ca894085c87e3cc15c439c9e43a3ba091d56e10400916",
    ),
    (
        "00000005040302a0a1a2a3a4a5",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
        "51b1e5f44a197d1da46b0f8e2d282ae871e838bb64da8596574adaa76fbd9fb0c5",
    ),
];

#[test]
fn the_packets_of_rfc_3610_come_out_to_the_byte() {
    let key = unhex("c0c1c2c3c4c5c6c7c8c9cacbcccdcecf");
    for (nonce, packet, sealed) in RFC_3610 {
        let (nonce, packet, sealed) = (unhex(nonce), unhex(packet), unhex(sealed));
        let (aad, text) = packet.split_at(8);
        let mut buffer = with_room(text, 8);
        seal::<AesCcm16_64_128>(&key, &nonce, aad, &mut buffer).unwrap();
        assert_eq!(hex::encode(&buffer), hex::encode(&sealed));
        open::<AesCcm16_64_128>(&key, &nonce, aad, &mut buffer).unwrap();
        assert_eq!(&buffer[..text.len()], text);
    }
}

#[test]
fn wrong_lengths_are_refused() {
    let (key, nonce) = ([1; 16], [2; 13]);
    let mut buffer = [0; 20];
    for (key, nonce, buffer) in [
        (&key[..15], &nonce[..], &mut { buffer }[..]),
        (&key[..], &nonce[..12], &mut { buffer }[..]),
        (&key[..], &nonce[..], &mut buffer[..7]),
    ] {
        assert_eq!(seal::<AesCcm16_64_128>(key, nonce, &[], buffer), Err(Error::Length));
        assert_eq!(open::<AesCcm16_64_128>(key, nonce, &[], buffer), Err(Error::Length));
    }
}

proptest! {
    #[test]
    fn one_block_at_a_time_is_the_same_as_many(
        key in any::<[u8; 16]>(),
        nonce in any::<[u8; 13]>(),
        aad in prop::collection::vec(any::<u8>(), 0..80),
        text in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let (mut one, mut many) = (with_room(&text, 8), with_room(&text, 8));
        seal::<AesCcm16_64_128>(&key, &nonce, &aad, &mut one).unwrap();
        seal::<Wide>(&key, &nonce, &aad, &mut many).unwrap();
        prop_assert_eq!(&one, &many);
        prop_assert_eq!(open::<AesCcm16_64_128>(&key, &nonce, &aad, &mut many), Ok(()));
        prop_assert_eq!(&many[..text.len()], &text);
    }

    #[test]
    fn a_changed_bit_opens_nothing_and_leaves_nothing(
        text in prop::collection::vec(1_u8.., 1..100),
        at in any::<prop::sample::Index>(),
        bit in 0_u32..8,
    ) {
        let mut buffer = with_room(&text, 16);
        seal::<AesCcm16_128_128>(&[3; 16], &[4; 13], b"aad", &mut buffer).unwrap();
        buffer[at.index(text.len() + 16)] ^= 1_u8 << bit;
        prop_assert_eq!(open::<AesCcm16_128_128>(&[3; 16], &[4; 13], b"aad", &mut buffer), Err(Error::Tag));
        prop_assert!(buffer[..text.len()].iter().all(|&byte| byte == 0));
    }
}
