//! The radio and the timer that the unmodified `lorawan-device` stack is given.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lorawan_device::async_device::{
    Timings,
    radio::{PhyRxTx, RfConfig, RxConfig, RxQuality, RxStatus, Timer, TxConfig},
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, sleep, sleep_until, timeout_at},
};

use crate::air::{Air, Modulation, Transmission};

/// How far a receive window reaches before and after its nominal start. Real radios have some milliseconds.
const LEAD: Duration = Duration::from_millis(50);
/// How long a window waits for news of a transmission that began inside it, on a machine that is busy.
const GRACE: Duration = Duration::from_millis(150);

/// What radio and timer share: windows are measured from the true end of the last transmission, so that a busy
/// machine makes them late in the simulation's execution but never in its time.
#[derive(Clone)]
struct Moments(Arc<Mutex<(Instant, Instant)>>);

impl Moments {
    fn sent(&self) -> Instant {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn window(&self) -> Instant {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    fn set_sent(&self, at: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = at;
    }

    fn set_window(&self, at: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = at;
    }
}

/// A LoRa transceiver on an [`Air`].
pub(crate) struct Radio {
    air: Arc<Air>,
    heard: broadcast::Receiver<Arc<Transmission>>,
    moments: Moments,
    /// The channel listened on, and since when.
    tuned: Option<(Modulation, Instant)>,
    /// A transmission being received; survives that its future is dropped.
    receiving: Option<Arc<Transmission>>,
}

/// The stack's timer; zero is the end of the last transmission.
pub(crate) struct RadioTimer(Moments);

/// A radio and its timer.
pub(crate) fn radio(air: &Arc<Air>) -> (Radio, RadioTimer) {
    let now = Instant::now();
    let moments = Moments(Arc::new(Mutex::new((now, now))));
    let heard = air.listen();
    let radio = Radio { air: air.clone(), heard, moments: moments.clone(), tuned: None, receiving: None };
    (radio, RadioTimer(moments))
}

impl Timer for RadioTimer {
    fn reset(&mut self) {}

    async fn at(&mut self, millis: u64) {
        let at = self.0.sent() + Duration::from_millis(millis);
        self.0.set_window(at);
        sleep_until(at).await;
    }

    async fn delay_ms(&mut self, millis: u64) {
        sleep(Duration::from_millis(millis)).await;
    }
}

impl Timings for Radio {
    fn get_rx_window_lead_time_ms(&self) -> u32 {
        LEAD.as_millis() as u32
    }
}

impl PhyRxTx for Radio {
    type PhyError = Infallible;
    const MAX_RADIO_POWER: u8 = 14;

    async fn tx(&mut self, config: TxConfig, buf: &[u8]) -> Result<u32, Infallible> {
        self.receiving = None;
        let end = self.air.transmit(Instant::now(), modulation(config.rf, false), buf.to_vec());
        self.moments.set_sent(end);
        sleep_until(end).await;
        Ok(0)
    }

    async fn setup_rx(&mut self, config: RxConfig) -> Result<(), Infallible> {
        self.receiving = None;
        self.tuned = Some((modulation(config.rf, true), Instant::now()));
        Ok(())
    }

    async fn rx_continuous(&mut self, buf: &mut [u8]) -> Result<(usize, RxQuality), Infallible> {
        loop {
            if let Some(transmission) = &self.receiving {
                sleep_until(transmission.end).await;
                let len = copy(transmission, buf);
                self.receiving = None;
                return Ok((len, quality()));
            }
            match self.heard.recv().await {
                Ok(transmission) => {
                    if self.hears(&transmission, self.tuned.map(|(_, since)| since), None) {
                        self.receiving = Some(transmission);
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    async fn rx_single(&mut self, buf: &mut [u8]) -> Result<RxStatus, Infallible> {
        let opens = self.moments.window();
        let closes = opens + 2 * LEAD;
        while let Ok(heard) = timeout_at(closes + GRACE, self.heard.recv()).await {
            match heard {
                Ok(transmission) if self.hears(&transmission, Some(opens), Some(closes)) => {
                    sleep_until(transmission.end).await;
                    return Ok(RxStatus::Rx(copy(&transmission, buf), quality()));
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break,
            }
        }
        Ok(RxStatus::RxTimeout)
    }
}

impl Radio {
    /// On this channel, begun while this radio listened, and not lost.
    fn hears(&self, transmission: &Transmission, from: Option<Instant>, to: Option<Instant>) -> bool {
        self.tuned.is_some_and(|(channel, _)| channel == transmission.modulation)
            && from.is_some_and(|from| transmission.start >= from)
            && to.is_none_or(|to| transmission.start <= to)
            && self.air.is_heard()
    }
}

fn modulation(rf: RfConfig, inverted: bool) -> Modulation {
    let spreading_factor = u8::try_from(rf.bb.sf.factor()).unwrap_or(12);
    Modulation { frequency: rf.frequency, spreading_factor, bandwidth: rf.bb.bw.hz(), inverted }
}

fn copy(transmission: &Transmission, buf: &mut [u8]) -> usize {
    buf.iter_mut().zip(&transmission.payload).map(|(to, from)| *to = *from).count()
}

fn quality() -> RxQuality {
    RxQuality::new(-60, 7)
}
