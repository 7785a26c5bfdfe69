//! The signaling server: HTTP, dialects and the hub behind one [`Machine`].
//!
//! A connection is a request first (`Stage::Request`); an upgraded one is a WebSocket (`Stage::Socket`) whose codec
//! is known from its path or its first message; what the codec hears goes to the hub, and what the hub wants told goes
//! through the codec of the receiver into its outbox.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::clock::WallClock;
use crate::crowd::Crowd;
use crate::deadlines::Deadlines;
use crate::dialect::{Codec, Context, Dialect, Door, Family, Heard, Said, enishi};
use crate::http::asset::{self, Asset};
use crate::http::route::Route;
use crate::http::{self, Request, Response};
use crate::hub::bucket::Bucket;
use crate::hub::stats::ServerStats;
use crate::hub::{ClientId, Hub, HubEffect};
use crate::ids::{Ids, Secrets};
use crate::limits::{CLOSE_REASON_BYTES, FAULTS_IN_A_ROW, Limits};
use crate::machine::{CloseReason, ConnId, Deadline, Frame, Input, ListenerId, Machine, Output};
use crate::signal::{Command, Departure, Event, Name, Refusal, To};
use crate::table::Table;
use crate::trace::Trace;
use crate::turn::Issuer;

pub mod ask;
mod conn;
mod due;
mod engine;
mod pressure;
mod report;
mod time;

use ask::{Asked, HubStep};
use conn::{Conn, Socket, Stage};
use due::Timer;

/// Where an echo is served if [`ServerConfig::test_echo`] says so.
const ECHO_PATH: &str = "/echo";

/// The longest list whose memory is kept for the next message.
const KEPT: usize = 16;

/// Connections whose memory is worth giving back when they have left.
const CROWD: usize = 64;

/// Close code: the session goes on in another connection. Private use (RFC 6455, 7.4.2).
const CLOSE_REPLACED: u16 = 4000;

/// How a server is set up.
#[derive(Debug, Clone, Default)]
pub struct ServerConfig {
    /// The bounds.
    pub limits: Limits,
    /// Origins that browsers may connect from, besides the server's own host and loopback; `*` allows all.
    pub allow_origins: Vec<String>,
    /// ICE servers to tell to clients, each a JSON object of the form of `RTCIceServer`.
    pub ice_servers: Vec<String>,
    /// Makes credentials for a TURN server, fresh for each client that is told of it. Who has them can use that server:
    /// on a public address they are for those only who know [`ServerConfig::token`].
    pub turn: Option<Issuer>,
    /// Where the server listens, in the order of the driver's listeners.
    pub listeners: Vec<Listener>,
    /// If set, the token that `hello` and a request for `/ice` have to carry. Dialects that have no word for a token are refused then.
    pub token: Option<String>,
    /// Files to serve, the page for people at `/` among them; without that a plain page is in its place.
    pub assets: Vec<Asset>,
    /// Serves an echo on `/echo`: for test suites of the WebSocket protocol.
    pub test_echo: bool,
}

/// A listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Its address, for the page that names the endpoints.
    pub address: SocketAddr,
    /// The only system whose clients are served there: a port that its clients have built in.
    pub only: Option<Family>,
}

/// What the embedding program asks of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerCommand {
    /// Stop: not ready, close clients with 1012, wait for them up to [`Limits::drain`], then [`ServerNotice::Drained`].
    Drain,
}

/// What the embedding program is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerNotice {
    /// Something happened.
    Trace(Trace),
    /// Everybody is gone, or the time for it is over: the program can end.
    Drained,
}

/// What the server waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    /// The grace time of a session.
    Grace,
    /// The end of draining.
    Drain,
    /// A crowd may have left for good.
    Crowd,
    /// A connection of which something may be due.
    Conn(ConnId),
}

/// The signaling server, one [`Machine`].
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    clock: WallClock,
    started: Instant,
    now: Instant,
    hub: Hub,
    /// What the hub was asked, if that is watched.
    hub_steps: Option<Vec<HubStep>>,
    ids: Ids,
    conns: Table<Conn>,
    /// Socket.IO's, each of which is one of `conns` too.
    sessions: engine::Sessions,
    /// For their ids.
    sids: Secrets,
    addresses: BTreeMap<IpAddr, usize>,
    crowd: Crowd,
    wakes: Deadlines<Wake>,
    outputs: VecDeque<Output<ServerNotice>>,
    /// Lists that are empty between two inputs: their memory serves the next message.
    heard: Vec<Heard>,
    said: Vec<Said>,
    effects: Vec<HubEffect>,
    stats: ServerStats,
    /// When [`Wake::Grace`] is set for.
    grace: Option<Instant>,
    draining: bool,
    drained: bool,
}

