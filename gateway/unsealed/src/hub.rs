//! All ordinary locks of one gateway, between the radio and the broker.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use cardea_zigbee::driver::ordinary::{Errand, Notice, Outcome, Progress, Request, Snapshot};
use cardea_zigbee::{Eui64, InstallCode};

use crate::judge::{Case, Judge};
use crate::payload::{self, Told};
use crate::throttle::Throttle;
use crate::{Config, Millis, Publish, Wall, discovery};

/// Errands without an end; more are refused.
const MAX_PENDING: usize = 128;

/// An ordinary lock for an operator's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name in the configuration; `None`: it is not named there any more, and not listened to.
    pub name: Option<String>,
    /// It may be locked and unlocked.
    pub commands: bool,
    /// `unknown`, `locked`, `unlocked`, `jammed`, `locking`, `unlocking`.
    pub bolt: &'static str,
    /// `report`, `read`, `event`, `alarm`, `command`.
    pub source: Option<&'static str>,
    /// When that was said, Unix milliseconds.
    pub at: Option<u64>,
    /// When it was last heard, Unix milliseconds.
    pub heard: Option<u64>,
    /// How it is.
    pub snapshot: Snapshot,
}

struct Entry {
    snapshot: Snapshot,
    /// What it may make the gateway say.
    states: Throttle,
    /// The state was not published yet, and may be at that moment.
    due: Option<Millis>,
    /// What was published on this connection, by topic.
    published: BTreeMap<String, Bytes>,
}

/// Commands for one device of the configuration, admitted or not.
#[derive(Default)]
struct Court {
    judge: Judge,
    /// Refusals that are said.
    refusals: Throttle,
}

/// Who waits for an errand.
enum Pending {
    Operator,
    Command { eui: Eui64, id: String },
}

/// The bridge of ordinary locks. Drive it with `handle_*`, then empty `poll_publish`, `poll_errand` and `poll_reply`.
pub struct Hub {
    config: Config,
    started: u64,
    online: bool,
    entries: BTreeMap<Eui64, Entry>,
    courts: BTreeMap<Eui64, Court>,
    pending: BTreeMap<u64, Pending>,
    next_token: u64,
    ignored: u64,
    publishes: VecDeque<Publish>,
    errands: VecDeque<Errand>,
    replies: VecDeque<(u64, Result<(), String>)>,
}

impl Hub {
    /// A bridge that starts now.
    #[must_use]
    pub fn new(config: Config, wall: Wall) -> Self {
        Self {
            config,
            started: wall.unix_ms,
            online: false,
            entries: BTreeMap::new(),
            courts: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_token: 0,
            ignored: 0,
            publishes: VecDeque::new(),
            errands: VecDeque::new(),
            replies: VecDeque::new(),
        }
    }

    /// The broker is there: everything retained is said again.
    pub fn handle_connected(&mut self, now: Millis, wall: Wall) {
        self.online = true;
        let (topic, payload) = (self.config.state_topic(), self.config.presence(true, wall));
        self.publishes.push_back(Publish { topic, payload: payload.into(), retain: true });
        let all: Vec<Eui64> = self.entries.keys().copied().collect();
        for eui in all {
            if let Some(entry) = self.entries.get_mut(&eui) {
                entry.published.clear();
            }
            self.publish(now, wall, eui);
        }
    }

    /// The broker is gone. What happens meanwhile it is not told; how the locks are then it is.
    pub fn handle_disconnected(&mut self) {
        self.online = false;
        self.publishes.clear();
    }

    /// A message of the broker.
    pub fn handle_message(&mut self, now: Millis, wall: Wall, topic: &str, payload: &[u8], retain: bool) {
        let filters = self.config.devices.keys().find(|eui| self.config.topic(**eui, "set") == topic);
        let Some(eui) = filters.copied() else {
            self.ignored = self.ignored.saturating_add(1);
            return;
        };
        let allowed = self.config.devices.get(&eui).is_some_and(|device| device.commands);
        let case = Case { now, wall, started: self.started, allowed, retain, payload };
        match self.courts.entry(eui).or_default().judge.judge(&case) {
            Ok(command) if self.pending.len() < MAX_PENDING => {
                let token = self.token(Pending::Command { eui, id: command.id });
                let request = Request::Move { eui, verb: command.verb, deadline: command.deadline };
                self.errands.push_back(Errand { token, request });
            }
            Ok(command) => self.refuse(now, wall, eui, Some(&command.id), crate::Refusal::Busy),
            Err((refusal, id)) => self.refuse(now, wall, eui, id.as_deref(), refusal),
        }
    }

