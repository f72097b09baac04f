//! Downlinks: which window they take, what goes along with them, and what the packet forwarder makes of them.
//!
//! The forwarder says at once whether it will transmit, or says nothing: of a datagram that it cannot read it never
//! speaks again. So a refusal and half a second of silence are the same, and both lead from RX1 to RX2 with the very
//! same bytes; should both copies be on the air after all, the device takes the second for the repeat that it is.

use cardea_framing::LockId;
use cardea_radio::{Failure, LorawanClass, Millis, Outcome, Refusal};

use super::Network;
use super::device::Device;
use super::shared::Shared;
use super::uplink::FRAME_PORT;
use crate::airtime::time_on_air;
use crate::frame::Downlink;
use crate::semtech::{Packet, Transmit};
use crate::session::Session;

/// Silence of the forwarder for longer is a refusal.
const TX_ACK_TIMEOUT: Millis = 500;
/// An immediate downlink is on the air about this long after it left here (lora_pkt_fwd schedules it 80 ms ahead).
const ASAP: Millis = 100;
/// Class C: pause before a refused immediate downlink is tried again, and how often it is tried in all.
const AGAIN_AFTER: Millis = 250;
const MAX_ATTEMPTS: u8 = 3;
/// Space between an immediate downlink and the RX1 that follows it, and after RX2 has opened.
const GUARD: Millis = 50;
const RX2_OPEN: Millis = 200;
/// MHDR, FHDR without FOpts, FPort, MIC.
const OVERHEAD: usize = 13;
/// FOpts may have this many bytes.
const MAX_F_OPTS: usize = 15;
/// Far more than a forwarder's queue of 32 could ever hold within the time-out.
const MAX_FLIGHTS: usize = 1024;

/// One opportunity to transmit.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    /// On our clock.
    pub(super) at: Millis,
    /// On the concentrator's; `None` is as soon as possible.
    pub(super) tmst: Option<u32>,
    pub(super) frequency: u32,
    pub(super) dr: u8,
}

/// A downlink that the forwarder has and has not answered.
pub(super) struct Flight {
    lock: LockId,
    cargo: Cargo,
    phy: Vec<u8>,
    slot: Slot,
    fallback: Option<Slot>,
    airtime: u64,
    /// When silence becomes a refusal, or a parked one is tried again.
    pub(super) until: Millis,
    attempts: u8,
    parked: bool,
}

#[derive(Clone, Copy)]
enum Cargo {
    JoinAccept,
    /// A frame of the gateway: its handle and deadline.
    Frame(u64, Millis),
    /// An acknowledgement or MAC commands only.
    Answer,
}

impl Flight {
    pub(super) fn join(lock: LockId, phy: Vec<u8>, slot: Slot) -> Self {
        Self::new(lock, Cargo::JoinAccept, phy, slot)
    }

    fn new(lock: LockId, cargo: Cargo, phy: Vec<u8>, slot: Slot) -> Self {
        Self { lock, cargo, phy, slot, fallback: None, airtime: 0, until: 0, attempts: 0, parked: false }
    }

    /// The moment after which it must not go out any more.
    fn deadline(&self) -> Millis {
        match self.cargo {
            Cargo::Frame(_, deadline) => deadline,
            Cargo::JoinAccept | Cargo::Answer => Millis::MAX,
        }
    }
}

/// Why a slot cannot be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hindrance {
    /// Its time has passed, or lies behind the frame's deadline.
    Late,
    TooBig,
    Airtime,
    NoRadio,
}

impl Shared {
    /// Airtime in microseconds of a PHYPayload of this length in this slot, if it may be sent there.
    fn check(&mut self, now: Millis, slot: Slot, len: usize, deadline: Millis) -> Result<u64, Hindrance> {
        if self.pull_address.is_none() || self.flights.len() >= MAX_FLIGHTS {
            return Err(Hindrance::NoRadio);
        }
        let lead = if slot.tmst.is_some() { self.lead() } else { 0 };
        if now + lead > slot.at || slot.at > deadline {
            return Err(Hindrance::Late);
        }
        let modulation = self.plan.modulation(slot.dr).ok_or(Hindrance::TooBig)?;
        if len > self.plan.max_payload(slot.dr) + OVERHEAD {
            return Err(Hindrance::TooBig);
        }
        let airtime = time_on_air(modulation, len);
        if self.plan.dwell_limit(modulation).is_some_and(|limit| airtime > limit) {
            return Err(Hindrance::Airtime);
        }
        match self.duty.allowed_at(slot.at, slot.frequency, airtime) {
            Some(at) if at <= slot.at => Ok(airtime),
            _ => Err(Hindrance::Airtime),
        }
    }

