//! What is done beside the network's traffic, one command after the other: a backup, a change of the network key, and whether
//! a backup can be restored here at all.

use std::collections::{BTreeMap, VecDeque};

use cardea_radio::Millis;

use super::heard::well;
use super::start::Phase;
use super::{Host, Purpose};
use crate::backup::{Backup, Device, LinkKey, NetworkKey};
use crate::coordinator::{Event, Network};
use crate::ezsp::call::{
    Answer, Command, ExportedLinkKey, KeyContext, NetworkKeyInfo, NetworkParameters, Status, config, key,
    security, token,
};
use crate::types::{Eui64, Key, NwkAddr};

/// Between the distribution of a key and the switch to it: a broadcast lives for 9 s, and children that sleep must fetch it.
const SWITCH_MS: Millis = 30_000;
/// What a device without an address has.
const NO_ADDRESS: NwkAddr = NwkAddr(0xFFFF);

/// The commands whose refusal tells that there is nothing.
const LOOKUP: u16 = 0x0060;
const EXPORT_LINK_KEY: u16 = 0x010F;

#[derive(Debug, Default)]
pub(super) struct Chores {
    running: Option<Chore>,
    /// What is to be told next, and not before when.
    steps: VecDeque<(Command, Millis)>,
    told: bool,
    /// How long the next step has to wait, from now on.
    wait: Option<Millis>,
}

#[derive(Debug)]
enum Chore {
    Backup(Box<Taken>),
    Rotation {
        key: Option<Key>,
        number: u8,
    },
    /// Whether this can be restored here.
    Check {
        ahead: Box<Backup>,
        own: Option<Eui64>,
        /// It can take another dongle's address, any number of times.
        takes_address: bool,
        key_table: u16,
    },
}

/// What a backup is made of, as the NCP tells it.
#[derive(Debug, Default)]
struct Taken {
    coordinator: Option<Eui64>,
    parameters: Option<NetworkParameters>,
    key: Option<Key>,
    info: Option<NetworkKeyInfo>,
    hashed: bool,
    secret: Option<Key>,
    link_keys: Vec<ExportedLinkKey>,
    addresses: BTreeMap<Eui64, NwkAddr>,
    /// Whose address is asked for.
    asked: VecDeque<Eui64>,
}

impl Chores {
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        self.steps
            .front()
            .filter(|_| self.running.is_some() && !self.told)
            .map(|(_, at)| *at)
            .filter(|at| *at > 0)
    }
}

impl Host {
    pub(super) fn back_up(&mut self) {
        if !self.is_up() || self.chores.running.is_some() {
            return self.event(Event::BackedUp(Err(self.no_chores())));
        }
        self.begin(
            Chore::Backup(Box::default()),
            [
                Command::GetEui64 {},
                Command::GetNetworkParameters {},
                Command::ExportKey { context: KeyContext::of(key::NETWORK) },
                Command::GetNetworkKeyInfo {},
                Command::GetCurrentSecurityState {},
                Command::GetConfigurationValue { id: config::KEY_TABLE },
            ],
        );
    }

    pub(super) fn rotate_key(&mut self, key: Key) {
        if !self.is_up() || self.chores.running.is_some() {
            return self.event(Event::KeyRotated(Err(self.no_chores())));
        }
        self.begin(Chore::Rotation { key: Some(key), number: 0 }, [Command::GetNetworkKeyInfo {}]);
    }

    /// Nothing is erased before it is sure that the dongle can be told all of it.
    pub(super) fn restore(&mut self, backup: &Backup, replace: bool) {
        let refusal = match backup.check().and_then(|()| backup.jump()) {
            Err(error) => error.to_string(),
            Ok(_) if self.chores.running.is_some() => "another one is under way".into(),
            Ok(ahead) => match self.no_formation(replace) {
                Some(refusal) => refusal.into(),
                None => {
                    let check = Chore::Check {
                        ahead: Box::new(ahead),
                        own: None,
                        takes_address: false,
                        key_table: 0,
                    };
                    return self.begin(
                        check,
                        [
                            Command::GetEui64 {},
                            Command::GetTokenData { token: token::RESTORED_EUI64, index: 0 },
                            Command::GetConfigurationValue { id: config::KEY_TABLE },
                        ],
                    );
                }
            },
        };
        self.event(Event::Formed(Err(refusal)));
    }

