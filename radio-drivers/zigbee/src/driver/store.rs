//! What the gateway's encrypted store keeps of a Zigbee network, and how it gets there: one transaction at a time, so that
//! what is written later is what was true later.

use std::collections::{BTreeMap, BTreeSet};

use cardea_framing::LockId;
use cardea_radio::Millis;

use super::device::{Device, Identity};
use crate::coordinator::Network;
use crate::types::{Eui64, InstallCode, Key};
use crate::wire::{DecodeError, Reader};

/// How long after a failure what waits is written again, milliseconds.
const RETRY_MS: Millis = 5_000;
const VERSION: u8 = 1;
const PREFIX: &[u8] = b"zigbee/";

/// What one record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RecordKey {
    /// The network that this gateway formed or adopted.
    Network,
    /// One that is to be formed: its key is stored before the dongle has it.
    Plan,
    /// An admitted lock.
    Device(LockId),
    /// A device that was removed and has not been seen to leave.
    Leaving(Eui64),
    /// The last backup of the network.
    Kept,
    /// A backup that is being restored: all of it is stored before the dongle is erased.
    Restore,
    /// The network key that follows: it is stored before the dongle has it.
    NextKey,
    /// An ordinary lock that was admitted.
    Ordinary(Eui64),
    /// A router that was admitted.
    Router(Eui64),
}

impl RecordKey {
    pub(super) fn encode(self) -> Vec<u8> {
        match self {
            Self::Network => [PREFIX, b"n"].concat(),
            Self::Plan => [PREFIX, b"p"].concat(),
            Self::Device(lock) => [PREFIX, b"d", &lock.0].concat(),
            Self::Leaving(eui) => [PREFIX, b"l", &eui.0].concat(),
            Self::Kept => [PREFIX, b"b"].concat(),
            Self::Restore => [PREFIX, b"r"].concat(),
            Self::NextKey => [PREFIX, b"k"].concat(),
            Self::Ordinary(eui) => [PREFIX, b"o", &eui.0].concat(),
            Self::Router(eui) => [PREFIX, b"t", &eui.0].concat(),
        }
    }

    /// `None`: not a record of this driver.
    pub(super) fn decode(key: &[u8]) -> Option<Self> {
        let (kind, rest) = key.strip_prefix(PREFIX)?.split_first()?;
        match (kind, rest) {
            (b'n', []) => Some(Self::Network),
            (b'p', []) => Some(Self::Plan),
            (b'd', lock) => Some(Self::Device(LockId(lock.try_into().ok()?))),
            (b'l', eui) => Some(Self::Leaving(Eui64(eui.try_into().ok()?))),
            (b'b', []) => Some(Self::Kept),
            (b'r', []) => Some(Self::Restore),
            (b'k', []) => Some(Self::NextKey),
            (b'o', eui) => Some(Self::Ordinary(Eui64(eui.try_into().ok()?))),
            (b't', eui) => Some(Self::Router(Eui64(eui.try_into().ok()?))),
            _ => None,
        }
    }
}

/// The network, and its key where this gateway chose it.
#[derive(Clone)]
pub(super) struct StoredNetwork {
    pub(super) network: Network,
    /// `None`: adopted, and only the dongle knows it.
    pub(super) key: Option<Key>,
}

impl StoredNetwork {
    pub(super) fn to_record(&self) -> Vec<u8> {
        let Network { coordinator, extended_pan, pan, channel } = self.network;
        let mut out = Vec::with_capacity(37);
        out.push(VERSION);
        out.extend_from_slice(&coordinator.0);
        out.extend_from_slice(&extended_pan.0);
        out.extend_from_slice(&pan.to_le_bytes());
        out.push(channel);
        out.push(self.key.is_some().into());
        out.extend(self.key.iter().flat_map(|key| key.0));
        out
    }

    pub(super) fn from_record(record: &[u8]) -> Result<Self, DecodeError> {
        let mut read = versioned(record)?;
        let (coordinator, extended_pan) = (Eui64(read.array()?), Eui64(read.array()?));
        let (pan, channel) = (read.u16()?, read.u8()?);
        let key = match read.u8()? {
            0 => None,
            _ => Some(Key(read.array()?)),
        };
        read.finish()?;
        Ok(Self { network: Network { coordinator, extended_pan, pan, channel }, key })
    }
}

/// A network that an operator ordered.
#[derive(Clone)]
pub(super) struct StoredPlan {
    pub(super) extended_pan: Eui64,
    pub(super) key: Key,
}

impl StoredPlan {
    pub(super) fn to_record(&self) -> Vec<u8> {
        [&[VERSION][..], &self.extended_pan.0, &self.key.0].concat()
    }

