//! The client's side of one connection, to the original server or to ours.

use std::collections::VecDeque;

use super::{CANDIDATE, INIT, NOT_THERE, RESPONSE, Request, command_for, name, outer, request, text, write};
use crate::dialect::Context;
use crate::dialect::go::Object;
use crate::limits;
use crate::machine::Frame;
use crate::signal::{Command, Event, Letter, Name, Refusal, Resumed, To};

/// The client's side of one connection.
#[derive(Debug)]
pub struct Client {
    offers: bool,
    name: Option<Name>,
    /// What was asked and for whom, oldest first: a response says neither, but comes in this order.
    asked: VecDeque<(u16, Option<Name>)>,
}

impl Client {
    /// A codec for a new connection of an offering or of an answering peer.
    pub fn new(offers: bool) -> Self {
        Client { offers, name: None, asked: VecDeque::new() }
    }

    /// The path that this side's connections have.
    pub fn path(&self) -> &'static str {
        if self.offers { "/offer" } else { "/register" }
    }

    /// Whether this is the side that the original does not let register.
    pub fn offers(&self) -> bool {
        self.offers
    }

    /// Translates a command for the server.
    ///
    /// # Errors
    /// [`Refusal::NoWordForThis`], [`Refusal::NotRegistered`], [`Refusal::BadName`], [`Refusal::TooBig`].
    pub fn encode(&mut self, cx: &mut Context<'_>, command: &Command, out: &mut Vec<Frame>) -> Result<(), Refusal> {
        match command {
            Command::Register { name: wanted, .. } => {
                let own = match wanted {
                    Some(wanted) => name(wanted.as_str())?,
                    None => Name::new(cx.ids.next(cx.unix)),
                };
                // On `/offer` the original ignores it; our server makes the name reachable.
                out.push(Frame::Binary(request(INIT, own.as_str(), "", None).into()));
                self.ask(INIT, None);
                self.name = Some(own);
                Ok(())
            }
            Command::Signal(envelope) => {
                let To::Peer(to) = &envelope.to else { return Err(Refusal::NoWordForThis) };
                let Letter::Open(signal) = &envelope.letter else { return Err(Refusal::NoWordForThis) };
                let own = self.name.as_ref().ok_or(Refusal::NotRegistered)?;
                out.push(write(cx, own.as_str(), to.as_str(), signal)?);
                self.ask(command_for(signal.kind())?, Some(to.clone()));
                Ok(())
            }
            Command::Bye => Ok(()),
            Command::Unregister { .. }
            | Command::Resume { .. }
            | Command::List { .. }
            | Command::Join { .. }
            | Command::Leave { .. } => Err(Refusal::NoWordForThis),
        }
    }

    /// Translates a frame from the server.
    ///
    /// # Errors
    /// The frame cannot be understood; it is skipped.
    pub fn receive(&mut self, _cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Event>) -> Result<(), Refusal> {
        if matches!(frame, Frame::Ping | Frame::Pong) {
            return Ok(());
        }
        let (command, payload) = outer(&text(frame)?)?;
        match command.checked_sub(RESPONSE) {
            Some(request @ INIT..=CANDIDATE) => self.response(request, &payload, out),
            _ => {
                let request = Request::parse(&payload)?;
                let own = self.name.clone().ok_or(Refusal::NotRegistered)?;
                if request.target != own.as_str() {
                    return Err(Refusal::Malformed("a message for somebody else"));
                }
                let from = name(&request.source)?;
                let signal = request.signal(command)?;
                out.push(Event::Signal { from, to: To::Peer(own), letter: Letter::Open(signal) });
                Ok(())
            }
        }
    }

    fn ask(&mut self, command: u16, to: Option<Name>) {
        if self.asked.len() >= limits::HELD_SIGNALS {
            self.asked.pop_front();
        }
        self.asked.push_back((command, to));
    }

    fn response(&mut self, command: u16, payload: &str, out: &mut Vec<Event>) -> Result<(), Refusal> {
        let to = match self.asked.iter().position(|(asked, _)| *asked == command) {
            Some(position) => self.asked.remove(position).and_then(|(_, to)| to),
            None => None,
        };
        let object = Object::parse(payload)?;
        let is_ok = object.get("code")?.is_none_or(|code| code.get() == "0");
        let msg = object.string("msg")?.unwrap_or_default();
        match &self.name {
            Some(name) if is_ok && command == INIT && !self.offers => {
                out.push(Event::Registered { name: name.clone(), token: None, resumed: Resumed::Fresh });
            }
            _ if is_ok => {}
            _ => {
                let told = Refusal::ALL.into_iter().find(|refusal| refusal.sentence() == msg);
                let refusal = if msg == NOT_THERE { Refusal::NoSuchPeer } else { told.unwrap_or(Refusal::UNKNOWN) };
                out.push(Event::Refused { refusal, to, tag: None });
            }
        }
        Ok(())
    }
}