impl Server {
    /// A server that starts at `now`, when Unix time is `unix`. `seed` comes from the operating system.
    pub fn new(now: Instant, unix: Duration, seed: [u8; 32], config: ServerConfig) -> Self {
        let mut secrets = Secrets::new(seed);
        Server {
            ids: Ids::new(secrets.number()),
            hub: Hub::new(config.limits.clone(), secrets),
            hub_steps: None,
            clock: WallClock::new(now, unix),
            started: now,
            now,
            config,
            conns: Table::default(),
            sessions: engine::Sessions::default(),
            sids: Secrets::second(seed),
            addresses: BTreeMap::new(),
            crowd: Crowd::of(CROWD),
            wakes: Deadlines::default(),
            outputs: VecDeque::new(),
            heard: Vec::new(),
            said: Vec::new(),
            effects: Vec::new(),
            stats: ServerStats::default(),
            grace: None,
            draining: false,
            drained: false,
        }
    }

    /// The counters, with the present sizes filled in.
    pub fn stats(&self) -> ServerStats {
        let waiting = || self.conns.values().filter_map(Conn::socket).map(|socket| &socket.outbox);
        ServerStats {
            uptime: self.now.saturating_duration_since(self.started),
            connections: self.connections() as u64,
            queued_bytes: waiting().map(|outbox| outbox.bytes() as u64).sum(),
            queued_messages: waiting().map(|outbox| outbox.messages() as u64).sum(),
            deepest_queue_bytes: waiting().map(|outbox| outbox.bytes() as u64).max().unwrap_or(0),
            hub: self.hub.stats(),
            ..self.stats.clone()
        }
    }

    /// The ICE servers for one client, with its own credentials for ours.
    fn ice_servers_for(&self, user: &str) -> Vec<String> {
        let minted = self.config.turn.as_ref().map(|turn| turn.ice_server(self.clock.unix(self.now), user));
        self.config.ice_servers.iter().cloned().chain(minted).collect()
    }

    /// TCP connections.
    fn connections(&self) -> usize {
        self.conns.len() - self.sessions.len()
    }

    /// The ids under which clients can be reached, in order.
    pub fn ids(&self) -> impl Iterator<Item = &Name> {
        self.hub.names()
    }

    fn set_grace(&mut self) {
        let due = self.hub.next_timeout();
        if std::mem::replace(&mut self.grace, due) == due {
            return;
        }
        match due {
            Some(at) => self.wakes.set(Wake::Grace, at),
            None => self.wakes.clear(&Wake::Grace),
        }
    }

    fn count_crowd(&mut self) {
        if let Some(at) = self.crowd.count(self.now, self.conns.len()) {
            self.wakes.set(Wake::Crowd, at);
        }
    }

    fn trace(&mut self, trace: Trace) {
        self.outputs.push_back(Output::Notice(ServerNotice::Trace(trace)));
    }
}

impl Machine for Server {
    type Command = ServerCommand;
    type Notice = ServerNotice;

    fn handle_input(&mut self, now: Instant, input: Input<'_, ServerCommand>) {
        debug_assert!(now >= self.now, "time never goes back");
        debug_assert!(self.outputs.is_empty(), "outputs are drained before the next input");
        self.now = now;
        match input {
            Input::Timeout => self.timeout(),
            Input::Accepted { conn, listener, remote } => self.accepted(conn, listener, remote),
            Input::Request { conn, request } => self.request(conn, &request),
            Input::BadRequest { conn, error } => {
                let response = Response { close: true, ..error.response() };
                self.respond(conn, "?", "?", response);
            }
            Input::Frame { conn, frame } => self.frame(conn, frame),
            Input::Heard { conn } => self.heard(conn),
            Input::Fault { conn, fault } => self.fault(conn, fault),
            Input::Sent { conn, messages, len } => self.sent(conn, messages, len),
            Input::Closed { conn, reason } => self.closed(conn, &reason),
            Input::Command(ServerCommand::Drain) => self.drain(),
            // This machine neither dials nor has UDP sockets or files.
            Input::Dialed { .. }
            | Input::DialFailed { .. }
            | Input::Got { .. }
            | Input::Datagram { .. }
            | Input::FileRead { .. }
            | Input::FileWritten { .. } => {}
        }
        self.set_grace();
        self.finish_drain();
    }

