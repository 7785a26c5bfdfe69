//! A server, agents and the network between them, in one thread and in virtual time, from one seed.
//!
//! WebSockets are pipes with a delay. Datagrams are delayed, jittered (so they overtake each other) and lost as
//! [`Path`] says. Machines are given exactly the inputs that a driver would give them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use enishi_core::agent::{Agent, AgentCommand, AgentConfig, AgentNotice, Role};
use enishi_core::dialect::Dialect;
use enishi_core::http::{self, Parsed};
use enishi_core::machine::{CloseReason, ConnId, DialId, Frame, Input, ListenerId, Machine, Output};
use enishi_core::peer::ChannelSpec;
use enishi_core::server::{Server, ServerCommand, ServerConfig, ServerNotice};
use enishi_core::signal::{Name, Payload};

use crate::bench_server::upgrade_request;

/// Unix time at the start of every run.
const EPOCH: Duration = Duration::from_secs(1_795_196_520);

/// One way of a WebSocket.
const WIRE_DELAY: Duration = Duration::from_millis(5);

/// How datagrams travel.
#[derive(Debug, Clone, Copy)]
pub struct Path {
    /// At least this long.
    pub delay: Duration,
    /// Up to this much longer, each by itself.
    pub jitter: Duration,
    /// The share that is lost.
    pub loss: f64,
}

impl Default for Path {
    fn default() -> Self {
        Path { delay: Duration::from_millis(10), jitter: Duration::ZERO, loss: 0.0 }
    }
}

/// Who is in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Server,
    Agent(usize),
}

