//! No panic crosses the ABI: on a host it becomes a status, in firmware the panic handler ends it.

#[cfg(feature = "std")]
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The agent, or a call without one, has panicked.
pub(crate) struct Panicked;

/// Runs `call`. Who gets [`Panicked`] must not use again what `call` was changing.
#[cfg(feature = "std")]
pub(crate) fn catch<R>(call: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Panicked)
}

/// Runs `call`. The panic handler does not return, so neither does a panic.
#[cfg(not(feature = "std"))]
pub(crate) fn catch<R>(call: impl FnOnce() -> R) -> Result<R, Panicked> {
    Ok(call())
}
