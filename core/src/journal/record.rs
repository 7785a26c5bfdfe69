//! A server that writes its journal while it runs.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::digest::Digest;
use super::redact::Pseudonyms;
use super::{Frames, Header, Kind};
use crate::machine::{Deadline, Input, Machine, Output};
use crate::server::{Server, ServerCommand, ServerConfig, ServerNotice};

/// Takes what is to be written, and must not wait for it.
pub trait Sink {
    /// The next bytes of the journal.
    fn put(&mut self, bytes: Vec<u8>);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: Vec<u8>) {
        self.extend(bytes);
    }
}

/// What of a run may be written down.
#[derive(Clone, Copy)]
pub enum Secrecy {
    /// Everything.
    Open,
    /// The run of a double ([`super::redact`]).
    Redacted {
        /// What pseudonyms are made with; from the operating system, and kept nowhere.
        key: [u64; 2],
        /// The double's seed. It is in the journal and has nothing to do with the server's.
        seed: [u8; 32],
    },
}

impl fmt::Debug for Secrecy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Secrecy::Open => "Open",
            Secrecy::Redacted { .. } => "Redacted",
        })
    }
}

/// A [`Server`] that writes its journal to a sink. To its driver and its clients it is that server.
#[derive(Debug)]
pub struct Recorded<S: Sink> {
    server: Server,
    double: Option<Double>,
    outputs: VecDeque<Output<ServerNotice>>,
    frames: Frames,
    digest: Digest,
    start: Instant,
    /// Whether an input is being handled: a panic leaves it so.
    busy: bool,
    sink: S,
}

/// The server of a redacted journal.
#[derive(Debug)]
struct Double {
    server: Server,
    pseudonyms: Pseudonyms,
}

impl<S: Sink> Recorded<S> {
    /// As [`Server::new`]; the header goes to the sink at once.
    pub fn new(
        now: Instant,
        unix: Duration,
        seed: [u8; 32],
        config: ServerConfig,
        secrecy: Secrecy,
        mut sink: S,
    ) -> Self {
        let server = Server::new(now, unix, seed, config.clone());
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let (header, double) = match secrecy {
            Secrecy::Open => (Header { program, redacted: false, unix, seed, config }, None),
            Secrecy::Redacted { key, seed } => {
                let pseudonyms = Pseudonyms::new(key);
                let config = pseudonyms.config(&config);
                let double = Double { server: Server::new(now, unix, seed, config.clone()), pseudonyms };
                (Header { program, redacted: true, unix, seed, config }, Some(double))
            }
        };
        let (frames, bytes) = Frames::start(&header);
        sink.put(bytes);
        let outputs = VecDeque::new();
        Recorded { server, double, outputs, frames, digest: Digest::new(now), start: now, busy: false, sink }
    }

    /// The sink, for who wants to look at it.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    fn note(&mut self, now: Instant, input: &Input<'_, ServerCommand>) -> bool {
        let frame = self.frames.input(now.saturating_duration_since(self.start), input);
        let is_noted = frame.is_some();
        frame.into_iter().for_each(|frame| self.sink.put(frame));
        is_noted
    }
}

impl<S: Sink> Machine for Recorded<S> {
    type Command = ServerCommand;
    type Notice = ServerNotice;

    fn handle_input(&mut self, now: Instant, input: Input<'_, ServerCommand>) {
        self.busy = true;
        let alias = self.double.as_ref().and_then(|double| double.pseudonyms.input(&input));
        if !self.note(now, alias.as_ref().unwrap_or(&input)) {
            self.busy = false;
            return self.server.handle_input(now, input);
        }
        self.server.handle_input(now, input);
        self.outputs.extend(std::iter::from_fn(|| self.server.poll_output()));
        let kinds: Vec<Kind> = self.outputs.iter().map(Kind::of).collect();
        match (&mut self.double, alias) {
            (Some(double), Some(alias)) => {
                double.server.handle_input(now, alias);
                let outputs: Vec<_> = std::iter::from_fn(|| double.server.poll_output()).collect();
                outputs.iter().for_each(|output| self.digest.output(output));
                self.digest.deadline(double.server.poll_timeout());
                self.outputs.iter().zip(&outputs).for_each(|(real, played)| double.pseudonyms.learn(real, played));
            }
            _ => {
                self.outputs.iter().for_each(|output| self.digest.output(output));
                self.digest.deadline(self.server.poll_timeout());
            }
        }
        self.sink.put(self.frames.outputs(&kinds, self.digest.sum()));
        self.busy = false;
    }

    fn poll_output(&mut self) -> Option<Output<ServerNotice>> {
        self.outputs.pop_front().or_else(|| self.server.poll_output())
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.server.poll_timeout()
    }
}

/// A journal without an end is one of a server that did not end by itself.
impl<S: Sink> Drop for Recorded<S> {
    fn drop(&mut self) {
        if !self.busy {
            self.sink.put(self.frames.end());
        }
    }
}
