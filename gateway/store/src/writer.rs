//! The writer thread: group commit.

use std::{
    sync::{
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

use cardea_core::{Change, Failure, StoreReply};
use cardea_radio::NetworkStoreError;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::{
    Counters,
    error::failure,
    network::{self, Sealed},
    outbox::{self, Dropped},
    pulse::Pulse,
};

/// How long operations that nobody waits for gather before they cost a flush of their own.
const PATIENCE: Duration = Duration::from_millis(50);

/// One operation for the writer.
#[derive(Debug)]
pub(crate) enum Job {
    Write {
        ticket: u64,
        urgent: bool,
        changes: Vec<Change>,
    },
    Network {
        network: String,
        changes: Vec<Sealed>,
        done: oneshot::Sender<Result<(), NetworkStoreError>>,
    },
    /// Nothing more comes from the store's owner.
    End,
}

impl Job {
    const fn is_urgent(&self) -> bool {
        !matches!(self, Self::Write { urgent: false, .. })
    }
}

/// Commits until the end.
pub(crate) fn run(
    mut connection: Connection,
    jobs: &Receiver<Job>,
    most: usize,
    replies: &UnboundedSender<StoreReply>,
    counters: &Counters,
    pulse: &Pulse,
) {
    let mut ended = false;
    while !ended {
        let group = gather(jobs, most, &mut ended);
        if !group.is_empty() {
            commit_group(&mut connection, group, replies, counters, pulse);
        }
    }
    // A clean end leaves one file behind; a failure here costs nothing but the next start's recovery.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
}

/// What has gathered while the last commit was on its way. Urgent work never waits for company.
fn gather(jobs: &Receiver<Job>, most: usize, ended: &mut bool) -> Vec<Job> {
    let mut group = Vec::new();
    let Ok(first) = jobs.recv() else {
        *ended = true;
        return group;
    };
    let patience = Instant::now() + PATIENCE;
    let mut urgent = first.is_urgent();
    group.push(first);
    while group.len() < most {
        let next = if urgent {
            jobs.try_recv().map_err(|e| e == TryRecvError::Disconnected)
        } else {
            let left = patience.saturating_duration_since(Instant::now());
            jobs.recv_timeout(left).map_err(|e| e == RecvTimeoutError::Disconnected)
        };
        match next {
            Ok(job) => {
                urgent |= job.is_urgent();
                group.push(job);
            }
            Err(disconnected) => {
                *ended |= disconnected;
                break;
            }
        }
    }
    if group.iter().any(|job| matches!(job, Job::End)) {
        *ended = true;
        // What others gave before they learned of the end is still theirs to lose or keep: keep it.
        group.extend(jobs.try_iter());
        group.retain(|job| !matches!(job, Job::End));
    }
    group
}

/// One transaction for all; if that fails, one for each, so that an operation fails for its own sake only
/// and deletions get their chance on a full disk.
fn commit_group(
    connection: &mut Connection,
    group: Vec<Job>,
    replies: &UnboundedSender<StoreReply>,
    counters: &Counters,
    pulse: &Pulse,
) {
    let verdict = pulse.during(|| transact(connection, &group, counters));
    match verdict {
        Ok(dropped) => answer(group, &Ok(()), dropped, replies),
        Err(_) if group.len() > 1 => {
            for job in group {
                let one = [job];
                let verdict = pulse.during(|| transact(connection, &one, counters));
                finish(one.into(), verdict, replies, counters);
            }
        }
        Err(error) => finish(group, Err(error), replies, counters),
    }
}

fn finish(
    group: Vec<Job>,
    verdict: Result<Dropped, Failure>,
    replies: &UnboundedSender<StoreReply>,
    counters: &Counters,
) {
    match verdict {
        Ok(dropped) => answer(group, &Ok(()), dropped, replies),
        Err(failure) => {
            counters.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(kind = ?failure.kind, detail = failure.detail, "the store could not commit");
            answer(group, &Err(failure), Dropped::default(), replies);
        }
    }
}

fn transact(connection: &mut Connection, group: &[Job], counters: &Counters) -> Result<Dropped, Failure> {
    let mut attempt = || -> rusqlite::Result<Dropped> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut all = Dropped::default();
        for job in group {
            match job {
                Job::Write { changes, .. } => {
                    let mut dropped = Dropped::default();
                    for change in changes {
                        outbox::apply(&transaction, change, &mut dropped)?;
                    }
                    all.extend(dropped);
                }
                Job::Network { network, changes, .. } => network::apply(&transaction, network, changes)?,
                Job::End => {}
            }
        }
        transaction.commit()?;
        Ok(all)
    };
    let result = attempt().map_err(|e| failure(&e));
    if result.is_ok() {
        counters.commits.fetch_add(1, Ordering::Relaxed);
        counters.operations.fetch_add(u64::try_from(group.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
    result
}

fn answer(
    group: Vec<Job>,
    verdict: &Result<(), Failure>,
    Dropped { shed, gaps }: Dropped,
    replies: &UnboundedSender<StoreReply>,
) {
    let mut tickets = Vec::new();
    for job in group {
        match job {
            Job::Write { ticket, .. } => tickets.push(ticket),
            Job::Network { done, .. } => {
                let result = verdict.as_ref().map_err(|f| NetworkStoreError(f.detail.clone())).copied();
                let _ = done.send(result); // A driver that is gone does not wait.
            }
            Job::End => {}
        }
    }
    if tickets.is_empty() {
        return;
    }
    let _ = replies.send(match verdict {
        Ok(()) => StoreReply::Committed { tickets, shed, gaps },
        Err(failure) => StoreReply::Failed { tickets, failure: failure.clone() },
    });
}
