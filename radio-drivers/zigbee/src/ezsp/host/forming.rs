//! A network that is formed, adopted, or restored from a backup: by an order, once, and never over one that is remembered.

use cardea_radio::Millis;

use super::Host;
use super::start::{Phase, Step, Then, identity};
use crate::addresses::Addresses;
use crate::backup::Backup;
use crate::coordinator::{Event, Network, Plan, State};
use crate::ezsp::call::{
    Bytes8, Bytes32, Command, NetworkParameters, SecurityState, Since14, Status, security, token, value,
};
use crate::types::{Eui64, NwkAddr};
use crate::wire::Field;

/// How long a formation may wait for the dongle to come back from its reset.
const FORMING_MS: Millis = 60_000;
/// What the link key of devices without their own is derived by. Others put the one here that everybody knows, and a trust centre
/// that lets devices rejoin unsecured would give the network key to whoever claims to be one of these. This one nobody has who
/// is not in the network: install codes are required, and each device gets its own.
const NOBODYS_LINK_KEY: [u8; 16] = *b"cardea link key.";
/// Transmit power of a network that is formed, dBm; as other hosts set it.
const POWER_DBM: u8 = 8;

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
}

impl Host {
    pub(super) fn form(&mut self, now: Millis, plan: Plan, replace: bool) {
        match self.no_formation(replace) {
            Some(refusal) => self.event(Event::Formed(Err(refusal.into()))),
            None => self.erase(now, Goal::New(plan), None),
        }
    }

    pub(super) fn no_formation(&self, replace: bool) -> Option<&'static str> {
        match &self.phase {
            Phase::Unformed => None,
            Phase::Foreign(_) | Phase::Up if replace => None,
            Phase::Foreign(_) | Phase::Up => Some("there is a network; its devices would have to join anew"),
            _ => Some("the dongle is not ready"),
        }
    }

    /// The backup was checked against the dongle; `address`: it must take the other one's.
    pub(super) fn erase_for(&mut self, now: Millis, ahead: Box<Backup>, address: Option<Eui64>) {
        self.erase(now, Goal::Restored(ahead), address);
    }

    fn erase(&mut self, now: Millis, goal: Goal, address: Option<Eui64>) {
        let joined = matches!(self.phase, Phase::Foreign(_) | Phase::Up);
        self.forget_requests();
        self.set_state(State::Starting);
        self.forming = Some(Forming { goal, until: now.saturating_add(FORMING_MS) });
        let mut steps = Vec::new();
        if joined {
            steps.push(Step::Tell(Command::LeaveNetwork { options: Since14(Some(0)) }, false));
            steps.push(Step::Await(Status::NETWORK_DOWN, false));
        }
        steps.push(Step::Tell(Command::ClearKeyTable {}, false));
        steps.push(Step::Tell(Command::TokenFactoryReset { keep_counter: 0, keep_boots: 0 }, false));
        if let Some(eui) = address {
            let mut bytes = Vec::new();
            eui.write(&mut bytes);
            let bytes = Bytes32(bytes.into());
            steps.push(Step::Tell(
                Command::SetTokenData { token: token::RESTORED_EUI64, index: 0, bytes },
                true,
            ));
        }
        self.run(now, steps, Then::Erased);
    }

    pub(super) fn adopt(&mut self, now: Millis) {
        let Phase::Foreign(network) = self.phase else {
            return self.event(Event::Formed(Err("there is no foreign network".into())));
        };
        self.expected = Some(network);
        self.event(Event::Formed(Ok(network)));
        self.close(now);
    }

    pub(super) fn formed(&mut self, now: Millis, network: Network) {
        self.addresses = Addresses::default();
        if let Some(Forming { goal: Goal::Restored(backup), .. }) = self.forming.take() {
            backup.addresses().for_each(|(eui, nwk)| self.addresses.learn(eui, nwk));
        }
        self.expected = Some(network);
        self.event(Event::Formed(Ok(network)));
        self.close(now);
    }

    /// Is it what was ordered? A dongle with a counter that devices have heard would be heard by none of them.
    pub(super) fn restored(&mut self, now: Millis) {
        let Some(Forming { goal: Goal::Restored(backup), .. }) = &self.forming else {
            return self.recover(now, "the dongle started a network that was not ordered");
        };
        let (wanted, counter) = (backup.network, backup.key.frame_counter);
        match self.found.network() {
            Some(found) if found == wanted && self.found.frame_counter.is_some_and(|is| is >= counter) => {
                self.formed(now, found);
            }
            Some(found) => {
                self.abandon_forming(
                    "the dongle did not keep what it was told: it has other ids or an old frame counter",
                );
                self.foreign(found);
            }
            None => self.recover(now, "the dongle does not say which network it is in"),
        }
    }

    pub(super) fn abandon_forming(&mut self, why: &str) {
        if self.forming.take().is_some() {
            self.event(Event::Formed(Err(why.into())));
        }
    }
}

