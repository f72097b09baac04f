//! The network itself: which one is ours, what an operator has done to it, and what the operator is told.
//!
//! What an order is about is durable before its dongle has it (a plan, a backup, a key), and what came of it before anything
//! is carried: a power cut in between finds the order again. What is special about a backup is in `restore`, about a key in
//! `rotation`.

use cardea_radio::{Event, Health, Millis};

use super::restore::Restore;
use super::store::{RecordKey, StoredNetwork, StoredPlan, extended_pan};
use super::{Driver, NetworkDone, NetworkOrder};
use crate::coordinator::{Network, Order, Plan, State};
use crate::types::Key;

/// The longest that an order may take, milliseconds.
const FORMATION_MS: Millis = 120_000;
/// How long the operator is told of a device that did not join, or should not have.
const NOTICE_MS: Millis = 600_000;

/// An operator's order under way.
pub(super) struct Formation {
    /// Who waits for it; `None`: one that was interrupted and is finished.
    token: Option<u64>,
    pub(super) goal: Goal,
    stage: Stage,
    pub(super) until: Millis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    Form { replace: bool },
    Adopt,
    Restore { replace: bool },
    Rotate,
}

enum Stage {
    /// What the order is about is being stored.
    Storing,
    /// It is durable, and waits for the end of a backup: a coordinator does one after the other.
    Ready,
    /// The coordinator has the order.
    Ordered,
    /// What came of it is being stored; then this is told.
    Saving(NetworkDone),
}

impl Driver {
    /// An operator's order; the answer comes under this token, see [`poll_reply`](Self::poll_reply).
    pub fn handle_order(&mut self, now: Millis, token: u64, order: NetworkOrder) {
        match order {
            NetworkOrder::Backup => self.back_up_for(now, token),
            NetworkOrder::Routers => self.list_routers(token),
            NetworkOrder::AdmitRouter { eui, code } => self.admit_router(token, eui, code),
            NetworkOrder::RemoveRouter { eui } => self.remove_router(token, eui),
            NetworkOrder::Map { survey } => self.map_for(now, token, survey),
            order => {
                if let Err(why) = self.begin(now, token, order) {
                    self.replies.push_back((token, Err(why)));
                }
            }
        }
        self.progress(now);
    }

    fn begin(&mut self, now: Millis, token: u64, order: NetworkOrder) -> Result<(), String> {
        self.allowed(&order)?;
        let (goal, stage) = match order {
            NetworkOrder::Adopt => match self.state {
                State::Up(network) => {
                    self.take_as_it_is(now, network);
                    (Goal::Adopt, Stage::Saving(NetworkDone::Network(network)))
                }
                _ => {
                    self.orders.push_back(Order::Adopt);
                    (Goal::Adopt, Stage::Ordered)
                }
            },
            NetworkOrder::Form { replace, pan, key } => {
                self.plan = Some(StoredPlan { extended_pan: extended_pan(pan), key });
                self.writer.mark_urgent(RecordKey::Plan);
                (Goal::Form { replace }, Stage::Storing)
            }
            NetworkOrder::Restore { backup, replace } => {
                let backup = self.to_restore(backup, replace)?;
                self.restore = Some(Restore::new(backup, self.restore.take()));
                self.writer.mark_urgent(RecordKey::Restore);
                (Goal::Restore { replace }, Stage::Storing)
            }
            NetworkOrder::RotateKey(key) => {
                self.next_key = Some(key);
                self.writer.mark_urgent(RecordKey::NextKey);
                (Goal::Rotate, Stage::Storing)
            }
            // Taken beside all this.
            NetworkOrder::Backup
            | NetworkOrder::Routers
            | NetworkOrder::AdmitRouter { .. }
            | NetworkOrder::RemoveRouter { .. }
            | NetworkOrder::Map { .. } => return Ok(()),
        };
        let until = now.saturating_add(FORMATION_MS);
        self.formation = Some(Formation { token: Some(token), goal, stage, until });
        Ok(())
    }

