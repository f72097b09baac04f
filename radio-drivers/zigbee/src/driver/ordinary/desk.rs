//! Where the gateway gives errands and hears of ordinary locks.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::{Errand, Notice};

/// Errands that may wait for the radio, and words that may wait for the gateway.
const CHANNEL: usize = 64;

/// The gateway's end. Words come from one driver at a time, however often it is started.
pub struct OrdinaryDesk {
    /// What is wanted; `try_send` it: a radio that is not running takes nothing.
    pub errands: mpsc::Sender<Errand>,
    /// What is told.
    pub notices: mpsc::Receiver<Notice>,
}

/// The driver's end.
#[derive(Clone)]
pub struct OrdinaryEnd {
    pub(in crate::driver) errands: Arc<Mutex<mpsc::Receiver<Errand>>>,
    pub(in crate::driver) notices: mpsc::Sender<Notice>,
}

/// Makes both.
#[must_use]
pub fn ordinary_desk() -> (OrdinaryDesk, OrdinaryEnd) {
    let (give, take) = mpsc::channel(CHANNEL);
    let (tell, hear) = mpsc::channel(CHANNEL);
    (
        OrdinaryDesk { errands: give, notices: hear },
        OrdinaryEnd { errands: Arc::new(Mutex::new(take)), notices: tell },
    )
}
