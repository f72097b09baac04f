use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use cardea_agent::{Agent, AgentEvent, Config, Output, Parts, provision};
use cardea_credentials::{OwnerCode, SoftAgreement, SoftSigner};
use cardea_framing::LockId;
use cardea_radio::{Admission, AdmissionSecret, LorawanClass};
use cardea_resources::{Bolt, Firmware};
use lorawan_device::{
    AppEui, AppKey, DevEui, JoinMode,
    async_device::{DR, Device, Error, JoinResponse, region},
    default_crypto::DefaultFactory,
};
use tokio::{
    net::UdpSocket,
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Air, Random,
    board::{Crystal, Entropy, Motor, Nvm, VirtualBoard},
    radio::{Radio, RadioTimer, radio},
};

/// The port of Cardea's frames (docs/protocol.md).
const FPORT: u8 = 10;
/// Largest frame on a gateway's loopback radio.
const LOOPBACK_MTU: usize = 242;
/// FOpts may take up to 15 bytes of what a data rate carries.
const FOPTS: usize = 15;

type Stack = Device<Radio, DefaultFactory, RadioTimer, DeviceRandom, 256, 4>;

/// Where a lock is sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// 868 MHz, data rate 5 (SF7, 125 kHz).
    Eu868,
    /// 915 MHz, data rate 3 (SF7, 125 kHz).
    Us915,
}

/// The firmware that virtual locks report. So odd a number that its encoding is found nowhere by chance: whoever
/// looks for it in a gateway or at a broker looks for plaintext.
pub const FIRMWARE: Firmware = Firmware { major: 199, minor: 94, patch: 43_293 };

/// What a virtual lock is made with.
#[derive(Debug, Clone, Copy)]
pub struct LockConfig {
    /// Makes this lock's keys, EUIs and chance, together with the seed of the simulation.
    pub number: u64,
    /// When it listens.
    pub class: LorawanClass,
    /// On which frequencies.
    pub region: Region,
}

/// What happened to a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// It was accepted into the radio network.
    Joined,
    /// No join accept came; it tries again.
    JoinFailed,
    /// It sent a frame of this many bytes; 0 is a poll.
    Sent(usize),
    /// It heard a frame of this many bytes.
    Heard(usize),
    /// The agent said so.
    Agent(AgentEvent),
}

/// A [`Happening`] and its time.
pub type Happened = (Instant, Happening);

/// What the world does to a lock.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Poke {
    Power,
    Touch,
    Turn(Bolt),
    Reset,
}

/// A running virtual lock; it stops when dropped.
pub struct VirtualLock {
    admission: Admission,
    owner_code: OwnerCode,
    thumbprint: [u8; 32],
    pokes: mpsc::UnboundedSender<Poke>,
    touched: Arc<Notify>,
    happenings: mpsc::UnboundedReceiver<Happened>,
    bolt: watch::Receiver<Bolt>,
    task: JoinHandle<()>,
}

