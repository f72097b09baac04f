//! The encryption: age, from memory to memory.

use std::io::{Read as _, Write as _};
use std::str::FromStr;

use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, Encryptor, armor::ArmoredReader, scrypt, x25519};
use zeroize::Zeroizing;

use crate::{Error, Passphrase};

/// Of scrypt, when we write: 2^16 with 8 blocks of 128 bytes are 64 MiB.
const WORK: u8 = 16;
/// The most that is done when we read, which is what `age` itself writes: 256 MiB.
const MAX_WORK: u8 = 18;
/// How an age file begins, and one in letters.
const BINARY: &[u8] = b"age-encryption.org/";
const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";

/// Somebody who can read a file; `age1…`. It is public.
#[derive(Clone)]
pub struct Recipient(x25519::Recipient);

impl FromStr for Recipient {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse().map(Self).map_err(|_| match text.get(..5) {
            // Somebody has mistaken a secret for it, which is not repeated.
            Some(start) if start.eq_ignore_ascii_case("age-s") => {
                Error::Recipient("AGE-SECRET-KEY-1…".into())
            }
            _ => Error::Recipient(text.to_owned()),
        })
    }
}

/// Secrets of recipients; they have no `Debug`.
pub struct Identities(Vec<x25519::Identity>);

impl Identities {
    /// Reads a file as `age-keygen` writes it: one a line, comments after `#`.
    ///
    /// # Errors
    /// [`Error::Identity`].
    pub fn parse(file: &[u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(file).map_err(|_| Error::Identity)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let identities: Vec<_> =
            lines.map(str::parse).collect::<Result<_, _>>().map_err(|_| Error::Identity)?;
        if identities.is_empty() { Err(Error::Identity) } else { Ok(Self(identities)) }
    }
}

/// Whom a file is for.
pub enum To {
    /// Everybody who has an identity of one of these.
    Recipients(Vec<Recipient>),
    /// Everybody who knows this.
    Passphrase(Passphrase),
}

/// What a file is opened with.
pub enum With {
    /// One of these.
    Identities(Identities),
    /// This.
    Passphrase(Passphrase),
}

/// Encrypts.
///
/// # Errors
/// [`Error::NoRecipient`], [`Error::Short`].
pub fn seal(plain: &[u8], to: &To) -> Result<Vec<u8>, Error> {
    let encryptor = match to {
        To::Recipients(recipients) => {
            let recipients = recipients.iter().map(|recipient| &recipient.0 as &dyn age::Recipient);
            Encryptor::with_recipients(recipients)
        }
        To::Passphrase(passphrase) => {
            passphrase.check()?;
            let mut recipient = scrypt::Recipient::new(secret(passphrase));
            recipient.set_work_factor(WORK);
            Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
        }
    };
    let mut out = Vec::new();
    // Writing to memory does not fail.
    let sealed = encryptor.map_err(|_| Error::NoRecipient)?.wrap_output(&mut out).and_then(|mut writer| {
        writer.write_all(plain)?;
        writer.finish().map(|_| ())
    });
    sealed.map_err(|_| Error::Form)?;
    Ok(out)
}

/// Whether this is an age file, as opposed to what would be in one.
#[must_use]
pub fn is_encrypted(file: &[u8]) -> bool {
    file.starts_with(BINARY) || file.trim_ascii_start().starts_with(ARMOR)
}

/// Whether a file opens with a passphrase; else it is with an identity.
///
/// # Errors
/// [`Error::Form`].
pub fn wants_passphrase(file: &[u8]) -> Result<bool, Error> {
    Decryptor::new(ArmoredReader::new(file)).map(|decryptor| decryptor.is_scrypt()).map_err(|_| Error::Form)
}

/// Decrypts a file, in letters or not, with at most `most` bytes in it. Nothing is given before all of it was found to be
/// genuine.
///
/// # Errors
/// [`Error`].
pub fn open(file: &[u8], with: &With, most: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
    open_within(file, with, most, MAX_WORK)
}

/// The same, where there is less memory: a passphrase is stretched with 2^`work` at most, which takes 2^`work` KiB.
///
/// # Errors
/// [`Error`].
pub fn open_within(file: &[u8], with: &With, most: usize, work: u8) -> Result<Zeroizing<Vec<u8>>, Error> {
    let decryptor = Decryptor::new(ArmoredReader::new(file)).map_err(|_| Error::Form)?;
    let opened = match (with, decryptor.is_scrypt()) {
        (With::Passphrase(_), false) => return Err(Error::WantsIdentity),
        (With::Identities(_), true) => return Err(Error::WantsPassphrase),
        (With::Identities(identities), false) => {
            decryptor.decrypt(identities.0.iter().map(|identity| identity as &dyn age::Identity))
        }
        (With::Passphrase(passphrase), true) => {
            let mut identity = scrypt::Identity::new(secret(passphrase));
            identity.set_max_work_factor(work);
            decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity))
        }
    };
    let opened = opened.map_err(|error| match error {
        DecryptError::ExcessiveWork { required, .. } => Error::ExcessiveWork(required),
        DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed | DecryptError::DecryptionFailed => {
            Error::WrongKey
        }
        _ => Error::Form,
    })?;
    // What is in a file is shorter than the file; with room for all of it no copy is left behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(file.len().min(most).saturating_add(1)));
    let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    opened.take(bound).read_to_end(&mut plain).map_err(|_| Error::Form)?;
    if plain.len() > most { Err(Error::TooLong(most)) } else { Ok(plain) }
}

