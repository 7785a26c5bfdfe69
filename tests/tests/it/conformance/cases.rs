//! What is accepted: HTTP, WebSocket, UDP, time, commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, thread};

use enishi_core::http::HeadError;
use enishi_core::machine::{CloseReason, ConnId, Frame, FrameFault, Output};
use socket2::SockRef;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message};

use super::super::client::{self, text};
use super::super::scripted::{Command, MESSAGE_BYTES, News, answer};
use super::rig::Rig;

#[test]
fn plain_requests_are_answered_on_one_connection_until_one_closes_it() {
    let rig = Rig::new();
    let mut stream = client::connect(rig.tcp);
    let News::Accepted(conn, listener, remote) = rig.next() else { panic!("accepted first, though nothing was said") };
    assert_eq!((listener.0, remote), (0, stream.local_addr().unwrap()));
    for path in ["/a", "/b"] {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!(client::answer(&mut stream).1, path);
    }
    stream.write_all(b"GET /close HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(client::answer(&mut stream).1, "/close");
    assert_eq!(client::rest(&mut stream), b"");
    drop(stream);
    assert_eq!(rig.closed(conn), CloseReason::Local);
}

#[test]
fn a_request_may_come_in_pieces() {
    let rig = Rig::new();
    let mut stream = client::connect(rig.tcp);
    stream.set_nodelay(true).unwrap();
    let conn = rig.accepted();
    for piece in ["GET /sp", "lit HTTP/1.1\r\nHo", "st: h\r\nContent-Length: 4\r\n\r\nbo", "dy"] {
        stream.write_all(piece.as_bytes()).unwrap();
        // Another connection's answer proves that the driver has turned meanwhile.
        let mut other = client::connect(rig.tcp);
        other.write_all(b"GET /other HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
        client::rest(&mut other);
    }
    assert_eq!(client::answer(&mut stream).1, "/split");
    let request = loop {
        match rig.next() {
            News::Request(id, request) if id == conn => break request,
            _ => {}
        }
    };
    assert_eq!(&request.body[..], b"body");
}

#[test]
fn pipelined_requests_are_answered_in_order_one_at_a_time() {
    let rig = Rig::new();
    let mut stream = client::connect(rig.tcp);
    let conn = rig.accepted();
    let get = |path| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    stream.write_all([get("/1"), get("/hold"), get("/3")].concat().as_bytes()).unwrap();
    assert_eq!(client::answer(&mut stream).1, "/1");
    rig.until(|news| matches!(news, News::Request(_, request) if request.path == "/hold"));
    // While it is unanswered, the next is not told.
    rig.act(Output::Respond { conn, response: answer("held", false) });
    assert_eq!(client::answer(&mut stream).1, "held");
    assert_eq!(client::answer(&mut stream).1, "/3");
}

#[test]
fn a_client_that_has_asked_and_shut_its_side_still_gets_the_answers() {
    let rig = Rig::new();
    let mut stream = client::connect(rig.tcp);
    let conn = rig.accepted();
    stream.write_all(b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client::answer(&mut stream).1, "/1");
    assert_eq!(client::answer(&mut stream).1, "/2");
    assert_eq!(client::rest(&mut stream), b"");
    assert_eq!(rig.closed(conn), CloseReason::Eof);
}

#[test]
fn a_client_that_leaves_before_its_answer_is_told_as_closed() {
    let rig = Rig::new();
    let mut stream = client::connect(rig.tcp);
    let conn = rig.accepted();
    stream.write_all(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    rig.until(|news| matches!(news, News::Request(..)));
    drop(stream);
    assert_eq!(rig.closed(conn), CloseReason::Eof);
    // An answer that comes too late goes nowhere and harms nobody.
    rig.act(Output::Respond { conn, response: answer("late", false) });
}

#[test]
fn what_is_no_request_is_answered_and_the_rest_is_not_read() {
    let rig = Rig::new();
    let mut stream = client::connect(rig.tcp);
    let conn = rig.accepted();
    let junk = [b"\x16\x03\x01 not HTTP\r\n\r\n".to_vec(), vec![b'x'; 100_000]].concat();
    stream.write_all(&junk).unwrap();
    let (head, _) = client::answer(&mut stream);
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_eq!(client::rest(&mut stream), b"");
    drop(stream);
    let before = rig.until(|news| *news == News::Closed(conn, CloseReason::Local));
    assert!(matches!(before[..], [News::BadRequest(id, HeadError::Malformed(_))] if id == conn), "{before:?}");
}

#[test]
fn an_upgraded_connection_carries_text_and_binary() {
    let rig = Rig::new();
    let (mut socket, conn) = rig.websocket();
    let long = "ü".repeat(MESSAGE_BYTES / 2);
    for message in [text("hello"), Message::Binary(vec![0, 255].into()), text(&long), text("")] {
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    let news = rig.until(|news| *news == News::Frame(conn, Frame::text("")));
    assert!(news.contains(&News::Frame(conn, Frame::text("hello"))));
    assert!(news.contains(&News::Sent(conn, 1, 5)), "credit is payload bytes");
}

#[test]
fn frames_behind_the_upgrade_request_are_not_lost() {
    let rig = Rig::new();
    let mut stream = client::connect(rig.tcp);
    let bytes = [client::UPGRADE.as_bytes(), &client::frame(1, b"early"), &client::frame(1, b"bird")].concat();
    stream.write_all(&bytes).unwrap();
    assert!(client::head(&mut stream).starts_with("HTTP/1.1 101 "));
    assert_eq!(client::read_frame(&mut stream), (0x81, b"early".to_vec()));
    assert_eq!(client::read_frame(&mut stream), (0x81, b"bird".to_vec()));
}

#[test]
fn a_message_above_the_bound_is_a_fault_and_nothing_after_it_is_read() {
    let rig = Rig::new();
    let (mut socket, conn) = rig.websocket();
    socket.send(Message::Binary(vec![0; MESSAGE_BYTES + 1].into())).unwrap();
    match socket.read() {
        Ok(Message::Close(Some(frame))) => assert_eq!(u16::from(frame.code), 1009),
        other => panic!("a close frame is expected, not {other:?}"),
    }
    drop(socket);
    let before = rig.until(|news| *news == News::Closed(conn, CloseReason::Local));
    assert!(before.contains(&News::Fault(conn, FrameFault::TooBig)));
}

#[test]
fn text_that_is_not_utf8_and_broken_framing_are_faults() {
    for (bytes, fault, code) in [
        (client::frame(1, b"\xff"), FrameFault::NotUtf8, 1007_u16),
        (client::frame(3, b""), FrameFault::Protocol, 1002),
        (vec![0x81, 0x01, b'x'], FrameFault::Protocol, 1002),
    ] {
        let rig = Rig::new();
        let mut stream = client::raw(rig.tcp);
        let conn = rig.accepted();
        stream.write_all(&bytes).unwrap();
        let (opcode, payload) = client::read_frame(&mut stream);
        assert_eq!((opcode, &payload[..2]), (0x88, &code.to_be_bytes()[..]));
        assert_eq!(client::rest(&mut stream), b"");
        drop(stream);
        let before = rig.until(|news| *news == News::Closed(conn, CloseReason::Local));
        assert!(before.contains(&News::Fault(conn, fault)));
    }
}

#[test]
fn a_ping_is_answered_and_told() {
    let rig = Rig::new();
    let (mut socket, conn) = rig.websocket();
    socket.send(Message::Ping(b"x".as_slice().into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong(b"x".as_slice().into()));
    rig.until(|news| *news == News::Frame(conn, Frame::Ping));
    rig.act(Output::Send { conn, frame: Frame::Ping });
    assert_eq!(socket.read().unwrap(), Message::Ping(Vec::new().into()));
    socket.flush().unwrap();
    let before = rig.until(|news| *news == News::Frame(conn, Frame::Pong));
    assert!(!before.iter().any(|news| matches!(news, News::Sent(..))), "a ping earns no credit");
}

#[test]
fn a_part_of_a_message_is_a_sign_of_life() {
    let rig = Rig::new();
    let mut stream = client::raw(rig.tcp);
    let conn = rig.accepted();
    let frame = client::frame(1, b"whole");
    stream.write_all(&frame[..8]).unwrap();
    rig.until(|news| *news == News::Heard(conn));
    stream.write_all(&frame[8..]).unwrap();
    assert_eq!(rig.next(), News::Frame(conn, Frame::text("whole")));
}

#[test]
fn reading_can_be_stopped_between_two_frames_of_one_segment() {
    let rig = Rig::new();
    let mut stream = client::raw(rig.tcp);
    let conn = rig.accepted();
    rig.until(|news| matches!(news, News::Request(..)));
    let frames = ["pause", "a", "b"].map(|text| client::frame(1, text.as_bytes())).concat();
    stream.write_all(&frames).unwrap();
    assert_eq!(rig.next(), News::Frame(conn, Frame::text("pause")));
    stream.write_all(&client::frame(1, b"c")).unwrap();
    // Another connection's echo proves that the driver has turned.
    let mut other = echoed(&rig, conn);
    rig.act(Output::Read { conn, on: true });
    for expected in [b"a", b"b", b"c"] {
        assert_eq!(client::read_frame(&mut stream), (0x81, expected.to_vec()));
    }
    other.close(None).unwrap();
}

/// Another client, whose message goes round while nothing is told about `silent`.
fn echoed(rig: &Rig, silent: ConnId) -> client::WebSocket {
    let mut socket = client::websocket(client::connect(rig.tcp), rig.tcp);
    socket.send(text("other")).unwrap();
    assert_eq!(socket.read().unwrap(), text("other"));
    let before = rig.until(|news| matches!(news, News::Frame(_, frame) if *frame == Frame::text("other")));
    let named = |news: &News| matches!(news, News::Frame(id, _) | News::Heard(id) | News::Closed(id, _) | News::Sent(id, ..) if *id == silent);
    assert!(!before.iter().any(named), "{before:?}");
    socket
}

#[test]
fn frames_sent_while_reading_is_off_arrive_later_in_order() {
    let rig = Rig::new();
    let (mut socket, conn) = rig.websocket();
    rig.act(Output::Read { conn, on: false });
    for n in 0..10 {
        socket.send(text(&n.to_string())).unwrap();
    }
    let _other = echoed(&rig, conn);
    rig.act(Output::Read { conn, on: true });
    for n in 0..10 {
        assert_eq!(socket.read().unwrap(), text(&n.to_string()));
    }
}

#[test]
fn credit_for_a_slow_reader_waits_until_it_reads() {
    const MESSAGES: usize = 192;
    const LEN: usize = 64 * 1024;
    let rig = Rig::new();
    let stream = client::connect(rig.tcp);
    SockRef::from(&stream).set_recv_buffer_size(16 * 1024).unwrap();
    let mut socket = client::websocket(stream, rig.tcp);
    let conn = rig.accepted();
    rig.until(|news| matches!(news, News::Request(..)));
    let payload = bytes::Bytes::from(vec![7; LEN]);
    let outputs = (0..MESSAGES).map(|_| Output::Send { conn, frame: Frame::Binary(payload.clone()) }).collect();
    rig.handle.send(Command::Act(outputs)).unwrap();
    let mut credit = (0, 0);
    let mut count = |news: &News| {
        if let News::Sent(_, messages, len) = news {
            credit.0 += messages;
            credit.1 += len;
        }
        credit
    };
    // Other clients are served meanwhile.
    let mut other = client::websocket(client::connect(rig.tcp), rig.tcp);
    other.send(text("other")).unwrap();
    assert_eq!(other.read().unwrap(), text("other"));
    for news in rig.until(|news| matches!(news, News::Frame(..))) {
        count(&news);
    }
    assert!(count(&News::Done).0 < MESSAGES, "12 MiB do not fit into the kernel");
    for _ in 0..MESSAGES {
        assert_eq!(socket.read().unwrap().len(), LEN);
    }
    while count(&News::Done).0 < MESSAGES {
        let news = rig.next();
        if !matches!(&news, News::Sent(id, ..) if *id != conn) {
            count(&news);
        }
    }
    assert_eq!(count(&News::Done), (MESSAGES, MESSAGES * LEN));
}

#[test]
fn a_client_that_closes_is_answered_and_its_code_is_told() {
    let rig = Rig::new();
    for (frame, code) in [(Some(CloseFrame { code: CloseCode::Away, reason: "bye".into() }), 1001), (None, 1005)] {
        let (mut socket, conn) = rig.websocket();
        socket.send(text("last words")).unwrap();
        socket.close(frame.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), text("last words"));
        assert_eq!(socket.read().unwrap(), Message::Close(frame));
        assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
        assert_eq!(rig.closed(conn), CloseReason::Remote(code));
    }
}

#[test]
fn closing_sends_what_waits_then_the_code_and_discards_what_still_comes() {
    let rig = Rig::new();
    let (mut socket, conn) = rig.websocket();
    let close = Output::Close { conn, code: 4001, reason: "enough".into() };
    let send = Output::Send { conn, frame: Frame::text("before") };
    rig.handle.send(Command::Act(vec![send, close])).unwrap();
    assert_eq!(rig.next(), News::Done);
    socket.send(text("too late")).unwrap();
    assert_eq!(socket.read().unwrap(), text("before"));
    match socket.read().unwrap() {
        Message::Close(Some(frame)) => assert_eq!((u16::from(frame.code), frame.reason.as_str()), (4001, "enough")),
        other => panic!("a close frame is expected, not {other:?}"),
    }
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    drop(socket);
    let before = rig.until(|news| *news == News::Closed(conn, CloseReason::Local));
    assert!(!before.iter().any(|news| matches!(news, News::Frame(..))), "{before:?}");
}

#[test]
fn closing_a_connection_without_websocket_closes_it() {
    let rig = Rig::new();
    let mut stream = client::connect(rig.tcp);
    let conn = rig.accepted();
    rig.act(Output::Close { conn, code: 1001, reason: String::new() });
    assert_eq!(client::rest(&mut stream), b"");
    drop(stream);
    assert_eq!(rig.closed(conn), CloseReason::Local);
}

#[test]
fn a_dropped_connection_is_gone_at_once_and_never_named_again() {
    let rig = Rig::new();
    let (mut socket, conn) = rig.websocket();
    rig.act(Output::Drop { conn });
    assert!(socket.read().is_err());
    drop(socket);
    let _other = echoed(&rig, conn);
    let (mut last, _) = rig.websocket();
    last.send(text("end")).unwrap();
    let names = |news: &News| matches!(news, News::Closed(id, _) | News::Heard(id) if *id == conn);
    assert!(!rig.until(|news| matches!(news, News::Frame(..))).iter().any(names));
}

#[test]
fn a_reset_in_mid_frame_ends_only_that_connection() {
    let rig = Rig::new();
    let mut stream = client::raw(rig.tcp);
    let conn = rig.accepted();
    stream.write_all(&client::frame(1, b"whole")[..7]).unwrap();
    rig.until(|news| *news == News::Heard(conn));
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    assert!(matches!(rig.closed(conn), CloseReason::Error(_)));
    echoed(&rig, conn);
}

#[test]
fn an_end_without_a_close_frame_is_told_as_such() {
    let rig = Rig::new();
    let mut stream = client::raw(rig.tcp);
    let conn = rig.accepted();
    // The last message and the end of the stream come together.
    stream.write_all(&client::frame(1, b"last")).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client::read_frame(&mut stream), (0x81, b"last".to_vec()));
    assert_eq!(client::rest(&mut stream), b"");
    assert_eq!(rig.closed(conn), CloseReason::Eof);
}

#[test]
fn a_flood_of_pings_that_nobody_reads_the_answers_of_is_survived() {
    let rig = Rig::new();
    let mut stream = client::raw(rig.tcp);
    let conn = rig.accepted();
    let mut writer = stream.try_clone().unwrap();
    let flood = thread::spawn(move || {
        let pings = client::frame(9, &[b'p'; 125]).repeat(1000);
        // 26 MB: far more than the kernel holds in pongs. The driver may take them all or stop reading.
        for _ in 0..200 {
            writer.write_all(&pings).unwrap();
        }
        writer.write_all(&client::frame(1, b"still here")).unwrap();
    });
    let mut other = client::websocket(client::connect(rig.tcp), rig.tcp);
    for _ in 0..100 {
        other.send(text("other")).unwrap();
        assert_eq!(other.read().unwrap(), text("other"));
    }
    while client::read_frame(&mut stream).0 != 0x81 {}
    flood.join().unwrap();
    rig.until(|news| *news == News::Frame(conn, Frame::text("still here")));
}

#[test]
fn datagrams_go_both_ways_and_a_dead_receiver_ends_nothing() {
    let rig = Rig::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let remote = socket.local_addr().unwrap();
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for n in 0..3_u8 {
        let to = |remote| Output::Datagram { local: rig.udp, remote, bytes: vec![n; 1400] };
        rig.act(to(gone));
        rig.act(to(remote));
        let mut buffer = [0; 2000];
        assert_eq!(socket.recv_from(&mut buffer).unwrap(), (1400, rig.udp));
        socket.send_to(&[n; 1200], rig.udp).unwrap();
        assert_eq!(rig.next(), News::Datagram { local: rig.udp, remote, bytes: vec![n; 1200] });
    }
}

#[test]
fn timers_fire_in_order_and_never_early() {
    let rig = Rig::new();
    let after = [30, 10, 20, 0].map(Duration::from_millis);
    rig.handle.send(Command::Timers(after.to_vec())).unwrap();
    let mut last = None;
    for _ in after {
        let News::Timer(due, told) = rig.next_but(|news| *news == News::Done) else { panic!("a timer") };
        assert!(told >= due && Some(due) > last);
        last = Some(due);
    }
}

#[test]
fn commands_of_many_threads_all_arrive() {
    let rig = Rig::new();
    let threads = [(); 4].map(|()| {
        let handle = rig.handle.clone();
        thread::spawn(move || (0..200).try_for_each(|_| handle.send(Command::Act(Vec::new()))))
    });
    for _ in 0..800 {
        assert_eq!(rig.next(), News::Done);
    }
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
}

#[test]
fn a_run_ends_with_its_last_words_and_then_refuses_commands() {
    let mut rig = Rig::new();
    let (mut socket, conn) = rig.websocket();
    rig.stop(vec![Output::Send { conn, frame: Frame::text("last words") }]).unwrap();
    assert_eq!(socket.read().unwrap(), text("last words"));
    assert!(rig.handle.send(Command::Act(Vec::new())).is_err());
}

/// Set in the process that has few files.
const FEW_FILES: &str = "ENISHI_CONFORMANCE_FEW_FILES";

#[test]
fn without_file_descriptors_it_keeps_serving_and_recovers() {
    if env::var_os(FEW_FILES).is_some() {
        return serve_until_eof();
    }
    let name = concat!(module_path!(), "::without_file_descriptors_it_keeps_serving_and_recovers");
    let name = name.split_once("::").unwrap().1;
    let mut server = Process::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" --exact \"$1\" --nocapture --test-threads=1"])
        .arg(env::current_exe().unwrap())
        .arg(name)
        .env(FEW_FILES, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let tcp: SocketAddr = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("serving at ").map(|(_, address)| address.parse().unwrap()))
        .unwrap();
    let mut first = client::websocket(client::connect(tcp), tcp);
    let mut crowd: Vec<TcpStream> = (0..80).map(|_| client::connect(tcp)).collect();
    // Who says nothing may be accepted a second later.
    crowd.iter_mut().for_each(|stream| stream.write_all(b"GET").unwrap());
    // Whoever is in is served, although the server cannot take the others.
    let start = Instant::now();
    for _ in 0..10 {
        first.send(text("still there?")).unwrap();
        assert_eq!(first.read().unwrap(), text("still there?"));
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    let mut last = client::connect(tcp);
    last.write_all(b"GET /late HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    last.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(last.peek(&mut [0]).is_err(), "there is no file left for it");
    client::patient(&last);
    drop(crowd);
    assert_eq!(client::answer(&mut last).1, "/late");
    drop(server.stdin.take());
    lines.for_each(drop);
    assert!(server.wait().unwrap().success());
}

fn serve_until_eof() {
    let rig = Rig::new();
    let mut stdout = io::stdout();
    writeln!(stdout, "serving at {}", rig.tcp).unwrap();
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
