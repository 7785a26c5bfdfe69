//! What a request below `/socket.io/` asks for.

use super::super::{Request, Response};
use crate::dialect::socketio::Version;
use crate::limits::FOREIGN_NAME_BYTES;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// `GET /socket.io/`: is this Socket.IO?
    Welcome,
    /// `/socket.io/socket.io.js`: a client.
    Script,
    /// A page of another origin asks whether it may ask.
    Preflight,
    /// 0.9: a session, the answer wrapped for JSONP if a number is given.
    Handshake {
        /// The number of the callback.
        jsonp: Option<u32>,
        /// The room that it names.
        room: Option<Box<str>>,
    },
    /// A new session, whose first packets are the answer, and the room that it names.
    Open(Version, Option<Box<str>>),
    /// What is there for this session?
    Poll(Version, Box<str>),
    /// Packets from this session.
    Post(Version, Box<str>),
    /// 0.9: this session ends.
    Leave(Box<str>),
    /// A WebSocket, of a session that there is.
    Upgrade(Version, Box<str>),
    /// A WebSocket of a new session, and the room that it names.
    Socket(Version, Option<Box<str>>),
}

/// Errors as Engine.IO writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineError {
    /// No such transport.
    Transport,
    /// No such session.
    Session,
    /// A session is opened with GET.
    Method,
    /// Not now, or not like this.
    BadRequest,
    /// This server does not serve everybody.
    Forbidden,
    /// Neither 3 nor 4.
    Protocol,
}

impl EngineError {
    /// The answer.
    pub fn response(self) -> Response {
        let (status, code, message) = match self {
            EngineError::Transport => (400, 0, "Transport unknown"),
            EngineError::Session => (400, 1, "Session ID unknown"),
            EngineError::Method => (400, 2, "Bad handshake method"),
            EngineError::BadRequest => (400, 3, "Bad request"),
            EngineError::Forbidden => (403, 4, "Forbidden"),
            EngineError::Protocol => (400, 5, "Unsupported protocol version"),
        };
        Response::json(status, format!(r#"{{"code":{code},"message":"{message}"}}"#))
    }
}

/// Reads a request whose path begins with `/socket.io/`.
///
/// # Errors
/// The answer to what asks for nothing that there is.
pub fn ask(request: &Request) -> Result<Ask, Response> {
    if request.method == "OPTIONS" {
        return Ok(Ask::Preflight);
    }
    let below = request.path.strip_prefix("/socket.io/").unwrap_or_default();
    match below {
        "" if parameter(request, "EIO").is_some() || parameter(request, "transport").is_some() => modern(request),
        "" => Ok(Ask::Welcome),
        "socket.io.js" => Ok(Ask::Script),
        _ => match below.strip_prefix("1/").or_else(|| (below == "1").then_some("")) {
            Some(rest) => legacy(request, rest),
            None => Err(Response::text(404, "not found; Socket.IO 0.9 is below /socket.io/1/, newer at /socket.io/\n")),
        },
    }
}

fn modern(request: &Request) -> Result<Ask, Response> {
    let (transport, sid) = (parameter(request, "transport"), parameter(request, "sid"));
    let is_socket = match transport {
        Some("websocket") => true,
        Some("polling") => false,
        _ => return Err(EngineError::Transport.response()),
    };
    let version = match parameter(request, "EIO") {
        Some("4") => Version::Four,
        Some("3") => Version::Three,
        _ => return Err(EngineError::Protocol.response()),
    };
    let sid = sid.map(Into::into);
    match (is_socket, request.method.as_str(), sid) {
        (true, "GET", Some(sid)) => Ok(Ask::Upgrade(version, sid)),
        (true, "GET", None) => Ok(Ask::Socket(version, room(request)?)),
        (false, "GET", None) => Ok(Ask::Open(version, room(request)?)),
        (false, "GET", Some(sid)) => Ok(Ask::Poll(version, sid)),
        (false, "POST", Some(sid)) => Ok(Ask::Post(version, sid)),
        (_, _, None) => Err(EngineError::Method.response()),
        (_, _, Some(_)) => Err(EngineError::BadRequest.response()),
    }
}

/// `1/`, then nothing for a handshake, or a transport and a session.
fn legacy(request: &Request, rest: &str) -> Result<Ask, Response> {
    let mut parts = rest.trim_end_matches('/').split('/');
    let (transport, sid) = (parts.next().unwrap_or_default(), parts.next().map(Box::from));
    match (transport, sid, request.method.as_str()) {
        ("", None, _) => {
            let jsonp = parameter(request, "jsonp").and_then(|number| number.parse().ok());
            Ok(Ask::Handshake { jsonp, room: room(request)? })
        }
        (_, Some(sid), _) if has(request, "disconnect") => Ok(Ask::Leave(sid)),
        ("websocket", Some(sid), "GET") => Ok(Ask::Upgrade(Version::Legacy, sid)),
        ("xhr-polling", Some(sid), "GET") => Ok(Ask::Poll(Version::Legacy, sid)),
        ("xhr-polling", Some(sid), "POST") => Ok(Ask::Post(Version::Legacy, sid)),
        _ => Err(EngineError::Transport.response()),
    }
}

/// The room that a new session names. Compared as it is written, so nothing is decoded.
fn room(request: &Request) -> Result<Option<Box<str>>, Response> {
    match parameter(request, "room").filter(|room| !room.is_empty()) {
        Some(room) if room.len() > FOREIGN_NAME_BYTES => Err(EngineError::BadRequest.response()),
        room => Ok(room.map(Box::from)),
    }
}

/// The value of the first parameter of this name. Nothing is decoded: no value that means something here needs it.
fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let mut pairs = request.query.as_deref().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn has(request: &Request, name: &str) -> bool {
    let mut pairs = request.query.as_deref().unwrap_or_default().split('&');
    pairs.any(|pair| pair.split_once('=').map_or(pair, |(key, _)| key) == name)
}
