//! What a lock accepts from whoever claims to be its platform: EDHOC by a Responder that the test holds in its hand.

use cardea_credentials::{
    Agreement as _, EAD_ACTIVATION_3, EAD_ACTIVATION_4, OwnerCode, Signer as _, SoftAgreement, SoftSigner,
    activation_mac, issue_platform, verify_lock_identity,
};
use cardea_edhoc::correlation::{Prefix, prepend};
use cardea_edhoc::{AuthKey, ConnId, Ead, EphemeralKey, IdCred, Method, Responder, ResponderConfig, Suite};
use cardea_framing::Kind;
use cardea_sdk::OsRandom;

use crate::raw::{Raw, datagram};
use crate::world::World;

const C_R: u8 = 0x07;
const KNOWN_EADS: &[u32] = &[EAD_ACTIVATION_3.unsigned_abs()];

/// What it says in message_4.
#[derive(Clone, Copy, PartialEq)]
enum Proof {
    Right,
    OfAnotherCode,
    None,
    /// As message_3's label: -65537.
    UnderTheLocksLabel,
    AndSomethingCritical,
}

#[derive(Clone, Copy)]
struct Claim {
    root: u8,
    dh: u8,
    version: u32,
    by_value: bool,
    broken: bool,
    proof: Proof,
}

const TRUE: Claim =
    Claim { root: 0x11, dh: 0x22, version: 2, by_value: true, broken: false, proof: Proof::Right };

fn cwt(claim: Claim) -> Vec<u8> {
    let root = SoftSigner::from_bytes(&[claim.root; 32]).unwrap();
    let dh = SoftAgreement::from_bytes(&[claim.dh; 32]).unwrap();
    let signing = SoftSigner::from_bytes(&[0x33; 32]).unwrap();
    let mut out = vec![0; 256];
    let len = issue_platform(&root, &dh.public(), &signing.public(), claim.version, &mut out).unwrap();
    out.truncate(len);
    if claim.broken {
        out[len - 1] ^= 1;
    }
    out
}

fn to_lock(c_i: ConnId, write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut body = vec![0; 512];
    let head = prepend(&Prefix::Session(c_i), &mut body).unwrap();
    let len = head + write(&mut body[head..]);
    datagram(Kind::PlatformEdhoc, &body[..len])
}

/// The lock's next datagram: an EDHOC error in full, anything else by kind and length.
fn next(world: &mut World) -> (String, Vec<u8>) {
    let before = world.ups.len();
    world.run_for(500);
    let Some(up) = world.ups[before..].iter().find(|up| up[0] >> 3 != 4).cloned() else {
        return ("silence".into(), Vec::new());
    };
    let said = match up[..] {
        [0x00, C_R, 1, ..] => "error 1".into(),
        [0x00, C_R, ref error @ ..] if error[0] < 0x18 => format!("error {}", hex::encode(error)),
        _ => format!("{:02x}+{}", up[0], up.len() - 1),
    };
    (said, up)
}

fn firsts(world: &World) -> impl Iterator<Item = &Vec<u8>> {
    world.ups.iter().filter(|up| up.starts_with(&[0x00, 0xf5]))
}

/// One handshake from the lock's message_1 with this index on, as far as the lock goes; each of its answers.
fn shake(world: &mut World, index: usize, claim: Claim) -> Vec<String> {
    let code = OwnerCode::parse(&world.lock().code).unwrap();
    let message_1 = world.run_until("message_1", |world| firsts(world).nth(index).cloned());
    let mut responder = Responder::new(ResponderConfig {
        suites: &[Suite::S2],
        methods: &[Method::StaticDh],
        c_r: ConnId::new(&[C_R]).unwrap(),
        known_eads: KNOWN_EADS,
    });
    let Ok(first) = responder.handle_message_1(&message_1[2..]) else { panic!("message_1") };
    let c_i = first.c_i;
    if c_i.as_bytes() == [C_R] {
        // The lock drew the identifier that this Responder has; it gives up and draws another.
        return shake(world, index + 1, claim);
    }
    let cwt = cwt(claim);
    let key = SoftAgreement::from_bytes(&[claim.dh; 32]).unwrap();
    let id = if claim.by_value { IdCred::Kcwt(&cwt) } else { IdCred::Kid(&[0]) };
    let ephemeral = EphemeralKey::generate(Suite::S2, &mut OsRandom).unwrap();
    world.down(to_lock(c_i, |out| {
        responder.message_2(ephemeral, &id, &cwt, &AuthKey::Agreement(&key), &[], out).unwrap()
    }));
    let (said, message_3) = next(world);
    let mut record = vec![said];
    let Some(&[0x00, C_R, ref message_3 @ ..]) = Some(&message_3[..]) else { return record };
    let mut plaintext = [0; 512];
    let Ok(peer) = responder.parse_message_3(message_3, &mut plaintext) else { return record };
    let own = hex::decode(&world.inside("keys")[2]).unwrap();
    let dh = verify_lock_identity(&own).unwrap().dh;
    responder.verify_message_3(&peer, &own, dh).unwrap();

    let th_4 = responder.th_4().unwrap();
    let proof = |code: &OwnerCode| activation_mac(code, EAD_ACTIVATION_4, &th_4, &cwt);
    let (right, wrong) = (proof(&code), proof(&OwnerCode::from_bytes([9; 16])));
    let eads = match claim.proof {
        Proof::Right => vec![Ead::new(EAD_ACTIVATION_4, &right)],
        Proof::OfAnotherCode => vec![Ead::new(EAD_ACTIVATION_4, &wrong)],
        Proof::None => vec![],
        Proof::UnderTheLocksLabel => vec![Ead::new(EAD_ACTIVATION_3, &right)],
        Proof::AndSomethingCritical => vec![Ead::new(EAD_ACTIVATION_4, &right), Ead::new(-70_000, &right)],
    };
    world.down(to_lock(c_i, |out| responder.message_4(&eads, out).unwrap()));
    record.push(next(world).0);
    record
}

