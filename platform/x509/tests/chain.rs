//! Chains that we make, verified here and by the openssl program; chains that something is wrong with, refused by both.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::unwrap_in_result,
    clippy::indexing_slicing,
    clippy::panic
)] // a panic here is a verdict

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use cardea_credentials::{Error as KeyError, PublicKey, Random, Signer, SoftSigner};
use cardea_x509::{
    Error, Issuer, Makers, Validity, from_pem, make_root, private_key_from_pem, private_key_to_pem,
    request_key, to_pem,
};
use rand_core::{Rng as _, SeedableRng as _};

/// 2026-01-01, and how long things last.
const FROM: u64 = 1_767_225_600;
const YEAR: u64 = 365 * 86_400;
const NOW: u64 = FROM + 100 * 86_400;

struct Seeded(rand_chacha::ChaCha8Rng);

impl Random for Seeded {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), KeyError> {
        self.0.fill_bytes(out);
        Ok(())
    }
}

fn seeded(seed: u64) -> Seeded {
    Seeded(rand_chacha::ChaCha8Rng::seed_from_u64(seed))
}

fn years(count: u64) -> Validity {
    Validity { from: FROM, until: Some(FROM + count * YEAR) }
}

/// A maker with its root, its factory's CA and a lock.
struct Maker {
    random: Seeded,
    root_key: SoftSigner,
    ca_key: SoftSigner,
    lock: PublicKey,
    root: Vec<u8>,
    ca: Vec<u8>,
    device: Vec<u8>,
}

impl Maker {
    fn new(seed: u64) -> Self {
        let mut random = seeded(seed);
        let [root_key, ca_key, lock] = [(); 3].map(|()| SoftSigner::generate(&mut random).unwrap());
        let lock = lock.public();
        let root = make_root(&root_key, "Example Locks Root", years(30), &mut random).unwrap();
        let issuer = Issuer::new(&root, &root_key).unwrap();
        let ca =
            issuer.authority(&ca_key.public(), "Example Locks Factory 1", years(20), &mut random).unwrap();
        let endless = Validity { from: FROM, until: None };
        let device = Issuer::new(&ca, &ca_key).unwrap().device(&lock, endless, &mut random).unwrap();
        Self { random, root_key, ca_key, lock, root, ca, device }
    }

    fn makers(&self) -> Makers {
        Makers::from_pem(&to_pem(&self.root).unwrap()).unwrap()
    }

    fn verify(&self, chain: &[&[u8]], at: u64) -> Result<PublicKey, Error> {
        self.makers().verify(chain, at).map(|device| device.key)
    }