impl VirtualLock {
    /// Makes a lock and switches it on.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn start(seed: u64, config: LockConfig, air: &Arc<Air>) -> io::Result<Self> {
        let lock = Self::new(seed, config, air)?;
        lock.switch_on();
        Ok(lock)
    }

    /// Makes a lock from `seed` and its number. It is off until [`switch_on`](Self::switch_on).
    ///
    /// # Errors
    /// The agent does not boot: a fault of the simulation.
    pub fn new(seed: u64, config: LockConfig, air: &Arc<Air>) -> io::Result<Self> {
        let random = Arc::new(Random::new(seed, config.number + 1));
        let agent_config = match config.class {
            LorawanClass::A => Config::class_a(FIRMWARE),
            LorawanClass::C => Config::listening(FIRMWARE),
        };
        let made = Made::new(&random, config.number).map_err(io::Error::other)?;
        let (radio, timer) = radio(air);
        let mut stack = Device::new(region_of(config.region), radio, timer, DeviceRandom(random.clone()));
        let data_rate = match config.region {
            Region::Eu868 => DR::_5,
            Region::Us915 => DR::_3,
        };
        stack.set_datarate(data_rate);
        let mtu = usize::from(stack.get_region().get_max_payload_length(data_rate, false, false));
        // M is the MACPayload: FHDR without options and FPort take 8 bytes of it.
        let mtu = mtu.saturating_sub(8 + FOPTS);
        let join = JoinMode::OTAA {
            // This stack takes EUIs in the order of the wire, least significant byte first.
            deveui: DevEui::from(reversed(made.dev_eui)),
            appeui: AppEui::from(reversed(made.join_eui)),
            appkey: AppKey::from(made.app_key),
        };
        let secret = AdmissionSecret::Lorawan {
            dev_eui: made.dev_eui,
            join_eui: made.join_eui,
            app_key: made.app_key.into(),
            class: config.class,
        };
        Self::with(random, made, secret, agent_config, |life| life.run(stack, join, mtu, config.class))
    }

    /// Makes a lock on a gateway's loopback radio (UDP at `gateway`) and switches it on: no air, no waiting.
    ///
    /// # Errors
    /// As [`Self::new`], or no socket can be had.
    pub fn on_loopback(seed: u64, number: u64, gateway: SocketAddr) -> io::Result<Self> {
        let random = Arc::new(Random::new(seed, number + 1));
        let made = Made::new(&random, number).map_err(io::Error::other)?;
        let socket = std::net::UdpSocket::bind((gateway.ip(), 0))?;
        socket.connect(gateway)?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let agent_config = Config { link_retry_ms: 1_000, ..Config::listening(FIRMWARE) };
        let lock = Self::with(random, made, AdmissionSecret::Loopback, agent_config, |life| {
            life.run_on_loopback(socket)
        })?;
        lock.switch_on();
        Ok(lock)
    }

    pub(crate) fn with<F: Future<Output = ()> + Send + 'static>(
        random: Arc<Random>,
        made: Made,
        secret: AdmissionSecret,
        agent_config: Config,
        run: impl FnOnce(Life) -> F,
    ) -> io::Result<Self> {
        let (pokes, poked) = mpsc::unbounded_channel();
        let (told, happenings) = mpsc::unbounded_channel();
        let touched = Arc::new(Notify::new());
        let (bolt, watched) = watch::channel(Bolt::Locked);
        let nvm = Nvm::default();
        provision(&mut nvm.clone(), &made.owner_code).map_err(|_| io::Error::other("NVM"))?;
        let crystal = Crystal { made: Instant::now(), booted: Instant::now() };
        let parts = Parts {
            storage: nvm,
            clock: crystal,
            random: Entropy(random),
            identity: made.identity,
            dh: made.dh,
            actuator: Motor { bolt, battery: 90 },
        };
        let agent = Agent::boot(parts, agent_config).map_err(|error| io::Error::other(error.to_string()))?;
        let admission = Admission { lock: agent.lock_id(), secret };
        let task = tokio::spawn(run(Life {
            agent,
            agent_config,
            crystal,
            pokes: poked,
            touched: touched.clone(),
            told,
        }));
        Ok(Self {
            admission,
            owner_code: made.owner_code,
            thumbprint: made.thumbprint,
            pokes,
            touched,
            happenings,
            bolt: watched,
            task,
        })
    }

    /// What its radio label says.
    #[must_use]
    pub const fn admission(&self) -> &Admission {
        &self.admission
    }

    /// What its second label says.
    #[must_use]
    pub const fn owner_code(&self) -> &OwnerCode {
        &self.owner_code
    }

    /// SHA-256 thumbprint of its identity key (RFC 9679).
    #[must_use]
    pub const fn thumbprint(&self) -> &[u8; 32] {
        &self.thumbprint
    }

    /// Its routing id.
    #[must_use]
    pub const fn id(&self) -> LockId {
        self.admission.lock
    }

    /// Where its bolt really is; can be waited on.
    #[must_use]
    pub fn bolt(&self) -> watch::Receiver<Bolt> {
        self.bolt.clone()
    }

    /// The battery is put in: it joins, and tries again until it is admitted.
    pub fn switch_on(&self) {
        self.poke(Poke::Power);
    }

    /// Somebody touches it.
    pub fn touch(&self) {
        self.poke(Poke::Touch);
        self.touched.notify_one();
    }

    /// Somebody turns the knob.
    pub fn turn(&self, bolt: Bolt) {
        self.poke(Poke::Turn(bolt));
    }

    /// Its battery is taken out and put back: only NVM survives.
    pub fn reset(&self) {
        self.poke(Poke::Reset);
    }

    /// What happened next, in order.
    pub async fn happened(&mut self) -> Option<Happened> {
        self.happenings.recv().await
    }

    fn poke(&self, poke: Poke) {
        // Fails only once the task has ended, and then nothing can be done to the lock any more.
        let _ = self.pokes.send(poke);
    }
}

