//! Topics in and out, and which gateway reaches a lock.

use std::collections::{BTreeMap, BTreeSet};

use cardea_envelope::{
    Data, Downlink, DownlinkResult, Encoding, EventKind, GatewayEvent, GatewayState, Info, LinkState,
    MessageId, PlatformTopics, Presence, Topic, Topics, Uplink, VERSION,
};
use cardea_framing::{Class, Datagram, GATEWAY_DATAGRAM, Kind, LockId, uplink_id};

use super::{Core, Now, Output, custody::Stuck};
use crate::{Error, KeyStore, PlatformEvent, State};

/// Gateways and links that are remembered; beyond, new ones are not heard. Memory must not be the broker's choice.
const MAX_GATEWAYS: usize = 4096;
const MAX_LINKS: usize = 200_000;
/// Gateways that are remembered for one lock; the one heard least recently gives way.
const MAX_LOCK_GATEWAYS: usize = crate::MAX_SEEN_GATEWAYS;
/// Foreign locks that are remembered, so that each is told of only now and then.
const MAX_STRANGERS: usize = 1024;
const STRANGER_MS: u64 = 600_000;

/// How a lock is reached through one gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) joined: bool,
    /// Hears only after it has spoken.
    pub(super) sleepy: bool,
    /// The longest a downlink may have to wait for air, milliseconds; 0 where the gateway has not said.
    pub(super) life_ms: u64,
    /// Last frame heard, Unix milliseconds. A gateway's own word.
    heard: u64,
    /// When it last brought a frame that only the lock can have made, once; Unix milliseconds, 0 for never.
    proven: u64,
}

pub(super) struct Gateway {
    pub(super) topics: Topics,
    online: bool,
    pub(super) wants_seen: bool,
}

pub(super) struct Route {
    topics: PlatformTopics,
    pub(super) encoding: Encoding,
    pub(super) gateways: BTreeMap<String, Gateway>,
    links: BTreeMap<LockId, BTreeMap<String, Link>>,
    /// How many links there are, of all locks.
    linked: usize,
    /// When each foreign lock was last told of, monotonic.
    strangers: BTreeMap<LockId, u64>,
    /// `seen` to publish with this batch.
    pub(super) dirty: BTreeSet<(String, LockId)>,
    /// The first frame behind a hole.
    pub(super) stuck: BTreeMap<(String, LockId), Stuck>,
}

impl Route {
    pub(super) fn new(topics: PlatformTopics, encoding: Encoding) -> Self {
        Self {
            topics,
            encoding,
            gateways: BTreeMap::new(),
            links: BTreeMap::new(),
            linked: 0,
            strangers: BTreeMap::new(),
            dirty: BTreeSet::new(),
            stuck: BTreeMap::new(),
        }
    }

    pub(super) fn forget_batch(&mut self) {
        self.dirty.clear();
        // What this batch counted comes again by the broker, which says nothing about what its gateway still keeps.
        self.stuck.clear();
    }

    /// The gateway with the newest link whose state is online. What the lock's keys prove goes before what a gateway says:
    /// one that lies about a lock that another reaches gets none of its commands.
    pub(super) fn best(&self, lock: LockId) -> Option<(&str, Link)> {
        self.links
            .get(&lock)?
            .iter()
            .filter(|(gateway, link)| link.joined && self.gateways.get(*gateway).is_some_and(|g| g.online))
            .max_by_key(|(_, link)| (link.proven, link.heard))
            .map(|(gateway, link)| (gateway.as_str(), *link))
    }

    /// `gateway` brought an authentic frame of the lock, which no other had brought before, heard at `at`.
    pub(super) fn prove(&mut self, gateway: &str, lock: LockId, at: u64) {
        if let Some(link) = self.link(gateway, lock) {
            link.proven = link.proven.max(at);
        }
    }

    /// The gateway of a topic, known or new.
    fn parse(&mut self, topic: &str) -> Option<(String, Topic)> {
        let name = self.topics.gateway(topic)?;
        if !self.gateways.contains_key(name) {
            // A longer name could not be the audience of a site message.
            if self.gateways.len() >= MAX_GATEWAYS || name.len() > cardea_credentials::MAX_AUDIENCE {
                return None;
            }
            let topics = self.topics.of(name).ok()?;
            self.gateways.insert(name.into(), Gateway { topics, online: false, wants_seen: true });
        }
        let parsed = self.gateways.get(name)?.topics.parse(topic)?;
        Some((name.to_owned(), parsed))
    }

