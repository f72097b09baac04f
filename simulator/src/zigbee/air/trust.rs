//! Who may join, with which key, who comes back, and who is sent away.

use cardea_radio::Millis;
use cardea_zigbee::{Eui64, Key, NwkAddr};

use super::device::{AWAY_MS, Downlink, Inside, SCAN_MS, State, Step};
use super::{Air, Notice, OwnKeys};
use crate::zigbee::nvram::Member;

/// From the address to the announcement, and from there to the link key.
const KEYS_MS: Millis = 60;
/// How long the trust centre waits for a device that does not go on (bdbTrustCenterNodeJoinTimeout, shortened from 15 s).
const JOIN_TIMEOUT_MS: Millis = 3_000;
/// Whose key counts for all that have none of their own (EZSP).
const EVERYBODY: Eui64 = Eui64([0xFF; 8]);

/// What the trust centre makes of a device that wants to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::zigbee) enum Verdict {
    /// It gets the network key, in a form that it can read.
    Welcome,
    /// Its install code is not known, and has to be.
    NoCode,
    /// It gets the network key in a form that it cannot read.
    WrongKey,
}

/// Why a device does not stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::zigbee) enum Refusal {
    NoCode,
    WrongKey,
    /// It took no link key of its own.
    NoOwnKey,
}

/// How a device comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::zigbee) enum Rejoin {
    /// With the network key.
    Secured,
    /// With its link key, because it missed the network key.
    TrustCentre,
}

fn until(now: Millis, seconds: u8) -> Millis {
    match seconds {
        u8::MAX => Millis::MAX,
        seconds => now.saturating_add(u64::from(seconds) * 1_000),
    }
}

impl Air {
    /// Lets devices join for so long; 255: for ever.
    pub(in crate::zigbee) fn permit(&mut self, now: Millis, seconds: u8) {
        self.open_until = until(now, seconds);
    }

    /// Lets devices join routers for so long; 255: for ever.
    pub(in crate::zigbee) fn permit_routers(&mut self, now: Millis, seconds: u8) {
        self.routers_open_until = until(now, seconds);
    }

    /// Whether devices can join now.
    pub(in crate::zigbee) fn is_open(&self, now: Millis) -> bool {
        self.running && self.rules.joins && now < self.open_until
    }

    fn verdict(&self, eui: Eui64, has: &Key) -> Verdict {
        let codes = &self.nvram.codes;
        let code = codes.get(&eui).or_else(|| codes.get(&EVERYBODY));
        match code {
            None if self.rules.codes_required => Verdict::NoCode,
            code if code.or(self.rules.default_key.as_ref()) == Some(has) => Verdict::Welcome,
            _ => Verdict::WrongKey,
        }
    }

    /// A device looks for a network.
    pub(super) fn scan(&mut self, now: Millis, eui: Eui64) {
        let parent = self.parent_for(now, eui, true).filter(|_| self.is_open(now));
        let nwk = self.fresh_address();
        let Some(has) = self.devices.get(&eui).map(|device| device.config.link_key()) else { return };
        let verdict = self.verdict(eui, &has);
        let Some(device) = self.devices.get_mut(&eui) else { return };
        let Some(parent) = parent else {
            device.state = State::Apart(now.saturating_add(SCAN_MS));
            return;
        };
        let (next, wait) = match verdict {
            Verdict::Welcome => (Step::Announce, KEYS_MS),
            Verdict::NoCode => (Step::Refuse(Refusal::NoCode), JOIN_TIMEOUT_MS),
            Verdict::WrongKey => (Step::Refuse(Refusal::WrongKey), JOIN_TIMEOUT_MS),
        };
        device.state = State::Joining(nwk, next, now.saturating_add(wait));
        device.polled = now;
        tracing::debug!(%eui, ?verdict, "a device joins");
        self.nvram.members.insert(eui, Member { nwk, key: None });
        self.adopt(eui, parent);
        self.notice(Notice::Joining { eui, nwk, verdict });
    }

    /// The next thing in a join.
    pub(super) fn join_step(&mut self, now: Millis, eui: Eui64) {
        let needs_own_key = self.rules.own_keys_required;
        let Some(device) = self.devices.get_mut(&eui) else { return };
        let State::Joining(nwk, step, _) = device.state else { return };
        match step {
            Step::Announce => {
                let (then, wait) = match (device.config.unique_key, needs_own_key) {
                    (true, _) => (Step::Admit { own_key: true }, KEYS_MS),
                    (false, false) => (Step::Admit { own_key: false }, KEYS_MS),
                    (false, true) => (Step::Refuse(Refusal::NoOwnKey), JOIN_TIMEOUT_MS),
                };
                device.state = State::Joining(nwk, then, now.saturating_add(wait));
                let mac_capability = device.config.node.mac_capability;
                self.notice(Notice::Announced { eui, nwk, mac_capability });
            }
            Step::Refuse(why) => {
                self.notice(Notice::Refused { eui, nwk, why });
                self.forget(now, eui);
            }
            Step::Admit { own_key } => self.admit(now, eui, nwk, own_key),
        }
    }

