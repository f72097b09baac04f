//! Fuzz targets as functions, so that tests replay the corpus.
//!
//! Each takes any bytes and must neither panic nor take unbounded time or memory; many also assert a property
//! (what parses encodes to the same bytes). After a change of [`TARGETS`] run `scripts/fuzz-targets`.

pub mod agent;
pub mod api;
pub mod cc1101;
pub mod config;
pub mod credentials;
pub mod edhoc;
pub mod framing;
pub mod holder;
pub mod lora;
pub mod oscore;
pub mod platform;
pub mod relay;
pub mod resources;
pub mod sdk;
pub mod site;
pub mod subghz;
pub mod subghz_others;
pub mod unsealed;
pub mod x509;
pub mod zigbee;

/// A name (corpus folder, libFuzzer binary) and a function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("agent_frames", agent::agent_frames),
    ("agent_nvm", agent::agent_nvm),
    ("agent_site", site::agent_site),
    ("api_peer_line", api::api_peer_line),
    ("api_request", api::api_request),
    ("config_parse", config::config_parse),
    ("credentials_cbor", credentials::credentials_cbor),
    ("credentials_ccs", credentials::credentials_ccs),
    ("credentials_cwt", credentials::credentials_cwt),
    ("credentials_grant", credentials::credentials_grant),
    ("credentials_intake", credentials::credentials_intake),
    ("credentials_owner_code", credentials::credentials_owner_code),
    ("credentials_signed", credentials::credentials_signed),
    ("credentials_site", credentials::credentials_site),
    ("edhoc_error", edhoc::edhoc_error),
    ("edhoc_message_1", edhoc::edhoc_message_1),
    ("edhoc_message_2", edhoc::edhoc_message_2),
    ("edhoc_message_3", edhoc::edhoc_message_3),
    ("edhoc_message_4", edhoc::edhoc_message_4),
    ("ffi_calls", cardea_ffi::fuzz::ffi_calls),
    ("framing_datagram", framing::framing_datagram),
    ("framing_elision", framing::framing_elision),
    ("framing_link", framing::framing_link),
    ("lora_network", lora::lora_network),
    ("lora_records", lora::lora_records),
    ("loopback_datagram", lora::loopback_datagram),
    ("lora_semtech", lora::lora_semtech),
    ("radio_label", lora::radio_label),
    ("coap_parse", oscore::coap_parse),
    ("oscore_request", oscore::oscore_request),
    ("oscore_response", oscore::oscore_response),
    ("platform_config", platform::platform_config),
    ("platform_request", platform::platform_request),
    ("relay_frames", relay::relay_frames),
    ("relay_message", relay::relay_message),
    ("relay_peers", relay::relay_peers),
    ("resources_decode", resources::resources_decode),
    ("sdk_broker_address", sdk::sdk_broker_address),
    ("sdk_bundle", holder::sdk_bundle),
    ("sdk_holder", holder::sdk_holder),
    ("sdk_message", sdk::sdk_message),
    ("sdk_uplink", sdk::sdk_uplink),
    ("unsealed_message", unsealed::unsealed_message),
    ("subghz_frame", subghz::subghz_frame),
    ("subghz_machines", subghz::subghz_machines),
    ("subghz_cc1101", cc1101::subghz_cc1101),
    ("subghz_serial", subghz_others::subghz_serial),
    ("subghz_sx126x", subghz_others::subghz_sx126x),
    ("subghz_network", subghz::subghz_network),
    ("subghz_wire", subghz::subghz_wire),
    ("x509_chain", x509::x509_chain),
    ("zigbee_ash", zigbee::zigbee_ash),
    ("zigbee_backup", zigbee::zigbee_backup),
    ("zigbee_external", zigbee::zigbee_external),
    ("zigbee_ezsp", zigbee::zigbee_ezsp),
    ("zigbee_ezsp_host", zigbee::zigbee_ezsp_host),
    ("zigbee_hl", zigbee::zigbee_hl),
    ("zigbee_host", zigbee::zigbee_host),
    ("zigbee_ll", zigbee::zigbee_ll),
    ("zigbee_ordinary", unsealed::zigbee_ordinary),
    ("zigbee_records", zigbee::zigbee_records),
    ("zigbee_tunnel", zigbee::zigbee_tunnel),
    ("zigbee_zcl", zigbee::zigbee_zcl),
];
