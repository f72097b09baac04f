//! The agent with all cryptography in software, every call of it made, on a board that is a handful of registers. Linked
//! to be measured; it is never run.
#![no_std]
#![no_main]

#[cfg(feature = "pins")]
use cardea_agent::PinResult;
use cardea_agent::{
    Actuator, ActuatorFault, Agent, Board, Clock, Config, Door, Home, Output, Parts, Slot, Storage,
    StorageFault,
};
use cardea_credentials::{Error, Random};
use cardea_resources::{Bolt, Firmware, Op};

/// What cannot be known while compiling.
#[inline(never)]
fn read(register: usize) -> u32 {
    // SAFETY: never run.
    unsafe { ((0x4000_0000 + register) as *const u32).read_volatile() }
}

#[inline(never)]
fn write(register: usize, value: u32) {
    // SAFETY: never run.
    unsafe { ((0x4000_0000 + register) as *mut u32).write_volatile(value) }
}

fn read_bytes(out: &mut [u8]) {
    out.iter_mut().for_each(|byte| *byte = read(0) as u8);
}

fn write_bytes(bytes: &[u8]) {
    bytes.iter().for_each(|&byte| write(0, u32::from(byte)));
}

fn check() -> Result<(), StorageFault> {
    if read(4) == 0 { Ok(()) } else { Err(StorageFault) }
}

struct Registers;

impl Board for Registers {
    type Storage = Self;
    type Clock = Self;
    type Random = Self;
    type Identity = Identity;
    type Dh = Dh;
    type Actuator = Self;
}

#[cfg(not(feature = "element"))]
use cardea_credentials::{SoftAgreement as Dh, SoftSigner as Identity};
#[cfg(feature = "element")]
use {Element as Dh, Element as Identity};

/// A key in a secure element, which is a handful of registers too.
#[cfg(feature = "element")]
struct Element(cardea_credentials::PublicKey);

#[cfg(feature = "element")]
impl Element {
    fn from_bytes(x: &[u8; 32]) -> Result<Self, Error> {
        cardea_credentials::PublicKey::from_x(x).map(Self)
    }
}

#[cfg(feature = "element")]
impl cardea_credentials::Signer for Element {
    fn public(&self) -> cardea_credentials::PublicKey {
        self.0
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        let mut signature = [0; 64];
        write_bytes(message);
        read_bytes(&mut signature);
        check().map_err(|StorageFault| Error::KeyUnavailable)?;
        Ok(signature)
    }
}

#[cfg(feature = "element")]
impl cardea_credentials::Agreement for Element {
    fn public(&self) -> cardea_credentials::PublicKey {
        self.0
    }

    fn agree(&self, peer: &cardea_credentials::PublicKey) -> Result<cardea_credentials::SharedSecret, Error> {
        let mut x = [0; 32];
        write_bytes(&peer.x());
        write_bytes(&peer.y());
        read_bytes(&mut x);
        check().map_err(|StorageFault| Error::KeyUnavailable)?;
        Ok(cardea_credentials::SharedSecret::new(x))
    }
}

impl Storage for Registers {
    fn read(&mut self, slot: Slot, out: &mut [u8]) -> Result<Option<usize>, StorageFault> {
        write(4, slot.index() as u32);
        read_bytes(out);
        check()?;
        Ok(match read(8) as usize {
            0 => None,
            len => Some(len.min(out.len())),
        })
    }

    fn write(&mut self, slot: Slot, record: &[u8]) -> Result<(), StorageFault> {
        write(4, slot.index() as u32);
        write_bytes(record);
        check()
    }

    fn erase(&mut self, slot: Slot) -> Result<(), StorageFault> {
        write(8, slot.index() as u32);
        check()
    }
}

impl Clock for Registers {
    fn millis(&mut self) -> u64 {
        u64::from(read(12))
    }

    fn rtc(&mut self) -> Option<u64> {
        Some(u64::from(read(16)))
    }
}

impl Random for Registers {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        read_bytes(out);
        Ok(())
    }
}

impl Actuator for Registers {
    fn drive(&mut self, op: Op) -> Result<Bolt, ActuatorFault> {
        write(20, op as u32);
        Ok(self.bolt())
    }

    fn bolt(&mut self) -> Bolt {
        if read(20) == 0 { Bolt::Locked } else { Bolt::Unlocked }
    }

    fn battery(&mut self) -> u8 {
        read(24) as u8
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let mut key = [0; 32];
    read_bytes(&mut key);
    let identity = Identity::from_bytes(&key);
    read_bytes(&mut key);
    let dh = Dh::from_bytes(&key);
    if let (Ok(identity), Ok(dh)) = (identity, dh) {
        let parts = Parts {
            storage: Registers,
            clock: Registers,
            random: Registers,
            identity,
            dh,
            actuator: Registers,
        };
        let config = Config::class_a(Firmware { major: 1, minor: 0, patch: 0 });
        if let Ok(agent) = Home::<Registers>::new(parts, config).boot() {
            run(agent);
        }
    }
    halt()
}

fn run(agent: &mut Agent<Registers>) -> ! {
    let mut frame = [0; 256];
    loop {
        match read(28) as usize {
            0 => agent.touch(),
            1 => agent.bolt_moved(),
            2 => agent.handle_timeout(),
            3 => agent.link_up(),
            4 => agent.link_down(),
            5 => agent.door_moved(if read(28) == 0 { Door::Closed } else { Door::Ajar }),
            6 => agent.tampered(),
            7 => agent.battery_measured(),
            #[cfg(feature = "pins")]
            8 => {
                let pin = frame.get_mut(..8).unwrap_or_default();
                read_bytes(pin);
                write(48, u32::from(agent.enter_pin(pin) == PinResult::Unlocked));
            }
            len => {
                let frame = frame.get_mut(..len).unwrap_or_default();
                read_bytes(frame);
                agent.handle_frame(frame);
            }
        }
        while let Some(output) = agent.poll_transmit(read(32) as usize, &mut frame) {
            match output {
                Output::Frame(len) => write_bytes(frame.get(..len).unwrap_or_default()),
                Output::Poll => write(36, 0),
            }
        }
        while agent.poll_event().is_some() {
            write(40, 1);
        }
        write(44, agent.poll_timeout().unwrap_or(0) as u32);
    }
}

fn halt() -> ! {
    loop {
        cortex_m::asm::nop();
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    halt()
}
