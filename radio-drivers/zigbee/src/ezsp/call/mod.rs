//! The commands that a coordinator's host gives, as one table: number, command, answer; and what the NCP says unasked.
//!
//! ```text
//! 0  sequence  the answer has the command's
//! 1  control   80: from the NCP; 18: unasked
//! 2  01        the extended header, which all but the first command have
//! 3  id        u16
//!    fields
//! ```
//! Layouts are those of protocols 13 to 19, as bellows 1.2.1 has them. An answer may go on behind its last field.

mod fields;
mod keys;

use fields::Wire;
pub use fields::{
    ApsFrame, Bytes8, Bytes32, Incoming, LongStatus, NetworkParameters, Protocol, Sent, Since14, Status, Tag,
    aps,
};
pub use keys::{
    CurrentSecurity, ExportedKey, ExportedLinkKey, KeyContext, KeyMetadata, NetworkKeyInfo, SecurityState,
    key, security,
};
use zeroize::Zeroizing;

use super::ash::MAX_DATA;
use crate::descriptors::SimpleDescriptor;
use crate::types::{Eui64, Key, NwkAddr};
use crate::wire::{DecodeError, Reader, secret_buffer};

/// Set in what comes from the NCP.
const FROM_NCP: u8 = 0x80;
/// One of these is set in what it says unasked.
const UNASKED: u8 = 0x18;
/// The extended header.
const EXTENDED: u8 = 0x01;
/// The answer to a command that the NCP does not know or cannot read.
pub const INVALID_COMMAND: u16 = 0x0058;

