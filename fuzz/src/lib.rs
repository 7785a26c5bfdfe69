//! The bodies of the fuzz targets, as plain functions: compiled, linted and replayed like everything else.
//!
//! `fuzz/run` looks for new inputs, one target after the other; what it finds stays in `corpus/`, and `cargo test` runs
//! all of that on any toolchain. Inputs are text wherever that is possible, so that a finding can be read and the
//! corpus written by hand. Each body says what its input looks like.

mod contained;
mod datagram;
mod dialect;
mod http;
mod hub;
mod journal;
mod media;
mod peer_sdp;
mod world;

pub use datagram::datagram;
pub use dialect::dialect;
pub use http::http;
pub use hub::hub;
pub use journal::journal;
pub use media::media;
pub use peer_sdp::peer_sdp;
pub use world::world;
