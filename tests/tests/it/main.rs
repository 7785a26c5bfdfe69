//! All integration tests, one binary.

mod e2e;
mod enishi_v1;
mod interop;
mod limits;
mod tidy;
