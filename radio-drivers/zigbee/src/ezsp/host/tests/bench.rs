//! A host, the double of its NCP, and the line between them.

use super::ncp::ScriptedNcp;
use super::*;
use crate::ezsp::ash;

/// A host, its NCP, and the time.
pub(crate) struct Bench {
    pub(crate) host: Host,
    pub(crate) ncp: ScriptedNcp,
    pub(crate) now: Millis,
    pub(crate) events: Vec<Event>,
    /// Loses one frame in this many, from host to NCP and back.
    pub(crate) loses: Option<u64>,
    /// Spoils one in this many.
    pub(crate) spoils: Option<u64>,
    carried: u64,
}

impl Bench {
    pub(crate) fn new(ncp: ScriptedNcp, expected: Option<Network>) -> Self {
        let host = Host::new(crate::zboss::tests::ncp::config(), expected);
        Self { host, ncp, now: 1_000, events: Vec::new(), loses: None, spoils: None, carried: 0 }
    }

    /// Opened, and what follows within two seconds.
    pub(crate) fn opened(ncp: ScriptedNcp, expected: Option<Network>) -> Self {
        let mut bench = Self::new(ncp, expected);
        bench.host.handle_open(bench.now);
        bench.run(2_000);
        bench
    }

    /// What the line makes of it.
    fn carry(&mut self, mut bytes: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
        self.carried += 1;
        if self.loses.is_some_and(|every| self.carried.is_multiple_of(every)) {
            bytes.clear();
        }
        if self.spoils.is_some_and(|every| self.carried.is_multiple_of(every)) {
            let at = bytes.len() / 2;
            bytes[at] ^= 0x04;
        }
        bytes
    }

    /// Lets time pass in steps.
    pub(crate) fn run(&mut self, ms: Millis) {
        let end = self.now + ms;
        loop {
            self.exchange();
            if self.now >= end {
                return;
            }
            self.now = (self.now + ash::RESYNC_QUIET_MS).min(end);
            if self.host.poll_timeout().is_some_and(|at| at <= self.now) {
                self.host.handle_timeout(self.now);
                let next = self.host.poll_timeout();
                assert!(
                    next.is_none_or(|at| at > self.now),
                    "it would be called for ever: {next:?} at {}",
                    self.now
                );
            }
        }
    }

    /// Everything that can be said at this moment.
    fn exchange(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(bytes) = self.host.poll_transmit(self.now) {
                quiet = false;
                let bytes = self.carry(bytes);
                self.ncp.handle(self.now, &bytes);
            }
            while let Some(bytes) = (!self.ncp.stalled).then(|| self.ncp.poll_transmit(self.now)).flatten() {
                quiet = false;
                let bytes = self.carry(bytes);
                self.host.handle_bytes(self.now, &bytes);
            }
            self.events.extend(std::iter::from_fn(|| self.host.poll_event()));
            if quiet {
                return;
            }
        }
    }

    pub(crate) fn order(&mut self, order: Order) {
        self.host.handle_order(self.now, order);
        self.run(200);
    }

    pub(crate) fn say(&mut self, callback: &Callback) {
        self.ncp.say(callback);
        self.run(200);
    }

    /// Events since the last call.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub(crate) fn states(&mut self) -> Vec<State> {
        let states = self.events().into_iter().filter_map(|event| match event {
            Event::State(state) => Some(state),
            _ => None,
        });
        states.collect()
    }
}
