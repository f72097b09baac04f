/*
 * A stand-in for a ZBOSS host library: ours, not ZBOSS, see ../README.md. One thread, global state and a main loop that never
 * returns, like the one it stands for; a network in the air of a text file.
 */
#include "zboss_api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MEMORY "stand-in.nvram"
#define BUFFERS 32
#define DATA 128
#define TAIL 64
#define TIMERS 64
#define DEVICES 8
#define CODE 18
#define LOCK_ENDPOINT 11u
#define LOCK_CLUSTER 0xFC7Cu

static void fail(const char *why) {
    fprintf(stderr, "stand-in: %s\n", why);
    abort();
}

/* --- time and scheduler: callbacks are alarms that are due ---------------------------------------------------------- */

typedef void (*work_t)(unsigned a, unsigned b);

static struct timer {
    int used;
    uint64_t at_us;
    uint64_t order;
    zb_callback_t callback;
    zb_uint8_t param;
    /* The stand-in's own. */
    work_t work;
    unsigned a, b;
} timers[TIMERS];
static uint64_t next_order;

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static struct timer *new_timer(uint64_t after_us) {
    for (int at = 0; at < TIMERS; at++) {
        if (!timers[at].used) {
            memset(&timers[at], 0, sizeof(timers[at]));
            timers[at].used = 1;
            timers[at].at_us = now_us() + after_us;
            timers[at].order = next_order++;
            return &timers[at];
        }
    }
    return NULL;
}

zb_ret_t zb_schedule_app_alarm(zb_callback_t func, zb_uint8_t param, zb_time_t run_after) {
    struct timer *timer = new_timer((uint64_t)run_after * 15360u);
    if (timer == NULL) {
        return -1;
    }
    timer->callback = func;
    timer->param = param;
    return RET_OK;
}

zb_ret_t zb_schedule_app_callback(zb_callback_t func, zb_uint8_t param) { return zb_schedule_app_alarm(func, param, 0); }

static void later(unsigned ms, work_t work, unsigned a, unsigned b) {
    struct timer *timer = new_timer((uint64_t)ms * 1000u);
    if (timer == NULL) {
        fail("no timer left");
    }
    timer->work = work;
    timer->a = a;
    timer->b = b;
}

void zboss_main_loop(void) {
    for (;;) {
        struct timer *first = NULL;
        for (int at = 0; at < TIMERS; at++) {
            struct timer *timer = &timers[at];
            if (timer->used && (first == NULL || timer->at_us < first->at_us ||
                                (timer->at_us == first->at_us && timer->order < first->order))) {
                first = timer;
            }
        }
        uint64_t now = now_us();
        if (first == NULL || first->at_us > now) {
            uint64_t pause = first == NULL ? 10000u : first->at_us - now;
            usleep((useconds_t)(pause < 10000u ? pause : 10000u));
            continue;
        }
        struct timer run = *first;
        first->used = 0;
        if (run.callback != NULL) {
            run.callback(run.param);
        } else {
            run.work(run.a, run.b);
        }
    }
}

/* --- buffers -------------------------------------------------------------------------------------------------------- */

static struct {
    int used;
    zb_ret_t status;
    zb_uint_t len;
    zb_uint8_t data[DATA];
    zb_uint8_t tail[TAIL];
} buffers[BUFFERS + 1];

zb_bufid_t zb_buf_get_out_func(void) {
    for (int at = 1; at <= BUFFERS; at++) {
        if (!buffers[at].used) {
            memset(&buffers[at], 0, sizeof(buffers[at]));
            buffers[at].used = 1;
            return (zb_bufid_t)at;
        }
    }
    return ZB_BUF_INVALID;
}

static zb_bufid_t new_buffer(void) {
    zb_bufid_t buf = zb_buf_get_out_func();
    if (buf == ZB_BUF_INVALID) {
        fail("no buffer left: one is not given back");
    }
    return buf;
}

static void check(zb_bufid_t buf) {
    if (buf == 0 || buf > BUFFERS || !buffers[buf].used) {
        fail("a buffer that nobody has");
    }
}

void zb_buf_free_func(zb_bufid_t buf) {
    check(buf);
    buffers[buf].used = 0;
}

