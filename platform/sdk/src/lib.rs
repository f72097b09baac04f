//! The owner's side of Cardea as a library: activate locks, command them, receive their events, over any MQTT
//! broker and any number of blind gateways.
//!
//! [`Platform`] is the whole of it for a program on tokio:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{path::Path, time::Duration};
//! use cardea_sdk::{Broker, LockId, Outcome, Platform};
//!
//! let platform = Platform::open(Path::new("/var/lib/cardea-platform"))?;
//! let running = tokio::spawn(platform.clone().run(Broker::at("mqtts://broker.example:8883")));
//! let lock: LockId = "0123456789abcdef".parse()?;
//! match platform.unlock(lock, Duration::from_secs(20)).await? {
//!     Outcome::Done { bolt, .. } => println!("the bolt is {bolt:?}"),
//!     other => println!("{other}"),
//! }
//! # drop(running); Ok(()) }
//! ```
//!
//! Below it lies [`session::Core`]: EDHOC responder, OSCORE both ways, replay sets, cursors, commands and
//! routing as one state machine without sockets, clock or threads, for those who bring their own transport.
//! [`State`] is what must survive (SQLite here, made so that a database server fits), [`KeyStore`] holds the
//! keys (files here, a PKCS#11 token in `cardea-pkcs11`).
//!
//! [`Platform::grant`] signs what a phone may do at a lock while nobody is online, as a [`Bundle`]; [`Platform::revoke`]
//! ends it. [`holder`] is the phone's side; a phone whose grant names a key for it passes part of it on ([`holder::delegate`]).
//!
//! What it does not do: it is no HTTP API, keeps no users, and trusts no gateway and no broker
//! with anything but delivery.

// Unit tests share helpers with the tests in `tests/`, which know this crate by its name.
#[cfg(test)]
extern crate self as cardea_sdk;

mod broker;
mod bundle;
mod error;
mod event;
pub mod holder;
pub mod holder_key;
pub mod key_dir;
mod keys;
mod mqtt;
mod pins;
mod platform;
pub mod session;
mod site;
mod state;

pub use broker::{Broker, BrokerAddress, PayloadEncoding};
pub use bundle::{Bundle, MAX_BUNDLE_LEN};
pub use cardea_credentials::{OwnerCode, PublicKey, Scope, Signer, Successor, Terms, Weekly};
pub use cardea_framing::LockId;
pub use cardea_resources::{Battery, Bolt, Pin, PinSetting, Refusal, SiteState, Status};
pub use cardea_x509::Makers;
pub use error::Error;
pub use event::{Ask, Entry, LockAlarm, Outcome, PlatformEvent};
pub use keys::{FileKeys, KeyStore, OsRandom, next_version, sign_release, signing_key};
pub use pins::{PinReport, PinSlot, PinState};
pub use platform::{LockName, LockSummary, Platform};
pub use site::SiteReport;
pub use state::{
    AuthorityRow, Before, CommandRow, ContextRecord, GrantRow, GrantState, KnownListRow, ListRow, LockRecord,
    LogGap, LogRow, MAX_AHEAD, MAX_FORKS, MAX_SEEN_GATEWAYS, NO_SITE, Noted, Phase, PinBook, PinRow, PinStop,
    PinStore, PinTerms, PinWish, RevokedRow, SeenRow, SiteRow, SiteStore, SqliteState, Stage, Standing,
    StandingStore, State, Stored, Taken, ToldRow,
};
