//! The client's half of a WebSocket handshake (RFC 6455, 4.1): where a URL leads, what a driver sends there, and what it
//! makes of the answer, for [`crate::machine::Output::Dial`] and [`crate::machine::Output::Get`].
//!
//! tungstenite's own client handshake refuses a server that chooses none of the subprotocols offered, and conic's
//! servers choose none.

use tungstenite::handshake::derive_accept_key;
use tungstenite::http::Uri;

use super::get;
use crate::limits::{HEAD_BYTES, HEAD_LINES};

/// Where a URL leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A name or an address; IPv6 without its brackets.
    pub host: String,
    /// 80 if the URL names none.
    pub port: u16,
    authority: String,
    path: String,
}

/// One handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The bytes to send.
    pub request: Vec<u8>,
    accept: String,
    protocol: Option<&'static str>,
}

/// What the bytes of an answer come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// More bytes are needed.
    Partial,
    /// The WebSocket is open.
    Open {
        /// The subprotocol that the server chose.
        protocol: Option<String>,
        /// How many bytes the answer took; what follows are frames.
        taken: usize,
    },
    /// No WebSocket will come of it; a clause for a person.
    Refused(String),
}

impl Place {
    /// Reads a `ws://` URL.
    ///
    /// # Errors
    /// A clause for a person.
    pub fn parse(url: &str) -> Result<Place, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url:?} is not a URL ({error}); try ws://host:port/"))?;
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss") => {
                return Err("wss:// is not supported yet; put a TLS proxy on this machine and use ws:// to it".into());
            }
            _ => return Err(format!("{url:?} does not begin with ws://; try ws://host:port/")),
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(format!("{url:?} names no host; try ws://host:port/"));
        }
        // What stands before an @ is for nobody to see.
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let authority = authority.rsplit('@').next().unwrap_or_default().to_owned();
        let port = match authority.strip_prefix(uri.host().unwrap_or_default()).and_then(|rest| rest.strip_prefix(':'))
        {
            None => 80,
            Some(port) => port.parse().map_err(|_| format!("{url:?}: {port:?} is no port; they go up to 65535"))?,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Place { host, port, authority, path })
    }

    /// The bytes of a plain request.
    pub fn get(&self) -> Vec<u8> {
        get::request(&self.authority, &self.path)
    }

    /// A handshake. `key` is the base64 of 16 random bytes.
    pub fn handshake(&self, key: &str, protocol: Option<&'static str>) -> Handshake {
        let Place { authority, path, .. } = self;
        let protocol_line = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{protocol_line}\r\n"
        );
        Handshake { request: request.into_bytes(), accept: derive_accept_key(key.as_bytes()), protocol }
    }
}

impl Handshake {
    /// Checks what the server has answered so far. Total.
    pub fn check(&self, bytes: &[u8]) -> Answer {
        let mut lines = [httparse::EMPTY_HEADER; HEAD_LINES];
        let mut head = httparse::Response::new(&mut lines);
        match head.parse(bytes) {
            Ok(httparse::Status::Complete(taken)) => match self.verify(&head) {
                Ok(protocol) => Answer::Open { protocol, taken },
                Err(why) => Answer::Refused(why),
            },
            Ok(httparse::Status::Partial) if bytes.len() > HEAD_BYTES => {
                Answer::Refused("the server's answer is too long".into())
            }
            Ok(httparse::Status::Partial) => Answer::Partial,
            Err(_) => Answer::Refused("the server does not speak HTTP/1.1".into()),
        }
    }

