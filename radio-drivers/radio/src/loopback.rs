//! A radio without a radio: its "air" is a pair of channels, or a UDP socket on the loopback interface.
//!
//! It follows the contract like any driver (admission is durable, strangers are ignored, one outcome per send) and
//! adds neither loss nor delay. With the UDP flavour another process can be the locks of a real daemon.
//!
//! The UDP datagram, both ways: **8 bytes lock id ‖ frame**. The driver answers each lock at the address it was
//! last heard from; a datagram of just the 8 bytes says "here I am" without a frame. There is no protection
//! whatsoever, so [`run_udp`] refuses to be bound to anything but the loopback interface.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use cardea_framing::LockId;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::{
    Admission, AdmissionSecret, Change, Command, DriverEnd, Event, Health, NetworkStoreError, Outcome,
    Quality, Refusal, Send, Up,
};

/// What every loopback lock can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopbackConfig {
    /// Largest frame, bytes.
    pub mtu: u16,
    /// See [`Event::Link`].
    pub retry_ms: u32,
    /// See [`Event::Link`].
    pub life_ms: u32,
}

impl Default for LoopbackConfig {
    fn default() -> Self {
        Self { mtu: 242, retry_ms: 1_000, life_ms: 10_000 }
    }
}

/// The locks' side of an in-process loopback radio.
pub struct Air {
    /// Frames from locks to the gateway; an empty frame only announces the lock.
    pub up: mpsc::Sender<(LockId, Bytes)>,
    /// Frames from the gateway to locks.
    pub down: mpsc::Receiver<(LockId, Bytes)>,
}

/// The driver's side of an in-process loopback radio.
pub struct AirEnd {
    up: mpsc::Receiver<(LockId, Bytes)>,
    down: mpsc::Sender<(LockId, Bytes)>,
}

