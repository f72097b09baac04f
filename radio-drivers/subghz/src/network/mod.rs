//! The radio contract over the link layer's gateway end.
//!
//! [`Network`] is a state machine without thread, clock, radio or store: commands of the gateway, frames and states of a radio,
//! and answers of the store go in; events for the gateway, transactions for the store and frames for the radio come out. It counts
//! in [`Micros`] of the radio's clock; [`Epoch`] says which of the daemon's milliseconds they are.
//!
//! What it promises: a lock is admitted durably before it may join; it may join for [`JOIN_WINDOW`] and then no more until
//! somebody is admitted again; each frame has one outcome, and is not on the air after its deadline; no counter is used that is
//! not stored; a link's acknowledgement is told as `Sent`, never as more.

mod admission;
mod commands;
mod facts;
mod store;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cardea_framing::LockId;
use cardea_radio::{Event, Health, Millis, NetworkStoreError, Quality, Record, Up};
use cardea_subghz_link::mic::Key;
use cardea_subghz_link::{
    AirFrame, Gateway, GatewayConfig, GatewayEvent, MTU, Outcome, Profile, Region, Transmit,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Micros;
use store::Settings;

pub use facts::{Counters, NetworkFacts};

/// Locks of one network: all addresses that there are.
pub const MAX_LOCKS: usize = 253;
/// For how long locks may join after one was admitted, or after a start with one that has not joined.
pub const JOIN_WINDOW: Micros = 600_000_000;
/// Uplinks wait in the event queue while the gateway is behind; beyond so many they are shed.
const MAX_EVENTS: usize = 1_024;
/// Between two attempts to store what could not be.
const STORE_PAUSE: Micros = 1_000_000;
/// Between two alarms of a jammed channel.
const ALARM_PAUSE: Micros = 600_000_000;
/// A network that has moved calls itself well after so long without another alarm.
const CALM: Micros = 60_000_000;

/// What the operator decides about a 433 MHz network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Modulation.
    pub profile: Profile,
    /// Rules of the band.
    pub region: Region,
    /// Network id; `None`: a random one, kept in the store.
    pub id: Option<u8>,
    /// Bit per channel that may be used.
    pub channels: u8,
    /// More admissions than this are refused, and more than [`MAX_LOCKS`].
    pub max_locks: usize,
}

/// Chance that a new network is made of.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Seeds {
    /// Becomes the network key, unless there is one.
    pub key: [u8; 16],
    /// Becomes the network id, unless there is one.
    pub id: u8,
    /// For backoffs.
    pub backoff: u32,
}

/// One moment on both clocks, which run at the same rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Of the radio.
    pub us: Micros,
    /// Of the daemon.
    pub ms: Millis,
}

impl Epoch {
    /// On the radio's clock. The daemon's milliseconds are cut off, so this is up to one early and never late.
    #[must_use]
    pub fn micros(&self, at: Millis) -> Micros {
        let ahead = at.saturating_sub(self.ms).saturating_mul(1_000);
        let behind = self.ms.saturating_sub(at).saturating_mul(1_000);
        self.us.saturating_add(ahead).saturating_sub(behind).saturating_sub(1_000)
    }

    /// On the daemon's clock.
    #[must_use]
    pub fn millis(&self, at: Micros) -> Millis {
        let ahead = at.saturating_sub(self.us) / 1_000;
        self.ms.saturating_add(ahead).saturating_sub(self.us.saturating_sub(at) / 1_000)
    }
}

/// A stored record cannot be read. Running on without it would lose a lock silently, or use a counter twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "radio network store: the record {0} cannot be read; restore a backup, or remove the lock and admit it again"
)]
pub struct RecordError(String);

/// One 433 MHz network. Drive it with `handle_*`, then empty `poll_commit`, `poll_transmit` and `poll_event`.
pub struct Network {
    config: NetworkConfig,
    epoch: Epoch,
    link: Box<Gateway<MAX_LOCKS>>,
    settings: Settings,
    /// Frames that the link layer has.
    flights: BTreeMap<u64, LockId>,
    /// Admissions that are being stored; true: of a lock that was not known before.
    admitting: BTreeMap<LockId, bool>,
    /// Removals that the link layer had no room for.
    removing: BTreeSet<LockId>,
    joins_until: Option<Micros>,
    commits: store::Commits,
    radio: Result<(), String>,
    jammed: bool,
    /// When that is over: it has moved.
    calm_at: Option<Micros>,
    alarm_after: Micros,
    health: Option<Health>,
    shed: u64,
    events: VecDeque<Event>,
}

