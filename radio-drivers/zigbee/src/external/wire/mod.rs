//! What the gateway and a host program say to each other, on one stream socket. Both ends are of one release; the version in
//! the first message of each says so.
//!
//! ```text
//! 0  length   u16, of all that follows; 1–4,096
//! 2  kind     u8
//! 3  stamp    u64, the gateway's clock in milliseconds; in messages to the host program alone
//! .. body     little-endian fields, lists and texts with their length before them, payloads to the end
//! ```
//!
//! The gateway takes the host program for hostile: what it says is bounded and checked, and its texts are shorn of what
//! could move a terminal's cursor. Orders that name keys of a network that runs never cross.

mod event;

use bytes::Bytes;
use cardea_radio::Millis;
use zeroize::Zeroizing;

use crate::coordinator::{Event, Frame, HostConfig, MAX_ASDU, MAX_PERMIT_SECONDS, Network, Order, Plan};
use crate::descriptors::SimpleDescriptor;
use crate::types::{Eui64, InstallCode, Key};
use crate::wire::{DecodeError, Field, Reader, secret_buffer};
use event::{put_event, put_question, take_event, take_question};

/// The version of what is written here.
pub const VERSION: u8 = 2;
/// Longest message without its length, bytes: the longest frame, descriptor or list of neighbours, and some.
pub const MAX_MESSAGE: usize = 4_096;
/// Longest text, bytes: some lines for an operator.
const MAX_TEXT: usize = 512;

/// To the host program.
#[derive(Debug)]
pub enum ToHost {
    /// The first message.
    Hello(Box<Hello>),
    /// [`Order::Adopt`], [`Order::Admit`], [`Order::Dismiss`], [`Order::Send`], [`Order::Cancel`] or [`Order::Ask`]; others do
    /// not cross.
    Order(Order),
    /// To be answered by [`FromHost::Pong`] with the same number, by whatever does the work.
    Ping(u32),
}

/// What a host program has to know before it does anything.
#[derive(Debug)]
pub struct Hello {
    /// The network that this gateway formed or adopted before.
    pub expected: Option<Network>,
    /// What devices find when they look for us.
    pub host: HostConfig,
    /// The dongle's port, a path.
    pub device: Vec<u8>,
    /// A network to be formed before anything else, and whether what the dongle remembers is erased for it.
    pub form: Option<(Plan, bool)>,
}

/// From the host program.
#[derive(Debug, PartialEq)]
pub enum FromHost {
    /// The first message.
    Hello {
        /// [`VERSION`] of the program.
        version: u8,
        /// What it is, for the log.
        name: String,
    },
    /// Any but [`Event::BackedUp`] and [`Event::KeyRotated`].
    Event(Event),
    /// To [`ToHost::Ping`].
    Pong(u32),
}

mod kind {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const PING: u8 = 0x02;
    pub(super) const ADOPT: u8 = 0x03;
    pub(super) const ADMIT: u8 = 0x04;
    pub(super) const DISMISS: u8 = 0x05;
    pub(super) const SEND: u8 = 0x06;
    pub(super) const CANCEL: u8 = 0x07;
    pub(super) const ASK: u8 = 0x08;
    pub(super) const HELLO_BACK: u8 = 0x81;
    pub(super) const PONG: u8 = 0x82;
    pub(super) const STATE: u8 = 0x83;
    pub(super) const FORMED: u8 = 0x84;
    pub(super) const OPEN: u8 = 0x85;
    pub(super) const JOINED: u8 = 0x86;
    pub(super) const REJOINED: u8 = 0x87;
    pub(super) const JOIN_FAILED: u8 = 0x88;
    pub(super) const LEFT: u8 = 0x89;
    pub(super) const RECEIVED: u8 = 0x8A;
    pub(super) const OUTCOME: u8 = 0x8B;
    pub(super) const ANSWER: u8 = 0x8C;
}

