//! An authenticator that signs whatever a test wants.

use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

use super::*;

const HOST: &str = "gateway.local:8443";
const NOW: u64 = 1_800_000_000_000;

struct Authenticator {
    key: KeyPair,
    challenges: Challenges,
}

/// What it says unless a test wants something else.
#[derive(Clone)]
struct Said {
    kind: &'static str,
    origin: &'static str,
    site: &'static str,
    flags: u8,
    counter: u32,
    more: &'static str,
}

const GOOD: Said = Said {
    kind: "webauthn.get",
    origin: "https://gateway.local:8443",
    site: "gateway.local",
    flags: 0x05,
    counter: 7,
    more: ",\"crossOrigin\":false,\"other_keys_can_be_added_here\":\"x\"",
};
const MAKING: Said = Said { kind: "webauthn.create", flags: 0x45, counter: 6, ..GOOD };

impl Authenticator {
    fn new() -> Self {
        Self { key: KeyPair::generate().unwrap(), challenges: Challenges::new().unwrap() }
    }

    fn expected(&self, purpose: Purpose) -> Expected<'_> {
        Expected { challenges: &self.challenges, purpose, session: None, host: HOST, now: NOW }
    }

    fn challenge(&self, purpose: Purpose) -> String {
        self.challenges.make(purpose, None, NOW).unwrap()
    }

    fn client(said: &Said, challenge: &str) -> Vec<u8> {
        let Said { kind, origin, more, .. } = said;
        format!("{{\"type\":\"{kind}\",\"challenge\":\"{challenge}\",\"origin\":\"{origin}\"{more}}}")
            .into_bytes()
    }

    fn device(&self, said: &Said) -> Vec<u8> {
        let mut bytes = Sha256::digest(said.site).to_vec();
        bytes.push(said.flags);
        bytes.extend(said.counter.to_be_bytes());
        if said.flags & WITH_CREDENTIAL != 0 {
            bytes.extend([0; 16]);
            bytes.extend([0, 3, 1, 2, 3]);
            let point = self.key.der_bytes();
            bytes.extend(BEFORE_X);
            bytes.extend(&point[1..33]);
            bytes.extend(BEFORE_Y);
            bytes.extend(&point[33..65]);
        }
        bytes
    }

    fn made(&self, said: &Said) -> Result<Passkey, Unfit> {
        let client = Self::client(said, &self.challenge(Purpose::Add));
        self.expected(Purpose::Add).made(&client, &self.device(said), " my\nphone ")
    }

    fn used(&self, passkey: &Passkey, said: &Said) -> Result<u32, Unfit> {
        let client = Self::client(said, &self.challenge(Purpose::SignIn));
        let device = self.device(said);
        let signature = self.key.sign(&[&device[..], &Sha256::digest(&client)].concat()).unwrap();
        self.expected(Purpose::SignIn).used(passkey, &client, &device, &signature)
    }
}

#[test]
fn a_passkey_is_made_and_used() {
    let device = Authenticator::new();
    let passkey = device.made(&MAKING).unwrap();
    assert_eq!(
        (passkey.id.as_slice(), passkey.site.as_str(), passkey.counter),
        (&[1, 2, 3][..], "gateway.local", 6)
    );
    assert_eq!(passkey.name, "myphone");
    assert_eq!(passkey.key, device.key.der_bytes());
    assert_eq!(device.used(&passkey, &GOOD), Ok(7));
    let never = Passkey { counter: 0, ..passkey };
    assert_eq!(device.used(&never, &Said { counter: 0, ..GOOD }), Ok(0), "one without a counter");
}

#[test]
fn what_is_for_another_site_or_without_the_user_is_refused() {
    let device = Authenticator::new();
    let passkey = device.made(&MAKING).unwrap();
    for (said, why) in [
        (Said { origin: "https://gateway.local", ..GOOD }, Unfit::Site),
        (Said { origin: "http://gateway.local:8443", ..GOOD }, Unfit::Site),
        (Said { origin: "https://evil.example", ..GOOD }, Unfit::Site),
        (Said { site: "evil.example", ..GOOD }, Unfit::Site),
        (Said { more: ",\"crossOrigin\":true", ..GOOD }, Unfit::Site),
        (Said { flags: 0x01, ..GOOD }, Unfit::Unverified),
        (Said { flags: 0x04, ..GOOD }, Unfit::Unverified),
        (Said { kind: "webauthn.create", ..GOOD }, Unfit::Malformed),
        (Said { counter: 6, ..GOOD }, Unfit::Counter),
        (Said { counter: 0, ..GOOD }, Unfit::Counter),
    ] {
        assert_eq!(device.used(&passkey, &said), Err(why), "{} {}", said.origin, said.flags);
        if why != Unfit::Counter {
            let kind = if said.kind == GOOD.kind { MAKING.kind } else { GOOD.kind };
            let making = Said { kind, flags: said.flags | WITH_CREDENTIAL, ..said };
            assert_eq!(device.made(&making), Err(why));
        }
    }
    assert_eq!(device.made(&Said { flags: 0x05, ..MAKING }), Err(Unfit::Malformed), "without a key");
    let other = Passkey { site: "lobby.example".into(), ..passkey };
    assert_eq!(device.used(&other, &GOOD), Err(Unfit::Site));
}

