//! The commands that every cluster has (ZCL §2.5).

use super::value::{DataType, Value};
use crate::wire::{DecodeError, Field, Reader};

const READ: u8 = 0x00;
const READ_RESPONSE: u8 = 0x01;
const WRITE: u8 = 0x02;
const WRITE_RESPONSE: u8 = 0x04;
const CONFIGURE: u8 = 0x06;
const CONFIGURE_RESPONSE: u8 = 0x07;
const REPORT: u8 = 0x0A;
pub(super) const DEFAULT_RESPONSE: u8 = 0x0B;

/// A global command. An attribute is a number of its cluster; a status of 0 is success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Global {
    /// Give me these attributes.
    Read(Vec<u16>),
    /// Values, or why not.
    ReadResponse(Vec<(u16, Result<Value, u8>)>),
    /// Set these attributes.
    Write(Vec<(u16, Value)>),
    /// Those that were not set, and why; none: all were.
    WriteResponse(Vec<(u8, u16)>),
    /// Report these attributes.
    ConfigureReporting(Vec<Reporting>),
    /// Those that will not be reported, and why; none: all will.
    ConfigureReportingResponse(Vec<Configured>),
    /// Values, unasked.
    Report(Vec<(u16, Value)>),
    /// How a command went.
    DefaultResponse {
        /// The command.
        command: u8,
        /// 0: well.
        status: u8,
    },
}

/// How an attribute is to be reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reporting {
    /// By who is asked.
    Send {
        /// Which attribute.
        attribute: u16,
        /// Its type.
        data_type: DataType,
        /// Seconds between two reports at least.
        min_seconds: u16,
        /// Seconds between two reports at most; 0xFFFF: never.
        max_seconds: u16,
        /// The change that is worth a report; only numbers have one.
        change: Option<Value>,
    },
    /// By who asks.
    Receive {
        /// Which attribute.
        attribute: u16,
        /// Seconds after which it counts as missing.
        timeout_seconds: u16,
    },
}

/// An attribute that will not be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configured {
    /// Why.
    pub status: u8,
    /// 0 sent, 1 received.
    pub direction: u8,
    /// Which attribute.
    pub attribute: u16,
}

impl Global {
    /// Reads the payload of a global command.
    ///
    /// # Errors
    /// See [`DecodeError`]; [`DecodeError::UnknownCall`] with the number of a command that is not read here.
    pub fn parse(command: u8, payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let reader = &mut reader;
        Ok(match command {
            READ => Self::Read(list(reader, |reader| reader.u16())?),
            READ_RESPONSE => Self::ReadResponse(list(reader, |reader| {
                let attribute = reader.u16()?;
                let status = reader.u8()?;
                Ok((attribute, if status == 0 { Ok(Value::read(reader)?) } else { Err(status) }))
            })?),
            WRITE => Self::Write(list(reader, attribute)?),
            WRITE_RESPONSE if payload == [0] => Self::WriteResponse(Vec::new()),
            WRITE_RESPONSE => Self::WriteResponse(list(reader, |reader| Ok((reader.u8()?, reader.u16()?)))?),
            CONFIGURE => Self::ConfigureReporting(list(reader, Reporting::read)?),
            CONFIGURE_RESPONSE if payload == [0] => Self::ConfigureReportingResponse(Vec::new()),
            CONFIGURE_RESPONSE => Self::ConfigureReportingResponse(list(reader, |reader| {
                let [status, direction] = reader.array()?;
                Ok(Configured { status, direction, attribute: reader.u16()? })
            })?),
            REPORT => Self::Report(list(reader, attribute)?),
            DEFAULT_RESPONSE => {
                let [command, status] = reader.array()?;
                reader.finish()?;
                Self::DefaultResponse { command, status }
            }
            other => return Err(DecodeError::UnknownCall(other.into())),
        })
    }

    /// Whether the command of this number answers another one, and is owed no answer.
    #[must_use]
    pub fn is_answer(command: u8) -> bool {
        // Also the answers to reading report configurations and to discovering attributes.
        matches!(
            command,
            READ_RESPONSE | WRITE_RESPONSE | CONFIGURE_RESPONSE | 0x09 | DEFAULT_RESPONSE | 0x0D
        )
    }

