//! The one set of keys that all messages share.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::limits::Limits;
use crate::machine::Frame;
use crate::signal::{self, Name, Refusal, Tag, To};

/// A message of either direction. `type` says which of the keys it has; keys that are not listed are ignored, so that
/// later versions can add some.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resume: Option<Resume<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resume_token: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resumed: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) grace_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<Terms>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    pub(super) ice_servers: Option<Vec<&'a RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) room: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) epoch: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seq: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peers: Option<Vec<Cow<'a, str>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    pub(super) sdp: Option<&'a RawValue>,
    /// `sdp` again, for a message that is made from text and not from a literal.
    #[serde(rename = "sdp", skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(super) sdp_text: Option<&'a str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) candidate: Option<Candidate<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) username_fragment: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    pub(super) text: Option<&'a RawValue>,
    /// `text` again, for a message that is made from text and not from a literal.
    #[serde(rename = "text", skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(super) payload_text: Option<&'a str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) base64: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Cow<'a, str>>,
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub(super) reference: Option<Cow<'a, str>>,
}

/// Which session to go on with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Resume<'a> {
    pub(super) token: Cow<'a, str>,
    pub(super) received: u64,
}

/// The bounds that a client should know.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Terms {
    message_bytes: usize,
    messages_per_second: u32,
    message_burst: u32,
    room_members: usize,
    rooms: usize,
}

/// `RTCIceCandidateInit`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    pub(super) candidate: Cow<'a, str>,
    #[serde(default)]
    pub(super) sdp_mid: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) sdp_m_line_index: Option<u16>,
    #[serde(default)]
    pub(super) username_fragment: Option<Cow<'a, str>>,
}

impl<'a> Message<'a> {
    pub(super) fn of(kind: &'a str) -> Self {
        Message { kind: kind.into(), ..Message::default() }
    }

    pub(super) fn addressed(self, to: &'a To) -> Self {
        match to {
            To::Peer(name) => Message { to: Some(name.as_str().into()), ..self },
            To::Room(name) => Message { room: Some(name.as_str().into()), ..self },
        }
    }

    pub(super) fn frame(&self) -> Frame {
        // Strings, numbers and checked literals: there is nothing here that could fail to serialise.
        Frame::text(serde_json::to_string(self).unwrap_or_default())
    }
}

impl Terms {
    pub(super) fn of(limits: &Limits) -> Self {
        Terms {
            message_bytes: limits.message_bytes,
            messages_per_second: limits.messages_per_second,
            message_burst: limits.message_burst,
            room_members: limits.room_members,
            rooms: limits.rooms_per_client,
        }
    }
}

impl<'a> Candidate<'a> {
    pub(super) fn of(candidate: &'a signal::Candidate) -> Self {
        Candidate {
            candidate: candidate.candidate.as_str().into(),
            sdp_mid: candidate.sdp_mid.as_deref().map(Cow::Borrowed),
            sdp_m_line_index: candidate.sdp_m_line_index,
            username_fragment: candidate.username_fragment.as_deref().map(Cow::Borrowed),
        }
    }
}

pub(super) fn error_frame(refusal: Refusal, to: Option<&Name>, tag: Option<&Tag>) -> Frame {
    Message {
        code: Some(refusal.code().into()),
        message: Some(refusal.sentence().into()),
        to: to.map(|to| to.as_str().into()),
        reference: tag.map(|tag| tag.as_str().into()),
        ..Message::of("error")
    }
    .frame()
}
