//! See [`enishi_fuzz::media`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| enishi_fuzz::media(data));
