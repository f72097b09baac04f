//! Who has which address. On EZSP messages go to addresses in the network, which change; devices tell theirs when they join,
//! rejoin and speak, the NCP knows some, and those that nobody knows are called for.

use std::collections::BTreeMap;

use cardea_radio::Millis;

use super::{Host, Purpose};
use crate::coordinator::Failure;
use crate::ezsp::call::{Answer, Command};
use crate::ezsp::zdo;
use crate::types::{Eui64, NwkAddr};

/// Devices that are looked for at once.
const MAX_SOUGHT: usize = 32;
/// How long a device may take to answer a call: its parent keeps the call for 7.68 s.
const CALL_MS: Millis = 10_000;

#[derive(Debug, Default)]
pub(super) struct Seekers {
    sought: BTreeMap<Eui64, Stage>,
    /// When there is a token for the next call.
    token_at: Option<Millis>,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// To be asked of the NCP.
    New,
    /// Asked of the NCP.
    Asked,
    /// To be called for.
    Unknown,
    /// Called for.
    Called(Millis),
}

impl Seekers {
    pub(super) fn poll_timeout(&self) -> Option<Millis> {
        let called = self.sought.values().filter_map(|stage| match stage {
            Stage::Called(until) => Some(*until),
            _ => None,
        });
        called.chain(self.token_at).min()
    }
}

impl Host {
    pub(super) fn learn(&mut self, eui: Eui64, nwk: NwkAddr) {
        self.addresses.learn(eui, nwk);
        self.seekers.sought.remove(&eui);
        self.sender_known(nwk);
    }

    /// The device's address, or a search for it. False: too many are looked for.
    pub(super) fn seek(&mut self, eui: Eui64) -> Result<Option<NwkAddr>, Failure> {
        if let Some(nwk) = self.addresses.nwk(eui) {
            return Ok(Some(nwk));
        }
        if !self.seekers.sought.contains_key(&eui) {
            if self.seekers.sought.len() >= MAX_SOUGHT {
                return Err(Failure::Busy);
            }
            self.seekers.sought.insert(eui, Stage::New);
        }
        Ok(None)
    }

    pub(super) fn looked_up(&mut self, now: Millis, eui: Eui64, answer: Option<Answer>) {
        if let Some(Answer::LookupNodeIdByEui64 { nwk, .. }) = answer
            && nwk.is_unicast()
            && nwk != NwkAddr::COORDINATOR
        {
            return self.learn(eui, nwk);
        }
        if let Some(stage) = self.seekers.sought.get_mut(&eui) {
            *stage = Stage::Unknown;
            self.seekers_progress(now);
        }
    }

    pub(super) fn seekers_progress(&mut self, now: Millis) {
        self.seekers.token_at = None;
        if !self.is_up() {
            return;
        }
        let waiting: Vec<(Eui64, Stage)> =
            self.seekers.sought.iter().map(|(eui, stage)| (*eui, *stage)).collect();
        for (eui, stage) in waiting {
            let next = match stage {
                Stage::New if self.tell(Command::LookupNodeIdByEui64 { eui }, Purpose::Seek(eui)) => {
                    Stage::Asked
                }
                Stage::Unknown if self.bucket.take(now) => {
                    let asdu = zdo::nwk_address(self.zdo_sequence(), eui);
                    // To those that sleep too: locks do.
                    self.zdo_broadcast(NwkAddr(0xFFFF), zdo::NWK_ADDRESS, &asdu);
                    Stage::Called(now.saturating_add(CALL_MS))
                }
                Stage::Unknown => {
                    self.seekers.token_at = Some(self.bucket.next(now));
                    continue;
                }
                _ => continue,
            };
            self.seekers.sought.insert(eui, next);
        }
    }

    pub(super) fn seekers_timeout(&mut self, now: Millis) {
        let over = |stage: &Stage| matches!(stage, Stage::Called(until) if *until <= now);
        let lost: Vec<Eui64> =
            self.seekers.sought.iter().filter(|(_, stage)| over(stage)).map(|(eui, _)| *eui).collect();
        for eui in lost {
            self.seekers.sought.remove(&eui);
            self.traffic_unreachable(eui);
            self.question_unreachable(eui);
        }
    }
}
