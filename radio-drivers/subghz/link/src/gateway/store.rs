//! What the gateway keeps through a power cut: a record of the network, and one for each lock.

use heapless::Vec;
use zeroize::Zeroizing;

use super::peer::Peer;
use super::{Gateway, GatewayEvent};
use crate::body::Reader;
use crate::counter::Sender;
use crate::mic::{Key, Nonces, Secret};
use crate::session::Session;
use crate::{Error, LockId, Micros};

/// Beacons and joins share one counter, reserved half a day at a time.
const NETWORK_BLOCK: u32 = 4096;
const NETWORK: u8 = 1;
const PEER: u8 = 2;
/// Kind, lock, secret, address, times, nonce, flags, two sessions.
const LONGEST: usize = 1 + 8 + 16 + 1 + 4 + 4 + 1 + 32;

/// Name of a record in the radio network's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordName {
    /// The network.
    Network,
    /// A lock.
    Lock(LockId),
}

/// One change to the store. It holds keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Which record.
    pub name: RecordName,
    /// Its content, wiped when dropped; `None` erases it.
    pub content: Option<Zeroizing<Vec<u8, LONGEST>>>,
}

type Limits = Option<(Nonces, (u32, u32))>;

/// A record under way.
pub(super) enum Writing {
    Network { limit: u32 },
    Peer { lock: LockId, fresh: bool, current: Limits, pending: Limits },
    Removal(LockId),
}

impl Writing {
    pub(super) fn is_of(&self, name: &LockId) -> bool {
        matches!(self, Self::Peer { lock, .. } if lock == name)
    }
}

impl<const PEERS: usize> Gateway<PEERS> {
    /// A change to be made durable; one at a time, answered by [`handle_stored`](Self::handle_stored).
    pub fn poll_store(&mut self) -> Option<Record> {
        if self.writing.is_some() {
            return None;
        }
        let limit = self.counter.wanted(NETWORK_BLOCK);
        if self.network_dirty || limit != self.counter.limit() {
            self.network_dirty = false;
            self.writing = Some(Writing::Network { limit });
            let mut content = Zeroizing::new(Vec::new());
            content.push(NETWORK).ok()?;
            content.extend_from_slice(&self.key.0).ok()?;
            content.extend_from_slice(&limit.to_be_bytes()).ok()?;
            return Some(Record { name: RecordName::Network, content: Some(content) });
        }
        if let Some(lock) = self.removed.front() {
            self.writing = Some(Writing::Removal(*lock));
            return Some(Record { name: RecordName::Lock(*lock), content: None });
        }
        let peer = self.peers.iter_mut().find(|peer| peer.must_be_stored())?;
        let content = peer.record()?;
        let limits = |session: &Option<Session>| session.as_ref().map(|s| (s.nonces, s.wanted()));
        let (current, pending) = (limits(&peer.current), limits(&peer.pending));
        self.writing = Some(Writing::Peer { lock: peer.lock, fresh: peer.fresh, current, pending });
        (peer.dirty, peer.fresh) = (false, false);
        Some(Record { name: RecordName::Lock(peer.lock), content: Some(content) })
    }

    /// What became of the record. Failed, it is asked for again: whoever calls decides when to poll.
    pub fn handle_stored(&mut self, now: Micros, written: bool) {
        match self.writing.take() {
            None => {}
            Some(Writing::Network { limit }) if written => self.counter.stored(limit),
            Some(Writing::Network { .. }) => self.network_dirty = true,
            Some(Writing::Removal(lock)) if written => {
                self.removed.pop_front();
                self.tell(GatewayEvent::Stored(lock));
            }
            Some(Writing::Removal(_)) => {}
            Some(Writing::Peer { lock, fresh, current, pending }) => {
                let Some(peer) = self.peers.iter_mut().find(|peer| peer.lock == lock) else { return };
                if !written {
                    (peer.dirty, peer.fresh) = (true, peer.fresh || fresh);
                    return;
                }
                for (nonces, limits) in [current, pending].into_iter().flatten() {
                    let sessions = [&mut peer.current, &mut peer.pending].into_iter().flatten();
                    sessions
                        .filter(|session| session.nonces == nonces)
                        .for_each(|session| session.stored(limits));
                }
                if fresh {
                    self.tell(GatewayEvent::Stored(lock));
                }
                self.accept(now, &lock);
            }
        }
    }

    /// One record that was stored; before anything else.
    ///
    /// # Errors
    /// [`Error`] if it is not one of ours.
    pub fn load(&mut self, record: &[u8]) -> Result<(), Error> {
        let mut read = Reader(record);
        match read.u8()? {
            NETWORK => {
                self.key = Key(read.take()?);
                self.counter = Sender::restore(read.u32()?);
                self.network_dirty = false;
            }
            PEER => {
                let peer = Peer::restore(&mut read)?;
                // Of two with one name or one address, one would be stored again and again and the other never.
                let is_taken = |other: &Peer| other.lock == peer.lock || other.address == peer.address;
                if self.peers.iter().any(is_taken) {
                    return Err(Error::Body);
                }
                self.peers.push(peer).map_err(|_| Error::Length)?;
            }
            _ => return Err(Error::Version),
        }
        if read.0.is_empty() { Ok(()) } else { Err(Error::Body) }
    }
}

impl Peer {
    fn must_be_stored(&self) -> bool {
        self.dirty || [&self.current, &self.pending].into_iter().flatten().any(Session::is_short)
    }

    fn record(&self) -> Option<Zeroizing<Vec<u8, LONGEST>>> {
        let mut record = Zeroizing::new(Vec::new());
        let flags = u8::from(self.current.is_some())
            | u8::from(self.pending.is_some()) << 1
            | u8::from(self.last_nonce.is_some()) << 2;
        record.push(PEER).ok()?;
        record.extend_from_slice(&self.lock).ok()?;
        record.extend_from_slice(&self.secret.0).ok()?;
        record.push(self.address).ok()?;
        record.extend_from_slice(&self.interval_ms.to_be_bytes()).ok()?;
        record.extend_from_slice(&self.linger_ms.to_be_bytes()).ok()?;
        record.extend_from_slice(&self.last_nonce.unwrap_or(0).to_be_bytes()).ok()?;
        record.push(flags).ok()?;
        for session in [&self.current, &self.pending].into_iter().flatten() {
            record.extend_from_slice(&session.record()).ok()?;
        }
        Some(record)
    }

    fn restore(read: &mut Reader<'_>) -> Result<Self, Error> {
        let (lock, secret, address) = (read.take()?, Secret(read.take()?), read.address()?);
        let mut peer = Self::new(lock, secret, address);
        (peer.dirty, peer.fresh) = (false, false);
        (peer.interval_ms, peer.linger_ms) = (read.u16()?, read.u16()?);
        let (nonce, flags) = (read.u32()?, read.u8()?);
        peer.last_nonce = (flags & 4 != 0).then_some(nonce);
        for (bit, to) in [(1, &mut peer.current), (2, &mut peer.pending)] {
            if flags & bit != 0 {
                *to = Some(Session::restore(&peer.secret, &lock, read)?);
            }
        }
        Ok(peer)
    }
}
