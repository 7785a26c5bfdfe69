//! What holds for every pair of dialects.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::signal::{Candidate, Envelope, Kind, Letter, Payload, Resumed, To};

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
        Context { unix: Duration::from_secs(1), ids: &mut self.ids, limits: &self.limits, ice_servers: &[] }
    }

    /// The two sides of a connection whose client is registered.
    fn connected(&mut self, dialect: Dialect, name: &str, offers: bool) -> (ClientCodec, Codec) {
        let mut client = ClientCodec::new(&ClientSetup { dialect, token: None, offers });
        let mut frames = Vec::new();
        let register = Command::Register { name: Some(name.into()), resumable: false };
        client.encode(&mut self.cx(), &register, &mut frames).unwrap();
        let _ = client.encode(&mut self.cx(), &Command::Join { room: "r".into(), tag: None }, &mut frames);
        let mut server = match dialect {
            Dialect::SocketIo09 => {
                Codec::SocketIo(Box::new(socketio::Server::new(socketio::Version::Legacy, None, None)))
            }
            Dialect::SocketIo => Codec::SocketIo(Box::new(socketio::Server::new(socketio::Version::Four, None, None))),
            Dialect::TonyBai if offers => Codec::enter(Door::Offer, None).unwrap(),
            Dialect::TonyBai => Codec::enter(Door::Register, None).unwrap(),
            _ => Codec::detect(&frames[0], None, None).unwrap(),
        };
        assert_eq!(server.dialect(), dialect);
        for frame in &frames {
            server.receive(&mut self.cx(), frame, &mut Vec::new());
        }
        let registered = Event::Registered { name: name.into(), token: None, resumed: Resumed::Fresh };
        let mut said = Vec::new();
        server.encode(&mut self.cx(), &registered, &mut said).unwrap();
        for said in said {
            if let Said::Frame(frame) = said {
                client.receive(&mut self.cx(), &frame, &mut Vec::new()).unwrap();
            }
        }
        (client, server)
    }

    /// From a client over its server's codec to the codec and the client of somebody else.
    fn relay(&mut self, from: Dialect, to: Dialect, signal: &Signal) -> Result<Signal, Refusal> {
        let offers = signal.kind() != Kind::Answer;
        let (mut sender, mut server) = self.connected(from, "a", offers);
        let letter = Letter::Open(signal.clone());
        let peer = if is_socketio(from) { socketio::EVERYONE } else { "b" };
        let envelope = Envelope { from: None, to: To::Peer(peer.into()), letter, tag: None, receipt: false };
        let mut frames = Vec::new();
        sender.encode(&mut self.cx(), &Command::Signal(envelope), &mut frames)?;
        let mut heard = Vec::new();
        server.receive(&mut self.cx(), &frames[0], &mut heard);
        let Some(Heard::Command(Command::Signal(envelope))) = heard.pop() else { panic!("{from:?} {frames:?}") };
        assert_eq!(envelope.letter.kind(), signal.kind(), "{from:?}");
        let sealed = envelope.letter.clone();
        let (mut receiver, mut server) = self.connected(to, "b", !offers);
        let event = Event::Signal { from: "a".into(), to: To::Peer("b".into()), letter: envelope.letter };
        let mut said = Vec::new();
        server.encode(&mut self.cx(), &event, &mut said)?;
        let Some(Said::Frame(frame)) = said.first() else { panic!("{said:?}") };
        if let (true, Letter::Sealed(sealed)) = (from == to && from != Dialect::Zenn, sealed) {
            assert_eq!(frame, &sealed.frame, "{from:?} goes on unchanged");
        }
        let mut events = Vec::new();
        receiver.receive(&mut self.cx(), frame, &mut events).unwrap();
        match events.pop() {
            Some(Event::Signal { letter: Letter::Open(signal), .. }) => Ok(signal),
            other => panic!("{from:?} to {to:?}: {other:?} of {frame:?}"),
        }
    }
}

/// What every dialect has a word for.
pub(super) fn negotiation() -> impl Strategy<Value = Signal> {
    let maybe = || proptest::option::of(any::<String>());
    prop_oneof![
        any::<String>().prop_map(|sdp| Signal::Offer { sdp }),
        any::<String>().prop_map(|sdp| Signal::Answer { sdp }),
        (".+", maybe(), proptest::option::of(any::<u16>()), maybe()).prop_map(
            |(candidate, sdp_mid, sdp_m_line_index, username_fragment)| Signal::Candidate(Candidate {
                candidate,
                sdp_mid,
                sdp_m_line_index,
                username_fragment
            })
        ),
        maybe().prop_map(|username_fragment| Signal::EndOfCandidates { username_fragment }),
    ]
}

/// Text that is nearly a message: pieces of messages, a dialect's own among them, put together at random.
pub(super) fn near_misses(own: &[&'static str]) -> impl Strategy<Value = String> {
    let pieces = [&["{", "}", "\"", ",", "null"], own].concat();
    let piece = prop_oneof![
        pieces.len() as u32 => proptest::sample::select(pieces).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn signals() -> impl Strategy<Value = Signal> {
    prop_oneof![
        4 => negotiation(),
        1 => Just(Signal::Restart),
        1 => any::<String>().prop_map(|text| Signal::Data { label: "chat".into(), payload: Payload::Text(text) }),
        1 => any::<Vec<u8>>().prop_map(|mut bytes| {
            bytes.push(0xff); // what is UTF-8 may arrive as text
            Signal::Data { label: "chat".into(), payload: Payload::Binary(Bytes::from(bytes)) }
        }),
    ]
}

fn is_socketio(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::SocketIo | Dialect::SocketIo09)
}

/// In Socket.IO text is a JSON string, and stays one.
fn expected(from: Dialect, to: Dialect, signal: &Signal) -> String {
    match signal {
        Signal::Data { payload: Payload::Text(text), .. } if is_socketio(from) || is_socketio(to) => {
            format!("{:?}", Payload::Text(serde_json::to_string(text).unwrap()))
        }
        signal => body(signal),
    }
}

/// What every dialect that has a word for a signal keeps of it.
fn body(signal: &Signal) -> String {
    match signal {
        Signal::Offer { sdp } | Signal::Answer { sdp } => sdp.clone(),
        Signal::Candidate(candidate) => candidate.candidate.clone(),
        Signal::EndOfCandidates { .. } | Signal::Restart => String::new(),
        Signal::Data { payload, .. } => format!("{payload:?}"),
    }
}

proptest! {
    #[test]
    fn crossing_keeps_kind_and_body(signal in signals()) {
        let mut world = World::new();
        for (from, to) in Dialect::ALL.into_iter().flat_map(|from| Dialect::ALL.map(|to| (from, to))) {
            match world.relay(from, to, &signal) {
                Ok(arrived) => {
                    prop_assert_eq!(arrived.kind(), signal.kind(), "{:?} to {:?}", from, to);
                    prop_assert_eq!(body(&arrived), expected(from, to, &signal), "{:?} to {:?}", from, to);
                }
                Err(refusal) => {
                    prop_assert_eq!(refusal, Refusal::NoWordForThis, "{:?} to {:?}", from, to);
                    let optional = matches!(signal.kind(), Kind::Restart | Kind::Data);
                    prop_assert!(optional, "{:?} to {:?}", from, to);
                }
            }
        }
    }
}
