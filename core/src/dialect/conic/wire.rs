//! What the three generations write on the wire, read and written alike by servers and clients.

use std::borrow::Cow;

use bytes::Bytes;

use super::Generation;
use crate::clock::rfc3339;
use crate::dialect::Context;
use crate::dialect::go::{self, Builder, Object, Raw};
use crate::limits;
use crate::signal::{Candidate, Kind, Name, Payload, Refusal, Signal};

/// What the server of A and B tells a sender whose receiver is not there: bare text, not JSON.
pub const TARGET_NOT_FOUND: &str = "target not found";

/// The names that a generation gives to the members of its messages.
struct Words {
    kind: &'static str,
    content: &'static str,
    from: &'static str,
    to: &'static str,
    description: &'static str,
    candidate: &'static str,
    label: &'static str,
    payload: &'static str,
}

const A: Words = Words {
    kind: "Type",
    content: "Raw",
    from: "ID",
    to: "TargetID",
    description: "SessionDescription",
    candidate: "Candidate",
    label: "Label",
    payload: "Data",
};

const B: Words = Words {
    kind: "type",
    content: "raw",
    from: "id",
    to: "target_id",
    description: "session_description",
    candidate: "candidate",
    label: "label",
    payload: "data",
};

const C: Words = Words {
    kind: "type",
    content: "data",
    from: "from_id",
    to: "to_id",
    description: "session_description",
    candidate: "candidate",
    label: "label",
    payload: "payload",
};

impl Generation {
    fn words(self) -> &'static Words {
        match self {
            Generation::A => &A,
            Generation::B => &B,
            Generation::C => &C,
        }
    }

    /// The other names that are taken: A's in B and the reverse, as conic's README mixes them.
    fn other_words(self) -> &'static Words {
        match self {
            Generation::A => &B,
            Generation::B => &A,
            Generation::C => &C,
        }
    }

    /// Whether signals of this type exist.
    pub fn has_signal(self, kind: &str) -> bool {
        matches!(kind, "sdp" | "candidate") || (kind == "data_channel" && self != Generation::A)
    }
}

/// A frame's outer object.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// The type; empty if there is none.
    pub kind: Cow<'a, str>,
    /// What is inside, as it stands in the frame: `data`, or `raw`.
    pub content: Option<Raw<'a>>,
    object: Object<'a>,
}

impl<'a> Envelope<'a> {
    /// Reads the outer object.
    ///
    /// # Errors
    /// [`Refusal::Malformed`].
    pub fn parse(generation: Generation, text: &'a str) -> Result<Self, Refusal> {
        let object = Object::parse(text)?;
        let words = generation.words();
        let kind = object.string(words.kind)?.unwrap_or_default();
        let content = object.get(words.content)?;
        Ok(Envelope { kind, content, object })
    }

    /// The outer object.
    pub fn object(&self) -> &Object<'a> {
        &self.object
    }

    /// What is inside, ready to be read.
    ///
    /// # Errors
    /// [`Refusal::Malformed`]: it is absent, or not in a form that the generation takes.
    pub fn inside(&self, generation: Generation) -> Result<Inside<'_>, Refusal> {
        let content = self.content.ok_or(NOTHING_INSIDE)?;
        if generation == Generation::C || content.get().starts_with('{') {
            let object = self.object.object(generation.words().content)?.ok_or(NOTHING_INSIDE)?;
            return Ok(Inside { json: Json::Checked(object), native: generation == Generation::C });
        }
        let text = content.string()?;
        if text.trim_start().starts_with('{') {
            return Ok(Inside { json: Json::Text(text), native: false });
        }
        let text = String::from_utf8(go::bytes(&text)?)
            .map_err(|_| Refusal::Malformed("what is inside the message is not UTF-8"))?;
        // Base64 has nothing that needs an escape; where there is one anyway, the generation would write it anew.
        Ok(Inside { json: Json::Text(text.into()), native: !content.get().contains('\\') })
    }

    /// C: the timestamp.
    ///
    /// # Errors
    /// [`Refusal::Malformed`]: there is one, and it is not RFC 3339. The original drops such a message too.
    pub fn timestamp(&self) -> Result<Option<Cow<'a, str>>, Refusal> {
        let timestamp = self.object.string("timestamp")?;
        match &timestamp {
            Some(text) if !go::is_time(text) => Err(Refusal::Malformed("the timestamp is not RFC 3339")),
            _ => Ok(timestamp),
        }
    }

    /// C: whether each member of the envelope is there and is called exactly what C calls it.
    pub fn is_exact(&self) -> bool {
        ["id", "type", "timestamp", "data"].into_iter().all(|name| self.object.has(name))
    }
}

