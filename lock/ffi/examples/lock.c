// A whole lock in C: five tables of callbacks, and the loop that every firmware has.
//
//     lock DIRECTORY
//
// The directory is the flash: one file a record. A new directory is a new lock: it gets keys and an owner code, and
// its labels are printed. The "radio" is stdin and stdout: two bytes of length, big-endian, then a frame. A frame of
// length 0 on stdout is a poll, and on stdin somebody's hand on the lock. What happens is told on stderr. When stdin
// ends, so does the lock.
//
// DIRECTORY/panel is a named pipe for what people do at the door, a line for each:
//
//     door closed|open|ajar       the door's switch       button          the inside button, held for long
//     door is closed|open|ajar    the same after a boot   pin 123456      the PIN pad, closed with its enter key
//     bolt locked|unlocked|jammed by hand or key          battery 15      percent, measured now
//     tamper                      the housing's switch    member 7        who has this site address?
//
// What is for copying: the tables and the loop. What is not: file_storage is too slow for flash and keeps the keys
// beside it (a product has a secure element, or flash that no debugger reads).
#define _GNU_SOURCE // CLOCK_BOOTTIME, which counts through sleep
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
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
    int32_t percent;
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
    return ((motor *)ctx)->percent;
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

// ---- the door: what people do with their hands -----------------------------------------------------------------------

typedef struct panel {
    int pipe;
    motor *door;
    char line[64];
    size_t length;
} panel;

static panel open_panel(const file_storage *files, motor *door) {
    panel p = {.door = door};
    char path[512];
    path_of(files, "panel", path, sizeof path);
    if (mkfifo(path, 0600) != 0 && errno != EEXIST) must("panel", CARDEA_ERR_STORAGE);
    p.pipe = open(path, O_RDWR | O_NONBLOCK); // also for writing, so that it has no end
    if (p.pipe < 0) must("panel", CARDEA_ERR_STORAGE);
    return p;
}

// The number that stands for this word, -1 for none.
static int32_t number_of(const char *word, const char *const words[], int32_t count) {
    for (int32_t at = 0; at < count; at++)
        if (strcmp(word, words[at]) == 0) return at;
    return -1;
}

static void enter_pin(cardea_agent *agent, const char *digits) {
    static const char *const RESULTS[] = {"wrong", "unlocked", "jammed", "refused"};
    uint32_t result = 0;
    uint64_t closed_ms = 0;
    cardea_status status = cardea_agent_enter_pin(agent, (const uint8_t *)digits, strlen(digits), &result, &closed_ms);
    if (status < 0) {
        fprintf(stderr, "pin: %s\n", cardea_strerror(status));
    } else if (result == CARDEA_PIN_REFUSED) {
        fprintf(stderr, "pin: refused for %" PRIu64 " s\n", (closed_ms + 999) / 1000);
    } else {
        fprintf(stderr, "pin: %s\n", result < 4 ? RESULTS[result] : "?"); // later libraries may have more
    }
}

static void hold_button(cardea_agent *agent) {
    uint8_t nonce[CARDEA_RESET_NONCE_LEN];
    cardea_status status = cardea_agent_inside_button_held(agent, nonce);
    if (status == CARDEA_OK) print_hex("reset asked for, nonce", nonce, sizeof nonce);
    else fprintf(stderr, "button: %s\n", cardea_strerror(status));
}

static void obey_panel(panel *p, cardea_agent *agent) {
    static const char *const DOOR[] = {"closed", "open", "ajar"}; // CARDEA_DOOR_CLOSED ...
    static const char *const BOLT[] = {"locked", "unlocked", "jammed"}; // CARDEA_BOLT_LOCKED ...
    char what[16] = "", how[32] = "", more[16] = "";
    cardea_status status = CARDEA_OK;
    if (sscanf(p->line, "%15s %31s %15s", what, how, more) < 1) return;
    if (strcmp(what, "door") == 0 && strcmp(how, "is") == 0) {
        status = cardea_agent_door_is(agent, (uint32_t)number_of(more, DOOR, 3));
    } else if (strcmp(what, "door") == 0) {
        status = cardea_agent_door_moved(agent, (uint32_t)number_of(how, DOOR, 3));
    } else if (strcmp(what, "bolt") == 0) {
        p->door->bolt = number_of(how, BOLT, 3); // -1: a sensor that says nothing sensible
        status = cardea_agent_bolt_moved(agent);
    } else if (strcmp(what, "tamper") == 0) {
        status = cardea_agent_tampered(agent);
    } else if (strcmp(what, "battery") == 0) {
        p->door->percent = (int32_t)strtol(how, NULL, 10);
        status = cardea_agent_battery_measured(agent);
    } else if (strcmp(what, "button") == 0) {
        hold_button(agent);
    } else if (strcmp(what, "pin") == 0) {
        enter_pin(agent, how);
    } else if (strcmp(what, "member") == 0) {
        status = cardea_agent_ask_membership(agent, (uint32_t)strtoul(how, NULL, 10));
    } else {
        status = CARDEA_ERR_ARGUMENT;
    }
    if (status != CARDEA_OK) fprintf(stderr, "panel: %s: %s\n", what, cardea_strerror(status));
    explicit_bzero(how, sizeof how); // it may have been a PIN
}

static void read_panel(panel *p, cardea_agent *agent) {
    char next;
    while (read(p->pipe, &next, 1) == 1) {
        if (next != '\n') {
            if (p->length < sizeof p->line - 1) p->line[p->length++] = next;
            continue;
        }
        p->line[p->length] = 0;
        obey_panel(p, agent);
        explicit_bzero(p->line, sizeof p->line);
        p->length = 0;
    }
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

// Waits for a frame, or a line at the panel, until `at` at the latest. False when the radio is gone.
static bool listen(cardea_agent *agent, panel *p, bool timer, uint64_t at) {
    struct pollfd sources[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = p->pipe, .events = POLLIN}};
    int wait = -1;
    if (timer) {
        uint64_t now = millis(NULL);
        wait = at <= now ? 0 : at - now > 60000 ? 60000 : (int)(at - now);
    }
    if (poll(sources, 2, wait) <= 0) {
        must("timeout", cardea_agent_handle_timeout(agent));
        return true;
    }
    if (sources[1].revents & POLLIN) read_panel(p, agent);
    if (sources[0].revents == 0) return true;
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
    case CARDEA_EVENT_RELEASED:
        if (event->code == 1) print_hex("released to root", event->root, sizeof event->root);
        else fprintf(stderr, "released to anybody\n");
        break;
    case CARDEA_EVENT_REVOCATIONS: fprintf(stderr, "revocation list of epoch %u\n", event->epoch); break;
    case CARDEA_EVENT_MEMBER:
        fprintf(stderr, "member %u until %u: ", event->address, event->expires);
        print_hex("key", event->key, sizeof event->key);
        break;
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
    motor door = {CARDEA_BOLT_LOCKED, 83};
    panel hands = open_panel(&files, &door);
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
        radio = listen(agent, &hands, timer, at);
    }
    must("deinit", cardea_agent_deinit(agent));
    must("keys", cardea_soft_keys_wipe(&soft_keys));
    fprintf(stderr, "switched off\n");
    return 0;
}