impl Drop for VirtualLock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the factory makes.
pub(crate) struct Made {
    dev_eui: [u8; 8],
    join_eui: [u8; 8],
    app_key: [u8; 16],
    identity: SoftSigner,
    dh: SoftAgreement,
    owner_code: OwnerCode,
    thumbprint: [u8; 32],
}

impl Made {
    pub(crate) fn new(random: &Arc<Random>, number: u64) -> Result<Self, cardea_credentials::Error> {
        use cardea_credentials::Signer;
        let mut entropy = Entropy(random.clone());
        let mut app_key = [0; 16];
        random.fill(&mut app_key);
        let mut dev_eui = *b"\x02\xca\xde\xa0\0\0\0\0";
        dev_eui.iter_mut().rev().zip(number.to_le_bytes()).take(4).for_each(|(to, from)| *to = from);
        let identity = SoftSigner::generate(&mut entropy)?;
        Ok(Self {
            dev_eui,
            join_eui: *b"\x02\xca\xde\xa1\0\0\0\x01",
            app_key,
            dh: SoftAgreement::generate(&mut entropy)?,
            owner_code: OwnerCode::generate(&mut entropy)?,
            thumbprint: identity.public().thumbprint(),
            identity,
        })
    }
}

/// The lock's firmware: moves frames between the agent and the radio stack.
pub(crate) struct Life {
    pub(crate) agent: Agent<VirtualBoard>,
    agent_config: Config,
    crystal: Crystal,
    pub(crate) pokes: mpsc::UnboundedReceiver<Poke>,
    /// Wakes a lock that waits between two joins; what was done to it stays in `pokes`.
    pub(crate) touched: Arc<Notify>,
    told: mpsc::UnboundedSender<Happened>,
}

impl Life {
    async fn run(mut self, mut stack: Stack, join: JoinMode, mtu: usize, class: LorawanClass) {
        self.power().await;
        loop {
            self.join(&mut stack, &join, class).await;
            self.agent.link_up();
            self.work(&mut stack, mtu, class).await;
            match self.reborn() {
                Ok(again) => self = again,
                Err(error) => return tracing::error!(%error, "a virtual lock did not boot again"),
            }
        }
    }

    async fn run_on_loopback(mut self, socket: UdpSocket) {
        self.power().await;
        loop {
            self.agent.link_up();
            self.work_on_loopback(&socket).await;
            match self.reborn() {
                Ok(again) => self = again,
                Err(error) => return tracing::error!(%error, "a virtual lock did not boot again"),
            }
        }
    }

    pub(crate) async fn power(&mut self) {
        while !matches!(self.pokes.recv().await, Some(Poke::Power) | None) {}
    }

    async fn join(&mut self, stack: &mut Stack, join: &JoinMode, class: LorawanClass) {
        let mut pause = Duration::from_secs(1);
        loop {
            match stack.join(join).await {
                Ok(JoinResponse::JoinSuccess) => break,
                Ok(JoinResponse::NoJoinAccept) => self.tell(Happening::JoinFailed),
                Err(error) => tracing::debug!(error = ?kind(&error), "join"),
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(Duration::from_secs(16)),
                // Somebody is there: it tries again at once.
                () = self.touched.notified() => pause = Duration::from_secs(1),
            }
        }
        if class == LorawanClass::C {
            stack.enable_class_c();
        }
        self.tell(Happening::Joined);
    }

    /// Until the next reset.
    async fn work(&mut self, stack: &mut Stack, mtu: usize, class: LorawanClass) {
        let mut frame = [0; 256];
        loop {
            while let Some(output) = self.agent.poll_transmit(mtu, &mut frame) {
                let len = match output {
                    Output::Frame(len) => len,
                    Output::Poll => 0,
                };
                self.tell(Happening::Sent(len));
                if let Err(error) = stack.send(frame.get(..len).unwrap_or_default(), FPORT, false).await {
                    tracing::debug!(error = ?kind(&error), "send");
                }
                self.take_downlinks(stack);
            }
            self.tell_events();
            let timeout = self.timeout();
            tokio::select! {
                poke = self.pokes.recv() => if self.poked(poke).await { return },
                () = sleep_until(timeout) => self.agent.handle_timeout(),
                heard = stack.rxc_listen(), if class == LorawanClass::C => {
                    if let Err(error) = heard {
                        tracing::debug!(error = ?kind(&error), "listen");
                    }
                    self.take_downlinks(stack);
                }
            }
        }
    }

