//! The types and numbers of the ABI, under the names they have in the header. What is said here stands there.
#![allow(non_camel_case_types)] // these are C names

use core::ffi::c_void;

/// Version of this ABI. It rises when something that exists changes; additions leave it alone.
pub const CARDEA_ABI_VERSION: u32 = 1;

/// Bytes of memory that an agent needs at most, on any machine. `cardea_agent_size()` says how many it really takes.
pub const CARDEA_AGENT_SIZE: usize = 10240;
/// Alignment of that memory.
pub const CARDEA_AGENT_ALIGN: usize = 8;

/// Records that storage must have room for, numbered from 0.
pub const CARDEA_SLOT_COUNT: u32 = 130;
/// Bytes of the largest record.
pub const CARDEA_RECORD_MAX: usize = 384;
/// What `cardea_storage.read` returns for a record that is there and damaged.
pub const CARDEA_RECORD_DAMAGED: i32 = -1_000_000;
/// Longest frame that is taken from, or given to, a radio.
pub const CARDEA_FRAME_MAX: usize = 1024;
/// Shortest `mtu`: a receipt for 64 fragments, and some air.
pub const CARDEA_MTU_MIN: usize = 16;

/// Bytes of an owner code.
pub const CARDEA_OWNER_CODE_LEN: usize = 16;
/// Characters of an owner code on the label, with the terminating zero.
pub const CARDEA_OWNER_CODE_TEXT: usize = 35;
/// Bytes of a public key: 0x04, then x and y, big-endian (SEC 1, uncompressed).
pub const CARDEA_PUBLIC_KEY_LEN: usize = 65;
/// Most digits of a PIN, and least.
pub const CARDEA_PIN_MAX: usize = 10;
/// See `CARDEA_PIN_MAX`.
pub const CARDEA_PIN_MIN: usize = 4;
/// Bytes of the nonce that an owner reset draws.
pub const CARDEA_RESET_NONCE_LEN: usize = 8;
/// The last site address that a lock or a phone can have; the first is 1.
pub const CARDEA_SITE_ADDRESS_MAX: u32 = 0xFFEF;
/// Bytes of the two private scalars of `cardea_soft_keys`.
pub const CARDEA_SOFT_KEYS_LEN: usize = 64;

/// The bolt moves to where it holds the door.
pub const CARDEA_OP_LOCK: u8 = 0;
/// The bolt moves to where it lets the door go.
pub const CARDEA_OP_UNLOCK: u8 = 1;

/// The bolt holds the door.
pub const CARDEA_BOLT_LOCKED: i32 = 0;
/// The bolt lets the door go.
pub const CARDEA_BOLT_UNLOCKED: i32 = 1;
/// The bolt stands between the two.
pub const CARDEA_BOLT_JAMMED: i32 = 2;
/// The sensor does not say.
pub const CARDEA_BOLT_UNKNOWN: i32 = 3;

/// The door is in its frame.
pub const CARDEA_DOOR_CLOSED: u32 = 0;
/// The door is not in its frame.
pub const CARDEA_DOOR_OPEN: u32 = 1;
/// The door is open for longer than it should be; an alarm. The firmware decides when.
pub const CARDEA_DOOR_AJAR: u32 = 2;

/// In `cardea_features()`: sessions with holders of grants. Without it their frames are dropped and counted.
pub const CARDEA_FEATURE_PEERS: u32 = 1;
/// In `cardea_features()`: PIN slots and the pad. Without it `cardea_agent_enter_pin` answers `CARDEA_ERR_UNSUPPORTED`.
pub const CARDEA_FEATURE_PINS: u32 = 2;

