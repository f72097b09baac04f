// A whole lock in C: five tables of callbacks, and the loop that every firmware has.
//
//     lock DIRECTORY
//
// The directory is the flash: one file a record. A new directory is a new lock: it gets keys and an owner code, and
// its labels are printed. The "radio" is stdin and stdout: two bytes of length, big-endian, then a frame. A frame of
// length 0 on stdout is a poll, and on stdin somebody's hand on the lock. What happens is told on stderr. When stdin
// ends, so does the lock.
//
// What is for copying: the tables and the loop. What is not: file_storage is too slow for flash and keeps the keys
// beside it (a product has a secure element, or flash that no debugger reads).
#define _GNU_SOURCE // CLOCK_BOOTTIME, which counts through sleep
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "cardea.h"

#define MTU 222

// ---- storage -------------------------------------------------------------------------------------------------------

typedef struct file_storage {
    const char *directory;
} file_storage;

static void path_of(const file_storage *files, const char *name, char *path, size_t capacity) {
    snprintf(path, capacity, "%s/%s", files->directory, name);
}

static int sync_directory(const file_storage *files) {
    int directory = open(files->directory, O_RDONLY | O_DIRECTORY);
    if (directory < 0) return -1;
    int done = fsync(directory);
    close(directory);
    return done;
}

// Returns the length, 0 for no such file, less for an error.
static int32_t load(const file_storage *files, const char *name, uint8_t *out, size_t capacity) {
    char path[512];
    path_of(files, name, path, sizeof path);
    int file = open(path, O_RDONLY);
    if (file < 0) return errno == ENOENT ? 0 : -1;
    uint8_t beyond;
    ssize_t length = read(file, out, capacity);
    bool fits = length >= 0 && read(file, &beyond, 1) == 0;
    close(file);
    return fits ? (int32_t)length : -1;
}

// Atomic and durable: the new file takes the old one's name only when it is on the medium.
static int32_t store(const file_storage *files, const char *name, const uint8_t *bytes, size_t length) {
    char path[512], fresh[512];
    path_of(files, name, path, sizeof path);
    path_of(files, "fresh", fresh, sizeof fresh);
    int file = open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0) return -1;
    bool written = write(file, bytes, length) == (ssize_t)length && fsync(file) == 0;
    close(file);
    if (!written || rename(fresh, path) != 0) return -1;
    return sync_directory(files);
}

static int32_t read_record(void *ctx, uint32_t slot, uint8_t *out, size_t capacity) {
    char name[16];
    snprintf(name, sizeof name, "%u", slot);
    return load(ctx, name, out, capacity);
}

static int32_t write_record(void *ctx, uint32_t slot, const uint8_t *record, size_t length) {
    char name[16];
    snprintf(name, sizeof name, "%u", slot);
    return store(ctx, name, record, length);
}

static int32_t erase_record(void *ctx, uint32_t slot) {
    char name[16], path[512];
    const uint8_t nothing[CARDEA_RECORD_MAX] = {0};
    snprintf(name, sizeof name, "%u", slot);
    path_of(ctx, name, path, sizeof path);
    // Overwritten before it goes, as far as a file system does that.
    int file = open(path, O_WRONLY);
    if (file < 0) return errno == ENOENT ? 0 : -1;
    bool wiped = write(file, nothing, sizeof nothing) == (ssize_t)sizeof nothing && fsync(file) == 0;
    close(file);
    if (!wiped || unlink(path) != 0) return -1;
    return sync_directory(ctx);
}

// ---- clock, random source, bolt ------------------------------------------------------------------------------------

