//! What a machine's outputs act on: the poll, the sockets, and the lists of who needs what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use enishi_core::machine::{ConnId, Deadline, DialId, FileOp, Input, failure};
use enishi_core::table::Table;
use mio::event::Event as Readiness;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use crate::Sockets;
use crate::conn::dial::{self, Dial, Host, Resolved, Shake};
use crate::conn::{Conn, Joined, Over};
use crate::files::{Files, Job};
use crate::inbox::{Handle, Inbox};
use crate::system;
use crate::udp::Port;

/// How long a closing connection may take to flush and to hear that the remote closes too.
const LINGER: Duration = Duration::from_secs(5);

/// How long a dial may take, name and handshake included.
const DIAL: Duration = Duration::from_secs(10);

/// What is to know of a connection that may have to wait for room.
const BOTH: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// How long accepting pauses after it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections for which the lists have room from the start: what grows later would lie above what connections bring, and
/// pin it when they are gone. Memory that is not touched costs nothing.
const ROOM: usize = 32 * 1024;

/// Everything that a machine's outputs act on.
pub(crate) struct Io<C> {
    poll: Poll,
    pub(super) inbox: Inbox<C>,
    /// Whether the inbox stands in the ready list.
    pub(super) inbox_queued: bool,
    pub(super) files: Files,
    pub(super) listeners: Vec<Listener>,
    pub(super) udp: Vec<Port>,
    pub(super) conns: Table<Conn>,
    last_conn: u64,
    pub(super) dials: BTreeMap<DialId, Dial>,
    /// Sources that may have something to read. Readiness is told once (edge-triggered), so this list is the memory.
    pub(super) ready: VecDeque<Source>,
    /// Connections to flush at the end of the turn.
    dirty: Vec<ConnId>,
    /// Connections whose messages left.
    pub(super) credited: Vec<ConnId>,
    /// What happened while acting; told after the turn.
    pub(super) backlog: VecDeque<Input<'static, C>>,
    deadlines: BTreeSet<(Instant, Due)>,
    joined: Joined,
}

pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) queued: bool,
    /// Until the end of [`ACCEPT_PAUSE`].
    paused: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Source {
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

impl<C> Io<C> {
    pub(crate) fn new(sockets: Sockets) -> io::Result<(Self, Handle<C>)> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let (inbox, handle) = Inbox::new(registry, Source::Inbox.token())?;
        let files = Files::new(inbox.waker());
        let mut listeners = Vec::with_capacity(sockets.listeners.len());
        for (index, socket) in sockets.listeners.into_iter().enumerate() {
            socket.set_nonblocking(true)?;
            // What is accepted inherits it, so that it need not be set for each connection.
            let _ = SockRef::from(&socket).set_tcp_nodelay(true);
            system::accept_with_bytes(&socket);
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
            files,
            listeners,
            udp,
            conns: Table::default(),
            last_conn: 0,
            dials: BTreeMap::new(),
            ready: VecDeque::with_capacity(ROOM),
            dirty: Vec::with_capacity(ROOM),
            credited: Vec::with_capacity(ROOM),
            backlog: VecDeque::new(),
            deadlines: BTreeSet::new(),
            joined: Joined::new(),
        };
        Ok((io, handle))
    }

    /// Sleeps until something is ready or due; not at all if something is left from the turn before.
    pub(super) fn wait(&mut self, events: &mut Events, deadline: Option<Deadline>) -> io::Result<()> {
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
    pub(super) fn note(&mut self, event: &Readiness) {
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

    pub(super) fn queue_inbox(&mut self) {
        if !mem::replace(&mut self.inbox_queued, true) {
            self.ready.push_back(Source::Inbox);
        }
    }

    pub(super) fn queue_listener(&mut self, index: usize) {
        if let Some(listener) = self.listeners.get_mut(index)
            && !listener.paused
            && !mem::replace(&mut listener.queued, true)
        {
            self.ready.push_back(Source::Listener(index));
        }
    }

    /// Accepts no more for [`ACCEPT_PAUSE`].
    pub(super) fn pause_listener(&mut self, index: usize) {
        self.listeners[index].paused = true;
        self.deadlines.insert((Instant::now() + ACCEPT_PAUSE, Due::Accept(index)));
    }

    pub(super) fn queue_udp(&mut self, index: usize) {
        if let Some(port) = self.udp.get_mut(index)
            && !mem::replace(&mut port.queued, true)
        {
            self.ready.push_back(Source::Udp(index));
        }
    }

    /// Does something to a connection, if it is still there, and sees to what it then needs.
    pub(super) fn with(&mut self, id: ConnId, change: impl FnOnce(&mut Conn)) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        change(conn);
        if conn.has_work() && !mem::replace(&mut conn.queued, true) {
            self.ready.push_back(Source::Conn(id));
        }
        if !conn.is_quiet() && !mem::replace(&mut conn.dirty, true) {
            self.dirty.push(id);
        }
    }

    /// Registers a new connection. `None`: the system has no room for it.
    pub(super) fn adopt(&mut self, mut conn: Conn) -> Option<ConnId> {
        let id = ConnId(self.last_conn + 1);
        // One that was accepted is writable, and who is told of that for each has a turn more with each.
        let interest = if conn.room_watched { BOTH } else { Interest::READABLE };
        self.poll.registry().register(&mut conn.socket, Source::Conn(id).token(), interest).ok()?;
        self.last_conn = id.0;
        self.conns.insert(id, conn);
        Some(id)
    }

    pub(super) fn forget(&mut self, id: ConnId) {
        if !self.remove(id) {
            self.backlog.retain(|input| !matches!(input, Input::Closed { conn, .. } if *conn == id));
        }
    }

    /// Connections to flush.
    pub(super) fn changed(&self) -> usize {
        self.dirty.len()
    }

    /// Sends what every changed connection has to send, and ends those that are over.
    pub(super) fn flush(&mut self) {
        let mut dirty = mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            let Some(conn) = self.conns.get_mut(id) else { continue };
            conn.dirty = false;
            conn.flush(&mut self.joined);
            if conn.waits_for_room() && !mem::replace(&mut conn.room_watched, true) {
                // It was registered before, so only memory could fail it; then the next deadline ends the connection.
                let _ = self.poll.registry().reregister(&mut conn.socket, Source::Conn(id).token(), BOTH);
            }
            if conn.has_sent() {
                self.credited.push(id);
            }
            if conn.has_work() && !mem::replace(&mut conn.queued, true) {
                self.ready.push_back(Source::Conn(id));
            }
            if let Some(over) = conn.over(false) {
                self.finish(id, over);
            } else if conn.begins_to_linger() {
                self.deadlines.insert((Instant::now() + LINGER, Due::Linger(id)));
            }
        }
        // Its memory serves the next turn.
        debug_assert!(self.dirty.is_empty(), "flushing changes nobody else");
        self.dirty = dirty;
    }

    /// Sends what datagrams wait for more of their kind.
    pub(super) fn send_datagrams(&mut self) {
        self.udp.iter_mut().for_each(Port::flush);
    }

    fn remove(&mut self, id: ConnId) -> bool {
        self.conns.remove(id).is_some()
    }

    fn finish(&mut self, id: ConnId, over: Over) {
        self.remove(id);
        match over {
            Over::Closed(reason) => self.backlog.push_back(Input::Closed { conn: id, reason }),
            Over::NotOpened(dial, error) => self.next_address(dial, error),
            Over::Got(dial, answer) => {
                self.dials.remove(&dial);
                self.backlog.push_back(Input::Got { dial, answer });
            }
        }
    }

    /// Sees to the driver's own deadlines.
    pub(super) fn expire(&mut self, now: Instant) {
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
                    if let Some(over) = self.conns.get(id).and_then(|conn| conn.over(true)) {
                        self.finish(id, over);
                    }
                }
                Due::Dial(dial) => {
                    if let Some(Dial { conn, .. }) = self.dials.remove(&dial) {
                        conn.map(|conn| self.remove(conn));
                        let error = format!("no answer within {} s", DIAL.as_secs());
                        self.backlog.push_back(Input::DialFailed { dial, error });
                    }
                }
            }
        }
    }

    pub(super) fn dial(&mut self, dial: DialId, url: &str, protocol: Option<&'static str>, max_message_bytes: usize) {
        self.begin(dial, dial::plan(url, protocol, max_message_bytes));
    }

    pub(super) fn get(&mut self, dial: DialId, url: &str) {
        self.begin(dial, dial::plan_get(url));
    }

    fn begin(&mut self, dial: DialId, plan: Result<(Host, Shake), String>) {
        let (host, shake) = match plan {
            Ok(plan) => plan,
            Err(error) => return self.backlog.push_back(Input::DialFailed { dial, error }),
        };
        self.deadlines.insert((Instant::now() + DIAL, Due::Dial(dial)));
        self.dials.insert(dial, Dial { addresses: VecDeque::new(), conn: None, shake });
        match host {
            Host::Address(address) => self.resolved(dial, Ok(vec![address])),
            Host::Name(name, port) => {
                if let Err(error) = dial::resolve(dial, name, port, self.inbox.resolver()) {
                    self.resolved(dial, Err(format!("no thread to look the name up: {error}")));
                }
            }
        }
    }

    pub(super) fn resolved(&mut self, dial: DialId, resolved: Resolved) {
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
    fn next_address(&mut self, dial: DialId, mut error: String) {
        let Some(mut attempt) = self.dials.remove(&dial) else { return };
        while let Some(address) = attempt.addresses.pop_front() {
            match self.connect(dial, address, attempt.shake.clone()) {
                Ok(conn) => {
                    attempt.conn = Some(conn);
                    self.dials.insert(dial, attempt);
                    return;
                }
                Err(refused) => error = failure(&refused).into_owned(),
            }
        }
        self.backlog.push_back(Input::DialFailed { dial, error });
    }

    pub(super) fn ask(&mut self, op: FileOp, job: Job) {
        if let Some(done) = self.files.ask(op, job) {
            self.backlog.push_back(done.input());
        }
    }

    fn connect(&mut self, dial: DialId, address: SocketAddr, shake: Shake) -> io::Result<ConnId> {
        let socket = TcpStream::connect(address)?;
        let _ = socket.set_nodelay(true);
        let made = self.adopt(Conn::dialled(socket, dial, shake));
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
