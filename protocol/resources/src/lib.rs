//! What travels inside OSCORE between a lock and its owner's platform: one-letter paths and integer-keyed CBOR.
//!
//! | path | resource | methods | payload in | payload out |
//! |---|---|---|---|---|
//! | `s` | status | GET | – | [`Status`] |
//! | `l` | bolt | POST | [`Command`] | [`CommandReply`] |
//! | `b` | battery | GET | – | [`Battery`] |
//! | `g` | log | GET, POST | – or [`LogRequest`] | [`LogPage`] |
//! | `t` | time | POST | [`Time`] | – |
//! | `p` | PIN slots | GET, POST | – or [`PinChange`] | [`PinList`] or – |
//! | `a` | site and its lists | GET, POST | – or [`SiteSetting`] | [`SiteState`] |
//! | `e` | events (the lock is the client) | POST | [`Event`] | [`EventReply`] |
//!
//! Every payload is one CBOR map (RFC 8949) in core deterministic encoding (section 4.2.1), followed by any number of
//! `0x00` bytes of padding, which every decoder ignores. Decoders accept nothing else: no indefinite lengths, no
//! longer-than-needed integers, no repeated or unordered keys. Keys 0 to 23 are critical: a decoder that does not know
//! one refuses the payload, because it might change the meaning of the rest. Keys from 24 up are ancillary: unknown
//! ones are skipped, so that newer firmware can say more to an older platform.
//!
//! This crate holds no keys, no state, no clock, and decides nothing; what a command is allowed to do is the lock
//! agent's business. It needs no allocator.
#![no_std]

mod cbor;
mod command;
mod error;
mod event;
mod log;
mod padding;
mod path;
mod pin;
mod site;
mod state;

pub use command::{Command, CommandId, CommandReply, Op, Outcome, Refusal};
pub use error::Error;
pub use event::{Challenge, Event, EventKind, EventReply};
pub use log::{LogEntries, LogEntry, LogPage, LogPageWriter, LogRequest};
pub use padding::{Padder, pad};
pub use path::Path;
pub use pin::{Pin, PinChange, PinEntry, PinList, PinSetting, PinUse};
pub use site::{SiteSetting, SiteState};
pub use state::{Battery, Bolt, ClockState, Firmware, Status, Time};
