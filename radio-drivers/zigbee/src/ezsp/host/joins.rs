//! Joins, as EZSP tells of them: the trust centre's decision, an announcement, a key that is proven.
//!
//! The trust centre is told to let in those whose install code it has, and only while the network is open; it gives each a link
//! key of its own. That a device has one is seen here: who has not proven it within half a minute is sent away.

use cardea_radio::Millis;

use super::{Host, Purpose};
use crate::coordinator::{Event, JoinFailure};
use crate::ezsp::call::{Command, policy};
use crate::ezsp::zdo;
use crate::joins::Want;
use crate::types::{Eui64, NwkAddr};

/// The trust centre did not let it in.
const DENIED: u8 = 2;
/// It proved that it has the key that it was given.
const PROVEN: u8 = 0x34;
/// It did not in time, or could not.
const UNPROVEN: [u8; 2] = [0x32, 0x33];

impl Host {
    /// A device begins to join, comes back, or left.
    pub(super) fn updated(&mut self, now: Millis, eui: Eui64, nwk: NwkAddr, update: u8, decision: u8) {
        match update {
            // Whose install code nobody knows; the network stays open for those it is meant for.
            1 if decision == DENIED => {}
            1 => {
                self.learn(eui, nwk);
                self.joins.began(now, eui);
            }
            2 => {
                self.addresses.forget(eui);
                self.event(Event::Left { eui });
            }
            0 | 3 if decision != DENIED => {
                self.learn(eui, nwk);
                self.event(Event::Rejoined { eui, nwk });
            }
            _ => {}
        }
    }

    pub(super) fn key_established(&mut self, eui: Eui64, status: u8) {
        if status == PROVEN {
            let nwk = self.addresses.nwk(eui).unwrap_or(NwkAddr(0xFFFE));
            self.joins.joined(eui, true);
            self.event(Event::Joined { eui, nwk });
        } else if UNPROVEN.contains(&status) {
            self.send_away(eui);
            self.joins.refused(eui, JoinFailure::NoUniqueKey);
        }
    }

    fn send_away(&mut self, eui: Eui64) {
        if let Some(nwk) = self.addresses.nwk(eui) {
            let (cluster, asdu) = zdo::leave(self.zdo_sequence(), eui);
            self.zdo_unicast(nwk, cluster, &asdu, Purpose::Nothing);
        }
    }

    pub(super) fn joins_progress(&mut self, now: Millis) {
        if self.is_up() {
            if let Some(joining) = self.joins.give_up(now).filter(|joining| joining.inside) {
                self.send_away(joining.who);
            }
            self.joins.progress(now);
            // A permission takes two. Tried until there is room: a network that should be closed must not stay open
            // because much was said.
            while self.queue.len().saturating_add(2) <= super::MAX_QUEUED
                && let Some(want) = self.joins.want()
            {
                self.joins.told(now, &want);
                match want {
                    Want::AddCode(eui, code) => {
                        let import = Command::ImportTransientKey { eui, key: code.link_key(), flags: 0 };
                        self.tell(import, Purpose::AddCode(eui));
                    }
                    // There is no call that forgets one.
                    Want::ForgetCode(_) => {
                        self.tell(Command::ClearTransientLinkKeys {}, Purpose::Nothing);
                        self.joins.all_forgotten();
                    }
                    Want::Permit(seconds) => self.permit(seconds),
                }
            }
            if let Some(seconds) = self.joins.routers(now, &mut self.bucket) {
                let asdu = zdo::permit_joining(self.zdo_sequence(), seconds);
                if self.zdo_broadcast(NwkAddr::ROUTERS, zdo::PERMIT_JOINING, &asdu) {
                    self.joins.routers_told();
                }
            }
        }
        while let Some(event) = self.joins.poll_event() {
            self.event(event);
        }
    }

    /// The policy before the door opens, the door before the policy changes.
    fn permit(&mut self, seconds: u8) {
        let joins = if seconds > 0 { policy::JOINS | policy::INSTALL_CODES } else { 0 };
        let policy = Command::SetPolicy { policy: policy::TRUST_CENTRE, decision: joins | policy::REJOINS };
        let permit = Command::PermitJoining { seconds };
        let both = if seconds > 0 { [policy, permit] } else { [permit, policy] };
        for command in both {
            self.tell(command, Purpose::Nothing);
        }
    }
}
