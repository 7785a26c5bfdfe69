//! A server, agents and the network between them, in one thread and in virtual time, from one seed.
//!
//! Datagrams go through a [`Network`], where hosts have links and NATs of their own, and between those as [`Path`]
//! says. WebSockets are pairs of pipes, see `wires`; disks are in memory, see `disk`. Machines are given exactly the
//! inputs that a driver would give. Besides agents there are raw clients, which say what they are told to say.

mod disk;
mod wires;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use enishi_core::agent::{Agent, AgentCommand, AgentConfig, AgentNotice, Role};
use enishi_core::dialect::Dialect;
use enishi_core::limits::Limits;
use enishi_core::machine::{CloseReason, ConnId, Deadline, Input, Machine, Utf8Bytes};
use enishi_core::peer::{ChannelSpec, Crypto};
use enishi_core::server::ask::HubStep;
use enishi_core::server::{Server, ServerCommand, ServerConfig};
use enishi_core::signal::{Name, Payload, RoomName};

use crate::net::nat::{Behaviour, Nat};
use crate::net::{HEADER_BYTES, Network};
use crate::null_dtls;
use crate::turn_server::VirtualTurn;
pub use crate::world::disk::{Disk, Written};
pub use crate::world::wires::WireFault;
use crate::world::wires::{Wire, Wired};

/// Unix time at the start of every run.
const EPOCH: Duration = Duration::from_secs(1_795_196_520);

/// How far virtual time is ahead of the machine's clock when it starts. sctp-proto starts the timer of an association's
/// first packet by the machine's clock (`Endpoint::connect`). Where virtual time is ahead for as long as any run takes,
/// that timer is always due at once, and not sooner or later as this machine is slow or fast.
const AHEAD: Duration = Duration::from_secs(24 * 3600);

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The server.
    Server,
    /// An agent, by its number.
    Agent(usize),
    /// A raw client, by its number.
    Raw(usize),
}

/// What a server's hub was asked and wanted done: when, by the how-manieth server, what.
pub type HubTold = (Instant, u32, HubStep);

