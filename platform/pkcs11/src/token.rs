//! One logged-in session with one token: find, check, generate, sign, derive.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use cardea_credentials::{PublicKey, SharedSecret};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error as Binding, RvError},
    mechanism::{
        Mechanism,
        elliptic_curve::{EcKdf, Ecdh1DeriveParams},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use zeroize::Zeroizing;

use crate::{Error, TokenSettings, pin::PinSource, point};

/// What a key may do. One key does one thing, as in a secure element that can only do that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Sign,
    Agree,
}

/// A logged-in session.
pub(crate) struct Token {
    session: Session,
    label: String,
}

/// What [`Token::generate`] made.
pub(crate) struct Generated {
    pub(crate) public: PublicKey,
    pub(crate) private: ObjectHandle,
    objects: [ObjectHandle; 2],
}

impl Token {
    /// Finds the token and logs in. `writable` only where keys are to be made.
    pub(crate) fn open(settings: &TokenSettings, pin: &PinSource, writable: bool) -> Result<Self, Error> {
        let module = load(&settings.module)?;
        let slot = find(&module, settings)?;
        let info = module.get_token_info(slot)?;
        if info.user_pin_locked() {
            return Err(Error::PinLocked);
        }
        let session = if writable { module.open_rw_session(slot)? } else { module.open_ro_session(slot)? };
        login(&session, pin, info.user_pin_final_try())?;
        Ok(Self { session, label: settings.token_label.clone() })
    }

