//! Percentiles, and what the system says of disks and processes.

use std::{
    fmt,
    fs::File,
    io::Write,
    time::{Duration, Instant},
};

/// Of a sorted sample.
#[derive(Clone, Copy)]
pub struct Percentiles {
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl Percentiles {
    pub fn of(mut sample: Vec<Duration>) -> Self {
        sample.sort_unstable();
        let at = |share: usize| sample[(sample.len() * share / 100).min(sample.len() - 1)];
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        write!(f, "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", ms(self.p50), ms(self.p99), ms(self.max))
    }
}

/// The disk's own speed, beside which every durable figure must be read.
pub fn fsync(times: usize) -> Percentiles {
    let dir = tempfile::tempdir().unwrap();
    let mut file = File::create(dir.path().join("fsync")).unwrap();
    let sample = (0..times).map(|_| {
        let start = Instant::now();
        file.write_all(&[0x5A; 4096]).unwrap();
        file.sync_data().unwrap();
        start.elapsed()
    });
    Percentiles::of(sample.collect())
}

/// Bytes this process has caused to be written to storage (`write_bytes` of /proc/pid/io).
pub fn written(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/io"), "write_bytes:")
}

/// Resident memory of this process, KiB.
pub fn resident(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/status"), "VmRSS:")
}

fn field(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
