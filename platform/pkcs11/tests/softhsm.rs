//! The key store with SoftHSM 2: what never leaves, what is refused and why, and a real lock on the other side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests fail by panicking

// One lock, gateway and broker for every key store.
#[path = "../../sdk/tests/common/mod.rs"]
mod common;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use cardea_credentials::{Agreement as _, SoftAgreement, verify, verify_platform};
use cardea_pkcs11::{Error, TokenKeys, TokenSettings};
use cardea_sdk::{Ask, Bolt, KeyStore, Outcome, Stage};
use common::{World, listening};
use cryptoki::{
    context::Pkcs11,
    mechanism::Mechanism,
    object::{Attribute, AttributeType, ObjectClass},
    session::UserType,
    types::AuthPin,
};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "platform-pin-4711";
const PRIVATE_KEYS: [&str; 3] = ["cardea-owner-root", "cardea-platform-dh-1", "cardea-platform-sign-1"];

/// Runs a test in a process of its own, with tokens of its own: SoftHSM finds them by an environment variable, and a
/// module is initialised once a process.
fn alone(test: &str, body: impl FnOnce(&Path)) {
    if let Some(dir) = env::var_os("CARDEA_TEST_TOKENS") {
        return body(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("softhsm2.conf");
    fs::create_dir(dir.path().join("tokens")).unwrap();
    let tokens = dir.path().join("tokens");
    fs::write(&conf, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display())).unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("SOFTHSM2_CONF", &conf)
        .env("CARDEA_TEST_TOKENS", dir.path())
        .output()
        .unwrap();
    let text = text(&output);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert!(!text.contains(PIN), "the PIN is never printed: {text}");
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn tool(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap()
}

/// A fresh token, and how to reach it.
fn token(dir: &Path, label: &str, pin: &str) -> TokenSettings {
    let made = tool(
        "softhsm2-util",
        &["--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "so-pin-0815"],
    );
    assert!(made.status.success(), "{}", text(&made));
    TokenSettings { pin_file: Some(pin_file(dir, label, pin)), ..TokenSettings::new(MODULE, label) }
}

fn pin_file(dir: &Path, label: &str, pin: &str) -> PathBuf {
    let path = dir.join(format!("{label}.pin"));
    fs::write(&path, pin).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A platform with all keys in one token: its state directory, and the token.
fn platform(dir: &Path) -> (PathBuf, TokenSettings) {
    let state = dir.join("state");
    let token = token(dir, "doors", PIN);
    TokenKeys::init(&state, &token, None).unwrap();
    (state, token)
}

/// pkcs11-tool, logged in to the token `doors`.
fn pkcs11_tool(args: &[&str]) -> Output {
    let all = [&["--module", MODULE, "--token-label", "doors", "--login", "--pin", PIN], args].concat();
    tool("pkcs11-tool", &all)
}

fn world(keys: &TokenKeys) -> World {
    let keys = keys.clone();
    World::with_keys(listening(), tempfile::tempdir().unwrap(), Box::new(move |_| Box::new(keys.clone())))
}

fn unlocks(world: &mut World) -> bool {
    let id = world.ask(Ask::Unlock, 20_000);
    world.run();
    matches!(world.outcome(id), Some(Outcome::Done { bolt: Bolt::Unlocked, .. }))
}

fn works(keys: &TokenKeys) -> bool {
    keys.signer().sign(b"x").is_ok_and(|s| verify(&keys.signer().public(), b"x", &s).is_ok())
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}: never");
        thread::sleep(Duration::from_millis(50));
    }
}

fn refusal(state: &Path, settings: Option<TokenSettings>) -> Error {
    match TokenKeys::open(state, settings) {
        Err(error) => error,
        Ok(_) => panic!("opened"),
    }
}

#[test]
fn a_platform_whose_keys_are_in_a_token_activates_and_unlocks_a_lock() {
    alone("a_platform_whose_keys_are_in_a_token_activates_and_unlocks_a_lock", |dir| {
        let (state, _) = platform(dir);
        let files: Vec<_> =
            fs::read_dir(&state).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(files.iter().filter(|name| name.ends_with(".key")).count(), 0, "{files:?}");
        let keys = TokenKeys::open(&state, None).unwrap();
        let named = verify_platform(keys.certificate(), Some(&keys.root())).unwrap();
        assert_eq!(named.version, 1);
        let mut world = world(&keys);
        world.activate();
        assert_eq!(world.agent().owner(), Some(keys.root().thumbprint()));
        assert!(unlocks(&mut world));
        world.restart();
        world.reset_lock();
        world.run();
        assert!(unlocks(&mut world), "and after both have restarted");
    });
}

#[test]
fn private_keys_can_be_neither_read_nor_made_readable() {
    alone("private_keys_can_be_neither_read_nor_made_readable", |dir| {
        let (state, _) = platform(dir);
        let store = TokenKeys::open(&state, None).unwrap();
        store.agreement().agree(&store.signer().public()).unwrap();
        let listed = text(&pkcs11_tool(&["--list-objects", "--type", "privkey"]));
        let told = "Access:     sensitive, always sensitive, never extractable, local";
        assert_eq!(listed.matches(told).count(), PRIVATE_KEYS.len(), "{listed}");
        let module = Pkcs11::new(MODULE).unwrap();
        let slot = module
            .get_slots_with_initialized_token()
            .unwrap()
            .into_iter()
            .find(|slot| module.get_token_info(*slot).unwrap().label() == "doors")
            .unwrap();
        let session = module.open_rw_session(slot).unwrap();
        let _ = session.login(UserType::User, Some(&AuthPin::from(PIN)));
        let keys = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap();
        assert_eq!(keys.len(), PRIVATE_KEYS.len());
        for key in keys {
            let value = session.get_attributes(key, &[AttributeType::Value]).unwrap_or_default();
            assert!(value.is_empty(), "CKA_VALUE");
            assert!(session.update_attributes(key, &[Attribute::Extractable(true)]).is_err());
            assert!(session.update_attributes(key, &[Attribute::Sensitive(false)]).is_err());
            assert!(session.copy_object(key, &[Attribute::Extractable(true)]).is_err());
        }
        // A key that may be read is read by the same words.
        let open = [Attribute::Sensitive(false), Attribute::Extractable(true)];
        let p256 = [Attribute::EcParams(vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07])];
        let (_, key) = session.generate_key_pair(&Mechanism::EccKeyPairGen, &p256, &open).unwrap();
        assert_eq!(session.get_attributes(key, &[AttributeType::Value]).unwrap().len(), 1);
        let secrets = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)]).unwrap();
        assert_eq!(secrets.len(), 0, "no shared secret stays behind in the session that is still open");
        drop(store);
    });
}

