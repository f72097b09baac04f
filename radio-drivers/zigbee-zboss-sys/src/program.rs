//! The program: the gateway's socket on standard input, both ways, and the library's main loop on the first thread.
//!
//! ```text
//!  gateway ══ socket ══▶ reader ──▶ queue ──▶ tick on the library's thread ──▶ queue ──▶ writer ══▶ gateway
//! ```
//!
//! The library offers no call that another thread may make, so its thread looks into the queue at each tick. What the gateway
//! says is stamped when it is read, not when the library gets to it.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use cardea_radio::Millis;
use cardea_zigbee::coordinator::Event;
use cardea_zigbee::external::wire::{Decoder, FromHost, Hello, ToHost, VERSION};

use crate::host::Host;
use crate::library::{self, Library};

/// Orders that wait for the library's thread. The gateway keeps fewer without an end.
const MAX_ORDERS: usize = 512;
/// Messages that wait for the gateway; frames of devices beyond it are dropped.
const MAX_REPLIES: usize = 1_024;
/// How long the library may go on once the gateway is gone, before the process is ended anyway. The gateway kills after 2 s.
const END: Duration = Duration::from_millis(1_500);

struct Given {
    now: Millis,
    stamp: Millis,
    message: ToHost,
}

/// Runs until the gateway closes its end of the socket.
///
/// # Errors
/// Standard input is no socket, or what the gateway says first makes no sense.
pub fn main() -> io::Result<ExitCode> {
    let start = Instant::now();
    let clock = move || Millis::try_from(start.elapsed().as_millis()).unwrap_or(Millis::MAX);
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let Some(library) = Library::new() else { return Ok(ExitCode::FAILURE) };
    say(&socket, &FromHost::Hello { version: VERSION, name: Library::name() })?;
    let (give, given) = sync_channel(MAX_ORDERS);
    let reading = socket.try_clone()?;
    thread::spawn(move || {
        read(&reading, clock, &give);
        // The library's thread sees it at its next tick.
        drop(give);
        thread::sleep(END);
        std::process::exit(1);
    });
    let (reply, replies) = sync_channel(MAX_REPLIES);
    thread::spawn(move || write(&socket, &replies));
    let Ok(Given { now, stamp, message: ToHost::Hello(hello) }) = given.recv() else {
        return Err(io::Error::other("the gateway does not say what there is to do"));
    };
    drive(library, (now, stamp, *hello), clock, given, reply);
    // The library has stopped by itself.
    Ok(ExitCode::FAILURE)
}

fn drive(
    library: Library,
    (now, stamp, hello): (Millis, Millis, Hello),
    clock: impl Fn() -> Millis + 'static,
    given: Receiver<Given>,
    reply: SyncSender<Option<FromHost>>,
) {
    let mut host = Host::begin(now, stamp, hello, library);
    library::run(Box::new(move || {
        loop {
            match given.try_recv() {
                Ok(Given { now, stamp, message }) => host.handle_message(now, stamp, message),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => std::process::exit(0),
            }
        }
        while let Some(signal) = library::poll_signal() {
            host.handle_signal(clock(), signal);
        }
        host.handle_timeout(clock());
        while let Some(message) = host.poll_reply() {
            let lossy = matches!(message, FromHost::Event(Event::Received(_)));
            match reply.try_send(Some(message)) {
                Ok(()) => {}
                Err(TrySendError::Full(message)) if !lossy => {
                    // The gateway is behind, and is waited for; the air does not wait, but may lose.
                    if reply.send(message).is_err() {
                        std::process::exit(0);
                    }
                }
                Err(TrySendError::Full(_)) => {}
                Err(TrySendError::Disconnected(_)) => std::process::exit(0),
            }
        }
        if host.is_dead() {
            // What was said last gets there first: the writer ends the process.
            let _ = reply.send(None);
            thread::sleep(END);
            std::process::exit(1);
        }
    }));
}

fn read(socket: &UnixStream, clock: impl Fn() -> Millis, give: &SyncSender<Given>) {
    let (mut socket, mut decoder, mut buffer) = (socket, Decoder::default(), [0; 4_096]);
    'reading: loop {
        let count = match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let now = clock();
        let mut messages = Vec::new();
        let sound =
            decoder.push(buffer.get(..count).unwrap_or(&[]), |bytes| messages.push(ToHost::parse(bytes)));
        buffer.fill(0);
        for message in messages {
            let Ok((stamp, message)) = message else { break 'reading };
            if give.send(Given { now, stamp, message }).is_err() {
                break 'reading;
            }
        }
        if sound.is_err() {
            break;
        }
    }
}

/// Ends the process after `None`, or when the gateway does not listen any more.
fn write(socket: &UnixStream, replies: &Receiver<Option<FromHost>>) {
    while let Ok(Some(message)) = replies.recv() {
        if say(socket, &message).is_err() {
            break;
        }
    }
    std::process::exit(1);
}

fn say(mut socket: &UnixStream, message: &FromHost) -> io::Result<()> {
    match message.encode() {
        Some(bytes) => socket.write_all(&bytes),
        None => Ok(()),
    }
}
