//! P-256 public keys, their COSE_Key form (RFC 9053 §7.1.1) and thumbprint (RFC 9679).

use core::fmt;

use p256::elliptic_curve::point::{AffineCoordinates, DecompressPoint};
use sha2::{Digest, Sha256};

use crate::Error;
use crate::cbor::{Kind, Reader, Writer};

// COSE_Key labels (RFC 9052 §7.1, RFC 9053 §7.1.1).
pub(crate) const KTY: i64 = 1;
pub(crate) const KID: i64 = 2;
pub(crate) const ALG: i64 = 3;
pub(crate) const CRV: i64 = -1;
pub(crate) const X: i64 = -2;
const Y: i64 = -3;

const KTY_EC2: i64 = 2;
const CRV_P256: i64 = 1;

/// A point on P-256, checked when it was made; never the point at infinity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(p256::PublicKey);

impl PublicKey {
    /// From SEC1: 33 bytes compressed or 65 bytes uncompressed.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for any other form or a point that is not on the curve.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, Error> {
        match bytes {
            [sign @ (2 | 3), x @ ..] => {
                Self::from_x_sign(x.try_into().map_err(|_| Error::InvalidKey)?, *sign == 3)
            }
            [4, xy @ ..] => match xy.as_chunks::<32>() {
                ([x, y], []) => Self::from_xy(*x, *y),
                _ => Err(Error::InvalidKey),
            },
            _ => Err(Error::InvalidKey),
        }
    }

    /// From both coordinates, big-endian.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] where they are not a point on the curve.
    #[inline(never)] // its frame is not below the root of a compressed point
    pub fn from_xy(x: [u8; 32], y: [u8; 32]) -> Result<Self, Error> {
        if is_unfilled(&x) {
            return Err(Error::InvalidKey);
        }
        // Past the SEC1 decoder, which brings the root of a compressed point a second time.
        Self::checked(p256::AffinePoint::from_coordinates(&x.into(), &y.into()).into_option())
    }

    /// From x and the parity of y.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] where no point has this x.
    pub fn from_x_sign(x: [u8; 32], y_is_odd: bool) -> Result<Self, Error> {
        if is_unfilled(&x) {
            return Err(Error::InvalidKey);
        }
        // Past the SEC1 decoder, whose frames would lie on the stack while the root is taken.
        Self::checked(p256::AffinePoint::decompress(&x.into(), u8::from(y_is_odd).into()).into_option())
    }

    /// From a point on the curve, if it is one.
    fn checked(point: Option<p256::AffinePoint>) -> Result<Self, Error> {
        let key = point.and_then(|point| p256::PublicKey::from_affine(point).ok());
        key.map(Self).ok_or(Error::InvalidKey)
    }

    /// From x alone, as EDHOC sends G_X and G_Y (RFC 9528 §3.7). The even y is taken: x of a Diffie-Hellman result
    /// does not depend on it. Such a key must not verify signatures and has no thumbprint worth comparing.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] where no point has this x.
    pub fn from_x(x: &[u8; 32]) -> Result<Self, Error> {
        Self::from_x_sign(*x, false)
    }

    /// The x coordinate, big-endian.
    #[must_use]
    pub fn x(&self) -> [u8; 32] {
        self.0.as_affine().x().into()
    }

    /// The y coordinate, big-endian.
    #[must_use]
    pub fn y(&self) -> [u8; 32] {
        self.0.as_affine().y().into()
    }

    fn y_is_odd(&self) -> bool {
        self.0.as_affine().y_is_odd().into()
    }

    /// SEC1 compressed form.
    #[must_use]
    pub fn to_compressed(&self) -> [u8; 33] {
        let mut sec1 = [if self.y_is_odd() { 3 } else { 2 }; 33];
        if let Some(tail) = sec1.get_mut(1..) {
            tail.copy_from_slice(&self.x());
        }
        sec1
    }

    /// The COSE Key Thumbprint, SHA-256 (RFC 9679 §4.3: kty, crv, x, y as byte strings, nothing else). What names
    /// this key in grants, policies and revocations; its first 8 bytes are the lock id, which only routes.
    #[must_use]
    pub fn thumbprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update([0xa4, 0x01, 0x02, 0x20, 0x01, 0x21, 0x58, 0x20]);
        hash.update(self.x());
        hash.update([0x22, 0x58, 0x20]);
        hash.update(self.y());
        hash.finalize().into()
    }

    pub(crate) const fn inner(&self) -> &p256::PublicKey {
        &self.0
    }

    pub(crate) const fn from_inner(key: p256::PublicKey) -> Self {
        Self(key)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(")?;
        self.thumbprint().iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// How a COSE_Key carries y.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YForm {
    /// 32 bytes.
    Full,
    /// The sign bit: 33 bytes less on air.
    Sign,
}

/// A COSE_Key of type EC2 on P-256 as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoseKey<'a> {
    /// The key.
    pub key: PublicKey,
    /// Its `kid`, where it has one.
    pub kid: Option<&'a [u8]>,
    /// Whether y was missing (see [`PublicKey::from_x`] for what that forbids).
    pub x_only: bool,
}

