// cardea.h - the lock agent of Cardea for firmware in C (C99 or later, or C++).
//
// Made by cbindgen from lock/ffi; docs/lock-agent.md, "From C", is the guide, lock/ffi/examples/lock.c a whole lock.
//
// MEMORY
//   The library allocates nothing. An agent lives in memory of yours, for instance
//       static cardea_agent_memory memory;
//   which is CARDEA_AGENT_SIZE bytes, aligned, and zero before the first boot. It is the library's from
//   cardea_agent_boot until cardea_agent_deinit: do not read, move, copy or free it. A copy of an agent is refused.
//   Tables, configuration, frames and everything else that is passed by pointer is yours, and used only until the
//   call returns. What a `ctx` points to must live until cardea_agent_deinit. Buffers of callbacks are the library's and
//   end when the callback returns. Out parameters must not overlap each other, nor the agent.
//
// CALLS
//   One agent is used by one thread at a time, and never from an interrupt that may interrupt another call on it:
//   the busy mark is no mutex. Two agents have nothing in common and may run in two threads.
//   No function here is reentrant: an agent that is called from one of its own callbacks answers CARDEA_ERR_BUSY and
//   does nothing. Callbacks return; they do not longjmp and do not throw.
//   Calls take as long as their callbacks and the cryptography: a handshake message is some P-256 multiplications.
//
// ERRORS
//   Null pointers, misaligned or short agent memory, lengths of any size, an agent that is not there any more and one
//   that is there already are answered by a cardea_status, in all builds. A pointer to memory that is not yours, or is
//   shorter than you say, cannot be noticed.
//
// VERSIONS
//   Each struct begins with its `size`: set it to sizeof. Members that your header does not have yet take their
//   default, so firmware that was compiled with an older header links against a newer library of the same
//   CARDEA_ABI_VERSION. Members that the library does not know must be zero, else CARDEA_ERR_VERSION.


#ifndef CARDEA_H
#define CARDEA_H

#include <stddef.h>
#include <stdint.h>

// Version of this ABI. It rises when something that exists changes; additions leave it alone.
#define CARDEA_ABI_VERSION 1

// Bytes of memory that an agent needs at most, on any machine. `cardea_agent_size()` says how many it really takes.
#define CARDEA_AGENT_SIZE 10240

// Alignment of that memory.
#define CARDEA_AGENT_ALIGN 8

// Records that storage must have room for, numbered from 0.
#define CARDEA_SLOT_COUNT 130

// Bytes of the largest record.
#define CARDEA_RECORD_MAX 384

// What `cardea_storage.read` returns for a record that is there and damaged.
#define CARDEA_RECORD_DAMAGED -1000000

// Longest frame that is taken from, or given to, a radio.
#define CARDEA_FRAME_MAX 1024

// Shortest `mtu`: a receipt for 64 fragments, and some air.
#define CARDEA_MTU_MIN 16

// Bytes of an owner code.
#define CARDEA_OWNER_CODE_LEN 16

// Characters of an owner code on the label, with the terminating zero.
#define CARDEA_OWNER_CODE_TEXT 35

// Bytes of a public key: 0x04, then x and y, big-endian (SEC 1, uncompressed).
#define CARDEA_PUBLIC_KEY_LEN 65

// Most digits of a PIN, and least.
#define CARDEA_PIN_MAX 10

// See `CARDEA_PIN_MAX`.
#define CARDEA_PIN_MIN 4

// Bytes of the nonce that an owner reset draws.
#define CARDEA_RESET_NONCE_LEN 8

// The last site address that a lock or a phone can have; the first is 1.
#define CARDEA_SITE_ADDRESS_MAX 65519

// Bytes of the two private scalars of `cardea_soft_keys`.
#define CARDEA_SOFT_KEYS_LEN 64

// The bolt moves to where it holds the door.
#define CARDEA_OP_LOCK 0

// The bolt moves to where it lets the door go.
#define CARDEA_OP_UNLOCK 1

// The bolt holds the door.
#define CARDEA_BOLT_LOCKED 0

// The bolt lets the door go.
#define CARDEA_BOLT_UNLOCKED 1

