//! Starts parts again that end or panic. The daemon never exits for one of them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cardea_core::RadioId;
use cardea_radio::{Clock, DriverEnd, GatewayEnd, NetworkStore};
use cardea_upstream::{Backoff, Handle, Mqtt, MqttConfig, Upstream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Frames and commands that may wait between relay and driver.
const CHANNEL: usize = 512;

/// A part that ran this long was not broken when it started.
const GOOD_RUN: Duration = Duration::from_secs(60);

/// What the supervisor tells the relay loop.
pub(crate) enum Part {
    /// A driver was started; its end of the channel.
    Radio(RadioId, GatewayEnd),
    /// A driver ended, and why; it is started again soon.
    RadioLost(RadioId, String),
    /// A broker link was started.
    Upstream(Handle),
}

/// Runs one driver until it ends; the text says why.
pub(crate) type Driver =
    Arc<dyn Fn(DriverEnd) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// What every part needs.
#[derive(Clone)]
pub(crate) struct Supervisor {
    pub(crate) clock: Clock,
    pub(crate) parts: mpsc::Sender<Part>,
    /// True once the daemon is stopping: what ends then is not started again.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Supervisor {
    /// Keeps a driver running.
    pub(crate) fn radio(
        &self,
        id: RadioId,
        name: &'static str,
        store: Arc<dyn NetworkStore>,
        driver: Driver,
    ) -> JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move {
            let mut backoff = backoff();
            loop {
                let (gateway_end, driver_end) = cardea_radio::channel(CHANNEL, this.clock, store.clone());
                if this.parts.send(Part::Radio(id, gateway_end)).await.is_err() {
                    return;
                }
                let started = Instant::now();
                let why = match tokio::spawn(driver(driver_end)).await {
                    Ok(Ok(())) => "ended".to_owned(),
                    Ok(Err(why)) => why,
                    Err(error) => panic_text(error),
                };
                if *this.stopping.borrow() || !this.again(name, &why, started, &mut backoff, Some(id)).await {
                    return;
                }
            }
        })
    }

    /// Keeps the broker link running, from the time on when `owned` is true.
    pub(crate) fn upstream(&self, config: MqttConfig, mut owned: watch::Receiver<bool>) -> JoinHandle<()> {
        let this = self.clone();
        tokio::spawn(async move {
            let mut backoff = backoff();
            loop {
                // The relay loop waits for it once, whoever owns the gateway.
                let (handle, port) = cardea_upstream::link();
                if this.parts.send(Part::Upstream(handle)).await.is_err() || !this.wait_for(&mut owned).await
                {
                    return;
                }
                let started = Instant::now();
                let Err(error) = tokio::spawn(Upstream::run(Mqtt::new(config.clone()), port)).await else {
                    return; // Its handle was dropped.
                };
                if !this.again("broker link", &panic_text(error), started, &mut backoff, None).await {
                    return;
                }
            }
        })
    }

    /// Waits until `holds` is true; false when the daemon stops before.
    async fn wait_for(&self, holds: &mut watch::Receiver<bool>) -> bool {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            held = holds.wait_for(|holds| *holds) => held.is_ok(),
            _ = stopping.wait_for(|stopping| *stopping) => false,
        }
    }

    /// Says that a part ended and waits; false when the daemon stops meanwhile.
    async fn again(
        &self,
        name: &str,
        why: &str,
        started: Instant,
        backoff: &mut Backoff,
        radio: Option<RadioId>,
    ) -> bool {
        if started.elapsed() >= GOOD_RUN {
            backoff.reset();
        }
        let wait = backoff.wait();
        tracing::error!(part = name, why, retry_ms = wait.as_millis() as u64, "part of the gateway ended");
        if let Some(id) = radio
            && self.parts.send(Part::RadioLost(id, why.to_owned())).await.is_err()
        {
            return false;
        }
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            _ = stopping.wait_for(|stopping| *stopping) => false,
        }
    }
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(60))
}

/// What a task died of.
fn panic_text(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            format!("crashed: {}", text.unwrap_or_else(|| "unknown reason".into()))
        }
        Err(_) => "was cancelled".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use cardea_radio::{Event, Health, MemoryStore};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_panics_fails_or_ends_is_started_again_until_the_daemon_stops() {
        let (parts, mut told) = mpsc::channel(8);
        let (stop, stopping) = watch::channel(false);
        let supervisor = Supervisor { clock: Clock::start(), parts, stopping };
        let starts = Arc::new(AtomicU32::new(0));
        let counted = starts.clone();
        let driver: Driver = Arc::new(move |end: DriverEnd| {
            let start = counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                let _ = end.events.send(Event::Health(Health { up: true, detail: String::new() })).await;
                match start {
                    0 => panic!("of a bug"),
                    1 => Err("no such device".into()),
                    2 => Ok(()),
                    _ => std::future::pending().await,
                }
            })
        });
        let task = supervisor.radio(RadioId(0), "test", Arc::new(MemoryStore::new()), driver);
        for why in ["crashed: of a bug", "no such device", "ended"] {
            assert!(matches!(told.recv().await, Some(Part::Radio(RadioId(0), _))));
            match told.recv().await {
                Some(Part::RadioLost(RadioId(0), said)) => assert_eq!(said, why),
                _ => panic!("the end is told"),
            }
        }
        assert!(matches!(told.recv().await, Some(Part::Radio(..))));
        assert_eq!(starts.load(Ordering::Relaxed), 4);
        stop.send_replace(true);
        task.abort();
    }
}
