//! `enishi` as its users meet it: the built program, its output, its exit codes.

mod alone;
mod bench;
mod generate;
mod process;
mod sound_and_picture;
mod together;
