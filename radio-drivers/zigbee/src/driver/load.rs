//! The driver as it starts: with what the store remembers of its network.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cardea_radio::{Event, Record};
use zeroize::Zeroizing;

use super::admission::Joins;
use super::backups::Backups;
use super::device::Device;
use super::ordinary::Fleet;
use super::restore::Restore;
use super::routers::Routers;
use super::store::{self, RecordKey, StoredNetwork, StoredPlan, Writer};
use super::strangers::Strangers;
use super::survey::Survey;
use super::{Counters, Driver, DriverConfig, RecordError, Wall, kept};
use crate::coordinator::State;
use crate::wire::DecodeError;

impl Driver {
    /// A driver with what the store remembers of its network.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn new(config: DriverConfig, records: Vec<Record>) -> Result<Self, RecordError> {
        let fleet = Fleet::new(config.ordinary.clone());
        let mut driver = Self {
            config,
            state: State::Down("the port is not open".into()),
            network: None,
            plan: None,
            formation: None,
            restore: None,
            next_key: None,
            kept: None,
            taken: None,
            backups: Backups::default(),
            strangers: Strangers::default(),
            devices: BTreeMap::new(),
            by_eui: BTreeMap::new(),
            admitting: BTreeMap::new(),
            joins: Joins::default(),
            fleet,
            routers: Routers::default(),
            survey: Survey::default(),
            leaving: BTreeMap::new(),
            flights: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_question: 0,
            due: BTreeSet::new(),
            sequence: 0,
            writer: Writer::default(),
            notice: None,
            health: None,
            counters: Counters::default(),
            now: 0,
            wall: Wall::default(),
            orders: VecDeque::new(),
            events: VecDeque::new(),
            replies: VecDeque::new(),
        };
        // Locks, ordinary ones, routers: what is stored as two of them is the first, in whatever order the store gives them.
        let mut records = records;
        records.sort_by_key(|(key, _)| match RecordKey::decode(key) {
            Some(RecordKey::Router(_)) => 2,
            Some(RecordKey::Ordinary(_)) => 1,
            _ => 0,
        });
        for (key, value) in records {
            let value = Zeroizing::new(value);
            let unreadable =
                |_: DecodeError| RecordError(String::from_utf8_lossy(&key).escape_debug().to_string());
            match RecordKey::decode(&key) {
                Some(RecordKey::Network) => {
                    driver.network = Some(StoredNetwork::from_record(&value).map_err(unreadable)?);
                }
                Some(RecordKey::Plan) => {
                    driver.plan = Some(StoredPlan::from_record(&value).map_err(unreadable)?);
                }
                Some(RecordKey::Device(lock)) => {
                    let device = Device::from_record(&value).map_err(unreadable)?;
                    driver.by_eui.insert(device.identity.eui, lock);
                    driver.devices.insert(lock, device);
                }
                Some(RecordKey::Leaving(eui)) => drop(driver.leaving.insert(eui, false)),
                Some(RecordKey::Kept) => {
                    let (backup, taken) = kept::from_record(&value).map_err(unreadable)?;
                    (driver.kept, driver.taken) = (Some(backup), taken);
                }
                Some(RecordKey::Restore) => {
                    let (backup, _) = kept::from_record(&value).map_err(unreadable)?;
                    driver.restore = Some(Restore::interrupted(backup));
                }
                Some(RecordKey::NextKey) => {
                    driver.next_key = Some(store::next_key_from_record(&value).map_err(unreadable)?);
                }
                Some(RecordKey::Ordinary(eui)) => driver.load_ordinary(eui, &value).map_err(unreadable)?,
                Some(RecordKey::Router(eui)) => driver.load_router(eui, &value).map_err(unreadable)?,
                None => {}
            }
        }
        driver.events.push_back(Event::Admits(driver.devices.keys().copied().collect()));
        for (lock, device) in &driver.devices {
            driver.events.extend(device.link(*lock));
            if !device.joined {
                // Somebody was at the door when the daemon stopped.
                driver.joins.push(*lock);
            }
        }
        driver.check_health();
        Ok(driver)
    }
}
