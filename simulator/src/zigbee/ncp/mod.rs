//! The NCP: one family's firmware ([`Front`]) with the air that they all have.

mod ezsp;
mod zboss;

use cardea_radio::Millis;
use cardea_zigbee::ezsp::call::Protocol;
use cardea_zigbee::{Eui64, NwkAddr};
use zeroize::Zeroizing;

use super::air::{Air, DeviceConfig, Downlink, Notice, Traffic, Uplink};
use super::nvram::{Nvram, UNKNOWN};

/// What an NCP is made with.
#[derive(Debug, Clone, Copy)]
pub struct NcpConfig {
    /// Its own address, from the factory.
    pub eui: Eui64,
    /// Makes addresses and PAN ids.
    pub seed: u64,
}

/// The firmware of one family: the host's commands, and what it says of the air.
trait Front: Send {
    /// It starts with NVRAM alone. `source`: 0 power, 1 the host, 2 pin, 3 brown-out.
    fn restart(&mut self, air: &mut Air, now: Millis, source: u8);
    /// Nobody has the port open any more.
    fn handle_close(&mut self);
    fn handle_bytes(&mut self, air: &mut Air, now: Millis, bytes: &[u8]);
    fn handle_timeout(&mut self, air: &mut Air, now: Millis);
    /// Something happened in the air.
    fn handle_notice(&mut self, air: &mut Air, notice: Notice);
    fn poll_transmit(&mut self, now: Millis) -> Option<Zeroizing<Vec<u8>>>;
    fn poll_timeout(&self) -> Option<Millis>;
    fn is_starting(&self) -> bool;
}

/// A virtual NCP and its air, without port, clock or task.
pub struct Ncp {
    air: Air,
    front: Box<dyn Front>,
}

impl Ncp {
    /// A dongle with ZBOSS firmware, without power, that remembers this.
    #[must_use]
    pub fn new(config: NcpConfig, nvram: Nvram) -> Self {
        let front = zboss::Zboss::default();
        Self { air: Air::new(config.eui, config.seed, nvram, front.rules()), front: Box::new(front) }
    }

    /// One of Silicon Labs that speaks this protocol, 13 to 19.
    #[must_use]
    pub fn ezsp(config: NcpConfig, nvram: Nvram, protocol: u8) -> Self {
        let front = ezsp::Ezsp::new(Protocol(protocol));
        Self {
            air: Air::new(config.eui, config.seed, nvram, front.rules(&Nvram::default())),
            front: Box::new(front),
        }
    }

    /// Another dongle takes this one's place: the devices are in its air from now on, wherever they think they are.
    pub(super) fn succeeded_by(&mut self, mut other: Self) {
        other.air.take_devices(&mut self.air);
        *self = other;
    }

    /// Puts a device into its air; it is off.
    pub fn add(&mut self, config: DeviceConfig) {
        self.air.add(config);
    }

    /// What it remembers.
    #[must_use]
    pub fn nvram(&self) -> &Nvram {
        &self.air.nvram
    }

    /// What it did.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.air.traffic
    }

    /// Whether devices can join now.
    #[must_use]
    pub fn is_open(&self, now: Millis) -> bool {
        self.air.is_open(now)
    }

    /// Whether this device and the coordinator have the same link key, one that nobody else has.
    #[must_use]
    pub fn shares_key(&self, eui: Eui64) -> bool {
        self.air.shares_key(eui)
    }

    /// Whether this device is in the network and believes what the coordinator says.
    #[must_use]
    pub fn is_reachable(&self, eui: Eui64) -> bool {
        self.air.is_reachable(eui)
    }

    /// The address of this device, as far as the coordinator knows.
    #[must_use]
    pub fn address(&self, eui: Eui64) -> Option<NwkAddr> {
        self.air.nvram.members.get(&eui).map(|member| member.nwk).filter(|nwk| *nwk != UNKNOWN)
    }

    /// The calls of the host so far, oldest first.
    pub fn asked(&self) -> impl Iterator<Item = u16> + '_ {
        self.air.watch.asked.iter().copied()
    }

    /// Breaks it on purpose: this is done to every packet it says, before the checksums. What is empty then is not said.
    pub fn tamper(&mut self, tamper: impl FnMut(&mut Vec<u8>) + Send + 'static) {
        self.air.watch.tamper = Some(Box::new(tamper));
    }

    /// A device comes back under another address, with the keys that it has.
    pub fn renumber(&mut self, eui: Eui64) {
        self.air.renumber(eui);
        self.tell();
    }

    /// It gets power, or its reset pin is pulled: it starts with NVRAM alone. `source`: 0 power, 2 pin, 3 brown-out.
    pub fn restart(&mut self, now: Millis, source: u8) {
        self.front.restart(&mut self.air, now, source);
    }

    /// Nobody has the port open any more: what was said is lost.
    pub fn handle_close(&mut self) {
        self.front.handle_close();
    }

    /// The port gave these bytes.
    pub fn handle_bytes(&mut self, now: Millis, bytes: &[u8]) {
        if self.is_starting() {
            return;
        }
        self.front.handle_bytes(&mut self.air, now, bytes);
        self.handle_timeout(now);
    }

    /// A device's application does this.
    pub fn handle_radio(&mut self, now: Millis, eui: Eui64, uplink: Uplink) {
        self.air.handle_radio(now, eui, uplink);
        self.tell();
    }

    /// Bytes for the port: always one frame.
    pub fn poll_transmit(&mut self, now: Millis) -> Option<Zeroizing<Vec<u8>>> {
        self.front.poll_transmit(now)
    }

    /// What a device's application learns next.
    pub fn poll_radio(&mut self) -> Option<(Eui64, Downlink)> {
        self.air.poll_radio()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Millis> {
        let air = self.air.poll_timeout().filter(|_| !self.is_starting());
        [self.front.poll_timeout(), air].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Millis) {
        self.front.handle_timeout(&mut self.air, now);
        if !self.is_starting() {
            self.air.handle_timeout(now);
        }
        self.tell();
    }

    /// True from the answer to a reset until it has started: a dongle on USB is gone for that time.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.front.is_starting()
    }

    fn tell(&mut self) {
        while let Some(notice) = self.air.poll_notice() {
            self.front.handle_notice(&mut self.air, notice);
        }
    }
}
