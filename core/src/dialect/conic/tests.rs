#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::dialect::go;
use crate::ids::Ids;
use crate::limits::{self, Limits};
use crate::signal::{Envelope, Kind, Letter, Name, Payload, Resumed, To};

mod properties;

const GENERATIONS: [Dialect; 3] = [Dialect::ConicA, Dialect::ConicB, Dialect::ConicC];
const SDP: &str = r#"{"id":"m3","type":"sdp","timestamp":"2025-08-10T12:00:00.123456789+09:00","data":{"from_id":"A1","to_id":"B1","session_description":{"type":"offer","sdp":"v=0\r\n"}}}"#;
const CANDIDATE: &str = r#"{"id":"m3","type":"candidate","timestamp":"2025-08-10T12:00:00Z","data":{"from_id":"A1","to_id":"B1","candidate":{"candidate":"candidate:1 1 udp 1 127.0.0.1 9 typ host","sdpMid":"","sdpMLineIndex":0,"usernameFragment":null}}}"#;
const DATA: &str = r#"{"id":"m3","type":"data_channel","timestamp":"2025-08-10T12:00:00Z","data":{"from_id":"A1","to_id":"B1","label":"chat","payload":"aGk="}}"#;

/// Two ends of codecs with one clock and one source of ids.
struct World {
    ids: Ids,
    limits: Limits,
}

impl World {
    fn new() -> Self {
        World { ids: Ids::new(1), limits: Limits::default() }
    }

