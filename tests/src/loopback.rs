//! Locks on the daemon's loopback radio: the real link layer, no cryptography. What they say is random bytes in
//! sealed frames' clothes, which is all that a blind gateway may notice.

use std::{
    collections::{BTreeMap, VecDeque},
    net::UdpSocket,
    time::{Duration, Instant},
};

use cardea_framing::{Class, Datagram, Kind, LinkConfig, LinkEvent, LockId, LockLink};

const MTU: usize = 242;

/// One lock.
pub struct LoopLock {
    link: LockLink,
    waiting: VecDeque<Vec<u8>>,
    out: Option<Vec<u8>>,
    handle: u64,
    /// Datagrams whose receipt came, in order: the gateway answers for these.
    pub receipted: Vec<Vec<u8>>,
    /// Datagrams from the gateway, in order, repeats removed by the link.
    pub received: Vec<Vec<u8>>,
}

/// All locks of a test, on one socket.
pub struct LoopRadio {
    socket: UdpSocket,
    start: Instant,
    /// By id.
    pub locks: BTreeMap<LockId, LoopLock>,
    /// When false, receipts and commands from the gateway are not heard.
    pub listening: bool,
}

/// The lock with this number.
pub fn lock_id(number: u16) -> LockId {
    let [high, low] = number.to_be_bytes();
    LockId([0x10, 0, 0, 0, 0, 0, high, low])
}

/// A platform OSCORE datagram with this opaque body.
pub fn datagram(class: Class, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0; body.len() + 3];
    let length = Datagram { kind: Kind::PlatformOscore, class, peer: None, body }.encode(&mut out).unwrap();
    out.truncate(length);
    out
}

impl LoopRadio {
    /// `count` locks that talk to the daemon's loopback radio on `port`. `retry_ms`: how soon they say again
    /// what got no receipt.
    pub fn new(port: u16, count: u16, retry_ms: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let config = LinkConfig { retry_ms, max_attempts: 5, reassembly_ms: 60_000, max_datagram: 1024 };
        let lock = |_| LoopLock {
            link: LockLink::new(config),
            waiting: VecDeque::new(),
            out: None,
            handle: 0,
            receipted: Vec::new(),
            received: Vec::new(),
        };
        let locks = (0..count).map(|n| (lock_id(n), lock(n))).collect();
        Self { socket, start: Instant::now(), locks, listening: true }
    }

    /// The labels to admit them with.
    pub fn labels(&self) -> Vec<String> {
        self.locks
            .keys()
            .map(|&lock| {
                let admission =
                    cardea_radio::Admission { lock, secret: cardea_radio::AdmissionSecret::Loopback };
                cardea_radio::label::reveal(&admission).to_string()
            })
            .collect()
    }

    /// Says "here I am" for every lock.
    pub fn announce(&self) {
        for lock in self.locks.keys() {
            let _ = self.socket.send(&lock.0);
        }
    }

    /// Queues a datagram at a lock; it is sent until a receipt comes.
    pub fn push(&mut self, lock: LockId, datagram: Vec<u8>) {
        self.locks.get_mut(&lock).unwrap().waiting.push_back(datagram);
    }

    /// Sends raw bytes as this lock.
    pub fn inject(&self, lock: LockId, frame: &[u8]) {
        let _ = self.socket.send(&[&lock.0[..], frame].concat());
    }

    /// Datagrams that have no receipt yet.
    pub fn unreceipted(&self) -> usize {
        self.locks.values().map(|l| l.waiting.len() + usize::from(l.out.is_some())).sum()
    }

    /// Everything that can happen now happens; then sleeps for at most a millisecond.
    pub fn step(&mut self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap();
        let mut buffer = [0; 2048];
        let mut idle = true;
        while let Ok(length) = self.socket.recv(&mut buffer) {
            idle = false;
            let Some((id, frame)) = buffer[..length].split_first_chunk() else { continue };
            let Some(lock) = self.locks.get_mut(&LockId(*id)) else { continue };
            if !self.listening {
                continue;
            }
            if let Ok(Some(incoming)) = lock.link.handle_frame(now, frame) {
                lock.received.push(incoming.datagram().to_vec());
                if let Some(token) = incoming.receipt {
                    lock.link.custody(now, token);
                }
            }
        }
        for (id, lock) in &mut self.locks {
            while let Some(event) = lock.link.poll_event() {
                let (LinkEvent::Sent { handle }
                | LinkEvent::Delivered { handle }
                | LinkEvent::Failed { handle, .. }) = event;
                if handle != lock.handle {
                    continue;
                }
                let Some(said) = lock.out.take() else { continue };
                match event {
                    // A lock says it again until someone answers for it.
                    LinkEvent::Failed { .. } => lock.waiting.push_front(said),
                    _ => lock.receipted.push(said),
                }
            }
            if lock.out.is_none()
                && lock.link.can_send()
                && let Some(next) = lock.waiting.pop_front()
            {
                lock.handle += 1;
                lock.link.send(now, &next, lock.handle).unwrap();
                lock.out = Some(next);
            }
            let mut frame = [0; MTU];
            while let Some(length) = lock.link.poll_transmit(now, MTU, &mut frame) {
                idle = false;
                let _ = self.socket.send(&[&id.0[..], &frame[..length]].concat());
            }
        }
        if idle {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Steps until `done`, or fails after `limit`.
    pub fn run_until(&mut self, what: &str, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + limit;
        while !done(self) {
            assert!(Instant::now() < end, "{what}: not within {limit:?}, {} unreceipted", self.unreceipted());
            self.step();
        }
    }
}
