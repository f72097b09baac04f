//! What a radio, a gateway or a platform gone mad may hand to an activated lock.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::OnceLock;

use cardea_agent::{
    Actuator, ActuatorFault, Agent, Clock, Config, Output, Parts, Slot, Storage, StorageFault,
};
use cardea_credentials::{Error, Random, Signer, SoftAgreement, SoftSigner};
use cardea_framing::{Class, Datagram, Kind, elide};
use cardea_oscore::coap::{Builder, Code, Message, Type};
use cardea_oscore::{Algorithm, Context};
use cardea_resources::{Bolt, Firmware, Op};

const SECRET: [u8; 16] = [0x51; 16];
const SALT: [u8; 8] = [0x52; 8];
const LOCK: u8 = 0x01;
const PLATFORM: u8 = 0x02;

pub(crate) struct Board;

impl cardea_agent::Board for Board {
    type Storage = Nvm;
    type Clock = Ticks;
    type Random = Counter;
    type Identity = SoftSigner;
    type Dh = SoftAgreement;
    type Actuator = Motor;
}

#[derive(Clone, Default)]
pub(crate) struct Nvm(pub(crate) Rc<RefCell<BTreeMap<Slot, Vec<u8>>>>);

impl Storage for Nvm {
    fn read(&mut self, slot: Slot, out: &mut [u8]) -> Result<Option<usize>, StorageFault> {
        let slots = self.0.borrow();
        let Some(record) = slots.get(&slot) else { return Ok(None) };
        out.get_mut(..record.len()).ok_or(StorageFault)?.copy_from_slice(record);
        Ok(Some(record.len()))
    }

    fn write(&mut self, slot: Slot, record: &[u8]) -> Result<(), StorageFault> {
        assert!(record.len() <= slot.max_len());
        self.0.borrow_mut().insert(slot, record.to_vec());
        Ok(())
    }

    fn erase(&mut self, slot: Slot) -> Result<(), StorageFault> {
        self.0.borrow_mut().remove(&slot);
        Ok(())
    }
}

#[derive(Clone, Default)]
pub(crate) struct Ticks(pub(crate) Rc<Cell<u64>>);

impl Clock for Ticks {
    fn millis(&mut self) -> u64 {
        self.0.get()
    }

    fn rtc(&mut self) -> Option<u64> {
        None
    }
}

pub(crate) struct Counter(u8);

impl Random for Counter {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), Error> {
        for byte in out {
            self.0 = self.0.wrapping_mul(5).wrapping_add(113);
            *byte = self.0;
        }
        Ok(())
    }
}

#[derive(Clone, Default)]
pub(crate) struct Motor(Rc<Cell<usize>>);

impl Actuator for Motor {
    fn drive(&mut self, op: Op) -> Result<Bolt, ActuatorFault> {
        self.0.set(self.0.get() + 1);
        Ok(if op == Op::Lock { Bolt::Locked } else { Bolt::Unlocked })
    }

    fn bolt(&mut self) -> Bolt {
        Bolt::Locked
    }

    fn battery(&mut self) -> u8 {
        50
    }
}

pub(crate) fn keys() -> Option<(SoftSigner, SoftAgreement)> {
    Some((SoftSigner::from_bytes(&[1; 32]).ok()?, SoftAgreement::from_bytes(&[2; 32]).ok()?))
}

/// The platform's key that signs.
pub(crate) fn signing() -> Option<SoftSigner> {
    SoftSigner::from_bytes(&[5; 32]).ok()
}

pub(crate) fn boot(nvm: &Nvm, ticks: &Ticks, motor: &Motor) -> Option<Agent<Board>> {
    let (identity, dh) = keys()?;
    let parts = Parts {
        storage: nvm.clone(),
        clock: ticks.clone(),
        random: Counter(7),
        identity,
        dh,
        actuator: motor.clone(),
    };
    let mut agent = Agent::boot(parts, Config::class_a(Firmware::default())).ok()?;
    agent.link_up();
    Some(agent)
}

/// The NVM of an activated lock, by the record layouts of `docs/lock-agent.md`.
pub(crate) fn activated() -> Option<Nvm> {
    static IDENTITY: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| {
        let nvm = Nvm::default();
        boot(&nvm, &Ticks::default(), &Motor::default())?;
        let slots = nvm.0.borrow();
        slots.get(&Slot::Identity).cloned()
    });
    let nvm = Nvm::default();
    let mut owner = vec![2];
    owner.extend(keys()?.0.public().to_compressed());
    owner.extend(signing()?.public().to_compressed());
    owner.extend([0, 0, 0, 1, 0, 0]);
    let mut context = vec![1, 0, 0, 0, 1, 10, 0, 1, LOCK, 0, 1, PLATFORM];
    context.extend(SECRET);
    context.extend(SALT);
    let mut slots = nvm.0.borrow_mut();
    slots.insert(Slot::Identity, identity.clone()?);
    slots.insert(Slot::Owner, owner);
    slots.insert(Slot::Context(0), context);
    drop(slots);
    Some(nvm)
}

/// A request as the platform would seal it: `inner` is the CoAP message from its code on.
fn sealed(platform: &Context, number: u64, inner: &[u8]) -> Option<Vec<u8>> {
    let (&code, body) = inner.split_first()?;
    let mut coap = vec![0x51, code, 0, 0, number as u8];
    coap.extend(body);
    Message::parse(&coap).ok()?;
    let mut out = vec![0; coap.len() + 64];
    let (len, _) = platform.protect_request(number, &coap, &mut out).ok()?;
    let mut body = vec![0; len + 1];
    let len = elide(out.get(..len)?, &mut body).ok()?;
    datagram(Kind::PlatformOscore, body.get(..len)?)
}

