//! What one lock talks to: a gateway's link and the platform's session core, with a function call for radio and broker.
//! Whose clock it is, and how frames get to the lock, is the test's business.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::Path;

use cardea_credentials::{OwnerCode, Random};
use cardea_envelope::{
    ClockState, Data, Downlink, DownlinkResult, Encoding, Epoch, GatewayState, LinkState, MessageId,
    Presence, ResultState, Topic, Topics, Uplink, VERSION,
};
use cardea_framing::{Datagram, Kind, LinkConfig, LinkEvent, LockId, LockLink, uplink_id};
use cardea_sdk::{
    Ask, FileKeys, KeyStore as _, LockName, OsRandom, Outcome, Platform, PlatformEvent, SqliteState,
    session::{Config, Core, Now},
};
use tempfile::TempDir;

const GATEWAY: &str = "g1";
const STATE: &str = "state.db";

/// The other end of one lock.
pub struct Counterpart {
    /// The lock's routing id.
    pub name: LockId,
    /// Every datagram that the platform sent to the lock.
    pub downs: Vec<Vec<u8>>,
    /// Every datagram that the gateway took from the lock.
    pub ups: Vec<Vec<u8>>,
    /// Both, as they went by; true from the lock.
    pub datagrams: Vec<(bool, Vec<u8>)>,
    /// What the platform told its user.
    pub events: Vec<PlatformEvent>,
    /// What the lock said to phones and other peers, with the peer's address.
    pub for_peers: Vec<(u16, Vec<u8>)>,
    /// While false, what the lock says to the platform ends at the gateway.
    pub platform_hears: bool,
    core: Option<Core<FileKeys, SqliteState>>,
    config: LinkConfig,
    link: LockLink,
    topics: Topics,
    seq: u64,
    waiting: VecDeque<(Option<MessageId>, Vec<u8>)>,
    /// Pages of a list that are with the link, by its handle.
    pages: BTreeMap<u64, MessageId>,
    handle: u64,
    home: TempDir,
}

impl Counterpart {
    /// For the lock with this id; the platform is new.
    pub fn new(name: LockId, link: LinkConfig) -> Self {
        let home = tempfile::tempdir().unwrap();
        Platform::init(home.path()).unwrap();
        Self::on(name, link, home, Box::new(OsRandom))
    }

    /// The platform's keys are in `home` already, and its random numbers are these.
    pub fn on(name: LockId, config: LinkConfig, home: TempDir, random: Box<dyn Random + Send>) -> Self {
        Self {
            name,
            downs: Vec::new(),
            ups: Vec::new(),
            datagrams: Vec::new(),
            events: Vec::new(),
            for_peers: Vec::new(),
            platform_hears: true,
            core: Some(core(&home, false, random)),
            link: LockLink::new(config),
            config,
            topics: Topics::new("cardea/v1", GATEWAY).unwrap(),
            seq: 0,
            waiting: VecDeque::new(),
            pages: BTreeMap::new(),
            handle: 0,
            home,
        }
    }

    /// Allows the lock to activate itself with this code, and has the gateway say that it can be reached.
    pub fn enroll(&mut self, now: Now, name: impl Into<LockName>, code: &OwnerCode) {
        let name = name.into();
        self.batch(now, |core, _| core.enroll(name, code).unwrap());
        self.reachable(now);
    }

    /// What the gateway retains at the broker.
    pub fn reachable(&mut self, now: Now) {
        let at = now.unix;
        let state = GatewayState { state: Presence::Online, at };
        self.message(now, &Topic::State, Encoding::Json.encode(&state));
        let link = LinkState {
            v: VERSION,
            joined: true,
            radio: "pipe".into(),
            sleepy: false,
            life_ms: 0,
            seen: Some(at),
            rssi: None,
            snr: None,
            lqi: None,
            pending: 0,
            at,
        };
        self.message(now, &Topic::Link(self.name), Encoding::Json.encode(&link));
    }

    /// The platform starts again from a state that was put back: its sessions are gone.
    pub fn restore_the_platform(&mut self, now: Now) {
        self.core = None;
        self.core = Some(core(&self.home, true, Box::new(OsRandom)));
        self.reachable(now);
    }

    /// A copy of the platform's records as they are now, which [`put_back`](Self::put_back) takes.
    pub fn backup(&mut self) -> TempDir {
        self.core = None; // writes everything into the one file
        let copy = tempfile::tempdir().unwrap();
        fs::copy(self.home.path().join(STATE), copy.path().join(STATE)).unwrap();
        self.core = Some(core(&self.home, false, Box::new(OsRandom)));
        copy
    }

    /// The platform starts again from that copy.
    pub fn put_back(&mut self, now: Now, copy: &TempDir) {
        self.core = None;
        fs::copy(copy.path().join(STATE), self.home.path().join(STATE)).unwrap();
        self.restore_the_platform(now);
    }

    /// The folder with the platform's keys.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The owner root's thumbprint, hexadecimal.
    pub fn root(&self) -> String {
        hex::encode(FileKeys::open(self.home.path()).unwrap().root().thumbprint())
    }

