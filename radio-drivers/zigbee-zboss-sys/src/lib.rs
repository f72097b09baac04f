//! The ZBOSS host library as a coordinator, for who has an SDK with it: bindings that are made from the owner's headers
//! when this is built, and the program `cardea-zboss-host`, which the gateway starts for family `zboss-host`.
//!
//! [`host`] decides: what is told to the library, what of it to the gateway; over a trait, without the library. The feature
//! `zboss-host` adds the library itself (module `library`: build.rs, bindgen, a shim in C for what bindgen cannot bind). The
//! library has one thread, global state and a main loop that never returns; so it has a process, and the gateway's
//! `cardea_zigbee::external` the other end of its socket.
//!
//! Nothing of a vendor's is here or in what builds of this project hand on. It was never built against a vendor's SDK by us:
//! `stand-in/` is ours, and docs/zigbee.md says what it is worth.

pub mod host;
#[cfg(feature = "zboss-host")]
#[allow(unsafe_code)]
pub mod library;
#[cfg(feature = "zboss-host")]
pub mod program;
