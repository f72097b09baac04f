//! What happens, told as it happens, and remembered so that each step can be checked.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use cardea_agent::AgentEvent;
use cardea_framing::LockId;
use cardea_sdk::{Bolt, Platform, PlatformEvent};
use cardea_simulator::{Happening, VirtualLock};
use tokio::sync::{Notify, broadcast::error::RecvError, mpsc, watch};

/// Something that was observed, at a lock or at the platform.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    Lock(u64, Happening),
    Platform(PlatformEvent),
}

/// One virtual lock on stage. Its own task follows it.
pub(crate) struct Door {
    pub(crate) number: u64,
    pub(crate) id: LockId,
    radio: &'static str,
    pub(crate) owner_code: [u8; 16],
    bolt: watch::Receiver<Bolt>,
    pokes: mpsc::UnboundedSender<fn(&VirtualLock)>,
}

impl Door {
    pub(crate) fn bolt(&self) -> Bolt {
        *self.bolt.borrow()
    }

    pub(crate) fn switch_on(&self) {
        self.poke(VirtualLock::switch_on);
    }

    pub(crate) fn touch(&self) {
        self.poke(VirtualLock::touch);
    }

    pub(crate) fn reset(&self) {
        self.poke(VirtualLock::reset);
    }

    /// Turns the knob: the bolt goes to the other side.
    pub(crate) fn turn(&self) {
        self.poke(match self.bolt() {
            Bolt::Locked => |lock| lock.turn(Bolt::Unlocked),
            _ => |lock| lock.turn(Bolt::Locked),
        });
    }

    fn poke(&self, poke: fn(&VirtualLock)) {
        // The lock's task only ends with the program.
        let _ = self.pokes.send(poke);
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lock {} ({}, {})", self.number, self.radio, self.id)
    }
}

/// The narrator. Clones tell the same story.
#[derive(Clone)]
pub(crate) struct Story {
    start: Instant,
    seen: Arc<Mutex<Vec<Seen>>>,
    more: Arc<Notify>,
}

impl Story {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), seen: Arc::default(), more: Arc::new(Notify::new()) }
    }

    /// One line, with the time since the start.
    pub(crate) fn say(&self, line: &str) {
        println!("{:7.1} s  {line}", self.start.elapsed().as_secs_f64());
    }

    /// Everything seen so far for which `find` gives something.
    pub(crate) fn all<T>(&self, find: impl FnMut(&Seen) -> Option<T>) -> Vec<T> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(find).collect()
    }

    /// Waits until something was seen for which `find` gives something.
    pub(crate) async fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        find: impl Fn(&Seen) -> Option<T>,
    ) -> Result<T> {
        let end = tokio::time::Instant::now() + limit;
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            if let Some(found) = self.all(&find).into_iter().next() {
                return Ok(found);
            }
            if tokio::time::timeout_at(end, more).await.is_err() {
                bail!("\"{what}\" did not happen within {} s", limit.as_secs());
            }
        }
    }

    /// Waits until a lock has neither sent nor heard anything for a while.
    pub(crate) async fn idle(&self, door: &Door, quiet: Duration) {
        loop {
            let before = self.frames(door.number);
            tokio::time::sleep(quiet).await;
            if self.frames(door.number) == before {
                return;
            }
        }
    }

    fn frames(&self, of: u64) -> usize {
        let frame = |seen: &Seen| match seen {
            Seen::Lock(number, Happening::Sent(_) | Happening::Heard(_)) if *number == of => Some(()),
            _ => None,
        };
        self.all(frame).len()
    }

    pub(crate) fn follow_platform(&self, platform: &Platform) {
        let (story, mut events) = (self.clone(), platform.subscribe());
        tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(event) => {
                        story.say(&format!("  platform: {event}"));
                        story.note(Seen::Platform(event));
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// The same of a lock that nobody has let in yet: that it looks for a network in vain is not told each time.
    pub(crate) fn follow_quietly(&self, number: u64, lock: VirtualLock, radio: &'static str) -> Door {
        self.follow(number, lock, radio, |happening| *happening != Happening::JoinFailed)
    }

    pub(crate) fn follow_lock(&self, number: u64, lock: VirtualLock, radio: &'static str) -> Door {
        self.follow(number, lock, radio, |_| true)
    }

    fn follow(
        &self,
        number: u64,
        mut lock: VirtualLock,
        radio: &'static str,
        is_told: fn(&Happening) -> bool,
    ) -> Door {
        let (pokes, mut poked) = mpsc::unbounded_channel::<fn(&VirtualLock)>();
        let door = Door {
            number,
            id: lock.id(),
            radio,
            owner_code: *lock.owner_code().to_bytes(),
            bolt: lock.bolt(),
            pokes,
        };
        let (story, name) = (self.clone(), door.to_string());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    poke = poked.recv() => match poke {
                        Some(poke) => poke(&lock),
                        None => return,
                    },
                    happened = lock.happened() => {
                        let Some((_, happening)) = happened else { return };
                        if is_told(&happening) {
                            story.say(&format!("  {name}: {}", words(happening)));
                        }
                        story.note(Seen::Lock(number, happening));
                    }
                }
            }
        });
        door
    }

    fn note(&self, seen: Seen) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        self.more.notify_waiters();
    }
}

/// A lock's life in words.
fn words(happening: Happening) -> String {
    match happening {
        Happening::Joined => "joined the radio network".into(),
        Happening::JoinFailed => "no join accept; it tries again".into(),
        Happening::Sent(0) => "asks for a receive window (an empty uplink)".into(),
        Happening::Sent(len) => format!("sends {len} bytes"),
        Happening::Heard(len) => format!("hears {len} bytes"),
        Happening::Agent(AgentEvent::Activated { .. }) => "has an owner now".into(),
        Happening::Agent(AgentEvent::Connected) => "has a fresh OSCORE context with its platform".into(),
        Happening::Agent(AgentEvent::Command { op, outcome, .. }) => {
            format!("was told to {op:?}: {outcome:?}")
        }
        Happening::Agent(event) => format!("{event:?}"),
    }
}
