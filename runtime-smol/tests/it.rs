//! The driver on loopback, with a machine that reports every input and does what it is told.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use enishi_core::http::{Request, Response};
use enishi_core::machine::{
    CloseReason, ConnId, Deadline, DialId, Frame, FrameFault, Input, ListenerId, Machine, Output,
};
use enishi_runtime_smol::{Driver, Handle, Sockets, Stopped};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, PartialEq)]
enum Seen {
    Timeout,
    Accepted(ConnId, ListenerId),
    Request(ConnId, Request),
    BadRequest(ConnId),
    Frame(ConnId, Frame),
    Heard(ConnId),
    Fault(ConnId, FrameFault),
    Sent(ConnId, usize, usize),
    Closed(ConnId, CloseReason),
    Dialed(ConnId, Option<String>),
    DialFailed(DialId, String),
    Datagram(SocketAddr, SocketAddr, Vec<u8>),
}

enum Ask {
    Do(Vec<Output<Seen>>),
    Wake(Instant),
    Stop(Vec<Output<Seen>>),
}

/// Answers nothing by itself, except: requests for /ws are upgraded when `upgrade` is set.
#[derive(Default)]
struct Puppet {
    out: VecDeque<Output<Seen>>,
    at: Option<Instant>,
    stop: bool,
}

impl Machine for Puppet {
    type Command = Ask;
    type Notice = Option<Seen>;

    fn handle_input(&mut self, now: Instant, input: Input<'_, Ask>) {
        let seen = match input {
            Input::Timeout => {
                if self.at.is_some_and(|at| at <= now) {
                    self.at = None;
                }
                Seen::Timeout
            }
            Input::Accepted { conn, listener, .. } => Seen::Accepted(conn, listener),
            Input::Request { conn, request } => Seen::Request(conn, request),
            Input::BadRequest { conn, .. } => Seen::BadRequest(conn),
            Input::Frame { conn, frame } => {
                if frame == Frame::text("pause") {
                    self.out.push_back(Output::Read { conn, on: false });
                }
                Seen::Frame(conn, frame)
            }
            Input::Heard { conn } => Seen::Heard(conn),
            Input::Fault { conn, fault } => Seen::Fault(conn, fault),
            Input::Sent { conn, messages, len } => Seen::Sent(conn, messages, len),
            Input::Closed { conn, reason } => Seen::Closed(conn, reason),
            Input::Dialed { conn, protocol, .. } => Seen::Dialed(conn, protocol),
            Input::DialFailed { dial, error } => Seen::DialFailed(dial, error),
            Input::Datagram { local, remote, bytes } => Seen::Datagram(local, remote, bytes.to_vec()),
            Input::Command(Ask::Do(outputs)) => return self.out.extend(outputs),
            Input::Command(Ask::Wake(at)) => return self.at = Some(at),
            Input::Command(Ask::Stop(outputs)) => {
                self.stop = true;
                return self.out.extend(outputs);
            }
        };
        self.out.push_back(Output::Notice(seen));
    }

    fn poll_output(&mut self) -> Option<Output<Option<Seen>>> {
        let Some(output) = self.out.pop_front() else {
            return std::mem::take(&mut self.stop).then_some(Output::Notice(None));
        };
        Some(match output {
            Output::Notice(seen) => Output::Notice(Some(seen)),
            Output::Respond { conn, response } => Output::Respond { conn, response },
            Output::Upgrade { conn, response, max_message_bytes } => {
                Output::Upgrade { conn, response, max_message_bytes }
            }
            Output::Send { conn, frame } => Output::Send { conn, frame },
            Output::Read { conn, on } => Output::Read { conn, on },
            Output::Close { conn, code, reason } => Output::Close { conn, code, reason },
            Output::Drop { conn } => Output::Drop { conn },
            Output::Dial { dial, url, protocol, max_message_bytes } => {
                Output::Dial { dial, url, protocol, max_message_bytes }
            }
            Output::Datagram { local, remote, bytes } => Output::Datagram { local, remote, bytes },
        })
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.at.map(|at| Deadline { at, why: "asked" })
    }
}

struct Stage {
    handle: Handle<Ask>,
    seen: mpsc::Receiver<Seen>,
    tcp: SocketAddr,
    udp: SocketAddr,
    thread: Option<thread::JoinHandle<std::io::Result<()>>>,
}