// The bolt stands between the two.
#define CARDEA_BOLT_JAMMED 2

// The sensor does not say.
#define CARDEA_BOLT_UNKNOWN 3

// The door is in its frame.
#define CARDEA_DOOR_CLOSED 0

// The door is not in its frame.
#define CARDEA_DOOR_OPEN 1

// The door is open for longer than it should be; an alarm. The firmware decides when.
#define CARDEA_DOOR_AJAR 2

// In `cardea_features()`: sessions with holders of grants. Without it their frames are dropped and counted.
#define CARDEA_FEATURE_PEERS 1

// In `cardea_features()`: PIN slots and the pad. Without it `cardea_agent_enter_pin` answers `CARDEA_ERR_UNSUPPORTED`.
#define CARDEA_FEATURE_PINS 2

// What a function answers: 0 or more is fine, less is an error and nothing was done. Newer libraries may have more.
enum cardea_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Done.
    CARDEA_OK = 0,
    // Done, and there is nothing: no frame, no timer, no event, no owner, no time.
    CARDEA_NOTHING = 1,
    // A pointer that must not be NULL is.
    CARDEA_ERR_NULL = -1,
    // A length, a value or a callback that is missing.
    CARDEA_ERR_ARGUMENT = -2,
    // The memory for the agent is too small or not aligned.
    CARDEA_ERR_MEMORY = -3,
    // There is no agent in that memory: never booted, shut down, moved, or overwritten.
    CARDEA_ERR_NOT_BOOTED = -4,
    // There is an agent in that memory already.
    CARDEA_ERR_BOOTED = -5,
    // The agent is in a call: this one came from a callback, or from another thread.
    CARDEA_ERR_BUSY = -6,
    // A struct is smaller than ever was, or asks for what this library does not know.
    CARDEA_ERR_VERSION = -7,
    // Storage failed, or has fewer slots than this library needs.
    CARDEA_ERR_STORAGE = -8,
    // A record makes no sense, or the keys are not those that the lock was made with.
    CARDEA_ERR_DAMAGED = -9,
    // A key refused, its public half is no P-256 point, or it signed something else.
    CARDEA_ERR_KEY = -10,
    // The random source failed.
    CARDEA_ERR_RANDOM = -11,
    // A fault of this library. The agent answers nothing any more; shut it down, then reset the lock.
    CARDEA_ERR_PANIC = -12,
    // This library was built without that part; see `cardea_features()`.
    CARDEA_ERR_UNSUPPORTED = -13,
    // The lock has no owner to be released from.
    CARDEA_ERR_NO_OWNER = -14,
    // The door is closed, or nobody has said since boot how it stands.
    CARDEA_ERR_DOOR_NOT_OPEN = -15,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum cardea_status cardea_status;
#else
typedef int32_t cardea_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What happened, in `cardea_event`. Newer libraries may have more.
enum cardea_event_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Nothing this version has a name for.
    CARDEA_EVENT_OTHER = 0,
    // The lock has an owner now; `root` says which.
    CARDEA_EVENT_ACTIVATED = 1,
    // A new context with the platform.
    CARDEA_EVENT_CONNECTED = 2,
    // A handshake ended without one; `code` is a `cardea_handshake_failure`. The agent tries again by itself.
    CARDEA_EVENT_HANDSHAKE_FAILED = 3,
    // A command was carried out, or failed at the motor: `command`, `op`, and `code` is the outcome of
    // docs/protocol.md (0 done, 1 failed).
    CARDEA_EVENT_COMMAND = 4,
    // Make noise or light; `code` is a `cardea_alarm`.
    CARDEA_EVENT_ALARM = 5,
    // Storage failed; what needed it was not done.
    CARDEA_EVENT_STORAGE_FAILED = 6,
    // The random source failed; what needed it was not done.
    CARDEA_EVENT_RANDOM_FAILED = 7,
    // An owner reset: the lock has no owner any more, and what the owner put there is erased. `code` is 1 where one
    // owner root alone may activate it next, `root` is its thumbprint then; else both are 0.
    CARDEA_EVENT_RELEASED = 8,
    // A revocation list of the platform is in force; `epoch` says which.
    CARDEA_EVENT_REVOCATIONS = 9,
    // The site's authority says that a key belongs to the site, as `cardea_agent_ask_membership` had asked: `address`,
    // `key` and `expires`. No right follows from it.
    CARDEA_EVENT_MEMBER = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum cardea_event_kind cardea_event_kind;
