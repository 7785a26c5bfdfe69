//! Bytes from a socket: request heads, Engine.IO's payloads, polling.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use enishi_core::dialect::socketio::{Server, Version};
use enishi_core::http::engine::{Effect, Session};
use enishi_core::http::{self, Parsed, Request, Response};
use enishi_core::limits::PAYLOAD_PACKETS;
use enishi_core::machine::{ConnId, Frame, Input};
use enishi_core::server::ServerConfig;
use enishi_tests::bench_server::{Bench, Got};

const VERSIONS: [Version; 3] = [Version::Legacy, Version::Three, Version::Four];

/// Where requests come from, for the check of origins.
const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// Requests that a server is given; more only make runs slow.
const REQUESTS: usize = 32;

/// Any bytes, as a client may send them on one connection: one request after the other.
///
/// - The requests are the same however the bytes were split.
/// - A server answers them, or waits, and is there for others afterwards. In a query `SID4`, `SID3` and `SID0` stand for
///   sessions that exist, of Engine.IO 4 and 3 and of Socket.IO 0.9.
/// - The bodies, and the bytes as a body, are taken apart as Engine.IO's payloads; what was put together is taken apart
///   again.
///
/// # Panics
/// On a defect.
pub fn http(data: &[u8]) {
    let whole = requests(data.chunks(data.len().max(1)));
    let odd = data.first().map_or(1, |byte| usize::from(*byte % 31) + 1);
    assert_eq!(requests(data.chunks(odd)), whole, "in pieces of {odd}");
    if data.len() < 200 {
        assert_eq!(requests(data.chunks(1)), whole, "byte by byte");
    }
    payload(&Bytes::copy_from_slice(data));
    for request in whole.iter().filter_map(|parsed| parsed.as_ref().ok()) {
        payload(&request.body);
        let _ = http::origin::check(request, REMOTE, &["https://example.org".to_owned()]);
    }
    let _ = http::get::answer(data);
    serve(whole);
}

/// What a driver makes of bytes that arrive in pieces; nothing follows an error.
fn requests<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Result<Request, http::HeadError>> {
    let (mut buffer, mut found) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match http::parse(&buffer) {
                Parsed::Partial => break,
                Parsed::Refused(error) => {
                    found.push(Err(error));
                    return found;
                }
                Parsed::Complete(request, taken) => {
                    assert!((1..=buffer.len()).contains(&taken));
                    assert_eq!(http::parse(&buffer[..taken - 1]), Parsed::Partial);
                    buffer.drain(..taken);
                    found.push(Ok(request));
                }
            }
        }
    }
    found
}

/// Gives requests to a server with three sessions.
fn serve(requests: Vec<Result<Request, http::HeadError>>) {
    let mut bench = Bench::new(ServerConfig::default());
    let mut sids = BTreeMap::new();
    for (word, path) in [
        ("SID4", "/socket.io/?EIO=4&transport=polling"),
        ("SID3", "/socket.io/?EIO=3&transport=polling"),
        ("SID0", "/socket.io/1/"),
    ] {
        let conn = bench.get(path);
        let answer = bench.answer(conn, 200);
        let sid = match answer.split_once(r#""sid":""#) {
            Some((_, rest)) => rest.split('"').next(),
            None => answer.split(':').next(),
        };
        sids.insert(word, sid.unwrap_or_default().to_owned());
    }
    let mut free: Option<ConnId> = None;
    for request in requests.into_iter().take(REQUESTS) {
        let conn = free.take().unwrap_or_else(|| bench.accept());
        let stays = request.as_ref().is_ok_and(|request| request.keep_alive);
        match request {
            Ok(mut request) => {
                for (word, sid) in &sids {
                    request.path = request.path.replace(word, sid);
                    request.query = request.query.map(|query| query.replace(word, sid));
                }
                bench.input(Input::Request { conn, request });
            }
            Err(error) => bench.input(Input::BadRequest { conn, error }),
        }
        bench.pass(Duration::from_millis(100));
        // A connection that was answered and stays open takes the next one; nothing came on the others.
        if let [Got::Answer(status, _)] = &bench.take(conn)[..] {
            assert!((200..600).contains(status), "{status}");
            free = (stays && *status == 200).then_some(conn);
        }
    }
    bench.pass(Duration::from_secs(120));
    let conn = bench.get("/livez");
    bench.answer(conn, 200);
}

/// A body as a payload of every version: nothing panics, nothing is endless, what is read can be written and read again.
fn payload(body: &Bytes) {
    for version in VERSIONS {
        let messages = post(version, body);
        assert!(messages.len() <= PAYLOAD_PACKETS + 1);
        let texts: Vec<&str> = messages.iter().filter_map(text).collect();
        // Marks inside packets are ambiguous; no server and no client writes them.
        if texts.iter().any(|text| text.contains(['\u{fffd}', '\u{1e}'])) {
            continue;
        }
        let Some(body) = poll(version, &texts) else { continue };
        let again = post(version, &body);
        assert_eq!(again.iter().filter_map(text).collect::<Vec<_>>(), texts, "{version:?} {body:?}");
    }
}

fn text(frame: &Frame) -> Option<&str> {
    if let Frame::Text(text) = frame { Some(text.as_str()) } else { None }
}

/// The messages of a post to a new session, without its greeting.
fn post(version: Version, body: &Bytes) -> Vec<Frame> {
    let now = Instant::now();
    let mut effects = Vec::new();
    let mut session = Session::new(now, version);
    session.post(now, ConnId(1), Response::text(200, ""), body, None, &mut effects);
    session.settle(&mut effects);
    let answers = effects.iter().filter(|effect| matches!(effect, Effect::Answer(..))).count();
    assert_eq!(answers, 1, "a post is answered once: {effects:?}");
    effects
        .into_iter()
        .filter_map(|effect| if let Effect::Message(frame) = effect { Some(frame) } else { None })
        .collect()
}

/// The body of the answer to a poll for these packets.
fn poll(version: Version, packets: &[&str]) -> Option<Bytes> {
    let now = Instant::now();
    let mut effects = Vec::new();
    let mut session = Session::new(now, version);
    for packet in packets {
        session.deliver(Frame::text(*packet), &mut effects);
    }
    session.poll(now, ConnId(1), Response::text(200, ""), Server::greeting(version), &mut effects);
    effects.into_iter().find_map(|effect| match effect {
        Effect::Answer(_, response) => Some(response.body),
        _ => None,
    })
}
