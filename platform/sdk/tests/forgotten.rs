//! Nothing that the platform's side gives back to the allocator holds a secret: the platform's own keys, owner codes, what
//! handshakes drew and made, the keys of its contexts, and a holder's key. What vectors left behind when they grew is given back
//! too, and so is everything in the end.
//!
//! PINs are not among them: they are small values that go over the stack, and an event that is moved to the heap right after
//! one takes along in its unused bytes what lay there (seen, with this test).
//!
//! One life is lived twice by the same random numbers: the first shows which secrets there are, the second is watched.
//! SQLite's own memory is not seen; its file has the contexts in any case.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking

mod common;

use std::fs;

use cardea_agent::{Slot, provision};
use cardea_credentials::{Agreement, OwnerCode, Random, SoftAgreement};
use cardea_sdk::holder::{Holder, HolderEvent};
use cardea_sdk::holder_key::HolderKey;
use cardea_sdk::{Ask, FileKeys, Outcome, PinState, Scope};
use common::board::TestRandom;
use common::{World, listening};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: cardea_freed::Watch = cardea_freed::Watch;

const CODE: [u8; 16] = 0xa91c_5e07_d3f2_486b_90c4_1e7d_2ab8_f653_u128.to_be_bytes();
const PIN: &[u8] = b"8316502947";
const HOLDER: u64 = 77;

/// What one life had to keep to itself.
struct Secrets {
    master: [u8; 16],
    keys: [[u8; 16]; 2],
    /// Of the platform and of the holder, for their handshakes.
    ephemeral: [[u8; 32]; 2],
}

/// A platform's directory with keys of its own, or with the same again.
fn platform(like: Option<&TempDir>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    cardea_sdk::Platform::init(dir.path()).unwrap();
    if let Some(like) = like {
        for name in key_files(like).into_iter().chain(["platform.cwt".into(), "holder.key".into()]) {
            fs::copy(like.path().join(&name), dir.path().join(&name)).unwrap();
        }
    } else {
        HolderKey::create(&dir.path().join("holder.key")).unwrap();
    }
    dir
}

fn key_files(dir: &TempDir) -> Vec<String> {
    let names =
        fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".key")).collect()
}

/// Enrolled, activated, a PIN, a command, a restart, another command, a phone with a grant; and the end of all that.
fn live(dir: TempDir) -> (World, Secrets) {
    let mut world =
        World::with_keys(listening(), dir, Box::new(|dir| Box::new(FileKeys::open(dir).unwrap())));
    provision(&mut world.nvm, &OwnerCode::from_bytes(CODE)).unwrap();
    {
        let _watch = cardea_freed::watch();
        let code = OwnerCode::parse(OwnerCode::from_bytes(CODE).reveal().as_str()).unwrap();
        world.enroll(&code);
        // Others, so that what holds them has to grow.
        for n in 1..=30 {
            let mut name = [0x33; 32];
            name[0] = n;
            let mut code = CODE;
            code[3] = n; // the end of it stays the same
            world.batch(|core, _| {
                core.enroll(hex::encode(name).parse().unwrap(), &OwnerCode::from_bytes(code)).unwrap()
            });
        }
    }
    world.boot();
    world.run();
    assert!(world.agent().owner().is_some(), "{:?} {:?}", world.told, world.events);
    for slot in 0..8 {
        let mut pin = PIN.to_vec();
        pin[0] = b'0' + slot; // the end of it stays the same
        world.set_pin(slot, &pin);
    }
    world.run();
    assert_eq!(world.pin(7), Some((PinState::InForce, None)));
    for _ in 0..2 {
        let id = world.ask(Ask::Unlock, 20_000);
        world.run();
        assert!(matches!(world.outcome(id), Some(Outcome::Done { .. })), "{:?}", world.outcome(id));
        world.restart();
    }
    let holder = a_phone_unlocks(&mut world);
    let said = world.downs.iter().flat_map(|down| down.message.data.0.clone()).collect::<Vec<_>>();
    let (master, keys) = context(&world);
    let platform = drawn(9_001, &said).unwrap();
    {
        let _watch = cardea_freed::watch();
        world.core = None;
    }
    (world, Secrets { master, keys, ephemeral: [platform, holder] })
}

