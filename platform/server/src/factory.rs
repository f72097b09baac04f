//! `cardea-platform factory`: a maker's certificates over the identity keys of its locks (crate `cardea-x509`). Nothing
//! here touches a platform's state or keys.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use cardea_pkcs11::{MakerKey, TokenSettings};
use cardea_sdk::OsRandom;
use cardea_x509::{
    Issuer, Makers, PublicKey, Signer, SoftSigner, Validity, from_pem, lock_key, make_root,
    private_key_from_pem, private_key_to_pem, request_key, to_pem,
};
use clap::{Args, Subcommand};
use zeroize::Zeroizing;

const YEAR_S: u64 = 365 * 86_400;
/// Longer than any file that is read here.
const MAX_FILE: u64 = 16 * 1_024;

/// Certificates of a maker over its locks' identity keys.
#[derive(Subcommand)]
pub(crate) enum Factory {
    /// Make the maker's root: {dir}/maker-root.pem, and its key in maker-root.key or in a token.
    Root {
        #[command(flatten)]
        place: Place,
        /// The maker's name in the certificate.
        #[arg(long)]
        name: String,
        /// Years that it holds.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=100))]
        years: u16,
    },
    /// Make a factory's CA below the root: {dir}/maker-ca.pem, and its key in maker-ca.key or in a token.
    Ca {
        #[command(flatten)]
        place: Place,
        /// The factory's name in the certificate.
        #[arg(long)]
        name: String,
        /// Years that it holds, and with it every certificate that it issues.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
        years: u16,
    },
    /// Certify a lock's identity key; print the chain (lock, CA) as PEM.
    Issue {
        #[command(flatten)]
        place: Place,
        /// The lock's own CWT, raw or in hexadecimal: what it presents at activation, signed by its identity key.
        #[arg(long, required_unless_present = "csr", conflicts_with = "csr")]
        lock_cwt: Option<PathBuf>,
        /// A PKCS #10 request for the identity key, PEM or DER; the names in it are not taken over.
        #[arg(long)]
        csr: Option<PathBuf>,
    },
    /// Verify a lock's chain; print lock id, thumbprint and maker.
    Verify {
        /// Root certificates of makers, PEM.
        #[arg(long, required = true)]
        root: Vec<PathBuf>,
        /// The lock's certificate and its CA's, PEM.
        chain: PathBuf,
    },
}

/// Where the maker's certificates and keys are.
#[derive(Args)]
pub(crate) struct Place {
    /// Directory of the maker's files.
    #[arg(long, value_name = "DIR")]
    maker_dir: PathBuf,
    /// The key is in a PKCS#11 token: absolute path of its module. The PIN is in --pin-file or CARDEA_MAKER_PIN.
    #[arg(long, requires = "token_label")]
    pkcs11_module: Option<PathBuf>,
    /// Label of the token.
    #[arg(long, requires = "pkcs11_module")]
    token_label: Option<String>,
    /// File with its PIN.
    #[arg(long, requires = "pkcs11_module")]
    pin_file: Option<PathBuf>,
}

/// Which of a maker's keys.
#[derive(Clone, Copy)]
enum Which {
    Root,
    Ca,
}

impl Which {
    const fn name(self) -> &'static str {
        match self {
            Self::Root => "maker-root",
            Self::Ca => "maker-ca",
        }
    }
}

impl Place {
    fn token(&self) -> Option<TokenSettings> {
        let (module, label) = (self.pkcs11_module.as_ref()?, self.token_label.as_ref()?);
        Some(TokenSettings { pin_file: self.pin_file.clone(), ..TokenSettings::new(module, label) })
    }

    fn certificate_path(&self, which: Which) -> PathBuf {
        self.maker_dir.join(which.name()).with_extension("pem")
    }

    fn key_path(&self, which: Which) -> PathBuf {
        self.maker_dir.join(which.name()).with_extension("key")
    }

    fn certificate(&self, which: Which) -> Result<Vec<u8>> {
        let path = self.certificate_path(which);
        let certificates = from_pem(&read(&path)?).with_context(|| format!("in {}", path.display()))?;
        let [one] = certificates.as_slice() else { bail!("{} holds more than one", path.display()) };
        Ok(one.clone())
    }

