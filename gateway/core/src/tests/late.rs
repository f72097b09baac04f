//! Whose frame is whose, and until when a radio may begin it. A radio repeats a frame by itself until the deadline that came with it, so what
//! a radio is told is the last word: it must be the deadline of the command that the frame is of, and of no other.

use super::*;

/// Commands by number, with the moment of their end on the bench's clock.
struct Desk {
    bench: Bench,
    ends: Vec<(u8, Millis)>,
    checked: usize,
    seen: std::collections::BTreeSet<u8>,
    chance: u64,
}

impl Desk {
    fn below(&mut self, below: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % below
    }

    /// Each frame that was handed over since, against the command that it is of: its bytes all say the same number.
    fn check(&mut self) {
        for send in &self.bench.sends[self.checked..] {
            let header = Header::decode(send.frame[0]).unwrap();
            // The last of its fragments may be all checksum.
            if header.kind == Kind::Receipt || header.more && send.frame.len() <= 3 + 4 {
                continue;
            }
            let number = send.frame[if header.more { 3 } else { 1 }];
            let end = self.ends.iter().find(|(n, _)| *n == number).map(|(_, end)| *end).unwrap();
            assert!(
                send.deadline <= end,
                "a frame of command {number} may be begun until {}, and that ends at {end}",
                send.deadline
            );
            self.seen.insert(number);
        }
        self.checked = self.bench.sends.len();
    }

    fn give(&mut self, number: u8) {
        let life = 500 + self.below(12_000);
        let class = [Class::Interactive, Class::Log, Class::Bulk][self.below(3) as usize];
        let mut data = vec![Header { kind: Kind::PlatformOscore, more: false, class }.encode()];
        data.resize(20 + self.below(120) as usize, number);
        let not_after = self.bench.dawn + self.bench.now + life;
        self.ends.push((number, self.bench.now + life));
        self.bench.down(&Downlink { data: Data(data), class, not_after, ..command(number, class, 0) });
        self.check();
    }

    /// Whatever a radio can say of the frame that it has.
    fn answer(&mut self) {
        let Some(send) = self.bench.sends.last().cloned() else { return };
        match self.below(8) {
            0..=3 => self.bench.outcome(send.handle, Outcome::Sent),
            4 => self.bench.outcome(send.handle, Outcome::Expired),
            5 => self.bench.outcome(send.handle, Outcome::Refused(Refusal::Airtime)),
            6 => self.bench.outcome(send.handle, Outcome::Failed(cardea_radio::Failure::Modem)),
            _ => {
                // The receipt came, and the radio still has the frame.
                if Header::decode(send.frame[0])
                    .is_ok_and(|h| h.kind != Kind::Receipt && !h.more && h.class.has_receipt())
                {
                    let receipt = receipt_for(&send.frame);
                    self.bench.hear(LOCK, &receipt, None);
                }
            }
        }
        self.check();
    }

    /// The daemon is killed: what it had stored comes back, on a clock that begins anew.
    fn restart(&mut self) {
        let now = self.bench.now;
        self.ends.retain(|(_, end)| *end > now);
        let downs = self.ends.iter_mut().map(|(number, end)| {
            *end -= now;
            let mut data =
                vec![Header { kind: Kind::PlatformOscore, more: false, class: Class::Interactive }.encode()];
            data.resize(60, *number);
            DownRecord {
                id: MessageId([*number; 16]),
                lock: LOCK,
                not_after: DAWN + *end,
                state: ResultState::Queued,
                reason: None,
                at: DAWN,
                data: data.into(),
                told: false,
            }
        });
        let snapshot = Snapshot {
            locks: vec![LockRecord { lock: LOCK, radio: "lora".into() }],
            downs: downs.collect(),
            ..Snapshot::default()
        };
        (self.bench, self.checked) = (Bench::over(generous, snapshot), 0);
        self.check();
    }
}

