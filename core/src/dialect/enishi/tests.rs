//! What holds for every signal, every event and every frame.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::dialect::tests::near_misses;
use crate::ids::Ids;
use crate::limits::Limits;
use crate::signal::Place;

/// One clock and one source of ids for several codecs.
struct World {
    ids: Ids,
    limits: Limits,
}

impl World {
    fn new() -> Self {
        World { ids: Ids::new(1), limits: Limits::default() }
    }

    fn cx(&mut self) -> Context<'_> {
        Context { unix: Duration::ZERO, ids: &mut self.ids, limits: &self.limits, ice_servers: &[] }
    }

    /// The two sides of a connection whose client has this name.
    fn registered(&mut self, name: &str) -> (Server, Client) {
        let (mut server, mut client) = (Server::default(), Client::default());
        let registered = Event::Registered { name: name.into(), token: None, resumed: Resumed::Fresh };
        assert_eq!(self.told(&mut server, &mut client, &registered), Ok(registered));
        (server, client)
    }

    /// What a client hears of an event.
    fn told(&mut self, server: &mut Server, client: &mut Client, event: &Event) -> Result<Event, Refusal> {
        let frame = self.say(server, event)?;
        let mut events = Vec::new();
        client.receive(&mut self.cx(), &frame, &mut events)?;
        assert_eq!(events.len(), 1);
        Ok(events.remove(0))
    }

    fn say(&mut self, server: &mut Server, event: &Event) -> Result<Frame, Refusal> {
        let mut said = Vec::new();
        let result = server.encode(&mut self.cx(), event, &mut said);
        match said.as_slice() {
            [Said::Frame(frame)] if result.is_ok() => Ok(frame.clone()),
            [] => Err(result.unwrap_err()),
            other => panic!("{result:?} {other:?}"),
        }
    }

    /// What a server hears of a command, and the frame that asked for it.
    fn asked(&mut self, client: &mut Client, server: &mut Server, command: &Command) -> Result<Heard, Refusal> {
        let mut frames = Vec::new();
        client.encode(&mut self.cx(), command, &mut frames)?;
        Ok(self.hear(server, &frames[0]))
    }

    fn hear(&mut self, server: &mut Server, frame: &Frame) -> Heard {
        let mut heard = Vec::new();
        server.receive(&mut self.cx(), frame, &mut heard);
        assert!((1..=2).contains(&heard.len()), "{heard:?}");
        heard.remove(0)
    }
}

fn names() -> impl Strategy<Value = Name> {
    "[A-Za-z0-9._~@:+-]{1,64}".prop_map(Name::new)
}

fn tags() -> impl Strategy<Value = Option<Tag>> {
    proptest::option::of("\\PC{0,64}".prop_map(Tag::new))
}

fn signals() -> impl Strategy<Value = Signal> {
    let maybe = || proptest::option::of(any::<String>());
    prop_oneof![
        any::<String>().prop_map(|sdp| Signal::Offer { sdp }),
        any::<String>().prop_map(|sdp| Signal::Answer { sdp }),
        (any::<String>(), maybe(), proptest::option::of(any::<u16>()), maybe()).prop_map(
            |(candidate, sdp_mid, sdp_m_line_index, username_fragment)| Signal::Candidate(Candidate {
                candidate,
                sdp_mid,
                sdp_m_line_index,
                username_fragment
            })
        ),
        maybe().prop_map(|username_fragment| Signal::EndOfCandidates { username_fragment }),
        Just(Signal::Restart),
        ("\\PC{0,64}", any::<String>()).prop_map(|(label, text)| Signal::Data { label, payload: Payload::Text(text) }),
        ("\\PC{0,64}", any::<Vec<u8>>())
            .prop_map(|(label, bytes)| Signal::Data { label, payload: Payload::Binary(Bytes::from(bytes)) }),
    ]
}

/// Every command that a client gives, but for signals.
fn commands() -> impl Strategy<Value = Command> {
    prop_oneof![
        proptest::option::of(names()).prop_map(|name| Command::Register { name, resumable: true }),
        (any::<String>(), any::<u64>()).prop_map(|(token, received)| Command::Resume { token: token.into(), received }),
        tags().prop_map(|tag| Command::List { tag }),
        (names(), tags()).prop_map(|(room, tag)| Command::Join { room, tag }),
        (names(), tags()).prop_map(|(room, tag)| Command::Leave { room, tag }),
        Just(Command::Bye),
    ]
}

/// Every event that a client is told, but for signals and receipts.
fn events() -> impl Strategy<Value = Event> {
    let place = || (any::<u64>(), any::<u64>()).prop_map(|(epoch, seq)| Place { epoch, seq });
    let many = || proptest::collection::vec(any::<String>().prop_map(Name::new), 0..5);
    let name = || any::<String>().prop_map(Name::new);
    let resumed = prop_oneof![Just(Resumed::Fresh), Just(Resumed::Whole), Just(Resumed::WithGap)];
    let why = prop_oneof![Just(Departure::Left), Just(Departure::Gone), Just(Departure::Slow)];
    let token = proptest::option::of(any::<String>().prop_map(String::into_boxed_str));
    let refusal = prop_oneof![Just(Refusal::NoSuchPeer), Just(Refusal::RoomFull), Just(Refusal::TooFast)];
    prop_oneof![
        (name(), token, resumed).prop_map(|(name, token, resumed)| Event::Registered { name, token, resumed }),
        (many(), tags()).prop_map(|(names, tag)| Event::Listed { names, tag }),
        (name(), place(), many(), tags()).prop_map(|(room, place, members, tag)| Event::Roster {
            room,
            place,
            members,
            tag
        }),
        (name(), place(), name()).prop_map(|(room, place, name)| Event::Joined { room, place, name }),
        (name(), place(), name(), why).prop_map(|(room, place, name, why)| Event::Left { room, place, name, why }),
        (refusal, proptest::option::of(name()), tags()).prop_map(|(refusal, to, tag)| Event::Refused {
            refusal,
            to,
            tag
        }),
    ]
}

