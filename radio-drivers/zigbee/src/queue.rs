//! Frames that wait for their dongle, and frames that wait for their sender's name: what hosts of all families have in common
//! on both ways. What they do differently (how a frame is given, how its end is told) stays with them.

use std::collections::VecDeque;

use cardea_radio::Millis;

use crate::coordinator::{Event, Failure, Frame, Outcome};
use crate::types::{Eui64, NwkAddr};

/// Frames that may wait for the dongle.
const MAX_QUEUED: usize = 64;
/// Frames that the dongle may have: it has few buffers, and a device that sleeps keeps one for seconds.
const MAX_IN_FLIGHT: usize = 8;
/// Places among them for urgent frames alone: without these, whatever is told to eight locks that sleep, or are gone, would keep
/// a command for another from the air until a parent gives one of theirs up.
const FOR_URGENT: usize = 2;
/// Frames of senders that nobody knows yet.
const MAX_UNKNOWN: usize = 32;

/// Frames that the dongle does not have yet: urgent ones, then the rest, each in the order in which they came. Each leaves it once: given to the dongle, or with the event that tells its end.
#[derive(Debug, Default)]
pub struct FrameQueue(VecDeque<Frame>);

impl FrameQueue {
    /// Takes a frame of at most `longest` bytes, unless the network is `down`. Returns its end if it is not taken.
    #[must_use]
    pub fn push(&mut self, frame: Frame, longest: usize, down: Option<Failure>) -> Option<Event> {
        let failure = if frame.payload.len() > longest {
            Some(Failure::TooBig)
        } else if self.0.len() >= MAX_QUEUED {
            Some(Failure::Busy)
        } else {
            down
        };
        if failure.is_none() {
            let place = self.0.partition_point(|other| other.urgent >= frame.urgent);
            self.0.insert(place, frame);
            return None;
        }
        failure.map(|failure| failed(&frame, failure))
    }

    /// Gives up a frame. Returns its end if it was here.
    #[must_use]
    pub fn cancel(&mut self, handle: u64) -> Option<Event> {
        let at = self.0.iter().position(|frame| frame.handle == handle)?;
        self.0.remove(at).map(|frame| failed(&frame, Failure::Cancelled))
    }

    /// The ends of those whose deadline has come. Also while there is no dongle.
    #[must_use]
    pub fn expired(&mut self, now: Millis) -> Vec<Event> {
        let late = self.take(|frame| frame.deadline <= now);
        late.map(|frame| Event::Outcome { handle: frame.handle, outcome: Outcome::Expired }).collect()
    }

    /// The ends of all that are for a device that cannot be reached.
    #[must_use]
    pub fn unreachable(&mut self, eui: Eui64) -> Vec<Event> {
        self.take(|frame| frame.eui == eui).map(|frame| failed(&frame, Failure::NoAddress)).collect()
    }

    /// The ends of all: the network is down, and whoever comes after it knows nothing of them.
    #[must_use]
    pub fn interrupted(&mut self) -> Vec<Event> {
        self.take(|_| true).map(|frame| failed(&frame, Failure::Down)).collect()
    }

    fn take(&mut self, which: impl Fn(&Frame) -> bool) -> std::collections::vec_deque::IntoIter<Frame> {
        let (taken, waiting) = std::mem::take(&mut self.0).into_iter().partition::<VecDeque<_>, _>(which);
        self.0 = waiting;
        taken.into_iter()
    }

    /// The frame at a place.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&Frame> {
        self.0.get(at)
    }

    /// The place of the first frame that a dongle has room for which has `given` frames, and whose device is not `busy`: one frame is
    /// under way for each, which keeps their order.
    #[must_use]
    pub fn first_free(&self, given: usize, busy: impl Fn(Eui64) -> bool) -> Option<usize> {
        self.0.iter().position(|frame| has_room(frame, given) && !busy(frame.eui))
    }

    /// Takes the frame at a place, to be given to the dongle, or to end.
    pub fn remove(&mut self, at: usize) -> Option<Frame> {
        self.0.remove(at)
    }

    /// Puts a frame back that the dongle did not take, to the place that it was taken from.
    pub fn put_back(&mut self, at: usize, frame: Frame) {
        self.0.insert(at.min(self.0.len()), frame);
    }

    /// When the first of them expires.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        self.0.iter().map(|frame| frame.deadline).min()
    }
}

/// True if a dongle may be given this frame that has `given` frames.
#[must_use]
pub fn has_room(frame: &Frame, given: usize) -> bool {
    given < if frame.urgent { MAX_IN_FLIGHT } else { MAX_IN_FLIGHT.saturating_sub(FOR_URGENT) }
}

fn failed(frame: &Frame, failure: Failure) -> Event {
    Event::Outcome { handle: frame.handle, outcome: Outcome::Failed(failure) }
}

/// What came from addresses of which nobody knows yet whose they are, in order; and how many frames were dropped so far, for
/// this reason or another.
#[derive(Debug)]
pub(crate) struct Unnamed<T> {
    waiting: VecDeque<(NwkAddr, T)>,
    dropped: u64,
}

impl<T> Default for Unnamed<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), dropped: 0 }
    }
}

impl<T> Unnamed<T> {
    /// Whose name is asked for next.
    pub(crate) fn first(&self) -> Option<NwkAddr> {
        self.waiting.front().map(|(sender, _)| *sender)
    }

    /// True if something of this sender waits: what came before stays before.
    pub(crate) fn waits(&self, sender: NwkAddr) -> bool {
        self.waiting.iter().any(|(of, _)| *of == sender)
    }

