//! What the whole-system tests are built from: real processes, a real broker, real sockets. The tests of single crates
//! take their brokers, their failing networks and their certificates from here as well.
//!
//! The programs under test are the ones that `scripts/test` has built (`--profile quick`); the tests never build
//! or install anything. Every process a test starts is stopped when its handle is dropped.

pub mod authority;
pub mod broker;
pub mod counterpart;
pub mod daemon;
pub mod fake_broker;
pub mod lines;
pub mod loopback;
pub mod node;
pub mod observer;
pub mod phone;
pub mod process;
pub mod proxy;
pub mod site;
pub mod spy;
pub mod venv;

use std::{
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A TCP port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A UDP port that was free a moment ago.
pub fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One of our programs, as built by `scripts/test`; `CARDEA_BIN_DIR` names another folder.
pub fn program(name: &str) -> PathBuf {
    let dir = std::env::var_os("CARDEA_BIN_DIR").map_or_else(
        // target/debug/deps/this-test -> target/quick
        || std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("quick"),
        PathBuf::from,
    );
    let path = dir.join(name);
    assert!(
        path.exists(),
        "{} is not there: run `cargo build --profile quick -p cardea-gateway -p cardea-server -p cardea-simulator --bins`",
        path.display()
    );
    path
}

/// What a process has written to its log so far, in whole lines: it writes while we read, and half a line is not what it said.
pub fn whole_lines(log: &Path) -> String {
    let mut said = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    said.truncate(said.rfind('\n').map_or(0, |end| end + 1));
    said
}

/// Waits until `ready` holds; a generous bound, so that a slow machine fails no test.
pub fn eventually<T>(what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a future; panics if it takes longer than anything should.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(value) => value,
        Err(_) => panic!("timed out: {what}"),
    }
}

/// Writes a file and gives its path.
pub fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