    /// Until the next reset. A datagram is the lock's id and a frame; the id alone says "here I am".
    async fn work_on_loopback(&mut self, socket: &UdpSocket) {
        let id = self.agent.lock_id();
        let mut buffer = [0; 512];
        // A gateway that is not there yet answers with an error; the lock says it again.
        let _ = socket.send(&id.0).await;
        loop {
            while let Some(output) = self.agent.poll_transmit(LOOPBACK_MTU, &mut buffer) {
                let len = match output {
                    Output::Frame(len) => len,
                    Output::Poll => 0,
                };
                self.tell(Happening::Sent(len));
                let _ = socket.send(&[&id.0, buffer.get(..len).unwrap_or_default()].concat()).await;
            }
            self.tell_events();
            let timeout = self.timeout();
            tokio::select! {
                poke = self.pokes.recv() => if self.poked(poke).await { return },
                () = sleep_until(timeout) => self.agent.handle_timeout(),
                received = socket.recv(&mut buffer) => {
                    let datagram = received.ok().and_then(|len| buffer.get(..len));
                    if let Some(frame) = datagram.and_then(|datagram| datagram.strip_prefix(&id.0)) {
                        self.tell(Happening::Heard(frame.len()));
                        self.agent.handle_frame(frame);
                    }
                }
            }
        }
    }

    pub(crate) fn timeout(&mut self) -> Instant {
        let timeout = self.agent.poll_timeout().map(|at| self.crystal.instant(at));
        timeout.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    /// What the world does to the lock; true for a reset.
    pub(crate) async fn poked(&mut self, poke: Option<Poke>) -> bool {
        match poke {
            Some(Poke::Touch) => self.agent.touch(),
            Some(Poke::Turn(bolt)) => {
                self.agent.parts_mut().actuator.bolt.send_replace(bolt);
                self.agent.bolt_moved();
            }
            Some(Poke::Reset) => return true,
            Some(Poke::Power) => {}
            // The owner of this lock is gone, and its task is about to be.
            None => std::future::pending().await,
        }
        false
    }

    fn take_downlinks(&mut self, stack: &mut Stack) {
        let mut downlinks: Vec<_> = std::iter::from_fn(|| stack.take_downlink()).collect();
        // The stack gives the latest first.
        downlinks.reverse();
        for downlink in downlinks.into_iter().filter(|downlink| downlink.fport == FPORT) {
            self.tell(Happening::Heard(downlink.data.len()));
            self.agent.handle_frame(&downlink.data);
            self.tell_events();
        }
    }

    pub(crate) fn reborn(self) -> io::Result<Self> {
        let mut parts = self.agent.into_parts();
        let crystal = Crystal { booted: Instant::now(), ..self.crystal };
        parts.clock = crystal;
        let agent =
            Agent::boot(parts, self.agent_config).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { agent, crystal, ..self })
    }

    pub(crate) fn tell_events(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            self.tell(Happening::Agent(event));
        }
    }

    pub(crate) fn tell(&self, happening: Happening) {
        // Whoever does not listen any more does not want to know.
        let _ = self.told.send((Instant::now(), happening));
    }
}

/// The stack draws from the lock's own source, so that a reset does not repeat a DevNonce.
struct DeviceRandom(Arc<Random>);

impl rand_core_06::RngCore for DeviceRandom {
    fn next_u32(&mut self) -> u32 {
        (self.0.next_u64() >> 32) as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.0.fill(out);
        Ok(())
    }
}

fn region_of(region: Region) -> region::Configuration {
    region::Configuration::new(match region {
        Region::Eu868 => region::Region::EU868,
        Region::Us915 => region::Region::US915,
    })
}

fn reversed(mut eui: [u8; 8]) -> [u8; 8] {
    eui.reverse();
    eui
}

/// The stack's errors have no text of their own.
fn kind(error: &Error<Infallible>) -> &'static str {
    match error {
        Error::Radio(never) => match *never {},
        Error::Mac(_) => "not joined",
    }
}