/// What a function answers: 0 or more is fine, less is an error and nothing was done. Newer libraries may have more.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum cardea_status {
    /// Done.
    CARDEA_OK = 0,
    /// Done, and there is nothing: no frame, no timer, no event, no owner, no time.
    CARDEA_NOTHING = 1,
    /// A pointer that must not be NULL is.
    CARDEA_ERR_NULL = -1,
    /// A length, a value or a callback that is missing.
    CARDEA_ERR_ARGUMENT = -2,
    /// The memory for the agent is too small or not aligned.
    CARDEA_ERR_MEMORY = -3,
    /// There is no agent in that memory: never booted, shut down, moved, or overwritten.
    CARDEA_ERR_NOT_BOOTED = -4,
    /// There is an agent in that memory already.
    CARDEA_ERR_BOOTED = -5,
    /// The agent is in a call: this one came from a callback, or from another thread.
    CARDEA_ERR_BUSY = -6,
    /// A struct is smaller than ever was, or asks for what this library does not know.
    CARDEA_ERR_VERSION = -7,
    /// Storage failed, or has fewer slots than this library needs.
    CARDEA_ERR_STORAGE = -8,
    /// A record makes no sense, or the keys are not those that the lock was made with.
    CARDEA_ERR_DAMAGED = -9,
    /// A key refused, its public half is no P-256 point, or it signed something else.
    CARDEA_ERR_KEY = -10,
    /// The random source failed.
    CARDEA_ERR_RANDOM = -11,
    /// A fault of this library. The agent answers nothing any more; shut it down, then reset the lock.
    CARDEA_ERR_PANIC = -12,
    /// This library was built without that part; see `cardea_features()`.
    CARDEA_ERR_UNSUPPORTED = -13,
    /// The lock has no owner to be released from.
    CARDEA_ERR_NO_OWNER = -14,
    /// The door is closed, or nobody has said since boot how it stands.
    CARDEA_ERR_DOOR_NOT_OPEN = -15,
}

/// What happened, in `cardea_event`. Newer libraries may have more.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum cardea_event_kind {
    /// Nothing this version has a name for.
    CARDEA_EVENT_OTHER = 0,
    /// The lock has an owner now; `root` says which.
    CARDEA_EVENT_ACTIVATED = 1,
    /// A new context with the platform.
    CARDEA_EVENT_CONNECTED = 2,
    /// A handshake ended without one; `code` is a `cardea_handshake_failure`. The agent tries again by itself.
    CARDEA_EVENT_HANDSHAKE_FAILED = 3,
    /// A command was carried out, or failed at the motor: `command`, `op`, and `code` is the outcome of
    /// docs/protocol.md (0 done, 1 failed).
    CARDEA_EVENT_COMMAND = 4,
    /// Make noise or light; `code` is a `cardea_alarm`.
    CARDEA_EVENT_ALARM = 5,
    /// Storage failed; what needed it was not done.
    CARDEA_EVENT_STORAGE_FAILED = 6,
    /// The random source failed; what needed it was not done.
    CARDEA_EVENT_RANDOM_FAILED = 7,
    /// An owner reset: the lock has no owner any more, and what the owner put there is erased. `code` is 1 where one
    /// owner root alone may activate it next, `root` is its thumbprint then; else both are 0.
    CARDEA_EVENT_RELEASED = 8,
    /// A revocation list of the platform is in force; `epoch` says which.
    CARDEA_EVENT_REVOCATIONS = 9,
    /// The site's authority says that a key belongs to the site, as `cardea_agent_ask_membership` had asked: `address`,
    /// `key` and `expires`. No right follows from it.
    CARDEA_EVENT_MEMBER = 10,
}

/// Why a handshake ended without a context.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum cardea_handshake_failure {
    /// Nothing this version has a name for.
    CARDEA_HANDSHAKE_OTHER = 0,
    /// Nothing came in time, or the radio could not deliver.
    CARDEA_HANDSHAKE_SILENCE = 1,
    /// The platform does not know this lock, or the owner code is wrong.
    CARDEA_HANDSHAKE_REFUSED = 2,
    /// A message was malformed or did not authenticate.
    CARDEA_HANDSHAKE_PROTOCOL = 3,
    /// The platform's credential is not under the pinned root, older than the pinned one, or of an unknown kind.
    CARDEA_HANDSHAKE_CREDENTIAL = 4,
    /// The platform did not prove the owner code.
    CARDEA_HANDSHAKE_WRONG_CODE = 5,
    /// Storage, a key or the random source of the lock failed.
    CARDEA_HANDSHAKE_INTERNAL = 6,
}

