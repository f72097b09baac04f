//! What the NCP says: answers to commands, and what happens unasked.

use cardea_radio::Millis;

use super::{Host, Pending, Purpose};
use crate::ezsp::call::{Answer, Callback, Frame, INVALID_COMMAND, Incoming, Kind, Status, parse_hello};
use crate::ezsp::zdo;

/// Why a command is invalid: nobody has said which protocol is spoken, so the NCP has restarted.
const VERSION_NOT_SET: u8 = 0x30;

impl Host {
    pub(super) fn frame(&mut self, now: Millis, frame: &[u8]) {
        if matches!(self.pending, Some(Pending { purpose: Purpose::Hello, .. }))
            && let Ok(protocol) = parse_hello(frame)
        {
            self.pending = None;
            return self.greeted(now, protocol);
        }
        let Ok(frame) = Frame::parse(frame) else {
            self.unreadable = self.unreadable.saturating_add(1);
            return;
        };
        match frame.kind {
            Kind::Answer => {
                let ours = |pending: &mut Pending| {
                    pending.sequence == frame.sequence && [pending.id, INVALID_COMMAND].contains(&frame.id)
                };
                let Some(pending) = self.pending.take_if(ours) else { return };
                let answer = if frame.id == INVALID_COMMAND {
                    Err(Some(frame.body.first().copied().unwrap_or(0)))
                } else {
                    Answer::parse(frame.id, frame.body, self.protocol).map_err(|_| None)
                };
                if answer == Err(None) {
                    self.unreadable = self.unreadable.saturating_add(1);
                }
                self.answered(now, pending, answer);
            }
            Kind::Callback => match Callback::parse(frame.id, frame.body, self.protocol) {
                Ok(callback) => self.called(now, callback),
                // There are many that a coordinator has no use for.
                Err(crate::DecodeError::UnknownCall(_)) => {}
                Err(_) => self.unreadable = self.unreadable.saturating_add(1),
            },
            Kind::Command => self.unreadable = self.unreadable.saturating_add(1),
        }
    }

    /// `Err(Some(reason))`: an invalid command; `Err(None)`: an answer that makes no sense.
    pub(super) fn answered(&mut self, now: Millis, pending: Pending, answer: Result<Answer, Option<u8>>) {
        let Pending { id, purpose, .. } = pending;
        if answer == Err(Some(VERSION_NOT_SET)) && !matches!(purpose, Purpose::Hello) {
            return self.recover(now, "the dongle restarted unheard");
        }
        let answer = answer.map_err(|reason| match reason {
            Some(reason) => format!("command {id:#06x}: invalid ({reason:#04x})"),
            None => format!("command {id:#06x}: an answer that makes no sense"),
        });
        match purpose {
            Purpose::Hello => self.recover(now, "the dongle does not say which protocol it speaks"),
            Purpose::Script(must) => self.step(now, id, must, answer),
            Purpose::Liveness | Purpose::Nothing => {}
            Purpose::Chore => self.chore_answered(id, answer),
            Purpose::AddCode(eui) => self.joins.code_added(eui, well(id, answer).err().map(|(_, why)| why)),
            Purpose::Send(tag) => self.taken(tag, well(id, answer)),
            Purpose::Ask => {
                if let Err(why) = well(id, answer) {
                    self.asked_in_vain(why.1);
                }
            }
            Purpose::Seek(eui) => self.looked_up(now, eui, answer.ok()),
            Purpose::WhoIs(nwk) => self.identified(nwk, answer.ok()),
        }
    }

    fn called(&mut self, now: Millis, callback: Callback) {
        match callback {
            Callback::StackStatus { status } => self.stack_status(now, status),
            Callback::TrustCentreJoin { nwk, eui, update, decision, .. } => {
                self.updated(now, eui, nwk, update, decision);
            }
            Callback::KeyEstablishment { eui, status } => self.key_established(eui, status),
            Callback::MessageSent { sent } => self.message_sent(&sent),
            Callback::IncomingMessage { incoming } => self.incoming(now, incoming),
            Callback::SwitchNetworkKey { number } => {
                tracing::info!(number, "the Zigbee network has another key");
            }
        }
    }

    fn incoming(&mut self, now: Millis, incoming: Incoming) {
        // What the NCP says of itself has no sender to be learnt.
        if let Some(eui) = incoming.eui.filter(|eui| ![[0; 8], [0xFF; 8]].contains(&eui.0)) {
            self.learn(eui, incoming.sender);
        }
        let Some(incoming) = self.whole(now, incoming) else { return };
        if incoming.aps.profile != 0 {
            return self.received(incoming);
        }
        match zdo::parse(incoming.aps.cluster, &incoming.payload.0) {
            Ok(zdo::Heard::Address(eui, nwk)) => {
                self.learn(eui, nwk);
                if incoming.aps.cluster == zdo::DEVICE_ANNOUNCE {
                    self.joins.inside(eui);
                }
            }
            Ok(zdo::Heard::Answer(sequence, cluster, answer)) => {
                self.told(incoming.sender, sequence, cluster, answer)
            }
            Ok(zdo::Heard::Other) => {}
            Err(_) => self.unreadable = self.unreadable.saturating_add(1),
        }
    }
}

/// Whether an answer says that all is well; `Err`: the status, if there is one, and the words for the operator.
pub(super) fn well(id: u16, answer: Result<Answer, String>) -> Result<Answer, (Option<Status>, String)> {
    let answer = answer.map_err(|why| (None, why))?;
    let status = match &answer {
        Answer::AddEndpoint { status }
        | Answer::NetworkInit { status }
        | Answer::FormNetwork { status }
        | Answer::LeaveNetwork { status }
        | Answer::PermitJoining { status }
        | Answer::GetNetworkParameters { status, .. }
        | Answer::SendUnicast { status, .. }
        | Answer::SendReply { status }
        | Answer::SendBroadcast { status, .. }
        | Answer::GetConfigurationValue { status, .. }
        | Answer::SetConfigurationValue { status }
        | Answer::SetPolicy { status }
        | Answer::LookupEui64ByNodeId { status, .. }
        | Answer::SetInitialSecurityState { status }
        | Answer::GetCurrentSecurityState { status, .. }
        | Answer::BroadcastNextNetworkKey { status }
        | Answer::BroadcastNetworkKeySwitch { status }
        | Answer::SetValue { status }
        | Answer::ClearKeyTable { status }
        | Answer::GetTokenData { status }
        | Answer::SetTokenData { status } => *status,
        Answer::ImportLinkKey { status }
        | Answer::ImportTransientKey { status }
        | Answer::GetNetworkKeyInfo { status, .. } => status.0,
        Answer::ExportLinkKeyByIndex { entry } => entry.status,
        Answer::ExportKey { exported } => exported.status,
        Answer::LookupNodeIdByEui64 { status, .. }
        | Answer::SetManufacturerCode { status }
        | Answer::SetExtendedTimeout { status } => status.0.unwrap_or(Status::OK),
        Answer::Version { .. }
        | Answer::Nop {}
        | Answer::GetEui64 { .. }
        | Answer::ClearTransientLinkKeys {}
        | Answer::TokenFactoryReset {} => Status::OK,
    };
    if status.is_ok() { Ok(answer) } else { Err((Some(status), format!("command {id:#06x}: {status}"))) }
}
