//! The server's side of one connection.

use std::collections::{BTreeSet, VecDeque};

use super::{SEPARATOR, bounded, candidate, json, name, required, text, write};
use crate::dialect::go::{Builder, Object};
use crate::dialect::{Context, Dialect, Heard, Said};
use crate::limits;
use crate::machine::Frame;
use crate::signal::{Command, Envelope, Event, Kind, Letter, Name, Refusal, RoomName, Sealed, Signal, Tag, To};

/// The server's side of one connection: what its client left here for others, and who asked for it.
#[derive(Debug, Default)]
pub struct Server {
    manner: Manner,
    /// Our client's id; whether the hub agreed to it is in `registered`.
    id: Option<Name>,
    registered: bool,
    /// In the private room, to stay.
    offerer: bool,
    offer: Option<Offer>,
    /// Candidates for who answers, with whom they are for if that was said, as JSON text.
    candidates: VecDeque<(Option<Name>, String)>,
    /// Who asked for an offer that is not there yet.
    waiting: BTreeSet<Name>,
    /// Who answered the present offer.
    answered: BTreeSet<Name>,
    /// A candidate on its way: kept if its target turns out not to be there.
    sending: Option<(Tag, Name, String)>,
    count: u64,
}

/// How a client wants to be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Manner {
    /// As the original does.
    #[default]
    Plain,
    /// Told whose everything is: our own client.
    Named {
        /// Whether it means to offer.
        offers: bool,
    },
}

/// The offer that our client left.
#[derive(Debug)]
struct Offer {
    /// As JSON text.
    sdp: String,
    to: Option<Name>,
}

impl Server {
    /// Whether this first frame is zenn's.
    pub fn detect(frame: &Frame) -> Option<Self> {
        let text = text(frame).ok()?;
        let object = Object::parse(&text).ok()?;
        let kind = object.string("type").ok()??;
        let id = object.string("id").ok()??;
        let is_known = matches!(kind.as_ref(), "connect" | "offer" | "answer" | "candidateAdd");
        (is_known && name(&id).is_ok()).then(Server::default)
    }

    /// Translates a frame from the client.
    pub fn receive(&mut self, cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Heard>) {
        if matches!(frame, Frame::Ping | Frame::Pong) {
            return;
        }
        let is_first = self.id.is_none();
        match self.understand(cx, frame, out) {
            Ok(()) => {}
            Err(_) if is_first => {
                out.clear();
                out.push(Heard::Close { code: 1003, reason: "the first message has to have a type and an id" });
            }
            Err(refusal) => out.push(Heard::Refused { refusal, to: None, tag: None }),
        }
    }

    /// Translates an event for the client. A sealed letter of this very dialect goes on unchanged to a plain client.
    ///
    /// # Errors
    /// [`Refusal::NoWordForThis`], the letter cannot be opened, or it would be too long.
    pub fn encode(&mut self, cx: &mut Context<'_>, event: &Event, out: &mut Vec<Said>) -> Result<(), Refusal> {
        match event {
            Event::Registered { .. } => self.registered = true,
            Event::Roster { room, members, .. } if *room == offerers() => self.place(members, out),
            Event::Signal { from, letter, .. } => self.signal(cx, from, letter, out)?,
            Event::Accepted { tag } => _ = self.sent(tag.as_ref()),
            Event::Refused { refusal, to, tag } => self.refused(*refusal, to.as_ref(), tag.as_ref(), out),
            Event::Unregistered { .. }
            | Event::Listed { .. }
            | Event::Roster { .. }
            | Event::Joined { .. }
            | Event::Left { .. } => {}
        }
        Ok(())
    }

