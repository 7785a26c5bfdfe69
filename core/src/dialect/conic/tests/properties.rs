//! What holds for every signal and every frame.

use proptest::prelude::*;

use super::*;
use crate::dialect::tests::{near_misses, negotiation};

/// From a client over its server's codec to another server's codec and its client.
fn relay(world: &mut World, from: Dialect, to: Dialect, signal: &Signal) -> Result<Signal, Refusal> {
    let mut sender = Client::new(from);
    let mut frames = Vec::new();
    let envelope = Envelope {
        from: Some(Name::from("a")),
        to: To::Peer(Name::from("b")),
        letter: Letter::Open(signal.clone()),
        tag: None,
        receipt: false,
    };
    sender.encode(&mut world.cx(), &Command::Signal(envelope), &mut frames)?;
    let mut server = world.registered(from, "a");
    let Heard::Command(Command::Signal(envelope)) = world.hear_frame(&mut server, &frames[0]) else { panic!() };
    assert_eq!(envelope.letter.kind(), signal.kind());
    let Letter::Sealed(sealed) = &envelope.letter else { panic!() };
    assert_eq!(&sealed.frame, &frames[0], "the sender's own frame goes on");
    assert_eq!(open(sealed).as_ref(), Ok(signal));
    let mut server = world.registered(to, "b");
    let event = Event::Signal { from: Name::from("a"), to: envelope.to, letter: envelope.letter };
    let mut said = Vec::new();
    server.encode(&mut world.cx(), &event, &mut said)?;
    let [Said::Frame(frame)] = said.as_slice() else { panic!() };
    if from == to {
        assert_eq!(frame, &frames[0], "unchanged");
    }
    let mut events = Vec::new();
    Client::new(to).receive(&mut world.cx(), frame, &mut events)?;
    let Some(Event::Signal { from, to, letter: Letter::Open(signal) }) = events.pop() else { panic!() };
    assert_eq!((from, to), (Name::from("a"), To::Peer(Name::from("b"))));
    Ok(signal)
}

fn signals() -> impl Strategy<Value = Signal> {
    prop_oneof![
        4 => negotiation(),
        1 => (any::<String>(), any::<String>())
            .prop_map(|(label, text)| Signal::Data { label, payload: Payload::Text(text) }),
        1 => (any::<String>(), any::<Vec<u8>>()).prop_map(|(label, mut bytes)| {
            bytes.push(0xff); // what is UTF-8 arrives as text
            Signal::Data { label, payload: Payload::Binary(Bytes::from(bytes)) }
        }),
    ]
}

/// Pieces of messages.
const PIECES: &[&str] = &[
    "\\",
    ":",
    "\"type\":\"sdp\"",
    "\"Type\":\"candidate\"",
    "\"raw\":\"e30=\"",
    "\"data\":{",
    "\"from_id\":\"a\"",
    "\"to_id\":\"b\"",
    "\"\\ud800\"",
];

/// Feeds a frame to everything that reads frames from a remote; what is sealed must not panic when opened either.
fn feed(frame: &Frame) {
    let mut world = World::new();
    let _ = Server::detect(frame);
    for dialect in GENERATIONS {
        let mut heard = Vec::new();
        let mut server = world.registered(dialect, "A1");
        server.receive(&mut world.cx(), frame, &mut heard);
        assert_eq!(heard.len(), 1);
        if let Some(Heard::Command(Command::Signal(Envelope { letter: Letter::Sealed(sealed), .. }))) = heard.pop() {
            let opened = open(&sealed);
            assert!(opened.is_err() || opened.is_ok_and(|signal| signal.kind() == sealed.kind));
        }
        let _ = Client::new(dialect).receive(&mut world.cx(), frame, &mut Vec::new());
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(signal in signals()) {
        let mut world = World::new();
        for dialect in GENERATIONS {
            match relay(&mut world, dialect, dialect, &signal) {
                Ok(arrived) => prop_assert_eq!(&arrived, &signal),
                Err(refusal) => {
                    prop_assert_eq!(refusal, Refusal::NoWordForThis);
                    prop_assert!(dialect == Dialect::ConicA && signal.kind() == Kind::Data);
                }
            }
        }
    }

    #[test]
    fn crossing_keeps_kind_and_body(signal in signals()) {
        let mut world = World::new();
        for (from, to) in GENERATIONS.into_iter().flat_map(|from| GENERATIONS.map(|to| (from, to))) {
            match relay(&mut world, from, to, &signal) {
                Ok(arrived) => prop_assert_eq!(&arrived, &signal),
                Err(refusal) => {
                    prop_assert_eq!(refusal, Refusal::NoWordForThis);
                    prop_assert!([from, to].contains(&Dialect::ConicA) && signal.kind() == Kind::Data);
                }
            }
        }
    }

    #[test]
    fn nothing_panics_at_arbitrary_frames(text in any::<String>(), bytes in any::<Vec<u8>>(), near in near_misses(PIECES)) {
        feed(&Frame::text(text));
        feed(&Frame::Binary(Bytes::from(bytes)));
        feed(&Frame::text(near.clone()));
        feed(&Frame::text(wrap(Dialect::ConicB, "sdp", &near)));
        feed(&Frame::text(wrap(Dialect::ConicA, "candidate", &near)));
    }

    #[test]
    fn nothing_panics_at_mutated_frames(
        which in 0..5_usize,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let inside = r#"{"ID":"A1","TargetID":"B1","SessionDescription":{"type":"offer","sdp":"v=0\r\n"}}"#;
        let literal = format!(r#"{{"type":"sdp","raw":{inside}}}"#);
        let wrapped = wrap(Dialect::ConicB, "sdp", inside);
        let mut bytes = [SDP, CANDIDATE, DATA, &literal, &wrapped][which].as_bytes().to_vec();
        for (at, byte, edit) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match edit {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => _ = bytes.remove(at),
            }
        }
        feed(&Frame::Binary(Bytes::from(bytes)));
    }
}
