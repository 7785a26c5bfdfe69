//! Opening a WebSocket as a client: the URL, the addresses, the handshake's two heads.
//!
//! The heads are checked here and not by async-tungstenite's `client_async`, because that one refuses a server which
//! chooses none of the offered subprotocols; RFC 6455, 4.1 allows it.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use async_tungstenite::WebSocketStream;
use enishi_core::http::get;
use enishi_core::limits::HEAD_BYTES;
use enishi_core::machine::DialId;
use smol::channel::Sender;
use smol::future::{or, poll_fn};
use smol::{Async, Timer};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::{Response, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;
use tungstenite::http::{HeaderValue, StatusCode, Uri};
use tungstenite::protocol::Role;

use super::{Wire, clause, talk};
use crate::driver::Event;

/// How long a dial may take, name and handshake included.
const DIAL: Duration = Duration::from_secs(10);

/// What the machine wants to be connected with.
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) protocol: Option<&'static str>,
    pub(crate) max_message_bytes: usize,
}

/// An open WebSocket and the subprotocol that the server chose.
type Open = (WebSocketStream<Wire>, Option<String>);

/// One attempt, to its end.
pub(crate) async fn dial(dial: DialId, target: Target, events: Sender<Event>) {
    let late = async {
        Timer::after(DIAL).await;
        Err(format!("no answer within {} seconds", DIAL.as_secs()))
    };
    let event = match or(open(&target), late).await {
        Ok((ws, protocol)) => Event::Dialed { dial, ws: Box::new(ws), protocol },
        Err(error) => Event::DialFailed { dial, error },
    };
    // Nobody listens any more when the driver has ended.
    let _ = events.send(event).await;
}

/// One plain request, to its end.
pub(crate) async fn get(dial: DialId, url: String, events: Sender<Event>) {
    let late = async {
        Timer::after(DIAL).await;
        Err(format!("no answer within {} seconds", DIAL.as_secs()))
    };
    let event = match or(ask(&url), late).await {
        Ok(answer) => Event::Got { dial, answer },
        Err(error) => Event::DialFailed { dial, error },
    };
    // Nobody listens any more when the driver has ended.
    let _ = events.send(event).await;
}

async fn ask(url: &str) -> Result<String, String> {
    let (uri, host, port) = place(url)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = get::request(uri.authority().map_or("", |authority| authority.as_str()), path);
    let mut wire = reach(&host, port).await?;
    wire.put(&request);
    poll_fn(|cx| wire.poll_drain(cx)).await.map_err(|error| clause(&error))?;
    let mut bytes = Vec::new();
    while bytes.len() <= get::ANSWER_BYTES {
        match poll_fn(|cx| wire.poll_fill(cx, &mut bytes)).await {
            Ok(1..) => {}
            Ok(0) => break,
            Err(error) => return Err(clause(&error)),
        }
    }
    get::answer(&bytes)
}

/// A URL, its host and its port.
fn place(url: &str) -> Result<(Uri, String, u16), String> {
    let uri: Uri = url.parse().map_err(|error| format!("{url:?} is not a URL ({error}); try ws://host:port/"))?;
    let port = match uri.scheme_str() {
        Some("ws") => uri.port_u16().unwrap_or(80),
        Some("wss") => {
            return Err("wss:// is not supported yet; put a TLS proxy on this machine and use ws:// to it".into());
        }
        _ => return Err(format!("{url:?} does not begin with ws://; try ws://host:port/")),
    };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    if host.is_empty() {
        return Err(format!("{url:?} names no host; try ws://host:port/"));
    }
    Ok((uri, host, port))
}

/// A connection to the first address that answers.
async fn reach(host: &str, port: u16) -> Result<Wire, String> {
    let no_host = format!("no such host: {host:?}");
    let addresses = smol::net::resolve((host, port)).await.map_err(|_| no_host.clone())?;
    connect(&addresses).await.ok_or(no_host)?
}

async fn open(target: &Target) -> Result<Open, String> {
    let url = &target.url;
    let (uri, host, port) = place(url)?;
    let unaskable = |error: tungstenite::Error| format!("{url:?} cannot be asked for: {error}");
    let mut request = uri.into_client_request().map_err(unaskable)?;
    if let Some(protocol) = target.protocol {
        let value = HeaderValue::from_str(protocol).map_err(|_| format!("{protocol:?} is no subprotocol"))?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", value);
    }
    let (request, key) = generate_request(request).map_err(unaskable)?;

    let mut wire = reach(&host, port).await?;
    wire.put(&request);
    poll_fn(|cx| wire.poll_drain(cx)).await.map_err(|error| clause(&error))?;
    shake(wire, &derive_accept_key(key.as_bytes()), target).await
}

/// Tries one address after the other, each for its share of the time. None: there are none.
async fn connect(addresses: &[SocketAddr]) -> Option<Result<Wire, String>> {
    let end = Instant::now() + DIAL;
    let mut error = None;
    for (tried, address) in addresses.iter().enumerate() {
        let share = end.saturating_duration_since(Instant::now()) / (addresses.len() - tried) as u32;
        let late = async {
            Timer::after(share).await;
            Err(std::io::ErrorKind::TimedOut.into())
        };
        match or(Async::<TcpStream>::connect(*address), late).await {
            Ok(tcp) => return Some(Ok(Wire::new(tcp))),
            Err(failure) => error = Some(Err(clause(&failure))),
        }
    }
    error
}

/// Reads the server's answer; what follows it are frames already.
async fn shake(mut wire: Wire, accept: &str, target: &Target) -> Result<Open, String> {
    let mut bytes = Vec::new();
    let (len, response) = loop {
        match poll_fn(|cx| wire.poll_fill(cx, &mut bytes)).await {
            Ok(1..) => {}
            Ok(0) => return Err("the server closed the connection without an answer".into()),
            Err(error) => return Err(clause(&error)),
        }
        match Response::try_parse(&bytes) {
            Ok(Some(answer)) => break answer,
            Ok(None) if bytes.len() > HEAD_BYTES => return Err("the server's answer is too long".into()),
            Ok(None) => {}
            Err(_) => return Err("the server does not speak HTTP/1.1".into()),
        }
    };
    let protocol = verify(&response, accept, target.protocol)?;
    let rest = bytes.split_off(len.min(bytes.len()));
    let config = talk::config(target.max_message_bytes);
    Ok((WebSocketStream::from_partially_read(wire, rest, Role::Client, Some(config)).await, protocol))
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
