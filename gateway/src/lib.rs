//! The Cardea gateway daemon and its command line, as a library for the binary `cardea` and its tests.
//!
//! What it does: puts the parts together. [`run`] opens the store, starts every radio and the broker link under
//! supervision, and drives the relay of `cardea-core` in one task. What it does not: decide anything about
//! frames (`cardea-core` does), know SQL, MQTT or a radio's protocol, or hold an end-to-end key: the crates that
//! could are not among its dependencies.
//!
//! - [`cli`]: arguments and what is printed
//! - [`run()`]: start to stop
//! - `relay_loop`: the one task that owns the relay
//! - `supervisor`: starts parts again that end or panic
//! - `server`, `metrics`, `bounded`: the control socket, `/metrics`, and how few connections that may take
//! - `clock`, `identity`, `logging`, `service`: what the operating system knows

mod bounded;
mod button;
pub mod cli;
mod clock;
mod desk;
mod diagnosis;
mod identity;
mod journal;
mod logging;
mod mdns;
mod metrics;
mod relay_loop;
mod reset;
mod run;
mod sealing;
mod server;
mod service;
mod subghz;
mod supervisor;
mod unsealed;

pub use run::{check, run};
