//! What commands are made of, beyond addresses and integers, and where protocol 14 changed them.

use zeroize::Zeroizing;

use crate::types::{Eui64, NwkAddr};
use crate::wire::{DecodeError, Field, Reader};

/// The version of EZSP that an NCP speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Protocol(pub u8);

impl Protocol {
    /// EmberZNet 7.4.
    pub const OLDEST: Self = Self(13);
    /// Simplicity SDK 2025.12.
    pub const NEWEST: Self = Self(19);

    /// From protocol 14 on a status has 32 bits and stands first in most answers.
    #[must_use]
    pub fn is_wide(self) -> bool {
        self >= Self(14)
    }
}

/// Anything with a place in a command, in the layout of one protocol.
pub(crate) trait Wire: Sized {
    fn read(reader: &mut Reader<'_>, protocol: Protocol) -> Result<Self, DecodeError>;
    fn write(&self, protocol: Protocol, out: &mut Vec<u8>);
}

impl<T: Field> Wire for T {
    fn read(reader: &mut Reader<'_>, _: Protocol) -> Result<Self, DecodeError> {
        <T as Field>::read(reader)
    }

    fn write(&self, _: Protocol, out: &mut Vec<u8>) {
        Field::write(self, out);
    }
}

macro_rules! record {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty),* }

        impl Field for $name {
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self { $($field: <$ty as Field>::read(reader)?),* })
            }
            fn write(&self, out: &mut Vec<u8>) {
                $(Field::write(&self.$field, out);)*
            }
        }
    };
}

pub(super) use record;

/// How something went, in the numbers of protocol 14 (`sl_status_t`). What protocol 13 says is translated; what has no
/// translation keeps its number above [`Status::EMBER`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// All is well.
    pub const OK: Self = Self(0x00);
    /// Not now.
    pub const INVALID_STATE: Self = Self(0x02);
    /// The network runs.
    pub const NETWORK_UP: Self = Self(0x15);
    /// The network does not run any more.
    pub const NETWORK_DOWN: Self = Self(0x16);
    /// There is no network to resume.
    pub const NOT_JOINED: Self = Self(0x17);
    /// No buffers.
    pub const NO_BUFFERS: Self = Self(0x19);
    /// No such entry.
    pub const INVALID_INDEX: Self = Self(0x27);
    /// Nothing there.
    pub const NOT_FOUND: Self = Self(0x2D);
    /// A payload that does not fit one frame.
    pub const TOO_LONG: Self = Self(0x38);
    /// No acknowledgement came.
    pub const DELIVERY_FAILED: Self = Self(0x0C02);
    /// Too many frames are on their way.
    pub const TOO_MANY: Self = Self(0x0C03);
    /// Where untranslated numbers of protocol 13 begin.
    pub const EMBER: u32 = 0x0100_0000;

    /// Numbers of protocol 13 (`EmberStatus`).
    const TRANSLATED: [(u8, Self); 10] = [
        (0x00, Self::OK),
        (0x03, Self::NOT_FOUND),
        (0x18, Self::NO_BUFFERS),
        (0x66, Self::DELIVERY_FAILED),
        (0x72, Self::TOO_MANY),
        (0x74, Self::TOO_LONG),
        (0x90, Self::NETWORK_UP),
        (0x91, Self::NETWORK_DOWN),
        (0x93, Self::NOT_JOINED),
        (0xB1, Self::INVALID_INDEX),
    ];

    /// All is well.
    #[must_use]
    pub fn is_ok(self) -> bool {
        self == Self::OK
    }
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.checked_sub(Self::EMBER) {
            Some(ember) => write!(f, "Ember status {ember:#04x}"),
            None => write!(f, "status {:#06x}", self.0),
        }
    }
}

impl Wire for Status {
    fn read(reader: &mut Reader<'_>, protocol: Protocol) -> Result<Self, DecodeError> {
        if protocol.is_wide() {
            return reader.u32().map(Self);
        }
        let ember = reader.u8()?;
        let known = Self::TRANSLATED.iter().find(|(number, _)| *number == ember);
        Ok(known.map_or(Self(Self::EMBER | u32::from(ember)), |(_, status)| *status))
    }

