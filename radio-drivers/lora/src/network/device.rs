//! One admitted lock: its sessions, its open windows, the one frame that waits for it, and when it needs attention.

use std::collections::VecDeque;

use cardea_framing::LockId;
use cardea_radio::{Change, Event, Failure, LorawanClass, Millis, Outcome, Refusal, Send};

use super::Purpose;
use super::downlink::Slot;
use super::shared::Shared;
use crate::adr::Adr;
use crate::mac;
use crate::session::{Identity, RecordKey, RxParams, SAVE_AFTER, SAVE_EVERY, Session, given_up};

/// How many sessions of a device may wait to be heard on. A recording of a join-request that we never heard opens one
/// too, where DevNonces need not rise; it must not push out the one that the device has just been given.
pub(super) const MAX_PENDING: usize = 4;
/// A request that so many downlinks carried without an answer is not repeated: some devices ignore some commands.
const MAX_ASKS: u8 = 3;
/// After a store failure, a device waits so long before it tries to reserve counters again.
const STORE_RETRY: Millis = 1_000;
/// An answer that is owed leaves so long before its last moment, if no frame came to take it along.
const OWED_BEFORE: Millis = 60;

/// The gateway's answer needs so long to get from its queue to us.
pub(super) const HAND_OVER: Millis = 20;

pub(super) struct Device {
    pub(super) identity: Identity,
    pub(super) active: Option<Session>,
    /// Joined and not heard on yet, oldest first, at most [`MAX_PENDING`].
    pub(super) pending: VecDeque<Session>,
    /// A join's commit is under way.
    pub(super) joining: bool,
    /// A new identity's commit is under way.
    pub(super) being_replaced: bool,
    pub(super) last_join: Option<(u16, Millis)>,
    pub(super) queued: Option<Send>,
    pub(super) window: Option<Window>,
    /// Token of the downlink that the forwarder has not answered yet.
    pub(super) flight: Option<u16>,
    /// A downlink is waiting for its time or on the air until then; a later counter must not overtake it.
    pub(super) busy_until: Millis,
    /// Class C: no attempt before this time (duty cycle).
    pub(super) not_before: Millis,
    pub(super) timer: Option<Millis>,
    /// The session record is being written.
    pub(super) saving: bool,
    /// Something other than counters changed in it.
    pub(super) save_now: bool,
    store_again: Millis,
    /// When the last uplink ended, and when its first copy came.
    pub(super) last_heard: Millis,
    pub(super) first_heard: Millis,
    pub(super) repeats: u8,
    pub(super) adr: Adr,
    pub(super) adr_on: bool,
    /// It was heard on a channel it should not use.
    pub(super) wants_mask: bool,
    /// Requests (as bits of [`given_up`]) in the last downlink, and how often each went without an answer.
    pub(super) asked: u8,
    pub(super) asked_power: u8,
    unanswered: [u8; 3],
    /// What the gateway was told last: mtu.
    told: Option<u16>,
}

/// The receive windows of the last uplink.
pub(super) struct Window {
    pub(super) rx1: Slot,
    pub(super) rx2: Slot,
    pub(super) owed: Owed,
    /// RX1 has passed, and the gateway knows that there is still RX2.
    pub(super) rx2_told: bool,
}

/// What an uplink asks of us, beside what the gateway may have to say.
pub(super) struct Owed {
    /// A downlink must go even if the gateway has nothing to say.
    pub(super) any: bool,
    /// The uplink was confirmed.
    pub(super) ack: bool,
    /// MAC answers to this uplink.
    pub(super) answers: Vec<u8>,
}

impl Window {
    /// When a downlink that is owed goes out at the latest to make RX1.
    pub(super) fn owed_at(&self, shared: &Shared) -> Millis {
        self.rx1.at.saturating_sub(shared.lead() + OWED_BEFORE)
    }
}

