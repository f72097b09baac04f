use heapless::Vec;

use crate::codec::MTU;
use crate::mic::Secret;
use crate::phy::{CLEAR, Profile, guard};
use crate::session::Session;
use crate::{LockId, Micros};

/// One admitted lock.
pub(super) struct Peer {
    pub(super) lock: LockId,
    pub(super) secret: Secret,
    pub(super) address: u8,
    /// Highest nonce it has asked with.
    pub(super) last_nonce: Option<u32>,
    pub(super) current: Option<Session>,
    /// Accepted, and not heard of under its new keys yet.
    pub(super) pending: Option<Session>,
    pub(super) interval_ms: u16,
    pub(super) linger_ms: u16,
    /// Where it was last heard.
    pub(super) channel: u8,
    /// End of the last acknowledgement between us: its listenings are counted from there.
    pub(super) anchor: Option<Micros>,
    pub(super) awake_until: Micros,
    pub(super) down: Option<Down>,
    pub(super) dirty: bool,
    /// A new admission, to be told of once stored.
    pub(super) fresh: bool,
    pub(super) accept_wanted: bool,
    pub(super) last_floor: Option<Micros>,
}

/// A frame on its way down.
pub(super) struct Down {
    pub(super) handle: u64,
    pub(super) body: Vec<u8, MTU>,
    pub(super) deadline: Micros,
    pub(super) counter: Option<u32>,
    pub(super) tries: u8,
    pub(super) bursts: u8,
    pub(super) busy: u8,
    pub(super) not_before: Micros,
    /// Begin and end of the burst that will wake the lock.
    pub(super) planned: Option<(Micros, Micros)>,
}

impl Peer {
    pub(super) fn new(lock: LockId, secret: Secret, address: u8) -> Self {
        Self {
            lock,
            secret,
            address,
            last_nonce: None,
            current: None,
            pending: None,
            interval_ms: 0,
            linger_ms: 0,
            channel: 0,
            anchor: None,
            awake_until: 0,
            down: None,
            dirty: true,
            fresh: true,
            accept_wanted: false,
            last_floor: None,
        }
    }

    pub(super) fn admit(&mut self, secret: Secret) {
        if self.secret.0 != secret.0 {
            // Another secret under the same name: the old session goes on until the new one is proved.
            self.secret = secret;
            self.last_nonce = None;
            self.pending = None;
        }
        self.dirty = true;
        self.fresh = true;
    }

    pub(super) fn heard(&mut self, now: Micros, channel: u8, stays: Micros) {
        self.anchor = Some(now);
        self.channel = channel;
        self.awake_until = now + stays;
        if let Some(down) = &mut self.down {
            down.planned = None;
            if down.counter.is_none() || down.tries > 0 {
                down.not_before = down.not_before.min(now);
            }
        }
    }

    /// When to begin with what is waiting: a burst's begin and end, or twice the same moment if the lock listens then.
    pub(super) fn plan(&mut self, now: Micros, profile: Profile) -> Option<(Micros, Micros)> {
        let down = self.down.as_mut()?;
        let now = now.max(down.not_before);
        if self.interval_ms == 0
            || !profile.sleeps()
            || now + profile.air_time_of_body(MTU) < self.awake_until
        {
            return Some((now, now));
        }
        if let Some((start, end)) = down.planned
            && start + 1_000 >= now
        {
            return Some((start, end));
        }
        let interval = Micros::from(self.interval_ms) * 1_000;
        let full = (now, now + interval + interval / 1_000 + profile.sniff());
        let planned = match self.anchor {
            Some(anchor) if down.bursts == 0 => {
                let age = now.saturating_sub(anchor);
                let guard = guard(age + interval);
                // The first strobe waits for a clear channel, and must not be late for that.
                let before = guard + CLEAR;
                let listens = anchor + (age + before).div_ceil(interval) * interval;
                let (start, end) = (listens - before, listens + guard + profile.sniff());
                if end - start >= full.1 - full.0 { full } else { (start, end) }
            }
            _ => full,
        };
        down.planned = Some(planned);
        Some(planned)
    }
}

impl Down {
    pub(super) fn new(handle: u64, body: Vec<u8, MTU>, now: Micros, deadline: Micros) -> Self {
        Self {
            handle,
            body,
            deadline,
            counter: None,
            tries: 0,
            bursts: 0,
            busy: 0,
            not_before: now,
            planned: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(interval_ms: u16, anchor: Option<Micros>) -> Peer {
        let mut peer = Peer::new([1; 8], Secret([0; 16]), 1);
        (peer.interval_ms, peer.anchor) = (interval_ms, anchor);
        peer.down = Some(Down::new(1, Vec::new(), 0, 100_000_000));
        peer
    }

    #[test]
    fn a_lock_that_was_heard_is_met_at_its_next_listening() {
        let (start, end) = waiting(500, Some(1_000_000)).plan(10_200_000, Profile::Standard).unwrap();
        assert!(start + CLEAR < 10_500_000 - 80 * 9 && start > 10_490_000, "{start}");
        assert_eq!(end - start, CLEAR + 2 * guard(9_700_000) + Profile::Standard.sniff());
    }

    #[test]
    fn a_plan_stands_until_its_moment_and_is_then_the_next_one() {
        let mut peer = waiting(500, Some(1_000_000));
        let plan = peer.plan(1_200_000, Profile::Standard).unwrap();
        assert_eq!(peer.plan(plan.0, Profile::Standard), Some(plan));
        assert_eq!(peer.plan(plan.0 + 2_000, Profile::Standard).unwrap().0, plan.0 + 500_000);
    }

    #[test]
    fn an_unknown_or_long_unheard_lock_takes_a_whole_interval() {
        for anchor in [None, Some(0)] {
            let (start, end) = waiting(500, anchor).plan(6_000_000_000, Profile::Standard).unwrap();
            assert_eq!((start, end - start), (6_000_000_000, 500_500 + Profile::Standard.sniff()));
        }
    }

    #[test]
    fn one_that_always_listens_needs_no_burst() {
        assert_eq!(waiting(0, None).plan(5, Profile::Standard), Some((5, 5)));
    }
}