    fn refuse(&mut self, now: Millis, wall: Wall, eui: Eui64, id: Option<&str>, refusal: crate::Refusal) {
        if self.courts.entry(eui).or_default().refusals.take(now).is_err() {
            // Somebody floods; that was said a few times.
            self.ignored = self.ignored.saturating_add(1);
            return;
        }
        let reason = refusal.as_str();
        tracing::warn!(reason, "a command for an ordinary lock was refused");
        self.result(wall, eui, &Told { id, result: "refused", reason: Some(reason), status: None });
    }

    /// An operator lets a device in; answered under the token that is returned.
    pub fn admit(&mut self, eui: Eui64, code: InstallCode) -> u64 {
        self.operator(Request::Admit { eui, code })
    }

    /// An operator sends a device away; answered under the token that is returned.
    pub fn remove(&mut self, eui: Eui64) -> u64 {
        self.operator(Request::Remove { eui })
    }

    fn operator(&mut self, request: Request) -> u64 {
        if self.pending.len() >= MAX_PENDING {
            self.next_token = self.next_token.saturating_add(1);
            self.replies.push_back((self.next_token, Err("too much is being done already".into())));
            return self.next_token;
        }
        let token = self.token(Pending::Operator);
        self.errands.push_back(Errand { token, request });
        token
    }

    fn token(&mut self, pending: Pending) -> u64 {
        self.next_token = self.next_token.saturating_add(1);
        self.pending.insert(self.next_token, pending);
        self.next_token
    }

    /// The radio did not take an errand.
    pub fn handle_not_taken(&mut self, wall: Wall, errand: &Errand) {
        let outcome = Outcome::Refused("the Zigbee radio is not running or busy".into());
        self.done(wall, errand.token, outcome);
    }

    /// A word of the radio.
    pub fn handle_notice(&mut self, now: Millis, wall: Wall, notice: Notice) {
        match notice {
            Notice::Started => {
                // Given to a driver that is gone: it may have been sent.
                let all: Vec<u64> = self.pending.keys().copied().collect();
                for token in all {
                    self.done(wall, token, Outcome::Unconfirmed);
                }
            }
            Notice::Done { token, outcome } => self.done(wall, token, outcome),
            Notice::Progress { token, step } => {
                if let Some(Pending::Command { eui, id }) = self.pending.get(&token) {
                    let result = match step {
                        Progress::Sent => "sent",
                        Progress::Accepted => "accepted",
                    };
                    let (eui, id) = (*eui, id.clone());
                    self.result(wall, eui, &Told { id: Some(&id), result, reason: None, status: None });
                }
            }
            Notice::State(snapshot) => {
                let eui = snapshot.eui;
                match self.entries.get_mut(&eui) {
                    Some(entry) => entry.snapshot = *snapshot,
                    None => {
                        let entry = Entry {
                            snapshot: *snapshot,
                            states: Throttle::default(),
                            due: None,
                            published: BTreeMap::new(),
                        };
                        self.entries.insert(eui, entry);
                    }
                }
                self.publish(now, wall, eui);
            }
            Notice::Happened { eui, happening } => {
                let Some(entry) = self.entries.get_mut(&eui) else { return };
                if self.online && entry.states.take(now).is_ok() {
                    let payload = payload::event(now, wall, eui, happening).into();
                    self.publishes.push_back(Publish {
                        topic: self.config.topic(eui, "event"),
                        payload,
                        retain: false,
                    });
                } else {
                    self.ignored = self.ignored.saturating_add(1);
                }
            }
            Notice::Removed(eui) => {
                if let Some(entry) = self.entries.remove(&eui)
                    && self.online
                {
                    self.take_back(&entry.snapshot);
                }
            }
        }
    }

    fn done(&mut self, wall: Wall, token: u64, outcome: Outcome) {
        match self.pending.remove(&token) {
            None => {}
            Some(Pending::Operator) => self.replies.push_back((token, words(outcome))),
            Some(Pending::Command { eui, id }) => {
                let (result, reason, status) = match &outcome {
                    Outcome::Done => ("done", None, None),
                    Outcome::Refused(why) => ("refused", Some(why.as_str()), None),
                    Outcome::Expired => ("expired", None, None),
                    Outcome::Declined(status) => ("declined", None, Some(*status)),
                    Outcome::Elsewhere => ("elsewhere", None, None),
                    Outcome::Unconfirmed => ("unconfirmed", None, None),
                };
                tracing::info!(result, "a command for an ordinary lock ended");
                self.result(wall, eui, &Told { id: Some(&id), result, reason, status });
            }
        }
    }

