//! The neutral words: what every dialect is translated to and from.
//!
//! A [`Command`] is what a client asks of the hub, an [`Event`] what it is told, a [`Signal`] what one peer tells
//! another through it. Names and payloads are reference-counted, so that an event is cheap to clone for a room.

use std::fmt;

use bytes::Bytes;
use smol_str::SmolStr;

use crate::escape::escape;
use crate::machine::Frame;

/// The id under which a client can be reached. The hub compares it byte for byte; dialects decide what is allowed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(SmolStr);

/// The name of a room.
pub type RoomName = Name;

/// A client's own mark on a request, given back in the answer to it.
pub type Tag = Name;

impl Name {
    /// Wraps a name as it is.
    pub fn new(name: impl Into<SmolStr>) -> Self {
        Name(name.into())
    }

    /// A room that no client can name, where a dialect finds its own.
    pub fn private(name: &str) -> Self {
        Name::new(format!("\0{name}"))
    }

    /// The text, as the client sent it: escape it before printing.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether no client can have or name it: a dialect's own room.
    pub fn is_private(&self) -> bool {
        self.as_str().starts_with('\0')
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Name(name.into())
    }
}

/// Prints the name escaped: no control, no bidirectional override reaches a terminal or a log.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.as_str(), f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// What a client asks of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Become reachable under a name; without one the hub invents it.
    Register {
        /// The wanted name.
        name: Option<Name>,
        /// Whether this client can resume its session on a later connection.
        resumable: bool,
    },
    /// Take over the session that this token names.
    Resume {
        /// The token that [`Event::Registered`] gave.
        token: Box<str>,
        /// How many events of that session the client has seen, [`Event::Registered`] included.
        received: u64,
    },
    /// Give up one name of one's own.
    Unregister {
        /// The name.
        name: Name,
    },
    /// Who is registered?
    List {
        /// Comes back in the answer.
        tag: Option<Tag>,
    },
    /// Enter a room.
    Join {
        /// The room.
        room: RoomName,
        /// Comes back in the answer.
        tag: Option<Tag>,
    },
    /// Leave a room.
    Leave {
        /// The room.
        room: RoomName,
        /// Comes back in a refusal.
        tag: Option<Tag>,
    },
    /// Carry a signal to somebody.
    Signal(Envelope),
    /// End the session on purpose: no grace time.
    Bye,
}

/// Whom a signal is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// One client.
    Peer(Name),
    /// Everybody else in a room.
    Room(RoomName),
}

/// A signal on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The sender's name as the dialect's message states it; it must be one of the client's own.
    /// `None` where the dialect does not state it: then it is the client's first name.
    pub from: Option<Name>,
    /// Whom it is for.
    pub to: To,
    /// What is carried.
    pub letter: Letter,
    /// Comes back in a refusal or a receipt.
    pub tag: Option<Tag>,
    /// Whether the sender wants [`Event::Accepted`].
    pub receipt: bool,
}

/// What an envelope holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Letter {
    /// The signal itself.
    Open(Signal),
    /// The frame that a receiver of the sender's own dialect gets, checked but not translated. Opened by
    /// [`crate::dialect::open`] when it has to cross to another dialect.
    Sealed(Sealed),
}

/// A frame that is carried unopened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The dialect it is written in.
    pub origin: Origin,
    /// What kind of signal is in it.
    pub kind: Kind,
    /// The frame.
    pub frame: Frame,
}

/// A dialect as the hub sees it: equal or not equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub u8);

/// The kind of a signal, without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`Signal::Offer`].
    Offer,
    /// [`Signal::Answer`].
    Answer,
    /// [`Signal::Candidate`].
    Candidate,
    /// [`Signal::EndOfCandidates`].
    EndOfCandidates,
    /// [`Signal::Restart`].
    Restart,
    /// [`Signal::Data`].
    Data,
}

/// What one peer tells another through the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// An SDP offer (RFC 9429).
    Offer {
        /// The SDP text.
        sdp: String,
    },
    /// An SDP answer.
    Answer {
        /// The SDP text.
        sdp: String,
    },
    /// A trickled ICE candidate (RFC 8838).
    Candidate(Candidate),
    /// No more candidates will follow in this generation.
    EndOfCandidates {
        /// The ICE user fragment of the generation, where the dialect carries it.
        username_fragment: Option<String>,
    },
    /// Please offer again with fresh ICE credentials.
    Restart,
    /// Application data relayed by the server.
    Data {
        /// The channel's label.
        label: String,
        /// The message.
        payload: Payload,
    },
}

