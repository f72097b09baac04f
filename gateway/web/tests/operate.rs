//! The pages for operators: radios and their backups, the broker, the log, the map, one lock's past, the machine.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

mod common;

use std::time::{Duration, Instant};

use cardea_api::{BrokerCause, BrokerStep, BrokerTest, LogLevel, Radio};
use cardea_framing::LockId;
use common::operate::{PASSPHRASE, PLAIN, failing, kept, line, until};
use common::{Browser, Site, a_lock};

const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
const PAGES: [&str; 11] = [
    "/",
    "/radios",
    "/radios/zigbee",
    "/broker",
    "/broker/test",
    "/map",
    "/log",
    "/diagnosis",
    "/system",
    "/licences",
    "/locks/0102030405060000",
];

/// A gateway with a Zigbee radio and this many locks on it.
async fn site(locks: u16) -> (Site, Browser) {
    let (site, owner) = Site::claimed().await;
    let radio = Radio { up: true, detail: String::new(), restarts: 0, backup: None };
    let zigbee = Radio { backup: Some(kept()), ..radio.clone() };
    site.gateway.status.lock().unwrap().radios.insert("zigbee".into(), zigbee);
    site.gateway.status.lock().unwrap().radios.insert("lora".into(), radio);
    let mut all = site.gateway.locks.lock().unwrap();
    for n in 0..locks {
        let [high, low] = n.to_be_bytes();
        let mut lock = a_lock(LockId([1, 2, 3, 4, 5, 6, high, low]));
        lock.radio = "zigbee".into();
        lock.joined = true;
        lock.heard = Some(1_800_000_000_000);
        lock.rssi = Some(-40 - i16::try_from(n % 60).unwrap());
        all.push(lock);
    }
    drop(all);
    (site, owner)
}

#[tokio::test]
async fn the_map_draws_locks_behind_their_router_and_says_how_old_that_is() {
    let (_site, mut owner) = site(3).await;
    let page = owner.get("/map").await.body;
    assert_eq!(page.matches("class=\"router\"").count(), 1, "{page}");
    for words in ["asked for their neighbours 10 minutes ago", "02cadea3000000f1, LQI 140, 10 minutes ago"] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[tokio::test]
async fn radios_are_called_what_people_call_them() {
    let (site, mut owner) = site(1).await;
    let radio = Radio { up: true, detail: String::new(), restarts: 0, backup: None };
    site.gateway.status.lock().unwrap().radios.insert("subghz".into(), radio);
    for path in ["/", "/radios", "/map"] {
        let page = owner.get(path).await.body;
        for name in ["Zigbee", "LoRaWAN", "433 MHz"] {
            assert!(page.contains(name), "{path}: {name}: {page}");
        }
        assert!(!page.contains("subghz"), "{path}: {page}");
    }
}

/// A form with a file, as a browser sends it.
fn multipart(fields: &[(&str, &str)], file: &[u8]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
    }
    let head = "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.age\"\r\n\r\n";
    body.extend(head.bytes());
    body.extend(file);
    body.extend(b"\r\n--xyz--\r\n");
    ("multipart/form-data; boundary=xyz".into(), body)
}

async fn upload(browser: &Browser, path: &str, (kind, body): (String, Vec<u8>)) -> common::Answer {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\nOrigin: https://{host}\r\nSec-Fetch-Site: same-origin\r\n\r\n",
        browser.cookie,
        body.len(),
        host = browser.host,
    )
    .into_bytes();
    request.extend(body);
    browser.raw(&request).await
}

