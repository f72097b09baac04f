//! A lock on paper: its OSCORE session is made by hand, it answers `GET s`, and takes revocation lists by the rules.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::{
    cell::Cell,
    collections::VecDeque,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
};

use cardea_credentials::{
    Agreement as _, Error as Refused, Gate, Intake, Lists, PlatformIdentity, Progress, Random, Scope,
    Signer as _, SiteMessage, SoftAgreement, SoftSigner, issue_lock_identity, verify_platform,
};
use cardea_envelope::{
    ClockState as Clock, Data, Downlink, DownlinkResult, Encoding, Epoch, GatewayState, LinkState, MessageId,
    Presence, ResultState, Topic, Topics, Uplink, VERSION,
};
use cardea_framing::{Class, Datagram, Kind, LockId, elide, restore, uplink_id};
use cardea_oscore::{
    Algorithm, Context,
    coap::{Builder, Code, Message, Type, option},
};
use cardea_resources::{Bolt, ClockState, Event, EventKind, Firmware, Status};
use cardea_sdk::{
    ContextRecord, Error, FileKeys, GrantRow, KeyStore as _, LockRecord, Phase, Platform, PlatformEvent,
    SqliteState, Stage, State as _,
    session::{Config, Core, NewGrant, Now, Revocations},
};
use tempfile::TempDir;

pub const DAWN: u64 = 1_800_000_000_000;
const GATEWAY: &str = "g1";

/// The thumbprint of a holder's key.
pub fn holder(n: u8) -> [u8; 32] {
    key(n).public().thumbprint()
}

fn key(n: u8) -> SoftAgreement {
    let mut scalar = [1; 32];
    scalar[31] = n;
    SoftAgreement::from_bytes(&scalar).unwrap()
}

/// Counts, but for what it is told to repeat.
struct Counting(u8, Arc<AtomicU8>);

impl Random for Counting {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Refused> {
        let repeated = self.1.swap(0, SeqCst);
        for byte in out {
            self.0 = self.0.wrapping_mul(5).wrapping_add(17);
            *byte = if repeated == 0 { self.0 } else { repeated };
        }
        Ok(())
    }
}

pub struct Paper {
    dir: TempDir,
    core: Option<Core<FileKeys, SqliteState>>,
    repeated: Arc<AtomicU8>,
    topics: Topics,
    lock: LockId,
    credential: Vec<u8>,
    thumbprint: [u8; 32],
    sessions: u8,
    /// The lock's side of the session.
    context: Option<Context>,
    number: u64,
    seq: u64,
    mono: u64,
    results: VecDeque<(MessageId, ResultState)>,
    intake: Intake,
    gate: Gate,
    platform: PlatformIdentity,
    staged: Vec<[u8; 32]>,
    /// The list in force at the lock.
    pub revoked: Vec<[u8; 32]>,
    /// Pages that were sent to it.
    pub pages: usize,
    /// A lock that serves no holders of grants: its status has no epoch.
    pub takes_no_lists: bool,
    /// Nothing arrives, and its gateway says so.
    pub deaf: bool,
    /// Pages arrive, and it forgets them.
    pub forgets: bool,
    /// A page that it may not take makes it ask.
    pub asks: bool,
    open: Cell<Option<[u8; 8]>>,
    pub events: Vec<PlatformEvent>,
}