void *zb_buf_begin_func(zb_bufid_t buf) {
    check(buf);
    return buffers[buf].data;
}

zb_uint_t zb_buf_len_func(zb_bufid_t buf) {
    check(buf);
    return buffers[buf].len;
}

void *zb_buf_initial_alloc_func(zb_bufid_t buf, zb_uint_t size) {
    check(buf);
    if (size > DATA) {
        fail("a buffer is too small");
    }
    buffers[buf].len = size;
    return buffers[buf].data;
}

void *zb_buf_get_tail_func(zb_bufid_t buf, zb_uint_t size) {
    check(buf);
    if (size > TAIL) {
        fail("a buffer's tail is too small");
    }
    return buffers[buf].tail;
}

zb_ret_t zb_buf_get_status_func(zb_bufid_t buf) {
    check(buf);
    return buffers[buf].status;
}

/* --- the network and what is remembered of it ----------------------------------------------------------------------- */

/* What the file holds, as it stands here; `joined` of a device is its address in the network. */
static struct {
    int formed;
    zb_ext_pan_id_t ext_pan;
    zb_uint16_t pan;
    zb_uint8_t channel;
    zb_uint8_t key[16];
    struct {
        zb_ieee_addr_t address;
        zb_uint16_t nwk;
    } joined[DEVICES];
} memory;

static struct {
    zb_ieee_addr_t address;
    zb_uint8_t code[CODE];
    int code_len;
    int joining;
} devices[DEVICES];
static int device_count;

/* Codes that the trust centre has. */
static struct {
    int used;
    zb_ieee_addr_t address;
    zb_uint8_t code[CODE];
    int len;
} codes[DEVICES];

static zb_uint32_t channels;
static zb_ext_pan_id_t wanted_ext_pan;
static zb_uint16_t wanted_pan;
static zb_uint8_t wanted_key[16];
static int erase, started, up, code_policy, legacy_devices;
static uint64_t open_until_us;
static zb_device_handler_t on_data;
static zb_aps_user_payload_callback_t on_sent;
static zb_af_device_ctx_t *context;

static const zb_ieee_addr_t own = {0x01, 0x00, 0x00, 0x00, 0x00, 0xEE, 0xCA, 0x02};

static void remember(void) {
    FILE *file = fopen(MEMORY ".new", "wb");
    if (file == NULL || fwrite(&memory, sizeof(memory), 1, file) != 1 || fclose(file) != 0 ||
        rename(MEMORY ".new", MEMORY) != 0) {
        fail("the network cannot be written");
    }
}

static int hex(const char *text, zb_uint8_t *bytes, int max) {
    int len = 0;
    unsigned byte;
    while (len < max && sscanf(text + 2 * len, "%2x", &byte) == 1) {
        bytes[len++] = (zb_uint8_t)byte;
    }
    return len;
}

static void look_into_the_air(void) {
    const char *path = getenv("NCP_SLAVE_PTY");
    FILE *file = path == NULL ? NULL : fopen(path, "r");
    char address[32], code[64];
    if (file == NULL) {
        fail("there is no dongle at that port");
    }
    while (device_count < DEVICES && fscanf(file, "%31s %63s", address, code) == 2) {
        zb_ieee_addr_t bytes;
        if (hex(address, bytes, 8) != 8) {
            fail("an address in the air is no EUI-64");
        }
        for (int at = 0; at < 8; at++) {
            devices[device_count].address[at] = bytes[7 - at];
        }
        devices[device_count].code_len = hex(code, devices[device_count].code, CODE);
        device_count++;
    }
    fclose(file);
}

static int joined_at(const zb_uint8_t *address) {
    for (int at = 0; at < DEVICES; at++) {
        if (memory.joined[at].nwk != 0 && memcmp(memory.joined[at].address, address, 8) == 0) {
            return at;
        }
    }
    return -1;
}

static int joined_as(zb_uint16_t nwk) {
    for (int at = 0; at < DEVICES; at++) {
        if (nwk != 0 && memory.joined[at].nwk == nwk) {
            return at;
        }
    }
    return -1;
}

