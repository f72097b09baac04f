//! A lock: the agent on a board of memory, its radio on the serial line. Leaves QEMU by semihosting.
//!
//! Each record from the line is one thing that happens to a lock; the answer is what the lock sends and says because of
//! it, and ends with its state. `tests/tests/mcu.rs` is the other end.
#![no_std]
#![no_main]

use core::cell::UnsafeCell;

use cardea_agent::{Agent, AgentEvent, Config, Output, Parts, provision};
use cardea_credentials::{SoftAgreement, SoftSigner};
use cardea_mcu::board::{Board, CODE, DH, IDENTITY, RamStorage, TestClock, TestMotor, TestOnlyRandom};
use cardea_mcu::instruments::{Counter, deepest_stack, paint_stack};
use cardea_mcu::serial::Serial;
use cardea_resources::{Bolt, Firmware};
use cortex_m_semihosting::debug::{EXIT_FAILURE, EXIT_SUCCESS, exit};

const MTU: usize = 222;

struct Nvm(UnsafeCell<RamStorage>);
// SAFETY: one core, no interrupt handler, and `main` takes the only reference.
unsafe impl Sync for Nvm {}
static NVM: Nvm = Nvm(UnsafeCell::new(RamStorage::new()));

#[cortex_m_rt::entry]
fn main() -> ! {
    let (Some(core), Ok(identity), Ok(dh)) =
        (cortex_m::Peripherals::take(), SoftSigner::from_bytes(&IDENTITY), SoftAgreement::from_bytes(&DH))
    else {
        leave(false)
    };
    let mut counter = Counter::new(core.SYST);
    let mut serial = Serial::open();
    // SAFETY: see `Nvm`.
    let mut storage = unsafe { &mut *NVM.0.get() };
    if provision(&mut storage, &CODE).is_err() {
        leave(false)
    }
    let parts = Parts {
        storage,
        clock: TestClock { millis: 1_000 },
        random: TestOnlyRandom::new(1),
        identity,
        dh,
        actuator: TestMotor { bolt: Bolt::Locked, drives: 0 },
    };
    let config = Config { heartbeat_ms: 0, ..Config::listening(Firmware { major: 1, minor: 2, patch: 3 }) };
    let from = paint_stack();
    let (cost, mut booted) = counter.count(|| Agent::<Board>::boot(parts, config));
    let Ok(agent) = &mut booted else { leave(false) };
    report(&mut serial, agent, cost, deepest_stack(from));
    loop {
        step(&mut serial, &mut counter, agent);
    }
}

/// One thing happens.
#[inline(never)]
fn step(serial: &mut Serial, counter: &mut Counter, agent: &mut Agent<Board>) {
    let mut record = [0; 256];
    let (kind, bytes) = serial.receive(&mut record);
    let from = paint_stack();
    let mut cost = 0;
    let mut act = |act: &mut dyn FnMut()| cost += counter.count(act).0;
    match kind {
        b'J' => act(&mut || agent.link_up()),
        b'F' => act(&mut || agent.handle_frame(bytes)),
        b'T' => act(&mut || agent.touch()),
        b'A' => {
            let ms = bytes.try_into().map_or(0, u32::from_le_bytes);
            agent.parts_mut().clock.millis += u64::from(ms);
            act(&mut || agent.handle_timeout());
        }
        b'Q' => leave(true),
        _ => leave(false),
    }
    loop {
        let mut frame = [0; MTU];
        let mut output = None;
        act(&mut || output = agent.poll_transmit(MTU, &mut frame));
        match output {
            Some(Output::Frame(len)) => serial.send(b'F', frame.get(..len).unwrap_or_default()),
            Some(Output::Poll) => {}
            None => break,
        }
    }
    report(serial, agent, cost, deepest_stack(from));
}

/// Events, then the state.
fn report(serial: &mut Serial, agent: &mut Agent<Board>, cost: u64, stack: usize) {
    while let Some(event) = agent.poll_event() {
        match event {
            AgentEvent::Activated { root } => serial.send(b'O', &root),
            AgentEvent::Connected => serial.send(b'C', &[]),
            AgentEvent::Command { .. } => serial.send(b'M', &[]),
            _ => serial.send(b'!', &[]),
        }
    }
    let motor = &agent.parts_mut().actuator;
    let (bolt, drives) = (motor.bolt.code(), motor.drives);
    let mut state = [0; 25];
    let fields = [drives, agent.dropped(), stack as u32, size_of::<Agent<Board>>() as u32];
    for (place, field) in state.chunks_exact_mut(4).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    if let Some(place) = state.get_mut(16..24) {
        place.copy_from_slice(&cost.to_le_bytes());
    }
    if let Some(place) = state.last_mut() {
        *place = bolt;
    }
    serial.send(b'S', &state);
}

fn leave(well: bool) -> ! {
    exit(if well { EXIT_SUCCESS } else { EXIT_FAILURE });
    loop {
        cortex_m::asm::wfi();
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    leave(false)
}

/// The processor could not go on: the stack ran into the statics, most likely.
#[cortex_m_rt::exception]
unsafe fn HardFault(_: &cortex_m_rt::ExceptionFrame) -> ! {
    leave(false)
}
