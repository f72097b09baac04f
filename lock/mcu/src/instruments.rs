//! How many instructions something takes, and how deep the stack was.

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;

/// QEMU with `-icount shift=0` lets a nanosecond pass with each instruction, and this board's SysTick runs at 25 MHz.
const INSTRUCTIONS_PER_TICK: u64 = 40;
const TICKS: u32 = 0x00ff_ffff;

/// Counts instructions by SysTick, to the nearest 40.
pub struct Counter(SYST);

impl Counter {
    /// Takes the timer.
    pub fn new(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(TICKS);
        timer.enable_counter();
        Self(timer)
    }

    /// Instructions that `act` takes, `u64::MAX` where the timer ran out (671 million).
    pub fn count<T>(&mut self, act: impl FnOnce() -> T) -> (u64, T) {
        self.0.clear_current();
        let _ = self.0.has_wrapped(); // reading clears it
        let start = SYST::get_current();
        let result = act();
        let end = SYST::get_current();
        // The first tick after clearing reloads.
        let start = if start == 0 { TICKS } else { start };
        let ticks = u64::from(start.wrapping_sub(end) & TICKS);
        let ran_out = end > start;
        (if ran_out { u64::MAX } else { ticks * INSTRUCTIONS_PER_TICK }, result)
    }
}

const PAINT: u32 = 0xa5c3_5a3c;
/// Bytes left alone below the stack pointer while painting: the painter's own frame.
const MARGIN: usize = 128;

unsafe extern "C" {
    static mut __euninit: u32; // end of the statics, by cortex-m-rt's linker script
    static mut _stack_start: u32; // where the stack begins, at the top
}

/// Fills the free part of the stack with a pattern. Returns where the caller's frame ends.
#[inline(never)]
pub fn paint_stack() -> usize {
    let from = cortex_m::register::msp::read() as usize;
    let end = from - MARGIN;
    let mut at = &raw const __euninit as usize;
    while at < end {
        // SAFETY: memory between the statics and the stack pointer, which nothing uses; there is no heap.
        unsafe { (at as *mut u32).write_volatile(PAINT) };
        at += 4;
    }
    from
}

/// Bytes of stack in use below `from` at the deepest moment since the paint, to the nearest 128.
#[inline(never)]
pub fn deepest_stack(from: usize) -> usize {
    let mut at = &raw const __euninit as usize;
    // SAFETY: as above; only reads.
    while at < from && unsafe { (at as *const u32).read_volatile() } == PAINT {
        at += 4;
    }
    from.saturating_sub(at)
}

/// Words below `from` that are any of these, and not one that is there without a reason.
#[inline(never)]
pub fn words_below(from: usize, words: &[u32]) -> usize {
    let mut found = 0;
    let mut at = &raw const __euninit as usize;
    while at < from {
        // SAFETY: as above; only reads.
        let word = unsafe { (at as *const u32).read_volatile() };
        found += usize::from(![0, u32::MAX, PAINT].contains(&word) && words.contains(&word));
        at += 4;
    }
    found
}

/// Bytes of the frames above `from`.
pub fn above(from: usize) -> usize {
    (&raw const _stack_start as usize).saturating_sub(from)
}