#else
typedef uint32_t cardea_event_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Why a handshake ended without a context.
enum cardea_handshake_failure
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Nothing this version has a name for.
    CARDEA_HANDSHAKE_OTHER = 0,
    // Nothing came in time, or the radio could not deliver.
    CARDEA_HANDSHAKE_SILENCE = 1,
    // The platform does not know this lock, or the owner code is wrong.
    CARDEA_HANDSHAKE_REFUSED = 2,
    // A message was malformed or did not authenticate.
    CARDEA_HANDSHAKE_PROTOCOL = 3,
    // The platform's credential is not under the pinned root, older than the pinned one, or of an unknown kind.
    CARDEA_HANDSHAKE_CREDENTIAL = 4,
    // The platform did not prove the owner code.
    CARDEA_HANDSHAKE_WRONG_CODE = 5,
    // Storage, a key or the random source of the lock failed.
    CARDEA_HANDSHAKE_INTERNAL = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum cardea_handshake_failure cardea_handshake_failure;
#else
typedef uint32_t cardea_handshake_failure;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Why the lock should make noise or light.
enum cardea_alarm
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Nothing this version has a name for.
    CARDEA_ALARM_OTHER = 0,
    // Five wrong handshakes in five minutes: further ones are refused for 90 s.
    CARDEA_ALARM_TOO_MANY_WRONG = 1,
    // A context was given up: too many failed tags, or its sequence numbers are used up.
    CARDEA_ALARM_CONTEXT_RETIRED = 2,
    // Five wrong PINs in five minutes: the PIN pad is closed for 90 s. Everything else goes on.
    CARDEA_ALARM_PIN_PAD_CLOSED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum cardea_alarm cardea_alarm;
#else
typedef uint32_t cardea_alarm;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What came of a PIN. Says nothing about duress, so that no firmware can show it.
enum cardea_pin_result
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // No slot has this PIN, or not at this time.
    CARDEA_PIN_WRONG = 0,
    // The bolt is withdrawn.
    CARDEA_PIN_UNLOCKED = 1,
    // The PIN was right, and the bolt did not arrive.
    CARDEA_PIN_JAMMED = 2,
    // The pad is closed; nothing was looked at.
    CARDEA_PIN_REFUSED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum cardea_pin_result cardea_pin_result;
#else
typedef uint32_t cardea_pin_result;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// An agent: opaque, in memory of yours (`cardea_agent_memory`).
typedef struct cardea_agent cardea_agent;

// Non-volatile memory of small records, numbered 0 to `slots - 1`.
//
// `write` and `erase` are atomic and durable when they return: after a power cut at any moment a slot reads as the
// old record or the new one. That takes a checksum and two copies of each slot, or a flash file system that logs. It
// must never be restored from a backup: sequence numbers would repeat.
typedef struct cardea_storage {
    // `sizeof(cardea_storage)`.
    size_t size;
    // Handed to the callbacks as it is.
    void *ctx;
    // Copies the record of `slot` to the front of `out`, which has room for `capacity` bytes, and returns its length;
    // 0 where the slot is empty; `CARDEA_RECORD_DAMAGED` where its newest record fails its check (never an older one in
    // its place): the lock then does without it, if it can; anything else below 0 where the medium failed or the record
    // does not fit.
    int32_t (*read)(void *ctx, uint32_t slot, uint8_t *out, size_t capacity);
    // Replaces the record; `length` is at least 1. What the slot held before must not stay behind in the medium where
    // `cardea_slot_is_secret` says so, as far as the medium allows. Returns 0, or less where the medium failed.
    int32_t (*write)(void *ctx, uint32_t slot, const uint8_t *record, size_t length);
    // Empties the slot and overwrites what it held, as far as the medium allows. Returns 0, or less where it failed.
    int32_t (*erase)(void *ctx, uint32_t slot);
    // How many slots there are: `CARDEA_SLOT_COUNT`. A library that needs more refuses to boot.
    uint32_t slots;
    // Empties these `count` slots, as `erase` does, each or all at once: a power cut may leave some of them. For media
    // that have something better than one after the other, such as a flash that moves what stays and erases the rest;
    // an owner reset calls it. Returns 0, or less where the medium failed. NULL: `erase` is called for each.
    int32_t (*erase_all)(void *ctx, const uint32_t *slots, size_t count);
} cardea_storage;

