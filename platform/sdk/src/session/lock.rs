//! What the core holds in memory of one lock.

use cardea_oscore::{Algorithm, Context, SenderSequence};

use super::{
    command::Pending, handshake::Handshake, limits::Limits, pins::Pins, revocation::Push, site::Told,
};
use crate::{ContextRecord, Error, LockRecord, Phase, Standing};

/// One lock.
pub(super) struct Lock {
    pub(super) record: LockRecord,
    pub(super) standing: Standing,
    /// Oldest first.
    /// Boxed: where a vector moves what it holds, keys stay behind.
    #[allow(clippy::vec_box)]
    pub(super) contexts: Vec<Box<Session>>,
    pub(super) handshakes: Vec<Handshake>,
    pub(super) limits: Limits,
    /// It did not know our `kid`: the next message_2 brings the certificate itself.
    pub(super) by_value: bool,
    pub(super) challenge: Option<Challenge>,
    /// Oldest first.
    pub(super) commands: Vec<Pending>,
    /// Commands that move the bolt and were sent since the start; repeats do not count.
    pub(super) bolt_commands: u32,
    /// The lock listens until then (monotonic), if it only does so after it has spoken.
    pub(super) awake_until: u64,
    pub(super) pins: Pins,
    pub(super) told: Told,
    /// The nonce of its last question for a release.
    pub(super) asked_release: Option<[u8; 8]>,
    /// No hint to make new keys before then (monotonic).
    pub(super) next_hint: u64,
    /// No log fetch of our own before then (monotonic).
    pub(super) next_fetch: u64,
    /// How far it is with the revocation list.
    pub(super) push: Push,
    /// Its entry in the core's timers.
    pub(super) timer: Option<u64>,
}

/// The lock's latest open challenge: returned as Echo, it makes a command fresh.
pub(super) struct Challenge {
    pub(super) value: [u8; 4],
    /// Row of the context it came by.
    pub(super) context: i64,
    /// Not worth using after this, monotonic.
    pub(super) until: u64,
}

impl Lock {
    pub(super) fn new(record: LockRecord) -> Self {
        Self {
            told: Told::new(record.lock),
            record,
            standing: Standing::default(),
            contexts: Vec::new(),
            handshakes: Vec::new(),
            limits: Limits::default(),
            by_value: false,
            challenge: None,
            commands: Vec::new(),
            bolt_commands: 0,
            awake_until: 0,
            pins: Pins::default(),
            asked_release: None,
            next_hint: 0,
            next_fetch: 0,
            push: Push::default(),
            timer: None,
        }
    }

    /// Place of the context that commands go out on: the active one, else the newest that the lock has not
    /// used yet (it may have; its first event may be on the way).
    pub(super) fn sending(&self) -> Option<usize> {
        let usable =
            |phase| self.contexts.iter().rposition(|s| s.record.phase == phase && !s.context.is_retired());
        usable(Phase::Active).or_else(|| usable(Phase::Unconfirmed))
    }

    /// Whether it is asked to change anything: neither fenced nor let go.
    pub(super) fn obeyed(&self) -> bool {
        self.standing.fenced.is_none() && self.standing.released.is_none()
    }

    /// What it may erase of its log. Nothing while it is fenced: what it holds is evidence, and under other numbers
    /// than ours.
    pub(super) fn told_cursor(&self) -> Option<u32> {
        self.record.cursor.filter(|_| self.standing.fenced.is_none())
    }

    pub(super) fn by_row(&mut self, row: i64) -> Option<&mut Session> {
        self.contexts.iter_mut().map(Box::as_mut).find(|s| s.record.id == row)
    }

    /// When a command of this lock, or its revocation list, needs a look.
    pub(super) fn due(&self) -> Option<u64> {
        let blocked = |place: usize, command: &Pending| {
            self.commands.iter().enumerate().any(|(other, c)| other != place && c.blocks(command))
        };
        let commands = self.commands.iter().enumerate().map(|(place, c)| c.due(blocked(place, c)));
        commands.chain(self.push.due()).chain(self.pins.timer).chain(self.told.timer).min()
    }
}

/// One OSCORE context, ready to use.
pub(super) struct Session {
    pub(super) record: ContextRecord,
    pub(super) context: Context,
    pub(super) sequence: SenderSequence,
    /// The version of our certificate that its handshake proved; not known after a restart.
    pub(super) certificate: Option<u32>,
}

/// Failed tags are written once for so many, ahead: a flood must not write once for each frame.
const TAG_BLOCK: u32 = 64;

impl Session {
    pub(super) fn restore(record: ContextRecord) -> Result<Self, Error> {
        let algorithm = Algorithm::from_number(record.algorithm).ok_or(Error::Crypto("unknown algorithm"))?;
        let context =
            Context::derive(algorithm, &record.secret, &record.salt, None, &record.own_id, &record.peer_id)
                .map_err(|_| Error::Crypto("a stored context cannot be derived"))?
                .with_failed_tags(record.failed_tags);
        let sequence = SenderSequence::new(record.reserved);
        Ok(Self { record, context, sequence, certificate: None })
    }

    /// True when the count of wrong tags ran past what is stored, which is then raised by a block.
    pub(super) fn tags_to_store(&mut self) -> bool {
        let failed = self.context.failed_tags();
        if failed <= self.record.failed_tags {
            return false;
        }
        self.record.failed_tags = failed.saturating_add(TAG_BLOCK);
        true
    }
}
