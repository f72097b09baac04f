//! Both locks and phones with grants, the SDK's holder: whom they believe, what they serve, what they refuse, alike.

use cardea_credentials::{
    AAD_DELEGATED_GRANT, AAD_GRANT, Agreement as _, Scope, Sign1, Signer as _, SoftAgreement, SoftSigner,
    Terms, Weekly, cbor::Writer, issue_grant,
};
use cardea_sdk::{
    Ask, Bundle, OsRandom, Outcome, PlatformEvent,
    holder::{Holder, HolderEvent, delegate},
    session::NewGrant,
};
use sha2::{Digest as _, Sha256};

use crate::world::World;

/// The lock's site address.
const LOCK: u16 = 7;

fn key(byte: u8) -> SoftAgreement {
    SoftAgreement::from_bytes(&[byte; 32]).unwrap()
}

fn signer(byte: u8) -> SoftSigner {
    SoftSigner::from_bytes(&[byte; 32]).unwrap()
}

/// To open and to see, for an hour, and what `change` makes of that.
fn grant(world: &mut World, holder: u8, change: impl FnOnce(&mut NewGrant)) -> Bundle {
    let mut new = NewGrant {
        lock: world.name,
        holder: key(holder).public(),
        name: format!("holder {holder}"),
        scope: Scope::UNLOCK | Scope::STATUS,
        not_before: world.unix_s() - 60,
        expires: world.unix_s() + 3600,
        single_use: false,
        window: None,
        delegate: None,
    };
    change(&mut new);
    let now = world.time();
    world.batch(now, |core, now| core.issue_grant(now, &new)).unwrap().bundle
}

/// A phone at the gateway, which puts the other side's address into each datagram.
struct Phone {
    address: u16,
    holder: Holder<SoftAgreement>,
}

impl Phone {
    fn new(address: u16, bundle: &Bundle, holder: u8) -> Self {
        let bundle = Bundle::decode(&bundle.encode()).unwrap();
        Self { address, holder: Holder::new(bundle, key(holder), Box::new(OsRandom), LOCK) }
    }

    /// Until something happens, a minute at most.
    fn wait(&mut self, world: &mut World) -> Option<HolderEvent> {
        let end = world.now + 60_000;
        while world.now < end {
            while let Some(datagram) = self.holder.poll_transmit() {
                world.down(from(self.address, datagram));
            }
            world.carry();
            for (to, datagram) in std::mem::take(&mut world.for_peers) {
                if to == self.address {
                    self.holder.handle_datagram(world.now, &from(LOCK, datagram));
                }
            }
            if let Some(event) = self.holder.poll_event() {
                return Some(event);
            }
            world.step();
            self.holder.handle_timeout(world.now);
        }
        None
    }

    fn connect(&mut self, world: &mut World) -> String {
        self.holder.connect(world.now).unwrap();
        match self.wait(world) {
            Some(HolderEvent::Connected) => "a session".into(),
            other => format!("{other:?}"),
        }
    }

    fn ask(&mut self, world: &mut World, ask: Ask) -> String {
        self.holder.ask(world.now, ask, 20_000).unwrap();
        loop {
            match self.wait(world) {
                Some(HolderEvent::Log { end, entries }) => {
                    println!("log up to {end}: {entries:?}");
                }
                Some(HolderEvent::Ended { outcome, .. }) => {
                    return match outcome {
                        Outcome::Done { bolt, .. } => format!("{bolt:?}"),
                        Outcome::Status { bolt, battery, revocations, .. } => {
                            format!("{bolt:?}, {battery} %, list {revocations:?}")
                        }
                        Outcome::Battery { percent, .. } => format!("{percent} %"),
                        Outcome::Log { entries, .. } => format!("{entries} entries"),
                        Outcome::Rejected { code } => code,
                        other => format!("{other:?}"),
                    };
                }
                other => return format!("{other:?}"),
            }
        }
    }
}

fn from(address: u16, mut datagram: Vec<u8>) -> Vec<u8> {
    datagram[1..3].copy_from_slice(&address.to_be_bytes());
    datagram
}