// The lock's two P-256 keys: in a secure element, or `cardea_soft_keys`.
//
// The private halves must be those of the first boot, for life. All four callbacks return 0, or less where the
// key's holder refuses or is gone.
typedef struct cardea_keys {
    // `sizeof(cardea_keys)`.
    size_t size;
    // Handed to the callbacks as it is.
    void *ctx;
    // The public half of the identity key: `CARDEA_PUBLIC_KEY_LEN` bytes.
    int32_t (*identity_public)(void *ctx, uint8_t *public_key);
    // ECDSA by the identity key over a SHA-256 digest of 32 bytes; the signature is r, then s, 32 bytes each. Called
    // once in the lock's life.
    int32_t (*identity_sign)(void *ctx, const uint8_t *digest, uint8_t *signature);
    // The public half of the Diffie-Hellman key: `CARDEA_PUBLIC_KEY_LEN` bytes.
    int32_t (*dh_public)(void *ctx, uint8_t *public_key);
    // ECDH with `peer`, a public key of `CARDEA_PUBLIC_KEY_LEN` bytes that is on the curve; `shared` is the x
    // coordinate, 32 bytes. Called once a handshake.
    int32_t (*dh_agree)(void *ctx, const uint8_t *peer, uint8_t *shared);
} cardea_keys;

// The lock's own time.
typedef struct cardea_clock {
    // `sizeof(cardea_clock)`.
    size_t size;
    // Handed to the callbacks as it is.
    void *ctx;
    // Milliseconds since boot: never goes back, does not wrap, counts through deep sleep.
    uint64_t (*millis)(void *ctx);
    // Writes the milliseconds of a battery-backed counter with any starting point that runs on through resets, and
    // returns 0; less where it has lost power. NULL where the lock has none.
    int32_t (*rtc)(void *ctx, uint64_t *millis);
} cardea_clock;

// Where random bytes come from: a secure element, or a DRBG that a health-checked TRNG seeds.
typedef struct cardea_random {
    // `sizeof(cardea_random)`.
    size_t size;
    // Handed to the callback as it is.
    void *ctx;
    // Fills `out` with bytes that nobody can predict and returns 0; less rather than weak bytes.
    int32_t (*fill)(void *ctx, uint8_t *out, size_t length);
} cardea_random;

// Bolt and battery.
typedef struct cardea_actuator {
    // `sizeof(cardea_actuator)`.
    size_t size;
    // Handed to the callbacks as it is.
    void *ctx;
    // Moves the bolt (`CARDEA_OP_LOCK`, `CARDEA_OP_UNLOCK`) and returns where it is then (`CARDEA_BOLT_LOCKED` …);
    // less than 0 when the motor could not run. Called once a command, after the command is in storage.
    int32_t (*drive)(void *ctx, uint8_t op);
    // Where the bolt is, by its sensor.
    int32_t (*bolt)(void *ctx);
    // Remaining charge, 0 to 100 percent.
    int32_t (*battery)(void *ctx);
} cardea_actuator;

// The five tables together. Read once, by `cardea_agent_boot`: they need not outlive the call, what their `ctx` point
// to must outlive the agent.
typedef struct cardea_board {
    // `sizeof(cardea_board)`.
    size_t size;
    // Non-volatile memory.
    const struct cardea_storage *storage;
    // Identity and Diffie-Hellman key.
    const struct cardea_keys *keys;
    // Time.
    const struct cardea_clock *clock;
    // Randomness.
    const struct cardea_random *random;
    // Bolt and battery.
    const struct cardea_actuator *actuator;
} cardea_board;

