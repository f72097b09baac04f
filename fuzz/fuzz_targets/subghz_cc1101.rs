#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cardea_fuzz::cc1101::subghz_cc1101(data));
