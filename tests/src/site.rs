//! A platform at a broker, and the doors that it moves: what tests of the whole system share, whatever the radio.

use std::{fs, path::Path, time::Duration};

use cardea_sdk::{Bolt, Broker, LockId, Outcome, Platform, PlatformEvent};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
    time::{sleep, timeout},
};

/// From a command to a class A lock until somebody touches it.
const TOUCHED_AFTER: Duration = Duration::from_secs(2);
/// How often a door may be asked.
const TRIES: usize = 4;

/// A running platform with everything that it hears.
pub struct Site {
    /// The platform.
    pub platform: Platform,
    events: broadcast::Receiver<PlatformEvent>,
    patience: Duration,
}

/// A lock on a door.
pub struct Door<'a> {
    /// As the platform knows it.
    pub id: LockId,
    /// What its bolt really does.
    pub bolt: watch::Receiver<Bolt>,
    /// For a lock that only hears after it has spoken: somebody touches it.
    pub touch: Option<&'a (dyn Fn() + Sync)>,
}

impl Site {
    /// A new platform in `dir`, at the broker on this port. Nothing that it is asked for may take longer than `patience`.
    pub fn new(dir: &Path, broker: u16, patience: Duration) -> Self {
        let home = dir.join("platform");
        fs::create_dir(&home).unwrap();
        Platform::init(&home).unwrap();
        let platform = Platform::open(&home).unwrap();
        let events = platform.subscribe();
        tokio::spawn(platform.clone().run(Broker::at(&format!("mqtt://127.0.0.1:{broker}"))));
        Self { platform, events, patience }
    }

    /// Waits for an event.
    pub async fn event(&mut self, what: &str, mut wanted: impl FnMut(&PlatformEvent) -> bool) {
        let found = timeout(self.patience, async {
            loop {
                match self.events.recv().await {
                    Ok(event) if wanted(&event) => return,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(closed) => panic!("{closed}"),
                }
            }
        });
        assert!(found.await.is_ok(), "{what}: not within {:?}", self.patience);
    }

    /// Waits until this lock is activated.
    pub async fn activated(&mut self, id: LockId) {
        self.event("activation", |e| matches!(e, PlatformEvent::Activated { lock, .. } if *lock == id)).await;
    }

    /// Throws or withdraws a bolt, within four tries of commands that live for so long.
    pub async fn moves(&self, door: &Door<'_>, wanted: Bolt, life: Duration, after: &str) {
        let mut last = String::new();
        for _ in 0..TRIES {
            let asked = async {
                match wanted {
                    Bolt::Locked => self.platform.lock(door.id, life).await,
                    _ => self.platform.unlock(door.id, life).await,
                }
            };
            let touched = async {
                if let Some(touch) = door.touch {
                    sleep(TOUCHED_AFTER).await;
                    touch();
                }
            };
            let (outcome, ()) = timeout(self.patience, async { tokio::join!(asked, touched) }).await.unwrap();
            let outcome = outcome.unwrap();
            last = outcome.to_string();
            println!("after {after}, lock {}: {last}", hex::encode(door.id.0));
            if matches!(outcome, Outcome::Done { bolt, .. } if bolt == wanted) {
                assert_eq!(*door.bolt.borrow(), wanted);
                return;
            }
        }
        panic!("after {after}: {last}");
    }
}
