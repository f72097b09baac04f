//! `cardea radio`: the network of a radio that forms none by itself.
//!
//! A backup is encrypted and decrypted here, in the operator's process: the daemon has no memory for scrypt and no use for
//! anybody's passphrase.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use cardea_api::{KeptBackup, MAX_SECRET, Reply, Request, Router, Secret};
use cardea_backup::{Identities, Passphrase, Recipient, To, With};
use cardea_config::Config;
use clap::{Args, Subcommand};

use super::{ask, duration, labels_from_input};

/// The longest file that is read: a backup, encrypted and in letters.
const MAX_FILE: usize = 2 * MAX_SECRET;
/// The longest file of identities.
const MAX_IDENTITIES: usize = 1 << 20;

#[derive(Subcommand)]
pub(super) enum Radio {
    /// List the radios with networks, channels, duty cycles and backups.
    List,
    /// Form a network on the radio's dongle. It takes up to two minutes.
    Form {
        /// Which radio: zigbee.
        name: String,
        /// Also where there is a network: it is erased, and its locks must join anew.
        #[arg(long)]
        replace: bool,
    },
    /// Take over the network that the radio's dongle is in.
    Adopt {
        /// Which radio: zigbee.
        name: String,
    },
    /// Write an encrypted backup of the network: what another dongle needs to take the place of this one.
    Backup {
        /// Which radio: zigbee.
        name: String,
        /// The file.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        #[command(flatten)]
        whom: Whom,
        /// Write over a file that is there.
        #[arg(long)]
        overwrite: bool,
    },
    /// Have the radio's dongle take the place of the one that a backup is of. It takes up to two minutes.
    Restore {
        /// Which radio: zigbee.
        name: String,
        #[command(flatten)]
        what: What,
        /// Also where the dongle remembers a network, which is erased; also where the backup is of another network than the
        /// gateway's.
        #[arg(long)]
        replace: bool,
    },
    /// List the routers that are admitted: devices that carry the frames of others.
    Routers {
        /// Which radio: zigbee.
        name: String,
    },
    /// Let a router in: the network opens for it.
    AdmitRouter {
        /// Which radio: zigbee.
        name: String,
        /// Its EUI-64 and install code, divided by a slash; `-` reads it from standard input, where no other process can see it.
        label: String,
    },
    /// Forget a router, and have it leave. Locks behind it look for another way.
    RemoveRouter {
        /// Which radio: zigbee.
        name: String,
        /// Its EUI-64, 16 hexadecimal digits.
        router: String,
    },
    /// Who is behind whom: which router each lock is reached by, as far as they have said.
    Map {
        /// Which radio: zigbee.
        name: String,
        /// Ask the routers anew, and wait for them: each question waits until nothing else wants the air.
        #[arg(long)]
        survey: bool,
    },
    /// Give the network another key. It takes up to two minutes; locks that sleep may follow later.
    RotateKey {
        /// Which radio: zigbee.
        name: String,
    },
}

/// For whom a backup is.
#[derive(Args)]
pub(super) struct Whom {
    /// Who can read it: the public key that `age-keygen` prints, `age1…`. May be given more than once.
    #[arg(
        long = "recipient",
        value_name = "RECIPIENT",
        required_unless_present_any = ["passphrase", "passphrase_file"],
        conflicts_with_all = ["passphrase", "passphrase_file"]
    )]
    recipients: Vec<Recipient>,
    #[command(flatten)]
    secret: FromPassphrase,
}

/// Where a passphrase comes from.
#[derive(Args)]
pub(super) struct FromPassphrase {
    /// With a passphrase: asked for at the terminal, else the first line of standard input.
    #[arg(long)]
    passphrase: bool,
    /// With a passphrase: the first line of this file.
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase")]
    passphrase_file: Option<PathBuf>,
}

/// What is restored, and how it is opened.
#[derive(Args)]
pub(super) struct What {
    /// The file; one that another program wrote (an Open Coordinator Backup) may be in the clear.
    #[arg(long, value_name = "FILE", required_unless_present = "from_store")]
    from: Option<PathBuf>,
    /// The backup that the gateway keeps by itself, not older than a day or the last join; or the one whose restore was
    /// interrupted.
    #[arg(long, conflicts_with = "from")]
    from_store: bool,
    /// The file of a recipient's secret, as `age-keygen` writes it.
    #[arg(long, value_name = "FILE", requires = "from", conflicts_with_all = ["passphrase", "passphrase_file"])]
    identity: Option<PathBuf>,
    #[command(flatten)]
    secret: FromPassphrase,
}

