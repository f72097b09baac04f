#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cardea_ffi::fuzz::ffi_calls(data));