    /// A key pair in the token whose private half stays there.
    pub(crate) fn generate(&self, label: &str, usage: Use) -> Result<Generated, Error> {
        if !self.private_keys(label)?.is_empty() {
            return Err(Error::KeyExists(label.into()));
        }
        let mut id = [0; 8];
        getrandom::fill(&mut id).map_err(|_| cardea_sdk::Error::Random)?;
        let name = [Attribute::Label(label.into()), Attribute::Id(id.into()), Attribute::Token(true)];
        let (signs, agrees) = (usage == Use::Sign, usage == Use::Agree);
        let public = [
            Attribute::EcParams(point::P256.into()),
            Attribute::Private(false),
            Attribute::Verify(signs),
            Attribute::Derive(agrees),
        ];
        let private = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(signs),
            Attribute::Derive(agrees),
        ];
        let (public, private) = self
            .session
            .generate_key_pair(
                &Mechanism::EccKeyPairGen,
                &[&name[..], &public].concat(),
                &[&name[..], &private].concat(),
            )
            .map_err(|e| unsupported("make a P-256 key pair", e))?;
        let objects = [public, private];
        let point = self.session.get_attributes(public, &[AttributeType::EcPoint]);
        let key = point.ok().into_iter().flatten().find_map(|attribute| match attribute {
            Attribute::EcPoint(point) => point::decode(&point),
            _ => None,
        });
        match key {
            Some(public) => Ok(Generated { public, private, objects }),
            None => {
                self.destroy(&objects);
                Err(Error::Token("the public key it made is no point on P-256".into()))
            }
        }
    }

    /// Undoes [`Self::generate`], as far as the token lets us.
    pub(crate) fn discard(&self, key: &Generated) {
        self.destroy(&key.objects);
    }

    /// Removes the key pairs of these labels, as far as the token lets us.
    pub(crate) fn remove(&self, labels: &[&str]) {
        for label in labels {
            let objects = self.session.find_objects(&[Attribute::Label((*label).into())]);
            self.destroy(&objects.unwrap_or_default());
        }
    }

    fn destroy(&self, objects: &[ObjectHandle]) {
        for object in objects {
            if let Err(error) = self.session.destroy_object(*object) {
                tracing::warn!(token = self.label, %error, "an object stays behind in the token");
            }
        }
    }

    /// The private key of this label, if it is one that never left a token.
    pub(crate) fn private_key(&self, label: &str, usage: Use) -> Result<ObjectHandle, Error> {
        let key = match self.private_keys(label)?.as_slice() {
            [one] => *one,
            [] => return Err(Error::KeyMissing { label: label.into(), token: self.label.clone() }),
            _ => return Err(Error::KeyAmbiguous(label.into())),
        };
        self.check(key, usage).map_err(|why| Error::KeyPolicy { label: label.into(), why })?;
        Ok(key)
    }

    fn private_keys(&self, label: &str) -> Result<Vec<ObjectHandle>, Error> {
        Ok(self.session.find_objects(&[
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::EC),
            Attribute::Label(label.into()),
        ])?)
    }

    /// An attribute that the token does not tell counts as the wrong one.
    fn check(&self, key: ObjectHandle, usage: Use) -> Result<(), &'static str> {
        let is = |kind| {
            let attributes = self.session.get_attributes(key, &[kind]).unwrap_or_default();
            attributes.into_iter().find_map(|attribute| match attribute {
                Attribute::Sensitive(value)
                | Attribute::Extractable(value)
                | Attribute::AlwaysSensitive(value)
                | Attribute::NeverExtractable(value)
                | Attribute::AlwaysAuthenticate(value)
                | Attribute::Sign(value)
                | Attribute::Derive(value) => Some(value),
                _ => None,
            })
        };
        let rules = [
            (is(AttributeType::Extractable) == Some(false), "it can be copied out (CKA_EXTRACTABLE)"),
            (
                is(AttributeType::Sensitive) == Some(true),
                "it can be read in the clear (CKA_SENSITIVE is false)",
            ),
            (
                is(AttributeType::NeverExtractable) == Some(true),
                "it was imported or could once be copied out (CKA_NEVER_EXTRACTABLE is false)",
            ),
            (
                is(AttributeType::AlwaysSensitive) == Some(true),
                "it was imported or could once be read (CKA_ALWAYS_SENSITIVE is false)",
            ),
            (
                is(AttributeType::AlwaysAuthenticate) != Some(true),
                "it asks for the PIN at each use (CKA_ALWAYS_AUTHENTICATE)",
            ),
            match usage {
                Use::Sign => (is(AttributeType::Sign) == Some(true), "it may not sign (CKA_SIGN)"),
                Use::Agree => (is(AttributeType::Derive) == Some(true), "it may not derive (CKA_DERIVE)"),
            },
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, why)| Err(why))
    }

    /// `CKM_ECDSA` over a digest: `r ‖ s`.
    pub(crate) fn sign(&self, key: ObjectHandle, digest: &[u8; 32]) -> Result<[u8; 64], Error> {
        let signature = self
            .session
            .sign(&Mechanism::Ecdsa, key, digest)
            .map_err(|e| unsupported("sign with CKM_ECDSA", e))?;
        signature.try_into().map_err(|_| Error::Token("a signature that is not 64 bytes long".into()))
    }

    /// `CKM_ECDH1_DERIVE` with `CKD_NULL`: the x coordinate. The derived object lives as long as this call.
    pub(crate) fn agree(&self, key: ObjectHandle, peer: &PublicKey) -> Result<SharedSecret, Error> {
        let peer = point::encode(peer);
        let mechanism = Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), &peer));
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::ValueLen(32.into()),
            Attribute::Token(false),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
        ];
        let secret = self
            .session
            .derive_key(&mechanism, key, &template)
            .map_err(|e| unsupported("derive with CKM_ECDH1_DERIVE", e))?;
        let value = self.session.get_attributes(secret, &[AttributeType::Value]);
        self.session.destroy_object(secret)?;
        let value = value?
            .into_iter()
            .find_map(|attribute| match attribute {
                Attribute::Value(value) => Some(Zeroizing::new(value)),
                _ => None,
            })
            .ok_or_else(|| Error::Unsupported {
                what: "hand out the secret it derived",
                why: "CKA_VALUE is sensitive; FIPS modes may forbid it".into(),
            })?;
        x_coordinate(&value).ok_or_else(|| Error::Token("a shared secret longer than 32 bytes".into()))
    }
}

/// Some tokens drop leading zeros.
fn x_coordinate(value: &[u8]) -> Option<SharedSecret> {
    let mut x = Zeroizing::new([0; 32]);
    let start = x.len().checked_sub(value.len())?;
    x.get_mut(start..)?.copy_from_slice(value);
    Some(SharedSecret::new(*x))
}

/// The modules of this process, loaded once and never unloaded: what the library started may outlive its sessions.
static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());

