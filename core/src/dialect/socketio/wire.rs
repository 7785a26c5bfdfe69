//! Packets and payloads of all versions.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Version;
use crate::dialect::go;
use crate::signal::{Candidate, Payload, Refusal, Signal};

/// The event that carries everything, and the label of data in it.
pub(super) const MESSAGE: &str = "message";

/// The event that tells that somebody is gone.
pub(super) const GONE: &str = "user disconnected";

/// What stands around the payload of a `message`, in [`Version::Three`] and [`Version::Four`], then in 0.9.
const MODERN: (&str, &str) = (r#"42["message","#, "]");
const LEGACY: (&str, &str) = (r#"5:::{"name":"message","args":["#, "]}");

/// A packet of 0.9: `type:id[+]:endpoint[:data]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) kind: &'a str,
    pub(super) id: &'a str,
    /// The sender wants an answer from the application, not just to know that the packet came.
    pub(super) wants_data: bool,
    pub(super) endpoint: &'a str,
    pub(super) data: &'a str,
}

impl<'a> Packet<'a> {
    /// `None`: it is no packet.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(4, ':');
        let (kind, id, endpoint) = (parts.next()?, parts.next()?, parts.next()?);
        let (id, wants_data) = id.strip_suffix('+').map_or((id, false), |id| (id, true));
        let is_good = id.len() <= 20 && id.bytes().all(|byte| byte.is_ascii_digit());
        is_good.then(|| Packet { kind, id, wants_data, endpoint, data: parts.next().unwrap_or_default() })
    }
}

/// The name and the first argument of an event; the others are checked and left out.
#[derive(Debug)]
pub(super) struct Arguments<'a> {
    pub(super) first: Option<&'a RawValue>,
    pub(super) second: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Arguments<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Arguments<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Arguments<'de>, A::Error> {
                let first = list.next_element()?;
                let second = if first.is_some() { list.next_element()? } else { None };
                if second.is_some() {
                    while list.next_element::<IgnoredAny>()?.is_some() {}
                }
                Ok(Arguments { first, second })
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

/// An event of 0.9.
#[derive(Debug, serde::Deserialize)]
pub(super) struct LegacyEvent<'a> {
    pub(super) name: String,
    #[serde(borrow)]
    pub(super) args: Option<Arguments<'a>>,
}

/// The members that signals have; JavaScript's names, so their case counts.
#[derive(serde::Deserialize)]
struct Body {
    #[serde(rename = "type")]
    kind: String,
    sdp: Option<String>,
    candidate: Option<String>,
    #[serde(rename = "sdpMid")]
    mid: Option<String>,
    #[serde(rename = "sdpMLineIndex")]
    index: Option<u16>,
    #[serde(rename = "usernameFragment")]
    username_fragment: Option<String>,
}

/// The signal in a payload, which is JSON.
pub(super) fn read(payload: &str) -> Signal {
    signal(payload).unwrap_or_else(|| Signal::Data { label: MESSAGE.into(), payload: Payload::Text(payload.into()) })
}

fn signal(payload: &str) -> Option<Signal> {
    // A list would be taken for an object by its order.
    let body: Body = payload.starts_with('{').then(|| serde_json::from_str(payload).ok())??;
    let Body { kind, sdp, candidate, mid, index, username_fragment } = body;
    match (kind.as_str(), sdp, candidate) {
        ("offer", Some(sdp), _) => Some(Signal::Offer { sdp }),
        ("answer", Some(sdp), _) => Some(Signal::Answer { sdp }),
        ("candidate", _, Some(candidate)) if candidate.is_empty() => {
            Some(Signal::EndOfCandidates { username_fragment })
        }
        ("candidate", _, Some(candidate)) => {
            Some(Signal::Candidate(Candidate { candidate, sdp_mid: mid, sdp_m_line_index: index, username_fragment }))
        }
        _ => None,
    }
}

/// The payload of a signal.
///
/// # Errors
/// [`Refusal::NoWordForThis`]: a request to restart, or bytes.
pub(super) fn write(signal: &Signal) -> Result<String, Refusal> {
    match signal {
        Signal::Offer { sdp } => Ok(format!(r#"{{"type":"offer","sdp":{}}}"#, quote(sdp))),
        Signal::Answer { sdp } => Ok(format!(r#"{{"type":"answer","sdp":{}}}"#, quote(sdp))),
        Signal::Candidate(candidate) => Ok(write_candidate(candidate)),
        Signal::EndOfCandidates { username_fragment } => Ok(write_candidate(&Candidate {
            // A browser takes no candidate that belongs to no section.
            sdp_m_line_index: Some(0),
            username_fragment: username_fragment.clone(),
            ..Candidate::default()
        })),
        Signal::Data { label, payload: Payload::Text(text) } if label == MESSAGE && json(text).is_some() => {
            Ok(text.clone())
        }
        Signal::Data { payload: Payload::Text(text), .. } => Ok(quote(text)),
        Signal::Data { payload: Payload::Binary(_), .. } | Signal::Restart => Err(Refusal::NoWordForThis),
    }
}

fn write_candidate(candidate: &Candidate) -> String {
    let mut json = String::from(r#"{"type":"candidate""#);
    if let Some(index) = candidate.sdp_m_line_index {
        json.push_str(&format!(r#","sdpMLineIndex":{index}"#));
    }
    for (name, value) in [("sdpMid", &candidate.sdp_mid), ("usernameFragment", &candidate.username_fragment)] {
        if let Some(value) = value {
            json.push_str(&format!(r#","{name}":{}"#, quote(value)));
        }
    }
    json.push_str(&format!(r#","candidate":{}}}"#, quote(&candidate.candidate)));
    json
}

/// The text as one JSON value that may be passed on.
pub(super) fn json(text: &str) -> Option<&RawValue> {
    let value: &RawValue = serde_json::from_str(text).ok()?;
    go::shallow(value.get()).ok().map(|()| value)
}

/// A JSON string.
pub(super) fn quote(text: &str) -> String {
    // Writing text to memory does not fail.
    serde_json::to_string(text).unwrap_or_default()
}

/// A `message` as a client of this version receives it.
pub(super) fn message(version: Version, payload: &str) -> String {
    let (before, after) = around(version);
    [before, payload, after].concat()
}

/// An event without arguments.
pub(super) fn event(version: Version, name: &str) -> String {
    match version {
        Version::Legacy => format!(r#"5:::{{"name":"{name}"}}"#),
        Version::Three | Version::Four => format!(r#"42["{name}"]"#),
    }
}

/// The payload of a `message` in the form of [`message`].
pub(super) fn payload(text: &str) -> Option<&str> {
    [MODERN, LEGACY].into_iter().find_map(|(before, after)| text.strip_prefix(before)?.strip_suffix(after))
}

fn around(version: Version) -> (&'static str, &'static str) {
    if version == Version::Legacy { LEGACY } else { MODERN }
}
