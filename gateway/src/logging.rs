//! The log, to standard error and to the [`Journal`].

use anyhow::Context as _;
use cardea_config::{Log, LogFormat};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::journal::Journal;

/// Libraries that show packets at their lower levels, or repeat what we say better; directives of the operator's
/// own come after these and win.
const QUIET: &str = "rumqttc=error,hyper=warn,";

/// Starts logging.
pub(crate) fn start(config: &Log) -> anyhow::Result<Journal> {
    let directives = format!("{QUIET}{}", config.level);
    let filter = EnvFilter::try_new(&directives)
        .with_context(|| format!("`log.level`: {:?} is not a level or a list of directives", config.level))?;
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(true);
    // The journal has its own times and no use for colours.
    let journald = std::env::var_os("JOURNAL_STREAM").is_some();
    let log = match (config.format, journald) {
        (LogFormat::Json, _) => log.json().flatten_event(true).boxed(),
        (LogFormat::Text, true) => log.with_ansi(false).without_time().boxed(),
        (LogFormat::Text, false) => log.with_ansi(false).boxed(),
    };
    let journal = Journal::default();
    let started = tracing_subscriber::registry().with(filter).with(log).with(journal.clone()).try_init();
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))?;
    Ok(journal)
}