fn envelope(to: To, signal: &Signal, tag: Option<Tag>) -> Command {
    Command::Signal(Envelope { from: None, to, letter: Letter::Open(signal.clone()), tag, receipt: false })
}

/// Pieces of messages.
const PIECES: &[&str] = &[
    "\"type\":\"hello\"",
    "\"type\":\"offer\",\"to\":\"b\"",
    "\"sdp\":\"\\ud800\"",
    "\"type\":\"data\",\"room\":\"r\"",
    "\"base64\":\"====\"",
    "\"text\":[1]",
    "\"resume\":{\"token\":\"\",\"received\":-1}",
    "\"type\":\"welcome\",\"id\":\"a\"",
    "\"iceServers\":[{\"urls\":\"turn:\",\"username\":\"\",\"credential\":\"\"}]",
    "\"epoch\":18446744073709551616",
    "\"peers\":[\"a\"],\"room\":\"r\"",
];

/// Feeds a frame to everything that reads frames from a remote. What a server passes on, every client can open.
fn feed(frame: &Frame) {
    let mut world = World::new();
    let _ = Server::detect(frame);
    let (mut server, mut client) = world.registered("a");
    for server in [&mut Server::default(), &mut Server::new(Some("secret")), &mut server] {
        let heard = world.hear(server, frame);
        if let Heard::Command(Command::Signal(Envelope { letter: Letter::Sealed(sealed), .. })) = heard {
            assert_eq!(open(&sealed).unwrap().kind(), sealed.kind);
        }
    }
    let mut events = Vec::new();
    let result = client.receive(&mut world.cx(), frame, &mut events);
    assert_eq!(events.len(), usize::from(result.is_ok()));
    assert!(client.turn_servers().len() <= crate::limits::ICE_SERVERS);
}

proptest! {
    #[test]
    fn a_command_is_heard_as_it_was_given(command in commands()) {
        let mut world = World::new();
        let (mut server, mut client) = (Server::default(), Client::default());
        prop_assert_eq!(world.asked(&mut client, &mut server, &command), Ok(Heard::Command(command)));
    }

    #[test]
    fn an_event_is_told_as_it_happened(event in events()) {
        let mut world = World::new();
        let (mut server, mut client) = (Server::default(), Client::default());
        prop_assert_eq!(world.told(&mut server, &mut client, &event), Ok(event));
    }

    #[test]
    fn a_signal_arrives_as_it_was_sent(signal in signals(), tag in tags(), receiver in names()) {
        let mut world = World::new();
        let (mut server, mut sender) = world.registered("a");
        let to = To::Peer(receiver.clone());
        let heard = world.asked(&mut sender, &mut server, &envelope(to.clone(), &signal, tag.clone())).unwrap();
        let Heard::Command(Command::Signal(envelope)) = heard else { panic!("{heard:?}") };
        prop_assert_eq!((&envelope.to, &envelope.tag), (&to, &tag));
        let Letter::Sealed(sealed) = &envelope.letter else { panic!() };
        prop_assert_eq!(sealed.kind, signal.kind());
        prop_assert_eq!(open(sealed), Ok(signal.clone()));
        let frame = sealed.frame.clone();
        let event = Event::Signal { from: "a".into(), to: to.clone(), letter: envelope.letter };
        let (mut server, mut client) = world.registered(receiver.as_str());
        prop_assert_eq!(world.say(&mut server, &event), Ok(frame), "it goes on unchanged");
        let arrived = Event::Signal { from: "a".into(), to, letter: Letter::Open(signal) };
        prop_assert_eq!(world.told(&mut server, &mut client, &event), Ok(arrived));
    }

    #[test]
    fn crossing_keeps_kind_and_body(signal in signals(), room in names()) {
        let mut world = World::new();
        let (mut server, mut client) = world.registered("b");
        let from_elsewhere = Letter::Open(signal);
        for to in [To::Peer("b".into()), To::Room(room)] {
            let event = Event::Signal { from: "a".into(), to, letter: from_elsewhere.clone() };
            prop_assert_eq!(world.told(&mut server, &mut client, &event), Ok(event));
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
        which in 0..6_usize,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<char>(), 0..3_u8), 1..6),
    ) {
        let frames = [
            r#"{"type":"hello","id":"a","resume":{"token":"t","received":3},"token":"secret"}"#,
            r#"{"type":"offer","to":"b","sdp":"v=0\r\n\u00e9","ref":"1"}"#,
            r#"{"type":"candidate","from":"a","to":"b","candidate":{"candidate":"candidate:1","sdpMLineIndex":0}}"#,
            r#"{"type":"data","room":"r","label":"chat","base64":"aGk="}"#,
            r#"{"type":"welcome","id":"a","iceServers":[{"urls":["turn:h"],"username":"u","credential":"c"}]}"#,
            r#"{"type":"left","room":"r","epoch":1,"seq":2,"id":"b","why":"slow"}"#,
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
