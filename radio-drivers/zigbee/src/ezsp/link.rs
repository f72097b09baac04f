//! The ASH link: frames of EZSP both ways, each once and in order, or a link that says it is dead.
//!
//! One frame of ours is outstanding: EZSP answers each command before it takes the next, so a longer window would stay empty.
//! The NCP may have several on their way; each is acknowledged at once.

use std::collections::VecDeque;

use cardea_radio::Millis;
use zeroize::Zeroizing;

use super::ash::{Data, Decoder, Frame, MAX_DATA, MIN_DATA};

/// Frames that may wait to be taken; more are not acknowledged, so that the NCP waits.
pub const MAX_RECEIVED: usize = 64;
/// Waits for an acknowledgement after each send of a frame, milliseconds; then the link counts as dead.
///
/// Sent again soon and waited for long: a frame that got through late would carry a command past its deadline, so the last
/// copy goes out 2.4 s after the first; but an NCP that is busy with its memory must not be reset for it.
pub const ACK_TIMEOUTS_MS: [Millis; 4] = [600, 600, 1_200, 5_600];
/// Wait for the answer to a reset, milliseconds.
pub const RESET_MS: Millis = 3_200;

/// What happened on the link.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The NCP has restarted, asked to or not: what it was asked before is forgotten. The code is that of
    /// [`Frame::ResetAck`].
    Restarted(u8),
    /// The NCP must be reset; the code is that of [`Frame::Error`].
    Failed(u8),
    /// The NCP expects a number that it cannot: it has restarted, and its word of that was lost on the line.
    Lost,
    /// A frame of EZSP. May hold keys.
    Frame(Zeroizing<Vec<u8>>),
}

/// The link to an NCP. Time is an argument; the shell reads and writes the port.
#[derive(Default)]
pub struct Link {
    decoder: Decoder,
    events: VecDeque<LinkEvent>,
    up: bool,
    /// A reset is to be sent.
    reset: bool,
    // Out.
    outstanding: Option<Outstanding>,
    next_out: u8,
    dead: bool,
    // In.
    next_in: u8,
    /// What to say of what came: an acknowledgement, or that something is missing.
    answer: Option<Frame>,
    /// It was said that something is missing, once.
    rejecting: bool,
    duplicates: u64,
}

struct Outstanding {
    data: Zeroizing<Vec<u8>>,
    sends: usize,
    /// `None`: to be sent (again) now.
    until: Option<Millis>,
}

impl Link {
    /// Restarts the NCP. What waits to be sent is gone; [`LinkEvent::Restarted`] follows, or nothing.
    pub fn reset(&mut self) {
        self.events.clear();
        self.stop();
        (self.reset, self.dead) = (true, false);
    }

    /// The port was opened anew.
    pub fn reopen(&mut self) {
        let (mut decoder, duplicates) = (std::mem::take(&mut self.decoder), self.duplicates);
        decoder.restart();
        *self = Self { decoder, duplicates, ..Self::default() };
    }

    /// Takes a frame of EZSP to send. False: another one is on its way, the link is not up, or nobody could read it.
    pub fn send(&mut self, data: Zeroizing<Vec<u8>>) -> bool {
        let fits = (MIN_DATA..=MAX_DATA).contains(&data.len());
        if !self.up || self.outstanding.is_some() || !fits {
            return false;
        }
        self.outstanding = Some(Outstanding { data, sends: 0, until: None });
        true
    }

