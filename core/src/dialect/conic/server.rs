//! The server's side of one connection.

use std::borrow::Cow;

use super::wire::{self, Envelope, Routed};
use super::{Generation, text};
use crate::clock::rfc3339;
use crate::dialect::go::{self, Builder, Object};
use crate::dialect::{Context, Dialect, Heard, Said};
use crate::machine::{Frame, Utf8Bytes};
use crate::signal::{Command, Event, Letter, Name, Refusal, Sealed, Tag, To};

/// The server's side of one connection: its generation, and what its answers depend on.
#[derive(Debug)]
pub struct Server {
    generation: Generation,
    /// The names registered on this connection, oldest first; as many as the hub allows.
    names: Vec<Name>,
    /// C: what the client asked for and has no answer to yet.
    asked: Option<Asked>,
    /// C: whether the client wants to be told of errors.
    errors: bool,
}

/// A request of C that its answer has to repeat.
#[derive(Debug)]
enum Asked {
    Register(Name),
    Unregister(Name),
}

impl Server {
    /// Whether this first frame is conic's, and of which generation; that stays for the life of the connection.
    pub fn detect(frame: &Frame) -> Option<Self> {
        let text = text(frame)?;
        let object = Object::parse(&text).ok()?;
        let kind = object.string("type").ok()?.unwrap_or_default();
        let generation = match kind.as_ref() {
            "register_request" | "unregister_request" => Generation::C,
            "sdp" | "candidate" | "data_channel" if object.get("data").ok()?.is_some() => Generation::C,
            _ if object.has("Type") => Generation::A,
            "register" => Generation::B,
            _ if object.has("raw") => Generation::B,
            _ => return None,
        };
        Some(Server { generation, names: Vec::new(), asked: None, errors: false })
    }

    /// The generation, as a dialect.
    pub fn dialect(&self) -> Dialect {
        self.generation.dialect()
    }

    /// Translates a frame from the client.
    pub fn receive(&mut self, cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Heard>) {
        if matches!(frame, Frame::Ping | Frame::Pong) {
            return;
        }
        let mut tag = None;
        let command = text(frame)
            .ok_or(Refusal::Malformed("this is not UTF-8"))
            .and_then(|text| self.understand(cx, &text, &mut tag));
        out.push(match (command, self.generation) {
            (Ok(command), _) => Heard::Command(command),
            (Err(Refusal::Malformed(_)), Generation::A | Generation::B) => {
                Heard::Close { code: 1002, reason: "this is not a message of conic's" }
            }
            (Err(Refusal::UnknownType), Generation::A | Generation::B) => {
                Heard::Close { code: 1003, reason: "there is no message of this type" }
            }
            (Err(refusal), _) => Heard::Refused { refusal, to: None, tag },
        });
    }

    /// Translates an event for the client. A sealed letter of this very generation goes on unchanged.
    ///
    /// # Errors
    /// The generation has no word for the signal, or the letter cannot be opened, or it would be too long.
    pub fn encode(&mut self, cx: &mut Context<'_>, event: &Event, out: &mut Vec<Said>) -> Result<(), Refusal> {
        match event {
            Event::Registered { name, .. } => out.push(Said::Frame(self.registered(cx, name))),
            Event::Unregistered { name } => out.push(self.unregistered(cx, name)),
            Event::Signal { from, to, letter } => out.push(Said::Frame(self.signal(cx, from, to, letter)?)),
            Event::Refused { refusal, to, tag } => {
                out.extend(self.refused(cx, *refusal, to.as_ref(), tag.as_ref()).map(Said::Frame));
            }
            Event::Listed { .. }
            | Event::Roster { .. }
            | Event::Joined { .. }
            | Event::Left { .. }
            | Event::Accepted { .. } => {}
        }
        Ok(())
    }

    fn understand(
        &mut self,
        cx: &mut Context<'_>,
        text: &Utf8Bytes,
        tag: &mut Option<Tag>,
    ) -> Result<Command, Refusal> {
        let envelope = Envelope::parse(self.generation, text)?;
        let mut timestamp = None;
        if self.generation == Generation::C {
            let id = envelope.object().string("id")?.unwrap_or_default();
            timestamp = envelope.timestamp()?;
            if self.errors {
                *tag = wire::name(&id).ok();
            }
        }
        match (self.generation, envelope.kind.as_ref()) {
            (Generation::C, "register_request") => self.register(&envelope),
            (Generation::C, "unregister_request") => self.unregister(&envelope),
            (Generation::A | Generation::B, "register") => Ok(Command::Register { name: None, resumable: false }),
            (Generation::A | Generation::B, "unregister") => {
                let inside = envelope.inside(self.generation)?;
                let id = inside.object()?.string("id")?.unwrap_or_default();
                Ok(Command::Unregister { name: wire::name(&id)? })
            }
            (Generation::A | Generation::B, "") => Err(Refusal::Malformed("the message has no type")),
            (_, kind) if self.generation.has_signal(kind) => {
                self.letter(cx, text, &envelope, timestamp, tag.clone()).map(Command::Signal)
            }
            _ => Err(Refusal::UnknownType),
        }
    }

