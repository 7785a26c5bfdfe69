//! The server's side of one connection.

use super::{ANSWER, CANDIDATE, INIT, NOT_THERE, OFFER, RESPONSE, Request, message, name, outer, text, write};
use crate::dialect::go::Builder;
use crate::dialect::{Context, Dialect, Heard, Said};
use crate::machine::Frame;
use crate::signal::{Command, Envelope, Event, Kind, Letter, Name, Refusal, Sealed, Signal, Tag, To};

/// The server's side of one connection: who it is, and the request that is not answered yet.
#[derive(Debug)]
pub struct Server {
    /// Registered by its first request, for its path has no `init`.
    offering: bool,
    name: Option<Name>,
    asked: Option<Asked>,
    count: u64,
}

/// A request that the hub has not decided about yet; it does so before the next one is read.
#[derive(Debug)]
struct Asked {
    command: u16,
    tag: Tag,
    is_text: bool,
}

impl Server {
    /// A connection on `/register`.
    pub fn answering() -> Self {
        Server { offering: false, name: None, asked: None, count: 0 }
    }

    /// A connection on `/offer`.
    pub fn offering() -> Self {
        Server { offering: true, ..Server::answering() }
    }

    /// Translates a frame from the client.
    pub fn receive(&mut self, cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Heard>) {
        let _ = cx;
        if matches!(frame, Frame::Ping | Frame::Pong) {
            return;
        }
        let read = text(frame).and_then(|text| outer(&text)).and_then(|(command, payload)| match command {
            INIT..=CANDIDATE => Ok((command, Some(Request::parse(&payload)?))),
            _ => Ok((command, None)),
        });
        let (command, request) = match read {
            Ok((command, Some(request))) => (command, request),
            // What a peer answers to another's request is for nobody.
            Ok((command, None)) if (INIT..=CANDIDATE).any(|request| Some(request) == command.checked_sub(RESPONSE)) => {
                return;
            }
            Ok((_, None)) => return out.push(Heard::Refused { refusal: Refusal::UnknownType, to: None, tag: None }),
            Err(_) => {
                let reason = "this is not a message of Tony Bai's example";
                return out.push(Heard::Close { code: 1002, reason });
            }
        };
        self.count = self.count.wrapping_add(1);
        let tag = Tag::new(self.count.to_string());
        self.asked = Some(Asked { command, tag: tag.clone(), is_text: matches!(frame, Frame::Text(_)) });
        if let Err(refusal) = self.understand(frame, command, request, &tag, out) {
            out.push(Heard::Refused { refusal, to: None, tag: Some(tag) });
        }
    }

    /// Translates an event for the client. A sealed letter of this very dialect goes on unchanged.
    ///
    /// # Errors
    /// [`Refusal::NoWordForThis`], the letter cannot be opened, or it would be too long.
    pub fn encode(&mut self, cx: &mut Context<'_>, event: &Event, out: &mut Vec<Said>) -> Result<(), Refusal> {
        match event {
            Event::Registered { name, .. } => {
                self.name.get_or_insert_with(|| name.clone());
                let asked = self.asked.take_if(|asked| asked.command == INIT);
                out.extend(asked.map(|asked| asked.answer(0, "ok")));
            }
            Event::Accepted { tag } => out.extend(self.decided(tag.as_ref()).map(|asked| asked.answer(0, "ok"))),
            Event::Refused { refusal, tag, .. } => {
                let msg = match refusal {
                    Refusal::NoSuchPeer | Refusal::PeerAway => NOT_THERE,
                    refusal => refusal.sentence(),
                };
                out.extend(self.decided(tag.as_ref()).map(|asked| asked.answer(1, msg)));
            }
            Event::Signal { letter: Letter::Sealed(sealed), .. } if sealed.origin == Dialect::TonyBai.origin() => {
                out.push(Said::Frame(sealed.frame.clone()));
            }
            Event::Signal { from, to, letter } => {
                let target = match to {
                    To::Peer(name) => name,
                    // There are no rooms; who gets something from one is addressed as oneself.
                    To::Room(_) => self.name.as_ref().ok_or(Refusal::NoWordForThis)?,
                };
                let signal: &Signal = match letter {
                    Letter::Open(signal) => signal,
                    Letter::Sealed(sealed) => &crate::dialect::open(sealed)?,
                };
                out.push(Said::Frame(write(cx, from.as_str(), target.as_str(), signal)?));
            }
            Event::Unregistered { .. }
            | Event::Listed { .. }
            | Event::Roster { .. }
            | Event::Joined { .. }
            | Event::Left { .. } => {}
        }
        Ok(())
    }

    fn understand(
        &mut self,
        frame: &Frame,
        command: u16,
        request: Request,
        tag: &Tag,
        out: &mut Vec<Heard>,
    ) -> Result<(), Refusal> {
        let source = name(&request.source)?;
        if command == INIT || (self.offering && self.name.is_none()) {
            out.push(Heard::Command(Command::Register { name: Some(source.clone()), resumable: false }));
        }
        if command == INIT {
            return Ok(());
        }
        // Nobody can have such a name.
        let to = name(&request.target).map_err(|_| Refusal::NoSuchPeer)?;
        let kind = match command {
            ANSWER => Kind::Answer,
            OFFER => Kind::Offer,
            _ if request.body.is_empty() => Kind::EndOfCandidates,
            _ => Kind::Candidate,
        };
        request.signal(command)?;
        let letter = Letter::Sealed(Sealed { origin: Dialect::TonyBai.origin(), kind, frame: frame.clone() });
        let envelope = Envelope { from: Some(source), to: To::Peer(to), letter, tag: Some(tag.clone()), receipt: true };
        out.push(Heard::Command(Command::Signal(envelope)));
        Ok(())
    }

    /// The request that the hub decided about; without a mark it is the registration, the first part of any.
    fn decided(&mut self, tag: Option<&Tag>) -> Option<Asked> {
        self.asked.take_if(|asked| tag.is_none_or(|tag| *tag == asked.tag))
    }
}

impl Asked {
    /// The response, in a text frame only if `init` was: so does the original.
    fn answer(self, code: u8, msg: &str) -> Said {
        let payload = Builder::new().raw("code", &code.to_string()).text("msg", msg).finish();
        let text = message(self.command.saturating_add(RESPONSE), &payload);
        Said::Frame(if self.is_text && self.command == INIT { Frame::text(text) } else { Frame::Binary(text.into()) })
    }
}
