//! Opening a WebSocket as a client: the URL, the addresses, the handshake's two heads.
//!
//! The heads are checked here and not by tungstenite's own client handshake, because that one refuses a server which
//! chooses none of the offered subprotocols; RFC 6455, 4.1 allows it.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::thread;

use enishi_core::http::get;
use enishi_core::limits::HEAD_BYTES;
use enishi_core::machine::{ConnId, DialId};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::{Response, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::{HeaderValue, StatusCode, Uri};

use crate::inbox::Resolver;

/// What became of a name: its addresses, or a clause that says why there are none.
pub(crate) type Resolved = Result<Vec<SocketAddr>, String>;

/// An attempt under way.
pub(crate) struct Dial {
    /// Addresses not tried yet.
    pub(crate) addresses: VecDeque<SocketAddr>,
    /// The connection that is trying one.
    pub(crate) conn: Option<ConnId>,
    pub(crate) shake: Shake,
}

/// What a client's handshake says and expects.
#[derive(Clone)]
pub(crate) struct Shake {
    /// The request's bytes.
    pub(crate) request: Vec<u8>,
    wants: Wants,
}

/// What a client's request is for.
#[derive(Clone)]
enum Wants {
    /// A WebSocket.
    Socket { accept: String, protocol: Option<&'static str>, max_message_bytes: usize },
    /// A plain answer, which ends with the connection.
    Answer,
}

/// Where a URL points to.
pub(crate) enum Host {
    Address(SocketAddr),
    Name(String, u16),
}

/// What the bytes of an answer come to.
pub(crate) enum Answer {
    Partial,
    /// Accepted, with the chosen subprotocol; the answer took so many bytes. Then the most that a message may have.
    Open(Option<String>, usize, usize),
    Refused(String),
}

/// Reads a URL.
///
/// # Errors
/// A clause for a person.
pub(crate) fn plan(
    url: &str,
    protocol: Option<&'static str>,
    max_message_bytes: usize,
) -> Result<(Host, Shake), String> {
    let (uri, host) = place(url)?;
    let mut request = uri.into_client_request().map_err(|error| format!("{url:?} cannot be asked for: {error}"))?;
    if let Some(protocol) = protocol {
        let value = HeaderValue::from_str(protocol).map_err(|_| format!("{protocol:?} is no subprotocol"))?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", value);
    }
    let (request, key) = generate_request(request).map_err(|error| format!("{url:?} cannot be asked for: {error}"))?;
    let accept = derive_accept_key(key.as_bytes());
    Ok((host, Shake { request, wants: Wants::Socket { accept, protocol, max_message_bytes } }))
}

/// Reads a URL that is to be asked with a plain GET.
///
/// # Errors
/// A clause for a person.
pub(crate) fn plan_get(url: &str) -> Result<(Host, Shake), String> {
    let (uri, host) = place(url)?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = get::request(authority, uri.path_and_query().map_or("/", |path| path.as_str()));
    Ok((host, Shake { request, wants: Wants::Answer }))
}

fn place(url: &str) -> Result<(Uri, Host), String> {
    let uri: Uri = url.parse().map_err(|error| format!("{url:?} is not a URL ({error}); try ws://host:port/"))?;
    let port = match uri.scheme_str() {
        Some("ws") => uri.port_u16().unwrap_or(80),
        Some("wss") => {
            return Err("wss:// is not supported yet; put a TLS proxy on this machine and use ws:// to it".into());
        }
        _ => return Err(format!("{url:?} does not begin with ws://; try ws://host:port/")),
    };
    let name = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if name.is_empty() {
        return Err(format!("{url:?} names no host; try ws://host:port/"));
    }
    let host = match name.parse::<IpAddr>() {
        Ok(address) => Host::Address(SocketAddr::new(address, port)),
        Err(_) => Host::Name(name.to_owned(), port),
    };
    Ok((uri, host))
}

/// Resolves on a thread of its own, since the system's resolver blocks.
///
/// # Errors
/// No thread can be had.
pub(crate) fn resolve(dial: DialId, name: String, port: u16, resolver: Resolver) -> io::Result<()> {
    let look_up = move || {
        let resolved = match (name.as_str(), port).to_socket_addrs() {
            Ok(addresses) => Ok(addresses.collect()),
            Err(_) => Err(format!("no such host: {name:?}")),
        };
        resolver.answer(dial, resolved);
    };
    thread::Builder::new().name("resolver".into()).spawn(look_up).map(drop)
}

impl Shake {
    /// Checks what the server has answered so far (RFC 6455, 4.1).
    pub(crate) fn check(&self, bytes: &[u8]) -> Answer {
        let Wants::Socket { accept, protocol, max_message_bytes } = &self.wants else {
            return match get::answer(bytes) {
                Err(error) if bytes.len() > get::ANSWER_BYTES => Answer::Refused(error),
                _ => Answer::Partial,
            };
        };
        match Response::try_parse(bytes) {
            Ok(None) if bytes.len() > HEAD_BYTES => Answer::Refused("the server's answer is too long".into()),
            Ok(None) => Answer::Partial,
            Ok(Some((len, response))) => match verify(&response, accept, *protocol) {
                Ok(protocol) => Answer::Open(protocol, len, *max_message_bytes),
                Err(error) => Answer::Refused(error),
            },
            Err(_) => Answer::Refused("the server does not speak HTTP/1.1".into()),
        }
    }

    /// What all that the server said comes to, once it has closed the connection.
    pub(crate) fn end(&self, bytes: &[u8]) -> Result<String, String> {
        match self.wants {
            Wants::Answer => get::answer(bytes),
            Wants::Socket { .. } => Err("the server closed the connection without an answer".into()),
        }
    }
}

/// Checks an answer (RFC 6455, 4.1) and returns the subprotocol that it chose.
fn verify(response: &Response, accept: &str, offered: Option<&str>) -> Result<Option<String>, String> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(format!("the server answered {}", response.status()));
    }
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let has = |name: &str, token: &str| {
        header(name).is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    if !has("upgrade", "websocket") || !has("connection", "upgrade") {
        return Err("the server did not switch to WebSocket".into());
    }
    if header("sec-websocket-accept") != Some(accept) {
        return Err("the server's Sec-WebSocket-Accept does not fit; is there a cache in between?".into());
    }
    if response.headers().contains_key("sec-websocket-extensions") {
        return Err("the server chose a WebSocket extension that was not offered".into());
    }
    match header("sec-websocket-protocol") {
        None => Ok(None),
        Some(chosen) if offered == Some(chosen) => Ok(Some(chosen.to_owned())),
        Some(chosen) => Err(format!("the server chose the subprotocol {chosen:?}, which was not offered")),
    }
}

/// A clause for a person.
pub(crate) fn clause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset by the remote".into(),
        io::ErrorKind::ConnectionAborted => "connection aborted".into(),
        io::ErrorKind::BrokenPipe => "the remote reads no more".into(),
        io::ErrorKind::TimedOut => "the remote did not answer in time".into(),
        io::ErrorKind::HostUnreachable => "host unreachable".into(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".into(),
        _ => error.to_string(),
    }
}