    fn result(&mut self, wall: Wall, eui: Eui64, told: &Told<'_>) {
        if self.online {
            let payload = payload::result(wall, eui, told).into();
            self.publishes.push_back(Publish {
                topic: self.config.topic(eui, "result"),
                payload,
                retain: false,
            });
        }
    }

    /// Says how a lock is, or as soon as it may.
    fn publish(&mut self, now: Millis, wall: Wall, eui: Eui64) {
        let Some(entry) = self.entries.get_mut(&eui) else { return };
        let Some(device) = self.config.devices.get(&eui).filter(|_| entry.snapshot.listened) else {
            if self.online {
                let snapshot = entry.snapshot.clone();
                self.take_back(&snapshot);
            }
            return;
        };
        if !self.online {
            return;
        }
        let mut messages = Vec::new();
        if let Some(prefix) = &self.config.home_assistant {
            for (object, entity) in
                discovery::OBJECTS.into_iter().zip(discovery::entities(&self.config, device, &entry.snapshot))
            {
                let payload = entity.map(|entity| entity.to_string().into_bytes()).unwrap_or_default();
                messages.push((discovery::topic(prefix, &entry.snapshot, object), payload));
            }
        }
        let state = payload::state(now, wall, &device.name, device.commands, &entry.snapshot);
        messages.push((self.config.topic(eui, "state"), state));
        messages.retain(|(topic, payload)| entry.published.get(topic).is_none_or(|said| said != payload));
        if messages.is_empty() {
            entry.due = None;
            return;
        }
        if let Err(at) = entry.states.take(now) {
            entry.due = Some(at);
            return;
        }
        entry.due = None;
        for (topic, payload) in messages {
            let payload = Bytes::from(payload);
            entry.published.insert(topic.clone(), payload.clone());
            self.publishes.push_back(Publish { topic, payload, retain: true });
        }
    }

    /// Takes everything back that was retained of a lock.
    fn take_back(&mut self, of: &Snapshot) {
        let entities = self.config.home_assistant.iter();
        let entities =
            entities.flat_map(|prefix| discovery::OBJECTS.map(|object| discovery::topic(prefix, of, object)));
        for topic in entities.chain([self.config.topic(of.eui, "state")]) {
            self.publishes.push_back(Publish { topic, payload: Bytes::new(), retain: true });
        }
    }

    /// To be called at the time that [`poll_timeout`](Self::poll_timeout) gave.
    pub fn handle_timeout(&mut self, now: Millis, wall: Wall) {
        let due = |(eui, entry): (&Eui64, &Entry)| entry.due.filter(|at| *at <= now).map(|_| *eui);
        let due: Vec<Eui64> = self.entries.iter().filter_map(due).collect();
        for eui in due {
            self.publish(now, wall, eui);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        self.entries.values().filter_map(|entry| entry.due.filter(|_| self.online)).min()
    }

    /// The next message for the broker.
    pub fn poll_publish(&mut self) -> Option<Publish> {
        self.publishes.pop_front()
    }

    /// The next errand for the radio.
    pub fn poll_errand(&mut self) -> Option<Errand> {
        self.errands.pop_front()
    }

    /// The next answer to an operator, with its token.
    pub fn poll_reply(&mut self) -> Option<(u64, Result<(), String>)> {
        self.replies.pop_front()
    }

    /// Messages and events that came to nothing without a word: of a flood, or for nobody.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// All locks, for an operator.
    #[must_use]
    pub fn rows(&self, now: Millis, wall: Wall) -> Vec<Row> {
        let rows = self.entries.iter().map(|(eui, Entry { snapshot, .. })| {
            let device = self.config.devices.get(eui);
            let unix = |at| payload::unix(at, now, wall);
            Row {
                name: device.map(|device| device.name.clone()),
                commands: device.is_some_and(|device| device.commands),
                bolt: payload::bolt(snapshot.bolt),
                source: snapshot.source.map(payload::source),
                at: snapshot.at.map(unix),
                heard: snapshot.heard.map(|heard| unix(heard.at)),
                snapshot: snapshot.clone(),
            }
        });
        rows.collect()
    }
}

fn words(outcome: Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Done => Ok(()),
        Outcome::Refused(why) => Err(why),
        _ => Err("the radio was started again meanwhile; see `cardea locks`".into()),
    }
}
