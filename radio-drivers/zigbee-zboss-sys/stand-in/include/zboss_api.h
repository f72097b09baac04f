/*
 * A stand-in for the header of a ZBOSS host SDK: ours, not ZBOSS, see README.md. It declares what cardea-zigbee-zboss-sys
 * uses and nothing else.
 */
#ifndef STAND_IN_ZBOSS_API_H
#define STAND_IN_ZBOSS_API_H

#include <stdint.h>

/* --- numbers, addresses ------------------------------------------------------------------------------------------- */

typedef uint8_t zb_uint8_t;
typedef int8_t zb_int8_t;
typedef uint16_t zb_uint16_t;
typedef uint32_t zb_uint32_t;
typedef unsigned zb_uint_t;
typedef char zb_char_t;
typedef int32_t zb_ret_t;
typedef uint8_t zb_bool_t;
typedef uint32_t zb_time_t;
typedef uint8_t zb_bitfield_t;

#define ZB_TRUE 1U
#define ZB_FALSE 0U
#define RET_OK 0

#define ZB_PACKED_PRE
#define ZB_PACKED_STRUCT __attribute__((packed))

typedef zb_uint8_t zb_64bit_addr_t[8];
typedef zb_64bit_addr_t zb_ieee_addr_t;
typedef zb_64bit_addr_t zb_ext_pan_id_t;
typedef union {
    zb_uint16_t addr_short;
    zb_ieee_addr_t addr_long;
} zb_addr_u;

/* --- scheduler ---------------------------------------------------------------------------------------------------- */

typedef void (*zb_callback_t)(zb_uint8_t param);

zb_ret_t zb_schedule_app_callback(zb_callback_t func, zb_uint8_t param);
zb_ret_t zb_schedule_app_alarm(zb_callback_t func, zb_uint8_t param, zb_time_t run_after);
#define ZB_SCHEDULE_APP_CALLBACK(func, param) zb_schedule_app_callback(func, param)
#define ZB_SCHEDULE_APP_ALARM(func, param, after) zb_schedule_app_alarm(func, param, after)
/* A beacon interval is 15.36 ms. */
#define ZB_MILLISECONDS_TO_BEACON_INTERVAL(ms) (((zb_time_t)(ms)*1000U + 15359U) / 15360U)

/* --- buffers ------------------------------------------------------------------------------------------------------ */

typedef zb_uint8_t zb_bufid_t;
#define ZB_BUF_INVALID 0U

zb_bufid_t zb_buf_get_out_func(void);
void zb_buf_free_func(zb_bufid_t buf);
void *zb_buf_begin_func(zb_bufid_t buf);
zb_uint_t zb_buf_len_func(zb_bufid_t buf);
void *zb_buf_initial_alloc_func(zb_bufid_t buf, zb_uint_t size);
void *zb_buf_get_tail_func(zb_bufid_t buf, zb_uint_t size);
zb_ret_t zb_buf_get_status_func(zb_bufid_t buf);
#define zb_buf_get_out() zb_buf_get_out_func()
#define zb_buf_free(buf) zb_buf_free_func(buf)
#define zb_buf_begin(buf) zb_buf_begin_func(buf)
#define zb_buf_len(buf) zb_buf_len_func(buf)
#define zb_buf_initial_alloc(buf, size) zb_buf_initial_alloc_func((buf), (size))
#define zb_buf_get_status(buf) zb_buf_get_status_func(buf)
#define ZB_BUF_GET_PARAM(buf, type) ((type *)zb_buf_get_tail_func((buf), sizeof(type)))

/* --- start -------------------------------------------------------------------------------------------------------- */

void zb_init(zb_char_t *trace_comment);
#define ZB_INIT(trace_comment) zb_init((zb_char_t *)trace_comment)
zb_ret_t zboss_start_no_autostart(void);
void zboss_main_loop(void);
const zb_char_t *zb_get_version(void);

enum { ZB_BDB_NETWORK_STEERING = 2, ZB_BDB_NETWORK_FORMATION = 4 };
zb_bool_t bdb_start_top_level_commissioning(zb_uint8_t mode_mask);
void zb_bdb_set_legacy_device_support(zb_uint8_t state);

