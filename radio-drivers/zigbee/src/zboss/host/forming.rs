//! A network that is formed, adopted, or restored from a backup: by an order, once, and never over one that is remembered.

use cardea_radio::Millis;

use super::chores::{MAX_ENTRIES, datasets};
use super::start::{Phase, identity, policies};
use super::{Host, reset};
use crate::addresses::Addresses;
use crate::backup::Backup;
use crate::coordinator::{Event, Network, Plan, State};
use crate::types::NwkAddr;
use crate::zboss::call::{ChannelMask, Counted, NumberedKey, Request};

/// How long a formation may wait for the dongle to come back from its reset.
const FORMING_MS: Millis = 60_000;

/// What is to be formed, and until when the dongle may take to come back from its reset.
#[derive(Debug)]
pub(super) struct Forming {
    pub(super) goal: Goal,
    pub(super) until: Millis,
}

#[derive(Debug)]
pub(super) enum Goal {
    /// A new network.
    New(Plan),
    /// Another dongle's, with counters far ahead.
    Restored(Box<Backup>),
    /// It was written; the dongle starts from it.
    Written(Box<Backup>),
}

impl Host {
    pub(super) fn form(&mut self, now: Millis, plan: Plan, replace: bool) {
        self.form_goal(now, Goal::New(plan), replace);
    }

    pub(super) fn restore(&mut self, now: Millis, backup: &Backup, replace: bool) {
        let ahead = backup.check().and_then(|()| backup.jump());
        let refusal = match ahead {
            Err(error) => error.to_string(),
            Ok(_) if backup.hashed_link_keys.is_some() => {
                "the devices' link keys come from a secret that only a Silicon Labs dongle can use".into()
            }
            Ok(_) if backup.devices.len() > MAX_ENTRIES => "more devices than this dongle can be told".into(),
            Ok(ahead) => return self.form_goal(now, Goal::Restored(Box::new(ahead)), replace),
        };
        self.event(Event::Formed(Err(refusal)));
    }

    fn form_goal(&mut self, now: Millis, goal: Goal, replace: bool) {
        let refusal = match &self.phase {
            Phase::Unformed => None,
            Phase::Foreign(_) | Phase::Up if replace => None,
            Phase::Foreign(_) | Phase::Up => Some("there is a network; its devices would have to join anew"),
            _ => Some("the dongle is not ready"),
        };
        if let Some(refusal) = refusal {
            return self.event(Event::Formed(Err(refusal.into())));
        }
        self.forming = Some(Forming { goal, until: now.saturating_add(FORMING_MS) });
        self.reset(now, reset::FACTORY);
    }

    pub(super) fn adopt(&mut self, now: Millis) {
        let Phase::Foreign(network) = self.phase else {
            return self.event(Event::Formed(Err("there is no foreign network".into())));
        };
        self.expected = Some(network);
        self.event(Event::Formed(Ok(network)));
        self.configure(now);
    }

    pub(super) fn formed(&mut self, now: Millis, network: Network) {
        self.addresses = Addresses::default();
        if let Some(Forming { goal: Goal::Written(backup), .. }) = self.forming.take() {
            backup.addresses().for_each(|(eui, nwk)| self.addresses.learn(eui, nwk));
        }
        self.expected = Some(network);
        self.event(Event::Formed(Ok(network)));
        self.configure(now);
    }

    /// Started from what was written: is it that? A dongle with a counter that devices have heard would be deaf to none and
    /// heard by none.
    pub(super) fn restored(&mut self, now: Millis) {
        let Some(Forming { goal: Goal::Written(backup), .. }) = &self.forming else {
            return self.recover(now, "the dongle started a network that was not ordered");
        };
        let (wanted, counter) = (backup.network, backup.key.frame_counter);
        match self.found.network() {
            Some(found) if found == wanted && self.found.frame_counter.is_some_and(|is| is >= counter) => {
                self.formed(now, found);
            }
            found => {
                self.abandon_forming(
                    "the dongle did not keep what was written: it has other ids or an old frame counter",
                );
                match found {
                    Some(found) => {
                        self.phase = Phase::Foreign(found);
                        self.set_state(State::Foreign(found));
                    }
                    None => self.recover(now, "the dongle does not say which network it is in"),
                }
            }
        }
    }

    pub(super) fn abandon_forming(&mut self, why: &str) {
        if self.forming.take().is_some() {
            self.event(Event::Formed(Err(why.into())));
        }
    }
}

/// The PAN id comes after the formation, which would choose another one.
pub(super) fn formation(plan: &Plan) -> Vec<(Request, bool)> {
    let mut steps = found_network(plan, 0);
    steps.extend(identity());
    steps
}

/// The coordinator's own address first, since everything else is stored under it; what zigpy-zboss writes in the end, in its order.
pub(super) fn restoration(backup: &Backup) -> Vec<(Request, bool)> {
    let Network { coordinator, extended_pan, pan, channel } = backup.network;
    let key = backup.key.key.clone();
    let plan = Plan { channels: 1 << channel, extended_pan, pan: Some(pan), key };
    let mut steps = vec![(Request::SetLocalIeee { interface: 0, eui: coordinator }, true)];
    steps.extend(found_network(&plan, backup.key.number));
    steps.extend(
        datasets(backup).map(|dataset| (Request::NvramWrite { datasets: Counted(vec![dataset]) }, true)),
    );
    steps
}

fn found_network(plan: &Plan, key_number: u8) -> Vec<(Request, bool)> {
    let mask = ChannelMask { page: 0, mask: plan.channels };
    let mut steps = vec![
        (Request::SetZigbeeRole { role: 0 }, true),
        (Request::SetExtendedPanId { pan: plan.extended_pan }, true),
        (Request::SetChannelMask { mask: mask.clone() }, true),
        (Request::SetNwkKey { key: NumberedKey { key: plan.key.clone(), number: key_number } }, true),
    ];
    steps.extend(policies());
    steps.push((
        Request::NwkFormation {
            channels: Counted(vec![mask]),
            scan_duration: 5,
            distributed: 0,
            distributed_nwk: NwkAddr(0),
            extended_pan: plan.extended_pan,
        },
        true,
    ));
    steps.extend(plan.pan.map(|pan| (Request::SetPanId { pan }, true)));
    steps
}