    fn understand(&mut self, cx: &Context<'_>, frame: &Frame, out: &mut Vec<Heard>) -> Result<(), Refusal> {
        let text = text(frame)?;
        let object = Object::parse(&text)?;
        let kind = required(&object, "type")?;
        let id = object.string("id")?.map(|id| name(&id)).transpose()?;
        let own = match (&self.id, id) {
            (None, None) => return Err(Refusal::NotRegistered),
            (Some(own), Some(id)) if *own != id => return Err(Refusal::NotYourName),
            (Some(own), _) => own.clone(),
            (None, Some(id)) => {
                out.push(Heard::Command(Command::Register { name: Some(id.clone()), resumable: false }));
                self.id = Some(id.clone());
                id
            }
        };
        match kind.as_ref() {
            "connect" => self.connect(&object, out),
            "offer" => self.keep_offer(cx, &own, &object, out),
            "answer" => {
                let to = name(&required(&object, "target_id")?)?;
                let frame = frame_of(cx, "sdp", &json(object.get("sdp")?)?, None, "answer")?;
                out.push(Heard::Command(carry(to, seal(Kind::Answer, frame))));
                Ok(())
            }
            "candidateAdd" => {
                let target = required(&object, "target_id")?;
                let text = json(object.get("candidate")?)?;
                if target.is_empty() {
                    self.keep_candidate(None, text);
                    return Ok(());
                }
                let to = name(&target)?;
                let frame = frame_of(cx, "candidate", &text, None, "candidate")?;
                self.count = self.count.wrapping_add(1);
                let tag = Tag::new(self.count.to_string());
                let kind = kind_of(&text);
                let Command::Signal(envelope) = carry(to.clone(), seal(kind, frame)) else { return Ok(()) };
                self.sending = Some((tag.clone(), to, text));
                out.push(Heard::Command(Command::Signal(Envelope { tag: Some(tag), receipt: true, ..envelope })));
                Ok(())
            }
            _ => Err(Refusal::UnknownType),
        }
    }

    fn connect(&mut self, object: &Object<'_>, out: &mut Vec<Heard>) -> Result<(), Refusal> {
        if object.get("named")?.is_some_and(|value| value.get() == "true") {
            self.manner = Manner::Named { offers: object.string("role")?.as_deref() == Some("offer") };
        }
        if !self.offerer {
            out.push(Heard::Command(Command::Join { room: offerers(), tag: None }));
        }
        Ok(())
    }

    /// Keeps an offer for who will ask, and sends it to who did, and to whom it is for.
    fn keep_offer(
        &mut self,
        cx: &Context<'_>,
        own: &Name,
        object: &Object<'_>,
        out: &mut Vec<Heard>,
    ) -> Result<(), Refusal> {
        let target = object.string("target_id")?.filter(|target| !target.is_empty());
        let to = target.map(|target| name(&target)).transpose()?;
        let sdp = json(object.get("sdp")?)?;
        let letter = seal(Kind::Offer, frame_of(cx, "sdp", &sdp, Some(own), "offer")?);
        let mut receivers = match self.manner {
            Manner::Plain => std::mem::take(&mut self.waiting),
            Manner::Named { .. } => BTreeSet::new(),
        };
        receivers.extend(to.clone());
        out.extend(receivers.into_iter().map(|to| Heard::Command(carry(to, letter.clone()))));
        self.answered.clear();
        self.offer = Some(Offer { sdp, to });
        Ok(())
    }

    fn keep_candidate(&mut self, to: Option<Name>, text: String) {
        if self.candidates.iter().any(|(other, kept)| *other == to && *kept == text) {
            return;
        }
        self.candidates.push_back((to, text));
        let bytes =
            |kept: &VecDeque<(_, String)>| kept.iter().map(|(_, text)| text.len()).fold(0, usize::saturating_add);
        while self.candidates.len() > limits::EARLY_SIGNALS || bytes(&self.candidates) > limits::KEPT_CANDIDATE_BYTES {
            self.candidates.pop_front();
        }
    }