macro_rules! commands {
    ($($(#[$meta:meta])* $id:literal $name:ident ($($arg:ident: $arg_ty:ty = $arg_doc:literal),*)
        -> ($($ret:ident: $ret_ty:ty = $ret_doc:literal),*);)*) => {
        /// What the host tells the NCP.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Command { $($(#[$meta])* $name { $(#[doc = $arg_doc] $arg: $arg_ty),* }),* }

        /// What the NCP answers.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Answer { $($(#[$meta])* $name { $(#[doc = $ret_doc] $ret: $ret_ty),* }),* }

        impl Command {
            /// The command's number.
            #[must_use]
            pub fn id(&self) -> u16 {
                match self { $(Self::$name { .. } => $id),* }
            }

            fn read(id: u16, reader: &mut Reader<'_>, protocol: Protocol) -> Result<Self, DecodeError> {
                let _ = protocol;
                match id {
                    $($id => Ok(Self::$name { $($arg: <$arg_ty as Wire>::read(reader, protocol)?),* }),)*
                    id => Err(DecodeError::UnknownCall(id)),
                }
            }

            fn write(&self, protocol: Protocol, out: &mut Vec<u8>) {
                match self { $(Self::$name { $($arg),* } => { $(Wire::write($arg, protocol, out);)* let _ = &out; })* }
            }
        }

        impl Answer {
            /// The command's number.
            #[must_use]
            pub fn id(&self) -> u16 {
                match self { $(Self::$name { .. } => $id),* }
            }

            fn read(id: u16, reader: &mut Reader<'_>, protocol: Protocol) -> Result<Self, DecodeError> {
                match id {
                    $($id => Ok(Self::$name { $($ret: <$ret_ty as Wire>::read(reader, protocol)?),* }),)*
                    id => Err(DecodeError::UnknownCall(id)),
                }
            }

            fn write(&self, protocol: Protocol, out: &mut Vec<u8>) {
                match self { $(Self::$name { $($ret),* } => { $(Wire::write($ret, protocol, out);)* let _ = &out; })* }
            }
        }
    };
}

macro_rules! callbacks {
    ($($(#[$meta:meta])* $id:literal $name:ident ($($arg:ident: $arg_ty:ty = $arg_doc:literal),*);)*) => {
        /// What the NCP says unasked.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Callback { $($(#[$meta])* $name { $(#[doc = $arg_doc] $arg: $arg_ty),* }),* }

        impl Callback {
            /// Its number.
            #[must_use]
            pub fn id(&self) -> u16 {
                match self { $(Self::$name { .. } => $id),* }
            }

            fn read(id: u16, reader: &mut Reader<'_>, protocol: Protocol) -> Result<Self, DecodeError> {
                match id {
                    $($id => Ok(Self::$name { $($arg: <$arg_ty as Wire>::read(reader, protocol)?),* }),)*
                    id => Err(DecodeError::UnknownCall(id)),
                }
            }

            fn write(&self, protocol: Protocol, out: &mut Vec<u8>) {
                match self { $(Self::$name { $($arg),* } => { $(Wire::write($arg, protocol, out);)* })* }
            }
        }
    };
}

commands! {
    /// Which protocol is spoken: the first command after each reset, once in the old header and once in the new one.
    0x0000 Version (wanted: u8 = "The host's.") -> (protocol: u8 = "The NCP's.", stack_type: u8 = "2: mesh.",
        stack_version: u16 = "Of EmberZNet: four digits.");
    /// Registers an endpoint of ours, before the network runs.
    0x0002 AddEndpoint (descriptor: SimpleDescriptor = "What it speaks.") -> (status: Status = "How it went.");
    /// Nothing.
    0x0005 Nop () -> ();
    /// The manufacturer in our node descriptor.
    0x0015 SetManufacturerCode (code: u16 = "Assigned by the CSA.") -> (status: Since14<Status> = "How it went.");
    /// Resumes the network that the NCP remembers; [`Callback::StackStatus`] follows.
    0x0017 NetworkInit (options: u16 = "0.") -> (status: Status = "Not joined: there is none.");
    /// Forms a network; [`Callback::StackStatus`] follows.
    0x001E FormNetwork (parameters: NetworkParameters = "Of it.") -> (status: Status = "How it went.");
    /// Leaves the network and forgets it; [`Callback::StackStatus`] follows.
    0x0020 LeaveNetwork (options: Since14<u8> = "0.") -> (status: Status = "How it went.");
    /// Lets devices join at the coordinator itself.
    0x0022 PermitJoining (seconds: u8 = "0 closes; 255 would be for ever.") -> (status: Status = "How it went.");
    /// The NCP's own address.
    0x0026 GetEui64 () -> (eui: Eui64 = "The address.");
    /// The network that runs.
    0x0028 GetNetworkParameters () -> (status: Status = "How it went.", role: u8 = "1: coordinator.",
        parameters: NetworkParameters = "Of it.");
    /// One frame for one device; [`Callback::MessageSent`] tells its end.
    0x0034 SendUnicast (kind: u8 = "0: by address.", destination: NwkAddr = "To whom.", aps: ApsFrame = "Around it.",
        tag: Tag = "Returned at its end.", payload: Bytes8 = "The ASDU.") -> (status: Status = "Whether it was taken.",
        sequence: u8 = "Our APS counter.");
    /// One frame for all.
    0x0036 SendBroadcast (alias: Since14<NwkAddr> = "0xFFFF: from us.", destination: NwkAddr = "0xFFFC and above.",
        sequence: Since14<u8> = "0.", aps: ApsFrame = "Around it.", radius: u8 = "Hops; 0: as many as there are.",
        tag: Tag = "Returned at its end.", payload: Bytes8 = "The ASDU.") -> (status: Status = "Whether it was taken.",
        sequence: u8 = "Our APS counter.");
    /// The acknowledgement of a block of a longer message, which the NCP leaves to the host.
    0x0039 SendReply (sender: NwkAddr = "Of the block.", aps: ApsFrame = "Of the block, but for `group`.",
        payload: Bytes8 = "Empty.") -> (status: Status = "Whether it was taken.");
    /// A value of the configuration.
    0x0052 GetConfigurationValue (id: u8 = "See [`config`].") -> (status: Status = "How it went.", value: u16 = "It.");
    /// A value of the configuration, until the next reset; before the network runs.
    0x0053 SetConfigurationValue (id: u8 = "See [`config`].", value: u16 = "It.") -> (status: Status = "How it went.");
    /// What the NCP decides by itself, until the next reset.
    0x0055 SetPolicy (policy: u8 = "See [`policy`].", decision: u8 = "See [`policy`].") -> (status: Status = "How it went.");
    /// The NCP's own table of addresses.
    0x0060 LookupNodeIdByEui64 (eui: Eui64 = "Whose.") -> (status: Since14<Status> = "How it went.",
        nwk: NwkAddr = "The address; 0xFFFF: not known.");
    /// The NCP's own table of addresses.
    0x0061 LookupEui64ByNodeId (nwk: NwkAddr = "Whose.") -> (status: Status = "How it went.", eui: Eui64 = "The address.");
    /// What a network is formed with.
    0x0068 SetInitialSecurityState (state: SecurityState = "Keys.") -> (status: Status = "How it went.");
    /// What the network that runs was formed with.
    0x0069 GetCurrentSecurityState () -> (status: Status = "How it went.", state: CurrentSecurity = "It.");
    /// Forgets keys of devices that did not join yet.
    0x006B ClearTransientLinkKeys () -> ();
    /// Distributes the next network key.
    0x0073 BroadcastNextNetworkKey (key: Key = "The key.") -> (status: Status = "How it went.");
    /// Has all devices switch to it.
    0x0074 BroadcastNetworkKeySwitch () -> (status: Status = "How it went.");
    /// Forgets the network; counts after a reset.
    0x0077 TokenFactoryReset (keep_counter: u8 = "0.", keep_boots: u8 = "0.") -> ();
    /// This device sleeps: wait longer for its acknowledgements.
    0x007E SetExtendedTimeout (eui: Eui64 = "Which.", extended: u8 = "1.") -> (status: Since14<Status> = "How it went.");
    /// A value of the stack.
    0x00AB SetValue (id: u8 = "See [`value`].", bytes: Bytes8 = "It.") -> (status: Status = "How it went.");
    /// Forgets all link keys.
    0x00B1 ClearKeyTable () -> (status: Status = "How it went.");
    /// Something that the NCP remembers.
    0x0102 GetTokenData (token: u32 = "See [`token`].", index: u32 = "0.") -> (status: Status = "Not ok: no such token.");
    /// Something that the NCP remembers; counts after a reset.
    0x0103 SetTokenData (token: u32 = "See [`token`].", index: u32 = "0.", bytes: Bytes32 = "It.") -> (
        status: Status = "How it went.");
    /// A device's link key.
    0x010E ImportLinkKey (index: u8 = "In the table.", eui: Eui64 = "Whose.", key: Key = "The key.") -> (
        status: LongStatus = "How it went.");
    /// A device's link key and counters.
    0x010F ExportLinkKeyByIndex (index: u8 = "In the table.") -> (entry: ExportedLinkKey = "It, if there is one.");
    /// The key of a device that is to join: of its install code.
    0x0111 ImportTransientKey (eui: Eui64 = "Whose.", key: Key = "The key.", flags: u8 = "0.") -> (
        status: LongStatus = "How it went.");
    /// Another key.
    0x0114 ExportKey (context: KeyContext = "Which.") -> (exported: ExportedKey = "It.");
    /// Number and counter of the network key.
    0x0116 GetNetworkKeyInfo () -> (status: LongStatus = "How it went.", info: NetworkKeyInfo = "It.");
}

callbacks! {
    /// The network runs, or does not.
    0x0019 StackStatus (status: Status = "See [`Status`].");
    /// A device begins to join, comes back, or left.
    0x0024 TrustCentreJoin (nwk: NwkAddr = "In the network.", eui: Eui64 = "Who.",
        update: u8 = "0 secured rejoin, 1 unsecured join, 2 left, 3 unsecured rejoin.",
        decision: u8 = "0 let in with its link key, 1 in the clear, 2 denied, 3 nothing.", parent: NwkAddr = "Where.");
    /// The end of a message.
    0x003F MessageSent (sent: Sent = "Which, and how it went.");
    /// One frame from the air.
    0x0045 IncomingMessage (incoming: Incoming = "The frame.");
    /// The network has another key.
    0x006E SwitchNetworkKey (number: u8 = "Its number.");
    /// A device has a link key of its own, or has none.
    0x009B KeyEstablishment (eui: Eui64 = "Who.",
        status: u8 = "0x34 it proved it; 0x32 it did not in time; 0x33 it could not; others tell steps on the way.");
}

/// Numbers of [`Command::SetConfigurationValue`].
pub mod config {
    /// Packets; 0xFF: as many as there is memory for.
    pub const PACKET_BUFFERS: u8 = 0x01;
    /// 2: Zigbee PRO.
    pub const STACK_PROFILE: u8 = 0x0C;
    /// 5.
    pub const SECURITY_LEVEL: u8 = 0x0D;
    /// End devices that may be children of the coordinator.
    pub const MAX_CHILDREN: u8 = 0x11;
    /// How long a frame waits for a child to poll, milliseconds.
    pub const INDIRECT_TIMEOUT: u8 = 0x12;
    /// After how long a silent child counts as gone: 2^n minutes.
    pub const CHILD_TIMEOUT: u8 = 0x13;
    /// Blocks of a longer message that are sent before an acknowledgement is waited for.
    pub const FRAGMENT_WINDOW: u8 = 0x1C;
    /// Link keys that are remembered.
    pub const KEY_TABLE: u8 = 0x1E;
    /// How long an install code counts, seconds.
    pub const TRANSIENT_KEY_TIMEOUT: u8 = 0x36;
}

/// Numbers of [`Command::SetPolicy`], and what is decided.
pub mod policy {
    /// Who may join: bits.
    pub const TRUST_CENTRE: u8 = 0x00;
    /// Bit of [`TRUST_CENTRE`]: joins.
    pub const JOINS: u8 = 0x01;
    /// Bit of [`TRUST_CENTRE`]: who missed a network key may come back with its link key.
    pub const REJOINS: u8 = 0x02;
    /// Bit of [`TRUST_CENTRE`]: only whose install code is known.
    pub const INSTALL_CODES: u8 = 0x10;
    /// What is said of the end of a message.
    pub const MESSAGE_SENT: u8 = 0x04;
    /// Decision on [`MESSAGE_SENT`]: the tag alone.
    pub const TAG_ONLY: u8 = 0x40;
    /// A device asks for a link key of its own.
    pub const LINK_KEY: u8 = 0x05;
    /// Decision on [`LINK_KEY`]: it gets a new one.
    pub const NEW_KEY: u8 = 0x52;
    /// A device asks for a key with another device.
    pub const APPLICATION_KEY: u8 = 0x06;
    /// Decision on [`APPLICATION_KEY`].
    pub const DENY: u8 = 0x60;
}

/// Numbers of [`Command::SetValue`].
pub mod value {
    /// Outgoing counter of the network key, u32.
    pub const NWK_FRAME_COUNTER: u8 = 0x23;
    /// Outgoing counter of link keys, u32.
    pub const APS_FRAME_COUNTER: u8 = 0x24;
}

/// Numbers of [`Command::SetTokenData`].
pub mod token {
    /// An address that counts instead of the dongle's own, in NCP firmware.
    pub const RESTORED_EUI64: u32 = 0x0000_E12A;
}

/// The first command after a reset, in the old header, which every protocol understands.
#[must_use]
pub fn hello(sequence: u8) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(vec![sequence, 0, 0, Protocol::OLDEST.0])
}

/// The protocol that the answer to [`hello`] names.
///
/// # Errors
/// See [`DecodeError`].
pub fn parse_hello(frame: &[u8]) -> Result<Protocol, DecodeError> {
    let mut reader = Reader::new(frame);
    let [_sequence, control, id, protocol] = reader.array()?;
    if control & FROM_NCP == 0 || id != 0 {
        return Err(DecodeError::Field("the answer to the first command"));
    }
    Ok(Protocol(protocol))
}

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Host to NCP.
    Command,
    /// NCP to host.
    Answer,
    /// NCP to host, unasked.
    Callback,
}

/// One frame, seen in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Of the command, in its answer too.
    pub sequence: u8,
    /// What it is.
    pub kind: Kind,
    /// Which command or callback.
    pub id: u16,
    /// Its fields. May hold keys.
    pub body: &'a [u8],
}

