//! The key schedule (RFC 9528 §4.1): transcript hashes, EDHOC_KDF, MACs, and the AEAD of messages 3 and 4.

use cardea_credentials::cbor::{Head, Writer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::suite::{Hash, Prk, Suite, expand, expand_xor, extract};
use crate::{ConnId, Error, IdCred};

/// Labels of EDHOC_KDF (RFC 9528 Figure 6).
pub(crate) mod label {
    pub(crate) const KEYSTREAM_2: u32 = 0;
    pub(crate) const SALT_3E2M: u32 = 1;
    pub(crate) const MAC_2: u32 = 2;
    pub(crate) const K_3: u32 = 3;
    pub(crate) const IV_3: u32 = 4;
    pub(crate) const SALT_4E3M: u32 = 5;
    pub(crate) const MAC_3: u32 = 6;
    pub(crate) const PRK_OUT: u32 = 7;
    pub(crate) const K_4: u32 = 8;
    pub(crate) const IV_4: u32 = 9;
    pub(crate) const PRK_EXPORTER: u32 = 10;
    pub(crate) const KEY_UPDATE: u32 = 11;
}

/// The bytes before a hash as a CBOR byte string.
const HASH_HEAD: [u8; 2] = [0x58, 0x20];
const MAX_PARTS: usize = 12;

/// `H(message_1)`.
pub(crate) fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// `TH_2 = H(G_Y, H(message_1))`, both as byte strings.
pub(crate) fn th_2(g_y: &[u8; 32], h_message_1: &Hash) -> Hash {
    Sha256::new()
        .chain_update(HASH_HEAD)
        .chain_update(g_y)
        .chain_update(HASH_HEAD)
        .chain_update(h_message_1)
        .finalize()
        .into()
}

/// `TH_3 = H(TH_2, PLAINTEXT_2, CRED_R)` and `TH_4 = H(TH_3, PLAINTEXT_3, CRED_I)`, of which the plaintext is known
/// before the credential.
#[derive(Clone)]
pub(crate) struct Transcript(Sha256);

impl Transcript {
    pub(crate) fn new(th: &Hash, plaintext: &[u8]) -> Self {
        Self(Sha256::new().chain_update(HASH_HEAD).chain_update(th).chain_update(plaintext))
    }

    pub(crate) fn finish(self, cred: &[u8]) -> Hash {
        self.0.chain_update(cred).finalize().into()
    }
}

/// `EDHOC_KDF(prk, label, context, out.len())` with the context in parts.
pub(crate) fn kdf(prk: &Hash, label: u32, context: &[&[u8]], out: &mut [u8]) -> Result<(), Error> {
    let heads = InfoHeads::new(label, context, out.len());
    expand(prk, &heads.info(context)?, out)
}

/// Encrypts or decrypts PLAINTEXT_2 in place with KEYSTREAM_2 (§5.3.2).
pub(crate) fn xor_keystream_2(prk_2e: &Hash, th_2: &Hash, text: &mut [u8]) -> Result<(), Error> {
    let context: &[&[u8]] = &[th_2];
    let heads = InfoHeads::new(label::KEYSTREAM_2, context, text.len());
    expand_xor(prk_2e, &heads.info(context)?, text)
}

/// `info = (label: int, context: bstr, length: uint)`, with what surrounds the context encoded here.
pub(crate) struct InfoHeads {
    label: Head,
    context: Head,
    length: Head,
}

impl InfoHeads {
    pub(crate) fn new(label: u32, context: &[&[u8]], length: usize) -> Self {
        Self {
            label: Head::int(i64::from(label)),
            context: Head::bytes(context.iter().map(|part| part.len()).sum()),
            length: Head::int(i64::try_from(length).unwrap_or(i64::MAX)),
        }
    }

    pub(crate) fn info<'a>(
        &'a self,
        context: &[&'a [u8]],
    ) -> Result<heapless::Vec<&'a [u8], MAX_PARTS>, Error> {
        let mut info = heapless::Vec::new();
        info.extend_from_slice(&[self.label.as_slice(), self.context.as_slice()])
            .map_err(|_| Error::TooLong)?;
        info.extend_from_slice(context).map_err(|_| Error::TooLong)?;
        info.push(self.length.as_slice()).map_err(|_| Error::TooLong)?;
        Ok(info)
    }
}

/// A derived hash-length key.
pub(crate) fn derive(prk: &Hash, label: u32, context: &[u8]) -> Result<Prk, Error> {
    let mut out = Zeroizing::new([0; 32]);
    kdf(prk, label, &[context], out.as_mut())?;
    Ok(out)
}

