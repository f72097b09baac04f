//! The Responder (RFC 9528 §5.2.3, §5.3.2, §5.4.3, §5.5.2).

use cardea_credentials::cbor::{Kind, Reader};

use crate::auth::{AuthKey, EphemeralKey, PeerKey, Point};
use crate::messages::{Peer, Plaintext, Proof, begin_bytes, copied, lone_bytes, lone_bytes_mut};
use crate::schedule::{Aead, Transcript, chain, hash, label, th_2, xor_keystream_2};
use crate::session::{OscoreKeys, Session};
use crate::suite::{Hash, Method, Prk, Suite, extract};
use crate::{ConnId, Ead, Eads, Error, IdCred};

/// What a Responder is made with.
#[derive(Clone, Copy, Debug)]
pub struct ResponderConfig {
    /// The suites that we accept; one for a pinned suite.
    pub suites: &'static [Suite],
    /// The methods that we accept.
    pub methods: &'static [Method],
    /// Our connection identifier.
    pub c_r: ConnId,
    /// Labels, without sign, of the EAD items that the application understands.
    pub known_eads: &'static [u32],
}

/// What a message_1 says. Nothing in it is authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Message1<'m> {
    /// The suite that was selected.
    pub suite: Suite,
    /// The method.
    pub method: Method,
    /// The Initiator's connection identifier.
    pub c_i: ConnId,
    /// EAD_1.
    pub eads: Eads<'m>,
}

/// The party that answers message_1. Calls in this order: [`handle_message_1`](Self::handle_message_1),
/// [`message_2`](Self::message_2), [`parse_message_3`](Self::parse_message_3),
/// [`verify_message_3`](Self::verify_message_3), [`message_4`](Self::message_4).
pub struct Responder {
    config: ResponderConfig,
    ephemeral: Option<EphemeralKey>,
    pub(crate) state: State,
}

pub(crate) enum State {
    Fresh,
    Received1 { suite: Suite, method: Method, c_i: ConnId, g_x: Point, h_message_1: Hash },
    Sent2 { proof: Proof, c_i: ConnId, th_3: Hash, prk_3e2m: Prk },
    Parsed3 { proof: Proof, c_i: ConnId, th_3: Hash, prk_3e2m: Prk, transcript: Transcript },
    Verified3 { c_i: ConnId, session: Session },
    Sent4 { c_i: ConnId, session: Session },
    Over,
}

impl Responder {
    /// Starts a session. Its ephemeral key is made after message_1, which says on what curve and whether at all.
    #[must_use]
    pub const fn new(config: ResponderConfig) -> Self {
        Self { config, ephemeral: None, state: State::Fresh }
    }

    /// Our connection identifier, C_R.
    #[must_use]
    pub const fn c_r(&self) -> ConnId {
        self.config.c_r
    }

    /// Takes another C_R, for an Initiator that happened to choose the same; until message_2.
    ///
    /// # Errors
    /// [`Error::WrongOrder`].
    pub const fn set_c_r(&mut self, c_r: ConnId) -> Result<(), Error> {
        match self.state {
            State::Fresh | State::Received1 { .. } => {
                self.config.c_r = c_r;
                Ok(())
            }
            _ => Err(Error::WrongOrder),
        }
    }

