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
use crate::turn::{Credentials, TurnUri};

pub mod conic;
pub mod enishi;
pub mod go;
pub mod json;
pub mod mesh;
pub mod socketio;
#[cfg(test)]
mod tests;
pub mod tonybai;
pub mod zenn;

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
    /// The rendezvous server of an article on zenn.dev.
    Zenn,
    /// The room mesh of a Python tutorial.
    Mesh,
    /// Tony Bai's pion example: binary frames, base64 inside base64.
    TonyBai,
    /// Socket.IO 0.9, as html5experts' article uses it.
    SocketIo09,
    /// Socket.IO 1 to 4, on Engine.IO 3 and 4.
    SocketIo,
}

/// In how many rooms a client of a dialect can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rooms {
    /// The dialect has no rooms.
    None,
    /// In one, from its registration on: a second room takes the place of the first.
    One,
    /// In several, or in none.
    Many,
}

/// A system whose clients are served. conic's generations are one, so are Socket.IO's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// conic.
    Conic,
    /// zenn.
    Zenn,
    /// The room mesh.
    Mesh,
    /// Tony Bai.
    TonyBai,
    /// Socket.IO.
    SocketIo,
}

impl Family {
    /// The port that the system's clients have built in, and its path, as a person would type them.
    pub const DEFAULTS: [(Family, u16, &'static str); 5] = [
        (Family::Conic, 3000, "ws://HOST/ws"),
        (Family::Zenn, 8080, "ws://HOST/ws"),
        (Family::Mesh, 8765, "ws://HOST/"),
        (Family::TonyBai, 18080, "ws://HOST/register"),
        (Family::SocketIo, 9001, "http://HOST/socket.io/"),
    ];

    /// The name, as logs print it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Conic => "conic",
            Family::Zenn => "zenn",
            Family::Mesh => "room mesh",
            Family::TonyBai => "Tony Bai",
            Family::SocketIo => "Socket.IO",
        }
    }
}

