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
