//! The signaling server.
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::limits::Limits;
use crate::machine::{Deadline, Input, Machine, Output};
use crate::trace::Trace;

/// How a server is set up.
#[derive(Debug, Clone, Default)]
pub struct ServerConfig {
    /// The bounds.
    pub limits: Limits,
    /// Origins that browsers may connect from, besides the server's own host and loopback; `*` allows all.
    pub allow_origins: Vec<String>,
    /// ICE servers to tell to clients, each a JSON object of the form of `RTCIceServer`.
    pub ice_servers: Vec<String>,
    /// Where the server listens, for the page that names the endpoints.
    pub listeners: Vec<SocketAddr>,
    /// If set, the token that `hello` has to carry.
    pub token: Option<String>,
}

/// What the embedding program asks of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerCommand {
    /// Stop: not ready, close clients with 1012, wait for them up to [`Limits::drain`], then [`ServerNotice::Drained`].
    Drain,
}

/// What the embedding program is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerNotice {
    /// Something happened.
    Trace(Trace),
    /// Everybody is gone, or the time for it is over: the program can end.
    Drained,
}

/// The signaling server, one [`Machine`].
#[derive(Debug)]
pub struct Server {
    outputs: VecDeque<Output<ServerNotice>>,
}

impl Server {
    /// A server that starts at `now`, when Unix time is `unix`. `seed` comes from the operating system.
    pub fn new(_now: Instant, _unix: Duration, _seed: [u8; 32], _config: ServerConfig) -> Self {
        Server { outputs: VecDeque::new() }
    }
}

impl Machine for Server {
    type Command = ServerCommand;
    type Notice = ServerNotice;

    fn handle_input(&mut self, _now: Instant, _input: Input<'_, ServerCommand>) {}

    fn poll_output(&mut self) -> Option<Output<ServerNotice>> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        None
    }
}
