//! What operators and their tools meet: arguments, configuration, the control socket, metrics.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use common::*;

fn cardea(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cardea")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn arguments_are_explained() {
    for (arguments, words) in [
        (&["--frobnicate"][..], "--frobnicate"),
        (&["unlock"], "unrecognized subcommand"),
        (&["locks", "admit"], "<LABELS>"),
        (&["config"], "template"),
    ] {
        let (code, _, said) = cardea(arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(said.contains(words), "{said}");
    }
    for arguments in [&["version"][..], &["--version"]] {
        assert_eq!(
            cardea(arguments),
            (Some(0), format!("cardea {}\n", env!("CARGO_PKG_VERSION")), String::new())
        );
    }
}

#[test]
fn the_configuration_can_be_printed_checked_and_described() {
    let (code, template, _) = cardea(&["config", "template"]);
    assert_eq!(code, Some(0));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cardea.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, &template).unwrap();
    assert_eq!(cardea(&["config", "check", "--config", path]).0, Some(0));
    let (code, schema, _) = cardea(&["config", "schema"]);
    assert_eq!(code, Some(0));
    assert!(serde_json::from_str::<serde_json::Value>(&schema).unwrap()["properties"]["lora"].is_object());
}

#[test]
fn a_configuration_that_cannot_be_used_is_named_line_by_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cardea.toml");
    let path = file.to_str().unwrap();
    for command in [&["run"][..], &["config", "check"], &["status"]] {
        let arguments = [command, &["--config", path]].concat();
        let _ = std::fs::remove_file(&file);
        let (code, _, said) = cardea(&arguments);
        assert_eq!(code, Some(78));
        assert!(said.contains(path) && said.contains("No such file"), "{said}");
        for (text, words) in [
            ("[mqtt]\nurll = \"mqtt://b\"\n", "line 2: `mqtt.urll`: no such key; did you mean `url`?"),
            ("[mqtt]\nkeepalive = 0\n", "line 2: `mqtt.keepalive`: must be 5 to 1200"),
            ("\u{feff}\u{0}", "line 1"),
        ] {
            std::fs::write(&file, text).unwrap();
            let (code, _, said) = cardea(&arguments);
            assert_eq!(code, Some(78), "{said}");
            assert!(said.contains(words), "{said}");
        }
        std::fs::write(&file, b"[mqtt]\n\xff\xfe").unwrap();
        assert_eq!(cardea(&arguments).0, Some(78));
    }
    // What only the radio itself can judge.
    std::fs::write(&file, "[lora]\nenabled = true\nrx1_delay = 16\n").unwrap();
    for command in [&["run"][..], &["config", "check"]] {
        let (code, _, said) = cardea(&[command, &["--config", path]].concat());
        assert_ne!(code, Some(0));
        assert!(said.contains("rx1_delay"), "{said}");
    }
}

#[test]
fn without_a_daemon_the_commands_say_so() {
    let broker = Broker::prepared();
    let daemon = Daemon::prepared(&broker, "");
    for arguments in [&["status"][..], &["locks"], &["locks", "remove", "0011223344556677"]] {
        let said = daemon.complained(arguments);
        assert!(said.contains("api.sock") && said.contains("is `cardea run` running?"), "{said}");
    }
}

#[test]
fn what_keeps_it_from_starting_is_said() {
    let broker = Broker::prepared();
    let daemon = Daemon::prepared(&broker, "");
    std::fs::create_dir(daemon.path("data")).unwrap();
    std::fs::write(daemon.path("data/cardea.db"), "this is no database, it is a diary ".repeat(200)).unwrap();
    let said = daemon.complained(&["run"]);
    assert!(said.contains("cardea.db is damaged"), "{said}");
    std::fs::remove_dir_all(daemon.path("data")).unwrap();
    std::fs::write(daemon.path("data"), "").unwrap();
    let said = daemon.complained(&["run"]);
    assert!(said.contains("data directory"), "{said}");
    std::fs::remove_file(daemon.path("data")).unwrap();

    let mut daemon = daemon;
    daemon.up();
    let said = daemon.complained(&["run"]);
    assert!(said.contains("another cardea daemon is using"), "{said}");
    daemon.environment.push(("CARDEA_GATEWAY__DATA_DIR".into(), daemon.path("other").display().to_string()));
    let said = daemon.complained(&["run"]);
    assert!(said.contains("another daemon is listening"), "{said}");
}