    /// The number of the command.
    #[must_use]
    pub fn command(&self) -> u8 {
        match self {
            Self::Read(_) => READ,
            Self::ReadResponse(_) => READ_RESPONSE,
            Self::Write(_) => WRITE,
            Self::WriteResponse(_) => WRITE_RESPONSE,
            Self::ConfigureReporting(_) => CONFIGURE,
            Self::ConfigureReportingResponse(_) => CONFIGURE_RESPONSE,
            Self::Report(_) => REPORT,
            Self::DefaultResponse { .. } => DEFAULT_RESPONSE,
        }
    }

    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Read(attributes) => attributes.iter().for_each(|attribute| attribute.write(&mut out)),
            Self::ReadResponse(records) => {
                for (attribute, value) in records {
                    attribute.write(&mut out);
                    match value {
                        Ok(value) => {
                            out.push(0);
                            value.write(&mut out);
                        }
                        Err(status) => out.push(*status),
                    }
                }
            }
            Self::Write(records) | Self::Report(records) => {
                for (attribute, value) in records {
                    attribute.write(&mut out);
                    value.write(&mut out);
                }
            }
            Self::WriteResponse(failures) => {
                for (status, attribute) in failures {
                    out.push(*status);
                    attribute.write(&mut out);
                }
                if failures.is_empty() {
                    out.push(0);
                }
            }
            Self::ConfigureReporting(records) => records.iter().for_each(|record| record.write(&mut out)),
            Self::ConfigureReportingResponse(failures) => {
                for Configured { status, direction, attribute } in failures {
                    out.extend_from_slice(&[*status, *direction]);
                    attribute.write(&mut out);
                }
                if failures.is_empty() {
                    out.push(0);
                }
            }
            Self::DefaultResponse { command, status } => out.extend_from_slice(&[*command, *status]),
        }
        out
    }
}

impl Reporting {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let direction = reader.u8()?;
        let attribute = reader.u16()?;
        match direction {
            0 => {
                let data_type = DataType(reader.u8()?);
                let (min_seconds, max_seconds) = (reader.u16()?, reader.u16()?);
                let change =
                    if data_type.is_analog() { Some(Value::read_of(data_type, reader)?) } else { None };
                Ok(Self::Send { attribute, data_type, min_seconds, max_seconds, change })
            }
            1 => Ok(Self::Receive { attribute, timeout_seconds: reader.u16()? }),
            _ => Err(DecodeError::Field("the direction of a report")),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Send { attribute, data_type, min_seconds, max_seconds, change } => {
                out.push(0);
                attribute.write(out);
                out.push(data_type.0);
                min_seconds.write(out);
                max_seconds.write(out);
                if let Some(change) = change {
                    change.write_untyped(out);
                }
            }
            Self::Receive { attribute, timeout_seconds } => {
                out.push(1);
                attribute.write(out);
                timeout_seconds.write(out);
            }
        }
    }
}

fn attribute(reader: &mut Reader<'_>) -> Result<(u16, Value), DecodeError> {
    Ok((reader.u16()?, Value::read(reader)?))
}

/// Records to the end of the payload: each has at least one byte, so there are never more than bytes.
fn list<T>(
    reader: &mut Reader<'_>,
    mut record: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut records = Vec::new();
    while !reader.is_empty() {
        records.push(record(reader)?);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(data_type: DataType, number: u64) -> Value {
        Value::number(data_type, number).unwrap()
    }

    #[test]
    fn commands_are_these_bytes() {
        let reporting = Reporting::Send {
            attribute: 0x0021,
            data_type: DataType::UINT8,
            min_seconds: 3_600,
            max_seconds: 43_200,
            change: Some(number(DataType::UINT8, 2)),
        };
        let state = Reporting::Send {
            attribute: 0,
            data_type: DataType::ENUM8,
            min_seconds: 0,
            max_seconds: 3_600,
            change: None,
        };
        let lock_state = number(DataType::ENUM8, 1);
        for (global, hex) in [
            (Global::Read(vec![0x0000, 0x0020]), "00002000"),
            (
                Global::ReadResponse(vec![(0, Ok(lock_state.clone())), (0x0004, Err(0x86))]),
                "00000030010400 86",
            ),
            (Global::Write(vec![(0x0032, number(DataType::BOOLEAN, 0))]), "32001000"),
            (Global::WriteResponse(vec![]), "00"),
            (Global::WriteResponse(vec![(0x88, 0x0032)]), "883200"),
            (Global::ConfigureReporting(vec![reporting, state]), "0021002010 0ec0a802 00000030 0000100e"),
            (
                Global::ConfigureReporting(vec![Reporting::Receive { attribute: 1, timeout_seconds: 2 }]),
                "0101000200",
            ),
            (Global::ConfigureReportingResponse(vec![]), "00"),
            (
                Global::ConfigureReportingResponse(vec![Configured {
                    status: 0x8C,
                    direction: 0,
                    attribute: 0x21,
                }]),
                "8c002100",
            ),
            (Global::Report(vec![(0, lock_state)]), "00003001"),
            (Global::DefaultResponse { command: 1, status: 0x81 }, "0181"),
        ] {
            let hex = hex.replace(' ', "");
            assert_eq!(hex::encode(global.encode()), hex);
            assert_eq!(Global::parse(global.command(), &hex::decode(hex).unwrap()), Ok(global));
        }
    }

    #[test]
    fn half_a_record_and_other_commands_are_refused() {
        assert_eq!(Global::parse(READ, &[0, 0, 1]), Err(DecodeError::Short));
        assert_eq!(Global::parse(DEFAULT_RESPONSE, &[0, 0, 0]), Err(DecodeError::Trailing(1)));
        assert_eq!(Global::parse(0x15, &[]), Err(DecodeError::UnknownCall(0x15)));
        let error = Global::parse(CONFIGURE, &[2, 0, 0]);
        assert_eq!(error, Err(DecodeError::Field("the direction of a report")));
    }
}
