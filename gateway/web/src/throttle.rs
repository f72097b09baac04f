//! How often one address may ask, and guess.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Requests that an address may make at once.
const BURST: f64 = 120.0;

/// Requests a second after that.
const RATE: f64 = 20.0;

/// Wrong passwords within [`WINDOW`] that an address may give.
pub(crate) const TRIES: usize = 5;
const WINDOW: Duration = Duration::from_secs(5 * 60);

/// How long it then waits. Nobody else does, and it ends by itself: a delay, not a lock-out.
pub(crate) const DELAY: Duration = Duration::from_secs(90);

/// Addresses remembered; beyond, the one that was quiet for longest is forgotten.
const ADDRESSES: usize = 1024;

/// Whoever an address stands for: IPv6 hosts have a whole /64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin(u128);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u128::from(v4.to_bits())),
            IpAddr::V6(v6) => Self(v6.to_bits() & !u128::from(u64::MAX) | 1 << 63),
        }
    }
}

struct Visitor {
    tokens: f64,
    at: Instant,
    wrong: Vec<Instant>,
    wait_until: Option<Instant>,
}

/// All addresses.
#[derive(Default)]
pub(crate) struct Rates {
    visitors: Mutex<BTreeMap<Origin, Visitor>>,
}

impl Rates {
    /// Takes a token; false when there is none.
    pub(crate) fn may_ask(&self, origin: Origin, now: Instant) -> bool {
        let mut visitors = self.lock();
        let visitor = visitor(&mut visitors, origin, now);
        let since = now.saturating_duration_since(visitor.at).as_secs_f64();
        visitor.tokens = (visitor.tokens + since * RATE).min(BURST);
        visitor.at = now;
        let may = visitor.tokens >= 1.0;
        if may {
            visitor.tokens -= 1.0;
        }
        may
    }

    /// How long this address has to wait before it may give a password.
    pub(crate) fn must_wait(&self, origin: Origin, now: Instant) -> Option<Duration> {
        let until = self.lock().get(&origin)?.wait_until?;
        Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// A wrong password. True when it was one too many.
    pub(crate) fn wrong(&self, origin: Origin, now: Instant) -> bool {
        let mut visitors = self.lock();
        let visitor = visitor(&mut visitors, origin, now);
        visitor.wrong.retain(|at| now.saturating_duration_since(*at) < WINDOW);
        visitor.wrong.push(now);
        let too_many = visitor.wrong.len() >= TRIES;
        if too_many {
            visitor.wrong.clear();
            visitor.wait_until = now.checked_add(DELAY);
        }
        too_many
    }

    /// The right password.
    pub(crate) fn right(&self, origin: Origin) {
        if let Some(visitor) = self.lock().get_mut(&origin) {
            visitor.wrong.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Origin, Visitor>> {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn visitor(visitors: &mut BTreeMap<Origin, Visitor>, origin: Origin, now: Instant) -> &mut Visitor {
    if visitors.len() >= ADDRESSES && !visitors.contains_key(&origin) {
        // One that has to wait is not forgotten before its time, unless all have to.
        let waits = |v: &Visitor| v.wait_until.is_some_and(|until| until > now);
        let quietest = visitors.iter().min_by_key(|(_, v)| (waits(v), v.at)).map(|(origin, _)| *origin);
        if let Some(quietest) = quietest {
            visitors.remove(&quietest);
        }
    }
    visitors.entry(origin).or_insert_with(|| Visitor {
        tokens: BURST,
        at: now,
        wrong: Vec::new(),
        wait_until: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn five_wrong_passwords_cost_ninety_seconds_and_only_their_own_address() {
        let (rates, start) = (Rates::default(), Instant::now());
        let (guesser, owner) = (origin("192.0.2.1"), origin("192.0.2.2"));
        for _ in 0..4 {
            assert!(!rates.wrong(guesser, start));
        }
        assert!(rates.must_wait(guesser, start).is_none());
        assert!(rates.wrong(guesser, start));
        assert_eq!(rates.must_wait(guesser, start), Some(DELAY));
        assert!(rates.must_wait(owner, start).is_none());
        assert!(rates.must_wait(guesser, start + DELAY).is_none(), "a delay ends");
    }

    #[test]
    fn wrong_passwords_are_forgotten_with_time_and_with_the_right_one() {
        let (rates, start) = (Rates::default(), Instant::now());
        let visitor = origin("192.0.2.1");
        for minute in 0..20 {
            assert!(!rates.wrong(visitor, start + Duration::from_secs(76 * minute)), "four in five minutes");
        }
        rates.right(visitor);
        let later = start + Duration::from_secs(76 * 20);
        assert!((0..4).all(|_| !rates.wrong(visitor, later)));
    }

    #[test]
    fn a_host_cannot_become_many_by_its_own_addresses() {
        assert!(origin("2001:db8::1") == origin("2001:db8::ffff:2"));
        assert!(origin("2001:db8::1") != origin("2001:db8:0:1::1"));
        assert!(origin("::ffff:192.0.2.1") == origin("192.0.2.1"));
    }

    #[test]
    fn requests_come_in_bursts_and_are_bounded_over_time() {
        let (rates, start) = (Rates::default(), Instant::now());
        let visitor = origin("192.0.2.1");
        let allowed = (0..1000).filter(|_| rates.may_ask(visitor, start)).count();
        assert_eq!(allowed, 120);
        assert!(!rates.may_ask(visitor, start));
        assert!(rates.may_ask(visitor, start + Duration::from_millis(50)));
        assert!(rates.may_ask(origin("192.0.2.2"), start));
    }

    #[test]
    fn ten_thousand_addresses_are_not_remembered_and_one_that_waits_is() {
        let (rates, start) = (Rates::default(), Instant::now());
        let guesser = origin("192.0.2.1");
        for _ in 0..TRIES {
            rates.wrong(guesser, start);
        }
        for n in 0..10_000_u32 {
            rates.may_ask(IpAddr::from(n.to_be_bytes()).into(), start + Duration::from_secs(1));
        }
        assert!(rates.lock().len() <= ADDRESSES);
        assert!(rates.must_wait(guesser, start + Duration::from_secs(2)).is_some());
    }
}
