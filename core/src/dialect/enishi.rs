//! Our own protocol, `enishi.v1`. `docs/protocol.md` is its description for people; this is the truth.
//!
//! Every message is one JSON object in a text frame. All messages of both directions share one set of keys
//! (`wire::Message`), so each is parsed in one pass into typed fields, where a duplicate key is an error. What is
//! passed on was written anew by us: a receiver never sees a client's own JSON, except string literals of SDP and
//! text, which are checked and then spliced as they are.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::{Context, Dialect, Heard, Said};
use crate::ids::equal_in_constant_time;
use crate::limits::{LABEL_BYTES, NAME_CHARS};
use crate::machine::Frame;
use crate::signal::{
    Candidate, Command, Departure, Envelope, Event, Kind, Letter, Name, Payload, Refusal, Resumed, Sealed, Signal, Tag,
    To,
};

mod client;
#[cfg(test)]
mod tests;
mod wire;

pub use client::Client;
use wire::{Message, Terms, error_frame};

/// The WebSocket subprotocol (RFC 6455, 1.9).
pub const PROTOCOL: &str = "enishi.v1";

/// The server's side of one connection.
#[derive(Debug, Default)]
pub struct Server {
    /// What `hello` has to carry, if the server wants it.
    token: Option<Box<str>>,
    /// The client's name, once it has one.
    name: Option<Name>,
}

impl Server {
    /// A codec that asks for this token.
    pub fn new(token: Option<&str>) -> Self {
        Server { token: token.map(Into::into), name: None }
    }

    /// Whether a connection that begins with this frame speaks our protocol.
    pub fn detect(frame: &Frame) -> bool {
        // Most clients are others', and reading theirs whole costs more than finding that this cannot be ours.
        let may_be = matches!(frame, Frame::Text(text) if text.contains("hello") || text.contains('\\'));
        may_be && matches!(parse(frame), Ok(message) if message.kind == "hello")
    }

    /// Translates a frame from the client.
    pub fn receive(&mut self, _cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Heard>) {
        let message = match parse(frame) {
            Ok(message) => message,
            Err(refusal) => return out.push(Heard::Refused { refusal, to: None, tag: None }),
        };
        let tag = message.reference.as_deref().map(Tag::from);
        if tag.as_ref().is_some_and(|tag| tag.as_str().chars().count() > NAME_CHARS) {
            let refusal = Refusal::Malformed("\"ref\" is longer than 64 characters");
            return out.push(Heard::Refused { refusal, to: None, tag: None });
        }
        let to = message.to.as_deref().map(Name::from);
        match self.command(&message, tag.clone()) {
            Ok(command) => out.push(Heard::Command(command)),
            Err(refusal) => {
                out.push(Heard::Refused { refusal, to, tag });
                if refusal == Refusal::Unauthorized {
                    out.push(Heard::Close { code: 1008, reason: "the token is missing or wrong" });
                }
            }
        }
    }

    /// Translates an event for the client.
    ///
    /// # Errors
    /// A letter that cannot be opened.
    pub fn encode(&mut self, cx: &mut Context<'_>, event: &Event, out: &mut Vec<Said>) -> Result<(), Refusal> {
        let frame = match event {
            Event::Registered { name, token, resumed } => {
                self.name = Some(name.clone());
                let ice_servers = cx.ice_servers.iter().filter_map(|json| serde_json::from_str(json).ok()).collect();
                let resumed = match resumed {
                    Resumed::Fresh => "no",
                    Resumed::Whole => "whole",
                    Resumed::WithGap => "gap",
                };
                Message {
                    id: Some(name.as_str().into()),
                    resume_token: token.as_deref().map(Cow::Borrowed),
                    resumed: Some(resumed.into()),
                    grace_ms: u64::try_from(cx.limits.grace.as_millis()).ok(),
                    limits: Some(Terms::of(cx.limits)),
                    ice_servers: Some(ice_servers),
                    ..Message::of("welcome")
                }
                .frame()
            }
            Event::Unregistered { name } => {
                Message { id: Some(name.as_str().into()), ..Message::of("unregistered") }.frame()
            }
            Event::Listed { names, tag } => Message {
                peers: Some(names.iter().map(|name| name.as_str().into()).collect()),
                reference: text(tag),
                ..Message::of("peers")
            }
            .frame(),
            Event::Roster { room, place, members, tag } => Message {
                room: Some(room.as_str().into()),
                epoch: Some(place.epoch),
                seq: Some(place.seq),
                peers: Some(members.iter().map(|name| name.as_str().into()).collect()),
                reference: text(tag),
                ..Message::of("roster")
            }
            .frame(),
            Event::Joined { room, place, name } => Message {
                room: Some(room.as_str().into()),
                epoch: Some(place.epoch),
                seq: Some(place.seq),
                id: Some(name.as_str().into()),
                ..Message::of("joined")
            }
            .frame(),
            Event::Left { room, place, name, why } => Message {
                room: Some(room.as_str().into()),
                epoch: Some(place.epoch),
                seq: Some(place.seq),
                id: Some(name.as_str().into()),
                why: Some(departure(*why).into()),
                ..Message::of("left")
            }
            .frame(),
            Event::Signal { letter: Letter::Sealed(sealed), .. } if sealed.origin == Dialect::Enishi.origin() => {
                sealed.frame.clone()
            }
            Event::Signal { from, to, letter } => {
                let signal = match letter {
                    Letter::Open(signal) => Cow::Borrowed(signal),
                    Letter::Sealed(sealed) => Cow::Owned(super::open(sealed)?),
                };
                signal_message(Some(from), to, &signal)?.frame()
            }
            // Nobody asks for a receipt in this dialect.
            Event::Accepted { .. } => return Ok(()),
            Event::Refused { refusal, to, tag } => error_frame(*refusal, to.as_ref(), tag.as_ref()),
        };
        out.push(Said::Frame(frame));
        Ok(())
    }

