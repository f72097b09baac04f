//! The only bytes a Cardea gateway parses of a sealed frame: header, fragments, receipts, elision.
//!
//! A *datagram* is one EDHOC, OSCORE or site message behind a one-byte [`Header`]; a *frame* is what one radio
//! payload carries: a whole datagram, one fragment of it, or a receipt. [`Link`] is one end of one radio link:
//! it cuts datagrams into frames, puts them together again, repeats what got lost, and promises custody by
//! receipts, for the lock and for the gateway alike.
//!
//! What it does not do: it holds no key, decrypts nothing, reads no clock (times are milliseconds, given as
//! arguments), allocates nothing (unless feature `alloc` is on), and decides nothing by class. Everything
//! behind the header byte stays opaque. The wire format is written down in `docs/protocol.md`, "Framing".
#![no_std]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

#[cfg(any(feature = "alloc", test))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod buffer;
mod datagram;
mod elision;
mod error;
mod fragment;
mod header;
mod id;
mod link;

pub use buffer::Buffer;
pub use datagram::{Datagram, GATEWAY_ADDRESS, LAST_PEER_ADDRESS};
pub use elision::{elide, restore};
pub use error::Error;
pub use fragment::{CRC_LEN, FRAGMENT_OVERHEAD, FragmentHeader, MAX_FRAGMENTS, crc32, fragments_needed};
pub use header::{Class, Header, Kind};
pub use id::{LockId, receipt_digest, uplink_id};
#[cfg(feature = "alloc")]
pub use link::GatewayLink;
pub use link::{Failure, Incoming, Link, LinkConfig, LinkEvent, LockLink, ReceiptToken};

/// Longest datagram a lock sends or takes, header byte included, bytes.
pub const LOCK_DATAGRAM: usize = 1024;

/// Longest datagram a gateway puts together, header byte included, bytes.
pub const GATEWAY_DATAGRAM: usize = 4096;
