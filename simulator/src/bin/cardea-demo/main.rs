//! The whole of Cardea in one command: a broker, the real gateway daemon, an owner's platform and five virtual locks.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a narration")]

mod by_hand;
mod gateway;
mod story;
mod visit;
mod waiting;
mod witness;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use cardea_radio::LorawanClass;
use cardea_sdk::{Ask, Bolt, Outcome, Platform, PlatformEvent};
use cardea_simulator::subghz::{Conditions, Ether, EtherConfig, GatewayChip, SubghzLock};
use cardea_simulator::zigbee::{Dongle, DongleConfig, Ncp, NcpConfig, Nvram, SealedLock};
use cardea_simulator::{
    Air, Broker, Forwarder, ForwarderConfig, Happening, LockConfig, Region, VirtualLock, Weather,
};
use cardea_subghz::Profile;
use clap::Parser;
use gateway::Gateway;
use story::{Door, Seen, Story};
use visit::Visitor;
use waiting::Waiting;

/// EUI of the virtual packet forwarder.
const FORWARDER: [u8; 8] = *b"\x02\xca\xde\xa2\0\0\0\x01";
/// Its network and PAN ids are made from this and the seed.
const DONGLE: cardea_zigbee::Eui64 = cardea_zigbee::Eui64(*b"\x02\xca\xde\xa3\0\0\0\x01");
/// Milliseconds between two polls of the Zigbee lock: how long a command waits for it at most.
const POLL: u64 = 1_000;
/// A join takes 5 to 6 s, and the first try may be lost to a bad draw of the weather.
const JOIN: Duration = Duration::from_secs(60);
/// An activation is three messages with certificates, fragmented where they must be, each in its own window.
const ACTIVATION: Duration = Duration::from_secs(120);
/// For a user who reads first.
const BY_HAND: Duration = Duration::from_secs(3_600);

/// Shows Cardea at work without any hardware: what a lock, a blind gateway and the owner's platform do, over a
/// real broker and a real UDP socket. Runs until Ctrl-C.
#[derive(Parser)]
#[command(name = "cardea-demo", version)]
struct Arguments {
    /// End after the last step, with exit status 0 only when every step was really observed.
    #[arg(long)]
    once: bool,
    /// Leave the gateway's page to be claimed by you, with the code that is printed; nothing happens before that.
    #[arg(long, conflicts_with = "once")]
    unclaimed: bool,
    /// All chance of the virtual radio comes from this number; the one used is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// The gateway daemon [default: `cardea` beside this program].
    #[arg(long, env = "CARDEA", value_name = "PATH")]
    cardea: Option<PathBuf>,
    /// TCP port of the embedded broker on 127.0.0.1 [default: a free one].
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    broker_port: u16,
    /// Probability that a radio transmission is lost, 0 to 0.5.
    #[arg(long, default_value_t = 0.0, value_parser = probability)]
    loss: f64,
}

