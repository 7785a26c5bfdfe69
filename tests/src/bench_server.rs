//! A server on the bench: no sockets, a clock that is moved by hand, every output caught.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use enishi_core::http::{self, Parsed};
use enishi_core::machine::{CloseReason, ConnId, Frame, FrameFault, Input, ListenerId, Machine, Output};
use enishi_core::server::{Server, ServerCommand, ServerConfig, ServerNotice};
use enishi_core::trace::Trace;

/// What a client of the bench saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Got {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping.
    Ping,
    /// A close frame.
    Close(u16, String),
    /// The socket was closed without a word.
    Dropped,
    /// An HTTP answer: status and body.
    Answer(u16, String),
    /// The 101, and the subprotocol that it names.
    Upgraded(Option<String>),
    /// The server reads from this client again, or no more.
    Reading(bool),
}

/// A server and its clients.
#[derive(Debug)]
pub struct Bench {
    /// The machine itself.
    pub server: Server,
    /// The present.
    pub now: Instant,
    /// Whether clients read at once what they are sent.
    pub readers: BTreeMap<ConnId, bool>,
    /// Everything that the server wanted logged.
    pub traces: Vec<Trace>,
    /// Whether the server said that it is drained.
    pub drained: bool,
    /// How often the server had free memory go back to the system.
    pub released: usize,
    /// The headers of the last answer on a connection.
    pub headers: BTreeMap<ConnId, Vec<(String, String)>>,
    /// Connections that are WebSockets, and those that the server dropped.
    sockets: BTreeSet<ConnId>,
    dropped: BTreeSet<ConnId>,
    next: u64,
    got: BTreeMap<ConnId, VecDeque<Got>>,
    unread: BTreeMap<ConnId, (usize, usize)>,
    credit: Vec<(ConnId, usize, usize)>,
}

impl Bench {
    /// A fresh server.
    pub fn new(config: ServerConfig) -> Self {
        Bench::starting(Duration::from_secs(1_795_196_520), [7; 32], config)
    }

    /// A fresh server, started at this Unix time and with this seed.
    pub fn starting(unix: Duration, seed: [u8; 32], config: ServerConfig) -> Self {
        let now = Instant::now();
        Bench {
            server: Server::new(now, unix, seed, config),
            now,
            readers: BTreeMap::new(),
            traces: Vec::new(),
            drained: false,
            released: 0,
            headers: BTreeMap::new(),
            sockets: BTreeSet::new(),
            dropped: BTreeSet::new(),
            next: 0,
            got: BTreeMap::new(),
            unread: BTreeMap::new(),
            credit: Vec::new(),
        }
    }

    /// A new TCP connection from loopback.
    pub fn accept(&mut self) -> ConnId {
        self.accept_from("127.0.0.1:50000".parse().expect("an address"))
    }

    /// A new TCP connection.
    pub fn accept_from(&mut self, remote: SocketAddr) -> ConnId {
        self.next += 1;
        let conn = ConnId(self.next);
        self.readers.insert(conn, true);
        self.input(Input::Accepted { conn, listener: ListenerId(0), remote });
        conn
    }

    /// Sends the bytes of one HTTP request.
    pub fn http(&mut self, conn: ConnId, bytes: &str) {
        match http::parse(bytes.as_bytes()) {
            Parsed::Complete(request, _) => self.input(Input::Request { conn, request }),
            Parsed::Refused(error) => self.input(Input::BadRequest { conn, error }),
            Parsed::Partial => panic!("not a whole request: {bytes:?}"),
        }
    }

