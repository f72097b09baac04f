//! From an accepted downlink to the lock's receipt: windows, battery, one frame at a time.

use std::collections::VecDeque;

use bytes::Bytes;
use cardea_envelope::{MessageId, ResultState};
use cardea_framing::{Class, Failure as LinkFailure, Header, Kind, LinkEvent, ReceiptToken};
use cardea_radio::{Command, Failure, Outcome, Refusal, Send};

use crate::{Millis, ctx::Ctx, lock::Lock};

/// Words of [`cardea_envelope::DownlinkResult::reason`].
pub(crate) mod reason {
    pub(crate) const RETAINED: &str = "retained";
    pub(crate) const UNKNOWN_LOCK: &str = "unknown_lock";
    pub(crate) const MALFORMED: &str = "malformed";
    pub(crate) const PEER: &str = "peer";
    pub(crate) const NO_PAGE: &str = "no_page";
    pub(crate) const SIGNATURE: &str = "signature";
    pub(crate) const NO_ATTEMPT: &str = "no_attempt";
    pub(crate) const TOO_FAR: &str = "not_after";
    pub(crate) const CLOCK: &str = "clock";
    pub(crate) const TOO_BIG: &str = "too_big";
    pub(crate) const BUSY: &str = "busy";
    pub(crate) const STORE: &str = "store";
    pub(crate) const RESTART: &str = "restart";
    pub(crate) const NO_RECEIPT: &str = "no_receipt";
    pub(crate) const REMOVED: &str = "removed";
}

/// A driver answers each frame; one that has not this long after the deadline has lost it. Milliseconds.
const GUARD_MS: u64 = 5_000;

/// From the last moment at which a frame makes a window to the end of that window, milliseconds: both receive
/// windows of a class A device, generously.
const WINDOW_MS: u64 = 2_000;

/// Receipts that wait for a sleepy lock's window; more would be stale.
const RECEIPTS: usize = 4;

/// Largest frame any radio carries, bytes.
const FRAME: usize = 4096;

/// A downlink that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// `None`: a peer's, and nobody upstream waits for its end.
    pub(crate) id: Option<MessageId>,
    /// The site address of the peer that it is from.
    pub(crate) from: Option<u16>,
    pub(crate) class: Class,
    pub(crate) data: Bytes,
    pub(crate) deadline: Millis,
    /// Its id is durable.
    pub(crate) ready: bool,
}

impl Waiting {
    /// Peers may spend half of what the battery may be spent on, so that none of them keeps the owner out.
    fn allowance(&self, burst: u32) -> u32 {
        if self.from.is_some() { (burst / 2).max(1) } else { burst }
    }
}

/// The downlink that the link is working on.
#[derive(Debug)]
struct Active {
    id: Option<MessageId>,
    handle: u64,
    deadline: Millis,
    /// All of it was on the air.
    sent: bool,
    /// The link expects no receipt and has nothing more to give.
    over: bool,
    /// What the radio said when it did not send.
    trouble: Option<&'static str>,
}

/// The frame that the radio has.
#[derive(Debug)]
struct OnRadio {
    handle: u64,
    guard: Millis,
    is_receipt: bool,
}

/// What a lock may get, for its battery's sake.
#[derive(Debug, Default)]
struct Bucket {
    used: u32,
    since: Millis,
}

impl Bucket {
    fn refill(&mut self, ctx: &Ctx) {
        let each = u64::from(ctx.config.downlink_refill_ms.max(1));
        let gained = ctx.now.saturating_sub(self.since) / each;
        self.used = self.used.saturating_sub(u32::try_from(gained).unwrap_or(u32::MAX));
        self.since =
            if self.used == 0 { ctx.now } else { self.since.saturating_add(gained.saturating_mul(each)) };
    }
}

/// Everything that waits to go down to one lock.
#[derive(Debug, Default)]
pub(crate) struct Downs {
    /// By class, then the platform's, then by arrival.
    waiting: VecDeque<Waiting>,
    active: Option<Active>,
    on_radio: Option<OnRadio>,
    /// Until when a frame still makes the sleepy lock's open window.
    window: Option<Millis>,
    receipts: VecDeque<ReceiptToken>,
    bucket: Bucket,
}

impl Downs {
    pub(crate) fn open(&mut self, closes: Millis) {
        self.window = Some(closes);
    }

    pub(crate) fn promise(&mut self, receipt: ReceiptToken) {
        if self.receipts.len() >= RECEIPTS {
            self.receipts.pop_front();
        }
        self.receipts.push_back(receipt);
    }