    fn begin<const N: usize>(&mut self, chore: Chore, steps: [Command; N]) {
        let steps = steps.map(|command| (command, 0)).into();
        self.chores = Chores { running: Some(chore), steps, told: false, wait: None };
    }

    fn no_chores(&self) -> String {
        if self.is_up() { "another one is under way".into() } else { "the network does not run".into() }
    }

    pub(super) fn chores_progress(&mut self, now: Millis) {
        if self.chores.running.is_none() || self.chores.told {
            return;
        }
        if let (Some(wait), Some((_, at))) = (self.chores.wait.take(), self.chores.steps.front_mut()) {
            *at = now.saturating_add(wait);
        }
        match self.chores.steps.front() {
            None => self.chore_finished(now),
            Some((_, at)) if *at > now => {}
            Some(_) => {
                if let Some((command, _)) = self.chores.steps.pop_front() {
                    self.chores.told = self.tell(command.clone(), Purpose::Chore);
                    if !self.chores.told {
                        // Until there is room; what waits ends sooner or later.
                        self.chores.steps.push_front((command, now.saturating_add(1_000)));
                    }
                }
            }
        }
    }

    pub(super) fn chore_answered(&mut self, id: u16, answer: Result<Answer, String>) {
        self.chores.told = false;
        let answer = well(id, answer);
        let mut more = Vec::new();
        let result = match &mut self.chores.running {
            None => return,
            Some(Chore::Backup(taken)) => taken.take(id, answer, &mut more),
            Some(Chore::Rotation { key, number }) => match answer {
                Ok(Answer::GetNetworkKeyInfo { info, .. }) => {
                    *number = info.number.wrapping_add(1);
                    more.extend(key.take().map(|key| Command::BroadcastNextNetworkKey { key }));
                    Ok(())
                }
                Ok(Answer::BroadcastNextNetworkKey { .. }) => {
                    more.push(Command::BroadcastNetworkKeySwitch {});
                    self.chores.wait = Some(SWITCH_MS);
                    Ok(())
                }
                answer => answer.map(|_| ()).map_err(|(_, why)| why),
            },
            Some(Chore::Check { own, takes_address, key_table, .. }) => {
                match answer {
                    Ok(Answer::GetEui64 { eui }) => *own = Some(eui),
                    Ok(Answer::GetTokenData { .. }) => *takes_address = true,
                    Ok(Answer::GetConfigurationValue { value, .. }) => *key_table = value,
                    _ => {}
                }
                Ok(())
            }
        };
        match result {
            Ok(()) => self.chores.steps.extend(more.into_iter().map(|command| (command, 0))),
            Err(why) => self.chore_failed(&why),
        }
    }

    pub(super) fn chore_failed(&mut self, why: &str) {
        match std::mem::take(&mut self.chores).running {
            None => {}
            Some(Chore::Backup(_)) => self.event(Event::BackedUp(Err(why.into()))),
            Some(Chore::Rotation { .. }) => self.event(Event::KeyRotated(Err(why.into()))),
            Some(Chore::Check { .. }) => self.event(Event::Formed(Err(why.into()))),
        }
    }

    fn chore_finished(&mut self, now: Millis) {
        match std::mem::take(&mut self.chores).running {
            None => {}
            Some(Chore::Rotation { number, .. }) => self.event(Event::KeyRotated(Ok(number))),
            Some(Chore::Backup(taken)) => {
                let backup = taken.backup(|eui| self.addresses.nwk(eui));
                let backup = backup.ok_or_else(|| "the dongle does not say all that it must".to_owned());
                let checked = backup.and_then(|backup| match backup.check() {
                    Ok(()) => Ok(Box::new(backup)),
                    Err(error) => Err(error.to_string()),
                });
                self.event(Event::BackedUp(checked));
            }
            Some(Chore::Check { ahead, own, takes_address, key_table }) => {
                let coordinator = ahead.network.coordinator;
                let other = own != Some(coordinator);
                let refusal = if other && !takes_address {
                    Some("its firmware cannot take another dongle's address")
                } else if ahead.link_keys().count() > usize::from(key_table.min(u8::MAX.into())) {
                    Some("the dongle has no room for the link keys of so many devices")
                } else if !matches!(self.phase, Phase::Unformed | Phase::Foreign(_) | Phase::Up) {
                    Some("the dongle is not ready")
                } else {
                    None
                };
                match refusal {
                    Some(refusal) => self.event(Event::Formed(Err(refusal.into()))),
                    None => self.erase_for(now, ahead, other.then_some(coordinator)),
                }
            }
        }
    }
}

