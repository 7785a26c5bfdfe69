//! The client's side of one connection, to Socket.IO's own servers or to ours.
//!
//! A WebSocket from the start. There is one peer, [`EVERYONE`]: what is for it goes to all others, and what any of
//! them sends comes from it.

use super::wire::{self, Arguments, LegacyEvent, Packet};
use super::{Dialect, EVERYONE, Version, name_in};
use crate::dialect::Context;
use crate::dialect::go;
use crate::machine::Frame;
use crate::signal::{Command, Departure, Event, Letter, Name, Place, Refusal, Resumed, RoomName, To};

/// Where the departure of a client is told of: Socket.IO's broadcast, as if it were a room.
const ROOM: &str = "socket.io";

/// The client's side of one connection.
#[derive(Debug)]
pub struct Client {
    version: Version,
    /// 0.9: what the handshake gave. Later: what `CONNECT` gave.
    sid: Option<Name>,
    connected: bool,
}

impl Client {
    /// A codec for a new connection, of 0.9 or of 4.
    pub fn new(dialect: Dialect) -> Self {
        let version = if dialect == Dialect::SocketIo09 { Version::Legacy } else { Version::Four };
        Client { version, sid: None, connected: false }
    }

    /// The path to dial, with its query. 0.9's ends in the session of [`Client::begin`].
    pub fn path(&self) -> String {
        match (self.version, &self.sid) {
            (Version::Legacy, Some(sid)) => format!("/socket.io/1/websocket/{}", sid.as_str()),
            (Version::Legacy, None) => "/socket.io/1/".to_owned(),
            _ => "/socket.io/?EIO=4&transport=websocket".to_owned(),
        }
    }

    /// Whether [`Client::path`] is to be asked with a plain GET before anything is dialled.
    pub fn asks_first(&self) -> bool {
        self.version == Version::Legacy && self.sid.is_none()
    }

