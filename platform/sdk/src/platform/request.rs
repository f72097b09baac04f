//! What the handle asks of its loop.

use std::time::Duration;

use cardea_credentials::OwnerCode;
use cardea_framing::LockId;
use cardea_x509::Makers;
use tokio::sync::{mpsc, oneshot};

use super::{LockName, LockSummary, changes::Change, grants, sites};
use crate::{
    Ask, Broker, Error, LogGap, LogRow, Outcome, PinReport,
    mqtt::{FromBroker, ToBroker},
};

/// Where an answer goes that may be an error.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the handle asks of its loop.
pub(super) enum Request {
    Change(Change, Reply<()>),
    Pins(LockId, Reply<PinReport>),
    Gaps(LockId, Reply<Vec<LogGap>>),
    Enroll(LockName, OwnerCode, Reply<()>),
    EnrollCertified(String, OwnerCode, Reply<LockId>),
    Makers(Makers, bool, oneshot::Sender<()>),
    Command(LockId, Ask, Duration, Reply<Outcome>),
    Log(LockId, u32, Reply<Vec<LogRow>>),
    Locks(oneshot::Sender<Vec<LockSummary>>),
    Grants(grants::Ask),
    Sites(sites::Ask),
    Broker(FromBroker),
    Attach(mpsc::UnboundedSender<ToBroker>, Broker, Reply<()>),
}

impl Request {
    /// Whether a new connection to the broker brings it again.
    pub(super) fn comes_again(&self) -> bool {
        matches!(self, Self::Broker(FromBroker::Message { .. } | FromBroker::Up))
    }

    /// Its batch was given up before its turn. Messages of the broker come again.
    pub(super) fn refuse(self) {
        match self {
            Self::Enroll(_, _, reply) | Self::Attach(_, _, reply) | Self::Change(_, reply) => refuse(reply),
            Self::EnrollCertified(_, _, reply) => refuse(reply),
            Self::Command(_, _, _, reply) => refuse(reply),
            Self::Log(_, _, reply) => refuse(reply),
            Self::Grants(ask) => ask.refuse(),
            Self::Sites(ask) => ask.refuse(),
            Self::Pins(_, reply) => refuse(reply),
            Self::Gaps(_, reply) => refuse(reply),
            Self::Locks(_) | Self::Makers(..) | Self::Broker(_) => {}
        }
    }
}

/// Tells who asked that nothing was done.
pub(super) fn refuse<T>(reply: Reply<T>) {
    let _ = reply.send(Err(not_stored()));
}

/// Who asked hears of it when the batch is durable. An `Err` gives the batch up: what only the store or the system can
/// do.
pub(super) fn owe<T: 'static>(
    owed: &mut Vec<Box<dyn FnOnce(bool)>>,
    reply: Reply<T>,
    result: Result<T, Error>,
) -> Result<(), Error> {
    let (result, fatal) = split(result);
    owed.push(Box::new(move |durable| {
        let _ = reply.send(if durable { result } else { Err(not_stored()) });
    }));
    fatal
}

pub(super) fn not_stored() -> Error {
    Error::State("not stored; try again".into())
}

/// What the caller hears, and whether the batch goes on: it ends by what only the store or the system can do.
pub(super) fn split<T>(result: Result<T, Error>) -> (Result<T, Error>, Result<(), Error>) {
    match result {
        Err(error @ (Error::State(_) | Error::Random)) => (Err(not_stored()), Err(error)),
        other => (other, Ok(())),
    }
}
