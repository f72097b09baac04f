//! The 433 MHz radio of a gateway: a transceiver, the link layer on it, and the contract of `cardea-radio` above both.
//!
//! ```text
//! relay ── driver (task, thread) ── Network ── link layer ── Port ── Cc1101 or Sx126x ── device: spidev and GPIO, or a socket
//!                                                                └── Serial ─────────── device: a TTY
//! ```
//! [`Network`](network::Network) and [`Port`](port::Port) are state machines; [`driver`] gives them a thread and a clock, and a test a
//! virtual one ([`engine`]). Below them is the transceiver: a frame of bytes in, a frame of bytes out with how and when it was heard.
//!
//! [`Transceiver`] is what every one of them is to the link layer: [`cc1101`] and [`sx126x`], registers or commands and a driver
//! without clock, thread or interrupt (time and edges are arguments, SPI and pins are `embedded-hal`'s), and [`serial`], a module
//! that makes bytes of a UART into packets of its own. [`device`] opens the one that is configured, and above it nothing knows which.
//!
//! What is on the air: preamble, sync word twice, a length byte, the frame, CRC-16/CMS over length and frame. The chip makes and
//! checks all of it but the frame. It does not whiten: makers' chips do not agree on that, so the link layer whitens in software
//! what it hands over, and a frame must not hold long runs of one bit.
//!
//! What it does not do: addresses, acknowledgements, repetition, backoff and duty cycle are the link layer's. Nothing was tried on
//! a real chip; the tests' chip is a model (`cardea_simulator::subghz`), which PyPI's `cc1101` takes for one.

pub mod cc1101;
#[cfg(target_os = "linux")]
pub mod device;
#[cfg(target_os = "linux")]
pub mod driver;
pub mod engine;
pub mod network;
pub mod port;
pub mod serial;
mod stranger;
pub mod sx126x;
mod transceiver;
#[cfg(target_os = "linux")]
mod urgency;
mod watch;
pub mod wire;

pub use cardea_subghz_link::{Module as UartModule, Profile, Region};
pub use transceiver::{
    Abilities, Event, Failure, Health, Kind, Line, MAX_FRAME, Micros, Problem, Received, Refusal, Tally,
    Transceiver,
};
