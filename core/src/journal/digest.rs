//! What a server did, short: kinds to compare by, and a sum of everything.

use std::fmt;
use std::time::{Duration, Instant};

use super::wire::{Broken, FNV_START, Reader, Writer, fnv};
use crate::http::Response;
use crate::machine::{ConnId, Deadline, Frame, Output};
use crate::server::ServerNotice;

const WORDS: [&str; 12] = [
    "respond",
    "upgrade",
    "text",
    "binary",
    "ping",
    "pong",
    "read",
    "stop reading",
    "close",
    "drop",
    "trace",
    "drained",
];

/// What an output is and whom it is for, without what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    what: u8,
    conn: Option<ConnId>,
}

impl Kind {
    /// The kind of an output.
    pub fn of(output: &Output<ServerNotice>) -> Self {
        let (what, conn) = match output {
            Output::Respond { conn, .. } => (0, Some(*conn)),
            Output::Upgrade { conn, .. } => (1, Some(*conn)),
            Output::Send { conn, frame: Frame::Text(_) } => (2, Some(*conn)),
            Output::Send { conn, frame: Frame::Binary(_) } => (3, Some(*conn)),
            Output::Send { conn, frame: Frame::Ping } => (4, Some(*conn)),
            Output::Send { conn, frame: Frame::Pong } => (5, Some(*conn)),
            Output::Read { conn, on: true } => (6, Some(*conn)),
            Output::Read { conn, on: false } => (7, Some(*conn)),
            Output::Close { conn, .. } => (8, Some(*conn)),
            Output::Drop { conn } => (9, Some(*conn)),
            Output::Notice(ServerNotice::Trace(_)) => (10, None),
            Output::Notice(ServerNotice::Drained) => (11, None),
            Output::ReleaseMemory => (12, None),
            // A server neither dials nor has UDP sockets or files.
            Output::Dial { .. }
            | Output::Get { .. }
            | Output::Datagram { .. }
            | Output::ReadFile { .. }
            | Output::WriteFile { .. } => (u8::MAX, None),
        };
        Kind { what, conn }
    }

    pub(super) fn write(self, to: &mut Writer) {
        to.number(self.what.into());
        to.option(self.conn, |to, conn| to.number(conn.0));
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(Kind { what: from.small()?, conn: from.option(|from| from.number().map(ConnId))? })
    }
}

/// Such as `text c3`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.get(usize::from(self.what)).unwrap_or(&"something else");
        match self.conn {
            Some(conn) => write!(f, "{word} {conn}"),
            None => f.write_str(word),
        }
    }
}

/// The sum of all outputs so far. Lengths are part of it, so that nothing can move from one field to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Digest {
    start: Instant,
    sum: u64,
}

impl Digest {
    pub(super) fn new(start: Instant) -> Self {
        Digest { start, sum: FNV_START }
    }

    pub(super) fn sum(&self) -> u64 {
        self.sum
    }

    pub(super) fn output(&mut self, output: &Output<ServerNotice>) {
        let kind = Kind::of(output);
        self.number(kind.what.into());
        self.number(kind.conn.map_or(u64::MAX, |conn| conn.0));
        match output {
            Output::Respond { response, .. } => self.response(response),
            Output::Upgrade { response, max_message_bytes, .. } => {
                self.response(response);
                self.number(*max_message_bytes as u64);
            }
            Output::Send { frame: Frame::Text(text), .. } => self.bytes(text.as_bytes()),
            Output::Send { frame: Frame::Binary(bytes), .. } => self.bytes(bytes),
            Output::Close { code, reason, .. } => {
                self.number((*code).into());
                self.bytes(reason.as_bytes());
            }
            Output::Notice(ServerNotice::Trace(trace)) => self.bytes(trace.to_string().as_bytes()),
            _ => {}
        }
    }

    /// When the server wants to be woken is an output too.
    pub(super) fn deadline(&mut self, deadline: Option<Deadline>) {
        let after = deadline.map(|deadline| deadline.at.saturating_duration_since(self.start));
        self.number(after.unwrap_or(Duration::MAX).as_nanos() as u64);
        self.bytes(deadline.map_or("", |deadline| deadline.why).as_bytes());
    }

    fn response(&mut self, response: &Response) {
        self.number(response.status.into());
        for (name, value) in &response.headers {
            self.bytes(name.as_bytes());
            self.bytes(value.as_bytes());
        }
        self.bytes(&response.body);
        self.number(u64::from(response.close) | u64::from(response.head_only) << 1);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.sum = fnv(self.sum, bytes);
    }

    fn number(&mut self, number: u64) {
        self.sum = fnv(self.sum, &number.to_le_bytes());
    }
}
