//! Frames to devices and from them, and what their parent keeps for those that sleep.

use cardea_radio::Millis;
use cardea_zigbee::{Eui64, NwkAddr};

use super::device::{Asdu, Downlink, HOP_MS, State, Step, Uplink};
use super::stack::{Does, Reply, zdo};
use super::{Air, Notice};

/// Frames and questions that the parent keeps for one device.
const MAX_WAITING: usize = 8;
/// How long a device that sleeps may take to acknowledge, and how long one that listens.
const SLEEPY_ACK_MS: Millis = 10_000;
const ACK_MS: Millis = 1_600;
/// How often a frame is sent that is to be acknowledged.
const APS_TRIES: u8 = 4;
/// Between two tries to ask a device something, and how many there are: 12 s, as long as a question may take.
const QUESTION_MS: Millis = 500;
const QUESTION_TRIES: u8 = 24;

/// By what the firmware knows a frame or a question again.
pub(in crate::zigbee) type Ticket = u32;

/// What a device is to have.
pub(in crate::zigbee) enum Request {
    /// A frame, acknowledged by the device, or by its radio alone.
    Frame { asdu: Asdu, acknowledged: bool },
    /// A block of a longer frame, acknowledged; the last one comes as the frame.
    Block,
    /// A question that its stack answers to the coordinator's.
    Question(Does),
}

/// What became of it.
#[derive(Debug)]
pub(in crate::zigbee) enum End {
    Delivered,
    NotAcknowledged,
    /// Its parent could not hand it over in time.
    Expired,
    /// The device with this address answers; `Err`: a status of ZDO.
    Answered(NwkAddr, Result<Reply, u8>),
    /// A question without an answer.
    Silent,
}

/// Too much waits for the device.
pub(in crate::zigbee) struct Full;

pub(super) struct Waiting {
    request: Request,
    /// `None`: nobody wants to know.
    ticket: Option<Ticket>,
    /// When the device can have it, or this try ends.
    pub(super) at: Millis,
    /// Whether it is there then, as far as can be said now.
    reached: bool,
    tries: u8,
}

impl Air {
    /// A device's application does this.
    pub(in crate::zigbee) fn handle_radio(&mut self, now: Millis, eui: Eui64, uplink: Uplink) {
        let here = self.is_here(eui);
        let Some(device) = self.devices.get_mut(&eui) else { return };
        match uplink {
            Uplink::Power(on) => {
                device.on = on;
                device.polled = now;
                if let State::Apart(at) = &mut device.state {
                    *at = now;
                }
            }
            Uplink::Frame(asdu) if here => {
                self.traffic.received += 1;
                self.say(eui, asdu);
            }
            Uplink::Frame(_) => self.traffic.dropped += 1,
        }
    }

    /// A device says this to its coordinator.
    fn say(&mut self, eui: Eui64, asdu: Asdu) {
        let (Some(device), Some(member)) = (self.devices.get_mut(&eui), self.nvram.members.get_mut(&eui))
        else {
            return;
        };
        device.counter = device.counter.wrapping_add(1);
        if let State::In(inside) = &device.state {
            // A restored coordinator has its link key, and hears its address now: who is behind a router does not rejoin.
            member.nwk = inside.nwk;
        }
        let (nwk, counter) = (member.nwk, device.counter);
        let from = if device.parent.is_some() { self.parent_address(eui) } else { nwk };
        self.notice(Notice::Frame { eui, nwk, from, counter, asdu });
    }

    /// Whether the device is there, in this network, and a child of its coordinator or of a router that is.
    pub(in crate::zigbee) fn is_here(&self, eui: Eui64) -> bool {
        self.is_alive(eui) && self.has_parent(eui)
    }

    /// Whether the device is on, and has the keys of this network.
    pub(super) fn is_alive(&self, eui: Eui64) -> bool {
        let Some(device) = self.devices.get(&eui).filter(|device| device.on && self.running) else {
            return false;
        };
        match (&device.state, &self.nvram.stored) {
            // It has the network key already.
            (State::Joining(_, Step::Admit { .. }, _), _) => true,
            (State::In(inside), Some(stored)) => {
                (inside.coordinator, &inside.extended_pan, &inside.key)
                    == (self.eui(), &stored.network.extended_pan, &stored.key)
            }
            _ => false,
        }
    }

    pub(super) fn next_counter(&self) -> u32 {
        self.nvram.counters.map_or(0, |counters| counters.nib).saturating_add(1)
    }

    /// Whether the device is there and believes what the coordinator says: no frame counter comes twice.
    pub(in crate::zigbee) fn is_reachable(&self, eui: Eui64) -> bool {
        let state = self.devices.get(&eui).map(|device| &device.state);
        let fresh = !matches!(state, Some(State::In(inside)) if inside.heard >= self.next_counter());
        fresh && self.is_here(eui)
    }

    /// Has a device get this as soon as it listens. The end of it is told.
    pub(in crate::zigbee) fn give(
        &mut self,
        now: Millis,
        eui: Eui64,
        ticket: Ticket,
        request: Request,
    ) -> Result<(), Full> {
        self.keep(now, eui, Some(ticket), request)
    }

    fn keep(
        &mut self,
        now: Millis,
        eui: Eui64,
        ticket: Option<Ticket>,
        request: Request,
    ) -> Result<(), Full> {
        let (at, reached) = self.next_try(now, eui, &request);
        let tries = match request {
            Request::Question(_) => QUESTION_TRIES,
            Request::Frame { acknowledged: true, .. } | Request::Block => APS_TRIES,
            Request::Frame { .. } => 1,
        };
        // A device that was restored from a backup and is not in this air: nobody will ever answer.
        let Some(device) = self.devices.get_mut(&eui) else {
            let end = match request {
                Request::Frame { .. } | Request::Block => End::NotAcknowledged,
                Request::Question(_) => End::Silent,
            };
            self.ended(ticket, end);
            return Ok(());
        };
        if device.waiting.len() >= MAX_WAITING {
            return Err(Full);
        }
        device.waiting.push_back(Waiting { request, ticket, at, reached, tries });
        Ok(())
    }