/// Why the lock should make noise or light.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum cardea_alarm {
    /// Nothing this version has a name for.
    CARDEA_ALARM_OTHER = 0,
    /// Five wrong handshakes in five minutes: further ones are refused for 90 s.
    CARDEA_ALARM_TOO_MANY_WRONG = 1,
    /// A context was given up: too many failed tags, or its sequence numbers are used up.
    CARDEA_ALARM_CONTEXT_RETIRED = 2,
    /// Five wrong PINs in five minutes: the PIN pad is closed for 90 s. Everything else goes on.
    CARDEA_ALARM_PIN_PAD_CLOSED = 3,
}

/// What came of a PIN. Says nothing about duress, so that no firmware can show it.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum cardea_pin_result {
    /// No slot has this PIN, or not at this time.
    CARDEA_PIN_WRONG = 0,
    /// The bolt is withdrawn.
    CARDEA_PIN_UNLOCKED = 1,
    /// The PIN was right, and the bolt did not arrive.
    CARDEA_PIN_JAMMED = 2,
    /// The pad is closed; nothing was looked at.
    CARDEA_PIN_REFUSED = 3,
}

/// An agent: opaque, in memory of yours (`cardea_agent_memory`).
pub struct cardea_agent {
    _opaque: [u8; 0],
}

/// Non-volatile memory of small records, numbered 0 to `slots - 1`.
///
/// `write` and `erase` are atomic and durable when they return: after a power cut at any moment a slot reads as the
/// old record or the new one. That takes a checksum and two copies of each slot, or a flash file system that logs. It
/// must never be restored from a backup: sequence numbers would repeat.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cardea_storage {
    /// `sizeof(cardea_storage)`.
    pub size: usize,
    /// Handed to the callbacks as it is.
    pub ctx: *mut c_void,
    /// Copies the record of `slot` to the front of `out`, which has room for `capacity` bytes, and returns its length;
    /// 0 where the slot is empty; `CARDEA_RECORD_DAMAGED` where its newest record fails its check (never an older one in
    /// its place): the lock then does without it, if it can; anything else below 0 where the medium failed or the record
    /// does not fit.
    pub read: Option<unsafe extern "C" fn(ctx: *mut c_void, slot: u32, out: *mut u8, capacity: usize) -> i32>,
    /// Replaces the record; `length` is at least 1. What the slot held before must not stay behind in the medium where
    /// `cardea_slot_is_secret` says so, as far as the medium allows. Returns 0, or less where the medium failed.
    pub write:
        Option<unsafe extern "C" fn(ctx: *mut c_void, slot: u32, record: *const u8, length: usize) -> i32>,
    /// Empties the slot and overwrites what it held, as far as the medium allows. Returns 0, or less where it failed.
    pub erase: Option<unsafe extern "C" fn(ctx: *mut c_void, slot: u32) -> i32>,
    /// How many slots there are: `CARDEA_SLOT_COUNT`. A library that needs more refuses to boot.
    pub slots: u32,
    /// Empties these `count` slots, as `erase` does, each or all at once: a power cut may leave some of them. For media
    /// that have something better than one after the other, such as a flash that moves what stays and erases the rest;
    /// an owner reset calls it. Returns 0, or less where the medium failed. NULL: `erase` is called for each.
    pub erase_all: Option<unsafe extern "C" fn(ctx: *mut c_void, slots: *const u32, count: usize) -> i32>,
}

