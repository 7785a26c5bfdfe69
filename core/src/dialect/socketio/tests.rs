//! Frames to commands and back, and what hostile ones come to.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::time::Duration;

use proptest::prelude::*;

use super::wire;
use super::*;
use crate::signal::{Candidate, Command, Envelope, Letter, Name, Payload, Resumed, To};

const ALL: [Version; 3] = [Version::Legacy, Version::Three, Version::Four];

/// A codec, with what it needs.
struct Bench {
    server: Server,
    ids: Ids,
    limits: Limits,
}

impl Bench {
    /// A client that is connected.
    fn new(version: Version) -> Self {
        let mut bench = Bench { server: Server::new(version, None, None), ids: Ids::new(1), limits: Limits::default() };
        let name = Name::from("me");
        bench.encode(&Event::Registered { name, token: None, resumed: Resumed::Fresh }).unwrap();
        bench
    }

    fn receive(&mut self, frame: &Frame) -> Vec<Heard> {
        let mut out = Vec::new();
        let Bench { server, ids, limits } = self;
        server.receive(&mut Context { unix: Duration::ZERO, ids, limits, ice_servers: &[] }, frame, &mut out);
        out
    }

    fn encode(&mut self, event: &Event) -> Result<Vec<Said>, Refusal> {
        let mut out = Vec::new();
        let Bench { server, ids, limits } = self;
        server.encode(&mut Context { unix: Duration::ZERO, ids, limits, ice_servers: &[] }, event, &mut out)?;
        Ok(out)
    }
}

/// What a frame of a client's brings to somebody of another version.
fn letter(version: Version, text: &str) -> Letter {
    match Bench::new(version).receive(&Frame::text(text)).as_slice() {
        [Heard::Command(Command::Signal(Envelope { letter, .. }))] => letter.clone(),
        other => panic!("{text}: {other:?}"),
    }
}

fn event(letter: Letter, to: To) -> Event {
    Event::Signal { from: Name::from("other"), to, letter }
}

fn texts(said: Vec<Said>) -> Vec<String> {
    let text = |said| if let Said::Frame(Frame::Text(text)) = said { text.as_str().to_owned() } else { String::new() };
    said.into_iter().map(text).collect()
}

