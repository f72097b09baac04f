//! Events as flat structs. What the agent learns to say later is `CARDEA_EVENT_OTHER` until it gets a number here.

use ::cardea_agent::{AgentEvent, Alarm, HandshakeFailure};

use crate::abi::cardea_alarm::{self, *};
use crate::abi::cardea_event;
use crate::abi::cardea_event_kind::{self, *};
use crate::abi::cardea_handshake_failure::{self, *};
use crate::board::op_code;

pub(crate) fn to_c(event: AgentEvent) -> cardea_event {
    let plain = |kind: cardea_event_kind, code: u32| cardea_event {
        size: size_of::<cardea_event>(),
        kind: kind as u32,
        code,
        op: 0,
        command: [0; 4],
        root: [0; 32],
        epoch: 0,
        address: 0,
        expires: 0,
        key: [0; 32],
    };
    match event {
        AgentEvent::Activated { root } => cardea_event { root, ..plain(CARDEA_EVENT_ACTIVATED, 0) },
        AgentEvent::Released { to } => {
            cardea_event { root: to.unwrap_or_default(), ..plain(CARDEA_EVENT_RELEASED, to.is_some().into()) }
        }
        AgentEvent::Revocations { epoch } => cardea_event { epoch, ..plain(CARDEA_EVENT_REVOCATIONS, 0) },
        AgentEvent::Member { address, key, expires } => {
            cardea_event { address: address.into(), key, expires, ..plain(CARDEA_EVENT_MEMBER, 0) }
        }
        AgentEvent::Connected => plain(CARDEA_EVENT_CONNECTED, 0),
        AgentEvent::HandshakeFailed(why) => plain(CARDEA_EVENT_HANDSHAKE_FAILED, failure(why) as u32),
        AgentEvent::Command { id, op, outcome } => cardea_event {
            op: op_code(op),
            command: id,
            ..plain(CARDEA_EVENT_COMMAND, outcome.code().into())
        },
        AgentEvent::Alarm(alarm) => plain(CARDEA_EVENT_ALARM, alarm_code(alarm) as u32),
        AgentEvent::StorageFailed => plain(CARDEA_EVENT_STORAGE_FAILED, 0),
        AgentEvent::RandomFailed => plain(CARDEA_EVENT_RANDOM_FAILED, 0),
        _ => plain(CARDEA_EVENT_OTHER, 0),
    }
}

fn failure(why: HandshakeFailure) -> cardea_handshake_failure {
    match why {
        HandshakeFailure::Silence => CARDEA_HANDSHAKE_SILENCE,
        HandshakeFailure::Refused => CARDEA_HANDSHAKE_REFUSED,
        HandshakeFailure::Protocol => CARDEA_HANDSHAKE_PROTOCOL,
        HandshakeFailure::Credential => CARDEA_HANDSHAKE_CREDENTIAL,
        HandshakeFailure::WrongCode => CARDEA_HANDSHAKE_WRONG_CODE,
        HandshakeFailure::Internal => CARDEA_HANDSHAKE_INTERNAL,
        _ => CARDEA_HANDSHAKE_OTHER,
    }
}

fn alarm_code(alarm: Alarm) -> cardea_alarm {
    match alarm {
        Alarm::TooManyWrong => CARDEA_ALARM_TOO_MANY_WRONG,
        Alarm::PinPadClosed => CARDEA_ALARM_PIN_PAD_CLOSED,
        Alarm::ContextRetired => CARDEA_ALARM_CONTEXT_RETIRED,
        _ => CARDEA_ALARM_OTHER,
    }
}