#[test]
fn keys_in_a_token_are_rotated_by_a_root_in_another_and_the_old_ones_go() {
    alone("keys_in_a_token_are_rotated_by_a_root_in_another_and_the_old_ones_go", |dir| {
        let (doors, safe) = (token(dir, "doors", PIN), token(dir, "safe", "root-pin-1"));
        let stranger = token(dir, "stranger", "root-pin-2");
        let state = dir.join("state");
        TokenKeys::init(&state, &doors, Some(&safe)).unwrap();
        // One lock, activated under the first certificate.
        let source = state.clone();
        let mut world = World::with_keys(
            listening(),
            tempfile::tempdir().unwrap(),
            Box::new(move |_| Box::new(TokenKeys::open(&source, None).unwrap())),
        );
        world.activate();
        world.live(1_000_000);
        world.core = None;

        let missing = TokenKeys::rotate(&state, None, None, 1).unwrap_err();
        assert!(matches!(&missing, Error::KeyMissing { label, .. } if label == PRIVATE_KEYS[0]), "{missing}");
        assert_eq!(
            TokenKeys::rotate(&state, None, Some(&safe), 4).unwrap(),
            5,
            "above what a lock has pinned"
        );
        let listed = text(&pkcs11_tool(&["--list-objects"]));
        for gone in ["cardea-platform-dh-1", "cardea-platform-sign-1"] {
            assert!(!listed.contains(gone), "{listed}");
        }
        assert!(
            listed.contains("cardea-platform-dh-5") && listed.contains("cardea-platform-sign-5"),
            "{listed}"
        );
        let keys = TokenKeys::open(&state, None).unwrap();
        assert!(works(&keys));
        assert_eq!(verify_platform(keys.certificate(), Some(&keys.root())).unwrap().version, 5);
        drop(keys);

        world.restart();
        assert!(unlocks(&mut world), "under the old session");
        world.agent().bolt_moved();
        world.live(60_000);
        assert_eq!(world.core.as_ref().unwrap().summaries()[0].certificate, Some(5), "{:?}", world.told);
        assert!(unlocks(&mut world));

        // Another root certifies nothing here.
        TokenKeys::init(&dir.join("other"), &stranger, None).unwrap();
        let refused = TokenKeys::rotate(&state, None, Some(&stranger), 5).unwrap_err();
        assert!(matches!(&refused, Error::KeyMismatch { .. }), "{refused}");
        assert!(!text(&pkcs11_tool(&["--list-objects"])).contains("-6"));
        let record = TokenKeys::with_owner_root(&state, None, Some(&safe), |root| {
            Ok(cardea_sdk::sign_release(root, [1; 32], [2; 8], None, 3)?)
        });
        let root = TokenKeys::open(&state, None).unwrap().root();
        cardea_credentials::Release::verify(&record.unwrap(), &[1; 32], &[2; 8], &root, None).unwrap();
    });
}

