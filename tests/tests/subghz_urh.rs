//! What Universal Radio Hacker makes of frames of the 433 MHz link: it undoes the whitening and checks the CRC by code that nobody here
//! wrote, on what our drivers had the models of both chips put on the air.

use std::io::Write;
use std::process::Stdio;

use cardea_simulator::Random;
use cardea_simulator::subghz::{Air, Burst, ChipConfig, Conditions, Sx126xConfig};
use cardea_subghz::cc1101::{self, Cc1101, Profile};
use cardea_subghz::sx126x::{self, Sx126x};
use cardea_subghz_link::codec::{Header, Kind, MIC_LEN, seal};
use cardea_subghz_link::mic::Key;
use cardea_tests::venv;
use embedded_hal::spi::SpiDevice;
use serde_json::{Value, json};

const SEED: u64 = 433;
const SYNC: &str = "c956c956";

/// URH's answers, one for each question. `None` where it cannot be had and may be missing.
fn urh(questions: &[Value]) -> Option<Vec<Value>> {
    let mut child = venv::urh("urh_peer.py")?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!(questions).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answers.len(), questions.len());
    Some(answers)
}

/// A frame of the link: its bytes before they are whitened, and what a chip is given.
fn frame(chance: &Random, body: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut key, mut bytes) = ([0; 16], vec![0; body]);
    chance.fill(&mut key);
    chance.fill(&mut bytes);
    let key = Key(key);
    let counter = chance.next_u64() as u32;
    let header = Header {
        address: 5,
        network: 42,
        kind: Kind::Data,
        up: true,
        ack: chance.below(2) == 0,
        pending: false,
        counter: counter as u16,
    };
    let mut plain = [&header.encode()[..], &bytes].concat();
    let mic: [u8; MIC_LEN] = key.mic(counter, &plain);
    plain.extend(mic);
    (plain, seal(header, counter, &bytes, &key).unwrap().payload().to_vec())
}

fn by_cc1101(profile: Profile, payload: &[u8]) -> Burst {
    let air = Air::new(SEED, Conditions::default());
    let config = cc1101::Config { profile, ..cc1101::Config::default() };
    let radio = Cc1101::new(air.chip(ChipConfig::default()), config, 0, u64::MAX / 2);
    air.sent_by(radio, payload).expect("the frame did not go out")
}

fn by_sx126x(profile: Profile, payload: &[u8]) -> Burst {
    let air = Air::new(SEED, Conditions::default());
    let (spi, busy, reset) = air.sx126x(Sx126xConfig::default());
    let profile = match profile {
        Profile::Slow => cardea_subghz::Profile::Slow,
        Profile::Standard => cardea_subghz::Profile::Standard,
        Profile::Fast => cardea_subghz::Profile::Fast,
    };
    let config = sx126x::Config { profile, ..sx126x::Config::default() };
    let radio = Sx126x::new(spi, busy, reset, config, 0, u64::MAX / 2);
    air.sent_by(radio, payload).expect("the frame did not go out")
}

#[test]
fn universal_radio_hacker_reads_the_frames_that_both_chips_send_in_all_profiles() {
    let chance = Random::new(SEED, 1);
    let (mut sent, mut questions) = (Vec::new(), Vec::new());
    for profile in Profile::ALL {
        for (chip, send) in [("CC1101", by_cc1101 as fn(Profile, &[u8]) -> Burst), ("SX126x", by_sx126x)] {
            for body in [0, 2, 3, 16, 32, 48] {
                let (plain, payload) = frame(&chance, body);
                let burst = send(profile, &payload);
                questions.push(json!({ "air": hex::encode(burst.bytes), "sync": SYNC }));
                sent.push((format!("{chip}, {profile:?}, {body} bytes"), hex::encode(plain)));
            }
        }
    }
    let Some(answers) = urh(&questions) else { return };
    for ((what, plain), answer) in sent.iter().zip(&answers) {
        assert_eq!(answer, &json!({ "plain": plain, "crc": true }), "{what}");
    }
    println!("{} frames, seed {SEED}", answers.len());
}