    /// C: `register_request`.
    fn register(&mut self, envelope: &Envelope<'_>) -> Result<Command, Refusal> {
        let inside = envelope.inside(Generation::C)?;
        let data = inside.object()?;
        let id = data.string("client_id")?.unwrap_or_default();
        match data.get("errors")?.map(|value| value.get()) {
            Some("true") => self.errors = true,
            Some("false") => self.errors = false,
            _ => {}
        }
        self.asked = Some(Asked::Register(Name::from(id.as_ref())));
        Ok(Command::Register { name: Some(wire::name(&id)?), resumable: false })
    }

    /// C: `unregister_request`; without a name, the oldest is meant.
    fn unregister(&mut self, envelope: &Envelope<'_>) -> Result<Command, Refusal> {
        let data = envelope.object().object("data")?;
        let id = data.as_ref().map(|data| data.string("client_id")).transpose()?.flatten().unwrap_or_default();
        let name = match self.names.first() {
            Some(first) if id.is_empty() => first.clone(),
            None if id.is_empty() => return Err(Refusal::NotRegistered),
            _ => wire::name(&id)?,
        };
        self.asked = Some(Asked::Unregister(name.clone()));
        Ok(Command::Unregister { name })
    }

    /// A message for somebody, sealed as a receiver of the same generation gets it.
    fn letter(
        &mut self,
        cx: &mut Context<'_>,
        text: &Utf8Bytes,
        envelope: &Envelope<'_>,
        timestamp: Option<Cow<'_, str>>,
        tag: Option<Tag>,
    ) -> Result<crate::signal::Envelope, Refusal> {
        let generation = self.generation;
        let inside = envelope.inside(generation)?;
        let object = inside.object()?;
        let routed = Routed::parse(generation, &envelope.kind, &object)?;
        let to = wire::name(&routed.to).map_err(|refusal| match generation {
            // Nobody can have such a name, and for that A and B have a word.
            Generation::A | Generation::B => Refusal::NoSuchPeer,
            Generation::C => refusal,
        })?;
        let stated = if routed.from.is_empty() { None } else { Some(wire::name(&routed.from)?) };
        // The receiver has to read who sent this, so a name that was left out is filled in.
        let filled = stated.is_none().then(|| self.names.first()).flatten();
        let kind = routed.body.kind();
        let frame = match generation {
            Generation::C if filled.is_none() && envelope.is_exact() && timestamp.is_some() => text.clone(),
            Generation::C => rewrite(cx, envelope, timestamp, &object, filled)?.into(),
            Generation::A if filled.is_none() && inside.native && routed.native => text.clone(),
            Generation::B if filled.is_none() && inside.native && routed.native => rewrap(text, envelope),
            Generation::A | Generation::B => {
                let from = stated.as_ref().or(filled).map_or("", Name::as_str);
                wire::write(generation, cx, from, to.as_str(), &routed.body.into_signal()?)?.into()
            }
        };
        let sealed = Sealed { origin: self.dialect().origin(), kind, frame: Frame::Text(frame) };
        let from = stated.or_else(|| filled.cloned());
        Ok(crate::signal::Envelope { from, to: To::Peer(to), letter: Letter::Sealed(sealed), tag, receipt: false })
    }

    fn registered(&mut self, cx: &mut Context<'_>, name: &Name) -> Frame {
        self.asked = None;
        if !self.names.contains(name) {
            // Mostly the only one.
            self.names.reserve_exact(1);
            self.names.push(name.clone());
        }
        Frame::text(match self.generation {
            Generation::A | Generation::B => wire::identity(self.generation, name.as_str()),
            Generation::C => response(cx, "register_response", name, true, None),
        })
    }

    fn unregistered(&mut self, cx: &mut Context<'_>, name: &Name) -> Said {
        self.asked = None;
        self.names.retain(|own| own != name);
        match self.generation {
            Generation::A | Generation::B => Said::Close { code: 1000, reason: "unregistered" },
            Generation::C => Said::Frame(Frame::text(response(cx, "unregister_response", name, true, None))),
        }
    }

