//! The Initiator (RFC 9528 §5.2.2, §5.3.3, §5.4.2, §5.5.3).

use cardea_credentials::SharedSecret;
use cardea_credentials::cbor::{Reader, Writer};

use crate::auth::{AuthKey, EphemeralKey, PeerKey, Point};
use crate::messages::{Peer, Plaintext, Proof, begin_bytes, copied, lone_bytes, lone_bytes_mut};
use crate::schedule::{Aead, Transcript, chain, hash, label, th_2, xor_keystream_2};
use crate::session::{OscoreKeys, Session};
use crate::suite::{Hash, Method, Prk, Suite, extract};
use crate::{ConnId, Ead, Eads, Error, IdCred};

/// What an Initiator is made with.
#[derive(Clone, Copy, Debug)]
pub struct InitiatorConfig {
    /// The selected suite, the last of SUITES_I.
    pub suite: Suite,
    /// Suites that we would prefer and that this Responder has refused, in the order of our preference; they stand
    /// in SUITES_I before the selected one (RFC 9528 §6.3.1). Empty for a pinned suite.
    pub refused_suites: &'static [i8],
    /// The method.
    pub method: Method,
    /// Our connection identifier.
    pub c_i: ConnId,
    /// Labels, without sign, of the EAD items that the application understands.
    pub known_eads: &'static [u32],
}

impl InitiatorConfig {
    const fn initiator(&self) -> Proof {
        Proof { suite: self.suite, signs: self.method.initiator_signs() }
    }

    const fn responder(&self) -> Proof {
        Proof { suite: self.suite, signs: self.method.responder_signs() }
    }
}

/// The party that sends message_1. Calls in this order: [`message_1`](Self::message_1),
/// [`parse_message_2`](Self::parse_message_2), [`verify_message_2`](Self::verify_message_2),
/// [`message_3`](Self::message_3), [`handle_message_4`](Self::handle_message_4).
pub struct Initiator {
    config: InitiatorConfig,
    ephemeral: Option<EphemeralKey>,
    pub(crate) state: State,
}

pub(crate) enum State {
    Fresh,
    Sent1 { h_message_1: Hash },
    Parsed2 { g_y: Point, c_r: ConnId, th_2: Hash, prk_2e: Prk, transcript: Transcript },
    Verified2 { g_y: Point, c_r: ConnId, th_3: Hash, prk_3e2m: Prk },
    Sent3 { c_r: ConnId, session: Session },
    Confirmed { c_r: ConnId, session: Session },
    Over,
}

impl Initiator {
    /// Starts a session with a fresh ephemeral key.
    #[must_use]
    pub const fn new(config: InitiatorConfig, ephemeral: EphemeralKey) -> Self {
        Self { config, ephemeral: Some(ephemeral), state: State::Fresh }
    }

    /// Our connection identifier, C_I.
    #[must_use]
    pub const fn c_i(&self) -> ConnId {
        self.config.c_i
    }