    /// Hands a downlink to the forwarder for the first of these slots that it may use; the next is the fallback.
    pub(super) fn launch_first(
        &mut self,
        now: Millis,
        mut flight: Flight,
        slots: [Option<Slot>; 2],
    ) -> Result<u16, Hindrance> {
        let mut hindrance = Hindrance::Late;
        for (i, slot) in slots.into_iter().enumerate() {
            let Some(slot) = slot else { continue };
            match self.check(now, slot, flight.phy.len(), flight.deadline()) {
                Ok(airtime) => {
                    (flight.slot, flight.airtime) = (slot, airtime);
                    flight.fallback = slots.get(i + 1).copied().flatten();
                    return Ok(self.launch(now, flight));
                }
                Err(reason) => hindrance = reason,
            }
        }
        Err(hindrance)
    }

    fn launch(&mut self, now: Millis, mut flight: Flight) -> u16 {
        let token = self.new_token();
        let Slot { tmst, frequency, dr, at } = flight.slot;
        flight.attempts += 1;
        flight.parked = false;
        flight.until = now + TX_ACK_TIMEOUT;
        if let (Some(modulation), Some(address)) = (self.plan.modulation(dr), self.pull_address) {
            let power = self.plan.eirp(frequency);
            let transmit = Transmit::new(tmst, frequency, power, modulation, flight.phy.clone());
            self.datagrams.push_back((address, Packet::PullResp { token, transmit }.encode()));
            self.duty.charge(at, frequency, flight.airtime);
        }
        self.flights.insert(token, flight);
        token
    }

    fn new_token(&mut self) -> u16 {
        // There are far fewer flights than tokens.
        while self.flights.contains_key(&self.next_token) {
            self.next_token = self.next_token.wrapping_add(1);
        }
        let token = self.next_token;
        self.next_token = token.wrapping_add(1);
        token
    }
}

impl Device {
    /// Sends what can be sent now: a frame of the gateway, or an answer that is owed and can wait no longer.
    pub(super) fn downlink(&mut self, lock: LockId, now: Millis, shared: &mut Shared) {
        if self.active.is_none() {
            return;
        }
        if shared.pull_address.is_none() {
            self.window = None;
            if let Some(send) = self.queued.take() {
                shared.outcome(send.handle, Outcome::Failed(Failure::NoRadio));
            }
            return;
        }
        if let Some((rx1, rx2, owed, owed_at)) =
            self.window.as_ref().map(|w| (w.rx1, w.rx2, w.owed.any, w.owed_at(shared)))
        {
            if now + shared.lead() > rx2.at {
                self.window = None;
                // RX2 itself is about to open.
                self.busy_until = self.busy_until.max(rx2.at + RX2_OPEN);
            } else {
                if self.queued.is_some() && self.send_in_window(lock, now, [rx1, rx2], shared) {
                    return;
                }
                if owed && now >= owed_at {
                    // Nobody waits for the outcome of an answer.
                    let _ = self.send_timed(lock, now, [rx1, rx2], None, shared);
                }
                return;
            }
        }
        if self.identity.class == LorawanClass::C && now >= self.busy_until.max(self.not_before) {
            self.send_now(lock, now, shared);
        }
    }

    /// The waiting frame, while windows are open. True when nothing else is to be done now.
    fn send_in_window(
        &mut self,
        lock: LockId,
        now: Millis,
        [rx1, rx2]: [Slot; 2],
        shared: &mut Shared,
    ) -> bool {
        let Some(len) = self.queued.as_ref().map(|send| send.frame.len()) else { return false };
        let class_c = self.identity.class == LorawanClass::C;
        if class_c && now >= self.busy_until.max(self.not_before) {
            // A class C device listens until RX1 opens: there is no need to wait for it if the frame is over by then.
            let airtime =
                shared.plan.modulation(rx2.dr).map_or(u64::MAX, |m| time_on_air(m, len + OVERHEAD) / 1000);
            if (now + ASAP + GUARD).saturating_add(airtime) < rx1.at {
                self.send_now(lock, now, shared);
                return true;
            }
        }
        match self.send_timed(lock, now, [rx1, rx2], Some(len), shared) {
            Ok(()) => true,
            // A class C device gets it right after its windows.
            Err(_) if class_c => false,
            Err(Hindrance::Airtime) => {
                self.refuse(Refusal::Airtime, shared);
                false
            }
            Err(Hindrance::TooBig)
                if len > shared.plan.max_payload(rx1.dr).max(shared.plan.max_payload(rx2.dr)) =>
            {
                self.refuse(Refusal::TooBig, shared);
                false
            }
            // The next window will do, if it opens before the deadline.
            Err(_) => false,
        }
    }