/* --- signals -------------------------------------------------------------------------------------------------------- */

static void tell(zb_uint32_t signal, zb_ret_t status, const void *params, zb_uint_t size) {
    zb_bufid_t buf = new_buffer();
    zb_uint8_t *data = zb_buf_initial_alloc_func(buf, sizeof(zb_zdo_app_signal_hdr_t) + size);
    ((zb_zdo_app_signal_hdr_t *)(void *)data)->sig_type = signal;
    if (size > 0) {
        memcpy(data + sizeof(zb_zdo_app_signal_hdr_t), params, size);
    }
    buffers[buf].status = status;
    zb_schedule_app_callback(zboss_signal_handler, buf);
}

zb_zdo_app_signal_type_t zb_get_app_signal(zb_uint8_t param, zb_zdo_app_signal_hdr_t **sg_p) {
    *sg_p = zb_buf_begin_func(param);
    return (zb_zdo_app_signal_type_t)(*sg_p)->sig_type;
}

static void tell_update(const zb_uint8_t *address, zb_uint16_t nwk, zb_uint8_t status) {
    zb_zdo_signal_device_update_params_t update = {.short_addr = nwk, .status = status, .parent_short = 0};
    memcpy(update.long_addr, address, 8);
    tell(ZB_ZDO_SIGNAL_DEVICE_UPDATE, RET_OK, &update, sizeof(update));
}

/* --- start ---------------------------------------------------------------------------------------------------------- */

void zb_init(zb_char_t *trace_comment) {
    (void)trace_comment;
    look_into_the_air();
    /* Whatever is set later, a start without being told so remembers. */
    FILE *file = fopen("stand-in.pid", "w");
    if (file == NULL || fprintf(file, "%d\n", (int)getpid()) < 0 || fclose(file) != 0) {
        fail("the working directory cannot be written");
    }
}

static void skip_startup(unsigned a, unsigned b) {
    (void)a, (void)b;
    tell(ZB_ZDO_SIGNAL_SKIP_STARTUP, RET_OK, NULL, 0);
}

zb_ret_t zboss_start_no_autostart(void) {
    FILE *file;
    if (started || context == NULL || on_data == NULL) {
        return -1;
    }
    started = 1;
    if (erase) {
        remove(MEMORY);
    }
    file = fopen(MEMORY, "rb");
    if (file != NULL && fread(&memory, sizeof(memory), 1, file) != 1) {
        memset(&memory, 0, sizeof(memory));
    }
    if (file != NULL) {
        fclose(file);
    }
    later(5, skip_startup, 0, 0);
    return RET_OK;
}

static void initialised(unsigned a, unsigned b) {
    (void)a, (void)b;
    up = memory.formed;
    tell(up ? ZB_BDB_SIGNAL_DEVICE_REBOOT : ZB_BDB_SIGNAL_DEVICE_FIRST_START, RET_OK, NULL, 0);
}

static void formation(unsigned a, unsigned b) {
    (void)a, (void)b;
    /* How often a network was formed here is what the test wants to know. */
    FILE *file = fopen("stand-in.formations", "a");
    if (file == NULL || fputs("formed\n", file) < 0 || fclose(file) != 0) {
        fail("the working directory cannot be written");
    }
    memset(&memory, 0, sizeof(memory));
    memory.formed = 1;
    memcpy(memory.ext_pan, wanted_ext_pan, 8);
    memcpy(memory.key, wanted_key, 16);
    memory.pan = wanted_pan != 0 ? wanted_pan : 0x1A62;
    for (memory.channel = 11; memory.channel < 26 && (channels >> memory.channel & 1u) == 0; memory.channel++) {
    }
    remember();
    up = 1;
    tell(ZB_BDB_SIGNAL_FORMATION, RET_OK, NULL, 0);
}

zb_bool_t bdb_start_top_level_commissioning(zb_uint8_t mode_mask) {
    if (!started) {
        return ZB_FALSE;
    }
    if (mode_mask == 0) {
        later(5, initialised, 0, 0);
        return ZB_TRUE;
    }
    if (mode_mask != ZB_BDB_NETWORK_FORMATION || up) {
        return ZB_FALSE;
    }
    later(50, formation, 0, 0);
    return ZB_TRUE;
}

