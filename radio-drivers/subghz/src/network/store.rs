//! What survives a restart: the link layer's records, and one of our own.

use cardea_framing::LockId;
use cardea_radio::{Change, NetworkStoreError, Record};
use cardea_subghz_link::{Profile, RecordName};
use zeroize::Zeroizing;

use super::{Network, NetworkConfig, RecordError, STORE_PAUSE, Seeds};
use crate::Micros;

const SETTINGS: &[u8] = b"433/settings";
const NETWORK: &[u8] = b"433/network";
const LOCK: &[u8] = b"433/lock/";
/// Of the record of [`Settings`].
const VERSION: u8 = 1;
/// The budget of an hour is stored in so many parts, cut off, so that a restart does not begin a new hour.
const PARTS: u64 = 100;

/// What is ours to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// Network id.
    pub(super) id: u8,
    pub(super) profile: u8,
    /// Profile and id when the last lock joined.
    pub(super) joined_under: Option<(u8, u8)>,
    /// How much of the hour's budget was spent, in parts of [`PARTS`].
    pub(super) spent: u8,
}

impl Settings {
    pub(super) fn new(config: &NetworkConfig, seeds: &Seeds) -> Self {
        let id = config.id.unwrap_or(seeds.id);
        Self { id, profile: number(config.profile), joined_under: None, spent: 0 }
    }

    pub(super) fn now(&self) -> (u8, u8) {
        (self.profile, self.id)
    }

    pub(super) fn spent_before(&self, config: &NetworkConfig) -> Micros {
        config.region.budget() / PARTS * u64::from(self.spent)
    }

    fn to_record(&self) -> Vec<u8> {
        let (profile, id) = self.joined_under.unwrap_or((0xFF, 0));
        vec![VERSION, self.id, self.profile, profile, id, self.spent]
    }

    fn from_record(record: &[u8]) -> Option<Self> {
        let [VERSION, id, profile, under_profile, under_id, spent] = *record else { return None };
        let joined_under = (under_profile != 0xFF).then_some((under_profile, under_id));
        (u64::from(spent) <= PARTS).then_some(Self { id, profile, joined_under, spent })
    }
}

const fn number(profile: Profile) -> u8 {
    match profile {
        Profile::Slow => 0,
        Profile::Standard => 1,
        Profile::Fast => 2,
        Profile::Serial(_) => 3,
    }
}

pub(super) const fn profile_name(number: u8) -> &'static str {
    match number {
        0 => "slow",
        1 => "standard",
        2 => "fast",
        3 => "serial",
        _ => "(unknown)",
    }
}

/// What was found in the store.
pub(super) struct Stored {
    pub(super) settings: Option<Settings>,
    /// The link layer's, by what they are called in a message.
    pub(super) link: Vec<(String, Zeroizing<Vec<u8>>)>,
}

impl Stored {
    pub(super) fn read(records: Vec<Record>) -> Result<Self, RecordError> {
        let mut stored = Self { settings: None, link: Vec::new() };
        for (key, value) in records {
            let value = Zeroizing::new(value);
            let name = String::from_utf8_lossy(&key).escape_debug().to_string();
            if key == SETTINGS {
                stored.settings = Some(Settings::from_record(&value).ok_or(RecordError(name))?);
            } else if key == NETWORK || key.starts_with(LOCK) {
                stored.link.push((name, value));
            }
        }
        Ok(stored)
    }
}

/// What the store is asked, one transaction at a time.
pub(super) struct Commits {
    last: u64,
    under_way: Option<What>,
    settings_dirty: bool,
    /// The network id is stored before anything that locks are told with it.
    settings_stored: bool,
    pause: Option<Micros>,
    trouble: Option<String>,
}

enum What {
    Settings,
    Link(RecordName),
}

impl Commits {
    pub(super) fn new(settings_dirty: bool) -> Self {
        Self {
            last: 0,
            under_way: None,
            settings_dirty,
            settings_stored: !settings_dirty,
            pause: None,
            trouble: None,
        }
    }

    pub(super) fn settings_changed(&mut self) {
        self.settings_dirty = true;
    }

    pub(super) fn handle_timeout(&mut self, now: Micros) {
        self.pause.take_if(|until| now >= *until);
    }

    pub(super) fn due(&self) -> Option<Micros> {
        self.pause
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

impl Network {
    /// The next transaction for the store; answer it with [`handle_stored`](Self::handle_stored).
    pub fn poll_commit(&mut self) -> Option<(u64, Vec<Change>)> {
        if self.commits.under_way.is_some() || self.commits.pause.is_some() {
            return None;
        }
        let (what, change) = if self.commits.settings_dirty {
            self.commits.settings_dirty = false;
            let value = Some(self.settings.to_record());
            (What::Settings, Change { key: SETTINGS.to_vec(), value })
        } else if self.commits.settings_stored {
            let record = self.link.poll_store()?;
            let key = match record.name {
                RecordName::Network => NETWORK.to_vec(),
                RecordName::Lock(lock) => [LOCK, hex::encode(lock).as_bytes()].concat(),
            };
            let value = record.content.map(|content| content.to_vec());
            (What::Link(record.name), Change { key, value })
        } else {
            return None;
        };
        self.commits.last += 1;
        self.commits.under_way = Some(what);
        Some((self.commits.last, vec![change]))
    }

    pub(super) fn commit_answered(
        &mut self,
        now: Micros,
        commit: u64,
        result: Result<(), NetworkStoreError>,
    ) {
        if commit != self.commits.last {
            return;
        }
        let Some(what) = self.commits.under_way.take() else { return };
        if let Err(error) = &result {
            tracing::error!(%error, "a 433 MHz counter or key could not be stored");
            self.commits.pause = Some(now.saturating_add(STORE_PAUSE));
        }
        match (&what, &result) {
            (What::Settings, Ok(())) => self.commits.settings_stored = true,
            (What::Settings, Err(_)) => self.commits.settings_dirty = true,
            (What::Link(_), stored) => self.link.handle_stored(now, stored.is_ok()),
        }
        if let (What::Link(RecordName::Lock(lock)), Err(error)) = (&what, &result) {
            self.not_stored(LockId(*lock), error.to_string());
        }
        self.commits.trouble = result.err().map(|error| error.to_string());
    }

    /// Notes in the store what of the hour's budget is spent.
    pub(super) fn note_airtime(&mut self, now: Micros) {
        let part = self.config.region.budget() / PARTS;
        let spent = u8::try_from((self.link.air_time(now) / part).min(PARTS)).unwrap_or(0);
        let stored = self.settings.spent;
        // Less is noted only when it is much less: what is stored too high errs on the right side, and flash wears out.
        if spent > stored || spent + 4 < stored || (spent <= 1 && stored > 1) {
            self.settings.spent = spent;
            self.commits.settings_dirty = true;
        }
    }
}
