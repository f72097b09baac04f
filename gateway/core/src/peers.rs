//! Datagrams between locks, and between locks and phones at this gateway: they go from one to the other and never leave
//! the site.
//!
//! A peer is known by its site address, which routes and proves nothing. Locks have theirs for as long as they are
//! admitted; a phone has one for as long as it is attached. What comes up names its destination, what goes down its
//! source: that is all that is changed on the way.
//!
//! **Custody.** A datagram for a peer is kept in memory, for as long as a command may wait, and lost with the daemon.
//! Its receipt means that the gateway has it, or that there is nobody to have it, and nothing more: whoever waits for an
//! answer asks again by its own timer. There is no receipt while too much waits already, so a lock tries again.

use std::collections::BTreeMap;

use bytes::Bytes;
use cardea_framing::{
    Datagram, GATEWAY_ADDRESS, LAST_PEER_ADDRESS, LOCK_DATAGRAM, LockId, ReceiptToken, fragments_needed,
};

use crate::{
    Action, Millis, PeerAction, PeerInput, Relay, Wall,
    down::Waiting,
    records::{AddressRecord, Change},
};

/// Addresses from here on are for phones, as long as each is attached.
const FIRST_GUEST: u16 = 0xF000;
/// Phones at once.
const GUESTS: usize = 8;
/// Datagrams of a phone at once, and after how many milliseconds it may send one more: a handshake and a command are
/// three.
const GUEST_BURST: u32 = 16;
const GUEST_REFILL_MS: u64 = 500;
/// Datagrams of peers that wait for one lock, and how many of them are of one source.
const WAITING: usize = 8;
const WAITING_OF_ONE: usize = 4;
/// How long an address that was a lock's stays nobody's, milliseconds.
const FALLOW_MS: u64 = 30 * 86_400_000;

/// A datagram of a lock for another peer.
#[derive(Debug)]
pub(crate) struct FromLock {
    pub(crate) lock: LockId,
    pub(crate) data: Bytes,
    pub(crate) receipt: Option<ReceiptToken>,
}

/// Why a datagram goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// Nobody has this address.
    Nobody,
    /// It does not fit the other side's radio.
    TooBig,
    /// As many wait as may; later there may be room.
    Full,
}

impl Lost {
    const fn word(self) -> &'static str {
        match self {
            Self::Nobody => "nobody has this address",
            Self::TooBig => "too big for the lock's radio",
            Self::Full => "too many datagrams wait for this lock",
        }
    }
}

/// Whose each address is.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    locks: BTreeMap<u16, LockId>,
    by_lock: BTreeMap<LockId, u16>,
    /// Since when nobody has them, Unix milliseconds; 0 where the clock could not be believed.
    freed: BTreeMap<u16, u64>,
    highest: u16,
}

impl Addresses {
    fn load(records: Vec<AddressRecord>) -> Self {
        let mut all = Self::default();
        for AddressRecord { address, lock, freed } in records {
            all.highest = all.highest.max(address);
            match lock {
                Some(lock) => {
                    all.locks.insert(address, lock);
                    all.by_lock.insert(lock, address);
                }
                None => drop(all.freed.insert(address, freed)),
            }
        }
        all
    }

    pub(crate) fn of(&self, lock: LockId) -> Option<u16> {
        self.by_lock.get(&lock).copied()
    }

