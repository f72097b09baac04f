//! Both locks are asked the same, word by word, as a platform of its own kind might: they must answer alike.

use cardea_oscore::coap::Code;
use cardea_resources::{Command, Op, Pin, PinChange, PinSetting, Time};

use crate::raw::{Raw, Reply};
use crate::world::World;

/// What was asked and what came back, one line each; the locks' own numbers and times are left out.
struct Record(Vec<String>);

impl Record {
    fn note(&mut self, what: &str, reply: Option<&Reply>) {
        let said = reply.map_or_else(
            || "silence".to_owned(),
            |reply| {
                let echo =
                    reply.echo.as_ref().map_or(String::new(), |echo| format!(", Echo of {}", echo.len()));
                let own = if reply.own_number { ", own number" } else { "" };
                let payload = hex::encode(&reply.payload);
                format!("{}.{:02}{echo}{own} {payload}", reply.code >> 5, reply.code & 31)
            },
        );
        self.0.push(format!("{what}: {said}"));
    }
}

fn command(id: u8, op: Op, not_after: Option<u32>) -> Vec<u8> {
    let mut out = [0; Command::MAX_LEN];
    let len = Command { id: [id; 4], op, not_after }.encode(&mut out).unwrap();
    out[..len].to_vec()
}

fn pin(slot: u8, revision: u32, digits: Option<&[u8]>) -> Vec<u8> {
    let setting = digits.map(|digits| PinSetting {
        pin: Pin::new(digits).unwrap(),
        duress: false,
        not_before: None,
        not_after: None,
    });
    let mut out = [0; PinChange::MAX_LEN];
    let len = PinChange { slot, revision, setting }.encode(&mut out).unwrap();
    out[..len].to_vec()
}

fn time(seconds: u32) -> Vec<u8> {
    let mut out = [0; 16];
    let len = Time { unix: seconds }.encode(&mut out).unwrap();
    out[..len].to_vec()
}

/// Both locks through the same story.
fn both(story: impl Fn(&mut World, &mut Raw, &mut Record)) -> Option<Vec<String>> {
    let mut stranger = World::new(None)?;
    let mut reference = World::reference();
    let [one, other] = [&mut stranger, &mut reference].map(|world| {
        world.activate();
        world.run_for(60_000);
        let mut raw = Raw::of(world);
        let mut record = Record(Vec::new());
        story(world, &mut raw, &mut record);
        record.0.push(format!("the motor ran {} times", world.lock().motor()));
        record.0
    });
    for (one, other) in one.iter().zip(&other) {
        println!("{one}\n    {}", if one == other { "(both)" } else { other });
    }
    assert_eq!(one, other, "the stranger, and the reference");
    Some(one)
}

#[test]
fn both_locks_judge_the_freshness_of_commands_alike() {
    both(|world, raw, record| {
        let mut post = |world: &mut World, raw: &mut Raw, what: &str, echo: Option<&[u8]>, body: &[u8]| {
            let reply = raw.ask(world, Code::POST, "l", echo, body);
            record.note(what, reply.as_ref());
            reply
        };
        let open = |id| command(id, Op::Unlock, None);
        let echo = raw.echo(world, Code::POST, "l", &open(1));
        post(world, raw, "with its Echo", Some(&echo), &open(1));
        post(world, raw, "the same command again", None, &open(1));
        post(world, raw, "another with the used Echo", Some(&echo), &open(2));
        let challenge = raw.challenge(world);
        post(world, raw, "on a challenge", Some(&challenge), &open(3));
        post(world, raw, "another on the used challenge", Some(&challenge), &open(4));
        let challenge = raw.challenge(world);
        world.run_for(29_000);
        post(world, raw, "on one of 29 s", Some(&challenge), &command(5, Op::Lock, None));
        let challenge = raw.challenge(world);
        world.run_for(30_500);
        post(world, raw, "on one of 30.5 s", Some(&challenge), &open(6));
        let echo = raw.echo(world, Code::POST, "l", &open(7));
        world.run_for(30_500);
        post(world, raw, "on an Echo of 30.5 s", Some(&echo), &open(7));
        post(world, raw, "with a wrong Echo", Some(&[1, 2, 3, 4]), &open(8));
        post(world, raw, "with an empty Echo", Some(&[]), &open(8));
        let (first, second) = (raw.challenge(world), raw.challenge(world));
        post(world, raw, "on the older of two challenges", Some(&first), &open(9));
        post(world, raw, "on the newer", Some(&second), &open(10));
    });
}

