//! Uplinks: whose they are, whether they are new, and what they say.

use cardea_framing::LockId;
use cardea_radio::{Change, Event, LorawanClass, Millis, Quality, Up};

use super::device::{Device, HAND_OVER, Owed, Window};
use super::downlink::Slot;
use super::shared::Shared;
use super::{Network, Purpose, Wall, push_uplink};
use crate::adr::required_snr;
use crate::frame::{self, Data, Uplink};
use crate::mac::{self, FromDevice};
use crate::plan::Modulation;
use crate::semtech::Received;
use crate::session::{Counter, RecordKey, SAVE_EVERY, Session, given_up};

/// The port that carries frames; MAC commands have port 0, everything else is not ours.
pub(super) const FRAME_PORT: u8 = 10;
/// The same frame again within this time came over two antennas; a device repeats itself after its windows only.
const SAME_FRAME: Millis = 900;
/// A device repeats an uplink at most 15 times (NbTrans), and is done with it after this long. Later copies are a
/// recording: they are not answered.
const MAX_REPEATS: u8 = 15;
const REPEATS_END: Millis = 150_000;

/// How and when an uplink was heard.
#[derive(Clone, Copy)]
pub(super) struct Heard {
    /// When we heard of it: now, and the time of day.
    pub(super) now: Millis,
    pub(super) wall: Wall,
    /// When it ended, on our clock.
    pub(super) at: Millis,
    /// When it ended, on the concentrator's.
    pub(super) tmst: u32,
    pub(super) frequency: u32,
    pub(super) dr: u8,
    /// False on a channel that our devices are told not to use.
    pub(super) in_plan: bool,
    pub(super) modulation: Modulation,
    pub(super) rssi: i16,
    pub(super) snr: i16,
}

impl Heard {
    /// The moment `delay` milliseconds after the end of the uplink.
    pub(super) fn slot(&self, delay: Millis, frequency: u32, dr: u8) -> Slot {
        let micros = u32::try_from(delay * 1000).unwrap_or(u32::MAX);
        Slot { at: self.at + delay, tmst: Some(self.tmst.wrapping_add(micros)), frequency, dr }
    }
}

impl Network {
    pub(super) fn uplink(&mut self, now: Millis, wall: Wall, packet: Received) {
        let Some(forwarder) = &self.forwarder else { return };
        let at = forwarder.clock.received_at(now, packet.tmst);
        let modulation = Modulation { sf: packet.sf, bw: packet.bw };
        let plan = &self.shared.plan;
        let (Some(dr), Some((frequency, in_plan))) =
            (plan.uplink_dr(modulation), plan.channel(packet.frequency))
        else {
            self.shared.counters.off_plan += 1;
            return;
        };
        let (rssi, snr) = (packet.rssi, packet.snr);
        let heard = Heard { now, wall, at, tmst: packet.tmst, frequency, dr, in_plan, modulation, rssi, snr };
        match frame::parse(&packet.data) {
            Some(Uplink::Join(request)) => self.join_request(heard, request),
            Some(Uplink::Data(data)) => self.data(heard, data),
            None => self.shared.counters.not_lorawan += 1,
        }
    }

    fn data(&mut self, heard: Heard, mut data: Data) {
        let now = heard.now;
        let owners = (data.dev_addr, LockId([0; 8]))..=(data.dev_addr, LockId([0xff; 8]));
        let mut found = None;
        'owners: for (_, lock) in self.by_dev_addr.range(owners) {
            let Some(device) = self.devices.get(lock).filter(|device| !device.being_replaced) else {
                continue;
            };
            let active = device.active.iter().map(|session| (session, None));
            let pending = device.pending.iter().enumerate().map(|(place, session)| (session, Some(place)));
            for (session, pending) in active.chain(pending) {
                if session.dev_addr != data.dev_addr {
                    continue;
                }
                let Some(counter) = session.read_counter(data.counter) else { continue };
                let (Counter::Repeat(full) | Counter::New(full)) = counter;
                if data.verify(&session.network_key, full) {
                    found = Some((*lock, counter, pending));
                    break 'owners;
                }
            }
        }
        let Some((lock, counter, pending)) = found else {
            self.shared.counters.unknown += 1;
            return;
        };
        self.authentic(heard, matches!(counter, Counter::New(_)));
        if let Some(place) = pending {
            self.activate(now, lock, place);
        }
        if let Some(device) = self.devices.get_mut(&lock) {
            device.uplink(lock, heard, &data, counter, &mut self.shared);
        }
        self.service(lock, now);
    }

    /// A packet of ours, which no recording can be when it is new: the concentrator's clock follows it.
    pub(super) fn authentic(&mut self, heard: Heard, new: bool) {
        if let Some(forwarder) = self.forwarder.as_mut().filter(|_| new) {
            forwarder.clock.learn(heard.now, heard.tmst);
        }
    }

    /// The device is on a new session: the old one ends, and so do those of earlier joins.
    fn activate(&mut self, now: Millis, lock: LockId, place: usize) {
        let Some(device) = self.devices.get_mut(&lock) else { return };
        let mut ended: Vec<_> = device.pending.drain(..=place).collect();
        let Some(session) = ended.pop() else { return };
        let (dev_addr, down) = (session.dev_addr, session.reserved_down);
        let mut batch =
            vec![Change { key: RecordKey::Active(lock).encode(), value: Some(session.to_record()) }];
        ended.extend(device.active.replace(session));
        for old in ended {
            if !device.has_dev_addr(old.dev_addr) {
                self.by_dev_addr.remove(&(old.dev_addr, lock));
            }
        }
        batch.extend(device.pending_change(lock));
        device.start_session(now);
        self.shared.commit(batch, Purpose::Session { lock, dev_addr, down });
        device.saving = true;
        self.shared.events.push_back(Event::Joined(lock));
    }
}

