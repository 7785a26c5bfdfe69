//! Socket.IO's clients on the bench: the samples of `protocols.md` 004, heartbeats in virtual time, polling, upgrades,
//! and every kind of request that comes to nothing.

use std::time::Duration;

use enishi_core::limits::Limits;
use enishi_core::machine::ConnId;
use enishi_core::server::ServerConfig;
use enishi_tests::bench_server::{Bench, Got};

mod chaos;

const OFFER: &str = r#"{"type":"offer","sdp":"v=0\r\n"}"#;

fn bench() -> Bench {
    Bench::new(ServerConfig::default())
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// The text between two others.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split_once(before).and_then(|(_, rest)| rest.split_once(after)).unwrap_or_else(|| panic!("{text}")).0
}

/// 0.9: a handshake's session.
fn handshake(bench: &mut Bench) -> String {
    let conn = bench.get("/socket.io/1/?t=1");
    let body = bench.answer(conn, 200);
    let (sid, rest) = body.split_once(':').unwrap();
    assert_eq!(sid.split_once('-').map(|(name, secret)| (name.len(), secret.len())), Some((20, 20)));
    assert_eq!(rest, "60:60:websocket,xhr-polling");
    sid.to_owned()
}

/// A connected client of 0.9.
fn legacy(bench: &mut Bench) -> ConnId {
    let sid = handshake(bench);
    let conn = bench.open(&format!("/socket.io/1/websocket/{sid}"), "");
    assert_eq!(bench.take(conn), [Got::Upgraded(None), Got::Text("1::".into())]);
    conn
}

