//! Against a device stack that nobody here wrote: `lorawan-device`, unmodified, over virtual time.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use lorawan_device::async_device::radio::{
    PhyRxTx, RfConfig, RxConfig, RxQuality, RxStatus, Timer, TxConfig,
};
use lorawan_device::async_device::{Device, JoinResponse, SendResponse};
use lorawan_device::default_crypto::DefaultFactory;
use lorawan_device::region::{self, DR};
use lorawan_device::{AppEui, AppKey, DevEui, Prng};

use super::*;

/// The air between the device and the site; time moves when the device waits.
struct Air {
    site: Site,
    /// The gateway's next answer to an uplink.
    answer: Option<(LockId, Vec<u8>)>,
    heard_on: u32,
}

type Shared = Rc<RefCell<Air>>;

struct Radio {
    air: Shared,
    rx: Option<RfConfig>,
}

fn modulation(rf: &RfConfig) -> (u32, u8, u16) {
    (rf.frequency, rf.bb.sf.factor() as u8, (rf.bb.bw.hz() / 1000) as u16)
}

impl PhyRxTx for Radio {
    type PhyError = &'static str;
    const MAX_RADIO_POWER: u8 = 20;

    async fn tx(&mut self, config: TxConfig, bytes: &[u8]) -> Result<u32, Self::PhyError> {
        let mut air = self.air.borrow_mut();
        let (frequency, sf, bw) = modulation(&config.rf);
        air.heard_on = frequency;
        air.site.sent.clear();
        air.site.hear_on(frequency, sf, bw, bytes.to_vec());
        if let Some((lock, frame)) = air.answer.take() {
            let lock = Lock { id: lock, ..Lock::new(0, LorawanClass::A) };
            air.site.send(&lock, 1, &frame, 20_000);
        }
        Ok(0)
    }

    async fn setup_rx(&mut self, config: RxConfig) -> Result<(), Self::PhyError> {
        self.rx = Some(config.rf);
        Ok(())
    }

    async fn rx_continuous(&mut self, _: &mut [u8]) -> Result<(usize, RxQuality), Self::PhyError> {
        Err("class A does not listen all the time")
    }

    async fn rx_single(&mut self, buffer: &mut [u8]) -> Result<RxStatus, Self::PhyError> {
        let mut air = self.air.borrow_mut();
        let rx = modulation(self.rx.as_ref().ok_or("no receiver settings")?);
        let opened = air.site.tmst_now();
        air.site.pass(50);
        // A preamble that starts in the 30 ms after the receiver opened is heard, on these settings only.
        let heard = air.site.sent.iter().map(|(_, transmit)| transmit).find(|transmit| {
            transmit.tmst.is_some_and(|tmst| tmst.wrapping_sub(opened) < 30_000)
                && (transmit.frequency, transmit.sf, transmit.bw) == rx
        });
        Ok(match heard {
            Some(transmit) => {
                buffer[..transmit.data.len()].copy_from_slice(&transmit.data);
                RxStatus::Rx(transmit.data.len(), RxQuality::new(-60, 7))
            }
            None => RxStatus::RxTimeout,
        })
    }
}

impl lorawan_device::async_device::Timings for Radio {
    fn get_rx_window_lead_time_ms(&self) -> u32 {
        10
    }
}

struct Waiting {
    air: Shared,
    since: Millis,
}

impl Timer for Waiting {
    fn reset(&mut self) {
        self.since = self.air.borrow().site.now;
    }

    async fn at(&mut self, millis: u64) {
        let mut air = self.air.borrow_mut();
        let left = (self.since + millis).saturating_sub(air.site.now);
        air.site.pass(left);
    }

    async fn delay_ms(&mut self, millis: u64) {
        self.air.borrow_mut().site.pass(millis);
    }
}

/// Nothing here ever waits for anything but virtual time.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the device waits for something that never comes"),
    }
}

type Stack = Device<Radio, DefaultFactory, Waiting, Prng, 256>;

fn stack(config: LoraConfig) -> (Shared, Stack, Lock) {
    let region = match config.region {
        Region::Eu868 => lorawan_device::Region::EU868,
        Region::Us915 => lorawan_device::Region::US915,
    };
    let mut site = Site::new(config);
    let lock = Lock::new(1, LorawanClass::A);
    site.admit(&lock);
    let air = Rc::new(RefCell::new(Air { site, answer: None, heard_on: 0 }));
    let radio = Radio { air: air.clone(), rx: None };
    let timer = Waiting { air: air.clone(), since: 0 };
    let device = Stack::new_with_seed(region::Configuration::new(region), radio, timer, 42);
    (air, device, lock)
}

