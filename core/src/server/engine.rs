//! Socket.IO on the server: requests and WebSockets below `/socket.io/` become sessions.
//!
//! A session is a connection like any other to the rest of the server, with a codec, a client and an outbox, but one
//! that the driver does not know ([`ConnId::is_session`]). What the server puts out for it, [`Server::put`] gives to the
//! [`Session`] instead, and that uses the TCP connections that carry it at the time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::conn::{Conn, Socket, Stage};
use super::due::Timer;
use super::{Server, ServerNotice, block, kept};
use crate::dialect::socketio::{self, Version};
use crate::dialect::{Codec, Family};
use crate::http::engine::{self, Ask, Effect, EngineError, NOT_HANDSHAKEN, Session};
use crate::http::{self, Request, Response};
use crate::hub::bucket::Bucket;
use crate::machine::{ConnId, Frame, FrameFault, Output};
use crate::signal::{Departure, Name, Refusal};
use crate::table::Table;
use crate::trace::Trace;

/// Sessions by their ids, and by the connections that they are for the server.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_conn: Table<(Box<str>, Session)>,
    by_sid: BTreeMap<Box<str>, ConnId>,
    last: u64,
    /// Empty between two calls: its memory serves the next.
    effects: Vec<Effect>,
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.by_conn.len()
    }

    /// The session of this id, if it is of this version.
    fn find(&self, version: Version, sid: &str) -> Option<ConnId> {
        let conn = *self.by_sid.get(sid)?;
        self.by_conn.get(conn).filter(|(_, session)| session.version() == version).map(|_| conn)
    }
}

/// Requests.
impl Server {
    /// Answers a request below `/socket.io/`, now or later.
    pub(super) fn socket_io(&mut self, conn: ConnId, request: &Request) {
        let asked = engine::ask(request).and_then(|ask| self.check_socket_io(conn, &ask).map(|()| ask));
        let now = self.now;
        match asked {
            Err(refusal) => self.answer_engine(conn, request, refusal),
            Ok(Ask::Welcome) => self.answer_engine(conn, request, engine::welcome()),
            Ok(Ask::Script) => self.answer_engine(conn, request, engine::client_script()),
            Ok(Ask::Preflight) => self.answer_engine(conn, request, engine::preflight(request)),
            Ok(Ask::Handshake { jsonp, room }) => match self.open_session(conn, Version::Legacy, room.as_deref(), true)
            {
                Ok((_, sid)) => self.answer_engine(conn, request, engine::handshake(&sid, jsonp)),
                Err(refusal) => self.answer_engine(conn, request, refusal),
            },
            Ok(Ask::Open(version, room)) => match self.open_session(conn, version, room.as_deref(), true) {
                Ok((session, sid)) => {
                    let answer = self.wait(conn, session, request);
                    let greeting = socketio::Server::greeting(version);
                    self.with_session(session, |session, fx| {
                        session.poll(now, conn, answer, None, fx);
                        session.open(&sid, greeting, fx);
                    });
                }
                Err(refusal) => self.answer_engine(conn, request, refusal),
            },
            Ok(Ask::Poll(version, sid)) => match self.sessions.find(version, &sid) {
                Some(session) => {
                    let answer = self.wait(conn, session, request);
                    let greeting = socketio::Server::greeting(version);
                    self.with_session(session, |session, fx| session.poll(now, conn, answer, greeting, fx));
                }
                None => self.answer_engine(conn, request, unknown(version)),
            },
            Ok(Ask::Post(version, sid)) => match self.sessions.find(version, &sid) {
                Some(session) => {
                    let answer = self.wait(conn, session, request);
                    let greeting = socketio::Server::greeting(version);
                    let body = &request.body;
                    self.with_session(session, |session, fx| session.post(now, conn, answer, body, greeting, fx));
                }
                None => self.answer_engine(conn, request, unknown(version)),
            },
            Ok(Ask::Leave(sid)) => {
                if let Some(session) = self.sessions.find(Version::Legacy, &sid) {
                    self.close(session, Departure::Left, 1000, "goodbye");
                }
                self.answer_engine(conn, request, engine::text(""));
            }
            Ok(Ask::Upgrade(version, sid)) => {
                if let Err(refusal) = self.open_socket(conn, request, version, Some(&sid), None) {
                    self.answer_engine(conn, request, refusal);
                }
            }
            Ok(Ask::Socket(version, room)) => {
                if let Err(refusal) = self.open_socket(conn, request, version, None, room.as_deref()) {
                    self.answer_engine(conn, request, refusal);
                }
            }
        }
    }

    /// Whether Socket.IO is served here and now.
    fn check_socket_io(&mut self, conn: ConnId, ask: &Ask) -> Result<(), Response> {
        if self.only(conn).is_some_and(|only| only != Family::SocketIo) {
            return Err(Response::text(404, "not found; this port is for another system\n"));
        }
        if matches!(ask, Ask::Welcome | Ask::Script | Ask::Preflight | Ask::Leave(_)) {
            return Ok(());
        }
        if self.config.token.is_some() {
            self.hub.count_refusal(Refusal::Unauthorized);
            return Err(EngineError::Forbidden.response());
        }
        Ok(())
    }

