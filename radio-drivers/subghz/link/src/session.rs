//! What both ends keep of one session.

use crate::LockId;
use crate::body::Reader;
use crate::codec::Error;
use crate::counter::{BLOCK, Receiver, Sender};
use crate::mic::{Nonces, Secret, SessionKeys};

/// Keys and counters between one lock and the gateway.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) nonces: Nonces,
    pub(crate) keys: SessionKeys,
    pub(crate) tx: Sender,
    pub(crate) rx: Receiver,
    /// Strobes are counted with the gateway's other frames, but each burst is new by itself: data repeated after a second
    /// burst has a lower counter than that burst.
    pub(crate) next_wake: u32,
}

/// What storage holds of it: nonces, and the limits of both counters.
pub(crate) const SESSION_RECORD: usize = 16;

impl Session {
    /// A new one; its first blocks are stored with it.
    pub(crate) fn new(secret: &Secret, lock: &LockId, nonces: Nonces) -> Self {
        let rx = Receiver::fresh(2 * BLOCK);
        Self { nonces, keys: secret.session(lock, nonces), tx: Sender::fresh(BLOCK), rx, next_wake: 0 }
    }

    /// After a restart.
    pub(crate) fn restore(secret: &Secret, lock: &LockId, read: &mut Reader<'_>) -> Result<Self, Error> {
        let nonces = Nonces { node: read.u32()?, gateway: read.u32()? };
        let (tx, rx) = (read.u32()?, read.u32()?);
        let keys = secret.session(lock, nonces);
        Ok(Self { nonces, keys, tx: Sender::restore(tx), rx: Receiver::restore(rx), next_wake: rx })
    }

    /// The record, with the limits that are wanted.
    pub(crate) fn record(&self) -> [u8; SESSION_RECORD] {
        let mut record = [0; SESSION_RECORD];
        let (tx, rx) = self.wanted();
        for (to, from) in record.chunks_exact_mut(4).zip([self.nonces.node, self.nonces.gateway, tx, rx]) {
            to.copy_from_slice(&from.to_be_bytes());
        }
        record
    }

    pub(crate) fn wanted(&self) -> (u32, u32) {
        (self.tx.wanted(BLOCK), self.rx.wanted())
    }

    pub(crate) fn is_short(&self) -> bool {
        self.wanted() != (self.tx.limit(), self.rx.limit())
    }

    pub(crate) fn stored(&mut self, (tx, rx): (u32, u32)) {
        self.tx.stored(tx);
        self.rx.stored(rx);
    }
}
