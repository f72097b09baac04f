//! The control socket: one JSON line in, one JSON line out; or HTTP, for who begins with it.

mod http;

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cardea_api::{
    Answer, ClaimCode, MAX_REQUEST, MAX_SECRET, PeerEvent, PeerLine, Reply, Request, RequestError, Secret,
};
use cardea_framing::LockId;
use cardea_web::{Daemon, SealError, Sealing, Web};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use zeroize::Zeroizing;

use crate::relay_loop::{Ask, Attached, GuestAsk};
use crate::sealing::{self, Work};

/// Connections served at once; more wait.
const CONNECTIONS: usize = 32;

/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// A phone that says nothing for so long is shown out: no session lives longer.
const GUEST_IDLE: Duration = Duration::from_secs(300);

/// A phone that does not read for so long is gone.
const GUEST_READS: Duration = Duration::from_secs(10);

/// An admission waits for the radio, which writes its own store; everything else is answered at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// The dongle restarts and looks for a free channel; its driver has an answer within two minutes.
const NETWORK_PATIENCE: Duration = Duration::from_secs(130);

/// Backups that are held in memory at once, on their way in. Who brings another one is told to come back.
const SECRETS: usize = 1;

/// The bound socket; its file goes with it.
pub(crate) struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Server {
    /// Binds the socket, over the file that a killed daemon left behind.
    pub(crate) fn bind(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("control socket {}", path.display());
        if let Some(directory) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory).with_context(context)?;
        }
        let listener = match UnixListener::bind(path) {
            Ok(listener) => listener,
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                if std::os::unix::net::UnixStream::connect(path).is_ok() {
                    bail!("{}: another daemon is listening", context());
                }
                std::fs::remove_file(path).with_context(context)?;
                UnixListener::bind(path).with_context(context)?
            }
            Err(error) => return Err(error).with_context(context),
        };
        // The daemon's group administers the gateway, others do not.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).with_context(context)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves for as long as the daemon runs.
    pub(crate) async fn serve(self, asks: mpsc::Sender<Ask>, page: Option<Arc<Web>>) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let secrets = Arc::new(Semaphore::new(SECRETS));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (asks, page, secrets) = (asks.clone(), page.clone(), secrets.clone());
                    tokio::spawn(async move {
                        if let Err(error) = talk(stream, &asks, page.as_deref(), &secrets).await {
                            tracing::debug!(%error, "control connection");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: it passes or it does not, but haste helps neither.
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

async fn talk(
    stream: UnixStream,
    asks: &mpsc::Sender<Ask>,
    page: Option<&Web>,
    secrets: &Semaphore,
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    match tokio::time::timeout(IDLE, read.fill_buf()).await {
        // Requests in lines begin with a brace, and requests in HTTP with a method.
        Ok(Ok([b'A'..=b'Z', ..])) => return http::serve(tokio::io::join(read, write), asks, page).await,
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(error),
        Err(_) => return Ok(()),
    }
    loop {
        line.clear();
        let most = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX).saturating_add(2);
        let mut bounded = (&mut read).take(most);
        match tokio::time::timeout(IDLE, bounded.read_until(b'\n', &mut line)).await {
            Ok(Ok(0)) | Err(_) => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
        let mut whole = line.pop_if(|byte| *byte == b'\n').is_some();
        let mut answer = if whole || line.len() <= MAX_REQUEST {
            match Request::parse(&line) {
                Ok(Request::Attach { lock }) if whole => match attach(lock, asks).await {
                    Ok(attached) => return serve_peer(read, write, asks, attached).await,
                    Err(error) => Answer::Error { error },
                },
                Ok(mut request) => {
                    // Held until it is carried out; who brings no backup takes nobody's place.
                    let held = request.secret().and_then(|_| secrets.try_acquire().ok());
                    match secret(&mut request, &mut read, held.is_some()).await? {
                        Ok(()) => answer(request, asks, page).await,
                        Err(why) => {
                            // Its bytes cannot be told from a next request.
                            whole = false;
                            Answer::Error { error: why.into() }
                        }
                    }
                }
                Err(error) => Answer::Error { error: error.to_string() },
            }
        } else {
            Answer::Error { error: RequestError::TooLong.to_string() }
        };
        let mut out = serde_json::to_vec(&answer).map_err(std::io::Error::other)?;
        out.push(b'\n');
        write.write_all(&out).await?;
        if let Answer::Ok { data } = &mut answer
            && let Some((_, file)) = data.secret()
        {
            write.write_all(file.as_bytes()).await?;
        }
        if !whole {
            return Ok(()); // The rest of the line cannot be told from a next request.
        }
    }
}

async fn answer(request: Request, asks: &mpsc::Sender<Ask>, page: Option<&Web>) -> Answer {
    match page {
        Some(page) => ask_page(page, request, asks).await,
        None => ask(request, asks).await,
    }
}

/// What belongs to the local page is asked of it, everything else of the relay.
async fn ask_page(page: &Web, request: Request, asks: &mpsc::Sender<Ask>) -> Answer {
    let answer = match request {
        Request::ClaimCode {} => {
            page.claim_code().await.map(|code| Reply::ClaimCode { code: ClaimCode(code) })
        }
        Request::Recover {} => page.recover().await.map(|code| Reply::ClaimCode { code: ClaimCode(code) }),
        Request::ConfirmClaim {} => page.confirm_claim().map(|()| Reply::Done),
        Request::Fingerprint {} => Ok(Reply::Fingerprint { sha256: page.fingerprint() }),
        other => return ask(other, asks).await,
    };
    match answer {
        Ok(data) => Answer::Ok { data },
        Err(error) => Answer::Error { error: error.to_string() },
    }
}

/// The local page asks as a connection to the socket does.
pub(crate) struct InProcess(pub(crate) mpsc::Sender<Ask>);

impl Daemon for InProcess {
    fn ask(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Reply, String>> + Send + '_>> {
        Box::pin(async move {
            match ask(request, &self.0).await {
                Answer::Ok { data } => Ok(data),
                Answer::Error { error } => Err(error),
            }
        })
    }

    fn seal(&self, plain: Secret, passphrase: Zeroizing<String>) -> Sealing<'_> {
        sealing(Work::Seal, plain, passphrase)
    }

    fn open(&self, file: Secret, passphrase: Zeroizing<String>) -> Sealing<'_> {
        sealing(Work::Open, file, passphrase)
    }
}

fn sealing(work: Work, file: Secret, passphrase: Zeroizing<String>) -> Sealing<'static> {
    Box::pin(async move {
        let done = tokio::task::spawn_blocking(move || sealing::have(work, &passphrase, &file)).await;
        done.unwrap_or_else(|error| Err(SealError::Other(error.to_string())))
    })
}

