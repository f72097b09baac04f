//! Where the JavaScript peers are. `scripts/lib/node.sh` installs what they need.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A command that runs `script`, a file of `tests/peers/`, with the packages of the tests: those in `CARDEA_TEST_NODE`, else
/// in `target/test-node` under the workspace.
///
/// Without them the test fails, because a test that did not run must not look like one that passed.
/// `CARDEA_ALLOW_SKIP=1` turns that into `None`, and says so.
pub fn node(script: &str) -> Option<Command> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let packages = std::env::var_os("CARDEA_TEST_NODE")
        .map_or_else(|| workspace.join("target/test-node"), PathBuf::from)
        .join("node_modules");
    if !packages.is_dir() {
        let missing = format!("no packages in {}: run scripts/lib/node.sh", packages.display());
        let skip = std::env::var_os("CARDEA_ALLOW_SKIP").is_some_and(|value| value == "1");
        assert!(skip, "{missing}, or set CARDEA_ALLOW_SKIP=1 to go without");
        println!("skipped: {missing}");
        return None;
    }
    let mut command = Command::new("node");
    command.arg(workspace.join("tests/peers").join(script)).env("NODE_PATH", packages);
    Some(command)
}