#[test]
fn the_owner_root_can_live_in_another_token() {
    alone("the_owner_root_can_live_in_another_token", |dir| {
        let (doors, safe) = (token(dir, "doors", PIN), token(dir, "safe", "root-pin-1"));
        let state = dir.join("state");
        let root = TokenKeys::init(&state, &doors, Some(&safe)).unwrap();
        let listed = text(&pkcs11_tool(&["--list-objects"]));
        assert!(listed.contains("cardea-platform-dh-1") && !listed.contains("owner-root"), "{listed}");
        let again = TokenKeys::init(&dir.join("second"), &doors, Some(&safe)).unwrap_err();
        assert!(matches!(&again, Error::KeyExists(label) if label == "cardea-owner-root"), "{again}");
        let again = TokenKeys::init(&state, &doors, Some(&safe)).unwrap_err();
        assert!(again.to_string().contains("already holds a platform"), "{again}");
        assert_eq!(TokenKeys::open(&state, None).unwrap().root().thumbprint(), root);
    });
}

#[test]
fn an_init_that_fails_leaves_no_keys_behind() {
    alone("an_init_that_fails_leaves_no_keys_behind", |dir| {
        let doors = token(dir, "doors", PIN);
        let made = pkcs11_tool(&["--keypairgen", "--key-type", "EC:secp256r1", "--label", PRIVATE_KEYS[2]]);
        assert!(made.status.success(), "{}", text(&made));
        let state = dir.join("state");
        let error = TokenKeys::init(&state, &doors, None).unwrap_err();
        assert!(matches!(&error, Error::KeyExists(label) if label == PRIVATE_KEYS[2]), "{error}");
        let listed = text(&pkcs11_tool(&["--list-objects"]));
        assert!(!listed.contains(PRIVATE_KEYS[0]) && !listed.contains(PRIVATE_KEYS[1]), "{listed}");
        assert!(!TokenKeys::are_in(&state));
    });
}

#[test]
fn a_wrong_pin_is_tried_once_even_across_restarts() {
    alone("a_wrong_pin_is_tried_once_even_across_restarts", |dir| {
        let (state, token) = platform(dir);
        let path = pin_file(dir, "doors", "wrong");
        let error = refusal(&state, None);
        assert!(matches!(error, Error::PinWrong { .. }), "{error}");
        assert!(
            error.to_string().contains("pin-refused") && !error.to_string().contains("wrong\n"),
            "{error}"
        );
        // Even the right PIN is not sent now: only the refusal itself is asked, and no token.
        fs::write(&path, PIN).unwrap();
        let marker = state.join("pin-refused");
        let earlier = fs::metadata(&marker).unwrap().modified().unwrap() - Duration::from_secs(5);
        fs::File::options().write(true).open(&path).unwrap().set_modified(earlier).unwrap();
        assert!(matches!(refusal(&state, None), Error::PinWrong { .. }));
        fs::remove_file(marker).unwrap();
        assert!(works(&TokenKeys::open(&state, None).unwrap()));
        drop(token);
    });
}