/// The lock's two P-256 keys: in a secure element, or `cardea_soft_keys`.
///
/// The private halves must be those of the first boot, for life. All four callbacks return 0, or less where the
/// key's holder refuses or is gone.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cardea_keys {
    /// `sizeof(cardea_keys)`.
    pub size: usize,
    /// Handed to the callbacks as it is.
    pub ctx: *mut c_void,
    /// The public half of the identity key: `CARDEA_PUBLIC_KEY_LEN` bytes.
    pub identity_public: Option<unsafe extern "C" fn(ctx: *mut c_void, public_key: *mut u8) -> i32>,
    /// ECDSA by the identity key over a SHA-256 digest of 32 bytes; the signature is r, then s, 32 bytes each. Called
    /// once in the lock's life.
    pub identity_sign:
        Option<unsafe extern "C" fn(ctx: *mut c_void, digest: *const u8, signature: *mut u8) -> i32>,
    /// The public half of the Diffie-Hellman key: `CARDEA_PUBLIC_KEY_LEN` bytes.
    pub dh_public: Option<unsafe extern "C" fn(ctx: *mut c_void, public_key: *mut u8) -> i32>,
    /// ECDH with `peer`, a public key of `CARDEA_PUBLIC_KEY_LEN` bytes that is on the curve; `shared` is the x
    /// coordinate, 32 bytes. Called once a handshake.
    pub dh_agree: Option<unsafe extern "C" fn(ctx: *mut c_void, peer: *const u8, shared: *mut u8) -> i32>,
}

/// The lock's own time.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cardea_clock {
    /// `sizeof(cardea_clock)`.
    pub size: usize,
    /// Handed to the callbacks as it is.
    pub ctx: *mut c_void,
    /// Milliseconds since boot: never goes back, does not wrap, counts through deep sleep.
    pub millis: Option<unsafe extern "C" fn(ctx: *mut c_void) -> u64>,
    /// Writes the milliseconds of a battery-backed counter with any starting point that runs on through resets, and
    /// returns 0; less where it has lost power. NULL where the lock has none.
    pub rtc: Option<unsafe extern "C" fn(ctx: *mut c_void, millis: *mut u64) -> i32>,
}

/// Where random bytes come from: a secure element, or a DRBG that a health-checked TRNG seeds.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cardea_random {
    /// `sizeof(cardea_random)`.
    pub size: usize,
    /// Handed to the callback as it is.
    pub ctx: *mut c_void,
    /// Fills `out` with bytes that nobody can predict and returns 0; less rather than weak bytes.
    pub fill: Option<unsafe extern "C" fn(ctx: *mut c_void, out: *mut u8, length: usize) -> i32>,
}

/// Bolt and battery.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cardea_actuator {
    /// `sizeof(cardea_actuator)`.
    pub size: usize,
    /// Handed to the callbacks as it is.
    pub ctx: *mut c_void,
    /// Moves the bolt (`CARDEA_OP_LOCK`, `CARDEA_OP_UNLOCK`) and returns where it is then (`CARDEA_BOLT_LOCKED` …);
    /// less than 0 when the motor could not run. Called once a command, after the command is in storage.
    pub drive: Option<unsafe extern "C" fn(ctx: *mut c_void, op: u8) -> i32>,
    /// Where the bolt is, by its sensor.
    pub bolt: Option<unsafe extern "C" fn(ctx: *mut c_void) -> i32>,
    /// Remaining charge, 0 to 100 percent.
    pub battery: Option<unsafe extern "C" fn(ctx: *mut c_void) -> i32>,
}

/// The five tables together. Read once, by `cardea_agent_boot`: they need not outlive the call, what their `ctx` point
/// to must outlive the agent.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cardea_board {
    /// `sizeof(cardea_board)`.
    pub size: usize,
    /// Non-volatile memory.
    pub storage: *const cardea_storage,
    /// Identity and Diffie-Hellman key.
    pub keys: *const cardea_keys,
    /// Time.
    pub clock: *const cardea_clock,
    /// Randomness.
    pub random: *const cardea_random,
    /// Bolt and battery.
    pub actuator: *const cardea_actuator,
}

