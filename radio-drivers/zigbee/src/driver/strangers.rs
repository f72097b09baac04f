//! Who is in the network, or tries to be, and was not admitted: told upstream, each once in an hour.

use std::collections::BTreeMap;

use cardea_radio::{Event, Millis};

use super::Driver;
use crate::types::Eui64;

/// Between two alarms about one device, milliseconds.
const PAUSE_MS: Millis = 3_600_000;
/// Devices that are remembered, and so the most alarms in an hour. Addresses cost an attacker nothing.
const MAX_STRANGERS: usize = 64;

/// The fixed word of these alarms.
const CAUSE: &str = "stranger";

/// When each was told of last.
#[derive(Default)]
pub(super) struct Strangers(BTreeMap<Eui64, Millis>);

impl Strangers {
    /// Whether this one is to be told of now.
    fn is_news(&mut self, now: Millis, eui: Eui64) -> bool {
        self.0.retain(|_, told| told.saturating_add(PAUSE_MS) > now);
        if self.0.contains_key(&eui) || self.0.len() >= MAX_STRANGERS {
            return false;
        }
        self.0.insert(eui, now);
        true
    }
}

impl Driver {
    /// For the operator at the gateway always, for those upstream now and then.
    pub(super) fn alarm(&mut self, now: Millis, eui: Eui64, words: String) {
        if self.strangers.is_news(now, eui) {
            self.events.push_back(Event::Alarm { cause: CAUSE, detail: format!("Zigbee: {words}") });
        }
        self.notice(now, words);
    }
}
