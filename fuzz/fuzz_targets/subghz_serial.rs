#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cardea_fuzz::subghz_others::subghz_serial(data));
