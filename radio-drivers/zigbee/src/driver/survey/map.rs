//! What an operator sees of a survey: each device of ours, and behind which other it is.

use std::collections::BTreeMap;

use cardea_framing::LockId;
use cardea_radio::Millis;

use super::{Driver, Survey};
use crate::driver::NetworkDone;
use crate::types::Eui64;

/// Who is behind whom, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RadioMap {
    /// Tables are being asked for.
    pub surveying: bool,
    /// How long ago the last whole round ended, milliseconds; `None`: there was none since the start.
    pub age_ms: Option<Millis>,
    /// The coordinator, then routers and locks in order of their addresses.
    pub devices: Vec<MapDevice>,
}

/// One device of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapDevice {
    /// Who.
    pub eui: Eui64,
    /// What it is to us.
    pub role: MapRole,
    /// It is in the network.
    pub joined: bool,
    /// Whether it told its neighbours when it was asked last; `None`: it was not asked.
    pub answers: Option<bool>,
    /// By way of whom it is reached; `None`: nobody said.
    pub behind: Option<Behind>,
}

/// What a device is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapRole {
    /// The dongle.
    Coordinator,
    /// It carries others' frames, and nothing else is wanted of it.
    Router,
    /// A sealed lock.
    Sealed(LockId),
    /// An ordinary lock.
    Ordinary,
}

/// By way of whom a device is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Its parent; of a device that routes itself, the neighbour on the shortest way to the coordinator.
    pub eui: Eui64,
    /// How well that one hears it, 0–255.
    pub lqi: u8,
    /// How long ago that was said, milliseconds.
    pub age_ms: Millis,
}

impl Survey {
    /// Everybody's place.
    fn places(&self, now: Millis, coordinator: Eui64) -> BTreeMap<Eui64, Behind> {
        let mut places = BTreeMap::new();
        // The newest word about a child counts: it had another parent before.
        let mut said: BTreeMap<Eui64, (Millis, u8)> = BTreeMap::new();
        for (parent, table) in &self.tables {
            for (eui, entry) in table.entries.iter().filter(|(_, entry)| entry.child) {
                let (at, lqi) = (table.at, entry.lqi);
                if self.routes(*eui) || said.get(eui).is_some_and(|before| *before >= (at, lqi)) {
                    continue;
                }
                said.insert(*eui, (at, lqi));
                places.insert(*eui, Behind { eui: *parent, lqi, age_ms: now.saturating_sub(at) });
            }
        }
        // Those that route have no parent, but ways: each hop adds those that are heard by the last ones, as well as can be.
        let mut ring = vec![coordinator];
        while !ring.is_empty() {
            let mut next: BTreeMap<Eui64, Behind> = BTreeMap::new();
            for by in &ring {
                for (eui, lqi, at) in self.routers_heard_by(*by) {
                    let known = eui == coordinator || places.contains_key(&eui);
                    if known || next.get(&eui).is_some_and(|behind| behind.lqi >= lqi) {
                        continue;
                    }
                    next.insert(eui, Behind { eui: *by, lqi, age_ms: now.saturating_sub(at) });
                }
            }
            ring = next.keys().copied().collect();
            places.extend(next);
        }
        places
    }

    /// Whether it is known to carry others' frames.
    fn routes(&self, eui: Eui64) -> bool {
        self.tables.contains_key(&eui)
            || self.tables.values().any(|table| table.entries.get(&eui).is_some_and(|entry| entry.routes))
    }

    /// Those that route and are neighbours of this one, by its own word or, where it said nothing, by theirs.
    fn routers_heard_by(&self, by: Eui64) -> impl Iterator<Item = (Eui64, u8, Millis)> + '_ {
        let own = self
            .tables
            .get(&by)
            .into_iter()
            .flat_map(|table| table.entries.iter().map(|(eui, entry)| (*eui, entry.lqi, table.at)));
        let others = self.tables.iter().filter_map(move |(eui, table)| {
            let unsaid = self.tables.get(&by).is_none_or(|table| !table.entries.contains_key(eui));
            table.entries.get(&by).filter(|_| unsaid).map(|entry| (*eui, entry.lqi, table.at))
        });
        own.chain(others).filter(|(eui, ..)| self.routes(*eui))
    }

    fn answers(&self, eui: Eui64) -> Option<bool> {
        if self.silent.contains(&eui) { Some(false) } else { self.tables.contains_key(&eui).then_some(true) }
    }
}

impl Driver {
    /// An operator's question; `survey`: a round is to begin, if there was none within the last minute.
    pub(in crate::driver) fn map_for(&mut self, now: Millis, token: u64, survey: bool) {
        let refusal = match survey {
            false => Ok(()),
            true if !self.is_up() => Err("the network does not run, see `cardea status`".to_owned()),
            true => self.survey.order(now).map_err(|wait| {
                format!(
                    "the network was surveyed within the last minute; again in {} s",
                    wait.div_ceil(1_000)
                )
            }),
        };
        self.survey_progress(now);
        let reply = refusal.map(|()| NetworkDone::Map(Box::new(self.map(now))));
        self.replies.push_back((token, reply));
    }

    fn map(&self, now: Millis) -> RadioMap {
        let coordinator = self.network.as_ref().map(|stored| stored.network.coordinator);
        let places = coordinator.map(|eui| self.survey.places(now, eui)).unwrap_or_default();
        let device = |eui, role, joined| {
            let behind = places.get(&eui).copied().filter(|_| joined);
            MapDevice { eui, role, joined, answers: self.survey.answers(eui), behind }
        };
        let mut devices: Vec<_> = self
            .devices
            .iter()
            .map(|(lock, sealed)| device(sealed.identity.eui, MapRole::Sealed(*lock), sealed.joined))
            .chain(self.fleet.list().map(|(eui, joined)| device(eui, MapRole::Ordinary, joined)))
            .chain(self.routers.list().map(|(eui, joined)| device(eui, MapRole::Router, joined)))
            .collect();
        devices.sort_by_key(|device| device.eui);
        devices.splice(0..0, coordinator.map(|eui| device(eui, MapRole::Coordinator, self.is_up())));
        RadioMap {
            surveying: self.survey.is_wanted(now),
            age_ms: self.survey.ended.map(|at| now.saturating_sub(at)),
            devices,
        }
    }
}
