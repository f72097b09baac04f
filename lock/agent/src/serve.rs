//! What is asked, whoever asks: every resource of the lock behind the one table of `access`.

use cardea_oscore::coap::{Code, Message};
#[cfg(feature = "pins")]
use cardea_resources::PinChange;
#[cfg(feature = "peers")]
use cardea_resources::SiteSetting;
use cardea_resources::{
    Battery, ClockState, Command, CommandId, CommandReply, EventKind, LogEntry, LogPageWriter, LogRequest,
    Op, Outcome, Path, PinUse, Refusal, Status, Time,
};

use crate::access::{Role, permits, permits_op};
use crate::agent::{Agent, AgentEvent};
use crate::board::{Actuator, Board, LOG_SLOTS, StorageFault};
use crate::ledger::{By, Entry};

/// An unlock whose `not_after` lies further ahead than this many seconds is refused.
pub const UNLOCK_HORIZON_S: u32 = 120;
/// Most bytes of a reply's payload; without PINs and a site nothing is longer than a page of the log.
pub(crate) const PAYLOAD_MAX: usize =
    if cfg!(any(feature = "peers", feature = "pins")) { 224 } else { PAGE_MAX };
/// Most bytes of a log page: what one frame of a fast radio carries, and a few fragments of a slow one.
const PAGE_MAX: usize = 180;
/// Frame bytes around the payload of a reply, for sizing a log page.
const PAGE_OVERHEAD: usize = 16;

/// Who asks, as the session proved it.
#[derive(Clone, Copy)]
pub(crate) struct Asker {
    pub(crate) role: Role,
    /// See [`scope`](crate::scope).
    pub(crate) scope: u16,
    /// Whose command ids these are.
    pub(crate) by: By,
    /// The session of a peer.
    pub(crate) peer: Option<usize>,
}

impl Asker {
    pub(crate) const PLATFORM: Self = Self { role: Role::Platform, scope: 0, by: By::PLATFORM, peer: None };
}

/// A challenge or Echo that was spent.
#[derive(Clone, Copy)]
pub(crate) struct Fresh {
    /// In milliseconds.
    pub(crate) age: u64,
    /// It was the Echo of a 4.01, made for this very request.
    pub(crate) echo: bool,
}

/// Spends the challenge or Echo that the request carries; `None` if there is no valid one.
pub(crate) type Spend<'s, B> = &'s mut dyn FnMut(&mut Agent<B>) -> Option<Fresh>;

/// What a handler decided.
pub(crate) struct Answer {
    pub(crate) code: Code,
    payload: [u8; PAYLOAD_MAX],
    len: usize,
}

impl Answer {
    pub(crate) fn empty(code: Code) -> Self {
        Self { code, payload: [0; PAYLOAD_MAX], len: 0 }
    }

    pub(crate) fn with<E>(code: Code, encode: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Self {
        let mut answer = Self::empty(code);
        match encode(&mut answer.payload) {
            Ok(len) => answer.len = len,
            Err(_) => answer.code = Code::INTERNAL_SERVER_ERROR,
        }
        answer
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.payload.get(..self.len).unwrap_or_default()
    }
}

/// Whether a command may be carried out now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    CarryOut,
    Refuse(Refusal),
    AskEcho,
}