    /// The room of offerers was entered: stay there, or ask those who are there.
    fn place(&mut self, members: &[Name], out: &mut Vec<Said>) {
        if members.is_empty() || self.manner == (Manner::Named { offers: true }) {
            self.offerer = true;
            if self.manner == Manner::Plain {
                out.push(Said::Frame(Frame::text(Builder::new().text("type", "offer").finish())));
            }
            return;
        }
        out.push(Said::Command(Command::Leave { room: offerers(), tag: None }));
        match self.manner {
            // It can have only one peer.
            Manner::Plain => {
                let first = members.first().cloned();
                out.extend(first.map(|to| Said::Command(carry(to, Letter::Open(Signal::Restart)))));
            }
            Manner::Named { .. } => {
                let ask = seal(Kind::Restart, Frame::text("{\"type\":\"offer\"}"));
                out.extend(members.iter().map(|to| Said::Command(carry(to.clone(), ask.clone()))));
            }
        }
    }

    fn signal(&mut self, cx: &Context<'_>, from: &Name, letter: &Letter, out: &mut Vec<Said>) -> Result<(), Refusal> {
        let kind = letter.kind();
        match kind {
            Kind::Restart => self.asked(cx, from, letter, out)?,
            Kind::Data => return Err(Refusal::NoWordForThis),
            Kind::Offer | Kind::Answer | Kind::Candidate | Kind::EndOfCandidates => {
                out.push(Said::Frame(self.letter(cx, from, letter)?));
            }
        }
        if kind == Kind::Answer {
            if self.answered.len() < cx.limits.room_members {
                self.answered.insert(from.clone());
            }
            self.give_candidates(cx, from, letter, out);
        }
        Ok(())
    }

    /// Somebody wants an offer.
    fn asked(&mut self, cx: &Context<'_>, from: &Name, letter: &Letter, out: &mut Vec<Said>) -> Result<(), Refusal> {
        let is_for_them =
            |offer: &&Offer| offer.to.as_ref().is_none_or(|to| to == from || self.manner == Manner::Plain);
        let offer = self.offer.as_ref().filter(is_for_them).filter(|_| !self.answered.contains(from));
        if let (Some(offer), Some(own)) = (offer, &self.id) {
            let frame = frame_of(cx, "sdp", &offer.sdp, Some(own), "offer")?;
            out.push(Said::Command(carry(from.clone(), seal(Kind::Offer, frame))));
            return Ok(());
        }
        match self.manner {
            Manner::Plain => {
                // Who was elected was told to offer already.
                if self.offer.is_some() || !self.offerer {
                    out.push(Said::Frame(Frame::text(Builder::new().text("type", "offer").finish())));
                }
                if self.waiting.len() < cx.limits.room_members {
                    self.waiting.insert(from.clone());
                }
            }
            // Both wait for an offer that one of them is told to make.
            Manner::Named { offers: false } if is_ours(letter) => {}
            Manner::Named { .. } => {
                let request = Builder::new().text("target_id", from.as_str()).text("type", "offer").finish();
                out.push(Said::Frame(Frame::text(request)));
            }
        }
        Ok(())
    }

    /// The frame of a letter for our client.
    fn letter(&self, cx: &Context<'_>, from: &Name, letter: &Letter) -> Result<Frame, Refusal> {
        let said = match (self.manner, letter) {
            (Manner::Plain, Letter::Sealed(sealed)) if is_ours(letter) => return Ok(sealed.frame.clone()),
            (_, Letter::Sealed(sealed)) if is_ours(letter) => {
                let text = text(&sealed.frame)?;
                let object = Object::parse(&text)?;
                let member = if matches!(sealed.kind, Kind::Offer | Kind::Answer) { "sdp" } else { "candidate" };
                (member, required(&object, member)?.into_owned())
            }
            (_, Letter::Sealed(sealed)) => write(&crate::dialect::open(sealed)?)?,
            (_, Letter::Open(signal)) => write(signal)?,
        };
        let (member, value) = said;
        let kind = match letter.kind() {
            Kind::Offer => "offer",
            Kind::Answer => "answer",
            _ => "candidate",
        };
        let is_named = kind == "offer" || self.manner != Manner::Plain;
        frame_of(cx, member, &value, is_named.then_some(from), kind)
    }