    fn allowed(&self, order: &NetworkOrder) -> Result<(), String> {
        if self.formation.is_some() {
            return Err("another order is under way at this radio, see `cardea status`".into());
        }
        let joined = self.devices.values().filter(|device| device.joined).count() + self.fleet.joined();
        match (order, &self.state) {
            (_, State::Down(_) | State::Starting) => {
                Err("the dongle is not ready, see `cardea status`".to_owned())
            }
            (NetworkOrder::Adopt, State::Foreign(_)) => Ok(()),
            (NetworkOrder::Adopt, _) if self.interrupted().is_some() => Ok(()),
            (NetworkOrder::Adopt, _) => Err("the dongle is in no network that could be adopted".into()),
            (NetworkOrder::Form { replace: true, .. }, _) => Ok(()),
            (NetworkOrder::Form { .. }, State::Up(_) | State::Foreign(_)) => {
                Err("the dongle is in a network; --replace erases it, and its devices must join anew".into())
            }
            (NetworkOrder::Form { .. }, State::Unformed) if joined > 0 => Err(format!(
                "this gateway has a network with {joined} locks that this dongle does not remember; --replace gives \
                 it up, and they must join anew{}",
                if self.kept.is_some() {
                    "; `cardea radio restore zigbee --from-store` has this dongle take its place"
                } else {
                    ""
                }
            )),
            (NetworkOrder::Form { .. }, State::Unformed) => Ok(()),
            (NetworkOrder::Restore { replace: false, .. }, State::Up(_) | State::Foreign(_)) => {
                Err("the dongle remembers a network; --replace erases what it remembers, and restores".into())
            }
            (NetworkOrder::Restore { .. }, _) => Ok(()),
            (NetworkOrder::RotateKey(_), _) if self.is_up() => Ok(()),
            _ => Err("the network does not run, see `cardea status`".into()),
        }
    }

    /// The store has what it was given: an order that waited for it may go out.
    pub(super) fn order_stored(&mut self) {
        let Some(formation) = &mut self.formation else { return };
        let record = match formation.goal {
            Goal::Form { .. } => RecordKey::Plan,
            Goal::Restore { .. } => RecordKey::Restore,
            Goal::Rotate => RecordKey::NextKey,
            Goal::Adopt => return,
        };
        if matches!(formation.stage, Stage::Storing) && self.writer.is_durable(record) {
            formation.stage = Stage::Ready;
        }
    }

    /// Gives the coordinator an order that is durable.
    pub(super) fn give_order(&mut self) {
        if self.backups.is_under_way() {
            return;
        }
        let Some(formation) = &mut self.formation else { return };
        if !matches!(formation.stage, Stage::Ready) {
            return;
        }
        formation.stage = Stage::Ordered;
        match (formation.goal, &self.plan, &mut self.restore, &self.next_key) {
            (Goal::Form { replace }, Some(StoredPlan { extended_pan, key }), ..) => {
                let (extended_pan, key) = (*extended_pan, key.clone());
                let plan = Plan { channels: self.config.channels, extended_pan, pan: None, key };
                self.orders.push_back(Order::Form { plan, replace });
            }
            (Goal::Restore { replace }, _, Some(restore), _) => {
                self.orders.push_back(Order::Restore { backup: restore.ordered(), replace });
            }
            (Goal::Rotate, .., Some(key)) => self.orders.push_back(Order::RotateKey(key.clone())),
            _ => self.finish_formation(Err("the order was lost; give it again".into())),
        }
    }

    /// The store failed: what waits for it is given up, or told that it is not durable.
    pub(super) fn formation_not_stored(&mut self, why: &str) {
        let Some(Formation { goal, stage, .. }) = &self.formation else { return };
        let words = match (stage, goal) {
            (Stage::Storing, Goal::Rotate) => format!("the key was not changed: {why}"),
            (Stage::Storing, Goal::Restore { .. }) => format!("nothing was restored: {why}"),
            (Stage::Storing, _) => format!("nothing was formed: {why}"),
            (Stage::Saving(_), Goal::Rotate) => format!(
                "the network has another key, which is not stored yet: {why}; keep the dongle in until `cardea status` is \
                 good"
            ),
            (Stage::Saving(_), _) => format!(
                "the network runs, but is not stored yet: {why}; keep the dongle in until `cardea status` is good"
            ),
            (Stage::Ready | Stage::Ordered, _) => return,
        };
        self.withdraw();
        self.finish_formation(Err(words));
    }

    /// An order that the coordinator does not have is not to be carried out any more.
    fn withdraw(&mut self) {
        let Some(Formation { goal, stage: Stage::Storing | Stage::Ready, .. }) = &self.formation else {
            return;
        };
        match goal {
            Goal::Form { .. } => {
                self.plan = None;
                self.writer.unmark(RecordKey::Plan);
            }
            Goal::Restore { .. } => self.restore_withdrawn(),
            Goal::Rotate => {
                self.next_key = None;
                self.writer.mark(RecordKey::NextKey);
            }
            Goal::Adopt => {}
        }
    }

    /// The network is durable, as it is now.
    pub(super) fn network_stored(&mut self) {
        if self.writer.is_durable(RecordKey::Network)
            && let Some(Formation { stage: Stage::Saving(done), .. }) = &self.formation
        {
            let done = done.clone();
            self.finish_formation(Ok(done));
        }
    }

    pub(super) fn finish_formation(&mut self, result: Result<NetworkDone, String>) {
        if let Some(token) = self.formation.take().and_then(|formation| formation.token) {
            self.replies.push_back((token, result));
        }
    }

