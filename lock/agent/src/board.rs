//! What a board gives the agent: storage, clock, randomness, two keys and an actuator.

use cardea_credentials::{Agreement, Random, Signer};
use cardea_resources::{Bolt, Op};

/// Log entries that fit into NVM.
pub const LOG_SLOTS: u8 = 64;
/// PIN slots.
pub const PIN_SLOTS: u8 = 16;
/// Pages of the platform's revocation list that a lock holds: 384 keys. Under a longer list no grant holds.
pub const LIST_PAGES: u8 = 16;
/// Pages for what the site's authority has revoked besides: 96 keys. When they are full no grant holds.
pub const ADDED_PAGES: u8 = 4;
/// OSCORE contexts kept at once: the one in use, and the next until it is confirmed.
pub const CONTEXTS: usize = 2;

/// A named record in non-volatile memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Slot {
    /// The owner code, until it is burnt. Written at the factory by [`provision`](crate::provision).
    Code,
    /// The lock's own CWT, written once: what a platform pinned must stay the same bytes for life.
    Identity,
    /// The pinned owner root and the platform credential under it.
    Owner,
    /// Keys of an OSCORE context, 0 or 1. Written once per EDHOC.
    Context(u8),
    /// Sender sequence limit of a context, 0 or 1. Written every 64 messages.
    Sequence(u8),
    /// Replay windows and the command-id cache. Written before and after each effect.
    Ledger,
    /// Where the log begins and ends.
    LogMeta,
    /// One log entry, below [`LOG_SLOTS`].
    Log(u8),
    /// The last platform time and the RTC at that moment.
    Time,
    /// One PIN, below [`PIN_SLOTS`]: salted and hashed. Written when the platform sets or clears it.
    Pin(u8),
    /// Grants for one use that were used and have not expired. Written before such a grant has its effect.
    Uses,
    /// The site, its authority, and which revocation lists are in force.
    Site,
    /// A page of the platform's revocation list, below twice [`LIST_PAGES`]: one half in force, the other half for the
    /// next list.
    Revoked(u8),
    /// Keys that the site's authority has revoked, below [`ADDED_PAGES`].
    Added(u8),
    /// What the owner code after the next owner reset comes from. Written when the code is burnt.
    Successor,
    /// An owner reset that is not finished, and afterwards the root that alone may activate next, if one may.
    Reset,
}

impl Slot {
    /// Number of slots.
    pub const COUNT: usize =
        14 + LOG_SLOTS as usize + PIN_SLOTS as usize + 2 * LIST_PAGES as usize + ADDED_PAGES as usize;
    /// Bytes of the largest record.
    pub const MAX_LEN: usize = 384;

    /// A dense number below [`Self::COUNT`], the same for the life of a device: for laying slots out in flash.
    pub fn index(self) -> usize {
        const FEW: usize = 10 + LOG_SLOTS as usize + PIN_SLOTS as usize;
        match self {
            Self::Code => 0,
            Self::Identity => 1,
            Self::Owner => 2,
            Self::Context(n) => 3 + usize::from(n & 1),
            Self::Sequence(n) => 5 + usize::from(n & 1),
            Self::Ledger => 7,
            Self::LogMeta => 8,
            Self::Time => 9,
            Self::Log(n) => 10 + usize::from(n % LOG_SLOTS),
            Self::Pin(n) => 10 + usize::from(LOG_SLOTS) + usize::from(n % PIN_SLOTS),
            Self::Uses => FEW,
            Self::Site => FEW + 1,
            Self::Revoked(n) => FEW + 2 + usize::from(n % (2 * LIST_PAGES)),
            Self::Added(n) => FEW + 2 + 2 * usize::from(LIST_PAGES) + usize::from(n % ADDED_PAGES),
            Self::Successor => FEW + 2 + 2 * usize::from(LIST_PAGES) + usize::from(ADDED_PAGES),
            Self::Reset => FEW + 3 + 2 * usize::from(LIST_PAGES) + usize::from(ADDED_PAGES),
        }
    }

    /// Every slot, once.
    pub fn all() -> impl Iterator<Item = Self> {
        let few = [Self::Code, Self::Identity, Self::Owner, Self::Ledger, Self::LogMeta, Self::Time];
        let pairs = [Self::Context(0), Self::Context(1), Self::Sequence(0), Self::Sequence(1)];
        few.into_iter()
            .chain(pairs)
            .chain((0..LOG_SLOTS).map(Self::Log))
            .chain((0..PIN_SLOTS).map(Self::Pin))
            .chain([Self::Uses, Self::Site])
            .chain((0..2 * LIST_PAGES).map(Self::Revoked))
            .chain((0..ADDED_PAGES).map(Self::Added))
            .chain([Self::Successor, Self::Reset])
    }