/// Why the loopback driver ended.
#[derive(Debug, thiserror::Error)]
pub enum LoopbackError {
    /// The store of admissions could not be read.
    #[error(transparent)]
    Store(#[from] NetworkStoreError),
    /// The socket could not be used.
    #[error("loopback radio socket: {0}")]
    Socket(#[from] io::Error),
    /// The address is not on the loopback interface.
    #[error("the loopback radio has no protection and may only be bound to 127.0.0.1 or ::1, not to {0}")]
    NotLoopback(SocketAddr),
}

/// Makes both sides of an in-process loopback radio.
#[must_use]
pub fn air(capacity: usize) -> (Air, AirEnd) {
    let (up_tx, up_rx) = mpsc::channel(capacity);
    let (down_tx, down_rx) = mpsc::channel(capacity);
    (Air { up: up_tx, down: down_rx }, AirEnd { up: up_rx, down: down_tx })
}

/// Runs the in-process flavour until [`Command::Stop`] or until one of its peers is gone.
///
/// # Errors
/// When the store cannot be read.
pub async fn run(config: LoopbackConfig, mut air: AirEnd, mut end: DriverEnd) -> Result<(), LoopbackError> {
    let mut driver = Driver::start(config, &end).await?;
    loop {
        tokio::select! {
            frame = air.up.recv() => match frame {
                Some((lock, frame)) => driver.heard(&end, lock, frame).await,
                None => return Ok(()),
            },
            command = end.commands.recv() => match command {
                Some(Command::Stop) | None => return Ok(()),
                Some(Command::Send(send)) => {
                    let outcome = match driver.check(&end, &send) {
                        Ok(()) if air.down.send((send.lock, send.frame)).await.is_ok() => Outcome::Sent,
                        Ok(()) => Outcome::Failed(crate::Failure::NoRadio),
                        Err(outcome) => outcome,
                    };
                    emit(&end, Event::Outcome { handle: send.handle, outcome }).await;
                }
                Some(command) => driver.command(&end, command).await,
            },
        }
    }
}

/// Lock and frame of a datagram of the UDP flavour; `None` when it is too short to be one.
#[must_use]
pub fn split(datagram: &[u8]) -> Option<(LockId, &[u8])> {
    let (lock, frame) = datagram.split_first_chunk()?;
    Some((LockId(*lock), frame))
}

/// Binds `address` and runs the UDP flavour until [`Command::Stop`].
///
/// # Errors
/// When the address is not loopback, cannot be bound, or the store cannot be read.
pub async fn run_udp(
    config: LoopbackConfig,
    address: SocketAddr,
    end: DriverEnd,
) -> Result<(), LoopbackError> {
    if !address.ip().is_loopback() {
        return Err(LoopbackError::NotLoopback(address));
    }
    run_socket(config, UdpSocket::bind(address).await?, end).await
}

/// Runs the UDP flavour on a socket that is already bound (to the loopback interface).
///
/// # Errors
/// As [`run_udp`].
pub async fn run_socket(
    config: LoopbackConfig,
    socket: UdpSocket,
    mut end: DriverEnd,
) -> Result<(), LoopbackError> {
    let address = socket.local_addr()?;
    if !address.ip().is_loopback() {
        return Err(LoopbackError::NotLoopback(address));
    }
    let mut driver = Driver::start(config, &end).await?;
    let mut addresses: BTreeMap<LockId, SocketAddr> = BTreeMap::new();
    let mut buffer = vec![0; 2048];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let (len, from) = match received {
                    Ok(received) => received,
                    // A peer that is gone answers with an ICMP error; the socket itself is fine.
                    Err(error) => { tracing::debug!(%error, "loopback radio: receive"); continue }
                };
                let Some((lock, frame)) = buffer.get(..len).and_then(split) else { continue };
                if driver.admitted.contains(&lock) {
                    addresses.insert(lock, from);
                    driver.heard(&end, lock, Bytes::copy_from_slice(frame)).await;
                }
            }
            command = end.commands.recv() => match command {
                Some(Command::Stop) | None => return Ok(()),
                Some(Command::Send(send)) => {
                    let outcome = match (driver.check(&end, &send), addresses.get(&send.lock)) {
                        (Err(outcome), _) => outcome,
                        (Ok(()), None) => Outcome::Refused(Refusal::NotJoined),
                        (Ok(()), Some(to)) => {
                            let datagram = [&send.lock.0[..], &send.frame].concat();
                            match socket.send_to(&datagram, to).await {
                                Ok(_) => Outcome::Sent,
                                Err(_) => Outcome::Failed(crate::Failure::NoRadio),
                            }
                        }
                    };
                    emit(&end, Event::Outcome { handle: send.handle, outcome }).await;
                }
                Some(command) => {
                    if let Command::Remove(lock) = &command {
                        addresses.remove(lock);
                    }
                    driver.command(&end, command).await;
                }
            },
        }
    }
}

/// What both flavours share: who is admitted, and who was heard since the start.
struct Driver {
    config: LoopbackConfig,
    admitted: BTreeSet<LockId>,
    present: BTreeSet<LockId>,
}

const PREFIX: &[u8] = b"loopback/";

impl Driver {
    async fn start(config: LoopbackConfig, end: &DriverEnd) -> Result<Self, LoopbackError> {
        let store = end.store.clone();
        let records = tokio::task::spawn_blocking(move || store.load())
            .await
            .map_err(|error| NetworkStoreError(error.to_string()))??;
        let admitted: BTreeSet<_> = records
            .iter()
            .filter_map(|(key, _)| Some(LockId(key.strip_prefix(PREFIX)?.try_into().ok()?)))
            .collect();
        emit(end, Event::Admits(admitted.iter().copied().collect())).await;
        emit(end, Event::Health(Health { up: true, detail: String::new() })).await;
        Ok(Self { config, admitted, present: BTreeSet::new() })
    }

