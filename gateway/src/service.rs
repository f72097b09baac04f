//! What systemd is told.

use std::time::Duration;

use sd_notify::NotifyState;

/// The service is up.
pub(crate) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The service is going down.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// The relay turns. Called by the relay loop itself and by nobody else, with one line for `systemctl status` and the
/// time that the store has been at its present transaction.
///
/// A loop that hangs calls no more; a store thread that has died ends the loop; and a transaction that has lasted as
/// long as systemd's patience is one that will not end: nothing that a lock waits for gets durable any more. All
/// three are what the watchdog is there for. An absent broker, or a disk that is slow or full, is not.
pub(crate) fn turned(store_busy: Duration, line: &str) {
    if hangs(store_busy, sd_notify::watchdog_enabled()) {
        let seconds = store_busy.as_secs();
        tracing::error!(
            seconds,
            "the store hangs in one transaction; systemd is no longer told that all is well"
        );
        notify(&[NotifyState::Status(&format!("store HANGS for {seconds} s, {line}"))]);
        return;
    }
    notify(&[NotifyState::Watchdog, NotifyState::Status(line)]);
}

fn hangs(store_busy: Duration, watchdog: Option<Duration>) -> bool {
    watchdog.is_some_and(|timeout| store_busy >= timeout)
}

/// How often [`turned`] must be called; `None` when nobody listens.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| timeout / 3)
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_transaction_as_long_as_the_watchdogs_patience_hangs() {
        let patience = Some(Duration::from_secs(30));
        assert!(!hangs(Duration::ZERO, patience));
        assert!(!hangs(Duration::from_millis(29_999), patience));
        assert!(hangs(Duration::from_secs(30), patience));
        assert!(!hangs(Duration::from_secs(300), None), "nobody listens");
    }
}
