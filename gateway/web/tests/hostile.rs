//! What strangers try, on real sockets: before the claim, after it, and without a session.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::{LABEL, PASSWORD, Site, connect, read};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Every address of the page, as somebody who has read its source would ask for it.
const GETS: [&str; 14] = [
    "/",
    "/locks",
    "/locks/00112233445566ff",
    "/locks/00112233445566ff/remove",
    "/pair",
    "/pair/00112233445566ff",
    "/prove",
    "/security",
    "/about",
    "/live/overview",
    "/live/locks",
    "/live/locks/00112233445566ff",
    "/live/pair/00112233445566ff",
    "/sign-in",
];
const POSTS: [&str; 7] = [
    "/sign-in",
    "/pair",
    "/locks/00112233445566ff/remove",
    "/pair/00112233445566ff/cancel",
    "/prove",
    "/security/end",
    "/sign-out",
];

#[tokio::test]
async fn before_the_claim_there_is_nothing_but_the_claim() {
    let site = Site::open().await;
    let mut browser = site.browser();
    for path in GETS.into_iter().filter(|path| *path != "/").chain(["/nothing", "/api", "/.git/config"]) {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(!answer.body.contains("gw-test"), "{path} names the gateway");
    }
    for path in POSTS {
        assert_eq!(browser.post(path, "password=x").await.status, 403, "{path}");
    }
    let root = browser.get("/").await;
    assert_eq!((root.status, root.header("location")), (303, Some("/claim")));
    assert_eq!(browser.get("/claim").await.status, 200);
    assert!(site.store.snapshot().is_empty());
}

#[tokio::test]
async fn after_the_claim_a_stranger_gets_the_sign_in_and_nothing_else() {
    let (site, _) = Site::claimed().await;
    let mut stranger = site.browser();
    for path in GETS.into_iter().filter(|path| *path != "/sign-in") {
        let answer = stranger.get(path).await;
        let live = path.starts_with("/live/");
        let expected = if live { (403, None) } else { (303, Some("/sign-in")) };
        assert_eq!((answer.status, answer.header("location")), expected, "{path}");
    }
    for path in POSTS.into_iter().filter(|path| *path != "/sign-in") {
        assert_eq!(stranger.post(path, "token=00").await.status, 403, "{path}");
    }
    let claim =
        stranger.post("/claim", "code=x&password=another+password+here&again=another+password+here").await;
    assert_eq!(claim.status, 403);
    assert_eq!(stranger.get("/claim").await.header("location"), Some("/"));
}

#[tokio::test]
async fn a_claim_needs_presence_the_code_and_a_password_that_is_not_everybodys() {
    let site = Site::open().await;
    let mut browser = site.browser();
    let code = site.web.claim_code().await.unwrap();
    let form = |code: &str, password: &str| format!("code={code}&password={password}&again={password}");
    let good = "vier+alte+Nussbaeume";
    for (code, password, words) in [
        (code.as_str(), good, "Nobody has confirmed"),
        (&code, "short", "fewer than 12"),
        (&code, "password1234", "everybody takes"),
        ("0000-0000-0000-0000", good, "Nobody has confirmed"),
    ] {
        let answer = browser.post("/claim", &form(code, password)).await;
        assert!(answer.status == 422 && answer.body.contains(words), "{words}: {}", answer.body);
    }
    site.web.confirm_claim().unwrap();
    let wrong = browser.post("/claim", &form("0000-0000-0000-0000", good)).await;
    assert!(wrong.status == 422 && wrong.body.contains("not the claim code"));
    assert!(!wrong.body.contains("Nussbaeume"), "a password is not sent back");
    assert_eq!(browser.post("/claim", &form(&code, good)).await.status, 303);
    assert_eq!(browser.get("/").await.status, 200);
}

