//! Reads the file: what is not a key of ours is named with its line and its nearest match.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::sections::{Config, SECTIONS};
use crate::{Place, Problem};

/// A file that deserialises into [`Config`] on its own.
pub(crate) struct File {
    pub(crate) table: toml::Table,
    /// Line of every `section.key` that the file sets.
    pub(crate) lines: BTreeMap<String, usize>,
}

pub(crate) fn read(text: &str) -> Result<File, Vec<Problem>> {
    let (lines, unknown) = keys(text)?;
    if !unknown.is_empty() {
        return Err(unknown);
    }
    // Typed first, because this reading knows the line of a value that does not fit.
    if let Err(error) = toml::from_str::<Config>(text) {
        return Err(vec![from_toml(text, &error, &lines)]);
    }
    let table = toml::from_str(text).map_err(|error| vec![from_toml(text, &error, &lines)])?;
    Ok(File { table, lines })
}

type Keys = (BTreeMap<String, usize>, Vec<Problem>);

/// All keys with their lines, and a problem for each that is not ours.
fn keys(text: &str) -> Result<Keys, Vec<Problem>> {
    let document = DeTable::parse(text).map_err(|error| vec![from_toml(text, &error, &BTreeMap::new())])?;
    let mut lines = BTreeMap::new();
    let mut unknown = Vec::new();
    for (name, value) in document.get_ref() {
        let line = line_of(text, name.span().start);
        let name = name.get_ref().as_ref();
        lines.insert(name.to_owned(), line);
        let Some(section) = SECTIONS.iter().find(|s| s.name == name) else {
            let message = unknown_section(name, matches!(value.get_ref(), DeValue::Table(_)));
            unknown.push(Problem { place: Place::Line(line), key: name.into(), message });
            continue;
        };
        let DeValue::Table(table) = value.get_ref() else { continue };
        for (key, _) in table {
            let line = line_of(text, key.span().start);
            let path = format!("{name}.{}", key.get_ref());
            if !section.fields.iter().any(|f| f.name == key.get_ref().as_ref()) {
                let message = unknown_key(key.get_ref().as_ref(), name);
                unknown.push(Problem { place: Place::Line(line), key: path.clone(), message });
            }
            lines.insert(path, line);
        }
    }
    unknown.sort_by(|a, b| a.place.cmp(&b.place));
    Ok((lines, unknown))
}

/// What to say of a section that does not exist.
pub(crate) fn unknown_section(name: &str, is_table: bool) -> String {
    let sections = SECTIONS.iter().map(|s| s.name);
    // A key written above the first section header is the usual reason.
    if !is_table && let Some(section) = SECTIONS.iter().find(|s| s.fields.iter().any(|f| f.name == name)) {
        return format!("belongs in a section; did you mean `{name}` in [{}]?", section.name);
    }
    match nearest(name, sections) {
        Some(near) => format!("no such section; did you mean [{near}]?"),
        None => format!("no such section; there are {}", list(SECTIONS.iter().map(|s| s.name))),
    }
}

/// What to say of a key that does not exist in a section that does.
pub(crate) fn unknown_key(key: &str, section: &str) -> String {
    let fields = SECTIONS.iter().find(|s| s.name == section).map(|s| s.fields).unwrap_or_default();
    if let Some(near) = nearest(key, fields.iter().map(|f| f.name)) {
        return format!("no such key; did you mean `{near}`?");
    }
    if let Some(other) = SECTIONS.iter().find(|s| s.fields.iter().any(|f| f.name == key)) {
        return format!("no such key in [{section}]; there is one in [{}]", other.name);
    }
    format!("no such key in [{section}]; there are {}", list(fields.iter().map(|f| f.name)))
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|k| (strsim::jaro_winkler(&name.to_ascii_lowercase(), k), k))
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

/// A problem from what the TOML reader says; the key is the last one at or before the place.
fn from_toml(text: &str, error: &toml::de::Error, lines: &BTreeMap<String, usize>) -> Problem {
    let line = error.span().map(|span| line_of(text, span.start));
    let key =
        lines.iter().filter(|(k, l)| k.contains('.') && Some(**l) == line).map(|(k, _)| k.clone()).next();
    Problem {
        place: line.map_or(Place::Whole, Place::Line),
        key: key.unwrap_or_default(),
        message: error.message().trim().replace('\n', "; "),
    }
}
