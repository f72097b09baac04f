//! The five traits of a board, answered by the firmware's callbacks.
//!
//! Whatever a callback returns is checked here: lengths, bolt positions, points, signatures, a clock that goes back.
#![allow(unsafe_code)] // calls through function pointers of the firmware

use core::ffi::c_void;

use cardea_agent::{Actuator, ActuatorFault, Board, Clock, Parts, Slot, Storage, StorageFault};
use cardea_credentials::{
    Agreement, Error as CredentialError, PublicKey, Random, SharedSecret, Signer, verify,
};
use cardea_resources::{Bolt, Op};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::abi::cardea_status::{self, *};
use crate::abi::{
    CARDEA_BOLT_JAMMED, CARDEA_BOLT_LOCKED, CARDEA_BOLT_UNKNOWN, CARDEA_BOLT_UNLOCKED, CARDEA_OP_LOCK,
    CARDEA_OP_UNLOCK, CARDEA_PUBLIC_KEY_LEN, CARDEA_RECORD_DAMAGED, CARDEA_RECORD_MAX, CARDEA_SLOT_COUNT,
    cardea_actuator, cardea_board, cardea_clock, cardea_keys, cardea_random, cardea_storage,
};
use crate::memory::take;

const _: () =
    assert!(CARDEA_SLOT_COUNT as usize == Slot::COUNT, "CARDEA_SLOT_COUNT is not what the agent needs");
const _: () = assert!(CARDEA_RECORD_MAX == Slot::MAX_LEN);

/// Times above this are taken for this: 146 million years, and sums of timers stay below the end of u64.
const LATEST_MS: u64 = u64::MAX >> 2;

/// A board of callbacks.
pub(crate) struct CBoard;

impl Board for CBoard {
    type Storage = CStorage;
    type Clock = CClock;
    type Random = CRandom;
    type Identity = CIdentity;
    type Dh = CAgreement;
    type Actuator = CActuator;
}

/// Copies the tables and asks for the public keys.
///
/// # Safety
/// `board` is null or as the header says, and so are the tables that it points to. The callbacks are functions of
/// those types, safe to call with their `ctx` until the agent is shut down.
pub(crate) unsafe fn parts(board: *const cardea_board) -> Result<Parts<CBoard>, cardea_status> {
    // SAFETY: passed on, table by table.
    unsafe {
        let board = take(board)?;
        let keys = Keys::new(board.keys)?;
        let identity = public_key(keys.ctx, keys.identity_public)?;
        let dh = public_key(keys.ctx, keys.dh_public)?;
        Ok(Parts {
            storage: CStorage::new(board.storage)?,
            clock: CClock::new(board.clock)?,
            random: CRandom::new(board.random)?,
            identity: CIdentity { ctx: keys.ctx, sign: keys.identity_sign, public: identity },
            dh: CAgreement { ctx: keys.ctx, agree: keys.dh_agree, public: dh },
            actuator: CActuator::new(board.actuator)?,
        })
    }
}

/// A callback that must be there.
fn needed<F>(callback: Option<F>) -> Result<F, cardea_status> {
    callback.ok_or(CARDEA_ERR_ARGUMENT)
}

/// [`cardea_storage`], checked.
pub(crate) struct CStorage {
    ctx: *mut c_void,
    read: unsafe extern "C" fn(*mut c_void, u32, *mut u8, usize) -> i32,
    write: unsafe extern "C" fn(*mut c_void, u32, *const u8, usize) -> i32,
    erase: unsafe extern "C" fn(*mut c_void, u32) -> i32,
    erase_all: Option<unsafe extern "C" fn(*mut c_void, *const u32, usize) -> i32>,
}

impl CStorage {
    /// # Safety
    /// As [`parts`].
    pub(crate) unsafe fn new(table: *const cardea_storage) -> Result<Self, cardea_status> {
        // SAFETY: passed on.
        let table = unsafe { take(table)? };
        if table.slots < CARDEA_SLOT_COUNT {
            return Err(CARDEA_ERR_STORAGE);
        }
        Ok(Self {
            ctx: table.ctx,
            read: needed(table.read)?,
            write: needed(table.write)?,
            erase: needed(table.erase)?,
            erase_all: table.erase_all,
        })
    }
}

impl Storage for CStorage {
    fn read(&mut self, slot: Slot, out: &mut [u8]) -> Result<Option<usize>, StorageFault> {
        // SAFETY: `out` is as long as we say. Who made this table promised the rest.
        let length = unsafe { (self.read)(self.ctx, slot.index() as u32, out.as_mut_ptr(), out.len()) };
        match usize::try_from(length) {
            Ok(0) => Ok(None),
            Ok(length) if length <= out.len() => Ok(Some(length)),
            _ if length == CARDEA_RECORD_DAMAGED => Ok(Some(0)), // to the agent, a record that makes no sense
            _ => Err(StorageFault),
        }
    }