const zb_char_t *zb_get_version(void) { return "stand-in, not ZBOSS"; }
void zb_set_network_coordinator_role(zb_uint32_t channel_mask) { channels = channel_mask; }
void zb_set_max_children(zb_uint8_t max_children) { (void)max_children; }
void zb_set_rx_on_when_idle(zb_bool_t rx_on) { (void)rx_on; }
void zb_set_nvram_erase_at_start(zb_bool_t on) { erase = on; }
void zb_set_extended_pan_id(const zb_ext_pan_id_t ext_pan_id) { memcpy(wanted_ext_pan, ext_pan_id, 8); }
void zb_set_pan_id(zb_uint16_t pan_id) { wanted_pan = pan_id; }
void zb_set_node_descriptor_manufacturer_code_req(zb_uint16_t manuf_code, zb_set_manufacturer_code_cb_t cb) {
    (void)manuf_code;
    cb(RET_OK);
}
void zb_secur_setup_nwk_key(zb_uint8_t *key, zb_uint8_t i) {
    (void)i;
    memcpy(wanted_key, key, 16);
}
void zb_set_installcode_policy(zb_bool_t allow_ic_only) { code_policy = allow_ic_only; }
void zb_bdb_set_legacy_device_support(zb_uint8_t state) { legacy_devices = state; }
void zb_zdo_set_aps_unsecure_join(zb_bool_t insecure_join) { (void)insecure_join; }
void zb_secur_set_tc_rejoin_enabled(zb_bool_t enable) { (void)enable; }
void zb_secur_set_ignore_tc_rejoin(zb_bool_t enable) { (void)enable; }
void zb_af_register_device_ctx(zb_af_device_ctx_t *device_ctx) { context = device_ctx; }
void zb_af_set_data_indication(zb_device_handler_t cb) { on_data = cb; }
void zb_aps_set_user_data_tx_cb(zb_aps_user_payload_callback_t cb) { on_sent = cb; }

void zb_get_long_address(zb_ieee_addr_t addr) { memcpy(addr, own, 8); }
void zb_get_extended_pan_id(zb_ext_pan_id_t ext_pan_id) { memcpy(ext_pan_id, memory.ext_pan, 8); }
zb_uint16_t zb_get_pan_id(void) { return memory.pan; }
zb_uint8_t zb_get_current_channel(void) { return memory.channel; }
zb_bool_t zb_zdo_joined(void) { return up ? ZB_TRUE : ZB_FALSE; }

zb_uint16_t zb_address_short_by_ieee(const zb_ieee_addr_t ieee_address) {
    int at = joined_at(ieee_address);
    return at < 0 ? 0xFFFFu : memory.joined[at].nwk;
}

zb_ret_t zb_address_ieee_by_short(zb_uint16_t short_addr, zb_ieee_addr_t ieee_address) {
    int at = joined_as(short_addr);
    if (at < 0) {
        return -1;
    }
    memcpy(ieee_address, memory.joined[at].address, 8);
    return RET_OK;
}

/* --- joins ---------------------------------------------------------------------------------------------------------- */

static int code_of(const zb_uint8_t *address) {
    for (int at = 0; at < DEVICES; at++) {
        if (codes[at].used && memcmp(codes[at].address, address, 8) == 0) {
            return at;
        }
    }
    return -1;
}

void zb_secur_ic_add(const zb_ieee_addr_t address, zb_uint8_t ic_type, zb_uint8_t const *ic, zb_secur_ic_add_cb_t cb) {
    static const int lengths[] = {8, 10, 14, 18};
    int at = code_of(address);
    for (int other = 0; at < 0 && other < DEVICES; other++) {
        at = codes[other].used ? -1 : other;
    }
    if (at < 0 || ic_type > ZB_IC_TYPE_128) {
        cb(-1);
        return;
    }
    codes[at].used = 1;
    memcpy(codes[at].address, address, 8);
    codes[at].len = lengths[ic_type];
    memcpy(codes[at].code, ic, (size_t)codes[at].len);
    /* In the middle of the call, as a library may. */
    cb(RET_OK);
}

