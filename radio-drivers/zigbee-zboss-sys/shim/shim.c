/* See shim.h. Ours; compiled against the headers of the SDK that ZBOSS_HOST_SDK names. */
#include "shim.h"

#include <stdlib.h>
#include <string.h>

/* What the library returns in place of a request's number when it cannot make one. */
#define NO_NUMBER 0xFFu

/* The longest answer: 16 neighbours of 22 bytes, or a simple descriptor with all its clusters. */
#define MAX_FIELDS 1100u
#define MAX_NEIGHBOURS 16u

ZB_DECLARE_SIMPLE_DESC(64, 0);

static zb_af_simple_desc_64_0_t simple_descriptor;
static zb_af_endpoint_desc_t endpoint_descriptor;
static zb_af_endpoint_desc_t *endpoint_list[1] = {&endpoint_descriptor};
static zb_af_device_ctx_t device_context;

/* Fields of an answer that is being written. */
struct fields {
    uint8_t bytes[MAX_FIELDS];
    uint32_t len;
};

static void put8(struct fields *out, uint8_t value) {
    if (out->len < MAX_FIELDS) {
        out->bytes[out->len++] = value;
    }
}

static void put16(struct fields *out, uint16_t value) {
    put8(out, (uint8_t)(value & 0xFFu));
    put8(out, (uint8_t)(value >> 8));
}

static void put_address(struct fields *out, const uint8_t *address) {
    for (int at = 0; at < 8; at++) {
        put8(out, address[at]);
    }
}

static void received_nothing(zb_ret_t status) { (void)status; }

static void tick(zb_uint8_t param) {
    (void)param;
    cardea_on_tick();
}

static void code_added(zb_ret_t status) { cardea_on_code_added(status == RET_OK); }

static void sent(zb_uint8_t param) {
    cardea_on_sent(param, (int32_t)zb_buf_get_status(param));
    zb_buf_free(param);
}

/* Frames for the coordinator's own services are the library's; all others are ours. */
static zb_uint8_t data_indication(zb_uint8_t param) {
    zb_apsde_data_indication_t *indication = ZB_BUF_GET_PARAM(param, zb_apsde_data_indication_t);
    zb_uint8_t len = 0;
    zb_uint8_t *payload;

    if (indication->profileid == ZB_AF_ZDO_PROFILE_ID || indication->dst_endpoint != endpoint_descriptor.ep_id) {
        return ZB_FALSE;
    }
    payload = zb_aps_get_aps_payload(param, &len);
    if (payload != NULL) {
        cardea_on_received(indication->src_addr, indication->profileid, indication->clusterid, indication->src_endpoint,
                           indication->dst_endpoint, indication->lqi, indication->rssi, payload, len);
    }
    zb_buf_free(param);
    return ZB_TRUE;
}

void zboss_signal_handler(zb_uint8_t param) {
    zb_zdo_app_signal_hdr_t *header = NULL;
    zb_zdo_app_signal_type_t signal = zb_get_app_signal(param, &header);
    int well = ZB_GET_APP_SIGNAL_STATUS(param) == RET_OK;
    uint32_t room = zb_buf_len(param) - (zb_buf_len(param) < sizeof(*header) ? zb_buf_len(param) : sizeof(*header));

    switch (signal) {
        case ZB_ZDO_SIGNAL_SKIP_STARTUP:
            cardea_on_signal(CARDEA_SIGNAL_SKIP_STARTUP, well);
            break;
        case ZB_BDB_SIGNAL_DEVICE_FIRST_START:
        case ZB_BDB_SIGNAL_DEVICE_REBOOT:
            cardea_on_signal(CARDEA_SIGNAL_STARTED, well);
            break;
        case ZB_BDB_SIGNAL_FORMATION:
            cardea_on_signal(CARDEA_SIGNAL_FORMATION, well);
            break;
        case ZB_ZDO_SIGNAL_LEAVE:
            cardea_on_signal(CARDEA_SIGNAL_LEFT, well);
            break;
        case ZB_ZDO_SIGNAL_DEVICE_UPDATE:
            if (room >= sizeof(zb_zdo_signal_device_update_params_t)) {
                zb_zdo_signal_device_update_params_t *update =
                    ZB_ZDO_SIGNAL_GET_PARAMS(header, zb_zdo_signal_device_update_params_t);
                cardea_on_update(update->long_addr, update->short_addr, update->status);
            }
            break;
        case ZB_ZDO_SIGNAL_DEVICE_AUTHORIZED:
            if (room >= sizeof(zb_zdo_signal_device_authorized_params_t)) {
                zb_zdo_signal_device_authorized_params_t *authorised =
                    ZB_ZDO_SIGNAL_GET_PARAMS(header, zb_zdo_signal_device_authorized_params_t);
                cardea_on_authorised(authorised->long_addr, authorised->short_addr, authorised->authorization_type,
                                     authorised->authorization_status);
            }
            break;
        case ZB_ZDO_SIGNAL_LEAVE_INDICATION:
            if (room >= sizeof(zb_zdo_signal_leave_indication_params_t)) {
                zb_zdo_signal_leave_indication_params_t *leave =
                    ZB_ZDO_SIGNAL_GET_PARAMS(header, zb_zdo_signal_leave_indication_params_t);
                cardea_on_leave(leave->device_addr, leave->rejoin != 0);
            }
            break;
        default:
            break;
    }
    if (param != 0) {
        zb_buf_free(param);
    }
}

