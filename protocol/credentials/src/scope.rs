//! What a grant allows: rights as named bits, and the hours of the week in which they hold.

use core::ops::BitOr;

use crate::Error;

/// A set of rights.
///
/// Sixteen bits go over the air. The unnamed ones are kept, so that a chain cannot gain one of them either, but no
/// request of this version asks for one, so they allow nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope(u16);

impl Scope {
    /// No right at all. It is never enough for anything, and no grant may have it.
    pub const NONE: Self = Self(0);
    /// Draw the bolt back.
    pub const UNLOCK: Self = Self(1);
    /// Throw the bolt.
    pub const LOCK: Self = Self(1 << 1);
    /// Read bolt, battery, clock and firmware.
    pub const STATUS: Self = Self(1 << 2);
    /// Read the log. Erasing is the platform's cursor alone.
    pub const LOG: Self = Self(1 << 3);
    /// Set, clear and list PINs.
    pub const PINS: Self = Self(1 << 4);
    /// Hand grants and revocations of the platform to the lock. It signs nothing.
    pub const GRANTS: Self = Self(1 << 5);

    /// The rights that have a name, with it, in the order of their bits.
    pub const NAMED: [(Self, &'static str); 6] = [
        (Self::UNLOCK, "unlock"),
        (Self::LOCK, "lock"),
        (Self::STATUS, "status"),
        (Self::LOG, "log"),
        (Self::PINS, "pins"),
        (Self::GRANTS, "grants"),
    ];

    /// From the two bytes on the wire, as a number.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// As it goes over the wire.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether there is no right in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a request that needs all of `needed` may be served. Nothing that needs no right at all, or one
    /// without a name, passes: such a request is a mistake of the caller.
    #[must_use]
    pub fn allows(self, needed: Self) -> bool {
        !needed.is_empty() && needed.is_within(Self::all_named()) && needed.is_within(self)
    }

    /// Whether every bit, named or not, is in `other` too.
    #[must_use]
    pub const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    fn all_named() -> Self {
        Self::NAMED.iter().fold(Self::NONE, |all, (right, _)| all | *right)
    }
}

impl BitOr for Scope {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

const QUARTER_S: u32 = 15 * 60;
const QUARTERS_A_DAY: u32 = 24 * 4;
const QUARTERS_A_WEEK: u32 = 7 * QUARTERS_A_DAY;
/// 1 January 1970 was a Thursday; our weeks begin with Monday.
const EPOCH_QUARTER: u32 = 3 * QUARTERS_A_DAY;

/// Hours of the week in UTC, in quarters of an hour.
///
/// A lock knows no time zone. Who issues shifts days and hours, and issues again when the zone changes its clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weekly {
    days: u8,
    from: u8,
    quarters: u8,
}

impl Weekly {
    /// On each of `days` (bit 0 Monday to bit 6 Sunday) for `quarters` quarters of an hour (1 to 96), beginning
    /// `from` quarters (0 to 95) after midnight. May run into the next day; Sunday is followed by Monday.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a number outside its range or no day.
    pub const fn new(days: u8, from: u8, quarters: u8) -> Result<Self, Error> {
        if days == 0 || days > 0x7f || from > 95 || quarters == 0 || quarters > 96 {
            return Err(Error::Malformed);
        }
        Ok(Self { days, from, quarters })
    }

    /// Days, first quarter and number of quarters, as they go over the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 3] {
        [self.days, self.from, self.quarters]
    }

    /// Whether the second `unix_s` is inside.
    #[must_use]
    pub fn contains(self, unix_s: u32) -> bool {
        self.has_quarter((unix_s / QUARTER_S + EPOCH_QUARTER) % QUARTERS_A_WEEK)
    }

    /// Whether every quarter of the week in here is in `other` too.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        (0..QUARTERS_A_WEEK).all(|quarter| !self.has_quarter(quarter) || other.has_quarter(quarter))
    }

    fn has_quarter(self, quarter: u32) -> bool {
        (0..7).filter(|day| self.days >> day & 1 == 1).any(|day| {
            let begin = day * QUARTERS_A_DAY + u32::from(self.from);
            (quarter + QUARTERS_A_WEEK - begin % QUARTERS_A_WEEK) % QUARTERS_A_WEEK < u32::from(self.quarters)
        })
    }
}

/// The present as a lock knows it: the true time is in here, in Unix seconds. It comes from the platform inside OSCORE
/// and from the lock's own timer, never from a site's time token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    earliest: u32,
    latest: u32,
}

impl Moment {
    /// An interval that holds the true time.
    ///
    /// # Errors
    /// [`Error::TimeUnknown`] where it is empty or as wide as a quarter of an hour: too wide to decide anything.
    pub const fn new(earliest: u32, latest: u32) -> Result<Self, Error> {
        if latest < earliest || latest - earliest >= QUARTER_S {
            return Err(Error::TimeUnknown);
        }
        Ok(Self { earliest, latest })
    }

