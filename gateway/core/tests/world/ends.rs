//! The two ends that the relay serves: a lock with the real link, and a platform that remembers everything.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use cardea_envelope::{
    Data, Downlink, DownlinkResult, Encoding, Epoch, MessageId, ResultState, Seen, Topic, Topics, Uplink,
    VERSION,
};
use cardea_framing::{Class, Header, Kind, LinkConfig, LinkEvent, LockId, LockLink};

use super::Rng;

/// A lock that numbers its datagrams and repeats each until it has a receipt.
pub(crate) struct SimLock {
    pub(crate) id: LockId,
    link: LockLink,
    next: u32,
    current: Option<(u32, Vec<u8>)>,
    receipted: Vec<(u32, Class)>,
    heard: Vec<([u8; 16], u64)>,
}

impl SimLock {
    pub(crate) fn new(id: LockId) -> Self {
        let config = LinkConfig { retry_ms: 900, max_attempts: 3, reassembly_ms: 20_000, max_datagram: 1024 };
        Self {
            id,
            link: LockLink::new(config),
            next: 0,
            current: None,
            receipted: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Frames for the air.
    pub(crate) fn transmit(&mut self, now: u64, mtu: usize, sending: bool, rng: &mut Rng) -> Vec<Bytes> {
        self.link.handle_timeout(now);
        self.events();
        if self.link.can_send() {
            let repeat = self.current.clone();
            let fresh = (repeat.is_none() && sending && rng.one_in(20)).then(|| self.fresh(rng));
            if let Some((number, datagram)) = repeat.or(fresh) {
                self.link.send(now, &datagram, u64::from(number)).unwrap();
                self.current = Some((number, datagram));
            }
        }
        let mut frames = Vec::new();
        let mut out = [0; 256];
        while let Some(len) = self.link.poll_transmit(now, mtu, &mut out) {
            frames.push(Bytes::copy_from_slice(&out[..len]));
        }
        self.events();
        frames
    }

    /// Mostly small, sometimes in fragments; of every class.
    fn fresh(&mut self, rng: &mut Rng) -> (u32, Vec<u8>) {
        let class = Class::ALL[rng.below(4) as usize];
        let header = Header { kind: Kind::PlatformOscore, more: false, class };
        let number = self.next;
        self.next += 1;
        let mut datagram = vec![header.encode()];
        datagram.extend(number.to_be_bytes());
        let padding = if rng.one_in(6) { 300 } else { 30 };
        datagram.resize(5 + padding, 0xaa);
        (number, datagram)
    }

    fn events(&mut self) {
        while let Some(event) = self.link.poll_event() {
            match event {
                LinkEvent::Delivered { handle } => {
                    let (number, datagram) = self.current.take().unwrap();
                    assert_eq!(u64::from(number), handle);
                    self.receipted.push((number, Header::decode(datagram[0]).unwrap().class));
                }
                LinkEvent::Sent { .. } => self.current = None,
                LinkEvent::Failed { .. } => {} // It is sent again.
            }
        }
    }

    pub(crate) fn hear(&mut self, now: u64, unix_ms: u64, frame: &[u8]) {
        let token = match self.link.handle_frame(now, frame) {
            Ok(Some(incoming)) => {
                let id: [u8; 16] = incoming.datagram()[1..17].try_into().unwrap();
                assert!(self.heard.iter().all(|(known, _)| *known != id), "the link gave a datagram twice");
                self.heard.push((id, unix_ms));
                incoming.receipt
            }
            Ok(None) => None,
            Err(error) => panic!("the gateway sent what is not framing: {error}"),
        };
        if let Some(token) = token {
            self.link.custody(now, token);
        }
        self.events();
    }

    pub(crate) fn receipted(&self) -> &[(u32, Class)] {
        &self.receipted
    }

    pub(crate) fn heard(&self) -> &[([u8; 16], u64)] {
        &self.heard
    }

    pub(crate) fn outstanding(&self) -> usize {
        usize::from(self.current.is_some())
    }
}

/// Takes every uplink, answers with `seen`, sends commands, and holds the gateway to its word.
pub(crate) struct Platform {
    topics: Topics,
    arrived: BTreeMap<LockId, BTreeSet<u32>>,
    last: BTreeMap<LockId, u32>,
    ids: BTreeMap<MessageId, (LockId, u32)>,
    numbers: BTreeMap<(LockId, Epoch), BTreeMap<u64, MessageId>>,
    seen: BTreeMap<(LockId, Epoch), u64>,
    commands: BTreeMap<MessageId, u64>,
    ends: BTreeMap<MessageId, (ResultState, Option<String>)>,
    /// First rows behind a hole, and how often they came.
    patience: BTreeMap<(LockId, Epoch), (u64, u32)>,
}

impl Platform {
    pub(crate) fn new(topics: Topics) -> Self {
        Self {
            topics,
            arrived: BTreeMap::new(),
            last: BTreeMap::new(),
            ids: BTreeMap::new(),
            numbers: BTreeMap::new(),
            seen: BTreeMap::new(),
            commands: BTreeMap::new(),
            ends: BTreeMap::new(),
            patience: BTreeMap::new(),
        }
    }

    pub(crate) fn arrived(&self, lock: LockId) -> BTreeSet<u32> {
        self.arrived.get(&lock).cloned().unwrap_or_default()
    }

    pub(crate) fn uplinks(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn not_after(&self, id: &[u8; 16]) -> u64 {
        self.commands[&MessageId(*id)]
    }

    pub(crate) fn receive(&mut self, _unix_ms: u64, topic: &str, payload: &[u8]) -> Vec<(String, Bytes)> {
        match self.topics.parse(topic) {
            Some(Topic::Up(lock)) => self.uplink(lock, &Encoding::Json.decode(payload).unwrap()),
            Some(Topic::Result(_)) => {
                self.result(Encoding::Json.decode(payload).unwrap());
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn uplink(&mut self, lock: LockId, up: &Uplink) -> Vec<(String, Bytes)> {
        assert_eq!(up.id.0, cardea_framing::uplink_id(lock, &up.data.0));
        let number = u32::from_be_bytes(up.data.0[1..5].try_into().unwrap());
        // The same id is the same datagram, and the other way round.
        assert_eq!(*self.ids.entry(up.id).or_insert((lock, number)), (lock, number));
        if self.arrived.entry(lock).or_default().insert(number)
            && let Some(last) = self.last.insert(lock, number)
        {
            assert!(number > last, "lock {lock}: {number} came after {last}");
        }
        let key = (lock, up.epoch);
        let numbers = self.numbers.entry(key).or_default();
        assert!(up.seq >= 1);
        assert_eq!(*numbers.entry(up.seq).or_insert(up.id), up.id, "one number for two frames");
        let seen = self.seen.entry(key).or_insert(0);
        if !numbers.contains_key(&(*seen + 1)) && up.seq > *seen {
            // A hole that repeats do not fill is a frame that nobody keeps any more.
            let (first, times) = self.patience.entry(key).or_insert((up.seq, 0));
            if *first == up.seq {
                *times += 1;
            } else if up.seq < *first {
                (*first, *times) = (up.seq, 1);
            }
            if *times >= 3 {
                *seen = up.seq;
                self.patience.remove(&key);
            }
        }
        while numbers.contains_key(&(*seen + 1)) {
            *seen += 1;
            self.patience.remove(&key);
        }
        let message = Seen { v: VERSION, epoch: up.epoch, seq: *seen };
        vec![(self.topics.name(&Topic::Seen(lock)), Encoding::Json.encode(&message).into())]
    }

    fn result(&mut self, result: DownlinkResult) {
        assert!(self.commands.contains_key(&result.id));
        if let Some((state, reason)) = self.ends.get(&result.id) {
            if result.state.is_terminal() {
                assert_eq!((state, reason), (&result.state, &result.reason), "a terminal state changed");
            }
        } else if result.state.is_terminal() {
            self.ends.insert(result.id, (result.state, result.reason));
        }
    }

    pub(crate) fn command(&mut self, unix_ms: u64, lock: LockId, rng: &mut Rng) -> (String, Bytes) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&rng.next().to_be_bytes());
        let class = Class::ALL[rng.below(4) as usize];
        let header = Header { kind: Kind::PlatformOscore, more: false, class };
        let mut data = vec![header.encode()];
        data.extend(id);
        data.resize(if rng.one_in(4) { 200 } else { 30 }, 0x55);
        let not_after =
            (unix_ms + 100 + rng.below(12_000)).saturating_sub(if rng.one_in(10) { 5_000 } else { 0 });
        let down = Downlink {
            v: VERSION,
            id: MessageId(id),
            lock,
            kind: Kind::PlatformOscore,
            class,
            data: Data(data),
            not_after,
        };
        self.commands.insert(down.id, not_after);
        (self.topics.name(&Topic::Down(lock)), Encoding::Json.encode(&down).into())
    }

    /// Every command has an end, but for those classes whose last word may be `sent`.
    pub(crate) fn check(&self) {
        assert!(!self.commands.is_empty());
        let ended = self.ends.len();
        assert!(ended * 3 > self.commands.len(), "{ended} of {} commands ended", self.commands.len());
        for state in [ResultState::Delivered, ResultState::Expired] {
            assert!(self.ends.values().any(|(s, _)| *s == state), "no command was {state:?}");
        }
    }
}
