//! The claim by code and presence, and the way back for an owner who forgot the password.

use std::time::{Duration, Instant};

use cardea_radio::Change;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{CODE, Keeper, OWNER, Owner, now, put};
use crate::history::What;
use crate::password::{Busy, Kept};

/// How long after `cardea claim --confirm` the claim may come.
pub const CONFIRMED: Duration = Duration::from_secs(120);

/// How long after `cardea recover` the password may be set anew.
pub const RECOVERY: Duration = Duration::from_secs(600);

/// Wrong codes that one confirmation is good for.
pub(super) const TRIES: u32 = 5;

/// Without what is mistaken for something else: Crockford's base 32.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Why a claim, or what belongs to one, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// It is done already.
    #[error("the gateway is claimed already")]
    Claimed,
    /// There is no owner yet who could have forgotten anything.
    #[error("nobody has claimed the gateway yet: `cardea claim-code` makes the code for that")]
    Unclaimed,
    /// There is no code yet.
    #[error("there is no claim code yet: make one with `cardea claim-code`")]
    NoCode,
    /// Nobody has confirmed at the gateway, or longer ago than [`CONFIRMED`].
    #[error("nobody has confirmed at the gateway")]
    NotConfirmed,
    /// Another code.
    #[error("wrong claim code")]
    WrongCode,
    /// Too many passwords are being checked.
    #[error("busy, try again")]
    Busy,
    /// It could not be remembered.
    #[error("the claim cannot be stored: {0}")]
    Store(String),
}

/// A way back that is open.
pub(super) struct Recovery {
    until: Instant,
    digest: [u8; 32],
    /// Wrong codes so far.
    tries: u32,
}

impl Keeper {
    pub(crate) async fn new_code(&self) -> Result<String, ClaimError> {
        let _one = self.claiming.lock().await;
        if self.is_claimed() {
            return Err(ClaimError::Claimed);
        }
        let (code, digest) = random_code()?;
        self.commit(vec![put(CODE, digest.to_vec())]).await.map_err(ClaimError::Store)?;
        let mut state = self.state();
        state.code = Some(digest);
        state.confirmed = None;
        Ok(code)
    }

    pub(crate) fn confirm(&self) -> Result<(), ClaimError> {
        let mut state = self.state();
        if state.owner.is_some() {
            return Err(ClaimError::Claimed);
        }
        if state.code.is_none() {
            return Err(ClaimError::NoCode);
        }
        state.confirmed = Instant::now().checked_add(CONFIRMED).map(|until| (until, 0));
        tracing::info!("a claim is confirmed for two minutes");
        Ok(())
    }

    /// How long the confirmation still holds.
    pub(crate) fn confirmed(&self) -> Option<Duration> {
        let (until, _) = self.state().confirmed?;
        Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Makes whoever has code and presence the owner.
    pub(crate) async fn claim(&self, code: &str, password: Zeroizing<String>) -> Result<(), ClaimError> {
        let _one = self.claiming.lock().await;
        if self.is_claimed() {
            return Err(ClaimError::Claimed);
        }
        // Without presence no code is looked at: from afar there is nothing to guess.
        if self.confirmed().is_none() {
            return Err(ClaimError::NotConfirmed);
        }
        {
            let mut state = self.state();
            let kept = state.code.ok_or(ClaimError::NoCode)?;
            if !bool::from(kept.ct_eq(&code_digest(code))) {
                let tries = state.confirmed.as_mut().map_or(TRIES, |(_, tries)| {
                    *tries += 1;
                    *tries
                });
                if tries >= TRIES {
                    tracing::warn!("five wrong claim codes: confirm again at the gateway");
                    state.confirmed = None;
                }
                return Err(ClaimError::WrongCode);
            }
        }
        let password = Kept::new(password).await.map_err(|Busy| ClaimError::Busy)?;
        let owner = Owner { password, claimed: now() };
        let record = serde_json::to_vec(&owner).map_err(|e| ClaimError::Store(e.to_string()))?;
        let forget = Change { key: CODE.to_vec(), value: None };
        let mut changes = vec![put(OWNER, record), forget];
        changes.extend(self.note(What::Claimed));
        self.commit(changes).await.map_err(ClaimError::Store)?;
        let mut state = self.state();
        state.owner = Some(owner);
        (state.code, state.confirmed) = (None, None);
        self.claimed.send_replace(true);
        tracing::info!("the gateway is claimed");
        Ok(())
    }

    /// Opens the way back for an owner who forgot the password, for [`RECOVERY`]: a code that is shown this once. Whoever asks is at
    /// the gateway.
    pub(crate) async fn recover(&self) -> Result<String, ClaimError> {
        let _one = self.claiming.lock().await;
        if !self.is_claimed() {
            return Err(ClaimError::Unclaimed);
        }
        let (code, digest) = random_code()?;
        let until = Instant::now().checked_add(RECOVERY).unwrap_or_else(Instant::now);
        self.state().recovery = Some(Recovery { until, digest, tries: 0 });
        tracing::warn!("the page's password may be set anew for ten minutes");
        Ok(code)
    }

    /// True while the way back is open.
    pub(crate) fn may_recover(&self) -> bool {
        self.state().recovery.as_ref().is_some_and(|recovery| Instant::now() < recovery.until)
    }

    /// Takes the code, once, and the new password. Every session ends; the history says so for good.
    pub(crate) async fn finish_recovery(
        &self,
        code: &str,
        password: Zeroizing<String>,
    ) -> Result<(), ClaimError> {
        let _one = self.claiming.lock().await;
        {
            let mut state = self.state();
            let Some(recovery) = state.recovery.as_mut().filter(|recovery| Instant::now() < recovery.until)
            else {
                state.recovery = None;
                return Err(ClaimError::NotConfirmed);
            };
            if !bool::from(recovery.digest.ct_eq(&code_digest(code))) {
                recovery.tries += 1;
                if recovery.tries >= TRIES {
                    tracing::warn!("five wrong recovery codes: ask for another one at the gateway");
                    state.recovery = None;
                }
                return Err(ClaimError::WrongCode);
            }
        }
        self.set_password(password, What::Recovered, None).await?;
        self.state().recovery = None;
        tracing::warn!("the page's password was set anew at the gateway");
        Ok(())
    }
}

/// A code of 16 letters and digits in groups of four, 80 random bits, and its digest.
fn random_code() -> Result<(String, [u8; 32]), ClaimError> {
    let mut bytes = Zeroizing::new([0_u8; 16]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|e| ClaimError::Store(e.to_string()))?;
    // Five bits of each byte.
    let digit = |byte: &u8| ALPHABET.get(usize::from(byte & 31)).copied().map_or('0', char::from);
    let code: String = bytes.iter().map(digit).collect();
    let groups: Vec<&str> = (0..4).filter_map(|n| code.get(n * 4..n * 4 + 4)).collect();
    Ok((groups.join("-"), code_digest(&code)))
}

/// Of a code as people type it: case and dividers do not matter, and O, I and L are the digits that they look like.
fn code_digest(text: &str) -> [u8; 32] {
    let digits = text.chars().filter(char::is_ascii_alphanumeric).map(|c| match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    });
    let digits: Zeroizing<String> = Zeroizing::new(digits.take(64).collect());
    Sha256::digest(digits.as_bytes()).into()
}
