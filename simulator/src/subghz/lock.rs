//! A lock on 433 MHz: the real agent behind the link layer's other end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cardea_agent::{Config, Output};
use cardea_radio::AdmissionSecret;
use cardea_subghz_link::{MTU, Profile, Secret};
use tokio::time::{sleep, sleep_until};

use super::mailbox::Mailbox;
use super::{Ether, RadioConfig, RadioEvent, SerialEther};
use crate::lock::{Life, Made};
use crate::{FIRMWARE, Happening, Random, VirtualLock};

/// Until the agent says hello again when nobody answers, milliseconds.
const LINK_RETRY_MS: u32 = 2_000;
/// How long it listens after each frame of its own: what a broker takes to have a frame, and a platform to answer.
const LINGER_MS: u16 = 300;
/// Between two attempts to join: from, to.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

/// A lock of ours on an [`Ether`] or a [`SerialEther`]. Everything but its radio is a [`VirtualLock`]'s.
pub struct SubghzLock;

impl SubghzLock {
    /// Makes a lock that sleeps and listens at the profile's interval, with a crystal of its own. It is off until it is
    /// [switched on](VirtualLock::switch_on).
    ///
    /// # Errors
    /// As [`VirtualLock::new`], or the air is gone.
    pub fn new_lock(seed: u64, number: u64, profile: Profile, ether: &Ether) -> io::Result<VirtualLock> {
        Self::make(seed, number, profile, |config| ether.add(config))
    }

    /// Makes a lock with a serial module of the air's kind, which always listens. It is off until it is
    /// [switched on](VirtualLock::switch_on).
    ///
    /// # Errors
    /// As [`new_lock`](Self::new_lock).
    pub fn new_serial(seed: u64, number: u64, ether: &SerialEther) -> io::Result<VirtualLock> {
        Self::make(seed, number, Profile::Serial(ether.module()), |config| ether.add(config))
    }

    fn make(
        seed: u64,
        number: u64,
        profile: Profile,
        add: impl FnOnce(RadioConfig) -> Option<Mailbox>,
    ) -> io::Result<VirtualLock> {
        let random = Arc::new(Random::new(seed, number + 1));
        let made = Made::new(&random, number).map_err(io::Error::other)?;
        let mut secret = [0; 16];
        random.fill(&mut secret);
        let (chance, crystal) = (random.next_u64() as u32, random.below(81));
        let config = Config { link_retry_ms: LINK_RETRY_MS, ..Config::listening(FIRMWARE) };
        let admission = AdmissionSecret::Subghz { secret: secret.into() };
        let (mailbox, mailboxes) = std::sync::mpsc::channel();
        let lock = VirtualLock::with(random, made, admission, config, move |life| async move {
            let Ok(radio) = mailboxes.recv() else { return };
            run(life, radio).await;
        })?;
        let radio = add(RadioConfig {
            lock: lock.id().0,
            secret: Secret(secret),
            profile,
            interval_ms: profile.interval_ms(),
            linger_ms: LINGER_MS,
            seed: chance,
            ppm: crystal as f64 - 40.0,
        });
        let radio = radio.ok_or_else(|| io::Error::other("the air is gone"))?;
        mailbox.send(radio).map_err(|_| io::Error::other("the lock is gone"))?;
        Ok(lock)
    }
}

/// The lock's firmware: moves frames between the agent and the radio.
async fn run(mut life: Life, mut radio: Mailbox) {
    life.power().await;
    // As the radio remembers through a reset.
    let mut joined = false;
    loop {
        if !joined {
            joined = join(&life, &mut radio).await;
            if !joined {
                return;
            }
            life.tell(Happening::Joined);
        }
        life.agent.link_up();
        if !work(&mut life, &mut radio).await {
            return;
        }
        radio.reboot();
        match life.reborn() {
            Ok(again) => life = again,
            Err(error) => return tracing::error!(%error, "a virtual lock did not boot again"),
        }
    }
}

/// False: the air is gone.
async fn join(life: &Life, radio: &mut Mailbox) -> bool {
    let mut pause = PAUSE.0;
    loop {
        radio.join();
        loop {
            match radio.receive().await {
                Some(RadioEvent::Joined) => return true,
                Some(RadioEvent::NotJoined) => break,
                Some(_) => {}
                None => return false,
            }
        }
        life.tell(Happening::JoinFailed);
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(PAUSE.1),
            // Somebody is there: it tries again at once.
            () = life.touched.notified() => pause = PAUSE.0,
        }
    }
}

/// Until the next reset; false: the air is gone.
async fn work(life: &mut Life, radio: &mut Mailbox) -> bool {
    let mut frame = [0; MTU];
    // One is with the radio.
    let mut sending = false;
    loop {
        while !sending && let Some(output) = life.agent.poll_transmit(MTU, &mut frame) {
            // It listens anyway.
            let Output::Frame(len) = output else { continue };
            life.tell(Happening::Sent(len));
            radio.send(frame.get(..len).unwrap_or_default().to_vec());
            sending = true;
        }
        life.tell_events();
        let timeout = life.timeout();
        tokio::select! {
            poke = life.pokes.recv() => if life.poked(poke).await { return true },
            () = sleep_until(timeout) => life.agent.handle_timeout(),
            event = radio.receive() => match event {
                Some(RadioEvent::Received(frame)) => {
                    life.tell(Happening::Heard(frame.len()));
                    life.agent.handle_frame(&frame);
                }
                // Heard or not: framing says again what was lost.
                Some(RadioEvent::Outcome(_)) => sending = false,
                Some(_) => {}
                None => return false,
            },
        }
    }
}