fn probability(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|p| (0.0..=0.5).contains(p)).ok_or_else(|| "give a number from 0 to 0.5".into())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cardea-demo: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = demo(arguments) => outcome,
            _ = tokio::signal::ctrl_c() => Ok(false),
        }
    });
    // The embedded broker's threads never end by themselves.
    runtime.shutdown_background();
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        // Interrupted before the last step.
        Ok(false) => ExitCode::from(130),
        Err(error) => {
            eprintln!("\ncardea-demo: not everything was seen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True when the whole story was seen.
async fn demo(arguments: Arguments) -> Result<bool> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).context("no random seed")?;
    let seed = arguments.seed.unwrap_or_else(|| u64::from_le_bytes(seed) % 1_000_000_007);
    let folder = tempfile::Builder::new().prefix("cardea-demo-").tempdir().context("no temporary folder")?;
    println!(
        "Cardea, the whole of it in one process group. Seed {seed}. Everything is in {}.",
        folder.path().display()
    );

    let plan = Plan { seed, loss: arguments.loss, unclaimed: arguments.unclaimed };
    let broker = Broker::start(arguments.broker_port).context("the embedded broker")?;
    let url = format!("mqtt://127.0.0.1:{}", broker.port());
    let story = Story::new();
    story.say(&format!("an MQTT broker listens at {url}"));

    let config = DongleConfig { port: folder.path().join("dongle"), seed, usb: true, capture: None };
    let dongle = Dongle::plug_in(Ncp::new(NcpConfig { eui: DONGLE, seed }, Nvram::default()), config)
        .context("the virtual Zigbee dongle")?;
    let port = dongle.port().to_owned();
    story.say(&format!("a virtual Zigbee dongle is plugged in at {}", port.display()));
    let socket = folder.path().join("cc1101");
    let conditions = Conditions { loss: arguments.loss, ..Conditions::default() };
    let ether = Ether::start(EtherConfig {
        socket: socket.clone(),
        chip: GatewayChip::Cc1101,
        seed,
        conditions,
        records: false,
    })
    .context("the virtual 433 MHz module")?;
    story.say(&format!("a virtual CC1101 is wired to unix:{}", socket.display()));
    let mut gateway =
        Gateway::start(arguments.cardea.clone(), folder.path(), &url, FORWARDER, &port, &socket)?;
    story.say(&format!(
        "the gateway daemon {} runs as process {}",
        gateway.program().display(),
        gateway.id()
    ));
    let outcome = tell(&story, &broker, &url, folder.path(), &mut gateway, (dongle, ether), plan).await;
    let cast = match outcome {
        Ok(cast) => cast,
        Err(error) => {
            eprintln!("\nThe last lines of the daemon's log:\n{}", gateway.log_tail());
            return Err(error);
        }
    };
    if arguments.once {
        println!("\nEvery step was observed.");
        return Ok(true);
    }
    by_hand::run(&story, &broker, &gateway, cast).await?;
    Ok(true)
}

/// What was asked for.
#[derive(Clone, Copy)]
struct Plan {
    /// Where the virtual radio's luck comes from.
    seed: u64,
    loss: f64,
    /// The page is claimed by hand.
    unclaimed: bool,
}

/// Who is on stage at the end.
struct Cast {
    platform: Platform,
    doors: Vec<Door>,
    forwarder: Option<Forwarder>,
    forwarder_config: ForwarderConfig,
    air: std::sync::Arc<Air>,
    dongle: Dongle,
    /// The air of 433 MHz, which ends with this.
    _ether: Ether,
}