    fn command(&self, message: &Message<'_>, tag: Option<Tag>) -> Result<Command, Refusal> {
        match message.kind.as_ref() {
            "hello" => self.hello(message),
            "join" => Ok(Command::Join { room: room(message)?, tag }),
            "leave" => Ok(Command::Leave { room: room(message)?, tag }),
            "list" => Ok(Command::List { tag }),
            "bye" => Ok(Command::Bye),
            "offer" | "answer" | "candidate" | "end-of-candidates" | "restart" | "data" => self.letter(message, tag),
            _ => Err(Refusal::UnknownType),
        }
    }

    fn hello(&self, message: &Message<'_>) -> Result<Command, Refusal> {
        if let Some(wanted) = &self.token
            && !message.token.as_deref().is_some_and(|token| equal_in_constant_time(token, wanted))
        {
            return Err(Refusal::Unauthorized);
        }
        if let Some(resume) = &message.resume {
            return Ok(Command::Resume { token: resume.token.as_ref().into(), received: resume.received });
        }
        let name = message.id.as_deref().map(own_name).transpose()?;
        Ok(Command::Register { name, resumable: true })
    }

    /// A signal, written anew as its receiver of the same dialect gets it.
    fn letter(&self, message: &Message<'_>, tag: Option<Tag>) -> Result<Command, Refusal> {
        let own = self.name.as_ref().ok_or(Refusal::NotRegistered)?;
        let from = message.from.as_deref().map(Name::from);
        if from.as_ref().is_some_and(|from| from != own) {
            return Err(Refusal::NotYourName);
        }
        let to = match (&message.to, &message.room) {
            (Some(to), None) => To::Peer(Name::from(to.as_ref())),
            (None, Some(room)) if message.kind == "data" => To::Room(own_name(room)?),
            (None, Some(_)) => return Err(Refusal::Malformed("only \"data\" can be sent to a \"room\"")),
            (None, None) => return Err(Refusal::Malformed("\"to\" is missing")),
            (Some(_), Some(_)) => return Err(Refusal::Malformed("either \"to\" or \"room\", not both")),
        };
        let (kind, body) = checked_body(message)?;
        let frame = Message { from: Some(own.as_str().into()), to: None, room: None, ..body }.addressed(&to).frame();
        let letter = Letter::Sealed(Sealed { origin: Dialect::Enishi.origin(), kind, frame });
        Ok(Command::Signal(Envelope { from, to, letter, tag, receipt: false }))
    }
}

/// Opens a letter of this dialect.
///
/// # Errors
/// What is inside cannot be understood.
pub fn open(sealed: &Sealed) -> Result<Signal, Refusal> {
    signal(&parse(&sealed.frame)?)
}

/// Whether a name is 1 to 64 characters of the set that our own protocol allows.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_CHARS).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~@:+-".contains(&b))
}

fn own_name(name: &str) -> Result<Name, Refusal> {
    if is_name(name) { Ok(Name::from(name)) } else { Err(Refusal::BadName) }
}

fn room(message: &Message<'_>) -> Result<Name, Refusal> {
    own_name(message.room.as_deref().ok_or(Refusal::Malformed("\"room\" is missing"))?)
}

fn parse(frame: &Frame) -> Result<Message<'_>, Refusal> {
    let Frame::Text(text) = frame else {
        return Err(Refusal::Malformed("a binary frame; messages are JSON in text frames"));
    };
    serde_json::from_str(text.as_str()).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            Refusal::Malformed("a key is missing, twice there, or of the wrong type; see docs/protocol.md")
        }
        _ => Refusal::Malformed("not JSON"),
    })
}

