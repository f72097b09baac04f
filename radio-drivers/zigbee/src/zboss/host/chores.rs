//! What is done beside the network's traffic, one request after the other: a backup, a change of the network key.

use std::collections::{BTreeMap, VecDeque};

use cardea_radio::Millis;

use super::start::identity;
use super::{ANSWER_MS, Host, Purpose, refusal};
use crate::backup::{Backup, Device, LinkKey, NetworkKey};
use crate::coordinator::{Event, Network};
use crate::types::{Eui64, Key, NwkAddr};
use crate::zboss::call::{
    AddressMap, ApsSecure, Dataset, DatasetBytes, IbCounters, NumberedKey, Request, Response, SecureEntry,
};
use crate::zboss::hl::Status;

/// Devices that the datasets have room for: one byte counts them.
pub(super) const MAX_ENTRIES: usize = 255;

#[derive(Debug, Default)]
pub(super) struct Chores {
    running: Option<Chore>,
    /// What is to be asked next. The first waits for the link.
    steps: VecDeque<Request>,
    asked: bool,
}

#[derive(Debug)]
enum Chore {
    Backup(Box<Taken>),
    Rotation { key: Option<Key>, number: u8 },
}

/// What a backup is made of, as the NCP tells it.
#[derive(Debug, Default)]
struct Taken {
    coordinator: Option<Eui64>,
    extended_pan: Option<Eui64>,
    pan: Option<u16>,
    channel: Option<u8>,
    channels: u32,
    key: Option<NumberedKey>,
    counters: Option<IbCounters>,
    link_keys: Vec<SecureEntry>,
    addresses: Vec<(Eui64, NwkAddr)>,
}

impl Host {
    pub(super) fn back_up(&mut self, now: Millis) {
        if !self.is_up() || self.chores.running.is_some() {
            return self.event(Event::BackedUp(Err(self.no_chores())));
        }
        let mut steps: VecDeque<_> = identity().into_iter().map(|(request, _)| request).collect();
        steps.extend([Request::GetChannelMask {}, Request::GetNwkKeys {}]);
        let datasets = [IbCounters::DATASET, ApsSecure::DATASET, AddressMap::DATASET];
        steps.extend(datasets.map(|dataset| Request::NvramRead { dataset }));
        self.chores = Chores { running: Some(Chore::Backup(Box::default())), steps, asked: false };
        self.chores_progress(now);
    }

    /// The NCP distributes a key that it has beside the active one, and then switches.
    pub(super) fn rotate_key(&mut self, now: Millis, key: Key) {
        if !self.is_up() || self.chores.running.is_some() {
            return self.event(Event::KeyRotated(Err(self.no_chores())));
        }
        let running = Some(Chore::Rotation { key: Some(key), number: 0 });
        self.chores = Chores { running, steps: [Request::GetNwkKeys {}].into(), asked: false };
        self.chores_progress(now);
    }

    fn no_chores(&self) -> String {
        if self.is_up() { "another one is under way".into() } else { "the network does not run".into() }
    }

    pub(super) fn chores_progress(&mut self, now: Millis) {
        if self.chores.running.is_none() || self.chores.asked {
            return;
        }
        let Some(request) = self.chores.steps.pop_front() else { return self.chore_finished() };
        if self.request(now, &request, ANSWER_MS, Purpose::Chore) {
            self.chores.asked = true;
        } else {
            self.chores.steps.push_front(request);
        }
    }

    pub(super) fn chore_answered(
        &mut self,
        now: Millis,
        call: u16,
        answer: Result<Response, Option<Status>>,
    ) {
        self.chores.asked = false;
        let taken = match (&mut self.chores.running, answer) {
            (None, _) => return,
            // A network that nobody joined has neither addresses nor link keys; without its counter it cannot be moved.
            (Some(Chore::Backup(taken)), Err(Some(_))) if call == NVRAM_READ && taken.counters.is_some() => {
                Ok(())
            }
            (_, Err(status)) => Err(refusal(call, status)),
            (Some(Chore::Backup(taken)), Ok(answer)) => taken.take(answer),
            (Some(Chore::Rotation { key, number }), Ok(Response::GetNwkKeys { first, .. })) => {
                *number = first.number.wrapping_add(1);
                if let Some(key) = key.take() {
                    let key = NumberedKey { key, number: *number };
                    let steps = [Request::SetNwkKey { key }, Request::SecurInitiateKeySwitch {}];
                    self.chores.steps.extend(steps);
                }
                Ok(())
            }
            (Some(Chore::Rotation { .. }), Ok(_)) => Ok(()),
        };
        match taken {
            Ok(()) => self.chores_progress(now),
            Err(why) => self.chore_failed(&why),
        }
    }

    pub(super) fn chore_failed(&mut self, why: &str) {
        match std::mem::take(&mut self.chores).running {
            None => {}
            Some(Chore::Backup(_)) => self.event(Event::BackedUp(Err(why.into()))),
            Some(Chore::Rotation { .. }) => self.event(Event::KeyRotated(Err(why.into()))),
        }
    }