    /// The address of this lock, a new one if it has none, and what is to be written. Addresses that were somebody's
    /// come last, and not before they have lain fallow.
    pub(crate) fn allocate(&mut self, lock: LockId, wall: Wall) -> (Option<u16>, Vec<Change>) {
        let mut changes = Vec::new();
        let known = self.of(lock);
        let unused = self.highest.checked_add(1).filter(|next| *next < FIRST_GUEST);
        let address = known.or(unused).or_else(|| {
            for (address, freed) in self.freed.iter_mut().filter(|(_, freed)| wall.synced && **freed == 0) {
                // Nobody knows since when: from now on, then.
                *freed = wall.unix_ms;
                let record = AddressRecord { address: *address, lock: None, freed: *freed };
                changes.push(Change::PutAddress(record));
            }
            let fallow = self.freed.iter().min_by_key(|(_, freed)| **freed);
            let (address, _) = fallow.filter(|(_, freed)| {
                wall.synced && **freed != 0 && freed.saturating_add(FALLOW_MS) <= wall.unix_ms
            })?;
            Some(*address)
        });
        if let Some(address) = address {
            self.freed.remove(&address);
            self.highest = self.highest.max(address);
            self.locks.insert(address, lock);
            self.by_lock.insert(lock, address);
            changes.push(Change::PutAddress(AddressRecord { address, lock: Some(lock), freed: 0 }));
        }
        (address, changes)
    }

    /// The lock is gone.
    pub(crate) fn free(&mut self, lock: LockId, wall: Wall) -> Option<Change> {
        let address = self.by_lock.remove(&lock)?;
        self.locks.remove(&address);
        let freed = if wall.synced { wall.unix_ms } else { 0 };
        self.freed.insert(address, freed);
        Some(Change::PutAddress(AddressRecord { address, lock: None, freed }))
    }
}

/// A phone.
#[derive(Debug)]
struct Guest {
    peer: u64,
    used: u32,
    since: Millis,
}

impl Guest {
    /// Takes one datagram from its share.
    fn may_send(&mut self, now: Millis) -> bool {
        let gained = now.saturating_sub(self.since) / GUEST_REFILL_MS;
        self.used = self.used.saturating_sub(u32::try_from(gained).unwrap_or(u32::MAX));
        self.since = if self.used == 0 {
            now
        } else {
            self.since.saturating_add(gained.saturating_mul(GUEST_REFILL_MS))
        };
        let may = self.used < GUEST_BURST;
        self.used = self.used.saturating_add(u32::from(may));
        may
    }
}

/// Everybody who has an address.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) addresses: Addresses,
    guests: BTreeMap<u16, Guest>,
    /// Where the search for a free guest's address begins: not where the one before began, because a late datagram for
    /// a phone that has left is not for the next.
    next_guest: u16,
}

impl Peers {
    pub(crate) fn new(records: Vec<AddressRecord>, epoch: [u8; 8]) -> Self {
        let [high, low, ..] = epoch;
        let span = LAST_PEER_ADDRESS - FIRST_GUEST + 1;
        let next_guest = FIRST_GUEST + u16::from_be_bytes([high, low]) % span;
        Self { addresses: Addresses::load(records), guests: BTreeMap::new(), next_guest }
    }

    fn address_of(&self, peer: u64) -> Option<u16> {
        self.guests.iter().find(|(_, guest)| guest.peer == peer).map(|(address, _)| *address)
    }

    fn admit(&mut self, peer: u64, now: Millis) -> Option<u16> {
        if self.guests.len() >= GUESTS {
            return None;
        }
        while self.guests.contains_key(&self.next_guest) {
            self.next_guest = Self::after(self.next_guest);
        }
        let address = self.next_guest;
        self.next_guest = Self::after(address);
        self.guests.insert(address, Guest { peer, used: 0, since: now });
        Some(address)
    }

    const fn after(address: u16) -> u16 {
        if address >= LAST_PEER_ADDRESS { FIRST_GUEST } else { address + 1 }
    }
}

impl Relay {
    /// A phone comes, speaks or goes.
    pub(crate) fn peer(&mut self, input: PeerInput) {
        match input {
            PeerInput::Attach { peer, lock } => {
                let action = match self.attach(peer, lock) {
                    Ok((address, lock)) => PeerAction::Attached { peer, address, lock },
                    Err(why) => PeerAction::Refused { peer, why },
                };
                self.ctx.actions.push_back(Action::Peer(action));
            }
            PeerInput::Datagram { peer, data } => {
                if let Err(why) = self.hear_guest(peer, &data) {
                    self.ctx.metrics.peer_dropped += 1;
                    self.ctx.actions.push_back(Action::Peer(PeerAction::Refused { peer, why }));
                }
            }
            PeerInput::Detach { peer } => {
                if let Some(address) = self.peers.address_of(peer) {
                    self.peers.guests.remove(&address);
                }
            }
        }
    }

