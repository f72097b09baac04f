//! Commands: from the question to the lock's own answer, or to an honest "not".

use cardea_envelope::MessageId;
use cardea_framing::{Class, Kind, LockId};
use cardea_oscore::coap::Code;
use cardea_resources::{Command, LogRequest, Op, Path, SiteSetting, Time};
use zeroize::Zeroizing;

use super::{Core, Now};
use crate::{Ask, CommandRow, Error, KeyStore, Outcome, PlatformEvent, State};

/// A lock refuses an unlock whose `not_after` lies more than 120 s ahead; clocks may disagree by a few.
const HORIZON_MS: u64 = 110_000;
/// Requests of one command at most.
const MAX_SENT: u32 = 8;
/// How many commands a lock remembers (`cardea_agent::COMMAND_CACHE`).
const LOCK_REMEMBERS: u32 = 8;
/// Commands of one lock at once.
const MAX_COMMANDS: usize = 64;
/// A challenge of this age leaves the lock's clock within the 5 s that it may trust: half of the age and one second.
const CLOCK_CHALLENGE_MS: u64 = 8_000;

/// What goes inside OSCORE.
pub(super) struct Request {
    pub(super) code: Code,
    pub(super) path: Path,
    /// May hold a PIN.
    pub(super) payload: Zeroizing<Vec<u8>>,
    pub(super) echo: Option<Vec<u8>>,
}

/// One open command.
pub(super) struct Pending {
    pub(super) row: CommandRow,
    pub(super) ask: Ask,
    /// Slot and revision of a PIN change.
    pub(super) pin: Option<(u8, u32)>,
    /// What a lock is told of its site.
    pub(super) setting: Option<SiteSetting>,
    /// Monotonic; `None` until the first look after a restart.
    deadline: Option<u64>,
    pub(super) asked: Option<u64>,
    /// Monotonic: not sent again before then.
    pub(super) next: u64,
    /// Set while a request is out and may still be answered in its window.
    pub(super) in_flight: bool,
    /// What makes the next request fresh, and until when (monotonic).
    pub(super) echo: Option<(Vec<u8>, u64)>,
    /// The Echo of a 4.01 was used; a second 4.01 is the answer.
    pub(super) echoed: bool,
    /// How many requests went out that may have had an effect.
    sent: u32,
    /// What [`Lock::bolt_commands`](super::lock::Lock::bolt_commands) said when the first request went out.
    first: Option<u32>,
    /// Downlinks whose results belong to it.
    pub(super) downlinks: Vec<MessageId>,
    /// The gateway's last word.
    pub(super) word: Option<String>,
    /// `held` was told.
    told_held: bool,
}

impl Pending {
    pub(super) fn restore(row: CommandRow) -> Option<Self> {
        let ask = Ask::from_u8(row.ask)?;
        Some(Self {
            sent: u32::try_from(row.sent.len()).unwrap_or(u32::MAX),
            first: None,
            row,
            ask,
            pin: None,
            setting: None,
            deadline: None,
            asked: None,
            next: 0,
            in_flight: false,
            echo: None,
            echoed: false,
            downlinks: Vec::new(),
            word: None,
            told_held: false,
        })
    }

    pub(super) fn id(&self) -> [u8; 4] {
        self.row.id
    }

    pub(super) fn ask(&self) -> Ask {
        self.ask
    }

    pub(super) fn pin(&self) -> Option<(u8, u32)> {
        self.pin
    }

    pub(super) fn set_pin(&mut self, slot: u8, revision: u32) {
        self.pin = Some((slot, revision));
    }

    pub(super) fn open_requests(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        self.row.sent.iter().copied()
    }

    /// When it needs a look, monotonic. `blocked`: another one is in its way.
    pub(super) fn due(&self, blocked: bool) -> u64 {
        let deadline = self.deadline.unwrap_or(0);
        // Held commands have no time of their own: they go with the lock's next frame or end at the deadline.
        // Blocked ones are looked at with whatever blocks them. A past time that nothing can come of would be
        // due for ever.
        let waits = blocked || self.next == u64::MAX || (self.sent >= MAX_SENT && !self.in_flight);
        if waits { deadline } else { self.next.min(deadline) }
    }

    /// Whether this one, being out, keeps `other` waiting: bolt movements go one after the other, everything
    /// else behind whatever is out.
    pub(super) fn blocks(&self, other: &Self) -> bool {
        self.in_flight && (self.ask.moves_bolt() || !other.ask.moves_bolt())
    }
}

