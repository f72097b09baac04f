// Every call about the door from C, with what C can get wrong: null, misaligned and foreign pointers, numbers out of
// range, calls from a callback, an agent that is gone, structs of older and of no version. The lock has no owner;
// tests/tests/ffi makes the same calls on one that has.
//
// Prints the number of checks and exits with 0, or prints the first that failed and exits with 1.
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cardea.h"

static unsigned checks;

static void check(bool holds, const char *what, int line) {
    checks++;
    if (holds) return;
    printf("calls.c:%d: %s\n", line, what);
    exit(1);
}
#define CHECK(condition) check((condition), #condition, __LINE__)

// ---- a board in memory -----------------------------------------------------------------------------------------------

typedef struct board {
    uint8_t records[CARDEA_SLOT_COUNT][CARDEA_RECORD_MAX];
    size_t lengths[CARDEA_SLOT_COUNT];
    bool storage_fails;
    uint8_t seed;
    uint64_t now;
    cardea_agent *reenter; // called back into from the clock
    unsigned refused;      // such calls that were answered CARDEA_ERR_BUSY
} board;

static int32_t read_record(void *ctx, uint32_t slot, uint8_t *out, size_t capacity) {
    board *b = ctx;
    if (b->storage_fails || b->lengths[slot] > capacity) return -1;
    memcpy(out, b->records[slot], b->lengths[slot]);
    return (int32_t)b->lengths[slot];
}

static int32_t write_record(void *ctx, uint32_t slot, const uint8_t *record, size_t length) {
    board *b = ctx;
    if (b->storage_fails) return -1;
    memcpy(b->records[slot], record, length);
    b->lengths[slot] = length;
    return 0;
}

static int32_t erase_record(void *ctx, uint32_t slot) {
    board *b = ctx;
    memset(b->records[slot], 0, CARDEA_RECORD_MAX);
    b->lengths[slot] = 0;
    return b->storage_fails ? -1 : 0;
}

static int32_t fill(void *ctx, uint8_t *out, size_t length) {
    board *b = ctx;
    while (length-- > 0) *out++ = b->seed += 29;
    return 0;
}

static uint64_t millis(void *ctx) {
    board *b = ctx;
    if (b->reenter != NULL) {
        uint8_t nonce[CARDEA_RESET_NONCE_LEN];
        uint32_t result;
        uint64_t closed_ms;
        const cardea_status answers[] = {
            cardea_agent_bolt_moved(b->reenter),
            cardea_agent_door_moved(b->reenter, CARDEA_DOOR_OPEN),
            cardea_agent_door_is(b->reenter, CARDEA_DOOR_OPEN),
            cardea_agent_tampered(b->reenter),
            cardea_agent_battery_measured(b->reenter),
            cardea_agent_inside_button_held(b->reenter, nonce),
            cardea_agent_enter_pin(b->reenter, (const uint8_t *)"0123", 4, &result, &closed_ms),
            cardea_agent_ask_membership(b->reenter, 1),
        };
        for (size_t at = 0; at < sizeof answers / sizeof answers[0]; at++)
            CHECK(answers[at] == CARDEA_ERR_BUSY);
        b->refused++;
    }
    return b->now;
}

static int32_t drive(void *ctx, uint8_t op) {
    (void)ctx;
    return op;
}

static int32_t bolt(void *ctx) {
    (void)ctx;
    return CARDEA_BOLT_JAMMED;
}

static int32_t battery(void *ctx) {
    (void)ctx;
    return 3;
}

// ---- what is checked -------------------------------------------------------------------------------------------------

static board world;
static cardea_agent_memory memory;
static cardea_soft_keys soft_keys;
static cardea_config config = {.size = sizeof config};

static cardea_status boot(cardea_agent **agent) {
    cardea_storage storage = {.size = sizeof storage, .ctx = &world, .read = read_record, .write = write_record,
                              .erase = erase_record, .slots = CARDEA_SLOT_COUNT};
    cardea_clock clock = {.size = sizeof clock, .ctx = &world, .millis = millis};
    cardea_random source = {.size = sizeof source, .ctx = &world, .fill = fill};
    cardea_actuator actuator = {.size = sizeof actuator, .drive = drive, .bolt = bolt, .battery = battery};
    cardea_keys keys = {.size = sizeof keys};
    CHECK(cardea_soft_keys_table(&soft_keys, &keys) == CARDEA_OK);
    cardea_board parts = {.size = sizeof parts, .storage = &storage, .keys = &keys, .clock = &clock,
                          .random = &source, .actuator = &actuator};
    return cardea_agent_boot(&memory, sizeof memory, &parts, &config, agent);
}

static bool has_pins(void) {
    return (cardea_features() & CARDEA_FEATURE_PINS) != 0;
}