/// The inner object, not opened yet.
#[derive(Debug)]
pub struct Inside<'a> {
    json: Json<'a>,
    /// Whether it stood in the frame in the form that the generation writes.
    pub native: bool,
}

#[derive(Debug)]
enum Json<'a> {
    /// A value of the outer object.
    Checked(Object<'a>),
    /// JSON, or not: nobody looked yet.
    Text(Cow<'a, str>),
}

impl Inside<'_> {
    /// Opens it.
    ///
    /// # Errors
    /// [`Refusal::Malformed`]: it is no object.
    pub fn object(&self) -> Result<Object<'_>, Refusal> {
        match &self.json {
            Json::Checked(object) => Ok(object.lend()),
            Json::Text(text) => Object::parse(text),
        }
    }
}

/// The inner object of a message that is for somebody.
#[derive(Debug)]
pub struct Routed<'a> {
    /// The sender it names; empty if none.
    pub from: Cow<'a, str>,
    /// The receiver it names; empty if none.
    pub to: Cow<'a, str>,
    /// What it carries.
    pub body: Body<'a>,
    /// Whether all names of members are the generation's own.
    pub native: bool,
}

/// What a message carries, read as far as is needed to pass it on and to be sure that it can be opened.
#[derive(Debug)]
pub enum Body<'a> {
    /// An offer or an answer.
    Description {
        /// Which.
        kind: Kind,
        /// A string, not unescaped.
        sdp: Raw<'a>,
    },
    /// A candidate, or the end of them.
    Candidate(Init<'a>),
    /// Relayed data.
    Data {
        /// The channel's label.
        label: Cow<'a, str>,
        /// The message.
        payload: Vec<u8>,
    },
}

/// `RTCIceCandidateInit`.
#[derive(Debug, Default)]
pub struct Init<'a> {
    candidate: Cow<'a, str>,
    mid: Option<Cow<'a, str>>,
    index: Option<u16>,
    fragment: Option<Cow<'a, str>>,
}

impl<'a> Routed<'a> {
    /// Reads the inner object of a message of type `kind`.
    ///
    /// # Errors
    /// [`Refusal::UnknownType`], [`Refusal::Malformed`], or [`Refusal::NoWordForThis`] for a `pranswer` or `rollback`.
    pub fn parse(generation: Generation, kind: &str, object: &'a Object<'a>) -> Result<Self, Refusal> {
        if !generation.has_signal(kind) {
            return Err(Refusal::UnknownType);
        }
        let mut members = Members { object, generation, native: true };
        let from = members.string(|words| words.from)?;
        let to = members.string(|words| words.to)?;
        let body = match kind {
            "sdp" => {
                let place = members.find(|words| words.description)?.ok_or(NO_DESCRIPTION)?;
                description(&object.open(place)?)?
            }
            "candidate" => {
                let place = members.find(|words| words.candidate)?.ok_or(NO_CANDIDATE)?;
                let (candidate, native) = candidate(generation, object, place)?;
                members.native &= native;
                Body::Candidate(candidate)
            }
            _ => Body::Data {
                label: members.string(|words| words.label)?,
                payload: go::bytes(&members.string(|words| words.payload)?)?,
            },
        };
        Ok(Routed { from, to, body, native: members.native })
    }
}

impl Body<'_> {
    /// What kind of signal this is.
    pub fn kind(&self) -> Kind {
        match self {
            Body::Description { kind, .. } => *kind,
            Body::Candidate(candidate) if candidate.candidate.is_empty() => Kind::EndOfCandidates,
            Body::Candidate(_) => Kind::Candidate,
            Body::Data { .. } => Kind::Data,
        }
    }

    /// The signal.
    ///
    /// # Errors
    /// [`Refusal::Malformed`]: the SDP has an escape that is no character.
    pub fn into_signal(self) -> Result<Signal, Refusal> {
        Ok(match self {
            Body::Description { kind: Kind::Offer, sdp } => Signal::Offer { sdp: sdp.string()?.into_owned() },
            Body::Description { sdp, .. } => Signal::Answer { sdp: sdp.string()?.into_owned() },
            Body::Candidate(candidate) if candidate.candidate.is_empty() => {
                Signal::EndOfCandidates { username_fragment: candidate.fragment.map(Cow::into_owned) }
            }
            Body::Candidate(candidate) => Signal::Candidate(Candidate {
                candidate: candidate.candidate.into_owned(),
                sdp_mid: candidate.mid.map(Cow::into_owned),
                sdp_m_line_index: candidate.index,
                username_fragment: candidate.fragment.map(Cow::into_owned),
            }),
            Body::Data { label, payload } => Signal::Data {
                label: label.into_owned(),
                payload: match String::from_utf8(payload) {
                    Ok(text) => Payload::Text(text),
                    Err(error) => Payload::Binary(Bytes::from(error.into_bytes())),
                },
            },
        })
    }
}

