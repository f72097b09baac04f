//! The local web page of a gateway: claim it, pair locks with a phone, see what is wrong and what to do.
//!
//! Pages are rendered here and work without JavaScript; a small script replaces what changes. The page administers the
//! gateway only through [`Daemon`], the same typed requests that the command line makes, and owns no more than who may
//! sign in: the claim, one password, sessions, all in a store that it is given.
//!
//! ```text
//! listen   TLS, time limits, how many connections   → guard    Host, Origin, size, rate, headers of answers
//! → routes what a visitor must be for each page     → pages    what people see, from texts/ in their language
//! keeper   claim, sign-in, sessions                 live       what changes, by server-sent events
//! ```
//!
//! What it does not: it never sees a sealed frame, shows no radio secret once a lock is let in, and takes no owner code.
//! The threat model is in `docs/web.md`.

mod assets;
mod authority;
mod guard;
mod history;
mod keeper;
mod listen;
mod live;
mod owner_certificate;
mod pages;
mod passkey;
mod password;
mod routes;
mod session;
mod texts;
mod throttle;
mod tls;
mod upload;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use cardea_api::{Reply, Request, Secret};
use cardea_radio::NetworkStore;
use zeroize::Zeroizing;

pub use keeper::{CONFIRMED, ClaimError, RECOVERY};
pub use listen::Listening;
pub use session::{ABSOLUTE, FRESH, IDLE};

use keeper::Keeper;

/// The gateway behind the page.
pub trait Daemon: Send + Sync + 'static {
    /// Asks, as the command line does. The error is the daemon's own words, in English.
    fn ask(&self, request: Request) -> Pin<Box<dyn Future<Output = Result<Reply, String>> + Send + '_>>;

    /// Encrypts a backup with a passphrase, as the command line does. Takes seconds.
    fn seal(&self, plain: Secret, passphrase: Zeroizing<String>) -> Sealing<'_> {
        drop((plain, passphrase));
        Box::pin(std::future::ready(Err(SealError::Other("backups are not encrypted here".into()))))
    }

    /// Decrypts one; one that is not encrypted comes back as it is. Takes seconds.
    fn open(&self, file: Secret, passphrase: Zeroizing<String>) -> Sealing<'_> {
        drop((file, passphrase));
        Box::pin(std::future::ready(Err(SealError::Other("backups are not decrypted here".into()))))
    }
}

/// A backup that is being encrypted or decrypted.
pub type Sealing<'a> = Pin<Box<dyn Future<Output = Result<Secret, SealError>> + Send + 'a>>;

/// Why a backup was not encrypted or decrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Another passphrase.
    #[error("the file does not open with this passphrase")]
    WrongPassphrase,
    /// In words, in English.
    #[error("{0}")]
    Other(String),
}

/// Where the page is served, and under which names.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The page, over TLS.
    pub https: SocketAddr,
    /// Only redirects and explains; `None`: nothing listens.
    pub http: Option<SocketAddr>,
    /// Names that a browser may use, beside this machine's own name and the address that it has connected to.
    pub names: Vec<String>,
    /// The gateway's id, shown.
    pub gateway: String,
    /// Where certificate and key are: `web.pem` and `web.key`.
    pub data_dir: PathBuf,
    /// There is a button at the gateway that confirms a claim.
    pub button: bool,
    /// When this gateway was set back to how it left the factory, Unix milliseconds: the history keeps that for good.
    pub resets: Vec<u64>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate or its key.
    #[error("{}: {why}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// What was remembered cannot be read or written.
    #[error("the page's memory: {0}")]
    Store(String),
    /// The system has no random numbers.
    #[error("the system's random source: {0}")]
    Random(#[from] getrandom::Error),
    /// The address cannot be listened on.
    #[error("{address}: {source}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The page.
pub struct Web {
    settings: Settings,
    daemon: Arc<dyn Daemon>,
    keeper: Keeper,
    live: live::Live,
    operate: pages::operate::Operate,
    tls: tls::Identity,
    hosts: Vec<String>,
    rates: throttle::Rates,
    challenges: passkey::Challenges,
}

impl Web {
    /// Reads what is remembered, and makes a key and a certificate at the first start. Blocks.
    ///
    /// # Errors
    /// [`Error`], but never [`Error::Listen`].
    pub fn open(
        settings: Settings,
        store: Arc<dyn NetworkStore>,
        daemon: Arc<dyn Daemon>,
    ) -> Result<Arc<Self>, Error> {
        let hosts = guard::hosts(&settings.names);
        let tls = tls::Identity::open(&settings.data_dir, &hosts)?;
        let keeper = Keeper::open(store, &settings.resets)?;
        let challenges = passkey::Challenges::new()?;
        let (live, rates) = (live::Live::default(), throttle::Rates::default());
        let operate = pages::operate::Operate::default();
        Ok(Arc::new(Self { settings, daemon, keeper, live, operate, tls, hosts, rates, challenges }))
    }

    /// Binds the addresses; [`Listening::serve`] then serves.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn listen(self: &Arc<Self>) -> Result<Listening, Error> {
        Listening::bind(Arc::clone(self)).await
    }

    /// A new claim code, shown this once and kept as a digest. The one before is void.
    ///
    /// # Errors
    /// [`ClaimError::Claimed`], [`ClaimError::Store`].
    pub async fn claim_code(&self) -> Result<String, ClaimError> {
        self.keeper.new_code().await
    }

    /// Somebody who may use the gateway's console says that the claim which comes within [`CONFIRMED`] is theirs.
    ///
    /// # Errors
    /// [`ClaimError::Claimed`], or [`ClaimError::NoCode`].
    pub fn confirm_claim(&self) -> Result<(), ClaimError> {
        self.keeper.confirm()
    }

    /// Opens the way back for an owner who forgot the password: a code, shown this once and good for [`RECOVERY`].
    ///
    /// # Errors
    /// [`ClaimError::Unclaimed`], [`ClaimError::Store`].
    pub async fn recover(&self) -> Result<String, ClaimError> {
        self.keeper.recover().await
    }

    /// True from the claim on: before it a gateway lets no lock in and speaks to no broker.
    #[must_use]
    pub fn claimed(&self) -> tokio::sync::watch::Receiver<bool> {
        self.keeper.claimed()
    }

    /// SHA-256 of the certificate, as browsers show it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.tls.fingerprint()
    }
}