void zb_secur_ic_remove_req(zb_uint8_t param) {
    zb_secur_ic_remove_req_t *request = ZB_BUF_GET_PARAM(param, zb_secur_ic_remove_req_t);
    zb_callback_t callback = request->response_cb;
    int at = code_of(request->device_address);
    if (at >= 0) {
        codes[at].used = 0;
    }
    zb_schedule_app_callback(callback, param);
}

static void authorised(unsigned device, unsigned nwk) {
    zb_zdo_signal_device_authorized_params_t params = {.short_addr = (zb_uint16_t)nwk,
                                                       .authorization_type = legacy_devices ? 0 : 1};
    int code = code_of(devices[device].address);
    int well = code >= 0 && codes[code].len == devices[device].code_len &&
               memcmp(codes[code].code, devices[device].code, (size_t)codes[code].len) == 0;
    int free_at = -1;
    devices[device].joining = 0;
    memcpy(params.long_addr, devices[device].address, 8);
    for (int at = 0; well && at < DEVICES && free_at < 0; at++) {
        free_at = memory.joined[at].nwk == 0 ? at : -1;
    }
    params.authorization_status = free_at >= 0 ? 0 : 2;
    if (free_at >= 0) {
        memcpy(memory.joined[free_at].address, devices[device].address, 8);
        memory.joined[free_at].nwk = (zb_uint16_t)nwk;
        remember();
    }
    tell(ZB_ZDO_SIGNAL_DEVICE_AUTHORIZED, RET_OK, &params, sizeof(params));
}

/* A device that is in no network tries while the network is open. */
static void try_to_join(unsigned device, unsigned b) {
    (void)b;
    if (!up || now_us() >= open_until_us || joined_at(devices[device].address) >= 0 || devices[device].joining) {
        return;
    }
    if (code_policy && code_of(devices[device].address) < 0) {
        return;
    }
    devices[device].joining = 1;
    tell_update(devices[device].address, (zb_uint16_t)(0x1000u + device), 1);
    later(60, authorised, device, 0x1000u + device);
}

/* --- ZDO ------------------------------------------------------------------------------------------------------------ */

static zb_uint8_t next_tsn;
static struct {
    zb_callback_t callback;
} asked[256];

static zb_uint8_t new_tsn(zb_callback_t cb) {
    next_tsn = next_tsn == 0xFEu ? 0 : (zb_uint8_t)(next_tsn + 1u);
    asked[next_tsn].callback = cb;
    return next_tsn;
}

/* An answer comes in a buffer of its own. */
static void answer(unsigned buf, unsigned tsn) {
    zb_callback_t callback = asked[tsn].callback;
    if (callback != NULL) {
        callback((zb_uint8_t)buf);
    } else {
        zb_buf_free_func((zb_bufid_t)buf);
    }
}

static zb_uint8_t reply(zb_uint8_t request, zb_callback_t cb, const void *fields, zb_uint_t size, zb_uint8_t status) {
    zb_bufid_t buf = new_buffer();
    zb_uint8_t tsn = new_tsn(cb);
    zb_uint8_t *data = zb_buf_initial_alloc_func(buf, status == 0 ? size : sizeof(zb_zdo_callback_info_t));
    zb_buf_free_func(request);
    if (status == 0) {
        memcpy(data, fields, size);
    }
    data[0] = tsn;
    data[1] = status;
    later(20, answer, buf, tsn);
    return tsn;
}

zb_uint8_t zb_zdo_node_desc_req(zb_uint8_t param, zb_callback_t cb) {
    zb_zdo_node_desc_req_t *request = zb_buf_begin_func(param);
    zb_zdo_node_desc_resp_t response = {.hdr = {.nwk_addr = request->nwk_addr},
                                        .node_desc = {.node_desc_flags = 0x4002,
                                                      .mac_capability_flags = 0x80,
                                                      .manufacturer_code = 0xFFF1,
                                                      .max_buf_size = 82,
                                                      .max_incoming_transfer_size = 128,
                                                      .server_mask = 0x2C00,
                                                      .max_outgoing_transfer_size = 128,
                                                      .desc_capability_field = 0}};
    return reply(param, cb, &response, sizeof(response), joined_as(request->nwk_addr) < 0 ? 0x81 : 0);
}