    pub(crate) fn push(&mut self, sender: NwkAddr, frame: T) {
        if self.waiting.len() >= MAX_UNKNOWN || !sender.is_unicast() {
            return self.dropped(1);
        }
        self.waiting.push_back((sender, frame));
    }

    /// All of this sender.
    pub(crate) fn take(&mut self, sender: NwkAddr) -> impl Iterator<Item = T> + use<T> {
        let (theirs, others) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(of, _)| *of == sender);
        self.waiting = others;
        theirs.into_iter().map(|(_, frame)| frame)
    }

    /// Nobody will ever say who this is.
    pub(crate) fn drop_from(&mut self, sender: NwkAddr) {
        let count = self.take(sender).count();
        self.dropped(count);
    }

    pub(crate) fn drop_all(&mut self) {
        let count = std::mem::take(&mut self.waiting).len();
        self.dropped(count);
    }

    /// Counts frames that are not handed over.
    pub(crate) fn dropped(&mut self, count: usize) {
        self.dropped = self.dropped.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(crate) fn count(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn frame(handle: u64, to: u8, deadline: Millis) -> Frame {
        let payload = Bytes::from_static(b"sealed");
        let (profile, cluster) = (0x0104, 0xFC7C);
        let eui = Eui64([to; 8]);
        Frame {
            handle,
            eui,
            profile,
            cluster,
            dst_endpoint: 1,
            src_endpoint: 1,
            payload,
            deadline,
            acknowledge: true,
            urgent: false,
        }
    }

    fn end(handle: u64, outcome: Outcome) -> Event {
        Event::Outcome { handle, outcome }
    }

    #[test]
    fn a_frame_that_is_not_taken_ends_with_its_reason() {
        let mut queue = FrameQueue::default();
        let failed = |handle, failure| Some(end(handle, Outcome::Failed(failure)));
        assert_eq!(queue.push(frame(1, 1, 5), 5, None), failed(1, Failure::TooBig));
        assert_eq!(queue.push(frame(2, 1, 5), 6, Some(Failure::Down)), failed(2, Failure::Down));
        for handle in 0..64 {
            assert_eq!(queue.push(frame(handle, 1, 5), 6, None), None);
        }
        assert_eq!(queue.push(frame(64, 1, 5), 6, None), failed(64, Failure::Busy));
        assert_eq!(queue.interrupted().len(), 64);
    }

    #[test]
    fn frames_leave_in_their_order_but_for_devices_that_have_one() {
        let mut queue = FrameQueue::default();
        for (handle, to) in [(1, 1), (2, 1), (3, 2), (4, 3)] {
            assert_eq!(queue.push(frame(handle, to, 100 * handle), 6, None), None);
        }
        let at = queue.first_free(0, |eui| eui == Eui64([1; 8])).unwrap();
        let taken = queue.remove(at).unwrap();
        assert_eq!(taken.handle, 3);
        queue.put_back(at, taken);
        assert_eq!((0..4).map(|at| queue.get(at).unwrap().handle).collect::<Vec<_>>(), vec![1, 2, 3, 4]);
        assert_eq!((queue.poll_timeout(), queue.expired(99)), (Some(100), vec![]));
        assert_eq!(queue.expired(200), vec![end(1, Outcome::Expired), end(2, Outcome::Expired)]);
        assert_eq!(queue.cancel(3), Some(end(3, Outcome::Failed(Failure::Cancelled))));
        assert_eq!(queue.cancel(3), None, "once");
        assert_eq!(queue.unreachable(Eui64([3; 8])), vec![end(4, Outcome::Failed(Failure::NoAddress))]);
        assert_eq!(queue.poll_timeout(), None);
    }

    #[test]
    fn what_somebody_waits_for_goes_first_and_has_places_of_its_own() {
        let mut queue = FrameQueue::default();
        let urgent = |handle, to| Frame { urgent: true, ..frame(handle, to, 100) };
        for frame in
            [frame(1, 1, 100), frame(2, 2, 100), urgent(3, 3), urgent(4, 1), frame(5, 3, 100), urgent(6, 4)]
        {
            assert_eq!(queue.push(frame, 6, None), None);
        }
        let order: Vec<_> = (0..6).map(|at| queue.get(at).unwrap().handle).collect();
        assert_eq!(order, vec![3, 4, 6, 1, 2, 5]);
        let next = |given, busy: &[u8]| {
            let at = queue.first_free(given, |eui| busy.contains(&eui.0[0]))?;
            queue.get(at).map(|frame| frame.handle)
        };
        assert_eq!((next(0, &[]), next(7, &[3]), next(8, &[])), (Some(3), Some(4), None));
        assert_eq!((next(5, &[3, 1]), next(5, &[3, 1, 4])), (Some(6), Some(2)));
        assert_eq!(next(6, &[3, 1, 4]), None, "the last two places are for those who wait at a door");
    }

    #[test]
    fn what_strangers_say_waits_for_their_names_in_order_and_within_bounds() {
        let mut unnamed = Unnamed::default();
        for n in 0..40u8 {
            unnamed.push(NwkAddr(u16::from(n % 2) + 1), n);
        }
        unnamed.push(NwkAddr::ROUTERS, 99);
        assert_eq!((unnamed.first(), unnamed.count()), (Some(NwkAddr(1)), 9));
        assert_eq!(unnamed.take(NwkAddr(1)).collect::<Vec<_>>(), (0..32).step_by(2).collect::<Vec<_>>());
        assert!(unnamed.waits(NwkAddr(2)) && !unnamed.waits(NwkAddr(1)));
        unnamed.drop_from(NwkAddr(2));
        assert_eq!((unnamed.first(), unnamed.count()), (None, 25));
    }
}