    /// A new key. In a file it is there before its certificate: a certificate without a key helps nobody.
    fn make_key(&self, which: Which) -> Result<Box<dyn Signer>> {
        fs::create_dir_all(&self.maker_dir)
            .with_context(|| format!("cannot make {}", self.maker_dir.display()))?;
        if self.certificate_path(which).exists() {
            bail!("{} exists; it is not replaced", self.certificate_path(which).display());
        }
        if let Some(token) = self.token() {
            return Ok(Box::new(MakerKey::make(&self.maker_dir, &token, which.name())?));
        }
        let key = SoftSigner::generate(&mut OsRandom)?;
        write(&self.key_path(which), private_key_to_pem(&key)?.as_bytes(), 0o600)?;
        Ok(Box::new(key))
    }

    /// The key of the root, of which a CA's token is no place, or of the CA.
    fn key(&self, which: Which, certified: PublicKey) -> Result<Box<dyn Signer>> {
        let path = self.key_path(which);
        if !path.exists()
            && let Some(token) = self.token()
        {
            return Ok(Box::new(MakerKey::open(&self.maker_dir, &token, which.name(), certified)?));
        }
        let mode = fs::metadata(&path)
            .with_context(|| format!("cannot read {}", path.display()))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            bail!("{}: mode {:04o} lets others read it; `chmod 600` it", path.display(), mode & 0o7777);
        }
        let key = private_key_from_pem(&read(&path)?).with_context(|| format!("in {}", path.display()))?;
        Ok(Box::new(key))
    }

    fn store(&self, which: Which, certificate: &[u8]) -> Result<()> {
        let path = self.certificate_path(which);
        write(&path, to_pem(certificate)?.as_bytes(), 0o644)?;
        println!("{}", path.display());
        Ok(())
    }
}

/// Does it.
pub(crate) fn run(factory: &Factory, json: bool) -> Result<bool> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let last = |years: u16| Validity { from: now, until: Some(now + u64::from(years) * YEAR_S) };
    match factory {
        Factory::Root { place, name, years } => {
            let key = place.make_key(Which::Root)?;
            let certificate = make_root(&*key, name, last(*years), &mut OsRandom)?;
            place.store(Which::Root, &certificate)?;
        }
        Factory::Ca { place, name, years } => {
            let root = place.certificate(Which::Root)?;
            let root_key = place.key(Which::Root, Issuer::key_of(&root)?)?;
            let issuer = Issuer::new(&root, &*root_key)?;
            let key = place.make_key(Which::Ca)?;
            let certificate = issuer.authority(&key.public(), name, last(*years), &mut OsRandom)?;
            place.store(Which::Ca, &certificate)?;
        }
        Factory::Issue { place, lock_cwt, csr } => {
            let ca = place.certificate(Which::Ca)?;
            let ca_key = place.key(Which::Ca, Issuer::key_of(&ca)?)?;
            let lock = match (lock_cwt, csr) {
                (Some(path), _) => lock_key(&bytes(path)?),
                (None, Some(path)) => request_key(&bytes(path)?),
                (None, None) => bail!("give --lock-cwt or --csr"),
            };
            let lock = lock.context("the lock's key is not certified")?;
            let endless = Validity { from: now, until: None };
            let device = Issuer::new(&ca, &*ca_key)?.device(&lock, endless, &mut OsRandom)?;
            print!("{}{}", to_pem(&device)?, to_pem(&ca)?);
        }
        Factory::Verify { root, chain } => {
            let device = makers(root)?.verify_pem(&read(chain)?, now)?;
            let (thumbprint, maker) = (hex::encode(device.thumbprint()), &device.maker);
            let lock = thumbprint.get(..16).unwrap_or_default();
            if json {
                println!("{}", serde_json::json!({ "lock": lock, "thumbprint": thumbprint, "maker": maker }));
            } else {
                println!("lock         {lock}\nthumbprint   {thumbprint}\nmaker        {maker}");
            }
        }
    }
    Ok(true)
}

/// The roots of these files.
pub(crate) fn makers(roots: &[PathBuf]) -> Result<Makers> {
    let mut makers = Makers::default();
    for path in roots {
        makers.add(&read(path)?).with_context(|| format!("in {}", path.display()))?;
    }
    Ok(makers)
}

/// A text file, wiped afterwards because it may be a key.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>> {
    let bytes = Zeroizing::new(bytes(path)?);
    let text = std::str::from_utf8(&bytes).with_context(|| format!("{} is no text", path.display()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    let context = || format!("cannot read {}", path.display());
    if fs::metadata(path).with_context(context)?.len() > MAX_FILE {
        bail!("{} is longer than anything that belongs here", path.display());
    }
    fs::read(path).with_context(context)
}

fn write(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(contents).and_then(|()| file.sync_all()))
        .with_context(|| format!("cannot write {}", path.display()))
}