zb_uint8_t zb_zdo_active_ep_req(zb_uint8_t param, zb_callback_t cb) {
    zb_zdo_active_ep_req_t *request = zb_buf_begin_func(param);
    struct {
        zb_zdo_ep_resp_t head;
        zb_uint8_t endpoints[2];
    } ZB_PACKED_STRUCT response = {.head = {.nwk_addr = request->nwk_addr, .ep_count = 2},
                                   .endpoints = {LOCK_ENDPOINT, 242}};
    return reply(param, cb, &response, sizeof(response), joined_as(request->nwk_addr) < 0 ? 0x81 : 0);
}

zb_uint8_t zb_zdo_simple_desc_req(zb_uint8_t param, zb_callback_t cb) {
    zb_zdo_simple_desc_req_t *request = zb_buf_begin_func(param);
    /* Two servers and a client: more than the type has room for, as on real devices. */
    struct {
        zb_zdo_simple_desc_resp_hdr_t hdr;
        zb_uint8_t endpoint;
        zb_uint16_t profile, device;
        zb_uint8_t version, servers, clients;
        zb_uint16_t clusters[3];
    } ZB_PACKED_STRUCT response = {.hdr = {.nwk_addr = request->nwk_addr, .length = 14},
                                   .endpoint = LOCK_ENDPOINT,
                                   .profile = 0x0104,
                                   .device = 0x000A,
                                   .version = 1,
                                   .servers = 2,
                                   .clients = 1,
                                   .clusters = {0x0000, LOCK_CLUSTER, 0x0019}};
    zb_uint8_t status = request->endpoint == LOCK_ENDPOINT ? 0 : 0x82;
    return reply(param, cb, &response, sizeof(response), joined_as(request->nwk_addr) < 0 ? 0x81 : status);
}

zb_uint8_t zb_zdo_bind_req(zb_uint8_t param, zb_callback_t cb) {
    zb_zdo_bind_req_param_t *request = ZB_BUF_GET_PARAM(param, zb_zdo_bind_req_param_t);
    zb_zdo_callback_info_t response = {0, 0};
    int well = joined_as(request->req_dst_addr) >= 0 && request->src_endp == LOCK_ENDPOINT &&
               memcmp(request->dst_address.addr_long, own, 8) == 0;
    return reply(param, cb, &response, sizeof(response), well ? 0 : 0x84);
}

static void leave(unsigned device, unsigned b) {
    zb_zdo_signal_leave_indication_params_t params = {.short_addr = memory.joined[device].nwk, .rejoin = 0};
    (void)b;
    memcpy(params.device_addr, memory.joined[device].address, 8);
    memset(&memory.joined[device], 0, sizeof(memory.joined[device]));
    remember();
    tell(ZB_ZDO_SIGNAL_LEAVE_INDICATION, RET_OK, &params, sizeof(params));
}

zb_uint8_t zdo_mgmt_leave_req(zb_uint8_t param, zb_callback_t cb) {
    zb_zdo_mgmt_leave_param_t *request = ZB_BUF_GET_PARAM(param, zb_zdo_mgmt_leave_param_t);
    zb_zdo_callback_info_t response = {0, 0};
    int at = joined_as(request->dst_addr);
    if (at >= 0) {
        later(40, leave, (unsigned)at, 0);
    }
    return reply(param, cb, &response, sizeof(response), at >= 0 ? 0 : 0x81);
}

zb_uint8_t zb_zdo_mgmt_lqi_req(zb_uint8_t param, zb_callback_t cb) {
    zb_zdo_mgmt_lqi_param_t *request = ZB_BUF_GET_PARAM(param, zb_zdo_mgmt_lqi_param_t);
    struct {
        zb_zdo_mgmt_lqi_resp_t head;
        zb_zdo_neighbor_table_record_t record;
    } ZB_PACKED_STRUCT response = {
        .head = {.neighbor_table_entries = 1, .start_index = request->start_index, .neighbor_table_list_count = 1},
        .record = {.network_addr = 0, .type_flags = 0x04, .permit_join = 0, .depth = 0, .lqa = 200}};
    memcpy(response.record.ext_pan_id, memory.ext_pan, 8);
    memcpy(response.record.ext_addr, own, 8);
    return reply(param, cb, &response, sizeof(response), joined_as(request->dst_addr) < 0 ? 0x81 : 0);
}

