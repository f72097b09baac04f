//! Transceivers at 433 MHz, below the link layer: a frame of bytes in, a frame of bytes out with how and when it was heard.
//!
//! [`Transceiver`] is what every one of them is to the link layer. [`cc1101`] is the one that there is: registers, a driver
//! without clock, thread or interrupt (time and edges are arguments, the SPI is `embedded-hal`'s), and for Linux a thread that
//! gives it all three.
//!
//! What is on the air: preamble, sync word twice, a length byte, the frame, CRC-16/CMS over length and frame. The chip makes and
//! checks all of it but the frame. It does not whiten: makers' chips do not agree on that, so the link layer whitens in software
//! what it hands over, and a frame must not hold long runs of one bit.
//!
//! What it does not do: addresses, acknowledgements, repetition, backoff and duty cycle are the link layer's. Nothing was tried on
//! a real chip; the tests' chip is a model (`cardea_simulator::subghz`), which PyPI's `cc1101` takes for one.

pub mod cc1101;
mod transceiver;

pub use transceiver::{
    Abilities, Event, Failure, Health, Line, MAX_FRAME, Micros, Problem, Received, Refusal, Transceiver,
};
