//! Who may ask what: one table, and everything that is not in it is denied.

use cardea_oscore::coap::Code;
use cardea_resources::{Op, Path};

/// What a grant may allow, as bits of a `u16`. Unknown bits allow nothing.
pub mod scope {
    /// Withdraw the bolt.
    pub const UNLOCK: u16 = 1 << 0;
    /// Throw the bolt.
    pub const LOCK: u16 = 1 << 1;
    /// Read status and battery.
    pub const STATUS: u16 = 1 << 2;
    /// Read the log. Never confirms it: a cursor is the platform's alone.
    pub const LOG: u16 = 1 << 3;
    /// List, set and clear PINs.
    pub const PINS: u16 = 1 << 4;
}

/// Who stands behind a session, as its handshake proved it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The owner's platform, under the pinned root. It needs no scope.
    Platform,
    /// A phone or another lock that holds a grant: what its scope names.
    Grantee,
    /// Anybody else.
    Nobody,
}

/// Whether this request may be looked at. Bolt commands need [`permits_op`] besides.
#[must_use]
pub fn permits(role: Role, scope: u16, path: Path, method: Code) -> bool {
    let needed = match (path, method) {
        (Path::Bolt, Code::POST) => scope::UNLOCK | scope::LOCK,
        (Path::Status | Path::Battery, Code::GET) => scope::STATUS,
        (Path::Log, Code::GET) => scope::LOG,
        (Path::Pins, Code::GET | Code::POST) => scope::PINS,
        // The platform alone says the time and the site, and confirms log entries.
        (Path::Log | Path::Time | Path::Site, Code::POST) | (Path::Site, Code::GET) => 0,
        _ => return false,
    };
    match role {
        Role::Platform => true,
        Role::Grantee => scope & needed != 0,
        Role::Nobody => false,
    }
}

/// Whether this bolt command may be carried out.
#[must_use]
pub fn permits_op(role: Role, scope: u16, op: Op) -> bool {
    let needed = match op {
        Op::Unlock => scope::UNLOCK,
        Op::Lock => scope::LOCK,
    };
    permits(role, scope, Path::Bolt, Code::POST) && (role == Role::Platform || scope & needed != 0)
}
