use crate::Error;

/// A resource, named by the single `Uri-Path` segment it has on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// `s`
    Status,
    /// `l`
    Bolt,
    /// `b`
    Battery,
    /// `g`
    Log,
    /// `t`
    Time,
    /// `p`
    Pins,
    /// `a`
    Site,
    /// `e`
    Events,
}

impl Path {
    /// Every path, in the order of the table in the crate's documentation.
    pub const ALL: [Self; 8] = [
        Self::Status,
        Self::Bolt,
        Self::Battery,
        Self::Log,
        Self::Time,
        Self::Pins,
        Self::Site,
        Self::Events,
    ];

    /// The `Uri-Path` segment.
    pub fn segment(self) -> &'static str {
        match self {
            Self::Status => "s",
            Self::Bolt => "l",
            Self::Battery => "b",
            Self::Log => "g",
            Self::Time => "t",
            Self::Pins => "p",
            Self::Site => "a",
            Self::Events => "e",
        }
    }

    /// The path with this `Uri-Path` segment.
    pub fn from_segment(segment: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|path| path.segment().as_bytes() == segment)
    }

    /// The Open Connectivity Foundation resource type that the SDK shows for this path. Where OCF defines none, a
    /// vendor type of the form OCF reserves for that.
    pub fn resource_type(self) -> &'static str {
        match self {
            Self::Status | Self::Bolt => "oic.r.lock.status",
            Self::Battery => "oic.r.energy.battery",
            Self::Log => "x.cardea.r.log",
            Self::Time => "x.cardea.r.time",
            Self::Pins => "x.cardea.r.pins",
            Self::Site => "x.cardea.r.site",
            Self::Events => "x.cardea.r.event",
        }
    }
}

impl TryFrom<&[u8]> for Path {
    type Error = Error;

    /// # Errors
    /// [`Error::WrongType`] when the segment names no resource.
    fn try_from(segment: &[u8]) -> Result<Self, Error> {
        Self::from_segment(segment).ok_or(Error::WrongType)
    }
}