impl std::fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({:?}, {:#06x}, {} bytes)", self.kind, self.id, self.body.len())
    }
}

impl<'a> Frame<'a> {
    /// Reads a frame with the extended header.
    ///
    /// # Errors
    /// [`DecodeError::Short`], or [`DecodeError::Field`] for another header.
    pub fn parse(frame: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(frame);
        let [sequence, control, format] = reader.array()?;
        if format & 0x03 != EXTENDED {
            return Err(DecodeError::Field("the frame's format"));
        }
        let kind = match (control & FROM_NCP != 0, control & UNASKED != 0) {
            (false, _) => Kind::Command,
            (true, false) => Kind::Answer,
            (true, true) => Kind::Callback,
        };
        Ok(Self { sequence, kind, id: reader.u16()?, body: reader.rest() })
    }
}

fn frame(sequence: u8, control: u8, id: u16, body: impl FnOnce(&mut Vec<u8>)) -> Zeroizing<Vec<u8>> {
    let mut out = secret_buffer(MAX_DATA);
    let [low, high] = id.to_le_bytes();
    out.extend_from_slice(&[sequence, control, EXTENDED, low, high]);
    body(&mut out);
    out
}

impl Command {
    /// Reads a command's fields. Bytes behind its end are an error.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn parse(id: u16, body: &[u8], protocol: Protocol) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let command = Self::read(id, &mut reader, protocol)?;
        reader.finish()?;
        Ok(command)
    }

    /// The frame, for the [link](super::Link).
    #[must_use]
    pub fn encode(&self, sequence: u8, protocol: Protocol) -> Zeroizing<Vec<u8>> {
        frame(sequence, 0, self.id(), |out| self.write(protocol, out))
    }
}

impl Answer {
    /// Reads an answer's fields.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn parse(id: u16, body: &[u8], protocol: Protocol) -> Result<Self, DecodeError> {
        Self::read(id, &mut Reader::new(body), protocol)
    }

    /// The frame. For NCPs in tests and simulations.
    #[must_use]
    pub fn encode(&self, sequence: u8, protocol: Protocol) -> Zeroizing<Vec<u8>> {
        frame(sequence, FROM_NCP, self.id(), |out| self.write(protocol, out))
    }
}

impl Callback {
    /// Reads a callback's fields.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn parse(id: u16, body: &[u8], protocol: Protocol) -> Result<Self, DecodeError> {
        Self::read(id, &mut Reader::new(body), protocol)
    }

    /// The frame. For NCPs in tests and simulations.
    #[must_use]
    pub fn encode(&self, protocol: Protocol) -> Zeroizing<Vec<u8>> {
        frame(0, FROM_NCP | 0x10, self.id(), |out| self.write(protocol, out))
    }
}

#[cfg(test)]
mod tests;