    fn poll_output(&mut self) -> Option<Output<ServerNotice>> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        let (at, wake) = self.wakes.next()?;
        let why = match wake {
            Wake::Grace => "grace time of a session",
            Wake::Drain => "end of draining",
            Wake::Crowd => "memory of a crowd",
            Wake::Conn(conn) => self.why_look_at(*conn, at),
        };
        Some(Deadline { at, why })
    }
}

/// Connections and requests.
impl Server {
    fn accepted(&mut self, conn: ConnId, listener: ListenerId, remote: SocketAddr) {
        self.trace(Trace::Accepted { conn, listener, remote });
        let address = block(remote.ip());
        let limits = &self.config.limits;
        let here = self.addresses.get(&address).copied().unwrap_or(0);
        let full = self.connections() >= limits.connections;
        let crowded = here >= limits.connections_per_address && !remote.ip().to_canonical().is_loopback();
        self.conns.insert(conn, Conn::new(listener, remote));
        *self.addresses.entry(address).or_default() += 1;
        self.count_crowd();
        self.stats.accepted += 1;
        if full || crowded {
            self.stats.turned_away += 1;
            let response = if full {
                Response::unavailable("the server is full; try again later")
            } else {
                Response::text(429, "too many connections from this address; close some first\n")
            };
            return self.respond(conn, "?", "?", Response { close: true, ..response });
        }
        self.set_timer(conn, Timer::Head, self.now + self.config.limits.head);
    }

    fn request(&mut self, conn: ConnId, request: &Request) {
        let Some(state) = self.conns.get(conn) else { return };
        let (remote, echo) = (state.remote.ip(), self.config.test_echo && request.path == ECHO_PATH);
        let allow_origins = &self.config.allow_origins;
        let route = match http::origin::check(request, remote, allow_origins) {
            Err(refusal) => Err(refusal),
            Ok(()) if echo => Ok(Route::Any),
            Ok(()) => match asset::answer(&self.config.assets, request) {
                Some(file) => Err(http::origin::share(file, request, allow_origins)),
                None => http::route::route(request),
            },
        };
        let response = match route {
            Err(response) => response,
            Ok(Route::SocketIo) => return self.socket_io(conn, request),
            Ok(route) if route.is_socket() => match self.upgrade(conn, request, route, echo) {
                Ok(()) => return,
                Err(refusal) => refusal,
            },
            Ok(route) => {
                let response = self.answer(remote, route, request);
                http::origin::share(response, request, allow_origins)
            }
        };
        self.respond(conn, &request.method, &request.path, response.to(request));
    }

    fn answer(&self, remote: IpAddr, route: Route, request: &Request) -> Response {
        match route {
            Route::Live => Response::text(200, "live\n"),
            Route::Ready if self.draining => Response::unavailable("the server is shutting down"),
            Route::Ready => Response::text(200, "ready\n"),
            Route::Stats => report::stats(&self.stats()),
            Route::Metrics => report::metrics(&self.stats()),
            Route::Ice => match http::bearer::check(request, self.config.token.as_deref()) {
                Ok(()) => http::page::ice(&self.ice_servers_for(&remote.to_string())),
                Err(refusal) => refusal,
            },
            Route::Style => http::page::style(),
            _ => {
                let addresses: Vec<_> = self.config.listeners.iter().map(|listener| listener.address).collect();
                http::page::page(request, &addresses)
            }
        }
    }

