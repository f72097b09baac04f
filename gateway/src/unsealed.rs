//! The bridge of ordinary locks as a task of its own, with its own connection to the broker. Nothing of the relay is here, and
//! nothing of this is in the relay: the two share the radio's driver and the configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cardea_api::{Reply, Request, UnsealedLock};
use cardea_broker::{Event, Handle, Publish};
use cardea_config::Config;
use cardea_radio::Clock;
use cardea_unsealed::{Device, Hub, Row, Wall};
use cardea_upstream::{Mqtt, MqttConfig, Will};
use cardea_zigbee::driver::ordinary::{OrdinaryConfig, OrdinaryDesk, Rights};
use cardea_zigbee::{Eui64, InstallCode};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::clock::WallClock;

type To = oneshot::Sender<Result<Reply, String>>;

/// Between two tries of a link that died, and how long it may take to say goodbye.
const AGAIN: Duration = Duration::from_secs(5);
const GOODBYE: Duration = Duration::from_secs(2);

/// Where the rest of the daemon reaches the bridge.
#[derive(Clone)]
pub(crate) struct Bridge {
    asks: mpsc::Sender<(Request, To)>,
    status: watch::Receiver<cardea_api::Unsealed>,
}

impl Bridge {
    /// Passes a request on, or says that there is nobody to take it.
    pub(crate) fn ask(bridge: Option<&Self>, request: Request, to: To) {
        let Some(bridge) = bridge else {
            return drop(to.send(Err("ordinary locks are off: set `enabled = true` in [unsealed]".into())));
        };
        if let Err(full) = bridge.asks.try_send((request, to)) {
            let (_, to) = full.into_inner();
            drop(to.send(Err("the bridge of ordinary locks is busy".into())));
        }
    }

    /// How it is.
    pub(crate) fn status(&self) -> cardea_api::Unsealed {
        self.status.borrow().clone()
    }
}

/// What the radio's driver is told of the configuration; `None`: it is off.
pub(crate) fn driver_config(config: &Config) -> Option<OrdinaryConfig> {
    let section = Some(&config.unsealed).filter(|section| section.enabled)?;
    let devices = section
        .devices
        .iter()
        .map(|(eui, device)| (Eui64(eui.0), if device.commands { Rights::Command } else { Rights::Watch }));
    Some(OrdinaryConfig { devices: devices.collect(), report_seconds: section.report_seconds })
}

fn hub_config(config: &Config, gateway: &str) -> cardea_unsealed::Config {
    let devices =
        config.unsealed.devices.iter().map(|(eui, device)| {
            (Eui64(eui.0), Device { name: device.name.clone(), commands: device.commands })
        });
    cardea_unsealed::Config {
        prefix: config.mqtt.prefix.clone(),
        gateway: gateway.to_owned(),
        devices: devices.collect(),
        home_assistant: config.unsealed.home_assistant.clone(),
    }
}

fn now(wall: &WallClock) -> Wall {
    let now = wall.now();
    Wall { unix_ms: now.unix_ms, synced: now.synced }
}

/// The bridge's own connection: as the relay's, under another client id, and of nothing that waited. The broker keeps no session for
/// it and queues nothing while it is away.
fn link(relay: MqttConfig, hub: &cardea_unsealed::Config, wall: &WallClock) -> MqttConfig {
    let mut link = relay;
    link.client_id.push_str("-unsealed");
    link.filters = hub.filters();
    link.live_only = true;
    let (hub, wall) = (hub.clone(), wall.clone());
    link.will = Some(Arc::new(move || Will {
        topic: hub.state_topic(),
        payload: hub.presence(false, now(&wall)),
        retain: true,
    }));
    link
}