impl<'a> CoseKey<'a> {
    /// Reads one COSE_Key; keys in any order, none twice.
    ///
    /// # Errors
    /// [`Error::UnsupportedKey`] for another type, curve or algorithm, a parameter we do not know, or where it holds
    /// a private key; [`Error::InvalidKey`] off the curve; [`Error::Malformed`], [`Error::NonDeterministic`].
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        // Looked at by reference: a copy would lie on the stack below the root of a compressed point.
        let read = Fields::read(reader);
        let fields = read.as_ref().map_err(|error| *error)?;
        let key = match fields.y {
            Some(Ok(y)) => PublicKey::from_xy(fields.x, y)?,
            Some(Err(y_is_odd)) => PublicKey::from_x_sign(fields.x, y_is_odd)?,
            None => PublicKey::from_x(&fields.x)?,
        };
        Ok(Self { key, kid: fields.kid, x_only: fields.y.is_none() })
    }

    /// Writes the deterministic form: kty, kid where there is one, crv, x, y.
    ///
    /// # Errors
    /// [`Error::BufferTooSmall`].
    pub fn write(
        key: &PublicKey,
        kid: Option<&[u8]>,
        y: YForm,
        writer: &mut Writer<'_>,
    ) -> Result<(), Error> {
        writer.map(4 + usize::from(kid.is_some()))?.int(KTY)?.int(KTY_EC2)?;
        if let Some(kid) = kid {
            writer.int(KID)?.bytes(kid)?;
        }
        writer.int(CRV)?.int(CRV_P256)?.int(X)?.bytes(&key.x())?.int(Y)?;
        match y {
            YForm::Full => writer.bytes(&key.y())?,
            YForm::Sign => writer.bool(key.y_is_odd())?,
        };
        Ok(())
    }
}

/// What a COSE_Key says, before its point is looked for on the curve.
struct Fields<'a> {
    x: [u8; 32],
    /// In full or its sign bit.
    y: Option<Result<[u8; 32], bool>>,
    kid: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    #[inline(never)] // its frame is off the stack again
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (mut kty, mut crv, mut alg) = (None, None, None);
        let (mut x, mut y, mut kid) = (None, None, None);
        for _ in 0..reader.map()? {
            match reader.int()? {
                KTY => once(&mut kty, reader.int()?)?,
                KID => once(&mut kid, reader.bytes()?)?,
                ALG => once(&mut alg, reader.int()?)?,
                CRV => once(&mut crv, reader.int()?)?,
                X => once(&mut x, coordinate(reader)?)?,
                Y => {
                    let form = if reader.peek()? == Kind::Bytes {
                        Ok(coordinate(reader)?)
                    } else {
                        Err(reader.bool()?)
                    };
                    once(&mut y, form)?;
                }
                _ => return Err(Error::UnsupportedKey), // -4 above all: nobody sends us a private key
            }
        }
        if kty != Some(KTY_EC2) || crv != Some(CRV_P256) || alg.is_some_and(|alg| alg != crate::sign1::ES256)
        {
            return Err(Error::UnsupportedKey);
        }
        Ok(Self { x: x.ok_or(Error::Malformed)?, y, kid })
    }
}

/// x = 0 is on the curve but only ever means memory that nobody filled.
fn is_unfilled(coordinates: &[u8]) -> bool {
    coordinates.iter().take(32).all(|&byte| byte == 0)
}

fn coordinate(reader: &mut Reader<'_>) -> Result<[u8; 32], Error> {
    reader.bytes()?.try_into().map_err(|_| Error::InvalidKey)
}

/// A map key may occur once.
pub(crate) fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Error> {
    if slot.replace(value).is_some() { Err(Error::Malformed) } else { Ok(()) }
}
