//! The pieces that small benches measure, each prepared once and then repeated: what a message costs on its way through the
//! core, and what does not depend on any network.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use enishi_core::deadlines::Deadlines;
use enishi_core::dialect::socketio::{self, Version};
use enishi_core::dialect::{ClientCodec, ClientSetup, Codec, Context, Dialect, Door, Heard, Said};
use enishi_core::ids::Ids;
use enishi_core::limits::Limits;
use enishi_core::machine::{ConnId, Frame, Input, Machine, Output};
use enishi_core::peer::{ChannelKey, ChannelSpec, Crypto, Peer, PeerConfig, PeerEffect};
use enishi_core::server::{Server, ServerConfig};
use enishi_core::signal::{Command, Envelope, Event, Letter, Name, Payload, Resumed, Signal, To};

use crate::bench_server::{Bench, Got};

/// Clients among whom a receiver is found, and deadlines of which one is set anew.
const MANY: usize = 10_000;

/// Receivers of one message.
const ROOM: usize = 1_000;

/// Bytes of a message on a data channel: one datagram.
const MESSAGE_BYTES: usize = 1_000;

/// One piece, ready to be repeated.
pub enum Micro {
    /// A server's codec reads an offer of 2 KB.
    Decode(Box<Talker>),
    /// A server's codec writes such an offer that came in another dialect.
    Encode(Box<Talker>),
    /// A whole server passes an offer on, to one client of many.
    Route(Box<Relay>),
    /// A whole server passes a message on to everybody.
    Fanout(Box<Relay>),
    /// One of many deadlines is set anew.
    Rearm(Deadlines<usize>, Instant, usize),
    /// A message goes from one peer to another, and its acknowledgement back.
    Datagram(Box<Channel>),
}

impl Micro {
    /// The names of all pieces.
    pub fn names() -> Vec<String> {
        let both = Dialect::ALL
            .iter()
            .flat_map(|dialect| ["decode", "encode"].map(|what| format!("{what}-{}", dialect.name())));
        both.chain(["route-10000", "fanout-1000", "rearm-10000", "datagram"].map(str::to_owned)).collect()
    }

    /// Prepares the piece of this name.
    ///
    /// # Panics
    /// There is none, or it cannot be prepared.
    pub fn prepare(name: &str) -> Micro {
        let dialect = |name: &str| Dialect::ALL.into_iter().find(|dialect| dialect.name() == name).expect("a dialect");
        match name.split_once('-').unwrap_or((name, "")) {
            ("decode", name) => Micro::Decode(Box::new(Talker::new(dialect(name)))),
            ("encode", name) => Micro::Encode(Box::new(Talker::new(dialect(name)))),
            ("route", _) => Micro::Route(Box::new(Relay::pairs())),
            ("fanout", _) => Micro::Fanout(Box::new(Relay::room())),
            ("rearm", _) => {
                let (now, mut deadlines) = (Instant::now(), Deadlines::default());
                (0..MANY).for_each(|key| deadlines.set(key, now + Duration::from_micros(key as u64)));
                Micro::Rearm(deadlines, now, 0)
            }
            ("datagram", _) => Micro::Datagram(Box::new(Channel::connected())),
            _ => panic!("no piece {name:?}"),
        }
    }

    /// Does it once.
    ///
    /// # Panics
    /// It does not do what it should.
    #[inline(never)]
    pub fn step(&mut self) {
        match self {
            Micro::Decode(talker) => talker.decode(),
            Micro::Encode(talker) => talker.encode(),
            Micro::Route(relay) => relay.pass(1),
            Micro::Fanout(relay) => relay.pass(ROOM - 1),
            Micro::Rearm(deadlines, now, turn) => {
                // Spread, as connections that are heard from are.
                *turn += 1;
                let key = turn.wrapping_mul(7919) % MANY;
                deadlines.set(key, *now + Duration::from_micros((MANY + *turn) as u64));
            }
            Micro::Datagram(channel) => channel.pass(),
        }
    }
}

/// A description of 2 KB.
fn sdp() -> String {
    let mut text = String::from("v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    while text.len() < 2_000 {
        text.push_str("a=candidate:842163049 1 udp 1677729535 203.0.113.7 50000 typ srflx raddr 0.0.0.0 rport 0\r\n");
    }
    text
}

fn offer(to: To) -> Command {
    let letter = Letter::Open(Signal::Offer { sdp: sdp() });
    Command::Signal(Envelope { from: None, to, letter, tag: None, receipt: false })
}

/// A server's codec and what it is given.
pub struct Talker {
    codec: Codec,
    frame: Frame,
    event: Event,
    ids: Ids,
    limits: Limits,
    heard: Vec<Heard>,
    said: Vec<Said>,
}