#[tokio::test]
async fn a_radio_shows_its_network_window_backup_and_air() {
    let (_site, mut owner) = site(0).await;
    let page = owner.get("/radios").await.body;
    for words in [
        "00124b00aabbccdd",
        "<dd>20</dd>",
        "open for 77 more seconds",
        "confirmed 2 hours ago",
        "868–868.6 MHz",
        "12 of 36 seconds",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[tokio::test]
async fn a_backup_is_downloaded_encrypted_and_restored_by_who_knows_its_passphrase() {
    let (site, mut owner) = site(0).await;
    let (page, post) = ("/radios/zigbee", "/radios/zigbee/backup");
    for (form, words) in [
        ("passphrase=short&again=short", "fewer than 12"),
        ("passphrase=a+long+passphrase&again=another+passphrase", "not the same"),
        ("", "fewer than 12"),
    ] {
        let answer = owner.submit(page, post, form).await;
        assert!(answer.status == 422 && answer.body.contains(words), "{form}: {}", answer.body);
    }
    let given = PASSPHRASE.replace(' ', "+");
    let answer = owner.submit(page, post, &format!("passphrase={given}&again={given}")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-disposition"),
        Some("attachment; filename=\"cardea-zigbee-00124b00aabbccdd.age\"")
    );
    assert!(!answer.body.contains("network_key"), "it is not in the clear");

    // Bytes that are no text did not survive in the answer; the same ones again.
    let sealed =
        common::operate::seal(&cardea_api::Secret::new(PLAIN.to_vec()), &PASSPHRASE.to_owned().into());
    let sealed = sealed.unwrap().as_bytes().to_vec();
    let restore = "/radios/zigbee/restore";
    let token = owner.get(page).await.token();
    let send = |fields: &[(&str, &str)], file: &[u8]| multipart(fields, file);
    for (fields, file, words) in [
        (vec![("token", token.as_str()), ("opens", PASSPHRASE)], sealed.as_slice(), "other one is unplugged"),
        (vec![("token", &token), ("opens", "another one"), ("unplugged", "yes")], &sealed, "does not open"),
        (vec![("token", &token), ("opens", PASSPHRASE), ("unplugged", "yes")], b"", "Choose the file"),
    ] {
        let answer = upload(&owner, restore, send(&fields, file)).await;
        assert!(answer.status == 422 && answer.body.contains(words), "{words}: {}", answer.body);
    }
    assert!(site.gateway.operate.restores.lock().unwrap().is_empty());
    let good = [("token", token.as_str()), ("opens", PASSPHRASE), ("unplugged", "yes")];
    assert_eq!(upload(&owner, restore, send(&good, &sealed)).await.header("location"), Some("/radios"));
    let end = Instant::now() + Duration::from_secs(10);
    while !owner.get("/radios").await.body.contains("The network is restored") {
        assert!(Instant::now() < end);
    }
    assert_eq!(*site.gateway.operate.restores.lock().unwrap(), [(false, PLAIN.to_vec())]);

    let kept = owner.post(restore, &format!("token={token}&kept=yes&unplugged=yes&replace=yes")).await;
    assert_eq!(kept.header("location"), Some("/radios"));
    let restores = || site.gateway.operate.restores.lock().unwrap().clone();
    while restores().len() < 2 {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(restores()[1], (true, Vec::new()), "the one that the gateway keeps");
}

#[tokio::test]
async fn only_the_owner_may_send_more_than_a_form_and_only_where_a_file_is_wanted() {
    let (site, mut owner) = site(0).await;
    let token = owner.get("/radios/zigbee").await.token();
    let restore = "/radios/zigbee/restore";
    let file = vec![7; 100_000];
    let good = [("token", token.as_str()), ("opens", PASSPHRASE), ("unplugged", "yes")];
    let stranger = site.browser();
    let answer = upload(&stranger, restore, multipart(&good, &file)).await;
    assert_eq!(answer.status, 403, "without a session it is not read");
    for path in ["/pair", "/radios/zigbee/backup", "/sign-in", "/nothing"] {
        assert_eq!(upload(&owner, path, multipart(&good, &file)).await.status, 403, "{path}");
    }
    let without = [("opens", PASSPHRASE), ("unplugged", "yes")];
    assert_eq!(upload(&owner, restore, multipart(&without, &file)).await.status, 403, "no token");
    let too_large = vec![7; 1_200_000];
    assert_eq!(upload(&owner, restore, multipart(&good, &too_large)).await.status, 413);
    let torn = ("multipart/form-data; boundary=xyz".to_owned(), b"--xyz\r\nhello".to_vec());
    assert_eq!(upload(&owner, restore, torn).await.status, 400);
    let no_boundary = ("multipart/form-data".to_owned(), b"hello".to_vec());
    assert_eq!(upload(&owner, restore, no_boundary).await.status, 400);
    let large = format!("token={token}&opens={}", "x".repeat(9_000));
    assert_eq!(owner.post(restore, &large).await.status, 413, "a form without a file is as small as ever");
    assert!(site.gateway.operate.restores.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_broker_that_fails_is_told_by_its_step_its_cause_and_what_to_do() {
    let (site, mut owner) = site(0).await;
    for (step, cause, words) in [
        (BrokerStep::Name, BrokerCause::NameUnknown, "Check the spelling"),
        (BrokerStep::Tcp, BrokerCause::PortClosed, "Check the port"),
        (BrokerStep::Tcp, BrokerCause::Unreachable, "network cable"),
        (BrokerStep::Tcp, BrokerCause::Silent, "firewall"),
        (BrokerStep::Tls, BrokerCause::Issuer, "file of the authority"),
        (BrokerStep::Tls, BrokerCause::Expired, "must renew it"),
        (BrokerStep::Tls, BrokerCause::OtherName, "name that is in the certificate"),
        (BrokerStep::Tls, BrokerCause::Tls, "client certificate"),
        (BrokerStep::Login, BrokerCause::Password, "Type them once more"),
        (BrokerStep::Login, BrokerCause::NotAuthorised, "must allow it"),
        (BrokerStep::Subscribe, BrokerCause::MayNotSubscribe, "access rules"),
    ] {
        *site.gateway.operate.test.lock().unwrap() = failing(step, cause, "said by the system");
        let answer = owner.submit("/broker/test", "/broker/test", "url=mqtts://b:8883").await;
        assert!(answer.body.contains(words) && answer.body.contains("said by the system"), "{cause:?}");
        assert!(!answer.body.contains("[mqtt]\n"), "nothing to paste");
    }
}

#[tokio::test]
async fn a_broker_that_works_is_shown_for_the_configuration_and_its_password_never() {
    let (site, mut owner) = site(0).await;
    let passed = vec![
        BrokerStep::Settings,
        BrokerStep::Name,
        BrokerStep::Tcp,
        BrokerStep::Login,
        BrokerStep::Subscribe,
    ];
    *site.gateway.operate.test.lock().unwrap() =
        BrokerTest { passed, failed: None, client_id: "gw-test-test".into() };
    let form = "url=mqtt%3A%2F%2Fb%3A1883&username=lobby&password=S3hr-geheim";
    let answer = owner.submit("/broker/test", "/broker/test", form).await;
    assert!(answer.body.contains("url = &quot;mqtt://b:1883&quot;"), "{}", answer.body);
    assert!(answer.body.contains("password_file") && answer.body.contains("gw-test-test"));
    assert!(!answer.body.contains("S3hr-geheim"), "what was typed is not sent back");
    let trials = site.gateway.operate.trials.lock().unwrap();
    assert_eq!((trials[0].username.as_str(), trials[0].password.as_str()), ("lobby", "S3hr-geheim"));
}

#[tokio::test]
async fn the_log_is_shown_newest_first_by_level_and_words_and_follows_by_itself() {
    let (site, mut owner) = site(0).await;
    let told =
        |number, level, text| site.gateway.operate.lines.lock().unwrap().push(line(number, level, text));
    told(1, LogLevel::Info, "it runs");
    told(2, LogLevel::Warn, "a radio ended");
    told(3, LogLevel::Debug, "a detail");
    let page = owner.get("/log").await.body;
    let (warn, info) = (page.find("a radio ended").unwrap(), page.find("it runs").unwrap());
    assert!(warn < info && !page.contains("a detail"), "info and above unless asked");
    assert!(page.contains("http-equiv=\"refresh\""), "it reloads without JavaScript");
    let warnings = owner.get("/log?level=warn").await.body;
    assert!(warnings.contains("a radio ended") && !warnings.contains("it runs"));
    let found = owner.get("/log?level=trace&q=detail").await.body;
    assert!(found.contains("a detail") && !found.contains("it runs"));

    let mut stream = common::connect(owner.site).await;
    let request =
        format!("GET /live/log HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n", owner.host, owner.cookie);
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    until(&mut stream, "a radio ended").await;
    told(4, LogLevel::Error, "the disk is full");
    until(&mut stream, "the disk is full").await;
}

#[tokio::test]
async fn the_bundle_is_downloaded_after_the_password() {
    let (_site, mut owner) = site(0).await;
    assert!(owner.get("/diagnosis").await.body.contains("No password, key or code is in it"));
    let answer = owner.submit("/diagnosis", "/diagnosis", "").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "tgz"));
    assert_eq!(
        answer.header("content-disposition"),
        Some("attachment; filename=\"cardea-diagnosis.tar.gz\"")
    );
}

#[tokio::test]
async fn a_lock_has_a_past_of_its_link_and_commands() {
    let (_site, mut owner) = site(1).await;
    let page = owner.get("/locks/0102030405060000").await.body;
    assert!(page.contains("<polyline points=\"") && page.contains("-61 dBm, LQI 120"), "{page}");
    assert!(page.contains("00112233") && page.contains("the clock is not synchronised"));
}

#[tokio::test]
async fn the_machine_shows_time_and_addresses_and_says_what_is_not_there() {
    let (_site, mut owner) = site(0).await;
    let page = owner.get("/system").await.body;
    for words in
        ["2027-01-15 08:00:00 UTC", "192.0.2.7", "gateway.local", "is not in this version", "/system/reset"]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    let licences = owner.get("/licences").await.body;
    for package in ["rustls", "tokio", "rumqttc", "rusqlite"] {
        assert!(licences.contains(&format!("<td class=\"mono\">{package}</td>")), "{package}");
    }
    assert!(!licences.contains("proptest") && !licences.contains("rumqttd"), "what is not shipped");
}

#[tokio::test]
async fn what_others_say_is_text_on_every_page_for_operators() {
    let (site, mut owner) = site(3).await;
    {
        let mut status = site.gateway.status.lock().unwrap();
        for radio in status.radios.values_mut() {
            radio.up = false;
            radio.detail = HOSTILE.into();
        }
        status.broker.detail = HOSTILE.into();
        status.broker.url = HOSTILE.into();
        *site.gateway.operate.words.lock().unwrap() = HOSTILE.into();
        *site.gateway.operate.test.lock().unwrap() = failing(BrokerStep::Tls, BrokerCause::Tls, HOSTILE);
        site.gateway.operate.lines.lock().unwrap().push(line(1, LogLevel::Error, HOSTILE));
    }
    let hostile = |body: &str| body.contains("<script>alert") || body.contains("<img src=x");
    let mut shown = 0;
    for path in PAGES {
        let page = owner.get(path).await;
        assert!(page.status == 200 && !hostile(&page.body), "{path}: {}", page.body);
        shown += usize::from(page.body.contains("&lt;script&gt;"));
    }
    assert!(shown >= 6, "{shown} pages show it as text");
    let test =
        owner.submit("/broker/test", "/broker/test", "url=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").await;
    assert!(test.status == 200 && !hostile(&test.body));
}

#[tokio::test]
async fn no_page_has_inline_script_or_style_and_each_weighs_little_with_a_thousand_locks() {
    let (site, mut owner) = site(1_000).await;
    for n in 0..200 {
        site.gateway.operate.lines.lock().unwrap().push(line(
            n,
            LogLevel::Info,
            &format!("{n}{}", "x".repeat(300)),
        ));
    }
    let mut heaviest = (0, "");
    for path in PAGES.into_iter().chain(["/locks", "/pair", "/security", "/about"]) {
        let page = owner.get(path).await.body;
        assert!(!page.contains("style=") && !page.contains("<style") && !page.contains(" onclick"), "{path}");
        assert_eq!(page.matches("<script").count(), page.matches("<script src=\"/assets/").count(), "{path}");
        let mut weight = compressed(&mut owner, path).await;
        for asset in page.split('"').filter(|part| part.starts_with("/assets/")) {
            weight += compressed(&mut owner, asset).await;
        }
        println!("{path}: {weight} bytes compressed, {} plain", page.len());
        assert!(weight <= 60 * 1024, "{path}: {weight} bytes");
        heaviest = heaviest.max((weight, path));
    }
    println!("heaviest: {heaviest:?}");
}

/// What comes over the wire when a browser takes what every browser takes.
async fn compressed(browser: &mut Browser, path: &str) -> usize {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nAccept-Encoding: gzip, br\r\nConnection: close\r\n\r\n",
        browser.host, browser.cookie
    );
    let mut stream = common::connect(browser.site).await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let bytes = common::read(&mut stream).await;
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    bytes.len() - head - 4
}