    pub(super) fn from_record(record: &[u8]) -> Result<Self, DecodeError> {
        let mut read = versioned(record)?;
        let plan = Self { extended_pan: Eui64(read.array()?), key: Key(read.array()?) };
        read.finish()?;
        Ok(plan)
    }
}

/// A network key that may be the network's after the next frame of the dongle.
pub(super) fn next_key_to_record(key: &Key) -> Vec<u8> {
    [&[VERSION][..], &key.0].concat()
}

pub(super) fn next_key_from_record(record: &[u8]) -> Result<Key, DecodeError> {
    let mut read = versioned(record)?;
    let key = Key(read.array()?);
    read.finish()?;
    Ok(key)
}

const JOINED: u8 = 1;
const SLEEPY: u8 = 2;

impl Device {
    pub(super) fn to_record(&self) -> Vec<u8> {
        let sleepy = self.endpoint.is_some_and(|endpoint| endpoint.sleepy);
        let flags = if self.joined { JOINED } else { 0 } | if sleepy { SLEEPY } else { 0 };
        let code = self.identity.code.as_bytes();
        let mut out = Vec::with_capacity(11 + code.len());
        out.extend_from_slice(&[VERSION, flags, self.endpoint.map_or(0, |endpoint| endpoint.number)]);
        out.extend_from_slice(&self.identity.eui.0);
        out.extend_from_slice(code);
        out
    }

    pub(super) fn from_record(record: &[u8]) -> Result<Self, DecodeError> {
        let mut read = versioned(record)?;
        let (flags, number) = (read.u8()?, read.u8()?);
        let eui = Eui64(read.array()?);
        let code = InstallCode::new(read.rest())?;
        let mut device = Self::new(Identity { eui, code });
        device.joined = flags & JOINED != 0;
        device.endpoint =
            (number != 0).then_some(super::device::Endpoint { number, sleepy: flags & SLEEPY != 0 });
        Ok(device)
    }
}

/// What follows the version.
pub(super) fn versioned(record: &[u8]) -> Result<Reader<'_>, DecodeError> {
    let mut read = Reader::new(record);
    match read.u8()? {
        VERSION => Ok(read),
        _ => Err(DecodeError::Field("the record's version")),
    }
}

/// What is to be written, and what is being written.
#[derive(Default)]
pub(super) struct Writer {
    dirty: BTreeSet<RecordKey>,
    batch: Option<Batch>,
    next: u64,
    retry_at: Option<Millis>,
    /// The store's words, while it fails.
    pub(super) failing: Option<String>,
}

/// One transaction under way.
pub(super) struct Batch {
    id: u64,
    pub(super) keys: BTreeSet<RecordKey>,
    /// Locks that are admitted once it is durable.
    pub(super) admissions: BTreeMap<LockId, Identity>,
}

impl Writer {
    /// This record has changed.
    pub(super) fn mark(&mut self, key: RecordKey) {
        self.dirty.insert(key);
    }

    /// This record has changed, and somebody waits for it.
    pub(super) fn mark_urgent(&mut self, key: RecordKey) {
        self.dirty.insert(key);
        self.retry_at = None;
    }

    /// Whether what is durable of this record is what it is now.
    pub(super) fn is_durable(&self, key: RecordKey) -> bool {
        !self.dirty.contains(&key) && self.batch.as_ref().is_none_or(|batch| !batch.keys.contains(&key))
    }

    /// Not to be written after all.
    pub(super) fn unmark(&mut self, key: RecordKey) {
        self.dirty.remove(&key);
    }

    /// What is to be written now.
    pub(super) fn due(&self) -> Option<&BTreeSet<RecordKey>> {
        let idle = self.batch.is_none() && self.retry_at.is_none();
        (idle && !self.dirty.is_empty()).then_some(&self.dirty)
    }

    /// It is being written.
    pub(super) fn start(&mut self, admissions: BTreeMap<LockId, Identity>) -> u64 {
        let id = self.next;
        self.next = id.wrapping_add(1);
        self.batch = Some(Batch { id, keys: std::mem::take(&mut self.dirty), admissions });
        id
    }

    /// The store's answer. What failed is to be written again, but for admissions: those are refused.
    pub(super) fn finish(&mut self, now: Millis, id: u64, failure: Option<String>) -> Option<Batch> {
        let batch = self.batch.take_if(|batch| batch.id == id)?;
        self.failing = failure;
        if self.failing.is_some() {
            let again = batch.keys.iter().filter(|key| match key {
                RecordKey::Device(lock) => !batch.admissions.contains_key(lock),
                _ => true,
            });
            self.dirty.extend(again);
            self.retry_at = Some(now.saturating_add(RETRY_MS));
        }
        Some(batch)
    }

    /// The admission of this lock that is being written, if there is one.
    pub(super) fn admission(&self, lock: LockId) -> Option<&Identity> {
        self.batch.as_ref().and_then(|batch| batch.admissions.get(&lock))
    }