zb_uint8_t zb_zdo_mgmt_permit_joining_req(zb_uint8_t param, zb_callback_t cb) {
    zb_zdo_mgmt_permit_joining_req_param_t *request = ZB_BUF_GET_PARAM(param, zb_zdo_mgmt_permit_joining_req_param_t);
    zb_zdo_callback_info_t response = {0, 0};
    if (request->permit_duration == 0xFF) {
        fail("the network is opened for ever");
    }
    if (request->dest_addr == 0) {
        open_until_us = now_us() + (uint64_t)request->permit_duration * 1000000u;
        for (int at = 0; request->permit_duration > 0 && at < device_count; at++) {
            later(100u + 10u * (unsigned)at, try_to_join, (unsigned)at, 0);
        }
    }
    return reply(param, cb, &response, sizeof(response), 0);
}

/* --- APS data ------------------------------------------------------------------------------------------------------- */

static void confirm(unsigned buf, unsigned status) {
    buffers[buf].status = (zb_ret_t)status;
    on_sent((zb_uint8_t)buf);
}

/* The device says back what it heard; where that is a frame of the tunnel, in the direction from the lock. */
static void echo(unsigned buf, unsigned device) {
    zb_apsde_data_indication_t *indication = ZB_BUF_GET_PARAM((zb_bufid_t)buf, zb_apsde_data_indication_t);
    (void)device;
    if (buffers[buf].len > 5 && buffers[buf].data[0] == 0x15) {
        buffers[buf].data[0] = 0x1D;
    }
    indication->lqi = 180;
    indication->rssi = -61;
    if (on_data((zb_uint8_t)buf) == ZB_FALSE) {
        zb_buf_free_func((zb_bufid_t)buf);
    }
}

zb_ret_t zb_aps_send_user_payload(zb_uint8_t param, zb_addr_u dst_addr, zb_uint16_t profile_id, zb_uint16_t cluster_id,
                                  zb_uint8_t dst_endpoint, zb_uint8_t src_endpoint, zb_uint8_t addr_mode,
                                  zb_bool_t aps_ack_is_enabled, zb_uint8_t *payload_ptr, zb_uint8_t payload_size) {
    int device = joined_at(dst_addr.addr_long);
    (void)aps_ack_is_enabled;
    if (addr_mode != ZB_APS_ADDR_MODE_64_ENDP_PRESENT || payload_size > 82 || payload_size == 0) {
        return -3;
    }
    if (payload_ptr[0] == 0xDD) {
        abort();
    }
    while (payload_ptr[0] == 0xDE) {
        sleep(1);
    }
    if (device < 0 || payload_ptr[0] == 0xEE) {
        later(30, confirm, param, 0xBE);
        return RET_OK;
    }
    later(20, confirm, param, 0);
    if (cluster_id == LOCK_CLUSTER && dst_endpoint == LOCK_ENDPOINT) {
        zb_bufid_t buf = new_buffer();
        zb_apsde_data_indication_t *indication = ZB_BUF_GET_PARAM(buf, zb_apsde_data_indication_t);
        memcpy(zb_buf_initial_alloc_func(buf, payload_size), payload_ptr, payload_size);
        indication->src_addr = memory.joined[device].nwk;
        indication->profileid = profile_id;
        indication->clusterid = cluster_id;
        indication->src_endpoint = dst_endpoint;
        indication->dst_endpoint = src_endpoint;
        later(50, echo, buf, (unsigned)device);
    }
    return RET_OK;
}

zb_uint8_t *zb_aps_get_aps_payload(zb_uint8_t param, zb_uint8_t *aps_payload_size) {
    *aps_payload_size = (zb_uint8_t)zb_buf_len_func(param);
    return zb_buf_begin_func(param);
}
