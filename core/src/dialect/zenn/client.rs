//! The client's side of one connection, to the original server or to ours.

use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::{ANSWERER, SEPARATOR, bounded, candidate, name, required, sdp, text, write};
use crate::dialect::Context;
use crate::dialect::go::{Builder, Object};
use crate::limits;
use crate::machine::Frame;
use crate::signal::{Command, Event, Letter, Name, Refusal, Signal, To};

/// The client's side of one connection.
#[derive(Debug, Default)]
pub struct Client {
    offers: bool,
    /// The server did not say for whom it wants an offer, so that [`ANSWERER`] is no name that it knows.
    blind: bool,
    name: Option<Name>,
    /// Whom our last offer was for: the answer that names nobody is theirs.
    offered: Option<Name>,
    /// Whose description came last: candidates that name nobody are theirs.
    partner: Option<Name>,
}

impl Client {
    /// A codec for a new connection.
    pub fn new(offers: bool) -> Self {
        Client { offers, ..Client::default() }
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
                let role = if self.offers { "offer" } else { "answer" };
                let connect = Builder::new().text("id", own.as_str()).raw("named", "true").text("role", role);
                out.push(bounded(cx, connect.text("type", "connect").finish())?);
                self.name = Some(own);
                Ok(())
            }
            Command::Signal(envelope) => {
                let To::Peer(to) = &envelope.to else { return Err(Refusal::NoWordForThis) };
                let Letter::Open(signal) = &envelope.letter else { return Err(Refusal::NoWordForThis) };
                out.push(self.signal(cx, to, signal)?);
                if let Signal::Offer { .. } = signal {
                    self.offered = Some(to.clone());
                }
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
        let text = text(frame)?;
        let object = Object::parse(&text)?;
        let own = self.name.clone().ok_or(Refusal::NotRegistered)?;
        let sender = object.string("target_id")?.filter(|sender| !sender.is_empty());
        let sender = sender.map(|sender| name(&sender)).transpose()?;
        let mut tell = |from: &Name, signal| {
            let (from, to) = (from.clone(), To::Peer(own.clone()));
            out.push(Event::Signal { from, to, letter: Letter::Open(signal) });
        };
        match required(&object, "type")?.as_ref() {
            "offer" if object.get("sdp")?.is_none() => match sender {
                Some(sender) => tell(&sender, Signal::Restart),
                // The original server keeps what we offered, to whomever it was.
                None if self.offered.is_some() => {}
                None => {
                    self.blind = true;
                    tell(&Name::from(ANSWERER), Signal::Restart);
                }
            },
            "offer" => {
                let inside = required(&object, "sdp")?;
                if inside.is_empty() {
                    return Err(Refusal::Malformed("the offerer has not offered yet; connect again when it has"));
                }
                let from = sender.ok_or(Refusal::Malformed("an offer of nobody"))?;
                tell(&from, Signal::Offer { sdp: sdp(&inside)? });
                self.partner = Some(from);
            }
            "answer" => {
                let from = sender.or_else(|| self.offered.clone());
                let from = from.ok_or(Refusal::Malformed("an answer, though nothing was offered"))?;
                tell(&from, Signal::Answer { sdp: sdp(&required(&object, "sdp")?)? });
                self.partner = Some(from);
            }
            "candidate" => {
                let from = sender.as_ref().or(self.partner.as_ref()).or(self.offered.as_ref());
                let from = from.ok_or(Refusal::Malformed("a candidate of nobody"))?;
                let candidates = split(&required(&object, "candidate")?)?;
                candidates.into_iter().for_each(|signal| tell(from, signal));
            }
            "error" => {
                let code = required(&object, "code")?;
                let told = Refusal::ALL.into_iter().find(|refusal| refusal.code() == code);
                out.push(Event::Refused { refusal: told.unwrap_or(Refusal::UNKNOWN), to: sender, tag: None });
            }
            _ => return Err(Refusal::UnknownType),
        }
        Ok(())
    }

    fn signal(&self, cx: &Context<'_>, to: &Name, signal: &Signal) -> Result<Frame, Refusal> {
        let own = self.name.as_ref().ok_or(Refusal::NotRegistered)?.as_str();
        let (member, value) = write(signal)?;
        let kind = match signal {
            Signal::Offer { .. } => "offer",
            Signal::Answer { .. } => "answer",
            _ => "candidateAdd",
        };
        let target = if self.blind && to.as_str() == ANSWERER { "" } else { to.as_str() };
        let message = Builder::new();
        let message = match member {
            "candidate" => message.raw(member, &value).text("id", own),
            _ => message.text("id", own).raw(member, &value),
        };
        bounded(cx, message.text("target_id", target).text("type", kind).finish())
    }
}

/// Candidates in one message: JSON values with a separator between them, which may also be inside of one.
fn split(text: &str) -> Result<Vec<Signal>, Refusal> {
    let mut signals = Vec::new();
    let mut rest = text;
    while signals.len() < limits::EARLY_SIGNALS {
        let mut values = Deserializer::from_str(rest).into_iter::<&RawValue>();
        let value =
            values.next().and_then(Result::ok).ok_or(Refusal::Malformed("there is no candidate in the string"))?;
        signals.push(candidate(value.get())?);
        match rest.get(values.byte_offset()..).and_then(|rest| rest.strip_prefix(SEPARATOR)) {
            Some(next) => rest = next,
            None => break,
        }
    }
    Ok(signals)
}