    fn admit(&mut self, now: Millis, eui: Eui64, nwk: NwkAddr, own_key: bool) {
        let link_key = match (&self.rules.own_keys, own_key) {
            (_, false) | (OwnKeys::None, _) => None,
            (OwnKeys::Random, true) => {
                let mut key = Key([0; 16]);
                self.random.fill(&mut key.0);
                Some(key)
            }
            (OwnKeys::Hashed(secret), true) => Some(OwnKeys::hashed(secret, eui)),
        };
        let stored_key = link_key.clone().filter(|_| matches!(self.rules.own_keys, OwnKeys::Random));
        self.nvram.members.insert(eui, Member { nwk, key: stored_key });
        self.traffic.joined = self.traffic.joined.saturating_add(1);
        let (coordinator, heard) = (self.eui(), self.count());
        let own_key = link_key.is_some();
        let Some(stored) = &self.nvram.stored else { return };
        let (extended_pan, key) = (stored.network.extended_pan, stored.key.clone());
        if let Some(device) = self.devices.get_mut(&eui) {
            device.state = State::In(Inside { coordinator, extended_pan, nwk, key, link_key, heard });
            device.polled = now;
        }
        self.notice(Notice::Joined { eui, nwk, own_key });
        self.radio.push_back((eui, Downlink::Joined));
    }

    /// Whether both ends have the same link key.
    pub(in crate::zigbee) fn shares_key(&self, eui: Eui64) -> bool {
        let Some(State::In(inside)) = self.devices.get(&eui).map(|device| &device.state) else {
            return false;
        };
        let ours = match &self.rules.own_keys {
            OwnKeys::Hashed(secret) => Some(OwnKeys::hashed(secret, eui)),
            _ => self.nvram.members.get(&eui).and_then(|member| member.key.clone()),
        };
        ours.is_some() && ours == inside.link_key
    }

    /// A device that is in a network, but not one whose coordinator knows it: it comes back, or looks for another.
    pub(super) fn look_around(&mut self, now: Millis, eui: Eui64) {
        if !self.running || self.is_here(eui) {
            return;
        }
        let (Some(device), Some(stored)) = (self.devices.get(&eui), &self.nvram.stored) else { return };
        let State::In(inside) = &device.state else { return };
        if !device.on {
            return;
        }
        if device.parent.is_some_and(|parent| self.is_alive(parent)) {
            // Its router is on, and looks for the network itself.
            return;
        }
        let ours = (inside.coordinator, inside.extended_pan) == (self.eui(), stored.network.extended_pan);
        if ours && inside.key == stored.key {
            // One whose counter is old is not believed: the device waits for its own coordinator.
            if self.next_counter() > inside.heard {
                self.rejoin(now, eui, Rejoin::Secured, inside.nwk);
            }
        } else if ours && self.rules.rejoins && self.shares_key(eui) {
            self.rejoin(now, eui, Rejoin::TrustCentre, inside.nwk);
        } else {
            if let Some(device) = self.devices.get_mut(&eui) {
                device.state = State::Apart(now.saturating_add(SCAN_MS));
            }
            self.radio.push_back((eui, Downlink::Left));
        }
    }

    /// A device is a child again, of the coordinator or of a router, under the address that it wants if nobody has it.
    fn rejoin(&mut self, now: Millis, eui: Eui64, how: Rejoin, wants: NwkAddr) {
        let Some(parent) = self.parent_for(now, eui, false) else { return };
        let taken = self.member_at(wants).is_some_and(|other| other != eui);
        let nwk = if taken { self.fresh_address() } else { wants };
        self.nvram.members.entry(eui).or_insert(Member { nwk, key: None }).nwk = nwk;
        self.adopt(eui, parent);
        let heard = self.count();
        let Some(key) = self.nvram.stored.as_ref().map(|stored| stored.key.clone()) else { return };
        let Some(device) = self.devices.get_mut(&eui) else { return };
        if let State::In(inside) = &mut device.state {
            (inside.nwk, inside.heard, inside.key) = (nwk, heard, key);
        }
        device.polled = now;
        let mac_capability = device.config.node.mac_capability;
        self.traffic.rejoined = self.traffic.rejoined.saturating_add(1);
        self.notice(Notice::Rejoined { eui, nwk, how });
        self.notice(Notice::Announced { eui, nwk, mac_capability });
    }

    /// A device is in no network any more; it looks for one after a while.
    pub(in crate::zigbee) fn forget(&mut self, now: Millis, eui: Eui64) {
        self.nvram.forget(eui);
        if let Some(device) = self.devices.get_mut(&eui) {
            device.state = State::Apart(now.saturating_add(AWAY_MS));
            device.parent = None;
            device.waiting.clear();
            self.radio.push_back((eui, Downlink::Left));
        }
    }

    /// A device comes back under another address, with the keys that it has.
    pub(in crate::zigbee) fn renumber(&mut self, eui: Eui64) {
        let nwk = self.fresh_address();
        let Some(member) = self.nvram.members.get_mut(&eui) else { return };
        member.nwk = nwk;
        let Some(device) = self.devices.get_mut(&eui) else { return };
        if let State::In(inside) = &mut device.state {
            inside.nwk = nwk;
        }
        let mac_capability = device.config.node.mac_capability;
        if self.running {
            self.notice(Notice::Rejoined { eui, nwk, how: Rejoin::Secured });
            self.notice(Notice::Announced { eui, nwk, mac_capability });
        }
    }

    /// The network key was switched: devices that are there and had the one before have the new one.
    pub(in crate::zigbee) fn switch_keys(&mut self, after: &Key, number: u8) {
        let Some(stored) = &mut self.nvram.stored else { return };
        let before = std::mem::replace(&mut stored.key, after.clone());
        stored.key_number = number;
        for device in self.devices.values_mut().filter(|device| device.on) {
            if let State::In(inside) = &mut device.state
                && inside.key == before
            {
                inside.key = after.clone();
            }
        }
    }
}
