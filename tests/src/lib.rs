//! What the tests share: a server without sockets, a simulated network, processes of the real binary.

pub mod bench_server;
pub mod hub_model;
pub mod micro;
pub mod net;
pub mod null_dtls;
pub mod process;
pub mod sim;
pub mod turn_server;
pub mod world;
