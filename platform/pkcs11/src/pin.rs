//! The PIN: read when it is needed, wiped afterwards, and never tried again once it was wrong.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{Error, TokenSettings};

/// No token takes a longer one.
const MAX_PIN: usize = 255;

/// Where the PIN comes from, and the file that remembers that it was wrong.
#[derive(Debug, Clone)]
pub(crate) struct PinSource {
    file: Option<PathBuf>,
    variable: &'static str,
    marker: PathBuf,
}

impl PinSource {
    pub(crate) fn new(token: &TokenSettings, variable: &'static str, marker: PathBuf) -> Self {
        Self { file: token.pin_file.clone(), variable, marker }
    }

    /// The PIN, unless it is known to be wrong.
    pub(crate) fn read(&self) -> Result<Zeroizing<String>, Error> {
        if self.was_refused() {
            return Err(self.refused());
        }
        let pin = match &self.file {
            Some(path) => from_file(path)?,
            None => env::var(self.variable).map(Zeroizing::new).map_err(|_| {
                Error::Pin(format!("name a file with it (pin_file, mode 0600), or set {}", self.variable))
            })?,
        };
        let trimmed = pin.trim_end_matches(['\n', '\r']);
        if trimmed.is_empty() || trimmed.len() > MAX_PIN {
            return Err(Error::Pin(format!("it must have 1 to {MAX_PIN} bytes")));
        }
        Ok(Zeroizing::new(trimmed.to_owned()))
    }

    /// Remembers, across restarts, that the token refused it: a service that is restarted until the token locks
    /// itself would be worse than one that stays down.
    pub(crate) fn refuse(&self) -> Error {
        if let Err(error) = fs::write(&self.marker, b"The token refused the PIN. See docs/platform.md.\n") {
            tracing::error!(%error, path = %self.marker.display(), "the refusal of the PIN cannot be remembered");
        }
        self.refused()
    }

    pub(crate) fn accept(&self) {
        let _ = fs::remove_file(&self.marker); // usually not there
    }

    fn refused(&self) -> Error {
        Error::PinWrong { marker: self.marker.clone() }
    }

    fn was_refused(&self) -> bool {
        let written = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
        match (written(&self.marker), self.file.as_deref().and_then(written)) {
            (Some(refused), Some(pin)) => pin <= refused,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, Error> {
    let wrong = |why: String| Error::Pin(format!("{}: {why}", path.display()));
    let mode = fs::metadata(path).map_err(|e| wrong(e.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(wrong(format!("mode {:04o} lets others read it; `chmod 600` it", mode & 0o7777)));
    }
    // `fs::read` sizes its buffer by the file, so that no smaller one is left behind unwiped.
    let bytes = Zeroizing::new(fs::read(path).map_err(|e| wrong(e.to_string()))?);
    let text = str::from_utf8(&bytes).map_err(|_| wrong("not UTF-8".into()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    fn source(dir: &Path, mode: u32, pin: &str) -> PinSource {
        let path = dir.join("pin");
        fs::write(&path, pin).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let token = TokenSettings { pin_file: Some(path), ..TokenSettings::new("/m", "t") };
        PinSource::new(&token, "CARDEA_NO_SUCH_PIN", dir.join("refused"))
    }

    #[test]
    fn a_file_that_others_may_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(*source(dir.path(), 0o600, "12 34\n").read().unwrap(), "12 34");
        let error = source(dir.path(), 0o640, "1234").read().unwrap_err().to_string();
        assert!(error.contains("chmod 600") && !error.contains("1234"), "{error}");
        assert!(source(dir.path(), 0o600, "\n").read().is_err());
    }

    #[test]
    fn a_refused_pin_is_tried_again_only_when_it_was_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let source = source(dir.path(), 0o600, "1234");
        assert!(matches!(source.refuse(), Error::PinWrong { .. }));
        assert!(matches!(source.read(), Err(Error::PinWrong { .. })));
        let later = SystemTime::now() + Duration::from_secs(2);
        let file = fs::File::options().write(true).open(dir.path().join("pin")).unwrap();
        file.set_modified(later).unwrap();
        assert!(source.read().is_ok());
        source.accept();
        assert!(!dir.path().join("refused").exists());
    }

    #[test]
    fn without_a_file_and_without_a_variable_the_error_names_both() {
        let source =
            PinSource::new(&TokenSettings::new("/m", "t"), "CARDEA_NO_SUCH_PIN", "/does/not/exist".into());
        let error = source.read().unwrap_err().to_string();
        assert!(error.contains("pin_file") && error.contains("CARDEA_NO_SUCH_PIN"), "{error}");
    }
}