const NOTHING_INSIDE: Refusal = Refusal::Malformed("the message has nothing inside");
const NO_DESCRIPTION: Refusal = Refusal::Malformed("the message has no session description");
const NO_CANDIDATE: Refusal = Refusal::Malformed("the message has no candidate");

/// Members of an inner object under either generation's names.
struct Members<'a> {
    object: &'a Object<'a>,
    generation: Generation,
    native: bool,
}

impl<'a> Members<'a> {
    fn find(&mut self, word: fn(&Words) -> &'static str) -> Result<Option<usize>, Refusal> {
        let (name, other) = (word(self.generation.words()), word(self.generation.other_words()));
        let place = self.object.find(name)?;
        if go::same_name(name, other) {
            return Ok(place);
        }
        match (place, self.object.find(other)?) {
            (Some(_), Some(_)) => Err(Refusal::Malformed("a member appears under two names")),
            (None, Some(place)) => {
                self.native = false;
                Ok(Some(place))
            }
            (place, None) => Ok(place),
        }
    }

    fn string(&mut self, word: fn(&Words) -> &'static str) -> Result<Cow<'a, str>, Refusal> {
        let value = self.find(word)?.and_then(|place| self.object.value(place));
        Ok(value.map(Raw::string).transpose()?.unwrap_or_default())
    }
}

fn description<'a>(object: &Object<'a>) -> Result<Body<'a>, Refusal> {
    let kind = match object.string("type")?.as_deref() {
        Some("offer") => Kind::Offer,
        Some("answer") => Kind::Answer,
        Some("pranswer" | "rollback") => return Err(Refusal::NoWordForThis),
        _ => return Err(Refusal::Malformed("the type of the session description is none of RFC 9429")),
    };
    match object.get("sdp")? {
        Some(sdp) if sdp.get().starts_with('"') => Ok(Body::Description { kind, sdp }),
        _ => Err(Refusal::Malformed("the session description has no SDP")),
    }
}

/// A candidate, and whether it stood there as the generation writes it: in C as an object, in A and B as a string with
/// the JSON of one. The README's form may have the object itself there, or the bare `candidate:` line.
fn candidate<'a>(generation: Generation, object: &'a Object<'a>, place: usize) -> Result<(Init<'a>, bool), Refusal> {
    let value = object.value(place).ok_or(NO_CANDIDATE)?;
    if value.get().starts_with('{') {
        return Ok((init(&object.open(place)?)?, generation == Generation::C));
    }
    if generation == Generation::C {
        return Err(Refusal::Malformed("the candidate is not an object"));
    }
    let text = value.string()?;
    if text.is_empty() || text.starts_with("candidate:") {
        return Ok((Init { candidate: text, ..Init::default() }, false));
    }
    // The text that it stands in is ours.
    let Init { candidate, mid, index, fragment } = init(&Object::parse(&text)?)?;
    let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
    Ok((Init { candidate: owned(candidate), mid: mid.map(owned), index, fragment: fragment.map(owned) }, true))
}

/// `RTCIceCandidateInit`, in camel case in all generations.
fn init<'a>(object: &Object<'a>) -> Result<Init<'a>, Refusal> {
    let index = object.get("sdpMLineIndex")?.map(|value| value.get().parse()).transpose();
    Ok(Init {
        candidate: object.string("candidate")?.unwrap_or_default(),
        mid: object.string("sdpMid")?,
        index: index.map_err(|_| Refusal::Malformed("sdpMLineIndex is not a number from 0 to 65535"))?,
        fragment: object.string("usernameFragment")?,
    })
}