impl Stage {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let (tcp, udp) = (listener.local_addr().expect("bound"), socket.local_addr().expect("bound"));
        let sockets = Sockets { listeners: vec![listener], udp: vec![socket] };
        let (driver, handle) = Driver::new(Puppet::default(), sockets).expect("a driver");
        let (tell, seen) = mpsc::channel();
        let thread = thread::spawn(move || {
            driver.run(|notice| match notice {
                Some(seen) => {
                    let _ = tell.send(seen);
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Break(()),
            })
        });
        Stage { handle, seen, tcp, udp, thread: Some(thread) }
    }

    fn ask(&self, outputs: Vec<Output<Seen>>) {
        self.handle.send(Ask::Do(outputs)).expect("running");
    }

    fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("an input in time")
    }

    /// The next input that is neither `Heard` nor `Sent`.
    fn next_event(&self) -> Seen {
        loop {
            match self.next() {
                Seen::Heard(_) | Seen::Sent(..) => {}
                seen => return seen,
            }
        }
    }

    fn connect(&self) -> (TcpStream, ConnId) {
        let stream = TcpStream::connect(self.tcp).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let Seen::Accepted(conn, ListenerId(0)) = self.next_event() else { panic!("not accepted") };
        (stream, conn)
    }

    /// A WebSocket; `early` is sent together with the request.
    fn open(&self, max_message_bytes: usize, early: &[u8]) -> (WebSocket<TcpStream>, ConnId) {
        let (mut stream, conn) = self.connect();
        let mut bytes = b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
        bytes.extend_from_slice(early);
        stream.write_all(&bytes).expect("write");
        let Seen::Request(_, request) = self.next_event() else { panic!("no request") };
        assert_eq!(request.path, "/ws");
        let response = Response { status: 101, ..Response::text(200, "") };
        self.ask(vec![Output::Upgrade { conn, response, max_message_bytes }]);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the 101");
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        (WebSocket::from_raw_socket(stream, Role::Client, None), conn)
    }

    fn stop(&mut self, outputs: Vec<Output<Seen>>) {
        self.handle.send(Ask::Stop(outputs)).expect("running");
        self.thread.take().expect("one stop").join().expect("no panic").expect("no error");
        let mut error = Ok(());
        // The command that stopped it was the last; those after it find nobody.
        for _ in 0..100 {
            error = self.handle.send(Ask::Do(Vec::new()));
        }
        assert_eq!(error, Err(Stopped));
    }
}

fn text(text: &str) -> Message {
    Message::Text(text.into())
}

fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the answer and the end");
    String::from_utf8(bytes).expect("text")
}

#[test]
fn answers_pipelined_requests_one_after_the_other() {
    let mut stage = Stage::new();
    let (mut client, conn) = stage.connect();
    client.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\nrest").expect("write");
    let Seen::Request(_, a) = stage.next() else { panic!() };
    assert_eq!(a.path, "/a");
    stage.ask(vec![Output::Respond { conn, response: Response::text(200, "first") }]);
    let Seen::Request(_, b) = stage.next() else { panic!() };
    assert_eq!(b.path, "/b");
    stage.ask(vec![Output::Respond { conn, response: Response { close: true, ..Response::text(200, "second") } }]);
    let answers = rest(&mut client);
    assert!(answers.contains("first") && answers.ends_with("second"), "{answers}");
    drop(client);
    assert_eq!(stage.next(), Seen::Closed(conn, CloseReason::Local));
    stage.stop(vec![]);
}

#[test]
fn a_bad_request_is_told_and_its_answer_is_read() {
    let mut stage = Stage::new();
    let (mut client, conn) = stage.connect();
    client.write_all(b"\x16\x03\x01 what is this\r\n\r\n").expect("write");
    assert_eq!(stage.next(), Seen::BadRequest(conn));
    client.write_all(&[b'x'; 100_000]).expect("write");
    stage.ask(vec![Output::Respond { conn, response: Response { close: true, ..Response::text(400, "no") } }]);
    assert!(rest(&mut client).ends_with("no"));
    drop(client);
    assert_eq!(stage.next(), Seen::Closed(conn, CloseReason::Local));
    stage.stop(vec![]);
}