    async fn heard(&mut self, end: &DriverEnd, lock: LockId, frame: Bytes) {
        if !self.admitted.contains(&lock) {
            tracing::debug!("loopback radio: frame from a lock that is not admitted");
            return;
        }
        if self.present.insert(lock) {
            emit(end, Event::Joined(lock)).await;
            let LoopbackConfig { mtu, retry_ms, life_ms } = self.config;
            emit(end, Event::Link { lock, mtu_down: mtu, sleepy: false, retry_ms, life_ms }).await;
        }
        if !frame.is_empty() && frame.len() <= usize::from(self.config.mtu) {
            let up = Up { lock, frame, quality: Quality::default(), at: end.clock.now(), window: None };
            emit(end, Event::Up(up)).await;
        }
    }

    fn check(&self, end: &DriverEnd, send: &Send) -> Result<(), Outcome> {
        if !self.present.contains(&send.lock) {
            Err(Outcome::Refused(Refusal::NotJoined))
        } else if send.frame.len() > usize::from(self.config.mtu) {
            Err(Outcome::Refused(Refusal::TooBig))
        } else if end.clock.now() > send.deadline {
            Err(Outcome::Expired)
        } else {
            Ok(())
        }
    }

    async fn command(&mut self, end: &DriverEnd, command: Command) {
        match command {
            Command::Admit(Admission { lock, secret: AdmissionSecret::Loopback }) => {
                let result = commit(end, lock, Some(Vec::new())).await;
                if result.is_ok() {
                    self.admitted.insert(lock);
                }
                emit(end, Event::Admitted { lock, result }).await;
            }
            Command::Admit(Admission { lock, .. }) => {
                let result = Err("this label is for another radio".to_owned());
                emit(end, Event::Admitted { lock, result }).await;
            }
            Command::Remove(lock) => {
                if self.admitted.remove(&lock) {
                    if let Err(error) = commit(end, lock, None).await {
                        tracing::warn!(%error, "loopback radio: a removed lock will be back after a restart");
                    }
                    self.present.remove(&lock);
                    emit(end, Event::Left(lock)).await;
                }
            }
            // A send is answered at once, so there is never one to cancel; sends and stops end in the loops above.
            Command::Cancel { .. } | Command::Send(_) | Command::Stop => {}
        }
    }
}

async fn commit(end: &DriverEnd, lock: LockId, value: Option<Vec<u8>>) -> Result<(), String> {
    let change = Change { key: [PREFIX, &lock.0].concat(), value };
    match end.store.commit(vec![change]).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("radio network store: the writer is gone".to_owned()),
    }
}