#[test]
fn both_locks_judge_commands_that_come_late_by_their_number_alike() {
    both(|world, raw, record| {
        let open = |id| command(id, Op::Unlock, None);
        let mut under =
            |world: &mut World, raw: &mut Raw, what: &str, number, echo: Option<&[u8]>, body: &[u8]| {
                let reply = raw.ask_under(world, number, Code::POST, "l", echo, body);
                record.note(what, reply.as_ref());
            };
        let challenge = raw.challenge(world);
        under(world, raw, "a number", 2000, Some(&challenge), &open(1));
        let challenge = raw.challenge(world);
        under(world, raw, "a lower one on a challenge", 1990, Some(&challenge), &open(2));
        let (body, echo) = (open(2), raw.ask_under(world, 1991, Code::POST, "l", None, &open(2)));
        under(world, raw, "a lower one on an Echo", 1992, echo.unwrap().echo.as_deref(), &body);
        under(world, raw, "a lower one of a known command", 1993, None, &body);
        under(world, raw, "the same number again", 1993, None, &body);
        let far = command(3, Op::Unlock, Some(world.unix_s() + 300));
        under(world, raw, "a lower one, too far ahead", 1994, None, &far);
        let challenge = raw.challenge(world);
        let near = command(3, Op::Unlock, Some(world.unix_s() + 60));
        under(world, raw, "a lower one on a challenge, in time", 1995, Some(&challenge), &near);
        let raised = command(1, Op::Lock, None);
        under(world, raw, "the other operation under a known id", 2001, None, &raised);
        under(world, raw, "one below the window", 1960, None, &body);
        under(world, raw, "the last in the window", 1969, None, &body);
        under(world, raw, "one far ahead", 1 << 33, None, &body);
    });
}

#[test]
fn both_locks_judge_not_after_and_the_horizon_alike() {
    both(|world, raw, record| {
        let mut post =
            |world: &mut World, raw: &mut Raw, what: &str, path: &str, echo: Option<&[u8]>, body: &[u8]| {
                let reply = raw.ask(world, Code::POST, path, echo, body);
                record.note(what, reply.as_ref());
            };
        let late = |world: &World, id, op, by: i64| {
            command(id, op, Some(u32::try_from(i64::from(world.unix_s()) + by).unwrap()))
        };
        // The platform told the time in its answer to the boot event.
        let body = late(world, 1, Op::Unlock, 60);
        post(world, raw, "a minute ahead", "l", None, &body);
        let body = late(world, 2, Op::Unlock, -10);
        post(world, raw, "ten seconds ago", "l", None, &body);
        let body = late(world, 3, Op::Unlock, 0);
        post(world, raw, "now", "l", None, &body);
        let body = late(world, 4, Op::Unlock, 300);
        post(world, raw, "five minutes ahead", "l", None, &body);
        let body = late(world, 5, Op::Lock, 300);
        post(world, raw, "the same to lock", "l", None, &body);
        let challenge = raw.challenge(world);
        let body = late(world, 6, Op::Unlock, 300);
        post(world, raw, "five minutes ahead on a challenge", "l", Some(&challenge), &body);
        let body = late(world, 7, Op::Unlock, -10);
        post(world, raw, "ten seconds ago on the same challenge", "l", Some(&challenge), &body);
        let challenge = raw.challenge(world);
        let body = late(world, 8, Op::Unlock, -10);
        post(world, raw, "ten seconds ago on a challenge", "l", Some(&challenge), &body);
        let now = time(world.unix_s());
        post(world, raw, "time without a challenge", "t", None, &now);
        let challenge = raw.challenge(world);
        post(world, raw, "time on a challenge", "t", Some(&challenge), &now);
        let challenge = raw.challenge(world);
        post(world, raw, "a time long gone on a challenge", "t", Some(&challenge), &time(1_000_000_000));
        let body = late(world, 9, Op::Unlock, 60);
        post(world, raw, "a minute ahead after that", "l", None, &body);
    });
}

#[test]
fn both_locks_refuse_what_is_no_request_of_theirs_alike() {
    both(|world, raw, record| {
        let mut ask = |world: &mut World, raw: &mut Raw, code: Code, path: &str, body: &str| {
            let reply = raw.ask(world, code, path, None, &hex::decode(body).unwrap());
            record.note(&format!("{:02x} {path} {body}", code.to_byte()), reply.as_ref());
        };
        for (code, path, body) in [
            (Code::GET, "s", ""),
            (Code::GET, "s", "00"),
            (Code::GET, "s", "a0"),
            (Code::POST, "s", ""),
            (Code::GET, "b", ""),
            (Code::GET, "x", ""),
            (Code::GET, "", ""),
            (Code::GET, "e", ""),
            (Code::POST, "e", ""),
            (Code::GET, "l", ""),
            (Code::PUT, "l", ""),
            (Code::DELETE, "g", ""),
            (Code::POST, "l", ""),
            (Code::POST, "l", "a0"),
            // Op 2, op 300, id of 3 bytes, floats, keys out of order, key 3, key 24, padding, padding of ones.
            (Code::POST, "l", "a20044010203040102"),
            (Code::POST, "l", "a2004401020304011903e8"),
            (Code::POST, "l", "a200430102030101"),
            (Code::POST, "l", "a2004401020304 01f90000".replace(' ', "").leak()),
            (Code::POST, "l", "a20101004401020304"),
            (Code::POST, "l", "a300440102030401010300"),
            (Code::POST, "l", "a3004401020304010118180000000000"),
            (Code::POST, "l", "a2004401020304010101"),
            (Code::GET, "g", ""),
            (Code::POST, "g", ""),
            (Code::POST, "g", "a0"),
            (Code::POST, "g", "a10100"),
            (Code::POST, "g", "a1001903e8"),
            (Code::POST, "t", ""),
            (Code::POST, "t", "a0"),
            (Code::GET, "t", ""),
            (Code::GET, "p", ""),
            (Code::POST, "p", "a0"),
            (Code::DELETE, "p", ""),
        ] {
            ask(world, raw, code, path, body);
        }
    });
}

