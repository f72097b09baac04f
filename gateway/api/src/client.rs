//! The blocking end of the API.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cardea_framing::LockId;

use crate::{Answer, MAX_REPLY, MAX_SECRET, PeerEvent, PeerLine, Reply, Request, Secret};

/// The daemon answers at once, but for an admission, which waits for the radio.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A network that is formed or restored waits for a dongle that restarts and looks for a free channel.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(150);

/// A connection to the daemon.
pub struct Client {
    stream: BufReader<UnixStream>,
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket, or not to us.
    #[error("the daemon cannot be reached at {}: {source}{}", path.display(), hint(source))]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the daemon broke: {0}")]
    Broken(#[from] io::Error),
    /// Not an answer of this version's API.
    #[error("the daemon's answer cannot be read; are daemon and command of the same version? ({0})")]
    Malformed(String),
    /// The daemon's own words.
    #[error("{0}")]
    Refused(String),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => " (is `cardea run` running?)",
        io::ErrorKind::PermissionDenied => " (run as root or as a member of the group cardea)",
        _ => "",
    }
}

impl Client {
    /// Connects to the daemon's socket.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let unreachable = |source| ClientError::Unreachable { path: path.to_owned(), source };
        let stream = UnixStream::connect(path).map_err(unreachable)?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(unreachable)?;
        stream.set_write_timeout(Some(TIMEOUT)).map_err(unreachable)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// Any but [`ClientError::Unreachable`].
    pub fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        if request.is_slow() {
            self.stream.get_ref().set_read_timeout(Some(NETWORK_TIMEOUT))?;
        }
        let mut line = serde_json::to_vec(request).map_err(|e| ClientError::Malformed(e.to_string()))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        if let Request::RestoreNetwork { file, .. } = request {
            self.stream.get_mut().write_all(file.as_bytes())?;
        }
        let mut answer = Vec::new();
        let most = u64::try_from(MAX_REPLY).unwrap_or(u64::MAX);
        self.stream.by_ref().take(most).read_until(b'\n', &mut answer)?;
        if answer.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match serde_json::from_slice(&answer).map_err(|e| ClientError::Malformed(e.to_string()))? {
            Answer::Ok { mut data } => {
                if let Some((bytes, file)) = data.secret() {
                    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= MAX_SECRET);
                    let too_long = || ClientError::Malformed("more bytes than there may be".into());
                    *file = Secret::of(bytes.ok_or_else(too_long)?);
                    self.stream.read_exact(file.as_mut_bytes())?;
                }
                Ok(data)
            }
            Answer::Error { error } => Err(ClientError::Refused(error)),
        }
    }
}

/// A connection as a peer: what a phone beside the gateway has.
pub struct PeerClient {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
    /// Its own site address.
    pub address: u16,
    /// The lock's.
    pub lock: u16,
}

impl PeerClient {
    /// Connects to the daemon's socket, and becomes a peer of this lock.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn attach(path: &Path, lock: LockId) -> Result<Self, ClientError> {
        let mut client = Client::connect(path)?;
        match client.ask(&Request::Attach { lock })? {
            Reply::Attached { address, lock } => {
                Ok(Self { stream: client.stream, line: Vec::new(), address, lock })
            }
            _ => Err(ClientError::Malformed("another answer than to `attach`".into())),
        }
    }

    /// Says a datagram, header byte and the lock's address included.
    ///
    /// # Errors
    /// [`ClientError::Broken`].
    pub fn send(&mut self, datagram: &[u8]) -> Result<(), ClientError> {
        let line = PeerLine { data: datagram.into() };
        let mut line = serde_json::to_vec(&line).map_err(|e| ClientError::Malformed(e.to_string()))?;
        line.push(b'\n');
        Ok(self.stream.get_mut().write_all(&line)?)
    }

    /// Waits for the next event for at most `patience`, which must not be zero; `None`: there was none.
    ///
    /// # Errors
    /// [`ClientError::Broken`], [`ClientError::Malformed`].
    pub fn next(&mut self, patience: Duration) -> Result<Option<PeerEvent>, ClientError> {
        self.stream.get_ref().set_read_timeout(Some(patience))?;
        let most = u64::try_from(MAX_REPLY).unwrap_or(u64::MAX);
        // What has come of a line is kept for the next call.
        match self.stream.by_ref().take(most).read_until(b'\n', &mut self.line) {
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            other => drop(other?),
        }
        if !self.line.ends_with(b"\n") {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let line = std::mem::take(&mut self.line);
        serde_json::from_slice(&line).map(Some).map_err(|e| ClientError::Malformed(e.to_string()))
    }
}
