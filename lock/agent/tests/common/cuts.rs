//! Whole scenarios under power cuts at every operation of a medium, and again at every operation of the recovery.
//!
//! A new scenario is one entry in [`LIFE`] or [`SITE`]; what must hold for all of them is in [`Case::judge`]. It needs both of
//! the agent's features, so the tests that use it declare it beside `common`.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "cuts/lists.rs"]
mod lists;

pub use lists::SITE;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use cardea_agent::{Door, PinResult, Slot};
use cardea_credentials::{Release, Releaser, Signer, SiteKind, SiteMessage};
use cardea_framing::Kind;
use cardea_oscore::coap::Code;
use cardea_resources::{LogEntry, LogRequest, Op};

use crate::common::board::{TestNvm, key};
use crate::common::phone::Phone;
use crate::common::platform::datagram;
use crate::common::{World, command, config, pin_change};

/// A medium under test and how to cut its power.
pub struct Medium {
    pub nvm: TestNvm,
    /// At the `n`th operation from now, in one of so many ways.
    pub cut: Box<dyn Fn(usize, usize)>,
    pub ways: usize,
    /// Power on again.
    pub on: Box<dyn Fn(u64)>,
}

/// Records that are written in one step: each write is lost or done.
pub fn abstract_medium() -> Medium {
    let nvm = TestNvm::erasing_at_once();
    let (cutting, healing) = (nvm.clone(), nvm.clone());
    Medium {
        nvm,
        cut: Box::new(move |at, way| cutting.cut_at(at, way == 1)),
        ways: 2,
        on: Box::new(move |_| healing.no_cut()),
    }
}

/// A world, and what was asked of it.
pub struct Case {
    pub world: World,
    /// Shared, so that it is still there when the power was cut while it was used.
    pub phone: Option<Rc<RefCell<Phone>>>,
    /// Frames that a gateway may repeat.
    pub sent: Vec<Vec<u8>>,
    /// The payload of a command that was sent, for the platform to try again.
    pub retry: Option<Vec<u8>>,
    /// How often the bolt may have moved, at most.
    pub moves: usize,
    /// PINs that the platform was told are set.
    pub pins: Vec<Vec<u8>>,
    /// One of these is, if there are any: the old one or the new one.
    pub either: Vec<Vec<u8>>,
    /// The ownership may have ended.
    pub releasable: bool,
    lists: lists::Lists,
    log: BTreeMap<u32, LogEntry>,
    owned: bool,
}

pub struct Scenario {
    pub name: &'static str,
    pub prepare: fn(&mut Case),
    pub act: fn(&mut Case),
}