    fn write(&self, protocol: Protocol, out: &mut Vec<u8>) {
        if protocol.is_wide() {
            return Field::write(&self.0, out);
        }
        let known = Self::TRANSLATED.iter().find(|(_, status)| status == self).map(|(number, _)| *number);
        let [low, ..] = self.0.to_le_bytes();
        // 0x70: an invalid call.
        out.push(known.unwrap_or(if self.0 >= Self::EMBER { low } else { 0x70 }));
    }
}

/// A status that has 32 bits in every protocol: those of the security manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongStatus(pub Status);

impl Field for LongStatus {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u32().map(|status| Self(Status(status)))
    }

    fn write(&self, out: &mut Vec<u8>) {
        Field::write(&self.0.0, out);
    }
}

/// What is there from protocol 14 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since14<T>(pub Option<T>);

impl<T: Wire> Wire for Since14<T> {
    fn read(reader: &mut Reader<'_>, protocol: Protocol) -> Result<Self, DecodeError> {
        protocol.is_wide().then(|| T::read(reader, protocol)).transpose().map(Self)
    }

    fn write(&self, protocol: Protocol, out: &mut Vec<u8>) {
        if let Some(value) = self.0.as_ref().filter(|_| protocol.is_wide()) {
            value.write(protocol, out);
        }
    }
}

/// What the host calls a message by: 8 bits before protocol 14, 16 since. We use 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(pub u16);

impl Wire for Tag {
    fn read(reader: &mut Reader<'_>, protocol: Protocol) -> Result<Self, DecodeError> {
        if protocol.is_wide() { reader.u16() } else { reader.u8().map(u16::from) }.map(Self)
    }

    fn write(&self, protocol: Protocol, out: &mut Vec<u8>) {
        let [low, high] = self.0.to_le_bytes();
        out.push(low);
        if protocol.is_wide() {
            out.push(high);
        }
    }
}

/// Bytes behind one byte that counts them. Erased when dropped, shown nowhere: they may be a key or a payload.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes8(pub Zeroizing<Vec<u8>>);

/// Bytes behind four bytes that count them.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes32(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Bytes8 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

impl std::fmt::Debug for Bytes32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

impl From<&[u8]> for Bytes8 {
    fn from(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

impl Field for Bytes8 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = reader.u8()?;
        Ok(Self(Zeroizing::new(reader.take(len.into())?.to_vec())))
    }

    fn write(&self, out: &mut Vec<u8>) {
        let len = u8::try_from(self.0.len()).unwrap_or(u8::MAX);
        out.push(len);
        out.extend_from_slice(self.0.get(..len.into()).unwrap_or(&self.0));
    }
}

impl Field for Bytes32 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = usize::try_from(reader.u32()?).map_err(|_| DecodeError::Short)?;
        Ok(Self(Zeroizing::new(reader.take(len)?.to_vec())))
    }

    fn write(&self, out: &mut Vec<u8>) {
        Field::write(&u32::try_from(self.0.len()).unwrap_or(u32::MAX), out);
        out.extend_from_slice(&self.0);
    }
}

record! {
    /// What surrounds an ASDU.
    ApsFrame {
        /// Which profile; 0: ZDO.
        profile: u16,
        /// Which cluster.
        cluster: u16,
        /// The sender's.
        src_endpoint: u8,
        /// The receiver's.
        dst_endpoint: u8,
        /// See [`aps`].
        options: u16,
        /// Of a multicast; the fragment's number and count of a fragment.
        group: u16,
        /// The sender's APS counter.
        sequence: u8,
    }
}

/// Options of an [`ApsFrame`].
pub mod aps {
    /// The receiver acknowledges it.
    pub const RETRY: u16 = 0x0040;
    /// A route is looked for if there is none.
    pub const ROUTE: u16 = 0x0100;
    /// It is a part of a longer one.
    pub const FRAGMENT: u16 = 0x8000;
}

