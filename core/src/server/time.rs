//! Time: what is due, who is still there, and the end.

use std::time::Duration;

use super::ask::Asked;
use super::conn::{Conn, Stage};
use super::due::Timer;
use super::{Server, ServerNotice, Wake};
use crate::limits::PAUSE;
use crate::machine::{ConnId, Frame, FrameFault, Output};
use crate::signal::Departure;

impl Server {
    pub(super) fn timeout(&mut self) {
        self.forgive_pause();
        while let Some(wake) = self.wakes.pop_due(self.now) {
            match wake {
                Wake::Grace => {
                    let fx = self.ask(Asked::Timeout);
                    self.carry_out(fx);
                }
                Wake::Drain => self.drained(),
                Wake::Crowd => {
                    if self.crowd.has_left(self.now, self.conns.len()) {
                        self.outputs.push_back(Output::ReleaseMemory);
                    }
                }
                Wake::Conn(conn) => self.look_at(conn),
            }
        }
    }

    /// Does what is due for a connection, and finds when to look again.
    fn look_at(&mut self, conn: ConnId) {
        while let Some(timer) = self.conns.get_mut(conn).and_then(|state| state.due.pop(self.now)) {
            match timer {
                Timer::Head => self.drop_conn(conn, Departure::Gone, "no whole request in time"),
                Timer::First => self.close(conn, Departure::Gone, 1008, "no message in time"),
                Timer::Message => self.close(conn, Departure::Gone, 1008, "a message was not finished in time"),
                Timer::Alive => self.check_alive(conn),
                Timer::Pace => {
                    if let Some(socket) = self.conns.get_mut(conn).and_then(Conn::socket_mut) {
                        socket.paced = false;
                    }
                    self.update_reading(conn);
                }
                Timer::Stall => self.check_stall(conn),
                Timer::Session => self.session_timeout(conn),
                Timer::Close => self.drop_conn(conn, Departure::Gone, "did not close in time"),
            }
        }
        self.looked_at(conn);
    }

    /// After a pause (SIGSTOP, suspend, an overloaded machine) everybody looks silent, but it was us who did not listen:
    /// what they sent meanwhile waits to be read.
    fn forgive_pause(&mut self) {
        let Some((due, _)) = self.wakes.next() else { return };
        let late = self.now.saturating_duration_since(due);
        if late < PAUSE {
            return;
        }
        // And a little more, so that the driver can read it before the first deadline.
        let by = late + PAUSE;
        self.wakes.put_off(by);
        self.ask(Asked::PutOff(by));
        for state in self.conns.values_mut() {
            state.due.put_off(by);
            if let Some(socket) = state.socket_mut() {
                socket.last_heard += by;
                socket.last_progress += by;
            }
        }
    }

    pub(super) fn check_alive(&mut self, conn: ConnId) {
        let limits = &self.config.limits;
        let Some(socket) = self.conns.get_mut(conn).and_then(Conn::socket_mut) else { return };
        let dead_at = socket.last_heard + limits.dead;
        if dead_at <= self.now && socket.reading {
            self.stats.dead += 1;
            return self.drop_conn(conn, Departure::Gone, "nothing heard for too long");
        }
        let next = (self.now + limits.ping).min(dead_at.max(self.now + Duration::from_secs(1)));
        self.set_timer(conn, Timer::Alive, next);
        self.outputs.push_back(Output::Send { conn, frame: Frame::Ping });
    }

    pub(super) fn check_stall(&mut self, conn: ConnId) {
        let Some(socket) = self.conns.get_mut(conn).and_then(Conn::socket_mut) else { return };
        socket.stall_set = !socket.outbox.is_empty();
        let due = socket.last_progress + self.config.limits.stall;
        if !socket.stall_set {
            return;
        }
        if due > self.now {
            self.set_timer(conn, Timer::Stall, due);
        } else {
            self.close_slow(conn);
        }
    }

    pub(super) fn heard(&mut self, conn: ConnId) {
        let Some(socket) = self.conns.get_mut(conn).and_then(Conn::socket_mut) else { return };
        socket.last_heard = self.now;
        if !std::mem::replace(&mut socket.in_message, true) {
            self.set_timer(conn, Timer::Message, self.now + self.config.limits.whole_message);
        }
    }

    pub(super) fn fault(&mut self, conn: ConnId, fault: FrameFault) {
        let (code, reason) = match fault {
            FrameFault::TooBig => (1009, format!("at most {} bytes a message", self.config.limits.message_bytes)),
            FrameFault::NotUtf8 => (1007, "text is UTF-8".to_owned()),
            FrameFault::Protocol => (1002, "this is not how RFC 6455 frames are".to_owned()),
        };
        self.close(conn, Departure::Gone, code, &reason);
    }

    pub(super) fn drain(&mut self) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        self.wakes.set(Wake::Drain, self.now + self.config.limits.drain);
        for conn in self.conns.ids() {
            if self.conns.get(conn).and_then(Conn::socket).is_some() {
                self.close(conn, Departure::Gone, 1012, "the server is shutting down; connect again in a moment");
            }
        }
    }

    pub(super) fn finish_drain(&mut self) {
        if self.draining && !self.conns.values().any(|conn| matches!(conn.stage, Stage::Closing)) {
            self.drained();
        }
    }

    pub(super) fn drained(&mut self) {
        if !std::mem::replace(&mut self.drained, true) {
            self.wakes.clear(&Wake::Drain);
            self.outputs.push_back(Output::Notice(ServerNotice::Drained));
        }
    }
}
