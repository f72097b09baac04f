//! Virtual Zigbee coordinators: a dongle with ZBOSS or EmberZNet NCP firmware on a pseudo-terminal, and an air with devices behind
//! it.
//!
//! ```text
//! host ── symlink ── PTY ── Dongle ── Line (faults) ── Ncp (a family's firmware) ── Air ──┬── SealedLock (the real lock agent)
//!                                       └ Capture                                         └── DoorLock (an ordinary ZCL lock)
//! ```
//!
//! [`Ncp`] has neither port, clock nor task: bytes in, bytes out, deadlines. [`Dongle`] gives it a pseudo-terminal behind a
//! name that stays, and can pull it out and plug it in again. What the NCP remembers survives both.
//!
//! The frames are those of `cardea-zigbee`, which is written by the same people: that they are right is for others to say,
//! and zigbee-herdsman, zigpy-zboss, bellows and Wireshark do in `tests/tests/zigbee_peers`. What no test shows is how a real dongle
//! behaves: docs/zigbee.md lists what was decided here without knowing. There are no routers, no distance and no
//! cryptography in this air; that a device has the right keys is a comparison.

mod air;
mod capture;
mod dongle;
mod door_lock;
mod line;
mod ncp;
mod nvram;
mod pty;
mod router;
mod sealed;

pub use air::{Asdu, DeviceConfig, Downlink, Traffic, Uplink};
pub use capture::Capture;
pub use dongle::{Dongle, DongleConfig, Mailbox};
pub use door_lock::{DoorLock, DoorLockConfig, Served};
pub use line::{Damage, Direction, Faults, Line};
pub use ncp::{Ncp, NcpConfig};
pub use nvram::Nvram;
pub use router::Router;
pub use sealed::{Label, SealedLock};