#[test]
fn frames_go_both_ways_and_are_credited() {
    let mut stage = Stage::new();
    let (mut client, conn) = stage.open(1000, &[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    assert_eq!(stage.next(), Seen::Frame(conn, Frame::text("hi")));
    client.send(Message::Binary(vec![1, 2].into())).expect("send");
    assert_eq!(stage.next(), Seen::Frame(conn, Frame::Binary(vec![1, 2].into())));
    client.send(Message::Ping(vec![7].into())).expect("send");
    assert_eq!(stage.next(), Seen::Frame(conn, Frame::Ping));
    assert_eq!(client.read().expect("pong"), Message::Pong(vec![7].into()));
    let frames = [Frame::text("abc"), Frame::Ping, Frame::text("de")];
    stage.ask(frames.into_iter().map(|frame| Output::Send { conn, frame }).collect());
    assert_eq!(client.read().expect("read"), text("abc"));
    assert_eq!(client.read().expect("read"), Message::Ping(vec![].into()));
    assert_eq!(client.read().expect("read"), text("de"));
    let (mut messages, mut bytes) = (0, 0);
    while messages < 2 {
        let Seen::Sent(_, more, len) = stage.next() else { panic!() };
        (messages, bytes) = (messages + more, bytes + len);
    }
    assert_eq!((messages, bytes), (2, 5));
    stage.stop(vec![]);
}

#[test]
fn part_of_a_message_is_heard() {
    let mut stage = Stage::new();
    let (mut client, conn) = stage.open(1000, &[]);
    client.get_mut().write_all(&[0x81, 0x82, 0, 0]).expect("write");
    assert_eq!(stage.next(), Seen::Heard(conn));
    client.get_mut().write_all(&[0, 0, b'h', b'i']).expect("write");
    assert_eq!(stage.next(), Seen::Frame(conn, Frame::text("hi")));
    stage.stop(vec![]);
}

#[test]
fn a_pause_holds_everything_back_in_order() {
    let mut stage = Stage::new();
    let (mut client, conn) = stage.open(100_000, &[]);
    client.write(text("pause")).expect("write");
    for number in 0..1000 {
        client.write(text(&number.to_string())).expect("write");
    }
    client.flush().expect("flush");
    assert_eq!(stage.next_event(), Seen::Frame(conn, Frame::text("pause")));
    // Another client's round trip: whatever was under way would have come before it.
    let (mut other, witness) = stage.open(100, &[]);
    other.send(text("x")).expect("send");
    assert_eq!(stage.next_event(), Seen::Frame(witness, Frame::text("x")));
    stage.ask(vec![Output::Read { conn, on: true }]);
    for number in 0..1000 {
        assert_eq!(stage.next_event(), Seen::Frame(conn, Frame::text(number.to_string())));
    }
    stage.stop(vec![]);
}

#[test]
fn faults_are_told_and_answered_by_a_close_frame() {
    let bytes: [(&[u8], FrameFault, u16); 3] = [
        (&[0x81, 0x02, b'h', b'i'], FrameFault::Protocol, 1002),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], FrameFault::NotUtf8, 1007),
        (&[0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], FrameFault::TooBig, 1009),
    ];
    let mut stage = Stage::new();
    for (bytes, fault, code) in bytes {
        let (mut client, conn) = stage.open(1000, &[]);
        client.get_mut().write_all(bytes).expect("write");
        assert_eq!(stage.next_event(), Seen::Fault(conn, fault));
        stage.ask(vec![Output::Close { conn, code, reason: "why".into() }]);
        let Message::Close(Some(frame)) = client.read().expect("close frame") else { panic!() };
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (code, "why"));
        while client.read().is_ok() {}
        drop(client);
        assert_eq!(stage.next_event(), Seen::Closed(conn, CloseReason::Local));
    }
    stage.stop(vec![]);
}

#[test]
fn a_remote_close_is_answered_and_told() {
    let mut stage = Stage::new();
    let (mut client, conn) = stage.open(1000, &[]);
    client.get_mut().write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x0f, 0xa0]).expect("write");
    let Message::Close(Some(frame)) = client.read().expect("close frame") else { panic!() };
    assert_eq!(u16::from(frame.code), 4000);
    assert_eq!(stage.next_event(), Seen::Closed(conn, CloseReason::Remote(4000)));
    let (mut client, conn) = stage.open(1000, &[]);
    client.get_mut().write_all(&[0x88, 0x80, 0, 0, 0, 0]).expect("write");
    assert_eq!(stage.next_event(), Seen::Closed(conn, CloseReason::Remote(1005)));
    let (client, conn) = stage.open(1000, &[]);
    drop(client);
    assert_eq!(stage.next_event(), Seen::Closed(conn, CloseReason::Eof));
    stage.stop(vec![]);
}