    /// A CA that the library would not make, or a device of another kind, by openssl from the same keys.
    fn by_openssl(&self, extensions: &str, subject: &str, issuer: (&[u8], &SoftSigner)) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let key = write(dir.path(), "key.pem", &private_key_to_pem(&self.ca_key).unwrap());
        let ca = write(dir.path(), "issuer.pem", &to_pem(issuer.0).unwrap());
        let ca_key = write(dir.path(), "issuer.key", &private_key_to_pem(issuer.1).unwrap());
        let id = hex::encode(&self.ca_key.public().thumbprint()[..8]);
        let ext = write(dir.path(), "ext.cnf", &format!("{extensions}subjectKeyIdentifier={id}\n"));
        let request = dir.path().join("request.pem");
        run(openssl(&["req", "-new", "-sha256", "-subj", subject, "-key"])
            .arg(key)
            .arg("-out")
            .arg(&request));
        let out = dir.path().join("out.pem");
        run(openssl(&["x509", "-req", "-sha256", "-days", "3650", "-in"])
            .arg(&request)
            .arg("-CA")
            .arg(ca)
            .arg("-CAkey")
            .arg(ca_key)
            .arg("-extfile")
            .arg(ext)
            .arg("-out")
            .arg(&out));
        from_pem(&std::fs::read_to_string(out).unwrap()).unwrap().remove(0)
    }
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn openssl(arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(arguments);
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("the openssl program is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// What `openssl verify` says about a device under a CA, at a time; `Err` with its words.
fn openssl_verify(root: &[u8], ca: Option<&[u8]>, device: &[u8], at: u64) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let root = write(dir.path(), "root.pem", &to_pem(root).unwrap());
    let device = write(dir.path(), "device.pem", &to_pem(device).unwrap());
    let mut command = openssl(&["verify", "-x509_strict", "-check_ss_sig", "-attime", &at.to_string()]);
    command.arg("-CAfile").arg(root);
    if let Some(ca) = ca {
        command.arg("-untrusted").arg(write(dir.path(), "ca.pem", &to_pem(ca).unwrap()));
    }
    let output = command.arg(device).output().expect("the openssl program is installed");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn a_chain_of_two_verifies_here_and_in_openssl() {
    let maker = Maker::new(1);
    let device = maker.makers().verify(&[&maker.device, &maker.ca], NOW).unwrap();
    assert_eq!((device.key, device.maker.as_str()), (maker.lock, "CN=Example Locks Root"));
    assert_eq!(device.ends, FROM + 20 * YEAR, "the CA ends first");
    assert_eq!(openssl_verify(&maker.root, Some(&maker.ca), &maker.device, NOW), Ok(()));

    // The root at the end of the file is what many tools write.
    assert_eq!(maker.verify(&[&maker.device, &maker.ca, &maker.root], NOW), Ok(maker.lock));
    // Straight under the root, too.
    let mut random = seeded(9);
    let issuer = Issuer::new(&maker.root, &maker.root_key).unwrap();
    let straight = issuer.device(&maker.lock, years(9), &mut random).unwrap();
    assert_eq!(maker.verify(&[&straight], NOW), Ok(maker.lock));
    assert_eq!(openssl_verify(&maker.root, None, &straight, NOW), Ok(()));
}

#[test]
fn the_certificate_reads_as_an_ordinary_one() {
    let maker = Maker::new(2);
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "device.pem", &to_pem(&maker.device).unwrap());
    let text = run(openssl(&["x509", "-noout", "-text", "-in"]).arg(path));
    let id = hex::encode(&maker.lock.thumbprint()[..8]);
    for expected in [
        &format!("Subject: serialNumber = {id}"),
        "Issuer: CN = Example Locks Factory 1",
        "Signature Algorithm: ecdsa-with-SHA256",
        "ASN1 OID: prime256v1",
        "Not After : Dec 31 23:59:59 9999 GMT",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "X509v3 Authority Key Identifier",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn sizes() {
    let sizes: Vec<_> = (0..20)
        .map(|seed| {
            let maker = Maker::new(seed);
            [maker.device.len(), maker.ca.len(), maker.root.len()]
        })
        .collect();
    // An ECDSA signature in DER has 70 to 72 bytes, seldom fewer.
    let largest = |which: usize| sizes.iter().map(|sizes| sizes[which]).max().unwrap();
    assert_eq!([0, 1, 2].map(largest), [361, 400, 376]);
}

#[test]
fn what_is_wrong_with_a_chain_is_refused_here_and_in_openssl() {
    let maker = Maker::new(3);
    let other = Maker::new(4);
    let (device, ca, root) = (&maker.device[..], &maker.ca[..], &maker.root[..]);
    let both = |chain: &[&[u8]], at, expected| {
        assert_eq!(maker.verify(chain, at), Err(expected));
        let theirs = openssl_verify(root, chain.get(1).copied(), chain[0], at);
        assert!(theirs.is_err(), "openssl accepts what we call {expected}");
    };
    // Another maker with the same names: its key identifier and its key are others.
    both(&[&other.device, &other.ca], NOW, Error::UnknownIssuer);
    both(&[&other.device, ca], NOW, Error::UnknownIssuer);
    both(&[device], NOW, Error::UnknownIssuer);
    both(&[device, ca], FROM - 1, Error::NotYetValid);
    both(&[device, ca], FROM + 20 * YEAR + 1, Error::Expired);
    assert_eq!(maker.verify(&[device, ca], FROM + 20 * YEAR), Ok(maker.lock), "the last second counts");
    let mut tampered = device.to_vec();
    let place = tampered.len() - 100; // in the extensions or the signature's algorithm: still the same length
    for place in [place, tampered.len() - 1, 30] {
        let was = tampered[place];
        tampered[place] ^= 1;
        assert!(maker.verify(&[&tampered, ca], NOW).is_err(), "byte {place}");
        assert!(openssl_verify(root, Some(ca), &tampered, NOW).is_err(), "openssl, byte {place}");
        tampered[place] = was;
    }
    // Order and length.
    assert_eq!(maker.verify(&[ca, device], NOW), Err(Error::NotADevice));
    assert_eq!(maker.verify(&[], NOW), Err(Error::Malformed));
    assert_eq!(maker.verify(&[device, ca, ca], NOW), Err(Error::TooLong));
    assert_eq!(Makers::default().verify(&[device, ca], NOW), Err(Error::UnknownIssuer));
    // Of two roots the right one is found.
    let mut makers = other.makers();
    makers.add(&to_pem(root).unwrap()).unwrap();
    assert_eq!(makers.verify(&[device, ca], NOW).unwrap().key, maker.lock);
}

#[test]
fn an_issuer_that_may_not_issue_is_refused_here_and_in_openssl() {
    let maker = Maker::new(5);
    let mut random = seeded(6);
    let root = (&maker.root[..], &maker.root_key);
    let subject = "/CN=Example Locks Factory 1";
    // Made now by openssl, so verified within the hour.
    let today = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 3_600;
    let genuine = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign\n";
    let ca = maker.by_openssl(genuine, subject, root);
    assert_eq!(maker.verify(&[&maker.device, &ca], today), Ok(maker.lock), "the harness makes a good CA");
    for (extensions, expected) in [
        ("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n", Error::NotAnAuthority),
        ("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature\n", Error::NotAnAuthority),
        ("keyUsage=critical,keyCertSign\n", Error::NotAnAuthority),
        ("basicConstraints=critical,CA:TRUE\n", Error::Profile),
        (
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nnameConstraints=critical,permitted;DNS:x\n",
            Error::Profile,
        ),
    ] {
        let ca = maker.by_openssl(extensions, subject, root);
        assert_eq!(maker.verify(&[&maker.device, &ca], today), Err(expected), "{extensions}");
        assert!(Issuer::new(&ca, &maker.ca_key).is_err(), "{extensions}");
        if expected == Error::NotAnAuthority {
            // openssl goes by names as well, so what it refuses is the CA.
            assert!(openssl_verify(&maker.root, Some(&ca), &maker.device, today).is_err(), "{extensions}");
        }
    }
    // pathLenConstraint: a CA of ours allows none below it, a root one.
    let factory = Issuer::new(&maker.ca, &maker.ca_key).unwrap();
    assert_eq!(
        factory.authority(&maker.lock, "Below", years(1), &mut random).map(drop),
        Err(Error::PathTooLong)
    );
    let narrow = maker.by_openssl(genuine, "/CN=Narrow", root);
    let below = maker.by_openssl(genuine, subject, (&narrow, &maker.ca_key));
    let makers = Makers::from_pem(&to_pem(&narrow).unwrap()).unwrap();
    assert_eq!(makers.verify(&[&maker.device, &below], today), Err(Error::PathTooLong));
}

#[test]
fn a_device_must_be_one_and_bear_its_own_name() {
    let maker = Maker::new(8);
    let today = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 3_600;
    let ca = (&maker.ca[..], &maker.ca_key);
    // openssl certifies the factory's own key here; only the name has to fit it.
    let id = hex::encode(&maker.ca_key.public().thumbprint()[..8]);
    let subject = format!("/serialNumber={id}");
    let usage = "keyUsage=critical,digitalSignature\n";
    let made = |extensions: &str, subject: &str| maker.by_openssl(extensions, subject, ca);
    let verify = |device: &[u8]| maker.verify(&[device, &maker.ca], today);
    assert_eq!(verify(&made(usage, &subject)), Ok(maker.ca_key.public()));
    for (extensions, subject, expected) in [
        ("keyUsage=critical,keyAgreement\n", subject.as_str(), Error::NotADevice),
        ("keyUsage=critical,digitalSignature,keyCertSign\n", &subject, Error::NotADevice),
        ("basicConstraints=CA:TRUE\nkeyUsage=critical,digitalSignature\n", &subject, Error::NotADevice),
        ("basicConstraints=CA:FALSE\n", &subject, Error::Profile),
        (usage, "/CN=lock", Error::WrongName),
        (usage, "/serialNumber=0123456789abcdef", Error::WrongName),
        (usage, &format!("{subject}/serialNumber={id}"), Error::WrongName),
    ] {
        assert_eq!(verify(&made(extensions, subject)), Err(expected), "{extensions}{subject}");
    }
}

#[test]
fn another_curve_or_algorithm_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1", "-sha256"][..], Error::UnsupportedKey),
        (&["-newkey", "rsa:2048", "-sha256"], Error::UnsupportedSignature),
        (
            &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-sha384"],
            Error::UnsupportedSignature,
        ),
    ] {
        let key = dir.path().join("key.pem");
        let self_signed =
            run(openssl(&["req", "-x509", "-nodes", "-days", "9", "-subj", "/CN=x", "-keyout"])
                .arg(&key)
                .args(arguments));
        assert_eq!(Makers::from_pem(&self_signed).map(drop), Err(expected), "{arguments:?}");
        let request =
            run(openssl(&["req", "-new", "-nodes", "-subj", "/CN=x", "-keyout"]).arg(&key).args(arguments));
        assert_eq!(request_key(request.as_bytes()), Err(expected), "{arguments:?}");
    }
}

#[test]
fn a_request_proves_that_its_key_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let signer = SoftSigner::generate(&mut seeded(11)).unwrap();
    let pem = private_key_to_pem(&signer).unwrap();
    assert_eq!(private_key_from_pem(&pem).unwrap().public(), signer.public());
    let key = write(dir.path(), "lock.key", &pem);
    let request = run(openssl(&["req", "-new", "-subj", "/CN=whatever", "-key"]).arg(key));
    assert_eq!(request_key(request.as_bytes()), Ok(signer.public()));
    let der = dir.path().join("request.der");
    let path = write(dir.path(), "request.pem", &request);
    run(openssl(&["req", "-outform", "DER", "-in"]).arg(path).arg("-out").arg(&der));
    let mut der = std::fs::read(der).unwrap();
    assert_eq!(request_key(&der), Ok(signer.public()));
    let last = der.len() - 1;
    der[last] ^= 1;
    assert_eq!(request_key(&der), Err(Error::BadSignature));
    assert_eq!(request_key(&der[..last]), Err(Error::Malformed));
}

