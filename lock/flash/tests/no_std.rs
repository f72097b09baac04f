//! Neither this crate nor anything of ours or others' below it may ask for an operating system or an allocator. This crate
//! depends on the agent and so on everything that a lock's firmware links but the link layer of its radio; the test needs no installed target. That the
//! library links without std and allocator is shown by scripts/test ("the C library for firmware"), that it runs on a
//! microcontroller by scripts/mcu.
#![allow(clippy::unwrap_used, clippy::panic)] // a panic here is a verdict

use std::process::Command;

const OURS: [(&str, &str); 10] = [
    ("cardea-aead", include_str!("../../../protocol/aead/src/lib.rs")),
    ("cardea-cbor", include_str!("../../../protocol/cbor/src/lib.rs")),
    ("cardea-framing", include_str!("../../../protocol/framing/src/lib.rs")),
    ("cardea-credentials", include_str!("../../../protocol/credentials/src/lib.rs")),
    ("cardea-edhoc", include_str!("../../../protocol/edhoc/src/lib.rs")),
    ("cardea-oscore", include_str!("../../../protocol/oscore/src/lib.rs")),
    ("cardea-resources", include_str!("../../../protocol/resources/src/lib.rs")),
    ("cardea-agent", include_str!("../../agent/src/lib.rs")),
    ("cardea-flash", include_str!("../src/lib.rs")),
    ("cardea-subghz-link", include_str!("../../../radio-drivers/subghz/link/src/lib.rs")),
];

fn tree(arguments: &[&str]) -> String {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "-p",
            "cardea-flash",
            "-p",
            "cardea-subghz-link",
            "--prefix",
            "none",
        ])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8(tree.stdout).unwrap()
}

#[test]
fn nothing_that_a_lock_links_is_built_with_std_or_alloc() {
    let features = tree(&["-e", "normal,features"]);
    assert!(features.contains("p256 feature \"ecdh\""), "not the tree we expect:\n{features}");
    let hosted: Vec<_> = features
        .lines()
        .filter(|line| {
            ["std", "alloc", "getrandom"].iter().any(|f| line.contains(&format!("feature \"{f}\"")))
        })
        .collect();
    assert_eq!(hosted, Vec::<&str>::new());
}

#[test]
fn every_crate_of_ours_says_no_std_and_none_is_forgotten() {
    let crates = tree(&["-e", "normal"]);
    for line in crates.lines().filter(|line| line.starts_with("cardea-")) {
        let name = line.split(' ').next().unwrap();
        let (_, source) =
            OURS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name} is not here"));
        assert!(source.contains("\n#![no_std]\n"), "{name}");
        let hosted: Vec<_> = source.lines().filter(|line| line.trim().starts_with("extern crate")).collect();
        // In its tests, or for a host that says so by a feature, which the tree above is without.
        let allowed = [
            "#[cfg(test)]\nextern crate std;",
            "#[cfg(any(feature = \"alloc\", test))]\nextern crate alloc;",
        ];
        let excused = allowed.iter().filter(|lines| source.contains(**lines)).count();
        assert_eq!(hosted.len(), excused, "{name}: {hosted:?}");
    }
}
