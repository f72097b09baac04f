//! Sites: which lock is in which, who may speak for a site, and whether grants hold.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use cardea_sdk::{AuthorityRow, LockId, LockName, NO_SITE, Platform, PublicKey, SiteReport};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::{
    cli::{Target, command},
    service::{Answer, Request, Verb, check_lock},
};

#[derive(Subcommand)]
pub(crate) enum SiteCmd {
    /// Put a lock into a site. The lock is told when it can hear; `site list` shows how far that is.
    Join {
        /// Lock id or thumbprint.
        lock: String,
        /// The site's id, 16 hexadecimal digits; not all zeros.
        #[arg(long)]
        site: String,
        /// No authority of a lower version counts at the lock [default: that of the last certificate for the site, or 1].
        #[arg(long)]
        least_version: Option<u32>,
    },
    /// Take a lock out of its site.
    Leave {
        /// Lock id or thumbprint.
        lock: String,
    },
    /// Certify the key that may speak for a site: a gateway's. Another key gets a higher version, and ends the one before
    /// at every lock that sees it; `site join` again ends it at the others, too.
    Authority {
        /// The site's id, 16 hexadecimal digits.
        #[arg(long)]
        site: String,
        /// The public key, 66 hexadecimal digits (SEC1 compressed).
        #[arg(long)]
        key: String,
        /// Where the certificate goes; one that is there is not replaced.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// List locks with their sites, and whether grants hold at each.
    List,
    /// Ask a lock for its site, its lists, and whether grants hold.
    Ask(Target),
}

impl SiteCmd {
    /// What is asked, and the file that the answer's certificate goes to.
    pub(crate) fn request(&self) -> Result<(Request, Option<&Path>)> {
        Ok(match self {
            Self::Join { lock, site, least_version } => {
                check_lock(lock)?;
                site_id(site)?;
                let (lock, site) = (lock.clone(), Some(site.clone()));
                (Request::SitePut { lock, site, version: *least_version }, None)
            }
            Self::Leave { lock } => {
                check_lock(lock)?;
                (Request::SitePut { lock: lock.clone(), site: None, version: None }, None)
            }
            Self::Authority { site, key, output } => {
                site_id(site)?;
                public_key(key)?;
                if output.exists() {
                    bail!("{} is there already, and is not replaced", output.display());
                }
                (Request::SiteAuthority { site: site.clone(), key: key.clone() }, Some(output))
            }
            Self::List => (Request::Sites {}, None),
            Self::Ask(target) => (command(target, Verb::Site)?, None),
        })
    }
}

/// Answers the requests of this file.
pub(crate) async fn answer(platform: &Platform, request: Request) -> Result<Answer> {
    Ok(match request {
        Request::SitePut { lock, site, version } => {
            let id = lock.parse::<LockName>()?.id();
            let site = site.as_deref().map_or(Ok(NO_SITE), site_id)?;
            let issued = platform.authorities().await?.into_iter().find(|row| row.site == site);
            let default = if site == NO_SITE { 0 } else { issued.map_or(1, |row| row.version) };
            let version = version.unwrap_or(default);
            platform.set_site(id, site, version).await?;
            put(id, site, version)
        }
        Request::SiteAuthority { site, key } => {
            authority(&platform.issue_authority(site_id(&site)?, public_key(&key)?).await?)
        }
        _ => list(&platform.sites().await?, &platform.authorities().await?),
    })
}

fn put(lock: LockId, site: [u8; 8], version: u32) -> Answer {
    let text = match site {
        NO_SITE => format!("{lock}: to leave its site; it is told when it can hear"),
        _ => format!(
            "{lock}: to be in site {}, authority {version} or later; it is told when it can hear",
            hex::encode(site)
        ),
    };
    Answer::done(text, json!({ "lock": lock.to_string(), "site": site_word(site), "version": version }))
}

fn authority(row: &AuthorityRow) -> Answer {
    let site = hex::encode(row.site);
    let text = format!("site {site}: authority {} is {}", row.version, hex::encode(row.key));
    let certificate = hex::encode(&row.cwt);
    Answer::done(
        text,
        json!({ "site": site, "version": row.version, "key": hex::encode(row.key), "certificate": certificate }),
    )
}

fn list(locks: &[SiteReport], authorities: &[AuthorityRow]) -> Answer {
    let mut lines: Vec<String> = locks.iter().map(line).collect();
    lines.extend(authorities.iter().map(|row| {
        format!("site {}  authority {}  {}", hex::encode(row.site), row.version, hex::encode(row.key))
    }));
    let text = if lines.is_empty() { "no lock is ours yet".into() } else { lines.join("\n") };
    let locks: Vec<Value> = locks.iter().map(report_json).collect();
    let authorities: Vec<Value> = authorities
        .iter()
        .map(|row| {
            json!({ "site": hex::encode(row.site), "version": row.version, "key": hex::encode(row.key) })
        })
        .collect();
    Answer::done(text, json!({ "locks": locks, "authorities": authorities }))
}

fn line(report: &SiteReport) -> String {
    let site = site_word(report.site).map_or_else(
        || "no site".into(),
        |site| format!("site {site}, authority {} or later", report.version),
    );
    format!(
        "{}  {:<10}  {site}{}",
        report.lock,
        standing(report),
        if report.told || report.refused { "" } else { "  NOT TOLD YET" }
    )
}

/// Whether grants hold, in few words.
pub(crate) fn standing(report: &SiteReport) -> &'static str {
    match (report.state, report.refused) {
        (Some(state), _) if !state.grants => "GRANTS WAIT",
        (Some(_), _) => "grants hold",
        (None, true) => "has no lists",
        (None, false) => "not asked",
    }
}

