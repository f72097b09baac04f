//! A chain against the makers that a platform trusts.

use cardea_credentials::PublicKey;

use crate::{Error, certificate::Certificate, from_pem};

/// The most certificates of a chain below its root: the device and its maker's CA.
pub const MAX_CHAIN: usize = 2;
/// The most makers of one platform.
const MAX_ROOTS: usize = 16;

/// A lock as its maker vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The identity key. Its thumbprint is what binds.
    pub key: PublicKey,
    /// The name of the maker's root, for people.
    pub maker: String,
    /// When the first certificate of the chain ends, in Unix seconds.
    pub ends: u64,
}

impl Device {
    /// The COSE Key Thumbprint (RFC 9679) of the identity key.
    #[must_use]
    pub fn thumbprint(&self) -> [u8; 32] {
        self.key.thumbprint()
    }
}

/// The makers whose locks are welcome, by their root certificates.
#[derive(Clone, Default)]
pub struct Makers {
    roots: Vec<Certificate>,
}

impl Makers {
    /// From the roots of a PEM file; any number of files by [`Self::add`].
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let mut makers = Self::default();
        makers.add(text)?;
        Ok(makers)
    }

    /// Adds the roots of a PEM file. They are trusted because they are named here, so who signed them does not
    /// matter; that they may issue does.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::TooLong`] beyond 16 roots, [`Error::NotAnAuthority`], and what the profile
    /// refuses.
    pub fn add(&mut self, text: &str) -> Result<(), Error> {
        for der in from_pem(text)? {
            let root = Certificate::parse(&der)?;
            root.check_authority(0)?;
            if self.roots.len() >= MAX_ROOTS {
                return Err(Error::TooLong);
            }
            self.roots.push(root);
        }
        Ok(())
    }

    /// Whether no maker is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Verifies the chain of a PEM file, the device first, at a time in Unix seconds.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_pem(&self, text: &str, at: u64) -> Result<Device, Error> {
        let chain = from_pem(text)?;
        self.verify(&chain.iter().map(Vec::as_slice).collect::<Vec<_>>(), at)
    }

    /// Verifies a chain of DER certificates, the device first, each issued by the next and the last by a root that is
    /// known here. One of these roots may stand at the end.
    ///
    /// # Errors
    /// What is wrong with the first certificate that is wrong, from the device up.
    pub fn verify(&self, chain: &[&[u8]], at: u64) -> Result<Device, Error> {
        let chain = match chain {
            [rest @ .., last] if !rest.is_empty() && self.roots.iter().any(|root| root.der() == *last) => {
                rest
            }
            all => all,
        };
        if chain.len() > MAX_CHAIN {
            return Err(Error::TooLong);
        }
        let chain = chain.iter().map(|der| Certificate::parse(der)).collect::<Result<Vec<_>, _>>()?;
        let (device, authorities) = chain.split_first().ok_or(Error::Malformed)?;
        device.check_device()?;
        device.check_time(at)?;
        let thumbprint = device.key().thumbprint();
        let id = thumbprint.get(..8).map(hex::encode);
        if device.serial_number() != id {
            return Err(Error::WrongName);
        }
        let (mut last, mut ends) = (device, device.ends());
        for (below, issuer) in authorities.iter().enumerate() {
            check_link(last, issuer, below, at)?;
            (last, ends) = (issuer, ends.min(issuer.ends()));
        }
        // Several roots may have one name; the one whose key fits is meant.
        let mut verdict = Err(Error::UnknownIssuer);
        for root in &self.roots {
            match check_link(last, root, authorities.len(), at) {
                Ok(()) => {
                    let maker = root.subject().to_string();
                    return Ok(Device { key: *device.key(), maker, ends: ends.min(root.ends()) });
                }
                Err(Error::UnknownIssuer) => {}
                Err(other) => verdict = Err(other),
            }
        }
        verdict
    }
}

fn check_link(issued: &Certificate, issuer: &Certificate, below: usize, at: u64) -> Result<(), Error> {
    issued.check_issued_by(issuer)?;
    issuer.check_authority(below)?;
    issuer.check_time(at)
}
