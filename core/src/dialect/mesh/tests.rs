//! Codecs of both sides, against each other and against whatever a remote may send.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::dialect::enishi;
use crate::dialect::tests::{near_misses, negotiation};
use crate::ids::Ids;
use crate::limits::Limits;
use crate::signal::{Command, Departure, Envelope, Event, Letter, Payload, Place, Resumed, To};

struct World {
    ids: Ids,
    limits: Limits,
}

impl World {
    fn new() -> Self {
        World { ids: Ids::new(1), limits: Limits::default() }
    }

    fn cx(&mut self) -> Context<'_> {
        Context { unix: Duration::from_secs(1_795_196_520), ids: &mut self.ids, limits: &self.limits, ice_servers: &[] }
    }

    fn hear(&mut self, server: &mut Server, text: &str) -> Vec<Heard> {
        let mut heard = Vec::new();
        server.receive(&mut self.cx(), &Frame::text(text), &mut heard);
        heard
    }

    /// The texts that a client gets.
    fn say(&mut self, server: &mut Server, event: &Event) -> Vec<String> {
        let mut said = Vec::new();
        server.encode(&mut self.cx(), event, &mut said).unwrap();
        said.iter().map(text_of).collect()
    }

    /// A server's codec whose client is in a room.
    fn joined(&mut self, name: &str) -> Server {
        let mut server = Server::default();
        self.say(&mut server, &registered(name));
        self.say(&mut server, &roster("r", &[]));
        server
    }

    fn ask(&mut self, client: &mut Client, command: &Command) -> Result<Vec<Frame>, Refusal> {
        let mut frames = Vec::new();
        client.encode(&mut self.cx(), command, &mut frames).map(|()| frames)
    }

    fn told(&mut self, client: &mut Client, text: &str) -> Result<Vec<Event>, Refusal> {
        let mut events = Vec::new();
        client.receive(&mut self.cx(), &Frame::text(text), &mut events).map(|()| events)
    }

    /// A client that is in the room `r` as `a`.
    fn client(&mut self) -> Client {
        let mut client = Client::default();
        let register = Command::Register { name: Some("a".into()), resumable: false };
        assert_eq!(self.ask(&mut client, &register), Ok(Vec::new()));
        assert_eq!(self.ask(&mut client, &join("r")).unwrap().len(), 1);
        assert_eq!(self.told(&mut client, r#"{"type": "room_peers", "peers": []}"#).unwrap().len(), 2);
        client
    }
}

fn text_of(said: &Said) -> String {
    match said {
        Said::Frame(Frame::Text(text)) => text.as_str().to_owned(),
        other => panic!("{other:?}"),
    }
}

fn join(room: &str) -> Command {
    Command::Join { room: room.into(), tag: None }
}

fn registered(name: &str) -> Event {
    Event::Registered { name: name.into(), token: None, resumed: Resumed::Fresh }
}

fn roster(room: &str, members: &[&str]) -> Event {
    let (place, members) = (Place { epoch: 1, seq: 1 }, members.iter().map(|name| Name::from(*name)).collect());
    Event::Roster { room: room.into(), place, members, tag: None }
}

fn sealed(heard: Vec<Heard>) -> (To, Sealed) {
    match heard.as_slice() {
        [Heard::Command(Command::Signal(Envelope { from: None, to, letter: Letter::Sealed(sealed), .. }))] => {
            (to.clone(), sealed.clone())
        }
        other => panic!("{other:?}"),
    }
}

fn refusal(heard: &[Heard]) -> Refusal {
    match heard {
        [Heard::Refused { refusal, .. }] => *refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn joining_registers_once_and_leaves_the_room_before() {
    let mut world = World::new();
    let mut server = Server::default();
    let first = world.hear(&mut server, r#"{"type":"join","peer_id":"a","room_id":"r"}"#);
    let register = Command::Register { name: Some("a".into()), resumable: false };
    assert_eq!(first, [Heard::Command(register), Heard::Command(join("r"))]);
    assert!(world.say(&mut server, &registered("a")).is_empty());
    let peers = world.say(&mut server, &roster("r", &["b", "c"]));
    assert_eq!(peers, [r#"{"type":"room_peers","peers":["b","c"]}"#]);

    let again = world.hear(&mut server, r#"{"type":"join","peer_id":"a","room_id":"r"}"#);
    assert_eq!(again, [Heard::Command(join("r"))]);
    let elsewhere = world.hear(&mut server, r#"{"type":"join","peer_id":"a","room_id":"s"}"#);
    let leave = Command::Leave { room: "r".into(), tag: None };
    assert_eq!(elsewhere, [Heard::Command(leave), Heard::Command(join("s"))]);
    let renamed = world.hear(&mut server, r#"{"type":"join","peer_id":"b","room_id":"s"}"#);
    assert_eq!(refusal(&renamed), Refusal::NotYourName);
}

#[test]
fn others_are_told_of_and_oneself_is_not() {
    let mut world = World::new();
    let mut server = world.joined("a");
    let (room, place) = (Name::from("r"), Place { epoch: 1, seq: 2 });
    let came = Event::Joined { room: room.clone(), place, name: "b".into() };
    assert_eq!(world.say(&mut server, &came), [r#"{"type":"peer_joined","peer_id":"b"}"#]);
    let left = |name: &str| Event::Left { room: room.clone(), place, name: name.into(), why: Departure::Gone };
    assert_eq!(world.say(&mut server, &left("b")), [r#"{"type":"peer_left","peer_id":"b"}"#]);
    assert!(world.say(&mut server, &left("a")).is_empty());
}

#[test]
fn payloads_are_spliced_as_they_are() {
    let mut world = World::new();
    let mut server = world.joined("b");
    for (key, kind, payload) in [
        ("offer", "offer", r#"{ "type":"offer","sdp":"v=0\r\n<é>","x":[1.50, null] }"#),
        ("answer", "answer", r#""any JSON at all""#),
        ("candidate", "ice_candidate", r#"{"candidate":"candidate:1","sdpMid":"0"}"#),
        ("candidate", "ice_candidate", "null"),
    ] {
        let frame = format!(r#"{{"target":"a","ignored":1,"{key}":{payload},"type":"{kind}"}}"#);
        let (to, letter) = sealed(world.hear(&mut server, &frame));
        assert_eq!(to, To::Peer("a".into()));
        let wanted = format!(r#"{{"type":"{kind}","{key}":{payload},"from":"b"}}"#);
        assert_eq!(letter.frame, Frame::text(wanted));
        let event = Event::Signal { from: "b".into(), to, letter: Letter::Sealed(letter.clone()) };
        let Frame::Text(wanted) = &letter.frame else { panic!() };
        assert_eq!(world.say(&mut server, &event), [wanted.as_str()]);
    }
}

#[test]
fn a_null_or_empty_candidate_is_the_end_of_them() {
    let mut world = World::new();
    let mut server = world.joined("b");
    for (payload, fragment) in [("null", None), ("{}", None), (r#"{"candidate":"","usernameFragment":"f"}"#, Some("f"))]
    {
        let frame = format!(r#"{{"type":"ice_candidate","target":"a","candidate":{payload}}}"#);
        let (_, letter) = sealed(world.hear(&mut server, &frame));
        assert_eq!(letter.kind, Kind::EndOfCandidates);
        let username_fragment = fragment.map(str::to_owned);
        assert_eq!(open(&letter), Ok(Signal::EndOfCandidates { username_fragment }));
    }
}

#[test]
fn what_cannot_be_used_is_refused_and_changes_nothing() {
    let mut world = World::new();
    let mut server = world.joined("b");
    for text in [
        "",
        "not json",
        "[]",
        "{}",
        r#"{"type":1}"#,
        r#"{"type":"offer","target":"a"}"#,
        r#"{"type":"offer","offer":{}}"#,
        r#"{"type":"offer","Offer":{},"target":"a"}"#,
        r#"{"type":"offer","target":"a","target":"c","offer":{}}"#,
        r#"{"type":"ice_candidate","target":7,"candidate":{}}"#,
        r#"{"type":"join","peer_id":"b"}"#,
        r#"{"type":"join","peer_id":"b","room_id":7}"#,
        r#"{"type":"join","peer_id":"b","room_id":"r\u0000"}"#,
        r#"{"type":"join","peer_id":"b","room_id":""}"#,
        r#"{"type":"room_peers","peers":[]}"#,
    ] {
        assert!(matches!(world.hear(&mut server, text).as_slice(), [Heard::Refused { .. }]), "{text}");
    }
    let long = format!(r#"{{"type":"join","peer_id":"b","room_id":"{}"}}"#, "x".repeat(257));
    assert_eq!(refusal(&world.hear(&mut server, &long)), Refusal::BadName);
    let early = world.hear(&mut Server::default(), r#"{"type":"offer","target":"a","offer":{}}"#);
    assert_eq!(refusal(&early), Refusal::NotRegistered);
    let (to, _) = sealed(world.hear(&mut server, r#"{"type":"offer","target":"a","offer":{}}"#));
    assert_eq!(to, To::Peer("a".into()));
}

#[test]
fn only_what_keeps_a_client_out_is_told() {
    let mut world = World::new();
    for (refusal, code) in [
        (Refusal::NameTaken, Some(1008)),
        (Refusal::BadName, Some(1008)),
        (Refusal::RoomFull, Some(1013)),
        (Refusal::ServerFull, Some(1013)),
        (Refusal::NoSuchPeer, None),
        (Refusal::UnknownType, None),
        (Refusal::NotYourName, None),
    ] {
        let mut said = Vec::new();
        let event = Event::Refused { refusal, to: None, tag: None };
        Server::default().encode(&mut world.cx(), &event, &mut said).unwrap();
        let closed = said.iter().map(|said| if let Said::Close { code, .. } = said { *code } else { 0 });
        assert_eq!(closed.collect::<Vec<_>>(), Vec::from_iter(code), "{refusal:?}");
    }
}

#[test]
fn the_first_frame_tells_the_dialect() {
    let detect = |text: &str| Server::detect(&Frame::text(text)).is_some();
    assert!(detect(r#"{"type": "join", "peer_id": "b", "room_id": "r"}"#));
    assert!(detect(r#"{"type":"offer","target":"a","offer":{}}"#));
    for text in [
        r#"{"type":"join","room":"r"}"#,
        r#"{"type":"hello"}"#,
        r#"{"type":"offer","id":"a","sdp":{}}"#,
        r#"{"type":"answer","id":"a","target_id":"b","sdp":{}}"#,
        r#"{"type":"register"}"#,
        "not json",
    ] {
        assert!(!detect(text), "{text}");
    }
    assert!(!enishi::Server::detect(&Frame::text(r#"{"type":"join","peer_id":"b","room_id":"r"}"#)));
}

#[test]
fn a_client_registers_by_joining() {
    let mut world = World::new();
    let mut client = Client::default();
    assert_eq!(world.ask(&mut client, &join("r")), Err(Refusal::NotRegistered));
    let register = Command::Register { name: Some("b".into()), resumable: false };
    assert_eq!(world.ask(&mut client, &register), Ok(Vec::new()));
    let frames = world.ask(&mut client, &join("r")).unwrap();
    assert_eq!(frames, [Frame::text(r#"{"type":"join","peer_id":"b","room_id":"r"}"#)]);
    assert_eq!(world.ask(&mut client, &join("r")), Ok(Vec::new()), "it is asked for already");
    // As Python writes it, and with oneself in it, as the original does after an id was taken over.
    let events = world.told(&mut client, r#"{"type": "room_peers", "peers": ["a", "b"]}"#).unwrap();
    let place = Place { epoch: 0, seq: 1 };
    let roster = Event::Roster { room: "r".into(), place, members: vec!["a".into()], tag: None };
    assert_eq!(events, [registered("b"), roster]);
    assert_eq!(world.ask(&mut client, &join("r")), Ok(Vec::new()), "we are there already");
}

#[test]
fn a_client_without_a_wish_makes_up_its_name() {
    let mut world = World::new();
    let mut client = Client::default();
    world.ask(&mut client, &Command::Register { name: None, resumable: false }).unwrap();
    world.ask(&mut client, &join("r")).unwrap();
    let events = world.told(&mut client, r#"{"type":"room_peers","peers":[]}"#).unwrap();
    assert!(matches!(&events[0], Event::Registered { name, .. } if name.as_str().len() == 20));
}

#[test]
fn a_client_hears_of_others_and_not_of_itself() {
    let mut world = World::new();
    let mut client = world.client();
    let joined = world.told(&mut client, r#"{"type": "peer_joined", "peer_id": "b"}"#).unwrap();
    let place = Place { epoch: 0, seq: 2 };
    assert_eq!(joined, [Event::Joined { room: "r".into(), place, name: "b".into() }]);
    assert_eq!(world.told(&mut client, r#"{"type":"peer_joined","peer_id":"a"}"#), Ok(Vec::new()));
    let left = world.told(&mut client, r#"{"type":"peer_left","peer_id":"b"}"#).unwrap();
    assert!(matches!(&left[..], [Event::Left { name, place: Place { seq: 3, .. }, .. }] if name.as_str() == "b"));
    let offer =
        world.told(&mut client, r#"{"type": "offer", "offer": {"type": "offer", "sdp": "v=0\r\n"}, "from": "b"}"#);
    let letter = Letter::Open(Signal::Offer { sdp: "v=0\r\n".into() });
    assert_eq!(offer, Ok(vec![Event::Signal { from: "b".into(), to: To::Peer("a".into()), letter }]));
    for text in [r#"{"type":"surprise"}"#, r#"{"type":"peer_left"}"#, r#"{"type":"offer","from":"b","offer":1}"#, "x"] {
        assert!(world.told(&mut client, text).is_err(), "{text}");
    }
}

#[test]
fn a_client_in_a_second_room_has_left_the_first() {
    let mut world = World::new();
    let mut client = world.client();
    assert_eq!(world.ask(&mut client, &join("s")).unwrap().len(), 1);
    let events = world.told(&mut client, r#"{"type":"room_peers","peers":["c"]}"#).unwrap();
    assert!(matches!(&events[..], [
        Event::Left { room, name, why: Departure::Left, .. },
        Event::Roster { room: second, .. },
    ] if room.as_str() == "r" && name.as_str() == "a" && second.as_str() == "s"));
}

#[test]
fn a_client_knows_what_a_close_means_before_it_is_in() {
    let mut world = World::new();
    assert_eq!(Client::default().refusal_of_close(1008), Some(Refusal::NameTaken));
    assert_eq!(Client::default().refusal_of_close(1001), None);
    assert_eq!(world.client().refusal_of_close(1008), None);
}

/// From a client over its server's codec to another server's codec and its client.
fn relay(world: &mut World, signal: &Signal) -> Result<Signal, Refusal> {
    let envelope = Envelope {
        from: None,
        to: To::Peer("b".into()),
        letter: Letter::Open(signal.clone()),
        tag: None,
        receipt: false,
    };
    let mut sender = world.client();
    let frames = world.ask(&mut sender, &Command::Signal(envelope))?;
    let Frame::Text(text) = &frames[0] else { panic!() };
    let mut server = world.joined("b");
    let (_, letter) = sealed(world.hear(&mut server, text.as_str()));
    assert_eq!(letter.kind, signal.kind());
    assert_eq!(open(&letter).as_ref(), Ok(signal));
    // Translated by the server, as for a sender of another dialect, it is the same.
    let crossing = Event::Signal { from: "b".into(), to: To::Peer("a".into()), letter: Letter::Open(signal.clone()) };
    let straight = Event::Signal { from: "b".into(), to: To::Peer("a".into()), letter: Letter::Sealed(letter) };
    let (crossing, straight) = (world.say(&mut server, &crossing), world.say(&mut server, &straight));
    assert_eq!(crossing, straight);
    let mut receiver = world.client();
    match world.told(&mut receiver, &straight[0]).unwrap().pop() {
        Some(Event::Signal { from, letter: Letter::Open(signal), .. }) if from.as_str() == "b" => Ok(signal),
        other => panic!("{other:?}"),
    }
}

fn signals() -> impl Strategy<Value = Signal> {
    prop_oneof![
        4 => negotiation(),
        1 => Just(Signal::Restart),
        1 => any::<String>().prop_map(|text| Signal::Data { label: "chat".into(), payload: Payload::Text(text) }),
    ]
}

/// Pieces of messages.
const PIECES: &[&str] = &[
    "\"type\":\"join\",\"peer_id\":\"a\"",
    "\"room_id\":\"r\"",
    "\"type\":\"ice_candidate\",\"target\":\"a\"",
    "\"candidate\":{\"candidate\":\"\\ud800\"}",
    "\"type\":\"offer\",\"from\":\"b\",\"target\":\"a\"",
    "\"offer\":{\"sdp\":\"v=0\"}",
    "\"type\":\"room_peers\",\"peers\":[\"a\"]",
];

/// Feeds a frame to everything that reads frames from a remote; what is sealed must not panic when opened either.
fn feed(frame: &Frame) {
    let mut world = World::new();
    let _ = Server::detect(frame);
    for mut server in [Server::default(), world.joined("a")] {
        let mut heard = Vec::new();
        server.receive(&mut world.cx(), frame, &mut heard);
        assert!((1..=3).contains(&heard.len()));
        if let Some(Heard::Command(Command::Signal(Envelope { letter: Letter::Sealed(sealed), .. }))) = heard.pop() {
            let opened = open(&sealed);
            assert!(opened.is_err() || opened.is_ok_and(|signal| signal.kind() == sealed.kind));
        }
    }
    let mut client = world.client();
    let _ = client.receive(&mut world.cx(), frame, &mut Vec::new());
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(signal in signals()) {
        match relay(&mut World::new(), &signal) {
            Ok(arrived) => prop_assert_eq!(&arrived, &signal),
            Err(refusal) => {
                prop_assert_eq!(refusal, Refusal::NoWordForThis);
                prop_assert!(matches!(signal.kind(), Kind::Restart | Kind::Data));
            }
        }
    }

    #[test]
    fn nothing_panics_at_arbitrary_frames(text in any::<String>(), bytes in any::<Vec<u8>>(), near in near_misses(PIECES)) {
        feed(&Frame::text(text));
        feed(&Frame::Binary(Bytes::from(bytes)));
        feed(&Frame::text(near.clone()));
        feed(&Frame::text(format!("{{{near}}}")));
    }

    #[test]
    fn nothing_panics_at_mutated_frames(
        which in 0..5_usize,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<char>(), 0..3_u8), 1..6),
    ) {
        let frames = [
            r#"{"type":"join","peer_id":"a","room_id":"r"}"#,
            r#"{"type":"offer","target":"b","offer":{"type":"offer","sdp":"v=0\r\n"}}"#,
            r#"{"type":"ice_candidate","target":"b","candidate":{"candidate":"candidate:1","sdpMLineIndex":0}}"#,
            r#"{"type":"room_peers","peers":["a","b"]}"#,
            r#"{"type":"answer","from":"b","answer":{"type":"answer","sdp":"v=0"}}"#,
        ];
        let mut chars: Vec<char> = frames[which].chars().collect();
        for (at, char, edit) in edits {
            if chars.is_empty() {
                break;
            }
            let at = at.index(chars.len());
            match edit {
                0 => chars[at] = char,
                1 => chars.insert(at, char),
                _ => _ = chars.remove(at),
            }
        }
        feed(&Frame::text(chars.into_iter().collect::<String>()));
    }
}

/// A slow server answers the first request after it heard the second.
#[test]
fn who_asks_for_two_rooms_at_once_is_in_the_last_one_only() {
    let mut world = World::new();
    let mut server = world.joined("a");
    let leaves = |heard: Vec<Heard>| {
        let left = heard.into_iter().filter_map(|heard| match heard {
            Heard::Command(Command::Leave { room, .. }) => Some(room.as_str().to_owned()),
            _ => None,
        });
        left.collect::<Vec<_>>()
    };
    let join = |room: &str| format!(r#"{{"type": "join", "peer_id": "a", "room_id": "{room}"}}"#);
    assert_eq!(leaves(world.hear(&mut server, &join("s"))), ["r"]);
    assert_eq!(leaves(world.hear(&mut server, &join("t"))), ["s"]);
    let place = Place { epoch: 0, seq: 1 };
    let left = Event::Left { room: "s".into(), place, name: "a".into(), why: Departure::Left };
    world.say(&mut server, &roster("s", &[]));
    world.say(&mut server, &left);
    assert_eq!(leaves(world.hear(&mut server, &join("u"))), ["t"]);
}
