//! Journals that can be handed on: the run of a double.
//!
//! While a server is recorded without secrets, a second server, the double, is told the same things in pseudonyms, and
//! the journal is the double's. So a redacted journal replays as exactly as any other. The double has a seed of its own,
//! which is in the journal; the server's is not, so nothing that it invented can be computed from there. What it
//! invented (resume tokens, session ids, ids) is learnt by laying its outputs beside the double's: where a client comes
//! back with a token, the journal has the double's token. If the double should ever do something else than the server,
//! the replay says where ([`super::Verdict::Different`]).
//!
//! Every pseudonym is as long as what it stands for, because lengths decide what a server does, and equal things have
//! equal pseudonyms, which depend on a key that nobody keeps. What is kept as it is:
//!
//! - times, connections, lengths, the order of everything; ports; faults, close codes and the system's error texts
//! - the punctuation and the line ends of all texts, and the words of the protocols ([`KEPT`])
//! - numbers of up to six digits, times of day in RFC 3339
//! - methods, names of headers, and the headers of HTTP and WebSocket themselves ([`KEPT_HEADERS`])
//! - loopback and unspecified addresses; the bounds in the configuration
//! - percent escapes in paths and queries
//!
//! What is replaced: all other words letter by letter, digit by digit (names, rooms, SDP, tokens, credentials, also in
//! base64); addresses in text by addresses with as many digits, those of connections by ones in 240.0.0.0/4 and
//! fd00::/8; letters beyond ASCII by others; binary messages that are no text by zeros; the TURN secret by a constant.
//! This hides what was said. It does not hide who spoke with whom, when, and how much.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use smol_str::SmolStr;

use crate::http::Request;
use crate::machine::{Frame, Input, Output};
use crate::server::{Listener, ServerCommand, ServerConfig, ServerNotice};
use crate::turn::{Issuer, Secret};

mod text;

pub use text::KEPT;

/// Values of these headers say how to talk, not who talks.
pub const KEPT_HEADERS: [&str; 12] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "pragma",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-version",
    "upgrade",
];

/// What a server invented and a client may come back with. The oldest are forgotten: their sessions are long over.
const LEARNT: usize = 1 << 16;

/// The shortest thing that a server invents: 20 characters of an id, 32 of a token.
const INVENTED_BYTES: usize = 16;

/// SipHash-2-4, a keyed function that cannot be turned round by who has not the key. The standard library keeps it
/// under this name and would rather have maps use another.
#[allow(deprecated)]
type Sip = std::hash::SipHasher;

/// Gives everything its pseudonym.
pub struct Pseudonyms {
    key: [u64; 2],
    learnt: BTreeMap<Box<str>, Box<str>>,
    order: VecDeque<Box<str>>,
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pseudonyms").field("learnt", &self.learnt.len()).finish_non_exhaustive()
    }
}

impl Pseudonyms {
    /// With a key that must not be known to who gets the journal.
    pub fn new(key: [u64; 2]) -> Self {
        Pseudonyms { key, learnt: BTreeMap::new(), order: VecDeque::new() }
    }

    /// The configuration of the double.
    pub fn config(&self, config: &ServerConfig) -> ServerConfig {
        let texts = |texts: &[String]| texts.iter().map(|text| self.value(text)).collect();
        let listeners =
            config.listeners.iter().map(|listener| Listener { address: self.address(listener.address), ..*listener });
        ServerConfig {
            limits: config.limits.clone(),
            allow_origins: texts(&config.allow_origins),
            ice_servers: texts(&config.ice_servers),
            turn: config.turn.as_ref().map(|turn| Issuer {
                secret: Secret::new("redacted"),
                uris: texts(&turn.uris),
                ttl: turn.ttl,
            }),
            listeners: listeners.collect(),
            token: config.token.as_deref().map(|token| self.value(token)),
            // What everybody can fetch is no secret.
            assets: config.assets.clone(),
            test_echo: config.test_echo,
        }
    }