    fn attach(&mut self, peer: u64, lock: LockId) -> Result<(u16, u16), &'static str> {
        if !self.locks.get(&lock).is_some_and(|l| l.admitted) {
            return Err("no such lock is admitted here");
        }
        let there = self.address(lock).ok_or("this site has no address left for the lock")?;
        let here = self.peers.admit(peer, self.ctx.now).ok_or("too many phones are attached")?;
        Ok((here, there))
    }

    /// The address of an admitted lock. One that was admitted before there were addresses gets it now.
    fn address(&mut self, lock: LockId) -> Option<u16> {
        if let Some(known) = self.peers.addresses.of(lock) {
            return Some(known);
        }
        let (address, changes) = self.peers.addresses.allocate(lock, self.ctx.wall);
        changes.into_iter().for_each(|change| self.ctx.lazily(change));
        address
    }

    fn hear_guest(&mut self, peer: u64, data: &[u8]) -> Result<(), &'static str> {
        let now = self.ctx.now;
        let from = self.peers.address_of(peer).ok_or("not attached")?;
        if !self.peers.guests.get_mut(&from).is_some_and(|guest| guest.may_send(now)) {
            return Err("too many datagrams; one each half second");
        }
        // Phones speak to locks, and not through us to each other.
        let to = Datagram::parse(data).ok().and_then(|d| d.peer).ok_or("not a datagram of a peer kind")?;
        if self.peers.guests.contains_key(&to) {
            return Err(Lost::Nobody.word());
        }
        self.carry(from, data).map_err(Lost::word)
    }

    /// Carries what locks have just said to other peers.
    pub(crate) fn carry_peers(&mut self) {
        for FromLock { lock, data, receipt } in std::mem::take(&mut self.ctx.from_locks) {
            let carried = match self.address(lock) {
                Some(from) => self.carry(from, &data),
                None => Err(Lost::Nobody),
            };
            if carried.is_err() {
                self.ctx.metrics.peer_dropped += 1;
            }
            self.with_lock(lock, |l, ctx| match (carried, receipt) {
                (Err(Lost::Full), receipt) => l.release(receipt),
                (_, Some(receipt)) => l.promise(ctx, receipt),
                (_, None) => {}
            });
        }
    }

    fn carry(&mut self, from: u16, data: &[u8]) -> Result<(), Lost> {
        let datagram = Datagram::parse(data).map_err(|_| Lost::Nobody)?;
        let to = datagram.peer.filter(|to| *to != GATEWAY_ADDRESS && *to != from).ok_or(Lost::Nobody)?;
        let mut out = vec![0; data.len()];
        // As long as it was: one address takes the place of another.
        Datagram { peer: Some(from), ..datagram }.encode(&mut out).map_err(|_| Lost::Nobody)?;
        let out = Bytes::from(out);
        if let Some(guest) = self.peers.guests.get(&to) {
            let action = PeerAction::Datagram { peer: guest.peer, data: out };
            self.ctx.actions.push_back(Action::Peer(action));
            self.ctx.metrics.peer_frames += 1;
            return Ok(());
        }
        let lock = self.peers.addresses.locks.get(&to).copied().ok_or(Lost::Nobody)?;
        let entry = self.locks.get(&lock).filter(|l| l.admitted).ok_or(Lost::Nobody)?;
        let mtu = entry.air.map_or(usize::MAX, |air| usize::from(air.mtu));
        let len = out.len();
        if len > LOCK_DATAGRAM || (len > mtu && fragments_needed(len, mtu).is_none()) {
            return Err(Lost::TooBig);
        }
        let waiting = entry.down.as_ref().map_or((0, 0), |down| down.of_peers(from));
        if waiting.0 >= WAITING || waiting.1 >= WAITING_OF_ONE {
            return Err(Lost::Full);
        }
        let life = entry.air.map_or(self.ctx.config.life_ms, |air| air.life_ms);
        let deadline = self.ctx.now.saturating_add(u64::from(life));
        let class = datagram.class;
        self.ctx.metrics.peer_frames += 1;
        self.with_lock(lock, |l, _| {
            l.down().push(Waiting { id: None, from: Some(from), class, data: out, deadline, ready: true });
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn wall(unix_ms: u64) -> Wall {
        Wall { unix_ms, synced: true }
    }

    fn lock(n: u32) -> LockId {
        LockId((u64::from(n) + 1).to_be_bytes())
    }

    fn address(addresses: &mut Addresses, n: u32, at: u64) -> Option<u16> {
        addresses.allocate(lock(n), wall(at)).0
    }

    #[test]
    fn an_address_is_nobody_s_for_thirty_days_and_unused_ones_come_first() {
        let mut addresses = Addresses::default();
        assert_eq!(address(&mut addresses, 0, NOW), Some(1));
        assert_eq!(address(&mut addresses, 0, NOW), Some(1), "the same lock");
        assert_eq!(address(&mut addresses, 1, NOW), Some(2));
        addresses.free(lock(0), wall(NOW)).unwrap();
        assert_eq!(address(&mut addresses, 2, NOW + 2 * FALLOW_MS), Some(3));
        addresses.highest = FIRST_GUEST - 1;
        addresses.free(lock(1), wall(NOW + 1)).unwrap();
        assert_eq!(address(&mut addresses, 3, NOW + FALLOW_MS - 1), None);
        let unsynced = Wall { unix_ms: NOW + FALLOW_MS, synced: false };
        assert_eq!(addresses.allocate(lock(3), unsynced).0, None, "who knows what time it is");
        assert_eq!(address(&mut addresses, 3, NOW + FALLOW_MS), Some(1));
        assert_eq!(address(&mut addresses, 4, NOW + FALLOW_MS), None);
        assert_eq!(address(&mut addresses, 4, NOW + FALLOW_MS + 1), Some(2));
    }

    #[test]
    fn what_was_freed_at_no_known_time_lies_fallow_from_when_the_time_is_known() {
        let mut addresses = Addresses::default();
        address(&mut addresses, 0, NOW);
        addresses.free(lock(0), Wall { unix_ms: 5, synced: false });
        addresses.highest = FIRST_GUEST - 1;
        let (none, changes) = addresses.allocate(lock(1), wall(NOW));
        assert_eq!(none, None);
        let stamped = AddressRecord { address: 1, lock: None, freed: NOW };
        assert_eq!(changes, [Change::PutAddress(stamped.clone())]);
        // A restart knows what was written.
        let mut again = Addresses::load(vec![stamped]);
        again.highest = FIRST_GUEST - 1;
        assert_eq!(address(&mut again, 1, NOW + FALLOW_MS - 1), None);
        assert_eq!(address(&mut again, 1, NOW + FALLOW_MS), Some(1));
    }

    #[test]
    fn a_guest_s_address_is_not_the_one_before_s() {
        let mut peers = Peers::new(Vec::new(), [0xff; 8]);
        let first = peers.admit(1, 0).unwrap();
        peers.guests.clear();
        assert_ne!(peers.admit(2, 0).unwrap(), first);
        let others: Vec<u16> = (3..9).map(|n| peers.admit(n, 0).unwrap()).collect();
        assert!(others.iter().all(|a| (FIRST_GUEST..=LAST_PEER_ADDRESS).contains(a)));
        assert!(peers.admit(9, 0).is_some());
        assert_eq!(peers.admit(10, 0), None, "eight at once");
    }
}
