//! `enishi`: a WebRTC signaling server and a peer on the command line.
//!
//! Arguments become a configuration ([`config`]), a configuration becomes a machine and its sockets, and one of two
//! drivers runs it ([`runtime`]). What the machine tells is rendered and handed to threads that may block on a
//! terminal or a pipe ([`output`]), so that the loop never does.

mod args;
mod bench;
mod commands;
mod config;
mod dtls;
mod ending;
mod failure;
mod generate;
mod limit_flags;
mod log;
mod output;
mod peer;
mod record;
mod render;
mod repl;
mod replay;
mod runtime;
mod script;
mod signal;
mod sim;
mod sockets;
mod turn;
mod url;
mod web;

fn main() -> std::process::ExitCode {
    let code = args::parse(std::env::args_os()).and_then(args::run).unwrap_or_else(|failure| failure.report());
    std::process::ExitCode::from(code)
}
