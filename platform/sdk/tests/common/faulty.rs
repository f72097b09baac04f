//! A state that fails when it is told to, at any of its steps.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering::SeqCst},
};

use cardea_framing::LockId;
use cardea_sdk::{
    AuthorityRow, Before, CommandRow, ContextRecord, Error, GrantRow, GrantState, KnownListRow, ListRow,
    LockRecord, LogGap, LogRow, Noted, PinBook, PinRow, PinStore, RevokedRow, SeenRow, SiteRow, SiteStore,
    SqliteState, Standing, StandingStore, State, Stored, Taken,
};

/// What is to fail; shared with the test.
#[derive(Clone)]
pub struct Faults {
    settle: Arc<AtomicBool>,
    steps: Arc<AtomicI64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { settle: Arc::default(), steps: Arc::new(AtomicI64::new(i64::MAX)) }
    }
}

impl Faults {
    /// From now on, or no longer, the fence cannot be written.
    pub fn settle(&self, fails: bool) {
        self.settle.store(fails, SeqCst);
    }

    /// The step that comes after this many others fails, once.
    pub fn step(&self, after: i64) {
        self.steps.store(after, SeqCst);
    }

    /// Whether that step has come.
    pub fn met(&self) -> bool {
        self.steps.load(SeqCst) < 0
    }

    fn check(&self) -> Result<(), Error> {
        if self.steps.fetch_sub(1, SeqCst) == 0 { Err(Error::State("told to fail".into())) } else { Ok(()) }
    }
}

pub struct Faulty {
    pub inner: SqliteState,
    pub faults: Faults,
}

macro_rules! pass {
    ($(fn $name:ident(&mut self $(, $arg:ident: $kind:ty)*) -> $out:ty;)*) => {
        $(fn $name(&mut self $(, $arg: $kind)*) -> Result<$out, Error> {
            self.faults.check()?;
            self.inner.$name($($arg),*)
        })*
    };
}

impl State for Faulty {
    fn settle(&mut self) -> Result<(), Error> {
        self.faults.check()?;
        if self.faults.settle.load(SeqCst) {
            return Err(Error::State("state.fence cannot be written: told to fail".into()));
        }
        self.inner.settle()
    }

    /// Gives up what a failed step left open; a database does so at the latest when its process ends.
    fn rollback(&mut self) -> Result<(), Error> {
        self.inner.rollback()
    }

    pass! {
        fn begin(&mut self) -> ();
        fn commit(&mut self) -> ();
        fn locks(&mut self) -> Vec<LockRecord>;
        fn put_lock(&mut self, lock: &LockRecord) -> ();
        fn contexts(&mut self) -> Vec<ContextRecord>;
        fn add_context(&mut self, context: &ContextRecord) -> i64;
        fn update_context(&mut self, context: &ContextRecord) -> ();
        fn remove_context(&mut self, id: i64) -> ();
        fn remember(&mut self, context: i64, piv: u64) -> bool;
        fn remembers(&mut self, context: i64, piv: u64) -> bool;
        fn add_log(&mut self, lock: LockId, row: &LogRow) -> Stored;
        fn forks(&mut self, lock: LockId) -> Vec<LogRow>;
        fn has_log(&mut self, lock: LockId, activation: u32, index: u32) -> bool;
        fn log(&mut self, lock: LockId, limit: u32) -> Vec<LogRow>;
        fn put_command(&mut self, command: &CommandRow) -> ();
        fn open_commands(&mut self) -> Vec<CommandRow>;
        fn seen(&mut self, gateway: &str, lock: LockId) -> Option<SeenRow>;
        fn put_seen(&mut self, gateway: &str, lock: LockId, seen: &SeenRow) -> ();
        fn note_ahead(&mut self, gateway: &str, lock: LockId, epoch: [u8; 8], seq: u64) -> Noted;
        fn take_ahead(&mut self, gateway: &str, lock: LockId, epoch: [u8; 8], seq: u64) -> Taken;
        fn discard_contexts(&mut self) -> u64;
        fn prune(&mut self, before: Before) -> ();
    }
}

impl GrantState for Faulty {
    pass! {
        fn add_grant(&mut self, grant: &GrantRow) -> bool;
        fn grant(&mut self, id: [u8; 8]) -> Option<GrantRow>;
        fn grants(&mut self, lock: Option<LockId>) -> Vec<GrantRow>;
        fn grant_name(&mut self, lock: LockId, tag: u32) -> Option<String>;
        fn prune_grants(&mut self, expired: u32) -> ();
        fn list(&mut self) -> ListRow;
        fn revoked(&mut self) -> Vec<RevokedRow>;
        fn put_list(&mut self, list: &ListRow, revoked: &[RevokedRow]) -> ();
        fn doubt_list(&mut self) -> ();
        fn known_lists(&mut self) -> Vec<KnownListRow>;
        fn put_known_list(&mut self, known: &KnownListRow) -> ();
    }
}

impl PinStore for Faulty {
    pass! {
        fn pins(&mut self, lock: LockId) -> Vec<PinRow>;
        fn put_pin(&mut self, lock: LockId, row: &PinRow) -> ();
        fn remove_pin(&mut self, lock: LockId, slot: u8) -> ();
        fn pin_book(&mut self, lock: LockId) -> PinBook;
        fn put_pin_book(&mut self, lock: LockId, book: &PinBook) -> ();
        fn pins_waiting(&mut self) -> Vec<LockId>;
    }
}

impl SiteStore for Faulty {
    pass! {
        fn lock_sites(&mut self) -> Vec<SiteRow>;
        fn put_lock_site(&mut self, row: &SiteRow) -> ();
        fn authorities(&mut self) -> Vec<AuthorityRow>;
        fn put_authority(&mut self, row: &AuthorityRow) -> ();
    }
}

impl StandingStore for Faulty {
    pass! {
        fn standings(&mut self) -> Vec<(LockId, Standing)>;
        fn put_standing(&mut self, lock: LockId, standing: &Standing) -> ();
        fn next_log(&mut self, lock: LockId, activation: u32, from: u32) -> Option<u32>;
        fn add_log_gap(&mut self, lock: LockId, gap: &LogGap) -> ();
        fn log_gaps(&mut self, lock: LockId) -> Vec<LogGap>;
        fn discard_contexts_of(&mut self, lock: LockId) -> ();
    }
}
