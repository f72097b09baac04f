//! The lock's security component: it decides every command to the bolt, alone.
//!
//! [`Agent`] holds the lock's identity, activates it for one owner (EDHOC, RFC 9528, with the owner code proved in
//! both directions), keeps the OSCORE contexts with the owner's platform (RFC 8613), reports events, judges commands
//! by freshness and drives the bolt. It is `no_std` without an allocator and knows no radio: frames go in by
//! [`Agent::handle_frame`] and come out of [`Agent::poll_transmit`], so any radio that carries a few dozen bytes will do.
//!
//! A board supplies the five traits [`Storage`], [`Clock`], [`Random`](cardea_credentials::Random), its keys
//! ([`Signer`](cardea_credentials::Signer) and [`Agreement`](cardea_credentials::Agreement)) and [`Actuator`], named
//! together as a [`Board`]. What is in storage, and what is written when, is in `docs/lock-agent.md`.
//!
//! Whoever holds a grant of the platform (a phone, a keypad, another lock) has a session with the lock directly, over any
//! carrier that delivers its frames, with no third party online; see [`Role`] and [`permits`] for what it may ask.
//!
//! The platform's revocation list comes page by page in public, signed site messages, and bars a grant from the next
//! request on; no list is ever whole in memory.
//!
//! Two parts are features, both on by default: `peers`, the sessions with holders of grants and with them all that the site
//! says about grants, and `pins`, the PIN pad.
//!
//! What it does not do: it opens no radio and no thread, and reads no clock but the board's.
#![no_std]

#[cfg(test)]
extern crate std;

mod access;
mod act;
mod agent;
mod alarms;
#[cfg(feature = "peers")]
mod asking;
mod board;
mod boot;
mod bytes;
mod client;
mod config;
mod error;
mod events;
mod fresh;
mod handshake;
mod ledger;
mod limits;
#[cfg(feature = "peers")]
mod lists;
mod log;
#[cfg(test)]
mod memory;
mod outbox;
mod owner;
#[cfg_attr(not(feature = "peers"), path = "without/peers.rs")]
mod peers;
#[cfg(feature = "pins")]
mod pins;
mod polls;
mod reset;
mod serve;
mod server;
mod session;
#[cfg_attr(not(feature = "peers"), path = "without/site.rs")]
mod site;
mod time;

pub use access::{Role, permits, permits_op, scope};
pub use agent::{Agent, AgentEvent, Alarm, Output};
pub use alarms::Door;
pub use board::{
    ADDED_PAGES, Actuator, ActuatorFault, Board, CONTEXTS, Clock, LIST_PAGES, LOG_SLOTS, PIN_SLOTS, Parts,
    Slot, Storage, StorageFault,
};
pub use boot::Home;
pub use config::Config;
pub use error::Error;
pub use fresh::{CHALLENGE_LEN, CHALLENGE_LIFE_MS, ECHO_LEN};
pub use handshake::HandshakeFailure;
pub use ledger::COMMAND_CACHE;
pub use limits::{MAX_WRONG, REFUSAL_MS, WINDOW_MS};
pub use owner::provision;
#[cfg(feature = "pins")]
pub use pins::PinResult;
pub use reset::ResetRefusal;
pub use serve::UNLOCK_HORIZON_S;
pub use time::{Estimate, TRUSTED_MS};