    fn cx(&mut self) -> Context<'_> {
        Context {
            unix: Duration::new(1_795_196_520, 360_655_523),
            ids: &mut self.ids,
            limits: &self.limits,
            ice_servers: &[],
        }
    }

    fn hear(&mut self, server: &mut Server, text: &str) -> Heard {
        self.hear_frame(server, &Frame::text(text))
    }

    fn hear_frame(&mut self, server: &mut Server, frame: &Frame) -> Heard {
        let mut out = Vec::new();
        server.receive(&mut self.cx(), frame, &mut out);
        assert_eq!(out.len(), 1);
        out.remove(0)
    }

    /// A frame that is refused, and the answer to it.
    fn refusal(&mut self, server: &mut Server, frame: &Frame) -> (Refusal, Option<Frame>) {
        match self.hear_frame(server, frame) {
            Heard::Refused { refusal, to, tag } => match self.say(server, &Event::Refused { refusal, to, tag }).pop() {
                Some(Said::Frame(answer)) => (refusal, Some(answer)),
                None => (refusal, None),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn say(&mut self, server: &mut Server, event: &Event) -> Vec<Said> {
        let mut out = Vec::new();
        server.encode(&mut self.cx(), event, &mut out).unwrap();
        out
    }

    /// The one text that this event becomes.
    fn text(&mut self, server: &mut Server, event: &Event) -> String {
        match self.say(server, event).as_slice() {
            [Said::Frame(Frame::Text(text))] => text.as_str().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    fn registered(&mut self, dialect: Dialect, name: &str) -> Server {
        let mut server = server(dialect);
        self.say(&mut server, &registered(name));
        server
    }

    fn letter(&mut self, server: &mut Server, text: &str) -> (Envelope, String) {
        match self.hear(server, text) {
            Heard::Command(Command::Signal(envelope)) => {
                let Letter::Sealed(Sealed { frame: Frame::Text(text), .. }) = envelope.letter.clone() else { panic!() };
                (envelope, text.as_str().to_owned())
            }
            other => panic!("{other:?}"),
        }
    }
}

fn server(dialect: Dialect) -> Server {
    Server::detect(&Frame::text(match dialect {
        Dialect::ConicA => r#"{"Type":"register","Raw":null}"#,
        Dialect::ConicB => r#"{"type":"register","raw":null}"#,
        _ => r#"{"type":"register_request"}"#,
    }))
    .unwrap()
}

fn registered(name: &str) -> Event {
    Event::Registered { name: Name::from(name), token: None, resumed: Resumed::Fresh }
}

fn refused(refusal: Refusal) -> Event {
    Event::Refused { refusal, to: None, tag: None }
}

/// An xid is 20 characters: blank it out so that texts compare.
fn without_id(text: &str) -> String {
    let (head, tail) = text.split_once(r#"{"id":""#).unwrap();
    assert!(head.is_empty() && tail[..20].bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()), "{text}");
    format!("{{\"id\":\"<id>{}", &tail[20..])
}

/// A frame of A or B.
fn wrap(dialect: Dialect, kind: &str, inside: &str) -> String {
    let raw = go::base64(inside.as_bytes());
    if dialect == Dialect::ConicA {
        format!(r#"{{"Type":"{kind}","Raw":"{raw}"}}"#)
    } else {
        format!(r#"{{"type":"{kind}","raw":"{raw}"}}"#)
    }
}

fn unwrap(text: &str) -> String {
    let object = go::Object::parse(text).unwrap();
    String::from_utf8(go::bytes(&object.string("raw").unwrap().unwrap()).unwrap()).unwrap()
}

fn offer() -> Signal {
    Signal::Offer { sdp: "v=0\r\n".into() }
}

#[test]
fn the_first_frame_tells_the_generation() {
    for (text, dialect) in [
        (r#"{"id":"m1","type":"register_request","data":{"client_id":"A1"}}"#, Some(Dialect::ConicC)),
        (r#"{"type":"register_request"}"#, Some(Dialect::ConicC)),
        (r#"{"type":"unregister_request"}"#, Some(Dialect::ConicC)),
        (SDP, Some(Dialect::ConicC)),
        (CANDIDATE, Some(Dialect::ConicC)),
        (DATA, Some(Dialect::ConicC)),
        (r#"{"Type":"register","Raw":null}"#, Some(Dialect::ConicA)),
        (r#"{"Type":"register"}"#, Some(Dialect::ConicA)),
        (r#"{"Type":"sdp","Raw":"e30="}"#, Some(Dialect::ConicA)),
        (r#"{"type":"register","raw":null}"#, Some(Dialect::ConicB)),
        (r#"{"type":"register"}"#, Some(Dialect::ConicB)),
        (r#"{"type":"sdp","raw":"{}"}"#, Some(Dialect::ConicB)),
        (r#"{"type":"sdp","raw":{}}"#, Some(Dialect::ConicB)),
        (r#"{"type":"hello"}"#, None),
        (r#"{"type":"join","peer_id":"a","room_id":"r"}"#, None),
        (r#"{"type":"offer","id":"a","sdp":"v=0"}"#, None),
        (r#"{"command":1,"payload":""}"#, None),
        ("not json", None),
        ("[]", None),
    ] {
        assert_eq!(Server::detect(&Frame::text(text)).map(|server| server.dialect()), dialect, "{text}");
        let binary = Frame::Binary(Bytes::from(text));
        assert_eq!(Server::detect(&binary).map(|server| server.dialect()), dialect, "{text}");
    }
}

#[test]
fn c_registers_and_unregisters() {
    let mut world = World::new();
    let mut c = server(Dialect::ConicC);
    let ask = r#"{"id":"m1","type":"register_request","timestamp":"2025-08-10T12:00:00.123456789+09:00","data":{"client_id":"A1"}}"#;
    let wanted = Command::Register { name: Some(Name::from("A1")), resumable: false };
    assert_eq!(world.hear(&mut c, ask), Heard::Command(wanted));
    assert_eq!(
        without_id(&world.text(&mut c, &registered("A1"))),
        r#"{"id":"<id>","type":"register_response","timestamp":"2026-11-20T17:42:00.360655523Z","data":{"client_id":"A1","success":true}}"#
    );
    for ask in [r#"{"type":"unregister_request","data":{"client_id":"A1"}}"#, r#"{"type":"unregister_request"}"#] {
        let given_up = Command::Unregister { name: Name::from("A1") };
        assert_eq!(world.hear(&mut c, ask), Heard::Command(given_up));
    }
    assert_eq!(
        without_id(&world.text(&mut c, &Event::Unregistered { name: Name::from("A1") })),
        r#"{"id":"<id>","type":"unregister_response","timestamp":"2026-11-20T17:42:00.360655523Z","data":{"client_id":"A1","success":true}}"#
    );
    let nameless = world.refusal(&mut c, &Frame::text(r#"{"type":"unregister_request"}"#));
    assert_eq!(nameless, (Refusal::NotRegistered, None));
}

#[test]
fn c_says_success_false_for_a_name_that_is_taken_or_bad() {
    let mut world = World::new();
    let mut c = server(Dialect::ConicC);
    world.hear(&mut c, r#"{"type":"register_request","data":{"client_id":"A1"}}"#);
    let text = world.text(&mut c, &refused(Refusal::NameTaken));
    assert!(text.ends_with(r#""data":{"client_id":"A1","success":false}}"#), "{text}");
    assert_eq!(world.say(&mut c, &refused(Refusal::NameTaken)), [], "answered already");

    let long = "x".repeat(limits::FOREIGN_NAME_BYTES + 1);
    for id in ["", &long] {
        let ask = format!(r#"{{"type":"register_request","data":{{"client_id":"{id}"}}}}"#);
        let (Refusal::BadName, Some(answer)) = world.refusal(&mut c, &Frame::text(ask)) else { panic!() };
        let answer = text_of(&answer);
        assert!(answer.ends_with(&format!(r#""data":{{"client_id":"{id}","success":false}}}}"#)), "{answer}");
    }
    let empty = world.refusal(&mut c, &Frame::text(r#"{"type":"register_request","data":{}}"#));
    assert!(matches!(empty, (Refusal::BadName, Some(_))));
    let nothing = world.refusal(&mut c, &Frame::text(r#"{"type":"register_request"}"#));
    assert!(matches!(nothing, (Refusal::Malformed(_), None)));
}

#[test]
fn c_passes_on_the_senders_own_frame() {
    let mut world = World::new();
    let mut a = world.registered(Dialect::ConicC, "A1");
    let mut b = world.registered(Dialect::ConicC, "B1");
    let spaced =
        SDP.replace(",\"data\"", " , \"extra\":1.50,\"data\"").replace("\"to_id\"", "\"unknown\":[1],\"to_id\"");
    for (text, kind) in [(SDP, Kind::Offer), (&spaced, Kind::Offer), (CANDIDATE, Kind::Candidate), (DATA, Kind::Data)] {
        for frame in [Frame::text(text), Frame::Binary(Bytes::from(text.to_owned()))] {
            let heard = world.hear_frame(&mut a, &frame);
            let Heard::Command(Command::Signal(envelope)) = heard else { panic!("{heard:?}") };
            assert_eq!(envelope.from, Some(Name::from("A1")));
            assert_eq!(envelope.to, To::Peer(Name::from("B1")));
            assert_eq!(envelope.letter.kind(), kind);
            let event = Event::Signal { from: Name::from("A1"), to: envelope.to, letter: envelope.letter };
            assert_eq!(world.text(&mut b, &event), text);
        }
    }
}

#[test]
fn c_fills_in_what_is_missing() {
    let mut world = World::new();
    let mut a = world.registered(Dialect::ConicC, "A1");
    let inner = r#""to_id":"B1","label":"l","payload":null,"extra":1.50"#;
    let (_, text) =
        world.letter(&mut a, &format!(r#"{{"id":"m","type":"data_channel","data":{{"from_id":"A1",{inner}}}}}"#));
    let expected = format!(
        r#"{{"id":"m","type":"data_channel","timestamp":"2026-11-20T17:42:00.360655523Z","data":{{"from_id":"A1",{inner}}}}}"#
    );
    assert_eq!(text, expected);
    let now = r#""timestamp":"2026-11-20T17:42:00.360655523Z""#;
    for from in ["", r#""from_id":"","#, r#""FROM_ID":null,"#] {
        let given = format!(r#"{{"id":"m","type":"data_channel",{now},"data":{{{from}{inner}}}}}"#);
        let (envelope, text) = world.letter(&mut a, &given);
        assert_eq!((envelope.from, text), (Some(Name::from("A1")), expected.clone()), "{given}");
    }
    let shouted = format!(r#"{{"ID":"m","TYPE":"data_channel","Timestamp":null,"Data":{{"from_id":"A1",{inner}}}}}"#);
    assert_eq!(world.letter(&mut a, &shouted).1, expected);
    // Somebody without a name: the hub refuses, nothing is made up.
    let mut nobody = server(Dialect::ConicC);
    let given = format!(r#"{{"id":"m","type":"data_channel",{now},"data":{{{inner}}}}}"#);
    assert_eq!(world.letter(&mut nobody, &given).0.from, None);
}

#[test]
fn c_refuses_without_a_word_and_stays() {
    let mut world = World::new();
    let mut c = world.registered(Dialect::ConicC, "A1");
    let long = "x".repeat(257);
    let deep = format!(r#"{{"type":"sdp","data":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    for text in [
        "not json",
        "",
        "\u{feff}{}",
        "{}",
        r#"{"type":"bogus","data":{}}"#,
        r#"{"type":"register","data":{}}"#,
        r#"{"type":"register_response","data":{"client_id":"A1","success":true}}"#,
        r#"{"type":"error","data":{}}"#,
        r#"{"type":7,"data":{}}"#,
        r#"{"type":"sdp"}"#,
        r#"{"type":"sdp","data":"{}"}"#,
        &deep,
        &SDP.replace(r#""m3""#, "3"),
        &SDP.replace("2025-08-10T", "yesterday"),
        &SDP.replace("offer", "bogus"),
        &SDP.replace("offer", "pranswer"),
        &SDP.replace("offer", "rollback"),
        &SDP.replace(r#","sdp":"v=0\r\n""#, ""),
        &SDP.replace(r#""v=0\r\n""#, "7"),
        &SDP.replace(r#""to_id":"B1""#, r#""to_id":"B1","to_id":"C1""#),
        &SDP.replace(r#""to_id":"B1""#, r#""to_id":"B1","TO_ID":"C1""#),
        &SDP.replace(r#""from_id":"A1""#, r#""from_id":"A1","\u0046rom_id":"C1""#),
        &SDP.replace(r#""type":"sdp""#, r#""type":"sdp","Type":"candidate""#),
        &SDP.replace("B1", ""),
        &SDP.replace("B1", &long),
        &SDP.replace("A1", &long),
        &SDP.replace(r#""B1""#, "1"),
        &CANDIDATE.replace(r#""sdpMLineIndex":0"#, r#""sdpMLineIndex":65536"#),
        &CANDIDATE.replace(r#""sdpMLineIndex":0"#, r#""sdpMLineIndex":-1"#),
        &CANDIDATE.replace(r#""sdpMid":"""#, r#""sdpMid":0"#),
        &DATA.replace("aGk=", "aGk"),
        &DATA.replace("aGk=", "not base64"),
        &format!("{DATA} {DATA}"),
    ] {
        let (_, answer) = world.refusal(&mut c, &Frame::text(text));
        assert_eq!(answer, None, "{text:.200}");
    }
    let invalid = world.refusal(&mut c, &Frame::Binary(Bytes::from_static(b"\xff")));
    assert!(matches!(invalid, (Refusal::Malformed(_), None)));
    let missed = Event::Refused { refusal: Refusal::NoSuchPeer, to: Some(Name::from("B1")), tag: None };
    assert_eq!(world.say(&mut c, &missed), []);
}

#[test]
fn c_tells_of_errors_when_asked() {
    let mut world = World::new();
    let mut c = server(Dialect::ConicC);
    world.hear(&mut c, r#"{"type":"register_request","data":{"client_id":"A1","errors":true}}"#);
    let text = world.text(&mut c, &refused(Refusal::NameTaken));
    assert!(text.ends_with(r#""data":{"client_id":"A1","success":false,"code":"name-taken"}}"#), "{text}");
    world.say(&mut c, &registered("A1"));

    let (envelope, _) = world.letter(&mut c, SDP);
    assert_eq!(envelope.tag, Some(Name::from("m3")));
    let missed = Event::Refused { refusal: Refusal::NoSuchPeer, to: Some(Name::from("B1")), tag: envelope.tag };
    let text = world.text(&mut c, &missed);
    assert!(without_id(&text).starts_with(r#"{"id":"<id>","type":"error","timestamp":"2026-11-20T17:42:00.360655523Z","data":{"code":"no-such-peer","message":""#), "{text}");
    assert!(text.ends_with(r#","to_id":"B1","ref":"m3"}}"#), "{text}");

    let bogus = Frame::text(r#"{"id":"m9","type":"bogus"}"#);
    let (Refusal::UnknownType, Some(answer)) = world.refusal(&mut c, &bogus) else { panic!() };
    assert!(text_of(&answer).contains(r#""code":"unknown-type""#) && text_of(&answer).ends_with(r#""ref":"m9"}}"#));
}

fn text_of(frame: &Frame) -> &str {
    match frame {
        Frame::Text(text) => text.as_str(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_and_b_register_and_unregister() {
    let mut world = World::new();
    for (dialect, answer) in [(Dialect::ConicA, r#"{"ID":"x1"}"#), (Dialect::ConicB, r#"{"id":"x1"}"#)] {
        let mut server = server(dialect);
        for ask in [r#"{"type":"register","raw":null}"#, r#"{"Type":"register"}"#] {
            let wanted = Command::Register { name: None, resumable: false };
            assert_eq!(world.hear(&mut server, ask), Heard::Command(wanted));
        }
        assert_eq!(world.text(&mut server, &registered("x1")), answer);
        let ask = wrap(dialect, "unregister", answer);
        assert_eq!(world.hear(&mut server, &ask), Heard::Command(Command::Unregister { name: Name::from("x1") }));
        let said = world.say(&mut server, &Event::Unregistered { name: Name::from("x1") });
        assert_eq!(said, [Said::Close { code: 1000, reason: "unregistered" }]);
    }
}

#[test]
fn a_and_b_pass_on_what_was_inside() {
    let mut world = World::new();
    let description = r#"{"type":"offer","sdp":"v=0\r\n"}"#;
    let init = r#"{\"candidate\":\"candidate:1\",\"sdpMid\":\"0\",\"sdpMLineIndex\":0,\"usernameFragment\":null}"#;
    for (dialect, id, target, session) in [
        (Dialect::ConicA, "ID", "TargetID", "SessionDescription"),
        (Dialect::ConicB, "id", "target_id", "session_description"),
    ] {
        let candidate = if dialect == Dialect::ConicA { "Candidate" } else { "candidate" };
        let mut server = world.registered(dialect, "x1");
        for (kind, inside) in [
            ("sdp", format!(r#"{{"{id}":"x1","{target}":"x2","{session}":{description},"more":1.50}}"#)),
            ("candidate", format!(r#"{{"{id}":"x1","{target}":"x2","{candidate}":"{init}"}}"#)),
        ] {
            let frame = wrap(dialect, kind, &inside);
            let (envelope, text) = world.letter(&mut server, &frame);
            assert_eq!((envelope.from, envelope.to), (Some(Name::from("x1")), To::Peer(Name::from("x2"))));
            assert_eq!(text, frame);
        }
    }
    let mut b = world.registered(Dialect::ConicB, "x1");
    let hello =
        wrap(Dialect::ConicB, "data_channel", r#"{"id":"x1","target_id":"x2","label":"chat","data":"aGVsbG8="}"#);
    let (envelope, text) = world.letter(&mut b, &hello);
    assert_eq!(text, hello);
    let Letter::Sealed(sealed) = envelope.letter else { panic!() };
    let data = Signal::Data { label: "chat".into(), payload: Payload::Text("hello".into()) };
    assert_eq!(open(&sealed), Ok(data));
    // B builds the outer object anew, A does not touch it.
    let spaced = hello.replace(r#""type""#, r#" "extra":1, "type" "#);
    assert_eq!(world.letter(&mut b, &spaced).1, hello);
    let mut a = world.registered(Dialect::ConicA, "x1");
    let lower = wrap(Dialect::ConicB, "candidate", &format!(r#"{{"id":"x1","targetid":"x2","candidate":"{init}"}}"#));
    assert_eq!(world.letter(&mut a, &lower).1, lower);
}

#[test]
fn the_readmes_form_is_taken_and_passed_on_as_base64() {
    let mut world = World::new();
    let cases = [
        (Dialect::ConicA, r#"{"ID":"x1","TargetID":"x2","SessionDescription":{"type":"offer","sdp":"v=0\r\n"}}"#),
        (Dialect::ConicB, r#"{"id":"x1","target_id":"x2","session_description":{"type":"offer","sdp":"v=0\r\n"}}"#),
    ];
    for (dialect, canonical) in cases {
        for (_, inside) in cases {
            let quoted = serde_json::to_string(inside).unwrap();
            let encoded = serde_json::to_string(&go::base64(inside.as_bytes())).unwrap();
            for raw in [inside, &quoted, &encoded] {
                let mut server = world.registered(dialect, "x1");
                let (envelope, text) = world.letter(&mut server, &format!(r#"{{"type":"sdp","raw":{raw}}}"#));
                assert_eq!((envelope.from, envelope.to), (Some(Name::from("x1")), To::Peer(Name::from("x2"))));
                assert_eq!(unwrap(&text), canonical, "{dialect:?} {raw}");
                if dialect == Dialect::ConicB || raw != encoded {
                    assert_eq!(text, wrap(dialect, "sdp", canonical));
                }
            }
        }
    }
    let mut b = world.registered(Dialect::ConicB, "x1");
    for candidate in [r#""candidate:1""#, r#"{"candidate":"candidate:1"}"#, r#""{\"candidate\":\"candidate:1\"}""#] {
        let given = format!(r#"{{"type":"candidate","raw":{{"ID":"x1","TargetID":"x2","Candidate":{candidate}}}}}"#);
        let init =
            r#"{\"candidate\":\"candidate:1\",\"sdpMid\":null,\"sdpMLineIndex\":null,\"usernameFragment\":null}"#;
        let expected = format!(r#"{{"id":"x1","target_id":"x2","candidate":"{init}"}}"#);
        assert_eq!(unwrap(&world.letter(&mut b, &given).1), expected);
    }
    // A sender that is left out is filled in there too.
    let (envelope, text) = world.letter(
        &mut b,
        r#"{"type":"sdp","raw":{"TargetID":"x2","SessionDescription":{"type":"offer","sdp":"v=0\r\n"}}}"#,
    );
    assert_eq!((envelope.from, unwrap(&text).as_str()), (Some(Name::from("x1")), cases[1].1));
    // The same thing under both names is not.
    let both =
        r#"{"type":"sdp","raw":{"TargetID":"x2","target_id":"x3","SessionDescription":{"type":"offer","sdp":""}}}"#;
    assert!(matches!(world.hear(&mut b, both), Heard::Close { code: 1002, .. }));
}

#[test]
fn a_and_b_close_at_what_they_cannot_read() {
    let mut world = World::new();
    for dialect in [Dialect::ConicA, Dialect::ConicB] {
        let mut server = world.registered(dialect, "x1");
        for (text, wanted) in [
            ("not json".to_owned(), 1002),
            (r#"{"raw":null}"#.to_owned(), 1002),
            (r#"{"type":"sdp"}"#.to_owned(), 1002),
            (r#"{"type":"sdp","raw":null}"#.to_owned(), 1002),
            (r#"{"type":"sdp","raw":"a-b"}"#.to_owned(), 1002),
            (r#"{"type":"sdp","raw":[]}"#.to_owned(), 1002),
            (r#"{"type":"sdp","raw":"","Raw":""}"#.to_owned(), 1002),
            (r#"{"type":"unregister","raw":"AA=="}"#.to_owned(), 1002),
            (wrap(dialect, "sdp", "not json"), 1002),
            (wrap(dialect, "sdp", r#"{"ID":"x1","id":"x2"}"#), 1002),
            (wrap(dialect, "candidate", r#"{"id":"x1","target_id":"x2","candidate":"bogus"}"#), 1002),
            (r#"{"type":"bogus","raw":null}"#.to_owned(), 1003),
            (r#"{"type":"register_request","raw":null}"#.to_owned(), 1003),
        ] {
            let heard = world.hear(&mut server, &text);
            assert!(matches!(heard, Heard::Close { code, .. } if code == wanted), "{text}: {heard:?}");
        }
        let nobody = wrap(dialect, "sdp", r#"{"id":"x1","SessionDescription":{"type":"offer","sdp":""}}"#);
        let answer = Frame::text("target not found");
        assert_eq!(world.refusal(&mut server, &Frame::text(nobody)), (Refusal::NoSuchPeer, Some(answer.clone())));
        let missed = Event::Refused { refusal: Refusal::NoSuchPeer, to: Some(Name::from("x2")), tag: None };
        assert_eq!(world.say(&mut server, &missed), [Said::Frame(answer)]);
        assert_eq!(world.say(&mut server, &refused(Refusal::NotYourName)), []);
    }
    let mut a = world.registered(Dialect::ConicA, "x1");
    let data = wrap(Dialect::ConicA, "data_channel", r#"{"ID":"x1","TargetID":"x2","Label":"l","Data":"aGk="}"#);
    assert!(matches!(world.hear(&mut a, &data), Heard::Close { code: 1003, .. }));
}

#[test]
fn there_is_no_word_for_some_things() {
    let mut world = World::new();
    for dialect in GENERATIONS {
        let mut server = world.registered(dialect, "b");
        let mut refusal = |signal, from_room: bool| {
            let to = if from_room { To::Room(Name::from("r")) } else { To::Peer(Name::from("b")) };
            let event = Event::Signal { from: Name::from("a"), to, letter: Letter::Open(signal) };
            let mut out = Vec::new();
            let result = server.encode(&mut world.cx(), &event, &mut out);
            assert_eq!(result.is_ok(), !out.is_empty());
            result.err()
        };
        assert_eq!(refusal(Signal::Restart, false), Some(Refusal::NoWordForThis));
        let data = |bytes| Signal::Data { label: "l".into(), payload: Payload::Text("x".repeat(bytes)) };
        if dialect == Dialect::ConicA {
            assert_eq!(refusal(data(1), false), Some(Refusal::NoWordForThis));
        } else {
            assert_eq!(refusal(data(1), false), None);
            assert_eq!(refusal(data(400 * 1024), false), Some(Refusal::TooBig));
        }
        assert_eq!(refusal(offer(), true), None, "addressed as oneself");

        let room = Name::from("r");
        let place = crate::signal::Place { epoch: 1, seq: 1 };
        let events = [
            Event::Listed { names: vec![], tag: None },
            Event::Roster { room: room.clone(), place, members: vec![], tag: None },
            Event::Joined { room: room.clone(), place, name: Name::from("x") },
            Event::Left { room, place, name: Name::from("x"), why: crate::signal::Departure::Gone },
        ];
        for event in events {
            assert_eq!(world.say(&mut server, &event), []);
        }
        let mut client = Client::new(dialect);
        let mut out = Vec::new();
        let list = Command::List { tag: None };
        assert_eq!(client.encode(&mut world.cx(), &list, &mut out), Err(Refusal::NoWordForThis));
        assert_eq!(client.encode(&mut world.cx(), &Command::Bye, &mut out), Ok(()));
        let early = Envelope {
            from: None,
            to: To::Peer(Name::from("b")),
            letter: Letter::Open(offer()),
            tag: None,
            receipt: false,
        };
        let early = Command::Signal(early);
        assert_eq!(client.encode(&mut world.cx(), &early, &mut out), Err(Refusal::NotRegistered));
        assert_eq!(out, []);
    }
}

#[test]
fn signals_are_written_as_go_writes_them() {
    let mut world = World::new();
    let event =
        |signal| Event::Signal { from: Name::from("a<"), to: To::Peer(Name::from("b")), letter: Letter::Open(signal) };
    let mut c = world.registered(Dialect::ConicC, "b");
    let text = world.text(&mut c, &event(offer()));
    assert_eq!(
        without_id(&text),
        r#"{"id":"<id>","type":"sdp","timestamp":"2026-11-20T17:42:00.360655523Z","data":{"from_id":"a\u003c","to_id":"b","session_description":{"type":"offer","sdp":"v=0\r\n"}}}"#
    );
    let text = world.text(&mut c, &event(Signal::EndOfCandidates { username_fragment: None }));
    assert!(
        text.contains(r#""candidate":{"candidate":"","sdpMid":null,"sdpMLineIndex":null,"usernameFragment":null}"#)
    );
    let mut a = world.registered(Dialect::ConicA, "b");
    let text = world.text(&mut a, &event(offer()));
    assert_eq!(
        unwrap(&text),
        r#"{"ID":"a\u003c","TargetID":"b","SessionDescription":{"type":"offer","sdp":"v=0\r\n"}}"#
    );
    assert!(text.starts_with(r#"{"Type":"sdp","Raw":""#));
}

#[test]
fn clients_talk_to_the_original_servers() {
    let mut world = World::new();
    let mut hear = |client: &mut Client, text: &str| {
        let mut out = Vec::new();
        client.receive(&mut world.cx(), &Frame::text(text), &mut out).map(|()| out.remove(0))
    };
    let mut c = Client::new(Dialect::ConicC);
    let answer = r#"{"id":"dc08cq1ksducesknhpqg","type":"register_response","timestamp":"2026-11-20T17:42:00.360655523Z","data":{"client_id":"A1","success":true}}"#;
    assert_eq!(hear(&mut c, answer), Ok(registered("A1")));
    assert_eq!(hear(&mut c, &answer.replace("true", "false")), Ok(refused(Refusal::NameTaken)));
    let Ok(Event::Signal { from, letter, .. }) = hear(&mut c, SDP) else { panic!() };
    assert_eq!((from, letter), (Name::from("A1"), Letter::Open(offer())));
    assert!(hear(&mut c, "not json").is_err());
    assert_eq!(hear(&mut c, r#"{"type":"bogus","data":{}}"#), Err(Refusal::UnknownType));
    for (dialect, id) in [(Dialect::ConicA, "ID"), (Dialect::ConicB, "id")] {
        let mut client = Client::new(dialect);
        let answer = format!(r#"{{"{id}":"dc08cl1ksduc4uv0k4m0"}}"#);
        assert_eq!(hear(&mut client, &answer), Ok(registered("dc08cl1ksduc4uv0k4m0")));
        assert_eq!(hear(&mut client, "target not found"), Ok(refused(Refusal::NoSuchPeer)));
    }
}

/// The original server of C reaches a client for 10 s after its last answer; registering again keeps that up.
#[test]
fn c_registers_again_and_the_answer_is_no_news() {
    assert_eq!(GENERATIONS.map(|dialect| Client::new(dialect).renewal().is_some()), [false, false, true]);
    let mut world = World::new();
    let mut client = Client::new(Dialect::ConicC);
    let mut hear = |client: &mut Client, text: &str| {
        let mut out = Vec::new();
        client.receive(&mut world.cx(), &Frame::text(text), &mut out).unwrap();
        out
    };
    let answer = r#"{"id":"m","type":"register_response","data":{"client_id":"A1","success":true}}"#;
    assert_eq!(hear(&mut client, answer), [registered("A1")]);
    assert_eq!(hear(&mut client, answer), []);
    assert_eq!(hear(&mut client, &answer.replace("true", "false")), [refused(Refusal::NameTaken)]);
    assert_eq!(hear(&mut client, answer), [registered("A1")]);
}

#[test]
fn clients_and_servers_understand_each_other() {
    let mut world = World::new();
    for dialect in GENERATIONS {
        let mut client = Client::new(dialect);
        let mut frames = Vec::new();
        let wanted = Command::Register { name: Some(Name::from("a")), resumable: true };
        client.encode(&mut world.cx(), &wanted, &mut frames).unwrap();
        let mut server = Server::detect(&frames[0]).unwrap();
        assert_eq!(server.dialect(), dialect);
        let chosen = if dialect == Dialect::ConicC { Some(Name::from("a")) } else { None };
        let heard = world.hear_frame(&mut server, &frames[0]);
        assert_eq!(heard, Heard::Command(Command::Register { name: chosen, resumable: false }));
        let Said::Frame(answer) = world.say(&mut server, &registered("a")).remove(0) else { panic!() };
        let mut events = Vec::new();
        client.receive(&mut world.cx(), &answer, &mut events).unwrap();
        assert_eq!(events, [registered("a")]);

        let missed = Event::Refused { refusal: Refusal::NoSuchPeer, to: Some(Name::from("b")), tag: None };
        let Said::Frame(answer) = world.say(&mut server, &missed).remove(0) else { panic!() };
        events.clear();
        client.receive(&mut world.cx(), &answer, &mut events).unwrap();
        let told = if dialect == Dialect::ConicC { missed } else { refused(Refusal::NoSuchPeer) };
        assert_eq!(events, [told]);

        frames.clear();
        client.encode(&mut world.cx(), &Command::Unregister { name: Name::from("a") }, &mut frames).unwrap();
        let heard = world.hear_frame(&mut server, &frames[0]);
        assert_eq!(heard, Heard::Command(Command::Unregister { name: Name::from("a") }));
    }
}
