//! The daemon as its own process, a real mosquitto, an observer at the broker, and a lock on the loopback radio.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail the test; each test binary uses its part"
)]

pub(crate) mod faults;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cardea_framing::{Class, Datagram, Kind, LockId, receipt_digest};
use cardea_radio::{Admission, AdmissionSecret, label};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::Value;

pub(crate) const LOCK: LockId = LockId([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
pub(crate) const GATEWAY: &str = "cardea/v1/gw-test";

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub(crate) fn free_udp_port() -> u16 {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A mosquitto without persistence on a loopback port.
pub(crate) struct Broker {
    pub(crate) port: u16,
    /// Lines of mosquitto.conf.
    pub(crate) more: String,
    directory: tempfile::TempDir,
    child: Option<Child>,
}

impl Broker {
    /// Not running yet.
    pub(crate) fn prepared() -> Self {
        let more = "allow_anonymous true".into();
        Self { port: free_port(), more, directory: tempfile::tempdir().unwrap(), child: None }
    }

    pub(crate) fn start() -> Self {
        let mut broker = Self::prepared();
        broker.up();
        broker
    }

    pub(crate) fn up(&mut self) {
        let config = self.directory.path().join("mosquitto.conf");
        let text = format!(
            "listener {} 127.0.0.1\npersistence false\nlog_dest none\nuser root\n{}\n",
            self.port, self.more
        );
        std::fs::write(&config, text).unwrap();
        let mosquitto = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];
        let mosquitto = mosquitto.iter().find(|p| Path::new(p).exists()).copied().unwrap_or("mosquitto");
        let mut command = Command::new(mosquitto);
        command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("mosquitto is installed"));
        eventually("mosquitto listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok());
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A plain client at the broker that sees everything.
pub(crate) struct Observer {
    client: Client,
    seen: mpsc::Receiver<(String, Vec<u8>)>,
}

impl Observer {
    pub(crate) fn new(broker: &Broker) -> Self {
        let id = format!("observer-{}", free_port());
        let (client, mut connection) = Client::new(MqttOptions::new(id, "127.0.0.1", broker.port), 10_000);
        let (tx, seen) = mpsc::channel();
        let (ready_tx, ready) = mpsc::channel();
        client.subscribe("#", QoS::AtLeastOnce).unwrap();
        std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::SubAck(_))) => drop(ready_tx.send(())),
                    Ok(Event::Incoming(Packet::Publish(p))) => {
                        if tx.send((p.topic, p.payload.to_vec())).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        ready.recv_timeout(PATIENCE).expect("the observer subscribes");
        Self { client, seen }
    }

    pub(crate) fn publish(&self, topic: &str, retain: bool, payload: &[u8]) {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).unwrap();
    }

    /// The next JSON message on `{gateway}/{topic}` that `fits`.
    pub(crate) fn json(&self, topic: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let topic = format!("{GATEWAY}/{topic}");
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let (name, payload) =
                self.seen.recv_timeout(left).unwrap_or_else(|_| panic!("never seen: {topic}"));
            if name == topic {
                let value: Value = serde_json::from_slice(&payload).unwrap();
                if fits(&value) {
                    return value;
                }
            }
        }
    }

    /// The next result of a downlink in this state.
    pub(crate) fn result(&self, id: &str, state: &str) -> Value {
        self.json(&format!("lock/{LOCK}/result"), |v| v["id"] == id && v["state"] == state)
    }
}

/// The daemon.
pub(crate) struct Daemon {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) radio: u16,
    pub(crate) metrics: u16,
    pub(crate) environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Daemon {
    /// With the loopback radio, not running yet. `more` is TOML that follows.
    pub(crate) fn prepared(broker: &Broker, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (radio, metrics) = (free_udp_port(), free_port());
        let at = directory.path().display();
        let text = format!(
            "[gateway]\nid = \"gw-test\"\ndata_dir = \"{at}/data\"\nclock = \"trust\"\n\
             [log]\nlevel = \"debug\"\n\
             [mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\nkeepalive = 5\n\
             [loopback]\nenabled = true\nbind = \"127.0.0.1:{radio}\"\n\
             [metrics]\nbind = \"127.0.0.1:{metrics}\"\n\
             [api]\nsocket = \"{at}/api.sock\"\n{more}",
            broker.port
        );
        std::fs::write(directory.path().join("cardea.toml"), text).unwrap();
        Self { directory, radio, metrics, environment: Vec::new(), child: None }
    }

    pub(crate) fn start(broker: &Broker, more: &str) -> Self {
        let mut daemon = Self::prepared(broker, more);
        daemon.up();
        daemon
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cardea"));
        command.arg("--config").arg(self.path("cardea.toml")).args(arguments);
        command.envs(self.environment.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        command
    }

    pub(crate) fn up(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let child = self.command(&["run"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.child = Some(child.unwrap());
        eventually("the control socket answers", || {
            assert!(self.child.as_mut().unwrap().try_wait().unwrap().is_none(), "it ended: {}", self.log());
            UnixStream::connect(self.path("api.sock")).ok()
        });
    }

    /// A command of this name, in the directory `bin` that a test may put on its PATH.
    pub(crate) fn program(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let (path, aside) = (self.path("bin").join(name), self.path("program"));
        std::fs::create_dir_all(self.path("bin")).unwrap();
        std::fs::write(&aside, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(aside, path).unwrap();
    }

    /// Memory that it has in use, KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Files and sockets that it has open.
    pub(crate) fn files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// What a command prints; it must succeed.
    pub(crate) fn said(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command complains; it must fail.
    pub(crate) fn complained(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn admit(&self) {
        let text = label::reveal(&Admission { lock: LOCK, secret: AdmissionSecret::Loopback });
        assert_eq!(self.said(&["locks", "admit", &text]), format!("{LOCK} is admitted on loopback\n"));
    }

    /// One line of JSON in, one out.
    pub(crate) fn raw(&self, line: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.path("api.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(line).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    }

    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.scrape();
        let line = text.lines().find(|l| l.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }

    pub(crate) fn scrape(&self) -> String {
        let mut stream =
            eventually("metrics answer", || TcpStream::connect((Ipv4Addr::LOCALHOST, self.metrics)).ok());
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(done.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        eventually("the daemon ends", || child.try_wait().unwrap())
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", self.log());
        }
    }
}

/// A datagram that fits one frame.
pub(crate) fn datagram(class: Class, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; body.len() + 3];
    let len = Datagram { kind: Kind::PlatformOscore, class, peer: None, body }.encode(&mut out).unwrap();
    out.truncate(len);
    out
}

/// A lock's end of the loopback radio.
pub(crate) struct Radio {
    socket: UdpSocket,
}

impl Radio {
    pub(crate) fn new(daemon: &Daemon) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, daemon.radio)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        Self { socket }
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        let _ = self.socket.send(&[&LOCK.0[..], frame].concat());
    }

    /// The next frame that is not the same as `not`, within half a second.
    pub(crate) fn hear(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        let len = self.socket.recv(&mut buffer).ok()?;
        buffer[..len].strip_prefix(&LOCK.0).map(<[u8]>::to_vec)
    }

    /// Says a datagram until its receipt comes.
    pub(crate) fn deliver(&self, datagram: &[u8]) {
        let receipt = receipt(datagram);
        eventually("the receipt", || {
            self.send(datagram);
            (self.hear()? == receipt).then_some(())
        });
    }
}

/// The frame that promises custody of an unfragmented datagram.
pub(crate) fn receipt(datagram: &[u8]) -> Vec<u8> {
    let [high, low] = receipt_digest(datagram).to_be_bytes();
    // Version 0, kind 5, more 0, and the class of what it acknowledges.
    let class = datagram[0] & 0b11;
    vec![(5 << 3) | class, high, low]
}
