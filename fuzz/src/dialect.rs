//! Every dialect, as a server and as a client.

use std::collections::BTreeMap;
use std::time::Duration;

use enishi_core::dialect::socketio::{self, EVERYONE, Version};
use enishi_core::dialect::{self, ClientCodec, ClientSetup, Codec, Context, Dialect, Door, Heard, Said};
use enishi_core::ids::Ids;
use enishi_core::limits::Limits;
use enishi_core::machine::{ConnId, Frame};
use enishi_core::server::ServerConfig;
use enishi_core::signal::{Candidate, Command, Envelope, Event, Letter, Name, Payload, Resumed, Signal, To};
use enishi_tests::bench_server::{Bench, Got};

/// Lines that are done; more only make runs slow.
const LINES: usize = 100;

/// Time that may pass in all, in seconds.
const SECONDS: usize = 300;

/// Messages in both directions, one a line. The first byte of a line says what the rest is:
///
/// | byte | the rest |
/// |---|---|
/// | `0` to `7` | a text message to the server: two on `/ws`, then `/v1`, `/register`, `/offer`, Socket.IO 4, 2, 0.9 |
/// | `8` to `?` | the same as a binary message |
/// | `a` to `i` | a text message from a server to a client, in the order of [`Dialect::ALL`] |
/// | `A` to `I` | the same as a binary message |
/// | `@` | what a server answers before a connection is opened, to each client |
/// | `!` | a byte for the kind, then fields between `\|`: a command that each client writes |
/// | `^` | its first byte is a connection to the server, which is lost |
/// | `+` | as many seconds pass as it has bytes |
///
/// A bystander is served all the time, whatever a client writes its server reads, and what anybody reads can be
/// written in every dialect or is refused.
///
/// # Panics
/// On a defect.
pub fn dialect(data: &[u8]) {
    let mut server = Server::new();
    let mut clients = Clients::new();
    for line in data.split(|byte| *byte == b'\n').take(LINES) {
        let Some((kind, rest)) = line.split_first() else { continue };
        match kind {
            b'0'..=b'7' => server.frame(kind - b'0', text(rest)),
            b'8'..=b'?' => server.frame(kind - b'8', Frame::Binary(rest.to_vec().into())),
            b'a'..=b'i' => clients.hear(usize::from(kind - b'a'), &text(rest)),
            b'A'..=b'I' => clients.hear(usize::from(kind - b'A'), &Frame::Binary(rest.to_vec().into())),
            b'@' => clients.begin(&String::from_utf8_lossy(rest)),
            b'!' => clients.say(rest),
            b'^' => server.lose(rest.first().copied().unwrap_or_default() % 8),
            b'+' => server.pass(rest.len()),
            _ => {}
        }
    }
    server.bystander_is_served();
}

fn text(bytes: &[u8]) -> Frame {
    match std::str::from_utf8(bytes) {
        Ok(text) => Frame::text(text),
        Err(_) => Frame::Binary(bytes.to_vec().into()),
    }
}

/// A server, the connections to it that are open, and whether it reads from each.
struct Server {
    bench: Bench,
    bystander: ConnId,
    conns: BTreeMap<u8, (ConnId, bool)>,
    seconds: usize,
}

impl Server {
    fn new() -> Self {
        let mut bench = Bench::new(ServerConfig::default());
        let bystander = bench.enishi("bystander");
        Server { bench, bystander, conns: BTreeMap::new(), seconds: 0 }
    }

    /// A frame on a connection, which is opened if it is not yet. As a driver does, nothing is delivered that the server
    /// does not want to read.
    fn frame(&mut self, which: u8, frame: Frame) {
        let (conn, reads) = match self.conns.get(&which) {
            Some(conn) => *conn,
            None => {
                let conn = self.open(which);
                self.conns.insert(which, (conn, true));
                self.look();
                (conn, true)
            }
        };
        if reads {
            self.bench.frame(conn, frame);
            self.look();
        }
    }

    fn open(&mut self, which: u8) -> ConnId {
        match which {
            0 | 1 => self.bench.open("/ws", ""),
            2 => self.bench.open("/v1", ""),
            3 => self.bench.open("/register", ""),
            4 => self.bench.open("/offer", ""),
            5 => self.bench.open("/socket.io/?EIO=4&transport=websocket", ""),
            6 => self.bench.open("/socket.io/?EIO=3&transport=websocket", ""),
            _ => {
                let conn = self.bench.get("/socket.io/1/?t=1");
                let answer = self.bench.answer(conn, 200);
                let sid = answer.split(':').next().unwrap_or_default();
                self.bench.open(&format!("/socket.io/1/websocket/{sid}"), "")
            }
        }
    }

