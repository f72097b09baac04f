//! When a lock asks its site for something, and how often at most: a question costs battery, and whoever is on the air
//! can make it seem that there is something to ask for.

use cardea_credentials::SiteKind;

/// Pause after a question that nobody answered, in milliseconds; doubled with each, up to [`DAY_MS`].
const AGAIN_MS: u64 = 60_000;
const MAX_DOUBLINGS: u32 = 11;
/// What was answered is asked for again after this time: a message that nobody asked for can get lost.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// A message that nobody could have verified brings the next question forward at most this often.
const HINT_MS: u64 = 15 * 60 * 1000;

/// In the order in which they are asked for: nothing of the site can be verified without its authority.
const KINDS: [SiteKind; 5] = [
    SiteKind::Authority,
    SiteKind::Revocations,
    SiteKind::SiteRevocations,
    SiteKind::Time,
    SiteKind::Membership,
];

/// What a lock asks for that is in no site: the platform's list is for every lock of the owner.
const WITHOUT_SITE: u8 = 1 << 1;

/// The question that waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub(crate) kind: SiteKind,
    pub(crate) number: u32,
    pub(crate) at: u64,
}

/// What the lock wants to know, and when it may ask.
#[derive(Default)]
pub(crate) struct Asking {
    /// One bit for each of [`KINDS`].
    wanted: u8,
    /// The address whose membership is wanted.
    pub(crate) address: u16,
    open: Option<Asked>,
    unanswered: u32,
    next_at: u64,
    hinted_at: Option<u64>,
    refresh_at: Option<u64>,
}

impl Asking {
    /// From a start, or a new site, everything that the site has may be news.
    pub(crate) fn want_all(&mut self) {
        [SiteKind::Authority, SiteKind::Revocations, SiteKind::SiteRevocations]
            .into_iter()
            .for_each(|kind| self.want(kind));
    }

    pub(crate) fn want(&mut self, kind: SiteKind) {
        self.wanted |= bit(kind);
    }

    /// What came says, without proof, that there is more than the lock knows.
    pub(crate) fn hint(&mut self, now: u64, kind: SiteKind) {
        self.want(kind);
        let earliest = self.hinted_at.map_or(now, |at| now.max(at.saturating_add(HINT_MS)));
        if earliest < self.next_at {
            (self.next_at, self.hinted_at) = (earliest, Some(earliest));
        }
    }

    /// A part came and the rest should follow by itself; asked for when it does not.
    pub(crate) fn expect(&mut self, now: u64, kind: SiteKind) {
        self.want(kind);
        self.unanswered = 0;
        self.next_at = now.saturating_add(AGAIN_MS);
    }

    /// There is nothing more to ask about this for now.
    pub(crate) fn settled(&mut self, now: u64, kind: SiteKind) {
        self.wanted &= !bit(kind);
        if self.open.is_some_and(|open| open.kind == kind) {
            self.open = None;
            (self.unanswered, self.next_at) = (0, now);
        }
        if self.wanted == 0 {
            self.refresh_at = Some(now.saturating_add(DAY_MS));
        }
    }

    /// The question that is out.
    pub(crate) const fn open(&self) -> Option<Asked> {
        self.open
    }

    /// What to ask now, if anything.
    pub(crate) fn due(&mut self, now: u64, in_site: bool) -> Option<SiteKind> {
        if in_site && self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = None;
            self.want_all();
        }
        let wanted = self.wanted(in_site);
        if wanted == 0 || now < self.next_at {
            return None;
        }
        // In turn, so that one that nobody answers does not keep the others waiting.
        let last = self.open.and_then(|open| KINDS.iter().position(|kind| *kind == open.kind));
        let from = last.map_or(0, |last| last + 1);
        let mut turn = KINDS.iter().cycle().skip(from).take(KINDS.len());
        turn.find(|kind| wanted & bit(**kind) != 0).copied()
    }

    const fn wanted(&self, in_site: bool) -> u8 {
        if in_site { self.wanted } else { self.wanted & WITHOUT_SITE }
    }

    /// A question goes out.
    pub(crate) fn asked(&mut self, now: u64, kind: SiteKind, number: u32) {
        let pause = AGAIN_MS << self.unanswered.min(MAX_DOUBLINGS);
        self.unanswered = self.unanswered.saturating_add(1);
        self.next_at = now.saturating_add(pause.min(DAY_MS));
        self.open = Some(Asked { kind, number, at: now });
    }

    /// When [`Self::due`] has something to say.
    pub(crate) fn timeout(&self, in_site: bool) -> Option<u64> {
        let next = (self.wanted(in_site) != 0).then_some(self.next_at);
        [next, self.refresh_at.filter(|_| in_site)].into_iter().flatten().min()
    }
}

fn bit(kind: SiteKind) -> u8 {
    KINDS.iter().position(|known| *known == kind).map_or(0, |place| 1 << place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_site_is_asked_less_and_less() {
        let mut asking = Asking::default();
        asking.want_all();
        let mut questions = std::vec::Vec::new();
        for minute in 0..7 * 24 * 60 {
            if let Some(kind) = asking.due(minute * 60_000, true) {
                asking.asked(minute * 60_000, kind, 0);
                questions.push((minute, kind as u8));
            }
        }
        let first: std::vec::Vec<_> = questions.iter().take(6).copied().collect();
        assert_eq!(first, [(0, 1), (1, 2), (3, 3), (7, 1), (15, 2), (31, 3)], "each in turn");
        let in_first_day = questions.iter().filter(|(minute, _)| *minute < 24 * 60).count();
        assert_eq!((in_first_day, questions.len()), (11, 17));
    }

    #[test]
    fn what_was_answered_is_asked_again_after_a_day() {
        let mut asking = Asking::default();
        asking.want(SiteKind::Revocations);
        assert_eq!(asking.due(5, true), Some(SiteKind::Revocations));
        asking.asked(5, SiteKind::Revocations, 0);
        asking.settled(10, SiteKind::Revocations);
        assert_eq!((asking.due(11, true), asking.timeout(true)), (None, Some(10 + DAY_MS)));
        assert_eq!(asking.due(10 + DAY_MS, true), Some(SiteKind::Authority));
    }

    #[test]
    fn hints_bring_a_question_forward_every_fifteen_minutes_at_most() {
        let mut asking = Asking::default();
        let mut questions = 0;
        for second in 0..24 * 60 * 60 {
            asking.hint(second * 1000, SiteKind::Revocations);
            if let Some(kind) = asking.due(second * 1000, true) {
                asking.asked(second * 1000, kind, 0);
                questions += 1;
            }
        }
        assert!((90..=110).contains(&questions), "{questions} in a day");
    }

    #[test]
    fn outside_a_site_only_the_platforms_list_is_asked_for() {
        let mut asking = Asking::default();
        asking.want_all();
        assert_eq!(bit(SiteKind::Revocations), WITHOUT_SITE);
        assert_eq!(asking.due(0, false), Some(SiteKind::Revocations));
        asking.asked(0, SiteKind::Revocations, 0);
        asking.settled(1, SiteKind::Revocations);
        assert_eq!((asking.due(DAY_MS * 9, false), asking.timeout(false)), (None, None));
        assert_eq!(asking.due(1, true), Some(SiteKind::Authority), "once in one, the rest too");
    }
}