/// Gives what the phone drew for its handshake.
fn a_phone_unlocks(world: &mut World) -> [u8; 32] {
    let key = HolderKey::open(&world.dir.path().join("holder.key")).unwrap();
    let now = u32::try_from(world.now().unix / 1000).unwrap();
    let grant = cardea_sdk::session::NewGrant {
        delegate: None,
        lock: world.lock,
        holder: key.public(),
        name: "a phone".into(),
        scope: Scope::UNLOCK,
        not_before: now - 60,
        expires: now + 3_600,
        single_use: false,
        window: None,
    };
    let issued = world.batch(|core, now| core.issue_grant(now, &grant).unwrap());
    let mut said = Vec::new();
    let mut holder = {
        let _watch = cardea_freed::watch();
        Holder::new(issued.bundle, key.into_agreement(), Box::new(TestRandom::new(HOLDER)), 0x1234)
    };
    let mut talk = |world: &mut World, holder: &mut Holder<SoftAgreement>| {
        loop {
            let _watch = cardea_freed::watch();
            let Some(datagram) = holder.poll_transmit() else { break };
            drop(_watch);
            said.extend(&datagram);
            world.for_peers.clear();
            world.give(datagram);
            for answer in std::mem::take(&mut world.for_peers) {
                let _watch = cardea_freed::watch();
                holder.handle_datagram(world.clock.now(), &answer);
            }
        }
        std::iter::from_fn(|| holder.poll_event()).collect::<Vec<_>>()
    };
    holder.connect(world.clock.now()).unwrap();
    assert!(talk(world, &mut holder).contains(&HolderEvent::Connected));
    holder.ask(world.clock.now(), Ask::Unlock, 20_000).unwrap();
    assert!(!talk(world, &mut holder).is_empty());
    let _watch = cardea_freed::watch();
    drop(holder);
    drawn(HOLDER, &said).unwrap()
}

/// The 32 bytes that were drawn for the key whose public half was `said`.
fn drawn(seed: u64, said: &[u8]) -> Option<[u8; 32]> {
    let mut stream = [0; 512];
    TestRandom::new(seed).fill(&mut stream).unwrap();
    let scalars = stream.windows(32).map(|window| <[u8; 32]>::try_from(window).unwrap());
    let mut said = scalars.filter(|scalar| {
        let public = SoftAgreement::from_bytes(scalar).unwrap().public().x();
        said.windows(32).any(|window| window == public)
    });
    said.next()
}

/// What the lock's NVM says of the context that both sides have, and its keys by RFC 8613 section 3.2.1.
fn context(world: &World) -> ([u8; 16], [[u8; 16]; 2]) {
    let record = [0, 1].iter().find_map(|&place| world.nvm.get(Slot::Context(place))).unwrap();
    let (rest, salt) = record.split_at(record.len() - 8);
    let (ids, secret) = rest[6..].split_at(rest.len() - 6 - 16);
    let (one, other) = ids[2..].split_at(ids[1].into());
    let mac = |key: &[u8], text: &[u8]| -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text);
        mac.finalize().into_bytes().into()
    };
    let key = |id: &[u8]| {
        let info = [&[0x85, 0x40 | id.len() as u8], id, b"\xf6\x0a\x63Key\x10\x01"].concat();
        mac(&mac(salt, secret), &info)[..16].try_into().unwrap()
    };
    (secret.try_into().unwrap(), [key(one), key(&other[2..])])
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "unoptimised moves leave copies in unused bytes; scripts/test runs it optimised"
)]
fn what_the_platform_and_a_holder_free_holds_no_secret() {
    let dir = platform(None);
    let same = platform(Some(&dir));
    let first = live(dir).1;
    cardea_freed::watch_for("an owner code", &CODE);
    cardea_freed::watch_for("what a context comes from", &first.master);
    first.keys.iter().for_each(|key| cardea_freed::watch_for("a key of a context", key));
    first.ephemeral.iter().for_each(|key| cardea_freed::watch_for("an ephemeral key", key));
    for name in key_files(&same) {
        let bytes = fs::read(same.path().join(&name)).unwrap();
        assert_eq!(bytes.len(), 32, "{name}");
        cardea_freed::watch_for("a key in a file", &bytes);
    }
    let (world, second) = live(same);
    assert_eq!((second.master, second.keys), (first.master, first.keys), "the same life");
    assert_eq!(second.ephemeral, first.ephemeral);
    let found = cardea_freed::found();
    assert!(found.is_empty(), "{} places:\n{}", found.len(), found.join("\n"));
    // The watch works: the same secrets are found in what somebody careless frees.
    for secret in [&CODE[..], &first.master, &first.keys[0], &first.ephemeral[0]] {
        let _watch = cardea_freed::watch();
        drop(secret.to_vec());
    }
    assert_eq!(cardea_freed::found().len(), 4);
    drop(world);
}
