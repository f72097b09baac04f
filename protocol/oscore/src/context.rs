use cardea_cbor::Writer;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::coap::Message;
use crate::option::{MAX_ENCODED as MAX_OPTION, MAX_ID_CONTEXT, OscoreOption, partial_iv_bytes};
use crate::{Algorithm, Error, MAX_PARTIAL_IV, transform};

/// A sender or recipient id: up to 7 bytes (6 with ChaCha20/Poly1305), possibly none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Id(heapless::Vec<u8, 7>);

impl Id {
    /// # Errors
    /// [`Error::IdTooLong`].
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        heapless::Vec::from_slice(bytes).map(Self).map_err(|_| Error::IdTooLong)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Ties a response to its request: the `kid` and sequence number of the request enter the encryption of both
/// (RFC 8613 section 5.4).
#[derive(Debug, PartialEq, Eq)]
pub struct Binding {
    kid: Id,
    partial_iv: u64,
    /// A response without a Partial IV is encrypted with the nonce of the request; a second one must not be.
    nonce_spent: bool,
}

impl Binding {
    /// A binding from its parts, for a client that stored which request it waits for. A server keeps the one it got
    /// from [`Context::unprotect_request`]: a restored one does not know whether a response was already sent, so it
    /// answers only with a Partial IV of its own.
    ///
    /// # Errors
    /// [`Error::IdTooLong`], [`Error::SequenceExhausted`].
    pub fn restore(kid: &[u8], partial_iv: u64) -> Result<Self, Error> {
        Ok(Self { kid: Id::new(kid)?, partial_iv: checked(partial_iv)?, nonce_spent: true })
    }

    /// Sender id of the client.
    pub fn kid(&self) -> &[u8] {
        self.kid.as_bytes()
    }

    /// Sequence number of the request. This is what the replay guard is asked about.
    pub fn partial_iv(&self) -> u64 {
        self.partial_iv
    }
}

/// A security context (RFC 8613 section 3): the keys of both directions and who is who.
///
/// Has no `Debug`; keys are overwritten when it is dropped.
pub struct Context {
    algorithm: Algorithm,
    sender_key: Zeroizing<[u8; Algorithm::MAX_KEY]>,
    recipient_key: Zeroizing<[u8; Algorithm::MAX_KEY]>,
    common_iv: Zeroizing<[u8; Algorithm::MAX_NONCE]>,
    sender_id: Id,
    recipient_id: Id,
    id_context: Option<heapless::Vec<u8, MAX_ID_CONTEXT>>,
    sends_id_context: bool,
    failed_tags: u32,
}

impl Context {
    /// After this many messages with a wrong tag the context is retired (limit of an 8-byte tag, see
    /// draft-irtf-cfrg-aead-limits; with 2^16 tries a forgery succeeds with a chance of 2^-48).
    pub const MAX_FAILED_TAGS: u32 = 1 << 16;

    /// What protection adds at most to a message without class U options and Observe, in bytes: the OSCORE option with
    /// its head, the payload marker, the inner code, the tag.
    pub const MAX_OVERHEAD: usize = 2 + MAX_OPTION + 2 + 16;

    /// Derives a context (RFC 8613 section 3.2) with HKDF-SHA-256. `salt` may be empty. With an `id_context` requests
    /// carry it as kid context, unless [`Self::without_kid_context`].
    ///
    /// After EDHOC (RFC 9528 appendix A.1) the initiator's sender id is C_R and its recipient id is C_I; the
    /// responder's are the other way round.
    ///
    /// # Errors
    /// [`Error::IdTooLong`], [`Error::IdsEqual`], [`Error::InvalidState`] for an empty secret.
    pub fn derive(
        algorithm: Algorithm,
        secret: &[u8],
        salt: &[u8],
        id_context: Option<&[u8]>,
        sender_id: &[u8],
        recipient_id: &[u8],
    ) -> Result<Self, Error> {
        if secret.is_empty() {
            return Err(Error::InvalidState);
        }
        if sender_id == recipient_id {
            return Err(Error::IdsEqual);
        }
        if sender_id.len().max(recipient_id.len()) > algorithm.max_id_len() {
            return Err(Error::IdTooLong);
        }
        let id_context_bytes =
            id_context.map(heapless::Vec::from_slice).transpose().map_err(|_| Error::IdTooLong)?;
        let derivation = Derivation { hkdf: Hkdf::new(Some(salt), secret), algorithm, id_context };
        let mut context = Self {
            algorithm,
            sender_key: Zeroizing::default(),
            recipient_key: Zeroizing::default(),
            common_iv: Zeroizing::default(),
            sender_id: Id::new(sender_id)?,
            recipient_id: Id::new(recipient_id)?,
            sends_id_context: id_context_bytes.is_some(),
            id_context: id_context_bytes,
            failed_tags: 0,
        };
        derivation.expand(sender_id, "Key", algorithm.key_len(), &mut *context.sender_key)?;
        derivation.expand(recipient_id, "Key", algorithm.key_len(), &mut *context.recipient_key)?;
        derivation.expand(&[], "IV", algorithm.nonce_len(), &mut *context.common_iv)?;
        Ok(context)
    }