impl Device {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            active: None,
            pending: VecDeque::new(),
            joining: false,
            being_replaced: false,
            last_join: None,
            queued: None,
            window: None,
            flight: None,
            busy_until: 0,
            not_before: 0,
            timer: None,
            saving: false,
            save_now: false,
            store_again: 0,
            last_heard: 0,
            first_heard: 0,
            repeats: 0,
            adr: Adr::default(),
            adr_on: false,
            wants_mask: false,
            asked: 0,
            asked_power: 0,
            unanswered: [0; 3],
            told: None,
        }
    }

    /// A new session knows nothing of what was going on in the old one.
    pub(super) fn start_session(&mut self, now: Millis) {
        self.window = None;
        self.flight = None;
        self.busy_until = now;
        self.not_before = now;
        self.repeats = 0;
        self.last_heard = 0;
        self.adr.reset();
        (self.asked, self.unanswered) = (0, [0; 3]);
        self.told = None;
    }

    /// Takes a frame to send, or says why not.
    pub(super) fn enqueue(&mut self, now: Millis, send: Send, shared: &Shared) -> Result<(), Outcome> {
        let session = self.active.as_ref().ok_or(Outcome::Refused(Refusal::NotJoined))?;
        if send.frame.len() > self.mtu(session, shared) {
            return Err(Outcome::Refused(Refusal::TooBig));
        }
        if self.queued.is_some() {
            return Err(Outcome::Refused(Refusal::Busy));
        }
        if now >= send.deadline {
            return Err(Outcome::Expired);
        }
        if shared.pull_address.is_none() {
            return Err(Outcome::Failed(Failure::NoRadio));
        }
        self.queued = Some(send);
        Ok(())
    }

    /// Largest frame down: what RX1 takes at the data rate of the last uplink, or what RX2 takes for class C.
    fn mtu(&self, session: &Session, shared: &Shared) -> usize {
        let rx2 = shared.plan.max_payload(session.rx.rx2_dr);
        let rx1 = session.dr.and_then(|dr| shared.plan.rx1_dr(dr, session.rx.rx1_offset));
        match self.identity.class {
            LorawanClass::A => rx1.map_or(rx2, |dr| shared.plan.max_payload(dr)),
            LorawanClass::C => rx2,
        }
    }

    /// Tells the gateway what this link can do, when that has changed.
    pub(super) fn report_link(&mut self, lock: LockId, shared: &mut Shared) {
        let Some(session) = &self.active else { return };
        let mtu_down = u16::try_from(self.mtu(session, shared)).unwrap_or(u16::MAX);
        if self.told == Some(mtu_down) {
            return;
        }
        self.told = Some(mtu_down);
        let sleepy = self.identity.class == LorawanClass::A;
        // Class A answers with its next uplink, which is some polls away; class C as soon as its duty cycle lets it.
        // A class C device may be in the windows of an uplink (6 s) and hear at SF12 (3 s); its receipt follows its
        // answer, and that has windows of its own.
        let (retry_ms, life_ms) = if sleepy { (20_000, 30_000) } else { (12_000, 20_000) };
        shared.events.push_back(Event::Link { lock, mtu_down, sleepy, retry_ms, life_ms });
    }

    /// Does what is due.
    pub(super) fn service(&mut self, lock: LockId, now: Millis, shared: &mut Shared) {
        if let Some(send) = self.queued.take_if(|send| now >= send.deadline) {
            shared.outcome(send.handle, Outcome::Expired);
        }
        if self.being_replaced {
            return;
        }
        let due = self.active.as_ref().is_some_and(|s| {
            s.unsaved >= SAVE_EVERY || s.unsaved_since.is_some_and(|since| now >= since + SAVE_AFTER)
        });
        if (due || self.save_now) && now >= self.store_again {
            self.save(lock, shared);
        }
        if self.flight.is_none() {
            self.downlink(lock, now, shared);
            self.tell_rx2(lock, now, shared);
        }
    }

    /// RX1 of a sleepy device has passed unused: what comes now can still go out in RX2.
    fn tell_rx2(&mut self, lock: LockId, now: Millis, shared: &mut Shared) {
        let lead = shared.lead();
        if self.identity.class == LorawanClass::A
            && let Some(window) = &mut self.window
            && !window.rx2_told
            && now + lead > window.rx1.at
        {
            window.rx2_told = true;
            let closes = window.rx2.at.saturating_sub(lead + HAND_OVER);
            if closes > now {
                shared.events.push_back(Event::Window { lock, closes });
            }
        }
    }

    /// When this device needs [`service`](Self::service) next.
    pub(super) fn next_time(&self, now: Millis, shared: &Shared) -> Option<Millis> {
        let deadline = self.queued.as_ref().map(|send| send.deadline);
        let save = self.active.as_ref().and_then(|s| s.unsaved_since).filter(|_| !self.saving);
        let save = save.map(|since| (since + SAVE_AFTER).max(self.store_again));
        let window = self.window.as_ref().filter(|_| self.flight.is_none()).map(|window| {
            let owed_at = window.owed_at(shared);
            let rx1_over = window.rx1.at.saturating_sub(shared.lead()) + 1;
            if window.owed.any && now < owed_at {
                owed_at
            } else if now < rx1_over && !window.rx2_told {
                rx1_over
            } else {
                window.rx2.at.saturating_sub(shared.lead()) + 1
            }
        });
        let class_c =
            (self.identity.class == LorawanClass::C && self.queued.is_some() && self.flight.is_none())
                .then(|| self.busy_until.max(self.not_before))
                .filter(|at| *at > now);
        // Never at once again: what could be done now has been done.
        [deadline, save, window, class_c].into_iter().flatten().min().map(|at| at.max(now + 1))
    }

    /// Reserves the next block of downlink counters when the old one runs low.
    pub(super) fn reserve(&mut self, lock: LockId, now: Millis, shared: &mut Shared) {
        if let Some(session) = &mut self.active
            && session.wants_block()
            && !self.saving
            && now >= self.store_again
        {
            session.reserve();
            self.save(lock, shared);
        }
    }

    /// Writes the session record, unless one is being written.
    pub(super) fn save(&mut self, lock: LockId, shared: &mut Shared) {
        if self.saving {
            return;
        }
        let Some(session) = &mut self.active else { return };
        (session.unsaved, session.unsaved_since) = (0, None);
        let (dev_addr, down) = (session.dev_addr, session.reserved_down);
        let mut batch =
            vec![Change { key: RecordKey::Active(lock).encode(), value: Some(session.to_record()) }];
        batch.extend(self.pending_change(lock));
        self.saving = true;
        self.save_now = false;
        shared.commit(batch, Purpose::Session { lock, dev_addr, down });
    }

    /// An activation whose commit failed leaves its pending record behind, with the counters of the join. Whatever
    /// writes the session next takes it away, or a restart would offer those counters again. While a join's own commit
    /// is under way the record is left to that.
    pub(super) fn pending_change(&self, lock: LockId) -> Option<Change> {
        let value = (!self.pending.is_empty()).then(|| Session::to_records(&self.pending));
        (!self.joining).then(|| Change { key: RecordKey::Pending(lock).encode(), value })
    }

    /// The sessions that stay pending when another join comes.
    pub(super) fn newest_pending(&self) -> impl Iterator<Item = &Session> {
        self.pending.iter().skip(self.pending.len().saturating_sub(MAX_PENDING - 1))
    }

    /// Whether one of its sessions has this DevAddr.
    pub(super) fn has_dev_addr(&self, dev_addr: u32) -> bool {
        self.active.iter().chain(&self.pending).any(|session| session.dev_addr == dev_addr)
    }

    /// What has to be written before the daemon stops: the session record, if it is not the newest any more.
    pub(super) fn unsaved_changes(&mut self, lock: LockId) -> Vec<Change> {
        let unsaved = |session: &&mut Session| session.unsaved > 0 || session.unsaved_since.is_some();
        let Some(session) = self.active.as_mut().filter(unsaved) else { return Vec::new() };
        (session.unsaved, session.unsaved_since) = (0, None);
        let mut batch =
            vec![Change { key: RecordKey::Active(lock).encode(), value: Some(session.to_record()) }];
        batch.extend(self.pending_change(lock));
        batch
    }

    /// The session record was written, or not. Returns the handle of a send that failed for want of a counter.
    pub(super) fn stored(
        &mut self,
        now: Millis,
        dev_addr: u32,
        down: u32,
        stored: bool,
        shared: &mut Shared,
    ) -> Option<u64> {
        // A commit of the session before this one says nothing of this one.
        let session = self.active.as_mut().filter(|session| session.dev_addr == dev_addr)?;
        self.saving = false;
        if stored {
            session.durable_down = session.durable_down.max(down);
            return None;
        }
        session.unsaved_since.get_or_insert(now);
        self.store_again = now + STORE_RETRY;
        if session.next_down < session.durable_down {
            return None;
        }
        // No counter, no frame. An answer that is owed may still go, should the store recover within its window.
        let send = self.queued.take()?;
        shared.outcome(send.handle, Outcome::Failed(Failure::Store));
        Some(send.handle)
    }

    /// Bits of [`given_up`] for what this device should be asked.
    pub(super) fn requests(&self, shared: &Shared) -> u8 {
        let Some(session) = &self.active else { return 0 };
        let mut bits = session.differs(shared.wanted_rx());
        if session.given_up & given_up::LINK_ADR == 0
            && (self.wants_mask || self.wanted_rate(session, shared).is_some())
        {
            bits |= given_up::LINK_ADR;
        }
        bits
    }

    fn wanted_rate(&self, session: &Session, shared: &Shared) -> Option<(u8, u8)> {
        let dr = session.dr.filter(|_| self.adr_on)?;
        self.adr.wanted(&shared.plan, dr, session.power)
    }

    /// The commands for those bits that fit into `room` bytes, with the bits that made it and the power they ask for.
    pub(super) fn write_requests(&self, shared: &Shared, mut room: usize) -> (Vec<u8>, u8, u8) {
        let Some(session) = &self.active else { return (Vec::new(), 0, 0) };
        let wanted = shared.wanted_rx();
        let bits = self.requests(shared);
        let (dr, power) =
            self.wanted_rate(session, shared).unwrap_or((session.dr.unwrap_or(0), session.power));
        let (mut out, mut written) = (Vec::new(), 0);
        let mut add = |bit: u8, command: Vec<u8>| {
            if bits & bit != 0 && command.len() <= room {
                room -= command.len();
                out.extend(command);
                written |= bit;
            }
        };
        add(given_up::RX_TIMING, mac::rx_timing_setup_req(wanted.delay).to_vec());
        let rx_param = mac::rx_param_setup_req(wanted.rx1_offset, wanted.rx2_dr, wanted.rx2_frequency);
        add(given_up::RX_PARAM, rx_param.to_vec());
        let masks = shared.plan.channel_masks();
        add(
            given_up::LINK_ADR,
            masks
                .into_iter()
                .flat_map(|(control, mask)| mac::link_adr_req(dr, power, control, mask))
                .collect(),
        );
        (out, written, power)
    }

    /// Notes which requests of the last downlink this uplink answered; those it did not are given up in the end.
    pub(super) fn settle_requests(&mut self, answered: u8) {
        let Some(session) = &mut self.active else { return };
        let all = [given_up::LINK_ADR, given_up::RX_PARAM, given_up::RX_TIMING];
        for (bit, unanswered) in all.into_iter().zip(&mut self.unanswered) {
            if answered & bit != 0 {
                *unanswered = 0;
            } else if self.asked & bit != 0 {
                *unanswered += 1;
                if *unanswered >= MAX_ASKS {
                    session.given_up |= bit;
                    self.save_now = true;
                }
            }
        }
        self.asked = 0;
    }
}

impl Shared {
    /// Receive parameters as this network wants them.
    pub(super) fn wanted_rx(&self) -> RxParams {
        RxParams {
            delay: self.config.rx1_delay,
            rx1_offset: self.config.rx1_dr_offset,
            rx2_dr: self.plan.rx2.1,
            rx2_frequency: self.plan.rx2.0,
        }
    }
}