impl<B: Board> Agent<B> {
    /// Answers an authentic, new request, `overtaken` by a later one or not. `None`: it needs freshness and has none; ask
    /// for an Echo.
    #[inline(never)] // what it needs is off the stack again when the answer is sealed
    pub(crate) fn serve(
        &mut self,
        now: u64,
        asker: Asker,
        request: &Message<'_>,
        overtaken: bool,
        spend: Spend<'_, B>,
    ) -> Option<Answer> {
        let mut path = request.path();
        let path = match (path.next(), path.next()) {
            (Some(segment), None) => Path::from_segment(segment),
            _ => None,
        };
        let Some(path) = path.filter(|&path| path != Path::Events) else {
            return Some(Answer::empty(Code::NOT_FOUND));
        };
        if !permits(asker.role, asker.scope, path, request.code()) {
            // Whoever may do everything learns that nobody can do that; others learn nothing.
            let code = if asker.role == Role::Platform { Code::METHOD_NOT_ALLOWED } else { Code::FORBIDDEN };
            return Some(Answer::empty(code));
        }
        let bad = Some(Answer::empty(Code::BAD_REQUEST));
        match (path, request.code()) {
            (Path::Status, _) => Some(self.status(now)),
            (Path::Battery, _) => Some(self.battery()),
            (Path::Log, Code::GET) => Some(self.log_page(asker.role, &LogRequest::default())),
            (Path::Log, _) => Some(self.log_request(request.payload())),
            (Path::Bolt, _) => match Command::decode(request.payload()) {
                Ok(command) if !permits_op(asker.role, asker.scope, command.op) => {
                    Some(Answer::empty(Code::FORBIDDEN))
                }
                Ok(command) => {
                    let fresh = spend(self);
                    self.command(now, asker, &command, overtaken, fresh)
                }
                Err(_) => bad,
            },
            (Path::Time, _) => match Time::decode(request.payload()) {
                Ok(time) => spend(self).map(|fresh| self.set_time(now, time, fresh.age)),
                Err(_) => bad,
            },
            #[cfg(feature = "pins")]
            (Path::Pins, Code::GET) => Some(self.pin_list()),
            #[cfg(feature = "pins")]
            (Path::Pins, _) => match PinChange::decode(request.payload()) {
                Ok(change) => spend(self).map(|_| self.change_pin(&change)),
                Err(_) => bad,
            },
            #[cfg(not(feature = "pins"))]
            (Path::Pins, _) => Some(Answer::empty(Code::NOT_FOUND)),
            #[cfg(feature = "peers")]
            (Path::Site, Code::GET) => Some(self.site_state()),
            #[cfg(feature = "peers")]
            (Path::Site, _) => match SiteSetting::decode(request.payload()) {
                Ok(setting) => spend(self).map(|_| self.set_site(&setting)),
                Err(_) => bad,
            },
            #[cfg(not(feature = "peers"))]
            (Path::Site, _) => Some(Answer::empty(Code::NOT_FOUND)),
            (Path::Events, _) => Some(Answer::empty(Code::NOT_FOUND)),
        }
    }

    #[inline(never)]
    fn status(&mut self, now: u64) -> Answer {
        let clock =
            if self.time.trusted(now).is_some() { ClockState::Trusted } else { ClockState::Untrusted };
        let actuator = &mut self.parts.actuator;
        let status = Status {
            bolt: actuator.bolt(),
            battery: actuator.battery().min(100),
            clock,
            firmware: self.config.firmware,
            revocations: self.site.epoch(),
        };
        Answer::with(Code::CONTENT, |out| status.encode(out))
    }

    #[inline(never)]
    fn battery(&mut self) -> Answer {
        let battery = Battery { percent: self.parts.actuator.battery().min(100), millivolts: None };
        Answer::with(Code::CONTENT, |out| battery.encode(out))
    }

    #[inline(never)]
    fn log_request(&mut self, payload: &[u8]) -> Answer {
        let request = match payload {
            [] => LogRequest::default(),
            payload => match LogRequest::decode(payload) {
                Ok(request) => request,
                Err(_) => return Answer::empty(Code::BAD_REQUEST),
            },
        };
        if let Some(cursor) = request.cursor {
            let erased = self
                .ledger
                .save(&mut self.parts.storage)
                .and_then(|()| self.log.erase_below(&mut self.parts.storage, cursor));
            if erased.is_err() {
                return self.storage_failed();
            }
            self.events.logged_below(cursor);
        }
        let mut answer = self.log_page(Role::Platform, &request);
        if answer.code == Code::CONTENT {
            answer.code = Code::CHANGED;
        }
        answer
    }

    /// The oldest entries, as many as fit one frame where frames are long enough for one. Duress is for the platform alone:
    /// whoever forces somebody may hold a grant that reads the log.
    fn log_page(&mut self, reader: Role, request: &LogRequest) -> Answer {
        let room = self.mtu.saturating_sub(PAGE_OVERHEAD).clamp(2 * LogEntry::MAX_LEN, PAGE_MAX);
        let limit = request.limit.map_or(usize::MAX, usize::from);
        let (start, end) = (self.log.start(), self.log.end());
        let last = end.min(start.saturating_add(u32::from(LOG_SLOTS)));
        let mut answer = Answer::empty(Code::CONTENT);
        let (storage, log) = (&mut self.parts.storage, &self.log);
        let written = (|| {
            let out = answer.payload.get_mut(..room).ok_or(StorageFault)?;
            let mut page = LogPageWriter::new(out, end).map_err(|_| StorageFault)?;
            let mut count = 0;
            for index in start..last {
                if count == limit {
                    break;
                }
                let Some(mut entry) = log.entry(storage, index)? else { continue };
                if reader != Role::Platform && entry.kind == EventKind::Pin {
                    entry.value = entry.value.map(|value| value & !PinUse::DURESS);
                }
                if !page.push(&entry).map_err(|_| StorageFault)? {
                    break;
                }
                count += 1;
            }
            Ok::<_, StorageFault>(page.finish())
        })();
        match written {
            Ok(len) => {
                answer.len = len;
                answer
            }
            Err(StorageFault) => self.storage_failed(),
        }
    }

