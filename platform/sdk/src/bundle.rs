//! What the holder of a grant gets from whoever issued it, in one file: everything that is needed to speak to the lock while
//! nobody else is online. `docs/protocol.md` has the layout. It holds no secret: without the holder's key it opens nothing.

use cardea_credentials::cbor::{Reader, Writer};
use cardea_credentials::{
    Grant, LOCK_CWT_LEN, LockIdentity, MAX_DELEGABLE_GRANT_LEN, MAX_GRANTS_ABOVE_LEN, PublicKey,
    verify_grant_chain, verify_lock_identity,
};
use cardea_framing::LockId;

use crate::Error;

/// The first item: what this is, and its version.
const MAGIC: &str = "cardea/bundle/1";
/// The same where the grant was passed on: the grants above it are the last item.
const MAGIC_WITH_CHAIN: &str = "cardea/bundle/2";
/// The greatest length of a bundle, bytes.
pub const MAX_BUNDLE_LEN: usize =
    (1 + 1 + 15) + (2 + LOCK_CWT_LEN) + (2 + 33) + (2 + MAX_DELEGABLE_GRANT_LEN) + (3 + MAX_GRANTS_ABOVE_LEN);

/// A grant with what belongs to it, all of which fits together.
#[derive(Clone, Debug)]
pub struct Bundle {
    lock: Vec<u8>,
    identity: LockIdentity,
    platform: PublicKey,
    cwt: Vec<u8>,
    above: Vec<u8>,
    grant: Grant,
}

impl Bundle {
    /// From the lock's CWT, the platform's signing key and a grant by that platform for that lock.
    ///
    /// # Errors
    /// [`Error::Bundle`] where they do not belong together.
    pub fn new(lock: &[u8], platform: &PublicKey, cwt: &[u8]) -> Result<Self, Error> {
        Self::with_chain(lock, platform, cwt, &[])
    }

    /// The same with the grants above this one, a CBOR sequence with the platform's first; an empty one where the grant
    /// is the platform's own.
    ///
    /// # Errors
    /// [`Error::Bundle`] where they do not belong together, or one of them widens the one above it.
    pub fn with_chain(lock: &[u8], platform: &PublicKey, cwt: &[u8], above: &[u8]) -> Result<Self, Error> {
        let identity =
            verify_lock_identity(lock).map_err(|e| Error::Bundle(format!("the lock's CWT: {e}")))?;
        let thumbprint = identity.identity.thumbprint();
        let grant = verify_grant_chain(cwt, above, &thumbprint, platform, || Ok(()))
            .map_err(|e| Error::Bundle(format!("the grant: {e}")))?;
        let (lock, cwt, above) = (lock.into(), cwt.into(), above.into());
        Ok(Self { lock, identity, platform: *platform, cwt, above, grant })
    }

    /// Reads a file. What it says is checked, but not whose platform it is from: that is known to whoever brought it.
    ///
    /// # Errors
    /// [`Error::Bundle`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (lock, platform, cwt, above) =
            split(bytes).map_err(|e| Error::Bundle(format!("not a bundle: {e}")))?;
        Self::with_chain(lock, &platform, cwt, above)
    }

    /// The file: a CBOR array of the text `cardea/bundle/1`, the lock's CWT, the platform's signing key (33 bytes, SEC1
    /// compressed) and the grant, the last three as byte strings; with a chain `cardea/bundle/2`, and the grants above
    /// as one byte string more.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; MAX_BUNDLE_LEN];
        let mut writer = Writer::new(&mut out);
        // All parts were verified, and so are not longer than they may be.
        let (items, magic) = if self.above.is_empty() { (4, MAGIC) } else { (5, MAGIC_WITH_CHAIN) };
        let _ = writer.array(items).and_then(|w| {
            w.text(magic)?.bytes(&self.lock)?.bytes(&self.platform.to_compressed())?.bytes(&self.cwt)?;
            if self.above.is_empty() { Ok(w) } else { w.bytes(&self.above) }
        });
        let length = writer.len();
        out.truncate(length);
        out
    }

    /// The routing id of the lock.
    #[must_use]
    pub fn lock_id(&self) -> LockId {
        LockId::from_thumbprint(&self.identity.identity.thumbprint())
    }

    /// The lock's CWT, which is its CRED_R.
    #[must_use]
    pub fn lock(&self) -> &[u8] {
        &self.lock
    }

    /// The lock's keys.
    #[must_use]
    pub const fn identity(&self) -> &LockIdentity {
        &self.identity
    }

    /// What is granted.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The grant as it goes over the air.
    #[must_use]
    pub fn cwt(&self) -> &[u8] {
        &self.cwt
    }

    /// The grants above it as they go over the air, the platform's first; empty where it is the platform's own.
    #[must_use]
    pub fn above(&self) -> &[u8] {
        &self.above
    }

    /// The platform's signing key, on which all of it rests.
    #[must_use]
    pub const fn platform(&self) -> &PublicKey {
        &self.platform
    }
}

