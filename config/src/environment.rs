//! Lays environment variables over the file: `CARDEA_MQTT__URL` is `url` of `[mqtt]`.

use toml::{Table, Value};

use crate::sections::{Config, SECTIONS};
use crate::toml_file::{unknown_key, unknown_section};
use crate::{ENV_PREFIX, Place, Problem};

/// Applies the variables one by one, so that one that does not fit is named.
pub(crate) fn overlay(mut table: Table, variables: &[(String, String)]) -> Result<Config, Vec<Problem>> {
    let mut problems = Vec::new();
    for (name, value) in variables {
        let Some((section, key)) = split(name) else { continue };
        let problem = |message: String| Problem {
            place: Place::Variable(name.clone()),
            key: format!("{section}.{key}"),
            message,
        };
        let Some(known) = SECTIONS.iter().find(|s| s.name == section) else {
            problems.push(problem(unknown_section(&section, true)));
            continue;
        };
        if !known.fields.iter().any(|f| f.name == key) {
            problems.push(problem(unknown_key(&key, &section)));
            continue;
        }
        match fitting(&table, &section, &key, value) {
            Ok(fits) => table = fits,
            Err(message) => problems.push(problem(message)),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Config::deserialize_from(table)
        .map_err(|message| vec![Problem { place: Place::Whole, key: String::new(), message }])
}

/// The variable that sets this key, if one does.
pub(crate) fn place(path: &str, variables: &[(String, String)]) -> Option<Place> {
    let hit = variables
        .iter()
        .find(|(name, _)| split(name).is_some_and(|(section, key)| path == format!("{section}.{key}")));
    hit.map(|(name, _)| Place::Variable(name.clone()))
}

/// Section and key of a variable of ours. One without the double underscore is not a key (`CARDEA_CONFIG`).
fn split(name: &str) -> Option<(String, String)> {
    let (section, key) = name.strip_prefix(ENV_PREFIX)?.split_once("__")?;
    Some((section.to_ascii_lowercase(), key.to_ascii_lowercase()))
}

/// The table with the value set: as the text itself where a string is wanted, else as the TOML it spells.
fn fitting(table: &Table, section: &str, key: &str, value: &str) -> Result<Table, String> {
    let text = with(table, section, key, Value::String(value.into()))?;
    let Err(error) = Config::deserialize_from(text.clone()) else { return Ok(text) };
    let spelled = format!("value = {value}").parse::<Table>().ok().and_then(|mut t| t.remove("value"));
    if let Some(spelled) = spelled.filter(|v| !v.is_str()) {
        let table = with(table, section, key, spelled)?;
        return Config::deserialize_from(table.clone()).map(|_| table);
    }
    Err(error)
}

fn with(table: &Table, section: &str, key: &str, value: Value) -> Result<Table, String> {
    let mut table = table.clone();
    let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    let inner = entry.as_table_mut().ok_or_else(|| format!("[{section}] is not a section in the file"))?;
    inner.insert(key.into(), value);
    Ok(table)
}

impl Config {
    fn deserialize_from(table: Table) -> Result<Self, String> {
        table.try_into().map_err(|e: toml::de::Error| e.message().trim().replace('\n', "; "))
    }
}
