//! Phones that are attached over the control socket.

use std::collections::BTreeMap;

use cardea_api::{PeerEvent, Reply};
use cardea_core::{PeerAction, PeerInput};
use cardea_framing::LockId;
use tokio::sync::{mpsc, oneshot};

/// Events that wait for a phone which does not read; more are lost, as they would be on the air.
const WAITING: usize = 32;

/// An attached phone, as its connection knows it.
pub(crate) struct Attached {
    /// Its number.
    pub(crate) peer: u64,
    /// What goes to its owner as the answer.
    pub(crate) reply: Reply,
    /// What comes for it.
    pub(crate) events: mpsc::Receiver<PeerEvent>,
}

/// What a phone's connection asks.
pub(crate) enum GuestAsk {
    /// An address, to speak to this lock.
    Attach(LockId, oneshot::Sender<Result<Attached, String>>),
    /// It says this.
    Datagram(u64, Vec<u8>),
    /// It is gone.
    Detach(u64),
}

enum Guest {
    Asking(oneshot::Sender<Result<Attached, String>>),
    There(mpsc::Sender<PeerEvent>),
}

/// All of them.
#[derive(Default)]
pub(super) struct Guests {
    all: BTreeMap<u64, Guest>,
    last: u64,
}

impl Guests {
    pub(super) fn ask(&mut self, ask: GuestAsk) -> PeerInput {
        match ask {
            GuestAsk::Attach(lock, reply) => {
                self.last += 1;
                self.all.insert(self.last, Guest::Asking(reply));
                PeerInput::Attach { peer: self.last, lock }
            }
            GuestAsk::Datagram(peer, data) => PeerInput::Datagram { peer, data: data.into() },
            GuestAsk::Detach(peer) => {
                self.all.remove(&peer);
                PeerInput::Detach { peer }
            }
        }
    }

    pub(super) fn tell(&mut self, action: PeerAction) {
        match action {
            PeerAction::Attached { peer, address, lock } => {
                let Some(Guest::Asking(reply)) = self.all.remove(&peer) else { return };
                let (to, events) = mpsc::channel(WAITING);
                self.all.insert(peer, Guest::There(to));
                // A connection that is gone by now says so itself.
                let _ = reply.send(Ok(Attached { peer, reply: Reply::Attached { address, lock }, events }));
            }
            PeerAction::Refused { peer, why } => match self.all.remove(&peer) {
                Some(Guest::Asking(reply)) => drop(reply.send(Err(why.into()))),
                Some(Guest::There(to)) => {
                    let _ = to.try_send(PeerEvent::Refused { error: why.into() });
                    self.all.insert(peer, Guest::There(to));
                }
                None => {}
            },
            PeerAction::Datagram { peer, data } => {
                if let Some(Guest::There(to)) = self.all.get(&peer)
                    && to.try_send(PeerEvent::Datagram { data: data.to_vec() }).is_err()
                {
                    tracing::debug!("a phone does not read what is for it");
                }
            }
        }
    }
}