    /// What the double is told. `None`: nothing, because no server has a use for it.
    pub fn input(&self, input: &Input<'_, ServerCommand>) -> Option<Input<'static, ServerCommand>> {
        Some(match input {
            Input::Timeout => Input::Timeout,
            Input::Accepted { conn, listener, remote } => {
                Input::Accepted { conn: *conn, listener: *listener, remote: self.address(*remote) }
            }
            Input::Request { conn, request } => Input::Request { conn: *conn, request: self.request(request) },
            Input::BadRequest { conn, error } => Input::BadRequest { conn: *conn, error: error.clone() },
            Input::Frame { conn, frame } => Input::Frame { conn: *conn, frame: self.frame(frame) },
            Input::Heard { conn } => Input::Heard { conn: *conn },
            Input::Fault { conn, fault } => Input::Fault { conn: *conn, fault: *fault },
            Input::Sent { conn, messages, len } => Input::Sent { conn: *conn, messages: *messages, len: *len },
            Input::Closed { conn, reason } => Input::Closed { conn: *conn, reason: reason.clone() },
            Input::Command(command) => Input::Command(command.clone()),
            Input::Dialed { .. }
            | Input::DialFailed { .. }
            | Input::Got { .. }
            | Input::Datagram { .. }
            | Input::FileRead { .. }
            | Input::FileWritten { .. } => return None,
        })
    }

    /// Notes what the double invented where the server invented something.
    pub fn learn(&mut self, real: &Output<ServerNotice>, played: &Output<ServerNotice>) {
        match (real, played) {
            (Output::Send { frame: Frame::Text(real), .. }, Output::Send { frame: Frame::Text(played), .. }) => {
                self.learn_text(real, played)
            }
            (Output::Respond { response: real, .. }, Output::Respond { response: played, .. }) => {
                if let (Ok(real), Ok(played)) = (std::str::from_utf8(&real.body), std::str::from_utf8(&played.body)) {
                    self.learn_text(real, played);
                }
            }
            _ => {}
        }
    }

    fn learn_text(&mut self, real: &str, played: &str) {
        if real.len() != played.len() {
            return;
        }
        for (at, word) in text::words(real).filter(|(_, word)| word.len() >= INVENTED_BYTES) {
            let Some(other) = played.get(at..at + word.len()) else { continue };
            let is_word = other.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if is_word && self.word(word) != other && !self.learnt.contains_key(word) {
                self.learnt.insert(word.into(), other.into());
                self.order.push_back(word.into());
            }
        }
        while self.order.len() > LEARNT {
            let oldest = self.order.pop_front();
            oldest.map(|oldest| self.learnt.remove(&oldest));
        }
    }

    fn address(&self, address: SocketAddr) -> SocketAddr {
        let ip = match address.ip().to_canonical() {
            ip if ip.is_loopback() || ip.is_unspecified() => address.ip(),
            IpAddr::V4(ip) => {
                let alias = Ipv4Addr::from((self.hash(4, &ip.octets()) as u32 & 0x0fff_ffff) | 0xf000_0000);
                if address.is_ipv4() { alias.into() } else { alias.to_ipv6_mapped().into() }
            }
            IpAddr::V6(ip) => {
                // The half that stands for one user stays one.
                let [first, last @ ..] = ip.octets();
                let network: Vec<u8> = std::iter::once(first).chain(last.into_iter().take(7)).collect();
                let high = (self.hash(6, &network) >> 8) | 0xfd00_0000_0000_0000;
                let low = self.hash(7, &ip.octets());
                IpAddr::V6(Ipv6Addr::from((u128::from(high) << 64) | u128::from(low)))
            }
        };
        SocketAddr::new(ip, address.port())
    }

    fn request(&self, request: &Request) -> Request {
        let header = |(name, value): &(SmolStr, SmolStr)| {
            let is_kept = KEPT_HEADERS.contains(&name.as_str());
            (name.clone(), if is_kept { value.clone() } else { self.value(value).into() })
        };
        Request {
            method: request.method.clone(),
            path: self.value(&request.path),
            query: request.query.as_deref().map(|query| self.value(query)),
            headers: request.headers.iter().map(header).collect(),
            body: self.bytes(&request.body),
            keep_alive: request.keep_alive,
        }
    }

    fn frame(&self, frame: &Frame) -> Frame {
        match frame {
            Frame::Text(text) => Frame::text(self.message(text)),
            Frame::Binary(bytes) => Frame::Binary(self.bytes(bytes)),
            Frame::Ping => Frame::Ping,
            Frame::Pong => Frame::Pong,
        }
    }

    fn bytes(&self, bytes: &[u8]) -> Bytes {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.message(text).into(),
            Err(_) => vec![0; bytes.len()].into(),
        }
    }

    /// A keyed sum; `use_of` tells apart what it is for.
    fn hash(&self, use_of: u8, bytes: &[u8]) -> u64 {
        let mut sip = self.sip(use_of);
        sip.write(bytes);
        sip.finish()
    }

    #[allow(deprecated)]
    fn sip(&self, use_of: u8) -> Sip {
        let [a, b] = self.key;
        let mut sip = Sip::new_with_keys(a, b);
        sip.write(&[use_of]);
        sip
    }
}
