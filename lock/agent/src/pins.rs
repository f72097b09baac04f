//! PINs: kept as salted, iterated hashes in one slot each, changed by the platform, entered at the pad.

use cardea_oscore::coap::Code;
use cardea_resources::{EventKind, Op, Outcome, Pin, PinChange, PinEntry, PinList, PinSetting, PinUse};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use crate::agent::{Agent, AgentEvent, Alarm};
use crate::board::{Board, Clock, PIN_SLOTS, Slot, Storage, StorageFault};
use crate::bytes::{Reader, Writer};
use crate::ledger::By;
use crate::serve::Answer;
use crate::time::thousandth;

/// Iterations of PBKDF2: a fraction of a second on a small microcontroller, once for each entry.
const ITERATIONS: u32 = 1_000;
const RECORD_VERSION: u8 = 1;
const VERIFIER_LEN: usize = 16;
const DURESS: u8 = 1;
const NOT_BEFORE: u8 = 2;
const NOT_AFTER: u8 = 4;

/// What came of a PIN. Says nothing about duress, so that no firmware can show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PinResult {
    /// The bolt is withdrawn.
    Unlocked,
    /// The PIN was right, and the bolt did not arrive.
    Jammed,
    /// No slot has this PIN, or not at this time.
    Wrong,
    /// The pad is closed for so many milliseconds; nothing was looked at.
    Refused(u64),
    /// The medium failed; nothing was done.
    StorageFailed,
}

/// A slot's record in NVM.
struct Record {
    /// Also of an empty slot that once was in use.
    revision: u32,
    pin: Option<Stored>,
}

struct Stored {
    flags: u8,
    not_before: u32,
    not_after: u32,
    verifier: [u8; VERIFIER_LEN],
}

impl<B: Board> Agent<B> {
    /// A PIN was entered and closed with the pad's enter key. Right, and inside its time, it unlocks.
    ///
    /// The attempt is counted in NVM before the PIN is looked at, and the unlock takes the path of a command. Times of
    /// this call depend neither on which slot matches nor on its duress flag.
    pub fn enter_pin(&mut self, digits: &[u8]) -> PinResult {
        let now = self.parts.clock.millis();
        let result = if self.owner.is_some() { self.pin_entered(now, digits) } else { PinResult::Wrong };
        self.pump();
        result
    }

    fn pin_entered(&mut self, now: u64, digits: &[u8]) -> PinResult {
        if let Some(until) = self.pad.refused_until(now) {
            return PinResult::Refused(until.saturating_sub(now));
        }
        let closes = self.pad.wrong(now);
        self.ledger.wrong_pins = self.pad.count(now);
        let counted = self.ledger.save(&mut self.parts.storage);
        let found = counted.and_then(|()| self.find_pin(now, digits));
        match found {
            Ok(Some(used)) => {
                self.pad.forgive();
                self.ledger.wrong_pins = 0;
                // Names the entry in ledger and log; the log's index makes it unique as long as that matters.
                let [_, high, mid, low] = self.log.end().to_be_bytes();
                let id = [used.to_u32() as u8, high, mid, low];
                match self.carry_out(By::PIN, id, Op::Unlock) {
                    Ok(Outcome::Done) => PinResult::Unlocked,
                    Ok(_) => PinResult::Jammed,
                    Err(StorageFault) => self.pad_failed(),
                }
            }
            Ok(None) => {
                if closes {
                    self.log_event(now, EventKind::PinLimit, None);
                    self.tell(AgentEvent::Alarm(Alarm::PinPadClosed));
                }
                PinResult::Wrong
            }
            Err(StorageFault) => self.pad_failed(),
        }
    }

    fn pad_failed(&mut self) -> PinResult {
        self.tell(AgentEvent::StorageFailed);
        PinResult::StorageFailed
    }

