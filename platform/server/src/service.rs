//! What can be asked of a platform, whether it runs here or behind the socket.

use std::time::Duration;

use cardea_sdk::{
    Ask, GrantRow, LockId, LockName, LogGap, LogRow, OwnerCode, Pin, PinSetting, Platform, Stage,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroize as _;

use crate::{grants, pins, site};

/// Longest text of an error about a line that is no request: it need not be repeated whole.
const MAX_WORDS: usize = 160;

/// One request, one line of JSON on the socket. The braces of the empty ones have serde refuse members there, too. No
/// `Debug`: it may hold an owner code.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    Enroll {
        lock: String,
        code: String,
    },
    EnrollCertified {
        certificate: String,
        code: String,
    },
    Command {
        lock: String,
        ask: Verb,
        timeout_ms: u64,
    },
    Log {
        lock: String,
        limit: u32,
    },
    Locks {},
    Watch {},
    GrantIssue {
        lock: String,
        key: String,
        name: String,
        rights: u16,
        from: u32,
        until: u32,
        single_use: bool,
        window: Option<[u8; 3]>,
        delegate: Option<String>,
    },
    Grants {
        lock: Option<String>,
    },
    GrantExport {
        id: String,
    },
    GrantRevoke {
        id: String,
    },
    HolderRevoke {
        holder: String,
    },
    Revocations {},
    SitePut {
        lock: String,
        site: Option<String>,
        version: Option<u32>,
    },
    SiteAuthority {
        site: String,
        key: String,
    },
    Sites {},
    PinSet {
        lock: String,
        slot: u8,
        pin: Secret,
        duress: bool,
        from: Option<u32>,
        until: Option<u32>,
    },
    PinClear {
        lock: String,
        slot: u8,
    },
    PinList {
        lock: String,
    },
    Readmit {
        lock: String,
    },
    Release {
        lock: String,
        nonce: String,
        record: String,
    },
}

/// Text that is wiped when it goes.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Request {
    /// Reads one line of the socket; the error is for whoever wrote it.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(line).map_err(|error| {
            let words: String = error.to_string().chars().take(MAX_WORDS).collect();
            format!("not a request: {words}")
        })
    }
}

/// A line on the socket is read, and then reads the same when it is written again; or its error is short.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(line: &[u8]) {
    match Request::parse(line) {
        Ok(request) => {
            let written = serde_json::to_vec(&request).unwrap_or_default();
            assert!(Request::parse(&written).is_ok_and(|again| again == request), "not the same request");
            match &request {
                Request::Enroll { lock, code } => {
                    let (_, _) = (lock.parse::<LockName>(), OwnerCode::parse(code));
                }
                Request::PinSet { pin, .. } => drop(Pin::new(pin.0.as_bytes())),
                _ => {}
            }
        }
        Err(words) => assert!(words.len() < 1_000, "an error that repeats what it read"),
    }
}

/// The commands to a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verb {
    Lock,
    Unlock,
    Status,
    Battery,
    Pins,
    Site,
}

impl From<Verb> for Ask {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Lock => Self::Lock,
            Verb::Unlock => Self::Unlock,
            Verb::Status => Self::Status,
            Verb::Battery => Self::Battery,
            Verb::Pins => Self::Pins,
            Verb::Site => Self::Site,
        }
    }
}

/// One answer, one line of JSON on the socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Whether what was asked is done.
    pub(crate) done: bool,
    /// For people.
    pub(crate) text: String,
    /// For programs.
    pub(crate) data: Value,
    /// True while more answers follow (`watch`).
    #[serde(default)]
    pub(crate) more: bool,
}

impl Answer {
    pub(crate) fn done(text: String, data: Value) -> Self {
        Self { done: true, text, data, more: false }
    }

    pub(crate) fn error(error: &impl std::fmt::Display) -> Self {
        let text = error.to_string();
        Self { done: false, data: json!({ "error": text }), text, more: false }
    }
}

/// Everything but `watch`.
pub(crate) async fn serve_one(platform: &Platform, request: Request) -> Answer {
    let about_grants = matches!(
        request,
        Request::GrantIssue { .. }
            | Request::Grants { .. }
            | Request::GrantExport { .. }
            | Request::GrantRevoke { .. }
            | Request::HolderRevoke { .. }
            | Request::Revocations {}
    );
    if about_grants {
        return grants::answer(platform, request).await.unwrap_or_else(|error| Answer::error(&error));
    }
    if matches!(request, Request::SitePut { .. } | Request::SiteAuthority { .. } | Request::Sites {}) {
        return site::answer(platform, request).await.unwrap_or_else(|error| Answer::error(&error));
    }
    match answer(platform, request).await {
        Ok(answer) => answer,
        Err(error) => Answer::error(&error),
    }
}

