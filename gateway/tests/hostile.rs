//! Hostile bytes on every socket of the real daemon: it stays, keeps its memory and its files, counts what it was sent,
//! and relays a lock's frame afterwards as it did before.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use cardea_framing::Class;
use common::*;

/// What the daemon may have grown by, KiB: it is small, and a flood must not change that.
const GROWTH_KIB: u64 = 16 * 1024;

/// The daemon with all its sockets, one lock, and what it took before anyone was hostile.
struct Target {
    daemon: Daemon,
    radio: Radio,
    lora: u16,
    memory: u64,
    files: usize,
    said: u8,
    _broker: Broker,
}

impl Target {
    fn start() -> Self {
        let broker = Broker::start();
        let lora = free_udp_port();
        let more = format!(
            "[lora]\nenabled = true\nbind = \"127.0.0.1:{lora}\"\nforwarders = [\"aa555a0000000101\"]\n"
        );
        let mut daemon = Daemon::prepared(&broker, &more);
        // As in production: at debug, the log of a flood is the flood.
        daemon.environment.push(("CARDEA_LOG__LEVEL".into(), "info".into()));
        daemon.up();
        daemon.admit();
        let radio = Radio::new(&daemon);
        radio.deliver(&datagram(Class::Log, &[9, 0]));
        daemon.scrape();
        let (memory, files) = (daemon.memory_kib(), daemon.files());
        Self { daemon, radio, lora, memory, files, said: 0, _broker: broker }
    }

    /// A lock is heard, an operator answered, and the daemon is no bigger than it was.
    fn unharmed(&mut self, after: &str) {
        self.said += 1;
        self.radio.deliver(&datagram(Class::Interactive, &[9, self.said, 1]));
        assert!(self.daemon.raw(b"{\"verb\":\"status\"}\n").contains("\"ok\""), "after {after}");
        // First of all: a panic's backtrace takes memory, too.
        assert!(!self.daemon.log().contains("panicked"), "after {after}");
        let memory = self.daemon.memory_kib();
        assert!(memory < self.memory + GROWTH_KIB, "after {after}: {} KiB became {memory} KiB", self.memory);
    }

    fn metrics(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.daemon.metrics)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    fn sample(&self, sample: &str) -> u64 {
        let text = self.daemon.scrape();
        let line = text.lines().find_map(|line| line.strip_prefix(sample));
        line.unwrap_or_else(|| panic!("{sample} in {text}")).trim().parse().unwrap()
    }
}

