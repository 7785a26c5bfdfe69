//! The main task: takes what the other tasks tell, gives it to the machine, carries out what is asked.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::ControlFlow::{self, Continue};
use std::time::{Duration, Instant};

use async_tungstenite::WebSocketStream;
use enishi_core::limits::DRIVER_WAITING_BYTES;
use enishi_core::machine::{CloseReason, ConnId, DialId, Frame, Input, ListenerId, Machine, Output};
use smol::channel::{Receiver, Sender};
use smol::future::{or, pending, yield_now};
use smol::{Async, LocalExecutor, Task, Timer};
use tungstenite::protocol::Role;

use crate::conn::dial::{Target, dial, get};
use crate::conn::{self, Link, News, Op, Wire};
use crate::files::{Done, Files, Job};
use crate::udp::{self, Udp};

/// Events of all connections, listeners and UDP sockets that wait for the main task; a task with one more waits.
const EVENTS: usize = 64;

/// Commands that are taken before it is the other sources' turn.
const COMMANDS: usize = 16;

/// What a message counts there beside its payload.
const OP_BYTES: usize = 256;

/// What a connection's delivered news must sum up to before its window is widened: not a message for each message.
const MORE_BYTES: usize = 16 * 1024;

/// How long a listener rests when file descriptors or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the other tasks tell.
pub(crate) enum Event {
    /// A connection was accepted.
    Accepted(ListenerId, Async<TcpStream>, SocketAddr),
    /// Something happened on a connection.
    Conn(ConnId, News),
    /// A dial succeeded.
    Dialed {
        /// The attempt.
        dial: DialId,
        /// The connection.
        ws: Box<WebSocketStream<Wire>>,
        /// The subprotocol that the server chose.
        protocol: Option<String>,
    },
    /// A plain request was answered.
    Got {
        /// The attempt.
        dial: DialId,
        /// The body.
        answer: String,
    },
    /// A dial or a plain request failed.
    DialFailed {
        /// The attempt.
        dial: DialId,
        /// Why.
        error: String,
    },
    /// The UDP socket at this position has datagrams.
    Readable(usize),
    /// A file was read or written.
    File(Done),
}

/// The channel by which the other tasks tell.
pub(crate) fn channel() -> (Sender<Event>, Receiver<Event>) {
    smol::channel::bounded(EVENTS)
}

/// Everything that the outputs of a machine act on.
pub(crate) struct Io<'a> {
    executor: &'a LocalExecutor<'static>,
    events: Sender<Event>,
    conns: BTreeMap<ConnId, Conn>,
    last_conn: u64,
    udp: Vec<Udp>,
    files: Files,
    /// What happened while acting; told when the outputs are carried out.
    backlog: VecDeque<Event>,
    /// Connections to be read again, whose held news comes before anything else of them.
    resumed: VecDeque<ConnId>,
}

/// A connection as the main task holds it. Dropping it ends the connection's task and closes the socket.
struct Conn {
    task: Task<()>,
    ops: Sender<Op>,
    /// Counted in [`DRIVER_WAITING_BYTES`].
    waiting: usize,
    reading: bool,
    closing: bool,
    /// What was under way when reading was switched off, at most the connection's window.
    held: VecDeque<News>,
    /// The weight of delivered news that [`Op::More`] has not given back yet.
    delivered: usize,
}

/// What the main task was woken by.
enum Woken<C> {
    Event(Event),
    Command(C),
    Due,
}

/// A timer that is set anew only when its time changes.
struct Alarm {
    timer: Timer,
    at: Option<Instant>,
}

/// Runs until `notice` breaks.
pub(crate) async fn run<M: Machine>(
    machine: &mut M,
    io: &mut Io<'_>,
    events: &Receiver<Event>,
    commands: &Receiver<M::Command>,
    mut notice: impl FnMut(M::Notice) -> ControlFlow<()>,
) {
    let mut scratch = vec![0; udp::DATAGRAM_BYTES];
    let mut alarm = Alarm { timer: Timer::never(), at: None };
    let mut flow = drain(machine, io, &mut notice);
    io.udp.iter_mut().for_each(Udp::flush);
    while flow.is_continue() {
        let woken = wait(&mut alarm, machine.poll_timeout().map(|deadline| deadline.at), events, commands).await;
        flow = turn(machine, io, woken, events, commands, &mut scratch, &mut notice);
        io.udp.iter_mut().for_each(Udp::flush);
        // The other tasks' turn: connections write what they were given.
        yield_now().await;
    }
}