impl<K: KeyStore, S: State> Core<K, S> {
    pub(super) fn start_command(
        &mut self,
        now: Now,
        id: LockId,
        ask: Ask,
        life: u64,
    ) -> Result<[u8; 4], Error> {
        let Some(lock) = self.locks.get(&id) else { return Err(Error::UnknownLock(id)) };
        if lock.commands.len() >= MAX_COMMANDS {
            return Err(Error::TooMany(id));
        }
        let mut command = [0; 4];
        self.random.fill(&mut command).map_err(|_| Error::Random)?;
        let row = CommandRow {
            id: command,
            lock: id,
            ask: ask as u8,
            asked: now.unix,
            deadline: now.unix.saturating_add(life),
            sent: Vec::new(),
            outcome: None,
        };
        self.state.put_command(&row)?;
        if let (Some(lock), Some(mut pending)) = (self.locks.get_mut(&id), Pending::restore(row)) {
            pending.deadline = Some(now.mono.saturating_add(life));
            pending.asked = Some(now.mono);
            lock.commands.push(pending);
        }
        Ok(command)
    }

    /// Looks at every command of this lock: ends what is over, sends what can go.
    pub(super) fn advance(&mut self, now: Now, id: LockId) -> Result<(), Error> {
        self.settle_clocks(now, id);
        while let Some(place) = self.expired(now, id) {
            self.end_unanswered(id, place)?;
        }
        self.stop_waiting(now, id);
        while let Some(place) = self.outlived(id) {
            self.end_unanswered(id, place)?;
        }
        // A lock hears that there is a list before it gets the list.
        self.drive_site(now, id)?;
        self.advance_list(now, id)?;
        self.drive_pins(now, id)?;
        // What moves the bolt goes first; everything else waits its turn behind what is out.
        for moves in [true, false] {
            let count = self.locks.get(&id).map_or(0, |lock| lock.commands.len());
            for place in 0..count {
                if self.may_go(now, id, place, moves) {
                    self.try_send(now, id, place)?;
                }
            }
        }
        self.rearm(id);
        Ok(())
    }

    /// What was sent as often as it may be no longer stands in the way once its last answer is overdue.
    fn stop_waiting(&mut self, now: Now, id: LockId) {
        let Some(lock) = self.locks.get_mut(&id) else { return };
        for command in &mut lock.commands {
            if command.sent >= MAX_SENT && command.next <= now.mono {
                command.in_flight = false;
            }
        }
    }

    /// A bolt command that was sent, and since then so many others that the lock may have forgotten its id: a repeat
    /// could move the bolt a second time.
    fn outlived(&self, id: LockId) -> Option<usize> {
        let lock = self.locks.get(&id)?;
        let others = |c: &Pending| lock.bolt_commands.wrapping_sub(c.first.unwrap_or(lock.bolt_commands));
        lock.commands.iter().position(|c| !c.in_flight && others(c) >= LOCK_REMEMBERS - 1)
    }

    /// After a restart deadlines are known by the world's clock only, and what was sent may still be on its way: it
    /// is not repeated before an answer would be overdue.
    fn settle_clocks(&mut self, now: Now, id: LockId) {
        let patience = self.config.retry_ms.max(self.config.downlink_ms);
        let Some(lock) = self.locks.get_mut(&id) else { return };
        for command in lock.commands.iter_mut().filter(|c| c.deadline.is_none()) {
            command.deadline = Some(now.mono.saturating_add(command.row.deadline.saturating_sub(now.unix)));
            if matches!(command.ask, Ask::PinChange | Ask::SiteChange) {
                // Which change it was is not known any more; the wish is, and goes again, a PIN under its revision.
                command.deadline = Some(now.mono);
            }
            command.asked = Some(now.mono.saturating_sub(now.unix.saturating_sub(command.row.asked)));
            if command.sent > 0 {
                command.in_flight = true;
                command.next = now.mono.saturating_add(patience);
            }
        }
    }

    fn expired(&self, now: Now, id: LockId) -> Option<usize> {
        self.locks.get(&id)?.commands.iter().position(|c| c.deadline.is_some_and(|at| at <= now.mono))
    }

