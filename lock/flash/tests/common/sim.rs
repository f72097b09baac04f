//! A NOR flash that loses power at any operation, in every way that flash does, and forbids what some parts forbid.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::rc::Rc;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

/// The panic payload of a power cut in the flash itself.
pub struct FlashCut;

/// What a power cut leaves of the operation that it interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tear {
    /// It had not begun.
    Old,
    /// It had just begun: reads as before, most of the time.
    Begun,
    /// The first units or bytes are done, the next one partly.
    Halfway,
    /// Units in any order: done, begun, not begun. A page program of serial NOR does that.
    Scattered,
    /// Of an erase: all zeros, as parts do that program before they erase. Of a program: as `Scattered`.
    Zeroed,
    /// All but done: reads as done, most of the time.
    Almost,
    /// It was done.
    New,
}

pub const TEARS: [Tear; 7] =
    [Tear::Old, Tear::Begun, Tear::Halfway, Tear::Scattered, Tear::Zeroed, Tear::Almost, Tear::New];

#[derive(Clone)]
pub struct Chip {
    pub cells: Vec<u8>,
    /// Bits that read one way or the other.
    pub weak: Vec<u8>,
    /// Units programmed since the last erase.
    programmed: Vec<bool>,
    pub erases: Vec<u32>,
    /// Programs and erases so far.
    pub ops: usize,
    pub bytes_read: usize,
    pub bytes_programmed: usize,
    cut: Option<(usize, Tear)>,
    /// Fails, or does nothing and says it did, from this operation on.
    pub broken: Option<(usize, bool)>,
    unit: usize,
    page: usize,
    random: u64,
    /// Of this power cycle; weak bits may keep to it or not.
    cycle: u64,
    fickle: bool,
}

impl Chip {
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn read(&mut self, at: usize) -> u8 {
        self.bytes_read += 1;
        let (cell, weak) = (self.cells[at], self.weak[at]);
        if weak == 0 {
            return cell;
        }
        let noise = if self.fickle {
            self.random()
        } else {
            (self.cycle ^ at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 23
        };
        // One weak byte in four reads as it was not.
        if noise & 0x300 == 0 { cell ^ (weak & noise as u8) } else { cell }
    }

    fn cut_here(&mut self) -> Option<Tear> {
        let tear = self.cut.filter(|&(at, _)| at == self.ops).map(|(_, tear)| tear);
        self.ops += 1;
        if tear.is_some() {
            self.cut = None;
        }
        tear
    }

    /// What becomes of the byte at `at`, whose final value is `new`, when the operation stops after `share` quarters.
    fn stop(&mut self, at: usize, new: u8, share: u8) {
        let old = self.cells[at];
        match share {
            0 => {}
            1 => self.weak[at] |= old ^ new,
            2 => {
                let some = self.random() as u8;
                self.cells[at] = (old & !some) | (new & some);
                self.weak[at] |= old ^ new;
            }
            3 => {
                self.cells[at] = new;
                self.weak[at] |= old ^ new;
            }
            _ => {
                self.cells[at] = new;
                self.weak[at] = 0;
            }
        }
    }

    fn torn(&mut self, tear: Tear, from: usize, to: usize, new: impl Fn(usize) -> u8) {
        let (len, step) = (to - from, self.unit.max(4));
        let stopped = self.random() as usize % len;
        let mut share_of_unit = 0;
        for at in from..to {
            if (at - from).is_multiple_of(step) {
                share_of_unit = (self.random() % 5) as u8;
            }
            let share = match tear {
                Tear::Old => 0,
                Tear::Begun => 1,
                Tear::Halfway if at - from < stopped / step * step => 4,
                Tear::Halfway if at - from < (stopped / step + 1) * step => 2,
                Tear::Halfway => 0,
                Tear::Scattered | Tear::Zeroed => share_of_unit,
                Tear::Almost => 3,
                Tear::New => 4,
            };
            self.stop(at, new(at), share);
            if share > 0 {
                self.programmed[at / self.unit] = true;
            }
        }
    }

    /// Where these bytes stand.
    pub fn find(&self, needle: &[u8]) -> Option<usize> {
        self.cells.windows(needle.len()).position(|window| window == needle)
    }
}

/// A handle on a chip with units of `W` bytes and pages of `P`.
#[derive(Clone)]
pub struct Sim<const W: usize, const P: usize>(pub Rc<RefCell<Chip>>);

impl<const W: usize, const P: usize> Sim<W, P> {
    pub fn new(pages: usize, seed: u64) -> Self {
        let chip = Chip {
            cells: vec![0xff; pages * P],
            weak: vec![0; pages * P],
            programmed: vec![false; pages * P / W],
            erases: vec![0; pages],
            ops: 0,
            bytes_read: 0,
            bytes_programmed: 0,
            cut: None,
            broken: None,
            unit: W,
            page: P,
            random: seed,
            cycle: seed,
            fickle: false,
        };
        Self(Rc::new(RefCell::new(chip)))
    }

