//! Who is behind whom: the neighbour tables of the coordinator and of the routers, asked for slowly.
//!
//! [`Survey`] decides whom to ask next and keeps what was answered; it has no clock and gives no orders. The driver lets it
//! ask only while nothing else wants the air: no join window, no frame under way, no other question, no order of an operator.
//!
//! A table that was read to its end takes the place of the one before it; one that was not changes nothing, so what is known
//! grows old instead of vanishing. Nothing of it is stored: it is true of the air as it was, and is asked again.

mod map;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cardea_radio::Millis;

use super::{Asked, Driver};
use crate::coordinator::{Answer, Failure, Network, Order, Question};
use crate::descriptors::Neighbour;
use crate::types::Eui64;

pub use map::{Behind, MapDevice, MapRole, RadioMap};

/// After the network has come up, milliseconds: locks come back first.
const FIRST_MS: Millis = 60_000;
/// From the end of a round to the beginning of the next one that nobody ordered, milliseconds.
const ROUND_MS: Millis = 900_000;
/// From the beginning of a round to that of one that an operator orders, milliseconds.
pub(super) const ORDERED_MS: Millis = 60_000;
/// Between an answer and the next question, milliseconds. Hosts keep two seconds between theirs.
const PAUSE_MS: Millis = 3_000;
/// A coordinator that does not say what became of a question for so long has lost it, milliseconds.
const LOST_MS: Millis = 120_000;
/// Devices whose tables are read: the coordinator, as many routers as there may be, and locks that route.
const MAX_TABLES: usize = 128;
/// Questions for one table. With three neighbours in an answer, as many as a table can have need 85.
const MAX_PAGES: u8 = 96;
/// Neighbours that are remembered, of all tables together.
const MAX_ENTRIES: usize = 4_096;

/// What one device hears of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// It is its child: everything for it goes by way of this device.
    child: bool,
    /// It carries others' frames.
    routes: bool,
    lqi: u8,
}

/// The neighbours of one device, as it said at some time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Table {
    at: Millis,
    entries: BTreeMap<Eui64, Entry>,
}

/// A table that is being read.
#[derive(Debug)]
struct Reading {
    of: Eui64,
    start: u8,
    pages: u8,
    entries: BTreeMap<Eui64, Entry>,
}

/// All tables, once.
#[derive(Debug)]
struct Round {
    left: VecDeque<Eui64>,
    /// Whoever was or will be asked in this round.
    met: BTreeSet<Eui64>,
    reading: Option<Reading>,
    ask_at: Millis,
    /// A question is on the air; until when that is believed.
    until: Option<Millis>,
}

/// What is known of who hears whom.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Of which network all this is.
    network: Option<Network>,
    round: Option<Round>,
    /// When the next round begins; `None`: the network has not been up yet.
    due: Option<Millis>,
    begun: Option<Millis>,
    ended: Option<Millis>,
    tables: BTreeMap<Eui64, Table>,
    /// Who was asked last and did not answer.
    silent: BTreeSet<Eui64>,
}

impl Survey {
    /// This network runs.
    fn up(&mut self, now: Millis, network: Network) {
        if self.network.replace(network).is_some_and(|before| !before.is(&network)) {
            // Nothing of what was known is true of another.
            *self = Self { network: self.network, ..Self::default() };
        }
        if self.round.is_none() && self.due.is_none() {
            self.due = Some(now.saturating_add(FIRST_MS));
        }
    }

    /// The network does not run any more, and what was asked is not answered: a round begins anew later.
    pub(super) fn interrupted(&mut self, now: Millis) {
        if self.round.take().is_some() {
            self.due = Some(now.saturating_add(FIRST_MS));
        }
    }

    /// An operator wants a round now. `Err`: milliseconds until that may be.
    fn order(&mut self, now: Millis) -> Result<(), Millis> {
        let next = self.begun.map_or(0, |begun| begun.saturating_add(ORDERED_MS));
        if self.round.is_some() {
            return Ok(());
        }
        if now < next {
            return Err(next.saturating_sub(now));
        }
        self.due = Some(now);
        Ok(())
    }

