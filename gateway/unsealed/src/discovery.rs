//! How Home Assistant finds an ordinary lock: MQTT discovery, one retained message for each entity. Keys are those that its
//! documentation has for `lock`, `sensor` and `binary_sensor` (2025.1).
//!
//! A lock whose commands are off is a sensor, not a lock: a button that does nothing would be a lie. A lock whose commands are on is told how to
//! write one that expires ([`COMMAND`]), because the bare words that Home Assistant sends by default could be of any time.

use serde_json::{Value, json};

use cardea_zigbee::driver::ordinary::Snapshot;

use crate::{Config, Device};

/// How Home Assistant writes a command: `value` is `lock` or `unlock`. It is good for twenty seconds by its clock.
pub(crate) const COMMAND: &str = concat!(
    r#"{"v":1,"command":"{{ value }}","id":"ha-{{ (now().timestamp() * 1000000) | int }}","#,
    r#""not_after":{{ ((now().timestamp() + 20) * 1000) | int }}}"#
);

/// Components and objects that a lock may have; those that it has not are taken back.
pub(crate) const OBJECTS: [(&str, &str); 4] =
    [("lock", "lock"), ("sensor", "bolt"), ("binary_sensor", "jammed"), ("sensor", "battery")];

/// The topic of an entity.
pub(crate) fn topic(prefix: &str, of: &Snapshot, (component, object): (&str, &str)) -> String {
    format!("{prefix}/{component}/cardea_{}/{object}/config", of.eui)
}

/// The entities of a lock, in the order of [`OBJECTS`]; `None`: it has none of that kind.
pub(crate) fn entities(config: &Config, device: &Device, of: &Snapshot) -> [Option<Value>; 4] {
    let common = |object: &str| common(config, device, of, object);
    let lock = device.commands.then(|| {
        with(
            common("lock"),
            json!({
                "name": null,
                "value_template": "{{ value_json.bolt }}",
                "state_locked": "locked",
                "state_unlocked": "unlocked",
                "state_locking": "locking",
                "state_unlocking": "unlocking",
                "state_jammed": "jammed",
                "payload_reset": "unknown",
                "command_topic": config.topic(of.eui, "set"),
                "command_template": COMMAND,
                "payload_lock": "lock",
                "payload_unlock": "unlock",
                "optimistic": false,
                "qos": 0,
                "retain": false,
            }),
        )
    });
    let bolt = (!device.commands).then(|| {
        with(
            common("bolt"),
            json!({
                "name": "Bolt",
                "device_class": "enum",
                "options": ["locked", "unlocked", "locking", "unlocking", "jammed", "unknown"],
                "value_template": "{{ value_json.bolt }}",
                "icon": "mdi:lock-question",
            }),
        )
    });
    let jammed = with(
        common("jammed"),
        json!({
            "name": "Jammed",
            "device_class": "problem",
            "value_template": "{{ {'jammed': 'ON', 'unknown': 'None'}.get(value_json.bolt, 'OFF') }}",
            "entity_category": "diagnostic",
        }),
    );
    let battery = of.battery.is_some().then(|| {
        with(
            common("battery"),
            json!({
                "name": "Battery",
                "device_class": "battery",
                "unit_of_measurement": "%",
                "state_class": "measurement",
                "value_template": "{{ value_json.battery }}",
                "entity_category": "diagnostic",
            }),
        )
    });
    [lock, bolt, Some(jammed), battery]
}

/// What every entity says: whose it is, that it is not end-to-end, where its state is, and when it is not to be believed.
fn common(config: &Config, device: &Device, of: &Snapshot, object: &str) -> Value {
    let id = format!("cardea_{}", of.eui);
    let mut about = json!({
        "identifiers": [id],
        "name": format!("{} (not end-to-end)", device.name),
        "serial_number": of.eui.to_string(),
    });
    for (key, text) in [("manufacturer", &of.maker), ("model", &of.model)] {
        if let Some(about) = about.as_object_mut().filter(|_| !text.is_empty()) {
            about.insert(key.into(), text.as_str().into());
        }
    }
    let state = config.topic(of.eui, "state");
    json!({
        "unique_id": format!("{id}_{object}"),
        "object_id": format!("{id}_{object}"),
        "device": about,
        "origin": { "name": "Cardea (not end-to-end)", "sw_version": env!("CARGO_PKG_VERSION") },
        "state_topic": state,
        "json_attributes_topic": state,
        "availability_mode": "all",
        "availability": [
            {
                "topic": config.state_topic(),
                "value_template": "{{ value_json.state }}",
                "payload_available": "online",
                "payload_not_available": "offline",
            },
            {
                "topic": state,
                "value_template": "{{ 'online' if value_json.reachable else 'offline' }}",
                "payload_available": "online",
                "payload_not_available": "offline",
            },
        ],
    })
}

fn with(mut common: Value, own: Value) -> Value {
    if let (Some(common), Value::Object(own)) = (common.as_object_mut(), own) {
        common.extend(own);
    }
    common
}