#[test]
fn our_close_flushes_and_discards() {
    let mut stage = Stage::new();
    let (mut client, conn) = stage.open(1_000_000, &[]);
    let long = "x".repeat(900_000);
    stage.ask(vec![
        Output::Send { conn, frame: Frame::text(long.clone()) },
        Output::Close { conn, code: 1001, reason: "bye".into() },
    ]);
    // A client that sends while it is closed is read, or both would wait for each other.
    for _ in 0..100 {
        client.send(text(&"y".repeat(50_000))).expect("send");
    }
    assert_eq!(client.read().expect("read"), text(&long));
    let Message::Close(Some(frame)) = client.read().expect("close frame") else { panic!() };
    assert_eq!(u16::from(frame.code), 1001);
    while client.read().is_ok() {}
    let closed = loop {
        match stage.next_event() {
            Seen::Frame(..) => {}
            other => break other,
        }
    };
    assert_eq!(closed, Seen::Closed(conn, CloseReason::Local));
    stage.stop(vec![]);
}

#[test]
fn a_dropped_connection_is_forgotten() {
    let mut stage = Stage::new();
    let (mut client, conn) = stage.open(1000, &[]);
    stage.ask(vec![Output::Send { conn, frame: Frame::text("never mind") }, Output::Drop { conn }]);
    while client.read().is_ok() {}
    let (_other, _) = stage.connect();
    stage.stop(vec![]);
}

#[test]
fn a_slow_reader_is_credited_piece_by_piece() {
    let mut stage = Stage::new();
    let (mut client, conn) = stage.open(1000, &[]);
    let frame = Frame::Binary(vec![5; 10_000].into());
    stage.ask((0..1500).map(|_| Output::Send { conn, frame: frame.clone() }).collect());
    let Seen::Sent(_, first, _) = stage.next() else { panic!() };
    assert!(first < 1500, "{first}");
    // It still can talk.
    client.send(text("hello")).expect("send");
    loop {
        match stage.next() {
            Seen::Frame(_, heard) => break assert_eq!(heard, Frame::text("hello")),
            Seen::Sent(..) => {}
            other => panic!("{other:?}"),
        }
    }
    for _ in 0..1500 {
        assert_eq!(client.read().expect("read").len(), 10_000);
    }
    stage.stop(vec![]);
}

#[test]
fn a_flood_without_end_lets_others_in() {
    let mut stage = Stage::new();
    let (client, _) = stage.open(1000, &[]);
    let mut stream = client.get_ref().try_clone().expect("clone");
    let flood = thread::spawn(move || {
        // One message that never ends: empty continuations.
        let mut bytes = vec![0x01, 0x80, 0, 0, 0, 0];
        loop {
            if stream.write_all(&bytes).is_err() {
                return;
            }
            bytes = [0x00, 0x80, 0, 0, 0, 0].repeat(10_000);
        }
    });
    let (mut other, witness) = stage.open(1000, &[]);
    other.send(text("x")).expect("send");
    assert_eq!(stage.next_event(), Seen::Frame(witness, Frame::text("x")));
    stage.stop(vec![]);
    flood.join().expect("ended by the driver");
}

#[test]
fn dials() {
    let mut stage = Stage::new();
    let server = TcpListener::bind("[::1]:0").expect("bind");
    let address = server.local_addr().expect("bound");
    let url = format!("ws://{address}/path?q");
    let dial = |number, url: &str, protocol| Output::Dial {
        dial: DialId(number),
        url: url.into(),
        protocol,
        max_message_bytes: 1000,
    };
    for (offer, chosen) in [(None, None), (Some("one"), None), (Some("one"), Some("one"))] {
        stage.ask(vec![dial(1, &url, offer)]);
        let (stream, _) = server.accept().expect("accept");
        #[allow(clippy::result_large_err)]
        let answer = |request: &tungstenite::handshake::server::Request,
                      mut response: tungstenite::handshake::server::Response| {
            assert_eq!(request.uri(), "/path?q");
            let offered = request.headers().get("sec-websocket-protocol").map(|value| value.to_str().expect("ascii"));
            assert_eq!(offered, offer);
            if let Some(chosen) = chosen {
                response.headers_mut().insert("sec-websocket-protocol", chosen.parse().expect("value"));
            }
            Ok(response)
        };
        let mut ws = tungstenite::accept_hdr(stream, answer).expect("handshake");
        ws.send(text("welcome")).expect("send");
        let Seen::Dialed(conn, protocol) = stage.next_event() else { panic!() };
        assert_eq!(protocol.as_deref(), chosen);
        assert_eq!(stage.next_event(), Seen::Frame(conn, Frame::text("welcome")));
        stage.ask(vec![
            Output::Send { conn, frame: Frame::text("hello") },
            Output::Close { conn, code: 1000, reason: String::new() },
        ]);
        assert_eq!(ws.read().expect("read"), text("hello"));
        while ws.read().is_ok() {}
        assert_eq!(stage.next_event(), Seen::Closed(conn, CloseReason::Local));
    }
    drop(server);
    let closed = format!("ws://{address}/");
    for (url, error) in [
        (closed.as_str(), "connection refused"),
        ("ws://no-such-host.invalid/", "no such host"),
        ("wss://localhost/", "wss:// is not supported yet"),
        ("http://localhost/", "does not begin with ws://"),
        ("", "is not a URL"),
    ] {
        stage.ask(vec![dial(2, url, None)]);
        let Seen::DialFailed(DialId(2), told) = stage.next_event() else { panic!() };
        assert!(told.contains(error), "{told}");
    }
    // Ourselves: the answer is ours to give.
    stage.ask(vec![dial(3, &format!("ws://{}/", stage.tcp), None)]);
    let Seen::Accepted(conn, _) = stage.next_event() else { panic!() };
    let Seen::Request(..) = stage.next_event() else { panic!() };
    stage.ask(vec![Output::Respond { conn, response: Response { close: true, ..Response::text(404, "no") } }]);
    let failed = loop {
        match stage.next_event() {
            Seen::Closed(..) => {}
            other => break other,
        }
    };
    assert_eq!(failed, Seen::DialFailed(DialId(3), "the server answered 404 Not Found".into()));
    stage.stop(vec![]);
}