    pub(crate) fn push(&mut self, down: Waiting) {
        let rank = |w: &Waiting| (w.class, w.from.is_some());
        let place = self.waiting.partition_point(|w| rank(w) <= rank(&down));
        self.waiting.insert(place, down);
    }

    pub(crate) fn make_ready(&mut self, id: MessageId) {
        if let Some(down) = self.waiting.iter_mut().find(|w| w.id == Some(id)) {
            down.ready = true;
        }
    }

    pub(crate) fn drop_waiting(&mut self, id: MessageId) {
        self.waiting.retain(|w| w.id != Some(id));
    }

    /// Nothing is under way, and the battery's budget is whole.
    pub(crate) fn is_idle(&self) -> bool {
        self.len() == 0 && self.on_radio.is_none() && self.receipts.is_empty() && self.bucket.used == 0
    }

    /// Datagrams of peers that wait, and how many of them are of this one.
    pub(crate) fn of_peers(&self, from: u16) -> (usize, usize) {
        let of = |wanted: &dyn Fn(u16) -> bool| {
            self.waiting.iter().filter_map(|w| w.from).filter(|f| wanted(*f)).count()
        };
        (of(&|_| true), of(&|other| other == from))
    }

    /// Downlinks without an end.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.active.is_some())
    }
}

impl Lock {
    /// Does what is due downwards, and hands the radio its next frame.
    pub(crate) fn serve_down(&mut self, ctx: &mut Ctx) {
        if self.down.is_some() {
            self.expire(ctx);
            self.mind_silent_radio(ctx);
        }
        if let Some(link) = &mut self.link {
            link.handle_timeout(ctx.now);
        }
        self.link_events(ctx);
        self.transmit(ctx);
        self.link_events(ctx);
    }

    /// When [`Self::serve_down`] has something to do by the clock alone.
    pub(crate) fn down_due(&self, ctx: &Ctx) -> Option<Millis> {
        let down = self.down.as_ref()?;
        let waiting = down.waiting.iter().map(|w| w.deadline).min();
        let active = down.active.as_ref().map(|a| a.deadline);
        let guard = down.on_radio.as_ref().map(|r| r.guard);
        let edge = down
            .window
            .filter(|closes| *closes > ctx.now && down.on_radio.is_none())
            .map(|closes| closes.saturating_sub(u64::from(ctx.config.window_edge_ms)))
            .filter(|edge| *edge > ctx.now);
        let burst = ctx.config.downlink_burst;
        let refill = down
            .waiting
            .iter()
            .any(|w| w.ready && down.bucket.used >= w.allowance(burst))
            .then(|| down.bucket.since.saturating_add(u64::from(ctx.config.downlink_refill_ms.max(1))));
        [waiting, active, guard, edge, refill].into_iter().flatten().min()
    }

    fn expire(&mut self, ctx: &mut Ctx) {
        let Some(down) = &mut self.down else { return };
        let mut over = Vec::new();
        down.waiting.retain(|w| {
            let late = w.deadline <= ctx.now;
            if late {
                over.push(w.id);
            }
            !late
        });
        let active = down.active.take_if(|a| a.deadline <= ctx.now);
        for id in over {
            finish(ctx, id, ResultState::Expired, None);
        }
        if let Some(active) = active {
            self.give_up(ctx, &active);
            if active.sent {
                finish(ctx, active.id, ResultState::Failed, Some(reason::NO_RECEIPT));
            } else {
                finish(ctx, active.id, ResultState::Expired, active.trouble);
            }
        }
    }

    /// The active downlink goes no further.
    fn give_up(&mut self, ctx: &mut Ctx, active: &Active) {
        if let Some(link) = &mut self.link {
            link.abandon(active.handle);
        }
        if let Some(on_radio) = self.down.as_ref().and_then(|d| d.on_radio.as_ref()).filter(|r| !r.is_receipt)
        {
            let handle = on_radio.handle;
            ctx.radio(self.radio, Command::Cancel { handle });
        }
    }

    fn mind_silent_radio(&mut self, ctx: &mut Ctx) {
        let lost = self
            .down
            .as_ref()
            .and_then(|d| d.on_radio.as_ref())
            .filter(|r| r.guard <= ctx.now)
            .map(|r| r.handle);
        if let Some(handle) = lost {
            ctx.sends.remove(&handle);
            self.outcome(ctx, handle, Outcome::Failed(Failure::Modem));
        }
    }

    /// The radio is gone: whatever it had will not be answered.
    pub(crate) fn radio_lost(&mut self, ctx: &mut Ctx) {
        if let Some(handle) = self.down.as_ref().and_then(|d| d.on_radio.as_ref()).map(|r| r.handle) {
            ctx.sends.remove(&handle);
            self.outcome(ctx, handle, Outcome::Failed(Failure::NoRadio));
        }
    }

