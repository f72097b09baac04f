//! The Unix socket between `serve` and the other commands: one request a connection, answers line by line.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use cardea_sdk::Platform;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, broadcast::error::RecvError},
    time::timeout,
};
use zeroize::Zeroizing;

use crate::service::{Answer, Request, serve_one};

/// A request is a lock name and a code; more is not one of ours.
const MAX_REQUEST_LEN: usize = 4096;
const MAX_REQUEST: u64 = MAX_REQUEST_LEN as u64;

/// Connections served at once, each `watch` one of them; more wait.
const CONNECTIONS: usize = 64;

/// Who connects has a request to make, and makes it.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Who does not read what it asked for gives up its place.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Binds the socket. The caller holds the platform, so a socket file that is there belongs to a dead process.
pub(crate) fn bind(path: &Path) -> Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", path.display()));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    // The directory is 0700 already; this also covers one that somebody opened up.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot protect {}", path.display()))?;
    Ok(listener)
}

/// Answers until the program ends.
pub(crate) async fn accept(listener: UnixListener, platform: Platform) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let platform = platform.clone();
                tokio::spawn(async move {
                    if let Err(error) = connection(stream, &platform).await {
                        tracing::debug!(%error, "a client of the socket left");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the socket refuses connections for a moment");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, platform: &Platform) -> Result<()> {
    let (reader, mut writer) = stream.into_split();
    // It may hold a PIN or an owner code; with its room from the start no copy is left behind by growing.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_REQUEST_LEN));
    let mut reader = BufReader::new(reader.take(MAX_REQUEST));
    timeout(REQUEST_TIME, reader.read_until(b'\n', &mut line)).await??;
    let request = match Request::parse(&line) {
        Ok(request) => request,
        Err(text) => {
            let answer =
                Answer { done: false, data: serde_json::json!({ "error": text }), text, more: false };
            return send(&mut writer, &answer).await;
        }
    };
    if !matches!(request, Request::Watch {}) {
        let answer = serve_one(platform, request).await;
        return send(&mut writer, &answer).await;
    }
    let mut events = platform.subscribe();
    // So that the client knows that it misses nothing from here on.
    send(&mut writer, &Answer { done: true, text: String::new(), data: serde_json::Value::Null, more: true })
        .await?;
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            // Whoever has left, or says more than one request, keeps no place until something happens.
            _ = reader.read_u8() => return Ok(()),
        };
        let (text, data) = match event {
            Ok(event) => (event.to_string(), serde_json::to_value(&event)?),
            Err(RecvError::Lagged(missed)) => {
                let text = format!("{missed} events were too fast for this window; the log has them");
                (text, serde_json::json!({ "event": "missed", "count": missed }))
            }
            Err(RecvError::Closed) => return Ok(()),
        };
        send(&mut writer, &Answer { done: true, text, data, more: true }).await?;
    }
}

async fn send(writer: &mut (impl tokio::io::AsyncWrite + Unpin), answer: &Answer) -> Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(timeout(ANSWER_TIME, writer.write_all(&line)).await??)
}

/// A connection to a running `serve`; `None` if there is none.
pub(crate) async fn connect(path: &Path) -> Result<Option<UnixStream>> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Some(stream)),
        Err(e) if matches!(e.kind(), NotFound | ConnectionRefused) => Ok(None),
        Err(e) if e.kind() == PermissionDenied => {
            bail!("{} belongs to another user; run this as the user that runs `serve`", path.display())
        }
        Err(e) => Err(e).with_context(|| format!("cannot reach {}", path.display())),
    }
}

/// Sends one request and hands every answer to `each` until the last.
pub(crate) async fn ask(stream: UnixStream, request: &Request, mut each: impl FnMut(Answer)) -> Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_REQUEST_LEN));
    serde_json::to_writer(&mut *line, request)?;
    line.push(b'\n');
    writer.write_all(&line).await?;
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let answer: Answer = serde_json::from_str(&line).context("`serve` is of another version")?;
        let more = answer.more;
        each(answer);
        if !more {
            return Ok(());
        }
    }
    bail!("`serve` ended before it answered")
}
