//! What people do at the door of the C lock, and what its platform hears of it.

use std::path::Path;

use cardea_credentials::Signer as _;
use cardea_sdk::{FileKeys, LockAlarm, Pin, PinSetting, PinState, PlatformEvent, sign_release};

use crate::world::{Lock, World};
use crate::{SANITIZERS, VALGRIND, compile};

impl World {
    /// Does this at the door, and waits for the line that the lock says then.
    fn do_and_see(&mut self, hands: &str, line: &str) {
        let before = self.lock.count(line);
        self.lock.hands(hands);
        self.run_until(line, |world| (world.lock.count(line) > before).then_some(()));
    }

    /// Does this at the door, and waits until the platform has the event.
    fn do_and_hear(&mut self, hands: &str, kind: &str, value: Option<&str>) {
        self.lock.hands(hands);
        self.run_until(hands, |world| {
            let heard = |event: &PlatformEvent| {
                matches!(event, PlatformEvent::Lock { kind: k, value: v, .. } if k == kind && v.as_deref() == value)
            };
            world.other.events.iter().any(heard).then_some(())
        });
    }

    fn set_pin(&mut self, slot: u8, digits: &[u8]) {
        let pin = Pin::new(digits).unwrap();
        let setting = PinSetting { pin, duress: false, not_before: None, not_after: None };
        let lock = self.other.name;
        self.batch(|core, now| core.set_pin(now, lock, slot, &setting).unwrap());
        self.run_until("the lock has the PIN", |world| {
            let set = |event: &PlatformEvent| {
                matches!(event, PlatformEvent::Pin { slot: s, state: PinState::InForce, .. } if *s == slot)
            };
            world.other.events.iter().any(set).then_some(())
        });
    }

    fn alarms(&self) -> Vec<LockAlarm> {
        let alarm = |event: &PlatformEvent| match event {
            PlatformEvent::Alarm { alarm, .. } => Some(*alarm),
            _ => None,
        };
        self.other.events.iter().filter_map(alarm).collect()
    }
}

fn sensors_tell_the_platform(world: &mut World) {
    world.do_and_hear("door open", "door", Some("open"));
    world.do_and_hear("door ajar", "door", Some("ajar"));
    world.do_and_hear("tamper", "tamper", None);
    world.do_and_hear("bolt unlocked", "bolt", Some("unlocked"));
    world.do_and_hear("bolt jammed", "bolt", Some("jammed"));
    world.do_and_hear("battery 12", "battery", Some("12 %"));
    world.do_and_hear("door closed", "door", Some("closed"));
    let expected = [LockAlarm::DoorAjar, LockAlarm::Tamper, LockAlarm::Jam, LockAlarm::BatteryLow];
    let alarms = world.alarms();
    assert!(expected.iter().all(|alarm| alarms.contains(alarm)), "{alarms:?}");
    world.lock.hands("bolt locked");
    world.do_and_see("door sideways", "panel: door: a length or a value is out of range");
    world.do_and_see("member 0", "panel: member: a length or a value is out of range");
    world.lock.hands("member 7"); // the lock is in no site: it has nobody to ask
}

fn the_pad_unlocks_and_closes(world: &mut World) {
    world.set_pin(3, b"0135790");
    let before = world.lock.count("the motor runs");
    world.do_and_see("pin 0135790", "pin: unlocked");
    assert_eq!(world.lock.count("the motor runs"), before + 1);
    let used = |e: &PlatformEvent| matches!(e, PlatformEvent::PinUsed { slot: 3, failed: false, .. });
    world.run_until("the platform hears of it", |world| world.other.events.iter().any(used).then_some(()));
    for wrong in ["135790", "01357900", "0", "not-a-pin", "0135791"] {
        world.do_and_see(&format!("pin {wrong}"), "pin: wrong");
    }
    world.run_until("the alarm", |world| (world.lock.count("alarm: 3") == 1).then_some(()));
    world.do_and_see("pin 0135790", "pin: refused for 90 s");
    assert_eq!(world.lock.count("the motor runs"), before + 1);
}

fn a_list_comes_into_force(world: &mut World) {
    world.batch(|core, now| core.revoke(now, &[[0x5a; 32]]).unwrap());
    world.run_until("the list", |world| (world.lock.count("revocation list of epoch 1") == 1).then_some(()));
}

/// The inside button asks for a release, and the owner root gives one, to itself.
fn the_lock_is_let_go(world: &mut World) {
    world.do_and_see("button", "button: the door is not open, or nobody has said so");
    world.lock.hands("door open");
    world.do_and_see("button", "reset asked for, nonce");
    let nonce = world.run_until("the question", |world| {
        world.other.events.iter().find_map(|event| match event {
            PlatformEvent::ReleaseAsked { nonce, .. } => Some(nonce.clone()),
            _ => None,
        })
    });
    assert_eq!(world.lock.label("reset asked for, nonce"), nonce);
    let nonce = hex::decode(nonce).unwrap().try_into().unwrap();
    let root = FileKeys::owner_root(&world.other.home().join("owner-root.key")).unwrap();
    let thumbprint = hex::decode(world.lock.label("thumbprint")).unwrap().try_into().unwrap();
    let heir = root.public().thumbprint();
    let record = sign_release(&root, thumbprint, nonce, Some(heir), 1_800_000_000).unwrap();
    let lock = world.other.name;
    world.batch(|core, now| core.release(now, lock, nonce, &record).unwrap());
    world.run_until("the release", |world| (world.lock.count("released to root") == 1).then_some(()));
    assert_eq!(world.lock.label("released to root"), hex::encode(heir));
    world.do_and_see("button", "button: the lock has no owner");
    world.do_and_see("pin 0135790", "pin: wrong");
}

fn a_life_at_the_door(command: &[&str], dir: &Path) {
    let mut world = World::new(Lock::start(command, dir));
    world.activate();
    sensors_tell_the_platform(&mut world);
    the_pad_unlocks_and_closes(&mut world);
    a_list_comes_into_force(&mut world);
    the_lock_is_let_go(&mut world);
    world.lock.switch_off();
}

#[test]
fn doors_pins_lists_and_an_owner_reset_go_through_the_c_lock_to_its_platform_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let lock = compile(dir.path(), SANITIZERS);
    a_life_at_the_door(&[lock.to_str().unwrap()], dir.path());
}

#[test]
fn a_life_at_the_door_is_clean_under_valgrind() {
    let dir = tempfile::tempdir().unwrap();
    let lock = compile(dir.path(), &[]);
    a_life_at_the_door(&[VALGRIND, &[lock.to_str().unwrap()]].concat(), dir.path());
}
