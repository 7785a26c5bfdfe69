//! See [`enishi_fuzz::world`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| enishi_fuzz::world(data));
