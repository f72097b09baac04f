//! What the gateway says of itself and of its locks: retained documents, link reports, answers.

use std::collections::BTreeMap;

use cardea_envelope::{
    ClockState, Epoch, GatewayState, Info, LinkState, LockEntry, Locks, Presence, RadioHealth, Request,
    Response, Topic, VERSION,
};
use cardea_radio::Quality;

use crate::{
    Millis, Relay,
    ctx::{Ctx, Flying, Outgoing},
    lock::{Air, Lock},
};

/// Most locks that one `locks` document names; each has its own `link` document as well.
const LISTED: usize = 1_000;

/// Least time between two `health` documents that follow a change, milliseconds.
const HEALTH_PAUSE_MS: u64 = 1_000;

/// Which retained documents are to be written.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    online: bool,
    goodbye: Option<bool>,
    info: bool,
    locks: bool,
    health: bool,
    health_at: Millis,
    health_not_before: Millis,
}

impl Documents {
    pub(crate) fn all_changed(&mut self) {
        self.online = true;
        self.info = true;
        self.locks = true;
        self.health = true;
    }

    pub(crate) fn locks_changed(&mut self) {
        self.locks = true;
    }

    pub(crate) fn health_changed(&mut self) {
        self.health = true;
    }

    pub(crate) fn due(&self, ctx: &Ctx) -> Option<Millis> {
        let at = if self.health { self.health_at.min(self.health_not_before) } else { self.health_at };
        ctx.connected.then_some(at.max(ctx.now.saturating_add(1)))
    }
}

impl Relay {
    pub(crate) fn say_goodbye(&mut self) {
        if self.ctx.connected {
            self.documents.goodbye = Some(false);
        }
    }

    pub(crate) fn is_saying_goodbye(&self) -> bool {
        self.ctx.connected
            && (self.documents.goodbye == Some(false)
                || self.ctx.flights.values().any(|f| matches!(f, Flying::Goodbye)))
    }

    pub(crate) fn publish_presence(&mut self) -> bool {
        let at = self.ctx.wall.unix_ms;
        if std::mem::take(&mut self.documents.online) {
            self.document(&Topic::State, &GatewayState { state: Presence::Online, at }, Flying::Document);
            return true;
        }
        if self.documents.goodbye == Some(false) {
            self.documents.goodbye = Some(true);
            self.document(&Topic::State, &GatewayState { state: Presence::Offline, at }, Flying::Goodbye);
            return true;
        }
        false
    }

    pub(crate) fn publish_document(&mut self) -> bool {
        let now = self.ctx.now;
        if std::mem::take(&mut self.documents.info) {
            let info = self.info();
            self.document(&Topic::Info, &info, Flying::Document);
        } else if std::mem::take(&mut self.documents.locks) {
            let locks = self.lock_list();
            self.document(&Topic::Locks, &locks, Flying::Document);
        } else if self.documents.health_at <= now
            || (self.documents.health && self.documents.health_not_before <= now)
        {
            self.documents.health = false;
            self.documents.health_at = now.saturating_add(u64::from(self.ctx.config.health_ms));
            self.documents.health_not_before = now.saturating_add(HEALTH_PAUSE_MS);
            let health = self.health();
            self.document(&Topic::Health, &health, Flying::Document);
        } else {
            return false;
        }
        true
    }

    pub(crate) fn publish_link(&mut self) -> bool {
        let Some(lock) = self.ctx.links_ready.pop_first() else { return false };
        let Some(entry) = self.locks.get_mut(&lock) else { return true };
        entry.reported = Some(self.ctx.now);
        let air = entry.air;
        let (rssi, snr, lqi) = entry.heard.map_or((None, None, None), |(_, q)| quality(&q));
        let state = LinkState {
            v: VERSION,
            joined: entry.joined,
            radio: self.ctx.radio_name(entry.radio),
            sleepy: air.is_some_and(|a| a.sleepy),
            life_ms: air.map_or(self.ctx.config.life_ms, |a| a.life_ms),
            seen: entry.heard.map(|(at, _)| at),
            rssi,
            snr,
            lqi,
            pending: u32::try_from(entry.down.as_ref().map_or(0, |d| d.len())).unwrap_or(u32::MAX),
            at: self.ctx.wall.unix_ms,
        };
        self.document(&Topic::Link(lock), &state, Flying::Document);
        true
    }

