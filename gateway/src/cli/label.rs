//! `cardea label`: the radio label of a lock, for those who print it. It needs neither configuration nor daemon.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use cardea_framing::LockId;
use cardea_radio::label::{self, LabelError, Standard};
use cardea_radio::{Admission, LorawanClass};
use zeroize::Zeroizing;

/// More labels at once are a mistake.
const MAX_INPUT: u64 = 16 << 20;

/// What `cardea label` takes.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Labels: `cardea:1/…` with or without its check digits, or a lock's Zigbee (`Z:…$I:…`) or LoRaWAN (`LW:D0:…`)
    /// label; `-` reads one a line from standard input. Other users of this machine can see arguments.
    #[arg(required = true)]
    labels: Vec<String>,
    /// Print the text and draw nothing.
    #[arg(long, conflicts_with = "to")]
    text: bool,
    /// Write one SVG file for each label into this directory, named after its lock. Without it a single label goes to
    /// standard output.
    #[arg(long)]
    to: Option<PathBuf>,
    /// Lock id, 16 hexadecimal digits, for a Zigbee or LoRaWAN label, which names no lock.
    #[arg(long)]
    lock: Option<String>,
    /// File with the AppKey, 32 hexadecimal digits, for a LoRaWAN label, which holds none.
    #[arg(long)]
    app_key: Option<PathBuf>,
    /// Device class for a LoRaWAN label.
    #[arg(long, value_parser = ["A", "C"], default_value = "A", ignore_case = true)]
    class: String,
}

/// Prints or writes the labels.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let labels = if arguments.labels == ["-"] { from_input()? } else { arguments.labels.clone() };
    let labels: Vec<Zeroizing<String>> = labels.into_iter().map(Zeroizing::new).collect();
    // All are read before any is written.
    let admissions = labels
        .iter()
        .zip(1..)
        .map(|(text, number)| arguments.read(text).with_context(|| format!("label {number}")))
        .collect::<anyhow::Result<Vec<Admission>>>()?;
    let mut out = std::io::stdout().lock();
    match (&arguments.to, admissions.as_slice()) {
        (_, []) => bail!("there is no label on standard input"),
        (_, all) if arguments.text => {
            for admission in all {
                writeln!(out, "{}", label::reveal(admission).as_str())?;
            }
        }
        (Some(directory), all) => {
            for admission in all {
                let file = directory.join(format!("{}.svg", admission.lock));
                write_new(&file, cardea_label::svg(admission)?.as_bytes())?;
                writeln!(out, "{}", file.display())?;
            }
        }
        (None, [admission]) => out.write_all(cardea_label::svg(admission)?.as_bytes())?,
        (None, _) => bail!("several labels need a directory: --to DIR"),
    }
    Ok(())
}

impl Arguments {
    fn read(&self, text: &str) -> anyhow::Result<Admission> {
        match label::parse(text) {
            Ok(admission) => Ok(admission),
            // One part short: the check digits are what this command is for.
            Err(LabelError::Parts { found, expected }) if found + 1 == expected => {
                Ok(label::parse(&label::checked(text))?)
            }
            Err(LabelError::NotALabel) => self.standard(Standard::parse(text)?),
            Err(error) => Err(error.into()),
        }
    }

    fn standard(&self, read: Standard) -> anyhow::Result<Admission> {
        let lock: LockId = self
            .lock
            .as_ref()
            .context("a label of this kind names no lock: give its id with --lock")?
            .parse()
            .map_err(|_| anyhow!("--lock must be 16 hexadecimal digits"))?;
        let class = if self.class.eq_ignore_ascii_case("C") { LorawanClass::C } else { LorawanClass::A };
        let key = self.app_key.as_deref().map(app_key).transpose()?;
        read.admission(lock, key.map(|key| (key, class))).map_err(|error| match error {
            LabelError::NoAppKey => anyhow!("{error}: --app-key FILE"),
            error => error.into(),
        })
    }
}

fn app_key(file: &Path) -> anyhow::Result<Zeroizing<[u8; 16]>> {
    let text = Zeroizing::new(std::fs::read(file).with_context(|| file.display().to_string())?);
    let mut key = Zeroizing::new([0; 16]);
    hex::decode_to_slice(text.trim_ascii(), key.as_mut_slice())
        .map_err(|_| anyhow!("{}: an AppKey is 32 hexadecimal digits", file.display()))?;
    Ok(key)
}

fn from_input() -> anyhow::Result<Vec<String>> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().take(MAX_INPUT).read_to_string(&mut text).context("standard input")?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// A label holds a secret: nobody else reads the file, and none is overwritten.
fn write_new(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut open| open.write_all(content))
        .with_context(|| file.display().to_string())
}