    /// A WebSocket that carries a session from its start, or wants to go on with one.
    ///
    /// # Errors
    /// The answer, if it cannot.
    fn open_socket(
        &mut self,
        conn: ConnId,
        request: &Request,
        version: Version,
        sid: Option<&str>,
        room: Option<&str>,
    ) -> Result<(), Response> {
        let upgrade = http::upgrade::upgrade(request)?;
        let session = sid.and_then(|sid| self.sessions.find(version, sid));
        if sid.is_some() && session.is_none() && version != Version::Legacy {
            return Err(EngineError::Session.response());
        }
        let opened = match (sid, session) {
            (None, _) => Some(self.open_session(conn, version, room, false)?),
            (Some(_), _) => None,
        };
        let (now, response) = (self.now, upgrade.accept(None));
        let Some(state) = self.conns.get_mut(conn) else { return Ok(()) };
        let session = opened.as_ref().map(|(session, _)| *session).or(session);
        state.stage = session.map_or(Stage::Closing, Stage::Carrier);
        self.clear_timer(conn, Timer::Head);
        *self.stats.answers.entry(response.status).or_default() += 1;
        let max_message_bytes = self.config.limits.message_bytes;
        self.outputs.push_back(Output::Upgrade { conn, response, max_message_bytes });
        self.trace(Trace::Upgraded { conn });
        let Some(session) = session else {
            self.outputs.push_back(Output::Send { conn, frame: Frame::text(NOT_HANDSHAKEN) });
            self.set_timer(conn, Timer::Close, now + self.config.limits.close);
            let reason = "no such session; connect anew".to_owned();
            self.outputs.push_back(Output::Close { conn, code: 1008, reason });
            return Ok(());
        };
        let greeting = socketio::Server::greeting(version);
        let mut is_free = true;
        self.with_session(session, |session, fx| match &opened {
            Some((_, sid)) => {
                session.begin_on(conn);
                session.open(sid, greeting, fx);
            }
            None => is_free = session.socket(now, conn, greeting, fx),
        });
        if !is_free {
            self.close(conn, Departure::Gone, 1008, "this session has a WebSocket already");
        }
        Ok(())
    }

    /// A new session for who is at the other end of `conn`. `counted`: it counts as a connection from that address,
    /// because nothing that counts carries it all the time.
    ///
    /// # Errors
    /// The answer, if no more are taken.
    fn open_session(
        &mut self,
        conn: ConnId,
        version: Version,
        room: Option<&str>,
        counted: bool,
    ) -> Result<(ConnId, Box<str>), Response> {
        let Some(state) = self.conns.get(conn) else { return Err(EngineError::BadRequest.response()) };
        let (listener, remote) = (state.listener, state.remote);
        let limits = &self.config.limits;
        let address = block(remote.ip());
        let here = self.addresses.get(&address).copied().unwrap_or(0);
        if self.draining {
            return Err(Response::unavailable("the server is shutting down; connect again in a moment"));
        }
        if self.sessions.len() >= limits.connections {
            return Err(Response::unavailable("the server is full; try again later"));
        }
        if counted && here >= limits.connections_per_address && !remote.ip().to_canonical().is_loopback() {
            return Err(Response::text(429, "too many connections from this address; close some first\n"));
        }
        let bucket = Bucket::new(self.now, limits.messages_per_second, limits.message_burst);
        let first_message = limits.first_message;
        let token = self.sids.token();
        let secret = token.get(..20).unwrap_or_default();
        let name = (version == Version::Legacy).then(|| Name::new(self.ids.next(self.clock.unix(self.now))));
        let sid: Box<str> = match &name {
            Some(name) => socketio::session_id(name, secret).into(),
            None => secret.into(),
        };
        self.sessions.last += 1;
        let session = ConnId::session(self.sessions.last);
        let codec = Codec::SocketIo(Box::new(socketio::Server::new(version, name, room)));
        let stage = Stage::Socket(Box::new(Socket::new(self.now, Some(codec), bucket, false)));
        self.conns.insert(session, Conn { stage, counted, ..Conn::new(listener, remote) });
        if counted {
            *self.addresses.entry(address).or_default() += 1;
        }
        self.sessions.by_sid.insert(sid.clone(), session);
        self.sessions.by_conn.insert(session, (sid.clone(), Session::new(self.now, version)));
        if version == Version::Four {
            self.set_timer(session, Timer::First, self.now + first_message);
        }
        self.with_session(session, |_, _| {});
        Ok((session, sid))
    }

    /// Notes that a request waits for what a session has for it. All of the answer but its body.
    fn wait(&mut self, conn: ConnId, session: ConnId, request: &Request) -> Response {
        self.clear_timer(conn, Timer::Head);
        if let Some(state) = self.conns.get_mut(conn) {
            state.stage = Stage::Waiting(session);
        }
        self.share_engine(engine::text(""), request)
    }

    fn share_engine(&self, response: Response, request: &Request) -> Response {
        let response = http::origin::share(response, request, &self.config.allow_origins);
        let is_shared = response.headers.iter().any(|(name, _)| *name == "Access-Control-Allow-Origin");
        let response = if is_shared { response.with("Access-Control-Allow-Credentials", "true") } else { response };
        response.to(request)
    }