/// `RTCIceCandidateInit` of the W3C's WebRTC, all four fields opaque to the hub.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidate {
    /// `candidate:…`; empty for end-of-candidates of one section.
    pub candidate: String,
    /// The `a=mid` of its media section.
    pub sdp_mid: Option<String>,
    /// The index of its media section.
    pub sdp_m_line_index: Option<u16>,
    /// The ICE user fragment of its generation.
    pub username_fragment: Option<String>,
}

/// A message as a data channel knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl Payload {
    /// Its length in bytes.
    pub fn length(&self) -> usize {
        match self {
            Payload::Text(text) => text.len(),
            Payload::Binary(bytes) => bytes.len(),
        }
    }
}

impl Signal {
    /// The kind of this signal.
    pub fn kind(&self) -> Kind {
        match self {
            Signal::Offer { .. } => Kind::Offer,
            Signal::Answer { .. } => Kind::Answer,
            Signal::Candidate(_) => Kind::Candidate,
            Signal::EndOfCandidates { .. } => Kind::EndOfCandidates,
            Signal::Restart => Kind::Restart,
            Signal::Data { .. } => Kind::Data,
        }
    }
}

impl Letter {
    /// The kind of the signal inside.
    pub fn kind(&self) -> Kind {
        match self {
            Letter::Open(signal) => signal.kind(),
            Letter::Sealed(sealed) => sealed.kind,
        }
    }
}

/// A position in a room's history: events of one incarnation of a room are numbered without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which incarnation of the room: a room that emptied and came back has another epoch.
    pub epoch: u64,
    /// The number of the last event.
    pub seq: u64,
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Registered or resumed.
    Registered {
        /// The name.
        name: Name,
        /// The token for [`Command::Resume`], for resumable clients.
        token: Option<Box<str>>,
        /// What became of an earlier session.
        resumed: Resumed,
    },
    /// A name of one's own was given up.
    Unregistered {
        /// The name.
        name: Name,
    },
    /// Who is registered.
    Listed {
        /// All names, in order.
        names: Vec<Name>,
        /// From the request.
        tag: Option<Tag>,
    },
    /// One is in a room now, or one's view of it was refreshed: the whole roster.
    Roster {
        /// The room.
        room: RoomName,
        /// The number that this snapshot includes.
        place: Place,
        /// Everybody in it but oneself, in order.
        members: Vec<Name>,
        /// From the request.
        tag: Option<Tag>,
    },
    /// Somebody else entered a room of one's own.
    Joined {
        /// The room.
        room: RoomName,
        /// The number of this event.
        place: Place,
        /// Who.
        name: Name,
    },
    /// Somebody left a room of one's own, perhaps oneself.
    Left {
        /// The room.
        room: RoomName,
        /// The number of this event.
        place: Place,
        /// Who.
        name: Name,
        /// Why.
        why: Departure,
    },
    /// A signal arrived.
    Signal {
        /// Who sent it: always a name of the sending client.
        from: Name,
        /// Whom it was for: a name of the receiving client, or a room.
        to: To,
        /// What it is.
        letter: Letter,
    },
    /// A signal is on its way; told before its receiver is, and only to who asked for a receipt.
    Accepted {
        /// From the envelope.
        tag: Option<Tag>,
    },
    /// Something was not done.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Whom the refused signal was for.
        to: Option<Name>,
        /// From the request.
        tag: Option<Tag>,
    },
}

/// What became of an earlier session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// A new session.
    Fresh,
    /// The earlier session goes on, and everything that was missed follows.
    Whole,
    /// The earlier session goes on, but some of what was missed is gone: rosters follow as snapshots, and every
    /// negotiation that was under way must be taken as interrupted.
    WithGap,
}

/// Why somebody is no longer in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// They left.
    Left,
    /// Their connection ended.
    Gone,
    /// They did not read what was sent to them.
    Slow,
}

/// Why something was not done. Each has a stable code and a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The message could not be understood; the clause says where.
    Malformed(&'static str),
    /// No such type of message.
    UnknownType,
    /// A name that is empty, too long, or has characters that are not allowed.
    BadName,
    /// A live client has this name.
    NameTaken,
    /// The client has as many names as it may.
    TooManyNames,
    /// Register first.
    NotRegistered,
    /// This client already has a session.
    AlreadyRegistered,
    /// The sender named in the message is somebody else.
    NotYourName,
    /// Nobody reachable has this name.
    NoSuchPeer,
    /// The receiver is away and holds as much for later as it may.
    PeerAway,
    /// The receiver's dialect has no word for this.
    NoWordForThis,
    /// Not a member of this room.
    NotInRoom,
    /// The room has as many members as it may.
    RoomFull,
    /// The client is in as many rooms as it may be.
    TooManyRooms,
    /// The server has as many clients or rooms as it may.
    ServerFull,
    /// The message is longer than allowed.
    TooBig,
    /// No session has this token, or its grace time is over.
    SessionGone,
    /// The token for joining is missing or wrong.
    Unauthorized,
    /// Too many in too short a time.
    TooFast,
    /// The server is shutting down.
    Draining,
}