pub(super) fn radio(config: &Config, command: Radio) -> anyhow::Result<()> {
    match command {
        Radio::List => super::operate::radios(config),
        Radio::Form { name, replace } => {
            network(config, &Request::FormNetwork { radio: name, replace }, "is formed")
        }
        Radio::Adopt { name } => network(config, &Request::AdoptNetwork { radio: name }, "is adopted"),
        Radio::Backup { name, to, whom, overwrite } => backup(config, name, &to, whom, overwrite),
        Radio::Restore { name, what, replace } => restore(config, name, &what, replace),
        Radio::RotateKey { name } => rotate_key(config, name),
        Radio::Routers { name } => routers(config, name),
        Radio::Map { name, survey } => super::map::show(config, name, survey),
        Radio::AdmitRouter { name, label } => admit_router(config, name, label),
        Radio::RemoveRouter { name, router } => {
            ask(config, &Request::RemoveRouter { radio: name, router: router.clone() })?;
            println!("{router} is removed");
            Ok(())
        }
    }
}

/// What `cardea status` says of the backup that a radio's network has at the gateway; `now` in Unix seconds.
pub(super) fn backup_line(radio: &str, kept: Option<&KeptBackup>, now: u64) -> Option<String> {
    let Some(KeptBackup { source, at, devices }) = kept else {
        // No other radio keeps one by itself.
        let none =
            "backup   zigbee: none is kept yet; the first is taken ten seconds after the network is up";
        return (radio == "zigbee").then(|| none.into());
    };
    let age = match at {
        Some(at) => format!("{} ago", duration(now.saturating_sub(at / 1_000))),
        None => "at a time that nobody knew".into(),
    };
    let of = if *devices == 1 { "1 device".into() } else { format!("{devices} devices") };
    Some(match source.as_str() {
        "restored" => {
            format!("backup   {radio}: of {of}, restored {age}; the dongle has not told its own yet")
        }
        _ => format!("backup   {radio}: of {of}, told by the dongle {age}"),
    })
}

fn network(config: &Config, request: &Request, done: &str) -> anyhow::Result<()> {
    match ask(config, request)? {
        Reply::Network { radio, id, channel } => {
            println!("{radio} network {id} {done}, on channel {channel}");
            Ok(())
        }
        _ => bail!("the daemon answered something else"),
    }
}

fn backup(config: &Config, radio: String, path: &Path, whom: Whom, overwrite: bool) -> anyhow::Result<()> {
    let exists = "; --overwrite writes over it";
    if !overwrite && std::fs::symlink_metadata(path).is_ok() {
        bail!("{}{exists}", cardea_backup::Error::Exists(path.to_owned()));
    }
    let to = match whom.recipients {
        recipients if !recipients.is_empty() => To::Recipients(recipients),
        _ => To::Passphrase(whom.secret.get(Passphrase::ask_twice)?),
    };
    // What cannot be done is said before the dongle is asked.
    cardea_backup::seal(&[], &to)?;
    eprintln!("asking the dongle what it remembers: seconds for a few locks, a minute for many");
    let Reply::Backup { radio, id, devices, file, .. } = ask(config, &Request::BackUpNetwork { radio })?
    else {
        bail!("the daemon answered something else")
    };
    let sealed = cardea_backup::seal(file.as_bytes(), &to)?;
    cardea_backup::write(path, &sealed, overwrite).map_err(|error| match error {
        cardea_backup::Error::Exists(_) => anyhow::anyhow!("{error}{exists}"),
        error => error.into(),
    })?;
    println!("{radio} network {id} with {devices} devices is in {}", path.display());
    Ok(())
}

