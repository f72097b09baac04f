//! Frames from devices: put together where they come in blocks, and handed over with their sender's name.

use bytes::Bytes;
use cardea_radio::Millis;

use super::fragments::{Block, Reassembly, acknowledgement};
use super::{Host, Purpose};
use crate::coordinator::{Event, Received};
use crate::ezsp::call::{Answer, ApsFrame, Bytes8, Command, Incoming, aps};
use crate::ezsp::zdo;
use crate::queue::Unnamed;
use crate::types::NwkAddr;

/// How long a sender may take to say who it is.
const WHO_MS: Millis = 10_000;
/// Acknowledgements of blocks that may wait for the NCP. Who sends more in that time sends them again.
const MAX_REPLIES: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Receipts {
    blocks: Reassembly,
    unnamed: Unnamed<Incoming>,
    /// Whose address is asked for, and until when.
    asked: Option<(NwkAddr, Millis)>,
}

impl Receipts {
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        self.asked.map(|(_, until)| until).into_iter().chain(self.blocks.poll_timeout()).min()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.unnamed.count()
    }
}

impl Host {
    /// Frames and blocks; what comes of a block is the message, once it is complete.
    pub(super) fn whole(&mut self, now: Millis, mut incoming: Incoming) -> Option<Incoming> {
        if incoming.aps.options & aps::FRAGMENT == 0 {
            return Some(incoming);
        }
        // Before other commands, for the sender waits 1.6 s; after the acknowledgements that wait.
        let replies = self.queue.iter().take_while(|(c, _)| matches!(c, Command::SendReply { .. })).count();
        self.receipts_timeout(now);
        let block = if self.is_up() && replies < MAX_REPLIES {
            self.receipts.blocks.take(now, &incoming)
        } else {
            Block::Refused
        };
        if block == Block::Refused {
            self.receipts.unnamed.dropped(1);
            return None;
        }
        let (sender, aps) = (incoming.sender, acknowledgement(&incoming.aps));
        let reply = Command::SendReply { sender, aps, payload: Bytes8::from(&[][..]) };
        self.queue.insert(replies, (reply, Purpose::Nothing));
        let Block::Whole(payload) = block else { return None };
        // Longer than the NCP could say it; it is not written again.
        incoming.payload = Bytes8(payload);
        Some(incoming)
    }

    pub(super) fn received(&mut self, incoming: Incoming) {
        if !self.is_up() {
            return self.receipts.unnamed.dropped(1);
        }
        match self.addresses.eui(incoming.sender) {
            // What came before stays before.
            Some(_) if !self.receipts.unnamed.waits(incoming.sender) => self.hand_over(&incoming),
            _ => self.receipts.unnamed.push(incoming.sender, incoming),
        }
    }

    fn hand_over(&mut self, incoming: &Incoming) {
        let Some(eui) = self.addresses.eui(incoming.sender) else { return };
        let ApsFrame { profile, cluster, src_endpoint, dst_endpoint, .. } = incoming.aps;
        let payload = Bytes::copy_from_slice(&incoming.payload.0);
        let (lqi, rssi) = (incoming.lqi, incoming.rssi);
        let received = Received { eui, profile, cluster, src_endpoint, dst_endpoint, lqi, rssi, payload };
        self.event(Event::Received(received));
    }

    /// One at a time: strangers must not keep the NCP from those who are waited for.
    pub(super) fn ask_for_sender(&mut self, now: Millis) {
        let Some(nwk) = self.receipts.unnamed.first() else { return };
        if self.is_up()
            && self.receipts.asked.is_none()
            && self.tell(Command::LookupEui64ByNodeId { nwk }, Purpose::WhoIs(nwk))
        {
            self.receipts.asked = Some((nwk, now.saturating_add(WHO_MS)));
            self.pump(now);
        }
    }

    /// The NCP said whose address it is; if it does not know, the device does.
    pub(super) fn identified(&mut self, nwk: NwkAddr, answer: Option<Answer>) {
        match answer {
            Some(Answer::LookupEui64ByNodeId { status, eui })
                if status.is_ok() && ![[0; 8], [0xFF; 8]].contains(&eui.0) =>
            {
                self.learn(eui, nwk);
            }
            _ => {
                let asdu = zdo::ieee_address(self.zdo_sequence(), nwk);
                self.zdo_unicast(nwk, zdo::IEEE_ADDRESS, &asdu, Purpose::Nothing);
            }
        }
    }

    /// It is known whose address it is: what came from there is handed over.
    pub(super) fn sender_known(&mut self, nwk: NwkAddr) {
        self.receipts.asked.take_if(|(asked, _)| *asked == nwk);
        if self.addresses.eui(nwk).is_some() {
            for frame in self.receipts.unnamed.take(nwk) {
                self.hand_over(&frame);
            }
        }
    }

    /// Gives up messages that are not completed, and senders that do not say who they are.
    pub(super) fn receipts_timeout(&mut self, now: Millis) {
        let lost = self.receipts.blocks.handle_timeout(now);
        self.receipts.unnamed.dropped(lost);
        if let Some((nwk, _)) = self.receipts.asked.take_if(|(_, until)| *until <= now) {
            self.receipts.unnamed.drop_from(nwk);
        }
    }

    /// The NCP restarted: who sends is not waited for.
    pub(super) fn receipts_interrupted(&mut self) {
        let lost = self.receipts.blocks.interrupted();
        self.receipts.unnamed.dropped(lost);
        self.receipts.unnamed.drop_all();
        self.receipts.asked = None;
    }
}