impl Talker {
    fn new(dialect: Dialect) -> Self {
        let (alice, bob) = (Name::from("alice"), Name::from("bob"));
        let (mut ids, limits) = (Ids::new(7), Limits::default());
        let mut cx = context(&mut ids, &limits);
        let mut client = ClientCodec::new(&ClientSetup { dialect, token: None, offers: true });
        let mut frames = Vec::new();
        let register = Command::Register { name: Some(alice.clone()), resumable: false };
        client.encode(&mut cx, &register, &mut frames).expect("a registration");
        if dialect == Dialect::Mesh {
            client.encode(&mut cx, &Command::Join { room: Name::from("r"), tag: None }, &mut frames).expect("a join");
        }
        let mut codec = match dialect {
            Dialect::TonyBai => Codec::enter(Door::Offer, None).expect("Tony Bai's door"),
            Dialect::SocketIo => Codec::SocketIo(Box::new(socketio::Server::new(Version::Four, None, None))),
            Dialect::SocketIo09 => Codec::SocketIo(Box::new(socketio::Server::new(Version::Legacy, None, None))),
            _ => Codec::detect(&frames[0], None, None).expect("a dialect that is detected"),
        };
        let mut heard = Vec::new();
        frames.iter().for_each(|frame| codec.receive(&mut cx, frame, &mut heard));
        // Our own ids are the server's to give in some dialects; both sides are told.
        let registered = Event::Registered { name: alice.clone(), token: None, resumed: Resumed::Fresh };
        let mut said = Vec::new();
        let _ = codec.encode(&mut cx, &registered, &mut said);
        for said in &said {
            if let Said::Frame(frame) = said {
                let _ = client.receive(&mut cx, frame, &mut Vec::new());
            }
        }
        let is_broadcast = matches!(dialect, Dialect::SocketIo | Dialect::SocketIo09);
        let to = if is_broadcast { Name::from(socketio::EVERYONE) } else { bob.clone() };
        let mut frames = Vec::new();
        client.encode(&mut cx, &offer(To::Peer(to)), &mut frames).expect("an offer");
        let letter = Letter::Open(Signal::Offer { sdp: sdp() });
        let event = Event::Signal { from: bob, to: To::Peer(alice), letter };
        Talker { codec, frame: frames.remove(0), event, ids, limits, heard: Vec::new(), said: Vec::new() }
    }

    fn decode(&mut self) {
        self.heard.clear();
        self.codec.receive(&mut context(&mut self.ids, &self.limits), &self.frame, &mut self.heard);
        assert!(matches!(self.heard[..], [.., Heard::Command(Command::Signal(_))]), "{:?}", self.heard);
    }

    fn encode(&mut self) {
        self.said.clear();
        let encoded = self.codec.encode(&mut context(&mut self.ids, &self.limits), &self.event, &mut self.said);
        assert!(encoded.is_ok() && !self.said.is_empty(), "{encoded:?}");
    }
}

fn context<'a>(ids: &'a mut Ids, limits: &'a Limits) -> Context<'a> {
    Context { unix: Duration::from_secs(1_795_196_520), ids, limits, ice_servers: &[] }
}

/// A whole server, and a message for it.
pub struct Relay {
    server: Server,
    now: Instant,
    from: ConnId,
    frame: Frame,
    credit: Vec<(ConnId, usize)>,
}