    /// Compares with every slot, whichever matches. At most one does: equal PINs are refused when they are set.
    #[inline(never)]
    fn find_pin(&mut self, now: u64, digits: &[u8]) -> Result<Option<PinUse>, StorageFault> {
        let present = self.time.trusted(now).map(|present| {
            let earliest = thousandth(present.unix_ms.saturating_sub(present.uncertainty_ms));
            (earliest, thousandth(present.unix_ms.saturating_add(present.uncertainty_ms)))
        });
        let Ok(pin) = Pin::new(digits) else { return Ok(None) };
        let key = stretch(pin.digits(), &self.cwt, ITERATIONS);
        let mut code = 0_u8;
        for slot in 0..PIN_SLOTS {
            let expected = verifier(&key, slot);
            let record = load(&mut self.parts.storage, slot)?;
            let stored = record.and_then(|record| record.pin);
            let (flags, in_time) = stored.as_ref().map_or((0, false), |stored| stored.in_time(present));
            let same = stored.as_ref().map_or([0; VERIFIER_LEN], |stored| stored.verifier).ct_eq(&*expected);
            let right = same & Choice::from(u8::from(in_time));
            let used = PinUse { slot, duress: flags & DURESS != 0, failed: false };
            code.conditional_assign(&(used.to_u32() as u8), right);
        }
        Ok(PinUse::from_u32(code.into()))
    }

    /// `GET p`.
    #[inline(never)]
    pub(crate) fn pin_list(&mut self) -> Answer {
        let mut highest = 0;
        let mut entries = heapless::Vec::<PinEntry, { PIN_SLOTS as usize }>::new();
        for slot in 0..PIN_SLOTS {
            let Ok(record) = load(&mut self.parts.storage, slot) else { return self.storage_failed() };
            let Some(record) = record else { continue };
            highest = highest.max(record.revision);
            if record.pin.is_some() {
                let _ = entries.push(PinEntry { slot, revision: record.revision }); // one for each slot
            }
        }
        Answer::with(Code::CONTENT, |out| PinList::encode(PIN_SLOTS, highest, entries.into_iter(), out))
    }

    /// `POST p`, known to be fresh. The window is committed first, as for everything that changes the lock.
    pub(crate) fn change_pin(&mut self, change: &PinChange) -> Answer {
        match self.try_change_pin(change) {
            Ok(code) => Answer::empty(code),
            Err(StorageFault) => self.storage_failed(),
        }
    }

    #[inline(never)]
    fn try_change_pin(&mut self, change: &PinChange) -> Result<Code, StorageFault> {
        if change.slot >= PIN_SLOTS {
            return Ok(Code::BAD_REQUEST);
        }
        let key = change.setting.as_ref().map(|set| stretch(set.pin.digits(), &self.cwt, ITERATIONS));
        let (mut highest, mut taken) = (0, false);
        for slot in 0..PIN_SLOTS {
            let Some(record) = load(&mut self.parts.storage, slot)? else { continue };
            highest = highest.max(record.revision);
            if slot == change.slot {
                if record.revision == change.revision {
                    return Ok(Code::CHANGED); // a retry: it is done
                }
            } else if let (Some(key), Some(stored)) = (&key, &record.pin) {
                taken |= bool::from(stored.verifier.ct_eq(&*verifier(key, slot)));
            }
        }
        // Late, or a PIN that would leave it open which slot was meant.
        if change.revision <= highest || taken {
            return Ok(Code::CONFLICT);
        }
        self.ledger.save(&mut self.parts.storage)?;
        let pin = change.setting.as_ref().zip(key).map(|(set, key)| Stored::new(set, &key, change.slot));
        Record { revision: change.revision, pin }.save(&mut self.parts.storage, change.slot)?;
        Ok(Code::CHANGED)
    }
}

impl Stored {
    fn new(setting: &PinSetting, key: &[u8; 32], slot: u8) -> Self {
        let flag = |bit, set| if set { bit } else { 0 };
        Self {
            flags: flag(DURESS, setting.duress)
                | flag(NOT_BEFORE, setting.not_before.is_some())
                | flag(NOT_AFTER, setting.not_after.is_some()),
            not_before: setting.not_before.unwrap_or(0),
            not_after: setting.not_after.unwrap_or(0),
            verifier: *verifier(key, slot),
        }
    }

