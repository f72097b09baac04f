//! The task with the port, on pseudo-terminals, against the scripted double.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cardea_radio::Clock;
use serial2_tokio::SerialPort;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::coordinator::CoordinatorEnd;
use crate::zboss::port::drive;

/// The double behind a pseudo-terminal; pulled out by aborting it.
fn plug(ncp: ScriptedNcp, clock: Clock) -> (SerialPort, JoinHandle<()>) {
    let (ours, theirs) = SerialPort::pair().unwrap();
    let task = tokio::spawn(async move {
        let mut ncp = ncp;
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

struct Running {
    orders: mpsc::Sender<Order>,
    events: mpsc::Receiver<Event>,
    /// What the next opening finds.
    socket: Arc<Mutex<Option<SerialPort>>>,
    clock: Clock,
    task: JoinHandle<()>,
}

fn run(expected: Option<Network>) -> Running {
    let (orders, order_queue) = mpsc::channel(8);
    let (event_queue, events) = mpsc::channel(8);
    let (clock, socket) = (Clock::start(), Arc::new(Mutex::new(None::<SerialPort>)));
    let end = CoordinatorEnd { orders: order_queue, events: event_queue, clock, expected };
    let port = socket.clone();
    let open = move || port.lock().unwrap().take().ok_or_else(|| std::io::ErrorKind::NotFound.into());
    let task = tokio::spawn(drive(open, ncp::config(), end));
    Running { orders, events, socket, clock, task }
}

impl Running {
    async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut seen = Vec::new();
        loop {
            let event = tokio::time::timeout(Duration::from_secs(20), self.events.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("only {seen:?}")).unwrap();
            let found = wanted(&event);
            seen.push(event);
            if found {
                return seen;
            }
        }
    }
}

fn is_up(event: &Event) -> bool {
    matches!(event, Event::State(State::Up(_)))
}

#[tokio::test]
async fn over_a_terminal_the_network_is_resumed_and_a_replugged_dongle_too() {
    let mut running = run(Some(OURS));
    let seen = running.until(|event| matches!(event, Event::State(State::Down(_)))).await;
    assert_eq!(seen.len(), 1, "no dongle yet");
    let (port, dongle) = plug(ScriptedNcp::new(Some(OURS)), running.clock);
    *running.socket.lock().unwrap() = Some(port);
    let seen = running.until(is_up).await;
    assert_eq!(seen, vec![Event::State(State::Starting), Event::State(State::Up(OURS))]);
    // Pulled out with a frame on its way.
    let lock = frame(1, 0x1001, running.clock.now() + 60_000);
    running.orders.send(Order::Send(lock.clone())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    dongle.abort();
    let seen = running.until(|event| matches!(event, Event::Outcome { .. })).await;
    assert!(
        seen.contains(&Event::Outcome { handle: 1, outcome: Outcome::Failed(Failure::Unknown) }),
        "{seen:?}"
    );
    running.orders.send(Order::Send(lock)).await.unwrap();
    let seen = running.until(|event| matches!(event, Event::Outcome { .. })).await;
    assert!(
        seen.contains(&Event::Outcome { handle: 1, outcome: Outcome::Failed(Failure::Down) }),
        "{seen:?}"
    );
    let (port, _dongle) = plug(ScriptedNcp::new(Some(OURS)), running.clock);
    *running.socket.lock().unwrap() = Some(port);
    let seen = running.until(is_up).await;
    assert!(!seen.iter().any(|event| matches!(event, Event::Formed(_))), "nothing was formed anew");
}

/// Both queues have room for eight: a gateway that reads nothing while it gives orders must not stop its own driver.
#[tokio::test]
async fn a_gateway_that_is_behind_is_waited_for_and_loses_no_event() {
    let mut running = run(Some(OURS));
    let (port, _dongle) = plug(ScriptedNcp::new(Some(OURS)), running.clock);
    *running.socket.lock().unwrap() = Some(port);
    running.until(is_up).await;
    for handle in 0..100 {
        let late = frame(handle, 0x1001, 0);
        tokio::time::timeout(Duration::from_secs(5), running.orders.send(Order::Send(late)))
            .await
            .unwrap()
            .unwrap();
    }
    for handle in 0..100 {
        let event = running.until(|event| matches!(event, Event::Outcome { .. })).await.pop();
        assert_eq!(event, Some(Event::Outcome { handle, outcome: Outcome::Expired }));
    }
    running.orders.send(Order::Stop).await.unwrap();
    running.task.await.unwrap();
}
