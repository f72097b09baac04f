use super::{Answer, Flight, Gateway, Reply};
use crate::body::{Beacon, Body};
use crate::codec::{AirFrame, BROADCAST, Header, Kind, seal};
use crate::phy::{ACK_LATEST, WINDOW_COUNTDOWN_MS};
use crate::{Micros, Transmit};

/// The driver says what became of a frame this long after its last moment, or never.
const REPORT: Micros = 50_000;

impl<const PEERS: usize> Gateway<PEERS> {
    /// What goes on the air now, if anything.
    pub fn poll_transmit(&mut self, now: Micros) -> Option<Transmit> {
        if self.flight.is_some() {
            return None;
        }
        if let Some(transmit) = self.poll_reply(now) {
            return Some(transmit);
        }
        if self.owes_answer() {
            return None;
        }
        if self.exchange.is_some() {
            return self.poll_exchange(now).or_else(|| self.poll_exchange(now)); // strobes end, data begins
        }
        if now >= self.next_beacon.max(self.yields_until)
            && let Some(transmit) = self.beacon(now)
        {
            return Some(transmit);
        }
        self.begin_exchange(now);
        self.poll_exchange(now)
    }

    /// When [`handle_timeout`](Self::handle_timeout) and [`poll_transmit`](Self::poll_transmit) are due.
    pub fn poll_timeout(&mut self, now: Micros) -> Option<Micros> {
        if let Some((_, _, until)) = self.flight {
            return Some(until);
        }
        let reply = self.replies.front().map(|reply| reply.at);
        if self.owes_answer() {
            return reply.map(|at| at.max(now));
        }
        let exchange = match &self.exchange {
            Some(exchange) => Some(exchange.timeout()),
            None => self.next_exchange(now).map(|(start, ..)| start),
        };
        // A beacon waits for the end of an exchange, and is not due before.
        let beacon = self.exchange.is_none().then_some(self.next_beacon.max(self.yields_until));
        [reply, exchange, beacon].into_iter().flatten().min().map(|at| at.max(now))
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Micros) {
        if let Some((_, air, until)) = self.flight
            && now >= until
        {
            self.duty.spend(now, air); // the driver never said what became of it: it may have been on the air
            self.handle_busy(now);
        }
        if self.flight.is_none() {
            self.check_exchange(now);
        }
    }

    /// The frame's last bit has left.
    pub fn handle_sent(&mut self, now: Micros) {
        let Some((flight, air, _)) = self.flight.take() else { return };
        self.duty.spend(now, air);
        match flight {
            Flight::Reply(anchors) => {
                let (channel, awake) = (self.channel, self.config.profile.awake());
                if let Some(peer) = anchors.and_then(|address| self.peer(address)) {
                    let linger = Micros::from(peer.linger_ms) * 1_000;
                    let stays = if peer.down.is_some() { awake.max(linger) } else { linger };
                    peer.heard(now, channel, stays);
                }
            }
            Flight::Beacon => {
                let (profile, window) =
                    (self.config.profile, now + Micros::from(WINDOW_COUNTDOWN_MS) * 1_000);
                // A serial module may be out long before it must be, and those who heard it count from then.
                let from = if profile.carrier_sense() { window } else { now };
                self.window = (from, window + profile.quiet());
            }
            Flight::Strobe | Flight::Data => self.exchange_sent(now, flight),
        }
    }

    /// The channel was not clear until the last moment, or the radio failed: nothing went out.
    pub fn handle_busy(&mut self, now: Micros) {
        let Some((flight, ..)) = self.flight.take() else { return };
        match flight {
            Flight::Reply(_) => {}
            Flight::Beacon => self.next_beacon = now + self.chance.backoff(2, self.config.profile),
            Flight::Strobe | Flight::Data => self.exchange_busy(now),
        }
    }

    /// A frame that takes as long as a serial module's would make the answer too late.
    fn owes_answer(&self) -> bool {
        !self.config.profile.carrier_sense() && !self.replies.is_empty()
    }

    /// Answers go out before anything else, at their time or not at all.
    fn poll_reply(&mut self, now: Micros) -> Option<Transmit> {
        loop {
            let reply = self.replies.front().filter(|reply| now >= reply.at)?;
            let spread = self.config.profile.ack_spread();
            let late = now > reply.at + spread;
            let Reply { answer, at, channel, anchors } = self.replies.pop_front()?;
            let Answer { header, counter, body, key } = answer;
            let pending =
                anchors.and_then(|address| self.peer(address)).is_some_and(|peer| peer.down.is_some());
            let frame = seal(Header { pending, ..header }, counter, &body.encode(), &key);
            let Some(frame) = frame.filter(|_| !late) else { continue };
            let air = self.config.profile.air_time(frame.len());
            if !self.duty.allows(now, air, false) {
                self.stats.silenced += 1;
                continue;
            }
            return Some(self.put(now, frame, Flight::Reply(anchors), channel, false, at + spread));
        }
    }

    fn beacon(&mut self, now: Micros) -> Option<Transmit> {
        let air = self.config.profile.air_time_of_body(10);
        self.next_beacon = now + self.config.profile.beacon_period();
        if !self.duty.allows(now, air, true) {
            return None;
        }
        let Some(counter) = self.counter.take() else {
            self.next_beacon = now + ACK_LATEST; // storage is asked for more
            return None;
        };
        let header = Header {
            address: BROADCAST,
            network: self.config.network,
            kind: Kind::Beacon,
            up: false,
            ack: false,
            pending: false,
            counter: 0,
        };
        let beacon = Body::Beacon(Beacon {
            counter,
            channel: self.channel,
            channels: self.config.channels,
            countdown_ms: WINDOW_COUNTDOWN_MS,
            period_s: (self.config.profile.beacon_period() / 1_000_000) as u8,
            join_open: now < self.join_until,
        });
        let frame = seal(header, counter, &beacon.encode(), &self.key)?;
        let channel = self.channel;
        Some(self.put(
            now,
            frame,
            Flight::Beacon,
            channel,
            true,
            now + self.config.profile.start() + ACK_LATEST,
        ))
    }

    pub(super) fn put(
        &mut self,
        now: Micros,
        frame: AirFrame,
        flight: Flight,
        channel: u8,
        cca: bool,
        start_by: Micros,
    ) -> Transmit {
        let air = self.config.profile.air_time(frame.len());
        self.flight = Some((flight, air, start_by.max(now) + air + REPORT));
        Transmit { frame, channel, preamble: self.config.profile.preamble(), cca, start_by }
    }
}