impl ToHost {
    /// The message with its length; `None` for an order that does not cross, or one that is too long.
    #[must_use]
    pub fn encode(&self, now: Millis) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = secret_buffer(MAX_MESSAGE + 2);
        let kind = match self {
            Self::Hello(_) => kind::HELLO,
            Self::Ping(_) => kind::PING,
            Self::Order(Order::Adopt) => kind::ADOPT,
            Self::Order(Order::Admit { .. }) => kind::ADMIT,
            Self::Order(Order::Dismiss(_)) => kind::DISMISS,
            Self::Order(Order::Send(_)) => kind::SEND,
            Self::Order(Order::Cancel { .. }) => kind::CANCEL,
            Self::Order(Order::Ask { .. }) => kind::ASK,
            Self::Order(_) => return None,
        };
        out.extend_from_slice(&[0, 0, kind]);
        put_u64(&mut out, now);
        match self {
            Self::Hello(hello) => hello.write(&mut out),
            Self::Ping(number) => number.write(&mut out),
            Self::Order(Order::Admit { eui, code, seconds }) => {
                eui.write(&mut out);
                seconds.write(&mut out);
                code.write(&mut out);
            }
            Self::Order(Order::Dismiss(eui)) => eui.write(&mut out),
            Self::Order(Order::Send(frame)) => {
                if frame.payload.len() > MAX_ASDU {
                    return None;
                }
                put_u64(&mut out, frame.handle);
                frame.eui.write(&mut out);
                frame.profile.write(&mut out);
                frame.cluster.write(&mut out);
                let [acknowledge, urgent] = [frame.acknowledge, frame.urgent].map(u8::from);
                out.extend_from_slice(&[frame.dst_endpoint, frame.src_endpoint, acknowledge, urgent]);
                put_u64(&mut out, frame.deadline);
                out.extend_from_slice(&frame.payload);
            }
            Self::Order(Order::Cancel { handle }) => put_u64(&mut out, *handle),
            Self::Order(Order::Ask { handle, eui, question }) => {
                put_u64(&mut out, *handle);
                eui.write(&mut out);
                put_question(&mut out, question);
            }
            Self::Order(_) => {}
        }
        with_length(out)
    }

    /// A message without its length, and its stamp.
    ///
    /// # Errors
    /// [`DecodeError`]. A [`Hello`] of another version is one: its fields are not known.
    pub fn parse(message: &[u8]) -> Result<(Millis, Self), DecodeError> {
        let mut reader = Reader::new(message);
        let (kind, stamp) = (reader.u8()?, take_u64(&mut reader)?);
        let message = match kind {
            kind::HELLO => Self::Hello(Box::new(Hello::read(&mut reader)?)),
            kind::PING => Self::Ping(reader.u32()?),
            kind::ADOPT => Self::Order(Order::Adopt),
            kind::ADMIT => {
                let (eui, seconds) = (Eui64::read(&mut reader)?, reader.u8()?);
                if !(1..=MAX_PERMIT_SECONDS).contains(&seconds) {
                    return Err(DecodeError::Field("the time that a network is open"));
                }
                Self::Order(Order::Admit { eui, code: InstallCode::read(&mut reader)?, seconds })
            }
            kind::DISMISS => Self::Order(Order::Dismiss(Eui64::read(&mut reader)?)),
            kind::SEND => {
                let (handle, eui) = (take_u64(&mut reader)?, Eui64::read(&mut reader)?);
                let (profile, cluster) = (reader.u16()?, reader.u16()?);
                let [dst_endpoint, src_endpoint] = reader.array()?;
                let (acknowledge, urgent) = (flag(&mut reader)?, flag(&mut reader)?);
                let deadline = take_u64(&mut reader)?;
                let payload = payload(&mut reader)?;
                Self::Order(Order::Send(Frame {
                    handle,
                    eui,
                    profile,
                    cluster,
                    dst_endpoint,
                    src_endpoint,
                    payload,
                    deadline,
                    acknowledge,
                    urgent,
                }))
            }
            kind::CANCEL => Self::Order(Order::Cancel { handle: take_u64(&mut reader)? }),
            kind::ASK => {
                let (handle, eui) = (take_u64(&mut reader)?, Eui64::read(&mut reader)?);
                Self::Order(Order::Ask { handle, eui, question: take_question(&mut reader)? })
            }
            other => return Err(DecodeError::UnknownCall(other.into())),
        };
        reader.finish()?;
        Ok((stamp, message))
    }
}

impl Field for Hello {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.u8()? != VERSION {
            return Err(DecodeError::Field("the version of the gateway's messages"));
        }
        let expected = optional(reader)?;
        let endpoint = SimpleDescriptor::read(reader)?;
        let host = HostConfig { endpoint, manufacturer: reader.u16()?, max_children: reader.u8()? };
        let len = reader.u16()?;
        let device = reader.take(len.into())?.to_vec();
        let form = if flag(reader)? { Some((Plan::read(reader)?, flag(reader)?)) } else { None };
        Ok(Self { expected, host, device, form })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_optional(out, self.expected.as_ref());
        self.host.endpoint.write(out);
        self.host.manufacturer.write(out);
        self.host.max_children.write(out);
        put_bytes(out, &self.device);
        out.push(u8::from(self.form.is_some()));
        if let Some((plan, replace)) = &self.form {
            plan.write(out);
            out.push(u8::from(*replace));
        }
    }
}

impl Field for Plan {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (channels, extended_pan) = (reader.u32()?, Eui64::read(reader)?);
        Ok(Self { channels, extended_pan, pan: optional(reader)?, key: Key::read(reader)? })
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.channels.write(out);
        self.extended_pan.write(out);
        put_optional(out, self.pan.as_ref());
        self.key.write(out);
    }
}