/// Reads what stands behind a request's line, if anything does.
async fn secret(
    request: &mut Request,
    read: &mut BufReader<OwnedReadHalf>,
    has_room: bool,
) -> std::io::Result<Result<(), &'static str>> {
    let Some((bytes, file)) = request.secret() else { return Ok(Ok(())) };
    let Some(bytes) = usize::try_from(bytes).ok().filter(|bytes| *bytes <= MAX_SECRET) else {
        return Ok(Err("that is longer than any backup of a radio network"));
    };
    if !has_room {
        return Ok(Err("another backup is being restored, try again"));
    }
    *file = Secret::of(bytes);
    match tokio::time::timeout(IDLE, read.read_exact(file.as_mut_bytes())).await {
        Ok(read) => read.map(|_| Ok(())),
        Err(_) => Err(ErrorKind::TimedOut.into()),
    }
}

async fn ask(request: Request, asks: &mpsc::Sender<Ask>) -> Answer {
    let patience = if request.is_slow() { NETWORK_PATIENCE } else { PATIENCE };
    let (tx, rx) = oneshot::channel();
    if asks.send(Ask::Request(request, tx)).await.is_err() {
        return Answer::Error { error: "the daemon is stopping".into() };
    }
    let error = match tokio::time::timeout(patience, rx).await {
        Ok(Ok(Ok(data))) => return Answer::Ok { data },
        Ok(Ok(Err(error))) => error,
        Ok(Err(_)) => "the daemon is stopping".into(),
        Err(_) => "the radio does not answer; it may still do what was asked, see `cardea locks`".into(),
    };
    Answer::Error { error }
}

async fn attach(lock: LockId, asks: &mpsc::Sender<Ask>) -> Result<Attached, String> {
    let stopping = || "the daemon is stopping".to_owned();
    let (tx, rx) = oneshot::channel();
    asks.send(Ask::Guest(GuestAsk::Attach(lock, tx))).await.map_err(|_| stopping())?;
    rx.await.map_err(|_| stopping())?
}

/// From now on the connection is a phone's; its address goes with it.
async fn serve_peer(
    mut read: BufReader<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
    asks: &mpsc::Sender<Ask>,
    mut attached: Attached,
) -> std::io::Result<()> {
    let answer = Answer::Ok { data: attached.reply.clone() };
    let peer = attached.peer;
    let mut result = say(&mut write, serde_json::to_vec(&answer)).await;
    let mut line = Vec::new();
    while result.is_ok() {
        // What has come of a line stays in `line` while an event goes out.
        let most = u64::try_from(MAX_REQUEST.saturating_add(1).saturating_sub(line.len())).unwrap_or(0);
        let mut bounded = (&mut read).take(most);
        tokio::select! {
            came = tokio::time::timeout(GUEST_IDLE, bounded.read_until(b'\n', &mut line)) => match came {
                Ok(Ok(_)) if line.ends_with(b"\n") => {
                    match PeerLine::parse(&line) {
                        Ok(said) => {
                            let said = Ask::Guest(GuestAsk::Datagram(peer, said.data));
                            if asks.send(said).await.is_err() {
                                break;
                            }
                        }
                        Err(error) => {
                            let refused = PeerEvent::Refused { error: error.to_string() };
                            result = say(&mut write, serde_json::to_vec(&refused)).await;
                        }
                    }
                    line.clear();
                }
                // Gone, idle, or a line without an end.
                Ok(Ok(_)) | Err(_) => break,
                Ok(Err(error)) => result = Err(error),
            },
            event = attached.events.recv() => match event {
                Some(event) => result = say(&mut write, serde_json::to_vec(&event)).await,
                None => break,
            },
        }
    }
    // A daemon that stops forgets everybody.
    let _ = asks.send(Ask::Guest(GuestAsk::Detach(peer))).await;
    result
}

async fn say(write: &mut OwnedWriteHalf, line: serde_json::Result<Vec<u8>>) -> std::io::Result<()> {
    let mut line = line.map_err(std::io::Error::other)?;
    line.push(b'\n');
    tokio::time::timeout(GUEST_READS, write.write_all(&line))
        .await
        .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}
