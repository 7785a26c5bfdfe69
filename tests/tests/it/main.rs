//! All integration tests, one binary.

mod agents;
mod conformance;
mod enishi_v1;
mod hub;
mod limits;
mod tidy;
mod transcripts;
