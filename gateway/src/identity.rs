//! The data directory: whose it is, and the gateway's name in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use cardea_config::GatewayName;

/// The data directory, locked: while this lives no other daemon uses it.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be and locks it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.with_context(|| format!("data directory {}", path.display()))?;
        let name = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&name);
        let lock = lock.with_context(|| format!("{}", name.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => {
                bail!("another cardea daemon is using {}", path.display())
            }
            Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("{}", name.display())),
        }
    }

    /// A file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The configured name, or the one that was made at the first start.
    pub(crate) fn gateway(&self, configured: Option<&GatewayName>) -> anyhow::Result<GatewayName> {
        if let Some(name) = configured {
            return Ok(name.clone());
        }
        let file = self.file("gateway-id");
        match fs::read_to_string(&file) {
            Ok(text) => {
                text.trim().parse().map_err(anyhow::Error::msg).with_context(|| format!("{}", file.display()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => self.make_gateway(&file),
            Err(error) => Err(error).with_context(|| format!("{}", file.display())),
        }
    }

    fn make_gateway(&self, file: &Path) -> anyhow::Result<GatewayName> {
        let name: GatewayName =
            format!("gw-{}", hex::encode(random()?)).parse().map_err(anyhow::Error::msg)?;
        // Written aside and renamed, so that a power cut leaves the whole name or none.
        let aside = self.file("gateway-id.new");
        let written = File::create(&aside)
            .and_then(|mut f| {
                writeln!(f, "{name}")?;
                f.sync_all()
            })
            .and_then(|()| fs::rename(&aside, file))
            .and_then(|()| File::open(&self.path)?.sync_all());
        written.with_context(|| format!("{}", file.display()))?;
        Ok(name)
    }
}

/// Eight random bytes.
pub(crate) fn random() -> anyhow::Result<[u8; 8]> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).context("the system's random source")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_once_and_a_configured_one_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(&directory.path().join("new/data")).unwrap();
        let name = data.gateway(None).unwrap();
        assert_eq!(data.gateway(None).unwrap(), name);
        assert!(name.as_str().starts_with("gw-"));
        let configured = "lobby".parse().unwrap();
        assert_eq!(data.gateway(Some(&configured)).unwrap(), configured);
        fs::write(data.file("gateway-id"), "../etc").unwrap();
        assert!(format!("{:#}", data.gateway(None).unwrap_err()).contains("gateway-id"));
    }

    #[test]
    fn two_daemons_do_not_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let first = DataDir::open(directory.path()).unwrap();
        assert!(DataDir::open(directory.path()).unwrap_err().to_string().contains("another cardea daemon"));
        drop(first);
        DataDir::open(directory.path()).unwrap();
    }
}
