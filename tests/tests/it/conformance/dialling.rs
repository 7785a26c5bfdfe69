//! What is dialled: the driver as a WebSocket client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use enishi_core::machine::{CloseReason, ConnId, DialId, Frame, FrameFault, Output};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

use super::super::client::{self, WebSocket, text};
use super::super::scripted::{MESSAGE_BYTES, News};
use super::rig::Rig;

fn dial(rig: &Rig, number: u64, url: String) -> DialId {
    let dial = DialId(number);
    rig.act(Output::Dial { dial, url, protocol: Some("enishi.1"), max_message_bytes: MESSAGE_BYTES });
    dial
}

/// Why a dial to this URL fails.
fn failure(rig: &Rig, url: String) -> String {
    let dial = dial(rig, 1, url);
    match rig.next() {
        News::DialFailed(id, error) if id == dial => error,
        other => panic!("a failure is expected, not {other:?}"),
    }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server that accepts and chooses the offered subprotocol, or none.
#[expect(clippy::result_large_err, reason = "tungstenite's signature")]
fn serve(listener: &TcpListener, chooses: bool) -> WebSocket {
    let (stream, _) = listener.accept().unwrap();
    client::patient(&stream);
    let choose = |request: &Request, mut response: Response| {
        let offered = request.headers()["sec-websocket-protocol"].clone();
        assert_eq!(offered, "enishi.1");
        if chooses {
            response.headers_mut().insert("sec-websocket-protocol", offered);
        }
        Ok(response)
    };
    tungstenite::accept_hdr(stream, choose).unwrap()
}

/// A dialled pair: the server's end, and the machine's name for its own.
fn pair(rig: &Rig) -> (WebSocket, ConnId) {
    let (listener, address) = listen();
    dial(rig, 1, format!("ws://{address}/ws"));
    let server = serve(&listener, true);
    match rig.next() {
        News::Dialed(_, conn, _) => (server, conn),
        other => panic!("an open connection is expected, not {other:?}"),
    }
}

#[test]
fn a_dialled_connection_carries_messages_with_the_chosen_subprotocol() {
    for chooses in [true, false] {
        let rig = Rig::new();
        let (listener, address) = listen();
        let dial = dial(&rig, 7, format!("ws://{address}/path?query"));
        let mut server = serve(&listener, chooses);
        let News::Dialed(id, conn, protocol) = rig.next() else { panic!("dialled") };
        assert_eq!((id, protocol.as_deref()), (dial, chooses.then_some("enishi.1")));
        server.send(text("hello")).unwrap();
        assert_eq!(server.read().unwrap(), text("hello"));
        assert_eq!(rig.next(), News::Frame(conn, Frame::text("hello")));
        assert_eq!(rig.next(), News::Sent(conn, 1, 5));
    }
}

#[test]
fn a_name_is_resolved() {
    let rig = Rig::new();
    let (listener, address) = listen();
    dial(&rig, 1, format!("ws://localhost:{}", address.port()));
    let _server = serve(&listener, true);
    assert!(matches!(rig.next(), News::Dialed(..)));
}

#[test]
fn an_ipv6_address_is_dialled() {
    // A machine without IPv6 has nothing to test here.
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
    let rig = Rig::new();
    dial(&rig, 1, format!("ws://{}/", listener.local_addr().unwrap()));
    let _server = serve(&listener, true);
    assert!(matches!(rig.next(), News::Dialed(..)));
}

#[test]
fn messages_right_behind_the_servers_head_are_not_lost() {
    let rig = Rig::new();
    let (listener, address) = listen();
    dial(&rig, 1, format!("ws://{address}"));
    let (mut stream, _) = listener.accept().unwrap();
    client::patient(&stream);
    let head = client::head(&mut stream);
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n\u{1}\u{2}hi"
    );
    let mut bytes = answer.into_bytes();
    let at = bytes.len() - 4;
    bytes[at] = 0x81;
    stream.write_all(&bytes).unwrap();
    let News::Dialed(_, conn, None) = rig.next() else { panic!("dialled") };
    assert_eq!(rig.next(), News::Frame(conn, Frame::text("hi")));
}

#[test]
fn a_refused_dial_says_so() {
    let rig = Rig::new();
    let address = listen().1;
    assert_eq!(failure(&rig, format!("ws://{address}/")), "connection refused");
}

#[test]
fn urls_that_cannot_be_dialled_say_why() {
    let rig = Rig::new();
    assert!(failure(&rig, "wss://example.org/".into()).starts_with("wss:// is not supported yet"));
    for url in ["http://example.org/", "example.org", "ws://", "", "ws://a b/", "ws:///path"] {
        let error = failure(&rig, url.into());
        assert!(error.contains("ws://"), "{url:?}: {error}");
    }
}