#[test]
fn locks_are_admitted_listed_and_removed() {
    let broker = Broker::start();
    let daemon = Daemon::start(&broker, "[limits]\nlocks = 1\n");
    assert!(daemon.said(&["locks"]).contains("no lock is admitted"));
    daemon.admit();
    daemon.admit(); // Twice does no harm.
    let json: serde_json::Value = serde_json::from_str(&daemon.said(&["locks", "--json"])).unwrap();
    assert_eq!(json[0]["lock"], LOCK.to_string());

    let complaint = |label: &str| daemon.complained(&["locks", "admit", label]);
    assert!(complaint("hello").contains("must start with \"cardea:\""));
    assert!(complaint(&"x".repeat(10_000)).contains("at most"));
    let lorawan = cardea_radio::label::reveal(&cardea_radio::Admission {
        lock: LOCK,
        secret: cardea_radio::AdmissionSecret::Lorawan {
            dev_eui: [1; 8],
            join_eui: [2; 8],
            app_key: [0xab; 16].into(),
            class: cardea_radio::LorawanClass::A,
        },
    });
    let said = complaint(&lorawan);
    assert!(said.contains("set `enabled = true` in [lora]"), "{said}");
    let other = cardea_radio::Admission {
        lock: cardea_framing::LockId([9; 8]),
        secret: cardea_radio::AdmissionSecret::Loopback,
    };
    assert!(complaint(&cardea_radio::label::reveal(&other)).contains("`limits.locks`"));
    assert!(!daemon.log().contains("abababab"), "no secret in the log");

    assert!(daemon.complained(&["locks", "remove", "12"]).contains("not a lock id"));
    assert!(daemon.complained(&["locks", "remove", "0000000000000000"]).contains("no such lock"));
    assert_eq!(daemon.said(&["locks", "remove", &LOCK.to_string()]), format!("{LOCK} is removed\n"));
    assert!(daemon.said(&["locks"]).contains("no lock is admitted"));

    // By standard input, where no other user sees it.
    let label = cardea_radio::label::reveal(&other);
    let mut child = daemon
        .command(&["locks", "admit", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(label.as_bytes()).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
}

#[test]
fn hostile_words_on_the_control_socket_are_answered_and_change_nothing() {
    let broker = Broker::prepared();
    let daemon = Daemon::start(&broker, "");
    for line in [
        &b"\n"[..],
        b"null\n",
        b"[]\n",
        b"\xff\xff\xff\n",
        b"{\"verb\":\"unlock\"}\n",
        b"{\"verb\":\"status\",\"x\":{}}\n",
        b"{\"verb\":\"remove\",\"lock\":\"'; DROP TABLE locks; --\"}\n",
        b"{\"verb\":\"admit\",\"label\":\"\\u0000\"}\n",
        b"{\"verb\":\"status\"",
    ] {
        let answer: serde_json::Value = serde_json::from_str(&daemon.raw(line)).unwrap();
        assert_eq!(answer["status"], "error", "{answer}");
    }
    for request in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v1/unlock HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"POST /v1/attach HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"POST /v1/status HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n",
        b"POST /v1/status HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n[",
        b"POST /v1/status HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n{\"verb\":\"\"}",
        b"POST /v1/status HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
        b"XXXX\r\n\r\n",
    ] {
        let answer = daemon.raw(request);
        let request = String::from_utf8_lossy(request);
        assert!(answer.starts_with("HTTP/1.1 4"), "{request:?}: {answer}");
    }
    assert_eq!(
        daemon.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        "",
        "who speaks another protocol is hung up on"
    );
    let good =
        daemon.raw(b"POST /v1/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert!(good.starts_with("HTTP/1.1 200"), "{good}");
    let nested = [&b"{\"verb\":"[..], &b"[".repeat(3_000), b"\n"].concat();
    assert!(daemon.raw(&nested).contains("error"));
    let mut long = UnixStream::connect(daemon.path("api.sock")).unwrap();
    let _ = long.write_all(&b"x".repeat(1 << 20));
    // Many connections that say nothing hold up only each other.
    let silent: Vec<_> = (0..20).map(|_| UnixStream::connect(daemon.path("api.sock")).unwrap()).collect();
    assert!(daemon.raw(b"{\"verb\":\"status\"}\n").contains("\"ok\""));
    assert!(daemon.raw(b"{\"verb\":\"status\"}").contains("\"ok\""), "the newline may be missing at the end");
    drop(silent);
    // Frames from nowhere, as large as UDP carries.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    daemon.admit();
    for len in [0, 1, 7, 8, 9, 10, 300, 2000, 9000] {
        let mut bytes = vec![0xff; len];
        let shared = len.min(8);
        bytes[..shared].copy_from_slice(&LOCK.0[..shared]);
        socket.send_to(&bytes, (Ipv4Addr::LOCALHOST, daemon.radio)).unwrap();
    }
    eventually("garbage is counted", || {
        daemon.scrape().contains("cardea_frames_discarded_total{reason=\"malformed\"} 2").then_some(())
    });
    assert!(!daemon.log().contains("panicked"));
}

#[test]
fn hostile_messages_from_the_broker_are_counted_and_change_nothing() {
    let broker = Broker::start();
    let observer = Observer::new(&broker);
    let daemon = Daemon::start(&broker, "");
    observer.json("state", |v| v["state"] == "online");
    daemon.admit();
    let topics = ["down", "seen"].map(|t| format!("{GATEWAY}/lock/{LOCK}/{t}"));
    let mut sent = 0;
    for topic in &topics {
        for payload in [&b""[..], b"{", b"[]", b"null", b"{\"v\":1}", b"\xff\xfe\x00", &[b'['; 5000]] {
            observer.publish(topic, false, payload);
            sent += 1;
        }
    }
    observer.publish(&format!("{GATEWAY}/request/self-destruct"), false, b"{\"transaction\":\"t1\"}");
    let answer = observer.json("response/self-destruct", |v| v["transaction"] == "t1");
    assert_eq!(answer["status"], "error");
    eventually("all are counted", || {
        (daemon.metric("cardea_messages_malformed_total") >= sent).then_some(())
    });
    observer.publish(&format!("{GATEWAY}/request/status"), false, b"");
    assert_eq!(observer.json("response/status", |_| true)["status"], "ok");
    assert!(!daemon.log().contains("panicked"));
}

#[test]
fn a_radio_that_cannot_start_is_told_and_comes_up_when_it_can() {
    let broker = Broker::start();
    let mut daemon = Daemon::prepared(&broker, "");
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, daemon.radio)).unwrap();
    daemon.up();
    let text = eventually("the trouble is told", || {
        let text = String::from_utf8(daemon.cli(&["status"]).stdout).unwrap();
        text.contains("loopback down: loopback radio socket").then_some(text)
    });
    assert!(text.contains("in use"), "{text}");
    drop(taken);
    eventually("up again", || daemon.cli(&["status"]).status.success().then_some(()));
    assert!(daemon.said(&["status"]).contains("restarts"));
}

