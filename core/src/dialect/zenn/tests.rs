#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::dialect::tests::negotiation;
use crate::ids::Ids;
use crate::limits::Limits;
use crate::signal::{Envelope, Letter, Payload, Resumed, To};

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

    fn hear(&mut self, server: &mut Server, text: &str) -> Vec<Heard> {
        let mut out = Vec::new();
        server.receive(&mut self.cx(), &Frame::text(text), &mut out);
        out
    }

    fn server(&mut self, id: &str) -> Server {
        let mut server = Server::default();
        let connect = Builder::new().text("id", id).text("type", "connect").finish();
        assert_eq!(self.hear(&mut server, &connect).len(), 2);
        let registered = Event::Registered { name: id.into(), token: None, resumed: Resumed::Fresh };
        server.encode(&mut self.cx(), &registered, &mut Vec::new()).unwrap();
        server
    }

    fn client(&mut self, id: &str, offers: bool) -> (Client, Vec<Frame>) {
        let (mut client, mut out) = (Client::new(offers), Vec::new());
        let register = Command::Register { name: Some(id.into()), resumable: false };
        client.encode(&mut self.cx(), &register, &mut out).unwrap();
        (client, out)
    }

    fn send(&mut self, client: &mut Client, to: &str, signal: Signal) -> Frame {
        let mut out = Vec::new();
        client.encode(&mut self.cx(), &Command::Signal(envelope(to, signal)), &mut out).unwrap();
        out.remove(0)
    }

    fn told(&mut self, client: &mut Client, text: &str) -> Result<Vec<(String, Signal)>, Refusal> {
        let mut out = Vec::new();
        client.receive(&mut self.cx(), &Frame::text(text), &mut out)?;
        let signals = out.into_iter().map(|event| match event {
            Event::Signal { from, letter: Letter::Open(signal), .. } => (from.as_str().to_owned(), signal),
            other => panic!("{other:?}"),
        });
        Ok(signals.collect())
    }
}

fn envelope(to: &str, signal: Signal) -> Envelope {
    Envelope { from: None, to: To::Peer(to.into()), letter: Letter::Open(signal), tag: None, receipt: false }
}

fn offer(sdp: &str) -> Signal {
    Signal::Offer { sdp: sdp.to_owned() }
}

fn answer(sdp: &str) -> Signal {
    Signal::Answer { sdp: sdp.to_owned() }
}

fn line(candidate: &str) -> Signal {
    let candidate = Candidate { candidate: candidate.to_owned(), sdp_mid: Some("0".into()), ..Candidate::default() };
    Signal::Candidate(candidate)
}

/// The full listing of the article, as `protocols.md` 001 describes it.
#[derive(Default)]
struct Original {
    offerer: Option<String>,
    offers: BTreeMap<String, String>,
    candidates: BTreeMap<String, Vec<String>>,
    connected: Vec<String>,
}

