//! What clients speak: one of our dialects, or the language of a server that we only compare ourselves with.

use enishi_core::dialect::{ClientCodec, ClientSetup, Context, Dialect, Rooms};
use enishi_core::machine::Frame;
use enishi_core::signal::{Candidate, Command, Event, Letter, Name, Refusal, Resumed, Signal, To};
use serde_json::{Value, json};

use super::client::Identity;

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    /// One that our server speaks too.
    Ours(Dialect),
    /// The PeerJS server's.
    PeerJs,
    /// matchbox_signaling's.
    Matchbox,
    /// Socket.IO 4 with events that name a receiver, as our comparison's server has them.
    SocketIoIds,
}

impl Tongue {
    const FOREIGN: [Tongue; 3] = [Tongue::PeerJs, Tongue::Matchbox, Tongue::SocketIoIds];

    /// All of them.
    pub fn all() -> impl Iterator<Item = Tongue> {
        Dialect::ALL.into_iter().map(Tongue::Ours).chain(Tongue::FOREIGN)
    }

    /// As `--dialect` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Tongue::Ours(dialect) => dialect.name(),
            Tongue::PeerJs => "peerjs",
            Tongue::Matchbox => "matchbox",
            Tongue::SocketIoIds => "socketio-ids",
        }
    }

    pub fn rooms(self) -> Rooms {
        match self {
            Tongue::Ours(dialect) => dialect.rooms(),
            _ => Rooms::None,
        }
    }

    /// Whether everybody hears everybody, and nobody can be named.
    pub fn is_broadcast(self) -> bool {
        matches!(self, Tongue::Ours(Dialect::SocketIo | Dialect::SocketIo09))
    }

    /// Whether our own server speaks it.
    pub fn is_ours(self) -> bool {
        matches!(self, Tongue::Ours(_))
    }
}

/// One client's side of a connection.
#[derive(Debug)]
pub enum Speech {
    Ours(ClientCodec),
    Foreign(Foreign),
}

impl Speech {
    pub fn new(identity: &Identity) -> Speech {
        match identity.tongue {
            Tongue::Ours(dialect) => {
                Speech::Ours(ClientCodec::new(&ClientSetup { dialect, token: None, offers: identity.offers }))
            }
            tongue => Speech::Foreign(Foreign { tongue, name: identity.name.clone(), room: identity.room.clone() }),
        }
    }

    /// The URL to dial.
    pub fn url(&self, url: &str) -> String {
        match self {
            Speech::Ours(codec) => codec.url(url),
            Speech::Foreign(foreign) => foreign.url(url),
        }
    }

    pub fn protocol(&self) -> Option<&'static str> {
        match self {
            Speech::Ours(codec) => codec.protocol(),
            Speech::Foreign(_) => None,
        }
    }

    pub fn registers_silently(&self) -> bool {
        matches!(self, Speech::Ours(codec) if codec.registers_silently())
    }

    /// As [`ClientCodec::asks_first`].
    pub fn asks_first(&self) -> bool {
        matches!(self, Speech::Ours(codec) if codec.asks_first())
    }

    /// As [`ClientCodec::begin`].
    ///
    /// # Errors
    /// A clause that says why the answer cannot be used.
    pub fn begin(&mut self, answer: &str) -> Result<(), &'static str> {
        match self {
            Speech::Ours(codec) => codec.begin(answer),
            Speech::Foreign(_) => Ok(()),
        }
    }

    /// A heartbeat's answer.
    pub fn answer(&self, frame: &Frame) -> Option<Frame> {
        match (self, frame) {
            (Speech::Ours(codec), _) => codec.answer(frame),
            (Speech::Foreign(foreign), Frame::Text(text)) if foreign.tongue == Tongue::SocketIoIds => {
                (text.as_str() == "2").then(|| Frame::text("3"))
            }
            _ => None,
        }
    }

    /// Translates a command for the server.
    ///
    /// # Errors
    /// There is no word for it.
    pub fn encode(&mut self, cx: &mut Context<'_>, command: &Command, out: &mut Vec<Frame>) -> Result<(), Refusal> {
        match self {
            Speech::Ours(codec) => codec.encode(cx, command, out),
            Speech::Foreign(foreign) => {
                out.extend(foreign.encode(command)?.map(Frame::text));
                Ok(())
            }
        }
    }

    /// What a frame means. One that cannot be understood means nothing.
    pub fn events(&mut self, cx: &mut Context<'_>, frame: &Frame) -> Vec<Event> {
        let mut events = Vec::new();
        match self {
            Speech::Ours(codec) => drop(codec.receive(cx, frame, &mut events)),
            Speech::Foreign(foreign) => events.extend(foreign.event(frame)),
        }
        events
    }
}

/// A client of a server that is not ours.
#[derive(Debug)]
pub struct Foreign {
    tongue: Tongue,
    name: Name,
    room: Name,
}

impl Foreign {
    fn url(&self, url: &str) -> String {
        let authority = url.trim_start_matches("ws://").split('/').next().unwrap_or_default();
        let (name, room) = (self.name.as_str(), self.room.as_str());
        match self.tongue {
            Tongue::PeerJs => format!("ws://{authority}/peerjs?key=peerjs&id={name}&token=t&version=1.5.4"),
            Tongue::Matchbox => format!("ws://{authority}/{room}"),
            _ => format!("ws://{authority}/socket.io/?EIO=4&transport=websocket"),
        }
    }

