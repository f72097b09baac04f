//! A gateway's answers to operators, and what it was asked.

#![allow(clippy::unwrap_in_result)] // a lock of a test is never poisoned

use std::sync::Mutex;

use cardea_api::{
    BrokerCause, BrokerFault, BrokerSettings, BrokerStep, BrokerTest, BrokerTrial, CommandState, DutyBand,
    HeardSample, Host, HostAddress, KeptBackup, LogLevel, LogLine, Logs, MapBehind, MapDevice, MapKind,
    RadioDetail, RadioMap, Reply, Request, Secret, Trace,
};
use cardea_web::SealError;
use zeroize::Zeroizing;

pub(crate) const PLAIN: &[u8] = b"{\"network_key\":\"0123\"}";
pub(crate) const PASSPHRASE: &str = "zwoelf Zeichen reichen";

/// What a test sets, and what was asked.
pub(crate) struct State {
    /// The factory reset that was asked for.
    pub(crate) reset: Mutex<Option<Request>>,
    pub(crate) words: Mutex<String>,
    pub(crate) test: Mutex<BrokerTest>,
    pub(crate) trials: Mutex<Vec<BrokerTrial>>,
    /// Of restores: whether to replace, and the backup in the clear.
    pub(crate) restores: Mutex<Vec<(bool, Vec<u8>)>>,
    pub(crate) lines: Mutex<Vec<LogLine>>,
}

impl Default for State {
    fn default() -> Self {
        let test =
            BrokerTest { passed: vec![BrokerStep::Settings], failed: None, client_id: "gw-test".into() };
        Self {
            reset: Mutex::default(),
            words: Mutex::new("plain words".into()),
            test: Mutex::new(test),
            trials: Mutex::default(),
            restores: Mutex::default(),
            lines: Mutex::default(),
        }
    }
}

/// A router beside the radio, and two of three locks behind it.
fn a_map(radio: String) -> RadioMap {
    let device = |n: u8, kind, behind: Option<&str>| MapDevice {
        device: format!("02cadea3000000{n:02x}"),
        kind,
        lock: (kind == MapKind::Lock).then(|| format!("01020304050600{n:02x}")),
        joined: true,
        answers: None,
        behind: behind.map(|device| MapBehind { device: device.into(), lqi: 140, age_s: 600 }),
    };
    let router = "02cadea3000000f1";
    let devices = vec![
        device(0xF0, MapKind::Coordinator, None),
        device(0, MapKind::Lock, Some("02cadea3000000f0")),
        device(1, MapKind::Lock, Some(router)),
        device(2, MapKind::Lock, Some(router)),
        device(0xF1, MapKind::Router, Some("02cadea3000000f0")),
    ];
    RadioMap { radio, surveying: false, age_s: Some(600), devices }
}

pub(crate) fn line(number: u64, level: LogLevel, text: &str) -> LogLine {
    LogLine { number, at: 1_800_000_000_000, level, part: "cardea".into(), text: text.into() }
}

pub(crate) fn failing(step: BrokerStep, cause: BrokerCause, detail: &str) -> BrokerTest {
    let failed = Some(BrokerFault { step, cause, detail: detail.into() });
    BrokerTest { passed: Vec::new(), failed, client_id: "gw-test".into() }
}