fn join(device: &mut Stack, lock: &Lock) -> JoinResponse {
    let reversed = |mut eui: [u8; 8]| {
        eui.reverse();
        eui
    };
    ready(device.join(&lorawan_device::JoinMode::OTAA {
        deveui: DevEui::from(reversed(lock.dev_eui)),
        appeui: AppEui::from(reversed(lock.join_eui)),
        appkey: AppKey::from(lock.app_key),
    }))
    .unwrap()
}

fn exchange(air: &Shared, device: &mut Stack, lock: &Lock, confirmed: bool) {
    air.borrow_mut().answer = Some((lock.id, b"unlock".to_vec()));
    let response = ready(device.send(b"touch", 10, confirmed)).unwrap();
    assert!(matches!(response, SendResponse::DownlinkReceived(_)), "{response:?}");
    let down = device.take_downlink().expect("a frame");
    assert_eq!((&down.data[..], down.fport), (&b"unlock"[..], 10));
    let mut air = air.borrow_mut();
    assert_eq!(&air.site.take_up().unwrap().frame[..], b"touch");
    assert_eq!(air.site.take_outcome(1), Some(Outcome::Sent));
    air.site.pass(3_000);
}

#[test]
fn eu868_joins_and_exchanges_frames() {
    let (air, mut device, lock) = stack(LoraConfig::default());
    assert!(matches!(join(&mut device, &lock), JoinResponse::JoinSuccess));
    for dr in [DR::_0, DR::_3, DR::_5] {
        device.set_datarate(dr);
        for _ in 0..5 {
            exchange(&air, &mut device, &lock, false);
        }
    }
    exchange(&air, &mut device, &lock, true);
    // An acknowledgement alone.
    let response = ready(device.send(b"touch", 10, true)).unwrap();
    assert!(matches!(response, SendResponse::DownlinkReceived(_)), "{response:?}");
    // A poll without an answer: no downlink at all.
    air.borrow_mut().site.pass(3_000);
    assert!(matches!(ready(device.send(b"", 10, false)).unwrap(), SendResponse::RxComplete));
    assert!(air.borrow_mut().site.take_window().is_some(), "an empty FRMPayload is a poll");
}

#[test]
fn us915_joins_keeps_to_its_sub_band_and_exchanges_frames() {
    let (air, mut device, lock) = stack(LoraConfig { region: Region::Us915, ..LoraConfig::default() });
    assert!(matches!(join(&mut device, &lock), JoinResponse::JoinSuccess));
    for dr in [DR::_0, DR::_1, DR::_3] {
        device.set_datarate(dr);
        for _ in 0..8 {
            exchange(&air, &mut device, &lock, false);
            let channel = (air.borrow().heard_on - 902_300_000) / 200_000;
            assert!((8..16).contains(&channel), "channel {channel}");
        }
    }
    exchange(&air, &mut device, &lock, true);
}

#[test]
fn rx2_works_for_joins_and_frames() {
    for region in [Region::Eu868, Region::Us915] {
        let (air, mut device, lock) = stack(LoraConfig { region, ..LoraConfig::default() });
        air.borrow_mut().site.mood = Mood::RefusesOnce("COLLISION_PACKET");
        assert!(matches!(join(&mut device, &lock), JoinResponse::JoinSuccess), "{region:?}");
        exchange(&air, &mut device, &lock, false);
        air.borrow_mut().site.mood = Mood::RefusesOnce("TOO_LATE");
        exchange(&air, &mut device, &lock, false);
    }
}

#[test]
fn a_new_rx1_delay_reaches_the_device_and_a_restart_of_the_network_does_not_lose_it() {
    let (air, mut device, lock) = stack(LoraConfig::default());
    assert!(matches!(join(&mut device, &lock), JoinResponse::JoinSuccess));
    exchange(&air, &mut device, &lock, false);
    let restart = |config| {
        let mut air = air.borrow_mut();
        let (store, now) = (air.site.store.clone(), air.site.now);
        air.site = Site::restart(config, store, now);
    };
    restart(LoraConfig { rx1_delay: 2, ..LoraConfig::default() });
    // The request goes down with the first, its answer comes up with the second, which is heard 2 s later.
    for _ in 0..4 {
        exchange(&air, &mut device, &lock, false);
    }
    let device_session = air.borrow().site.network.devices[&lock.id].active.as_ref().unwrap().rx.delay;
    assert_eq!(device_session, 2);
    restart(LoraConfig { rx1_delay: 2, ..LoraConfig::default() });
    exchange(&air, &mut device, &lock, false);
}