/// From the factory to the next owner.
pub const LIFE: &[Scenario] = &[
    Scenario { name: "activation", prepare: |_| {}, act: |case| case.activate() },
    Scenario {
        name: "command",
        prepare: |case| {
            case.activate();
            let soon = case.world.unix() + 100;
            let unlock = command(1, Op::Unlock, Some(soon));
            let request = case.world.platform.request("l", Code::POST, &unlock, None);
            case.sent.push(request);
            case.retry = Some(unlock);
        },
        act: |case| {
            case.moves += 1;
            let unlock = case.sent[0].clone();
            case.world.deliver(&unlock);
        },
    },
    Scenario {
        name: "a grant for one use",
        prepare: |case| {
            case.activate();
            let phone = Phone::with(&case.world, 9, |terms| terms.single_use = true);
            case.phone = Some(Rc::new(RefCell::new(phone)));
        },
        act: |case| {
            case.moves += 1;
            let _ = case.use_grant();
        },
    },
    Scenario {
        name: "PINs, wrong and right",
        prepare: |case| {
            case.activate();
            case.set_pin(1, b"112233");
        },
        act: |case| {
            case.moves += 1;
            case.world.agent().enter_pin(b"999999");
            case.world.agent().enter_pin(b"112233");
            case.world.run();
        },
    },
    Scenario {
        name: "PIN change",
        prepare: |case| {
            case.activate();
            case.set_pin(1, b"112233");
        },
        act: |case| {
            case.set_pin(2, b"445566");
            case.pins.retain(|pin| pin != b"112233");
            case.either = vec![b"112233".to_vec(), b"778899".to_vec()];
            let payload = pin_change(1, 3, b"778899", false, None);
            if case.world.set_pin(&payload) == Code::CHANGED {
                case.pins.push(b"778899".to_vec());
            }
        },
    },
    Scenario {
        name: "log cursor",
        prepare: |case| {
            case.activate();
            for _ in 0..3 {
                case.world.agent().door_moved(Door::Open);
                case.world.run();
            }
        },
        act: |case| {
            let mut out = [0; LogRequest::MAX_LEN];
            let len = LogRequest { cursor: Some(2), limit: None }.encode(&mut out).unwrap();
            case.log.retain(|&index, _| index >= 2);
            case.world.ask("g", Code::POST, &out[..len], None);
        },
    },
    Scenario {
        name: "new context",
        prepare: |case| {
            case.activate();
            case.world.live(16 * 60_000);
        },
        act: |case| case.rehandshake(),
    },
    Scenario {
        name: "new platform key",
        prepare: |case| {
            case.activate();
            case.world.live(16 * 60_000);
        },
        act: |case| {
            case.world.platform.rotate(2);
            case.rehandshake();
        },
    },
    Scenario {
        name: "owner reset",
        prepare: |case| {
            case.activate();
            case.set_pin(1, b"112233");
            case.world.agent().door_moved(Door::Open);
            case.world.run();
            let nonce = case.world.agent().inside_button_held().unwrap();
            case.world.run();
            let lock = key::signer(1).public().thumbprint();
            let root = key::signer(9).public().thumbprint();
            let release = Release { lock, root, at: 0, nonce, by: Releaser::OwnerRoot, to: None };
            let (mut signed, mut body) = ([0; 256], [0; 256]);
            let len = release.sign(&key::signer(9), &mut signed).unwrap();
            let message = SiteMessage { kind: SiteKind::Release, nonce: Some(nonce), signed: &signed[..len] };
            let len = message.encode(&mut body).unwrap();
            case.sent.push(datagram(Kind::Site, &body[..len]));
        },
        act: |case| {
            case.releasable = true;
            (case.pins, case.log) = Default::default();
            let release = case.sent[0].clone();
            case.world.give(&release);
        },
    },
];

/// Every scenario.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    LIFE.iter().chain(SITE)
}

impl Case {
    fn new(medium: &Medium) -> Self {
        Self {
            world: World::over(config(), medium.nvm.clone()),
            phone: None,
            sent: Vec::new(),
            retry: None,
            moves: 0,
            pins: Vec::new(),
            either: Vec::new(),
            releasable: false,
            lists: lists::Lists::default(),
            log: BTreeMap::new(),
            owned: false,
        }
    }

    fn activate(&mut self) {
        self.world.boot();
        self.world.run();
        self.owned = self.world.platform.confirmed;
    }

    fn set_pin(&mut self, slot: u8, digits: &[u8]) {
        let payload = pin_change(slot, slot.into(), digits, false, None);
        if self.world.set_pin(&payload) == Code::CHANGED {
            self.pins.push(digits.to_vec());
        }
    }

    /// Whether the lock had an answer, whichever.
    fn use_grant(&mut self) -> bool {
        let Some(phone) = self.phone.clone() else { return false };
        let mut phone = phone.borrow_mut();
        phone.connect(&mut self.world)
            && phone.ask(&mut self.world, "l", Code::POST, &command(7, Op::Unlock, None), None).is_some()
    }

    fn rehandshake(&mut self) {
        let hint = datagram(Kind::PlatformOscore, &[0x40, 0x51, 0x81, 0, 0, 0]);
        self.world.agent().handle_frame(&hint);
        self.world.run();
    }

    /// The log in NVM, whose entries never change, and go by the cursor alone.
    fn read_log(&mut self) {
        let entries = (0..64).filter_map(|n| self.world.nvm.get(Slot::Log(n)));
        let found: BTreeMap<_, _> = entries
            .filter_map(|record| LogEntry::decode(&record).ok())
            .map(|entry| (entry.index, entry))
            .collect();
        for (index, entry) in &self.log {
            assert_eq!(found.get(index), Some(entry), "log entry {index} was lost or changed");
        }
        self.log = found;
    }

