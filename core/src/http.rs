//! HTTP/1.1 as far as a signaling server needs it: heads, routes, answers, the WebSocket upgrade.
//!
//! [`parse`] is stricter than the standard demands, so that no two readers of the same bytes can disagree about where
//! a request ends (RFC 9112, 11.2): lines end in CRLF and are never folded, header values are visible ASCII, a body
//! has a `Content-Length` and nothing else. HTTP/1.0 is taken for `GET` and `HEAD` without a body, because simple
//! health probes speak it; such a connection closes after the answer and never becomes a WebSocket.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

pub mod metrics;
pub mod origin;
pub mod page;
pub mod route;
pub mod upgrade;

use std::borrow::Cow;

use bytes::Bytes;

use crate::limits::{BODY_BYTES, HEAD_BYTES, HEAD_LINES};

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
///
/// More bytes never turn a refusal into a request, so a refusal may come before the head is whole.
pub fn parse(bytes: &[u8]) -> Parsed {
    match parse_request(bytes) {
        Ok(Some((request, taken))) => Parsed::Complete(request, taken),
        Ok(None) => Parsed::Partial,
        Err(error) => Parsed::Refused(error),
    }
}

impl HeadError {
    /// The answer to it. The connection closes, because nobody knows where the next request would begin.
    pub fn response(self) -> Response {
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
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
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

fn parse_request(bytes: &[u8]) -> Result<Option<(Request, usize)>, HeadError> {
    let Some(end) = head_end(bytes)? else { return Ok(None) };
    let head = bytes.get(..end).unwrap_or_default();
    let (mut request, minor) = parse_head(head)?;
    let length = body_length(&request)?;
    check_hosts(&request, minor)?;
    if minor == 0 {
        if !matches!(request.method.as_str(), "GET" | "HEAD") || length > 0 {
            return Err(HeadError::Malformed("only GET and HEAD without a body are taken in HTTP/1.0"));
        }
        // RFC 9110, 7.8: `Upgrade` in an HTTP/1.0 request is ignored.
        request.headers.retain(|(name, _)| name != "upgrade");
    }
    request.keep_alive = minor == 1 && !request.list("connection").any(|option| option.eq_ignore_ascii_case("close"));
    let whole = end.saturating_add(length);
    let Some(body) = bytes.get(end..whole) else { return Ok(None) };
    request.body = Bytes::copy_from_slice(body);
    Ok(Some((request, whole)))
}

/// Where the head ends: behind the first empty line. Each byte is judged by itself and those before it, so that the
/// same fault is found however the bytes were split.
fn head_end(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    let mut before = 0u8;
    let mut line_length = 0usize;
    let mut lines = 0usize;
    for (position, &byte) in bytes.iter().enumerate() {
        if position >= HEAD_BYTES {
            return Err(HeadError::TooLarge);
        }
        if (before == b'\r') != (byte == b'\n') {
            return Err(HeadError::Malformed("a line must end in CR LF"));
        }
        match byte {
            b'\n' if line_length == 0 && lines == 0 => {
                return Err(HeadError::Malformed("an empty line where a request was expected"));
            }
            b'\n' if line_length == 0 => return Ok(Some(position.saturating_add(1))),
            b'\n' => {
                lines = lines.saturating_add(1);
                line_length = 0;
            }
            b'\r' => {}
            b' ' | b'\t' if line_length == 0 => {
                return Err(HeadError::Malformed("a line must not begin with a space"));
            }
            b'\t' | b' '..=b'~' => {
                // The request line is none of the header lines.
                if lines > HEAD_LINES {
                    return Err(HeadError::TooLarge);
                }
                line_length = line_length.saturating_add(1);
            }
            _ => return Err(HeadError::Malformed("only visible ASCII is allowed in a request head")),
        }
        before = byte;
    }
    Ok(None)
}

/// Parses a whole head; the request has no body yet. Also gives the minor version.
fn parse_head(head: &[u8]) -> Result<(Request, u8), HeadError> {
    let mut lines = [httparse::EMPTY_HEADER; HEAD_LINES];
    let mut parsed = httparse::Request::new(&mut lines);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(HeadError::Malformed("the request head ends too early")),
        Err(error) => return Err(explain(error)),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(HeadError::Malformed("the request line is not complete"));
    };
    // Neither a proxy's absolute URL nor `*` nor a fragment (RFC 9112, 3.2.1).
    if !target.starts_with('/') || target.contains('#') {
        return Err(HeadError::Malformed("the target must be a path that begins with /"));
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut headers = Vec::with_capacity(parsed.headers.len());
    for line in parsed.headers.iter() {
        let value = std::str::from_utf8(line.value).map_err(|_| HeadError::Malformed("a header value is not ASCII"))?;
        headers.push((line.name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.map(str::to_owned),
        headers,
        body: Bytes::new(),
        keep_alive: false,
    };
    Ok((request, minor))
}

fn explain(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        httparse::Error::Version => HeadError::Malformed("only HTTP/1.1 is spoken here"),
        httparse::Error::HeaderName => HeadError::Malformed("a header name is not a token"),
        httparse::Error::HeaderValue => HeadError::Malformed("a header value has a forbidden character"),
        httparse::Error::Token | httparse::Error::NewLine | httparse::Error::Status => {
            HeadError::Malformed("the request line is not METHOD TARGET HTTP/1.1")
        }
    }
}

/// The length of the body (RFC 9112, 6.3), of which only the unambiguous cases are taken.
fn body_length(request: &Request) -> Result<usize, HeadError> {
    if request.header("transfer-encoding").is_some() {
        return Err(HeadError::Malformed("Transfer-Encoding is not taken, send Content-Length"));
    }
    let mut lengths = request.headers.iter().filter(|(name, _)| name == "content-length").map(|(_, value)| value);
    let Some(first) = lengths.next() else { return Ok(0) };
    if lengths.any(|other| other != first) {
        return Err(HeadError::Malformed("Content-Length is given twice with different values"));
    }
    if first.is_empty() || !first.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HeadError::Malformed("Content-Length is not a number"));
    }
    // All digits, so what does not parse is too large for the type.
    match first.parse() {
        Ok(length) if length <= BODY_BYTES => Ok(length),
        _ => Err(HeadError::BodyTooLarge),
    }
}

/// Exactly one `Host` in HTTP/1.1, at most one in 1.0, of the form `name[:port]` (RFC 9112, 3.2).
fn check_hosts(request: &Request, minor: u8) -> Result<(), HeadError> {
    let mut hosts = request.headers.iter().filter(|(name, _)| name == "host").map(|(_, value)| value);
    let first = hosts.next();
    if hosts.next().is_some() {
        return Err(HeadError::Malformed("Host is given twice"));
    }
    match first {
        None if minor == 0 => Ok(()),
        None => Err(HeadError::Malformed("Host is missing")),
        Some(host) if host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_~:[]%".contains(&byte)) => Ok(()),
        Some(_) => Err(HeadError::Malformed("Host is not a name with an optional port")),
    }
}

/// Adds a header line. A value that came from a remote cannot add a second one.
fn push_header(head: &mut String, name: &str, value: &str) {
    head.push_str(name);
    head.push_str(": ");
    head.extend(value.chars().map(|char| if char == ' ' || char.is_ascii_graphic() { char } else { '?' }));
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
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn complete(bytes: &[u8]) -> (Request, usize) {
        match parse(bytes) {
            Parsed::Complete(request, taken) => (request, taken),
            other => panic!("{other:?} from {:?}", String::from_utf8_lossy(bytes)),
        }
    }

    fn refused(bytes: &[u8]) -> HeadError {
        match parse(bytes) {
            Parsed::Refused(error) => error,
            other => panic!("{other:?} from {:?}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn a_request_is_taken_apart() {
        let bytes = b"POST /a/b?c=d?e HTTP/1.1\r\nHost: h:3000\r\nX-One:  1 \t\r\nx-one: 2, 3\r\nContent-Length: 3\r\n\r\nxyzGET";
        let (request, taken) = complete(bytes);
        assert_eq!(taken, bytes.len() - 3);
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/a/b"));
        assert_eq!(request.query.as_deref(), Some("c=d?e"));
        assert_eq!(request.header("x-one"), Some("1"));
        assert_eq!(request.list("x-one").collect::<Vec<_>>(), ["1", "2", "3"]);
        assert_eq!(&request.body[..], b"xyz");
        assert!(request.keep_alive);
    }

    #[test]
    fn the_connection_stays_only_if_both_sides_can() {
        for (head, keep_alive) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nConnection: x, Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false),
        ] {
            assert_eq!(complete(head.as_bytes()).0.keep_alive, keep_alive, "{head}");
        }
        let (old, _) = complete(b"GET /ws HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
        assert_eq!(old.header("upgrade"), None);
    }

    #[test]
    fn what_two_readers_could_read_differently_is_malformed() {
        for text in [
            "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\nHost: h\n\n",
            "GET / HTTP/1.1\r\nHost: h\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\rX: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: \u{e9}\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n",
            "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /#a HTTP/1.1\r\nHost: h\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
            "GET /\r\nHost: h\r\n\r\n",
            "POST / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n00",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\n00",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n0",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n",
            "\x16\x03\x01\x02\x00\x01\x00",
        ] {
            assert!(matches!(refused(text.as_bytes()), HeadError::Malformed(_)), "{text:?}");
        }
        let twice = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab";
        assert_eq!(&complete(twice).0.body[..], b"ab");
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_whole() {
        let endless = format!("GET /{} HTTP/1.1\r\n", "a".repeat(HEAD_BYTES));
        assert_eq!(parse(&endless.as_bytes()[..HEAD_BYTES]), Parsed::Partial);
        assert_eq!(refused(&endless.as_bytes()[..HEAD_BYTES + 1]), HeadError::TooLarge);
        let with_lines =
            |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a: b\r\n".repeat(count - 1)).into_bytes();
        assert_eq!(complete(&with_lines(HEAD_LINES)).0.headers.len(), HEAD_LINES);
        assert_eq!(refused(&with_lines(HEAD_LINES + 1)), HeadError::TooLarge);
        for length in [(BODY_BYTES + 1).to_string(), "9".repeat(40)] {
            let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(refused(head.as_bytes()), HeadError::BodyTooLarge);
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

    fn a_request() -> impl Strategy<Value = Vec<u8>> {
        let header = ("[A-Za-z-]{1,8}", "[ -~]{0,12}").prop_map(|(name, value)| format!("X-{name}: {value}\r\n"));
        (
            "[A-Z]{1,7}",
            "/[a-z0-9/?%=]{0,20}",
            proptest::collection::vec(header, 0..6),
            proptest::collection::vec(any::<u8>(), 0..40),
        )
            .prop_map(|(method, target, headers, body)| {
                let head = format!(
                    "{method} {target} HTTP/1.1\r\nHost: h\r\n{}Content-Length: {}\r\n\r\n",
                    headers.concat(),
                    body.len()
                );
                [head.into_bytes(), body].concat()
            })
    }

    proptest! {
        #[test]
        fn a_request_is_the_same_however_it_was_split(request in a_request(), after in any::<[u8; 4]>()) {
            let (whole, taken) = complete(&request);
            prop_assert_eq!(taken, request.len());
            for cut in 0..request.len() {
                prop_assert_eq!(parse(&request[..cut]), Parsed::Partial);
            }
            prop_assert_eq!(complete(&[&request[..], &after].concat()), (whole, taken));
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_a_refusal_is_final(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), Just(b' '), any::<u8>()], 0..200),
            start in prop_oneof![Just(""), Just("GET / HTTP/1.1\r\n"), Just("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: ")],
        ) {
            let bytes = [start.as_bytes(), &bytes].concat();
            let mut settled = Parsed::Partial;
            for cut in 0..=bytes.len() {
                let parsed = parse(&bytes[..cut]);
                if settled != Parsed::Partial {
                    prop_assert_eq!(&parsed, &settled);
                }
                settled = parsed;
            }
        }
    }
}
