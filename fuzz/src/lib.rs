//! Fuzz targets as functions, so that tests replay the corpus.
//!
//! Each takes any bytes and must neither panic nor take unbounded time or memory; many also assert a property
//! (what parses encodes to the same bytes). After a change of [`TARGETS`] run `scripts/fuzz-targets`.

pub mod config;
pub mod framing;
pub mod oscore;
pub mod resources;

/// A name (corpus folder, libFuzzer binary) and a function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("config_parse", config::config_parse),
    ("framing_datagram", framing::framing_datagram),
    ("framing_elision", framing::framing_elision),
    ("framing_link", framing::framing_link),
    ("coap_parse", oscore::coap_parse),
    ("oscore_request", oscore::oscore_request),
    ("oscore_response", oscore::oscore_response),
    ("resources_decode", resources::resources_decode),
];
