//! A passphrase: typed at the terminal without being seen, or the first line of a file.

mod silent;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use silent::Silent;

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
        line(File::open(path).map_err(io)?, b'\n').map_err(io)
    }

    /// The first line of standard input.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn from_input() -> Result<Self, Error> {
        let io = |source| Error::Io { path: PathBuf::from("standard input"), source };
        line(io::stdin(), b'\n').map_err(io)
    }

    /// Asks at the terminal, which shows nothing of it.
    ///
    /// # Errors
    /// [`Error::Io`], most often because there is no terminal; [`Error::Interrupted`].
    pub fn ask(prompt: &str) -> Result<Self, Error> {
        let path = Path::new("/dev/tty");
        let io = |source| Error::Io { path: path.to_owned(), source };
        let terminal = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
        // First silent, then asked: whoever types at once is not seen either.
        let silent = Silent::new(&terminal).map_err(io)?;
        write!(&terminal, "{prompt}: ").map_err(io)?;
        let typed = line(&terminal, silent.interrupt());
        drop(silent);
        let _ = writeln!(&terminal);
        let typed = typed.map_err(io)?;
        if typed.0.chars().any(char::is_control) {
            // The interrupt key; or another key of the terminal, which is no part of a passphrase either.
            return Err(Error::Interrupted);
        }
        Ok(typed)
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

/// One byte after the other: what follows the line stays where it is, and no buffer keeps it. The line ends at `interrupt`, too,
/// and has it.
fn line(mut source: impl io::Read, interrupt: u8) -> io::Result<Passphrase> {
    let mut text = Zeroizing::new(Vec::with_capacity(LONGEST));
    let mut byte = Zeroizing::new([0]);
    while text.len() < LONGEST {
        match source.read(&mut *byte) {
            Ok(0) => break,
            Ok(_) => {
                let [byte] = *byte;
                text.push(byte);
                if byte == b'\n' || byte == interrupt {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    while text.pop_if(|byte| matches!(byte, b'\n' | b'\r')).is_some() {}
    let text = String::from_utf8(std::mem::take(&mut text));
    // The bytes that are no text may be most of a passphrase.
    let text = text.map_err(|error| drop(Zeroizing::new(error.into_bytes())));
    text.map(|text| Passphrase(Zeroizing::new(text))).map_err(|()| io::ErrorKind::InvalidData.into())
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
