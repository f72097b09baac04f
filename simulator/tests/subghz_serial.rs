//! The gateway's driver and locks on models of transparent modules, on a virtual clock: latency, loss, packets in pieces, bytes that nobody
//! said, a module that is pulled out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

use std::cell::Cell;
use std::rc::Rc;

use cardea_framing::LockId;
use cardea_radio::{Admission, AdmissionSecret, Command, Event, MemoryStore, Outcome, Send};
use cardea_simulator::subghz::{RadioConfig, RadioEvent, SerialConditions, SerialTown, Uart};
use cardea_subghz::engine::{Named, due, turn};
use cardea_subghz::network::{Epoch, Network, NetworkConfig, Seeds};
use cardea_subghz::port::Port;
use cardea_subghz::serial::{Config, Serial};
use cardea_subghz::{Kind, Line, Profile, Region, Transceiver as _, UartModule};
use cardea_subghz_link::Secret;

const SECOND: u64 = 1_000_000;
const MS: u64 = 1_800_000_000_000;

struct Net {
    town: SerialTown,
    network: Network,
    port: Port<Serial<Uart>>,
    plug: Rc<Cell<bool>>,
    store: MemoryStore,
    events: Vec<Event>,
    heard: Vec<(usize, RadioEvent)>,
    module: UartModule,
}

fn id(number: usize) -> LockId {
    LockId([number as u8; 8])
}

fn payload(number: u64, len: usize) -> Vec<u8> {
    let mut frame = vec![0x22; len];
    frame[..8].copy_from_slice(&number.to_be_bytes());
    frame
}

impl Net {
    fn new(seed: u64, module: UartModule, conditions: SerialConditions) -> Self {
        println!("seed {seed}");
        let town = SerialTown::new(module, conditions, seed);
        let uart = Uart::new(town.modules.clone(), 0);
        let plug = uart.plug();
        let region = Region::Eu433;
        let config = Config { module, budget_us: region.budget(), silence_us: 3_600 * SECOND };
        let profile = Profile::Serial(module);
        let port = Port::new(Serial::new(uart, config, 0), profile, 0);
        let network = NetworkConfig { profile, region, id: None, channels: 1, max_locks: 9 };
        let (seeds, store) = (Seeds { key: [9; 16], id: 0x42, backoff: 11 }, MemoryStore::default());
        let network = Network::new(network, &seeds, store.snapshot(), Epoch { us: 0, ms: MS }, 0).unwrap();
        Self { town, network, port, plug, store, events: Vec::new(), heard: Vec::new(), module }
    }

    fn now(&self) -> u64 {
        self.town.modules.borrow().now()
    }

    fn command(&mut self, command: Command) {
        let now = self.now();
        self.network.handle_command(now, command);
        self.turn();
    }

    fn send(&mut self, handle: u64, number: usize, frame: &[u8], life_ms: u64) {
        let deadline = MS + self.now() / 1_000 + life_ms;
        let frame = frame.to_vec().into();
        self.command(Command::Send(Send { handle, lock: id(number), frame, deadline }));
    }

    /// A lock that is admitted and has joined.
    fn member(&mut self, number: usize) {
        let config = RadioConfig {
            lock: id(number).0,
            secret: Secret([number as u8; 16]),
            profile: Profile::Serial(self.module),
            interval_ms: 0,
            linger_ms: 100,
            seed: number as u32 * 7919 + 1,
            ppm: 0.0,
        };
        self.town.add(config, self.module).unwrap();
        let secret = AdmissionSecret::Subghz { secret: [number as u8; 16].into() };
        self.command(Command::Admit(Admission { lock: id(number), secret }));
        let index = self.town.locks.len() - 1;
        for _ in 0..8 {
            let now = self.now();
            self.town.locks[index].join(now);
            let joined =
                |net: &Self| net.events.iter().any(|e| matches!(e, Event::Joined(l) if *l == id(number)));
            if self.until(90 * SECOND, joined) {
                return;
            }
        }
        panic!("lock {number} does not get in");
    }

    fn turn(&mut self) {
        let modules = self.town.modules.clone();
        let named = Named { kind: Kind::Serial, place: "a model".into() };
        loop {
            turn(&mut self.network, &mut self.port, &named, &mut || modules.borrow().now());
            while let Some(event) = self.network.poll_event() {
                self.events.push(event);
            }
            let mut stored = false;
            while let Some((commit, batch)) = self.network.poll_commit() {
                let result = self.store.commit_now(batch);
                let now = modules.borrow().now();
                self.network.handle_stored(now, commit, result);
                stored = true;
            }
            if !stored {
                return;
            }
        }
    }

    /// Lets time pass until it holds; false if it did not.
    fn until(&mut self, us: u64, holds: impl Fn(&Self) -> bool) -> bool {
        let (end, mut spins) = (self.now() + us, 0);
        loop {
            self.turn();
            for (index, lock) in self.town.locks.iter_mut().enumerate() {
                self.heard.extend(lock.events().into_iter().map(|event| (index, event)));
            }
            if holds(self) {
                return true;
            }
            let now = self.now();
            if now >= end {
                return false;
            }
            let next = due(&mut self.network, &self.port, now).clamp(now + 1, end);
            // What is due at once, again and again, is a thread that spins.
            spins = if next == now + 1 { spins + 1 } else { 0 };
            assert!(spins < 100, "somebody is due and does nothing, at {now}");
            self.town.advance(next);
            if self.town.modules.borrow().is_ready(0) {
                let now = self.now();
                self.port.handle_edge(now, Line::Done, true);
            }
        }
    }

    fn run(&mut self, us: u64) {
        self.until(us, |_| false);
    }

