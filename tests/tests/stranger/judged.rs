//! Both locks are asked the same, word by word, as a platform of its own kind might: they must answer alike.

use cardea_framing::Kind;
use cardea_oscore::coap::Code;
use cardea_resources::{Command, Op, Pin, PinChange, PinSetting, Status, Time};

use crate::raw::{Raw, Reply, datagram};
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
        let body = late(world, 10, Op::Unlock, 118);
        post(world, raw, "118 seconds ahead", "l", None, &body);
        let body = late(world, 11, Op::Unlock, 123);
        post(world, raw, "123 seconds ahead", "l", None, &body);
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
            let mut reply = raw.ask(world, code, path, None, &hex::decode(body).unwrap());
            if let Some(reply) = reply.as_mut().filter(|reply| path == "s" && reply.code == 0x45) {
                // Keys from 24 up are not everybody's.
                let status = Status::decode(&reply.payload).unwrap();
                reply.payload = vec![status.bolt.code(), status.battery, status.clock as u8];
                reply.payload.extend(status.firmware.to_u32().to_be_bytes());
            }
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
            world.run_for(30_000); // a lock may put faster moves together
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

/// Header byte and length of each frame, with nothing of what is different in every run. Questions to the site are the
/// reference's alone.
fn shapes(frames: &[Vec<u8>]) -> String {
    let frames = frames.iter().filter(|frame| frame[0] >> 3 != 4);
    frames.map(|frame| format!(" {:02x}+{}", frame[0], frame.len() - 1)).collect()
}

#[test]
fn both_locks_meet_forgeries_and_malformed_frames_with_the_same_receipts_and_the_same_silence() {
    both(|world, raw, record| {
        let get = |raw: &mut Raw| {
            raw.number += 1;
            raw.request(raw.number, Code::GET, "b", None, &[]).0
        };
        let good = get(raw);
        let changed = |at: usize, to: u8| {
            let mut other = good.clone();
            other[at] = to;
            other
        };
        let body = &good[1..];
        let cases = [
            ("a wrong tag", changed(good.len() - 1, !good[good.len() - 1])),
            ("another kid", changed(4, good[4] ^ 1)),
            ("version 1", changed(0, 0x48)),
            ("kind 6", changed(0, 0x30)),
            ("kind 7", changed(0, 0x38)),
            ("a receipt of nothing", vec![0x28, 1, 2]),
            ("a bitmap of nothing", vec![0x2c, 0, 1]),
            ("an empty frame of kind 1", vec![0x08]),
            ("flag bit 5", [&[0x08, body[0] | 0x20], &body[1..]].concat()),
            ("flag bit 6 and others", [&[0x08, body[0] | 0x40], &body[1..]].concat()),
            ("a number of 6 bytes", [&[0x08, 0x0e, 1, 2, 3, 4, 5, 6], &body[3..]].concat()),
            ("a number with leading zeros", [&[0x08, 0x0b, 0, body[1], body[2]], &body[3..]].concat()),
            ("no number", [&[0x08, 0x08], &body[3..]].concat()),
            ("no kid", [&[0x08, 0x02, body[1], body[2]], &body[4..]].concat()),
            ("an ID context", [&[0x08, 0x1a, body[1], body[2], 1, 7], &body[3..]].concat()),
            ("nothing protected", vec![0x08, 0x40, 0x51, 0x01, 0, 0, 0, 0xb1, 0x73]),
            ("a response to nothing", vec![0x08, 0x80, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
            ("no CoAP", vec![0x08, 0x40, 0xff]),
            ("EDHOC without a handshake", vec![0x00, 0xf5, 3, 2]),
            ("an EDHOC error without a handshake", vec![0x00, 0x05, 3, 0xf5]),
            ("a site message", vec![0x20, 0, 0x40, 0x84]),
            ("telemetry that is nothing", vec![0x0a, 0x40, 0xff]),
            ("a fragment of one", vec![0x0c, 0, 0, 1, 2, 3]),
            ("a fragment above the last", vec![0x0c, 0, 0x81, 1, 2, 3]),
            ("a fragment without content", vec![0x0c, 0, 1]),
            ("half of two fragments", vec![0x0c, 0x10, 0x01, 1, 2, 3]),
            ("the same half", vec![0x0c, 0x10, 0x01, 1, 2, 3]),
            ("the other half, with a wrong CRC", vec![0x0c, 0x10, 0x41, 4, 5, 6]),
            ("the last of three", vec![0x0c, 0x20, 0x82, 4, 5, 6]),
            ("the last of three, longer", vec![0x0c, 0x20, 0x82, 4, 5, 6, 7]),
            ("one of a lower tag", vec![0x0c, 0x10, 0x02, 4, 5, 6]),
        ];
        for (what, frame) in cases {
            let frames = world.poke(&frame);
            record.0.push(format!("{what}:{}", shapes(&frames)));
        }
        // A class decides nothing; nor does what was said above.
        for class in 0..4 {
            let mut request = get(raw);
            request[0] |= class;
            let before = world.ups.len();
            world.platform_hears = false;
            world.down(request);
            world.run_for(200);
            world.platform_hears = true;
            record.0.push(format!("a request of class {class}:{}", shapes(&world.ups[before..])));
        }
    });
}

#[test]
fn both_locks_meet_what_is_no_message_2_alike_and_begin_again_when_they_should() {
    for message in ["40", "5820", "f6", "0163666f6f", "0202", "03f5", "00", ""] {
        let Some(mut stranger) = World::new(None) else { return };
        let mut reference = World::reference();
        let [one, other] = [&mut stranger, &mut reference].map(|world| {
            world.platform_hears = false;
            world.link_up();
            world.run_for(1);
            let first = world.ups.last().expect("message_1").clone();
            assert_eq!((first.len(), &first[..2]), (39, &[0x00, 0xf5][..]));
            let mut body = vec![first[38]];
            body.extend(hex::decode(message).unwrap());
            if message == "5820" {
                body.extend([7; 32]); // a G_Y and nothing else
            }
            let other = [&[first[38] ^ 1], &body[1..]].concat();
            let mut record = vec![shapes(&world.poke(&datagram(Kind::PlatformEdhoc, &other)))];
            record.push(shapes(&world.poke(&datagram(Kind::PlatformEdhoc, &body))));
            let before = world.ups.len();
            world.run_for(4_900);
            record.push(format!("{} in 4.9 s", world.ups.len() - before));
            world.run_for(1_500);
            record.push(format!("{} in 6.4 s", world.ups.len() - before));
            record
        });
        assert_eq!(one, other, "the stranger, and the reference, to {message}");
        println!("{message}: {one:?}");
    }
}