    fn write(&mut self, slot: Slot, record: &[u8]) -> Result<(), StorageFault> {
        // SAFETY: `record` is as long as we say. Who made this table promised the rest.
        let done = unsafe { (self.write)(self.ctx, slot.index() as u32, record.as_ptr(), record.len()) };
        if done == 0 { Ok(()) } else { Err(StorageFault) }
    }

    fn erase(&mut self, slot: Slot) -> Result<(), StorageFault> {
        // SAFETY: who made this table promised it.
        let done = unsafe { (self.erase)(self.ctx, slot.index() as u32) };
        if done == 0 { Ok(()) } else { Err(StorageFault) }
    }

    fn erase_all(&mut self, which: fn(Slot) -> bool) -> Result<(), StorageFault> {
        let Some(erase_all) = self.erase_all else {
            return Slot::all().filter(|&slot| which(slot)).try_for_each(|slot| self.erase(slot));
        };
        let mut slots = [0; Slot::COUNT];
        let chosen = Slot::all().filter(|&slot| which(slot));
        let count = slots.iter_mut().zip(chosen).map(|(number, slot)| *number = slot.index() as u32).count();
        // SAFETY: `slots` has at least `count` numbers. Who made this table promised the rest.
        let done = unsafe { erase_all(self.ctx, slots.as_ptr(), count) };
        if done == 0 { Ok(()) } else { Err(StorageFault) }
    }
}

/// The slot with this number, for those who lay out flash.
pub(crate) fn slot(number: u32) -> Option<Slot> {
    let number = usize::try_from(number).ok()?;
    Slot::all().find(|slot| slot.index() == number)
}

/// [`cardea_keys`], checked.
struct Keys {
    ctx: *mut c_void,
    identity_public: PublicFn,
    identity_sign: unsafe extern "C" fn(*mut c_void, *const u8, *mut u8) -> i32,
    dh_public: PublicFn,
    dh_agree: unsafe extern "C" fn(*mut c_void, *const u8, *mut u8) -> i32,
}

type PublicFn = unsafe extern "C" fn(*mut c_void, *mut u8) -> i32;

impl Keys {
    /// # Safety
    /// As [`parts`].
    unsafe fn new(table: *const cardea_keys) -> Result<Self, cardea_status> {
        // SAFETY: passed on.
        let table = unsafe { take(table)? };
        Ok(Self {
            ctx: table.ctx,
            identity_public: needed(table.identity_public)?,
            identity_sign: needed(table.identity_sign)?,
            dh_public: needed(table.dh_public)?,
            dh_agree: needed(table.dh_agree)?,
        })
    }
}

/// # Safety
/// As [`parts`].
unsafe fn public_key(ctx: *mut c_void, ask: PublicFn) -> Result<PublicKey, cardea_status> {
    let mut sec1 = [0; CARDEA_PUBLIC_KEY_LEN];
    // SAFETY: `sec1` has the length that the callback may write. Who made this table promised the rest.
    if unsafe { ask(ctx, sec1.as_mut_ptr()) } != 0 {
        return Err(CARDEA_ERR_KEY);
    }
    PublicKey::from_sec1(&sec1).map_err(|_| CARDEA_ERR_KEY)
}

/// The identity key behind its callback. The public half was asked for once.
pub(crate) struct CIdentity {
    ctx: *mut c_void,
    sign: unsafe extern "C" fn(*mut c_void, *const u8, *mut u8) -> i32,
    public: PublicKey,
}

impl Signer for CIdentity {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], CredentialError> {
        let digest: [u8; 32] = Sha256::digest(message).into();
        let mut signature = [0; 64];
        // SAFETY: both arrays have the lengths of the header. Who made this table promised the rest.
        if unsafe { (self.sign)(self.ctx, digest.as_ptr(), signature.as_mut_ptr()) } != 0 {
            return Err(CredentialError::KeyUnavailable);
        }
        // Signed once and kept for life: a driver with the bytes in another order must not get as far as the shop.
        verify(&self.public, message, &signature).map_err(|_| CredentialError::KeyUnavailable)?;
        Ok(signature)
    }
}

/// The Diffie-Hellman key behind its callback.
pub(crate) struct CAgreement {
    ctx: *mut c_void,
    agree: unsafe extern "C" fn(*mut c_void, *const u8, *mut u8) -> i32,
    public: PublicKey,
}

impl Agreement for CAgreement {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, CredentialError> {
        let peer = sec1(peer);
        let mut shared = [0; 32];
        // SAFETY: both arrays have the lengths of the header. Who made this table promised the rest.
        let done = unsafe { (self.agree)(self.ctx, peer.as_ptr(), shared.as_mut_ptr()) };
        let secret = SharedSecret::new(shared);
        shared.zeroize();
        if done == 0 { Ok(secret) } else { Err(CredentialError::KeyUnavailable) }
    }
}

