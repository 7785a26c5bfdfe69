//! All integration tests, one binary.

mod enishi_v1;
mod hub;
mod limits;
mod tidy;
