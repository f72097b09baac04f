//! What the loop knows, for people and their tools.

use cardea_api::{ActivationOutcome, CommandState, DutyBand, HeardSample, RadioDetail, Reply, Trace};
use cardea_envelope::ResultState;
use cardea_framing::LockId;
use cardea_radio::Health;
use cardea_zigbee::driver::{Kept, KeptFrom, NetworkFacts};

use super::RelayLoop;
use crate::metrics::Vitals;

/// Why a gateway that nobody has claimed has no link to the broker.
const UNCLAIMED: &str = "not connected, because nobody has claimed this gateway yet; until then it lets no lock in either: \
                         `cardea claim-code` makes the code that its local page asks for";

/// Downlinks of a lock that are told at once.
const COMMANDS: usize = 20;

/// Where a gateway of EU868 transmits by its plan: the three channels that are always there and those beside them, and the
/// second receive window.
fn is_used(low: u32) -> bool {
    matches!(low, 865_000_000 | 868_000_000 | 869_400_000)
}

fn plain(name: &str) -> RadioDetail {
    RadioDetail {
        radio: name.into(),
        network: None,
        channel: None,
        open_s: None,
        moves: false,
        duty: Vec::new(),
    }
}

const fn word(state: ResultState) -> &'static str {
    match state {
        ResultState::Queued => "queued",
        ResultState::Sent => "sent",
        ResultState::Delivered => "delivered",
        ResultState::Expired => "expired",
        ResultState::Refused => "refused",
        ResultState::Failed => "failed",
    }
}

fn activation(word: cardea_core::Activated) -> cardea_api::Activation {
    let outcome = match word.outcome {
        cardea_credentials::Activation::Activated => ActivationOutcome::Activated,
        cardea_credentials::Activation::WrongCode => ActivationOutcome::WrongCode,
        cardea_credentials::Activation::Owned => ActivationOutcome::Owned,
    };
    cardea_api::Activation { outcome, at: u64::from(word.at).saturating_mul(1_000), heard: word.heard }
}

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
            activation: lock.activated.map(activation),
        });
        locks.collect()
    }

    pub(super) fn status(&self) -> cardea_api::Status {
        let health = self.relay.health();
        let metrics = self.relay.metrics();
        let mut upstream = self.upstream_status.borrow().clone();
        if !*self.facts.owned.borrow() {
            upstream.detail = UNCLAIMED.into();
        }
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
            platform_keys: self.facts.platform_keys,
            unsealed: self.facts.unsealed.as_ref().map(|bridge| bridge.status()),
        }
    }

    pub(super) fn radio_details(&self) -> Vec<RadioDetail> {
        let detail = |name: &&str| match *name {
            "zigbee" => self.zigbee_detail(),
            "subghz" => self.subghz_detail(),
            "lora" => RadioDetail { duty: self.duty(), ..plain(name) },
            name => plain(name),
        };
        self.facts.radios.iter().map(detail).collect()
    }

    fn zigbee_detail(&self) -> RadioDetail {
        let facts = self.facts.zigbee_counters.as_ref().map(|counters| counters.borrow().network);
        let NetworkFacts { network, open_until } = facts.unwrap_or_default();
        let seconds = |ms: u64| ms / 1_000;
        let now = self.clock.now();
        RadioDetail {
            network: network.map(|network| network.extended_pan.to_string()),
            channel: network.map(|network| network.channel),
            open_s: open_until.filter(|until| *until > now).map(|until| seconds(until - now)),
            moves: true,
            ..plain("zigbee")
        }
    }

    fn subghz_detail(&self) -> RadioDetail {
        let facts = self.facts.subghz_counters.as_ref().map(|counters| counters.borrow().network);
        let facts = facts.unwrap_or_default();
        let now = self.clock.now();
        let (used, budget) = facts.airtime;
        // The whole band shares one budget.
        let band = DutyBand {
            low: 433_050_000,
            high: 434_790_000,
            used_ms: used / 1_000,
            budget_ms: budget / 1_000,
        };
        RadioDetail {
            network: (budget > 0).then(|| format!("{:02x}", facts.id)),
            channel: facts.channel.filter(|_| budget > 0),
            open_s: facts.open_until.filter(|until| *until > now).map(|until| (until - now) / 1_000),
            duty: if budget > 0 { vec![band] } else { Vec::new() },
            ..plain("subghz")
        }
    }

    /// Sub-bands in which nothing was sent and nothing will be are left out.
    fn duty(&self) -> Vec<DutyBand> {
        let airtime = self.facts.lora_counters.as_ref().and_then(|counters| counters.borrow().airtime);
        let bands = airtime.iter().flatten().filter(|band| band.used > 0 || is_used(band.low));
        let ms = |us: u64| us / 1_000;
        bands
            .map(|band| DutyBand {
                low: band.low,
                high: band.high,
                used_ms: ms(band.used),
                budget_ms: ms(band.budget),
            })
            .collect()
    }

    pub(super) fn trace(&self, lock: LockId) -> Result<Reply, String> {
        let heard = self.relay.heard(lock).ok_or("this gateway knows no such lock")?;
        let heard = heard.iter().map(|sample| HeardSample {
            at: u64::from(sample.at).saturating_mul(1_000),
            rssi: sample.quality.rssi,
            snr: sample.quality.snr.map(|tenths| f32::from(tenths) / 10.0),
            lqi: sample.quality.lqi,
            frames: sample.frames,
        });
        let commands = self.relay.downlinks(lock).into_iter().take(COMMANDS).map(|known| CommandState {
            id: known.id.to_string(),
            state: word(known.state).into(),
            reason: known.reason,
            at: known.at,
            not_after: known.not_after,
            over: known.over,
        });
        Ok(Reply::Trace(Trace { heard: heard.collect(), commands: commands.collect() }))
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
