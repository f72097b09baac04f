//! The one password: what it must be, and how it is kept.

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Fewest characters.
pub(crate) const SHORTEST: usize = 12;

/// Most bytes.
pub(crate) const LONGEST: usize = 256;

/// OWASP's Argon2id setting for little memory: 7 MiB, five passes, one lane.
const MEMORY_KIB: u32 = 7 * 1024;
const PASSES: u32 = 5;

/// One at a time, so that guessing costs 7 MiB and not more.
static ONE: Semaphore = Semaphore::const_new(1);

/// Those who may wait for their turn; more are told to come again.
static QUEUE: Semaphore = Semaphore::const_new(8);

/// What most used passwords are made of. Chosen by us after the kinds of words in the published lists of leaked passwords
/// (NCSC's 100,000 of 2019, NordPass's yearly 200), with what this product suggests; a copy of neither. In lower case.
const COMMON: &str = include_str!("common-words.txt");

/// Why a password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weak {
    /// Fewer than [`SHORTEST`] characters.
    Short,
    /// More than [`LONGEST`] bytes.
    Long,
    /// Made of what everybody takes.
    Common,
}

/// What the store keeps. No `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    salt: [u8; 16],
    hash: [u8; 32],
    memory_kib: u32,
    passes: u32,
}

/// Too many wait, or the system fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy;

/// Whether a new password is good enough.
pub(crate) fn check(password: &str, gateway: &str) -> Result<(), Weak> {
    if password.chars().count() < SHORTEST {
        return Err(Weak::Short);
    }
    if password.len() > LONGEST {
        return Err(Weak::Long);
    }
    // What is left once the things are gone that everybody takes must still be something.
    let mut rest = plain(password);
    let mut words: Vec<String> = COMMON.lines().map(plain).filter(|word| word.len() >= 3).collect();
    words.extend([plain(gateway), "cardea".into()]);
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    for word in words.iter().filter(|word| !word.is_empty()) {
        rest = rest.replace(word.as_str(), "\n");
    }
    // A character counts when it neither repeats nor continues the one before, as in "aaaa", "1234" and "4321".
    let mut counted = 0;
    let mut before = '\n';
    for c in rest.chars().filter(|c| *c != '\n') {
        let step = u32::from(c).abs_diff(u32::from(before));
        counted += usize::from(step > 1);
        before = c;
    }
    // Six characters that are neither digits of a date nor a mark at the end.
    if counted < 6 { Err(Weak::Common) } else { Ok(()) }
}

/// In lower case, without marks, and with letters for the digits and marks that stand for them.
fn plain(text: &str) -> String {
    let letter = |c: char| match c {
        '0' => Some('o'),
        '1' | '!' => Some('i'),
        '3' => Some('e'),
        '4' | '@' => Some('a'),
        '5' | '$' => Some('s'),
        '7' => Some('t'),
        c if c.is_alphanumeric() => Some(c),
        _ => None,
    };
    text.to_lowercase().chars().filter_map(letter).collect()
}

impl Kept {
    /// Hashes a new password.
    pub(crate) async fn new(password: Zeroizing<String>) -> Result<Self, Busy> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|_| Busy)?;
        let hash = derive(password, salt, MEMORY_KIB, PASSES).await?;
        Ok(Self { salt, hash: *hash, memory_kib: MEMORY_KIB, passes: PASSES })
    }

    /// Whether it is this one.
    pub(crate) async fn is(&self, password: Zeroizing<String>) -> Result<bool, Busy> {
        if password.len() > LONGEST {
            return Ok(false);
        }
        let hash = derive(password, self.salt, self.memory_kib, self.passes).await?;
        Ok(hash.as_slice().ct_eq(&self.hash).into())
    }
}

async fn derive(
    password: Zeroizing<String>,
    salt: [u8; 16],
    memory_kib: u32,
    passes: u32,
) -> Result<Zeroizing<[u8; 32]>, Busy> {
    let _place = QUEUE.try_acquire().map_err(|_| Busy)?;
    let turn = ONE.acquire().await.map_err(|_| Busy)?;
    let work = tokio::task::spawn_blocking(move || {
        let _turn = turn; // Held to the end of the work, also when nobody waits for it any more.
        let params = Params::new(memory_kib, passes, 1, Some(32)).map_err(|_| Busy)?;
        let mut hash = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.as_bytes(), &salt, hash.as_mut_slice())
            .map_err(|_| Busy)?;
        Ok(hash)
    });
    work.await.map_err(|_| Busy)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_takes_is_not_taken() {
        for weak in [
            "password1234",
            "P@ssw0rd2024!",
            "Password!Password!",
            "qwertyuiop123",
            "123456789012",
            "111111111111",
            "abcdefghijkl",
            "admin@admin123",
            "iloveyou12345",
            "woaini1314520",
            "letmeinletmein",
            "Cardea-gw-test!",
            "welcome2Welcome",
            "changeme-now",
            "lobby-1-lobby-1",
            "zaq12wsxcde3",
            "000000000000",
            "987654321098",
        ] {
            assert_eq!(check(weak, "lobby-1").err(), Some(Weak::Common), "{weak}");
        }
        assert_eq!(check("Tr0ub4dor&3", ""), Err(Weak::Short));
        assert_eq!(check(&"xkcd ".repeat(60), ""), Err(Weak::Long));
    }

    #[test]
    fn phrases_are_taken_in_any_script_and_without_any_rule_about_marks() {
        for good in [
            "correct horse battery staple",
            "vier alte Nussbäume",
            "kV9#tq2Lw8zM",
            "雨后的小镇有三只不吃鱼的猫",
        ] {
            assert_eq!(check(good, "lobby-1"), Ok(()), "{good}");
        }
    }

    #[test]
    fn the_list_has_a_few_hundred_words_once_each() {
        let words: std::collections::BTreeSet<&str> = COMMON.lines().collect();
        assert_eq!(words.len(), COMMON.lines().count());
        assert!(words.len() > 250, "{}", words.len());
        assert!(words.iter().all(|word| *word == word.to_lowercase().trim() && !word.is_empty()));
    }

    #[tokio::test]
    async fn a_kept_password_is_recognised_and_another_is_not() {
        let kept = Kept::new("vier alte Bäume".to_owned().into()).await.unwrap();
        assert!(kept.is("vier alte Bäume".to_owned().into()).await.unwrap());
        assert!(!kept.is("vier alte Baume".to_owned().into()).await.unwrap());
        assert!(!kept.is("x".repeat(100_000).into()).await.unwrap());
        assert_eq!((kept.memory_kib, kept.passes), (7168, 5));
        let other = Kept::new("vier alte Bäume".to_owned().into()).await.unwrap();
        assert_ne!(kept.hash, other.hash, "salted");
    }
}
