//! The real gateway daemon, as its own process.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use crate::{eventually, free_port, free_udp_port, process::Process, program};

/// One gateway with its own folder.
pub struct Daemon {
    /// Configuration file.
    pub config: PathBuf,
    /// Where its database and keys are.
    pub data: PathBuf,
    /// UDP port of its loopback radio.
    pub loopback: u16,
    /// TCP port of its metrics.
    pub metrics: u16,
    log: PathBuf,
    process: Option<Process>,
}

impl Daemon {
    /// Writes a configuration for gateway `gw-test` with the loopback radio towards a broker on `mqtt_port`,
    /// with `more` appended (TOML), and starts it.
    pub fn start(dir: &Path, mqtt_port: u16, more: &str) -> Self {
        let daemon = Self::prepare(dir, mqtt_port, more);
        daemon.started()
    }

    /// As [`Self::start`] without starting it.
    pub fn prepare(dir: &Path, mqtt_port: u16, more: &str) -> Self {
        let data = dir.join("data");
        std::fs::create_dir_all(&data).unwrap();
        let (loopback, metrics) = (free_udp_port(), free_port());
        let socket = dir.join("api.sock");
        let text = format!(
            r#"
[gateway]
id = "gw-test"
data_dir = "{data}"
clock = "trust"
[log]
level = "debug"
[mqtt]
url = "mqtt://127.0.0.1:{mqtt_port}"
keepalive = 5
{mqtt}
[loopback]
enabled = true
bind = "127.0.0.1:{loopback}"
[metrics]
bind = "127.0.0.1:{metrics}"
[api]
socket = "{socket}"
{more}
"#,
            data = data.display(),
            socket = socket.display(),
            mqtt = more.split_once("#mqtt\n").map_or("", |(mqtt, _)| mqtt),
            more = more.split_once("#mqtt\n").map_or(more, |(_, rest)| rest),
        );
        let config = dir.join("cardea.toml");
        std::fs::write(&config, text).unwrap();
        Self { config, data, loopback, metrics, log: dir.join("cardea.log"), process: None }
    }

    fn started(mut self) -> Self {
        self.up();
        self
    }

    /// Starts it (again) and waits until it answers.
    pub fn up(&mut self) {
        self.up_without_waiting();
        self.wait_ready();
    }

    /// Starts it (again).
    pub fn up_without_waiting(&mut self) {
        let mut command = Command::new(program("cardea"));
        command.args(["run", "--config"]).arg(&self.config);
        self.process = Some(Process::start(&mut command, &self.log));
    }

    /// Waits until its metrics can be read.
    pub fn wait_ready(&self) {
        eventually("the daemon answers", Duration::from_secs(30), || {
            TcpStream::connect(("127.0.0.1", self.metrics)).ok()
        });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    /// Every whole line that it has logged over all its lives.
    pub fn log(&self) -> String {
        crate::whole_lines(&self.log)
    }

    /// What the CLI says, which must succeed.
    pub fn told(&self, arguments: &[&str]) -> String {
        let out = self.cli(arguments);
        assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// Waits until it says this of itself, well or not.
    pub fn reaches(&self, words: &str, limit: Duration) {
        crate::eventually(words, limit, || {
            let out = self.cli(&["status"]);
            let said = [out.stdout, out.stderr].concat();
            String::from_utf8_lossy(&said).contains(words).then_some(())
        });
    }

    /// One of its counters, by name and labels.
    pub fn counted(&self, name: &str) -> u64 {
        let metrics = self.metrics();
        let line =
            metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        line.trim().parse().unwrap()
    }

    /// Runs the CLI against it.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("cardea"));
        command.args(arguments).arg("--config").arg(&self.config);
        command.output().unwrap()
    }

    /// Admits locks by their labels.
    pub fn admit(&self, labels: &[String]) {
        for some in labels.chunks(500) {
            let mut arguments = vec!["locks", "admit"];
            arguments.extend(some.iter().map(String::as_str));
            let out = self.cli(&arguments);
            assert!(
                out.status.success(),
                "{}{}",
                String::from_utf8_lossy(&out.stdout),
                String::from_utf8_lossy(&out.stderr)
            );
        }
    }

    /// The Prometheus text.
    pub fn metrics(&self) -> String {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}
