//! The gateway's own authority, passkeys and factory reset, as a browser asks for them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cardea_api::{Request, ResetBy};
use common::{Browser, PASSWORD, Site, shown};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use sha2::{Digest as _, Sha256};

const AUTHORITY: &str = "/security/authority";
const PASSKEYS: &str = "/security/passkeys";
const RESET: &str = "/system/reset";

async fn prove(browser: &mut Browser) {
    let form = format!("password={}", PASSWORD.replace(' ', "+"));
    assert_eq!(browser.submit("/prove", "/prove", &form).await.status, 303);
}

#[tokio::test]
async fn an_authority_is_made_shown_downloaded_and_forgotten_by_the_owner_alone() {
    let (site, mut owner) = Site::claimed().await;
    let own = shown(site.https).await;
    assert_eq!(owner.get("/security/authority/cardea-authority.crt").await.status, 404, "there is none yet");
    assert_eq!(owner.submit(AUTHORITY, AUTHORITY, "").await.header("location"), Some(AUTHORITY));
    let page = owner.get(AUTHORITY).await.body;
    assert!(page.contains("gateway.local") && page.contains("Download the authority"), "{page}");
    assert!(!page.contains(">localhost"), "nobody vouches for the visitor's own machine");
    let vouched = shown(site.https).await;
    assert!(vouched != own && vouched == site.web.fingerprint());

    let certificate = owner.get("/security/authority/cardea-authority.crt").await;
    assert_eq!(certificate.header("content-type"), Some("application/x-x509-ca-cert"));
    assert!(certificate.header("content-disposition").unwrap().contains("attachment"));
    assert!(!certificate.body.contains("PRIVATE"));
    // Nobody else gets it, and nobody makes another one.
    let mut stranger = site.browser();
    let path = "/security/authority/cardea-authority.crt";
    assert_eq!(stranger.get(path).await.header("location"), Some("/sign-in"));
    assert_eq!(stranger.post(AUTHORITY, "").await.status, 403);
    assert_eq!(owner.post(AUTHORITY, "token=x").await.status, 403);
    assert_eq!(shown(site.https).await, vouched);

    assert_eq!(owner.submit(AUTHORITY, "/security/authority/forget", "").await.status, 303);
    assert_eq!(shown(site.https).await, own);
    let history = owner.get("/security").await.body;
    assert!(history.contains("An authority of the gateway") && history.contains("authority was forgotten"));
}

