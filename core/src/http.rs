//! HTTP/1.1 as far as a signaling server needs it: heads, routes, answers, the WebSocket upgrade.

use std::borrow::Cow;

use bytes::Bytes;

/// A request, head and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// The path as sent, without the query: begins with `/`.
    pub path: String,
    /// What follows the `?`, if there is one.
    pub query: Option<String>,
    /// Names in lower case; values are visible ASCII, trimmed.
    pub headers: Vec<(String, String)>,
    /// The body, empty if there is none.
    pub body: Bytes,
    /// Whether the connection can carry another request after this one.
    pub keep_alive: bool,
}

impl Request {
    /// The value of the first header of this name (given in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// All comma-separated elements of all headers of this name (RFC 9110, 5.6.1), trimmed, empty ones left out.
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_name = self.headers.iter().filter(move |(header, _)| header == name);
        of_name.flat_map(|(_, value)| value.split(',')).map(str::trim).filter(|element| !element.is_empty())
    }
}

/// What is wrong with a request that cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// Not HTTP/1.1, or ambiguous: answered with 400.
    Malformed(&'static str),
    /// Head longer than [`crate::limits::HEAD_BYTES`] or [`crate::limits::HEAD_LINES`]: answered with 431.
    TooLarge,
    /// Body longer than [`crate::limits::BODY_BYTES`]: answered with 413.
    BodyTooLarge,
}

/// What [`parse`] made of the bytes so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// More bytes are needed.
    Partial,
    /// A request, and how many bytes it took; the rest belongs to what follows.
    Complete(Request, usize),
    /// No request will come of it.
    Refused(HeadError),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Such as 200.
    pub status: u16,
    /// Headers in order; `Content-Length`, `Connection` and `Date` are not among them.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Bytes,
    /// Whether the connection closes after it.
    pub close: bool,
    /// Whether the body is left out because the request was HEAD.
    pub head_only: bool,
}

/// Parses the bytes that a connection has sent so far. Total, linear in their number.
pub fn parse(_bytes: &[u8]) -> Parsed {
    Parsed::Partial
}

impl Response {
    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        Vec::new()
    }
}
