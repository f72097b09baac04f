//! Between a lock's task and its radio, which is on the air's thread.

use cardea_subghz_link::Micros;
use tokio::sync::mpsc::UnboundedReceiver;

use super::RadioEvent;

/// A lock's frame is of no use after so long: it has said it again by then.
pub(super) const LIFE: Micros = 10_000_000;

/// What a lock wants of its radio.
pub(super) enum Act {
    Join,
    /// The battery was out.
    Reboot,
    Send(Vec<u8>),
}

/// A lock's end of its radio.
pub(super) struct Mailbox {
    act: Box<dyn Fn(Act) + Send + Sync>,
    events: UnboundedReceiver<RadioEvent>,
}

impl Mailbox {
    pub(super) fn new(
        act: impl Fn(Act) + Send + Sync + 'static,
        events: UnboundedReceiver<RadioEvent>,
    ) -> Self {
        Self { act: Box::new(act), events }
    }

    pub(super) fn join(&self) {
        (self.act)(Act::Join);
    }

    pub(super) fn reboot(&self) {
        (self.act)(Act::Reboot);
    }

    pub(super) fn send(&self, frame: Vec<u8>) {
        (self.act)(Act::Send(frame));
    }

    pub(super) async fn receive(&mut self) -> Option<RadioEvent> {
        self.events.recv().await
    }
}