    fn chore_finished(&mut self) {
        match std::mem::take(&mut self.chores).running {
            None => {}
            Some(Chore::Rotation { number, .. }) => self.event(Event::KeyRotated(Ok(number))),
            Some(Chore::Backup(taken)) => {
                let backup =
                    taken.backup().ok_or_else(|| "the dongle does not say all that it must".to_owned());
                let checked = backup.and_then(|backup| match backup.check() {
                    Ok(()) => Ok(Box::new(backup)),
                    Err(error) => Err(error.to_string()),
                });
                self.event(Event::BackedUp(checked));
            }
        }
    }
}

/// The call under which datasets are read.
const NVRAM_READ: u16 = 0x002F;

impl Taken {
    fn take(&mut self, answer: Response) -> Result<(), String> {
        match answer {
            Response::GetLocalIeee { eui, .. } => self.coordinator = Some(eui),
            Response::GetExtendedPanId { pan } => self.extended_pan = Some(pan.0),
            Response::GetPanId { pan } => self.pan = Some(pan),
            Response::GetChannel { channel, .. } => self.channel = Some(channel),
            Response::GetChannelMask { masks } => {
                let masks = masks.0.iter().filter(|mask| mask.page == 0);
                self.channels = masks.fold(0, |channels, mask| channels | mask.mask);
            }
            Response::GetNwkKeys { first, .. } => self.key = Some(first),
            Response::NvramRead { dataset, version, data, .. } => {
                self.dataset(dataset, version, &data.0)
                    .map_err(|error| format!("dataset {dataset}: {error}"))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn dataset(&mut self, dataset: u16, version: u16, data: &[u8]) -> Result<(), crate::DecodeError> {
        match dataset {
            IbCounters::DATASET => self.counters = Some(IbCounters::parse(data)?),
            ApsSecure::DATASET => self.link_keys = ApsSecure::parse(data)?.0,
            AddressMap::DATASET => self.addresses = AddressMap::parse(version, data)?.0,
            _ => {}
        }
        Ok(())
    }

    /// `None`: something is missing.
    fn backup(self) -> Option<Backup> {
        let network = Network {
            coordinator: self.coordinator?,
            extended_pan: self.extended_pan?,
            pan: self.pan?,
            channel: self.channel?,
        };
        let (NumberedKey { key, number }, counters) = (self.key?, self.counters?);
        let mut devices: BTreeMap<Eui64, Device> = BTreeMap::new();
        let others = |eui: &Eui64| *eui != network.coordinator;
        let blank = |eui| Device { eui, nwk: None, child: false, link_key: None };
        for (eui, nwk) in self.addresses.into_iter().filter(|(eui, nwk)| others(eui) && nwk.is_unicast()) {
            devices.entry(eui).or_insert_with(|| blank(eui)).nwk = Some(nwk);
        }
        for SecureEntry { eui, key, .. } in self.link_keys.into_iter().filter(|entry| others(&entry.eui)) {
            // One counter for all that is sent; what was received last is not told.
            let link_key = LinkKey { key, rx_counter: 0, tx_counter: counters.aib };
            devices.entry(eui).or_insert_with(|| blank(eui)).link_key = Some(link_key);
        }
        Some(Backup {
            source: concat!("cardea@", env!("CARGO_PKG_VERSION")).to_owned(),
            network,
            channels: self.channels & 0x07FF_F800 | 1u32.checked_shl(network.channel.into())?,
            // The NCP does not tell it.
            update_id: 0,
            key: NetworkKey { key, number, frame_counter: counters.nib },
            hashed_link_keys: None,
            devices: devices.into_values().collect(),
        })
    }
}

/// What an NCP is told of a backup, in the order in which zigpy-zboss tells it: counters, link keys, addresses.
pub(super) fn datasets(backup: &Backup) -> impl Iterator<Item = Dataset> {
    let counters = IbCounters { nib: backup.key.frame_counter, aib: backup.link_frame_counter() };
    let entry = |(eui, link_key): (Eui64, &LinkKey)| SecureEntry {
        eui,
        key: link_key.key.clone(),
        flags: SecureEntry::UNIQUE_AND_VERIFIED,
    };
    let link_keys = ApsSecure(backup.link_keys().map(entry).collect());
    let addresses = AddressMap(backup.addresses().collect());
    let counters =
        Dataset { kind: IbCounters::DATASET, version: 1, data: DatasetBytes(counters.encode().into()) };
    let link_keys = (!link_keys.0.is_empty()).then(|| Dataset {
        kind: ApsSecure::DATASET,
        version: 0,
        data: DatasetBytes(link_keys.encode()),
    });
    let addresses = (!addresses.0.is_empty()).then(|| Dataset {
        kind: AddressMap::DATASET,
        version: AddressMap::VERSION,
        data: DatasetBytes(addresses.encode().into()),
    });
    [Some(counters), link_keys, addresses].into_iter().flatten()
}
