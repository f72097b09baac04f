//! What the lock's sensors tell: door, housing, bolt and battery; and that one which rattles fills no log and empties no
//! battery.

use cardea_resources::{Bolt, EventKind};

use crate::agent::Agent;
use crate::board::{Actuator, Board, Clock};

/// How the door stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    /// In its frame.
    Closed = 0,
    /// Not in its frame.
    Open = 1,
    /// Open for longer than it should be; an alarm. The firmware decides when.
    Ajar = 2,
}

/// So many in a row are logged, then one more each `every_ms`.
struct Limit {
    burst: u8,
    every_ms: u32,
}

/// A busy entrance stays below.
const MOVES: Limit = Limit { burst: 16, every_ms: 30_000 };
const TAMPERS: Limit = Limit { burst: 4, every_ms: 15 * 60 * 1000 };

/// One sensor, and what of it is held back.
#[derive(Default)]
pub(crate) struct Sensor {
    /// Entries that count against the burst, and from when on they are taken off it.
    spent: u8,
    since: u64,
    held_back: u32,
    latest: u32,
}

impl Sensor {
    /// Whether an entry may be logged now; then it counts.
    fn admit(&mut self, now: u64, limit: &Limit) -> bool {
        let elapsed = u32::try_from(now.saturating_sub(self.since)).unwrap_or(u32::MAX);
        let recovered = elapsed / limit.every_ms; // after seven weeks, all of them
        self.spent = self.spent.saturating_sub(u8::try_from(recovered).unwrap_or(u8::MAX));
        self.since = if self.spent == 0 { now } else { self.since + u64::from(recovered * limit.every_ms) };
        let admitted = self.spent < limit.burst;
        self.spent += u8::from(admitted);
        admitted
    }

    /// When what is held back may be logged.
    fn due(&self, limit: &Limit) -> Option<u64> {
        (self.held_back > 0).then(|| self.since.saturating_add(limit.every_ms.into()))
    }
}

/// The sensors that can rattle.
#[derive(Default)]
pub(crate) struct Sensors {
    door: Sensor,
    bolt: Sensor,
    tamper: Sensor,
}

impl Sensors {
    fn of(&mut self, kind: EventKind) -> Option<(&mut Sensor, &'static Limit)> {
        match kind {
            EventKind::Door => Some((&mut self.door, &MOVES)),
            EventKind::Bolt => Some((&mut self.bolt, &MOVES)),
            EventKind::Tamper => Some((&mut self.tamper, &TAMPERS)),
            _ => None,
        }
    }

    /// When something that is held back may be logged.
    pub(crate) fn timeout(&self) -> Option<u64> {
        let due = [self.door.due(&MOVES), self.bolt.due(&MOVES), self.tamper.due(&TAMPERS)];
        due.into_iter().flatten().min()
    }
}

impl<B: Board> Agent<B> {
    /// The bolt was moved by hand or key, or got stuck; logged and reported, stuck as an alarm.
    pub fn bolt_moved(&mut self) {
        let bolt: Bolt = self.parts.actuator.bolt();
        self.report(EventKind::Bolt, Some(bolt.code().into()));
    }

    /// The door moved, or was left open; logged and reported.
    pub fn door_moved(&mut self, door: Door) {
        self.door_is(door);
        self.report(EventKind::Door, Some(door as u32));
    }

    /// Somebody opened or forced the housing; logged and reported as an alarm. A switch that rattles is logged four times,
    /// then every quarter of an hour with the number of times in between; door and bolt sixteen times, then every 30 s as
    /// they stand then.
    pub fn tampered(&mut self) {
        self.report(EventKind::Tamper, None);
    }

    /// The battery was measured. Below [`Config::battery_low`](crate::Config::battery_low) percent it is reported as
    /// an alarm, once until it has recovered to [`Config::battery_good`](crate::Config::battery_good) or the lock was
    /// reset. The agent measures by itself after each run of the motor.
    pub fn battery_measured(&mut self) {
        let now = self.parts.clock.millis();
        self.check_battery(now);
        self.pump();
    }

    pub(crate) fn check_battery(&mut self, now: u64) {
        let percent = self.parts.actuator.battery().min(100);
        if percent >= self.config.battery_good {
            self.battery_low = false;
        } else if percent < self.config.battery_low && !self.battery_low && self.owner.is_some() {
            self.battery_low = true;
            self.log_event(now, EventKind::Battery, Some(percent.into()));
        }
    }

    fn report(&mut self, kind: EventKind, value: Option<u32>) {
        let now = self.parts.clock.millis();
        if self.owner.is_some()
            && let Some((sensor, limit)) = self.sensors.of(kind)
        {
            // What is already held back goes first, with this one in it.
            if sensor.held_back == 0 && sensor.admit(now, limit) {
                self.log_event(now, kind, value);
            } else {
                sensor.held_back = sensor.held_back.saturating_add(1);
                sensor.latest = value.unwrap_or_default();
            }
        }
        self.report_held_back(now);
        self.pump();
    }

    /// Logs what was held back, as soon as it may be.
    pub(crate) fn report_held_back(&mut self, now: u64) {
        for kind in [EventKind::Tamper, EventKind::Door, EventKind::Bolt] {
            let Some((sensor, limit)) = self.sensors.of(kind) else { continue };
            if sensor.held_back > 0 && sensor.admit(now, limit) {
                let value = if kind == EventKind::Tamper { sensor.held_back } else { sensor.latest };
                sensor.held_back = 0;
                self.log_event(now, kind, Some(value));
            }
        }
    }
}
