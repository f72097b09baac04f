//! spidev and lines of a GPIO chip. Edges carry the kernel's time, so how late the thread is does not matter to when a frame was
//! received. What is here was compiled, and never opened a device.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use embedded_hal::spi::Operation;
use gpiocdev::line::{EdgeDetection, EdgeKind, EventClock};
use spidev::{SpiModeFlags, Spidev, SpidevOptions, SpidevTransfer};

use super::{Edge, OpenError, SpiError};
use crate::Line;

/// spidev; each transaction of the driver is one transfer in place.
pub struct SpidevChip(Spidev);

pub(super) fn open(path: &Path, speed_hz: u32) -> Result<SpidevChip, OpenError> {
    let error = |error| OpenError::Spi(path.to_owned(), error);
    let mut spi = Spidev::open(path).map_err(error)?;
    let mut options = SpidevOptions::new();
    options.bits_per_word(8).max_speed_hz(speed_hz).mode(SpiModeFlags::SPI_MODE_0);
    spi.configure(&options).map_err(error)?;
    Ok(SpidevChip(spi))
}

impl SpidevChip {
    pub(super) fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), SpiError> {
        let mut transfers = Vec::with_capacity(operations.len());
        for operation in operations {
            transfers.push(match operation {
                Operation::Read(read) => SpidevTransfer::read(read),
                Operation::Write(write) => SpidevTransfer::write(write),
                Operation::TransferInPlace(bytes) => SpidevTransfer::read_write_in_place(bytes),
                Operation::Transfer(read, write) if read.len() == write.len() => {
                    SpidevTransfer::read_write(write, read)
                }
                // The driver has neither.
                Operation::Transfer(..) | Operation::DelayNs(_) => return Err(SpiError),
            });
        }
        self.0.transfer_multiple(&mut transfers).map_err(|_| SpiError)
    }
}

/// The line at GDO0.
pub(super) struct Gpio(gpiocdev::Request);

impl Gpio {
    pub(super) fn open(path: &Path, gdo0: u32) -> Result<Self, OpenError> {
        let mut builder = gpiocdev::Request::builder();
        builder.on_chip(path).with_consumer("cardea-subghz").with_kernel_event_buffer_size(64);
        builder.with_line(gdo0).as_input().with_edge_detection(EdgeDetection::BothEdges);
        builder.with_event_clock(EventClock::Monotonic);
        let request = builder.request().map_err(|error| OpenError::Gpio(path.to_owned(), gdo0, error))?;
        Ok(Self(request))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(super) fn edges(&mut self) -> io::Result<VecDeque<Edge>> {
        let mut edges = VecDeque::new();
        while self.0.has_edge_event().map_err(io::Error::other)? {
            let edge = self.0.read_edge_event().map_err(io::Error::other)?;
            let high = edge.kind == EdgeKind::Rising;
            edges.push_back(Edge { at: edge.timestamp_ns / 1_000, line: Line::Packet, high });
        }
        Ok(edges)
    }
}
