//! Everything in any order: a coordinator, a store and a gateway that do what they may, whenever they like.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::coordinator::{self, HAND_OVER_MS, PARENT_HOLD_MS, REPEATS_MS};

const LOCKS: u8 = 3;

/// One step: what, whom or which, how much.
type Step = (u8, u8, u16);

struct World {
    driver: Driver,
    store: MemoryStore,
    now: Millis,
    writing: Option<(u64, Vec<Change>)>,
    /// Deadlines of all frames, and which of them have no outcome yet.
    deadlines: BTreeMap<u64, Millis>,
    open: BTreeSet<u64>,
    ended: BTreeSet<u64>,
    next_handle: u64,
    /// What the dongle has: handle, receiver.
    flying: Vec<(u64, Eui64)>,
    questions: Vec<(u64, Question)>,
    /// Admitted durably, and not removed since.
    admitted: BTreeSet<LockId>,
    /// Whom a question was for.
    asked: BTreeMap<u64, Eui64>,
}

/// Half of them sleep.
fn sleeps(eui: Eui64) -> bool {
    eui.0[7].is_multiple_of(2)
}

impl World {
    fn new() -> Self {
        // One that listens and one that sleeps are in it, one more may come.
        let mut bench = Bench::up();
        for n in 1..LOCKS {
            bench.command(Command::Admit(label(n)));
            bench.join(n, sleeps(eui(n)));
        }
        let store = bench.store;
        let driver = Driver::new(config(), store.snapshot()).unwrap();
        Self {
            driver,
            store,
            now: 1_000,
            writing: None,
            deadlines: BTreeMap::new(),
            open: BTreeSet::new(),
            ended: BTreeSet::new(),
            next_handle: 0,
            flying: Vec::new(),
            questions: Vec::new(),
            admitted: (1..LOCKS).map(lock).collect(),
            asked: BTreeMap::new(),
        }
    }

    fn step(&mut self, (what, whom, much): Step) {
        let n = whom % (LOCKS + 1) + 1;
        // The last is a stranger: nobody admits it.
        let known = n <= LOCKS;
        match what % 20 {
            0 | 1 => self.now += u64::from(much),
            2 | 3 if self.driver.poll_timeout().is_some_and(|at| at <= self.now) => {
                self.driver.handle_timeout(self.now);
            }
            4 if known => self.driver.handle_command(self.now, Command::Admit(label(n))),
            5 if known && much % 4 == 0 => {
                self.admitted.remove(&lock(n));
                self.driver.handle_command(self.now, Command::Remove(lock(n)));
            }
            6..=8 => {
                let (handle, deadline) = (self.next_handle, self.now + u64::from(much) / 2);
                self.next_handle += 1;
                self.deadlines.insert(handle, deadline);
                self.open.insert(handle);
                let frame = Bytes::from_static(b"unlock");
                self.driver
                    .handle_command(self.now, Command::Send(Send { handle, lock: lock(n), frame, deadline }));
            }
            9 => {
                let handle = self.next_handle.saturating_sub(u64::from(whom % 4));
                self.driver.handle_command(self.now, Command::Cancel { handle });
            }
            10 | 11 => self.take_orders(usize::from(whom % 4) + 1),
            12 if !self.flying.is_empty() => {
                let (handle, _) = self.flying.remove(usize::from(whom) % self.flying.len());
                let outcome = match much % 4 {
                    0 | 1 => coordinator::Outcome::Acknowledged,
                    2 => coordinator::Outcome::Failed(Failure::NoAnswer),
                    _ => coordinator::Outcome::Failed(Failure::Unknown),
                };
                self.hear(Said::Outcome { handle, outcome });
            }
            // A coordinator that repeats itself.
            13 => self
                .hear(Said::Outcome { handle: u64::from(whom), outcome: coordinator::Outcome::Acknowledged }),
            14 => {
                let (eui, nwk) = (eui(n), NwkAddr(much % 0x1000 + 1));
                self.hear(match much % 4 {
                    0 => Said::Joined { eui, nwk },
                    1 => Said::Rejoined { eui, nwk },
                    2 => Said::JoinFailed { eui, reason: JoinFailure::Interrupted },
                    _ => Said::Left { eui },
                });
            }
            15 | 16 if !self.questions.is_empty() => {
                let (handle, question) = self.questions.remove(usize::from(whom) % self.questions.len());
                let answer = match question {
                    _ if much % 8 == 0 => Err(Failure::NoAnswer),
                    Question::Node => Ok(node(self.asked_of(handle).is_some_and(sleeps))),
                    Question::Endpoints => Ok(Answer::Endpoints(vec![11])),
                    Question::Endpoint(number) => Ok(endpoint(number, &[0xFC7C])),
                    _ => Ok(Answer::Done),
                };
                self.hear(Said::Answer { handle, answer });
            }
            17 => self.hear(heard(n, b"event")),
            18 => match much % 3 {
                0 => self.hear(Said::State(State::Down("unplugged".into()))),
                _ => self.hear(Said::State(State::Up(OURS))),
            },
            19 => match much % 8 {
                0 => self.restart(),
                1 | 2 => self.store.set_failing(whom % 4 == 0),
                _ => self.write(),
            },
            _ => {}
        }
        self.look();
    }