    fn has_down(&self, index: usize, frame: &[u8]) -> bool {
        self.heard
            .iter()
            .any(|(at, e)| *at == index && matches!(e, RadioEvent::Received(got) if got == frame))
    }

    fn has_up(&self, frame: &[u8]) -> bool {
        self.events.iter().any(|e| matches!(e, Event::Up(up) if *up.frame == *frame))
    }

    fn outcome(&self, wanted: u64) -> Option<Outcome> {
        self.events.iter().find_map(|event| match event {
            Event::Outcome { handle, outcome } if *handle == wanted => Some(*outcome),
            _ => None,
        })
    }
}

#[test]
fn locks_join_and_frames_go_both_ways_in_every_weather() {
    // The E32 cuts a frame into two packets, and loses it with either.
    for (name, module, most_lost) in
        [("HC-12", UartModule::HC12, [0, 1, 2, 4]), ("E32", UartModule::E32, [0, 2, 4, 8])]
    {
        for (share, most_lost) in [0.0, 0.1, 0.2, 0.3].into_iter().zip(most_lost) {
            let weather = SerialConditions { loss: share, cut: 0.3, rubbish: share };
            let mut net = Net::new(31, module, weather);
            net.member(1);
            net.member(2);
            net.run(15 * SECOND);
            let mut arrived = 0;
            for number in 0..20 {
                let index = (number % 2) as usize;
                let frame = payload(number, 48);
                net.send(number, index + 1, &frame, 20_000);
                arrived += u64::from(net.until(20 * SECOND, |net| net.has_down(index, &frame)));
                let (now, frame) = (net.now(), payload(100 + number, 48));
                let _ = net.town.locks[index].send(now, &frame, now + 20 * SECOND);
                arrived += u64::from(net.until(20 * SECOND, |net| net.has_up(&frame)));
                net.run(20 * SECOND);
                assert!(net.outcome(number).is_some(), "{name} {share}: no outcome of {number}");
            }
            let now = net.now();
            let (tally, link) = (net.port.radio().tally(), net.network.counters(now).link);
            println!("{name}, {share}: {arrived} of 40, {} malformed, {link:?}", tally.malformed);
            assert!(arrived >= 40 - most_lost, "{name} {share}: {arrived}");
            assert_eq!(link.forged, 0);
            let quality =
                net.events.iter().find_map(|e| if let Event::Up(up) = e { Some(up.quality) } else { None });
            assert!(quality.is_some_and(|q| q.rssi.is_none() && q.lqi.is_none()), "{quality:?}");
            assert!(share == 0.0 || tally.malformed > 0, "the weather was fine");
        }
    }
}

#[test]
fn a_module_that_is_pulled_out_is_told_loses_what_it_had_and_goes_on_when_it_is_back() {
    let mut net = Net::new(32, UartModule::HC12, SerialConditions::default());
    net.member(1);
    net.run(15 * SECOND);
    let up = |net: &Net| {
        net.events
            .iter()
            .rev()
            .find_map(|e| if let Event::Health(h) = e { Some((h.up, h.detail.clone())) } else { None })
    };
    assert!(up(&net).unwrap().0);
    net.send(1, 1, &payload(1, 48), 60_000);
    net.plug.set(true);
    net.run(2 * SECOND);
    let (is_up, words) = up(&net).unwrap();
    assert!(!is_up && words.contains("serial module"), "{words}");
    assert!(net.outcome(1).is_some());
    net.send(2, 1, &payload(2, 48), 60_000);
    assert!(
        matches!(net.outcome(2), Some(Outcome::Failed(_))),
        "nothing waits for a radio that is not there"
    );
    let written = net.town.modules.borrow().written(0).len();
    net.run(120 * SECOND);
    assert_eq!(net.town.modules.borrow().written(0).len(), written);
    net.plug.set(false);
    net.run(10 * SECOND);
    assert!(up(&net).unwrap().0);
    net.send(3, 1, &payload(3, 48), 20_000);
    assert!(net.until(20 * SECOND, |net| net.has_down(0, &payload(3, 48))));
}

/// With a lock that never answers, whatever is given to the module can be out before the frame's deadline.
#[test]
fn nothing_is_given_to_the_module_that_could_be_out_after_its_deadline() {
    for module in [UartModule::HC12, UartModule::E32] {
        let mut net = Net::new(33, module, SerialConditions::default());
        net.member(1);
        net.run(15 * SECOND);
        net.town.modules.borrow_mut().deafen(1, true);
        let profile = Profile::Serial(module);
        for (number, life_ms) in (0..40).map(|n| (n, 150 + 80 * n)) {
            let before = net.town.modules.borrow().written(0).len();
            // Beacons are nobody's; between two of them there is time.
            let begun = net.now();
            net.send(number, 1, &payload(number, 48), life_ms);
            net.run(8 * SECOND);
            assert!(net.outcome(number).is_some(), "{life_ms}");
            let written = net.town.modules.borrow().written(0);
            // The longest stream alone is the frame's: beacons and acknowledgements are shorter.
            let mut streams: Vec<(u64, usize)> = Vec::new();
            for (at, _) in written.into_iter().skip(before) {
                match streams.last_mut() {
                    Some((begin, count)) if *begin == at => *count += 1,
                    _ => streams.push((at, 1)),
                }
            }
            let deadline = begun + life_ms * 1_000;
            let last = deadline.saturating_sub(profile.start() + profile.air_time_of_body(48));
            for (at, count) in streams.into_iter().filter(|(_, count)| *count == UartModule::stream(61)) {
                assert!(at <= last, "{count} bytes given {} µs too late of {life_ms} ms", at - last);
            }
        }
    }
}
