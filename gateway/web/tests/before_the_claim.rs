//! What hostile.rs shows of a claimed gateway, of one that nobody has claimed: a stranger gets no further there.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::Site;

#[tokio::test]
async fn paths_headers_and_forms_of_other_sites_lead_nowhere() {
    let site = Site::open().await;
    let mut stranger = site.browser();
    for path in [
        "/assets/../../etc/passwd",
        "/assets/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/locks/..%2f..%2fx",
        "/locks/%00",
        "//evil.example",
        "/claim/../locks",
        "/pair/%f0%9f%94%92",
    ] {
        let answer = stranger.get(path).await;
        assert!(matches!(answer.status, 400 | 403 | 404), "{path}: {}", answer.status);
        assert!(!answer.body.contains("root:") && !answer.body.contains("gw-test"), "{path}");
    }
    for back in ["/%0d%0aSet-Cookie:+x=1", "//evil.example", "https://evil.example", "javascript:1"] {
        let answer = stranger.post("/language", &format!("tag=zh-CN&back={back}")).await;
        assert_eq!(answer.header("location"), Some("/"), "{back}");
        assert_eq!(answer.head.to_lowercase().matches("set-cookie").count(), 1);
    }
    let code = site.web.claim_code().await.unwrap();
    site.web.confirm_claim().unwrap();
    let form = format!("code={code}&password=vier+alte+Nussbaeume&again=vier+alte+Nussbaeume");
    for headers in
        ["", "Origin: https://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"]
    {
        assert_eq!(stranger.post_with("/claim", &form, headers).await.status, 403, "{headers}");
    }
    assert!(!*site.web.claimed().borrow(), "no other site claims it");
}

#[tokio::test]
async fn a_cookie_that_a_browser_brings_to_the_claim_is_not_the_owners_afterwards() {
    let site = Site::open().await;
    let planted = format!("__Host-cardea={}", "cd".repeat(32));
    let code = site.web.claim_code().await.unwrap();
    site.web.confirm_claim().unwrap();
    let mut victim = site.browser();
    victim.cookie.clone_from(&planted);
    let form = format!("code={code}&password=vier+alte+Nussbaeume&again=vier+alte+Nussbaeume");
    assert_eq!(victim.post("/claim", &form).await.status, 303);
    assert_ne!(victim.cookie, planted);
    let mut attacker = site.browser();
    attacker.cookie = planted;
    assert_eq!(attacker.get("/").await.header("location"), Some("/sign-in"));
}

#[tokio::test]
async fn large_and_slow_bodies_are_turned_away() {
    let site = Site::open().await;
    let mut stranger = site.browser();
    assert_eq!(stranger.post("/claim", &format!("code={}", "x".repeat(8 * 1024))).await.status, 413);
    let begun = Instant::now();
    let slow = format!(
        "POST /claim HTTP/1.1\r\nHost: {0}\r\nOrigin: https://{0}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ncode=",
        stranger.host
    );
    assert_eq!(stranger.raw(slow.as_bytes()).await.status, 408);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn only_the_page_that_reads_labels_may_ask_for_the_camera_and_no_form_sends_a_picture() {
    let (_site, mut owner) = Site::claimed().await;
    for path in ["/", "/locks", "/security", "/about", "/pair/00112233445566ff", "/pair/", "/assets/x"] {
        let answer = owner.get(path).await;
        assert!(answer.header("permissions-policy").unwrap().contains("camera=()"), "{path}");
    }
    let page = owner.get("/pair").await;
    let policy = page.header("permissions-policy").unwrap();
    assert!(policy.contains("camera=(self)") && policy.contains("microphone=()"), "{policy}");
    let picture = page.body.split('<').find(|tag| tag.contains("type=\"file\"")).unwrap();
    assert!(!picture.contains(" name="), "{picture}");
    let outside = page
        .body
        .split("<form")
        .filter(|form| form.contains("action=\"/pair\""))
        .all(|form| !form.split("</form>").next().unwrap().contains("type=\"file\""));
    assert!(outside, "the picture stands in no form");
}
