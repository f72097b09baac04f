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

use crate::service::{Answer, Request, check_lock, utc};

/// Names of the days as `--days` has them, Monday first.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

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
pub(crate) enum HolderCmd {
    /// Revoke the key of a holder (a lost phone), and with it all its grants at all locks.
    Revoke {
        /// The holder's name, the key (66 or 130 hexadecimal digits), or its thumbprint (64).
        holder: String,
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
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
        .with_context(|| {
            format!("{} cannot be written; the grant is issued, `grant export` writes it", path.display())
        })?;
    answer.text =
        format!("{}\nwritten to {}; the phone needs it, and it holds no secret", answer.text, path.display());
    Ok(())
}

fn free(path: &Path) -> Result<()> {
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
fn public_key(text: &str) -> Result<PublicKey> {
    if let Some(key) = holder_key::parse_public(text) {
        return Ok(key);
    }
    let path = Path::new(text);
    if !path.exists() {
        bail!("`{text}` is neither a public key (66 or 130 hexadecimal digits) nor a file");
    }
    Ok(holder_key::read_public(path)?)
}

fn rights(names: &[String]) -> Result<Scope> {
    let mut all = Scope::NONE;
    for name in names {
        let known = Scope::NAMED.iter().find(|(_, known)| *known == name.trim());
        let Some((right, _)) = known else {
            let known: Vec<&str> = Scope::NAMED.iter().map(|(_, name)| *name).collect();
            bail!("`{name}` is no right; there are {}", known.join(", "));
        };
        all = all | *right;
    }
    Ok(all)
}

/// `+30d`, Unix seconds, `2026-12-31` or `2026-12-31T15:00`, in UTC.
fn moment(text: &str, now: u32) -> Result<u32> {
    let wrong =
        || anyhow!("`{text}` is no time: give 2026-12-31, 2026-12-31T15:00 (UTC), +30d, +12h or +15m");
    if let Some(ahead) = text.strip_prefix('+') {
        let (number, unit) = ahead.split_at(ahead.len().saturating_sub(1));
        let seconds = match unit {
            "d" => 86_400,
            "h" => 3_600,
            "m" => 60,
            _ => return Err(wrong()),
        };
        let ahead = number.parse::<u32>().ok().and_then(|n| n.checked_mul(seconds)).ok_or_else(wrong)?;
        return now.checked_add(ahead).ok_or_else(wrong);
    }
    if !text.contains('-') {
        return text.parse().map_err(|_| wrong());
    }
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00"));
    let [year, month, day] = numbers(date, '-').ok_or_else(wrong)?;
    let [hour, minute] = numbers(time.trim_end_matches('Z'), ':').ok_or_else(wrong)?;
    if !(1970..=2105).contains(&year) || !(1..=12).contains(&month) || hour > 23 || minute > 59 {
        return Err(wrong());
    }
    // The day must come back as it was: there is no 31 February.
    let days = days_from_civil(year, month, day);
    let seconds = u64::from(days) * 86_400;
    if !utc(seconds).starts_with(&format!("{year:04}-{month:02}-{day:02}")) {
        return Err(wrong());
    }
    u32::try_from(seconds + u64::from(hour * 3600 + minute * 60)).map_err(|_| wrong())
}

fn numbers<const N: usize>(text: &str, between: char) -> Option<[u32; N]> {
    let parts: Vec<u32> = text.split(between).map(|part| part.parse().ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

/// Days since 1 January 1970, from 1970 on (as in Howard Hinnant's algorithm).
fn days_from_civil(year: u32, month: u32, day: u32) -> u32 {
    let y = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (y / 400, y % 400);
    let mp = (month + 9) % 12;
    let doy = (153 * mp + 2) / 5 + day.saturating_sub(1);
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    (era * 146_097 + doe).saturating_sub(719_468)
}

fn window(days: Option<&str>, hours: Option<&str>) -> Result<Option<Weekly>> {
    if days.is_none() && hours.is_none() {
        return Ok(None);
    }
    let days = days.map_or(Ok(0x7f), day_bits)?;
    let (from, quarters) = hours.map_or(Ok((0, 96)), quarter_range)?;
    Ok(Some(
        Weekly::new(days, from, quarters)
            .map_err(|_| anyhow!("give at least one day, and an hour to end at"))?,
    ))
}

fn day_bits(text: &str) -> Result<u8> {
    let day = |name: &str| {
        let name = name.trim().to_ascii_lowercase();
        DAYS.iter()
            .position(|day| *day == name)
            .ok_or_else(|| anyhow!("`{name}` is no day; there are {}", DAYS.join(", ")))
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        // `fri-mon` runs over the weekend.
        let count = (last + 7 - first) % 7;
        for step in 0..=count {
            bits |= 1 << ((first + step) % 7);
        }
    }
    Ok(bits)
}

fn quarter_range(text: &str) -> Result<(u8, u8)> {
    let wrong = || anyhow!("`{text}` are no hours: give 08:00-18:00, in quarters of an hour");
    let quarter = |clock: &str| {
        let [hour, minute] = numbers(clock.trim(), ':').ok_or_else(wrong)?;
        let sound = minute % 15 == 0 && (hour < 24 && minute < 60 || (hour, minute) == (24, 0));
        if sound { Ok(hour * 4 + minute / 15) } else { Err(wrong()) }
    };
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let (from, to) = (quarter(from)?, quarter(to)?);
    // To the same minute is the whole day; to an earlier one is past midnight.
    let quarters = if to > from { to - from } else { to + 96 - from };
    let from = u8::try_from(from % 96).map_err(|_| wrong())?;
    Ok((from, u8::try_from(quarters).map_err(|_| wrong())?))
}

/// Answers a request that is about grants.
pub(crate) async fn answer(platform: &Platform, request: Request) -> Result<Answer> {
    Ok(match request {
        Request::GrantIssue { lock, key, name, rights, from, until, single_use, window } => {
            let window = window.map(|[days, from, quarters]| Weekly::new(days, from, quarters)).transpose();
            let new = NewGrant {
                lock: check_lock(&lock)?,
                holder: holder_key::parse_public(&key).ok_or_else(|| anyhow!("that is no public key"))?,
                name,
                scope: Scope::from_bits(rights),
                not_before: from,
                expires: until,
                single_use,
                window: window.map_err(|_| anyhow!("those are no hours of the week"))?,
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

fn names(scope: Scope) -> Vec<&'static str> {
    Scope::NAMED.iter().filter(|(right, _)| right.is_within(scope)).map(|(_, name)| *name).collect()
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
    if let Some([days, from, quarters]) = grant.window.map(Weekly::to_bytes) {
        let days: Vec<&str> =
            DAYS.iter().enumerate().filter(|(day, _)| days >> day & 1 == 1).map(|(_, name)| *name).collect();
        let clock = |quarter: u16| format!("{:02}:{:02}", quarter / 4 % 24, quarter % 4 * 15);
        let end = u16::from(from) + u16::from(quarters);
        line.push_str(&format!("  {} {}-{} UTC", days.join(","), clock(from.into()), clock(end)));
    }
    if revoked {
        line.push_str("  REVOKED");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u32 = 1_793_577_600; // Monday, 2 November 2026, 00:00 UTC

    #[test]
    fn times_are_read_in_utc() {
        assert_eq!(moment("2026-11-02", 0).unwrap(), NOW);
        assert_eq!(moment("2026-11-02T15:30", 0).unwrap(), NOW + 15 * 3600 + 30 * 60);
        assert_eq!(moment("2028-02-29T00:00Z", 0).unwrap(), 1_835_395_200); // date -u -d 2028-02-29 +%s
        assert_eq!(moment("1793577600", 0).unwrap(), NOW);
        for (ahead, seconds) in [("+2d", 172_800), ("+12h", 43_200), ("+15m", 900)] {
            assert_eq!(moment(ahead, NOW).unwrap(), NOW + seconds);
        }
        for wrong in [
            "",
            "+",
            "+d",
            "+1y",
            "2026-02-31",
            "2026-13-01",
            "2026-11-02T24:00",
            "tomorrow",
            "+99999d",
            "-1",
        ] {
            assert!(moment(wrong, NOW).is_err(), "{wrong}");
        }
    }

    #[test]
    fn days_and_hours_become_a_window() {
        let bytes = |days, hours| window(days, hours).unwrap().map(Weekly::to_bytes);
        assert_eq!(bytes(None, None), None);
        assert_eq!(bytes(Some("mon-fri"), Some("08:00-18:00")), Some([0b001_1111, 32, 40]));
        assert_eq!(bytes(Some("fri-mon"), None), Some([0b111_0001, 0, 96]));
        assert_eq!(bytes(Some("sat,sun"), Some("22:00-06:15")), Some([0b110_0000, 88, 33]));
        assert_eq!(bytes(None, Some("00:00-24:00")), Some([0x7f, 0, 96]));
        assert_eq!(bytes(None, Some("07:00-07:00")), Some([0x7f, 28, 96]));
        for (days, hours) in [
            (Some("any"), None),
            (None, Some("8-18")),
            (None, Some("08:10-18:00")),
            (None, Some("25:00-26:00")),
        ] {
            assert!(window(days, hours).is_err(), "{days:?} {hours:?}");
        }
    }

    #[test]
    fn rights_are_named() {
        let all = |text: &str| rights(&text.split(',').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(all("unlock,status").unwrap(), Scope::UNLOCK | Scope::STATUS);
        assert!(all("unlock,everything").unwrap_err().to_string().contains("there are unlock, lock"));
    }
}
