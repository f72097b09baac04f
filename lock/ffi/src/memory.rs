//! Memory that C hands over: looked at once, copied, and never kept.
#![allow(unsafe_code)] // this is where raw pointers become values

use core::mem::MaybeUninit;
use core::ptr;

use crate::abi::cardea_status::{self, *};
use crate::abi::{
    cardea_actuator, cardea_board, cardea_clock, cardea_config, cardea_event, cardea_keys, cardea_random,
    cardea_storage,
};

/// No struct of this ABI is longer in any version; a larger `size` was never set.
const STRUCT_MAX: usize = 1024;

/// A struct of the ABI that begins with its own `size`.
///
/// # Safety
/// `repr(C)`, `size: usize` first, and every bit pattern C can write is a value, all zeros among them.
pub(crate) unsafe trait Versioned: Copy {
    /// Where the last member of each version ends, oldest first. A `size` between two of them cuts a member in half: no
    /// header ever had it.
    const ENDS: &'static [usize];
}

macro_rules! versioned {
    ($($name:ident up to $($last:ident)then +;)*) => { $(
        // SAFETY: these structs are repr(C), begin with `size`, and hold integers, raw pointers and
        // `Option<extern "C" fn>` alone.
        unsafe impl Versioned for $name {
            const ENDS: &'static [usize] = &[$(crate::memory::end_of(
                core::mem::offset_of!($name, $last),
                crate::memory::width(|it: &$name| &raw const it.$last),
            )),+];
        }
    )* };
}

/// Where a member ends.
const fn end_of(offset: usize, width: usize) -> usize {
    offset + width
}

/// How wide the member is that this closure points to.
const fn width<S, T>(_: fn(&S) -> *const T) -> usize {
    size_of::<T>()
}

// The last member of each version. Members are added behind them, and named here: what stands here never changes. A new
// member must not fit into the padding at the end of the version before, which that version's firmware leaves unset.
versioned! {
    cardea_storage up to slots then erase_all;
    cardea_keys up to dh_agree;
    cardea_clock up to rtc;
    cardea_random up to fill;
    cardea_actuator up to battery;
    cardea_board up to actuator;
    cardea_config up to firmware_patch then vendor;
    cardea_event up to root then key;
}

/// How long the caller says that its struct is.
///
/// # Safety
/// `from` is null, or what the header asks for.
unsafe fn declared_size<T: Versioned>(from: *const T) -> Result<usize, cardea_status> {
    if from.is_null() {
        return Err(CARDEA_ERR_NULL);
    }
    // SAFETY: not null, and each such struct begins with its size. Read as bytes, for nobody promised alignment.
    let size = unsafe { from.cast::<usize>().read_unaligned() };
    let known = |end: &usize| (*end..=end.next_multiple_of(align_of::<T>())).contains(&size);
    let newer = (size_of::<T>()..=STRUCT_MAX).contains(&size);
    if newer || T::ENDS.iter().any(known) { Ok(size) } else { Err(CARDEA_ERR_VERSION) }
}

/// Whether a struct to be written can be, before there is something to write.
///
/// # Safety
/// `to` is null, or points to as many bytes as its first member says.
pub(crate) unsafe fn check<T: Versioned>(to: *const T) -> Result<(), cardea_status> {
    // SAFETY: passed on.
    unsafe { declared_size(to) }.map(|_| ())
}

/// Copies a struct of the caller's version. What it does not have yet is zero; what we do not have must be.
///
/// # Safety
/// `from` is null, or points to as many readable bytes as its first member says.
pub(crate) unsafe fn take<T: Versioned>(from: *const T) -> Result<T, cardea_status> {
    // SAFETY: passed on.
    let size = unsafe { declared_size(from)? };
    let ours = size_of::<T>();
    for at in ours..size {
        // SAFETY: `at` is below the size that the caller states.
        if unsafe { from.cast::<u8>().add(at).read() } != 0 {
            return Err(CARDEA_ERR_VERSION);
        }
    }
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: both sides have that many bytes and do not overlap; whatever bytes come, `T` takes them (`Versioned`).
    unsafe {
        ptr::copy_nonoverlapping(from.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), size.min(ours));
        Ok(value.assume_init())
    }
}

/// Writes as much of `value` as the caller's version has room for, and leaves its `size` alone.
///
/// # Safety
/// `to` is null, or points to as many writable bytes as its first member says.
pub(crate) unsafe fn give<T: Versioned>(to: *mut T, value: &T) -> Result<(), cardea_status> {
    // SAFETY: passed on.
    let size = unsafe { declared_size(to)? };
    let skip = size_of::<usize>();
    let len = size.min(size_of::<T>()).saturating_sub(skip);
    // SAFETY: `skip + len` bytes are there on both sides, and ours is not theirs.
    unsafe {
        ptr::copy_nonoverlapping(ptr::from_ref(value).cast::<u8>().add(skip), to.cast::<u8>().add(skip), len);
    }
    Ok(())
}

/// Copies `N` bytes in.
///
/// # Safety
/// `from` is null, or points to `N` readable bytes.
pub(crate) unsafe fn bytes<const N: usize>(from: *const u8) -> Result<[u8; N], cardea_status> {
    if from.is_null() {
        return Err(CARDEA_ERR_NULL);
    }
    // SAFETY: not null, and N bytes are readable; an array of bytes needs no alignment.
    Ok(unsafe { from.cast::<[u8; N]>().read() })
}

/// Copies bytes out.
///
/// # Safety
/// `to` is null, or points to `value.len()` writable bytes.
pub(crate) unsafe fn put_bytes(to: *mut u8, value: &[u8]) -> Result<(), cardea_status> {
    if to.is_null() {
        return Err(CARDEA_ERR_NULL);
    }
    // SAFETY: not null, that many bytes are writable, and `value` is memory of ours.
    unsafe { ptr::copy_nonoverlapping(value.as_ptr(), to, value.len()) };
    Ok(())
}

/// Writes one value.
///
/// # Safety
/// `to` is null, or points to room for a `T`.
pub(crate) unsafe fn put<T>(to: *mut T, value: T) -> Result<(), cardea_status> {
    if to.is_null() {
        return Err(CARDEA_ERR_NULL);
    }
    // SAFETY: not null and writable; nobody promised alignment.
    unsafe { to.write_unaligned(value) };
    Ok(())
}

/// Bytes to read during this call. Null is fine for none.
///
/// # Safety
/// `from` is null, or points to `len` readable bytes that nobody changes while the slice lives.
pub(crate) unsafe fn input<'a>(from: *const u8, len: usize, most: usize) -> Result<&'a [u8], cardea_status> {
    match (from.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(CARDEA_ERR_NULL),
        (false, len) if len > most => Err(CARDEA_ERR_ARGUMENT),
        // SAFETY: not null, `len` readable bytes, far below isize::MAX.
        (false, len) => Ok(unsafe { core::slice::from_raw_parts(from, len) }),
    }
}

/// Room to write to during this call: the first `most` bytes of it, zeroed.
///
/// # Safety
/// `to` is null, or points to `len` writable bytes that nobody else uses while the slice lives.
pub(crate) unsafe fn output<'a>(to: *mut u8, len: usize, most: usize) -> Result<&'a mut [u8], cardea_status> {
    if to.is_null() {
        return Err(CARDEA_ERR_NULL);
    }
    let len = len.min(most);
    // SAFETY: not null, `len` writable bytes. C need not have initialised them, so that is done first.
    Ok(unsafe {
        to.write_bytes(0, len);
        core::slice::from_raw_parts_mut(to, len)
    })
}
