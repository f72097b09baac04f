//! One connection, from the files to the fault.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use rumqttc::{
    AsyncClient, ClientError, ConnAck, ConnectionError, Event as Happened, EventLoop, Outgoing, Packet, QoS,
    Request, SubAck, SubscribeFilter, SubscribeReasonCode,
};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::Instant;

use super::fault::Scene;
use super::flight::{Flight, Suspicion};
use super::{Fault, MqttConfig, Session, options, tls};
use crate::{Command, Event, Hearing, Port, Publish};

/// How a connection ended.
pub(super) enum Ended {
    /// The handle was dropped; the broker was told.
    Stopped,
    /// [`Session::Purge`] is done.
    Purged,
    /// [`Session::Deaf`] is over.
    HeardAgain,
    Broken(Fault),
}

/// The PUBACK round trip is reported at most this often.
const RTT_EVERY: Duration = Duration::from_secs(1);

/// Messages that may come before the SUBACK.
const EARLY: usize = 1024;

/// Commands taken between two looks at the network.
const COMMANDS_AT_ONCE: usize = 128;

/// How long a publish on trial waits for others after the connection was made.
const HOLD: Duration = Duration::from_secs(1);

/// Requests besides publishes that may wait in the client's channel.
const SPARE_REQUESTS: usize = 256;