async fn tell(
    story: &Story,
    broker: &Broker,
    url: &str,
    folder: &std::path::Path,
    gateway: &mut Gateway,
    (dongle, ether): (Dongle, Ether),
    plan: Plan,
) -> Result<Cast> {
    let Plan { seed, loss, unclaimed } = plan;
    let page = format!("https://{}/", gateway.page());
    let password = open_page(story, gateway, &page, unclaimed).await?;
    gateway.wait_online(broker, if unclaimed { BY_HAND } else { Duration::from_secs(30) }).await?;
    story.say("the gateway is online at the broker (its state topic says so)");

    let home = folder.join("platform");
    let root = Platform::init(&home).context("the platform's keys")?;
    let platform = Platform::open(&home).context("the platform")?;
    story.follow_platform(&platform);
    let link = tokio::spawn(platform.clone().run(cardea_sdk::Broker::at(url)));
    story.say(&format!("the owner's platform made its keys; owner root {}", hex::encode(root)));
    story
        .wait("the platform finds the gateway", Duration::from_secs(30), |seen| match seen {
            Seen::Platform(PlatformEvent::Gateway { online: true, .. }) => Some(()),
            _ => None,
        })
        .await?;
    if link.is_finished() {
        bail!("the platform's link to the broker ended");
    }

    let air = Air::new(seed, Weather { loss, ..Weather::default() });
    let forwarder_config = ForwarderConfig::eu868(gateway.lora(), FORWARDER);
    let forwarder = Forwarder::start(forwarder_config, air.clone()).await.context("the packet forwarder")?;
    story.say(&format!("a virtual packet forwarder sends to udp://{}", gateway.lora()));

    gateway.form_zigbee().await?;
    story.say("the Zigbee dongle was blank, and has formed a network because it was told to");
    let mut doors = Vec::new();
    for (number, class, radio) in [
        (1, LorawanClass::A, "LoRaWAN class A"),
        (2, LorawanClass::A, "LoRaWAN class A"),
        (3, LorawanClass::C, "LoRaWAN class C"),
    ] {
        let config = LockConfig { number, class, region: Region::Eu868 };
        let lock = VirtualLock::new(seed, config, &air).context("a virtual lock")?;
        doors.push(admit(story, &platform, gateway, number, lock, radio).await?);
    }
    doors.iter().for_each(Door::switch_on);
    let lock = SealedLock::start(seed, 4, POLL, &dongle).context("a virtual lock")?;
    doors.push(admit(story, &platform, gateway, 4, lock.into_lock(), "Zigbee").await?);

    let lock = SubghzLock::new_lock(seed, 7, Profile::Standard, &ether).context("a virtual lock")?;
    doors.push(admit(story, &platform, gateway, 7, lock, "433 MHz").await?);
    doors.iter().filter(|door| door.number == 7).for_each(Door::switch_on);

    for door in &doors {
        story
            .wait(&format!("{door} joins"), JOIN, |seen| match seen {
                Seen::Lock(number, Happening::Joined) if *number == door.number => Some(()),
                _ => None,
            })
            .await?;
    }
    // Not before: until then the Zigbee network is open, and a lock that nobody has let in would be reported.
    let labels = put_on_the_shelf(story, &platform, &air, (&dongle, &ether, seed), (&page, password)).await?;
    story.say(&format!(
        "three more locks wait for YOU to pair them at {page}: their labels are at http://{labels}/"
    ));

    for door in &doors {
        story
            .wait(&format!("{door} is activated"), ACTIVATION, |seen| match seen {
                Seen::Platform(PlatformEvent::Activated { lock, .. }) if *lock == door.id => Some(()),
                _ => None,
            })
            .await?;
        let pinned = story
            .wait(&format!("{door} pins its owner"), ACTIVATION, |seen| match seen {
                Seen::Lock(number, Happening::Agent(cardea_agent::AgentEvent::Activated { root }))
                    if *number == door.number =>
                {
                    Some(*root)
                }
                _ => None,
            })
            .await?;
        if pinned != root {
            bail!("{door} pinned another owner root");
        }
    }
    story.say("all five locks are activated: both sides proved the owner code, and the gateway saw neither");

    let [sleepy, _, listening, zigbee, subghz] = doors.as_slice() else {
        bail!("there should be five locks")
    };
    for (ask, wanted) in [(Ask::Unlock, Bolt::Unlocked), (Ask::Lock, Bolt::Locked)] {
        let ms = act(story, &platform, zigbee, ask, wanted).await?;
        story.say(&format!("{zigbee}: {ask} answered in {ms} ms; it sleeps, and polls each second"));
    }

    for (ask, wanted) in [(Ask::Unlock, Bolt::Unlocked), (Ask::Lock, Bolt::Locked)] {
        let ms = act(story, &platform, subghz, ask, wanted).await?;
        story.say(&format!(
            "{subghz}: {ask} answered in {ms} ms; it sleeps, and listens for 2 ms twice a second"
        ));
    }

    story
        .say(&format!("{listening}: it has its own windows to keep after each uplink; until it is idle ..."));
    story.idle(listening, Duration::from_secs(10)).await;
    let status = platform.status(listening.id, Duration::from_secs(60)).await?;
    if !matches!(status, Outcome::Status { bolt: Bolt::Locked, .. }) {
        bail!("status of {listening}: {status}");
    }
    story.say(&format!("{listening}: status {status}"));

    story.idle(listening, Duration::from_secs(10)).await;
    let first = act(story, &platform, listening, Ask::Unlock, Bolt::Unlocked).await?;
    story.say(&format!(
        "{listening}: unlock answered in {first} ms. It was the first command after a boot, so the lock asked for an \
         Echo before it believed it; each frame down takes 2 to 3 s at SF12"
    ));
    story.idle(listening, Duration::from_secs(10)).await;
    let second = act(story, &platform, listening, Ask::Lock, Bolt::Locked).await?;
    story.say(&format!("{listening}: lock answered in {second} ms"));

    story.idle(sleepy, Duration::from_secs(15)).await;
    story.say(&format!("{sleepy}: an unlock waits for it; in 3 s somebody touches it"));
    let touched = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        sleepy.touch();
        std::future::pending::<()>().await
    };
    let ms = tokio::select! {
        ms = act(story, &platform, sleepy, Ask::Unlock, Bolt::Unlocked) => ms?,
        () = touched => bail!("the touch ended the wait"),
    };
    story.say(&format!(
        "{sleepy}: unlock answered in {ms} ms: 3,000 until the touch, then RX1 opens 5 s later"
    ));

    witness::blind(story, broker, gateway, &doors, &home)?;
    Ok(Cast { platform, doors, forwarder: Some(forwarder), forwarder_config, air, dongle, _ether: ether })
}

