//! Back-pressure: who reads slowly, who has to wait for that, who is closed.

use super::Server;
use super::conn::{Conn, Stage};
use super::due::Timer;
use crate::hub::outbox::Level;
use crate::machine::{ConnId, Frame, Output};
use crate::signal::Departure;

impl Server {
    /// Sends a frame. If the receiver is behind, `feeder` has to wait; if it is too far behind, it is closed.
    pub(super) fn send(&mut self, conn: ConnId, frame: Frame, feeder: Option<ConnId>) {
        let Some(socket) = self.conns.get_mut(conn).and_then(Conn::socket_mut) else { return };
        self.stats.frames_out += 1;
        self.stats.bytes_out += frame.len() as u64;
        if socket.outbox.is_empty() {
            socket.last_progress = self.now;
        }
        let level = socket.outbox.add(frame.len(), &self.config.limits);
        if !std::mem::replace(&mut socket.stall_set, true) {
            self.set_timer(conn, Timer::Stall, self.now + self.config.limits.stall);
        }
        self.put(Output::Send { conn, frame });
        match (level, feeder) {
            (Level::Fine, _) | (Level::Soft, None) => {}
            (Level::Soft, Some(feeder)) => {
                // A session may have handed its messages on, or ended, while it took this one.
                let Some(socket) = self.conns.get_mut(conn).and_then(Conn::socket_mut) else { return };
                if feeder != conn
                    && socket.outbox.level(&self.config.limits) != Level::Fine
                    && socket.outbox.hold(feeder)
                {
                    self.hold(feeder);
                }
            }
            (Level::Hard, _) => self.close_slow(conn),
        }
    }

    pub(super) fn close_slow(&mut self, conn: ConnId) {
        self.stats.slow += 1;
        self.close(conn, Departure::Slow, 1013, "messages were not read in time; connect again");
    }

    pub(super) fn sent(&mut self, conn: ConnId, messages: usize, len: usize) {
        let socket = match self.conns.get_mut(conn).map(|conn| &mut conn.stage) {
            Some(Stage::Socket(socket)) => socket,
            Some(Stage::Carrier(session)) => {
                let session = *session;
                return self.sent_by_carrier(session, conn, messages, len);
            }
            _ => return,
        };
        socket.last_progress = self.now;
        socket.outbox.sent(messages, len);
        for feeder in socket.outbox.release(&self.config.limits) {
            self.unhold(feeder);
        }
    }

    pub(super) fn hold(&mut self, feeder: ConnId) {
        if let Some(socket) = self.conns.get_mut(feeder).and_then(Conn::socket_mut) {
            socket.holds += 1;
        }
        self.update_reading(feeder);
    }

    pub(super) fn unhold(&mut self, feeder: ConnId) {
        if let Some(socket) = self.conns.get_mut(feeder).and_then(Conn::socket_mut) {
            socket.holds = socket.holds.saturating_sub(1);
        }
        self.update_reading(feeder);
    }

    pub(super) fn update_reading(&mut self, conn: ConnId) {
        let Some(socket) = self.conns.get_mut(conn).and_then(Conn::socket_mut) else { return };
        let on = !socket.paced && socket.holds == 0;
        if std::mem::replace(&mut socket.reading, on) != on {
            // While we did not read we could not hear.
            socket.last_heard = self.now;
            self.put(Output::Read { conn, on });
        }
    }
}
