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

/// A command that runs a script of `tests/peers` where zigpy-zboss is, in `CARDEA_TEST_ZIGPY`, else `target/test-zigpy`.
///
/// `None`, and a line that says why, where `scripts/lib/zigpy.sh` or its like found no Python that is new enough; otherwise as
/// [`python`].
pub fn zigpy(script: &str) -> Option<Command> {
    newer("CARDEA_TEST_ZIGPY", "zigpy", script)
}

/// `zigpy_peer.py` with zigpy-zboss, in the same environment.
pub fn zigpy_zboss() -> Option<Command> {
    with_argument(zigpy("zigpy_peer.py")?, "zboss")
}

/// The same with bellows: `CARDEA_TEST_BELLOWS`, else `target/test-bellows`.
pub fn bellows() -> Option<Command> {
    with_argument(newer("CARDEA_TEST_BELLOWS", "bellows", "zigpy_peer.py")?, "bellows")
}

fn with_argument(mut command: Command, argument: &str) -> Option<Command> {
    command.arg(argument);
    Some(command)
}

/// The same for Home Assistant's validators: `CARDEA_TEST_HOMEASSISTANT`, else `target/test-homeassistant`.
pub fn home_assistant(script: &str) -> Option<Command> {
    newer("CARDEA_TEST_HOMEASSISTANT", "homeassistant", script)
}

/// The same for Schemathesis: `CARDEA_TEST_SCHEMATHESIS`, else `target/test-schemathesis`.
pub fn schemathesis(script: &str) -> Option<Command> {
    newer("CARDEA_TEST_SCHEMATHESIS", "schemathesis", script)
}

/// The same for Universal Radio Hacker: `CARDEA_TEST_URH`, else `target/test-urh`.
pub fn urh(script: &str) -> Option<Command> {
    newer("CARDEA_TEST_URH", "urh", script)
}

/// An environment that wants another Python or machine than this one may be.
fn newer(variable: &str, name: &str, script: &str) -> Option<Command> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let venv = std::env::var_os(variable)
        .map_or_else(|| workspace.join(format!("target/test-{name}")), PathBuf::from);
    if let Ok(reason) = std::fs::read_to_string(venv.join("why-not.txt")) {
        println!("skipped: {}", reason.trim());
        return None;
    }
    let interpreter = venv.join("bin/python");
    if !interpreter.is_file() {
        let missing = format!("no Python environment at {}: run scripts/test once", venv.display());
        let skip = std::env::var_os("CARDEA_ALLOW_SKIP").is_some_and(|value| value == "1");
        assert!(skip, "{missing}, or set CARDEA_ALLOW_SKIP=1 to go without");
        println!("skipped: {missing}");
        return None;
    }
    let mut command = Command::new(interpreter);
    command.arg(workspace.join("tests/peers").join(script));
    Some(command)
}
