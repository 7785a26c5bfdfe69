//! Credentials for a TURN server that shares a secret with us ("TURN REST API", draft-uberti-behave-turn-rest-00).
//!
//! The user name says until when it holds, the password proves that who made it knows the secret: the TURN server
//! needs no list of users, and what leaks is worthless soon.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use serde::Serialize;
use sha1::Sha1;

/// Where a TURN server listens (RFC 8656, 17.2), without and with TLS.
const TURN_PORT: u16 = 3478;
const TURNS_PORT: u16 = 5349;

/// The longest host name (RFC 1035, 2.3.4).
const HOST_BYTES: usize = 255;

/// A secret that is shared with a TURN server. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Wraps a secret; the TURN server compares it byte for byte.
    pub fn new(secret: impl AsRef<[u8]>) -> Self {
        Secret(secret.as_ref().into())
    }

    /// What was wrapped, for a journal that holds secrets.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Credentials for `user` that hold until `expires`, in seconds of Unix time.
    pub fn mint(&self, user: &str, expires: u64) -> Credentials {
        let username = format!("{expires}:{user}");
        // HMAC takes a key of any length (RFC 2104, 2); without one there would be no password, and no access.
        let password = Hmac::<Sha1>::new_from_slice(&self.0).map(|mac| mac.chain_update(&username).finalize());
        let password = password.map(|code| BASE64.encode(code.into_bytes())).unwrap_or_default();
        Credentials { username, password }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// What a client shows to a TURN server.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `<unix expiry>:<user>` where a [`Secret`] made it; any text elsewhere.
    pub username: String,
    /// `base64(HMAC-SHA1(secret, username))` where a [`Secret`] made it; any text elsewhere.
    pub password: String,
}

impl Credentials {
    /// Until when they hold, in seconds of Unix time, if the user name says so.
    pub fn expires(&self) -> Option<u64> {
        let (expires, _) = self.username.split_once(':')?;
        expires.parse().ok()
    }

    /// The answer of the article's server (`protocols.md` 002.4): `username`, `password`, `ttl` in seconds, `uris`.
    pub fn to_rest_json(&self, ttl: u64, uris: &[String]) -> String {
        #[derive(Serialize)]
        struct Rest<'a> {
            username: &'a str,
            password: &'a str,
            ttl: u64,
            uris: &'a [String],
        }
        to_json(&Rest { username: &self.username, password: &self.password, ttl, uris })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A TURN server's URI (RFC 7065): `turn:host[:port][?transport=udp|tcp]`, or `turns:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnUri {
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// The port, 3478 if none is given, with TLS 5349.
    pub port: u16,
    /// Whether the way to the server is UDP without TLS: the only one that our own peer takes.
    pub plain_udp: bool,
}

impl FromStr for TurnUri {
    type Err = TurnUriError;

    fn from_str(text: &str) -> Result<Self, TurnUriError> {
        let (scheme, rest) = text.split_once(':').ok_or(TurnUriError::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "turn" => false,
            "turns" => true,
            _ => return Err(TurnUriError::Scheme),
        };
        let (authority, query) = rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
        let udp =
            match query.map(|query| query.strip_prefix("transport=").ok_or(TurnUriError::Transport)).transpose()? {
                None => !tls,
                Some("udp") => true,
                Some("tcp") => false,
                Some(_) => return Err(TurnUriError::Transport),
            };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or(TurnUriError::Host)?;
                let host = host.parse::<Ipv6Addr>().map_err(|_| TurnUriError::Host)?.to_string();
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(TurnUriError::Port)?) })
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (authority.to_owned(), None),
            },
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if host.is_empty() || host.len() > HOST_BYTES || !host.chars().all(is_plain) {
            return Err(TurnUriError::Host);
        }
        let port = match port {
            None if tls => TURNS_PORT,
            None => TURN_PORT,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(TurnUriError::Port)?,
        };
        Ok(TurnUri { host, port, plain_udp: udp && !tls })
    }
}

impl fmt::Display for TurnUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TurnUri { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Why a text is no TURN URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TurnUriError {
    /// Another scheme.
    #[error("a TURN server begins with turn: or turns:, such as turn:turn.example:3478?transport=udp")]
    Scheme,
    /// No host, or none that can be one.
    #[error("the host is missing or wrong; write it as in turn:turn.example:3478 or turn:[2001:db8::1]:3478")]
    Host,
    /// No port that can be one.
    #[error("the port is a number from 1 to 65535, as in turn:turn.example:3478")]
    Port,
    /// Something after the question mark.
    #[error("after the question mark is transport=udp or transport=tcp, as in turn:turn.example:3478?transport=udp")]
    Transport,
}

/// A TURN server to allocate relay addresses on, over UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// What to show to it.
    pub credentials: Credentials,
}

/// Makes credentials for the clients of a signaling server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// What the TURN server knows too.
    pub secret: Secret,
    /// Its URIs (RFC 7065), such as `turn:turn.example:3478?transport=udp`.
    pub uris: Vec<String>,
    /// How long credentials hold. Ten minutes are enough to begin a call, which outlives them.
    pub ttl: Duration,
}

