//! The loop: wait, tell what happened, carry out what is asked, flush.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::ops::ControlFlow::{self, Continue};
use std::time::{Duration, Instant};

use enishi_core::machine::{ConnId, Deadline, DialId, Input, ListenerId, Machine, Output};
use mio::event::Event as Readiness;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::Sockets;
use crate::conn::{Conn, Event, Over};
use crate::dial::{self, Dial, Host, Resolved, Shake, clause};
use crate::inbox::{Handle, Inbox};
use crate::udp::{Port, Received};

/// The one buffer that sockets are read into.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Readinesses taken from one poll.
const EVENTS: usize = 1024;

/// Reads of one connection before the next source has its turn. A read can be [`SCRATCH_BYTES`] long, several hundred
/// messages, so few of them are fair to the others.
const STREAM_READS: usize = 2;

/// Datagrams of one UDP socket, and connections of one listener, before the next source has its turn.
const READS: usize = 16;

/// Commands before the next source has its turn.
const COMMANDS: usize = 64;

/// How long accepting pauses when file descriptors or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a closing connection may take to flush and to hear that the remote closes too.
const LINGER: Duration = Duration::from_secs(5);

/// How long a dial may take, name and handshake included.
const DIAL: Duration = Duration::from_secs(10);

/// Linux: ENOMEM, ENFILE, EMFILE, ENOBUFS. Accepting fails with these until something else is closed.
const EXHAUSTED: [i32; 4] = [12, 23, 24, 105];

/// Everything that a machine's outputs act on.
pub(crate) struct Io<C> {
    poll: Poll,
    inbox: Inbox<C>,
    /// Whether the inbox stands in the ready list.
    inbox_queued: bool,
    listeners: Vec<Listener>,
    udp: Vec<Port>,
    conns: HashMap<ConnId, Box<Conn>>,
    last_conn: u64,
    dials: BTreeMap<DialId, Dial>,
    /// Sources that may have something to read. Readiness is told once (edge-triggered), so this list is the memory.
    ready: VecDeque<Source>,
    /// Connections to flush at the end of the turn.
    dirty: Vec<ConnId>,
    /// Connections whose messages left.
    credited: Vec<ConnId>,
    /// What happened while acting; told after the turn.
    backlog: VecDeque<Input<'static, C>>,
    deadlines: BTreeSet<(Instant, Due)>,
}

struct Listener {
    socket: TcpListener,
    queued: bool,
    /// Until the end of [`ACCEPT_PAUSE`].
    paused: bool,
}

#[derive(Clone, Copy)]
enum Source {
    Inbox,
    Listener(usize),
    Udp(usize),
    Conn(ConnId),
}

/// The driver's own deadlines. Those of what has ended meanwhile mean nothing, since ids are never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Accept(usize),
    Linger(ConnId),
    Dial(DialId),
}

/// Runs until `notice` breaks.
pub(crate) fn run<M: Machine>(
    mut machine: M,
    mut io: Io<M::Command>,
    mut notice: impl FnMut(M::Notice) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut events = Events::with_capacity(EVENTS);
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut flow = drain(&mut machine, &mut io, &mut notice);
    while flow.is_continue() {
        io.wait(&mut events, machine.poll_timeout())?;
        for event in &events {
            io.note(event);
        }
        flow = step(&mut machine, &mut io, &mut scratch, &mut notice);
    }
    io.flush();
    Ok(())
}

/// One turn: what is due, what is readable, what can leave.
fn step<M: Machine>(
    machine: &mut M,
    io: &mut Io<M::Command>,
    scratch: &mut [u8],
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let now = Instant::now();
    if machine.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
        feed(machine, io, Input::Timeout, notice)?;
    }
    io.expire(now);
    for _ in 0..io.ready.len() {
        match io.ready.pop_front() {
            Some(Source::Inbox) => take_commands(machine, io, notice)?,
            Some(Source::Listener(index)) => accept(machine, io, index, notice)?,
            Some(Source::Udp(index)) => read_udp(machine, io, index, scratch, notice)?,
            Some(Source::Conn(id)) => read_conn(machine, io, id, scratch, notice)?,
            None => break,
        }
    }
    io.flush();
    for conn in mem::take(&mut io.credited) {
        if let Some((messages, len)) = io.conns.get_mut(&conn).and_then(|conn| conn.take_sent()) {
            feed(machine, io, Input::Sent { conn, messages, len }, notice)?;
        }
    }
    for _ in 0..io.backlog.len() {
        if let Some(input) = io.backlog.pop_front() {
            feed(machine, io, input, notice)?;
        }
    }
    Continue(())
}

/// Gives one input and carries out what comes of it.
fn feed<M: Machine>(
    machine: &mut M,
    io: &mut Io<M::Command>,
    input: Input<'_, M::Command>,
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    machine.handle_input(Instant::now(), input);
    drain(machine, io, notice)
}

