//! Where the Python peers are. `scripts/lib/venv.sh` makes their environment.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A command that runs `script`, a file of `tests/peers/`, in the tests' Python environment: `CARDEA_TEST_VENV`, else
/// `target/test-venv` under the workspace.
///
/// Without that environment the test fails, because a test that did not run must not look like one that passed.
/// `CARDEA_ALLOW_SKIP=1` turns that into `None`, and says so.
pub fn python(script: &str) -> Option<Command> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let venv = std::env::var_os("CARDEA_TEST_VENV")
        .map_or_else(|| workspace.join("target/test-venv"), PathBuf::from);
    let interpreter = venv.join("bin/python");
    if !interpreter.is_file() {
        let missing = format!("no Python environment at {}: run scripts/lib/venv.sh", venv.display());
        let skip = std::env::var_os("CARDEA_ALLOW_SKIP").is_some_and(|value| value == "1");
        assert!(skip, "{missing}, or set CARDEA_ALLOW_SKIP=1 to go without");
        println!("skipped: {missing}");
        return None;
    }
    let mut command = Command::new(interpreter);
    command.arg(workspace.join("tests/peers").join(script));
    Some(command)
}

/// A command that runs `zigpy_peer.py` with zigpy-zboss, in `CARDEA_TEST_ZIGPY`, else `target/test-zigpy`.
///
/// `None`, and a line that says why, where `scripts/lib/zigpy.sh` found no Python that is new enough; otherwise as
/// [`python`].
pub fn zigpy_zboss() -> Option<Command> {
    zigpy("CARDEA_TEST_ZIGPY", "target/test-zigpy", "zboss")
}

/// The same with bellows, in `CARDEA_TEST_BELLOWS`, else `target/test-bellows`.
pub fn bellows() -> Option<Command> {
    zigpy("CARDEA_TEST_BELLOWS", "target/test-bellows", "bellows")
}

fn zigpy(variable: &str, otherwise: &str, radio: &str) -> Option<Command> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let venv = std::env::var_os(variable).map_or_else(|| workspace.join(otherwise), PathBuf::from);
    if let Ok(reason) = std::fs::read_to_string(venv.join("why-not.txt")) {
        println!("skipped: {}", reason.trim());
        return None;
    }
    let interpreter = venv.join("bin/python");
    if !interpreter.is_file() {
        let missing = format!("no Python environment at {}: run scripts/lib/zigpy.sh", venv.display());
        let skip = std::env::var_os("CARDEA_ALLOW_SKIP").is_some_and(|value| value == "1");
        assert!(skip, "{missing}, or set CARDEA_ALLOW_SKIP=1 to go without");
        println!("skipped: {missing}");
        return None;
    }
    let mut command = Command::new(interpreter);
    command.arg(workspace.join("tests/peers/zigpy_peer.py")).arg(radio);
    Some(command)
}