pub(super) fn formation(plan: &Plan) -> Vec<Step> {
    let state = SecurityState {
        bitmask: security::HAVE_PRECONFIGURED
            | security::HAVE_NETWORK_KEY
            | security::GLOBAL_LINK_KEY
            | security::REQUIRE_ENCRYPTED_KEY,
        preconfigured: plan.key.derived(NOBODYS_LINK_KEY),
        network: plan.key.clone(),
        number: 0,
        trust_centre: Eui64([0; 8]),
    };
    // The NCP does not choose: the lowest channel of those that are allowed, and a PAN id made of the 64-bit one.
    let [.., high, low] = plan.extended_pan.0;
    let parameters = NetworkParameters {
        extended_pan: plan.extended_pan,
        pan: plan.pan.unwrap_or(u16::from_be_bytes([high, low]) & 0x3FFF | 1),
        power: POWER_DBM,
        channel: u8::try_from(plan.channels.trailing_zeros()).unwrap_or(0),
        join_method: 0,
        manager: NwkAddr::COORDINATOR,
        update_id: 0,
        channels: plan.channels,
    };
    let mut steps = vec![Step::Tell(Command::SetInitialSecurityState { state }, true)];
    steps.push(Step::Tell(Command::FormNetwork { parameters }, true));
    steps.push(Step::Await(Status::NETWORK_UP, true));
    steps.extend(identity());
    steps
}

/// Counters before the keys that they count for, and both before the network runs: afterwards they are not taken.
pub(super) fn restoration(backup: &Backup) -> Vec<Step> {
    let counter = |id, counter: u32| {
        let bytes = Bytes8::from(&counter.to_le_bytes()[..]);
        Step::Tell(Command::SetValue { id, bytes }, true)
    };
    let mut bitmask = security::HAVE_PRECONFIGURED
        | security::HAVE_NETWORK_KEY
        | security::GLOBAL_LINK_KEY
        | security::REQUIRE_ENCRYPTED_KEY
        | security::HAVE_TRUST_CENTRE
        | security::KEEP_COUNTERS;
    if backup.hashed_link_keys.is_some() {
        bitmask |= security::HASHED_LINK_KEYS;
    }
    let state = SecurityState {
        bitmask,
        preconfigured: backup
            .hashed_link_keys
            .clone()
            .unwrap_or_else(|| backup.key.key.derived(NOBODYS_LINK_KEY)),
        network: backup.key.key.clone(),
        number: backup.key.number,
        trust_centre: backup.network.coordinator,
    };
    let parameters = NetworkParameters {
        extended_pan: backup.network.extended_pan,
        pan: backup.network.pan,
        power: POWER_DBM,
        channel: backup.network.channel,
        join_method: 0,
        manager: NwkAddr::COORDINATOR,
        update_id: backup.update_id,
        channels: backup.channels,
    };
    let mut steps = vec![
        counter(value::NWK_FRAME_COUNTER, backup.key.frame_counter),
        counter(value::APS_FRAME_COUNTER, backup.link_frame_counter()),
        Step::Tell(Command::SetInitialSecurityState { state }, true),
    ];
    steps.extend(backup.link_keys().zip(0u8..).map(|((eui, link_key), index)| {
        Step::Tell(Command::ImportLinkKey { index, eui, key: link_key.key.clone() }, true)
    }));
    steps.push(Step::Tell(Command::FormNetwork { parameters }, true));
    steps.push(Step::Await(Status::NETWORK_UP, true));
    steps.extend(identity());
    steps.push(Step::Tell(Command::GetNetworkKeyInfo {}, true));
    steps
}