    /// The earliest that it can be.
    #[must_use]
    pub const fn earliest(self) -> u32 {
        self.earliest
    }

    /// The latest that it can be.
    #[must_use]
    pub const fn latest(self) -> u32 {
        self.latest
    }

    /// Whether it is surely inside the window: with less than a quarter between them, both ends decide.
    #[must_use]
    pub fn is_within(self, window: Weekly) -> bool {
        window.contains(self.earliest) && window.contains(self.latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monday, 2 November 2026, 00:00 UTC.
    const MONDAY: u32 = 1_793_577_600;
    const HOUR: u32 = 3600;
    const DAY: u32 = 24 * HOUR;

    #[test]
    fn nothing_is_never_enough_and_a_bit_without_a_name_allows_nothing() {
        let all = Scope::from_bits(u16::MAX);
        assert!(all.allows(Scope::UNLOCK | Scope::GRANTS));
        assert!(!all.allows(Scope::NONE));
        assert!(!all.allows(Scope::from_bits(1 << 15)));
        assert!(!all.allows(Scope::UNLOCK | Scope::from_bits(1 << 6)));
        assert!(!(Scope::LOCK | Scope::STATUS).allows(Scope::UNLOCK));
        assert!(!Scope::UNLOCK.allows(Scope::UNLOCK | Scope::LOCK), "all that is needed, not any of it");
    }

    #[test]
    fn named_bits_are_those_of_the_document() {
        let bits: std::vec::Vec<_> = Scope::NAMED.iter().map(|(right, name)| (right.bits(), *name)).collect();
        let expected = [(1, "unlock"), (2, "lock"), (4, "status"), (8, "log"), (16, "pins"), (32, "grants")];
        assert_eq!(bits, expected);
    }

    #[test]
    fn a_window_is_days_and_quarters_in_utc() {
        let mornings = Weekly::new(0b001_1111, 36, 12).unwrap(); // Monday to Friday, 9 to 12
        for (at, inside) in [
            (MONDAY + 9 * HOUR - 1, false),
            (MONDAY + 9 * HOUR, true),
            (MONDAY + 12 * HOUR - 1, true),
            (MONDAY + 12 * HOUR, false),
            (MONDAY + 4 * DAY + 10 * HOUR, true),
            (MONDAY + 5 * DAY + 10 * HOUR, false),
            (MONDAY + 7 * DAY + 10 * HOUR, true),
        ] {
            assert_eq!(mornings.contains(at), inside, "{at}");
        }
        let nights = Weekly::new(0b100_0000, 88, 32).unwrap(); // Sunday 22:00 to Monday 06:00
        assert!(nights.contains(MONDAY + 6 * HOUR - 1) && nights.contains(MONDAY - HOUR));
        assert!(!nights.contains(MONDAY + 6 * HOUR) && !nights.contains(MONDAY + DAY));
        assert!(Weekly::new(0b111_1111, 5, 96).unwrap().contains(0));
    }

    #[test]
    fn a_window_inside_another_has_none_of_its_quarters_outside() {
        let week = Weekly::new(0x7f, 0, 96).unwrap();
        let mornings = Weekly::new(0b001_1111, 36, 12).unwrap();
        let tuesday = Weekly::new(0b000_0010, 40, 8).unwrap();
        assert!(mornings.is_within(week) && tuesday.is_within(mornings) && mornings.is_within(mornings));
        assert!(!week.is_within(mornings) && !mornings.is_within(tuesday));
        assert!(!Weekly::new(0b000_0010, 40, 9).unwrap().is_within(mornings), "a quarter too long");
        assert!(!Weekly::new(0b010_0010, 40, 8).unwrap().is_within(mornings), "Saturday");
        // The same hours, written as one long day or as two that meet.
        let shifted = Weekly::new(0x7f, 95, 96).unwrap();
        assert!(shifted.is_within(week) && week.is_within(shifted));
    }

    #[test]
    fn a_window_outside_its_ranges_is_none() {
        for (days, from, quarters) in [(0, 0, 1), (0x80, 0, 1), (1, 96, 1), (1, 0, 0), (1, 0, 97)] {
            assert_eq!(Weekly::new(days, from, quarters), Err(Error::Malformed));
        }
    }

    #[test]
    fn a_moment_is_narrow_or_unknown() {
        assert_eq!(Moment::new(5, 4), Err(Error::TimeUnknown));
        assert_eq!(Moment::new(0, 900), Err(Error::TimeUnknown));
        let nine = Weekly::new(1, 36, 4).unwrap();
        let at = |earliest, latest| Moment::new(MONDAY + earliest, MONDAY + latest).unwrap().is_within(nine);
        assert!(at(9 * HOUR, 9 * HOUR + 5) && at(10 * HOUR - 6, 10 * HOUR - 1));
        assert!(!at(9 * HOUR - 1, 9 * HOUR + 4), "perhaps too early");
        assert!(!at(10 * HOUR - 1, 10 * HOUR + 4), "perhaps too late");
    }
}
