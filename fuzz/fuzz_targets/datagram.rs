//! See [`enishi_fuzz::datagram`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| enishi_fuzz::datagram(data));