impl State {
    pub(crate) fn answer(&self, request: Request) -> Result<Reply, String> {
        let words = self.words.lock().unwrap().clone();
        Ok(match request {
            request @ Request::FactoryReset { .. } => {
                *self.reset.lock().unwrap() = Some(request);
                Reply::Done
            }
            Request::Radios {} => Reply::Radios(vec![
                RadioDetail {
                    radio: "zigbee".into(),
                    network: Some("00124b00aabbccdd".into()),
                    channel: Some(20),
                    open_s: Some(77),
                    moves: true,
                    duty: Vec::new(),
                },
                RadioDetail {
                    radio: "lora".into(),
                    network: None,
                    channel: None,
                    open_s: None,
                    moves: false,
                    duty: vec![DutyBand {
                        low: 868_000_000,
                        high: 868_600_000,
                        used_ms: 12_000,
                        budget_ms: 36_000,
                    }],
                },
            ]),
            Request::RadioMap { radio, .. } => Reply::RadioMap(a_map(radio)),
            Request::Logs { level, words, most, .. } => {
                let lines = self.lines.lock().unwrap();
                let fits = |line: &&LogLine| line.level <= level.unwrap() && line.text.contains(&words);
                let lines: Vec<_> = lines.iter().filter(fits).take(most as usize).cloned().collect();
                Reply::Logs(Logs { newest: lines.len() as u64, oldest: 1, lines })
            }
            Request::Trace { .. } => Reply::Trace(Trace {
                heard: (0..48)
                    .map(|n| HeardSample {
                        at: 1_800_000_000_000 + n * 60_000,
                        rssi: Some(-60 - n as i16 % 20),
                        snr: None,
                        lqi: Some(120),
                        frames: 3,
                    })
                    .collect(),
                commands: vec![
                    CommandState {
                        id: "00112233445566778899aabbccddeeff".into(),
                        state: "refused".into(),
                        reason: Some("clock".into()),
                        at: 1_800_000_000_000,
                        not_after: 1_800_000_010_000,
                        over: true,
                    },
                    CommandState {
                        id: "ffee".into(),
                        state: words.clone(),
                        reason: Some(words),
                        at: 1_800_000_000_000,
                        not_after: 1_800_000_010_000,
                        over: true,
                    },
                ],
            }),
            Request::Configuration {} => Reply::Configuration {
                toml: String::new(),
                broker: BrokerSettings {
                    url: "mqtts://b.example:8883".into(),
                    has_username: true,
                    has_password: true,
                    ca_file: words,
                    cert_file: String::new(),
                    key_file: String::new(),
                },
            },
            Request::TestBroker(trial) => {
                self.trials.lock().unwrap().push(trial);
                Reply::BrokerTest(self.test.lock().unwrap().clone())
            }
            Request::Host {} => Reply::Host(Host {
                name: words.clone(),
                now: 1_800_000_000_000,
                clock_synced: false,
                clock_source: "auto".into(),
                addresses: vec![HostAddress { interface: words, address: [192, 0, 2, 7].into() }],
            }),
            Request::Oldest {} => Reply::Oldest { at: Some(1_800_000_000_000) },
            Request::Diagnose {} => Reply::Bundle { bytes: 3, file: Secret::new(b"tgz".to_vec()) },
            Request::BackUpNetwork { radio } => {
                let file = Secret::new(PLAIN.to_vec());
                Reply::Backup { radio, id: "00124b00aabbccdd".into(), devices: 2, bytes: 23, file }
            }
            Request::RestoreNetwork { radio, replace, file, .. } => {
                self.restores.lock().unwrap().push((replace, file.as_bytes().to_vec()));
                Reply::Restored { radio, id: "00124b00aabbccdd".into(), channel: 20, anew: 1, strangers: 0 }
            }
            _ => return Err("not here".into()),
        })
    }
}

/// As the command does, but for the cryptography: the passphrase stands before what it protects.
pub(crate) fn seal(plain: &Secret, passphrase: &Zeroizing<String>) -> Result<Secret, SealError> {
    let turned = plain.as_bytes().iter().map(|byte| byte ^ 0x55);
    Ok(Secret::new(passphrase.bytes().map(|byte| byte ^ 0xAA).chain([0]).chain(turned).collect()))
}

pub(crate) fn open(file: &Secret, passphrase: &Zeroizing<String>) -> Result<Secret, SealError> {
    let key: Vec<u8> = passphrase.bytes().map(|byte| byte ^ 0xAA).chain([0]).collect();
    let turned = file.as_bytes().strip_prefix(key.as_slice()).ok_or(SealError::WrongPassphrase)?;
    Ok(Secret::new(turned.iter().map(|byte| byte ^ 0x55).collect()))
}

/// Reads a live page until it says this.
pub(crate) async fn until(stream: &mut (impl tokio::io::AsyncRead + Unpin), words: &str) {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&text).contains(words) {
        let read = tokio::io::AsyncReadExt::read(stream, &mut buffer);
        let read = tokio::time::timeout(std::time::Duration::from_secs(10), read).await.unwrap().unwrap();
        assert!(read > 0, "no {words:?} in {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..read]);
    }
}

/// The backup that the gateway keeps by itself, of two hours ago.
pub(crate) fn kept() -> KeptBackup {
    KeptBackup { source: "dongle".into(), at: Some(now_ms() - 7_200_000), devices: 3 }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}
