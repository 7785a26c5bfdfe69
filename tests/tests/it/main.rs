//! All integration tests, one binary.

mod enishi_v1;
mod limits;
mod tidy;
