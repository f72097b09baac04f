//! The side of whoever holds a grant: for trials, and for holders that are programs. Nothing here asks a platform or
//! touches its state; a phone does the same with `cardea_sdk::holder`.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use cardea_api::{PeerClient, PeerEvent};
use cardea_sdk::{
    Ask, Bundle, MAX_BUNDLE_LEN, OsRandom, Outcome, Terms,
    holder::{Holder, HolderEvent, LogLine, delegate},
    holder_key::{HolderKey, SoftAgreement},
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::{
    cli::seconds,
    grants::{free, public_key, write_new},
    service::utc,
    terms::{hours, moment, names, rights, window},
};

/// How often the phone looks at its own timers while the gateway is silent.
const TICK: Duration = Duration::from_millis(50);

#[derive(Subcommand)]
pub(crate) enum HolderCmd {
    /// Revoke the key of a holder (a lost phone), and with it all its grants at all locks.
    Revoke {
        /// The holder's name, the key (66 or 130 hexadecimal digits), or its thumbprint (64).
        holder: String,
    },
    /// Pass on a grant, or less than it: write the file for somebody else's phone. Asks nobody.
    Delegate(Box<DelegateArgs>),
    /// Ask a lock for something by a grant, through the gateway beside it. Asks no platform.
    Ask(AskArgs),
}

#[derive(Args)]
pub(crate) struct DelegateArgs {
    /// The file of the grant that is passed on.
    bundle: PathBuf,
    /// File of the private key that the grant names for it (`grant issue --delegate-key`).
    #[arg(long, value_name = "FILE")]
    signing_key: PathBuf,
    /// The other holder's public key: hexadecimal (66 or 130 digits), a file with that, or the file of `key new`.
    #[arg(long)]
    key: String,
    /// What it allows [default: all that the grant does].
    #[arg(long, value_delimiter = ',')]
    rights: Option<Vec<String>>,
    /// From when on, as for `grant issue` [default: as the grant].
    #[arg(long)]
    from: Option<String>,
    /// Until when [default: as the grant].
    #[arg(long)]
    until: Option<String>,
    /// For one use.
    #[arg(long)]
    single_use: bool,
    /// On these days only, as for `grant issue` [default: days and hours as the grant].
    #[arg(long)]
    days: Option<String>,
    /// In these hours only.
    #[arg(long)]
    hours: Option<String>,
    /// The other holder's public key for passing it on once more; without it nobody can.
    #[arg(long, value_name = "KEY")]
    delegate_key: Option<String>,
    /// Where the file for the other phone goes; one that is there is not replaced.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Args)]
pub(crate) struct AskArgs {
    /// What for.
    what: Wanted,
    /// The file of the grant.
    bundle: PathBuf,
    /// File of the holder's private key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Control socket of the gateway.
    #[arg(long, default_value = "/run/cardea/cardea.sock")]
    socket: PathBuf,
    /// Seconds for the answer, once the lock has proved itself.
    #[arg(long, default_value_t = 20.0, value_parser = seconds)]
    timeout: f64,
}

/// What a grant can allow a phone to ask.
#[derive(Clone, Copy, ValueEnum)]
enum Wanted {
    Unlock,
    Lock,
    Status,
    Battery,
    Log,
}

impl From<Wanted> for Ask {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Unlock => Self::Unlock,
            Wanted::Lock => Self::Lock,
            Wanted::Status => Self::Status,
            Wanted::Battery => Self::Battery,
            Wanted::Log => Self::Log,
        }
    }
}

fn read(path: &Path) -> Result<Bundle> {
    let most = u64::try_from(MAX_BUNDLE_LEN).unwrap_or(u64::MAX);
    let named = || format!("cannot read {}", path.display());
    if std::fs::metadata(path).with_context(named)?.len() > most {
        bail!("{} is longer than any file of a grant", path.display());
    }
    Bundle::decode(&std::fs::read(path).with_context(named)?)
        .with_context(|| format!("in {}", path.display()))
}

