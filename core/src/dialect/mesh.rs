//! The room mesh of a Python tutorial: rooms, and everybody in one connects to everybody else (`protocols.md` 002).
//!
//! Every message is one JSON object; those that travel keep their payload byte for byte, only `target` becomes `from`.
//! A client has a name and a room at once and never one without the other: `join` asks for both.
//!
//! The dialect has no error messages. What cannot be done is met with silence, as the original does it, but for what
//! keeps a client out of its room: an id or a room that it cannot have closes the connection with a reason.
use std::borrow::Cow;

use serde::Serialize;

use super::go::{Object, Raw};
use super::{Context, Dialect, Heard, Said};
use crate::limits;
use crate::machine::{Frame, Utf8Bytes};
use crate::signal::{Candidate, Kind, Name, Refusal, Sealed, Signal};

mod client;
mod server;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;

pub use client::Client;
pub use server::Server;

/// The room that a client of this dialect enters if it wants none: without one it cannot have a name.
pub const LOBBY: &str = "lobby";

/// A message that is read: an object, and its type.
#[derive(Debug)]
struct Message<'a> {
    kind: Cow<'a, str>,
    object: Object<'a>,
}

impl<'a> Message<'a> {
    fn parse(text: &'a str) -> Result<Self, Refusal> {
        let object = Object::parse(text)?;
        let mut message = Message { kind: Cow::Borrowed(""), object };
        message.kind = message.string("type")?;
        Ok(message)
    }

    /// The value of a member, its name compared as Python does: exactly. `null` is a value.
    fn get(&self, name: &str) -> Result<Raw<'a>, Refusal> {
        let mut found = self.object.members().filter(|(key, _)| *key == name).map(|(_, value)| value);
        match (found.next(), found.next()) {
            (Some(value), None) => Ok(value),
            (Some(_), Some(_)) => Err(Refusal::Malformed("a member appears twice in one object")),
            (None, _) => Err(Refusal::Malformed("a member is missing")),
        }
    }

    fn string(&self, name: &str) -> Result<Cow<'a, str>, Refusal> {
        self.get(name)?.string()
    }

    fn name(&self, name: &str) -> Result<Name, Refusal> {
        self::name(&self.string(name)?)
    }

    /// The names in a list.
    fn names(&self, name: &str) -> Result<Vec<Name>, Refusal> {
        let texts: Vec<Cow<'a, str>> = serde_json::from_str(self.get(name)?.get())
            .map_err(|_| Refusal::Malformed("a list of ids was expected"))?;
        texts.iter().map(|text| self::name(text)).collect()
    }

    /// The kind of signal that the message carries, judged by its type alone, and its payload.
    fn payload(&self) -> Result<(Kind, Raw<'a>), Refusal> {
        match self.kind.as_ref() {
            "offer" => Ok((Kind::Offer, self.get("offer")?)),
            "answer" => Ok((Kind::Answer, self.get("answer")?)),
            "ice_candidate" => Ok((Kind::Candidate, self.get("candidate")?)),
            _ => Err(Refusal::UnknownType),
        }
    }
}

/// Opens a letter of this dialect.
///
/// # Errors
/// What is inside cannot be understood: the original's server looks into no payload, so neither does ours before it
/// has to cross.
pub fn open(sealed: &Sealed) -> Result<Signal, Refusal> {
    let text = text(&sealed.frame).ok_or(Refusal::Malformed("the letter is not text"))?;
    let (kind, payload) = Message::parse(&text)?.payload()?;
    signal(kind, payload)
}

/// The signal in a payload.
fn signal(kind: Kind, payload: Raw<'_>) -> Result<Signal, Refusal> {
    match kind {
        Kind::Offer => Ok(Signal::Offer { sdp: description(payload, "offer")? }),
        Kind::Answer => Ok(Signal::Answer { sdp: description(payload, "answer")? }),
        _ => candidate(payload),
    }
}

/// `RTCSessionDescriptionInit`.
fn description(payload: Raw<'_>, kind: &str) -> Result<String, Refusal> {
    let object = payload.object()?;
    if object.string("type")?.is_some_and(|stated| stated != kind) {
        return Err(Refusal::Malformed("a description is of another type than the message that carries it"));
    }
    let sdp = object.string("sdp")?.ok_or(Refusal::Malformed("a description has no sdp"))?;
    Ok(sdp.into_owned())
}