/// The parts of a signal that its receiver gets, everything checked that [`signal`] needs.
fn checked_body<'a>(message: &'a Message<'_>) -> Result<(Kind, Message<'a>), Refusal> {
    let of = |kind: &'static str| Message::of(kind);
    match message.kind.as_ref() {
        kind @ ("offer" | "answer") => {
            let sdp = message.sdp.ok_or(Refusal::Malformed("\"sdp\" is missing"))?;
            check_literal(sdp)?;
            let (kind, name) = if kind == "offer" { (Kind::Offer, "offer") } else { (Kind::Answer, "answer") };
            Ok((kind, Message { sdp: Some(sdp), ..of(name) }))
        }
        "candidate" => {
            let candidate = message.candidate.as_ref().ok_or(Refusal::Malformed("\"candidate\" is missing"))?;
            Ok((Kind::Candidate, Message { candidate: Some(candidate.clone()), ..of("candidate") }))
        }
        "end-of-candidates" => {
            let username_fragment = message.username_fragment.clone();
            Ok((Kind::EndOfCandidates, Message { username_fragment, ..of("end-of-candidates") }))
        }
        "restart" => Ok((Kind::Restart, of("restart"))),
        _ => {
            let label = message.label.as_deref().unwrap_or_default();
            if label.len() > LABEL_BYTES {
                return Err(Refusal::Malformed("\"label\" is longer than 256 bytes"));
            }
            match (message.text, &message.base64) {
                (Some(text), None) => check_literal(text)?,
                (None, Some(base64)) => {
                    STANDARD.decode(base64.as_ref()).map_err(|_| Refusal::Malformed("\"base64\" is not base64"))?;
                }
                _ => return Err(Refusal::Malformed("\"data\" carries either \"text\" or \"base64\"")),
            }
            let base64 = message.base64.clone();
            Ok((Kind::Data, Message { label: Some(label.into()), text: message.text, base64, ..of("data") }))
        }
    }
}

/// A raw value must be a string literal without lone surrogates, which no Rust string can hold.
fn check_literal(raw: &RawValue) -> Result<(), Refusal> {
    let raw = raw.get();
    let is_text = raw.starts_with('"') && (!raw.contains("\\u") || serde_json::from_str::<Cow<'_, str>>(raw).is_ok());
    if is_text { Ok(()) } else { Err(Refusal::Malformed("\"sdp\" and \"text\" are strings of Unicode text")) }
}

/// The signal in a message.
fn signal(message: &Message<'_>) -> Result<Signal, Refusal> {
    let literal = |raw: Option<&RawValue>| {
        raw.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok())
            .ok_or(Refusal::Malformed("\"sdp\" and \"text\" are strings of Unicode text"))
    };
    Ok(match message.kind.as_ref() {
        "offer" => Signal::Offer { sdp: literal(message.sdp)? },
        "answer" => Signal::Answer { sdp: literal(message.sdp)? },
        "candidate" => {
            let candidate = message.candidate.as_ref().ok_or(Refusal::Malformed("\"candidate\" is missing"))?;
            Signal::Candidate(Candidate {
                candidate: candidate.candidate.to_string(),
                sdp_mid: candidate.sdp_mid.as_deref().map(str::to_owned),
                sdp_m_line_index: candidate.sdp_m_line_index,
                username_fragment: candidate.username_fragment.as_deref().map(str::to_owned),
            })
        }
        "end-of-candidates" => {
            Signal::EndOfCandidates { username_fragment: message.username_fragment.as_deref().map(str::to_owned) }
        }
        "restart" => Signal::Restart,
        "data" => Signal::Data {
            label: message.label.as_deref().unwrap_or_default().to_owned(),
            payload: match &message.base64 {
                None => Payload::Text(literal(message.text)?),
                Some(base64) => {
                    let bytes = STANDARD.decode(base64.as_ref());
                    Payload::Binary(bytes.map_err(|_| Refusal::Malformed("\"base64\" is not base64"))?.into())
                }
            },
        },
        _ => return Err(Refusal::UnknownType),
    })
}

/// The message that carries a signal.
fn signal_message<'a>(from: Option<&'a Name>, to: &'a To, signal: &'a Signal) -> Result<Message<'a>, Refusal> {
    let body = match signal {
        Signal::Offer { sdp } => Message { sdp_text: Some(sdp), ..Message::of("offer") },
        Signal::Answer { sdp } => Message { sdp_text: Some(sdp), ..Message::of("answer") },
        Signal::Candidate(candidate) => {
            Message { candidate: Some(wire::Candidate::of(candidate)), ..Message::of("candidate") }
        }
        Signal::EndOfCandidates { username_fragment } => Message {
            username_fragment: username_fragment.as_deref().map(Cow::Borrowed),
            ..Message::of("end-of-candidates")
        },
        Signal::Restart => Message::of("restart"),
        Signal::Data { label, .. } if label.len() > LABEL_BYTES => return Err(Refusal::TooBig),
        Signal::Data { label, payload: Payload::Text(text) } => {
            Message { label: Some(label.into()), payload_text: Some(text), ..Message::of("data") }
        }
        Signal::Data { label, payload: Payload::Binary(bytes) } => {
            Message { label: Some(label.into()), base64: Some(STANDARD.encode(bytes).into()), ..Message::of("data") }
        }
    };
    Ok(Message { from: from.map(|from| from.as_str().into()), ..body }.addressed(to))
}

fn departure(why: Departure) -> &'static str {
    match why {
        Departure::Left => "left",
        Departure::Gone => "gone",
        Departure::Slow => "slow",
    }
}

fn text(tag: &Option<Tag>) -> Option<Cow<'_, str>> {
    tag.as_ref().map(|tag| tag.as_str().into())
}
