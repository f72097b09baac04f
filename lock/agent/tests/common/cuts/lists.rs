//! Scenarios of a site: the platform's revocation list, what the site's authority adds, the authority itself, and what
//! the platform says about them. Nothing that came into force goes back, and nobody who is barred gets in meanwhile.
//!
//! A membership writes nothing, so there is nothing to cut.

use cardea_credentials::{Agreement, SiteKind, Thumbprint};
use cardea_oscore::coap::Code;
use cardea_resources::{SiteSetting, SiteState};

use super::{Case, Scenario};
use crate::common::phone::Phone;
use crate::common::site::{ID, addition, authority_cwt, list, strangers};

/// What must hold of a lock's lists after a cut.
#[derive(Default)]
pub struct Lists {
    /// What the lock has taken: no boot may come back with less of it.
    taken: Option<SiteState>,
    /// The platform has told the lock that no grant holds below this epoch; and has heard that it knows.
    told: u32,
    least: u32,
    /// A phone's address, and whether it is barred: `None` where both are right.
    phones: &'static [(u16, Barred)],
    /// The gateway and the platform say everything once more.
    again: Option<fn(&mut Case)>,
}

type Barred = fn(&SiteState) -> Option<bool>;

const NEVER: Barred = |_| Some(false);

pub const SITE: &[Scenario] = &[
    Scenario {
        name: "revocation list",
        prepare: |case| {
            case.activate();
            case.hand_list(1, &[5, 6]);
            case.world.wait(60_000);
            case.lists.phones = &[
                (5, |state| Some(state.epoch == 1)),
                (6, |_| Some(true)),
                (7, |state| Some(state.epoch == 2)),
                (8, NEVER),
            ];
            case.lists.again = Some(|case| {
                case.hand_list(2, &[6, 7]);
                assert_eq!(case.world.site_state().epoch, 2, "the list cannot be had again");
            });
        },
        act: |case| case.hand_list(2, &[6, 7]),
    },
    Scenario {
        name: "additions of the site",
        prepare: |case| {
            case.activate();
            case.world.join_site();
            case.lists.taken = Some(case.world.site_state());
            // Some of an addition may count before it is complete.
            case.lists.phones = &[
                (6, |state| (state.counter >= 1).then_some(true)),
                (7, |state| (state.counter >= 2).then_some(true)),
                (8, NEVER),
            ];
            case.lists.again = Some(|case| {
                case.add_both();
                assert_eq!(case.world.site_state().counter, 2, "the additions cannot be had again");
            });
        },
        act: Case::add_both,
    },
    Scenario {
        name: "a site and its authorities",
        prepare: |case| {
            case.activate();
            case.lists.phones = &[
                // What one authority has added stays when there is another.
                (6, |state| (state.version == 2 || state.counter >= 1).then_some(true)),
                (7, |state| (state.version == 2 && state.counter >= 1).then_some(true)),
                (8, NEVER),
            ];
            case.lists.again = Some(|case| {
                case.two_authorities();
                let state = case.world.site_state();
                assert_eq!((state.site, state.version, state.counter), (ID, 2, 1));
            });
        },
        act: Case::two_authorities,
    },
    Scenario {
        name: "the platform says what counts",
        prepare: |case| {
            case.activate();
            case.world.join_site();
            case.lists.taken = Some(case.world.site_state());
            case.lists.phones = &[(8, |state| Some(!state.grants))];
            case.lists.again = Some(|case| {
                case.say_what_counts();
                assert!(case.world.site_state().grants, "grants hold again under the list");
            });
        },
        act: Case::say_what_counts,
    },
];

fn names(addresses: &[u16], case: &Case) -> Vec<Thumbprint> {
    addresses.iter().map(|&address| Phone::new(&case.world, address).key.public().thumbprint()).collect()
}

impl Case {
    /// A list of two pages in which these phones are named.
    fn hand_list(&mut self, epoch: u32, phones: &[u16]) {
        let keys = [strangers(0..30), names(phones, self)].concat();
        for page in list(epoch, &keys) {
            self.hand(SiteKind::Revocations, &page);
        }
        self.took(|state| state.epoch = epoch);
    }

    /// The second addition goes over the end of the first page.
    fn add_both(&mut self) {
        for (counter, range, phone) in [(1, 0..20, 6), (2, 20..40, 7)] {
            let keys = [strangers(range), names(&[phone], self)].concat();
            self.hand(SiteKind::SiteRevocations, &addition(1, counter, &keys));
            self.took(|state| state.counter = counter);
        }
    }

    /// A site, two authorities one after the other, and what each adds.
    fn two_authorities(&mut self) {
        let site = SiteSetting { site: ID, version: 1, epoch: 0, counter: None };
        assert_eq!(self.world.set_site(site).0, Code::CHANGED);
        self.took(|state| state.site = ID);
        for (version, phone) in [(1, 6), (2, 7)] {
            self.hand(SiteKind::Authority, &authority_cwt(version));
            self.took(|state| (state.version, state.counter) = (version, 0));
            self.hand(SiteKind::SiteRevocations, &addition(version, 1, &names(&[phone], self)));
            self.took(|state| state.counter = 1);
        }
    }

    /// No grant under a list below this epoch; then that list.
    fn say_what_counts(&mut self) {
        let setting = SiteSetting { site: ID, version: 1, epoch: 1, counter: None };
        self.lists.told = 1;
        let (code, state) = self.world.set_site(setting);
        assert_eq!(code, Code::CHANGED);
        assert!(state.epoch >= 1 || !state.grants);
        self.lists.least = 1;
        self.hand_list(1, &[]);
    }

    /// The gateway hands over a site message, no faster than a lock looks at them. It drops what it has.
    fn hand(&mut self, kind: SiteKind, signed: &[u8]) {
        self.world.wait(20_000);
        self.world.hand(kind, None, signed);
    }

    /// The lock has this now, and the power is still on.
    fn took(&mut self, what: impl FnOnce(&mut SiteState)) {
        let none = SiteState { site: [0; 8], version: 0, epoch: 0, counter: 0, grants: true };
        let state = self.lists.taken.get_or_insert(none);
        let before = *state;
        what(state);
        // Said again after a cut, an older authority takes nothing back.
        if (state.version, state.epoch, state.counter) < (before.version, before.epoch, before.counter) {
            *state = before;
        }
    }

    pub(super) fn judge_lists(&mut self) {
        let Some(again) = self.lists.again else { return };
        let state = self.world.site_state();
        if let Some(taken) = self.lists.taken {
            assert!(state.site == taken.site || taken.site == [0; 8], "the site is lost");
            assert!(state.epoch >= taken.epoch, "{} after {}: a list is lost", state.epoch, taken.epoch);
            let additions = |state: &SiteState| (state.version, state.counter);
            assert!(additions(&state) >= additions(&taken), "{state:?} after {taken:?}");
        }
        let Lists { told, least, .. } = self.lists;
        assert!(!state.grants || state.epoch >= least, "{state:?}: no grant may hold below epoch {least}");
        assert!(state.grants || state.epoch < told, "{state:?}: nothing is missing, and no grant holds");
        self.try_phones(&state);
        again(self);
        let state = self.world.site_state();
        self.try_phones(&state);
    }

    fn try_phones(&mut self, state: &SiteState) {
        for (address, barred) in self.lists.phones {
            self.world.wait(60_000);
            let connected = Phone::new(&self.world, *address).connect(&mut self.world);
            assert!(
                barred(state).is_none_or(|barred| connected != barred),
                "phone {address} under {state:?}: connected is {connected}"
            );
        }
    }
}
