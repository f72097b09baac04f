//! The wall clock, and whether to believe it.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cardea_config::ClockSource;
use cardea_core::Wall;
use jiff::{Timestamp, tz::TimeZone};
use tokio::sync::watch;

/// 2026-01-01 in Unix milliseconds. A clock before this project's first release has lost its time, whatever it
/// is said to be.
const EARLIEST_MS: u64 = 1_767_225_600_000;

/// systemd-timesyncd makes this file once it has synchronised.
const TIMESYNC_FLAG: &str = "/run/systemd/timesync/synchronized";

/// How often an unsynchronised clock is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The wall clock.
#[derive(Debug, Clone)]
pub(crate) struct WallClock {
    synced: watch::Receiver<bool>,
}

impl WallClock {
    /// Starts to watch over it. Must be called in a runtime.
    pub(crate) fn start(source: ClockSource) -> Self {
        let (tx, synced) = watch::channel(source == ClockSource::Trust);
        if source == ClockSource::Auto {
            tokio::spawn(watch_over(tx));
        }
        Self { synced }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Wall {
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(unix_ms.as_millis()).unwrap_or(u64::MAX);
        Wall { unix_ms, synced: *self.synced.borrow() && unix_ms >= EARLIEST_MS }
    }
}

/// Local time minus UTC at this moment, seconds, by the system's time zone (`TZ`, /etc/localtime); `None`: it has none.
pub(crate) fn zone(unix_ms: u64) -> Option<i32> {
    let at = Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
    // Looked up at most once in five minutes, and kept by the crate.
    TimeZone::try_system().ok().map(|zone| zone.to_offset(at).seconds())
}

/// Looks until the clock is synchronised; from then on its drift is slow and the system's own affair.
async fn watch_over(synced: watch::Sender<bool>) {
    while !synced.is_closed() {
        if is_synchronised(TIMESYNC_FLAG.as_ref(), "timedatectl".as_ref()).await {
            tracing::info!("the system clock is synchronised");
            synced.send_replace(true);
            return;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whether a time service has synchronised the system clock.
///
/// The kernel knows (adjtimex), and so every time service is seen by asking `timedatectl`, which asks the
/// kernel; the flag file of timesyncd spares a process in the most common case.
async fn is_synchronised(flag: &Path, timedatectl: &OsStr) -> bool {
    if flag.exists() {
        return true;
    }
    let timedatectl = timedatectl.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        std::process::Command::new(timedatectl)
            .args(["show", "--property=NTPSynchronized", "--value"])
            .stdin(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .output()
    });
    match asked.await {
        Ok(Ok(output)) => output.status.success() && output.stdout.trim_ascii() == b"yes",
        Ok(Err(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_trusted_clock_is_believed_at_once() {
        let wall = WallClock::start(ClockSource::Trust).now();
        assert!(wall.synced && wall.unix_ms >= EARLIEST_MS);
    }

    #[tokio::test]
    async fn an_unsynchronised_clock_is_not_believed_until_it_is() {
        let (tx, synced) = watch::channel(false);
        let clock = WallClock { synced };
        assert!(!clock.now().synced);
        tx.send_replace(true);
        assert!(clock.now().synced);
    }

    #[tokio::test]
    async fn the_system_is_asked_by_flag_and_by_command_and_only_a_plain_yes_counts() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let (flag, command) = (directory.path().join("flag"), directory.path().join("timedatectl"));
        assert!(!is_synchronised(&flag, command.as_ref()).await, "there is no such command");
        for (script, believed) in [
            ("echo yes", true),
            ("echo no", false),
            ("echo", false),
            ("echo NTPSynchronized=yes", false),
            ("echo yes; exit 1", false),
        ] {
            // Written aside, so that no thread of this process holds it open for writing while it is run.
            let made = std::process::Command::new("sh")
                .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$2\"", "sh", script])
                .arg(&command)
                .status();
            assert!(made.unwrap().success());
            std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).unwrap();
            assert_eq!(is_synchronised(&flag, command.as_ref()).await, believed, "{script}");
        }
        std::fs::write(&flag, "").unwrap();
        assert!(is_synchronised(&flag, command.as_ref()).await, "the flag needs no command");
    }
}