    /// # Errors
    /// The answer, if the request is not one for a WebSocket or no more are taken.
    fn upgrade(&mut self, conn: ConnId, request: &Request, route: Route, echo: bool) -> Result<(), Response> {
        let upgrade = http::upgrade::upgrade(request)?;
        if self.draining {
            let refusal = Response::unavailable("the server is shutting down; connect again in a moment");
            return Err(Response { close: true, ..refusal });
        }
        let protocol = upgrade.offers(enishi::PROTOCOL).then_some(enishi::PROTOCOL).filter(|_| !echo);
        let door = match route {
            _ if protocol.is_some() => Door::Own,
            Route::Own => Door::Own,
            Route::Register => Door::Register,
            Route::Offer => Door::Offer,
            _ => Door::Any,
        };
        let is_open = match self.only(conn) {
            None => true,
            Some(Family::TonyBai) => matches!(door, Door::Register | Door::Offer),
            Some(_) => door == Door::Any,
        };
        if !is_open {
            return Err(Response::text(404, "not found; this port is for another system\n"));
        }
        let codec = Codec::enter(door, self.config.token.as_deref());
        let limits = &self.config.limits;
        let bucket = Bucket::new(self.now, limits.messages_per_second, limits.message_burst);
        let Some(state) = self.conns.get_mut(conn) else { return Ok(()) };
        state.stage = Stage::Socket(Box::new(Socket::new(self.now, codec, bucket, echo)));
        state.due.clear(Timer::Head);
        let (response, max_message_bytes) = (upgrade.accept(protocol), limits.message_bytes);
        let (first_message, alive) = (self.now + limits.first_message, self.now + limits.ping);
        if !echo {
            self.set_timer(conn, Timer::First, first_message);
        }
        self.set_timer(conn, Timer::Alive, alive);
        *self.stats.answers.entry(response.status).or_default() += 1;
        self.outputs.push_back(Output::Upgrade { conn, response, max_message_bytes });
        self.trace(Trace::Upgraded { conn });
        Ok(())
    }

    /// The only family that is served where this connection was accepted.
    fn only(&self, conn: ConnId) -> Option<Family> {
        let listener = self.conns.get(conn)?.listener;
        self.config.listeners.get(usize::from(listener.0))?.only
    }

    fn respond(&mut self, conn: ConnId, method: &str, path: &str, response: Response) {
        *self.stats.answers.entry(response.status).or_default() += 1;
        if response.close {
            self.clear_timer(conn, Timer::Head);
            self.set_timer(conn, Timer::Close, self.now + self.config.limits.close);
        } else {
            self.set_timer(conn, Timer::Head, self.now + self.config.limits.head);
        }
        let status = response.status;
        self.outputs.push_back(Output::Respond { conn, response });
        self.trace(Trace::Answered { conn, method: method.to_owned(), path: path.to_owned(), status });
    }

    fn closed(&mut self, conn: ConnId, reason: &CloseReason) {
        let why = match reason {
            CloseReason::Remote(code) => format!("by the client, {code}").into(),
            CloseReason::Eof => "the client hung up".into(),
            CloseReason::Local => "done".into(),
            CloseReason::Error(error) => error.clone(),
        };
        self.forget(conn, Departure::Gone, why);
    }

    /// The connection is gone for us, whatever the driver still does with it.
    fn forget(&mut self, conn: ConnId, why: Departure, text: Cow<'static, str>) {
        self.let_go(conn, why);
        let Some(state) = self.conns.remove(conn) else { return };
        self.count_crowd();
        self.wakes.clear(&Wake::Conn(conn));
        self.stats.closed += u64::from(!conn.is_session());
        let address = block(state.remote.ip());
        if state.counted
            && let Some(count) = self.addresses.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&address);
            }
        }
        self.trace(Trace::Closed { conn, why: text });
    }

    /// Says goodbye to a WebSocket. Its client is gone for the hub at once.
    fn close(&mut self, conn: ConnId, why: Departure, code: u16, reason: &str) {
        self.let_go(conn, why);
        let Some(state) = self.conns.get_mut(conn) else { return };
        if matches!(state.stage, Stage::Closing) {
            return;
        }
        state.stage = Stage::Closing;
        for timer in [Timer::Head, Timer::First, Timer::Message, Timer::Alive, Timer::Pace, Timer::Stall] {
            state.due.clear(timer);
        }
        self.set_timer(conn, Timer::Close, self.now + self.config.limits.close);
        debug_assert!(reason.len() <= CLOSE_REASON_BYTES, "our own words are short: {reason}");
        self.put(Output::Close { conn, code, reason: reason.to_owned() });
    }

    /// Closes the socket without a word.
    fn drop_conn(&mut self, conn: ConnId, why: Departure, text: &'static str) {
        if self.conns.contains(conn) {
            self.put(Output::Drop { conn });
            self.forget(conn, why, text.into());
        }
    }

    /// Takes the client off a connection and lets those go on who waited for it to read.
    fn let_go(&mut self, conn: ConnId, why: Departure) {
        self.uncarry(conn);
        let Some(socket) = self.conns.get_mut(conn).and_then(Conn::socket_mut) else { return };
        let (client, feeders) = (socket.client.take(), socket.outbox.abandon());
        for feeder in feeders {
            self.unhold(feeder);
        }
        if let Some(client) = client {
            let fx = self.ask(Asked::Detach(client, why));
            self.carry_out(fx);
        }
    }
}