#[test]
fn errors_name_who_is_at_fault() {
    alone("errors_name_who_is_at_fault", |dir| {
        let (state, doors) = platform(dir);
        let with = |change: fn(&mut TokenSettings)| {
            let mut settings = doors.clone();
            change(&mut settings);
            refusal(&state, Some(settings))
        };
        let error = with(|t| t.token_label = "attic".into());
        assert!(matches!(error, Error::TokenAbsent { .. }), "{error}");
        assert!(error.to_string().contains("attic") && error.to_string().contains("`doors`"), "{error}");
        let error = with(|t| t.token_serial = Some("0000".into()));
        assert!(matches!(error, Error::TokenAbsent { .. }), "{error}");
        let error = with(|t| t.module = "/usr/lib/softhsm/no.so".into());
        assert!(matches!(error, Error::Module { .. }), "{error}");
        let error = with(|t| t.module = "/bin/true".into());
        assert!(matches!(error, Error::Module { .. }), "{error}");
        let error = with(|t| t.pin_file = None);
        assert!(matches!(&error, Error::Pin(why) if why.contains("CARDEA_PLATFORM_PIN")), "{error}");
        let error = with(|t| t.key_prefix = "other".into());
        assert!(matches!(&error, Error::KeyMissing { label, .. } if label.starts_with("other-")), "{error}");
        token(dir, "doors", PIN);
        Pkcs11::new(MODULE).unwrap().finalize().unwrap(); // SoftHSM looks for new tokens when it starts
        let error = refusal(&state, Some(doors));
        assert!(matches!(error, Error::TokenAmbiguous(_)), "{error}");
        // A library that others can name is a library that others can have loaded.
        fs::set_permissions(state.join("pkcs11.toml"), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(refusal(&state, None), Error::Settings { .. }));
    });
}

#[test]
fn a_key_that_was_outside_is_refused_as_is_one_that_is_not_certified() {
    alone("a_key_that_was_outside_is_refused_as_is_one_that_is_not_certified", |dir| {
        let (state, _) = platform(dir);
        let label = PRIVATE_KEYS[2];
        let delete = || {
            for kind in ["privkey", "pubkey"] {
                let deleted = pkcs11_tool(&["--delete-object", "--type", kind, "--label", label]);
                assert!(deleted.status.success(), "{}", text(&deleted));
            }
        };
        delete();
        let error = refusal(&state, None);
        assert!(matches!(&error, Error::KeyMissing { label: l, .. } if l == label), "{error}");

        // Another key of that label, as good as ours.
        let made = pkcs11_tool(&[
            "--keypairgen",
            "--key-type",
            "EC:secp256r1",
            "--usage-sign",
            "--sensitive",
            "--label",
            label,
        ]);
        assert!(made.status.success(), "{}", text(&made));
        let error = refusal(&state, None);
        assert!(matches!(&error, Error::KeyMismatch { label: l, .. } if l == label), "{error}");
        delete();

        // One that somebody made outside, with a copy.
        let outside = dir.join("outside.der");
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-outform", "DER"])
            .arg("-out")
            .arg(&outside)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made));
        let outside = outside.to_str().unwrap();
        let wrote = pkcs11_tool(&[
            "--write-object",
            outside,
            "--type",
            "privkey",
            "--usage-sign",
            "--sensitive",
            "--label",
            label,
        ]);
        assert!(wrote.status.success(), "{}", text(&wrote));
        let error = refusal(&state, None);
        assert!(matches!(&error, Error::KeyPolicy { label: l, .. } if l == label), "{error}");
        assert!(error.to_string().contains("imported"), "{error}");
    });
}

#[test]
fn four_threads_share_one_token() {
    alone("four_threads_share_one_token", |dir| {
        let (state, _) = platform(dir);
        let keys = TokenKeys::open(&state, None).unwrap();
        thread::scope(|scope| {
            for n in 1..=4_u8 {
                let keys = keys.clone();
                scope.spawn(move || {
                    let mut world = world(&keys);
                    world.activate();
                    assert!(unlocks(&mut world));
                    let peer = SoftAgreement::from_bytes(&[n; 32]).unwrap();
                    for _ in 0..20 {
                        let ours = keys.agreement().agree(&peer.public()).unwrap();
                        let theirs = peer.agree(&keys.agreement().public()).unwrap();
                        assert_eq!(ours.as_bytes(), theirs.as_bytes());
                        assert!(works(&keys));
                    }
                });
            }
        });
    });
}

