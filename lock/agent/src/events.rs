//! Events on their way to the platform: queued, sent, answered or tried again.

use cardea_framing::Class;
use cardea_oscore::Binding;
use cardea_resources::{Bolt, EventKind};
use heapless::Vec;

use crate::alarms::Door;

/// Events that wait at once; the oldest gives way, and the log still has what was logged.
const QUEUE: usize = 4;
/// Pause before an unanswered event is sent again: this, doubled with each attempt.
const AGAIN_MS: u64 = 30_000;
const MAX_DOUBLINGS: u32 = 7;

/// Handles of link datagrams that carry events start here; below are handshake and replies.
pub(crate) const FIRST_HANDLE: u64 = 16;

/// One event.
pub(crate) struct Pending {
    pub(crate) handle: u64,
    pub(crate) kind: EventKind,
    pub(crate) value: Option<u32>,
    pub(crate) log: Option<u32>,
    pub(crate) at: Option<u32>,
    pub(crate) not_before: u64,
    /// What the platform asked to see in the next attempt (RFC 9175).
    pub(crate) echo: Option<Vec<u8, 8>>,
    attempts: u32,
    pub(crate) sent: Option<Sent>,
}

/// An attempt that waits for its answer.
pub(crate) struct Sent {
    pub(crate) at: u64,
    pub(crate) generation: u32,
    pub(crate) binding: Binding,
    /// The gateway gave its receipt.
    pub(crate) delivered: bool,
}

impl Pending {
    /// How the gateway should queue it.
    pub(crate) fn class(&self) -> Class {
        let stuck = self.value == Some(Bolt::Jammed.code().into());
        match self.kind {
            EventKind::Boot | EventKind::Touch | EventKind::Pin => Class::Interactive,
            EventKind::Tamper | EventKind::PinLimit | EventKind::Battery => Class::Interactive,
            EventKind::Door if self.value == Some(Door::Ajar as u32) => Class::Interactive,
            EventKind::Bolt if stuck => Class::Interactive,
            EventKind::Heartbeat => Class::Telemetry,
            _ => Class::Log,
        }
    }

    /// Whether it means anything later than now.
    fn keeps(&self) -> bool {
        !matches!(self.kind, EventKind::Touch | EventKind::Heartbeat)
    }
}

/// What a timeout found.
pub(crate) struct Unanswered {
    pub(crate) handle: u64,
    /// Context under which the event went out.
    pub(crate) generation: u32,
    /// Whether the gateway had taken it, so that the platform is to blame.
    pub(crate) delivered: bool,
}

/// The queue, oldest first.
#[derive(Default)]
pub(crate) struct Events {
    queue: Vec<Pending, QUEUE>,
    next_handle: u64,
}

impl Events {
    pub(crate) fn push(
        &mut self,
        kind: EventKind,
        value: Option<u32>,
        log: Option<u32>,
        at: Option<u32>,
        not_before: u64,
    ) {
        if self.queue.is_full() {
            self.queue.remove(0);
        }
        let handle = FIRST_HANDLE + self.next_handle;
        self.next_handle += 1;
        let event = Pending { handle, kind, value, log, at, not_before, echo: None, attempts: 0, sent: None };
        let _ = self.queue.push(event); // room was made
    }

    /// Whether an event of this kind waits.
    pub(crate) fn has(&self, kind: EventKind) -> bool {
        self.queue.iter().any(|event| event.kind == kind)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The oldest event that is due and not out.
    pub(crate) fn due(&mut self, now: u64) -> Option<&mut Pending> {
        self.queue.iter_mut().find(|event| event.sent.is_none() && event.not_before <= now)
    }

    pub(crate) fn by_handle(&mut self, handle: u64) -> Option<&mut Pending> {
        self.queue.iter_mut().find(|event| event.handle == handle)
    }

    /// Of all events that wait, whether they are out or not.
    pub(crate) fn handles(&self) -> Vec<u64, QUEUE> {
        self.queue.iter().map(|event| event.handle).collect()
    }

    /// The first event that is out and whose request had this token.
    pub(crate) fn awaiting(&mut self, token: &[u8], skip: usize) -> Option<&mut Pending> {
        self.queue
            .iter_mut()
            .filter(|event| {
                event.sent.as_ref().is_some_and(|sent| token == [token_of(sent.binding.partial_iv())])
            })
            .nth(skip)
    }

    /// The platform has shown that the event sent at that time has arrived; gives its handle.
    pub(crate) fn arrived(&mut self, sent_at: u64) -> Option<u64> {
        self.queue.iter_mut().find_map(|event| {
            let sent = event.sent.as_mut().filter(|sent| sent.at == sent_at)?;
            sent.delivered = true;
            Some(event.handle)
        })
    }

    pub(crate) fn remove(&mut self, handle: u64) {
        self.queue.retain(|event| event.handle != handle);
    }

    /// The platform has these log entries already.
    pub(crate) fn logged_below(&mut self, cursor: u32) {
        self.queue.retain(|event| event.sent.is_some() || event.log.is_none_or(|log| log >= cursor));
    }

    /// The radio could not deliver: again later, and nobody's fault at the platform.
    pub(crate) fn undelivered(&mut self, handle: u64, now: u64) {
        if let Some(event) = self.by_handle(handle) {
            again(event, now);
            if !event.keeps() {
                self.remove(handle);
            }
        }
    }

    /// Takes one event whose answer is overdue back into the queue, or drops it when it means nothing any more.
    pub(crate) fn expire(&mut self, now: u64, answer_ms: u64) -> Option<Unanswered> {
        let event = self
            .queue
            .iter_mut()
            .find(|event| event.sent.as_ref().is_some_and(|sent| now.saturating_sub(sent.at) >= answer_ms))?;
        let sent = event.sent.as_ref()?;
        let handle = event.handle;
        let unanswered = Unanswered { handle, generation: sent.generation, delivered: sent.delivered };
        self.undelivered(handle, now);
        Some(unanswered)
    }

    /// A new context is there: what waits for an answer under an old one goes out again now.
    pub(crate) fn restart(&mut self) {
        for event in &mut self.queue {
            event.sent = None;
            event.echo = None;
            event.not_before = 0;
        }
    }

    /// When the next answer is overdue.
    pub(crate) fn answer_timeout(&self, answer_ms: u64) -> Option<u64> {
        self.queue.iter().filter_map(|event| Some(event.sent.as_ref()?.at.saturating_add(answer_ms))).min()
    }

    /// When something here is due next, if the link is free.
    pub(crate) fn timeout(&self, answer_ms: u64) -> Option<u64> {
        let due = |event: &Pending| match &event.sent {
            Some(sent) => sent.at.saturating_add(answer_ms),
            None => event.not_before,
        };
        self.queue.iter().map(due).min()
    }
}

/// The token of a request: the last byte of its sequence number (docs/protocol.md, elision).
pub(crate) fn token_of(partial_iv: u64) -> u8 {
    (partial_iv & 0xff) as u8
}

fn again(event: &mut Pending, now: u64) {
    event.sent = None;
    event.not_before = now.saturating_add(AGAIN_MS << event.attempts.min(MAX_DOUBLINGS));
    event.attempts += 1;
}
