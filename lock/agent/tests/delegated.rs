//! Grants that were passed on: the whole chain comes with the handshake, and each link may only narrow.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests fail by panicking

mod common;

use cardea_agent::Slot;
use cardea_credentials::{
    AAD_DELEGATED_GRANT, AAD_GRANT, Agreement, MAX_DELEGABLE_GRANT_LEN, Scope, Sign1, Signer, Terms, Weekly,
    cbor::Writer, issue_grant,
};
use cardea_oscore::coap::Code;
use cardea_resources::Op;
use sha2::{Digest, Sha256};

use common::board::key;
use common::phone::{Phone, terms};
use common::site::platform;
use common::{World, command};

/// The platform's grant for holder 60, who delegates with key 40, and so on down to the phone of this address.
fn chain(world: &World, address: u16, links: usize) -> (Vec<Terms>, Vec<u8>) {
    let delegates: Vec<u8> = (0..links as u8 - 1).map(|n| 40 + n).collect();
    let mut all: Vec<_> = delegates
        .iter()
        .map(|delegate| {
            let holder = key::agreement(20 + delegate).public();
            Terms { delegate: Some(key::signer(*delegate).public()), ..terms(world, holder) }
        })
        .collect();
    all.push(terms(world, key::agreement(50 + address as u8 % 100).public()));
    (all, delegates)
}

fn unlock(phone: &mut Phone, world: &mut World, id: u8) -> Option<Code> {
    Some(phone.ask(world, "l", Code::POST, &command(id, Op::Unlock, None), None)?.code)
}

#[test]
fn the_holder_of_a_delegated_grant_opens_the_door() {
    for links in 1..=3 {
        let mut world = World::activated();
        let (terms, delegates) = chain(&world, 5, links);
        let mut phone = Phone::chain(&world, 5, &terms, &delegates);
        assert!(phone.connect(&mut world), "{links} links");
        assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED));
        assert_eq!(world.drives(), [Op::Unlock]);
    }
}

#[test]
fn the_longest_message_3_has_the_size_of_the_document() {
    let mut world = World::activated();
    let (mut terms, delegates) = chain(&world, 5, 3);
    for terms in &mut terms {
        (terms.window, terms.scope) = (Some(Weekly::new(0x7f, 0, 96).unwrap()), Scope::from_bits(0xffff));
    }
    terms[2].delegate = Some(key::signer(49).public());
    let mut phone = Phone::chain(&world, 5, &terms, &delegates);
    assert!(phone.grant.len() <= MAX_DELEGABLE_GRANT_LEN && phone.above.len() <= 2 * MAX_DELEGABLE_GRANT_LEN);
    let (mut initiator, message_1) = phone.message_1();
    let message_2 = phone.exchange(&mut world, &message_1).pop().unwrap();
    let message_3 = phone.message_3(&world, &mut initiator, &message_2);
    // Header, address and prefix; the item's label and head, and a byte more in the head around everything.
    assert_eq!(message_3.len() - 4, phone.grant.len() + 21 + phone.above.len() + 9);
    assert!(message_3.len() <= 640, "{}", message_3.len());
    assert_eq!(phone.exchange(&mut world, &message_3).len(), 1);
}

#[test]
fn a_chain_that_is_not_whole_or_not_in_order_is_none() {
    let mut world = World::activated();
    let (terms, delegates) = chain(&world, 5, 3);
    let sound = Phone::chain(&world, 5, &terms, &delegates);
    let first = Phone::chain(&world, 5, &terms[..1], &delegates).grant;
    let second = sound.above[first.len()..].to_vec();
    let foreign = {
        let mut out = [0; 256];
        let len = issue_grant(&terms[0], &[9; 8], &key::signer(31), &mut out).unwrap();
        out[..len].to_vec()
    };
    let broken = |above: &[&[u8]]| above.concat();
    for (above, why) in [
        (broken(&[]), "without its chain"),
        (broken(&[&first]), "without its parent"),
        (broken(&[&second]), "without the platform's grant"),
        (broken(&[&second, &first]), "in the wrong order"),
        (broken(&[&first, &first]), "a link twice"),
        (broken(&[&foreign, &second]), "under another platform"),
        (broken(&[&first, &second, &second]), "a link too many"),
        (broken(&[&first, &second, &[0]]), "with something behind it"),
        (broken(&[&first, &second[..second.len() - 1]]), "cut off"),
    ] {
        world.wait(5 * 60_000);
        let mut phone = Phone::chain(&world, 5, &terms, &delegates);
        phone.above = above;
        assert!(!phone.connect(&mut world), "{why}");
    }
    world.wait(5 * 60_000);
    let mut lone = Phone::new(&world, 6);
    lone.above = first.clone();
    assert!(!lone.connect(&mut world), "a grant of the platform has nothing above it");
    let mut sound = sound;
    world.wait(5 * 60_000);
    assert!(sound.connect(&mut world));
}

fn aad(label: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = [0; 160];
    let mut writer = Writer::new(&mut out);
    writer.array(1 + parts.len()).unwrap().text(label).unwrap();
    for part in parts {
        writer.bytes(part).unwrap();
    }
    writer.as_slice().to_vec()
}

