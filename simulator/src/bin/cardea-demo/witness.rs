//! What broker and gateway saw, and what they did not.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cardea_sdk::PlatformEvent;
use cardea_simulator::{Broker, FIRMWARE};

use crate::{
    gateway::Gateway,
    story::{Door, Seen, Story},
};

/// Searches everything the broker carried and everything the gateway wrote for what only lock and platform know:
/// the ids of the commands, the owner codes, and the firmware number that the locks report. The platform's own state is searched too, and there the ids must
/// be found, or the search would prove nothing.
pub(crate) fn blind(
    story: &Story,
    broker: &Broker,
    gateway: &Gateway,
    doors: &[Door],
    platform: &Path,
) -> Result<()> {
    let commands = story.all(|seen| match seen {
        Seen::Platform(PlatformEvent::Ended { command, .. }) => hex::decode(command).ok(),
        _ => None,
    });
    let commands: Vec<_> = commands.into_iter().filter(|id| id.len() == 4).collect();
    if commands.is_empty() {
        bail!("no command was seen whose id could be searched for");
    }
    let codes = doors.iter().map(|door| door.owner_code.to_vec());
    let firmware = FIRMWARE.to_u32().to_be_bytes().to_vec();
    let secrets: Vec<_> = commands.iter().cloned().chain(codes).chain([firmware]).collect();

    let mut sealed = Vec::new();
    for message in broker.seen() {
        forbid(&message.payload, &secrets).with_context(|| message.topic.clone())?;
        let data = serde_json::from_slice::<serde_json::Value>(&message.payload)
            .ok()
            .and_then(|json| STANDARD.decode(json.get("data")?.as_str()?).ok());
        if let Some(data) = data {
            forbid(&data, &secrets).with_context(|| message.topic.clone())?;
            sealed.push((message.topic, data));
        }
    }
    let ways = ["/up", "/down"].map(|way| sealed.iter().filter(|(topic, _)| topic.ends_with(way)).count());
    if ways.contains(&0) {
        bail!("the broker should have carried sealed frames both ways, and carried {ways:?}");
    }
    let files = files(gateway.data())?.into_iter().chain([gateway.log().to_owned()]);
    let mut bytes = 0;
    for file in files {
        let content = std::fs::read(&file).with_context(|| file.display().to_string())?;
        bytes += content.len();
        forbid(&content, &secrets).with_context(|| file.display().to_string())?;
    }
    let control = files_contain(platform, &commands)?;
    if !control {
        bail!("the search does not even find the command ids where they must be, at the platform");
    }

    let [up, down] = ways;
    story.say(&format!("the broker carried {up} sealed frames up and {down} down; the last of each:"));
    for way in ["/up", "/down"] {
        if let Some((topic, data)) = sealed.iter().rev().find(|(topic, _)| topic.ends_with(way)) {
            story.say(&format!("  {topic}  {}", hex::encode(data)));
        }
    }
    story.say(&format!(
        "searched for {} command ids, {} owner codes and the locks' firmware number: not in any broker message, not in the {bytes} bytes of the \
         gateway's files, found at the platform",
        commands.len(),
        doors.len(),
    ));
    Ok(())
}

/// Fails if one of the secrets is in `bytes`, as it is or in hexadecimal.
fn forbid(bytes: &[u8], secrets: &[Vec<u8>]) -> Result<()> {
    match secrets.iter().find(|secret| contains(bytes, secret)) {
        Some(secret) => bail!("the secret {} is readable there", hex::encode(secret)),
        None => Ok(()),
    }
}

fn contains(bytes: &[u8], secret: &[u8]) -> bool {
    let text = hex::encode(secret);
    bytes.windows(secret.len()).any(|window| window == secret)
        || bytes.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
}

fn files_contain(folder: &Path, secrets: &[Vec<u8>]) -> Result<bool> {
    for file in files(folder)? {
        let content = std::fs::read(&file).with_context(|| file.display().to_string())?;
        if secrets.iter().any(|secret| contains(&content, secret)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else if entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds() {
        let secrets = [vec![0xde, 0xad, 0xbe, 0xef]];
        assert!(forbid(b"\x00\xde\xad\xbe\xef\x01", &secrets).is_err());
        assert!(forbid(b"id=DEADbeef", &secrets).is_err());
        assert!(forbid(b"\xde\xad\xbe\x00\xef", &secrets).is_ok());
    }
}
