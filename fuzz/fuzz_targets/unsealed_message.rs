#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cardea_fuzz::unsealed::unsealed_message(data));