    /// Reads message_1, without its prefix `true`. It costs one curve check and no multiplication.
    ///
    /// # Errors
    /// [`Error::WrongOrder`] changes nothing; everything else ends the session: [`Error::WrongSuite`],
    /// [`Error::UnsupportedMethod`], [`Error::InvalidKey`], [`Error::BadIdentifier`], [`Error::CriticalEad`],
    /// [`Error::Malformed`], [`Error::NonDeterministic`], [`Error::TooLong`].
    #[inline(never)]
    pub fn handle_message_1<'m>(&mut self, message: &'m [u8]) -> Result<Message1<'m>, Error> {
        if !matches!(self.state, State::Fresh) {
            return Err(Error::WrongOrder);
        }
        let result = read_message_1(&self.config, message);
        let (message_1, g_x) = self.settle(result)?;
        let Message1 { suite, method, c_i, .. } = message_1;
        self.state = State::Received1 { suite, method, c_i, g_x, h_message_1: hash(message) };
        Ok(message_1)
    }

    /// Writes message_2 and returns its length. `ephemeral` is a fresh key of the suite that message_1 selected,
    /// `cred_r` is the whole CRED_R (CCS, untagged CWT, or X.509 certificate as a CBOR byte string), and `key` its
    /// private key. Two scalar multiplications, or three with a static Diffie-Hellman key: ask
    /// [`Admission`](crate::Admission) first.
    ///
    /// # Errors
    /// [`Error::WrongKey`] where a key does not do what METHOD and suite ask of it;
    /// [`Error::SameIdentifier`] where C_I equals our C_R ([`Self::set_c_r`] helps), [`Error::WrongOrder`],
    /// [`Error::BufferTooSmall`], [`Error::KeyUnavailable`], [`Error::TooLong`].
    #[inline(never)]
    pub fn message_2(
        &mut self,
        ephemeral: EphemeralKey,
        id_cred_r: &IdCred<'_>,
        cred_r: &[u8],
        key: &AuthKey<'_>,
        eads: &[Ead<'_>],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let State::Received1 { suite, method, c_i, g_x, h_message_1 } = &self.state else {
            return Err(Error::WrongOrder);
        };
        let (suite, c_r) = (*suite, self.config.c_r);
        if *c_i == c_r {
            return Err(Error::SameIdentifier);
        }
        if !ephemeral.fits(suite) {
            return Err(Error::WrongKey);
        }
        let proof = Proof { suite, signs: method.responder_signs() };
        let g_y = ephemeral.public_x();
        let th_2 = th_2(&g_y, h_message_1);
        let prk_2e = extract(&th_2, ephemeral.agree(g_x)?.as_bytes());
        let prk_3e2m = if proof.signs {
            prk_2e.clone()
        } else {
            chain(&prk_2e, label::SALT_3E2M, &th_2, key.agree(g_x)?.as_bytes())?
        };
        let text = Plaintext { proof, c_r: Some(c_r), id_cred: id_cred_r, eads };
        let (head, body) = begin_bytes(out, g_y.len() + text.len())?;
        let (start, plaintext) = body.split_at_mut_checked(g_y.len()).ok_or(Error::BufferTooSmall)?;
        start.copy_from_slice(&g_y);
        text.write(&prk_3e2m, label::MAC_2, &th_2, cred_r, key, plaintext)?;
        let th_3 = Transcript::new(&th_2, plaintext).finish(cred_r);
        xor_keystream_2(&prk_2e, &th_2, plaintext)?;
        let len = head + body.len();
        let proof = Proof { suite, signs: method.initiator_signs() };
        self.state = State::Sent2 { proof, c_i: *c_i, th_3, prk_3e2m };
        self.ephemeral = Some(ephemeral);
        Ok(len)
    }

    /// Decrypts message_3, without its prefix C_R, into `plaintext` (at least as long as the message) and says who
    /// it is. Look the credential up and go on with [`Self::verify_message_3`].
    ///
    /// # Errors
    /// [`Error::WrongOrder`] changes nothing. Everything else ends the session: [`Error::PeerError`],
    /// [`Error::Malformed`], [`Error::NonDeterministic`], [`Error::TooLong`], [`Error::Decryption`],
    /// [`Error::BadIdentifier`], [`Error::CriticalEad`], [`Error::UnsupportedCredential`], and
    /// [`Error::Authentication`] for a MAC of the wrong length.
    pub fn parse_message_3<'b>(
        &mut self,
        message: &[u8],
        plaintext: &'b mut [u8],
    ) -> Result<Peer<'b>, Error> {
        self.open_3(lone_bytes(message).and_then(|ciphertext| copied(ciphertext, plaintext)))
    }

    /// As [`Self::parse_message_3`], with the plaintext where its ciphertext was: for those who have no room for both.
    ///
    /// # Errors
    /// Those of [`Self::parse_message_3`].
    pub fn parse_message_3_in_place<'b>(&mut self, message: &'b mut [u8]) -> Result<Peer<'b>, Error> {
        self.open_3(lone_bytes_mut(message))
    }

    #[inline(never)]
    fn open_3<'b>(&mut self, ciphertext: Result<&'b mut [u8], Error>) -> Result<Peer<'b>, Error> {
        let State::Sent2 { proof, c_i, th_3, prk_3e2m } = &self.state else { return Err(Error::WrongOrder) };
        let (proof, c_i, th_3, prk_3e2m) = (*proof, *c_i, *th_3, prk_3e2m.clone());
        let known = self.config.known_eads;
        let result = Aead::new(proof.suite, &prk_3e2m, label::K_3, label::IV_3, &th_3)
            .and_then(|aead| aead.open(ciphertext?))
            .and_then(|text| Ok((text, Peer::read(c_i, Reader::new(text), proof, known)?)));
        let (text, peer) = self.settle(result)?;
        self.state = State::Parsed3 { proof, c_i, th_3, prk_3e2m, transcript: Transcript::new(&th_3, text) };
        Ok(peer)
    }

    /// TH_3, over which message_3's EAD may be proved; from message_2 until the verification of message_3.
    ///
    /// # Errors
    /// [`Error::WrongOrder`].
    pub const fn th_3(&self) -> Result<[u8; 32], Error> {
        match &self.state {
            State::Sent2 { th_3, .. } | State::Parsed3 { th_3, .. } => Ok(*th_3),
            _ => Err(Error::WrongOrder),
        }
    }

    /// Checks that the peer holds `key_i`, the key of `cred_i`, which is the whole CRED_I: CCS, untagged CWT, or an
    /// X.509 certificate as a CBOR byte string.
    ///
    /// # Errors
    /// [`Error::WrongOrder`]; [`Error::Authentication`] ends the session. Where `ID_CRED_I` was a `kid` with several
    /// candidates, [`Self::try_message_3`] tries one without ending it.
    pub fn verify_message_3(
        &mut self,
        peer: &Peer<'_>,
        cred_i: &[u8],
        key_i: impl Into<PeerKey>,
    ) -> Result<(), Error> {
        let result = self.try_message_3(peer, cred_i, key_i);
        self.settle(result)
    }

    /// As [`Self::verify_message_3`], but a failure leaves the session as it was.
    ///
    /// # Errors
    /// [`Error::WrongOrder`], [`Error::Authentication`].
    #[inline(never)]
    pub fn try_message_3(
        &mut self,
        peer: &Peer<'_>,
        cred_i: &[u8],
        key_i: impl Into<PeerKey>,
    ) -> Result<(), Error> {
        let key_i = key_i.into();
        let (State::Parsed3 { proof, c_i, th_3, prk_3e2m, transcript }, Some(ephemeral)) =
            (&self.state, &self.ephemeral)
        else {
            return Err(Error::WrongOrder);
        };
        let prk_4e3m = if proof.signs {
            prk_3e2m.clone()
        } else {
            if !key_i.is_on(proof.suite) {
                return Err(Error::Authentication);
            }
            let g_iy = ephemeral.agree(&key_i.point()?)?;
            chain(prk_3e2m, label::SALT_4E3M, th_3, g_iy.as_bytes())?
        };
        peer.verify(*proof, &prk_4e3m, label::MAC_3, None, th_3, cred_i, &key_i)?;
        let th_4 = transcript.clone().finish(cred_i);
        let session = Session::new(proof.suite, prk_4e3m, th_4)?;
        self.state = State::Verified3 { c_i: *c_i, session };
        self.ephemeral = None;
        Ok(())
    }

    /// TH_4, which message_4's EAD may have to prove; from the verification of message_3 on.
    ///
    /// # Errors
    /// [`Error::WrongOrder`].
    pub fn th_4(&self) -> Result<[u8; 32], Error> {
        Ok(self.session()?.1.th_4)
    }

    /// Writes message_4 and returns its length; once, for a second one under the same nonce would give the key away.
    ///
    /// # Errors
    /// [`Error::WrongOrder`], [`Error::BufferTooSmall`].
    #[inline(never)]
    pub fn message_4(&mut self, eads: &[Ead<'_>], out: &mut [u8]) -> Result<usize, Error> {
        let State::Verified3 { session, .. } = &self.state else { return Err(Error::WrongOrder) };
        let (head, body) = begin_bytes(out, Eads::encoded_len(eads) + session.suite.tag_len())?;
        Eads::write(eads, &mut cardea_credentials::cbor::Writer::new(body))?;
        session.aead_4()?.seal(body)?;
        let len = head + body.len();
        if let State::Verified3 { c_i, session } = core::mem::replace(&mut self.state, State::Over) {
            self.state = State::Sent4 { c_i, session };
        }
        Ok(len)
    }

    /// EDHOC_Exporter (RFC 9528 §4.2.1); from the verification of message_3 on.
    ///
    /// # Errors
    /// [`Error::WrongOrder`]; [`Error::TooLong`] beyond 8,160 bytes.
    pub fn export(&self, label: u32, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        self.session()?.1.export(label, context, out)
    }

    /// Input for the OSCORE context (RFC 9528 A.1): our Sender ID is C_I; from the verification of message_3 on.
    ///
    /// # Errors
    /// [`Error::WrongOrder`].
    pub fn oscore(&self) -> Result<OscoreKeys, Error> {
        let (c_i, session) = self.session()?;
        session.oscore(c_i, self.config.c_r)
    }

    /// EDHOC_KeyUpdate (RFC 9528 appendix H): new exporter keys from both sides' agreed `context`; after message_4.
    ///
    /// # Errors
    /// [`Error::WrongOrder`].
    pub fn key_update(&mut self, context: &[u8]) -> Result<(), Error> {
        match &mut self.state {
            State::Sent4 { session, .. } => session.key_update(context),
            _ => Err(Error::WrongOrder),
        }
    }

    pub(crate) const fn session(&self) -> Result<(ConnId, &Session), Error> {
        match &self.state {
            State::Verified3 { c_i, session } | State::Sent4 { c_i, session } => Ok((*c_i, session)),
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

fn read_message_1<'m>(config: &ResponderConfig, message: &'m [u8]) -> Result<(Message1<'m>, Point), Error> {
    let mut reader = Reader::new(message);
    // CDDL allows any int; nobody registers one beyond 32 bits, and none may wrap to a small one.
    let method = i32::try_from(reader.int()?).map_err(|_| Error::Malformed)?;
    let suite = read_suites(config, &mut reader)?;
    let method = Method::from_number(i64::from(method))
        .filter(|method| config.methods.contains(method))
        .ok_or(Error::UnsupportedMethod)?;
    let g_x =
        reader.bytes()?.try_into().map_err(|_| Error::InvalidKey).and_then(|x| Point::read(suite, x))?;
    let c_i = ConnId::read(&mut reader)?;
    let eads = Eads::read(&mut reader, config.known_eads)?;
    Ok((Message1 { suite, method, c_i, eads }, g_x))
}

/// SUITES_I: the selected suite is the last, and must be the first of the list that we accept (§5.2.3).
fn read_suites(config: &ResponderConfig, reader: &mut Reader<'_>) -> Result<Suite, Error> {
    let count = match reader.peek()? {
        Kind::Array => match reader.array()? {
            0 | 1 => return Err(Error::Malformed), // RFC 9529 §4.1.3: a lone suite stands without its array
            many => many,
        },
        _ => 1,
    };
    let mut accepted = None;
    for index in 1..=count {
        let suite = Suite::from_number(reader.int()?).filter(|suite| config.suites.contains(suite));
        if suite.is_some() && accepted.is_none() {
            accepted = suite.map(|suite| (index, suite));
        }
    }
    match accepted {
        Some((index, suite)) if index == count => Ok(suite),
        _ => Err(Error::WrongSuite),
    }
}
