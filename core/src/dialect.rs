//! Dialects: frames to and from the neutral words, one file each, and how they are told apart.
//!
//! A server has one [`Codec`] per connection, a client one [`ClientCodec`]. A codec knows its own connection and
//! nothing else: no room, no other client. Everything it is given by a remote is hostile.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::time::Duration;

use crate::ids::Ids;
use crate::limits::Limits;
use crate::machine::Frame;
use crate::signal::{Command, Event, Name, Origin, Refusal, Sealed, Signal, Tag};

pub mod conic;
pub mod enishi;
pub mod go;

/// The dialects, with the mark that the hub compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// Our own protocol, `enishi.v1`.
    Enishi,
    /// conic up to 2025-07-31: `{"Type":…,"Raw":…}`.
    ConicA,
    /// conic of 2025-08-02: `{"type":…,"raw":…}`.
    ConicB,
    /// conic since 2025-08-04: `{"id":…,"type":…,"timestamp":…,"data":…}`.
    ConicC,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 4] = [Dialect::Enishi, Dialect::ConicA, Dialect::ConicB, Dialect::ConicC];

    /// The name, as `--dialect` takes it and logs print it.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Enishi => "enishi",
            Dialect::ConicA => "conic-a",
            Dialect::ConicB => "conic-b",
            Dialect::ConicC => "conic-c",
        }
    }

    /// The mark on what is written in this dialect.
    pub fn origin(self) -> Origin {
        Origin(self as u8)
    }
}

/// What a codec may know besides its own connection.
#[derive(Debug)]
pub struct Context<'a> {
    /// Time since the Unix epoch.
    pub unix: Duration,
    /// Fresh ids, for messages that need one.
    pub ids: &'a mut Ids,
    /// The bounds in force.
    pub limits: &'a Limits,
    /// ICE servers to tell to clients, each as a JSON object of the form of `RTCIceServer`.
    pub ice_servers: &'a [String],
}

/// What a server's codec makes of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The client asks for this.
    Command(Command),
    /// The frame was not understood or not allowed. The refusal comes back through the hub, which counts it, as an
    /// [`Event::Refused`] to be encoded.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Whom the message was for.
        to: Option<Name>,
        /// The client's own mark on it.
        tag: Option<Tag>,
    },
    /// Close the connection, because the dialect says so.
    Close {
        /// RFC 6455, 7.4.
        code: u16,
        /// For the close frame.
        reason: &'static str,
    },
}

/// What a server's codec makes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Send this.
    Frame(Frame),
    /// Then close the connection, because the dialect says so.
    Close {
        /// RFC 6455, 7.4.
        code: u16,
        /// For the close frame.
        reason: &'static str,
    },
    /// Do this for the client: the codec knows the answer to what the event asks.
    Command(Command),
}

/// The server's side of one connection.
#[derive(Debug)]
pub enum Codec {
    /// conic, one of three generations.
    Conic(conic::Server),
    /// Our own.
    Enishi(enishi::Server),
}

impl Codec {
    /// Finds the dialect of a connection to `/ws` by its first frame. `None`: it is nobody's.
    ///
    /// `token` is what our own protocol's hello has to carry, if anything.
    pub fn detect(frame: &Frame, token: Option<&str>) -> Option<Codec> {
        if enishi::Server::detect(frame) {
            return Some(Codec::enishi(token));
        }
        conic::Server::detect(frame).map(Codec::Conic)
    }

    /// Our own protocol, where path or subprotocol say so.
    pub fn enishi(token: Option<&str>) -> Codec {
        Codec::Enishi(enishi::Server::new(token))
    }

    /// The dialect.
    pub fn dialect(&self) -> Dialect {
        match self {
            Codec::Conic(server) => server.dialect(),
            Codec::Enishi(_) => Dialect::Enishi,
        }
    }

    /// Translates a frame from the client.
    pub fn receive(&mut self, cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Heard>) {
        match self {
            Codec::Conic(server) => server.receive(cx, frame, out),
            Codec::Enishi(server) => server.receive(cx, frame, out),
        }
    }

    /// Translates an event for the client. A sealed letter of this very dialect goes on unchanged.
    ///
    /// # Errors
    /// The dialect has no word for the event, or the letter cannot be opened. Nothing was added to `out`; if the
    /// event is a signal, its sender has to be told.
    pub fn encode(&mut self, cx: &mut Context<'_>, event: &Event, out: &mut Vec<Said>) -> Result<(), Refusal> {
        match self {
            Codec::Conic(server) => server.encode(cx, event, out),
            Codec::Enishi(server) => server.encode(cx, event, out),
        }
    }
}

/// Opens a letter of any dialect, to translate it into another.
///
/// # Errors
/// What is inside cannot be understood.
pub fn open(sealed: &Sealed) -> Result<Signal, Refusal> {
    if sealed.origin == Dialect::Enishi.origin() { enishi::open(sealed) } else { conic::open(sealed) }
}

/// The client's side of one connection.
#[derive(Debug)]
pub enum ClientCodec {
    /// conic, one of three generations.
    Conic(conic::Client),
    /// Our own.
    Enishi(enishi::Client),
}

impl ClientCodec {
    /// A codec for a new connection. `token` is shown to the server where the dialect has a word for it.
    pub fn new(dialect: Dialect, token: Option<String>) -> ClientCodec {
        match dialect {
            Dialect::Enishi => ClientCodec::Enishi(enishi::Client::with_token(token)),
            conic => ClientCodec::Conic(conic::Client::new(conic)),
        }
    }

    /// The WebSocket subprotocol to ask for.
    pub fn protocol(&self) -> Option<&'static str> {
        match self {
            ClientCodec::Conic(_) => None,
            ClientCodec::Enishi(_) => Some(enishi::PROTOCOL),
        }
    }

    /// Translates a command for the server. Letters are always [`crate::signal::Letter::Open`] here.
    ///
    /// # Errors
    /// The dialect has no word for it. Nothing was added to `out`.
    pub fn encode(&mut self, cx: &mut Context<'_>, command: &Command, out: &mut Vec<Frame>) -> Result<(), Refusal> {
        match self {
            ClientCodec::Conic(client) => client.encode(cx, command, out),
            ClientCodec::Enishi(client) => client.encode(cx, command, out),
        }
    }

    /// Translates a frame from the server. Letters come out as [`crate::signal::Letter::Open`].
    ///
    /// # Errors
    /// The frame cannot be understood; it is skipped.
    pub fn receive(&mut self, cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Event>) -> Result<(), Refusal> {
        match self {
            ClientCodec::Conic(client) => client.receive(cx, frame, out),
            ClientCodec::Enishi(client) => client.receive(cx, frame, out),
        }
    }
}
