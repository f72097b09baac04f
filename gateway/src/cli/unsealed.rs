//! Ordinary locks on the command line. Wherever one stands it says that it is not end-to-end.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use cardea_api::{Reply, Request, Unsealed as Bridge, UnsealedLock};
use cardea_config::Config;

use super::{Unsealed, ask, duration, labels_from_input};

pub(super) fn run(config: &Config, command: Option<Unsealed>, json: bool) -> anyhow::Result<()> {
    match command.unwrap_or(Unsealed::List) {
        Unsealed::List => {
            let locks = list(config)?;
            if json {
                println!("{}", serde_json::to_string_pretty(&locks)?);
            } else {
                print!("{}", text(&locks));
            }
        }
        Unsealed::Admit { label } => {
            let label = if label == "-" {
                labels_from_input()?.into_iter().next().context("there is no label on standard input")?
            } else {
                label
            };
            let eui = label.split('/').next().unwrap_or_default().to_ascii_lowercase();
            ask(config, &Request::AdmitUnsealed { label })?;
            println!("{eui} is admitted as an ordinary lock: NOT end-to-end protected");
            println!("the network is open for it: let it join within four minutes");
        }
        Unsealed::Remove { eui } => {
            ask(config, &Request::RemoveUnsealed { lock: eui.clone() })?;
            println!("{eui} is removed");
        }
    }
    Ok(())
}

fn list(config: &Config) -> anyhow::Result<Vec<UnsealedLock>> {
    match ask(config, &Request::Unsealed {})? {
        Reply::Unsealed(locks) => Ok(locks),
        _ => bail!("the daemon answered something else"),
    }
}

/// What stands below the sealed locks while there are others.
pub(super) fn beside(config: &Config) -> anyhow::Result<String> {
    if !config.unsealed.enabled {
        return Ok(String::new());
    }
    let locks = list(config)?;
    Ok(if locks.is_empty() { String::new() } else { format!("\n{}", text(&locks)) })
}

pub(super) fn status_line(bridge: &Bridge) -> String {
    let Bridge { locks, commands, connected, detail, .. } = bridge;
    let link = match (connected, detail.as_str()) {
        (true, "") => String::new(),
        (true, detail) => format!("; {detail}"),
        (false, "") => "; its connection to the broker is down".into(),
        (false, detail) => format!("; its connection to the broker is down: {detail}"),
    };
    format!("unsealed {locks} ordinary locks, NOT end-to-end; commands are on for {commands}{link}")
}

fn text(locks: &[UnsealedLock]) -> String {
    if locks.is_empty() {
        return "no ordinary lock is admitted; `cardea unsealed admit <label>` lets one in\n".into();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let ago =
        |at: Option<u64>| at.map_or("never".into(), |at| duration(now.saturating_sub(at / 1000)) + " ago");
    let mut text = format!(
        "{:<16}  {:<12}  {:<10}  {:<28}  {:<8}  {:<10}  {}\n",
        "ordinary lock", "state", "end-to-end", "bolt", "commands", "heard", "name"
    );
    for lock in locks {
        let state = match (&lock.name, lock.joined, lock.ready) {
            (None, ..) => "not named",
            (_, false, _) => "not joined",
            (_, true, false) => "being asked",
            (_, true, true) => "ready",
        };
        let bolt = match &lock.source {
            Some(source) => format!("{} ({source}, {})", lock.bolt, ago(lock.at)),
            None => lock.bolt.clone(),
        };
        let commands = if lock.commands { "on" } else { "off" };
        let line = format!(
            "{:<16}  {:<12}  {:<10}  {:<28}  {:<8}  {:<10}  {}",
            lock.lock,
            state,
            "NO",
            bolt,
            commands,
            ago(lock.heard),
            lock.name.as_deref().unwrap_or_default()
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_of_every_ordinary_lock_that_it_is_not_end_to_end_and_whose_word_its_bolt_is() {
        let lock = UnsealedLock {
            lock: "00124b0000000001".into(),
            end_to_end: false,
            name: Some("Shed".into()),
            commands: false,
            joined: true,
            ready: true,
            bolt: "unknown".into(),
            source: Some("report".into()),
            at: Some(0),
            heard: None,
            battery: None,
            rssi: None,
            lqi: None,
        };
        let text = text(&[lock]);
        let row = text.lines().nth(1).unwrap_or_default();
        assert!(
            row.contains("  NO  ") && row.contains("unknown (report, ") && row.contains("  off  "),
            "{text}"
        );
        assert!(text.contains("end-to-end"));
    }

    #[test]
    fn the_status_says_it_too() {
        let bridge = Bridge {
            end_to_end: false,
            locks: 2,
            commands: 1,
            connected: false,
            detail: "x".into(),
            ignored: 0,
        };
        assert!(status_line(&bridge).contains("NOT end-to-end") && status_line(&bridge).contains("down: x"));
    }
}
