//! All integration tests, one binary.

mod agents;
mod conformance;
mod e2e;
mod enishi_v1;
mod hub;
mod interop;
mod limits;
mod socketio;
mod socketio_clients;
mod tidy;
mod transcripts;
