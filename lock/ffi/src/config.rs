//! [`cardea_config`] and the two products most locks are.
#![allow(unsafe_code)] // writes to memory of the caller

use cardea_agent::Config;
use cardea_credentials::PublicKey;
use cardea_resources::Firmware;

use crate::abi::cardea_status::{self, *};
use crate::abi::{CARDEA_PUBLIC_KEY_LEN, cardea_config};
use crate::memory::{bytes, give, take};
use crate::status::answer;

/// Fills `config`, whose `size` must be set, for a lock whose radio always listens: LoRaWAN class C, mains-powered
/// Zigbee. The firmware version is left 0.0.0.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_config_listening(config: *mut cardea_config) -> cardea_status {
    // SAFETY: passed on.
    answer(|| unsafe { give(config, &to_c(&Config::listening(Firmware::default()))) }.map(|()| CARDEA_OK))
}

/// Fills `config`, whose `size` must be set, for a lock on LoRaWAN class A with an RX1 delay of 5 s.
// SAFETY: the prefix `cardea_` is ours; memory is as the header's rules say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cardea_config_class_a(config: *mut cardea_config) -> cardea_status {
    // SAFETY: passed on.
    answer(|| unsafe { give(config, &to_c(&Config::class_a(Firmware::default()))) }.map(|()| CARDEA_OK))
}

/// Reads a configuration; what later versions add and this caller does not know stays at its default.
///
/// # Safety
/// `config` is null or as the header says.
pub(crate) unsafe fn read(config: *const cardea_config) -> Result<Config, cardea_status> {
    // SAFETY: passed on.
    let c = unsafe { take(config)? };
    let never_zero = [c.handshake_ms, c.answer_ms, c.link_retry_ms, c.link_attempts, c.reassembly_ms];
    let attempts = u8::try_from(c.link_attempts).map_err(|_| CARDEA_ERR_ARGUMENT)?;
    if never_zero.contains(&0) || c.sleepy > 1 {
        return Err(CARDEA_ERR_ARGUMENT);
    }
    let standard = Config::listening(Firmware::default());
    let percent = |given: u32, default: u8| match u8::try_from(given) {
        Ok(0) => Ok(default),
        Ok(percent) if percent <= 100 => Ok(percent),
        _ => Err(CARDEA_ERR_ARGUMENT),
    };
    let battery_low = percent(c.battery_low, standard.battery_low)?;
    let battery_good = percent(c.battery_good, standard.battery_good)?;
    if battery_low >= battery_good {
        return Err(CARDEA_ERR_ARGUMENT);
    }
    // SAFETY: the header asks for null or that many bytes.
    let vendor = unsafe { vendor(c.vendor)? };
    let firmware = Firmware { major: c.firmware_major, minor: c.firmware_minor, patch: c.firmware_patch };
    Ok(Config {
        sleepy: c.sleepy == 1,
        rx2_close_ms: c.rx2_close_ms,
        first_poll_ms: c.first_poll_ms,
        next_poll_ms: c.next_poll_ms,
        fragment_poll_ms: c.fragment_poll_ms,
        handshake_ms: c.handshake_ms,
        answer_ms: c.answer_ms,
        log_delay_ms: c.log_delay_ms,
        heartbeat_ms: c.heartbeat_ms,
        link_retry_ms: c.link_retry_ms,
        link_attempts: attempts,
        reassembly_ms: c.reassembly_ms,
        drift_ppm: c.drift_ppm,
        battery_low,
        battery_good,
        vendor,
        firmware,
    })
}

/// The key that may release a lock, if there is one: on the curve, or no boot. The agent would only never be released.
///
/// # Safety
/// `key` is null or points to `CARDEA_PUBLIC_KEY_LEN` bytes.
unsafe fn vendor(key: *const u8) -> Result<Option<[u8; 33]>, cardea_status> {
    if key.is_null() {
        return Ok(None);
    }
    // SAFETY: passed on.
    let sec1 = unsafe { bytes::<CARDEA_PUBLIC_KEY_LEN>(key)? };
    Ok(Some(PublicKey::from_sec1(&sec1)?.to_compressed()))
}

fn to_c(config: &Config) -> cardea_config {
    cardea_config {
        size: size_of::<cardea_config>(),
        sleepy: config.sleepy.into(),
        rx2_close_ms: config.rx2_close_ms,
        first_poll_ms: config.first_poll_ms,
        next_poll_ms: config.next_poll_ms,
        fragment_poll_ms: config.fragment_poll_ms,
        handshake_ms: config.handshake_ms,
        answer_ms: config.answer_ms,
        log_delay_ms: config.log_delay_ms,
        heartbeat_ms: config.heartbeat_ms,
        link_retry_ms: config.link_retry_ms,
        link_attempts: config.link_attempts.into(),
        reassembly_ms: config.reassembly_ms,
        drift_ppm: config.drift_ppm,
        firmware_major: config.firmware.major,
        firmware_minor: config.firmware.minor,
        firmware_patch: config.firmware.patch,
        battery_low: config.battery_low.into(),
        battery_good: config.battery_good.into(),
        vendor: core::ptr::null(),
    }
}