async fn wait<C>(alarm: &mut Alarm, at: Option<Instant>, events: &Receiver<Event>, commands: &Receiver<C>) -> Woken<C> {
    let event = async {
        match events.recv().await {
            Ok(event) => Woken::Event(event),
            Err(_) => pending().await,
        }
    };
    let command = async {
        match commands.recv().await {
            Ok(command) => Woken::Command(command),
            // All handles are gone; the machine goes on.
            Err(_) => pending().await,
        }
    };
    or(or(event, command), async {
        alarm.ring(at).await;
        Woken::Due
    })
    .await
}

/// One turn: what woke us, what else is there, what is due.
fn turn<M: Machine>(
    machine: &mut M,
    io: &mut Io<'_>,
    woken: Woken<M::Command>,
    events: &Receiver<Event>,
    commands: &Receiver<M::Command>,
    scratch: &mut [u8],
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match woken {
        Woken::Event(event) => tell(machine, io, event, scratch, notice)?,
        Woken::Command(command) => step(machine, io, Input::Command(command), notice)?,
        Woken::Due => {}
    }
    for _ in 0..EVENTS {
        // What acting left behind comes before what is new.
        while let Some(event) = io.owed() {
            tell(machine, io, event, scratch, notice)?;
        }
        match events.try_recv() {
            Ok(event) => tell(machine, io, event, scratch, notice)?,
            Err(_) => break,
        }
    }
    for _ in 0..COMMANDS {
        match commands.try_recv() {
            Ok(command) => step(machine, io, Input::Command(command), notice)?,
            Err(_) => break,
        }
    }
    if machine.poll_timeout().is_some_and(|deadline| deadline.at <= Instant::now()) {
        step(machine, io, Input::Timeout, notice)?;
    }
    while let Some(event) = io.owed() {
        tell(machine, io, event, scratch, notice)?;
    }
    Continue(())
}

/// Gives the machine what another task told.
fn tell<M: Machine>(
    machine: &mut M,
    io: &mut Io<'_>,
    event: Event,
    scratch: &mut [u8],
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    match event {
        Event::Accepted(listener, tcp, remote) => {
            let conn = io.open(|link| conn::serve(tcp, link));
            step(machine, io, Input::Accepted { conn, listener, remote }, notice)
        }
        Event::Conn(conn, news) => {
            let Some(news) = io.admit(conn, news) else { return Continue(()) };
            let weight = news.weight();
            let flow = step(machine, io, input(conn, news), notice);
            io.widen(conn, weight);
            flow
        }
        Event::Dialed { dial, ws, protocol } => {
            let conn = io.open(|link| conn::talk(*ws, Role::Client, link));
            step(machine, io, Input::Dialed { dial, conn, protocol }, notice)
        }
        Event::Got { dial, answer } => step(machine, io, Input::Got { dial, answer }, notice),
        Event::DialFailed { dial, error } => step(machine, io, Input::DialFailed { dial, error }, notice),
        Event::File(done) => step(machine, io, done.input(), notice),
        Event::Readable(position) => {
            let mut reads = 0;
            while reads < udp::BURST
                && let Some(socket) = io.udp.get(position)
                && let Some((len, each, remote)) = socket.receive(scratch)
            {
                let local = socket.local;
                reads += len.div_ceil(each).max(1);
                for bytes in scratch[..len].chunks(each) {
                    step(machine, io, Input::Datagram { local, remote, bytes }, notice)?;
                }
            }
            if let Some(socket) = io.udp.get(position) {
                socket.rearm();
            }
            Continue(())
        }
    }
}

/// Gives one input and carries out all that comes of it.
fn step<M: Machine>(
    machine: &mut M,
    io: &mut Io<'_>,
    input: Input<'_, M::Command>,
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    machine.handle_input(Instant::now(), input);
    drain(machine, io, notice)
}

