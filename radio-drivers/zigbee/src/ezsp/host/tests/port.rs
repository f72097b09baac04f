//! The task with the port, on pseudo-terminals, against the scripted double.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cardea_radio::Clock;
use serial2_tokio::SerialPort;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::coordinator::CoordinatorEnd;
use crate::ezsp::drive;

/// The double behind a pseudo-terminal; pulled out by aborting it.
fn plug(mut ncp: ScriptedNcp, clock: Clock) -> (SerialPort, JoinHandle<()>) {
    let (ours, theirs) = SerialPort::pair().unwrap();
    let task = tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let count = theirs.read(&mut buffer).await.unwrap();
            ncp.handle(clock.now(), &buffer[..count]);
            while let Some(bytes) = ncp.poll_transmit(clock.now()) {
                theirs.write_all(&bytes).await.unwrap();
            }
        }
    });
    (ours, task)
}

#[tokio::test]
async fn over_a_terminal_the_network_is_resumed_and_a_replugged_dongle_too() {
    let (_orders, order_queue) = mpsc::channel(8);
    let (event_queue, mut events) = mpsc::channel(8);
    let clock = Clock::start();
    let (port, dongle) = plug(ScriptedNcp::new(13, Some(OURS)), clock);
    let socket = Arc::new(Mutex::new(Some(port)));
    let end = CoordinatorEnd { orders: order_queue, events: event_queue, clock, expected: Some(OURS) };
    let plugged = socket.clone();
    let open = move || plugged.lock().unwrap().take().ok_or_else(|| std::io::ErrorKind::NotFound.into());
    tokio::spawn(drive(open, crate::zboss::tests::ncp::config(), end));
    let mut seen = Vec::new();
    for pulled in [false, true] {
        if pulled {
            dongle.abort();
            let (port, _) = plug(ScriptedNcp::new(16, Some(OURS)), clock);
            *socket.lock().unwrap() = Some(port);
        }
        loop {
            let event = tokio::time::timeout(Duration::from_secs(20), events.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("only {seen:?}")).unwrap();
            seen.push(event);
            if matches!(seen.last(), Some(Event::State(State::Up(_)))) {
                break;
            }
        }
    }
    assert!(!seen.iter().any(|event| matches!(event, Event::Formed(_))), "nothing was formed anew");
    assert!(seen.contains(&Event::State(State::Up(OURS))));
}
