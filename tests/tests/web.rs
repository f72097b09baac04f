//! The local page in a real browser, on the real daemon: claim, pair on every radio, see it work, remove; and what goes wrong.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use cardea_framing::Class;
use cardea_radio::{LorawanClass, label};
use cardea_simulator::subghz::{Conditions, Ether, EtherConfig, GatewayChip, SubghzLock};
use cardea_simulator::zigbee::{Dongle, DongleConfig, Ncp, NcpConfig, Nvram, SealedLock};
use cardea_simulator::{Air, Forwarder, ForwarderConfig, LockConfig, Region, VirtualLock, Weather};
use cardea_subghz::Profile;
use cardea_tests::{
    broker::Broker,
    daemon::Daemon,
    eventually, free_port, free_udp_port,
    loopback::{LoopRadio, datagram},
    node::node,
    program,
};
use cardea_zigbee::Eui64;

const PASSWORD: &str = "vier alte Nussbaeume";
const SEED: u64 = 31;
const FORWARDER: [u8; 8] = [0xAA, 0x55, 0x5A, 0, 0, 0, 0, 7];
const DONGLE: Eui64 = Eui64(*b"\x02\xca\xde\xa3\0\0\0\x0b");
/// Longer than any wait for somebody to plug it in again.
const UNPLUGGED: Duration = Duration::from_secs(600);

/// The daemon with its page on a free port.
fn daemon(dir: &Path, mqtt: u16, more: &str) -> (Daemon, u16) {
    let port = free_port();
    let web =
        format!("[web]\nenabled = true\nhttps = \"127.0.0.1:{port}\"\nnames = [\"gateway.local\"]\n{more}");
    (Daemon::start(dir, mqtt, &web), port)
}

/// A label's picture as a camera sees it: drawn by the command that makers print with.
fn picture(dir: &Path, name: &str, text: &str) -> PathBuf {
    let (svg, png) = (dir.join(format!("{name}.svg")), dir.join(format!("{name}.png")));
    let drawn = Command::new(program("cardea")).args(["label", text]).output().unwrap();
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    std::fs::write(&svg, drawn.stdout).unwrap();
    convert(&svg, &png);
    png
}

fn convert(svg: &Path, png: &Path) {
    let drawn = Command::new("rsvg-convert").args(["-w", "480", "-o"]).arg(png).arg(svg).status().unwrap();
    assert!(drawn.success(), "rsvg-convert");
}

/// A QR code that is no radio label, as the owner code's is none: any text will do.
fn other_picture(dir: &Path) -> PathBuf {
    let (svg, png) = (dir.join("other.svg"), dir.join("other.png"));
    let code =
        qrcodegen::QrCode::encode_text("0123456789ABCDEF0123456789ABCDEF", qrcodegen::QrCodeEcc::Medium);
    let code = code.unwrap();
    let modules: String = (0..code.size())
        .flat_map(|y| (0..code.size()).map(move |x| (x, y)))
        .filter(|(x, y)| code.get_module(*x, *y))
        .map(|(x, y)| format!("M{} {}h1v1h-1z", x + 4, y + 4))
        .collect();
    let side = code.size() + 8;
    let text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\"><rect width=\"{side}\" height=\"{side}\" \
         fill=\"#fff\"/><path d=\"{modules}\"/></svg>"
    );
    std::fs::write(&svg, text).unwrap();
    convert(&svg, &png);
    png
}

/// What Chromium shows in place of a camera: one picture, uncompressed (YUV4MPEG2), a few times a second.
fn film(dir: &Path, text: &str) -> PathBuf {
    const SIDE: usize = 480;
    let film = dir.join("camera.y4m");
    let admission = label::parse(text).unwrap();
    let text = label::reveal(&admission);
    let code =
        qrcodegen::QrCode::encode_text(&text.to_ascii_uppercase(), qrcodegen::QrCodeEcc::Medium).unwrap();
    let modules = code.size() + 8;
    let mut bytes = format!("YUV4MPEG2 W{SIDE} H{SIDE} F5:1 Ip A1:1 C420jpeg\n").into_bytes();
    for _ in 0..2 {
        bytes.extend_from_slice(b"FRAME\n");
        for at in 0..SIDE * SIDE {
            let module =
                |pixel: usize| i32::try_from(pixel).unwrap() * modules / i32::try_from(SIDE).unwrap() - 4;
            let dark = code.get_module(module(at % SIDE), module(at / SIDE));
            bytes.push(if dark { 16 } else { 235 });
        }
        bytes.resize(bytes.len() + SIDE * SIDE / 2, 128);
    }
    std::fs::write(&film, bytes).unwrap();
    film
}

