//! CWT Claims Sets (RFC 9528 §3.5.2): an unsigned key under a name, for pairs that were pinned to each other.

use crate::cbor::{Reader, Writer};
use crate::key::{CoseKey, YForm, once};
use crate::{Error, PublicKey};

pub(crate) const SUB: i64 = 2;
pub(crate) const CNF: i64 = 8;
pub(crate) const CNF_COSE_KEY: i64 = 1;

/// A CCS as it was read. EDHOC binds its bytes, so keep them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ccs<'a> {
    /// The `sub` claim. A name, for people; it authorises nothing.
    pub subject: Option<&'a str>,
    /// The key of the `cnf` claim, with its `kid`.
    pub cose_key: CoseKey<'a>,
}

/// Writes `{2: subject, 8: {1: COSE_Key}}` with y in full, as RFC 9529 §3 has it. Returns the length.
///
/// # Errors
/// [`Error::BufferTooSmall`].
pub fn encode_ccs(
    subject: Option<&str>,
    key: &PublicKey,
    kid: Option<&[u8]>,
    out: &mut [u8],
) -> Result<usize, Error> {
    let mut writer = Writer::new(out);
    writer.map(1 + usize::from(subject.is_some()))?;
    if let Some(subject) = subject {
        writer.int(SUB)?.text(subject)?;
    }
    writer.int(CNF)?.map(1)?.int(CNF_COSE_KEY)?;
    CoseKey::write(key, kid, YForm::Full, &mut writer)?;
    Ok(writer.len())
}

/// Reads a CCS that confirms a P-256 key by value; other claims are skipped.
///
/// # Errors
/// [`Error::Malformed`], [`Error::NonDeterministic`], [`Error::UnsupportedKey`] (a `cnf` by reference among them),
/// [`Error::InvalidKey`].
pub fn decode_ccs(bytes: &[u8]) -> Result<Ccs<'_>, Error> {
    let (subject, cose_key) = read_claims(bytes, CoseKey::read)?;
    Ok(Ccs { subject, cose_key })
}

/// Subject and key of a CCS, the key as `read_key` understands it.
pub(crate) fn read_claims<'a, K>(
    bytes: &'a [u8],
    read_key: impl Fn(&mut Reader<'a>) -> Result<K, Error>,
) -> Result<(Option<&'a str>, K), Error> {
    let mut reader = Reader::new(bytes);
    let (mut subject, mut cnf) = (None, None);
    let mut claims = [None; 16];
    let pairs = reader.map()?;
    for slot in claims.get_mut(..pairs).ok_or(Error::TooLong)? {
        let claim = reader.int()?;
        *slot = Some(claim);
        match claim {
            SUB => once(&mut subject, reader.text()?)?,
            CNF => once(&mut cnf, confirmed(&mut reader, &read_key)?)?,
            _ => {
                reader.item()?;
            }
        }
    }
    reader.finish()?;
    for (index, claim) in claims.iter().flatten().enumerate() {
        if claims.iter().flatten().skip(index + 1).any(|other| other == claim) {
            return Err(Error::Malformed);
        }
    }
    Ok((subject, cnf.ok_or(Error::Malformed)?))
}

/// The value of a `cnf` claim (RFC 8747 §3.2): `{1: COSE_Key}`.
pub(crate) fn read_cnf<'a>(reader: &mut Reader<'a>) -> Result<CoseKey<'a>, Error> {
    confirmed(reader, CoseKey::read)
}

fn confirmed<'a, K>(
    reader: &mut Reader<'a>,
    read_key: impl Fn(&mut Reader<'a>) -> Result<K, Error>,
) -> Result<K, Error> {
    if reader.map()? != 1 || reader.int()? != CNF_COSE_KEY {
        return Err(Error::UnsupportedKey);
    }
    read_key(reader)
}