/// A connected client of 4, and its name.
fn four(bench: &mut Bench) -> (ConnId, String) {
    let conn = bench.open("/socket.io/?EIO=4&transport=websocket", "");
    let got = bench.take(conn);
    let [Got::Upgraded(None), Got::Text(open)] = got.as_slice() else { panic!("{got:?}") };
    let sid = between(open, r#"0{"sid":""#, "\"").to_owned();
    let expected =
        format!(r#"0{{"sid":"{sid}","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#);
    assert_eq!(*open, expected);
    bench.text(conn, "40");
    let told = bench.take_texts(conn);
    let name = between(&told[0], r#"40{"sid":""#, "\"}").to_owned();
    assert_ne!(name, sid, "a name is no secret");
    (conn, name)
}

/// A connected client of 2, on a WebSocket.
fn three(bench: &mut Bench) -> ConnId {
    let conn = bench.open("/socket.io/?EIO=3&transport=websocket", "");
    let got = bench.take(conn);
    let [Got::Upgraded(None), Got::Text(open), Got::Text(connect)] = got.as_slice() else { panic!("{got:?}") };
    assert!(open.ends_with(r#""upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#), "{open}");
    assert_eq!(connect, "40");
    conn
}

/// A session of Engine.IO by polling: the path of its requests, and its first answer.
fn polling(bench: &mut Bench, version: u8) -> (String, String) {
    let path = format!("/socket.io/?EIO={version}&transport=polling");
    let conn = bench.get(&path);
    let body = bench.answer(conn, 200);
    let sid = between(&body, r#"{"sid":""#, "\"").to_owned();
    (format!("{path}&sid={sid}"), body)
}

/// A connected client of 4 by polling.
fn four_polling(bench: &mut Bench) -> String {
    let (path, body) = polling(bench, 4);
    assert!(body.starts_with("0{") && body.contains(r#""upgrades":["websocket"]"#), "{body}");
    let conn = bench.post(&path, "40");
    assert_eq!(bench.answer(conn, 200), "ok");
    let conn = bench.get(&path);
    assert!(bench.answer(conn, 200).starts_with(r#"40{"sid":""#));
    path
}

#[test]
fn s1_the_handshake_of_0_9() {
    let mut bench = bench();
    handshake(&mut bench);
    let conn = bench.post("/socket.io/1/", "");
    assert!(bench.answer(conn, 200).ends_with(":60:60:websocket,xhr-polling"));
    let conn = bench.get("/socket.io/1/?jsonp=0");
    let body = bench.answer(conn, 200);
    assert!(body.starts_with("io.j[0](\"") && body.ends_with(":60:60:websocket,xhr-polling\");"), "{body}");
}

#[test]
fn s2_the_sample_lines_of_0_9() {
    let mut bench = bench();
    let (a, b) = (legacy(&mut bench), legacy(&mut bench));
    bench.text(a, &format!("4:::{OFFER}"));
    assert_eq!(bench.take_texts(b), [format!(r#"5:::{{"name":"message","args":[{OFFER}]}}"#)]);
    bench.text(a, "3:::plain");
    assert_eq!(bench.take_texts(b), [r#"5:::{"name":"message","args":["plain"]}"#]);
    bench.text(a, r#"5:::{"name":"message","args":[{"x":1},2]}"#);
    assert_eq!(bench.take_texts(b), [r#"5:::{"name":"message","args":[{"x":1}]}"#]);
    assert!(bench.take(a).is_empty(), "the sender gets nothing");
    bench.text(a, r#"4:2::{"x":2}"#);
    assert_eq!(bench.take_texts(a), ["6:::2"]);
    assert_eq!(bench.take_texts(b), [r#"5:::{"name":"message","args":[{"x":2}]}"#]);
    bench.text(a, r#"4:3+::{"x":3}"#);
    assert!(bench.take(a).is_empty(), "no automatic answer if data is wanted");
    bench.take(b);
    for ignored in ["garbage", "4:::{", "5:::[]", r#"5:::{"name":"other","args":[1]}"#, "4::/chat:{}", "1::/chat", ""] {
        bench.text(a, ignored);
        assert!(bench.take(b).is_empty() && bench.take(a).is_empty(), "{ignored}");
    }
    bench.hang_up(a);
    assert_eq!(bench.take_texts(b), [r#"5:::{"name":"user disconnected"}"#]);
}

#[test]
fn s3_the_heartbeat_of_0_9() {
    let mut bench = bench();
    let (a, b) = (legacy(&mut bench), legacy(&mut bench));
    bench.pass(seconds(24));
    assert!(bench.take_texts(a).is_empty());
    bench.pass(seconds(2));
    assert_eq!(bench.take_texts(a), ["2::"]);
    assert_eq!(bench.take_texts(b), ["2::"]);
    bench.text(b, "2::");
    bench.pass(seconds(26));
    assert_eq!(bench.take_texts(b), ["2::"]);
    bench.text(b, "2::");
    bench.pass(seconds(31));
    assert!(bench.take(a).is_empty(), "83 s");
    bench.take(b);
    bench.pass(seconds(4));
    assert_eq!(bench.take(a), [Got::Dropped], "87 s");
    assert_eq!(bench.take_texts(b), [r#"5:::{"name":"user disconnected"}"#]);
}

#[test]
fn s4_polling_of_0_9() {
    let mut bench = bench();
    let b = legacy(&mut bench);
    let path = format!("/socket.io/1/xhr-polling/{}", handshake(&mut bench));
    let poll = bench.get(&path);
    assert_eq!(bench.answer(poll, 200), "1::");
    let post = bench.post(&path, "3:::one");
    assert_eq!(bench.answer(post, 200), "1");
    assert_eq!(bench.take_texts(b), [r#"5:::{"name":"message","args":["one"]}"#]);
    let post = bench.post(&path, "\u{fffd}7\u{fffd}3:::twô\u{fffd}6\u{fffd}3:::👋");
    assert_eq!(bench.answer(post, 200), "1");
    let expected = [r#"5:::{"name":"message","args":["twô"]}"#, r#"5:::{"name":"message","args":["👋"]}"#];
    assert_eq!(bench.take_texts(b), expected);

    bench.text(b, "3:::é");
    bench.text(b, "3:::👋");
    let poll = bench.get(&path);
    let frame = |text: &str| {
        let packet = format!(r#"5:::{{"name":"message","args":["{text}"]}}"#);
        format!("\u{fffd}{}\u{fffd}{packet}", packet.encode_utf16().count())
    };
    assert_eq!(bench.answer(poll, 200), frame("é") + &frame("👋"));

    let poll = bench.get(&path);
    assert!(bench.take(poll).is_empty(), "it waits");
    bench.text(b, "3:::three");
    assert_eq!(bench.answer(poll, 200), r#"5:::{"name":"message","args":["three"]}"#);

    let poll = bench.get(&path);
    bench.pass(seconds(19));
    assert!(bench.take(poll).is_empty());
    bench.pass(seconds(1));
    assert_eq!(bench.answer(poll, 200), "8::");
    let (first, second) = (bench.get(&path), bench.get(&path));
    assert_eq!(bench.answer(first, 200), "8::", "the newer one counts");
    bench.take(b);
    let leave = bench.get(&format!("{path}/?disconnect"));
    assert_eq!(bench.answer(leave, 200), "");
    assert_eq!(bench.answer(second, 200), "0::");
    assert_eq!(bench.take_texts(b), [r#"5:::{"name":"user disconnected"}"#]);
    let poll = bench.get(&path);
    assert_eq!(bench.answer(poll, 200), "7:::1+0");
}

#[test]
fn s5_unknown_sessions() {
    let mut bench = bench();
    let conn = bench.open("/socket.io/1/websocket/nobody", "");
    let close = Got::Close(1008, "no such session; connect anew".into());
    assert_eq!(bench.take(conn), [Got::Upgraded(None), Got::Text("7:::1+0".into()), close]);
    let unknown = r#"{"code":1,"message":"Session ID unknown"}"#;
    for path in ["/socket.io/?EIO=4&transport=polling&sid=x", "/socket.io/?EIO=3&transport=polling&sid=x"] {
        let conn = bench.get(path);
        assert_eq!(bench.answer(conn, 400), unknown);
        let conn = bench.post(path, "40");
        assert_eq!(bench.answer(conn, 400), unknown);
    }
    let conn = bench.open("/socket.io/?EIO=4&transport=websocket&sid=x", "");
    assert_eq!(bench.answer(conn, 400), unknown);
    // A session of one version is none of another.
    let (path, _) = polling(&mut bench, 4);
    let conn = bench.get(&path.replace("EIO=4", "EIO=3"));
    assert_eq!(bench.answer(conn, 400), unknown);
}

#[test]
fn requests_that_are_refused_get_the_words_of_engine_io() {
    let mut bench = bench();
    for (path, code, message) in [
        ("/socket.io/?EIO=4", 0, "Transport unknown"),
        ("/socket.io/?EIO=4&transport=carrier-pigeon", 0, "Transport unknown"),
        ("/socket.io/1/flashsocket/x", 0, "Transport unknown"),
        ("/socket.io/?EIO=2&transport=polling", 5, "Unsupported protocol version"),
    ] {
        let conn = bench.get(path);
        assert_eq!(bench.answer(conn, 400), format!(r#"{{"code":{code},"message":"{message}"}}"#), "{path}");
    }
    let conn = bench.post("/socket.io/?EIO=4&transport=polling", "40");
    assert_eq!(bench.answer(conn, 400), r#"{"code":2,"message":"Bad handshake method"}"#);
    let conn = bench.get("/socket.io/");
    assert_eq!(bench.answer(conn, 200), "Welcome to socket.io.");
    let conn = bench.get("/socket.io/socket.io.js");
    assert!(bench.answer(conn, 200).contains("json.send"));
    let conn = bench.get("/socket.io/nothing");
    bench.answer(conn, 404);
}

#[test]
fn s6_messages_of_4_on_a_websocket() {
    let mut bench = bench();
    let ((a, _), (b, _)) = (four(&mut bench), four(&mut bench));
    for text in
        [format!(r#"42["message",{OFFER}]"#), r#"42["message","縁 👋"]"#.to_owned(), r#"42["message",null]"#.to_owned()]
    {
        bench.text(a, &text);
        assert_eq!(bench.take_texts(b), [text]);
        assert!(bench.take(a).is_empty());
    }
    bench.text(a, r#"421["message", {"x": 1.50}, 2]"#);
    assert_eq!(bench.take_texts(b), [r#"42["message",{"x": 1.50}]"#]);
    assert!(bench.take(a).is_empty(), "no acknowledgement");
    bench.text(a, r#"42["message"]"#);
    assert_eq!(bench.take_texts(b), [r#"42["message",null]"#]);
    bench.text(a, r#"42["other",1]"#);
    assert!(bench.take(b).is_empty());
    bench.text(a, "40/chat,");
    assert_eq!(bench.take_texts(a), [r#"44/chat,{"message":"Invalid namespace"}"#]);
    bench.text(a, "41");
    assert!(matches!(bench.take(a).as_slice(), [Got::Close(1000, _)]));
    assert_eq!(bench.take_texts(b), [r#"42["user disconnected"]"#]);
    bench.hang_up(a);
    assert!(bench.take(b).is_empty(), "once");
}

#[test]
fn what_cannot_be_decoded_ends_the_session_and_nobody_elses() {
    let mut bench = bench();
    let (b, _) = four(&mut bench);
    for broken in ["", "9", "4", "49", "42", "42{}", "42[1]", "42[\"message\",", "42/chat,[\"message\",1]", "2", "x"] {
        let (a, _) = four(&mut bench);
        bench.text(a, broken);
        assert!(matches!(bench.take(a).as_slice(), [Got::Close(1002, _)]), "{broken}");
        bench.hang_up(a);
        assert_eq!(bench.take_texts(b), [r#"42["user disconnected"]"#], "{broken}");
    }
    let conn = bench.open("/socket.io/?EIO=4&transport=websocket", "");
    bench.take(conn);
    bench.text(conn, r#"42["message",1]"#);
    assert!(matches!(bench.take(conn).as_slice(), [Got::Close(1002, _)]), "not connected");
    assert!(bench.take(b).is_empty());
}

#[test]
fn s6_the_heartbeat_of_4() {
    let mut bench = bench();
    let ((a, _), (b, _)) = (four(&mut bench), four(&mut bench));
    bench.pass(seconds(25));
    assert_eq!((bench.take_texts(a), bench.take_texts(b)), (vec!["2".into()], vec!["2".into()]));
    bench.text(b, "3");
    bench.pass(seconds(19));
    assert!(bench.take(a).is_empty());
    bench.pass(seconds(2));
    assert_eq!(bench.take(a), [Got::Dropped]);
    assert_eq!(bench.take_texts(b), [r#"42["user disconnected"]"#]);
}

#[test]
fn s6_messages_of_4_by_polling() {
    let mut bench = bench();
    let (b, _) = four(&mut bench);
    let path = four_polling(&mut bench);
    let post = bench.post(&path, "42[\"message\",1]\u{1e}42[\"message\",2]");
    assert_eq!(bench.answer(post, 200), "ok");
    assert_eq!(bench.take_texts(b), [r#"42["message",1]"#, r#"42["message",2]"#]);
    bench.text(b, r#"42["message",3]"#);
    bench.text(b, r#"42["message",4]"#);
    let poll = bench.get(&path);
    assert_eq!(bench.answer(poll, 200), "42[\"message\",3]\u{1e}42[\"message\",4]");
    let poll = bench.get(&path);
    bench.text(b, r#"42["message",5]"#);
    assert_eq!(bench.answer(poll, 200), r#"42["message",5]"#);
    let poll = bench.get(&path);
    bench.pass(seconds(26));
    assert_eq!(bench.answer(poll, 200), "2");
    bench.text(b, "3");
    let post = bench.post(&path, "3");
    assert_eq!(bench.answer(post, 200), "ok");
    bench.take(b);
    let (first, second) = (bench.get(&path), bench.get(&path));
    assert_eq!(bench.answer(second, 400), r#"{"code":3,"message":"Bad request"}"#);
    assert_eq!(bench.answer(first, 200), "1", "two polls end the session");
    assert_eq!(bench.take_texts(b), [r#"42["user disconnected"]"#]);
    let poll = bench.get(&path);
    assert_eq!(bench.answer(poll, 400), r#"{"code":1,"message":"Session ID unknown"}"#);
}

#[test]
fn a_poller_that_goes_is_missed_after_its_heartbeat() {
    let mut bench = bench();
    let (b, _) = four(&mut bench);
    let path = four_polling(&mut bench);
    let poll = bench.get(&path);
    bench.hang_up(poll);
    bench.pass(seconds(24));
    bench.pass(seconds(2));
    assert_eq!(bench.take_texts(b), ["2"]);
    bench.text(b, "3");
    bench.pass(seconds(20));
    assert_eq!(bench.take_texts(b), [r#"42["user disconnected"]"#]);
}

#[test]
fn s6_the_upgrade() {
    let mut bench = bench();
    let (b, _) = four(&mut bench);
    let path = four_polling(&mut bench);
    let poll = bench.get(&path);
    let ws = bench.open(&path.replace("polling", "websocket"), "");
    assert_eq!(bench.take(ws), [Got::Upgraded(None)]);
    bench.text(ws, "2probe");
    assert_eq!(bench.take(ws), [Got::Text("3probe".into())]);
    assert_eq!(bench.answer(poll, 200), "6", "so that the client can stop polling");
    bench.text(b, r#"42["message",1]"#);
    let poll = bench.get(&path);
    assert_eq!(bench.answer(poll, 200), r#"42["message",1]"#);
    bench.text(b, r#"42["message",2]"#);
    bench.text(ws, "5");
    assert_eq!(bench.take(ws), [Got::Text(r#"42["message",2]"#.into())]);
    bench.text(ws, r#"42["message",3]"#);
    assert_eq!(bench.take_texts(b), [r#"42["message",3]"#]);
    bench.text(b, r#"42["message",4]"#);
    assert_eq!(bench.take_texts(ws), [r#"42["message",4]"#]);
    let poll = bench.get(&path);
    assert_eq!(bench.answer(poll, 400), r#"{"code":3,"message":"Bad request"}"#);
    bench.hang_up(ws);
    assert_eq!(bench.take_texts(b), [r#"42["user disconnected"]"#]);
}

#[test]
fn an_upgrade_that_fails_leaves_the_session_to_polling() {
    let mut bench = bench();
    let (b, _) = four(&mut bench);
    let path = four_polling(&mut bench);
    let ws = bench.open(&path.replace("polling", "websocket"), "");
    bench.text(ws, "2probe");
    bench.hang_up(ws);
    let poll = bench.get(&path);
    bench.text(b, r#"42["message",1]"#);
    assert_eq!(bench.answer(poll, 200), r#"42["message",1]"#);
    let ws = bench.open(&path.replace("polling", "websocket"), "");
    bench.take(ws);
    bench.text(ws, "5");
    assert_eq!(bench.take(ws), [Got::Dropped], "not probed");
    assert!(bench.take(b).is_empty());
}

#[test]
fn s7_engine_io_3() {
    let mut bench = bench();
    let (a, (b, _)) = (three(&mut bench), four(&mut bench));
    bench.text(a, "2");
    assert_eq!(bench.take_texts(a), ["3"]);
    bench.text(a, "2probe");
    assert_eq!(bench.take_texts(a), ["3probe"]);
    bench.text(a, r#"42["message",1]"#);
    assert_eq!(bench.take_texts(b), [r#"42["message",1]"#]);
    bench.text(a, "40/chat,");
    assert_eq!(bench.take_texts(a), [r#"44/chat,"Invalid namespace""#]);
    let (path, body) = polling(&mut bench, 3);
    let open = body.strip_suffix("2:40").unwrap();
    let (length, packet) = open.split_once(':').unwrap();
    assert_eq!(length, packet.len().to_string());
    let post = bench.post(&path, "19:42[\"message\",\"é👋\"]1:2");
    assert_eq!(bench.answer(post, 200), "ok");
    assert_eq!(bench.take_texts(b), [r#"42["message","é👋"]"#]);
    let poll = bench.get(&path);
    assert_eq!(bench.answer(poll, 200), "1:3");
    bench.take(a);
    bench.pass(seconds(46));
    assert_eq!(bench.take(a), [Got::Dropped], "no ping for 45 s");
}

#[test]
fn s8_every_version_hears_every_other() {
    let mut bench = bench();
    let (old, (new, _), middle) = (legacy(&mut bench), four(&mut bench), three(&mut bench));
    bench.text(old, &format!("4:::{OFFER}"));
    assert_eq!(bench.take_texts(new), [format!(r#"42["message",{OFFER}]"#)]);
    assert_eq!(bench.take_texts(middle), [format!(r#"42["message",{OFFER}]"#)]);
    let candidate =
        r#"{"type":"candidate","sdpMLineIndex":0,"sdpMid":"0","candidate":"candidate:1 1 udp 1 1.2.3.4 5 typ host"}"#;
    for payload in [OFFER, candidate, r#""plain""#, r#"{"any":[1,2.50]}"#] {
        bench.text(new, &format!(r#"42["message",{payload}]"#));
        assert_eq!(bench.take_texts(old), [format!(r#"5:::{{"name":"message","args":[{payload}]}}"#)]);
        assert_eq!(bench.take_texts(middle), [format!(r#"42["message",{payload}]"#)]);
    }
}

/// Also defect 004.5, row 1: the event is sent, and spelt right.
#[test]
fn s9_s12_three_clients_and_one_that_goes() {
    let mut bench = bench();
    let ((a, _), (b, _), c) = (four(&mut bench), four(&mut bench), legacy(&mut bench));
    bench.text(a, r#"42["message","hi"]"#);
    assert_eq!(bench.take_texts(b), [r#"42["message","hi"]"#]);
    assert_eq!(bench.take_texts(c), [r#"5:::{"name":"message","args":["hi"]}"#]);
    bench.hang_up(a);
    assert_eq!(bench.take_texts(b), [r#"42["user disconnected"]"#]);
    assert_eq!(bench.take_texts(c), [r#"5:::{"name":"user disconnected"}"#]);
}

#[test]
fn s11_pages_of_other_origins() {
    let config = ServerConfig { allow_origins: vec!["https://good.example".into()], ..ServerConfig::default() };
    let mut bench = Bench::new(config);
    let mut ask = |method: &str, path: &str, origin: &str| {
        let conn = bench.accept();
        let origin = format!("Origin: {origin}\r\nAccess-Control-Request-Headers: x-a");
        bench.http(conn, &format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n{origin}\r\n\r\n"));
        let got = bench.take(conn);
        let [Got::Answer(status, _)] = got.as_slice() else { panic!("{got:?}") };
        (*status, bench.headers[&conn].clone())
    };
    for (method, path) in [
        ("GET", "/socket.io/1/"),
        ("GET", "/socket.io/?EIO=4&transport=polling"),
        ("GET", "/socket.io/?EIO=4&transport=polling&sid=x"),
        ("OPTIONS", "/socket.io/?EIO=4&transport=polling"),
    ] {
        let (_, headers) = ask(method, path, "https://good.example");
        let has = |name: &str, value: &str| headers.contains(&(name.to_owned(), value.to_owned()));
        assert!(has("Access-Control-Allow-Origin", "https://good.example"), "{path} {headers:?}");
        assert!(has("Access-Control-Allow-Credentials", "true"), "{path} {headers:?}");
        if method == "OPTIONS" {
            assert!(has("Access-Control-Allow-Headers", "x-a"), "{headers:?}");
        }
        assert_eq!(ask(method, path, "https://evil.example").0, 403);
    }
}

#[test]
fn a_server_that_wants_a_token_refuses_clients_that_have_no_word_for_it() {
    let mut bench = Bench::new(ServerConfig { token: Some("secret".into()), ..ServerConfig::default() });
    for path in ["/socket.io/1/", "/socket.io/?EIO=4&transport=polling"] {
        let conn = bench.get(path);
        assert_eq!(bench.answer(conn, 403), r#"{"code":4,"message":"Forbidden"}"#);
    }
    let conn = bench.open("/socket.io/?EIO=4&transport=websocket", "");
    bench.answer(conn, 403);
}

#[test]
fn a_peer_of_our_own_protocol_calls_and_is_answered() {
    let mut bench = bench();
    let ((a, name), (b, _)) = (four(&mut bench), four(&mut bench));
    let bob = bench.enishi("bob");
    bench.text(bob, &format!(r#"{{"type":"offer","to":"{name}","sdp":"v=0\r\n"}}"#));
    assert_eq!(bench.take_texts(a), [format!(r#"42["message",{OFFER}]"#)]);
    bench.text(a, r#"42["message",{"type":"answer","sdp":"v=0\r\n"}]"#);
    let told = bench.take_texts(bob);
    assert!(told[0].contains(r#""type":"answer""#) && told[0].contains(&name), "{told:?}");
    assert!(bench.take(b).is_empty(), "the answer is the caller's");
    bench.hang_up(bob);
    bench.pass(seconds(11));
    bench.text(a, r#"42["message",1]"#);
    bench.text(a, r#"42["message",2]"#);
    assert_eq!(bench.take_texts(b), [r#"42["message",2]"#], "without the caller, to all again");
}

#[test]
fn sessions_are_bounded_and_unused_ones_end() {
    let limits = Limits { connections: 3, ..Limits::default() };
    let mut bench = Bench::new(ServerConfig { limits, ..ServerConfig::default() });
    let ask = |bench: &mut Bench| {
        let conn = bench.get("/socket.io/1/");
        let got = bench.take(conn);
        bench.hang_up(conn);
        let [Got::Answer(status, _)] = got.as_slice() else { panic!("{got:?}") };
        *status
    };
    assert_eq!([(); 5].map(|()| ask(&mut bench)), [200, 200, 200, 503, 503]);
    bench.pass(seconds(61));
    assert_eq!(ask(&mut bench), 200);
    assert_eq!(bench.server.stats().connections, 0);
}

#[test]
fn a_poster_that_is_too_fast_waits_for_its_answer() {
    let limits = Limits { messages_per_second: 1, message_burst: 2, ..Limits::default() };
    let mut bench = Bench::new(ServerConfig { limits, ..ServerConfig::default() });
    let (b, _) = four(&mut bench);
    let path = four_polling(&mut bench);
    let post = bench.post(&path, "42[\"message\",1]\u{1e}42[\"message\",2]\u{1e}42[\"message\",3]");
    assert_eq!(bench.take_texts(b).len(), 3, "nothing is lost");
    assert!(bench.take(post).is_empty(), "but it waits");
    let second = bench.post(&path, "3");
    assert_eq!(bench.answer(second, 400), r#"{"code":3,"message":"Bad request"}"#);
    assert_eq!(bench.answer(post, 200), "ok", "two posts end the session");
    let path = four_polling(&mut bench);
    let post = bench.post(&path, "42[\"message\",1]\u{1e}42[\"message\",2]\u{1e}42[\"message\",3]");
    bench.pass(seconds(3));
    assert_eq!(bench.answer(post, 200), "ok");
}

#[test]
fn draining_says_goodbye_to_all_of_them() {
    let mut bench = bench();
    let (a, (b, _)) = (legacy(&mut bench), four(&mut bench));
    let path = four_polling(&mut bench);
    let poll = bench.get(&path);
    bench.drain();
    assert!(matches!(bench.take(a).last(), Some(Got::Close(1012, _))));
    assert!(matches!(bench.take(b).last(), Some(Got::Close(1012, _))));
    let body = bench.answer(poll, 200);
    assert!(body == "1" || body.contains("user disconnected"), "{body}");
    bench.hang_up(a);
    bench.hang_up(b);
    assert!(bench.drained);
}

/// Defect 004.5, row 2: two users a server, because a third one answers, too.
#[test]
fn a_room_in_the_query_keeps_others_out() {
    let mut bench = bench();
    let conn = bench.get("/socket.io/1/?room=demo");
    let sid = bench.answer(conn, 200).split(':').next().unwrap().to_owned();
    let a = bench.open(&format!("/socket.io/1/websocket/{sid}"), "");
    let b = bench.open("/socket.io/?EIO=3&transport=websocket&room=demo", "");
    let c = bench.open("/socket.io/?EIO=4&transport=websocket&room=other", "");
    bench.text(c, "40");
    let (d, _) = four(&mut bench);
    for conn in [a, b, c] {
        bench.take(conn);
    }
    bench.text(a, "3:::hi");
    assert_eq!(bench.take_texts(b), [r#"42["message","hi"]"#]);
    bench.hang_up(a);
    assert_eq!(bench.take_texts(b), [r#"42["user disconnected"]"#]);
    assert!(bench.take(c).is_empty() && bench.take(d).is_empty());
    let conn = bench.get(&format!("/socket.io/1/?room={}", "x".repeat(257)));
    bench.answer(conn, 400);
}
