#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::ids::Ids;
use crate::limits::Limits;
use crate::signal::{Envelope, Letter, Resumed, To};

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

    fn client(&mut self, id: &str, offers: bool) -> Client {
        let (mut client, mut out) = (Client::new(offers), Vec::new());
        let register = Command::Register { name: Some(id.into()), resumable: false };
        client.encode(&mut self.cx(), &register, &mut out).unwrap();
        client
    }

    fn send(&mut self, client: &mut Client, to: &str, signal: &Signal) -> Frame {
        let (to, letter, mut out) = (To::Peer(to.into()), Letter::Open(signal.clone()), Vec::new());
        let envelope = Envelope { from: None, to, letter, tag: None, receipt: false };
        client.encode(&mut self.cx(), &Command::Signal(envelope), &mut out).unwrap();
        out.remove(0)
    }

    fn told(&mut self, client: &mut Client, frame: &Frame) -> Result<Vec<Event>, Refusal> {
        let mut out = Vec::new();
        client.receive(&mut self.cx(), frame, &mut out)?;
        Ok(out)
    }
}

fn response(command: u16, code: u8, msg: &str) -> Frame {
    let payload = Builder::new().raw("code", &code.to_string()).text("msg", msg).finish();
    Frame::Binary(message(command, &payload).into())
}