/// What is on its way.
#[derive(Debug)]
enum Packet {
    ToServer(Input<'static, ServerCommand>),
    ToAgent(usize, Input<'static, AgentCommand>),
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
}

/// A WebSocket. Both machines call it by the same id.
#[derive(Debug)]
struct Wire {
    agent: usize,
    dial: DialId,
}

/// Everybody.
#[derive(Debug)]
pub struct World {
    /// The present.
    pub now: Instant,
    /// How datagrams travel from now on.
    pub path: Path,
    start: Instant,
    rng: fastrand::Rng,
    server: Option<Server>,
    agents: Vec<Agent>,
    hosts: BTreeMap<SocketAddr, usize>,
    wires: BTreeMap<ConnId, Wire>,
    packets: BTreeMap<(Instant, u64), Packet>,
    count: u64,
    /// All notices of agents: when, whose, what.
    pub notices: Vec<(Duration, usize, AgentNotice)>,
}

impl World {
    /// A world with a server and nobody else. The seed also sets this thread's generator, which ICE uses.
    pub fn new(seed: u64) -> Self {
        fastrand::seed(seed);
        let start = Instant::now();
        let mut world = World {
            now: start,
            path: Path::default(),
            start,
            rng: fastrand::Rng::with_seed(seed),
            server: None,
            agents: Vec::new(),
            hosts: BTreeMap::new(),
            wires: BTreeMap::new(),
            packets: BTreeMap::new(),
            count: 0,
            notices: Vec::new(),
        };
        world.start_server();
        world
    }

    /// Starts a server that knows nobody.
    pub fn start_server(&mut self) {
        let unix = EPOCH + (self.now - self.start);
        self.server = Some(Server::new(
            self.now,
            unix,
            self.rng.u128(..).to_le_bytes().repeat(2).try_into().expect("32 bytes"),
            ServerConfig::default(),
        ));
    }

    /// The server's process dies: its sockets are closed by the kernel.
    pub fn kill_server(&mut self) {
        self.server = None;
        for (conn, wire) in std::mem::take(&mut self.wires) {
            self.send(WIRE_DELAY, Packet::ToAgent(wire.agent, Input::Closed { conn, reason: CloseReason::Eof }));
        }
    }

    /// Cuts the signaling connection of an agent: what is on the wire is lost, both ends are told.
    pub fn cut(&mut self, agent: usize) {
        let cut: Vec<ConnId> = self.wires.iter().filter(|(_, w)| w.agent == agent).map(|(conn, _)| *conn).collect();
        for conn in cut {
            self.packets.retain(|_, packet| match packet {
                Packet::ToServer(Input::Frame { conn: of, .. }) | Packet::ToAgent(_, Input::Frame { conn: of, .. }) => {
                    *of != conn
                }
                _ => true,
            });
            self.hang_up(conn, CloseReason::Eof, CloseReason::Eof);
        }
    }

    /// An agent, which dials at once; `target` makes it offer.
    pub fn add(&mut self, dialect: Dialect, id: &str, target: Option<&str>) -> usize {
        let index = self.agents.len();
        let host = SocketAddr::from(([192, 0, 2, index as u8 + 1], 5000));
        let config = AgentConfig {
            signal_url: "ws://127.0.0.1:3000/ws".to_owned(),
            dialect,
            id: Some(id.into()),
            token: None,
            role: if target.is_some() { Role::Offer } else { Role::Answer },
            target: target.map(Name::from),
            channel: channel("chat"),
            hosts: vec![host],
            stun: Vec::new(),
            channel_buffer_bytes: 128 * 1024,
        };
        let unix = EPOCH + (self.now - self.start);
        let seed = self.rng.u128(..).to_le_bytes().repeat(2).try_into().expect("32 bytes");
        self.agents.push(Agent::new(self.now, unix, seed, config));
        self.hosts.insert(host, index);
        self.give_agent(index, Input::Timeout);
        index
    }

    /// Gives an agent a command.
    pub fn command(&mut self, agent: usize, command: AgentCommand) {
        self.give_agent(agent, Input::Command(command));
    }

    /// Lets an agent send a text to everybody on their first channel.
    pub fn say(&mut self, agent: usize, text: &str) {
        let payload = Payload::Text(text.to_owned());
        self.command(agent, AgentCommand::Send { to: None, label: None, payload });
    }

    /// Runs until something is so.
    ///
    /// # Panics
    /// If it is not so within this time: with everything that the agents told.
    #[track_caller]
    pub fn until(&mut self, limit: Duration, what: &str, mut so: impl FnMut(&World) -> bool) {
        let end = self.now + limit;
        while !so(self) {
            assert!(self.step(end), "not within {limit:?}: {what}\n{}", self.story());
        }
    }

    /// Runs for this long.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// What an agent told.
    pub fn told(&self, agent: usize) -> impl DoubleEndedIterator<Item = &AgentNotice> {
        self.notices.iter().filter(move |(_, of, _)| *of == agent).map(|(_, _, notice)| notice)
    }

    /// The texts that arrived on an agent's data channels.
    pub fn texts(&self, agent: usize) -> Vec<&str> {
        self.told(agent)
            .filter_map(|notice| match notice {
                AgentNotice::Message { payload: Payload::Text(text), .. } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    /// How many notices of an agent are so.
    pub fn count(&self, agent: usize, so: impl Fn(&AgentNotice) -> bool) -> usize {
        self.told(agent).filter(|notice| so(notice)).count()
    }

    /// Whether a data channel was opened at an agent.
    pub fn is_open(&self, agent: usize) -> bool {
        self.count(agent, |notice| matches!(notice, AgentNotice::ChannelOpened { .. })) > 0
    }

    /// Everything that the agents told, a line each: equal for equal seeds.
    pub fn story(&self) -> String {
        let mut story = String::new();
        for (at, agent, notice) in &self.notices {
            let _ = writeln!(story, "{at:?} agent {agent}: {notice:?}");
        }
        story
    }

    /// The next thing that happens; `false` if that is after `end`.
    fn step(&mut self, end: Instant) -> bool {
        let agents = self.agents.iter().enumerate();
        let deadlines = agents.filter_map(|(i, agent)| Some((agent.poll_timeout()?.at, i + 1)));
        let server = self.server.as_ref().and_then(|server| Some((server.poll_timeout()?.at, 0)));
        let timeout = deadlines.chain(server).min();
        let packet = self.packets.first_key_value().map(|(key, _)| *key);
        match (timeout, packet) {
            (_, Some(key)) if key.0 <= end && timeout.is_none_or(|(at, _)| key.0 <= at) => {
                self.now = self.now.max(key.0);
                if let Some(packet) = self.packets.remove(&key) {
                    self.arrive(packet);
                }
            }
            (Some((at, who)), _) if at <= end => {
                self.now = self.now.max(at);
                match who {
                    0 => self.give_server(Input::Timeout),
                    n => self.give_agent(n - 1, Input::Timeout),
                }
                let who = if who == 0 { Who::Server } else { Who::Agent(who - 1) };
                self.assert_progress(who);
            }
            _ => return false,
        }
        true
    }

    fn assert_progress(&self, who: Who) {
        let deadline = match who {
            Who::Server => self.server.as_ref().and_then(Machine::poll_timeout),
            Who::Agent(index) => self.agents[index].poll_timeout(),
        };
        if let Some(deadline) = deadline {
            assert!(deadline.at > self.now, "{who:?} makes no progress: {}", deadline.why);
        }
    }

    fn arrive(&mut self, packet: Packet) {
        match packet {
            Packet::ToServer(input) => self.give_server(input),
            Packet::ToAgent(index, input) => self.give_agent(index, input),
            Packet::Datagram { from, to, bytes } => {
                if let Some(&index) = self.hosts.get(&to) {
                    self.give_agent(index, Input::Datagram { local: to, remote: from, bytes: &bytes });
                }
            }
        }
    }

    fn send(&mut self, delay: Duration, packet: Packet) {
        self.count += 1;
        self.packets.insert((self.now + delay, self.count), packet);
    }

    fn give_server(&mut self, input: Input<'_, ServerCommand>) {
        let Some(server) = &mut self.server else { return };
        server.handle_input(self.now, input);
        while let Some(output) = self.server.as_mut().and_then(Machine::poll_output) {
            self.act_for_server(output);
        }
    }

    fn give_agent(&mut self, index: usize, input: Input<'_, AgentCommand>) {
        self.agents[index].handle_input(self.now, input);
        while let Some(output) = self.agents[index].poll_output() {
            self.act_for_agent(index, output);
        }
    }

    fn act_for_server(&mut self, output: Output<ServerNotice>) {
        match output {
            Output::Upgrade { conn, .. } => {
                if let Some(&Wire { agent, dial }) = self.wires.get(&conn) {
                    self.send(WIRE_DELAY, Packet::ToAgent(agent, Input::Dialed { dial, conn, protocol: None }));
                }
            }
            Output::Respond { conn, response } => {
                // Nobody asks twice on one connection here.
                let Some(Wire { agent, dial }) = self.wires.remove(&conn) else { return };
                let answer = String::from_utf8_lossy(&response.body).into_owned();
                self.send(WIRE_DELAY, Packet::ToAgent(agent, Input::Got { dial, answer }));
                self.send(WIRE_DELAY, Packet::ToServer(Input::Closed { conn, reason: CloseReason::Eof }));
            }
            Output::Send { conn, frame } => {
                let Some(&Wire { agent, .. }) = self.wires.get(&conn) else { return };
                if frame == Frame::Ping {
                    // The agent's driver answers.
                    self.send(WIRE_DELAY * 2, Packet::ToServer(Input::Frame { conn, frame: Frame::Pong }));
                } else {
                    let credit = Input::Sent { conn, messages: 1, len: frame.len() };
                    self.send(Duration::ZERO, Packet::ToServer(credit));
                }
                self.send(WIRE_DELAY, Packet::ToAgent(agent, Input::Frame { conn, frame }));
            }
            Output::Close { conn, code, .. } => {
                self.hang_up(conn, CloseReason::Local, CloseReason::Remote(code));
            }
            Output::Drop { conn } => self.hang_up(conn, CloseReason::Local, CloseReason::Eof),
            Output::Read { .. } | Output::Notice(_) => {}
            other => panic!("the server wants {other:?}"),
        }
    }

    fn act_for_agent(&mut self, index: usize, output: Output<AgentNotice>) {
        match output {
            Output::Notice(notice) => self.notices.push((self.now - self.start, index, notice)),
            Output::Datagram { local, remote, bytes } => {
                if self.rng.f64() >= self.path.loss {
                    let delay = self.path.delay + self.path.jitter.mul_f64(self.rng.f64());
                    self.send(delay, Packet::Datagram { from: local, to: remote, bytes });
                }
            }
            Output::Dial { dial, url, protocol, .. } => {
                let header = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
                self.dial(index, dial, &upgrade_request(path_of(&url), &header));
            }
            Output::Get { dial, url } => {
                let path = path_of(&url);
                self.dial(index, dial, &format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:3000\r\n\r\n"));
            }
            Output::Send { conn, frame } => {
                if !self.wires.contains_key(&conn) {
                    return;
                }
                if frame == Frame::Ping {
                    self.send(WIRE_DELAY * 2, Packet::ToAgent(index, Input::Frame { conn, frame: Frame::Pong }));
                }
                self.send(WIRE_DELAY, Packet::ToServer(Input::Frame { conn, frame }));
            }
            Output::Close { conn, code, .. } => {
                self.hang_up(conn, CloseReason::Remote(code), CloseReason::Local);
            }
            Output::Drop { conn } => {
                if self.wires.remove(&conn).is_some() {
                    self.send(WIRE_DELAY, Packet::ToServer(Input::Closed { conn, reason: CloseReason::Eof }));
                }
            }
            other => panic!("agent {index} wants {other:?}"),
        }
    }

    fn dial(&mut self, agent: usize, dial: DialId, request: &str) {
        if self.server.is_none() {
            let error = "connection refused".to_owned();
            return self.send(WIRE_DELAY, Packet::ToAgent(agent, Input::DialFailed { dial, error }));
        }
        self.count += 1;
        let conn = ConnId(self.count);
        self.wires.insert(conn, Wire { agent, dial });
        let remote = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let Parsed::Complete(request, _) = http::parse(request.as_bytes()) else {
            panic!("a request that is none");
        };
        self.send(WIRE_DELAY, Packet::ToServer(Input::Accepted { conn, listener: ListenerId(0), remote }));
        self.send(WIRE_DELAY, Packet::ToServer(Input::Request { conn, request }));
    }

    /// Ends a wire, after what is on it; each end is told in its way.
    fn hang_up(&mut self, conn: ConnId, server: CloseReason, agent: CloseReason) {
        let Some(wire) = self.wires.remove(&conn) else { return };
        self.send(WIRE_DELAY, Packet::ToServer(Input::Closed { conn, reason: server }));
        self.send(WIRE_DELAY, Packet::ToAgent(wire.agent, Input::Closed { conn, reason: agent }));
    }
}

/// The path of a URL, with its query.
fn path_of(url: &str) -> &str {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    authority.find('/').map_or("/", |at| &authority[at..])
}

/// An ordered, reliable channel.
pub fn channel(label: &str) -> ChannelSpec {
    ChannelSpec { label: label.to_owned(), ordered: true, max_retransmits: None, max_lifetime: None }
}
