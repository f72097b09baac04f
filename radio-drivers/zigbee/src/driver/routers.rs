//! Zigbee routers: devices that carry others' frames and take children of their own, so that a network is larger than the
//! dongle's child table and reaches farther than its antenna. They join by their install code like locks, and nothing that
//! they say for themselves is read.

use std::collections::{BTreeMap, BTreeSet};

use super::admission::Joiner;
use super::device::Identity;
use super::entrant::{Entrant, Is};
use super::store::RecordKey;
use super::{Driver, NetworkDone};
use crate::backup::Backup;
use crate::coordinator::Event;
use crate::types::{Eui64, InstallCode};
use crate::wire::DecodeError;

/// As many as are admitted at the most.
const MAX_ROUTERS: usize = 64;

struct Router {
    entrant: Entrant,
    joined: bool,
}

/// Those of one network.
#[derive(Default)]
pub(super) struct Routers {
    members: BTreeMap<Eui64, Router>,
    /// Whose removal is being stored, and who waits for that.
    removals: BTreeMap<Eui64, u64>,
}

impl Routers {
    pub(super) fn is_member(&self, eui: Eui64) -> bool {
        self.members.contains_key(&eui)
    }

    /// What lets it join.
    pub(super) fn identity(&self, eui: Eui64) -> Option<Identity> {
        self.members.get(&eui)?.entrant.identity(eui)
    }

    pub(super) fn record(&self, eui: Eui64) -> Option<Vec<u8>> {
        self.members.get(&eui).map(|router| router.entrant.to_record(router.joined))
    }

    /// Each, and whether it is in the network.
    pub(super) fn list(&self) -> impl Iterator<Item = (Eui64, bool)> + '_ {
        self.members.iter().map(|(eui, router)| (*eui, router.joined))
    }

    pub(super) fn in_network(&self) -> impl Iterator<Item = Eui64> + '_ {
        self.list().filter(|(_, joined)| *joined).map(|(eui, _)| eui)
    }
}

impl Driver {
    /// A record of the store, at the start.
    pub(super) fn load_router(&mut self, eui: Eui64, record: &[u8]) -> Result<(), DecodeError> {
        if self.what_is(eui).is_some() {
            tracing::error!(%eui, "a lock is stored as a router, too; that is passed over");
            return Ok(());
        }
        let (entrant, joined) = Entrant::from_record(record)?;
        self.routers.members.insert(eui, Router { entrant, joined });
        if !joined {
            // Somebody was beside it when the daemon stopped.
            self.joins.push(Joiner::Router(eui));
        }
        Ok(())
    }

    pub(super) fn list_routers(&mut self, token: u64) {
        self.replies.push_back((token, Ok(NetworkDone::Routers(self.routers.list().collect()))));
    }

    /// Answered once it is durable; then the network opens for it.
    pub(super) fn admit_router(&mut self, token: u64, eui: Eui64, code: InstallCode) {
        match self.admissible_router(eui, &code) {
            Err(why) => self.replies.push_back((token, Err(why))),
            Ok(false) => {
                // The installer is beside it again.
                self.joins.push(Joiner::Router(eui));
                self.replies.push_back((token, Ok(NetworkDone::Done)));
            }
            Ok(true) => {
                let router = Router { entrant: Entrant::new(code, token), joined: false };
                self.routers.members.insert(eui, router);
                self.writer.mark_urgent(RecordKey::Router(eui));
            }
        }
    }

    /// True: to be stored; false: it is known already.
    fn admissible_router(&self, eui: Eui64, code: &InstallCode) -> Result<bool, String> {
        match (self.what_is(eui), self.routers.members.get(&eui)) {
            (Some(Is::Sealed), _) => Err(format!("device {eui} is a lock")),
            (Some(Is::Ordinary), _) => Err(format!("device {eui} is admitted as an ordinary lock")),
            (_, Some(router)) => router.entrant.again("router", eui, code).map(|()| false),
            (_, None) if self.routers.members.len() >= MAX_ROUTERS => {
                Err(format!("{MAX_ROUTERS} routers are admitted, as many as there may be"))
            }
            (_, None) => Ok(true),
        }
    }

