//! What only the owner root may sign: new platform keys, and releases of locks.

use std::{path::PathBuf, time::SystemTime};

use anyhow::{Context as _, Result, bail};
use cardea_pkcs11::{TokenKeys, TokenSettings};
use cardea_sdk::{FileKeys, LockName, Platform, Signer, sign_release};
use clap::Args;

use crate::{
    cli,
    config::Config,
    service::{Answer, Request, serve_one},
    socket,
};

/// Where the owner root is. Its PIN is in a file of mode 0600 or in the environment (CARDEA_ROOT_PIN).
#[derive(Args)]
pub(crate) struct RootArgs {
    /// File with the owner root's key [default: owner-root.key in the state directory].
    #[arg(long)]
    root_key: Option<PathBuf>,
    /// Label of the token with the owner root, where the platform's keys are in another one.
    #[arg(long, conflicts_with = "root_key")]
    root_token_label: Option<String>,
    /// Module of that token, where it is another one.
    #[arg(long, requires = "root_token_label")]
    root_pkcs11_module: Option<PathBuf>,
    /// File with its PIN.
    #[arg(long, requires = "root_token_label")]
    root_pin_file: Option<PathBuf>,
}

impl RootArgs {
    /// The root's token, if it is another one than the platform's.
    fn token(&self, config: &Config) -> Result<Option<TokenSettings>> {
        let Some(label) = &self.root_token_label else { return Ok(None) };
        let module = match (&self.root_pkcs11_module, &config.pkcs11) {
            (Some(module), _) => module.clone(),
            (None, Some(platform)) => platform.module.clone(),
            (None, None) => bail!("give the root token's module: --root-pkcs11-module"),
        };
        Ok(Some(TokenSettings { pin_file: self.root_pin_file.clone(), ..TokenSettings::new(module, label) }))
    }

    fn key_file(&self, config: &Config) -> PathBuf {
        self.root_key.clone().unwrap_or_else(|| config.dir.join("owner-root.key"))
    }

    /// Lends the owner root's key.
    fn with<T>(&self, config: &Config, act: impl FnOnce(&dyn Signer) -> Result<T>) -> Result<T> {
        if !TokenKeys::are_in(&config.dir) {
            return act(&FileKeys::owner_root(&self.key_file(config))?);
        }
        let mut result = None;
        TokenKeys::with_owner_root(
            &config.dir,
            config.pkcs11.clone(),
            self.token(config)?.as_ref(),
            |root| {
                result = Some(act(root));
                Ok(())
            },
        )?;
        result.context("the owner root was not used")?
    }
}

/// New keys for the platform, certified by the owner root.
pub(crate) fn rotate(config: &Config, root: &RootArgs, json: bool) -> Result<bool> {
    let version = if TokenKeys::are_in(&config.dir) {
        let other = root.token(config)?;
        Platform::rotate(&config.dir, |known| {
            TokenKeys::rotate(&config.dir, config.pkcs11.clone(), other.as_ref(), known)
        })?
    } else {
        let key = FileKeys::owner_root(&root.key_file(config))?;
        Platform::rotate(&config.dir, |known| FileKeys::rotate(&config.dir, &key, known))?
    };
    if json {
        println!("{}", serde_json::json!({ "version": version }));
        return Ok(true);
    }
    println!("the platform's keys are new, version {version}; start `serve` again");
    println!(
        "Sessions with locks go on. Each lock takes the new certificate when it is next heard; `locks --json` says"
    );
    println!(
        "which have. Grants that the old keys signed have to be issued again, and gateways that have pinned the old"
    );
    println!("signing key must be told the new one (`cardea-platform gateway-key`).");
    Ok(true)
}

/// Lets a lock go, by the platform that runs or by this process.
pub(crate) async fn release(
    config: &Config,
    root: &RootArgs,
    lock: &str,
    nonce: &str,
    next_root: Option<&str>,
) -> Result<Answer> {
    let sign = |locks: Answer| {
        let thumbprint = thumbprint(lock, &locks.data)?;
        let record = sign(config, root, thumbprint, nonce, next_root)?;
        Ok::<_, anyhow::Error>(Request::Release { lock: lock.into(), nonce: nonce.into(), record })
    };
    if let Some(locks) = running(config, &Request::Locks {}).await? {
        let answer = running(config, &sign(locks)?).await?;
        return answer.context("`serve` ended before it was told");
    }
    let platform = cli::open(config)?;
    let request = sign(serve_one(&platform, Request::Locks {}).await)?;
    Ok(serve_one(&platform, request).await)
}

/// What `serve` answers, if it runs.
async fn running(config: &Config, request: &Request) -> Result<Option<Answer>> {
    let Some(stream) = socket::connect(&config.socket()).await? else { return Ok(None) };
    let mut answer = None;
    socket::ask(stream, request, |one| answer = Some(one)).await?;
    Ok(answer)
}

/// The release of a lock, in hexadecimal.
fn sign(
    config: &Config,
    root: &RootArgs,
    thumbprint: [u8; 32],
    nonce: &str,
    next_root: Option<&str>,
) -> Result<String> {
    let mut drawn = [0; 8];
    hex::decode_to_slice(nonce, &mut drawn)
        .context("a nonce is the 16 hexadecimal digits that the lock drew")?;
    let mut to = [0; 32];
    if let Some(next) = next_root {
        hex::decode_to_slice(next, &mut to)
            .context("an owner root is 64 hexadecimal digits, its thumbprint")?;
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let at = u32::try_from(now).unwrap_or(u32::MAX);
    root.with(config, |root| Ok(sign_release(root, thumbprint, drawn, next_root.map(|_| to), at)?))
        .map(hex::encode)
}

/// The full thumbprint of a lock: as it was named, or as the platform knows it.
fn thumbprint(name: &str, locks: &serde_json::Value) -> Result<[u8; 32]> {
    let name: LockName = name.parse()?;
    if let LockName::Thumbprint(thumbprint) = name {
        return Ok(thumbprint);
    }
    let id = name.id().to_string();
    let known = locks.as_array().into_iter().flatten().find(|lock| lock["lock"].as_str() == Some(&id));
    let Some(text) = known.and_then(|lock| lock["thumbprint"].as_str()) else {
        bail!("lock {id} has not proved its key here; name it by its full thumbprint");
    };
    let mut thumbprint = [0; 32];
    hex::decode_to_slice(text, &mut thumbprint).context("`serve` is of another version")?;
    Ok(thumbprint)
}
