//! What the loop knows, for people and their tools.

use cardea_radio::Health;
use cardea_zigbee::driver::{Kept, KeptFrom};

use super::RelayLoop;
use crate::metrics::Vitals;

impl RelayLoop {
    pub(super) fn locks(&self) -> Vec<cardea_api::Lock> {
        let locks = self.relay.locks().map(|lock| cardea_api::Lock {
            lock: lock.lock,
            radio: self.radio_name(lock.radio).into(),
            joined: lock.joined,
            sleepy: lock.sleepy,
            address: lock.address,
            heard: lock.heard.map(|(at, _)| at),
            rssi: lock.heard.and_then(|(_, quality)| quality.rssi),
            snr: lock.heard.and_then(|(_, quality)| quality.snr).map(|tenths| f32::from(tenths) / 10.0),
            lqi: lock.heard.and_then(|(_, quality)| quality.lqi),
            pending: u64::try_from(lock.pending).unwrap_or(u64::MAX),
        });
        locks.collect()
    }

    pub(super) fn status(&self) -> cardea_api::Status {
        let health = self.relay.health();
        let metrics = self.relay.metrics();
        let upstream = self.upstream_status.borrow().clone();
        let radios = self.facts.radios.iter().zip(self.relay.radios()).zip(&self.radios);
        cardea_api::Status {
            gateway: self.facts.gateway.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: self.clock.now() / 1000,
            clock_synced: self.wall.now().synced,
            broker: cardea_api::Broker {
                url: self.facts.broker_url.clone(),
                connected: upstream.connected,
                detail: upstream.detail,
            },
            radios: radios
                .map(|((name, health), radio)| {
                    let Health { up, detail } = health.clone();
                    let restarts = radio.starts.saturating_sub(1);
                    let backup = (*name == "zigbee").then(|| self.kept_backup()).flatten();
                    ((*name).to_owned(), cardea_api::Radio { up, detail, restarts, backup })
                })
                .collect(),
            locks: metrics.locks,
            outbox_frames: health.outbox_frames,
            outbox_bytes: health.outbox_bytes,
            dropped: health.dropped,
            store_failures: metrics.store_failures,
            unsealed: self.facts.unsealed.as_ref().map(|bridge| bridge.status()),
        }
    }

    /// The backup that the Zigbee radio keeps by itself.
    fn kept_backup(&self) -> Option<cardea_api::KeptBackup> {
        let Kept { from, at, devices } = (*self.facts.zigbee_kept.borrow())?;
        let source = match from {
            KeptFrom::Dongle => "dongle",
            KeptFrom::Restored => "restored",
        };
        let devices = u64::try_from(devices).unwrap_or(u64::MAX);
        Some(cardea_api::KeptBackup { source: source.into(), at, devices })
    }

    pub(super) fn vitals(&self) -> Vitals {
        let radios = self.facts.radios.iter().zip(self.relay.radios()).zip(&self.radios);
        Vitals {
            relay: self.relay.metrics(),
            upstream: self.upstream_status.borrow().clone(),
            radios: radios
                .map(|((name, health), radio)| {
                    ((*name).to_owned(), (health.up, radio.starts.saturating_sub(1)))
                })
                .collect(),
            clock_synced: self.wall.now().synced,
            uptime_s: self.clock.now() / 1000,
            unsealed: self.facts.unsealed.as_ref().map(|bridge| bridge.status()),
        }
    }

    /// For `systemctl status`.
    pub(super) fn one_line(&self) -> String {
        let broker = if self.upstream_status.borrow().connected { "broker up" } else { "broker DOWN" };
        let radios = self.facts.radios.iter().zip(self.relay.radios());
        let radios: Vec<String> = radios
            .map(|(name, health)| format!("{name} {}", if health.up { "up" } else { "DOWN" }))
            .collect();
        format!("{broker}, {}", radios.join(", "))
    }
}