/// Both locks, activated, through the same story; what each said.
fn both(story: impl Fn(&mut World) -> Vec<(&'static str, String)>) -> Option<Vec<(&'static str, String)>> {
    let mut stranger = World::new(None)?;
    let mut reference = World::reference();
    let [one, other] = [&mut stranger, &mut reference].map(|world| {
        world.activate();
        world.run_for(60_000);
        let mut said = story(world);
        said.push(("the motor ran", world.lock().motor().to_string()));
        said
    });
    assert_eq!(one, other, "the stranger, and the reference");
    Some(one)
}

fn expect(said: Option<Vec<(&'static str, String)>>, expected: &[&str]) {
    let Some(said) = said else { return };
    let answers: Vec<&str> = said.iter().map(|(_, answer)| answer.as_str()).collect();
    assert_eq!(answers, expected, "{said:#?}");
}

const SESSION: &str = "a session";
const SILENCE: &str =
    "Some(Failed { why: \"the lock does not answer: it is not there, or does not believe the grant\" })";

#[test]
fn both_locks_open_to_a_phone_and_serve_what_its_grant_names_and_nothing_else() {
    let said = both(|world| {
        let bundle = grant(world, 40, |_| {});
        let mut phone = Phone::new(0xf001, &bundle, 40);
        let mut said = vec![("handshake", phone.connect(world))];
        for ask in [Ask::Unlock, Ask::Lock, Ask::Status, Ask::Battery, Ask::Log] {
            said.push(("asked", phone.ask(world, ask)));
        }
        // No longer young: 4.01 with an Echo, and once more.
        world.run_for(60_000);
        said.push(("a minute later", phone.ask(world, Ask::Unlock)));
        let by_grant = |e: &PlatformEvent| {
            matches!(e, PlatformEvent::Lock { kind, value: Some(value), .. }
                     if kind == "unlocked by grant" && value.ends_with("(holder 40)"))
        };
        world.run_for(60_000);
        said.push(("the platform hears", world.count(by_grant).to_string()));
        world.run_for(300_000);
        said.push(("five minutes later", phone.ask(world, Ask::Status)));
        let bundle = grant(world, 41, |new| new.scope = Scope::LOCK | Scope::LOG);
        let mut phone = Phone::new(0xf002, &bundle, 41);
        said.push(("handshake", phone.connect(world)));
        for ask in [Ask::Lock, Ask::Log, Ask::Unlock, Ask::Status] {
            let answer = phone.ask(world, ask);
            // Which entries are still there depends on the platform's cursor.
            said.push(("asked", if ask == Ask::Log { answer[2..].into() } else { answer }));
        }
        said
    });
    let gone = "Unanswered { sent: 4, gateway: None }";
    expect(
        said,
        &[
            SESSION,
            "Unlocked",
            "4.03",
            "Unlocked, 87 %, list Some(0)",
            "87 %",
            "4.03",
            "Unlocked",
            "2",
            gone,
            SESSION,
            "Locked",
            "entries",
            "4.03",
            "4.03",
            "3",
        ],
    );
}

#[test]
fn both_locks_hold_a_grant_to_its_time_its_hours_and_its_one_use() {
    let said = both(|world| {
        let now = world.unix_s();
        let today = 1 << ((now / 86_400 + 3) % 7); // 1 January 1970 was a Thursday
        let mut said = Vec::new();
        let mut story = |world: &mut World, what, holder, change: &dyn Fn(&mut NewGrant)| {
            let bundle = grant(world, holder, change);
            let mut phone = Phone::new(0xf000 + u16::from(holder), &bundle, holder);
            said.push((what, phone.connect(world)));
            said.push((what, phone.ask(world, Ask::Unlock)));
            said.push((what, phone.ask(world, Ask::Unlock)));
            world.run_for(70_000); // and the limit of handshakes forgets
        };
        story(world, "not yet", 42, &|new| new.not_before = now + 600);
        story(world, "another day", 43, &|new| new.window = Weekly::new(0x7f & !today, 0, 96).ok());
        story(world, "this day", 44, &|new| new.window = Weekly::new(today, 0, 96).ok());
        story(world, "once", 45, &|new| new.single_use = true);
        let ends = world.unix_s() + 30;
        let bundle = grant(world, 46, |new| new.expires = ends);
        let mut phone = Phone::new(0xf046, &bundle, 46);
        said.push(("ends", phone.connect(world)));
        said.push(("ends", phone.ask(world, Ask::Unlock)));
        world.run_for(31_000);
        said.push(("ended", phone.ask(world, Ask::Unlock)));
        said.push(("ended", phone.ask(world, Ask::Status)));
        said
    });
    let no = "4.03";
    expect(
        said,
        &[
            SESSION, no, no, SESSION, no, no, SESSION, "Unlocked", "Unlocked", SESSION, "Unlocked", no,
            SESSION, "Unlocked", no, no, "4",
        ],
    );
}

#[test]
fn both_locks_are_silent_to_whoever_has_no_grant_of_their_platform_or_not_its_key() {
    let said = both(|world| {
        let own = grant(world, 47, |_| {});
        let terms = *own.grant().terms();
        let foreign = signer(99);
        let mut cwt = [0; 256];
        let length = issue_grant(&terms, &[1; 8], &foreign, &mut cwt).unwrap();
        let foreign = Bundle::new(own.lock(), &foreign.public(), &cwt[..length]).unwrap();
        let mut said = vec![("another platform's", Phone::new(0xf001, &foreign, 47).connect(world))];
        said.push(("without its key", Phone::new(0xf002, &own, 48).connect(world)));
        said.push(("sound", Phone::new(0xf003, &own, 47).connect(world)));
        // What no phone says gets its receipt and nothing else.
        for body in
            [&[0xf5][..], &[0xf5, 3, 2], &[0x05, 0x40], &[0x40, 0x51], &[0x09, 0, 1, 2, 3, 4, 5, 6, 7, 8]]
        {
            for kind in [0x10, 0x18] {
                let frames = world.poke(&[&[kind, 0xf0, 4], body].concat());
                said.push((
                    "nonsense",
                    frames.iter().map(|f| format!("{:02x}+{} ", f[0], f.len() - 1)).collect(),
                ));
            }
        }
        said
    });
    let mut expected = vec![SILENCE, SILENCE, SESSION];
    expected.extend(["28+2 "; 10]);
    expected.push("0");
    expect(said, &expected);
}

/// The claims of `terms` under the delegate key, as [`delegate`] would not sign them.
fn forged(parent: &Bundle, terms: &Terms, delegate: &SoftSigner) -> Vec<u8> {
    let aad = |label: &str, parts: &[&[u8]]| {
        let mut out = [0; 160];
        let mut writer = Writer::new(&mut out);
        writer.array(1 + parts.len()).unwrap().text(label).unwrap();
        for part in parts {
            writer.bytes(part).unwrap();
        }
        writer.as_slice().to_vec()
    };
    let (lock, any) = (terms.lock, signer(98));
    let by_platform = aad(AAD_GRANT, &[&lock]);
    let above = Sign1::decode(parent.cwt()).unwrap();
    let digest = Sha256::digest(above.verify(parent.platform(), &by_platform).unwrap());
    let mut out = [0; 256];
    let length = issue_grant(terms, &[7; 8], &any, &mut out).unwrap();
    let own = out[..length].to_vec();
    let claims = Sign1::decode(&own).unwrap().verify(&any.public(), &by_platform).unwrap().to_vec();
    let delegated = aad(AAD_DELEGATED_GRANT, &[&lock, &digest]);
    let length = Sign1::encode(delegate, None, &delegated, &claims, &mut out).unwrap();
    out[..length].to_vec()
}

/// What a phone sends whose own program would refuse the chain: the holder is told of another platform key, under which
/// nothing is looked at. So the chain is tried at the lock by a phone that has a sound bundle and swaps the grants.
#[test]
fn both_locks_follow_a_chain_of_grants_and_refuse_one_that_widens() {
    let said = both(|world| {
        let first = grant(world, 50, |new| new.delegate = Some(signer(60).public()));
        let own = *first.grant().terms();
        let second_terms = Terms { holder: key(51).public(), delegate: Some(signer(61).public()), ..own };
        let second = delegate(&first, &second_terms, &signer(60), &mut OsRandom).unwrap();
        let terms = Terms { holder: key(52).public(), scope: Scope::UNLOCK, delegate: None, ..own };
        let third = delegate(&second, &terms, &signer(61), &mut OsRandom).unwrap();
        let mut phone = Phone::new(0xf001, &third, 52);
        let mut said = vec![("three links", phone.connect(world))];
        said.push(("three links", phone.ask(world, Ask::Unlock)));
        said.push(("narrowed away", phone.ask(world, Ask::Status)));
        world.run_for(60_000);
        let named = |e: &PlatformEvent| {
            matches!(e, PlatformEvent::Lock { kind, value: Some(value), .. }
                     if kind == "unlocked by grant" && value.ends_with("(holder 50)"))
        };
        said.push(("the log names the platform's grant", world.count(named).to_string()));
        for (what, wider) in [
            ("the same", own),
            ("another right", Terms { scope: own.scope | Scope::LOCK, ..own }),
            ("longer", Terms { expires: own.expires + 1, ..own }),
            ("earlier", Terms { not_before: own.not_before - 1, ..own }),
        ] {
            world.run_for(130_000);
            let terms = Terms { holder: key(53).public(), delegate: None, ..wider };
            let cwt = forged(&first, &terms, &signer(60));
            said.push((what, hand(world, &first, &cwt)));
        }
        said
    });
    expect(said, &[SESSION, "Unlocked", "4.03", "1", SESSION, SILENCE, SILENCE, SILENCE, "1"]);
}

/// A handshake with this grant below that of `first`, by a phone that looks at nothing.
fn hand(world: &mut World, first: &Bundle, cwt: &[u8]) -> String {
    use cardea_credentials::EAD_GRANTS_ABOVE;
    use cardea_edhoc::correlation::{Prefix, prepend, split};
    use cardea_edhoc::{
        AuthKey, ConnId, Ead, EphemeralKey, IdCred, Initiator, InitiatorConfig, Method, Suite,
    };
    let config = InitiatorConfig {
        suite: Suite::S2,
        refused_suites: &[],
        method: Method::StaticDh,
        c_i: ConnId::new(&[0x31]).unwrap(),
        known_eads: &[],
    };
    let ephemeral = EphemeralKey::generate(Suite::S2, &mut OsRandom).unwrap();
    let mut initiator = Initiator::new(config, ephemeral);
    let exchange = |world: &mut World, body: &[u8]| {
        world.for_peers.clear();
        world.down([&[0x10, 0xf0, 9], body].concat());
        world.run_for(3_000);
        world.for_peers.pop().map(|(_, datagram)| datagram[3..].to_vec())
    };
    let mut body = [0; 1024];
    let at = prepend(&Prefix::New, &mut body).unwrap();
    let end = at + initiator.message_1(&[], &mut body[at..]).unwrap();
    let message_2 = exchange(world, &body[..end]).expect("message_2");
    let (_, message_2) = split(&message_2).unwrap();
    let mut plain = [0; 512];
    let peer = initiator.parse_message_2(message_2, &mut plain).unwrap();
    initiator.verify_message_2(&peer, first.lock(), first.identity().dh).unwrap();
    let at = prepend(&Prefix::Session(peer.conn_id), &mut body).unwrap();
    let above = [Ead::new(EAD_GRANTS_ABOVE, first.cwt())];
    let own = key(53);
    let end = at
        + initiator
            .message_3(&IdCred::Kcwt(cwt), cwt, &AuthKey::Agreement(&own), &above, &mut body[at..])
            .unwrap();
    match exchange(world, &body[..end]) {
        Some(_) => SESSION.into(),
        None => SILENCE.into(),
    }
}

#[test]
fn both_locks_take_the_platforms_list_and_bar_every_grant_that_rests_on_a_key_in_it() {
    let said = both(|world| {
        let ada = grant(world, 54, |new| new.delegate = Some(signer(64).public()));
        let terms = Terms { holder: key(55).public(), delegate: None, ..*ada.grant().terms() };
        let bob = delegate(&ada, &terms, &signer(64), &mut OsRandom).unwrap();
        let eve = grant(world, 56, |_| {});
        let mut bobs = Phone::new(0xf002, &bob, 55);
        let mut said = vec![("Bob, by Ada's", bobs.connect(world))];
        let now = world.time();
        world.batch(now, |core, now| core.revoke(now, &[key(54).public().thumbprint()])).unwrap();
        let confirmed = |e: &PlatformEvent| matches!(e, PlatformEvent::ListConfirmed { epoch: 1, .. });
        world.run_until("the list", |world| (world.count(confirmed) > 0).then_some(()));
        said.push(("Bob, in his session", bobs.ask(world, Ask::Unlock)));
        world.run_for(130_000);
        said.push(("Bob, anew", bobs.connect(world)));
        said.push(("Ada", Phone::new(0xf003, &ada, 54).connect(world)));
        world.run_for(130_000);
        let mut other = Phone::new(0xf004, &eve, 56);
        said.push(("Eve", other.connect(world)));
        said.push(("Eve", other.ask(world, Ask::Status)));
        // A power cut forgets sessions and no revocation.
        world.power_cut();
        world.run_for(60_000);
        said.push(("Eve, after a power cut", other.ask(world, Ask::Unlock)));
        said.push(("Ada, after a power cut", Phone::new(0xf005, &ada, 54).connect(world)));
        // Fifty keys more: three pages.
        let keys: Vec<[u8; 32]> = (0..50_u8).map(|n| [n; 32]).collect();
        let now = world.time();
        world.batch(now, |core, now| core.revoke(now, &keys)).unwrap();
        let confirmed = |e: &PlatformEvent| matches!(e, PlatformEvent::ListConfirmed { epoch: 2, .. });
        world.run_until("the longer list", |world| (world.count(confirmed) > 0).then_some(()));
        world.run_for(130_000);
        said.push(("Ada, by the longer list", Phone::new(0xf006, &ada, 54).connect(world)));
        said
    });
    let gone = "Unanswered { sent: 4, gateway: None }";
    expect(
        said,
        &[
            SESSION,
            "4.03",
            SILENCE,
            SILENCE,
            SESSION,
            "Locked, 87 %, list Some(1)",
            gone,
            SILENCE,
            SILENCE,
            "0",
        ],
    );
}
