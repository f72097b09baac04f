//! The reader thread: pages of the outbox, one short statement each.

use std::sync::mpsc::Receiver;

use cardea_core::StoreReply;
use cardea_framing::LockId;
use rusqlite::Connection;
use tokio::sync::mpsc::UnboundedSender;

use crate::{error::failure, outbox, pulse::Pulse};

/// One request.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) lock: LockId,
    pub(crate) after: u64,
    pub(crate) through: u64,
    pub(crate) limit: u32,
}

/// Reads until nobody asks any more.
pub(crate) fn run(
    connection: &Connection,
    pages: &Receiver<Page>,
    replies: &UnboundedSender<StoreReply>,
    pulse: &Pulse,
) {
    while let Ok(Page { lock, after, through, limit }) = pages.recv() {
        let rows =
            pulse.during(|| outbox::page(connection, lock, after, through, limit)).map_err(|e| failure(&e));
        if replies.send(StoreReply::Page { lock, after, through, limit, rows }).is_err() {
            return;
        }
    }
}
