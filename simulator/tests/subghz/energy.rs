//! What a lock's radio takes of its battery: the model tells how long the chip was in each state, the data sheet what each takes.
//! What docs/433-link.md says is printed by `cargo nextest run -p cardea-simulator --run-ignored only energy:: --no-capture`.

use cardea_simulator::subghz::{Conditions, Spent};
use cardea_subghz::Profile;
use cardea_subghz_link::Outcome;

use crate::net::{Net, SECOND, config, payload};
use cardea_simulator::subghz::RadioEvent;

/// Typical currents at 3 V and 25 °C, µA; where each is from is in docs/433-radio.md.
const SLEEP: f64 = 0.2;
const IDLE: f64 = 1_700.0;
const TUNING: f64 = 8_400.0;
const RX: f64 = 15_700.0;
/// At 10 dBm.
const TX: f64 = 29_100.0;

/// Two AA in series, mAh that can be had of them: assumed, for alkaline ones at small currents; what they lose by themselves is not
/// in it.
const BATTERY_MAH: f64 = 2_000.0;
const DAY: f64 = 86_400.0;

/// µA × s.
fn charge(spent: &Spent) -> f64 {
    let part = |ns: u64, microamperes: f64| ns as f64 / 1e9 * microamperes;
    part(spent.sleep, SLEEP)
        + part(spent.idle, IDLE)
        + part(spent.tuning, TUNING)
        + part(spent.rx, RX)
        + part(spent.tx, TX)
}

/// A lock that has joined, on an air where nothing is lost.
fn joined(profile: Profile) -> Net {
    let mut net = Net::new(3, Conditions::default(), config(profile));
    net.town.air.forget();
    net.member(1);
    net.run(5 * SECOND);
    net
}

/// What the lock's chip was in while that was done.
fn spent(net: &mut Net, what: impl FnOnce(&mut Net)) -> Spent {
    let chip = net.town.locks[0].chip();
    let before = net.town.air.spent(chip);
    what(net);
    net.town.air.spent(chip).since(&before)
}

fn up(net: &mut Net, number: u64) {
    net.heard.clear();
    let now = net.now();
    net.town.locks[0].send(now, &payload(number, 32), now + 10 * SECOND).unwrap();
    let heard =
        |net: &Net| net.heard.iter().any(|(.., event)| matches!(event, RadioEvent::Outcome(Outcome::Heard)));
    assert!(net.until(10 * SECOND, heard), "frame {number} is not heard");
}

fn down(net: &mut Net, number: u64) {
    let frame = payload(number, 44);
    net.send(number, 1, &frame, 20_000);
    let done = |net: &Net| net.down(0).contains(&frame) && net.outcome(number).is_some();
    assert!(net.until(20 * SECOND, done), "command {number} does not arrive");
    net.heard.clear();
}

/// One lock in its cases: seconds and states of each.
struct Figures {
    asleep: (f64, Spent),
    hourly: (f64, Spent),
    commands: (f64, Spent),
}

impl Figures {
    /// `seconds` asleep; `hours` with one message up in the middle of each; `count` commands, the next when the last was answered.
    fn of(profile: Profile, seconds: u64, hours: u64, count: u64) -> Self {
        let mut net = joined(profile);
        let asleep = spent(&mut net, |net| net.run(seconds * SECOND));
        let hourly = spent(&mut net, |net| {
            for hour in 0..hours {
                net.run(1_800 * SECOND);
                let begun = net.now();
                up(net, 1_000 + hour);
                net.run(begun + 1_800 * SECOND - net.now());
            }
        });
        let commands = spent(&mut net, |net| {
            for number in 0..count {
                down(net, 2_000 + number);
            }
            net.run(2 * SECOND);
        });
        let timed = |spent: Spent| (spent.total() as f64 / 1e9, spent);
        Self { asleep: timed(asleep), hourly: timed(hourly), commands: timed(commands) }
    }

    /// µA on average.
    fn average((seconds, spent): &(f64, Spent)) -> f64 {
        charge(spent) / seconds
    }

    /// What the commands cost beyond the sleep that they took the place of, µA × s.
    fn burst(&self) -> f64 {
        charge(&self.commands.1) - Self::average(&self.asleep) * self.commands.0
    }
}

fn states(name: &str, (seconds, spent): &(f64, Spent)) {
    let share = |ns: u64| ns as f64 / 1e7 / seconds;
    println!(
        "| {name} | {:.3} | {:.4} | {:.4} | {:.4} | {:.4} | {:.1} |",
        share(spent.sleep),
        share(spent.idle),
        share(spent.tuning),
        share(spent.rx),
        share(spent.tx),
        charge(spent) / seconds
    );
}

#[test]
#[ignore = "figures for the documents: minutes"]
fn a_lock_of_each_profile() {
    const COMMANDS: u64 = 20;
    println!("| | sleep % | idle % | tuning % | RX % | TX % | µA |\n|---|---|---|---|---|---|---|");
    let figures = [Profile::Slow, Profile::Standard, Profile::Fast].map(|profile| {
        let figures = Figures::of(profile, 600, 4, COMMANDS);
        states(&format!("{profile:?}, asleep, 10 minutes"), &figures.asleep);
        states(&format!("{profile:?}, one message an hour, 4 hours"), &figures.hourly);
        states(&format!("{profile:?}, {COMMANDS} commands, {:.1} s", figures.commands.0), &figures.commands);
        (profile, figures)
    });
    println!(
        "\n| | asleep, µA | 24 messages a day, µA | and {COMMANDS} commands a day, µA | years of {BATTERY_MAH} mAh |\n|---|---|---|---|---|"
    );
    for (profile, figures) in &figures {
        let (asleep, hourly) = (Figures::average(&figures.asleep), Figures::average(&figures.hourly));
        let all = hourly + figures.burst() / DAY;
        println!(
            "| {profile:?} | {asleep:.1} | {hourly:.1} | {all:.1} | {:.1} |",
            BATTERY_MAH * 1_000.0 / all / 24.0 / 365.25
        );
    }
}

/// What CI holds of the above: a budget for each profile, which a chip that is idle between two listenings, or listens too long, breaks.
#[test]
fn a_sleeping_lock_keeps_to_its_budget_and_its_chip_sleeps() {
    for (profile, budget) in [(Profile::Slow, 30.0), (Profile::Standard, 105.0), (Profile::Fast, 105.0)] {
        let Figures { asleep, .. } = Figures::of(profile, 60, 0, 0);
        let average = Figures::average(&asleep);
        println!("{profile:?}: {average:.1} µA asleep");
        states("", &asleep);
        assert!(average < budget, "{profile:?}: {average:.1} µA");
        assert!(asleep.1.sleep as f64 / 1e9 / asleep.0 > 0.98, "{profile:?}: {:?}", asleep.1);
        assert_eq!(asleep.1.tx, 0, "it says nothing");
    }
}
