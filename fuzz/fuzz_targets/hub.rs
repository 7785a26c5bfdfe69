//! See [`enishi_fuzz::hub`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| enishi_fuzz::hub(data));
