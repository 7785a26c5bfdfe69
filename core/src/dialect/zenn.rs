//! The rendezvous server of an article on zenn.dev: one offerer, whoever comes later answers.
//!
//! | from a client | what it asks |
//! |---|---|
//! | `connect{id}` | be the offerer if there is none, else get the offerer's offer |
//! | `offer{id, sdp}` | keep this for who asks |
//! | `answer{id, target_id, sdp}` | carry it to the target |
//! | `candidateAdd{id, target_id, candidate}` | carry it to the target, or keep it for who answers |
//!
//! A client gets `{"type":"offer"}` ("send me one"), `offer{sdp, target_id}`, `answer{sdp}` and `candidate{candidate}`.
//! What it gets are strings, all of them: `sdp` and `candidate` are the JSON text of what the sender wrote there, with
//! sorted members. An answer and a candidate do not say whose they are, so a client of the original can have one peer.
//!
//! How it is put into the neutral words: offerers are in a private room, so that whoever connects finds them. Who finds
//! one leaves the room again and asks for the offer by [`Signal::Restart`]; the offerer's codec answers for its client.
//!
//! Decisions, where the original leaves a choice or is wrong:
//! - Ids belong to their socket. Another `id` in a later message is refused, and so is a live id: close 1008.
//! - Offers and candidates are kept by their client's connection and go with it.
//! - What cannot be understood is ignored, as there is no word for errors; a first message like that is closed with 1003.
//! - A candidate for somebody who is not there is kept, as one without a target is.
//! - `offer` may name a `target_id`, which the original ignores: then it is carried there at once as well.
//! - A request for an ICE restart asks a plain client for a new offer, by the same `{"type":"offer"}`.
//! - Our own client says `"named":true` in its `connect`, and `"role"`. To it everything says whose it is, as
//!   `target_id`; errors are told, as `{"code","message","target_id","type":"error"}`; and instead of one offer for
//!   whoever comes it is asked for one for each: `{"target_id":"…","type":"offer"}`. The original ignores both members.
use std::borrow::Cow;

use super::*;
use crate::dialect::go::{Builder, Object, Raw};
use crate::limits;
use crate::machine::Utf8Bytes;
use crate::signal::{Candidate, Kind};

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use server::Server;

/// The name under which a client knows who will answer its offer, while it does not know it: the original server asks
/// for an offer before there is anybody to have it, and does not say who answered.
pub const ANSWERER: &str = "answerer";

/// Between candidates that were kept and are sent in one message.
const SEPARATOR: char = '|';

/// Opens a sealed letter.
///
/// # Errors
/// [`Refusal::Malformed`]: what is inside is no session description, or no single candidate.
pub fn open(sealed: &Sealed) -> Result<Signal, Refusal> {
    let text = text(&sealed.frame)?;
    let object = Object::parse(&text)?;
    match sealed.kind {
        Kind::Offer => Ok(Signal::Offer { sdp: sdp(&required(&object, "sdp")?)? }),
        Kind::Answer => Ok(Signal::Answer { sdp: sdp(&required(&object, "sdp")?)? }),
        Kind::Restart => Ok(Signal::Restart),
        Kind::Candidate | Kind::EndOfCandidates => candidate(&required(&object, "candidate")?),
        Kind::Data => Err(Refusal::NoWordForThis),
    }
}

/// The text of a message. Copies nothing.
fn text(frame: &Frame) -> Result<Utf8Bytes, Refusal> {
    match frame {
        Frame::Text(text) => Ok(text.clone()),
        Frame::Binary(bytes) => Utf8Bytes::try_from(bytes.clone()).map_err(|_| Refusal::Malformed("this is not UTF-8")),
        Frame::Ping | Frame::Pong => Err(Refusal::Malformed("this is no message")),
    }
}

fn required<'a>(object: &Object<'a>, name: &str) -> Result<Cow<'a, str>, Refusal> {
    object.string(name)?.ok_or(Refusal::Malformed("a member is missing"))
}

/// A name that a client may have.
fn name(text: &str) -> Result<Name, Refusal> {
    if text.is_empty() || text.len() > limits::FOREIGN_NAME_BYTES {
        Err(Refusal::BadName)
    } else {
        Ok(Name::from(text))
    }
}

