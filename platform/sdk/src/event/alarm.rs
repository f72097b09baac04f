//! What an entry of a lock's log calls for beside being stored.

use std::fmt;

use cardea_framing::LockId;
use cardea_resources::{Bolt, EventKind, PinUse};
use serde::Serialize;

use super::PlatformEvent;

/// Where an event stands in its lock's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The lock's log index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<u32>,
    /// By the lock's clock, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u32>,
    /// Here, Unix milliseconds. Long after `at` for what had to be fetched.
    pub received: u64,
}

/// What a lock raises an alarm about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LockAlarm {
    /// The housing was opened or forced.
    Tamper,
    /// The door stands open for longer than it should.
    DoorAjar,
    /// The bolt is stuck.
    Jam,
    /// The battery is low.
    BatteryLow,
    /// Too many wrong PINs.
    PinPadClosed,
}

impl fmt::Display for LockAlarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tamper => "the housing was opened or forced",
            Self::DoorAjar => "the door stands open for too long",
            Self::Jam => "the bolt is stuck",
            Self::BatteryLow => "the battery is low",
            Self::PinPadClosed => "too many wrong PINs, the pad is closed for a while",
        })
    }
}

/// What an entry of a lock's log calls for beside being stored.
pub(crate) fn call(lock: LockId, kind: EventKind, value: Option<u32>, entry: Entry) -> Option<PlatformEvent> {
    let alarm = match (kind, value) {
        (EventKind::Tamper, _) => LockAlarm::Tamper,
        (EventKind::Door, Some(AJAR)) => LockAlarm::DoorAjar,
        (EventKind::Bolt, Some(bolt)) if bolt == u32::from(Bolt::Jammed.code()) => LockAlarm::Jam,
        (EventKind::Battery, _) => LockAlarm::BatteryLow,
        (EventKind::PinLimit, _) => LockAlarm::PinPadClosed,
        (EventKind::Pin, Some(value)) => {
            let PinUse { slot, duress, failed } = PinUse::from_u32(value)?;
            return Some(match duress {
                true => PlatformEvent::Duress { lock, slot, failed, entry },
                false => PlatformEvent::PinUsed { lock, slot, failed, entry },
            });
        }
        _ => return None,
    };
    Some(PlatformEvent::Alarm { lock, alarm, entry })
}

/// [`EventKind::Door`]: open for longer than it should be.
const AJAR: u32 = 2;
