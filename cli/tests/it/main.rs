//! `enishi` as its users meet it: the built program, its output, its exit codes.

mod alone;
mod bench;
mod process;
mod together;