/// What the holder's delegate key signs where it is asked to sign anything: the same claims as a grant has.
fn forged(parent: &[u8], terms: &Terms, delegate: u8) -> Vec<u8> {
    let by_platform = aad(AAD_GRANT, &[&terms.lock]);
    let claims =
        |cwt: &[u8]| Sign1::decode(cwt).unwrap().verify(&platform().public(), &by_platform).unwrap().to_vec();
    let mut out = [0; 256];
    let len = issue_grant(terms, &[7; 8], &platform(), &mut out).unwrap();
    let (parent, claims) = (Sha256::digest(claims(parent)), claims(&out[..len]));
    let aad = aad(AAD_DELEGATED_GRANT, &[&terms.lock, &parent]);
    let len = Sign1::encode(&key::signer(delegate), None, &aad, &claims, &mut out).unwrap();
    out[..len].to_vec()
}

#[test]
fn a_link_that_widens_anything_gets_no_session() {
    let mut world = World::activated();
    let now = world.unix();
    let (mut links, _) = chain(&world, 5, 2);
    links[0].window = Some(Weekly::new(0x7f, 0, 95).unwrap());
    links[1].window = links[0].window;
    let first = Phone::chain(&world, 5, &links[..1], &[]).grant;
    let own = links[1];
    let cases: [(&str, Terms); 6] = [
        ("the same", own),
        ("another right", Terms { scope: Scope::UNLOCK | Scope::LOCK | Scope::STATUS | Scope::LOG, ..own }),
        ("a bit without a name", Terms { scope: Scope::from_bits(1 << 9 | 1), ..own }),
        ("earlier", Terms { not_before: own.not_before - 1, ..own }),
        ("longer", Terms { expires: own.expires + 1, ..own }),
        ("at other hours", Terms { window: None, ..own }),
    ];
    for (what, terms) in cases {
        world.wait(5 * 60_000);
        let mut phone = Phone::new(&world, 5);
        (phone.grant, phone.above) = (forged(&first, &terms, 40), first.clone());
        assert_eq!(phone.connect(&mut world), what == "the same", "{what}");
    }
    // What may not be passed on: no delegate key, another one, one use.
    let plain = Phone::with(&world, 60, |terms| terms.window = None);
    let mut other = Phone::new(&world, 5);
    (other.grant, other.above) =
        (forged(&plain.grant, &Terms { window: None, ..own }, 40), plain.grant.clone());
    world.wait(5 * 60_000);
    assert!(!other.connect(&mut world));
    let mut stolen = Phone::new(&world, 5);
    (stolen.grant, stolen.above) = (forged(&first, &own, 41), first.clone());
    world.wait(5 * 60_000);
    assert!(!stolen.connect(&mut world), "signed with another key than the one that may delegate");
    assert!(world.unix() - now < 3600, "nothing has expired meanwhile");
}

#[test]
fn a_grant_falls_with_every_key_that_it_rests_on() {
    let names = [
        ("the phone", key::agreement(55).public()),
        ("the holder above", key::agreement(61).public()),
        ("his delegate key", key::signer(41).public()),
        ("the first holder", key::agreement(60).public()),
        ("his delegate key", key::signer(40).public()),
    ];
    for (who, revoked) in names {
        let mut world = World::activated();
        let (terms, delegates) = chain(&world, 5, 3);
        let mut phone = Phone::chain(&world, 5, &terms, &delegates);
        assert!(phone.connect(&mut world));
        world.revoke(1, &[revoked.thumbprint()]);
        assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::FORBIDDEN), "{who}");
    }
}

#[test]
fn a_delegated_grant_for_one_use_opens_once() {
    let mut world = World::activated();
    let (mut terms, delegates) = chain(&world, 5, 2);
    terms[1].single_use = true;
    let mut phone = Phone::chain(&world, 5, &terms, &delegates);
    assert!(phone.connect(&mut world));
    assert_eq!(unlock(&mut phone, &mut world, 1), Some(Code::CHANGED));
    assert_eq!(unlock(&mut phone, &mut world, 2), Some(Code::FORBIDDEN));
    assert_eq!(world.nvm.get(Slot::Uses).map(|uses| uses.len()), Some(13));
}

#[test]
fn a_flood_of_long_chains_costs_no_more_than_one_of_handshakes() {
    let mut world = World::activated();
    let mut answered = 0;
    for n in 0..60 {
        let address = 200 + n;
        let (terms, delegates) = chain(&world, address, 3);
        let mut flooder = Phone::chain(&world, address, &terms, &delegates);
        // Two genuine links, stolen, and one of his own: three verifications.
        let last = flooder.grant.len() - 1;
        flooder.grant[last] ^= 1;
        let (mut initiator, message_1) = flooder.message_1();
        let Some(message_2) = flooder.exchange(&mut world, &message_1).pop() else { continue };
        answered += 1;
        let message_3 = flooder.message_3(&world, &mut initiator, &message_2);
        assert!(flooder.exchange(&mut world, &message_3).is_empty());
    }
    assert_eq!(answered, 2, "each took three of the six that may begin at once");
    let challenge = world.touch();
    assert_eq!(world.command(1, Op::Unlock, None, Some(&challenge)).code, Code::CHANGED);
}