void zb_set_network_coordinator_role(zb_uint32_t channel_mask);
void zb_set_max_children(zb_uint8_t max_children);
void zb_set_rx_on_when_idle(zb_bool_t rx_on);
void zb_set_nvram_erase_at_start(zb_bool_t erase);
void zb_set_extended_pan_id(const zb_ext_pan_id_t ext_pan_id);
void zb_set_pan_id(zb_uint16_t pan_id);
typedef void (*zb_set_manufacturer_code_cb_t)(zb_ret_t status);
void zb_set_node_descriptor_manufacturer_code_req(zb_uint16_t manuf_code, zb_set_manufacturer_code_cb_t cb);

void zb_get_long_address(zb_ieee_addr_t addr);
void zb_get_extended_pan_id(zb_ext_pan_id_t ext_pan_id);
zb_uint16_t zb_get_pan_id(void);
zb_uint8_t zb_get_current_channel(void);
zb_bool_t zb_zdo_joined(void);
zb_uint16_t zb_address_short_by_ieee(const zb_ieee_addr_t ieee_address);
zb_ret_t zb_address_ieee_by_short(zb_uint16_t short_addr, zb_ieee_addr_t ieee_address);

/* --- trust centre ------------------------------------------------------------------------------------------------- */

void zb_secur_setup_nwk_key(zb_uint8_t *key, zb_uint8_t i);
void zb_set_installcode_policy(zb_bool_t allow_ic_only);
void zb_zdo_set_aps_unsecure_join(zb_bool_t insecure_join);
void zb_secur_set_tc_rejoin_enabled(zb_bool_t enable);
void zb_secur_set_ignore_tc_rejoin(zb_bool_t enable);

#define ZB_IC_TYPE_48 0U
#define ZB_IC_TYPE_64 1U
#define ZB_IC_TYPE_96 2U
#define ZB_IC_TYPE_128 3U
typedef void (*zb_secur_ic_add_cb_t)(zb_ret_t status);
void zb_secur_ic_add(const zb_ieee_addr_t address, zb_uint8_t ic_type, zb_uint8_t const *ic, zb_secur_ic_add_cb_t cb);
typedef struct {
    zb_ieee_addr_t device_address;
    zb_callback_t response_cb;
} ZB_PACKED_STRUCT zb_secur_ic_remove_req_t;
void zb_secur_ic_remove_req(zb_uint8_t param);

/* --- signals ------------------------------------------------------------------------------------------------------ */

#define ZB_ZDO_SIGNAL_SKIP_STARTUP 1U
#define ZB_ZDO_SIGNAL_LEAVE 3U
#define ZB_BDB_SIGNAL_DEVICE_FIRST_START 5U
#define ZB_BDB_SIGNAL_DEVICE_REBOOT 6U
#define ZB_BDB_SIGNAL_FORMATION 11U
#define ZB_ZDO_SIGNAL_LEAVE_INDICATION 19U
#define ZB_ZDO_SIGNAL_DEVICE_AUTHORIZED 47U
#define ZB_ZDO_SIGNAL_DEVICE_UPDATE 48U
typedef zb_uint8_t zb_zdo_app_signal_type_t;
typedef struct {
    zb_uint32_t sig_type;
} zb_zdo_app_signal_hdr_t;
zb_zdo_app_signal_type_t zb_get_app_signal(zb_uint8_t param, zb_zdo_app_signal_hdr_t **sg_p);
#define ZB_GET_APP_SIGNAL_STATUS(param) zb_buf_get_status(param)
#define ZB_ZDO_SIGNAL_GET_PARAMS(sg_p, type) ((type *)(void *)((zb_uint8_t *)(sg_p) + sizeof(zb_zdo_app_signal_hdr_t)))
/* The application's. */
void zboss_signal_handler(zb_uint8_t param);

typedef struct {
    zb_ieee_addr_t long_addr;
    zb_uint16_t short_addr;
    zb_uint8_t status;
    zb_uint8_t tc_action;
    zb_uint16_t parent_short;
} zb_zdo_signal_device_update_params_t;
typedef struct {
    zb_ieee_addr_t long_addr;
    zb_uint16_t short_addr;
    zb_uint8_t authorization_type;
    zb_uint8_t authorization_status;
} zb_zdo_signal_device_authorized_params_t;
typedef struct {
    zb_uint16_t short_addr;
    zb_ieee_addr_t device_addr;
    zb_uint8_t rejoin;
} zb_zdo_signal_leave_indication_params_t;

