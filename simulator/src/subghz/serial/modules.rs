//! Transparent modules on an air of their own, on a virtual clock: what goes into one UART comes out of the others, late, or not at all.

use std::collections::VecDeque;

use cardea_subghz_link::{Micros, Module};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// A pause of the stream for which a module takes its packet for whole.
const PAUSE: Micros = 3_000;
/// Or so many bytes' time.
const PAUSE_BYTES: usize = 3;
/// Bytes of one burst of rubbish, at most.
const RUBBISH: u64 = 12;

/// Weather.
#[derive(Debug, Clone, Copy, Default)]
pub struct SerialConditions {
    /// Share of the packets that a module does not hear.
    pub loss: f64,
    /// Share of the packets that come out of a module in two pieces, with a pause between.
    pub cut: f64,
    /// Share of the packets behind which a module gives bytes that nobody said.
    pub rubbish: f64,
}

struct End {
    /// Bytes on the UART to the module, by when they are there.
    coming: VecDeque<(Micros, u8)>,
    /// What it has, and since when nothing came.
    packet: Vec<u8>,
    quiet_since: Micros,
    /// Packets that it will send, and not before when.
    packets: VecDeque<(Micros, Vec<u8>)>,
    sends_until: Micros,
    /// Bytes on the UART from the module, by when they are there.
    going: VecDeque<(Micros, u8)>,
    deaf: bool,
}

struct Carrier {
    from: usize,
    begins: Micros,
    ends: Micros,
    bytes: Vec<u8>,
    spoilt: bool,
}

/// All modules of one kind on one channel.
pub struct Modules {
    module: Module,
    conditions: SerialConditions,
    random: ChaCha20Rng,
    now: Micros,
    ends: Vec<End>,
    carriers: Vec<Carrier>,
    /// Bytes that hosts wrote: when, whose.
    written: Vec<(Micros, usize, u8)>,
}

impl Modules {
    /// None yet.
    #[must_use]
    pub fn new(module: Module, conditions: SerialConditions, seed: u64) -> Self {
        Self {
            module,
            conditions,
            random: ChaCha20Rng::seed_from_u64(seed),
            now: 0,
            ends: Vec::new(),
            carriers: Vec::new(),
            written: Vec::new(),
        }
    }

    /// Another module; its number.
    pub fn add(&mut self) -> usize {
        self.ends.push(End {
            coming: VecDeque::new(),
            packet: Vec::new(),
            quiet_since: 0,
            packets: VecDeque::new(),
            sends_until: 0,
            going: VecDeque::new(),
            deaf: false,
        });
        self.ends.len() - 1
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.now
    }

    /// A module that hears nothing, or hears again.
    pub fn deafen(&mut self, end: usize, deaf: bool) {
        if let Some(end) = self.ends.get_mut(end) {
            end.deaf = deaf;
        }
    }

    /// It was without power: what it had is gone.
    pub fn reset(&mut self, end: usize) {
        if let Some(end) = self.ends.get_mut(end) {
            (end.coming, end.packet, end.packets) = Default::default();
            end.going.clear();
        }
        for carrier in self.carriers.iter_mut().filter(|carrier| carrier.from == end) {
            carrier.spoilt = true;
        }
    }

    /// What a host wrote, and when.
    #[must_use]
    pub fn written(&self, end: usize) -> Vec<(Micros, u8)> {
        self.written.iter().filter(|(_, from, _)| *from == end).map(|(at, _, byte)| (*at, *byte)).collect()
    }

    /// A host writes to its module.
    pub fn write(&mut self, from: usize, bytes: &[u8]) {
        let (byte_us, now) = (self.module.wire_us(1), self.now);
        self.written.extend(bytes.iter().map(|byte| (now, from, *byte)));
        let Some(end) = self.ends.get_mut(from) else { return };
        let mut at = end.coming.back().map_or(now, |(at, _)| (*at).max(now));
        for byte in bytes {
            at += byte_us;
            end.coming.push_back((at, *byte));
        }
    }

    /// What has come out of a module.
    pub fn read(&mut self, from: usize) -> Vec<u8> {
        let now = self.now;
        let Some(end) = self.ends.get_mut(from) else { return Vec::new() };
        let ready = end.going.iter().take_while(|(at, _)| *at <= now).count();
        end.going.drain(..ready).map(|(_, byte)| byte).collect()
    }

    /// Whether something has come out of a module.
    #[must_use]
    pub fn is_ready(&self, end: usize) -> bool {
        let first = self.ends.get(end).and_then(|end| end.going.front());
        first.is_some_and(|(at, _)| *at <= self.now)
    }