impl Network {
    /// A network with what the store remembers of it, whose radio is not there yet.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn new(
        config: NetworkConfig,
        seeds: &Seeds,
        records: Vec<Record>,
        epoch: Epoch,
        now: Micros,
    ) -> Result<Self, RecordError> {
        let stored = store::Stored::read(records)?;
        let fresh = Settings::new(&config, seeds);
        let settings = match &stored.settings {
            Some(settings) => {
                Settings { id: config.id.unwrap_or(settings.id), profile: fresh.profile, ..settings.clone() }
            }
            None => fresh,
        };
        let link = GatewayConfig {
            profile: config.profile,
            region: config.region,
            network: settings.id,
            channels: config.channels,
            seed: seeds.backoff,
        };
        let mut link = Gateway::new(link, Key(seeds.key), [], now)
            .map(Box::new)
            .map_err(|error| RecordError(error.to_string()))?;
        for (name, record) in &stored.link {
            link.load(record).map_err(|_| RecordError(name.clone()))?;
        }
        link.spent_before(now, settings.spent_before(&config));
        let mut network = Self {
            commits: store::Commits::new(stored.settings.as_ref() != Some(&settings)),
            config,
            epoch,
            link,
            settings,
            flights: BTreeMap::new(),
            admitting: BTreeMap::new(),
            removing: BTreeSet::new(),
            joins_until: None,
            radio: Err("the radio is not open yet".into()),
            jammed: false,
            calm_at: None,
            alarm_after: 0,
            health: None,
            shed: 0,
            events: VecDeque::new(),
        };
        let locks: Vec<_> = network.link.locks().collect();
        let admits = locks.iter().map(|(lock, ..)| LockId(*lock)).collect();
        network.events.push_back(Event::Admits(admits));
        for (lock, joined, interval_ms) in locks {
            if joined {
                network.events.push_back(network.link_event(LockId(lock), interval_ms));
            } else {
                // Somebody was at the door when the daemon stopped.
                network.open(now);
            }
        }
        network.check_health();
        Ok(network)
    }

    // ------------------------------------------------------------------------------------- the radio

    /// A radio is there and works, or what it says of itself has changed: `Err` in words for the operator.
    pub fn handle_radio(&mut self, state: Result<(), String>) {
        if state.is_err() && self.radio.is_ok() {
            self.radio_lost();
        }
        self.radio = state;
        self.check_health();
    }

    /// A frame was received; `at` is its end. True if a lock of ours has sent it.
    pub fn handle_received(
        &mut self,
        at: Micros,
        frame: &AirFrame,
        quality: cardea_subghz_link::Quality,
    ) -> bool {
        let ours = self.link.handle_received(at, frame.as_bytes(), quality);
        self.take_events(at);
        ours
    }

    /// The last bit of the last frame is out.
    pub fn handle_sent(&mut self, at: Micros) {
        self.link.handle_sent(at);
        self.take_events(at);
    }

    /// The last frame did not go out.
    pub fn handle_not_sent(&mut self, now: Micros) {
        self.link.handle_busy(now);
        self.take_events(now);
    }

    /// A frame was cut off that had been on the air for so long.
    pub fn spent(&mut self, now: Micros, air: Micros) {
        self.link.spent_before(now, air);
    }

    /// A look at the carrier.
    pub fn handle_carrier(&mut self, now: Micros, busy: bool) {
        self.link.handle_sample(now, busy);
        self.take_events(now);
    }

    /// What goes on the air now, if anything.
    pub fn poll_transmit(&mut self, now: Micros) -> Option<Transmit> {
        if self.radio.is_err() {
            return None;
        }
        let transmit = self.link.poll_transmit(now);
        self.take_events(now);
        transmit
    }

    /// The channel that the radio is to listen on.
    #[must_use]
    pub fn channel(&self) -> u8 {
        match self.link.poll_listen() {
            cardea_subghz_link::Listen::On { channel } => channel,
            _ => self.link.channel(),
        }
    }

    // ------------------------------------------------------------------------------------- time

    /// Time has come to [`poll_timeout`](Self::poll_timeout). Early is harmless.
    pub fn handle_timeout(&mut self, now: Micros) {
        self.link.handle_timeout(now);
        self.take_events(now);
        self.retry_removals();
        if self.joins_until.take_if(|until| now >= *until).is_some() {
            tracing::info!("433 MHz: the time for joining is over");
        }
        if self.calm_at.is_some_and(|at| now >= at) {
            self.jammed(now, false);
        }
        self.note_airtime(now);
        self.commits.handle_timeout(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) and [`poll_transmit`](Self::poll_transmit) are due.
    pub fn poll_timeout(&mut self, now: Micros) -> Option<Micros> {
        let link = if self.radio.is_ok() { self.link.poll_timeout(now) } else { None };
        [link, self.joins_until, self.calm_at, self.commits.due()].into_iter().flatten().min()
    }

    // ------------------------------------------------------------------------------------- the gateway

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Puts back an event that found no room.
    pub fn unpoll_event(&mut self, event: Event) {
        self.events.push_front(event);
    }

    fn take_events(&mut self, now: Micros) {
        while let Some(event) = self.link.poll_event() {
            match event {
                GatewayEvent::Stored(lock) => self.stored(now, LockId(lock)),
                GatewayEvent::Joined(lock) => self.joined(now, LockId(lock)),
                GatewayEvent::Times { lock, interval_ms } => {
                    let lock = LockId(lock);
                    self.events.push_back(self.link_event(lock, interval_ms));
                }
                GatewayEvent::Up { lock, frame, quality, .. } => {
                    if self.events.len() >= MAX_EVENTS {
                        // The lock has no receipt and says it again.
                        self.shed = self.shed.saturating_add(1);
                        continue;
                    }
                    let quality = Quality { rssi: quality.rssi.map(Into::into), snr: None, lqi: quality.lqi };
                    self.events.push_back(Event::Up(Up {
                        lock: LockId(lock),
                        frame: frame.to_vec().into(),
                        quality,
                        at: self.epoch.millis(now),
                        window: None,
                    }));
                }
                GatewayEvent::Outcome { handle, outcome } => self.landed(handle, outcome),
                GatewayEvent::Jammed(jammed) => self.jammed(now, jammed),
                GatewayEvent::Channel(channel) => {
                    tracing::warn!(channel, "433 MHz: the network moves to another channel");
                    self.calm_at = self.jammed.then_some(now.saturating_add(CALM));
                    self.check_health();
                }
            }
        }
    }

    /// What the gateway may do with a lock. It is woken at any time, so it is never `sleepy` in the contract's sense.
    fn link_event(&self, lock: LockId, interval_ms: u16) -> Event {
        let interval = u32::from(interval_ms);
        let (retry_ms, life_ms) = patience(self.config.profile, interval);
        Event::Link { lock, mtu_down: MTU as u16, sleepy: false, retry_ms, life_ms }
    }

    fn jammed(&mut self, now: Micros, jammed: bool) {
        (self.jammed, self.calm_at) = (jammed, None);
        if jammed && now >= self.alarm_after {
            self.alarm_after = now.saturating_add(ALARM_PAUSE);
            let detail = format!("433 MHz: channel {} has been busy for 30 s", self.link.channel());
            self.events.push_back(Event::Alarm { cause: "jam", detail });
        }
        self.check_health();
    }

    fn check_health(&mut self) {
        let health = match (&self.radio, self.commits.trouble()) {
            (Err(detail), _) => Health { up: false, detail: detail.clone() },
            (Ok(()), Some(error)) => Health {
                up: true,
                detail: format!("{error}; joins fail, and all frames will, until it can be written again"),
            },
            (Ok(()), None) if self.jammed => Health {
                up: true,
                detail: format!(
                    "the 433 MHz channel {} is busy most of the time: somebody jams it or shares it; locks may be slow to reach",
                    self.link.channel()
                ),
            },
            (Ok(()), None) => Health { up: true, detail: self.mismatch().unwrap_or_default() },
        };
        if self.health.as_ref() != Some(&health) {
            self.health = Some(health.clone());
            self.events.push_back(Event::Health(health));
        }
    }

    /// Locks that joined under another profile or id hear nothing of this one.
    fn mismatch(&self) -> Option<String> {
        let joined = self.link.locks().filter(|(_, joined, _)| *joined).count();
        let theirs =
            self.settings.joined_under.filter(|under| joined > 0 && *under != self.settings.now())?;
        Some(format!(
            "{joined} locks joined under profile {} and network id {}, and do not hear this one: set [subghz] back, or remove \
             and admit them again",
            store::profile_name(theirs.0),
            theirs.1
        ))
    }

    fn landed(&mut self, handle: u64, outcome: Outcome) {
        if self.flights.remove(&handle).is_some() {
            let outcome = commands::outcome(outcome);
            self.events.push_back(Event::Outcome { handle, outcome });
        }
    }

    /// The answer of the store to a commit of [`poll_commit`](Self::poll_commit).
    pub fn handle_stored(&mut self, now: Micros, commit: u64, result: Result<(), NetworkStoreError>) {
        self.commit_answered(now, commit, result);
        self.take_events(now);
        self.check_health();
    }
}

/// What a frame and its receipt may take before it is said again, and how long an interactive one lives, milliseconds.
fn patience(profile: Profile, interval_ms: u32) -> (u32, u32) {
    let slow = profile == Profile::Slow;
    match profile {
        // Both, each with one repeat and the wait for it.
        Profile::Serial(_) => {
            let each =
                profile.start() + profile.air_time_of_body(MTU) + profile.ack_wait() + 4 * profile.slot();
            let retry = u32::try_from(4 * each / 1_000).unwrap_or(u32::MAX).clamp(2_000, 30_000);
            (retry, if retry > 4_000 { 24_000 } else { 10_000 })
        }
        // Two bursts, of which the second takes the whole interval, and the receipt.
        _ => (
            2 * interval_ms + if slow { 6_000 } else { 2_000 },
            if slow || interval_ms > 1_000 { 24_000 } else { 10_000 },
        ),
    }
}
