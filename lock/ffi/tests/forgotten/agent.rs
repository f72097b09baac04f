//! A whole agent, after a life: its own keys, those of its contexts and of a phone's session, what its handshakes drew, and
//! the PINs that were typed.

use cardea_agent::Slot;
use cardea_framing::Kind;
use cardea_oscore::coap::Code;
use cardea_resources::Op;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::common::board::{TestRandom, key};
use super::common::phone::Phone;
use super::common::platform::datagram;
use super::common::{World, command, pin_change};
use super::{bytes_of, forgets, holds};

/// The keys of a context by RFC 8613 section 3.2.1: HKDF-SHA-256, and one block of it.
fn keys(secret: &[u8], salt: &[u8], ids: [&[u8]; 2]) -> [[u8; 16]; 2] {
    let mac = |key: &[u8], text: &[u8]| -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text);
        mac.finalize().into_bytes().into()
    };
    ids.map(|id| {
        // [id, nil, 10, "Key", 16] and the number of the block.
        let mut info = vec![0x85, 0x40 | id.len() as u8];
        info.extend(id);
        info.extend(b"\xf6\x0a\x63Key\x10\x01");
        mac(&mac(salt, secret), &info)[..16].try_into().unwrap()
    })
}

/// Secret and keys of the context that the lock has in NVM.
fn context(world: &World) -> ([u8; 16], [[u8; 16]; 2]) {
    let record = [0, 1].iter().find_map(|&place| world.nvm.get(Slot::Context(place))).unwrap();
    let (rest, salt) = record.split_at(record.len() - 8);
    let (ids, secret) = rest[6..].split_at(rest.len() - 6 - 16);
    let (sender, recipient) = ids[2..].split_at(ids[1].into()); // each behind its length in two bytes
    (secret.try_into().unwrap(), keys(secret, salt, [sender, &recipient[2..]]))
}

/// What the random source of the lock's first boot gives, for more than a life.
fn drawn() -> Vec<u8> {
    use cardea_credentials::Random;
    let mut bytes = vec![0; 2048];
    TestRandom::new(1001).fill(&mut bytes).unwrap();
    bytes
}

/// No key of a handshake is in there: every 12 bytes in a row that were drawn, in either order. (A token that has to be
/// remembered has 8.)
fn nothing_of_a_handshake(what: &str, bytes: &[u8]) {
    for window in drawn().windows(12) {
        assert!(!holds(bytes, window), "{what}: something of a handshake is still there");
    }
}

#[test]
fn an_agent_after_its_life_leaves_nothing_behind() {
    let mut world = Box::new(World::activated());
    let (secret, [sender, recipient]) = context(&world);
    assert_eq!(world.set_pin(&pin_change(1, 1, b"8316502947", false, None)), Code::CHANGED);
    world.agent().enter_pin(b"8316502940");
    world.agent().enter_pin(b"8316502947");
    world.run();
    let mut phone = Phone::new(&world, 5);
    assert!(phone.connect(&mut world));
    assert_eq!(
        phone.ask(&mut world, "l", Code::POST, &command(7, Op::Lock, None), None).unwrap().code,
        Code::CHANGED
    );
    let not_after = Some(world.unix() + 100);
    assert_eq!(world.command(2, Op::Unlock, not_after, None).code, Code::CHANGED);

    let session = phone.keys.as_ref().unwrap();
    let ids = [session.sender_id.as_bytes(), session.recipient_id.as_bytes()];
    let [to_lock, from_lock] = keys(session.secret(), &session.salt, ids);
    let verifier = world.nvm.get(Slot::Pin(1)).unwrap();
    let master = session.secret().to_vec();

    // While it lives it holds the keys that it uses, and neither what they came from nor a PIN.
    let alive = bytes_of::<cardea_agent::Agent<_>>(world.agent());
    for gone in [&secret[..], &master, &verifier[14..], b"8316502947", b"8316502940"] {
        assert!(!holds(&alive, gone), "the living agent keeps what it does not need");
    }
    nothing_of_a_handshake("the living agent", &alive);

    // The keys that the test's locks have for life.
    let (identity, dh) = (key::signer(1).to_bytes(), key::agreement(2).to_bytes());
    let agent = world.agent.take().unwrap();
    forgets("an agent", agent, &[&sender, &recipient, &to_lock, &from_lock, &identity[..], &dh[..]]);
}

/// What is given up stays nowhere: handshakes that others took the place of, sessions that are over, contexts that were
/// replaced.
#[test]
fn a_living_agent_keeps_no_keys_of_what_is_over() {
    let mut world = Box::new(World::activated());
    let mut phones: Vec<_> = (5..9).map(|address| Phone::new(&world, address)).collect();
    for phone in &mut phones {
        let (_, message_1) = phone.message_1();
        assert_eq!(phone.exchange(&mut world, &message_1).len(), 1);
        world.wait(20_000);
    }
    let phone = &mut phones[0];
    assert!(phone.connect(&mut world));
    let session = phone.keys.as_ref().unwrap();
    let ids = [session.sender_id.as_bytes(), session.recipient_id.as_bytes()];
    let session = keys(session.secret(), &session.salt, ids);
    let (_, first) = context(&world);
    let alive = |world: &mut World| bytes_of::<cardea_agent::Agent<_>>(world.agent());
    assert!(session.iter().chain(&first).all(|key| holds(&alive(&mut world), key)));

    // Waiting handshakes give way, the session ends, and the platform shakes hands anew.
    world.wait(16 * 60_000);
    let hint = datagram(Kind::PlatformOscore, &[0x40, 0x51, 0x81, 0, 0, 0]);
    world.agent().handle_frame(&hint);
    world.run();
    world.touch();
    assert_eq!(world.platform.keys.len(), 2);
    let (_, second) = context(&world);
    assert!(phones[1].connect(&mut world));
    let alive = alive(&mut world);
    assert!(second.iter().all(|key| holds(&alive, key)));
    for (what, gone) in [("the session", session), ("the first context", first)] {
        assert!(!gone.iter().any(|key| holds(&alive, &key[..8])), "keys of {what} are still there");
    }
    nothing_of_a_handshake("the living agent", &alive);
}

/// Power and radio fail in the middle of the activation.
#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "unoptimised moves leave copies in unused bytes; scripts/test runs it optimised"
)]
fn an_agent_in_the_middle_of_its_activation_leaves_nothing_behind() {
    let mut world = World::new();
    world.deaf = true;
    world.boot();
    world.run();
    let ephemeral = &drawn()[1..33]; // the connection id is drawn first
    let agent = world.agent.take().unwrap();
    forgets("an agent that waits for message_2", agent, &[ephemeral]);
}