/* --- endpoints ---------------------------------------------------------------------------------------------------- */

#define ZB_AF_ZDO_PROFILE_ID 0x0000U
#define ZB_DECLARE_SIMPLE_DESC(servers, clients)                                                                       \
    typedef struct {                                                                                                   \
        zb_uint8_t endpoint;                                                                                           \
        zb_uint16_t app_profile_id;                                                                                    \
        zb_uint16_t app_device_id;                                                                                     \
        zb_bitfield_t app_device_version : 4;                                                                          \
        zb_bitfield_t reserved : 4;                                                                                    \
        zb_uint8_t app_input_cluster_count;                                                                            \
        zb_uint8_t app_output_cluster_count;                                                                           \
        zb_uint16_t app_cluster_list[(servers) + (clients)];                                                           \
    } ZB_PACKED_STRUCT zb_af_simple_desc_##servers##_##clients##_t
ZB_DECLARE_SIMPLE_DESC(1, 1);

typedef zb_uint8_t (*zb_device_handler_t)(zb_uint8_t param);
typedef struct {
    zb_uint8_t ep_id;
    zb_uint16_t profile_id;
    zb_device_handler_t device_handler;
    zb_af_simple_desc_1_1_t *simple_desc;
} ZB_PACKED_STRUCT zb_af_endpoint_desc_t;
typedef struct {
    zb_uint8_t ep_count;
    zb_af_endpoint_desc_t **ep_desc_list;
} ZB_PACKED_STRUCT zb_af_device_ctx_t;
void zb_af_register_device_ctx(zb_af_device_ctx_t *device_ctx);
#define ZB_AF_REGISTER_DEVICE_CTX(device_ctx) zb_af_register_device_ctx(device_ctx)
void zb_af_set_data_indication(zb_device_handler_t cb);

/* --- APS data ----------------------------------------------------------------------------------------------------- */

#define ZB_APS_ADDR_MODE_64_ENDP_PRESENT 0x03U
typedef struct {
    zb_uint8_t fc;
    zb_uint16_t src_addr;
    zb_uint16_t dst_addr;
    zb_uint16_t group_addr;
    zb_uint8_t dst_endpoint;
    zb_uint8_t src_endpoint;
    zb_uint16_t clusterid;
    zb_uint16_t profileid;
    zb_uint8_t aps_counter;
    zb_uint16_t mac_src_addr;
    zb_uint16_t mac_dst_addr;
    zb_uint8_t lqi;
    zb_int8_t rssi;
} ZB_PACKED_STRUCT zb_apsde_data_indication_t;
typedef void (*zb_aps_user_payload_callback_t)(zb_uint8_t param);
void zb_aps_set_user_data_tx_cb(zb_aps_user_payload_callback_t cb);
zb_ret_t zb_aps_send_user_payload(zb_uint8_t param, zb_addr_u dst_addr, zb_uint16_t profile_id, zb_uint16_t cluster_id,
                                  zb_uint8_t dst_endpoint, zb_uint8_t src_endpoint, zb_uint8_t addr_mode,
                                  zb_bool_t aps_ack_is_enabled, zb_uint8_t *payload_ptr, zb_uint8_t payload_size);
zb_uint8_t *zb_aps_get_aps_payload(zb_uint8_t param, zb_uint8_t *aps_payload_size);

/* --- ZDO ---------------------------------------------------------------------------------------------------------- */

#define ZB_ZDP_STATUS_SUCCESS 0x00U
#define ZB_ZDP_STATUS_INV_REQUESTTYPE 0x80U
#define ZB_BIND_DST_ADDR_MODE_64_BIT_EXTENDED 0x03U

