use core::{fmt, str::FromStr};

use crate::Error;

/// What a datagram carries, and between whom.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// EDHOC between lock and platform.
    PlatformEdhoc = 0,
    /// OSCORE between lock and platform, elided.
    PlatformOscore = 1,
    /// EDHOC between two peers of a site; a peer address follows the header.
    PeerEdhoc = 2,
    /// OSCORE between two peers of a site, elided; a peer address follows the header.
    PeerOscore = 3,
    /// A public, signed site message.
    Site = 4,
    /// What framing itself says: this much was received.
    Receipt = 5,
}

impl Kind {
    /// Every kind, in wire order.
    pub const ALL: [Self; 6] = [
        Self::PlatformEdhoc,
        Self::PlatformOscore,
        Self::PeerEdhoc,
        Self::PeerOscore,
        Self::Site,
        Self::Receipt,
    ];

    /// True for the kinds whose datagrams start with a peer address.
    #[must_use]
    pub const fn is_peer(self) -> bool {
        matches!(self, Self::PeerEdhoc | Self::PeerOscore)
    }

    /// True for the kinds whose bodies are elided OSCORE messages.
    #[must_use]
    pub const fn is_oscore(self) -> bool {
        matches!(self, Self::PlatformOscore | Self::PeerOscore)
    }

    /// The name in topics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlatformEdhoc => "platform_edhoc",
            Self::PlatformOscore => "platform_oscore",
            Self::PeerEdhoc => "peer_edhoc",
            Self::PeerOscore => "peer_oscore",
            Self::Site => "site",
            Self::Receipt => "receipt",
        }
    }
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> Self {
        kind as Self
    }
}

impl TryFrom<u8> for Kind {
    type Error = Error;

    fn try_from(value: u8) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|kind| u8::from(*kind) == value).ok_or(Error::Kind)
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(Error::Kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a datagram queues. A hint: nobody who holds a key decides anything by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Class {
    /// Somebody waits for it, or an alarm.
    Interactive = 0,
    /// Must arrive, need not hurry.
    Log = 1,
    /// Welcome, replaceable by the next one.
    Telemetry = 2,
    /// Large and patient.
    Bulk = 3,
}

impl Class {
    /// Every class, most urgent first, in wire order.
    pub const ALL: [Self; 4] = [Self::Interactive, Self::Log, Self::Telemetry, Self::Bulk];

    /// The name in topics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Log => "log",
            Self::Telemetry => "telemetry",
            Self::Bulk => "bulk",
        }
    }

    /// True for the classes whose unfragmented datagrams are answered by a receipt and repeated without one.
    #[must_use]
    pub const fn has_receipt(self) -> bool {
        matches!(self, Self::Interactive | Self::Log)
    }
}

impl From<Class> for u8 {
    fn from(class: Class) -> Self {
        class as Self
    }
}

impl TryFrom<u8> for Class {
    type Error = Error;

    fn try_from(value: u8) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|class| u8::from(*class) == value).ok_or(Error::Class)
    }
}

impl FromStr for Class {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or(Error::Class)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The first byte of every frame and datagram: `version:2 kind:3 more:1 class:2`, most significant bit first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// A fragment header follows (in a receipt: a tag and a bitmap follow). Never set in a datagram.
    pub more: bool,
    /// How it queues.
    pub class: Class,
}

impl Header {
    /// Reads a header byte.
    ///
    /// # Errors
    /// [`Error::Version`] or [`Error::Kind`]: the frame is to be dropped and counted.
    pub fn decode(byte: u8) -> Result<Self, Error> {
        if byte >> 6 != 0 {
            return Err(Error::Version);
        }
        Ok(Self {
            kind: Kind::try_from((byte >> 3) & 0b111)?,
            more: byte & 0b100 != 0,
            class: Class::try_from(byte & 0b11)?,
        })
    }

    /// The header byte.
    #[must_use]
    pub const fn encode(self) -> u8 {
        (self.kind as u8) << 3 | (self.more as u8) << 2 | self.class as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_bytes() {
        let byte = |kind, more, class| Header { kind, more, class }.encode();
        assert_eq!(byte(Kind::PlatformEdhoc, false, Class::Interactive), 0x00);
        assert_eq!(byte(Kind::PlatformOscore, false, Class::Log), 0x09);
        assert_eq!(byte(Kind::PlatformOscore, true, Class::Bulk), 0x0f);
        assert_eq!(byte(Kind::PeerEdhoc, false, Class::Telemetry), 0x12);
        assert_eq!(byte(Kind::PeerOscore, true, Class::Interactive), 0x1c);
        assert_eq!(byte(Kind::Site, false, Class::Interactive), 0x20);
        assert_eq!(byte(Kind::Receipt, true, Class::Log), 0x2d);
    }

    #[test]
    fn every_byte_decodes_to_itself_or_is_refused() {
        for byte in 0..=u8::MAX {
            match Header::decode(byte) {
                Ok(header) => assert_eq!(header.encode(), byte),
                Err(Error::Version) => assert!(byte >= 0x40),
                Err(Error::Kind) => assert!((0x30..0x40).contains(&byte)),
                Err(other) => panic!("{byte:02x}: {other}"),
            }
        }
    }

    #[test]
    fn names_round_trip() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        for class in Class::ALL {
            assert_eq!(class.as_str().parse(), Ok(class));
        }
        assert_eq!("Interactive".parse::<Class>(), Err(Error::Class));
        assert_eq!("edhoc".parse::<Kind>(), Err(Error::Kind));
    }
}