/// `RTCIceCandidateInit`. Without a candidate in it, or `null` in its place, it is the end of candidates.
fn candidate(payload: Raw<'_>) -> Result<Signal, Refusal> {
    if payload.get() == "null" {
        return Ok(Signal::EndOfCandidates { username_fragment: None });
    }
    let object = payload.object()?;
    let text = |name| Ok::<_, Refusal>(object.string(name)?.map(Cow::into_owned));
    let (candidate, username_fragment) = (text("candidate")?.unwrap_or_default(), text("usernameFragment")?);
    if candidate.is_empty() {
        return Ok(Signal::EndOfCandidates { username_fragment });
    }
    let index = object.get("sdpMLineIndex")?.map(|value| serde_json::from_str(value.get())).transpose();
    Ok(Signal::Candidate(Candidate {
        candidate,
        sdp_mid: text("sdpMid")?,
        sdp_m_line_index: index.map_err(|_| Refusal::Malformed("sdpMLineIndex is not a number from 0 to 65535"))?,
        username_fragment,
    }))
}

/// A message that is written; what is `None` is left out.
#[derive(Debug, Default, Serialize)]
struct Words<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peers: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offer: Option<Body<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Body<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<Body<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
}

/// A payload: a client's own, or one that is made here.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Raw(Raw<'a>),
    Description {
        #[serde(rename = "type")]
        kind: &'a str,
        sdp: &'a str,
    },
    #[serde(rename_all = "camelCase")]
    Candidate {
        candidate: &'a str,
        sdp_mid: Option<&'a str>,
        sdp_m_line_index: Option<u16>,
        username_fragment: Option<&'a str>,
    },
}

impl<'a> Words<'a> {
    fn of(kind: &'a str) -> Self {
        Words { kind, ..Words::default() }
    }

    /// A message with a client's own payload.
    fn relayed(kind: Kind, payload: Raw<'a>) -> Self {
        Words::carrying(kind, Body::Raw(payload))
    }

    /// A message that carries a signal.
    ///
    /// # Errors
    /// [`Refusal::NoWordForThis`]. Relayed data has none: a type that they do not know would only confuse clients.
    fn carrying_signal(signal: &'a Signal) -> Result<Self, Refusal> {
        let body = match signal {
            Signal::Offer { sdp } => Body::Description { kind: "offer", sdp },
            Signal::Answer { sdp } => Body::Description { kind: "answer", sdp },
            Signal::Candidate(candidate) => Body::Candidate {
                candidate: &candidate.candidate,
                sdp_mid: candidate.sdp_mid.as_deref(),
                sdp_m_line_index: candidate.sdp_m_line_index,
                username_fragment: candidate.username_fragment.as_deref(),
            },
            // A page gives this to `new RTCIceCandidate`, which takes an empty candidate but not two nulls.
            Signal::EndOfCandidates { username_fragment } => Body::Candidate {
                candidate: "",
                sdp_mid: None,
                sdp_m_line_index: Some(0),
                username_fragment: username_fragment.as_deref(),
            },
            Signal::Restart | Signal::Data { .. } => return Err(Refusal::NoWordForThis),
        };
        Ok(Words::carrying(signal.kind(), body))
    }

    fn carrying(kind: Kind, body: Body<'a>) -> Self {
        match kind {
            Kind::Offer => Words { offer: Some(body), ..Words::of("offer") },
            Kind::Answer => Words { answer: Some(body), ..Words::of("answer") },
            _ => Words { candidate: Some(body), ..Words::of("ice_candidate") },
        }
    }

    fn frame(&self) -> Frame {
        // Strings, numbers and JSON that was parsed: there is nothing here that could fail to serialise.
        Frame::text(serde_json::to_string(self).unwrap_or_default())
    }
}

/// A name as clients of this dialect may have it.
///
/// # Errors
/// [`Refusal::BadName`]: it is empty, has control characters, or is longer than [`limits::FOREIGN_NAME_BYTES`].
fn name(text: &str) -> Result<Name, Refusal> {
    if text.is_empty() || text.len() > limits::FOREIGN_NAME_BYTES || text.contains(char::is_control) {
        Err(Refusal::BadName)
    } else {
        Ok(Name::from(text))
    }
}

/// The text of a message: the original takes text in binary messages too. Copies nothing.
fn text(frame: &Frame) -> Option<Utf8Bytes> {
    match frame {
        Frame::Text(text) => Some(text.clone()),
        Frame::Binary(bytes) => Utf8Bytes::try_from(bytes.clone()).ok(),
        Frame::Ping | Frame::Pong => None,
    }
}