void cardea_zb_init(const char *device) {
    /* The host library finds the port of its dongle there. */
    setenv("NCP_SLAVE_PTY", device, 1);
    ZB_INIT("cardea-zboss-host");
}

int cardea_zb_register(uint8_t endpoint, uint16_t profile, uint16_t device, uint8_t version, uint8_t servers,
                       uint8_t clients, const uint16_t *clusters) {
    if ((uint32_t)servers + clients > CARDEA_MAX_CLUSTERS) {
        return -1;
    }
    simple_descriptor.endpoint = endpoint;
    simple_descriptor.app_profile_id = profile;
    simple_descriptor.app_device_id = device;
    simple_descriptor.app_device_version = version & 0x0Fu;
    simple_descriptor.app_input_cluster_count = servers;
    simple_descriptor.app_output_cluster_count = clients;
    for (uint32_t at = 0; at < (uint32_t)servers + clients; at++) {
        simple_descriptor.app_cluster_list[at] = clusters[at];
    }
    memset(&endpoint_descriptor, 0, sizeof(endpoint_descriptor));
    endpoint_descriptor.ep_id = endpoint;
    endpoint_descriptor.profile_id = profile;
    /* The library takes every simple descriptor by this type, whatever its number of clusters. */
    endpoint_descriptor.simple_desc = (zb_af_simple_desc_1_1_t *)(void *)&simple_descriptor;
    device_context.ep_count = 1;
    device_context.ep_desc_list = endpoint_list;
    ZB_AF_REGISTER_DEVICE_CTX(&device_context);
    zb_af_set_data_indication(data_indication);
    zb_aps_set_user_data_tx_cb(sent);
    return 0;
}

void cardea_zb_manufacturer(uint16_t code) {
    zb_set_node_descriptor_manufacturer_code_req(code, received_nothing);
}

int cardea_zb_commission(int form) {
    return bdb_start_top_level_commissioning(form ? ZB_BDB_NETWORK_FORMATION : 0) != ZB_FALSE;
}

int cardea_zb_tick_now(void) { return ZB_SCHEDULE_APP_CALLBACK(tick, 0) == RET_OK ? 0 : -1; }

int cardea_zb_tick_after(uint16_t milliseconds) {
    return ZB_SCHEDULE_APP_ALARM(tick, 0, ZB_MILLISECONDS_TO_BEACON_INTERVAL(milliseconds)) == RET_OK ? 0 : -1;
}

