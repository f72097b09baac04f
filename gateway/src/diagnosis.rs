//! A bundle for those who help: what the gateway is, how it is, and what it said last. Nothing secret is in it, no id of a lock
//! that the log does not name, and nothing of what locks say.

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::oneshot;

use cardea_api::{MAX_SECRET, Reply, Request};

use crate::desk::{Desk, without};
use crate::metrics;
use crate::relay_loop::Ask;

/// Lines of the log: all that there are.
const LINES: u32 = 10_000;

const README: &str = "\
What this gateway's operator may hand to somebody who helps.

version.txt    the software
status.json    as `cardea status --json`
radios.json    channels, duty cycles, backups
config.toml    what is in force; names of users and devices are left out, secrets are never in it
metrics.txt    as /metrics
log.txt        the newest lines of the log, as many as are kept in memory

No password, key or code is in these files. At the level `info` or above the log names no lock; lines of `debug` and `trace`
name locks by their ids. Look through them before you hand them on.
";

/// A `tar.gz`.
pub(crate) async fn bundle(desk: &Desk) -> Result<Vec<u8>, String> {
    let secrets = desk.secrets().await;
    let version = format!(
        "cardea {}\n{} {}\n{}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        rustix::system::uname().release().to_string_lossy(),
    );
    let mut files = vec![("README.txt", README.to_owned()), ("version.txt", version)];
    for (name, request) in [("status.json", Request::Status {}), ("radios.json", Request::Radios {})] {
        let said = match relay(desk, request).await {
            Ok(Reply::Status(status)) => serde_json::to_string_pretty(&status),
            Ok(Reply::Radios(radios)) => serde_json::to_string_pretty(&radios),
            Ok(_) => Ok("the daemon answered something else".into()),
            Err(why) => Ok(why),
        };
        files.push((name, said.map_err(|e| e.to_string())?));
    }
    files.push(("config.toml", cardea_config::redacted(&desk.config)));
    files.push(("metrics.txt", metrics::current(&desk.sources).await.unwrap_or_default()));
    let logs = desk.journal.read(0, None, "", LINES);
    let lines = logs.lines.iter().map(|line| {
        format!("{} {} {} {}: {}\n", line.number, line.at, line.level.as_str(), line.part, line.text)
    });
    files.push(("log.txt", lines.collect()));
    let files: Vec<_> = files.into_iter().map(|(name, text)| (name, without(&secrets, text))).collect();
    let now = desk.wall.now().unix_ms / 1_000;
    let packed = tokio::task::spawn_blocking(move || pack(&files, now)).await.map_err(|e| e.to_string())?;
    let packed = packed.map_err(|error| error.to_string())?;
    if packed.len() > MAX_SECRET { Err("the bundle is too long".into()) } else { Ok(packed) }
}

async fn relay(desk: &Desk, request: Request) -> Result<Reply, String> {
    let stopping = || "the daemon is stopping".to_owned();
    let (tx, rx) = oneshot::channel();
    desk.sources.asks.send(Ask::Request(request, tx)).await.map_err(|_| stopping())?;
    rx.await.map_err(|_| stopping())?
}

fn pack(files: &[(&str, String)], now: u64) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(text.len()).unwrap_or(u64::MAX));
        header.set_mode(0o644);
        header.set_mtime(now);
        archive.append_data(&mut header, format!("cardea-diagnosis/{name}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish()
}