    pub fn region(&self) -> std::ops::Range<u32> {
        0..self.0.borrow().cells.len() as u32
    }

    /// The power goes at the `n`th operation from now.
    pub fn cut_at(&self, n: usize, tear: Tear) {
        let mut chip = self.0.borrow_mut();
        chip.cut = Some((chip.ops + n, tear));
    }

    /// Power on: weak bits may have made up their minds differently.
    pub fn power_on(&self, seed: u64) {
        let mut chip = self.0.borrow_mut();
        chip.cut = None;
        chip.random ^= seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        chip.cycle = chip.random();
        chip.fickle = seed.is_multiple_of(2);
    }

    pub fn chip(&self) -> Chip {
        self.0.borrow().clone()
    }

    /// A chip of its own that is like this one now.
    pub fn copy(&self) -> Self {
        Self(Rc::new(RefCell::new(self.chip())))
    }
}

impl<const W: usize, const P: usize> ErrorType for Sim<W, P> {
    type Error = NorFlashErrorKind;
}

impl<const W: usize, const P: usize> ReadNorFlash for Sim<W, P> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        let mut chip = self.0.borrow_mut();
        for (at, byte) in (offset as usize..).zip(bytes) {
            *byte = chip.read(at);
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.borrow().cells.len()
    }
}

impl<const W: usize, const P: usize> NorFlash for Sim<W, P> {
    const WRITE_SIZE: usize = W;
    const ERASE_SIZE: usize = P;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        let (from, to) = (from as usize, to as usize);
        assert!(from.is_multiple_of(P) && to == from + P, "one page");
        let mut chip = self.0.borrow_mut();
        let tear = chip.cut_here();
        chip.erases[from / P] += 1;
        if let Some((_, silent)) = chip.broken.filter(|&(at, _)| chip.ops > at) {
            return if silent { Ok(()) } else { Err(NorFlashErrorKind::Other) };
        }
        let tear_of = tear.unwrap_or(Tear::New);
        let zeroed = tear_of == Tear::Zeroed;
        chip.torn(if zeroed { Tear::Almost } else { tear_of }, from, to, |_| if zeroed { 0 } else { 0xff });
        if tear_of == Tear::New {
            let units = from / W..to / W;
            chip.programmed[units].fill(false);
        }
        drop(chip);
        if tear.is_some() {
            resume_unwind(Box::new(FlashCut));
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        let at = offset as usize;
        assert!(at.is_multiple_of(W) && bytes.len().is_multiple_of(W) && !bytes.is_empty(), "whole units");
        let mut chip = self.0.borrow_mut();
        for (n, unit) in bytes.chunks(W).enumerate() {
            let here = at + n * W;
            // Zeros over what a cut left in doubt are certain, and all that is allowed there.
            let doubtful = chip.weak[here..here + W].iter().any(|&weak| weak != 0)
                && chip.cells[here..here + W].iter().all(|&cell| cell == 0xff);
            let zeros = unit.iter().all(|&byte| byte == 0);
            assert!(
                !chip.programmed[here / W] || doubtful && zeros,
                "a unit was programmed twice, at {here}"
            );
        }
        let tear = chip.cut_here();
        chip.bytes_programmed += bytes.len();
        if let Some((_, silent)) = chip.broken.filter(|&(at, _)| chip.ops > at) {
            return if silent { Ok(()) } else { Err(NorFlashErrorKind::Other) };
        }
        let new: Vec<u8> = bytes.to_vec();
        let old: Vec<u8> = chip.cells[at..at + bytes.len()].to_vec();
        chip.torn(tear.unwrap_or(Tear::New), at, at + bytes.len(), |here| old[here - at] & new[here - at]);
        drop(chip);
        if tear.is_some() {
            resume_unwind(Box::new(FlashCut));
        }
        Ok(())
    }
}