async fn emit(end: &DriverEnd, event: Event) {
    // A gateway that hung up is about to drop the command channel too, which ends the loop.
    let _ = end.events.send(event).await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;
    use crate::{Clock, GatewayEnd, MemoryStore, channel};

    const LOCK: LockId = LockId([1; 8]);

    fn gateway(store: &MemoryStore) -> (GatewayEnd, DriverEnd) {
        channel(16, Clock::start(), Arc::new(store.clone()))
    }

    async fn admit(gateway: &mut GatewayEnd) {
        assert!(matches!(gateway.events.recv().await, Some(Event::Admits(locks)) if locks.is_empty()));
        assert!(matches!(gateway.events.recv().await, Some(Event::Health(Health { up: true, .. }))));
        let admission = Admission { lock: LOCK, secret: AdmissionSecret::Loopback };
        gateway.commands.send(Command::Admit(admission)).await.unwrap();
        assert!(matches!(gateway.events.recv().await, Some(Event::Admitted { result: Ok(()), .. })));
    }

    async fn send(gateway: &mut GatewayEnd, frame: &[u8], deadline: u64) -> Outcome {
        let send = Send { handle: 9, lock: LOCK, frame: Bytes::copy_from_slice(frame), deadline };
        gateway.commands.send(Command::Send(send)).await.unwrap();
        loop {
            if let Event::Outcome { handle: 9, outcome } = gateway.events.recv().await.unwrap() {
                return outcome;
            }
        }
    }

    #[tokio::test]
    async fn frames_go_both_ways_and_strangers_are_ignored() {
        let store = MemoryStore::new();
        let (mut gateway, end) = gateway(&store);
        let (mut air, air_end) = air(4);
        tokio::spawn(run(LoopbackConfig::default(), air_end, end));
        admit(&mut gateway).await;

        air.up.send((LockId([2; 8]), Bytes::from_static(b"stranger"))).await.unwrap();
        assert_eq!(send(&mut gateway, b"too early", u64::MAX).await, Outcome::Refused(Refusal::NotJoined));
        air.up.send((LOCK, Bytes::from_static(b"up"))).await.unwrap();
        assert!(matches!(gateway.events.recv().await, Some(Event::Joined(LOCK))));
        assert!(matches!(
            gateway.events.recv().await,
            Some(Event::Link { mtu_down: 242, sleepy: false, .. })
        ));
        assert!(matches!(gateway.events.recv().await, Some(Event::Up(up)) if &up.frame[..] == b"up"));

        assert_eq!(send(&mut gateway, b"down", u64::MAX).await, Outcome::Sent);
        assert_eq!(air.down.recv().await, Some((LOCK, Bytes::from_static(b"down"))));
        assert_eq!(send(&mut gateway, &[0; 243], u64::MAX).await, Outcome::Refused(Refusal::TooBig));
        gateway.commands.send(Command::Remove(LOCK)).await.unwrap();
        assert!(matches!(gateway.events.recv().await, Some(Event::Left(LOCK))));
        assert!(store.snapshot().is_empty());
    }

    #[tokio::test]
    async fn over_udp_a_lock_is_answered_where_it_was_last_heard_even_after_a_restart() {
        let store = MemoryStore::new();
        for round in 0..2 {
            let (mut gateway, end) = gateway(&store);
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let driver = socket.local_addr().unwrap();
            let task = tokio::spawn(run_socket(LoopbackConfig::default(), socket, end));
            if round == 0 {
                admit(&mut gateway).await;
            } else {
                assert!(matches!(gateway.events.recv().await, Some(Event::Admits(locks)) if locks == [LOCK]));
                assert!(matches!(gateway.events.recv().await, Some(Event::Health(_))));
            }
            let lock = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            lock.send_to(b"short", driver).await.unwrap();
            lock.send_to(&[&LOCK.0[..], b"hello"].concat(), driver).await.unwrap();
            assert!(matches!(gateway.events.recv().await, Some(Event::Joined(LOCK))));
            assert!(matches!(gateway.events.recv().await, Some(Event::Link { .. })));
            assert!(matches!(gateway.events.recv().await, Some(Event::Up(up)) if &up.frame[..] == b"hello"));
            assert_eq!(send(&mut gateway, b"answer", u64::MAX).await, Outcome::Sent);
            let mut buffer = [0; 64];
            let (len, _) = lock.recv_from(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..len], [&LOCK.0[..], b"answer"].concat());
            gateway.commands.send(Command::Stop).await.unwrap();
            task.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn it_will_not_leave_the_machine() {
        let (_gateway, end) = gateway(&MemoryStore::new());
        let refused = run_udp(LoopbackConfig::default(), "0.0.0.0:0".parse().unwrap(), end).await;
        assert!(matches!(refused, Err(LoopbackError::NotLoopback(_))));
    }

    #[tokio::test]
    async fn an_admission_that_cannot_be_stored_is_refused() {
        let store = MemoryStore::new();
        store.set_failing(true);
        let (mut gateway, end) = gateway(&store);
        let (_air, air_end) = air(4);
        tokio::spawn(run(LoopbackConfig::default(), air_end, end));
        assert!(matches!(gateway.events.recv().await, Some(Event::Admits(_))));
        assert!(matches!(gateway.events.recv().await, Some(Event::Health(_))));
        let admission = Admission { lock: LOCK, secret: AdmissionSecret::Loopback };
        gateway.commands.send(Command::Admit(admission)).await.unwrap();
        assert!(matches!(gateway.events.recv().await, Some(Event::Admitted { result: Err(_), .. })));
    }
}
