//! From bytes to a request.
//!
//! This is stricter than the standard demands, so that no two readers of the same bytes can disagree about where a
//! request ends (RFC 9112, 11.2): lines end in CRLF and are never folded, header values are visible ASCII, a body has
//! a `Content-Length` and nothing else. HTTP/1.0 is taken for `GET` and `HEAD` without a body, because simple health
//! probes speak it; such a connection closes after the answer and never becomes a WebSocket. `Expect: 100-continue` is
//! not answered: clients then send the body after a moment, and no endpoint wants one.

use bytes::Bytes;
use smol_str::StrExt;

use super::{HeadError, Parsed, Request};
use crate::limits::{BODY_BYTES, HEAD_BYTES, HEAD_LINES};

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

fn parse_request(bytes: &[u8]) -> Result<Option<(Request, usize)>, HeadError> {
    let Some(end) = head_end(bytes)? else { return Ok(None) };
    let head = bytes.get(..end).unwrap_or_default();
    let (mut request, minor) = parse_head(head)?;
    let length = body_length(&request)?;
    check_hosts(&request, minor)?;
    if minor == 0 {
        if !matches!(request.method.as_str(), "GET" | "HEAD") || length > 0 {
            return Err(HeadError::Malformed("only GET and HEAD without a body are taken in HTTP/1.0".into()));
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

/// Where the head ends: behind the first empty line. Faults are found in the order of the bytes, so that the same one is
/// found however they were split.
fn head_end(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    let head = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
    let mut rest = head;
    // The request line is none of the header lines.
    for number in 0..=HEAD_LINES.saturating_add(1) {
        let length = rest.iter().position(|byte| !matches!(byte, b'\t' | b' '..=b'~')).unwrap_or(rest.len());
        let (line, after) = rest.split_at_checked(length).unwrap_or_default();
        match line.first() {
            Some(b' ' | b'\t') => return Err(HeadError::Malformed("a line must not begin with a space".into())),
            Some(_) if number > HEAD_LINES => return Err(HeadError::TooLarge),
            _ => {}
        }
        rest = match after {
            [b'\r', b'\n', rest @ ..] => rest,
            [] | [b'\r'] if bytes.len() > HEAD_BYTES => return Err(HeadError::TooLarge),
            [] | [b'\r'] => return Ok(None),
            [b'\r' | b'\n', ..] => return Err(HeadError::Malformed("a line must end in CR LF".into())),
            _ => return Err(HeadError::Malformed("only visible ASCII is allowed in a request head".into())),
        };
        match (length, number) {
            (0, 0) => return Err(HeadError::Malformed("an empty line where a request was expected".into())),
            (0, _) => return Ok(Some(head.len().saturating_sub(rest.len()))),
            _ => {}
        }
    }
    Err(HeadError::TooLarge)
}

/// Parses a whole head; the request has no body yet. Also gives the minor version.
fn parse_head(head: &[u8]) -> Result<(Request, u8), HeadError> {
    let mut lines = [httparse::EMPTY_HEADER; HEAD_LINES];
    let mut parsed = httparse::Request::new(&mut lines);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(HeadError::Malformed("the request head ends too early".into())),
        Err(error) => return Err(explain(error)),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(HeadError::Malformed("the request line is not complete".into()));
    };
    // Neither a proxy's absolute URL nor `*` nor a fragment (RFC 9112, 3.2.1).
    if !target.starts_with('/') || target.contains('#') {
        return Err(HeadError::Malformed("the target must be a path that begins with /".into()));
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut headers = Vec::with_capacity(parsed.headers.len());
    for line in parsed.headers.iter() {
        let value =
            std::str::from_utf8(line.value).map_err(|_| HeadError::Malformed("a header value is not ASCII".into()))?;
        headers.push((line.name.to_ascii_lowercase_smolstr(), value.trim_matches([' ', '\t']).into()));
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
        httparse::Error::Version => HeadError::Malformed("only HTTP/1.1 is spoken here".into()),
        httparse::Error::HeaderName => HeadError::Malformed("a header name is not a token".into()),
        httparse::Error::HeaderValue => HeadError::Malformed("a header value has a forbidden character".into()),
        httparse::Error::Token | httparse::Error::NewLine | httparse::Error::Status => {
            HeadError::Malformed("the request line is not METHOD TARGET HTTP/1.1".into())
        }
    }
}

/// The length of the body (RFC 9112, 6.3), of which only the unambiguous cases are taken.
fn body_length(request: &Request) -> Result<usize, HeadError> {
    if request.header("transfer-encoding").is_some() {
        return Err(HeadError::Malformed("Transfer-Encoding is not taken, send Content-Length".into()));
    }
    let mut lengths = request.headers.iter().filter(|(name, _)| name == "content-length").map(|(_, value)| value);
    let Some(first) = lengths.next() else { return Ok(0) };
    if lengths.any(|other| other != first) {
        return Err(HeadError::Malformed("Content-Length is given twice with different values".into()));
    }
    if first.is_empty() || !first.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HeadError::Malformed("Content-Length is not a number".into()));
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
        return Err(HeadError::Malformed("Host is given twice".into()));
    }
    match first {
        None if minor == 0 => Ok(()),
        None => Err(HeadError::Malformed("Host is missing".into())),
        Some(host) if host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_~:[]%".contains(&byte)) => Ok(()),
        Some(_) => Err(HeadError::Malformed("Host is not a name with an optional port".into())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::complete;
    use super::*;

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