    /// Requests leave the ID context out; both sides know it anyway.
    #[must_use]
    pub fn without_kid_context(mut self) -> Self {
        self.sends_id_context = false;
        self
    }

    /// Takes over the count of wrong tags that was stored with this context.
    #[must_use]
    pub fn with_failed_tags(mut self, failed_tags: u32) -> Self {
        self.failed_tags = failed_tags;
        self
    }

    /// How many messages with a wrong tag this context has seen; to be stored with it.
    pub fn failed_tags(&self) -> u32 {
        self.failed_tags
    }

    /// Whether [`Self::MAX_FAILED_TAGS`] is reached; every operation then fails with [`Error::Retired`].
    pub fn is_retired(&self) -> bool {
        self.failed_tags >= Self::MAX_FAILED_TAGS
    }

    /// The AEAD algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Our id.
    pub fn sender_id(&self) -> &[u8] {
        self.sender_id.as_bytes()
    }

    /// The peer's id.
    pub fn recipient_id(&self) -> &[u8] {
        self.recipient_id.as_bytes()
    }

    /// The ID context, if any.
    pub fn id_context(&self) -> Option<&[u8]> {
        self.id_context.as_deref()
    }

    /// Whether a request with this OSCORE option is meant for this context, as far as the clear bytes tell.
    pub fn matches(&self, option: &OscoreOption<'_>) -> bool {
        option.kid == Some(self.recipient_id()) && self.kid_context_matches(option)
    }

    /// Protects a request (RFC 8613 section 8.1). `partial_iv` comes from
    /// [`SenderSequence::take`](crate::SenderSequence::take) and must never be used twice. `out` needs
    /// [`Self::MAX_OVERHEAD`] bytes more than `coap`.
    ///
    /// # Errors
    /// [`Error::NotProtectable`] when `coap` is no request, the `Coap…` variants, [`Error::BufferTooSmall`],
    /// [`Error::SequenceExhausted`], [`Error::Retired`].
    pub fn protect_request(
        &self,
        partial_iv: u64,
        coap: &[u8],
        out: &mut [u8],
    ) -> Result<(usize, Binding), Error> {
        let message = Message::parse(coap)?;
        if !message.code().is_request() {
            return Err(Error::NotProtectable);
        }
        let binding =
            Binding { kid: self.sender_id.clone(), partial_iv: checked(partial_iv)?, nonce_spent: true };
        let option = OscoreOption {
            partial_iv: Some(partial_iv),
            kid_context: self.id_context().filter(|_| self.sends_id_context),
            kid: Some(self.sender_id()),
        };
        let nonce = self.nonce(&self.sender_id, partial_iv);
        let len = self.protect(&message, &option, &nonce, &binding, out)?;
        Ok((len, binding))
    }

    /// Unprotects a request (RFC 8613 section 8.2, but for the replay window: ask a
    /// [`ReplayGuard`](crate::ReplayGuard) about [`Binding::partial_iv`] before acting on it). `out` must be at least
    /// as long as `message`; on error it holds no plaintext.
    ///
    /// # Errors
    /// [`Error::UnknownContext`] when the request names another context, [`Error::Decrypt`], [`Error::Retired`] and
    /// every other variant that blames the peer.
    pub fn unprotect_request(&mut self, message: &[u8], out: &mut [u8]) -> Result<(usize, Binding), Error> {
        let outer = Message::parse(message)?;
        let option = OscoreOption::of(&outer)?;
        if !outer.code().is_request() {
            return Err(Error::CoapCode);
        }
        let partial_iv = option.partial_iv.ok_or(Error::OscoreOption)?;
        if !self.matches(&option) {
            return Err(Error::UnknownContext);
        }
        let binding = Binding { kid: self.recipient_id.clone(), partial_iv, nonce_spent: false };
        let nonce = self.nonce(&self.recipient_id, partial_iv);
        let len = self.unprotect(&outer, message.len(), true, &nonce, &binding, out)?;
        Ok((len, binding))
    }