    /// One batch of the platform; what it sends to the lock waits for the gateway's link. A site message to the
    /// gateway's own page ends here.
    pub fn batch<T>(&mut self, now: Now, act: impl FnOnce(&mut Core<FileKeys, SqliteState>, Now) -> T) -> T {
        let core = self.core.as_mut().unwrap();
        core.begin().unwrap();
        let result = act(core, now);
        core.handle_timeout(now).unwrap();
        core.commit().unwrap();
        self.events.extend(std::iter::from_fn(|| core.poll_event()));
        while let Some(output) = core.poll_output() {
            let Topic::Down(_) = self.topics.parse(&output.topic).unwrap() else { continue };
            let down: Downlink = Encoding::Json.decode(&output.payload).unwrap();
            let (site, data) = (down.kind == Kind::Site, down.data.0);
            if site && data[1] > 5 {
                continue;
            }
            self.downs.push(data.clone());
            self.datagrams.push((false, data.clone()));
            self.waiting.push_back((site.then_some(down.id), data));
        }
        result
    }

    fn message(&mut self, now: Now, topic: &Topic, payload: Vec<u8>) {
        let name = self.topics.name(topic);
        self.batch(now, |core, now| core.handle_message(now, &name, &payload, false).unwrap());
    }

    fn publish(&mut self, now: Now, datagram: &[u8]) {
        self.seq += 1;
        let parsed = Datagram::parse(datagram).unwrap();
        let uplink = Uplink {
            v: VERSION,
            id: MessageId(uplink_id(self.name, datagram)),
            lock: self.name,
            kind: parsed.kind,
            class: parsed.class,
            data: Data(datagram.to_vec()),
            radio: "pipe".into(),
            rssi: None,
            snr: None,
            lqi: None,
            at: now.unix,
            clock: ClockState::Synced,
            epoch: Epoch([1; 8]),
            seq: self.seq,
        };
        self.message(now, &Topic::Up(self.name), Encoding::Json.encode(&uplink));
    }

    /// A frame of the lock. A datagram that it completes is in custody at once, and goes to whom it is for.
    pub fn frame_up(&mut self, now: Now, frame: &[u8]) {
        let Some(taken) = self.link.handle_frame(now.mono, frame).unwrap() else { return };
        let (datagram, receipt) = (taken.datagram().to_vec(), taken.receipt);
        if let Some(receipt) = receipt {
            self.link.custody(now.mono, receipt);
        }
        self.ups.push(datagram.clone());
        self.datagrams.push((true, datagram.clone()));
        if let Some(peer) = Datagram::parse(&datagram).unwrap().peer {
            self.for_peers.push((peer, datagram));
        } else if self.platform_hears {
            self.publish(now, &datagram);
        }
    }

    /// The next frame for the lock.
    pub fn frame_down(&mut self, now: Now, mtu: usize) -> Option<Vec<u8>> {
        let delivered: Vec<_> = std::iter::from_fn(|| self.link.poll_event())
            .filter_map(|event| match event {
                LinkEvent::Delivered { handle } => self.pages.remove(&handle),
                _ => None,
            })
            .collect();
        for id in delivered {
            let (state, at) = (ResultState::Delivered, now.unix);
            let result = DownlinkResult { v: VERSION, id, lock: self.name, state, reason: None, at };
            self.message(now, &Topic::Result(self.name), Encoding::Json.encode(&result));
        }
        if self.link.can_send()
            && let Some((page, datagram)) = self.waiting.pop_front()
        {
            self.handle += 1;
            self.pages.extend(page.map(|id| (self.handle, id)));
            self.link.send(now.mono, &datagram, self.handle).unwrap();
        }
        let mut frame = [0; 256];
        let length = self.link.poll_transmit(now.mono, mtu, &mut frame)?;
        Some(frame[..length].to_vec())
    }

    /// A datagram to the lock, behind those that wait.
    pub fn down(&mut self, datagram: Vec<u8>) {
        self.waiting.push_back((None, datagram));
    }

    /// Whether all that was to go to the lock is with the link.
    pub fn nothing_waits(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The lock lost its power, and with it the other end of the link.
    pub fn link_anew(&mut self) {
        self.link = LockLink::new(self.config);
        self.waiting.clear();
        self.pages.clear();
    }

    /// When [`Self::handle_timeout`] has something to do, by the platform's and the link's monotonic clock.
    pub fn poll_timeout(&self) -> Option<u64> {
        let core = self.core.as_ref().unwrap();
        [self.link.poll_timeout(), core.poll_timeout()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.link.handle_timeout(now.mono);
        self.batch(now, |_, _| ());
    }

    /// Starts a command, for at most `life` milliseconds; [`Self::outcome`] tells how it ended.
    pub fn ask(&mut self, now: Now, ask: Ask, life: u64) -> String {
        let lock = self.name;
        hex::encode(self.batch(now, |core, now| core.command(now, lock, ask, life).unwrap()))
    }

    /// How a command ended, if it has.
    pub fn outcome(&self, id: &str) -> Option<Outcome> {
        self.events.iter().find_map(|event| match event {
            PlatformEvent::Ended { command, outcome, .. } if command == id => Some(outcome.clone()),
            _ => None,
        })
    }

    /// How many events are like this.
    pub fn count(&self, matches: impl Fn(&PlatformEvent) -> bool) -> usize {
        self.events.iter().filter(|event| matches(event)).count()
    }
}

fn core(home: &TempDir, restored: bool, random: Box<dyn Random + Send>) -> Core<FileKeys, SqliteState> {
    let keys = FileKeys::open(home.path()).unwrap();
    let state = SqliteState::open(&home.path().join("state.db"), restored).unwrap();
    Core::open(keys, state, random, Config::default()).unwrap()
}
