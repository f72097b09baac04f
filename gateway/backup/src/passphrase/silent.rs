//! A terminal that does not show what is typed, and is left as it was, however the process ends but by SIGKILL.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

/// What the terminal is to be again, while it is silent.
static SILENT: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// A terminal that does not show what is typed, until this is dropped. Its keys raise no signals meanwhile: the interrupt key
/// ends a line instead. Signals from elsewhere end the process once the terminal is as it was.
pub(super) struct Silent {
    interrupt: u8,
}

impl Silent {
    pub(super) fn new(terminal: &File) -> io::Result<Self> {
        watch()?;
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        let interrupt = silent.special_codes[SpecialCodeIndex::VINTR];
        silent.special_codes[SpecialCodeIndex::VEOL] = interrupt;
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        // Held until it is silent: a signal in between finds what is to be restored.
        let mut kept = SILENT.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((terminal.try_clone()?, before));
        if let Err(error) = tcsetattr(terminal, OptionalActions::Flush, &silent) {
            *kept = None;
            return Err(error.into());
        }
        Ok(Self { interrupt })
    }

    /// The key that ends a line, and is its last byte.
    pub(super) fn interrupt(&self) -> u8 {
        self.interrupt
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let kept = SILENT.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((terminal, before)) = kept {
        let _ = tcsetattr(terminal, OptionalActions::Flush, &before);
    }
}

/// From now on a thread takes the signals that end this process, and ends it. Once it has begun it goes on: whoever handles a
/// signal once must handle it always.
fn watch() -> io::Result<()> {
    static WATCHED: OnceLock<Result<(), io::ErrorKind>> = OnceLock::new();
    let begin = || {
        let (begun, wait) = channel();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || watcher(&begun))
            .map_err(|error| error.kind())?;
        wait.recv().unwrap_or(Err(io::ErrorKind::Other))
    };
    WATCHED.get_or_init(begin).map_err(io::Error::from)
}

fn watcher(begun: &Sender<Result<(), io::ErrorKind>>) {
    let watched = || -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let _context = runtime.enter();
        let kinds =
            [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()];
        let mut all = kinds.into_iter().map(signal).collect::<io::Result<Vec<_>>>()?;
        let _ = begun.send(Ok(()));
        let came = runtime.block_on(std::future::poll_fn(|context| {
            let came = all.iter_mut().position(|signal| signal.poll_recv(context).is_ready());
            came.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        }));
        restore();
        let number = kinds.get(came).map_or(0, SignalKind::as_raw_value);
        #[expect(clippy::exit, reason = "it is what the signal is for; shells say it by this number")]
        std::process::exit(128_i32.saturating_add(number));
    };
    if let Err(error) = watched() {
        let _ = begun.send(Err(error.kind()));
    }
}