/// Carries out all outputs, also those after a notice that ends the run: among them are last words.
fn drain<M: Machine>(
    machine: &mut M,
    io: &mut Io<M::Command>,
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut flow = Continue(());
    while let Some(output) = machine.poll_output() {
        if act(io, output, notice).is_break() {
            flow = ControlFlow::Break(());
        }
    }
    flow
}

/// Carries out one output. What names a connection that is gone means nothing any more.
fn act<C, N>(io: &mut Io<C>, output: Output<N>, notice: &mut impl FnMut(N) -> ControlFlow<()>) -> ControlFlow<()> {
    match output {
        Output::Respond { conn, response } => io.with(conn, |conn| conn.respond(&response)),
        Output::Upgrade { conn, response, max_message_bytes } => {
            io.with(conn, |conn| conn.upgrade(&response, max_message_bytes));
        }
        Output::Send { conn, frame } => io.with(conn, |conn| conn.send(frame)),
        Output::Read { conn, on } => io.with(conn, |conn| conn.pause(!on)),
        Output::Close { conn, code, reason } => io.with(conn, |conn| conn.close(code, &reason)),
        Output::Drop { conn } => io.forget(conn),
        Output::Dial { dial, url, protocol, max_message_bytes } => io.dial(dial, &url, protocol, max_message_bytes),
        Output::Datagram { local, remote, bytes } => {
            if let Some(port) = io.udp.iter().find(|port| port.local == local) {
                port.send(remote, &bytes);
            }
        }
        Output::Notice(news) => return notice(news),
    }
    Continue(())
}

fn take_commands<M: Machine>(
    machine: &mut M,
    io: &mut Io<M::Command>,
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    io.inbox_queued = false;
    while let Some((dial, resolved)) = io.inbox.resolved() {
        io.resolved(dial, resolved);
    }
    for _ in 0..COMMANDS {
        let Some(command) = io.inbox.command() else { return Continue(()) };
        feed(machine, io, Input::Command(command), notice)?;
    }
    io.queue_inbox();
    Continue(())
}

