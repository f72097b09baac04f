//! Zigbee coordinators.

pub mod coordinator;
pub mod tunnel;
mod types;
mod wire;
pub mod zboss;
pub mod zcl;

pub use types::{Eui64, InstallCode, Key, NwkAddr};
pub use wire::DecodeError;
