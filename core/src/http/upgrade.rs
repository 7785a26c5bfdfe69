//! The server's half of the WebSocket handshake (RFC 6455, 4.2).
//!
//! No extension is ever accepted: permessage-deflate costs some 300 KiB a connection and turns a small frame into a
//! large message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use smol_str::SmolStr;

use super::{Request, Response};

/// Appended to the client's key (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The only version of the protocol there is (RFC 6455, 4.1).
const VERSION: &str = "13";

/// A request to open a WebSocket that can be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The subprotocols that the client offers, the one it likes best first.
    pub protocols: Vec<String>,
    key: SmolStr,
}

/// Checks that a request opens a WebSocket; gives the answer that refuses it if it does not.
///
/// # Errors
///
/// 405 for another method than `GET`, 426 if no upgrade to version 13 is asked for, 400 if the rest is broken.
pub fn upgrade(request: &Request) -> Result<Upgrade, Response> {
    if request.method != "GET" {
        return Err(Response::text(405, "a WebSocket is opened with GET\n").with("Allow", "GET").to(request));
    }
    let has = |name, wanted: &str| request.list(name).any(|element| element.eq_ignore_ascii_case(wanted));
    if !has("upgrade", "websocket") || !has("connection", "upgrade") {
        return Err(required(request, "this is a WebSocket endpoint: connect with a ws:// URL\n"));
    }
    if sole(request, "sec-websocket-version") != Some(VERSION) {
        return Err(required(request, "only version 13 of the WebSocket protocol is spoken here\n"));
    }
    if !request.body.is_empty() {
        return Err(malformed("a request that opens a WebSocket has no body\n"));
    }
    let key = match sole(request, "sec-websocket-key") {
        Some(key) if STANDARD.decode_slice(key, &mut [0; 18]) == Ok(16) => key.into(),
        _ => return Err(malformed("Sec-WebSocket-Key must be the base64 of 16 bytes, once\n")),
    };
    let protocols: Vec<String> = request.list("sec-websocket-protocol").map(str::to_owned).collect();
    if !protocols.iter().all(|protocol| protocol.bytes().all(is_token)) {
        return Err(malformed("Sec-WebSocket-Protocol must be a list of tokens\n"));
    }
    Ok(Upgrade { protocols, key })
}

impl Upgrade {
    /// Whether the client offers this subprotocol. Names are compared with their case (RFC 6455, 4.2.2).
    pub fn offers(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|offered| offered == protocol)
    }

    /// The 101. A protocol that was not offered is not named, because the client would have to fail the connection.
    pub fn accept(&self, protocol: Option<&str>) -> Response {
        let answer =
            Response { status: 101, headers: Vec::new(), body: bytes::Bytes::new(), close: false, head_only: false }
                .with("Upgrade", "websocket")
                .with("Sec-WebSocket-Accept", accept_key(&self.key));
        match protocol.filter(|protocol| self.offers(protocol)) {
            Some(protocol) => answer.with("Sec-WebSocket-Protocol", protocol.to_owned()),
            None => answer,
        }
    }
}

/// What proves that the server read the key (RFC 6455, 4.2.2).
fn accept_key(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

fn required(request: &Request, text: &str) -> Response {
    Response::text(426, text).with("Upgrade", "websocket").with("Sec-WebSocket-Version", VERSION).to(request)
}

fn malformed(text: &str) -> Response {
    Response { close: true, ..Response::text(400, text) }
}

/// The value of a header that must not be repeated.
fn sole<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let mut values = request.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value.as_str());
    values.next().filter(|_| values.next().is_none())
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::super::tests::complete;
    use super::*;

    const GOOD: &str = "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    fn ask(head: &str) -> Result<Upgrade, Response> {
        upgrade(&complete(format!("{head}\r\n").as_bytes()).0)
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let answer = ask(GOOD).unwrap().accept(None).encode();
        assert_eq!(
            String::from_utf8(answer).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nConnection: Upgrade\r\n\r\n"
        );
    }

    #[test]
    fn lists_and_letter_case_do_not_matter() {
        let head = GOOD
            .replace("Upgrade: websocket", "upgrade: h2c\r\nUPGRADE: WebSocket")
            .replace("Connection: Upgrade", "Connection: keep-alive\r\nConnection: x, uPGRADE");
        ask(&head).unwrap();
    }

    #[test]
    fn only_an_offered_protocol_is_chosen() {
        let head = format!("{GOOD}Sec-WebSocket-Protocol: a, enishi.v1\r\nSec-WebSocket-Protocol: b\r\n");
        let asked = ask(&head).unwrap();
        assert_eq!(asked.protocols, ["a", "enishi.v1", "b"]);
        let named = |protocol| {
            let answer = asked.accept(Some(protocol));
            answer.headers.into_iter().find(|(name, _)| *name == "Sec-WebSocket-Protocol").map(|(_, value)| value)
        };
        assert_eq!(named("enishi.v1").as_deref(), Some("enishi.v1"));
        assert_eq!(named("ENISHI.V1"), None);
    }

    #[test]
    fn an_extension_is_never_accepted() {
        let answer = ask(&format!("{GOOD}Sec-WebSocket-Extensions: permessage-deflate\r\n")).unwrap().accept(None);
        assert!(!String::from_utf8(answer.encode()).unwrap().contains("Extensions"));
    }

    #[test]
    fn what_opens_no_websocket_is_told_what_would() {
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        let cases = [
            ("GET /ws HTTP/1.1\r\nHost: h\r\n".to_owned(), 426),
            ("GET /ws HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".to_owned(), 426),
            (GOOD.replace("Upgrade: websocket\r\n", ""), 426),
            (GOOD.replace("Connection: Upgrade\r\n", ""), 426),
            (GOOD.replace("websocket\r\n", "h2c\r\n"), 426),
            (GOOD.replace("Version: 13", "Version: 8"), 426),
            (GOOD.replace("Version: 13", "Version: 8, 13"), 426),
            (GOOD.replace("Sec-WebSocket-Version: 13\r\n", ""), 426),
            (GOOD.replace("GET", "POST"), 405),
            (GOOD.replace("GET", "HEAD"), 405),
            (GOOD.replace(key, "Sec-WebSocket-Key: short"), 400),
            (GOOD.replace(key, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"), 400),
            (GOOD.replace(key, "X: y"), 400),
            (GOOD.replace(key, &format!("{key}\r\n{key}")), 400),
            (format!("{GOOD}Sec-WebSocket-Protocol: a b\r\n"), 400),
            (format!("{GOOD}Content-Length: 1\r\n\r\nx"), 400),
        ];
        for (head, status) in cases {
            let answer = ask(&head).unwrap_err();
            assert_eq!(answer.status, status, "{head}");
            let text = String::from_utf8(answer.encode()).unwrap();
            match status {
                426 => {
                    assert!(text.contains("\r\nUpgrade: websocket\r\n"), "{text}");
                    assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{text}");
                    assert!(text.contains("\r\nConnection: Upgrade"), "{text}");
                }
                405 => assert!(text.contains("\r\nAllow: GET\r\n"), "{text}"),
                _ => assert!(text.contains("\r\nConnection: close\r\n"), "{text}"),
            }
        }
    }
}
