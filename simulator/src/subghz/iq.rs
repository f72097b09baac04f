//! What was on the air as samples, for a receiver that nobody here wrote.

use std::f64::consts::TAU;

use super::air::Burst;
use crate::Random;

/// How a burst is sampled.
#[derive(Debug, Clone, Copy)]
pub struct Iq {
    /// Samples a second.
    pub rate: f64,
    /// What the receiver is tuned to, Hz.
    pub centre_hz: f64,
    /// Signal above noise in the whole bandwidth, dB.
    pub snr_db: f64,
    /// A 1 below the carrier instead of above.
    pub inverted: bool,
}

/// Unsigned bytes, I and Q in turn, with noise before and behind, and one byte more on the air than the burst has: a receiver in
/// software may lose the last bits before the carrier goes, which a chip does not need.
#[must_use]
pub fn cu8(burst: &Burst, iq: Iq, chance: &Random) -> Vec<u8> {
    let bytes: Vec<u8> = burst.bytes.iter().copied().chain([0x55]).collect();
    let per_bit = burst.byte_ns as f64 / 8e9 * iq.rate;
    let signal = (bytes.len() as f64 * 8.0 * per_bit) as usize;
    let quiet = (iq.rate * 0.02) as usize;
    let amplitude = 0.5;
    let noise = amplitude / 10_f64.powf(iq.snr_db / 20.0) / std::f64::consts::SQRT_2;
    let level = |sample: f64| -> f64 {
        let bit = (sample / per_bit).max(0.0) as usize;
        let byte = bytes.get(bit / 8).copied().unwrap_or(0);
        let one = byte >> (7 - bit % 8) & 1 == 1;
        if one != iq.inverted { 1.0 } else { -1.0 }
    };
    let mut phase = 0.0;
    let mut out = Vec::with_capacity(2 * (signal + 2 * quiet));
    for at in 0..signal + 2 * quiet {
        let (mut i, mut q) = (gauss(chance) * noise, gauss(chance) * noise);
        if (quiet..quiet + signal).contains(&at) {
            let sample = (at - quiet) as f64;
            // A Gaussian filter of BT 0.5 is about this wide; three points of it are smooth enough at these rates.
            let shaped = if burst.gaussian {
                let d = per_bit * 0.25;
                (level(sample - d) + 2.0 * level(sample) + level((sample + d).min(signal as f64 - 1.0))) / 4.0
            } else {
                level(sample)
            };
            phase += TAU * (burst.carrier_hz - iq.centre_hz + burst.deviation_hz * shaped) / iq.rate;
            i += amplitude * phase.cos();
            q += amplitude * phase.sin();
        }
        out.extend([i, q].map(|part| (127.5 + part * 127.0).clamp(0.0, 255.0) as u8));
    }
    out
}

/// Normal, near enough: a sum of six.
fn gauss(chance: &Random) -> f64 {
    let unit = |_| (chance.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    ((0..6).map(unit).sum::<f64>() - 3.0) * std::f64::consts::SQRT_2
}
