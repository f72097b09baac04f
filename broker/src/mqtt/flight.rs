//! Which publish is where: waiting, given to the client, on the wire. One connection's worth.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use crate::Publish;

/// The publishes of one connection.
///
/// `rumqttc` names a publish by its packet id, and only when it writes it; requests are written in the order in
/// which they were given. So tokens wait in a FIFO for their packet id.
#[derive(Debug)]
pub(super) struct Flight {
    window: usize,
    /// Not given to the client yet.
    waiting: VecDeque<Publish>,
    /// Given to the client, not written yet.
    given: VecDeque<Given>,
    /// Written, not acknowledged.
    sent: BTreeMap<u16, Sent>,
    written: u64,
}

#[derive(Debug)]
struct Given {
    token: u64,
    content: Content,
}

#[derive(Debug)]
struct Sent {
    token: u64,
    content: Content,
    at: Instant,
    /// Place in the order of writing.
    order: u64,
}

/// A publish that the broker acknowledged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Acked {
    pub(super) token: u64,
    pub(super) content: Content,
    pub(super) rtt: Duration,
}

/// A publish on trial, see [`Suspicion`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trial {
    pub(super) suspect: Content,
    /// Others may still come, so the suspect does not go yet.
    pub(super) held: bool,
}

/// What a publish is, beyond its token, which changes with each attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    /// Topic and payload. A retained document is written anew for each connection, with another time in it: its
    /// topic names it.
    hash: u64,
    /// The topic alone: publishes of one topic keep their order.
    topic: u64,
    /// The topic's last level, `up` or `result`: what a broker's access rules tell apart.
    kind: u64,
    retain: bool,
}

impl Content {
    pub(super) fn of(publish: &Publish) -> Self {
        fn hash(value: impl Hash) -> u64 {
            let mut hasher = DefaultHasher::new();
            value.hash(&mut hasher);
            hasher.finish()
        }
        let Publish { topic, payload, retain, .. } = publish;
        Self {
            hash: if *retain { hash((topic, retain)) } else { hash((topic, retain, payload)) },
            topic: hash(topic),
            kind: hash(topic.rsplit('/').next()),
            retain: *retain,
        }
    }
}

impl Flight {
    pub(super) fn new(window: usize) -> Self {
        Self {
            window: window.max(1),
            waiting: VecDeque::new(),
            given: VecDeque::new(),
            sent: BTreeMap::new(),
            written: 0,
        }
    }

    pub(super) fn set_window(&mut self, window: usize) {
        self.window = window.max(1);
    }

    pub(super) fn push(&mut self, publish: Publish) {
        self.waiting.push_back(publish);
    }

    /// The next publish to give to the client, if the window has room; it counts as given. While one is on trial,
    /// those of other topics go first.
    pub(super) fn next(&mut self, trial: Option<Trial>) -> Option<Publish> {
        if self.given.len() + self.sent.len() >= self.window {
            return None;
        }
        let place = match trial {
            None => 0,
            Some(Trial { suspect, held }) => {
                let other = self.waiting.iter().position(|p| Content::of(p).topic != suspect.topic);
                if held { other? } else { other.unwrap_or(0) }
            }
        };
        let publish = self.waiting.remove(place)?;
        self.given.push_back(Given { token: publish.token, content: Content::of(&publish) });
        Some(publish)
    }

    /// The client did not take what [`Self::next`] gave out last: it waits again, before all others.
    pub(super) fn give_back(&mut self, publish: Publish) {
        self.drop_last();
        self.waiting.push_front(publish);
    }

    /// What [`Self::next`] gave out last goes nowhere.
    pub(super) fn drop_last(&mut self) {
        self.given.pop_back();
    }

    /// Takes a publish with this content out of those that wait.
    pub(super) fn withdraw(&mut self, content: Content) -> Option<Publish> {
        let place = self.waiting.iter().position(|publish| Content::of(publish) == content)?;
        self.waiting.remove(place)
    }

    /// The client wrote a publish under this packet id.
    pub(super) fn wrote(&mut self, pkid: u16, now: Instant) {
        let Some(Given { token, content }) = self.given.pop_front() else { return };
        self.written += 1;
        self.sent.insert(pkid, Sent { token, content, at: now, order: self.written });
    }

    /// The broker acknowledged this packet id.
    pub(super) fn acked(&mut self, pkid: u16, now: Instant) -> Option<Acked> {
        let Sent { token, content, at, .. } = self.sent.remove(&pkid)?;
        Some(Acked { token, content, rtt: now.saturating_duration_since(at) })
    }

    /// When the oldest unacknowledged publish was written, and what it was.
    pub(super) fn oldest(&self) -> Option<(Instant, Content)> {
        self.sent.values().min_by_key(|s| s.order).map(|s| (s.at, s.content))
    }
}