    /// Answered once it is durable.
    pub(super) fn remove_router(&mut self, token: u64, eui: Eui64) {
        let Some(mut router) = self.routers.members.remove(&eui) else {
            return self.replies.push_back((token, Err(format!("no router {eui} is admitted"))));
        };
        if let Some(waiting) = router.entrant.stored() {
            self.replies.push_back((waiting, Err("the router was removed meanwhile".into())));
        }
        self.joins.forget(Joiner::Router(eui));
        self.writer.mark_urgent(RecordKey::Router(eui));
        self.dismiss(eui);
        self.routers.removals.insert(eui, token);
    }

    /// What was written of routers is durable, or is not.
    pub(super) fn routers_stored(&mut self, keys: &BTreeSet<RecordKey>, failure: Option<&str>) {
        for key in keys {
            let RecordKey::Router(eui) = *key else { continue };
            if let Some(token) = self.routers.removals.remove(&eui) {
                let result = failure.map_or(Ok(NetworkDone::Done), |error| Err(error.to_owned()));
                self.replies.push_back((token, result));
            }
            let Some(router) = self.routers.members.get_mut(&eui) else { continue };
            let Some(token) = router.entrant.stored() else { continue };
            let result = match failure {
                None => {
                    self.welcome(eui, Joiner::Router(eui));
                    Ok(NetworkDone::Done)
                }
                Some(error) => {
                    self.routers.members.remove(&eui);
                    Err(error.to_owned())
                }
            };
            self.replies.push_back((token, result));
        }
    }

    /// Takes what concerns a router; gives back what does not.
    pub(super) fn router_event(&mut self, now: cardea_radio::Millis, event: Event) -> Option<Event> {
        match event {
            Event::Joined { eui, .. } if self.routers.is_member(eui) => {
                self.join_ended(eui);
                self.notice = None;
                self.backup_soon(now);
                self.router_is(eui, true);
            }
            Event::Rejoined { eui, .. } if self.routers.is_member(eui) => self.router_is(eui, true),
            Event::Left { eui } if self.routers.is_member(eui) => {
                self.gone(eui);
                self.backup_soon(now);
                self.router_is(eui, false);
            }
            // Reports of its own, which nobody asked for.
            Event::Received(received) if self.routers.is_member(received.eui) => {
                self.counters.foreign = self.counters.foreign.saturating_add(1);
            }
            other => return Some(other),
        }
        None
    }

    fn router_is(&mut self, eui: Eui64, joined: bool) {
        let Some(router) = self.routers.members.get_mut(&eui).filter(|router| router.entrant.is_stored())
        else {
            return;
        };
        if std::mem::replace(&mut router.joined, joined) != joined {
            self.writer.mark(RecordKey::Router(eui));
        }
        if joined {
            self.joins.is_in(Joiner::Router(eui));
        }
    }

    /// Another network than before: all must join anew, if it is one of ours from the start.
    pub(super) fn routers_moved(&mut self, new: bool) {
        for eui in self.routers.members.keys().copied().collect::<Vec<_>>() {
            self.router_is(eui, false);
            if new {
                self.joins.push(Joiner::Router(eui));
            }
        }
    }

    /// A backup was restored: those that it does not have must join anew. How many they are.
    pub(super) fn routers_restored(&mut self, backup: &Backup) -> usize {
        let missing: Vec<Eui64> =
            self.routers.members.keys().copied().filter(|eui| !backup.has(*eui)).collect();
        for eui in &missing {
            self.router_is(*eui, false);
            self.joins.push(Joiner::Router(*eui));
        }
        missing.len()
    }
}
