//! For tests: a global allocator that looks for secrets in whatever is given back to it.
//!
//! A key that is zeroized where it lies may still lie elsewhere: where a vector grew, where a value was boxed, in a buffer
//! that a parser kept. All of that is freed some day, and then this looks at it. [`watch_for`] names the secrets, [`watch`]
//! says when the code under test runs, and [`found`] what it left behind, with the place that freed it.
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: cardea_freed::Watch = cardea_freed::Watch;
//! # let secret = [0x5a, 1, 2, 3, 4, 5, 6, 7];
//! cardea_freed::watch_for("a key", &secret);
//! {
//!     let _watch = cardea_freed::watch();
//!     drop(secret.to_vec());
//! }
//! assert!(cardea_freed::found()[0].starts_with("a key"));
//! ```
//!
//! It sees neither stacks nor what a C library allocates, and each thread is watched for itself.
#![allow(unsafe_code)] // an allocator

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

/// Bytes of a secret that are looked for together. Chance finds them once in 2^64 places.
const NEEDLE: usize = 8;
const NEEDLES: usize = 256;

static WANTED: [AtomicU64; NEEDLES] = [const { AtomicU64::new(0) }; NEEDLES];
static COUNT: AtomicUsize = AtomicUsize::new(0);
static NAMES: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
static FOUND: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// To be the `#[global_allocator]` of a test.
pub struct Watch;

// SAFETY: everything is the system's; memory is given out zeroed, so that all of it may be read before it goes.
unsafe impl GlobalAlloc for Watch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Not where a thread ends and has no such variable any more.
        if WATCHED.try_with(|watched| watched.replace(false)).unwrap_or(false) {
            // SAFETY: the block is still the caller's, of that size, and was zeroed before it was used.
            unsafe { look(block, layout.size()) };
            WATCHED.set(true);
        }
        // SAFETY: passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

/// # Safety
/// `block` points to `size` readable bytes.
unsafe fn look(block: *const u8, size: usize) {
    let count = COUNT.load(SeqCst);
    for at in 0..(size + 1).saturating_sub(NEEDLE) {
        // SAFETY: `at + NEEDLE` is at most `size`. Volatile, for nobody else reads this any more.
        let here = unsafe { block.add(at).cast::<[u8; NEEDLE]>().read_volatile() };
        let here = u64::from_ne_bytes(here);
        let known = WANTED.iter().take(count).position(|wanted| wanted.load(SeqCst) == here);
        if let Some(name) = known.and_then(|place| NAMES.lock().ok()?.get(place).copied())
            && let Ok(mut found) = FOUND.lock()
        {
            found.push(format!(
                "{name}: in a block of {size} bytes, at {at}, freed by\n{}",
                Backtrace::force_capture()
            ));
            return;
        }
    }
}

/// Looks for the beginning and the end of `secret` from now on, in this order of its bytes and in the other: big numbers are
/// kept least significant byte first. At least 8 bytes.
///
/// # Panics
/// For a shorter secret, and when there are too many.
#[allow(clippy::panic)] // a test that looks for nothing must not pass
pub fn watch_for(name: &'static str, secret: &[u8]) {
    let (Some(first), Some(last)) = (secret.first_chunk::<NEEDLE>(), secret.last_chunk::<NEEDLE>()) else {
        panic!("{name} is too short to be looked for");
    };
    let Ok(mut names) = NAMES.lock() else { panic!("another test failed") };
    for mut needle in [*first, *last] {
        for _ in 0..2 {
            let Some(place) = WANTED.get(names.len()) else { panic!("too many secrets") };
            place.store(u64::from_ne_bytes(needle), SeqCst);
            names.push(name);
            COUNT.store(names.len(), SeqCst);
            needle.reverse();
        }
    }
}

/// This thread runs the code under test while this lives.
#[must_use]
pub struct Watching(bool);

impl Drop for Watching {
    fn drop(&mut self) {
        WATCHED.set(self.0);
    }
}

/// See [`Watching`]. Nothing happens where [`Watch`] is not the allocator.
pub fn watch() -> Watching {
    Watching(WATCHED.replace(true))
}

/// What was found so far, and by whom it was freed.
pub fn found() -> Vec<String> {
    let watched = WATCHED.replace(false);
    let found = FOUND.lock().map(|found| found.clone()).unwrap_or_default();
    WATCHED.set(watched);
    found
}