    /// Protects a response (RFC 8613 section 8.3). Without `own_partial_iv` it borrows the nonce of the request, once.
    /// With it, it takes a number of this side's own sender sequence: needed for every further response to the same
    /// request, and for a response to a request that may be a replay, such as an Echo challenge after a restart.
    ///
    /// # Errors
    /// [`Error::WrongBinding`] when the request was not one to this context or its nonce is spent;
    /// otherwise as [`Self::protect_request`].
    pub fn protect_response(
        &self,
        binding: &mut Binding,
        own_partial_iv: Option<u64>,
        coap: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let message = Message::parse(coap)?;
        if !message.code().is_response() {
            return Err(Error::NotProtectable);
        }
        if binding.kid != self.recipient_id || (own_partial_iv.is_none() && binding.nonce_spent) {
            return Err(Error::WrongBinding);
        }
        let nonce = match own_partial_iv {
            Some(number) => self.nonce(&self.sender_id, checked(number)?),
            None => self.nonce(&self.recipient_id, binding.partial_iv),
        };
        let option = OscoreOption { partial_iv: own_partial_iv, ..OscoreOption::default() };
        let len = self.protect(&message, &option, &nonce, binding, out)?;
        binding.nonce_spent |= own_partial_iv.is_none();
        Ok(len)
    }

    /// Unprotects the response to the request of `binding` (RFC 8613 section 8.4). Returns the response's own Partial
    /// IV if it has one. The caller forgets the binding with the first authentic response. `out` must be at least as
    /// long as `message`; on error it holds no plaintext.
    ///
    /// # Errors
    /// As [`Self::unprotect_request`]; [`Error::WrongBinding`] when the request was not sent by this context.
    pub fn unprotect_response(
        &mut self,
        binding: &Binding,
        message: &[u8],
        out: &mut [u8],
    ) -> Result<(usize, Option<u64>), Error> {
        if binding.kid != self.sender_id {
            return Err(Error::WrongBinding);
        }
        let outer = Message::parse(message)?;
        let option = OscoreOption::of(&outer)?;
        if !outer.code().is_response() {
            return Err(Error::CoapCode);
        }
        if option.kid.is_some_and(|kid| kid != self.recipient_id()) || !self.kid_context_matches(&option) {
            return Err(Error::UnknownContext);
        }
        let nonce = match option.partial_iv {
            Some(number) => self.nonce(&self.recipient_id, number),
            None => self.nonce(&self.sender_id, binding.partial_iv),
        };
        let len = self.unprotect(&outer, message.len(), false, &nonce, binding, out)?;
        Ok((len, option.partial_iv))
    }

    fn kid_context_matches(&self, option: &OscoreOption<'_>) -> bool {
        option.kid_context.is_none() || option.kid_context == self.id_context()
    }

    fn protect(
        &self,
        message: &Message<'_>,
        option: &OscoreOption<'_>,
        nonce: &Nonce,
        binding: &Binding,
        out: &mut [u8],
    ) -> Result<usize, Error> {
        if self.is_retired() {
            return Err(Error::Retired);
        }
        let aad = self.aad(binding)?;
        let parts = transform::assemble(message, &option.encode()?, self.algorithm.tag_len(), out)?;
        let ciphertext = out.get_mut(parts.plaintext_at..parts.len).ok_or(Error::BufferTooSmall)?;
        self.algorithm
            .seal(self.key(&self.sender_key), self.iv(nonce), &aad, ciphertext)
            .inspect_err(|_| out.zeroize())?;
        Ok(parts.len)
    }