static void pins_are_looked_at_whatever_was_typed(cardea_agent *agent) {
    const uint8_t typed[CARDEA_PIN_MAX + 1] = "01234567890"; // no zero behind it: nothing may look there
    const size_t lengths[] = {0, 1, CARDEA_PIN_MIN, CARDEA_PIN_MAX, CARDEA_PIN_MAX + 1, SIZE_MAX};
    const cardea_status expected = has_pins() ? CARDEA_OK : CARDEA_ERR_UNSUPPORTED;
    for (size_t at = 0; at < sizeof lengths / sizeof lengths[0]; at++) {
        uint32_t result = 99;
        uint64_t closed_ms = 99;
        CHECK(cardea_agent_enter_pin(agent, typed, lengths[at], &result, &closed_ms) == expected);
        CHECK(result == CARDEA_PIN_WRONG && closed_ms == 0);
    }
    uint32_t result = 99;
    uint64_t closed_ms = 99;
    CHECK(cardea_agent_enter_pin(agent, NULL, 0, &result, &closed_ms) == expected);
    CHECK(cardea_agent_enter_pin(agent, NULL, 1, &result, &closed_ms) == CARDEA_ERR_NULL);
    CHECK(cardea_agent_enter_pin(agent, typed, 4, NULL, &closed_ms) == CARDEA_ERR_NULL);
    CHECK(cardea_agent_enter_pin(agent, typed, 4, &result, NULL) == CARDEA_ERR_NULL);
    // Out parameters may lie anywhere.
    uint8_t loose[1 + sizeof(uint64_t)];
    CHECK(cardea_agent_enter_pin(agent, typed, 4, &result, (uint64_t *)(void *)(loose + 1)) == expected);
}

static void numbers_out_of_range_are_refused(cardea_agent *agent) {
    for (uint32_t door = CARDEA_DOOR_CLOSED; door <= CARDEA_DOOR_AJAR; door++) {
        CHECK(cardea_agent_door_moved(agent, door) == CARDEA_OK);
        CHECK(cardea_agent_door_is(agent, door) == CARDEA_OK);
    }
    const uint32_t wrong[] = {3, 256, UINT32_MAX};
    for (size_t at = 0; at < 3; at++) {
        CHECK(cardea_agent_door_moved(agent, wrong[at]) == CARDEA_ERR_ARGUMENT);
        CHECK(cardea_agent_door_is(agent, wrong[at]) == CARDEA_ERR_ARGUMENT);
    }
    CHECK(cardea_agent_ask_membership(agent, 1) == CARDEA_OK);
    CHECK(cardea_agent_ask_membership(agent, CARDEA_SITE_ADDRESS_MAX) == CARDEA_OK);
    CHECK(cardea_agent_ask_membership(agent, 0) == CARDEA_ERR_ARGUMENT);
    CHECK(cardea_agent_ask_membership(agent, CARDEA_SITE_ADDRESS_MAX + 1) == CARDEA_ERR_ARGUMENT);
    CHECK(cardea_agent_ask_membership(agent, 0x10001) == CARDEA_ERR_ARGUMENT);
    CHECK(cardea_agent_ask_membership(agent, UINT32_MAX) == CARDEA_ERR_ARGUMENT);
}

static void every_call_says_what_is_wrong_with_the_agent(cardea_agent *agent, cardea_status expected) {
    uint8_t nonce[CARDEA_RESET_NONCE_LEN];
    uint32_t result;
    uint64_t closed_ms;
    CHECK(cardea_agent_bolt_moved(agent) == expected);
    CHECK(cardea_agent_door_moved(agent, CARDEA_DOOR_OPEN) == expected);
    CHECK(cardea_agent_door_is(agent, CARDEA_DOOR_OPEN) == expected);
    CHECK(cardea_agent_tampered(agent) == expected);
    CHECK(cardea_agent_battery_measured(agent) == expected);
    CHECK(cardea_agent_inside_button_held(agent, nonce) == expected);
    CHECK(cardea_agent_enter_pin(agent, (const uint8_t *)"0123", 4, &result, &closed_ms) == expected);
    CHECK(cardea_agent_ask_membership(agent, 1) == expected);
}

static void configurations_are_checked(void) {
    cardea_agent *agent = NULL;
    const cardea_config good = config;
    uint8_t key[CARDEA_PUBLIC_KEY_LEN];
    memcpy(key, soft_keys.public_keys, sizeof key);
    config.vendor = key;
    config.battery_low = 10;
    CHECK(boot(&agent) == CARDEA_OK && cardea_agent_deinit(agent) == CARDEA_OK);
    key[CARDEA_PUBLIC_KEY_LEN - 1] ^= 1;
    CHECK(boot(&agent) == CARDEA_ERR_KEY);
    config = good;
    config.battery_low = config.battery_good = 50;
    CHECK(boot(&agent) == CARDEA_ERR_ARGUMENT);
    config.battery_good = 101;
    CHECK(boot(&agent) == CARDEA_ERR_ARGUMENT);
    // Version 1 of the struct ended here, and cared nothing for what lies behind it.
    config.size = offsetof(cardea_config, battery_low);
    CHECK(boot(&agent) == CARDEA_OK && cardea_agent_deinit(agent) == CARDEA_OK);
    config.size = offsetof(cardea_config, vendor); // no header ever ended here
    CHECK(boot(&agent) == CARDEA_ERR_VERSION);
    config = good;
}

