//! The power fails: after each single step of a restore and of a change of the key, on both sides of the line.

use super::backups::backup;
use super::*;
use crate::backup::Backup;

const KEY: Key = Key([0x4B; 16]);
const NEW: Key = Key([9; 16]);

/// What a dongle keeps without power.
#[derive(Clone)]
struct Memory {
    network: Network,
    key: Key,
    number: u8,
    counter: u32,
    devices: Vec<crate::backup::Device>,
}

impl Memory {
    fn of(backup: &Backup) -> Self {
        let crate::backup::NetworkKey { key, number, frame_counter } = backup.key.clone();
        let (network, devices) = (backup.network, backup.devices.clone());
        Self { network, key, number, counter: frame_counter, devices }
    }

    fn backup(&self) -> Backup {
        let (key, number) = (self.key.clone(), self.number);
        let key = crate::backup::NetworkKey { key, number, frame_counter: self.counter };
        Backup { key, devices: self.devices.clone(), ..backup(&[]) }
    }
}

/// What a coordinator does next.
enum Step {
    Say(Said),
    Erase,
    /// The ids are there and everybody can hear it; counters and link keys are not.
    Form(Box<Backup>),
    Write(Box<Backup>),
    Switch(Key),
}

/// A gateway, its store, a coordinator with a dongle, and how many steps there are until the power fails.
struct World {
    bench: Bench,
    memory: Option<Memory>,
    /// What the coordinator takes for ours.
    expected: Option<Network>,
    steps: VecDeque<Step>,
    fuel: usize,
    /// The coordinator takes its orders before the store is done.
    eager: bool,
    /// The highest counter that devices have heard, by key.
    heard: Vec<(Key, u32)>,
}

impl World {
    /// Two locks in a network that a dongle ran; it is stored, and so is a backup.
    fn new(memory: Option<Memory>) -> Self {
        let mut bench = Bench::up();
        for n in [1, 2] {
            bench.command(Command::Admit(label(n)));
            bench.join(n, true);
        }
        bench.pass(10_000);
        bench.say(Said::BackedUp(Ok(Box::new(backup(&[1, 2])))));
        bench.forget();
        let heard = vec![(KEY, backup(&[]).key.frame_counter + 1_000)];
        let mut world = Self {
            bench,
            memory,
            expected: None,
            steps: VecDeque::new(),
            fuel: usize::MAX,
            eager: false,
            heard,
        };
        world.start();
        world
    }

    /// Power: the driver from its store, the coordinator from its dongle.
    fn start(&mut self) {
        let store = self.bench.store.clone();
        let driver = Driver::new(config(), store.snapshot()).unwrap();
        self.expected = driver.expected();
        self.bench = Bench { driver, now: self.bench.now, ..Bench::on(store) };
        let state = match &self.memory {
            None => State::Unformed,
            Some(memory) if self.expected.is_some_and(|ours| ours.is(&memory.network)) => {
                State::Up(memory.network)
            }
            Some(memory) => State::Foreign(memory.network),
        };
        self.steps = [Step::Say(Said::State(State::Starting)), Step::Say(Said::State(state))].into();
    }

    /// One thing happens; false: nothing is left to happen, or the power has failed.
    fn step(&mut self) -> bool {
        if self.fuel == 0 {
            return false;
        }
        let bench = &mut self.bench;
        bench.replies.extend(std::iter::from_fn(|| bench.driver.poll_reply()).map(|(_, reply)| reply));
        while bench.driver.poll_event().is_some() {}
        if self.eager
            && self.steps.is_empty()
            && let Some(order) = bench.driver.poll_order()
        {
            self.take(order);
        } else if let Some(step) = self.steps.pop_front_if(|_| self.eager) {
            self.fuel -= 1;
            self.carry_out(step);
        } else if let Some((commit, batch)) = bench.driver.poll_commit() {
            bench.store.commit_now(batch).unwrap();
            // It is durable; the answer may never come.
            self.fuel -= 1;
            if self.fuel > 0 {
                bench.driver.handle_stored(bench.now, commit, Ok(()));
            }
        } else if let Some(step) = self.steps.pop_front() {
            self.fuel -= 1;
            self.carry_out(step);
        } else if let Some(order) = bench.driver.poll_order() {
            self.take(order);
        } else {
            return false;
        }
        self.look();
        self.fuel > 0
    }

