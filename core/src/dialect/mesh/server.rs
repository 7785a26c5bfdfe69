//! The server's side of one connection.

use super::{Context, Dialect, Heard, Message, Said, Words, signal, text};
use crate::machine::Frame;
use crate::signal::{Command, Envelope, Event, Letter, Name, Refusal, RoomName, Sealed, To};

/// The server's side of one connection.
#[derive(Debug, Default)]
pub struct Server {
    /// The client's name, from its first `join` on.
    name: Option<Name>,
    /// The room that it asked for last: it is there as soon as the hub heard that.
    room: Option<RoomName>,
}

impl Server {
    /// Whether a connection that begins with this frame speaks this dialect. That is a `join`, or one of the messages
    /// that are met with silence before it.
    pub fn detect(frame: &Frame) -> Option<Self> {
        let text = text(frame)?;
        let message = Message::parse(&text).ok()?;
        let is_join = message.kind == "join" && message.get("peer_id").is_ok() && message.get("room_id").is_ok();
        let is_hasty = message.payload().is_ok() && message.get("target").is_ok();
        (is_join || is_hasty).then(Server::default)
    }

    /// Translates a frame from the client.
    pub fn receive(&mut self, _cx: &mut Context<'_>, frame: &Frame, out: &mut Vec<Heard>) {
        if matches!(frame, Frame::Ping | Frame::Pong) {
            return;
        }
        if let Err((refusal, to)) = self.understand(frame, out) {
            out.push(Heard::Refused { refusal, to, tag: None });
        }
    }

    /// Translates an event for the client. A sealed letter of this dialect goes on unchanged.
    ///
    /// # Errors
    /// [`Refusal::NoWordForThis`], or a letter that cannot be opened.
    pub fn encode(&mut self, _cx: &mut Context<'_>, event: &Event, out: &mut Vec<Said>) -> Result<(), Refusal> {
        match event {
            Event::Registered { name, .. } => self.name = Some(name.clone()),
            Event::Roster { room, members, .. } => {
                self.room.get_or_insert_with(|| room.clone());
                let peers = Some(members.iter().map(Name::as_str).collect());
                out.push(Said::Frame(Words { peers, ..Words::of("room_peers") }.frame()));
            }
            Event::Joined { name, .. } => {
                out.push(Said::Frame(Words { peer_id: Some(name.as_str()), ..Words::of("peer_joined") }.frame()));
            }
            Event::Left { room, name, .. } if Some(name) == self.name.as_ref() => {
                self.room = self.room.take().filter(|last| last != room);
            }
            Event::Left { name, .. } => {
                out.push(Said::Frame(Words { peer_id: Some(name.as_str()), ..Words::of("peer_left") }.frame()));
            }
            Event::Signal { letter: Letter::Sealed(sealed), .. } if sealed.origin == Dialect::Mesh.origin() => {
                out.push(Said::Frame(sealed.frame.clone()));
            }
            Event::Signal { from, letter: Letter::Sealed(sealed), .. } => {
                let signal = crate::dialect::open(sealed)?;
                let words = Words { from: Some(from.as_str()), ..Words::carrying_signal(&signal)? };
                out.push(Said::Frame(words.frame()));
            }
            Event::Signal { from, letter: Letter::Open(signal), .. } => {
                let words = Words { from: Some(from.as_str()), ..Words::carrying_signal(signal)? };
                out.push(Said::Frame(words.frame()));
            }
            Event::Refused { refusal, .. } => out.extend(farewell(*refusal)),
            Event::Unregistered { .. } | Event::Listed { .. } | Event::Accepted { .. } => {}
        }
        Ok(())
    }

    /// Adds what the client asks for. If that cannot be had: why, and whom it was for.
    fn understand(&mut self, frame: &Frame, out: &mut Vec<Heard>) -> Result<(), (Refusal, Option<Name>)> {
        let nobody = |refusal| (refusal, None);
        let text = text(frame).ok_or(Refusal::Malformed("this is not UTF-8")).map_err(nobody)?;
        let message = Message::parse(&text).map_err(nobody)?;
        if message.kind == "join" {
            return self.join(&message, out).map_err(nobody);
        }
        let (kind, payload) = message.payload().map_err(nobody)?;
        // Nobody can have a name that is not one.
        let to = message.name("target").map_err(|refusal| match refusal {
            Refusal::BadName => (Refusal::NoSuchPeer, None),
            other => (other, None),
        })?;
        let Some(own) = &self.name else { return Err((Refusal::NotRegistered, Some(to))) };
        // Whether a candidate is one or the end of them; what cannot be read is carried as what it says it is.
        let kind = signal(kind, payload).map_or(kind, |signal| signal.kind());
        let frame = Words { from: Some(own.as_str()), ..Words::relayed(kind, payload) }.frame();
        let letter = Letter::Sealed(Sealed { origin: Dialect::Mesh.origin(), kind, frame });
        let envelope = Envelope { from: None, to: To::Peer(to), letter, tag: None, receipt: false };
        out.push(Heard::Command(Command::Signal(envelope)));
        Ok(())
    }

    /// A name first, then the room, which is left for another one. Under another name nobody can join: the first one
    /// stays.
    fn join(&mut self, message: &Message<'_>, out: &mut Vec<Heard>) -> Result<(), Refusal> {
        let (name, room) = (message.name("peer_id")?, message.name("room_id")?);
        match &self.name {
            None => {
                let register = Command::Register { name: Some(name), resumable: false };
                out.push(Heard::Command(register));
            }
            Some(own) if *own != name => return Err(Refusal::NotYourName),
            Some(_) => {}
        }
        if let Some(old) = self.room.as_ref().filter(|old| **old != room) {
            out.push(Heard::Command(Command::Leave { room: old.clone(), tag: None }));
        }
        self.room = Some(room.clone());
        out.push(Heard::Command(Command::Join { room, tag: None }));
        Ok(())
    }
}

/// What keeps a client out of its room closes its connection; all else passes in silence.
fn farewell(refusal: Refusal) -> Option<Said> {
    let (code, reason) = match refusal {
        Refusal::NameTaken => (1008, "somebody connected has this peer_id; choose another"),
        Refusal::BadName => (1008, "peer_id and room_id are 1 to 256 bytes without control characters"),
        Refusal::RoomFull => (1013, "the room is full; try another"),
        Refusal::ServerFull => (1013, "the server is full; try again later"),
        _ => return None,
    };
    Some(Said::Close { code, reason })
}