    /// When something happens next by itself.
    #[must_use]
    pub fn due(&self) -> Option<Micros> {
        let ends = self.ends.iter().flat_map(|end| {
            let whole = (!end.packet.is_empty()).then_some(end.quiet_since + self.pause());
            let begins = end.packets.front().map(|(at, _)| (*at).max(end.sends_until));
            [end.coming.front().map(|(at, _)| *at), whole, begins, end.going.front().map(|(at, _)| *at)]
        });
        let all = ends.flatten().chain(self.carriers.iter().map(|carrier| carrier.ends));
        // What can be read already waits for its host.
        all.filter(|at| *at > self.now).min()
    }

    /// Lets time pass.
    pub fn advance(&mut self, until: Micros) {
        loop {
            self.work();
            let next = self.due().unwrap_or(until).min(until);
            if next <= self.now {
                return;
            }
            self.now = next;
        }
    }

    fn pause(&self) -> Micros {
        PAUSE.max(self.module.wire_us(PAUSE_BYTES)).min(self.module.hold_us.into())
    }

    fn below(&mut self, below: u64) -> u64 {
        self.random.next_u64() % below.max(1)
    }

    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 <= share
    }

    fn work(&mut self) {
        let now = self.now;
        // Ends of carriers first: who begins at the same moment does not spoil them.
        while let Some(at) = self.carriers.iter().position(|carrier| carrier.ends <= now) {
            let carrier = self.carriers.swap_remove(at);
            self.heard(&carrier);
        }
        for index in 0..self.ends.len() {
            self.take_bytes(index);
            self.begin(index);
        }
    }

    /// Bytes from the host become packets.
    fn take_bytes(&mut self, index: usize) {
        let (now, hold, most) = (self.now, u64::from(self.module.hold_us), usize::from(self.module.packet));
        let pause = self.pause();
        loop {
            let delay = self.below(hold.saturating_sub(pause) + 1);
            let Some(end) = self.ends.get_mut(index) else { return };
            let due = end.coming.front().is_some_and(|(at, _)| *at <= now);
            if due && let Some((at, byte)) = end.coming.pop_front() {
                end.packet.push(byte);
                end.quiet_since = at;
            }
            let is_whole =
                end.packet.len() >= most || !end.packet.is_empty() && now >= end.quiet_since + pause;
            if is_whole {
                end.packets.push_back((now + delay, std::mem::take(&mut end.packet)));
            } else if !due {
                return;
            }
        }
    }

    fn begin(&mut self, index: usize) {
        let (now, module) = (self.now, self.module);
        let Some(end) = self.ends.get_mut(index) else { return };
        let is_due = |packet: &mut (Micros, Vec<u8>)| packet.0 <= now;
        if now < end.sends_until || !end.packets.front_mut().is_some_and(is_due) {
            return;
        }
        let Some((_, bytes)) = end.packets.pop_front() else { return };
        let ends = now + module.air_us(bytes.len());
        end.sends_until = ends;
        let mut spoilt = false;
        for other in &mut self.carriers {
            (other.spoilt, spoilt) = (true, true);
        }
        self.carriers.push(Carrier { from: index, begins: now, ends, bytes, spoilt });
    }

    fn heard(&mut self, carrier: &Carrier) {
        let (module, hold) = (self.module, u64::from(self.module.hold_us));
        for index in 0..self.ends.len() {
            let lost = self.chance(self.conditions.loss);
            let (is_cut, has_rubbish) =
                (self.chance(self.conditions.cut), self.chance(self.conditions.rubbish));
            let delay = self.below(hold / 2 + 1);
            let pause = if is_cut { self.below(hold / 2 + 1) } else { 0 };
            let rubbish: Vec<u8> = if has_rubbish {
                (0..=self.below(RUBBISH)).map(|_| self.random.next_u64() as u8).collect()
            } else {
                Vec::new()
            };
            let Some(end) = self.ends.get_mut(index) else { return };
            // Half duplex: who was sending meanwhile has heard nothing.
            let sent = end.sends_until > carrier.begins;
            if index == carrier.from || carrier.spoilt || sent || end.deaf || lost {
                continue;
            }
            let mut at = end.going.back().map_or(0, |(at, _)| *at).max(carrier.ends + delay);
            for (place, byte) in carrier.bytes.iter().chain(&rubbish).enumerate() {
                at += module.wire_us(1) + if place == carrier.bytes.len() / 2 { pause } else { 0 };
                end.going.push_back((at, *byte));
            }
        }
    }
}