static void events_fit_the_struct_of_their_time(cardea_agent *agent) {
    union {
        cardea_event event;
        uint8_t bytes[sizeof(cardea_event)];
    } it;
    const size_t first = offsetof(cardea_event, epoch); // what version 1 had
    memset(&it, 0xAA, sizeof it);
    it.event.size = first;
    // A handshake that nobody answers: the lock has something to tell.
    uint8_t frame[64];
    size_t length;
    while (cardea_agent_poll_transmit(agent, sizeof frame, frame, sizeof frame, &length) == CARDEA_OK) continue;
    world.now += 24 * 3600 * 1000;
    CHECK(cardea_agent_handle_timeout(agent) == CARDEA_OK);
    CHECK(cardea_agent_poll_event(agent, &it.event) == CARDEA_OK);
    CHECK(it.event.kind == CARDEA_EVENT_HANDSHAKE_FAILED && it.event.size == first);
    for (size_t at = first; at < sizeof it; at++) CHECK(it.bytes[at] == 0xAA);
    it.event.size = first + 1;
    CHECK(cardea_agent_poll_event(agent, &it.event) == CARDEA_ERR_VERSION);
    it.event.size = sizeof it.event;
    CHECK(cardea_agent_poll_event(agent, &it.event) == CARDEA_NOTHING);
}

int main(void) {
    cardea_random source = {.size = sizeof source, .ctx = &world, .fill = fill};
    CHECK(cardea_abi_version() == CARDEA_ABI_VERSION);
    CHECK(cardea_soft_keys_generate(&soft_keys, &source) == CARDEA_OK);
    CHECK(cardea_config_listening(&config) == CARDEA_OK);
    CHECK(config.battery_low == 20 && config.battery_good == 30 && config.vendor == NULL);
    for (uint32_t slot = 0; slot < CARDEA_SLOT_COUNT; slot++) CHECK(cardea_slot_is_secret(slot) <= 1);
    CHECK(cardea_slot_is_secret(0) == 1 && cardea_slot_is_secret(CARDEA_SLOT_COUNT) == 0);
    // As cardea_provision writes it: without an owner code a lock has nobody to shake hands with.
    CHECK(write_record(&world, 0, (const uint8_t *)"0123456789abcdef", CARDEA_OWNER_CODE_LEN) == 0);
    configurations_are_checked();

    cardea_agent *agent = NULL;
    every_call_says_what_is_wrong_with_the_agent((cardea_agent *)(void *)&memory, CARDEA_ERR_NOT_BOOTED);
    CHECK(boot(&agent) == CARDEA_OK);
    every_call_says_what_is_wrong_with_the_agent(NULL, CARDEA_ERR_NULL);
    every_call_says_what_is_wrong_with_the_agent((cardea_agent *)(void *)(memory.bytes + 1), CARDEA_ERR_MEMORY);
    static cardea_agent_memory copy;
    memcpy(&copy, &memory, sizeof copy);
    every_call_says_what_is_wrong_with_the_agent((cardea_agent *)(void *)&copy, CARDEA_ERR_NOT_BOOTED);

    CHECK(cardea_agent_link_up(agent) == CARDEA_OK);
    numbers_out_of_range_are_refused(agent);
    pins_are_looked_at_whatever_was_typed(agent);
    CHECK(cardea_agent_bolt_moved(agent) == CARDEA_OK);
    CHECK(cardea_agent_tampered(agent) == CARDEA_OK);
    CHECK(cardea_agent_battery_measured(agent) == CARDEA_OK);
    uint8_t nonce[CARDEA_RESET_NONCE_LEN];
    memset(nonce, 7, sizeof nonce);
    CHECK(cardea_agent_inside_button_held(agent, NULL) == CARDEA_ERR_NULL);
    CHECK(cardea_agent_inside_button_held(agent, nonce) == CARDEA_ERR_NO_OWNER);
    for (size_t at = 0; at < sizeof nonce; at++) CHECK(nonce[at] == 0);

    world.reenter = agent;
    CHECK(cardea_agent_door_moved(agent, CARDEA_DOOR_OPEN) == CARDEA_OK);
    CHECK(cardea_agent_tampered(agent) == CARDEA_OK);
    CHECK(cardea_agent_ask_membership(agent, 2) == CARDEA_OK);
    CHECK(world.refused >= 3);
    world.reenter = NULL;

    events_fit_the_struct_of_their_time(agent);
    CHECK(cardea_agent_deinit(agent) == CARDEA_OK);
    every_call_says_what_is_wrong_with_the_agent(agent, CARDEA_ERR_NOT_BOOTED);
    world.storage_fails = true;
    CHECK(boot(&agent) == CARDEA_ERR_STORAGE);
    CHECK(cardea_soft_keys_wipe(&soft_keys) == CARDEA_OK);
    printf("%u checks hold\n", checks);
    return 0;
}
