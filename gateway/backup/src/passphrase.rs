//! A passphrase: typed at the terminal without being seen, or the first line of a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::Error;

/// The fewest characters.
pub(crate) const SHORTEST: usize = 12;
/// The most bytes; with room for all of them from the start no copy is left behind.
const LONGEST: usize = 1_024;

/// What a file is encrypted with. Erased when dropped; no `Debug`.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// From wherever.
    #[must_use]
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The first line of a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        line(File::open(path).map_err(io)?).map_err(io)
    }

    /// The first line of standard input.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn from_input() -> Result<Self, Error> {
        let io = |source| Error::Io { path: PathBuf::from("standard input"), source };
        line(io::stdin()).map_err(io)
    }

    /// Asks at the terminal, which shows nothing of it.
    ///
    /// # Errors
    /// [`Error::Io`], most often because there is no terminal.
    pub fn ask(prompt: &str) -> Result<Self, Error> {
        let path = Path::new("/dev/tty");
        let io = |source| Error::Io { path: path.to_owned(), source };
        let mut terminal = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
        write!(terminal, "{prompt}: ").map_err(io)?;
        let silent = Silent::new(&terminal).map_err(io)?;
        let typed = line(&terminal);
        drop(silent);
        let _ = writeln!(terminal);
        typed.map_err(io)
    }

    /// Asks for a new one, twice.
    ///
    /// # Errors
    /// As [`ask`](Self::ask); [`Error::Short`], [`Error::Differ`].
    pub fn ask_twice() -> Result<Self, Error> {
        let first = Self::ask("Passphrase")?;
        first.check()?;
        let second = Self::ask("The same passphrase again")?;
        if first.0 == second.0 { Ok(first) } else { Err(Error::Differ) }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.0.chars().count() < SHORTEST { Err(Error::Short) } else { Ok(()) }
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// One byte after the other: what follows the line stays where it is, and no buffer keeps it.
fn line(source: impl io::Read) -> io::Result<Passphrase> {
    let mut text = Zeroizing::new(Vec::with_capacity(LONGEST));
    let mut source = BufReader::with_capacity(1, source).take(LONGEST as u64);
    source.read_until(b'\n', &mut text)?;
    while text.pop_if(|byte| matches!(byte, b'\n' | b'\r')).is_some() {}
    let text = String::from_utf8(std::mem::take(&mut text));
    // The bytes that are no text may be most of a passphrase.
    let text = text.map_err(|error| drop(Zeroizing::new(error.into_bytes())));
    text.map(|text| Passphrase(Zeroizing::new(text))).map_err(|()| io::ErrorKind::InvalidData.into())
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silent<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_the_first_line_of_its_file_and_text() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passphrase");
        for (file, text) in [
            (&b"correct horse battery\nmore\n"[..], Some("correct horse battery")),
            (b"with spaces \r\n", Some("with spaces ")),
            (b"\xC3\xA4\xC3\xB6\xC3\xBC", Some("\u{e4}\u{f6}\u{fc}")),
            (b"\xFF\xFE", None),
        ] {
            std::fs::write(&path, file).unwrap();
            let read = Passphrase::from_file(&path);
            assert_eq!(read.as_ref().ok().map(Passphrase::text), text);
        }
        assert!(matches!(Passphrase::from_file(directory.path()), Err(Error::Io { .. })));
    }

    #[test]
    fn characters_are_counted_and_not_bytes() {
        let passphrase = |text: &str| Passphrase::new(text.to_owned().into());
        assert!(passphrase("elf Zeichen").check().is_err());
        assert!(passphrase("zwölf Zeich.").check().is_ok());
        assert!(passphrase("\u{4e00}\u{4e8c}\u{4e09}\u{56db}").check().is_err());
    }
}
