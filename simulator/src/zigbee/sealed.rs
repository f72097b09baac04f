//! A lock of ours on Zigbee: the real agent behind the tunnel's cluster.

use std::io;
use std::sync::Arc;

use cardea_agent::{Config, Output};
use cardea_radio::AdmissionSecret;
use cardea_zigbee::descriptors::{Clusters, SimpleDescriptor};
use cardea_zigbee::tunnel::{MAX_FRAME, Tunnel};
use cardea_zigbee::zcl::id;
use cardea_zigbee::{Eui64, InstallCode};
use crc::{CRC_16_IBM_SDLC, Crc};
use tokio::time::sleep_until;

use super::door_lock::node;
use super::{Asdu, DeviceConfig, Dongle, Downlink, Mailbox, Uplink};
use crate::lock::{Life, Made};
use crate::{FIRMWARE, Happening, Random, VirtualLock};

const ENDPOINT: u8 = 1;
const HOME_AUTOMATION: u16 = 0x0104;
const DEVICE_DOOR_LOCK: u16 = 0x000A;
/// Kinds of locks, in their addresses.
const SEALED: u8 = 0xA2;
const ORDINARY: u8 = 0xA4;
/// Far from the streams of sealed locks, which are numbered from 1.
const ORDINARY_STREAM: u64 = 1 << 32;
/// Until the agent says hello again when nobody answers, milliseconds.
const LINK_RETRY_MS: u32 = 2_000;

/// What the label of a lock or a router says.
#[derive(Debug, Clone)]
pub struct Label {
    /// Who.
    pub eui: Eui64,
    /// With its CRC.
    pub code: InstallCode,
}

/// A lock of ours in a dongle's air. Everything but its radio is a [`VirtualLock`]'s.
pub struct SealedLock {
    lock: VirtualLock,
    label: Label,
}

impl SealedLock {
    /// Makes a lock that sleeps and polls every `poll` milliseconds, and switches it on: it looks for a network that is open.
    ///
    /// # Errors
    /// As [`VirtualLock::new`].
    pub fn start(seed: u64, number: u64, poll: u64, dongle: &Dongle) -> io::Result<Self> {
        let random = Arc::new(Random::new(seed, number + 1));
        let made = Made::new(&random, number).map_err(io::Error::other)?;
        let label = Label::new(SEALED, &random, number).map_err(io::Error::other)?;
        let clusters = Clusters { servers: vec![id::BASIC, Tunnel::TEST.cluster], clients: Vec::new() };
        let endpoint = SimpleDescriptor {
            endpoint: ENDPOINT,
            profile: HOME_AUTOMATION,
            device: DEVICE_DOOR_LOCK,
            version: 1,
            clusters,
        };
        let radio = dongle.add(DeviceConfig {
            eui: label.eui,
            code: Some(label.code.clone()),
            unique_key: true,
            poll: Some(poll),
            node: node(false),
            endpoints: vec![endpoint],
        });
        let config = Config { link_retry_ms: LINK_RETRY_MS, ..Config::listening(FIRMWARE) };
        let install_code = label.code.as_bytes().to_vec().into();
        let secret = AdmissionSecret::Zigbee { eui: label.eui.0, install_code };
        let lock = VirtualLock::with(random, made, secret, config, |life| run(life, radio))?;
        lock.switch_on();
        Ok(Self { lock, label })
    }

    /// What its radio label says.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// The lock behind the radio.
    #[must_use]
    pub fn lock(&mut self) -> &mut VirtualLock {
        &mut self.lock
    }

    /// The same, for who has no use for its label beyond [`VirtualLock::admission`].
    #[must_use]
    pub fn into_lock(self) -> VirtualLock {
        self.lock
    }
}

impl Label {
    /// Of the n-th ordinary lock: another address and code than any sealed one has.
    ///
    /// # Errors
    /// None: the code is made to be one.
    pub fn ordinary(seed: u64, number: u64) -> Result<Self, cardea_zigbee::DecodeError> {
        Self::new(ORDINARY, &Random::new(seed, ORDINARY_STREAM.wrapping_add(number)), number)
    }

    /// `kind`: the fourth byte of its address, all of which are administered locally.
    pub(super) fn new(kind: u8, random: &Random, number: u64) -> Result<Self, cardea_zigbee::DecodeError> {
        let mut eui = [0x02, 0xCA, 0xDE, kind, 0, 0, 0, 0];
        eui.iter_mut().rev().zip(number.to_le_bytes()).take(4).for_each(|(to, from)| *to = from);
        let mut code = [0; 18];
        let (bytes, crc) = code.split_at_mut(16);
        random.fill(bytes);
        crc.copy_from_slice(&Crc::<u16>::new(&CRC_16_IBM_SDLC).checksum(bytes).to_le_bytes());
        Ok(Self { eui: Eui64(eui), code: InstallCode::new(&code)? })
    }
}

/// The lock's firmware: moves frames between the agent and the radio.
async fn run(mut life: Life, mut radio: Mailbox) {
    life.power().await;
    radio.send(Uplink::Power(true));
    let mut sequence = 0;
    // In the network, as the radio remembers through a reset of the lock.
    let mut joined = false;
    loop {
        while !joined {
            match radio.receive().await {
                Some(Downlink::Joined) => joined = true,
                Some(_) => {}
                None => return,
            }
        }
        life.tell(Happening::Joined);
        life.agent.link_up();
        match work(&mut life, &mut radio, &mut sequence).await {
            Ended::Left => joined = false,
            Ended::Reset => match life.reborn() {
                Ok(again) => life = again,
                Err(error) => return tracing::error!(%error, "a virtual lock did not boot again"),
            },
            Ended::NoAir => return,
        }
    }
}

enum Ended {
    Left,
    Reset,
    NoAir,
}

async fn work(life: &mut Life, radio: &mut Mailbox, sequence: &mut u8) -> Ended {
    let mut frame = [0; MAX_FRAME];
    let mut gateway = ENDPOINT;
    loop {
        while let Some(output) = life.agent.poll_transmit(MAX_FRAME, &mut frame) {
            // Its parent is polled anyway.
            let Output::Frame(len) = output else { continue };
            life.tell(Happening::Sent(len));
            *sequence = sequence.wrapping_add(1);
            match Tunnel::TEST.from_lock(*sequence, frame.get(..len).unwrap_or(&[])) {
                Ok(payload) => radio.send(Uplink::Frame(Asdu {
                    profile: HOME_AUTOMATION,
                    cluster: Tunnel::TEST.cluster,
                    src_endpoint: ENDPOINT,
                    dst_endpoint: gateway,
                    payload,
                })),
                Err(error) => tracing::error!(%error, "the agent's frame does not fit"),
            }
        }
        life.tell_events();
        let timeout = life.timeout();
        tokio::select! {
            poke = life.pokes.recv() => if life.poked(poke).await { return Ended::Reset },
            () = sleep_until(timeout) => life.agent.handle_timeout(),
            downlink = radio.receive() => match downlink {
                Some(Downlink::Frame(asdu)) if asdu.cluster == Tunnel::TEST.cluster => {
                    if let Ok(frame) = Tunnel::TEST.parse_to_lock(&asdu.payload) {
                        gateway = asdu.src_endpoint;
                        life.tell(Happening::Heard(frame.len()));
                        life.agent.handle_frame(frame);
                    }
                }
                Some(Downlink::Left) => return Ended::Left,
                Some(_) => {}
                None => return Ended::NoAir,
            },
        }
    }
}