#[test]
fn what_a_payload_is_decides_its_form_and_nothing_else() {
    let data = |text: &str| Signal::Data { label: "message".into(), payload: Payload::Text(text.into()) };
    let candidate = Candidate {
        candidate: "candidate:1".into(),
        sdp_mid: Some("0".into()),
        sdp_m_line_index: Some(0),
        username_fragment: None,
    };
    for (payload, signal) in [
        (r#"{"type":"offer","sdp":"v=0\r\n"}"#, Signal::Offer { sdp: "v=0\r\n".into() }),
        (r#"{"sdp":"v=0","more":[1],"type":"answer"}"#, Signal::Answer { sdp: "v=0".into() }),
        (
            r#"{"type":"candidate","sdpMLineIndex":0,"sdpMid":"0","candidate":"candidate:1"}"#,
            Signal::Candidate(candidate),
        ),
        (r#"{"type":"candidate","candidate":""}"#, Signal::EndOfCandidates { username_fragment: None }),
    ] {
        assert_eq!(wire::read(payload), signal, "{payload}");
    }
    for payload in [
        "null",
        "1",
        "\"offer\"",
        "[]",
        r#"["offer","v=0",null,null,null,null]"#,
        r#"{"type":"offer"}"#,
        r#"{"type":"offer","sdp":1}"#,
        r#"{"type":"offer","sdp":"a","sdp":"b"}"#,
        r#"{"Type":"offer","sdp":"a"}"#,
        r#"{"type":"candidate"}"#,
        r#"{"type":"other","sdp":"a"}"#,
        r#"{"type":"offer","sdp":"\ud800"}"#,
    ] {
        assert_eq!(wire::read(payload), data(payload), "{payload}");
    }
}

#[test]
fn a_letter_goes_on_unchanged_or_in_the_receivers_form() {
    for (from, text) in [(Version::Four, r#"42["message",{"x":1.50}]"#), (Version::Legacy, r#"4:::{"x":1.50}"#)] {
        for to in ALL {
            let said = Bench::new(to).encode(&event(letter(from, text), To::Room("r".into()))).unwrap();
            let expected = wire::message(to, r#"{"x":1.50}"#);
            assert_eq!(texts(said), [expected], "{from:?} to {to:?}");
        }
    }
}

#[test]
fn who_called_gets_the_answer_until_it_is_gone() {
    let mut bench = Bench::new(Version::Four);
    let to = |bench: &mut Bench| match bench.receive(&Frame::text(r#"42["message",1]"#)).as_slice() {
        [Heard::Command(Command::Signal(Envelope { to, .. }))] => to.clone(),
        other => panic!("{other:?}"),
    };
    let me = To::Peer("me".into());
    let everybody = To::Room(Name::private("socket.io"));
    let data = Signal::Data { label: "x".into(), payload: Payload::Text("hi".into()) };
    bench.encode(&event(Letter::Open(data), me.clone())).unwrap();
    assert_eq!(to(&mut bench), everybody, "only an offer is a call");
    bench.encode(&event(Letter::Open(Signal::Offer { sdp: String::new() }), me)).unwrap();
    assert_eq!(to(&mut bench), To::Peer("other".into()));
    bench.encode(&Event::Refused { refusal: Refusal::NoSuchPeer, to: Some("other".into()), tag: None }).unwrap();
    assert_eq!(to(&mut bench), everybody);
}

#[test]
fn a_name_that_somebody_took_is_replaced() {
    let mut bench = Bench::new(Version::Legacy);
    bench.server = Server::new(Version::Legacy, Some("told".into()), None);
    let register = |name| Command::Register { name, resumable: false };
    assert_eq!(bench.receive(&Frame::text("1::")), [Heard::Command(register(Some("told".into())))]);
    let taken = Event::Refused { refusal: Refusal::NameTaken, to: None, tag: None };
    assert_eq!(bench.encode(&taken), Ok(vec![Said::Command(register(None))]));
}

#[test]
fn there_is_no_word_for_bytes_and_restarts() {
    let bytes = Signal::Data { label: "message".into(), payload: Payload::Binary(vec![1].into()) };
    for signal in [bytes, Signal::Restart] {
        for version in ALL {
            let event = event(Letter::Open(signal.clone()), To::Peer("me".into()));
            assert_eq!(Bench::new(version).encode(&event), Err(Refusal::NoWordForThis));
        }
    }
    let heard = Bench::new(Version::Four).receive(&Frame::Binary(vec![1].into()));
    assert!(matches!(heard.as_slice(), [Heard::Refused { refusal: Refusal::Malformed(_), .. }]), "{heard:?}");
}

#[test]
fn a_message_is_not_nested_deeper_than_others_can_read() {
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    let heard = Bench::new(Version::Four).receive(&Frame::text(format!(r#"42["message",{deep}]"#)));
    assert!(matches!(heard.as_slice(), [Heard::Refused { .. }]), "{heard:?}");
    assert!(Bench::new(Version::Legacy).receive(&Frame::text(format!("4:::{deep}"))).is_empty());
}

#[test]
fn a_client_takes_only_a_handshake_that_it_can_use() {
    let mut client = Client::new(Dialect::SocketIo09);
    assert!(client.asks_first());
    for answer in ["", "sid", "sid:60:60", "sid:60:60:xhr-polling", "a/b:60:60:websocket", ":60:60:websocket"] {
        assert!(client.begin(answer).is_err(), "{answer}");
    }
    client.begin("Ab-_1:60:60:xhr-polling,websocket").unwrap();
    assert!(!client.asks_first());
    assert_eq!(client.path(), "/socket.io/1/websocket/Ab-_1");
    assert_eq!(name_in("Ab-_1"), "Ab-_1");
    let ours = session_id(&Name::from("dc0f3a7g8ajv0hk0bcc0"), "0123456789abcdef0123");
    assert_eq!(name_in(&ours), "dc0f3a7g8ajv0hk0bcc0");
}

fn signal() -> impl Strategy<Value = Signal> {
    let option = || prop::option::of(".{0,10}");
    prop_oneof![
        ".{0,40}".prop_map(|sdp| Signal::Offer { sdp }),
        ".{0,40}".prop_map(|sdp| Signal::Answer { sdp }),
        (".{1,40}", option(), prop::option::of(any::<u16>()), option()).prop_map(
            |(candidate, mid, index, fragment)| {
                Signal::Candidate(Candidate {
                    candidate,
                    sdp_mid: mid,
                    sdp_m_line_index: index,
                    username_fragment: fragment,
                })
            }
        ),
        option().prop_map(|username_fragment| Signal::EndOfCandidates { username_fragment }),
        any::<i64>().prop_map(|number| Signal::Data {
            label: "message".into(),
            payload: Payload::Text(format!(r#"{{"n":[{number},"<é👋>"]}}"#)),
        }),
    ]
}

proptest! {
    /// Our client to our server, to any version, and to our client there.
    #[test]
    fn a_signal_arrives_as_it_was_sent(signal in signal()) {
        for (dialect, from) in [(Dialect::SocketIo09, Version::Legacy), (Dialect::SocketIo, Version::Four)] {
            let mut frames = Vec::new();
            let mut client = Client::new(dialect);
            let (mut ids, limits) = (Ids::new(1), Limits::default());
            let mut cx = Context { unix: Duration::ZERO, ids: &mut ids, limits: &limits, ice_servers: &[] };
            let (to, letter) = (To::Peer(EVERYONE.into()), Letter::Open(signal.clone()));
            let envelope = Envelope { from: None, to, letter, tag: None, receipt: false };
            client.encode(&mut cx, &Command::Signal(envelope), &mut frames).unwrap();
            let heard = Bench::new(from).receive(&frames[0]);
            let [Heard::Command(Command::Signal(envelope))] = heard.as_slice() else { panic!("{heard:?}") };
            for (dialect, to) in [(Dialect::SocketIo09, Version::Legacy), (Dialect::SocketIo, Version::Four)] {
                let said = Bench::new(to).encode(&event(envelope.letter.clone(), To::Room("r".into()))).unwrap();
                let [Said::Frame(frame)] = said.as_slice() else { panic!("{said:?}") };
                let mut events = Vec::new();
                Client::new(dialect).receive(&mut cx, frame, &mut events).unwrap();
                let [Event::Signal { letter: Letter::Open(arrived), .. }] = events.as_slice() else { panic!("{events:?}") };
                prop_assert_eq!(arrived, &signal);
            }
        }
    }

    #[test]
    fn nothing_panics(
        text in prop_oneof![".{0,40}", "4[0-6](/c,)?[0-9]{0,3}[\\[{\"message\",}\\]:0-9é]{0,30}", "[0-8]:[0-9]?\\+?:(/c)?:?.{0,30}"],
        binary: bool,
    ) {
        let frame = if binary { Frame::Binary(text.into()) } else { Frame::text(text) };
        for version in ALL {
            for heard in Bench::new(version).receive(&frame) {
                if let Heard::Command(Command::Signal(Envelope { letter: Letter::Sealed(sealed), .. })) = heard {
                    prop_assert!(open(&sealed).is_ok(), "what goes on can be opened");
                }
            }
        }
        for dialect in [Dialect::SocketIo09, Dialect::SocketIo] {
            let (mut ids, limits) = (Ids::new(1), Limits::default());
            let mut cx = Context { unix: Duration::ZERO, ids: &mut ids, limits: &limits, ice_servers: &[] };
            let mut client = Client::new(dialect);
            let _ = client.receive(&mut cx, &frame, &mut Vec::new());
            let _ = client.answer(&frame);
        }
    }
}
