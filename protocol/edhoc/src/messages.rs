//! What both ends share: the ephemeral key, and the plaintexts of messages 2 and 3.

use cardea_credentials::cbor::{Head, Kind, Reader, Writer};
use cardea_credentials::{Agreement as _, PublicKey, Random, SharedSecret, SoftAgreement};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::schedule::MacContext;
use crate::suite::{Hash, Suite};
use crate::{ConnId, Ead, Eads, Error, ErrorMessage, IdCred};

/// The longest MAC of any suite and method with static Diffie-Hellman.
const MAX_MAC: usize = 16;

/// A key pair for one handshake. A session takes it by value, so none is used twice.
pub struct EphemeralKey(SoftAgreement);

impl EphemeralKey {
    /// A fresh pair.
    ///
    /// # Errors
    /// [`Error::RandomUnavailable`].
    pub fn generate(random: &mut dyn Random) -> Result<Self, Error> {
        Ok(Self(SoftAgreement::generate(random)?))
    }

    /// From a big-endian scalar: for test vectors, and for hardware that draws its own.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] for zero or a value not below the group order.
    pub fn from_bytes(scalar: &[u8; 32]) -> Result<Self, Error> {
        Ok(Self(SoftAgreement::from_bytes(scalar)?))
    }

    pub(crate) fn public_x(&self) -> [u8; 32] {
        self.0.public().x()
    }

    pub(crate) fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, Error> {
        Ok(self.0.agree(peer)?)
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
    mac: &'b [u8],
}

impl<'b> Peer<'b> {
    /// Reads `( ID_CRED_x / bstr / -24..23, Signature_or_MAC_x, ? EAD_x )`.
    pub(crate) fn read(
        conn_id: ConnId,
        mut reader: Reader<'b>,
        suite: Suite,
        known_eads: &[u32],
    ) -> Result<Self, Error> {
        let id_cred = IdCred::read(&mut reader)?;
        let mac = reader.bytes()?;
        let eads = Eads::read(&mut reader, known_eads)?;
        if mac.len() != suite.mac_len() {
            return Err(Error::Authentication);
        }
        Ok(Self { conn_id, id_cred, eads, mac })
    }

    /// Compares MAC_2 or MAC_3 with what it has to be, in constant time.
    pub(crate) fn verify(
        &self,
        suite: Suite,
        prk: &Hash,
        label: u32,
        c_r: Option<ConnId>,
        th: &Hash,
        cred: &[u8],
    ) -> Result<(), Error> {
        let mut expected = Zeroizing::new([0; MAX_MAC]);
        let expected = expected.get_mut(..suite.mac_len()).ok_or(Error::Authentication)?;
        MacContext { c_r, id_cred: self.id_cred, th, cred, eads: self.eads.raw() }
            .mac(suite, prk, label, expected)?;
        if bool::from(expected.ct_eq(self.mac)) { Ok(()) } else { Err(Error::Authentication) }
    }
}

/// PLAINTEXT_2 or PLAINTEXT_3 about to be written.
pub(crate) struct Plaintext<'a> {
    pub(crate) suite: Suite,
    /// C_R in message_2, nothing in message_3.
    pub(crate) c_r: Option<ConnId>,
    pub(crate) id_cred: &'a IdCred<'a>,
    pub(crate) eads: &'a [Ead<'a>],
}

impl Plaintext<'_> {
    pub(crate) fn len(&self) -> usize {
        let c_r = self.c_r.map_or(0, |id| id.encoded_len());
        let mac = Head::bytes(self.suite.mac_len()).as_slice().len() + self.suite.mac_len();
        c_r + self.id_cred.encoded_len() + mac + Eads::encoded_len(self.eads)
    }

    /// Fills `out`, of exactly [`Self::len`] bytes, with the MAC computed over the rest.
    pub(crate) fn write(
        &self,
        prk: &Hash,
        label: u32,
        th: &Hash,
        cred: &[u8],
        out: &mut [u8],
    ) -> Result<(), Error> {
        let mac_len = self.suite.mac_len();
        let mut mac = Zeroizing::new([0; MAX_MAC]);
        let mac = mac.get_mut(..mac_len).ok_or(Error::TooLong)?;
        let mut writer = Writer::new(out);
        if let Some(c_r) = &self.c_r {
            c_r.write(&mut writer)?;
        }
        self.id_cred.write(&mut writer)?;
        writer.bytes(mac)?;
        let mac_end = writer.len();
        Eads::write(self.eads, &mut writer)?;
        let eads = writer.as_slice().get(mac_end..).unwrap_or(&[]);
        MacContext { c_r: self.c_r, id_cred: *self.id_cred, th, cred, eads }
            .mac(self.suite, prk, label, mac)?;
        out.get_mut(mac_end - mac_len..mac_end).ok_or(Error::BufferTooSmall)?.copy_from_slice(mac);
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

/// Opens a byte string of `len` bytes at the start of `out`: (length of its head, its content).
pub(crate) fn begin_bytes(out: &mut [u8], len: usize) -> Result<(usize, &mut [u8]), Error> {
    let head = Head::bytes(len);
    let head = head.as_slice();
    let (start, rest) = out.split_at_mut_checked(head.len()).ok_or(Error::BufferTooSmall)?;
    start.copy_from_slice(head);
    Ok((head.len(), rest.get_mut(..len).ok_or(Error::BufferTooSmall)?))
}