/// Both locks, new or owned by the true platform, meet this claim; what they say, and whether their owner is the true
/// one, another, or none.
fn both(owned: bool, claim: Claim) -> Option<Vec<String>> {
    let mut stranger = World::new(None)?;
    let mut reference = World::reference();
    let [one, other] = [&mut stranger, &mut reference].map(|world| {
        world.platform_hears = false;
        world.link_up();
        let mut index = 0;
        if owned {
            shake(world, 0, TRUE);
            let mut raw = Raw::of(world);
            raw.answer_events(world, 0);
            world.run_for(1_000_000);
            index = firsts(world).count();
            world.down(datagram(Kind::PlatformOscore, &[0x40, 0x51, 0x81, 0, 0, 0]));
        }
        let mut record = shake(world, index, claim);
        let owner = SoftSigner::from_bytes(&[0x11; 32]).unwrap().public().thumbprint();
        let pinned = world.inside("owner");
        record.push(match pinned[0].as_str() {
            "-" => "nobody's".into(),
            root if root == hex::encode(owner) => "the owner's".into(),
            _ => "another's".into(),
        });
        record
    });
    assert_eq!(one, other, "the stranger, and the reference");
    Some(one)
}

#[test]
fn a_new_lock_of_either_kind_pins_only_who_proves_its_code_and_names_itself_by_value() {
    let cases: [(Claim, &[&str]); 7] = [
        (TRUE, &["00+201", "08+31", "the owner's"]),
        (Claim { proof: Proof::OfAnotherCode, ..TRUE }, &["00+201", "error 1", "nobody's"]),
        (Claim { proof: Proof::None, ..TRUE }, &["00+201", "error 1", "nobody's"]),
        (Claim { proof: Proof::UnderTheLocksLabel, ..TRUE }, &["00+201", "error 1", "nobody's"]),
        (Claim { proof: Proof::AndSomethingCritical, ..TRUE }, &["00+201", "error 1", "nobody's"]),
        (Claim { by_value: false, ..TRUE }, &["error 03f5", "nobody's"]),
        (Claim { broken: true, ..TRUE }, &["error 03f5", "nobody's"]),
    ];
    for (claim, expected) in cases {
        let Some(said) = both(false, claim) else { return };
        assert_eq!(said, expected);
    }
}

#[test]
fn an_owned_lock_of_either_kind_knows_its_platform_by_name_by_value_and_by_a_higher_version_and_nobody_else()
{
    let cases: [(Claim, &[&str]); 7] = [
        (Claim { by_value: false, ..TRUE }, &["00+29", "08+31", "the owner's"]),
        (Claim { proof: Proof::None, ..TRUE }, &["00+29", "08+31", "the owner's"]),
        (Claim { version: 3, dh: 0x44, proof: Proof::None, ..TRUE }, &["00+29", "08+31", "the owner's"]),
        (Claim { version: 1, ..TRUE }, &["error 03f5", "the owner's"]),
        (Claim { root: 0x55, version: 9, ..TRUE }, &["error 03f5", "the owner's"]),
        (Claim { by_value: false, dh: 0x44, ..TRUE }, &["error 1", "the owner's"]),
        (Claim { proof: Proof::AndSomethingCritical, ..TRUE }, &["00+29", "error 1", "the owner's"]),
    ];
    for (claim, expected) in cases {
        let Some(said) = both(true, claim) else { return };
        assert_eq!(said, expected);
    }
}