/// Messages.
impl Server {
    fn frame(&mut self, conn: ConnId, frame: Frame) {
        if let Some(Stage::Carrier(session)) = self.conns.get(conn).map(|conn| &conn.stage) {
            return self.carried(*session, conn, frame);
        }
        if !self.pace(conn) || matches!(frame, Frame::Ping | Frame::Pong) {
            return;
        }
        self.message(conn, frame);
    }

    /// Something came from a client: it is there, and may have to slow down. `false`: nobody is there.
    fn pace(&mut self, conn: ConnId) -> bool {
        let Some(Conn { stage: Stage::Socket(socket), due, .. }) = self.conns.get_mut(conn) else { return false };
        socket.last_heard = self.now;
        if std::mem::take(&mut socket.in_message) {
            due.clear(Timer::Message);
        }
        if !socket.echo
            && let Some(until) = socket.bucket.take(self.now)
        {
            socket.paced = true;
            self.set_timer(conn, Timer::Pace, until);
            self.update_reading(conn);
        }
        true
    }

    fn message(&mut self, conn: ConnId, frame: Frame) {
        let Some(socket) = self.conns.get(conn).and_then(Conn::socket) else { return };
        let (echo, entered) = (socket.echo, socket.client.is_some());
        self.stats.frames_in += 1;
        self.stats.bytes_in += frame.len() as u64;
        if echo {
            return self.send(conn, frame, None);
        }
        if entered || self.enter(conn, &frame) {
            self.understand(conn, &frame);
        }
    }

    /// Finds a codec and a client for a connection by its first message. If it cannot have them, it is closed.
    fn enter(&mut self, conn: ConnId, frame: &Frame) -> bool {
        let only = self.only(conn);
        let Some(Conn { stage: Stage::Socket(socket), due, .. }) = self.conns.get_mut(conn) else { return false };
        due.clear(Timer::First);
        let codec = socket.codec.take().or_else(|| Codec::detect(frame, self.config.token.as_deref(), only));
        let Some(codec) = codec else {
            self.hub.count_refusal(Refusal::UNKNOWN);
            self.close(conn, Departure::Gone, 1003, "the first message is of no protocol that is spoken here");
            return false;
        };
        if self.config.token.is_some() && codec.dialect() != Dialect::Enishi {
            self.hub.count_refusal(Refusal::Unauthorized);
            self.close(conn, Departure::Gone, 1008, "this server wants a token: speak enishi.v1");
            return false;
        }
        match self.attach(conn) {
            Ok(client) => {
                let Some(socket) = self.conns.get_mut(conn).and_then(Conn::socket_mut) else { return false };
                socket.codec = Some(codec);
                socket.client = Some(client);
                true
            }
            Err(refusal) => {
                self.hub.count_refusal(refusal);
                self.close(conn, Departure::Gone, 1013, refusal.sentence());
                false
            }
        }
    }

    fn understand(&mut self, conn: ConnId, frame: &Frame) {
        let unix = self.clock.unix(self.now);
        let Some(socket) = self.conns.get_mut(conn).and_then(Conn::socket_mut) else { return };
        let Some(codec) = &mut socket.codec else { return };
        let mut cx = Context { unix, ids: &mut self.ids, limits: &self.config.limits, ice_servers: &[] };
        let mut all = std::mem::take(&mut self.heard);
        codec.receive(&mut cx, frame, &mut all);
        for heard in all.drain(..) {
            // What was heard before may have closed the connection, or given it another client.
            let Some(socket) = self.conns.get_mut(conn).and_then(Conn::socket_mut) else { break };
            let Some(client) = socket.client else { break };
            match heard {
                Heard::Command(command) => {
                    socket.faults = 0;
                    self.command(conn, client, command);
                }
                Heard::Refused { refusal, to, tag } => {
                    socket.faults += 1;
                    let faults = socket.faults;
                    let fx = self.ask(Asked::Refuse(client, refusal, to, tag));
                    self.trace(Trace::Refused { conn, refusal });
                    self.carry_out(fx);
                    if faults >= FAULTS_IN_A_ROW {
                        self.close(conn, Departure::Gone, 1008, "too many messages that cannot be understood");
                    }
                }
                Heard::Close { code, reason } => self.close(conn, Departure::Left, code, reason),
            }
        }
        self.heard = kept(all);
    }

