//! Verifying ES256: the equation of FIPS 186-5 §6.4.2 over the arithmetic of the `p256` crate.
//!
//! The `ecdsa` crate verifies in variable time, with tables for both points at once. Here it is the constant-time
//! multiplication that signing and Diffie-Hellman link anyway, twice: half as long again, but 3 KB of stack less at the
//! deepest place that a lock has, and 2 KB of flash. `tests` compares the two.

use p256::elliptic_curve::ops::{Invert as _, Reduce};
use p256::elliptic_curve::point::AffineCoordinates as _;
use p256::{FieldBytes, NonZeroScalar, ProjectivePoint, Scalar};
use sha2::{Digest, Sha256};

use crate::{Error, PublicKey};

/// Checks the signature `r ‖ s` over the concatenation of `parts`. Its steps are apart: below a multiplication lies nothing
/// but what it needs.
pub(crate) fn verify(key: &PublicKey, parts: &[&[u8]], signature: &[u8; 64]) -> Result<(), Error> {
    let mut factors = [Scalar::ZERO; 2];
    let mut point = ProjectivePoint::IDENTITY;
    let good = write_factors(parts, signature, &mut factors).is_some() && {
        write_sum(key, &factors, &mut point);
        is_r(&point, signature)
    };
    if good { Ok(()) } else { Err(Error::BadSignature) }
}

/// u1 and u2.
#[inline(never)]
fn write_factors(parts: &[&[u8]], signature: &[u8; 64], factors: &mut [Scalar; 2]) -> Option<()> {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    let (r, s) = split(signature)?;
    let inverse = *s.invert();
    let hash = <Scalar as Reduce<FieldBytes>>::reduce(&hash.finalize());
    *factors = [hash * inverse, *r * inverse];
    Some(())
}

#[inline(never)]
fn write_sum(key: &PublicKey, [u1, u2]: &[Scalar; 2], point: &mut ProjectivePoint) {
    *point = key.inner().to_projective();
    *point *= u2;
    *point += ProjectivePoint::GENERATOR * u1;
}

#[inline(never)]
fn is_r(point: &ProjectivePoint, signature: &[u8; 64]) -> bool {
    // The point at infinity has x = 0 here, which no r equals.
    let x = <Scalar as Reduce<FieldBytes>>::reduce(&point.to_affine().x());
    split(signature).is_some_and(|(r, _)| x == *r)
}

/// Both halves, from 1 to the group order less 1.
fn split(signature: &[u8; 64]) -> Option<(NonZeroScalar, NonZeroScalar)> {
    let (r, s) = signature.split_first_chunk::<32>()?;
    let s = s.first_chunk::<32>()?;
    let scalar = |bytes: &[u8; 32]| NonZeroScalar::from_repr(FieldBytes::from(*bytes)).into_option();
    Some((scalar(r)?, scalar(s)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Signer as _, SoftSigner};
    use p256::ecdsa::signature::Verifier as _;
    use p256::ecdsa::{Signature, VerifyingKey};
    use p256::elliptic_curve::PrimeField as _;
    use proptest::prelude::*;

    /// The same by the `ecdsa` crate.
    fn reference(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| VerifyingKey::from(key.inner()).verify(message, &signature).is_ok())
    }

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    /// RFC 6979 A.2.5: the key, "sample" and its signature with SHA-256.
    fn sample() -> (PublicKey, [u8; 64]) {
        let key = bytes("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721");
        let signature = bytes(
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
             f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
        );
        (SoftSigner::from_bytes(&key).unwrap().public(), signature)
    }

    #[test]
    fn the_signature_of_rfc_6979_verifies_in_one_part_or_many() {
        let (key, signature) = sample();
        assert_eq!(verify(&key, &[b"sample"], &signature), Ok(()));
        assert_eq!(verify(&key, &[b"", b"sam", b"ple"], &signature), Ok(()));
        assert_eq!(verify(&key, &[b"samples"], &signature), Err(Error::BadSignature));
    }

    #[test]
    fn scalars_out_of_range_are_refused() {
        const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
        let (key, signature) = sample();
        for scalar in [[0; 32], bytes(ORDER), [0xff; 32]] {
            for half in [0, 32] {
                let mut wrong = signature;
                wrong[half..half + 32].copy_from_slice(&scalar);
                assert_eq!(verify(&key, &[b"sample"], &wrong), Err(Error::BadSignature));
            }
        }
    }

    /// With Q = G, r = s = -z: u1 + u2 is zero modulo the order.
    #[test]
    fn the_point_at_infinity_verifies_nothing() {
        let key = PublicKey::from_inner(p256::PublicKey::from_affine(p256::AffinePoint::GENERATOR).unwrap());
        let z = <Scalar as Reduce<FieldBytes>>::reduce(&Sha256::digest(b"sample"));
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&(-z).to_repr());
        signature[32..].copy_from_slice(&Scalar::ONE.to_repr());
        assert_eq!(verify(&key, &[b"sample"], &signature), Err(Error::BadSignature));
        assert!(!reference(&key, b"sample", &signature));
    }

    /// x of a point may lie above the order; r is what is left of it. The key is made to fit such a point.
    #[test]
    fn an_x_above_the_order_is_reduced() {
        let mut x: [u8; 32] = bytes("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
        let (point, r) = (1_u32..)
            .find_map(|above| {
                x[31] += 1;
                Some((PublicKey::from_x(&x).ok()?.inner().to_projective(), Scalar::from(above)))
            })
            .unwrap();
        let (s, z) =
            (Scalar::from(7_u32), <Scalar as Reduce<FieldBytes>>::reduce(&Sha256::digest(b"sample")));
        let key = (point * s - ProjectivePoint::GENERATOR * z) * r.invert().unwrap();
        let key = PublicKey::from_inner(p256::PublicKey::from_affine(key.to_affine()).unwrap());
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r.to_repr());
        signature[32..].copy_from_slice(&s.to_repr());
        assert_eq!(verify(&key, &[b"sample"], &signature), Ok(()));
        assert!(reference(&key, b"sample", &signature));
        // And only what is left of it is a way to write r.
        signature[..32].copy_from_slice(&x);
        assert_eq!(verify(&key, &[b"sample"], &signature), Err(Error::BadSignature));
    }

    proptest! {
        #[test]
        fn it_decides_as_the_ecdsa_crate_does(
            scalar in any::<[u8; 32]>(),
            message in prop::collection::vec(any::<u8>(), 0..80),
            flip in prop::option::of((0..64_usize, 0..8_u8)),
        ) {
            let Ok(signer) = SoftSigner::from_bytes(&scalar) else { return Ok(()) };
            let mut signature = signer.sign(&message).unwrap();
            if let Some((at, bit)) = flip {
                signature[at] ^= 1 << bit;
            }
            let key = signer.public();
            prop_assert_eq!(verify(&key, &[&message], &signature).is_ok(), reference(&key, &message, &signature));
            prop_assert_eq!(verify(&key, &[&message], &signature).is_ok(), flip.is_none());
        }
    }
}
