//! The lock agent of this repository, driven by the same lines as the stranger's, to be asked the same questions.

use std::cell::Cell;
use std::rc::Rc;

use cardea_agent::{
    Actuator, ActuatorFault, Agent, AgentEvent, Board, Clock, Config, Door, Output, Parts, Slot, provision,
};
use cardea_credentials::{OwnerCode, Random, Signer as _, SoftAgreement, SoftSigner};
use cardea_resources::{Bolt, Firmware, Op};
use cardea_sdk::OsRandom;
use cardea_simulator::Nvm;

use crate::lock::{Device, Said};

struct Bench;

impl Board for Bench {
    type Storage = Nvm;
    type Clock = Timer;
    type Random = OsRandom;
    type Identity = SoftSigner;
    type Dh = SoftAgreement;
    type Actuator = Motor;
}

#[derive(Clone, Default)]
struct Timer(Rc<Cell<u64>>);

impl Clock for Timer {
    fn millis(&mut self) -> u64 {
        self.0.get()
    }

    fn rtc(&mut self) -> Option<u64> {
        None
    }
}

#[derive(Clone)]
struct Motor(Rc<Cell<Bolt>>);

impl Actuator for Motor {
    fn drive(&mut self, op: Op) -> Result<Bolt, ActuatorFault> {
        self.0.set(if op == Op::Unlock { Bolt::Unlocked } else { Bolt::Locked });
        Ok(self.0.get())
    }

    fn bolt(&mut self) -> Bolt {
        self.0.get()
    }

    fn battery(&mut self) -> u8 {
        87
    }
}

pub struct Reference {
    agent: Agent<Bench>,
    flash: Nvm,
    timer: Timer,
    motor: Motor,
    keys: [[u8; 32]; 2],
    mtu: usize,
    said: Said,
}

impl Reference {
    pub fn new() -> Self {
        let mut drawn = [0; 48];
        OsRandom.fill(&mut drawn).unwrap();
        let mut keys = [[1; 32]; 2];
        keys[0][16..].copy_from_slice(&drawn[..16]);
        keys[1][16..].copy_from_slice(&drawn[16..32]);
        let code = OwnerCode::from_bytes(drawn[32..].try_into().unwrap());
        let (mut flash, timer) = (Nvm::default(), Timer::default());
        provision(&mut flash, &code).unwrap();
        let motor = Motor(Rc::new(Cell::new(Bolt::Locked)));
        let said = Said {
            thumbprint: hex::encode(SoftSigner::from_bytes(&keys[0]).unwrap().public().thumbprint()),
            code: code.reveal().to_string(),
            ..Said::default()
        };
        let agent = boot(&flash, &timer, &motor, &keys);
        Self { agent, flash, timer, motor, keys, mtu: 222, said }
    }

    /// The newest context, from its record: see the table in docs/lock-agent.md.
    fn context(&self) -> Option<String> {
        let records = [Slot::Context(0), Slot::Context(1)].map(|slot| self.flash.get(slot));
        let record = records.into_iter().flatten().max_by_key(|record| record[1..5].to_vec())?;
        let [1, _, _, _, _, 10, 0, 1, sender, 0, 1, recipient, rest @ ..] = &record[..] else {
            panic!("{}", hex::encode(record))
        };
        let (secret, salt) = rest.split_at(16);
        Some(format!("context {} {} {sender:02x} {recipient:02x}", hex::encode(secret), hex::encode(salt)))
    }

    fn inside(&mut self) {
        let context = self.context();
        let owner = self.agent.owner().map_or_else(|| "-".to_owned(), hex::encode);
        let code = if self.flash.get(Slot::Code).is_some() { "code" } else { "-" };
        let contexts = [0, 1].iter().filter(|n| self.flash.get(Slot::Context(**n)).is_some()).count();
        let cwt = self.flash.get(Slot::Identity).map(hex::encode).unwrap_or_default();
        self.said.told.push(format!("keys - - {cwt}"));
        self.said.told.extend(context);
        self.said.told.push(format!("owner {owner} {code} {contexts}"));
    }
}

fn boot(flash: &Nvm, timer: &Timer, motor: &Motor, keys: &[[u8; 32]; 2]) -> Agent<Bench> {
    let parts = Parts {
        storage: flash.clone(),
        clock: timer.clone(),
        random: OsRandom,
        identity: SoftSigner::from_bytes(&keys[0]).unwrap(),
        dh: SoftAgreement::from_bytes(&keys[1]).unwrap(),
        actuator: motor.clone(),
    };
    let config = Config { heartbeat_ms: 0, ..Config::listening(Firmware { major: 1, minor: 2, patch: 3 }) };
    Agent::boot(parts, config).unwrap()
}

impl Device for Reference {
    fn say(&mut self, now: u64, line: &str) {
        self.timer.0.set(now);
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["frame", frame] => self.agent.handle_frame(&hex::decode(frame).unwrap()),
            ["link", mtu] => {
                self.mtu = mtu.parse().unwrap();
                self.agent.link_up();
            }
            ["timer"] => self.agent.handle_timeout(),
            ["touch"] => self.agent.touch(),
            ["door", position] => {
                self.agent
                    .door_moved([Door::Closed, Door::Open, Door::Ajar][position.parse::<usize>().unwrap()]);
            }
            ["bolt", position] => {
                self.motor.0.set(if position == "0" { Bolt::Locked } else { Bolt::Unlocked });
                self.agent.bolt_moved();
            }
            ["pin", digits] => {
                self.agent.enter_pin(digits.as_bytes());
            }
            ["loss"] => self.agent = boot(&self.flash, &self.timer, &self.motor, &self.keys),
            ["inside"] => self.inside(),
            _ => panic!("{line}"),
        }
        let mut frame = [0; 256];
        while let Some(Output::Frame(len)) = self.agent.poll_transmit(self.mtu, &mut frame) {
            self.said.frames.push(frame[..len].to_vec());
        }
        while let Some(event) = self.agent.poll_event() {
            if let AgentEvent::Command { op, .. } = event {
                self.said.told.push(format!("bolt {}", i32::from(op == Op::Unlock)));
            }
        }
        self.said.due = self.agent.poll_timeout();
    }

    fn said(&mut self) -> &mut Said {
        &mut self.said
    }
}