/// Reads a whole message that is for somebody: the sender and the receiver it names, either may be empty, and what it
/// carries.
///
/// # Errors
/// As [`Envelope::parse`], [`Envelope::inside`], [`Routed::parse`] and [`Body::into_signal`].
pub fn read(generation: Generation, text: &str) -> Result<(String, String, Signal), Refusal> {
    let envelope = Envelope::parse(generation, text)?;
    let inside = envelope.inside(generation)?;
    let object = inside.object()?;
    let routed = Routed::parse(generation, &envelope.kind, &object)?;
    Ok((routed.from.into_owned(), routed.to.into_owned(), routed.body.into_signal()?))
}

/// Writes a whole message that is for somebody.
///
/// # Errors
/// [`Refusal::NoWordForThis`]; [`Refusal::TooBig`]: longer than the messages that we take ourselves.
pub fn write(
    generation: Generation,
    cx: &mut Context<'_>,
    from: &str,
    to: &str,
    signal: &Signal,
) -> Result<String, Refusal> {
    let words = generation.words();
    let inside = Builder::new().text(words.from, from).text(words.to, to);
    let (kind, inside) = match signal {
        Signal::Offer { sdp } => ("sdp", inside.raw(words.description, &session_description("offer", sdp))),
        Signal::Answer { sdp } => ("sdp", inside.raw(words.description, &session_description("answer", sdp))),
        Signal::Candidate(candidate) => ("candidate", write_candidate(generation, inside, candidate)),
        Signal::EndOfCandidates { username_fragment } => {
            let end = Candidate { username_fragment: username_fragment.clone(), ..Candidate::default() };
            ("candidate", write_candidate(generation, inside, &end))
        }
        Signal::Data { label, payload } if generation.has_signal("data_channel") => {
            let bytes = match payload {
                Payload::Text(text) => text.as_bytes(),
                Payload::Binary(bytes) => bytes,
            };
            ("data_channel", inside.text(words.label, label).text(words.payload, &go::base64(bytes)))
        }
        Signal::Data { .. } | Signal::Restart => return Err(Refusal::NoWordForThis),
    };
    let text = match generation {
        Generation::A | Generation::B => frame(generation, kind, Some(&inside.finish())),
        Generation::C => envelope(cx, kind, &inside.finish()),
    };
    if text.len() > cx.limits.message_bytes { Err(Refusal::TooBig) } else { Ok(text) }
}

/// A frame of A or B around the JSON of an inner object.
pub fn frame(generation: Generation, kind: &str, inside: Option<&str>) -> String {
    let words = generation.words();
    let inside = inside.map(|inside| go::base64(inside.as_bytes()));
    Builder::new().text(words.kind, kind).maybe(words.content, inside.as_deref()).finish()
}

/// A frame of C around the JSON of an inner object, with a fresh id and the time of day.
pub fn envelope(cx: &mut Context<'_>, kind: &str, inside: &str) -> String {
    let id = cx.ids.next(cx.unix);
    Builder::new().text("id", &id).text("type", kind).text("timestamp", &rfc3339(cx.unix)).raw("data", inside).finish()
}

/// A and B: the answer to `register`, and what is inside `unregister`.
pub fn identity(generation: Generation, name: &str) -> String {
    Builder::new().text(generation.words().from, name).finish()
}

/// A name as conic's clients may have it.
///
/// # Errors
/// [`Refusal::BadName`]: it is empty, or longer than [`limits::FOREIGN_NAME_BYTES`].
pub fn name(text: &str) -> Result<Name, Refusal> {
    if text.is_empty() || text.len() > limits::FOREIGN_NAME_BYTES {
        Err(Refusal::BadName)
    } else {
        Ok(Name::from(text))
    }
}

fn session_description(kind: &str, sdp: &str) -> String {
    Builder::new().text("type", kind).text("sdp", sdp).finish()
}

fn write_candidate(generation: Generation, inside: Builder, candidate: &Candidate) -> Builder {
    let index = candidate.sdp_m_line_index.map_or_else(|| "null".to_owned(), |index| index.to_string());
    let init = Builder::new()
        .text("candidate", &candidate.candidate)
        .maybe("sdpMid", candidate.sdp_mid.as_deref())
        .raw("sdpMLineIndex", &index)
        .maybe("usernameFragment", candidate.username_fragment.as_deref())
        .finish();
    let name = generation.words().candidate;
    if generation == Generation::C { inside.raw(name, &init) } else { inside.text(name, &init) }
}
