//! The passphrase that `cardea radio backup` and `restore` ask for, at a terminal: nothing of it is seen, and the terminal is left
//! as it was, whatever is typed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use cardea_backup::{Passphrase, To, seal};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

const PASSPHRASE: &str = "correct horse battery";
const PATIENCE: Duration = Duration::from_secs(60);
/// The interrupt key, Ctrl-C.
const INTERRUPT: &str = "\x03";

/// A command at a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    /// Where the settings are read, and the reason that the terminal stays when the command ends.
    other: File,
    shown: Receiver<Vec<u8>>,
    /// Everything that was shown, and how much of it was waited for.
    seen: String,
    waited: usize,
}

impl Terminal {
    fn new(directory: &Path, arguments: &[&str]) -> Self {
        let config = directory.join("cardea.toml");
        let (data, socket) = (directory.join("data"), directory.join("nobody.sock"));
        let text = format!(
            "[gateway]\ndata_dir = {data:?}\n[mqtt]\nurl = \"mqtt://127.0.0.1:9\"\n[api]\nsocket = {socket:?}\n"
        );
        std::fs::write(&config, text).unwrap();
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let other = File::options().read(true).write(true).open(OsStr::from_bytes(name.as_bytes())).unwrap();
        // A session whose terminal it is.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_cardea")]).args(arguments);
        command.arg("--config").arg(&config).current_dir(directory);
        let end = || other.try_clone().unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let keys = File::from(master);
        let mut screen = keys.try_clone().unwrap();
        let (show, shown) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                if show.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, other, shown, seen: String::new(), waited: 0 }
    }

    /// Waits until this was shown, after what was waited for before.
    fn shows(&mut self, words: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(place) = self.seen[self.waited..].find(words) {
                self.waited += place + words.len();
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.shown.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("never: {words:?}; {:?}", self.seen),
            }
        }
    }

    /// The command itself, which is the child of what gave it its terminal.
    fn command(&self) -> Pid {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(children).unwrap();
        let own = children.split_whitespace().next().map_or(self.child.id(), |child| child.parse().unwrap());
        Pid::from_raw(own.try_into().unwrap()).unwrap()
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// What the terminal shows of what is typed, and whether its keys end processes.
    fn modes(&self) -> (bool, bool) {
        let modes = tcgetattr(&self.other).unwrap().local_modes;
        (modes.contains(LocalModes::ECHO), modes.contains(LocalModes::ISIG))
    }

    /// The end: it failed, the terminal is as it was, and nothing that was typed was ever seen. What was shown last.
    fn failed(mut self, typed: &[&str]) -> String {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end; {:?}", self.seen);
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(!status.success());
        assert_eq!(self.modes(), (true, true), "the terminal is as it was");
        while let Ok(bytes) = self.shown.recv_timeout(Duration::from_millis(200)) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        for secret in typed {
            assert!(!self.seen.contains(secret), "{:?}", self.seen);
        }
        self.seen.split_off(self.waited)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const BACKUP: [&str; 6] = ["radio", "backup", "zigbee", "--to", "backup.age", "--passphrase"];

#[test]
fn a_passphrase_is_asked_for_twice_and_nothing_of_it_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::new(directory.path(), &BACKUP);
    terminal.shows("Passphrase: ");
    assert_eq!(terminal.modes(), (false, false));
    terminal.types(&format!("{PASSPHRASE}\n"));
    terminal.shows("The same passphrase again: ");
    assert_eq!(terminal.modes(), (false, false));
    // What was typed wrongly can be taken back, as at every terminal.
    terminal.types(&format!("{PASSPHRASE}x\x7f\n"));
    terminal.shows("asking the dongle");
    let rest = terminal.failed(&[PASSPHRASE]);
    assert!(rest.contains("nobody.sock"), "the passphrase was taken, and then no daemon was there: {rest}");
    assert!(!directory.path().join("backup.age").exists());
}

#[test]
fn two_passphrases_that_differ_or_one_that_is_short_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::new(directory.path(), &BACKUP);
    terminal.shows("Passphrase: ");
    terminal.types(&format!("{PASSPHRASE}\n"));
    terminal.shows("again: ");
    terminal.types("correct horse batterie\n");
    let rest = terminal.failed(&[PASSPHRASE, "batterie"]);
    assert!(rest.contains("not the same passphrase twice"), "{rest}");

    let mut terminal = Terminal::new(directory.path(), &BACKUP);
    terminal.shows("Passphrase: ");
    terminal.types("eleven char\n");
    let rest = terminal.failed(&["eleven"]);
    assert!(rest.contains("at least 12 characters") && !rest.contains("again"), "{rest}");
}

#[test]
fn the_interrupt_key_ends_it_and_leaves_the_terminal_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    for before in ["", "correct ho"] {
        let mut terminal = Terminal::new(directory.path(), &BACKUP);
        terminal.shows("Passphrase: ");
        terminal.types(&format!("{before}{INTERRUPT}"));
        let rest = terminal.failed(&["correct"]);
        assert!(rest.contains("interrupted"), "{rest}");
    }
    // A key that ends processes elsewhere is no part of a passphrase.
    let mut terminal = Terminal::new(directory.path(), &BACKUP);
    terminal.shows("Passphrase: ");
    terminal.types(&format!("{PASSPHRASE}\x1c\n"));
    assert!(terminal.failed(&[PASSPHRASE]).contains("interrupted"));
}

#[test]
fn a_signal_ends_it_at_once_and_leaves_the_terminal_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut terminal = Terminal::new(directory.path(), &BACKUP);
        terminal.shows("Passphrase: ");
        assert_eq!(terminal.modes(), (false, false));
        terminal.types("correct ho");
        kill_process(terminal.command(), signal).unwrap();
        terminal.failed(&["correct"]);
    }
    // And when the prompt is over, while it waits for the dongle.
    let daemon = UnixListener::bind(directory.path().join("nobody.sock")).unwrap();
    let mut terminal = Terminal::new(directory.path(), &BACKUP);
    for prompt in ["Passphrase: ", "again: "] {
        terminal.shows(prompt);
        terminal.types(&format!("{PASSPHRASE}\n"));
    }
    terminal.shows("asking the dongle");
    let (_waiting, _) = daemon.accept().unwrap();
    kill_process(terminal.command(), Signal::TERM).unwrap();
    terminal.failed(&[PASSPHRASE]);
}

#[test]
fn who_restores_is_asked_once_for_the_passphrase_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let to = To::Passphrase(Passphrase::new(PASSPHRASE.to_owned().into()));
    std::fs::write(directory.path().join("backup.age"), seal(b"{}", &to).unwrap()).unwrap();
    for (typed, said) in [(PASSPHRASE, "nobody.sock"), ("incorrect horse battery", "does not open")] {
        let mut terminal =
            Terminal::new(directory.path(), &["radio", "restore", "zigbee", "--from", "backup.age"]);
        terminal.shows("Passphrase: ");
        assert_eq!(terminal.modes(), (false, false));
        terminal.types(&format!("{typed}\n"));
        let rest = terminal.failed(&[typed]);
        assert!(rest.contains(said), "{rest}");
    }
}
