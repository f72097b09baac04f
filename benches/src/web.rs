//! The local page on the real daemon: how soon a page begins to come, by curl, and what open pages cost in memory.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use cardea_tests::{broker::Broker, daemon::Daemon, free_port, free_udp_port, loopback::LoopRadio};

use crate::figures::{Percentiles, resident};

const PASSWORD: &str = "vier alte Nussbaeume";
/// Requests for each page. No faster than the page lets one address ask.
const TIMES: usize = 100;
const RATE: &str = "15/s";
/// Pages that are open, each with its stream of what changes.
const OPEN: usize = 20;

/// Prints the table.
pub fn report(locks: u16) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let port = free_port();
    let lora = free_udp_port();
    let more = format!(
        "[lora]\nenabled = true\nbind = \"127.0.0.1:{lora}\"\n\
         [zigbee]\nenabled = true\ndevice = \"{}\"\n\
         [web]\nenabled = true\nhttps = \"127.0.0.1:{port}\"\nnames = [\"gateway.local\"]\n",
        dir.path().join("no-dongle").display(),
    );
    let mut daemon = Daemon::start(dir.path(), broker.port, &more);
    let before = resident(daemon.process().id());
    let page = Page { port, jar: dir.path().join("jar").display().to_string() };
    page.claim(&daemon);
    // Whoever signs in costs 7 MiB for a moment, which the allocator may keep.
    let claimed = resident(daemon.process().id());

    let mut radio = LoopRadio::new(daemon.loopback, locks, 5_000);
    daemon.admit(&radio.labels());
    for id in radio.locks.keys().copied().collect::<Vec<_>>() {
        let body = [&[0x09, 0][..], &id.0, &[0x5A; 30]].concat();
        radio.push(id, cardea_tests::loopback::datagram(cardea_framing::Class::Log, &body));
    }
    radio.run_until("every lock was heard", Duration::from_secs(300), |r| r.unreceipted() == 0);
    thread::sleep(Duration::from_secs(3));
    let full = resident(daemon.process().id());
    let mut streams: Vec<Child> = (0..OPEN).map(|_| page.watch("/live/overview")).collect();
    thread::sleep(Duration::from_secs(5));
    let open = resident(daemon.process().id());

    println!("## The local page, {locks} locks, TLS 1.3 on loopback, one connection kept\n");
    println!(
        "| page, {TIMES} times, {RATE} | from request to its first byte | bytes, compressed |\n|---|---|---|"
    );
    for path in ["/", "/locks", "/radios", "/map", "/security"] {
        let (taken, bytes) = page.ask(path);
        println!("| `{path}` | {taken} | {bytes} |");
    }
    println!("\n| memory of the daemon (RSS), all radios and the page on | |\n|---|---|");
    for (what, kib) in [
        ("before anybody came", before),
        ("after the claim", claimed),
        (&*format!("with {locks} locks"), full),
        (&*format!("and {OPEN} pages that are kept up to date"), open),
    ] {
        println!("| {what} | {:.1} MB |", kib as f64 / 1024.0);
    }
    println!();
    for stream in &mut streams {
        assert!(stream.try_wait().unwrap().is_none(), "a page's stream ended early");
        stream.kill().unwrap();
        stream.wait().unwrap();
    }
}

struct Page {
    port: u16,
    /// curl's file of cookies.
    jar: String,
}

impl Page {
    fn site(&self) -> String {
        format!("https://gateway.local:{}", self.port)
    }

    fn curl(&self) -> Command {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--fail",
            "--insecure",
            "--compressed",
            "--cookie",
            &self.jar,
        ]);
        curl.args([
            "--cookie-jar",
            &self.jar,
            "--resolve",
            &format!("gateway.local:{}:127.0.0.1", self.port),
        ]);
        curl
    }

    fn claim(&self, daemon: &Daemon) {
        let code = String::from_utf8(daemon.cli(&["claim-code"]).stdout).unwrap();
        let code = code.split_whitespace().find(|word| word.len() == 19).expect("a code").to_owned();
        assert!(daemon.cli(&["claim", "--confirm"]).status.success());
        let mut curl = self.curl();
        curl.args(["--output", "/dev/null", "--header", &format!("Origin: {}", self.site())]);
        for field in ["code=".to_owned() + &code, format!("password={PASSWORD}"), format!("again={PASSWORD}")]
        {
            curl.args(["--data-urlencode", &field]);
        }
        assert!(curl.arg(self.site() + "/claim").status().unwrap().success());
    }

    /// Asks again and again.
    fn ask(&self, path: &str) -> (Percentiles, u64) {
        let mut curl = self.curl();
        curl.args([
            "--rate",
            RATE,
            "--write-out",
            "%{time_pretransfer} %{time_starttransfer} %{size_download}\n",
        ]);
        for _ in 0..=TIMES {
            curl.args(["--output", "/dev/null", &(self.site() + path)]);
        }
        let said = curl.output().unwrap();
        assert!(said.status.success(), "{path}: {}", String::from_utf8_lossy(&said.stderr));
        let said = String::from_utf8(said.stdout).unwrap();
        let figures: Vec<Vec<f64>> = said
            .lines()
            .map(|line| line.split(' ').map(|figure| figure.parse().unwrap()).collect())
            .collect();
        // The first has the handshake.
        let taken = figures.iter().skip(1).map(|all| Duration::from_secs_f64((all[1] - all[0]).max(0.0)));
        (Percentiles::of(taken.collect()), figures[0][2] as u64)
    }

    fn watch(&self, path: &str) -> Child {
        let mut curl = self.curl();
        curl.args(["--no-buffer", "--output", "/dev/null", &(self.site() + path)]);
        curl.stdin(Stdio::null()).spawn().unwrap()
    }
}