impl Field for Network {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (coordinator, extended_pan) = (Eui64::read(reader)?, Eui64::read(reader)?);
        let network = Self { coordinator, extended_pan, pan: reader.u16()?, channel: reader.u8()? };
        if !(11..=26).contains(&network.channel) {
            return Err(DecodeError::Field("a network's channel"));
        }
        Ok(network)
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.coordinator.write(out);
        self.extended_pan.write(out);
        self.pan.write(out);
        self.channel.write(out);
    }
}

impl FromHost {
    /// The message with its length; `None` for an event that does not cross, or one that is too long.
    #[must_use]
    pub fn encode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = secret_buffer(MAX_MESSAGE + 2);
        out.extend_from_slice(&[0, 0]);
        match self {
            Self::Hello { version, name } => {
                out.extend_from_slice(&[kind::HELLO_BACK, *version]);
                put_text(&mut out, name);
            }
            Self::Pong(number) => {
                out.push(kind::PONG);
                number.write(&mut out);
            }
            Self::Event(event) => put_event(&mut out, event)?,
        }
        with_length(out)
    }

    /// A message without its length.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn parse(message: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message);
        let message = match reader.u8()? {
            kind::HELLO_BACK => {
                let version = reader.u8()?;
                // What another version says after that is not known.
                let name = if version == VERSION { text(&mut reader)? } else { String::new() };
                if version != VERSION {
                    reader.rest();
                }
                Self::Hello { version, name }
            }
            kind::PONG => Self::Pong(reader.u32()?),
            other => Self::Event(take_event(&mut reader, other)?),
        };
        reader.finish()?;
        Ok(message)
    }
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn take_u64(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    reader.array().map(u64::from_le_bytes)
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Field("a yes or no")),
    }
}

fn put_optional<T: Field>(out: &mut Vec<u8>, value: Option<&T>) {
    out.push(u8::from(value.is_some()));
    value.into_iter().for_each(|value| value.write(out));
}

fn optional<T: Field>(reader: &mut Reader<'_>) -> Result<Option<T>, DecodeError> {
    if flag(reader)? { T::read(reader).map(Some) } else { Ok(None) }
}

fn payload(reader: &mut Reader<'_>) -> Result<Bytes, DecodeError> {
    let payload = reader.rest();
    if payload.len() > MAX_ASDU {
        return Err(DecodeError::Field("the length of a payload"));
    }
    Ok(Bytes::copy_from_slice(payload))
}

/// Cut to what a length fits and a message has room for.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..MAX_TEXT).unwrap_or(bytes);
    u16::try_from(bytes.len()).unwrap_or(0).write(out);
    out.extend_from_slice(bytes);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text).as_bytes());
}

/// Printable text on one line, whatever was sent.
fn text(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let len = usize::from(reader.u16()?);
    if len > MAX_TEXT {
        return Err(DecodeError::Field("the length of a text"));
    }
    let text = std::str::from_utf8(reader.take(len)?).map_err(|_| DecodeError::Field("a text"))?;
    Ok(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

fn with_length(mut message: Zeroizing<Vec<u8>>) -> Option<Zeroizing<Vec<u8>>> {
    let len = u16::try_from(message.len().checked_sub(2)?).ok()?;
    if usize::from(len) > MAX_MESSAGE {
        return None;
    }
    message.first_chunk_mut::<2>().map(|at| *at = len.to_le_bytes())?;
    Some(message)
}

/// Cuts a stream into messages. Keeps no more than one.
pub struct Decoder {
    buffer: Zeroizing<Vec<u8>>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { buffer: secret_buffer(MAX_MESSAGE + 2) }
    }
}

impl Decoder {
    /// Takes bytes of the stream and gives each message that is whole, without its length.
    ///
    /// # Errors
    /// [`DecodeError::Field`] for a length that no message has: where the next one begins is not known any more.
    pub fn push(&mut self, mut bytes: &[u8], mut message: impl FnMut(&[u8])) -> Result<(), DecodeError> {
        while !bytes.is_empty() {
            let wanted = match self.buffer.first_chunk::<2>() {
                None => 2,
                Some(len) => match usize::from(u16::from_le_bytes(*len)) {
                    len @ 1..=MAX_MESSAGE => len.saturating_add(2),
                    _ => return Err(DecodeError::Field("a message's length")),
                },
            };
            let missing = wanted.saturating_sub(self.buffer.len()).min(bytes.len());
            let (taken, rest) = bytes.split_at(missing);
            self.buffer.extend_from_slice(taken);
            bytes = rest;
            if wanted > 2 && self.buffer.len() == wanted {
                message(self.buffer.get(2..).unwrap_or(&[]));
                zeroize::Zeroize::zeroize(self.buffer.as_mut_slice());
                self.buffer.clear();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