    /// One downlink in RX1 or RX2: with the waiting frame if `frame_len` is given, and with what is owed.
    fn send_timed(
        &mut self,
        lock: LockId,
        now: Millis,
        slots: [Slot; 2],
        frame_len: Option<usize>,
        shared: &mut Shared,
    ) -> Result<(), Hindrance> {
        let deadline =
            self.queued.as_ref().filter(|_| frame_len.is_some()).map_or(Millis::MAX, |send| send.deadline);
        let bare = frame_len.map_or(OVERHEAD - 1, |len| OVERHEAD + len);
        let mut hindrance = Hindrance::Late;
        let usable = slots.iter().position(|slot| match shared.check(now, *slot, bare, deadline) {
            // An earlier downlink must be over: a device that hears a higher counter first drops the lower one.
            Ok(_) => slot.at >= self.busy_until,
            Err(reason) => {
                // What size or airtime forbids in one window, time forbids in the other: the first is the reason.
                if hindrance == Hindrance::Late {
                    hindrance = reason;
                }
                false
            }
        });
        let Some((first, slot)) = usable.and_then(|i| Some((i, *slots.get(i)?))) else {
            if frame_len.is_none() {
                // Whatever is owed, this window cannot bring it.
                self.window = None;
            }
            return Err(hindrance);
        };

        // MAC commands take what room is left, answers before requests.
        let room = (shared.plan.max_payload(slot.dr) + OVERHEAD).saturating_sub(bare).min(MAX_F_OPTS);
        let Some(window) = &self.window else { return Err(Hindrance::Late) };
        let mut f_opts =
            if window.owed.answers.len() <= room { window.owed.answers.clone() } else { Vec::new() };
        let ack = window.owed.ack;
        let (requests, asked, power) = self.write_requests(shared, room - f_opts.len());
        f_opts.extend(requests);
        if shared.check(now, slot, bare + f_opts.len(), deadline).is_err() {
            f_opts.clear();
        }
        let asked = if f_opts.is_empty() { 0 } else { asked };

        let frame = self.queued.as_ref().filter(|_| frame_len.is_some());
        let cargo = frame.map_or(Cargo::Answer, |send| Cargo::Frame(send.handle, send.deadline));
        let payload = frame.map(|send| send.frame.clone());
        // Without a durable counter nothing goes out; the commit under way brings us back here.
        let Some(phy) = self.encode(lock, now, ack, &f_opts, payload.as_deref(), shared) else {
            return Ok(());
        };
        let flight = Flight::new(lock, cargo, phy, slot);
        let second = slots.get(first + 1).copied();
        match shared.launch_first(now, flight, [Some(slot), second]) {
            Ok(token) => self.flight = Some(token),
            Err(hindrance) => return Err(hindrance),
        }
        self.window = None;
        if frame_len.is_some() {
            self.queued = None;
        }
        (self.asked, self.asked_power) = (asked, power);
        Ok(())
    }

    /// The waiting frame to a class C device, at once.
    fn send_now(&mut self, lock: LockId, now: Millis, shared: &mut Shared) {
        let Some(rx) = self.active.as_ref().map(|session| session.rx) else { return };
        let Some(send) = self.queued.clone() else { return };
        let slot = Slot { at: now + ASAP, tmst: None, frequency: rx.rx2_frequency, dr: rx.rx2_dr };
        let len = send.frame.len() + OVERHEAD;
        match shared.check(now, slot, len, send.deadline) {
            Ok(_) => {}
            Err(Hindrance::TooBig) => return self.refuse(Refusal::TooBig, shared),
            Err(Hindrance::Airtime) => {
                let airtime = shared.plan.modulation(slot.dr).map_or(u64::MAX, |m| time_on_air(m, len));
                match shared.duty.allowed_at(slot.at, slot.frequency, airtime) {
                    Some(at) if at > slot.at && at <= send.deadline => self.not_before = at - ASAP,
                    _ => self.refuse(Refusal::Airtime, shared),
                }
                return;
            }
            // Its deadline will tell.
            Err(Hindrance::Late | Hindrance::NoRadio) => return,
        }
        // No acknowledgement and no MAC commands: those belong to the windows of an uplink.
        let Some(phy) = self.encode(lock, now, false, &[], Some(&send.frame), shared) else { return };
        let flight = Flight::new(lock, Cargo::Frame(send.handle, send.deadline), phy, slot);
        if let Ok(token) = shared.launch_first(now, flight, [Some(slot), None]) {
            self.flight = Some(token);
            self.queued = None;
        }
    }

