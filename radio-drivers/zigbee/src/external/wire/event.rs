//! Events, questions and answers as they are said.

use super::{flag, kind, payload, put_text, put_u64, take_u64, text};
use crate::coordinator::{
    Answer, Event, Failure, JoinFailure, MAX_ASDU, Network, Outcome, Question, Received, State,
};
use crate::descriptors::{Neighbour, NodeDescriptor, SimpleDescriptor};
use crate::types::{Eui64, NwkAddr};
use crate::wire::{DecodeError, Field, Reader};
use crate::zboss::call::Counted;

pub(super) fn put_event(out: &mut Vec<u8>, event: &Event) -> Option<()> {
    match event {
        Event::State(state) => {
            out.push(kind::STATE);
            match state {
                State::Down(why) => {
                    out.push(0);
                    put_text(out, why);
                }
                State::Starting => out.push(1),
                State::Unformed => out.push(2),
                State::Foreign(network) => {
                    out.push(3);
                    network.write(out);
                }
                State::Up(network) => {
                    out.push(4);
                    network.write(out);
                }
            }
        }
        Event::Formed(result) => {
            out.extend_from_slice(&[kind::FORMED, u8::from(result.is_ok())]);
            match result {
                Ok(network) => network.write(out),
                Err(why) => put_text(out, why),
            }
        }
        Event::Open(open) => out.extend_from_slice(&[kind::OPEN, u8::from(*open)]),
        Event::Joined { eui, nwk } | Event::Rejoined { eui, nwk } => {
            out.push(if matches!(event, Event::Joined { .. }) { kind::JOINED } else { kind::REJOINED });
            eui.write(out);
            nwk.write(out);
        }
        Event::JoinFailed { eui, reason } => {
            out.push(kind::JOIN_FAILED);
            eui.write(out);
            let (tag, words) = match reason {
                JoinFailure::Silent => (0, None),
                JoinFailure::Keys => (1, None),
                JoinFailure::NoUniqueKey => (2, None),
                JoinFailure::Code(words) => (3, Some(words)),
                JoinFailure::Interrupted => (4, None),
                JoinFailure::Busy => (5, None),
                JoinFailure::Dismissed => (6, None),
            };
            out.push(tag);
            words.into_iter().for_each(|words| put_text(out, words));
        }
        Event::Left { eui } => {
            out.push(kind::LEFT);
            eui.write(out);
        }
        Event::Received(received) => {
            if received.payload.len() > MAX_ASDU {
                return None;
            }
            out.push(kind::RECEIVED);
            received.eui.write(out);
            received.profile.write(out);
            received.cluster.write(out);
            out.extend_from_slice(&[received.src_endpoint, received.dst_endpoint, received.lqi]);
            received.rssi.write(out);
            out.extend_from_slice(&received.payload);
        }
        Event::Outcome { handle, outcome } => {
            out.push(kind::OUTCOME);
            put_u64(out, *handle);
            match outcome {
                Outcome::Acknowledged => out.push(0),
                Outcome::Expired => out.push(1),
                Outcome::Failed(failure) => {
                    out.push(2);
                    put_failure(out, failure);
                }
            }
        }
        Event::Answer { handle, answer } => {
            out.push(kind::ANSWER);
            put_u64(out, *handle);
            put_answer(out, answer);
        }
        Event::BackedUp(_) | Event::KeyRotated(_) => return None,
    }
    Some(())
}

pub(super) fn take_event(reader: &mut Reader<'_>, kind: u8) -> Result<Event, DecodeError> {
    Ok(match kind {
        kind::STATE => Event::State(match reader.u8()? {
            0 => State::Down(text(reader)?),
            1 => State::Starting,
            2 => State::Unformed,
            3 => State::Foreign(Network::read(reader)?),
            4 => State::Up(Network::read(reader)?),
            _ => return Err(DecodeError::Field("a state")),
        }),
        kind::FORMED => {
            Event::Formed(if flag(reader)? { Ok(Network::read(reader)?) } else { Err(text(reader)?) })
        }
        kind::OPEN => Event::Open(flag(reader)?),
        kind::JOINED => Event::Joined { eui: Eui64::read(reader)?, nwk: NwkAddr::read(reader)? },
        kind::REJOINED => Event::Rejoined { eui: Eui64::read(reader)?, nwk: NwkAddr::read(reader)? },
        kind::JOIN_FAILED => {
            let eui = Eui64::read(reader)?;
            let reason = match reader.u8()? {
                0 => JoinFailure::Silent,
                1 => JoinFailure::Keys,
                2 => JoinFailure::NoUniqueKey,
                3 => JoinFailure::Code(text(reader)?),
                4 => JoinFailure::Interrupted,
                5 => JoinFailure::Busy,
                6 => JoinFailure::Dismissed,
                _ => return Err(DecodeError::Field("why a device did not join")),
            };
            Event::JoinFailed { eui, reason }
        }
        kind::LEFT => Event::Left { eui: Eui64::read(reader)? },
        kind::RECEIVED => {
            let (eui, profile, cluster) = (Eui64::read(reader)?, reader.u16()?, reader.u16()?);
            let [src_endpoint, dst_endpoint, lqi] = reader.array()?;
            let (rssi, payload) = (i8::read(reader)?, payload(reader)?);
            Event::Received(Received {
                eui,
                profile,
                cluster,
                src_endpoint,
                dst_endpoint,
                lqi,
                rssi,
                payload,
            })
        }
        kind::OUTCOME => {
            let handle = take_u64(reader)?;
            let outcome = match reader.u8()? {
                0 => Outcome::Acknowledged,
                1 => Outcome::Expired,
                2 => Outcome::Failed(take_failure(reader)?),
                _ => return Err(DecodeError::Field("an outcome")),
            };
            Event::Outcome { handle, outcome }
        }
        kind::ANSWER => Event::Answer { handle: take_u64(reader)?, answer: take_answer(reader)? },
        other => return Err(DecodeError::UnknownCall(other.into())),
    })
}