    pub(super) fn end_unanswered(&mut self, id: LockId, place: usize) -> Result<(), Error> {
        let Some(lock) = self.locks.get(&id) else { return Ok(()) };
        let Some(command) = lock.commands.get(place) else { return Ok(()) };
        let outcome = if command.sent == 0 {
            let waiting = if lock.sending().is_none() {
                "there are no session keys with it yet"
            } else {
                match self.route.best(id) {
                    None => "no gateway that is online reaches it",
                    Some((_, link)) if link.sleepy => "it sleeps, and nobody touched it in time",
                    Some(_) => "another command was in the way",
                }
            };
            Outcome::NotSent { waiting: waiting.into() }
        } else {
            Outcome::Unanswered { sent: command.sent, gateway: command.word.clone() }
        };
        self.end(id, place, outcome)
    }

    pub(super) fn end(&mut self, id: LockId, place: usize, outcome: Outcome) -> Result<(), Error> {
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        if place >= lock.commands.len() {
            return Ok(());
        }
        let mut command = lock.commands.remove(place);
        if !outcome.is_success() {
            lock.pins.ended(command.ask);
            lock.told.ended(command.ask);
        }
        command.row.outcome = Some(serde_json::to_string(&outcome).unwrap_or_default());
        self.state.put_command(&command.row)?;
        self.event(PlatformEvent::Ended {
            lock: id,
            command: hex::encode(command.row.id),
            ask: command.ask,
            outcome,
        });
        Ok(())
    }

    /// Whether the lock, or a gateway for it, listens now.
    pub(super) fn hears(&self, now: Now, id: LockId) -> bool {
        self.locks.get(&id).is_some_and(|lock| lock.awake_until > now.mono)
            || self.route.best(id).is_some_and(|(_, link)| !link.sleepy)
    }

    fn may_go(&self, now: Now, id: LockId, place: usize, moves: bool) -> bool {
        let Some(lock) = self.locks.get(&id) else { return false };
        let Some(command) = lock.commands.get(place) else { return false };
        let in_the_way =
            lock.commands.iter().enumerate().any(|(other, c)| other != place && c.blocks(command));
        let wakes = command.next == u64::MAX && self.hears(now, id);
        command.ask.moves_bolt() == moves
            && (lock.obeyed() || !command.ask.changes())
            && !in_the_way
            && (command.next <= now.mono || wakes)
            && command.sent < MAX_SENT
    }

    fn try_send(&mut self, now: Now, id: LockId, place: usize) -> Result<(), Error> {
        let (sleepy, gateway) = match self.route.best(id) {
            Some((gateway, link)) => (link.sleepy, Some(gateway.to_owned())),
            None => (false, None),
        };
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        let awake = lock.awake_until > now.mono;
        let keys = lock.sending().is_some();
        let Some(command) = lock.commands.get_mut(place) else { return Ok(()) };
        let Some(gateway) = gateway.filter(|_| keys && (!sleepy || awake)) else {
            // The next frame of the lock, or its gateway's return, will look here again.
            command.next = u64::MAX;
            command.in_flight = false;
            if !command.told_held {
                command.told_held = true;
                let state = "held until the lock can hear it".into();
                let command = hex::encode(command.row.id);
                self.event(PlatformEvent::Progress { lock: id, command, state });
            }
            return Ok(());
        };
        let sealed = match self.compose(now, id, place).and_then(|request| self.seal_request(id, &request)) {
            Err(Error::Crypto(why)) => {
                tracing::warn!(lock = %id, why, "a command cannot be sealed");
                None
            }
            other => other?,
        };
        let Some((body, row, piv)) = sealed else {
            // No numbers left, or nothing that fits: new keys may help, time does not.
            if let Some(command) = self.locks.get_mut(&id).and_then(|l| l.commands.get_mut(place)) {
                command.next = u64::MAX;
                command.in_flight = false;
            }
            return Ok(());
        };
        let life = self.downlink_life(id);
        // While the gateway may still deliver it, a repeat only costs air; its word that it gave up comes earlier.
        let retry = if sleepy { life } else { self.config.retry_ms.max(life) };
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        let Some(command) = lock.commands.get_mut(place) else { return Ok(()) };
        let not_after = now.unix.saturating_add(life).min(command.row.deadline);
        if command.ask.moves_bolt() && command.first.is_none() {
            lock.bolt_commands = lock.bolt_commands.wrapping_add(1);
            command.first = Some(lock.bolt_commands);
        }
        command.row.sent.push((row, piv));
        command.sent = command.sent.saturating_add(1);
        command.in_flight = true;
        command.next = now.mono.saturating_add(retry);
        command.told_held = false;
        let (text, repeat) = (hex::encode(command.row.id), command.sent > 1);
        let stored = command.row.clone();
        // Stored with the request: after a restart its answer still finds its question.
        self.state.put_command(&stored)?;
        let downlink =
            self.send_down(&gateway, id, Kind::PlatformOscore, Class::Interactive, &body, not_after)?;
        if let Some(command) = self.locks.get_mut(&id).and_then(|l| l.commands.get_mut(place)) {
            command.downlinks.push(downlink);
        }
        let state = if repeat { "sent again, same command id" } else { "sent" };
        self.event(PlatformEvent::Progress { lock: id, command: text, state: state.into() });
        Ok(())
    }