    fn link(&mut self, gateway: &str, lock: LockId) -> Option<&mut Link> {
        let known = self.links.get(&lock).is_some_and(|by| by.contains_key(gateway));
        if !known && self.linked >= MAX_LINKS {
            return None;
        }
        let by = self.links.entry(lock).or_default();
        if !known {
            if by.len() >= MAX_LOCK_GATEWAYS {
                let silent =
                    by.iter().min_by_key(|(_, link)| (link.proven, link.heard)).map(|(name, _)| name.clone());
                by.remove(&silent?);
            } else {
                self.linked = self.linked.saturating_add(1);
            }
        }
        let fresh = Link { joined: true, sleepy: false, life_ms: 0, heard: 0, proven: 0 };
        Some(by.entry(gateway.into()).or_insert(fresh))
    }

    /// True if this foreign lock has not been told of for a while.
    pub(super) fn is_news(&mut self, lock: LockId, now: u64) -> bool {
        if self.strangers.get(&lock).is_some_and(|at| now < at.saturating_add(STRANGER_MS)) {
            return false;
        }
        if self.strangers.len() >= MAX_STRANGERS {
            self.strangers.retain(|_, at| now < at.saturating_add(STRANGER_MS));
        }
        let room = self.strangers.len() < MAX_STRANGERS;
        if room {
            self.strangers.insert(lock, now);
        }
        room
    }

    /// Which locks this gateway reaches.
    fn behind(&self, gateway: &str) -> Vec<LockId> {
        self.links.iter().filter(|(_, by)| by.contains_key(gateway)).map(|(lock, _)| *lock).collect()
    }
}

impl<K: KeyStore, S: State> Core<K, S> {
    /// Takes one message from the broker. What cannot be understood is counted and dropped: it must not come
    /// again. Belongs into a batch.
    ///
    /// # Errors
    /// [`Error::State`] and [`Error::Random`]: nothing of the batch happened, the message must come again.
    pub fn handle_message(
        &mut self,
        now: Now,
        topic: &str,
        payload: &[u8],
        _retained: bool,
    ) -> Result<(), Error> {
        only_fatal(self.take_message(now, topic, payload))
    }

    fn take_message(&mut self, now: Now, topic: &str, payload: &[u8]) -> Result<(), Error> {
        let Some((gateway, topic)) = self.route.parse(topic) else {
            self.counters.malformed += 1;
            return Ok(());
        };
        let encoding = self.route.encoding;
        match topic {
            Topic::Up(lock) => match encoding.decode::<Uplink>(payload) {
                Ok(uplink) if uplink.lock == lock => return self.handle_uplink(now, &gateway, &uplink),
                _ => self.counters.malformed += 1,
            },
            Topic::Result(lock) => match encoding.decode::<DownlinkResult>(payload) {
                Ok(result) if result.lock == lock && result.v == VERSION => {
                    return self.handle_result(now, lock, &result);
                }
                _ => self.counters.malformed += 1,
            },
            Topic::State => match encoding.decode::<GatewayState>(payload) {
                Ok(state) => return self.handle_presence(now, &gateway, state.state == Presence::Online),
                Err(_) => self.counters.malformed += 1,
            },
            Topic::Link(lock) => match encoding.decode::<LinkState>(payload) {
                Ok(state) if state.v == VERSION => return self.handle_link(now, &gateway, lock, &state),
                _ => self.counters.malformed += 1,
            },
            Topic::Event => match encoding.decode::<GatewayEvent>(payload) {
                Ok(event) if event.v == VERSION => self.handle_site(gateway, event.what),
                _ => self.counters.malformed += 1,
            },
            Topic::Info => {
                if let (Ok(info), Some(known)) =
                    (encoding.decode::<Info>(payload), self.route.gateways.get_mut(&gateway))
                {
                    known.wants_seen = info.custody == "platform";
                }
            }
            Topic::Health | Topic::Locks | Topic::Response(_) => {}
            // Ours, or somebody else who may publish as a platform.
            Topic::Down(_) | Topic::Seen(_) | Topic::Request(_) => {}
        }
        Ok(())
    }