/// Carries out what the machine asks, to the last: also when a notice broke, so that nothing said before is lost.
fn drain<M: Machine>(
    machine: &mut M,
    io: &mut Io<'_>,
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut flow = Continue(());
    while let Some(output) = machine.poll_output() {
        match act(io, output) {
            Some(told) if flow.is_continue() => flow = notice(told),
            _ => {}
        }
    }
    flow
}

/// Carries out one output, without waiting; a notice is handed back.
fn act<N>(io: &mut Io<'_>, output: Output<N>) -> Option<N> {
    match output {
        Output::Respond { conn, response } => io.tell(conn, Op::Respond(Box::new(response))),
        Output::Upgrade { conn, response, max_message_bytes } => {
            io.tell(conn, Op::Upgrade { response: Box::new(response), max_message_bytes });
        }
        Output::Send { conn, frame } => io.send(conn, frame),
        Output::Read { conn, on } => io.read(conn, on),
        Output::Close { conn, code, reason } => io.close(conn, code, reason),
        Output::Drop { conn } => drop(io.conns.remove(&conn)),
        Output::Dial { dial: id, url, protocol, max_message_bytes } => {
            let target = Target { url, protocol, max_message_bytes };
            io.executor.spawn(dial(id, target, io.events.clone())).detach();
        }
        Output::Get { dial, url } => io.executor.spawn(get(dial, url, io.events.clone())).detach(),
        Output::Datagram { local, remote, bytes } => {
            if let Some(socket) = io.udp.iter_mut().find(|socket| socket.local == local) {
                socket.send(&bytes, remote);
            }
        }
        Output::ReadFile { op, path, offset, len } => io.files.ask(op, Job::Read { path, offset, len }),
        Output::WriteFile { op, path, at, bytes } => io.files.ask(op, Job::Write { path, at, bytes }),
        Output::Notice(notice) => return Some(notice),
    }
    None
}

impl<'a> Io<'a> {
    /// No sockets yet.
    pub(crate) fn new(executor: &'a LocalExecutor<'static>, events: Sender<Event>) -> Self {
        Io {
            files: Files::new(events.clone()),
            executor,
            events,
            conns: BTreeMap::new(),
            last_conn: 0,
            udp: Vec::new(),
            backlog: VecDeque::new(),
            resumed: VecDeque::new(),
        }
    }

    /// Accepts connections on the listener at this position.
    pub(crate) fn listen(&mut self, position: usize, listener: Async<TcpListener>) {
        let id = ListenerId(u16::try_from(position).unwrap_or(u16::MAX));
        self.executor.spawn(accept(id, listener, self.events.clone())).detach();
    }

    /// Receives from the UDP socket at this position.
    pub(crate) fn watch(&mut self, position: usize, socket: Async<UdpSocket>) -> io::Result<()> {
        let (socket, watch) = Udp::new(position, socket, self.events.clone())?;
        self.udp.push(socket);
        self.executor.spawn(watch).detach();
        Ok(())
    }

    /// Lets every connection hand the kernel what it takes at once, lets files be written, and ends.
    pub(crate) fn finish(self) {
        // Each connection wakes up to take its last orders, then to see that there are no more; some yield in between.
        let ticks = 64 + 16 * self.conns.len();
        for conn in self.conns.into_values() {
            conn.task.detach();
        }
        for _ in 0..ticks {
            if !self.executor.try_tick() {
                break;
            }
        }
        self.files.finish();
    }

