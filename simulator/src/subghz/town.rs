//! An air with locks' radios on it, turned in the air's own time: whoever is late is not the locks.

use std::collections::VecDeque;

use cardea_subghz_link::{LockId, Micros};

use super::mailbox::{Act, LIFE};
use super::orders::Households;
use super::{Air, Edge, LockRadio, Stranger};

/// Locks and a stranger on one air, beside a chip whose host is somebody else.
pub struct Town {
    /// The air.
    pub air: Air,
    /// The radios of locks.
    pub locks: Vec<LockRadio>,
    /// One who belongs to nobody.
    pub stranger: Option<Stranger>,
    gateway: usize,
    edges: VecDeque<Edge>,
}

impl Town {
    /// An empty town; `gateway` is the number of the chip that has another host.
    #[must_use]
    pub fn new(air: Air, gateway: usize) -> Self {
        Self { air, locks: Vec::new(), stranger: None, gateway, edges: VecDeque::new() }
    }

    /// The gateway has another chip from now on; edges of the one before are nobody's.
    pub fn set_gateway(&mut self, chip: usize) {
        while self.air.edge(self.gateway).is_some() {}
        self.edges.clear();
        self.gateway = chip;
    }

    /// An edge of the gateway's chip that nobody has taken.
    pub fn edge(&mut self) -> Option<Edge> {
        self.edges.pop_front()
    }

    /// When something happens next by itself.
    #[must_use]
    pub fn due(&self) -> Micros {
        let locks = self.locks.iter().map(LockRadio::due);
        locks
            .chain(self.stranger.as_ref().map(Stranger::due))
            .chain(self.air.due())
            .min()
            .unwrap_or(Micros::MAX)
    }

    /// Lets time pass up to then, but not beyond the next edge of the gateway's chip.
    pub fn advance(&mut self, until: Micros) {
        loop {
            self.work();
            let now = self.air.now();
            if now >= until || !self.edges.is_empty() {
                return;
            }
            let locks = self.locks.iter().map(LockRadio::due);
            let next = locks.chain(self.stranger.as_ref().map(Stranger::due)).min().unwrap_or(until);
            self.air.advance(next.clamp(now + 1, until));
        }
    }

    /// Edges to those whose they are; then everybody who is due.
    fn work(&mut self) {
        let air = self.air.clone();
        let mut clock = || air.now();
        while let Some(edge) = air.edge(self.gateway) {
            self.edges.push_back(edge);
        }
        for lock in &mut self.locks {
            let mut told = false;
            while let Some(edge) = air.edge(lock.chip()) {
                lock.edge(edge);
                told = true;
            }
            if told || lock.due() <= air.now() {
                lock.turn(&mut clock);
            }
        }
        if let Some(stranger) = &mut self.stranger {
            let mut told = false;
            while let Some(edge) = air.edge(stranger.chip()) {
                stranger.edge(edge);
                told = true;
            }
            if told || stranger.due() <= air.now() {
                stranger.turn(&mut clock);
            }
        }
    }
}

impl Households for Town {
    fn act(&mut self, lock: LockId, act: Act) {
        let now = self.air.now();
        if let Some(radio) = self.locks.iter_mut().find(|radio| radio.lock() == lock) {
            match act {
                Act::Join => radio.join(now),
                Act::Reboot => radio.reboot(now),
                Act::Send(frame) => drop(radio.send(now, &frame, now + LIFE)),
            }
        }
    }
}