    /// Asks for a path on a new connection; what comes back is to be taken.
    pub fn get(&mut self, path: &str) -> ConnId {
        let conn = self.accept();
        self.http(conn, &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\r\n"));
        conn
    }

    /// Posts to a path on a new connection.
    pub fn post(&mut self, path: &str, body: &str) -> ConnId {
        let conn = self.accept();
        let len = body.len();
        self.http(
            conn,
            &format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nContent-Length: {len}\r\n\r\n{body}"),
        );
        conn
    }

    /// The body of the one answer that a connection got, which has this status.
    pub fn answer(&mut self, conn: ConnId, status: u16) -> String {
        match self.take(conn).as_slice() {
            [Got::Answer(got, body)] if *got == status => body.clone(),
            other => panic!("{conn} got {other:?}"),
        }
    }

    /// Opens a WebSocket on a path, with further header lines.
    pub fn open(&mut self, path: &str, headers: &str) -> ConnId {
        let conn = self.accept();
        self.http(conn, &upgrade_request(path, headers));
        conn
    }

    /// Opens a WebSocket on `/ws` and forgets the 101.
    pub fn ws(&mut self) -> ConnId {
        let conn = self.open("/ws", "");
        assert_eq!(self.take(conn), [Got::Upgraded(None)]);
        conn
    }

    /// A client of our own protocol that said hello under this id. What it was told so far is forgotten.
    pub fn enishi(&mut self, id: &str) -> ConnId {
        let conn = self.ws();
        self.text(conn, &format!(r#"{{"type":"hello","id":"{id}"}}"#));
        let told = self.take_texts(conn);
        assert!(told[0].contains(r#""type":"welcome""#), "{told:?}");
        conn
    }

    /// A text message from a client.
    pub fn text(&mut self, conn: ConnId, text: &str) {
        self.input(Input::Frame { conn, frame: Frame::text(text) });
    }

    /// Any frame from a client.
    pub fn frame(&mut self, conn: ConnId, frame: Frame) {
        self.input(Input::Frame { conn, frame });
    }

    /// A violation by a client.
    pub fn fault(&mut self, conn: ConnId, fault: FrameFault) {
        self.input(Input::Fault { conn, fault });
    }

    /// Whether a connection is a WebSocket on which the server may still hear something.
    pub fn is_open_socket(&self, conn: ConnId) -> bool {
        self.sockets.contains(&conn)
    }

    /// Whether the server dropped a connection: no input may name it then.
    pub fn was_dropped(&self, conn: ConnId) -> bool {
        self.dropped.contains(&conn)
    }

    /// A client's connection is gone.
    pub fn hang_up(&mut self, conn: ConnId) {
        self.sockets.remove(&conn);
        self.input(Input::Closed { conn, reason: CloseReason::Eof });
    }

    /// A client that did not read takes everything now.
    pub fn read_all(&mut self, conn: ConnId) {
        if let Some((messages, len)) = self.unread.remove(&conn) {
            self.input(Input::Sent { conn, messages, len });
        }
    }

    /// Asks the server to shut down.
    pub fn drain(&mut self) {
        self.input(Input::Command(ServerCommand::Drain));
    }

    /// The connections of clients that have something to take, in order.
    pub fn known(&self) -> Vec<ConnId> {
        self.got.keys().copied().collect()
    }

    /// What a client saw since the last time.
    pub fn take(&mut self, conn: ConnId) -> Vec<Got> {
        self.got.remove(&conn).unwrap_or_default().into()
    }

    /// The same, where nothing but texts and pings may have come; pings are left out.
    pub fn take_texts(&mut self, conn: ConnId) -> Vec<String> {
        let texts = self.take(conn).into_iter().filter(|got| *got != Got::Ping);
        texts
            .map(|got| match got {
                Got::Text(text) => text,
                other => panic!("{conn} got {other:?}"),
            })
            .collect()
    }

    /// Lets time pass, and gives the server each of its deadlines. After a deadline the next one must be later.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.server.poll_timeout().filter(|deadline| deadline.at <= end) {
            self.now = deadline.at.max(self.now);
            self.input(Input::Timeout);
            if let Some(next) = self.server.poll_timeout() {
                assert!(next.at > self.now, "no progress: {} then {}", deadline.why, next.why);
            }
        }
        self.now = end;
    }

    /// Time passes while the program is stopped; then the driver finds that a deadline is due.
    pub fn pause(&mut self, time: Duration) {
        self.now += time;
        self.input(Input::Timeout);
    }

    /// Gives the server one input and does what it wants; what that brings is given to it as well.
    pub fn input(&mut self, input: Input<'_, ServerCommand>) {
        self.server.handle_input(self.now, input);
        self.act();
        while let Some((conn, messages, len)) = self.credit.pop() {
            self.server.handle_input(self.now, Input::Sent { conn, messages, len });
            self.act();
        }
    }

    fn act(&mut self) {
        while let Some(output) = self.server.poll_output() {
            let (conn, got) = match output {
                Output::Respond { conn, response } => {
                    let headers = response.headers.iter().map(|(name, value)| (name.to_string(), value.to_string()));
                    self.headers.insert(conn, headers.collect());
                    let body = String::from_utf8_lossy(&response.body).into_owned();
                    (conn, Got::Answer(response.status, body))
                }
                Output::Upgrade { conn, response, .. } => {
                    self.sockets.insert(conn);
                    let named = response.headers.iter().find(|(name, _)| *name == "Sec-WebSocket-Protocol");
                    (conn, Got::Upgraded(named.map(|(_, value)| value.to_string())))
                }
                Output::Send { conn, frame } => {
                    if frame != Frame::Ping {
                        if self.readers.get(&conn) == Some(&true) {
                            self.credit.push((conn, 1, frame.len()));
                        } else {
                            let unread = self.unread.entry(conn).or_default();
                            *unread = (unread.0 + 1, unread.1 + frame.len());
                        }
                    }
                    let got = match frame {
                        Frame::Text(text) => Got::Text(text.as_str().to_owned()),
                        Frame::Binary(bytes) => Got::Binary(bytes.to_vec()),
                        Frame::Ping | Frame::Pong => Got::Ping,
                    };
                    (conn, got)
                }
                Output::Read { conn, on } => (conn, Got::Reading(on)),
                Output::Close { conn, code, reason } => {
                    self.sockets.remove(&conn);
                    (conn, Got::Close(code, reason))
                }
                Output::Drop { conn } => {
                    self.sockets.remove(&conn);
                    self.dropped.insert(conn);
                    (conn, Got::Dropped)
                }
                Output::Notice(ServerNotice::Trace(trace)) => {
                    self.traces.push(trace);
                    continue;
                }
                Output::Notice(ServerNotice::Drained) => {
                    self.drained = true;
                    continue;
                }
                Output::ReleaseMemory => {
                    self.released += 1;
                    continue;
                }
                Output::Dial { .. }
                | Output::Get { .. }
                | Output::Datagram { .. }
                | Output::ReadFile { .. }
                | Output::WriteFile { .. } => {
                    panic!("a server does not do that")
                }
            };
            self.got.entry(conn).or_default().push_back(got);
        }
    }
}

/// A request that opens a WebSocket.
pub fn upgrade_request(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}
