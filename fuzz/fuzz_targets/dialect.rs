//! See [`enishi_fuzz::dialect`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| enishi_fuzz::dialect(data));
