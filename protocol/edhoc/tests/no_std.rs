//! A lock has no operating system and no allocator: neither this crate nor anything below it may ask for them.
//! With a bare target installed, `cargo check -p cardea-edhoc --target thumbv7em-none-eabihf` proves the same by
//! compiling; this test needs none.
#![allow(clippy::unwrap_used)] // a panic here is a verdict

use std::process::Command;

#[test]
fn no_dependency_is_built_with_std_or_alloc() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "-p",
            "cardea-edhoc",
            "-e",
            "normal,features",
            "--prefix",
            "none",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(tree.contains("p256 feature \"ecdh\""), "not the tree we expect:\n{tree}");
    let hosted: Vec<_> = tree
        .lines()
        .filter(|line| {
            ["std", "alloc", "getrandom"].iter().any(|f| line.contains(&format!("feature \"{f}\"")))
        })
        .collect();
    assert_eq!(hosted, Vec::<&str>::new());
    for source in [include_str!("../src/lib.rs"), include_str!("../../credentials/src/lib.rs")] {
        assert!(source.contains("\n#![no_std]\n"));
        assert_eq!(source.matches("extern crate").count(), 1, "only tests have std");
    }
}
