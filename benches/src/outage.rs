//! The broker is away: how fast frames are taken into custody, and how fast they leave when it is back.

use std::time::{Duration, Instant};

use cardea_framing::Class;
use cardea_tests::{
    broker::Broker,
    daemon::Daemon,
    eventually,
    loopback::{LoopRadio, datagram},
    spy::Spy,
};

use crate::{Scale, figures::written};

/// Prints ingest, flash and drain.
pub fn report(scale: &Scale) {
    const LOCKS: u32 = 100;
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path(), "");
    let mut daemon = Daemon::start(dir.path(), broker.port, "");
    let mut radio = LoopRadio::new(daemon.loopback, LOCKS as u16, 1_000);
    daemon.admit(&radio.labels());
    radio.announce();
    broker.down();
    std::thread::sleep(Duration::from_secs(1));
    let ids: Vec<_> = radio.locks.keys().copied().collect();
    for n in 0..scale.outage / LOCKS {
        for id in &ids {
            let body = [&[0x09, 0][..], &id.0, &n.to_be_bytes(), &[0x5A; 48]].concat();
            radio.push(*id, datagram(Class::Log, &body));
        }
    }
    let before = written(daemon.process().id());
    let start = Instant::now();
    radio.run_until("all in custody", Duration::from_secs(600), |r| r.unreceipted() == 0);
    let ingest = f64::from(scale.outage) / start.elapsed().as_secs_f64();
    let flash = (written(daemon.process().id()) - before) as f64 / f64::from(scale.outage);

    // One lone frame a minute costs a commit of its own; twenty, a second apart, show what.
    let before = written(daemon.process().id());
    for n in 0..20u32 {
        let body = [&[0x09, 1][..], &ids[0].0, &n.to_be_bytes(), &[0xA5; 48]].concat();
        radio.push(ids[0], datagram(Class::Log, &body));
        radio.run_until("a lone frame", Duration::from_secs(30), |r| r.unreceipted() == 0);
        std::thread::sleep(Duration::from_millis(300));
    }
    let lone = (written(daemon.process().id()) - before) as f64 / 20.0;

    broker.up();
    let spy = Spy::start(broker.port);
    let mut first = None;
    let total = scale.outage as usize + 20;
    eventually("drained", Duration::from_secs(600), || {
        let count = spy.count("/up");
        if count > 0 && first.is_none() {
            first = Some((Instant::now(), count));
        }
        (count >= total).then_some(())
    });
    let (since, already) = first.unwrap();
    let drain = (total - already) as f64 / since.elapsed().as_secs_f64();
    println!("## Outage of {} frames from {LOCKS} locks\n", scale.outage);
    println!("| taken into custody | flash | a lone offline frame | drained |");
    println!("|---|---|---|---|");
    println!("| {ingest:.0} frames/s | {flash:.0} B a frame | {lone:.0} B | {drain:.0} frames/s |");
}