impl Device {
    /// Takes in an authenticated uplink of the active session.
    fn uplink(&mut self, lock: LockId, heard: Heard, data: &Data, counter: Counter, shared: &mut Shared) {
        let now = heard.now;
        let Some(session) = &mut self.active else { return };
        let counter = match counter {
            Counter::Repeat(_) => {
                shared.counters.repeated += 1;
                let same = session.last_mic == Some(data.mic);
                let antenna = heard.at.abs_diff(self.last_heard) < SAME_FRAME;
                let recorded = self.repeats >= MAX_REPEATS || now >= self.first_heard + REPEATS_END;
                if !same || antenna || recorded {
                    return;
                }
                self.repeats += 1;
                self.last_heard = heard.at;
                // The device has not heard our answer, or never does; it is told again but not listened to twice.
                let any = data.confirmed || data.adr_ack_req;
                self.open_window(lock, heard, Owed { any, ack: data.confirmed, answers: Vec::new() }, shared);
                if let Some(closes) = self.closes(now, shared) {
                    push_uplink(
                        &mut shared.events,
                        Event::Window { lock, closes },
                        &mut shared.counters.shed,
                    );
                }
                return;
            }
            Counter::New(counter) => counter,
        };
        session.next_up = u64::from(counter) + 1;
        session.last_mic = Some(data.mic);
        session.dr = Some(heard.dr);
        session.unsaved += 1;
        session.unsaved_since.get_or_insert(now);
        let save = session.unsaved >= SAVE_EVERY;
        (self.last_heard, self.first_heard, self.repeats) = (heard.at, now, 0);

        let payload = if data.port == Some(0) {
            if !data.f_opts.is_empty() {
                // LoRaWAN 1.0.4 §4.3.1.6: commands in both places are an error, and the frame is discarded.
                return;
            }
            data.decrypt(&session.network_key, counter)
        } else {
            data.decrypt(&session.application_key, counter)
        };
        let commands = if data.port == Some(0) { &payload } else { &data.f_opts };
        let (answers, sticky) = self.commands(lock, heard, commands, shared);
        if data.adr {
            self.adr.heard(heard.snr);
        }
        self.adr_on = data.adr && shared.config.adr;
        self.wants_mask = !heard.in_plan;
        let any =
            data.confirmed || data.adr_ack_req || sticky || !answers.is_empty() || self.requests(shared) != 0;
        self.open_window(lock, heard, Owed { any, ack: data.confirmed, answers }, shared);
        self.report_link(lock, shared);

        let window = self.closes(now, shared);
        let frame = if data.port == Some(FRAME_PORT) { payload } else { Vec::new() };
        let event = if !frame.is_empty() {
            let quality = Quality { rssi: Some(heard.rssi), snr: Some(heard.snr), lqi: None };
            Some(Event::Up(Up { lock, frame: frame.into(), quality, at: heard.at, window }))
        } else {
            window.map(|closes| Event::Window { lock, closes })
        };
        if let Some(event) = event {
            push_uplink(&mut shared.events, event, &mut shared.counters.shed);
        }
        if save {
            self.save(lock, shared);
        }
    }

