//! The loop: wait, tell what happened, carry out what is asked, flush.

mod io;

use std::io::{ErrorKind, Result};
use std::mem;
use std::ops::ControlFlow::{self, Continue};
use std::time::Instant;

use enishi_core::machine::{ConnId, Input, ListenerId, Machine, Output};
use mio::Events;

use crate::conn::{Conn, Event};
use crate::files::Job;
use crate::system;
use crate::udp::Received;

pub(crate) use io::Io;
use io::Source;

/// The one buffer that sockets are read into.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Readinesses taken from one poll.
const EVENTS: usize = 1024;

/// Reads of one connection before the next source has its turn. A read can be [`SCRATCH_BYTES`] long, several hundred
/// messages, so few of them are fair to the others.
const STREAM_READS: usize = 2;

/// Datagrams of one UDP socket, and connections of one listener, before the next source has its turn.
const READS: usize = 16;

/// Connections with something to send before it is sent, even if there is more to read: their messages and what is known
/// of them still lie in the processor's caches then.
const FLUSH: usize = 8;

/// Commands before the next source has its turn.
const COMMANDS: usize = 64;

/// Runs until `notice` breaks.
pub(crate) fn run<M: Machine>(
    mut machine: M,
    mut io: Io<M::Command>,
    mut notice: impl FnMut(M::Notice) -> ControlFlow<()>,
) -> Result<()> {
    let mut events = Events::with_capacity(EVENTS);
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut flow = drain(&mut machine, &mut io, &mut notice);
    while flow.is_continue() {
        io.send_datagrams();
        io.wait(&mut events, machine.poll_timeout())?;
        for event in &events {
            io.note(event);
        }
        flow = turn(&mut machine, &mut io, &mut scratch, &mut notice);
    }
    io.flush();
    io.send_datagrams();
    io.files.finish();
    Ok(())
}

/// One turn: what is due, what is readable, what can leave.
fn turn<M: Machine>(
    machine: &mut M,
    io: &mut Io<M::Command>,
    scratch: &mut [u8],
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let now = Instant::now();
    if machine.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
        step(machine, io, Input::Timeout, notice)?;
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
        if io.changed() >= FLUSH {
            flush(machine, io, notice)?;
        }
    }
    flush(machine, io, notice)?;
    for _ in 0..io.backlog.len() {
        if let Some(input) = io.backlog.pop_front() {
            step(machine, io, input, notice)?;
        }
    }
    Continue(())
}

/// Sends what waits, and tells the machine what left.
fn flush<M: Machine>(
    machine: &mut M,
    io: &mut Io<M::Command>,
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<()> {
    io.flush();
    let mut credited = mem::take(&mut io.credited);
    for conn in credited.drain(..) {
        if let Some((messages, len)) = io.conns.get_mut(conn).and_then(|conn| conn.take_sent()) {
            step(machine, io, Input::Sent { conn, messages, len }, notice)?;
        }
    }
    io.credited = credited;
    Continue(())
}

/// Gives one input and carries out what comes of it.
fn step<M: Machine>(
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
        Output::ReleaseMemory => system::release_memory(),
        Output::Dial { dial, url, protocol, max_message_bytes } => io.dial(dial, &url, protocol, max_message_bytes),
        Output::Get { dial, url } => io.get(dial, &url),
        Output::Datagram { local, remote, bytes } => {
            if let Some(port) = io.udp.iter_mut().find(|port| port.local == local) {
                port.send(remote, &bytes);
            }
        }
        Output::ReadFile { op, path, offset, len } => io.ask(op, Job::Read { path, offset, len }),
        Output::WriteFile { op, path, at, bytes } => io.ask(op, Job::Write { path, at, bytes }),
        Output::Notice(news) => return notice(news),
    }
    Continue(())
}

/// Takes what other threads have for us: resolved names, what became of files, commands.
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
        let (done, command) = (io.files.done(), io.inbox.command());
        if done.is_none() && command.is_none() {
            return Continue(());
        }
        if let Some(done) = done {
            step(machine, io, done.input(), notice)?;
        }
        if let Some(command) = command {
            step(machine, io, Input::Command(command), notice)?;
        }
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
                debug_assert!(socket.nodelay().unwrap_or(true), "the listener's setting is inherited");
                if let Some(conn) = io.adopt(Conn::accepted(socket)) {
                    let listener = ListenerId(index as u16);
                    step(machine, io, Input::Accepted { conn, listener, remote }, notice)?;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Continue(()),
            // A connection that ended before we took it.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            // Out of file descriptors or memory, until something else is closed; or worse.
            Err(_) => {
                io.pause_listener(index);
                return Continue(());
            }
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
    let mut reads = 0;
    while reads < READS {
        match io.udp[index].receive(scratch) {
            Received::Datagrams { len, each, remote } => {
                reads += len.div_ceil(each).max(1);
                for bytes in scratch[..len].chunks(each) {
                    step(machine, io, Input::Datagram { local, remote, bytes }, notice)?;
                }
            }
            Received::Nothing => reads += 1,
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
    let Some(conn) = io.conns.get_mut(id) else { return Continue(()) };
    conn.queued = false;
    let (mut heard, mut told) = (false, false);
    if conn.take_resumed() {
        told |= deliver(machine, io, id, &[], notice)?;
    }
    for _ in 0..STREAM_READS {
        let Some(len) = io.conns.get_mut(id).and_then(|conn| conn.receive(scratch)) else { break };
        heard = true;
        told |= deliver(machine, io, id, &scratch[..len], notice)?;
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
    io: &mut Io<M::Command>,
    id: ConnId,
    mut bytes: &[u8],
    notice: &mut impl FnMut(M::Notice) -> ControlFlow<()>,
) -> ControlFlow<(), bool> {
    let mut told = false;
    // The machine may drop the connection between two messages.
    while let Some(conn) = io.conns.get_mut(id) {
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
        step(machine, io, input, notice)?;
    }
    Continue(told)
}