    /// Writes message_1 and returns its length.
    ///
    /// # Errors
    /// [`Error::WrongOrder`], [`Error::BufferTooSmall`]; [`Error::WrongKey`] for an ephemeral key of another suite's
    /// curve.
    pub fn message_1(&mut self, eads: &[Ead<'_>], out: &mut [u8]) -> Result<usize, Error> {
        let (State::Fresh, Some(ephemeral)) = (&self.state, &self.ephemeral) else {
            return Err(Error::WrongOrder);
        };
        if !ephemeral.fits(self.config.suite) {
            return Err(Error::WrongKey);
        }
        let mut writer = Writer::new(out);
        writer.int(i64::from(self.config.method.number()))?;
        if !self.config.refused_suites.is_empty() {
            writer.array(self.config.refused_suites.len() + 1)?;
            for suite in self.config.refused_suites {
                writer.int(i64::from(*suite))?;
            }
        }
        writer.int(i64::from(self.config.suite.number()))?.bytes(&ephemeral.public_x())?;
        self.config.c_i.write(&mut writer)?;
        Eads::write(eads, &mut writer)?;
        self.state = State::Sent1 { h_message_1: hash(writer.as_slice()) };
        Ok(writer.len())
    }

    /// Decrypts message_2 into `plaintext` (at least as long as the message) and says who answers. Look the
    /// credential up and go on with [`Self::verify_message_2`].
    ///
    /// # Errors
    /// [`Error::WrongOrder`] changes nothing. Everything else ends the session: [`Error::PeerError`],
    /// [`Error::Malformed`], [`Error::NonDeterministic`], [`Error::TooLong`], [`Error::InvalidKey`],
    /// [`Error::BadIdentifier`], [`Error::SameIdentifier`], [`Error::CriticalEad`],
    /// [`Error::UnsupportedCredential`], and [`Error::Authentication`] for a MAC of the wrong length.
    pub fn parse_message_2<'b>(
        &mut self,
        message: &[u8],
        plaintext: &'b mut [u8],
    ) -> Result<Peer<'b>, Error> {
        let result = match &self.agree_2(message) {
            Ok(agreed) => split_2(message)
                .and_then(|(_, ciphertext)| copied(ciphertext, plaintext))
                .and_then(|text| self.decrypt_2(agreed, text)),
            Err(error) => Err(*error),
        };
        self.settle(result)
    }

    /// As [`Self::parse_message_2`], with the plaintext where its ciphertext was: for those who have no room for both.
    ///
    /// # Errors
    /// Those of [`Self::parse_message_2`].
    #[inline(never)] // so that little of it lies below what the caller does next
    pub fn parse_message_2_in_place<'b>(&mut self, message: &'b mut [u8]) -> Result<Peer<'b>, Error> {
        let result = match &self.agree_2(message) {
            Ok(agreed) => ciphertext_2_mut(message).and_then(|text| self.decrypt_2(agreed, text)),
            Err(error) => Err(*error),
        };
        self.settle(result)
    }

    /// What G_Y gives; by itself, so that little else is on the stack below the arithmetic.
    #[inline(never)]
    fn agree_2(&self, message: &[u8]) -> Result<Agreed, Error> {
        let (State::Sent1 { .. }, Some(ephemeral)) = (&self.state, &self.ephemeral) else {
            return Err(Error::WrongOrder);
        };
        let (x, _) = split_2(message)?;
        let g_y = Point::read(self.config.suite, x);
        let g_y = g_y.as_ref().map_err(|error| *error)?;
        Ok(Agreed { x: *x, g_y: *g_y, g_xy: ephemeral.agree(g_y)? })
    }

    #[inline(never)]
    fn decrypt_2<'b>(&mut self, agreed: &Agreed, text: &'b mut [u8]) -> Result<Peer<'b>, Error> {
        let State::Sent1 { h_message_1 } = &self.state else { return Err(Error::WrongOrder) };
        let Agreed { x, g_y, g_xy } = agreed;
        let th_2 = th_2(x, h_message_1);
        let prk_2e = extract(&th_2, g_xy.as_bytes());
        xor_keystream_2(&prk_2e, &th_2, text)?;
        let text: &'b [u8] = text;
        let mut reader = Reader::new(text);
        let c_r = ConnId::read(&mut reader)?;
        let peer = Peer::read(c_r, reader, self.config.responder(), self.config.known_eads)?;
        if c_r == self.config.c_i {
            return Err(Error::SameIdentifier);
        }
        let transcript = Transcript::new(&th_2, text);
        self.state = State::Parsed2 { g_y: *g_y, c_r, th_2, prk_2e, transcript };
        Ok(peer)
    }

    /// Checks that the peer holds `key_r`, the key of `cred_r`, which is the whole CRED_R: CCS, untagged CWT, or an
    /// X.509 certificate as a CBOR byte string.
    ///
    /// # Errors
    /// [`Error::WrongOrder`]; [`Error::Authentication`] ends the session. Where `ID_CRED_R` was a `kid` with several
    /// candidates, [`Self::try_message_2`] tries one without ending it.
    pub fn verify_message_2(
        &mut self,
        peer: &Peer<'_>,
        cred_r: &[u8],
        key_r: impl Into<PeerKey>,
    ) -> Result<(), Error> {
        let result = self.try_message_2(peer, cred_r, key_r);
        self.settle(result)
    }

    /// As [`Self::verify_message_2`], but a failure leaves the session as it was.
    ///
    /// # Errors
    /// [`Error::WrongOrder`], [`Error::Authentication`].
    #[inline(never)]
    pub fn try_message_2(
        &mut self,
        peer: &Peer<'_>,
        cred_r: &[u8],
        key_r: impl Into<PeerKey>,
    ) -> Result<(), Error> {
        let key_r = key_r.into();
        let prk_3e2m = self.prk_3e2m(&key_r)?;
        self.prove_2(peer, cred_r, &key_r, prk_3e2m)
    }

    /// From here to [`Self::prove_2`], two steps: what the one needs is not on the stack below the other.
    #[inline(never)]
    fn prk_3e2m(&self, key_r: &PeerKey) -> Result<Prk, Error> {
        let (State::Parsed2 { th_2, prk_2e, .. }, Some(ephemeral)) = (&self.state, &self.ephemeral) else {
            return Err(Error::WrongOrder);
        };
        let proof = self.config.responder();
        if proof.signs {
            return Ok(prk_2e.clone());
        }
        if !key_r.is_on(proof.suite) {
            return Err(Error::Authentication);
        }
        let g_rx = ephemeral.agree(&key_r.point()?)?;
        chain(prk_2e, label::SALT_3E2M, th_2, g_rx.as_bytes())
    }

    #[inline(never)]
    fn prove_2(
        &mut self,
        peer: &Peer<'_>,
        cred_r: &[u8],
        key_r: &PeerKey,
        prk_3e2m: Prk,
    ) -> Result<(), Error> {
        let State::Parsed2 { g_y, c_r, th_2, transcript, .. } = &self.state else {
            return Err(Error::WrongOrder);
        };
        let proof = self.config.responder();
        peer.verify(proof, &prk_3e2m, label::MAC_2, Some(*c_r), th_2, cred_r, key_r)?;
        let th_3 = transcript.clone().finish(cred_r);
        self.state = State::Verified2 { g_y: *g_y, c_r: *c_r, th_3, prk_3e2m };
        self.ephemeral = None;
        Ok(())
    }

    /// TH_3, which message_3's EAD may have to prove; from the verification of message_2 until message_3.
    ///
    /// # Errors
    /// [`Error::WrongOrder`].
    pub const fn th_3(&self) -> Result<[u8; 32], Error> {
        match &self.state {
            State::Verified2 { th_3, .. } => Ok(*th_3),
            _ => Err(Error::WrongOrder),
        }
    }

    /// Writes message_3 and returns its length. `cred_i` is the whole CRED_I, and `key` its private key.
    ///
    /// # Errors
    /// [`Error::WrongOrder`], [`Error::BufferTooSmall`], [`Error::KeyUnavailable`], [`Error::TooLong`];
    /// [`Error::WrongKey`] where `key` does not do what METHOD and suite ask of it.
    pub fn message_3(
        &mut self,
        id_cred_i: &IdCred<'_>,
        cred_i: &[u8],
        key: &AuthKey<'_>,
        eads: &[Ead<'_>],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let State::Verified2 { g_y, c_r, th_3, prk_3e2m } = &self.state else {
            return Err(Error::WrongOrder);
        };
        let suite = self.config.suite;
        let proof = self.config.initiator();
        let prk_4e3m = if proof.signs {
            prk_3e2m.clone()
        } else {
            chain(prk_3e2m, label::SALT_4E3M, th_3, key.agree(g_y)?.as_bytes())?
        };
        let text = Plaintext { proof, c_r: None, id_cred: id_cred_i, eads };
        let text_len = text.len();
        let (head, body) = begin_bytes(out, text_len + suite.tag_len())?;
        let (plaintext, _) = body.split_at_mut_checked(text_len).ok_or(Error::BufferTooSmall)?;
        text.write(&prk_4e3m, label::MAC_3, th_3, cred_i, key, plaintext)?;
        let th_4 = Transcript::new(th_3, plaintext).finish(cred_i);
        Aead::new(suite, prk_3e2m, label::K_3, label::IV_3, th_3)?.seal(body)?;
        let len = head + body.len();
        let session = Session::new(suite, prk_4e3m, th_4)?;
        self.state = State::Sent3 { c_r: *c_r, session };
        Ok(len)
    }

    /// TH_4, over which message_4's EAD may be proved; from message_3 on.
    ///
    /// # Errors
    /// [`Error::WrongOrder`].
    pub fn th_4(&self) -> Result<[u8; 32], Error> {
        Ok(self.session()?.1.th_4)
    }

    /// Decrypts message_4 into `plaintext` (at least as long as the message) and returns its EAD items. The
    /// Responder has now proved that it holds the session's keys.
    ///
    /// # Errors
    /// [`Error::WrongOrder`] changes nothing; everything else ends the session: [`Error::PeerError`],
    /// [`Error::Malformed`], [`Error::Decryption`], [`Error::CriticalEad`], [`Error::TooLong`].
    pub fn handle_message_4<'b>(
        &mut self,
        message: &[u8],
        plaintext: &'b mut [u8],
    ) -> Result<Eads<'b>, Error> {
        self.open_4(lone_bytes(message).and_then(|ciphertext| copied(ciphertext, plaintext)))
    }

    /// As [`Self::handle_message_4`], with the plaintext where its ciphertext was.
    ///
    /// # Errors
    /// Those of [`Self::handle_message_4`].
    pub fn handle_message_4_in_place<'b>(&mut self, message: &'b mut [u8]) -> Result<Eads<'b>, Error> {
        self.open_4(lone_bytes_mut(message))
    }

    #[inline(never)]
    fn open_4<'b>(&mut self, ciphertext: Result<&'b mut [u8], Error>) -> Result<Eads<'b>, Error> {
        let State::Sent3 { session, .. } = &self.state else { return Err(Error::WrongOrder) };
        let known = self.config.known_eads;
        let result = session
            .aead_4()
            .and_then(|aead| aead.open(ciphertext?))
            .and_then(|text| Eads::read(&mut Reader::new(text), known));
        let eads = self.settle(result)?;
        if let State::Sent3 { c_r, session } = core::mem::replace(&mut self.state, State::Over) {
            self.state = State::Confirmed { c_r, session };
        }
        Ok(eads)
    }

    /// Whether message_4 has confirmed the keys. Without it they must not be kept before the peer has proved them
    /// otherwise, by an OSCORE message (RFC 9528 §5.4.2).
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        matches!(self.state, State::Confirmed { .. })
    }

    /// EDHOC_Exporter (RFC 9528 §4.2.1); from message_3 on.
    ///
    /// # Errors
    /// [`Error::WrongOrder`]; [`Error::TooLong`] beyond 8,160 bytes.
    pub fn export(&self, label: u32, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        self.session()?.1.export(label, context, out)
    }

    /// Input for the OSCORE context (RFC 9528 A.1): our Sender ID is C_R; from message_3 on.
    ///
    /// # Errors
    /// [`Error::WrongOrder`].
    pub fn oscore(&self) -> Result<OscoreKeys, Error> {
        let (c_r, session) = self.session()?;
        session.oscore(c_r, self.config.c_i)
    }

    /// EDHOC_KeyUpdate (RFC 9528 appendix H): new exporter keys from both sides' agreed `context`; after message_4.
    ///
    /// # Errors
    /// [`Error::WrongOrder`].
    pub fn key_update(&mut self, context: &[u8]) -> Result<(), Error> {
        match &mut self.state {
            State::Confirmed { session, .. } => session.key_update(context),
            _ => Err(Error::WrongOrder),
        }
    }

    pub(crate) const fn session(&self) -> Result<(ConnId, &Session), Error> {
        match &self.state {
            State::Sent3 { c_r, session } | State::Confirmed { c_r, session } => Ok((*c_r, session)),
            _ => Err(Error::WrongOrder),
        }
    }

    fn settle<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if result.as_ref().is_err_and(Error::ends_session) {
            self.state = State::Over;
            self.ephemeral = None;
        }
        result
    }
}

/// What G_Y gave.
struct Agreed {
    x: [u8; 32],
    g_y: Point,
    g_xy: SharedSecret,
}

/// CIPHERTEXT_2, to be decrypted where it is.
fn ciphertext_2_mut(message: &mut [u8]) -> Result<&mut [u8], Error> {
    let at = message.len() - split_2(message)?.1.len();
    message.get_mut(at..).ok_or(Error::Malformed)
}

/// G_Y and CIPHERTEXT_2.
fn split_2(message: &[u8]) -> Result<(&[u8; 32], &[u8]), Error> {
    lone_bytes(message)?.split_first_chunk().ok_or(Error::Malformed)
}