/// `PRK_3e2m` from `PRK_2e`, TH_2 and G_RX, or `PRK_4e3m` from `PRK_3e2m`, TH_3 and G_IY. Where the side in question
/// signs, the key stays what it was.
pub(crate) fn chain(prk: &Hash, label: u32, th: &Hash, secret: &[u8; 32]) -> Result<Prk, Error> {
    let salt = derive(prk, label, th)?;
    Ok(extract(&salt, secret))
}

/// What MAC_2 and MAC_3 cover.
pub(crate) struct MacContext<'a> {
    /// C_R for MAC_2, nothing for MAC_3.
    pub(crate) c_r: Option<ConnId>,
    pub(crate) id_cred: IdCred<'a>,
    pub(crate) th: &'a Hash,
    pub(crate) cred: &'a [u8],
    pub(crate) eads: &'a [u8],
}

impl MacContext<'_> {
    /// `context_2 = << C_R, ID_CRED_R, TH_2, CRED_R, ? EAD_2 >>`, `context_3` the same without C_R.
    pub(crate) fn mac(&self, prk: &Hash, label: u32, out: &mut [u8]) -> Result<(), Error> {
        self.with_parts(|parts| kdf(prk, label, parts, out))
    }

    /// The `Sig_structure` that a side which signs puts its name to (§5.3.2):
    /// `["Signature1", << ID_CRED_x >>, << TH, CRED_x, ? EAD_x >>, MAC_x]`.
    #[cfg(feature = "signatures")]
    pub(crate) fn with_sig_structure<T>(
        &self,
        mac: &[u8],
        then: impl FnOnce(&[&[u8]]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (id_head, id_body) = (self.id_cred.head(), self.id_cred.body());
        let external = HASH_HEAD.len() + self.th.len() + self.cred.len() + self.eads.len();
        then(&[
            b"\x84\x6aSignature1",
            Head::bytes(id_head.len() + id_body.len()).as_slice(),
            &id_head,
            id_body,
            Head::bytes(external).as_slice(),
            &HASH_HEAD,
            self.th,
            self.cred,
            self.eads,
            Head::bytes(mac.len()).as_slice(),
            mac,
        ])
    }

    pub(crate) fn with_parts<T>(&self, then: impl FnOnce(&[&[u8]]) -> Result<T, Error>) -> Result<T, Error> {
        let mut c_r = [0; crate::MAX_CONN_ID + 1];
        let mut writer = Writer::new(&mut c_r);
        if let Some(id) = &self.c_r {
            id.write(&mut writer)?;
        }
        then(&[
            writer.as_slice(),
            &self.id_cred.head(),
            self.id_cred.body(),
            &HASH_HEAD,
            self.th,
            self.cred,
            self.eads,
        ])
    }
}

/// The AEAD of message_3 (labels 3 and 4) or message_4 (8 and 9).
pub(crate) struct Aead {
    suite: Suite,
    key: Zeroizing<[u8; 32]>,
    iv: [u8; 16],
    aad: [u8; 45],
}

impl Aead {
    pub(crate) fn new(suite: Suite, prk: &Hash, key: u32, iv: u32, th: &Hash) -> Result<Self, Error> {
        let mut aead = Self { suite, key: Zeroizing::new([0; 32]), iv: [0; 16], aad: [0; 45] };
        kdf(prk, key, &[th], aead.key.get_mut(..suite.key_len()).ok_or(Error::TooLong)?)?;
        kdf(prk, iv, &[th], aead.iv.get_mut(..suite.iv_len()).ok_or(Error::TooLong)?)?;
        // A_3 = A_4 = ["Encrypt0", h'', TH]
        Writer::new(&mut aead.aad).array(3)?.text("Encrypt0")?.bytes(&[])?.bytes(th)?;
        Ok(aead)
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.key.get(..self.suite.key_len()).unwrap_or(&[])
    }

    pub(crate) fn iv(&self) -> &[u8] {
        self.iv.get(..self.suite.iv_len()).unwrap_or(&[])
    }

    #[cfg(test)]
    pub(crate) const fn aad(&self) -> &[u8] {
        &self.aad
    }

    /// See [`Suite::seal`].
    pub(crate) fn seal(&self, buffer: &mut [u8]) -> Result<(), Error> {
        self.suite.seal(self.key(), self.iv(), &self.aad, buffer)
    }

    /// Decrypts `buffer` in place and returns the plaintext.
    pub(crate) fn open<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], Error> {
        let text = buffer.len().checked_sub(self.suite.tag_len()).ok_or(Error::Decryption)?;
        self.suite.open(self.key(), self.iv(), &self.aad, buffer)?;
        buffer.get(..text).ok_or(Error::Decryption)
    }
}
