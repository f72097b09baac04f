//! The Door Lock cluster of ordinary locks (ZCL §7.3), without what opens doors: PINs and RFID codes are stepped over where
//! they stand in a message and kept nowhere, and messages that carry nothing else are not read. Commands have no PIN.

use super::value::Value;
use crate::wire::{DecodeError, Reader};

/// Attribute, enumeration: see [`LockState`].
pub const LOCK_STATE: u16 = 0x0000;
/// Attribute, boolean: the bolt can move.
pub const ACTUATOR_ENABLED: u16 = 0x0002;
/// Attribute, enumeration: 0 open, 1 closed, 2 jammed, 3 forced open, 4 error, 0xFF undefined.
pub const DOOR_STATE: u16 = 0x0003;
/// Attribute, u32: seconds until it locks itself; 0: never.
pub const AUTO_RELOCK_TIME: u16 = 0x0023;
/// Attribute, boolean: whether PINs go over the air in the lock's events. A gateway that must stay blind keeps it 0.
pub const SEND_PIN_OVER_THE_AIR: u16 = 0x0032;
/// Attribute, boolean: whether commands over the air need a PIN.
pub const REQUIRE_PIN_FOR_RF: u16 = 0x0033;
/// Attribute, bitmap: alarms that are sent.
pub const ALARM_MASK: u16 = 0x0040;

/// Alarm: the bolt is stuck (ZCL §7.3.2.13).
pub const ALARM_JAMMED: u8 = 0x00;

/// Command to the lock.
pub const LOCK: u8 = 0x00;
/// Command to the lock.
pub const UNLOCK: u8 = 0x01;
const TOGGLE: u8 = 0x02;
const UNLOCK_WITH_TIMEOUT: u8 = 0x03;
const LOG_RECORD: u8 = 0x04;
/// The first command of a lock that is no answer: an operation event.
pub(crate) const OPERATION: u8 = 0x20;
const PROGRAMMING: u8 = 0x21;

/// Where the bolt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockState {
    /// Neither here nor there: jammed, or on its way.
    NotFullyLocked,
    /// The bolt is out.
    Locked,
    /// The bolt is in.
    Unlocked,
    /// The lock does not know.
    Undefined,
}

impl LockState {
    /// Of attribute [`LOCK_STATE`].
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        Some(match value.unsigned()? {
            0 => Self::NotFullyLocked,
            1 => Self::Locked,
            2 => Self::Unlocked,
            0xFF => Self::Undefined,
            _ => return None,
        })
    }
}

/// By what means something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A PIN at the keypad.
    Keypad,
    /// A command over the air.
    Rf,
    /// A key or the inside knob.
    Manual,
    /// A card.
    Rfid,
    /// Not said.
    Other,
}

impl Source {
    fn new(source: u8) -> Self {
        match source {
            0 => Self::Keypad,
            1 => Self::Rf,
            2 => Self::Manual,
            3 => Self::Rfid,
            _ => Self::Other,
        }
    }
}

/// What a lock says, less its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockMessage {
    /// The answer to [`LOCK`] (0), [`UNLOCK`] (1), toggle (2), unlock with timeout (3). A status of 0 says that the lock
    /// accepted, not that the bolt moved.
    Answer {
        /// The command.
        command: u8,
        /// 0: accepted.
        status: u8,
    },
    /// The bolt moved, or did not.
    Operation {
        /// By what means.
        source: Source,
        /// ZCL table 7-27: 1 lock, 2 unlock, 3 and 4 lock failed, 5 and 6 unlock failed, …
        code: u8,
        /// Which user slot.
        user: u16,
        /// The lock's local time, seconds since 2000-01-01.
        local_time: u32,
    },
    /// Somebody changed a user or a code; which code is not read.
    Programming {
        /// By what means.
        source: Source,
        /// ZCL table 7-33.
        code: u8,
        /// Which user slot.
        user: u16,
        /// The lock's local time, seconds since 2000-01-01.
        local_time: u32,
    },
    /// An entry of the lock's log.
    LogRecord {
        /// Its number.
        entry: u16,
        /// Seconds since 2000-01-01.
        time: u32,
        /// 0 operation, 1 programming, 2 alarm.
        kind: u8,
        /// By what means.
        source: Source,
        /// As in the event of that kind.
        code: u8,
        /// Which user slot.
        user: u16,
    },
    /// A message about credentials: nothing of it is read.
    Credentials {
        /// Its number.
        command: u8,
    },
}