#[test]
fn frames_are_those_of_the_original() {
    let mut world = World::new();
    let (mut client, mut out) = (Client::new(false), Vec::new());
    let register = Command::Register { name: Some("answer-peer-1".into()), resumable: false };
    client.encode(&mut world.cx(), &register, &mut out).unwrap();
    let payload = go::base64(br#"{"source":"answer-peer-1","target":"","body":null}"#);
    assert_eq!(out, [Frame::Binary(format!(r#"{{"command":1,"payload":"{payload}"}}"#).into())]);
    let ok = Frame::Binary(r#"{"command":101,"payload":"eyJjb2RlIjowLCJtc2ciOiJvayJ9"}"#.to_owned().into());
    let registered = Event::Registered { name: "answer-peer-1".into(), token: None, resumed: Resumed::Fresh };
    assert_eq!(world.told(&mut client, &ok), Ok(vec![registered]));
}

#[test]
fn responses_are_told_apart_by_their_order() {
    let mut world = World::new();
    let mut client = world.client("a", true);
    let offer = Signal::Offer { sdp: "v=0\r\n".to_owned() };
    world.send(&mut client, "b", &offer);
    world.send(&mut client, "c", &offer);
    assert_eq!(world.told(&mut client, &response(103, 0, "ok")), Ok(Vec::new()));
    let refused = Event::Refused { refusal: Refusal::NoSuchPeer, to: Some("c".into()), tag: None };
    assert_eq!(world.told(&mut client, &response(103, 1, NOT_THERE)), Ok(vec![refused]));
    let taken = Event::Refused { refusal: Refusal::NameTaken, to: None, tag: None };
    assert_eq!(world.told(&mut client, &response(101, 1, Refusal::NameTaken.sentence())), Ok(vec![taken]));
}

#[test]
fn what_is_for_somebody_else_is_skipped() {
    let mut world = World::new();
    let mut a = world.client("a", true);
    let frame = world.send(&mut a, "b", &Signal::Offer { sdp: "v=0\r\n".to_owned() });
    let mut c = world.client("c", false);
    assert!(world.told(&mut c, &frame).is_err());
}

#[test]
fn each_side_has_its_path() {
    assert_eq!((Client::new(true).path(), Client::new(false).path()), ("/offer", "/register"));
}

/// Nothing but the line of a candidate is carried.
fn signals() -> impl Strategy<Value = Signal> {
    prop_oneof![
        any::<String>().prop_map(|sdp| Signal::Offer { sdp }),
        any::<String>().prop_map(|sdp| Signal::Answer { sdp }),
        ".+".prop_map(|candidate| {
            Signal::Candidate(Candidate { candidate, sdp_m_line_index: Some(0), ..Candidate::default() })
        }),
        Just(Signal::EndOfCandidates { username_fragment: None }),
    ]
}

fn feed(frame: &Frame) {
    let mut world = World::new();
    for mut server in [Server::answering(), Server::offering()] {
        let mut heard = Vec::new();
        server.receive(&mut world.cx(), frame, &mut heard);
        for heard in heard {
            if let Heard::Command(Command::Signal(Envelope { letter: Letter::Sealed(sealed), .. })) = heard {
                assert_eq!(open(&sealed).unwrap().kind(), sealed.kind);
            }
        }
    }
    let mut client = world.client("b", true);
    let _ = world.told(&mut client, frame);
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(signal in signals()) {
        let mut world = World::new();
        let mut sender = world.client("a", true);
        let frame = world.send(&mut sender, "b", &signal);
        let (mut server, mut heard) = (Server::offering(), Vec::new());
        server.receive(&mut world.cx(), &frame, &mut heard);
        let Some(Heard::Command(Command::Signal(envelope))) = heard.pop() else { panic!() };
        prop_assert!(envelope.receipt);
        let Letter::Sealed(sealed) = &envelope.letter else { panic!() };
        prop_assert_eq!(&sealed.frame, &frame);
        prop_assert_eq!(sealed.kind, signal.kind());
        prop_assert_eq!(open(sealed), Ok(signal.clone()));
        let event = Event::Signal { from: "a".into(), to: envelope.to, letter: envelope.letter };
        let mut said = Vec::new();
        Server::answering().encode(&mut world.cx(), &event, &mut said).unwrap();
        prop_assert_eq!(&said, &[Said::Frame(frame.clone())]);
        let mut receiver = world.client("b", false);
        let letter = Letter::Open(signal);
        let told = Event::Signal { from: "a".into(), to: To::Peer("b".into()), letter };
        prop_assert_eq!(world.told(&mut receiver, &frame), Ok(vec![told]));
    }

    #[test]
    fn crossing_keeps_kind_and_body(signal in signals()) {
        let mut world = World::new();
        let letter = Letter::Open(signal.clone());
        let event = Event::Signal { from: "a".into(), to: To::Peer("b".into()), letter };
        let mut said = Vec::new();
        Server::answering().encode(&mut world.cx(), &event, &mut said).unwrap();
        let Said::Frame(frame) = said.remove(0) else { panic!() };
        let mut receiver = world.client("b", false);
        prop_assert_eq!(world.told(&mut receiver, &frame), Ok(vec![event]));
    }

    #[test]
    fn nothing_panics_at_arbitrary_frames(
        text in any::<String>(),
        bytes in any::<Vec<u8>>(),
        command in any::<u16>(),
        payload in any::<String>(),
    ) {
        feed(&Frame::text(text));
        feed(&Frame::Binary(Bytes::from(bytes)));
        feed(&Frame::text(message(command, &payload)));
        feed(&Frame::text(request(command % 6, "b", "b", Some(&payload))));
    }

    #[test]
    fn nothing_panics_at_mutated_frames(
        command in 1..5_u16,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<char>()), 1..4),
    ) {
        let body = if command == ANSWER { r#"{"type":"answer","sdp":"v=0"}"# } else { r#"{"type":"offer","sdp":"v=0"}"# };
        let mut payload: Vec<char> =
            format!(r#"{{"source":"a","target":"b","body":"{}"}}"#, go::base64(body.as_bytes())).chars().collect();
        for (at, char) in edits {
            let at = at.index(payload.len());
            payload[at] = char;
        }
        let payload: String = payload.into_iter().collect();
        feed(&Frame::text(message(command, &payload)));
    }
}

#[test]
fn an_empty_candidate_is_the_end() {
    let sealed = Sealed {
        origin: Dialect::TonyBai.origin(),
        kind: Kind::EndOfCandidates,
        frame: Frame::text(request(CANDIDATE, "a", "b", None)),
    };
    assert_eq!(open(&sealed), Ok(Signal::EndOfCandidates { username_fragment: None }));
}
