//! What calls are made of, beyond addresses and integers.

use zeroize::Zeroizing;

use crate::descriptors::{Clusters, Neighbour, NodeDescriptor, SimpleDescriptor};
use crate::types::{Eui64, Key, NwkAddr};
use crate::wire::{DecodeError, Field, Reader};

macro_rules! record {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty),* }

        impl Field for $name {
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self { $($field: <$ty>::read(reader)?),* })
            }
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.write(out);)*
            }
        }
    };
}

/// A record's fields in the order of the wire.
macro_rules! layout {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl Field for $name {
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self { $($field: Field::read(reader)?),* })
            }
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.write(out);)*
            }
        }
    };
}

layout!(SimpleDescriptor { endpoint, profile, device, version, clusters });
layout!(NodeDescriptor {
    flags,
    mac_capability,
    manufacturer,
    max_buffer,
    max_incoming,
    server_mask,
    max_outgoing,
    descriptor_capability,
});
layout!(Neighbour { extended_pan, eui, nwk, kind, permit, depth, lqi });

/// A list behind one byte that counts it. What is longer than 255 is cut.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted<T>(pub Vec<T>);

impl<T: Field> Field for Counted<T> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.u8()?;
        (0..count).map(|_| T::read(reader)).collect::<Result<_, _>>().map(Self)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let count = u8::try_from(self.0.len()).unwrap_or(u8::MAX);
        out.push(count);
        self.0.iter().take(count.into()).for_each(|item| item.write(out));
    }
}

/// All bytes to the end of the message. Not shown: a list of install codes is one.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Rest(pub Vec<u8>);

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rest({} bytes)", self.0.len())
    }
}

impl Field for Rest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.rest().to_vec()))
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

/// An extended PAN id as GET_EXTENDED_PAN_ID answers it: the other way round than it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reversed(pub Eui64);

impl Field for Reversed {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(|bytes| Self(Eui64(bytes)))
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.0);
    }
}

/// Major, minor, revision, commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, revision, commit] = self.0.to_be_bytes();
        write!(f, "{major}.{minor}.{revision}.{commit}")
    }
}

impl Field for Version {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u32().map(Self)
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
}

record! {
    /// Channels of one page.
    ChannelMask {
        /// 0 is 2.4 GHz.
        page: u8,
        /// Bit n: channel n; 11–26 at 2.4 GHz.
        mask: u32,
    }
}

record! {
    /// A network key and its number.
    NumberedKey {
        /// The key; all ones where there is none.
        key: Key,
        /// 0–255.
        number: u8,
    }
}

/// Both counts stand before the lists.
impl Field for Clusters {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [servers, clients] = reader.array()?;
        let mut list = |count: u8| (0..count).map(|_| reader.u16()).collect::<Result<Vec<_>, _>>();
        Ok(Self { servers: list(servers)?, clients: list(clients)? })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let count = |list: &[u16]| u8::try_from(list.len()).unwrap_or(u8::MAX);
        let (servers, clients) = (count(&self.servers), count(&self.clients));
        out.extend_from_slice(&[servers, clients]);
        let servers = self.servers.iter().take(servers.into());
        servers.chain(self.clients.iter().take(clients.into())).for_each(|cluster| cluster.write(out));
    }
}

record! {
    /// A dataset of the NCP's memory, to be written.
    Dataset {
        /// 1 COMMON, 7 IB_COUNTERS, 11 ADDR_MAP, 13 INSTALLCODES, 14 APS_SECURE, 15 BINDING …
        kind: u16,
        /// Of its layout.
        version: u16,
        /// May hold keys.
        data: DatasetBytes,
    }
}

/// A dataset's content behind its length. May hold keys: erased when dropped, shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct DatasetBytes(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for DatasetBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DatasetBytes({} bytes)", self.0.len())
    }
}