impl Taken {
    fn take(
        &mut self,
        id: u16,
        answer: Result<Answer, (Option<Status>, String)>,
        more: &mut Vec<Command>,
    ) -> Result<(), String> {
        match answer {
            Ok(Answer::GetEui64 { eui }) => self.coordinator = Some(eui),
            Ok(Answer::GetNetworkParameters { parameters, .. }) => self.parameters = Some(parameters),
            Ok(Answer::ExportKey { exported }) if self.key.is_none() => self.key = Some(exported.key),
            Ok(Answer::ExportKey { exported }) => self.secret = Some(exported.key),
            Ok(Answer::GetNetworkKeyInfo { info, .. }) => self.info = Some(info),
            Ok(Answer::GetCurrentSecurityState { state, .. }) => {
                self.hashed = state.bitmask & security::HASHED_LINK_KEYS != 0;
                let context = KeyContext::of(key::TRUST_CENTRE);
                more.extend(self.hashed.then_some(Command::ExportKey { context }));
            }
            Ok(Answer::GetConfigurationValue { value, .. }) => {
                let indexes = 0..u8::try_from(value).unwrap_or(u8::MAX);
                more.extend(indexes.map(|index| Command::ExportLinkKeyByIndex { index }));
            }
            Ok(Answer::ExportLinkKeyByIndex { entry }) => {
                more.push(Command::LookupNodeIdByEui64 { eui: entry.eui });
                self.asked.push_back(entry.eui);
                self.link_keys.push(entry);
            }
            Ok(Answer::LookupNodeIdByEui64 { nwk, .. }) => {
                if let Some(eui) = self.asked.pop_front().filter(|_| nwk.is_unicast() && nwk != NO_ADDRESS) {
                    self.addresses.insert(eui, nwk);
                }
            }
            // Addresses are asked for in the order of the keys; what the NCP does not know is not lost with it.
            Err(_) if id == LOOKUP => drop(self.asked.pop_front()),
            // A free entry of the table.
            Err((Some(Status::NOT_FOUND | Status::INVALID_INDEX), _)) if id == EXPORT_LINK_KEY => {}
            Ok(_) => {}
            Err((_, why)) => return Err(why),
        }
        Ok(())
    }

    /// `None`: something is missing.
    fn backup(self, known: impl Fn(Eui64) -> Option<NwkAddr>) -> Option<Backup> {
        let NetworkParameters { extended_pan, pan, channel, update_id, channels, .. } = self.parameters?;
        let network = Network { coordinator: self.coordinator?, extended_pan, pan, channel };
        let info = self.info.filter(|info| info.set != 0)?;
        let devices = self.link_keys.into_iter().filter(|entry| entry.eui != network.coordinator);
        let devices = devices.map(|ExportedLinkKey { eui, key, metadata, .. }| {
            let nwk = known(eui).or_else(|| self.addresses.get(&eui).copied());
            let link_key = LinkKey { key, rx_counter: metadata.rx_counter, tx_counter: metadata.tx_counter };
            (eui, Device { eui, nwk, child: false, link_key: Some(link_key) })
        });
        let devices: BTreeMap<_, _> = devices.collect();
        Some(Backup {
            source: concat!("cardea@", env!("CARGO_PKG_VERSION")).to_owned(),
            network,
            channels: channels & 0x07FF_F800 | 1u32.checked_shl(channel.into())?,
            update_id,
            key: NetworkKey { key: self.key?, number: info.number, frame_counter: info.frame_counter },
            hashed_link_keys: if self.hashed { Some(self.secret?) } else { None },
            devices: devices.into_values().collect(),
        })
    }
}
