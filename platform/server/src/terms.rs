//! Terms of grants as people write and read them: rights, times, days and hours.

use anyhow::{Result, anyhow, bail};
use cardea_sdk::{Scope, Weekly};

use crate::service::utc;

/// Names of the days as `--days` has them, Monday first.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Rights by their names.
pub(crate) fn rights(names: &[String]) -> Result<Scope> {
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
pub(crate) fn moment(text: &str, now: u32) -> Result<u32> {
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

/// The hours of the week of `--days` and `--hours`.
pub(crate) fn window(days: Option<&str>, hours: Option<&str>) -> Result<Option<Weekly>> {
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

/// The names of these rights.
pub(crate) fn names(scope: Scope) -> Vec<&'static str> {
    Scope::NAMED.iter().filter(|(right, _)| right.is_within(scope)).map(|(_, name)| *name).collect()
}

/// The hours of a week as people read them.
pub(crate) fn hours(window: Weekly) -> String {
    let [days, from, quarters] = window.to_bytes();
    let days: Vec<&str> =
        DAYS.iter().enumerate().filter(|(day, _)| days >> day & 1 == 1).map(|(_, name)| *name).collect();
    let clock = |quarter: u16| format!("{:02}:{:02}", quarter / 4 % 24, quarter % 4 * 15);
    let end = u16::from(from) + u16::from(quarters);
    format!("{} {}-{} UTC", days.join(","), clock(from.into()), clock(end))
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
