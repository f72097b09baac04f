//! A real mosquitto.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{eventually, process::Process};

/// One broker on a loopback port.
pub struct Broker {
    /// Where it listens.
    pub port: u16,
    dir: PathBuf,
    more: String,
    process: Option<Process>,
    _own: Option<tempfile::TempDir>,
}

impl Broker {
    /// Starts one with an open listener; `more` is appended to its configuration.
    pub fn start(dir: &Path, more: &str) -> Self {
        Self::new(dir.to_owned(), format!("allow_anonymous true\n{more}"), None)
    }

    /// Starts one with an open listener in a folder of its own.
    pub fn open() -> Self {
        Self::with("allow_anonymous true")
    }

    /// Starts one in a folder of its own; `lines` of its configuration say who may use it.
    pub fn with(lines: &str) -> Self {
        let own = tempfile::tempdir().unwrap();
        Self::new(own.path().to_owned(), lines.to_owned(), Some(own))
    }

    fn new(dir: PathBuf, more: String, own: Option<tempfile::TempDir>) -> Self {
        let mut broker = Self { port: crate::free_port(), dir, more, process: None, _own: own };
        broker.up();
        broker
    }

    /// Starts it (again) on the same port.
    pub fn up(&mut self) {
        let file = self.dir.join("mosquitto.conf");
        let Self { port, more, .. } = self;
        // Root drops to `mosquitto` by default and could then not write into the test's folder.
        let text = format!(
            "listener {port} 127.0.0.1\nuser root\nmax_queued_messages 0\nmax_inflight_messages 0\n{more}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mosquitto = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"]
            .into_iter()
            .find(|p| Path::new(p).exists())
            .expect("mosquitto is not installed: scripts/test installs it");
        let log = self.dir.join("mosquitto.log");
        self.process = Some(Process::start(Command::new(mosquitto).arg("-c").arg(&file), &log));
        let address = ("127.0.0.1", self.port);
        eventually("mosquitto listens", Duration::from_secs(20), || TcpStream::connect(address).ok());
    }

    /// SIGKILL: without persistence everything it held is gone.
    pub fn down(&mut self) {
        self.process = None;
    }

    /// SIGSTOP: connections stay open and nothing answers (half-open).
    pub fn freeze(&self) {
        self.process.as_ref().unwrap().signal("STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.process.as_ref().unwrap().signal("CONT");
    }
}
