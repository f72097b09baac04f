//! Resident memory of the daemon with growing numbers of locks.

use std::{thread, time::Duration};

use cardea_tests::{broker::Broker, daemon::Daemon, loopback::LoopRadio};

use crate::{Scale, figures::resident};

/// Prints the table.
pub fn report(scale: &Scale) {
    println!("## Memory of the daemon (RSS), LoRaWAN and loopback radios on\n");
    println!("| locks | RSS |");
    println!("|---|---|");
    for locks in [0, 1_000.min(scale.locks), scale.locks] {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path(), "");
        let lora = cardea_tests::free_udp_port();
        let more = format!("[lora]\nenabled = true\nbind = \"127.0.0.1:{lora}\"\n");
        let mut daemon = Daemon::start(dir.path(), broker.port, &more);
        let mut radio = LoopRadio::new(daemon.loopback, locks, 5_000);
        daemon.admit(&radio.labels());
        // Every lock speaks once, so that its state exists.
        for id in radio.locks.keys().copied().collect::<Vec<_>>() {
            let body = [&[0x09, 0][..], &id.0, &[0x5A; 30]].concat();
            radio.push(id, cardea_tests::loopback::datagram(cardea_framing::Class::Log, &body));
        }
        radio.run_until("every lock was heard", Duration::from_secs(300), |r| r.unreceipted() == 0);
        thread::sleep(Duration::from_secs(3));
        println!("| {locks} | {:.1} MB |", resident(daemon.process().id()) as f64 / 1024.0);
    }
    println!();
}
