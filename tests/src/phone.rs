//! A phone with the SDK's holder on the control socket of the real daemon.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use cardea_api::{PeerClient, PeerEvent};
use cardea_credentials::SoftAgreement;
use cardea_sdk::{
    Ask, Bundle, OsRandom, Outcome,
    holder::{Holder, HolderEvent, LogLine},
};

/// A phone at the gateway.
pub struct Phone {
    /// Its side of the protocol.
    pub holder: Holder<SoftAgreement>,
    /// Its way to the lock.
    pub gateway: PeerClient,
    /// What it last read of the lock's log.
    pub log: Vec<LogLine>,
    /// How long it waits for an answer.
    pub patience_ms: u64,
    start: Instant,
}

impl Phone {
    /// Attached to the gateway, for the lock of `bundle`.
    pub fn new(socket: &Path, bundle: &Bundle, key: SoftAgreement) -> Self {
        let gateway = PeerClient::attach(socket, bundle.lock_id()).unwrap();
        let holder = Holder::new(bundle.clone(), key, Box::new(OsRandom), gateway.lock);
        Self { holder, gateway, log: Vec::new(), patience_ms: 20_000, start: Instant::now() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    /// Carries datagrams both ways until something happens, or nothing for this long.
    fn wait(&mut self, limit: Duration) -> Option<HolderEvent> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            while let Some(datagram) = self.holder.poll_transmit() {
                self.gateway.send(&datagram).unwrap();
            }
            if let Some(event) = self.holder.poll_event() {
                return Some(event);
            }
            match self.gateway.next(Duration::from_millis(50)).unwrap() {
                Some(PeerEvent::Datagram { data }) => {
                    let now = self.now();
                    self.holder.handle_datagram(now, &data);
                }
                Some(PeerEvent::Refused { error }) => panic!("the gateway refuses: {error}"),
                None => {
                    let now = self.now();
                    self.holder.handle_timeout(now);
                }
            }
        }
        None
    }

    /// Makes a session; false if the lock does not take part.
    pub fn connect(&mut self, limit: Duration) -> bool {
        let now = self.now();
        self.holder.connect(now).unwrap();
        self.wait(limit) == Some(HolderEvent::Connected)
    }

    /// Asks, and waits for the end of it.
    pub fn ask(&mut self, ask: Ask) -> Outcome {
        let now = self.now();
        self.holder.ask(now, ask, self.patience_ms).unwrap();
        loop {
            match self.wait(Duration::from_millis(self.patience_ms + 10_000)) {
                Some(HolderEvent::Ended { outcome, .. }) => return outcome,
                Some(HolderEvent::Log { entries, .. }) => self.log = entries,
                other => panic!("{ask}: {other:?}"),
            }
        }
    }
}