#[test]
fn a_signature_is_over_all_that_was_said_and_by_this_key() {
    let device = Authenticator::new();
    let passkey = device.made(&MAKING).unwrap();
    assert_eq!(
        Authenticator::new().made(&MAKING).map(|other| device.used(&other, &GOOD)),
        Ok(Err(Unfit::Signature))
    );
    let client = Authenticator::client(&GOOD, &device.challenge(Purpose::SignIn));
    let data = device.device(&GOOD);
    let good = device.key.sign(&[&data[..], &Sha256::digest(&client)].concat()).unwrap();
    let expected = device.expected(Purpose::SignIn);
    let mut bent = good.clone();
    *bent.last_mut().unwrap() ^= 1;
    for signature in [&bent[..], &[], &good[..good.len() - 1]] {
        assert_eq!(expected.used(&passkey, &client, &data, signature), Err(Unfit::Signature));
    }
    let mut risen = data.clone();
    risen[36] = 200;
    assert_eq!(expected.used(&passkey, &client, &risen, &good), Err(Unfit::Signature), "another counter");
    assert_eq!(
        expected.used(&passkey, &client, &data, &good),
        Ok(7),
        "none of that has used the challenge up"
    );
}

#[test]
fn a_challenge_is_the_gateways_for_one_purpose_and_session_for_a_while_and_once() {
    let device = Authenticator::new();
    let name = |n| Some(Name([n; 32]));
    let make = |purpose, session| bytes(&device.challenges.make(purpose, session, NOW).unwrap()).unwrap();
    let challenge = make(Purpose::Prove, name(1));
    let take =
        |challenge: &[u8], purpose, session, now| device.challenges.take(challenge, purpose, session, now);
    let refused = Err(Unfit::Challenge);
    assert_eq!(take(&challenge, Purpose::SignIn, name(1), NOW), refused);
    assert_eq!(take(&challenge, Purpose::Prove, name(2), NOW), refused);
    assert_eq!(take(&challenge, Purpose::Prove, None, NOW), refused);
    assert_eq!(take(&challenge, Purpose::Prove, name(1), NOW + LIFE_MS + 1), refused, "too late");
    let mut longer = challenge.clone();
    longer[16] ^= 1;
    assert_eq!(take(&longer, Purpose::Prove, name(1), NOW), refused, "another end");
    assert_eq!(take(&challenge[..20], Purpose::Prove, name(1), NOW), refused);
    assert_eq!(take(&[], Purpose::Prove, name(1), NOW), refused);
    let stranger = Challenges::new().unwrap();
    assert_eq!(stranger.take(&challenge, Purpose::Prove, name(1), NOW), refused, "of another run");
    assert_eq!(take(&challenge, Purpose::Prove, name(1), NOW), Ok(()));
    assert_eq!(take(&challenge, Purpose::Prove, name(1), NOW), refused, "twice");
    // As many as could ever be signed: then no more, until they end.
    for n in 0..SPENT {
        let fresh = make(Purpose::SignIn, None);
        assert_eq!(take(&fresh, Purpose::SignIn, None, NOW).is_ok(), n + 1 < SPENT);
    }
}

#[test]
fn no_bytes_make_it_panic_and_an_address_is_no_site() {
    let device = Authenticator::new();
    let whole = device.device(&MAKING);
    let client = Authenticator::client(&MAKING, &device.challenge(Purpose::Add));
    let expected = device.expected(Purpose::Add);
    for cut in 0..whole.len() {
        assert!(expected.made(&client, &whole[..cut], "x").is_err(), "{cut}");
    }
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 0xff;
        let _ = device.expected(Purpose::Add).made(b"{}", &bent, "x");
        let _ = Device::read(&bent).map(|device| device.credential().map(|(id, _)| id.len()));
    }
    assert!(expected.made(&vec![b'x'; LONGEST + 1], &whole, "x").is_err());
    for (host, known) in [
        ("gateway.local:8443", Some("gateway.local")),
        ("GATEWAY.local", Some("gateway.local")),
        ("192.0.2.1:8443", None),
        ("[2001:db8::1]:8443", None),
        ("", None),
    ] {
        assert_eq!(site(host).as_deref(), known, "{host}");
    }
}
