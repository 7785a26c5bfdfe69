//! conic (HMasataka/conic) in its three generations.
//!
//! | | frame | who chooses ids | inside |
//! |---|---|---|---|
//! | A | `{"Type":…,"Raw":…}` | server | `ID`, `TargetID`, `SessionDescription`, `Candidate` |
//! | B | `{"type":…,"raw":…}` | server | `id`, `target_id`, `session_description`, `candidate`, `label`, `data` |
//! | C | `{"id":…,"type":…,"timestamp":…,"data":…}` | client | `from_id`, `to_id`, `session_description`, … |
//!
//! In A and B what is inside travels as base64. conic's README shows it as JSON instead, with A's names in B's frame;
//! no version ever took that. Here a client may send it: `raw` as JSON text in a string or as an object, with either
//! generation's names inside. What a receiver gets is always what its own generation writes.
//!
//! Decisions, where the original leaves a choice or is wrong:
//! - A sender that names nobody is its socket's first name; the receiver reads that name. Which names a socket may
//!   use is the hub's business.
//! - Of session descriptions, offers and answers are carried. `pranswer` and `rollback` are refused: no other dialect
//!   has a word for them, and no client of conic's sends them.
//! - A candidate whose text is empty is the end of candidates.
//! - Relayed data is bytes here and text or bytes elsewhere: what is valid UTF-8 becomes text, since conic's own
//!   clients send text as bytes. So a binary message that happens to be UTF-8 arrives as text.
//! - A and B drop the TCP connection at a frame that they cannot read. Here it is closed with 1002 (what is no
//!   message of theirs) or 1003 (a type that they do not have), so that the client's log says why.
//! - Errors: A and B have `target not found`, bare text. C has none, unless the client asks for them with
//!   `"errors":true` in the `data` of its `register_request`: then it gets messages of type `error`, whose `data` is
//!   `{"code","message","to_id","ref"}`, the last two only where known; `ref` is the `id` of the message at fault.
//!   A refused registration is `"success":false`, with a `code` for those who asked.
use super::*;
use crate::machine::Utf8Bytes;

mod client;
mod server;
#[cfg(test)]
mod tests;
mod wire;

pub use client::Client;
pub use server::Server;

/// A generation of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generation {
    A,
    B,
    C,
}

impl Generation {
    fn dialect(self) -> Dialect {
        match self {
            Generation::A => Dialect::ConicA,
            Generation::B => Dialect::ConicB,
            Generation::C => Dialect::ConicC,
        }
    }

    /// The generation of a sealed letter.
    fn of(sealed: &Sealed) -> Result<Generation, Refusal> {
        [Generation::A, Generation::B, Generation::C]
            .into_iter()
            .find(|generation| generation.dialect().origin() == sealed.origin)
            .ok_or(Refusal::Malformed("the letter was not written in any generation of conic"))
    }
}

/// Opens a sealed letter of any generation.
///
/// # Errors
/// [`Refusal::Malformed`]: text inside that nobody had to read before has an escape that is no character.
pub fn open(sealed: &Sealed) -> Result<Signal, Refusal> {
    let generation = Generation::of(sealed)?;
    let text = text(&sealed.frame).ok_or(Refusal::Malformed("the letter is not text"))?;
    let (_, _, signal) = wire::read(generation, &text)?;
    Ok(signal)
}

/// The text of a message: all generations take text in binary messages too. Copies nothing.
fn text(frame: &Frame) -> Option<Utf8Bytes> {
    match frame {
        Frame::Text(text) => Some(text.clone()),
        Frame::Binary(bytes) => Utf8Bytes::try_from(bytes.clone()).ok(),
        Frame::Ping | Frame::Pong => None,
    }
}
