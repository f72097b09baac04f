//! Owner codes as people give them: from a file or from standard input, never from an argument.

use std::{
    fs,
    io::{IsTerminal as _, Read as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail};
use cardea_sdk::{OwnerCode, Successor};

/// The code that the lock has now: the one that is read, or what became of it at the resets whose nonces these are.
pub(crate) fn read(file: Option<&PathBuf>, nonces: &[String]) -> Result<String> {
    let mut text = String::new();
    match file {
        Some(path) => {
            text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => {
            if std::io::stdin().is_terminal() {
                eprintln!("Owner code, from the lock's second label (visible while you type):");
                std::io::stdin().read_line(&mut text)?;
            } else {
                std::io::stdin().take(1024).read_to_string(&mut text)?;
            }
        }
    }
    let code = text.trim().to_owned();
    if code.is_empty() {
        bail!("no owner code given; it is on the lock's second label");
    }
    after(code, nonces)
}

fn after(code: String, nonces: &[String]) -> Result<String> {
    if nonces.is_empty() {
        return Ok(code); // whoever takes it says what is wrong with it
    }
    let mut code = OwnerCode::parse(&code)
        .map_err(|_| anyhow::anyhow!("the owner code is mistyped; see the lock's second label"))?;
    for nonce in nonces {
        let mut drawn = [0; 8];
        hex::decode_to_slice(nonce, &mut drawn)
            .context("--after-reset takes the nonce of a release, 16 hexadecimal digits")?;
        code = Successor::of(&code).code(&drawn);
    }
    Ok(code.reveal().as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_and_the_nonces_of_its_resets_make_the_code_of_today() {
        let label = OwnerCode::from_bytes([7; 16]);
        let text = label.reveal().as_str().to_owned();
        assert_eq!(after(text.clone(), &[]).unwrap(), text);
        let twice = after(text, &["01".repeat(8), "02".repeat(8)]).unwrap();
        let once = Successor::of(&label).code(&[1; 8]);
        assert_eq!(twice, Successor::of(&once).code(&[2; 8]).reveal().as_str());
        assert!(after("nonsense".into(), &["01".repeat(8)]).is_err());
        assert!(after(twice, &["0102".into()]).is_err());
    }
}
