//! What the lock's sensors tell: door, housing, bolt and battery.

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

    /// Somebody opened or forced the housing; logged and reported as an alarm.
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
        if self.owner.is_some() {
            self.log_event(now, kind, value);
        }
        self.pump();
    }
}
