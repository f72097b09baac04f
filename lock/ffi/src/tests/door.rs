//! Calls about the door, from a lock that nobody has activated yet; `tests/tests/ffi` makes them from C, with an owner.

use ::cardea_agent::{AgentEvent, Alarm, Board, HandshakeFailure, Slot, Storage};
use cardea_credentials::{Signer, SoftSigner};
use cardea_resources::{Op, Outcome};

use super::*;
use crate::board::{CBoard, CStorage, sec1};
use crate::event;

/// An agent for which `call` is made, in memory of its own.
fn with_agent(call: impl FnOnce(&Bench, *mut cardea_agent)) {
    let (bench, mut memory) = (Bench::default(), memory());
    let (status, agent) = Tables::new(&bench).boot(memory.at(0), CARDEA_AGENT_SIZE);
    assert_eq!(status, CARDEA_OK);
    call(&bench, agent);
    // SAFETY: the agent is there.
    unsafe { assert_eq!(cardea_agent_deinit(agent), CARDEA_OK) };
}

/// One call of each, with arguments that are right.
fn each(agent: *mut cardea_agent) -> [(&'static str, cardea_status); 8] {
    let (mut nonce, mut result, mut closed) = ([0; CARDEA_RESET_NONCE_LEN], 0, 0);
    let (result, closed) = (&raw mut result, &raw mut closed);
    // SAFETY: an agent or what stands for one in a test; everything else is memory of the right length.
    unsafe {
        [
            ("bolt_moved", cardea_agent_bolt_moved(agent)),
            ("door_moved", cardea_agent_door_moved(agent, CARDEA_DOOR_AJAR)),
            ("door_is", cardea_agent_door_is(agent, CARDEA_DOOR_OPEN)),
            ("tampered", cardea_agent_tampered(agent)),
            ("battery_measured", cardea_agent_battery_measured(agent)),
            ("inside_button_held", cardea_agent_inside_button_held(agent, nonce.as_mut_ptr())),
            ("enter_pin", cardea_agent_enter_pin(agent, c"0123".as_ptr().cast(), 4, result, closed)),
            ("ask_membership", cardea_agent_ask_membership(agent, 1)),
        ]
    }
}

#[test]
fn each_call_answers_without_an_owner_without_an_agent_and_from_a_callback() {
    let part = |there| if there { CARDEA_OK } else { CARDEA_ERR_UNSUPPORTED };
    with_agent(|_, agent| {
        for (name, status) in each(agent) {
            let expected = match name {
                "inside_button_held" => CARDEA_ERR_NO_OWNER,
                "enter_pin" => part(cfg!(feature = "pins")),
                "ask_membership" => part(cfg!(feature = "peers")),
                _ => CARDEA_OK,
            };
            assert_eq!(status, expected, "{name}");
        }
        assert!(each(null_mut()).iter().all(|(_, status)| *status == CARDEA_ERR_NULL));
        assert!(each(agent.wrapping_byte_add(4)).iter().all(|(_, status)| *status == CARDEA_ERR_MEMORY));
        // SAFETY: the agent is there; the call inside stands for one from a callback.
        let outer = unsafe {
            enter(agent, |_| {
                assert!(each(agent).iter().all(|(_, status)| *status == CARDEA_ERR_BUSY));
                Ok(CARDEA_NOTHING)
            })
        };
        assert_eq!(outer, CARDEA_NOTHING);
    });
    let mut empty = memory();
    assert!(each(empty.at(0).cast()).iter().all(|(_, status)| *status == CARDEA_ERR_NOT_BOOTED));
}

#[test]
fn doors_addresses_and_nulls_out_of_range_are_refused() {
    with_agent(|_, agent| {
        let (mut result, mut closed) = (7, 7);
        // SAFETY: the agent is there; what is not null is memory of the right length, or not looked at.
        unsafe {
            for door in [3, 255, u32::MAX] {
                assert_eq!(cardea_agent_door_moved(agent, door), CARDEA_ERR_ARGUMENT);
                assert_eq!(cardea_agent_door_is(agent, door), CARDEA_ERR_ARGUMENT);
            }
            for address in [0, CARDEA_SITE_ADDRESS_MAX + 1, 0xFFFF, 0x1_0001, u32::MAX] {
                assert_eq!(cardea_agent_ask_membership(agent, address), CARDEA_ERR_ARGUMENT, "{address}");
            }
            let last = cardea_agent_ask_membership(agent, CARDEA_SITE_ADDRESS_MAX);
            assert_eq!(last == CARDEA_OK, cfg!(feature = "peers"));
            assert_eq!(cardea_agent_inside_button_held(agent, null_mut()), CARDEA_ERR_NULL);
            let digits = c"0123".as_ptr().cast();
            let pin = |digits, length, result, closed| {
                cardea_agent_enter_pin(agent, digits, length, result, closed)
            };
            assert_eq!(pin(null(), 4, &raw mut result, &raw mut closed), CARDEA_ERR_NULL);
            assert_eq!(pin(digits, 4, null_mut(), &raw mut closed), CARDEA_ERR_NULL);
            assert_eq!(pin(digits, 4, &raw mut result, null_mut()), CARDEA_ERR_NULL);
            assert_eq!(closed, 7, "nothing is half written");
        }
    });
}

/// Whatever was typed and however long it is: one wrong PIN, of which no more is read than a PIN can have.
#[cfg(feature = "pins")]
#[test]
fn what_cannot_be_a_pin_is_a_wrong_one_of_any_length() {
    with_agent(|_, agent| {
        let typed = [b'1'; CARDEA_PIN_MAX + 1];
        for length in [0, 3, CARDEA_PIN_MAX, CARDEA_PIN_MAX + 1, 1 << 20, isize::MAX as usize, usize::MAX] {
            let (mut result, mut closed) = (7, 7);
            // SAFETY: the agent is there, and no more than `CARDEA_PIN_MAX` and one digits are read.
            let status = unsafe {
                cardea_agent_enter_pin(agent, typed.as_ptr(), length, &raw mut result, &raw mut closed)
            };
            assert_eq!((status, result, closed), (CARDEA_OK, cardea_pin_result::CARDEA_PIN_WRONG as u32, 0));
        }
    });
}

#[test]
fn the_features_say_what_the_library_was_built_with() {
    let has = |feature: u32| cardea_features() & feature != 0;
    assert_eq!(has(CARDEA_FEATURE_PEERS), cfg!(feature = "peers"));
    assert_eq!(has(CARDEA_FEATURE_PINS), cfg!(feature = "pins"));
    assert_eq!(cardea_features() >> 2, 0);
}

#[test]
fn every_event_of_the_agent_has_a_number_and_its_fields() {
    use cardea_alarm::*;
    use cardea_event_kind::*;
    use cardea_handshake_failure::*;
    let told = |event| {
        let it = event::to_c(event);
        (it.kind, it.code)
    };
    let root = core::array::from_fn(|n| n as u8);
    let kinds = [
        (AgentEvent::Activated { root }, CARDEA_EVENT_ACTIVATED as u32, 0),
        (AgentEvent::Connected, CARDEA_EVENT_CONNECTED as u32, 0),
        (AgentEvent::StorageFailed, CARDEA_EVENT_STORAGE_FAILED as u32, 0),
        (AgentEvent::RandomFailed, CARDEA_EVENT_RANDOM_FAILED as u32, 0),
        (AgentEvent::Released { to: None }, CARDEA_EVENT_RELEASED as u32, 0),
        (AgentEvent::Released { to: Some(root) }, CARDEA_EVENT_RELEASED as u32, 1),
        (AgentEvent::Revocations { epoch: 9 }, CARDEA_EVENT_REVOCATIONS as u32, 0),
        (AgentEvent::Member { address: 1, key: root, expires: 2 }, CARDEA_EVENT_MEMBER as u32, 0),
    ];
    for (event, kind, code) in kinds {
        assert_eq!(told(event), (kind, code), "{event:?}");
    }
    for (alarm, code) in [
        (Alarm::PinPadClosed, CARDEA_ALARM_PIN_PAD_CLOSED),
        (Alarm::TooManyWrong, CARDEA_ALARM_TOO_MANY_WRONG),
        (Alarm::ContextRetired, CARDEA_ALARM_CONTEXT_RETIRED),
    ] {
        assert_eq!(told(AgentEvent::Alarm(alarm)), (CARDEA_EVENT_ALARM as u32, code as u32));
    }
    for (why, code) in [
        (HandshakeFailure::Silence, CARDEA_HANDSHAKE_SILENCE),
        (HandshakeFailure::Refused, CARDEA_HANDSHAKE_REFUSED),
        (HandshakeFailure::Protocol, CARDEA_HANDSHAKE_PROTOCOL),
        (HandshakeFailure::Credential, CARDEA_HANDSHAKE_CREDENTIAL),
        (HandshakeFailure::WrongCode, CARDEA_HANDSHAKE_WRONG_CODE),
        (HandshakeFailure::Internal, CARDEA_HANDSHAKE_INTERNAL),
    ] {
        let event = AgentEvent::HandshakeFailed(why);
        assert_eq!(told(event), (CARDEA_EVENT_HANDSHAKE_FAILED as u32, code as u32));
    }
    let command =
        event::to_c(AgentEvent::Command { id: [1, 2, 3, 4], op: Op::Unlock, outcome: Outcome::Failed });
    assert_eq!((command.kind, command.code), (CARDEA_EVENT_COMMAND as u32, 1));
    assert_eq!((command.op, command.command), (CARDEA_OP_UNLOCK, [1, 2, 3, 4]));

    assert_eq!(event::to_c(AgentEvent::Activated { root }).root, root);
    assert_eq!(event::to_c(AgentEvent::Released { to: Some(root) }).root, root);
    assert_eq!(event::to_c(AgentEvent::Released { to: None }).root, [0; 32]);
    assert_eq!(event::to_c(AgentEvent::Revocations { epoch: u32::MAX }).epoch, u32::MAX);
    let member = event::to_c(AgentEvent::Member { address: 0xFFEF, key: root, expires: 0xFEDC_BA98 });
    assert_eq!((member.address, member.key, member.expires), (0xFFEF, root, 0xFEDC_BA98));
}

#[test]
fn a_configuration_of_version_1_means_what_it_meant_and_half_a_member_is_refused() {
    let (bench, mut memory) = (Bench::default(), memory());
    let tables = Tables::new(&bench);
    let mut boot = |config: &cardea_config| {
        let mut agent = null_mut();
        // SAFETY: the tables and the configuration are what they say.
        unsafe {
            let agent = &raw mut agent;
            let status = cardea_agent_boot(memory.at(0), CARDEA_AGENT_SIZE, &tables.board(), config, agent);
            cardea_agent_deinit(*agent);
            status
        }
    };
    let first = core::mem::offset_of!(cardea_config, battery_low);
    // What lies behind the struct of that firmware is none of ours.
    let old = cardea_config { size: first, battery_low: 999, vendor: core::ptr::dangling(), ..tables.config };
    assert_eq!(boot(&old), CARDEA_OK);
    for size in first + 1..size_of::<cardea_config>() {
        let cut = cardea_config { size, ..old };
        assert_eq!(boot(&cut), CARDEA_ERR_VERSION, "{size}");
    }
    for (low, good, status) in [
        (0, 0, CARDEA_OK),
        (10, 100, CARDEA_OK),
        (29, 0, CARDEA_OK),
        (0, 21, CARDEA_OK),
        (30, 0, CARDEA_ERR_ARGUMENT),
        (0, 20, CARDEA_ERR_ARGUMENT),
        (50, 50, CARDEA_ERR_ARGUMENT),
        (50, 101, CARDEA_ERR_ARGUMENT),
        (256, 300, CARDEA_ERR_ARGUMENT),
    ] {
        let config = cardea_config { battery_low: low, battery_good: good, ..tables.config };
        assert_eq!(boot(&config), status, "{low} and {good}");
    }
    let vendor = sec1(&SoftSigner::from_bytes(&[5; 32]).unwrap().public());
    assert_eq!(boot(&cardea_config { vendor: vendor.as_ptr(), ..tables.config }), CARDEA_OK);
    for wrong in [0, 2, 32, 64] {
        let mut off = vendor;
        off[wrong] ^= 1;
        let config = cardea_config { vendor: off.as_ptr(), ..tables.config };
        assert_eq!(boot(&config), CARDEA_ERR_KEY, "byte {wrong}");
    }
}

unsafe extern "C" fn erase_together(ctx: *mut c_void, slots: *const u32, count: usize) -> i32 {
    // SAFETY: the library says that there are `count` numbers, and the table carries a bench.
    let (bench, slots) = unsafe { (&*ctx.cast::<Bench>(), core::slice::from_raw_parts(slots, count)) };
    bench.records.borrow_mut().retain(|slot, _| !slots.contains(slot));
    bench.drives.set(bench.drives.get() + count);
    bench.fault.get().unwrap_or(0)
}

#[test]
fn storage_erases_many_slots_at_once_or_one_after_the_other() {
    for together in [false, true] {
        let bench = Bench::default();
        let mut table = Tables::new(&bench).storage;
        table.erase_all = together.then_some(erase_together as _);
        bench.records.borrow_mut().extend((0..CARDEA_SLOT_COUNT).map(|slot| (slot, std::vec![1])));
        // SAFETY: the table is well made, and the bench outlives it.
        let mut storage: <CBoard as Board>::Storage = unsafe { CStorage::new(&raw const table).unwrap() };
        storage.erase_all(|slot| !matches!(slot, Slot::Pin(_))).unwrap();
        let left: Vec<_> = bench.records.borrow().keys().copied().collect();
        let pins: Vec<_> = Slot::all().filter(|slot| matches!(slot, Slot::Pin(_))).collect();
        assert_eq!(left, pins.iter().map(|slot| slot.index() as u32).collect::<Vec<_>>());
        let told = CARDEA_SLOT_COUNT as usize - pins.len();
        assert_eq!(bench.drives.get(), if together { told } else { 0 });
        bench.fault.set(Some(-1));
        assert!(storage.erase_all(|_| true).is_err());
    }
}

#[test]
fn a_record_that_is_damaged_is_told_from_a_medium_that_failed() {
    let bench = Bench::default();
    let table = Tables::new(&bench).storage;
    // SAFETY: the table is well made, and the bench outlives it.
    let mut storage = unsafe { CStorage::new(&raw const table).unwrap() };
    let mut out = [0; CARDEA_RECORD_MAX];
    bench.fault.set(Some(CARDEA_RECORD_DAMAGED));
    assert_eq!(storage.read(Slot::Ledger, &mut out).unwrap(), Some(0));
    for fault in [-1, CARDEA_RECORD_DAMAGED + 1, i32::MIN, i32::MAX] {
        bench.fault.set(Some(fault));
        assert!(storage.read(Slot::Ledger, &mut out).is_err());
    }
    bench.fault.set(None);
    assert_eq!(storage.read(Slot::Ledger, &mut out).unwrap(), None);
}

#[test]
fn the_slots_that_hold_secrets_are_those_of_the_agent() {
    for slot in Slot::all() {
        assert_eq!(cardea_slot_is_secret(slot.index() as u32), u32::from(slot.is_secret()), "{slot:?}");
    }
    assert_eq!(cardea_slot_is_secret(CARDEA_SLOT_COUNT), 0);
}