    /// Answers to a device's commands, and whether it repeats itself until it hears any downlink from us.
    fn commands(&mut self, lock: LockId, heard: Heard, bytes: &[u8], shared: &mut Shared) -> (Vec<u8>, bool) {
        let Some(session) = &mut self.active else { return (Vec::new(), false) };
        let mut answers = Vec::new();
        let mut sticky = false;
        let mut answered = 0;
        let (mut adr_answers, mut adr_accepted) = (0, true);
        for command in mac::read(bytes) {
            match command {
                FromDevice::LinkCheckReq => {
                    let margin = heard.snr.saturating_sub(required_snr(heard.modulation.sf)) / 10;
                    answers.extend(mac::link_check_ans(u8::try_from(margin.clamp(0, 254)).unwrap_or(0), 1));
                }
                FromDevice::DeviceTimeReq => {
                    // The time at the end of this uplink. Without a clock of our own that is right there is no answer.
                    let then = heard.wall.unix_ms.saturating_sub(heard.now.saturating_sub(heard.at));
                    if let Some(answer) = mac::device_time_ans(then).filter(|_| heard.wall.synced) {
                        answers.extend(answer);
                    }
                }
                FromDevice::LinkAdrAns(status) => {
                    adr_answers += 1;
                    adr_accepted &= status & mac::ALL_ACCEPTED == mac::ALL_ACCEPTED;
                }
                FromDevice::RxParamSetupAns(status) => {
                    sticky = true;
                    if self.asked & given_up::RX_PARAM != 0 {
                        answered |= given_up::RX_PARAM;
                        if status & mac::ALL_ACCEPTED == mac::ALL_ACCEPTED {
                            // The windows of this very uplink are the new ones.
                            let wanted = shared.wanted_rx();
                            session.rx.rx1_offset = wanted.rx1_offset;
                            (session.rx.rx2_dr, session.rx.rx2_frequency) =
                                (wanted.rx2_dr, wanted.rx2_frequency);
                        } else {
                            session.given_up |= given_up::RX_PARAM;
                        }
                        self.save_now = true;
                    }
                }
                FromDevice::RxTimingSetupAns => {
                    sticky = true;
                    if self.asked & given_up::RX_TIMING != 0 {
                        answered |= given_up::RX_TIMING;
                        session.rx.delay = shared.wanted_rx().delay;
                        self.save_now = true;
                    }
                }
                FromDevice::DevStatusAns(battery, margin) => {
                    tracing::debug!(lock = %hex::encode(lock.0), battery, margin, "device status");
                }
                FromDevice::Other => {}
            }
        }
        if adr_answers > 0 && self.asked & given_up::LINK_ADR != 0 {
            answered |= given_up::LINK_ADR;
            if adr_accepted {
                session.power = self.asked_power;
                self.adr.reset();
            } else {
                session.given_up |= given_up::LINK_ADR;
            }
            self.save_now = true;
        }
        self.settle_requests(answered);
        (answers, sticky)
    }

    /// Receive windows of this uplink, in place of those of the one before.
    fn open_window(&mut self, lock: LockId, heard: Heard, owed: Owed, shared: &mut Shared) {
        let Some(session) = &self.active else { return };
        let now = heard.now;
        let rx = session.rx;
        let delay = Millis::from(rx.delay.max(1)) * 1000;
        let rx2 = heard.slot(delay + 1000, rx.rx2_frequency, rx.rx2_dr);
        let rx1 = shared.plan.rx1(heard.frequency, heard.dr, rx.rx1_offset);
        let rx1 = rx1.map_or(rx2, |(frequency, dr)| heard.slot(delay, frequency, dr));
        // A downlink of an earlier window may still be on its way; then this one has to wait for the next.
        self.window = (now + shared.lead() <= rx2.at).then_some(Window { rx1, rx2, owed, rx2_told: false });
        self.reserve(lock, now, shared);
    }

    /// The last moment at which a frame from the gateway makes RX1 of a sleepy device. RX2 stays for what RX1 refuses;
    /// for frames that come later still there is another [`Event::Window`] when RX1 has passed unused.
    fn closes(&self, now: Millis, shared: &Shared) -> Option<Millis> {
        let window = self.window.as_ref().filter(|_| self.identity.class == LorawanClass::A)?;
        Some(window.owed_at(shared).saturating_sub(HAND_OVER)).filter(|closes| *closes > now)
    }
}

impl Session {
    /// True when the device has other receive parameters than this network wants and has not declined them.
    pub(super) fn differs(&self, wanted: crate::session::RxParams) -> u8 {
        let mut bits = 0;
        if self.rx.delay != wanted.delay {
            bits |= given_up::RX_TIMING;
        }
        if (self.rx.rx1_offset, self.rx.rx2_dr, self.rx.rx2_frequency)
            != (wanted.rx1_offset, wanted.rx2_dr, wanted.rx2_frequency)
        {
            bits |= given_up::RX_PARAM;
        }
        bits & !self.given_up
    }
}