    /// Whether an older record must not stay behind in the medium when this slot is written again: keys, codes and
    /// what a PIN is compared with.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Code | Self::Successor | Self::Context(_) | Self::Pin(_))
    }

    /// The most bytes a record in this slot has.
    pub const fn max_len(self) -> usize {
        match self {
            Self::Code => 16,
            Self::Identity => 192,
            Self::Owner => Self::MAX_LEN,
            Self::Context(_) => 64,
            Self::Sequence(_) => 13,
            Self::Ledger => 128,
            Self::LogMeta => 9,
            Self::Log(_) => 32,
            Self::Time => 29,
            Self::Pin(_) => 30,
            Self::Uses => 193,
            Self::Site => 113,
            Self::Revoked(_) => 197,
            Self::Added(_) => 205,
            Self::Successor => 17,
            Self::Reset => 46, // version, state, index, nonce, thumbprint
        }
    }
}

/// The medium failed. What it holds of the slot is the old record or the new one, never a mixture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StorageFault;

/// Non-volatile memory of small records.
///
/// `write` and `erase` are atomic and durable when they return: after a power cut at any moment a slot reads as the
/// old record or the new one. `cardea-flash` does so in raw NOR flash; an implementation of your own needs a checksum
/// and two copies per slot, or a log-structured file system. It must never be restored from a backup, and never fall back
/// to an older record where the newest is damaged: sequence numbers would repeat. A damaged record may be given with
/// no bytes; the agent takes it for one that makes no sense.
pub trait Storage {
    /// Copies the record to the front of `out` and returns its length; `None` for an empty slot.
    ///
    /// # Errors
    /// [`StorageFault`], also when the record does not fit.
    fn read(&mut self, slot: Slot, out: &mut [u8]) -> Result<Option<usize>, StorageFault>;

    /// Replaces the record. What the slot held before does not stay behind in the medium if it
    /// [is a secret](Slot::is_secret), as far as the medium allows.
    ///
    /// # Errors
    /// [`StorageFault`].
    fn write(&mut self, slot: Slot, record: &[u8]) -> Result<(), StorageFault>;

    /// Empties the slot and overwrites what it held, as far as the medium allows.
    ///
    /// # Errors
    /// [`StorageFault`].
    fn erase(&mut self, slot: Slot) -> Result<(), StorageFault>;

    /// Empties all slots for which `which` is true, as [`erase`](Self::erase) does, each or all at once: a power cut may
    /// leave some of them erased. For media that have something better than one after the other.
    ///
    /// # Errors
    /// [`StorageFault`].
    fn erase_all(&mut self, which: fn(Slot) -> bool) -> Result<(), StorageFault> {
        Slot::all().filter(|&slot| which(slot)).try_for_each(|slot| self.erase(slot))
    }
}

/// The lock's own time.
pub trait Clock {
    /// Milliseconds since boot: never goes back, does not wrap, counts through deep sleep.
    fn millis(&mut self) -> u64;

    /// Milliseconds of a battery-backed counter with any starting point that runs on through resets. `None` where
    /// there is none, or when it has lost power since [`Slot::Time`] was last written.
    fn rtc(&mut self) -> Option<u64>;
}

/// The motor did not bring the bolt where it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ActuatorFault;

/// Bolt and battery.
pub trait Actuator {
    /// Moves the bolt and returns where it is then. Called once per executed command, after the command is in NVM.
    ///
    /// # Errors
    /// [`ActuatorFault`] when the motor could not run or the bolt did not arrive.
    fn drive(&mut self, op: Op) -> Result<Bolt, ActuatorFault>;

    /// Where the bolt is, by its sensor.
    fn bolt(&mut self) -> Bolt;

    /// Remaining charge, 0 to 100 percent.
    fn battery(&mut self) -> u8;
}

/// The types of one board, so that the agent has one type parameter. Implement it on an empty type.
pub trait Board {
    /// Non-volatile memory.
    type Storage: Storage;
    /// Time since boot, and the RTC where there is one.
    type Clock: Clock;
    /// A cryptographic random source; a secure element's, or a health-checked TRNG's DRBG.
    type Random: Random;
    /// The identity key: signs once in the lock's life.
    type Identity: Signer;
    /// The Diffie-Hellman key that EDHOC authenticates with.
    type Dh: Agreement;
    /// Bolt and battery.
    type Actuator: Actuator;
}

/// The parts an agent is booted from, and falls apart into again.
pub struct Parts<B: Board> {
    /// Non-volatile memory.
    pub storage: B::Storage,
    /// Time.
    pub clock: B::Clock,
    /// Randomness.
    pub random: B::Random,
    /// Identity key.
    pub identity: B::Identity,
    /// Diffie-Hellman key.
    pub dh: B::Dh,
    /// Bolt and battery.
    pub actuator: B::Actuator,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_slot_has_its_own_index() {
        let slots: std::vec::Vec<_> = Slot::all().collect();
        let indices: BTreeSet<_> = slots.iter().map(|slot| slot.index()).collect();
        assert_eq!(indices.len(), slots.len());
        assert_eq!(indices, (0..Slot::COUNT).collect());
        assert!(slots.iter().all(|slot| slot.max_len() <= Slot::MAX_LEN));
    }
}