#[test]
fn a_session_that_somebody_closed_is_opened_again_unnoticed() {
    alone("a_session_that_somebody_closed_is_opened_again_unnoticed", |dir| {
        let (state, _) = platform(dir);
        let keys = TokenKeys::open(&state, None).unwrap();
        assert!(works(&keys));
        Pkcs11::new(MODULE).unwrap().finalize().unwrap();
        assert!(works(&keys));
    });
}

#[test]
fn without_its_token_a_platform_commands_its_locks_and_only_new_handshakes_wait() {
    alone("without_its_token_a_platform_commands_its_locks_and_only_new_handshakes_wait", |dir| {
        let (state, _) = platform(dir);
        let keys = TokenKeys::open(&state, None).unwrap();
        let mut old = world(&keys);
        old.activate();
        // This one has message_2 when the token goes: its message_3 cannot be answered by a signed status.
        let mut half = world(&keys);
        half.enroll(&common::CODE);
        half.boot();
        half.run_until_downs(1);
        let (tokens, away) = (dir.join("tokens"), dir.join("away"));
        fs::rename(&tokens, &away).unwrap();
        Pkcs11::new(MODULE).unwrap().finalize().unwrap();
        assert!(!works(&keys));
        assert!(unlocks(&mut old), "session keys are in the state, not in the token");

        half.run();
        assert_eq!(half.agent().owner(), None);
        let stage = half.core.as_ref().unwrap().summaries().remove(0).stage;
        assert_eq!(stage, Stage::Enrolled, "neither side believes in half an activation");

        let mut new = world(&keys);
        new.enroll(&common::CODE);
        new.boot();
        new.run();
        assert_eq!(new.agent().owner(), None);
        assert!(new.downs.is_empty(), "silence: {:?}", new.downs);

        fs::rename(&away, &tokens).unwrap();
        wait_for("the token is found again", || works(&keys));
        half.live(600_000);
        assert!(unlocks(&mut half));
        new.live(600_000);
        assert_eq!(new.agent().owner(), Some(keys.root().thumbprint()), "the lock tried again by itself");
        assert!(unlocks(&mut new));
    });
}

#[test]
fn a_makers_keys_are_made_in_a_token_and_certify_locks_from_there() {
    use cardea_credentials::{Signer as _, SoftSigner};
    use cardea_pkcs11::MakerKey;
    use cardea_x509::{Issuer, Makers, Validity, make_root, to_pem};

    alone("a_makers_keys_are_made_in_a_token_and_certify_locks_from_there", |dir| {
        let settings = token(dir, "doors", PIN);
        let always = Validity { from: 0, until: None };
        let root = MakerKey::make(dir, &settings, "maker-root").unwrap();
        let certificate = make_root(&root, "Maker", always, &mut cardea_sdk::OsRandom).unwrap();
        let again = MakerKey::make(dir, &settings, "maker-root").map(drop);
        assert!(matches!(again, Err(Error::KeyExists(_))), "{again:?}");
        drop(root);

        let lock = SoftSigner::generate(&mut cardea_sdk::OsRandom).unwrap().public();
        let certified = Issuer::key_of(&certificate).unwrap();
        let root = MakerKey::open(dir, &settings, "maker-root", certified).unwrap();
        let issuer = Issuer::new(&certificate, &root).unwrap();
        let device = issuer.device(&lock, always, &mut cardea_sdk::OsRandom).unwrap();
        let makers = Makers::from_pem(&to_pem(&certificate).unwrap()).unwrap();
        assert_eq!(makers.verify(&[&device], 1_800_000_000).unwrap().key, lock);

        let other = MakerKey::open(dir, &settings, "maker-root", lock).map(drop);
        assert!(matches!(other, Err(Error::KeyMismatch { .. })), "{other:?}");
        let listed = text(&pkcs11_tool(&["--list-objects", "--type", "privkey"]));
        assert!(listed.contains("cardea-maker-root") && listed.contains("never extractable"), "{listed}");
    });
}
