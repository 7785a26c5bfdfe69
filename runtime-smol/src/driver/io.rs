//! What a machine's outputs act on: the connections, the sockets, and the lists of who needs what.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use enishi_core::machine::{CloseReason, ConnId, ListenerId};
use enishi_core::table::Table;
use smol::channel::{Receiver, Sender};
use smol::{Async, LocalExecutor, Timer};

use crate::bell::Bell;
use crate::conn::{Conn, Spare, Wire};
use crate::files::Files;
use crate::udp::Udp;

use super::Event;

/// How long a closing connection may take to flush and to hear that the remote closes too.
const LINGER: Duration = Duration::from_secs(5);

/// How long a listener rests when file descriptors or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections for which the lists have room from the start: what grows later would lie above what connections bring, and
/// pin it when they are gone. Memory that is not touched costs nothing.
const ROOM: usize = 32 * 1024;

/// Everything that the outputs of a machine act on.
pub(crate) struct Io<'a> {
    pub(super) executor: &'a LocalExecutor<'static>,
    pub(super) events: Sender<Event>,
    pub(super) conns: Table<Conn>,
    last_conn: u64,
    /// Given to every connection's bell.
    bells: Sender<ConnId>,
    /// Who wants a turn.
    pub(super) rings: Receiver<ConnId>,
    /// Connections to flush at the end of the turn.
    dirty: Vec<ConnId>,
    /// Connections that have to end, in the order of their time. Those that have ended meanwhile mean nothing.
    lingering: VecDeque<(Instant, ConnId)>,
    /// Lent to connections that write.
    spare: Spare,
    pub(super) udp: Vec<Udp>,
    pub(super) files: Files,
}

impl<'a> Io<'a> {
    /// No sockets yet.
    pub(crate) fn new(executor: &'a LocalExecutor<'static>, events: Sender<Event>) -> Self {
        // Bounded by the number of connections: a bell that has rung is silent.
        let (bells, rings) = smol::channel::unbounded();
        Io {
            files: Files::new(events.clone()),
            executor,
            events,
            conns: Table::default(),
            last_conn: 0,
            bells,
            rings,
            dirty: Vec::with_capacity(ROOM),
            lingering: VecDeque::new(),
            spare: Spare::new(),
            udp: Vec::new(),
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
    pub(crate) fn finish(mut self) {
        for conn in self.conns.values_mut() {
            conn.flush_all(&mut self.spare);
        }
        self.files.finish();
    }

    /// Takes a new connection in; it asks for its first turn by itself.
    pub(super) fn open(&mut self, make: impl FnOnce(Arc<Bell>) -> Conn) -> ConnId {
        self.last_conn += 1;
        let id = ConnId(self.last_conn);
        self.conns.insert(id, make(Bell::new(id, self.bells.clone())));
        id
    }

    /// Does something to a connection, if it is still there, and sees to it that what then waits is written.
    pub(super) fn with(&mut self, id: ConnId, change: impl FnOnce(&mut Conn)) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        change(conn);
        if !conn.is_quiet() && !mem::replace(&mut conn.dirty, true) {
            self.dirty.push(id);
        }
    }

    /// Closes the socket.
    pub(super) fn forget(&mut self, id: ConnId) {
        self.conns.remove(id);
        if self.conns.is_empty() {
            // Nobody is left to ring, and the last piece of the queue lies above what all of them had.
            (self.bells, self.rings) = smol::channel::unbounded();
        }
    }

    /// Whether there is something to do without waiting.
    pub(super) fn is_busy(&self) -> bool {
        !(self.dirty.is_empty() && self.rings.is_empty())
    }

    /// Takes the list of those to flush.
    pub(super) fn take_dirty(&mut self) -> Vec<ConnId> {
        mem::take(&mut self.dirty)
    }

    /// Uses the list's memory again.
    pub(super) fn reuse_dirty(&mut self, mut list: Vec<ConnId>) {
        list.append(&mut self.dirty);
        self.dirty = list;
    }

    /// Writes what waits on a connection. Gives the messages and bytes that left, if any.
    pub(super) fn flush(&mut self, id: ConnId) -> Option<(usize, usize)> {
        let conn = self.conns.get_mut(id)?;
        conn.dirty = false;
        conn.flush(&mut self.spare);
        conn.take_sent()
    }

    /// Removes a connection if it is over, and says why.
    pub(super) fn bury(&mut self, id: ConnId) -> Option<CloseReason> {
        let conn = self.conns.get_mut(id)?;
        let over = conn.over(false);
        if over.is_some() {
            self.forget(id);
        } else if conn.begins_to_linger() {
            self.lingering.push_back((Instant::now() + LINGER, id));
        }
        over
    }

    /// When the next connection has had the time to end by itself.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.lingering.front().map(|&(at, _)| at)
    }

    /// The next connection that has had the time to end by itself and has not, removed, and why it ends.
    pub(super) fn expire(&mut self, now: Instant) -> Option<(ConnId, CloseReason)> {
        while self.next_timeout().is_some_and(|at| at <= now)
            && let Some((_, id)) = self.lingering.pop_front()
        {
            if let Some(reason) = self.conns.get(id).and_then(|conn| conn.over(true)) {
                self.forget(id);
                return Some((id, reason));
            }
        }
        None
    }
}

async fn accept(listener: ListenerId, socket: Async<TcpListener>, events: Sender<Event>) {
    loop {
        match socket.accept().await {
            Ok((tcp, remote)) => {
                if events.send(Event::Accepted(listener, Wire::new(tcp), remote)).await.is_err() {
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
