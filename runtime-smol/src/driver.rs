//! The main task: gives connections their turns, tells the machine what happened, carries out what is asked, flushes.

mod io;

use std::net::SocketAddr;
use std::ops::ControlFlow::{self, Continue};
use std::task::{Context, Poll};
use std::time::Instant;

use enishi_core::machine::{ConnId, DialId, Input, ListenerId, Machine, Output};
use smol::Timer;
use smol::channel::{Receiver, Sender};
use smol::future::{or, pending, yield_now};

use crate::conn::dial::{Open, Target, dial, get};
use crate::conn::{Conn, News, Wire};
use crate::files::{Done, Job};
use crate::system;
use crate::udp::{self, Udp};

pub(crate) use io::Io;

/// Events of all listeners, dials and UDP sockets that wait for the main task; a task with one more waits.
const EVENTS: usize = 64;

/// Commands that are taken before it is the other sources' turn.
const COMMANDS: usize = 16;

/// Connections that are read before what this brought is written.
const RINGS: usize = 256;

/// Bytes of a connection that are read before it is another's turn: it can be thousands of frames that mean nothing.
const STREAM_BYTES: usize = 16 * 1024;

/// The one buffer that sockets are read into; no datagram is longer.
const SCRATCH_BYTES: usize = 64 * 1024;

/// What the other tasks tell.
pub(crate) enum Event {
    /// A connection was accepted.
    Accepted(ListenerId, Wire, SocketAddr),
    /// A dial succeeded.
    Dialed(DialId, Box<Open>),
    /// A plain request was answered.
    Got(DialId, String),
    /// A dial or a plain request failed: why.
    DialFailed(DialId, String),
    /// The UDP socket at this position has datagrams.
    Readable(usize),
    /// A file was read or written.
    File(Done),
}

/// The channel by which the other tasks tell.
pub(crate) fn channel() -> (Sender<Event>, Receiver<Event>) {
    smol::channel::bounded(EVENTS)
}

/// What the main task was woken by.
enum Woken<C> {
    Ring(ConnId),
    Event(Event),
    Command(C),
    /// Something is left from the turn before, or due.
    Due,
}

/// A timer that is set anew only to ring earlier.
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
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut alarm = Alarm { timer: Timer::never(), at: None };
    let mut flow = drain(machine, io, &mut notice);
    io.udp.iter_mut().for_each(Udp::flush);
    while flow.is_continue() {
        let woken = if io.is_busy() {
            // The other tasks' turn, and a look at the sockets.
            yield_now().await;
            Woken::Due
        } else {
            let deadline = machine.poll_timeout().map(|deadline| deadline.at);
            let at = [deadline, io.next_timeout()].into_iter().flatten().min();
            wait(&mut alarm, at, &io.rings, events, commands).await
        };
        flow = turn(machine, io, woken, events, commands, &mut scratch, &mut notice);
        io.udp.iter_mut().for_each(Udp::flush);
    }
}

async fn wait<C>(
    alarm: &mut Alarm,
    at: Option<Instant>,
    rings: &Receiver<ConnId>,
    events: &Receiver<Event>,
    commands: &Receiver<C>,
) -> Woken<C> {
    let sockets = or(next(rings, Woken::Ring), next(events, Woken::Event));
    let others = or(next(commands, Woken::Command), async {
        alarm.ring(at).await;
        Woken::Due
    });
    or(sockets, others).await
}

async fn next<T, C>(source: &Receiver<T>, woken: impl Fn(T) -> Woken<C>) -> Woken<C> {
    match source.recv().await {
        Ok(found) => woken(found),
        // All handles are gone; the machine goes on.
        Err(_) => pending().await,
    }
}

