//! See [`enishi_fuzz::journal`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| enishi_fuzz::journal(data));