#[test]
fn a_server_that_answers_otherwise_is_quoted() {
    for (answer, expected) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "the server answered 404 Not Found"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "the server does not speak HTTP/1.1"),
        ("", "the server closed the connection without an answer"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            "the server's Sec-WebSocket-Accept does not fit; is there a cache in between?",
        ),
    ] {
        let rig = Rig::new();
        let (listener, address) = listen();
        let dialled = dial(&rig, 1, format!("ws://{address}/"));
        let (mut stream, _) = listener.accept().unwrap();
        client::patient(&stream);
        client::head(&mut stream);
        stream.write_all(answer.as_bytes()).unwrap();
        drop(stream);
        assert_eq!(rig.next(), News::DialFailed(dialled, expected.into()));
    }
}

#[test]
fn a_server_that_sends_no_end_of_head_is_given_up() {
    let rig = Rig::new();
    let (listener, address) = listen();
    dial(&rig, 1, format!("ws://{address}/"));
    let (mut stream, _) = listener.accept().unwrap();
    client::patient(&stream);
    client::head(&mut stream);
    let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1_000_000)).as_bytes());
    assert!(matches!(rig.next(), News::DialFailed(_, error) if error == "the server's answer is too long"));
    assert_gone(&mut stream);
}

/// The driver has closed its end.
fn assert_gone(stream: &mut TcpStream) {
    assert!(!matches!(stream.read(&mut [0]), Ok(len) if len > 0));
}

#[test]
fn both_ends_can_close_a_dialled_connection() {
    let rig = Rig::new();
    let (mut server, conn) = pair(&rig);
    rig.act(Output::Close { conn, code: 1000, reason: "done".into() });
    assert!(matches!(server.read().unwrap(), Message::Close(Some(frame)) if frame.reason.as_str() == "done"));
    assert!(matches!(server.read(), Err(Error::ConnectionClosed)));
    drop(server);
    assert_eq!(rig.closed(conn), CloseReason::Local);

    let (mut server, conn) = pair(&rig);
    server.close(Some(CloseFrame { code: CloseCode::Restart, reason: "back soon".into() })).unwrap();
    assert!(matches!(server.read().unwrap(), Message::Close(Some(frame)) if frame.code == CloseCode::Restart));
    assert_eq!(rig.closed(conn), CloseReason::Remote(1012));
}

#[test]
fn a_server_is_held_to_the_bound_too() {
    let rig = Rig::new();
    let (mut server, conn) = pair(&rig);
    server.send(Message::Binary(vec![0; MESSAGE_BYTES + 1].into())).unwrap();
    assert_eq!(rig.next_but(|news| matches!(news, News::Heard(_))), News::Fault(conn, FrameFault::TooBig));
    assert!(matches!(server.read().unwrap(), Message::Close(Some(frame)) if frame.code == CloseCode::Size));
}

/// Answers one plain request with these bytes, in two pieces, and closes.
fn answer_once(listener: &TcpListener, bytes: &[u8]) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    client::patient(&stream);
    let head = client::head(&mut stream);
    let (one, two) = bytes.split_at(bytes.len() / 2);
    stream.write_all(one).unwrap();
    stream.write_all(two).unwrap();
    head
}

#[test]
fn a_plain_request_is_answered_with_the_body() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsid:60:60:websocket", "sid:60:60:websocket"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\n\r\n", ""),
    ] {
        let rig = Rig::new();
        let (listener, address) = listen();
        let dial = DialId(3);
        rig.act(Output::Get { dial, url: format!("ws://{address}/socket.io/1/?t=1") });
        let head = answer_once(&listener, answer.as_bytes());
        assert!(head.starts_with(&format!("GET /socket.io/1/?t=1 HTTP/1.0\r\nHost: {address}\r\n")), "{head}");
        assert_eq!(rig.next(), News::Got(dial, expected.to_owned()));
    }
}

#[test]
fn a_plain_request_that_fails_says_why() {
    for (answer, expected) in [
        ("HTTP/1.1 403 Forbidden\r\n\r\nno", "the server answered 403 Forbidden"),
        ("SSH-2.0-OpenSSH\r\n", "the server does not speak HTTP/1.1"),
        ("", "the server closed the connection without an answer"),
    ] {
        let rig = Rig::new();
        let (listener, address) = listen();
        rig.act(Output::Get { dial: DialId(3), url: format!("ws://{address}/") });
        answer_once(&listener, answer.as_bytes());
        assert_eq!(rig.next(), News::DialFailed(DialId(3), expected.to_owned()));
    }
    let rig = Rig::new();
    let (listener, address) = listen();
    drop(listener);
    rig.act(Output::Get { dial: DialId(3), url: format!("ws://{address}/") });
    assert_eq!(rig.next(), News::DialFailed(DialId(3), "connection refused".to_owned()));
}
