//! What the link layer asks of a transceiver, whatever chip it is.

/// Monotonic microseconds; on Linux `CLOCK_MONOTONIC`, which is the clock of the kernel's edge events.
pub type Micros = u64;

/// Longest frame that any transceiver carries, bytes: the length is one byte.
pub const MAX_FRAME: usize = 255;

/// One transceiver as a state machine. It never waits: who owns it tells it of edges and of time, and asks when to come again.
///
/// What each cannot give, so that nobody counts on it ([`abilities`](Self::abilities)):
///
/// | | strength | LQI | frequency error | carrier sense | time of reception |
/// |---|---|---|---|---|---|
/// | CC1101 | yes | yes | yes | yes | edge of the kernel |
/// | SX126x in GFSK | yes | no | no in GFSK packets | yes, by RSSI | edge of the kernel |
/// | serial, transparent | no | no | no | no | when the port gave the last byte |
///
/// Without carrier sense [`send`](Self::send) with `listen` sends at once: the module does it by itself or not at all.
pub trait Transceiver {
    /// What this one can say.
    fn abilities(&self) -> Abilities;

    /// Puts one frame of 1 to [`Abilities::max_frame`] bytes on the air now. Ends in one [`Event::Sent`] or [`Event::Unsent`],
    /// unless it is refused. With `listen` it goes out only if the channel is free.
    ///
    /// # Errors
    /// [`Refusal`]: nothing was sent, and nothing else follows.
    fn send(&mut self, now: Micros, frame: &[u8], listen: bool) -> Result<(), Refusal>;

    /// As [`send`](Self::send), but the end of the frame is kept back until [`complete`](Self::complete), if the transceiver can do that.
    /// Whoever looks at a clock between the two knows that a frame which is whole on the air began before that look: what was not
    /// completed in time is broken by the chip itself.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    fn begin(&mut self, now: Micros, frame: &[u8], listen: bool) -> Result<(), Refusal>;

    /// The end of the frame that was [begun](Self::begin).
    fn complete(&mut self, now: Micros);

    /// Switches the receiver on or off; it is on at first. A transceiver that is off sends nothing either.
    fn listen(&mut self, now: Micros, on: bool);

    /// Listens on another frequency from now on. What is being received is lost; what is being sent is [`Failure::Aborted`].
    fn tune(&mut self, now: Micros, frequency_hz: u32);

    /// Whether somebody is on the channel at this moment; `None` while it cannot say.
    fn carrier(&mut self, now: Micros) -> Option<bool>;

    /// Stops what is being sent, which then ends as [`Failure::Aborted`], unless it is out already.
    fn abort(&mut self, now: Micros);

    /// How far a sender was off whom the link layer knows to be one of ours ([`Received::offset_hz`]).
    fn learn(&mut self, offset_hz: i32);

    /// An interrupt line changed, at this time. Edges are hints to look at the chip; one that is lost costs time only.
    fn handle_edge(&mut self, at: Micros, line: Line, high: bool);

    /// Time has come to [`poll_timeout`](Self::poll_timeout). Early is harmless.
    fn handle_timeout(&mut self, now: Micros);

    /// When it wants [`handle_timeout`](Self::handle_timeout).
    fn poll_timeout(&self) -> Micros;

    /// What happened.
    fn poll_event(&mut self) -> Option<Event>;

    /// What was counted since the start, in the words that all kinds share.
    fn tally(&self) -> Tally;
}

/// What every transceiver counts. Each driver has more in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Frames with a right checksum.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames with a wrong checksum.
    pub bad_crc: u64,
    /// What came and was no frame, or was lost on the way to us.
    pub malformed: u64,
    /// Ends of packets that no edge told: a line that is not where it is configured.
    pub missed_edges: u64,
    /// Resets, the first one too; of a serial module, how often its port was opened.
    pub resets: u64,
}

/// What a transceiver is, for words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A CC1101.
    Cc1101,
    /// An SX1261, SX1262 or SX1268.
    Sx126x,
    /// A module that passes bytes of a UART through.
    Serial,
}

impl Kind {
    /// As people say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cc1101 => "CC1101",
            Self::Sx126x => "SX126x",
            Self::Serial => "serial module",
        }
    }

    /// As `[subghz] chip` says it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Cc1101 => "cc1101",
            Self::Sx126x => "sx126x",
            Self::Serial => "serial",
        }
    }
}

/// What a transceiver can say of a frame and of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Longest frame, bytes.
    pub max_frame: u8,
    /// [`Received::rssi`] is given.
    pub rssi: bool,
    /// [`Received::lqi`] is given.
    pub lqi: bool,
    /// [`Received::offset_hz`] is given.
    pub offset: bool,
    /// It can listen before it sends.
    pub carrier_sense: bool,
    /// How much later than [`send`](Transceiver::send) the first bit may leave, at the most, microseconds. Who has a last moment to begin
    /// counts it in. 0 where it is a few microseconds.
    pub start_us: u32,
}

