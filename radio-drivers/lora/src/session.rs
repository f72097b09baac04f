//! One LoRaWAN session: keys, counters and receive parameters, and how they are kept in the network store.

use cardea_framing::LockId;
use cardea_radio::{LorawanClass, Millis};

use crate::frame::Key;

/// Downlink counters are reserved in the store by so many at a time.
pub(crate) const BLOCK: u32 = 32;
/// So many uplinks may pass before their counter is stored…
pub(crate) const SAVE_EVERY: u32 = 32;
/// …or so many milliseconds.
pub(crate) const SAVE_AFTER: Millis = 60_000;

/// Receive parameters of a device, as the device has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RxParams {
    /// Seconds to RX1; RX2 is one later.
    pub(crate) delay: u8,
    pub(crate) rx1_offset: u8,
    pub(crate) rx2_dr: u8,
    pub(crate) rx2_frequency: u32,
}

/// Requests that a device leaves unanswered or declines, and that are therefore not repeated in this session.
pub(crate) mod given_up {
    pub(crate) const LINK_ADR: u8 = 1;
    pub(crate) const RX_PARAM: u8 = 2;
    pub(crate) const RX_TIMING: u8 = 4;
}

pub(crate) struct Session {
    pub(crate) dev_addr: u32,
    pub(crate) network_key: Key,
    pub(crate) application_key: Key,
    /// The lowest uplink counter that is acceptable; above `u32::MAX` the session is used up.
    pub(crate) next_up: u64,
    /// MIC of the last uplink, to know its retransmission; not stored.
    pub(crate) last_mic: Option<[u8; 4]>,
    /// The next downlink counter.
    pub(crate) next_down: u32,
    /// Below this, counters are durably reserved.
    pub(crate) durable_down: u32,
    /// What the newest record says; equal to `durable_down` unless a commit is under way or failed.
    pub(crate) reserved_down: u32,
    pub(crate) rx: RxParams,
    /// Data rate of the last uplink.
    pub(crate) dr: Option<u8>,
    /// TXPower index the device has.
    pub(crate) power: u8,
    /// See [`given_up`].
    pub(crate) given_up: u8,
    /// Uplinks since the last save, and when the first of them came.
    pub(crate) unsaved: u32,
    pub(crate) unsaved_since: Option<Millis>,
}

/// How an uplink's 16-bit counter continues the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    /// The last uplink again.
    Repeat(u32),
    /// A later one, if its MIC says so.
    New(u32),
}

impl Session {
    pub(crate) fn new(dev_addr: u32, network_key: Key, application_key: Key, rx: RxParams) -> Self {
        Self {
            dev_addr,
            network_key,
            application_key,
            next_up: 0,
            last_mic: None,
            next_down: 0,
            durable_down: 0,
            reserved_down: BLOCK,
            rx,
            dr: None,
            power: 0,
            given_up: 0,
            unsaved: 0,
            unsaved_since: None,
        }
    }