#[test]
fn both_locks_page_their_log_alike() {
    both(|world, raw, record| {
        world.platform_hears = false;
        for n in 0..30 {
            world.at_the_lock(&format!("door {}", n & 1));
            world.run_for(100);
        }
        for (code, body) in [
            (Code::GET, ""),
            (Code::POST, "a0"),
            (Code::POST, "a10102"),
            (Code::POST, "a10118ff"),
            (Code::POST, "a1000a"),
            (Code::POST, "a2001401 01".replace(' ', "").leak() as &str),
            (Code::POST, "a10005"),
            (Code::POST, "a1001863"),
            (Code::GET, ""),
        ] {
            let reply = raw.ask(world, code, "g", None, &hex::decode(body).unwrap());
            let shape = reply.map(|mut reply| {
                reply.payload = shape(&reply.payload);
                reply
            });
            record.note(&format!("{:02x} g {body}", code.to_byte()), shape.as_ref());
        }
    });
}

/// End, number of entries, first and last index.
fn shape(page: &[u8]) -> Vec<u8> {
    let page = cardea_resources::LogPage::decode(page).unwrap();
    let indices: Vec<u8> = page.entries().map(|entry| u8::try_from(entry.index).unwrap()).collect();
    vec![
        u8::try_from(page.end).unwrap(),
        u8::try_from(indices.len()).unwrap(),
        indices.first().copied().unwrap_or(255),
        indices.last().copied().unwrap_or(255),
    ]
}

#[test]
fn both_locks_take_and_refuse_pins_alike() {
    both(|world, raw, record| {
        let mut post = |world: &mut World, raw: &mut Raw, what: &str, fresh: bool, body: &[u8]| {
            let challenge = raw.challenge(world);
            let reply = raw.ask(world, Code::POST, "p", fresh.then_some(&challenge[..]), body);
            record.note(what, reply.as_ref());
            let list = raw.ask(world, Code::GET, "p", None, &[]);
            record.note("    list", list.as_ref());
        };
        post(world, raw, "without freshness", false, &pin(0, 1, Some(b"1234")));
        post(world, raw, "slot 0", true, &pin(0, 1, Some(b"1234")));
        post(world, raw, "slot 0 again", true, &pin(0, 1, Some(b"1234")));
        post(world, raw, "slot 0 again, other digits", true, &pin(0, 1, Some(b"4321")));
        post(world, raw, "slot 0 again without freshness", false, &pin(0, 1, Some(b"1234")));
        post(world, raw, "the same revision elsewhere", true, &pin(1, 1, Some(b"5678")));
        post(world, raw, "the same digits elsewhere", true, &pin(1, 2, Some(b"1234")));
        post(world, raw, "slot 15", true, &pin(15, 3, Some(b"0123456789")));
        post(world, raw, "slot 16", true, &pin(16, 4, Some(b"99999999")));
        post(world, raw, "slot 0 cleared", true, &pin(0, 5, None));
        post(world, raw, "slot 0 cleared again", true, &pin(0, 5, None));
        post(world, raw, "an empty slot cleared", true, &pin(3, 6, None));
        post(world, raw, "a late revision", true, &pin(2, 4, Some(b"2468")));
        world.run_for(40_000);
        for (what, body) in [
            ("no digits", "a400020107024a000000000000000000000300"),
            ("three digits", "a400020107024a313233000000000000000300"),
            ("letters", "a400020107024a616263640000000000000300"),
            ("a gap", "a400020107024a313200333400000000000300"),
            ("nine bytes", "a40002010702493132333400000000000300"),
            ("no duress flag", "a300020107024a31323334000000000000"),
            ("duress 2", "a400020107024a313233340000000000000302"),
            ("revision 0", "a200020100"),
            ("a limit without digits", "a300020107041a6ab00000"),
            ("limits the wrong way round", "a600020107024a31323334000000000000030004187805183c"),
        ] {
            post(world, raw, what, true, &hex::decode(body).unwrap());
        }
    });
}