/// What is on its way.
#[derive(Debug)]
enum Packet {
    /// To the server, over a WebSocket.
    Up(ConnId, Wired),
    /// The server reads on.
    ReadOn(ConnId),
    /// To its client.
    Down(ConnId, Wired),
    /// The server's own kernel tells it.
    ServerTold(Input<'static, ServerCommand>),
    /// A client's own kernel tells it.
    ClientTold(Who, Input<'static, AgentCommand>),
    /// A datagram on its way to where `to` is.
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    /// A datagram on the last link, to the agent that has `to`.
    Last { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
}

/// A client that says what it is told to say.
#[derive(Debug, Default)]
pub struct Raw {
    /// Its connection, while it has one.
    pub conn: Option<ConnId>,
    /// The texts that it got.
    pub got: Vec<String>,
}

/// What went over the network, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams sent.
    pub datagrams: u64,
    /// Their bytes with headers.
    pub datagram_bytes: u64,
    /// Datagrams that did not arrive.
    pub lost: u64,
    /// WebSocket messages, both ways.
    pub messages: u64,
    /// Their payload bytes.
    pub message_bytes: u64,
    /// Inputs given to machines.
    pub inputs: u64,
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
    /// How many servers were started.
    servers: u32,
    limits: Limits,
    /// If the last step was a deadline: whose, and the next one.
    pub progress: Option<(Who, Deadline)>,
    agents: Vec<Agent>,
    /// The next deadlines of those who are alive.
    due: BTreeMap<Who, Instant>,
    /// Agents that nothing happens to any more.
    crashed: BTreeSet<usize>,
    configs: Vec<AgentConfig>,
    hosts: BTreeMap<SocketAddr, usize>,
    raws: Vec<Raw>,
    wires: BTreeMap<ConnId, Wire>,
    disks: BTreeMap<usize, Disk>,
    /// Until when somebody is stopped: nothing happens to them, and all of it later.
    stopped: BTreeMap<Who, Instant>,
    /// How far the wall clock was moved: whoever starts from now on believes it.
    pub wall_offset: Duration,
    /// What stands between the hosts.
    pub net: Network,
    /// The NAT that the next agent is behind.
    pub next_nat: Option<Behaviour>,
    /// The cryptography of agents that come: by default one that is the same every time.
    pub crypto: Crypto,
    /// What went over the network.
    pub traffic: Traffic,
    /// Each datagram when it was sent, if wanted: when, from, to, how long.
    pub datagrams: Option<Vec<(Duration, SocketAddr, SocketAddr, usize)>>,
    /// Everything that hubs did, if wanted: set before the server is started.
    pub hub_steps: Option<Vec<HubTold>>,
    packets: BTreeMap<(Instant, u64), Packet>,
    count: u64,
    /// Whether agents reach each other only by a TURN server, as behind symmetric NATs.
    pub no_direct_path: bool,
    /// A TURN server at [`crate::turn_server::ADDRESS`].
    pub turn: Option<VirtualTurn>,
    /// Whom datagrams came to from another agent directly, or would have.
    pub direct: usize,
    /// The types of candidates that agents told.
    pub candidates: BTreeSet<(usize, String)>,
    /// All notices of agents: when, whose, what.
    pub notices: Vec<(Duration, usize, AgentNotice)>,
    /// All texts that agents sent to the server: whose, what.
    pub sent: Vec<(usize, Utf8Bytes)>,
}

impl World {
    /// A world with a server and nobody else. The seed also sets this thread's generator, which ICE uses.
    pub fn new(seed: u64) -> Self {
        fastrand::seed(seed);
        let start = Instant::now() + AHEAD;
        let mut world = World {
            now: start,
            path: Path::default(),
            start,
            rng: fastrand::Rng::with_seed(seed),
            server: None,
            servers: 0,
            limits: Limits::default(),
            progress: None,
            agents: Vec::new(),
            due: BTreeMap::new(),
            crashed: BTreeSet::new(),
            configs: Vec::new(),
            hosts: BTreeMap::new(),
            raws: Vec::new(),
            stopped: BTreeMap::new(),
            wall_offset: Duration::ZERO,
            net: Network::default(),
            next_nat: None,
            crypto: null_dtls::crypto(),
            traffic: Traffic::default(),
            datagrams: None,
            hub_steps: None,
            wires: BTreeMap::new(),
            disks: BTreeMap::new(),
            packets: BTreeMap::new(),
            count: 0,
            no_direct_path: false,
            turn: None,
            direct: 0,
            candidates: BTreeSet::new(),
            notices: Vec::new(),
            sent: Vec::new(),
        };
        world.start_server();
        world
    }

    /// Starts a server that knows nobody.
    pub fn start_server(&mut self) {
        self.start_server_with(ServerConfig::default());
    }

    /// The same with this configuration.
    pub fn start_server_with(&mut self, config: ServerConfig) {
        let seed = self.seed();
        self.limits = config.limits.clone();
        let mut server = Server::new(self.now, self.unix(), seed, config);
        if self.hub_steps.is_some() {
            server.watch_hub();
        }
        self.server = Some(server);
        self.servers += 1;
        self.set_due(Who::Server);
    }

    /// The server's process dies: its sockets are closed by the kernel.
    pub fn kill_server(&mut self) {
        self.server = None;
        self.set_due(Who::Server);
        self.stopped.remove(&Who::Server);
        for (conn, wire) in std::mem::take(&mut self.wires) {
            if wire.client_open {
                self.send(WIRE_DELAY, Packet::ClientTold(wire.client, closed(conn, CloseReason::Eof)));
            }
        }
    }

    /// The server, unless it is dead.
    pub fn server(&self) -> Option<&Server> {
        self.server.as_ref()
    }

    /// How many servers were started.
    pub fn servers(&self) -> u32 {
        self.servers
    }

    /// The bounds of the server that was started last.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// An agent.
    pub fn agent(&self, agent: usize) -> &Agent {
        &self.agents[agent]
    }

    /// How many agents there are, those that crashed included.
    pub fn agents(&self) -> usize {
        self.agents.len()
    }

    /// Whether an agent is dead.
    pub fn is_crashed(&self, agent: usize) -> bool {
        self.crashed.contains(&agent)
    }

    /// How an agent was set up.
    pub fn config(&self, agent: usize) -> &AgentConfig {
        &self.configs[agent]
    }

    /// The address of an agent's socket.
    pub fn host(&self, agent: usize) -> IpAddr {
        self.configs[agent].hosts[0].ip()
    }

    /// An agent's process dies: the kernel closes its sockets, and nobody says goodbye.
    pub fn crash(&mut self, agent: usize) {
        self.cut(agent);
        self.crashed.insert(agent);
        self.set_due(Who::Agent(agent));
        self.stopped.remove(&Who::Agent(agent));
        self.disk(agent).forget();
        self.packets.retain(|_, packet| !matches!(packet, Packet::ClientTold(who, _) if *who == Who::Agent(agent)));
    }

    /// An agent that died starts again, as it was set up.
    pub fn restart(&mut self, agent: usize) {
        if self.crashed.remove(&agent) {
            let (seed, config) = (self.seed(), self.configs[agent].clone());
            self.agents[agent] = Agent::new(self.now, self.unix(), seed, config);
            self.give_agent(agent, Input::Timeout);
        }
    }

    /// Stops somebody's process for so long, as SIGSTOP does: what happens to them meanwhile they learn later.
    pub fn stop(&mut self, who: Who, time: Duration) {
        let until = self.stopped.entry(who).or_insert(self.now);
        *until = (*until).max(self.now + time);
    }

    /// An agent, which dials at once; `target` makes it offer.
    pub fn add(&mut self, dialect: Dialect, id: &str, target: Option<&str>) -> usize {
        self.add_with(dialect, id, target, |_| ())
    }

    /// An agent, which dials at once and enters a room.
    pub fn add_to_room(&mut self, dialect: Dialect, id: &str, room: &str) -> usize {
        self.add_with(dialect, id, None, |config| config.room = Some(RoomName::from(room)))
    }

    /// An agent whose configuration is changed first.
    pub fn add_with(
        &mut self,
        dialect: Dialect,
        id: &str,
        target: Option<&str>,
        change: impl FnOnce(&mut AgentConfig),
    ) -> usize {
        let index = self.agents.len();
        let nat = self.next_nat.take();
        let number = index as u8 + 1;
        let host = SocketAddr::from((if nat.is_some() { [10, 0, number, 1] } else { [192, 0, 2, number] }, 5000));
        self.net.add(host.ip());
        if let Some(behaviour) = nat {
            self.net.put_behind(host.ip(), Nat::new([203, 0, 113, number].into(), behaviour));
        }
        let mut config = AgentConfig {
            signal_url: "ws://127.0.0.1:3000/ws".to_owned(),
            dialect,
            id: Some(id.into()),
            token: None,
            role: if target.is_some() { Role::Offer } else { Role::Answer },
            target: target.map(Name::from),
            room: None,
            channel: channel("chat"),
            hosts: vec![host],
            stun: Vec::new(),
            turn: Vec::new(),
            relay_only: false,
            channel_buffer_bytes: 128 * 1024,
            crypto: self.crypto.clone(),
            greet: false,
            chatter: None,
            media: enishi_core::agent::MediaConfig::default(),
            record: None,
        };
        change(&mut config);
        let seed = self.seed();
        self.agents.push(Agent::new(self.now, self.unix(), seed, config.clone()));
        self.configs.push(config);
        self.hosts.insert(host, index);
        self.give_agent(index, Input::Timeout);
        index
    }

    /// Unix time now.
    pub fn unix(&self) -> Duration {
        EPOCH + self.wall_offset + (self.now - self.start)
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn seed(&mut self) -> [u8; 32] {
        self.rng.u128(..).to_le_bytes().repeat(2).try_into().expect("32 bytes")
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
            self.assert_progress();
        }
    }

    /// Runs for this long.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {
            self.assert_progress();
        }
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
    pub fn step(&mut self, end: Instant) -> bool {
        self.progress = None;
        let timeout = self.next_timeout();
        let packet = self.packets.first_key_value().map(|(key, _)| *key);
        match (timeout, packet) {
            (_, Some(key)) if key.0 <= end && timeout.is_none_or(|(at, _)| key.0 <= at) => {
                self.now = self.now.max(key.0);
                if let Some(packet) = self.packets.remove(&key) {
                    self.arrive(key.1, packet);
                }
            }
            (Some((at, who)), _) if at <= end => {
                self.now = self.now.max(at);
                match who {
                    Who::Agent(index) => self.give_agent(index, Input::Timeout),
                    _ => self.give_server(Input::Timeout),
                }
                self.progress = self.next_deadline(who).map(|deadline| (who, deadline));
            }
            _ => return false,
        }
        true
    }

    fn next_timeout(&self) -> Option<(Instant, Who)> {
        let awake = |who: &Who, at: Instant| self.stopped.get(who).map_or(at, |until| at.max(*until));
        self.due.iter().map(|(who, at)| (awake(who, *at), *who)).min()
    }

    fn next_deadline(&self, who: Who) -> Option<Deadline> {
        match who {
            Who::Agent(index) if self.crashed.contains(&index) => None,
            Who::Agent(index) => self.agents[index].poll_timeout(),
            _ => self.server.as_ref().and_then(Machine::poll_timeout),
        }
    }

    fn set_due(&mut self, who: Who) {
        match self.next_deadline(who) {
            Some(deadline) => self.due.insert(who, deadline.at),
            None => self.due.remove(&who),
        };
    }

    fn assert_progress(&self) {
        if let Some((who, deadline)) = self.progress {
            assert!(deadline.at > self.now, "{who:?} makes no progress: {}", deadline.why);
        }
    }

    fn arrive(&mut self, number: u64, packet: Packet) {
        if let Some(until) = self.sleeps_until(&packet) {
            // Under its old number, so that none that comes later overtakes it.
            self.packets.insert((until, number), packet);
            return;
        }
        match packet {
            Packet::Up(conn, wired) => self.arrive_up(conn, wired),
            Packet::ReadOn(conn) => self.read_on(conn),
            Packet::Down(conn, wired) => self.arrive_down(conn, wired),
            Packet::ServerTold(input) => self.give_server(input),
            Packet::ClientTold(who, input) => self.give_client(who, input),
            Packet::Datagram { from, to, bytes } => {
                if let Some(turn) = self.turn.as_mut().filter(|turn| turn.listens_on(to)) {
                    for (from, to, bytes) in turn.receive(self.now, (from, to, bytes)) {
                        self.send(self.path.delay, Packet::Datagram { from, to, bytes });
                    }
                    return;
                }
                if self.hosts.contains_key(&from) {
                    self.direct += 1;
                    if self.no_direct_path {
                        return;
                    }
                }
                let Some((to, times)) = self.net.enter(&mut self.rng, self.now, from, to, bytes.len()) else {
                    self.traffic.lost += 1;
                    return;
                };
                self.traffic.lost += u64::from(times.is_empty());
                for (at, bytes) in times.iter().zip(iter::repeat_n(bytes, times.len())) {
                    self.count += 1;
                    self.packets.insert((*at, self.count), Packet::Last { from, to, bytes });
                }
            }
            Packet::Last { from, to, bytes } => {
                if let Some(&index) = self.hosts.get(&to) {
                    self.give_agent(index, Input::Datagram { local: to, remote: from, bytes: &bytes });
                }
            }
        }
    }

    /// Until when a packet waits for a process that is stopped.
    fn sleeps_until(&self, packet: &Packet) -> Option<Instant> {
        if self.stopped.is_empty() {
            return None;
        }
        let who = match packet {
            Packet::Up(..) | Packet::ReadOn(_) | Packet::ServerTold(_) => Who::Server,
            Packet::Down(conn, _) => self.wires.get(conn)?.client,
            Packet::ClientTold(who, _) => *who,
            Packet::Last { to, .. } => Who::Agent(*self.hosts.get(to)?),
            Packet::Datagram { .. } => return None,
        };
        self.stopped.get(&who).copied().filter(|until| *until > self.now)
    }

    fn send(&mut self, delay: Duration, packet: Packet) {
        self.count += 1;
        self.packets.insert((self.now + delay, self.count), packet);
    }

    /// The ids that the server knows.
    pub fn ids(&self) -> Vec<Name> {
        self.server.iter().flat_map(Server::ids).cloned().collect()
    }

    fn give_server(&mut self, input: Input<'_, ServerCommand>) {
        let Some(server) = &mut self.server else { return };
        self.traffic.inputs += 1;
        server.handle_input(self.now, input);
        if let Some(steps) = &mut self.hub_steps {
            steps.extend(server.take_hub_steps().into_iter().map(|step| (self.now, self.servers, step)));
        }
        while let Some(output) = self.server.as_mut().and_then(Machine::poll_output) {
            self.act_for_server(output);
        }
        self.set_due(Who::Server);
    }

    fn give_agent(&mut self, index: usize, input: Input<'_, AgentCommand>) {
        if self.crashed.contains(&index) {
            return;
        }
        self.traffic.inputs += 1;
        self.disk_answers(index, &input);
        self.agents[index].handle_input(self.now, input);
        while let Some(output) = self.agents[index].poll_output() {
            self.act_for_agent(index, output);
        }
        self.set_due(Who::Agent(index));
    }

    fn transmit(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.traffic.datagrams += 1;
        self.traffic.datagram_bytes += (bytes.len() + HEADER_BYTES) as u64;
        if let Some(log) = &mut self.datagrams {
            log.push((self.now - self.start, from, to, bytes.len()));
        }
        let (from, times) = self.net.leave(&mut self.rng, self.now, from, to, bytes.len());
        self.traffic.lost += u64::from(times.is_empty());
        for (at, bytes) in times.iter().zip(iter::repeat_n(bytes, times.len())) {
            if self.rng.f64() < self.path.loss {
                self.traffic.lost += 1;
                continue;
            }
            let at = *at + self.path.delay + self.path.jitter.mul_f64(self.rng.f64());
            self.count += 1;
            self.packets.insert((at, self.count), Packet::Datagram { from, to, bytes });
        }
    }
}

fn closed<C>(conn: ConnId, reason: CloseReason) -> Input<'static, C> {
    Input::Closed { conn, reason }
}

/// An ordered, reliable channel.
pub fn channel(label: &str) -> ChannelSpec {
    ChannelSpec { label: label.to_owned(), ordered: true, max_retransmits: None, max_lifetime: None }
}
