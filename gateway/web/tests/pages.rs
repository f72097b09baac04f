//! What the owner sees and does.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod common;

use std::time::{Duration, Instant};

use cardea_framing::LockId;
use cardea_radio::label;
use common::{LABEL, Site, a_lock, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LOCK: LockId = LockId([0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0xff]);
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";

#[tokio::test]
async fn what_radios_and_brokers_say_is_text_on_every_page_and_in_every_event() {
    let (site, mut owner) = Site::claimed().await;
    {
        let mut status = site.gateway.status.lock().unwrap();
        status.broker.detail = HOSTILE.into();
        status.broker.connected = false;
        status.broker.url = HOSTILE.into();
        let radio = status.radios["loopback"].clone();
        status
            .radios
            .insert(HOSTILE.into(), cardea_api::Radio { up: false, detail: HOSTILE.into(), ..radio });
        let mut lock = a_lock(LOCK);
        lock.radio = HOSTILE.into();
        site.gateway.locks.lock().unwrap().push(lock);
    }
    let hostile = |body: &str| body.contains("<script>alert") || body.contains("<img src=x");
    for path in ["/", "/locks", &format!("/locks/{LOCK}"), "/locks?q=%3Cscript%3Ealert(1)%3C/script%3E"] {
        let page = owner.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert!(!hostile(&page.body), "{path}: {}", page.body);
        assert!(page.body.contains("&lt;script&gt;"), "{path} shows it as text");
    }
    let refused = owner.submit("/pair", "/pair", "label=%3Cscript%3Ealert(1)%3C/script%3E").await;
    assert!(refused.status == 422 && !hostile(&refused.body));

    for path in ["/live/overview", "/live/locks", &format!("/live/locks/{LOCK}")] {
        let event = first_event(&owner, path).await;
        assert!(event.contains("&lt;script&gt;") && !hostile(&event), "{path}: {event}");
    }
}

/// What a live page is told first.
async fn first_event(browser: &common::Browser, path: &str) -> String {
    let mut stream = connect(browser.site).await;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n", browser.host, browser.cookie);
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, "\n\n").await
}

async fn read_until(stream: &mut (impl tokio::io::AsyncRead + Unpin), end: &str) -> String {
    let mut text = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut buffer = [0; 4096];
    while Instant::now() < deadline {
        let read =
            tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.unwrap().unwrap();
        text.extend_from_slice(&buffer[..read]);
        let so_far = String::from_utf8_lossy(&text);
        if so_far.contains(end) || read == 0 {
            return so_far.into_owned();
        }
    }
    panic!("no {end:?} in {}", String::from_utf8_lossy(&text));
}

#[tokio::test]
async fn a_lock_is_paired_watched_and_removed() {
    let (site, mut owner) = Site::claimed().await;
    let form = format!("label={}", label::checked(LABEL).as_str());
    let answer = owner.submit("/pair", "/pair", &form).await;
    assert_eq!(answer.header("location"), Some("/pair/00112233445566ff"));
    let page = owner.get("/pair/00112233445566ff").await;
    assert!(
        page.body.contains("Wake the lock") && page.body.contains("3:5"),
        "a countdown from four minutes"
    );

    let mut stream = connect(site.https).await;
    let request =
        format!("GET /live/pair/{LOCK} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n", owner.host, owner.cookie);
    stream.write_all(request.as_bytes()).await.unwrap();
    let first = read_until(&mut stream, "\n\n").await;
    assert!(first.contains("text/event-stream") && first.contains("Wake the lock"));
    site.gateway.locks.lock().unwrap()[0].joined = true;
    read_until(&mut stream, "Touch the lock").await;
    site.gateway.locks.lock().unwrap()[0].heard = Some(u64::MAX / 2);
    read_until(&mut stream, "The lock is paired").await;

    assert_eq!(
        owner.submit("/pair", "/locks/00112233445566ff/remove", "").await.header("location"),
        Some("/locks")
    );
    assert!(site.gateway.locks.lock().unwrap().is_empty());
    read_until(&mut stream, "no such lock").await;
    assert_eq!(owner.get("/locks/00112233445566ff").await.status, 404);
}

#[tokio::test]
async fn the_platforms_word_on_an_activation_is_shown_in_words_with_what_to_do() {
    use cardea_api::{Activation, ActivationOutcome};
    let (site, mut owner) = Site::claimed().await;
    let form = format!("label={}", label::checked(LABEL).as_str());
    owner.submit("/pair", "/pair", &form).await;
    let path = "/pair/00112233445566ff";
    {
        let mut locks = site.gateway.locks.lock().unwrap();
        (locks[0].joined, locks[0].heard) = (true, Some(u64::MAX / 2));
        // From before this pairing: not shown.
        locks[0].activation = Some(Activation { outcome: ActivationOutcome::Owned, at: 1, heard: 1 });
    }
    let page = owner.get(path).await.body;
    assert!(page.contains("The lock is paired") && !page.contains("belongs to somebody"));
    assert!(!page.contains("Its owner activates it"), "no step that nobody here could believe");
    site.gateway.status.lock().unwrap().platform_keys = 1;
    assert!(owner.get(path).await.body.contains("Enter the owner code at your platform"));
    for (outcome, words) in [
        (ActivationOutcome::WrongCode, "Compare what was entered at the platform"),
        (ActivationOutcome::Owned, "has to let it go at their platform"),
        (ActivationOutcome::Activated, "have proved the owner code to each other"),
    ] {
        site.gateway.locks.lock().unwrap()[0].activation =
            Some(Activation { outcome, at: 1, heard: u64::MAX / 2 });
        let page = owner.get(path).await.body;
        assert!(page.contains(words) && page.contains("Signed by the platform"), "{outcome:?}");
    }
    assert!(owner.get("/locks/00112233445566ff").await.body.contains("The lock is activated"));
}

