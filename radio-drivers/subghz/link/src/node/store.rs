//! What a lock keeps through a power cut.

use heapless::Vec;
use zeroize::Zeroizing;

use super::Joined;
use crate::body::Reader;
use crate::mic::{Key, Nonces};
use crate::session::{SESSION_RECORD, Session};
use crate::{Error, Node};

const VERSION: u8 = 1;
/// Version, join nonce, network, address, channels, network key, beacon counter, session.
const RECORD: usize = 1 + 4 + 3 + 16 + 4 + SESSION_RECORD;

#[derive(Default)]
pub(crate) struct Store {
    must: bool,
    /// Under way.
    writing: Option<Writing>,
}

/// A record under way: whether others wait for it, and the limits that it holds of which session.
struct Writing {
    must: bool,
    limits: Option<(Nonces, (u32, u32))>,
}

impl Store {
    pub(super) fn must(&mut self) {
        self.must = true;
    }

    /// Nothing may be said that depends on what is not stored yet.
    pub(super) fn blocks(&self) -> bool {
        self.must || self.writing.as_ref().is_some_and(|writing| writing.must)
    }
}

impl Node {
    /// A record to be written in place of the last one; answered by [`handle_stored`](Self::handle_stored). It holds a key: erase
    /// the old one. This copy is wiped when dropped.
    pub fn poll_store(&mut self) -> Option<Zeroizing<Vec<u8, RECORD>>> {
        let short = self.joined.as_ref().is_some_and(|joined| joined.session.is_short());
        if self.store.writing.is_some() || !(self.store.must || short) {
            return None;
        }
        let limits = self.joined.as_ref().map(|joined| (joined.session.nonces, joined.session.wanted()));
        self.store.writing = Some(Writing { must: self.store.must, limits });
        self.store.must = false;
        Some(self.record())
    }

    /// What became of the record. Failed, it is asked for again: whoever calls decides when to poll.
    pub fn handle_stored(&mut self, written: bool) {
        let Some(writing) = self.store.writing.take() else { return };
        if !written {
            self.store.must |= writing.must;
        } else if let (Some((nonces, limits)), Some(joined)) = (writing.limits, &mut self.joined)
            && joined.session.nonces == nonces
        {
            joined.session.stored(limits);
        }
    }

    fn record(&self) -> Zeroizing<Vec<u8, RECORD>> {
        let mut record = Zeroizing::new(Vec::new());
        // RECORD is the sum of all parts, so nothing is left out.
        let mut put = |bytes: &[u8]| record.extend_from_slice(bytes).unwrap_or_default();
        put(&[VERSION]);
        put(&self.join_nonce.to_be_bytes());
        if let Some(joined) = &self.joined {
            put(&[joined.network, joined.address, joined.channels]);
            put(&joined.key.0);
            put(&joined.next_beacon.to_be_bytes());
            put(&joined.session.record());
        }
        record
    }

    pub(super) fn restore(&mut self, record: &[u8]) -> Result<(), Error> {
        let mut read = Reader(record);
        if read.u8()? != VERSION {
            return Err(Error::Version);
        }
        self.join_nonce = read.u32()?;
        if read.0.is_empty() {
            return Ok(());
        }
        let (network, address, channels) = (read.u8()?, read.address()?, read.u8()?);
        let (key, next_beacon) = (Key(read.take()?), read.u32()?);
        let session = Session::restore(&self.secret, &self.config.lock, &mut read)?;
        if !read.0.is_empty() {
            return Err(Error::Body);
        }
        self.joined = Some(Joined { session, address, network, channels, key, next_beacon });
        Ok(())
    }
}