async fn answer(platform: &Platform, request: Request) -> Result<Answer, cardea_sdk::Error> {
    Ok(match request {
        Request::Enroll { lock, code } => {
            let name: LockName = lock.parse()?;
            let Ok(code) = OwnerCode::parse(&code) else { return Ok(Answer::error(&MISTYPED)) };
            platform.enroll(name, &code).await?;
            enrolled(name.id())
        }
        Request::EnrollCertified { certificate, code } => {
            let Ok(code) = OwnerCode::parse(&code) else { return Ok(Answer::error(&MISTYPED)) };
            enrolled(platform.enroll_certified(&certificate, &code).await?)
        }
        Request::Command { lock, ask, timeout_ms } => {
            let id = lock.parse::<LockName>()?.id();
            let outcome = platform.command(id, ask.into(), Duration::from_millis(timeout_ms)).await?;
            Answer {
                done: outcome.is_success(),
                text: format!("{id}: {outcome}"),
                data: serde_json::to_value(&outcome).unwrap_or_default(),
                more: false,
            }
        }
        Request::Log { lock, limit } => {
            let id = lock.parse::<LockName>()?.id();
            let (rows, gaps) = (platform.log(id, limit).await?, platform.log_gaps(id).await?);
            log(id, &rows, gaps, &platform.grants(Some(id)).await?)
        }
        Request::PinSet { lock, slot, pin, duress, from, until } => {
            let id = lock.parse::<LockName>()?.id();
            let Ok(pin) = Pin::new(pin.0.as_bytes()) else {
                return Ok(Answer::error(&"a PIN has 4 to 10 digits"));
            };
            let setting = PinSetting { pin, duress, not_before: from, not_after: until };
            platform.set_pin(id, slot, setting).await?;
            pins::wanted(id, slot, &platform.pins(id).await?)
        }
        Request::PinClear { lock, slot } => {
            let id = lock.parse::<LockName>()?.id();
            platform.clear_pin(id, slot).await?;
            pins::wanted(id, slot, &platform.pins(id).await?)
        }
        Request::PinList { lock } => {
            let id = lock.parse::<LockName>()?.id();
            pins::list(&platform.pins(id).await?)
        }
        Request::Readmit { lock } => {
            let id = lock.parse::<LockName>()?.id();
            platform.readmit(id).await?;
            Answer::done(format!("{id}: readmitted"), json!({ "lock": id.to_string(), "readmitted": true }))
        }
        Request::Release { lock, nonce, record } => {
            let id = lock.parse::<LockName>()?.id();
            let mut drawn = [0; 8];
            let (Ok(()), Ok(bytes)) = (hex::decode_to_slice(&nonce, &mut drawn), hex::decode(&record)) else {
                return Ok(Answer::error(&"a nonce is 16 hexadecimal digits"));
            };
            platform.release(id, drawn, bytes).await?;
            Answer::done(
                format!(
                    "{id}: released; the record goes to it through its gateway while `serve` runs\n{record}"
                ),
                json!({ "lock": id.to_string(), "released": true, "record": record }),
            )
        }
        _ => {
            let (locks, sites) = (platform.locks().await?, platform.sites().await?);
            let grants =
                |id| sites.iter().find(|site| site.lock == id).and_then(|site| Some(site.state?.grants));
            let lines: Vec<String> = locks
                .iter()
                .map(|l| {
                    let way =
                        l.gateway.as_deref().map_or("unreachable now".into(), |g| format!("through {g}"));
                    let standing = match (l.released, l.fenced) {
                        (true, _) => "  RELEASED",
                        (_, true) => "  FENCED",
                        _ if grants(l.lock) == Some(false) => "  GRANTS WAIT",
                        _ => "",
                    };
                    format!(
                        "{}  {:<9}  {}  {way}{standing}",
                        l.lock,
                        stage(l.stage),
                        if l.session { "keys" } else { "no keys" }
                    )
                })
                .collect();
            let data = locks
                .iter()
                .map(|l| {
                    json!({
                        "lock": l.lock.to_string(),
                        "thumbprint": l.thumbprint.map(hex::encode),
                        "stage": stage(l.stage),
                        "session": l.session,
                        "fenced": l.fenced,
                        "released": l.released,
                        "certificate": l.certificate,
                        "grants": grants(l.lock),
                        "gateway": l.gateway,
                    })
                })
                .collect();
            let text = if lines.is_empty() { "no locks; `enroll` one".into() } else { lines.join("\n") };
            Answer { done: true, text, data, more: false }
        }
    })
}

