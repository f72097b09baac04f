//! OSCORE contexts in use: their keys in NVM, their sequence numbers, and what the reset rule still asks of them.

use cardea_edhoc::OscoreKeys;
use cardea_oscore::{Algorithm, Context, SenderSequence};
use zeroize::Zeroizing;

use crate::board::{Slot, Storage, StorageFault};
use crate::bytes::{Reader, Writer};

const CONTEXT_VERSION: u8 = 1;
const SEQUENCE_VERSION: u8 = 1;

/// One context. Its place (0 or 1) names its slots in NVM.
pub(crate) struct Session {
    place: u8,
    /// Rises with every EDHOC; ties the records in NVM to these keys.
    pub(crate) generation: u32,
    pub(crate) context: Context,
    sequence: SenderSequence,
    /// Since the last boot no request of this context has proved itself by Echo.
    pub(crate) must_echo: bool,
    /// Events in a row that the gateway took and the platform did not answer.
    pub(crate) unanswered: u8,
}

/// Why no sequence number can be had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SequenceError {
    Storage,
    Exhausted,
}

impl Session {
    /// A context fresh from EDHOC. One write; whatever sequence record the place holds is of another generation.
    pub(crate) fn create(
        storage: &mut impl Storage,
        place: u8,
        generation: u32,
        keys: &OscoreKeys,
    ) -> Result<Self, StorageFault> {
        let context =
            derive(keys.secret(), &keys.salt, keys.sender_id.as_bytes(), keys.recipient_id.as_bytes())
                .ok_or(StorageFault)?;
        let mut record = Zeroizing::new([0; Slot::Context(0).max_len()]);
        let mut writer = Writer::new(record.as_mut());
        writer.u8(CONTEXT_VERSION);
        writer.u32(generation);
        writer.u8(context.algorithm().number());
        writer.counted(context.sender_id());
        writer.counted(context.recipient_id());
        writer.bytes(keys.secret());
        writer.bytes(&keys.salt);
        let len = writer.finish().ok_or(StorageFault)?;
        storage.write(Slot::Context(place), record.get(..len).unwrap_or_default())?;
        let sequence = SenderSequence::new(0);
        Ok(Self { place, generation, context, sequence, must_echo: false, unanswered: 0 })
    }

    /// The context of an earlier boot, if its place holds one that makes sense.
    pub(crate) fn load(storage: &mut impl Storage, place: u8) -> Result<Option<Self>, StorageFault> {
        let mut record = Zeroizing::new([0; Slot::Context(0).max_len()]);
        let Some(len) = storage.read(Slot::Context(place), record.as_mut())? else { return Ok(None) };
        let Some((generation, context)) = decode(record.get(..len).unwrap_or_default()) else {
            return Ok(None);
        };
        let limit = match read_sequence(storage, place)? {
            Sequence::Of(of, limit) if of == generation => limit,
            Sequence::Damaged => return Ok(None), // guessing a limit could repeat a number
            _ => 0,                               // nothing was ever sent under these keys
        };
        let sequence = SenderSequence::new(limit);
        Ok(Some(Self { place, generation, context, sequence, must_echo: true, unanswered: 0 }))
    }

    /// The next sender sequence number; one write for every 64.
    pub(crate) fn next_number(&mut self, storage: &mut impl Storage) -> Result<u64, SequenceError> {
        if let Some(limit) = self.sequence.needs_reservation() {
            let mut record = [0; Slot::Sequence(0).max_len()];
            let mut writer = Writer::new(&mut record);
            writer.u8(SEQUENCE_VERSION);
            writer.u32(self.generation);
            writer.u64(limit);
            let len = writer.finish().ok_or(SequenceError::Storage)?;
            storage
                .write(Slot::Sequence(self.place), record.get(..len).unwrap_or_default())
                .map_err(|StorageFault| SequenceError::Storage)?;
            self.sequence.reserved(limit).map_err(|_| SequenceError::Exhausted)?;
        }
        self.sequence.take().map_err(|_| SequenceError::Exhausted)
    }

    /// Whether so many messages were sent that a new context is due.
    pub(crate) fn should_rekey(&self) -> bool {
        self.sequence.should_rekey()
    }
}

/// The generation that the sequence record in this place belongs to, 0 without one.
pub(crate) fn sequence_generation(storage: &mut impl Storage, place: u8) -> Result<u32, StorageFault> {
    Ok(match read_sequence(storage, place)? {
        Sequence::Of(generation, _) => generation,
        Sequence::Absent | Sequence::Damaged => 0,
    })
}

enum Sequence {
    Absent,
    Damaged,
    /// Generation, and the limit below which numbers may have been used.
    Of(u32, u64),
}

fn read_sequence(storage: &mut impl Storage, place: u8) -> Result<Sequence, StorageFault> {
    let mut record = [0; Slot::Sequence(0).max_len()];
    let Some(len) = storage.read(Slot::Sequence(place), &mut record)? else { return Ok(Sequence::Absent) };
    let mut reader = Reader::new(record.get(..len).unwrap_or_default());
    Ok(match (reader.u8(), reader.u32(), reader.u64(), reader.end()) {
        (Some(SEQUENCE_VERSION), Some(generation), Some(limit), true) => Sequence::Of(generation, limit),
        _ => Sequence::Damaged,
    })
}

fn decode(record: &[u8]) -> Option<(u32, Context)> {
    let mut reader = Reader::new(record);
    if reader.u8()? != CONTEXT_VERSION {
        return None;
    }
    let generation = reader.u32()?;
    if reader.u8()? != Algorithm::AesCcm16_64_128.number() {
        return None;
    }
    let (sender, recipient) = (reader.counted()?, reader.counted()?);
    let (secret, salt) = (reader.bytes(16)?, reader.bytes(8)?);
    if !reader.end() {
        return None;
    }
    Some((generation, derive(secret, salt, sender, recipient)?))
}

pub(crate) fn derive(secret: &[u8], salt: &[u8], sender: &[u8], recipient: &[u8]) -> Option<Context> {
    Context::derive(Algorithm::AesCcm16_64_128, secret, salt, None, sender, recipient).ok()
}