int cardea_zb_send(const uint8_t *to, uint16_t profile, uint16_t cluster, uint8_t dst_endpoint, uint8_t src_endpoint,
                   int acknowledge, const uint8_t *payload, uint8_t len) {
    zb_bufid_t buffer = zb_buf_get_out();
    zb_addr_u address;
    zb_ret_t status;

    if (buffer == ZB_BUF_INVALID) {
        return 0;
    }
    /* To the device and not to an address: one that changed in between would bring the frame to another device. */
    memcpy(address.addr_long, to, sizeof(address.addr_long));
    status = zb_aps_send_user_payload(buffer, address, profile, cluster, dst_endpoint, src_endpoint,
                                      ZB_APS_ADDR_MODE_64_ENDP_PRESENT, acknowledge ? ZB_TRUE : ZB_FALSE,
                                      (zb_uint8_t *)(uintptr_t)payload, len);
    if (status != RET_OK) {
        zb_buf_free(buffer);
        return status < 0 ? (int)status : -(int)status;
    }
    return buffer;
}

void cardea_zb_add_code(const uint8_t *device, const uint8_t *code_and_crc, uint8_t len) {
    zb_ieee_addr_t address;
    uint8_t type;

    switch (len) {
        case 8:
            type = ZB_IC_TYPE_48;
            break;
        case 10:
            type = ZB_IC_TYPE_64;
            break;
        case 14:
            type = ZB_IC_TYPE_96;
            break;
        case 18:
            type = ZB_IC_TYPE_128;
            break;
        default:
            cardea_on_code_added(0);
            return;
    }
    memcpy(address, device, sizeof(address));
    zb_secur_ic_add(address, type, (zb_uint8_t *)(uintptr_t)code_and_crc, code_added);
}

static void discard(zb_uint8_t param) {
    if (param != 0) {
        zb_buf_free(param);
    }
}

void cardea_zb_remove_code(const uint8_t *device) {
    zb_bufid_t buffer = zb_buf_get_out();
    zb_secur_ic_remove_req_t *request;

    if (buffer == ZB_BUF_INVALID) {
        return;
    }
    request = ZB_BUF_GET_PARAM(buffer, zb_secur_ic_remove_req_t);
    memcpy(request->device_address, device, sizeof(request->device_address));
    request->response_cb = discard;
    zb_secur_ic_remove_req(buffer);
}

/* The number of a request, or what says that there is none; then the buffer is still ours. */
static int number(zb_bufid_t buffer, zb_uint8_t tsn) {
    if (tsn == NO_NUMBER) {
        zb_buf_free(buffer);
        return -1;
    }
    return tsn;
}

int cardea_zb_permit(uint16_t to, uint8_t seconds) {
    zb_bufid_t buffer = zb_buf_get_out();
    zb_zdo_mgmt_permit_joining_req_param_t *request;

    if (buffer == ZB_BUF_INVALID) {
        return -1;
    }
    request = ZB_BUF_GET_PARAM(buffer, zb_zdo_mgmt_permit_joining_req_param_t);
    request->dest_addr = to;
    request->permit_duration = seconds;
    request->tc_significance = 1;
    return number(buffer, zb_zdo_mgmt_permit_joining_req(buffer, discard));
}

/*
 * All answers begin with the number of their request and a status, also those that the library makes itself when
 * nothing came. The fields behind are there if the status is good and the answer long enough.
 */
static const uint8_t *answer(zb_uint8_t param, uint8_t kind, uint32_t size, uint32_t *len) {
    const uint8_t *bytes = zb_buf_begin(param);
    const zb_zdo_callback_info_t *info = (const zb_zdo_callback_info_t *)(const void *)bytes;

    *len = zb_buf_len(param);
    if (*len < sizeof(*info)) {
        return NULL;
    }
    if (info->status != ZB_ZDP_STATUS_SUCCESS || *len < size) {
        cardea_on_answer(kind, info->tsn,
                         info->status != ZB_ZDP_STATUS_SUCCESS ? info->status : ZB_ZDP_STATUS_INV_REQUESTTYPE, NULL, 0);
        return NULL;
    }
    return bytes;
}

static void answer_node(zb_uint8_t param) {
    struct fields out = {.len = 0};
    uint32_t len;
    const zb_zdo_node_desc_resp_t *response =
        (const void *)answer(param, CARDEA_ANSWER_NODE, sizeof(zb_zdo_node_desc_resp_t), &len);

    if (response != NULL) {
        put16(&out, response->node_desc.node_desc_flags);
        put8(&out, response->node_desc.mac_capability_flags);
        put16(&out, response->node_desc.manufacturer_code);
        put8(&out, response->node_desc.max_buf_size);
        put16(&out, response->node_desc.max_incoming_transfer_size);
        put16(&out, response->node_desc.server_mask);
        put16(&out, response->node_desc.max_outgoing_transfer_size);
        put8(&out, response->node_desc.desc_capability_field);
        cardea_on_answer(CARDEA_ANSWER_NODE, response->hdr.tsn, 0, out.bytes, out.len);
    }
    discard(param);
}