    /// The radio says what became of a frame.
    pub(crate) fn outcome(&mut self, ctx: &mut Ctx, handle: u64, outcome: Outcome) {
        let Some(down) = &mut self.down else { return };
        let Some(on_radio) = down.on_radio.take_if(|r| r.handle == handle) else { return };
        if on_radio.is_receipt {
            return; // The lock sends again what it has no receipt for.
        }
        let Some(active) = &mut down.active else { return };
        if outcome == Outcome::Sent {
            let more = self.link.as_ref().is_some_and(|l| l.has_pending(ctx.now));
            if active.over {
                let id = active.id;
                down.active = None;
                finish(ctx, id, ResultState::Sent, None); // All that will ever be known of it.
            } else if !active.sent && !more {
                active.sent = true;
                report(ctx, active.id, ResultState::Sent);
            }
            return;
        }
        let trouble = word(outcome);
        active.trouble = Some(trouble);
        if active.over {
            let id = active.id;
            down.active = None;
            let state = match outcome {
                Outcome::Expired => ResultState::Expired,
                Outcome::Refused(_) => ResultState::Refused,
                Outcome::Sent | Outcome::Failed(_) => ResultState::Failed,
            };
            finish(ctx, id, state, Some(trouble));
        }
    }

    fn link_events(&mut self, ctx: &mut Ctx) {
        let (Some(link), Some(down)) = (&mut self.link, &mut self.down) else { return };
        while let Some(event) = link.poll_event() {
            match event {
                LinkEvent::Sent { handle } => {
                    if let Some(active) = down.active.as_mut().filter(|a| a.handle == handle) {
                        active.over = true;
                        let id = active.id;
                        if down.on_radio.is_none() {
                            down.active = None;
                            finish(ctx, id, ResultState::Sent, None);
                        }
                    }
                }
                LinkEvent::Delivered { handle } => {
                    if let Some(active) = down.active.take_if(|a| a.handle == handle) {
                        finish(ctx, active.id, ResultState::Delivered, None);
                    }
                }
                LinkEvent::Failed { handle, reason: why } => {
                    if let Some(active) = down.active.take_if(|a| a.handle == handle) {
                        let (state, word) = match (why, active.trouble) {
                            (LinkFailure::TooBig, _) => (ResultState::Refused, reason::TOO_BIG),
                            (LinkFailure::Unanswered, Some(trouble)) if !active.sent => {
                                (ResultState::Failed, trouble)
                            }
                            (LinkFailure::Unanswered, _) => (ResultState::Failed, reason::NO_RECEIPT),
                        };
                        finish(ctx, active.id, state, Some(word));
                    }
                }
            }
        }
    }

    /// Gives the radio the next frame, if it may have one.
    fn transmit(&mut self, ctx: &mut Ctx) {
        let Some(air) = self.air.filter(|_| self.joined) else { return };
        if self.link.is_none() && self.down.as_ref().is_none_or(|d| d.waiting.is_empty()) {
            return;
        }
        if self.link.is_none() {
            self.link(ctx);
        }
        let (Some(link), down) = (&mut self.link, self.down.get_or_insert_default()) else { return };
        if down.on_radio.is_some() {
            return;
        }
        let now = ctx.now;
        down.bucket.refill(ctx);
        let (used, burst) = (down.bucket.used, ctx.config.downlink_burst);
        let affordable = |w: &Waiting| w.ready && used < w.allowance(burst);
        let next = down.waiting.iter().position(affordable).filter(|_| link.can_send());
        if air.sleepy {
            // One frame fits a window. A command is worth more to whoever waits at the door than a receipt is
            // to the lock, and it may still come: receipts wait for the edge of the window.
            let Some(closes) = down.window.filter(|closes| *closes >= now) else { return };
            let urgent = match next.and_then(|place| down.waiting.get(place)) {
                Some(waiting) => waiting.class == Class::Interactive,
                None => down.active.is_some() && link.has_pending(now),
            };
            let at_edge = now.saturating_add(u64::from(ctx.config.window_edge_ms)) >= closes;
            if !urgent && !at_edge {
                return;
            }
            if !urgent {
                for receipt in down.receipts.drain(..) {
                    link.custody(now, receipt);
                }
            }
        }
        if let Some(waiting) = next.and_then(|place| down.waiting.remove(place)) {
            let handle = ctx.handle();
            match link.send(now, &waiting.data, handle) {
                Ok(()) => {
                    down.bucket.used = down.bucket.used.saturating_add(1);
                    down.active = Some(Active {
                        id: waiting.id,
                        handle,
                        deadline: waiting.deadline,
                        sent: false,
                        over: false,
                        trouble: None,
                    });
                }
                // Checked when it was accepted; a link that disagrees has the last word.
                Err(_) => finish(ctx, waiting.id, ResultState::Refused, Some(reason::TOO_BIG)),
            }
        }
        let mut frame = [0; FRAME];
        let Some(len) = link.poll_transmit(now, usize::from(air.mtu), &mut frame) else { return };
        let Some(frame) = frame.get(..len) else { return };
        let is_receipt =
            frame.first().and_then(|b| Header::decode(*b).ok()).is_some_and(|h| h.kind == Kind::Receipt);
        let air_by = match down.window.take().filter(|_| air.sleepy) {
            Some(closes) => closes.saturating_add(WINDOW_MS),
            None => now.saturating_add(u64::from(air.life_ms.max(air.retry_ms))),
        };
        let deadline = match &down.active {
            Some(active) if !is_receipt => active.deadline.min(air_by),
            _ => air_by,
        };
        let handle = ctx.handle();
        down.on_radio = Some(OnRadio { handle, guard: deadline.saturating_add(GUARD_MS), is_receipt });
        ctx.sends.insert(handle, self.id);
        ctx.metrics.frames_down += 1;
        let frame = Bytes::copy_from_slice(frame);
        ctx.radio(self.radio, Command::Send(Send { handle, lock: self.id, frame, deadline }));
    }

