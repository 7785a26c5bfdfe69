//! HTTP/1.1 as far as a signaling server needs it: heads, routes, answers, the WebSocket upgrade.
//!
//! A server calls, in this order: [`parse`] (the driver does), [`origin::check`], [`route::route`], and then
//! [`upgrade::upgrade`] or one of the documents of [`asset`], [`page`] and [`metrics`].

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

pub mod asset;
pub mod bearer;
pub mod engine;
pub mod get;
pub mod handshake;
mod head;
pub mod metrics;
pub mod origin;
pub mod page;
pub mod route;
pub mod upgrade;

use std::borrow::Cow;

use bytes::Bytes;
use smol_str::SmolStr;

use crate::limits::{BODY_BYTES, HEAD_BYTES, HEAD_LINES};

pub use head::parse;

/// Heads of answers that open a WebSocket are seldom longer.
const USUAL_HEAD_BYTES: usize = 256;

/// Policy for answers that are no page: nothing may load, run or frame.
const CSP_NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

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
    pub headers: Vec<(SmolStr, SmolStr)>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadError {
    /// Not HTTP/1.1, or ambiguous: answered with 400.
    Malformed(Cow<'static, str>),
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

impl HeadError {
    /// The answer to it. The connection closes, because nobody knows where the next request would begin.
    pub fn response(&self) -> Response {
        let (status, text) = match self {
            HeadError::Malformed(why) => (400, format!("bad request: {why}\n")),
            HeadError::TooLarge => (
                431,
                format!("request head too large: at most {HEAD_BYTES} bytes and {HEAD_LINES} header lines are taken\n"),
            ),
            HeadError::BodyTooLarge => (413, format!("request body too large: at most {BODY_BYTES} bytes are taken\n")),
        };
        Response { close: true, ..Response::text(status, text) }
    }
}

impl Response {
    /// An answer of any type, with the headers that every answer carries.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = [
            ("Content-Type", content_type),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", CSP_NOTHING),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Permissions-Policy", "camera=(self), microphone=(self), display-capture=(self)"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ];
        let headers = headers.into_iter().map(|(name, value)| (name, Cow::Borrowed(value))).collect();
        Response { status, headers, body: body.into(), close: false, head_only: false }
    }

    /// Plain text; by custom it ends with a newline.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Response::new(status, "text/plain; charset=utf-8", text.into())
    }

    /// A JSON document.
    pub fn json(status: u16, json: impl Into<String>) -> Self {
        Response::new(status, "application/json", json.into())
    }

    /// A page. It may load styles and make requests from its own origin, and run no script.
    pub fn html(status: u16, html: impl Into<String>) -> Self {
        Response::new(status, "text/html; charset=utf-8", html.into()).with(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        )
    }

    /// 403: the request was understood and is refused, because of `why` (a clause).
    pub fn forbidden(why: &str) -> Self {
        Response::text(403, format!("forbidden: {why}\n"))
    }

    /// 503: not now, because of `why` (a clause).
    pub fn unavailable(why: &str) -> Self {
        Response::text(503, format!("unavailable: {why}\n"))
    }

    /// The same with this header set; one of the same name is replaced.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let value = value.into();
        match self.headers.iter_mut().find(|(header, _)| header.eq_ignore_ascii_case(name)) {
            Some((_, old)) => *old = value,
            None => self.headers.push((name, value)),
        }
        self
    }

    /// The same as an answer to this request: without the body if it was HEAD, closing if the client will.
    #[must_use]
    pub fn to(mut self, request: &Request) -> Self {
        self.head_only = request.method == "HEAD";
        self.close |= !request.keep_alive;
        self
    }

    /// The bytes on the wire.
    ///
    /// There is no `Date`: the machine has no wall clock here, and a server without one must not send it
    /// (RFC 9110, 6.6.1).
    pub fn encode(&self) -> Vec<u8> {
        let mut head = String::with_capacity(USUAL_HEAD_BYTES);
        head.push_str("HTTP/1.1 ");
        head.push_str(&self.status.to_string());
        head.push(' ');
        head.push_str(reason(self.status));
        head.push_str("\r\n");
        for (name, value) in &self.headers {
            push_header(&mut head, name, value);
        }
        // 101 and 426 have to say that `Upgrade` is meant for this hop (RFC 9110, 7.8).
        let connection = match (self.status, self.close) {
            (101, _) | (426, false) => "Upgrade",
            (426, true) => "Upgrade, close",
            (_, true) => "close",
            (_, false) => "keep-alive",
        };
        push_header(&mut head, "Connection", connection);
        // Answers that never have a body must not announce one (RFC 9110, 8.6).
        let bodiless = matches!(self.status, 100..=199 | 204 | 304);
        if !bodiless {
            push_header(&mut head, "Content-Length", &self.body.len().to_string());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if !bodiless && !self.head_only {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// Adds a header line. A value that came from a remote cannot add a second one.
fn push_header(head: &mut String, name: &str, value: &str) {
    head.push_str(name);
    head.push_str(": ");
    if value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        head.push_str(value);
    } else {
        head.extend(value.chars().map(|char| if matches!(char, ' '..='~') { char } else { '?' }));
    }
    head.push_str("\r\n");
}

/// The reason phrase, for people who look at the bytes.
fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request that these bytes begin with, and its length.
    pub(super) fn complete(bytes: &[u8]) -> (Request, usize) {
        match parse(bytes) {
            Parsed::Complete(request, taken) => (request, taken),
            other => panic!("{other:?} from {:?}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_what_a_browser_may_do_with_it() {
        let text = String::from_utf8(Response::text(200, "ok\n").encode()).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{text}");
        assert!(text.ends_with("\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nok\n"), "{text}");
        let answers = [
            Response::text(404, ""),
            Response::json(200, "{}"),
            Response::html(200, ""),
            Response::forbidden("why"),
            Response::unavailable("why"),
            HeadError::TooLarge.response(),
        ];
        for answer in answers {
            let text = String::from_utf8(answer.encode()).unwrap();
            for expected in [
                "X-Content-Type-Options: nosniff\r\n",
                "Referrer-Policy: no-referrer\r\n",
                "Permissions-Policy: camera=(self), microphone=(self), display-capture=(self)\r\n",
                "Cross-Origin-Opener-Policy: same-origin\r\n",
                "Cache-Control: no-store\r\n",
                "frame-ancestors 'none'\r\n",
            ] {
                assert!(text.contains(expected), "{expected} in {text}");
            }
            assert!(!text.contains("unsafe-"), "{text}");
        }
    }

    #[test]
    fn an_answer_follows_its_request() {
        let (head, _) = complete(b"HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let text = String::from_utf8(Response::text(200, "ok\n").to(&head).encode()).unwrap();
        assert!(text.ends_with("Connection: close\r\nContent-Length: 3\r\n\r\n"), "{text}");
    }

    #[test]
    fn a_header_value_cannot_add_a_line() {
        let answer = Response::text(200, "").with("X-Echo", "a\r\nSet-Cookie: b".to_owned());
        assert!(String::from_utf8(answer.encode()).unwrap().contains("\r\nX-Echo: a??Set-Cookie: b\r\n"));
    }

    #[test]
    fn an_answer_without_a_body_announces_none() {
        let text = String::from_utf8(Response::text(204, "never").encode()).unwrap();
        assert!(!text.contains("Content-Length") && text.ends_with("\r\n\r\n"), "{text}");
    }
}
