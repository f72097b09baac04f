//! What a product decides once for its radio and battery.

use cardea_resources::Firmware;

/// Timers, drift and version. All times in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The radio only listens after an uplink (LoRaWAN class A, sleepy Zigbee end device): the agent then asks for
    /// polls while it waits for something.
    pub sleepy: bool,
    /// How long after an uplink the radio's last receive window has closed. LoRaWAN with an RX1 delay of 5 s: 6000.
    pub rx2_close_ms: u32,
    /// Pause between that moment and the first poll.
    pub first_poll_ms: u32,
    /// Pause between that moment and each further poll.
    pub next_poll_ms: u32,
    /// Pause before the next poll when a fragment has arrived and its datagram is not whole.
    pub fragment_poll_ms: u32,
    /// Silence after which a running handshake is given up; each frame of it that arrives starts it anew.
    pub handshake_ms: u32,
    /// How long the platform may take to answer an event.
    pub answer_ms: u32,
    /// How long the announcement of a command that was carried out waits for the platform to fetch the log by itself.
    pub log_delay_ms: u32,
    /// Reporting interval of [`EventKind::Heartbeat`](cardea_resources::EventKind::Heartbeat), 0 for none.
    pub heartbeat_ms: u32,
    /// The radio link's retry interval for fragments and receipts.
    pub link_retry_ms: u32,
    /// Attempts before the link gives a datagram up.
    pub link_attempts: u8,
    /// How long an incomplete datagram is kept.
    pub reassembly_ms: u32,
    /// Worst-case drift of the clock over temperature and age, in parts per million.
    pub drift_ppm: u32,
    /// Below so many percent the battery is reported as low.
    pub battery_low: u8,
    /// From so many percent on it may be reported as low again. Above `battery_low`: a battery recovers when it rests.
    pub battery_good: u8,
    /// The vendor's key (P-256, SEC1 compressed), which may release a lock whose owner is gone. `None`: only the owner can. It is part of the
    /// firmware, and as safe as that is: who can change it can change everything.
    pub vendor: Option<[u8; 33]>,
    /// Reported in status and boot events.
    pub firmware: Firmware,
}

impl Config {
    /// A lock whose radio always listens: LoRaWAN class C, mains-powered Zigbee.
    pub fn listening(firmware: Firmware) -> Self {
        Self {
            sleepy: false,
            rx2_close_ms: 0,
            first_poll_ms: 0,
            next_poll_ms: 0,
            fragment_poll_ms: 0,
            handshake_ms: 30_000,
            answer_ms: 20_000,
            log_delay_ms: 5_000,
            heartbeat_ms: 60 * 60 * 1000,
            link_retry_ms: 4_000,
            link_attempts: 5,
            reassembly_ms: 60_000,
            drift_ppm: 50,
            battery_low: 20,
            battery_good: 30,
            vendor: None,
            firmware,
        }
    }

    /// A lock on LoRaWAN class A with an RX1 delay of 5 s.
    pub fn class_a(firmware: Firmware) -> Self {
        Self {
            sleepy: true,
            rx2_close_ms: 6_000,
            first_poll_ms: 2_000,
            next_poll_ms: 5_000,
            fragment_poll_ms: 500,
            handshake_ms: 120_000,
            answer_ms: 40_000,
            log_delay_ms: 45_000,
            link_retry_ms: 20_000,
            reassembly_ms: 180_000,
            ..Self::listening(firmware)
        }
    }
}
