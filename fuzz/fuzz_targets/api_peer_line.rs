#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cardea_fuzz::api::api_peer_line(data));