fn secret(passphrase: &Passphrase) -> SecretString {
    SecretString::from(passphrase.text().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"{\"network_key\":\"it is not this\"}";

    fn somebody() -> (Recipient, With) {
        let identity = x25519::Identity::generate();
        (Recipient(identity.to_public()), With::Identities(Identities(vec![identity])))
    }

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.to_owned().into())
    }

    #[test]
    fn each_recipient_opens_a_file_and_nobody_else() {
        let ((first, one), (second, two), (_, other)) = (somebody(), somebody(), somebody());
        let file = seal(PLAIN, &To::Recipients(vec![first, second])).unwrap();
        assert!(is_encrypted(&file) && !wants_passphrase(&file).unwrap());
        for with in [&one, &two] {
            assert_eq!(&**open(&file, with, 100).unwrap(), PLAIN);
        }
        assert!(matches!(open(&file, &other, 100), Err(Error::WrongKey)));
        let with = With::Passphrase(passphrase("a long passphrase"));
        assert!(matches!(open(&file, &with, 100), Err(Error::WantsIdentity)));
        assert!(matches!(seal(PLAIN, &To::Recipients(vec![])), Err(Error::NoRecipient)));
    }

    #[test]
    fn a_passphrase_opens_what_was_sealed_with_it_and_is_not_short() {
        let file = seal(PLAIN, &To::Passphrase(passphrase("a long passphrase"))).unwrap();
        assert!(wants_passphrase(&file).unwrap());
        let with = With::Passphrase(passphrase("a long passphrase"));
        assert_eq!(&**open(&file, &with, 100).unwrap(), PLAIN);
        let wrong = With::Passphrase(passphrase("a long passphrasE"));
        assert!(matches!(open(&file, &wrong, 100), Err(Error::WrongKey)));
        assert!(matches!(open(&file, &somebody().1, 100), Err(Error::WantsPassphrase)));
        assert!(matches!(seal(PLAIN, &To::Passphrase(passphrase("too short"))), Err(Error::Short)));
    }

    /// A file that asks for gigabytes is refused before it gets them.
    #[test]
    fn the_memory_that_a_file_asks_for_is_bounded() {
        let file = seal(PLAIN, &To::Passphrase(passphrase("a long passphrase"))).unwrap();
        let line = file.windows(4).position(|bytes| bytes == b" 16\n").unwrap();
        let mut greedy = file.clone();
        greedy[line + 1..line + 3].copy_from_slice(b"24");
        let with = With::Passphrase(passphrase("a long passphrase"));
        assert!(matches!(open(&greedy, &with, 100), Err(Error::ExcessiveWork(24))));
    }

    #[test]
    fn a_file_that_is_cut_changed_or_too_long_gives_nothing() {
        let (to, with) = somebody();
        let long = vec![7; 200_000];
        let file = seal(&long, &To::Recipients(vec![to])).unwrap();
        assert_eq!(**open(&file, &with, 200_000).unwrap(), long);
        assert!(matches!(open(&file, &with, 199_999), Err(Error::TooLong(199_999))));
        for cut in [0, 10, 100, 200, 65_000, 150_000, file.len() - 1] {
            assert!(open(&file[..cut], &with, 200_000).is_err(), "{cut}");
        }
        for place in (0..file.len()).step_by(997) {
            let mut changed = file.clone();
            changed[place] ^= 1;
            assert!(open(&changed, &with, 200_000).is_err(), "{place}");
        }
        assert!(matches!(open(b"{}", &with, 100), Err(Error::Form)));
        assert!(!is_encrypted(b"{}"));
    }

    #[test]
    fn a_file_of_identities_is_read_and_an_error_shows_none_of_it() {
        let identity = x25519::Identity::generate();
        let text = age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
        let file = format!("# created: today\n# public key: {}\n{text}\n", identity.to_public());
        assert_eq!(Identities::parse(file.as_bytes()).map(|i| i.0.len()).unwrap(), 1);
        for bad in [format!("{text}x"), String::new(), "# nothing\n".into(), format!("{file}hello\n")] {
            assert!(matches!(Identities::parse(bad.as_bytes()), Err(Error::Identity)));
        }
        let mistaken = text.parse::<Recipient>().err().unwrap().to_string();
        assert!(!mistaken.contains(&text[20..]), "{mistaken}");
        assert!(identity.to_public().to_string().parse::<Recipient>().is_ok());
    }
}
