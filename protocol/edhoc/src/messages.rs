//! What both ends share: the plaintexts of messages 2 and 3 and the proof in them.

use cardea_credentials::cbor::{Head, Kind, Reader, Writer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::auth::{AuthKey, PeerKey, SIGNATURE_LEN};
use crate::schedule::MacContext;
use crate::suite::{Hash, Suite};
use crate::{ConnId, Ead, Eads, Error, ErrorMessage, IdCred};

/// The longest MAC: the one that a signature covers.
const MAX_MAC: usize = 32;

/// How one side authenticates: its suite, and whether METHOD lets it sign.
#[derive(Clone, Copy)]
pub(crate) struct Proof {
    pub(crate) suite: Suite,
    pub(crate) signs: bool,
}

impl Proof {
    /// Length of MAC_x.
    const fn mac_len(self) -> usize {
        if self.signs { MAX_MAC } else { self.suite.mac_len() }
    }

    /// Length of Signature_or_MAC_x.
    pub(crate) const fn len(self) -> usize {
        if self.signs { SIGNATURE_LEN } else { self.suite.mac_len() }
    }
}

/// What the peer said about itself in message_2 or message_3, not yet verified. It borrows the caller's plaintext
/// buffer, so a credential that came by value needs no copy.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'b> {
    /// The peer's connection identifier: C_R for the Initiator, C_I for the Responder.
    pub conn_id: ConnId,
    /// Which credential it authenticates with.
    pub id_cred: IdCred<'b>,
    /// Its EAD items. Act on them only after the verification.
    pub eads: Eads<'b>,
    signature_or_mac: &'b [u8],
}

impl<'b> Peer<'b> {
    /// Reads `( ID_CRED_x / bstr / -24..23, Signature_or_MAC_x, ? EAD_x )`.
    pub(crate) fn read(
        conn_id: ConnId,
        mut reader: Reader<'b>,
        proof: Proof,
        known_eads: &[u32],
    ) -> Result<Self, Error> {
        let id_cred = IdCred::read(&mut reader)?;
        let signature_or_mac = reader.bytes()?;
        let eads = Eads::read(&mut reader, known_eads)?;
        if signature_or_mac.len() != proof.len() {
            return Err(Error::Authentication);
        }
        Ok(Self { conn_id, id_cred, eads, signature_or_mac })
    }

    /// Checks Signature_or_MAC_2 or _3; a MAC in constant time.
    #[allow(clippy::too_many_arguments)] // the inputs that RFC 9528 §5.3.2 names
    pub(crate) fn verify(
        &self,
        proof: Proof,
        prk: &Hash,
        label: u32,
        c_r: Option<ConnId>,
        th: &Hash,
        cred: &[u8],
        key: &PeerKey,
    ) -> Result<(), Error> {
        if !key.is_on(proof.suite) {
            return Err(Error::Authentication);
        }
        let mut mac = Zeroizing::new([0; MAX_MAC]);
        let mac = mac.get_mut(..proof.mac_len()).ok_or(Error::Authentication)?;
        let context = MacContext { c_r, id_cred: self.id_cred, th, cred, eads: self.eads.raw() };
        context.mac(prk, label, mac)?;
        #[cfg(feature = "signatures")]
        if proof.signs {
            return context.with_sig_structure(mac, |parts| key.verify(parts, self.signature_or_mac));
        }
        if bool::from(mac.ct_eq(self.signature_or_mac)) { Ok(()) } else { Err(Error::Authentication) }
    }
}

/// PLAINTEXT_2 or PLAINTEXT_3 about to be written.
pub(crate) struct Plaintext<'a> {
    pub(crate) proof: Proof,
    /// C_R in message_2, nothing in message_3.
    pub(crate) c_r: Option<ConnId>,
    pub(crate) id_cred: &'a IdCred<'a>,
    pub(crate) eads: &'a [Ead<'a>],
}

impl Plaintext<'_> {
    pub(crate) fn len(&self) -> usize {
        let c_r = self.c_r.map_or(0, |id| id.encoded_len());
        let proof = Head::bytes(self.proof.len()).as_slice().len() + self.proof.len();
        c_r + self.id_cred.encoded_len() + proof + Eads::encoded_len(self.eads)
    }

    /// Fills `out`, of exactly [`Self::len`] bytes, with signature or MAC made over the rest.
    pub(crate) fn write(
        &self,
        prk: &Hash,
        label: u32,
        th: &Hash,
        cred: &[u8],
        key: &AuthKey<'_>,
        out: &mut [u8],
    ) -> Result<(), Error> {
        let room = self.proof.len();
        let mut writer = Writer::new(out);
        if let Some(c_r) = &self.c_r {
            c_r.write(&mut writer)?;
        }
        self.id_cred.write(&mut writer)?;
        writer.bytes([0; SIGNATURE_LEN].get(..room).ok_or(Error::TooLong)?)?;
        let end = writer.len();
        Eads::write(self.eads, &mut writer)?;
        let eads = writer.as_slice().get(end..).unwrap_or(&[]);
        let context = MacContext { c_r: self.c_r, id_cred: *self.id_cred, th, cred, eads };
        let mut mac = Zeroizing::new([0; MAX_MAC]);
        let mac = mac.get_mut(..self.proof.mac_len()).ok_or(Error::TooLong)?;
        context.mac(prk, label, mac)?;
        #[cfg(feature = "signatures")]
        if self.proof.signs {
            let signature = context.with_sig_structure(mac, |parts| key.sign(self.proof.suite, parts))?;
            out.get_mut(end - room..end).ok_or(Error::BufferTooSmall)?.copy_from_slice(&signature);
            return Ok(());
        }
        let _ = key; // a static Diffie-Hellman key is in `prk` already
        out.get_mut(end - room..end).ok_or(Error::BufferTooSmall)?.copy_from_slice(mac);
        Ok(())
    }
}

/// A message that is one byte string; an error message in its place becomes [`Error::PeerError`].
pub(crate) fn lone_bytes(message: &[u8]) -> Result<&[u8], Error> {
    let mut reader = Reader::new(message);
    if reader.peek()? == Kind::Int {
        return Err(Error::PeerError(ErrorMessage::decode(message)?.code()));
    }
    let bytes = reader.bytes()?;
    reader.finish()?;
    Ok(bytes)
}

/// As [`lone_bytes`], to be decrypted where they are.
pub(crate) fn lone_bytes_mut(message: &mut [u8]) -> Result<&mut [u8], Error> {
    let at = message.len() - lone_bytes(message)?.len();
    message.get_mut(at..).ok_or(Error::Malformed)
}

/// A ciphertext at the start of another buffer, to be decrypted there.
pub(crate) fn copied<'b>(ciphertext: &[u8], buffer: &'b mut [u8]) -> Result<&'b mut [u8], Error> {
    let copy = buffer.get_mut(..ciphertext.len()).ok_or(Error::TooLong)?;
    copy.copy_from_slice(ciphertext);
    Ok(copy)
}

/// Opens a byte string of `len` bytes at the start of `out`: (length of its head, its content).
pub(crate) fn begin_bytes(out: &mut [u8], len: usize) -> Result<(usize, &mut [u8]), Error> {
    let head = Head::bytes(len);
    let head = head.as_slice();
    let (start, rest) = out.split_at_mut_checked(head.len()).ok_or(Error::BufferTooSmall)?;
    start.copy_from_slice(head);
    Ok((head.len(), rest.get_mut(..len).ok_or(Error::BufferTooSmall)?))
}
