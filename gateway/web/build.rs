//! Compresses the page's assets once, here, and names each by its content: a browser may keep them for ever. Collects what the
//! gateway is made of, with licences, as cargo knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const ASSETS: [(&str, &str, &str); 3] = [
    ("STYLE", "page.css", "text/css; charset=utf-8"),
    ("SCRIPT", "page.js", "text/javascript; charset=utf-8"),
    ("ICON", "icon.svg", "image/svg+xml"),
];

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Fallible<()> {
    let out = std::env::var("OUT_DIR")?;
    let mut table = String::new();
    for (constant, file, kind) in ASSETS {
        println!("cargo::rerun-if-changed=assets/{file}");
        let plain = std::fs::read(Path::new("assets").join(file))?;
        let mut digest = String::new();
        for byte in Sha256::digest(&plain).iter().take(8) {
            write!(digest, "{byte:02x}")?;
        }
        let (stem, extension) = file.split_once('.').ok_or("an asset without an extension")?;
        let name = format!("{stem}-{digest}.{extension}");

        let gzip = gzip(&plain)?;
        let mut brotli = Vec::new();
        brotli::CompressorWriter::new(&mut brotli, 4096, 11, 22).write_all(&plain)?;
        for (suffix, bytes) in [("", &plain), (".gz", &gzip), (".br", &brotli)] {
            std::fs::write(Path::new(&out).join(format!("{file}{suffix}")), bytes)?;
        }
        writeln!(
            table,
            "/// `assets/{file}`.\npub(crate) const {constant}: Asset = Asset {{\n    path: \"/assets/{name}\",\n    \
             kind: \"{kind}\",\n    plain: include_bytes!(\"{file}\"),\n    gzip: include_bytes!(\"{file}.gz\"),\n    \
             brotli: include_bytes!(\"{file}.br\"),\n}};"
        )?;
    }
    std::fs::write(Path::new(&out).join("assets.rs"), table)?;
    packages(Path::new(&out))
}

fn gzip(plain: &[u8]) -> Fallible<Vec<u8>> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(plain)?;
    Ok(gzip.finish()?)
}

/// `packages.rs` with names, versions and licences; `sbom.json.gz`; `licences.txt.gz` with the texts.
fn packages(out: &Path) -> Fallible<()> {
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    println!("cargo::rerun-if-changed=../Cargo.toml");
    let found = dependencies("cardea-gateway")?;
    let text = |package: &Value, key: &str| package[key].as_str().unwrap_or_default().to_owned();

    let mut rows =
        String::from("/// Name, version, licence.\npub(crate) const PACKAGES: &[(&str, &str, &str)] = &[\n");
    let mut components = Vec::new();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in &found {
        let (name, version, licence) =
            (text(package, "name"), text(package, "version"), text(package, "license"));
        let licence = if licence.is_empty() { "see its text".to_owned() } else { licence };
        writeln!(rows, "    ({name:?}, {version:?}, {licence:?}),")?;
        components.push(json!({
            "type": "library",
            "name": name,
            "version": version,
            "purl": format!("pkg:cargo/{name}@{version}"),
            "licenses": [{ "expression": licence.replace('/', " OR ") }],
        }));
        for file in licence_files(Path::new(&text(package, "manifest_path")))? {
            texts.entry(file).or_default().insert(format!("{name} {version}"));
        }
    }
    rows.push_str("];\n");
    rows.push_str(
        "/// CycloneDX, compressed.\npub(crate) const SBOM: &[u8] = include_bytes!(\"sbom.json.gz\");\n",
    );
    rows.push_str("/// All their texts, compressed.\npub(crate) const LICENCES: &[u8] = include_bytes!(\"licences.txt.gz\");\n");
    std::fs::write(out.join("packages.rs"), rows)?;

    let sbom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": {
            "type": "application", "name": "cardea", "version": env!("CARGO_PKG_VERSION"),
            "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
        } },
        "components": components,
    });
    std::fs::write(out.join("sbom.json.gz"), gzip(&serde_json::to_vec(&sbom)?)?)?;

    let mut all = String::new();
    for (licence, packages) in texts {
        let packages: Vec<_> = packages.into_iter().collect();
        write!(all, "==== {}\n\n{}\n\n", packages.join(", "), licence.trim_end())?;
    }
    std::fs::write(out.join("licences.txt.gz"), gzip(all.as_bytes())?)?;
    Ok(())
}

/// Everything that is linked into a package for this target and is not ours, by name and version.
fn dependencies(root: &str) -> Fallible<Vec<Value>> {
    let target = std::env::var("TARGET")?;
    let asked = Command::new(std::env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &target])
        .args(["--manifest-path", "../Cargo.toml"])
        .output()?;
    if !asked.status.success() {
        let said = String::from_utf8_lossy(&asked.stderr).into_owned();
        return Err(format!("cargo does not say what the gateway is made of: {said}").into());
    }
    let metadata: Value = serde_json::from_slice(&asked.stdout)?;
    let by_id = |list: &str| -> BTreeMap<String, Value> {
        let all = metadata.pointer(list).and_then(Value::as_array).into_iter().flatten();
        all.map(|one| (one["id"].as_str().unwrap_or_default().to_owned(), one.clone())).collect()
    };
    let (packages, nodes) = (by_id("/packages"), by_id("/resolve/nodes"));
    let is_root = |package: &&Value| package["name"] == root;
    let root = packages.values().find(is_root).ok_or("no such package")?["id"].as_str().unwrap_or_default();
    let (mut seen, mut next) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(id) = next.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let linked = |dep: &&Value| {
            let mut kinds = dep["dep_kinds"].as_array().into_iter().flatten();
            kinds.any(|kind| kind["kind"].is_null())
        };
        let deps = nodes.get(&id).and_then(|node| node["deps"].as_array()).into_iter().flatten();
        next.extend(deps.filter(linked).filter_map(|dep| dep["pkg"].as_str()).map(str::to_owned));
    }
    let mut found: Vec<Value> = seen
        .iter()
        .filter_map(|id| packages.get(id))
        .filter(|package| !package["source"].is_null())
        .cloned()
        .collect();
    let key = |package: &Value| (package["name"].to_string(), package["version"].to_string());
    found.sort_by_key(key);
    Ok(found)
}

/// What stands beside a manifest as its licence.
fn licence_files(manifest: &Path) -> Fallible<Vec<String>> {
    let directory = manifest.parent().ok_or("a manifest is in a directory")?;
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_ascii_lowercase();
        let is_one = ["license", "licence", "copying", "copyright", "notice"]
            .iter()
            .any(|stem| name.starts_with(stem));
        if is_one && entry.file_type()?.is_file() {
            texts.push(String::from_utf8_lossy(&std::fs::read(entry.path())?).into_owned());
        }
    }
    Ok(texts)
}
