//! The boundary: what a driver tells a state machine, and what it is asked to do.
//!
//! The contract of a driver in one sentence: *give one input, drain the outputs, sleep until
//! [`Machine::poll_timeout`] or the next readiness.* Both enums are plain data, so a run is a list of
//! `(Duration, Input)`: it can be recorded, replayed, shrunk and fuzzed.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
pub use tungstenite::Utf8Bytes;

use crate::http::{HeadError, Request, Response};

/// A state machine that a driver can run.
pub trait Machine {
    /// What the embedding program asks of the machine.
    type Command;
    /// What the embedding program is told.
    type Notice;

    /// Takes one thing that happened. Total: a remote's fault is an output, never an error or a panic.
    ///
    /// `now` never goes back, and all outputs of the input before were drained.
    fn handle_input(&mut self, now: Instant, input: Input<'_, Self::Command>);

    /// The next thing to do, until there is nothing left.
    #[must_use = "an output that is not acted on is lost"]
    fn poll_output(&mut self) -> Option<Output<Self::Notice>>;

    /// When to call again with [`Input::Timeout`] if nothing else happens before.
    ///
    /// After a `Timeout` given at `now`, the next deadline is later than `now`.
    fn poll_timeout(&self) -> Option<Deadline>;
}

/// The next moment at which a machine wants to be woken, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// What is due then: a busy loop names its culprit with this.
    pub why: &'static str,
}

/// A TCP connection, accepted or dialled. Counted up by the driver and never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl ConnId {
    /// The top bit: no driver counts that far.
    const SESSION: u64 = 1 << 63;

    /// The `number`th session that is no TCP connection of its own: a machine's, unknown to its driver.
    pub fn session(number: u64) -> Self {
        ConnId(Self::SESSION | number)
    }

    /// Whether it is one of those.
    pub fn is_session(self) -> bool {
        self.0 & Self::SESSION != 0
    }
}

/// An attempt to connect as a client. Counted up by the machine and never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// A listening socket: its position in the list that the driver was given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u16);

/// Something asked of a file. Counted up by the machine and never used twice.
///
/// A machine has at most one of them under way per file, so drivers promise no order among them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileOp(pub u64);

/// Where [`Output::WriteFile`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteAt {
    /// At the start of a file that this creates. Fails with [`FileError::Exists`] instead of touching another.
    New,
    /// So many bytes after the start of a file that exists. A gap that this leaves behind the file's end reads as zeros.
    Offset(u64),
}

/// Why a file could not be read or written. After a failed write its bytes may be there in part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// [`WriteAt::New`]: there is something of that name.
    #[error("there is a file of that name already")]
    Exists,
    /// There is no file or no folder of that name.
    #[error("no such file or folder")]
    Missing,
    /// Anything else: a clause for a person, such as "the disk is full".
    #[error("{0}")]
    Other(String),
}

/// One WebSocket message or a sign of life. Text and binary are reference-counted: a clone copies no payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A whole text message, valid UTF-8.
    Text(Utf8Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// A ping. Incoming ones were already answered by the driver's WebSocket library.
    Ping,
    /// A pong.
    Pong,
}

impl Frame {
    /// A text frame.
    pub fn text(text: impl Into<Utf8Bytes>) -> Self {
        Frame::Text(text.into())
    }

    /// The payload's length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Frame::Text(text) => text.len(),
            Frame::Binary(bytes) => bytes.len(),
            Frame::Ping | Frame::Pong => 0,
        }
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a remote did wrong below the level of messages. The driver reads no more from such a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFault {
    /// A frame or a message longer than the connection's bound.
    TooBig,
    /// A text message or a close reason that is not UTF-8.
    NotUtf8,
    /// Any other violation of RFC 6455.
    Protocol,
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The remote sent a close frame; its code, 1005 if it had none (RFC 6455, 7.1.5).
    Remote(u16),
    /// The stream ended without a close frame.
    Eof,
    /// Our own [`Output::Close`] was carried out.
    Local,
    /// The socket failed, a clause says how.
    Error(Cow<'static, str>),
}

/// What went wrong with a socket, a clause for a person.
pub fn failure(error: &io::Error) -> Cow<'static, str> {
    use io::ErrorKind as Kind;
    let clause = match error.kind() {
        Kind::ConnectionRefused => "connection refused",
        Kind::ConnectionReset => "connection reset by the remote",
        Kind::ConnectionAborted => "connection aborted",
        Kind::BrokenPipe => "the remote reads no more",
        Kind::TimedOut => "the remote did not answer in time",
        Kind::HostUnreachable => "host unreachable",
        Kind::NetworkUnreachable => "network unreachable",
        _ => return error.to_string().into(),
    };
    clause.into()
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<'a, C> {
    /// The deadline of [`Machine::poll_timeout`] has come, or may have.
    Timeout,
    /// A TCP connection was accepted.
    Accepted {
        /// Its new name.
        conn: ConnId,
        /// Where it was accepted.
        listener: ListenerId,
        /// Who connected.
        remote: SocketAddr,
    },
    /// An HTTP request arrived whole; parsed by [`crate::http::parse`].
    Request {
        /// The connection.
        conn: ConnId,
        /// The request.
        request: Request,
    },
    /// What arrived is no HTTP request that we take. The driver reads no more from the connection.
    BadRequest {
        /// The connection.
        conn: ConnId,
        /// What is wrong.
        error: HeadError,
    },
    /// One WebSocket message, or a ping or pong.
    Frame {
        /// The connection.
        conn: ConnId,
        /// The message.
        frame: Frame,
    },
    /// Bytes arrived that do not make a whole message yet.
    Heard {
        /// The connection.
        conn: ConnId,
    },
    /// The remote broke RFC 6455. Answered by [`Output::Close`].
    Fault {
        /// The connection.
        conn: ConnId,
        /// How.
        fault: FrameFault,
    },
    /// Credit: the kernel took the bytes of messages whose payloads sum up to `len`.
    Sent {
        /// The connection.
        conn: ConnId,
        /// Messages whose last byte left.
        messages: usize,
        /// Payload bytes of those messages.
        len: usize,
    },
    /// The connection is gone. No later input names it.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// An [`Output::Dial`] succeeded: `conn` is an open WebSocket.
    Dialed {
        /// The attempt.
        dial: DialId,
        /// The new connection.
        conn: ConnId,
        /// The WebSocket subprotocol that the server chose.
        protocol: Option<String>,
    },
    /// An [`Output::Dial`] or an [`Output::Get`] failed.
    DialFailed {
        /// The attempt.
        dial: DialId,
        /// A clause for a person, such as "connection refused".
        error: String,
    },
    /// An [`Output::Get`] was answered with 200.
    Got {
        /// The attempt.
        dial: DialId,
        /// The body.
        answer: String,
    },
    /// A UDP datagram.
    Datagram {
        /// The address of the socket that it arrived on, as the machine knows it (never a wildcard).
        local: SocketAddr,
        /// Who sent it.
        remote: SocketAddr,
        /// What was in it.
        bytes: &'a [u8],
    },
    /// An [`Output::ReadFile`] is done.
    FileRead {
        /// Which.
        op: FileOp,
        /// What was read. Fewer bytes than were asked for: the file ends with them.
        result: Result<Bytes, FileError>,
    },
    /// An [`Output::WriteFile`] is done.
    FileWritten {
        /// Which.
        op: FileOp,
        /// Whether all of it was handed to the operating system.
        result: Result<(), FileError>,
    },
    /// The embedding program asks for something.
    Command(C),
}