// What a product decides once for its radio and battery; times in milliseconds. Start from
// `cardea_config_listening` or `cardea_config_class_a`.
typedef struct cardea_config {
    // `sizeof(cardea_config)`.
    size_t size;
    // 1 where the radio only listens after an uplink (LoRaWAN class A, sleepy Zigbee end device), else 0.
    uint32_t sleepy;
    // How long after an uplink the radio's last receive window has closed.
    uint32_t rx2_close_ms;
    // Pause between that moment and the first poll.
    uint32_t first_poll_ms;
    // Pause between that moment and each further poll.
    uint32_t next_poll_ms;
    // Pause before the next poll when a fragment has arrived and its datagram is not whole.
    uint32_t fragment_poll_ms;
    // Silence after which a running handshake is given up.
    uint32_t handshake_ms;
    // How long the platform may take to answer an event.
    uint32_t answer_ms;
    // How long the announcement of a command waits for the platform to fetch the log by itself.
    uint32_t log_delay_ms;
    // Reporting interval of the heartbeat, 0 for none.
    uint32_t heartbeat_ms;
    // The radio link's retry interval for fragments and receipts; not 0.
    uint32_t link_retry_ms;
    // Attempts before the link gives a datagram up, 1 to 255.
    uint32_t link_attempts;
    // How long an incomplete datagram is kept.
    uint32_t reassembly_ms;
    // Worst-case drift of the clock over temperature and age, in parts per million.
    uint32_t drift_ppm;
    // Firmware version, reported in status and boot events.
    uint8_t firmware_major;
    // See `firmware_major`.
    uint8_t firmware_minor;
    // See `firmware_major`.
    uint16_t firmware_patch;
    // Below so many percent the battery is reported as low; 0 for the default, 20.
    uint32_t battery_low;
    // From so many percent on it may be reported as low again: more than `battery_low`, for a battery recovers when it
    // rests, and at most 100; 0 for the default, 30.
    uint32_t battery_good;
    // The vendor's P-256 key, `CARDEA_PUBLIC_KEY_LEN` bytes, which may release a lock whose owner is gone; NULL: only
    // the owner can. It is part of the firmware, and as safe as that is.
    const uint8_t *vendor;
} cardea_config;

// What the firmware may want to show or count. Which members mean something, `kind` says.
typedef struct cardea_event {
    // `sizeof(cardea_event)`, set before the call.
    size_t size;
    // A `cardea_event_kind`.
    uint32_t kind;
    // A `cardea_handshake_failure`, a `cardea_alarm`, the outcome of a command, or whether there is a `root`.
    uint32_t code;
    // `CARDEA_OP_LOCK` or `CARDEA_OP_UNLOCK`.
    uint8_t op;
    // The command's id.
    uint8_t command[4];
    // Thumbprint of the owner root that was pinned, or that alone may be next.
    uint8_t root[32];
    // Epoch of the revocation list.
    uint32_t epoch;
    // The member's site address.
    uint32_t address;
    // The first second in which it is a member no more, Unix time.
    uint32_t expires;
    // Thumbprint of its static Diffie-Hellman key.
    uint8_t key[32];
} cardea_event;

// Two P-256 keys in memory, for locks without a secure element. Its content is the library's business; wipe it with
// `cardea_soft_keys_wipe` when it is not needed any more.
typedef struct cardea_soft_keys {
    // Private scalars, identity first.
    uint8_t scalars[CARDEA_SOFT_KEYS_LEN];
    // Public halves, identity first.
    uint8_t public_keys[130];
} cardea_soft_keys;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the ABI that this library was built with, to be compared with `CARDEA_ABI_VERSION` of the header.
uint32_t cardea_abi_version(void);

// Which parts this library was built with: `CARDEA_FEATURE_PEERS`, `CARDEA_FEATURE_PINS`.
uint32_t cardea_features(void);

// Bytes that an agent of this library really takes; at most `CARDEA_AGENT_SIZE` of the header it was built with.
size_t cardea_agent_size(void);

// Alignment that it needs, a power of two; at most `CARDEA_AGENT_ALIGN`.
size_t cardea_agent_align(void);

// The most bytes that a record in this slot has, 0 for no slot: for laying out flash.
size_t cardea_slot_max(uint32_t slot);

