//! The blocking end of the API.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Answer, MAX_REPLY, Reply, Request};

/// The daemon answers at once, but for an admission, which waits for the radio.
const TIMEOUT: Duration = Duration::from_secs(60);

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
        let mut line = serde_json::to_vec(request).map_err(|e| ClientError::Malformed(e.to_string()))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        let mut answer = Vec::new();
        let most = u64::try_from(MAX_REPLY).unwrap_or(u64::MAX);
        self.stream.by_ref().take(most).read_until(b'\n', &mut answer)?;
        if answer.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match serde_json::from_slice(&answer).map_err(|e| ClientError::Malformed(e.to_string()))? {
            Answer::Ok { data } => Ok(data),
            Answer::Error { error } => Err(ClientError::Refused(error)),
        }
    }
}