    /// After the recovery: everything that must hold whatever happened. That no number of the lock is used twice under
    /// one key, and no answer given twice, the platform asserts with each message.
    fn judge(&mut self) {
        self.read_log();
        let keeps_keys = self.owned && !self.releasable;
        assert!(!keeps_keys || self.world.agent().is_connected(), "neither the old context nor a new one");
        self.world.run();
        let owner = self.world.agent().owner();
        let root = key::signer(9).public().thumbprint();
        assert!(owner.is_none_or(|owner| owner == root), "another owner");
        assert!(owner.is_some() || !self.owned || self.releasable, "the pinned root was lost");
        // A gateway repeats what it has.
        let before = self.world.drives();
        assert!(before.len() <= self.moves, "{before:?}: the bolt moved more often than it was asked");
        self.world.platform.replies.clear();
        for frame in self.sent.clone() {
            self.world.give(&frame);
        }
        assert_eq!(self.world.drives(), before, "a repeat moved the bolt");
        let carried_out = self.retry.is_some() && !before.is_empty();
        assert!(!carried_out || self.world.platform.replies.is_empty(), "what was carried out is not known");
        if owner.is_some() && self.phone.is_some() {
            // It may still be good for its one use.
            let answered = self.use_grant();
            assert!(answered, "the phone gets no answer");
            assert!(self.world.drives().len() <= 1, "a grant for one use was used twice");
        }
        if self.world.agent().owner().is_none() {
            assert!(self.world.nvm.get(Slot::Code).is_some(), "nobody can own this lock any more");
            return;
        }
        if !self.world.agent().is_connected() {
            self.world.live(40 * 60_000);
        }
        assert!(self.world.agent().is_connected(), "{:?}", self.world.told);
        self.world.touch();
        self.read_log();
        if let Some(command) = self.retry.take() {
            let mut reply = self.world.ask("l", Code::POST, &command, None);
            if let Some(echo) = reply.echo.take() {
                reply = self.world.ask("l", Code::POST, &command, Some(&echo));
            }
            assert_eq!(reply.code, Code::CHANGED);
            assert!(self.world.drives().len() <= self.moves, "tried again, the command moved the bolt again");
        }
        self.judge_lists();
        self.world.actuator.forget();
        for pin in self.pins.clone() {
            let result = self.world.agent().enter_pin(&pin);
            assert_eq!(result, PinResult::Unlocked, "a PIN that was acknowledged is lost");
        }
        let either = std::mem::take(&mut self.either);
        let right = |pin: &Vec<u8>| self.world.agent().enter_pin(pin) == PinResult::Unlocked;
        assert!(either.is_empty() || either.iter().any(right), "neither the old PIN nor the new one");
    }
}

/// Runs a scenario with the power cut at every operation, in every way; `twice`, then also at every operation of the boot
/// that follows. Returns how many cases of each that were.
pub fn cut_everywhere(
    scenario: &Scenario,
    medium: impl Fn() -> Medium,
    twice: Option<usize>,
) -> (usize, usize) {
    let (mut once, mut again) = (0, 0);
    let ways = medium().ways;
    for way in 0..ways {
        for at in 0.. {
            let Some(_) = one_case(scenario, &medium, (at, way), None) else { break };
            once += 1;
            let Some(step) = twice else { continue };
            for (second, way) in
                (0..).step_by(step).flat_map(|second| (0..ways).map(move |way| (second, way)))
            {
                if way > 0 && step > 1 && (way + second + at) % ways != 0 {
                    continue; // of the many ways of a flash one each, another every time
                }
                match one_case(scenario, &medium, (at, way), Some((second, way))) {
                    Some(true) => again += 1,
                    _ => break,
                }
            }
        }
    }
    (once, again)
}

/// `None`: the scenario ended before the cut. Whether the second cut came, if one was wanted.
fn one_case(
    scenario: &Scenario,
    medium: impl Fn() -> Medium,
    (at, way): (usize, usize),
    second: Option<(usize, usize)>,
) -> Option<bool> {
    let medium = medium();
    let mut case = Case::new(&medium);
    (scenario.prepare)(&mut case);
    case.read_log();
    (medium.cut)(at, way);
    let cut = crate::common::until_cut(|| (scenario.act)(&mut case));
    if !cut {
        return None;
    }
    // What the platform had heard by then counts as acknowledged.
    case.owned |= case.world.platform.confirmed;
    (medium.on)(at as u64);
    let mut again = false;
    if let Some((at, way)) = second {
        (medium.cut)(at, way);
        again = crate::common::until_cut(|| case.world.reset());
        (medium.on)(at as u64 + 1);
    }
    if second.is_none() || again {
        case.world.reset();
        let what = format!("{}: cut {at} way {way}, then {second:?}", scenario.name);
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.judge()));
        if let Err(cause) = judged {
            println!("{what}");
            std::panic::resume_unwind(cause);
        }
    }
    Some(again)
}
