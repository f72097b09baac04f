//! The network itself: which one is ours, when one is formed, and what the operator is told.
//!
//! The key of a network is durable before its dongle has it, and its name before anything is carried: a power cut in between
//! finds the plan again when the dongle comes up in it.

use cardea_radio::{Event, Health, Millis};

use super::store::{RecordKey, StoredNetwork, StoredPlan, extended_pan};
use super::{Driver, NetworkOrder};
use crate::coordinator::{Network, Order, Plan, State};
use crate::types::Key;

/// The longest that forming or adopting may take, milliseconds.
const FORMATION_MS: Millis = 120_000;
/// How long the operator is told of a device that did not join, or should not have.
const NOTICE_MS: Millis = 600_000;

/// An operator's order under way.
pub(super) struct Formation {
    /// Who waits for it; `None`: one that was interrupted and is finished.
    token: Option<u64>,
    stage: Stage,
    pub(super) until: Millis,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The plan is being stored.
    Storing { replace: bool },
    /// The coordinator has the order.
    Ordered,
    /// What came of it is being stored.
    Saving(Network),
}

impl Driver {
    /// An operator's order; the answer comes under this token, see [`poll_reply`](Self::poll_reply).
    pub fn handle_order(&mut self, now: Millis, token: u64, order: NetworkOrder) {
        match self.allowed(&order) {
            Err(why) => self.replies.push_back((token, Err(why))),
            Ok(()) => {
                let until = now.saturating_add(FORMATION_MS);
                let stage = match order {
                    NetworkOrder::Adopt => {
                        self.orders.push_back(Order::Adopt);
                        Stage::Ordered
                    }
                    NetworkOrder::Form { replace, pan, key } => {
                        self.plan = Some(StoredPlan { extended_pan: extended_pan(pan), key });
                        self.writer.mark_urgent(RecordKey::Plan);
                        Stage::Storing { replace }
                    }
                };
                self.formation = Some(Formation { token: Some(token), stage, until });
            }
        }
        self.progress(now);
    }

    fn allowed(&self, order: &NetworkOrder) -> Result<(), String> {
        if self.formation.is_some() {
            return Err("a network is being formed or adopted already".into());
        }
        let joined = self.devices.values().filter(|device| device.joined).count();
        match (order, &self.state) {
            (_, State::Down(_) | State::Starting) => {
                Err("the dongle is not ready, see `cardea status`".to_owned())
            }
            (NetworkOrder::Adopt, State::Foreign(_)) => Ok(()),
            (NetworkOrder::Adopt, _) => Err("the dongle is in no network that could be adopted".into()),
            (NetworkOrder::Form { replace: true, .. }, _) => Ok(()),
            (NetworkOrder::Form { .. }, State::Up(_) | State::Foreign(_)) => {
                Err("the dongle is in a network; --replace erases it, and its devices must join anew".into())
            }
            (NetworkOrder::Form { .. }, State::Unformed) if joined > 0 => Err(format!(
                "this gateway has a network with {joined} locks that this dongle does not remember; --replace gives \
                 it up, and they must join anew"
            )),
            (NetworkOrder::Form { .. }, State::Unformed) => Ok(()),
        }
    }

    /// A plan is durable: now it may be carried out.
    pub(super) fn plan_stored(&mut self) {
        let (Some(formation), Some(plan)) = (&mut self.formation, &self.plan) else { return };
        if let Stage::Storing { replace } = formation.stage {
            formation.stage = Stage::Ordered;
            let StoredPlan { extended_pan, key } = plan.clone();
            let plan = Plan { channels: self.config.channels, extended_pan, pan: None, key };
            self.orders.push_back(Order::Form { plan, replace });
        }
    }

    /// The store failed: what waits for it is given up, or told that it is not durable.
    pub(super) fn formation_not_stored(&mut self, why: &str) {
        match self.formation.as_ref().map(|formation| formation.stage) {
            Some(Stage::Storing { .. }) => {
                self.plan = None;
                self.writer.unmark(RecordKey::Plan);
                self.finish_formation(Err(format!("nothing was formed: {why}")));
            }
            Some(Stage::Saving(_)) => self.finish_formation(Err(format!(
                "the network runs, but is not stored yet: {why}; keep the dongle in until `cardea status` is good"
            ))),
            Some(Stage::Ordered) | None => {}
        }
    }

    pub(super) fn network_stored(&mut self) {
        if let Some(Stage::Saving(network)) = self.formation.as_ref().map(|formation| formation.stage) {
            self.finish_formation(Ok(network));
        }
    }

    fn finish_formation(&mut self, result: Result<Network, String>) {
        if let Some(token) = self.formation.take().and_then(|formation| formation.token) {
            self.replies.push_back((token, result));
        }
    }

    pub(super) fn formation_timeout(&mut self, now: Millis) {
        if self.formation.as_ref().is_some_and(|formation| formation.until <= now) {
            self.finish_formation(Err(
                "the dongle does not say what became of it; see `cardea status`".into()
            ));
        }
    }