    fn answer_engine(&mut self, conn: ConnId, request: &Request, response: Response) {
        let response = self.share_engine(response, request);
        self.respond(conn, &request.method, &request.path, response);
    }
}

/// Sessions.
impl Server {
    /// Puts out what is for the driver, and gives what is for a session to the session.
    pub(super) fn put(&mut self, output: Output<ServerNotice>) {
        match output {
            Output::Send { conn, frame } if conn.is_session() => {
                self.with_session(conn, |session, fx| session.deliver(frame, fx));
            }
            Output::Read { conn, on } if conn.is_session() => {
                self.with_session(conn, |session, fx| session.read(on, fx))
            }
            Output::Close { conn, code, reason } if conn.is_session() => {
                self.end_session(conn, Some((code, reason.clone())));
                self.forget(conn, Departure::Gone, reason.into());
            }
            Output::Drop { conn } if conn.is_session() => self.end_session(conn, None),
            output => self.outputs.push_back(output),
        }
    }

    /// A frame on a WebSocket that carries a session.
    pub(super) fn carried(&mut self, session: ConnId, conn: ConnId, frame: Frame) {
        if matches!(frame, Frame::Ping | Frame::Pong) {
            return;
        }
        let now = self.now;
        self.with_session(session, |session, fx| session.frame(now, conn, frame, fx));
    }

    /// The messages of a session that left by a WebSocket.
    pub(super) fn sent_by_carrier(&mut self, session: ConnId, conn: ConnId, messages: usize, len: usize) {
        if self.sessions.by_conn.get(session).is_some_and(|(_, session)| session.is_on(conn)) {
            self.sent(session, messages, len);
        }
    }

    /// A connection that a session uses is gone.
    pub(super) fn uncarry(&mut self, conn: ConnId) {
        let Some(state) = self.conns.get_mut(conn) else { return };
        let (Stage::Carrier(session) | Stage::Waiting(session)) = state.stage else { return };
        state.stage = Stage::Request;
        self.with_session(session, |session, fx| session.forget(conn, fx));
    }

    pub(super) fn session_timeout(&mut self, session: ConnId) {
        let now = self.now;
        self.with_session(session, |session, fx| session.timeout(now, fx));
    }

    fn with_session(&mut self, conn: ConnId, change: impl FnOnce(&mut Session, &mut Vec<Effect>)) {
        let Some((_, session)) = self.sessions.by_conn.get_mut(conn) else { return };
        let mut fx = std::mem::take(&mut self.sessions.effects);
        change(session, &mut fx);
        self.engine_effects(conn, &mut fx);
        self.sessions.effects = kept(fx);
        if let Some((_, session)) = self.sessions.by_conn.get(conn) {
            // The end of a session that was due while it was being used comes with the next turn.
            let at = session.next_timeout().max(self.now + Duration::from_millis(1));
            self.set_timer(conn, Timer::Session, at);
        }
    }

    fn engine_effects(&mut self, session: ConnId, fx: &mut Vec<Effect>) {
        for effect in fx.drain(..) {
            match effect {
                Effect::Heard => _ = self.pace(session),
                Effect::Message(frame) if frame.len() > self.config.limits.message_bytes => {
                    self.fault(session, FrameFault::TooBig);
                }
                Effect::Message(frame) => self.message(session, frame),
                Effect::Say(frame) => self.send(session, frame, None),
                Effect::Settle => self.with_session(session, |session, fx| session.settle(fx)),
                Effect::Send(conn, frame) => self.outputs.push_back(Output::Send { conn, frame }),
                Effect::Answer(conn, response) => {
                    if let Some(state) = self.conns.get_mut(conn) {
                        state.stage = Stage::Request;
                        self.respond(conn, "?", "/socket.io/", response);
                    }
                }
                Effect::Left { messages, bytes } => self.sent(session, messages, bytes),
                Effect::Read(conn, on) => self.outputs.push_back(Output::Read { conn, on }),
                Effect::Close(conn, code, reason) => self.close(conn, Departure::Gone, code, &reason),
                Effect::Drop(conn) => self.drop_conn(conn, Departure::Gone, "its session is over"),
                Effect::Over { why, code: Some(code), reason } => self.close(session, why, code, reason),
                Effect::Over { why, code: None, reason } => self.drop_conn(session, why, reason),
            }
        }
    }

    fn end_session(&mut self, conn: ConnId, goodbye: Option<(u16, String)>) {
        let Some((sid, mut session)) = self.sessions.by_conn.remove(conn) else { return };
        self.sessions.by_sid.remove(&sid);
        self.clear_timer(conn, Timer::Session);
        let mut fx = Vec::new();
        session.close(goodbye, &mut fx);
        self.engine_effects(conn, &mut fx);
    }
}

/// The answer for a session that there is not.
fn unknown(version: Version) -> Response {
    match version {
        Version::Legacy => engine::text(NOT_HANDSHAKEN),
        Version::Three | Version::Four => EngineError::Session.response(),
    }
}