    fn ended(&mut self, ticket: Option<Ticket>, end: End) {
        if let Some(ticket) = ticket {
            self.notice(Notice::Ended { ticket, end });
        }
    }

    /// When this try ends, and whether well.
    fn next_try(&self, now: Millis, eui: Eui64, request: &Request) -> (Millis, bool) {
        let Some(device) = self.devices.get(&eui) else { return (now, false) };
        let listens = device.listens_at(now);
        let persistence = self.rules.persistence;
        if self.is_reachable(eui) && listens.saturating_sub(now) <= persistence {
            return (listens, true);
        }
        let wait = match (request, device.config.poll) {
            (Request::Question(_), _) => QUESTION_MS,
            (Request::Frame { acknowledged: true, .. } | Request::Block, Some(_)) => SLEEPY_ACK_MS,
            (Request::Frame { acknowledged: true, .. } | Request::Block, None) => ACK_MS,
            (Request::Frame { .. }, Some(_)) => persistence,
            (Request::Frame { .. }, None) => HOP_MS,
        };
        (now.saturating_add(wait), false)
    }

    /// To all that listen always, or to all; no device here is in a group.
    pub(in crate::zigbee) fn broadcast(&mut self, now: Millis, asdu: &Asdu, sleepers: bool) {
        if let Some(seconds) = zdo::permits(asdu) {
            self.permit_routers(now, seconds);
        }
        let here: Vec<Eui64> = self.devices.keys().copied().filter(|eui| self.is_reachable(*eui)).collect();
        for eui in here {
            let sleeps = self.devices.get(&eui).is_some_and(|device| device.config.poll.is_some());
            if !sleeps {
                self.arrive(now, eui, asdu.clone());
            } else if sleepers {
                // What finds no room is lost, as broadcasts are.
                let _ = self.keep(now, eui, None, Request::Frame { asdu: asdu.clone(), acknowledged: false });
            }
        }
    }

    /// Everything that is due for this device.
    pub(super) fn deliver(&mut self, now: Millis, eui: Eui64) {
        while let Some(device) = self.devices.get_mut(&eui)
            && let Some(at) = device.waiting.iter().position(|waiting| waiting.at <= now)
            && let Some(waiting) = device.waiting.remove(at)
        {
            self.due(now, eui, waiting);
        }
    }

    fn due(&mut self, now: Millis, eui: Eui64, waiting: Waiting) {
        let Waiting { request, ticket, reached, tries, .. } = waiting;
        if reached && self.is_reachable(eui) {
            return match request {
                Request::Frame { asdu, .. } => {
                    self.traffic.delivered += 1;
                    self.ended(ticket, End::Delivered);
                    self.arrive(now, eui, asdu);
                }
                Request::Block => {
                    let heard = self.count();
                    self.heard(eui, heard);
                    self.ended(ticket, End::Delivered);
                }
                Request::Question(does) => {
                    let heard = self.count();
                    self.heard(eui, heard);
                    let Some(nwk) = self.nvram.members.get(&eui).map(|member| member.nwk) else { return };
                    let reply = self.answer(eui, does);
                    self.ended(ticket, End::Answered(nwk, reply));
                    self.after(now, eui, does);
                }
            };
        }
        if tries > 1 {
            let (at, reached) = self.next_try(now, eui, &request);
            if let Some(device) = self.devices.get_mut(&eui) {
                device.waiting.push_back(Waiting { request, ticket, at, reached, tries: tries - 1 });
            }
            return;
        }
        let end = match request {
            Request::Frame { acknowledged: true, .. } | Request::Block => End::NotAcknowledged,
            Request::Frame { .. } => End::Expired,
            Request::Question(_) => End::Silent,
        };
        self.ended(ticket, end);
    }

    /// The address that a device has, by its own mind.
    pub(super) fn own_address(&self, eui: Eui64) -> Option<NwkAddr> {
        match &self.devices.get(&eui)?.state {
            State::In(inside) => Some(inside.nwk),
            _ => self.nvram.members.get(&eui).map(|member| member.nwk),
        }
    }

    fn heard(&mut self, eui: Eui64, counter: u32) {
        if let Some(State::In(inside)) = self.devices.get_mut(&eui).map(|device| &mut device.state) {
            inside.heard = counter;
        }
    }

    /// A frame is with the device: its application's, or its stack's.
    fn arrive(&mut self, now: Millis, eui: Eui64, asdu: Asdu) {
        let counter = self.count();
        self.heard(eui, counter);
        if asdu.profile != 0 {
            return self.radio.push_back((eui, Downlink::Frame(asdu)));
        }
        let Some(nwk) = self.own_address(eui) else { return };
        let Some((sequence, does)) = zdo::parse(&asdu, eui, nwk) else { return };
        let reply = self.answer(eui, does);
        self.say(eui, zdo::answer(&asdu, sequence, eui, nwk, &reply));
        self.after(now, eui, does);
    }

    /// What a device does once it has answered.
    fn after(&mut self, now: Millis, eui: Eui64, does: Does) {
        let Does::Leave(rejoin) = does else { return };
        let Some(nwk) = self.nvram.members.get(&eui).map(|member| member.nwk) else { return };
        self.notice(Notice::Left { eui, nwk, rejoin });
        if rejoin {
            self.renumber(eui);
        } else {
            self.forget(now, eui);
        }
    }
}
