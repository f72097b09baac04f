use heapless::Vec;

use super::{Flight, Node, NodeEvent, Reply};
use crate::body::{Ack, Body, Hello, Join};
use crate::codec::{AirFrame, Header, Kind, MTU, UNASSIGNED, seal};
use crate::phy::{BUSY_TRIES, TRIES};
use crate::{Micros, Outcome, Refusal, Transmit};

/// The driver says what became of a frame this long after its last moment, or never.
const REPORT: Micros = 50_000;
/// Trouble is told after so long.
const TROUBLE: Micros = 30_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Data { handle: u32 },
    Hello,
    Join,
}

/// The one frame that waits for an acknowledgement.
pub(super) struct Out {
    pub(super) what: What,
    body: Vec<u8, MTU>,
    pub(super) counter: Option<u32>,
    pub(super) deadline: Micros,
    pub(super) not_before: Micros,
    pub(super) awaiting: Option<Micros>,
    tries: u8,
    busy: u8,
}

impl Node {
    /// Sends one frame of framing. It is not on the air after `deadline`. One at a time.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn send(&mut self, now: Micros, handle: u32, frame: &[u8], deadline: Micros) -> Result<(), Refusal> {
        let body = Vec::from_slice(frame).map_err(|_| Refusal::Size)?;
        if body.is_empty() {
            return Err(Refusal::Size);
        }
        if self.joined.is_none() {
            return Err(Refusal::NotJoined);
        }
        let busy = |out: &Option<Out>| out.as_ref().is_some_and(|out| matches!(out.what, What::Data { .. }));
        if busy(&self.out) || busy(&self.waiting) {
            return Err(Refusal::Busy);
        }
        let out = Out::new(What::Data { handle }, body, now, deadline);
        if self.out.is_some() {
            self.waiting = Some(out)
        } else {
            self.out = Some(out)
        }
        Ok(())
    }

    pub(super) fn check_hello(&mut self, now: Micros) {
        if self.out.is_some() || self.hello_at.is_none_or(|at| now < at) {
            return;
        }
        let Some(joined) = &self.joined else { return };
        let body = Body::Hello(Hello {
            floor: joined.session.rx.floor(),
            interval_ms: self.config.interval_ms,
            linger_ms: self.config.linger_ms,
        });
        self.hello_at = None;
        self.out = Some(Out::new(What::Hello, body.encode(), now, Micros::MAX));
    }

    pub(super) fn send_join(&mut self, now: Micros, at: Micros) {
        let join = Body::Join(Join { lock: self.config.lock, nonce: self.join_nonce });
        let mut out = Out::new(What::Join, join.encode(), now, Micros::MAX);
        out.not_before = at;
        if let Some(data) = self.out.take().filter(|out| matches!(out.what, What::Data { .. })) {
            self.waiting = Some(data);
        }
        self.out = Some(out);
    }

    /// What goes on the air now, if anything.
    pub fn poll_transmit(&mut self, now: Micros) -> Option<Transmit> {
        self.clock = self.clock.max(now);
        if self.flight.is_some() || self.store.blocks() {
            return None;
        }
        if let Some(reply) = self.reply.take_if(|reply| now >= reply.at) {
            let air = self.config.profile.air_time_of_body(2);
            let start_by = reply.at + self.config.profile.ack_spread();
            let late = now > start_by;
            if !late
                && self.duty.allows(now, air, false)
                && let Some(frame) = self.acknowledgement(&reply)
            {
                return Some(self.put(now, frame, Flight::Reply, air, start_by));
            }
        }
        self.poll_out(now)
    }

    fn acknowledgement(&self, reply: &Reply) -> Option<AirFrame> {
        let pending = self.out.is_some() || self.waiting.is_some();
        let body = Body::Ack(Ack { quality: reply.quality }).encode();
        let session = &self.joined.as_ref()?.session;
        seal(Header { pending, ..reply.header }, reply.counter, &body, &session.keys.up)
    }

    fn poll_out(&mut self, now: Micros) -> Option<Transmit> {
        let profile = self.config.profile;
        let ready = |out: &&Out| out.awaiting.is_none() && now >= out.not_before.max(self.yields_until);
        let out = self.out.as_ref().filter(ready)?;
        if let Some(reply) = self.reply.as_ref().filter(|_| !profile.carrier_sense()) {
            // It says that this frame is waiting, and the other end keeps silent for it.
            let at = reply.at.max(now + 1);
            self.out.as_mut()?.not_before = at;
            return None;
        }
        // Data is coming: speaking now would only miss it.
        let expecting = self.awake.filter(|&(from, until)| from > now || self.reply.is_some() && now < until);
        if let Some((_, until)) = expecting.filter(|_| out.what != What::Join) {
            self.out.as_mut()?.not_before = until;
            return None;
        }
        let air = profile.air_time_of_body(out.body.len());
        if now.saturating_add(profile.start() + air) > out.deadline {
            let outcome = if out.tries > 0 { Outcome::Unheard } else { Outcome::Expired };
            self.finish(now, outcome);
            return None;
        }
        if !self.duty.allows(now, air, true) {
            if matches!(out.what, What::Data { .. }) {
                self.finish(now, Outcome::NoAirtime);
            } else if let Some(out) = &mut self.out {
                out.not_before = now + 60_000_000;
            }
            return None;
        }
        let start_by = out.deadline.saturating_sub(air).min(now + profile.start() + 20 * profile.slot());
        let frame = self.frame_of_out()?;
        self.sniff = None;
        Some(self.put(now, frame, Flight::Out, air, start_by))
    }

    fn frame_of_out(&mut self) -> Option<AirFrame> {
        let out = self.out.as_mut()?;
        let mut header = Header {
            address: UNASSIGNED,
            network: self.join_network,
            kind: Kind::Join,
            up: true,
            ack: true,
            pending: false,
            counter: 0,
        };
        if out.what == What::Join {
            return seal(header, self.join_nonce, &out.body, &self.secret.join_key());
        }
        let joined = self.joined.as_mut()?;
        if out.counter.is_none() {
            out.not_before += self.config.profile.slot(); // if none is left: storage is asked for more
            out.counter = Some(joined.session.tx.take()?);
        }
        header.kind = if out.what == What::Hello { Kind::Hello } else { Kind::Data };
        header.address = joined.address;
        header.network = joined.network;
        seal(header, out.counter?, &out.body, &joined.session.keys.up)
    }

    fn put(
        &mut self,
        now: Micros,
        frame: AirFrame,
        flight: Flight,
        air: Micros,
        start_by: Micros,
    ) -> Transmit {
        self.flight = Some((flight, air, start_by.max(now) + air + REPORT));
        let (channel, preamble) = (self.channel, self.config.profile.preamble());
        Transmit { frame, channel, preamble, cca: flight == Flight::Out, start_by }
    }

    /// The frame's last bit has left.
    pub fn handle_sent(&mut self, now: Micros) {
        self.clock = now;
        let Some((flight, air, _)) = self.flight.take() else { return };
        self.duty.spend(now, air);
        let profile = self.config.profile;
        match flight {
            Flight::Reply => self.anchor(now),
            Flight::Answered => {}
            Flight::Out => {
                let Some(out) = &mut self.out else { return };
                out.tries += 1;
                out.busy = 0;
                let wait = if out.what == What::Join { profile.accept_wait() } else { profile.ack_wait() };
                out.awaiting = Some(now + wait);
            }
        }
    }

    /// The channel was not clear until the last moment, or the radio failed: nothing went out.
    pub fn handle_busy(&mut self, now: Micros) {
        self.clock = now;
        if let Some((flight, ..)) = self.flight {
            self.not_sent(now, flight);
        }
    }

    pub(super) fn not_sent(&mut self, now: Micros, flight: Flight) {
        self.flight = None;
        let Some(out) = self.out.as_mut().filter(|_| flight == Flight::Out) else { return };
        out.busy += 1;
        let busy = out.busy;
        out.not_before = now + self.chance.backoff(busy, self.config.profile);
        self.troubled(now, self.config.profile.carrier_sense());
        if busy >= BUSY_TRIES {
            self.finish(now, Outcome::Busy);
        }
    }

    pub(super) fn check_out(&mut self, now: Micros) {
        if let Some(waiting) = self.waiting.take_if(|waiting| now >= waiting.deadline)
            && let What::Data { handle } = waiting.what
        {
            self.tell(NodeEvent::Outcome { handle, outcome: Outcome::Expired });
        }
        let Some(out) = self.out.as_mut().filter(|out| out.awaiting.is_some_and(|until| now >= until)) else {
            return;
        };
        out.awaiting = None;
        let tries = out.tries;
        if tries >= TRIES {
            self.finish(now, Outcome::Unheard);
        } else {
            out.not_before = now + self.chance.backoff(tries, self.config.profile);
        }
    }

    /// The end of the frame under way, whatever it was.
    pub(super) fn finish(&mut self, now: Micros, outcome: Outcome) {
        let Some(out) = self.out.take() else { return };
        if let Some((flight @ Flight::Out, ..)) = &mut self.flight {
            *flight = Flight::Answered;
        }
        self.out = self.waiting.take();
        if outcome == Outcome::Heard {
            self.unheard = 0;
            self.trouble = None;
        }
        match out.what {
            What::Data { handle } => self.tell(NodeEvent::Outcome { handle, outcome }),
            What::Hello => {}
            What::Join if outcome == Outcome::Heard => {}
            What::Join => return self.give_up_joining(),
        }
        if outcome == Outcome::Unheard || outcome == Outcome::Busy {
            self.troubled(now, outcome == Outcome::Busy);
            self.unheard = self.unheard.saturating_add(1);
            if self.unheard >= 2 || out.what == What::Hello {
                self.begin_search(now);
            }
        }
    }

    fn troubled(&mut self, now: Micros, busy: bool) {
        let (since, told) = *self.trouble.get_or_insert((now, false));
        if !told && now.saturating_sub(since) >= TROUBLE {
            self.trouble = Some((since, true));
            self.tell(NodeEvent::Trouble { busy });
        }
    }
}

impl Out {
    fn new(what: What, body: Vec<u8, MTU>, now: Micros, deadline: Micros) -> Self {
        Self { what, body, counter: None, deadline, not_before: now, awaiting: None, tries: 0, busy: 0 }
    }
}