record! {
    /// A network as it is formed and told.
    NetworkParameters {
        /// The 64-bit PAN id.
        extended_pan: Eui64,
        /// The 16-bit PAN id.
        pan: u16,
        /// Transmit power, dBm.
        power: u8,
        /// 11–26.
        channel: u8,
        /// 0: by association.
        join_method: u8,
        /// Who decides that the network moves.
        manager: NwkAddr,
        /// Raised with each move.
        update_id: u8,
        /// Bit n: channel n.
        channels: u32,
    }
}

/// The end of a message that the NCP took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// How it went.
    pub status: Status,
    /// 0: to one device.
    pub kind: u8,
    /// To whom.
    pub destination: NwkAddr,
    /// As it was given.
    pub aps: ApsFrame,
    /// As it was given.
    pub tag: Tag,
    /// Empty, by our policy.
    pub payload: Bytes8,
}

impl Wire for Sent {
    fn read(reader: &mut Reader<'_>, protocol: Protocol) -> Result<Self, DecodeError> {
        let first = protocol.is_wide().then(|| Status::read(reader, protocol)).transpose()?;
        let kind = reader.u8()?;
        let destination = Field::read(reader)?;
        let aps = Field::read(reader)?;
        let tag = Wire::read(reader, protocol)?;
        let status = first.map_or_else(|| Wire::read(reader, protocol), Ok)?;
        Ok(Self { status, kind, destination, aps, tag, payload: Field::read(reader)? })
    }

    fn write(&self, protocol: Protocol, out: &mut Vec<u8>) {
        if protocol.is_wide() {
            self.status.write(protocol, out);
        }
        Field::write(&self.kind, out);
        Field::write(&self.destination, out);
        Field::write(&self.aps, out);
        self.tag.write(protocol, out);
        if !protocol.is_wide() {
            self.status.write(protocol, out);
        }
        Field::write(&self.payload, out);
    }
}

/// One frame from the air.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// 0 to us, 1 an answer to us, 2 to a group, 4 to all; 3 and 5 are echoes of ours.
    pub kind: u8,
    /// What surrounds it.
    pub aps: ApsFrame,
    /// From whom.
    pub sender: NwkAddr,
    /// From whom, as far as the NCP knows; since protocol 14.
    pub eui: Option<Eui64>,
    /// 0–255, of the last hop.
    pub lqi: u8,
    /// dBm, of the last hop.
    pub rssi: i8,
    /// The ASDU.
    pub payload: Bytes8,
}

impl Wire for Incoming {
    fn read(reader: &mut Reader<'_>, protocol: Protocol) -> Result<Self, DecodeError> {
        let kind = reader.u8()?;
        let aps = Field::read(reader)?;
        if protocol.is_wide() {
            let (sender, eui) = (Field::read(reader)?, Some(Field::read(reader)?));
            let [_binding, _address, lqi] = reader.array()?;
            let rssi = Field::read(reader)?;
            let _timestamp = reader.u32()?;
            return Ok(Self { kind, aps, sender, eui, lqi, rssi, payload: Field::read(reader)? });
        }
        let (lqi, rssi, sender) = (reader.u8()?, Field::read(reader)?, Field::read(reader)?);
        let [_binding, _address] = reader.array()?;
        Ok(Self { kind, aps, sender, eui: None, lqi, rssi, payload: Field::read(reader)? })
    }

    fn write(&self, protocol: Protocol, out: &mut Vec<u8>) {
        Field::write(&self.kind, out);
        Field::write(&self.aps, out);
        if protocol.is_wide() {
            Field::write(&self.sender, out);
            Field::write(&self.eui.unwrap_or(Eui64([0xFF; 8])), out);
            out.extend_from_slice(&[0xFF, 0xFF, self.lqi]);
            Field::write(&self.rssi, out);
            Field::write(&0u32, out);
        } else {
            Field::write(&self.lqi, out);
            Field::write(&self.rssi, out);
            Field::write(&self.sender, out);
            out.extend_from_slice(&[0xFF, 0xFF]);
        }
        Field::write(&self.payload, out);
    }
}