/// `GET s` as [`sealed`] takes it, for a request that is known to be sound.
fn get_status(platform: &Context, number: u64) -> Option<Vec<u8>> {
    let mut coap = [0; 16];
    let builder = Builder::new(&mut coap, Type::NonConfirmable, Code::GET, 0, &[0]).ok()?;
    let len = builder.option(11, b"s").ok()?.finish();
    let mut inner = vec![Code::GET.to_byte()];
    inner.extend(coap.get(5..len)?);
    sealed(platform, number, &inner)
}

pub(crate) fn datagram(kind: Kind, body: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; body.len() + 1];
    Datagram { kind, class: Class::Interactive, peer: None, body }.encode(&mut out).ok()?;
    Some(out)
}

/// A script of steps (kind, length, bytes) against an activated lock: frames from anybody, authentic requests with any
/// content, time, touches, resets. The bolt never moves without an authentic request, the lock comes to rest after
/// each step, and serves a sound request at the end.
pub fn agent_frames(data: &[u8]) {
    let _ = run(data);
}

fn run(data: &[u8]) -> Option<()> {
    let (nvm, ticks, motor) = (activated()?, Ticks::default(), Motor::default());
    let platform =
        Context::derive(Algorithm::AesCcm16_64_128, &SECRET, &SALT, None, &[PLATFORM], &[LOCK]).ok()?;
    let mut agent = boot(&nvm, &ticks, &motor)?;
    assert!(agent.is_connected());
    let mut rest = data;
    let mut number = 0;
    let mut requests = 0;
    for _ in 0..64 {
        let Some((&[kind, len], tail)) = rest.split_first_chunk() else { break };
        let (bytes, tail) = tail.split_at(usize::from(len).min(tail.len()));
        rest = tail;
        match kind % 8 {
            0 | 1 => agent.handle_frame(bytes),
            2 => {
                if let Some(frame) = datagram(Kind::PlatformOscore, bytes) {
                    agent.handle_frame(&frame);
                }
            }
            3 => {
                if let Some(frame) = datagram(Kind::PlatformEdhoc, bytes) {
                    agent.handle_frame(&frame);
                }
            }
            4 => {
                number += 1;
                if let Some(frame) = sealed(&platform, number, bytes) {
                    requests += 1;
                    agent.handle_frame(&frame);
                }
            }
            5 => ticks.0.set(ticks.0.get() + 1_000 * u64::from(len) + 1),
            6 => agent.touch(),
            _ => {
                drop(agent);
                agent = boot(&nvm, &ticks, &motor)?;
            }
        }
        agent.handle_timeout();
        assert!(settles(&mut agent, usize::from(kind >> 3) + 20), "the lock never comes to rest");
        assert!(motor.0.get() <= requests, "the bolt moved without an authentic request");
    }
    if agent.is_connected() {
        ticks.0.set(ticks.0.get() + 600_000);
        let before = agent.dropped();
        agent.handle_frame(&get_status(&platform, number + 1)?);
        assert_eq!(agent.dropped(), before, "a sound request was refused");
    }
    Some(())
}

/// What a worn or tampered flash may hold: records (slot, length, bytes) over those of an activated lock. An agent boots
/// or says why it does not; one that boots moves no bolt by itself, comes to rest, and boots again on what it wrote.
pub fn agent_nvm(mut data: &[u8]) {
    let Some(nvm) = activated() else { return };
    while let [slot, len, rest @ ..] = data {
        let (bytes, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        data = rest;
        let slot = slot_of(*slot);
        let record = bytes.get(..bytes.len().min(slot.max_len())).unwrap_or_default();
        if record.is_empty() {
            nvm.0.borrow_mut().remove(&slot);
        } else {
            nvm.0.borrow_mut().insert(slot, record.to_vec());
        }
    }
    let (ticks, motor) = (Ticks::default(), Motor::default());
    let Some(mut agent) = boot(&nvm, &ticks, &motor) else { return };
    for _ in 0..4 {
        agent.touch();
        ticks.0.set(ticks.0.get() + 60_000);
        agent.handle_timeout();
        assert!(settles(&mut agent, 51), "the lock never comes to rest");
    }
    drop(agent);
    assert!(boot(&nvm, &ticks, &motor).is_some(), "it does not boot on what it wrote itself");
    assert_eq!(motor.0.get(), 0, "the bolt moved without a request");
}

/// Each slot by a byte; those whose records are more than a list of their kind come first.
const fn slot_of(byte: u8) -> Slot {
    match byte {
        0 => Slot::Code,
        1 => Slot::Identity,
        2 => Slot::Owner,
        3 | 4 => Slot::Context(byte - 3),
        5 | 6 => Slot::Sequence(byte - 5),
        7 => Slot::Ledger,
        8 => Slot::LogMeta,
        9 => Slot::Time,
        10..=73 => Slot::Log(byte - 10),
        74..=89 => Slot::Pin(byte - 74),
        90 => Slot::Uses,
        91 => Slot::Site,
        92..=123 => Slot::Revoked(byte - 92),
        _ => Slot::Added(byte % 4),
    }
}

/// Asks for frames until there are none.
fn settles(agent: &mut Agent<Board>, mtu: usize) -> bool {
    let mut frame = [0; 256];
    let mut polls = 0;
    for _ in 0..200 {
        match agent.poll_transmit(mtu, &mut frame) {
            Some(Output::Frame(len)) => assert!(len <= mtu),
            Some(Output::Poll) => polls += 1,
            None => {
                assert!(polls <= 1, "more than one poll at one moment");
                while agent.poll_event().is_some() {}
                return true;
            }
        }
    }
    false
}
