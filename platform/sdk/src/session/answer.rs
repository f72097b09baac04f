//! What a lock answered, what follows from it, and what its gateway says meanwhile.

use cardea_envelope::{DownlinkResult, ResultState};
use cardea_framing::LockId;
use cardea_oscore::coap::Code;
use cardea_resources::{Battery, ClockState, CommandReply, LogPage, PinList, SiteState, Status};

use super::{Core, Now, pins, site};
use crate::{Ask, Error, KeyStore, Outcome, PlatformEvent, State};

/// After a gateway refused or failed, before the next try.
const PAUSE_MS: u64 = 1_000;
/// How long the time is worth telling to a lock that does not answer.
const TIME_LIFE_MS: u64 = 60_000;

impl<K: KeyStore, S: State> Core<K, S> {
    /// The lock answered a request of this command.
    #[allow(clippy::too_many_arguments)] // what an answer consists of
    pub(super) fn handle_answer(
        &mut self,
        now: Now,
        id: LockId,
        command: [u8; 4],
        request: (i64, u64),
        code: Code,
        echo: Option<Vec<u8>>,
        payload: &[u8],
    ) -> Result<(), Error> {
        let life = self.config.challenge_ms.saturating_sub(self.config.challenge_margin_ms);
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        // Whoever answers has just spoken, and hears.
        lock.awake_until = lock.awake_until.max(now.mono.saturating_add(self.config.retry_ms));
        let Some(place) = lock.commands.iter().position(|c| c.row.id == command) else { return Ok(()) };
        let Some(pending) = lock.commands.get_mut(place) else { return Ok(()) };
        // One answer for each request: a second one is a repeat.
        pending.row.sent.retain(|sent| *sent != request);
        let (ask, asked) = (pending.ask, pending.asked.unwrap_or(now.mono));
        let ms = now.mono.saturating_sub(asked);
        if let (Code::UNAUTHORIZED, Some(echo), false) = (code, echo, pending.echoed) {
            pending.echo = Some((echo, now.mono.saturating_add(life)));
            pending.echoed = true;
            pending.in_flight = false;
            pending.next = now.mono;
            return self.advance(now, id);
        }
        // A request that went out before the Echo was known says nothing about the one that carries it.
        if code == Code::UNAUTHORIZED && pending.echoed && !pending.row.sent.is_empty() {
            return Ok(());
        }
        let (pin, setting) = (pending.pin, pending.setting);
        if let Some(pin) = pin {
            self.pin_answered(now, id, pin, code)?;
        }
        if let Some(setting) = setting {
            self.site_answered(now, id, setting, code, payload)?;
        }
        let mut fetch = false;
        let rejected = Outcome::Rejected { code: code.to_string() };
        let outcome = match ask {
            _ if !code.is_success() => rejected,
            Ask::Lock | Ask::Unlock => match CommandReply::decode(payload) {
                Ok(reply) if reply.id == command => Outcome::of_command(&reply, ms),
                _ => rejected,
            },
            Ask::Status => match Status::decode(payload) {
                Ok(status) => {
                    let clock_trusted = status.clock == ClockState::Trusted;
                    if !clock_trusted {
                        self.send_time(now, id)?;
                    }
                    self.note_epoch(now, id, status.revocations)?;
                    Outcome::Status {
                        bolt: status.bolt,
                        battery: status.battery,
                        clock_trusted,
                        firmware: status.firmware.to_string(),
                        revocations: status.revocations,
                        ms,
                    }
                }
                Err(_) => rejected,
            },
            Ask::Pins => match PinList::decode(payload) {
                Ok(list) => {
                    self.take_pin_list(now, id, &list)?;
                    pins::listed(&list, ms)
                }
                Err(_) => rejected,
            },
            Ask::PinChange => Outcome::PinChanged { ms },
            Ask::Site | Ask::SiteChange => match SiteState::decode(payload) {
                Ok(state) => {
                    if ask == Ask::Site {
                        self.note_site(now, id, state)?;
                    }
                    site::told(&state, ms)
                }
                Err(_) => rejected,
            },
            Ask::Time => Outcome::TimeSet { ms },
            Ask::Battery => match Battery::decode(payload) {
                Ok(battery) => {
                    Outcome::Battery { percent: battery.percent, millivolts: battery.millivolts, ms }
                }
                Err(_) => rejected,
            },
            Ask::Log => match LogPage::decode(payload) {
                Ok(page) => {
                    let (entries, more) = self.store_page(now, id, &page)?;
                    fetch = more;
                    Outcome::Log { entries, ms }
                }
                Err(_) => rejected,
            },
        };
        // Its place may be another one by now.
        if let Some(place) =
            self.locks.get(&id).and_then(|l| l.commands.iter().position(|c| c.id() == command))
        {
            self.end(id, place, outcome)?;
        }
        if fetch {
            // Page by page: each request's cursor makes room for the next.
            if let Some(lock) = self.locks.get_mut(&id) {
                lock.next_fetch = 0;
            }
            self.fetch_log(now, id)?;
        }
        self.advance(now, id)
    }

    /// Tells the lock the time: it said that its clock is not to be trusted.
    fn send_time(&mut self, now: Now, id: LockId) -> Result<(), Error> {
        let Some(lock) = self.locks.get(&id) else { return Ok(()) };
        if !lock.obeyed() || lock.commands.iter().any(|c| c.ask == Ask::Time) {
            return Ok(());
        }
        match self.start_command(now, id, Ask::Time, TIME_LIFE_MS) {
            Ok(_) | Err(Error::TooMany(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What a gateway says about a downlink. It only hurries or delays a repeat; it decides nothing.
    pub(super) fn handle_result(
        &mut self,
        now: Now,
        id: LockId,
        result: &DownlinkResult,
    ) -> Result<(), Error> {
        if self.list_result(now, id, result)? {
            return Ok(());
        }
        let Some(lock) = self.locks.get_mut(&id) else { return Ok(()) };
        let Some(command) = lock.commands.iter_mut().find(|c| c.downlinks.contains(&result.id)) else {
            return Ok(());
        };
        let newest = command.downlinks.last() == Some(&result.id);
        let word = match result.state {
            ResultState::Queued => "queued",
            ResultState::Sent => "sent",
            ResultState::Delivered => "delivered",
            ResultState::Expired => "expired",
            ResultState::Refused => "refused",
            ResultState::Failed => "failed",
        };
        let state = match &result.reason {
            // The gateway's own word, but not its length.
            Some(reason) => format!("{word}: {}", reason.chars().take(80).collect::<String>()),
            None => word.into(),
        };
        command.word = Some(state.clone());
        if newest && matches!(result.state, ResultState::Expired | ResultState::Refused | ResultState::Failed)
        {
            command.in_flight = false;
            command.next = now.mono.saturating_add(PAUSE_MS);
        }
        let command = hex::encode(command.row.id);
        self.event(PlatformEvent::Progress { lock: id, command, state });
        self.advance(now, id)
    }
}