    fn signal(&self, cx: &mut Context<'_>, from: &Name, to: &To, letter: &Letter) -> Result<Frame, Refusal> {
        let to = match to {
            To::Peer(name) => name,
            // conic has no rooms; who gets something from one is addressed as oneself.
            To::Room(_) => self.names.first().ok_or(Refusal::NoWordForThis)?,
        };
        let text = match letter {
            Letter::Sealed(sealed) if sealed.origin == self.dialect().origin() => return Ok(sealed.frame.clone()),
            Letter::Sealed(sealed) => {
                let signal = crate::dialect::open(sealed)?;
                wire::write(self.generation, cx, from.as_str(), to.as_str(), &signal)?
            }
            Letter::Open(signal) => wire::write(self.generation, cx, from.as_str(), to.as_str(), signal)?,
        };
        Ok(Frame::text(text))
    }

    /// The answer to something that was not done, where the generation has a word for it.
    fn refused(
        &mut self,
        cx: &mut Context<'_>,
        refusal: Refusal,
        to: Option<&Name>,
        tag: Option<&Tag>,
    ) -> Option<Frame> {
        if self.generation != Generation::C {
            let undelivered = matches!(refusal, Refusal::NoSuchPeer | Refusal::PeerAway);
            return undelivered.then(|| Frame::text(wire::TARGET_NOT_FOUND));
        }
        // A signal's refusal names whom it was for, so this one is not about a request.
        let asked = if to.is_none() { self.asked.take() } else { None };
        let code = self.errors.then(|| refusal.code());
        match asked {
            Some(Asked::Register(name)) => Some(response(cx, "register_response", &name, false, code)),
            Some(Asked::Unregister(name)) => Some(response(cx, "unregister_response", &name, false, code)),
            None if self.errors => Some(error(cx, refusal, to, tag)),
            None => None,
        }
        .map(Frame::text)
    }
}

/// C: the sender's frame with what is missing filled in: the timestamp, the envelope's own spelling, the sender.
fn rewrite(
    cx: &Context<'_>,
    envelope: &Envelope<'_>,
    timestamp: Option<Cow<'_, str>>,
    data: &Object<'_>,
    from: Option<&Name>,
) -> Result<String, Refusal> {
    let timestamp = timestamp.unwrap_or_else(|| rfc3339(cx.unix).into());
    let id = envelope.object().string("id")?.unwrap_or_default();
    let outer = Builder::new().text("id", &id).text("type", &envelope.kind).text("timestamp", &timestamp);
    let text = match (from, envelope.content) {
        (None, Some(content)) => outer.raw("data", content.get()),
        (None, None) => outer,
        (Some(from), _) => {
            let others = data.members().filter(|(name, _)| !go::same_name(name, "from_id"));
            let first = Builder::new().text("from_id", from.as_str());
            let inner = others.fold(first, |inner, (name, value)| inner.others(name, value));
            outer.raw("data", &inner.finish())
        }
    }
    .finish();
    if text.len() > cx.limits.message_bytes { Err(Refusal::TooBig) } else { Ok(text) }
}

/// B: `{"type","raw"}` and nothing else, `raw` as it was. Mostly that is the frame itself, and nothing is copied.
fn rewrap(text: &Utf8Bytes, envelope: &Envelope<'_>) -> Utf8Bytes {
    let raw = envelope.content.map_or("null", |content| content.get());
    let frame = Builder::new().text("type", &envelope.kind).raw("raw", raw).finish();
    if frame == text.as_str() { text.clone() } else { frame.into() }
}

/// C: `register_response` or `unregister_response`.
fn response(cx: &mut Context<'_>, kind: &str, name: &Name, success: bool, code: Option<&str>) -> String {
    let data = Builder::new().text("client_id", name.as_str()).raw("success", if success { "true" } else { "false" });
    let data = match code {
        Some(code) => data.text("code", code),
        None => data,
    };
    wire::envelope(cx, kind, &data.finish())
}

/// C: an `error`, for clients that asked for them.
fn error(cx: &mut Context<'_>, refusal: Refusal, to: Option<&Name>, tag: Option<&Tag>) -> String {
    let mut data = Builder::new().text("code", refusal.code()).text("message", refusal.sentence());
    if let Some(to) = to {
        data = data.text("to_id", to.as_str());
    }
    if let Some(tag) = tag {
        data = data.text("ref", tag.as_str());
    }
    wire::envelope(cx, "error", &data.finish())
}
