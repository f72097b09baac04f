//! A relay whose three neighbours (radio, broker, store) are played by hand, and the messages that they bring.

use super::*;

pub(super) const LOCK: LockId = LockId([1; 8]);
pub(super) const OTHER: LockId = LockId([2; 8]);
pub(super) const DAWN: u64 = 1_800_000_000_000;

/// A relay with its three neighbours played by hand.
pub(super) struct Bench {
    pub(super) relay: Relay,
    pub(super) topics: Topics,
    pub(super) now: Millis,
    pub(super) synced: bool,
    /// Unix milliseconds at `now` = 0.
    pub(super) dawn: u64,
    pub(super) published: Vec<Publish>,
    pub(super) writes: Vec<(u64, Vec<Change>)>,
    pub(super) pages: Vec<(LockId, u64, u64, u32)>,
    pub(super) sends: Vec<Send>,
    pub(super) removed: Vec<LockId>,
    pub(super) acks: Vec<u64>,
    pub(super) replies: Vec<AdminReply>,
    pub(super) told: Vec<PeerAction>,
    /// Commit at once whatever is written.
    pub(super) commits: bool,
    pub(super) last_ack: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let lock = |lock| LockRecord { lock, radio: "lora".into() };
        let snapshot = Snapshot { locks: vec![lock(LOCK), lock(OTHER)], ..Snapshot::default() };
        Self::over(change, snapshot)
    }

    pub(super) fn over(change: impl FnOnce(&mut Config), snapshot: Snapshot) -> Self {
        Self::start(change, snapshot, true)
    }

    pub(super) fn unsynced(snapshot: Snapshot) -> Self {
        Self::start(|_| {}, snapshot, false)
    }

    pub(super) fn start(change: impl FnOnce(&mut Config), snapshot: Snapshot, synced: bool) -> Self {
        let topics = Topics::new("cardea/v1", "gw").unwrap();
        let mut config = Config::new("gw", topics.clone(), vec![RadioInfo { name: "lora".into() }]);
        change(&mut config);
        let relay = Relay::new(config, [7; 8], snapshot);
        let mut bench = Self {
            relay,
            topics,
            now: 1,
            synced,
            dawn: DAWN,
            published: Vec::new(),
            writes: Vec::new(),
            pages: Vec::new(),
            sends: Vec::new(),
            removed: Vec::new(),
            acks: Vec::new(),
            replies: Vec::new(),
            told: Vec::new(),
            commits: true,
            last_ack: 0,
        };
        bench.feed(Input::Upstream(UpstreamEvent::Connected));
        for lock in [LOCK, OTHER] {
            bench.link(lock, 51, false);
        }
        bench.ack_all();
        bench
    }

    pub(super) fn link(&mut self, lock: LockId, mtu_down: u16, sleepy: bool) {
        self.radio(Event::Link { lock, mtu_down, sleepy, retry_ms: 1_000, life_ms: 5_000 });
    }

    pub(super) fn radio(&mut self, event: Event) {
        self.feed(Input::Radio { radio: RadioId(0), event });
    }

    pub(super) fn feed(&mut self, input: Input) {
        let wall = Wall { unix_ms: self.dawn + self.now, synced: self.synced };
        self.relay.handle(self.now, wall, input);
        while let Some(action) = self.relay.poll_action() {
            match action {
                Action::Publish(publish) => self.published.push(publish),
                Action::Store(StoreOp::Write { ticket, changes, .. }) => self.writes.push((ticket, changes)),
                Action::Store(StoreOp::Page { lock, after, through, limit }) => {
                    self.pages.push((lock, after, through, limit));
                }
                Action::Radio { command: Command::Send(send), .. } => self.sends.push(send),
                Action::Radio { command: Command::Remove(lock), .. } => self.removed.push(lock),
                Action::Radio { .. } => {}
                Action::Ack(ack) => self.acks.push(ack),
                Action::Admin(reply) => self.replies.push(reply),
                Action::Peer(action) => self.told.push(action),
            }
        }
        if self.commits {
            self.commit();
        }
    }

    pub(super) fn commit(&mut self) -> Vec<Change> {
        let writes = std::mem::take(&mut self.writes);
        let mut all = Vec::new();
        for (ticket, changes) in writes {
            all.extend(changes);
            let reply = StoreReply::Committed { tickets: vec![ticket], shed: Vec::new(), gaps: Vec::new() };
            self.feed(Input::Stored(reply));
        }
        all
    }

    pub(super) fn fail(&mut self) {
        self.fail_as(FailureKind::Io);
    }

    pub(super) fn fail_as(&mut self, kind: FailureKind) {
        for (ticket, _) in std::mem::take(&mut self.writes) {
            let failure = Failure { kind, detail: "no luck".into() };
            self.feed(Input::Stored(StoreReply::Failed { tickets: vec![ticket], failure }));
        }
    }

    /// Lets time pass, with every timer on the way.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(at) = self.relay.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.feed(Input::Timer);
        }
        self.now = end;
    }

    /// Acknowledges all that was published; the gateway's events in it.
    pub(super) fn told(&mut self) -> Vec<GatewayEvent> {
        let published = self.ack_all();
        let events = published.iter().filter(|p| p.topic.ends_with("/event"));
        events.map(|p| Encoding::Json.decode(&p.payload).unwrap()).collect()
    }

    /// The broker acknowledges everything; gives what it got.
    pub(super) fn ack_all(&mut self) -> Vec<Publish> {
        let mut all = Vec::new();
        while !self.published.is_empty() {
            for publish in std::mem::take(&mut self.published) {
                let token = publish.token;
                all.push(publish);
                self.feed(Input::Upstream(UpstreamEvent::Acked { token }));
            }
        }
        all
    }

    /// A frame from a lock that is one whole datagram.
    pub(super) fn up(&mut self, lock: LockId, class: Class, number: u8) -> Vec<u8> {
        let datagram = datagram(class, number, 30);
        self.hear(lock, &datagram, None);
        datagram
    }

    pub(super) fn hear(&mut self, lock: LockId, frame: &[u8], window: Option<Millis>) {
        let frame = Bytes::copy_from_slice(frame);
        let quality = Quality { rssi: Some(-90), snr: Some(-55), lqi: None };
        self.radio(Event::Up(Up { lock, frame, quality, at: self.now, window }));
    }

    pub(super) fn message(&mut self, topic: &Topic, payload: Vec<u8>, retain: bool) -> u64 {
        self.last_ack += 1;
        let ack = self.last_ack;
        let topic = self.topics.name(topic);
        let payload = payload.into();
        self.feed(Input::Upstream(UpstreamEvent::Message { ack, topic, payload, retain, dup: false }));
        ack
    }

    pub(super) fn down(&mut self, down: &Downlink) -> u64 {
        self.message(&Topic::Down(down.lock), Encoding::Json.encode(down), false)
    }

    pub(super) fn outcome(&mut self, handle: u64, outcome: Outcome) {
        self.radio(Event::Outcome { handle, outcome });
    }

    /// Results published since the last call, as (state, reason).
    pub(super) fn results(&mut self) -> Vec<(ResultState, Option<String>)> {
        let all = self.ack_all();
        all.into_iter()
            .filter(|p| matches!(self.topics.parse(&p.topic), Some(Topic::Result(_))))
            .map(|p| Encoding::Json.decode::<DownlinkResult>(&p.payload).unwrap())
            .map(|r| (r.state, r.reason))
            .collect()
    }

    pub(super) fn uplinks(&mut self) -> Vec<Uplink> {
        std::mem::take(&mut self.published)
            .into_iter()
            .filter(|p| matches!(self.topics.parse(&p.topic), Some(Topic::Up(_))))
            .map(|p| Encoding::Json.decode(&p.payload).unwrap())
            .collect()
    }
}

pub(super) fn datagram(class: Class, number: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![Header { kind: Kind::PlatformOscore, more: false, class }.encode(), number];
    bytes.resize(len, 0xaa);
    bytes
}

pub(super) fn command(number: u8, class: Class, life: u64) -> Downlink {
    Downlink {
        v: VERSION,
        id: MessageId([number; 16]),
        lock: LOCK,
        kind: Kind::PlatformOscore,
        class,
        data: Data(datagram(class, number, 40)),
        not_after: DAWN + life,
    }
}

pub(super) fn receipt_for(datagram: &[u8]) -> Vec<u8> {
    let mut link =
        LockLink::new(LinkConfig { retry_ms: 1, max_attempts: 1, reassembly_ms: 1_000, max_datagram: 1_024 });
    let token = link.handle_frame(0, datagram).unwrap().unwrap().receipt.unwrap();
    link.custody(0, token);
    let mut out = [0; 64];
    let len = link.poll_transmit(0, 51, &mut out).unwrap();
    out[..len].to_vec()
}

pub(super) fn refused(reason: &str) -> (ResultState, Option<String>) {
    (ResultState::Refused, Some(reason.into()))
}
