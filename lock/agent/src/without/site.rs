//! In place of `site` where the feature `peers` is off: a site's lists, authority and memberships matter to holders of
//! grants, and such a lock has none. Of the public messages of a site it takes a release alone, which is none of this module's.

use cardea_credentials::Thumbprint;
use heapless::Vec;

use crate::agent::Agent;
use crate::board::{Board, Storage, StorageFault};

pub(crate) struct Site {}

impl Site {
    pub(crate) fn new(_: Thumbprint) -> Self {
        Self {}
    }

    pub(crate) fn load(_: &mut impl Storage, root: Thumbprint) -> Result<Self, StorageFault> {
        Ok(Self::new(root))
    }

    pub(crate) fn timeout(&self) -> Option<u64> {
        None
    }

    pub(crate) fn epoch(&self) -> Option<u32> {
        None
    }
}

impl<B: Board> Agent<B> {
    pub(crate) fn site_wishes(&mut self, _: u64) {}

    pub(crate) fn next_question(&mut self, _: u64) -> Option<Vec<u8, 1>> {
        None
    }
}
