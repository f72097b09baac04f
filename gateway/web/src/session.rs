//! One browser that is signed in.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A session that nobody uses ends after so long.
pub const IDLE: Duration = Duration::from_secs(30 * 60);

/// Every session ends after so long.
pub const ABSOLUTE: Duration = Duration::from_secs(12 * 60 * 60);

/// For so long after the password was given, locks may be paired and removed.
pub const FRESH: Duration = Duration::from_secs(10 * 60);

/// The cookie. `__Host-`: set by this very host, over TLS, for all paths, or the browser drops it.
pub(crate) const COOKIE: &str = "__Host-cardea";

/// A clock that stands so far behind what was written was set back: who knows what else is wrong.
const BACKWARDS: u64 = 60_000;

/// What the store keeps of a session, under the digest of its id.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Unix milliseconds.
    pub(crate) started: u64,
    /// Unix milliseconds.
    pub(crate) used: u64,
    /// When the password was last given, Unix milliseconds.
    pub(crate) proved: u64,
    /// What the browser calls itself.
    pub(crate) browser: String,
}

impl Session {
    pub(crate) fn is_alive(&self, now: u64) -> bool {
        within(self.used, now, IDLE) && within(self.started, now, ABSOLUTE)
    }

    pub(crate) fn is_fresh(&self, now: u64) -> bool {
        within(self.proved, now, FRESH)
    }
}

fn within(since: u64, now: u64, limit: Duration) -> bool {
    since <= now.saturating_add(BACKWARDS) && u128::from(now.saturating_sub(since)) < limit.as_millis()
}

/// Names a session without being good for anything: SHA-256 of its id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) [u8; 32]);

/// The secret in the cookie.
pub(crate) struct Id(Zeroizing<[u8; 32]>);

impl Id {
    /// 256 random bits.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }

    /// From a `Cookie` header.
    pub(crate) fn from_cookies(header: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(cookie(header, COOKIE)?, bytes.as_mut_slice()).ok()?;
        Some(Self(bytes))
    }

    /// The value of a `Set-Cookie` header.
    pub(crate) fn set_cookie(&self) -> Zeroizing<String> {
        let value = Zeroizing::new(hex::encode(self.0.as_slice()));
        Zeroizing::new(format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Strict", value.as_str()))
    }

    pub(crate) fn name(&self) -> Name {
        Name(self.derive("session"))
    }

    /// What every form of this session carries, and no other site can know.
    pub(crate) fn form_token(&self) -> String {
        hex::encode(self.derive("form"))
    }

    pub(crate) fn is_form_token(&self, token: &str) -> bool {
        self.form_token().as_bytes().ct_eq(token.as_bytes()).into()
    }

    fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(purpose);
        digest.update([0]);
        digest.update(self.0.as_slice());
        digest.finalize().into()
    }
}

/// The value of one cookie.
pub(crate) fn cookie<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(';').find_map(|pair| pair.trim().split_once('=').filter(|(n, _)| *n == name)).map(|(_, v)| v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_idle_at_its_limit_and_when_the_clock_is_set_back() {
        let at = 1_700_000_000_000;
        let minutes = |n: u64| n * 60_000;
        let session = |started, used| Session { started, used, proved: started, browser: String::new() };
        assert!(session(at, at).is_alive(at + minutes(30) - 1));
        assert!(!session(at, at).is_alive(at + minutes(30)), "idle");
        let used = at + minutes(12 * 60 - 1);
        assert!(session(at, used).is_alive(used));
        assert!(!session(at, used).is_alive(at + minutes(12 * 60)), "absolute");
        assert!(session(at, at).is_alive(at - minutes(1)), "a clock that was corrected a little");
        assert!(!session(at, at).is_alive(at - minutes(1) - 1), "a clock that was set back");
        assert!(session(at, at).is_fresh(at + minutes(10) - 1));
        assert!(!session(at, at).is_fresh(at + minutes(10)));
    }

    #[test]
    fn what_is_stored_and_what_forms_carry_do_not_give_the_cookie_away() {
        let id = Id::random().unwrap();
        let cookie = id.set_cookie();
        let header = cookie.split(';').next().unwrap();
        let read = Id::from_cookies(&format!("a=b; {header}; c=d")).unwrap();
        assert!(read.name() == id.name() && read.is_form_token(&id.form_token()));
        assert!(!header.contains(&hex::encode(id.name().0)) && !header.contains(&id.form_token()));
        assert_ne!(hex::encode(id.name().0), id.form_token());
        assert!(Id::from_cookies("__Host-cardea=zz").is_none());
        assert!(Id::from_cookies("x__Host-cardea=00").is_none());
    }
}