typedef struct {
    zb_uint8_t tsn;
    zb_uint8_t status;
} ZB_PACKED_STRUCT zb_zdo_callback_info_t;
typedef struct {
    zb_uint8_t tsn;
    zb_uint8_t status;
    zb_uint16_t nwk_addr;
} ZB_PACKED_STRUCT zb_zdo_desc_resp_hdr_t;
typedef struct {
    zb_uint16_t node_desc_flags;
    zb_uint8_t mac_capability_flags;
    zb_uint16_t manufacturer_code;
    zb_uint8_t max_buf_size;
    zb_uint16_t max_incoming_transfer_size;
    zb_uint16_t server_mask;
    zb_uint16_t max_outgoing_transfer_size;
    zb_uint8_t desc_capability_field;
} ZB_PACKED_STRUCT zb_af_node_desc_t;
typedef struct {
    zb_zdo_desc_resp_hdr_t hdr;
    zb_af_node_desc_t node_desc;
} ZB_PACKED_STRUCT zb_zdo_node_desc_resp_t;
typedef struct {
    zb_uint8_t tsn;
    zb_uint8_t status;
    zb_uint16_t nwk_addr;
    zb_uint8_t ep_count;
} ZB_PACKED_STRUCT zb_zdo_ep_resp_t;
typedef struct {
    zb_uint8_t tsn;
    zb_uint8_t status;
    zb_uint16_t nwk_addr;
    zb_uint8_t length;
} ZB_PACKED_STRUCT zb_zdo_simple_desc_resp_hdr_t;
typedef struct {
    zb_zdo_simple_desc_resp_hdr_t hdr;
    zb_af_simple_desc_1_1_t simple_desc;
} ZB_PACKED_STRUCT zb_zdo_simple_desc_resp_t;
typedef struct {
    zb_uint8_t tsn;
    zb_uint8_t status;
    zb_uint8_t neighbor_table_entries;
    zb_uint8_t start_index;
    zb_uint8_t neighbor_table_list_count;
} ZB_PACKED_STRUCT zb_zdo_mgmt_lqi_resp_t;
typedef struct {
    zb_ext_pan_id_t ext_pan_id;
    zb_ieee_addr_t ext_addr;
    zb_uint16_t network_addr;
    zb_uint8_t type_flags;
    zb_uint8_t permit_join;
    zb_uint8_t depth;
    zb_uint8_t lqa;
} ZB_PACKED_STRUCT zb_zdo_neighbor_table_record_t;

/* Parameters, in the tail of their buffer. */
typedef struct {
    zb_uint16_t dest_addr;
    zb_uint8_t permit_duration;
    zb_uint8_t tc_significance;
} ZB_PACKED_STRUCT zb_zdo_mgmt_permit_joining_req_param_t;
typedef struct {
    zb_ieee_addr_t src_address;
    zb_uint8_t src_endp;
    zb_uint16_t cluster_id;
    zb_uint8_t dst_addr_mode;
    zb_addr_u dst_address;
    zb_uint8_t dst_endp;
    zb_uint16_t req_dst_addr;
} zb_zdo_bind_req_param_t;
typedef struct {
    zb_ieee_addr_t device_address;
    zb_uint16_t dst_addr;
    zb_bitfield_t reserved : 6;
    zb_bitfield_t remove_children : 1;
    zb_bitfield_t rejoin : 1;
} ZB_PACKED_STRUCT zb_zdo_mgmt_leave_param_t;
typedef struct {
    zb_uint8_t start_index;
    zb_uint16_t dst_addr;
} zb_zdo_mgmt_lqi_param_t;

/* Data of their buffer. */
typedef struct {
    zb_uint16_t nwk_addr;
} ZB_PACKED_STRUCT zb_zdo_node_desc_req_t;
typedef struct {
    zb_uint16_t nwk_addr;
} ZB_PACKED_STRUCT zb_zdo_active_ep_req_t;
typedef struct {
    zb_uint16_t nwk_addr;
    zb_uint8_t endpoint;
} ZB_PACKED_STRUCT zb_zdo_simple_desc_req_t;

/* Each returns the number of its request, or 0xFF. */
zb_uint8_t zb_zdo_node_desc_req(zb_uint8_t param, zb_callback_t cb);
zb_uint8_t zb_zdo_active_ep_req(zb_uint8_t param, zb_callback_t cb);
zb_uint8_t zb_zdo_simple_desc_req(zb_uint8_t param, zb_callback_t cb);
zb_uint8_t zb_zdo_bind_req(zb_uint8_t param, zb_callback_t cb);
zb_uint8_t zdo_mgmt_leave_req(zb_uint8_t param, zb_callback_t cb);
zb_uint8_t zb_zdo_mgmt_lqi_req(zb_uint8_t param, zb_callback_t cb);
zb_uint8_t zb_zdo_mgmt_permit_joining_req(zb_uint8_t param, zb_callback_t cb);

#endif