/// Makes the module forget all sessions and look for its tokens anew, which some do only then.
pub(crate) fn restart(path: &Path) {
    let module = MODULES.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
    if let Some(module) = module
        && let Err(error) = module.finalize()
    {
        tracing::debug!(%error, "the PKCS#11 module was not running");
    }
}

/// The module, loaded and initialised.
fn load(path: &Path) -> Result<Pkcs11, Error> {
    let wrong = |why: String| Error::Module { path: path.into(), why };
    if !path.is_absolute() {
        return Err(wrong("a relative path would be searched for".into()));
    }
    if !path.exists() {
        return Err(wrong("there is no such file".into()));
    }
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    let module = match modules.get(path) {
        Some(module) => module.clone(),
        None => {
            let module = Pkcs11::new(path).map_err(|e| wrong(e.to_string()))?;
            modules.insert(path.into(), module.clone());
            module
        }
    };
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Binding::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(module),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn find(module: &Pkcs11, settings: &TokenSettings) -> Result<Slot, Error> {
    let (mut fitting, mut found) = (Vec::new(), Vec::new());
    for slot in module.get_slots_with_token()? {
        // A token that cannot even be asked is not ours.
        let Ok(info) = module.get_token_info(slot) else { continue };
        let label = info.label().trim_end();
        let serial = info.serial_number().trim_end();
        if label == settings.token_label
            && settings.token_serial.as_ref().is_none_or(|wanted| wanted.trim_end() == serial)
        {
            fitting.push(slot);
        }
        if info.token_initialized() {
            found.push(format!("`{label}`"));
        }
    }
    match fitting.as_slice() {
        [one] => Ok(*one),
        [] => {
            let found = if found.is_empty() { "none".into() } else { found.join(", ") };
            Err(Error::TokenAbsent { wanted: settings.name(), found })
        }
        _ => Err(Error::TokenAmbiguous(settings.token_label.clone())),
    }
}

/// One attempt, never two.
fn login(session: &Session, pin: &PinSource, last_try: bool) -> Result<(), Error> {
    let text = pin.read()?;
    if last_try {
        return Err(Error::PinLastTry);
    }
    match session.login(UserType::User, Some(&AuthPin::from(text.as_str()))) {
        // All sessions of a process share the login: the owner root may live in the same token.
        Ok(()) | Err(Binding::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
            pin.accept();
            Ok(())
        }
        Err(Binding::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
            Err(pin.refuse())
        }
        Err(Binding::Pkcs11(RvError::UserPinNotInitialized, _)) => {
            Err(Error::Pin("the token has no user PIN yet; set one with its maker's tool".into()))
        }
        Err(Binding::Pkcs11(RvError::PinExpired, _)) => {
            Err(Error::Pin("it has expired; change it with the maker's tool of the token".into()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Names the operation where the token says that it does not know it.
fn unsupported(what: &'static str, error: Binding) -> Error {
    match &error {
        Binding::Pkcs11(
            RvError::MechanismInvalid
            | RvError::MechanismParamInvalid
            | RvError::FunctionNotSupported
            | RvError::CurveNotSupported
            | RvError::DomainParamsInvalid
            | RvError::TemplateInconsistent
            | RvError::AttributeValueInvalid
            | RvError::KeyFunctionNotPermitted,
            _,
        )
        | Binding::NullFunctionPointer => Error::Unsupported { what, why: error.to_string() },
        _ => error.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_that_a_token_dropped_come_back() {
        let mut x = [0; 32];
        x.iter_mut().skip(2).for_each(|byte| *byte = 9);
        assert_eq!(x_coordinate(&[9; 30]).unwrap().as_bytes(), &x);
        assert_eq!(x_coordinate(&[9; 32]).unwrap().as_bytes(), &[9; 32]);
        assert!(x_coordinate(&[9; 33]).is_none());
    }

    #[test]
    fn a_module_is_an_absolute_path_to_a_pkcs11_library() {
        let why = |path: &str| load(Path::new(path)).unwrap_err().to_string();
        assert!(why("libsofthsm2.so").contains("relative"));
        assert!(why("/does/not/exist.so").contains("no such file"));
        let no_library = why("/etc/passwd");
        assert!(no_library.contains("/etc/passwd") && no_library.contains("absolute path"), "{no_library}");
    }
}