/// Finds the publish that a broker answers by closing the connection, which MQTT 3.1.1 has no other answer for.
///
/// A publish that was the oldest unacknowledged one when the broker closed is suspected; from then on one
/// publish goes out at a time, so that suspicion falls on the right one. After [`STRIKES`] in a row it is on trial:
/// others go first, and it is refused when the broker takes another of its kind and closes on it once more. A broker
/// that closes on all of them has access rules that do not fit, which must not cost one message after the other. A
/// retained document is nobody's property and is refused without that proof.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    suspect: Option<Suspect>,
    /// Acknowledgements still wanted before the window opens again.
    careful: u32,
}

#[derive(Debug)]
struct Suspect {
    content: Content,
    strikes: u8,
    /// The broker has taken another publish of its kind since.
    witnessed: bool,
    /// And closed on this one after that.
    guilty: bool,
}

/// Enough that a broker which is merely being restarted over and over does not cost a message.
pub(super) const STRIKES: u8 = 5;

/// A close that follows the publish later than this has another reason.
const PROMPT: Duration = Duration::from_secs(5);

/// After this many acknowledgements without another close it was not one of our messages.
const CLEARED: u32 = 64;

impl Suspicion {
    /// The broker closed the connection; `oldest` is what it had not acknowledged.
    pub(super) fn closed(&mut self, oldest: Option<(Instant, Content)>, now: Instant) {
        let Some((_, content)) = oldest.filter(|(at, _)| now.saturating_duration_since(*at) < PROMPT) else {
            return;
        };
        self.careful = CLEARED;
        match &mut self.suspect {
            Some(suspect) if suspect.content == content => {
                suspect.strikes = suspect.strikes.saturating_add(1);
                suspect.guilty = suspect.strikes >= STRIKES && (suspect.witnessed || content.retain);
            }
            // On trial others go first, and one of them may be closed on as well: that accuses the broker.
            Some(suspect) if suspect.strikes >= STRIKES => {}
            _ => self.suspect = Some(Suspect { content, strikes: 1, witnessed: false, guilty: false }),
        }
    }

    /// The broker took a message.
    pub(super) fn acked(&mut self, content: Content) {
        self.careful = self.careful.saturating_sub(1);
        match &mut self.suspect {
            Some(suspect) if suspect.content == content || self.careful == 0 => self.suspect = None,
            Some(suspect) if suspect.strikes >= STRIKES => {
                suspect.witnessed |= suspect.content.kind == content.kind
            }
            _ => {}
        }
    }

    /// What the broker closed on too often. `early`: the connection is young, others may still come.
    pub(super) fn trial(&self, early: bool) -> Option<Trial> {
        let suspect = self.suspect.as_ref().filter(|suspect| suspect.strikes >= STRIKES)?;
        (!suspect.witnessed).then_some(Trial { suspect: suspect.content, held: early })
    }

    /// What must not be tried again.
    pub(super) fn guilty(&self) -> Option<Content> {
        self.suspect.as_ref().filter(|suspect| suspect.guilty).map(|suspect| suspect.content)
    }