/// Everything beside the gateway.
struct Around {
    daemon: Daemon,
    broker: Broker,
    dongle: Dongle,
    _forwarder: Forwarder,
    loopback: LoopRadio,
    lora: VirtualLock,
    subghz: VirtualLock,
    _ether: Ether,
    _zigbee: VirtualLock,
}

impl Around {
    /// Does what the browser asks for, and says what it has to know.
    fn order(&mut self, order: &str) -> String {
        match order {
            "confirm" => drop(self.daemon.told(&["claim", "--confirm"])),
            "recover" => return self.daemon.told(&["recover"]),
            // A Zigbee lock looks for a network by itself.
            "wake zigbee" => {}
            "wake lora" => self.lora.switch_on(),
            "wake subghz" => self.subghz.switch_on(),
            "wake loopback" => {
                let lock = *self.loopback.locks.keys().next().unwrap();
                self.loopback.inject(lock, &[]);
                self.loopback.push(lock, datagram(Class::Log, b"sealed"));
                self.loopback
                    .run_until("a receipt", Duration::from_secs(30), |radio| radio.unreceipted() == 0);
            }
            "unplug" => self.dongle.unplug(UNPLUGGED),
            "plug" => self.dongle.unplug(Duration::ZERO),
            "broker-down" => self.broker.down(),
            other => panic!("the browser says {other:?}"),
        }
        "ok".into()
    }
}

#[test]
fn a_browser_claims_the_gateway_and_pairs_sees_and_removes_a_lock_on_every_radio() {
    let Some(mut script) = node("browser.js") else { return };
    let dir = tempfile::tempdir().unwrap();
    // Radios and locks live on threads of their own; this one is the browser's.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let config = DongleConfig { port: dir.path().join("dongle"), seed: SEED, usb: true, capture: None };
    let dongle =
        Dongle::plug_in(Ncp::new(NcpConfig { eui: DONGLE, seed: SEED }, Nvram::default()), config).unwrap();
    let udp = free_udp_port();
    let socket = dir.path().join("cc1101");
    let ether = EtherConfig {
        socket: socket.clone(),
        chip: GatewayChip::Cc1101,
        seed: SEED,
        conditions: Conditions::default(),
        records: false,
    };
    let ether = Ether::start(ether).unwrap();
    let radios = format!(
        "[lora]\nenabled = true\nbind = \"127.0.0.1:{udp}\"\nregion = \"EU868\"\nforwarders = [\"{}\"]\n\
         [zigbee]\nenabled = true\ndevice = \"{}\"\n\
         [subghz]\nenabled = true\ndevice = \"unix:{}\"\n",
        hex::encode(FORWARDER),
        dongle.port().display(),
        socket.display()
    );
    let broker = Broker::open();
    let (daemon, port) = daemon(dir.path(), broker.port, &radios);
    eventually("a network", Duration::from_secs(60), || {
        daemon.cli(&["radio", "form", "zigbee"]).status.success().then_some(())
    });
    let air = Air::new(SEED, Weather::default());
    let server = SocketAddr::from(([127, 0, 0, 1], udp));
    let forwarder = Forwarder::start(ForwarderConfig::eu868(server, FORWARDER), air.clone());
    let forwarder = runtime.block_on(forwarder).unwrap();
    let lora = LockConfig { number: 1, class: LorawanClass::A, region: Region::Eu868 };
    let lora = VirtualLock::new(SEED, lora, &air).unwrap();
    let zigbee = SealedLock::start(SEED, 2, 500, &dongle).unwrap().into_lock();
    let subghz = SubghzLock::new_lock(SEED, 3, Profile::Standard, &ether).unwrap();
    let loopback = LoopRadio::new(daemon.loopback, 1, 500);
    let text = |lock: &VirtualLock| label::reveal(lock.admission()).to_string();
    let empty = dir.path().join("empty.png");
    let blank = dir.path().join("blank.svg");
    std::fs::write(&blank, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 9 9\"/>").unwrap();
    convert(&blank, &empty);
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    let code = daemon.told(&["claim-code"]);
    let facts = serde_json::json!({
        "url": format!("https://gateway.local:{port}/"),
        "code": code,
        "password": PASSWORD,
        "labels": {
            "lora": text(&lora),
            "zigbee": text(&zigbee),
            "subghz": text(&subghz),
            "loopback": loopback.labels()[0],
        },
        "pictures": {
            "zigbee": picture(dir.path(), "zigbee", &text(&zigbee)),
            "owner": other_picture(dir.path()),
            "empty": empty,
            "camera": film(dir.path(), &text(&lora)),
        },
        "shots": shots,
    });
    let mut around = Around {
        daemon,
        broker,
        dongle,
        _forwarder: forwarder,
        loopback,
        lora,
        subghz,
        _ether: ether,
        _zigbee: zigbee,
    };
    let mut browser =
        script.arg(facts.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut answers = browser.stdin.take().unwrap();
    let mut done = false;
    for line in BufReader::new(browser.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "done" {
            done = true;
            continue;
        }
        let answer = around.order(&line);
        writeln!(answers, "{answer}").unwrap();
    }
    let status = browser.wait().unwrap();
    assert!(done && status.success(), "the journey ended early; what went wrong is above");
    let log = around.daemon.log();
    assert!(!log.contains(PASSWORD) && !log.contains(&code) && !log.contains("panicked"));
    drop(around);
    runtime.shutdown_background();
}

/// A gateway with a page that nobody has claimed is nobody's: it speaks to no broker and lets no lock in, and says why.
#[test]
fn before_the_claim_no_broker_is_spoken_to_and_no_lock_let_in_and_the_status_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    broker.set_nonblocking(true).unwrap();
    let mqtt = broker.local_addr().unwrap().port();
    let (mut daemon, _) = daemon(dir.path(), mqtt, "");
    let label = LoopRadio::new(daemon.loopback, 1, 500).labels().remove(0);
    let refused = daemon.cli(&["locks", "admit", &label]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("nobody has claimed") && said.contains("claim-code"),
        "{said}"
    );
    let status = daemon.cli(&["status"]);
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains("nobody has claimed") && said.contains("claim-code"), "{said}");
    // A link that were started would be here within milliseconds.
    std::thread::sleep(Duration::from_secs(2));
    assert!(broker.accept().is_err(), "somebody connected to the broker");

    // The same gateway without a page is its operator's: what they configured works.
    daemon.kill();
    let text = std::fs::read_to_string(&daemon.config).unwrap();
    std::fs::write(&daemon.config, text.replace("[web]\nenabled = true", "[web]\nenabled = false")).unwrap();
    daemon.up();
    daemon.told(&["locks", "admit", &label]);
    eventually("the broker is spoken to", Duration::from_secs(30), || broker.accept().ok());

    // And one that has locks already goes on serving them when a page is switched on; new ones wait for the claim.
    daemon.kill();
    std::fs::write(&daemon.config, &text).unwrap();
    while broker.accept().is_ok() {}
    daemon.up();
    eventually("the broker is spoken to", Duration::from_secs(30), || broker.accept().ok());
    let other = LoopRadio::new(daemon.loopback, 2, 500).labels().remove(1);
    assert!(!daemon.cli(&["locks", "admit", &other]).status.success());
}

