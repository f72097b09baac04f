//! The rules between keys, and of what types cannot say.

use crate::sections::Config;
use crate::values::{UnsealedDevice, ZigbeeFamily};
use crate::{Place, Problem};

impl Config {
    /// The rules that types cannot say. Places are filled in by the caller.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut need = |holds: bool, key: &str, message: &str| {
            if !holds {
                found.push(Problem { place: Place::Whole, key: key.into(), message: message.into() });
            }
        };

        let mqtt = &self.mqtt;
        need((5..=1200).contains(&mqtt.keepalive), "mqtt.keepalive", "must be 5 to 1200 seconds");
        need((1..=1000).contains(&mqtt.inflight), "mqtt.inflight", "must be 1 to 1000");
        need(
            (8 * 1024..=16 * 1024 * 1024).contains(&mqtt.max_packet),
            "mqtt.max_packet",
            "must be 8192 to 16777216 bytes",
        );
        need(valid_prefix(&mqtt.prefix), "mqtt.prefix", PREFIX_RULE);
        let client_id = mqtt.client_id.as_deref().unwrap_or("x");
        need(
            (1..=128).contains(&client_id.len()) && !client_id.chars().any(char::is_control),
            "mqtt.client_id",
            "must be 1 to 128 bytes without control characters",
        );
        need(
            mqtt.password_file.is_none() || mqtt.username.is_some(),
            "mqtt.password_file",
            "MQTT 3.1.1 has no password without a user name: set `mqtt.username`",
        );
        need(
            mqtt.cert_file.is_some() == mqtt.key_file.is_some(),
            if mqtt.cert_file.is_some() { "mqtt.cert_file" } else { "mqtt.key_file" },
            "`mqtt.cert_file` and `mqtt.key_file` go together",
        );
        for (key, file) in [
            ("mqtt.ca_file", &mqtt.ca_file),
            ("mqtt.cert_file", &mqtt.cert_file),
            ("mqtt.key_file", &mqtt.key_file),
        ] {
            need(
                file.is_none() || mqtt.url.tls,
                key,
                "is used with mqtts:// only, but `mqtt.url` is mqtt://",
            );
        }

        need(
            !self.lora.enabled || !self.lora.forwarders.is_empty() || self.lora.bind.ip().is_loopback(),
            "lora.forwarders",
            "must name the packet forwarder unless `lora.bind` is a loopback address",
        );
        let zigbee = &self.zigbee;
        need(
            !zigbee.enabled || zigbee.device.is_some(),
            "zigbee.device",
            "must name the dongle's port while `zigbee.enabled` is true: see `ls /dev/serial/by-id`",
        );
        need(
            (zigbee.family == ZigbeeFamily::ZbossHost) == zigbee.host_program.is_some(),
            "zigbee.host_program",
            "goes with `family = \"zboss-host\"`: that needs it, and no other family uses it",
        );
        need(
            zigbee.host_program.as_ref().is_none_or(|program| program.is_absolute()),
            "zigbee.host_program",
            "must be an absolute path",
        );
        need((1_200..=4_000_000).contains(&zigbee.baud), "zigbee.baud", "must be 1200 to 4000000");
        need(
            !zigbee.channels.is_empty() && zigbee.channels.iter().all(|channel| (11..=26).contains(channel)),
            "zigbee.channels",
            "must be at least one of 11 to 26",
        );
        need(
            zigbee.cluster.0 >= 0xFC03,
            "zigbee.cluster",
            "must be FC03 to FFFF: lower ones are other people's",
        );
        let unsealed = &self.unsealed;
        need(
            !unsealed.enabled || zigbee.enabled,
            "unsealed.enabled",
            "needs the Zigbee radio: set `zigbee.enabled`",
        );
        need(unsealed.devices.len() <= 64, "unsealed.devices", "must be at most 64");
        need(
            unsealed.devices.values().all(UnsealedDevice::has_a_name),
            "unsealed.devices",
            "each must have a name of 1 to 64 bytes without control characters",
        );
        need(
            (10..=43_200).contains(&unsealed.report_seconds),
            "unsealed.report_seconds",
            "must be 10 to 43200 seconds",
        );
        need(
            unsealed.home_assistant.as_deref().is_none_or(valid_prefix),
            "unsealed.home_assistant",
            PREFIX_RULE,
        );
        for (key, message) in self.subghz.problems() {
            need(false, &format!("subghz.{key}"), &message);
        }
        need(
            !self.loopback.enabled || self.loopback.bind.ip().is_loopback(),
            "loopback.bind",
            "must be a loopback address: the loopback radio authenticates nobody",
        );
        need(
            !self.metrics.enabled || self.metrics.bind.ip().is_loopback(),
            "metrics.bind",
            "must be a loopback address: the endpoint has no password",
        );

        need(self.platform.keys.len() <= 4, "platform.keys", "must be at most four");

        let web = &self.web;
        need(
            web.names.iter().all(|name| valid_name(name)),
            "web.names",
            "must be host names: letters, digits, `-` and `.`, without a port",
        );
        need(web.http != Some(web.https), "web.http", "must be another address than `web.https`");

        let limits = &self.limits;
        need(limits.outbox_bytes >= 64 * 1024, "limits.outbox_bytes", "must be at least 65536");
        need(
            limits.lock_bytes >= 16 * 1024 && limits.lock_bytes <= limits.outbox_bytes,
            "limits.lock_bytes",
            "must be at least 16384 and no more than `limits.outbox_bytes`",
        );
        need((1..=100_000).contains(&limits.locks), "limits.locks", "must be 1 to 100000");
        found
    }
}

const PREFIX_RULE: &str =
    "must be 1 to 64 bytes: topic levels of letters, digits, `-`, `_` and `.`, divided by single slashes";

fn valid_prefix(prefix: &str) -> bool {
    (1..=64).contains(&prefix.len())
        && prefix.split('/').all(|level| !level.is_empty())
        && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'))
}

fn valid_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}
