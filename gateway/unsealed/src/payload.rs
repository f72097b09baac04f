//! What is published, as JSON. Every message of a lock has `"end_to_end": false`.

use cardea_zigbee::Eui64;
use cardea_zigbee::driver::ordinary::{Bolt, Happening, Snapshot, Source};
use cardea_zigbee::zcl::door_lock;
use serde::Serialize;

use crate::{Millis, Wall};

/// The bridge itself.
#[derive(Serialize)]
struct Presence {
    state: &'static str,
    at: u64,
}

/// `…/unsealed/{eui}/state`.
#[derive(Serialize)]
struct State<'a> {
    v: u8,
    lock: String,
    end_to_end: bool,
    name: &'a str,
    bolt: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    joined: bool,
    ready: bool,
    reachable: bool,
    commands: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    battery: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    battery_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heard: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lqi: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rssi: Option<i8>,
    manufacturer: &'a str,
    model: &'a str,
    clock: &'static str,
}

/// `…/unsealed/{eui}/event`.
#[derive(Serialize)]
struct Event {
    v: u8,
    lock: String,
    end_to_end: bool,
    event: &'static str,
    code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<u16>,
    at: u64,
    clock: &'static str,
}

/// `…/unsealed/{eui}/result`.
#[derive(Serialize)]
struct Outcome<'a> {
    v: u8,
    lock: String,
    end_to_end: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u8>,
    at: u64,
    clock: &'static str,
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Nothing here can fail to be written.
    serde_json::to_vec(value).unwrap_or_default()
}

fn clock(wall: Wall) -> &'static str {
    if wall.synced { "synced" } else { "unsynced" }
}

/// A moment of the monotonic clock by the wall clock.
pub(crate) fn unix(at: Millis, now: Millis, wall: Wall) -> u64 {
    wall.unix_ms.saturating_sub(now.saturating_sub(at))
}

pub(crate) fn presence(online: bool, wall: Wall) -> Vec<u8> {
    json(&Presence { state: if online { "online" } else { "offline" }, at: wall.unix_ms })
}

pub(crate) fn bolt(bolt: Bolt) -> &'static str {
    match bolt {
        Bolt::Unknown => "unknown",
        Bolt::Locked => "locked",
        Bolt::Unlocked => "unlocked",
        Bolt::Jammed => "jammed",
        Bolt::Locking => "locking",
        Bolt::Unlocking => "unlocking",
    }
}

pub(crate) fn source(source: Source) -> &'static str {
    match source {
        Source::Report => "report",
        Source::Read => "read",
        Source::Event => "event",
        Source::Alarm => "alarm",
        Source::Command => "command",
    }
}

pub(crate) fn state(now: Millis, wall: Wall, name: &str, commands: bool, of: &Snapshot) -> Vec<u8> {
    let unix = |at| unix(at, now, wall);
    json(&State {
        v: 1,
        lock: of.eui.to_string(),
        end_to_end: false,
        name,
        bolt: bolt(of.bolt),
        source: of.source.map(source),
        at: of.at.map(unix),
        joined: of.joined,
        ready: of.ready,
        reachable: of.reachable,
        commands,
        battery: of.battery.map(|(percent, _)| percent),
        battery_at: of.battery.map(|(_, at)| unix(at)),
        heard: of.heard.map(|heard| unix(heard.at)),
        lqi: of.heard.map(|heard| heard.lqi),
        rssi: of.heard.map(|heard| heard.rssi),
        manufacturer: &of.maker,
        model: &of.model,
        clock: clock(wall),
    })
}

pub(crate) fn event(now: Millis, wall: Wall, eui: Eui64, happening: Happening) -> Vec<u8> {
    let (event, code, by, user, at) = match happening {
        Happening::Operation { source, code, user, at } => {
            ("operation", code, Some(means(source)), Some(user), at)
        }
        Happening::Programming { source, code, user, at } => {
            ("programming", code, Some(means(source)), Some(user), at)
        }
        Happening::Alarm { code, at } => ("alarm", code, None, None, at),
    };
    let at = unix(at, now, wall);
    json(&Event {
        v: 1,
        lock: eui.to_string(),
        end_to_end: false,
        event,
        code,
        by,
        user,
        at,
        clock: clock(wall),
    })
}

fn means(source: door_lock::Source) -> &'static str {
    match source {
        door_lock::Source::Keypad => "keypad",
        door_lock::Source::Rf => "rf",
        door_lock::Source::Manual => "manual",
        door_lock::Source::Rfid => "rfid",
        door_lock::Source::Other => "other",
    }
}

/// What became of a command.
pub(crate) struct Told<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) result: &'static str,
    pub(crate) reason: Option<&'a str>,
    pub(crate) status: Option<u8>,
}

pub(crate) fn result(wall: Wall, eui: Eui64, told: &Told<'_>) -> Vec<u8> {
    let Told { id, result, reason, status } = *told;
    let lock = eui.to_string();
    json(&Outcome {
        v: 1,
        lock,
        end_to_end: false,
        id,
        result,
        reason,
        status,
        at: wall.unix_ms,
        clock: clock(wall),
    })
}
