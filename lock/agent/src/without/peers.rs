//! In place of `peers` where the feature of that name is off: nobody but the platform has a session with the lock.

use cardea_oscore::Context;
use cardea_resources::{Command, CommandId, Outcome};

use crate::agent::Agent;
use crate::board::{Board, StorageFault};
use crate::ledger::Entry;

#[derive(Default)]
pub(crate) struct Peers {}

impl Peers {
    pub(crate) fn contexts(&self) -> impl Iterator<Item = &Context> {
        core::iter::empty()
    }

    pub(crate) fn command(&self, _: usize, _: CommandId) -> Option<Entry> {
        None
    }
}

impl<B: Board> Agent<B> {
    pub(crate) fn peer_edhoc(&mut self, _: u64, _: u16, _: &mut [u8]) {
        self.drop_frame();
    }

    pub(crate) fn peer_oscore(&mut self, _: u64, _: u16, _: &[u8]) {
        self.drop_frame();
    }

    pub(crate) fn carry_out_for(
        &mut self,
        _: u64,
        _: usize,
        _: &Command,
    ) -> Result<Option<Outcome>, StorageFault> {
        Ok(None)
    }
}
