//! `cardea radio map`: who is behind whom in a radio network.

use std::time::{Duration, Instant};

use anyhow::bail;
use cardea_api::{MapDevice, MapKind, RadioMap, Reply, Request};
use cardea_config::Config;

use super::{ask, duration};

/// How long a survey is waited for, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn show(config: &Config, radio: String, survey: bool) -> anyhow::Result<()> {
    let mut map = get(config, &radio, survey)?;
    if survey {
        eprintln!("routers are asked one after the other, while nothing else wants the air");
    }
    let begun = Instant::now();
    while survey && map.surveying && begun.elapsed() < PATIENCE {
        std::thread::sleep(LOOK);
        map = get(config, &radio, false)?;
    }
    println!("{}", headline(&map));
    for device in &map.devices {
        println!("{}", line(device));
    }
    Ok(())
}

fn get(config: &Config, radio: &str, survey: bool) -> anyhow::Result<RadioMap> {
    match ask(config, &Request::RadioMap { radio: radio.to_owned(), survey })? {
        Reply::RadioMap(map) => Ok(map),
        _ => bail!("the daemon answered something else"),
    }
}

fn headline(map: &RadioMap) -> String {
    let asked = match map.age_s {
        Some(age) => format!("all were asked {} ago", duration(age)),
        None => "not all were asked yet since the start".into(),
    };
    let now = if map.surveying { "; they are being asked now" } else { "" };
    format!("{}: {asked}{now}", map.radio)
}

fn line(device: &MapDevice) -> String {
    let kind = match device.kind {
        MapKind::Coordinator => "radio",
        MapKind::Router => "router",
        MapKind::Lock => "lock",
        MapKind::Unsealed => "ordinary lock",
    };
    let name = device.lock.as_deref().map(|lock| format!(" {lock}")).unwrap_or_default();
    let place = match &device.behind {
        _ if !device.joined => "not in the network".into(),
        _ if device.kind == MapKind::Coordinator => String::new(),
        Some(behind) => {
            format!("behind {}, LQI {}, said {} ago", behind.device, behind.lqi, duration(behind.age_s))
        }
        None => "behind whom is not known".into(),
    };
    let silent = if device.answers == Some(false) { "did not answer" } else { "" };
    let said: Vec<&str> = [place.as_str(), silent].into_iter().filter(|words| !words.is_empty()).collect();
    format!("{}  {kind}{name}  {}", device.device, said.join("; ")).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use cardea_api::MapBehind;

    use super::*;

    #[test]
    fn each_device_says_what_it_is_and_behind_whom_or_that_nobody_knows() {
        let behind = Some(MapBehind { device: "02cadea300000007".into(), lqi: 140, age_s: 90 });
        let lock = MapDevice {
            device: "02cadea300000001".into(),
            kind: MapKind::Lock,
            lock: Some("0102030405060708".into()),
            joined: true,
            answers: None,
            behind,
        };
        assert_eq!(
            line(&lock),
            "02cadea300000001  lock 0102030405060708  behind 02cadea300000007, LQI 140, said 90 s ago"
        );
        let unknown = MapDevice { behind: None, ..lock.clone() };
        assert!(line(&unknown).ends_with("behind whom is not known"));
        assert!(line(&MapDevice { joined: false, ..lock.clone() }).ends_with("not in the network"));
        let radio = MapDevice { kind: MapKind::Coordinator, lock: None, ..unknown };
        assert_eq!(line(&radio), "02cadea300000001  radio");
        let silent = MapDevice { answers: Some(false), ..radio };
        assert_eq!(line(&silent), "02cadea300000001  radio  did not answer");
        let map = RadioMap { radio: "zigbee".into(), surveying: true, age_s: None, devices: vec![] };
        assert!(headline(&map).contains("not all were asked yet") && headline(&map).contains("asked now"));
    }
}