impl Field for DatasetBytes {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = reader.u16()?;
        Ok(Self(Zeroizing::new(reader.take(len.into())?.to_vec())))
    }

    fn write(&self, out: &mut Vec<u8>) {
        let len = u16::try_from(self.0.len()).unwrap_or(u16::MAX);
        len.write(out);
        out.extend_from_slice(self.0.get(..len.into()).unwrap_or(&self.0));
    }
}

/// An APSDE_DATA_REQ: one frame for the air.
#[derive(Clone, PartialEq, Eq)]
pub struct ApsRequest {
    /// To whom.
    pub to: ApsAddress,
    /// 0x0104 for everything here.
    pub profile: u16,
    /// Which cluster.
    pub cluster: u16,
    /// Theirs.
    pub dst_endpoint: u8,
    /// Ours.
    pub src_endpoint: u8,
    /// Hops; 0 lets the NCP choose.
    pub radius: u8,
    /// See [`tx`].
    pub options: u8,
    /// Use alias, its address, its number. Not ours to use: zeros.
    pub alias: (u8, u16, u8),
    /// The ASDU.
    pub payload: Vec<u8>,
}

/// Transmit options of an [`ApsRequest`]. 0x02 is obsolete.
pub mod tx {
    /// Encrypted with the link key too.
    pub const SECURITY: u8 = 0x01;
    /// The receiver acknowledges, and the NCP repeats until it does.
    pub const ACK: u8 = 0x04;
    /// May be cut into APS fragments.
    pub const FRAGMENT: u8 = 0x08;
}

/// Where an APS frame goes: 8 bytes whatever the mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApsAddress {
    /// Mode 1; the first two of the 8 bytes count, the others are kept.
    Group([u8; 8]),
    /// Mode 2: one device or a broadcast; the first two of the 8 bytes count, the others are kept.
    Short([u8; 8]),
    /// Mode 3: one device, whatever its address in the network is now.
    Ieee(Eui64),
}

impl ApsAddress {
    /// One device or a broadcast.
    #[must_use]
    pub fn nwk(address: NwkAddr) -> Self {
        let [low, high] = address.0.to_le_bytes();
        Self::Short([low, high, 0, 0, 0, 0, 0, 0])
    }

    fn from_parts(mode: u8, bytes: [u8; 8]) -> Result<Self, DecodeError> {
        match mode {
            1 => Ok(Self::Group(bytes)),
            2 => Ok(Self::Short(bytes)),
            3 => Eui64::read(&mut Reader::new(&bytes)).map(Self::Ieee),
            _ => Err(DecodeError::Field("the APS address mode")),
        }
    }

    fn mode(self) -> u8 {
        match self {
            Self::Group(_) => 1,
            Self::Short(_) => 2,
            Self::Ieee(_) => 3,
        }
    }

    fn write_bytes(self, out: &mut Vec<u8>) {
        match self {
            Self::Group(bytes) | Self::Short(bytes) => bytes.write(out),
            Self::Ieee(eui) => eui.write(out),
        }
    }
}

/// Length of the parameters of APSDE_DATA_REQ and APSDE_DATA_IND, which both begin with it.
const APS_PARAMETERS: u8 = 21;

impl std::fmt::Debug for ApsRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApsRequest({:?}, cluster {:#06x}, {} bytes)", self.to, self.cluster, self.payload.len())
    }
}

impl Field for ApsRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = aps_lengths(reader)?;
        let address = reader.array()?;
        let (profile, cluster) = (reader.u16()?, reader.u16()?);
        let [dst_endpoint, src_endpoint, radius, mode, options] = reader.array()?;
        let alias = (reader.u8()?, reader.u16()?, reader.u8()?);
        let to = ApsAddress::from_parts(mode, address)?;
        let payload = reader.take(len)?.to_vec();
        Ok(Self { to, profile, cluster, dst_endpoint, src_endpoint, radius, options, alias, payload })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let payload = write_aps_lengths(&self.payload, out);
        self.to.write_bytes(out);
        self.profile.write(out);
        self.cluster.write(out);
        out.extend_from_slice(&[
            self.dst_endpoint,
            self.src_endpoint,
            self.radius,
            self.to.mode(),
            self.options,
        ]);
        let (used, address, number) = self.alias;
        used.write(out);
        address.write(out);
        number.write(out);
        out.extend_from_slice(payload);
    }
}

