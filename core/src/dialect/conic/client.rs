//! The client's side of one connection, to conic's own servers or to ours.

use std::time::Duration;

use super::wire::{self, Envelope};
use super::{Generation, text};
use crate::dialect::go::Builder;
use crate::dialect::{Context, Dialect};
use crate::machine::Frame;
use crate::signal::{Command, Event, Letter, Name, Refusal, Resumed, To};

/// Between two registrations in C. Its original server passes messages on under the deadline of its last answer or
/// ping, 10 s later; what comes for us between that and the next ping, after 15 s, is lost, and the connection with it.
/// An answer to a registration moves that deadline.
const RENEWAL: Duration = Duration::from_secs(5);

/// The client's side of one connection.
#[derive(Debug)]
pub struct Client {
    generation: Generation,
    /// Whether the server has registered us under our name.
    confirmed: bool,
    /// Our name. C: the wanted one from the request on, as conic's own client does not wait for the answer either.
    name: Option<Name>,
}

impl Client {
    /// A codec for a new connection. What is not a dialect of conic's counts as C, its current one.
    pub fn new(dialect: Dialect) -> Self {
        let generation = match dialect {
            Dialect::ConicA => Generation::A,
            Dialect::ConicB => Generation::B,
            _ => Generation::C,
        };
        Client { generation, confirmed: false, name: None }
    }

    /// How often to register again under the same name, so that the server can go on reaching us.
    pub fn renewal(&self) -> Option<Duration> {
        (self.generation == Generation::C).then_some(RENEWAL)
    }

    /// Translates a command for the server.
    ///
    /// A wanted name is only a wish in A and B, whose servers choose. In C a missing one is made up here.
    ///
    /// # Errors
    /// [`Refusal::NoWordForThis`], [`Refusal::NotRegistered`] for a signal before a name is known,
    /// [`Refusal::BadName`], [`Refusal::TooBig`].
    pub fn encode(&mut self, cx: &mut Context<'_>, command: &Command, out: &mut Vec<Frame>) -> Result<(), Refusal> {
        let text = match command {
            Command::Register { name, .. } => self.register(cx, name.as_ref())?,
            Command::Unregister { name } => match self.generation {
                Generation::A | Generation::B => {
                    let inside = wire::identity(self.generation, name.as_str());
                    wire::frame(self.generation, "unregister", Some(&inside))
                }
                Generation::C => {
                    let data = Builder::new().text("client_id", name.as_str()).finish();
                    wire::envelope(cx, "unregister_request", &data)
                }
            },
            Command::Signal(envelope) => {
                let To::Peer(to) = &envelope.to else { return Err(Refusal::NoWordForThis) };
                let from = envelope.from.as_ref().or(self.name.as_ref()).ok_or(Refusal::NotRegistered)?;
                match &envelope.letter {
                    Letter::Open(signal) => wire::write(self.generation, cx, from.as_str(), to.as_str(), signal)?,
                    Letter::Sealed(sealed) => {
                        let signal = crate::dialect::open(sealed)?;
                        wire::write(self.generation, cx, from.as_str(), to.as_str(), &signal)?
                    }
                }
            }
            Command::Bye => return Ok(()),
            Command::Resume { .. } | Command::List { .. } | Command::Join { .. } | Command::Leave { .. } => {
                return Err(Refusal::NoWordForThis);
            }
        };
        out.push(Frame::text(text));
        Ok(())
    }

    /// Translates a frame from the server.
    ///
    /// # Errors
    /// The frame cannot be understood; it is skipped.
    pub fn receive(&mut self, cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Event>) -> Result<(), Refusal> {
        let _ = cx;
        if matches!(frame, Frame::Ping | Frame::Pong) {
            return Ok(());
        }
        let text = text(frame).ok_or(Refusal::Malformed("this is not UTF-8"))?;
        let event = match self.generation {
            Generation::A | Generation::B => self.hear_old(&text)?,
            Generation::C => self.hear(&text)?,
        };
        if let Event::Registered { name, .. } = &event {
            let confirmed_before = self.confirmed && self.name.as_ref() == Some(name);
            (self.confirmed, self.name) = (true, Some(name.clone()));
            if confirmed_before {
                return Ok(());
            }
        }
        out.push(event);
        Ok(())
    }

    fn register(&mut self, cx: &mut Context<'_>, wanted: Option<&Name>) -> Result<String, Refusal> {
        if self.generation != Generation::C {
            return Ok(wire::frame(self.generation, "register", None));
        }
        let name = match wanted {
            Some(name) => wire::name(name.as_str())?,
            None => Name::new(cx.ids.next(cx.unix)),
        };
        // The original ignores members that it does not know.
        let data = Builder::new().text("client_id", name.as_str()).raw("errors", "true").finish();
        self.name = Some(name);
        Ok(wire::envelope(cx, "register_request", &data))
    }

    /// A and B: an answer is told by its id at the top, which no other frame has.
    fn hear_old(&mut self, text: &str) -> Result<Event, Refusal> {
        if text == wire::TARGET_NOT_FOUND {
            return Ok(Event::Refused { refusal: Refusal::NoSuchPeer, to: None, tag: None });
        }
        let envelope = Envelope::parse(self.generation, text)?;
        let id = envelope.object().string("id")?.unwrap_or_default();
        if envelope.kind.is_empty() && !id.is_empty() {
            return Ok(registered(wire::name(&id)?));
        }
        self.signal(text)
    }

    fn hear(&mut self, text: &str) -> Result<Event, Refusal> {
        let envelope = Envelope::parse(Generation::C, text)?;
        if !matches!(envelope.kind.as_ref(), "register_response" | "unregister_response" | "error") {
            return self.signal(text);
        }
        let inside = envelope.inside(Generation::C)?;
        let data = inside.object()?;
        let name = data.string("client_id")?.unwrap_or_default();
        let success = data.get("success")?.is_some_and(|value| value.get() == "true");
        let code = data.string("code")?;
        let told = code.as_deref().map(Refusal::from_code);
        match envelope.kind.as_ref() {
            "register_response" if success => Ok(registered(wire::name(&name)?)),
            "unregister_response" if success => {
                let name = wire::name(&name)?;
                self.forget(name.as_str());
                Ok(Event::Unregistered { name })
            }
            "register_response" => {
                self.forget(&name);
                Ok(Event::Refused { refusal: told.unwrap_or(Refusal::NameTaken), to: None, tag: None })
            }
            "unregister_response" => {
                Ok(Event::Refused { refusal: told.unwrap_or(Refusal::NotYourName), to: None, tag: None })
            }
            _ => Ok(Event::Refused {
                refusal: told.ok_or(Refusal::Malformed("the server tells of an error that has no name here"))?,
                to: data.string("to_id")?.and_then(|name| wire::name(&name).ok()),
                tag: data.string("ref")?.and_then(|tag| wire::name(&tag).ok()),
            }),
        }
    }

    fn forget(&mut self, name: &str) {
        if self.name.as_ref().is_some_and(|own| own.as_str() == name) {
            (self.confirmed, self.name) = (false, None);
        }
    }

    fn signal(&self, text: &str) -> Result<Event, Refusal> {
        let (from, to, signal) = wire::read(self.generation, text)?;
        let to = match &self.name {
            Some(own) if to.is_empty() => own.clone(),
            _ => wire::name(&to)?,
        };
        Ok(Event::Signal { from: wire::name(&from)?, to: To::Peer(to), letter: Letter::Open(signal) })
    }
}

fn registered(name: Name) -> Event {
    Event::Registered { name, token: None, resumed: Resumed::Fresh }
}