    /// True when a frame would be taken.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.up && self.outstanding.is_none()
    }

    /// True once a frame was sent as often as it may be, without an acknowledgement.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Takes what the port gave.
    pub fn handle_bytes(&mut self, now: Millis, bytes: &[u8]) {
        let mut decoder = std::mem::take(&mut self.decoder);
        decoder.push(now, bytes, |frame| self.take(frame));
        self.decoder = decoder;
    }

    fn take(&mut self, frame: Option<Frame>) {
        match frame {
            Some(Frame::ResetAck { code }) => {
                self.stop();
                (self.up, self.dead) = (true, false);
                self.events.push_back(LinkEvent::Restarted(code));
            }
            // An NCP that asks for a reset is none.
            Some(Frame::Reset) => {}
            _ if !self.up => {}
            Some(Frame::Error { code }) => {
                self.stop();
                self.events.push_back(LinkEvent::Failed(code));
            }
            Some(Frame::Ack { next }) => self.acknowledged(next),
            Some(Frame::Nak { next }) => {
                self.acknowledged(next);
                // The last send has its whole time.
                if let Some(outstanding) =
                    self.outstanding.as_mut().filter(|out| out.sends < ACK_TIMEOUTS_MS.len())
                {
                    outstanding.until = None;
                }
            }
            Some(Frame::Data(data)) => {
                self.acknowledged(data.next);
                if self.up {
                    self.received(data);
                }
            }
            None => self.reject(),
        }
    }

    fn acknowledged(&mut self, next: u8) {
        let sent = self.outstanding.as_ref().is_some_and(|outstanding| outstanding.sends > 0);
        if sent && next == self.next_out.wrapping_add(1) & 7 {
            self.outstanding = None;
            self.next_out = next;
        } else if next != self.next_out {
            self.stop();
            self.events.push_back(LinkEvent::Lost);
        }
    }

    fn received(&mut self, data: Data) {
        if data.number == self.next_in {
            if self.events.len() >= MAX_RECEIVED {
                return;
            }
            self.next_in = self.next_in.wrapping_add(1) & 7;
            self.rejecting = false;
            self.answer = Some(Frame::Ack { next: self.next_in });
            self.events.push_back(LinkEvent::Frame(data.data));
        } else if data.again {
            // The acknowledgement was lost.
            self.duplicates = self.duplicates.saturating_add(1);
            self.answer = Some(Frame::Ack { next: self.next_in });
        } else {
            self.reject();
        }
    }

    /// Says once what is missing: each further frame that came behind it would only say it again.
    fn reject(&mut self) {
        if self.up && !std::mem::replace(&mut self.rejecting, true) {
            self.answer = Some(Frame::Nak { next: self.next_in });
        }
    }

    /// Bytes for the port.
    pub fn poll_transmit(&mut self, now: Millis) -> Option<Zeroizing<Vec<u8>>> {
        if std::mem::take(&mut self.reset) {
            return Some(Frame::Reset.encode());
        }
        if let Some(answer) = self.answer.take() {
            return Some(answer.encode());
        }
        let (number, next) = (self.next_out, self.next_in);
        let outstanding = self.outstanding.as_mut().filter(|outstanding| outstanding.until.is_none())?;
        let again = outstanding.sends > 0;
        let wait = ACK_TIMEOUTS_MS.get(outstanding.sends).copied().unwrap_or_default();
        outstanding.sends = outstanding.sends.saturating_add(1);
        outstanding.until = Some(now.saturating_add(wait));
        Some(Frame::Data(Data { number, again, next, data: outstanding.data.clone() }).encode())
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        self.outstanding.as_ref()?.until
    }

    /// Marks the outstanding frame to be sent again, or the link dead.
    pub fn handle_timeout(&mut self, now: Millis) {
        let Some(outstanding) = &mut self.outstanding else { return };
        if outstanding.until.is_some_and(|until| until <= now) {
            outstanding.until = None;
            if outstanding.sends >= ACK_TIMEOUTS_MS.len() {
                self.stop();
                self.dead = true;
            }
        }
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// Frames that came twice, and damage on the line, since the start.
    #[must_use]
    pub fn counters(&self) -> (u64, u64) {
        (self.duplicates, self.decoder.damaged())
    }

    /// Numbers begin anew with the next reset.
    fn stop(&mut self) {
        (self.up, self.outstanding, self.answer, self.rejecting) = (false, None, None, false);
        (self.next_out, self.next_in) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected() -> Link {
        let mut link = Link::default();
        link.reset();
        assert_eq!(
            link.poll_transmit(0).as_deref(),
            Some(&Frame::Reset.encode()[..]).map(|bytes| bytes.to_vec()).as_ref()
        );
        say(&mut link, &Frame::ResetAck { code: 0x0B });
        assert_eq!(link.poll_event(), Some(LinkEvent::Restarted(0x0B)));
        link
    }

    fn say(link: &mut Link, frame: &Frame) {
        link.handle_bytes(0, &frame.encode());
    }

    fn heard(link: &mut Link, now: Millis) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(bytes) = link.poll_transmit(now) {
            Decoder::default().push(0, &bytes, |frame| frames.extend(frame));
        }
        frames
    }

    fn frame(number: u8, again: bool, next: u8, text: &str) -> Frame {
        Frame::Data(Data { number, again, next, data: text.as_bytes().to_vec().into() })
    }

    fn texts(link: &mut Link) -> Vec<String> {
        let events = std::iter::from_fn(|| link.poll_event());
        let texts = events.filter_map(|event| match event {
            LinkEvent::Frame(data) => String::from_utf8(data.to_vec()).ok(),
            _ => None,
        });
        texts.collect()
    }

    fn give(link: &mut Link, text: &str) -> bool {
        link.send(text.as_bytes().to_vec().into())
    }

    #[test]
    fn nothing_is_said_or_heard_before_the_reset_is_answered() {
        let mut link = Link::default();
        assert!(!give(&mut link, "early"));
        link.reset();
        assert!(!give(&mut link, "early"));
        say(&mut link, &frame(0, false, 0, "old"));
        assert_eq!((heard(&mut link, 0), texts(&mut link)), (vec![Frame::Reset], vec![]));
    }

    #[test]
    fn frames_go_out_one_by_one_under_numbers_that_wrap() {
        let mut link = connected();
        for n in 0..20u8 {
            assert!(give(&mut link, "abc") && !give(&mut link, "def"));
            assert_eq!(heard(&mut link, 0), vec![frame(n % 8, false, 0, "abc")]);
            // An old acknowledgement changes nothing.
            say(&mut link, &Frame::Ack { next: n % 8 });
            assert!(!link.is_idle());
            say(&mut link, &Frame::Ack { next: (n + 1) % 8 });
            assert!(link.is_idle());
        }
        assert!(!link.send(vec![0; 2].into()) && !link.send(vec![0; MAX_DATA + 1].into()));
    }

    #[test]
    fn without_an_acknowledgement_it_is_sent_again_and_then_the_link_is_dead() {
        let mut link = connected();
        give(&mut link, "abc");
        let mut sent = Vec::new();
        let mut now = 0;
        for _ in 0..6 {
            sent.extend(heard(&mut link, now).into_iter().map(|frame| (now, frame)));
            let Some(at) = link.poll_timeout() else { break };
            now = at;
            link.handle_timeout(now);
        }
        let expected = [(0, false), (600, true), (1_200, true), (2_400, true)];
        assert_eq!(sent, expected.map(|(at, again)| (at, frame(0, again, 0, "abc"))).to_vec());
        assert!(link.is_dead() && now == 8_000 && !give(&mut link, "abc"));
        link.reset();
        assert!(!link.is_dead());
    }

    #[test]
    fn what_the_ncp_missed_is_sent_again_at_once() {
        let mut link = connected();
        give(&mut link, "abc");
        heard(&mut link, 0);
        say(&mut link, &Frame::Nak { next: 0 });
        assert_eq!(heard(&mut link, 1), vec![frame(0, true, 0, "abc")]);
        say(&mut link, &Frame::Nak { next: 1 });
        assert!(link.is_idle(), "it missed the one after it");
    }

    #[test]
    fn frames_of_the_ncp_are_taken_once_and_in_order() {
        let mut link = connected();
        say(&mut link, &frame(0, false, 0, "one"));
        say(&mut link, &frame(1, false, 0, "two"));
        assert_eq!(heard(&mut link, 0), vec![Frame::Ack { next: 2 }]);
        say(&mut link, &frame(1, true, 0, "two"));
        assert_eq!(heard(&mut link, 0), vec![Frame::Ack { next: 2 }], "the acknowledgement was lost");
        // The third is lost: what follows it is refused, once.
        say(&mut link, &frame(3, false, 0, "four"));
        say(&mut link, &frame(4, false, 0, "five"));
        assert_eq!(heard(&mut link, 0), vec![Frame::Nak { next: 2 }]);
        for (number, text) in [(2, "three"), (3, "four"), (4, "five")] {
            say(&mut link, &frame(number, true, 0, text));
        }
        assert_eq!(heard(&mut link, 0), vec![Frame::Ack { next: 5 }]);
        assert_eq!(texts(&mut link), ["one", "two", "three", "four", "five"]);
        assert_eq!(link.counters(), (1, 0));
    }

    #[test]
    fn a_damaged_frame_is_asked_for_again() {
        let mut link = connected();
        let mut line = frame(0, false, 0, "one").encode();
        line[2] ^= 0x01;
        link.handle_bytes(0, &line);
        assert_eq!(heard(&mut link, 0), vec![Frame::Nak { next: 0 }]);
        link.handle_bytes(100, &frame(0, true, 0, "one").encode());
        assert_eq!(
            (heard(&mut link, 100), texts(&mut link)),
            (vec![Frame::Ack { next: 1 }], vec!["one".into()])
        );
    }

    #[test]
    fn after_a_restart_numbers_begin_anew_and_what_waited_is_gone() {
        let mut link = connected();
        give(&mut link, "abc");
        heard(&mut link, 0);
        say(&mut link, &Frame::Ack { next: 1 });
        say(&mut link, &frame(0, false, 1, "old"));
        give(&mut link, "def");
        say(&mut link, &Frame::ResetAck { code: 0x03 });
        assert_eq!(std::iter::from_fn(|| link.poll_event()).last(), Some(LinkEvent::Restarted(0x03)));
        assert!(give(&mut link, "new"));
        assert_eq!(heard(&mut link, 0), vec![frame(0, false, 0, "new")]);
        say(&mut link, &Frame::Error { code: 0x51 });
        assert_eq!(link.poll_event(), Some(LinkEvent::Failed(0x51)));
        assert!(!give(&mut link, "ghi"));
    }

    /// Its RSTACK was the end of a frame whose beginning the power cut had left on the line.
    #[test]
    fn an_ncp_that_counts_from_the_beginning_has_restarted_unheard() {
        let mut link = connected();
        for n in 0..3 {
            give(&mut link, "abc");
            heard(&mut link, 0);
            say(&mut link, &Frame::Ack { next: n + 1 });
        }
        give(&mut link, "def");
        heard(&mut link, 0);
        say(&mut link, &Frame::Nak { next: 0 });
        assert_eq!(link.poll_event(), Some(LinkEvent::Lost));
        assert!(!give(&mut link, "ghi") && heard(&mut link, 600).is_empty());
        link.reset();
        assert_eq!(heard(&mut link, 600), vec![Frame::Reset]);
    }

    #[test]
    fn what_nobody_takes_is_not_acknowledged() {
        let mut link = connected();
        for n in 0..MAX_RECEIVED + 20 {
            say(&mut link, &frame((n % 8) as u8, false, 0, "abc"));
        }
        assert_eq!(texts(&mut link).len(), MAX_RECEIVED);
    }
}