impl Issuer {
    /// The TURN server as `RTCIceServer` of the W3C's WebRTC, in JSON, with credentials for `user` made at `unix`.
    pub fn ice_server(&self, unix: Duration, user: &str) -> String {
        #[derive(Serialize)]
        struct IceServer<'a> {
            urls: &'a [String],
            username: &'a str,
            credential: &'a str,
        }
        let minted = self.secret.mint(user, unix.as_secs().saturating_add(self.ttl.as_secs()));
        to_json(&IceServer { urls: &self.uris, username: &minted.username, credential: &minted.password })
    }
}

/// Texts and numbers: there is nothing here that could fail to serialise.
fn to_json<T: Serialize>(data: &T) -> String {
    serde_json::to_string(data).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of `protocols.md` 002.4.
    #[test]
    fn credentials_are_those_of_the_article() {
        for (secret, expires, user, username, password) in [
            ("s3cret", 1_700_086_400, "alice", "1700086400:alice", "HJX0XIkrCiQCuU88Z0oeXj+QW60="),
            ("north", 1_893_456_000, "webrtc", "1893456000:webrtc", "nLOyMmPrTZ5kI28Svak7KeGszTA="),
        ] {
            let minted = Secret::new(secret).mint(user, expires);
            assert_eq!((minted.username.as_str(), minted.password.as_str()), (username, password));
            assert_eq!(minted.expires(), Some(expires));
        }
    }

    #[test]
    fn the_answer_has_the_keys_of_the_article() {
        let minted = Secret::new("s3cret").mint("alice", 1_700_086_400);
        let json = minted.to_rest_json(86_400, &["turn:turn.example:3478?transport=udp".to_owned()]);
        assert_eq!(
            json,
            "{\"username\":\"1700086400:alice\",\"password\":\"HJX0XIkrCiQCuU88Z0oeXj+QW60=\",\"ttl\":86400,\
             \"uris\":[\"turn:turn.example:3478?transport=udp\"]}"
        );
    }

    #[test]
    fn a_browser_gets_an_ice_server_that_holds_for_the_time_given() {
        let issuer = Issuer {
            secret: Secret::new("s3cret"),
            uris: vec!["turn:turn.example:3478".to_owned()],
            ttl: Duration::from_secs(86_400),
        };
        assert_eq!(
            issuer.ice_server(Duration::from_millis(1_700_000_000_999), "alice"),
            "{\"urls\":[\"turn:turn.example:3478\"],\"username\":\"1700086400:alice\",\
             \"credential\":\"HJX0XIkrCiQCuU88Z0oeXj+QW60=\"}"
        );
    }

    #[test]
    fn uris_are_read_as_rfc_7065_has_them() {
        for (text, host, port, plain_udp) in [
            ("turn:turn.example", "turn.example", 3478, true),
            ("TURN:192.0.2.1:99", "192.0.2.1", 99, true),
            ("turn:[2001:DB8::1]:99?transport=udp", "2001:db8::1", 99, true),
            ("turn:[::1]", "::1", 3478, true),
            ("turn:turn.example?transport=tcp", "turn.example", 3478, false),
            ("turns:turn.example", "turn.example", 5349, false),
            ("turns:turn.example:443?transport=tcp", "turn.example", 443, false),
        ] {
            let uri = TurnUri { host: host.to_owned(), port, plain_udp };
            assert_eq!(text.parse(), Ok(uri), "{text}");
        }
        for (text, error) in [
            ("stun:turn.example", TurnUriError::Scheme),
            ("turn.example", TurnUriError::Scheme),
            ("turn:", TurnUriError::Host),
            ("turn:a b", TurnUriError::Host),
            ("turn:u@a", TurnUriError::Host),
            ("turn:[::zz]", TurnUriError::Host),
            ("turn:[::1", TurnUriError::Host),
            ("turn:[::1]3478", TurnUriError::Port),
            ("turn:a:0", TurnUriError::Port),
            ("turn:a:99999", TurnUriError::Port),
            ("turn:a:1:2", TurnUriError::Port),
            ("turn:a?transport=sctp", TurnUriError::Transport),
            ("turn:a?x=udp", TurnUriError::Transport),
        ] {
            assert_eq!(text.parse::<TurnUri>(), Err(error), "{text}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let secret = Secret::new("s3cret");
        let printed = format!("{secret:?} {:?}", secret.mint("alice", 1_700_086_400));
        assert!(!printed.contains("s3cret") && !printed.contains("HJX0"), "{printed}");
        assert!(printed.contains("1700086400:alice"), "{printed}");
    }

    #[test]
    fn a_user_may_be_any_text() {
        let minted = Secret::new("s").mint("a:b \"縁\"\n", 7);
        assert_eq!((minted.username.as_str(), minted.expires()), ("7:a:b \"縁\"\n", Some(7)));
        let json: serde_json::Value = serde_json::from_str(&minted.to_rest_json(1, &[])).unwrap();
        assert_eq!(json["username"], "7:a:b \"縁\"\n");
    }
}
