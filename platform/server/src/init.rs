//! Making a platform: its keys, in files or in a token, and its state.

use std::path::PathBuf;

use anyhow::{Result, bail};
use cardea_pkcs11::{TokenKeys, TokenSettings};
use cardea_sdk::{FileKeys, Platform};
use clap::Args;

use crate::config::Config;

/// Keys in a PKCS#11 token instead of files. PINs are in files of mode 0600 or in the environment
/// (CARDEA_PLATFORM_PIN, CARDEA_ROOT_PIN), never on the command line.
#[derive(Args)]
pub(crate) struct TokenArgs {
    /// Make the keys in a PKCS#11 token: absolute path of its module [default: as in the configuration file].
    #[arg(long, requires = "token_label")]
    pkcs11_module: Option<PathBuf>,
    /// Label of the token for the platform's keys.
    #[arg(long, requires = "pkcs11_module")]
    token_label: Option<String>,
    /// Its serial number, where labels do not tell tokens apart.
    #[arg(long, requires = "pkcs11_module")]
    token_serial: Option<String>,
    /// File with its PIN.
    #[arg(long, requires = "pkcs11_module")]
    pin_file: Option<PathBuf>,
    /// What the labels of the keys begin with [default: cardea].
    #[arg(long, requires = "pkcs11_module")]
    key_prefix: Option<String>,
    /// Label of another token for the owner root, which belongs in a safe afterwards.
    #[arg(long)]
    root_token_label: Option<String>,
    /// Module of that token, where it is another one.
    #[arg(long, requires = "root_token_label")]
    root_pkcs11_module: Option<PathBuf>,
    /// File with its PIN.
    #[arg(long, requires = "root_token_label")]
    root_pin_file: Option<PathBuf>,
}

impl TokenArgs {
    /// The token of the platform's keys, if they are to be in one: by these arguments, or by the configuration.
    fn platform(&self, config: &Config) -> Option<TokenSettings> {
        let (Some(module), Some(label)) = (&self.pkcs11_module, &self.token_label) else {
            return config.pkcs11.clone();
        };
        let token = TokenSettings::new(module, label);
        Some(TokenSettings {
            token_serial: self.token_serial.clone(),
            pin_file: self.pin_file.clone(),
            key_prefix: self.key_prefix.clone().unwrap_or(token.key_prefix),
            ..token
        })
    }

    /// The token of the owner root, where it is another one.
    fn root(&self, platform: &TokenSettings) -> Option<TokenSettings> {
        let label = self.root_token_label.as_ref()?;
        let module = self.root_pkcs11_module.as_ref().unwrap_or(&platform.module);
        Some(TokenSettings { pin_file: self.root_pin_file.clone(), ..TokenSettings::new(module, label) })
    }
}

/// Makes the owner root, the platform's keys and an empty state.
pub(crate) fn all(config: &Config, args: &TokenArgs, json: bool) -> Result<bool> {
    let token = args.platform(config);
    let other = token.as_ref().and_then(|token| args.root(token));
    if token.is_none() && args.root_token_label.is_some() {
        bail!(
            "the owner root can be in a token only where the platform's keys are: give --pkcs11-module too"
        );
    }
    let root = match &token {
        Some(token) => {
            let root = TokenKeys::init(&config.dir, token, other.as_ref())?;
            Platform::init_state(&config.dir)?;
            root
        }
        None => Platform::init(&config.dir)?,
    };
    let root = hex::encode(root);
    if json {
        let token = token.map(|token| token.token_label);
        println!("{}", serde_json::json!({ "dir": config.dir, "root": root, "token": token }));
        return Ok(true);
    }
    println!("owner root   {root}");
    println!("state        {}", config.dir.display());
    match (&token, &other) {
        (None, _) => {
            println!(
                "Every lock you activate pins this root. Move owner-root.key to a safe, offline place; the"
            );
            println!("platform runs without it, and whoever has it can command all your locks.");
        }
        (Some(token), Some(root)) => {
            println!(
                "keys         in token `{}`, the owner root in token `{}`",
                token.token_label, root.token_label
            );
            println!(
                "Every lock you activate pins this root. Put its token in a safe place; the platform runs"
            );
            println!("without it, and whoever has it and its PIN can command all your locks.");
        }
        (Some(token), None) => {
            println!("keys         in token `{}`, the owner root among them", token.token_label);
            println!(
                "Every lock you activate pins this root. It is in the token that the platform uses every day:"
            );
            println!("fine for a trial; for real doors make it in a token of its own (--root-token-label).");
        }
    }
    Ok(true)
}

/// Keys without a state: the state is lost, and its owner says so.
pub(crate) fn state(config: &Config) -> Result<bool> {
    if !TokenKeys::are_in(&config.dir) {
        FileKeys::open(&config.dir)?;
    }
    if config.dir.join(Platform::STATE_FILE).metadata().is_ok_and(|found| found.len() > 0) {
        bail!("{} already holds a state; it is not replaced", config.dir.display());
    }
    Platform::init_state(&config.dir)?;
    println!("an empty state is made; every lock must be enrolled and activated again");
    Ok(true)
}