#[tokio::test]
async fn another_name_or_address_is_misdirected_before_and_after_the_claim() {
    for claimed in [false, true] {
        let site = if claimed { Site::claimed().await.0 } else { Site::open().await };
        let port = site.https.port();
        let mut browser = site.browser();
        for host in
            ["evil.example", "gateway.local.evil.example", "192.0.2.7", "gateway.local@evil.example", ""]
        {
            browser.host = host.into();
            let status = browser.get("/").await.status;
            assert_eq!(status, 421, "{host:?}");
            let status = browser.post("/sign-in", "password=x").await.status;
            assert_eq!(status, 421, "{host:?}");
        }
        for request in [
            "GET / HTTP/1.1\r\nHost: gateway.local\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
            "GET https://evil.example/ HTTP/1.1\r\nHost: gateway.local\r\nConnection: close\r\n\r\n",
        ] {
            assert_eq!(browser.raw(request.as_bytes()).await.status, 400, "{request}");
        }
        for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "GATEWAY.LOCAL".into()] {
            browser.host = host.clone();
            assert_eq!(browser.get("/").await.status, 303, "{host}");
        }
    }
}

#[tokio::test]
async fn a_form_of_another_site_changes_nothing() {
    let (site, mut owner) = Site::claimed().await;
    let token = owner.get("/pair").await.token();
    let form = format!("token={token}&label={}", cardea_radio::label::checked(LABEL).as_str());
    let ours = format!("Origin: https://{}\r\n", owner.host);
    for headers in [
        String::new(),
        "Origin: https://evil.example\r\n".into(),
        "Origin: null\r\n".into(),
        format!("Origin: http://{}\r\n", owner.host),
        "Origin: https://gateway.local\r\n".into(),
        "Sec-Fetch-Site: same-origin\r\n".into(),
        format!("{ours}Sec-Fetch-Site: cross-site\r\n"),
        format!("{ours}Sec-Fetch-Site: same-site\r\n"),
        format!("{ours}Origin: https://evil.example\r\n"),
    ] {
        assert_eq!(owner.post_with("/pair", &form, &headers).await.status, 403, "{headers}");
    }
    assert!(site.gateway.locks.lock().unwrap().is_empty());
    let answer = owner.post_with("/pair", &form, &ours).await;
    assert_eq!(
        answer.header("location"),
        Some("/pair/00112233445566ff"),
        "an old browser without fetch metadata"
    );
    assert!(answer.header("access-control-allow-origin").is_none());
}

#[tokio::test]
async fn a_form_without_this_sessions_token_changes_nothing() {
    let (site, mut owner) = Site::claimed().await;
    let label = cardea_radio::label::checked(LABEL);
    let other = {
        let mut other = site.browser();
        other.post("/sign-in", &format!("password={}", PASSWORD.replace(' ', "+"))).await;
        other.get("/pair").await.token()
    };
    assert_eq!(other.len(), 64);
    for token in ["", "00", other.as_str()] {
        let answer = owner.post("/pair", &format!("token={token}&label={}", label.as_str())).await;
        assert_eq!(answer.status, 403, "{token}");
        assert_eq!(owner.post("/sign-out", &format!("token={token}")).await.status, 403);
    }
    assert!(site.gateway.locks.lock().unwrap().is_empty());
    assert_eq!(owner.get("/").await.status, 200, "still signed in");
}

#[tokio::test]
async fn guessing_costs_time_and_the_right_password_does_not_help_while_it_lasts() {
    let (site, mut owner) = Site::claimed().await;
    let mut guesser = site.browser();
    for n in 0..5 {
        let answer = guesser.post("/sign-in", &format!("password=guess+number+{n}")).await;
        assert_eq!(answer.status, 422, "{n}");
    }
    let right = format!("password={}", PASSWORD.replace(' ', "+"));
    let begun = Instant::now();
    let answer = guesser.post("/sign-in", &right).await;
    assert_eq!(answer.status, 429);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((80..=90).contains(&wait), "{wait}");
    assert!(begun.elapsed() < Duration::from_secs(5), "nothing is computed meanwhile");
    assert_eq!(owner.get("/").await.status, 200, "who is signed in notices nothing");
}

#[tokio::test]
async fn a_session_that_a_browser_brings_along_is_not_taken_over() {
    let (site, owner) = Site::claimed().await;
    let planted = format!("__Host-cardea={}", "ab".repeat(32));
    let mut victim = site.browser();
    victim.cookie = planted.clone();
    let right = format!("password={}", PASSWORD.replace(' ', "+"));
    assert_eq!(victim.post("/sign-in", &right).await.status, 303);
    assert_ne!(victim.cookie, planted, "the id is new");
    let mut attacker = site.browser();
    attacker.cookie = planted;
    assert_eq!(attacker.get("/").await.header("location"), Some("/sign-in"));

    // Signing in anew in a signed-in browser ends the old session.
    let old = victim.clone();
    let token = victim.get("/").await.token();
    assert_eq!(victim.post("/sign-in", &format!("token={token}&{right}")).await.status, 303);
    assert_ne!(victim.cookie, old.cookie);
    assert_eq!(old.clone().get("/").await.status, 303);
    assert_ne!(victim.cookie, owner.cookie);
}

