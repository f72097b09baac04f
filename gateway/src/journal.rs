//! The newest lines of the log, in memory: what the local page shows, whatever the log is written to.
//!
//! A line is kept as it is logged, after the same filter. Nothing secret is logged in the first place; see `docs/web.md` for what
//! that rests on.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use cardea_api::{LogLevel, LogLine, Logs};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Bytes of text that are kept, whoever makes the gateway log; what a line costs beside its text comes to about as much again.
const BYTES: usize = 192 * 1024;

/// Lines that are kept.
const LINES: usize = 2_000;

/// The longest line, bytes; the rest of it is cut off.
const LINE: usize = 1_024;

/// Copies are of the same journal.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    bytes: usize,
    last: u64,
}

impl Journal {
    /// The newest lines that fit, oldest first.
    pub(crate) fn read(&self, after: u64, level: Option<LogLevel>, words: &str, most: u32) -> Logs {
        let words = words.to_lowercase();
        let level = level.unwrap_or(LogLevel::Trace);
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |line: &&LogLine| {
            line.level <= level
                && (words.is_empty()
                    || line.text.to_lowercase().contains(&words)
                    || line.part.to_lowercase().contains(&words))
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let newest_first = kept.lines.iter().rev().take_while(|line| line.number > after).filter(fits);
        let mut lines: Vec<LogLine> = newest_first.take(most).cloned().collect();
        lines.reverse();
        Logs { lines, newest: kept.last, oldest: kept.lines.front().map_or(0, |line| line.number) }
    }

    fn keep(&self, level: LogLevel, part: &str, text: String) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last += 1;
        let line = LogLine {
            number: kept.last,
            at: u64::try_from(at).unwrap_or(u64::MAX),
            level,
            part: part.to_owned(),
            text,
        };
        kept.bytes += line.text.len();
        kept.lines.push_back(line);
        while kept.bytes > BYTES || kept.lines.len() > LINES {
            let gone = kept.lines.pop_front().map_or(0, |line| line.text.len());
            kept.bytes = kept.bytes.saturating_sub(gone);
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            Level::DEBUG => LogLevel::Debug,
            Level::TRACE => LogLevel::Trace,
        };
        let mut text = Text::default();
        event.record(&mut text);
        let Text { mut message, fields } = text;
        message.push_str(&fields);
        self.keep(level, event.metadata().target(), one_line(&message));
    }
}

/// The message, and the fields behind it.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Without control characters, which somebody's radio or broker may have put there, and not too long.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LINE));
    for c in text.chars() {
        if line.len() + c.len_utf8() > LINE {
            line.push('…');
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn logged(work: impl FnOnce()) -> Journal {
        let journal = Journal::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal.clone()), work);
        journal
    }

    #[test]
    fn a_line_has_its_message_and_fields_and_is_found_by_level_and_words() {
        let journal = logged(|| {
            tracing::info!(version = "1.2", "it runs");
            tracing::warn!(why = %"no such device", "a radio ended");
            tracing::debug!("a detail");
        });
        let all = journal.read(0, None, "", 10);
        assert_eq!((all.newest, all.oldest, all.lines.len()), (3, 1, 3));
        assert_eq!(all.lines[0].text, "it runs version=\"1.2\"");
        assert!(all.lines[0].part.contains("journal") && all.lines[0].at > 1_700_000_000_000);
        let texts = |level, words, after, most| -> Vec<String> {
            let logs = journal.read(after, level, words, most);
            logs.lines.into_iter().map(|line| line.text).collect()
        };
        assert_eq!(texts(Some(LogLevel::Warn), "", 0, 10), ["a radio ended why=no such device"]);
        assert_eq!(texts(None, "DEVICE", 0, 10).len(), 1);
        assert_eq!(texts(None, "", 2, 10), ["a detail"]);
        assert_eq!(texts(None, "", 0, 1), ["a detail"], "the newest");
    }

    #[test]
    fn whoever_makes_the_gateway_log_fills_no_memory_and_breaks_no_line() {
        let journal = logged(|| {
            for n in 0..3_000 {
                tracing::info!(n, "{}", "ä\n\u{1b}[2J".repeat(400));
            }
        });
        let kept = journal.0.lock().unwrap();
        assert!(kept.bytes <= BYTES && kept.lines.len() <= LINES && kept.lines.len() > 100);
        assert_eq!(kept.bytes, kept.lines.iter().map(|line| line.text.len()).sum::<usize>());
        for line in &kept.lines {
            assert!(line.text.len() <= LINE + 3 && !line.text.contains(char::is_control), "{}", line.text);
        }
        assert_eq!(kept.lines.back().unwrap().number, 3_000);
    }
}
