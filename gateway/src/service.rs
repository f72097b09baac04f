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

/// One line for `systemctl status`.
pub(crate) fn status(line: &str) {
    notify(&[NotifyState::Status(line)]);
}

/// The relay turns. Called by the relay loop itself and by nobody else: a loop that hangs, or a store thread
/// that has died (which ends the loop), is what the watchdog is there for. An absent broker is not.
pub(crate) fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// How often [`alive`] must be called; `None` when nobody listens.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| timeout / 3)
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}
