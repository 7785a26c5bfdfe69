//! The server's side of one connection.

use super::wire::{self, Arguments, LegacyEvent, Packet};
use super::{Dialect, Version};
use crate::dialect::go;
use crate::dialect::{Context, Heard, Said};
use crate::limits::FOREIGN_NAME_BYTES;
use crate::machine::{Frame, Utf8Bytes};
use crate::signal::{Command, Envelope, Event, Kind, Letter, Name, Refusal, RoomName, Sealed, Tag, To};

/// The server's side of one connection.
#[derive(Debug)]
pub struct Server {
    version: Version,
    /// The room of those who hear this client.
    room: RoomName,
    /// The name to have, if it was told to the client already.
    wanted: Option<Name>,
    /// The client's name, from its `CONNECT` on.
    name: Option<Name>,
    /// A peer of another dialect that offered last: it gets what the client sends.
    caller: Option<Name>,
}

/// What a frame asks for; nothing, where it is ignored.
type Asked = Result<Option<Command>, Fault>;

/// What is wrong with a frame.
#[derive(Debug)]
enum Fault {
    /// It cannot be done; the tag is the namespace that is meant, if it is another one.
    Refused(Refusal, Option<Tag>),
    /// The original closes the connection.
    Fatal(&'static str),
}

impl Server {
    /// A codec for a session of this version. `name` is the client's, where its session's id tells it; `room` the
    /// part of the broadcast that it asked for, or everybody's.
    pub fn new(version: Version, name: Option<Name>, room: Option<&str>) -> Self {
        Server { version, room: broadcast(room), wanted: name, name: None, caller: None }
    }

    /// The version, as a dialect.
    pub fn dialect(&self) -> Dialect {
        self.version.dialect()
    }

    /// The frame with which a session begins if its client does not say so itself: `CONNECT`.
    pub fn greeting(version: Version) -> Option<Frame> {
        match version {
            Version::Legacy => Some(Frame::text("1::")),
            Version::Three => Some(Frame::text("40")),
            Version::Four => None,
        }
    }

    /// Translates a frame from the client.
    pub fn receive(&mut self, _cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Heard>) {
        let asked = match (frame, self.version) {
            (Frame::Ping | Frame::Pong, _) => return,
            (Frame::Binary(_), _) => Err(refused("binary events are not carried; send text")),
            (Frame::Text(text), Version::Legacy) => Ok(self.hear_legacy(text.as_str())),
            (Frame::Text(text), Version::Three | Version::Four) => self.hear(text),
        };
        match asked {
            Ok(command) => out.extend(command.map(Heard::Command)),
            Err(Fault::Refused(refusal, tag)) => out.push(Heard::Refused { refusal, to: None, tag }),
            Err(Fault::Fatal(reason)) => out.push(Heard::Close { code: 1002, reason }),
        }
    }