    /// The lock was removed: nothing goes down any more.
    pub(crate) fn drop_downlinks(&mut self, ctx: &mut Ctx) {
        let Some(mut down) = self.down.take() else { return };
        if let Some(on_radio) = down.on_radio.take() {
            ctx.sends.remove(&on_radio.handle);
            ctx.radio(self.radio, Command::Cancel { handle: on_radio.handle });
        }
        if let Some(active) = down.active.take() {
            // Admitted again before it was forgotten, its link would go on with what has no end any more.
            if let Some(link) = &mut self.link {
                link.abandon(active.handle);
            }
            finish(ctx, active.id, ResultState::Failed, Some(reason::REMOVED));
        }
        for waiting in down.waiting {
            finish(ctx, waiting.id, ResultState::Failed, Some(reason::REMOVED));
        }
    }
}

/// Says how far a downlink has come, short of its end.
pub(crate) fn report(ctx: &mut Ctx, id: Option<MessageId>, state: ResultState) {
    let Some(id) = id else { return };
    let at = ctx.wall.unix_ms;
    if let Some(known) = ctx.inbox.get_mut(&id).filter(|k| !k.over) {
        known.state = state;
        known.at = at;
        let result = known.result(id);
        ctx.tell(result);
    }
}

/// The end of a downlink.
pub(crate) fn finish(ctx: &mut Ctx, id: impl Into<Option<MessageId>>, state: ResultState, why: Option<&str>) {
    let Some(id) = id.into() else {
        let arrived = matches!(state, ResultState::Delivered | ResultState::Sent);
        ctx.metrics.peer_dropped += u64::from(!arrived);
        return;
    };
    if end(ctx, id, state, why) {
        ctx.conclude(id, Vec::new());
    }
}

/// Notes the end of a downlink, which is still to be written; false if it had one.
pub(crate) fn end(ctx: &mut Ctx, id: MessageId, state: ResultState, why: Option<&str>) -> bool {
    let at = ctx.wall.unix_ms;
    let Some(known) = ctx.inbox.get_mut(&id).filter(|k| !k.over) else { return false };
    known.state = state;
    known.reason = why.map(Into::into);
    known.at = at;
    known.over = true;
    known.durable = false;
    match state {
        ResultState::Delivered => ctx.metrics.downlinks_delivered += 1,
        ResultState::Expired => ctx.metrics.downlinks_expired += 1,
        ResultState::Refused => ctx.metrics.downlinks_refused += 1,
        ResultState::Failed => ctx.metrics.downlinks_failed += 1,
        ResultState::Queued | ResultState::Sent => {}
    }
    true
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Sent => "sent",
        Outcome::Expired => "expired",
        Outcome::Refused(Refusal::NotJoined) => "not_joined",
        Outcome::Refused(Refusal::TooBig) => "too_big",
        Outcome::Refused(Refusal::Airtime) => "airtime",
        Outcome::Refused(Refusal::Busy) => "busy",
        Outcome::Failed(Failure::NoRadio) => "no_radio",
        Outcome::Failed(Failure::Modem) => "modem",
        Outcome::Failed(Failure::Cancelled) => "cancelled",
        Outcome::Failed(Failure::Store) => "network_store",
    }
}
