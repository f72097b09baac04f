use crate::Error;
use crate::cbor::{MapReader, MapWriter};

/// `POST a`, platform to lock. Map: 0 site, 1 version, 2 epoch, 3 counter.
///
/// The platform puts a lock into a site, and says how far the lists of that site are, which nobody else can say so that
/// the lock believes it. In the same site nothing falls: a lower number than the lock knows changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteSetting {
    /// Key 0: the site; eight zeros are none.
    pub site: [u8; 8],
    /// Key 1: no authority of a lower version counts.
    pub version: u32,
    /// Key 2: no grant holds under a platform's list of a lower epoch.
    pub epoch: u32,
    /// Key 3: this list has what the site's authority of that version has added up to this counter, so the lock may
    /// forget those additions. It does where they are all that it holds and that epoch is in force; otherwise 4.09.
    pub counter: Option<u32>,
}

impl SiteSetting {
    /// Longest encoding, in bytes.
    pub const MAX_LEN: usize = 29;

    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let mut map = MapWriter::new(out, 3 + usize::from(self.counter.is_some()))?;
        map.bytes(0, &self.site)?.uint(1, self.version)?.uint(2, self.epoch)?.optional(3, self.counter)?;
        Ok(map.len())
    }

    /// # Errors
    /// See [`Error`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (mut site, mut version, mut epoch, mut counter) = (None, None, None, None);
        let mut map = MapReader::new(bytes)?;
        while let Some(key) = map.next_key()? {
            match key {
                0 => site = Some(map.array(0)?),
                1 => version = Some(map.u32(1)?),
                2 => epoch = Some(map.u32(2)?),
                3 => counter = Some(map.u32(3)?),
                other => return Err(Error::UnknownKey(other)),
            }
        }
        map.finish()?;
        Ok(Self {
            site: site.ok_or(Error::MissingKey(0))?,
            version: version.ok_or(Error::MissingKey(1))?,
            epoch: epoch.ok_or(Error::MissingKey(2))?,
            counter,
        })
    }
}

/// `GET a`, and the 2.04 to a [`SiteSetting`]. Map: 0 site, 1 version, 2 epoch, 3 counter, 4 grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteState {
    /// Key 0: the site that the lock is in; eight zeros are none.
    pub site: [u8; 8],
    /// Key 1: the version of the site's authority that the lock has verified, 0 for none.
    pub version: u32,
    /// Key 2: the epoch of the platform's list in force, 0 before the first.
    pub epoch: u32,
    /// Key 3: how many additions of that authority were taken.
    pub counter: u32,
    /// Key 4: whether a grant can hold. 0 while the lists are behind, damaged or full.
    pub grants: bool,
}

impl SiteState {
    /// Longest encoding, in bytes.
    pub const MAX_LEN: usize = 31;

    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let mut map = MapWriter::new(out, 5)?;
        map.bytes(0, &self.site)?
            .uint(1, self.version)?
            .uint(2, self.epoch)?
            .uint(3, self.counter)?
            .uint(4, self.grants.into())?;
        Ok(map.len())
    }

    /// # Errors
    /// See [`Error`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (mut site, mut version, mut epoch, mut counter, mut grants) = (None, None, None, None, None);
        let mut map = MapReader::new(bytes)?;
        while let Some(key) = map.next_key()? {
            match key {
                0 => site = Some(map.array(0)?),
                1 => version = Some(map.u32(1)?),
                2 => epoch = Some(map.u32(2)?),
                3 => counter = Some(map.u32(3)?),
                4 => {
                    grants = Some(match map.u8(4)? {
                        0 => false,
                        1 => true,
                        _ => return Err(Error::OutOfRange(4)),
                    });
                }
                other => return Err(Error::UnknownKey(other)),
            }
        }
        map.finish()?;
        Ok(Self {
            site: site.ok_or(Error::MissingKey(0))?,
            version: version.ok_or(Error::MissingKey(1))?,
            epoch: epoch.ok_or(Error::MissingKey(2))?,
            counter: counter.ok_or(Error::MissingKey(3))?,
            grants: grants.ok_or(Error::MissingKey(4))?,
        })
    }
}