pub(super) struct Connection<'a> {
    config: &'a MqttConfig,
    epoch: u64,
    session: Session,
    suspicion: &'a mut Suspicion,
    flight: Flight,
    /// Packet ids to acknowledge, not given to the client yet.
    acks: VecDeque<u16>,
    /// Messages that came before the SUBACK.
    early: Vec<Event>,
    /// Set once `Connected` was reported.
    reported: bool,
    connected: bool,
    /// Smoothed round trip, and when it was last reported.
    rtt: Option<(Duration, Instant)>,
    wait: Wait,
    /// Until when a publish on trial is held back.
    hold: Option<Instant>,
    /// Set once DISCONNECT was asked for: how the connection is going to end.
    leaving: Option<Ended>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        config: &'a MqttConfig,
        epoch: u64,
        session: Session,
        suspicion: &'a mut Suspicion,
    ) -> Self {
        let flight = Flight::new(suspicion.window(config.inflight.into()));
        Self {
            config,
            epoch,
            session,
            suspicion,
            flight,
            acks: VecDeque::new(),
            early: Vec::new(),
            reported: false,
            connected: false,
            rtt: None,
            wait: Wait::Nothing,
            hold: None,
            leaving: None,
        }
    }

    /// Connects and carries messages until something ends it. Reports `Disconnected` if it reported `Connected`.
    pub(super) async fn run(mut self, port: &mut Port) -> Ended {
        let ended = match options::of(self.config, self.session).await {
            Ok(options) => {
                let capacity = usize::from(self.config.inflight) + SPARE_REQUESTS;
                let (client, mut eventloop) = AsyncClient::new(options, capacity);
                eventloop.network_options.set_tcp_nodelay(true);
                eventloop.network_options.set_connection_timeout(self.config.timeout.as_secs().max(1));
                self.carry(&client, &mut eventloop, port).await
            }
            Err(fault) => Ended::Broken(fault),
        };
        if let Ended::Broken(Fault::Closed) = ended {
            self.suspicion.closed(self.flight.oldest(), Instant::now());
            if self.suspicion.trial(false).is_some() {
                tracing::error!(
                    "the broker closes the connection on a message each time; it is kept until others of its kind are \
                     taken: see whether the broker's access rules let this {} publish",
                    self.config.wording.me
                );
            }
        }
        port.status.send_modify(|status| status.connected = false);
        if self.reported && port.events.send((self.epoch, Event::Disconnected)).await.is_err() {
            return Ended::Stopped;
        }
        ended
    }

    async fn carry(&mut self, client: &AsyncClient, eventloop: &mut EventLoop, port: &mut Port) -> Ended {
        loop {
            if let Err(ended) = self.commands(client, port).await {
                return ended;
            }
            self.feed(client, port).await;
            self.arm();
            // The poll future lives until it is done; see the module documentation.
            let poll = eventloop.poll();
            tokio::pin!(poll);
            let polled = loop {
                tokio::select! {
                    biased;
                    polled = &mut poll => break polled,
                    command = port.commands.recv(), if self.leaving.is_none() => {
                        let handled = match command {
                            Some(command) => self.command(command, port).await,
                            None => self.leave(Ended::Stopped, client),
                        };
                        if let Err(ended) = handled {
                            return ended;
                        }
                        self.feed(client, port).await;
                    }
                    () = sleep_until(self.hold) => {
                        self.hold = None;
                        self.feed(client, port).await;
                    }
                    () = sleep_until(self.wait.at()) => match self.expired(client) {
                        Err(ended) => return ended,
                        Ok(()) => self.arm(),
                    }
                }
            };
            let next = match polled {
                Ok(event) => self.event(event, client, port).await,
                Err(error) => Err(Ended::Broken(self.fault(&error))),
            };
            if let Err(ended) = next {
                return self.leaving.take().unwrap_or(ended);
            }
        }
    }

    /// Takes commands that are waiting, a bounded number, so that a flood of incoming messages starves neither
    /// acknowledgements nor publishes.
    async fn commands(&mut self, client: &AsyncClient, port: &mut Port) -> Result<(), Ended> {
        for _ in 0..COMMANDS_AT_ONCE {
            match port.commands.try_recv() {
                Ok(command) => self.command(command, port).await?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) if self.leaving.is_none() => {
                    return self.leave(Ended::Stopped, client);
                }
                Err(TryRecvError::Disconnected) => break,
            }
        }
        Ok(())
    }

    /// Says DISCONNECT, so that the last will is not published, and ends with `ended` once that is written. An
    /// attempt that has no CONNACK yet simply ends.
    fn leave(&mut self, ended: Ended, client: &AsyncClient) -> Result<(), Ended> {
        if !self.connected || client.try_disconnect().is_err() {
            return Err(ended);
        }
        self.leaving = Some(ended);
        self.wait = Wait::Leaving(Instant::now() + Duration::from_secs(1));
        Ok(())
    }

    /// Gives the client what it may have, without ever waiting for its channel.
    async fn feed(&mut self, client: &AsyncClient, port: &Port) {
        if !self.reported || self.leaving.is_some() {
            return;
        }
        while let Some(pkid) = self.acks.front() {
            let mut message = rumqttc::Publish::new("", QoS::AtLeastOnce, Vec::new());
            message.pkid = *pkid;
            if client.try_ack(&message).is_err() {
                return; // Full: the client is busy writing, and the next event brings us back here.
            }
            self.acks.pop_front();
        }
        let trial = self.suspicion.trial(self.hold.is_some());
        while let Some(Publish { token, topic, payload, retain, not_after }) = self.flight.next(trial) {
            if not_after.is_some_and(|at| at < SystemTime::now()) {
                self.flight.drop_last();
                self.report(port, Event::Refused { token, reason: "it is too late for it".into() }).await;
                continue;
            }
            match client.try_publish(topic, QoS::AtLeastOnce, retain, payload) {
                Ok(()) => {}
                // Full of acknowledgements. What is not in the channel must not count as given, or the next PUBACK
                // would be taken for its own.
                Err(
                    ClientError::TryRequest(Request::Publish(back))
                    | ClientError::Request(Request::Publish(back)),
                ) => {
                    let rumqttc::Publish { topic, payload, retain, .. } = back;
                    self.flight.give_back(Publish { token, topic, payload, retain, not_after });
                    return;
                }
                Err(_) => return tracing::error!("the MQTT client gave another request back"),
            }
        }
    }

    async fn command(&mut self, (epoch, command): (u64, Command), port: &Port) -> Result<(), Ended> {
        match command {
            Command::Publish(publish) if epoch == self.epoch => {
                if let Some(reason) = self.unfit(&publish) {
                    port.status.send_modify(|status| status.refused += 1);
                    self.report(port, Event::Refused { token: publish.token, reason }).await;
                } else {
                    self.flight.push(publish);
                    self.judge(port).await;
                }
            }
            Command::Ack(ack) if ack >> 16 == self.epoch => {
                // 0 is a message with QoS 0, which nobody acknowledges.
                self.acks.extend(u16::try_from(ack & 0xffff).ok().filter(|pkid| *pkid != 0));
            }
            Command::Reconnect(why) if epoch == self.epoch => return Err(Ended::Broken(Fault::Asked(why))),
            // Of a connection that is gone: the user publishes again, the broker delivers again.
            Command::Publish(_) | Command::Ack(_) | Command::Reconnect(_) => {}
        }
        Ok(())
    }

    /// Why this publish is never sent.
    fn unfit(&self, publish: &Publish) -> Option<String> {
        let topic = &publish.topic;
        if topic.is_empty() || topic.len() > usize::from(u16::MAX) || topic.contains(['+', '#', '\0']) {
            return Some(format!("{topic:?} is not a topic name"));
        }
        // Fixed header 5, topic length 2, packet id 2.
        let size = topic.len() + publish.payload.len() + 9;
        if size > self.config.max_packet {
            return Some(format!("{size} bytes, {} allowed", self.config.max_packet));
        }
        None
    }

    /// Refuses a publish of which it is proven that the broker closes the connection on it.
    async fn judge(&mut self, port: &Port) {
        let Some(guilty) = self.suspicion.guilty() else { return };
        if let Some(Publish { token, .. }) = self.flight.withdraw(guilty) {
            self.suspicion.forget();
            port.status.send_modify(|status| status.refused += 1);
            let reason = "the broker closed the connection on it each time".into();
            self.report(port, Event::Refused { token, reason }).await;
        }
    }

    async fn event(&mut self, event: Happened, client: &AsyncClient, port: &Port) -> Result<(), Ended> {
        match event {
            Happened::Incoming(Packet::ConnAck(connack)) => self.connack(connack, client, port).await,
            Happened::Incoming(Packet::SubAck(suback)) => {
                self.wait = Wait::Nothing;
                self.suback(&suback, port).await;
                Ok(())
            }
            Happened::Incoming(Packet::Publish(message)) => self.message(message, port).await,
            Happened::Incoming(Packet::PubAck(puback)) => {
                self.puback(puback.pkid, port).await;
                Ok(())
            }
            Happened::Outgoing(Outgoing::Publish(pkid)) => {
                self.flight.wrote(pkid, Instant::now());
                Ok(())
            }
            Happened::Outgoing(Outgoing::Disconnect) => Err(Ended::Stopped), // `carry` knows why we leave.
            _ => Ok(()),
        }
    }

    async fn connack(&mut self, connack: ConnAck, client: &AsyncClient, port: &Port) -> Result<(), Ended> {
        self.connected = true;
        tracing::info!(broker = self.config.address(), session = connack.session_present, "broker connected");
        match self.session {
            Session::Purge => self.leave(Ended::Purged, client),
            Session::Deaf { until } => {
                self.wait = Wait::Deaf(until);
                let detail = format!(
                    "not subscribed: the broker holds an oversized message on a topic of this {}; {} do not arrive",
                    self.config.wording.me, self.config.wording.inbound
                );
                self.greet(port, Hearing::Deaf(detail)).await;
                Ok(())
            }
            Session::Keep | Session::Purged { .. } if self.config.filters.is_empty() => {
                self.wait = Wait::Nothing;
                self.greet(port, Hearing::All).await;
                Ok(())
            }
            Session::Keep | Session::Purged { .. } => {
                // One SUBSCRIBE, before anything is in flight: its packet id comes from the same counter as
                // those of publishes. Repeated on every connection, whatever the broker says it remembers.
                let filters = self.config.filters.iter();
                let qos = if self.config.live_only { QoS::AtMostOnce } else { QoS::AtLeastOnce };
                let filters = filters.map(|f| SubscribeFilter::new(f.clone(), qos));
                if client.try_subscribe_many(filters).is_err() {
                    return Err(Ended::Broken(Fault::Protocol("a subscription filter is not valid".into())));
                }
                self.wait = Wait::Suback(Instant::now() + self.config.timeout);
                Ok(())
            }
        }
    }

    async fn suback(&mut self, suback: &SubAck, port: &Port) {
        let refused: Vec<&str> = self
            .config
            .filters
            .iter()
            .zip(&suback.return_codes)
            .filter(|(_, code)| **code == SubscribeReasonCode::Failure)
            .map(|(filter, _)| filter.as_str())
            .collect();
        let hearing = if refused.is_empty() {
            Hearing::All
        } else {
            // Whether half a link is better than none is the user's to decide.
            let detail = format!(
                "the broker refuses the subscription to {}; {} do not arrive",
                refused.join(", "),
                self.config.wording.inbound
            );
            tracing::error!(detail, "subscription refused");
            Hearing::Refused(detail)
        };
        self.greet(port, hearing).await;
    }

    async fn greet(&mut self, port: &Port, hearing: Hearing) {
        if self.reported {
            return;
        }
        self.reported = true;
        self.hold = self.suspicion.trial(true).map(|_| Instant::now() + HOLD);
        port.status.send_modify(|status| {
            status.connected = true;
            status.connects += 1;
            status.detail = hearing.detail().into();
        });
        self.report(port, Event::Connected(hearing)).await;
        for event in std::mem::take(&mut self.early) {
            self.report(port, event).await;
        }
    }

    async fn message(&mut self, message: rumqttc::Publish, port: &Port) -> Result<(), Ended> {
        let rumqttc::Publish { dup, qos, retain, topic, pkid, payload } = message;
        if qos == QoS::ExactlyOnce {
            // The subscription asks for QoS 1, so no broker may send this, and nobody would complete it.
            return Err(Ended::Broken(Fault::Protocol("a message with QoS 2".into())));
        }
        let size = topic.len() + payload.len() + 9;
        if size > self.config.max_packet {
            tracing::warn!(size, allowed = self.config.max_packet, "message discarded: too large");
            port.status.send_modify(|status| status.oversized += 1);
            if pkid != 0 {
                self.acks.push_back(pkid);
            }
            return Ok(());
        }
        port.status.send_modify(|status| status.received += 1);
        let ack = (self.epoch << 16) | u64::from(pkid);
        let event = Event::Message { ack, topic, payload, retain, dup };
        if self.reported {
            self.report(port, event).await;
        } else if self.early.len() < EARLY {
            self.early.push(event);
        } else {
            return Err(Ended::Broken(Fault::Silent("the broker does not answer the subscription")));
        }
        Ok(())
    }

    async fn puback(&mut self, pkid: u16, port: &Port) {
        let now = Instant::now();
        let Some(acked) = self.flight.acked(pkid, now) else { return };
        self.suspicion.acked(acked.content);
        self.judge(port).await;
        self.flight.set_window(self.suspicion.window(self.config.inflight.into()));
        port.status.send_modify(|status| status.acked += 1);
        self.report(port, Event::Acked { token: acked.token }).await;

        let (smooth, reported) = match self.rtt {
            None => (acked.rtt, None),
            Some((smooth, at)) => ((smooth * 7 + acked.rtt) / 8, Some(at)),
        };
        if reported.is_none_or(|at| now.saturating_duration_since(at) >= RTT_EVERY) {
            self.rtt = Some((smooth, now));
            let ms = u32::try_from(smooth.as_millis()).unwrap_or(u32::MAX);
            self.report(port, Event::Rtt { ms }).await;
        } else {
            self.rtt = self.rtt.map(|(_, at)| (smooth, at));
        }
    }

    /// Hands an event to the user. A user that is gone is noticed by its command channel.
    async fn report(&self, port: &Port, event: Event) {
        let _ = port.events.send((self.epoch, event)).await;
    }

    /// Begins to wait for acknowledgements when there are some to wait for.
    fn arm(&mut self) {
        if matches!(self.wait, Wait::Nothing)
            && let Some((sent, _)) = self.flight.oldest()
        {
            self.wait = Wait::Acknowledge(sent + self.patience());
        }
    }

    /// How long the broker may take to acknowledge. Pings may be answered by something that has long lost it.
    fn patience(&self) -> Duration {
        (self.config.keepalive * 2).max(self.config.timeout * 2)
    }

    /// The current wait is over.
    fn expired(&mut self, client: &AsyncClient) -> Result<(), Ended> {
        match std::mem::replace(&mut self.wait, Wait::Nothing) {
            Wait::Nothing => Ok(()),
            Wait::Suback(_) => {
                Err(Ended::Broken(Fault::Silent("the broker does not answer the subscription")))
            }
            Wait::Leaving(_) => Err(self.leaving.take().unwrap_or(Ended::Stopped)),
            Wait::Deaf(_) => self.leave(Ended::HeardAgain, client),
            // What was the oldest when the wait began has usually been acknowledged long since.
            Wait::Acknowledge(at) => match self.flight.oldest() {
                Some((sent, _)) if sent + self.patience() <= at => {
                    Err(Ended::Broken(Fault::Silent("the broker no longer acknowledges")))
                }
                _ => Ok(()),
            },
        }
    }

    fn fault(&self, error: &ConnectionError) -> Fault {
        let ca = tls::authority(self.config.tls.as_ref());
        let address = self.config.address();
        let scene = Scene {
            address: &address,
            host: &self.config.host,
            ca: &ca,
            me: self.config.wording.me,
            read_limit: self.config.read_limit(),
            tls: self.config.tls.is_some(),
            connected: self.connected,
        };
        Fault::classify(error, &scene)
    }
}

/// What is being waited for, and how long.
enum Wait {
    Nothing,
    Suback(Instant),
    Acknowledge(Instant),
    Deaf(Instant),
    Leaving(Instant),
}

impl Wait {
    fn at(&self) -> Option<Instant> {
        match self {
            Self::Nothing => None,
            Self::Suback(at) | Self::Acknowledge(at) | Self::Deaf(at) | Self::Leaving(at) => Some(*at),
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