// 1 for a slot with keys, codes or what a PIN is compared with, else 0: what it held before must not stay behind when it
// is written again, and where there is a choice of media, it deserves the one that nobody can read.
uint32_t cardea_slot_is_secret(uint32_t slot);

// Boots an agent in `memory` (`length` bytes, aligned, zero before the first boot) from what storage holds, and
// writes the pointer to it to `agent`. A new lock makes its credential here. A command that a reset interrupted is
// judged by the bolt's sensor and logged.
//
// After an error the memory is zero again and may be used for another attempt, but for `CARDEA_ERR_BOOTED` and
// `CARDEA_ERR_BUSY`: then the agent that is there lives on.
cardea_status cardea_agent_boot(void *memory,
                                size_t length,
                                const struct cardea_board *board,
                                const struct cardea_config *config,
                                struct cardea_agent **agent);

// Ends the agent and overwrites its memory with zeros. Storage has everything that matters: the memory may be
// booted again. The pointer is void afterwards.
cardea_status cardea_agent_deinit(struct cardea_agent *agent);

// The radio has joined its network: the lock activates itself, or reports.
cardea_status cardea_agent_link_up(struct cardea_agent *agent);

// The radio has lost its network. Nothing is sent until `cardea_agent_link_up`.
cardea_status cardea_agent_link_down(struct cardea_agent *agent);

// Somebody touched the lock: a challenge goes out, so that a command can come back at once.
cardea_status cardea_agent_touch(struct cardea_agent *agent);

// Takes one frame from the radio. What is not for this lock, or not authentic, is dropped and counted, and is no
// error. The callbacks may drive the bolt before this returns.
cardea_status cardea_agent_handle_frame(struct cardea_agent *agent,
                                        const uint8_t *frame,
                                        size_t length);

// The next thing to send, with at most `mtu` bytes (at least `CARDEA_MTU_MIN`) and at most `capacity`. Call when the
// radio is free, until it answers `CARDEA_NOTHING`.
//
// `CARDEA_OK`: send the `length` bytes in `out`. A length of 0 is a poll: send an empty uplink (LoRaWAN without
// payload, a Zigbee data poll) to open a receive window. A frame that the radio could not send is not given again at
// once; the agent notices by itself that nobody answered.
cardea_status cardea_agent_poll_transmit(struct cardea_agent *agent,
                                         size_t mtu,
                                         uint8_t *out,
                                         size_t capacity,
                                         size_t *length);

// Writes when to call `cardea_agent_handle_timeout`, in the clock's milliseconds; `CARDEA_NOTHING` when no timer runs.
// What waits only for the radio to be free has no timer: ask `cardea_agent_poll_transmit` then.
cardea_status cardea_agent_poll_timeout(struct cardea_agent *agent,
                                        uint64_t *at);

// Lets due timers do their work; ask `cardea_agent_poll_transmit` afterwards. Too early is harmless.
cardea_status cardea_agent_handle_timeout(struct cardea_agent *agent);

// What happened, oldest first, into `event`, whose `size` must be set; `CARDEA_NOTHING` when that was all. The last
// eight are kept.
cardea_status cardea_agent_poll_event(struct cardea_agent *agent,
                                      struct cardea_event *event);

// The lock's routing name, 8 bytes: what the radio label says.
cardea_status cardea_agent_lock_id(struct cardea_agent *agent, uint8_t *id);

// SHA-256 thumbprint of the identity key (RFC 9679), 32 bytes: what the platform enrols the lock by.
cardea_status cardea_agent_thumbprint(struct cardea_agent *agent,
                                      uint8_t *thumbprint);

// Thumbprint of the owner root that is pinned, 32 bytes; `CARDEA_NOTHING` while the lock has no owner.
cardea_status cardea_agent_owner(struct cardea_agent *agent,
                                 uint8_t *root);

// Whether there is a context with the platform: `CARDEA_OK` or `CARDEA_NOTHING`.
cardea_status cardea_agent_is_connected(struct cardea_agent *agent);

// The present time as far as it is known: the true time is within `uncertainty_ms` of `unix_ms` on either side.
// `CARDEA_NOTHING` while the platform has not said it. Above 5,000 ms of uncertainty the lock decides nothing by it.
cardea_status cardea_agent_time(struct cardea_agent *agent,
                                uint64_t *unix_ms,
                                uint64_t *uncertainty_ms);