/// An interrupt line of a chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    /// High from the sync word to the end of the packet (CC1101: GDO0).
    Packet,
    /// A FIFO wants attention (CC1101: GDO2).
    Fifo,
    /// High from the end of a packet, in or out, until it is fetched (SX126x: DIO1).
    Done,
}

/// What a transceiver tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A frame with a right checksum.
    Received(Received),
    /// The last bit of the frame is out.
    Sent {
        /// When.
        at: Micros,
    },
    /// The frame did not go out, or not whole.
    Unsent(Failure),
    /// Its state changed.
    Health(Health),
}

/// One frame from the air.
#[derive(Clone, PartialEq, Eq)]
pub struct Received {
    /// 1 to [`MAX_FRAME`] bytes, as they were on the air.
    pub frame: Vec<u8>,
    /// dBm.
    pub rssi: Option<i16>,
    /// The chip's own measure; with a CC1101 0 to 127, lower is better.
    pub lqi: Option<u8>,
    /// How far the sender is above our own frequency, Hz.
    pub offset_hz: Option<i32>,
    /// When its last bit was received.
    pub at: Micros,
    /// `at` is an edge's time; otherwise when the frame was found, which is later.
    pub timed: bool,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { frame, rssi, at, .. } = self;
        write!(f, "Received({} bytes, {rssi:?} dBm, at {at})", frame.len())
    }
}

/// Why nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Empty, or longer than it carries.
    #[error("a frame of this length is not carried")]
    Length,
    /// A frame is being sent or received.
    #[error("it is sending or receiving")]
    Occupied,
    /// There is no chip, or it is being made ready.
    #[error("the transceiver is not ready")]
    NotReady,
}

/// Why a frame did not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Somebody else is on the air: come again later.
    #[error("the channel is busy")]
    Busy,
    /// We were too slow to give the chip the rest of it.
    #[error("the transmit FIFO ran empty")]
    Underflow,
    /// The chip never said that it was done.
    #[error("the transmission did not end in time")]
    Timeout,
    /// It was told to stop: receivers have a part, and drop it for its checksum.
    #[error("it was stopped")]
    Aborted,
    /// The chip was lost while it had the frame.
    #[error("the chip had to be reset")]
    Reset,
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// Nothing answers on the SPI, or what answers is no such chip.
    NoChip,
    /// What answers is of another kind.
    Other(Kind),
    /// Its oscillator does not start.
    Oscillator,
    /// A register does not hold what was written.
    Registers,
    /// The chip does not reach the state that it was ordered to.
    Stuck,
    /// Somebody is on the channel most of the time.
    Jammed,
    /// Nothing was heard for so long that the chip was reset to be sure; it goes on working.
    Silent,
}

/// The transceiver's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// It listens and can send.
    pub up: bool,
    /// The chip's version id, once it answered. Other ids than the maker's are clones, which work.
    pub version: Option<u8>,
    /// What is wrong, `up` or not.
    pub problem: Option<Problem>,
}

impl<T: Transceiver + ?Sized> Transceiver for Box<T> {
    fn abilities(&self) -> Abilities {
        (**self).abilities()
    }

    fn send(&mut self, now: Micros, frame: &[u8], listen: bool) -> Result<(), Refusal> {
        (**self).send(now, frame, listen)
    }

    fn begin(&mut self, now: Micros, frame: &[u8], listen: bool) -> Result<(), Refusal> {
        (**self).begin(now, frame, listen)
    }

    fn complete(&mut self, now: Micros) {
        (**self).complete(now);
    }

    fn listen(&mut self, now: Micros, on: bool) {
        (**self).listen(now, on);
    }

    fn tune(&mut self, now: Micros, frequency_hz: u32) {
        (**self).tune(now, frequency_hz);
    }

    fn carrier(&mut self, now: Micros) -> Option<bool> {
        (**self).carrier(now)
    }

    fn abort(&mut self, now: Micros) {
        (**self).abort(now);
    }

    fn learn(&mut self, offset_hz: i32) {
        (**self).learn(offset_hz);
    }

    fn handle_edge(&mut self, at: Micros, line: Line, high: bool) {
        (**self).handle_edge(at, line, high);
    }

    fn handle_timeout(&mut self, now: Micros) {
        (**self).handle_timeout(now);
    }

    fn poll_timeout(&self) -> Micros {
        (**self).poll_timeout()
    }

    fn poll_event(&mut self) -> Option<Event> {
        (**self).poll_event()
    }

    fn tally(&self) -> Tally {
        (**self).tally()
    }
}