    /// A device came back: whose child it is now is not known.
    pub(super) fn moved(&mut self, eui: Eui64) {
        for table in self.tables.values_mut() {
            if table.entries.get(&eui).is_some_and(|entry| entry.child) {
                table.entries.remove(&eui);
            }
        }
    }

    /// A device is new in the network, or gone.
    pub(super) fn forget(&mut self, eui: Eui64) {
        self.tables.remove(&eui);
        self.silent.remove(&eui);
        for table in self.tables.values_mut() {
            table.entries.remove(&eui);
        }
    }

    /// When there is something to ask, if nothing else wants the air.
    fn ask_at(&self) -> Option<Millis> {
        match &self.round {
            Some(round) => round.until.is_none().then_some(round.ask_at),
            None => self.due,
        }
    }

    /// A round is under way, or begins as soon as the air is quiet.
    fn is_wanted(&self, now: Millis) -> bool {
        self.round.is_some() || self.due.is_some_and(|due| due <= now)
    }

    /// When a question that is on the air is given up.
    fn lost_at(&self) -> Option<Millis> {
        self.round.as_ref()?.until
    }

    /// The next question, if it is time: whom, and from which entry on. `routers` are asked whatever others say of them.
    fn next(
        &mut self,
        now: Millis,
        coordinator: Eui64,
        routers: impl Iterator<Item = Eui64>,
    ) -> Option<(Eui64, u8)> {
        if self.ask_at().is_none_or(|at| at > now) {
            return None;
        }
        let begun = &mut self.begun;
        let round = self.round.get_or_insert_with(|| {
            *begun = Some(now);
            let left: VecDeque<_> = std::iter::once(coordinator).chain(routers).take(MAX_TABLES).collect();
            let met = left.iter().copied().collect();
            Round { left, met, reading: None, ask_at: now, until: None }
        });
        if round.reading.is_none() {
            let of = round.left.pop_front()?;
            round.reading = Some(Reading { of, start: 0, pages: 0, entries: BTreeMap::new() });
        }
        let reading = round.reading.as_ref()?;
        round.until = Some(now.saturating_add(LOST_MS));
        Some((reading.of, reading.start))
    }

    /// There was no room for the question.
    fn not_asked(&mut self, now: Millis) {
        if let Some(round) = &mut self.round {
            (round.until, round.ask_at) = (None, now.saturating_add(PAUSE_MS));
        }
    }

    /// The answer to the question that is on the air. `ours`: whether a device is in the network by our leave; `None`: no answer.
    fn answered(&mut self, now: Millis, answer: Option<(u8, &[Neighbour])>, ours: impl Fn(Eui64) -> bool) {
        let Some(round) = &mut self.round else { return };
        (round.until, round.ask_at) = (None, now.saturating_add(PAUSE_MS));
        let Some(mut reading) = round.reading.take() else { return };
        let of = reading.of;
        match answer {
            None => drop(self.silent.insert(of)),
            Some((total, list)) => {
                self.silent.remove(&of);
                for neighbour in list.iter().filter(|neighbour| ours(neighbour.eui) && neighbour.eui != of) {
                    let entry = Entry::of(neighbour);
                    reading.entries.insert(neighbour.eui, entry);
                    if entry.routes && round.met.len() < MAX_TABLES && round.met.insert(neighbour.eui) {
                        round.left.push_back(neighbour.eui);
                    }
                }
                let read = u8::try_from(list.len()).unwrap_or(u8::MAX);
                reading.pages = reading.pages.saturating_add(1);
                let start = reading.start.saturating_add(read);
                if read > 0 && start < total && reading.pages < MAX_PAGES {
                    reading.start = start;
                    round.reading = Some(reading);
                } else {
                    self.keep(now, of, reading.entries);
                }
            }
        }
        if let Some(Round { left, reading: None, met, .. }) = &self.round
            && left.is_empty()
        {
            // Who was not asked is in the network no more, or routes no more.
            let met = met.clone();
            self.tables.retain(|of, _| met.contains(of));
            self.silent.retain(|of| met.contains(of));
            (self.round, self.ended) = (None, Some(now));
            self.due = Some(now.saturating_add(ROUND_MS));
        }
    }

