//! The gateway's name on the local network, resolved by a program that is not ours, in a network of two machines.

use std::process::Command;

use cardea_tests::{daemon::Daemon, program, venv::python};

#[test]
fn the_name_leads_to_the_gateway_and_one_that_is_taken_is_left_to_who_has_it() {
    // In two network namespaces: nothing of this is on the machine's own network.
    let may = Command::new("unshare").args(["--net", "true"]).status().is_ok_and(|status| status.success());
    if !may {
        println!("skipped: this user may make no network namespace");
        return;
    }
    let Some(peer) = python("mdns_peer.py") else { return };
    let prepare = |dir: &std::path::Path| {
        let web = "[web]\nenabled = true\nhttps = \"0.0.0.0:8443\"\n";
        Daemon::prepare(dir, 1, web).config
    };
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (config, other) = (prepare(first.path()), prepare(second.path()));
    let mut command = Command::new("unshare");
    // Both are `gw-test`, as two gateways made of one image with an id in it would be.
    command.arg("--net").arg(peer.get_program()).args(peer.get_args());
    command.arg(program("cardea")).arg(config).arg("cardea-vtwd.local").arg(other);
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.contains("-2.local"), "{said}");
}