impl Paper {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Platform::init(dir.path()).unwrap();
        let keys = FileKeys::open(dir.path()).unwrap();
        let platform = verify_platform(keys.certificate(), None).unwrap();
        let identity = SoftSigner::from_bytes(&[1; 32]).unwrap();
        let mut credential = vec![0; 256];
        let length = issue_lock_identity(&identity, &key(200).public(), &mut credential).unwrap();
        credential.truncate(length);
        let thumbprint = identity.public().thumbprint();
        let mut paper = Self {
            dir,
            core: None,
            repeated: Arc::default(),
            topics: Topics::new("cardea/v1", GATEWAY).unwrap(),
            lock: LockId::from_thumbprint(&thumbprint),
            credential,
            thumbprint,
            sessions: 0,
            context: None,
            number: 0,
            seq: 0,
            mono: 1_000,
            results: VecDeque::new(),
            intake: Intake::new(Lists::default()),
            gate: Gate::new(),
            platform,
            staged: Vec::new(),
            revoked: Vec::new(),
            pages: 0,
            takes_no_lists: false,
            deaf: false,
            forgets: false,
            asks: false,
            open: Cell::new(None),
            events: Vec::new(),
        };
        paper.session();
        paper
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(Platform::STATE_FILE)
    }

    /// Gives both sides a new session, and starts the platform.
    pub fn session(&mut self) {
        self.core = None;
        self.sessions += 1;
        let mut state = SqliteState::open(&self.path(), false).unwrap();
        let secret = vec![self.sessions; 16];
        state.begin().unwrap();
        state
            .put_lock(&LockRecord {
                lock: self.lock,
                thumbprint: Some(self.thumbprint),
                credential: Some(self.credential.clone()),
                code: None,
                stage: Stage::Owned,
                activation: 1,
                cursor: None,
            })
            .unwrap();
        state
            .add_context(&ContextRecord {
                id: 0,
                lock: self.lock,
                algorithm: 10,
                secret: secret.clone().into(),
                salt: vec![3; 8],
                own_id: vec![5],
                peer_id: vec![6],
                phase: Phase::Active,
                reserved: 0,
                failed_tags: 0,
                created: DAWN,
                retired: None,
            })
            .unwrap();
        state.commit().unwrap();
        state.settle().unwrap();
        drop(state);
        let algorithm = Algorithm::AesCcm16_64_128;
        self.context = Some(Context::derive(algorithm, &secret, &[3; 8], None, &[6], &[5]).unwrap());
        self.number = 0;
        self.restart();
    }

    /// The platform starts (again).
    pub fn restart(&mut self) {
        self.core = None;
        let keys = FileKeys::open(self.dir.path()).unwrap();
        let state = SqliteState::open(&self.path(), false).unwrap();
        let random = Box::new(Counting(self.sessions, self.repeated.clone()));
        self.core = Some(Core::open(keys, state, random, Config::default()).unwrap());
        self.online(true);
        let link = LinkState {
            v: VERSION,
            joined: true,
            radio: "r".into(),
            sleepy: false,
            life_ms: 0,
            seen: Some(DAWN),
            rssi: None,
            snr: None,
            lqi: None,
            pending: 0,
            at: DAWN,
        };
        self.message(&Topic::Link(self.lock), Encoding::Json.encode(&link));
    }

    /// What an operator copies while the platform runs.
    pub fn backup(&mut self) -> Vec<u8> {
        let copy = self.dir.path().join("copy.db");
        let db = rusqlite::Connection::open(self.path()).unwrap();
        db.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
        fs::read(copy).unwrap()
    }

    /// And puts back, into the same file.
    pub fn put_back(&mut self, copy: &[u8]) {
        self.core = None;
        for beside in ["state.db-wal", "state.db-shm"] {
            let _ = fs::remove_file(self.dir.path().join(beside));
        }
        fs::write(self.path(), copy).unwrap();
        self.restart();
    }

    pub fn lock(&self) -> LockId {
        self.lock
    }

    pub fn core(&self) -> &Core<FileKeys, SqliteState> {
        self.core.as_ref().unwrap()
    }

    /// The epoch of the list in force at the lock.
    pub fn epoch(&self) -> u32 {
        self.intake.lists().epoch
    }

    fn now(&self) -> Now {
        Now { mono: self.mono, unix: DAWN + self.mono }
    }

    /// The next random bytes are all this one.
    pub fn repeat_random(&self, byte: u8) {
        self.repeated.store(byte, SeqCst);
    }

    /// An error of the caller alone leaves the batch as it is.
    pub fn attempt<T>(
        &mut self,
        act: impl FnOnce(&mut Core<FileKeys, SqliteState>, Now) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let now = self.now();
        let core = self.core.as_mut().unwrap();
        core.begin().unwrap();
        let result = act(core, now);
        core.handle_timeout(now).unwrap();
        core.commit().unwrap();
        self.collect();
        result
    }

    pub fn revoke(&mut self, keys: &[[u8; 32]]) -> Revocations {
        self.attempt(|core, now| core.revoke(now, keys)).unwrap()
    }

    pub fn try_grant(&mut self, holder: u8, life: u32) -> Result<GrantRow, Error> {
        let second = u32::try_from(self.now().unix / 1000).unwrap();
        let new = NewGrant {
            lock: self.lock,
            holder: key(holder).public(),
            name: format!("holder {holder}"),
            scope: Scope::UNLOCK,
            not_before: second,
            expires: second + life,
            single_use: false,
            window: None,
            delegate: None,
        };
        self.attempt(|core, now| core.issue_grant(now, &new)).map(|issued| issued.grant)
    }

    pub fn grant(&mut self, holder: u8, life: u32) -> GrantRow {
        self.try_grant(holder, life).unwrap()
    }

    pub fn online(&mut self, online: bool) {
        let state = if online { Presence::Online } else { Presence::Offline };
        self.message(&Topic::State, Encoding::Json.encode(&GatewayState { state, at: 1 }));
    }

    fn message(&mut self, topic: &Topic, payload: Vec<u8>) {
        let name = self.topics.name(topic);
        self.attempt(|core, now| core.handle_message(now, &name, &payload, false)).unwrap();
    }

    /// Takes what the platform lets go, and what comes of it.
    fn collect(&mut self) {
        let core = self.core.as_mut().unwrap();
        let mut outputs = Vec::new();
        while let Some(event) = core.poll_event() {
            self.events.push(event);
        }
        while let Some(output) = core.poll_output() {
            outputs.push(output);
        }
        for output in outputs {
            let Some(Topic::Down(_)) = self.topics.parse(&output.topic) else { continue };
            let down: Downlink = Encoding::Json.decode(&output.payload).unwrap();
            assert!(down.data.0.len() <= cardea_framing::LOCK_DATAGRAM);
            self.take_down(&down);
        }
    }

    fn take_down(&mut self, down: &Downlink) {
        let bytes = down.data.0.clone();
        let body = Datagram::parse(&bytes).unwrap().body;
        let is_site = down.kind == Kind::Site;
        self.pages += usize::from(is_site);
        let state = if self.deaf { ResultState::Expired } else { ResultState::Delivered };
        self.results.push_back((down.id, state));
        match (self.deaf, is_site) {
            (true, _) => {}
            (false, true) => self.take_page(body),
            (false, false) => self.take_request(body),
        }
    }

    fn take_page(&mut self, body: &[u8]) {
        let message = SiteMessage::decode(body).unwrap();
        if self.forgets {
            return;
        }
        let nonce = message.nonce.as_ref();
        let (root, signing) = (self.platform.root.thumbprint(), &self.platform.signing);
        match self.intake.page(message.signed, nonce, &root, signing, &mut self.gate, self.mono) {
            Ok((page, progress)) => {
                if page.page == 0 {
                    self.staged.clear();
                }
                self.staged.extend(page.thumbprints());
                match progress {
                    Progress::Complete(_) => self.revoked = std::mem::take(&mut self.staged),
                    Progress::Staged { next } if nonce.is_some() => self.ask(next),
                    Progress::Staged { .. } => {}
                }
            }
            Err(Refused::NotAsked) if self.asks => self.ask(0),
            Err(_) => {}
        }
    }

    /// Asks with the next turn.
    fn ask(&mut self, page: u8) {
        let nonce = [page + 1; 8];
        self.gate.ask(nonce, self.mono);
        self.open.set(Some(nonce));
    }

    fn take_request(&mut self, body: &[u8]) {
        let (mut coap, mut plain) = ([0; 256], [0; 256]);
        let length = restore(body, &mut coap).unwrap();
        let context = self.context.as_mut().unwrap();
        let Ok((len, mut binding)) = context.unprotect_request(&coap[..length], &mut plain) else { return };
        let token = Message::parse(&coap[..length]).unwrap().token().to_vec();
        let request = Message::parse(&plain[..len]).unwrap();
        let status = Status {
            bolt: Bolt::Locked,
            battery: 80,
            clock: ClockState::Trusted,
            firmware: Firmware::default(),
            revocations: (!self.takes_no_lists).then_some(self.intake.lists().epoch),
        };
        let mut payload = [0; Status::MAX_LEN];
        let len = status.encode(&mut payload).unwrap();
        // It has nothing else, and says so.
        let known = request.path().next() == Some(b"s");
        let (code, payload) =
            if known { (Code::CONTENT, &payload[..len]) } else { (Code::NOT_FOUND, &[][..]) };
        let mut out = [0; 256];
        let inner = Builder::response(&mut out, code, &token, None).unwrap();
        let len = inner.payload(payload).unwrap();
        let mut sealed = [0; 256];
        let len = context.protect_response(&mut binding, None, &out[..len], &mut sealed).unwrap();
        self.uplink(Kind::PlatformOscore, &sealed[..len]);
    }

    /// The lock reports something under OSCORE.
    pub fn event(&mut self) {
        let event =
            Event { challenge: [1; 4], kind: EventKind::Heartbeat, log: None, value: Some(80), at: None };
        let mut payload = [0; Event::MAX_LEN];
        let len = event.encode(&mut payload).unwrap();
        let (mut out, mut sealed) = ([0; 256], [0; 256]);
        let [.., low] = self.number.to_be_bytes();
        let inner = Builder::new(&mut out, Type::NonConfirmable, Code::POST, u16::from(low), &[low]).unwrap();
        let inner = inner.option(option::URI_PATH, b"e").unwrap();
        let len = inner.payload(&payload[..len]).unwrap();
        let context = self.context.as_ref().unwrap();
        let (len, _) = context.protect_request(self.number, &out[..len], &mut sealed).unwrap();
        self.number += 1;
        self.uplink(Kind::PlatformOscore, &sealed[..len]);
    }

    /// The platform asks for the status.
    pub fn status(&mut self) {
        let lock = self.lock;
        self.attempt(|core, now| core.command(now, lock, cardea_sdk::Ask::Status, 20_000)).unwrap();
        self.live(1_000);
    }

    /// Sends a question of this type.
    pub fn question(&mut self, kind: u8, number: u8) {
        let mut body = vec![kind, 0x48];
        body.extend([9; 8]);
        body.push(number);
        self.site_uplink(&body);
    }

    pub fn site_uplink(&mut self, body: &[u8]) {
        self.datagram(Kind::Site, body);
    }

    fn uplink(&mut self, kind: Kind, sealed: &[u8]) {
        let mut body = vec![0; sealed.len() + 1];
        let len = elide(sealed, &mut body).unwrap();
        body.truncate(len);
        self.datagram(kind, &body);
    }

    fn datagram(&mut self, kind: Kind, body: &[u8]) {
        let mut data = vec![0; body.len() + 1];
        Datagram { kind, class: Class::Interactive, peer: None, body }.encode(&mut data).unwrap();
        self.seq += 1;
        let uplink = Uplink {
            v: VERSION,
            id: MessageId(uplink_id(self.lock, &data)),
            lock: self.lock,
            kind,
            class: Class::Interactive,
            data: Data(data),
            radio: "r".into(),
            rssi: None,
            snr: None,
            lqi: None,
            at: self.now().unix,
            clock: Clock::Synced,
            epoch: Epoch([1; 8]),
            seq: self.seq,
        };
        self.message(&Topic::Up(self.lock), Encoding::Json.encode(&uplink));
    }

    /// Lets time pass, stopping at every timer of the platform.
    pub fn live(&mut self, ms: u64) {
        let end = self.mono + ms;
        for _ in 0..20_000 {
            while let Some((id, state)) = self.results.pop_front() {
                let result = DownlinkResult {
                    v: VERSION,
                    id,
                    lock: self.lock,
                    state,
                    reason: None,
                    at: self.now().unix,
                };
                self.message(&Topic::Result(self.lock), Encoding::Json.encode(&result));
            }
            if let Some(nonce) = self.open.take() {
                let mut body = vec![2, 0x48];
                body.extend(nonce);
                body.push(nonce[0] - 1);
                self.site_uplink(&body);
                continue;
            }
            let due = self.core().poll_timeout().unwrap_or(end).max(self.mono + 1);
            if due > end {
                self.mono = end;
                return;
            }
            self.mono = due;
            self.attempt(|_, _| Ok(())).unwrap();
        }
        panic!("the timers never come to rest");
    }
}
