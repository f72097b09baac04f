#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cardea_fuzz::sdk::sdk_broker_address(data));