impl Original {
    /// What is sent to whom after a frame.
    fn take(&mut self, frame: &Frame) -> Vec<(String, String)> {
        let text = text(frame).unwrap();
        let message: serde_json::Value = serde_json::from_str(&text).unwrap();
        let string = |name: &str| message[name].as_str().unwrap().to_owned();
        let id = string("id");
        if !self.connected.contains(&id) {
            self.connected.push(id.clone());
        }
        let json = |name: &str| message[name].to_string();
        match message["type"].as_str().unwrap() {
            "connect" => match self.offerer.clone() {
                None => {
                    self.offerer = Some(id.clone());
                    vec![(id, r#"{"type":"offer"}"#.to_owned())]
                }
                Some(offerer) if offerer == id => Vec::new(),
                Some(offerer) => {
                    let sdp = self.offers.get(&offerer).cloned().unwrap_or_default();
                    let offer = serde_json::json!({"sdp": sdp, "target_id": offerer, "type": "offer"});
                    vec![(id, offer.to_string())]
                }
            },
            "offer" => {
                self.offers.insert(id, json("sdp"));
                Vec::new()
            }
            "answer" => {
                let answer = serde_json::json!({"sdp": json("sdp"), "type": "answer"}).to_string();
                let kept = self.offerer.as_ref().and_then(|offerer| self.candidates.get(offerer));
                let kept = kept.map(|kept| serde_json::json!({"candidate": kept.join("|"), "type": "candidate"}));
                let candidates = kept.map(|kept| (id, kept.to_string()));
                std::iter::once((string("target_id"), answer)).chain(candidates).collect()
            }
            _ => {
                let target = string("target_id");
                if self.connected.contains(&target) {
                    let text = serde_json::json!({"candidate": json("candidate"), "type": "candidate"});
                    return vec![(target, text.to_string())];
                }
                self.candidates.entry(id).or_default().push(json("candidate"));
                Vec::new()
            }
        }
    }
}

#[test]
fn a_client_offers_through_the_original_server() {
    let (mut world, mut original) = (World::new(), Original::default());
    let (mut a, connect) = world.client("a", true);
    // The agent does not wait for the server's wish.
    let asked = original.take(&connect[0]);
    let frame = world.send(&mut a, "b", offer("v=0\r\noffer"));
    assert!(original.take(&frame).is_empty());
    assert_eq!(world.told(&mut a, &asked[0].1), Ok(Vec::new()), "the offer that was sent is enough");
    let frame = world.send(&mut a, "b", line("candidate:1|2"));
    original.take(&frame);
    let frame = world.send(&mut a, "b", line("candidate:3"));
    original.take(&frame);

    let (mut b, connect) = world.client("b", false);
    let got = original.take(&connect[0]);
    assert_eq!(world.told(&mut b, &got[0].1), Ok(vec![("a".into(), offer("v=0\r\noffer"))]));
    let frame = world.send(&mut b, "a", answer("v=0\r\nanswer"));
    let got = original.take(&frame);
    assert_eq!(world.told(&mut a, &got[0].1), Ok(vec![("b".into(), answer("v=0\r\nanswer"))]));
    let kept = vec![("a".into(), line("candidate:1|2")), ("a".into(), line("candidate:3"))];
    assert_eq!(world.told(&mut b, &got[1].1), Ok(kept));
    let frame = world.send(&mut b, "a", line("candidate:4"));
    let got = original.take(&frame);
    assert_eq!(world.told(&mut a, &got[0].1), Ok(vec![("b".into(), line("candidate:4"))]));
    let frame = world.send(&mut a, "b", line("candidate:5"));
    let got = original.take(&frame);
    assert_eq!(world.told(&mut b, &got[0].1), Ok(vec![("a".into(), line("candidate:5"))]));
}

#[test]
fn a_client_that_comes_first_is_asked_by_the_original_server_for_somebody_without_a_name() {
    let (mut world, mut original) = (World::new(), Original::default());
    let (mut b, connect) = world.client("b", false);
    let asked = original.take(&connect[0]);
    assert_eq!(world.told(&mut b, &asked[0].1), Ok(vec![(ANSWERER.into(), Signal::Restart)]));
    let frame = world.send(&mut b, ANSWERER, offer("v=0\r\n"));
    original.take(&frame);
    let frame = world.send(&mut b, ANSWERER, line("candidate:1"));
    assert!(original.take(&frame).is_empty(), "kept");
    let (mut a, connect) = world.client("a", false);
    let got = original.take(&connect[0]);
    assert_eq!(world.told(&mut a, &got[0].1), Ok(vec![("b".into(), offer("v=0\r\n"))]));
    let frame = world.send(&mut a, "b", answer("v=0\r\n"));
    let got = original.take(&frame);
    assert_eq!(world.told(&mut b, &got[0].1), Ok(vec![(ANSWERER.into(), answer("v=0\r\n"))]));
    assert_eq!(world.told(&mut a, &got[1].1), Ok(vec![("b".into(), line("candidate:1"))]));
}

#[test]
fn an_offer_that_is_not_there_yet_is_no_offer() {
    let mut world = World::new();
    let (mut client, _) = world.client("b", false);
    assert!(world.told(&mut client, r#"{"sdp":"","target_id":"a","type":"offer"}"#).is_err());
}

#[test]
fn only_zenns_first_frames_are_taken_for_zenns() {
    for text in [
        r#"{"type":"connect","id":"a"}"#,
        r#"{"type":"offer","id":"a","sdp":{}}"#,
        r#"{"type":"answer","id":"a"}"#,
        r#"{"type":"candidateAdd","id":"a"}"#,
    ] {
        assert!(Server::detect(&Frame::text(text)).is_some(), "{text}");
    }
    for text in [
        r#"{"type":"connect"}"#,
        r#"{"type":"connect","id":""}"#,
        r#"{"type":"connect","id":7}"#,
        r#"{"type":"connect","id":"a","ID":"b"}"#,
        r#"{"type":"candidate","id":"a"}"#,
        r#"{"type":"join","peer_id":"a","room_id":"r"}"#,
        "[]",
        "",
    ] {
        assert!(Server::detect(&Frame::text(text)).is_none(), "{text}");
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let mut world = World::new();
    let mut server = world.server("a");
    for n in 0..2000 {
        let line = format!("candidate:{n} {}", "x".repeat(500));
        let text = format!(r#"{{"type":"candidateAdd","id":"a","target_id":"","candidate":"{line}"}}"#);
        assert!(world.hear(&mut server, &text).is_empty());
    }
    let frame = Frame::text(r#"{"sdp":"\"v=0\"","type":"answer"}"#);
    let sealed = Sealed { origin: Dialect::Zenn.origin(), kind: Kind::Answer, frame };
    let event = Event::Signal { from: "b".into(), to: To::Peer("a".into()), letter: Letter::Sealed(sealed) };
    let mut said = Vec::new();
    server.encode(&mut world.cx(), &event, &mut said).unwrap();
    let Some(Said::Command(Command::Signal(Envelope { letter: Letter::Sealed(batch), .. }))) = said.pop() else {
        panic!()
    };
    let batch = text(&batch.frame).unwrap();
    assert!(batch.len() < 2 * limits::KEPT_CANDIDATE_BYTES && batch.contains("candidate:1999"));
}

#[test]
fn nested_too_deep_is_refused() {
    let mut world = World::new();
    let mut server = world.server("a");
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for text in [
        format!(r#"{{"type":"offer","id":"a","sdp":{{"sdp":{nested}}}}}"#),
        format!(r#"{{"type":"connect","id":"a","x":{nested}}}"#),
    ] {
        assert!(matches!(world.hear(&mut server, &text)[..], [Heard::Refused { .. }]));
    }
    let (mut client, _) = world.client("a", true);
    let batch = Builder::new().text("candidate", &nested).text("type", "candidate").text("target_id", "b").finish();
    assert!(world.told(&mut client, &batch).is_err());
}

fn signals() -> impl Strategy<Value = Signal> {
    negotiation()
}

/// From a client over its server's codec; the letter that goes on.
fn sealed(world: &mut World, signal: &Signal) -> Sealed {
    let (mut client, connect) = world.client("a", true);
    let frame = world.send(&mut client, "b", signal.clone());
    let mut server = Server::detect(&connect[0]).unwrap();
    server.receive(&mut world.cx(), &connect[0], &mut Vec::new());
    let mut heard = Vec::new();
    server.receive(&mut world.cx(), &frame, &mut heard);
    match heard.remove(0) {
        Heard::Command(Command::Signal(Envelope { letter: Letter::Sealed(sealed), .. })) => sealed,
        other => panic!("{other:?}"),
    }
}

fn feed(frame: &Frame) {
    let mut world = World::new();
    let _ = Server::detect(frame);
    let mut heard = Vec::new();
    world.server("a").receive(&mut world.cx(), frame, &mut heard);
    Server::default().receive(&mut world.cx(), frame, &mut heard);
    for heard in heard {
        if let Heard::Command(Command::Signal(Envelope { letter: Letter::Sealed(sealed), .. })) = heard {
            let opened = open(&sealed);
            assert!(opened.is_err() || opened.is_ok_and(|signal| signal.kind() == sealed.kind));
        }
    }
    let (mut client, _) = world.client("a", false);
    let _ = client.receive(&mut world.cx(), frame, &mut Vec::new());
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(signal in signals()) {
        let mut world = World::new();
        let sealed = sealed(&mut world, &signal);
        prop_assert_eq!(sealed.kind, signal.kind());
        prop_assert_eq!(open(&sealed), Ok(signal.clone()));
        // To a plain client it goes on unchanged, to one of ours with the sender's name.
        let letter = Letter::Sealed(sealed.clone());
        let event = Event::Signal { from: "a".into(), to: To::Peer("b".into()), letter };
        let mut said = Vec::new();
        world.server("b").encode(&mut world.cx(), &event, &mut said).unwrap();
        prop_assert_eq!(&said[0], &Said::Frame(sealed.frame));
        let (mut client, connect) = world.client("b", true);
        let mut server = Server::detect(&connect[0]).unwrap();
        server.receive(&mut world.cx(), &connect[0], &mut Vec::new());
        let mut said = Vec::new();
        server.encode(&mut world.cx(), &event, &mut said).unwrap();
        let Said::Frame(frame) = &said[0] else { panic!() };
        let text = text(frame).unwrap();
        prop_assert_eq!(world.told(&mut client, &text), Ok(vec![("a".to_owned(), signal)]));
    }

    #[test]
    fn crossing_keeps_kind_and_body(signal in signals()) {
        let mut world = World::new();
        let event = Event::Signal { from: "a".into(), to: To::Peer("b".into()), letter: Letter::Open(signal.clone()) };
        let mut said = Vec::new();
        world.server("b").encode(&mut world.cx(), &event, &mut said).unwrap();
        let Said::Frame(frame) = &said[0] else { panic!() };
        let sealed = Sealed { origin: Dialect::Zenn.origin(), kind: signal.kind(), frame: frame.clone() };
        prop_assert_eq!(open(&sealed), Ok(signal));
    }

    #[test]
    fn nothing_panics_at_arbitrary_frames(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        feed(&Frame::text(text));
        feed(&Frame::Binary(Bytes::from(bytes)));
    }

    #[test]
    fn nothing_panics_at_mutated_frames(
        which in 0..6_usize,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let frames = [
            r#"{"type":"connect","id":"a","named":true,"role":"offer"}"#,
            r#"{"type":"offer","id":"a","sdp":{"type":"offer","sdp":"v=0\r\n"}}"#,
            r#"{"type":"answer","id":"a","target_id":"b","sdp":"\"v=0\""}"#,
            r#"{"type":"candidateAdd","id":"a","target_id":"b","candidate":{"candidate":"candidate:1","sdpMLineIndex":0}}"#,
            r#"{"candidate":"{\"candidate\":\"candidate:1\"}|\"candidate:2\"","type":"candidate"}"#,
            r#"{"sdp":"{\"sdp\":\"v=0\",\"type\":\"offer\"}","target_id":"b","type":"offer"}"#,
        ];
        let mut bytes = frames[which].as_bytes().to_vec();
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

#[test]
fn data_has_no_word() {
    let mut world = World::new();
    let data = Signal::Data { label: "chat".into(), payload: Payload::Text("hi".into()) };
    let event = Event::Signal { from: "b".into(), to: To::Peer("a".into()), letter: Letter::Open(data.clone()) };
    let mut server = world.server("a");
    assert_eq!(server.encode(&mut world.cx(), &event, &mut Vec::new()), Err(Refusal::NoWordForThis));
    let (mut client, _) = world.client("a", true);
    let command = Command::Signal(envelope("b", data));
    assert_eq!(client.encode(&mut world.cx(), &command, &mut Vec::new()), Err(Refusal::NoWordForThis));
}
