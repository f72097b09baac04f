//! Which publish is where: waiting, given to the client, on the wire. One connection's worth.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use cardea_core::Publish;
use tokio::time::Instant;

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
    content: u64,
}

#[derive(Debug)]
struct Sent {
    token: u64,
    content: u64,
    at: Instant,
    /// Place in the order of writing.
    order: u64,
}

/// A publish that the broker acknowledged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Acked {
    pub(super) token: u64,
    pub(super) content: u64,
    pub(super) rtt: Duration,
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

    /// The next publish to give to the client, if the window has room; it counts as given.
    pub(super) fn next(&mut self) -> Option<Publish> {
        if self.given.len() + self.sent.len() >= self.window {
            return None;
        }
        let publish = self.waiting.pop_front()?;
        self.given.push_back(Given { token: publish.token, content: content_of(&publish) });
        Some(publish)
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
    pub(super) fn oldest(&self) -> Option<(Instant, u64)> {
        self.sent.values().min_by_key(|s| s.order).map(|s| (s.at, s.content))
    }
}

/// Names a publish by what it says, because its token changes with each attempt. A retained document is written
/// anew for each connection, with another time in it: its topic names it.
pub(super) fn content_of(publish: &Publish) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&publish.topic, publish.retain).hash(&mut hasher);
    if !publish.retain {
        publish.payload.hash(&mut hasher);
    }
    hasher.finish()
}

/// Finds the publish that a broker answers by closing the connection, which MQTT 3.1.1 has no other answer for.
///
/// A publish that was the oldest unacknowledged one when the broker closed is suspected; from then on one
/// publish goes out at a time, so that suspicion falls on the right one. After [`STRIKES`] in a row it is refused.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    suspect: Option<(u64, u8)>,
    /// Acknowledgements still wanted before the window opens again.
    careful: u32,
}

/// Enough that a broker which is merely being restarted over and over does not cost a message.
pub(super) const STRIKES: u8 = 5;

/// A close that follows the publish later than this has another reason.
const PROMPT: Duration = Duration::from_secs(5);

/// After this many acknowledgements without another close it was not one of our messages.
const CLEARED: u32 = 64;

impl Suspicion {
    /// The broker closed the connection; `oldest` is what it had not acknowledged.
    pub(super) fn closed(&mut self, oldest: Option<(Instant, u64)>, now: Instant) {
        let Some((_, content)) = oldest.filter(|(at, _)| now.saturating_duration_since(*at) < PROMPT) else {
            return;
        };
        self.careful = CLEARED;
        self.suspect = match self.suspect {
            Some((suspect, strikes)) if suspect == content => Some((suspect, strikes.saturating_add(1))),
            _ => Some((content, 1)),
        };
    }

    /// The broker took a message.
    pub(super) fn acked(&mut self, content: u64) {
        self.careful = self.careful.saturating_sub(1);
        if self.careful == 0 || self.suspect.is_some_and(|(suspect, _)| suspect == content) {
            self.suspect = None;
        }
    }

    /// True for a message that must not be tried again; it is forgotten with that.
    pub(super) fn convicts(&mut self, publish: &Publish) -> bool {
        match self.suspect {
            Some((suspect, strikes)) if strikes >= STRIKES && suspect == content_of(publish) => {
                *self = Self::default();
                true
            }
            _ => false,
        }
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
        Publish { token, topic: "t".into(), payload: Bytes::from_static(text.as_bytes()), retain: false }
    }

    #[test]
    fn tokens_meet_their_packet_ids_in_order_and_acks_come_in_any() {
        let now = Instant::now();
        let mut flight = Flight::new(3);
        for token in 1..=5 {
            flight.push(publish(token, "x"));
        }
        let given: Vec<_> = std::iter::from_fn(|| flight.next()).map(|p| p.token).collect();
        assert_eq!(given, [1, 2, 3], "the window holds three");
        flight.wrote(7, now);
        flight.wrote(8, now);
        assert!(flight.next().is_none(), "writing makes no room");
        assert_eq!(flight.acked(8, now).unwrap().token, 2);
        assert_eq!(flight.next().unwrap().token, 4);
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
        flight.next();
        flight.next();
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
        flight.next();
        flight.next();
        flight.wrote(9, now);
        flight.wrote(1, now);
        assert_eq!(flight.oldest().unwrap().1, content_of(&publish(0, "a")));
    }

    #[test]
    fn the_message_that_a_broker_closes_on_is_found_and_refused() {
        let now = Instant::now();
        let mut suspicion = Suspicion::default();
        assert_eq!(suspicion.window(100), 100);
        let poison = publish(1, "poison");
        // An innocent neighbour is suspected first and acquitted by its ack.
        suspicion.closed(Some((now, content_of(&publish(2, "good")))), now);
        assert_eq!(suspicion.window(100), 1);
        suspicion.acked(content_of(&publish(2, "good")));
        assert_eq!(suspicion.window(100), 1, "still one at a time: the culprit is among those that follow");
        for _ in 0..STRIKES {
            assert!(!suspicion.convicts(&poison));
            suspicion.closed(Some((now, content_of(&poison))), now);
        }
        assert!(!suspicion.convicts(&publish(3, "other")));
        assert!(suspicion.convicts(&publish(4, "poison")));
        assert_eq!(suspicion.window(100), 100);
    }

    #[test]
    fn a_retained_document_is_the_same_though_its_time_is_not() {
        let now = Instant::now();
        let mut suspicion = Suspicion::default();
        let written = |text| Publish { retain: true, ..publish(1, text) };
        for text in ["1", "2", "3", "4", "5"] {
            assert!(!suspicion.convicts(&written(text)));
            suspicion.closed(Some((now, content_of(&written(text)))), now);
        }
        assert!(!suspicion.convicts(&publish(1, "5")), "not retained, it is another");
        assert!(suspicion.convicts(&written("6")));
    }

    #[test]
    fn a_late_close_accuses_nobody_and_a_vanished_suspect_is_forgotten() {
        let now = Instant::now();
        let mut suspicion = Suspicion::default();
        suspicion.closed(Some((now, 1)), now + PROMPT);
        suspicion.closed(None, now);
        assert_eq!(suspicion.window(9), 9);
        suspicion.closed(Some((now, 1)), now);
        for _ in 0..CLEARED {
            assert_eq!(suspicion.window(9), 1);
            suspicion.acked(2);
        }
        assert_eq!(suspicion.window(9), 9);
    }
}
