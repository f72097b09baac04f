//! The thread that owns the session, and the handles that ask it.
//!
//! It knows nothing of PKCS#11: a [`Device`] connects, a [`Link`] does the work until it is lost.

use std::{
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use cardea_credentials::{Error as KeyError, PublicKey, SharedSecret};

use crate::Error;

/// The longest that a caller waits for the token. Once one call has taken that long, others are refused at once until
/// it ends: a module that hangs stalls the platform once, not once for each lock.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Callers that wait at once; beyond, they are refused.
const QUEUE: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A token that can be connected to.
pub(crate) trait Device: Send + 'static {
    type Link: Link;

    /// Opens, logs in, finds and proves the keys. `anew`: the last attempt failed, so start from the very beginning.
    fn connect(&mut self, anew: bool) -> Result<Self::Link, Error>;
}

/// A connection that works until it says [`Error::Lost`].
pub(crate) trait Link {
    fn sign(&self, digest: &[u8; 32]) -> Result<[u8; 64], Error>;
    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, Error>;
}

enum Job {
    // Boxed: a secret that moves must not leave copies of itself behind.
    Agree(PublicKey, SyncSender<Box<SharedSecret>>),
    Sign([u8; 32], SyncSender<[u8; 64]>),
}

struct Asked {
    job: Job,
    /// Nobody waits for the answer any more after this.
    until: Instant,
}

/// The call of the token that the thread is busy with.
#[derive(Clone, Copy)]
struct Call {
    since: Instant,
    /// Somebody waited for an answer until patience ended. He began to wait before the thread began to work, so the call
    /// itself may be a little younger than that.
    given_up: bool,
}

type Busy = Mutex<Option<Call>>;

/// Asks the thread. It ends with the last reference to this.
pub(crate) struct Keeper {
    jobs: SyncSender<Asked>,
    busy: std::sync::Arc<Busy>,
}

impl Keeper {
    /// Starts the thread with a connection that stands.
    pub(crate) fn start<D: Device>(device: D, link: D::Link) -> std::io::Result<Self>
    where
        D::Link: Send + 'static,
    {
        let (jobs, inbox) = sync_channel(QUEUE);
        let busy = std::sync::Arc::new(Busy::default());
        let worker = Worker {
            device,
            link: Some(link),
            pause: FIRST_PAUSE,
            next: None,
            anew: false,
            busy: busy.clone(),
        };
        std::thread::Builder::new().name("cardea-pkcs11".into()).spawn(move || worker.run(&inbox))?;
        Ok(Self { jobs, busy })
    }

    pub(crate) fn sign(&self, digest: [u8; 32]) -> Result<[u8; 64], KeyError> {
        self.ask(|reply| Job::Sign(digest, reply))
    }

    pub(crate) fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, KeyError> {
        // The box wipes its copy when it goes.
        self.ask(|reply| Job::Agree(*peer, reply)).map(|secret| (*secret).clone())
    }

    fn ask<T>(&self, job: impl FnOnce(SyncSender<T>) -> Job) -> Result<T, KeyError> {
        let busy = *self.busy();
        if busy.is_some_and(|call| call.given_up || call.since.elapsed() >= PATIENCE) {
            return Err(KeyError::KeyUnavailable);
        }
        let (reply, answer) = sync_channel(1);
        let asked = Asked { job: job(reply), until: Instant::now() + PATIENCE };
        self.jobs.try_send(asked).map_err(|_| KeyError::KeyUnavailable)?;
        answer.recv_timeout(PATIENCE).map_err(|error| {
            // A reply that is dropped says no as well.
            if error == RecvTimeoutError::Timeout
                && let Some(call) = &mut *self.busy()
            {
                call.given_up = true;
            }
            KeyError::KeyUnavailable
        })
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, Option<Call>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker<D: Device> {
    device: D,
    link: Option<D::Link>,
    pause: Duration,
    /// When to look for the token again; `None` while it is there, or when only people can help.
    next: Option<Instant>,
    anew: bool,
    busy: std::sync::Arc<Busy>,
}

impl<D: Device> Worker<D> {
    fn run(mut self, inbox: &Receiver<Asked>) {
        loop {
            let wait = self.next.map_or(LONGEST_PAUSE, |at| at.saturating_duration_since(Instant::now()));
            match inbox.recv_timeout(wait) {
                Ok(asked) => {
                    self.set_busy(Some(Instant::now()));
                    self.answer(&asked);
                    self.set_busy(None);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.next.is_some_and(|at| at <= Instant::now()) {
                self.set_busy(Some(Instant::now()));
                self.connect();
                self.set_busy(None);
            }
        }
    }

    fn set_busy(&self, since: Option<Instant>) {
        let call = since.map(|since| Call { since, given_up: false });
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = call;
    }

    fn answer(&mut self, asked: &Asked) {
        if asked.until <= Instant::now() {
            return;
        }
        match &asked.job {
            Job::Sign(digest, reply) => {
                if let Some(signature) = self.perform(|link| link.sign(digest)) {
                    let _ = reply.send(signature); // nobody waits: fine
                }
            }
            Job::Agree(peer, reply) => {
                if let Some(secret) = self.perform(|link| link.agree(peer).map(Box::new)) {
                    let _ = reply.send(secret);
                }
            }
        }
    }

    /// Once more on a new session where the old one was lost: neither operation changes anything in the token.
    fn perform<T>(&mut self, act: impl Fn(&D::Link) -> Result<T, Error>) -> Option<T> {
        for _ in 0..2 {
            match act(self.link.as_ref()?) {
                Ok(done) => return Some(done),
                Err(error @ Error::Lost(_)) => {
                    tracing::warn!(%error, "the session with the token is lost");
                    self.link = None;
                    self.connect();
                }
                Err(error) => {
                    tracing::error!(%error, "the token refuses");
                    return None;
                }
            }
        }
        None
    }

    fn connect(&mut self) {
        match self.device.connect(self.anew) {
            Ok(link) => {
                tracing::info!("the token is connected again");
                self.link = Some(link);
                self.next = None;
                self.anew = false;
                self.pause = FIRST_PAUSE;
            }
            Err(error) if error.is_about_the_pin() => {
                tracing::error!(%error, "no handshake until this is put right and the platform restarted");
                self.next = None;
            }
            Err(error) => {
                tracing::error!(%error, again_ms = self.pause.as_millis(), "no handshake until the token is back");
                self.anew = true;
                self.next = Some(Instant::now() + self.pause);
                self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
