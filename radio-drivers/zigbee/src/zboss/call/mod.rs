//! The calls that a coordinator's host makes, as one table: number, request, response; and the indications.
//!
//! Requests are read strictly. A response or indication may go on behind its last field: firmware adds fields, and some
//! answers are known to have bytes that nobody describes.

mod datasets;
mod fields;

pub use datasets::{AddressMap, ApsSecure, IbCounters, SecureEntry};
pub use fields::{
    ApsAddress, ApsConfirm, ApsIndication, ApsRequest, ChannelMask, Counted, Dataset, DatasetBytes,
    NumberedKey, Rest, Reversed, Version, tx,
};

use zeroize::Zeroizing;

use super::hl::{Kind, Packet, Status};
use crate::descriptors::{Neighbour, NodeDescriptor, SimpleDescriptor};
use crate::types::{Eui64, InstallCode, Key, NwkAddr};
use crate::wire::{DecodeError, Field, Reader};

macro_rules! calls {
    ($($(#[$meta:meta])* $id:literal $name:ident ($($arg:ident: $arg_ty:ty = $arg_doc:literal),*)
        -> ($($ret:ident: $ret_ty:ty = $ret_doc:literal),*);)*) => {
        /// What the host asks the NCP.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Request { $($(#[$meta])* $name { $(#[doc = $arg_doc] $arg: $arg_ty),* }),* }

        /// What the NCP answers when all went well.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Response { $($(#[$meta])* $name { $(#[doc = $ret_doc] $ret: $ret_ty),* }),* }

        impl Request {
            /// The call's number.
            #[must_use]
            pub fn call(&self) -> u16 {
                match self { $(Self::$name { .. } => $id),* }
            }

            fn read(call: u16, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match call {
                    $($id => Ok(Self::$name { $($arg: <$arg_ty>::read(reader)?),* }),)*
                    call => Err(DecodeError::UnknownCall(call)),
                }
            }

            fn write(&self, out: &mut Vec<u8>) {
                match self { $(Self::$name { $($arg),* } => { $($arg.write(out);)* let _ = &out; })* }
            }
        }

        impl Response {
            /// The call's number.
            #[must_use]
            pub fn call(&self) -> u16 {
                match self { $(Self::$name { .. } => $id),* }
            }

            fn read(call: u16, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match call {
                    $($id => Ok(Self::$name { $($ret: <$ret_ty>::read(reader)?),* }),)*
                    call => Err(DecodeError::UnknownCall(call)),
                }
            }

            fn write(&self, out: &mut Vec<u8>) {
                match self { $(Self::$name { $($ret),* } => { $($ret.write(out);)* let _ = &out; })* }
            }
        }
    };
}

macro_rules! indications {
    ($($(#[$meta:meta])* $id:literal $name:ident ($($arg:ident: $arg_ty:ty = $arg_doc:literal),*);)*) => {
        /// What the NCP says unasked.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Indication { $($(#[$meta])* $name { $(#[doc = $arg_doc] $arg: $arg_ty),* }),* }

        impl Indication {
            /// The call's number.
            #[must_use]
            pub fn call(&self) -> u16 {
                match self { $(Self::$name { .. } => $id),* }
            }

            fn read(call: u16, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match call {
                    $($id => Ok(Self::$name { $($arg: <$arg_ty>::read(reader)?),* }),)*
                    call => Err(DecodeError::UnknownCall(call)),
                }
            }

            fn write(&self, out: &mut Vec<u8>) {
                match self { $(Self::$name { $($arg),* } => { $($arg.write(out);)* })* }
            }
        }
    };
}

calls! {
    /// Versions of the firmware.
    0x0001 GetModuleVersion () -> (firmware: Version = "Of the NCP's firmware.", stack: Version = "Of ZBOSS.",
        protocol: Version = "Of this protocol.");
    /// Restarts the NCP; the response comes under transaction number 0xFF, then [`Indication::Reset`].
    0x0002 NcpReset (option: u8 = "See [`reset`].") -> ();
    /// Coordinator, router or end device.
    0x0004 GetZigbeeRole () -> (role: u8 = "0 coordinator, 1 router, 2 end device, 3 none.");
    /// Before formation.
    0x0005 SetZigbeeRole (role: u8 = "0 coordinator, 1 router, 2 end device.") -> ();
    /// Channels to form on.
    0x0006 GetChannelMask () -> (masks: Counted<ChannelMask> = "One for each page.");
    /// Before formation.
    0x0007 SetChannelMask (mask: ChannelMask = "Of one page.") -> ();
    /// The channel of the network.
    0x0008 GetChannel () -> (page: u8 = "0 is 2.4 GHz.", channel: u8 = "11–26 at 2.4 GHz.");
    /// The 16-bit PAN id.
    0x0009 GetPanId () -> (pan: u16 = "0xFFFF: none.");
    /// After formation, which chooses one.
    0x000A SetPanId (pan: u16 = "Not 0xFFFF.") -> ();
    /// The NCP's own address.
    0x000B GetLocalIeee (interface: u8 = "MAC interface, 0.") -> (interface: u8 = "MAC interface.",
        eui: Eui64 = "The address.");
    /// Before formation.
    0x000C SetLocalIeee (interface: u8 = "MAC interface, 0.", eui: Eui64 = "The address.") -> ();
    /// Transmit power.
    0x0010 GetTxPower () -> (dbm: i8 = "dBm.");
    /// Transmit power.
    0x0011 SetTxPower (dbm: i8 = "dBm.") -> (dbm: i8 = "What the radio made of it, dBm.");
    /// Whether the radio listens when idle.
    0x0012 GetRxOnWhenIdle () -> (on: u8 = "1 for a coordinator.");
    /// Whether the radio listens when idle.
    0x0013 SetRxOnWhenIdle (on: u8 = "1 for a coordinator.") -> ();
    /// Whether it is in a network that runs.
    0x0014 GetJoined () -> (flags: u8 = "Bit 0 joined, bit 1 parent lost.");
    /// Whether it was let into its network.
    0x0015 GetAuthenticated () -> (authenticated: u8 = "0 or 1.");
    /// After how long a silent end device counts as gone.
    0x0016 GetEndDeviceTimeout () -> (index: u8 = "0: 10 s, n: 2^n minutes.");
    /// After how long a silent end device counts as gone.
    0x0017 SetEndDeviceTimeout (index: u8 = "0: 10 s, n: 2^n minutes.") -> ();
    /// Before formation.
    0x001B SetNwkKey (key: NumberedKey = "The network key.") -> ();
    /// Network keys.
    0x001E GetNwkKeys () -> (first: NumberedKey = "The first.", second: NumberedKey = "The second.",
        third: NumberedKey = "The third.");
    /// The link key with one device.
    0x001F GetApsKeyByIeee (eui: Eui64 = "The device.") -> (key: Key = "The link key.");
    /// Who its parent is.
    0x0022 GetParentAddress () -> (nwk: NwkAddr = "0xFFFF: none.");
    /// The 64-bit PAN id, the other way round than it is set.
    0x0023 GetExtendedPanId () -> (pan: Reversed = "The id.");
    /// The revision that it announces.
    0x0024 GetCoordinatorVersion () -> (version: u8 = "22 for R22.");
    /// The NCP's own address in the network.
    0x0025 GetShortAddress () -> (nwk: NwkAddr = "0 for a coordinator.");
    /// Who the trust centre is.
    0x0026 GetTrustCenterAddress () -> (eui: Eui64 = "The coordinator.");
    /// Writes datasets into the NCP's memory; they count after a reset.
    0x002E NvramWrite (datasets: Counted<Dataset> = "To be written.") -> ();
    /// Reads one dataset of the NCP's memory.
    0x002F NvramRead (dataset: u16 = "Which.") -> (nvram_version: u16 = "Of the whole memory's layout.",
        dataset: u16 = "Which.", version: u16 = "Of its layout.", data: DatasetBytes = "Its content.");
    /// Erases the NCP's memory.
    0x0030 NvramErase () -> ();
    /// Erases the NCP's memory but for counters and the application's data.
    0x0031 NvramClear () -> ();
    /// How the trust centre lets devices in.
    0x0032 SetTcPolicy (policy: u16 = "See [`policy`].", value: u8 = "0 or 1.") -> ();
    /// Before formation, or with a fresh PAN id.
    0x0033 SetExtendedPanId (pan: Eui64 = "The id.") -> ();
    /// End devices that may be children of the coordinator.
    0x0034 SetMaxChildren (count: u8 = "How many.") -> ();
    /// End devices that may be children of the coordinator.
    0x0035 GetMaxChildren () -> (count: u8 = "How many.");
    /// Registers an endpoint of ours.
    0x0101 AfSetSimpleDesc (descriptor: SimpleDescriptor = "What it speaks.") -> ();
    /// Takes an endpoint of ours away.
    0x0102 AfDelSimpleDesc (endpoint: u8 = "Which.") -> ();
    /// Our node descriptor.
    0x0103 AfSetNodeDesc (role: u8 = "0 coordinator.", mac_capability: u8 = "As in a node descriptor.",
        manufacturer: u16 = "Assigned by the CSA.") -> ();
    /// Our power descriptor.
    0x0104 AfSetPowerDesc (mode: u8 = "Current mode.", sources: u8 = "Available.", source: u8 = "Current.",
        level: u8 = "Current.") -> ();
    /// Asks for a device's address in the network.
    0x0201 NwkAddrReq (dst: NwkAddr = "Whom to ask.", eui: Eui64 = "Whose.", kind: u8 = "0: that device only.",
        start: u8 = "First entry of the list.") -> (eui: Eui64 = "Whose.", nwk: NwkAddr = "The address.",
        list: Rest = "Count, start, entries; only if asked for.");
    /// Asks for a device's 64-bit address.
    0x0202 IeeeAddrReq (dst: NwkAddr = "Whom to ask.", nwk: NwkAddr = "Whose.", kind: u8 = "0: that device only.",
        start: u8 = "First entry of the list.") -> (eui: Eui64 = "The address.", nwk: NwkAddr = "Whose.",
        list: Rest = "Count, start, entries; only if asked for.");
    /// A device's power descriptor.
    0x0203 PowerDescReq (nwk: NwkAddr = "Whose.") -> (descriptor: u16 = "Zigbee specification §2.3.2.4.",
        nwk: NwkAddr = "Whose; last.");
    /// A device's node descriptor.
    0x0204 NodeDescReq (nwk: NwkAddr = "Whose.") -> (descriptor: NodeDescriptor = "It.",
        nwk: NwkAddr = "Whose; last.");
    /// What an endpoint of a device speaks.
    0x0205 SimpleDescReq (nwk: NwkAddr = "Whose.", endpoint: u8 = "Which.") -> (
        descriptor: SimpleDescriptor = "It.", nwk: NwkAddr = "Whose; last.");
    /// Which endpoints a device has.
    0x0206 ActiveEpReq (nwk: NwkAddr = "Whose.") -> (endpoints: Counted<u8> = "Them.",
        nwk: NwkAddr = "Whose; last.");
    /// Has a device send a cluster's reports to a destination.
    0x0208 BindReq (target: NwkAddr = "Who keeps the binding.", src: Eui64 = "Who sends.",
        src_endpoint: u8 = "From which endpoint.", cluster: u16 = "Which cluster.",
        mode: u8 = "1 group, 3 device.", dst: Eui64 = "To whom: always 8 bytes.",
        dst_endpoint: u8 = "To which endpoint.") -> ();
    /// Ends a binding.
    0x0209 UnbindReq (target: NwkAddr = "Who keeps the binding.", src: Eui64 = "Who sends.",
        src_endpoint: u8 = "From which endpoint.", cluster: u16 = "Which cluster.",
        mode: u8 = "1 group, 3 device.", dst: Eui64 = "To whom: always 8 bytes.",
        dst_endpoint: u8 = "To which endpoint.") -> ();
    /// Sends a device away.
    0x020A MgmtLeaveReq (dst: NwkAddr = "Whom to ask.", eui: Eui64 = "Who leaves.",
        flags: u8 = "Bit 6 remove children, bit 7 rejoin.") -> ();
    /// Lets devices join, here (0x0000) or at all routers (0xFFFC).
    0x020B PermitJoiningReq (dst: NwkAddr = "Where.", seconds: u8 = "0 closes; 255 would be for ever.",
        tc_significance: u8 = "1.") -> ();
    /// Neighbours of a router.
    0x0210 MgmtLqiReq (dst: NwkAddr = "Whose.", start: u8 = "First entry.") -> (total: u8 = "In its table.",
        start: u8 = "First entry.", neighbours: Counted<Neighbour> = "A few of them.");
    /// Measures energy on channels, or moves the network to another one.
    0x0211 MgmtNwkUpdateReq (mask: u32 = "Channels.", duration: u8 = "0–5: scan; 0xFE: move; 0xFF: new manager.",
        count: u8 = "Scans.", manager: NwkAddr = "Network manager.", dst: NwkAddr = "Who does it.") -> (
        mask: u32 = "Channels.", transmissions: u16 = "Since the last report.",
        failures: u16 = "Since the last report.", energies: Counted<u8> = "One for each channel.");
    /// The manufacturer in our node descriptor.
    0x0216 SetNodeDescManufacturer (manufacturer: u16 = "Assigned by the CSA.") -> ();
    /// One frame for the air; answered when its transmission ended.
    0x0301 ApsdeDataReq (frame: ApsRequest = "The frame.") -> (confirm: ApsConfirm = "What became of it.");
    /// Forms a network; erases nothing by itself.
    0x0401 NwkFormation (channels: Counted<ChannelMask> = "To choose from.", scan_duration: u8 = "5.",
        distributed: u8 = "0: with a trust centre.", distributed_nwk: NwkAddr = "0.",
        extended_pan: Eui64 = "The 64-bit PAN id.") -> (nwk: NwkAddr = "Ours, 0.", pan: u16 = "Chosen.",
        page: u8 = "Chosen.", channel: u8 = "Chosen.");
    /// Joins a network; we never do.
    0x0403 NlmeJoin (extended_pan: Eui64 = "Which.", rejoin: u8 = "How.", channels: Counted<ChannelMask> = "Where.",
        scan_duration: u8 = "How long.", mac_capability: u8 = "As in a node descriptor.",
        security: u8 = "0 or 1.") -> (nwk: NwkAddr = "Ours.", extended_pan: Eui64 = "Which.",
        page: u8 = "Where.", channel: u8 = "Where.");
    /// Lets devices join at the coordinator itself.
    0x0404 NwkPermitJoining (seconds: u8 = "0 closes.") -> ();
    /// The NCP's own table of addresses.
    0x0405 NwkGetIeeeByShort (nwk: NwkAddr = "Whose.") -> (eui: Eui64 = "The address.");
    /// The NCP's own table of addresses.
    0x0406 NwkGetShortByIeee (eui: Eui64 = "Whose.") -> (nwk: NwkAddr = "The address.");
    /// Resumes the network that the NCP remembers.
    0x041D StartWithoutFormation () -> ();
    /// Has routers keep routes to us.
    0x042D StartConcentrator (radius: u8 = "Hops.", seconds: u32 = "Between announcements; 0 floods the network.") -> ();
    /// Adds a device's install code.
    0x0502 SecurAddIc (eui: Eui64 = "Whose.", code: InstallCode = "With its CRC; no length before it.") -> ();
    /// Takes a device's install code away.
    0x0503 SecurDelIc (eui: Eui64 = "Whose.") -> ();
    /// Switches to the network key that was distributed.
    0x0517 SecurInitiateKeySwitch () -> ();
    /// Install codes that the NCP has.
    0x0518 SecurGetIcList (start: u8 = "First entry.") -> (list: Rest = "Size, start, count, entries.");
    /// Takes all install codes away.
    0x051A SecurRemoveAllIc () -> ();
}

indications! {
    /// The NCP has started.
    0x002B Reset (source: u8 = "0 power, 1 software, 2 pin, 3 brown-out, 4 clock, 5 other.");
    /// A device tells its address, after joining or rejoining.
    0x020C DeviceAnnounce (nwk: NwkAddr = "In the network.", eui: Eui64 = "Who.",
        mac_capability: u8 = "As in a node descriptor.");
    /// The trust centre has let a device in, or not.
    0x0214 DeviceAuthorised (eui: Eui64 = "Who.", nwk: NwkAddr = "In the network.",
        kind: u8 = "0 legacy, 1 unique link key (R21), 2 Smart Energy.",
        status: u8 = "0 well; of kind 1: 1 timeout, 2 failed.");
    /// A router or the coordinator itself saw a device come or go.
    0x0215 DeviceUpdate (eui: Eui64 = "Who.", nwk: NwkAddr = "In the network.",
        status: u8 = "0 secured rejoin, 1 unsecured join, 2 left, 3 trust centre rejoin.");
    /// One frame from the air.
    0x0306 ApsdeData (frame: ApsIndication = "The frame.");
    /// A device left.
    0x040B Leave (eui: Eui64 = "Who.", rejoin: u8 = "1: it will come back.");
    /// We got a link key from the trust centre; not for a coordinator.
    0x050E TrustCentreLinkKey (eui: Eui64 = "The trust centre.", kind: u8 = "Of the key.");
    /// We got no link key from the trust centre; not for a coordinator.
    0x050F TrustCentreLinkKeyFailed (category: u8 = "Of the status.", status: u8 = "Why.");
}

/// Options of [`Request::NcpReset`].
pub mod reset {
    /// Restarts; everything is kept.
    pub const KEEP: u8 = 0;
    /// Erases the network.
    pub const ERASE: u8 = 1;
    /// As new.
    pub const FACTORY: u8 = 2;
}

/// Policies of [`Request::SetTcPolicy`].
pub mod policy {
    /// A device that gets no unique link key is sent away.
    pub const UNIQUE_LINK_KEY: u16 = 0;
    /// Without an install code nobody joins.
    pub const INSTALL_CODE: u16 = 1;
    /// A device that missed a network key may come back with its unique link key.
    pub const TC_REJOIN: u16 = 2;
    /// Rejoins of that kind are ignored.
    pub const IGNORE_TC_REJOIN: u16 = 3;
    /// Joining with keys that everybody knows.
    pub const INSECURE_JOIN: u16 = 4;
    /// Others may not move the network to another channel.
    pub const NO_CHANNEL_UPDATE: u16 = 5;
}

impl Request {
    /// Reads a request's body. Bytes behind its end are an error.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn parse(call: u16, body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let request = Self::read(call, &mut reader)?;
        reader.finish()?;
        Ok(request)
    }

    /// The packet, for the [link](super::Link).
    #[must_use]
    pub fn encode(&self, tsn: u8) -> Zeroizing<Vec<u8>> {
        packet(Kind::Request { tsn }, self.call(), |out| self.write(out))
    }
}

impl Response {
    /// Reads the body of a response whose status is ok.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn parse(call: u16, body: &[u8]) -> Result<Self, DecodeError> {
        Self::read(call, &mut Reader::new(body))
    }

    /// The packet. For NCPs in tests and simulations.
    #[must_use]
    pub fn encode(&self, tsn: u8) -> Zeroizing<Vec<u8>> {
        packet(Kind::Response { tsn, status: Status::OK }, self.call(), |out| self.write(out))
    }
}

impl Indication {
    /// Reads an indication's body.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn parse(call: u16, body: &[u8]) -> Result<Self, DecodeError> {
        Self::read(call, &mut Reader::new(body))
    }

    /// The packet. For NCPs in tests and simulations.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        packet(Kind::Indication, self.call(), |out| self.write(out))
    }
}

/// Header and body in one buffer: a body may hold keys, so it is not written twice.
fn packet(kind: Kind, call: u16, body: impl FnOnce(&mut Vec<u8>)) -> Zeroizing<Vec<u8>> {
    let mut out = Packet { kind, call, body: &[] }.encode();
    body(&mut out);
    out
}