    /// Answers a question; questions only read.
    pub(crate) fn request(&mut self, verb: &str, payload: &[u8]) {
        let request: Request = if payload.is_empty() {
            Request { transaction: None }
        } else {
            match self.ctx.config.encoding.decode(payload) {
                Ok(request) => request,
                Err(_) => {
                    self.ctx.metrics.malformed_messages += 1;
                    return;
                }
            }
        };
        let answer = match verb {
            "status" => serde_json::to_value(self.health()).map_err(|_| "internal"),
            "info" => serde_json::to_value(self.info()).map_err(|_| "internal"),
            "locks" => serde_json::to_value(self.lock_list()).map_err(|_| "internal"),
            _ => Err("unknown verb; over the broker only `status`, `info` and `locks` can be asked"),
        };
        let transaction = request.transaction;
        let response = match answer {
            Ok(data) => Response { data, status: "ok".into(), error: None, transaction },
            Err(why) => Response {
                data: serde_json::Value::Null,
                status: "error".into(),
                error: Some(why.into()),
                transaction,
            },
        };
        let topic = self.ctx.config.topics.name(&Topic::Response(verb.into()));
        let payload = self.ctx.config.encoding.encode(&response).into();
        self.ctx.say(Outgoing { topic, payload });
    }

    fn document<T: serde::Serialize>(&mut self, topic: &Topic, document: &T, flying: Flying) {
        let topic = self.ctx.config.topics.name(topic);
        let payload = self.ctx.config.encoding.encode(document).into();
        self.ctx.publish(topic, payload, true, flying);
    }

    fn info(&self) -> Info {
        let config = &self.ctx.config;
        Info {
            v: VERSION,
            gateway: config.gateway.clone(),
            version: config.version.clone(),
            epoch: Epoch(self.ctx.epoch),
            radios: config.radios.iter().map(|r| r.name.clone()).collect(),
            custody: config.custody.as_str().into(),
        }
    }

    fn lock_list(&self) -> Locks {
        let entries = self.locks.values().filter(|l| l.admitted).take(LISTED);
        let locks = entries.map(|l| LockEntry { lock: l.id, radio: self.ctx.radio_name(l.radio) }).collect();
        Locks { v: VERSION, locks }
    }

    /// How this gateway is, as its `health` document says it.
    #[must_use]
    pub fn health(&self) -> cardea_envelope::Health {
        let radios: BTreeMap<String, RadioHealth> = self
            .ctx
            .config
            .radios
            .iter()
            .zip(&self.radios)
            .map(|(radio, health)| {
                (radio.name.clone(), RadioHealth { up: health.up, detail: health.detail.clone() })
            })
            .collect();
        cardea_envelope::Health {
            v: VERSION,
            at: self.ctx.wall.unix_ms,
            clock: clock(self.ctx.wall.synced),
            radios,
            outbox_frames: self.locks.values().filter_map(|l| l.queue.as_ref()).map(|q| q.rows()).sum(),
            outbox_bytes: self.ctx.stored_weight,
            dropped: self.ctx.metrics.rows_dropped,
        }
    }
}

impl Lock {
    pub(crate) fn set_air(&mut self, ctx: &mut Ctx, air: Air) {
        if self.air != Some(air) {
            self.air = Some(air);
            if let Some(link) = &mut self.link {
                link.set_retry_ms(air.retry_ms);
            }
            self.report(ctx);
        }
        self.set_joined(ctx, true);
    }

    pub(crate) fn set_joined(&mut self, ctx: &mut Ctx, joined: bool) {
        if self.joined != joined {
            self.joined = joined;
            self.report(ctx);
        }
    }

    /// A frame is no change of state; it is reported now and then.
    pub(crate) fn note_heard(&mut self, ctx: &mut Ctx) {
        self.joined = true;
        let pause = u64::from(ctx.config.link_report_ms);
        if self.reported.is_none_or(|at| at.saturating_add(pause) <= ctx.now) {
            self.report(ctx);
        }
    }

    fn report(&mut self, ctx: &mut Ctx) {
        self.reported = Some(ctx.now);
        ctx.links_ready.insert(self.id);
    }

    /// Takes this lock out of every table.
    pub(crate) fn forget(&mut self, ctx: &mut Ctx) {
        ctx.links_ready.remove(&self.id);
        self.leave(ctx);
    }
}

pub(crate) fn clock(synced: bool) -> ClockState {
    if synced { ClockState::Synced } else { ClockState::Unsynced }
}

/// Link quality as envelopes carry it: dBm, dB, 0–255.
pub(crate) fn quality(quality: &Quality) -> (Option<i16>, Option<f32>, Option<u8>) {
    (quality.rssi, quality.snr.map(|tenths| f32::from(tenths) / 10.0), quality.lqi)
}