#[test]
fn universal_radio_hacker_reads_the_frames_of_the_specification() {
    let vectors: Value = serde_json::from_slice(include_bytes!("../vectors/subghz-link.json")).unwrap();
    let frames = vectors["frames"].as_array().unwrap();
    let question = |frame: &Value| {
        let air = format!("aaaaaaaa{SYNC}{}", frame["air"].as_str().unwrap());
        json!({ "air": air, "sync": SYNC })
    };
    let Some(answers) = urh(&frames.iter().map(question).collect::<Vec<_>>()) else { return };
    for (frame, answer) in frames.iter().zip(&answers) {
        assert_eq!(answer["crc"], true, "{}", frame["name"]);
        let number = |name: &str| frame[name].as_u64().unwrap();
        let flags = ["up", "ack", "pending"]
            .iter()
            .fold(0, |flags, name| flags << 1 | u64::from(frame[name].as_bool().unwrap()));
        let (address, network, counter) = (number("address"), number("network"), number("counter") & 0xFFFF);
        let fc = number("kind") << 3 | flags;
        let expected =
            format!("{address:02x}{network:02x}{fc:02x}{counter:04x}{}", frame["body"].as_str().unwrap());
        let plain = answer["plain"].as_str().unwrap();
        assert_eq!(plain.get(..plain.len() - 2 * MIC_LEN), Some(&expected[..]), "{}", frame["name"]);
    }
}

#[test]
fn it_refuses_a_bit_that_is_wrong_another_checksum_and_another_whitening() {
    let (plain, payload) = frame(&Random::new(SEED, 2), 12);
    let burst = by_cc1101(Profile::Standard, &payload);
    let question = |air: &[u8], more: Value| {
        let mut question = json!({ "air": hex::encode(air), "sync": SYNC });
        question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        question
    };
    // Preamble and sync word are 8 bytes, LEN one; LEN itself says how much there is, and is not touched.
    let mut questions: Vec<_> = (9 * 8..burst.bytes.len() * 8)
        .map(|bit| {
            let mut air = burst.bytes.clone();
            air[bit / 8] ^= 0x80 >> (bit % 8);
            question(&air, json!({}))
        })
        .collect();
    let flipped = questions.len();
    questions.push(question(&burst.bytes, json!({ "start": false })));
    questions.push(question(&burst.bytes, json!({ "crc": "16_ccitt" })));
    questions.push(question(&burst.bytes, json!({ "polynomial": "0x11" })));
    questions.push(question(&burst.bytes, json!({ "native": true })));
    questions.push(question(&burst.bytes, json!({ "sync": "d391d391" })));
    questions.push(question(&burst.bytes, json!({})));
    let Some(answers) = urh(&questions) else { return };
    assert_eq!(flipped, (payload.len() + 2) * 8);
    for (bit, answer) in answers[..flipped].iter().enumerate() {
        assert_eq!(answer["crc"], false, "bit {bit}");
    }
    let plain = hex::encode(plain);
    let [start, polynomial, whitening, native, sync, right] = &answers[flipped..] else { panic!("six more") };
    assert_eq!(start, &json!({ "plain": plain, "crc": false }));
    assert_eq!(polynomial, &json!({ "plain": plain, "crc": false }));
    assert_ne!(whitening["plain"], plain);
    // As the chip would have whitened it: its LEN, read so, is too long for what there is.
    assert_ne!(native["crc"], true);
    assert_ne!(native["plain"], plain);
    assert_eq!(sync, &json!({ "error": "sync not found" }));
    assert_eq!(right, &json!({ "plain": plain, "crc": true }));
}

/// Our profile with the chip's own whitening, which the link does not use.
fn whitened_by_the_chip(payload: &[u8]) -> Vec<u8> {
    let air = Air::new(SEED, Conditions::default());
    let mut spi = air.chip(ChipConfig::default());
    let mut registers = cc1101::Config::default().registers();
    registers[0x08] |= 0x40;
    spi.write(&[&[0x40][..], &registers].concat()).unwrap();
    spi.write(&[&[0x7F, payload.len() as u8][..], payload].concat()).unwrap();
    spi.write(&[0x35]).unwrap();
    while air.now() < 1_000_000 {
        while air.edge(0).is_some() {}
        air.advance(1_000_000);
    }
    air.bursts().remove(0).bytes
}

#[test]
fn the_whitening_of_the_models_chip_is_the_one_that_universal_radio_hacker_knows() {
    let chance = Random::new(SEED, 3);
    let (mut sent, mut questions) = (Vec::new(), Vec::new());
    for len in [1, 2, 13, 40, 61] {
        let mut payload = vec![0; len];
        chance.fill(&mut payload);
        let air = whitened_by_the_chip(&payload);
        questions.push(json!({ "air": hex::encode(&air), "sync": SYNC, "native": true }));
        let covered = [&[len as u8][..], &payload].concat();
        questions.push(json!({ "encode": hex::encode(covered), "sync": SYNC }));
        sent.push((hex::encode(payload), hex::encode(&air[4..])));
    }
    let Some(answers) = urh(&questions) else { return };
    for ((payload, air), pair) in sent.iter().zip(answers.chunks(2)) {
        assert_eq!(pair[0], json!({ "plain": payload, "crc": true }));
        assert_eq!(pair[1], json!({ "air": air }), "made by URH");
    }
}
