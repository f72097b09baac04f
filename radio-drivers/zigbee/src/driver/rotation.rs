//! Another network key: durable before the dongle has it, the network's once the dongle says so or is seen to have it.
//!
//! A power cut in between leaves two keys in the store. Which of them the dongle uses is in the next backup, which is taken as
//! soon as the network runs.

use cardea_radio::Millis;

use super::network::Goal;
use super::store::RecordKey;
use super::{Driver, NetworkDone};
use crate::backup::NetworkKey;
use crate::types::Key;

impl Driver {
    pub(super) fn key_rotated(&mut self, now: Millis, result: Result<u8, String>) {
        match (result, self.next_key.take()) {
            (Ok(number), Some(key)) => {
                self.writer.mark(RecordKey::NextKey);
                if let Some(kept) = &mut self.kept {
                    // Whatever takes the dongle's place from now on must speak with this key.
                    let frame_counter = kept.key.frame_counter;
                    kept.key = NetworkKey { key: key.clone(), number, frame_counter };
                    self.writer.mark(RecordKey::Kept);
                }
                self.is_key(key);
                self.save(now, Goal::Rotate, NetworkDone::KeyRotated(number));
            }
            (Ok(number), None) => {
                tracing::warn!(number, "the Zigbee network has a key that nobody remembers ordering");
            }
            (Err(why), key) => {
                self.next_key = key;
                self.finish_formation(Err(format!("the key was not changed: {why}")));
            }
        }
        self.backup_now(now);
    }

    /// The key that the dongle was seen to use: an order that was cut short has been carried out, or has not.
    pub(super) fn seen_key(&mut self, key: &Key) {
        // One that is about to be given to the dongle has not been cut short.
        let ordered = self.formation.as_ref().is_some_and(|formation| formation.goal == Goal::Rotate);
        if !ordered && self.next_key.take().is_some() {
            self.writer.mark(RecordKey::NextKey);
        }
        self.is_key(key.clone());
    }

    fn is_key(&mut self, key: Key) {
        if let Some(stored) = self.network.as_mut().filter(|stored| stored.key.as_ref() != Some(&key)) {
            stored.key = Some(key);
            self.writer.mark(RecordKey::Network);
        }
    }
}