    pub(super) fn formation_timeout(&mut self, now: Millis) {
        if self.formation.as_ref().is_some_and(|formation| formation.until <= now) {
            self.withdraw();
            self.finish_formation(Err(
                "the dongle does not say what became of it; see `cardea status`".into()
            ));
        }
    }

    /// What came of an order is to be stored, and told then.
    pub(super) fn save(&mut self, now: Millis, goal: Goal, done: NetworkDone) {
        self.writer.mark_urgent(RecordKey::Network);
        let until = now.saturating_add(FORMATION_MS);
        let stage = Stage::Saving(done);
        match &mut self.formation {
            Some(formation) => formation.stage = stage,
            None => self.formation = Some(Formation { token: None, goal, stage, until }),
        }
    }

    /// What became of an order to form, adopt or restore.
    pub(super) fn formed(&mut self, now: Millis, result: Result<Network, String>) {
        match result {
            // A plan stays: should the dongle have carried it out all the same, its network is known again.
            Err(why) => {
                let more = self.restore_failed();
                self.finish_formation(Err(why + more));
            }
            Ok(network) => match self.restored_by(&network) {
                Some(backup) => self.restored(now, network, &backup),
                None => self.founded(now, network),
            },
        }
        self.backup_soon(now);
    }

    /// A network that was formed or adopted.
    fn founded(&mut self, now: Millis, network: Network) {
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
            self.forget_keys();
        }
        if key.is_some() && !same {
            // Nobody is in a network that is new.
            let gone = std::mem::take(&mut self.leaving);
            gone.into_keys().for_each(|eui| self.writer.mark(RecordKey::Leaving(eui)));
        }
        let key = key.or_else(|| self.network.as_ref().filter(|_| same).and_then(|old| old.key.clone()));
        self.network = Some(StoredNetwork { network, key });
        self.save(now, Goal::Adopt, NetworkDone::Network(network));
    }

    /// The network that was given up: its keys are nobody's any more.
    fn forget_keys(&mut self) {
        self.taken = None;
        if self.kept.take().is_some() {
            self.writer.mark(RecordKey::Kept);
        }
        if self.next_key.take().is_some() {
            self.writer.mark(RecordKey::NextKey);
        }
    }

    pub(super) fn state_changed(&mut self, now: Millis, state: State) {
        self.state = state;
        self.restore_touched();
        match &self.state {
            State::Up(network) => {
                let network = *network;
                if self.interrupted().is_some() {
                    tracing::warn!("a restore of the Zigbee network was interrupted: nothing is carried");
                    return;
                }
                if !self.is_up() {
                    tracing::error!(
                        "the Zigbee coordinator runs a network that nobody ordered: nothing is carried"
                    );
                    return;
                }
                self.restore_is_moot(&network);
                self.backup_when_up(now);
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
                let (goal, stage) = (Goal::Adopt, Stage::Ordered);
                self.formation = Some(Formation { token: None, goal, stage, until });
                self.orders.push_back(Order::Adopt);
            }
            State::Down(_) | State::Starting | State::Unformed | State::Foreign(_) => {}
        }
    }

    /// True while frames can be carried: in our own network and in no other.
    pub(super) fn is_up(&self) -> bool {
        let State::Up(network) = &self.state else { return false };
        self.network.as_ref().is_some_and(|stored| stored.network.is(network)) && self.interrupted().is_none()
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
        // What the gateway keeps can be put into any dongle.
        let kept = |words: &'static str| if self.kept.is_some() { words } else { "" };
        match &self.state {
            State::Down(why) => format!("{why}; is the dongle plugged in, and `device` its name?"),
            State::Starting => "the dongle is starting".into(),
            State::Unformed if self.is_restore_pending() => {
                "a restore was interrupted, and the dongle remembers nothing: `cardea radio restore zigbee --from-store` \
                 takes it up again"
                    .into()
            }
            State::Up(_) | State::Foreign(_) if self.interrupted().is_some() => {
                "a restore was interrupted, and what the dongle remembers of it may be incomplete: \
                 `cardea radio restore zigbee --from-store --replace` takes it up again, `cardea radio adopt zigbee` \
                 takes the dongle as it is"
                    .into()
            }
            State::Unformed => match &self.network {
                None => "the dongle is in no network: `cardea radio form zigbee` forms one".into(),
                Some(StoredNetwork { network, .. }) => format!(
                    "the dongle does not remember the network {} of this gateway: plug in the one that does{}, or give \
                     the network up with `cardea radio form zigbee --replace`",
                    network.extended_pan,
                    kept(", or have this one take its place with `cardea radio restore zigbee --from-store`")
                ),
            },
            State::Foreign(found) => format!(
                "the dongle is in another network ({}, channel {}), which is left as it is: `cardea radio adopt zigbee` \
                 takes it over, `cardea radio form zigbee --replace`{} erases it",
                found.extended_pan,
                found.channel,
                kept(" or `cardea radio restore zigbee --from-store --replace`")
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