    /// All admissions that are being written.
    pub(super) fn admissions(&self) -> impl Iterator<Item = (&LockId, &Identity)> + Clone {
        self.batch.iter().flat_map(|batch| &batch.admissions)
    }

    /// The admission that is being written counts no more. True if there was one.
    pub(super) fn revoke(&mut self, lock: LockId) -> bool {
        self.batch.as_mut().is_some_and(|batch| batch.admissions.remove(&lock).is_some())
    }

    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        self.retry_at.filter(|_| !self.dirty.is_empty())
    }

    pub(super) fn handle_timeout(&mut self, now: Millis) {
        self.retry_at.take_if(|at| *at <= now);
    }

    /// True while something is not durable yet.
    pub(super) fn is_busy(&self) -> bool {
        self.batch.is_some() || !self.dirty.is_empty()
    }
}

/// A 64-bit PAN id nobody else has: random, and marked as locally administered, so never one of the two that mean "any".
pub(super) fn extended_pan(random: [u8; 8]) -> Eui64 {
    let [first, rest @ ..] = random;
    let mut pan = [(first & 0xFC) | 0x02; 8];
    pan.iter_mut().skip(1).zip(rest).for_each(|(to, from)| *to = from);
    Eui64(pan)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: Network =
        Network { coordinator: Eui64([1; 8]), extended_pan: Eui64([2; 8]), pan: 0x1A62, channel: 15 };

    fn device() -> Device {
        let code = InstallCode::new(&hex::decode("83fed3407a932b70").unwrap()).unwrap();
        let mut device = Device::new(Identity { eui: Eui64([3; 8]), code });
        device.joined = true;
        device.endpoint = Some(super::super::device::Endpoint { number: 11, sleepy: true });
        device
    }

    #[test]
    fn records_are_these_bytes_and_are_read_again() {
        let record = device().to_record();
        assert_eq!(hex::encode(&record), "01030b030303030303030383fed3407a932b70");
        let again = Device::from_record(&record).unwrap();
        assert_eq!(again.to_record(), record);
        for (key, tail) in [(None, "00"), (Some(Key([9; 16])), "0109090909090909090909090909090909")] {
            let stored = StoredNetwork { network: NETWORK, key };
            let record = stored.to_record();
            assert_eq!(hex::encode(&record), format!("0101010101010101010202020202020202621a0f{tail}"));
            let again = StoredNetwork::from_record(&record).unwrap();
            assert_eq!((again.network, again.key), (stored.network, stored.key));
        }
        let plan = StoredPlan { extended_pan: Eui64([2; 8]), key: Key([7; 16]) };
        let again = StoredPlan::from_record(&plan.to_record()).unwrap();
        assert_eq!((again.extended_pan, again.key), (plan.extended_pan, plan.key));
    }

    #[test]
    fn a_record_that_is_damaged_is_not_read() {
        let record = device().to_record();
        for cut in 0..record.len() {
            assert!(Device::from_record(&record[..cut]).is_err(), "{cut}");
        }
        let mut newer = record.clone();
        newer[0] = 2;
        assert!(Device::from_record(&newer).is_err());
        let stored = StoredNetwork { network: NETWORK, key: Some(Key([9; 16])) }.to_record();
        assert!(StoredNetwork::from_record(&stored[..36]).is_err());
        assert!(StoredNetwork::from_record(&[&stored[..], &[0]].concat()).is_err());
        assert!(StoredPlan::from_record(&[1; 24]).is_err());
        let next = next_key_to_record(&Key([6; 16]));
        assert_eq!(next_key_from_record(&next).unwrap(), Key([6; 16]));
        assert!(next_key_from_record(&next[..16]).is_err());
        assert!(next_key_from_record(&[&next[..], &[0]].concat()).is_err());
    }

    #[test]
    fn names_of_records_are_read_again_and_others_are_not_ours() {
        for key in [
            RecordKey::Network,
            RecordKey::Plan,
            RecordKey::Device(LockId([4; 8])),
            RecordKey::Leaving(Eui64([5; 8])),
            RecordKey::Kept,
            RecordKey::Restore,
            RecordKey::NextKey,
            RecordKey::Ordinary(Eui64([6; 8])),
        ] {
            assert_eq!(RecordKey::decode(&key.encode()), Some(key));
        }
        for other in [&b"lorawan/j"[..], b"zigbee/", b"zigbee/n1", b"zigbee/d1234567", b"zigbee/x"] {
            assert_eq!(RecordKey::decode(other), None);
        }
    }

    #[test]
    fn a_drawn_pan_id_never_means_any() {
        for random in [[0; 8], [0xFF; 8]] {
            let pan = extended_pan(random).0;
            assert!(pan != [0; 8] && pan != [0xFF; 8] && pan[1..] == random[1..], "{pan:?}");
        }
    }
}