    /// Takes the answer to that GET: `sid:heartbeat:close:transports`.
    ///
    /// # Errors
    /// A clause that says why it cannot be used.
    pub fn begin(&mut self, answer: &str) -> Result<(), &'static str> {
        let mut parts = answer.trim().split(':');
        let sid = parts.next().unwrap_or_default();
        let is_good = (1..=128).contains(&sid.len())
            && sid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        let transports = parts.nth(2).ok_or("the server's handshake is not that of Socket.IO 0.9")?;
        if !is_good {
            return Err("the server's handshake gives a session that cannot be asked for");
        }
        if !transports.split(',').any(|transport| transport == "websocket") {
            return Err("the server offers no WebSocket");
        }
        self.sid = Some(Name::from(sid));
        Ok(())
    }

    /// What a frame has to be answered with at once: heartbeats.
    pub fn answer(&self, frame: &Frame) -> Option<Frame> {
        let Frame::Text(text) = frame else { return None };
        match (self.version, text.as_str()) {
            (Version::Legacy, "2::") => Some(Frame::text("2::")),
            (Version::Four, "2") => Some(Frame::text("3")),
            _ => None,
        }
    }

    /// Translates a command for the server. A wanted name cannot be had; the server chooses.
    ///
    /// # Errors
    /// [`Refusal::NoWordForThis`]; [`Refusal::NoSuchPeer`] for anybody but [`EVERYONE`].
    pub fn encode(&mut self, _cx: &mut Context<'_>, command: &Command, out: &mut Vec<Frame>) -> Result<(), Refusal> {
        let text = match (command, self.version) {
            // A server of 0.9 begins by itself.
            (Command::Register { .. }, Version::Legacy) => return Ok(()),
            (Command::Register { .. }, _) => "40".to_owned(),
            (Command::Bye, Version::Legacy) => "0::".to_owned(),
            (Command::Bye, _) => "41".to_owned(),
            (Command::Signal(envelope), version) => {
                match &envelope.to {
                    To::Peer(name) if name.as_str() == EVERYONE => {}
                    To::Peer(_) => return Err(Refusal::NoSuchPeer),
                    To::Room(_) => return Err(Refusal::NoWordForThis),
                }
                let payload = match &envelope.letter {
                    Letter::Open(signal) => wire::write(signal)?,
                    Letter::Sealed(sealed) => wire::write(&crate::dialect::open(sealed)?)?,
                };
                match version {
                    Version::Legacy => format!("4:::{payload}"),
                    _ => wire::message(version, &payload),
                }
            }
            _ => return Err(Refusal::NoWordForThis),
        };
        out.push(Frame::text(text));
        Ok(())
    }

    /// Translates a frame from the server.
    ///
    /// # Errors
    /// The frame cannot be understood; it is skipped.
    pub fn receive(&mut self, _cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Event>) -> Result<(), Refusal> {
        let text = match frame {
            Frame::Text(text) => text.as_str(),
            Frame::Binary(_) => return Err(Refusal::Malformed("binary events are not understood")),
            Frame::Ping | Frame::Pong => return Ok(()),
        };
        let event = match self.version {
            Version::Legacy => self.hear_legacy(text)?,
            Version::Three | Version::Four => self.hear(text)?,
        };
        out.extend(event);
        Ok(())
    }

    fn hear(&mut self, text: &str) -> Result<Option<Event>, Refusal> {
        let Some(packet) = text.strip_prefix('4') else { return Ok(None) };
        let kind = packet.chars().next().ok_or(Refusal::Malformed("an empty packet"))?;
        let rest = packet.strip_prefix(kind).unwrap_or_default();
        match kind {
            '0' if !self.connected => {
                let sid = go::Object::parse(rest).ok().and_then(|data| data.string("sid").ok().flatten());
                // Engine.IO 3 gives none.
                self.sid = Some(Name::from(sid.as_deref().unwrap_or("me")));
                Ok(Some(self.registered()))
            }
            '4' => Ok(Some(Event::Refused { refusal: Refusal::UNKNOWN, to: None, tag: None })),
            '2' => {
                let list = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                let arguments: Arguments<'_> =
                    serde_json::from_str(list).map_err(|_| Refusal::Malformed("an event that is no list"))?;
                let name = arguments.first.map(|first| go::Raw::from(first).string()).transpose()?.unwrap_or_default();
                Ok(self.event(&name, arguments.second.map_or("null", |payload| payload.get())))
            }
            _ => Ok(None),
        }
    }

    fn hear_legacy(&mut self, text: &str) -> Result<Option<Event>, Refusal> {
        let packet = Packet::parse(text).ok_or(Refusal::Malformed("this is not a packet of Socket.IO 0.9"))?;
        match packet.kind {
            "1" if !self.connected => Ok(Some(self.registered())),
            "7" => Ok(Some(Event::Refused { refusal: Refusal::UNKNOWN, to: None, tag: None })),
            "3" => Ok(self.event(wire::MESSAGE, &wire::quote(packet.data))),
            "4" => Ok(self.event(wire::MESSAGE, packet.data)),
            "5" => {
                let event: LegacyEvent<'_> =
                    serde_json::from_str(packet.data).map_err(|_| Refusal::Malformed("an event that is no object"))?;
                let first = event.args.as_ref().and_then(|arguments| arguments.first);
                Ok(self.event(&event.name, first.map_or("null", |payload| payload.get())))
            }
            _ => Ok(None),
        }
    }

    fn registered(&mut self) -> Event {
        self.connected = true;
        let name = self.name();
        Event::Registered { name, token: None, resumed: Resumed::Fresh }
    }

    fn name(&self) -> Name {
        self.sid.as_ref().map_or_else(|| Name::from("me"), |sid| Name::from(name_in(sid.as_str())))
    }

    fn event(&self, name: &str, payload: &str) -> Option<Event> {
        let from = Name::from(EVERYONE);
        match name {
            wire::MESSAGE => {
                let to = To::Peer(self.name());
                Some(Event::Signal { from, to, letter: Letter::Open(wire::read(payload)) })
            }
            wire::GONE => Some(Event::Left {
                room: RoomName::from(ROOM),
                place: Place { epoch: 0, seq: 0 },
                name: from,
                why: Departure::Gone,
            }),
            _ => None,
        }
    }
}