/// One turn: what woke us, what else is there, what is due, what can leave. Each source has its bounded share.
fn turn<M: Machine>(
    machine: &mut M,
    io: &mut Io<'_>,
    woken: Woken<M::Command>,
    events: &Receiver<Event>,
    commands: &Receiver<M::Command>,
    scratch: &mut [u8],
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let now = Instant::now();
    if machine.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
        step(machine, io, Input::Timeout, notice)?;
    }
    while let Some((conn, reason)) = io.expire(now) {
        step(machine, io, Input::Closed { conn, reason }, notice)?;
    }
    match woken {
        Woken::Ring(conn) => serve(machine, io, conn, scratch, notice)?,
        Woken::Event(event) => tell(machine, io, event, scratch, notice)?,
        Woken::Command(command) => step(machine, io, Input::Command(command), notice)?,
        Woken::Due => {}
    }
    for _ in 0..EVENTS {
        let Ok(event) = events.try_recv() else { break };
        tell(machine, io, event, scratch, notice)?;
    }
    for _ in 0..COMMANDS {
        let Ok(command) = commands.try_recv() else { break };
        step(machine, io, Input::Command(command), notice)?;
    }
    for _ in 0..io.rings.len().min(RINGS) {
        let Ok(conn) = io.rings.try_recv() else { break };
        serve(machine, io, conn, scratch, notice)?;
    }
    flush(machine, io, notice)
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
        Event::Accepted(listener, wire, remote) => {
            let conn = io.open(|bell| Conn::accepted(wire, bell));
            step(machine, io, Input::Accepted { conn, listener, remote }, notice)
        }
        Event::Dialed(dial, open) => {
            let Open { wire, protocol, unread, max_message_bytes } = *open;
            let conn = io.open(|bell| Conn::dialled(wire, bell, unread, max_message_bytes));
            step(machine, io, Input::Dialed { dial, conn, protocol }, notice)
        }
        Event::Got(dial, answer) => step(machine, io, Input::Got { dial, answer }, notice),
        Event::DialFailed(dial, error) => step(machine, io, Input::DialFailed { dial, error }, notice),
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

/// A connection's turn of reading.
fn serve<M: Machine>(
    machine: &mut M,
    io: &mut Io<'_>,
    id: ConnId,
    scratch: &mut [u8],
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let Some(conn) = io.conns.get(id) else { return Continue(()) };
    let waker = conn.wake_up();
    let mut cx = Context::from_waker(&waker);
    let mut heard = false;
    let mut told = conn.has_unread() && deliver(machine, io, id, &[], notice)?;
    while let Some(conn) = io.conns.get_mut(id) {
        let Poll::Ready(len) = conn.poll_receive(&mut cx, &mut scratch[..STREAM_BYTES]) else { break };
        heard = true;
        told |= deliver(machine, io, id, &scratch[..len], notice)?;
        // After a short read the next one only asks to be woken.
        if len == STREAM_BYTES {
            io.with(id, |conn| conn.ring());
            break;
        }
    }
    if heard && !told && io.conns.get(id).is_some_and(|conn| conn.hears()) {
        step(machine, io, Input::Heard { conn: id }, notice)?;
    }
    io.with(id, Conn::settle);
    Continue(())
}

/// Tells everything that `bytes` complete. Breaks with the run; otherwise says whether there was anything.
fn deliver<M: Machine>(
    machine: &mut M,
    io: &mut Io<'_>,
    id: ConnId,
    mut bytes: &[u8],
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<(), bool> {
    let mut told = false;
    // The machine may drop the connection between two messages.
    while let Some(conn) = io.conns.get_mut(id) {
        let Some(news) = conn.next(&mut bytes) else {
            conn.keep(bytes);
            break;
        };
        told = true;
        let input = match news {
            News::Request(request) => Input::Request { conn: id, request },
            News::BadRequest(error) => Input::BadRequest { conn: id, error },
            News::Frame(frame) => Input::Frame { conn: id, frame },
            News::Fault(fault) => Input::Fault { conn: id, fault },
        };
        step(machine, io, input, notice)?;
    }
    Continue(told)
}

/// Writes what every changed connection has to write, tells what left, and ends those that are over.
fn flush<M: Machine>(
    machine: &mut M,
    io: &mut Io<'_>,
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut dirty = io.take_dirty();
    for conn in dirty.drain(..) {
        if let Some((messages, len)) = io.flush(conn) {
            step(machine, io, Input::Sent { conn, messages, len }, notice)?;
        }
        if let Some(reason) = io.bury(conn) {
            step(machine, io, Input::Closed { conn, reason }, notice)?;
        }
    }
    io.reuse_dirty(dirty);
    Continue(())
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
        Output::Respond { conn, response } => io.with(conn, |conn| conn.respond(&response)),
        Output::Upgrade { conn, response, max_message_bytes } => {
            io.with(conn, |conn| conn.upgrade(&response, max_message_bytes));
        }
        Output::Send { conn, frame } => io.with(conn, |conn| conn.send(frame)),
        Output::Read { conn, on } => io.with(conn, |conn| conn.pause(!on)),
        Output::Close { conn, code, reason } => io.with(conn, |conn| conn.close(code, &reason)),
        Output::Drop { conn } => io.forget(conn),
        Output::ReleaseMemory => system::release_memory(),
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

impl Alarm {
    /// Waits until `at`, for ever without one. May ring too early: a later time is not worth setting the timer anew for
    /// every message, which wakes the reactor.
    async fn ring(&mut self, at: Option<Instant>) {
        if let Some(at) = at
            && self.at.is_none_or(|set| at < set)
        {
            self.timer.set_at(at);
            self.at = Some(at);
        }
        (&mut self.timer).await;
        self.at = None;
    }
}