impl Refusal {
    /// A refusal whose code this program does not know.
    pub const UNKNOWN: Refusal = Refusal::Malformed("the server refused for a reason that this version does not know");

    /// All of them.
    pub const ALL: [Refusal; 20] = [
        Refusal::Malformed("the message was not understood"),
        Refusal::UnknownType,
        Refusal::BadName,
        Refusal::NameTaken,
        Refusal::TooManyNames,
        Refusal::NotRegistered,
        Refusal::AlreadyRegistered,
        Refusal::NotYourName,
        Refusal::NoSuchPeer,
        Refusal::PeerAway,
        Refusal::NoWordForThis,
        Refusal::NotInRoom,
        Refusal::RoomFull,
        Refusal::TooManyRooms,
        Refusal::ServerFull,
        Refusal::TooBig,
        Refusal::SessionGone,
        Refusal::Unauthorized,
        Refusal::TooFast,
        Refusal::Draining,
    ];

    /// The refusal with this code. A code that a later version invented is taken as [`Refusal::UNKNOWN`].
    pub fn from_code(code: &str) -> Refusal {
        Refusal::ALL.into_iter().find(|refusal| refusal.code() == code).unwrap_or(Refusal::UNKNOWN)
    }

    /// The stable code, as it is written in protocols and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "malformed",
            Refusal::UnknownType => "unknown-type",
            Refusal::BadName => "bad-name",
            Refusal::NameTaken => "name-taken",
            Refusal::TooManyNames => "too-many-names",
            Refusal::NotRegistered => "not-registered",
            Refusal::AlreadyRegistered => "already-registered",
            Refusal::NotYourName => "not-your-name",
            Refusal::NoSuchPeer => "no-such-peer",
            Refusal::PeerAway => "peer-away",
            Refusal::NoWordForThis => "no-word-for-this",
            Refusal::NotInRoom => "not-in-room",
            Refusal::RoomFull => "room-full",
            Refusal::TooManyRooms => "too-many-rooms",
            Refusal::ServerFull => "server-full",
            Refusal::TooBig => "too-big",
            Refusal::SessionGone => "session-gone",
            Refusal::Unauthorized => "unauthorized",
            Refusal::TooFast => "too-fast",
            Refusal::Draining => "draining",
        }
    }

    /// A sentence for a person: what is wrong and what to try.
    pub fn sentence(self) -> &'static str {
        match self {
            Refusal::Malformed(what) => what,
            Refusal::UnknownType => "there is no message of this type; see docs/protocol.md for the list",
            Refusal::BadName => "ids and rooms are 1 to 64 characters of A-Z a-z 0-9 . _ ~ @ : + -",
            Refusal::NameTaken => "somebody connected has this id; choose another, or close the other session first",
            Refusal::TooManyNames => "this connection has as many ids as it may; unregister one",
            Refusal::NotRegistered => "register before anything else",
            Refusal::AlreadyRegistered => {
                "this connection has a session already; open another connection for another id"
            }
            Refusal::NotYourName => "the sender in the message is not this connection's id; leave it out or correct it",
            Refusal::NoSuchPeer => {
                "nobody with this id is connected; check the spelling or try again when they are there"
            }
            Refusal::PeerAway => "the receiver lost its connection and cannot hold more for later; try again soon",
            Refusal::NoWordForThis => "the receiver's protocol has no word for this kind of message",
            Refusal::NotInRoom => "join the room first",
            Refusal::RoomFull => "the room is full; try another",
            Refusal::TooManyRooms => "this session is in as many rooms as it may be; leave one",
            Refusal::ServerFull => "the server is full; try again later",
            Refusal::TooBig => "the message is longer than the limit in the welcome",
            Refusal::SessionGone => "there is no such session to resume; say hello without resume",
            Refusal::Unauthorized => "the token is missing or wrong",
            Refusal::TooFast => "too many messages; slow down",
            Refusal::Draining => "the server is shutting down; connect again in a moment",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}
