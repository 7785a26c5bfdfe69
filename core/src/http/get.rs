//! The client's half of one plain request: what a driver asks and reads for `Output::Get`.
//!
//! HTTP/1.0, so that the answer ends with the connection and is never in chunks.

use crate::limits::{HEAD_BYTES, HEAD_LINES, SIGNALING_ANSWER_BYTES};

/// The bytes of a request. `host` is what the URL names, with its port.
pub fn request(host: &str, path_and_query: &str) -> Vec<u8> {
    format!("GET {path_and_query} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// The most bytes that an answer may have, head and body; a driver reads no more.
pub const ANSWER_BYTES: usize = HEAD_BYTES + SIGNALING_ANSWER_BYTES;

/// Reads a whole answer: all that came until the server closed the connection.
///
/// # Errors
/// A clause for a person: not HTTP, not 200, cut short, too long or not text.
pub fn answer(bytes: &[u8]) -> Result<String, String> {
    if bytes.is_empty() {
        return Err("the server closed the connection without an answer".into());
    }
    if bytes.len() > ANSWER_BYTES {
        return Err("the server's answer is too long".into());
    }
    let mut lines = [httparse::EMPTY_HEADER; HEAD_LINES];
    let mut head = httparse::Response::new(&mut lines);
    let Ok(httparse::Status::Complete(end)) = head.parse(bytes) else {
        return Err("the server does not speak HTTP/1.1".into());
    };
    let (status, reason) = (head.code.unwrap_or_default(), head.reason.unwrap_or_default());
    if status != 200 {
        return Err(format!("the server answered {status} {}", printable(reason)).trim_end().to_owned());
    }
    let mut body = bytes.get(end..).unwrap_or_default();
    let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    if let Some(length) = length {
        let length = std::str::from_utf8(length.value).ok().and_then(|length| length.trim().parse::<usize>().ok());
        body = length.and_then(|length| body.get(..length)).ok_or("the server's answer was cut short")?;
    }
    String::from_utf8(body.to_vec()).map_err(|_| "the server's answer is not text".into())
}

/// What can be shown of a reason phrase.
pub(super) fn printable(reason: &str) -> String {
    reason.chars().filter(|c| *c == ' ' || c.is_ascii_graphic()).take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_what_came_until_the_end() {
        assert_eq!(answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\na:60:60:b").unwrap(), "a:60:60:b");
        assert_eq!(answer(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nokay").unwrap(), "ok");
    }

    #[test]
    fn everything_else_is_an_error_that_says_why() {
        for (bytes, expected) in [
            (&b""[..], "the server closed the connection without an answer"),
            (b"SSH-2.0-x\r\n\r\n", "the server does not speak HTTP/1.1"),
            (b"HTTP/1.1 200 OK\r\n", "the server does not speak HTTP/1.1"),
            (b"HTTP/1.1 403 Forbidden\r\n\r\n", "the server answered 403 Forbidden"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", "the server's answer was cut short"),
            (b"HTTP/1.1 200 OK\r\n\r\n\xff", "the server's answer is not text"),
        ] {
            assert_eq!(answer(bytes).unwrap_err(), expected);
        }
        assert_eq!(answer(&vec![b'x'; ANSWER_BYTES + 1]).unwrap_err(), "the server's answer is too long");
    }
}