/// By which path a WebSocket came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// One whose first message tells the dialect.
    Any,
    /// `/v1`, or the subprotocol `enishi.v1`.
    Own,
    /// `/register`: Tony Bai's answering peers.
    Register,
    /// `/offer`: Tony Bai's offering peers.
    Offer,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 9] = [
        Dialect::Enishi,
        Dialect::ConicA,
        Dialect::ConicB,
        Dialect::ConicC,
        Dialect::Zenn,
        Dialect::Mesh,
        Dialect::TonyBai,
        Dialect::SocketIo09,
        Dialect::SocketIo,
    ];

    /// Whether a client chooses its own id, and has to have one.
    pub fn client_chooses_id(self) -> bool {
        matches!(self, Dialect::ConicC | Dialect::Zenn | Dialect::TonyBai)
    }

    /// The name, as `--dialect` takes it and logs print it.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Enishi => "enishi",
            Dialect::ConicA => "conic-a",
            Dialect::ConicB => "conic-b",
            Dialect::ConicC => "conic-c",
            Dialect::Zenn => "zenn",
            Dialect::Mesh => "mesh",
            Dialect::TonyBai => "tonybai",
            Dialect::SocketIo09 => "socketio-0.9",
            Dialect::SocketIo => "socketio",
        }
    }

    /// In how many rooms its clients can be.
    pub fn rooms(self) -> Rooms {
        match self {
            Dialect::Enishi => Rooms::Many,
            Dialect::Mesh => Rooms::One,
            _ => Rooms::None,
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

/// The server's side of one connection. What is far larger than the others is boxed, so that they do not take its room.
#[derive(Debug)]
pub enum Codec {
    /// conic, one of three generations.
    Conic(conic::Server),
    /// zenn.
    Zenn(Box<zenn::Server>),
    /// The room mesh.
    Mesh(mesh::Server),
    /// Tony Bai.
    TonyBai(tonybai::Server),
    /// Socket.IO, any version: the packets inside Engine.IO.
    SocketIo(Box<socketio::Server>),
    /// Our own.
    Enishi(enishi::Server),
}

impl Codec {
    /// The codec of a connection whose path tells the dialect.
    ///
    /// `token` is what our own protocol's hello has to carry, if anything.
    pub fn enter(door: Door, token: Option<&str>) -> Option<Codec> {
        match door {
            Door::Any => None,
            Door::Own => Some(Codec::Enishi(enishi::Server::new(token))),
            Door::Register => Some(Codec::TonyBai(tonybai::Server::answering())),
            Door::Offer => Some(Codec::TonyBai(tonybai::Server::offering())),
        }
    }

    /// Finds the dialect of a connection by its first frame (`protocols.md` section 0). `None`: it is nobody's, or not
    /// one of the family that the listener is for.
    pub fn detect(frame: &Frame, token: Option<&str>, only: Option<Family>) -> Option<Codec> {
        let is_open = |family| only.is_none_or(|only| only == family);
        if only.is_none() && enishi::Server::detect(frame) {
            return Codec::enter(Door::Own, token);
        }
        let conic = || conic::Server::detect(frame).filter(|_| is_open(Family::Conic)).map(Codec::Conic);
        let mesh = || mesh::Server::detect(frame).filter(|_| is_open(Family::Mesh)).map(Codec::Mesh);
        let zenn = || {
            zenn::Server::detect(frame).filter(|_| is_open(Family::Zenn)).map(|server| Codec::Zenn(Box::new(server)))
        };
        conic().or_else(mesh).or_else(zenn)
    }

    /// The dialect.
    pub fn dialect(&self) -> Dialect {
        match self {
            Codec::Conic(server) => server.dialect(),
            Codec::Zenn(_) => Dialect::Zenn,
            Codec::Mesh(_) => Dialect::Mesh,
            Codec::TonyBai(_) => Dialect::TonyBai,
            Codec::SocketIo(server) => server.dialect(),
            Codec::Enishi(_) => Dialect::Enishi,
        }
    }

    /// Translates a frame from the client.
    pub fn receive(&mut self, cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Heard>) {
        match self {
            Codec::Conic(server) => server.receive(cx, frame, out),
            Codec::Zenn(server) => server.receive(cx, frame, out),
            Codec::Mesh(server) => server.receive(cx, frame, out),
            Codec::TonyBai(server) => server.receive(cx, frame, out),
            Codec::SocketIo(server) => server.receive(cx, frame, out),
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
            Codec::Zenn(server) => server.encode(cx, event, out),
            Codec::Mesh(server) => server.encode(cx, event, out),
            Codec::TonyBai(server) => server.encode(cx, event, out),
            Codec::SocketIo(server) => server.encode(cx, event, out),
            Codec::Enishi(server) => server.encode(cx, event, out),
        }
    }
}

/// Opens a letter of any dialect, to translate it into another.
///
/// # Errors
/// What is inside cannot be understood.
pub fn open(sealed: &Sealed) -> Result<Signal, Refusal> {
    match Dialect::ALL.into_iter().find(|dialect| dialect.origin() == sealed.origin) {
        None => Err(Refusal::NoWordForThis),
        Some(Dialect::Enishi) => enishi::open(sealed),
        Some(Dialect::ConicA | Dialect::ConicB | Dialect::ConicC) => conic::open(sealed),
        Some(Dialect::Zenn) => zenn::open(sealed),
        Some(Dialect::Mesh) => mesh::open(sealed),
        Some(Dialect::TonyBai) => tonybai::open(sealed),
        Some(Dialect::SocketIo09 | Dialect::SocketIo) => socketio::open(sealed),
    }
}

/// What a client's codec has to know at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSetup {
    /// The dialect to speak.
    pub dialect: Dialect,
    /// Shown to the server where the dialect has a word for it.
    pub token: Option<String>,
    /// Whether the client means to offer: some systems have two doors.
    pub offers: bool,
}

/// The client's side of one connection.
#[derive(Debug)]
pub enum ClientCodec {
    /// conic, one of three generations.
    Conic(conic::Client),
    /// zenn.
    Zenn(zenn::Client),
    /// The room mesh.
    Mesh(mesh::Client),
    /// Tony Bai.
    TonyBai(tonybai::Client),
    /// Socket.IO 0.9 or 4.
    SocketIo(socketio::Client),
    /// Our own.
    Enishi(enishi::Client),
}

impl ClientCodec {
    /// A codec for a new connection.
    pub fn new(setup: &ClientSetup) -> ClientCodec {
        match setup.dialect {
            Dialect::Enishi => ClientCodec::Enishi(enishi::Client::with_token(setup.token.clone())),
            Dialect::ConicA | Dialect::ConicB | Dialect::ConicC => {
                ClientCodec::Conic(conic::Client::new(setup.dialect))
            }
            Dialect::Zenn => ClientCodec::Zenn(zenn::Client::new(setup.offers)),
            Dialect::Mesh => ClientCodec::Mesh(mesh::Client::default()),
            Dialect::TonyBai => ClientCodec::TonyBai(tonybai::Client::new(setup.offers)),
            Dialect::SocketIo09 | Dialect::SocketIo => ClientCodec::SocketIo(socketio::Client::new(setup.dialect)),
        }
    }

    /// The URL to dial: the server's, but for the path where the dialect fixes it.
    pub fn url(&self, signal_url: &str) -> String {
        match self {
            ClientCodec::TonyBai(client) => with_path(signal_url, client.path()),
            ClientCodec::SocketIo(client) => with_path(signal_url, &client.path()),
            _ => signal_url.to_owned(),
        }
    }

    /// Whether the server has no word to confirm a registration: then it is done when it is asked for.
    pub fn registers_silently(&self) -> bool {
        match self {
            ClientCodec::Zenn(_) => true,
            ClientCodec::TonyBai(client) => client.offers(),
            _ => false,
        }
    }

    /// How often to register again under the same name, where a server would lose us otherwise; its answers are no
    /// events.
    pub fn renewal(&self) -> Option<Duration> {
        match self {
            ClientCodec::Conic(client) => client.renewal(),
            _ => None,
        }
    }

    /// Whether [`ClientCodec::url`] is to be asked with a plain GET before it is dialled: [`ClientCodec::begin`].
    pub fn asks_first(&self) -> bool {
        match self {
            ClientCodec::SocketIo(client) => client.asks_first(),
            _ => false,
        }
    }

    /// Takes the answer to that GET. Then [`ClientCodec::url`] is the one to dial.
    ///
    /// # Errors
    /// A clause that says why it cannot be used.
    pub fn begin(&mut self, answer: &str) -> Result<(), &'static str> {
        match self {
            ClientCodec::SocketIo(client) => client.begin(answer),
            _ => Ok(()),
        }
    }

    /// What a frame from the server has to be answered with at once: a dialect's own heartbeats.
    pub fn answer(&self, frame: &Frame) -> Option<Frame> {
        match self {
            ClientCodec::SocketIo(client) => client.answer(frame),
            _ => None,
        }
    }

    /// The WebSocket subprotocol to ask for.
    pub fn protocol(&self) -> Option<&'static str> {
        match self {
            ClientCodec::Enishi(_) => Some(enishi::PROTOCOL),
            _ => None,
        }
    }

    /// The TURN servers that the server named when it registered us, each with credentials for us.
    pub fn turn_servers(&self) -> &[(TurnUri, Credentials)] {
        match self {
            ClientCodec::Enishi(client) => client.turn_servers(),
            _ => &[],
        }
    }

    /// What the server means by closing the connection with this code, where the dialect has no other word for it.
    pub fn refusal_of_close(&self, code: u16) -> Option<Refusal> {
        match self {
            ClientCodec::Mesh(client) => client.refusal_of_close(code),
            _ => None,
        }
    }

    /// Translates a command for the server. Letters are always [`crate::signal::Letter::Open`] here.
    ///
    /// # Errors
    /// The dialect has no word for it. Nothing was added to `out`.
    pub fn encode(&mut self, cx: &mut Context<'_>, command: &Command, out: &mut Vec<Frame>) -> Result<(), Refusal> {
        match self {
            ClientCodec::Conic(client) => client.encode(cx, command, out),
            ClientCodec::Zenn(client) => client.encode(cx, command, out),
            ClientCodec::Mesh(client) => client.encode(cx, command, out),
            ClientCodec::TonyBai(client) => client.encode(cx, command, out),
            ClientCodec::SocketIo(client) => client.encode(cx, command, out),
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
            ClientCodec::Zenn(client) => client.receive(cx, frame, out),
            ClientCodec::Mesh(client) => client.receive(cx, frame, out),
            ClientCodec::TonyBai(client) => client.receive(cx, frame, out),
            ClientCodec::SocketIo(client) => client.receive(cx, frame, out),
            ClientCodec::Enishi(client) => client.receive(cx, frame, out),
        }
    }
}

/// The URL with another path and query.
fn with_path(url: &str, path: &str) -> String {
    let authority = url.find("://").map_or(0, |scheme| scheme.saturating_add(3));
    let end = url.get(authority..).and_then(|rest| rest.find(['/', '?', '#']));
    let origin = end.and_then(|end| url.get(..authority.saturating_add(end))).unwrap_or(url);
    format!("{origin}{path}")
}