/// What to do.
#[derive(Debug)]
pub enum Output<N> {
    /// Write a plain HTTP answer; then read the next request, or close if the response says so.
    Respond {
        /// The connection.
        conn: ConnId,
        /// The answer.
        response: Response,
    },
    /// Write the 101 answer; what follows on this connection are WebSocket frames.
    Upgrade {
        /// The connection.
        conn: ConnId,
        /// The 101.
        response: Response,
        /// The longest message to accept on it, in bytes; a longer one is [`FrameFault::TooBig`].
        max_message_bytes: usize,
    },
    /// Send one message; answered by [`Input::Sent`] once the kernel has it.
    Send {
        /// The connection.
        conn: ConnId,
        /// The message.
        frame: Frame,
    },
    /// Stop or resume reading from one connection. No further frame is delivered after `on: false`.
    Read {
        /// The connection.
        conn: ConnId,
        /// Whether to read.
        on: bool,
    },
    /// Flush what was sent, send a close frame, wait for the remote's, close. Frames that still arrive are
    /// discarded; the end is told by [`Input::Closed`]. On a connection that was never upgraded: close.
    Close {
        /// The connection.
        conn: ConnId,
        /// RFC 6455, 7.4.
        code: u16,
        /// At most 123 bytes of UTF-8.
        reason: String,
    },
    /// Close the socket now and forget it. No later input names it.
    Drop {
        /// The connection.
        conn: ConnId,
    },
    /// Give free memory back to the system: a crowd has left, and nobody came instead.
    ReleaseMemory,
    /// Open a WebSocket as a client; answered by [`Input::Dialed`] or [`Input::DialFailed`].
    Dial {
        /// The attempt.
        dial: DialId,
        /// A `ws://` URL.
        url: String,
        /// The subprotocol to offer (RFC 6455, 1.9).
        protocol: Option<&'static str>,
        /// As for [`Output::Upgrade`].
        max_message_bytes: usize,
    },
    /// Ask with a plain HTTP GET, on a connection of its own; answered by [`Input::Got`] or [`Input::DialFailed`].
    Get {
        /// The attempt.
        dial: DialId,
        /// A `ws://` URL: the same server, port and path.
        url: String,
    },
    /// Send a UDP datagram from the socket bound at `local`, or drop it if the kernel will not take it now.
    Datagram {
        /// The source: one of the addresses that the machine was given.
        local: SocketAddr,
        /// The destination.
        remote: SocketAddr,
        /// What to send.
        bytes: Vec<u8>,
    },
    /// Read from a regular file; answered by [`Input::FileRead`]. The driver never waits for a disk meanwhile.
    ReadFile {
        /// The new name of this.
        op: FileOp,
        /// As the operating system takes it.
        path: String,
        /// Of the first byte.
        offset: u64,
        /// At most so many bytes.
        len: usize,
    },
    /// Write to a regular file; answered by [`Input::FileWritten`]. The driver never waits for a disk meanwhile, but
    /// for a moment when its run ends, so that the last words are written too.
    WriteFile {
        /// The new name of this.
        op: FileOp,
        /// As the operating system takes it.
        path: String,
        /// Where.
        at: WriteAt,
        /// What.
        bytes: Bytes,
    },
    /// Tell the embedding program.
    Notice(N),
}

macro_rules! print_id {
    ($type:ident, $letter:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = if self.is_session() { 's' } else { 'c' };
        write!(f, "{letter}{}", self.0 & !Self::SESSION)
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

print_id!(DialId, "d");
print_id!(FileOp, "f");
print_id!(ListenerId, "l");
