//! The log, to standard error.

use anyhow::Context as _;
use cardea_config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Libraries that show packets at their lower levels, or repeat what we say better; directives of the operator's
/// own come after these and win.
const QUIET: &str = "rumqttc=error,hyper=warn,";

/// Starts logging.
pub(crate) fn start(config: &Log) -> anyhow::Result<()> {
    let directives = format!("{QUIET}{}", config.level);
    let filter = EnvFilter::try_new(&directives)
        .with_context(|| format!("`log.level`: {:?} is not a level or a list of directives", config.level))?;
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(true);
    // The journal has its own times and no use for colours.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let started = match (config.format, journal) {
        (LogFormat::Json, _) => log.json().flatten_event(true).try_init(),
        (LogFormat::Text, true) => log.with_ansi(false).without_time().try_init(),
        (LogFormat::Text, false) => log.with_ansi(false).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}