    /// What became of an order to form or adopt.
    pub(super) fn formed(&mut self, now: Millis, result: Result<Network, String>) {
        let network = match result {
            // A plan stays: should the dongle have carried it out all the same, its network is known again.
            Err(why) => return self.finish_formation(Err(why)),
            Ok(network) => network,
        };
        let planned = self.plan.as_ref().filter(|plan| plan.extended_pan == network.extended_pan);
        let key: Option<Key> = planned.map(|plan| plan.key.clone());
        let same = self.network.as_ref().is_some_and(|old| old.network.extended_pan == network.extended_pan);
        if planned.is_some() {
            self.plan = None;
            self.writer.mark(RecordKey::Plan);
        }
        if !same {
            // The locks stay admitted and must join this one; those of an adopted network are there when they are heard.
            for (lock, device) in &mut self.devices {
                if std::mem::replace(&mut device.joined, false) {
                    self.events.push_back(Event::Left(*lock));
                    self.writer.mark(RecordKey::Device(*lock));
                }
                if key.is_some() {
                    self.joins.push(*lock);
                }
            }
        }
        if key.is_some() && !same {
            // Nobody is in a network that is new.
            let gone = std::mem::take(&mut self.leaving);
            gone.into_keys().for_each(|eui| self.writer.mark(RecordKey::Leaving(eui)));
        }
        let key = key.or_else(|| self.network.as_ref().filter(|_| same).and_then(|old| old.key.clone()));
        self.network = Some(StoredNetwork { network, key });
        self.writer.mark_urgent(RecordKey::Network);
        let until = now.saturating_add(FORMATION_MS);
        let formation = self.formation.get_or_insert(Formation { token: None, stage: Stage::Ordered, until });
        formation.stage = Stage::Saving(network);
    }

    pub(super) fn state_changed(&mut self, now: Millis, state: State) {
        self.state = state;
        match &self.state {
            State::Up(network) => {
                let network = *network;
                if !self.is_up() {
                    tracing::error!(
                        "the Zigbee coordinator runs a network that nobody ordered: nothing is carried"
                    );
                    return;
                }
                if let Some(stored) = self.network.as_mut().filter(|stored| stored.network != network) {
                    // It moved to another channel, or away from another network with its PAN id.
                    stored.network = network;
                    self.writer.mark(RecordKey::Network);
                }
                self.dismiss_again();
                let unknown: Vec<_> = self
                    .devices
                    .iter()
                    .filter(|(_, device)| device.joined && device.endpoint.is_none())
                    .map(|(lock, _)| *lock)
                    .collect();
                unknown.into_iter().for_each(|lock| self.interview(now, lock));
            }
            State::Foreign(network)
                if self.formation.is_none()
                    && self.plan.as_ref().is_some_and(|plan| plan.extended_pan == network.extended_pan) =>
            {
                // It was ordered, and formed; only the end was not told.
                let until = now.saturating_add(FORMATION_MS);
                self.formation = Some(Formation { token: None, stage: Stage::Ordered, until });
                self.orders.push_back(Order::Adopt);
            }
            State::Down(_) | State::Starting | State::Unformed | State::Foreign(_) => {}
        }
    }

    /// True while frames can be carried: in our own network and in no other.
    pub(super) fn is_up(&self) -> bool {
        let State::Up(network) = &self.state else { return false };
        self.network.as_ref().is_some_and(|stored| stored.network.is(network))
    }

    /// For the operator, for a while.
    pub(super) fn notice(&mut self, now: Millis, words: String) {
        // Devices decide how often it happens; and who it is stands in the log from this level on only.
        tracing::debug!("Zigbee: {words}");
        self.notice = Some((words, now.saturating_add(NOTICE_MS)));
    }

    /// Tells the gateway when the state of the radio has changed.
    pub(super) fn check_health(&mut self) {
        let health = Health { up: self.is_up(), detail: self.detail() };
        if self.health.as_ref() != Some(&health) {
            self.health = Some(health.clone());
            self.events.push_back(Event::Health(health));
        }
    }

    fn detail(&self) -> String {
        match &self.state {
            State::Down(why) => format!("{why}; is the dongle plugged in, and `device` its name?"),
            State::Starting => "the dongle is starting".into(),
            State::Unformed => match &self.network {
                None => "the dongle is in no network: `cardea radio form zigbee` forms one".into(),
                Some(StoredNetwork { network, .. }) => format!(
                    "the dongle does not remember the network {} of this gateway: plug in the one that does, or give \
                     the network up with `cardea radio form zigbee --replace`",
                    network.extended_pan
                ),
            },
            State::Foreign(found) => format!(
                "the dongle is in another network ({}, channel {}), which is left as it is: `cardea radio adopt zigbee` \
                 takes it over, `cardea radio form zigbee --replace` erases it",
                found.extended_pan, found.channel
            ),
            State::Up(_) if !self.is_up() => "the dongle runs a network that nobody ordered".into(),
            State::Up(_) => match (&self.writer.failing, &self.notice) {
                (Some(error), _) => format!("{error}; who joins or is removed now is not remembered yet"),
                (None, Some((words, _))) => words.clone(),
                (None, None) => String::new(),
            },
        }
    }
}