/// The code, the claim and the certificate survive a restart, and only whoever may use the socket gets them.
#[test]
fn the_command_line_makes_the_code_and_knows_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (mut daemon, port) = daemon(dir.path(), free_port(), "");
    for (order, todo) in
        [(&["claim", "--confirm"][..], "cardea claim-code"), (&["recover"], "cardea claim-code")]
    {
        let refused = daemon.cli(order);
        assert!(!refused.status.success());
        assert!(String::from_utf8_lossy(&refused.stderr).contains(todo), "it says what to do");
    }
    let (first, second) = (daemon.told(&["claim-code"]), daemon.told(&["claim-code"]));
    assert!(first != second && second.len() == 19, "{second}");
    let fingerprint = daemon.told(&["fingerprint"]);

    daemon.kill();
    daemon.up();
    assert_eq!(daemon.told(&["fingerprint"]), fingerprint);
    daemon.told(&["claim", "--confirm"]);
    // What a browser would show is what the command says.
    let shown = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256 -text"
        ))
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let digest = fingerprint.strip_prefix("SHA-256 ").unwrap();
    assert!(shown.contains(digest), "{shown}");
    assert!(shown.contains("prime256v1") && shown.contains("DNS:gateway.local"), "{shown}");
    assert!(!daemon.log().contains(&second));
}

#[test]
fn a_gateway_whose_page_is_off_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), free_port(), "");
    for order in [&["claim-code"][..], &["claim", "--confirm"], &["recover"], &["fingerprint"]] {
        let out = daemon.cli(order);
        assert!(!out.status.success());
        assert!(String::from_utf8_lossy(&out.stderr).contains("[web]"), "{order:?}");
    }
}