    fn asked_of(&self, handle: u64) -> Option<Eui64> {
        self.asked.get(&handle).copied()
    }

    fn hear(&mut self, said: Said) {
        self.driver.handle_event(self.now, said);
    }

    fn write(&mut self) {
        if self.writing.is_none() {
            self.writing = self.driver.poll_commit();
        }
        if let Some((commit, batch)) = self.writing.take() {
            let result = self.store.commit_now(batch);
            self.driver.handle_stored(self.now, commit, result);
        }
    }

    /// The dongle takes what waits: here a frame is handed over, and the rules are looked at.
    fn take_orders(&mut self, count: usize) {
        for _ in 0..count {
            match self.driver.poll_order() {
                Some(Order::Send(frame)) => self.hand_over(&frame),
                Some(Order::Cancel { .. } | Order::Dismiss(_)) | None => {}
                Some(Order::Ask { handle, eui, question }) => {
                    self.asked.insert(handle, eui);
                    self.questions.push((handle, question));
                }
                Some(Order::Admit { eui, seconds, .. }) => {
                    assert!(seconds <= 254);
                    let stored = self.store.snapshot();
                    let durable = stored.iter().any(|(key, record)| {
                        matches!(RecordKey::decode(key), Some(RecordKey::Device(_)))
                            && Device::from_record(record).unwrap().identity.eui == eui
                    });
                    let removed = !self.admitted.iter().any(|admitted| admitted.0[0] == eui.0[7]);
                    assert!(durable || removed, "opened for {eui}, which nobody would remember");
                }
                Some(Order::Backup) => self.hear(Said::BackedUp(Err("told to fail".into()))),
                Some(other) => panic!("nobody ordered {other:?}"),
            }
        }
    }

    fn hand_over(&mut self, frame: &Frame) {
        if frame.deadline <= self.now {
            return self.hear(Said::Outcome { handle: frame.handle, outcome: coordinator::Outcome::Expired });
        }
        let deadline = self.deadlines[&frame.handle];
        let hold = match (sleeps(frame.eui), frame.acknowledge) {
            (true, true) => panic!("it would be repeated for 40 s"),
            (true, false) => PARENT_HOLD_MS,
            (false, true) => REPEATS_MS,
            (false, false) => 0,
        };
        assert!(self.now + hold + HAND_OVER_MS <= deadline, "{frame:?} could be on the air after {deadline}");
        // One that the driver gave up for lost may be there still.
        let live = self.flying.iter().filter(|(handle, eui)| *eui == frame.eui && self.open.contains(handle));
        assert_eq!(live.count(), 0, "two frames at once for {}", frame.eui);
        self.flying.push((frame.handle, frame.eui));
    }

    fn look(&mut self) {
        while let Some(event) = self.driver.poll_event() {
            match event {
                Event::Outcome { handle, outcome } => {
                    assert!(self.ended.insert(handle), "a second outcome: {outcome:?}");
                    assert!(self.open.remove(&handle), "an outcome of nothing");
                }
                Event::Admitted { lock, result: Ok(()) } => drop(self.admitted.insert(lock)),
                Event::Up(up) => assert!(up.lock.0[0] <= LOCKS, "a stranger is heard"),
                Event::Joined(lock) => assert!(lock.0[0] <= LOCKS),
                _ => {}
            }
        }
        assert!(self.driver.backlog() <= 4_096);
    }

    /// kill -9: what was being written may or may not be there.
    fn restart(&mut self) {
        if let Some((_, batch)) = self.writing.take().or_else(|| self.driver.poll_commit())
            && self.now.is_multiple_of(2)
        {
            let _ = self.store.commit_now(batch);
        }
        self.driver = Driver::new(config(), self.store.snapshot()).unwrap();
        let Some(Event::Admits(locks)) = self.driver.poll_event() else {
            panic!("it says first whom it admits")
        };
        for lock in &self.admitted {
            assert!(locks.contains(lock), "{lock} was admitted, and is forgotten");
        }
        (self.open, self.flying, self.questions) = Default::default();
        // The relay removes whom it does not know.
        for lock in locks.iter().filter(|lock| !self.admitted.contains(lock)) {
            self.driver.handle_command(self.now, Command::Remove(*lock));
        }
    }

    /// In the end everything has an end.
    fn conclude(&mut self) {
        self.store.set_failing(false);
        for _ in 0..10_000 {
            self.look();
            if self.open.is_empty() && !self.driver.has_commits() {
                return;
            }
            self.take_orders(8);
            self.write();
            while let Some((handle, _)) = self.flying.pop() {
                self.hear(Said::Outcome { handle, outcome: coordinator::Outcome::Acknowledged });
            }
            self.now += 1_000;
            self.driver.handle_timeout(self.now);
        }
        panic!("no end for {:?}", self.open);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_frame_is_handed_over_late_none_ends_twice_and_no_admission_is_lost(
        steps in prop::collection::vec(any::<Step>(), 0..400)
    ) {
        let mut world = World::new();
        world.hear(Said::State(State::Up(OURS)));
        steps.into_iter().for_each(|step| world.step(step));
        world.conclude();
    }
}
