//! The client's side of `enishi.v1`.

use std::borrow::Cow;

use serde::Deserialize;

use super::wire::{Message, Resume};
use super::{Context, parse, signal, signal_message};
use crate::limits;
use crate::machine::Frame;
use crate::signal::{Command, Departure, Event, Letter, Name, Place, Refusal, Resumed, Tag, To};
use crate::turn::{Credentials, TurnUri};

/// The client's side of one connection.
#[derive(Debug, Default)]
pub struct Client {
    token: Option<String>,
    /// Our own name, once we have one.
    name: Option<Name>,
    /// From the last welcome.
    turn: Vec<(TurnUri, Credentials)>,
}

impl Client {
    /// A codec that shows this token in its hello.
    pub fn with_token(token: Option<String>) -> Self {
        Client { token, ..Client::default() }
    }

    /// The TURN servers of the last welcome, at most [`limits::ICE_SERVERS`].
    pub fn turn_servers(&self) -> &[(TurnUri, Credentials)] {
        &self.turn
    }

    /// Translates a command for the server.
    ///
    /// # Errors
    /// The command is not one that a client gives in this dialect.
    pub fn encode(&mut self, _cx: &mut Context<'_>, command: &Command, out: &mut Vec<Frame>) -> Result<(), Refusal> {
        let reference = |tag: &Option<Tag>| tag.as_ref().map(|tag| Cow::Owned(tag.as_str().to_owned()));
        let hello = || Message { token: self.token.as_deref().map(Cow::Borrowed), ..Message::of("hello") };
        let frame = match command {
            Command::Register { name, .. } => {
                Message { id: name.as_ref().map(|name| name.as_str().into()), ..hello() }.frame()
            }
            Command::Resume { token, received } => {
                Message { resume: Some(Resume { token: token.as_ref().into(), received: *received }), ..hello() }
                    .frame()
            }
            Command::Join { room, tag } => {
                Message { room: Some(room.as_str().into()), reference: reference(tag), ..Message::of("join") }.frame()
            }
            Command::Leave { room, tag } => {
                Message { room: Some(room.as_str().into()), reference: reference(tag), ..Message::of("leave") }.frame()
            }
            Command::List { tag } => Message { reference: reference(tag), ..Message::of("list") }.frame(),
            Command::Bye => Message::of("bye").frame(),
            Command::Signal(envelope) => {
                let Letter::Open(signal) = &envelope.letter else { return Err(Refusal::NoWordForThis) };
                let message = signal_message(None, &envelope.to, signal)?;
                Message { reference: reference(&envelope.tag), ..message }.frame()
            }
            Command::Unregister { .. } => return Err(Refusal::NoWordForThis),
        };
        out.push(frame);
        Ok(())
    }

    /// Translates a frame from the server.
    ///
    /// # Errors
    /// The frame cannot be understood.
    pub fn receive(&mut self, _cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Event>) -> Result<(), Refusal> {
        let message = parse(frame)?;
        let event = match message.kind.as_ref() {
            "welcome" => {
                let name = name(&message.id)?;
                self.name = Some(name.clone());
                self.turn = message.ice_servers.iter().flatten().flat_map(|json| turn_servers(json.get())).collect();
                self.turn.truncate(limits::ICE_SERVERS);
                let resumed = match message.resumed.as_deref() {
                    Some("whole") => Resumed::Whole,
                    Some("gap") => Resumed::WithGap,
                    _ => Resumed::Fresh,
                };
                Event::Registered { name, token: message.resume_token.as_deref().map(Into::into), resumed }
            }
            "peers" => Event::Listed { names: names(&message), tag: tag(&message) },
            "roster" => Event::Roster {
                room: name(&message.room)?,
                place: place(&message)?,
                members: names(&message),
                tag: tag(&message),
            },
            "joined" => Event::Joined { room: name(&message.room)?, place: place(&message)?, name: name(&message.id)? },
            "left" => Event::Left {
                room: name(&message.room)?,
                place: place(&message)?,
                name: name(&message.id)?,
                why: match message.why.as_deref() {
                    Some("left") => Departure::Left,
                    Some("slow") => Departure::Slow,
                    _ => Departure::Gone,
                },
            },
            "error" => Event::Refused {
                refusal: Refusal::from_code(message.code.as_deref().unwrap_or_default()),
                to: message.to.as_deref().map(Name::from),
                tag: tag(&message),
            },
            _ => Event::Signal {
                from: name(&message.from)?,
                to: match (&message.to, &message.room, &self.name) {
                    (_, Some(room), _) => To::Room(Name::from(room.as_ref())),
                    (Some(to), _, _) => To::Peer(Name::from(to.as_ref())),
                    (None, None, Some(own)) => To::Peer(own.clone()),
                    (None, None, None) => return Err(Refusal::NotRegistered),
                },
                letter: Letter::Open(signal(&message)?),
            },
        };
        out.push(event);
        Ok(())
    }
}

/// The TURN URIs of one `RTCIceServer` that has credentials. What cannot be read is left out: the rest may serve.
fn turn_servers(json: &str) -> Vec<(TurnUri, Credentials)> {
    #[derive(Deserialize)]
    struct IceServer {
        urls: OneOrMany,
        username: Option<String>,
        credential: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    let Ok(IceServer { urls, username: Some(username), credential: Some(password) }) = serde_json::from_str(json)
    else {
        return Vec::new();
    };
    let urls = match urls {
        OneOrMany::One(url) => vec![url],
        OneOrMany::Many(urls) => urls,
    };
    let credentials = Credentials { username, password };
    urls.iter().filter_map(|url| Some((url.parse().ok()?, credentials.clone()))).take(limits::ICE_SERVERS).collect()
}

fn name(key: &Option<Cow<'_, str>>) -> Result<Name, Refusal> {
    key.as_deref().map(Name::from).ok_or(Refusal::Malformed("a name is missing"))
}

fn names(message: &Message<'_>) -> Vec<Name> {
    message.peers.iter().flatten().map(|name| Name::from(name.as_ref())).collect()
}

fn tag(message: &Message<'_>) -> Option<Tag> {
    message.reference.as_deref().map(Tag::from)
}

fn place(message: &Message<'_>) -> Result<Place, Refusal> {
    match (message.epoch, message.seq) {
        (Some(epoch), Some(seq)) => Ok(Place { epoch, seq }),
        _ => Err(Refusal::Malformed("a room's event without its number")),
    }
}
