//! The key store: `pkcs11.toml` and `platform.cwt` in the state directory, the private keys in the token.

use std::{fs, path::Path, sync::Arc};

use cardea_credentials::{
    Agreement, Error as KeyError, MAX_PLATFORM_CWT_LEN, PlatformIdentity, PublicKey, SharedSecret, Signer,
    issue_platform, verify, verify_platform,
};
use cardea_sdk::{
    Error as SdkError, KeyStore,
    key_dir::{self, CERTIFICATE},
    next_version,
};
use cryptoki::object::ObjectHandle;
use sha2::{Digest as _, Sha256};

use crate::{
    Error, TokenSettings,
    device::{Labels, PlatformToken},
    keeper::{Device as _, Keeper},
    pin::PinSource,
    settings::{PLATFORM_PIN, ROOT_PIN},
    token::{Generated, Token, Use},
};

/// Says that the keys are in a token, and in which.
const SETTINGS: &str = "pkcs11.toml";
/// Exists while a PIN that the token refused has not been replaced.
const PIN_REFUSED: &str = "pin-refused";
const ROOT_PIN_REFUSED: &str = "root-pin-refused";
const FIRST_VERSION: u32 = 1;

/// The platform's keys in a token. Clones share one session; calls from several threads take turns.
#[derive(Clone)]
pub struct TokenKeys {
    agreement: TokenAgreement,
    signing: TokenSigner,
    certificate: Arc<[u8]>,
    root: PublicKey,
}

impl TokenKeys {
    /// Whether the platform in `dir` keeps its keys in a token.
    #[must_use]
    pub fn are_in(dir: &Path) -> bool {
        dir.join(SETTINGS).exists()
    }

    /// Makes the platform's keys in `token`, the owner root in `root` (or in the same token, which is fine for a
    /// trial: whoever can use the platform's keys can then certify others too), and the certificate, version 1.
    /// Returns the thumbprint of the owner root. What it made in the tokens is removed again where it fails.
    ///
    /// # Errors
    /// [`SdkError::AlreadyInitialised`] inside [`Error::Sdk`]; what the token or its settings are at fault for.
    pub fn init(dir: &Path, token: &TokenSettings, root: Option<&TokenSettings>) -> Result<[u8; 32], Error> {
        if Self::are_in(dir) {
            return Err(SdkError::AlreadyInitialised(dir.into()).into());
        }
        key_dir::create(dir)?;
        let labels = Labels::new(&token.key_prefix, FIRST_VERSION);
        let platform = Token::open(token, &PinSource::new(token, PLATFORM_PIN, dir.join(PIN_REFUSED)), true)?;
        let elsewhere = root
            .map(|root| Token::open(root, &PinSource::new(root, ROOT_PIN, dir.join(ROOT_PIN_REFUSED)), true))
            .transpose()?;
        let root_token = elsewhere.as_ref().unwrap_or(&platform);
        let mut made = Made(Vec::new());
        let root = made.generate(root_token, &labels.root, Use::Sign)?;
        let dh = made.generate(&platform, &labels.agreement, Use::Agree)?.0;
        let signing = made.generate(&platform, &labels.signing, Use::Sign)?.0;
        let root = RootSigner { token: root_token, public: root.0, private: root.1 };
        let mut certificate = vec![0; MAX_PLATFORM_CWT_LEN];
        let length = issue_platform(&root, &dh, &signing, FIRST_VERSION, &mut certificate)
            .map_err(|_| SdkError::Crypto("the certificate could not be issued"))?;
        certificate.truncate(length);
        // The keys prove what they are before anything on disk names them.
        root_token.private_key(&labels.root, Use::Sign)?;
        let named = verify_platform(&certificate, Some(&root.public))
            .map_err(|_| Error::Token("what the owner root signed does not verify".into()))?;
        let pin = PinSource::new(token, PLATFORM_PIN, dir.join(PIN_REFUSED));
        PlatformToken { settings: token.clone(), pin, named }.connect(false)?;
        // The certificate comes last: a directory without it is one whose init did not finish.
        let settings = dir.join(SETTINGS);
        key_dir::write(&settings, token.to_toml()?.as_bytes())?;
        if let Err(error) = key_dir::write(&dir.join(CERTIFICATE), &certificate) {
            let _ = fs::remove_file(settings); // the keys go too: as if nothing had happened
            return Err(error.into());
        }
        made.0.clear();
        key_dir::sync(dir)?;
        Ok(root.public.thumbprint())
    }