    /// Decrypts at the end of `out` and puts the message together at its start.
    fn unprotect(
        &mut self,
        outer: &Message<'_>,
        outer_len: usize,
        is_request: bool,
        nonce: &Nonce,
        binding: &Binding,
        out: &mut [u8],
    ) -> Result<usize, Error> {
        if self.is_retired() {
            return Err(Error::Retired);
        }
        let ciphertext = outer.payload();
        let tag_len = self.algorithm.tag_len();
        if ciphertext.len() <= tag_len {
            return Err(Error::Ciphertext);
        }
        if out.len() < outer_len {
            return Err(Error::BufferTooSmall);
        }
        let aad = self.aad(binding)?;
        let start = out.len() - ciphertext.len();
        let end = out.len() - tag_len;
        let text = out.get_mut(start..).ok_or(Error::BufferTooSmall)?;
        text.copy_from_slice(ciphertext);
        if let Err(error) = self.algorithm.open(self.key(&self.recipient_key), self.iv(nonce), &aad, text) {
            self.failed_tags = self.failed_tags.saturating_add(u32::from(error == Error::Decrypt));
            return Err(error);
        }
        transform::reassemble(outer, is_request, out, start..end).inspect_err(|_| out.zeroize())
    }

    /// RFC 8613 section 5.2: length and bytes of the id, the Partial IV, exclusive-or the common IV.
    fn nonce(&self, id: &Id, partial_iv: u64) -> Nonce {
        let mut nonce = [0; Algorithm::MAX_NONCE];
        let len = self.algorithm.nonce_len();
        let id = id.as_bytes();
        let id_len = id.len().to_le_bytes()[0];
        let right_aligned =
            partial_iv.to_be_bytes().into_iter().rev().take(5).chain(id.iter().rev().copied());
        if let Some(bytes) = nonce.get_mut(..len) {
            bytes.iter_mut().rev().zip(right_aligned).for_each(|(byte, value)| *byte = value);
        }
        nonce[0] = id_len;
        nonce.iter_mut().zip(self.common_iv.iter()).for_each(|(byte, iv)| *byte ^= iv);
        nonce
    }

    /// The Enc_structure around the external_aad (RFC 8613 section 5.4), which holds no class I options because none
    /// are defined.
    fn aad(&self, binding: &Binding) -> Result<heapless::Vec<u8, MAX_AAD>, Error> {
        let mut external = [0; MAX_AAD];
        let mut writer = Writer::new(&mut external);
        writer.array(5)?.int(1)?.array(1)?.int(self.algorithm.number().into())?;
        writer.bytes(binding.kid())?.bytes(&partial_iv_bytes(binding.partial_iv))?.bytes(&[])?;
        let mut structure = heapless::Vec::new();
        structure.resize_default(MAX_AAD).map_err(|_| Error::InvalidState)?;
        let mut outer = Writer::new(&mut structure);
        outer.array(3)?.text("Encrypt0")?.bytes(&[])?.bytes(writer.as_slice())?;
        let len = outer.len();
        structure.truncate(len);
        Ok(structure)
    }

    fn key<'k>(&self, key: &'k Zeroizing<[u8; Algorithm::MAX_KEY]>) -> &'k [u8] {
        key.get(..self.algorithm.key_len()).unwrap_or_default()
    }

    fn iv<'n>(&self, nonce: &'n Nonce) -> &'n [u8] {
        nonce.get(..self.algorithm.nonce_len()).unwrap_or_default()
    }
}

type Nonce = [u8; Algorithm::MAX_NONCE];

/// 12 bytes of Enc_structure, one byte string head, 6 + 8 + 6 + 1 bytes of external_aad; rounded up.
const MAX_AAD: usize = 40;

/// RFC 8613 section 3.2.1.
struct Derivation<'a> {
    hkdf: Hkdf<Sha256>,
    algorithm: Algorithm,
    id_context: Option<&'a [u8]>,
}

impl Derivation<'_> {
    fn expand(&self, id: &[u8], kind: &str, len: usize, out: &mut [u8]) -> Result<(), Error> {
        let mut info = [0; 48];
        let mut writer = Writer::new(&mut info);
        writer.array(5)?.bytes(id)?;
        match self.id_context {
            Some(context) => writer.bytes(context)?,
            None => writer.null()?,
        };
        writer.int(self.algorithm.number().into())?.text(kind)?.int(len as i64)?;
        let info = writer.as_slice();
        let out = out.get_mut(..len).ok_or(Error::InvalidState)?;
        self.hkdf.expand(info, out).map_err(|_| Error::InvalidState)
    }
}

/// The buffers here fit whatever goes into them.
impl From<cardea_cbor::Error> for Error {
    fn from(_: cardea_cbor::Error) -> Self {
        Self::InvalidState
    }
}

fn checked(partial_iv: u64) -> Result<u64, Error> {
    if partial_iv <= MAX_PARTIAL_IV { Ok(partial_iv) } else { Err(Error::SequenceExhausted) }
}