    /// A PHYPayload under the next downlink counter, or `None` while none is durably reserved.
    fn encode(
        &mut self,
        lock: LockId,
        now: Millis,
        ack: bool,
        f_opts: &[u8],
        payload: Option<&[u8]>,
        shared: &mut Shared,
    ) -> Option<Vec<u8>> {
        let counter = self.active.as_mut().and_then(Session::take_down);
        self.reserve(lock, now, shared);
        let session = self.active.as_ref()?;
        let downlink = Downlink {
            dev_addr: session.dev_addr,
            counter: counter?,
            ack,
            adr: self.adr_on,
            f_opts,
            payload: payload.map(|bytes| (FRAME_PORT, bytes)),
        };
        downlink.encode(&session.network_key, &session.application_key)
    }

    fn refuse(&mut self, reason: Refusal, shared: &mut Shared) {
        if let Some(send) = self.queued.take() {
            shared.outcome(send.handle, Outcome::Refused(reason));
        }
    }

    /// The forwarder took a downlink of this device.
    fn launched(&mut self, token: u16, flight: &Flight, now: Millis) {
        let end = match flight.slot.tmst {
            Some(_) => flight.slot.at,
            None => now + ASAP,
        } + flight.airtime.div_ceil(1000);
        self.busy_until = self.busy_until.max(end + GUARD);
        self.landed(token);
    }

    fn landed(&mut self, token: u16) {
        self.flight.take_if(|flight| *flight == token);
    }
}

impl Network {
    /// The forwarder's answer to a downlink.
    pub(super) fn tx_ack(&mut self, now: Millis, token: u16, error: Option<String>) {
        let Some(flight) = self.shared.flights.remove(&token) else { return };
        let lock = flight.lock;
        match error {
            None => {
                if let Cargo::Frame(handle, _) = flight.cargo {
                    self.shared.outcome(handle, Outcome::Sent);
                }
                if let Some(device) = self.devices.get_mut(&lock) {
                    device.launched(token, &flight, now);
                }
            }
            Some(error) => {
                // A concentrator time that has passed is TOO_EARLY to some forwarders: they see it 71 minutes ahead.
                tracing::info!(%error, "the packet forwarder refused a downlink");
                tracing::debug!(lock = %hex::encode(lock.0), token, "the refused downlink");
                self.shared.counters.refused += 1;
                self.shared.duty.refund(flight.slot.frequency, flight.airtime);
                self.try_again(now, token, flight);
            }
        }
        self.service(lock, now);
    }

    /// Takes silence for a refusal, and tries parked downlinks again.
    pub(super) fn expire_flights(&mut self, now: Millis) {
        let due: Vec<u16> = self
            .shared
            .flights
            .iter()
            .filter(|(_, flight)| flight.until <= now)
            .map(|(token, _)| *token)
            .collect();
        for token in due {
            let Some(flight) = self.shared.flights.remove(&token) else { continue };
            let lock = flight.lock;
            if flight.parked {
                let slot = Slot { at: now + ASAP, ..flight.slot };
                self.relaunch(now, token, flight, slot);
            } else {
                tracing::info!("the packet forwarder said nothing about a downlink");
                tracing::debug!(lock = %hex::encode(lock.0), token, "the unanswered downlink");
                // It may have been sent all the same: its airtime stays charged.
                self.shared.counters.unanswered += 1;
                self.try_again(now, token, flight);
            }
            self.service(lock, now);
        }
    }

    fn try_again(&mut self, now: Millis, token: u16, mut flight: Flight) {
        if let Some(slot) = flight.fallback.take() {
            return self.relaunch(now, token, flight, slot);
        }
        let again = flight.slot.tmst.is_none() && flight.attempts < MAX_ATTEMPTS;
        if again && now + AGAIN_AFTER + ASAP <= flight.deadline() {
            flight.parked = true;
            flight.until = now + AGAIN_AFTER;
            self.shared.flights.insert(token, flight);
            return;
        }
        self.failed(token, flight.lock, flight.cargo);
    }

    fn relaunch(&mut self, now: Millis, token: u16, flight: Flight, slot: Slot) {
        let (lock, cargo) = (flight.lock, flight.cargo);
        match self.shared.launch_first(now, flight, [Some(slot), None]) {
            Ok(new) => {
                if let Some(device) = self.devices.get_mut(&lock)
                    && device.flight == Some(token)
                {
                    device.flight = Some(new);
                }
            }
            Err(_) => self.failed(token, lock, cargo),
        }
    }

    fn failed(&mut self, token: u16, lock: LockId, cargo: Cargo) {
        if let Cargo::Frame(handle, _) = cargo {
            self.shared.outcome(handle, Outcome::Failed(Failure::Modem));
        }
        if let Some(device) = self.devices.get_mut(&lock) {
            device.landed(token);
        }
    }
}