/// What the bridge waits for.
#[derive(Clone)]
pub(crate) struct States {
    /// True from when on it may speak to the broker.
    pub(crate) owned: watch::Receiver<bool>,
    /// True when it ends.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Starts the bridge.
pub(crate) fn start(
    config: &Config,
    gateway: &str,
    relay: MqttConfig,
    (clock, wall): (Clock, WallClock),
    desk: OrdinaryDesk,
    states: States,
) -> (Bridge, JoinHandle<()>) {
    let hub_config = hub_config(config, gateway);
    let (asks, asked) = mpsc::channel(16);
    let nothing = cardea_api::Unsealed {
        end_to_end: false,
        locks: 0,
        commands: 0,
        connected: false,
        detail: String::new(),
        ignored: 0,
    };
    let (told, status) = watch::channel(nothing);
    let task = Task {
        link: link(relay, &hub_config, &wall),
        hub: Hub::new(hub_config, now(&wall)),
        clock,
        wall,
        desk,
        told,
        operators: BTreeMap::new(),
        broker: None,
        last_publish: 0,
        states,
    };
    tracing::warn!("ordinary locks are on: they are NOT end-to-end protected");
    (Bridge { asks, status }, tokio::spawn(task.run(asked)))
}

struct Task {
    link: MqttConfig,
    hub: Hub,
    clock: Clock,
    wall: WallClock,
    desk: OrdinaryDesk,
    told: watch::Sender<cardea_api::Unsealed>,
    operators: BTreeMap<u64, To>,
    broker: Option<Handle>,
    last_publish: u64,
    states: States,
}

impl Task {
    async fn run(mut self, mut asked: mpsc::Receiver<(Request, To)>) {
        let mut stopping = self.states.stopping.clone();
        let mut running = self.connect();
        loop {
            self.work();
            let due = self.hub.poll_timeout().map(|at| self.clock.instant(at));
            tokio::select! {
                event = next(&mut self.broker) => match event {
                    Some(event) => self.heard(event),
                    None => {
                        // The link crashed: everything on it is gone.
                        tracing::error!("the broker link of ordinary locks ended");
                        self.hub.handle_disconnected();
                        self.broker = None;
                        tokio::time::sleep(AGAIN).await;
                        running = self.connect();
                    }
                },
                Some(notice) = self.desk.notices.recv() => {
                    let (at, wall) = (self.clock.now(), now(&self.wall));
                    self.hub.handle_notice(at, wall, notice);
                }
                Some((request, to)) = asked.recv() => self.asked(request, to),
                () = sleep_until(due) => {
                    let (at, wall) = (self.clock.now(), now(&self.wall));
                    self.hub.handle_timeout(at, wall);
                }
                () = stopped(&mut stopping) => break,
            }
        }
        let goodbye = async {
            self.say_offline().await;
            self.broker = None;
            // It may have crashed.
            let _ = running.await;
        };
        if tokio::time::timeout(GOODBYE, goodbye).await.is_err() {
            tracing::warn!("the broker took too long to say goodbye to ordinary locks");
        }
    }

    /// The will, said by us: a link that ends in good order keeps it unspoken.
    async fn say_offline(&mut self) {
        let Some(will) = self.link.will.as_ref().map(|will| will()) else { return };
        self.publish(will.topic, will.payload.into(), will.retain);
        let last = self.last_publish;
        let Some(broker) = self.broker.as_mut().filter(|broker| broker.status().borrow().connected) else {
            return;
        };
        while let Some(event) = broker.recv().await {
            if matches!(event, Event::Disconnected) || event == (Event::Acked { token: last }) {
                return;
            }
        }
    }

    fn publish(&mut self, topic: String, payload: Bytes, retain: bool) {
        self.last_publish = self.last_publish.wrapping_add(1);
        if let Some(broker) = &self.broker {
            broker.publish(Publish { token: self.last_publish, topic, payload, retain, not_after: None });
        }
    }

    fn connect(&mut self) -> JoinHandle<()> {
        let (handle, port) = cardea_broker::link();
        self.broker = Some(handle);
        let (link, mut states) = (Mqtt::new(self.link.clone()), self.states.clone());
        tokio::spawn(async move {
            tokio::select! {
                Ok(_) = states.owned.wait_for(|owned| *owned) => {}
                () = stopped(&mut states.stopping) => return,
            }
            link.run(port).await;
        })
    }

