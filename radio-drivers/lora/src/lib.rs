//! A LoRaWAN network and join server for one site, behind any concentrator that runs a Semtech UDP packet forwarder.
//!
//! [`run`] is the driver: it speaks [`cardea_radio`]'s contract on one side and the packet-forwarder protocol on the
//! other. Inside is [`network::Network`], a state machine without clock, socket or store, which is what the tests
//! drive. LoRaWAN 1.0.3 and 1.0.4 devices, over-the-air activation, class A and C, EU868 and US915; frames travel on
//! FPort 10, an uplink without FRMPayload is a poll.
//!
//! What it promises: a counter or nonce is durable before it is used, an old session lives until the new one is heard,
//! nothing is sent after its deadline, duty cycle and dwell time are kept, and every [`cardea_radio::Send`] has exactly
//! one outcome. What it does not promise: secrecy from the gateway. The network server of LoRaWAN 1.0 holds all its
//! keys, so LoRaWAN is a carrier here, and the frames inside are sealed end to end by others.
//!
//! Not here: class B, roaming, LoRaWAN 1.1 sessions, multicast, several concentrators at once, other regions.

mod adr;
mod airtime;
mod config;
mod driver;
mod frame;
mod link;
mod mac;
pub mod network;
mod plan;
pub mod semtech;
mod session;

pub use config::{ConfigError, DevNoncePolicy, Eui, LoraConfig, Region};
pub use driver::{LoraError, WallClock, run, run_counted, run_on};
pub use network::{MAX_USED_NONCES, Wall};
