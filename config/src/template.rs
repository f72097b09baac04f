//! The commented example and the JSON Schema, both made from the types.

use std::fmt::Write as _;

use crate::sections::{Config, Field, SECTIONS};

/// A complete configuration with every key, its meaning and its default. What it sets equals the defaults.
#[must_use]
pub fn template() -> String {
    let defaults = toml::Table::try_from(Config::default()).unwrap_or_default();
    let mut out = String::from(
        "# Configuration of a Cardea gateway. Every key is shown with its default; a key that is commented out has\n\
         # none. Any key can be set from the environment instead: CARDEA_MQTT__URL is `url` of [mqtt].\n\
         # Check an edited file with `cardea config check`.\n",
    );
    for section in SECTIONS {
        out.push('\n');
        comment(&mut out, section.doc);
        let _ = writeln!(out, "[{}]", section.name);
        let values = defaults.get(section.name).and_then(toml::Value::as_table);
        for field in section.fields {
            comment(&mut out, field.doc);
            let value = values.and_then(|v| v.get(field.name));
            let _ = writeln!(out, "{}", assignment(field, value));
        }
    }
    out
}

fn assignment(field: &Field, value: Option<&toml::Value>) -> String {
    match value {
        Some(value) => format!("{} = {value}", field.name),
        None => format!("#{} = {}", field.name, field.example.unwrap_or("\"\"")),
    }
}

fn comment(out: &mut String, lines: &[&str]) {
    for line in lines {
        let _ = writeln!(out, "#{}", line.trim_end());
    }
}

/// Stands where something was left out.
const LEFT_OUT: &str = "(left out)";

/// A configuration for somebody who helps: all keys, but no names of users, clients and devices. Secrets are in files, of which
/// only the paths are here.
#[must_use]
pub fn redacted(config: &Config) -> String {
    let mut config = config.clone();
    // Some clouds give out a token as the user name, or as the client id.
    for word in [&mut config.mqtt.username, &mut config.mqtt.client_id] {
        if word.is_some() {
            *word = Some(LEFT_OUT.into());
        }
    }
    for device in config.unsealed.devices.values_mut() {
        device.name = LEFT_OUT.into();
    }
    toml::to_string_pretty(&config).unwrap_or_default()
}

/// The JSON Schema of the configuration, for editors and forms.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(Config);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
