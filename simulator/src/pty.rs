//! Pseudo-terminals behind links, for virtual devices that are plugged in and out.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::{ffi::OsStrExt, fs::symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// A new pseudo-terminal, behind `link`: the device's end, which never waits, and the name that the other has until it is plugged in again.
pub(crate) fn open(link: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let path = PathBuf::from(OsStr::from_bytes(name.as_bytes()));
    // Opened once and closed: from now on reading says EIO while nobody has it open. Without echo, lest the device
    // talks to itself before a host has set the terminal up.
    let other = File::options().read(true).write(true).open(&path)?;
    let mut settings = tcgetattr(&other)?;
    settings.make_raw();
    tcsetattr(&other, OptionalActions::Now, &settings)?;
    drop(other);
    fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
    let beside = link.with_extension("new");
    let _ = fs::remove_file(&beside);
    symlink(&path, &beside)?;
    fs::rename(&beside, link)?;
    Ok((master, path))
}
