//! The one way to the bolt, for commands and PINs alike: commit, effect, log, outcome.

use cardea_resources::{Bolt, CommandId, EventKind, Op, Outcome, PinUse};

use crate::agent::{Agent, AgentEvent};
use crate::board::{Actuator, Board, Clock, StorageFault};
use crate::ledger::By;

impl<B: Board> Agent<B> {
    /// Three writes, the first before the bolt moves. A fault: that first write failed, and nothing moved.
    pub(crate) fn carry_out(&mut self, by: By, id: CommandId, op: Op) -> Result<Outcome, StorageFault> {
        self.ledger.begin(by, id, op);
        if let Err(fault) = self.ledger.save(&mut self.parts.storage) {
            self.ledger.take_back(by, id);
            return Err(fault);
        }
        let arrived = matches!(
            (op, self.parts.actuator.drive(op)),
            (Op::Lock, Ok(Bolt::Locked)) | (Op::Unlock, Ok(Bolt::Unlocked))
        );
        let outcome = if arrived { Outcome::Done } else { Outcome::Failed };
        let now = self.parts.clock.millis(); // the motor took its time
        self.log_command(now, by, id, op, outcome);
        self.ledger.finish(by, id, outcome);
        if self.ledger.save(&mut self.parts.storage).is_err() {
            self.tell(AgentEvent::StorageFailed);
        }
        if by != By::PIN {
            self.tell(AgentEvent::Command { id, op, outcome });
        }
        self.check_battery(now); // a motor's load shows how weak it is
        Ok(outcome)
    }

    /// Records what became of a command and announces the entry: at once where nobody but the log says so, after a
    /// while where the platform may fetch it first.
    pub(crate) fn log_command(&mut self, now: u64, by: By, id: CommandId, op: Op, outcome: Outcome) {
        let done = outcome == Outcome::Done;
        let (kind, value, pause) = if by == By::PIN {
            let [what, ..] = id;
            let used = PinUse::from_u32(what.into()).map(|used| PinUse { failed: !done, ..used });
            (EventKind::Pin, used.map_or(0, PinUse::to_u32), 0)
        } else if by == By::PEER {
            let kind = match (op, done) {
                (Op::Unlock, true) => EventKind::GrantUnlock,
                (Op::Lock, true) => EventKind::GrantLock,
                (_, false) => EventKind::GrantFailed,
            };
            (kind, u32::from_be_bytes(id), 0)
        } else if done {
            (EventKind::Command, op as u32, self.config.log_delay_ms)
        } else {
            (EventKind::Bolt, u32::from(self.parts.actuator.bolt().code()), self.config.log_delay_ms)
        };
        let at = self.time.stamp(now);
        // A grant's tag is the value, and says nothing of this use of it.
        let command = (by != By::PEER).then_some(id);
        match self.log.append(&mut self.parts.storage, kind, at, Some(value), command) {
            Ok(log) => self.events.push(kind, Some(value), log, at, now.saturating_add(pause.into())),
            Err(StorageFault) => self.tell(AgentEvent::StorageFailed),
        }
    }
}