pub(super) fn put_question(out: &mut Vec<u8>, question: &Question) {
    match question {
        Question::Node => out.push(0),
        Question::Endpoints => out.push(1),
        Question::Endpoint(endpoint) => out.extend_from_slice(&[2, *endpoint]),
        Question::Bind { endpoint, cluster, to_endpoint } => {
            out.extend_from_slice(&[3, *endpoint]);
            cluster.write(out);
            out.push(*to_endpoint);
        }
        Question::Leave => out.push(4),
        Question::Neighbours { start } => out.extend_from_slice(&[5, *start]),
    }
}

pub(super) fn take_question(reader: &mut Reader<'_>) -> Result<Question, DecodeError> {
    Ok(match reader.u8()? {
        0 => Question::Node,
        1 => Question::Endpoints,
        2 => Question::Endpoint(reader.u8()?),
        3 => Question::Bind { endpoint: reader.u8()?, cluster: reader.u16()?, to_endpoint: reader.u8()? },
        4 => Question::Leave,
        5 => Question::Neighbours { start: reader.u8()? },
        _ => return Err(DecodeError::Field("a question")),
    })
}

fn put_answer(out: &mut Vec<u8>, answer: &Result<Answer, Failure>) {
    match answer {
        Ok(Answer::Node(node)) => {
            out.push(0);
            node.write(out);
        }
        Ok(Answer::Endpoints(endpoints)) => {
            out.push(1);
            Counted(endpoints.clone()).write(out);
        }
        Ok(Answer::Endpoint(endpoint)) => {
            out.push(2);
            endpoint.write(out);
        }
        Ok(Answer::Done) => out.push(3),
        Ok(Answer::Neighbours { total, list }) => {
            out.extend_from_slice(&[4, *total]);
            // As many as a message has room for; a device tells two or three at a time.
            Counted(list.iter().take(MAX_NEIGHBOURS).cloned().collect::<Vec<Neighbour>>()).write(out);
        }
        Err(failure) => {
            out.push(5);
            put_failure(out, failure);
        }
    }
}

/// Neighbours in one answer.
const MAX_NEIGHBOURS: usize = 128;

fn take_answer(reader: &mut Reader<'_>) -> Result<Result<Answer, Failure>, DecodeError> {
    Ok(Ok(match reader.u8()? {
        0 => Answer::Node(NodeDescriptor::read(reader)?),
        1 => Answer::Endpoints(Counted::read(reader)?.0),
        2 => Answer::Endpoint(SimpleDescriptor::read(reader)?),
        3 => Answer::Done,
        4 => {
            let (total, list) = (reader.u8()?, Counted::<Neighbour>::read(reader)?.0);
            if list.len() > MAX_NEIGHBOURS {
                return Err(DecodeError::Field("the number of neighbours"));
            }
            Answer::Neighbours { total, list }
        }
        5 => return Ok(Err(take_failure(reader)?)),
        _ => return Err(DecodeError::Field("an answer")),
    }))
}

fn put_failure(out: &mut Vec<u8>, failure: &Failure) {
    let (tag, words) = match failure {
        Failure::Down => (0, None),
        Failure::NoAddress => (1, None),
        Failure::NoAnswer => (2, None),
        Failure::Busy => (3, None),
        Failure::TooBig => (4, None),
        Failure::Cancelled => (5, None),
        Failure::Unknown => (6, None),
        Failure::Refused(words) => (7, Some(words)),
    };
    out.push(tag);
    words.into_iter().for_each(|words| put_text(out, words));
}

fn take_failure(reader: &mut Reader<'_>) -> Result<Failure, DecodeError> {
    Ok(match reader.u8()? {
        0 => Failure::Down,
        1 => Failure::NoAddress,
        2 => Failure::NoAnswer,
        3 => Failure::Busy,
        4 => Failure::TooBig,
        5 => Failure::Cancelled,
        6 => Failure::Unknown,
        7 => Failure::Refused(text(reader)?),
        _ => return Err(DecodeError::Field("a failure")),
    })
}
