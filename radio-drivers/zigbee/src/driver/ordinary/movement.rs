//! What is done to an ordinary lock: one command at a time, never late, never taken for its effect.
//!
//! A command is judged once more here, with the reckoning of the sealed tunnel (`driver/traffic.rs`): what could be on the air after its
//! deadline is not given to the dongle. Nothing is repeated and nothing is kept: not for a lock that is away, not over a restart.
//! A lock's answer says that it accepts, not that its bolt moved; that is its report's to say, and it is asked if it does not.

use cardea_radio::Millis;

use super::lock::{Action, Lock, Purpose};
use super::state::{Bolt, Source};
use super::{Outcome, Progress, Rights, Verb};
use crate::coordinator::{Failure, Outcome as Sent};
use crate::zcl::{Frame, Header, Scope, door_lock, id};

/// How long after its deadline the answer to a command is waited for, milliseconds.
const ANSWER_MS: Millis = 10_000;
/// How long a bolt may move before it is asked where it is, and how long that answer is waited for, milliseconds.
const SETTLE_MS: Millis = 10_000;
const CHECK_MS: Millis = 30_000;
/// A coordinator that says nothing of a frame for so long after its deadline has lost it, milliseconds.
const LOST_MS: Millis = 60_000;

/// A command under way.
pub(super) struct Movement {
    token: u64,
    verb: Verb,
    sequence: u8,
    deadline: Millis,
    stage: Stage,
    /// When it was given.
    at: Millis,
    pub(super) until: Millis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The coordinator has it.
    Given,
    /// The dongle has sent it.
    Sent,
    /// The lock accepted.
    Accepted,
    /// It had time to move, and is asked.
    Checking,
}

/// The command's bytes. Without a PIN: a lock that wants one refuses.
fn command(verb: Verb, sequence: u8) -> Vec<u8> {
    let command = match verb {
        Verb::Lock => door_lock::LOCK,
        Verb::Unlock => door_lock::UNLOCK,
    };
    let header = Header {
        scope: Scope::Cluster,
        manufacturer: None,
        from_server: false,
        no_default_response: true,
        sequence,
        command,
    };
    Frame { header, payload: &[] }.encode()
}

impl Lock {
    pub(super) fn command(&mut self, now: Millis, up: bool, token: u64, verb: Verb, deadline: Millis) {
        let refused = if self.rights != Some(Rights::Command) {
            Some("commands are off for this lock: it is listed without `commands = true`")
        } else if !self.joined {
            Some("the lock is not in the network")
        } else if !up {
            Some("the Zigbee network is not running")
        } else if !self.ready {
            Some("the lock has not said yet what it is")
        } else if self.movement.is_some() {
            Some("another command is under way")
        } else {
            None
        };
        if let Some(why) = refused {
            return self.act(Action::Done(token, Outcome::Refused(why.into())));
        }
        let sequence = self.next_sequence();
        let payload = command(verb, sequence);
        // The one judge of lateness is behind `send`.
        if !self.send(now, deadline, Purpose::Command(token), id::DOOR_LOCK, payload) {
            return self.act(Action::Done(token, Outcome::Expired));
        }
        let until = deadline.saturating_add(LOST_MS);
        self.movement =
            Some(Movement { token, verb, sequence, deadline, stage: Stage::Given, at: now, until });
    }

    pub(super) fn command_outcome(&mut self, now: Millis, token: u64, outcome: &Sent) {
        let Some(movement) = self.movement.as_mut().filter(|m| m.token == token && m.stage == Stage::Given)
        else {
            return;
        };
        match outcome {
            Sent::Acknowledged => {
                movement.stage = Stage::Sent;
                movement.until = movement.deadline.max(now).saturating_add(ANSWER_MS);
                self.act(Action::Progress(token, Progress::Sent));
                self.act(Action::Changed);
            }
            Sent::Expired => self.finish(Outcome::Expired),
            Sent::Failed(
                Failure::Down | Failure::NoAddress | Failure::Cancelled | Failure::Busy | Failure::TooBig,
            ) => {
                self.finish(Outcome::Refused("the dongle did not take it".into()));
            }
            // It may have arrived.
            Sent::Failed(Failure::NoAnswer | Failure::Unknown | Failure::Refused(_)) => {
                self.doubt = true;
                self.finish(Outcome::Unconfirmed);
                self.read_now(now);
            }
        }
    }

    /// The lock's answer to a command, if it is the one under way.
    pub(super) fn command_answered(&mut self, now: Millis, sequence: u8, command: u8, status: u8) {
        let Some(movement) = &mut self.movement else { return };
        let ours = match movement.verb {
            Verb::Lock => door_lock::LOCK,
            Verb::Unlock => door_lock::UNLOCK,
        };
        if movement.sequence != sequence
            || command != ours
            || !matches!(movement.stage, Stage::Given | Stage::Sent)
        {
            return;
        }
        if status == 0 {
            movement.stage = Stage::Accepted;
            movement.until = now.saturating_add(SETTLE_MS);
            let token = movement.token;
            self.act(Action::Progress(token, Progress::Accepted));
            self.act(Action::Changed);
        } else {
            self.finish(Outcome::Declined(status));
        }
    }

    /// The lock said where its bolt is.
    pub(super) fn movement_evidence(&mut self, bolt: Bolt, source: Source) {
        let Some(Movement { verb, stage, .. }) = self.movement else { return };
        let there = bolt == Bolt::wanted(verb);
        match stage {
            // What it said before it answered may be older than the command.
            Stage::Given | Stage::Sent => {}
            Stage::Accepted if there => self.finish(Outcome::Done),
            Stage::Accepted if source == Source::Alarm => self.finish(Outcome::Elsewhere),
            // It may be on its way.
            Stage::Accepted => {}
            Stage::Checking if there => self.finish(Outcome::Done),
            Stage::Checking if source == Source::Read || source == Source::Alarm => {
                self.finish(Outcome::Elsewhere)
            }
            Stage::Checking => {}
        }
    }

    pub(super) fn movement_timeout(&mut self, now: Millis) {
        let Some(movement) = self.movement.as_mut().filter(|movement| movement.until <= now) else { return };
        match movement.stage {
            Stage::Accepted => {
                movement.stage = Stage::Checking;
                movement.until = now.saturating_add(CHECK_MS);
                self.read_now(now);
            }
            Stage::Given | Stage::Sent => {
                self.doubt = true;
                self.finish(Outcome::Unconfirmed);
                self.read_now(now);
            }
            Stage::Checking => {
                self.doubt = true;
                self.finish(Outcome::Unconfirmed);
            }
        }
    }

    /// The device is gone, or forgotten: what became of the command nobody will say.
    pub(super) fn give_up(&mut self) {
        self.finish(Outcome::Unconfirmed);
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(Movement { token, .. }) = self.movement.take() {
            self.act(Action::Done(token, outcome));
            self.act(Action::Changed);
        }
    }

    /// A report of neither here nor there means that it moves.
    pub(super) fn is_moving(&self) -> bool {
        self.movement.as_ref().is_some_and(|movement| movement.stage != Stage::Given)
    }

    /// What is shown while a command is on its way.
    pub(super) fn moving(&self) -> Option<(Bolt, Option<Source>, Option<Millis>)> {
        let Movement { verb, at, .. } = self.movement.as_ref().filter(|_| self.is_moving())?;
        Some((Bolt::moving(*verb), Some(Source::Command), Some(*at)))
    }
}
