//! See [`enishi_fuzz::peer_sdp`].
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| enishi_fuzz::peer_sdp(data));
