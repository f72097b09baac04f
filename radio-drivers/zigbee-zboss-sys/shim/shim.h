/*
 * What of the library's interface is macros, bit fields and buffers, as functions and plain numbers.
 *
 * The names of types, fields and macros that shim.c uses are those of the owner's headers: what a header does not have, or
 * has with another shape, is an error when this is compiled. Addresses are 8 bytes, least significant first, as the
 * library has them. Everything here is called on the library's one thread.
 */
#ifndef CARDEA_ZBOSS_SHIM_H
#define CARDEA_ZBOSS_SHIM_H

#include <stdint.h>

#include "zboss_api.h"

/* Clusters that an endpoint of ours may have. */
#define CARDEA_MAX_CLUSTERS 64u

/* What an answer is to. */
#define CARDEA_ANSWER_NODE 0u
#define CARDEA_ANSWER_ENDPOINTS 1u
#define CARDEA_ANSWER_ENDPOINT 2u
#define CARDEA_ANSWER_DONE 3u
#define CARDEA_ANSWER_NEIGHBOURS 4u

/* Signals that say no more than whether all went well. */
#define CARDEA_SIGNAL_SKIP_STARTUP 0u
#define CARDEA_SIGNAL_STARTED 1u
#define CARDEA_SIGNAL_FORMATION 2u
#define CARDEA_SIGNAL_LEFT 3u

/* ZB_INIT. `device` is the dongle's port. Once in a process. */
void cardea_zb_init(const char *device);
/* Endpoint, data indications and confirmations; after cardea_zb_init. Nonzero: too many clusters. */
int cardea_zb_register(uint8_t endpoint, uint16_t profile, uint16_t device, uint8_t version, uint8_t servers,
                       uint8_t clients, const uint16_t *clusters);
void cardea_zb_manufacturer(uint16_t code);
/* Network layer: with what is remembered, or by forming a network. Zero: it does not start. */
int cardea_zb_commission(int form);
/* Has cardea_on_tick called, soon or after some milliseconds. Zero: well. */
int cardea_zb_tick_now(void);
int cardea_zb_tick_after(uint16_t milliseconds);

/* The number of the frame, 1-255; 0: no buffer now; less: an error of the library. */
int cardea_zb_send(const uint8_t *to, uint16_t profile, uint16_t cluster, uint8_t dst_endpoint, uint8_t src_endpoint,
                   int acknowledge, const uint8_t *payload, uint8_t len);
void cardea_zb_add_code(const uint8_t *device, const uint8_t *code_and_crc, uint8_t len);
void cardea_zb_remove_code(const uint8_t *device);

/* The number of the request, 0-254; less than zero: not now. */
int cardea_zb_permit(uint16_t to, uint8_t seconds);
int cardea_zb_ask_node(uint16_t nwk);
int cardea_zb_ask_endpoints(uint16_t nwk);
int cardea_zb_ask_endpoint(uint16_t nwk, uint8_t endpoint);
int cardea_zb_ask_bind(uint16_t nwk, const uint8_t *device, uint8_t endpoint, uint16_t cluster, const uint8_t *to,
                       uint8_t to_endpoint);
int cardea_zb_ask_leave(uint16_t nwk, const uint8_t *device);
int cardea_zb_ask_neighbours(uint16_t nwk, uint8_t start);

/* Ours, in Rust: what the library says. Pointers are valid during the call. */
void cardea_on_tick(void);
void cardea_on_signal(uint8_t signal, int well);
void cardea_on_update(const uint8_t *device, uint16_t nwk, uint8_t status);
void cardea_on_authorised(const uint8_t *device, uint16_t nwk, uint8_t kind, uint8_t status);
void cardea_on_leave(const uint8_t *device, int rejoin);
void cardea_on_code_added(int well);
void cardea_on_sent(uint8_t number, int32_t status);
void cardea_on_received(uint16_t src, uint16_t profile, uint16_t cluster, uint8_t src_endpoint, uint8_t dst_endpoint,
                        uint8_t lqi, int8_t rssi, const uint8_t *payload, uint32_t len);
/* With status 0 the fields of the answer, little-endian, in the order of the Zigbee specification (a simple descriptor
 * with both counts before the clusters); else nothing. */
void cardea_on_answer(uint8_t kind, uint8_t number, uint8_t status, const uint8_t *fields, uint32_t len);

#endif