/// Lock, platform, grant, grants above.
type Parts<'a> = (&'a [u8], PublicKey, &'a [u8], &'a [u8]);

fn split(bytes: &[u8]) -> Result<Parts<'_>, cardea_credentials::Error> {
    use cardea_credentials::Error as Wrong;
    if bytes.len() > MAX_BUNDLE_LEN {
        return Err(Wrong::TooLong);
    }
    let mut reader = Reader::new(bytes);
    let chain = match (reader.array()?, reader.text()?) {
        (4, MAGIC) => false,
        (5, MAGIC_WITH_CHAIN) => true,
        _ => return Err(Wrong::WrongCredential),
    };
    let (lock, platform, cwt) = (reader.bytes()?, reader.bytes_exact::<33>()?, reader.bytes()?);
    let above = if chain { reader.bytes()? } else { &[] };
    reader.finish()?;
    if lock.len() != LOCK_CWT_LEN || cwt.len() > MAX_DELEGABLE_GRANT_LEN || above.len() > MAX_GRANTS_ABOVE_LEN
    {
        return Err(Wrong::TooLong);
    }
    if chain && above.is_empty() {
        return Err(Wrong::WrongCredential); // a grant has one form of bundle
    }
    Ok((lock, PublicKey::from_sec1(&platform)?, cwt, above))
}

#[cfg(test)]
mod tests {
    use cardea_credentials::{
        Agreement as _, Scope, Signer as _, SoftAgreement, SoftSigner, Terms, issue_grant,
        issue_lock_identity,
    };

    use super::*;

    fn parts() -> (Vec<u8>, PublicKey, Vec<u8>) {
        let (lock, platform) =
            (SoftSigner::from_bytes(&[1; 32]).unwrap(), SoftSigner::from_bytes(&[2; 32]).unwrap());
        let dh = SoftAgreement::from_bytes(&[3; 32]).unwrap().public();
        let mut cwt = [0; 256];
        let length = issue_lock_identity(&lock, &dh, &mut cwt).unwrap();
        let terms = Terms {
            lock: lock.public().thumbprint(),
            holder: SoftAgreement::from_bytes(&[4; 32]).unwrap().public(),
            scope: Scope::UNLOCK,
            not_before: 1,
            expires: 2,
            single_use: false,
            window: None,
            delegate: None,
        };
        let mut grant = [0; 256];
        let len = issue_grant(&terms, &[5; 8], &platform, &mut grant).unwrap();
        (cwt[..length].to_vec(), platform.public(), grant[..len].to_vec())
    }

    #[test]
    fn the_file_is_the_one_of_the_document() {
        let (lock, platform, grant) = parts();
        let bytes = Bundle::new(&lock, &platform, &grant).unwrap().encode();
        let mut expected = vec![0x84, 0x6f];
        expected.extend(b"cardea/bundle/1");
        expected.extend([0x58, 157]);
        expected.extend(&lock);
        expected.extend([0x58, 33]);
        expected.extend(platform.to_compressed());
        expected.extend([0x58, grant.len() as u8]);
        expected.extend(&grant);
        assert_eq!(bytes, expected);
        let read = Bundle::decode(&bytes).unwrap();
        assert_eq!((read.lock(), read.cwt()), (&lock[..], &grant[..]));
        assert_eq!(read.encode(), bytes);
    }

    #[test]
    fn a_bundle_whose_parts_do_not_belong_together_is_refused() {
        let (lock, platform, grant) = parts();
        let bytes = Bundle::new(&lock, &platform, &grant).unwrap().encode();
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(Bundle::decode(&wrong).is_err(), "byte {at}");
            assert!(Bundle::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(Bundle::decode(&longer).is_err());
        assert!(Bundle::new(&lock, &SoftSigner::from_bytes(&[9; 32]).unwrap().public(), &grant).is_err());
    }
}