#[test]
fn datagrams_go_both_ways() {
    let mut stage = Stage::new();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let remote = socket.local_addr().expect("bound");
    for round in 0..3u8 {
        for number in 0..50 {
            socket.send_to(&[round, number], stage.udp).expect("send");
        }
        for number in 0..50 {
            assert_eq!(stage.next(), Seen::Datagram(stage.udp, remote, vec![round, number]));
        }
        stage.ask(vec![Output::Datagram { local: stage.udp, remote, bytes: vec![9, round] }]);
        let mut buffer = [0; 10];
        assert_eq!(socket.recv_from(&mut buffer).expect("receive"), (2, stage.udp));
        assert_eq!(buffer[..2], [9, round]);
    }
    // Nobody there: the ICMP error that comes back is not ours to stumble over.
    drop(socket);
    stage.ask(vec![Output::Datagram { local: stage.udp, remote, bytes: vec![1] }]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.send_to(b"still there?", stage.udp).expect("send");
    assert!(matches!(stage.next(), Seen::Datagram(..)));
    stage.stop(vec![]);
}

#[test]
fn wakes_when_due_and_not_before() {
    let mut stage = Stage::new();
    for wait in [300, 50] {
        let at = Instant::now() + Duration::from_millis(wait);
        stage.handle.send(Ask::Wake(at)).expect("running");
        assert_eq!(stage.next(), Seen::Timeout);
        assert!(Instant::now() >= at);
    }
    stage.stop(vec![]);
}

#[test]
fn last_words_arrive() {
    let mut stage = Stage::new();
    let (mut client, conn) = stage.open(1000, &[]);
    let mut outputs: Vec<_> = (0..100).map(|n: u32| Output::Send { conn, frame: Frame::text(n.to_string()) }).collect();
    outputs.push(Output::Close { conn, code: 1012, reason: "restart".into() });
    stage.stop(outputs);
    for number in 0..100 {
        assert_eq!(client.read().expect("read"), text(&number.to_string()));
    }
    let Message::Close(Some(frame)) = client.read().expect("close frame") else { panic!() };
    assert_eq!(u16::from(frame.code), 1012);
}

#[test]
fn a_client_that_pings_and_does_not_read_costs_no_answer() {
    let mut stage = Stage::new();
    let (mut client, conn) = stage.open(1000, &[]);
    let stream = client.get_ref().try_clone().expect("clone");
    let writer = thread::spawn(move || {
        let mut ws = WebSocket::from_raw_socket(stream, Role::Client, None);
        for _ in 0..20_000 {
            ws.send(Message::Ping(vec![1; 125].into())).expect("send");
        }
        ws.send(text("done")).expect("send");
    });
    let reader = thread::spawn(move || while client.read().expect("read") != text("end") {});
    while stage.next_event() != Seen::Frame(conn, Frame::text("done")) {}
    stage.ask(vec![Output::Send { conn, frame: Frame::text("end") }]);
    writer.join().expect("writer");
    reader.join().expect("reader");
    stage.stop(vec![]);
}
