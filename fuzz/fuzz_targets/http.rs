//! See [`enishi_fuzz::http`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| enishi_fuzz::http(data));