fn restore(config: &Config, radio: String, what: &What, replace: bool) -> anyhow::Result<()> {
    let file = match &what.from {
        Some(path) => open(path, what).with_context(|| path.display().to_string())?,
        None => Secret::default(),
    };
    let bytes = u32::try_from(file.as_bytes().len())?;
    if what.from.is_some() && bytes == 0 {
        bail!("the file is empty");
    }
    eprintln!("the dongle is erased, written and started: up to two minutes; leave it in");
    let request = Request::RestoreNetwork { radio, replace, bytes, file };
    let Reply::Restored { radio, id, channel, anew, strangers } = ask(config, &request)? else {
        bail!("the daemon answered something else")
    };
    println!("{radio} network {id} is restored, on channel {channel}");
    match anew {
        0 => println!("no lock has to join anew"),
        1 => println!("1 lock is not in the backup and must join anew: admit it again"),
        _ => println!("{anew} locks are not in the backup and must join anew: admit them again"),
    }
    if strangers > 0 {
        println!(
            "{strangers} devices of the backup are not admitted here, and are told to leave when they are heard"
        );
    }
    println!("the dongle that had this network before must never be plugged in again with what it remembers");
    Ok(())
}

/// What is in a file, decrypted.
fn open(path: &Path, what: &What) -> anyhow::Result<Secret> {
    let file = cardea_backup::read(path, MAX_FILE)?;
    if !cardea_backup::is_encrypted(&file) {
        eprintln!("the file is not encrypted: whoever can read it has the keys of the network");
        return Ok(file.into());
    }
    let with = match &what.identity {
        Some(identity) => {
            let identities = cardea_backup::read(identity, MAX_IDENTITIES)?;
            With::Identities(Identities::parse(&identities).with_context(|| identity.display().to_string())?)
        }
        None if what.secret.is_given() || cardea_backup::wants_passphrase(&file)? => {
            With::Passphrase(what.secret.get(|| Passphrase::ask("Passphrase"))?)
        }
        None => bail!("{}: name it by --identity", cardea_backup::Error::WantsIdentity),
    };
    Ok(cardea_backup::open(&file, &with, MAX_SECRET)?.into())
}

fn rotate_key(config: &Config, radio: String) -> anyhow::Result<()> {
    eprintln!("the key is distributed before it is used: up to two minutes");
    let Reply::KeyRotated { radio, number } = ask(config, &Request::RotateNetworkKey { radio })? else {
        bail!("the daemon answered something else")
    };
    println!(
        "the {radio} network has key number {number}; backups that were taken before are of no use any more"
    );
    Ok(())
}

fn routers(config: &Config, radio: String) -> anyhow::Result<()> {
    let Reply::Routers(routers) = ask(config, &Request::Routers { radio })? else {
        bail!("the daemon answered something else")
    };
    if routers.is_empty() {
        println!("no router is admitted");
    }
    for Router { router, joined } in routers {
        println!("{router}  {}", if joined { "in the network" } else { "not joined" });
    }
    Ok(())
}

fn admit_router(config: &Config, radio: String, label: String) -> anyhow::Result<()> {
    let label = if label == "-" {
        labels_from_input()?.into_iter().next().context("there is no label on standard input")?
    } else {
        label
    };
    let eui = label.split('/').next().unwrap_or_default().to_ascii_lowercase();
    ask(config, &Request::AdmitRouter { radio, label })?;
    println!("router {eui} is admitted; the network is open for it: let it join within four minutes");
    Ok(())
}

impl FromPassphrase {
    fn is_given(&self) -> bool {
        self.passphrase || self.passphrase_file.is_some()
    }

    /// The passphrase, asked for by `at_terminal` where there is nobody else to ask.
    fn get(
        &self,
        at_terminal: impl FnOnce() -> Result<Passphrase, cardea_backup::Error>,
    ) -> anyhow::Result<Passphrase> {
        Ok(match &self.passphrase_file {
            Some(path) => Passphrase::from_file(path)?,
            None if std::io::stdin().is_terminal() => at_terminal()?,
            None => Passphrase::from_input()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_says_where_the_kept_backup_is_from_and_how_old_it_is() {
        let kept = |source: &str, at, devices| KeptBackup { source: source.into(), at, devices };
        let line = |kept: Option<&KeptBackup>| backup_line("zigbee", kept, 1_000_000).unwrap();
        let told = line(Some(&kept("dongle", Some(999_700_999), 12)));
        assert_eq!(told, "backup   zigbee: of 12 devices, told by the dongle 5 min ago");
        assert!(
            line(Some(&kept("dongle", None, 1)))
                .ends_with("of 1 device, told by the dongle at a time that nobody knew")
        );
        assert!(
            line(Some(&kept("restored", Some(999_999_000), 1)))
                .contains("restored 1 s ago; the dongle has not")
        );
        assert!(line(None).contains("none is kept yet"));
        assert_eq!(backup_line("lora", None, 0), None);
    }
}