const MISTYPED: &str =
    "the owner code is mistyped: 28 characters in groups of four, as on the lock's second label";

fn enrolled(id: LockId) -> Answer {
    Answer {
        done: true,
        text: format!("{id}: enrolled; it is activated as soon as it is on the air"),
        data: json!({ "lock": id.to_string(), "enrolled": true }),
        more: false,
    }
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Enrolled => "enrolled",
        Stage::Activated => "activated",
        Stage::Owned => "owned",
    }
}

/// Entries in the order they came, each gap before the first entry behind it.
fn log(lock: LockId, rows: &[LogRow], gaps: Vec<LogGap>, granted: &[GrantRow]) -> Answer {
    let (mut lines, mut data) = (Vec::new(), Vec::new());
    let mut gaps = gaps.into_iter().peekable();
    // What lies before the first entry that is shown is not shown either.
    if let Some(first) = rows.iter().find_map(|row| Some((row.activation, row.index?))) {
        while gaps.next_if(|gap| (gap.activation, gap.last.saturating_add(1)) < first).is_some() {}
    }
    for row in rows {
        let place = row.index.map(|index| (row.activation, index));
        while let Some(gap) =
            gaps.next_if(|gap| place.is_some_and(|place| (gap.activation, gap.last) < place))
        {
            lines.push(gap_line(&gap));
            data.push(gap_json(&gap));
        }
        lines.push(log_line(row, granted));
        data.push(serde_json::to_value(row).unwrap_or_default());
    }
    for gap in gaps {
        lines.push(gap_line(&gap));
        data.push(gap_json(&gap));
    }
    let text = if lines.is_empty() { format!("{lock}: nothing logged yet") } else { lines.join("\n") };
    Answer::done(text, Value::Array(data))
}

fn gap_line(gap: &LogGap) -> String {
    let noticed = utc(gap.noticed / 1000);
    format!("{:>6}  GAP: entries {} to {} are lost, noticed {noticed}", gap.first, gap.first, gap.last)
}

fn gap_json(gap: &LogGap) -> Value {
    json!({ "activation": gap.activation, "index": gap.first, "last": gap.last, "kind": "gap", "received": gap.noticed })
}

fn log_line(row: &LogRow, granted: &[GrantRow]) -> String {
    let when = row.at.map_or_else(|| format!("received {}", utc(row.received / 1000)), |at| utc(at.into()));
    let index = row.index.map_or_else(|| "     -".into(), |i| format!("{i:>6}"));
    let value = match row.grant_tag() {
        Some(tag) => {
            let name = granted.iter().find(|grant| grant.tag() == tag).map_or("?", |grant| &grant.name);
            format!(" {tag:08x} ({name})")
        }
        None => row.value.map_or_else(String::new, |v| format!(" {v}")),
    };
    format!("{index}  {when}  {}{value}", row.kind)
}

/// `2026-01-31 23:59:58Z`, from Unix seconds (days to civil date as in Howard Hinnant's algorithm).
pub(crate) fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let z = days.saturating_add(719_468);
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Lock ids are what people read; this checks one before anything else happens.
pub(crate) fn check_lock(text: &str) -> Result<LockId, cardea_sdk::Error> {
    text.parse::<LockName>().map(|name| name.id())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)] // tests fail by panicking
mod tests {
    use super::*;

    fn row(index: Option<u32>) -> LogRow {
        LogRow {
            activation: 1,
            index,
            kind: "bolt".into(),
            value: Some(0),
            at: None,
            received: 5_000,
            gateway: "g".into(),
        }
    }

    #[test]
    fn gaps_stand_where_entries_are_missing() {
        let gap = |first, last| LogGap { activation: 1, first, last, noticed: 9_000 };
        let rows = [row(Some(4)), row(None), row(Some(8)), row(Some(9))];
        let answer = log(LockId([1; 8]), &rows, vec![gap(0, 1), gap(5, 7), gap(10, 12)], &[]);
        let kinds: Vec<_> = answer.data.as_array().unwrap().iter().map(|row| row["index"].as_u64()).collect();
        assert_eq!(kinds, [Some(4), None, Some(5), Some(8), Some(9), Some(10)]);
        assert!(answer.text.contains("GAP: entries 5 to 7 are lost, noticed 1970-01-01 00:00:09Z"));
    }

    #[test]
    fn dates() {
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00Z"); // date -u -d @951782400
        assert_eq!(utc(1_798_761_599), "2026-12-31 23:59:59Z");
    }
}