impl LockMessage {
    /// Reads what a lock (the server) says.
    ///
    /// # Errors
    /// See [`DecodeError`]; [`DecodeError::UnknownCall`] with the number of a command that no lock has.
    pub fn parse(command: u8, payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        Ok(match command {
            LOCK | UNLOCK | TOGGLE | UNLOCK_WITH_TIMEOUT => Self::Answer { command, status: reader.u8()? },
            LOG_RECORD => {
                let (entry, time) = (reader.u16()?, reader.u32()?);
                let [kind, source, code] = reader.array()?;
                let user = reader.u16()?;
                step_over_secret(&mut reader)?;
                Self::LogRecord { entry, time, kind, source: Source::new(source), code, user }
            }
            OPERATION => {
                let [source, code] = reader.array()?;
                let user = reader.u16()?;
                step_over_secret(&mut reader)?;
                let local_time = reader.u32()?;
                Self::Operation { source: Source::new(source), code, user, local_time }
            }
            PROGRAMMING => {
                let [source, code] = reader.array()?;
                let user = reader.u16()?;
                step_over_secret(&mut reader)?;
                let [_user_type, _user_status] = reader.array()?;
                let local_time = reader.u32()?;
                Self::Programming { source: Source::new(source), code, user, local_time }
            }
            // Users, PINs, schedules, cards.
            0x05..=0x1F => Self::Credentials { command },
            other => return Err(DecodeError::UnknownCall(other.into())),
        })
    }
}

/// A PIN or a card's code: one byte says how long, 0xFF that there is none.
fn step_over_secret(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match reader.u8()? {
        u8::MAX => Ok(()),
        length => reader.take(length.into()).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zcl::DataType;

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex.replace(' ', "")).unwrap()
    }

    fn parse(command: u8, hex: &str) -> Result<LockMessage, DecodeError> {
        LockMessage::parse(command, &bytes(hex))
    }

    #[test]
    fn events_are_read_past_the_pin() {
        let operation =
            LockMessage::Operation { source: Source::Keypad, code: 2, user: 7, local_time: 0x30E0_1234 };
        for pin in ["04 31323334", "00", "ff"] {
            assert_eq!(parse(OPERATION, &format!("00 02 0700 {pin} 3412e030 00")), Ok(operation.clone()));
        }
        let programming = LockMessage::Programming { source: Source::Rf, code: 2, user: 7, local_time: 1 };
        assert_eq!(parse(PROGRAMMING, "01 02 0700 04 31323334 00 01 01000000 00"), Ok(programming));
        let record =
            LockMessage::LogRecord { entry: 3, time: 1, kind: 0, source: Source::Manual, code: 1, user: 7 };
        assert_eq!(parse(LOG_RECORD, "0300 01000000 00 02 01 0700 04 31323334"), Ok(record));
        assert_eq!(parse(LOCK, "00"), Ok(LockMessage::Answer { command: 0, status: 0 }));
    }

    /// The PIN 1234 in every message that may carry one, as characters and as digits: no trace of it comes out.
    #[test]
    fn no_pin_comes_out_of_any_message() {
        let pin = "0431323334";
        for (command, hex) in [
            (OPERATION, format!("00020700{pin}3412e03000")),
            (PROGRAMMING, format!("01020700{pin}00010100000000")),
            (LOG_RECORD, format!("0300010000000002010700{pin}")),
            (0x06, format!("07000100{pin}")),
            (0x17, format!("07000100{pin}")),
        ] {
            let message = parse(command, &hex).unwrap();
            let shown = format!("{message:?}");
            assert!(
                !shown.contains("1234") && !shown.contains("49, 50") && !shown.contains("31323334"),
                "{shown}"
            );
            // Another PIN gives the same message: nothing depends on it.
            assert_eq!(parse(command, &hex.replace("31323334", "39383736")), Ok(message));
        }
    }

    #[test]
    fn what_is_cut_or_unknown_is_refused() {
        assert_eq!(parse(OPERATION, "0002070004313233"), Err(DecodeError::Short));
        assert_eq!(parse(0x22, "00"), Err(DecodeError::UnknownCall(0x22)));
    }

    #[test]
    fn a_state_that_nobody_defined_is_no_state() {
        let state = |number| LockState::of(&Value::number(DataType::ENUM8, number).unwrap());
        assert_eq!(state(1), Some(LockState::Locked));
        assert_eq!((state(0), state(2)), (Some(LockState::NotFullyLocked), Some(LockState::Unlocked)));
        assert_eq!((state(0xFF), state(3)), (Some(LockState::Undefined), None));
    }
}