    fn heard(&mut self, event: Event) {
        let (at, wall) = (self.clock.now(), now(&self.wall));
        match event {
            Event::Connected(_) => self.hub.handle_connected(at, wall),
            Event::Disconnected => self.hub.handle_disconnected(),
            Event::Message { ack, topic, payload, retain, .. } => {
                self.hub.handle_message(at, wall, &topic, &payload, retain);
                if let Some(broker) = &self.broker {
                    broker.ack(ack);
                }
            }
            Event::Refused { reason, .. } => {
                tracing::warn!(reason, "the broker will not take a message of ordinary locks");
            }
            Event::Down(_) | Event::Acked { .. } | Event::Rtt { .. } => {}
        }
    }

    fn asked(&mut self, request: Request, to: To) {
        match request {
            Request::AdmitUnsealed { label } => match read_label(&label) {
                Ok((eui, code)) => {
                    let token = self.hub.admit(eui, code);
                    self.operators.insert(token, to);
                }
                Err(why) => drop(to.send(Err(why))),
            },
            Request::RemoveUnsealed { lock } => match lock.parse::<cardea_config::Eui64>() {
                Ok(eui) => {
                    let token = self.hub.remove(Eui64(eui.0));
                    self.operators.insert(token, to);
                }
                Err(why) => drop(to.send(Err(why))),
            },
            _ => {
                let rows = self.hub.rows(self.clock.now(), now(&self.wall));
                drop(to.send(Ok(Reply::Unsealed(rows.into_iter().map(listed).collect()))));
            }
        }
    }

    /// Does what the bridge wants done.
    fn work(&mut self) {
        while let Some(errand) = self.hub.poll_errand() {
            if let Err(back) = self.desk.errands.try_send(errand) {
                let errand = match back {
                    mpsc::error::TrySendError::Full(errand) | mpsc::error::TrySendError::Closed(errand) => {
                        errand
                    }
                };
                self.hub.handle_not_taken(now(&self.wall), &errand);
            }
        }
        while let Some(publish) = self.hub.poll_publish() {
            self.publish(publish.topic, publish.payload, publish.retain);
        }
        while let Some((token, result)) = self.hub.poll_reply() {
            if let Some(to) = self.operators.remove(&token) {
                // The operator may have gone.
                let _ = to.send(result.map(|()| Reply::Done));
            }
        }
        let rows = self.hub.rows(self.clock.now(), now(&self.wall));
        let count = |rows: usize| u64::try_from(rows).unwrap_or(u64::MAX);
        let link = self.broker.as_ref().map(|broker| broker.status().borrow().clone()).unwrap_or_default();
        let status = cardea_api::Unsealed {
            end_to_end: false,
            locks: count(rows.len()),
            commands: count(rows.iter().filter(|row| row.commands).count()),
            connected: link.connected,
            detail: link.detail,
            ignored: self.hub.ignored(),
        };
        self.told.send_if_modified(|told| std::mem::replace(told, status.clone()) != status);
    }
}

/// `EUI-64/install code`, both hexadecimal. What is wrong never quotes the code.
/// EUI-64 and install code, divided by a slash.
pub(crate) fn read_label(label: &str) -> Result<(Eui64, InstallCode), String> {
    let (eui, code) = label.trim().split_once('/').ok_or("a label is EUI-64/install code")?;
    let eui: cardea_config::Eui64 = eui.parse()?;
    let code = hex::decode(code).map_err(|_| "the install code must be hexadecimal")?;
    let code = zeroize::Zeroizing::new(code);
    let code = InstallCode::new(&code).map_err(|error| error.to_string())?;
    Ok((Eui64(eui.0), code))
}

fn listed(row: Row) -> UnsealedLock {
    let Row { name, commands, bolt, source, at, heard, snapshot } = row;
    UnsealedLock {
        lock: snapshot.eui.to_string(),
        end_to_end: false,
        name,
        commands,
        joined: snapshot.joined,
        ready: snapshot.ready,
        bolt: bolt.into(),
        source: source.map(Into::into),
        at,
        heard,
        battery: snapshot.battery.map(|(percent, _)| percent),
        rssi: snapshot.heard.map(|heard| heard.rssi),
        lqi: snapshot.heard.map(|heard| heard.lqi),
    }
}

async fn next(broker: &mut Option<Handle>) -> Option<Event> {
    match broker {
        Some(broker) => broker.recv().await,
        None => std::future::pending().await,
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // A daemon whose other parts are gone stops, too.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
