//! Who owns the lock: the pinned root and the platform credential under it.

use cardea_credentials::{MAX_PLATFORM_CWT_LEN, OwnerCode, PublicKey};
use heapless::Vec;
use zeroize::Zeroizing;

use crate::board::{Slot, Storage, StorageFault};
use crate::bytes::{Reader, Writer};

const RECORD_VERSION: u8 = 2;

/// A platform's CWT as it came.
pub(crate) type PlatformCwt = Vec<u8, MAX_PLATFORM_CWT_LEN>;

/// The record in `Slot::Owner`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) root: PublicKey,
    /// The platform's key that signs grants; certified by `cwt`, kept so that it need not be verified again.
    pub(crate) signing: PublicKey,
    /// Lowest platform version that may speak for the root.
    pub(crate) version: u32,
    pub(crate) cwt: PlatformCwt,
}

impl Owner {
    /// The owner, if the lock has one. `Ok(Err(()))`: there is a record and it makes no sense.
    pub(crate) fn load(storage: &mut impl Storage) -> Result<Result<Option<Self>, ()>, StorageFault> {
        let mut record = [0; Slot::Owner.max_len()];
        match storage.read(Slot::Owner, &mut record)? {
            Some(len) => Ok(Self::decode(record.get(..len).unwrap_or_default())),
            None => Ok(Ok(None)),
        }
    }

    /// One write.
    pub(crate) fn save(&self, storage: &mut impl Storage) -> Result<(), StorageFault> {
        let mut record = [0; Slot::Owner.max_len()];
        let mut writer = Writer::new(&mut record);
        writer.u8(RECORD_VERSION);
        writer.bytes(&self.root.to_compressed());
        writer.bytes(&self.signing.to_compressed());
        writer.u32(self.version);
        writer.counted(&self.cwt);
        let len = writer.finish().ok_or(StorageFault)?;
        storage.write(Slot::Owner, record.get(..len).unwrap_or_default())
    }

    fn decode(record: &[u8]) -> Result<Option<Self>, ()> {
        let mut reader = Reader::new(record);
        let fields = (reader.u8(), reader.bytes(33), reader.bytes(33), reader.u32(), reader.counted());
        let (Some(RECORD_VERSION), Some(root), Some(signing), Some(version), Some(cwt)) = fields else {
            return Err(());
        };
        if !reader.end() {
            return Err(());
        }
        let (root, signing) = (PublicKey::from_sec1(root), PublicKey::from_sec1(signing));
        let (Ok(root), Ok(signing)) = (&root, &signing) else { return Err(()) };
        let cwt = Vec::from_slice(cwt).map_err(|_| ())?;
        Ok(Some(Self { root: *root, signing: *signing, version, cwt }))
    }
}

/// Writes the owner code into a new lock: what the factory does once, with the code that goes on the second label.
///
/// # Errors
/// [`StorageFault`].
pub fn provision(storage: &mut impl Storage, code: &OwnerCode) -> Result<(), StorageFault> {
    storage.write(Slot::Code, code.to_bytes().as_ref())
}

/// The owner code, until it is burnt.
pub(crate) fn owner_code(storage: &mut impl Storage) -> Result<Option<OwnerCode>, StorageFault> {
    let mut code = Zeroizing::new([0; 16]);
    Ok(match storage.read(Slot::Code, code.as_mut())? {
        Some(16) => Some(OwnerCode::from_bytes(*code)),
        _ => None,
    })
}
