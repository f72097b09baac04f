//! Backups of radio networks for the local page: encrypted and decrypted by the command, in a process of its own.
//!
//! A passphrase is stretched by scrypt, which takes memory that the daemon does not have (64 MiB, or 128 for a file from
//! elsewhere) and gives back; a process that ends does, and takes the passphrase with it.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use cardea_api::{MAX_SECRET, Secret};
use cardea_backup::{Passphrase, To, With};
use cardea_web::SealError;
use zeroize::Zeroizing;

/// What is stretched harder is left to the console: the service has 300 MB (`MemoryMax`), the daemon's own among them.
const MAX_WORK: u8 = 17;

/// The longest that goes in: a passphrase, and a file encrypted and in letters.
const MOST: usize = 2 * MAX_SECRET + 1_100;

/// Exit status for another passphrase.
const WRONG: i32 = 3;

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Work {
    /// Encrypt it.
    Seal,
    /// Decrypt it.
    Open,
}

/// In the command: the passphrase is the first line of standard input, the file is what follows.
pub(crate) fn work(work: Work) -> anyhow::Result<std::process::ExitCode> {
    let mut input = Zeroizing::new(Vec::with_capacity(MOST));
    std::io::stdin().take(MOST as u64).read_to_end(&mut input).context("standard input")?;
    let end = input.iter().position(|byte| *byte == b'\n').context("no passphrase")?;
    let (passphrase, file) = input.split_at_checked(end).context("no passphrase")?;
    let file = file.get(1..).unwrap_or_default();
    let passphrase = Passphrase::new(Zeroizing::new(std::str::from_utf8(passphrase)?.to_owned()));
    let mut out = std::io::stdout();
    match work {
        Work::Seal => out.write_all(&cardea_backup::seal(file, &To::Passphrase(passphrase))?)?,
        Work::Open if !cardea_backup::is_encrypted(file) => out.write_all(file)?,
        Work::Open => {
            let with = With::Passphrase(passphrase);
            match cardea_backup::open_within(file, &with, MAX_SECRET, MAX_WORK) {
                Ok(plain) => out.write_all(&plain)?,
                Err(cardea_backup::Error::WrongKey) => {
                    return Ok(std::process::ExitCode::from(u8::try_from(WRONG).unwrap_or(1)));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    out.flush()?;
    Ok(std::process::ExitCode::SUCCESS)
}

/// In the daemon: has the command do it. Blocks for seconds.
pub(crate) fn have(work: Work, passphrase: &str, file: &Secret) -> Result<Secret, SealError> {
    let failed = |error: std::io::Error| SealError::Other(format!("the command cannot be run: {error}"));
    // Another line would be another passphrase.
    if passphrase.contains('\n') {
        return Err(SealError::WrongPassphrase);
    }
    let argument = if work == Work::Seal { "seal" } else { "open" };
    // What runs now, even if an update has put another in its place.
    let mut child = Command::new("/proc/self/exe")
        .args(["backup-file", argument])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // It reads all before it writes anything; if it has ended, its word says why.
        let _ = input
            .write_all(passphrase.as_bytes())
            .and_then(|()| input.write_all(b"\n"))
            .and_then(|()| input.write_all(file.as_bytes()));
    }
    let mut out = Zeroizing::new(Vec::with_capacity(MOST));
    if let Some(output) = child.stdout.take() {
        output.take(MOST as u64).read_to_end(&mut out).map_err(failed)?;
    }
    let mut words = String::new();
    if let Some(output) = child.stderr.take() {
        let _ = output.take(1_024).read_to_string(&mut words);
    }
    let status = child.wait().map_err(failed)?;
    match status.code() {
        Some(0) => Ok(out.into()),
        Some(WRONG) => Err(SealError::WrongPassphrase),
        _ => {
            let words = words.trim().trim_start_matches("cardea: ");
            Err(SealError::Other(if words.is_empty() { status.to_string() } else { words.into() }))
        }
    }
}