/// The uncompressed form: 0x04, x, y.
pub(crate) fn sec1(key: &PublicKey) -> [u8; CARDEA_PUBLIC_KEY_LEN] {
    let mut out = [4; CARDEA_PUBLIC_KEY_LEN];
    let coordinates = key.x().into_iter().chain(key.y());
    out.iter_mut().skip(1).zip(coordinates).for_each(|(to, from)| *to = from);
    out
}

/// [`cardea_clock`], checked, and held to its promises.
pub(crate) struct CClock {
    ctx: *mut c_void,
    millis: unsafe extern "C" fn(*mut c_void) -> u64,
    rtc: Option<unsafe extern "C" fn(*mut c_void, *mut u64) -> i32>,
    latest: u64,
}

impl CClock {
    /// # Safety
    /// As [`parts`].
    unsafe fn new(table: *const cardea_clock) -> Result<Self, cardea_status> {
        // SAFETY: passed on.
        let table = unsafe { take(table)? };
        Ok(Self { ctx: table.ctx, millis: needed(table.millis)?, rtc: table.rtc, latest: 0 })
    }
}

impl Clock for CClock {
    fn millis(&mut self) -> u64 {
        // SAFETY: who made this table promised it.
        let now = unsafe { (self.millis)(self.ctx) };
        // A challenge that lives 30 s must not live longer because a clock went back.
        self.latest = self.latest.max(now.min(LATEST_MS));
        self.latest
    }

    fn rtc(&mut self) -> Option<u64> {
        let mut millis = 0;
        // SAFETY: `millis` is a u64 of ours. Who made this table promised the rest.
        let done = unsafe { (self.rtc?)(self.ctx, &raw mut millis) };
        (done == 0).then_some(millis.min(LATEST_MS))
    }
}

/// [`cardea_random`], checked.
pub(crate) struct CRandom {
    ctx: *mut c_void,
    fill: unsafe extern "C" fn(*mut c_void, *mut u8, usize) -> i32,
}

impl CRandom {
    /// # Safety
    /// As [`parts`].
    pub(crate) unsafe fn new(table: *const cardea_random) -> Result<Self, cardea_status> {
        // SAFETY: passed on.
        let table = unsafe { take(table)? };
        Ok(Self { ctx: table.ctx, fill: needed(table.fill)? })
    }
}

impl Random for CRandom {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), CredentialError> {
        // SAFETY: `out` is as long as we say. Who made this table promised the rest.
        let done = unsafe { (self.fill)(self.ctx, out.as_mut_ptr(), out.len()) };
        if done == 0 { Ok(()) } else { Err(CredentialError::RandomUnavailable) }
    }
}

/// [`cardea_actuator`], checked.
pub(crate) struct CActuator {
    ctx: *mut c_void,
    drive: unsafe extern "C" fn(*mut c_void, u8) -> i32,
    bolt: unsafe extern "C" fn(*mut c_void) -> i32,
    battery: unsafe extern "C" fn(*mut c_void) -> i32,
}

impl CActuator {
    /// # Safety
    /// As [`parts`].
    unsafe fn new(table: *const cardea_actuator) -> Result<Self, cardea_status> {
        // SAFETY: passed on.
        let table = unsafe { take(table)? };
        Ok(Self {
            ctx: table.ctx,
            drive: needed(table.drive)?,
            bolt: needed(table.bolt)?,
            battery: needed(table.battery)?,
        })
    }
}

impl Actuator for CActuator {
    fn drive(&mut self, op: Op) -> Result<Bolt, ActuatorFault> {
        // SAFETY: who made this table promised it.
        let answer = unsafe { (self.drive)(self.ctx, op_code(op)) };
        bolt(answer).ok_or(ActuatorFault)
    }

    fn bolt(&mut self) -> Bolt {
        // SAFETY: who made this table promised it.
        let answer = unsafe { (self.bolt)(self.ctx) };
        bolt(answer).unwrap_or(Bolt::Unknown)
    }

    fn battery(&mut self) -> u8 {
        // SAFETY: who made this table promised it.
        let answer = unsafe { (self.battery)(self.ctx) };
        answer.clamp(0, 100) as u8
    }
}

fn bolt(answer: i32) -> Option<Bolt> {
    match answer {
        CARDEA_BOLT_LOCKED => Some(Bolt::Locked),
        CARDEA_BOLT_UNLOCKED => Some(Bolt::Unlocked),
        CARDEA_BOLT_JAMMED => Some(Bolt::Jammed),
        CARDEA_BOLT_UNKNOWN => Some(Bolt::Unknown),
        _ => None,
    }
}

pub(crate) fn op_code(op: Op) -> u8 {
    match op {
        Op::Lock => CARDEA_OP_LOCK,
        Op::Unlock => CARDEA_OP_UNLOCK,
    }
}
