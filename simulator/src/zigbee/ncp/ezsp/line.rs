//! ASH version 2 from the NCP's side (Silicon Labs UG101): a window of frames out, one after the other in, and an error that
//! only a reset ends when the host acknowledges nothing.

use std::collections::VecDeque;

use cardea_radio::Millis;
use cardea_zigbee::ezsp::ash::{Data, Decoder, Frame};
use zeroize::Zeroizing;

/// Frames that may be on their way unacknowledged.
const WINDOW: usize = 3;
/// Wait for an acknowledgement.
const ACK_MS: Millis = 1_600;
/// Waits in a row after which the host counts as gone.
const ACK_TIMEOUTS: u8 = 4;
/// Too many acknowledgements did not come.
const TIMEOUTS_ERROR: u8 = 0x51;
/// Frames that may wait for the window.
const MAX_QUEUED: usize = 64;

/// What the host does.
pub(super) enum Heard {
    Reset,
    /// A frame of EZSP.
    Frame(Zeroizing<Vec<u8>>),
}

#[derive(Default)]
pub(super) struct Line {
    decoder: Decoder,
    up: bool,
    /// It waits for a reset and says nothing else.
    failed: bool,
    /// RSTACK or ERROR, before anything else.
    first: Option<Frame>,
    answer: Option<Frame>,
    // In.
    next_in: u8,
    rejecting: bool,
    // Out.
    queue: VecDeque<Zeroizing<Vec<u8>>>,
    /// Oldest first, under numbers up to the next.
    sent: VecDeque<Zeroizing<Vec<u8>>>,
    next_out: u8,
    /// How many of those that were sent are to be sent again, from the last one backwards.
    again: usize,
    until: Option<Millis>,
    timeouts: u8,
}

impl Line {
    /// The firmware has started, for this reason.
    pub(super) fn start(&mut self, code: u8) {
        *self = Self { up: true, first: Some(Frame::ResetAck { code }), ..Self::default() };
    }

    /// Nobody has the port open: bytes in between are lost.
    pub(super) fn reopen(&mut self) {
        self.decoder.restart();
        self.first = None;
    }

    /// False: there is no room.
    pub(super) fn send(&mut self, frame: Zeroizing<Vec<u8>>) -> bool {
        let room = self.queue.len() < MAX_QUEUED;
        if room {
            self.queue.push_back(frame);
        }
        room
    }

    pub(super) fn handle_bytes(&mut self, now: Millis, bytes: &[u8]) -> Vec<Heard> {
        let mut heard = Vec::new();
        let mut decoder = std::mem::take(&mut self.decoder);
        decoder.push(now, bytes, |frame| heard.extend(self.take(now, frame)));
        self.decoder = decoder;
        heard
    }

    fn take(&mut self, now: Millis, frame: Option<Frame>) -> Option<Heard> {
        match frame {
            Some(Frame::Reset) => return Some(Heard::Reset),
            _ if self.failed => self.first = Some(Frame::Error { code: TIMEOUTS_ERROR }),
            _ if !self.up => {}
            Some(Frame::Ack { next }) => self.acknowledged(now, next),
            Some(Frame::Nak { next }) => {
                self.acknowledged(now, next);
                self.again = self.sent.len();
            }
            Some(Frame::Data(Data { number, again, next, data })) => {
                self.acknowledged(now, next);
                if number == self.next_in {
                    self.next_in = (self.next_in + 1) & 7;
                    self.rejecting = false;
                    self.answer = Some(Frame::Ack { next: self.next_in });
                    return Some(Heard::Frame(data));
                }
                if again {
                    self.answer = Some(Frame::Ack { next: self.next_in });
                } else {
                    self.reject();
                }
            }
            None => self.reject(),
            // What only an NCP says.
            Some(Frame::ResetAck { .. } | Frame::Error { .. }) => {}
        }
        None
    }

    /// The reject condition: said once, until the frame that is missing comes.
    fn reject(&mut self) {
        if !std::mem::replace(&mut self.rejecting, true) {
            self.answer = Some(Frame::Nak { next: self.next_in });
        }
    }

    /// The number of the oldest frame that is on its way.
    fn oldest(&self) -> u8 {
        let on_its_way = u8::try_from(self.sent.len()).unwrap_or(0);
        self.next_out.wrapping_sub(on_its_way) & 7
    }

    fn acknowledged(&mut self, now: Millis, next: u8) {
        let count = usize::from(next.wrapping_sub(self.oldest()) & 7);
        if count == 0 || count > self.sent.len() {
            return;
        }
        self.sent.drain(..count);
        self.again = self.again.min(self.sent.len());
        self.timeouts = 0;
        self.until = (!self.sent.is_empty()).then(|| now.saturating_add(ACK_MS));
    }

