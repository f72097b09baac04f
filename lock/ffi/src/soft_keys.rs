//! Keys in memory for locks without a secure element, in the shape that [`cardea_keys`] asks for.
//!
//! A lock that has one key in a secure element uses the functions here for the other.
#![allow(unsafe_code)] // reads and writes memory of the caller

use core::ffi::c_void;
use core::ptr;

use cardea_credentials::{Agreement, Error, PublicKey, Signer, SoftAgreement, SoftSigner};
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use zeroize::{Zeroize, Zeroizing};

use crate::abi::cardea_status::{self, *};
use crate::abi::{CARDEA_PUBLIC_KEY_LEN, CARDEA_SOFT_KEYS_LEN, cardea_keys, cardea_random, cardea_soft_keys};
use crate::board::{CRandom, sec1};
use crate::memory::{bytes, give, put_bytes};
use crate::status::answer;

const SCALAR: usize = CARDEA_SOFT_KEYS_LEN / 2;

/// Makes two keys. What must be kept for the life of the lock, `cardea_soft_keys_save` gives.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_soft_keys_generate(
    keys: *mut cardea_soft_keys,
    random: *const cardea_random,
) -> cardea_status {
    answer(|| {
        // SAFETY: passed on.
        let mut random = unsafe { CRandom::new(random)? };
        let identity = SoftSigner::generate(&mut random)?;
        let dh = SoftAgreement::generate(&mut random)?;
        // SAFETY: passed on.
        unsafe { store(keys, &identity, &dh) }
    })
}

/// Takes up the keys that `cardea_soft_keys_save` gave: `CARDEA_SOFT_KEYS_LEN` bytes.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_soft_keys_load(
    keys: *mut cardea_soft_keys,
    scalars: *const u8,
) -> cardea_status {
    answer(|| {
        // SAFETY: the header asks for that many bytes.
        let scalars = Zeroizing::new(unsafe { bytes::<CARDEA_SOFT_KEYS_LEN>(scalars)? });
        let (identity, dh) = parse(&scalars)?;
        // SAFETY: passed on.
        unsafe { store(keys, &identity, &dh) }
    })
}

/// The private halves, `CARDEA_SOFT_KEYS_LEN` bytes, for memory that nobody else can read.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_soft_keys_save(
    keys: *const cardea_soft_keys,
    scalars: *mut u8,
) -> cardea_status {
    answer(|| {
        // SAFETY: passed on.
        let kept = unsafe { scalars_of(keys)? };
        // SAFETY: the header asks for that many bytes.
        unsafe { put_bytes(scalars, kept.as_ref())? };
        Ok(CARDEA_OK)
    })
}

/// Fills `table`, whose `size` must be set, with the four functions below. `keys` must outlive the agent.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_soft_keys_table(
    keys: *mut cardea_soft_keys,
    table: *mut cardea_keys,
) -> cardea_status {
    answer(|| {
        if keys.is_null() {
            return Err(CARDEA_ERR_NULL);
        }
        let filled = cardea_keys {
            size: size_of::<cardea_keys>(),
            ctx: keys.cast(),
            identity_public: Some(cardea_soft_identity_public),
            identity_sign: Some(cardea_soft_identity_sign),
            dh_public: Some(cardea_soft_dh_public),
            dh_agree: Some(cardea_soft_dh_agree),
        };
        // SAFETY: passed on.
        unsafe { give(table, &filled)? };
        Ok(CARDEA_OK)
    })
}

/// Overwrites the keys with zeros. Not while an agent uses them.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_soft_keys_wipe(keys: *mut cardea_soft_keys) -> cardea_status {
    answer(|| {
        if keys.is_null() {
            return Err(CARDEA_ERR_NULL);
        }
        // SAFETY: not null; two arrays of bytes, so of any alignment and content.
        let keys = unsafe { &mut *keys };
        keys.scalars.zeroize();
        keys.public_keys.zeroize();
        Ok(CARDEA_OK)
    })
}

/// `cardea_keys.identity_public` by a `cardea_soft_keys`.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_soft_identity_public(keys: *mut c_void, public_key: *mut u8) -> i32 {
    // SAFETY: passed on.
    answer(|| unsafe { public(keys, 0, public_key) }) as i32
}