static void answer_endpoints(zb_uint8_t param) {
    struct fields out = {.len = 0};
    uint32_t len;
    const zb_zdo_ep_resp_t *response =
        (const void *)answer(param, CARDEA_ANSWER_ENDPOINTS, sizeof(zb_zdo_ep_resp_t), &len);

    if (response != NULL) {
        const uint8_t *list = (const uint8_t *)response + sizeof(*response);
        uint32_t count = response->ep_count;
        if (count > len - sizeof(*response)) {
            count = len - sizeof(*response);
        }
        put8(&out, (uint8_t)count);
        for (uint32_t at = 0; at < count; at++) {
            put8(&out, list[at]);
        }
        cardea_on_answer(CARDEA_ANSWER_ENDPOINTS, response->tsn, 0, out.bytes, out.len);
    }
    discard(param);
}

static void answer_endpoint(zb_uint8_t param) {
    struct fields out = {.len = 0};
    uint32_t len;
    /* With room for one cluster each way; an endpoint without any is shorter. */
    const uint32_t shortest = sizeof(zb_zdo_simple_desc_resp_t) - 2u * sizeof(zb_uint16_t);
    const zb_zdo_simple_desc_resp_t *response =
        (const void *)answer(param, CARDEA_ANSWER_ENDPOINT, shortest, &len);

    if (response != NULL) {
        const uint8_t *clusters = (const uint8_t *)response + shortest;
        uint32_t servers = response->simple_desc.app_input_cluster_count;
        uint32_t clients = response->simple_desc.app_output_cluster_count;
        uint8_t status = (servers + clients) * sizeof(zb_uint16_t) > len - shortest ? ZB_ZDP_STATUS_INV_REQUESTTYPE : 0;

        put8(&out, response->simple_desc.endpoint);
        put16(&out, response->simple_desc.app_profile_id);
        put16(&out, response->simple_desc.app_device_id);
        put8(&out, response->simple_desc.app_device_version);
        put8(&out, (uint8_t)servers);
        put8(&out, (uint8_t)clients);
        for (uint32_t at = 0; status == 0 && at < servers + clients; at++) {
            zb_uint16_t cluster;
            memcpy(&cluster, clusters + at * sizeof(cluster), sizeof(cluster));
            put16(&out, cluster);
        }
        cardea_on_answer(CARDEA_ANSWER_ENDPOINT, response->hdr.tsn, status, out.bytes, out.len);
    }
    discard(param);
}

static void answer_done(zb_uint8_t param) {
    uint32_t len;
    const zb_zdo_callback_info_t *response =
        (const void *)answer(param, CARDEA_ANSWER_DONE, sizeof(zb_zdo_callback_info_t), &len);

    if (response != NULL) {
        cardea_on_answer(CARDEA_ANSWER_DONE, response->tsn, 0, NULL, 0);
    }
    discard(param);
}

static void answer_neighbours(zb_uint8_t param) {
    struct fields out = {.len = 0};
    uint32_t len;
    const zb_zdo_mgmt_lqi_resp_t *response =
        (const void *)answer(param, CARDEA_ANSWER_NEIGHBOURS, sizeof(zb_zdo_mgmt_lqi_resp_t), &len);

    if (response != NULL) {
        const zb_zdo_neighbor_table_record_t *record =
            (const void *)((const uint8_t *)response + sizeof(*response));
        uint32_t count = response->neighbor_table_list_count;
        uint32_t there = (uint32_t)((len - sizeof(*response)) / sizeof(*record));
        count = count < there ? count : there;
        count = count < MAX_NEIGHBOURS ? count : MAX_NEIGHBOURS;
        put8(&out, response->neighbor_table_entries);
        put8(&out, (uint8_t)count);
        for (uint32_t at = 0; at < count; at++) {
            put_address(&out, record[at].ext_pan_id);
            put_address(&out, record[at].ext_addr);
            put16(&out, record[at].network_addr);
            put8(&out, record[at].type_flags);
            put8(&out, record[at].permit_join);
            put8(&out, record[at].depth);
            put8(&out, record[at].lqa);
        }
        cardea_on_answer(CARDEA_ANSWER_NEIGHBOURS, response->tsn, 0, out.bytes, out.len);
    }
    discard(param);
}

