//! All integration tests, one binary.

mod agents;
mod conformance;
mod coturn;
mod e2e;
mod enishi_v1;
mod hub;
mod interop;
mod limits;
mod relays;
mod tidy;
mod transcripts;
