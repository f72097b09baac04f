//! `tests/vectors/activation.json`: an activation, a touch, an unlock on its challenge; after a power cut 4.01, its Echo, a
//! page of the log and another unlock; with every key and every byte. The test makes it again and compares; `CARDEA_WRITE_VECTORS=1` writes it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use cardea_credentials::{Error, Random, SoftAgreement, SoftSigner, issue_platform};
use cardea_sdk::Ask;
use serde_json::{Value, json};

use crate::raw::Raw;
use crate::unlocked;
use crate::world::{BEGIN_UNIX_MS, World};

const MTU: usize = 51;

/// Numbers that only look random, and what was drawn.
#[derive(Clone, Default)]
struct Drawn(Arc<Mutex<Vec<Vec<u8>>>>);

impl Random for Drawn {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        let mut drawn = self.0.lock().unwrap();
        let before = drawn.iter().filter(|earlier| earlier.len() == out.len()).count();
        let mut state = u64::try_from(before).unwrap();
        for byte in &mut *out {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (mixed ^ (mixed >> 31)).to_be_bytes()[7];
        }
        drawn.push(out.to_vec());
        Ok(())
    }
}

/// Keys that are public: owner root, agreement, signing.
fn platform(home: &Path) -> [[u8; 32]; 3] {
    let keys = [[0x11; 32], [0x22; 32], [0x33; 32]];
    let root = SoftSigner::from_bytes(&keys[0]).unwrap();
    let agreement = SoftAgreement::from_bytes(&keys[1]).unwrap();
    let signing = SoftSigner::from_bytes(&keys[2]).unwrap();
    let mut cwt = [0; 256];
    let len = {
        use cardea_credentials::{Agreement as _, Signer as _};
        issue_platform(&root, &agreement.public(), &signing.public(), 1, &mut cwt).unwrap()
    };
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o700)).unwrap();
    let names = ["owner-root.key", "platform-dh.key", "platform-sign.key"];
    for (name, bytes) in
        names.into_iter().zip(keys.iter().map(|key| &key[..])).chain([("platform.cwt", &cwt[..len])])
    {
        let path = home.join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    keys
}

fn made() -> Option<Value> {
    let home = tempfile::tempdir().unwrap();
    let keys = platform(home.path());
    let cwt = std::fs::read(home.path().join("platform.cwt")).unwrap();
    let drawn = Drawn::default();
    let mut world = World::fixed("00", home, Box::new(drawn.clone()))?;
    world.mtu = MTU;
    world.activate();
    let touched = world.datagrams.len();
    world.at_the_lock("touch");
    world.run_until("a touch", |world| (world.reported("touch") == 1).then_some(()));
    assert!(unlocked(&world.ask(Ask::Unlock)));
    assert_eq!(world.inside("echoes"), ["0"], "on the challenge");
    let told = |world: &mut World, word: &str| world.inside(word);
    let (own, edhoc, context) =
        (told(&mut world, "keys"), told(&mut world, "edhoc"), told(&mut world, "context"));
    let reset = world.datagrams.len();
    world.now += 1_000;
    world.power_cut();
    assert!(unlocked(&world.ask(Ask::Unlock)));
    assert_ne!(world.inside("echoes"), ["0"], "after a reset");

    let ephemeral = drawn.0.lock().unwrap().iter().find(|draw| draw.len() == 32).cloned().unwrap();
    let mut raw = Raw::of(&mut world);
    let datagrams: Vec<Value> = world
        .datagrams
        .iter()
        .enumerate()
        .map(|(at, (up, datagram))| {
            let part = if at < touched {
                "activation"
            } else if at < reset {
                "touch and unlock"
            } else {
                "after a power cut"
            };
            let mut row = json!({
                "part": part,
                "from": if *up { "lock" } else { "platform" },
                "datagram": hex::encode(datagram),
            });
            if datagram[0] >> 3 == 1 {
                row["inner"] = json!(hex::encode(raw.inner(*up, datagram)));
            }
            row
        })
        .collect();
    let frames: Vec<String> = world
        .frames
        .iter()
        .map(|(up, frame)| format!("{} {}", if *up { "lock    " } else { "gateway " }, hex::encode(frame)))
        .collect();
    let [x, c_i, c_r, th_2, th_3, th_4] = &edhoc[..] else { panic!("{edhoc:?}") };
    Some(json!({
        "_about": {
            "title": "an activation, a touch, an unlock on its challenge; after a power cut 4.01, its Echo, a page of the log, an unlock: every byte",
            "source": "tests/tests/stranger/transcript.rs: the Python lock of tests/peers/stranger and the session core of cardea-sdk; the core's EDHOC and OSCORE are Rust, the lock's are Python, and they agree",
            "encoding": "byte values lower-case hex; private keys are P-256 scalars, big-endian; ES256 signatures are deterministic (RFC 6979). inner: the CoAP message before protection, as RFC 8613 section 5.3 has it in the plaintext but with its outer header: NON, token, message id. frames: at an mtu of 51, in order, receipts included",
            "keys_are_public": "test keys, never use",
        },
        "lock": {
            "identity": own[0], "dh": own[1], "cwt": own[2],
            "thumbprint": world.lock().thumbprint, "owner_code": world.lock().code,
        },
        "platform": {
            "owner_root": hex::encode(keys[0]), "dh": hex::encode(keys[1]), "signing": hex::encode(keys[2]),
            "cwt": hex::encode(cwt), "root_thumbprint": world.root(),
        },
        "edhoc": { "x": x, "y": hex::encode(ephemeral), "c_i": c_i, "c_r": c_r, "th_2": th_2, "th_3": th_3, "th_4": th_4 },
        "oscore": {
            "master_secret": context[0], "master_salt": context[1],
            "lock_sends_as": context[2], "platform_sends_as": context[3],
        },
        "unix_ms_at_the_start": BEGIN_UNIX_MS,
        "datagrams": datagrams,
        "frames": frames,
    }))
}

#[test]
fn the_transcript_among_the_vectors_is_what_both_sides_say() {
    let Some(made) = made() else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/activation.json");
    let text = serde_json::to_string_pretty(&made).unwrap() + "\n";
    if std::env::var_os("CARDEA_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(
        kept == text,
        "{} is not what is said now; CARDEA_WRITE_VECTORS=1 writes it:\n{text}",
        path.display()
    );
}
