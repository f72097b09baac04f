//! A lock: the agent on a board of memory, its radio on the serial line. Leaves QEMU by semihosting.
//!
//! Each record from the line is one thing that happens to a lock; the answer is what the lock sends and says because of
//! it, and ends with its state. `tests/tests/mcu.rs` is the other end.
#![no_std]
#![no_main]

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use cardea_aead::{Aes128, AesCcm16_64_128, open, seal};
use cardea_agent::{Agent, AgentEvent, Config, Home, Output, Parts, provision};
use cardea_credentials::{SoftAgreement, SoftSigner};
use cardea_mcu::board::{Board, CODE, DH, IDENTITY, RamStorage, TestClock, TestMotor, TestOnlyRandom};
use cardea_mcu::instruments::{Counter, above, deepest_stack, paint_stack, words_below};
use cardea_mcu::serial::Serial;
use cardea_resources::{Bolt, Firmware};
use ccm::aead::KeyInit as _;
use cortex_m::peripheral::SCB;
use cortex_m_semihosting::debug::{EXIT_FAILURE, EXIT_SUCCESS, exit};

const MTU: usize = 222;

/// What survives a restart of the processor, but for the first one.
struct Kept {
    mark: u32,
    starts: u64,
    nvm: RamStorage,
}

struct Nvm(UnsafeCell<MaybeUninit<Kept>>);
// SAFETY: one core, no interrupt handler, and `main` takes the only reference.
unsafe impl Sync for Nvm {}
#[unsafe(link_section = ".uninit.nvm")]
static NVM: Nvm = Nvm(UnsafeCell::new(MaybeUninit::uninit()));
const MARK: u32 = 0x6361_7264;

/// The storage, empty with an owner code at the first start; and how many starts there were.
#[inline(never)]
fn power_on() -> Option<(&'static mut RamStorage, u64)> {
    // SAFETY: see `Nvm`; the mark is read as plain memory, and says that all of it was written.
    let (kept, first) = unsafe {
        let kept = &mut *NVM.0.get();
        let first = (&raw const (*kept.as_ptr()).mark).read_volatile() != MARK;
        if first {
            kept.write(Kept { mark: MARK, starts: 0, nvm: RamStorage::new() });
        }
        (kept.assume_init_mut(), first)
    };
    kept.starts += 1;
    let mut storage = &mut kept.nvm;
    if first {
        provision(&mut storage, &CODE).ok()?;
    }
    Some((storage, kept.starts))
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let (Some(core), Ok(identity), Ok(dh), Some((storage, starts))) = (
        cortex_m::Peripherals::take(),
        SoftSigner::from_bytes(&IDENTITY),
        SoftAgreement::from_bytes(&DH),
        power_on(),
    ) else {
        leave(false)
    };
    let mut counter = Counter::new(core.SYST);
    let mut serial = Serial::open();
    let parts = Parts {
        storage,
        clock: TestClock { millis: 1_000 },
        random: TestOnlyRandom::new(starts),
        identity,
        dh,
        actuator: TestMotor { bolt: Bolt::Locked, drives: 0 },
    };
    let config = Config { heartbeat_ms: 0, ..Config::listening(Firmware { major: 1, minor: 2, patch: 3 }) };
    // The agent lies in this frame, so its making is painted too.
    let from = paint_stack();
    let mut home = Home::<Board>::new(parts, config);
    let (cost, booted) = counter.count(|| home.boot());
    let Ok(agent) = booted else { leave(false) };
    let used = Used { cost, stack: deepest_stack(from), above: above(from) };
    report(&mut serial, agent, &used);
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
        b'K' => search_for_keys(serial),
        b'R' => SCB::sys_reset(),
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
    report(serial, agent, &Used { cost, stack: deepest_stack(from), above: above(from) });
}

const KEY: [u8; 16] = *b"0123456789abcdef";
/// Words of [`KEY`] and of the round keys.
const KEY_WORDS: usize = (KEY.len() + size_of::<Aes128>()) / 4;

/// Seals and opens, and looks for what is left of the key below: words of key and round keys after a cipher was made
/// and dropped, which shows that the search finds some; after sealing; after opening; then how deep these two were.
#[inline(never)]
fn search_for_keys(serial: &mut Serial) {
    let words = key_words();
    wipe_stack();
    let from = paint_stack();
    make_cipher();
    let made = words_below(from, &words);
    wipe_stack();
    let from = paint_stack();
    let mut buffer = [7; 48];
    let sealed = seal::<AesCcm16_64_128>(&KEY, &[1; 13], &[2; 21], &mut buffer);
    let (after_sealing, depth) = (words_below(from, &words), deepest_stack(from));
    wipe_stack();
    let from = paint_stack();
    let opened = open::<AesCcm16_64_128>(&KEY, &[1; 13], &[2; 21], &mut buffer);
    let (after_opening, depth) = (words_below(from, &words), depth.max(deepest_stack(from)));
    if sealed.is_err() || opened.is_err() || buffer.get(..40) != Some(&[7; 40]) {
        leave(false)
    }
    let mut record = [0; 16];
    let figures = [made, after_sealing, after_opening, depth];
    for (place, figure) in record.chunks_exact_mut(4).zip(figures) {
        place.copy_from_slice(&(figure as u32).to_le_bytes());
    }
    serial.send(b'K', &record);
}

#[inline(never)]
fn make_cipher() {
    core::hint::black_box(&Aes128::new(&KEY.into()));
}

#[inline(never)]
fn key_words() -> [u32; KEY_WORDS] {
    let mut words = [0; KEY_WORDS];
    let cipher = Aes128::new(&KEY.into());
    for (n, word) in words.iter_mut().enumerate() {
        *word = match KEY.as_chunks::<4>().0.get(n) {
            Some(bytes) => u32::from_le_bytes(*bytes),
            // SAFETY: within the cipher, which is made of words, and all of them are initialised.
            None => unsafe { (&raw const cipher).cast::<u32>().add(n - KEY.len() / 4).read() },
        };
    }
    words
}

/// So that nothing older is found.
#[inline(never)]
fn wipe_stack() {
    core::hint::black_box(&mut [0_u8; 4096]);
}

/// What a step took.
struct Used {
    cost: u64,
    stack: usize,
    above: usize,
}

/// Events, then the state.
fn report(serial: &mut Serial, agent: &mut Agent<Board>, used: &Used) {
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
    let mut state = [0; 30];
    let fields =
        [drives, agent.dropped(), used.stack as u32, size_of::<Agent<Board>>() as u32, used.above as u32];
    for (place, field) in state.chunks_exact_mut(4).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    let [.., a, b, c, d, e, f, g, h, bolt_code, peers] = &mut state;
    [*a, *b, *c, *d, *e, *f, *g, *h] = used.cost.to_le_bytes();
    (*bolt_code, *peers) = (bolt, cfg!(feature = "peers").into());
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