/// What APSDE_DATA_REQ is answered with once the transmission ended: the APS confirm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApsConfirm {
    /// As it was sent.
    pub to: ApsAddress,
    /// Theirs.
    pub dst_endpoint: u8,
    /// Ours.
    pub src_endpoint: u8,
    /// The NCP's clock, milliseconds.
    pub tx_time: u32,
}

impl Field for ApsConfirm {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let address = reader.array()?;
        let [dst_endpoint, src_endpoint] = reader.array()?;
        let tx_time = reader.u32()?;
        let to = ApsAddress::from_parts(reader.u8()?, address)?;
        Ok(Self { to, dst_endpoint, src_endpoint, tx_time })
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.to.write_bytes(out);
        out.extend_from_slice(&[self.dst_endpoint, self.src_endpoint]);
        self.tx_time.write(out);
        out.push(self.to.mode());
    }
}

/// An APSDE_DATA_IND: one frame from the air.
#[derive(Clone, PartialEq, Eq)]
pub struct ApsIndication {
    /// APS frame control.
    pub frame_control: u8,
    /// From whom.
    pub src: NwkAddr,
    /// To us, or a broadcast.
    pub dst: NwkAddr,
    /// Where it went to a group.
    pub group: u16,
    /// Ours.
    pub dst_endpoint: u8,
    /// Theirs.
    pub src_endpoint: u8,
    /// Which cluster.
    pub cluster: u16,
    /// Which profile.
    pub profile: u16,
    /// The sender's APS counter.
    pub counter: u8,
    /// The last hop, and us.
    pub mac: (u16, u16),
    /// 0–255.
    pub lqi: u8,
    /// dBm.
    pub rssi: i8,
    /// Bits 0–2: which key it was encrypted with.
    pub key: u8,
    /// The ASDU.
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for ApsIndication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ApsIndication({:?}, cluster {:#06x}, {} bytes)",
            self.src,
            self.cluster,
            self.payload.len()
        )
    }
}

impl Field for ApsIndication {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = aps_lengths(reader)?;
        Ok(Self {
            frame_control: reader.u8()?,
            src: NwkAddr::read(reader)?,
            dst: NwkAddr::read(reader)?,
            group: reader.u16()?,
            dst_endpoint: reader.u8()?,
            src_endpoint: reader.u8()?,
            cluster: reader.u16()?,
            profile: reader.u16()?,
            counter: reader.u8()?,
            mac: (reader.u16()?, reader.u16()?),
            lqi: reader.u8()?,
            rssi: i8::read(reader)?,
            key: reader.u8()?,
            payload: reader.take(len)?.to_vec(),
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let payload = write_aps_lengths(&self.payload, out);
        self.frame_control.write(out);
        self.src.write(out);
        self.dst.write(out);
        self.group.write(out);
        out.extend_from_slice(&[self.dst_endpoint, self.src_endpoint]);
        self.cluster.write(out);
        self.profile.write(out);
        self.counter.write(out);
        self.mac.0.write(out);
        self.mac.1.write(out);
        self.lqi.write(out);
        self.rssi.write(out);
        self.key.write(out);
        out.extend_from_slice(payload);
    }
}

fn aps_lengths(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    if reader.u8()? != APS_PARAMETERS {
        return Err(DecodeError::Field("the length of the APS parameters"));
    }
    reader.u16().map(usize::from)
}

/// Writes both lengths, and gives back what of the payload they announce.
fn write_aps_lengths<'a>(payload: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    out.push(APS_PARAMETERS);
    len.write(out);
    payload.get(..len.into()).unwrap_or(payload)
}