static uint64_t millis(void *ctx) {
    (void)ctx;
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int32_t fill(void *ctx, uint8_t *out, size_t length) {
    (void)ctx;
    while (length > 0) {
        ssize_t some = getrandom(out, length, 0);
        if (some < 0 && errno != EINTR) return -1;
        if (some > 0) {
            out += some;
            length -= (size_t)some;
        }
    }
    return 0;
}

typedef struct motor {
    int32_t bolt;
} motor;

static int32_t drive(void *ctx, uint8_t op) {
    motor *m = ctx;
    m->bolt = op == CARDEA_OP_UNLOCK ? CARDEA_BOLT_UNLOCKED : CARDEA_BOLT_LOCKED;
    fprintf(stderr, "the motor runs: %s\n", op == CARDEA_OP_UNLOCK ? "unlocked" : "locked");
    return m->bolt; // a real one asks its sensor
}

static int32_t bolt(void *ctx) {
    return ((motor *)ctx)->bolt;
}

static int32_t battery(void *ctx) {
    (void)ctx;
    return 83;
}

// ---- the factory ---------------------------------------------------------------------------------------------------

static void must(const char *what, cardea_status status) {
    if (status >= 0) return;
    fprintf(stderr, "%s: %s\n", what, cardea_strerror(status));
    exit(1);
}

static void print_hex(const char *what, const uint8_t *bytes, size_t length) {
    fprintf(stderr, "%s: ", what);
    for (size_t at = 0; at < length; at++) fprintf(stderr, "%02x", bytes[at]);
    fprintf(stderr, "\n");
}

// Takes up the lock's keys, or makes them and the owner code. Keys are written last: without them the factory is
// not done, and starts over.
static void manufacture(file_storage *files, const cardea_storage *storage, const cardea_random *source,
                        cardea_soft_keys *keys) {
    uint8_t scalars[CARDEA_SOFT_KEYS_LEN];
    int32_t length = load(files, "keys", scalars, sizeof scalars);
    if (length == CARDEA_SOFT_KEYS_LEN) {
        must("keys", cardea_soft_keys_load(keys, scalars));
    } else if (length == 0) {
        uint8_t code[CARDEA_OWNER_CODE_LEN];
        char text[CARDEA_OWNER_CODE_TEXT];
        must("owner code", cardea_owner_code_generate(source, code));
        must("owner code", cardea_owner_code_text(code, text));
        must("provision", cardea_provision(storage, code));
        must("keys", cardea_soft_keys_generate(keys, source));
        must("keys", cardea_soft_keys_save(keys, scalars));
        if (store(files, "keys", scalars, sizeof scalars) != 0) must("keys", CARDEA_ERR_STORAGE);
        fprintf(stderr, "owner code: %s\n", text); // on the second label, and nowhere else
        explicit_bzero(code, sizeof code);
        explicit_bzero(text, sizeof text);
    } else {
        must("keys", CARDEA_ERR_DAMAGED);
    }
    explicit_bzero(scalars, sizeof scalars);
}

// ---- the radio -----------------------------------------------------------------------------------------------------

static bool read_all(uint8_t *out, size_t length) {
    while (length > 0) {
        ssize_t some = read(STDIN_FILENO, out, length);
        if (some == 0 || (some < 0 && errno != EINTR)) return false;
        if (some > 0) {
            out += some;
            length -= (size_t)some;
        }
    }
    return true;
}

static void send_frame(const uint8_t *frame, size_t length) {
    const uint8_t head[2] = {(uint8_t)(length >> 8), (uint8_t)length};
    fwrite(head, 1, sizeof head, stdout);
    fwrite(frame, 1, length, stdout);
    fflush(stdout);
}

// Waits for a frame until `at` at the latest. False when the radio is gone.
static bool listen(cardea_agent *agent, bool timer, uint64_t at) {
    struct pollfd radio = {.fd = STDIN_FILENO, .events = POLLIN};
    int wait = -1;
    if (timer) {
        uint64_t now = millis(NULL);
        wait = at <= now ? 0 : at - now > 60000 ? 60000 : (int)(at - now);
    }
    if (poll(&radio, 1, wait) <= 0) {
        must("timeout", cardea_agent_handle_timeout(agent));
        return true;
    }
    uint8_t head[2], frame[CARDEA_FRAME_MAX];
    if (!read_all(head, sizeof head)) return false;
    size_t length = (size_t)head[0] << 8 | head[1];
    if (length > sizeof frame || !read_all(frame, length)) return false;
    if (length == 0) {
        must("touch", cardea_agent_touch(agent));
    } else {
        must("frame", cardea_agent_handle_frame(agent, frame, length));
    }
    return true;
}

static void tell(const cardea_event *event) {
    switch (event->kind) {
    case CARDEA_EVENT_ACTIVATED: print_hex("activated by root", event->root, sizeof event->root); break;
    case CARDEA_EVENT_CONNECTED: fprintf(stderr, "connected\n"); break;
    case CARDEA_EVENT_HANDSHAKE_FAILED: fprintf(stderr, "handshake failed: %u\n", event->code); break;
    case CARDEA_EVENT_COMMAND: fprintf(stderr, "command %u ended: %u\n", event->op, event->code); break;
    case CARDEA_EVENT_ALARM: fprintf(stderr, "alarm: %u\n", event->code); break;
    default: fprintf(stderr, "event %u\n", event->kind); break; // later libraries have more
    }
}

// ---- the lock ------------------------------------------------------------------------------------------------------

static cardea_agent_memory memory;
static cardea_soft_keys soft_keys;

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: lock DIRECTORY\n");
        return 2;
    }
    if (cardea_abi_version() != CARDEA_ABI_VERSION) {
        fprintf(stderr, "the header and the library are of different versions\n");
        return 1;
    }
    file_storage files = {argv[1]};
    motor door = {CARDEA_BOLT_LOCKED};
    cardea_storage storage = {.size = sizeof storage, .ctx = &files, .read = read_record,
                              .write = write_record, .erase = erase_record, .slots = CARDEA_SLOT_COUNT};
    cardea_clock clock = {.size = sizeof clock, .millis = millis}; // no RTC
    cardea_random source = {.size = sizeof source, .fill = fill};
    cardea_actuator actuator = {.size = sizeof actuator, .ctx = &door, .drive = drive, .bolt = bolt,
                                .battery = battery};
    cardea_keys keys = {.size = sizeof keys};
    manufacture(&files, &storage, &source, &soft_keys);
    must("keys", cardea_soft_keys_table(&soft_keys, &keys));

    cardea_board board = {.size = sizeof board, .storage = &storage, .keys = &keys, .clock = &clock,
                          .random = &source, .actuator = &actuator};
    cardea_config config = {.size = sizeof config};
    must("config", cardea_config_listening(&config));
    config.firmware_major = 1;
    config.link_retry_ms = 500; // a pipe answers soon
    cardea_agent *agent = NULL;
    must("boot", cardea_agent_boot(&memory, sizeof memory, &board, &config, &agent));

    uint8_t id[8], thumbprint[32], root[32];
    must("lock id", cardea_agent_lock_id(agent, id));
    must("thumbprint", cardea_agent_thumbprint(agent, thumbprint));
    print_hex("thumbprint", thumbprint, sizeof thumbprint);
    if (cardea_agent_owner(agent, root) == CARDEA_OK) print_hex("owner", root, sizeof root);
    print_hex("lock id", id, sizeof id);

    must("link up", cardea_agent_link_up(agent)); // the pipe has no network to join
    bool radio = true;
    while (radio) {
        uint8_t frame[MTU];
        size_t length = 0;
        cardea_status status;
        while ((status = cardea_agent_poll_transmit(agent, MTU, frame, sizeof frame, &length)) == CARDEA_OK)
            send_frame(frame, length);
        must("transmit", status);
        cardea_event event = {.size = sizeof event};
        while (cardea_agent_poll_event(agent, &event) == CARDEA_OK) tell(&event);
        uint64_t at = 0;
        bool timer = cardea_agent_poll_timeout(agent, &at) == CARDEA_OK;
        radio = listen(agent, timer, at);
    }
    must("deinit", cardea_agent_deinit(agent));
    must("keys", cardea_soft_keys_wipe(&soft_keys));
    fprintf(stderr, "switched off\n");
    return 0;
}