    /// The subprotocol that the server chose, if the answer is one that opens a WebSocket.
    fn verify(&self, head: &httparse::Response<'_, '_>) -> Result<Option<String>, String> {
        let status = head.code.unwrap_or_default();
        if status != 101 {
            let reason = get::printable(head.reason.unwrap_or_default());
            return Err(format!("the server answered {status} {reason}").trim_end().to_owned());
        }
        let header = |name: &str| {
            let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(found.value).ok().map(str::trim)
        };
        let has = |name: &str, token: &str| {
            header(name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
        };
        if !has("upgrade", "websocket") || !has("connection", "upgrade") {
            return Err("the server did not switch to WebSocket".into());
        }
        if header("sec-websocket-accept") != Some(self.accept.as_str()) {
            return Err("the server's Sec-WebSocket-Accept does not fit; is there a cache in between?".into());
        }
        if header("sec-websocket-extensions").is_some() {
            return Err("the server chose a WebSocket extension that was not offered".into());
        }
        match header("sec-websocket-protocol") {
            None => Ok(None),
            Some(chosen) if self.protocol == Some(chosen) => Ok(Some(chosen.to_owned())),
            Some(chosen) => Err(format!("the server chose the subprotocol {chosen:?}, which was not offered")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455, 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn shake(protocol: Option<&'static str>) -> Handshake {
        Place::parse("ws://user:secret@host:81/p?q").unwrap().handshake(KEY, protocol)
    }

    fn opening(more: &str) -> String {
        format!(
            "HTTP/1.1 101 X\r\nupgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n{more}\r\n"
        )
    }

    #[test]
    fn a_url_says_where_to_go() {
        for (url, host, port, authority, path) in [
            ("ws://localhost:3000/ws", "localhost", 3000, "localhost:3000", "/ws"),
            ("ws://[::1]:9", "::1", 9, "[::1]:9", "/"),
            ("ws://example.org/a?b=c", "example.org", 80, "example.org", "/a?b=c"),
        ] {
            let (host, authority, path) = (host.to_owned(), authority.to_owned(), path.to_owned());
            assert_eq!(Place::parse(url), Ok(Place { host, port, authority, path }));
        }
        for url in ["", "localhost", "http://x/", "wss://x/", "ws://", "ws:///x", "ws://x:99999/"] {
            assert!(Place::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_request_is_whole_and_without_the_password() {
        let request = String::from_utf8(shake(Some("enishi.v1")).request).unwrap();
        assert!(request.starts_with("GET /p?q HTTP/1.1\r\nHost: host:81\r\n"), "{request}");
        assert!(request.contains("Sec-WebSocket-Protocol: enishi.v1\r\n") && !request.contains("secret"), "{request}");
    }

    #[test]
    fn an_answer_opens_with_or_without_the_subprotocol() {
        let whole = opening("");
        for cut in 0..whole.len() {
            assert_eq!(shake(None).check(&whole.as_bytes()[..cut]), Answer::Partial);
        }
        let open = |protocol: Option<&str>, taken| Answer::Open { protocol: protocol.map(str::to_owned), taken };
        assert_eq!(shake(Some("a")).check(format!("{whole}\u{1}").as_bytes()), open(None, whole.len()));
        let chosen = opening("Sec-WebSocket-Protocol: a\r\n");
        assert_eq!(shake(Some("a")).check(chosen.as_bytes()), open(Some("a"), chosen.len()));
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        for (answer, why) in [
            ("HTTP/1.1 404 Not Found\r\n\r\n".to_owned(), "404 Not Found"),
            ("HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n".to_owned(), "did not switch"),
            (opening("").replace(ACCEPT, "x"), "does not fit"),
            (opening("Sec-WebSocket-Extensions: permessage-deflate\r\n"), "extension"),
            (opening("Sec-WebSocket-Protocol: b\r\n"), "\"b\""),
            ("SSH-2.0-OpenSSH\r\n".to_owned(), "does not speak HTTP"),
            (format!("HTTP/1.1 200 {}", "x".repeat(HEAD_BYTES)), "too long"),
        ] {
            let refused = shake(Some("a")).check(answer.as_bytes());
            assert!(matches!(&refused, Answer::Refused(text) if text.contains(why)), "{answer}: {refused:?}");
        }
    }
}
