//! Another password: by the owner, and by who is at the gateway because the owner forgot it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use cardea_web::ClaimError;
use common::{Browser, PASSWORD, Site};

const OTHER: &str = "acht junge Ahorne im Hof";

fn form(password: &str) -> String {
    let password = password.replace(' ', "+");
    format!("password={password}&again={password}")
}

async fn signs_in(site: &Site, password: &str) -> bool {
    let mut browser = site.browser();
    browser.post("/sign-in", &format!("password={}", password.replace(' ', "+"))).await.status == 303
}

async fn is_signed_in(browser: &mut Browser) -> bool {
    browser.get("/").await.status == 200
}

#[tokio::test]
async fn a_new_password_is_the_only_one_and_signs_all_others_out() {
    let (site, mut owner) = Site::claimed().await;
    let mut phone = site.browser();
    phone.post("/sign-in", &format!("password={}", PASSWORD.replace(' ', "+"))).await;
    assert!(is_signed_in(&mut phone).await);
    for (new, words) in [(form("short"), "fewer than 12"), (form("password1234"), "everybody takes")] {
        let answer = owner.submit("/security/password", "/security/password", &new).await;
        assert!(answer.status == 422 && answer.body.contains(words), "{}", answer.body);
    }
    let differ = format!("password={}&again=x", OTHER.replace(' ', "+"));
    assert_eq!(owner.submit("/security/password", "/security/password", &differ).await.status, 422);
    let answer = owner.submit("/security/password", "/security/password", &form(OTHER)).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/security")));
    assert!(is_signed_in(&mut owner).await && !is_signed_in(&mut phone).await);
    assert!(signs_in(&site, OTHER).await && !signs_in(&site, PASSWORD).await);
    let page = owner.get("/security").await.body;
    assert!(page.contains("A new password was set") && page.contains("The gateway was claimed"));
}

#[tokio::test]
async fn who_is_not_signed_in_changes_no_password() {
    let (site, _) = Site::claimed().await;
    let mut stranger = site.browser();
    assert_eq!(stranger.get("/security/password").await.header("location"), Some("/sign-in"));
    assert_eq!(stranger.post("/security/password", &form(OTHER)).await.status, 403);
    assert!(signs_in(&site, PASSWORD).await);
}

#[tokio::test]
async fn a_forgotten_password_is_set_anew_by_who_is_at_the_gateway_once_and_that_is_never_forgotten() {
    let (site, mut owner) = Site::claimed().await;
    let mut helper = site.browser();
    let closed = helper.post("/recover", &format!("code=0000-0000-0000-0000&{}", form(OTHER))).await;
    assert!(closed.status == 422 && closed.body.contains("cardea recover"), "{}", closed.body);
    let code = site.web.recover().await.unwrap();
    let answer = helper.post("/recover", &format!("code={code}&{}", form(OTHER))).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/security")), "{}", answer.body);
    assert!(!is_signed_in(&mut owner).await && is_signed_in(&mut helper).await);
    assert!(signs_in(&site, OTHER).await && !signs_in(&site, PASSWORD).await);
    assert!(helper.get("/security").await.body.contains("set anew with a code from the gateway"));
    let mut again = site.browser();
    let answer = again.post("/recover", &format!("code={code}&{}", form(PASSWORD))).await;
    assert_eq!(answer.status, 422, "a code is good for once");
}

#[tokio::test]
async fn five_wrong_recovery_codes_close_the_way_and_the_right_one_does_not_open_it() {
    let (site, mut owner) = Site::claimed().await;
    let code = site.web.recover().await.unwrap();
    let mut guesser = site.browser();
    for n in 0..5 {
        let answer = guesser.post("/recover", &format!("code=0000-0000-0000-000{n}&{}", form(OTHER))).await;
        assert!(answer.status == 422 && answer.body.contains("not the recovery code"), "{n}");
    }
    assert_eq!(guesser.post("/recover", &format!("code={code}&{}", form(OTHER))).await.status, 422);
    assert!(signs_in(&site, PASSWORD).await && is_signed_in(&mut owner).await);
}

#[tokio::test]
async fn before_the_claim_there_is_nothing_to_recover() {
    let site = Site::open().await;
    assert_eq!(site.web.recover().await, Err(ClaimError::Unclaimed));
    assert!(!*site.web.claimed().borrow());
    assert_eq!(site.browser().post("/recover", &form(OTHER)).await.status, 403);
    let (site, _) = Site::claimed().await;
    assert!(*site.web.claimed().borrow());
}

#[tokio::test]
async fn a_certificate_of_the_owners_is_put_in_without_a_restart_and_taken_back() {
    let (site, mut owner) = Site::claimed().await;
    let own = site.web.fingerprint();
    let key = rcgen::KeyPair::generate().unwrap();
    let made = |name: &str| {
        rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap().pem()
    };
    let encoded = |pem: &str| pem.replace('+', "%2B").replace('\n', "%0D%0A").replace(' ', "+");
    let form = |chain: &str| format!("chain={}&key={}", encoded(chain), encoded(&key.serialize_pem()));
    let path = "/security/certificate";
    let answer = owner.submit(path, path, &form(&made("evil.example"))).await;
    assert!(answer.status == 422 && answer.body.contains("for other names"), "{}", answer.body);
    assert!(!answer.body.contains("PRIVATE KEY-----\n"), "a key is not sent back");
    assert_eq!(site.web.fingerprint(), own);
    let answer = owner.submit(path, path, &form(&made("gateway.local"))).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/security")), "{}", answer.body);
    assert_ne!(site.web.fingerprint(), own);
    let page = owner.get("/security").await.body;
    assert!(page.contains(&site.web.fingerprint()) && page.contains("A certificate of the owner"), "{page}");
    assert_eq!(common::shown(site.https).await, site.web.fingerprint(), "what a browser is shown");
    assert_eq!(owner.submit(path, "/security/certificate/own", "").await.status, 303);
    assert_eq!((common::shown(site.https).await, site.web.fingerprint()), (own.clone(), own));
}