    fn open<F: Future<Output = ()> + 'static>(&mut self, life: impl FnOnce(Link) -> F) -> ConnId {
        self.last_conn += 1;
        let id = ConnId(self.last_conn);
        // Not bounded by the channel, which would hold memory for the bound in every connection, but by `waiting`.
        let (ops, orders) = smol::channel::unbounded();
        let task = self.executor.spawn(life(Link::new(id, orders, self.events.clone())));
        let held = VecDeque::new();
        let conn = Conn { task, ops, waiting: 0, reading: true, closing: false, held, delivered: 0 };
        self.conns.insert(id, conn);
        id
    }

    /// What of a connection's news goes to the machine now.
    fn admit(&mut self, id: ConnId, news: News) -> Option<News> {
        let conn = self.conns.get_mut(&id)?;
        if news.is_read() && !conn.reading && !conn.closing {
            conn.held.push_back(news);
            return None;
        }
        match &news {
            // If it is not the task's own last word but ours, the task ends here.
            News::Closed(_) => drop(self.conns.remove(&id)),
            News::Sent { messages, len } => {
                conn.waiting = conn.waiting.saturating_sub(messages * OP_BYTES + len);
            }
            _ if conn.closing => return None,
            _ => {}
        }
        Some(news)
    }

    /// News of this weight was delivered, and what the machine asked in return is under way.
    fn widen(&mut self, id: ConnId, weight: usize) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.delivered += weight;
        if conn.delivered >= MORE_BYTES {
            let delivered = std::mem::take(&mut conn.delivered);
            conn.tell(Op::More(delivered));
        }
    }

    /// What happened while acting, and what was held back by connections that are read again.
    fn owed(&mut self) -> Option<Event> {
        if let Some(event) = self.backlog.pop_front() {
            return Some(event);
        }
        while let Some(&id) = self.resumed.front() {
            if let Some(conn) = self.conns.get_mut(&id)
                && (conn.reading || conn.closing)
                && let Some(news) = conn.held.pop_front()
            {
                return Some(Event::Conn(id, news));
            }
            self.resumed.pop_front();
        }
        None
    }

    fn tell(&mut self, id: ConnId, op: Op) {
        if let Some(conn) = self.conns.get(&id) {
            conn.tell(op);
        }
    }

    fn send(&mut self, id: ConnId, frame: Frame) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if let Frame::Text(_) | Frame::Binary(_) = frame {
            conn.waiting += OP_BYTES + frame.len();
        }
        if conn.waiting > DRIVER_WAITING_BYTES {
            let reason = CloseReason::Error("the remote reads too slowly".into());
            self.backlog.push_back(Event::Conn(id, News::Closed(reason)));
        } else {
            conn.tell(Op::Send(frame));
        }
    }

    fn read(&mut self, id: ConnId, on: bool) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.reading == on {
            return;
        }
        conn.reading = on;
        conn.tell(Op::Read(on));
        if on && !conn.held.is_empty() {
            self.resumed.push_back(id);
        }
    }

    fn close(&mut self, id: ConnId, code: u16, reason: String) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.closing = true;
        conn.tell(Op::Close { code, reason });
        // Of what was held, only an end that had already come matters.
        if !conn.held.is_empty() {
            self.resumed.push_back(id);
        }
    }
}

impl Conn {
    fn tell(&self, op: Op) {
        // A task that has ended needs no orders: its news of the end is on the way.
        let _ = self.ops.try_send(op);
    }
}

impl Alarm {
    /// Waits until `at`, for ever without one.
    async fn ring(&mut self, at: Option<Instant>) {
        if at != self.at {
            match at {
                Some(at) => self.timer.set_at(at),
                None => self.timer.clear(),
            }
            self.at = at;
        }
        (&mut self.timer).await;
        self.at = None;
    }
}

fn input<'a, C>(conn: ConnId, news: News) -> Input<'a, C> {
    match news {
        News::Request(request) => Input::Request { conn, request: *request },
        News::BadRequest(error) => Input::BadRequest { conn, error },
        News::Frame(frame) => Input::Frame { conn, frame },
        News::Heard => Input::Heard { conn },
        News::Fault(fault) => Input::Fault { conn, fault },
        News::Sent { messages, len } => Input::Sent { conn, messages, len },
        News::Closed(reason) => Input::Closed { conn, reason },
    }
}

async fn accept(listener: ListenerId, socket: Async<TcpListener>, events: Sender<Event>) {
    loop {
        match socket.accept().await {
            Ok((tcp, remote)) => {
                if events.send(Event::Accepted(listener, tcp, remote)).await.is_err() {
                    return;
                }
            }
            // The remote was gone before we took it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // File descriptors or memory ran out: asking again at once would only burn the processor.
            Err(_) => _ = Timer::after(ACCEPT_PAUSE).await,
        }
    }
}
