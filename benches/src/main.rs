//! `scripts/bench`: the whole daemon beside a plain mosquitto bridge and a raw rumqttc publisher, in one run, so
//! that the ratios mean something on a noisy machine. Prints Markdown; judges nothing.
//!
//! usage: cardea-bench [--frames N] [--locks N]
//!        cardea-bench edhoc     handshakes and OSCORE, beside lakers; no daemon, no broker
//!        cardea-bench zigbee    200 devices, 6 of them routers, on one virtual dongle
//!        cardea-bench web       the local page with 1,000 locks, by curl

mod edhoc;
mod figures;
mod memory;
mod outage;
mod relay;
mod web;
mod zigbee;

use std::time::Duration;

use figures::{Percentiles, fsync};

/// How much work each part does.
pub struct Scale {
    /// Frames of a flood.
    pub frames: u32,
    /// The larger number of locks in the memory part.
    pub locks: u16,
    /// Frames of the outage.
    pub outage: u32,
}

fn main() {
    let mut scale = Scale { frames: 20_000, locks: 10_000, outage: 100_000 };
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| first == "edhoc").is_some() {
        return edhoc::report();
    }
    if arguments.next_if(|first| first == "zigbee").is_some() {
        return zigbee::report(arguments.next().and_then(|n| n.parse().ok()).unwrap_or(194));
    }
    if arguments.next_if(|first| first == "web").is_some() {
        return web::report(arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1_000));
    }
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|v| v.parse::<u32>().ok());
        match (name.as_str(), value) {
            ("--frames", Some(n)) => scale.frames = n,
            ("--outage", Some(n)) => scale.outage = n,
            ("--locks", Some(n)) if n <= 10_000 => scale.locks = n as u16,
            _ => {
                eprintln!(
                    "usage: cardea-bench [--frames N] [--outage N] [--locks N (at most 10000)] | cardea-bench edhoc | cardea-bench zigbee [LOCKS] | cardea-bench web [LOCKS]"
                );
                std::process::exit(2);
            }
        }
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let disk = fsync(300);
    println!("{cores} cores; fdatasync of an appended 4 KiB: {disk}\n");

    println!("## Relay, QoS 1 to the subscriber, 64-byte datagrams, loopback, no TLS\n");
    println!("| path | durable | latency p50 | p99 | frames/s in a flood |");
    println!("|---|---|---|---|---|");
    let raw = relay::raw(&scale);
    let bridge = relay::bridge(&scale, false);
    let durable_bridge = relay::bridge(&Scale { frames: scale.frames / 20, ..scale }, true);
    let daemon = relay::daemon(&scale);
    for (name, durable, result) in [
        ("raw rumqttc publisher", "no", &raw),
        ("mosquitto bridge", "no", &bridge),
        ("mosquitto bridge, autosave_on_changes", "nearly", &durable_bridge),
        ("cardea", "yes", &daemon),
    ] {
        let Percentiles { p50, p99, .. } = result.latency;
        println!("| {name} | {durable} | {:.2} ms | {:.2} ms | {:.0} |", ms(p50), ms(p99), result.rate);
    }
    println!(
        "\ncardea ÷ raw publisher: latency p50 {:.2}, p99 {:.2}, throughput {:.2}",
        ms(daemon.latency.p50) / ms(raw.latency.p50),
        ms(daemon.latency.p99) / ms(raw.latency.p99),
        daemon.rate / raw.rate
    );
    println!(
        "cardea ÷ mosquitto bridge: latency p50 {:.2}, p99 {:.2}, throughput {:.2}; ÷ durable bridge: throughput {:.1}\n",
        ms(daemon.latency.p50) / ms(bridge.latency.p50),
        ms(daemon.latency.p99) / ms(bridge.latency.p99),
        daemon.rate / bridge.rate,
        daemon.rate / durable_bridge.rate
    );
    println!("flash written with the broker up: {:.1} B a frame\n", daemon.flash_per_frame);

    memory::report(&scale);
    outage::report(&scale);
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