    /// Whether both are of one join, whatever their counters say.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.dev_addr == other.dev_addr
            && self.network_key == other.network_key
            && self.application_key == other.application_key
    }

    /// What this counter on the wire can mean. There is exactly one reading of it, and none that goes back.
    pub(crate) fn read_counter(&self, wire: u16) -> Option<Counter> {
        if let Some(last) = self.next_up.checked_sub(1)
            && self.last_mic.is_some()
            && last & 0xffff == u64::from(wire)
        {
            return u32::try_from(last).ok().map(Counter::Repeat);
        }
        let ahead = u64::from(wire).wrapping_sub(self.next_up) & 0xffff;
        u32::try_from(self.next_up.saturating_add(ahead)).ok().map(Counter::New)
    }

    /// Takes a downlink counter, if one is durably reserved.
    pub(crate) fn take_down(&mut self) -> Option<u32> {
        let counter = self.next_down;
        if counter >= self.durable_down {
            return None;
        }
        self.next_down = counter + 1;
        Some(counter)
    }

    /// True when a new block should be reserved: when a commit's time from now the old one may be used up.
    pub(crate) fn wants_block(&self) -> bool {
        self.durable_down.saturating_sub(self.next_down) <= BLOCK / 4
    }

    /// Names the next block; it may be used once the record that says so is durable.
    pub(crate) fn reserve(&mut self) {
        if self.reserved_down == self.durable_down {
            self.reserved_down = self.reserved_down.saturating_add(BLOCK);
        }
    }

    pub(crate) fn to_record(&self) -> Vec<u8> {
        let mut out = vec![RECORD_VERSION];
        out.extend_from_slice(&self.dev_addr.to_be_bytes());
        out.extend_from_slice(&*self.network_key);
        out.extend_from_slice(&*self.application_key);
        out.extend_from_slice(&self.next_up.to_be_bytes());
        out.extend_from_slice(&self.reserved_down.to_be_bytes());
        out.extend_from_slice(&[self.rx.delay, self.rx.rx1_offset, self.rx.rx2_dr]);
        out.extend_from_slice(&self.rx.rx2_frequency.to_be_bytes());
        out.extend_from_slice(&[self.dr.unwrap_or(0xff), self.power, self.given_up]);
        out
    }

    /// One record of several sessions, one after the other.
    pub(crate) fn to_records<'a>(sessions: impl IntoIterator<Item = &'a Self>) -> Vec<u8> {
        sessions.into_iter().flat_map(Self::to_record).collect()
    }

    /// All sessions of a record, at least one.
    pub(crate) fn from_records(bytes: &[u8]) -> Option<Vec<Self>> {
        let mut read = Reader(bytes);
        let mut sessions = vec![Self::read(&mut read)?];
        while !read.0.is_empty() {
            sessions.push(Self::read(&mut read)?);
        }
        Some(sessions)
    }

    /// Counters jump to the end of the reserved block: whatever was used of it is never used again.
    fn read(read: &mut Reader<'_>) -> Option<Self> {
        if read.u8()? != RECORD_VERSION {
            return None;
        }
        let dev_addr = read.u32()?;
        let (network_key, application_key) = (Key::new(read.array()?), Key::new(read.array()?));
        let next_up = read.u64()?;
        let down = read.u32()?;
        let rx = RxParams {
            delay: read.u8()?,
            rx1_offset: read.u8()?,
            rx2_dr: read.u8()?,
            rx2_frequency: read.u32()?,
        };
        let dr = Some(read.u8()?).filter(|dr| *dr < 16);
        let (power, given_up) = (read.u8()?, read.u8()?);
        Some(Self {
            next_up,
            next_down: down,
            durable_down: down,
            reserved_down: down,
            dr,
            power,
            given_up,
            ..Self::new(dev_addr, network_key, application_key, rx)
        })
    }
}

const RECORD_VERSION: u8 = 1;

/// The part of a device that is stored apart from its sessions.
pub(crate) struct Identity {
    pub(crate) class: LorawanClass,
    pub(crate) dev_eui: [u8; 8],
    pub(crate) join_eui: [u8; 8],
    pub(crate) app_key: Key,
    /// The highest DevNonce so far (policy "rising").
    pub(crate) highest_nonce: Option<u16>,
    /// The last DevNonces, oldest first (policy "unused").
    pub(crate) used_nonces: Vec<u16>,
}

impl Identity {
    pub(crate) fn to_record(&self) -> Vec<u8> {
        let class = match self.class {
            LorawanClass::A => b'A',
            LorawanClass::C => b'C',
        };
        let mut out = vec![RECORD_VERSION, class];
        out.extend_from_slice(&self.dev_eui);
        out.extend_from_slice(&self.join_eui);
        out.extend_from_slice(&*self.app_key);
        out.extend_from_slice(&self.highest_nonce.map_or(u32::MAX, u32::from).to_be_bytes());
        for nonce in &self.used_nonces {
            out.extend_from_slice(&nonce.to_be_bytes());
        }
        out
    }

    pub(crate) fn from_record(bytes: &[u8]) -> Option<Self> {
        let mut read = Reader(bytes);
        if read.u8()? != RECORD_VERSION {
            return None;
        }
        let class = match read.u8()? {
            b'A' => LorawanClass::A,
            b'C' => LorawanClass::C,
            _ => return None,
        };
        let (dev_eui, join_eui, app_key) = (read.array()?, read.array()?, Key::new(read.array()?));
        let highest_nonce = u16::try_from(read.u32()?).ok();
        let mut used_nonces = Vec::with_capacity(read.0.len() / 2);
        while !read.0.is_empty() {
            used_nonces.push(u16::from_be_bytes(read.array()?));
        }
        Some(Self { class, dev_eui, join_eui, app_key, highest_nonce, used_nonces })
    }
}

/// What one record of the store is.
pub(crate) enum RecordKey {
    /// The next block of JoinNonces.
    JoinNonce,
    Identity(LockId),
    Active(LockId),
    Pending(LockId),
}

const PREFIX: &[u8] = b"lorawan/";

