//! The program without a broker, and a platform that has one lock.
#![allow(unreachable_pub)]

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use cardea_credentials::{Agreement as _, Signer as _, SoftAgreement, SoftSigner, issue_lock_identity};
use cardea_sdk::{LockId, LockRecord, Platform, SqliteState, Stage, State as _};
use serde_json::Value;

pub fn run(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cardea-platform"));
    command.arg("--dir").arg(dir).args(args).env("RUST_LOG", "warn").stdin(Stdio::null()).output().unwrap()
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub fn good(dir: &Path, args: &[&str]) -> Value {
    let output = run(dir, &[&["--json"], args].concat());
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
}

/// A platform with a lock of its own.
pub fn owner(dir: &Path) -> LockId {
    Platform::init(dir).unwrap();
    let identity = SoftSigner::from_bytes(&[1; 32]).unwrap();
    let mut credential = [0; 256];
    let dh = SoftAgreement::from_bytes(&[2; 32]).unwrap().public();
    let length = issue_lock_identity(&identity, &dh, &mut credential).unwrap();
    let thumbprint = identity.public().thumbprint();
    let lock = LockId::from_thumbprint(&thumbprint);
    let mut state = SqliteState::open(&dir.join(Platform::STATE_FILE), false).unwrap();
    state.begin().unwrap();
    let record = LockRecord {
        lock,
        thumbprint: Some(thumbprint),
        credential: Some(credential[..length].to_vec()),
        code: None,
        stage: Stage::Owned,
        activation: 1,
        cursor: None,
    };
    state.put_lock(&record).unwrap();
    state.commit().unwrap();
    state.settle().unwrap();
    lock
}