    /// What was guilty is gone; business as usual.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The window to use.
    pub(super) fn window(&self, usual: usize) -> usize {
        if self.careful > 0 { 1 } else { usual }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn publish(token: u64, text: &'static str) -> Publish {
        Publish {
            token,
            topic: "t".into(),
            payload: Bytes::from_static(text.as_bytes()),
            retain: false,
            not_after: None,
        }
    }

    #[test]
    fn tokens_meet_their_packet_ids_in_order_and_acks_come_in_any() {
        let now = Instant::now();
        let mut flight = Flight::new(3);
        for token in 1..=5 {
            flight.push(publish(token, "x"));
        }
        let given: Vec<_> = std::iter::from_fn(|| flight.next(None)).map(|p| p.token).collect();
        assert_eq!(given, [1, 2, 3], "the window holds three");
        flight.wrote(7, now);
        flight.wrote(8, now);
        assert!(flight.next(None).is_none(), "writing makes no room");
        assert_eq!(flight.acked(8, now).unwrap().token, 2);
        assert_eq!(flight.next(None).unwrap().token, 4);
        assert_eq!(flight.acked(8, now), None, "an ack counts once");
        flight.wrote(9, now);
        assert_eq!(flight.acked(9, now).unwrap().token, 3);
        assert_eq!(flight.acked(7, now).unwrap().token, 1);
    }

    #[test]
    fn a_packet_id_collision_keeps_the_order() {
        // The client stashes a publish whose packet id is still taken and writes it after the ack of the old
        // one; both events name the same id.
        let now = Instant::now();
        let mut flight = Flight::new(10);
        flight.push(publish(1, "a"));
        flight.push(publish(2, "b"));
        flight.next(None);
        flight.next(None);
        flight.wrote(1, now);
        assert_eq!(flight.acked(1, now).unwrap().token, 1);
        flight.wrote(1, now);
        assert_eq!(flight.acked(1, now).unwrap().token, 2);
    }

    #[test]
    fn the_oldest_is_by_order_of_writing_not_by_packet_id() {
        let now = Instant::now();
        let mut flight = Flight::new(10);
        flight.push(publish(1, "a"));
        flight.push(publish(2, "b"));
        flight.next(None);
        flight.next(None);
        flight.wrote(9, now);
        flight.wrote(1, now);
        assert_eq!(flight.oldest().unwrap().1, Content::of(&publish(0, "a")));
    }

    fn of(topic: &str, text: &'static str) -> Content {
        Content::of(&Publish { topic: topic.into(), ..publish(0, text) })
    }

    #[test]
    fn what_the_client_did_not_take_is_first_again_and_counts_for_nothing() {
        let now = Instant::now();
        let mut flight = Flight::new(10);
        flight.push(publish(1, "a"));
        flight.push(publish(2, "b"));
        flight.next(None);
        let back = flight.next(None).unwrap();
        flight.give_back(back);
        flight.wrote(1, now);
        flight.wrote(2, now); // Of nobody.
        assert_eq!(flight.acked(1, now).unwrap().token, 1);
        assert_eq!(flight.acked(2, now), None);
        assert_eq!(flight.next(None).unwrap().token, 2);
    }

    #[test]
    fn the_message_that_a_broker_closes_on_is_found_and_convicted_by_another_of_its_kind() {
        let now = Instant::now();
        let mut suspicion = Suspicion::default();
        assert_eq!(suspicion.window(100), 100);
        let poison = of("lock/1/up", "poison");
        // An innocent neighbour is suspected first and acquitted by its ack.
        suspicion.closed(Some((now, of("lock/2/up", "good"))), now);
        assert_eq!(suspicion.window(100), 1);
        suspicion.acked(of("lock/2/up", "good"));
        assert_eq!(suspicion.window(100), 1, "still one at a time: the culprit is among those that follow");
        for _ in 0..STRIKES {
            assert_eq!(suspicion.trial(true), None);
            suspicion.closed(Some((now, poison)), now);
        }
        let trial = Some(Trial { suspect: poison, held: true });
        suspicion.closed(Some((now, of("lock/2/up", "x"))), now);
        suspicion.acked(of("state", "online"));
        suspicion.closed(Some((now, poison)), now);
        assert_eq!(
            (suspicion.trial(true), suspicion.guilty()),
            (trial, None),
            "nothing of its kind was taken"
        );
        suspicion.acked(of("lock/2/up", "x"));
        assert_eq!(
            (suspicion.trial(true), suspicion.guilty()),
            (None, None),
            "the rules may have been mended"
        );
        suspicion.closed(Some((now, poison)), now);
        assert_eq!(suspicion.guilty(), Some(poison));
        suspicion.forget();
        assert_eq!((suspicion.guilty(), suspicion.window(100)), (None, 100));
    }

    #[test]
    fn on_trial_others_go_first_and_those_of_its_topic_stay_behind_it() {
        let mut flight = Flight::new(1);
        for (token, topic) in [(1, "lock/1/up"), (2, "lock/1/up"), (3, "lock/2/up")] {
            flight.push(Publish { topic: topic.into(), ..publish(token, "x") });
        }
        let poison = of("lock/1/up", "x");
        let held = Some(Trial { suspect: poison, held: true });
        assert_eq!(flight.next(held).unwrap().token, 3);
        flight.wrote(1, Instant::now());
        flight.acked(1, Instant::now());
        assert!(flight.next(held).is_none());
        let trial = Some(Trial { suspect: poison, held: false });
        assert_eq!(flight.next(trial).unwrap().token, 1, "nothing else is left");
    }

    #[test]
    fn a_retained_document_is_the_same_though_its_time_is_not() {
        let now = Instant::now();
        let mut suspicion = Suspicion::default();
        let written = |text| Content::of(&Publish { retain: true, ..publish(1, text) });
        for text in ["1", "2", "3", "4", "5"] {
            assert_eq!(suspicion.guilty(), None);
            suspicion.closed(Some((now, written(text))), now);
        }
        assert_ne!(suspicion.guilty(), Some(of("t", "5")), "not retained, it is another");
        assert_eq!(suspicion.guilty(), Some(written("6")));
    }

    #[test]
    fn a_late_close_accuses_nobody_and_a_vanished_suspect_is_forgotten() {
        let now = Instant::now();
        let mut suspicion = Suspicion::default();
        suspicion.closed(Some((now, of("t", "1"))), now + PROMPT);
        suspicion.closed(None, now);
        assert_eq!(suspicion.window(9), 9);
        suspicion.closed(Some((now, of("t", "1"))), now);
        for _ in 0..CLEARED {
            assert_eq!(suspicion.window(9), 1);
            suspicion.acked(of("t", "2"));
        }
        assert_eq!(suspicion.window(9), 9);
        // On trial as well: what the relay dropped meanwhile holds nothing back.
        for _ in 0..STRIKES {
            suspicion.closed(Some((now, of("lock/1/up", "1"))), now);
        }
        (0..CLEARED).for_each(|_| suspicion.acked(of("state", "2")));
        assert_eq!((suspicion.trial(true), suspicion.window(9)), (None, 9));
    }
}
