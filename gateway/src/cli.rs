//! Arguments, and what people see.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the user interface of a binary")]

mod label;
mod map;
mod operate;
mod radio;
mod unsealed;

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use cardea_api::{ActivationOutcome, Client, Lock, Reply, Request, ResetBy, Status};
use cardea_config::Config;
use clap::{Parser, Subcommand};

use radio::{Radio, radio};

/// Exit status for a configuration that cannot be used (EX_CONFIG): starting again will not help.
const EX_CONFIG: u8 = 78;

/// A gateway for smart locks that cannot open them.
#[derive(Parser)]
#[command(name = "cardea", version, arg_required_else_help = true)]
struct Arguments {
    /// Configuration file.
    #[arg(long, short, global = true, env = "CARDEA_CONFIG", default_value = cardea_config::DEFAULT_PATH)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway.
    Run,
    /// How the running gateway is; exit status 1 when something needs attention.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Locks that this gateway lets in.
    Locks {
        #[command(subcommand)]
        command: Option<Locks>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ordinary Zigbee locks, which are NOT end-to-end protected; off unless [unsealed] of the configuration says otherwise.
    Unsealed {
        #[command(subcommand)]
        command: Option<Unsealed>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// The network of a radio that forms none by itself.
    Radio {
        #[command(subcommand)]
        command: Radio,
    },
    /// Make the code that claims the local page, and print it: this once, and nobody keeps it.
    ClaimCode,
    /// Claim the local page: say at the gateway that it is you.
    Claim {
        /// The claim that comes within two minutes is yours.
        #[arg(long, required = true)]
        confirm: bool,
    },
    /// Make the code that sets the local page's forgotten password anew, within ten minutes, and print it.
    Recover,
    /// Erase everything that the gateway has learnt (claim, locks, keys, certificates, frames that wait) and start it anew, as it
    /// left the factory. The configuration stays.
    FactoryReset {
        /// The gateway's id, as `cardea status` prints it: there is no way back.
        #[arg(long, value_name = "GATEWAY", required = true)]
        confirm: String,
    },
    /// The fingerprint of the local page's certificate, to compare with what a browser shows.
    Fingerprint,
    /// Draw a lock's radio label, for those who print it.
    Label(label::Arguments),
    /// The configuration: an example, a check, a schema.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// The newest lines of the running gateway's log, as the local page shows them.
    Logs(operate::Logs),
    /// Write a bundle for somebody who helps: versions, configuration, state, log; no secret is in it.
    Diagnose {
        /// The file, a tar.gz.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// Write over a file that is there.
        #[arg(long)]
        overwrite: bool,
    },
    /// Try to reach a broker, step by step; exit status 1 when it does not work.
    BrokerTest(operate::Trial),
    /// What the daemon has done for the local page: standard input is a passphrase and, from the next line on, a file.
    #[command(hide = true)]
    BackupFile { work: crate::sealing::Work },
    /// Print the version.
    Version,
}

#[derive(Subcommand)]
enum Locks {
    /// List them (what `cardea locks` does, too).
    List,
    /// Let locks in by the text on their radio labels (`cardea:1/…`), or `-` to read one a line from standard input.
    Admit {
        /// The labels' text. Other users of this machine can see arguments; `-` keeps the secrets from them.
        #[arg(required = true)]
        labels: Vec<String>,
    },
    /// Forget a lock and its radio keys.
    Remove {
        /// Lock id, 16 hexadecimal digits.
        id: String,
    },
}

#[derive(Subcommand)]
enum Unsealed {
    /// List them (what `cardea unsealed` does, too).
    List,
    /// Let one in that the configuration names: `EUI-64/install code` as on its label, or `-` to read that from standard input.
    Admit {
        /// The label's text. Other users of this machine can see arguments; `-` keeps the secret from them.
        label: String,
    },
    /// Forget one and send it away.
    Remove {
        /// EUI-64, 16 hexadecimal digits.
        eui: String,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print an example with every key, its meaning and default.
    Template,
    /// Say whether the configuration can be used, and if not, why not.
    Check,
    /// Print the JSON Schema.
    Schema,
}

/// The binary.
#[must_use]
pub fn main() -> ExitCode {
    let Arguments { config: path, command } = Arguments::parse();
    let load = || {
        cardea_config::load(&path).map_err(|error| {
            match error {
                cardea_config::Error::Unreadable { .. } => eprintln!("cardea: {error}"),
                cardea_config::Error::Invalid(_) => {
                    eprintln!("{}: the configuration cannot be used:\n{error}", path.display())
                }
            }
            ExitCode::from(EX_CONFIG)
        })
    };
    let done = match command {
        Command::Run => load().and_then(|config| report(crate::run(&config))),
        Command::Status { json } => load().and_then(|config| or_fail(status(&config, json))),
        Command::Locks { command, json } => load().and_then(|config| report(locks(&config, command, json))),
        Command::Unsealed { command, json } => {
            load().and_then(|config| report(unsealed::run(&config, command, json)))
        }
        Command::Radio { command } => load().and_then(|config| report(radio(&config, command))),
        Command::ClaimCode => load().and_then(|config| report(page(&config, &Request::ClaimCode {}))),
        Command::Claim { confirm: _ } => {
            load().and_then(|config| report(page(&config, &Request::ConfirmClaim {})))
        }
        Command::Recover => load().and_then(|config| report(page(&config, &Request::Recover {}))),
        Command::FactoryReset { confirm } => {
            load().and_then(|config| report(factory_reset(&config, confirm)))
        }
        Command::Fingerprint => load().and_then(|config| report(page(&config, &Request::Fingerprint {}))),
        Command::Logs(wanted) => load().and_then(|config| report(operate::logs(&config, wanted))),
        Command::Diagnose { to, overwrite } => {
            load().and_then(|config| report(operate::diagnose(&config, &to, overwrite)))
        }
        Command::BrokerTest(trial) => load().and_then(|config| or_fail(operate::broker_test(&config, trial))),
        Command::BackupFile { work } => match crate::sealing::work(work) {
            Ok(code) if code == ExitCode::SUCCESS => Ok(()),
            Ok(code) => Err(code),
            Err(error) => report(Err(error)),
        },
        Command::Label(arguments) => report(label::run(arguments)),
        Command::Config { command: ConfigCommand::Template } => {
            print!("{}", cardea_config::template());
            Ok(())
        }
        Command::Config { command: ConfigCommand::Schema } => {
            print!("{}", cardea_config::schema());
            Ok(())
        }
        Command::Config { command: ConfigCommand::Check } => {
            load().and_then(|config| match crate::check(&config) {
                Ok(()) => {
                    println!("{}: good", path.display());
                    Ok(())
                }
                Err(error) => {
                    eprintln!("{}: the configuration cannot be used:\n{error:#}", path.display());
                    Err(ExitCode::from(EX_CONFIG))
                }
            })
        }
        Command::Version => {
            println!("cardea {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    done.err().unwrap_or(ExitCode::SUCCESS)
}

fn report(result: anyhow::Result<()>) -> Result<(), ExitCode> {
    or_fail(result.map(|()| true))
}

/// An error is printed; `false` fails silently.
fn or_fail(result: anyhow::Result<bool>) -> Result<(), ExitCode> {
    match result {
        Ok(true) => Ok(()),
        Ok(false) => Err(ExitCode::FAILURE),
        Err(error) => {
            eprintln!("cardea: {error:#}");
            Err(ExitCode::FAILURE)
        }
    }
}

fn ask(config: &Config, request: &Request) -> anyhow::Result<Reply> {
    Ok(Client::connect(&config.api.socket)?.ask(request)?)
}

fn status(config: &Config, json: bool) -> anyhow::Result<bool> {
    let Reply::Status(status) = ask(config, &Request::Status {})? else {
        bail!("the daemon answered something else")
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print!("{}", status_text(&status));
    }
    Ok(status.is_well())
}

fn status_text(status: &Status) -> String {
    let state = |up: bool, detail: &str| match (up, detail) {
        (true, "") => "up".to_owned(),
        (true, detail) => format!("up, but {detail}"),
        (false, "") => "down".to_owned(),
        (false, detail) => format!("down: {detail}"),
    };
    let mut lines = vec![
        format!("gateway  {} (cardea {}, up {})", status.gateway, status.version, duration(status.uptime_s)),
        format!("broker   {} {}", status.broker.url, state(status.broker.connected, &status.broker.detail)),
    ];
    for (name, radio) in &status.radios {
        let again =
            if radio.restarts > 0 { format!(" ({} restarts)", radio.restarts) } else { String::new() };
        lines.push(format!("radio    {name} {}{again}", state(radio.up, &radio.detail)));
        lines.extend(radio::backup_line(name, radio.backup.as_ref(), unix_seconds()));
    }
    if status.radios.is_empty() {
        lines.push("radio    none is enabled".into());
    }
    if !status.clock_synced {
        lines.push("clock    not synchronised: interactive commands are refused".into());
    }
    lines.push(format!("locks    {}", status.locks));
    lines.push(format!("outbox   {} frames, {} bytes on disk", status.outbox_frames, status.outbox_bytes));
    lines.extend(status.unsealed.as_ref().map(unsealed::status_line));
    if status.dropped > 0 {
        lines.push(format!("dropped  {} frames since the start", status.dropped));
    }
    if status.store_failures > 0 {
        lines.push(format!("store    {} failures since the start, see the log", status.store_failures));
    }
    lines.join("\n") + "\n"
}

fn locks(config: &Config, command: Option<Locks>, json: bool) -> anyhow::Result<()> {
    match command.unwrap_or(Locks::List) {
        Locks::List => {
            let Reply::Locks(locks) = ask(config, &Request::Locks {})? else {
                bail!("the daemon answered something else")
            };
            if json {
                println!("{}", serde_json::to_string_pretty(&locks)?);
            } else {
                print!("{}", locks_text(&locks));
                print!("{}", unsealed::beside(config)?);
            }
        }
        Locks::Admit { labels } => {
            let labels = if labels == ["-"] { labels_from_input()? } else { labels };
            for label in labels {
                match ask(config, &Request::Admit { label })? {
                    Reply::Admitted { lock, radio } => {
                        println!("{lock} is admitted on {radio}");
                        match radio.as_str() {
                            "zigbee" => {
                                println!("the network is open for it: let it join within four minutes")
                            }
                            "subghz" => {
                                println!("the network is open for it: let it join within ten minutes")
                            }
                            _ => {}
                        }
                    }
                    _ => bail!("the daemon answered something else"),
                }
            }
        }
        Locks::Remove { id } => {
            let lock =
                id.parse().map_err(|_| anyhow::anyhow!("{id:?} is not a lock id: 16 hexadecimal digits"))?;
            ask(config, &Request::Remove { lock })?;
            println!("{lock} is removed");
        }
    }
    Ok(())
}

fn factory_reset(config: &Config, gateway: String) -> anyhow::Result<()> {
    let Reply::Done = ask(config, &Request::FactoryReset { gateway, by: ResetBy::Console })? else {
        bail!("the daemon answered something else")
    };
    println!("the gateway is being set back and starts anew; what its radio dongle remembers stays there");
    Ok(())
}

/// What is asked of the local page, beside the gateway.
fn page(config: &Config, request: &Request) -> anyhow::Result<()> {
    match ask(config, request)? {
        Reply::ClaimCode { code } => println!("{}", code.0),
        Reply::Fingerprint { sha256 } => println!("SHA-256 {sha256}"),
        Reply::Done => println!("confirmed: send the claim from the page within two minutes"),
        _ => bail!("the daemon answered something else"),
    }
    Ok(())
}

/// The labels on standard input, one a line; a megabyte of them at the most.
fn labels_from_input() -> anyhow::Result<Vec<String>> {
    let mut text = String::new();
    std::io::stdin().take(1 << 20).read_to_string(&mut text).context("standard input")?;
    Ok(text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
}

fn locks_text(locks: &[Lock]) -> String {
    if locks.is_empty() {
        return "no lock is admitted; `cardea locks admit <label>` lets one in\n".into();
    }
    let now = unix_seconds();
    let mut text = format!(
        "{:<16}  {:<8}  {:<12}  {:<10}  {:<10}  {:<11}  {}\n",
        "lock", "radio", "state", "end-to-end", "heard", "activation", "signal"
    );
    for lock in locks {
        let state = match (lock.radio.is_empty(), lock.joined) {
            (true, _) => "no radio",
            (false, false) => "not joined",
            (false, true) if lock.sleepy => "sleepy",
            (false, true) => "listening",
        };
        let heard = lock.heard.map_or("never".into(), |at| duration(now.saturating_sub(at / 1000)) + " ago");
        let signal = [
            lock.rssi.map(|v| format!("{v} dBm")),
            lock.snr.map(|v| format!("SNR {v:.1} dB")),
            lock.lqi.map(|v| format!("LQI {v}")),
        ];
        let mut signal: Vec<String> = signal.into_iter().flatten().collect();
        if signal.is_empty() && lock.heard.is_some() {
            signal.push("not known".into());
        }
        let line = format!(
            "{:<16}  {:<8}  {:<12}  {:<10}  {:<10}  {:<11}  {}",
            lock.lock.to_string(),
            lock.radio,
            state,
            "yes",
            heard,
            lock.activation.map_or("", |word| activation(word.outcome)),
            signal.join(", ")
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The platform's word, as the pairing page has it in whole sentences.
const fn activation(outcome: ActivationOutcome) -> &'static str {
    match outcome {
        ActivationOutcome::Activated => "activated",
        ActivationOutcome::WrongCode => "wrong code",
        ActivationOutcome::Owned => "owned",
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_hold_together() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_needs_attention_is_said() {
        let mut status = Status {
            gateway: "lobby".into(),
            version: "1".into(),
            uptime_s: 7200,
            clock_synced: true,
            broker: cardea_api::Broker {
                url: "mqtt://b:1883".into(),
                connected: true,
                detail: String::new(),
            },
            radios: std::collections::BTreeMap::new(),
            locks: 3,
            outbox_frames: 0,
            outbox_bytes: 0,
            dropped: 0,
            store_failures: 0,
            platform_keys: 0,
            unsealed: None,
        };
        assert!(status.is_well());
        assert!(status_text(&status).contains("broker   mqtt://b:1883 up\n"));
        status.clock_synced = false;
        status.broker.connected = false;
        status.broker.detail = "nobody there".into();
        assert!(!status.is_well());
        let text = status_text(&status);
        assert!(text.contains("down: nobody there\n") && text.contains("not synchronised"), "{text}");
    }
}