/// Bytes without a pattern, the same in every run.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// What comes back until the other side closes, which it may do with a reset.
fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn what_is_not_http_and_heads_without_an_end_get_nothing_from_the_metrics_port() {
    let mut target = Target::start();
    for (number, garbage) in [
        &b"\r\n\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = target.metrics();
        stream.write_all(garbage).unwrap();
        let _ = stream.shutdown(Shutdown::Write);
        let said = answer(&mut stream);
        assert!(number == 5 || !said.starts_with("HTTP/1.1 200"), "{garbage:?}: {said}");
    }
    for seed in 1..50 {
        let mut stream = target.metrics();
        let _ = stream.write_all(&noise(seed, 4096));
        let _ = stream.shutdown(Shutdown::Write);
        answer(&mut stream);
    }
    // A megabyte of one header line: refused before it is all there.
    let mut stream = target.metrics();
    let long =
        [&b"GET /metrics HTTP/1.1\r\nHost: a\r\nX-Long: "[..], &vec![b'x'; 1 << 20], b"\r\n\r\n"].concat();
    let _ = stream.write_all(&long);
    let said = answer(&mut stream);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
    // Only one path there is, and only to be read.
    for request in ["GET / HTTP/1.1", "POST /metrics HTTP/1.1", "GET /metrics/../../etc/passwd HTTP/1.1"] {
        let mut stream = target.metrics();
        write!(stream, "{request}\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        assert!(answer(&mut stream).starts_with("HTTP/1.1 40"), "{request}");
    }
    // Many requests in one go, by someone who reads the answers, and by someone who does not.
    let one = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut reader = target.metrics();
    reader.write_all(&[&one.repeat(199)[..], last].concat()).unwrap();
    assert_eq!(answer(&mut reader).matches("HTTP/1.1 200 OK").count(), 200);
    let mut deaf = target.metrics();
    deaf.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let _ = deaf.write_all(&one.repeat(20_000));
    target.unharmed("noise at the metrics port");
}

#[test]
fn connections_to_the_metrics_port_are_few_and_short_and_keep_nobody_out() {
    let mut target = Target::start();
    // Two thousand that say nothing, or half a request; four hundred of them stay.
    let (mut held, flood) = (Vec::new(), Instant::now());
    for number in 0..2_000 {
        let mut stream = target.metrics();
        if number % 2 == 0 {
            stream.write_all(b"GET /met").unwrap();
        }
        if held.len() < 400 {
            held.push(stream);
        }
    }
    let start = Instant::now();
    target.daemon.scrape();
    assert!(start.elapsed() < Duration::from_secs(5), "a scrape waits for nobody: {:?}", start.elapsed());
    // Those that were displaced are closed: long before their time, which is ten seconds.
    eventually("the daemon's files", || (target.daemon.files() <= target.files + 20).then_some(()));
    assert!(flood.elapsed() < Duration::from_secs(9), "displaced, not timed out: {:?}", flood.elapsed());
    target.unharmed("two thousand connections");

    // One that feeds its head byte by byte has no longer than the others.
    let (mut slow, start) = (target.metrics(), Instant::now());
    slow.set_nonblocking(true).unwrap();
    eventually("the slow one is cut off", || {
        let cut = slow.write_all(b"x").is_err();
        std::thread::sleep(Duration::from_millis(200));
        cut.then_some(())
    });
    assert!(start.elapsed() > Duration::from_secs(5), "not before its time: {:?}", start.elapsed());
    drop(held);
    eventually("all are gone", || (target.daemon.files() <= target.files + 1).then_some(()));
}

#[test]
fn clients_of_the_control_socket_hold_up_each_other_and_nothing_else() {
    let mut target = Target::start();
    let socket = target.daemon.path("api.sock");
    let connect = || {
        let stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    // Requests in one go are answered in order, good ones after bad ones.
    let mut stream = connect();
    let lines = b"{\"verb\":\"status\"}\nnonsense\n{\"verb\":\"locks\"}\n".repeat(50);
    stream.write_all(&lines).unwrap();
    let answers: Vec<_> = BufReader::new(&stream).lines().take(150).map(Result::unwrap).collect();
    for three in answers.chunks(3) {
        assert!(three[0].contains("\"uptime_s\""), "{three:?}");
        assert!(three[1].contains("not a request"), "{three:?}");
        assert!(three[2].contains(&LOCK.to_string()), "{three:?}");
    }
    drop(stream);
    // A line that has no end is answered once and then no longer listened to.
    for seed in 1..20 {
        let mut stream = connect();
        let _ = stream.write_all(&noise(seed, 200_000).iter().map(|b| b | 0x80).collect::<Vec<_>>());
        let mut said = String::new();
        let _ = BufReader::new(stream).read_line(&mut said);
        assert!(said.is_empty() || said.contains("at most 4096 bytes"), "{said}");
    }
    // Half a request, and gone.
    for _ in 0..500 {
        connect().write_all(b"{\"verb\":\"sta").unwrap();
    }
    target.unharmed("half requests");
    // As many as are served at once but one, and then far more: the frames of locks do not wait for them.
    let mut silent: Vec<_> = (0..31).map(|_| connect()).collect();
    target.unharmed("thirty-one clients that say nothing");
    silent.extend((0..400).map(|_| connect()));
    target.radio.deliver(&datagram(Class::Interactive, &[9, 200]));
    assert!(target.daemon.files() <= target.files + 33, "{} files", target.daemon.files());
    drop(silent);
    target.unharmed("four hundred clients");
}

#[test]
fn the_loopback_radio_takes_any_datagram() {
    let mut target = Target::start();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = (Ipv4Addr::LOCALHOST, target.daemon.radio);
    let before = target.sample("cardea_frames_discarded_total{reason=\"malformed\"}");
    for seed in 1..3_000_u64 {
        // Of locks that nobody has admitted, each another one.
        let _ = socket.send_to(&noise(seed, usize::try_from(seed % 300).unwrap()), to);
    }
    for seed in 0..500_u64 {
        // In the name of the lock that there is: a version that does not exist, and whatever comes.
        let frame = [&LOCK.0[..], &[0xff], &noise(seed, usize::try_from(seed % 240).unwrap())].concat();
        let _ = socket.send_to(&frame, to);
        let frame = [&LOCK.0[..], &noise(seed, usize::try_from(seed % 240).unwrap())].concat();
        let _ = socket.send_to(&frame, to);
        if seed.is_multiple_of(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let _ = socket.send_to(&noise(7, 65_000), to);
    eventually("counted", || {
        let now = target.sample("cardea_frames_discarded_total{reason=\"malformed\"}");
        (now >= before + 250).then_some(())
    });
    target.unharmed("noise on the loopback radio");
}

#[test]
fn the_packet_forwarders_port_takes_any_datagram_and_serves_the_one_that_is_ours() {
    let mut target = Target::start();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let send = |datagram: &[u8]| {
        let _ = socket.send_to(datagram, (Ipv4Addr::LOCALHOST, target.lora));
    };
    // A rest between bursts: what the kernel drops is no test of the daemon.
    let rest = |number: u64| {
        if number.is_multiple_of(50) {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    for seed in 1..2_000_u64 {
        send(&noise(seed, usize::try_from(seed % 200).unwrap()));
        rest(seed);
    }
    // Each kind of packet, cut short at every byte.
    let ours = [0xaa, 0x55, 0x5a, 0, 0, 0, 1, 1];
    let foreign = [0xbb; 8];
    let head = |kind: u8, eui: [u8; 8]| [&[2, 0x12, 0x34, kind][..], &eui].concat();
    let json = br#"{"rxpk":[{"tmst":1,"freq":868.1,"chan":0,"rfch":0,"stat":1,"modu":"LORA","datr":"SF7BW125","codr":"4/5","rssi":-50,"lsnr":9,"size":23,"data":"AAEAAADQfrNwCAcGBQQDAgEAAGWWKhw="}]}"#;
    for kind in 0..6 {
        let whole = [&head(kind, ours)[..], json].concat();
        for cut in 0..whole.len() {
            send(&whole[..cut]);
            rest(cut.try_into().unwrap());
        }
    }
    // As large as UDP carries, as deep as it goes, and numbers that are none.
    let push = head(0, ours);
    for body in [
        [b"{\"rxpk\":[".to_vec(), b"{},".repeat(20_000), b"{}]}".to_vec()].concat(),
        [b"{\"rxpk\":[{\"data\":\"".to_vec(), vec![b'A'; 60_000], b"\"}]}".to_vec()].concat(),
        vec![b'['; 60_000],
        b"{\"a\":".repeat(12_000),
        br#"{"rxpk":[{"tmst":1e999,"freq":-0.0,"rssi":9e99,"lsnr":-9e99,"datr":"SF99BW0","data":"===="}]}"#
            .to_vec(),
        br#"{"rxpk":null,"stat":[[[]]]}"#.to_vec(),
        b"{\"rxpk\":\xff\xfe}".to_vec(),
    ] {
        send(&[&push[..], &body].concat());
        std::thread::sleep(Duration::from_millis(5));
    }
    // Forwarders that are not ours, each another one.
    for number in 0..5_000_u64 {
        let mut eui = foreign;
        eui[..4].copy_from_slice(&u32::try_from(number).unwrap().to_be_bytes());
        send(&head(2, eui));
        rest(number);
    }
    let ignored = |reason: &str| target.sample(&format!("cardea_lora_ignored_total{{reason=\"{reason}\"}}"));
    eventually("all that was no packet forwarder is counted", || {
        (ignored("not_a_forwarder") >= 1_500 && ignored("foreign_forwarder") >= 3_000).then_some(())
    });
    // The log tells of strangers once a minute.
    assert!(target.daemon.log().matches("is ignored").count() <= 3, "{}", target.daemon.log());
    // The one that is ours is served as ever: PULL_DATA is answered by PULL_ACK.
    let forwarder = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    forwarder.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    forwarder.send_to(&head(2, ours), (Ipv4Addr::LOCALHOST, target.lora)).unwrap();
    let mut buffer = [0; 64];
    let len = forwarder.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..len], [2, 0x12, 0x34, 4]);
    eventually("the radio is up", || (target.sample("cardea_radio_up{radio=\"lora\"}") == 1).then_some(()));
    assert_eq!(target.sample("cardea_radio_restarts_total{radio=\"lora\"}"), 0);
    target.unharmed("noise at the packet forwarder's port");
}
