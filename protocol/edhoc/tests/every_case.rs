//! Every case of every `edhoc-*.json` and of `negative.json`, by name: run here, run by a test that is named, or left out
//! with a reason. A file, list or case that is none of these fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // a panic here is a verdict

mod common;

use std::{collections::BTreeSet, fs, path::Path};

use common::{Transcript, transcripts::reproduce};
use serde_json::Value;

/// What another test runs: file, list or trace, where, and the test's name.
const ELSEWHERE: &[(&str, &str, &str, &str)] = &[
    ("edhoc-rfc9529.json", "trace_chapter_2", include_str!("rfc9529.rs"), "fn chapter_2_to_the_byte"),
    (
        "edhoc-rfc9529.json",
        "trace_chapter_3",
        include_str!("../src/tests.rs"),
        "fn rfc_9529_chapter_3_to_the_byte",
    ),
    (
        "edhoc-rfc9529.json",
        "trace_chapter_3_negotiation",
        include_str!("../src/tests.rs"),
        "fn rfc_9529_chapter_3_negotiation",
    ),
    (
        "edhoc-rfc9529.json",
        "invalid_traces_chapter_4",
        include_str!("../src/tests.rs"),
        "fn rfc_9529_chapter_4_is_refused",
    ),
    ("negative.json", "edhoc", include_str!("negative.rs"), "fn every_input_is_rejected_as_its_class_says"),
    ("negative.json", "oscore", include_str!("../../oscore/tests/negative.rs"), "fn every_negative_input"),
];

/// Cases that are left out, and why: file, name, reason. None is.
const LEFT_OUT: &[(&str, &str, &str)] = &[];

fn vectors() -> Vec<(String, Value)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| name == "negative.json" || name.starts_with("edhoc-"))
        .map(|(name, path)| (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()))
        .collect();
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    files
}

/// The names of a list's cases; a trace alone is one case.
fn names(section: &str, value: &Value) -> Vec<String> {
    let name = |case: &Value| {
        ["name", "id", "title"]
            .iter()
            .find_map(|key| case[key].as_str())
            .expect("a case has a name")
            .to_owned()
    };
    value.as_array().map_or_else(|| vec![section.to_owned()], |cases| cases.iter().map(name).collect())
}

#[test]
fn none_is_forgotten() {
    let transcripts = Transcript::all();
    let (mut run, mut elsewhere, mut seen) = (0, 0, BTreeSet::new());
    for (file, contents) in vectors() {
        for (section, value) in contents.as_object().unwrap() {
            if section == "_about" {
                continue;
            }
            let named = ELSEWHERE.iter().find(|(of, list, ..)| *of == file && list == section);
            for name in names(section, value) {
                assert!(seen.insert((file.clone(), name.clone())), "{file}: {name} twice");
                if LEFT_OUT.iter().any(|(of, left, _)| *of == file && *left == name) {
                    continue;
                }
                match (file.as_str(), section.as_str(), named) {
                    (_, _, Some((_, _, source, test))) => {
                        assert!(source.contains(test) && source.contains(section.as_str()), "{test} is gone");
                        elsewhere += 1;
                    }
                    ("edhoc-libedhoc.json", "transcripts_libedhoc" | "transcripts_pyca", _) => {
                        let transcript = transcripts.iter().find(|t| t.name() == name);
                        reproduce(transcript.unwrap_or_else(|| panic!("{name} is not loaded")));
                        run += 1;
                    }
                    _ => panic!("{file}: {section}: {name} is neither run nor left out with a reason"),
                }
            }
        }
    }
    for (file, name, reason) in LEFT_OUT {
        assert!(seen.contains(&((*file).to_owned(), (*name).to_owned())), "{name} is in no file");
        assert!(reason.len() > 10, "{name}: why?");
    }
    assert_eq!((run, elsewhere, LEFT_OUT.len()), (31, 3 + 15 + 109 + 48, 0));
}
