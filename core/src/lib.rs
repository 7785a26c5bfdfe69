//! The machines of Enishi: everything that decides, and nothing that does.
//!
//! A driver gives a [`machine::Machine`] one input, drains its outputs, and sleeps until its next deadline. Two
//! machines live here: [`server::Server`], a signaling server, and [`agent::Agent`], a command-line peer.
//!
//! What is absent: a clock, a socket, a file, a thread, an environment, ambient randomness, `async`, `dyn`, stored
//! callbacks, shared ownership. `clippy.toml` and the tidy test hold that. A run is therefore a list of inputs: the
//! same list gives the same outputs.
//!
//! The rings, each of which knows only those inside it:
//!
//! 0. [`machine`], [`clock`], [`arena`], [`table`], [`deadlines`], [`limits`], [`escape`], [`frames`], [`burst`],
//!    [`crowd`], [`trace`], [`ids`], [`media`] (sound and picture as data)
//! 1. [`signal`], [`hub`], [`turn`], [`peer`] (the only place that names str0m)
//! 2. [`dialect`]: frames to and from the neutral words
//! 3. [`http`]: heads, routes, answers
//! 4. [`server`] and [`agent`]: the machines
//! 5. [`journal`]: a server's run, recorded and replayed

// Tests may read a clock and keep shared state; the same sources are checked without `cfg(test)` too.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod agent;
pub mod arena;
pub mod burst;
pub mod clock;
pub mod crowd;
pub mod deadlines;
pub mod dialect;
pub mod escape;
pub mod frames;
pub mod http;
pub mod hub;
pub mod ids;
pub mod journal;
pub mod limits;
pub mod machine;
pub mod media;
pub mod peer;
pub mod server;
pub mod signal;
pub mod table;
pub mod trace;
pub mod turn;
