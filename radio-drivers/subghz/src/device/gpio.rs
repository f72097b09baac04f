//! Lines of a GPIO chip. Edges carry the kernel's time, so how late the thread is does not matter to when a frame was received.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use embedded_hal::digital::{ErrorType, InputPin, OutputPin};
use gpiocdev::line::{EdgeDetection, EdgeKind, EventClock, Value};

use super::{BusError, Edge, Lines, OpenError, wait};
use crate::Line;

/// The name under which `gpioinfo` shows our lines.
const CONSUMER: &str = "cardea-subghz";

/// An input whose edges are told.
pub(super) struct Edges {
    request: gpiocdev::Request,
    line: Line,
}

impl Edges {
    pub(super) fn open(chip: &Path, offset: u32, line: Line) -> Result<Self, OpenError> {
        let mut builder = gpiocdev::Request::builder();
        builder.on_chip(chip).with_consumer(CONSUMER).with_kernel_event_buffer_size(64);
        builder.with_line(offset).as_input().with_edge_detection(EdgeDetection::BothEdges);
        builder.with_event_clock(EventClock::Monotonic);
        let request = builder.request().map_err(|error| OpenError::Gpio(chip.to_owned(), offset, error))?;
        Ok(Self { request, line })
    }
}

impl Lines for Edges {
    fn wait(&self, wake: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        wait([self.request.as_fd(), wake], timeout)
    }

    fn edges(&mut self) -> io::Result<VecDeque<Edge>> {
        let mut edges = VecDeque::new();
        while self.request.has_edge_event().map_err(io::Error::other)? {
            let edge = self.request.read_edge_event().map_err(io::Error::other)?;
            let high = edge.kind == EdgeKind::Rising;
            edges.push_back(Edge { at: edge.timestamp_ns / 1_000, line: self.line, high });
        }
        Ok(edges)
    }
}

/// An input that is looked at.
pub(super) struct Input {
    request: gpiocdev::Request,
    offset: u32,
}

impl Input {
    pub(super) fn open(chip: &Path, offset: u32) -> Result<Self, OpenError> {
        let mut builder = gpiocdev::Request::builder();
        builder.on_chip(chip).with_consumer(CONSUMER).with_line(offset).as_input();
        let request = builder.request().map_err(|error| OpenError::Gpio(chip.to_owned(), offset, error))?;
        Ok(Self { request, offset })
    }
}

impl ErrorType for Input {
    type Error = BusError;
}

impl InputPin for Input {
    fn is_high(&mut self) -> Result<bool, BusError> {
        Ok(self.request.value(self.offset).map_err(|_| BusError)? == Value::Active)
    }

    fn is_low(&mut self) -> Result<bool, BusError> {
        self.is_high().map(|high| !high)
    }
}

/// An output, high at first.
pub(super) struct Output {
    request: gpiocdev::Request,
    offset: u32,
}

impl Output {
    pub(super) fn open(chip: &Path, offset: u32) -> Result<Self, OpenError> {
        let mut builder = gpiocdev::Request::builder();
        builder.on_chip(chip).with_consumer(CONSUMER).with_line(offset).as_output(Value::Active);
        let request = builder.request().map_err(|error| OpenError::Gpio(chip.to_owned(), offset, error))?;
        Ok(Self { request, offset })
    }

    fn set(&mut self, value: Value) -> Result<(), BusError> {
        self.request.set_value(self.offset, value).map_err(|_| BusError)?;
        Ok(())
    }
}

impl ErrorType for Output {
    type Error = BusError;
}

impl OutputPin for Output {
    fn set_low(&mut self) -> Result<(), BusError> {
        self.set(Value::Inactive)
    }

    fn set_high(&mut self) -> Result<(), BusError> {
        self.set(Value::Active)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// A chip of the kernel's `gpio-sim` with four lines, gone when dropped.
    struct Simulated {
        device: PathBuf,
        chip: PathBuf,
        lines: PathBuf,
    }

    impl Simulated {
        /// Needs root, the module and configfs.
        fn new(name: &str) -> Option<Self> {
            let root = Path::new("/sys/kernel/config/gpio-sim");
            if !root.is_dir() {
                return None;
            }
            let device = root.join(name);
            let bank = device.join("bank0");
            std::fs::create_dir_all(&bank).unwrap();
            std::fs::write(bank.join("num_lines"), "4").unwrap();
            std::fs::write(device.join("live"), "1").unwrap();
            let read = |file: PathBuf| std::fs::read_to_string(file).unwrap().trim().to_owned();
            let chip = read(bank.join("chip_name"));
            let lines = Path::new("/sys/devices/platform").join(read(device.join("dev_name"))).join(&chip);
            Some(Self { device, chip: Path::new("/dev").join(chip), lines })
        }

        fn pull(&self, line: u32, up: bool) {
            let pull = self.lines.join(format!("sim_gpio{line}/pull"));
            std::fs::write(pull, if up { "pull-up" } else { "pull-down" }).unwrap();
        }

        fn level(&self, line: u32) -> String {
            std::fs::read_to_string(self.lines.join(format!("sim_gpio{line}/value")))
                .unwrap()
                .trim()
                .to_owned()
        }
    }

    impl Drop for Simulated {
        fn drop(&mut self) {
            let _ = std::fs::write(self.device.join("live"), "0");
            let _ = std::fs::remove_dir(self.device.join("bank0"));
            let _ = std::fs::remove_dir(&self.device);
        }
    }

    #[test]
    #[allow(clippy::print_stdout, reason = "a test that did not run must not look like one that passed")]
    fn lines_of_the_kernels_simulated_chip_have_the_levels_that_they_should() {
        let Some(simulated) = Simulated::new("cardea-subghz-test") else {
            println!("skipped: this kernel has no gpio-sim, or it is not loaded");
            return;
        };
        let mut nreset = Output::open(&simulated.chip, 0).unwrap();
        assert_eq!(simulated.level(0), "1", "a chip that is opened is not held in reset");
        nreset.set_low().unwrap();
        assert_eq!(simulated.level(0), "0");
        nreset.set_high().unwrap();
        assert_eq!(simulated.level(0), "1");
        simulated.pull(1, true);
        let mut busy = Input::open(&simulated.chip, 1).unwrap();
        assert!(busy.is_high().unwrap());
        simulated.pull(1, false);
        assert!(busy.is_low().unwrap());
        simulated.pull(2, false);
        let mut dio1 = Edges::open(&simulated.chip, 2, Line::Done).unwrap();
        let before = super::super::now();
        simulated.pull(2, true);
        let edges = dio1.edges().unwrap();
        assert_eq!(edges.len(), 1, "{edges:?}");
        assert!(edges[0].high && edges[0].line == Line::Done);
        assert!((before..=super::super::now()).contains(&edges[0].at), "the kernel's clock is ours");
        assert!(Input::open(&simulated.chip, 2).is_err(), "a line is one's own");
    }

    #[test]
    fn a_chip_that_is_not_there_is_named_with_the_line() {
        let Err(error) = Output::open(Path::new("/dev/gpiochip-none"), 23) else { panic!("it is there") };
        assert!(error.to_string().starts_with("/dev/gpiochip-none, line 23: "), "{error}");
    }
}
