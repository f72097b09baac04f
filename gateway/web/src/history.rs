//! What was done to the page itself: claimed, recovered, another password, another certificate. That somebody at the gateway set
//! the password anew, or everything back, is never forgotten.

use cardea_radio::Change;
use serde::{Deserialize, Serialize};

/// In the store, before the number of an event.
pub(crate) const PREFIX: &[u8] = b"history/";

/// Events kept; recoveries count, but are not dropped for others.
const KEPT: usize = 100;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    Claimed,
    Password,
    Recovered,
    Certificate,
    OwnCertificate,
    Authority,
    NoAuthority,
    Passkey,
    NoPasskey,
    Reset,
}

impl What {
    /// What is never forgotten: that somebody at the gateway could have taken it over.
    const fn is_permanent(self) -> bool {
        matches!(self, Self::Recovered | Self::Reset)
    }
}

/// It, and when: Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) what: What,
    pub(crate) at: u64,
}

/// All events by their numbers.
#[derive(Default)]
pub(crate) struct History(std::collections::BTreeMap<u64, Event>);

impl History {
    /// Takes what the store has; `None`: it is none of ours.
    pub(crate) fn read(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let number = u64::from_be_bytes(key.strip_prefix(PREFIX)?.try_into().ok()?);
        self.0.insert(number, serde_json::from_slice(value).ok()?);
        Some(())
    }

    /// Adds an event; what the store has to change.
    pub(crate) fn note(&mut self, what: What, at: u64) -> Vec<Change> {
        let number = self.0.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        let event = Event { what, at };
        self.0.insert(number, event);
        let mut changes = vec![Change { key: key(number), value: serde_json::to_vec(&event).ok() }];
        if self.0.len() > KEPT {
            let passing =
                self.0.iter().find(|(_, event)| !event.what.is_permanent()).map(|(number, _)| *number);
            if let Some(oldest) = passing.filter(|oldest| *oldest != number) {
                self.0.remove(&oldest);
                changes.push(Change { key: key(oldest), value: None });
            }
        }
        changes
    }

    /// Whether this was done at this very time.
    pub(crate) fn knows(&self, what: What, at: u64) -> bool {
        self.0.values().any(|event| (event.what, event.at) == (what, at))
    }

    pub(crate) fn newest_first(&self) -> Vec<Event> {
        self.0.values().rev().copied().collect()
    }
}

fn key(number: u64) -> Vec<u8> {
    [PREFIX, &number.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_bounded_and_never_forgets_a_recovery() {
        let mut history = History::default();
        history.note(What::Claimed, 1);
        history.note(What::Recovered, 2);
        history.note(What::Reset, 2);
        for at in 3..500 {
            history.note(What::Password, at);
        }
        let events = history.newest_first();
        assert_eq!(events.len(), KEPT);
        assert_eq!(events.first(), Some(&Event { what: What::Password, at: 499 }));
        assert_eq!(events.last(), Some(&Event { what: What::Recovered, at: 2 }), "and the claim had to go");
        assert!(history.knows(What::Reset, 2) && !history.knows(What::Reset, 3));
    }

    #[test]
    fn what_is_noted_is_read_back_and_what_is_none_of_ours_is_refused() {
        let (mut history, mut read) = (History::default(), History::default());
        for change in history.note(What::Certificate, 7) {
            read.read(&change.key, &change.value.unwrap()).unwrap();
        }
        assert_eq!(read.newest_first(), history.newest_first());
        assert!(read.read(b"history/1", b"{}").is_none());
        assert!(read.read(&key(2), b"{\"what\":\"opened\",\"at\":1}").is_none());
    }
}