/// `cardea_keys.identity_sign` by a `cardea_soft_keys`: RFC 6979, no random number.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_soft_identity_sign(
    keys: *mut c_void,
    digest: *const u8,
    signature: *mut u8,
) -> i32 {
    answer(|| {
        // SAFETY: passed on; the header asks for these lengths.
        let (scalars, digest) = unsafe { (scalars_of(keys.cast())?, bytes::<32>(digest)?) };
        let (scalar, _) = scalars.split_at(SCALAR);
        let identity = SigningKey::from_slice(scalar).map_err(|_| CARDEA_ERR_KEY)?;
        let signed: Signature = identity.sign_prehash(&digest).map_err(|_| CARDEA_ERR_KEY)?;
        // SAFETY: the header asks for 64 bytes.
        unsafe { put_bytes(signature, &signed.to_bytes())? };
        Ok(CARDEA_OK)
    }) as i32
}

/// `cardea_keys.dh_public` by a `cardea_soft_keys`.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_soft_dh_public(keys: *mut c_void, public_key: *mut u8) -> i32 {
    // SAFETY: passed on.
    answer(|| unsafe { public(keys, CARDEA_PUBLIC_KEY_LEN, public_key) }) as i32
}

/// `cardea_keys.dh_agree` by a `cardea_soft_keys`.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_soft_dh_agree(keys: *mut c_void, peer: *const u8, shared: *mut u8) -> i32 {
    answer(|| {
        // SAFETY: passed on; the header asks for these lengths.
        let (scalars, peer) = unsafe { (scalars_of(keys.cast())?, bytes::<CARDEA_PUBLIC_KEY_LEN>(peer)?) };
        let peer = PublicKey::from_sec1(&peer)?;
        let (_, scalar) = scalars.split_at(SCALAR);
        let scalar = Zeroizing::new(<[u8; SCALAR]>::try_from(scalar).map_err(|_| CARDEA_ERR_KEY)?);
        let secret = SoftAgreement::from_bytes(&scalar)?.agree(&peer)?;
        // SAFETY: the header asks for 32 bytes.
        unsafe { put_bytes(shared, secret.as_bytes())? };
        Ok(CARDEA_OK)
    }) as i32
}

fn parse(scalars: &[u8; CARDEA_SOFT_KEYS_LEN]) -> Result<(SoftSigner, SoftAgreement), Error> {
    let (mut identity, mut dh) = (Zeroizing::new([0; SCALAR]), Zeroizing::new([0; SCALAR]));
    let (first, second) = scalars.split_at(SCALAR);
    identity.copy_from_slice(first);
    dh.copy_from_slice(second);
    Ok((SoftSigner::from_bytes(&identity)?, SoftAgreement::from_bytes(&dh)?))
}

/// # Safety
/// `keys` is null, or points to a `cardea_soft_keys`.
unsafe fn store(
    keys: *mut cardea_soft_keys,
    identity: &SoftSigner,
    dh: &SoftAgreement,
) -> Result<cardea_status, cardea_status> {
    let mut filled = Zeroizing::new([0; CARDEA_SOFT_KEYS_LEN]);
    let (first, second) = filled.split_at_mut(SCALAR);
    first.copy_from_slice(identity.to_bytes().as_ref());
    second.copy_from_slice(dh.to_bytes().as_ref());
    if keys.is_null() {
        return Err(CARDEA_ERR_NULL);
    }
    // SAFETY: not null, and bytes need no alignment; written through raw pointers, for C need not have initialised it.
    unsafe {
        put_bytes((&raw mut (*keys).scalars).cast(), filled.as_ref())?;
        let public = (&raw mut (*keys).public_keys).cast::<u8>();
        put_bytes(public, &sec1(&identity.public()))?;
        put_bytes(public.add(CARDEA_PUBLIC_KEY_LEN), &sec1(&dh.public()))?;
    }
    Ok(CARDEA_OK)
}

/// # Safety
/// `keys` is null, or points to a filled `cardea_soft_keys`.
unsafe fn scalars_of(
    keys: *const cardea_soft_keys,
) -> Result<Zeroizing<[u8; CARDEA_SOFT_KEYS_LEN]>, cardea_status> {
    if keys.is_null() {
        return Err(CARDEA_ERR_NULL);
    }
    // SAFETY: not null, and bytes need no alignment.
    unsafe { bytes((&raw const (*keys).scalars).cast()) }.map(Zeroizing::new)
}

/// # Safety
/// As [`scalars_of`]; `out` is null or has room for a public key.
unsafe fn public(keys: *mut c_void, offset: usize, out: *mut u8) -> Result<cardea_status, cardea_status> {
    let keys = keys.cast::<cardea_soft_keys>();
    if keys.is_null() || out.is_null() {
        return Err(CARDEA_ERR_NULL);
    }
    // SAFETY: neither is null; `offset` is 0 or one key, and there are two.
    unsafe {
        ptr::copy((&raw const (*keys).public_keys).cast::<u8>().add(offset), out, CARDEA_PUBLIC_KEY_LEN)
    };
    Ok(CARDEA_OK)
}
