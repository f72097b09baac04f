//! The process: programs of the shell's, which say nothing, die, or do not want to.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use cardea_radio::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::coordinator::{Event, Order, State};
use crate::descriptors::{Clusters, SimpleDescriptor};

/// A folder that is gone with the test, and a script in it as the program.
struct Place(PathBuf);

impl Place {
    fn new(name: &str, script: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cardea-external-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o700)).unwrap();
        Self(folder)
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.join("memory").join(file)).unwrap_or_default()
    }

    fn run(&self) -> (mpsc::Sender<Order>, mpsc::Receiver<Event>, JoinHandle<()>) {
        let (orders, order_queue) = mpsc::channel(8);
        let (event_queue, events) = mpsc::channel(8);
        let clock = Clock::start();
        let end = CoordinatorEnd { orders: order_queue, events: event_queue, clock, expected: None };
        let clusters = Clusters::default();
        let endpoint = SimpleDescriptor { endpoint: 1, profile: 0x0104, device: 5, version: 0, clusters };
        let external = External {
            program: Program { path: self.0.join("program"), directory: self.0.join("memory") },
            device: "/dev/null".into(),
            host: HostConfig { endpoint, manufacturer: 0xFFF1, max_children: 32 },
        };
        (orders, events, tokio::spawn(external.run(end)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn until(events: &mut mpsc::Receiver<Event>, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event =
            tokio::time::timeout(Duration::from_secs(20), events.recv()).await.expect("it takes too long");
        let event = event.expect("it runs");
        if wanted(&event) {
            return event;
        }
    }
}

fn is_down(event: &Event) -> bool {
    matches!(event, Event::State(State::Down(_)))
}

#[tokio::test]
async fn a_program_sees_its_folder_and_nothing_of_our_environment() {
    let place = Place::new("environment", "pwd > where; /usr/bin/env > environment");
    let (orders, mut events, task) = place.run();
    until(&mut events, is_down).await;
    assert_eq!(Path::new(place.read("where").trim()), place.0.join("memory").canonicalize().unwrap());
    let ours = ["HOME", "CARGO", "PATH=/root", "CARDEA"];
    assert!(
        !ours.iter().any(|name| place.read("environment").contains(name)),
        "{}",
        place.read("environment")
    );
    orders.send(Order::Stop).await.unwrap();
    task.await.unwrap();
}

#[tokio::test]
async fn a_program_that_dies_young_is_started_again_ever_later() {
    let place = Place::new("young", "echo started >> starts; exit 1");
    let (orders, mut events, task) = place.run();
    let event = until(&mut events, |event| {
        matches!(event, Event::State(State::Down(why)) if why.contains("ended 3 times soon after its start"))
    })
    .await;
    assert!(is_down(&event));
    assert_eq!(place.read("starts").lines().count(), 3);
    orders.send(Order::Stop).await.unwrap();
    task.await.unwrap();
}

/// It closes its end, so that the gateway sees it gone, and lives on: a second one would be a second coordinator.
#[tokio::test]
async fn no_program_is_started_before_the_one_before_it_is_gone() {
    let place =
        Place::new("stubborn", "test -e alive && echo two >> at_once; touch alive; exec 0<&-; exec sleep 60");
    // Killed in its sleep, it leaves its mark behind: what counts is whether it was there while the process was.
    let (orders, mut events, task) = place.run();
    until(&mut events, is_down).await;
    let first = Duration::from_millis(1_500);
    tokio::time::sleep(first).await;
    assert_eq!(place.read("at_once"), "", "the first still sleeps");
    until(&mut events, |event| matches!(event, Event::State(State::Starting))).await;
    orders.send(Order::Stop).await.unwrap();
    task.await.unwrap();
}