/// The JSON text of what a sender wrote: a description or a candidate, as an object or as a string.
fn json(value: Option<Raw<'_>>) -> Result<String, Refusal> {
    match value {
        Some(value) if value.get().starts_with(['{', '"']) => go::canonical(value),
        _ => Err(Refusal::Malformed("neither an object nor a string is where one has to be")),
    }
}

/// The SDP in the JSON text of a description: an object, the text of one in a string, or the SDP itself in a string.
fn sdp(json: &str) -> Result<String, Refusal> {
    with_inside(json, |inside| match inside {
        Inside::Object(object) => Ok(required(object, "sdp")?.into_owned()),
        Inside::Text(text) => Ok(text.to_owned()),
    })
}

/// The candidate in its JSON text, written in the same ways. An empty one is the end of candidates.
fn candidate(json: &str) -> Result<Signal, Refusal> {
    let candidate = with_inside(json, |inside| match inside {
        Inside::Object(object) => {
            let text = |name| Ok::<_, Refusal>(object.string(name)?.map(Cow::into_owned));
            let index = object.get("sdpMLineIndex")?.map(|value| serde_json::from_str(value.get())).transpose();
            let index = index.map_err(|_| Refusal::Malformed("sdpMLineIndex is not a number from 0 to 65535"))?;
            Ok(Candidate {
                candidate: text("candidate")?.unwrap_or_default(),
                sdp_mid: text("sdpMid")?,
                sdp_m_line_index: index,
                username_fragment: text("usernameFragment")?,
            })
        }
        // A browser wants to know the section, and there is only one in a session with nothing but data.
        Inside::Text(text) => {
            Ok(Candidate { candidate: text.to_owned(), sdp_m_line_index: Some(0), ..Candidate::default() })
        }
    })?;
    Ok(if candidate.candidate.is_empty() {
        Signal::EndOfCandidates { username_fragment: candidate.username_fragment }
    } else {
        Signal::Candidate(candidate)
    })
}

/// What the JSON text of a description or a candidate is.
enum Inside<'a> {
    Object(&'a Object<'a>),
    Text(&'a str),
}

fn with_inside<R>(json: &str, read: impl Fn(Inside<'_>) -> Result<R, Refusal>) -> Result<R, Refusal> {
    let value = Raw::parse(json).map_err(|_| Refusal::Malformed("there is no JSON in the string"))?;
    if value.get().starts_with('{') {
        return read(Inside::Object(&value.object()?));
    }
    let text = value.string()?;
    if text.trim_start().starts_with('{') {
        return read(Inside::Object(&Object::parse(&text)?));
    }
    read(Inside::Text(&text))
}

/// What a signal is in this dialect: the name of the member, and the JSON text that is its value.
fn write(signal: &Signal) -> Result<(&'static str, String), Refusal> {
    match signal {
        Signal::Offer { sdp } => Ok(("sdp", Builder::new().text("sdp", sdp).text("type", "offer").finish())),
        Signal::Answer { sdp } => Ok(("sdp", Builder::new().text("sdp", sdp).text("type", "answer").finish())),
        Signal::Candidate(candidate) => Ok(("candidate", write_candidate(candidate))),
        Signal::EndOfCandidates { username_fragment } => {
            let end = Candidate { username_fragment: username_fragment.clone(), ..Candidate::default() };
            Ok(("candidate", write_candidate(&end)))
        }
        Signal::Restart | Signal::Data { .. } => Err(Refusal::NoWordForThis),
    }
}

fn write_candidate(candidate: &Candidate) -> String {
    let index = candidate.sdp_m_line_index.map_or_else(|| "null".to_owned(), |index| index.to_string());
    Builder::new()
        .text("candidate", &candidate.candidate)
        .raw("sdpMLineIndex", &index)
        .maybe("sdpMid", candidate.sdp_mid.as_deref())
        .maybe("usernameFragment", candidate.username_fragment.as_deref())
        .finish()
}

/// A frame, if it is not longer than those that we take ourselves.
fn bounded(cx: &Context<'_>, text: String) -> Result<Frame, Refusal> {
    if text.len() > cx.limits.message_bytes { Err(Refusal::TooBig) } else { Ok(Frame::text(text)) }
}
