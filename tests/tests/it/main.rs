//! All integration tests, one binary.

mod conformance;
mod enishi_v1;
mod hub;
mod limits;
mod tidy;