#[test]
fn without_a_packet_forwarder_the_gateway_stays_and_says_so() {
    let broker = Broker::start();
    let lora = free_udp_port();
    let more = format!("[lora]\nenabled = true\nbind = \"127.0.0.1:{lora}\"\n");
    let daemon = Daemon::start(&broker, &more);
    let text = eventually("said", || {
        let text = String::from_utf8(daemon.cli(&["status"]).stdout).unwrap();
        (text.contains("lora down: ") && !text.contains("not started")).then_some(text)
    });
    assert!(text.contains("forwarder"), "{text}");
    daemon.admit();
    Radio::new(&daemon).deliver(&datagram(cardea_framing::Class::Log, &[9, 1]));

    // One that comes is welcome: PULL_DATA of the Semtech protocol is answered by PULL_ACK.
    let forwarder = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    forwarder.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let pull = [2, 0x12, 0x34, 2, 0xaa, 0x55, 0x5a, 0, 0, 0, 1, 1];
    forwarder.send_to(&pull, (Ipv4Addr::LOCALHOST, lora)).unwrap();
    let mut answer = [0; 16];
    let len = forwarder.recv(&mut answer).unwrap();
    assert_eq!(answer[..len], [2, 0x12, 0x34, 4]);
    eventually("up", || daemon.cli(&["status"]).status.success().then_some(()));
    let lorawan = cardea_radio::label::reveal(&cardea_radio::Admission {
        lock: cardea_framing::LockId([7; 8]),
        secret: cardea_radio::AdmissionSecret::Lorawan {
            dev_eui: [1; 8],
            join_eui: [2; 8],
            app_key: [0xab; 16].into(),
            class: cardea_radio::LorawanClass::C,
        },
    });
    assert!(daemon.said(&["locks", "admit", &lorawan]).contains("is admitted on lora"));
    assert!(daemon.said(&["locks"]).contains("0707070707070707  lora      not joined"));
}

#[test]
fn a_name_is_made_at_the_first_start_and_kept() {
    let broker = Broker::start();
    let mut daemon = Daemon::prepared(&broker, "");
    let text = std::fs::read_to_string(daemon.path("cardea.toml")).unwrap();
    std::fs::write(daemon.path("cardea.toml"), text.replace("id = \"gw-test\"\n", "")).unwrap();
    let name = |daemon: &Daemon| {
        let status: serde_json::Value =
            serde_json::from_slice(&daemon.cli(&["status", "--json"]).stdout).unwrap();
        status["gateway"].as_str().unwrap().to_owned()
    };
    daemon.up();
    let first = name(&daemon);
    assert!(first.starts_with("gw-") && first.len() == 19, "{first}");
    daemon.kill();
    daemon.up();
    assert_eq!(name(&daemon), first);
}

#[test]
fn the_log_can_be_json_and_a_wrong_level_is_named() {
    let broker = Broker::prepared();
    let mut daemon = Daemon::prepared(&broker, "");
    daemon.environment.push(("CARDEA_LOG__FORMAT".into(), "json".into()));
    daemon.up();
    daemon.signal("-TERM");
    assert!(daemon.ended().success());
    for line in daemon.log().lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["level"].is_string() && event["message"].is_string(), "{line}");
    }
    daemon.environment.push(("CARDEA_LOG__LEVEL".into(), "info,=x=".into()));
    assert!(daemon.complained(&["run"]).contains("`log.level`"));
}
