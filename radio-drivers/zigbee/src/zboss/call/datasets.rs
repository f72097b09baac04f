//! Datasets of the NCP's memory that hold what the network cannot be moved without: their content. The length stands before it in
//! NVRAM_READ and NVRAM_WRITE, once.

use zeroize::Zeroizing;

use crate::types::{Eui64, Key, NwkAddr};
use crate::wire::{DecodeError, Field, Reader, secret_buffer};

/// What IB_COUNTERS (dataset 7) holds: the counters that must never go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IbCounters {
    /// Outgoing frame counter of the network key.
    pub nib: u32,
    /// Outgoing frame counter of the link keys.
    pub aib: u32,
}

impl IbCounters {
    /// The dataset's number.
    pub const DATASET: u16 = 7;

    /// Reads the dataset's content; what follows the counters is another version's.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(data);
        Ok(Self { nib: reader.u32()?, aib: reader.u32()? })
    }

    /// The dataset's content.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        self.nib.write(&mut out);
        self.aib.write(&mut out);
        out
    }
}

/// What APS_SECURE (dataset 14) holds: the link keys.
///
/// ```text
/// 0  0         4 bytes that nobody describes
/// 4  entries   28 bytes each: address, key, flags u32
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApsSecure(pub Vec<SecureEntry>);

/// One link key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecureEntry {
    /// Whose.
    pub eui: Eui64,
    /// The key.
    pub key: Key,
    /// Bit 0: for everybody; 1: by key establishment; 2–3: 0 provisional, 1 unverified, 2 verified.
    pub flags: u32,
}

impl SecureEntry {
    /// The flags of a key that one device has and has proven to have.
    pub const UNIQUE_AND_VERIFIED: u32 = 2 << 2;
    const BYTES: usize = 28;
}

impl ApsSecure {
    /// The dataset's number.
    pub const DATASET: u16 = 14;

    /// Reads the dataset's content.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn parse(data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(data);
        reader.take(4)?;
        if !data.len().saturating_sub(4).is_multiple_of(SecureEntry::BYTES) {
            return Err(DecodeError::Field("the link keys' length"));
        }
        let mut list = Vec::with_capacity(data.len() / SecureEntry::BYTES);
        while !reader.is_empty() {
            let (eui, key) = (Eui64::read(&mut reader)?, Key::read(&mut reader)?);
            list.push(SecureEntry { eui, key, flags: reader.u32()? });
        }
        Ok(Self(list))
    }

    /// The dataset's content.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let len = self.0.len().saturating_mul(SecureEntry::BYTES).saturating_add(4);
        let mut out = secret_buffer(len);
        0u32.write(&mut out);
        for entry in &self.0 {
            entry.eui.write(&mut out);
            entry.key.write(&mut out);
            entry.flags.write(&mut out);
        }
        out
    }
}

/// What ADDR_MAP (dataset 11), version 2, holds: who has which address.
///
/// ```text
/// 0  count     u8
/// 1  version   2
/// 2  0         u16
/// 4  entries   16 bytes each: address, address in the network, index, redirection (2 bytes), 3 of alignment
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressMap(pub Vec<(Eui64, NwkAddr)>);

impl AddressMap {
    /// The dataset's number.
    pub const DATASET: u16 = 11;
    /// Of the layout that we know.
    pub const VERSION: u16 = 2;

    /// Reads the dataset's content.
    ///
    /// # Errors
    /// See [`DecodeError`]; [`DecodeError::Field`] for another version.
    pub fn parse(version: u16, data: &[u8]) -> Result<Self, DecodeError> {
        if version != Self::VERSION {
            return Err(DecodeError::Field("the address map's version"));
        }
        let mut reader = Reader::new(data);
        let count = reader.u8()?;
        reader.take(3)?;
        let entry = |reader: &mut Reader<'_>| {
            let (eui, nwk) = (Eui64::read(reader)?, NwkAddr::read(reader)?);
            reader.take(6)?;
            Ok((eui, nwk))
        };
        (0..count).map(|_| entry(&mut reader)).collect::<Result<_, _>>().map(Self)
    }

    /// The dataset's content. What is beyond 255 entries is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let count = u8::try_from(self.0.len()).unwrap_or(u8::MAX);
        out.extend_from_slice(&[count, 2, 0, 0]);
        for (eui, nwk) in self.0.iter().take(count.into()) {
            eui.write(&mut out);
            nwk.write(&mut out);
            out.extend_from_slice(&[0; 6]);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As zigpy-zboss 2.0.5 writes them (`DSApsSecureKeys`, `DSNwkAddrMap`, `DSIbCounters`) behind their lengths.
    #[test]
    fn datasets_are_these_bytes() {
        let eui = Eui64([0x00, 0x12, 0x4B, 0x00, 0x22, 0x26, 0xEF, 0x87]);
        let key = Key([0x44; 16]);
        let keys = ApsSecure(vec![SecureEntry { eui, key, flags: SecureEntry::UNIQUE_AND_VERIFIED }]);
        let hex = "0000000087ef2622004b12004444444444444444444444444444444408000000";
        assert_eq!(hex::encode(keys.encode()), hex);
        assert_eq!(ApsSecure::parse(&keys.encode()), Ok(keys));
        let map = AddressMap(vec![(eui, NwkAddr(0x6B5D))]);
        assert_eq!(hex::encode(map.encode()), "0102000087ef2622004b12005d6b000000000000");
        assert_eq!(AddressMap::parse(2, &map.encode()), Ok(map));
        let counters = IbCounters { nib: 0x0001_A7EA, aib: 7 };
        assert_eq!(hex::encode(counters.encode()), "eaa7010007000000");
        assert_eq!(IbCounters::parse(&counters.encode()), Ok(counters));
    }

    #[test]
    fn datasets_of_another_form_are_refused() {
        assert_eq!(ApsSecure::parse(&[0, 0, 0, 0, 1]), Err(DecodeError::Field("the link keys' length")));
        assert_eq!(ApsSecure::parse(&[0, 0, 0]), Err(DecodeError::Short));
        assert_eq!(AddressMap::parse(1, &[0; 32]), Err(DecodeError::Field("the address map's version")));
        assert_eq!(AddressMap::parse(2, &[2, 2, 0, 0, 1]), Err(DecodeError::Short));
    }
}
