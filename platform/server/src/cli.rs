//! The command line.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use cardea_pkcs11::TokenKeys;
use cardea_sdk::{Broker, Error, Platform, session};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::Config,
    factory::{self, Factory},
    grants::{self, GrantCmd, KeyCmd, RevocationCmd},
    holder::{self, HolderCmd},
    init::{self, TokenArgs},
    owner_code,
    pins::PinCmd,
    root::{self, RootArgs},
    service::{Answer, Request, Verb, check_lock, serve_one},
    site::{self, SiteCmd},
    socket,
};

/// The owner's platform: activates locks, commands them, hears their events, over any broker.
#[derive(Parser)]
#[command(name = "cardea-platform", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Cmd,
}

#[derive(Args)]
struct Common {
    /// State directory: keys, state, socket [default: /var/lib/cardea-platform].
    #[arg(long, global = true, env = "CARDEA_PLATFORM_DIR")]
    dir: Option<PathBuf>,
    /// Configuration file [default: /etc/cardea/platform.toml, if it exists].
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    /// Broker, mqtt://host[:port] or mqtts://host[:port]; credentials belong into the configuration file.
    #[arg(long, global = true, value_name = "URL")]
    broker: Option<String>,
    /// Print JSON, one object a line.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Cmd {
    /// Make the owner root, the platform's keys and its certificate; print the root's thumbprint.
    Init {
        #[command(flatten)]
        token: TokenArgs,
        /// Make only an empty state beside keys that are there: the old one is lost, and its locks must be activated
        /// again.
        #[arg(long, conflicts_with_all = ["pkcs11_module", "root_token_label"])]
        state_only: bool,
    },
    /// Allow a lock to activate itself with the owner code of its second label.
    Enroll {
        /// Lock id (16 hexadecimal digits) or, better, the full thumbprint of its key (64).
        #[arg(required_unless_present = "certificate", conflicts_with = "certificate")]
        lock: Option<String>,
        /// Instead of its name: the certificate that its maker gave it, PEM, with the maker's CA.
        #[arg(long)]
        certificate: Option<PathBuf>,
        /// File with the owner code; without it the code is read from standard input.
        #[arg(long)]
        code_file: Option<PathBuf>,
        /// For a lock that was released since its label was printed: the nonce of the release (16 hexadecimal digits).
        /// The code of the label and the nonce make the code it has now. Once for each release, oldest first.
        #[arg(long, value_name = "NONCE")]
        after_reset: Vec<String>,
    },
    /// Keep the broker link and answer the other commands.
    Serve,
    /// Print events as they come.
    Watch,
    /// List enrolled locks.
    Locks,
    /// Ask a lock for bolt, battery, clock and firmware.
    Status(Target),
    /// Ask a lock for its battery.
    Battery(Target),
    /// Throw the bolt.
    Lock(Target),
    /// Withdraw the bolt.
    Unlock(Target),
    /// Print the stored events of a lock.
    Log {
        /// Lock id or thumbprint.
        lock: String,
        /// The newest so many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// For makers of locks: certify identity keys, verify certificates.
    #[command(subcommand)]
    Factory(Factory),
    /// What phones may do while nobody is online: issue, list, revoke.
    #[command(subcommand)]
    Grant(GrantCmd),
    /// Holders of grants: revoke a lost phone; and the phone's own side.
    #[command(subcommand)]
    Holder(HolderCmd),
    /// The revocation list and who has it.
    #[command(subcommand)]
    Revocation(RevocationCmd),
    /// Sites of locks, who speaks for them, and whether grants hold.
    #[command(subcommand)]
    Site(SiteCmd),
    /// Keys of holders, for trials.
    #[command(subcommand)]
    Key(KeyCmd),
    /// PINs of a lock.
    #[command(subcommand)]
    Pin(PinCmd),
    /// Take a fenced or released lock back, after looking at the door.
    Readmit {
        /// Lock id or thumbprint.
        lock: String,
    },
    /// Let a lock go whose inside button was pressed: sign its release with the owner root, and forget its keys and PINs.
    Release {
        /// Lock id or thumbprint.
        lock: String,
        /// What the lock drew, 16 hexadecimal digits; `watch` shows it.
        #[arg(long)]
        nonce: String,
        /// Thumbprint of the owner root that alone may activate the lock next. Give it whenever the lock changes hands: a
        /// former owner who kept a copy of the label can work out the next code.
        #[arg(long)]
        next_root: Option<String>,
        #[command(flatten)]
        root: RootArgs,
    },
    /// Print the key that gateways pin to believe what this platform signs for them: `keys` in their section [platform].
    GatewayKey,
    /// Make new keys for the platform, certified by the owner root; needs `serve` stopped.
    Rotate {
        #[command(flatten)]
        root: RootArgs,
    },
    /// Say that the state was put back from a backup: session keys are discarded at the next start.
    Restored,
}

#[derive(Args)]
pub(crate) struct Target {
    /// Lock id or thumbprint.
    lock: String,
    /// Seconds; nothing is sent afterwards. A lock that sleeps must be touched within them.
    #[arg(long, default_value_t = 20.0, value_parser = seconds)]
    timeout: f64,
}

pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|s| (0.1..=3600.0).contains(s))
        .ok_or_else(|| "give seconds from 0.1 to 3600".into())
}

