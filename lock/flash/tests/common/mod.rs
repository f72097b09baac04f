// Each test file uses its part of this; helpers fail by panicking, as tests do.
#![allow(dead_code, unreachable_pub, missing_docs)]
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_in_result
)]

pub mod sim;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use sim::FlashCut;

/// Runs `act`; `None` when the power was cut in it.
pub fn until_cut<T>(act: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => Some(done),
        Err(cause) if cause.is::<FlashCut>() => None,
        Err(cause) => resume_unwind(cause),
    }
}