/* These three requests are data of their buffer, the others parameters: the owner's headers say which. */
int cardea_zb_ask_node(uint16_t nwk) {
    zb_bufid_t buffer = zb_buf_get_out();
    zb_zdo_node_desc_req_t *request;

    if (buffer == ZB_BUF_INVALID) {
        return -1;
    }
    request = zb_buf_initial_alloc(buffer, sizeof(*request));
    request->nwk_addr = nwk;
    return number(buffer, zb_zdo_node_desc_req(buffer, answer_node));
}

int cardea_zb_ask_endpoints(uint16_t nwk) {
    zb_bufid_t buffer = zb_buf_get_out();
    zb_zdo_active_ep_req_t *request;

    if (buffer == ZB_BUF_INVALID) {
        return -1;
    }
    request = zb_buf_initial_alloc(buffer, sizeof(*request));
    request->nwk_addr = nwk;
    return number(buffer, zb_zdo_active_ep_req(buffer, answer_endpoints));
}

int cardea_zb_ask_endpoint(uint16_t nwk, uint8_t endpoint) {
    zb_bufid_t buffer = zb_buf_get_out();
    zb_zdo_simple_desc_req_t *request;

    if (buffer == ZB_BUF_INVALID) {
        return -1;
    }
    request = zb_buf_initial_alloc(buffer, sizeof(*request));
    request->nwk_addr = nwk;
    request->endpoint = endpoint;
    return number(buffer, zb_zdo_simple_desc_req(buffer, answer_endpoint));
}

int cardea_zb_ask_bind(uint16_t nwk, const uint8_t *device, uint8_t endpoint, uint16_t cluster, const uint8_t *to,
                       uint8_t to_endpoint) {
    zb_bufid_t buffer = zb_buf_get_out();
    zb_zdo_bind_req_param_t *request;

    if (buffer == ZB_BUF_INVALID) {
        return -1;
    }
    request = ZB_BUF_GET_PARAM(buffer, zb_zdo_bind_req_param_t);
    memcpy(request->src_address, device, sizeof(request->src_address));
    request->src_endp = endpoint;
    request->cluster_id = cluster;
    request->dst_addr_mode = ZB_BIND_DST_ADDR_MODE_64_BIT_EXTENDED;
    memcpy(request->dst_address.addr_long, to, sizeof(request->dst_address.addr_long));
    request->dst_endp = to_endpoint;
    request->req_dst_addr = nwk;
    return number(buffer, zb_zdo_bind_req(buffer, answer_done));
}

int cardea_zb_ask_leave(uint16_t nwk, const uint8_t *device) {
    zb_bufid_t buffer = zb_buf_get_out();
    zb_zdo_mgmt_leave_param_t *request;

    if (buffer == ZB_BUF_INVALID) {
        return -1;
    }
    request = ZB_BUF_GET_PARAM(buffer, zb_zdo_mgmt_leave_param_t);
    memset(request, 0, sizeof(*request));
    memcpy(request->device_address, device, sizeof(request->device_address));
    request->dst_addr = nwk;
    return number(buffer, zdo_mgmt_leave_req(buffer, answer_done));
}

int cardea_zb_ask_neighbours(uint16_t nwk, uint8_t start) {
    zb_bufid_t buffer = zb_buf_get_out();
    zb_zdo_mgmt_lqi_param_t *request;

    if (buffer == ZB_BUF_INVALID) {
        return -1;
    }
    request = ZB_BUF_GET_PARAM(buffer, zb_zdo_mgmt_lqi_param_t);
    request->start_index = start;
    request->dst_addr = nwk;
    return number(buffer, zb_zdo_mgmt_lqi_req(buffer, answer_neighbours));
}