#[tokio::test]
async fn a_factory_reset_needs_the_gateways_name_typed_and_says_what_goes_and_what_stays() {
    let (site, mut owner) = Site::claimed().await;
    let page = owner.get(RESET).await.body;
    for words in ["every lock must be paired again", "/etc/cardea", "flash memory", "dongle remembers"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let asked = || site.gateway.operate.reset.lock().unwrap().clone();
    for wrong in ["", "gateway=", "gateway=GW-TEST", "gateway=gw-other"] {
        let answer = owner.submit(RESET, RESET, wrong).await;
        assert!(answer.status == 422 && answer.body.contains("Nothing was done"), "{wrong}: {}", answer.body);
    }
    let mut stranger = site.browser();
    assert_eq!(stranger.post(RESET, "gateway=gw-test").await.status, 403);
    assert_eq!(owner.post(RESET, "gateway=gw-test").await.status, 403, "without the form's token");
    assert!(asked().is_none());
    let answer = owner.submit(RESET, RESET, "gateway=gw-test").await;
    assert!(answer.status == 200 && answer.body.contains("claim-code"), "{}", answer.body);
    let wanted = Request::FactoryReset { gateway: "gw-test".into(), by: ResetBy::Page };
    assert!(asked() == Some(wanted));
}

/// An authenticator with one passkey.
struct Device {
    key: KeyPair,
    host: String,
    counter: u32,
}

impl Device {
    fn client(&self, kind: &str, challenge: &str) -> Vec<u8> {
        let host = &self.host;
        format!("{{\"type\":\"{kind}\",\"challenge\":\"{challenge}\",\"origin\":\"https://{host}\",\"crossOrigin\":false}}")
            .into_bytes()
    }

    fn head(&self, flags: u8) -> Vec<u8> {
        let name = self.host.split(':').next().unwrap();
        [&Sha256::digest(name)[..], &[flags], &self.counter.to_be_bytes()].concat()
    }

    fn made(&self, challenge: &str) -> String {
        let point = self.key.der_bytes();
        let key = [
            &[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 0x20][..],
            &point[1..33],
            &[0x22, 0x58, 0x20],
            &point[33..],
        ];
        let device = [self.head(0x45), vec![0; 16], vec![0, 2, 7, 7], key.concat()].concat();
        let code = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        format!("client={}&device={}", code(&self.client("webauthn.create", challenge)), code(&device))
    }

    fn used(&mut self, challenge: &str) -> String {
        self.counter += 1;
        let (client, device) = (self.client("webauthn.get", challenge), self.head(0x05));
        let signature = self.key.sign(&[&device[..], &Sha256::digest(&client)].concat()).unwrap();
        let code = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (client, device, signature) = (code(&client), code(&device), code(&signature));
        format!("id={}&client={client}&device={device}&signature={signature}", code(&[7, 7]))
    }
}

fn challenge(page: &str) -> String {
    page.split("data-challenge=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or_default()
        .to_owned()
}

/// A claimed gateway whose certificate somebody vouches for, and a device whose passkey it has.
async fn with_passkey() -> (Site, Browser, Device) {
    let (site, mut owner) = Site::claimed().await;
    let page = owner.get(PASSKEYS).await.body;
    assert!(challenge(&page).is_empty() && page.contains("only where they trust the certificate"), "{page}");
    owner.submit(AUTHORITY, AUTHORITY, "").await;
    let device = Device { key: KeyPair::generate().unwrap(), host: owner.host.clone(), counter: 0 };
    let page = owner.get(PASSKEYS).await.body;
    let form = format!("name=%3Cscript%3Ephone&{}", device.made(&challenge(&page)));
    let answer = owner.submit(PASSKEYS, PASSKEYS, &form).await;
    assert_eq!(answer.header("location"), Some(PASSKEYS), "{}", answer.body);
    (site, owner, device)
}

#[tokio::test]
async fn a_passkey_signs_in_and_proves_and_is_listed_and_removed_and_the_password_stays() {
    let (site, mut owner, mut device) = with_passkey().await;
    let page = owner.get(PASSKEYS).await.body;
    assert!(page.contains("&lt;script&gt;phone") && page.contains("never used"), "{page}");

    let mut phone = site.browser();
    let offered = challenge(&phone.get("/sign-in").await.body);
    let form = device.used(&offered);
    let answer = phone.post("/sign-in/passkey", &form).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")), "{}", answer.body);
    assert_eq!(phone.get("/").await.status, 200);
    // Whoever heard it says it again.
    let mut thief = site.browser();
    assert_eq!(thief.post("/sign-in/passkey", &form).await.status, 422);
    assert!(thief.get("/").await.status == 303 && thief.cookie.is_empty());
    // A challenge for signing in proves nothing; one for proving does.
    let token = phone.get("/prove?for=pair").await;
    let wrong = device.used(&challenge(&thief.get("/sign-in").await.body));
    let refused = phone.post("/prove/passkey", &format!("token={}&for=pair&{wrong}", token.token())).await;
    assert_eq!(refused.status, 422);
    let right = device.used(&challenge(&token.body));
    let proved = phone.post("/prove/passkey", &format!("token={}&for=pair&{right}", token.token())).await;
    assert_eq!(proved.header("location"), Some("/pair"), "{}", proved.body);

    // One that is removed is none, and the password is there as before.
    let page = owner.get(PASSKEYS).await.body;
    let mark = page.split("name=\"passkey\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let form = format!("passkey={mark}");
    assert_eq!(owner.submit(PASSKEYS, "/security/passkeys/remove", &form).await.status, 303);
    assert!(!site.browser().get("/sign-in").await.body.contains("data-passkey"), "none is offered");
    let form = device.used(&offered);
    assert_eq!(site.browser().post("/sign-in/passkey", &form).await.status, 422);
    prove(&mut owner).await;
}

#[tokio::test]
async fn a_copied_or_foreign_passkey_is_refused_and_costs_what_a_wrong_password_costs() {
    let (site, _owner, mut device) = with_passkey().await;
    let mut phone = site.browser();
    let offered = challenge(&phone.get("/sign-in").await.body);
    assert_eq!(phone.post("/sign-in/passkey", &device.used(&offered)).await.status, 303);
    // A copy whose counter stands where the original's was.
    let mut copy = Device { counter: 0, ..device };
    let mut thief = site.browser();
    let offered = challenge(&thief.get("/sign-in").await.body);
    assert_eq!(thief.post("/sign-in/passkey", &copy.used(&offered)).await.status, 422);
    let mut other = Device { key: KeyPair::generate().unwrap(), counter: 100, host: copy.host.clone() };
    for _ in 0..4 {
        let offered = challenge(&thief.get("/sign-in").await.body);
        assert_eq!(thief.post("/sign-in/passkey", &other.used(&offered)).await.status, 422);
    }
    copy.counter = 200;
    let offered = challenge(&thief.get("/sign-in").await.body);
    let answer = thief.post("/sign-in/passkey", &copy.used(&offered)).await;
    assert_eq!(answer.status, 429, "five wrong ones: this address waits, for passkeys as for passwords");
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_recovery_at_the_gateway_forgets_passkeys_and_a_passkey_survives_a_new_password() {
    let (site, mut owner, _device) = with_passkey().await;
    let new = "acht+junge+Ahorne+im+Hof";
    let form = format!("password={new}&again={new}");
    assert_eq!(owner.submit("/security/password", "/security/password", &form).await.status, 303);
    assert!(site.browser().get("/sign-in").await.body.contains("data-passkey=\"use\""));
    let code = site.web.recover().await.unwrap();
    let mut helper = site.browser();
    assert_eq!(helper.post("/recover", &format!("code={code}&{form}")).await.status, 303);
    assert!(!site.browser().get("/sign-in").await.body.contains("data-passkey"));
}

#[tokio::test]
async fn no_passkey_is_offered_by_an_address_or_behind_a_certificate_that_nobody_vouches_for() {
    let (site, mut owner, _device) = with_passkey().await;
    let mut by_address = site.browser();
    by_address.host = site.https.to_string();
    assert!(!by_address.get("/sign-in").await.body.contains("data-passkey"));
    owner.submit(AUTHORITY, "/security/authority/forget", "").await;
    assert!(!site.browser().get("/sign-in").await.body.contains("data-passkey"));
}
