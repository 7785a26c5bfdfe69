//! Tony Bai's data-channel example on pion: JSON in binary frames, base64 inside base64.
//!
//! A frame is `{"command":N,"payload":base64}`. The payload of a request is `{"source","target","body":base64}`, that of
//! a response `{"code","msg"}`. Answering peers come in by `/register`, offering ones by `/offer`.
//!
//! | command | meaning | body |
//! |---|---|---|
//! | 1 | `init`: register `source` | none |
//! | 2 | answer | JSON of a session description |
//! | 3 | offer | JSON of a session description |
//! | 4 | candidate | the bare line, without section or user fragment |
//! | 101 to 104 | the response to each | |
//!
//! Decisions, where the original leaves a choice or is wrong:
//! - `source` has to be a name of its own socket. An offering peer has no `init`: its first request with a `source`
//!   registers that name, which stays even if the target is unknown; the original knows it only from the first request
//!   with a known target on.
//! - A live name is not taken over: the answer has code 1.
//! - All commands are taken on both paths, so that either side may offer again.
//! - A receiver that is gone is told of by code 1, and the sender stays connected. `ok` still means accepted.
//! - A frame that cannot be read closes the connection with 1002, where the original drops it without a word.
//! - A request whose body could not be read by its receiver gets code 1.
//! - An empty candidate is the end of candidates. One that comes from here is taken to be of section 0, the only one.
use super::*;
use crate::dialect::go::{Builder, Object};
use crate::limits;
use crate::machine::Utf8Bytes;
use crate::signal::{Candidate, Kind};

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use server::Server;

/// Register.
const INIT: u16 = 1;
const ANSWER: u16 = 2;
const OFFER: u16 = 3;
const CANDIDATE: u16 = 4;

/// Added to a command, it makes the command of its response.
const RESPONSE: u16 = 100;

/// What the original says of a target that is not there.
const NOT_THERE: &str = "file does not exist";

/// Opens a sealed letter.
///
/// # Errors
/// [`Refusal::Malformed`]: text inside cannot be read.
pub fn open(sealed: &Sealed) -> Result<Signal, Refusal> {
    let (command, payload) = outer(&text(&sealed.frame)?)?;
    Request::parse(&payload)?.signal(command)
}

/// The inside of a request.
#[derive(Debug)]
struct Request {
    /// Empty if it names none.
    source: String,
    /// Empty if it names none.
    target: String,
    body: Vec<u8>,
}

impl Request {
    fn parse(payload: &str) -> Result<Self, Refusal> {
        let object = Object::parse(payload)?;
        let text = |name| Ok::<_, Refusal>(object.string(name)?.unwrap_or_default());
        let body = go::bytes(&text("body")?)?;
        Ok(Request { source: text("source")?.into_owned(), target: text("target")?.into_owned(), body })
    }

    /// What is carried.
    fn signal(self, command: u16) -> Result<Signal, Refusal> {
        let body = String::from_utf8(self.body).map_err(|_| Refusal::Malformed("the body is not UTF-8"))?;
        match command {
            OFFER => Ok(Signal::Offer { sdp: description(&body, "offer")? }),
            ANSWER => Ok(Signal::Answer { sdp: description(&body, "answer")? }),
            CANDIDATE if body.is_empty() => Ok(Signal::EndOfCandidates { username_fragment: None }),
            CANDIDATE => {
                let candidate = Candidate { candidate: body, sdp_m_line_index: Some(0), ..Candidate::default() };
                Ok(Signal::Candidate(candidate))
            }
            _ => Err(Refusal::UnknownType),
        }
    }
}

/// The SDP in a body that has to be of this type.
fn description(body: &str, kind: &str) -> Result<String, Refusal> {
    let object = Object::parse(body)?;
    match object.string("type")?.as_deref() {
        Some(stated) if stated == kind => {}
        _ => return Err(Refusal::Malformed("the session description is not of the type that the command says")),
    }
    let sdp = object.string("sdp")?.ok_or(Refusal::Malformed("the session description has no SDP"))?;
    Ok(sdp.into_owned())
}

/// The text of a message, binary as a rule. Copies nothing.
fn text(frame: &Frame) -> Result<Utf8Bytes, Refusal> {
    match frame {
        Frame::Text(text) => Ok(text.clone()),
        Frame::Binary(bytes) => Utf8Bytes::try_from(bytes.clone()).map_err(|_| Refusal::Malformed("this is not UTF-8")),
        Frame::Ping | Frame::Pong => Err(Refusal::Malformed("this is no message")),
    }
}

/// The command of a frame and the text of its payload; that is empty if there is none.
fn outer(text: &str) -> Result<(u16, String), Refusal> {
    let object = Object::parse(text)?;
    let command = object.get("command")?.ok_or(Refusal::Malformed("the message has no command"))?;
    let command = serde_json::from_str(command.get()).map_err(|_| Refusal::Malformed("the command is no number"))?;
    let payload = go::bytes(&object.string("payload")?.unwrap_or_default())?;
    let payload = String::from_utf8(payload).map_err(|_| Refusal::Malformed("the payload is not UTF-8"))?;
    Ok((command, payload))
}

/// A whole frame's text.
fn message(command: u16, payload: &str) -> String {
    let payload = go::base64(payload.as_bytes());
    Builder::new().raw("command", &command.to_string()).text("payload", &payload).finish()
}

/// A request's text. Without a body it has `null` there.
fn request(command: u16, source: &str, target: &str, body: Option<&str>) -> String {
    let body = body.map(|body| go::base64(body.as_bytes()));
    let payload = Builder::new().text("source", source).text("target", target).maybe("body", body.as_deref());
    message(command, &payload.finish())
}

/// The command that carries signals of this kind.
fn command_for(kind: Kind) -> Result<u16, Refusal> {
    match kind {
        Kind::Offer => Ok(OFFER),
        Kind::Answer => Ok(ANSWER),
        Kind::Candidate | Kind::EndOfCandidates => Ok(CANDIDATE),
        Kind::Restart | Kind::Data => Err(Refusal::NoWordForThis),
    }
}

/// The frame that carries a signal.
fn write(cx: &Context<'_>, source: &str, target: &str, signal: &Signal) -> Result<Frame, Refusal> {
    let command = command_for(signal.kind())?;
    let description = |kind: &str, sdp: &str| Builder::new().text("type", kind).text("sdp", sdp).finish();
    let body = match signal {
        Signal::Offer { sdp } => description("offer", sdp),
        Signal::Answer { sdp } => description("answer", sdp),
        Signal::Candidate(candidate) => candidate.candidate.clone(),
        Signal::EndOfCandidates { .. } | Signal::Restart | Signal::Data { .. } => String::new(),
    };
    let text = request(command, source, target, Some(&body));
    if text.len() > cx.limits.message_bytes { Err(Refusal::TooBig) } else { Ok(Frame::Binary(text.into())) }
}

/// A name that a client may have.
fn name(text: &str) -> Result<Name, Refusal> {
    if text.is_empty() || text.len() > limits::FOREIGN_NAME_BYTES {
        Err(Refusal::BadName)
    } else {
        Ok(Name::from(text))
    }
}