impl Relay {
    /// Ten thousand clients of conic's, of whom one offers to another.
    fn pairs() -> Self {
        let mut bench = bench();
        let conns: Vec<ConnId> = (0..MANY)
            .map(|client| {
                let conn = bench.open("/ws", "");
                let data = format!(r#"{{"client_id":"client-{client:05}"}}"#);
                bench.text(
                    conn,
                    &format!(
                        r#"{{"id":"1","type":"register_request","timestamp":"2025-08-10T12:00:00Z","data":{data}}}"#
                    ),
                );
                bench.take(conn);
                conn
            })
            .collect();
        let sdp = serde_json::json!({ "type": "offer", "sdp": sdp() });
        let data = format!(r#"{{"from_id":"client-01234","to_id":"client-07890","session_description":{sdp}}}"#);
        let text = format!(r#"{{"id":"2","type":"sdp","timestamp":"2025-08-10T12:00:00Z","data":{data}}}"#);
        Relay { from: conns[1234], frame: Frame::text(text), credit: Vec::new(), now: bench.now, server: bench.server }
    }

    /// A thousand clients of Socket.IO, of whom one says something to all.
    fn room() -> Self {
        let mut bench = bench();
        let conns: Vec<ConnId> = (0..ROOM)
            .map(|_| {
                let conn = bench.open("/socket.io/?EIO=4&transport=websocket", "");
                bench.text(conn, "40");
                let got = bench.take(conn);
                assert!(got.iter().any(|got| matches!(got, Got::Text(text) if text.starts_with("40"))), "{got:?}");
                conn
            })
            .collect();
        let sdp = serde_json::json!({ "type": "offer", "sdp": sdp() });
        let frame = Frame::text(format!(r#"42["message",{sdp}]"#));
        Relay { from: conns[0], frame, credit: Vec::new(), now: bench.now, server: bench.server }
    }

    fn pass(&mut self, receivers: usize) {
        self.server.handle_input(self.now, Input::Frame { conn: self.from, frame: self.frame.clone() });
        while let Some(output) = self.server.poll_output() {
            if let Output::Send { conn, frame } = output {
                self.credit.push((conn, frame.len()));
            }
        }
        assert_eq!(self.credit.len(), receivers);
        for (conn, len) in self.credit.drain(..) {
            self.server.handle_input(self.now, Input::Sent { conn, messages: 1, len });
            while self.server.poll_output().is_some() {}
        }
    }
}

/// A server whose bounds are in force but out of reach: time stands still here.
fn bench() -> Bench {
    let limits = Limits { messages_per_second: u32::MAX, message_burst: u32::MAX, ..Limits::default() };
    Bench::new(ServerConfig { limits, ..ServerConfig::default() })
}

/// Two peers with an open channel.
pub struct Channel {
    peers: [Peer; 2],
    now: Instant,
    key: ChannelKey,
    payload: Payload,
    arrived: usize,
    effects: Vec<PeerEffect>,
}

impl Channel {
    fn connected() -> Self {
        let now = Instant::now();
        let peer = |who: usize| {
            let buffer = enishi_core::limits::CHANNEL_BUFFER_BYTES;
            let hosts = vec![address(who)];
            Peer::new(
                now,
                PeerConfig {
                    polite: who == 1,
                    hosts,
                    channel_buffer_bytes: buffer,
                    crypto: Crypto::default(),
                    estimate_bandwidth: false,
                },
            )
        };
        let payload = Payload::Binary(vec![0x5a; MESSAGE_BYTES].into());
        let (peers, effects) = ([peer(0), peer(1)], Vec::new());
        let mut channel = Channel { peers, now, key: ChannelKey(0), payload, arrived: 0, effects };
        let spec = ChannelSpec { label: "micro".into(), ordered: true, max_retransmits: None, max_lifetime: None };
        let mut out = Vec::new();
        channel.key = channel.peers[0].open_channel(now, spec, &mut out);
        let mut open = [false; 2];
        channel.carry(0, out, &mut open);
        for _ in 0..10_000 {
            if open == [true; 2] {
                return channel;
            }
            channel.wake(&mut open);
        }
        panic!("the peers do not connect");
    }

    /// Goes on by a millisecond.
    fn wake(&mut self, open: &mut [bool; 2]) {
        self.now += Duration::from_millis(1);
        for who in [0, 1] {
            if self.peers[who].next_timeout().is_some_and(|at| at <= self.now) {
                let mut out = std::mem::take(&mut self.effects);
                self.peers[who].timeout(self.now, &mut out);
                self.carry(who, out, open);
            }
        }
    }

    /// Does what one of the two wants, and what comes of it.
    fn carry(&mut self, who: usize, mut out: Vec<PeerEffect>, open: &mut [bool; 2]) {
        for effect in out.drain(..) {
            let (other, mut more) = (1 - who, Vec::new());
            match effect {
                PeerEffect::Transmit { remote, bytes, .. } if remote == address(other) => {
                    let peer = &mut self.peers[other];
                    peer.receive_datagram(self.now, remote, address(who), &bytes, &mut more);
                }
                PeerEffect::Signal(signal) => self.peers[other].receive_signal(self.now, signal, &mut more),
                PeerEffect::ChannelOpened { .. } => open[who] = true,
                PeerEffect::Message { .. } => self.arrived += 1,
                _ => {}
            }
            self.carry(other, more, open);
        }
        self.effects = out;
    }

    fn pass(&mut self) {
        let (before, mut out) = (self.arrived, std::mem::take(&mut self.effects));
        self.peers[0].send(self.now, self.key, &self.payload, &mut out).expect("room for a message");
        self.carry(0, out, &mut [true; 2]);
        self.wake(&mut [true; 2]);
        assert_eq!(self.arrived, before + 1);
    }
}

fn address(who: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + who as u8], 5000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_can_be_repeated() {
        for name in Micro::names() {
            let mut micro = Micro::prepare(&name);
            (0..3).for_each(|_| micro.step());
        }
    }
}
