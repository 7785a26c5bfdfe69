//! The deadlines of one connection.
//!
//! Almost all are cleared or put off long before they are due, several with each connection that comes or goes. So they
//! stand with the connection, where changing one is a store, and the server's queue only knows when to look at the
//! connection next. That may be too early, never too late.

use std::time::{Duration, Instant};

use super::conn::Conn;
use super::{Server, Wake};
use crate::machine::ConnId;

/// What a deadline is for. Of those that are due at the same time the first of these comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// The whole head of a request is due.
    Head,
    /// The first message is due.
    First,
    /// The rest of a message is due.
    Message,
    /// Time to ask whether the client is there, or to find that it is not.
    Alive,
    /// The client may send again.
    Pace,
    /// The client should have read something by now.
    Stall,
    /// The connection should be closed by now.
    Close,
    /// Something is due in a session of Socket.IO.
    Session,
}

impl Timer {
    const ALL: [Timer; 8] = [
        Timer::Head,
        Timer::First,
        Timer::Message,
        Timer::Alive,
        Timer::Pace,
        Timer::Stall,
        Timer::Close,
        Timer::Session,
    ];

    /// What it is for, in a word or two.
    pub(super) fn why(self) -> &'static str {
        match self {
            Timer::Head => "head of a request",
            Timer::First => "first message",
            Timer::Message => "end of a message",
            Timer::Alive => "sign of life",
            Timer::Pace => "pace of a client",
            Timer::Stall => "slow reader",
            Timer::Close => "end of a connection",
            Timer::Session => "heartbeat of Socket.IO",
        }
    }
}

/// When each is due.
#[derive(Debug, Clone, Default)]
pub(super) struct Due {
    at: [Option<Instant>; Timer::ALL.len()],
    /// When the server looks at the connection.
    look: Option<Instant>,
}

impl Due {
    pub(super) fn clear(&mut self, timer: Timer) {
        self.at[timer as usize] = None;
    }

    pub(super) fn first(&self) -> Option<(Instant, Timer)> {
        let set = self.at.iter().zip(Timer::ALL).filter_map(|(at, timer)| at.map(|at| (at, timer)));
        set.min_by_key(|(at, _)| *at)
    }

    /// Takes the first that is not after `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let (_, timer) = self.first().filter(|(at, _)| *at <= now)?;
        self.clear(timer);
        Some(timer)
    }

    pub(super) fn put_off(&mut self, by: Duration) {
        for at in self.at.iter_mut().chain([&mut self.look]).flatten() {
            *at += by;
        }
    }
}

impl Server {
    /// Sets a deadline of a connection, in place of the one that it had.
    pub(super) fn set_timer(&mut self, conn: ConnId, timer: Timer, at: Instant) {
        let Some(state) = self.conns.get_mut(conn) else { return };
        state.due.at[timer as usize] = Some(at);
        if state.due.look.is_none_or(|look| at < look) {
            state.due.look = Some(at);
            self.wakes.set(Wake::Conn(conn), at);
        }
    }

    /// Forgets one. That the server may look at the connection for it does no harm.
    pub(super) fn clear_timer(&mut self, conn: ConnId, timer: Timer) {
        if let Some(state) = self.conns.get_mut(conn) {
            state.due.clear(timer);
        }
    }

    /// The server has looked at a connection and done what was due: it does so again when the next is.
    pub(super) fn looked_at(&mut self, conn: ConnId) {
        let Some(state) = self.conns.get_mut(conn) else { return };
        state.due.look = state.due.first().map(|(at, _)| at);
        if let Some(at) = state.due.look {
            self.wakes.set(Wake::Conn(conn), at);
        }
    }

    /// What a look at a connection is for.
    pub(super) fn why_look_at(&self, conn: ConnId, at: Instant) -> &'static str {
        let first = self.conns.get(conn).and_then(|state: &Conn| state.due.first());
        first.filter(|(due, _)| *due <= at).map_or("a look at a connection", |(_, timer)| timer.why())
    }
}
