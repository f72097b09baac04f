//! The real daemon, as its own process.

use std::{
    fs::File,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use cardea_envelope::{GatewayState, Presence};
use cardea_simulator::Broker;
use tokio::time::{Instant, sleep};

/// A running gateway daemon; it is ended when dropped.
pub(crate) struct Gateway {
    program: PathBuf,
    config: PathBuf,
    data: PathBuf,
    log: PathBuf,
    lora: SocketAddr,
    page: SocketAddr,
    child: Child,
}

impl Gateway {
    /// Name of the gateway in the topics.
    pub(crate) const NAME: &'static str = "demo";

    /// Writes a configuration and starts the daemon.
    pub(crate) fn start(
        program: Option<PathBuf>,
        folder: &Path,
        broker: &str,
        forwarder: [u8; 8],
        dongle: &Path,
        module: &Path,
    ) -> Result<Self> {
        let program = match program {
            Some(program) => program,
            None => std::env::current_exe()?.with_file_name("cardea"),
        };
        if !program.exists() {
            bail!(
                "{} is not there: build it (`cargo build --profile quick -p cardea-gateway`, as scripts/demo does) \
                 or name it with --cardea",
                program.display()
            );
        }
        let (config, data, log) =
            (folder.join("cardea.toml"), folder.join("gateway"), folder.join("cardea.log"));
        std::fs::create_dir(&data)?;
        let lora = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let page = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let text = format!(
            r#"[gateway]
id = "{name}"
data_dir = "{data}"
# A machine that runs a demo need not have its clock synchronised.
clock = "trust"
[mqtt]
url = "{broker}"
[lora]
enabled = true
bind = "{lora}"
region = "EU868"
forwarders = ["{forwarder}"]
[zigbee]
enabled = true
device = "{dongle}"
[subghz]
enabled = true
device = "unix:{module}"
[web]
enabled = true
https = "{page}"
[metrics]
bind = "{metrics}"
[api]
socket = "{socket}"
"#,
            name = Self::NAME,
            data = data.display(),
            forwarder = hex::encode(forwarder),
            dongle = dongle.display(),
            module = module.display(),
            socket = folder.join("cardea.sock").display(),
        );
        std::fs::write(&config, text)?;
        let (out, err) = (File::create(&log)?, File::options().append(true).open(&log)?);
        let child = Command::new(&program)
            .args(["run", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| program.display().to_string())?;
        Ok(Self { program, config, data, log, lora, page, child })
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// Where its database and keys are.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where it waits for a packet forwarder.
    pub(crate) const fn lora(&self) -> SocketAddr {
        self.lora
    }

    /// Its local page, over TLS.
    pub(crate) const fn page(&self) -> SocketAddr {
        self.page
    }

    /// What is asked at its console, once it answers.
    pub(crate) async fn console(&self, arguments: &[&str]) -> Result<String> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            match self.cli(arguments, "").await {
                Err(_) if Instant::now() < end => sleep(Duration::from_millis(200)).await,
                result => return result.map(|said| said.trim().to_owned()),
            }
        }
    }

    /// Until the broker has its retained word that it is online.
    pub(crate) async fn wait_online(&mut self, broker: &Broker, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        loop {
            let online = broker.seen_on(&format!("{}/state", Self::NAME)).iter().any(|message| {
                serde_json::from_slice::<GatewayState>(&message.payload)
                    .is_ok_and(|state| state.state == Presence::Online)
            });
            if online {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the gateway daemon ended: {status}");
            }
            if Instant::now() > end {
                bail!("the gateway was not online within {} s", patience.as_secs());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Lets a lock in, with the CLI, as an installer would.
    pub(crate) async fn admit(&self, label: &str) -> Result<()> {
        self.cli(&["locks", "admit", "-"], label).await.map(drop)
    }

    /// Has the dongle form a network, once it is ready for that.
    pub(crate) async fn form_zigbee(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            match self.cli(&["radio", "form", "zigbee"], "").await {
                Err(_) if Instant::now() < end => sleep(Duration::from_millis(500)).await,
                result => return result.map(drop),
            }
        }
    }

    async fn cli(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--config").arg(&self.config);
        let (words, input) = (arguments.join(" "), input.to_owned());
        let output = tokio::task::spawn_blocking(move || {
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input.as_bytes())?;
            }
            child.wait_with_output()
        })
        .await??;
        if !output.status.success() {
            bail!("cardea {words}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(40)).map(|line| format!("  {line}\n")).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It keeps nothing that a sudden end could lose.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