    /// Its flags, and whether the PIN is good at the present (earliest and latest Unix seconds, if known).
    fn in_time(&self, present: Option<(u64, u64)>) -> (u8, bool) {
        let bounded = self.flags & (NOT_BEFORE | NOT_AFTER) != 0;
        let good = match present {
            Some((earliest, latest)) => {
                (self.flags & NOT_BEFORE == 0 || u64::from(self.not_before) <= earliest)
                    && (self.flags & NOT_AFTER == 0 || latest <= u64::from(self.not_after))
            }
            None => !bounded,
        };
        (self.flags, good)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.verifier.zeroize();
    }
}

impl Record {
    /// One write, of one length whatever the PIN, its flags and its time.
    fn save(&self, storage: &mut impl Storage, slot: u8) -> Result<(), StorageFault> {
        let mut record = Zeroizing::new([0; Slot::Pin(0).max_len()]);
        let mut writer = Writer::new(record.as_mut());
        writer.u8(RECORD_VERSION);
        writer.u32(self.revision);
        if let Some(pin) = &self.pin {
            writer.u8(pin.flags);
            writer.u32(pin.not_before);
            writer.u32(pin.not_after);
            writer.bytes(&pin.verifier);
        }
        let len = writer.finish().ok_or(StorageFault)?;
        storage.write(Slot::Pin(slot), record.get(..len).unwrap_or_default())
    }

    fn decode(record: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(record);
        if reader.u8()? != RECORD_VERSION {
            return None;
        }
        let revision = reader.u32()?;
        if reader.end() {
            return Some(Self { revision, pin: None });
        }
        let pin = Stored {
            flags: reader.u8()?,
            not_before: reader.u32()?,
            not_after: reader.u32()?,
            verifier: reader.array()?,
        };
        reader.end().then_some(Self { revision, pin: Some(pin) })
    }
}

/// The slot's record. One that makes no sense is no PIN; the platform sees that it is missing.
fn load(storage: &mut impl Storage, slot: u8) -> Result<Option<Record>, StorageFault> {
    let mut record = Zeroizing::new([0; Slot::Pin(0).max_len()]);
    let len = storage.read(Slot::Pin(slot), record.as_mut())?;
    Ok(len.and_then(|len| Record::decode(record.get(..len)?)))
}

/// The first 32 bytes of PBKDF2-HMAC-SHA-256 (RFC 8018 section 5.2).
fn stretch(password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<[u8; 32]> {
    let mut block = mac(password, &[salt, &1_u32.to_be_bytes()]);
    let mut sum = block.clone();
    for _ in 1..iterations {
        block = mac(password, &[block.as_ref()]);
        for (sum, byte) in sum.iter_mut().zip(block.iter()) {
            *sum ^= byte;
        }
    }
    sum
}

/// What stands in a slot: another value in each, so that flash does not show equal PINs.
fn verifier(key: &[u8; 32], slot: u8) -> Zeroizing<[u8; VERIFIER_LEN]> {
    let mut short = Zeroizing::new([0; VERIFIER_LEN]);
    for (short, byte) in short.iter_mut().zip(mac(key, &[b"cardea pin", &[slot]]).iter()) {
        *short = *byte;
    }
    short
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    // HMAC takes keys of any length.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) {
        parts.iter().for_each(|part| mac.update(part));
        let mut tag = mac.finalize().into_bytes();
        out.copy_from_slice(&tag);
        tag.zeroize();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7914 section 11 for one iteration; a thousand by Python's `hashlib.pbkdf2_hmac("sha256", b"012345",
    /// b"salt", 1000)`.
    #[test]
    fn stretching_is_pbkdf2() {
        let key = stretch(b"passwd", b"salt", 1);
        assert_eq!(
            hex::encode(key.as_ref()),
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
        );
        let key = stretch(b"012345", b"salt", 1_000);
        assert_eq!(
            hex::encode(key.as_ref()),
            "a11978f7da0aca05e893589215ff566f63121083757074dad1e822872b9f149b"
        );
    }

    #[test]
    fn equal_pins_look_different_in_every_slot() {
        let key = stretch(b"0123", b"salt", 1);
        assert_ne!(*verifier(&key, 0), *verifier(&key, 1));
    }
}