    /// Makes a new pair of keys in the platform's token and has the owner root, in `root` or in the same token, certify
    /// it under a version above the one in force and above `known`, the highest that any lock has pinned. Returns the
    /// version. Where it fails, the old pair is in force and what it made is removed again; afterwards the old pair is
    /// removed.
    ///
    /// # Errors
    /// As [`Self::open`]; [`SdkError::Key`] inside [`Error::Sdk`] for another owner root.
    pub fn rotate(
        dir: &Path,
        settings: Option<TokenSettings>,
        root: Option<&TokenSettings>,
        known: u32,
    ) -> Result<u32, Error> {
        let settings = settings.map_or_else(|| TokenSettings::read(&dir.join(SETTINGS)), Ok)?;
        let before = certified(dir)?;
        with_root(dir, &settings, root, |platform, root| {
            let version = next_version(&before.root, root, before.version, known)?;
            let labels = Labels::new(&settings.key_prefix, version);
            let mut made = Made(Vec::new());
            let dh = made.generate(platform, &labels.agreement, Use::Agree)?.0;
            let signing = made.generate(platform, &labels.signing, Use::Sign)?.0;
            let mut certificate = vec![0; MAX_PLATFORM_CWT_LEN];
            let length = issue_platform(root, &dh, &signing, version, &mut certificate)
                .map_err(|_| SdkError::Crypto("the certificate could not be issued"))?;
            certificate.truncate(length);
            let named = verify_platform(&certificate, Some(&before.root))
                .map_err(|_| Error::Token("what the owner root signed does not verify".into()))?;
            let pin = PinSource::new(&settings, PLATFORM_PIN, dir.join(PIN_REFUSED));
            PlatformToken { settings: settings.clone(), pin, named }.connect(false)?;
            key_dir::replace_certificate(dir, &certificate)?;
            made.0.clear();
            let old = Labels::new(&settings.key_prefix, before.version);
            platform.remove(&[&old.agreement, &old.signing]);
            Ok(version)
        })
    }

