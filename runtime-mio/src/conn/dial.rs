//! Opening a WebSocket as a client: the addresses, and the bytes of the handshake that `enishi_core::http` makes and checks.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::thread;

use enishi_core::http::get;
use enishi_core::http::handshake::{Answer, Handshake, Place};
use enishi_core::machine::{ConnId, DialId};
use tungstenite::handshake::client::generate_key;

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
    Socket { handshake: Handshake, max_message_bytes: usize },
    /// A plain answer, which ends with the connection.
    Answer,
}

/// Where a URL points to.
pub(crate) enum Host {
    Address(SocketAddr),
    Name(String, u16),
}

/// Reads a URL of a WebSocket.
///
/// # Errors
/// A clause for a person.
pub(crate) fn plan(
    url: &str,
    protocol: Option<&'static str>,
    max_message_bytes: usize,
) -> Result<(Host, Shake), String> {
    let place = Place::parse(url)?;
    let handshake = place.handshake(&generate_key(), protocol);
    let request = handshake.request.clone();
    Ok((host(place), Shake { request, wants: Wants::Socket { handshake, max_message_bytes } }))
}

/// Reads a URL that is to be asked with a plain GET.
///
/// # Errors
/// A clause for a person.
pub(crate) fn plan_get(url: &str) -> Result<(Host, Shake), String> {
    let place = Place::parse(url)?;
    let request = place.get();
    Ok((host(place), Shake { request, wants: Wants::Answer }))
}

fn host(place: Place) -> Host {
    match place.host.parse::<IpAddr>() {
        Ok(address) => Host::Address(SocketAddr::new(address, place.port)),
        Err(_) => Host::Name(place.host, place.port),
    }
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
    /// Checks what the server has answered so far. With an open WebSocket comes the most that a message may have.
    pub(crate) fn check(&self, bytes: &[u8]) -> (Answer, usize) {
        match &self.wants {
            Wants::Socket { handshake, max_message_bytes } => (handshake.check(bytes), *max_message_bytes),
            Wants::Answer => match get::answer(bytes) {
                Err(error) if bytes.len() > get::ANSWER_BYTES => (Answer::Refused(error), 0),
                _ => (Answer::Partial, 0),
            },
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