/// Opens the gateway's page to the user: claimed, with a password of this run that is given back, or with the code to claim it.
async fn open_page(story: &Story, gateway: &Gateway, page: &str, unclaimed: bool) -> Result<Option<String>> {
    let code = gateway.console(&["claim-code"]).await?;
    let fingerprint = gateway.console(&["fingerprint"]).await?;
    let config = gateway.config().display();
    let password = if unclaimed {
        story.say(&format!("the gateway is nobody's: open {page} and claim it with the code {code}"));
        let program = gateway.program().display();
        story.say(&format!(
            "  where the page asks for the gateway's console: {program} claim --confirm --config {config}"
        ));
        None
    } else {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).context("no random password")?;
        let password: Vec<String> = bytes.chunks(2).map(hex::encode).collect();
        let password = password.join("-");
        let visitor = Visitor::new(gateway.page(), &fingerprint)?;
        gateway.console(&["claim", "--confirm"]).await?;
        visitor.claim(&code, &password).await?;
        visitor.sign_in_page().await?;
        story.say(&format!("the gateway's page is at {page} (password of this run: {password})"));
        Some(password)
    };
    story.say(&format!("  its certificate, which the browser warns about, has the {fingerprint}"));
    Ok(password)
}

/// Locks that the story does not touch, and their labels.
async fn put_on_the_shelf(
    story: &Story,
    platform: &Platform,
    air: &std::sync::Arc<Air>,
    (dongle, ether, seed): (&Dongle, &Ether, u64),
    (page, password): (&str, Option<String>),
) -> Result<std::net::SocketAddr> {
    let lorawan = LockConfig { number: 5, class: LorawanClass::A, region: Region::Eu868 };
    let locks = [
        (5, "LoRaWAN", VirtualLock::start(seed, lorawan, air).context("a virtual lock")?),
        (6, "Zigbee", SealedLock::start(seed, 6, POLL, dongle).context("a virtual lock")?.into_lock()),
    ];
    let subghz = SubghzLock::new_lock(seed, 8, Profile::Standard, ether).context("a virtual lock")?;
    subghz.switch_on();
    let locks = locks.into_iter().chain([(8, "433 MHz", subghz)]);
    let mut waiting = Vec::new();
    for (number, radio, lock) in locks {
        let (name, admission) =
            (cardea_sdk::LockName::Thumbprint(*lock.thumbprint()), lock.admission().clone());
        platform.enroll(name, lock.owner_code()).await?;
        waiting.push(Waiting { door: story.follow_quietly(number, lock, radio), radio, admission });
    }
    waiting::serve_labels(story, waiting, page, password).await
}

/// Lets a lock in at the gateway and enrolls it at the platform, by its two labels.
async fn admit(
    story: &Story,
    platform: &Platform,
    gateway: &Gateway,
    number: u64,
    lock: VirtualLock,
    radio: &'static str,
) -> Result<Door> {
    let label = cardea_radio::label::reveal(lock.admission());
    gateway.admit(&label).await?;
    platform.enroll(cardea_sdk::LockName::Thumbprint(*lock.thumbprint()), lock.owner_code()).await?;
    let door = story.follow_lock(number, lock, radio);
    story.say(&format!("{door}: admitted by its radio label, enrolled by its owner code"));
    Ok(door)
}

/// Moves a bolt, and looks at the bolt itself.
async fn act(story: &Story, platform: &Platform, door: &Door, ask: Ask, wanted: Bolt) -> Result<u64> {
    let outcome = platform.command(door.id, ask, Duration::from_secs(90)).await?;
    let Outcome::Done { bolt, ms } = outcome else { bail!("{ask} at {door}: {outcome}") };
    if bolt != wanted || door.bolt() != wanted {
        bail!("{ask} at {door}: told {bolt:?}, and the bolt is {:?}", door.bolt());
    }
    story.say(&format!("{door}: {ask} {outcome}, and the bolt really moved"));
    Ok(ms)
}