    pub(super) fn poll_transmit(&mut self, now: Millis) -> Option<Zeroizing<Vec<u8>>> {
        if let Some(frame) = self.first.take().or_else(|| self.answer.take()) {
            return Some(frame.encode());
        }
        if !self.up {
            return None;
        }
        let (number, again, data) = if self.again > 0 {
            let at = self.sent.len().saturating_sub(self.again);
            self.again -= 1;
            let number = self.oldest().wrapping_add(u8::try_from(at).unwrap_or(0)) & 7;
            (number, true, self.sent.get(at)?.clone())
        } else if self.sent.len() < WINDOW {
            let data = self.queue.pop_front()?;
            self.sent.push_back(data.clone());
            let number = self.next_out;
            self.next_out = (number + 1) & 7;
            (number, false, data)
        } else {
            return None;
        };
        self.until.get_or_insert(now.saturating_add(ACK_MS));
        Some(Frame::Data(Data { number, again, next: self.next_in, data }).encode())
    }

    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        self.until
    }

    pub(super) fn handle_timeout(&mut self, now: Millis) {
        if self.until.is_none_or(|until| until > now) {
            return;
        }
        self.timeouts += 1;
        if self.timeouts >= ACK_TIMEOUTS {
            let first = Some(Frame::Error { code: TIMEOUTS_ERROR });
            *self =
                Self { decoder: std::mem::take(&mut self.decoder), failed: true, first, ..Self::default() };
            return;
        }
        (self.again, self.until) = (self.sent.len(), Some(now.saturating_add(ACK_MS)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &mut Line, now: Millis) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(bytes) = line.poll_transmit(now) {
            Decoder::default().push(0, &bytes, |frame| frames.extend(frame));
        }
        frames
    }

    fn data(number: u8, again: bool, next: u8, text: &str) -> Frame {
        Frame::Data(Data { number, again, next, data: text.as_bytes().to_vec().into() })
    }

    fn hear(line: &mut Line, frame: &Frame) -> usize {
        line.handle_bytes(0, &frame.encode()).len()
    }

    fn started() -> Line {
        let mut line = Line::default();
        line.start(0x0B);
        assert_eq!(said(&mut line, 0), [Frame::ResetAck { code: 0x0B }]);
        line
    }

    #[test]
    fn a_window_of_frames_goes_out_and_all_behind_a_missing_one_again() {
        let mut line = started();
        for text in ["one", "two", "three", "four"] {
            assert!(line.send(Zeroizing::new(text.as_bytes().to_vec())));
        }
        let first = [data(0, false, 0, "one"), data(1, false, 0, "two"), data(2, false, 0, "three")];
        assert_eq!(said(&mut line, 0), first);
        hear(&mut line, &Frame::Nak { next: 1 });
        let again = [data(1, true, 0, "two"), data(2, true, 0, "three"), data(3, false, 0, "four")];
        assert_eq!(said(&mut line, 0), again);
        hear(&mut line, &Frame::Ack { next: 4 });
        assert_eq!((said(&mut line, 0).len(), line.poll_timeout()), (0, None));
    }

    #[test]
    fn a_host_that_acknowledges_nothing_is_told_so_until_it_resets() {
        let mut line = started();
        line.send(Zeroizing::new(b"one".to_vec()));
        let mut sends = said(&mut line, 0).len();
        while let Some(at) = line.poll_timeout() {
            line.handle_timeout(at);
            sends += said(&mut line, at).iter().filter(|frame| matches!(frame, Frame::Data(_))).count();
        }
        assert_eq!(sends, 4);
        hear(&mut line, &data(0, false, 0, "abc"));
        assert_eq!(said(&mut line, 0), [Frame::Error { code: 0x51 }]);
        assert!(matches!(line.handle_bytes(0, &Frame::Reset.encode())[..], [Heard::Reset]));
    }

    #[test]
    fn what_comes_twice_is_taken_once_and_what_is_missing_is_asked_for_once() {
        let mut line = started();
        assert_eq!(hear(&mut line, &data(0, false, 0, "abc")), 1);
        assert_eq!(hear(&mut line, &data(0, true, 0, "abc")), 0);
        assert_eq!(said(&mut line, 0), [Frame::Ack { next: 1 }]);
        assert_eq!(
            hear(&mut line, &data(2, false, 0, "ghi")) + hear(&mut line, &data(3, false, 0, "jkl")),
            0
        );
        assert_eq!(said(&mut line, 0), [Frame::Nak { next: 1 }]);
        assert_eq!(hear(&mut line, &data(1, false, 0, "def")), 1);
    }
}
