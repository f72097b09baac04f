//! PINs on the command line: read, with their time, and shown without ever being shown.

use std::{
    fs,
    io::{IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use cardea_sdk::{LockId, PinReport, PinSlot, PinState};
use clap::Subcommand;
use zeroize::Zeroizing;

use crate::{
    cli::{Target, command},
    service::{Answer, Request, Secret, Verb, check_lock, utc},
};

/// Longer than any PIN and the end of its line.
const MAX_PIN: u64 = 64;

#[derive(Subcommand)]
pub(crate) enum PinCmd {
    /// Want a PIN in a slot. The lock is told when it can hear, however late; `pin list` shows how far that is.
    Set {
        /// Lock id or thumbprint.
        lock: String,
        /// Which slot, from 0.
        slot: u8,
        /// File with the PIN, 4 to 10 digits; without it the PIN is read from standard input.
        #[arg(long)]
        pin_file: Option<PathBuf>,
        /// Whoever enters it does so under duress: the door opens, and the platform tells `duress`.
        #[arg(long)]
        duress: bool,
        /// Not before this time: 2026-12-24T08:00Z (UTC), or Unix seconds.
        #[arg(long, value_parser = time)]
        from: Option<u32>,
        /// Not after this time.
        #[arg(long, value_parser = time)]
        until: Option<u32>,
    },
    /// Want a slot empty.
    Clear {
        /// Lock id or thumbprint.
        lock: String,
        /// Which slot, from 0.
        slot: u8,
    },
    /// Show wanted and reported PINs, and what is pending and why. Never which PIN.
    List {
        /// Lock id or thumbprint.
        lock: String,
    },
    /// Ask the lock which slots are in use; `pin list` shows them afterwards.
    Ask(Target),
}

impl PinCmd {
    /// What is asked.
    pub(crate) fn request(&self) -> Result<Request> {
        match self {
            Self::Set { lock, slot, pin_file, duress, from, until } => {
                check_lock(lock)?;
                Ok(Request::PinSet {
                    lock: lock.clone(),
                    slot: *slot,
                    pin: read(pin_file.as_deref())?,
                    duress: *duress,
                    from: *from,
                    until: *until,
                })
            }
            Self::Clear { lock, slot } => {
                check_lock(lock)?;
                Ok(Request::PinClear { lock: lock.clone(), slot: *slot })
            }
            Self::List { lock } => {
                check_lock(lock)?;
                Ok(Request::PinList { lock: lock.clone() })
            }
            Self::Ask(target) => command(target, Verb::Pins),
        }
    }
}

/// A PIN is a secret: never an argument, which `ps` and the shell's history would show.
fn read(file: Option<&Path>) -> Result<Secret> {
    let mut text = Zeroizing::new(String::with_capacity(128));
    match file {
        Some(path) => {
            let named = || format!("cannot read {}", path.display());
            fs::File::open(path)
                .with_context(named)?
                .take(MAX_PIN)
                .read_to_string(&mut text)
                .with_context(named)?;
        }
        None => {
            if std::io::stdin().is_terminal() {
                eprintln!("PIN, 4 to 10 digits (visible while you type):");
                std::io::stdin().read_line(&mut text)?;
            } else {
                std::io::stdin().take(MAX_PIN).read_to_string(&mut text)?;
            }
        }
    }
    let pin = Secret(text.trim().to_owned());
    if pin.0.is_empty() {
        bail!("no PIN given");
    }
    Ok(pin)
}

/// Unix seconds, or `2026-12-24T08:00Z` with or without seconds, in UTC.
fn time(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no time: give 2026-12-24T08:00Z (UTC) or Unix seconds");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(seconds);
    }
    let (date, clock) =
        text.strip_suffix('Z').and_then(|text| text.split_once(['T', ' '])).ok_or_else(wrong)?;
    let fields = |text: &str, separator: char| -> Option<Vec<u32>> {
        let number = |part: &str| (!part.is_empty() && part.len() <= 4).then(|| part.parse().ok()).flatten();
        text.split(separator).map(number).collect()
    };
    let (date, clock) = (fields(date, '-').ok_or_else(wrong)?, fields(clock, ':').ok_or_else(wrong)?);
    let ([year, month, day], [hour, minute, rest @ ..]) = (date.as_slice(), clock.as_slice()) else {
        return Err(wrong());
    };
    let second = match rest {
        [] => 0,
        [second] => *second,
        _ => return Err(wrong()),
    };
    let (year, month, day) = (u64::from(*year), u64::from(*month), u64::from(*day));
    if !(1970..2106).contains(&year)
        || !(1..=12).contains(&month)
        || *hour > 23
        || *minute > 59
        || second > 59
    {
        return Err(wrong());
    }
    // Days since 1970 of the civil date, years counted from March (Howard Hinnant's algorithm).
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day.saturating_sub(1);
    let days = days.checked_sub(719_468).ok_or_else(wrong)?;
    let seconds = days * 86_400 + u64::from(*hour) * 3_600 + u64::from(*minute) * 60 + u64::from(second);
    // Only a date that exists comes back as it went in.
    let seconds_again = utc(seconds);
    if !seconds_again.starts_with(&format!("{year:04}-{month:02}-{day:02} ")) {
        return Err(wrong());
    }
    u32::try_from(seconds).map_err(|_| wrong())
}

/// What became of a wish so far.
pub(crate) fn wanted(lock: LockId, slot: u8, report: &PinReport) -> Answer {
    let row = report.slots.iter().find(|row| row.slot == slot);
    let text = match row {
        Some(row) if row.state == PinState::Waiting => {
            format!("{lock}: slot {slot} is noted; waiting: {}", row.why.unwrap_or("it goes out now"))
        }
        _ => format!("{lock}: slot {slot} is noted"),
    };
    Answer::done(text, serde_json::to_value(row).unwrap_or_default())
}

pub(crate) fn list(report: &PinReport) -> Answer {
    let mut lines: Vec<String> = report.slots.iter().map(line).collect();
    if lines.is_empty() {
        lines.push(format!("{}: no PINs are known", report.lock));
    }
    Answer::done(lines.join("\n"), serde_json::to_value(report).unwrap_or_default())
}

/// Slot, desired, reported, since when, and what is pending or differs.
fn line(row: &PinSlot) -> String {
    let since = |at: Option<u64>| at.map_or_else(String::new, |at| format!(" since {}", utc(at / 1000)));
    let mut text = format!("slot {:>2}  wanted {}{}", row.slot, row.wanted, since(row.asked));
    if row.duress {
        text.push_str(", for duress");
    }
    for (word, at) in [("from", row.not_before), ("until", row.not_after)] {
        if let Some(at) = at {
            text.push_str(&format!(", {word} {}", utc(at.into())));
        }
    }
    text.push_str(match row.reported {
        Some(true) => ";  reported: a PIN",
        Some(false) => ";  reported: empty",
        None => ";  reported: nothing yet",
    });
    text.push_str(&since(row.reported_at));
    text.push_str(match row.state {
        PinState::InForce => ";  in force",
        PinState::Empty => ";  empty",
        PinState::Waiting => ";  waiting",
        PinState::Conflict => ";  CONFLICT",
    });
    if let Some(why) = row.why {
        text.push_str(&format!(": {why}"));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // tests fail by panicking
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_or_unix_seconds_and_exist() {
        // date -u -d 2026-12-24T08:00Z +%s, and so on
        assert_eq!(time("2026-12-24T08:00Z"), Ok(1_798_099_200));
        assert_eq!(time("2000-02-29 23:59:58Z"), Ok(951_868_798));
        assert_eq!(time("1970-01-01T00:00Z"), Ok(0));
        assert_eq!(time("1798099200"), Ok(1_798_099_200));
        for wrong in [
            "",
            "Z",
            "tomorrow",
            "2026-12-24T08:00",
            "2026-02-29T08:00Z",
            "2026-13-01T08:00Z",
            "2026-12-00T08:00Z",
            "2026-12-24T24:00Z",
            "2026-12-24T08:60Z",
            "2026-12-24TZ",
            "2026-12-24T08:00:00:00Z",
            "1960-01-01T00:00Z",
            "9999-01-01T00:00Z",
            "-5",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
