//! The shell around an SX126x, down to what leaves it: a peer at the socket writes down what it is asked. Time is an argument.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread::JoinHandle;

use cardea_subghz::device::{self, Module, Opened, Place, Setting, sx126x};
use cardea_subghz::sx126x::{Amplifier, BUSY_LOOKS, BUSY_US};
use cardea_subghz::wire::{Decoder, Message};
use cardea_subghz::{Event, Kind, Problem, Profile, Region, Transceiver as _};

/// A socket of its own, gone when dropped.
struct Socket(PathBuf);

impl Socket {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cardea-subghz-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Answers until the driver goes, and gives back all questions.
fn peer(
    socket: &Socket,
    mut answer: impl FnMut(&Message) -> Option<Message> + Send + 'static,
) -> JoinHandle<Vec<Message>> {
    let listener = UnixListener::bind(&socket.0).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut decoder, mut asked, mut chunk) = (Decoder::default(), Vec::new(), [0; 1_024]);
        loop {
            while let Some(question) = decoder.poll().unwrap() {
                if let Some(answer) = answer(&question) {
                    stream.write_all(&answer.encode()).unwrap();
                }
                asked.push(question);
            }
            match stream.read(&mut chunk) {
                Ok(read @ 1..) => decoder.push(&chunk[..read]),
                _ => return asked,
            }
        }
    })
}

fn open(socket: &Socket) -> Opened {
    let module = sx126x::Module {
        place: Place::Socket(socket.0.clone()),
        power_dbm: 10,
        amplifier: Amplifier::High,
        tcxo: None,
        dio2_switch: true,
        dcdc: false,
    };
    let setting = Setting { profile: Profile::Standard, region: Region::Eu433, silence_us: u64::MAX / 2 };
    device::open(&Module::Sx126x(module), setting).map_err(|error| error.to_string()).unwrap()
}

/// Turns the driver until it says that it is down, for so long at the most; why.
fn down(opened: &mut Opened, within: u64) -> (Option<Problem>, u64) {
    let begun = opened.radio.poll_timeout();
    let mut now = begun;
    while now <= begun + within {
        opened.radio.handle_timeout(now);
        while let Some(event) = opened.radio.poll_event() {
            if let Event::Health(health) = event {
                assert!(!health.up, "nothing is there");
                return (health.problem, now - begun);
            }
        }
        now = opened.radio.poll_timeout().max(now + 1);
    }
    panic!("nothing is told")
}

#[test]
fn a_reset_is_low_and_then_high_and_a_busy_that_stays_is_looked_at_so_often_and_no_more() {
    let socket = Socket::new("busy");
    let peer = peer(&socket, |question| {
        Some(match question {
            Message::AskBusy => Message::Busy { high: true },
            other => other.clone(),
        })
    });
    let mut opened = open(&socket);
    let (problem, after) = down(&mut opened, 2 * BUSY_US);
    assert_eq!(problem, Some(Problem::Stuck));
    drop(opened);
    let asked = peer.join().unwrap();
    assert_eq!(&asked[..3], [Message::Reset { low: true }, Message::Reset { low: false }, Message::AskBusy]);
    // Each step of the driver looks so often, and the steps are 200 µs apart; behind the last it looks who is there instead.
    let looks = asked.iter().filter(|asked| **asked == Message::AskBusy).count() as u64;
    let steps = after / 200 + 1;
    assert!((1..=steps * BUSY_LOOKS as u64).contains(&looks), "{looks} looks in {steps} steps");
    let transfers: Vec<_> = asked.iter().filter(|asked| matches!(asked, Message::Transfer(_))).collect();
    let stranger = [Message::Transfer(vec![0xF0, 0xFF]), Message::Transfer(vec![0xF1, 0xFF])];
    assert_eq!(transfers, stranger.iter().collect::<Vec<_>>(), "a busy chip is told nothing");
}

/// What means nothing to an SX126x may be an order to transmit for a CC1101.
#[test]
fn a_cc1101_is_recognised_before_it_is_told_anything() {
    let socket = Socket::new("cc1101");
    let peer = peer(&socket, |question| {
        Some(match question {
            Message::AskBusy => Message::Busy { high: false },
            // Its status byte, and behind it what is asked for; IOCFG2 looks like a mode of an SX126x.
            Message::Transfer(bytes) => Message::Transfer(match bytes[..] {
                [0xC0, _] => vec![0x0F, 0x29],
                [0xF0, _] => vec![0x0F, 0x00],
                [0xF1, _] => vec![0x0F, 0x14],
                _ => vec![0x0F; bytes.len()],
            }),
            other => other.clone(),
        })
    });
    let mut opened = open(&socket);
    assert_eq!(down(&mut opened, BUSY_US).0, Some(Problem::Other(Kind::Cc1101)));
    drop(opened);
    for question in peer.join().unwrap() {
        let Message::Transfer(bytes) = question else { continue };
        // Status, name, PARTNUM, VERSION.
        assert!(matches!(bytes[..], [0xC0, _] | [0x1D, 0x03, 0x20, ..] | [0xF0 | 0xF1, _]), "{bytes:02x?}");
    }
}

#[test]
fn an_answer_to_another_question_and_no_answer_are_no_chip() {
    for answer in [
        // Somebody else's words.
        (|_: &Message| Some(Message::Busy { high: false })) as fn(&Message) -> Option<Message>,
        // The other level than was asked for.
        |question: &Message| match question {
            Message::Reset { low } => Some(Message::Reset { low: !low }),
            other => Some(other.clone()),
        },
        |_: &Message| None,
    ] {
        let socket = Socket::new("answers");
        let peer = peer(&socket, answer);
        let mut opened = open(&socket);
        assert_eq!(down(&mut opened, BUSY_US).0, Some(Problem::NoChip));
        // It is not asked again.
        drop(opened);
        assert_eq!(peer.join().unwrap(), [Message::Reset { low: true }]);
    }
}

#[test]
fn a_socket_that_is_not_there_is_named() {
    let module = sx126x::Module {
        place: Place::Socket("/nowhere/module".into()),
        power_dbm: 10,
        amplifier: Amplifier::High,
        tcxo: None,
        dio2_switch: true,
        dcdc: false,
    };
    let setting = Setting { profile: Profile::Standard, region: Region::Eu433, silence_us: 1 };
    let Err(error) = device::open(&Module::Sx126x(module), setting) else { panic!("it is there") };
    assert!(error.to_string().starts_with("/nowhere/module: "), "{error}");
}
