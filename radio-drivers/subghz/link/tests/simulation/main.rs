//! Both machines on a small virtual air: what gets through, what it costs, and what an enemy on the air achieves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod air;
mod enemies;
mod load;
mod power;
mod serial;