    /// Does what the server wants of its connections.
    fn look(&mut self) {
        let mut gone = Vec::new();
        for (which, (conn, reads)) in &mut self.conns {
            for got in self.bench.take(*conn) {
                match got {
                    Got::Reading(on) => *reads = on,
                    Got::Close(code, reason) => {
                        assert!((1000..5000).contains(&code) && reason.len() <= 123, "{code} {reason}");
                        gone.push((*which, true));
                    }
                    Got::Dropped | Got::Answer(..) => gone.push((*which, false)),
                    Got::Text(_) | Got::Binary(_) | Got::Ping | Got::Upgraded(_) => {}
                }
            }
        }
        for (which, told) in gone {
            if let (Some((conn, _)), true) = (self.conns.remove(&which), told) {
                self.bench.hang_up(conn);
            }
        }
    }

    fn lose(&mut self, which: u8) {
        if let Some((conn, _)) = self.conns.remove(&which) {
            self.bench.hang_up(conn);
            self.look();
        }
    }

    fn pass(&mut self, seconds: usize) {
        for _ in 0..seconds.min(SECONDS - self.seconds) {
            self.seconds += 1;
            self.bench.pass(Duration::from_secs(1));
            self.bench.frame(self.bystander, Frame::Pong);
            self.look();
        }
    }

    fn bystander_is_served(&mut self) {
        self.bench.take(self.bystander);
        self.bench.text(self.bystander, r#"{"type":"list"}"#);
        let got = self.bench.take(self.bystander);
        assert!(matches!(&got[..], [Got::Text(peers)] if peers.contains("bystander")), "{got:?}");
    }
}

/// One client of each dialect, and where its ids come from.
struct Clients {
    codecs: Vec<ClientCodec>,
    ids: Ids,
    limits: Limits,
}

impl Clients {
    fn new() -> Self {
        let codecs = Dialect::ALL.into_iter().map(client).collect();
        Clients { codecs, ids: Ids::new(1), limits: Limits::default() }
    }

    /// A frame from a server: what it says is said to the clients of all servers of ours.
    fn hear(&mut self, which: usize, frame: &Frame) {
        let mut cx = context(&mut self.ids, &self.limits);
        let codec = &mut self.codecs[which];
        if let Some(answer) = codec.answer(frame) {
            assert!(answer.len() < 100, "{answer:?}");
        }
        let mut events = Vec::new();
        let heard = codec.receive(&mut cx, frame, &mut events);
        assert!(heard.is_ok() || events.is_empty(), "{heard:?} and {events:?}");
        for event in events {
            for dialect in Dialect::ALL {
                encode(&mut cx, &mut server(&mut Ids::new(1), dialect), &event);
            }
        }
    }

    fn begin(&mut self, answer: &str) {
        for codec in &mut self.codecs {
            let begun = codec.begin(answer);
            let url = codec.url("ws://example.org:9001/x?y");
            assert!(url.starts_with("ws://example.org:9001/") && url.is_ascii(), "{begun:?} {url}");
        }
    }

