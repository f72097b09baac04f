//! What the command line and the socket say about grants and revocation.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow, bail};
use cardea_sdk::{
    GrantRow, Platform, PublicKey, Scope, Weekly,
    holder_key::{self, HolderKey},
    session::{NewGrant, Revocations},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::{
    service::{Answer, Request, check_lock, utc},
    site,
    terms::{hours, moment, names, rights, window},
};

#[derive(Subcommand)]
pub(crate) enum GrantCmd {
    /// Sign a grant for the key of a phone; write the file that the phone needs.
    Issue(Box<IssueArgs>),
    /// List grants.
    List {
        /// Of this lock only.
        lock: Option<String>,
    },
    /// Write the file of a grant once more.
    Export {
        /// The grant's id, 16 hexadecimal digits.
        id: String,
        /// Where to; a file that is there is not replaced.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Revoke the key of a grant; it must have no other grant.
    Revoke {
        /// The grant's id, 16 hexadecimal digits.
        id: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum RevocationCmd {
    /// Show the list, and which locks have it.
    Show,
}

#[derive(Subcommand)]
pub(crate) enum KeyCmd {
    /// Make a holder's key, for trials; a phone makes its own and never gives it away. Prints the public half.
    New {
        /// Where to; a file that is there is not replaced.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Print the public half and the thumbprint of a holder's key.
    Show {
        /// The file that `key new` made, or a file with the public half.
        file: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct IssueArgs {
    /// Lock id or thumbprint.
    lock: String,
    /// The holder's public key: hexadecimal (66 or 130 digits), a file with that, or the file of `key new`.
    #[arg(long)]
    key: String,
    /// Whose key it is; the lock's log is shown with this name.
    #[arg(long)]
    name: String,
    /// What it allows: unlock, lock, status, log, pins, grants.
    #[arg(long, value_delimiter = ',', default_value = "unlock,lock,status")]
    rights: Vec<String>,
    /// From when on: `2026-12-31`, `2026-12-31T15:00`, both in UTC, or Unix seconds [default: now].
    #[arg(long)]
    from: Option<String>,
    /// Until when, likewise, or `+30d`, `+12h`, `+15m`.
    #[arg(long)]
    until: String,
    /// For one use.
    #[arg(long)]
    single_use: bool,
    /// On these days only: `mon-fri`, `sat,sun` (in UTC).
    #[arg(long)]
    days: Option<String>,
    /// In these hours only: `08:00-18:00`, in quarters of an hour and in UTC; may run past midnight.
    #[arg(long)]
    hours: Option<String>,
    /// The holder's public key for passing the grant on (`holder delegate`), given as --key is; another key than that.
    #[arg(long, value_name = "KEY", conflicts_with = "single_use")]
    delegate_key: Option<String>,
    /// Where the file for the phone goes; one that is there is not replaced.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl IssueArgs {
    pub(crate) fn request(&self) -> Result<Request> {
        check_lock(&self.lock)?;
        free(&self.output)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let now = u32::try_from(now).context("the clock of this machine is beyond 2106")?;
        let not_before = self.from.as_deref().map_or(Ok(now), |from| moment(from, now))?;
        Ok(Request::GrantIssue {
            lock: self.lock.clone(),
            key: hex::encode(public_key(&self.key)?.to_compressed()),
            name: self.name.clone(),
            rights: rights(&self.rights)?.bits(),
            from: not_before,
            until: moment(&self.until, now)?,
            single_use: self.single_use,
            window: window(self.days.as_deref(), self.hours.as_deref())?.map(Weekly::to_bytes),
            delegate: self
                .delegate_key
                .as_deref()
                .map(|key| public_key(key).map(|key| hex::encode(key.to_compressed())))
                .transpose()?,
        })
    }
}

impl GrantCmd {
    /// What is asked, and the file that the answer's bundle goes to.
    pub(crate) fn request(&self) -> Result<(Request, Option<&Path>)> {
        Ok(match self {
            Self::Issue(args) => (args.request()?, Some(&args.output)),
            Self::List { lock } => {
                if let Some(lock) = lock {
                    check_lock(lock)?;
                }
                (Request::Grants { lock: lock.clone() }, None)
            }
            Self::Export { id, output } => {
                free(output)?;
                grant_id(id)?;
                (Request::GrantExport { id: id.clone() }, Some(output))
            }
            Self::Revoke { id } => {
                grant_id(id)?;
                (Request::GrantRevoke { id: id.clone() }, None)
            }
        })
    }
}

/// Keys of holders have nothing to do with a platform, so nobody is asked.
pub(crate) fn key(verb: &KeyCmd, json: bool) -> Result<bool> {
    let public = match verb {
        KeyCmd::New { output } => HolderKey::create(output)?.public(),
        KeyCmd::Show { file } => public_key(&file.display().to_string())?,
    };
    let (key, thumbprint) = (hex::encode(public.to_compressed()), hex::encode(public.thumbprint()));
    if json {
        println!("{}", json!({ "key": key, "thumbprint": thumbprint }));
    } else {
        println!("key          {key}\nthumbprint   {thumbprint}");
    }
    Ok(true)
}

/// Writes the bundle of an answer, and takes it out of what is printed.
pub(crate) fn write_bundle(answer: &mut Answer, path: &Path) -> Result<()> {
    let Some(bundle) = answer.data.as_object_mut().and_then(|data| data.remove("bundle")) else {
        return Ok(()); // an error
    };
    let bytes = hex::decode(bundle.as_str().unwrap_or_default()).context("the answer cannot be read")?;
    write_new(path, &bytes).with_context(|| {
        format!("{} cannot be written; the grant is issued, `grant export` writes it", path.display())
    })?;
    answer.text =
        format!("{}\nwritten to {}; the phone needs it, and it holds no secret", answer.text, path.display());
    Ok(())
}

/// Writes a file that was not there.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all())
}

/// Before anything is signed: nothing is where the file goes.
pub(crate) fn free(path: &Path) -> Result<()> {
    if path.exists() {
        bail!("{} exists, and is not replaced", path.display());
    }
    Ok(())
}

/// A grant's id.
pub(crate) fn grant_id(text: &str) -> Result<[u8; 8]> {
    let mut id = [0; 8];
    hex::decode_to_slice(text.trim(), &mut id).map_err(|_| {
        anyhow!("`{text}` is not a grant: give 16 hexadecimal digits, as `grant list` has them")
    })?;
    Ok(id)
}

/// Hexadecimal, a file with hexadecimal, or a private key's file.
pub(crate) fn public_key(text: &str) -> Result<PublicKey> {
    if let Some(key) = holder_key::parse_public(text) {
        return Ok(key);
    }
    let path = Path::new(text);
    if !path.exists() {
        bail!("`{text}` is neither a public key (66 or 130 hexadecimal digits) nor a file");
    }
    Ok(holder_key::read_public(path)?)
}

/// Answers a request that is about grants.
pub(crate) async fn answer(platform: &Platform, request: Request) -> Result<Answer> {
    Ok(match request {
        Request::GrantIssue { lock, key, name, rights, from, until, single_use, window, delegate } => {
            let public =
                |key: &str| holder_key::parse_public(key).ok_or_else(|| anyhow!("that is no public key"));
            let window = window.map(|[days, from, quarters]| Weekly::new(days, from, quarters)).transpose();
            let new = NewGrant {
                lock: check_lock(&lock)?,
                holder: public(&key)?,
                name,
                scope: Scope::from_bits(rights),
                not_before: from,
                expires: until,
                single_use,
                window: window.map_err(|_| anyhow!("those are no hours of the week"))?,
                delegate: delegate.as_deref().map(public).transpose()?,
            };
            let issued = platform.grant(new).await?;
            let mut data = grant_json(&issued.grant);
            if let Some(data) = data.as_object_mut() {
                data.insert("bundle".into(), hex::encode(issued.bundle.encode()).into());
            }
            Answer { done: true, text: grant_line(&issued.grant, false), data, more: false }
        }
        Request::Grants { lock } => {
            let lock = lock.map(|lock| check_lock(&lock)).transpose()?;
            let revoked: Vec<[u8; 32]> =
                platform.revocations().await?.keys.iter().map(|row| row.thumbprint).collect();
            let grants = platform.grants(lock).await?;
            let lines: Vec<String> =
                grants.iter().map(|grant| grant_line(grant, revoked.contains(&grant.holder))).collect();
            let data = grants
                .iter()
                .map(|grant| {
                    let mut data = grant_json(grant);
                    if let Some(data) = data.as_object_mut() {
                        data.insert("revoked".into(), revoked.contains(&grant.holder).into());
                    }
                    data
                })
                .collect();
            let text = if lines.is_empty() { "no grants".into() } else { lines.join("\n") };
            Answer { done: true, text, data, more: false }
        }
        Request::GrantExport { id } => {
            let bundle = platform.bundle(grant_id(&id)?).await?;
            let data = json!({ "id": id, "bundle": hex::encode(bundle.encode()) });
            Answer { done: true, text: format!("grant {id}"), data, more: false }
        }
        Request::GrantRevoke { id } => {
            let (grant, list) = platform.revoke_grant(grant_id(&id)?).await?;
            told(format!("grant {id}: the key of {} is revoked", grant.name), &list)
        }
        Request::HolderRevoke { holder } => {
            let (key, words) = find(platform, &holder).await?;
            let list = platform.revoke(vec![key]).await?;
            told(words, &list)
        }
        _ => {
            let list = platform.revocations().await?;
            let count = list.keys.len();
            let mut answer = told(format!("{count} key(s) are revoked"), &list);
            let shut = site::closed_to_grants(&platform.sites().await?);
            if !shut.is_empty() {
                answer
                    .text
                    .push_str(&format!("\nno grant opens {} until its list is there", shut.join(", ")));
            }
            if let Some(data) = answer.data.as_object_mut() {
                data.insert("grants_wait".into(), json!(shut));
            }
            let names = platform.grants(None).await?;
            for row in &list.keys {
                let name = names.iter().find(|g| g.holder == row.thumbprint).map_or("", |g| g.name.as_str());
                let since = utc(row.since / 1000);
                answer.text.push_str(&format!("\n  {}  since {since}  {name}", hex::encode(row.thumbprint)));
            }
            answer
        }
    })
}

/// The one key that is meant.
async fn find(platform: &Platform, holder: &str) -> Result<([u8; 32], String)> {
    if let Some(key) = holder_key::parse_public(holder) {
        let thumbprint = key.thumbprint();
        return Ok((thumbprint, format!("the key {} is revoked", hex::encode(thumbprint))));
    }
    let mut thumbprint = [0; 32];
    if hex::decode_to_slice(holder, &mut thumbprint).is_ok() {
        return Ok((thumbprint, format!("the key {holder} is revoked")));
    }
    let mut keys: Vec<[u8; 32]> =
        platform.grants(None).await?.iter().filter(|g| g.name == holder).map(|g| g.holder).collect();
    keys.sort_unstable();
    keys.dedup();
    match *keys.as_slice() {
        [] => Err(cardea_sdk::Error::NoHolder(holder.into()).into()),
        [key] => Ok((key, format!("the key of {holder} is revoked"))),
        _ => {
            let keys = keys.iter().map(hex::encode).collect::<Vec<_>>().join(", ");
            Err(cardea_sdk::Error::ManyHolders { name: holder.into(), keys }.into())
        }
    }
}

/// What was done, and which locks know.
fn told(words: String, list: &Revocations) -> Answer {
    let confirmed: Vec<String> = list.confirmed().map(|lock| lock.to_string()).collect();
    let waiting: Vec<String> = list.waiting().map(|lock| lock.to_string()).collect();
    let mut text = format!("{words}; list {} of {}", list.list.epoch, utc(list.list.at.into()));
    if list.list.epoch > 0 && list.list.unsure {
        text.push_str("\nthe state was put back from a backup: revoke again what was revoked after it");
    }
    if !confirmed.is_empty() {
        text.push_str(&format!("\nconfirmed by {}", confirmed.join(", ")));
    }
    if !waiting.is_empty() && list.list.epoch > 0 {
        text.push_str(&format!(
            "\nNOT YET at {}: it goes there as soon as each can be reached; `revocation show` tells",
            waiting.join(", ")
        ));
    }
    let keys: Vec<Value> = list
        .keys
        .iter()
        .map(|row| {
            json!({ "thumbprint": hex::encode(row.thumbprint), "since": row.since, "until": row.until })
        })
        .collect();
    let data = json!({
        "epoch": list.list.epoch, "at": list.list.at, "unsure": list.list.unsure,
        "keys": keys, "confirmed": confirmed, "waiting": waiting,
    });
    Answer { done: true, text, data, more: false }
}

fn grant_json(grant: &GrantRow) -> Value {
    json!({
        "id": hex::encode(grant.id),
        "lock": grant.lock.to_string(),
        "holder": hex::encode(grant.holder),
        "name": grant.name,
        "rights": names(grant.scope),
        "from": grant.not_before,
        "until": grant.expires,
        "single_use": grant.single_use,
        "window": grant.window.map(Weekly::to_bytes),
        "issued": grant.issued,
    })
}

fn grant_line(grant: &GrantRow, revoked: bool) -> String {
    let mut line = format!(
        "{}  {}  {}  {} to {}  {}",
        hex::encode(grant.id),
        grant.lock,
        names(grant.scope).join(","),
        utc(grant.not_before.into()),
        utc(grant.expires.into()),
        grant.name,
    );
    if grant.single_use {
        line.push_str("  single use");
    }
    if let Some(window) = grant.window {
        line.push_str(&format!("  {}", hours(window)));
    }
    if revoked {
        line.push_str("  REVOKED");
    }
    line
}
