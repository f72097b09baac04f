//! The same payloads over three paths to one subscriber.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use cardea_envelope::{Encoding, Uplink};
use cardea_framing::Class;
use cardea_tests::{
    broker::Broker,
    daemon::Daemon,
    loopback::{LoopRadio, datagram, lock_id},
};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

use crate::{
    Scale,
    figures::{Percentiles, written},
};

/// What one path did.
pub struct Relayed {
    pub latency: Percentiles,
    pub rate: f64,
    pub flash_per_frame: f64,
}

/// Frames a second while latency is measured: far below saturation.
const PACE: u32 = 200;
const LATENCY_FRAMES: u32 = 2_000;
const WARM_UP: u32 = 200;

/// A subscriber that stamps what arrives; the first 4 bytes of what `read` returns number the frame.
fn subscribe(port: u16, read: fn(&[u8]) -> Option<u32>) -> mpsc::Receiver<(u32, Instant)> {
    let mut options = MqttOptions::new("bench-subscriber", "127.0.0.1", port);
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut connection) = Client::new(options, 100);
    client.subscribe("#", QoS::AtLeastOnce).unwrap();
    let (sender, receiver) = mpsc::channel();
    let (ready, subscribed) = mpsc::channel();
    thread::spawn(move || {
        let _client = client;
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::SubAck(_))) => ready.send(()).unwrap(),
                Ok(Event::Incoming(Packet::Publish(p))) => {
                    let arrived = Instant::now();
                    if read(&p.payload).is_some_and(|n| sender.send((n, arrived)).is_err()) {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    subscribed.recv().unwrap();
    receiver
}

fn plain(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*payload.first_chunk()?))
}

fn enveloped(payload: &[u8]) -> Option<u32> {
    let up: Uplink = Encoding::Json.decode(payload).ok()?;
    plain(up.data.0.get(3..)?)
}

fn body(n: u32) -> Vec<u8> {
    let mut body = n.to_be_bytes().to_vec();
    body.resize(61, 0x5A);
    body
}

/// A publisher whose event loop runs beside the caller.
fn publisher(port: u16) -> Client {
    let mut options = MqttOptions::new("bench-publisher", "127.0.0.1", port);
    options.set_inflight(100);
    let (client, mut connection) = Client::new(options, 1_000);
    thread::spawn(move || connection.iter().take_while(Result::is_ok).for_each(drop));
    client
}

/// Paced frames for latency, then a flood for throughput, through `send`.
fn measure(
    scale: &Scale,
    arrivals: &mpsc::Receiver<(u32, Instant)>,
    send: &mut dyn FnMut(u32),
    idle: &mut dyn FnMut(),
) -> (Percentiles, f64) {
    let mut sent = BTreeMap::new();
    let mut sample = Vec::new();
    let start = Instant::now();
    let mut n = 0;
    let total = WARM_UP + LATENCY_FRAMES;
    while sample.len() < LATENCY_FRAMES as usize {
        if n < total && start.elapsed() >= Duration::from_secs(1) * n / PACE {
            sent.insert(n, Instant::now());
            send(n);
            n += 1;
        }
        while let Ok((n, arrived)) = arrivals.try_recv() {
            if let Some(left) = sent.remove(&n).filter(|_| n >= WARM_UP) {
                sample.push(arrived - left);
            }
        }
        idle();
        assert!(start.elapsed() < Duration::from_secs(120), "{} of {LATENCY_FRAMES} arrived", sample.len());
    }
    let start = Instant::now();
    let (mut n, mut arrived) = (0, 0);
    while arrived < scale.frames {
        for _ in 0..50 {
            if n < scale.frames {
                send(1_000_000 + n);
                n += 1;
            }
        }
        while let Ok((n, _)) = arrivals.try_recv() {
            arrived += u32::from(n >= 1_000_000);
        }
        idle();
        assert!(start.elapsed() < Duration::from_secs(300), "{arrived} of {} arrived", scale.frames);
    }
    (Percentiles::of(sample), f64::from(scale.frames) / start.elapsed().as_secs_f64())
}

/// Publisher → broker → subscriber.
pub fn raw(scale: &Scale) -> Relayed {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let arrivals = subscribe(broker.port, plain);
    let client = publisher(broker.port);
    let mut send = |n| client.publish("bench/up", QoS::AtLeastOnce, false, body(n)).unwrap();
    let (latency, rate) =
        measure(scale, &arrivals, &mut send, &mut || thread::sleep(Duration::from_micros(50)));
    Relayed { latency, rate, flash_per_frame: 0.0 }
}

/// Publisher → bridging mosquitto → broker → subscriber.
pub fn bridge(scale: &Scale, durable: bool) -> Relayed {
    let dir = tempfile::tempdir().unwrap();
    let (near_dir, far_dir) = (dir.path().join("near"), dir.path().join("far"));
    for d in [&near_dir, &far_dir] {
        std::fs::create_dir(d).unwrap();
    }
    let far = Broker::start(&far_dir, "");
    let near = Broker::start(&near_dir, &bridge_config(far.port, &near_dir, durable));
    let arrivals = subscribe(far.port, plain);
    let client = publisher(near.port);
    // The bridge connects in its own time; nothing is measured before something came through.
    let start = Instant::now();
    while arrivals.recv_timeout(Duration::from_millis(200)).is_err() {
        client.publish("bench/up", QoS::AtLeastOnce, false, body(u32::MAX)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(60), "the bridge never connected");
    }
    let mut send = |n| client.publish("bench/up", QoS::AtLeastOnce, false, body(n)).unwrap();
    let (latency, rate) =
        measure(scale, &arrivals, &mut send, &mut || thread::sleep(Duration::from_micros(50)));
    Relayed { latency, rate, flash_per_frame: 0.0 }
}

fn bridge_config(far: u16, dir: &Path, durable: bool) -> String {
    let persistence = if durable {
        format!(
            "persistence true\nautosave_on_changes true\nautosave_interval 1\npersistence_location {}/\n",
            dir.display()
        )
    } else {
        String::new()
    };
    format!(
        "{persistence}connection bench\naddress 127.0.0.1:{far}\ntopic # out 1\nnotifications false\ntry_private false\n"
    )
}

/// Loopback radio → daemon → broker → subscriber.
pub fn daemon(scale: &Scale) -> Relayed {
    // Each has one datagram outstanding: as many as the raw publisher has in flight, and no more than a UDP
    // socket's default buffer holds.
    const LOCKS: u16 = 100;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path(), "");
    let arrivals = subscribe(broker.port, enveloped);
    let mut daemon = Daemon::start(dir.path(), broker.port, "");
    let mut radio = LoopRadio::new(daemon.loopback, LOCKS, 1_000);
    daemon.admit(&radio.labels());
    radio.announce();
    thread::sleep(Duration::from_secs(2));
    let before = written(daemon.process().id());
    let radio = std::cell::RefCell::new(&mut radio);
    let mut send = |n: u32| {
        let lock = lock_id(u16::try_from(n % u32::from(LOCKS)).unwrap());
        radio.borrow_mut().push(lock, datagram(Class::Log, &[&[0x09, 0][..], &body(n)].concat()));
    };
    let (latency, rate) = measure(scale, &arrivals, &mut send, &mut || radio.borrow_mut().step());
    let frames = f64::from(WARM_UP + LATENCY_FRAMES + scale.frames);
    let flash_per_frame = (written(daemon.process().id()) - before) as f64 / frames;
    Relayed { latency, rate, flash_per_frame }
}