/// Neither a battery nor a small queue in the way.
fn generous(config: &mut Config) {
    (config.downlink_burst, config.downlink_refill_ms, config.lock_downlinks) = (10_000, 1, 64);
}

#[test]
fn no_frame_of_a_command_may_begin_after_the_end_of_that_command() {
    let mut seen = 0;
    for seed in 1..=200 {
        let bench = Bench::with(generous);
        let mut desk =
            Desk { bench, ends: Vec::new(), checked: 0, seen: Default::default(), chance: seed * 7_919 };
        for number in 1..=40 {
            match desk.below(6) {
                0 => {
                    let (mtu, sleepy) = (20 + desk.below(60) as u16, desk.below(3) == 0);
                    desk.bench.link(LOCK, mtu, sleepy);
                }
                1 => {
                    let closes = desk.bench.now + desk.below(9_000);
                    desk.bench.radio(Event::Window { lock: LOCK, closes });
                }
                2 if desk.below(6) == 0 => desk.restart(),
                _ => desk.give(number),
            }
            for _ in 0..desk.below(12) {
                let ms = desk.below(900);
                desk.bench.pass(ms);
                desk.check();
                desk.answer();
            }
        }
        desk.bench.pass(60_000);
        desk.check();
        seen += desk.seen.len();
    }
    assert!(seen > 2_000, "{seen} commands were on the air at all");
}

/// What was on its way to a lock that is removed does not go out when the lock is admitted again.
#[test]
fn a_removed_lock_s_command_is_not_repeated_when_it_is_back() {
    let mut bench = Bench::new();
    bench.up(LOCK, Class::Log, 1); // The broker has not said that it has it, so the lock is not forgotten.
    bench.down(&command(1, Class::Interactive, 3_000));
    let of_command = |bench: &Bench| {
        bench.sends.iter().filter(|s| s.frame == command(1, Class::Interactive, 0).data.0).count()
    };
    assert_eq!(of_command(&bench), 1);
    bench.feed(Input::Admin { token: 1, verb: Admin::Remove(LOCK) });
    let admission = cardea_radio::Admission { lock: LOCK, secret: cardea_radio::AdmissionSecret::Loopback };
    bench.feed(Input::Admin { token: 2, verb: Admin::Admit { radio: RadioId(0), admission } });
    bench.radio(Event::Admitted { lock: LOCK, result: Ok(()) });
    bench.radio(Event::Joined(LOCK));
    bench.link(LOCK, 51, false);
    bench.pass(60_000);
    assert_eq!(of_command(&bench), 1, "a command that ended with its lock's removal was sent again");
}

/// A broker gives a retained message to whoever subscribes, at each restart: somebody's command of last week.
#[test]
fn a_retained_command_for_a_lock_on_433_mhz_is_refused_and_the_radio_hears_nothing_of_it() {
    let locks = vec![LockRecord { lock: LOCK, radio: "subghz".into() }];
    let radios = |config: &mut Config| config.radios = vec![RadioInfo { name: "subghz".into() }];
    let mut bench = Bench::over(radios, Snapshot { locks, ..Snapshot::default() });
    assert!(bench.relay.locks().any(|l| l.lock == LOCK && l.joined));
    for round in 0..3 {
        let down = command(1, Class::Interactive, 60_000);
        bench.message(&Topic::Down(LOCK), Encoding::Json.encode(&down), true);
        assert_eq!(bench.results(), [refused("retained")], "round {round}");
        bench.feed(Input::Upstream(UpstreamEvent::Disconnected));
        bench.feed(Input::Upstream(UpstreamEvent::Connected));
        bench.pass(70_000);
    }
    assert!(bench.sends.is_empty(), "a retained command was given to the radio");
    // And the radio is there: what is not retained goes out.
    let down = Downlink { not_after: bench.dawn + bench.now + 5_000, ..command(2, Class::Interactive, 0) };
    bench.down(&down);
    assert_eq!(bench.sends.len(), 1);
}
