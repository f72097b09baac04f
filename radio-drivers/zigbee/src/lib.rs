//! Zigbee coordinators.

pub mod coordinator;
mod types;
mod wire;
pub mod zboss;

pub use types::{Eui64, InstallCode, Key, NwkAddr};
pub use wire::DecodeError;
