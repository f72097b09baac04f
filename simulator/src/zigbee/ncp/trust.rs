//! The trust centre: who may join, with which key, and who is sent away.
//!
//! A join takes three indications, as hosts expect them: the device has an address, it announced itself, it was
//! authorised. What a real NCP says to a device without the right key was decided here (docs/zigbee.md).

use cardea_radio::Millis;
use cardea_zigbee::zboss::call::{Indication, policy};
use cardea_zigbee::zboss::hl::Status;
use cardea_zigbee::{Eui64, Key};

use super::{Ncp, status};
use crate::zigbee::air::{AWAY_MS, DeviceConfig, Downlink, SCAN_MS, State, Step};
use crate::zigbee::nvram::{MAX_DEVICES, Member};

/// From the address to the announcement, and from there to the link key.
const KEYS_MS: Millis = 60;
/// How long the trust centre waits for a device that does not go on (bdbTrustCenterNodeJoinTimeout, shortened from 15 s).
const JOIN_TIMEOUT_MS: Millis = 3_000;
/// Kinds of authorisation.
const LEGACY: u8 = 0;
const UNIQUE: u8 = 1;
/// What an update says of a device.
const REJOINED: u8 = 0;
const JOINED: u8 = 1;
const LEFT: u8 = 2;

impl Ncp {
    pub(super) fn permit(&mut self, now: Millis, seconds: u8) -> Result<(), Status> {
        if !self.running {
            return Err(status::INVALID_STATE);
        }
        self.open_until = match seconds {
            u8::MAX => Millis::MAX,
            seconds => now.saturating_add(u64::from(seconds) * 1_000),
        };
        Ok(())
    }

    /// Whether devices can join now.
    #[must_use]
    pub fn is_open(&self, now: Millis) -> bool {
        self.running && now < self.open_until
    }

    /// A device looks for a network.
    pub(super) fn scan(&mut self, now: Millis, eui: Eui64) {
        let full = self.nvram.members.len() >= usize::from(self.settings.max_children).min(MAX_DEVICES);
        let known = self.nvram.members.contains_key(&eui);
        let open = self.is_open(now) && (known || !full);
        let nwk = self.fresh_address();
        let needs_code = self.policy(policy::INSTALL_CODE) == 1;
        let code = self.nvram.codes.get(&eui);
        let Some(device) = self.devices.get_mut(&eui) else { return };
        if !open {
            device.state = State::Apart(now.saturating_add(SCAN_MS));
            return;
        }
        let fits = device.config.link_key() == DeviceConfig::expected_key(code);
        let next = if needs_code && code.is_none() {
            Step::Authorise(UNIQUE, 2)
        } else if !fits {
            Step::Authorise(UNIQUE, 1)
        } else {
            Step::Announce
        };
        let wait = if next == Step::Announce { KEYS_MS } else { JOIN_TIMEOUT_MS };
        device.state = State::Joining(nwk, next, now.saturating_add(wait));
        device.polled = now;
        tracing::debug!(%eui, fits, "a device joins");
        self.nvram.members.insert(eui, Member { nwk, key: None });
        self.indicate(&Indication::DeviceUpdate { eui, nwk, status: JOINED });
    }

    /// The next thing in a join.
    pub(super) fn join_step(&mut self, now: Millis, eui: Eui64) {
        let needs_own_key = self.policy(policy::UNIQUE_LINK_KEY) == 1;
        let Some(device) = self.devices.get_mut(&eui) else { return };
        let State::Joining(nwk, step, _) = device.state else { return };
        match step {
            Step::Announce => {
                let (then, wait) = match (device.config.unique_key, needs_own_key) {
                    (true, _) => (Step::Authorise(UNIQUE, 0), KEYS_MS),
                    (false, false) => (Step::Authorise(LEGACY, 0), KEYS_MS),
                    (false, true) => (Step::Authorise(UNIQUE, 1), JOIN_TIMEOUT_MS),
                };
                device.state = State::Joining(nwk, then, now.saturating_add(wait));
                let mac_capability = device.config.node.mac_capability;
                self.indicate(&Indication::DeviceAnnounce { nwk, eui, mac_capability });
            }
            Step::Authorise(kind, code) => {
                self.indicate(&Indication::DeviceAuthorised { eui, nwk, kind, status: code });
                if code != 0 {
                    self.forget(now, eui);
                    return self.indicate(&Indication::DeviceUpdate { eui, nwk, status: LEFT });
                }
                let own = (kind == UNIQUE).then(|| {
                    let mut key = Key([0; 16]);
                    self.random.fill(&mut key.0);
                    key
                });
                self.nvram.members.insert(eui, Member { nwk, key: own });
                self.traffic.joined = self.traffic.joined.saturating_add(1);
                let Some(stored) = &self.nvram.stored else { return };
                let inside = State::In(stored.network.extended_pan, stored.key.clone());
                if let Some(device) = self.devices.get_mut(&eui) {
                    device.state = inside;
                    device.polled = now;
                }
                self.radio.push_back((eui, Downlink::Joined));
            }
        }
    }

    /// A device is in no network any more; it looks for one after a while.
    pub(super) fn forget(&mut self, now: Millis, eui: Eui64) {
        self.nvram.members.remove(&eui);
        if let Some(device) = self.devices.get_mut(&eui) {
            device.state = State::Apart(now.saturating_add(AWAY_MS));
            device.waiting.clear();
            self.radio.push_back((eui, Downlink::Left));
        }
    }

    /// A device comes back under another address, with the keys that it has.
    pub fn renumber(&mut self, eui: Eui64) {
        let nwk = self.fresh_address();
        let Some(member) = self.nvram.members.get_mut(&eui) else { return };
        member.nwk = nwk;
        let mac_capability = self.devices.get(&eui).map_or(0, |device| device.config.node.mac_capability);
        if self.running {
            self.indicate(&Indication::DeviceUpdate { eui, nwk, status: REJOINED });
            self.indicate(&Indication::DeviceAnnounce { nwk, eui, mac_capability });
        }
    }

    /// The network key was switched: devices that had the one before have the new one.
    pub(super) fn switch_keys(&mut self, before: &Key, after: &Key) {
        for device in self.devices.values_mut() {
            if let State::In(_, key) = &mut device.state
                && key == before
            {
                *key = after.clone();
            }
        }
    }
}
