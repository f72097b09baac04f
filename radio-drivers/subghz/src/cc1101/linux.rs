//! The CC1101 on Linux: spidev, lines of a GPIO chip, one thread that owns them.
//!
//! The thread sleeps until an edge, a command or the driver's next look. Edges carry the kernel's time, so how late the thread is
//! does not matter to when a frame was received; it matters to frames longer than the FIFO. Only [`driver`](super::Cc1101) is
//! tested; what is here was compiled, and never opened a device.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use embedded_hal::spi::{ErrorKind, ErrorType, Operation, SpiDevice};
use gpiocdev::line::{EdgeDetection, EdgeKind, EventClock};
use spidev::{SpiModeFlags, Spidev, SpidevOptions, SpidevTransfer};

use super::{Cc1101, Config};
use crate::{Event, Line, Micros, Refusal, Transceiver};

/// How long a command may wait for the thread, which waits for edges meanwhile.
const COMMAND_LATENCY: Duration = Duration::from_millis(2);
/// Commands that wait.
const COMMANDS: usize = 16;

/// Where a module is wired.
#[derive(Debug, Clone)]
pub struct Wiring {
    /// `/dev/spidev0.0`.
    pub spi: PathBuf,
    /// Clock of the SPI, Hz: at most 6.5 MHz, which the chip takes for bursts.
    pub speed_hz: u32,
    /// `/dev/gpiochip0`.
    pub gpio: PathBuf,
    /// Offset of the line at GDO0.
    pub gdo0: u32,
    /// Offset of the line at GDO2, if it is wired.
    pub gdo2: Option<u32>,
}

/// Why a module cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The SPI device.
    #[error("{0}: {1}")]
    Spi(PathBuf, #[source] std::io::Error),
    /// The GPIO lines.
    #[error("{0}: {1}")]
    Gpio(PathBuf, #[source] gpiocdev::Error),
    /// No thread.
    #[error("no thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// What the thread is told.
#[derive(Debug)]
pub enum Command {
    /// [`Transceiver::send`].
    Send {
        /// 1 to [`Config::max_frame`] bytes.
        frame: Vec<u8>,
        /// Only into a free channel.
        listen: bool,
    },
    /// [`Cc1101::learn`].
    Learn(i32),
    /// [`Cc1101::reconfigure`].
    Reconfigure(Config),
}

/// What the thread tells.
#[derive(Debug)]
pub enum Report {
    /// From the driver.
    Event(Event),
    /// A [`Command::Send`] had no effect.
    Refused(Refusal),
}

/// A module and its thread, which ends when this is dropped.
pub struct Module {
    commands: Option<mpsc::SyncSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Module {
    /// Opens the devices and starts the thread; `report` is called on it and must not block.
    ///
    /// # Errors
    /// A device that is not there or not ours to open. A chip that is not there is [`Report::Event`]'s health.
    pub fn open(
        wiring: &Wiring,
        config: Config,
        silence_us: Micros,
        report: impl FnMut(Report) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let spi_error = |error| OpenError::Spi(wiring.spi.clone(), error);
        let mut spi = Spidev::open(&wiring.spi).map_err(spi_error)?;
        let mut options = SpidevOptions::new();
        options.bits_per_word(8).max_speed_hz(wiring.speed_hz).mode(SpiModeFlags::SPI_MODE_0);
        spi.configure(&options).map_err(spi_error)?;
        let mut builder = gpiocdev::Request::builder();
        builder.on_chip(&wiring.gpio).with_consumer("cardea-subghz").with_kernel_event_buffer_size(64);
        let lines: Vec<u32> = std::iter::once(wiring.gdo0).chain(wiring.gdo2).collect();
        for line in &lines {
            builder.with_line(*line).as_input().with_edge_detection(EdgeDetection::BothEdges);
            builder.with_event_clock(EventClock::Monotonic);
        }
        let request = builder.request().map_err(|error| OpenError::Gpio(wiring.gpio.clone(), error))?;
        let radio = Cc1101::new(SpidevChip(spi), config, now(), silence_us);
        let (commands, orders) = mpsc::sync_channel(COMMANDS);
        let gdo0 = wiring.gdo0;
        let thread = std::thread::Builder::new()
            .name("cc1101".into())
            .spawn(move || run(radio, &request, gdo0, &orders, report))
            .map_err(OpenError::Thread)?;
        Ok(Self { commands: Some(commands), thread: Some(thread) })
    }

    /// Hands a command over; false if too many wait already.
    #[must_use]
    pub fn command(&self, command: Command) -> bool {
        self.commands.as_ref().is_some_and(|commands| commands.try_send(command).is_ok())
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // It is awake within the latency of a command.
            let _ended = thread.join();
        }
    }
}

fn run(
    mut radio: Cc1101<SpidevChip>,
    request: &gpiocdev::Request,
    gdo0: u32,
    orders: &mpsc::Receiver<Command>,
    mut report: impl FnMut(Report),
) {
    loop {
        loop {
            match orders.try_recv() {
                Ok(Command::Send { frame, listen }) => {
                    if let Err(refusal) = radio.send(now(), &frame, listen) {
                        report(Report::Refused(refusal));
                    }
                }
                Ok(Command::Learn(offset_hz)) => radio.learn(offset_hz),
                Ok(Command::Reconfigure(config)) => radio.reconfigure(now(), config),
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
        let at = now();
        if radio.poll_timeout() <= at {
            radio.handle_timeout(at);
        }
        while let Some(event) = radio.poll_event() {
            report(Report::Event(event));
        }
        let next = Duration::from_micros(radio.poll_timeout().saturating_sub(now()));
        match request.wait_edge_event(next.min(COMMAND_LATENCY)) {
            Ok(true) => {
                if let Ok(edge) = request.read_edge_event() {
                    let line = if edge.offset == gdo0 { Line::Packet } else { Line::Fifo };
                    radio.handle_edge(edge.timestamp_ns / 1_000, line, edge.kind == EdgeKind::Rising);
                }
            }
            Ok(false) => {}
            // Lines that are gone: the driver does without edges.
            Err(_) => std::thread::sleep(next.min(COMMAND_LATENCY)),
        }
    }
}

/// `CLOCK_MONOTONIC`, the clock of the edges, microseconds.
fn now() -> Micros {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000).saturating_add(u64::try_from(time.tv_nsec / 1_000).unwrap_or_default())
}

/// spidev as an `embedded-hal` device; each transaction of the driver is one transfer in place.
struct SpidevChip(Spidev);

/// What spidev said.
#[derive(Debug)]
struct SpidevError;

impl embedded_hal::spi::Error for SpidevError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl ErrorType for SpidevChip {
    type Error = SpidevError;
}

impl SpiDevice for SpidevChip {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), SpidevError> {
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
                Operation::Transfer(..) | Operation::DelayNs(_) => return Err(SpidevError),
            });
        }
        self.0.transfer_multiple(&mut transfers).map_err(|_| SpidevError)
    }
}