/// What a product decides once for its radio and battery; times in milliseconds. Start from
/// `cardea_config_listening` or `cardea_config_class_a`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cardea_config {
    /// `sizeof(cardea_config)`.
    pub size: usize,
    /// 1 where the radio only listens after an uplink (LoRaWAN class A, sleepy Zigbee end device), else 0.
    pub sleepy: u32,
    /// How long after an uplink the radio's last receive window has closed.
    pub rx2_close_ms: u32,
    /// Pause between that moment and the first poll.
    pub first_poll_ms: u32,
    /// Pause between that moment and each further poll.
    pub next_poll_ms: u32,
    /// Pause before the next poll when a fragment has arrived and its datagram is not whole.
    pub fragment_poll_ms: u32,
    /// Silence after which a running handshake is given up.
    pub handshake_ms: u32,
    /// How long the platform may take to answer an event.
    pub answer_ms: u32,
    /// How long the announcement of a command waits for the platform to fetch the log by itself.
    pub log_delay_ms: u32,
    /// Reporting interval of the heartbeat, 0 for none.
    pub heartbeat_ms: u32,
    /// The radio link's retry interval for fragments and receipts; not 0.
    pub link_retry_ms: u32,
    /// Attempts before the link gives a datagram up, 1 to 255.
    pub link_attempts: u32,
    /// How long an incomplete datagram is kept.
    pub reassembly_ms: u32,
    /// Worst-case drift of the clock over temperature and age, in parts per million.
    pub drift_ppm: u32,
    /// Firmware version, reported in status and boot events.
    pub firmware_major: u8,
    /// See `firmware_major`.
    pub firmware_minor: u8,
    /// See `firmware_major`.
    pub firmware_patch: u16,
    /// Below so many percent the battery is reported as low; 0 for the default, 20.
    pub battery_low: u32,
    /// From so many percent on it may be reported as low again: more than `battery_low`, for a battery recovers when it
    /// rests, and at most 100; 0 for the default, 30.
    pub battery_good: u32,
    /// The vendor's P-256 key, `CARDEA_PUBLIC_KEY_LEN` bytes, which may release a lock whose owner is gone; NULL: only
    /// the owner can. It is part of the firmware, and as safe as that is.
    pub vendor: *const u8,
}

/// What the firmware may want to show or count. Which members mean something, `kind` says.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cardea_event {
    /// `sizeof(cardea_event)`, set before the call.
    pub size: usize,
    /// A `cardea_event_kind`.
    pub kind: u32,
    /// A `cardea_handshake_failure`, a `cardea_alarm`, the outcome of a command, or whether there is a `root`.
    pub code: u32,
    /// `CARDEA_OP_LOCK` or `CARDEA_OP_UNLOCK`.
    pub op: u8,
    /// The command's id.
    pub command: [u8; 4],
    /// Thumbprint of the owner root that was pinned, or that alone may be next.
    pub root: [u8; 32],
    /// Epoch of the revocation list.
    pub epoch: u32,
    /// The member's site address.
    pub address: u32,
    /// The first second in which it is a member no more, Unix time.
    pub expires: u32,
    /// Thumbprint of its static Diffie-Hellman key.
    pub key: [u8; 32],
}

/// Two P-256 keys in memory, for locks without a secure element. Its content is the library's business; wipe it with
/// `cardea_soft_keys_wipe` when it is not needed any more.
#[repr(C)]
pub struct cardea_soft_keys {
    /// Private scalars, identity first.
    pub scalars: [u8; CARDEA_SOFT_KEYS_LEN],
    /// Public halves, identity first.
    pub public_keys: [u8; 130],
}