/// The locks that said they take no grant until their lists are there.
pub(crate) fn closed_to_grants(reports: &[SiteReport]) -> Vec<String> {
    let closed = reports.iter().filter(|report| report.state.is_some_and(|state| !state.grants));
    closed.map(|report| report.lock.to_string()).collect()
}

fn report_json(report: &SiteReport) -> Value {
    json!({
        "lock": report.lock.to_string(),
        "site": site_word(report.site),
        "version": report.version,
        "told": report.told,
        "state": report.state.map(|state| json!({
            "site": site_word(state.site),
            "version": state.version,
            "epoch": state.epoch,
            "additions": state.counter,
            "grants": state.grants,
        })),
    })
}

fn site_word(site: [u8; 8]) -> Option<String> {
    (site != NO_SITE).then(|| hex::encode(site))
}

fn site_id(text: &str) -> Result<[u8; 8]> {
    let mut id = NO_SITE;
    match hex::decode_to_slice(text, &mut id) {
        Ok(()) if id != NO_SITE => Ok(id),
        _ => bail!("`{text}` is no site: give 16 hexadecimal digits, not all zeros"),
    }
}

fn public_key(text: &str) -> Result<PublicKey> {
    let key = hex::decode(text).ok().and_then(|bytes| PublicKey::from_sec1(&bytes).ok());
    key.ok_or_else(|| anyhow::anyhow!("`{text}` is no public key: give 66 hexadecimal digits"))
}

/// Puts the certificate of an answer into its file.
pub(crate) fn write_certificate(answer: &Answer, path: &Path) -> Result<()> {
    let certificate = answer.data.get("certificate").and_then(Value::as_str).unwrap_or_default();
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    Ok(std::io::Write::write_all(&mut file, &hex::decode(certificate)?)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // tests fail by panicking
mod tests {
    use cardea_sdk::SiteState;

    use super::*;

    #[test]
    fn a_site_is_sixteen_digits_and_none_is_said_otherwise() {
        assert_eq!(site_id("0102030405060708").unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
        for wrong in ["0000000000000000", "01", "", "home", "010203040506070809"] {
            assert!(site_id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_list_says_where_grants_wait_and_who_does_not_know_yet() {
        let state = SiteState { site: NO_SITE, version: 0, epoch: 1, counter: 0, grants: false };
        let report = SiteReport {
            lock: LockId([1; 8]),
            site: [2; 8],
            version: 3,
            told: false,
            refused: false,
            state: Some(state),
        };
        let other = SiteReport { lock: LockId([2; 8]), told: true, state: None, ..report };
        assert_eq!(closed_to_grants(&[report, other]), ["0101010101010101"]);
        let open = SiteReport { state: Some(SiteState { grants: true, ..state }), ..report };
        assert!(closed_to_grants(&[open]).is_empty());
        let answer = list(&[report, SiteReport { told: true, state: None, ..report }], &[]);
        let words = "0101010101010101  GRANTS WAIT  site 0202020202020202, authority 3 or later";
        assert!(answer.text.starts_with(&format!("{words}  NOT TOLD YET\n")), "{}", answer.text);
        assert!(
            answer.text.ends_with("not asked   site 0202020202020202, authority 3 or later"),
            "{}",
            answer.text
        );
        assert_eq!(answer.data["locks"][0]["state"]["grants"], false);
    }
}