    /// One sealed datagram. At least once: a repeat changes nothing but is acknowledged again.
    ///
    /// # Errors
    /// As [`Self::handle_message`].
    pub fn handle_uplink(&mut self, now: Now, gateway: &str, uplink: &Uplink) -> Result<(), Error> {
        let lock = uplink.lock;
        let data = &uplink.data.0;
        let datagram = match Datagram::parse(data) {
            Ok(d)
                if uplink.v == VERSION
                    && d.kind == uplink.kind
                    && d.class == uplink.class
                    && uplink.id.0 == uplink_id(lock, data) =>
            {
                d
            }
            _ => {
                self.counters.malformed += 1;
                return Ok(());
            }
        };
        // Whoever brings a frame is there, and reaches its lock.
        let at = if uplink.clock == cardea_envelope::ClockState::Synced {
            uplink.at.min(now.unix)
        } else {
            now.unix
        };
        if let Some(gateway) = self.route.gateways.get_mut(gateway) {
            gateway.online = true;
        }
        if let Some(link) = self.route.link(gateway, lock) {
            link.heard = link.heard.max(at);
            link.joined = true;
        }
        let heard = secure_age(now, at);
        match datagram.kind {
            Kind::PlatformEdhoc => {
                only_fatal(self.handle_edhoc(now, gateway, lock, heard, &uplink.id, datagram.body))?;
            }
            Kind::PlatformOscore => {
                only_fatal(self.handle_oscore(now, gateway, lock, heard, datagram.body))?;
            }
            Kind::Site => {
                only_fatal(self.handle_question(now, gateway, lock, heard, datagram.body))?;
            }
            Kind::PeerEdhoc | Kind::PeerOscore | Kind::Receipt => {}
        }
        self.mark_seen(now, gateway, uplink)
    }

    fn handle_presence(&mut self, now: Now, gateway: &str, online: bool) -> Result<(), Error> {
        let Some(known) = self.route.gateways.get_mut(gateway) else { return Ok(()) };
        if known.online == online {
            return Ok(());
        }
        known.online = online;
        self.event(PlatformEvent::Gateway { gateway: gateway.into(), online });
        for lock in self.route.behind(gateway) {
            self.advance(now, lock)?;
        }
        Ok(())
    }

    fn handle_link(&mut self, now: Now, gateway: &str, lock: LockId, state: &LinkState) -> Result<(), Error> {
        if let Some(link) = self.route.link(gateway, lock) {
            link.joined = state.joined;
            link.sleepy = state.sleepy;
            link.life_ms = state.life_ms.into();
            link.heard = link.heard.max(state.seen.unwrap_or(0).min(now.unix));
        }
        self.advance(now, lock)
    }

    fn handle_site(&mut self, gateway: String, what: EventKind) {
        let (word, lock, detail) = match what {
            EventKind::Joined { lock, radio } => ("joined", Some(lock), format!("{lock} joined on {radio}")),
            EventKind::Left { lock, radio } => ("left", Some(lock), format!("{lock} left {radio}")),
            EventKind::Gap { lock, frames, class, .. } => (
                "gap",
                Some(lock),
                format!("{frames} {class} frame(s) of {lock} were dropped, the outbox was full"),
            ),
            EventKind::Alarm { lock, cause, detail } => {
                ("alarm", lock.and_then(|l| l.parse().ok()), format!("alarm, {cause}: {detail}"))
            }
            EventKind::Audit { detail } => ("audit", None, detail),
        };
        self.event(PlatformEvent::Site { gateway, what: word.into(), lock, detail });
    }

    /// The link to the broker is up. Belongs into a batch.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn handle_connected(&mut self, now: Now) -> Result<(), Error> {
        self.event(PlatformEvent::BrokerUp);
        let waiting: Vec<LockId> =
            self.locks.iter().filter(|(_, l)| !l.commands.is_empty()).map(|(id, _)| *id).collect();
        for lock in waiting {
            self.advance(now, lock)?;
        }
        Ok(())
    }

    /// The link to the broker is gone.
    pub fn handle_disconnected(&mut self, _now: Now, reason: String) {
        self.event(PlatformEvent::BrokerDown { reason });
    }

    /// Stages a downlink; returns its id.
    pub(super) fn send_down(
        &mut self,
        gateway: &str,
        lock: LockId,
        kind: Kind,
        class: Class,
        body: &[u8],
        not_after: u64,
    ) -> Result<MessageId, Error> {
        let id = self.random_id()?;
        let mut data = vec![0; GATEWAY_DATAGRAM];
        let length = Datagram { kind, class, peer: None, body }
            .encode(&mut data)
            .map_err(|_| Error::Crypto("a message does not fit a datagram"))?;
        data.truncate(length);
        if let Some(known) = self.route.gateways.get(gateway) {
            let down = Downlink { v: VERSION, id, lock, kind, class, data: Data(data), not_after };
            self.staged.push(Output {
                topic: known.topics.name(&Topic::Down(lock)),
                payload: self.route.encoding.encode(&down),
                not_after: Some(not_after),
            });
        }
        Ok(id)
    }
}

/// What one message alone can cause costs that message: given up and delivered again it would fail again, and
/// everything of its batch with it.
fn only_fatal(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error @ (Error::State(_) | Error::Random)) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "a message is dropped");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// How long ago a frame was heard, as far as the clocks of gateway and platform agree.
fn secure_age(now: Now, at: u64) -> u64 {
    now.unix.saturating_sub(at)
}
