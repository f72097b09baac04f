//! The relay of a Cardea gateway, sans-IO.
//!
//! [`Relay`] is a state machine between radio drivers, a broker and a durable store. It takes [`Input`]s and
//! gives [`Action`]s; it owns no socket, no file, no clock and no randomness, so the same inputs always give
//! the same actions.
//!
//! What it does: reassembles frames, keeps the registry of admitted locks, orders what goes up (outbox) and
//! what goes down (inbox), promises custody to locks only when it is true, and reports every frame that it
//! had to drop. What it does not: decrypt, decide, or know what a frame means. It sees lock id, kind, class,
//! size and time, and never holds an end-to-end key.
//!
//! ```text
//! radio::Event ──┐                          ┌── radio::Command
//! UpstreamEvent ─┼── Input → Relay → Action ┼── Publish, Ack
//! StoreReply ────┘                          └── StoreOp
//! ```

mod activation;
mod api;
mod config;
mod ctx;
mod down;
mod history;
mod inbox;
mod lock;
mod message;
mod metrics;
mod peers;
mod publish;
mod queue;
mod records;
mod relay;
mod report;
mod results;
mod up;
mod upstream;

pub use activation::Activated;
pub use api::{Action, Admin, AdminReply, Input, PeerAction, PeerInput, RadioId, Wall};
pub use config::{Config, Custody, RadioInfo};
pub use history::{SAMPLES, Sample};
pub use metrics::Metrics;
pub use records::{
    AddressRecord, Backlog, Change, DownRecord, Failure, FailureKind, Gap, LockRecord, Row, RowMeta, Shed,
    Snapshot, StoreOp, StoreReply,
};
pub use relay::{Downlink, LockStatus, Relay};
pub use upstream::{Publish, UpstreamEvent};

pub use cardea_radio::Millis;

#[cfg(test)]
mod tests;