    /// Only a request that brought a challenge back says when its time was spoken.
    #[inline(never)]
    fn set_time(&mut self, now: u64, time: Time, age: u64) -> Answer {
        if self.ledger.save(&mut self.parts.storage).is_err() {
            return self.storage_failed();
        }
        self.learn_time(now, time.unix, age);
        Answer::empty(Code::CHANGED)
    }

    /// `None` asks for an Echo.
    #[inline(never)]
    fn command(
        &mut self,
        now: u64,
        asker: Asker,
        command: &Command,
        overtaken: bool,
        fresh: Option<Fresh>,
    ) -> Option<Answer> {
        if let Some(known) = self.known_command(asker, command.id) {
            // A retry: answered as it was, without a second effect, and needing no freshness for that.
            return Some(match known.outcome {
                _ if known.op != command.op => Answer::empty(Code::BAD_REQUEST),
                Some(outcome) => self.command_reply(command, outcome),
                None => self.command_reply(command, Outcome::Failed),
            });
        }
        // The cache may have forgotten what a repeat that was held back repeats; its sender has not.
        if overtaken && !fresh.is_some_and(|fresh| fresh.echo) {
            return None;
        }
        match self.judge(now, command, fresh.is_some()) {
            Verdict::AskEcho => None,
            Verdict::Refuse(refusal) => Some(self.command_reply(command, Outcome::Refused(refusal))),
            Verdict::CarryOut => {
                let outcome = match asker.peer {
                    None => self.carry_out(asker.by, command.id, command.op).map(Some),
                    Some(peer) => self.carry_out_for(now, peer, command),
                };
                Some(match outcome {
                    Ok(Some(outcome)) => self.command_reply(command, outcome),
                    Ok(None) => Answer::empty(Code::FORBIDDEN),
                    Err(StorageFault) => self.storage_failed(),
                })
            }
        }
    }

    fn known_command(&self, asker: Asker, id: CommandId) -> Option<Entry> {
        match asker.peer {
            None => self.ledger.command(asker.by, id),
            Some(peer) => self.peers.command(peer, id),
        }
    }

    fn judge(&mut self, now: u64, command: &Command, challenged: bool) -> Verdict {
        let present = self.time.trusted(now);
        let limits = command.not_after.zip(present).map(|(not_after, present)| {
            let not_after = u64::from(not_after) * 1000;
            let earliest = present.unix_ms.saturating_sub(present.uncertainty_ms);
            let latest = present.unix_ms.saturating_add(present.uncertainty_ms);
            let horizon = earliest.saturating_add(u64::from(UNLOCK_HORIZON_S) * 1000);
            (not_after, earliest, latest, horizon)
        });
        match limits {
            Some((not_after, .., horizon)) if command.op == Op::Unlock && not_after > horizon => {
                Verdict::Refuse(Refusal::TooFarAhead)
            }
            _ if challenged => Verdict::CarryOut,
            Some((not_after, _, latest, _)) if latest <= not_after => Verdict::CarryOut,
            Some((not_after, earliest, ..)) if earliest > not_after => Verdict::Refuse(Refusal::Expired),
            // No `not_after`, no trusted time, or too close to tell.
            _ => Verdict::AskEcho,
        }
    }

    fn command_reply(&mut self, command: &Command, outcome: Outcome) -> Answer {
        let reply = CommandReply { id: command.id, outcome, bolt: self.parts.actuator.bolt() };
        Answer::with(Code::CHANGED, |out| reply.encode(out))
    }

    pub(crate) fn storage_failed(&mut self) -> Answer {
        self.tell(AgentEvent::StorageFailed);
        Answer::empty(Code::INTERNAL_SERVER_ERROR)
    }
}