// Frames and messages that were dropped since boot.
cardea_status cardea_agent_dropped(struct cardea_agent *agent, uint32_t *count);

// Fills `config`, whose `size` must be set, for a lock whose radio always listens: LoRaWAN class C, mains-powered
// Zigbee. The firmware version is left 0.0.0.
cardea_status cardea_config_listening(struct cardea_config *config);

// Fills `config`, whose `size` must be set, for a lock on LoRaWAN class A with an RX1 delay of 5 s.
cardea_status cardea_config_class_a(struct cardea_config *config);

// The bolt was moved by hand or key, or got stuck: `cardea_actuator.bolt` is asked, the answer logged and reported,
// stuck as an alarm.
//
// A sensor that rattles fills no log: tamper is logged four times in a row, then every quarter of an hour with the
// number of times in between; door and bolt sixteen times, then every 30 s as they stand then.
cardea_status cardea_agent_bolt_moved(struct cardea_agent *agent);

// The door moved, or was left open (`CARDEA_DOOR_CLOSED` …): logged and reported, ajar as an alarm.
cardea_status cardea_agent_door_moved(struct cardea_agent *agent,
                                      uint32_t door);

// How the door stands, for the time after a boot: nothing is logged or reported. Without a word the lock takes it for
// closed.
cardea_status cardea_agent_door_is(struct cardea_agent *agent,
                                   uint32_t door);

// Somebody opened or forced the housing: logged and reported as an alarm.
cardea_status cardea_agent_tampered(struct cardea_agent *agent);

// The battery was measured: `cardea_actuator.battery` is asked. Below `cardea_config.battery_low` percent it is logged
// and reported as an alarm, once until it has recovered to `battery_good` or the lock was reset. The agent measures by
// itself after each run of the motor.
cardea_status cardea_agent_battery_measured(struct cardea_agent *agent);

// The inside button was held for as long as the product wants it for an owner reset, with the door open. The lock
// draws a nonce, asks its site for a release, and writes the nonce (`CARDEA_RESET_NONCE_LEN` bytes) for whoever wants to
// show it; 0 after an error. A release is taken for ten minutes, while the door is not closed; then comes
// `CARDEA_EVENT_RELEASED`. The bolt does not move.
//
// `CARDEA_ERR_NO_OWNER`, `CARDEA_ERR_DOOR_NOT_OPEN` or `CARDEA_ERR_RANDOM`: no reset has begun.
cardea_status cardea_agent_inside_button_held(struct cardea_agent *agent,
                                              uint8_t *nonce);

// A PIN was entered and closed with the pad's enter key: `length` ASCII digits. Right, and inside its time, it unlocks
// before this returns.
//
// `CARDEA_OK`: `result` is a `cardea_pin_result`, and `closed_ms` how long the pad stays closed where that is
// `CARDEA_PIN_REFUSED`, else 0. Anything that cannot be a PIN is a wrong one, whatever its length: of what is longer than
// `CARDEA_PIN_MAX` nothing more is read. The attempt is counted in storage before the PIN is looked at. Erase your copy of
// the digits.
//
// `CARDEA_ERR_UNSUPPORTED`: the library was built without PINs. `CARDEA_ERR_STORAGE`: the medium failed, and the bolt
// did not move.
cardea_status cardea_agent_enter_pin(struct cardea_agent *agent,
                                     const uint8_t *digits,
                                     size_t length,
                                     uint32_t *result,
                                     uint64_t *closed_ms);

// Asks the site who has this address, 1 to `CARDEA_SITE_ADDRESS_MAX`. The answer, if it comes, is
// `CARDEA_EVENT_MEMBER`; nothing in the lock rests on it. A later question takes the place of one that is still open.
// `CARDEA_ERR_UNSUPPORTED`: the library was built without sessions of peers.
cardea_status cardea_agent_ask_membership(struct cardea_agent *agent,
                                          uint32_t address);

