//! The client's side of one connection, to the original server or to ours.

use super::{Context, Message, Words, name, signal, text};
use crate::machine::Frame;
use crate::signal::{Command, Departure, Event, Letter, Name, Place, Refusal, Resumed, RoomName, Tag, To};

/// The client's side of one connection.
#[derive(Debug, Default)]
pub struct Client {
    /// Our own name, from [`Command::Register`] on: the server hears it with the first room.
    name: Option<Name>,
    /// The room that we are in: then we are registered too.
    room: Option<RoomName>,
    /// The rooms that we asked for and that were not answered yet.
    asked: Vec<(RoomName, Option<Tag>)>,
    /// Events of rooms are not numbered in this dialect: counted here.
    seq: u64,
}

impl Client {
    /// Translates a command for the server. Registering says nothing yet: a name is only heard together with a room.
    ///
    /// # Errors
    /// [`Refusal::NoWordForThis`], [`Refusal::BadName`], [`Refusal::NotRegistered`].
    pub fn encode(&mut self, cx: &mut Context<'_>, command: &Command, out: &mut Vec<Frame>) -> Result<(), Refusal> {
        match command {
            Command::Register { name: wanted, .. } => {
                self.name = Some(match wanted {
                    Some(wanted) => name(wanted.as_str())?,
                    None => Name::new(cx.ids.next(cx.unix)),
                });
                Ok(())
            }
            Command::Join { room, tag } => self.join(room, tag.clone(), out),
            Command::Signal(envelope) => {
                let (To::Peer(to), Letter::Open(signal)) = (&envelope.to, &envelope.letter) else {
                    return Err(Refusal::NoWordForThis);
                };
                out.push(Words { target: Some(to.as_str()), ..Words::carrying_signal(signal)? }.frame());
                Ok(())
            }
            Command::Bye => Ok(()),
            Command::Resume { .. } | Command::Unregister { .. } | Command::List { .. } | Command::Leave { .. } => {
                Err(Refusal::NoWordForThis)
            }
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
        let text = text(frame).ok_or(Refusal::Malformed("this is not UTF-8"))?;
        let message = Message::parse(&text)?;
        let own = self.name.clone().ok_or(Refusal::NotRegistered)?;
        match message.kind.as_ref() {
            "room_peers" => self.entered(own, message.names("peers")?, out)?,
            "peer_joined" | "peer_left" => {
                let name = message.name("peer_id")?;
                let room = self.room.clone().ok_or(Refusal::NotInRoom)?;
                // The original tells who takes an id over that it came itself.
                if name != own {
                    let (place, left) = (self.advance(), message.kind == "peer_left");
                    out.push(if left {
                        Event::Left { room, place, name, why: Departure::Gone }
                    } else {
                        Event::Joined { room, place, name }
                    });
                }
            }
            _ => {
                let (kind, payload) = message.payload()?;
                let (from, signal) = (message.name("from")?, signal(kind, payload)?);
                out.push(Event::Signal { from, to: To::Peer(own), letter: Letter::Open(signal) });
            }
        }
        Ok(())
    }

    /// What the server means by closing the connection with this code, if that is known. The original takes an id
    /// from who has it; ours refuses.
    pub fn refusal_of_close(&self, code: u16) -> Option<Refusal> {
        match (code, &self.room) {
            (1008, None) => Some(Refusal::NameTaken),
            (1013, None) => Some(Refusal::RoomFull),
            _ => None,
        }
    }

    /// To a room where we are already or will be nothing is said: the original would tell everybody again.
    fn join(&mut self, room: &RoomName, tag: Option<Tag>, out: &mut Vec<Frame>) -> Result<(), Refusal> {
        let own = self.name.as_ref().ok_or(Refusal::NotRegistered)?;
        let last = self.asked.last().map(|(room, _)| room).or(self.room.as_ref());
        if last != Some(room) {
            let room_id = Some(name(room.as_str())?);
            let room_id = room_id.as_ref().map(Name::as_str);
            out.push(Words { peer_id: Some(own.as_str()), room_id, ..Words::of("join") }.frame());
            self.asked.push((room.clone(), tag));
        }
        Ok(())
    }

    /// The answer to the oldest question: we are registered, and in this room and no other.
    fn entered(&mut self, own: Name, members: Vec<Name>, out: &mut Vec<Event>) -> Result<(), Refusal> {
        let (room, tag) = match (&self.room, self.asked.is_empty()) {
            (_, false) => self.asked.remove(0),
            (Some(room), true) => (room.clone(), None),
            (None, true) => return Err(Refusal::NotInRoom),
        };
        match self.room.replace(room.clone()) {
            None => out.push(Event::Registered { name: own.clone(), token: None, resumed: Resumed::Fresh }),
            Some(old) if old != room => {
                let place = self.advance();
                out.push(Event::Left { room: old, place, name: own.clone(), why: Departure::Left });
            }
            Some(_) => {}
        }
        let members = members.into_iter().filter(|name| *name != own).collect();
        out.push(Event::Roster { room, place: self.advance(), members, tag });
        Ok(())
    }

    fn advance(&mut self) -> Place {
        self.seq = self.seq.saturating_add(1);
        Place { epoch: 0, seq: self.seq }
    }
}