    fn command(&mut self, conn: ConnId, client: ClientId, command: Command) {
        let goodbye = command == Command::Bye;
        let fx = self.ask(Asked::Command(client, command));
        self.carry_out(fx);
        if goodbye {
            self.close(conn, Departure::Left, 1000, "goodbye");
        }
    }

    /// Does what the hub wants done. Iterative: what follows of an effect joins the end of the queue.
    fn carry_out(&mut self, fx: Vec<HubEffect>) {
        let mut queue = VecDeque::from(fx);
        while let Some(effect) = queue.pop_front() {
            match effect {
                HubEffect::Tell { conn, event, sender } => {
                    let feeder = sender.as_ref().and_then(|sender| self.hub.conn_of(sender.client));
                    let refusal = match self.tell(conn, &event, feeder, &mut queue) {
                        Ok(()) => continue,
                        Err(refusal) => refusal,
                    };
                    let (Some(sender), Event::Signal { to, .. }) = (sender, event) else { continue };
                    let about = match to {
                        To::Peer(name) => Some(name),
                        To::Room(_) => self.client_name(conn),
                    };
                    queue.extend(self.ask(Asked::Refuse(sender.client, refusal, about, sender.tag)));
                }
                HubEffect::Rebound { conn, client } => {
                    if let Some(socket) = self.conns.get_mut(conn).and_then(Conn::socket_mut) {
                        socket.client = Some(client);
                    }
                }
                HubEffect::Replaced { conn } => {
                    if let Some(socket) = self.conns.get_mut(conn).and_then(Conn::socket_mut) {
                        socket.client = None;
                    }
                    self.close(conn, Departure::Gone, CLOSE_REPLACED, "the session goes on in another connection");
                }
                HubEffect::Named { conn, name } => {
                    let codec = self.conns.get(conn).and_then(Conn::socket).and_then(|socket| socket.codec.as_ref());
                    let dialect = codec.map_or("?", |codec| codec.dialect().name());
                    self.trace(Trace::Registered { conn, name, dialect, clients: self.hub.registered() });
                }
                HubEffect::Freed { name } => {
                    self.trace(Trace::Unregistered { name, clients: self.hub.registered() });
                }
            }
        }
        // Not in place of a list that is there: each would lie somewhere else.
        if self.effects.capacity() == 0 {
            self.effects = kept(queue.into());
        }
    }

    fn tell(
        &mut self,
        conn: ConnId,
        event: &Event,
        feeder: Option<ConnId>,
        queue: &mut VecDeque<HubEffect>,
    ) -> Result<(), Refusal> {
        let unix = self.clock.unix(self.now);
        let ice_servers = match event {
            Event::Registered { name, .. } => self.ice_servers_for(name.as_str()),
            _ => Vec::new(),
        };
        let Some(socket) = self.conns.get_mut(conn).and_then(Conn::socket_mut) else { return Ok(()) };
        let Some(codec) = &mut socket.codec else { return Ok(()) };
        let mut cx = Context { unix, ids: &mut self.ids, limits: &self.config.limits, ice_servers: &ice_servers };
        let mut all = std::mem::take(&mut self.said);
        let encoded = codec.encode(&mut cx, event, &mut all);
        if let (Ok(()), Event::Signal { from, to: To::Peer(to), letter }) = (encoded, event) {
            let bytes = all.iter().map(|said| if let Said::Frame(frame) = said { frame.len() } else { 0 }).sum();
            self.trace(Trace::Routed { from: from.clone(), to: to.clone(), kind: letter.kind(), bytes });
        }
        for said in all.drain(..) {
            match said {
                Said::Frame(frame) => self.send(conn, frame, feeder),
                Said::Close { code, reason } => self.close(conn, Departure::Left, code, reason),
                Said::Command(command) => {
                    let client = self.conns.get(conn).and_then(Conn::socket).and_then(|socket| socket.client);
                    let Some(client) = client else { continue };
                    queue.extend(self.ask(Asked::Command(client, command)));
                }
            }
        }
        self.said = kept(all);
        encoded
    }

    fn client_name(&self, conn: ConnId) -> Option<crate::signal::Name> {
        let client = self.conns.get(conn).and_then(Conn::socket)?.client?;
        self.hub.name_of(client).cloned()
    }
}

/// An empty list with the memory of this one, if that is not much.
fn kept<T>(mut list: Vec<T>) -> Vec<T> {
    list.clear();
    if list.capacity() <= KEPT { list } else { Vec::new() }
}

/// What one user is taken to have: one IPv4 address, or a /64 of IPv6 (RFC 6177).
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}
