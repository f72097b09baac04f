//! After the story: the user's turn.

use std::{io::BufRead as _, time::Duration};

use anyhow::Result;
use cardea_sdk::Ask;
use cardea_simulator::{Broker, Forwarder};
use tokio::sync::mpsc;

use crate::{Cast, gateway::Gateway, story::Story};

/// A sleeping lock must be touched within this time.
const PATIENCE: Duration = Duration::from_secs(60);
/// Until somebody plugs it in again, at the latest.
const UNPLUGGED: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) async fn run(story: &Story, broker: &Broker, gateway: &Gateway, mut cast: Cast) -> Result<()> {
    let (program, config) = (gateway.program().display(), gateway.config().display());
    let (port, name) = (broker.port(), Gateway::NAME);
    println!(
        "
It is your turn now. Type here:
  unlock N | lock N | status N | battery N      the platform asks lock N (1 and 2 sleep: touch them then)
  touch N | turn N | reset N                    do something to lock N itself
  forwarder off | forwarder on                  the packet forwarder goes, and comes back
  dongle off | dongle on                        the Zigbee dongle is pulled out, and plugged in again
  quit

In another terminal:
  {program} status --config {config}
  {program} locks --config {config}
  mosquitto_sub -p {port} -v -t 'cardea/v1/#'
Topics: cardea/v1/{name}/state|info|health|locks, cardea/v1/{name}/lock/<lock>/up|down|result|link|seen,
  cardea/v1/{name}/event
"
    );
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["quit" | "exit"] => return Ok(()),
            ["forwarder", "off"] => {
                cast.forwarder = None;
                story.say("the packet forwarder is gone");
            }
            ["forwarder", "on"] => {
                cast.forwarder = Some(Forwarder::start(cast.forwarder_config, cast.air.clone()).await?);
                story.say("the packet forwarder is back");
            }
            ["dongle", "off"] => {
                cast.dongle.unplug(UNPLUGGED);
                story.say("the Zigbee dongle is pulled out");
            }
            ["dongle", "on"] => {
                cast.dongle.unplug(Duration::ZERO);
                story.say("the Zigbee dongle is plugged in");
            }
            [verb, number] => to_lock(story, &cast, verb, number),
            _ => println!(
                "unlock|lock|status|battery|touch|turn|reset N, forwarder on|off, dongle on|off, quit"
            ),
        }
    }
    // Standard input has ended: what is left is Ctrl-C.
    std::future::pending().await
}

fn to_lock(story: &Story, cast: &Cast, verb: &str, number: &str) {
    let Some(door) = cast.doors.iter().find(|door| door.number.to_string() == number) else {
        println!("there are locks 1 to 4");
        return;
    };
    let ask = match verb {
        "touch" => return door.touch(),
        "turn" => return door.turn(),
        "reset" => return door.reset(),
        "unlock" => Ask::Unlock,
        "lock" => Ask::Lock,
        "status" => Ask::Status,
        "battery" => Ask::Battery,
        _ => return println!("unlock, lock, status, battery, touch, turn or reset"),
    };
    let (story, platform, id, name) = (story.clone(), cast.platform.clone(), door.id, door.to_string());
    tokio::spawn(async move {
        match platform.command(id, ask, PATIENCE).await {
            Ok(outcome) => story.say(&format!("{name}: {ask} {outcome}")),
            Err(error) => story.say(&format!("{name}: {ask}: {error}")),
        }
    });
}

/// Lines of standard input; its own thread, because a read cannot be interrupted.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
