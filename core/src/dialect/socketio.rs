//! Socket.IO: 0.9, which html5experts' article uses, and 1 to 4 on Engine.IO 3 and 4.
//!
//! A frame here is one Engine.IO message (`42["message",…]`) or one packet of 0.9 (`4:::…`): sessions, heartbeats and
//! polling are `http/engine.rs`'s business on the server, and [`Client::answer`]'s in a client.
//!
//! The application is the article's: what one client sends as `message` all others get as the event `message`, and
//! when a client goes the others get the event `user disconnected`. Other events are not passed on.
//!
//! Decisions:
//! - Socket.IO's broadcast has no address and no sender. All its clients, whatever their version, are members of one
//!   private room, under invented names, and a message is for that room.
//! - A client that names a room in the query of its first request (`?room=demo`, whatever the version) shares that room
//!   only: the article's server had no rooms, so a third client answered, too.
//! - A peer of another dialect can offer to such a client by its name (the `sid` that Socket.IO 4's `CONNECT`
//!   carries; the first part of 0.9's session id; the list of who is there has all). That arrives as a `message` like any other, and from then on this client's
//!   messages go to that caller **instead** of to the room, until the caller is gone or another one offers: its answer
//!   is of no use to anybody else.
//! - A payload `{"type":"offer"|"answer","sdp"}` or `{"type":"candidate","candidate",…}` is a signal. Everything else
//!   is data with the label `message`, whose text is the payload's JSON. Data from elsewhere with that label and JSON
//!   in it is a payload again; any other text becomes a JSON string.
//! - An end of candidates is a candidate whose text is empty.
//! - A receiver gets one argument, the first, as the article's server passes on one.
//! - Binary events, acknowledgements of 1 to 4 and namespaces other than `/` are not served.
use super::*;

mod client;
mod server;
#[cfg(test)]
mod tests;
mod wire;

pub use client::Client;
pub use server::Server;

/// What the one peer is called that a client's broadcast goes to and comes from.
pub const EVERYONE: &str = "everyone";

/// The id of a session of 0.9 in our own handshake: who has the whole can read and write in the client's place, the
/// first part is the client's name.
pub fn session_id(name: &Name, secret: &str) -> String {
    format!("{}-{secret}", name.as_str())
}

/// The name in such an id. Other servers' ids are their clients' names.
fn name_in(sid: &str) -> &str {
    let is_ours = |name: &str, secret: &str| {
        name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()) && secret.len() == 20
    };
    sid.split_once('-').filter(|(name, secret)| is_ours(name, secret)).map_or(sid, |(name, _)| name)
}

/// Which protocol a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Socket.IO 0.9, protocol 1.
    Legacy,
    /// Socket.IO 1 and 2 on Engine.IO 3.
    Three,
    /// Socket.IO 3 and 4 on Engine.IO 4.
    Four,
}

impl Version {
    /// The dialect: messages of 1 to 4 are the same.
    pub fn dialect(self) -> Dialect {
        match self {
            Version::Legacy => Dialect::SocketIo09,
            Version::Three | Version::Four => Dialect::SocketIo,
        }
    }
}

/// Opens a sealed letter of any version.
///
/// # Errors
/// [`Refusal::Malformed`]: it is no `message`.
pub fn open(sealed: &Sealed) -> Result<Signal, Refusal> {
    let malformed = Refusal::Malformed("the letter is no message of Socket.IO");
    let Frame::Text(text) = &sealed.frame else { return Err(malformed) };
    wire::payload(text.as_str()).map(wire::read).ok_or(malformed)
}