    /// Lends the owner root's key, in `root` or in the platform's token, for something that only it may sign.
    ///
    /// # Errors
    /// As [`Self::open`]; what `act` gives.
    pub fn with_owner_root<T>(
        dir: &Path,
        settings: Option<TokenSettings>,
        root: Option<&TokenSettings>,
        act: impl FnOnce(&dyn Signer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let settings = settings.map_or_else(|| TokenSettings::read(&dir.join(SETTINGS)), Ok)?;
        with_root(dir, &settings, root, |_, root| act(root))
    }

    /// Opens what [`Self::init`] made: logs in, checks that both keys never left the token, and uses each once.
    /// `settings` replaces what `pkcs11.toml` says, for a token that moved.
    ///
    /// # Errors
    /// [`SdkError::NotInitialised`] inside [`Error::Sdk`]; what the token or its settings are at fault for.
    pub fn open(dir: &Path, settings: Option<TokenSettings>) -> Result<Self, Error> {
        let (certificate, named) = read_certificate(dir)?;
        let settings = settings.map_or_else(|| TokenSettings::read(&dir.join(SETTINGS)), Ok)?;
        let pin = PinSource::new(&settings, PLATFORM_PIN, dir.join(PIN_REFUSED));
        let mut token = PlatformToken { settings, pin, named };
        let link = token.connect(false)?;
        let keeper = Keeper::start(token, link)
            .map(Arc::new)
            .map_err(|source| SdkError::Io { path: dir.into(), source })?;
        Ok(Self {
            agreement: TokenAgreement { public: named.dh, keeper: keeper.clone() },
            signing: TokenSigner { public: named.signing, keeper },
            certificate: certificate.into(),
            root: named.root,
        })
    }
}

fn read_certificate(dir: &Path) -> Result<(Vec<u8>, PlatformIdentity), Error> {
    let path = dir.join(CERTIFICATE);
    if !path.exists() {
        return Err(SdkError::NotInitialised(dir.into()).into());
    }
    let certificate = fs::read(&path).map_err(|source| SdkError::Io { path: path.clone(), source })?;
    let named = verify_platform(&certificate, None)
        .map_err(|e| SdkError::Key { path, why: format!("not a platform certificate ({e})") })?;
    Ok((certificate, named))
}

fn certified(dir: &Path) -> Result<PlatformIdentity, Error> {
    read_certificate(dir).map(|(_, named)| named)
}

/// Opens the platform's token, writable, and the owner root, wherever it is.
fn with_root<T>(
    dir: &Path,
    settings: &TokenSettings,
    root: Option<&TokenSettings>,
    act: impl FnOnce(&Token, &RootSigner<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let pin = PinSource::new(settings, PLATFORM_PIN, dir.join(PIN_REFUSED));
    let platform = Token::open(settings, &pin, true)?;
    let elsewhere = root
        .map(|root| Token::open(root, &PinSource::new(root, ROOT_PIN, dir.join(ROOT_PIN_REFUSED)), true))
        .transpose()?;
    let token = elsewhere.as_ref().unwrap_or(&platform);
    let label = Labels::new(&settings.key_prefix, FIRST_VERSION).root;
    let private = token.private_key(&label, Use::Sign)?;
    let signer = RootSigner { token, public: certified(dir)?.root, private };
    // Its public half may not be readable; a signature says whether it is the one.
    let signature = signer.sign(label.as_bytes()).map_err(|_| SdkError::KeyUnavailable)?;
    verify(&signer.public, label.as_bytes(), &signature)
        .map_err(|_| Error::KeyMismatch { label, why: "" })?;
    act(&platform, &signer)
}

impl KeyStore for TokenKeys {
    fn agreement(&self) -> &dyn Agreement {
        &self.agreement
    }

    fn signer(&self) -> &dyn Signer {
        &self.signing
    }

    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn root(&self) -> PublicKey {
        self.root
    }
}

#[derive(Clone)]
struct TokenAgreement {
    public: PublicKey,
    keeper: Arc<Keeper>,
}

impl Agreement for TokenAgreement {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, KeyError> {
        self.keeper.agree(peer)
    }
}

#[derive(Clone)]
struct TokenSigner {
    public: PublicKey,
    keeper: Arc<Keeper>,
}

impl Signer for TokenSigner {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        self.keeper.sign(Sha256::digest(message).into())
    }
}

/// The owner root, for the one signature it makes here.
struct RootSigner<'a> {
    token: &'a Token,
    public: PublicKey,
    private: ObjectHandle,
}

impl Signer for RootSigner<'_> {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], KeyError> {
        self.token.sign(self.private, &Sha256::digest(message).into()).map_err(|error| {
            tracing::error!(%error, "the owner root does not sign");
            KeyError::KeyUnavailable
        })
    }
}

/// Keys that go again unless everything succeeds.
struct Made<'a>(Vec<(&'a Token, Generated)>);

impl<'a> Made<'a> {
    fn generate(
        &mut self,
        token: &'a Token,
        label: &str,
        usage: Use,
    ) -> Result<(PublicKey, ObjectHandle), Error> {
        let made = token.generate(label, usage)?;
        let key = (made.public, made.private);
        self.0.push((token, made));
        Ok(key)
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for (token, key) in &self.0 {
            token.discard(key);
        }
    }
}