#[tokio::test]
async fn a_session_ends_when_it_is_signed_out_or_ended_elsewhere() {
    let (site, mut owner) = Site::claimed().await;
    let mut phone = site.browser();
    phone.post("/sign-in", &format!("password={}", PASSWORD.replace(' ', "+"))).await;
    assert_eq!(phone.get("/").await.status, 200);
    assert_eq!(owner.submit("/security", "/security/end", "session=others").await.status, 303);
    assert_eq!(phone.get("/").await.status, 303);
    let before = owner.clone();
    assert_eq!(owner.submit("/", "/sign-out", "").await.status, 303);
    assert_eq!(before.clone().get("/").await.header("location"), Some("/sign-in"));
}

#[tokio::test]
async fn large_slow_and_odd_requests_are_turned_away() {
    let (_site, mut owner) = Site::claimed().await;
    let token = owner.get("/pair").await.token();
    let large = format!("token={token}&label={}", "x".repeat(8 * 1024));
    assert_eq!(owner.post("/pair", &large).await.status, 413);
    let ours = format!("Host: {}\r\nOrigin: https://{}\r\nConnection: close\r\n", owner.host, owner.host);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";

    let chunked = format!(
        "POST /pair HTTP/1.1\r\n{ours}{form}Transfer-Encoding: chunked\r\n\r\n4000\r\n{}\r\n0\r\n\r\n",
        "x".repeat(0x4000)
    );
    assert_eq!(owner.raw(chunked.as_bytes()).await.status, 413, "chunked");
    let json = format!(
        "POST /pair HTTP/1.1\r\n{ours}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    assert_eq!(owner.raw(json.as_bytes()).await.status, 415);
    for method in ["PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
        let answer = owner.raw(format!("{method} / HTTP/1.1\r\n{ours}\r\n").as_bytes()).await;
        assert_eq!(answer.status, 405, "{method}");
    }
    let head = format!("GET / HTTP/1.1\r\n{ours}X: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert!(matches!(owner.raw(head.as_bytes()).await.status, 400 | 431), "a head of 64 KiB");
    let both = format!(
        "POST /pair HTTP/1.1\r\n{ours}{form}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n"
    );
    let answer = owner.raw(both.as_bytes()).await;
    assert!(!answer.body.contains("HTTP/1.1"), "no second answer to a smuggled request: {}", answer.body);

    // A body that never comes ends after ten seconds, not never.
    let begun = Instant::now();
    let slow = format!("POST /pair HTTP/1.1\r\n{ours}{form}Content-Length: 100\r\n\r\ntoken=");
    assert_eq!(owner.raw(slow.as_bytes()).await.status, 408);
    assert!((8..20).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_head_that_comes_a_byte_at_a_time_ends_the_connection() {
    let site = Site::open().await;
    let mut stream = connect(site.https).await;
    let begun = Instant::now();
    let mut ended = false;
    while begun.elapsed() < Duration::from_secs(30) && !ended {
        ended = stream.write_all(b"G").await.is_err() || stream.flush().await.is_err();
        let mut byte = [0; 64];
        if let Ok(read) = tokio::time::timeout(Duration::from_millis(500), stream.read(&mut byte)).await {
            ended |= matches!(read, Ok(0) | Err(_))
                || byte.starts_with(b"HTTP/1.1 408")
                || byte.starts_with(b"HTTP/1.1 400");
        }
    }
    assert!(ended && begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn connections_that_only_wait_keep_nobody_out() {
    let (site, mut owner) = Site::claimed().await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(site.https).await.unwrap());
    }
    assert_eq!(owner.get("/about").await.status, 200);
    let mut byte = [0; 1];
    let first = tokio::time::timeout(Duration::from_secs(5), idle[0].read(&mut byte)).await;
    assert!(matches!(first, Ok(Ok(0) | Err(_))), "the oldest had to go: {first:?}");
}

#[tokio::test]
async fn paths_and_headers_lead_nowhere_else() {
    let (_site, mut owner) = Site::claimed().await;
    for path in [
        "/assets/../../etc/passwd",
        "/assets/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/assets/..%5cx",
        "/assets/page.css",
        "/locks/..%2f..%2fx",
        "/locks/%00",
        "/locks/zz",
        "//evil.example",
        "/./locks",
        "/pair/%f0%9f%94%92",
    ] {
        let answer = owner.get(path).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        assert!(!answer.body.contains("root:"));
    }
    // Nothing that a visitor sends becomes a header, or an address elsewhere.
    let token = owner.get("/").await.token();
    for back in [
        "/%0d%0aSet-Cookie:+x=1",
        "//evil",
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "javascript:1",
    ] {
        let answer = owner.post("/language", &format!("token={token}&tag=zh-CN&back={back}")).await;
        assert_eq!(answer.header("location"), Some("/"), "{back}");
        assert_eq!(answer.head.to_lowercase().matches("set-cookie").count(), 1);
    }
    let answer = owner.post("/language", &format!("token={token}&tag=x%0d%0aSet-Cookie:y=1&back=/")).await;
    assert!(!answer.head.to_lowercase().contains("set-cookie"));
    let prove = owner.get("/prove?for=//evil.example").await;
    assert!(prove.status == 200 && !prove.body.contains("evil.example"));
}

#[tokio::test]
async fn a_flood_from_one_address_is_refused_and_ends_by_itself() {
    let site = Site::open().await;
    let browser = site.browser();
    let one = format!("GET /assets/x HTTP/1.1\r\nHost: {}\r\n\r\n", browser.host);
    let last = format!("GET /assets/x HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", browser.host);
    let mut stream = connect(site.https).await;
    let flood = one.repeat(400) + &last;
    stream.write_all(flood.as_bytes()).await.unwrap();
    let answers = String::from_utf8(read(&mut stream).await).unwrap();
    let refused = answers.matches("HTTP/1.1 429").count();
    assert!(refused > 100, "{refused}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(browser.clone().get("/claim").await.status, 200);
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let (_site, mut owner) = Site::claimed().await;
    for path in ["/", "/pair", "/nothing", "/locks?q=%22%3E%3Cscript%3E"] {
        let answer = owner.get(path).await;
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
        assert!(
            answer.header("strict-transport-security").is_none(),
            "would lock out behind a self-signed certificate"
        );
        assert!(
            !answer.body.contains("style=") && !answer.body.contains("<script>"),
            "{path}: nothing inline"
        );
    }
    let cookie = owner.submit("/", "/sign-out", "").await;
    let cookie = cookie.header("set-cookie").unwrap();
    for part in ["__Host-cardea=", "Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
}

#[tokio::test]
async fn plain_http_redirects_and_explains_and_takes_nothing() {
    let (site, _) = Site::claimed().await;
    let ask = |request: String| async move {
        let mut stream = TcpStream::connect(site.http).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let root = ask("GET / HTTP/1.1\r\nHost: gateway.local\r\n\r\n".into()).await;
    assert!(
        root.starts_with("HTTP/1.1 200")
            && root.contains(&format!("https://gateway.local:{}/", site.https.port()))
    );
    assert!(!root.contains("<form") && !root.to_lowercase().contains("set-cookie"));
    assert!(!root.contains(&site.web.fingerprint()), "whoever sits in between would write their own");
    let other = ask("GET /pair?x HTTP/1.1\r\nHost: gateway.local\r\n\r\n".into()).await;
    assert!(
        other.starts_with("HTTP/1.1 308")
            && other.contains(&format!("https://gateway.local:{}/\r\n", site.https.port()))
    );
    let post = ask("POST /sign-in HTTP/1.1\r\nHost: gateway.local\r\nContent-Length: 0\r\n\r\n".into()).await;
    assert!(post.starts_with("HTTP/1.1 308"));
    let foreign = ask("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".into()).await;
    assert!(foreign.starts_with("HTTP/1.1 421") && !foreign.contains("evil.example"));
}
