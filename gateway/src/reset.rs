//! Factory reset: everything in the data directory goes, but for one line that says so.
//!
//! It is ordered by a file and carried out at the next start, before anything else is read: a power cut leaves it ordered or done, and
//! nothing of it in memory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use cardea_api::ResetBy;

/// Its presence is the order; in it the line that stays.
const ORDER: &str = "factory-reset";

/// The lines of all that were carried out.
const DONE: &str = "resets";

/// As many lines are kept.
const KEPT: usize = 16;

/// Orders it. Once this has returned it will happen.
pub(crate) fn order(directory: &Path, by: ResetBy) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    put(directory, ORDER, &format!("{now} {}\n", by.as_str()))
}

/// Carries out what was ordered; true if something was. The directory is locked by the caller.
pub(crate) fn carry_out(directory: &Path) -> anyhow::Result<bool> {
    let ordered = match fs::read_to_string(directory.join(ORDER)) {
        Ok(line) => line,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error).context("the order of a factory reset"),
    };
    let stays = ["lock", ORDER, DONE];
    for entry in fs::read_dir(directory).context("the data directory")? {
        let entry = entry.context("the data directory")?;
        if !stays.iter().any(|name| entry.file_name() == *name) {
            erase(&entry.path()).with_context(|| format!("{}", entry.path().display()))?;
        }
    }
    let mut lines: Vec<String> = lines(directory).collect();
    let ordered = ordered.trim().to_owned();
    // After a power cut it may be there already.
    if lines.last() != Some(&ordered) {
        lines.push(ordered);
    }
    let kept = lines.split_off(lines.len().saturating_sub(KEPT));
    put(directory, DONE, &(kept.join("\n") + "\n")).context("the record of factory resets")?;
    fs::remove_file(directory.join(ORDER)).context("the order of a factory reset")?;
    File::open(directory).and_then(|directory| directory.sync_all()).context("the data directory")?;
    Ok(true)
}

/// When it was done, Unix milliseconds.
pub(crate) fn all(directory: &Path) -> Vec<u64> {
    lines(directory).filter_map(|line| line.split(' ').next()?.parse().ok()).collect()
}

/// The same program once more, with nothing of this one's memory.
pub(crate) fn begin_anew() -> io::Error {
    Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).exec()
}

fn lines(directory: &Path) -> impl Iterator<Item = String> {
    let text = fs::read_to_string(directory.join(DONE)).unwrap_or_default();
    text.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect::<Vec<_>>().into_iter()
}

/// Written over, then deleted; links are deleted and not followed.
fn erase(path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            erase(&entry?.path())?;
        }
        return fs::remove_dir(path);
    }
    if meta.is_file() {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let zeros = [0; 64 * 1024];
        let mut left = meta.len();
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(zeros.len());
            file.write_all(zeros.get(..now).unwrap_or_default())?;
            left = left.saturating_sub(u64::try_from(now).unwrap_or(left));
        }
        file.sync_all()?;
    }
    fs::remove_file(path)
}

/// Aside and renamed, so that a power cut leaves the whole file or none.
fn put(directory: &Path, name: &str, text: &str) -> io::Result<()> {
    let aside = directory.join(format!("{name}.new"));
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, directory.join(name))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn everything_goes_but_a_line_that_says_so_and_nothing_without_an_order() {
        let (data, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let kept = elsewhere.path().join("kept");
        fs::write(&kept, "the owner's").unwrap();
        let fill = || {
            fs::write(data.path().join("lock"), "").unwrap();
            fs::write(data.path().join("cardea.db"), vec![7; 200_000]).unwrap();
            fs::create_dir_all(data.path().join("zigbee-host/deep")).unwrap();
            fs::write(data.path().join("zigbee-host/deep/nvram"), "key").unwrap();
            std::os::unix::fs::symlink(&kept, data.path().join("link")).unwrap();
        };
        fill();
        assert!(!carry_out(data.path()).unwrap());
        assert_eq!(names(data.path()).len(), 4);
        order(data.path(), ResetBy::Page).unwrap();
        assert!(carry_out(data.path()).unwrap());
        assert_eq!(names(data.path()), ["lock", "resets"]);
        assert_eq!(fs::read_to_string(&kept).unwrap(), "the owner's", "a link is not followed");
        assert!(!carry_out(data.path()).unwrap(), "once");
        let first = all(data.path());
        assert_eq!(first.len(), 1);
        // A later one leaves the line of the earlier one; cut short before its end it is done again, with one line.
        fill();
        order(data.path(), ResetBy::Console).unwrap();
        let ordered = fs::read_to_string(data.path().join(ORDER)).unwrap();
        assert!(carry_out(data.path()).unwrap());
        fs::write(data.path().join(ORDER), ordered).unwrap();
        assert!(carry_out(data.path()).unwrap());
        let all = all(data.path());
        assert_eq!((all.len(), all.first()), (2, first.first()));
    }

    #[test]
    fn what_is_erased_was_written_over() {
        let data = tempfile::tempdir().unwrap();
        let secret = data.path().join("web.key");
        fs::write(&secret, b"a secret that nobody reads again").unwrap();
        let same = data.path().join("resets"); // stays, and here it is the same file
        fs::hard_link(&secret, &same).unwrap();
        erase(&secret).unwrap();
        assert_eq!(fs::read(&same).unwrap(), vec![0; 32]);
    }
}