impl RecordKey {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, lock) = match self {
            Self::JoinNonce => return [PREFIX, b"j"].concat(),
            Self::Identity(lock) => (b"d", lock),
            Self::Active(lock) => (b"a", lock),
            Self::Pending(lock) => (b"p", lock),
        };
        [PREFIX, kind, &lock.0].concat()
    }

    /// `None`: not a record of this driver.
    pub(crate) fn decode(key: &[u8]) -> Option<Self> {
        let (kind, lock) = key.strip_prefix(PREFIX)?.split_first()?;
        let lock = || Some(LockId(lock.try_into().ok()?));
        match kind {
            b'j' if lock().is_none() => Some(Self::JoinNonce),
            b'd' => Some(Self::Identity(lock()?)),
            b'a' => Some(Self::Active(lock()?)),
            b'p' => Some(Self::Pending(lock()?)),
            _ => None,
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let rx = RxParams { delay: 5, rx1_offset: 1, rx2_dr: 3, rx2_frequency: 869_525_000 };
        Session::new(0x0102_0304, Key::new([1; 16]), Key::new([2; 16]), rx)
    }

    #[test]
    fn counters_continue_over_65536_and_never_go_back() {
        let mut s = session();
        assert_eq!(s.read_counter(0), Some(Counter::New(0)));
        assert_eq!(s.read_counter(9), Some(Counter::New(9)));
        s.next_up = 10;
        s.last_mic = Some([0; 4]);
        assert_eq!(s.read_counter(9), Some(Counter::Repeat(9)));
        assert_eq!(s.read_counter(10), Some(Counter::New(10)));
        // An old counter can only mean one that lies 65,536 ahead: its MIC will not fit.
        assert_eq!(s.read_counter(8), Some(Counter::New(65_544)));
        s.next_up = 65_535;
        assert_eq!(s.read_counter(65_535), Some(Counter::New(65_535)));
        assert_eq!(s.read_counter(0), Some(Counter::New(65_536)));
        s.next_up = u64::from(u32::MAX) + 1;
        assert_eq!(s.read_counter(0xffff), Some(Counter::Repeat(u32::MAX)));
        assert_eq!(s.read_counter(0), None, "used up");
    }

    #[test]
    fn a_downlink_counter_is_only_given_out_when_reserved_durably() {
        let mut s = session();
        assert_eq!(s.take_down(), None);
        s.durable_down = BLOCK;
        for expected in 0..BLOCK {
            assert_eq!(s.take_down(), Some(expected));
        }
        assert_eq!(s.take_down(), None);
        s.reserve();
        assert_eq!((s.reserved_down, s.take_down()), (64, None));
        s.reserve();
        assert_eq!(s.reserved_down, 64, "one block at a time");
    }

    #[test]
    fn a_restart_jumps_to_the_end_of_the_block() {
        let mut s = session();
        s.durable_down = BLOCK;
        s.take_down();
        (s.next_up, s.dr, s.given_up) = (77, Some(5), given_up::LINK_ADR);
        let [restored, _] = &Session::from_records(&Session::to_records([&s, &s])).unwrap()[..] else {
            panic!("two went in");
        };
        assert_eq!((restored.next_down, restored.durable_down, restored.next_up), (32, 32, 77));
        assert_eq!((restored.rx, restored.dr, restored.given_up), (s.rx, Some(5), given_up::LINK_ADR));
        for cut in [&[][..], &s.to_record()[1..], &Session::to_records([&s, &s])[..100]] {
            assert!(Session::from_records(cut).is_none());
        }
    }

    #[test]
    fn identities_round_trip() {
        let identity = Identity {
            class: LorawanClass::C,
            dev_eui: [1; 8],
            join_eui: [2; 8],
            app_key: Key::new([3; 16]),
            highest_nonce: Some(0xffff),
            used_nonces: vec![1, 2, 0xffff],
        };
        let restored = Identity::from_record(&identity.to_record()).unwrap();
        assert_eq!(restored.to_record(), identity.to_record());
        assert_eq!(restored.highest_nonce, Some(0xffff));
        assert!(Identity::from_record(&[1, b'B']).is_none());
        let key = RecordKey::Pending(LockId(*b"lockid78")).encode();
        assert!(
            matches!(RecordKey::decode(&key), Some(RecordKey::Pending(LockId(id))) if &id == b"lockid78")
        );
        assert!(matches!(RecordKey::decode(&RecordKey::JoinNonce.encode()), Some(RecordKey::JoinNonce)));
        assert!(RecordKey::decode(b"zigbee/x").is_none());
    }
}