fn accept<M: Machine>(
    machine: &mut M,
    io: &mut Io<M::Command>,
    index: usize,
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    io.listeners[index].queued = false;
    for _ in 0..READS {
        match io.listeners[index].socket.accept() {
            Ok((socket, remote)) => {
                let _ = socket.set_nodelay(true);
                if let Some(conn) = io.adopt(socket, Conn::accepted) {
                    let listener = ListenerId(index as u16);
                    feed(machine, io, Input::Accepted { conn, listener, remote }, notice)?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Continue(()),
            Err(error) if error.raw_os_error().is_some_and(|code| EXHAUSTED.contains(&code)) => {
                io.listeners[index].paused = true;
                io.deadlines.insert((Instant::now() + ACCEPT_PAUSE, Due::Accept(index)));
                return Continue(());
            }
            // A connection that ended before we took it.
            Err(_) => {}
        }
    }
    io.queue_listener(index);
    Continue(())
}

fn read_udp<M: Machine>(
    machine: &mut M,
    io: &mut Io<M::Command>,
    index: usize,
    scratch: &mut [u8],
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    io.udp[index].queued = false;
    let local = io.udp[index].local;
    for _ in 0..READS {
        match io.udp[index].receive(scratch) {
            Received::Datagram(len, remote) => {
                feed(machine, io, Input::Datagram { local, remote, bytes: &scratch[..len] }, notice)?;
            }
            Received::Nothing => {}
            Received::Drained => return Continue(()),
        }
    }
    io.queue_udp(index);
    Continue(())
}

fn read_conn<M: Machine>(
    machine: &mut M,
    io: &mut Io<M::Command>,
    id: ConnId,
    scratch: &mut [u8],
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(conn) = io.conns.get_mut(&id) else { return Continue(()) };
    conn.queued = false;
    let (mut heard, mut told) = (false, false);
    if conn.take_resumed() {
        told |= deliver(machine, io, id, &[], notice)?;
    }
    for _ in 0..STREAM_READS {
        let Some(len) = io.conns.get_mut(&id).and_then(|conn| conn.receive(scratch)) else { break };
        heard = true;
        told |= deliver(machine, io, id, &scratch[..len], notice)?;
    }
    if heard && !told && io.conns.get(&id).is_some_and(|conn| conn.hears()) {
        feed(machine, io, Input::Heard { conn: id }, notice)?;
    }
    io.with(id, Conn::settle);
    Continue(())
}

/// Tells everything that `bytes` complete. Breaks with the run; otherwise says whether there was anything.
fn deliver<M: Machine>(
    machine: &mut M,
    io: &mut Io<M::Command>,
    id: ConnId,
    mut bytes: &[u8],
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<(), bool> {
    let mut told = false;
    // The machine may drop the connection between two messages.
    while let Some(conn) = io.conns.get_mut(&id) {
        let Some(event) = conn.next(&mut bytes) else {
            conn.keep(bytes);
            break;
        };
        told = true;
        let input = match event {
            Event::Request(request) => Input::Request { conn: id, request },
            Event::BadRequest(error) => Input::BadRequest { conn: id, error },
            Event::Frame(frame) => Input::Frame { conn: id, frame },
            Event::Fault(fault) => Input::Fault { conn: id, fault },
            Event::Opened(dial, protocol) => {
                io.dials.remove(&dial);
                Input::Dialed { dial, conn: id, protocol }
            }
        };
        feed(machine, io, input, notice)?;
    }
    Continue(told)
}

impl<C> Io<C> {
    pub(crate) fn new(sockets: Sockets) -> io::Result<(Self, Handle<C>)> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let (inbox, handle) = Inbox::new(registry, Source::Inbox.token())?;
        let mut listeners = Vec::with_capacity(sockets.listeners.len());
        for (index, socket) in sockets.listeners.into_iter().enumerate() {
            socket.set_nonblocking(true)?;
            let mut socket = TcpListener::from_std(socket);
            registry.register(&mut socket, Source::Listener(index).token(), Interest::READABLE)?;
            listeners.push(Listener { socket, queued: false, paused: false });
        }
        let mut udp = Vec::with_capacity(sockets.udp.len());
        for (index, socket) in sockets.udp.into_iter().enumerate() {
            udp.push(Port::new(socket, registry, Source::Udp(index).token())?);
        }
        let io = Io {
            poll,
            inbox,
            inbox_queued: false,
            listeners,
            udp,
            conns: HashMap::new(),
            last_conn: 0,
            dials: BTreeMap::new(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            credited: Vec::new(),
            backlog: VecDeque::new(),
            deadlines: BTreeSet::new(),
        };
        Ok((io, handle))
    }

    /// Sleeps until something is ready or due; not at all if something is left from the turn before.
    fn wait(&mut self, events: &mut Events, deadline: Option<Deadline>) -> io::Result<()> {
        let left_over = !(self.ready.is_empty() && self.dirty.is_empty() && self.backlog.is_empty());
        let own = self.deadlines.first().map(|(at, _)| *at);
        let next = [deadline.map(|deadline| deadline.at), own].into_iter().flatten().min();
        let timeout = match next {
            _ if left_over => Some(Duration::ZERO),
            Some(at) => Some(at.saturating_duration_since(Instant::now())),
            None => None,
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }

    /// Remembers a readiness.
    fn note(&mut self, event: &Readiness) {
        match Source::of(event.token()) {
            Source::Inbox => self.queue_inbox(),
            Source::Listener(index) => self.queue_listener(index),
            Source::Udp(index) => self.queue_udp(index),
            Source::Conn(id) => {
                let ended = event.is_read_closed() || event.is_error();
                self.with(id, |conn| {
                    conn.check_connected();
                    if event.is_readable() || ended {
                        conn.set_readable(ended);
                    }
                });
            }
        }
    }

    fn queue_inbox(&mut self) {
        if !mem::replace(&mut self.inbox_queued, true) {
            self.ready.push_back(Source::Inbox);
        }
    }

    fn queue_listener(&mut self, index: usize) {
        if let Some(listener) = self.listeners.get_mut(index)
            && !listener.paused
            && !mem::replace(&mut listener.queued, true)
        {
            self.ready.push_back(Source::Listener(index));
        }
    }

    fn queue_udp(&mut self, index: usize) {
        if let Some(port) = self.udp.get_mut(index)
            && !mem::replace(&mut port.queued, true)
        {
            self.ready.push_back(Source::Udp(index));
        }
    }

    /// Does something to a connection, if it is still there, and sees to what it then needs.
    fn with(&mut self, id: ConnId, change: impl FnOnce(&mut Conn)) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let was_closing = conn.is_closing();
        change(conn);
        if conn.has_work() && !mem::replace(&mut conn.queued, true) {
            self.ready.push_back(Source::Conn(id));
        }
        if !mem::replace(&mut conn.dirty, true) {
            self.dirty.push(id);
        }
        if conn.is_closing() && !was_closing {
            self.deadlines.insert((Instant::now() + LINGER, Due::Linger(id)));
        }
    }

    /// Registers a new connection. `None`: the system has no room for it.
    fn adopt(&mut self, mut socket: TcpStream, make: impl FnOnce(TcpStream) -> Conn) -> Option<ConnId> {
        let id = ConnId(self.last_conn + 1);
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut socket, Source::Conn(id).token(), both).ok()?;
        self.last_conn = id.0;
        self.conns.insert(id, Box::new(make(socket)));
        Some(id)
    }

    fn forget(&mut self, id: ConnId) {
        if self.conns.remove(&id).is_none() {
            self.backlog.retain(|input| !matches!(input, Input::Closed { conn, .. } if *conn == id));
        }
    }

    /// Sends what every changed connection has to send, and ends those that are over.
    fn flush(&mut self) {
        for id in mem::take(&mut self.dirty) {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            conn.dirty = false;
            let was_closing = conn.is_closing();
            conn.flush();
            if conn.has_sent() {
                self.credited.push(id);
            }
            if conn.has_work() && !mem::replace(&mut conn.queued, true) {
                self.ready.push_back(Source::Conn(id));
            }
            if let Some(over) = conn.over(false) {
                self.finish(id, over);
            } else if conn.is_closing() && !was_closing {
                self.deadlines.insert((Instant::now() + LINGER, Due::Linger(id)));
            }
        }
    }

    fn finish(&mut self, id: ConnId, over: Over) {
        self.conns.remove(&id);
        match over {
            Over::Closed(reason) => self.backlog.push_back(Input::Closed { conn: id, reason }),
            Over::NotOpened(dial, error) => self.next_address(dial, error),
        }
    }

    /// Sees to the driver's own deadlines.
    fn expire(&mut self, now: Instant) {
        while let Some((at, due)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.pop_first();
            match due {
                Due::Accept(index) => {
                    self.listeners[index].paused = false;
                    self.queue_listener(index);
                }
                Due::Linger(id) => {
                    if let Some(over) = self.conns.get(&id).and_then(|conn| conn.over(true)) {
                        self.finish(id, over);
                    }
                }
                Due::Dial(dial) => {
                    if let Some(Dial { conn, .. }) = self.dials.remove(&dial) {
                        conn.map(|conn| self.conns.remove(&conn));
                        let error = format!("no answer within {} s", DIAL.as_secs());
                        self.backlog.push_back(Input::DialFailed { dial, error });
                    }
                }
            }
        }
    }

    fn dial(&mut self, dial: DialId, url: &str, protocol: Option<&'static str>, max_message_bytes: usize) {
        let (host, shake) = match dial::plan(url, protocol, max_message_bytes) {
            Ok(plan) => plan,
            Err(error) => return self.backlog.push_back(Input::DialFailed { dial, error }),
        };
        self.deadlines.insert((Instant::now() + DIAL, Due::Dial(dial)));
        self.dials.insert(dial, Dial { addresses: VecDeque::new(), conn: None, error: String::new(), shake });
        match host {
            Host::Address(address) => self.resolved(dial, Ok(vec![address])),
            Host::Name(name, port) => {
                if let Err(error) = dial::resolve(dial, name, port, self.inbox.resolver()) {
                    self.resolved(dial, Err(format!("no thread to look the name up: {error}")));
                }
            }
        }
    }

    fn resolved(&mut self, dial: DialId, resolved: Resolved) {
        let Some(attempt) = self.dials.get_mut(&dial) else { return };
        let error = match resolved {
            Ok(addresses) => {
                attempt.addresses = addresses.into();
                "the name has no address".to_owned()
            }
            Err(error) => error,
        };
        self.next_address(dial, error);
    }

    /// Tries the next address of a dial; without one, `error` is why it failed.
    fn next_address(&mut self, dial: DialId, error: String) {
        let Some(mut attempt) = self.dials.remove(&dial) else { return };
        attempt.error = error;
        while let Some(address) = attempt.addresses.pop_front() {
            match self.connect(dial, address, attempt.shake.clone()) {
                Ok(conn) => {
                    attempt.conn = Some(conn);
                    self.dials.insert(dial, attempt);
                    return;
                }
                Err(error) => attempt.error = clause(&error),
            }
        }
        self.backlog.push_back(Input::DialFailed { dial, error: attempt.error });
    }

    fn connect(&mut self, dial: DialId, address: SocketAddr, shake: Shake) -> io::Result<ConnId> {
        let socket = TcpStream::connect(address)?;
        let _ = socket.set_nodelay(true);
        let made = self.adopt(socket, |socket| Conn::dialled(socket, dial, shake));
        made.ok_or_else(|| io::Error::other("the system has no room for another connection"))
    }
}

impl Source {
    /// The low two bits say what it is, the others which.
    fn token(self) -> Token {
        Token(match self {
            Source::Inbox => 0,
            Source::Listener(index) => index << 2 | 1,
            Source::Udp(index) => index << 2 | 2,
            Source::Conn(id) => (id.0 as usize) << 2 | 3,
        })
    }

    fn of(token: Token) -> Self {
        let index = token.0 >> 2;
        match token.0 & 3 {
            0 => Source::Inbox,
            1 => Source::Listener(index),
            2 => Source::Udp(index),
            _ => Source::Conn(ConnId(index as u64)),
        }
    }
}