    /// Translates an event for the client. A sealed letter of the same messages goes on unchanged.
    ///
    /// # Errors
    /// [`Refusal::NoWordForThis`], or the letter cannot be opened.
    pub fn encode(&mut self, _cx: &mut Context<'_>, event: &Event, out: &mut Vec<Said>) -> Result<(), Refusal> {
        match event {
            Event::Registered { name, .. } => {
                self.name = Some(name.clone());
                let connect = match self.version {
                    Version::Legacy => "1::".to_owned(),
                    Version::Three => "40".to_owned(),
                    Version::Four => format!(r#"40{{"sid":{}}}"#, wire::quote(name.as_str())),
                };
                out.push(say(connect));
                out.push(Said::Command(Command::Join { room: self.room.clone(), tag: None }));
            }
            Event::Signal { from, to, letter } => out.push(Said::Frame(self.signal(from, to, letter)?)),
            Event::Left { room, name, .. } if *room == self.room && self.name.as_ref() != Some(name) => {
                out.push(say(wire::event(self.version, wire::GONE)));
            }
            Event::Accepted { tag: Some(tag) } if self.version == Version::Legacy => {
                out.push(say(format!("6:::{}", tag.as_str())));
            }
            Event::Refused { refusal, to, tag } => self.refused(*refusal, to.as_ref(), tag.as_ref(), out),
            Event::Unregistered { .. }
            | Event::Listed { .. }
            | Event::Roster { .. }
            | Event::Joined { .. }
            | Event::Left { .. }
            | Event::Accepted { .. } => {}
        }
        Ok(())
    }

    /// Engine.IO's message: `4`, then a packet of Socket.IO: type, `/namespace,` if it is another one, id, data.
    fn hear(&mut self, text: &Utf8Bytes) -> Asked {
        let packet = text.as_str().strip_prefix('4').ok_or_else(undecodable)?;
        let kind = packet.chars().next().ok_or_else(undecodable)?;
        let rest = packet.strip_prefix(kind).unwrap_or_default();
        let namespace = rest.starts_with('/').then(|| rest.split_once(',').map_or(rest, |(namespace, _)| namespace));
        let namespace = namespace.map(|name| name.split_once('?').map_or(name, |(name, _)| name));
        match (kind, namespace.filter(|namespace| *namespace != "/")) {
            ('0', None) if self.name.is_some() => Ok(None),
            ('0', None) => Ok(Some(self.register())),
            ('0', Some(namespace)) if namespace.len() <= FOREIGN_NAME_BYTES => {
                Err(Fault::Refused(Refusal::UnknownType, Some(Tag::from(namespace))))
            }
            ('1', None) => Ok(Some(Command::Bye)),
            ('2', None) if self.name.is_some() => self.event(text, rest),
            // The original closes, too: nobody is connected there.
            ('2', _) => Err(Fault::Fatal("an event from a namespace that is not connected")),
            ('1' | '3' | '4', _) => Ok(None),
            ('5' | '6', _) => Err(refused("binary events are not carried; send text")),
            _ => Err(undecodable()),
        }
    }

    fn event(&self, text: &Utf8Bytes, rest: &str) -> Asked {
        let list = rest.strip_prefix("/,").unwrap_or(rest).trim_start_matches(|c: char| c.is_ascii_digit());
        let arguments: Arguments<'_> = serde_json::from_str(list).map_err(|_| undecodable())?;
        let name = arguments.first.and_then(|name| go::Raw::from(name).string().ok()).ok_or_else(undecodable)?;
        if name != wire::MESSAGE {
            return Ok(None);
        }
        let payload = arguments.second.map_or("null", |payload| payload.get());
        go::shallow(payload).map_err(|refusal| Fault::Refused(refusal, None))?;
        // What a receiver gets is what came, unless there was more in it.
        let frame = match wire::payload(text.as_str()) {
            Some(inside) if inside == payload => Frame::Text(text.clone()),
            _ => Frame::text(wire::message(self.version, payload)),
        };
        Ok(Some(self.letter(payload, frame, None)))
    }

    /// A packet of 0.9. What cannot be understood is ignored, as the original does.
    fn hear_legacy(&self, text: &str) -> Option<Command> {
        let packet = Packet::parse(text).filter(|packet| packet.endpoint.is_empty())?;
        let quoted;
        let event: LegacyEvent<'_>;
        let payload = match packet.kind {
            "0" => return Some(Command::Bye),
            "1" if self.name.is_none() => return Some(self.register()),
            "3" => {
                quoted = wire::quote(packet.data);
                &quoted
            }
            "4" => wire::json(packet.data)?.get(),
            "5" => {
                event = serde_json::from_str(packet.data)
                    .ok()
                    .filter(|event: &LegacyEvent<'_>| event.name == wire::MESSAGE)?;
                let first = event.args.as_ref().and_then(|arguments| arguments.first);
                first.map_or(Some("null"), |first| go::shallow(first.get()).ok().map(|()| first.get()))?
            }
            _ => return None,
        };
        let tag = Some(packet.id).filter(|id| !id.is_empty() && !packet.wants_data).map(Tag::from);
        Some(self.letter(payload, Frame::text(wire::message(Version::Legacy, payload)), tag))
    }

    fn register(&self) -> Command {
        Command::Register { name: self.wanted.clone(), resumable: false }
    }

    fn letter(&self, payload: &str, frame: Frame, tag: Option<Tag>) -> Command {
        let (origin, kind) = (self.dialect().origin(), wire::read(payload).kind());
        let to = self.caller.clone().map_or_else(|| To::Room(self.room.clone()), To::Peer);
        let receipt = tag.is_some();
        Command::Signal(Envelope {
            from: None,
            to,
            letter: Letter::Sealed(Sealed { origin, kind, frame }),
            tag,
            receipt,
        })
    }

    fn signal(&mut self, from: &Name, to: &To, letter: &Letter) -> Result<Frame, Refusal> {
        let frame = match letter {
            Letter::Sealed(sealed) if sealed.origin == self.dialect().origin() => sealed.frame.clone(),
            Letter::Sealed(sealed) => {
                Frame::text(wire::message(self.version, &wire::write(&crate::dialect::open(sealed)?)?))
            }
            Letter::Open(signal) => Frame::text(wire::message(self.version, &wire::write(signal)?)),
        };
        if matches!(to, To::Peer(_)) && letter.kind() == Kind::Offer {
            self.caller = Some(from.clone());
        }
        Ok(frame)
    }

    /// There are words for two refusals only.
    fn refused(&mut self, refusal: Refusal, to: Option<&Name>, tag: Option<&Tag>, out: &mut Vec<Said>) {
        let namespace = tag.map(Name::as_str).filter(|tag| tag.starts_with('/'));
        match (namespace, self.version) {
            (_, Version::Legacy) | (None, _) => {}
            (Some(namespace), Version::Three) => out.push(say(format!(r#"44{namespace},"Invalid namespace""#))),
            (Some(namespace), Version::Four) => {
                out.push(say(format!(r#"44{namespace},{{"message":"Invalid namespace"}}"#)));
            }
        }
        match refusal {
            Refusal::RoomFull | Refusal::ServerFull => {
                if self.version == Version::Four {
                    out.push(say(format!(r#"44{{"message":{}}}"#, wire::quote(refusal.sentence()))));
                }
                out.push(Said::Close { code: 1013, reason: "the server is full; try again later" });
            }
            Refusal::NameTaken if self.name.is_none() && self.wanted.take().is_some() => {
                // Somebody has guessed it. Another will do.
                out.push(Said::Command(self.register()));
            }
            _ if to.is_some() && to == self.caller.as_ref() => self.caller = None,
            _ => {}
        }
    }
}

/// The room of all clients of Socket.IO, or of those who named the same one.
fn broadcast(room: Option<&str>) -> RoomName {
    match room {
        None => RoomName::private("socket.io"),
        Some(room) => RoomName::private(&format!("socket.io/{room}")),
    }
}

fn say(text: String) -> Said {
    Said::Frame(Frame::text(text))
}

fn refused(why: &'static str) -> Fault {
    Fault::Refused(Refusal::Malformed(why), None)
}

fn undecodable() -> Fault {
    Fault::Fatal("this is not a packet of Socket.IO")
}