#[tokio::test]
async fn stopping_takes_back_what_was_just_let_in_and_nothing_else() {
    let (site, mut owner) = Site::claimed().await;
    let form = format!("label={}", label::checked(LABEL).as_str());
    // It is known from before: another pairing that is stopped leaves it.
    site.gateway.locks.lock().unwrap().push(a_lock(LOCK));
    owner.submit("/pair", "/pair", &form).await;
    owner.submit("/pair", "/pair/00112233445566ff/cancel", "").await;
    assert_eq!(site.gateway.locks.lock().unwrap().len(), 1);
    // One that was never paired by this page.
    owner.submit("/pair", "/locks/00112233445566ff/remove", "").await;
    site.gateway.locks.lock().unwrap().push(a_lock(LOCK));
    owner.submit("/pair", "/pair/00112233445566ff/cancel", "").await;
    assert_eq!(site.gateway.locks.lock().unwrap().len(), 1);
    // A new one that has joined stays; one that has not goes.
    owner.submit("/pair", "/locks/00112233445566ff/remove", "").await;
    owner.submit("/pair", "/pair", &form).await;
    site.gateway.locks.lock().unwrap()[0].joined = true;
    owner.submit("/pair", "/pair/00112233445566ff/cancel", "").await;
    assert_eq!(site.gateway.locks.lock().unwrap().len(), 1);
    site.gateway.locks.lock().unwrap()[0].joined = false;
    owner.submit("/pair", "/pair/00112233445566ff/cancel", "").await;
    assert!(site.gateway.locks.lock().unwrap().is_empty());
}

#[tokio::test]
async fn labels_of_other_schemes_are_taken_with_what_they_do_not_say() {
    let (site, mut owner) = Site::claimed().await;
    let zigbee = "label=Z:000D6F000A890B1B%24I:83FED3407A939723A5C639B26916D505C3B5";
    let lorawan = "label=LW:D0:70B3D57ED0000001:0004A30B001C0530:12345678";
    let (lock, key) = ("lock=00112233445566ff", "app_key=2b7e151628aed2a6abf7158809cf4f3c&class=c");
    for (form, words) in [
        (zigbee.to_owned(), "which lock it is"),
        (format!("{lorawan}&{lock}"), "holds no key"),
        (format!("{lorawan}&{lock}&app_key=zz"), "holds no key"),
        (format!("label={LABEL}/0000"), "mistyped"),
        ("label=hello".into(), "no radio label"),
    ] {
        let answer = owner.submit("/pair", "/pair", &form).await;
        assert!(answer.status == 422 && answer.body.contains(words), "{form}: {}", answer.body);
    }
    assert!(site.gateway.locks.lock().unwrap().is_empty());
    for form in [format!("{zigbee}&{lock}"), format!("{lorawan}&{lock}&{key}")] {
        let answer = owner.submit("/pair", "/pair", &form).await;
        assert_eq!(answer.header("location"), Some("/pair/00112233445566ff"), "{form}: {}", answer.body);
    }
    // What lets a lock in is nowhere once it is in.
    for path in ["/", "/locks", "/locks/00112233445566ff", "/pair/00112233445566ff", "/pair"] {
        let body = owner.get(path).await.body.to_lowercase();
        assert!(!body.contains("2b7e1516") && !body.contains("83fed340"), "{path}");
    }
}

#[tokio::test]
async fn the_page_speaks_both_languages_and_the_choice_stays() {
    let site = Site::open().await;
    let browser = site.browser();
    let ask = |more: &str| {
        format!("GET /claim HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{more}\r\n", browser.host)
    };
    let chinese = browser.raw(ask("Accept-Language: zh-CN,zh;q=0.9\r\n").as_bytes()).await;
    assert!(chinese.body.contains("<html lang=\"zh-CN\">") && chinese.body.contains("认领此网关"));
    let chosen = ask("Accept-Language: zh-CN\r\nCookie: __Host-language=en\r\n");
    assert!(browser.raw(chosen.as_bytes()).await.body.contains("Claim this gateway"));
}

#[tokio::test]
async fn assets_are_compressed_and_kept_for_ever_and_a_page_is_light() {
    let (site, mut owner) = Site::claimed().await;
    for n in 0..1000_u16 {
        let [high, low] = n.to_be_bytes();
        site.gateway.locks.lock().unwrap().push(a_lock(LockId([1, 2, 3, 4, 5, 6, high, low])));
    }
    let page = owner.get("/locks").await;
    let mut weight = page.body.len();
    assert!(page.body.contains("and 800 more"));
    for path in page.body.split('"').filter(|part| part.starts_with("/assets/")) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept-Encoding: gzip, br\r\nConnection: close\r\n\r\n",
            owner.host
        );
        let answer = owner.raw(request.as_bytes()).await;
        assert_eq!(answer.header("content-encoding"), Some("br"), "{path}");
        assert!(answer.header("cache-control").unwrap().contains("immutable"));
        weight += answer.header("content-length").unwrap().parse::<usize>().unwrap();
    }
    assert!(weight <= 60 * 1024, "{weight} bytes");

    let begun = Instant::now();
    owner.get("/locks?q=0102030405060001").await;
    println!("a page of 1,000 locks, TLS handshake and debug build included: {:?}", begun.elapsed());
}
