//! The gateway cannot read what it carries. First proof: the crates that hold or derive end-to-end keys are
//! not in the daemon's dependency graph, with any feature, as a normal or build dependency.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// The crates that see plaintext or end-to-end keys.
const KEY_HOLDING: [&str; 5] =
    ["cardea-edhoc", "cardea-oscore", "cardea-resources", "cardea-agent", "cardea-sdk"];

/// Names of all packages that `root` reaches through normal and build dependencies, all features on.
fn reach(root: &str) -> BTreeSet<String> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--all-features", "--locked"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: Value = serde_json::from_slice(&out.stdout).unwrap();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let names: BTreeMap<String, String> =
        metadata["packages"].as_array().unwrap().iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
    let edges: BTreeMap<String, Vec<String>> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            let runs = |dep: &&Value| {
                dep["dep_kinds"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|k| k["kind"].is_null() || k["kind"] == "build")
            };
            let deps =
                node["deps"].as_array().unwrap().iter().filter(runs).map(|d| text(&d["pkg"])).collect();
            (text(&node["id"]), deps)
        })
        .collect();
    let start = names.iter().find(|(_, name)| *name == root).unwrap().0.clone();
    let (mut seen, mut todo) = (BTreeSet::from([start.clone()]), vec![start]);
    while let Some(id) = todo.pop() {
        for dep in &edges[&id] {
            if seen.insert(dep.clone()) {
                todo.push(dep.clone());
            }
        }
    }
    seen.into_iter().map(|id| names[&id].clone()).collect()
}

#[test]
fn no_key_holding_crate_is_below_the_gateway() {
    let below = reach("cardea-gateway");
    assert!(
        below.contains("rusqlite") && below.contains("rumqttc"),
        "the walk found the daemon's real graph"
    );
    for name in KEY_HOLDING {
        assert!(!below.contains(name), "the gateway reaches {name}: it could read sealed frames");
    }
}

/// The same walk finds these crates where they belong; so the test above can fail.
#[test]
fn the_platform_does_hold_keys() {
    let below = reach("cardea-sdk");
    for name in ["cardea-edhoc", "cardea-oscore"] {
        assert!(below.contains(name), "{name}");
    }
}