    fn keep(&mut self, at: Millis, of: Eui64, mut entries: BTreeMap<Eui64, Entry>) {
        let others: usize =
            self.tables.iter().filter(|(other, _)| **other != of).map(|(_, t)| t.entries.len()).sum();
        while entries.len() > MAX_ENTRIES.saturating_sub(others) {
            entries.pop_last();
        }
        self.tables.insert(of, Table { at, entries });
    }
}

impl Entry {
    fn of(neighbour: &Neighbour) -> Self {
        let (role, relation) = (neighbour.kind & 0x03, neighbour.kind >> 4 & 0x07);
        // Only a parent has an end device in its table; 4 is a child of the past.
        let child = relation == 1 || role == 2 && relation != 4;
        Self { child, routes: role < 2, lqi: neighbour.lqi }
    }
}

impl Driver {
    /// Nothing but the survey wants the air.
    fn is_quiet(&self) -> bool {
        self.is_up()
            && self.joins.is_idle()
            && self.flights.is_empty()
            && self.fleet.is_quiet()
            && self.asked.is_empty()
            && self.orders.is_empty()
            && self.formation.is_none()
            && !self.backups.is_under_way()
    }

    /// Asks the next question of the survey, if nothing else wants the air.
    pub(super) fn survey_progress(&mut self, now: Millis) {
        match self.network.as_ref().map(|stored| stored.network) {
            Some(network) if self.is_quiet() => {
                self.survey.up(now, network);
                let (coordinator, routers) = (network.coordinator, self.routers.in_network());
                let Some((eui, start)) = self.survey.next(now, coordinator, routers) else { return };
                match self.ask(Asked::Neighbours) {
                    Some(handle) => {
                        self.orders.push_back(Order::Ask {
                            handle,
                            eui,
                            question: Question::Neighbours { start },
                        });
                    }
                    None => self.survey.not_asked(now),
                }
            }
            _ if !self.is_up() => {
                self.survey.interrupted(now);
                self.asked.retain(|_, asked| !matches!(asked, Asked::Neighbours));
            }
            _ => {}
        }
    }

    pub(super) fn survey_answered(&mut self, now: Millis, answer: Result<Answer, Failure>) {
        let coordinator = self.network.as_ref().map(|stored| stored.network.coordinator);
        let is_ours: BTreeSet<Eui64> = match &answer {
            Ok(Answer::Neighbours { list, .. }) => list
                .iter()
                .map(|neighbour| neighbour.eui)
                .filter(|eui| coordinator == Some(*eui) || self.what_is(*eui).is_some())
                .collect(),
            _ => BTreeSet::new(),
        };
        let ours = |eui| is_ours.contains(&eui);
        match &answer {
            Ok(Answer::Neighbours { total, list }) => self.survey.answered(now, Some((*total, list)), ours),
            _ => self.survey.answered(now, None, ours),
        }
    }

    /// A question whose end the coordinator never told.
    pub(super) fn survey_timeout(&mut self, now: Millis) {
        if self.survey.lost_at().is_some_and(|at| at <= now) {
            self.asked.retain(|_, asked| !matches!(asked, Asked::Neighbours));
            self.survey_answered(now, Err(Failure::NoAnswer));
        }
    }

    pub(super) fn survey_due(&self) -> Option<Millis> {
        let ask = self.survey.ask_at().filter(|_| self.is_quiet());
        self.survey.lost_at().or(ask)
    }
}

#[cfg(test)]
mod tests;