    /// A command in each dialect. The server reads what the client writes; a signal's kind stays, on to each dialect.
    fn say(&mut self, bytes: &[u8]) {
        let Some((kind, fields)) = bytes.split_first() else { return };
        let fields = String::from_utf8_lossy(fields);
        let fields: Vec<&str> = fields.split('|').collect();
        for (codec, dialect) in self.codecs.iter_mut().zip(Dialect::ALL) {
            let mut cx = context(&mut self.ids, &self.limits);
            let command = command(*kind, &fields, dialect);
            let mut frames = Vec::new();
            if codec.encode(&mut cx, &command, &mut frames).is_err() {
                assert!(frames.is_empty(), "{command:?} was refused and written: {frames:?}");
                continue;
            }
            let mut server = server(&mut Ids::new(1), dialect);
            for frame in frames {
                let mut heard = Vec::new();
                server.receive(&mut cx, &frame, &mut heard);
                for heard in heard {
                    if let Heard::Command(Command::Signal(envelope)) = heard {
                        pass_on(&mut cx, envelope);
                    }
                }
            }
        }
    }
}

/// A signal that a server heard goes on to everybody: it is what it says, and its kind stays.
fn pass_on(cx: &mut Context<'_>, envelope: Envelope) {
    let kind = envelope.letter.kind();
    if let Letter::Sealed(sealed) = &envelope.letter
        && let Ok(signal) = dialect::open(sealed)
    {
        assert_eq!(signal.kind(), kind, "{sealed:?}");
    }
    let event = Event::Signal { from: Name::from("a"), to: To::Peer("b".into()), letter: envelope.letter };
    for dialect in Dialect::ALL {
        let frames = encode(cx, &mut server(&mut Ids::new(1), dialect), &event);
        let (mut receiver, mut events) = (client(dialect), Vec::new());
        for frame in frames {
            let _ = receiver.receive(cx, &frame, &mut events);
        }
        for event in events {
            if let Event::Signal { letter, .. } = event {
                assert_eq!(letter.kind(), kind, "to {dialect:?}");
            }
        }
    }
}

/// What a server says of an event; nothing if it refuses.
fn encode(cx: &mut Context<'_>, server: &mut Codec, event: &Event) -> Vec<Frame> {
    let mut said = Vec::new();
    let result = server.encode(cx, event, &mut said);
    assert!(result.is_ok() || said.is_empty(), "{event:?} was refused and said: {said:?}");
    said.into_iter().filter_map(|said| if let Said::Frame(frame) = said { Some(frame) } else { None }).collect()
}

fn context<'a>(ids: &'a mut Ids, limits: &'a Limits) -> Context<'a> {
    Context { unix: Duration::from_secs(1_795_196_520), ids, limits, ice_servers: &[] }
}

fn client(dialect: Dialect) -> ClientCodec {
    ClientCodec::new(&ClientSetup { dialect, token: None, offers: true })
}

/// The server of a client that registered as `b`.
fn server(ids: &mut Ids, dialect: Dialect) -> Codec {
    let limits = Limits::default();
    let mut cx = context(ids, &limits);
    let mut frames = Vec::new();
    let mut client = client(dialect);
    let register = Command::Register { name: Some("b".into()), resumable: false };
    client.encode(&mut cx, &register, &mut frames).expect("a registration");
    let _ = client.encode(&mut cx, &Command::Join { room: "r".into(), tag: None }, &mut frames);
    let mut server = match dialect {
        Dialect::SocketIo09 => Codec::SocketIo(Box::new(socketio::Server::new(Version::Legacy, None, None))),
        Dialect::SocketIo => Codec::SocketIo(Box::new(socketio::Server::new(Version::Four, None, None))),
        Dialect::TonyBai => Codec::enter(Door::Offer, None).expect("a door"),
        _ => Codec::detect(&frames[0], None, None).expect("a dialect"),
    };
    for frame in &frames {
        server.receive(&mut cx, frame, &mut Vec::new());
    }
    let registered = Event::Registered { name: "b".into(), token: None, resumed: Resumed::Fresh };
    server.encode(&mut cx, &registered, &mut Vec::new()).expect("a welcome");
    server
}

/// A command, made of text.
fn command(kind: u8, fields: &[&str], dialect: Dialect) -> Command {
    let field = |position: usize| fields.get(position).copied().unwrap_or_default().to_owned();
    let optional = |position: usize| fields.get(position).map(|field| (*field).to_owned());
    let name = |position: usize| Name::new(field(position));
    let signal = match kind % 16 {
        0 => return Command::Register { name: optional(0).map(Name::new), resumable: fields.len() > 1 },
        1 => return Command::Resume { token: field(0).into(), received: field(1).len() as u64 },
        2 => return Command::Unregister { name: name(0) },
        3 => return Command::List { tag: optional(0).map(Name::new) },
        4 => return Command::Join { room: name(0), tag: optional(1).map(Name::new) },
        5 => return Command::Leave { room: name(0), tag: optional(1).map(Name::new) },
        6 => return Command::Bye,
        7 | 8 => Signal::Offer { sdp: field(1) },
        9 => Signal::Answer { sdp: field(1) },
        // An empty candidate is the end of them, in some dialects by another name.
        10 | 11 if !field(1).is_empty() => Signal::Candidate(Candidate {
            candidate: field(1),
            sdp_mid: optional(2),
            sdp_m_line_index: optional(3).map(|field| field.len() as u16),
            username_fragment: optional(4),
        }),
        10..=12 => Signal::EndOfCandidates { username_fragment: optional(1) },
        13 => Signal::Restart,
        14 => Signal::Data { label: field(1), payload: Payload::Text(field(2)) },
        _ => Signal::Data { label: field(1), payload: Payload::Binary(field(2).into_bytes().into()) },
    };
    let to = match dialect {
        Dialect::SocketIo09 | Dialect::SocketIo => EVERYONE.into(),
        _ => name(0),
    };
    Command::Signal(Envelope { from: None, to: To::Peer(to), letter: Letter::Open(signal), tag: None, receipt: false })
}
