//! `cardea logs`, `cardea diagnose`, `cardea broker-test`, `cardea radio list`: what the local page shows as well.

use std::path::{Path, PathBuf};

use anyhow::bail;
use cardea_api::{BrokerTrial, KeptBackup, LogLevel, LogLine, RadioDetail, Reply, Request};
use cardea_config::Config;
use clap::Args;

use super::{ask, duration};

#[derive(Args)]
pub(super) struct Logs {
    /// Only lines that are at least as important: error, warn, info, debug or trace.
    #[arg(long, value_parser = level)]
    level: Option<LogLevel>,
    /// At most so many; the newest.
    #[arg(long, default_value_t = 100)]
    lines: u32,
    /// Only lines that have this in them.
    #[arg(default_value = "")]
    words: String,
}

fn level(text: &str) -> Result<LogLevel, &'static str> {
    text.parse().map_err(|()| "error, warn, info, debug or trace")
}

pub(super) fn logs(config: &Config, Logs { level, lines, words }: Logs) -> anyhow::Result<()> {
    let Reply::Logs(logs) = ask(config, &Request::Logs { after: 0, level, words, most: lines })? else {
        bail!("the daemon answered something else")
    };
    let now = super::unix_seconds();
    for LogLine { at, level, part, text, .. } in logs.lines {
        println!("{:>7} ago {:5} {part}: {text}", duration(now.saturating_sub(at / 1000)), level.as_str());
    }
    Ok(())
}

pub(super) fn diagnose(config: &Config, to: &Path, overwrite: bool) -> anyhow::Result<()> {
    let Reply::Bundle { file, .. } = ask(config, &Request::Diagnose {})? else {
        bail!("the daemon answered something else")
    };
    cardea_backup::write(to, file.as_bytes(), overwrite)?;
    println!("{}: look through it before you hand it on", to.display());
    Ok(())
}

#[derive(Args)]
pub(super) struct Trial {
    /// mqtt://host:port or mqtts://host:port; the configured broker with its user and files unless given.
    #[arg(long)]
    url: Option<String>,
    /// User name; the password is read from `--password-file`.
    #[arg(long, requires = "url", default_value = "")]
    username: String,
    /// File with the password.
    #[arg(long, requires = "username")]
    password_file: Option<PathBuf>,
    /// PEM file of the authorities that may certify the broker, as the daemon sees it.
    #[arg(long, requires = "url", default_value = "")]
    ca_file: String,
    /// PEM file of the client certificate, as the daemon sees it.
    #[arg(long, requires = "url", default_value = "")]
    cert_file: String,
    /// PEM file of its key, as the daemon sees it.
    #[arg(long, requires = "url", default_value = "")]
    key_file: String,
}

/// True: it works.
pub(super) fn broker_test(config: &Config, given: Trial) -> anyhow::Result<bool> {
    let Trial { url, username, password_file, ca_file, cert_file, key_file } = given;
    let trial = match url {
        Some(url) => {
            let password = match password_file {
                Some(path) => std::fs::read_to_string(path)?.trim_end_matches(['\n', '\r']).to_owned(),
                None => String::new(),
            };
            BrokerTrial { url, username, password, ca_file, cert_file, key_file }
        }
        None => {
            let Reply::Configuration { broker, .. } = ask(config, &Request::Configuration {})? else {
                bail!("the daemon answered something else")
            };
            BrokerTrial {
                url: broker.url,
                username: String::new(),
                password: String::new(),
                ca_file: broker.ca_file,
                cert_file: broker.cert_file,
                key_file: broker.key_file,
            }
        }
    };
    let Reply::BrokerTest(test) = ask(config, &Request::TestBroker(trial))? else {
        bail!("the daemon answered something else")
    };
    for step in &test.passed {
        println!("ok      {}", format!("{step:?}").to_lowercase());
    }
    if let Some(failed) = &test.failed {
        println!("failed  {}: {}", format!("{:?}", failed.step).to_lowercase(), failed.detail);
    }
    Ok(test.failed.is_none())
}

pub(super) fn radios(config: &Config) -> anyhow::Result<()> {
    let Reply::Radios(radios) = ask(config, &Request::Radios {})? else {
        bail!("the daemon answered something else")
    };
    let Reply::Status(status) = ask(config, &Request::Status {})? else {
        bail!("the daemon answered something else")
    };
    for radio in radios {
        let kept = status.radios.get(&radio.radio).and_then(|known| known.backup.as_ref());
        println!("{}", line(&radio, kept));
    }
    Ok(())
}

fn line(radio: &RadioDetail, kept: Option<&KeptBackup>) -> String {
    let mut parts = vec![radio.radio.clone()];
    parts.extend(radio.network.as_ref().map(|id| format!("network {id}")));
    parts.extend(radio.channel.map(|channel| format!("channel {channel}")));
    parts.extend(radio.open_s.map(|left| format!("open for {left} s")));
    if radio.moves {
        parts.push(match kept {
            None => "no backup kept".into(),
            Some(kept) => match kept.age_s(super::unix_seconds().saturating_mul(1_000)) {
                Some(age) => format!("backup kept, confirmed {} ago", duration(age)),
                None => "backup kept".into(),
            },
        });
    }
    parts.extend(radio.duty.iter().map(|band| {
        let mhz = |hz: u32| f64::from(hz) / 1e6;
        format!(
            "{}–{} MHz: {} of {} s",
            mhz(band.low),
            mhz(band.high),
            band.used_ms / 1000,
            band.budget_ms / 1000
        )
    }));
    parts.join(", ")
}