// Makes an owner code: `CARDEA_OWNER_CODE_LEN` bytes. Erase your copy once it is printed and provisioned.
cardea_status cardea_owner_code_generate(const struct cardea_random *random,
                                         uint8_t *code);

// The text that goes on the second label: `CARDEA_OWNER_CODE_TEXT` characters with the terminating zero.
cardea_status cardea_owner_code_text(const uint8_t *code,
                                     char *text);

// Writes the owner code into a new lock, before its first boot. Not while an agent uses this storage.
cardea_status cardea_provision(const struct cardea_storage *storage,
                               const uint8_t *code);

// Makes two keys. What must be kept for the life of the lock, `cardea_soft_keys_save` gives.
cardea_status cardea_soft_keys_generate(struct cardea_soft_keys *keys,
                                        const struct cardea_random *random);

// Takes up the keys that `cardea_soft_keys_save` gave: `CARDEA_SOFT_KEYS_LEN` bytes.
cardea_status cardea_soft_keys_load(struct cardea_soft_keys *keys, const uint8_t *scalars);

// The private halves, `CARDEA_SOFT_KEYS_LEN` bytes, for memory that nobody else can read.
cardea_status cardea_soft_keys_save(const struct cardea_soft_keys *keys, uint8_t *scalars);

// Fills `table`, whose `size` must be set, with the four functions below. `keys` must outlive the agent.
cardea_status cardea_soft_keys_table(struct cardea_soft_keys *keys,
                                     struct cardea_keys *table);

// Overwrites the keys with zeros. Not while an agent uses them.
cardea_status cardea_soft_keys_wipe(struct cardea_soft_keys *keys);

// `cardea_keys.identity_public` by a `cardea_soft_keys`.
int32_t cardea_soft_identity_public(void *keys, uint8_t *public_key);

// `cardea_keys.identity_sign` by a `cardea_soft_keys`: RFC 6979, no random number.
int32_t cardea_soft_identity_sign(void *keys, const uint8_t *digest, uint8_t *signature);

// `cardea_keys.dh_public` by a `cardea_soft_keys`.
int32_t cardea_soft_dh_public(void *keys, uint8_t *public_key);

// `cardea_keys.dh_agree` by a `cardea_soft_keys`.
int32_t cardea_soft_dh_agree(void *keys, const uint8_t *peer, uint8_t *shared);

// A status in words, for a log: English, static, never NULL. Any number is allowed.
const char *cardea_strerror(int32_t status);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CARDEA_H */

#ifndef CARDEA_MEMORY_H
#define CARDEA_MEMORY_H

// The agent's memory. A union, so that it is aligned in every dialect of C.
typedef union cardea_agent_memory {
    uint64_t align;
    uint8_t bytes[CARDEA_AGENT_SIZE];
} cardea_agent_memory;

// Supplied by the firmware on a microcontroller, where the library is built with the feature `firmware`: a fault of the
// library was found. Bring the motor to rest and reset the chip; do not return.
#ifdef __cplusplus
extern "C"
#endif
void cardea_panic(void);

// Holds at compile time what the library holds at its own: a static buffer is large enough and aligned.
#if defined(__cplusplus)
#define CARDEA_STATIC_ASSERT(name, condition) static_assert(condition, #name)
#elif defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define CARDEA_STATIC_ASSERT(name, condition) _Static_assert(condition, #name)
#else
#define CARDEA_STATIC_ASSERT(name, condition) typedef char name[(condition) ? 1 : -1]
#endif
CARDEA_STATIC_ASSERT(cardea_agent_memory_has_no_gap, sizeof(cardea_agent_memory) == CARDEA_AGENT_SIZE);
CARDEA_STATIC_ASSERT(cardea_soft_keys_have_no_gap,
                     sizeof(cardea_soft_keys) == CARDEA_SOFT_KEYS_LEN + 2 * CARDEA_PUBLIC_KEY_LEN);
// Firmware that pins the size of its own buffer: CARDEA_ASSERT_FITS(my_buffer);
#define CARDEA_ASSERT_FITS(buffer) \
    CARDEA_STATIC_ASSERT(cardea_agent_fits_##buffer, sizeof(buffer) >= CARDEA_AGENT_SIZE)

#endif  /* CARDEA_MEMORY_H */