    fn take(&mut self, order: Order) {
        let starting = || Step::Say(Said::State(State::Starting));
        match order {
            Order::Restore { backup, .. } => {
                let ahead = Box::new(backup.jump().unwrap());
                let network = ahead.network;
                self.steps.extend([
                    starting(),
                    Step::Erase,
                    Step::Form(ahead.clone()),
                    Step::Write(ahead),
                    Step::Say(Said::Formed(Ok(network))),
                    Step::Say(Said::State(State::Up(network))),
                ]);
            }
            Order::RotateKey(key) => {
                self.steps.extend([Step::Switch(key), Step::Say(Said::KeyRotated(Ok(4)))]);
            }
            Order::Backup => {
                let taken = self.memory.as_ref().unwrap().backup();
                self.steps.push_back(Step::Say(Said::BackedUp(Ok(Box::new(taken)))));
            }
            Order::Adopt => {
                let network = self.memory.as_ref().unwrap().network;
                self.steps.push_back(Step::Say(Said::Formed(Ok(network))));
                self.steps.push_back(Step::Say(Said::State(State::Up(network))));
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Say(said) => self.bench.driver.handle_event(self.bench.now, said),
            Step::Erase => self.memory = None,
            Step::Form(backup) => {
                let blank = Memory { counter: 1_024, devices: vec![], ..Memory::of(&backup) };
                self.memory = Some(blank);
            }
            Step::Write(backup) => {
                self.memory = Some(Memory::of(&backup));
                // It runs, before anybody knows.
                self.speak();
            }
            Step::Switch(key) => {
                let memory = self.memory.as_mut().unwrap();
                (memory.key, memory.number) = (key, 4);
            }
        }
    }

    /// A network that carries is one in which everybody hears: its counter was never used, and its link keys are there.
    fn look(&mut self) {
        if !self.bench.driver.is_up() {
            return;
        }
        let memory = self.memory.as_ref().unwrap();
        let known: Vec<Eui64> = memory.devices.iter().map(|device| device.eui).collect();
        assert_eq!(known, [eui(1), eui(2)], "the dongle has forgotten locks");
        self.speak();
    }

    /// A hundred frames.
    fn speak(&mut self) {
        let memory = self.memory.as_mut().unwrap();
        let last = self.heard.iter().rfind(|(key, _)| *key == memory.key).map_or(0, |(_, last)| *last);
        assert!(memory.counter > last, "counter {} was heard before {last}", memory.counter);
        memory.counter += 100;
        self.heard.push((memory.key.clone(), memory.counter - 1));
    }

    fn run(&mut self) {
        while self.step() {}
    }

    fn order(&mut self, order: NetworkOrder) {
        self.bench.driver.handle_order(self.bench.now, 1, order);
    }

    /// Nobody has to join anew, and the gateway knows its network.
    fn is_whole(&mut self) {
        self.run();
        assert!(self.bench.driver.is_up(), "{:?}", self.bench.driver.state);
        assert_eq!(self.bench.driver.devices.len(), 2);
        assert!(self.bench.driver.devices.values().all(|device| device.joined && device.endpoint.is_some()));
        let memory = self.memory.as_ref().unwrap();
        let stored = StoredNetwork::from_record(&self.bench.stored(RecordKey::Network).unwrap()).unwrap();
        assert_eq!((stored.network, stored.key.as_ref()), (memory.network, Some(&memory.key)));
        assert_eq!(self.bench.kept().unwrap().key.key, memory.key);
        assert_eq!(
            (self.bench.stored(RecordKey::Restore), self.bench.stored(RecordKey::NextKey)),
            (None, None)
        );
    }
}

fn restore(replace: bool) -> NetworkOrder {
    NetworkOrder::Restore { backup: None, replace }
}

/// A fresh dongle, and one that runs the network already, rewound.
#[test]
fn the_power_fails_at_every_step_of_a_restore_and_nothing_is_lost() {
    let running = Memory { counter: 9_000, ..Memory::of(&backup(&[1, 2])) };
    for (memory, eager) in
        [(None, false), (None, true), (Some(running.clone()), false), (Some(running), true)]
    {
        let (replace, mut cuts, mut operated) = (memory.is_some(), 0, 0);
        loop {
            let mut world = World::new(memory.clone());
            world.run();
            world.eager = eager;
            world.order(restore(replace));
            world.fuel = cuts;
            world.run();
            let done = world.fuel > 0;
            (world.fuel, cuts) = (usize::MAX, cuts + 1);
            world.start();
            world.run();
            if !world.bench.driver.is_up() {
                let words = &world.bench.driver.health.as_ref().unwrap().detail;
                assert!(words.contains("restore zigbee --from-store"), "cut {cuts}: {words}");
                operated += 1;
                world.order(restore(world.memory.is_some()));
                world.run();
                assert!(matches!(world.bench.replies[..], [Ok(NetworkDone::Restored { anew: 0, .. })]));
            }
            world.is_whole();
            if done {
                break;
            }
        }
        println!("{cuts} cuts, after {operated} of them an operator was needed");
        assert!(cuts > 8 && operated > 4, "{cuts} {operated}");
    }
}

/// Twice: the second cut falls into the restore that takes the first one up again.
#[test]
fn two_power_cuts_in_one_restore_lose_nothing_and_no_counter_is_used_twice() {
    for first in 0..12 {
        for second in 0..12 {
            let mut world = World::new(None);
            world.run();
            for fuel in [first, second] {
                world.order(restore(world.memory.is_some()));
                world.fuel = fuel;
                world.run();
                world.fuel = usize::MAX;
                world.start();
                world.run();
                if world.bench.driver.is_up() {
                    break;
                }
            }
            if !world.bench.driver.is_up() {
                world.order(restore(world.memory.is_some()));
            }
            world.is_whole();
        }
    }
}

#[test]
fn the_power_fails_at_every_step_of_a_change_of_the_key_and_the_gateway_knows_which_one_is_used() {
    let (mut cuts, mut old, mut new) = (0, 0, 0);
    loop {
        let mut world = World::new(Some(Memory { counter: 9_000, ..Memory::of(&backup(&[1, 2])) }));
        world.run();
        world.eager = true;
        world.order(NetworkOrder::RotateKey(NEW));
        world.fuel = cuts;
        world.run();
        let done = world.fuel > 0;
        (world.fuel, cuts) = (usize::MAX, cuts + 1);
        world.start();
        world.run();
        world.bench.now += 10_000;
        world.bench.driver.handle_timeout(world.bench.now);
        world.is_whole();
        if world.memory.as_ref().unwrap().key == NEW {
            new += 1
        } else {
            old += 1
        }
        // The dongle dies now, and what is stored speaks with the right key.
        world.memory = None;
        world.start();
        world.run();
        world.order(restore(false));
        world.is_whole();
        if done {
            break;
        }
    }
    println!("{cuts} cuts: {old} with the old key, {new} with the new one");
    assert!(old > 1 && new > 1, "{old} {new}");
}
