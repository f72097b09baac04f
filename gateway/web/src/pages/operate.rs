//! What the pages for operators share: work that takes minutes, and what is remembered of one lock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cardea_api::{CommandState, HeardSample, LogLevel, Reply, Request, Trace};
use cardea_framing::LockId;
use maud::{Markup, html};
use tokio::sync::Semaphore;

use super::fleet::ago;
use super::plot::plot;
use super::{Tone, chip};
use crate::Web;
use crate::live::Parts;
use crate::texts::Texts;

/// How long the end of a restore is shown.
const SHOWN: Duration = Duration::from_secs(60 * 60);

/// What goes on.
pub(crate) struct Operate {
    /// One upload at a time is in memory.
    pub(crate) uploads: Semaphore,
    /// One backup at a time is encrypted or decrypted.
    pub(super) sealings: Semaphore,
    restore: Mutex<Option<(Instant, Restore)>>,
}

impl Default for Operate {
    fn default() -> Self {
        Self { uploads: Semaphore::new(1), sealings: Semaphore::new(1), restore: Mutex::default() }
    }
}

/// How far the restore of a network is.
#[derive(Clone)]
pub(super) enum Restore {
    Running,
    Done {
        id: String,
        channel: u8,
        anew: u64,
        strangers: u64,
    },
    /// In the daemon's words.
    Failed(String),
}

impl Operate {
    pub(super) fn restore(&self) -> Option<Restore> {
        let restore = self.restore.lock().unwrap_or_else(PoisonError::into_inner);
        restore.as_ref().filter(|(since, _)| since.elapsed() < SHOWN).map(|(_, restore)| restore.clone())
    }

    /// False: one is under way.
    pub(super) fn begin_restore(&self) -> bool {
        let mut restore = self.restore.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*restore, Some((_, Restore::Running))) {
            return false;
        }
        *restore = Some((Instant::now(), Restore::Running));
        true
    }

    pub(super) fn end_restore(&self, end: Restore) {
        *self.restore.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), end));
    }
}

pub(super) fn level(text: &Texts, level: LogLevel) -> (Tone, &'static str) {
    let text = &text.operate;
    match level {
        LogLevel::Error => (Tone::Bad, text.log_error),
        LogLevel::Warn => (Tone::Warn, text.log_warn),
        LogLevel::Info => (Tone::Good, text.log_info),
        LogLevel::Debug => (Tone::Idle, text.log_debug),
        LogLevel::Trace => (Tone::Idle, text.log_trace),
    }
}

/// A lock's link and commands, by their places on its page.
pub(crate) async fn trace_parts(web: &Arc<Web>, text: &Texts, lock: LockId) -> Parts {
    let Ok(Reply::Trace(Trace { heard, commands: all })) = web.daemon.ask(Request::Trace { lock }).await
    else {
        return Parts::new();
    };
    Parts::from([
        ("history", history(text, &heard).into_string()),
        ("commands", commands(text, &all).into_string()),
    ])
}

fn history(text: &Texts, heard: &[HeardSample]) -> Markup {
    let words = &text.operate;
    let (Some(first), Some(last)) = (heard.first(), heard.last()) else {
        return html! { p class="soft small" { (words.history_none) } };
    };
    html! {
        (plot(text, heard))
        p class="soft small" { ((words.history_why)(&ago(text, first.at), &ago(text, last.at))) }
        details {
            summary { (words.history_table) }
            table {
                thead { tr { th { (words.when) } th { (text.signal) } th { (words.frames) } } }
                tbody {
                    @for sample in heard.iter().rev() {
                        tr {
                            td { (ago(text, sample.at)) }
                            td { (signal(text, sample)) }
                            td { (sample.frames) }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn signal(text: &Texts, sample: &HeardSample) -> String {
    let parts = [
        sample.rssi.map(|v| format!("{v} dBm")),
        sample.snr.map(|v| format!("SNR {v:.1} dB")),
        sample.lqi.map(|v| format!("LQI {v}")),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    // A serial module tells nothing of how it heard.
    if parts.is_empty() { text.unknown.into() } else { parts.join(", ") }
}

fn commands(text: &Texts, all: &[CommandState]) -> Markup {
    let words = &text.operate;
    if all.is_empty() {
        return html! { p class="soft small" { (words.commands_none) } };
    }
    html! {
        ul class="list" {
            @for command in all {
                @let (tone, state) = state(text, command);
                li {
                    div class="item" {
                        // The whole id is on the broker; its beginning finds it there.
                        span class="id mono" { (command.id.get(..8).unwrap_or(&command.id)) }
                        (chip(tone, state))
                        span class="more" {
                            (ago(text, command.at))
                            @if let Some(reason) = &command.reason { " · " (reason_words(text, reason)) }
                        }
                    }
                }
            }
        }
    }
}

fn state(text: &Texts, command: &CommandState) -> (Tone, &'static str) {
    let text = &text.operate;
    match command.state.as_str() {
        "queued" => (Tone::Idle, text.state_queued),
        "sent" => (Tone::Idle, text.state_sent),
        "delivered" => (Tone::Good, text.state_delivered),
        "expired" => (Tone::Warn, text.state_expired),
        "refused" => (Tone::Bad, text.state_refused),
        _ => (Tone::Bad, text.state_failed),
    }
}

/// A reason is a fixed word of the gateway; one that has no text yet is shown as it is.
fn reason_words<'a>(text: &Texts, reason: &'a str) -> &'a str {
    let text = &text.operate;
    match reason {
        "retained" => text.reason_retained,
        "clock" => text.reason_clock,
        "busy" => text.reason_busy,
        "not_after" => text.reason_not_after,
        "too_big" => text.reason_too_big,
        "no_receipt" => text.reason_no_receipt,
        "removed" => text.reason_removed,
        "restart" => text.reason_restart,
        "store" => text.reason_store,
        other => other,
    }
}
