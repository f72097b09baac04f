#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cardea_fuzz::x509::x509_chain(data));