    /// The next request of a command.
    fn compose(&mut self, now: Now, id: LockId, place: usize) -> Result<Request, Error> {
        let too_big = |_| Error::Crypto("a command does not fit");
        let life = self.config.challenge_ms.saturating_sub(self.config.challenge_margin_ms);
        let Some(lock) = self.locks.get_mut(&id) else { return Err(Error::UnknownLock(id)) };
        let sending = lock.sending().and_then(|p| lock.contexts.get(p)).map(|s| s.record.id);
        let cursor = lock.told_cursor();
        let Some(command) = lock.commands.get_mut(place) else { return Err(Error::UnknownLock(id)) };
        let mut echo =
            command.echo.as_ref().filter(|(_, until)| *until > now.mono).map(|(value, _)| value.clone());
        // The time is as uncertain at the lock as its challenge is old; the Echo of a 4.01 is always young.
        let least = if command.ask == Ask::Time { life.saturating_sub(CLOCK_CHALLENGE_MS) } else { 0 };
        if echo.is_none()
            && command.ask.changes()
            && let Some(challenge) = lock
                .challenge
                .take_if(|c| c.until > now.mono.saturating_add(least) && Some(c.context) == sending)
        {
            // Taken: it is single-use, and a retry of this command brings it again.
            command.echo = Some((challenge.value.to_vec(), challenge.until));
            echo = Some(challenge.value.to_vec());
        }
        let (pin, setting) = (command.pin, command.setting);
        let mut payload = Zeroizing::new(vec![0; 32]);
        let (code, path, length) = match command.ask {
            Ask::Lock | Ask::Unlock => {
                let op = if command.ask == Ask::Lock { Op::Lock } else { Op::Unlock };
                let latest = command.row.deadline.min(now.unix.saturating_add(HORIZON_MS)) / 1000;
                let not_after = if echo.is_some() { None } else { u32::try_from(latest).ok() };
                let length =
                    Command { id: command.row.id, op, not_after }.encode(&mut payload).map_err(too_big)?;
                (Code::POST, Path::Bolt, length)
            }
            Ask::Status => (Code::GET, Path::Status, 0),
            Ask::Battery => (Code::GET, Path::Battery, 0),
            Ask::Log => {
                let length = LogRequest { cursor, limit: None }.encode(&mut payload).map_err(too_big)?;
                (Code::POST, Path::Log, length)
            }
            Ask::Pins => (Code::GET, Path::Pins, 0),
            Ask::PinChange => {
                let pin = pin.ok_or(Error::Crypto("a PIN change without a PIN slot"))?;
                payload = self.compose_pin(id, pin)?;
                (Code::POST, Path::Pins, payload.len())
            }
            Ask::Site => (Code::GET, Path::Site, 0),
            Ask::SiteChange => {
                let setting = setting.ok_or(Error::Crypto("a site setting without a setting"))?;
                (Code::POST, Path::Site, setting.encode(&mut payload).map_err(too_big)?)
            }
            Ask::Time => {
                let unix = u32::try_from(now.unix / 1000).unwrap_or(u32::MAX);
                (Code::POST, Path::Time, Time { unix }.encode(&mut payload).map_err(too_big)?)
            }
        };
        payload.truncate(length);
        Ok(Request { code, path, payload, echo })
    }

    /// How long a downlink to this lock may wait at its gateway.
    pub(super) fn downlink_life(&self, id: LockId) -> u64 {
        match self.route.best(id) {
            Some((_, link)) if link.sleepy => self.config.sleepy_downlink_ms.max(link.life_ms),
            Some((_, link)) => self.config.downlink_ms.max(link.life_ms),
            None => self.config.sleepy_downlink_ms,
        }
    }
}