    fn encode(&self, command: &Command) -> Result<Option<String>, Refusal> {
        let envelope = match command {
            Command::Register { .. } if self.tongue == Tongue::SocketIoIds => {
                return Ok(Some(format!("40{}", json!({ "id": self.name.as_str() }))));
            }
            Command::Register { .. } => return Ok(None),
            Command::Signal(envelope) => envelope,
            _ => return Err(Refusal::NoWordForThis),
        };
        let (To::Peer(to), Letter::Open(signal)) = (&envelope.to, &envelope.letter) else {
            return Err(Refusal::NoWordForThis);
        };
        let (kind, body) = match signal {
            Signal::Offer { sdp } => ("OFFER", json!({ "type": "offer", "sdp": sdp })),
            Signal::Answer { sdp } => ("ANSWER", json!({ "type": "answer", "sdp": sdp })),
            Signal::Candidate(Candidate { candidate, sdp_mid, sdp_m_line_index, .. }) => {
                ("CANDIDATE", json!({ "candidate": candidate, "sdpMid": sdp_mid, "sdpMLineIndex": sdp_m_line_index }))
            }
            _ => return Err(Refusal::NoWordForThis),
        };
        let (to, member) = (to.as_str(), if kind == "CANDIDATE" { "candidate" } else { "sdp" });
        Ok(Some(match self.tongue {
            Tongue::PeerJs => {
                let payload = json!({ member: body, "type": "data", "connectionId": "dc_1" });
                json!({ "type": kind, "payload": payload, "dst": to }).to_string()
            }
            Tongue::Matchbox => {
                let data = match kind {
                    "OFFER" => json!({ "Offer": body["sdp"] }),
                    "ANSWER" => json!({ "Answer": body["sdp"] }),
                    _ => json!({ "IceCandidate": body.to_string() }),
                };
                json!({ "Signal": { "receiver": to, "data": data } }).to_string()
            }
            _ => format!("42{}", json!(["signal", { "to": to, "data": { member: body } }])),
        }))
    }

    fn event(&mut self, frame: &Frame) -> Option<Event> {
        let Frame::Text(text) = frame else { return None };
        if self.tongue == Tongue::SocketIoIds && text.starts_with("40") {
            return Some(registered(&self.name));
        }
        let value: Value = serde_json::from_str(text.trim_start_matches("42")).ok()?;
        let body = match self.tongue {
            Tongue::PeerJs if value["type"] == "OPEN" => return Some(registered(&self.name)),
            Tongue::Matchbox if value["IdAssigned"].is_string() => {
                self.name = Name::from(value["IdAssigned"].as_str()?);
                return Some(registered(&self.name));
            }
            Tongue::PeerJs => &value["payload"],
            Tongue::Matchbox => &value["Signal"]["data"],
            _ => &value[1]["data"],
        };
        let description = |value: &Value| {
            let sdp = value["sdp"].as_str()?.to_owned();
            Some(if value["type"] == "offer" { Signal::Offer { sdp } } else { Signal::Answer { sdp } })
        };
        let candidate = |value: &Value| {
            let index = value["sdpMLineIndex"].as_u64().map(|index| index as u16);
            let (text, mid) = (value["candidate"].as_str()?.to_owned(), value["sdpMid"].as_str().map(str::to_owned));
            let init = Candidate { candidate: text, sdp_mid: mid, sdp_m_line_index: index, username_fragment: None };
            Some(Signal::Candidate(init))
        };
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let signal = text("Offer").map(|sdp| Signal::Offer { sdp }).or_else(|| {
            let answer = text("Answer").map(|sdp| Signal::Answer { sdp });
            let inner = text("IceCandidate").and_then(|text| candidate(&serde_json::from_str(&text).ok()?));
            answer.or(inner).or_else(|| description(&body["sdp"])).or_else(|| candidate(&body["candidate"]))
        })?;
        // Who sent it is in the mark.
        Some(Event::Signal { from: self.name.clone(), to: To::Peer(self.name.clone()), letter: Letter::Open(signal) })
    }
}

fn registered(name: &Name) -> Event {
    Event::Registered { name: name.clone(), token: None, resumed: Resumed::Fresh }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Mark, Payload, signal};
    use super::super::pairs::envelope;
    use super::*;

    /// What each server does with a message on its way, in the words of its own documentation.
    #[test]
    fn what_is_said_in_a_foreign_language_is_understood_when_the_server_has_passed_it_on() {
        for tongue in Tongue::FOREIGN {
            for (payload, offers) in [(Payload::Sdp, true), (Payload::Sdp, false), (Payload::Candidate, true)] {
                let mut foreign = Foreign { tongue, name: Name::from("a"), room: Name::from("r") };
                let said = signal(payload, offers, Mark { sender: 1, number: 2 }, 1000);
                let command = Command::Signal(envelope(To::Peer(Name::from("b")), said));
                let text = foreign.encode(&command).unwrap().unwrap().replace("\"receiver\":\"b\"", "\"sender\":\"a\"");
                let Some(Event::Signal { letter: Letter::Open(heard), .. }) = foreign.event(&Frame::text(text)) else {
                    panic!("{tongue:?} does not understand itself");
                };
                assert_eq!(Mark::of(&heard), Some(Mark { sender: 1, number: 2 }));
            }
        }
    }
}