    /// Who answered gets the candidates that were kept: all in one message if it is one of ours.
    fn give_candidates(&self, cx: &Context<'_>, to: &Name, answer: &Letter, out: &mut Vec<Said>) {
        let theirs = self.candidates.iter().filter(|(target, _)| target.as_ref().is_none_or(|target| target == to));
        let texts: Vec<&str> = theirs.map(|(_, text)| text.as_str()).collect();
        let frames = if is_ours(answer) && !texts.is_empty() {
            let joined = texts.join(SEPARATOR.encode_utf8(&mut [0; 4]));
            frame_of(cx, "candidate", &joined, None, "candidate").map(|frame| vec![(Kind::Candidate, frame)])
        } else {
            let each =
                texts.iter().map(|text| Ok((kind_of(text), frame_of(cx, "candidate", text, None, "candidate")?)));
            each.collect()
        };
        // What is too long for one message was bounded candidate by candidate; nobody waits for more.
        let frames = frames.unwrap_or_default().into_iter();
        out.extend(frames.map(|(kind, frame)| Said::Command(carry(to.clone(), seal(kind, frame)))));
    }

    fn refused(&mut self, refusal: Refusal, to: Option<&Name>, tag: Option<&Tag>, out: &mut Vec<Said>) {
        if !self.registered {
            if self.manner != Manner::Plain {
                out.push(Said::Frame(error(refusal, to)));
            }
            let reason = refusal.sentence();
            let reason = if reason.len() > limits::CLOSE_REASON_BYTES { "refused" } else { reason };
            return out.push(Said::Close { code: 1008, reason });
        }
        if let Some((target, text)) = self.sent(tag)
            && matches!(refusal, Refusal::NoSuchPeer | Refusal::PeerAway)
        {
            return self.keep_candidate(Some(target), text);
        }
        if self.manner != Manner::Plain {
            out.push(Said::Frame(error(refusal, to)));
        }
    }

    /// The candidate that the hub decided about.
    fn sent(&mut self, tag: Option<&Tag>) -> Option<(Name, String)> {
        let (_, to, text) = self.sending.take_if(|(sending, _, _)| Some(&*sending) == tag)?;
        Some((to, text))
    }
}

/// Where offerers are found.
fn offerers() -> RoomName {
    RoomName::private("zenn")
}

fn is_ours(letter: &Letter) -> bool {
    matches!(letter, Letter::Sealed(sealed) if sealed.origin == Dialect::Zenn.origin())
}

fn seal(kind: Kind, frame: Frame) -> Letter {
    Letter::Sealed(Sealed { origin: Dialect::Zenn.origin(), kind, frame })
}

fn carry(to: Name, letter: Letter) -> Command {
    Command::Signal(Envelope { from: None, to: To::Peer(to), letter, tag: None, receipt: false })
}

fn kind_of(text: &str) -> Kind {
    candidate(text).map_or(Kind::Candidate, |signal| signal.kind())
}

/// A message with a description or candidates in it, its members sorted.
fn frame_of(cx: &Context<'_>, member: &str, value: &str, whose: Option<&Name>, kind: &str) -> Result<Frame, Refusal> {
    let message = Builder::new().text(member, value);
    let message = match whose {
        Some(whose) => message.text("target_id", whose.as_str()),
        None => message,
    };
    bounded(cx, message.text("type", kind).finish())
}

fn error(refusal: Refusal, to: Option<&Name>) -> Frame {
    let error = Builder::new().text("code", refusal.code()).text("message", refusal.sentence());
    let error = match to {
        Some(to) => error.text("target_id", to.as_str()),
        None => error,
    };
    Frame::text(error.text("type", "error").finish())
}
