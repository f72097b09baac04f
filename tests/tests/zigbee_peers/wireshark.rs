//! Wireshark's `zbncp` dissector, which the maker of ZBOSS wrote. It does not check the checksums and does not join
//! fragments; what it checks is every field of every frame.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::{break_body, plug_in, session};

/// What tshark says of the frames that this filter lets through: one line each.
fn tshark(capture: &Path, filter: &str) -> Option<Vec<String>> {
    let output = match Command::new("tshark").arg("-n").arg("-r").arg(capture).args(["-Y", filter]).output() {
        Ok(output) => output,
        Err(error) if std::env::var_os("CARDEA_ALLOW_SKIP").is_some_and(|value| value == "1") => {
            println!("skipped: tshark: {error}");
            return None;
        }
        Err(error) => panic!("tshark: {error}; scripts/test installs it"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

/// Nothing malformed, and no remark, in a session of any host's; at least so many frames.
pub fn assert_clean(capture: &Path, frames: usize) {
    let Some(bad) = tshark(capture, "_ws.malformed || _ws.expert || !zbncp") else { return };
    assert_eq!(bad, Vec::<String>::new());
    let all = tshark(capture, "zbncp").unwrap_or_default().len();
    println!("{all} frames");
    assert!(all >= frames, "only {all} frames");
}

#[tokio::test(flavor = "multi_thread")]
async fn wireshark_finds_nothing_malformed_in_a_whole_session_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("session.pcap");
    let dongle = plug_in(dir.path(), false, Some(&capture));
    session::run(&dongle).await;
    drop(dongle);
    assert_clean(&capture, 100);
    let Some(all) = tshark(&capture, "zbncp") else { return };
    // Every name that it gave, and those that a session must have.
    let names: BTreeSet<&str> = all
        .iter()
        .flat_map(|line| line.split([',', ' ']))
        .filter(|word| word.contains('_') && word.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect();
    for name in [
        "NCP_RESET",
        "NWK_FORMATION",
        "SECUR_ADD_IC",
        "ZDO_PERMIT_JOINING_REQ",
        "ZDO_DEV_AUTHORIZED_IND",
        "APSDE_DATA_REQ",
        "APSDE_DATA_IND",
        "ZDO_SIMPLE_DESC_REQ",
        "ZDO_MGMT_LQI_REQ",
        "ZDO_MGMT_LEAVE_REQ",
        "NWK_LEAVE_IND",
    ] {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wireshark_notices_an_indication_that_lacks_a_byte() {
    let dir = tempfile::tempdir().unwrap();
    let capture = dir.path().join("session.pcap");
    let dongle = plug_in(dir.path(), false, Some(&capture));
    // DEV_ANNCE_IND; our host does without it.
    break_body(&dongle, 2, 0x020C, |body| {
        body.pop();
    });
    session::run(&dongle).await;
    drop(dongle);
    let Some(bad) = tshark(&capture, "_ws.malformed || _ws.expert") else { return };
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert!(bad[0].contains("DEV_ANNCE"), "{bad:?}");
}