/// Runs the program. Exit status: 0 done, 1 error, 2 the lock or the way to it did not do it.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,rumqttc=warn")),
        )
        .with_writer(std::io::stderr)
        .init();
    let result = tokio::runtime::Runtime::new()
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(run(&cli)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("cardea-platform: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> Result<bool> {
    let common = &cli.common;
    let config = Config::load(common.config.as_deref(), common.dir.clone(), common.broker.clone())?;
    let (mut bundle, mut certificate) = (None, None);
    let request = match &cli.verb {
        Cmd::Key(verb) => return grants::key(verb, common.json),
        Cmd::Grant(verb) => {
            let (request, path) = verb.request()?;
            bundle = path;
            request
        }
        Cmd::Site(verb) => {
            let (request, path) = verb.request()?;
            certificate = path;
            request
        }
        Cmd::Holder(HolderCmd::Revoke { holder }) => Request::HolderRevoke { holder: holder.clone() },
        Cmd::Holder(HolderCmd::Delegate(args)) => return holder::pass_on(args, common.json),
        Cmd::Holder(HolderCmd::Ask(args)) => return holder::ask(args, common.json),
        Cmd::Revocation(RevocationCmd::Show) => Request::Revocations {},
        Cmd::Init { state_only: true, .. } => return init::state(&config),
        Cmd::Init { token, .. } => return init::all(&config, token, common.json),
        Cmd::Restored => {
            Platform::mark_restored(&config.dir)?;
            println!(
                "noted; the next start discards every session key, and locks make new ones by themselves"
            );
            return Ok(true);
        }
        Cmd::Serve => return serve(&config).await,
        Cmd::Factory(factory) => return factory::run(factory, common.json),
        Cmd::Enroll { lock: Some(lock), code_file, after_reset, .. } => {
            check_lock(lock)?;
            let code = owner_code::read(code_file.as_ref(), after_reset)?;
            Request::Enroll { lock: lock.clone(), code }
        }
        Cmd::Enroll { lock: None, certificate, code_file, after_reset } => {
            let Some(path) = certificate else { bail!("give a lock id, a thumbprint, or --certificate") };
            let certificate = factory::read(path)?.to_string();
            let code = owner_code::read(code_file.as_ref(), after_reset)?;
            Request::EnrollCertified { certificate, code }
        }
        Cmd::Pin(pin) => pin.request()?,
        Cmd::Readmit { lock } => {
            check_lock(lock)?;
            Request::Readmit { lock: lock.clone() }
        }
        Cmd::GatewayKey => {
            let key = hex::encode(cardea_sdk::signing_key(&config.dir)?);
            if common.json {
                println!("{}", serde_json::json!({ "key": key }));
            } else {
                println!("{key}");
            }
            return Ok(true);
        }
        Cmd::Rotate { root } => return root::rotate(&config, root, common.json),
        Cmd::Release { lock, nonce, next_root, root } => {
            check_lock(lock)?;
            let answer = root::release(&config, root, lock, nonce, next_root.as_deref()).await?;
            show(&answer, common.json);
            return Ok(answer.done);
        }
        Cmd::Watch => Request::Watch {},
        Cmd::Locks => Request::Locks {},
        Cmd::Status(target) => command(target, Verb::Status)?,
        Cmd::Battery(target) => command(target, Verb::Battery)?,
        Cmd::Lock(target) => command(target, Verb::Lock)?,
        Cmd::Unlock(target) => command(target, Verb::Unlock)?,
        Cmd::Log { lock, limit } => {
            check_lock(lock)?;
            Request::Log { lock: lock.clone(), limit: *limit }
        }
    };
    let mut done = true;
    let mut unwritten = Ok(());
    let print = |mut answer: Answer| {
        if let Some(path) = bundle.filter(|_| answer.done) {
            unwritten = grants::write_bundle(&mut answer, path);
        }
        if let Some(path) = certificate.filter(|_| answer.done) {
            unwritten = site::write_certificate(&answer, path);
        }
        done = answer.done;
        show(&answer, common.json);
    };
    match socket::connect(&config.socket()).await? {
        Some(stream) => socket::ask(stream, &request, print).await?,
        None => alone(&config, request, print).await?,
    }
    unwritten?;
    Ok(done)
}

fn show(answer: &Answer, json: bool) {
    if json && !answer.data.is_null() {
        println!("{}", answer.data);
    } else if !answer.text.is_empty() && !json {
        if answer.done { println!("{}", answer.text) } else { eprintln!("{}", answer.text) }
    }
}

pub(crate) fn command(target: &Target, ask: Verb) -> Result<Request> {
    check_lock(&target.lock)?;
    let timeout_ms = u64::try_from(Duration::from_secs_f64(target.timeout).as_millis())?;
    Ok(Request::Command { lock: target.lock.clone(), ask, timeout_ms })
}

pub(crate) fn open(config: &Config) -> Result<Platform> {
    let opened = if TokenKeys::are_in(&config.dir) {
        let keys = TokenKeys::open(&config.dir, config.pkcs11.clone())?;
        Platform::open_with_keys(&config.dir, Box::new(keys), session::Config::default())
    } else {
        let platform = Platform::open(&config.dir);
        if platform.is_ok() && config.pkcs11.is_some() {
            bail!(
                "the configuration names a PKCS#11 token, but the keys in {} are files; take [pkcs11] out, or make \
                 a platform in another directory",
                config.dir.display()
            );
        }
        platform
    };
    match opened {
        Err(Error::InUse(dir)) => {
            bail!(
                "{} is in use by a process that does not answer on its socket; stop that one first",
                dir.display()
            )
        }
        other => Ok(other?),
    }
}

/// As [`open`], with the makers of the configuration.
async fn open_with_makers(config: &Config) -> Result<Platform> {
    let makers = factory::makers(&config.makers.roots)?;
    if config.makers.required && makers.is_empty() {
        bail!("[makers] required = true, but no roots are named: no lock could ever be enrolled");
    }
    let platform = open(config)?;
    platform.set_makers(makers, config.makers.required).await?;
    Ok(platform)
}

fn broker(config: &Config) -> Result<Broker> {
    let Some(broker) = config.broker.clone() else {
        bail!("no broker: give --broker mqtts://host, or [broker] url in the configuration file");
    };
    broker.check()?;
    Ok(broker)
}

async fn serve(config: &Config) -> Result<bool> {
    let broker = broker(config)?;
    let platform = open_with_makers(config).await?;
    let path = config.socket();
    let listener = socket::bind(&path)?;
    let mut events = platform.subscribe();
    let url = broker.url.clone();
    let mut link = tokio::spawn(platform.clone().run(broker));
    let sockets = tokio::spawn(socket::accept(listener, platform.clone()));
    let mut terminate = signal(SignalKind::terminate())?;
    tracing::info!(broker = url, socket = %path.display(), root = hex::encode(platform.root().thumbprint()), "serving");
    let result = loop {
        tokio::select! {
            event = events.recv() => {
                if let Ok(event) = event {
                    tracing::info!("{event}");
                }
            }
            ended = &mut link => break ended.context("the broker link crashed")?.map(|()| true).map_err(Into::into),
            _ = tokio::signal::ctrl_c() => break Ok(true),
            _ = terminate.recv() => break Ok(true),
        }
    };
    sockets.abort();
    link.abort();
    // A socket that nobody answers only misleads; failing to remove it harms nobody.
    let _ = fs::remove_file(&path);
    result
}

/// No `serve` runs: this process is the platform for a moment.
async fn alone(config: &Config, request: Request, mut print: impl FnMut(Answer)) -> Result<()> {
    let needs_broker = matches!(request, Request::Command { .. } | Request::Watch {});
    if needs_broker && config.broker.is_none() {
        // A directory without a platform is the likelier mistake, and has the better advice.
        drop(open(config)?);
        bail!(
            "no `serve` answers at {} and no broker is given; start `cardea-platform serve --broker mqtts://host`, \
             or give --broker here",
            config.socket().display()
        );
    }
    let platform = open_with_makers(config).await?;
    let mut events = platform.subscribe();
    let mut link = None;
    if needs_broker {
        link = Some(tokio::spawn(platform.clone().run(broker(config)?)));
    }
    if matches!(request, Request::Watch {}) {
        loop {
            tokio::select! {
                event = events.recv() => if let Ok(event) = event {
                    let data = serde_json::to_value(&event)?;
                    print(Answer { done: true, text: event.to_string(), data, more: true });
                },
                _ = tokio::signal::ctrl_c() => break,
            }
        }
    } else {
        print(serve_one(&platform, request).await);
    }
    if let Some(link) = link {
        link.abort();
    }
    Ok(())
}
