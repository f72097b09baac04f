//! Bad disks and bad clocks for the real daemon: `faults.c`, preloaded.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Daemon;

/// What can be made to happen to one daemon.
pub(crate) struct Faults(PathBuf);

impl Faults {
    /// Prepares the daemon, which is not running yet, for what may be done to it. Needs a C compiler, as every build
    /// of SQLite does.
    pub(crate) fn prepare(daemon: &mut Daemon) -> Self {
        let directory = daemon.path("faults");
        std::fs::create_dir(&directory).unwrap();
        let library = daemon.path("faults.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/faults.c");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let mut build = Command::new(&compiler);
        build.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
        assert!(build.status().expect("a C compiler is installed").success(), "{build:?}");
        daemon.environment.push(("LD_PRELOAD".into(), library.display().to_string()));
        daemon.environment.push(("CARDEA_FAULTS".into(), directory.display().to_string()));
        Self(directory)
    }

    pub(crate) fn begin(&self, fault: &str) {
        std::fs::write(self.0.join(fault), "").unwrap();
    }

    pub(crate) fn end(&self, fault: &str) {
        std::fs::remove_file(self.0.join(fault)).unwrap();
    }
}
