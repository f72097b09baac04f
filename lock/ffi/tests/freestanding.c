// Linked without a C library: what the agent needs beside these few functions would be an error. scripts/test does so.
#include "cardea.h"

void cardea_panic(void) {
    for (;;) {}
}

// What a C library on a microcontroller has anyway, and all that is wanted of it.
void *memmove(void *to, const void *from, size_t n) {
    uint8_t *t = to;
    const uint8_t *f = from;
    if (t <= f)
        for (size_t at = 0; at < n; at++) t[at] = f[at];
    else
        while (n-- > 0) t[n] = f[n];
    return to;
}

void *memcpy(void *to, const void *from, size_t n) {
    return memmove(to, from, n);
}

void *memset(void *to, int byte, size_t n) {
    for (size_t at = 0; at < n; at++) ((uint8_t *)to)[at] = (uint8_t)byte;
    return to;
}

int memcmp(const void *one, const void *two, size_t n) {
    const uint8_t *a = one, *b = two;
    for (size_t at = 0; at < n; at++)
        if (a[at] != b[at]) return a[at] < b[at] ? -1 : 1;
    return 0;
}

int bcmp(const void *one, const void *two, size_t n) {
    return memcmp(one, two, n);
}

void _start(void);
void _start(void) {
    static cardea_agent_memory memory;
    static cardea_soft_keys keys;
    cardea_agent *agent = NULL;
    uint8_t out[64];
    size_t length;
    uint64_t at;
    cardea_event event = {.size = sizeof event};
    cardea_provision(NULL, NULL);
    cardea_owner_code_generate(NULL, out);
    cardea_soft_keys_generate(&keys, NULL);
    cardea_agent_boot(&memory, sizeof memory, NULL, NULL, &agent);
    cardea_agent_handle_frame(agent, out, sizeof out);
    cardea_agent_poll_transmit(agent, sizeof out, out, sizeof out, &length);
    cardea_agent_poll_timeout(agent, &at);
    cardea_agent_poll_event(agent, &event);
    cardea_agent_deinit(agent);
    for (;;) {}
}