/// Signs a narrower grant and writes its file.
pub(crate) fn pass_on(args: &DelegateArgs, json: bool) -> Result<bool> {
    free(&args.output)?;
    let parent = read(&args.bundle)?;
    let own = parent.grant().terms();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let now = u32::try_from(now).context("the clock of this machine is beyond 2106")?;
    let time = |text: &Option<String>, own: u32| text.as_deref().map_or(Ok(own), |text| moment(text, now));
    let terms = Terms {
        holder: public_key(&args.key)?,
        scope: args.rights.as_deref().map_or(Ok(own.scope), rights)?,
        not_before: time(&args.from, own.not_before)?,
        expires: time(&args.until, own.expires)?,
        single_use: args.single_use,
        window: window(args.days.as_deref(), args.hours.as_deref())?.or(own.window),
        delegate: args.delegate_key.as_deref().map(public_key).transpose()?,
        ..*own
    };
    let key = HolderKey::open(&args.signing_key)?.into_signer()?;
    let bundle = delegate(&parent, &terms, &key, &mut OsRandom)?;
    write_new(&args.output, &bundle.encode())
        .with_context(|| format!("{} cannot be written", args.output.display()))?;
    let (lock, id) = (bundle.lock_id(), hex::encode(bundle.grant().id()));
    if json {
        println!(
            "{}",
            json!({
                "id": id, "origin": hex::encode(bundle.grant().origin()), "lock": lock.to_string(),
                "holder": hex::encode(terms.holder.thumbprint()), "rights": names(terms.scope),
                "from": terms.not_before, "until": terms.expires, "single_use": terms.single_use,
                "links": bundle.grant().links(),
            })
        );
        return Ok(true);
    }
    let (from, until) = (utc(terms.not_before.into()), utc(terms.expires.into()));
    let mut line = format!("{id}  {lock}  {}  {from} to {until}", names(terms.scope).join(","));
    if let Some(window) = terms.window {
        line.push_str(&format!("  {}", hours(window)));
    }
    println!(
        "{line}\nwritten to {}; the other phone needs it, and it holds no secret",
        args.output.display()
    );
    Ok(true)
}

/// Makes a session with the lock and asks. False where the lock, or the way to it, did not do it.
pub(crate) fn ask(args: &AskArgs, json: bool) -> Result<bool> {
    let bundle = read(&args.bundle)?;
    let key = HolderKey::open(&args.key)?;
    if key.public() != bundle.grant().terms().holder {
        bail!("the grant in {} is for another key", args.bundle.display());
    }
    let lock = bundle.lock_id();
    let mut phone = Phone::new(&args.socket, bundle, key)?;
    let mut log = None;
    let outcome = match phone.ask(args.what.into(), Duration::from_secs_f64(args.timeout), &mut log)? {
        Ok(outcome) => outcome,
        Err(why) if json => {
            println!("{}", json!({ "error": why }));
            return Ok(false);
        }
        Err(why) => {
            eprintln!("{lock}: {why}");
            return Ok(false);
        }
    };
    if json {
        let mut data = serde_json::to_value(&outcome)?;
        if let (Some((end, entries)), Some(data)) = (&log, data.as_object_mut()) {
            data.insert("end".into(), (*end).into());
            data.insert("log".into(), serde_json::to_value(entries)?);
        }
        println!("{data}");
    } else {
        log.iter().flat_map(|(_, entries)| entries).for_each(|entry| println!("{}", line(entry)));
        println!("{lock}: {outcome}");
    }
    Ok(outcome.is_success())
}

fn line(entry: &LogLine) -> String {
    let when = entry.at.map_or_else(|| "at a time unknown".into(), |at| utc(at.into()));
    // "unlocked by grant 1f2e3d4c"
    let value = entry.value.as_deref().map(|value| value.strip_prefix("grant ").unwrap_or(value));
    let value = value.map_or_else(String::new, |value| format!(" {value}"));
    format!("{:>6}  {when}  {}{value}", entry.index, entry.kind)
}

/// A holder at the gateway's control socket.
struct Phone {
    holder: Holder<SoftAgreement>,
    gateway: PeerClient,
    start: Instant,
}

impl Phone {
    fn new(socket: &Path, bundle: Bundle, key: HolderKey) -> Result<Self> {
        let gateway = PeerClient::attach(socket, bundle.lock_id())
            .with_context(|| format!("the gateway at {}", socket.display()))?;
        let holder = Holder::new(bundle, key.into_agreement(), Box::new(OsRandom), gateway.lock);
        Ok(Self { holder, gateway, start: Instant::now() })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Handshake and question. The inner error is why there is no session.
    fn ask(
        &mut self,
        ask: Ask,
        life: Duration,
        log: &mut Option<(u32, Vec<LogLine>)>,
    ) -> Result<Result<Outcome, &'static str>> {
        self.holder.connect(self.now())?;
        loop {
            match self.event()? {
                HolderEvent::Connected => {
                    self.holder.ask(self.now(), ask, u64::try_from(life.as_millis())?)?;
                }
                HolderEvent::Failed { why } => return Ok(Err(why)),
                HolderEvent::Log { end, entries } => *log = Some((end, entries)),
                HolderEvent::Ended { outcome, .. } => return Ok(Ok(outcome)),
            }
        }
    }

    /// Carries datagrams both ways until something happens: the holder's own timers see to it.
    fn event(&mut self) -> Result<HolderEvent> {
        loop {
            while let Some(datagram) = self.holder.poll_transmit() {
                self.gateway.send(&datagram)?;
            }
            if let Some(event) = self.holder.poll_event() {
                return Ok(event);
            }
            match self.gateway.next(TICK)? {
                Some(PeerEvent::Datagram { data }) => self.holder.handle_datagram(self.now(), &data),
                Some(PeerEvent::Refused { error }) => bail!("the gateway refuses: {error}"),
                None => {}
            }
            self.holder.handle_timeout(self.now());
        }
    }
}