#[test]
fn no_bytes_panic_and_no_single_flip_passes() {
    let maker = Maker::new(12);
    let makers = maker.makers();
    for place in 0..maker.device.len() {
        let mut bytes = maker.device.clone();
        bytes[place] ^= 0x41;
        assert!(makers.verify(&[&bytes, &maker.ca], NOW).is_err(), "byte {place}");
        assert!(makers.verify(&[&maker.device[..place], &maker.ca], NOW).is_err(), "cut at {place}");
    }
    for place in 0..maker.ca.len() {
        let mut bytes = maker.ca.clone();
        bytes[place] ^= 0x41;
        assert!(makers.verify(&[&maker.device, &bytes], NOW).is_err(), "byte {place}");
    }
    for text in
        ["", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"]
    {
        assert_eq!(from_pem(text), Err(Error::Malformed), "{text}");
    }
    assert_eq!(from_pem(&" ".repeat(20_000)), Err(Error::TooLong));
}

#[test]
fn names_and_times_that_cannot_be_written_are_refused() {
    let mut maker = Maker::new(13);
    for name in ["", " x", "x ", "a,CN=b", "a+b", "a\\b", "x=\"y\"", "#00", &"x".repeat(65), "a\nb"] {
        let made = make_root(&maker.root_key, name, years(1), &mut maker.random);
        assert_eq!(made.map(drop), Err(Error::BadName), "{name:?}");
    }
    for (from, until) in [(5, Some(5)), (5, Some(4)), (0, Some(u64::MAX)), (u64::MAX, None)] {
        let made = make_root(&maker.root_key, "x", Validity { from, until }, &mut maker.random);
        assert_eq!(made.map(drop), Err(Error::BadValidity), "{from} {until:?}");
    }
    assert!(make_root(&maker.root_key, "锁 工厂 1", years(1), &mut maker.random).is_ok());
    assert_eq!(Issuer::new(&maker.root, &maker.ca_key).map(drop), Err(Error::WrongIssuerKey));
    assert_eq!(Issuer::new(&maker.device, &maker.ca_key).map(drop), Err(Error::NotAnAuthority));
}
