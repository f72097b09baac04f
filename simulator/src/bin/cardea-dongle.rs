//! A virtual Zigbee dongle (ZBOSS or EmberZNet NCP firmware) with locks in its air, for hosts that open a serial port.
//!
//! It prints one line of JSON for itself and for each lock, with what their labels say; then it takes orders from standard
//! input, one a line: `unplug SECONDS`, `reset`, `blackout`, `stall SECONDS`, `faults LOST BIT-ERRORS`, `renumber EUI`,
//! `quit`.
#![allow(clippy::print_stdout, reason = "its user interface")]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cardea_simulator::zigbee::{
    Dongle, DongleConfig, DoorLock, DoorLockConfig, Faults, Label, Ncp, NcpConfig, Nvram, SealedLock,
};
use cardea_zigbee::Eui64;
use clap::Parser;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// A virtual Zigbee dongle with locks in its air.
#[derive(Parser)]
struct Arguments {
    /// The name of its serial port: a symbolic link that is made here, and stays when the dongle is unplugged and comes back.
    #[arg(long)]
    port: PathBuf,
    /// Whose firmware it has.
    #[arg(long, value_enum, default_value_t = Family::Zboss)]
    family: Family,
    /// The protocol of an EZSP dongle, 13 to 19.
    #[arg(long, default_value_t = 13, value_parser = clap::value_parser!(u8).range(13..=19))]
    protocol: u8,
    /// Makes keys, addresses and faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Locks with the real lock agent.
    #[arg(long, default_value_t = 1)]
    sealed: u64,
    /// Ordinary ZCL locks; they join with the install code that is printed.
    #[arg(long, default_value_t = 1)]
    ordinary: u64,
    /// Ordinary locks have no install code and join with the key that everybody knows: for hosts that refuse install codes, as
    /// zigbee-herdsman does.
    #[arg(long)]
    well_known_key: bool,
    /// Milliseconds between two polls of a lock.
    #[arg(long, default_value_t = 1_000)]
    poll: u64,
    /// The port goes away with each reset, as USB of the NCP's own chip does. EZSP dongles have a bridge.
    #[arg(long)]
    usb: bool,
    /// Everything on the wire of a ZBOSS dongle, for Wireshark.
    #[arg(long)]
    capture: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Family {
    Zboss,
    Ezsp,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let Arguments { port, family, protocol, seed, sealed, ordinary, well_known_key, poll, usb, capture } =
        Arguments::parse();
    if family == Family::Ezsp && (usb || capture.is_some()) {
        bail!("--usb and --capture are for ZBOSS dongles");
    }
    let eui = Eui64(*b"\x02\xca\xde\xa3\0\0\0\x01");
    let (config, blank) = (NcpConfig { eui, seed }, Nvram::default());
    let ncp = match family {
        Family::Zboss => Ncp::new(config, blank),
        Family::Ezsp => Ncp::ezsp(config, blank, protocol),
    };
    let config = DongleConfig { port: port.clone(), seed, usb, capture };
    let dongle = Dongle::plug_in(ncp, config).context("the dongle cannot be plugged in")?;
    println!("{}", json!({ "dongle": eui.to_string(), "port": port, "seed": seed }));
    let mut locks = Vec::new();
    for number in 0..sealed {
        let mut lock = SealedLock::start(seed, number, poll, &dongle).context("a lock does not start")?;
        let (id, owner_code) = (lock.lock().id(), lock.lock().owner_code().reveal());
        let label = lock.label();
        println!(
            "{}",
            json!({
                "sealed": hex::encode(id.0),
                "eui": label.eui.to_string(),
                "install_code": hex::encode(label.code.as_bytes()),
                "owner_code": owner_code.as_str(),
            })
        );
        locks.push(lock);
    }
    let mut ordinary_locks = Vec::new();
    for number in 0..ordinary {
        let Label { eui, code } = Label::ordinary(seed, number)?;
        let digits = hex::encode(code.as_bytes());
        let code = (!well_known_key).then_some(code);
        println!(
            "{}",
            match &code {
                // The label is what `cardea unsealed admit -` reads.
                Some(_) => json!({
                    "ordinary": eui.to_string(),
                    "install_code": digits,
                    "label": format!("{eui}/{digits}"),
                }),
                None => json!({ "ordinary": eui.to_string() }),
            }
        );
        let config = DoorLockConfig { eui, code, unique_key: true, poll: Some(poll), pin: None };
        ordinary_locks.push(DoorLock::start(config.clone(), dongle.add(config.device())));
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match order(&dongle, &line) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => println!("{}", json!({ "error": error.to_string() })),
        }
    }
    // Without anybody to give orders it runs until it is stopped.
    std::future::pending().await
}

fn order(dongle: &Dongle, line: &str) -> anyhow::Result<bool> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match *words {
        ["unplug", seconds] => dongle.unplug(Duration::try_from_secs_f64(seconds.parse()?)?),
        ["stall", seconds] => dongle.stall(Duration::try_from_secs_f64(seconds.parse()?)?),
        ["reset"] => dongle.reset(),
        ["blackout"] => dongle.black_out(),
        ["faults", lost, bit_errors] => {
            dongle.set_faults(Faults { lost: lost.parse()?, bit_errors: bit_errors.parse()? });
        }
        ["renumber", eui] => {
            let eui = <[u8; 8]>::try_from(hex::decode(eui)?).ok().context("an EUI has 8 bytes")?;
            dongle.with(|ncp, _| ncp.renumber(Eui64(eui)));
        }
        ["quit"] => return Ok(false),
        [] => {}
        _ => bail!("unknown order {line}"),
    }
    Ok(true)
}
